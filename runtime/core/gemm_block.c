// Panels: see gemm_block.h. Linear in what is packed.
#include "runtime/core/gemm_block.h"

void sn_gemm_pack_rows(const SnGemmKit *kit, const SnExtents *rows, const SnExtents *k,
                       const float *a, int64_t i0, int64_t count, SnGemmStretch part, float *to) {
    for (int64_t i = i0; i < i0 + count;) {
        uint32_t size = 0;
        int64_t width = sn_gemm_panel_rows(kit, i0 + count - i, &size);
        sn_gemm_pack(SN_GEMM_A, rows, k, a, i, width, width, part.k0 + part.at, part.n,
                     to + part.at * width);
        to += width * part.kc;
        i += width;
    }
}

void sn_gemm_pack_lanes(const SnGemmKit *kit, const SnExtents *lanes, const SnExtents *k,
                        const float *b, int64_t i0, int64_t count, SnGemmStretch part, float *to) {
    for (int64_t i = i0; i < i0 + count; i += kit->nr) {
        int64_t n = min64(kit->nr, i0 + count - i), width = round_up(n, SN_GEMM_LANES);
        sn_gemm_pack(SN_GEMM_B, lanes, k, b, i, n, width, part.k0 + part.at, part.n,
                     to + part.at * width);
        to += width * part.kc;
    }
}

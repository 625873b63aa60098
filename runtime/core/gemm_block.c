// Panels and blocks of C: see gemm_block.h. A panel of lanes of B stays in the first level cache while
// the panels of A stream past it from the second (Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication", ACM TOMS 34(3), 2008). Time O(rows * lanes * kc).
#include "runtime/core/gemm_block.h"

void sn_gemm_pack_rows(const SnGemmKit *kit, SnGemmPanel panel, const SnExtents *rows,
                       const SnExtents *k, SnGemmMatrix a, int64_t i0, int64_t count,
                       SnGemmStretch part, float *to) {
    for (int64_t i = i0; i < i0 + count;) {
        uint32_t size = 0;
        int64_t width = sn_gemm_panel_rows(kit, i0 + count - i, &size);
        sn_gemm_pack(panel, SN_GEMM_A, rows, k, a, i, width, width, part.k0 + part.at, part.n,
                     to + sn_gemm_words(panel, part.at) * width);
        to += width * sn_gemm_words(panel, part.kc);
        i += width;
    }
}

void sn_gemm_pack_lanes(const SnGemmKit *kit, SnGemmPanel panel, const SnExtents *lanes,
                        const SnExtents *k, SnGemmMatrix b, int64_t i0, int64_t count,
                        SnGemmStretch part, float *to) {
    for (int64_t i = i0; i < i0 + count; i += kit->nr) {
        int64_t n = min64(kit->nr, i0 + count - i), width = sn_round_up(n, SN_GEMM_LANES);
        sn_gemm_pack(panel, SN_GEMM_B, lanes, k, b, i, n, width, part.k0 + part.at, part.n,
                     to + sn_gemm_words(panel, part.at) * width);
        to += width * sn_gemm_words(panel, part.kc);
    }
}

void sn_gemm_block(const SnGemmKit *kit, const SnGemmBlock *x) {
    uint32_t before = sn_gemm_enter(x->panel);
    for (int64_t n = 0; n < x->lanes; n += kit->nr) {
        int64_t vectors = sn_ceil_div(min64(kit->nr, x->lanes - n), SN_GEMM_LANES);
        const float *b = x->b + (x->ldb ? n : n * x->kc);
        int64_t ldb = x->ldb ? x->ldb : vectors * SN_GEMM_LANES;
        for (int64_t i = 0; i < x->rows;) {
            uint32_t size = 0;
            int64_t rows = sn_gemm_panel_rows(kit, x->rows - i, &size);
            const float *a = x->a + (x->lda ? i : i * x->kc);
            SnUkrFn ukr = sn_gemm_ukr(kit, x->panel, vectors, size);
            ukr(x->kc, a, x->lda ? x->lda : rows, b, ldb,
                x->from ? x->from + i * x->ldfrom + n : NULL, x->ldfrom,
                x->acc ? x->acc + i * x->ldacc + n : NULL, x->ldacc, x->to + i * x->ldto + n,
                x->ldto);
            i += rows;
        }
    }
    sn_gemm_leave(x->panel, before);
}

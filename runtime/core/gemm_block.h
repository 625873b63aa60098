// Panels of A and B as the micro-kernels read them, and which micro-kernel takes which panel.
#pragma once
#include "runtime/core/gemm_pack.h"

// A stretch of k in a panel: panels hold k0 .. k0 + kc; what is packed now is n of them, from `at` on.
typedef struct {
    int64_t k0, kc, at, n;
} SnGemmStretch;

// The rows of the next panel of A when `left` rows are left: those of the largest micro-kernel that fits,
// whose number is *size.
static inline int64_t sn_gemm_panel_rows(const SnGemmKit *kit, int64_t left, uint32_t *size) {
    *size = 0;
    while (sn_ukr_rows((uint32_t)kit->mr, *size) > left) ++*size;
    return sn_ukr_rows((uint32_t)kit->mr, *size);
}

// The micro-kernel of that size for so many vectors of lanes.
static inline SnUkrFn sn_gemm_ukr(const SnGemmKit *kit, int64_t vectors, uint32_t size) {
    return (SnUkrFn)kit->ukr[(vectors - 1) * sn_ukr_sizes((uint32_t)kit->mr) + size];
}

// Rows i0 .. i0 + count of A as panels of mr rows, at the end smaller ones: row i of the block is in the
// panel at `to` + (first row of the panel) * kc. count * kc floats.
void sn_gemm_pack_rows(const SnGemmKit *kit, const SnExtents *rows, const SnExtents *k,
                       const float *a, int64_t i0, int64_t count, SnGemmStretch part, float *to);
// Lanes i0 .. i0 + count of B as panels of nr lanes, the last of as many vectors as it needs, filled up
// with zeros: count rounded up to SN_GEMM_LANES, times kc floats.
void sn_gemm_pack_lanes(const SnGemmKit *kit, const SnExtents *lanes, const SnExtents *k,
                        const float *b, int64_t i0, int64_t count, SnGemmStretch part, float *to);

// One block of C from panels: what a task of a product is made of, for code that has its own loops around
// it, such as attention's, whose scores and weights are strips in the cache. Blocks and panels are
// the caller's memory; nothing is allocated, and no choice below changes a bit: each element is one
// chain of fused multiply-adds in the order of docs/numerics.md (Contractions).
//
//   for a stretch of k, at most a segment of SN_GEMM_SEGMENT:
//       sn_gemm_pack_rows(A), sn_gemm_pack_lanes(B)   where they do not lie as micro-kernels read them
//       sn_gemm_block(...)                            from NULL at the start of the segment, else to
//   total = total + chain at a segment's end: acc and to are the total, where there are several
#pragma once
#include "runtime/core/gemm_pack.h"
#include <immintrin.h>

// A stretch of k in a panel: panels hold k0 .. k0 + kc; what is packed now is n of them, from `at` on. In
// pairs, `at` is even, and n where others follow.
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
static inline SnUkrFn sn_gemm_ukr(const SnGemmKit *kit, SnGemmPanel panel, int64_t vectors,
                                  uint32_t size) {
    const SnFn *ukr = panel == SN_PANEL_PAIRS ? kit->pairs : kit->ukr;
    return (SnUkrFn)ukr[(vectors - 1) * sn_ukr_sizes((uint32_t)kit->mr) + size];
}

// Around a micro-kernel's call: sums in pairs flush subnormals, which the instruction on pairs does by
// itself. What is not the chain must not: to such a call acc is NULL, and the caller adds.
enum { SN_FLUSH = 0x8040 }; // FTZ, DAZ
static inline bool sn_gemm_flushes(SnGemmPanel panel) { return panel == SN_PANEL_ODD_FIRST; }
static inline uint32_t sn_gemm_enter(SnGemmPanel panel) {
    uint32_t before = _mm_getcsr();
    if (sn_gemm_flushes(panel)) _mm_setcsr(before | SN_FLUSH);
    return before;
}
static inline void sn_gemm_leave(SnGemmPanel panel, uint32_t before) {
    if (sn_gemm_flushes(panel)) _mm_setcsr(before);
}

// Rows i0 .. i0 + count of A as panels of mr rows, at the end smaller ones: row i of the block is in the
// panel at `to` + (first row of the panel) * words of kc. count * those words.
void sn_gemm_pack_rows(const SnGemmKit *kit, SnGemmPanel panel, const SnExtents *rows,
                       const SnExtents *k, SnGemmMatrix a, int64_t i0, int64_t count,
                       SnGemmStretch part, float *to);
// Lanes i0 .. i0 + count of B as panels of nr lanes, the last of as many vectors as it needs, filled up
// with zeros: count rounded up to SN_GEMM_LANES, times the words of kc.
void sn_gemm_pack_lanes(const SnGemmKit *kit, SnGemmPanel panel, const SnExtents *lanes,
                        const SnExtents *k, SnGemmMatrix b, int64_t i0, int64_t count,
                        SnGemmStretch part, float *to);

// to[rows x lanes] = from + A B over kc of k; acc + that where acc is not NULL. Whole vectors are
// computed: B where it is not packed, from, acc and to have room for lanes rounded up to SN_GEMM_LANES.
// kc counts words of the panel, and so do rows of k.
typedef struct {
    SnGemmPanel panel;
    int64_t rows, lanes, kc;
    // lda 0: panels of sn_gemm_pack_rows; else row i of k is a[k * lda + i]
    const float *a;
    int64_t lda;
    // ldb 0: panels of sn_gemm_pack_lanes; else lane l of k is b[k * ldb + l]
    const float *b;
    int64_t ldb;
    const float *from; // where the chains go on; NULL: they start at 0. May be `to`
    int64_t ldfrom;
    // NULL, or what the chains' ends are added to. May be `to`. NULL where sn_gemm_flushes
    const float *acc;
    int64_t ldacc;
    float *to;
    int64_t ldto;
} SnGemmBlock;
void sn_gemm_block(const SnGemmKit *kit, const SnGemmBlock *x);

// Whether kit->pairs, which is not NULL, give the bits of kit->ukr on panels with odd elements first.
bool sn_gemm_probe(const SnGemmKit *kit);

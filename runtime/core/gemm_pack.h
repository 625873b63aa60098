// Packing of GEMM operands into panels, and walking nested extents. For the GEMM driver and others that
// call its micro-kernels on blocks of their own (gemm_block.h).
#pragma once
#include "runtime/core/gemm.h"

enum {
    SN_GEMM_LINE = 16,          // floats in a cache line
    SN_GEMM_MOST_ROWS = 16,     // the largest mr
    SN_GEMM_COMBINE_LANES = 256 // lanes at a time when partial sums are added
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

typedef enum { SN_GEMM_A, SN_GEMM_B } SnGemmSide;

// A matrix in memory, from the element that strides count from.
typedef struct {
    const void *at;
    uint32_t elem; // SnElem: f32, bf16 or f16
} SnGemmMatrix;
static inline int64_t sn_gemm_bytes(uint32_t elem) { return elem == SN_ELEM_f32 ? 4 : 2; }
static inline SnGemmMatrix sn_gemm_from(SnGemmMatrix x, int64_t elements) {
    return (SnGemmMatrix){(const char *)x.at + elements * sn_gemm_bytes(x.elem), x.elem};
}

// A stretch of one axis in which every stride is constant: the `length` elements from `first` on
// lie at offset + i * stride in A, B and C.
typedef struct {
    int64_t first, length;
    SnDim at;     // offsets of element `first`
    SnDim stride; // extent is unused
} SnGemmRun;

// The stretch that starts at element i, cut at `end`. 0 <= i < end <= axis->size.
SnGemmRun sn_gemm_run_at(const SnExtents *axis, int64_t i, int64_t end);

// One panel, as `panel` says it holds k: column i of word q, for i < width, is dst[q * width + i];
// of floats, word k is the element (i0 + i, k0 + k) of the operand at src, for k < kc. Columns from
// count to width are zero. In pairs, k0 is even, and f32 elements are numbers that bf16 holds.
// O(width * kc).
void sn_gemm_pack(SnGemmPanel panel, SnGemmSide side, const SnExtents *rows, const SnExtents *k,
                  SnGemmMatrix src, int64_t i0, int64_t count, int64_t width, int64_t k0,
                  int64_t kc, float *dst);
// For it: dst[q * width + i], i < n, of elements that are not f32 or not to be floats one after another:
// element (i, k) is si * i + sk * k from src. kc is even in pairs, except at the end of k. In gemm_narrow.c.
void sn_gemm_pack_narrow(SnGemmPanel panel, SnGemmMatrix src, int64_t si, int64_t sk, int64_t n,
                         int64_t kc, float *dst, int64_t width);
// For it: n rows of words, adjacent along k and `bytes` apart, become columns. In gemm_pack.c.
void sn_gemm_pack_words(const void *src, int64_t bytes, int64_t n, int64_t words, float *dst,
                        int64_t width);

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

// A stretch of one axis in which every stride is constant: the `length` elements from `first` on
// lie at offset + i * stride in A, B and C.
typedef struct {
    int64_t first, length;
    SnDim at;     // offsets of element `first`
    SnDim stride; // extent is unused
} SnGemmRun;

// The stretch that starts at element i, cut at `end`. 0 <= i < end <= axis->size.
SnGemmRun sn_gemm_run_at(const SnExtents *axis, int64_t i, int64_t end);

// One panel: dst[k * width + i] = the element (i0 + i, k0 + k) of the operand at src, for i < count
// and k < kc; columns from count to width are zero. O(width * kc).
void sn_gemm_pack(SnGemmSide side, const SnExtents *rows, const SnExtents *k, const float *src,
                  int64_t i0, int64_t count, int64_t width, int64_t k0, int64_t kc, float *dst);

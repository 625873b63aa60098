// Packing of GEMM operands into panels, and walking nested extents. Internal to the GEMM driver.
#pragma once
#include "runtime/core/gemm.h"

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

// Reading the folded extents of one role of a product (batch, m, n, k): what gemm.c and lt.c start from.
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>
#include <stddef.h>

enum { IN_A, IN_B, IN_C };
static inline int64_t extent_stride(const SnDim *d, int which) {
    return which == IN_A ? d->a : which == IN_B ? d->b : d->c;
}
// The fastest extent is adjacent in that matrix.
static inline bool extents_unit(const SnExtents *x, int which) {
    return x->count && extent_stride(&x->dim[x->count - 1], which) == 1;
}

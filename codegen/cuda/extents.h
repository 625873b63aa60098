// The nested extents of one role of a product (batch, m, n, k), folded: what gemm.c and lt.c start from.
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>
#include <stddef.h>

enum { IN_A, IN_B, IN_C };
// The last is the fastest. count 0: one element.
typedef struct {
    uint32_t count;
    int64_t size; // product of the extents
    SnDim dim[SN_GEMM_DIMS];
} Extents;

// Drops extents of 1 and folds neighbours that walk as one in all matrices. swap: A and B change
// places.
Extents extents_of(const SnDim *d, uint32_t n, bool swap);
static inline int64_t extent_stride(const SnDim *d, int which) {
    return which == IN_A ? d->a : which == IN_B ? d->b : d->c;
}
// The fastest extent is adjacent in that matrix.
static inline bool extents_unit(const Extents *x, int which) {
    return x->count && extent_stride(&x->dim[x->count - 1], which) == 1;
}

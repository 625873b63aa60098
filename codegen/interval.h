// Which keys a strip of rows need not look at: those for which what is summed is exactly 0.
#pragma once
#include "ir/ir.h"

typedef struct {
    int64_t from, to; // inclusive
} IndexRange;

// Whether all of these nodes of a body are 0, and what its folds over keys read is 0 or (a maximum) -inf,
// wherever axis `row` is in rows and `key` in keys, whatever the other axes and the operands are, as long as
// those are finite. O(nodes of the body).
bool interval_adds_nothing(Arena *a, const Module *m, const Func *f, const NodeId *nodes,
                           uint32_t n, AxisId row, IndexRange rows, AxisId key, IndexRange keys);

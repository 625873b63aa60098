// Which keys a strip of rows need not look at: those for which what is summed is exactly 0.
#pragma once
#include "ir/ir.h"

typedef struct {
    int64_t from, to; // inclusive
} IndexRange;

// What is known of the nodes of a body over all rows and keys. O(nodes).
typedef struct IndexBounds IndexBounds;
IndexBounds *interval_body(Arena *a, const Module *m, const Func *f, AxisId row, int64_t rows,
                           AxisId key, int64_t keys);
// Whether all of these nodes of the body are 0, and what its folds over keys read is 0 or (a maximum) -inf,
// wherever axis `row` is in rows and `key` in keys, whatever the other axes and the operands are, as long as
// those are finite. O(nodes of the body).
bool interval_adds_nothing(IndexBounds *x, const NodeId *nodes, uint32_t n, IndexRange rows,
                           IndexRange keys);
// Whether that holds over all rows and keys where condition `never`, a node of the body, is false.
bool interval_nothing_without(IndexBounds *x, const NodeId *nodes, uint32_t n, NodeId never);

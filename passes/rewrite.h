// A function under reconstruction, the way most passes change one: the nodes of the old function
// are visited in order and copied or replaced; results follow through the map. Linear.
#pragma once
#include "passes/pass.h"

typedef struct {
    Builder b;   // appends to `to`
    Func *from;  // the function, until rewrite_end as it was
    Func to;     // the function to be
    NodeId *map; // by old id: the new id, or NONE
} Rewrite;

void rewrite_begin(Rewrite *r, PassCx *cx, Func *f);
// New nodes get phase, clone, name, place in the source and in the unrolled block of this old node.
void rewrite_like(Rewrite *r, NodeId old);
// Copies the old node with mapped operands, records and returns it.
NodeId rewrite_copy(Rewrite *r, NodeId old);
// Maps the results and puts the new contents in the function's place.
void rewrite_end(Rewrite *r);

// By node: whether it depends on samples, which are inputs with axes.
uint8_t *func_samples(Arena *a, const Module *m, const Func *f);
// Number of uses of each node, results counted, by id.
uint32_t *count_uses(Arena *a, const Func *f);
void builder_like(Builder *b, const Node *n);

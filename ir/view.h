// Views as strides: a chain of rename, split, slice, expand, merge and copies of names only is the
// same memory read with other strides. Fusion asks whether that holds (a contraction may then read
// the base directly), the lowering asks for the strides.
#pragma once
#include "ir/ir.h"

typedef struct {
    NodeId base;              // the value that holds the memory
    int64_t offset;           // elements
    int64_t stride[MAX_AXES]; // per axis of the viewing node's type, in elements; 0 when expanded
} View;

// The view of node n. Stops at the first node that is not a view. False when the chain is not affine
// (a pad or concat is a base of its own; a merge of axes that do not lie side by side is not affine).
bool ir_view(const Module *m, const Func *f, NodeId n, View *out);

// Users of every node, as one array: users of n are list[first[n]] .. list[first[n + 1]). A node that
// uses a value twice is listed twice.
typedef struct {
    uint32_t *first;
    NodeId *list;
} Users;
Users func_users(Arena *a, const Func *f);

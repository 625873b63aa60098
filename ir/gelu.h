// Whether an expression computes GELU (in its tanh form) or that times its derivative: functions that
// libraries apply to what a matrix product leaves. The answer comes from values, not from how the
// expression is written: 0.5 x (1 + tanh(…)), x / (1 + exp(-…)) and what autodiff makes of either are
// recognised alike. Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
#pragma once
#include "ir/ir.h"

enum { MAX_SMOOTH = 64, MAX_LEAVES = 3 };

// The scalar ops that lead to one value, all of them analytic functions of f32.
typedef struct {
    NodeId node[MAX_SMOOTH]; // ascending, so operands come first; the last is the value itself
    uint32_t n;
    NodeId leaf[MAX_LEAVES]; // what they start from, constants aside
    uint32_t leaves;
} Smooth;

// Walks back from y to what is no such op, or is marked in `stop` (by node, may be NULL). False when
// that are too many nodes or leaves, or y is none itself. O(MAX_SMOOTH squared).
bool smooth_of(const Module *m, const Func *f, NodeId y, const uint8_t *stop, Smooth *out);
bool smooth_has(const Smooth *s, NodeId n); // as a node; leaves are none

// GELU of leaf x, which is the only one.
bool smooth_is_gelu(const Module *m, const Func *f, const Smooth *s, NodeId x);
// dy times the derivative of GELU at x: these two are all leaves.
bool smooth_is_gelu_gradient(const Module *m, const Func *f, const Smooth *s, NodeId dy, NodeId x);

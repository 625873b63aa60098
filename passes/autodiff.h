// What autodiff.c and the gradient rules share.
#pragma once
#include "passes/rewrite.h"

// One reverse sweep: the derivative of one scalar by some states. Arrays are by old node id.
typedef struct {
    Rewrite r;
    NodeId *sum; // derivative by this value, as far as its users were visited; NONE: no path yet
    uint8_t *needed; // a wanted state reaches this value by differentiable ops
    uint8_t *weight; // a state, or a view of one: its derivative is of phase W
    uint8_t *chosen; // its derivative came by a choice: exactly 0 where another side was taken
    NodeId *first;   // a state node: the first one of the same state, which collects for all
} Autodiff;

// A rule's view of one node. New ids: y the value, dy its derivative, in the operands.
typedef struct {
    Autodiff *ad;
    Builder *b;
    NodeId n; // old id
    NodeId y, dy;
    bool chosen; // dy came by a choice, or this op is one
    NodeId in[8];
} Gradient;

// Marks, by StateId, the states that derivatives of a real value of f reach: by others it has none.
void autodiff_reached(const Module *m, const Func *f, NodeId value, uint8_t *states);

// Whether the derivative by operand i is needed; new nodes then belong to it (phase and name).
bool gradient_for(Gradient *g, uint32_t i);
// Adds v to the derivative by operand i. v has the axes of the node, or just the operand's.
void gradient_give(Gradient *g, uint32_t i, NodeId v);
// The derivative by operand i collected so far, or NONE, for ops that add to an accumulator; the
// new total replaces it.
NodeId gradient_sum(const Gradient *g, uint32_t i);
void gradient_set(Gradient *g, uint32_t i, NodeId total);

// NULL: no derivative passes.
typedef void GradientFn(Gradient *g);
extern GradientFn *const gradient_table[OP_COUNT];

// Random valid modules from a seed: what the pass tests and the fuzzers feed on.
#pragma once
#include "ir/build.h"

typedef struct {
    uint64_t seed;
    uint32_t nodes; // about this many, besides leaves
    // false: a function "f" with outputs and assigned states.
    // true: a function "step" with an f32 result "loss", differentiated by every param state:
    // results "g0", "g1", …
    bool gradients;
    bool smooth; // no jumps: nothing compares, floors or rounds a float
    bool twins; // states with equal updates beside the rest, as an optimizer's (not with gradients)
    bool narrow, multiplied; // narrow types; and they are operands of contractions
    bool attention; // and values that are scores, what is made of their rows, and sums of that
    int64_t batch;  // > 0: one axis is the sample axis, of this size, and inputs carry it first
} IrGen;

Module *irgen_module(Arena *a, SymTab *syms, Diag *diag, const IrGen *options);

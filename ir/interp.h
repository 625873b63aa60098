// The oracle: a slow evaluator that defines what a function means.
//
//   INTERP_F64    floats are double, transcendental functions libm's: for finite differences
//   INTERP_EXACT  floats are f32 with the rounding, fold order and scalar definitions that
//                 docs/numerics.md promises: kinterp and native kernels equal it bit for bit
#pragma once
#include "ir/ir.h"

typedef enum { INTERP_F64, INTERP_EXACT } InterpMode;

// A tensor's elements in the row-major order of its type's list. Floats are held as double (an f32
// is exact in a double), integers and bools as their value.
typedef struct {
    TypeId type;
    double *at;
} Tensor;

typedef struct {
    Module *m;
    InterpMode mode;
    Arena *arena;
    // Values of inputs by name; a function that needs one which is absent is an error.
    bool (*input)(void *user, const char *name, TypeId type, double *out);
    void *user;
    Tensor *states;      // by StateId; assigned in place when the function has run
    uint64_t seed, step; // for random
    uint32_t rank;       // of the mesh, which this one is
    bool backwards;      // F64: folds and products take their elements in the contrary order
} Interp;

void interp_init(Interp *in, Module *m, InterpMode mode, Arena *a); // states zeroed
// Runs f. values[n] is the tensor of node n (NULL to not keep them). Returns false with the reason in
// *why (unsupported op such as grad before autodiff, missing input).
bool interp_run(Interp *in, const Func *f, Tensor *results, Tensor *values, Text *why);
// All ranks of the module's mesh in lockstep, node by node: in[r] is rank r, with its parts of states and inputs;
// results[r] and values[r] as above, values NULL or one array for each rank.
bool interp_run_ranks(Interp *in, const Func *f, Tensor **results, Tensor **values, Text *why);
// Copies what x, held by rank `from`, and out, held by rank `to`, have of the same whole.
void tensor_overlap(const Module *m, const Tensor *x, uint32_t from, Tensor *out, uint32_t to);
// The exact contraction and folds, shared with kinterp and tests.
float exact_fold_row(ReduceKind kind, const float *x, int64_t n, int64_t stride);

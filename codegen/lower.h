// Lowering: what a group node becomes. A map, rows, columns or scatter group is one kernel; a gemm group
// is one GEMM with an optional epilogue kernel.
//
// The value of a node is an expression over the kernel's axes. Views move no data: they rewrite the
// index with which their operand is evaluated, down to the loads (lower_value.c). The same node at the
// same index is one kernel op.
#pragma once
#include "codegen/kernel.h"
#include "ir/view.h"
#include "runtime/plan.h"

// An argument of a kernel or GEMM: operand or result `index` of the group.
typedef struct {
    bool result;
    uint32_t index;
} LowerRef;
typedef VEC(LowerRef) LowerRefs;

// A product with what a library's call can compute besides, and nothing else; bias.index etc. mean
// something where `has` says so.
typedef struct {
    bool known;
    bool has_bias, has_aux, has_sum;
    SnFunction function;
    SnSums sums;
    LowerRef result, bias, aux, sum; // result: what the product stores as C
} LowerCall;

typedef struct {
    Kernel *kernel; // the kernel, or the epilogue of the GEMM; NULL: a plain GEMM
    LowerRefs refs; // arguments of `kernel`, one per KArg
    bool is_gemm;
    SnGemm
        gemm; // c_arg, acc_arg, epilogue: 1 when present, else UINT32_MAX; filled by the plan writer
    LowerRef a, b, c, acc;
    LowerCall call; // of a gemm: the same group for targets whose products are a library's
    bool in_place;  // scatter: result 0 starts as a copy of operand `acc` and is added to in place
} Lowered;

// acc_operand[i]: operand i is an accumulator that this function also assigns. False with the reason
// (a shape that the kernel IR cannot hold) in *why.
bool lower_group(Arena *a, const Module *m, const Func *f, NodeId group, const uint8_t *acc_operand,
                 Lowered *out, Text *why);

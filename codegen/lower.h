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

// What a product has beside its operands, as SnGemm.has says, and where: one ref for each part that is an
// argument, meaningless for others.
enum { LOWER_PARTS = SN_GEMM_SUM + 1 };
typedef struct {
    uint32_t has;
    LowerRef part[LOWER_PARTS];
} LowerParts;

static inline void lower_part(LowerParts *to, SnGemmPart part, LowerRef ref) {
    to->has |= sn_gemm_bit(part);
    to->part[part] = ref;
}

// A product with what a library's call can compute besides, and nothing else.
typedef struct {
    bool known;
    SnFunction function;
    SnSums sums;
    LowerParts parts; // without the accumulator, which is the product's own
} LowerCall;

typedef struct {
    Kernel *kernel; // the kernel, or the epilogue of the GEMM; NULL: a plain GEMM
    LowerRefs refs; // arguments of `kernel`, one per KArg
    bool is_gemm;
    SnGemm gemm; // has, epilogue, function and sums are filled in by the plan writer
    LowerRef a, b, acc;
    LowerParts parts;
    LowerCall call; // of a gemm: the same group for targets whose products are a library's
    bool in_place;  // scatter: result 0 starts as a copy of operand `acc` and is added to in place
} Lowered;

// acc_operand[i]: operand i is an accumulator that this function also assigns. False with the reason
// (a shape that the kernel IR cannot hold) in *why.
bool lower_group(Arena *a, const Module *m, const Func *f, NodeId group, const uint8_t *acc_operand,
                 Lowered *out, Text *why);

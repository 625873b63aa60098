// What one training step of a plan for a GPU costs, counted without one: launches, products, bytes of
// device memory. A kernel's bytes are those of its inputs once and its outputs once (SnKernel.bytes), a
// product's those of its two operands, its result and what it adds.
#pragma once
#include "ir/ir.h"
#include "runtime/plan.h"
#include "tools/roofline.h"

// Equal commands of one section: the same kernel, the same product, or a copy or fill of as many bytes.
typedef struct {
    const char *section, *name; // name: "h.*.attn.q", of the first one if they differ, with "…"
    VEC(uint32_t) commands;     // of the plan, at least one
    uint32_t count;             // in a step
    SnCmdOp op;
    const SnKernel *kernel; // NULL: cuBLASLt, a copy, a fill
    const SnGemm *gemm;     // NULL: not a product
    double flops, bytes;    // of one
    GpuRate rate;           // of its operations
    bool attention;         // kept whole, by a kernel of ours
} AccountLine;

typedef struct {
    uint32_t kernels, products, others; // commands in a step; products: by cuBLASLt or by ours
    double kernel_flops, kernel_bytes, product_flops, product_bytes, other_bytes;
} AccountTotal;

typedef struct {
    VEC(AccountLine) lines; // in the order of the step
    AccountTotal total;
} Account;

// A step is the prologue and the micro-batch `accum` times, then the update.
void account_step(Arena *a, const SnPlan *plan, uint32_t accum, Account *out);

// Kernels and products of one round of the model's repeated block, forward and backward, in one
// micro-batch. A command belongs to the round that its name tells ("h.3.attn.q"), one without a number
// to the round of the command before it. layers: rounds seen; 0: the model repeats nothing. The figures
// are those of a round in the middle: the first and the last may share commands with what is around.
//
// kernel_bytes: of its kernels, without attention_bytes: those of kernels that keep attention whole, which are
// products. saved_bytes: what its forward pass stores and the derivatives read. m: the module that the plan was
// made of; NULL: saved_bytes is 0.
typedef struct {
    uint32_t layers, kernels, products, others;
    double kernel_bytes, attention_bytes, saved_bytes;
} AccountLayer;
AccountLayer account_layer(Arena *a, const SnPlan *plan, const Module *m);

// Operations of an attention's products at the keys that its rows need: as far as they follow from the strips'
// hulls, whose ends are taken to be straight lines between strips, as those of causal masks and windows are.
// By how the products sum: [1] in pairs, [0] the others.
void account_attend_needed(const SnPlan *plan, const SnAttend *a, double flops[2]);

// "48 x 64 x 64 x 64": batch (left out when 1), rows, columns, sum.
void account_shape(const SnGemm *g, char *to, size_t size);
// All regions and cuBLASLt's workspace.
int64_t account_peak(const SnPlan *plan);

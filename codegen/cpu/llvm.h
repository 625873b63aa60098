// What the files of codegen/cpu share: one LLVM module in the making, its types, and how functions
// get into the function table. Not for others: they see cpu.h.
#pragma once
#include "codegen/cpu/cpu.h"
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

// One LLVM module with its own context, so that several can be compiled at the same time.
typedef struct {
    LLVMContextRef cx;
    LLVMModuleRef module;
    LLVMBuilderRef b; // position it before use: llvm_define does
    LLVMTypeRef t_void, t_i1, t_i8, t_i16, t_i32, t_i64, t_f16, t_f32, t_ptr;
    uint64_t weight; // how much code it has, roughly: units are kept equally heavy
} LlvmUnit;

typedef struct {
    const char *symbol;
    const Kernel *kernel; // NULL: not from a kernel
} CpuEntry;

// Code that kernels share which differ in the keys of their random numbers only (share.c).
typedef struct {
    const char *text; // of the kernel without name and keys
    size_t n;
    LlvmUnit *unit;
    LLVMValueRef fn;
} CpuBody;

enum { CPU_MAX_UNITS = 2, CPU_MAX_KEYS = 16 };
struct CpuModule {
    Arena *arena;
    CpuIsa isa;
    LlvmUnit unit[CPU_MAX_UNITS];
    uint32_t units;
    VEC(CpuEntry) entries; // the function table
    Map kernels;           // kernel hash -> 1 + first entry with it
    VEC(CpuBody) bodies;
};

// Starts a function: the table's next entry, in a unit chosen by its index. Returns the function
// with the unit's builder at the start of its only block, "entry". It is external but hidden, never
// unwinds, and may use the full registers of the ISA. Parameters: LLVMGetParam.
// `name` need not be unique: the symbol is made so.
typedef enum { FN_KERNEL, FN_EPILOGUE, FN_STRIP, FN_UKR } CpuFnKind; // signatures of runtime/plan.h
uint32_t llvm_params(CpuFnKind kind);                                // how many parameters it has
LLVMValueRef llvm_define(CpuModule *m, CpuFnKind kind, const char *name, LlvmUnit **unit,
                         uint32_t *index);

// The same in a given unit; and a function that is no entry of the table, with `more` (at most
// CPU_MAX_KEYS) parameters of type i64 behind those of the kind.
LlvmUnit *llvm_lightest(CpuModule *m);
LLVMValueRef llvm_define_in(CpuModule *m, const LlvmUnit *u, CpuFnKind kind, const char *name,
                            uint32_t *index);
LLVMValueRef llvm_define_body(CpuModule *m, const LlvmUnit *u, CpuFnKind kind, const char *name,
                              uint32_t more);

LLVMTargetMachineRef llvm_target_machine(const CpuIsa *isa); // to be disposed of by the caller

// A vector type, and constants.
LLVMTypeRef llvm_vec(LLVMTypeRef element, unsigned lanes);
LLVMValueRef llvm_i64(const LlvmUnit *u, int64_t x);
LLVMValueRef llvm_i32(const LlvmUnit *u, uint32_t x);
LLVMValueRef llvm_f32(const LlvmUnit *u, float x);
// Calls an intrinsic such as "llvm.fma"; `types` are its overloaded types.
LLVMValueRef llvm_intrinsic(const LlvmUnit *u, const char *name, const LLVMTypeRef *types,
                            unsigned ntypes, const LLVMValueRef *args, unsigned nargs);
LLVMValueRef llvm_splat(const LlvmUnit *u, LLVMValueRef scalar, unsigned lanes);
// Appends a block to the function being built; does not move the builder.
LLVMBasicBlockRef llvm_block(const LlvmUnit *u, const char *name);
// Loads and stores with an alignment that is promised (4 for f32 and i32, 1 for bool).
LLVMValueRef llvm_load(const LlvmUnit *u, LLVMTypeRef type, LLVMValueRef ptr, unsigned align);
void llvm_store(const LlvmUnit *u, LLVMValueRef value, LLVMValueRef ptr, unsigned align);
// ptr + index elements of `type`.
LLVMValueRef llvm_at(const LlvmUnit *u, LLVMTypeRef type, LLVMValueRef ptr, LLVMValueRef index);

// A counted loop: for (i = from; i < to; i += step). llvm_loop leaves the builder in the body and
// gives i; llvm_loop_end closes it and leaves the builder behind the loop. Skipped when from >= to.
// The loop carries no other values: keep those in allocas (optimised into registers) or memory.
typedef struct {
    LLVMValueRef i, step;
    LLVMBasicBlockRef head, done;
} LlvmLoop;
LlvmLoop llvm_loop(const LlvmUnit *u, LLVMValueRef from, LLVMValueRef to, int64_t step,
                   const char *name);
void llvm_loop_end(const LlvmUnit *u, LlvmLoop *l);
// An alloca in the function's entry block.
LLVMValueRef llvm_local(const LlvmUnit *u, LLVMTypeRef type, const char *name);

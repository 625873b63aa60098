// CPU code generation: kernels in, one object file (or code in this process) out. The only header
// of codegen/cpu that others include; it names no LLVM type. docs/kernels.md says what a kernel is.
//
// Use: cpu_isa_resolve, cpu_module_new, cpu_add_kernel for each kernel and cpu_add_gemm once, then
// either cpu_write_object or cpu_jit. Function-table indices are what the plan stores in
// SnKernel.fn and SnPlan.ukr. The same calls in the same order give the same bytes.
#pragma once
#include "codegen/plan.h"

// An instruction set that code is generated for.
typedef struct {
    const char *name; // "x86-64-v3", "x86-64-v4" or "x86-64-v4+bf16": recorded in the plan
    const char *base; // LLVM's name of the CPU, and what it has beyond that
    const char *more;
    const char *tune;  // LLVM CPU name whose timings guide scheduling; never changes the result
    uint32_t features; // SN_CPU_*: what the executable asks CPUID for at start
    uint32_t lanes;    // f32 lanes of a register: 8 or 16
    bool here;         // this machine can run it
} CpuIsa;

// Resolves --cpu: native or the name of a level. native is the best of them that this machine runs, tuned
// for it. False with the reason in *why.
bool cpu_isa_resolve(Arena *a, const char *name, CpuIsa *isa, Text *why);

void cpu_print_version(Text *to); // of LLVM, as it is loaded: "19.1.7"

typedef struct CpuModule CpuModule;
// Lives until cpu_module_free; the arena holds its tables and must live as long.
CpuModule *cpu_module_new(Arena *a, const CpuIsa *isa);
void cpu_module_free(CpuModule *m);
const CpuIsa *cpu_module_isa(const CpuModule *m);

// Generates code for a finished kernel; returns its index in the function table. A kernel equal to
// an earlier one shares its code. k must live as long as the module.
uint32_t cpu_add_kernel(CpuModule *m, const Kernel *k);

// The GEMM micro-kernels (ukr.c): all of SnPlan.ukr, mr and nr, as they go into the plan.
typedef struct {
    uint32_t ukr; // first of sn_ukr_sizes(mr) * nr / 16 entries in the function table
    uint32_t mr, nr;
    uint32_t pairs; // likewise, of SnPlan.ukr_pairs, where the level has SN_CPU_BF16
} CpuGemm;
CpuGemm cpu_add_gemm(CpuModule *m);

// The target's part of a plan: code for its kernels is added to m while the plan is written. Adds the
// micro-kernels. `info` is otherwise the caller's.
typedef struct {
    CpuModule *module;
    CpuGemm gemm;
} CpuPlan;
void cpu_plan(CpuModule *m, CpuPlan *state, PlanInfo *info);

uint32_t cpu_functions(const CpuModule *m); // entries in the function table

// What an executable holds for one kind of device: the plan, and for devices other than the CPU, their
// code. data and plan need only live until the object is written.
typedef struct {
    const void *plan;
    size_t plan_size;
    const SnImage *images; // NULL: the CPU's program, whose code is the module
    uint32_t image_count;
} ObjectProgram;

// Optimises, generates code, and writes what link_executable takes first: an object, or an archive
// of objects, that defines sn_programs. The module is used up. False with the reason in *why.
bool cpu_write_object(CpuModule *m, const ObjectProgram *programs, uint32_t n, const char *path,
                      Text *why);

// The same code loaded into this process. The module is used up. NULL with the reason in *why.
typedef struct CpuJit CpuJit;
typedef void (*CpuFunction)(void); // cast to SnKernelFn, SnEpilogueFn, SnUkrFn
CpuJit *cpu_jit(CpuModule *m, Text *why);
CpuFunction cpu_jit_function(const CpuJit *j, uint32_t index);
void cpu_jit_free(CpuJit *j);

// LLVM's text of the module before and after optimisation, for dumps and debugging.
void cpu_print_llvm(CpuModule *m, Text *to);

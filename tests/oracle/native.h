// A lowered program as native code in this process, ready to run: what sinter build and the
// executable's start do together, without files.
#pragma once
#include "codegen/cpu/cpu.h"
#include "codegen/plan.h"
#include "runtime/sinter.h"

typedef struct {
    const char *cpu; // NULL: native
    int threads;     // 0: 2
    const PlanScalar *scalars;
    uint32_t scalar_count;
} NativeOptions;

typedef struct {
    CpuModule *module;
    CpuJit *jit;
    const SnPlan *plan;
    SnExec *exec;
} Native;

// False with the reason in *why. native_close is to be called either way. The arena holds the plan
// and must live as long.
bool native_open(Arena *a, const KernelProgram *program, const NativeOptions *o, Native *out,
                 Text *why);
void native_close(Native *n);

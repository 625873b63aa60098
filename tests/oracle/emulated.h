// A lowered program on the emulated CUDA device, in this process: printed, compiled to PTX by NVRTC,
// loaded through the same runtime that drives a GPU.
#pragma once
#include "codegen/cuda/cuda.h"
#include "runtime/sinter.h"

typedef struct {
    const char *target; // "sm_90a"
    const char *device; // "cuda:0"; NULL: the emulated one
    const char *cache;  // directory of compiled programs; NULL: none
    const PlanScalar *scalars;
    uint32_t scalar_count;
} EmulatedOptions;

typedef struct {
    CudaModule *module;
    SnProgram programs[2];
    SnExec *exec;
} Emulated;

// False with the reason in *why. emulated_close is to be called either way. The process has one
// emulated device: one Emulated is open at a time. The arena must live as long.
bool emulated_open(Arena *a, const KernelProgram *program, const EmulatedOptions *o, Emulated *out,
                   Text *why);
void emulated_close(Emulated *e);

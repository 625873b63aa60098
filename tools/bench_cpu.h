// Parts of the bench of the CPU: a model's step in this process, what the machine can do, how much memory other
// lengths take, and PyTorch beside it.
#pragma once
#include "codegen/cpu/cpu.h"
#include "runtime/core/gemm.h"
#include "runtime/core/pool.h"
#include "runtime/sinter.h"
#include "tools/driver.h"
#include <time.h>

// ---- bench_step.c: one optimizer step of native code, random inputs

typedef struct {
    Driver *d;
    const SnPlan *plan;
    CpuJit *jit;
    void (**functions)(void);
} BenchStep;

// Compiles the driver's model into this process. False after reporting.
bool bench_step_load(BenchStep *s, Driver *d);
// Ready to run, with initial values; ends the program where the machine cannot.
SnExec *bench_step_open(const BenchStep *s, int threads);
// Runs step number `step` of one micro-batch; seconds.
double bench_step_run(const BenchStep *s, SnExec *x, uint32_t step);

// ---- bench_rates.c

// The micro-kernel's own rate, all threads together: flop/s on operands that stay in the caches; of floats, or of
// pairs of bf16. clock: of the wall or of the process's time.
double bench_ukr_rate(SnPool *pool, const SnGemmKit *kit, bool pairs, clockid_t clock);
// Bytes a second, read and written, of copying one half of `ring` into the other with all threads.
double bench_copy_rate(SnPool *pool, char *ring, int64_t bytes);

// ---- bench_memory.c

// A table of the peak of one sample by length of the axis seq: what the plan says, and what a step takes where the
// machine has room. lengths: "1024,2048". The exit status, after printing.
int bench_memory(Driver *d, const char *lengths);

// ---- bench_torch.c: GPT-2's step in PyTorch, in a process of its own

typedef struct BenchTorch BenchTorch;
// Starts it, which takes as long as torch.compile does; NULL after printing why not. bf16: autocast.
BenchTorch *bench_torch_start(const BenchStep *s, const char *python, int threads, bool bf16);
double bench_torch_step(BenchTorch *t); // seconds; negative: it ended
const char *bench_torch_version(const BenchTorch *t);
void bench_torch_end(BenchTorch *t);

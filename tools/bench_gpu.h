// sinter bench --target sm_XX: what a training step costs on a GPU. Without one, counted and estimated
// from the plan and what ptxas says of the kernels; with one, each command measured beside that.
#pragma once
#include "tools/account.h"
#include "tools/driver.h"
#include "tools/roofline.h"

// d->cuda[0] is the target. The exit code.
int bench_gpu(Driver *d);

// ---- between the files of the bench

// What a run on a device showed. Seconds by command of the plan: the median of `repeat` steps in which
// each command was waited for. step: the median of as many steps that ran as graphs.
typedef struct {
    bool emulated; // by the CPU: its times say nothing about a GPU
    char device[128];
    double *seconds, step;
    double loss[2]; // of the first step and the last
} GpuRun;
// Runs steps on the device that SINTER_DEVICE names, else on the first GPU. False with the reason.
bool gpu_run(Arena *a, const SnProgram *programs, uint32_t accum, double micro, int repeat,
             GpuRun *out, Text *why);

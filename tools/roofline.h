// What a GPU could do at most: the table of GPUs, how many threads a multiprocessor holds of a kernel,
// and the least time that a kernel or a product takes (Williams, Waterman, Patterson, "Roofline", 2009).
// Estimates, not predictions: caches, waves and latencies are not in them.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// A row of gpus.def, whose head says what the columns are and where they come from.
typedef struct {
    const char *name, *short_name, *device;
    uint32_t sm, multiprocessors;
    double f32, tf32, bf16, fp8;                 // TFLOP/s
    double memory, bandwidth;                    // GB, GB/s
    uint32_t l2;                                 // MiB
    uint32_t registers, shared, threads, blocks; // of a multiprocessor; shared in KiB
    double driver, context;                      // MiB; 0: not known
    double pcie, h2d, d2h, both, link, nic;      // GB/s; 0: not known, or there is none
} Gpu;

const Gpu *gpu_at(uint32_t i);         // NULL behind the last
const Gpu *gpu_find(const char *name); // by our name; NULL: unknown
const Gpu *gpu_of_sm(uint32_t sm);     // the first row of that architecture, or NULL
const Gpu *
gpu_of_device(const char *device); // by the driver's name, which may be followed by ", …"

// GB/s to the host's pinned memory and from it while both go on. Where that was not measured, half of what one
// direction has alone; false: neither is known.
bool gpu_links(const Gpu *g, double *out, double *in);

typedef enum {
    LIMIT_threads,
    LIMIT_blocks,
    LIMIT_registers,
    LIMIT_shared,
    LIMIT_COUNT
} OccupancyLimit;
typedef struct {
    uint32_t blocks;      // of a multiprocessor at a time; 0: the kernel cannot start
    double share;         // of the warps that it can hold
    OccupancyLimit limit; // what allows no more blocks; of several the first in the list above
} Occupancy;
// registers: of a thread; shared: static and dynamic bytes of a block; block: threads.
Occupancy gpu_occupancy(const Gpu *g, uint32_t registers, uint32_t shared, uint32_t block);

// Seconds that a command costs even when it does nothing: a node of a CUDA graph behind another one it
// depends on. Assumed, not measured and not from a data sheet: 2 microseconds.
#define ROOFLINE_START 2e-6

// Which rate a command's operations have: products by their operands, all else f32's without tensor cores.
typedef enum { RATE_f32, RATE_tf32, RATE_bf16, RATES } GpuRate; // bf16: of all 16-bit operands
extern const char *const gpu_rate_names[RATES];
double gpu_rate(const Gpu *g, GpuRate rate); // TFLOP/s

typedef enum { BOUND_start, BOUND_memory, BOUND_flops } RooflineBound;
typedef struct {
    double seconds; // the start and the larger one of flops at the rate, bytes at the bandwidth
    RooflineBound bound; // the largest of the three
} Roofline;
// The start, and the larger of work and traffic; rates of one second.
double roofline_seconds(double start, double flops, double rate, double bytes, double bandwidth);
// bytes: of device memory, each tensor read or written once. A kernel that is no multiply-add reaches half of the
// f32 rate at most.
Roofline roofline(const Gpu *g, GpuRate rate, double flops, double bytes);

// See roofline.h. Occupancy follows the rules of cuda_occupancy.h, which NVIDIA ships with CUDA, for
// compute capability 8.0 and later:
//
//   warps      a block takes whole warps of 32 threads
//   registers  a warp takes 32 x registers rounded up to 256, of one of the four parts that a
//              multiprocessor's registers are in; a block must fit as if its warps, rounded up to a
//              multiple of four, were all there
//   shared     a block takes what it asks for and 1 KiB of the system's, rounded up to 128 bytes, of
//              all that the multiprocessor has (the largest carve-out)
#include "tools/roofline.h"
#include <string.h>

enum {
    WARP = 32,
    PARTS = 4,
    REGISTER_STEP = 256,
    MAX_REGISTERS = 255,
    SHARED_STEP = 128,
    SHARED_SYSTEM = 1024,
    MAX_BLOCK = 1024
};

static const Gpu gpus[] = {
#define GPU(...) {__VA_ARGS__},
#include "tools/gpus.def"
#undef GPU
};

const Gpu *gpu_at(uint32_t i) { return i < sizeof gpus / sizeof *gpus ? &gpus[i] : NULL; }

const Gpu *gpu_find(const char *name) {
    for (uint32_t i = 0; gpu_at(i); i++)
        if (strcmp(gpus[i].name, name) == 0) return &gpus[i];
    return NULL;
}

const Gpu *gpu_of_sm(uint32_t sm) {
    for (uint32_t i = 0; gpu_at(i); i++)
        if (gpus[i].sm == sm) return &gpus[i];
    return NULL;
}

const Gpu *gpu_of_device(const char *device) {
    for (uint32_t i = 0; gpu_at(i); i++) {
        size_t n = strlen(gpus[i].device);
        if (strncmp(gpus[i].device, device, n) == 0 && (!device[n] || device[n] == ','))
            return &gpus[i];
    }
    return NULL;
}

bool gpu_links(const Gpu *g, double *out, double *in) {
    double alone = g->d2h > 0 ? g->d2h : g->h2d;
    *out = alone / 2;
    *in = g->both > 0 ? g->both : alone / 2;
    return alone > 0;
}

static uint32_t pieces(uint32_t n, uint32_t size) { return (n + size - 1) / size; }
static uint32_t round_up(uint32_t n, uint32_t step) { return pieces(n, step) * step; }

static uint32_t blocks_by_registers(const Gpu *g, uint32_t registers, uint32_t warps) {
    uint32_t of_warp = round_up(registers * WARP, REGISTER_STEP);
    if (registers > MAX_REGISTERS || of_warp * round_up(warps, PARTS) > g->registers) return 0;
    return of_warp ? g->registers / PARTS / of_warp * PARTS / warps : UINT32_MAX;
}

static uint32_t blocks_by_shared(const Gpu *g, uint32_t shared) {
    uint64_t all = (uint64_t)g->shared * 1024;
    uint64_t of_block =
        ((uint64_t)shared + SHARED_SYSTEM + SHARED_STEP - 1) / SHARED_STEP * SHARED_STEP;
    return (uint32_t)(all / of_block);
}

Occupancy gpu_occupancy(const Gpu *g, uint32_t registers, uint32_t shared, uint32_t block) {
    if (block == 0 || block > MAX_BLOCK) return (Occupancy){0};
    uint32_t warps = pieces(block, WARP);
    const uint32_t most[LIMIT_COUNT] = {
        [LIMIT_threads] = g->threads / WARP / warps,
        [LIMIT_blocks] = g->blocks,
        [LIMIT_registers] = blocks_by_registers(g, registers, warps),
        [LIMIT_shared] = blocks_by_shared(g, shared),
    };
    Occupancy o = {.blocks = UINT32_MAX};
    for (uint32_t i = 0; i < LIMIT_COUNT; i++)
        if (most[i] < o.blocks) o.blocks = most[i], o.limit = (OccupancyLimit)i;
    o.share = (double)(o.blocks * warps) / (g->threads / WARP);
    return o;
}

const char *const gpu_rate_names[RATES] = {"f32", "tf32", "bf16"};

double gpu_rate(const Gpu *g, GpuRate rate) {
    const double rates[RATES] = {g->f32, g->tf32, g->bf16};
    return rates[rate];
}

double roofline_seconds(double start, double flops, double rate, double bytes, double bandwidth) {
    double compute = flops / rate, memory = bytes / bandwidth;
    return start + (compute > memory ? compute : memory);
}

Roofline roofline(const Gpu *g, GpuRate of, double flops, double bytes) {
    double rate = gpu_rate(g, of) * 1e12, bandwidth = g->bandwidth * 1e9;
    double seconds = roofline_seconds(ROOFLINE_START, flops, rate, bytes, bandwidth);
    RooflineBound bound = flops / rate > bytes / bandwidth ? BOUND_flops : BOUND_memory;
    return (Roofline){seconds, seconds < 2 * ROOFLINE_START ? BOUND_start : bound};
}

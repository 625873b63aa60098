// Which kernels share code. Kernels that are equal, or differ in the keys of their random numbers only
// (initial values and dropout: one key a tensor), are one function that takes the keys as parameters.
// Constant time per kernel beside its text.
#include "codegen/cuda/print.h"
#include <string.h>

// What stands in front of it beside kernel.cuh.
static CudaTemplate template_of(const CuGeometry *g) {
    switch (g->shape) {
    case CU_WARPS:
    case CU_BLOCK:
    case CU_CHUNK: return CUDA_fold;
    case CU_SCATTER: return CUDA_scatter;
    case CU_MAP:
    case CU_TURN:
    case CU_WALK:
    case CU_STAGE: return CUDA_kernel;
    }
    unreachable(g->shape);
}

static void print_new(CudaModule *m, const Kernel *plain, const char *name, const CuGeometry *g,
                      uint32_t keys, bool table, CudaLaunch *launch) {
    Arena *scratch = arena_new();
    *launch = (CudaLaunch){.block = g->threads, .nkeys = keys};
    launch->grid[0] = (uint32_t)g->blocks[0];
    launch->grid[1] = (uint32_t)g->blocks[1];
    launch->grid[2] = 1;
    Text *to =
        cuda_module_open_function(m, name, template_of(g), &launch->function, &launch->batch);
    cu_print_function(scratch, to, plain, g, launch->function, keys, table);
    arena_free(scratch);
}

bool cuda_add_kernel(CudaModule *m, const Kernel *k, bool table, CudaLaunch *launch, Text *why) {
    uint64_t keys[CUDA_MAX_KEYS];
    uint32_t n = 0, *slot;
    CuGeometry g;
    Kernel plain = kernel_without_keys(m->arena, k, keys, CUDA_MAX_KEYS, &n);
    Text text = {.arena = m->arena};
    if (table) text_put(&text, "table\n", 6);
    kernel_print(&text, &plain);
    const CudaPrinted *old = cuda_module_find(m, &text, &slot);
    if (!old) {
        if (!cu_geometry(&plain, &g, why)) return false;
        CudaPrinted new = {.text = text.at, .n = text.n};
        print_new(m, &plain, k->name, &g, n, table, &new.launch);
        vec_push(m->arena, &m->printed, new);
        *slot = m->printed.n;
        old = &m->printed.at[m->printed.n - 1];
    }
    *launch = old->launch;
    launch->nkeys = n;
    memcpy(launch->key, keys, n * sizeof *keys);
    return true;
}

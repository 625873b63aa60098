// CUDA's part of a plan: kernels are started by grids, products are calls of cuBLASLt where it can take
// their strides, else kernels of ours.
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/lt.h"
#include "codegen/cuda/module.h"
#include <string.h>

// What a call of cuBLASLt may use: NVIDIA recommends 32 MiB for Hopper, 4 MiB before.
enum { WORKSPACE = 32 << 20 };

static void take_launch(SnKernel *to, const CudaLaunch *l) {
    to->fn = l->function;
    to->batch = l->batch;
    memcpy(to->grid, l->grid, sizeof to->grid);
    to->block = l->block;
    to->shared = l->shared;
    to->nkeys = l->nkeys;
    memcpy(to->key, l->key, l->nkeys * sizeof *l->key);
}

static bool kernel(void *user, const Kernel *k, SnKernel *to, Text *why) {
    CudaPlan *p = user;
    CudaLaunch l;
    if (!cuda_add_kernel(p->module, k, to->table != 0, &l, why)) return false;
    take_launch(to, &l);
    return true;
}

static SnLt call_of(const CudaLt *l) {
    return (SnLt){.rows = l->m,
                  .cols = l->n,
                  .k = l->k,
                  .batch = l->batch,
                  .lda = l->lda,
                  .ldb = l->ldb,
                  .ldc = l->ldc,
                  .stride_a = l->stride_a,
                  .stride_b = l->stride_b,
                  .stride_c = l->stride_c,
                  .trans_a = l->trans_a,
                  .trans_b = l->trans_b,
                  .swap = l->swap};
}

static int64_t columns(const SnGemm *g) {
    int64_t n = 1;
    for (uint32_t i = 0; i < g->nn; i++) n *= g->n[i].extent;
    return n;
}

static bool gemm(void *user, SnGemm *g, const char *what, Loc loc, SnKernel *to, Text *why) {
    CudaPlan *p = user;
    CudaLaunch l;
    Text refused = {.arena = why->arena};
    CudaLt lt;
    bool library = cuda_lt_plan(g, &lt, &refused);
    if (library && g->bias_arg != 0 && (!lt.swap || lt.m != columns(g))) {
        text_printf(&refused, "the bias is not along C's adjacent elements");
        library = false;
    }
    if (p->decide)
        p->decide(p->user, what, loc, library,
                  library ? (g->bias_arg == 0 ? "one call" : "one call, its bias included")
                          : refused.at);
    p->calls += library;
    if (library) {
        g->lt = call_of(&lt);
        return true;
    }
    if (!cuda_add_gemm(p->module, g, what, &l, why)) return false;
    take_launch(to, &l);
    return true;
}

static void finish(void *user, SnPlan *head) {
    const CudaPlan *p = user;
    head->batches = cuda_batches(p->module);
    head->workspace = p->calls ? WORKSPACE : 0;
}

void cuda_plan(CudaPlan *p, PlanInfo *info) {
    info->target = "cuda";
    info->cpu = "";
    info->device = SN_DEVICE_CUDA;
    info->kernel = kernel;
    info->bundles = true;
    info->gemm = gemm;
    info->finish = finish;
    info->user = p;
}

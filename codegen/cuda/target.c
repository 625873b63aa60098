// CUDA's part of a plan: kernels are started by grids, products are calls of cuBLASLt where it can take
// their strides, else kernels of ours.
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/lt.h"
#include "codegen/cuda/module.h"
#include "codegen/lower.h"
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

// What the call computes besides the product has its columns along C's adjacent elements.
static bool takes_extras(const SnGemm *g, const CudaLt *lt, Text *why) {
    if (!sn_gemm_has(g, SN_GEMM_BIAS) && !g->function && !g->sums) return true;
    if (!lt->swap || lt->m != sn_extent(g->n, g->nn)) {
        text_printf(why, "the columns are not C's adjacent elements");
        return false;
    }
    if (sn_gemm_has(g, SN_GEMM_AUX) && lt->ldc % 8 != 0) {
        text_printf(why, "rows of %lld elements, not a multiple of 8", (long long)lt->ldc);
        return false;
    }
    if (g->sums && lt->batch > 1) {
        text_printf(why, "sums in each element of a batch");
        return false;
    }
    return true;
}

// For the ledger: what the call does.
static const char *call_text(Arena *a, const SnGemm *g) {
    const FunctionInfo *f = lower_function_info(g->function);
    const char *more = "", *one = g->tf32 ? "one call, in tf32" : "one call";
    if (f && !f->of && sn_gemm_has(g, SN_GEMM_AUX)) more = " and what it is applied to";
    if (f && g->sums) more = " and the sum of its rows";
    if (f) return arena_printf(a, "%s, with %s%s", one, f->says, more);
    if (g->sums) return arena_printf(a, "%s, with the sum of an operand's rows", one);
    return sn_gemm_has(g, SN_GEMM_BIAS) ? arena_printf(a, "%s, its bias included", one) : one;
}

// Without the library there is no tf32.
static bool without_tf32(const SnGemm *g, const char *what, const Text *refused, Text *why) {
    if (g->tf32 != TF32_MUST) return true;
    text_printf(why, "'%s' in tf32, which the plan demands: cuBLASLt cannot take it, for %s", what,
                refused->at);
    return false;
}

static bool gemm(void *user, SnGemm *g, const char *what, Loc loc, SnKernel *to, Text *why) {
    CudaPlan *p = user;
    CudaLaunch l;
    Text refused = {.arena = why->arena};
    CudaLt lt;
    bool library = cuda_lt_plan(g, &lt, &refused) && takes_extras(g, &lt, &refused);
    if (p->decide)
        p->decide(p->user, what, loc, library,
                  library   ? call_text(why->arena, g)
                  : g->tf32 ? arena_printf(why->arena, "f32 instead of tf32: %s", refused.at)
                            : refused.at);
    p->calls += library;
    if (!library && !without_tf32(g, what, &refused, why)) return false;
    g->tf32 = library && g->tf32 != TF32_NEVER;
    if (library) {
        g->lt = call_of(&lt);
        return true;
    }
    if (g->function || g->sums) {
        text_printf(why, "cuBLASLt cannot take '%s' (%s); without --cublaslt-epilogues it can be",
                    what, refused.at);
        return false;
    }
    if (!cuda_add_gemm(p->module, g, what, &l, why)) return false;
    take_launch(to, &l);
    return true;
}

static bool flash(void *user, const LowerFlash *f, FlashKernelKind kind, const char *what,
                  SnKernel *to, Text *why) {
    CudaPlan *p = user;
    CudaLaunch l;
    if (!cuda_add_flash(p->module, f, kind, what, &l, why)) return false;
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
    info->flash = flash;
    info->finish = finish;
    info->user = p;
}

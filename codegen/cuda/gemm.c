// Products that cuBLASLt cannot take, as a kernel: two operands of one 16-bit type by tensor cores (gemm_mma.c),
// all others in f32 by fused multiply-adds, with the CPU's bits (gemm_fma.c). The templates are in template/.
//
// SnExtents and strides are constants of the text; each operand is read along whichever of its directions is
// adjacent, 16 bytes at a time where alignment allows (buffers are aligned to 64). Constant time per product.
#include "codegen/cuda/gemm.h"
#include <string.h>

// ---- what is asked for --------------------------------------------------------------------------

static GemmExtents extents_of(const SnGemm *g) {
    SnExtents m = sn_extents(g->m, g->nm, false), n = sn_extents(g->n, g->nn, false);
    bool s =
        extents_unit(&m, IN_C) && !extents_unit(&n, IN_C); // lanes of a warp store along memory
    GemmExtents x = {.swapped = s,
                     .base = {s ? g->base_b : g->base_a, s ? g->base_a : g->base_b, g->base_c},
                     .add = sn_gemm_has(g, SN_GEMM_ACC),
                     .add_first = g->acc_first != 0,
                     .bias = sn_gemm_has(g, SN_GEMM_BIAS),
                     .bias_rows = s,
                     .elem = {s ? g->elem_b : g->elem_a, s ? g->elem_a : g->elem_b, g->elem_c}};
    x.batch = sn_extents(g->batch, g->nbatch, s);
    x.m = s ? sn_extents(g->n, g->nn, s) : m;
    x.n = s ? sn_extents(g->m, g->nm, s) : n;
    x.k = sn_extents(g->k, g->nk, s);
    return x;
}

bool gemm_narrow(const GemmExtents *x, int which) {
    const SnExtents *all[] = {&x->batch, &x->m, &x->n, &x->k};
    int64_t far = x->base[which];
    for (int i = 0; i < 4; i++)
        for (uint32_t d = 0; d < all[i]->count; d++) {
            int64_t s = extent_stride(&all[i]->dim[d], which);
            far += (all[i]->dim[d].extent - 1) * (s < 0 ? -s : s);
        }
    return far <= INT32_MAX;
}

static bool all_narrow(const GemmExtents *x) {
    return gemm_narrow(x, IN_A) && gemm_narrow(x, IN_B) && gemm_narrow(x, IN_C);
}

bool gemm_simple(const GemmExtents *x) {
    return all_narrow(x) && x->batch.count < 2 && x->m.count < 2 && x->n.count < 2 &&
           x->k.count < 2;
}

bool gemm_vectors(const GemmExtents *x, const SnExtents *along, int which, int64_t count) {
    const SnExtents *all[] = {&x->batch, &x->m, &x->n, &x->k};
    if (!extents_unit(along, which) || along->dim[along->count - 1].extent % count ||
        x->base[which] % count)
        return false;
    for (int i = 0; i < 4; i++)
        for (uint32_t d = 0; d < all[i]->count; d++)
            if (!(all[i] == along && d + 1 == along->count) &&
                extent_stride(&all[i]->dim[d], which) % count)
                return false;
    return true;
}

const SnExtents *gemm_rows(const GemmExtents *x, int which) {
    return which == IN_A ? &x->m : &x->n;
}

bool gemm_along_k(const GemmExtents *x, int which) {
    return extents_unit(&x->k, which) && !extents_unit(gemm_rows(x, which), which);
}

int64_t gemm_blocks(const GemmExtents *x, uint32_t bm, uint32_t bn) {
    return x->batch.size * sn_ceil_div(x->m.size, bm) * sn_ceil_div(x->n.size, bn);
}

double gemm_cost(const GemmExtents *x, uint32_t bm, uint32_t bn, uint32_t speed) {
    double waves = (double)sn_ceil_div(gemm_blocks(x, bm, bn), GEMM_PROCESSORS);
    return waves * bm * bn / speed;
}

// ---- text ---------------------------------------------------------------------------------------

// The element offset of index i along x.
static void put_offset(Text *to, const SnExtents *x, int which) {
    bool some = false;
    int64_t inner = 1;
    for (uint32_t d = x->count; d-- > 0; inner *= x->dim[d].extent) {
        int64_t stride = extent_stride(&x->dim[d], which);
        if (stride == 0) continue;
        text_printf(to, "%sOff(i", some ? " + " : "");
        if (inner > 1) text_printf(to, " / %lldu", (long long)inner);
        if (d) text_printf(to, " %% %lldu", (long long)x->dim[d].extent);
        text_put(to, ")", 1);
        if (stride != 1) text_printf(to, " * %lld", (long long)stride);
        some = true;
    }
    if (!some) text_put(to, "0", 1);
}

static void put_walk(Text *to, const char *name, int64_t base, const SnExtents *x, int which) {
    text_printf(to, "        static __device__ Off %s(u32 i) { return ", name);
    if (base) text_printf(to, "%lld + ", (long long)base);
    put_offset(to, x, which);
    text_printf(to, "; }\n");
}

static const char *truth(bool x) { return x ? "true" : "false"; }

void gemm_put_constants(Text *to, const GemmExtents *x) {
    bool wide = !all_narrow(x);
    text_printf(to, "    typedef %s Off;\n    typedef %s Place;\n", wide ? "i64" : "int",
                wide ? "u64" : "u32");
    text_printf(to, "    static constexpr u32 M = %lld, N = %lld, K = %lld;\n",
                (long long)x->m.size, (long long)x->n.size, (long long)x->k.size);
    text_printf(to, "    static constexpr bool ACC = %s, ACC_FIRST = %s;\n", truth(x->add),
                truth(x->add && x->add_first));
    text_printf(to, "    static constexpr bool BIAS = %s, BIAS_ROWS = %s;\n", truth(x->bias),
                truth(x->bias && x->bias_rows));
}

void gemm_put_operand(Text *to, const GemmExtents *x, int which, uint32_t width) {
    text_printf(to, "    struct %c {\n", 'A' + which);
    text_printf(to, "        static constexpr u32 WIDTH = %u;\n", width);
    text_printf(to, "        static constexpr bool ALONG_K = %s;\n", truth(gemm_along_k(x, which)));
    put_walk(to, "batch", x->base[which], &x->batch, which);
    put_walk(to, "row", 0, gemm_rows(x, which), which);
    put_walk(to, "k", 0, &x->k, which);
    text_printf(to, "    };\n");
}

void gemm_put_result(Text *to, const GemmExtents *x, uint32_t width) {
    text_printf(to, "    struct C {\n        static constexpr u32 WIDTH = %u;\n", width);
    put_walk(to, "batch", x->base[IN_C], &x->batch, IN_C);
    put_walk(to, "row", 0, &x->m, IN_C);
    put_walk(to, "column", 0, &x->n, IN_C);
    text_printf(to, "    };\n");
}

static void put_kernel(Text *to, const GemmExtents *x, const GemmKernel *k, uint32_t function) {
    text_printf(to, "extern \"C\" __global__ void __launch_bounds__(%u, %d) k%u(", k->threads,
                k->resident, function);
    text_printf(to, "const Env *env, const u32 place, const %s *__restrict__ %c, ",
                k->element[x->swapped], x->swapped ? 'B' : 'A');
    text_printf(to, "const %s *__restrict__ %c, %s *C", k->element[!x->swapped],
                x->swapped ? 'A' : 'B', k->element[2]);
    if (x->add) text_printf(to, ", const %s *acc", k->element[2]);
    if (x->bias) text_printf(to, ", const %s *bias", k->element[2]);
    text_printf(to, ") {\n    %s<Gemm%u>(env, place, A, B, C, %s, %s);\n}\n", k->function, function,
                x->add ? "acc" : "nullptr", x->bias ? "bias" : "nullptr");
}

// ---- the module ---------------------------------------------------------------------------------

static bool fits(const GemmExtents *x, Text *why) {
    const SnExtents *all[] = {&x->batch, &x->m, &x->n, &x->k};
    static const char *const name[] = {"batch", "m", "n", "k"};
    for (int i = 0; i < 4; i++)
        if (all[i]->size < 1 || all[i]->size > INT32_MAX) {
            text_printf(why, "a product with %lld elements along %s", (long long)all[i]->size,
                        name[i]);
            return false;
        }
    return true;
}

// Sums of tensor cores have an order of their own, which is asked for by operands that are narrow.
static bool by_tensor_cores(const GemmExtents *x) {
    return x->elem[0] == x->elem[1] && x->elem[0] != SN_ELEM_f32;
}

bool cuda_add_gemm(CudaModule *m, const SnGemm *g, const char *name, CudaLaunch *launch,
                   Text *why) {
    GemmExtents x = extents_of(g);
    if (!fits(&x, why)) return false;
    Text product = {.arena = m->arena};
    GemmKernel k = by_tensor_cores(&x) ? gemm_mma(&x, &product) : gemm_fma(&x, &product);
    int64_t blocks = gemm_blocks(&x, k.bm, k.bn);
    if (blocks > INT32_MAX) {
        text_printf(why, "a product with more tiles than a grid has blocks");
        return false;
    }
    uint32_t *slot;
    const CudaPrinted *same = cuda_module_find(m, &product, &slot);
    if (same) {
        *launch = same->launch;
        launch->grid[0] = (uint32_t)blocks; // the one thing that the text does not hold
        return true;
    }
    *launch = (CudaLaunch){.grid = {(uint32_t)blocks, 1, 1}, .block = k.threads};
    Text *to = cuda_module_open_function(m, name, k.uses, &launch->function, &launch->batch);
    text_printf(to, "struct Gemm%u {\n", launch->function);
    text_put(to, product.at, product.n);
    text_printf(to, "};\n");
    put_kernel(to, &x, &k, launch->function);
    CudaPrinted p = {product.at, product.n, *launch};
    vec_push(m->arena, &m->printed, p);
    *slot = m->printed.n;
    return true;
}

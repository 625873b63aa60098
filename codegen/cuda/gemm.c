// Products that cuBLASLt cannot take, as a kernel: the template is template/gemm.cuh; here its tile is chosen
// and its constants are written.
//
// SnExtents and strides are constants of the text; each operand is read along whichever of its directions is
// adjacent, 16 bytes at a time where alignment allows (buffers are aligned to 64). The sums are those of
// docs/numerics.md (Contractions), whatever the tile. Constant time per product.
#include "codegen/cuda/extents.h"
#include "codegen/cuda/module.h"
#include <string.h>

enum { SEGMENT = 4096, PROCESSORS = 132 };

// ---- the shape ----------------------------------------------------------------------------------

typedef struct {
    SnExtents batch, m, n, k;
    int64_t base[3];
    bool swapped; // rows are B's: A and B of the text are the other way round
    bool add, add_first;
    bool bias, bias_rows; // a value for each n, which are the rows when swapped
} GemmExtents;

static GemmExtents shape_of(const SnGemm *g) {
    SnExtents m = sn_extents(g->m, g->nm, false), n = sn_extents(g->n, g->nn, false);
    bool s =
        extents_unit(&m, IN_C) && !extents_unit(&n, IN_C); // lanes of a warp store along memory
    GemmExtents x = {.swapped = s,
                     .base = {s ? g->base_b : g->base_a, s ? g->base_a : g->base_b, g->base_c},
                     .add = sn_gemm_has(g, SN_GEMM_ACC),
                     .add_first = g->acc_first != 0,
                     .bias = sn_gemm_has(g, SN_GEMM_BIAS),
                     .bias_rows = s};
    x.batch = sn_extents(g->batch, g->nbatch, s);
    x.m = s ? sn_extents(g->n, g->nn, s) : m;
    x.n = s ? sn_extents(g->m, g->nm, s) : n;
    x.k = sn_extents(g->k, g->nk, s);
    return x;
}

// Offsets fit 32 bits.
static bool narrow(const GemmExtents *x, int which) {
    const SnExtents *all[] = {&x->batch, &x->m, &x->n, &x->k};
    int64_t far = x->base[which];
    for (int i = 0; i < 4; i++)
        for (uint32_t d = 0; d < all[i]->count; d++) {
            int64_t s = extent_stride(&all[i]->dim[d], which);
            far += (all[i]->dim[d].extent - 1) * (s < 0 ? -s : s);
        }
    return far <= INT32_MAX;
}

// Four neighbours along x start at a multiple of four elements: x is adjacent and everything else
// moves by multiples of four.
static bool vectors(const GemmExtents *x, const SnExtents *along, int which) {
    const SnExtents *all[] = {&x->batch, &x->m, &x->n, &x->k};
    if (!extents_unit(along, which) || along->dim[along->count - 1].extent % 4 ||
        x->base[which] % 4)
        return false;
    for (int i = 0; i < 4; i++)
        for (uint32_t d = 0; d < all[i]->count; d++)
            if (!(all[i] == along && d + 1 == along->count) &&
                extent_stride(&all[i]->dim[d], which) % 4)
                return false;
    return true;
}

// ---- tiles --------------------------------------------------------------------------------------

typedef struct {
    uint32_t bm, bn, bk, tm, tn; // of a block, and of a thread
    uint32_t speed;              // fmas per time, roughly: what shared memory bandwidth allows
} Tile;
static const Tile tiles[] = {
    {128, 128, 8, 8, 8, 100}, {128, 64, 16, 8, 4, 85}, {64, 128, 16, 4, 8, 85},
    {64, 64, 16, 4, 4, 65},   {128, 32, 16, 8, 4, 60}, {32, 128, 16, 4, 8, 60},
    {64, 32, 16, 4, 4, 50},   {32, 64, 16, 4, 4, 50},  {32, 32, 16, 2, 4, 40},
    {64, 16, 16, 4, 2, 40},   {16, 64, 16, 2, 4, 40},  {128, 8, 16, 4, 2, 35},
    {8, 128, 16, 2, 4, 35},   {64, 8, 16, 4, 2, 30},   {8, 64, 16, 2, 4, 30},
    {16, 16, 16, 2, 2, 25},   {8, 32, 16, 1, 4, 20},   {32, 8, 16, 4, 1, 20},
};

static uint32_t threads_of(const Tile *t) { return t->bm / t->tm * (t->bn / t->tn); }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t blocks_of(const GemmExtents *x, const Tile *t) {
    return x->batch.size * ceil_div(x->m.size, t->bm) * ceil_div(x->n.size, t->bn);
}

// Waves of blocks over the processors of a big device, times the time of a block. A thread that also
// keeps totals has no room for 64 chains.
static const Tile *choose_tile(const GemmExtents *x) {
    const Tile *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const Tile *t = &tiles[i];
        if (x->k.size > SEGMENT && t->tm * t->tn > 32) continue;
        double waves = (double)ceil_div(blocks_of(x, t), PROCESSORS);
        double cost = waves * t->bm * t->bn / t->speed;
        if (!best || cost < least) best = t, least = cost;
    }
    return best;
}

// Blocks that share a processor. Two leave a thread of 256 at most 128 registers; unasked, ptxas
// spills to fit a third. 64 sums and the arithmetic of nested or wide indices need more.
static int resident(const GemmExtents *x, const Tile *t) {
    bool simple = narrow(x, IN_A) && narrow(x, IN_B) && narrow(x, IN_C) && x->batch.count < 2 &&
                  x->m.count < 2 && x->n.count < 2 && x->k.count < 2;
    uint32_t sums = t->tm * t->tn * (x->k.size > SEGMENT ? 2 : 1);
    return simple || sums < 64 ? 2 : 1;
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

// Neighbours that a thread owns together, as in the template.
static uint32_t group(uint32_t t) { return t < 4 ? t : 4; }

static const char *truth(bool x) { return x ? "true" : "false"; }

static void put_constants(Text *to, const GemmExtents *x, const Tile *t) {
    bool wide = !narrow(x, IN_A) || !narrow(x, IN_B) || !narrow(x, IN_C);
    text_printf(to, "    typedef %s Off;\n    typedef %s Place;\n", wide ? "i64" : "int",
                wide ? "u64" : "u32");
    text_printf(to, "    static constexpr u32 M = %lld, N = %lld, K = %lld;\n",
                (long long)x->m.size, (long long)x->n.size, (long long)x->k.size);
    text_printf(to, "    static constexpr u32 BM = %u, BN = %u, BK = %u, TM = %u, TN = %u;\n",
                t->bm, t->bn, t->bk, t->tm, t->tn);
    text_printf(to, "    static constexpr bool ACC = %s, ACC_FIRST = %s;\n", truth(x->add),
                truth(x->add && x->add_first));
    text_printf(to, "    static constexpr bool BIAS = %s, BIAS_ROWS = %s;\n", truth(x->bias),
                truth(x->bias && x->bias_rows));
}

static void put_operand(Text *to, const GemmExtents *x, int which) {
    const SnExtents *rows = which == IN_A ? &x->m : &x->n;
    bool along_k = extents_unit(&x->k, which) && !extents_unit(rows, which);
    text_printf(to, "    struct %c {\n", 'A' + which);
    text_printf(to, "        static constexpr u32 WIDTH = %d;\n",
                vectors(x, along_k ? &x->k : rows, which) ? 4 : 1);
    text_printf(to, "        static constexpr bool ALONG_K = %s;\n", truth(along_k));
    put_walk(to, "batch", x->base[which], &x->batch, which);
    put_walk(to, "row", 0, rows, which);
    put_walk(to, "k", 0, &x->k, which);
    text_printf(to, "    };\n");
}

static void put_result(Text *to, const GemmExtents *x, const Tile *t) {
    text_printf(to, "    struct C {\n        static constexpr u32 WIDTH = %d;\n",
                group(t->tn) == 4 && vectors(x, &x->n, IN_C) ? 4 : 1);
    put_walk(to, "batch", x->base[IN_C], &x->batch, IN_C);
    put_walk(to, "row", 0, &x->m, IN_C);
    put_walk(to, "column", 0, &x->n, IN_C);
    text_printf(to, "    };\n");
}

// What the template wants to know: equal products have equal texts. Products that differ only in the
// outermost extent of the batch do too: no index is reduced by it, so it is in the grid alone.
static void put_product(Text *to, const GemmExtents *x, const Tile *t) {
    put_constants(to, x, t);
    put_operand(to, x, IN_A);
    put_operand(to, x, IN_B);
    put_result(to, x, t);
}

static void put_kernel(Text *to, const GemmExtents *x, const Tile *t, uint32_t function) {
    text_printf(to, "extern \"C\" __global__ void __launch_bounds__(%u, %d) k%u(", threads_of(t),
                resident(x, t), function);
    text_printf(to, "const Env *env, const u32 place, const float *__restrict__ %c, ",
                x->swapped ? 'B' : 'A');
    text_printf(to, "const float *__restrict__ %c, float *C%s%s) {\n", x->swapped ? 'A' : 'B',
                x->add ? ", const float *acc" : "", x->bias ? ", const float *bias" : "");
    text_printf(to, "    gemm<Gemm%u>(env, place, A, B, C, %s, %s);\n}\n", function,
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

bool cuda_add_gemm(CudaModule *m, const SnGemm *g, const char *name, CudaLaunch *launch,
                   Text *why) {
    GemmExtents x = shape_of(g);
    if (!fits(&x, why)) return false;
    const Tile *t = choose_tile(&x);
    if (blocks_of(&x, t) > INT32_MAX) {
        text_printf(why, "a product with more tiles than a grid has blocks");
        return false;
    }
    Text product = {.arena = m->arena};
    put_product(&product, &x, t);
    uint32_t *slot;
    const CudaPrinted *same = cuda_module_find(m, &product, &slot);
    if (same) {
        *launch = same->launch;
        launch->grid[0] = (uint32_t)blocks_of(&x, t); // the one thing that the text does not hold
        return true;
    }
    *launch = (CudaLaunch){.grid = {(uint32_t)blocks_of(&x, t), 1, 1}, .block = threads_of(t)};
    Text *to = cuda_module_open_function(m, name, CUDA_gemm, &launch->function, &launch->batch);
    text_printf(to, "struct Gemm%u {\n", launch->function);
    text_put(to, product.at, product.n);
    text_printf(to, "};\n");
    put_kernel(to, &x, t, launch->function);
    CudaPrinted p = {product.at, product.n, *launch};
    vec_push(m->arena, &m->printed, p);
    *slot = m->printed.n;
    return true;
}

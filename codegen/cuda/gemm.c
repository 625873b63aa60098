// Products that cuBLASLt cannot take, as a kernel: a block computes a tile of C, its threads small
// rectangles of that, through tiles of A and B in shared memory that are filled one step ahead.
//
//   for step = 0 .. steps:          one copy of each part in the text:
//     fetch(step)                     global memory to registers, BK deep
//     compute(step - 1)               BK fmas on TM x TN chains; after 4096 k: total = total + chain
//     put(step)                       registers to the other half of shared memory; barrier
//
// Every element is one chain over increasing k in one thread, as docs/numerics.md (Contractions) defines
// it, so tiles change no bit. Where k ends inside a tile, A is filled up with -0 and B with +0:
// fma(-0, +0, x) is x for every x, also for -0. Rows behind the last one read the last one and are not
// stored. Extents and strides are constants of the text; each operand is read along whichever of its
// directions is adjacent, 16 bytes at a time where alignment allows (buffers are aligned to 64).
// As in NVIDIA's CUTLASS documentation, "Efficient GEMM in CUDA". Time O(batch * m * n * k).
#include "codegen/cuda/extents.h"
#include "codegen/cuda/module.h"
#include <string.h>

enum { SEGMENT = 4096, PROCESSORS = 132, PAD = 4 };

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

static void put_walk(Text *to, const char *name, const SnExtents *x, int which) {
    text_printf(to, "    auto %s = [](u32 i) -> Off { return ", name);
    put_offset(to, x, which);
    text_printf(to, "; };\n");
}

static void put_constants(Text *to, const GemmExtents *x, const Tile *t) {
    bool wide = !narrow(x, IN_A) || !narrow(x, IN_B) || !narrow(x, IN_C);
    text_printf(to, "    typedef %s Off;\n    typedef %s Place;\n", wide ? "i64" : "int",
                wide ? "u64" : "u32");
    text_printf(to, "    constexpr u32 M = %lld, N = %lld, K = %lld;\n", (long long)x->m.size,
                (long long)x->n.size, (long long)x->k.size);
    text_printf(to, "    constexpr u32 BM = %u, BN = %u, BK = %u, TM = %u, TN = %u;\n", t->bm,
                t->bn, t->bk, t->tm, t->tn);
    text_printf(to,
                "    constexpr u32 MT = (M + BM - 1) / BM, NT = (N + BN - 1) / BN;\n"
                "    constexpr u32 STEPS = (K + BK - 1) / BK, SEGMENT = %d / BK;\n"
                "    constexpr u32 TX = BN / TN, THREADS = BM / TM * TX;\n",
                SEGMENT);
    put_walk(to, "batch_a", &x->batch, IN_A);
    put_walk(to, "batch_b", &x->batch, IN_B);
    put_walk(to, "batch_c", &x->batch, IN_C);
    put_walk(to, "row_a", &x->m, IN_A);
    put_walk(to, "row_c", &x->m, IN_C);
    put_walk(to, "lane_b", &x->n, IN_B);
    put_walk(to, "lane_c", &x->n, IN_C);
    put_walk(to, "k_a", &x->k, IN_A);
    put_walk(to, "k_b", &x->k, IN_B);
}

// One operand of the two: how it is read and where it lands.
typedef struct {
    char name;          // 'a' or 'b'
    const char *walk;   // of its rows or lanes
    const char *extent; // M or N
    const char *fill;   // behind the last k
    uint32_t block;     // BM or BN
    uint32_t v;         // elements a load: 4 or 1
    bool along_k;       // neighbouring threads read along k
    uint32_t loads;     // of a thread, in a step
    bool uneven;        // the last load is not every thread's
    const Tile *tile;
} Operand;

static Operand operand_of(const GemmExtents *x, const Tile *t, int which) {
    const SnExtents *side = which == IN_A ? &x->m : &x->n;
    Operand o = {.name = which == IN_A ? 'a' : 'b',
                 .walk = which == IN_A ? "row_a" : "lane_b",
                 .extent = which == IN_A ? "M" : "N",
                 .fill = which == IN_A ? "-0.0f" : "0.0f",
                 .block = which == IN_A ? t->bm : t->bn,
                 .tile = t};
    o.along_k = extents_unit(&x->k, which) && !extents_unit(side, which);
    o.v = vectors(x, o.along_k ? &x->k : side, which) ? 4 : 1;
    uint32_t threads = t->bm / t->tm * (t->bn / t->tn), all = o.block * t->bk / o.v;
    o.loads = (all + threads - 1) / threads;
    o.uneven = all % threads != 0;
    return o;
}

// Where load p of a thread is in the tile: row (or lane) and k.
static void put_place(Text *to, const Operand *o, const char *in) {
    uint32_t per = (o->along_k ? o->tile->bk : o->block) / o->v;
    text_printf(to, "%s    const u32 e = t + p * THREADS, %s = e %% %u", in, o->along_k ? "q" : "r",
                per);
    if (o->v > 1) text_printf(to, " * %u", o->v);
    text_printf(to, ", %s = e / %u;\n", o->along_k ? "r" : "q", per);
}

// Over the loads of a thread, indented by `in`.
static void put_loop(Text *to, const Operand *o, const char *in) {
    text_printf(to, "#pragma unroll\n%sfor (u32 p = 0; p < %u; p++) {\n", in, o->loads);
    put_place(to, o, in);
}

static void put_all_of(Text *to, const Operand *o, const char *before, const char *after) {
    if (o->uneven) text_printf(to, "%se < %u%s", before, o->block * o->tile->bk / o->v, after);
}

// Registers, and what of the address does not depend on k.
static void put_prepare(Text *to, const Operand *o) {
    char n = o->name;
    text_printf(to, "    float%s load_%c[%u];\n    Off at_%c[%u];\n", o->v == 4 ? "4" : "", n,
                o->loads, n, o->loads);
    put_loop(to, o, "    ");
    text_printf(to, "        const u32 row = tile_%c + r;\n", n);
    text_printf(to, "        at_%c[p] = base_%c + %s(row < %s ? row : %s - %u);\n", n, n, o->walk,
                o->extent, o->extent, o->along_k ? 1 : o->v);
    text_printf(to, "        (void)q;\n    }\n");
}

static void put_fetch(Text *to, const Operand *o, int64_t k) {
    const char in[] = "                ";
    char n = o->name, up = (char)(n - 'a' + 'A');
    put_loop(to, o, in + 4);
    text_printf(to, "%sconst u32 k = step * BK + q;\n%s(void)r;\n%s", in, in, in);
    if (k % o->tile->bk) {
        text_printf(to, "load_%c[p] = ", n);
        if (o->v == 4)
            text_printf(to, "make_float4(%s, %s, %s, %s)", o->fill, o->fill, o->fill, o->fill);
        else
            text_printf(to, "%s", o->fill);
        text_printf(to, ";\n%sif (k < K) ", in);
    }
    put_all_of(to, o, "if (", ") ");
    if (o->v == 4)
        text_printf(to, "load_%c[p] = *(const float4 *)(%c + at_%c[p] + k_%c(k));\n", n, up, n, n);
    else
        text_printf(to, "load_%c[p] = %c[at_%c[p] + k_%c(k)];\n", n, up, n, n);
    text_printf(to, "            }\n");
}

static void put_put(Text *to, const Operand *o) {
    static const char part[] = "xyzw";
    char n = o->name;
    put_loop(to, o, "        ");
    put_all_of(to, o, "            if (", ") {\n");
    if (o->v == 1)
        text_printf(to, "            share_%c[step & 1][q][r] = load_%c[p];\n", n, n);
    else if (!o->along_k)
        text_printf(to, "            *(float4 *)&share_%c[step & 1][q][r] = load_%c[p];\n", n, n);
    else
        for (uint32_t j = 0; j < 4; j++)
            text_printf(to, "            share_%c[step & 1][q + %u][r] = load_%c[p].%c;\n", n, j, n,
                        part[j]);
    if (o->uneven) text_printf(to, "            }\n");
    text_printf(to, "        }\n");
}

// Neighbours that a thread owns together, and the start of group g of them in the tile. Groups are
// apart so that a warp's reads of shared memory touch all banks.
static uint32_t group(uint32_t t) { return t < 4 ? t : 4; }

static void put_read(Text *to, const char *name, char share, const char *thread, uint32_t block,
                     uint32_t t) {
    static const char part[] = "xyzw";
    uint32_t g = group(t);
    for (uint32_t i = 0; i < t; i += g) {
        uint32_t apart = i / g * (block / (t / g));
        if (g == 1) {
            text_printf(to, "                %s[%u] = share_%c[(step - 1) & 1][q][%u + %s];\n",
                        name, i, share, apart, thread);
            continue;
        }
        text_printf(to,
                    "                const float%u %s%u = *(const float%u *)&share_%c[(step - 1) & "
                    "1][q][%u + %s * %u];\n",
                    g, name, i, g, share, apart, thread, g);
        for (uint32_t j = 0; j < g; j++)
            text_printf(to, "                %s[%u] = %s%u.%c;\n", name, i + j, name, i, part[j]);
    }
}

static void put_compute(Text *to, const Tile *t, bool segments) {
    text_printf(to, "#pragma unroll\n"
                    "            for (u32 q = 0; q < BK; q++) {\n"
                    "                float x[TM], y[TN];\n");
    put_read(to, "x", 'a', "ty", t->bm, t->tm);
    put_read(to, "y", 'b', "tx", t->bn, t->tn);
    text_printf(to, "#pragma unroll\n"
                    "                for (u32 i = 0; i < TM; i++)\n"
                    "#pragma unroll\n"
                    "                    for (u32 j = 0; j < TN; j++)\n"
                    "                        chain[i][j] = __fmaf_rn(x[i], y[j], chain[i][j]);\n"
                    "            }\n");
    if (!segments) return;
    text_printf(to, "            if (step %% SEGMENT == 0 || step == STEPS) {\n"
                    "#pragma unroll\n"
                    "                for (u32 i = 0; i < TM; i++)\n"
                    "#pragma unroll\n"
                    "                    for (u32 j = 0; j < TN; j++) {\n"
                    "                        total[i][j] = __fadd_rn(total[i][j], chain[i][j]);\n"
                    "                        chain[i][j] = 0.0f;\n"
                    "                    }\n"
                    "            }\n");
}

static void put_steps(Text *to, const GemmExtents *x, const Tile *t) {
    Operand a = operand_of(x, t, IN_A), b = operand_of(x, t, IN_B);
    bool segments = x->k.size > SEGMENT;
    text_printf(
        to,
        "    __shared__ __align__(16) float share_a[2][BK][BM + %d], share_b[2][BK][BN + %d];\n",
        PAD, PAD);
    put_prepare(to, &a);
    put_prepare(to, &b);
    text_printf(to, "    float chain[TM][TN] = {}%s;\n", segments ? ", total[TM][TN] = {}" : "");
    text_printf(to, "#pragma unroll 1\n"
                    "    for (u32 step = 0; step <= STEPS; step++) {\n"
                    "        if (step < STEPS) {\n");
    put_fetch(to, &a, x->k.size);
    put_fetch(to, &b, x->k.size);
    text_printf(to, "        }\n        if (step > 0) {\n");
    put_compute(to, t, segments);
    text_printf(to, "        }\n        if (step == STEPS) break;\n");
    put_put(to, &a);
    put_put(to, &b);
    text_printf(to, "        __syncthreads();\n    }\n");
}

// Where row i or lane j of a thread is in C.
static void put_index(Text *to, const char *name, const char *i, const char *thread, uint32_t block,
                      uint32_t t, char tile) {
    uint32_t g = group(t);
    text_printf(to, "const u32 %s = tile_%c + %s / %u * %u + %s * %u + %s %% %u;\n", name, tile, i,
                g, block / (t / g), thread, g, i, g);
}

static void put_value(Text *to, const GemmExtents *x, bool four) {
    const char *sum = x->k.size > SEGMENT ? "total" : "chain", *type = four ? "float4" : "float";
    if (four)
        text_printf(to,
                    "                float4 v = make_float4(%s[i][j], %s[i][j + 1], %s[i][j + 2], "
                    "%s[i][j + 3]);\n",
                    sum, sum, sum, sum);
    else
        text_printf(to, "                float v = %s[i][j];\n", sum);
    if (x->add) {
        text_printf(to, "                %s old = %s;\n", type,
                    four ? "make_float4(0.0f, 0.0f, 0.0f, 0.0f)" : "0.0f");
        text_printf(to, "                %sold = *(const %s *)(acc + at);\n",
                    x->add_first ? "if (!env->first) " : "", type);
        for (int p = 0; p < (four ? 4 : 1); p++) {
            const char *part[] = {".x", ".y", ".z", ".w"}, *q = four ? part[p] : "";
            text_printf(to, "                v%s = __fadd_rn(old%s, v%s);\n", q, q, q);
        }
    }
    for (int p = 0; x->bias && p < (four ? 4 : 1); p++) {
        const char *part[] = {".x", ".y", ".z", ".w"}, *q = four ? part[p] : "";
        text_printf(to, "                v%s = __fadd_rn(v%s, bias[%s + %d]);\n", q, q,
                    x->bias_rows ? "row" : "lane", x->bias_rows ? 0 : p);
    }
    text_printf(to, "                *(%s *)(C + at) = v;\n", type);
    if (four) text_printf(to, "                const float y[4] = {v.x, v.y, v.z, v.w};\n");
    text_printf(to, "                watch%s(bad, at, %s);\n", four ? "4" : "", four ? "y" : "v");
}

static void put_store(Text *to, const GemmExtents *x, const Tile *t) {
    bool four = group(t->tn) == 4 && vectors(x, &x->n, IN_C);
    text_printf(to, "    Place bad = ~(Place)0;\n"
                    "#pragma unroll\n    for (u32 i = 0; i < TM; i++) {\n        ");
    put_index(to, "row", "i", "ty", t->bm, t->tm, 'a');
    if (x->m.size % t->bm) text_printf(to, "        if (row >= M) continue;\n");
    text_printf(to, "#pragma unroll\n        for (u32 j = 0; j < TN; j += %d) {\n            ",
                four ? 4 : 1);
    put_index(to, "lane", "j", "tx", t->bn, t->tn, 'b');
    text_printf(to, "            %s{\n", x->n.size % t->bn ? "if (lane < N) " : "");
    text_printf(to, "                const Off at = base_c + row_c(row) + lane_c(lane);\n");
    put_value(to, x, four);
    text_printf(to, "            }\n        }\n    }\n    report(env, place + 2, bad);\n");
}

// Everything behind the function's name: equal products have equal texts. Products that differ only in
// the outermost extent of the batch do too: no index is reduced by it, so it is in the grid alone.
static void put_body(Text *to, const GemmExtents *x, const Tile *t) {
    text_printf(to,
                "(const Env *env, const u32 place, const float *__restrict__ %c, const float "
                "*__restrict__ %c, "
                "float *C%s%s) {\n",
                x->swapped ? 'B' : 'A', x->swapped ? 'A' : 'B', x->add ? ", const float *acc" : "",
                x->bias ? ", const float *bias" : "");
    put_constants(to, x, t);
    text_printf(
        to, "    const u32 t = threadIdx.x, tx = t %% TX, ty = t / TX;\n"
            "    const u32 tile_a = blockIdx.x / NT %% MT * BM, tile_b = blockIdx.x %% NT * BN;\n"
            "    const u32 element = blockIdx.x / (NT * MT);\n");
    for (int w = 0; w < 3; w++)
        text_printf(to, "    const Off base_%c = %lld + batch_%c(element);\n", 'a' + w,
                    (long long)x->base[w], 'a' + w);
    put_steps(to, x, t);
    put_store(to, x, t);
    text_printf(to, "}\n");
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
    Text body = {.arena = m->arena};
    put_body(&body, &x, t);
    uint32_t *slot;
    const CudaPrinted *same = cuda_module_find(m, &body, &slot);
    if (same) {
        *launch = same->launch;
        launch->grid[0] = (uint32_t)blocks_of(&x, t); // the one thing that the text does not hold
        return true;
    }
    *launch = (CudaLaunch){.grid = {(uint32_t)blocks_of(&x, t), 1, 1},
                           .block = t->bm / t->tm * (t->bn / t->tn)};
    Text *to = cuda_module_open_function(m, name, &launch->function, &launch->batch);
    text_printf(to, "extern \"C\" __global__ void __launch_bounds__(%u, %d) k%u", launch->block,
                resident(&x, t), launch->function);
    text_put(to, body.at, body.n);
    CudaPrinted p = {body.at, body.n, *launch};
    vec_push(m->arena, &m->printed, p);
    *slot = m->printed.n;
    return true;
}

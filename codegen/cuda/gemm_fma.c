// A product in f32, of operands of any types, as a kernel: the template is template/gemm.cuh; here its tile is
// chosen and its constants are written. The sums are those of docs/numerics.md (Contractions), whatever the tile.
#include "codegen/cuda/gemm.h"
#include "codegen/cuda/print.h"

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

// Waves of blocks over the processors of a big device, times the time of a block. A thread that also
// keeps totals has no room for 64 chains.
static const Tile *choose_tile(const GemmExtents *x) {
    const Tile *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const Tile *t = &tiles[i];
        if (x->k.size > GEMM_SEGMENT && t->tm * t->tn > 32) continue;
        double cost = gemm_cost(x, t->bm, t->bn, t->speed);
        if (!best || cost < least) best = t, least = cost;
    }
    return best;
}

// Two leave a thread of 256 at most 128 registers; unasked, ptxas spills to fit a third. 64 sums and the
// arithmetic of nested or wide indices need more.
static int resident(const GemmExtents *x, const Tile *t) {
    uint32_t sums = t->tm * t->tn * (x->k.size > GEMM_SEGMENT ? 2 : 1);
    return gemm_simple(x) || sums < 64 ? 2 : 1;
}

// Neighbours that a thread owns together, as in the template.
static uint32_t group(uint32_t t) { return t < 4 ? t : 4; }

static void put_operand(Text *to, const GemmExtents *x, int which) {
    const SnExtents *along = gemm_along_k(x, which) ? &x->k : gemm_rows(x, which);
    gemm_put_operand(to, x, which, gemm_vectors(x, along, which, 4) ? 4 : 1);
}

// Products that differ only in the outermost extent of the batch have equal texts, too: no index is reduced
// by it, so it is in the grid alone.
GemmKernel gemm_fma(const GemmExtents *x, Text *to) {
    const Tile *t = choose_tile(x);
    const char *element[3];
    for (int i = 0; i < 3; i++) element[i] = cu_memory_type((Elem)x->elem[i]);
    text_printf(to, "    using InA = %s;\n    using InB = %s;\n    using Out = %s;\n", element[0],
                element[1], element[2]);
    gemm_put_constants(to, x);
    text_printf(to, "    static constexpr u32 BM = %u, BN = %u, BK = %u, TM = %u, TN = %u;\n",
                t->bm, t->bn, t->bk, t->tm, t->tn);
    put_operand(to, x, IN_A);
    put_operand(to, x, IN_B);
    gemm_put_result(to, x, group(t->tn) == 4 && gemm_vectors(x, &x->n, IN_C, 4) ? 4 : 1);
    return (GemmKernel){.uses = CUDA_gemm,
                        .function = "gemm",
                        .element = {element[0], element[1], element[2]},
                        .bm = t->bm,
                        .bn = t->bn,
                        .threads = t->bm / t->tm * (t->bn / t->tn),
                        .resident = resident(x, t)};
}

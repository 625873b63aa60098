// A product of two operands of one 16-bit type as a kernel of tensor cores: the template is
// template/gemm_mma.cuh; here its tile is chosen and its constants are written.
#include "codegen/cuda/gemm.h"
#include "codegen/cuda/print.h"

typedef struct {
    uint32_t bm, bn, wm, wn; // tile of a block; warps along m and n
    uint32_t speed;          // products per time, roughly: what shared memory bandwidth allows
} MmaTile;
static const MmaTile tiles[] = {
    {128, 128, 2, 4, 100}, {128, 64, 4, 2, 80}, {64, 128, 2, 4, 80}, {64, 64, 2, 2, 60}};

// The arithmetic of nested or wide indices leaves no room for 64 sums in a thread, nor do totals of segments.
static const MmaTile *choose_tile(const GemmExtents *x) {
    const MmaTile *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const MmaTile *t = &tiles[i];
        if (!gemm_simple(x) && t->bm * t->bn > 64 * 64) continue;
        if (x->k.size > GEMM_SEGMENT && t->bm * t->bn > 64 * 128) continue;
        double cost = gemm_cost(x, t->bm, t->bn, t->speed);
        if (!best || cost < least) best = t, least = cost;
    }
    return best;
}

// As many as one copy takes.
static uint32_t width_of(const GemmExtents *x, int which) {
    const SnExtents *along = gemm_along_k(x, which) ? &x->k : gemm_rows(x, which);
    uint32_t width = 8;
    while (width > 1 && !gemm_vectors(x, along, which, width)) width /= 2;
    return width;
}

GemmKernel gemm_mma(const GemmExtents *x, Text *to) {
    const MmaTile *t = choose_tile(x);
    const char *in = cu_memory_type((Elem)x->elem[0]), *out = cu_memory_type((Elem)x->elem[2]);
    uint32_t a = width_of(x, IN_A), b = width_of(x, IN_B);
    text_printf(to, "    using In = %s;\n    using Out = %s;\n", in, out);
    gemm_put_constants(to, x);
    text_printf(to, "    static constexpr u32 BM = %u, BN = %u, WM = %u, WN = %u;\n", t->bm, t->bn,
                t->wm, t->wn);
    gemm_put_operand(to, x, IN_A, a);
    gemm_put_operand(to, x, IN_B, b);
    gemm_put_result(to, x, gemm_vectors(x, &x->n, IN_C, 2) ? 2 : 1);
    // What no copy takes waits in registers, and indices of nested extents do.
    bool few = a > 1 && b > 1 && gemm_simple(x);
    return (GemmKernel){.uses = CUDA_gemm_mma,
                        .function = "gemm_mma",
                        .element = {in, in, out},
                        .bm = t->bm,
                        .bn = t->bn,
                        .threads = 32 * t->wm * t->wn,
                        .resident = few ? 2 : 1};
}

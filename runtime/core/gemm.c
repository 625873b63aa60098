// The GEMM driver: computes C = A * B in the blocks that gemm_cut.c chose, packs operands into panels
// and calls the micro-kernels of codegen/cpu/ukr.c on them. It is plain C because it only moves data and
// counts; all arithmetic on chains is in the micro-kernels, and what remains here are the sums of
// segments and the accumulator. The caller provides all memory.
//
//   C [m x n], a task owns mb x nb         A panels: mr rows, k-major      B panels: nr lanes,
//   k-major for segment of 4096 k                  total = total + chain at its end
//     for block of kc k                    the chain goes on from where the last block left it
//       for panel of nr lanes              B panel: kc x nr, in the first or second level cache
//         for panel of mr rows             A panel: streams from the second level cache
//           micro-kernel                   mr x nr of C in registers
//
// Operands may be narrow; panels hold k as SnGemmPanel says, in words of four bytes, and the end of a chain
// of pairs is added to where subnormals count again.
//
// Long k with few blocks of C: segments are tasks of their own, their chains go to the shared workspace,
// and a last phase adds them in order. Blocking after Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008. Time O(batch * m * n * k); workspace as
// prepared.
#include "runtime/core/gemm_block.h"
#include <string.h>

enum { PACK_K = 32 }; // k at a time when neighbouring panels are packed: they share cache lines

// One call of sn_gemm_run: operands resolved.
typedef struct {
    const SnGemmJob *j;
    void *const *bufs;
    const SnEnv *env;
    SnGemmMatrix a, b;
    const float *acc; // NULL: none, or it reads as zero
    float *c;         // NULL: not stored
    bool add;         // acc + total is due, also when acc reads as zero
    float *shared, *scratch;
} GemmRun;

// A stretch of k within one block, and where the chains stand.
typedef struct {
    int64_t segment, k0, kc;
    int64_t w0, wc;   // the same in words of panels
    bool first, last; // block of its segment
} Slice;

// The part of B that will be packed next, fetched into the second level cache piece by piece
// between micro-kernels, so that packing does not wait for memory: `outer` stretches of `inner`
// cache lines.
typedef struct {
    const char *at;       // the stretch that is being fetched
    int64_t step;         // bytes from stretch to stretch
    int64_t outer, inner; // stretches left, and lines in each
    int64_t line;         // next line of the stretch
    int64_t each;         // lines to fetch after each micro-kernel
} Ahead;

// A panel of lanes over the rows of a block: where micro-kernels run.
typedef struct {
    int64_t element;   // batch index
    SnDim at;          // its offsets
    int64_t i0, i1;    // rows
    int64_t n0, lanes; // lanes that exist
    int64_t vectors;
    const float *a, *b; // panels
    int64_t ldb;
    float *x, *t; // chains and totals of row i0
    int64_t ldx;
    bool adjacent;  // whole vectors, adjacent in C: micro-kernels may write there
    int64_t c_lane; // offset of lane n0 in C
    Ahead ahead;
} Strip;

static const float zeros[256]; // an accumulator in the first micro-batch

static GemmRun resolve(const SnGemmJob *j, void *const *bufs, const SnEnv *env, void *shared,
                       void *scratch) {
    const SnGemm *g = j->gemm;
    GemmRun cx = {.j = j, .bufs = bufs, .env = env, .shared = shared, .scratch = scratch};
    cx.a = sn_gemm_from((SnGemmMatrix){bufs[j->swapped], j->elem_a}, j->base_a);
    cx.b = sn_gemm_from((SnGemmMatrix){bufs[!j->swapped], j->elem_b}, j->base_b);
    if (sn_gemm_has(g, SN_GEMM_C)) cx.c = (float *)bufs[sn_gemm_arg(g, SN_GEMM_C)] + j->base_c;
    cx.add = sn_gemm_has(g, SN_GEMM_ACC);
    if (cx.add && !(g->acc_first && env->first))
        cx.acc = (const float *)bufs[sn_gemm_arg(g, SN_GEMM_ACC)] + j->base_c;
    return cx;
}

static Slice slice_at(const SnGemmJob *j, int64_t segment, int64_t block) {
    int64_t start = segment * SN_GEMM_SEGMENT, end = min64(start + SN_GEMM_SEGMENT, j->k.size);
    Slice s = {.segment = segment, .k0 = start + block * j->kc, .first = block == 0};
    s.kc = max64(0, min64(j->kc, end - s.k0));
    s.last = s.k0 + s.kc >= end;
    s.w0 = sn_gemm_words(j->panel, s.k0), s.wc = sn_gemm_words(j->panel, s.kc);
    return s;
}

static float *shared_a(const GemmRun *cx, int64_t element, const Slice *s, int64_t i) {
    const SnGemmJob *j = cx->j;
    return cx->shared + (element * j->words + s->w0) * j->m.size + i * s->wc;
}

static float *shared_b(const GemmRun *cx, int64_t element, const Slice *s, int64_t n) {
    const SnGemmJob *j = cx->j;
    return cx->shared + j->shared_b + (element * j->words + s->w0) * j->n_pad + n * s->wc;
}

static float *partial(const GemmRun *cx, int64_t element, int64_t segment, int64_t i, int64_t n) {
    const SnGemmJob *j = cx->j;
    int64_t row = (segment * j->batch.size + element) * j->m.size + i;
    return cx->shared + j->shared_part + row * j->n_pad + n;
}

static void pack_a(const GemmRun *cx, const SnDim *at, const Slice *s, int64_t i, int64_t k,
                   int64_t n, float *to) {
    const SnGemmJob *j = cx->j;
    SnGemmStretch part = {s->k0, s->kc, k, n};
    sn_gemm_pack_rows(&j->kit, j->panel, &j->m, &j->k, sn_gemm_from(cx->a, at->a), i,
                      min64(j->kit.mr, j->m.size - i), part, to);
}

static void pack_b(const GemmRun *cx, const SnDim *at, const Slice *s, int64_t i, int64_t k,
                   int64_t n, float *to) {
    const SnGemmJob *j = cx->j;
    SnGemmStretch part = {s->k0, s->kc, k, n};
    sn_gemm_pack_lanes(&j->kit, j->panel, &j->n, &j->k, sn_gemm_from(cx->b, at->b), i,
                       min64(j->kit.nr, j->n.size - i), part, to);
}

static SnDim element_at(const SnGemmJob *j, int64_t element) {
    return sn_gemm_run_at(&j->batch, element, j->batch.size).at;
}

// Phase 0. Tasks count (batch element, segment, block of k, group of panels), A's before B's.
static void pack_task(const GemmRun *cx, int64_t task) {
    const SnGemmJob *j = cx->j;
    bool b = task >= j->pack_b0;
    if (b) task -= j->pack_b0;
    int64_t width = b ? j->kit.nr : j->kit.mr, size = b ? j->n.size : j->m.size;
    int64_t groups = sn_ceil_div(sn_ceil_div(size, width), j->pack_group);
    int64_t group = task % groups, block = task / groups % j->kblocks;
    int64_t rest = task / groups / j->kblocks, element = rest / j->segments;
    Slice s = slice_at(j, rest % j->segments, block);
    SnDim at = element_at(j, element);
    int64_t from = group * j->pack_group * width, to = min64(from + j->pack_group * width, size);
    for (int64_t k = 0; k < s.kc; k += PACK_K)
        for (int64_t i = from; i < to; i += width) {
            int64_t n = min64(PACK_K, s.kc - k);
            if (b)
                pack_b(cx, &at, &s, i, k, n, shared_b(cx, element, &s, i));
            else
                pack_a(cx, &at, &s, i, k, n, shared_a(cx, element, &s, i));
        }
}

// One row of finished sums t: the accumulator is added, the result goes to C. Lanes of C are sc
// apart.
static void finish_row(const GemmRun *cx, float *t, int64_t c_at, int64_t sc, int64_t n) {
    const float *acc = cx->acc ? cx->acc + c_at : zeros;
    int64_t sa = cx->acc ? sc : 0;
    if (cx->add && sa == 1)
        for (int64_t l = 0; l < n; l++) t[l] = acc[l] + t[l];
    else if (cx->add)
        for (int64_t l = 0; l < n; l++) t[l] = acc[l * sa] + t[l];
    if (cx->c && sc == 1)
        memcpy(cx->c + c_at, t, (size_t)n * sizeof *t);
    else if (cx->c)
        for (int64_t l = 0; l < n; l++) cx->c[c_at + l * sc] = t[l];
}

// A rectangle of finished sums: rows i.. x lanes n0.. of one batch element; t keeps the result.
static void finish(const GemmRun *cx, int64_t c_at, float *t, int64_t ld, int64_t i, int64_t rows,
                   int64_t n0, int64_t lanes) {
    const SnGemmJob *j = cx->j;
    if (!cx->add && !cx->c) return;
    for (int64_t n = n0; n < n0 + lanes;) {
        SnGemmRun rn = sn_gemm_run_at(&j->n, n, n0 + lanes);
        for (int64_t r = i; r < i + rows;) {
            SnGemmRun rm = sn_gemm_run_at(&j->m, r, i + rows);
            for (int64_t q = 0; q < rm.length; q++)
                finish_row(cx, t + (r - i + q) * ld + (n - n0),
                           c_at + rn.at.c + rm.at.c + q * rm.stride.c, rn.stride.c, rn.length);
            r += rm.length;
        }
        n += rn.length;
    }
}

// Hands a finished rectangle to the epilogue, in the orientation of the plan; `turned` has room for
// it.
static void call_epilogue(const GemmRun *cx, int64_t element, const float *t, int64_t ld, int64_t i,
                          int64_t rows, int64_t n0, int64_t lanes, float *turned) {
    const SnGemmJob *j = cx->j;
    void *const *bufs = cx->bufs + sn_gemm_arg(j->gemm, SN_GEMM_EPILOGUE);
    int64_t row0 = element * j->m.size + i;
    if (!j->swapped) {
        j->epilogue(bufs, cx->env, t, ld, row0, row0 + rows, n0, n0 + lanes);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < lanes; l++) turned[l * rows + r] = t[r * ld + l];
    row0 = element * j->n.size + n0;
    j->epilogue(bufs, cx->env, turned, rows, row0, row0 + lanes, i, i + rows);
}

// The chains of a tile are complete for this segment.
static void end_segment(const GemmRun *cx, const Strip *p, const Slice *s, float *x, float *t,
                        int64_t i, int64_t rows) {
    const SnGemmJob *j = cx->j;
    if (j->segments == 1) {
        finish(cx, p->at.c, x, p->ldx, i, rows, p->n0, p->lanes);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < p->lanes; l++) {
            float total = s->segment ? t[r * j->nb + l] : 0.0f;
            t[r * j->nb + l] = total + x[r * p->ldx + l];
        }
    if (s->segment + 1 == j->segments) finish(cx, p->at.c, t, j->nb, i, rows, p->n0, p->lanes);
}

// Which part of B is packed after this panel: the next panel of lanes, in this block of k or,
// behind the last panel, the first panel of the next block; behind that, the panel of the next
// task.
static Ahead plan_ahead(const GemmRun *cx, const Strip *p, const Slice *s, int64_t n0, int64_t n1) {
    const SnGemmJob *j = cx->j;
    Ahead ahead = {0};
    if (j->share_b || j->direct_b || j->n.count != 1 || j->k.count != 1) return ahead;
    int64_t n = p->n0 + j->kit.nr, k = s->k0;
    if (n >= n1 && !s->last)
        n = n0, k += s->kc;
    else if (n >= n1 && s->segment == 0)
        k = 0;
    if (n >= j->n.size) return ahead;
    const SnDim *dn = &j->n.dim[0], *dk = &j->k.dim[0];
    int64_t lanes = min64(j->kit.nr, j->n.size - n), kc = min64(j->kc, j->k.size - k);
    bool along_k = dk->b == 1;
    if (!along_k && dn->b != 1) return ahead;
    int64_t bytes = sn_gemm_bytes(j->elem_b);
    ahead.at = sn_gemm_from(cx->b, p->at.b + n * dn->b + k * dk->b).at;
    ahead.step = (along_k ? dn->b : dk->b) * bytes;
    ahead.outer = along_k ? lanes : kc;
    ahead.inner = sn_ceil_div((along_k ? kc : lanes) * bytes, sizeof(float[SN_GEMM_LINE])) + 1;
    ahead.each = sn_ceil_div(ahead.outer * ahead.inner, sn_ceil_div(p->i1 - p->i0, j->kit.mr));
    return ahead;
}

static void fetch(Ahead *x) {
    for (int64_t q = 0; q < x->each && x->outer > 0; q++) {
        __builtin_prefetch(x->at + x->line * (int64_t)sizeof(float[SN_GEMM_LINE]), 0, 2);
        if (++x->line < x->inner) continue;
        x->line = 0, x->at += x->step, x->outer--;
    }
}

// One call of the micro-kernel number `size` on rows i .. i + rows. The chain lives in C itself
// where that is possible and nothing is added to it, else in x.
static void tile(const GemmRun *cx, const Strip *p, const Slice *s, float *x, int64_t i,
                 int64_t rows, uint32_t size) {
    const SnGemmJob *j = cx->j;
    SnUkrFn ukr = sn_gemm_ukr(&j->kit, j->panel, p->vectors, size);
    const float *a = p->a + (i - p->i0) * s->wc;
    SnGemmRun rm = sn_gemm_run_at(&j->m, i, i + rows);
    bool apart = cx->add && (!s->last || sn_gemm_flushes(j->panel));
    uint32_t before = sn_gemm_enter(j->panel);
    if (!p->adjacent || rm.length < rows || apart) {
        ukr(s->wc, a, rows, p->b, p->ldb, s->first ? NULL : x, p->ldx, NULL, 0, x, p->ldx);
        sn_gemm_leave(j->panel, before);
        if (s->last && !j->split) {
            float *t = p->t ? p->t + (i - p->i0) * j->nb : NULL;
            end_segment(cx, p, s, x, t, i, rows);
        }
        return;
    }
    int64_t at = p->at.c + p->c_lane + rm.at.c, ldc = rm.stride.c;
    if (!cx->add) {
        float *c = cx->c + at;
        ukr(s->wc, a, rows, p->b, p->ldb, s->first ? NULL : c, ldc, NULL, 0, c, ldc);
        sn_gemm_leave(j->panel, before);
        return;
    }
    const float *acc = cx->acc ? cx->acc + at : zeros;
    ukr(s->wc, a, rows, p->b, p->ldb, s->first ? NULL : x, p->ldx, acc, cx->acc ? ldc : 0,
        cx->c + at, ldc);
}

static void strip(const GemmRun *cx, Strip *p, const Slice *s) {
    const SnGemmJob *j = cx->j;
    bool keep = j->kblocks > 1 || j->segments > 1 || j->epilogue; // x holds more than one tile
    for (int64_t i = p->i0; i < p->i1;) {
        uint32_t size = 0;
        int64_t rows = sn_gemm_panel_rows(&j->kit, p->i1 - i, &size);
        float *x = p->x + (keep ? (i - p->i0) * p->ldx : 0);
        tile(cx, p, s, x, i, rows, size);
        fetch(&p->ahead);
        i += rows;
    }
    if (!j->epilogue || j->split || !s->last || s->segment + 1 < j->segments) return;
    const float *sums = j->segments > 1 ? p->t : p->x;
    call_epilogue(cx, p->element, sums, j->segments > 1 ? j->nb : p->ldx, p->i0, p->i1 - p->i0,
                  p->n0, p->lanes, cx->scratch + j->scratch_e);
}

// Where the strip's lanes are in C, and whether micro-kernels may write there. A chain that
// continues in C must find itself there again, so this depends on the shape only.
static void place_strip(const GemmRun *cx, Strip *p) {
    const SnGemmJob *j = cx->j;
    SnGemmRun rn = sn_gemm_run_at(&j->n, p->n0, p->n0 + p->lanes);
    p->c_lane = rn.at.c;
    p->adjacent = cx->c && !j->epilogue && !j->split && j->segments == 1 && rn.length == p->lanes &&
                  rn.stride.c == 1 && p->lanes == p->vectors * SN_GEMM_LANES;
}

static void find_b(const GemmRun *cx, Strip *p, const Slice *s) {
    const SnGemmJob *j = cx->j;
    p->ldb = p->vectors * SN_GEMM_LANES;
    if (j->share_b) {
        p->b = shared_b(cx, p->element, s, p->n0);
    } else if (j->direct_b && p->lanes == p->ldb) {
        p->ldb = j->k.count ? j->k.dim[0].b : 0;
        p->b = sn_gemm_from(cx->b, p->at.b + p->n0 + s->k0 * p->ldb).at;
    } else {
        float *to = cx->scratch + j->scratch_b;
        pack_b(cx, &p->at, s, p->n0, 0, s->kc, to);
        p->b = to;
    }
}

// One block of k over a block of C.
static void slice_block(const GemmRun *cx, Strip *p, const Slice *s, int64_t n0, int64_t n1) {
    const SnGemmJob *j = cx->j;
    float *a = j->share_a ? shared_a(cx, p->element, s, p->i0) : cx->scratch;
    if (!j->share_a)
        for (int64_t i = p->i0; i < p->i1; i += j->kit.mr)
            pack_a(cx, &p->at, s, i, 0, s->kc, a + (i - p->i0) * s->wc);
    p->a = a;
    bool block = j->ld_x == j->nb;
    for (int64_t n = n0; n < n1; n += j->kit.nr) {
        p->n0 = n;
        p->lanes = min64(j->kit.nr, n1 - n);
        p->vectors = sn_ceil_div(p->lanes, SN_GEMM_LANES);
        p->x = cx->scratch + j->scratch_x + (block ? n - n0 : 0);
        p->ldx = j->ld_x;
        p->t = j->segments > 1 && !j->split ? cx->scratch + j->scratch_t + (n - n0) : NULL;
        if (j->split) p->x = partial(cx, p->element, s->segment, p->i0, n), p->ldx = j->n_pad;
        place_strip(cx, p);
        find_b(cx, p, s);
        p->ahead = plan_ahead(cx, p, s, n0, n1);
        strip(cx, p, s);
    }
}

// Phase 1. Tasks count (segment when split, group of batch elements, block of m, block of n).
static void compute_task(const GemmRun *cx, int64_t task) {
    const SnGemmJob *j = cx->j;
    int64_t n0 = task % j->nblocks * j->nb, rest = task / j->nblocks;
    int64_t i0 = rest % j->mblocks * j->mb, groups = sn_ceil_div(j->batch.size, j->batches);
    int64_t group = rest / j->mblocks % groups, segment = rest / j->mblocks / groups;
    int64_t s0 = j->split ? segment : 0, s1 = j->split ? segment + 1 : j->segments;
    int64_t end = min64((group + 1) * j->batches, j->batch.size);
    for (int64_t e = group * j->batches; e < end; e++) {
        Strip p = {
            .element = e, .at = element_at(j, e), .i0 = i0, .i1 = min64(i0 + j->mb, j->m.size)};
        for (int64_t i = s0; i < s1; i++)
            for (int64_t block = 0; block < j->kblocks; block++) {
                Slice s = slice_at(j, i, block);
                if (s.kc > 0 || block == 0)
                    slice_block(cx, &p, &s, n0, min64(n0 + j->nb, j->n.size));
            }
    }
}

// Phase 2. A task adds the partial sums of one panel of rows, in the order of the segments.
static void combine_task(const GemmRun *cx, int64_t task) {
    const SnGemmJob *j = cx->j;
    int64_t panels = sn_ceil_div(j->m.size, j->kit.mr), element = task / panels;
    int64_t i = task % panels * j->kit.mr, rows = min64(j->kit.mr, j->m.size - i);
    SnDim at = element_at(j, element);
    float *t = cx->scratch, *turned = t + SN_GEMM_MOST_ROWS * SN_GEMM_COMBINE_LANES;
    for (int64_t n = 0; n < j->n.size; n += SN_GEMM_COMBINE_LANES) {
        int64_t lanes = min64(SN_GEMM_COMBINE_LANES, j->n.size - n);
        memset(t, 0, SN_GEMM_MOST_ROWS * SN_GEMM_COMBINE_LANES * sizeof *t);
        for (int64_t s = 0; s < j->segments; s++)
            for (int64_t r = 0; r < rows; r++) {
                const float *from = partial(cx, element, s, i + r, n);
                for (int64_t l = 0; l < lanes; l++)
                    t[r * SN_GEMM_COMBINE_LANES + l] = t[r * SN_GEMM_COMBINE_LANES + l] + from[l];
            }
        finish(cx, at.c, t, SN_GEMM_COMBINE_LANES, i, rows, n, lanes);
        if (j->epilogue)
            call_epilogue(cx, element, t, SN_GEMM_COMBINE_LANES, i, rows, n, lanes, turned);
    }
}

void sn_gemm_run(const SnGemmJob *j, uint32_t phase, void *const *bufs, const SnEnv *env,
                 int64_t task0, int64_t task1, void *shared, void *scratch) {
    GemmRun cx = resolve(j, bufs, env, shared, scratch);
    for (int64_t t = task0; t < task1; t++) {
        if (phase == SN_GEMM_PACK)
            pack_task(&cx, t);
        else if (phase == SN_GEMM_COMPUTE)
            compute_task(&cx, t);
        else
            combine_task(&cx, t);
    }
}

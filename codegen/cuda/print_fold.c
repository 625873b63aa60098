// Row folds between the threads of a team, in the order of docs/numerics.md: 128 accumulators per
// segment of 4096, combined as a halving tree (64, 32, ... 1), segments folded in order into the
// identity.
//
//   thread t owns      halvings 64, 32, 16, 8, 4     then 2, 1
//   4t .. 4t+3         shuffles xor 16, 8, 4, 2, 1   within the thread
//   t, t+32, ...       64, 32 within the thread      then 16 ... 1: shuffles xor 16 ... 1
//   one of 128, 64     through shared memory: then a warp holds t, t+32, t+64, t+96
//
// The shuffles are in template/fold.cuh. An accumulator that got no
// element is the identity; combining with it changes nothing, since every accumulator began as
// identity o x (so a sum is never -0), and shuffles with such accumulators are left out. For the same
// reason a single segment is not folded into the identity.
#include "codegen/cuda/print.h"

static bool here(const Cu *p, const KSweep *s, uint32_t f) {
    const KFold *fold = &p->k->folds.at[f];
    return !fold->column && ksweep_folds(s, fold);
}

static const char *type_of_fold(const Cu *p, uint32_t f) {
    return cu_register_type(kfold_elem(p->k, f));
}

// The operation of each, as a function: what template/fold.cuh is given.
void cu_declare_folds(Cu *p) {
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (p->k->folds.at[f].column) continue;
        Elem e = kfold_elem(p->k, f);
        const char *type = cu_register_type(e);
        cu_line(p, "const auto fold%u = [](%s a, %s b) {", f, type, type);
        cu_open(p);
        cu_line(p, "return %s;", cu_fold_step(p, f, (CuVal){"a", e}, (CuVal){"b", e}).text);
        p->indent--;
        cu_line(p, "};");
    }
}

// into = a o b
static void combine(Cu *p, uint32_t f, const char *into, const char *a, const char *b) {
    cu_line(p, "%s = fold%u(%s, %s);", into, f, a, b);
}

// The accumulators s of a thread, distances of 2 and 1 halvings among them.
static void fold_items(Cu *p, uint32_t f) {
    uint32_t n = p->g->items;
    const char *s[4];
    for (uint32_t i = 0; i < 4; i++) s[i] = arena_printf(p->a, "s%u[%u]", f, i);
    if (n > 2) combine(p, f, s[0], s[0], s[2]);
    if (n > 3) combine(p, f, s[1], s[1], s[3]);
    if (n > 1) combine(p, f, s[0], s[0], s[1]);
}

// Within a team of one warp; the result is in s[0] of each thread.
static void fold_warp(Cu *p, uint32_t f) {
    uint32_t team = p->g->team < 32 ? p->g->team : 32;
    if (!p->g->vector) fold_items(p, f);
    if (team > 1 && p->g->vector)
        cu_line(p, "fold_team<%u>(mates, s%u, fold%u);", team, f, f);
    else if (team > 1)
        cu_line(p, "s%u[0] = fold_team<%u>(mates, s%u[0], fold%u);", f, team, f, f);
    if (p->g->vector) fold_items(p, f);
}

void cu_folds_begin(Cu *p, const KSweep *s) {
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!here(p, s, f)) continue;
        Text list = {.arena = p->a};
        for (uint32_t i = 0; i < p->g->items; i++)
            text_printf(&list, "%s%s", i ? ", " : "", cu_identity(p, f).text);
        cu_line(p, "%s s%u[%u] = {%s};", type_of_fold(p, f), f, p->g->items, list.at);
    }
}

// ---- segments one after the other

void cu_folds_total(Cu *p, const KSweep *s) {
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!here(p, s, f)) continue;
        if (p->g->shape == CU_BLOCK)
            cu_line(p, "__shared__ %s w%u[%lld];", type_of_fold(p, f), f,
                    (long long)p->g->segments);
        else
            cu_line(p, "%s g%u = %s;", type_of_fold(p, f), f, cu_identity(p, f).text);
    }
}

void cu_folds_segment(Cu *p, const KSweep *s) {
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!here(p, s, f)) continue;
        fold_warp(p, f);
        if (p->g->shape == CU_BLOCK) {
            cu_line(p, "if (t == 0) w%u[seg] = s%u[0];", f, f);
        } else {
            const char *total = arena_printf(p->a, "g%u", f);
            combine(p, f, total, total, arena_printf(p->a, "s%u[0]", f));
        }
    }
}

// f = identity o w[0] o w[1] ...
static void fold_segments(Cu *p, uint32_t f) {
    cu_line(p, "%s f%u = %s;", type_of_fold(p, f), f, cu_identity(p, f).text);
    cu_line(p, "#pragma unroll 8");
    cu_line(p, "for (int n = 0; n < %lld; n++) {", (long long)p->g->segments);
    cu_open(p);
    const char *total = arena_printf(p->a, "f%u", f);
    combine(p, f, total, total, arena_printf(p->a, "w%u[n]", f));
    cu_close(p);
}

// ---- warps that share a segment

static void publish(Cu *p, uint32_t f) {
    const CuGeometry *g = p->g;
    cu_line(p, "__shared__ %s z%u[%lld];", type_of_fold(p, f), f,
            (long long)g->segments * FOLD_LANES);
    for (uint32_t i = 0; i < g->items; i++)
        cu_line(p, "z%u[threadIdx.x / %u * %d + %u + t] = s%u[%u];", f, g->team, FOLD_LANES,
                i * g->team, f, i);
}

// A warp folds the 128 accumulators of segment `from`, an expression; into b<fold>.
static void fold_published(Cu *p, uint32_t f, const char *from) {
    cu_line(p, "const %s b%u = fold_128(mates, z%u, %sthreadIdx.x %% 32, fold%u);",
            type_of_fold(p, f), f, f, from, f);
}

static void fold_block(Cu *p, const KSweep *s) {
    const CuGeometry *g = p->g;
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (here(p, s, f)) publish(p, f);
    cu_line(p, "__syncthreads();");
    if (g->segments == 1) {
        for (uint32_t f = 0; f < p->k->folds.n; f++) {
            if (!here(p, s, f)) continue;
            fold_published(p, f, "");
            cu_line(p, "const %s f%u = b%u;", type_of_fold(p, f), f, f);
        }
        return;
    }
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (here(p, s, f))
            cu_line(p, "__shared__ %s w%u[%lld];", type_of_fold(p, f), f, (long long)g->segments);
    cu_line(p, "if (warp < %lld) {", (long long)g->segments);
    cu_open(p);
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!here(p, s, f)) continue;
        fold_published(p, f, arena_printf(p->a, "warp * %d + ", FOLD_LANES));
        cu_line(p, "if (threadIdx.x %% 32 == 0) w%u[warp] = b%u;", f, f);
    }
    cu_close(p);
}

void cu_folds_end(Cu *p, const KSweep *s) {
    const CuGeometry *g = p->g;
    bool any = false;
    for (uint32_t f = 0; f < p->k->folds.n; f++) any |= here(p, s, f);
    if (!any) return;
    bool block = g->shape == CU_BLOCK;
    if (block && g->parts > 1) fold_block(p, s);
    if (block && g->segments > 1) cu_line(p, "__syncthreads();");
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!here(p, s, f)) continue;
        if (block && g->segments > 1) {
            fold_segments(p, f);
        } else if (!block && g->segments > 1) {
            cu_line(p, "const %s f%u = g%u;", type_of_fold(p, f), f, f);
        } else if (!block) {
            fold_warp(p, f);
            cu_line(p, "const %s f%u = s%u[0];", type_of_fold(p, f), f, f);
        }
    }
}

// Random kernels from a seed: random axes, order and tasks, a random DAG of ops over loads of random
// strides, masks and gathers, row folds that later ops use, held rows, column folds, and stores of
// whatever came out. Shared by the tests of the printers.
#pragma once
#include "tests/unit/cpu_suite.h"

enum { MAX_OPS = 40 };

typedef struct {
    Suite *s;
    KernelCase *c;
    uint64_t seed;
    KId of[ELEM_COUNT][MAX_OPS]; // ops of each type, to choose operands from
    uint32_t n[ELEM_COUNT];
    uint32_t phase; // a fold of the DAG so far makes the next phase
} KernelGen;

static inline uint32_t pick(KernelGen *g, uint32_t n) {
    return (uint32_t)(next(&g->seed) >> 33) % n;
}
static inline bool chance(KernelGen *g, uint32_t percent) { return pick(g, 100) < percent; }

static inline void keep(KernelGen *g, Elem e, KId id) {
    if (g->n[e] < MAX_OPS) g->of[e][g->n[e]++] = id;
}
static inline KId some(KernelGen *g, Elem e) { return g->of[e][pick(g, g->n[e])]; }

// Strides of a tensor over a subset of the axes in a random order; *count is its size.
static inline KIndex random_index(KernelGen *g, bool all, int64_t *count) {
    const Kernel *k = g->c->k;
    KIndex x = {.op = NONE};
    uint32_t order[K_MAX_AXES];
    for (uint32_t i = 0; i <= k->outers; i++) order[i] = i;
    bool straight = chance(g, 60);
    for (uint32_t i = k->outers; i > 0 && !straight; i--) {
        uint32_t j = pick(g, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    int64_t n = 1;
    for (uint32_t i = k->outers + 1; i-- > 0;) {
        if (!all && chance(g, 30)) continue;
        x.stride[order[i]] = n;
        n *= k->extent[order[i]];
    }
    *count = n;
    return x;
}

static inline void add_load(KernelGen *g, Elem e) {
    int64_t count = 0;
    KIndex x = random_index(g, false, &count);
    KId mask = chance(g, 25) ? some(g, ELEM_bool) : NONE;
    if (chance(g, 20)) { // a gathered dimension of 5, indexed by values made small
        KId i = some(g, ELEM_i32), five = constant(g->s, g->c, ELEM_i32, 5);
        x.op = scalar(g->s, g->c, OP_rem, ELEM_i32, ELEM_i32, i, five, NONE); // floored: 0 .. 4
        x.op_stride = count;
        count *= 5;
    }
    uint32_t a = arg(g->s, g->c, e, KARG_in, count);
    keep(g, e, load(g->s, g->c, a, x, mask));
}

static inline void add_start(KernelGen *g) {
    for (int e = 0; e < (int)ELEM_COUNT; e++)
        keep(g, (Elem)e, constant(g->s, g->c, (Elem)e, (double)pick(g, 3)));
    for (uint32_t i = 0; i <= g->c->k->outers; i++) keep(g, ELEM_i32, axis_index(g->s, g->c, i));
    uint32_t order = g->c->k->order, tiles = order == KORDER_tile ? 1 : 1 + pick(g, 3);
    for (uint32_t i = 0; i < tiles && (order == KORDER_tile || order == KORDER_strip); i++) {
        KOp o = op_blank(KOP_tile, ELEM_f32);
        o.arg = i;
        keep(g, ELEM_f32, push(g->s, g->c, o));
    }
    add_load(g, ELEM_f32);
}

static inline void add_cast(KernelGen *g) {
    Elem from = (Elem)pick(g, ELEM_COUNT), to = (Elem)pick(g, ELEM_COUNT);
    keep(g, to, scalar(g->s, g->c, OP_cast, from, to, some(g, from), NONE, NONE));
}

static inline void add_random_op(KernelGen *g) {
    int64_t count = 0;
    KOp o = op_blank(KOP_random, ELEM_u32);
    o.index = random_index(g, true, &count);
    o.key = next(&g->seed);
    o.word = pick(g, 4);
    o.fixed = pick(g, 2);
    o.sample_stride = pick(g, 100);
    keep(g, ELEM_u32, push(g->s, g->c, o));
}

static inline void add_scalar(KernelGen *g) {
    Op op = (Op)pick(g, OP_SCALARS);
    ScalarRule rule = (ScalarRule)op_info[op].rule;
    Elem e = (Elem)pick(g, ELEM_COUNT);
    if (rule == RULE_FLOAT || rule == RULE_PREDICATE || chance(g, 50)) e = ELEM_f32;
    bool whole = e == ELEM_i32 || e == ELEM_u32;
    if (rule == RULE_CAST || (elem_is_narrow(e) && rule != RULE_SELECT)) return;
    if ((rule == RULE_LOGIC && e == ELEM_f32) || (rule == RULE_ARITH && e == ELEM_bool)) return;
    if (rule == RULE_SHIFT && !whole) return;
    Elem to = rule == RULE_COMPARE || rule == RULE_PREDICATE ? ELEM_bool : e;
    KId v[3] = {NONE, NONE, NONE};
    for (uint32_t i = 0; i < op_info[op].min; i++)
        v[i] = some(g, op == OP_select && i == 0 ? ELEM_bool : e);
    KId id = scalar(g->s, g->c, op, e, to, v[0], v[1], v[2]);
    g->c->k->ops.at[id].hold = g->c->k->order != KORDER_tile && chance(g, 20);
    keep(g, to, id);
}

static inline void add_row_fold(KernelGen *g) {
    Elem e = chance(g, 50) ? ELEM_f32 : (Elem)elem_info[pick(g, ELEM_COUNT)].computes;
    ReduceKind kind = e == ELEM_bool ? REDUCE_any : (ReduceKind)pick(g, REDUCE_any);
    if (e == ELEM_bool && chance(g, 50)) kind = REDUCE_all;
    if (e == ELEM_f32 && chance(g, 70)) { // a plain sum, whose order shows
        kind = REDUCE_sum;
        add_load(g, e);
    }
    KId value = e == ELEM_f32 && chance(g, 50) ? g->of[e][g->n[e] - 1] : some(g, e);
    uint32_t f = row_fold(g->s, g->c, kind, g->phase++, value);
    KId total = fold_value(g->s, g->c, f, e);
    keep(g, e, total);
    int64_t count = 0;
    if (chance(g, 50)) return;
    KIndex x = random_index(g, true, &count);
    store(g->s, g->c, g->phase, arg(g->s, g->c, e, KARG_out, count), x, total, NONE);
}

static inline void add_column_fold(KernelGen *g) {
    const Kernel *k = g->c->k;
    int64_t rows = 1, n = k->extent[k->outers];
    for (uint32_t i = k->walk; i < k->outers; i++) rows *= k->extent[i];
    int64_t chunks = k->order == KORDER_chunks ? (rows + k->grain - 1) / k->grain : 1;
    KIndex x = {.op = NONE};
    x.stride[k->outers] = 1;
    int64_t chunk_stride = chunks > 1 ? n : 0;
    n *= chunks;
    for (uint32_t i = k->walk; i-- > 0;) {
        x.stride[i] = n;
        n *= k->extent[i];
    }
    uint32_t a = arg(g->s, g->c, ELEM_f32, KARG_acc, n);
    KId plus = chunks == 1 && chance(g, 50) ? load(g->s, g->c, a, x, NONE) : NONE;
    column_fold(g->s, g->c, REDUCE_sum, g->phase, some(g, ELEM_f32), a, x, chunk_stride, plus);
}

static inline void add_store(KernelGen *g) {
    Elem e = (Elem)pick(g, ELEM_COUNT);
    int64_t count = 0;
    KIndex x = random_index(g, true, &count);
    KId mask = chance(g, 25) ? some(g, ELEM_bool) : NONE;
    store(g->s, g->c, g->phase, arg(g->s, g->c, e, KARG_out, count), x, some(g, e), mask);
}

// The last sweep over the lanes stores tiles: of those that were read, and others.
static inline void add_tile_stores(KernelGen *g) {
    for (uint32_t i = 0; i < 5; i++) {
        if (chance(g, 50)) continue;
        KStore st = {.tile = true, .arg = i, .phase = g->phase, .value = some(g, ELEM_f32)};
        st.mask = st.index.op = NONE;
        vec_push(g->s->arena, &g->c->k->stores, st);
    }
}

static inline void random_frame(KernelGen *g) {
    static const int64_t lanes[] = {1, 3, 8, 16, 17, 32, 45, 64, 100, 128, 200, 257, 4096, 4100};
    uint32_t outers = 1 + pick(g, 3);
    int64_t extent[K_MAX_AXES];
    for (uint32_t i = 0; i < outers; i++) extent[i] = 1 + pick(g, outers == 1 ? 12 : 4);
    extent[outers] = lanes[pick(g, 14)];
    extents(g->c, outers, extent);
    Kernel *k = g->c->k;
    k->order = pick(g, KORDER_COUNT);
    k->grain = 1 + pick(g, 5);
    if (k->order == KORDER_rows && chance(g, 25)) // the last row of the last axis is shorter
        k->flat = extent[outers - 1] * extent[outers] - pick(g, (uint32_t)extent[outers]);
    if (k->order == KORDER_chunks) k->walk = pick(g, outers);
    if (k->order == KORDER_lanes)
        k->grain = chance(g, 50) ? 16 * (1 + pick(g, 4)) : 1 + pick(g, 40);
    g->c->env.first = (int32_t)pick(g, 2);
}

static inline void random_kernel(Suite *s, uint64_t seed) {
    KernelGen *g = NEW(s->arena, KernelGen);
    *g = (KernelGen){.s = s, .seed = seed * 0x9e3779b97f4a7c15ull | 1};
    g->c =
        case_new(s, arena_printf(s->arena, "seed.%llu", (unsigned long long)seed), KORDER_rows, 1);
    for (int i = 0; i < 20; i++) next(&g->seed);
    g->c->tame = chance(g, 60);
    random_frame(g);
    add_start(g);
    uint32_t order = g->c->k->order, steps = 4 + pick(g, 14);
    bool rows = order == KORDER_rows || order == KORDER_chunks || order == KORDER_strip;
    bool columns = order == KORDER_chunks || order == KORDER_lanes;
    for (uint32_t i = 0; i < steps; i++) {
        if (chance(g, 20)) add_load(g, (Elem)pick(g, ELEM_COUNT));
        if (chance(g, 15)) add_cast(g);
        if (chance(g, 8)) add_random_op(g);
        if (chance(g, 75)) add_scalar(g);
        if (rows && g->phase < 3 && chance(g, 12)) add_row_fold(g);
        if (columns && chance(g, 8)) add_column_fold(g);
        if (chance(g, 15)) add_store(g);
    }
    add_store(g);
    if (order == KORDER_strip) add_tile_stores(g);
}

// Random modules. They exist because a pass that is right on the programs one thinks of is wrong on
// the others: every op that a model can contain occurs, in every neighbourhood, at small sizes.
//
// A module is a pool of values that grows: each step draws an op, draws operands of the pool that
// it can take (asking ir_infer, so that validity has one definition), and appends. Values stay
// moderate: where an op has a pole or grows fast, its operand is bent first (log(|x| + 1/2),
// exp(min(x, 2))), since a result of NaNs compares equal to anything. Equal seeds give equal
// modules.
#include "tools/irgen.h"
#include <math.h>
#include <string.h>

enum { GEN_AXES = 7, GEN_MAX_RANK = 4, GEN_ELEMENTS = 6000, GEN_WORK = 150000 };

typedef struct {
    IrGen o;
    uint64_t rng;
    Module *m;
    Builder b;
    Arena *a;
    AxisId axis[GEN_AXES];
    AxisId sample;
    VEC(NodeId) pool[ELEM_COUNT]; // values by element type
} Gen;

// splitmix64
static uint64_t gen_next(Gen *g) {
    uint64_t z = (g->rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint32_t gen_below(Gen *g, uint32_t n) { return (uint32_t)(gen_next(g) % n); }
static bool gen_chance(Gen *g, uint32_t percent) { return gen_below(g, 100) < percent; }

static const Type *gen_type(const Gen *g, NodeId n) { return type_of(g->m, g->b.f, n); }

static NodeId gen_add(Gen *g, NodeId n) {
    if (n != NONE) vec_push(g->a, &g->pool[gen_type(g, n)->elem], n);
    return n;
}

// A value of the pool, late ones more often; NONE when there is none.
static NodeId gen_pick(Gen *g, Elem e) {
    uint32_t n = g->pool[e].n;
    if (n == 0) return NONE;
    uint32_t i = gen_below(g, n), j = gen_below(g, n);
    return g->pool[e].at[i > j ? i : j];
}

// The node if its type is valid and small, else NONE.
static NodeId gen_try(Gen *g, Op op, const Attr *attr, const NodeId *in, uint32_t n, TypeId given) {
    TypeId types[8];
    for (uint32_t i = 0; i < n; i++) {
        if (in[i] == NONE) return NONE;
        types[i] = node_at(g->b.f, in[i])->type;
    }
    TypeId t = ir_infer(g->m, op, attr, types, n, given, NULL);
    if (t == NONE) return NONE;
    const Type *type = type_at(g->m, t);
    if (type->n > GEN_MAX_RANK || type_count(type) > GEN_ELEMENTS) return NONE;
    return ir_node(&g->b, op, attr, in, n, given);
}

static NodeId gen_op(Gen *g, Op op, NodeId x, NodeId y, NodeId z) {
    NodeId in[3] = {x, y, z};
    return gen_try(g, op, NULL, in, op_info[op].min, NONE);
}

static NodeId gen_number(Gen *g, double v) { return ir_const(&g->b, ELEM_f32, v); }

// A type with some of the axes, the sample axis first when the value has it.
static TypeId gen_random_type(Gen *g, Elem e, bool sample) {
    Type t = {.elem = e};
    if (sample && g->sample)
        t.axes[t.n++] = (TypeAxis){g->sample, g->m->axes.at[g->sample].size, {0}};
    uint32_t start = gen_below(g, GEN_AXES), rank = gen_below(g, 3) + (t.n == 0);
    for (uint32_t i = 0; i < rank; i++) {
        AxisId a = g->axis[(start + i * 2) % GEN_AXES];
        if (type_find(&t, a) < 0) t.axes[t.n++] = (TypeAxis){a, g->m->axes.at[a].size, {0}};
    }
    while (type_count(&t) > GEN_ELEMENTS) t.n--;
    for (uint32_t i = t.n; i < MAX_AXES; i++) t.axes[i] = (TypeAxis){0};
    return type_intern(g->m, &t);
}

// ---- one step of each kind

static NodeId gen_unary(Gen *g) {
    static const Op ops[] = {OP_neg, OP_abs, OP_sin, OP_cos, OP_tanh, OP_erf, OP_floor, OP_rint};
    NodeId x = gen_pick(g, ELEM_f32), half = gen_number(g, 0.5);
    if (x == NONE) return NONE;
    NodeId above = ir_binary(&g->b, OP_add, ir_unary(&g->b, OP_abs, x), half);
    switch (gen_below(g, 8)) {
    case 0: {
        NodeId below = ir_binary(&g->b, OP_min, x, gen_number(g, 2));
        return ir_unary(&g->b, gen_chance(g, 50) ? OP_expm1 : OP_exp, below);
    }
    case 1: return ir_unary(&g->b, gen_chance(g, 50) ? OP_log1p : OP_log, above);
    case 2: return ir_unary(&g->b, OP_sqrt, above);
    case 3: return ir_unary(&g->b, OP_rsqrt, above);
    case 4: return ir_binary(&g->b, OP_pow, above, gen_number(g, gen_below(g, 7) * 0.5 - 1));
    default: return ir_unary(&g->b, ops[gen_below(g, g->o.smooth ? 6 : 8)], x);
    }
}

static NodeId gen_binary(Gen *g) {
    static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_add, OP_mul, OP_min, OP_max, OP_div};
    static const double numbers[] = {0, 1, -1, 2, 0.5, 0.1, 3, -0.25};
    Op op = ops[gen_below(g, 8)];
    NodeId x = gen_pick(g, ELEM_f32), y = gen_pick(g, ELEM_f32);
    if (gen_chance(g, 25)) y = gen_number(g, numbers[gen_below(g, 8)]);
    if (x == NONE || y == NONE) return NONE;
    if (op == OP_div) y = ir_binary(&g->b, OP_add, ir_unary(&g->b, OP_abs, y), gen_number(g, 0.5));
    if (gen_chance(g, 10)) return gen_op(g, OP_fma, x, y, gen_pick(g, ELEM_f32));
    return gen_chance(g, 30) ? gen_op(g, op, y, x, NONE) : gen_op(g, op, x, y, NONE);
}

static NodeId gen_choice(Gen *g) {
    static const Op compare[] = {OP_lt, OP_le, OP_eq, OP_ne};
    static const Op logic[] = {OP_and, OP_or, OP_xor};
    NodeId x = gen_pick(g, ELEM_bool);
    switch (gen_below(g, 5)) {
    case 0:
        if (g->o.smooth) return NONE;
        return gen_op(g, compare[gen_below(g, 4)], gen_pick(g, ELEM_f32), gen_pick(g, ELEM_f32),
                      NONE);
    case 1:
        return gen_op(g, compare[gen_below(g, 4)], gen_pick(g, ELEM_i32), gen_pick(g, ELEM_i32),
                      NONE);
    case 2: return gen_op(g, logic[gen_below(g, 3)], x, gen_pick(g, ELEM_bool), NONE);
    case 3: return gen_op(g, OP_not, x, NONE, NONE);
    default: return gen_op(g, OP_select, x, gen_pick(g, ELEM_f32), gen_pick(g, ELEM_f32));
    }
}

static NodeId gen_integer(Gen *g) {
    static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_rem, OP_min, OP_max, OP_div};
    AxisId a = g->axis[gen_below(g, GEN_AXES)];
    NodeId x = gen_pick(g, ELEM_i32);
    switch (gen_below(g, 4)) {
    case 0: return ir_iota(&g->b, a, g->m->axes.at[a].size);
    case 1: return x == NONE ? NONE : ir_cast(&g->b, x, ELEM_f32);
    case 2:
        return gen_op(g, ops[gen_below(g, 7)], x, ir_const(&g->b, ELEM_i32, gen_below(g, 5)), NONE);
    default: return gen_op(g, ops[gen_below(g, 7)], x, gen_pick(g, ELEM_i32), NONE);
    }
}

static NodeId gen_reduce(Gen *g) {
    Elem e = gen_chance(g, 15) ? ELEM_bool : ELEM_f32;
    NodeId x = gen_pick(g, e);
    if (x == NONE || gen_type(g, x)->n == 0) return NONE;
    Type t = *gen_type(g, x);
    AxisList axes = {0};
    for (uint32_t i = 0; i < t.n; i++)
        if (t.axes[i].axis != g->sample && gen_chance(g, 50)) axes.at[axes.n++] = t.axes[i].axis;
    if (axes.n == 0) return NONE;
    if (e == ELEM_bool)
        return ir_reduce(&g->b, gen_chance(g, 50) ? REDUCE_any : REDUCE_all, x, &axes);
    static const ReduceKind kinds[] = {REDUCE_sum, REDUCE_sum, REDUCE_sum, REDUCE_max, REDUCE_min};
    ReduceKind kind = kinds[gen_below(g, 5)];
    if (gen_chance(g, 4)) kind = REDUCE_prod;
    if (kind == REDUCE_prod) x = ir_unary(&g->b, OP_sin, x);
    return ir_reduce(&g->b, kind, x, &axes);
}

// A sum of products over some of the shared axes, scaled down so that chains of them stay moderate.
static NodeId gen_contract(Gen *g) {
    NodeId x = gen_pick(g, ELEM_f32), y = gen_pick(g, ELEM_f32);
    if (x == NONE || y == NONE) return NONE;
    if (g->o.multiplied && gen_chance(g, 50)) {
        Elem e = gen_chance(g, 70) ? ELEM_bf16 : ELEM_f16;
        x = ir_cast(&g->b, x, e);
        y = ir_cast(&g->b, y, gen_chance(g, 20) ? ELEM_f16 : gen_chance(g, 70) ? e : ELEM_f32);
    }
    Attr a = {.kind = ATTR_contract};
    const Type *tx = gen_type(g, x), *ty = gen_type(g, y);
    int64_t k = 1;
    for (uint32_t i = 0; i < tx->n; i++) {
        AxisId axis = tx->axes[i].axis;
        if (axis == g->sample || type_find(ty, axis) < 0 || gen_chance(g, 30)) continue;
        a.contract.axes.at[a.contract.axes.n++] = axis;
        k *= tx->axes[i].size;
    }
    if (a.contract.axes.n == 0) return NONE;
    TypeId types[2] = {node_at(g->b.f, x)->type, node_at(g->b.f, y)->type};
    TypeId t = ir_infer(g->m, OP_contract, &a, types, 2, NONE, NULL);
    if (t == NONE || type_count(type_at(g->m, t)) * k > GEN_WORK) return NONE;
    NodeId in[3] = {x, y, gen_pick(g, ELEM_f32)};
    NodeId z = gen_chance(g, 30) ? gen_try(g, OP_contract, &a, in, 3, NONE) : NONE;
    if (z == NONE) z = gen_try(g, OP_contract, &a, in, 2, NONE);
    if (z == NONE) return NONE;
    return ir_binary(&g->b, OP_mul, z, gen_number(g, 1.0 / (double)k));
}

static NodeId gen_index(Gen *g) {
    NodeId x = gen_pick(g, ELEM_f32), idx = gen_pick(g, ELEM_i32);
    if (x == NONE || idx == NONE || gen_type(g, x)->n == 0) return NONE;
    Type t = *gen_type(g, x);
    AxisId axis = t.axes[gen_below(g, t.n)].axis;
    if (axis == g->sample) return NONE;
    Attr a = {.kind = ATTR_gather, .gather = {axis}};
    NodeId y = gen_try(g, OP_gather, &a, (NodeId[]){x, idx}, 2, NONE);
    if (y == NONE || gen_chance(g, 50)) return y;
    a.kind = ATTR_scatter_add;
    a.scatter_add.axis = axis;
    NodeId acc = gen_chance(g, 50) ? x : ir_const_of(&g->b, node_at(g->b.f, x)->type, 0);
    return gen_try(g, OP_scatter_add, &a, (NodeId[]){acc, idx, ir_unary(&g->b, OP_sin, y)}, 3,
                   NONE);
}

// Another order of the same axes; the sample axis stays first.
static NodeId gen_copy(Gen *g, NodeId x) {
    Type t = *gen_type(g, x);
    uint32_t first = g->sample && t.n && t.axes[0].axis == g->sample;
    for (uint32_t i = t.n; i > first + 1; i--) {
        uint32_t j = first + gen_below(g, i - first);
        TypeAxis swap = t.axes[i - 1];
        t.axes[i - 1] = t.axes[j];
        t.axes[j] = swap;
    }
    return ir_copy(&g->b, x, type_intern(g->m, &t));
}

static NodeId gen_split_or_merge(Gen *g, NodeId x, AxisId axis, int64_t size) {
    Type t = *gen_type(g, x);
    if (size % 2 == 0 && gen_chance(g, 60)) {
        AxisList to = {2, {axis_new(g->m, "outer", size / 2), axis_new(g->m, "pair", 2)}};
        int64_t sizes[2] = {size / 2, 2};
        return t.n < GEN_MAX_RANK ? ir_split(&g->b, x, axis, &to, sizes) : NONE;
    }
    uint32_t at = (uint32_t)type_find(&t, axis), other = gen_below(g, t.n);
    if (other == at || t.axes[other].axis == g->sample) return NONE;
    AxisList from = {2, {axis, t.axes[other].axis}};
    return ir_merge(&g->b, x, &from, axis_new(g->m, "merged", size * t.axes[other].size));
}

static NodeId gen_cut(Gen *g, NodeId x, AxisId axis, int64_t size) {
    int64_t half = size / 2, rest = size - half;
    if (half == 0) return NONE;
    AxisId low = axis_new(g->m, "low", half), high = axis_new(g->m, "high", rest);
    NodeId p = ir_slice(&g->b, x, axis, low, 0, half),
           q = ir_slice(&g->b, x, axis, high, half, rest);
    switch (gen_below(g, 4)) {
    case 0: return gen_add(g, p), q;
    case 1: return ir_pad(&g->b, p, low, axis, gen_below(g, (uint32_t)rest + 1), size, 0.5);
    case 2: return ir_concat(&g->b, (NodeId[]){p, q}, &(AxisList){2, {low, high}}, axis);
    default:
        q = ir_unary(&g->b, OP_neg, q);
        return ir_concat(&g->b, (NodeId[]){q, p}, &(AxisList){2, {high, low}}, axis);
    }
}

static NodeId gen_expand(Gen *g, NodeId x) {
    Type t = *gen_type(g, x);
    AxisId a = g->axis[gen_below(g, GEN_AXES)];
    if (t.n >= GEN_MAX_RANK || type_find(&t, a) >= 0) return NONE;
    t.axes[t.n++] = (TypeAxis){a, g->m->axes.at[a].size, {0}};
    return type_count(&t) > GEN_ELEMENTS ? NONE : ir_expand(&g->b, x, type_intern(g->m, &t));
}

static NodeId gen_view(Gen *g) {
    NodeId x = gen_pick(g, ELEM_f32);
    if (x == NONE || gen_type(g, x)->n == 0) return NONE;
    const TypeAxis *at = &gen_type(g, x)->axes[gen_below(g, gen_type(g, x)->n)];
    AxisId axis = at->axis;
    int64_t size = at->size;
    switch (gen_below(g, 6)) {
    case 0: return gen_copy(g, x);
    case 1: return gen_expand(g, x);
    case 2: return axis == g->sample ? NONE : gen_split_or_merge(g, x, axis, size);
    case 3:
    case 4: return axis == g->sample ? NONE : gen_cut(g, x, axis, size);
    default:
        if (axis == g->sample) return NONE;
        return ir_rename(&g->b, x, axis, axis_new(g->m, "again", size));
    }
}

// A value rounded, moved while it is narrow, and what it is then as an f32.
static NodeId gen_narrow(Gen *g) {
    static const Elem elems[] = {ELEM_bf16, ELEM_bf16, ELEM_f16, ELEM_f8e4m3, ELEM_f8e5m2, ELEM_i8};
    Elem e = elems[gen_below(g, 6)];
    NodeId x = gen_pick(g, gen_chance(g, 50) ? e : ELEM_f32);
    if (x == NONE) x = gen_pick(g, ELEM_f32);
    if (x == NONE) return NONE;
    x = ir_cast(&g->b, x, e);
    Attr at = {.kind = ATTR_gather};
    NodeId y = NONE;
    switch (gen_below(g, 4)) {
    case 0: y = gen_op(g, OP_select, gen_pick(g, ELEM_bool), x, gen_pick(g, e)); break;
    case 1: y = gen_copy(g, x); break;
    case 2:
        if (!gen_type(g, x)->n) break;
        at.gather.axis = gen_type(g, x)->axes[gen_below(g, gen_type(g, x)->n)].axis;
        if (at.gather.axis == g->sample) break;
        y = gen_try(g, OP_gather, &at, (NodeId[]){x, gen_pick(g, ELEM_i32)}, 2, NONE);
        break;
    default: break;
    }
    if (y == NONE) y = x;
    gen_add(g, y);
    return ir_cast(&g->b, y, ELEM_f32);
}

// The same node once more, for cse; or a draw, which may be the same one too.
static NodeId gen_again(Gen *g) {
    NodeId n = gen_below(g, g->b.f->nodes.n);
    const Node *x = node_at(g->b.f, n);
    if (gen_chance(g, 20) && !g->o.batch) {
        TypeId t = gen_random_type(g, ELEM_u32, true);
        NodeId bits = ir_random(&g->b, t, gen_below(g, 3), (int)gen_below(g, 4), gen_chance(g, 50));
        NodeId unit = ir_cast(&g->b, bits, ELEM_f32);
        return ir_binary(&g->b, OP_mul, unit, gen_number(g, 1.0 / 4294967296.0));
    }
    if (x->n > 8) return NONE;
    NodeId in[8];
    for (uint32_t j = 0; j < x->n; j++) in[j] = operand(g->b.f, n, j);
    Attr a = *attr_at(g->m, x->attr);
    bool keeps_order = node_acc(x) >= 0;
    return gen_try(g, (Op)x->op, x->attr ? &a : NULL, in, x->n, keeps_order ? NONE : x->type);
}

static void gen_step(Gen *g) {
    static NodeId (*const steps[])(Gen *) = {gen_unary,    gen_binary, gen_binary, gen_choice,
                                             gen_integer,  gen_reduce, gen_view,   gen_view,
                                             gen_contract, gen_index,  gen_again};
    char name[32];
    snprintf(name, sizeof name, "h.%u.v", g->b.f->nodes.n);
    g->b.name = gen_chance(g, 30) ? sym(g->m->syms, name) : 0;
    if (g->o.narrow && gen_chance(g, 20)) {
        gen_add(g, gen_narrow(g));
        return;
    }
    gen_add(g, steps[gen_below(g, sizeof steps / sizeof steps[0])](g));
}

// ---- scores of rows and keys, maps and folds of them, and sums: what passes/recognise.c keeps whole

typedef struct {
    AxisId outer[2], row, key, feat; // outer 0: there is none
} GenTiles;

static TypeId gen_axes(Gen *g, const AxisId *axes, uint32_t n) {
    Type t = {.elem = ELEM_f32};
    for (uint32_t i = 0; i < n; i++)
        if (axes[i]) t.axes[t.n++] = (TypeAxis){axes[i], g->m->axes.at[axes[i]].size, {0}};
    return type_intern(g->m, &t);
}

// Data of rows or keys, each feature times a state, so that derivatives go through it. Outer axes in any order,
// and not all where they may be left out.
static NodeId gen_data(Gen *g, const GenTiles *t, AxisId place, AxisId feature, bool all) {
    char name[32];
    uint32_t first = gen_below(g, 2);
    AxisId axes[] = {g->sample, t->outer[first], t->outer[1 - first], place, feature};
    for (int i = 1; i < 3 && !all; i++)
        if (gen_chance(g, 30)) axes[i] = 0;
    snprintf(name, sizeof name, "a%u", g->b.f->nodes.n);
    NodeId x = ir_input(&g->b, name, gen_axes(g, axes, 5), 0);
    snprintf(name, sizeof name, "aw%u", g->m->states.n);
    StateId s = state_new(g->m, name, gen_axes(g, &feature, 1), STATE_param, (Loc){0});
    return ir_binary(&g->b, OP_mul, x, ir_state(&g->b, s));
}

static NodeId gen_product(Gen *g, NodeId x, NodeId y, const AxisList *over) {
    double n = 1;
    for (uint32_t i = 0; i < over->n; i++) n *= (double)g->m->axes.at[over->at[i]].size;
    return ir_binary(&g->b, OP_mul, ir_contract(&g->b, x, y, over, NONE), gen_number(g, 1 / n));
}

static NodeId gen_scores(Gen *g, const GenTiles *t, NodeId keys) {
    NodeId x = gen_data(g, t, t->row, t->feat, true);
    if (keys == NONE) keys = gen_data(g, t, t->key, t->feat, false);
    return gen_product(g, x, keys, &(AxisList){1, {t->feat}});
}

static NodeId gen_fold(Gen *g, ReduceKind kind, NodeId x, AxisId over) {
    return ir_reduce(&g->b, kind, x, &(AxisList){1, {over}});
}

// Key 0 is seen by every row.
static NodeId gen_mask(Gen *g, const GenTiles *t) {
    static const double far[] = {0, 3, 40};
    NodeId row = ir_iota(&g->b, t->row, g->m->axes.at[t->row].size),
           key = ir_iota(&g->b, t->key, g->m->axes.at[t->key].size),
           n = ir_const(&g->b, ELEM_i32, far[gen_below(g, 3)]);
    AxisId axes[] = {t->row, t->key};
    Type wide = *type_at(g->m, gen_axes(g, axes, 2));
    wide.elem = ELEM_i32;
    row = ir_expand(&g->b, row, type_intern(g->m, &wide));
    NodeId causal = ir_binary(&g->b, OP_le, key, row), first = ir_binary(&g->b, OP_le, key, n),
           near = ir_binary(&g->b, OP_le, row, ir_binary(&g->b, OP_add, key, n));
    first = ir_expand(&g->b, first, node_at(g->b.f, causal)->type);
    switch (gen_below(g, 3)) {
    case 0: return causal;
    case 1: return ir_binary(&g->b, OP_or, causal, first);
    default: return ir_binary(&g->b, OP_or, first, ir_binary(&g->b, OP_and, causal, near));
    }
}

static NodeId gen_softmax(Gen *g, const GenTiles *t, NodeId x) {
    if (gen_chance(g, 70)) x = ir_select(&g->b, gen_mask(g, t), x, gen_number(g, -HUGE_VAL));
    NodeId e =
        ir_unary(&g->b, OP_exp, ir_binary(&g->b, OP_sub, x, gen_fold(g, REDUCE_max, x, t->key)));
    return ir_binary(&g->b, OP_div, e, gen_fold(g, REDUCE_sum, e, t->key));
}

static NodeId gen_tile_step(Gen *g, const GenTiles *t, NodeId x) {
    static const Op unary[] = {OP_tanh, OP_sin, OP_abs, OP_neg};
    AxisId dense[] = {t->row, t->key};
    switch (gen_below(g, 7)) {
    case 0: return ir_unary(&g->b, unary[gen_below(g, 4)], x);
    case 1: return ir_binary(&g->b, OP_mul, x, x);
    case 2: { // the axes of a sum stand as in its first operand
        NodeId y = gen_scores(g, t, NONE);
        return gen_chance(g, 50) ? ir_binary(&g->b, OP_add, x, y) : ir_binary(&g->b, OP_add, y, x);
    }
    case 3: {
        NodeId row = gen_fold(g, gen_chance(g, 50) ? REDUCE_max : REDUCE_sum, x, t->key);
        return ir_binary(&g->b, OP_mul, x, ir_unary(&g->b, OP_tanh, row));
    }
    case 4: return ir_select(&g->b, gen_mask(g, t), x, gen_number(g, 0));
    case 5: {
        char name[32];
        snprintf(name, sizeof name, "ad%u", g->m->states.n);
        StateId s = state_new(g->m, name, gen_axes(g, dense, 2), STATE_param, (Loc){0});
        return ir_binary(&g->b, OP_add, x, ir_state(&g->b, s));
    }
    default: return gen_softmax(g, t, x);
    }
}

// The values that are summed are data, the keys themselves, or made of indices; or rows are summed, and outer
// axes with them.
static NodeId gen_tile_sum(Gen *g, const GenTiles *t, NodeId x, NodeId keys) {
    AxisId out = axis_new(g->m, "out", 1 + gen_below(g, 5));
    AxisList key = {1, {t->key}}, rows = {0};
    switch (gen_below(g, 6)) {
    case 0: return gen_product(g, x, keys, &key);
    case 1: {
        NodeId at = ir_cast(&g->b, ir_iota(&g->b, t->key, g->m->axes.at[t->key].size), ELEM_f32);
        return gen_product(g, x, at, &key);
    }
    case 2:
    case 3:
        for (uint32_t i = 0, first = gen_below(g, 2); i < 2; i++) {
            AxisId a = t->outer[(first + i) % 2];
            if (a && gen_chance(g, 60)) rows.at[rows.n++] = a;
        }
        rows.at[rows.n++] = t->row;
        return gen_product(g, x, gen_data(g, t, t->row, out, true), &rows);
    default: return gen_product(g, x, gen_data(g, t, t->key, out, false), &key);
    }
}

static void gen_attention(Gen *g) {
    static const int64_t rows[] = {2, 3, 5, 49, 50}, keys[] = {1, 2, 5, 60, 130},
                         feats[] = {1, 2, 8};
    GenTiles t = {.row = axis_new(g->m, "row", rows[gen_below(g, 5)]),
                  .key = axis_new(g->m, "key", keys[gen_below(g, g->sample ? 3 : 5)]),
                  .feat = axis_new(g->m, "feat", feats[gen_below(g, 3)])};
    for (int i = 0; i < 2; i++)
        if (gen_chance(g, 50))
            t.outer[i] = axis_new(g->m, i ? "group" : "head", 1 + gen_below(g, 3));
    NodeId keys_of = gen_data(g, &t, t.key, t.feat, false), x = gen_scores(g, &t, keys_of);
    uint32_t steps = gen_below(g, 5), sums = 1 + gen_below(g, 3);
    for (uint32_t i = 0; i < steps; i++) x = gen_tile_step(g, &t, x);
    if (gen_chance(g, 60)) x = gen_softmax(g, &t, x);
    for (uint32_t i = 0; i < sums; i++) gen_add(g, gen_tile_sum(g, &t, x, keys_of));
    if (gen_chance(g, 10)) gen_add(g, x); // something else reads it, perhaps
}

// ---- the module

static void gen_leaves(Gen *g) {
    char name[32];
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "x%u", i);
        gen_add(g, ir_input(&g->b, name, gen_random_type(g, ELEM_f32, i < 2), 0));
    }
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "i%u", i);
        AxisId range = g->axis[gen_below(g, GEN_AXES)];
        gen_add(g, ir_input(&g->b, name, gen_random_type(g, ELEM_i32, i == 0), range));
    }
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "w%u", i);
        TypeId t = gen_random_type(g, ELEM_f32, false);
        StateId s = state_new(g->m, name, t, STATE_param, (Loc){0});
        gen_add(g, ir_state(&g->b, s));
    }
}

static void gen_results(Gen *g) {
    for (uint32_t i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "r%u", i);
        func_result(g->m, g->b.f, name, g->pool[ELEM_f32].at[g->pool[ELEM_f32].n - 1 - i],
                    RESULT_value);
    }
    for (StateId s = 0; s < g->m->states.n; s++)
        for (uint32_t i = g->pool[ELEM_f32].n; i-- > 0;) {
            NodeId n = g->pool[ELEM_f32].at[i];
            if (node_at(g->b.f, n)->type != g->m->states.at[s].type) continue;
            ir_assign(&g->b, s, n);
            break;
        }
}

static NodeId gen_update(Gen *g, NodeId x, NodeId other) {
    static const double numbers[] = {0.5, 0.1, -0.25};
    Type t = *gen_type(g, x);
    AxisList axes = {.n = t.n};
    switch (gen_below(g, 4)) {
    case 0: return ir_binary(&g->b, OP_mul, x, gen_number(g, numbers[gen_below(g, 3)]));
    case 1: return ir_binary(&g->b, OP_sub, x, other);
    case 2: return ir_unary(&g->b, OP_sin, x);
    default:
        for (uint32_t i = 0; i < t.n; i++) axes.at[i] = t.axes[i].axis;
        if (t.n == 0) return ir_unary(&g->b, OP_tanh, x);
        return ir_binary(&g->b, OP_mul, x, ir_reduce(&g->b, REDUCE_max, other, &axes));
    }
}

// Some read the state that the next one writes.
static void gen_twins(Gen *g) {
    enum { MOST = 5 };
    StateId state[MOST];
    NodeId old[MOST];
    TypeId t = gen_random_type(g, ELEM_f32, false);
    uint32_t n = 2 + gen_below(g, MOST - 1), next = gen_chance(g, 50) ? 1 : 0;
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "twin.%u", i);
        state[i] = state_new(g->m, name, t, STATE_param, (Loc){0});
        old[i] = ir_state(&g->b, state[i]);
    }
    uint64_t start = g->rng;
    for (uint32_t i = 0; i < n; i++) {
        g->rng = start; // the same draws for each
        NodeId x = old[i];
        for (uint32_t k = 1 + gen_below(g, 4); k > 0; k--)
            x = gen_update(g, x, old[(i + next) % n]);
        ir_assign(&g->b, state[i], x);
    }
}

// The mean of the last values, each bent into a moderate range, and its derivative by every state.
static void gen_loss(Gen *g) {
    NodeId loss = NONE;
    for (uint32_t i = 0; i < 3; i++) {
        NodeId x = g->pool[ELEM_f32].at[g->pool[ELEM_f32].n - 1 - i];
        x = ir_unary(&g->b, OP_tanh, x);
        Type t = *gen_type(g, x);
        AxisList axes = {0};
        for (uint32_t a = 0; a < t.n; a++) axes.at[axes.n++] = t.axes[a].axis;
        if (axes.n) x = ir_reduce(&g->b, REDUCE_sum, x, &axes);
        if (type_find(&t, g->sample ? g->sample : g->axis[0]) >= 0 && g->sample)
            x = ir_binary(&g->b, OP_div, x, ir_extent(&g->b, g->sample));
        loss = loss == NONE ? x : ir_binary(&g->b, OP_add, loss, x);
    }
    g->b.name = sym(g->m->syms, "loss");
    loss = ir_binary(&g->b, OP_mul, loss, gen_number(g, 0.125));
    func_result(g->m, g->b.f, "loss", loss, RESULT_loss);
    for (StateId s = 0; s < g->m->states.n; s++) {
        char name[32];
        snprintf(name, sizeof name, "g%u", s);
        func_result(g->m, g->b.f, name, ir_grad(&g->b, loss, s), RESULT_value);
    }
}

Module *irgen_module(Arena *a, SymTab *syms, Diag *diag, const IrGen *options) {
    Gen g = {.o = *options, .rng = options->seed, .a = a};
    g.m = module_new(a, syms, diag);
    static const int64_t sizes[] = {1, 2, 3, 4, 6, 8, 5, 70, 130};
    if (options->batch) {
        g.sample = axis_new(g.m, "batch", options->batch);
        g.m->axes.at[g.sample].sample = 1;
    }
    for (uint32_t i = 0; i < GEN_AXES; i++) {
        char name[8] = {(char)('p' + i), 0};
        g.axis[i] = axis_new(g.m, name, sizes[gen_below(&g, i == 0 ? 9 : 7)]);
    }
    g.b = (Builder){.m = g.m, .f = func_new(g.m, options->gradients ? "step" : "f", NULL)};
    gen_leaves(&g);
    for (uint32_t i = 0; i < options->nodes; i++) gen_step(&g);
    if (options->attention) gen_attention(&g);
    if (options->gradients)
        gen_loss(&g);
    else
        gen_results(&g);
    if (options->twins && !options->gradients) gen_twins(&g);
    return g.m;
}

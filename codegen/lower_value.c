// Values at positions: see lower_value.h. Each (node, position, mask) is lowered once, so the work is
// linear in the number of distinct kernel ops.
#include "codegen/lower_value.h"
#include "codegen/sweep.h"
#include <string.h>

// ---- expressions and positions ------------------------------------------------------------------

ExprId lower_expr(Lowering *l, const KIndex *e) {
    for (uint32_t i = 0; i < l->exprs.n; i++)
        if (memcmp(&l->exprs.at[i], e, sizeof *e) == 0) return i;
    vec_push(l->a, &l->exprs, *e);
    return l->exprs.n - 1;
}

static PosId intern_pos(Lowering *l, const Pos *p) {
    for (uint32_t i = 0; i < l->positions.n; i++)
        if (memcmp(&l->positions.at[i], p, sizeof *p) == 0) return i;
    vec_push(l->a, &l->positions, *p);
    return l->positions.n - 1;
}

ExprId lower_at(Lowering *l, PosId at, AxisId a) {
    const Pos *p = &l->positions.at[at];
    for (uint32_t i = 0; i < p->n; i++)
        if (p->axis[i] == a) return p->expr[i];
    unreachable(a);
}

static KIndex expr_empty(void) {
    KIndex e;
    memset(&e, 0, sizeof e);
    e.op = NONE;
    return e;
}

KId lower_op(Lowering *l, const KOp *op) {
    KOp o = *op;
    o.ready = kop_ready(l->k, op);
    for (KId i = l->k->ops.n;
         i-- > 0 && i + 64 > l->k->ops.n;) // recent twins only; the memo has the rest
        if (memcmp(&l->k->ops.at[i], &o, sizeof o) == 0) return i;
    vec_push(l->a, &l->k->ops, o);
    return l->k->ops.n - 1;
}

static KOp blank_op(KOpKind kind, Elem to) {
    KOp o;
    memset(&o, 0, sizeof o);
    o.kind = (uint8_t)kind;
    o.to = o.elem = (uint8_t)to;
    o.a = o.b = o.c = o.mask = o.index.op = NONE;
    return o;
}

KId lower_scalar(Lowering *l, Op op, Elem elem, Elem to, KId a, KId b, KId c) {
    KOp o = blank_op(KOP_scalar, to);
    o.elem = (uint8_t)elem;
    o.op = (uint16_t)op;
    o.a = a, o.b = b, o.c = c;
    return lower_op(l, &o);
}

static KId lower_const(Lowering *l, Elem elem, double value) {
    KOp o = blank_op(KOP_const, elem);
    o.value = value;
    return lower_op(l, &o);
}

KId lower_int(Lowering *l, int64_t v) { return lower_const(l, ELEM_i32, (double)v); }

static KId int_op(Lowering *l, Op op, KId a, KId b) {
    return lower_scalar(l, op, ELEM_i32, ELEM_i32, a, b, NONE);
}

static KId scaled(Lowering *l, KId v, int64_t by) {
    return by == 1 ? v : int_op(l, OP_mul, v, lower_int(l, by));
}

// The expression's value as an i32 op.
static KId expr_op(Lowering *l, const KIndex *e) {
    KId sum = NONE;
    if (e->op != NONE) sum = scaled(l, e->op, e->op_stride);
    for (uint32_t i = 0; i < K_MAX_AXES; i++) {
        if (!e->stride[i]) continue;
        KOp o = blank_op(KOP_index, ELEM_i32);
        o.axis = i;
        KId term = scaled(l, lower_op(l, &o), e->stride[i]);
        sum = sum == NONE ? term : int_op(l, OP_add, sum, term);
    }
    if (sum == NONE) return lower_int(l, e->base);
    return e->base ? int_op(l, OP_add, sum, lower_int(l, e->base)) : sum;
}

// a += b * times. Two computed parts become one op.
static void expr_add(Lowering *l, KIndex *a, const KIndex *b, int64_t times) {
    a->base += b->base * times;
    for (uint32_t i = 0; i < K_MAX_AXES; i++) a->stride[i] += b->stride[i] * times;
    if (b->op == NONE) return;
    if (a->op == NONE) {
        a->op = b->op;
        a->op_stride = b->op_stride * times;
    } else if (a->op == b->op) {
        a->op_stride += b->op_stride * times;
    } else {
        KId x = scaled(l, a->op, a->op_stride), y = scaled(l, b->op, b->op_stride * times);
        a->op = int_op(l, OP_add, x, y);
        a->op_stride = 1;
    }
}

KIndex lower_index(Lowering *l, const Type *t, PosId at) {
    int64_t strides[MAX_AXES];
    type_strides(t, strides);
    KIndex e = expr_empty();
    uint32_t computed = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->axes[i].size == 1) continue; // the only index is 0
        KIndex x = l->exprs.at[lower_at(l, at, t->axes[i].axis)];
        computed += x.op != NONE;
        expr_add(l, &e, &x, strides[i]);
    }
    // two computed parts become one i32 op
    if (computed > 1 && type_count(t) > INT32_MAX)
        l->failed = "two computed indices into a tensor of 2^31 elements or more";
    return e;
}

PosId lower_identity(Lowering *l, const Type *t) {
    Pos p;
    memset(&p, 0, sizeof p);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t k = 0;
        while (k < K_MAX_AXES && l->axes[k] != t->axes[i].axis) k++;
        CHECK(k < K_MAX_AXES, "lower: axis %u is not in the kernel", t->axes[i].axis);
        p.axis[p.n] = t->axes[i].axis;
        p.expr[p.n++] = l->axis_expr[k];
    }
    return intern_pos(l, &p);
}

// The part of a position that a type has.
static PosId narrowed(Lowering *l, PosId at, const Type *t) {
    Pos p, from = l->positions.at[at];
    memset(&p, 0, sizeof p);
    for (uint32_t i = 0; i < from.n; i++) {
        if (type_find(t, from.axis[i]) < 0) continue;
        p.axis[p.n] = from.axis[i];
        p.expr[p.n++] = from.expr[i];
    }
    return intern_pos(l, &p);
}

PosId lower_with(Lowering *l, PosId at, AxisId from, AxisId to, ExprId e) {
    Pos p = l->positions.at[at];
    for (uint32_t i = 0; i < p.n; i++) {
        if (p.axis[i] != from) continue;
        p.axis[i] = to;
        p.expr[i] = e;
    }
    return intern_pos(l, &p);
}

static PosId pos_without(Lowering *l, PosId at, AxisId a) {
    Pos p, from = l->positions.at[at];
    memset(&p, 0, sizeof p);
    for (uint32_t i = 0; i < from.n; i++) {
        if (from.axis[i] == a) continue;
        p.axis[p.n] = from.axis[i];
        p.expr[p.n++] = from.expr[i];
    }
    return intern_pos(l, &p);
}

PosId lower_pos_add(Lowering *l, PosId at, AxisId a, ExprId e) {
    Pos p = l->positions.at[at];
    p.axis[p.n] = a;
    p.expr[p.n++] = e;
    return intern_pos(l, &p);
}

// ---- arguments ----------------------------------------------------------------------------------

uint32_t lower_arg(Lowering *l, bool result, uint32_t index, const Type *t, KArgMode mode) {
    vec_push(l->a, &l->k->args, ((KArg){t->elem, mode, type_count(t)}));
    vec_push(l->a, &l->refs, ((LowerRef){.result = result, .index = index}));
    return l->k->args.n - 1;
}

static KId lower_load(Lowering *l, NodeId n, PosId at, KId mask) {
    const Type *t = type_of(l->m, l->f, n);
    uint32_t operand_index = (uint32_t)attr_of(l->m, l->f, n)->arg.index;
    uint32_t *slot = &l->arg_of[operand_index];
    if (!*slot)
        *slot =
            1 + lower_arg(l, false, operand_index, t, l->acc[operand_index] ? KARG_acc : KARG_in);
    KOp o = blank_op(KOP_load, (Elem)t->elem);
    o.index = lower_index(l, t, at);
    o.arg = *slot - 1;
    o.mask = mask;
    return lower_op(l, &o);
}

// ---- views --------------------------------------------------------------------------------------

static KId both(Lowering *l, KId a, KId b) {
    return a == NONE ? b : lower_scalar(l, OP_and, ELEM_bool, ELEM_bool, a, b, NONE);
}

// lo <= e < hi as a bool op.
static KId in_range(Lowering *l, KId v, int64_t lo, int64_t hi) {
    KId low = lower_scalar(l, OP_le, ELEM_i32, ELEM_bool, lower_int(l, lo), v, NONE);
    KId high = lower_scalar(l, OP_lt, ELEM_i32, ELEM_bool, v, lower_int(l, hi), NONE);
    return both(l, low, high);
}

static KId lower_split(Lowering *l, NodeId n, PosId at, KId mask) {
    const Attr *attr = attr_of(l->m, l->f, n);
    const Type *t = type_of(l->m, l->f, n);
    KIndex e = expr_empty();
    int64_t times = 1;
    PosId p = at;
    for (uint32_t i = attr->split.to.n; i-- > 0;) {
        AxisId a = attr->split.to.at[i];
        KIndex part = l->exprs.at[lower_at(l, at, a)];
        expr_add(l, &e, &part, times);
        times *= t->axes[type_find(t, a)].size;
        p = pos_without(l, p, a);
    }
    return lower_value(l, operand(l->f, n, 0),
                       lower_pos_add(l, p, attr->split.from, lower_expr(l, &e)), mask);
}

// Cuts e into quotient and remainder by `size`; true when both are affine: every stride is a multiple
// of size, or all the rest together stay below it.
static bool divide_affine(const Kernel *k, const KIndex *e, int64_t size, KIndex *quot,
                          KIndex *rem) {
    *quot = *rem = expr_empty();
    if (e->op != NONE || e->base < 0) return false;
    quot->base = e->base / size;
    int64_t most = rem->base = e->base % size;
    for (uint32_t i = 0; i < K_MAX_AXES; i++) {
        if (e->stride[i] < 0) return false;
        if (e->stride[i] % size == 0) {
            quot->stride[i] = e->stride[i] / size;
        } else {
            rem->stride[i] = e->stride[i];
            most += e->stride[i] * (k->extent[i] - 1);
        }
    }
    return most < size;
}

static KId lower_merge(Lowering *l, NodeId n, PosId at, KId mask) {
    const Attr *attr = attr_of(l->m, l->f, n);
    NodeId x = operand(l->f, n, 0);
    const Type *t = type_of(l->m, l->f, x);
    KIndex rest = l->exprs.at[lower_at(l, at, attr->merge.to)];
    PosId p = pos_without(l, at, attr->merge.to);
    for (uint32_t i = attr->merge.from.n; i-- > 0;) {
        AxisId a = attr->merge.from.at[i];
        int64_t size = t->axes[type_find(t, a)].size;
        KIndex quot, rem;
        if (i == 0) {
            rem = rest;
        } else if (!divide_affine(l->k, &rest, size, &quot, &rem)) {
            KId v = expr_op(l, &rest);
            quot = rem = expr_empty();
            quot.op = int_op(l, OP_div, v, lower_int(l, size));
            rem.op = int_op(l, OP_rem, v, lower_int(l, size));
            quot.op_stride = rem.op_stride = 1;
        }
        p = lower_pos_add(l, p, a, lower_expr(l, &rem));
        if (i) rest = quot;
    }
    return lower_value(l, x, p, mask);
}

static ExprId shifted(Lowering *l, ExprId e, int64_t by) {
    KIndex x = l->exprs.at[e];
    x.base += by;
    return lower_expr(l, &x);
}

// The value of x where the index along `axis` (moved by -start) falls into x, else `other`.
static KId lower_guarded(Lowering *l, NodeId x, PosId at, AxisId to, AxisId from, int64_t start,
                         KId mask, KId other) {
    const Type *t = type_of(l->m, l->f, x);
    ExprId e = shifted(l, lower_at(l, at, to), -start);
    KIndex index = l->exprs.at[e];
    KId inside = in_range(l, expr_op(l, &index), 0, t->axes[type_find(t, from)].size);
    KId v = lower_value(l, x, lower_with(l, at, to, from, e), both(l, mask, inside));
    return lower_scalar(l, OP_select, (Elem)t->elem, (Elem)t->elem, inside, v, other);
}

static KId lower_concat(Lowering *l, NodeId n, PosId at, KId mask) {
    const Attr *attr = attr_of(l->m, l->f, n);
    const Node *node = node_at(l->f, n);
    const Type *t = type_of(l->m, l->f, n);
    KId v = lower_const(l, (Elem)t->elem, 0);
    int64_t start = type_at(l->m, node->type)->axes[type_find(t, attr->concat.to)].size;
    for (uint32_t i = node->n; i-- > 0;) {
        NodeId x = operand(l->f, n, i);
        const Type *xt = type_of(l->m, l->f, x);
        start -= xt->axes[type_find(xt, attr->concat.from.at[i])].size;
        v = lower_guarded(l, x, at, attr->concat.to, attr->concat.from.at[i], start, mask, v);
    }
    return v;
}

static KId lower_gather(Lowering *l, NodeId n, PosId at, KId mask) {
    NodeId x = operand(l->f, n, 0), index = operand(l->f, n, 1);
    AxisId axis = attr_of(l->m, l->f, n)->gather.axis;
    const Type *xt = type_of(l->m, l->f, x);
    KId i = lower_value(l, index, narrowed(l, at, type_of(l->m, l->f, index)), mask);
    KId inside = in_range(l, i, 0, xt->axes[type_find(xt, axis)].size);
    KIndex e = expr_empty();
    e.op = i;
    e.op_stride = 1;
    PosId p = lower_pos_add(l, narrowed(l, at, xt), axis, lower_expr(l, &e));
    return lower_value(l, x, p, both(l, mask, inside));
}

static KId lower_random(Lowering *l, NodeId n, PosId at) {
    const Type *t = type_of(l->m, l->f, n);
    const Attr *attr = attr_of(l->m, l->f, n);
    KOp o = blank_op(KOP_random, ELEM_u32);
    o.index = lower_index(l, t, at);
    o.key = (uint64_t)attr->random.key;
    o.word = (uint32_t)attr->random.word;
    o.fixed = (uint32_t)attr->random.fixed;
    int64_t strides[MAX_AXES];
    type_strides(t, strides);
    for (uint32_t i = 0; i < t->n; i++)
        if (l->m->axes.at[t->axes[i].axis].sample) o.sample_stride = strides[i];
    return lower_op(l, &o);
}

static KId lower_map(Lowering *l, NodeId n, PosId at, KId mask) {
    const Node *node = node_at(l->f, n);
    KId v[3] = {NONE, NONE, NONE};
    for (uint32_t i = 0; i < node->n; i++) {
        NodeId o = operand(l->f, n, i);
        v[i] = lower_value(l, o, narrowed(l, at, type_of(l->m, l->f, o)), mask);
    }
    Elem elem = (Elem)type_of(l->m, l->f, operand(l->f, n, node->op == OP_select ? 1 : 0))->elem;
    return lower_scalar(l, (Op)node->op, elem, (Elem)type_of(l->m, l->f, n)->elem, v[0], v[1],
                        v[2]);
}

// Whether a value is read where the kernel is: at the row and lane themselves.
static bool is_here(Lowering *l, NodeId n, PosId at) {
    const Type *t = type_of(l->m, l->f, n);
    PosId here = lower_identity(l, t);
    for (uint32_t i = 0; i < t->n; i++)
        if (lower_at(l, at, t->axes[i].axis) != lower_at(l, here, t->axes[i].axis)) return false;
    return true;
}

static KId lower_tile(Lowering *l, NodeId n, PosId at, uint32_t number) {
    if (!is_here(l, n, at)) l->failed = "a tile is read at another row or lane";
    KOp o = blank_op(KOP_tile, ELEM_f32);
    o.arg = number;
    return lower_op(l, &o);
}

static KId lower_fold(Lowering *l, NodeId n, PosId at) {
    if (l->k->order == KORDER_strip && !is_here(l, n, at))
        l->failed = "a fold's value is read at another row";
    return l->fold_value[n];
}

static KId lower_node(Lowering *l, NodeId n, PosId at, KId mask) {
    const Node *node = node_at(l->f, n);
    const Attr *attr = attr_of(l->m, l->f, n);
    Op op = (Op)node->op;
    for (uint32_t i = 0; i < K_MAX_TILES; i++)
        if (n == l->tile[i]) return lower_tile(l, n, at, i);
    if (op_is_scalar(op)) return lower_map(l, n, at, mask);
    if (op == OP_arg) return lower_load(l, n, at, mask);
    if (op == OP_const)
        return lower_const(l, (Elem)type_of(l->m, l->f, n)->elem, attr->constant.value);
    if (op == OP_extent)
        return lower_const(l, ELEM_f32, (double)l->m->axes.at[attr->extent.axis].size);
    if (op == OP_iota) {
        KIndex e = l->exprs.at[lower_at(l, at, attr->iota.axis)];
        return expr_op(l, &e);
    }
    if (op == OP_random) return lower_random(l, n, at);
    if (op == OP_reduce) return lower_fold(l, n, at);
    if (op == OP_split) return lower_split(l, n, at, mask);
    if (op == OP_merge) return lower_merge(l, n, at, mask);
    if (op == OP_concat) return lower_concat(l, n, at, mask);
    if (op == OP_gather) return lower_gather(l, n, at, mask);
    NodeId x = operand(l->f, n, 0);
    if (op == OP_pad)
        return lower_guarded(l, x, at, attr->pad.to, attr->pad.from, attr->pad.start, mask,
                             lower_const(l, (Elem)type_of(l->m, l->f, n)->elem, attr->pad.value));
    if (op == OP_rename)
        at =
            lower_with(l, at, attr->rename.to, attr->rename.from, lower_at(l, at, attr->rename.to));
    if (op == OP_slice)
        at = lower_with(l, at, attr->slice.to, attr->slice.from,
                        shifted(l, lower_at(l, at, attr->slice.to), attr->slice.start));
    if (op == OP_expand) at = narrowed(l, at, type_of(l->m, l->f, x));
    CHECK(op_info[op].reads >= READS_SAME && op_info[op].reads <= READS_VIEW,
          "lower: op '%s' inside a kernel", op_info[op].name);
    return lower_value(l, x, at, mask);
}

KId lower_value(Lowering *l, NodeId n, PosId at, KId mask) {
    uint64_t key = ((uint64_t)n << 40) ^ ((uint64_t)at << 20) ^ (mask == NONE ? 0xfffff : mask);
    uint32_t *slot = map_slot(&l->memo, key, NULL);
    if (*slot) return *slot - 1;
    KId v = lower_node(l, n, at, mask);
    CHECK(v != NONE, "lower: a fold's value is needed before it exists (node %u)", n);
    *map_slot(&l->memo, key, NULL) = v + 1; // the map may have grown
    return v;
}

// ---- collapsing axes ----------------------------------------------------------------------------

static bool uses_index(const Kernel *k, uint32_t axis) {
    for (KId i = 0; i < k->ops.n; i++)
        if (k->ops.at[i].kind == KOP_index && k->ops.at[i].axis == axis) return true;
    return false;
}

typedef bool EachIndex(KIndex *e, void *user);
static bool each_index(Kernel *k, EachIndex *visit, void *user) {
    for (KId i = 0; i < k->ops.n; i++) {
        KOp *o = &k->ops.at[i];
        if ((o->kind == KOP_load || o->kind == KOP_random) && !visit(&o->index, user)) return false;
    }
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (!visit(&k->stores.at[i].index, user)) return false;
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (k->folds.at[i].column && !visit(&k->folds.at[i].index, user)) return false;
    return true;
}

typedef struct {
    uint32_t axis;
    int64_t inner;
} Pair;
static bool walks_as_one(KIndex *e, void *user) {
    const Pair *p = user;
    return e->stride[p->axis] == e->stride[p->axis + 1] * p->inner;
}
static bool drop_axis(KIndex *e, void *user) {
    uint32_t at = *(uint32_t *)user;
    memmove(&e->stride[at], &e->stride[at + 1], (K_MAX_AXES - 1 - at) * sizeof e->stride[0]);
    e->stride[K_MAX_AXES - 1] = 0;
    return true;
}

static void remove_axis(Kernel *k, uint32_t naxes, uint32_t at) {
    each_index(k, drop_axis, &at);
    for (uint32_t i = at; i + 1 < naxes; i++) k->extent[i] = k->extent[i + 1];
    for (KId i = 0; i < k->ops.n; i++)
        if (k->ops.at[i].kind == KOP_index && k->ops.at[i].axis > at) k->ops.at[i].axis--;
}

uint32_t lower_collapse(Kernel *k, uint32_t naxes, uint32_t first, uint32_t last) {
    for (uint32_t i = first; i + 1 < last;) {
        bool unit = k->extent[i] == 1 && !uses_index(k, i);
        Pair p = {i, k->extent[i + 1]};
        bool one =
            unit || (!uses_index(k, i) && !uses_index(k, i + 1) && each_index(k, walks_as_one, &p));
        if (!one) {
            i++;
            continue;
        }
        if (!unit) k->extent[i + 1] *= k->extent[i];
        remove_axis(k, naxes, i);
        naxes--;
        last--;
        if (i > first) i--;
    }
    return last - first;
}

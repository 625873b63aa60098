// One rule per op: gradient_NAME adds the derivatives by its operands, given the derivative dy of
// its value y. The table at the end covers every op, so an op without a rule does not compile; NULL
// says that no derivative passes (integers, comparisons, steps, leaves).
//
// Rules read values that exist already (y where it serves, so exp, sqrt and tanh cost nothing
// twice) and leave broadcasting to gradient_give. Conventions at kinks: abs has slope 0 at 0; ties
// of max and min share equally, elementwise and in folds, but a tie with a constant gives nothing.
//
// A dy that is exactly 0 gives exactly 0, also where the slope is infinite or NaN: so the side that a
// 'where' does not take passes nothing. Rules of ops with such slopes give by give_steep, which asks
// for the zero; a product, whose slope is its other operand, does so only below a choice.
#include "passes/autodiff.h"
#include <math.h>

static NodeId neg(Gradient *g, NodeId a) { return ir_unary(g->b, OP_neg, a); }
static NodeId mul(Gradient *g, NodeId a, NodeId c) { return ir_binary(g->b, OP_mul, a, c); }
static NodeId divide(Gradient *g, NodeId a, NodeId c) { return ir_binary(g->b, OP_div, a, c); }
static NodeId less(Gradient *g, NodeId a, NodeId c) { return ir_binary(g->b, OP_lt, a, c); }
static NodeId number(Gradient *g, double v) { return ir_const(g->b, ELEM_f32, v); }
static NodeId select(Gradient *g, NodeId c, NodeId a, NodeId z) { return ir_select(g->b, c, a, z); }
static NodeId scaled(Gradient *g, NodeId a, double v) { return mul(g, a, number(g, v)); }

static const Attr *attr(const Gradient *g) { return attr_of(g->b->m, g->ad->r.from, g->n); }
static const Type *type_in(const Gradient *g, uint32_t i) {
    return type_of(g->b->m, g->b->f, g->in[i]);
}
// Of the derivative by operand i: that of a narrow value is of the type that it computes in.
static TypeId type_id(const Gradient *g, uint32_t i) {
    return type_computing(g->b->m, node_at(g->b->f, g->in[i])->type);
}
static int64_t size_in(const Gradient *g, uint32_t i, AxisId a) {
    return type_in(g, i)->axes[type_find(type_in(g, i), a)].size;
}

// v = dy * slope, or 0 where dy is 0: the slope need not be finite there.
static void give_steep(Gradient *g, uint32_t i, NodeId v) {
    NodeId zero = number(g, 0);
    gradient_give(g, i, select(g, ir_binary(g->b, OP_eq, g->dy, zero), zero, v));
}

static bool is_finite_number(const Gradient *g, NodeId n) {
    return node_at(g->b->f, n)->op == OP_const &&
           isfinite(attr_of(g->b->m, g->b->f, n)->constant.value);
}

// dy * slope for a slope that is finite where the operands are. Below a choice they may be anything
// on the side not taken.
static void give_product(Gradient *g, uint32_t i, NodeId slope) {
    NodeId v = mul(g, g->dy, slope);
    if (g->chosen && !is_finite_number(g, slope))
        give_steep(g, i, v);
    else
        gradient_give(g, i, v);
}

// ---- scalars of one operand: dx = dy * slope

static void gradient_neg(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, neg(g, g->dy));
}

static void gradient_abs(Gradient *g) {
    if (!gradient_for(g, 0)) return;
    NodeId zero = number(g, 0), x = g->in[0];
    NodeId below = select(g, less(g, x, zero), neg(g, g->dy), zero);
    gradient_give(g, 0, select(g, less(g, zero, x), g->dy, below));
}

static void gradient_sqrt(Gradient *g) {
    if (gradient_for(g, 0)) give_steep(g, 0, divide(g, scaled(g, g->dy, 0.5), g->y));
}

static void gradient_rsqrt(Gradient *g) {
    if (!gradient_for(g, 0)) return;
    NodeId cube = mul(g, mul(g, g->y, g->y), g->y);
    give_steep(g, 0, mul(g, g->dy, scaled(g, cube, -0.5)));
}

static void gradient_exp(Gradient *g) {
    if (gradient_for(g, 0)) give_steep(g, 0, mul(g, g->dy, g->y));
}

// From x, not from y + 1, of which little is left where y is close to -1.
static void gradient_expm1(Gradient *g) {
    if (gradient_for(g, 0)) give_steep(g, 0, mul(g, g->dy, ir_unary(g->b, OP_exp, g->in[0])));
}

static void gradient_log(Gradient *g) {
    if (gradient_for(g, 0)) give_steep(g, 0, divide(g, g->dy, g->in[0]));
}

static void gradient_log1p(Gradient *g) {
    if (!gradient_for(g, 0)) return;
    NodeId u = ir_binary(g->b, OP_add, g->in[0], number(g, 1));
    give_steep(g, 0, divide(g, g->dy, u));
}

static void gradient_sin(Gradient *g) {
    if (gradient_for(g, 0)) give_product(g, 0, ir_unary(g->b, OP_cos, g->in[0]));
}

static void gradient_cos(Gradient *g) {
    if (gradient_for(g, 0)) give_product(g, 0, neg(g, ir_unary(g->b, OP_sin, g->in[0])));
}

static void gradient_tanh(Gradient *g) {
    if (!gradient_for(g, 0)) return;
    give_product(g, 0, ir_binary(g->b, OP_sub, number(g, 1), mul(g, g->y, g->y)));
}

static void gradient_erf(Gradient *g) {
    if (!gradient_for(g, 0)) return;
    NodeId bell = ir_unary(g->b, OP_exp, neg(g, mul(g, g->in[0], g->in[0])));
    give_product(g, 0, scaled(g, bell, M_2_SQRTPI));
}

static void gradient_cast(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy); // between reals: the rounding has slope 1
}

// ---- scalars of more operands

static void gradient_add(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy);
    if (gradient_for(g, 1)) gradient_give(g, 1, g->dy);
}

static void gradient_sub(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy);
    if (gradient_for(g, 1)) gradient_give(g, 1, neg(g, g->dy));
}

static void gradient_mul(Gradient *g) {
    if (g->in[0] == g->in[1] && node_at(g->ad->r.from, g->n)->n == 2) { // a square
        if (!gradient_for(g, 0)) return;
        NodeId v = scaled(g, mul(g, g->dy, g->in[0]), 2);
        g->chosen ? give_steep(g, 0, v) : gradient_give(g, 0, v);
        return;
    }
    if (gradient_for(g, 0)) give_product(g, 0, g->in[1]);
    if (gradient_for(g, 1)) give_product(g, 1, g->in[0]);
}

static void gradient_div(Gradient *g) {
    if (gradient_for(g, 0)) {
        NodeId v = divide(g, g->dy, g->in[1]);
        bool plain = is_finite_number(g, g->in[1]) &&
                     attr_of(g->b->m, g->b->f, g->in[1])->constant.value != 0;
        plain ? gradient_give(g, 0, v) : give_steep(g, 0, v);
    }
    if (gradient_for(g, 1)) give_steep(g, 1, neg(g, divide(g, mul(g, g->dy, g->y), g->in[1])));
}

// a - floor(a / b) * b, the floor being locally constant.
static void gradient_rem(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy);
    if (!gradient_for(g, 1)) return;
    NodeId whole = ir_unary(g->b, OP_floor, divide(g, g->in[0], g->in[1]));
    give_steep(g, 1, neg(g, mul(g, g->dy, whole)));
}

// At b = 0 the slope by a is 0, and for a <= 0 the slope by b is taken as 0, so that neither is
// NaN.
static void gradient_pow(Gradient *g) {
    NodeId a = g->in[0], e = g->in[1], zero = number(g, 0);
    if (gradient_for(g, 0)) {
        NodeId lower = ir_binary(g->b, OP_pow, a, ir_binary(g->b, OP_sub, e, number(g, 1)));
        NodeId dx = mul(g, g->dy, mul(g, e, lower));
        give_steep(g, 0, select(g, ir_binary(g->b, OP_eq, e, zero), zero, dx));
    }
    if (gradient_for(g, 1)) {
        NodeId dx = mul(g, g->dy, mul(g, g->y, ir_unary(g->b, OP_log, a)));
        give_steep(g, 1, select(g, less(g, zero, a), dx, zero));
    }
}

// Operand i gets dy where it wins; where both are equal half of it, but nothing beside a constant: so
// relu has slope 0 at 0, and a value clipped to a range at both ends.
static void give_winner(Gradient *g, uint32_t i, NodeId wins, NodeId loses) {
    NodeId zero = number(g, 0), tie = zero;
    if (node_at(g->b->f, g->in[1 - i])->op != OP_const)
        tie = select(g, loses, zero, scaled(g, g->dy, 0.5));
    gradient_give(g, i, select(g, wins, g->dy, tie));
}

static void gradient_max(Gradient *g) {
    for (uint32_t i = 0; i < 2; i++)
        if (gradient_for(g, i))
            give_winner(g, i, less(g, g->in[1 - i], g->in[i]), less(g, g->in[i], g->in[1 - i]));
}

static void gradient_min(Gradient *g) {
    for (uint32_t i = 0; i < 2; i++)
        if (gradient_for(g, i))
            give_winner(g, i, less(g, g->in[i], g->in[1 - i]), less(g, g->in[1 - i], g->in[i]));
}

static void gradient_select(Gradient *g) {
    if (gradient_for(g, 1)) gradient_give(g, 1, select(g, g->in[0], g->dy, number(g, 0)));
    if (gradient_for(g, 2)) gradient_give(g, 2, select(g, g->in[0], number(g, 0), g->dy));
}

static void gradient_fma(Gradient *g) {
    gradient_mul(g);
    if (gradient_for(g, 2)) gradient_give(g, 2, g->dy);
}

// ---- views: each has its inverse

static void gradient_rename(Gradient *g) {
    const Attr a = *attr(g);
    if (gradient_for(g, 0)) gradient_give(g, 0, ir_rename(g->b, g->dy, a.rename.to, a.rename.from));
}

static void gradient_split(Gradient *g) {
    const Attr a = *attr(g);
    if (!gradient_for(g, 0)) return;
    NodeId back = a.split.to.n ? ir_merge(g->b, g->dy, &a.split.to, a.split.from)
                               : ir_expand(g->b, g->dy, type_id(g, 0));
    gradient_give(g, 0, back);
}

static void gradient_merge(Gradient *g) {
    const Attr a = *attr(g);
    if (!gradient_for(g, 0)) return;
    int64_t sizes[MAX_AXES];
    for (uint32_t i = 0; i < a.merge.from.n; i++) sizes[i] = size_in(g, 0, a.merge.from.at[i]);
    gradient_give(g, 0, ir_split(g->b, g->dy, a.merge.to, &a.merge.from, sizes));
}

static void gradient_slice(Gradient *g) {
    const Attr a = *attr(g);
    if (!gradient_for(g, 0)) return;
    int64_t size = size_in(g, 0, a.slice.from);
    gradient_give(g, 0, ir_pad(g->b, g->dy, a.slice.to, a.slice.from, a.slice.start, size, 0));
}

static void gradient_pad(Gradient *g) {
    const Attr a = *attr(g);
    if (!gradient_for(g, 0)) return;
    int64_t size = size_in(g, 0, a.pad.from);
    gradient_give(g, 0, ir_slice(g->b, g->dy, a.pad.to, a.pad.from, a.pad.start, size));
}

static void gradient_concat(Gradient *g) {
    const Attr a = *attr(g);
    int64_t start = 0;
    for (uint32_t i = 0; i < a.concat.from.n; i++) {
        AxisId part = a.concat.from.at[i];
        int64_t size = size_in(g, i, part);
        if (gradient_for(g, i))
            gradient_give(g, i, ir_slice(g->b, g->dy, a.concat.to, part, start, size));
        start += size;
    }
}

static void gradient_expand(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy); // summed over the new axes there
}

static void gradient_copy(Gradient *g) {
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy); // another order of the same axes
}

// ---- folds

// y = min or max: dy goes to the elements equal to it, in equal shares.
static void give_extreme(Gradient *g, const AxisList *axes) {
    NodeId hit = ir_binary(g->b, OP_eq, g->in[0], g->y);
    NodeId count = ir_reduce(g->b, REDUCE_sum, ir_cast(g->b, hit, ELEM_f32), axes);
    gradient_give(g, 0, select(g, hit, divide(g, g->dy, count), number(g, 0)));
}

// y = product: dy * y / x, but at a zero the product of the others, which is 0 beside another zero.
static void give_others(Gradient *g, const AxisList *axes) {
    NodeId x = g->in[0], zero = number(g, 0);
    NodeId is_zero = ir_binary(g->b, OP_eq, x, zero);
    NodeId zeros = ir_reduce(g->b, REDUCE_sum, ir_cast(g->b, is_zero, ELEM_f32), axes);
    NodeId filled = select(g, is_zero, number(g, 1), x);
    NodeId product = ir_reduce(g->b, REDUCE_prod, filled, axes);
    NodeId others = divide(g, product, filled);
    NodeId at_zero = ir_binary(g->b, OP_eq, zeros, number(g, 1));
    NodeId elsewhere = ir_binary(g->b, OP_eq, zeros, zero);
    NodeId counts =
        ir_node(g->b, OP_select, NULL, (NodeId[]){is_zero, at_zero, elsewhere}, 3, NONE);
    give_steep(g, 0, select(g, counts, mul(g, g->dy, others), zero));
}

static void gradient_reduce(Gradient *g) {
    const Attr a = *attr(g);
    CHECK(a.reduce.part == 0, "derivative of a partial fold");
    if (!gradient_for(g, 0)) return;
    switch ((ReduceKind)a.reduce.kind) {
    case REDUCE_sum: gradient_give(g, 0, ir_expand(g->b, g->dy, type_id(g, 0))); return;
    case REDUCE_min:
    case REDUCE_max: give_extreme(g, &a.reduce.axes); return;
    case REDUCE_prod: give_others(g, &a.reduce.axes); return;
    case REDUCE_any:
    case REDUCE_all:
    case REDUCE_COUNT: break;
    }
    unreachable(a.reduce.kind);
}

// ---- contraction

// dx = sum of dy * other over what only `other` has; that adds to what is there already. An outer
// product has nothing to sum: elementwise then.
static void give_contraction(Gradient *g, uint32_t i) {
    if (!gradient_for(g, i)) return;
    uint32_t o = 1 - i;
    const Type *x = type_in(g, i), *dy = type_of(g->b->m, g->b->f, g->dy);
    AxisList sum = {0}; // in the order of dy: where two derivatives sum the same axes, in one order
    for (uint32_t a = 0; a < dy->n; a++)
        if (type_find(x, dy->axes[a].axis) < 0) sum.at[sum.n++] = dy->axes[a].axis;
    if (sum.n == 0) {
        give_product(g, i, g->in[o]);
        return;
    }
    Attr a = {.kind = ATTR_contract};
    a.contract.axes = sum;
    NodeId have = gradient_sum(g, i), in[3] = {g->dy, g->in[o], have};
    bool more = have != NONE;
    gradient_set(g, i,
                 ir_node(g->b, OP_contract, &a, in, more ? 3 : 2, more ? NONE : type_id(g, i)));
}

static void gradient_contract(Gradient *g) {
    give_contraction(g, 0);
    give_contraction(g, 1);
    if (node_at(g->ad->r.from, g->n)->n == 3 && gradient_for(g, 2)) gradient_give(g, 2, g->dy);
}

// ---- index

static bool aligned(const Type *x, const Type *index) {
    for (uint32_t a = 0; a < index->n; a++)
        if (type_find(x, index->axes[a].axis) < 0) return false;
    return true;
}

// An index that walks x's own axes picks one element for each: a choice per element of x, which
// fuses with what made it. Else rows are added where the index says.
static void gradient_gather(Gradient *g) {
    AxisId axis = attr(g)->gather.axis;
    if (!gradient_for(g, 0)) return;
    if (aligned(type_in(g, 0), type_in(g, 1))) {
        NodeId at = ir_iota(g->b, axis, size_in(g, 0, axis));
        NodeId hit = ir_binary(g->b, OP_eq, at, ir_cast(g->b, g->in[1], ELEM_i32));
        NodeId in[3] = {hit, g->dy, number(g, 0)};
        gradient_give(g, 0, ir_node(g->b, OP_select, NULL, in, 3, type_id(g, 0)));
        return;
    }
    NodeId have = gradient_sum(g, 0);
    if (have == NONE) have = ir_const_of(g->b, type_id(g, 0), 0);
    gradient_set(g, 0, ir_scatter_add(g->b, have, g->in[1], g->dy, axis));
}

static void gradient_scatter_add(Gradient *g) {
    AxisId axis = attr(g)->scatter_add.axis;
    if (gradient_for(g, 0)) gradient_give(g, 0, g->dy);
    if (gradient_for(g, 2)) gradient_give(g, 2, ir_gather(g->b, g->dy, g->in[1], axis));
}

// ---- ops through which no derivative passes

#define gradient_floor         NULL
#define gradient_rint          NULL
#define gradient_isfinite      NULL
#define gradient_not           NULL
#define gradient_and           NULL
#define gradient_or            NULL
#define gradient_xor           NULL
#define gradient_shl           NULL
#define gradient_shr           NULL
#define gradient_eq            NULL
#define gradient_ne            NULL
#define gradient_lt            NULL
#define gradient_le            NULL
#define gradient_bitcast       NULL
#define gradient_input         NULL
#define gradient_state         NULL
#define gradient_const         NULL
#define gradient_iota          NULL
#define gradient_extent        NULL
#define gradient_random        NULL
#define gradient_arg           NULL
#define gradient_grad          NULL
#define gradient_stop_gradient NULL
#define gradient_assign        NULL
// Ranks meet after autodiff only.
#define gradient_all_reduce     NULL
#define gradient_reduce_scatter NULL
#define gradient_all_gather     NULL
#define gradient_all_to_all     NULL
#define gradient_cut            NULL
#define gradient_first          NULL
#define gradient_group          NULL
#define gradient_part           NULL
#define gradient_offload        NULL
#define gradient_landed         NULL
#define gradient_fetch          NULL
#define gradient_ready          NULL

GradientFn *const gradient_table[OP_COUNT] = {
#define SCALAR(name, ...) gradient_##name,
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(name, ...) gradient_##name,
#include "ir/ops.def"
#undef OPCODE
};

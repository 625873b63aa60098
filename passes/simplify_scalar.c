// Rows of simplify for scalar ops: arithmetic identities, constant folding, broadcasting in place
// of repetition. See simplify.c for the rules of the game.
#include "ir/scalar.h"
#include "passes/simplify.h"
#include <math.h>
#include <string.h>

bool simplify_const(const Simplify *s, NodeId n, double *value) {
    if (!new_is(s, n, OP_const)) return false;
    *value = new_attr(s, n)->constant.value;
    return true;
}

static bool const_is(const Simplify *s, NodeId n, double want) {
    double v;
    return simplify_const(s, n, &v) && v == want;
}

NodeId simplify_as(Simplify *s, NodeId x, TypeId type) {
    if (new_node(s, x)->type == type) return x;
    const Type *have = new_type(s, x), *want = type_at(s->r.b.m, type);
    if (have->elem != want->elem) return NONE;
    double v;
    if (simplify_const(s, x, &v)) return ir_const_of(&s->r.b, type, v);
    if (have->n >= want->n) return NONE;
    return ir_expand(&s->r.b, x, type);
}

NodeId simplify_make(Simplify *s, Op op, AttrId attr, const NodeId *in, uint32_t n, TypeId type) {
    Attr a = *attr_at(s->r.b.m, attr);
    return ir_node(&s->r.b, op, attr ? &a : NULL, in, n, type);
}

static bool is_value(NodeId *value, NodeId found) {
    *value = found;
    return found != NONE;
}

// The candidate becomes op on these operands.
static bool becomes(Candidate *c, Op op, NodeId x, NodeId y) {
    c->op = op;
    c->attr = 0;
    c->in[0] = x;
    c->in[1] = y;
    c->n = y == NONE ? 1 : 2;
    return true;
}

static bool is_float(const Simplify *s, TypeId t) { return type_at(s->r.b.m, t)->elem == ELEM_f32; }

static bool has_axes_of(const Simplify *s, NodeId x, TypeId type) {
    return new_type(s, x)->n == type_at(s->r.b.m, type)->n;
}

static bool fold_constants(Simplify *s, Candidate *c, NodeId *value) {
    uint32_t bits[3] = {0};
    for (uint32_t i = 0; i < c->n; i++) {
        double v;
        if (!simplify_const(s, c->in[i], &v)) return false;
        bits[i] = scalar_to_bits((Elem)new_type(s, c->in[i])->elem, v);
    }
    uint32_t of = c->op == OP_select ? 1 : 0;
    uint32_t elem = new_type(s, c->in[of])->elem, to = type_at(s->r.b.m, c->type)->elem;
    uint32_t y = scalar_eval(c->op, (Elem)elem, (Elem)to, bits[0], bits[1], bits[2]);
    return is_value(value, ir_const_of(&s->r.b, c->type, scalar_from_bits((Elem)to, y)));
}

// Whether the operands' types without operand `skip`, and `extra`, have all axes of the result.
static bool covered(const Simplify *s, const Candidate *c, uint32_t skip, const Type *extra) {
    const Type *t = type_at(s->r.b.m, c->type);
    for (uint32_t a = 0; a < t->n; a++) {
        bool found = extra && type_find(extra, t->axes[a].axis) >= 0;
        for (uint32_t i = 0; i < c->n && !found; i++)
            found = i != skip && type_find(new_type(s, c->in[i]), t->axes[a].axis) >= 0;
        if (!found) return false;
    }
    return true;
}

// Scalars broadcast: an operand need not be repeated along axes that another one has.
static bool drop_expand(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    for (uint32_t i = 0; i < c->n; i++) {
        NodeId x = c->in[i];
        double v;
        if (new_is(s, x, OP_expand) && covered(s, c, i, new_type(s, new_operand(s, x, 0)))) {
            c->in[i] = new_operand(s, x, 0);
            return true;
        }
        if (simplify_const(s, x, &v) && new_type(s, x)->n && covered(s, c, i, NULL)) {
            c->in[i] = ir_const(&s->r.b, (Elem)new_type(s, x)->elem, v);
            return true;
        }
    }
    return false;
}

// Number of axes of the union of the types of these values.
static uint32_t union_axes(const Simplify *s, const NodeId *in, uint32_t n) {
    AxisList all = {0};
    for (uint32_t i = 0; i < n; i++) {
        const Type *t = new_type(s, in[i]);
        for (uint32_t a = 0; a < t->n && all.n < MAX_AXES; a++)
            if (!list_has(&all, t->axes[a].axis)) all.at[all.n++] = t->axes[a].axis;
    }
    return all.n;
}

// A constant like this one, axes included.
static NodeId const_like(Simplify *s, NodeId like, double value) {
    return ir_const_of(&s->r.b, new_node(s, like)->type, value);
}

// f(expand x, y) -> expand f(x, y) where that is over fewer axes.
static bool sink_expand(Simplify *s, Candidate *c, NodeId *value) {
    NodeId in[3];
    bool any = false;
    for (uint32_t i = 0; i < c->n; i++) {
        NodeId x = c->in[i];
        bool expand = new_is(s, x, OP_expand);
        in[i] = expand ? new_operand(s, x, 0) : x;
        any |= expand;
    }
    if (!any || union_axes(s, in, c->n) >= type_at(s->r.b.m, c->type)->n) return false;
    NodeId y = simplify_make(s, c->op, c->attr, in, c->n, NONE);
    return is_value(value, ir_expand(&s->r.b, y, c->type));
}

// Constants stand on the right.
static bool swap_const(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double v;
    if (!simplify_const(s, c->in[0], &v) || simplify_const(s, c->in[1], &v)) return false;
    NodeId t = c->in[0];
    c->in[0] = c->in[1];
    c->in[1] = t;
    return true;
}

// x + 0, x - 0
static bool drop_zero(Simplify *s, Candidate *c, NodeId *value) {
    return const_is(s, c->in[1], 0) && is_value(value, simplify_as(s, c->in[0], c->type));
}

// x * 1, x / 1
static bool drop_one(Simplify *s, Candidate *c, NodeId *value) {
    return const_is(s, c->in[1], 1) && is_value(value, simplify_as(s, c->in[0], c->type));
}

static bool mul_minus_one(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    return const_is(s, c->in[1], -1) && has_axes_of(s, c->in[0], c->type) &&
           becomes(c, OP_neg, c->in[0], NONE);
}

// (x * c1) * c2 -> x * (c1 * c2), unless the product leaves the normal range.
static bool mul_chain(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double a, b;
    NodeId x = c->in[0];
    if (!is_float(s, c->type) || !new_is(s, x, OP_mul) || !simplify_const(s, c->in[1], &b) ||
        !simplify_const(s, new_operand(s, x, 1), &a))
        return false;
    float p = (float)a * (float)b;
    if (!isnormal(p) || !has_axes_of(s, new_operand(s, x, 0), c->type)) return false;
    return becomes(c, OP_mul, new_operand(s, x, 0), ir_const(&s->r.b, ELEM_f32, p));
}

// (x * y) * c -> (x * c) * y where x has fewer axes than the product: the constant meets fewer
// elements. y may not hold a constant that mul_chain would bring back.
static bool mul_small(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double v;
    NodeId x = c->in[0];
    if (!is_float(s, c->type) || !new_is(s, x, OP_mul) || !simplify_const(s, c->in[1], &v))
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        NodeId small = new_operand(s, x, i), large = new_operand(s, x, 1 - i);
        if (new_type(s, small)->n >= type_at(s->r.b.m, c->type)->n ||
            simplify_const(s, small, &v) ||
            new_type(s, large)->n != type_at(s->r.b.m, c->type)->n || new_is(s, large, OP_const))
            continue;
        NodeId k = ir_const(&s->r.b, ELEM_f32, new_attr(s, c->in[1])->constant.value);
        NodeId scaled = ir_binary(&s->r.b, OP_mul, small, k);
        return becomes(c, OP_mul, scaled, large);
    }
    return false;
}

// (x + c1) + c2 -> x + (c1 + c2) on integers, where it is exact.
static bool add_chain(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double a, b;
    NodeId x = c->in[0];
    uint32_t elem = type_at(s->r.b.m, c->type)->elem;
    if ((elem != ELEM_i32 && elem != ELEM_u32) || !new_is(s, x, OP_add) ||
        !simplify_const(s, c->in[1], &b) || !simplify_const(s, new_operand(s, x, 1), &a) ||
        !has_axes_of(s, new_operand(s, x, 0), c->type))
        return false;
    uint32_t sum = scalar_to_bits((Elem)elem, a) + scalar_to_bits((Elem)elem, b);
    return becomes(c, OP_add, new_operand(s, x, 0),
                   ir_const(&s->r.b, (Elem)elem, scalar_from_bits((Elem)elem, sum)));
}

// x / c -> x * (1 / c) where the reciprocal is exact: c is a power of two.
static bool div_by_power(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double v;
    int e;
    if (!is_float(s, c->type) || !simplify_const(s, c->in[1], &v)) return false;
    if (!isnormal((float)v) || !isnormal((float)(1 / v)) || fabs(frexp(v, &e)) != 0.5) return false;
    return becomes(c, OP_mul, c->in[0], const_like(s, c->in[1], 1 / v));
}

// 1 / sqrt(x) -> rsqrt(x): the same two roundings.
static bool form_rsqrt(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    return const_is(s, c->in[0], 1) && new_is(s, c->in[1], OP_sqrt) &&
           has_axes_of(s, new_operand(s, c->in[1], 0), c->type) &&
           becomes(c, OP_rsqrt, new_operand(s, c->in[1], 0), NONE);
}

// x ^ c for the exponents that need no logarithm.
static bool pow_const(Simplify *s, Candidate *c, NodeId *value) {
    double v;
    NodeId x = c->in[0];
    if (!simplify_const(s, c->in[1], &v) || !has_axes_of(s, x, c->type)) return false;
    if (v == 0) return is_value(value, ir_const_of(&s->r.b, c->type, 1));
    if (v == 1) return is_value(value, simplify_as(s, x, c->type));
    if (v == 2) return becomes(c, OP_mul, x, x);
    if (v == 3) return becomes(c, OP_mul, ir_binary(&s->r.b, OP_mul, x, x), x);
    if (v == 0.5) return becomes(c, OP_sqrt, x, NONE);
    if (v == -0.5) return becomes(c, OP_rsqrt, x, NONE);
    if (v == -1) return becomes(c, OP_div, ir_const(&s->r.b, ELEM_f32, 1), x);
    return false;
}

static bool neg_neg(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    return new_is(s, x, OP_neg) && is_value(value, simplify_as(s, new_operand(s, x, 0), c->type));
}

// -(x * c) -> x * -c
static bool neg_mul(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double v;
    NodeId x = c->in[0];
    if (!is_float(s, c->type) || !new_is(s, x, OP_mul) ||
        !simplify_const(s, new_operand(s, x, 1), &v))
        return false;
    return becomes(c, OP_mul, new_operand(s, x, 0), const_like(s, new_operand(s, x, 1), -v));
}

// -x * c -> x * -c
static bool mul_neg(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    double v;
    NodeId x = c->in[0], y = c->in[1];
    if (!is_float(s, c->type) || !new_is(s, x, OP_neg)) return false;
    if (new_is(s, y, OP_neg)) return becomes(c, OP_mul, new_operand(s, x, 0), new_operand(s, y, 0));
    return simplify_const(s, y, &v) &&
           becomes(c, OP_mul, new_operand(s, x, 0), const_like(s, y, -v));
}

// x + -y -> x - y, -x + y -> y - x
static bool add_neg(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    for (uint32_t i = 0; i < 2; i++)
        if (new_is(s, c->in[i], OP_neg))
            return becomes(c, OP_sub, c->in[1 - i], new_operand(s, c->in[i], 0));
    return false;
}

// x - -y -> x + y
static bool sub_neg(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    return new_is(s, c->in[1], OP_neg) && becomes(c, OP_add, c->in[0], new_operand(s, c->in[1], 0));
}

// 0 - x -> -x
static bool sub_from_zero(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    return const_is(s, c->in[0], 0) && has_axes_of(s, c->in[1], c->type) &&
           becomes(c, OP_neg, c->in[1], NONE);
}

static bool not_not(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    return new_is(s, x, OP_not) && is_value(value, simplify_as(s, new_operand(s, x, 0), c->type));
}

static bool abs_neg(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    return new_is(s, c->in[0], OP_neg) && becomes(c, OP_abs, new_operand(s, c->in[0], 0), NONE);
}

// and, or of a bool with a constant; min, max, and, or of a value with itself
static bool bool_const(Simplify *s, Candidate *c, NodeId *value) {
    double v;
    if (type_at(s->r.b.m, c->type)->elem != ELEM_bool || !simplify_const(s, c->in[1], &v))
        return false;
    bool keeps = (v != 0) == (c->op == OP_and);
    if (keeps) return is_value(value, simplify_as(s, c->in[0], c->type));
    return is_value(value, ir_const_of(&s->r.b, c->type, v));
}

static bool same_twice(Simplify *s, Candidate *c, NodeId *value) {
    return c->in[0] == c->in[1] && is_value(value, simplify_as(s, c->in[0], c->type));
}

static bool select_const(Simplify *s, Candidate *c, NodeId *value) {
    double v;
    if (simplify_const(s, c->in[0], &v))
        return is_value(value, simplify_as(s, c->in[v != 0 ? 1 : 2], c->type));
    return c->in[1] == c->in[2] && is_value(value, simplify_as(s, c->in[1], c->type));
}

static bool select_not(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    if (!new_is(s, c->in[0], OP_not)) return false;
    NodeId x = c->in[1];
    c->in[0] = new_operand(s, c->in[0], 0);
    c->in[1] = c->in[2];
    c->in[2] = x;
    return true;
}

// A cast to the type the value has; a bool through an integer to a float; a narrow value through what it
// computes in, which holds it.
static bool cast_cast(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    uint32_t to = type_at(s->r.b.m, c->type)->elem;
    if (new_type(s, x)->elem == to) return is_value(value, simplify_as(s, x, c->type));
    if (!new_is(s, x, OP_cast)) return false;
    uint32_t from = new_type(s, new_operand(s, x, 0))->elem;
    bool widened = elem_is_narrow(from) && elem_info[from].computes == new_type(s, x)->elem;
    if ((from != ELEM_bool && !widened) || to == ELEM_bool) return false;
    c->in[0] = new_operand(s, x, 0);
    return true;
}

const SimplifyRow simplify_scalar_rows[] = {
    {"fold constants", OP_COUNT, fold_constants},
    {"constants on the right", OP_add, swap_const},
    {"constants on the right", OP_mul, swap_const},
    {"constants on the right", OP_min, swap_const},
    {"constants on the right", OP_max, swap_const},
    {"constants on the right", OP_and, swap_const},
    {"constants on the right", OP_or, swap_const},
    {"broadcast, do not repeat", OP_COUNT, drop_expand},
    {"repeat late", OP_COUNT, sink_expand},
    {"x + 0", OP_add, drop_zero},
    {"x - 0", OP_sub, drop_zero},
    {"x * 1", OP_mul, drop_one},
    {"x / 1", OP_div, drop_one},
    {"x * -1", OP_mul, mul_minus_one},
    {"c2 * (c1 * x)", OP_mul, mul_chain},
    {"c * (a * x)", OP_mul, mul_small},
    {"c2 + (c1 + x)", OP_add, add_chain},
    {"x / 2^k", OP_div, div_by_power},
    {"1 / sqrt(x)", OP_div, form_rsqrt},
    {"x ^ c", OP_pow, pow_const},
    {"-(-x)", OP_neg, neg_neg},
    {"-(c * x)", OP_neg, neg_mul},
    {"c * -x", OP_mul, mul_neg},
    {"x + -y", OP_add, add_neg},
    {"x - -y", OP_sub, sub_neg},
    {"0 - x", OP_sub, sub_from_zero},
    {"not not x", OP_not, not_not},
    {"|-x|", OP_abs, abs_neg},
    {"x and true", OP_and, bool_const},
    {"x or false", OP_or, bool_const},
    {"x and x", OP_and, same_twice},
    {"x or x", OP_or, same_twice},
    {"min(x, x)", OP_min, same_twice},
    {"max(x, x)", OP_max, same_twice},
    {"known choice", OP_select, select_const},
    {"select(not c)", OP_select, select_not},
    {"cast of a cast", OP_cast, cast_cast},
    {0},
};

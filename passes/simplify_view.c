// Rows of simplify for views, folds of repeated values and the few others. A view that moves
// nothing in the end disappears; pads that fill each other's gaps become the concat that they are.
#include "ir/scalar.h"
#include "passes/simplify.h"
#include <string.h>

static bool is_value(NodeId *value, NodeId found) {
    *value = found;
    return found != NONE;
}

static const Type *want(const Simplify *s, const Candidate *c) {
    return type_at(s->r.b.m, c->type);
}

static int64_t axis_size(const Type *t, AxisId a) {
    int at = type_find(t, a);
    CHECK(at >= 0, "axis %u is not in the type", a);
    return t->axes[at].size;
}

// x with axis `from` called `to`, of the candidate's type; NONE when an order is in the way.
static NodeId renamed(Simplify *s, NodeId x, AxisId from, AxisId to, TypeId type) {
    if (from == to) return new_node(s, x)->type == type ? x : NONE;
    Attr a = {.kind = ATTR_rename, .rename = {from, to}};
    return ir_node(&s->r.b, OP_rename, &a, &x, 1, type);
}

static bool becomes(Simplify *s, Candidate *c, Op op, const Attr *attr, NodeId x) {
    c->op = op;
    c->attr = attr ? attr_intern(s->r.b.m, attr) : 0;
    c->in[0] = x;
    c->n = 1;
    return true;
}

// Any view of a constant is a constant.
static bool view_of_const(Simplify *s, Candidate *c, NodeId *value) {
    double v;
    if (!simplify_const(s, c->in[0], &v)) return false;
    if (c->op == OP_pad && !(candidate_attr(s, c)->pad.value == v)) return false;
    return is_value(value, ir_const_of(&s->r.b, c->type, v));
}

static bool no_view(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    return new_node(s, x)->type == c->type && is_value(value, x);
}

static bool expand_expand(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    NodeId x = c->in[0];
    return new_is(s, x, OP_expand) && becomes(s, c, OP_expand, NULL, new_operand(s, x, 0));
}

static bool rename_rename(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_rename)) return false;
    Attr a = *new_attr(s, x), b = *candidate_attr(s, c);
    if (a.rename.to != b.rename.from) return false;
    a.rename.to = b.rename.to;
    NodeId y = new_operand(s, x, 0);
    if (a.rename.from != a.rename.to) return becomes(s, c, OP_rename, &a, y);
    return new_node(s, y)->type == c->type && is_value(value, y);
}

// split(merge x) and merge(split x) over the same axes
static bool split_merge(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    if (!new_is(s, x, c->op == OP_split ? OP_merge : OP_split)) return false;
    const Attr *a = new_attr(s, x), *b = candidate_attr(s, c);
    NodeId y = new_operand(s, x, 0);
    if (c->op == OP_split) {
        if (a->merge.to != b->split.from || memcmp(&a->merge.from, &b->split.to, sizeof(AxisList)))
            return false;
        return new_node(s, y)->type == c->type && is_value(value, y);
    }
    if (memcmp(&a->split.to, &b->merge.from, sizeof(AxisList))) return false;
    return is_value(value, renamed(s, y, a->split.from, b->merge.to, c->type));
}

// split(expand x) of an axis of extent 1 that x lacks, into none
static bool split_expand(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    const Attr *a = candidate_attr(s, c);
    if (a->split.to.n || !new_is(s, x, OP_expand)) return false;
    NodeId y = new_operand(s, x, 0);
    return type_find(new_type(s, y), a->split.from) < 0 &&
           is_value(value, simplify_as(s, y, c->type));
}

// A slice or pad of the whole axis is a rename.
static bool whole_slice(Simplify *s, Candidate *c, NodeId *value) {
    const Attr *a = candidate_attr(s, c); // slice and pad begin with the same fields
    AxisId from = c->op == OP_slice ? a->slice.from : a->pad.from;
    AxisId to = c->op == OP_slice ? a->slice.to : a->pad.to;
    if (axis_size(new_type(s, c->in[0]), from) != axis_size(want(s, c), to)) return false;
    return is_value(value, renamed(s, c->in[0], from, to, c->type));
}

static bool slice_slice(Simplify *s, Candidate *c, NodeId *value) {
    (void)value;
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_slice)) return false;
    Attr a = *new_attr(s, x), b = *candidate_attr(s, c);
    if (a.slice.to != b.slice.from) return false;
    a.slice.to = b.slice.to;
    a.slice.start += b.slice.start;
    return becomes(s, c, OP_slice, &a, new_operand(s, x, 0));
}

// slice(pad x) of just the padded value
static bool slice_pad(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_pad)) return false;
    Attr a = *new_attr(s, x), b = *candidate_attr(s, c);
    NodeId y = new_operand(s, x, 0);
    if (a.pad.to != b.slice.from || a.pad.start != b.slice.start ||
        axis_size(new_type(s, y), a.pad.from) != axis_size(want(s, c), b.slice.to))
        return false;
    return is_value(value, renamed(s, y, a.pad.from, b.slice.to, c->type));
}

// slice(concat(…, x, …)) of just x
static bool slice_concat(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_concat)) return false;
    Attr a = *new_attr(s, x), b = *candidate_attr(s, c);
    if (a.concat.to != b.slice.from) return false;
    int64_t start = 0;
    for (uint32_t i = 0; i < a.concat.from.n; i++) {
        NodeId y = new_operand(s, x, i);
        int64_t size = axis_size(new_type(s, y), a.concat.from.at[i]);
        if (start == b.slice.start && size == axis_size(want(s, c), b.slice.to)) {
            const Type *have = new_type(s, y), *t = want(s, c);
            for (uint32_t j = 0; j < t->n; j++) { // a rename keeps the order of y
                AxisId axis =
                    have->axes[j].axis == a.concat.from.at[i] ? b.slice.to : have->axes[j].axis;
                if (t->axes[j].axis != axis) return false;
            }
            return is_value(value, renamed(s, y, a.concat.from.at[i], b.slice.to, c->type));
        }
        start += size;
    }
    return false;
}

static bool concat_one(Simplify *s, Candidate *c, NodeId *value) {
    const Attr *a = candidate_attr(s, c);
    return c->n == 1 &&
           is_value(value, renamed(s, c->in[0], a->concat.from.at[0], a->concat.to, c->type));
}

// concat of all the slices of x, in order
static bool concat_slices(Simplify *s, Candidate *c, NodeId *value) {
    Attr a = *candidate_attr(s, c);
    int64_t start = 0;
    if (!new_is(s, c->in[0], OP_slice)) return false;
    NodeId x = new_operand(s, c->in[0], 0);
    AxisId from = new_attr(s, c->in[0])->slice.from;
    for (uint32_t i = 0; i < c->n; i++) {
        NodeId y = c->in[i];
        if (!new_is(s, y, OP_slice) || new_operand(s, y, 0) != x) return false;
        const Attr *b = new_attr(s, y);
        if (b->slice.from != from || b->slice.to != a.concat.from.at[i] || b->slice.start != start)
            return false;
        start += axis_size(new_type(s, y), b->slice.to);
    }
    if (start != axis_size(new_type(s, x), from)) return false;
    const Type *have = new_type(s, x), *t = want(s, c);
    for (uint32_t j = 0; j < t->n; j++)
        if (t->axes[j].axis != (have->axes[j].axis == from ? a.concat.to : have->axes[j].axis))
            return false;
    return is_value(value, renamed(s, x, from, a.concat.to, c->type));
}

// The operand of an add as a run of values behind each other in an axis whose other elements are 0:
// a pad with 0, of a concat to an axis of its own or of one value.
typedef struct {
    AxisId axis; // the long axis
    int64_t start, end;
    uint32_t n;
    NodeId at[MAX_AXES];
    AxisList parts;
} PaddedRun;

static bool run_of(const Simplify *s, NodeId x, PaddedRun *r) {
    if (!new_is(s, x, OP_pad) || new_attr(s, x)->pad.value != 0) return false;
    const Attr *a = new_attr(s, x);
    NodeId y = new_operand(s, x, 0);
    *r = (PaddedRun){.axis = a->pad.to, .start = a->pad.start};
    r->end = r->start + axis_size(new_type(s, y), a->pad.from);
    r->n = r->parts.n = 1;
    r->at[0] = y;
    r->parts.at[0] = a->pad.from;
    if (new_is(s, y, OP_concat) && new_attr(s, y)->concat.to == a->pad.from) {
        r->parts = new_attr(s, y)->concat.from;
        r->n = r->parts.n;
        for (uint32_t i = 0; i < r->n; i++) r->at[i] = new_operand(s, y, i);
    }
    return true;
}

// pad(x, 0 ..) + pad(y, behind x) -> pad(concat(x, y)), or the concat alone when it fills the axis.
// That is how the derivative of a value cut into parts is put together again. Like x + 0 -> x this
// does not keep the sign of zero.
static bool add_pads(Simplify *s, Candidate *c, NodeId *value) {
    PaddedRun x, y;
    if (!run_of(s, c->in[0], &x) || !run_of(s, c->in[1], &y) || x.axis != y.axis) return false;
    if (y.start < x.start) {
        PaddedRun t = x;
        x = y;
        y = t;
    }
    if (x.end != y.start || x.n + y.n > MAX_AXES) return false;
    for (uint32_t i = 0; i < y.n; i++) {
        x.parts.at[x.n] = y.parts.at[i];
        x.at[x.n++] = y.at[i];
    }
    x.parts.n = x.n;
    int64_t size = axis_size(want(s, c), x.axis);
    Builder *b = &s->r.b;
    AxisId to = y.end - x.start == size ? x.axis : axis_new(b->m, "run", y.end - x.start);
    Attr concat = {.kind = ATTR_concat};
    concat.concat.from = x.parts;
    concat.concat.to = to;
    if (to == x.axis) return is_value(value, ir_node(b, OP_concat, &concat, x.at, x.n, c->type));
    NodeId joined = ir_node(b, OP_concat, &concat, x.at, x.n, NONE);
    Attr pad = {.kind = ATTR_pad, .pad = {to, x.axis, x.start, 0}};
    return is_value(value, ir_node(b, OP_pad, &pad, &joined, 1, c->type));
}

// ---- folds and the rest

static bool any_empty(const Type *t, const AxisList *axes) {
    for (uint32_t i = 0; i < axes->n; i++)
        if (axis_size(t, axes->at[i]) == 0) return true;
    return false;
}

// Later layers count on a fold having elements: no task would store the result of one that has none.
static bool reduce_nothing(Simplify *s, Candidate *c, NodeId *value) {
    const Attr *a = candidate_attr(s, c);
    Elem elem = (Elem)want(s, c)->elem;
    if (!any_empty(new_type(s, c->in[0]), &a->reduce.axes)) return false;
    double v = scalar_from_bits(elem, scalar_eval_identity((ReduceKind)a->reduce.kind, elem));
    return is_value(value, ir_const_of(&s->r.b, c->type, v));
}

static bool contract_nothing(Simplify *s, Candidate *c, NodeId *value) {
    if (!any_empty(new_type(s, c->in[0]), &candidate_attr(s, c)->contract.axes)) return false;
    if (c->n == 3) return is_value(value, simplify_as(s, c->in[2], c->type));
    return is_value(value, ir_const_of(&s->r.b, c->type, 0));
}

static bool reduce_const(Simplify *s, Candidate *c, NodeId *value) {
    double v;
    if (!simplify_const(s, c->in[0], &v)) return false;
    const Attr *a = candidate_attr(s, c);
    bool keeps = a->reduce.kind == REDUCE_max || a->reduce.kind == REDUCE_min ||
                 a->reduce.kind == REDUCE_any || a->reduce.kind == REDUCE_all ||
                 (a->reduce.kind == REDUCE_sum && v == 0);
    return keeps && is_value(value, ir_const_of(&s->r.b, c->type, v));
}

// The sum of a value repeated n times is n times the value: only where n is known, so not over the
// sample axis.
static bool reduce_expand(Simplify *s, Candidate *c, NodeId *value) {
    const Attr *a = candidate_attr(s, c);
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_expand) || a->reduce.kind != REDUCE_sum || a->reduce.part ||
        want(s, c)->elem != ELEM_f32)
        return false;
    NodeId y = new_operand(s, x, 0);
    int64_t count = 1;
    for (uint32_t i = 0; i < a->reduce.axes.n; i++) {
        AxisId axis = a->reduce.axes.at[i];
        if (type_find(new_type(s, y), axis) >= 0 || s->r.b.m->axes.at[axis].sample) return false;
        count *= axis_size(new_type(s, x), axis);
    }
    if (count > FOLD_SEGMENT * FOLD_SEGMENT) return false; // not exact as a float
    NodeId product = ir_binary(&s->r.b, OP_mul, y, ir_const(&s->r.b, ELEM_f32, (double)count));
    return is_value(value, simplify_as(s, product, c->type));
}

// sum(-x) -> -sum(x): the same bits, negated once.
static bool reduce_neg(Simplify *s, Candidate *c, NodeId *value) {
    NodeId x = c->in[0];
    if (!new_is(s, x, OP_neg) || candidate_attr(s, c)->reduce.kind != REDUCE_sum) return false;
    NodeId y = new_operand(s, x, 0);
    NodeId sum = simplify_make(s, OP_reduce, c->attr, &y, 1, c->type);
    return is_value(value, ir_unary(&s->r.b, OP_neg, sum));
}

// Only the sample axis has an extent that is known at run time.
static bool extent_known(Simplify *s, Candidate *c, NodeId *value) {
    const Axis *axis = &s->r.b.m->axes.at[candidate_attr(s, c)->extent.axis];
    return !axis->sample && is_value(value, ir_const_of(&s->r.b, c->type, (double)axis->size));
}

static bool drop_stop(Simplify *s, Candidate *c, NodeId *value) {
    return !s->keep_stops && is_value(value, simplify_as(s, c->in[0], c->type));
}

const SimplifyRow simplify_view_rows[] = {
    {"view of a constant", OP_rename, view_of_const},
    {"view of a constant", OP_split, view_of_const},
    {"view of a constant", OP_merge, view_of_const},
    {"view of a constant", OP_slice, view_of_const},
    {"view of a constant", OP_pad, view_of_const},
    {"view of a constant", OP_expand, view_of_const},
    {"view of a constant", OP_copy, view_of_const},
    {"view of a constant", OP_stop_gradient, view_of_const},
    {"no repetition", OP_expand, no_view},
    {"no copy", OP_copy, no_view},
    {"expand of expand", OP_expand, expand_expand},
    {"rename of rename", OP_rename, rename_rename},
    {"split of merge", OP_split, split_merge},
    {"merge of split", OP_merge, split_merge},
    {"split of expand", OP_split, split_expand},
    {"slice of a whole axis", OP_slice, whole_slice},
    {"pad by nothing", OP_pad, whole_slice},
    {"slice of slice", OP_slice, slice_slice},
    {"slice of pad", OP_slice, slice_pad},
    {"slice of concat", OP_slice, slice_concat},
    {"concat of one", OP_concat, concat_one},
    {"concat of slices", OP_concat, concat_slices},
    {"sum of pads", OP_add, add_pads},
    {"fold of nothing", OP_reduce, reduce_nothing},
    {"contraction of nothing", OP_contract, contract_nothing},
    {"fold of a constant", OP_reduce, reduce_const},
    {"sum of a repetition", OP_reduce, reduce_expand},
    {"sum of -x", OP_reduce, reduce_neg},
    {"extent known at build", OP_extent, extent_known},
    {"stop_gradient after autodiff", OP_stop_gradient, drop_stop},
    {0},
};

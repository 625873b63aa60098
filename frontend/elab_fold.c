// Folds over named axes and contractions.
//
// mean is the sum times one over the number of elements. The extents of other axes are a constant;
// the sample axis contributes the op 'extent', because the number of samples per step may change at
// run time. The factor is a scalar, so the mean stays linear in the sum.
#include "frontend/elab.h"
#include <string.h>

static bool folds_all(Elab *cx, Loc at, const Value *x, const AxisList *axes, const char *what) {
    AxisList have = axes_of(cx, x);
    for (uint32_t i = 0; i < axes->n; i++)
        if (!list_has(&have, axes->at[i])) {
            elab_error(cx, at, "%s removes axis '%s', which the value does not have: it is %s",
                       what, axis_name(cx, axes->at[i]), type_text(cx, x));
            elab_note(cx, cx->axis_info.at[axes->at[i]].loc, "'%s' is declared here",
                      axis_name(cx, axes->at[i]));
            axes_alike(cx, &have, axes);
            return false;
        }
    return true;
}

// A smallest or largest element has the range of the elements; a sum of ints so many times that.
static Value fold_range(Elab *cx, Value r, ReduceKind kind, const Value *x, const AxisList *axes) {
    double count = 1, lo = 0, hi = 0;
    for (uint32_t i = 0; i < axes->n; i++) count *= (double)extent_of(cx, axes->at[i]);
    if (count == 0 || !value_range(x, &lo, &hi)) return r;
    if (kind == REDUCE_min || kind == REDUCE_max) return value_ranged(r, lo, hi);
    bool counts = kind == REDUCE_sum && is_int(cx, x) && !list_has(axes, cx->sample);
    return counts ? value_ranged(r, count * lo, count * hi) : r;
}

Value fold_axes(Elab *cx, Loc at, ReduceKind kind, Value x, const AxisList *axes) {
    if (!axes->n) return x;
    NodeId n = node_of(cx, &x, elem_of(cx, &x), at);
    if (n == NONE) return value_error();
    return fold_range(cx, value_node(cx, ir_reduce(cx->b, kind, n, axes)), kind, &x, axes);
}

// 1 / number of elements folded.
static NodeId mean_factor(Elab *cx, const AxisList *axes) {
    bool live = cx->b == &cx->step_b && cx->mode != MODE_generate && cx->sample &&
                list_has(axes, cx->sample);
    double count = 1;
    for (uint32_t i = 0; i < axes->n; i++)
        if (!live || axes->at[i] != cx->sample) count *= (double)extent_of(cx, axes->at[i]);
    NodeId one = ir_const(cx->b, ELEM_f32, 1 / count);
    return live ? ir_binary(cx->b, OP_div, one, ir_extent(cx->b, cx->sample)) : one;
}

static Value mean(Elab *cx, const Expr *e, Value x, const AxisList *axes) {
    x = value_real(cx, x, e->loc);
    if (x.kind == V_ERROR || !axes->n) return x;
    Value sum = fold_axes(cx, e->loc, REDUCE_sum, x, axes);
    if (sum.kind == V_ERROR) return sum;
    return value_node(cx, ir_binary(cx->b, OP_mul, sum.node, mean_factor(cx, axes)));
}

static const struct {
    const char *name;
    ReduceKind kind;
} folds[] = {{"sum", REDUCE_sum}, {"prod", REDUCE_prod}, {"min", REDUCE_min},   {"max", REDUCE_max},
             {"any", REDUCE_any}, {"all", REDUCE_all},   {"mean", REDUCE_COUNT}};
enum { FOLDS = sizeof folds / sizeof *folds };

bool fold_known(const char *name) {
    uint32_t i = 0;
    while (i < FOLDS && strcmp(folds[i].name, name) != 0) i++;
    return i < FOLDS;
}

// What kind of value the fold takes; reports.
static bool fold_takes(Elab *cx, const Expr *e, ReduceKind kind, const char *name, const Value *x) {
    bool logic = kind == REDUCE_any || kind == REDUCE_all;
    if (x->kind == V_TENSOR && is_bool(cx, x) == logic) return true;
    if (x->kind == V_NUM && !logic) return true;
    elab_error(cx, e->loc, "'%s' takes %s, found %s%s", name,
               logic ? "a bool tensor" : "a tensor of numbers", type_text(cx, x),
               is_bool(cx, x) && !logic ? "; a bool is no number: use real(…)" : "");
    return false;
}

bool fold_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                   Value *out) {
    uint32_t i = 0;
    while (i < FOLDS && strcmp(folds[i].name, name) != 0) i++;
    if (i == FOLDS) return false;
    *out = value_error();
    if (n != 1) {
        *out = elab_error(cx, e->loc, "'%s' takes 1 value, found %u", name, n);
        return true;
    }
    AxisList axes;
    if (args[0].kind == V_ERROR || !axes_resolve(cx, &e->call.axes, &axes)) return true;
    if (!fold_takes(cx, e, folds[i].kind, name, &args[0])) return true;
    if (!folds_all(cx, e->loc, &args[0], &axes, arena_printf(cx->arena, "'%s'", name))) return true;
    *out = folds[i].kind == REDUCE_COUNT ? mean(cx, e, args[0], &axes)
                                         : fold_axes(cx, e->loc, folds[i].kind, args[0], &axes);
    return true;
}

static bool operand_has(Elab *cx, const Expr *e, const Expr *side, const Value *v,
                        const AxisList *axes) {
    if (v->kind == V_ERROR) return false;
    if (is_bool(cx, v) || (v->kind != V_TENSOR && v->kind != V_NUM)) {
        elab_error(cx, side->loc, "'@' takes tensors of numbers, found %s", type_text(cx, v));
        return false;
    }
    AxisList have = axes_of(cx, v);
    for (uint32_t i = 0; i < axes->n; i++)
        if (!list_has(&have, axes->at[i])) {
            const char *name = axis_name(cx, axes->at[i]);
            elab_error(cx, side->loc,
                       "'@[%s]' sums over '%s', which this operand does not have: it is %s", name,
                       name, type_text(cx, v));
            elab_note(cx, e->contract.op_loc, "both operands must have '%s'", name);
            axes_alike(cx, &have, axes);
            return false;
        }
    return true;
}

// Axes of the result: all but the summed ones.
static bool result_fits(Elab *cx, const Expr *e, const Value *a, const Value *b,
                        const AxisList *axes) {
    AxisList all = {0}, l[2] = {axes_of(cx, a), axes_of(cx, b)};
    for (uint32_t s = 0; s < 2; s++)
        for (uint32_t i = 0; i < l[s].n; i++) {
            AxisId x = l[s].at[i];
            if (list_has(axes, x) || list_has(&all, x) || list_add(&all, x)) continue;
            elab_error(cx, e->loc, "the result would have more than %d axes", MAX_AXES);
            return false;
        }
    return axes_fit(cx, e->loc, &all);
}

Value fold_contract(Elab *cx, const Expr *e, Value a, Value b) {
    AxisList axes;
    if (!axes_resolve(cx, &e->contract.axes, &axes)) return value_error();
    if (!axes.n) return math_binary(cx, e, BIN_mul, a, b);
    bool good = operand_has(cx, e, e->contract.a, &a, &axes);
    good &= operand_has(cx, e, e->contract.b, &b, &axes);
    if (!good || !result_fits(cx, e, &a, &b, &axes)) return value_error();
    if (is_int(cx, &a) && is_int(cx, &b)) {
        Value product = math_binary(cx, e, BIN_mul, a, b);
        return product.kind == V_ERROR ? product
                                       : fold_axes(cx, e->loc, REDUCE_sum, product, &axes);
    }
    NodeId x = node_of(cx, &a, ELEM_f32, e->contract.a->loc),
           y = node_of(cx, &b, ELEM_f32, e->contract.b->loc);
    if (x == NONE || y == NONE) return value_error();
    return value_node(cx, ir_contract(cx->b, x, y, &axes, NONE));
}

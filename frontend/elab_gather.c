// Indexing one axis by a tensor of integers: x[a: i].
//
// The index must be provably inside the axis: by its kind (an index of that axis), by the range
// that follows from iota, constants and arithmetic, or by 'else', which says what is read outside.
// An index that walks one axis, iota[b] + c, is no gather at all but a slice, with padding where it
// reaches outside; a number is a slice of one. What remains is the op gather, which gives 0
// outside, so 'else 0' costs nothing and another value one select.
#include "frontend/elab.h"
#include <math.h>

static bool index_good(Elab *cx, const AstView *v, AxisId axis, const Value *index, bool outside) {
    int64_t n = extent_of(cx, axis);
    const char *name = axis_name(cx, axis);
    double lo = 0, hi = 0;
    if (index->kind == V_NUM && value_is_whole(index)) {
        lo = hi = index->num;
    } else if (index->kind != V_TENSOR || !is_int(cx, index)) {
        elab_error(cx, v->index->loc, "an index of '%s' is int, found %s", name,
                   type_text(cx, index));
        return false;
    } else if (index->has_range) {
        lo = (double)index->lo, hi = (double)index->hi;
    } else if (!outside) {
        elab_error(cx, v->index->loc,
                   "the index may lie outside '%s' (0 to %lld): nothing is known of its range; say "
                   "what is read there with 'else'",
                   name, (long long)n - 1);
        return false;
    }
    if (outside || (lo >= 0 && hi < (double)n)) return true;
    if (lo == hi)
        elab_error(cx, v->index->loc, "index %.0f lies outside '%s' (0 to %lld)", lo, name,
                   (long long)n - 1);
    else
        elab_error(
            cx, v->index->loc,
            "the index ranges from %.0f to %.0f, '%s' from 0 to %lld; say what is read outside "
            "with 'else'",
            lo, hi, name, (long long)n - 1);
    return false;
}

// No element is read: the result has none.
static bool reads_nothing(const Elab *cx, const Value *x, AxisId axis, const Value *index) {
    AxisList l[2] = {axes_of(cx, x), axes_of(cx, index)};
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < l[k].n; i++)
            if ((k || l[k].at[i] != axis) && extent_of(cx, l[k].at[i]) == 0) return true;
    return false;
}

// The value read outside as a constant, NAN when it is none.
static double fill_of(Elab *cx, const Value *x, const Value *outside) {
    if (!outside) return 0;
    if (outside->live) return NAN;
    if (outside->kind == V_BOOL && is_bool(cx, x)) return outside->truth;
    if (outside->kind != V_NUM || is_bool(cx, x)) return NAN;
    return is_real(cx, x) ? outside->num : value_is_whole(outside) ? outside->num : NAN;
}

// iota[b] + c: the elements lo .. hi of b read inside, the others are filled.
static Value slice_padded(Elab *cx, const AstView *v, Value x, AxisId a, AxisId b, int64_t c,
                          double fill) {
    int64_t na = extent_of(cx, a), nb = extent_of(cx, b);
    int64_t lo = c < 0 ? -c : 0, hi = na - c < nb ? na - c : nb;
    if (lo == 0 && hi == nb) return view_slice(cx, x, a, b, c);
    if (lo >= hi) {
        Value none = view_slice(cx, x, a, axis_part(cx, v->loc, 0), 0);
        return value_node(cx, ir_pad(cx->b, none.node, axis_part(cx, v->loc, 0), b, 0, nb, fill));
    }
    AxisId middle = axis_part(cx, v->loc, hi - lo);
    Value inside = view_slice(cx, x, a, middle, lo + c);
    return value_node(cx, ir_pad(cx->b, inside.node, middle, b, lo, nb, fill));
}

// x[a: number]
static Value one_element(Elab *cx, const AstView *v, Value x, AxisId a, int64_t at, double fill) {
    if (at < 0 || at >= extent_of(cx, a)) { // only with 'else'
        AxisList rest = {0}, have = axes_of(cx, &x);
        for (uint32_t i = 0; i < have.n; i++)
            if (have.at[i] != a) list_add(&rest, have.at[i]);
        return value_node(cx, ir_const_of(cx->b, type_make(cx, elem_of(cx, &x), &rest), fill));
    }
    AxisId one = axis_part(cx, v->loc, 1);
    return view_drop(cx, value_node(cx, ir_slice(cx->b, x.node, a, one, at, 1)), one);
}

static Value in_range(Elab *cx, NodeId index, int64_t n) {
    NodeId zero = ir_const(cx->b, ELEM_i32, 0), end = ir_const(cx->b, ELEM_i32, (double)n);
    NodeId low = ir_binary(cx->b, OP_le, zero, index), high = ir_binary(cx->b, OP_lt, index, end);
    return value_node(cx, ir_binary(cx->b, OP_and, low, high));
}

// After the gather: another value than 0 where the index lies outside.
static Value fill_outside(Elab *cx, const AstView *v, Value got, NodeId index, int64_t n,
                          const Value *outside) {
    Value inside = in_range(cx, index, n), all[3] = {inside, got, *outside};
    Elem elem = elem_of(cx, &got);
    if (!axes_align(cx, v->loc, all, 3, "")) return value_error();
    NodeId other = node_of(cx, outside, elem, v->outside->loc);
    return other == NONE ? value_error()
                         : value_node(cx, ir_select(cx->b, inside.node, got.node, other));
}

static Value gather_any(Elab *cx, const AstView *v, Value x, AxisId a, Value index,
                        const Value *outside) {
    NodeId i = node_of(cx, &index, ELEM_i32, v->index->loc);
    if (i == NONE) return value_error();
    AxisList l = axes_of(cx, &index);
    AxisId from = a;
    if (list_has(&l, a)) {
        from = axis_part(cx, v->loc, extent_of(cx, a));
        x = value_node(cx, ir_rename(cx->b, x.node, a, from));
    }
    Value got = value_node(cx, ir_gather(cx->b, x.node, i, from));
    double fill = fill_of(cx, &x, outside);
    if (!outside || fill == 0) return got;
    return fill_outside(cx, v, got, i, extent_of(cx, a), outside);
}

static bool outside_good(Elab *cx, const AstView *v, const Value *x, const Value *outside) {
    if (!outside) return true;
    if (outside->kind == V_ERROR) return false;
    if (is_bool(cx, x) == is_bool(cx, outside) && !(is_int(cx, x) && is_real(cx, outside)))
        return true;
    elab_error(cx, v->outside->loc, "what is read outside is %s, expected the kind of %s",
               type_text(cx, outside), type_text(cx, x));
    return false;
}

Value gather_apply(Elab *cx, Value x, const AstView *v, AxisId axis, Value index,
                   const Value *outside) {
    bool anywhere = outside || reads_nothing(cx, &x, axis, &index);
    if (!index_good(cx, v, axis, &index, anywhere) || !outside_good(cx, v, &x, outside))
        return value_error();
    double fill = fill_of(cx, &x, outside);
    if (index.kind == V_NUM && !isnan(fill)) {
        bool far = fabs(index.num) > MAX_EXTENT;
        return one_element(cx, v, x, axis, far ? -1 : (int64_t)index.num, fill);
    }
    const Affine *f = index.affine;
    AxisList have = axes_of(cx, &x);
    bool walks = f && f->n == 1 && f->coef[0] == 1 && !isnan(fill);
    if (walks && (f->axis[0] == axis || !list_has(&have, f->axis[0])))
        return slice_padded(cx, v, x, axis, f->axis[0], f->c, fill);
    return gather_any(cx, v, x, axis, index, outside);
}

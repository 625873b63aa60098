// Views: renaming, splitting, merging, cutting and joining axes by name.
//
// All items of one pair of brackets act at once. They are carried out one after the other, and a
// source whose name another item (or the item's own index) brings back is first given a name of its
// own; so x[a -> b, b -> a] swaps. A '1' in a sum is a part without axis: an axis of extent 1 that
// is dropped after a cut (split into no axes) and added before a join.
#include "frontend/elab.h"
#include <math.h>

static double product_of(const Elab *cx, const AxisList *l) {
    double x = 1;
    for (uint32_t i = 0; i < l->n; i++) x *= (double)extent_of(cx, l->at[i]);
    return x;
}

static const char *factors_text(Elab *cx, const AxisList *l) {
    Text t = {.arena = cx->arena};
    text_printf(&t, "%s", l->n ? "" : "1");
    for (uint32_t i = 0; i < l->n; i++)
        text_printf(&t, "%s%s", i ? " * " : "", axis_name(cx, l->at[i]));
    return t.at;
}

static AxisList rest_of(const Elab *cx, const Value *x, const AxisList *without) {
    AxisList have = axes_of(cx, x), rest = {0};
    for (uint32_t i = 0; i < have.n; i++)
        if (!list_has(without, have.at[i])) list_add(&rest, have.at[i]);
    return rest;
}

static bool has_axes(Elab *cx, Loc at, const Value *x, const AxisList *axes) {
    AxisList have = axes_of(cx, x);
    for (uint32_t i = 0; i < axes->n; i++)
        if (!list_has(&have, axes->at[i])) {
            elab_error(cx, at, "the value has no axis '%s': it is %s", axis_name(cx, axes->at[i]),
                       type_text(cx, x));
            axes_alike(cx, &have, axes);
            return false;
        }
    return true;
}

// ---- pieces -------------------------------------------------------------------------------------

Value view_drop(Elab *cx, Value x, AxisId one) {
    return value_node(cx, ir_split(cx->b, x.node, one, &(AxisList){0}, NULL));
}

static Value add_axis(Elab *cx, Loc at, Value x, AxisId one) {
    AxisList l = axes_of(cx, &x);
    if (list_add(&l, one)) return value_expand(cx, x, &l, elem_of(cx, &x), at);
    return elab_error(cx, at, "the value would have more than %d axes", MAX_AXES);
}

Value view_slice(Elab *cx, Value x, AxisId from, AxisId to, int64_t start) {
    if (start == 0 && extent_of(cx, from) == extent_of(cx, to))
        return from == to ? x : value_node(cx, ir_rename(cx->b, x.node, from, to));
    return value_node(cx, ir_slice(cx->b, x.node, from, to, start, extent_of(cx, to)));
}

static Value split(Elab *cx, Value x, AxisId from, const AxisList *to) {
    int64_t sizes[MAX_AXES];
    for (uint32_t i = 0; i < to->n; i++) sizes[i] = extent_of(cx, to->at[i]);
    return value_node(cx, ir_split(cx->b, x.node, from, to, sizes));
}

// The factors 'from' become the factors 'to'; products are equal and names free.
static Value regroup(Elab *cx, Loc at, Value x, const AxisList *from, const AxisList *to) {
    if (from->n == 1 && to->n == 1)
        return from->at[0] == to->at[0]
                   ? x
                   : value_node(cx, ir_rename(cx->b, x.node, from->at[0], to->at[0]));
    if (from->n == 1 && to->n) return split(cx, x, from->at[0], to);
    AxisId whole = to->n == 1 ? to->at[0] : axis_part(cx, at, (int64_t)product_of(cx, to));
    if (from->n == 0)
        x = add_axis(cx, at, x, whole);
    else if (from->n == 1)
        whole = from->at[0];
    else
        x = value_node(cx, ir_merge(cx->b, x.node, from, whole));
    if (x.kind == V_ERROR || to->n == 1) return x;
    return to->n ? split(cx, x, whole, to) : view_drop(cx, x, whole);
}

static bool factors_resolve(Elab *cx, const Prod *p, AxisList *out) {
    if (p->one) {
        *out = (AxisList){0};
        return true;
    }
    return axes_resolve(cx, &p->factors, out);
}

static bool extents_agree(Elab *cx, Loc at, const AxisList *from, const AxisList *to) {
    double a = product_of(cx, from), b = product_of(cx, to);
    if (a == b) return true;
    elab_error(cx, at, "'%s' has extent %.0f, '%s' has %.0f", factors_text(cx, from), a,
               factors_text(cx, to), b);
    return false;
}

// ---- cut and join -------------------------------------------------------------------------------

static bool part_free(Elab *cx, Loc at, const AxisList *rest, const AxisList *part) {
    for (uint32_t i = 0; i < part->n; i++)
        if (list_has(rest, part->at[i])) {
            elab_error(cx, at, "the value has axis '%s' already", axis_name(cx, part->at[i]));
            return false;
        }
    if (rest->n + part->n <= MAX_AXES) return true;
    elab_error(cx, at, "the result would have more than %d axes", MAX_AXES);
    return false;
}

static Value with_range(Value r, const Value *x) {
    r.has_range = x->has_range, r.lo = x->lo, r.hi = x->hi;
    return r;
}

static Value cut_part(Elab *cx, Loc at, Value x, AxisId from, const AxisList *part, int64_t start) {
    AxisId to = part->n == 1 ? part->at[0] : axis_part(cx, at, (int64_t)product_of(cx, part));
    Value v = view_slice(cx, x, from, to, start);
    if (part->n == 0) return view_drop(cx, v, to);
    return part->n == 1 ? v : split(cx, v, to, part);
}

static bool cut_sizes(Elab *cx, const AstView *v, const AxisList *from, AxisList *parts) {
    double total = 0;
    for (uint32_t i = 0; i < v->to.parts.n; i++) {
        if (!factors_resolve(cx, &v->to.parts.at[i], &parts[i])) return false;
        total += product_of(cx, &parts[i]);
    }
    if (total == product_of(cx, from)) return true;
    elab_error(cx, v->loc, "'%s' has extent %.0f, its parts have %.0f together",
               factors_text(cx, from), product_of(cx, from), total);
    return false;
}

static Value view_cut(Elab *cx, const AstView *v, Value x) {
    AxisList from, parts[MAX_TUPLE];
    if (v->to.parts.n > MAX_TUPLE) return elab_error(cx, v->loc, "more than %d parts", MAX_TUPLE);
    if (!factors_resolve(cx, &v->from.parts.at[0], &from) || !has_axes(cx, v->loc, &x, &from))
        return value_error();
    if (!from.n) return elab_error(cx, v->loc, "there is no axis to cut");
    if (!cut_sizes(cx, v, &from, parts)) return value_error();
    const Value given = x;
    AxisList rest = rest_of(cx, &x, &from);
    AxisId whole = from.at[0];
    if (from.n > 1) {
        whole = axis_part(cx, v->loc, (int64_t)product_of(cx, &from));
        x = value_node(cx, ir_merge(cx->b, x.node, &from, whole));
    }
    Value items[MAX_TUPLE];
    int64_t start = 0;
    for (uint32_t i = 0; i < v->to.parts.n; i++) {
        if (!part_free(cx, v->to.parts.at[i].loc, &rest, &parts[i])) return value_error();
        items[i] =
            with_range(cut_part(cx, v->to.parts.at[i].loc, x, whole, &parts[i], start), &given);
        start += (int64_t)product_of(cx, &parts[i]);
    }
    return value_tuple(cx, items, v->to.parts.n);
}

static AxisList replaced(AxisList l, AxisId from, AxisId to) {
    for (uint32_t i = 0; i < l.n; i++)
        if (l.at[i] == from) l.at[i] = to;
    return l;
}

// Parts along the axes 'parts', eight at most, as one along 'to'; 'order' is the result's.
static Value concat(Elab *cx, const Value *xs, const AxisList *parts, AxisId to,
                    const AxisList *order) {
    NodeId nodes[MAX_AXES];
    Attr a = {.kind = ATTR_concat};
    for (uint32_t i = 0; i < parts->n; i++) nodes[i] = xs[i].node;
    a.concat.from = *parts;
    a.concat.to = to;
    TypeId type = type_make(cx, elem_of(cx, &xs[0]), order);
    return value_node(cx, ir_node(cx->b, OP_concat, &a, nodes, parts->n, type));
}

// Any number of parts, part i along axis[i], through parts in between when there are more than
// eight.
static Value join_many(Elab *cx, Loc at, Value *parts, AxisId *axis, uint32_t n, AxisId to,
                       const AxisList *order) {
    double lo = INFINITY, hi = -INFINITY;
    bool known = true;
    for (uint32_t i = 0; i < n; i++) {
        double l = 0, h = 0;
        known = known && value_range(&parts[i], &l, &h);
        lo = fmin(lo, l), hi = fmax(hi, h);
    }
    while (n > MAX_AXES) {
        uint32_t made = 0;
        for (uint32_t i = 0; i < n; i += MAX_AXES) {
            AxisList l = {.n = n - i < MAX_AXES ? n - i : MAX_AXES};
            int64_t size = 0;
            for (uint32_t j = 0; j < l.n; j++)
                l.at[j] = axis[i + j], size += extent_of(cx, axis[i + j]);
            AxisId between = axis_part(cx, (Loc){at.file, at.start + 1, at.start + 1}, size);
            AxisList inner = replaced(*order, to, between);
            parts[made] = concat(cx, parts + i, &l, between, &inner);
            axis[made++] = between;
        }
        n = made;
    }
    AxisList l = {.n = n};
    for (uint32_t j = 0; j < n; j++) l.at[j] = axis[j];
    Value r = concat(cx, parts, &l, to, order);
    return known ? value_ranged(r, lo, hi) : r;
}

// The new axis stands before the last, whose elements stay neighbours.
Value view_stack(Elab *cx, Loc at, Value *parts, uint32_t n, AxisId to) {
    AxisId *axis = NEW_ARRAY(cx->arena, AxisId, n);
    AxisList have = axes_of(cx, &parts[0]), order = {0};
    if (have.n == MAX_AXES)
        return elab_error(cx, at, "the result would have more than %d axes", MAX_AXES);
    for (uint32_t i = 0; i < have.n; i++) {
        if (i + 1 == have.n) list_add(&order, to);
        list_add(&order, have.at[i]);
    }
    if (!have.n) list_add(&order, to);
    for (uint32_t i = 0; i < n; i++) {
        axis[i] = axis_part(cx, at, 1);
        AxisList one = replaced(order, to, axis[i]);
        parts[i] = value_expand(cx, parts[i], &one, elem_of(cx, &parts[i]), at);
        if (parts[i].kind == V_ERROR) return value_error();
    }
    return join_many(cx, at, parts, axis, n, to, &order);
}

// All axes beside the joined ones; none of these may be among them, nor the new one.
static bool join_rest(Elab *cx, const AstView *v, const Value *parts, const AxisId *own, uint32_t n,
                      AxisId to, AxisList *rest) {
    *rest = (AxisList){0};
    for (uint32_t i = 0; i < n; i++) {
        AxisList l = axes_of(cx, &parts[i]);
        for (uint32_t k = 0; k < l.n; k++) {
            if (l.at[k] == own[i] || list_has(rest, l.at[k]) || list_add(rest, l.at[k])) continue;
            elab_error(cx, v->loc, "the result would have more than %d axes", MAX_AXES);
            return false;
        }
    }
    for (uint32_t i = 0; i <= n; i++) {
        AxisId a = i < n ? own[i] : to;
        if (!list_has(rest, a)) continue;
        elab_error(cx, v->loc, "the parts have axis '%s' beside the joined one", axis_name(cx, a));
        return false;
    }
    if (rest->n < MAX_AXES) return true;
    elab_error(cx, v->loc, "the result would have more than %d axes", MAX_AXES);
    return false;
}

// A '1' has been given its axis anywhere: its order counts only where no other part has as many.
static uint32_t order_weight(const Elab *cx, const AstView *v, const Value *parts, uint32_t i) {
    return axes_of(cx, &parts[i]).n * 2 + !v->from.parts.at[i].one;
}

// The order of the result: that of the part with most axes, with what it lacks in front.
static bool join_order(Elab *cx, const AstView *v, const Value *parts, const AxisId *own,
                       uint32_t n, AxisId to, AxisList *order) {
    AxisList rest;
    uint32_t most = 0;
    if (!join_rest(cx, v, parts, own, n, to, &rest)) return false;
    for (uint32_t i = 1; i < n; i++)
        if (order_weight(cx, v, parts, i) > order_weight(cx, v, parts, most)) most = i;
    AxisList l = axes_of(cx, &parts[most]);
    *order = (AxisList){0};
    for (uint32_t k = 0; k < rest.n; k++)
        if (!list_has(&l, rest.at[k])) list_add(order, rest.at[k]);
    for (uint32_t k = 0; k < l.n; k++) list_add(order, l.at[k] == own[most] ? to : l.at[k]);
    return true;
}

// Brings the parts to one element type and one set of other axes.
static bool join_align(Elab *cx, const AstView *v, Value *parts, const AxisId *own, uint32_t n,
                       AxisId to, AxisList *order) {
    bool real = false, bools = false, ints = false;
    for (uint32_t i = 0; i < n; i++) {
        real |= is_real(cx, &parts[i]);
        bools |= is_bool(cx, &parts[i]);
        ints |= is_int(cx, &parts[i]);
    }
    if (bools && (real || ints)) {
        elab_error(cx, v->loc, "bools and numbers cannot be joined");
        return false;
    }
    if (!join_order(cx, v, parts, own, n, to, order) || !axes_fit(cx, v->loc, order)) return false;
    Elem elem = bools ? ELEM_bool : real ? ELEM_f32 : ELEM_i32;
    for (uint32_t i = 0; i < n; i++) {
        AxisList want = replaced(*order, to, own[i]);
        parts[i] = value_expand(cx, parts[i], &want, elem, v->loc);
        if (parts[i].kind == V_ERROR) return false;
    }
    return true;
}

// One part as a value along one axis, *axis.
static bool join_part(Elab *cx, const AstView *v, uint32_t i, Value *x, AxisId *axis,
                      double *total) {
    const Prod *p = &v->from.parts.at[i];
    AxisList own;
    if (x->kind == V_ERROR || !factors_resolve(cx, p, &own)) return false;
    if (x->kind != V_TENSOR && (own.n || x->kind != V_NUM)) {
        elab_error(cx, p->loc, "part %u is %s, not a tensor over %s", i + 1, type_text(cx, x),
                   axes_text(cx, &own));
        return false;
    }
    if (!has_axes(cx, p->loc, x, &own)) return false;
    *total += product_of(cx, &own);
    *axis = own.n == 1 ? own.at[0] : axis_part(cx, p->loc, (int64_t)product_of(cx, &own));
    if (x->kind == V_NUM) {
        *x = value_expand(cx, *x, &(AxisList){1, {*axis}}, is_int(cx, x) ? ELEM_i32 : ELEM_f32,
                          p->loc);
    } else if (own.n != 1) {
        *x = regroup(cx, p->loc, *x, &own, &(AxisList){1, {*axis}});
    }
    return x->kind != V_ERROR;
}

static Value view_joined(Elab *cx, const AstView *v, Value x) {
    uint32_t n = v->from.parts.n;
    if (x.kind != V_TUPLE || x.n != n)
        return elab_error(cx, v->loc, "joining %u parts takes a tuple of %u, found %s", n, n,
                          type_text(cx, &x));
    if (n > MAX_TUPLE) return elab_error(cx, v->loc, "more than %d parts", MAX_TUPLE);
    AxisList to;
    if (!factors_resolve(cx, &v->to.parts.at[0], &to)) return value_error();
    Value parts[MAX_TUPLE];
    AxisId axis[MAX_TUPLE];
    AxisList order;
    double total = 0;
    for (uint32_t i = 0; i < n; i++) {
        parts[i] = x.items[i];
        if (!join_part(cx, v, i, &parts[i], &axis[i], &total)) return value_error();
    }
    if (total != product_of(cx, &to))
        return elab_error(cx, v->loc, "'%s' has extent %.0f, the parts have %.0f together",
                          factors_text(cx, &to), product_of(cx, &to), total);
    AxisId whole = to.n == 1 ? to.at[0] : axis_part(cx, v->loc, (int64_t)total);
    if (!join_align(cx, v, parts, axis, n, whole, &order)) return value_error();
    Value r = join_many(cx, v->loc, parts, axis, n, whole, &order);
    return to.n == 1 ? r : regroup(cx, v->loc, r, &(AxisList){1, {whole}}, &to);
}

// ---- several items at once ----------------------------------------------------------------------

typedef struct {
    const AstView *view;
    AxisList from, to; // to: the axes of the index for VIEW_index
    Value index, outside;
} ViewStep;

static bool step_resolve(Elab *cx, const AstView *v, const Value *x, ViewStep *s) {
    *s = (ViewStep){.view = v};
    if (v->kind == VIEW_cut || v->kind == VIEW_join) {
        elab_error(cx, v->loc, "a sum of axes stands alone in its brackets");
        return false;
    }
    if (v->kind != VIEW_index) {
        bool good = factors_resolve(cx, &v->from.parts.at[0], &s->from);
        good = factors_resolve(cx, &v->to.parts.at[0], &s->to) && good;
        return good && has_axes(cx, v->loc, x, &s->from) &&
               extents_agree(cx, v->loc, &s->from, &s->to);
    }
    AxisId a;
    s->index = value_settle(cx, eval(cx, v->index), v->index->loc, "an index");
    if (v->outside) s->outside = eval(cx, v->outside);
    if (!axis_resolve(cx, &v->axis, &a)) return false;
    s->from = (AxisList){1, {a}};
    s->to = axes_of(cx, &s->index);
    return s->index.kind != V_ERROR && has_axes(cx, v->axis.loc, x, &s->from);
}

// No source twice, no target twice or beside an axis that stays.
static bool steps_check(Elab *cx, const ViewStep *steps, uint32_t n, const Value *x) {
    AxisList sources = {0}, targets = {0};
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < steps[i].from.n; k++) {
            if (list_has(&sources, steps[i].from.at[k])) {
                elab_error(cx, steps[i].view->loc, "axis '%s' is taken twice",
                           axis_name(cx, steps[i].from.at[k]));
                return false;
            }
            list_add(&sources, steps[i].from.at[k]);
        }
    AxisList rest = rest_of(cx, x, &sources), all = rest;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < steps[i].to.n; k++) {
            AxisId a = steps[i].to.at[k];
            bool aligned = steps[i].view->kind == VIEW_index;
            if (!aligned && (list_has(&rest, a) || list_has(&targets, a))) {
                elab_error(cx, steps[i].view->loc, "the value has axis '%s' already: it is %s",
                           axis_name(cx, a), type_text(cx, x));
                return false;
            }
            if (!aligned) list_add(&targets, a);
            if (!list_has(&all, a) && !list_add(&all, a)) {
                elab_error(cx, steps[i].view->loc, "the result would have more than %d axes",
                           MAX_AXES);
                return false;
            }
        }
    return axes_fit(cx, steps[0].view->loc, &all);
}

// Sources that some target brings back get names of their own.
static Value steps_clear(Elab *cx, ViewStep *steps, uint32_t n, Value x) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < steps[i].from.n; k++) {
            bool clash = false;
            AxisId a = steps[i].from.at[k];
            for (uint32_t j = 0; j < n; j++)
                clash |= list_has(&steps[j].to, a) &&
                         (j != i || steps[j].view->kind == VIEW_index || steps[j].to.n > 1);
            if (!clash) continue;
            Loc at = steps[i].view->loc;
            AxisId aside = axis_part(cx, (Loc){at.file, at.start + k, 0}, extent_of(cx, a));
            x = value_node(cx, ir_rename(cx->b, x.node, a, aside));
            steps[i].from.at[k] = aside;
        }
    return x;
}

// Views move elements and do not change them, so a known range stays, widened by what is read
// outside.
static Value keep_range(Value r, const Value *x, const ViewStep *steps, uint32_t n) {
    bool keeps = r.kind == V_TENSOR && x->has_range;
    double lo = (double)x->lo, hi = (double)x->hi;
    for (uint32_t i = 0; i < n && keeps; i++) {
        const Value *o = &steps[i].outside;
        if (!steps[i].view->outside) continue;
        keeps = value_is_whole(o) || (o->kind == V_TENSOR && o->has_range);
        lo = fmin(lo, o->kind == V_NUM ? o->num : (double)o->lo);
        hi = fmax(hi, o->kind == V_NUM ? o->num : (double)o->hi);
    }
    return keeps ? value_ranged(r, lo, hi) : r;
}

static Value step_apply(Elab *cx, Value x, const ViewStep *s) {
    if (s->view->kind != VIEW_index) return regroup(cx, s->view->loc, x, &s->from, &s->to);
    return gather_apply(cx, x, s->view, s->from.at[0], s->index,
                        s->view->outside ? &s->outside : NULL);
}

static Value view_steps(Elab *cx, const Expr *e, Value x) {
    uint32_t n = e->view.items.n;
    if (n > MAX_AXES) return elab_error(cx, e->loc, "more than %d items", MAX_AXES);
    ViewStep *steps =
        NEW_ARRAY(cx->arena, ViewStep, n + 1); // a stack of views in each other is deep enough
    bool good = true;
    for (uint32_t i = 0; i < n; i++) good &= step_resolve(cx, &e->view.items.at[i], &x, &steps[i]);
    if (!good || !steps_check(cx, steps, n, &x)) return value_error();
    enter(cx, e);
    NodeId here = node_of(cx, &x, elem_of(cx, &x), e->loc);
    if (here == NONE) return value_error();
    Value r = value_node(cx, here);
    // A slice of the index's own axis needs no second name: see gather_apply.
    if (n > 1 || steps[0].view->kind != VIEW_index) r = steps_clear(cx, steps, n, r);
    for (uint32_t i = 0; i < n && r.kind != V_ERROR; i++) r = step_apply(cx, r, &steps[i]);
    return keep_range(r, &x, steps, n);
}

Value view_apply(Elab *cx, const Expr *e) {
    Value x = eval(cx, e->view.base);
    if (x.kind == V_ERROR) return x;
    const AstView *first = &e->view.items.at[0];
    enter(cx, e);
    if (e->view.items.n == 1 && first->kind == VIEW_join) return view_joined(cx, first, x);
    if (x.kind != V_TENSOR)
        return elab_error(cx, e->view.base->loc, "a view takes a tensor, found %s",
                          type_text(cx, &x));
    if (e->view.items.n == 1 && first->kind == VIEW_cut) {
        NodeId n = node_of(cx, &x, elem_of(cx, &x), e->loc);
        return n == NONE ? value_error() : view_cut(cx, first, with_range(value_node(cx, n), &x));
    }
    return view_steps(cx, e, x);
}

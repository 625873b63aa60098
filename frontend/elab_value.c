// Values: exact numbers until they meet a tensor, then constants of its element type.
//
// A number is a double with a flag 'written as a whole number'; int meets real as real; a bool is
// no number. An int tensor carries the range of its values where that is known (indices, iota, min,
// max, remainders), which is what makes an index provably inside its axis. Rule 3 of the language,
// that one operand has all axes of the others, is axes_align.
//
// The extent of the sample axis is a number too, but the run decides it ('--accum', evaluation). What
// is computed from it is live: it has the number of this build and, beside it, the node that
// computes it in f32 from the op 'extent'. Tensors take the node. What must be known at build (an
// extent, a count of rounds, an 'if') takes the number, and then one pass must hold the batch, so
// that the two agree (value_settle).
#include "frontend/elab.h"
#include <math.h>

Value value_error(void) { return (Value){.kind = V_ERROR}; }
Value value_absent(void) { return (Value){.kind = V_TUPLE}; }
bool value_is_absent(const Value *v) { return v->kind == V_TUPLE && !v->n; }
Value value_num(double x, bool whole) { return (Value){.kind = V_NUM, .num = x, .is_int = whole}; }
Value value_bool(bool x) { return (Value){.kind = V_BOOL, .truth = x}; }

Value value_tuple(Elab *cx, const Value *items, uint32_t n) {
    return (Value){
        .kind = V_TUPLE, .n = n, .items = arena_copy(cx->arena, items, sizeof *items * n)};
}

bool value_is_whole(const Value *v) {
    return v->kind == V_NUM && !v->live && isfinite(v->num) && v->num == floor(v->num);
}

Value value_samples(const Elab *cx) {
    Value v = value_num((double)extent_of(cx, cx->sample), true);
    v.live = cx->mode != MODE_generate;
    return v;
}

Value value_settle(Elab *cx, Value v, Loc at, const char *what) {
    if (v.live) settled_add(cx, at, what, 0);
    v.live = false;
    return v;
}

void settled_add(Elab *cx, Loc at, const char *what, AxisId axis) {
    vec_push(cx->arena, &cx->settled, ((Settled){user_loc(cx, at), at, what, axis}));
}

// By axis: whether a value has it that a result or state of this function depends on.
static const uint8_t *axes_needed(Elab *cx) {
    const Func *f = cx->step_b.f;
    uint8_t *axis = NEW_ARRAY(cx->arena, uint8_t, cx->m->axes.n);
    uint8_t *need = NEW_ARRAY(cx->arena, uint8_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->results.n; i++) need[f->results.at[i].node] = 1;
    for (NodeId n = f->nodes.n; n-- > 0;) {
        if (!need[n] && node_at(f, n)->op != OP_assign) continue;
        const Type *t = type_of(cx->m, f, n);
        for (uint32_t i = 0; i < t->n; i++) axis[t->axes[i].axis] = 1;
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) need[operand(f, n, i)] = 1;
    }
    return axis;
}

void settled_check(Elab *cx) {
    const uint8_t *needed = cx->settled.n ? axes_needed(cx) : NULL;
    for (uint32_t i = 0; i < cx->settled.n; i++) {
        if (cx->settled.at[i].axis && !needed[cx->settled.at[i].axis]) continue;
        if (cx->mode == MODE_step) cx->m->whole_step = true;
        if (cx->mode == MODE_eval) cx->m->whole_eval = true;
        if (cx->mode == MODE_predict) cx->m->whole_predict = true;
        if (cx->program->micro == cx->program->batch) continue;
        const Settled *s = &cx->settled.at[i];
        const char *sample = axis_name(cx, cx->sample);
        elab_error(cx, s->at,
                   "%s depends on the extent of the sample axis '%s', which the run decides: one "
                   "pass must hold the batch",
                   s->what, sample);
        if (s->at.file != s->inner.file) elab_note(cx, s->inner, "it arises here");
        elab_note(cx, cx->program->micro_at,
                  "micro-batches of %lld cut '%s': without them one pass holds all",
                  (long long)cx->program->micro, sample);
    }
    cx->settled.n = 0;
}

Value value_node(Elab *cx, NodeId n) {
    return (Value){.kind = V_TENSOR, .home = cx->b->f, .node = n};
}

Value value_ranged(Value v, double lo, double hi) {
    v.has_range = lo >= -MAX_EXTENT - 1 && hi <= MAX_EXTENT && lo <= hi;
    if (v.has_range) v.lo = (int64_t)lo, v.hi = (int64_t)hi;
    return v;
}

bool value_range(const Value *v, double *lo, double *hi) {
    if (value_is_whole(v)) return *lo = *hi = v->num, true;
    if (v->kind != V_TENSOR || !v->has_range) return false;
    *lo = (double)v->lo, *hi = (double)v->hi;
    return true;
}

// A real keeps whole bounds that f32 holds exactly: rounding is monotone, so they stay bounds.
Value value_real_range(Value v) {
    v.has_range = v.has_range && v.lo >= -(1 << 24) && v.hi <= 1 << 24;
    return v;
}

Elem elem_of(const Elab *cx, const Value *v) {
    if (v->kind == V_BOOL) return ELEM_bool;
    if (v->kind == V_NUM) return v->is_int ? ELEM_i32 : ELEM_f32;
    return (Elem)type_of(cx->m, v->home, v->node)->elem;
}
static bool scalar_like(const Value *v) {
    return v->kind == V_TENSOR || v->kind == V_NUM || v->kind == V_BOOL;
}
bool is_real(const Elab *cx, const Value *v) {
    return scalar_like(v) && elem_of(cx, v) == ELEM_f32;
}
bool is_bool(const Elab *cx, const Value *v) {
    return scalar_like(v) && elem_of(cx, v) == ELEM_bool;
}
bool is_int(const Elab *cx, const Value *v) { return scalar_like(v) && elem_of(cx, v) == ELEM_i32; }

// The run's value of a live number (f32) or bool.
static NodeId live_node(Elab *cx, const Value *v, Loc at) {
    if (cx->b != &cx->step_b) {
        elab_error(cx, at, "an initial value may not depend on the number of samples in a step");
        return NONE;
    }
    return v->home ? v->node : ir_extent(cx->b, cx->sample);
}

static NodeId number_node(Elab *cx, const Value *v, Elem elem, Loc at) {
    if (v->live && (elem == ELEM_f32 || (elem == ELEM_i32 && v->is_int))) {
        NodeId n = live_node(cx, v, at);
        return n == NONE ? NONE : ir_cast(cx->b, n, elem);
    }
    if (elem == ELEM_f32) return ir_const(cx->b, ELEM_f32, v->num);
    if (elem == ELEM_i32 && value_is_whole(v) && fabs(v->num) <= MAX_EXTENT)
        return ir_const(cx->b, ELEM_i32, v->num);
    elab_error(cx, at, "expected %s, found the number %s",
               elem == ELEM_i32 ? "an int of 32 bits" : "a bool", number_text(cx, v->num));
    return NONE;
}

// A tensor of the step inside an initial value: only states are known there, by their first value.
static NodeId node_at_home(Elab *cx, const Value *v, Loc at) {
    if (v->home == cx->b->f) return v->node;
    const Node *n = node_at(v->home, v->node);
    if (n->op == OP_state) {
        StateId s = attr_at(cx->m, n->attr)->state.state;
        if (s < cx->states.n && cx->states.at[s].init != NONE) return cx->states.at[s].init;
    }
    elab_error(cx, at, "an initial value may not depend on data");
    return NONE;
}

static NodeId cast_to(Elab *cx, NodeId n, Elem from, Elem elem, Loc at) {
    if (from == elem) return n;
    if (from == ELEM_i32 && elem == ELEM_f32) return ir_cast(cx->b, n, ELEM_f32);
    if (from == ELEM_bool)
        elab_error(cx, at, "a bool is no number: use real(…) or where(…)");
    else
        elab_error(cx, at, "expected %s, found %s", elem == ELEM_bool ? "bool" : "int",
                   elem_info[from].name);
    return NONE;
}

NodeId node_of(Elab *cx, const Value *v, Elem elem, Loc at) {
    switch ((ValueKind)v->kind) {
    case V_ERROR: return NONE;
    case V_NUM: return number_node(cx, v, elem, at);
    case V_BOOL:
        if (elem == ELEM_bool)
            return v->live ? live_node(cx, v, at) : ir_const(cx->b, ELEM_bool, v->truth);
        elab_error(cx, at, "a bool is no number: use real(…) or where(…)");
        return NONE;
    case V_TENSOR: {
        NodeId n = node_at_home(cx, v, at);
        return n == NONE ? NONE : cast_to(cx, n, elem_of(cx, v), elem, at);
    }
    case V_TUPLE:
    case V_STRING:
    case V_FUNC:
        elab_error(cx, at, "expected a tensor or number, found %s", type_text(cx, v));
        return NONE;
    }
    unreachable(v->kind);
}

Value value_real(Elab *cx, Value v, Loc at) {
    if (v.kind == V_ERROR || v.kind == V_NUM) return v;
    NodeId n = node_of(cx, &v, ELEM_f32, at);
    return n == NONE ? value_error() : value_node(cx, n);
}

bool axes_fit(Elab *cx, Loc at, const AxisList *l) {
    double count = 1;
    for (uint32_t i = 0; i < l->n; i++) count *= (double)extent_of(cx, l->at[i]);
    if (count <= MAX_ELEMENTS) return true;
    elab_error(cx, at, "a value over %s would have %.3g elements; at most 2^40 are possible",
               axes_text(cx, l), count);
    return false;
}

static bool covers(const AxisList *all, const AxisList *part) {
    for (uint32_t i = 0; i < part->n; i++)
        if (!list_has(all, part->at[i])) return false;
    return true;
}

static void unaligned(Elab *cx, Loc at, const Value *vs, uint32_t n, const char *outer) {
    Text t = {.arena = cx->arena};
    for (uint32_t i = 0, shown = 0; i < n; i++)
        if (vs[i].kind == V_TENSOR)
            text_printf(&t, "%s%s", shown++ ? " and " : "", type_text(cx, &vs[i]));
    elab_error(cx, at, "no operand has all axes of the others: found %s%s", t.at,
               *outer ? arena_printf(cx->arena, "; the outer form is %s", outer) : "");
    for (uint32_t i = 1; i < n; i++) {
        AxisList a = axes_of(cx, &vs[i - 1]), b = axes_of(cx, &vs[i]);
        axes_alike(cx, &a, &b);
    }
}

bool axes_align(Elab *cx, Loc at, const Value *vs, uint32_t n, const char *outer) {
    AxisList all = {0};
    bool real = false, covered = false;
    for (uint32_t i = 0; i < n; i++) {
        AxisList l = axes_of(cx, &vs[i]);
        real |= vs[i].kind == V_TENSOR && is_real(cx, &vs[i]);
        for (uint32_t k = 0; k < l.n; k++)
            if (!list_has(&all, l.at[k]) && !list_add(&all, l.at[k])) {
                elab_error(cx, at, "the result would have more than %d axes", MAX_AXES);
                return false;
            }
    }
    for (uint32_t i = 0; i < n; i++) {
        AxisList l = axes_of(cx, &vs[i]);
        covered |= covers(&l, &all);
    }
    if (real && !covered && outer) {
        unaligned(cx, at, vs, n, outer);
        return false;
    }
    return axes_fit(cx, at, &all);
}

Value value_expand(Elab *cx, Value v, const AxisList *axes, Elem elem, Loc at) {
    NodeId n = node_of(cx, &v, elem, at);
    if (n == NONE || !axes_fit(cx, at, axes)) return value_error();
    AxisList have = axes_of(cx, &v);
    bool same = list_same(&have, axes);
    Value r = value_node(cx, same ? n : ir_expand(cx->b, n, type_make(cx, elem, axes)));
    double lo = 0, hi = 0;
    if (elem != ELEM_bool && value_range(&v, &lo, &hi)) r = value_ranged(r, lo, hi);
    if (elem == ELEM_f32) return value_real_range(r);
    if (same) r.affine = v.affine;
    return r;
}

Elem fill_elem(const Elab *cx, const Value *v) {
    return v->kind == V_NUM && !v->cast_int ? ELEM_f32 : elem_of(cx, v);
}

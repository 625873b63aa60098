// Views, gather and scatter of the interpreter: everything that moves values without computing.
//
// Each op is a walk over the result (or the operand) in row-major order, with the strides of the
// other side by axis name; a view only changes those strides. Linear in the elements.
#include "ir/interp_impl.h"
#include "ir/place.h"
#include <string.h>

int64_t type_stride(const Type *t, AxisId a) {
    int64_t strides[MAX_AXES];
    int at = type_find(t, a);
    if (at < 0) return 0;
    type_strides(t, strides);
    return strides[at];
}

Walk walk_new(const Type *t) {
    Walk w = {.n = t->n, .left = type_count(t)};
    for (uint32_t i = 0; i < t->n; i++) w.size[i] = t->axes[i].size;
    return w;
}

uint32_t walk_add(Walk *w, const Type *walked, const Type *t) {
    uint32_t k = w->tensors++;
    CHECK(k < WALK_TENSORS, "a walk over %u tensors", w->tensors);
    for (uint32_t i = 0; i < walked->n; i++) w->step[k][i] = type_stride(t, walked->axes[i].axis);
    return k;
}

static void read_walk(Walk *w, const Tensor *x, Tensor *out) {
    for (double *to = out->at; walk_more(w); walk_next(w)) *to++ = x->at[w->offset[0]];
}

static void write_walk(Walk *w, const Tensor *x, Tensor *out) {
    for (const double *from = x->at; walk_more(w); walk_next(w)) out->at[w->offset[0]] = *from++;
}

void interp_move(Evaluation *r, const Tensor *x, Tensor *out) {
    const Type *t = run_type(r, out);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, x));
    read_walk(&w, x, out);
}

// The walk over `walked` in which axis `a` moves the tensor by `step`.
static void set_step(Walk *w, const Type *walked, AxisId a, int64_t step) {
    int at = type_find(walked, a);
    if (at >= 0) w->step[0][at] = step;
}

bool interp_rename(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    const Tensor *x = run_operand(r, n, 0);
    const Type *t = run_type(r, out);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, x));
    set_step(&w, t, a->rename.to, type_stride(run_type(r, x), a->rename.from));
    read_walk(&w, x, out);
    return true;
}

// The axes of a list, outer first, are parts of one axis of the other side, whose stride is `step`.
static void set_parts(Walk *w, const Type *t, const AxisList *parts, int64_t step) {
    for (uint32_t i = parts->n; i-- > 0;) {
        set_step(w, t, parts->at[i], step);
        step *= t->axes[type_find(t, parts->at[i])].size;
    }
}

bool interp_split(Evaluation *r, NodeId n, Tensor *out) {
    const AxisList *to = &run_attr(r, n)->split.to;
    const Tensor *x = run_operand(r, n, 0);
    const Type *t = run_type(r, out);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, x));
    set_parts(&w, t, to, type_stride(run_type(r, x), run_attr(r, n)->split.from));
    read_walk(&w, x, out);
    return true;
}

// The merged axis takes the operand's axes apart: walked from the operand's side.
bool interp_merge(Evaluation *r, NodeId n, Tensor *out) {
    const AxisList *from = &run_attr(r, n)->merge.from;
    const Tensor *x = run_operand(r, n, 0);
    const Type *t = run_type(r, x);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, out));
    set_parts(&w, t, from, type_stride(run_type(r, out), run_attr(r, n)->merge.to));
    write_walk(&w, x, out);
    return true;
}

bool interp_slice(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    const Tensor *x = run_operand(r, n, 0);
    const Type *t = run_type(r, out);
    int64_t step = type_stride(run_type(r, x), a->slice.from);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, x));
    set_step(&w, t, a->slice.to, step);
    w.offset[0] = a->slice.start * step;
    read_walk(&w, x, out);
    return true;
}

// x into out at `start` along an axis that x calls `from` and out calls `to`.
static void place(Evaluation *r, const Tensor *x, Tensor *out, AxisId from, AxisId to,
                  int64_t start) {
    const Type *t = run_type(r, x);
    int64_t step = type_stride(run_type(r, out), to);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, out));
    set_step(&w, t, from, step);
    w.offset[0] = start * step;
    write_walk(&w, x, out);
}

bool interp_pad(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    const Type *t = run_type(r, out);
    int64_t count = type_count(t);
    double value = run_round(r, (Elem)t->elem, a->pad.value);
    for (int64_t i = 0; i < count; i++) out->at[i] = value;
    place(r, run_operand(r, n, 0), out, a->pad.from, a->pad.to, a->pad.start);
    return true;
}

bool interp_concat(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    int64_t start = 0;
    for (uint32_t i = 0; i < run_node(r, n)->n; i++) {
        const Tensor *x = run_operand(r, n, i);
        const Type *t = run_type(r, x);
        place(r, x, out, a->concat.from.at[i], a->concat.to, start);
        start += t->axes[type_find(t, a->concat.from.at[i])].size;
    }
    return true;
}

bool interp_expand(Evaluation *r, NodeId n, Tensor *out) {
    interp_move(r, run_operand(r, n, 0), out);
    return true;
}

// ---- index

// t without an axis: what an indexed tensor contributes by name.
static Type without(const Type *t, AxisId a, int64_t *stride, int64_t *size) {
    Type rest = *t;
    int at = type_find(t, a);
    *stride = type_stride(t, a);
    *size = t->axes[at].size;
    rest.axes[at].axis = 0; // no name, same strides
    return rest;
}

// Where the rank's part of an axis begins.
static double part_start(const Evaluation *r, const Type *t, AxisId a) {
    return (double)axis_offset(r->in->m, &t->axes[type_find(t, a)], r->at);
}

bool interp_gather(Evaluation *r, NodeId n, Tensor *out) {
    const Tensor *x = run_operand(r, n, 0), *index = run_operand(r, n, 1);
    const Type *t = run_type(r, out);
    int64_t stride, size;
    Type rest = without(run_type(r, x), run_attr(r, n)->gather.axis, &stride, &size);
    double start = part_start(r, run_type(r, x), run_attr(r, n)->gather.axis);
    Walk w = walk_new(t);
    walk_add(&w, t, &rest);
    walk_add(&w, t, run_type(r, index));
    for (double *to = out->at; walk_more(&w); walk_next(&w)) {
        double i = index->at[w.offset[1]] - start;
        *to++ = i >= 0 && i < (double)size ? x->at[w.offset[0] + (int64_t)i * stride] : 0;
    }
    return true;
}

static double sum(const Evaluation *r, Elem e, double a, double b) {
    if (!run_exact(r)) return scalar_eval_f64(OP_add, e, e, a, b, 0);
    uint32_t bits = scalar_eval(OP_add, e, e, scalar_to_bits(e, a), scalar_to_bits(e, b), 0);
    return scalar_from_bits(e, bits);
}

// The index's elements in row-major order; for each, the axes that only the accumulator has.
static Type scatter_order(const Type *index, const Type *rest) {
    Type t = *index;
    for (uint32_t i = 0; i < rest->n; i++)
        if (rest->axes[i].axis && type_find(index, rest->axes[i].axis) < 0)
            t.axes[t.n++] = rest->axes[i];
    return t;
}

bool interp_scatter_add(Evaluation *r, NodeId n, Tensor *out) {
    const Tensor *index = run_operand(r, n, 1), *x = run_operand(r, n, 2);
    const Type *t = run_type(r, out);
    int64_t stride, size;
    interp_move(r, run_operand(r, n, 0), out);
    Type rest = without(t, run_attr(r, n)->scatter_add.axis, &stride, &size);
    double start = part_start(r, t, run_attr(r, n)->scatter_add.axis);
    Type order = scatter_order(run_type(r, index), &rest);
    Walk w = walk_new(&order);
    walk_add(&w, &order, &rest);
    walk_add(&w, &order, run_type(r, index));
    walk_add(&w, &order, run_type(r, x));
    for (; walk_more(&w); walk_next(&w)) {
        double i = index->at[w.offset[1]] - start;
        if (!(i >= 0 && i < (double)size)) continue;
        double *to = &out->at[w.offset[0] + (int64_t)i * stride];
        *to = sum(r, (Elem)t->elem, *to, x->at[w.offset[2]]);
    }
    return true;
}

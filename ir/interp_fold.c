// Folds and contractions of the interpreter, in the order that docs/numerics.md promises.
//
// EXACT works on bits through the steps of ir/scalar.c; F64 walks the same order in double. A fold
// collects the folded elements of one result in a row first: slow, but each order is then a loop
// over an array that can be read beside the page that promises it.
#include "ir/interp_impl.h"
#include <math.h>
#include <string.h>

typedef struct {
    ReduceKind kind;
    Elem elem;
    bool exact;
} Folding;

static double identity(const Folding *f) {
    return scalar_from_bits(f->elem, scalar_eval_identity(f->kind, f->elem));
}

static double step(const Folding *f, double acc, double x) {
    if (!f->exact) return scalar_eval_fold_f64(f->kind, f->elem, acc, x);
    uint32_t bits = scalar_eval_fold(f->kind, f->elem, scalar_to_bits(f->elem, acc),
                                     scalar_to_bits(f->elem, x));
    return scalar_from_bits(f->elem, bits);
}

double interp_fold_step(const Evaluation *r, ReduceKind kind, Elem e, double acc, double x) {
    return step(&(Folding){kind, e, run_exact(r)}, acc, x);
}

// At most FOLD_SEGMENT elements: 128 accumulators and a halving tree.
static double fold_segment(const Folding *f, const double *x, int64_t n) {
    double acc[FOLD_LANES];
    for (int j = 0; j < FOLD_LANES; j++) acc[j] = identity(f);
    for (int64_t i = 0; i < n; i++) acc[i % FOLD_LANES] = step(f, acc[i % FOLD_LANES], x[i]);
    for (int half = FOLD_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++) acc[j] = step(f, acc[j], acc[j + half]);
    return acc[0];
}

static double fold_in_order(const Folding *f, const double *x, int64_t n) {
    double acc = identity(f);
    for (int64_t i = 0; i < n; i++) acc = step(f, acc, x[i]);
    return acc;
}

// Part p of the fold of n elements.
static double fold_part(const Folding *f, FoldBy by, const double *x, int64_t n, int64_t p) {
    int64_t size = by == FOLD_row ? FOLD_SEGMENT : by == FOLD_col ? fold_chunk(n) : n;
    int64_t from = p * size, count = n - from < size ? n - from : size;
    return by == FOLD_row ? fold_segment(f, x + from, count) : fold_in_order(f, x + from, count);
}

static double fold_all(const Folding *f, FoldBy by, const double *x, int64_t n) {
    if (by == FOLD_seq) return fold_in_order(f, x, n);
    double total = identity(f);
    int64_t parts = fold_parts(by, n);
    for (int64_t p = 0; p < parts; p++) total = step(f, total, fold_part(f, by, x, n, p));
    return total;
}

float exact_fold_row(ReduceKind kind, const float *x, int64_t n, int64_t stride) {
    Folding f = {kind, ELEM_f32, true};
    double total = identity(&f), segment[FOLD_SEGMENT];
    for (int64_t from = 0; from < n; from += FOLD_SEGMENT) {
        int64_t count = n - from < FOLD_SEGMENT ? n - from : FOLD_SEGMENT;
        for (int64_t i = 0; i < count; i++) segment[i] = (double)x[(from + i) * stride];
        total = step(&f, total, fold_segment(&f, segment, count));
    }
    return (float)total;
}

// Offsets of all elements along listed axes, last fastest, in t.
static int64_t *list_offsets(Evaluation *r, const Type *t, const AxisList *axes, int64_t *count) {
    Type listed = {.n = axes->n};
    for (uint32_t i = 0; i < axes->n; i++) listed.axes[i] = t->axes[type_find(t, axes->at[i])];
    Walk w = walk_new(&listed);
    walk_add(&w, &listed, t);
    *count = type_count(&listed);
    int64_t *offsets = NEW_ARRAY(r->arena, int64_t, *count);
    for (int64_t i = 0; i < *count; i++, walk_next(&w)) offsets[i] = w.offset[0];
    return offsets;
}

bool interp_reduce(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    const Tensor *x = run_operand(r, n, 0);
    const Type *t = run_type(r, out), *xt = run_type(r, x);
    Folding f = {(ReduceKind)a->reduce.kind, (Elem)t->elem, run_exact(r)};
    int64_t count;
    int64_t *offsets = list_offsets(r, xt, &a->reduce.axes, &count);
    double *row = NEW_ARRAY(r->arena, double, count), *to = out->at;
    int part = a->reduce.part ? type_find(t, a->reduce.part) : -1;
    bool backwards = r->in->backwards && !run_exact(r);
    Walk w = walk_new(t);
    walk_add(&w, t, xt);
    if (part >= 0) w.step[0][part] = 0; // the operand may have that axis, folded
    for (; walk_more(&w); walk_next(&w)) {
        for (int64_t i = 0; i < count; i++)
            row[backwards ? count - 1 - i : i] = x->at[w.offset[0] + offsets[i]];
        FoldBy by = (FoldBy)a->reduce.by;
        *to++ =
            part >= 0 ? fold_part(&f, by, row, count, w.at[part]) : fold_all(&f, by, row, count);
    }
    return true;
}

// ---- contraction

typedef struct {
    const double *a, *b;
    const int64_t *at_a, *at_b; // offset of every k
    int64_t k;
    bool pairs; // both are bf16
    bool tf32;
} Dot;

static float factor(const Dot *d, double x) { return d->tf32 ? scalar_tf32((float)x) : (float)x; }

static float chain(const Dot *d, int64_t from, int64_t to) {
    float acc = 0;
    for (int64_t k = from; k < to; k++)
        acc = fmaf(factor(d, d->a[d->at_a[k]]), factor(d, d->b[d->at_b[k]]), acc);
    return acc;
}

// Of two bf16 operands: pairs of k, the odd element first; the last may lack it.
static float chain_pairs(const Dot *d, int64_t from, int64_t to) {
    float acc = 0;
    for (int64_t k = from; k < to; k += 2) {
        bool whole = k + 1 < to;
        float a1 = whole ? (float)d->a[d->at_a[k + 1]] : 0;
        float b1 = whole ? (float)d->b[d->at_b[k + 1]] : 0;
        acc = scalar_fma_flushed(a1, b1, acc);
        acc = scalar_fma_flushed((float)d->a[d->at_a[k]], (float)d->b[d->at_b[k]], acc);
    }
    return acc;
}

static double dot_exact(const Dot *d) {
    float total = 0;
    for (int64_t from = 0; from < d->k; from += FOLD_SEGMENT) {
        int64_t to = d->k - from < FOLD_SEGMENT ? d->k : from + FOLD_SEGMENT;
        float acc = d->pairs ? chain_pairs(d, from, to) : chain(d, from, to);
        total = d->k <= FOLD_SEGMENT ? acc : total + acc;
    }
    return (double)total;
}

static double dot_f64(const Dot *d, bool backwards) {
    double acc = 0;
    for (int64_t i = 0; i < d->k; i++) {
        int64_t k = backwards ? d->k - 1 - i : i;
        acc += d->a[d->at_a[k]] * d->b[d->at_b[k]];
    }
    return acc;
}

bool interp_contract(Evaluation *r, NodeId n, Tensor *out) {
    const AxisList *axes = &run_attr(r, n)->contract.axes;
    const Tensor *x = run_operand(r, n, 0), *y = run_operand(r, n, 1);
    const Tensor *acc = run_node(r, n)->n > 2 ? run_operand(r, n, 2) : NULL;
    const Type *t = run_type(r, out);
    Dot d = {.pairs = run_type(r, x)->elem == ELEM_bf16 && run_type(r, y)->elem == ELEM_bf16,
             .tf32 = run_attr(r, n)->contract.tf32 != TF32_NEVER};
    d.at_a = list_offsets(r, run_type(r, x), axes, &d.k);
    d.at_b = list_offsets(r, run_type(r, y), axes, &d.k);
    Walk w = walk_new(t);
    walk_add(&w, t, run_type(r, x));
    walk_add(&w, t, run_type(r, y));
    walk_add(&w, t, run_type(r, acc ? acc : x));
    double *to = out->at;
    for (; walk_more(&w); walk_next(&w)) {
        d.a = x->at + w.offset[0];
        d.b = y->at + w.offset[1];
        double v = run_exact(r) ? dot_exact(&d) : dot_f64(&d, r->in->backwards);
        if (acc) v = run_round(r, ELEM_f32, acc->at[w.offset[2]] + v);
        *to++ = v;
    }
    return true;
}

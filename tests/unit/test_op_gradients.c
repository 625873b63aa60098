// The gradient rule of every op against finite differences.
//
// Each row of the table makes a function of one op on states; the loss is the sum of its result times
// fixed weights. autodiff's derivatives, as the interpreter computes them in double, must agree with
// differences of that loss within 1e-6 of their norm: once from autodiff alone, once between all
// passes up to tidy. An op of the tables must have a row: one that checks it, or one that says why it
// has no derivative.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/autodiff.h"
#include "passes/pipeline.h"
#include "tests/oracle/differences.h"
#include <math.h>

// ---- a function under construction

typedef struct GradientRow GradientRow;
typedef struct {
    Arena *a;
    Module *m;
    Func *f;
    Builder b;
    double *first[8]; // values of the states
    const GradientRow *row;
} GradientCase;
typedef NodeId Build(GradientCase *c);
struct GradientRow {
    Op op;
    Build *build;
    const char *reason;      // instead: why no derivative passes
    double lo, hi, lo2, hi2; // ranges of the first and the second state
};

static AxisId axis(GradientCase *c, char name) {
    static const int64_t sizes[] = {3, 4, 5, 2, 6, 12, 7}; // i j k l m n o
    char text[2] = {name, 0};
    AxisId a = axis_find(c->m, sym(c->m->syms, text));
    return a ? a : axis_new(c->m, text, sizes[name - 'i']);
}

static TypeId type(GradientCase *c, Elem elem, const char *axes) {
    Type t = {.elem = elem};
    for (; *axes; axes++) {
        AxisId a = axis(c, *axes);
        t.axes[t.n++] = (TypeAxis){.axis = a, .size = c->m->axes.at[a].size};
    }
    return type_intern(c->m, &t);
}

static AxisList list(GradientCase *c, const char *axes) {
    AxisList l = {0};
    for (; *axes; axes++) l.at[l.n++] = axis(c, *axes);
    return l;
}

// A new state with values spread over [lo, hi], none close to another (the golden ratio's multiples).
static NodeId param(GradientCase *c, const char *axes, double lo, double hi) {
    char path[8];
    snprintf(path, sizeof path, "p%u", c->m->states.n);
    TypeId t = type(c, ELEM_f32, axes);
    StateId s = state_new(c->m, path, t, STATE_param, (Loc){0});
    int64_t n = type_count(type_at(c->m, t));
    double *v = c->first[s] = NEW_ARRAY(c->a, double, n);
    for (int64_t i = 0; i < n; i++)
        v[i] = lo + (hi - lo) * fmod(0.6180339887498949 * (double)(i + 1) + 0.29 * s, 1);
    return ir_state(&c->b, s);
}

// The values of the last state, moved to multiples of `grid` plus `phase`: away from kinks.
static void on_grid(GradientCase *c, double grid, double phase) {
    StateId s = c->m->states.n - 1;
    int64_t n = type_count(type_at(c->m, c->m->states.at[s].type));
    for (int64_t i = 0; i < n; i++) c->first[s][i] = rint(c->first[s][i] / grid) * grid + phase;
}

static NodeId x_of(GradientCase *c, const char *axes) {
    return param(c, axes, c->row->lo, c->row->hi);
}
static NodeId y_of(GradientCase *c, const char *axes) {
    return param(c, axes, c->row->lo2, c->row->hi2);
}
static NodeId binary(GradientCase *c, NodeId x, NodeId y) {
    return ir_binary(&c->b, c->row->op, x, y);
}

// ---- scalars

static NodeId unary(GradientCase *c) { return ir_unary(&c->b, c->row->op, x_of(c, "ij")); }
static NodeId unary_point(GradientCase *c) { return ir_unary(&c->b, c->row->op, x_of(c, "")); }
static NodeId same_axes(GradientCase *c) {
    NodeId x = x_of(c, "ij");
    return binary(c, x, y_of(c, "ij"));
}
static NodeId repeated(GradientCase *c) { // one operand has fewer axes
    NodeId x = x_of(c, "ijk");
    return binary(c, x, y_of(c, "j"));
}
static NodeId repeated_left(GradientCase *c) {
    NodeId x = x_of(c, "k");
    return binary(c, x, y_of(c, "jk"));
}
static NodeId crossed(GradientCase *c) { // each has an axis that the other lacks
    NodeId x = x_of(c, "ij");
    return binary(c, x, y_of(c, "kj"));
}
static NodeId with_point(GradientCase *c) {
    NodeId x = x_of(c, "ij");
    return binary(c, x, y_of(c, ""));
}
static NodeId turned(GradientCase *c) { // the same axes in another order
    NodeId x = x_of(c, "ij");
    return binary(c, x, y_of(c, "ji"));
}
static NodeId itself(GradientCase *c) {
    NodeId x = x_of(c, "ij");
    return binary(c, x, x);
}
static NodeId apart(GradientCase *c) { // max, min: operands on grids that never meet
    NodeId x = x_of(c, "ij");
    on_grid(c, 0.1, 0);
    NodeId y = y_of(c, "j");
    on_grid(c, 0.1, 0.05);
    return binary(c, x, y);
}
static NodeId
remainder_of(GradientCase *c) { // quotients 1.25, 1.75 … 3.25: away from whole numbers
    NodeId x = x_of(c, "ij"), y = y_of(c, "j");
    for (int i = 0; i < 12; i++) c->first[0][i] = c->first[1][i % 4] * (1.25 + i % 5 * 0.5);
    return binary(c, x, y);
}
static NodeId power_negative(GradientCase *c) { // a negative base, a whole exponent
    return binary(c, x_of(c, "ij"), ir_const(&c->b, ELEM_f32, 3));
}
static NodeId chosen(GradientCase *c) {
    NodeId cond = ir_input(&c->b, "cond", type(c, ELEM_bool, "ij"), 0), x = x_of(c, "ij");
    return ir_select(&c->b, cond, x, y_of(c, "ij"));
}
static NodeId chosen_repeated(GradientCase *c) {
    NodeId cond = ir_input(&c->b, "cond", type(c, ELEM_bool, "ij"), 0), x = x_of(c, "j");
    return ir_select(&c->b, cond, x, y_of(c, ""));
}
static NodeId fma_same(GradientCase *c) {
    NodeId x = x_of(c, "ij"), y = y_of(c, "ij");
    return ir_fma(&c->b, x, y, x_of(c, "ij"));
}
static NodeId fma_square(GradientCase *c) {
    NodeId x = x_of(c, "ij");
    return ir_fma(&c->b, x, x, y_of(c, "j"));
}
static NodeId fma_repeated(GradientCase *c) {
    NodeId x = x_of(c, "ij"), y = y_of(c, "j");
    return ir_fma(&c->b, x, y, x_of(c, "i"));
}
// Between reals a cast has slope 1, as it keeps the number in double. What is narrow is summed in f32.
static NodeId cast_real(GradientCase *c) {
    NodeId x = ir_cast(&c->b, x_of(c, "ij"), ELEM_bf16);
    NodeId y = ir_cast(&c->b, ir_cast(&c->b, x, ELEM_f16), ELEM_f32);
    return ir_binary(&c->b, OP_mul, y, ir_cast(&c->b, x, ELEM_f32));
}

// ---- views

static NodeId renamed(GradientCase *c) {
    return ir_rename(&c->b, x_of(c, "ij"), axis(c, 'j'), axis(c, 'k'));
}
static NodeId renamed_square(GradientCase *c) { // x[i] against itself along another axis
    NodeId x = x_of(c, "i");
    AxisId row = axis(c, 'i'), col = axis_new(c->m, "col", 3);
    return ir_binary(&c->b, OP_mul, x, ir_rename(&c->b, x, row, col));
}
static NodeId split_axis(GradientCase *c) {
    AxisList to = list(c, "lm");
    int64_t sizes[] = {2, 6};
    return ir_split(&c->b, x_of(c, "in"), axis(c, 'n'), &to, sizes);
}
static NodeId merged(GradientCase *c) {
    AxisList from = list(c, "lm");
    return ir_merge(&c->b, x_of(c, "ilm"), &from, axis(c, 'n'));
}
static NodeId merged_apart(GradientCase *c) { // a copy stands before it
    AxisList from = list(c, "lm");
    return ir_merge(&c->b, x_of(c, "mil"), &from, axis(c, 'n'));
}
static NodeId sliced(GradientCase *c) {
    return ir_slice(&c->b, x_of(c, "ki"), axis(c, 'k'), axis_new(c->m, "part", 2), 2, 2);
}
static NodeId sliced_twice(GradientCase *c) { // overlapping parts of one value
    NodeId x = x_of(c, "k");
    AxisId part = axis_new(c->m, "part", 3);
    NodeId y = ir_slice(&c->b, x, axis(c, 'k'), part, 0, 3);
    return ir_binary(&c->b, OP_mul, y, ir_slice(&c->b, x, axis(c, 'k'), part, 2, 3));
}
static NodeId padded(GradientCase *c) {
    return ir_pad(&c->b, x_of(c, "ij"), axis(c, 'j'), axis_new(c->m, "wide", 9), 3, 9, 1.5);
}
static NodeId joined(GradientCase *c) {
    NodeId x = x_of(c, "ij"), xs[3] = {x, y_of(c, "ik"), x};
    AxisList parts = {.n = 3, .at = {axis(c, 'j'), axis(c, 'k'), axis(c, 'j')}};
    return ir_concat(&c->b, xs, &parts, axis_new(c->m, "all", 13));
}
static NodeId expanded(GradientCase *c) {
    return ir_expand(&c->b, x_of(c, "j"), type(c, ELEM_f32, "kji"));
}
static NodeId copied(GradientCase *c) {
    return ir_copy(&c->b, x_of(c, "ijk"), type(c, ELEM_f32, "kij"));
}

// ---- folds

static NodeId fold(GradientCase *c, ReduceKind kind, const char *axes) {
    AxisList l = list(c, axes);
    return ir_reduce(&c->b, kind, x_of(c, "ijk"), &l);
}
static NodeId sum_rows(GradientCase *c) { return fold(c, REDUCE_sum, "k"); }
static NodeId sum_columns(GradientCase *c) { return fold(c, REDUCE_sum, "i"); }
static NodeId sum_both(GradientCase *c) { return fold(c, REDUCE_sum, "ik"); }
static NodeId product_rows(GradientCase *c) { return fold(c, REDUCE_prod, "jk"); }
static NodeId product_columns(GradientCase *c) { return fold(c, REDUCE_prod, "ij"); }
static NodeId product_zeros(GradientCase *c) { // rows with no, one and two zeros
    AxisList l = list(c, "j");
    NodeId x = x_of(c, "ij");
    c->first[0][1] = c->first[0][4] = c->first[0][7] = 0;
    return ir_reduce(&c->b, REDUCE_prod, x, &l);
}
static NodeId max_rows(GradientCase *c) { return fold(c, REDUCE_max, "jk"); }
static NodeId max_columns(GradientCase *c) { return fold(c, REDUCE_max, "ij"); }
static NodeId min_rows(GradientCase *c) { return fold(c, REDUCE_min, "k"); }
static NodeId min_columns(GradientCase *c) { return fold(c, REDUCE_min, "i"); }

// ---- contractions

static NodeId contraction(GradientCase *c, const char *x, const char *y, const char *axes) {
    AxisList l = list(c, axes);
    NodeId a = x_of(c, x);
    return ir_contract(&c->b, a, y_of(c, y), &l, NONE);
}
static NodeId matrices(GradientCase *c) { return contraction(c, "ik", "kj", "k"); }
static NodeId matrices_turned(GradientCase *c) { return contraction(c, "ki", "jk", "k"); }
static NodeId batches(GradientCase *c) { return contraction(c, "lik", "ljk", "k"); }
static NodeId two_summed(GradientCase *c) { return contraction(c, "ijk", "kjl", "jk"); }
static NodeId shared_kept(GradientCase *c) { return contraction(c, "ijl", "lij", "j"); }
static NodeId vector_dot(GradientCase *c) { return contraction(c, "k", "k", "k"); }
static NodeId outer(GradientCase *c) { return contraction(c, "ij", "k", ""); }
static NodeId by_vector(GradientCase *c) { return contraction(c, "ik", "k", "k"); }
static NodeId gram(GradientCase *c) { // x times itself
    AxisList l = list(c, "k");
    NodeId x = x_of(c, "ik");
    NodeId y = ir_rename(&c->b, x, axis(c, 'i'), axis_new(c->m, "col", 3));
    return ir_contract(&c->b, x, y, &l, NONE);
}
static NodeId square_contracted(GradientCase *c) {
    AxisList l = list(c, "k");
    NodeId x = x_of(c, "ik");
    return ir_contract(&c->b, x, x, &l, NONE);
}
static NodeId with_accumulator(GradientCase *c) {
    AxisList l = list(c, "k");
    NodeId x = x_of(c, "ik"), y = y_of(c, "kj");
    return ir_contract(&c->b, x, y, &l, x_of(c, "ij"));
}
static NodeId
tied(GradientCase *c) { // two contractions and a gather from one weight: their sums are chained
    AxisList l = list(c, "k"), j = list(c, "j");
    NodeId w = x_of(c, "jk"), x = y_of(c, "ik");
    NodeId y = ir_contract(&c->b, x, w, &l, NONE);
    NodeId z = ir_contract(&c->b, y, w, &j, NONE);
    NodeId index = ir_input(&c->b, "index", type(c, ELEM_i32, "i"), axis(c, 'j'));
    return ir_binary(&c->b, OP_add, z, ir_gather(&c->b, w, index, axis(c, 'j')));
}

// ---- index

static NodeId index_of(GradientCase *c, const char *axes, char of) {
    return ir_input(&c->b, "index", type(c, ELEM_i32, axes), axis(c, of));
}
static NodeId gathered(GradientCase *c) {
    return ir_gather(&c->b, x_of(c, "kj"), index_of(c, "ol", 'k'), axis(c, 'k'));
}
static NodeId gathered_aligned(GradientCase *c) {
    return ir_gather(&c->b, x_of(c, "ik"), index_of(c, "i", 'k'), axis(c, 'k'));
}
static NodeId gathered_mixed(GradientCase *c) { // the index shares i with x and brings o
    return ir_gather(&c->b, x_of(c, "ikj"), index_of(c, "io", 'k'), axis(c, 'k'));
}
static NodeId scattered(GradientCase *c) {
    NodeId acc = x_of(c, "kj"), index = index_of(c, "o", 'k');
    return ir_scatter_add(&c->b, acc, index, y_of(c, "oj"), axis(c, 'k'));
}
static NodeId scattered_chain(GradientCase *c) {
    NodeId acc = x_of(c, "kj"), index = index_of(c, "o", 'k'), x = y_of(c, "oj");
    acc = ir_scatter_add(&c->b, acc, index, x, axis(c, 'k'));
    NodeId other = ir_input(&c->b, "other index", type(c, ELEM_i32, "o"), axis(c, 'k'));
    return ir_scatter_add(&c->b, acc, other, ir_binary(&c->b, OP_mul, x, x), axis(c, 'k'));
}

#define NO(op, reason)                                                                             \
    { OP_##op, NULL, reason, 0, 0, 0, 0 }
#define ROW(op, build, ...)                                                                        \
    { OP_##op, build, NULL, __VA_ARGS__ }
static const GradientRow rows[] = {
    ROW(neg, unary, -1, 1, 0, 0),
    ROW(neg, unary_point, -1, 1, 0, 0),
    ROW(abs, unary, -2, -0.1, 0, 0),
    ROW(abs, unary, 0.1, 2, 0, 0),
    ROW(sqrt, unary, 0.3, 4, 0, 0),
    ROW(rsqrt, unary, 0.3, 4, 0, 0),
    ROW(exp, unary, -2, 2, 0, 0),
    ROW(log, unary, 0.3, 4, 0, 0),
    ROW(expm1, unary, -2, 2, 0, 0),
    ROW(log1p, unary, -0.7, 3, 0, 0),
    ROW(sin, unary, -4, 4, 0, 0),
    ROW(cos, unary, -4, 4, 0, 0),
    ROW(tanh, unary, -2, 2, 0, 0),
    ROW(erf, unary, -2, 2, 0, 0),
    ROW(add, same_axes, -1, 1, -1, 1),
    ROW(add, repeated, -1, 1, -1, 1),
    ROW(add, repeated_left, -1, 1, -1, 1),
    ROW(add, crossed, -1, 1, -1, 1),
    ROW(add, with_point, -1, 1, -1, 1),
    ROW(add, turned, -1, 1, -1, 1),
    ROW(add, itself, -1, 1, 0, 0),
    ROW(sub, same_axes, -1, 1, -1, 1),
    ROW(sub, repeated, -1, 1, -1, 1),
    ROW(sub, repeated_left, -1, 1, -1, 1),
    ROW(sub, crossed, -1, 1, -1, 1),
    ROW(sub, itself, -1, 1, 0, 0),
    ROW(mul, same_axes, -1, 1, -1, 1),
    ROW(mul, repeated, -1, 1, -1, 1),
    ROW(mul, repeated_left, -1, 1, -1, 1),
    ROW(mul, crossed, -1, 1, -1, 1),
    ROW(mul, with_point, -1, 1, -1, 1),
    ROW(mul, turned, -1, 1, -1, 1),
    ROW(mul, itself, -1, 1, 0, 0),
    ROW(div, same_axes, -1, 1, 0.5, 2),
    ROW(div, repeated, -1, 1, -2, -0.5),
    ROW(div, repeated_left, -1, 1, 0.5, 2),
    ROW(div, crossed, -1, 1, 0.5, 2),
    ROW(div, itself, 0.5, 2, 0, 0),
    ROW(rem, remainder_of, 0, 1, 0.9, 1.3),
    ROW(rem, remainder_of, 0, 1, -1.3, -0.9),
    ROW(pow, same_axes, 0.3, 3, -2, 2),
    ROW(pow, repeated, 0.3, 3, -2, 2),
    ROW(pow, repeated_left, 0.3, 3, 0.5, 2),
    ROW(pow, itself, 0.3, 2, 0, 0),
    ROW(pow, power_negative, -2, -0.3, 0, 0),
    ROW(min, apart, -1, 1, -1, 1),
    ROW(min, itself, -1, 1, 0, 0), // a tie: half and half
    ROW(max, apart, -1, 1, -1, 1),
    ROW(max, itself, -1, 1, 0, 0),
    ROW(select, chosen, -1, 1, -1, 1),
    ROW(select, chosen_repeated, -1, 1, -1, 1),
    ROW(fma, fma_same, -1, 1, -1, 1),
    ROW(fma, fma_square, -1, 1, -1, 1),
    ROW(fma, fma_repeated, -1, 1, -1, 1),
    ROW(cast, cast_real, -1, 1, 0, 0),
    ROW(rename, renamed, -1, 1, 0, 0),
    ROW(rename, renamed_square, -1, 1, 0, 0),
    ROW(split, split_axis, -1, 1, 0, 0),
    ROW(merge, merged, -1, 1, 0, 0),
    ROW(merge, merged_apart, -1, 1, 0, 0),
    ROW(slice, sliced, -1, 1, 0, 0),
    ROW(slice, sliced_twice, -1, 1, 0, 0),
    ROW(pad, padded, -1, 1, 0, 0),
    ROW(concat, joined, -1, 1, -1, 1),
    ROW(expand, expanded, -1, 1, 0, 0),
    ROW(copy, copied, -1, 1, 0, 0),
    ROW(reduce, sum_rows, -1, 1, 0, 0),
    ROW(reduce, sum_columns, -1, 1, 0, 0),
    ROW(reduce, sum_both, -1, 1, 0, 0),
    ROW(reduce, product_rows, 0.5, 1.5, 0, 0),
    ROW(reduce, product_columns, -1.5, -0.5, 0, 0),
    ROW(reduce, product_zeros, 0.5, 1.5, 0, 0),
    ROW(reduce, max_rows, -1, 1, 0, 0),
    ROW(reduce, max_columns, -1, 1, 0, 0),
    ROW(reduce, min_rows, -1, 1, 0, 0),
    ROW(reduce, min_columns, -1, 1, 0, 0),
    ROW(contract, matrices, -1, 1, -1, 1),
    ROW(contract, matrices_turned, -1, 1, -1, 1),
    ROW(contract, batches, -1, 1, -1, 1),
    ROW(contract, two_summed, -1, 1, -1, 1),
    ROW(contract, shared_kept, -1, 1, -1, 1),
    ROW(contract, vector_dot, -1, 1, -1, 1),
    ROW(contract, outer, -1, 1, -1, 1),
    ROW(contract, by_vector, -1, 1, -1, 1),
    ROW(contract, gram, -1, 1, 0, 0),
    ROW(contract, square_contracted, -1, 1, 0, 0),
    ROW(contract, with_accumulator, -1, 1, -1, 1),
    ROW(contract, tied, -1, 1, -1, 1),
    ROW(gather, gathered, -1, 1, 0, 0),
    ROW(gather, gathered_aligned, -1, 1, 0, 0),
    ROW(gather, gathered_mixed, -1, 1, 0, 0),
    ROW(scatter_add, scattered, -1, 1, -1, 1),
    ROW(scatter_add, scattered_chain, -1, 1, -1, 1),
    NO(floor, "constant between its steps"),
    NO(rint, "constant between its steps"),
    NO(isfinite, "its result is no real number"),
    NO(not, "its result is no real number"),
    NO(and, "its result is no real number"),
    NO(or, "its result is no real number"),
    NO(xor, "its result is no real number"),
    NO(shl, "its result is no real number"),
    NO(shr, "its result is no real number"),
    NO(eq, "its result is no real number"),
    NO(ne, "its result is no real number"),
    NO(lt, "its result is no real number"),
    NO(le, "its result is no real number"),
    NO(bitcast, "bits are no numbers"),
    NO(input, "a leaf: data"),
    NO(state, "a leaf: what others are differentiated by"),
    NO(const, "a leaf"),
    NO(iota, "a leaf"),
    NO(extent, "a leaf"),
    NO(random, "a leaf"),
    NO(arg, "in regions only, which fuse makes, after autodiff"),
    NO(grad, "autodiff replaces it; a derivative of one is not taken"),
    NO(stop_gradient, "that is its meaning"),
    NO(assign, "nothing reads it"),
    NO(group, "fuse makes it, after autodiff"),
    NO(part, "fuse makes it, after autodiff"),
    NO(offload, "offload makes it, after autodiff"),
    NO(landed, "offload makes it, after autodiff"),
    NO(fetch, "offload makes it, after autodiff"),
    NO(ready, "offload makes it, after autodiff"),
    NO(all_reduce, "shard makes it, after autodiff"),
    NO(reduce_scatter, "shard makes it, after autodiff"),
    NO(all_gather, "shard makes it, after autodiff"),
    NO(all_to_all, "shard makes it, after autodiff"),
    NO(cut, "shard makes it, after autodiff"),
    NO(first, "shard makes it, after autodiff"),
};
enum { ROWS = sizeof rows / sizeof *rows };

// ---- running a case

static uint64_t mix(const char *name, int64_t i) {
    uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)i);
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
    return h ^ (h >> 31);
}

// An index is now and then outside, below or above.
static bool give_input(void *user, const char *name, TypeId t, double *out) {
    const GradientCase *c = user;
    const Type *type = type_at(c->m, t);
    for (int64_t i = 0; i < type_count(type); i++) {
        uint64_t h = mix(name, i);
        if (type->elem == ELEM_bool) out[i] = strcmp(name, "never") == 0 ? 0 : (double)(h & 1);
        if (type->elem == ELEM_i32) out[i] = (double)(h % 7) - 1; // of an axis of 4 or 5
        if (type->elem == ELEM_f32)
            out[i] = strcmp(name, "nothing") == 0 ? 0 : 0.25 + (double)(h % 1000) / 1000;
    }
    return true;
}

static GradientCase new_case(const GradientRow *row) {
    GradientCase c = {.a = arena_new(), .row = row};
    c.m = module_new(c.a, symtab_new(c.a), diag_new(c.a));
    c.f = func_new(c.m, "step", NULL);
    c.b = (Builder){.m = c.m, .f = c.f};
    return c;
}

// The sum of y times weights, its derivatives as results, and the function 'loss' for differences.
static void finish_case(GradientCase *c, NodeId y) {
    const Type *t = type_of(c->m, c->f, y);
    NodeId w = ir_input(&c->b, "weights", node_at(c->f, y)->type, 0);
    AxisList all = {.n = t->n};
    for (uint32_t i = 0; i < t->n; i++) all.at[i] = t->axes[i].axis;
    NodeId loss = ir_binary(&c->b, OP_mul, y, w);
    if (all.n) loss = ir_reduce(&c->b, REDUCE_sum, loss, &all);
    func_result(c->m, c->f, "loss", loss, RESULT_loss);
    loss_function(c->m, c->f, "loss");
    for (StateId s = 0; s < c->m->states.n; s++)
        func_result(c->m, c->f, sym_str(c->m->syms, c->m->states.at[s].path),
                    ir_grad(&c->b, loss, s), RESULT_value);
}

static const char *text_of(const GradientCase *c) {
    Text t = {.arena = c->a};
    ir_print_module(&t, c->m);
    return t.at;
}

static void run_passes(GradientCase *c, const char *first, const char *last) {
    PassCx cx = {.m = c->m,
                 .scratch = arena_new(),
                 .ledger = ledger_new(c->a),
                 .target = target_find("cpu")};
    PassHooks hooks = {.verify = true};
    Text why = {.arena = c->a};
    if (ir_verify(c->m, &why)) fail_msg("%s: %s", op_info[c->row->op].name, why.at);
    assert_true(pipeline_run(&cx, first, last, &hooks));
    arena_free(cx.scratch);
}

static void start_interp(GradientCase *c, Interp *in) {
    interp_init(in, c->m, INTERP_F64, c->a);
    in->input = give_input;
    in->user = c;
    for (StateId s = 0; s < c->m->states.n; s++)
        memcpy(in->states[s].at, c->first[s],
               sizeof(double) * (size_t)type_count(type_at(c->m, in->states[s].type)));
}

static void check_state(GradientCase *c, Interp *in, StateId s, const double *got) {
    Text why = {.arena = c->a};
    int64_t n = type_count(type_at(c->m, in->states[s].type));
    double *want = NEW_ARRAY(c->a, double, n);
    if (!differences(in, module_find(c->m, "loss"), s, 1e-3, 0, 1, want, &why))
        fail_msg("%s: %s", op_info[c->row->op].name, why.at);
    double off = distance_of(got, want, n, 0, 1), norm = norm_of(want, n, 0, 1);
    // a derivative that is exactly zero is compared with what rounding leaves of a difference
    if (!(off <= 1e-6 * norm + 1e-11))
        fail_msg("row %d, %s: derivative by p%u is off by %.3g of %.3g; element 0 is %.9g, "
                 "differences say %.9g\n%s",
                 (int)(c->row - rows), op_info[c->row->op].name, s, off, norm, got[0], want[0],
                 text_of(c));
}

static void check_row(const GradientRow *row, const char *first, const char *last) {
    GradientCase c = new_case(row);
    NodeId y = row->build(&c);
    finish_case(&c, y);
    run_passes(&c, first, last);
    Interp in;
    Text why = {.arena = c.a};
    Tensor results[9];
    start_interp(&c, &in);
    if (!interp_run(&in, module_find(c.m, "step"), results, NULL, &why))
        fail_msg("%s: %s\n%s", op_info[row->op].name, why.at, text_of(&c));
    for (StateId s = 0; s < c.m->states.n; s++) check_state(&c, &in, s, results[1 + s].at);
    arena_free(c.a);
}

// ---- tests

static void test_every_op_has_a_row(void **state) {
    (void)state;
    for (Op op = 0; op < OP_COUNT; op++) {
        int checked = 0, excused = 0;
        for (int i = 0; i < ROWS; i++) {
            if (rows[i].op != op) continue;
            checked += rows[i].build != NULL;
            excused += rows[i].reason != NULL;
        }
        if (checked + excused == 0) fail_msg("no row for '%s'", op_info[op].name);
        if ((checked > 0) != (gradient_table[op] != NULL))
            fail_msg("'%s': the rows and the rule disagree on whether it has a derivative",
                     op_info[op].name);
        if (checked && excused) fail_msg("'%s' is checked and excused", op_info[op].name);
    }
}

// Between all the passes: the op as written must survive simplify or mean the same.
static void test_rules_match_differences(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!rows[i].build) continue;
        check_row(&rows[i], "autodiff", "autodiff");
        check_row(&rows[i], NULL, "tidy");
    }
}

// Steps, comparisons and integers pass nothing: the loss has derivative zero through them, and what
// stands beside them keeps its own.
static NodeId through_steps(GradientCase *c) {
    NodeId x = x_of(c, "ij"), y = y_of(c, "ij");
    on_grid(c, 0.1, 0.025);
    NodeId step =
        ir_binary(&c->b, OP_add, ir_unary(&c->b, OP_floor, x), ir_unary(&c->b, OP_rint, y));
    NodeId whole =
        ir_cast(&c->b, ir_cast(&c->b, ir_binary(&c->b, OP_mul, x, step), ELEM_i32), ELEM_f32);
    NodeId below = ir_cast(&c->b, ir_binary(&c->b, OP_lt, x, y), ELEM_f32);
    NodeId sum = ir_binary(&c->b, OP_add, ir_binary(&c->b, OP_mul, whole, y), below);
    return ir_binary(&c->b, OP_add, sum, ir_binary(&c->b, OP_mul, step, x));
}

static void test_steps_pass_nothing(void **state) {
    (void)state;
    static const GradientRow row = {OP_floor, through_steps, NULL, 1.1, 1.4, 2.1, 2.4};
    check_row(&row, "autodiff", "autodiff");
    check_row(&row, NULL, "tidy");
}

// d(x * stop(x)) is stop(x), not 2x.
static void test_stop_gradient(void **state) {
    (void)state;
    static const GradientRow row = {OP_stop_gradient, NULL, NULL, -1, 1, 0, 0};
    GradientCase c = new_case(&row);
    NodeId x = x_of(&c, "ij");
    finish_case(&c, ir_binary(&c.b, OP_mul, x, ir_stop(&c.b, x)));
    run_passes(&c, NULL, "tidy");
    Interp in;
    Text why = {.arena = c.a};
    Tensor results[2];
    double w[12];
    start_interp(&c, &in);
    assert_true(interp_run(&in, module_find(c.m, "step"), results, NULL, &why));
    give_input(&c, "weights", results[1].type, w);
    for (int i = 0; i < 12; i++) assert_true(fabs(results[1].at[i] - w[i] * c.first[0][i]) < 1e-12);
    arena_free(c.a);
}

// ---- where the derivative of the result is exactly 0

static const double nasty[] = {0,   -0.0, 1,    -1,    0.5,      3,         -3,
                               100, -100, 1e30, -1e30, INFINITY, -INFINITY, NAN};
enum { NASTY = sizeof nasty / sizeof *nasty };

// op of every pair of nasty values, as states x and y.
static NodeId on_nasty(GradientCase *c, Op op) {
    Type t = {.elem = ELEM_f32, .n = 1};
    t.axes[0] = (TypeAxis){.axis = axis_new(c->m, "pair", NASTY * NASTY), .size = NASTY * NASTY};
    NodeId in[3];
    for (int k = 0; k < 2; k++) {
        StateId s = state_new(c->m, k ? "y" : "x", type_intern(c->m, &t), STATE_param, (Loc){0});
        c->first[s] = NEW_ARRAY(c->a, double, NASTY *NASTY);
        for (int i = 0; i < NASTY * NASTY; i++) c->first[s][i] = nasty[k ? i / NASTY : i % NASTY];
        in[k] = ir_state(&c->b, s);
    }
    in[2] = in[0];
    if (op != OP_select) return ir_node(&c->b, op, NULL, in, op_info[op].min, NONE);
    return ir_select(&c->b, ir_binary(&c->b, OP_lt, in[0], in[1]), in[1], in[0]);
}

static void check_zeros(Op op, NodeId of(GradientCase *c, NodeId y), const char *last,
                        InterpMode mode) {
    const GradientRow row = {.op = op};
    GradientCase c = new_case(&row);
    finish_case(&c, of(&c, on_nasty(&c, op)));
    run_passes(&c, NULL, last);
    Interp in;
    Text why = {.arena = c.a};
    Tensor results[3];
    interp_init(&in, c.m, mode, c.a);
    in.input = give_input;
    in.user = &c;
    for (StateId s = 0; s < 2; s++)
        memcpy(in.states[s].at, c.first[s], NASTY * NASTY * sizeof(double));
    if (!interp_run(&in, module_find(c.m, "step"), results, NULL, &why)) fail_msg("%s", why.at);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < NASTY * NASTY; i++)
            if (results[1 + k].at[i] != 0)
                fail_msg("%s(%g, %g): derivative %g by operand %d", op_info[op].name,
                         nasty[i % NASTY], nasty[i / NASTY], results[1 + k].at[i], k);
    arena_free(c.a);
}

// where(never, y * x + tanh(y), 0): by any op, and by what is computed from it.
static NodeId not_taken(GradientCase *c, NodeId y) {
    NodeId x = ir_state(&c->b, 0);
    NodeId sum =
        ir_binary(&c->b, OP_add, ir_binary(&c->b, OP_mul, y, x), ir_unary(&c->b, OP_tanh, y));
    Type t = *type_of(c->m, c->f, y);
    t.elem = ELEM_bool;
    NodeId never = ir_input(&c->b, "never", type_intern(c->m, &t), 0);
    return ir_select(&c->b, never, sum, ir_const(&c->b, ELEM_f32, 0));
}

// y * 0, the 0 being data.
static NodeId times_zero(GradientCase *c, NodeId y) {
    return ir_binary(&c->b, OP_mul, y, ir_input(&c->b, "nothing", node_at(c->f, y)->type, 0));
}

// Exactly 0 passes on as exactly 0, whatever the slope is: through every op on the side that is not
// taken, and elsewhere through those whose slope is infinite somewhere.
static void test_zero_stays_zero(void **state) {
    (void)state;
    static const Op steep[] = {OP_sqrt,  OP_rsqrt, OP_exp, OP_expm1, OP_log,
                               OP_log1p, OP_div,   OP_pow, OP_rem};
    static const char *const last[] = {"autodiff", "tidy"};
    for (int k = 0; k < 2; k++)
        for (int mode = 0; mode < 2; mode++) {
            InterpMode m = mode ? INTERP_EXACT : INTERP_F64;
            for (int op = 0; op < OP_SCALARS; op++)
                if (gradient_table[op] && op != OP_cast) check_zeros((Op)op, not_taken, last[k], m);
            for (size_t i = 0; i < sizeof steep / sizeof *steep; i++)
                check_zeros(steep[i], times_zero, last[k], m);
        }
}

// So it is for a product of many, where one is 0 and the others overflow.
static void test_zero_product(void **state) {
    (void)state;
    static const GradientRow row = {OP_reduce, NULL, NULL, -1, 1, 0, 0};
    GradientCase c = new_case(&row);
    AxisList j = {.n = 1, .at = {axis(&c, 'j')}};
    NodeId y = ir_reduce(&c.b, REDUCE_prod, x_of(&c, "j"), &j);
    const double values[] = {0, 1e30, 1e30, 1};
    memcpy(c.first[0], values, sizeof values);
    finish_case(&c, times_zero(&c, y));
    run_passes(&c, NULL, "tidy");
    Interp in;
    Text why = {.arena = c.a};
    Tensor results[2];
    interp_init(&in, c.m, INTERP_EXACT, c.a);
    in.input = give_input;
    in.user = &c;
    memcpy(in.states[0].at, values, sizeof values);
    assert_true(interp_run(&in, module_find(c.m, "step"), results, NULL, &why));
    for (int i = 0; i < 4; i++) assert_true(results[1].at[i] == 0);
    arena_free(c.a);
}

// At kinks there is no derivative to compare with; docs/numerics.md says what is given: slope 0 of
// abs at 0, equal shares of ties in folds and between tensors, nothing where a tensor ties with a number.
static void test_kinks(void **state) {
    (void)state;
    static const GradientRow row = {OP_reduce, NULL, NULL, -1, 1, 0, 0};
    GradientCase c = new_case(&row);
    AxisList j = {.n = 1, .at = {axis(&c, 'j')}};
    NodeId x = x_of(&c, "j"), y = ir_unary(&c.b, OP_abs, x_of(&c, ""));
    NodeId relu6 = x_of(&c, "j"), a = x_of(&c, "j"), b = x_of(&c, "j");
    const double values[] = {2, -1, 2, 0}, clipped[] = {0, 6, 3, -0.0}, tied[] = {2, 2, 0, 3};
    memcpy(c.first[0], values, sizeof values);
    c.first[1][0] = 0;
    memcpy(c.first[2], clipped, sizeof clipped);
    memcpy(c.first[3], tied, sizeof tied);
    memcpy(c.first[4], values, sizeof values);
    relu6 = ir_binary(&c.b, OP_max, relu6, ir_const(&c.b, ELEM_f32, 0));
    relu6 = ir_binary(&c.b, OP_min, ir_const(&c.b, ELEM_f32, 6), relu6);
    NodeId sum = ir_binary(&c.b, OP_add, ir_reduce(&c.b, REDUCE_max, x, &j), y);
    sum = ir_binary(&c.b, OP_add, relu6, sum);
    finish_case(&c, ir_binary(&c.b, OP_add, sum, ir_binary(&c.b, OP_max, a, b)));
    run_passes(&c, NULL, "tidy");
    Interp in;
    Text why = {.arena = c.a};
    Tensor results[6];
    double w[4];
    start_interp(&c, &in);
    assert_true(interp_run(&in, module_find(c.m, "step"), results, NULL, &why));
    give_input(&c, "weights", results[1].type, w);
    double all = w[0] + w[1] + w[2] + w[3];
    const double want[] = {all / 2, 0, all / 2, 0};
    const double first[] = {w[0] / 2, w[1], 0, w[3]}, second[] = {w[0] / 2, 0, w[2], 0};
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(results[1].at[i] - want[i]) < 1e-12);
        assert_true(results[3].at[i] == (i == 2 ? w[i] : 0));
        assert_true(results[4].at[i] == first[i] && results[5].at[i] == second[i]);
    }
    assert_true(results[2].at[0] == 0);
    arena_free(c.a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_has_a_row),
        cmocka_unit_test(test_rules_match_differences),
        cmocka_unit_test(test_steps_pass_nothing),
        cmocka_unit_test(test_stop_gradient),
        cmocka_unit_test(test_zero_stays_zero),
        cmocka_unit_test(test_zero_product),
        cmocka_unit_test(test_kinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Which keys a strip of rows need not see (codegen/interval.h). Random bodies of masks, scores and folds against
// the interpreter: what is said to add nothing is 0 at every row and key of the rectangle, and so is what sums fold
// there, or -inf, what maxima fold. And masks that must be seen through.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/interval.h"
#include "ir/build.h"
#include "ir/interp.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, KEYS = 40 };

typedef struct {
    Arena *a;
    Module *m;
    Builder b;
    AxisId row, key;
    NodeId r, k, s; // indices, and scores that are finite
    uint64_t rng;
} IntervalCase;

static uint32_t below(IntervalCase *c, uint32_t n) {
    c->rng = c->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(c->rng >> 33) % n;
}

static TypeId tile_type(const IntervalCase *c, Elem e) {
    Type t = {.elem = e,
              .n = 2,
              .axes = {{.axis = c->row, .size = ROWS}, {.axis = c->key, .size = KEYS}}};
    return type_intern(c->m, &t);
}

static IntervalCase new_case(uint64_t seed) {
    IntervalCase c = {.a = arena_new(), .rng = seed * 977 + 1};
    c.m = module_new(c.a, symtab_new(c.a), diag_new(c.a));
    c.row = axis_new(c.m, "row", ROWS), c.key = axis_new(c.m, "key", KEYS);
    c.b = (Builder){.m = c.m, .f = func_new(c.m, "f", NULL)};
    c.r = ir_expand(&c.b, ir_iota(&c.b, c.row, ROWS), tile_type(&c, ELEM_i32));
    c.k = ir_expand(&c.b, ir_iota(&c.b, c.key, KEYS), tile_type(&c, ELEM_i32));
    c.s = ir_input(&c.b, "s", tile_type(&c, ELEM_f32), 0);
    return c;
}

static NodeId whole(IntervalCase *c, int v) {
    return ir_const_of(&c->b, tile_type(c, ELEM_i32), v);
}
static NodeId real(IntervalCase *c, double v) {
    return ir_const_of(&c->b, tile_type(c, ELEM_f32), v);
}
static NodeId op(IntervalCase *c, Op o, NodeId x, NodeId y) { return ir_binary(&c->b, o, x, y); }
static NodeId fold(IntervalCase *c, ReduceKind kind, NodeId x) {
    NodeId f = ir_reduce(&c->b, kind, x, &(AxisList){1, {c->key}});
    return ir_expand(&c->b, f, tile_type(c, ELEM_f32));
}

// ---- random bodies

static NodeId integer_of(IntervalCase *c, int depth) {
    static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_div, OP_rem, OP_min, OP_max};
    if (depth == 0 || below(c, 4) == 0) {
        NodeId leaf[] = {c->r, c->k, c->k, whole(c, (int)below(c, 50) - 20)};
        return leaf[below(c, 4)];
    }
    NodeId x = integer_of(c, depth - 1), y = integer_of(c, depth - 1);
    if (below(c, 8) == 0) return ir_unary(&c->b, OP_neg, x);
    Op o = ops[below(c, 7)];
    if ((o == OP_div || o == OP_rem) && below(c, 4)) y = whole(c, (int)below(c, 9) - 1);
    return op(c, o, x, y);
}

static NodeId real_of(IntervalCase *c, int depth);

static NodeId condition_of(IntervalCase *c, int depth) {
    static const Op compare[] = {OP_lt, OP_le, OP_eq, OP_ne}, logic[] = {OP_and, OP_or, OP_xor};
    if (depth == 0 || below(c, 2) == 0) {
        if (below(c, 5) == 0)
            return op(c, compare[below(c, 4)], real_of(c, depth > 0 ? depth - 1 : 0),
                      real(c, below(c, 2) ? 0 : -HUGE_VAL));
        return op(c, compare[below(c, 4)], integer_of(c, 2), integer_of(c, 2));
    }
    NodeId x = condition_of(c, depth - 1);
    if (below(c, 4) == 0) return ir_unary(&c->b, OP_not, x);
    return op(c, logic[below(c, 3)], x, condition_of(c, depth - 1));
}

static NodeId real_of(IntervalCase *c, int depth) {
    static const double numbers[] = {0, 0, 1, -0.5, -HUGE_VAL, -HUGE_VAL, HUGE_VAL};
    if (depth == 0) return below(c, 2) ? c->s : real(c, numbers[below(c, 7)]);
    NodeId x = real_of(c, depth - 1), y = NONE;
    switch (below(c, 12)) {
    case 0: return op(c, OP_add, x, real_of(c, depth - 1));
    case 1: return op(c, OP_sub, x, real_of(c, depth - 1));
    case 2: return op(c, OP_mul, x, real_of(c, depth - 1));
    case 3: return op(c, OP_max, x, real_of(c, depth - 1));
    case 4: return ir_unary(&c->b, OP_neg, x);
    case 5: return ir_unary(&c->b, OP_exp, x);
    case 6: return op(c, OP_div, x, op(c, OP_max, real_of(c, depth - 1), real(c, 0.5)));
    case 7: return op(c, OP_mul, x, ir_cast(&c->b, condition_of(c, 1), ELEM_f32));
    case 8: // as a softmax: the maximum is taken off where it is finite
        y = fold(c, REDUCE_max, x);
        y = ir_select(&c->b, ir_unary(&c->b, OP_isfinite, y), y, real(c, 0));
        x = ir_unary(&c->b, OP_exp, op(c, OP_sub, x, y));
        return below(c, 2) ? x
                           : op(c, OP_div, x, op(c, OP_add, fold(c, REDUCE_sum, x), real(c, 1)));
    case 9: return op(c, OP_sub, x, fold(c, below(c, 2) ? REDUCE_max : REDUCE_sum, x));
    default:
        y = real(c, numbers[below(c, 7)]);
        return ir_select(&c->b, condition_of(c, 2), below(c, 2) ? x : y, below(c, 2) ? y : x);
    }
}

// ---- what the interpreter says

static bool give_scores(void *user, const char *name, TypeId type, double *out) {
    const IntervalCase *c = user;
    (void)name;
    int64_t n = type_count(type_at(c->m, type));
    for (int64_t i = 0; i < n; i++) out[i] = (double)((float)((i * 37 % 101) - 50) * 0x1p-7f);
    return true;
}

typedef struct {
    IndexRange rows, keys;
} Rectangle;

// Node n of the body is `value` all over the rectangle.
static bool is_all(const IntervalCase *c, const Tensor *t, Rectangle at, double value) {
    assert_int_equal(type_count(type_at(c->m, t->type)), ROWS * KEYS);
    for (int64_t r = at.rows.from; r <= at.rows.to; r++)
        for (int64_t k = at.keys.from; k <= at.keys.to; k++)
            if (t->at[r * KEYS + k] != value) return false;
    return true;
}

// Results of the function: the last value, then what each fold folds.
static Tensor *run_body(IntervalCase *c, NodeId last) {
    Func *f = c->b.f;
    func_result(c->m, f, "", last, RESULT_value);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_reduce)
            func_result(c->m, f, "", operand(f, n, 0), RESULT_value);
    Tensor *results = NEW_ARRAY(c->a, Tensor, f->results.n);
    Interp in;
    Text why = {.arena = c->a};
    interp_init(&in, c->m, INTERP_EXACT, c->a);
    in.input = give_scores, in.user = c;
    if (!interp_run(&in, f, results, NULL, &why)) fail_msg("%s", why.at);
    return results;
}

static void check_rectangle(IntervalCase *c, const Tensor *results, Rectangle at, uint64_t seed) {
    Func *f = c->b.f;
    uint32_t next = 1;
    Text text = {.arena = c->a};
    bool good = is_all(c, &results[0], at, 0);
    for (NodeId n = 0; n < f->nodes.n && good; n++) {
        if (node_at(f, n)->op != OP_reduce) continue;
        bool sum = attr_of(c->m, f, n)->reduce.kind == REDUCE_sum;
        good = is_all(c, &results[next++], at, sum ? 0 : -HUGE_VAL);
    }
    if (good) return;
    ir_print_module(&text, c->m);
    fprintf(stderr, "%s\n", text.at);
    fail_msg("seed %llu: rows %lld to %lld, keys %lld to %lld are said to add nothing",
             (unsigned long long)seed, (long long)at.rows.from, (long long)at.rows.to,
             (long long)at.keys.from, (long long)at.keys.to);
}

static Rectangle random_rectangle(IntervalCase *c) {
    Rectangle x;
    x.rows.from = below(c, ROWS), x.rows.to = x.rows.from + below(c, ROWS - (uint32_t)x.rows.from);
    x.keys.from = below(c, KEYS), x.keys.to = x.keys.from + below(c, KEYS - (uint32_t)x.keys.from);
    if (below(c, 2)) x.rows.to = x.rows.from;
    if (below(c, 2)) x.keys.to = x.keys.from;
    return x;
}

static void test_nothing_is_nothing(void **state) {
    (void)state;
    const char *tier = getenv("SINTER_LONG");
    uint32_t count = tier && *tier == '1' ? 100000 : 6000, said = 0, folds = 0;
    for (uint32_t i = 0; i < count; i++) {
        IntervalCase c = new_case(i);
        NodeId x = real_of(&c, 2 + (int)below(&c, 2)), y = real(&c, 0);
        x = ir_select(&c.b, condition_of(&c, 2), x, below(&c, 2) ? y : x);
        IndexBounds *bounds = interval_body(c.a, c.m, c.b.f, c.row, ROWS, c.key, KEYS);
        const Tensor *results = NULL;
        for (int k = 0; k < 12; k++) {
            Rectangle at = random_rectangle(&c);
            if (!interval_adds_nothing(bounds, &x, 1, at.rows, at.keys)) continue;
            said++;
            if (!results) results = run_body(&c, x);
            folds += c.b.f->results.n > 1;
            check_rectangle(&c, results, at, i);
        }
        arena_free(c.a);
    }
    print_message("%u rectangles add nothing, %u of bodies with folds\n", said, folds);
    assert_true(said > count && folds > count / 20);
}

// ---- masks that hide

typedef NodeId (*MaskOf)(IntervalCase *);
static NodeId causal(IntervalCase *c) { return op(c, OP_le, c->k, c->r); }
static NodeId causal_less(IntervalCase *c) {
    return op(c, OP_lt, c->k, op(c, OP_add, c->r, whole(c, 1)));
}
static NodeId not_later(IntervalCase *c) {
    return ir_unary(&c->b, OP_not, op(c, OP_lt, c->r, c->k));
}
static NodeId window(IntervalCase *c) {
    return op(c, OP_and, causal(c), op(c, OP_lt, op(c, OP_sub, c->r, c->k), whole(c, 4)));
}
static NodeId prefix(IntervalCase *c) {
    return op(c, OP_or, causal(c), op(c, OP_lt, c->k, whole(c, 3)));
}
static NodeId blocks(IntervalCase *c) {
    return op(c, OP_eq, op(c, OP_div, c->k, whole(c, 8)), op(c, OP_div, c->r, whole(c, 8)));
}

typedef NodeId (*WeightOf)(IntervalCase *, NodeId mask);
static NodeId softmax(IntervalCase *c, NodeId mask) {
    NodeId x = ir_select(&c->b, mask, c->s, real(c, -HUGE_VAL)), top = fold(c, REDUCE_max, x);
    NodeId off = op(c, OP_eq, ir_unary(&c->b, OP_abs, top), real(c, HUGE_VAL));
    NodeId e = ir_unary(&c->b, OP_exp, op(c, OP_sub, x, ir_select(&c->b, off, real(c, 0), top)));
    NodeId sum = op(c, OP_max, fold(c, REDUCE_sum, e), real(c, 1e-30));
    return op(c, OP_mul, e, op(c, OP_div, real(c, 1), sum));
}
static NodeId sink(IntervalCase *c, NodeId mask) { // a score that is no key's
    NodeId x = ir_select(&c->b, mask, c->s, real(c, -HUGE_VAL)),
           top = op(c, OP_max, fold(c, REDUCE_max, x), real(c, 0.25));
    NodeId e = ir_unary(&c->b, OP_exp, op(c, OP_sub, x, top));
    return op(c, OP_div, e, op(c, OP_add, fold(c, REDUCE_sum, e), real(c, 1)));
}
static NodeId zeroed(IntervalCase *c, NodeId mask) {
    return op(c, OP_mul, ir_unary(&c->b, OP_exp, c->s), ir_cast(&c->b, mask, ELEM_f32));
}

// Keys that are hidden from some rows alone; and those that are not.
typedef struct {
    MaskOf mask;
    Rectangle hidden, seen;
} MaskRow;
static const MaskRow masks[] = {
    {causal, {{4, 7}, {8, 39}}, {{4, 7}, {7, 39}}},
    {causal_less, {{4, 7}, {8, 39}}, {{4, 7}, {7, 39}}},
    {not_later, {{0, 0}, {1, 1}}, {{0, 1}, {1, 1}}},
    {window, {{10, 12}, {0, 6}}, {{10, 12}, {0, 7}}},
    {window, {{10, 12}, {13, 39}}, {{10, 12}, {12, 39}}},
    {prefix, {{4, 7}, {8, 39}}, {{0, 1}, {2, 2}}},
    {blocks, {{8, 15}, {16, 23}}, {{7, 8}, {8, 15}}},
    {blocks, {{16, 23}, {0, 15}}, {{16, 23}, {0, 16}}},
};
static const WeightOf weights[] = {softmax, sink, zeroed};

static void test_masks_hide(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
            IntervalCase c = new_case(1);
            NodeId x = weights[w](&c, masks[i].mask(&c));
            IndexBounds *b = interval_body(c.a, c.m, c.b.f, c.row, ROWS, c.key, KEYS);
            Rectangle h = masks[i].hidden, s = masks[i].seen;
            if (!interval_adds_nothing(b, &x, 1, h.rows, h.keys))
                fail_msg("mask %zu, weights %zu: hidden keys are not", i, w);
            if (interval_adds_nothing(b, &x, 1, s.rows, s.keys))
                fail_msg("mask %zu, weights %zu: seen keys are hidden", i, w);
            check_rectangle(&c, run_body(&c, x), h, 0);
            arena_free(c.a);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_nothing),
        cmocka_unit_test(test_masks_hide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

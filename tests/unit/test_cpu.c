// Native code against the slow evaluator on kernels that each show one idea of the printer. The
// texts of tests/codegen run too. Instruction sets, sharing of equal kernels and the bytes of
// objects are checked at the end.
#include "runtime/sinter.h"
#include "tests/unit/cpu_suite.h"
#include "tests/unit/files.h"
#include <dirent.h>

// ---- scalar ops: every op, every element type, whole vectors and a rest

static void add_scalar(Suite *s, Op op, Elem elem, Elem to) {
    KernelCase *c = case_new(s,
                             arena_printf(s->arena, "scalar.%s.%s.%s", op_info[op].name,
                                          elem_info[elem].name, elem_info[to].name),
                             KORDER_rows, 2);
    extents(c, 1, (int64_t[]){5, 107});
    KId v[3] = {NONE, NONE, NONE};
    KIndex x = at(c, (int64_t[]){107, 1});
    for (uint32_t i = 0; i < op_info[op].min; i++) {
        Elem e = op == OP_select && i == 0 ? ELEM_bool : elem;
        v[i] = load(s, c, arg(s, c, e, KARG_in, 5 * 107), x, NONE);
    }
    KId y = scalar(s, c, op, elem, to, v[0], v[1], v[2]);
    store(s, c, 0, arg(s, c, to, KARG_out, 5 * 107), x, y, NONE);
}

static bool takes(ScalarRule rule, Elem e) {
    ElemKind k = (ElemKind)elem_info[e].kind;
    if (elem_is_narrow(e)) return rule == RULE_SELECT; // for storage: moved and cast
    switch (rule) {
    case RULE_FLOAT:
    case RULE_PREDICATE: return k == ELEM_FLOAT;
    case RULE_ARITH: return k != ELEM_BOOL;
    case RULE_LOGIC: return k != ELEM_FLOAT;
    case RULE_SHIFT: return k == ELEM_INT || k == ELEM_UINT;
    case RULE_COMPARE:
    case RULE_SELECT: return true;
    case RULE_CAST:
    case RULE_NONE: break;
    }
    return false;
}

static void test_scalars(void **state) {
    (void)state;
    Suite *s = suite_new();
    for (int op = 0; op < (int)OP_SCALARS; op++)
        for (int e = 0; e < (int)ELEM_COUNT; e++) {
            ScalarRule rule = (ScalarRule)op_info[op].rule;
            Elem to = rule == RULE_COMPARE || rule == RULE_PREDICATE ? ELEM_bool : (Elem)e;
            if (takes(rule, (Elem)e)) add_scalar(s, (Op)op, (Elem)e, to);
            for (int t = 0; t < (int)ELEM_COUNT; t++)
                if (op == OP_cast ||
                    (op == OP_bitcast && !elem_is_narrow((Elem)e) && !elem_is_narrow((Elem)t) &&
                     elem_info[e].bytes == elem_info[t].bytes))
                    add_scalar(s, (Op)op, (Elem)e, (Elem)t);
        }
    check_all(s);
}

// ---- maps: shapes, strides, broadcast, gather, masks, in place

static void add_map(Suite *s, int64_t rows, int64_t lanes, int64_t grain) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "map.%lld.%lld", (long long)rows, (long long)lanes),
                 KORDER_rows, grain);
    extents(c, 2, (int64_t[]){2, rows, lanes});
    int64_t n = 2 * rows * lanes;
    KIndex straight = at(c, (int64_t[]){rows * lanes, lanes, 1});
    KIndex across = at(c, (int64_t[]){1, 2, 2 * rows}); // another layout: a gather
    KId a = load(s, c, arg(s, c, ELEM_f32, KARG_in, n), straight, NONE);
    KId b = load(s, c, arg(s, c, ELEM_f32, KARG_in, n), across, NONE);
    KId row = load(s, c, arg(s, c, ELEM_f32, KARG_in, rows), at(c, (int64_t[]){0, 1, 0}), NONE);
    KId lane = load(s, c, arg(s, c, ELEM_f32, KARG_in, lanes), at(c, (int64_t[]){0, 0, 1}), NONE);
    KId one = load(s, c, arg(s, c, ELEM_f32, KARG_in, 1), at(c, (int64_t[]){0, 0, 0}), NONE);
    KId index = scalar(s, c, OP_cast, ELEM_i32, ELEM_f32, axis_index(s, c, 2), NONE, NONE);
    KId y = f32_op(s, c, OP_add, f32_op(s, c, OP_mul, a, row), f32_op(s, c, OP_sub, b, lane));
    y = scalar(s, c, OP_fma, ELEM_f32, ELEM_f32, y, one, index);
    store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, n), straight, y, NONE);
    store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, n), across, f32_op(s, c, OP_max, a, b), NONE);
    KId positive = scalar(s, c, OP_lt, ELEM_f32, ELEM_bool, row, a, NONE);
    store(s, c, 0, arg(s, c, ELEM_bool, KARG_out, n), straight, positive, NONE);
    store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, rows), at(c, (int64_t[]){0, 1, 0}),
          f32_op(s, c, OP_neg, row, NONE), NONE);
}

static void test_maps(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 2, 7, 15, 16, 17, 31, 32, 48, 100, 1000};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++)
        add_map(s, 1 + (int64_t)(i % 4), lanes[i], 1 + (int64_t)(i % 3));
    check_all(s);
}

// An elementwise update in place; accumulators in the first micro-batch and later; a flat cut.
static void add_flat(Suite *s, int64_t n, int64_t cut, bool first) {
    KernelCase *c = case_new(
        s, arena_printf(s->arena, "flat.%lld.%lld", (long long)n, (long long)cut), KORDER_rows, 1);
    extents(c, 1, (int64_t[]){(n + cut - 1) / cut, cut});
    c->k->flat = n;
    c->env.first = first;
    KIndex x = at(c, (int64_t[]){cut, 1});
    uint32_t p = arg(s, c, ELEM_f32, KARG_inout, n), acc = arg(s, c, ELEM_f32, KARG_acc, n);
    uint32_t g = arg(s, c, ELEM_f32, KARG_in, n);
    KId old = load(s, c, acc, x, NONE), grad = load(s, c, g, x, NONE);
    KId sum = f32_op(s, c, OP_add, old, grad);
    store(s, c, 0, acc, x, sum, NONE);
    store(s, c, 0, p, x, f32_op(s, c, OP_sub, load(s, c, p, x, NONE), sum), NONE);
}

static void test_flat(void **state) {
    (void)state;
    Suite *s = suite_new();
    add_flat(s, 1000, 256, true);
    add_flat(s, 1000, 256, false);
    add_flat(s, 4096, 1024, false);
    add_flat(s, 37, 16, true);
    add_flat(s, 5, 16, false);
    check_all(s);
}

// Masks on loads and stores, at row and lane level, and indices that are values.
static void add_masked(Suite *s, int64_t lanes) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "masked.%lld", (long long)lanes), KORDER_rows, 2);
    enum { ROWS = 6, VOCAB = 11 };
    extents(c, 1, (int64_t[]){ROWS, lanes});
    KIndex x = at(c, (int64_t[]){lanes, 1}), row = at(c, (int64_t[]){1, 0});
    uint32_t flags = arg(s, c, ELEM_bool, KARG_in, ROWS * lanes),
             switches = arg(s, c, ELEM_bool, KARG_in, ROWS);
    uint32_t ids = arg(s, c, ELEM_i32, KARG_in, ROWS),
             picks = arg(s, c, ELEM_i32, KARG_in, ROWS * lanes);
    uint32_t table = arg(s, c, ELEM_f32, KARG_in, VOCAB * lanes),
             data = arg(s, c, ELEM_f32, KARG_in, ROWS * lanes);
    uint32_t bools = arg(s, c, ELEM_bool, KARG_in, VOCAB * lanes);
    KId flag = load(s, c, flags, x, NONE), on = load(s, c, switches, row, NONE);
    KIndex by_id = at(c, (int64_t[]){0, 1}), by_pick = at(c, (int64_t[]){0, 0});
    by_id.op = load(s, c, ids, row, NONE);
    by_id.op_stride = lanes;
    by_pick.op = load(s, c, picks, x, NONE);
    by_pick.op_stride = 1;
    KIndex shifted = x, row_shifted = row; // out of range where the mask is off
    shifted.base = -1;
    row_shifted.base = -1;
    KId not_first = scalar(s, c, OP_lt, ELEM_i32, ELEM_bool, constant(s, c, ELEM_i32, 0),
                           axis_index(s, c, 1), NONE);
    KId later = scalar(s, c, OP_lt, ELEM_i32, ELEM_bool, constant(s, c, ELEM_i32, 0),
                       axis_index(s, c, 0), NONE);
    KId v[] = {load(s, c, table, by_id, NONE),   load(s, c, table, by_pick, NONE),
               load(s, c, table, by_pick, flag), load(s, c, data, shifted, not_first),
               load(s, c, table, by_id, on),     load(s, c, data, x, flag)};
    KId sum = v[0];
    for (size_t i = 1; i < sizeof v / sizeof *v; i++) sum = f32_op(s, c, OP_add, sum, v[i]);
    KId before = load(s, c, ids, row_shifted, later);
    sum = f32_op(s, c, OP_add, sum, scalar(s, c, OP_cast, ELEM_i32, ELEM_f32, before, NONE, NONE));
    uint32_t out = arg(s, c, ELEM_f32, KARG_out, ROWS * lanes),
             out2 = arg(s, c, ELEM_f32, KARG_out, ROWS * lanes);
    uint32_t out3 = arg(s, c, ELEM_bool, KARG_out, ROWS * lanes),
             out4 = arg(s, c, ELEM_i32, KARG_out, ROWS);
    uint32_t out5 = arg(s, c, ELEM_f32, KARG_out, ROWS * lanes);
    store(s, c, 0, out, x, sum, NONE);
    store(s, c, 0, out2, x, sum, flag);
    store(s, c, 0, out3, x, load(s, c, bools, by_pick, flag), NONE);
    store(s, c, 0, out4, row, before, on);
    store(s, c, 0, out5, x, constant(s, c, ELEM_f32, 2.5), on);
}

static void test_masked(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 5, 16, 33, 64, 200};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) add_masked(s, lanes[i]);
    check_all(s);
}

// ---- row folds

static void add_fold(Suite *s, ReduceKind kind, Elem e, int64_t lanes, bool masked) {
    KernelCase *c = case_new(s,
                             arena_printf(s->arena, "fold.%s.%s.%lld", reduce_names[kind],
                                          elem_info[e].name, (long long)lanes),
                             KORDER_rows, 2);
    extents(c, 1, (int64_t[]){3, lanes});
    KIndex x = at(c, (int64_t[]){lanes, 1});
    KId mask = masked ? load(s, c, arg(s, c, ELEM_bool, KARG_in, 3 * lanes), x, NONE) : NONE;
    KId v = load(s, c, arg(s, c, e, KARG_in, 3 * lanes), x, mask);
    if (e == ELEM_f32 &&
        kind == REDUCE_sum) // without infinities and huge values, which would hide the order
        v = scalar(s, c, OP_sin, ELEM_f32, ELEM_f32, v, NONE, NONE);
    if (e == ELEM_f32 && kind == REDUCE_sum) {
        KId good = scalar(s, c, OP_isfinite, ELEM_f32, ELEM_bool, v, NONE, NONE);
        v = scalar(s, c, OP_select, ELEM_f32, ELEM_f32, good, v, constant(s, c, ELEM_f32, 1.0 / 3));
    }
    uint32_t f = row_fold(s, c, kind, 0, v);
    store(s, c, 1, arg(s, c, e, KARG_out, 3), at(c, (int64_t[]){1, 0}), fold_value(s, c, f, e),
          NONE);
}

static void test_folds(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 5, 16, 17, 40, 100, 128, 129, 1000, 4096, 4097, 8192, 10007};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++)
        for (int kind = 0; kind < (int)REDUCE_COUNT; kind++) {
            bool logic = kind == REDUCE_any || kind == REDUCE_all;
            for (int e = 0; e < (int)ELEM_COUNT; e++)
                if (logic == (e == ELEM_bool) && !elem_is_narrow((Elem)e))
                    add_fold(s, (ReduceKind)kind, (Elem)e, lanes[i], i % 2 == 1 && !logic);
        }
    check_all(s);
}

// Softmax of three phases with a held exponential, and layer norm with two folds in a phase.
static void add_softmax(Suite *s, int64_t lanes, bool hold) {
    KernelCase *c = case_new(s, arena_printf(s->arena, "softmax.%lld.%d", (long long)lanes, hold),
                             KORDER_rows, 3);
    extents(c, 2, (int64_t[]){2, 5, lanes});
    KIndex x = at(c, (int64_t[]){5 * lanes, lanes, 1});
    KId v = load(s, c, arg(s, c, ELEM_f32, KARG_in, 10 * lanes), x, NONE);
    KId causal = scalar(s, c, OP_le, ELEM_i32, ELEM_bool, axis_index(s, c, 2),
                        scalar(s, c, OP_mul, ELEM_i32, ELEM_i32, axis_index(s, c, 1),
                               constant(s, c, ELEM_i32, 7), NONE),
                        NONE);
    v = scalar(s, c, OP_sin, ELEM_f32, ELEM_f32, v, NONE, NONE);
    v = scalar(s, c, OP_select, ELEM_f32, ELEM_f32, causal, v, constant(s, c, ELEM_f32, -INFINITY));
    uint32_t top = row_fold(s, c, REDUCE_max, 0, v);
    KId e = scalar(s, c, OP_exp, ELEM_f32, ELEM_f32,
                   f32_op(s, c, OP_sub, v, fold_value(s, c, top, ELEM_f32)), NONE, NONE);
    c->k->ops.at[e].hold = hold;
    uint32_t sum = row_fold(s, c, REDUCE_sum, 1, e);
    KId inverse =
        f32_op(s, c, OP_div, constant(s, c, ELEM_f32, 1), fold_value(s, c, sum, ELEM_f32));
    store(s, c, 2, arg(s, c, ELEM_f32, KARG_out, 10 * lanes), x, f32_op(s, c, OP_mul, e, inverse),
          NONE);
    KIndex row = at(c, (int64_t[]){5, 1, 0});
    store(s, c, 2, arg(s, c, ELEM_f32, KARG_out, 10), row, inverse, NONE);
    if (!hold) return;
    c->k->ops.at[causal].hold = true; // a held bool
    store(s, c, 2, arg(s, c, ELEM_bool, KARG_out, 10 * lanes), x, causal, NONE);
}

static void add_norm(Suite *s, int64_t lanes) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "norm.%lld", (long long)lanes), KORDER_rows, 2);
    extents(c, 1, (int64_t[]){5, lanes});
    KIndex x = at(c, (int64_t[]){lanes, 1}), lane = at(c, (int64_t[]){0, 1});
    KId v = load(s, c, arg(s, c, ELEM_f32, KARG_in, 5 * lanes), x, NONE);
    KId g = load(s, c, arg(s, c, ELEM_f32, KARG_in, lanes), lane, NONE);
    uint32_t sum = row_fold(s, c, REDUCE_sum, 0, v);
    uint32_t squares = row_fold(s, c, REDUCE_sum, 0, f32_op(s, c, OP_mul, v, v));
    KId n = constant(s, c, ELEM_f32, 1.0 / (double)lanes);
    KId mean = f32_op(s, c, OP_mul, fold_value(s, c, sum, ELEM_f32), n);
    KId var = f32_op(s, c, OP_sub, f32_op(s, c, OP_mul, fold_value(s, c, squares, ELEM_f32), n),
                     f32_op(s, c, OP_mul, mean, mean));
    KId scale = scalar(s, c, OP_rsqrt, ELEM_f32, ELEM_f32, var, NONE, NONE);
    KId y = f32_op(s, c, OP_mul, f32_op(s, c, OP_mul, f32_op(s, c, OP_sub, v, mean), scale), g);
    store(s, c, 1, arg(s, c, ELEM_f32, KARG_out, 5 * lanes), x, y, NONE);
}

static void test_rows(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 3, 16, 30, 64, 129, 1024, 5000};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        add_softmax(s, lanes[i], false);
        add_softmax(s, lanes[i], true);
        add_norm(s, lanes[i]);
    }
    check_all(s);
}

// ---- column folds, scatter, epilogues, random numbers

// Layer norm's backward shape: a row fold feeds column folds; chunks of rows.
static void add_columns(Suite *s, int64_t rows, int64_t lanes, int64_t grain, bool first) {
    KernelCase *c = case_new(s,
                             arena_printf(s->arena, "columns.%lld.%lld.%lld", (long long)rows,
                                          (long long)lanes, (long long)grain),
                             KORDER_chunks, grain);
    extents(c, 2, (int64_t[]){3, rows, lanes});
    c->k->walk = 1;
    c->env.first = first;
    int64_t chunks = (rows + grain - 1) / grain;
    KIndex x = at(c, (int64_t[]){rows * lanes, lanes, 1});
    KId v = load(s, c, arg(s, c, ELEM_f32, KARG_in, 3 * rows * lanes), x, NONE);
    v = scalar(s, c, OP_sin, ELEM_f32, ELEM_f32, v, NONE, NONE);
    uint32_t f = row_fold(s, c, REDUCE_sum, 0, v);
    KId y = f32_op(s, c, OP_sub, v, fold_value(s, c, f, ELEM_f32));
    store(s, c, 1, arg(s, c, ELEM_f32, KARG_out, 3 * rows * lanes), x, y, NONE);
    KIndex part = at(c, (int64_t[]){chunks * lanes, 0, 1});
    column_fold(s, c, REDUCE_sum, 1, y, arg(s, c, ELEM_f32, KARG_out, 3 * chunks * lanes), part,
                lanes, NONE);
    uint32_t acc = arg(s, c, ELEM_f32, KARG_acc, 3 * chunks * lanes);
    KId old = load(s, c, acc, part, NONE);
    if (chunks == 1) column_fold(s, c, REDUCE_sum, 0, v, acc, part, lanes, old);
}

static void test_columns(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 8, 16, 19, 64, 300};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        add_columns(s, 70, lanes[i], 32, false);
        add_columns(s, 9, lanes[i], 9, true);
        add_columns(s, 9, lanes[i], 9, false);
    }
    check_all(s);
}

// scatter_add: every task walks all rows over its own lanes.
static void add_scatter(Suite *s, int64_t lanes, int64_t grain) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "scatter.%lld.%lld", (long long)lanes, (long long)grain),
                 KORDER_lanes, grain);
    enum { ROWS = 23, VOCAB = 5 };
    extents(c, 1, (int64_t[]){ROWS, lanes});
    uint32_t ids = arg(s, c, ELEM_i32, KARG_in, ROWS),
             table = arg(s, c, ELEM_f32, KARG_inout, VOCAB * lanes);
    KIndex to = at(c, (int64_t[]){0, 1});
    to.op = load(s, c, ids, at(c, (int64_t[]){1, 0}), NONE);
    to.op_stride = lanes;
    KId v =
        load(s, c, arg(s, c, ELEM_f32, KARG_in, ROWS * lanes), at(c, (int64_t[]){lanes, 1}), NONE);
    store(s, c, 0, table, to, f32_op(s, c, OP_add, load(s, c, table, to, NONE), v), NONE);
}

static void test_scatter(void **state) {
    (void)state;
    Suite *s = suite_new();
    add_scatter(s, 64, 16);
    add_scatter(s, 64, 64);
    add_scatter(s, 50, 16);
    add_scatter(s, 7, 16);
    add_scatter(s, 45, 10);
    check_all(s);
}

static void add_epilogue(Suite *s, int64_t lanes) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "epilogue.%lld", (long long)lanes), KORDER_tile, 1);
    extents(c, 2, (int64_t[]){2, 7, lanes});
    KIndex x = at(c, (int64_t[]){7 * lanes, lanes, 1});
    KId v = push(s, c, op_blank(KOP_tile, ELEM_f32));
    KId bias = load(s, c, arg(s, c, ELEM_f32, KARG_in, lanes), at(c, (int64_t[]){0, 0, 1}), NONE);
    KId y = f32_op(s, c, OP_add, v, bias);
    store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, 14 * lanes), x, y, NONE);
    KId t = scalar(s, c, OP_tanh, ELEM_f32, ELEM_f32, y, NONE, NONE);
    store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, 14 * lanes), at(c, (int64_t[]){1, 2, 14}), t,
          NONE);
}

static KId tile(Suite *s, KernelCase *c, uint32_t number) {
    KOp o = op_blank(KOP_tile, ELEM_f32);
    o.arg = number;
    return push(s, c, o);
}

static void store_tile(Suite *s, KernelCase *c, uint32_t phase, uint32_t number, KId value) {
    KStore st = {.tile = true, .arg = number, .phase = phase, .value = value, .mask = NONE};
    st.index.op = NONE;
    vec_push(s->arena, &c->k->stores, st);
}

enum { STRIP_B = 2, STRIP_M = 4, STRIP_ROWS = STRIP_B * STRIP_M };

// The score of attention: scaled, of keys of the row's segment only; some rows see no key.
static KId add_score(Suite *s, KernelCase *c, int64_t lanes) {
    uint32_t keys = arg(s, c, ELEM_i32, KARG_in, STRIP_B * lanes);
    uint32_t queries = arg(s, c, ELEM_i32, KARG_in, STRIP_ROWS);
    c->limit[keys] = 3, c->limit[queries] = 4;
    KId key = load(s, c, keys, at(c, (int64_t[]){lanes, 0, 1}), NONE);
    KId query = load(s, c, queries, at(c, (int64_t[]){STRIP_M, 1, 0}), NONE);
    KId seen = scalar(s, c, OP_eq, ELEM_i32, ELEM_bool, key, query, NONE);
    KId score = f32_op(s, c, OP_mul, tile(s, c, 0), constant(s, c, ELEM_f32, 0.125));
    KId none = constant(s, c, ELEM_f32, -INFINITY);
    return scalar(s, c, OP_select, ELEM_f32, ELEM_f32, seen, score, none);
}

static KernelCase *strip_case(Suite *s, const char *name, int64_t lanes) {
    KernelCase *c =
        case_new(s, arena_printf(s->arena, "%s.%lld", name, (long long)lanes), KORDER_strip, 1);
    extents(c, 2, (int64_t[]){STRIP_B, STRIP_M, lanes});
    c->tame = true;
    return c;
}

static void store_row(Suite *s, KernelCase *c, uint32_t phase, KId value) {
    store(s, c, phase, arg(s, c, ELEM_f32, KARG_out, STRIP_ROWS), at(c, (int64_t[]){STRIP_M, 1, 0}),
          value, NONE);
}

// 1 / keep where a draw keeps the lane, else 0.
static KId dropout(Suite *s, KernelCase *c, int64_t lanes) {
    KOp o = op_blank(KOP_random, ELEM_u32);
    o.index = at(c, (int64_t[]){STRIP_M * lanes, lanes, 1});
    o.key = 77;
    o.sample_stride = STRIP_ROWS * lanes;
    KId limit = constant(s, c, ELEM_u32, 0x40000000);
    KId out = scalar(s, c, OP_lt, ELEM_u32, ELEM_bool, push(s, c, o), limit, NONE);
    KId zero = constant(s, c, ELEM_f32, 0), keep = constant(s, c, ELEM_f32, 4.0 / 3);
    return scalar(s, c, OP_select, ELEM_f32, ELEM_f32, out, zero, keep);
}

// Softmax with dropout, in the place of the scores.
static void add_attend(Suite *s, int64_t lanes) {
    KernelCase *c = strip_case(s, "attend", lanes);
    KId score = add_score(s, c, lanes);
    KId top = fold_value(s, c, row_fold(s, c, REDUCE_max, 0, score), ELEM_f32);
    KId e = f32_op(s, c, OP_exp, f32_op(s, c, OP_sub, score, top), NONE);
    c->k->ops.at[e].hold = 1;
    KId sum = fold_value(s, c, row_fold(s, c, REDUCE_sum, 1, e), ELEM_f32);
    KId w = f32_op(s, c, OP_mul, f32_op(s, c, OP_div, e, sum), dropout(s, c, lanes));
    store_tile(s, c, 2, 0, w);
    store_row(s, c, 1, top);
    store_row(s, c, 2, sum);
}

// Its gradient, from both values of the row.
static void add_attend_grad(Suite *s, int64_t lanes) {
    KernelCase *c = strip_case(s, "attend_grad", lanes);
    KIndex row = at(c, (int64_t[]){STRIP_M, 1, 0});
    KId top = load(s, c, arg(s, c, ELEM_f32, KARG_in, STRIP_ROWS), row, NONE);
    KId inv = load(s, c, arg(s, c, ELEM_f32, KARG_in, STRIP_ROWS), row, NONE);
    KId e = f32_op(s, c, OP_exp, f32_op(s, c, OP_sub, add_score(s, c, lanes), top), NONE);
    KId p = f32_op(s, c, OP_mul, e, inv), drop = dropout(s, c, lanes);
    c->k->ops.at[p].hold = 1;
    KId dp = f32_op(s, c, OP_mul, tile(s, c, 1), drop), pdp = f32_op(s, c, OP_mul, p, dp);
    KId delta = fold_value(s, c, row_fold(s, c, REDUCE_sum, 0, pdp), ELEM_f32);
    KId ds = f32_op(s, c, OP_mul, p, f32_op(s, c, OP_sub, dp, delta));
    KId sum = fold_value(s, c, row_fold(s, c, REDUCE_sum, 1, ds), ELEM_f32);
    store_tile(s, c, 1, 0, f32_op(s, c, OP_mul, p, drop));
    store_tile(s, c, 1, 1, f32_op(s, c, OP_mul, ds, constant(s, c, ELEM_f32, 0.125)));
    store_row(s, c, 2, sum);
}

// Every scalar op once within a strip, as many to a kernel as tiles and arguments allow: what is not f32 is
// loaded and stored.
static void test_strip_scalars(void **state) {
    (void)state;
    Suite *s = suite_new();
    KernelCase *c = NULL;
    uint32_t stored = 0;
    const int64_t lanes = 307, n = STRIP_ROWS * lanes;
    for (int op = 0; op < (int)OP_SCALARS; op++)
        for (int e = 0; e < (int)ELEM_COUNT; e++) {
            ScalarRule rule = (ScalarRule)op_info[op].rule;
            if (!takes(rule, (Elem)e) && op != OP_cast) continue;
            Elem to = rule == RULE_COMPARE || rule == RULE_PREDICATE ? ELEM_bool : (Elem)e;
            if (op == OP_cast) to = ELEM_f32;
            if (!c || stored == K_MAX_TILES || c->k->args.n + 4 > 24) {
                c = strip_case(s, arena_printf(s->arena, "ops.%s.%d", op_info[op].name, e), lanes);
                c->tame = false;
                stored = 3;
            }
            KIndex x = at(c, (int64_t[]){STRIP_M * lanes, lanes, 1});
            KId v[3] = {NONE, NONE, NONE};
            for (uint32_t i = 0; i < op_info[op].min; i++) {
                Elem from = op == OP_select && i == 0 ? ELEM_bool : (Elem)e;
                v[i] = from == ELEM_f32 ? tile(s, c, i)
                                        : load(s, c, arg(s, c, from, KARG_in, n), x, NONE);
            }
            KId y = scalar(s, c, (Op)op, (Elem)e, to, v[0], v[1], v[2]);
            if (to == ELEM_f32)
                store_tile(s, c, 0, stored++, y);
            else
                store(s, c, 0, arg(s, c, to, KARG_out, n), x, y, NONE);
        }
    check_all(s);
}

static void test_strips(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 77, 128, 300, 4097, 8300};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++)
        add_attend(s, lanes[i]), add_attend_grad(s, lanes[i]);
    check_all(s);
}

static void test_epilogues(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 16, 40, 64};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) add_epilogue(s, lanes[i]);
    check_all(s);
}

static void add_random(Suite *s, int64_t lanes, uint32_t fixed, uint64_t key) {
    KernelCase *c = case_new(s, arena_printf(s->arena, "random.%lld.%u", (long long)lanes, fixed),
                             KORDER_rows, 2);
    extents(c, 2, (int64_t[]){3, 4, lanes});
    KIndex x = at(c, (int64_t[]){4 * lanes, lanes, 1});
    for (uint32_t w = 0; w < 4; w++) {
        KOp o = op_blank(KOP_random, ELEM_u32);
        o.index = at(c, (int64_t[]){lanes, 3 * lanes, w == 3 ? 0 : 1});
        o.index.base = 0xfffffff0ll; // the low half of the counter overflows within a row
        o.key = key + w / 2;         // two words of each key
        o.word = w;
        o.fixed = fixed;
        o.sample_stride = 12 * lanes;
        store(s, c, 0, arg(s, c, ELEM_u32, KARG_out, 12 * lanes), x, push(s, c, o), NONE);
    }
}

static void test_random(void **state) {
    (void)state;
    Suite *s = suite_new();
    add_random(s, 40, 0, 0xfedcba9876543210ull);
    add_random(s, 40, 0, 0x1234567812345678ull); // shares the code of the first
    add_random(s, 16, 1, 1);
    add_random(s, 3, 0, 2);
    check_all(s);
}

// ---- kernel texts

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static Kernel *read_kernel(Arena *a, const char *path) {
    size_t size;
    char *text = read_file(a, path, &size);
    Diag *d = diag_new(a);
    Kernel *k = kernel_parse(a, d, diag_add_file(d, path, text, size, false));
    if (!k) fail_msg("%s does not parse", path);
    return k;
}

static void test_texts(void **state) {
    (void)state;
    Suite *s = suite_new();
    const char *folder = SOURCE_DIR "/tests/codegen";
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    char *name[256];
    uint32_t n = 0;
    for (struct dirent *e; (e = readdir(dir)) && n < 256;)
        if (strlen(e->d_name) > 2 && strcmp(e->d_name + strlen(e->d_name) - 2, ".k") == 0)
            name[n++] = arena_printf(s->arena, "%s/%s", folder, e->d_name);
    closedir(dir);
    assert_true(n > 0);
    qsort(name, n, sizeof *name, by_name);
    for (uint32_t i = 0; i < n; i++)
        for (int first = 0; first < 2; first++) {
            KernelCase *c = case_new(s, name[i], KORDER_rows, 1);
            c->k = read_kernel(s->arena, name[i]);
            c->env.first = first;
        }
    check_all(s);
}

// ---- instruction sets and equal kernels

static void test_isa(void **state) {
    (void)state;
    Arena *a = arena_new();
    Text why = {.arena = a};
    CpuIsa isa;
    assert_false(cpu_isa_resolve(a, "pentium", &isa, &why));
    assert_string_equal(why.at, "unknown CPU 'pentium'; known are native, x86-64-v3, "
                                "x86-64-v4, x86-64-v4+bf16");
    assert_true(cpu_isa_resolve(a, "x86-64-v3", &isa, &why));
    assert_int_equal(isa.features, SN_CPU_AVX2 | SN_CPU_FMA);
    assert_int_equal(isa.lanes, 8);
    assert_true(cpu_isa_resolve(a, "x86-64-v4", &isa, &why));
    assert_int_equal(isa.features, SN_CPU_AVX2 | SN_CPU_FMA | SN_CPU_AVX512);
    assert_true(cpu_isa_resolve(a, "x86-64-v4+bf16", &isa, &why));
    assert_int_equal(isa.features, SN_CPU_AVX2 | SN_CPU_FMA | SN_CPU_AVX512 | SN_CPU_BF16);
    assert_int_equal(isa.here,
                     (isa.features & ~sn_cpu_features()) == 0); // one machine, asked twice
    assert_true(cpu_isa_resolve(a, "native", &isa, &why));
    assert_true(isa.here);
    arena_free(a);
}

// Equal kernels share code; the object's bytes are the same in every build.
static char *object_of(Arena *a, const char *path, size_t *n) {
    Suite *s = suite_new();
    add_softmax(s, 100, true);
    add_norm(s, 64);
    add_softmax(s, 100, true);
    s->cases[2].k->name = "another.name";
    finish(s);
    CpuIsa isa;
    Text why = {.arena = a};
    assert_true(cpu_isa_resolve(a, "x86-64-v3", &isa, &why));
    CpuModule *m = cpu_module_new(a, &isa);
    uint32_t fn[3];
    for (int i = 0; i < 3; i++) fn[i] = cpu_add_kernel(m, s->cases[i].k);
    assert_int_equal(fn[0], fn[2]);
    assert_int_not_equal(fn[0], fn[1]);
    assert_int_equal(cpu_functions(m), 2);
    const ObjectProgram program = {.plan = "plan", .plan_size = 4};
    assert_true(cpu_write_object(m, &program, 1, path, &why));
    cpu_module_free(m);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = arena_alloc(a, 1 << 20);
    *n = fread(data, 1, 1 << 20, f);
    fclose(f);
    remove(path);
    arena_free(s->arena);
    return data;
}

// Kernels that differ in random keys only: an entry each, one body.
static void test_keys(void **state) {
    (void)state;
    Suite *s = suite_new();
    for (uint64_t key = 1; key <= 10; key++) add_random(s, 40, 0, key << 40);
    finish(s);
    CpuIsa isa;
    Text why = {.arena = s->arena}, text = {.arena = s->arena};
    assert_true(cpu_isa_resolve(s->arena, "x86-64-v3", &isa, &why));
    CpuModule *m = cpu_module_new(s->arena, &isa);
    for (uint32_t i = 0; i < s->n; i++) assert_int_equal(cpu_add_kernel(m, s->cases[i].k), i);
    cpu_print_llvm(m, &text);
    cpu_module_free(m);
    uint32_t defined = 0;
    for (const char *at = text.at; (at = strstr(at, "\ndefine ")); at++) defined++;
    assert_int_equal(defined, 11);
    arena_free(s->arena);
}

static void test_object(void **state) {
    (void)state;
    Arena *a = arena_new();
    size_t n1 = 0, n2 = 0;
    char *first = object_of(a, "test_cpu_1.o", &n1), *second = object_of(a, "test_cpu_2.o", &n2);
    assert_true(n1 > 1000);
    assert_int_equal(n1, n2);
    assert_memory_equal(first, second, n1);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isa),     cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_maps),    cmocka_unit_test(test_flat),
        cmocka_unit_test(test_masked),  cmocka_unit_test(test_folds),
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_columns),
        cmocka_unit_test(test_scatter), cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_random),  cmocka_unit_test(test_object),
        cmocka_unit_test(test_strips),  cmocka_unit_test(test_strip_scalars),
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

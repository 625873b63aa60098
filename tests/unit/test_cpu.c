// Native code against the slow evaluator, bit for bit (docs/numerics.md: exact interp = kinterp =
// CPU). Every kernel here runs through kernel_interp and, on each instruction set that this machine
// has, as one call over all tasks and as one call a task in reverse order. NaNs count as equal:
// IEEE leaves their bits open.
#include "codegen/cpu/cpu.h"
#include "ir/scalar.h"
#include "runtime/plan.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_CASES = 2048 };

typedef struct {
    Kernel *k;
    SnEnv env;
    int32_t limit[K_MAX_ARGS]; // i32 arguments: values in [0, limit); 0: any
    uint32_t fn;
} Case;

typedef struct {
    Arena *arena;
    Case cases[MAX_CASES];
    uint32_t n;
    uint64_t seed;
} Suite;

// ---- building kernels

static Suite *suite_new(void) {
    Arena *a = arena_new();
    Suite *s = NEW(a, Suite);
    s->arena = a;
    s->seed = 12345;
    return s;
}

static Case *case_new(Suite *s, const char *name, KOrder order, int64_t grain) {
    assert_true(s->n < MAX_CASES);
    Case *c = &s->cases[s->n++];
    c->k = NEW(s->arena, Kernel);
    c->k->name = arena_str(s->arena, name, strlen(name));
    c->k->order = order;
    c->k->grain = grain;
    c->env = (SnEnv){.first = 0, .step = 3, .seed = 0x123456789abcdefull, .sample = 7};
    return c;
}

// Outer extents, then lanes.
static void extents(Case *c, uint32_t outers, const int64_t *extent) {
    c->k->outers = outers;
    memcpy(c->k->extent, extent, (outers + 1) * sizeof *extent);
}

static uint32_t arg(Suite *s, Case *c, Elem e, KArgMode mode, int64_t count) {
    KArg a = {.elem = e, .mode = mode, .count = count};
    vec_push(s->arena, &c->k->args, a);
    return c->k->args.n - 1;
}

static KOp op_blank(KOpKind kind, Elem to) {
    return (KOp){.kind = (uint8_t)kind,
                 .to = (uint8_t)to,
                 .a = NONE,
                 .b = NONE,
                 .c = NONE,
                 .mask = NONE,
                 .index = {.op = NONE}};
}
static KId push(Suite *s, Case *c, KOp o) {
    vec_push(s->arena, &c->k->ops, o);
    return c->k->ops.n - 1;
}
static KId scalar(Suite *s, Case *c, Op op, Elem elem, Elem to, KId a, KId b, KId z) {
    KOp o = op_blank(KOP_scalar, to);
    o.op = (uint16_t)op;
    o.elem = (uint8_t)elem;
    o.a = a;
    o.b = b;
    o.c = z;
    return push(s, c, o);
}
static KId f32_op(Suite *s, Case *c, Op op, KId a, KId b) {
    return scalar(s, c, op, ELEM_f32, ELEM_f32, a, b, NONE);
}
static KId constant(Suite *s, Case *c, Elem to, double value) {
    KOp o = op_blank(KOP_const, to);
    o.value = value;
    return push(s, c, o);
}
static KId axis_index(Suite *s, Case *c, uint32_t axis) {
    KOp o = op_blank(KOP_index, ELEM_i32);
    o.axis = axis;
    return push(s, c, o);
}
static KId fold_value(Suite *s, Case *c, uint32_t fold, Elem to) {
    KOp o = op_blank(KOP_fold, to);
    o.fold = fold;
    return push(s, c, o);
}
static KIndex at(Case *c, const int64_t *strides) {
    KIndex x = {.op = NONE};
    memcpy(x.stride, strides, (c->k->outers + 1) * sizeof *strides);
    return x;
}
static KId load(Suite *s, Case *c, uint32_t a, KIndex x, KId mask) {
    KOp o = op_blank(KOP_load, (Elem)c->k->args.at[a].elem);
    o.arg = a;
    o.index = x;
    o.mask = mask;
    return push(s, c, o);
}
static void store(Suite *s, Case *c, uint32_t phase, uint32_t a, KIndex x, KId value, KId mask) {
    KStore st = {.arg = a, .phase = phase, .index = x, .value = value, .mask = mask};
    vec_push(s->arena, &c->k->stores, st);
}
static uint32_t row_fold(Suite *s, Case *c, ReduceKind kind, uint32_t phase, KId value) {
    KFold f = {.kind = kind, .phase = phase, .value = value, .index = {.op = NONE}, .plus = NONE};
    vec_push(s->arena, &c->k->folds, f);
    return c->k->folds.n - 1;
}
static void column_fold(Suite *s, Case *c, ReduceKind kind, uint32_t phase, KId value, uint32_t a,
                        KIndex x, int64_t chunk_stride, KId plus) {
    KFold f = {.kind = kind,
               .phase = phase,
               .value = value,
               .column = true,
               .arg = a,
               .index = x,
               .chunk_stride = chunk_stride,
               .plus = plus};
    vec_push(s->arena, &c->k->folds, f);
}

// ---- running

static uint64_t next(uint64_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

static uint32_t some_float(uint64_t *seed) {
    static const float special[] = {0.0f,          -0.0f,         INFINITY,    -INFINITY, NAN,
                                    1.0f,          -1.0f,         0.5f,        1e-40f,    -1e-42f,
                                    3e38f,         -3e38f,        88.0f,       -104.0f,   1e-30f,
                                    2147483648.0f, 4294967296.0f, 0.49999997f, 1.5f,      2.5f,
                                    -2.5f,         8388609.0f,    0.0078125f,  700.25f};
    uint64_t r = next(seed);
    float x = special[r % 24];
    if (r >> 60 > 3) x = (float)((double)(int64_t)next(seed) / 9.3e18 * (r & 256 ? 3.0 : 40.0));
    uint32_t bits = 0;
    memcpy(&bits, &x, 4);
    return bits;
}

static void fill(void *to, Elem e, int64_t n, int32_t limit, uint64_t *seed) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = e == ELEM_f32 ? some_float(seed) : (uint32_t)next(seed);
        if (e == ELEM_i32 && limit) v %= (uint32_t)limit;
        if (e != ELEM_f32 && !limit && next(seed) % 4 == 0)
            v = (uint32_t[]){0, 1, 0x80000000u, UINT32_MAX}[v % 4];
        if (e == ELEM_bool)
            ((uint8_t *)to)[i] = v & 1;
        else
            memcpy((char *)to + 4 * i, &v, 4);
    }
}

typedef struct {
    void *buf[K_MAX_ARGS];
} Buffers;

static int64_t arg_bytes(const Kernel *k, uint32_t i) {
    return k->args.at[i].count * elem_info[k->args.at[i].elem].bytes;
}

static Buffers buffers_new(const Case *c, uint64_t seed) {
    Buffers b = {{NULL}};
    for (uint32_t i = 0; i < c->k->args.n; i++) {
        b.buf[i] = malloc((size_t)arg_bytes(c->k, i) + 1); // exact, so that a checker sees overruns
        fill(b.buf[i], (Elem)c->k->args.at[i].elem, c->k->args.at[i].count, c->limit[i], &seed);
    }
    return b;
}
static void buffers_free(const Case *c, Buffers *b) {
    for (uint32_t i = 0; i < c->k->args.n; i++) free(b->buf[i]);
}

static bool same(Elem e, const void *x, const void *y, int64_t i) {
    if (e == ELEM_bool) return ((const uint8_t *)x)[i] == ((const uint8_t *)y)[i];
    uint32_t a, b;
    memcpy(&a, (const char *)x + 4 * i, 4);
    memcpy(&b, (const char *)y + 4 * i, 4);
    bool nan = (a & 0x7fffffff) > 0x7f800000 && (b & 0x7fffffff) > 0x7f800000;
    return a == b || (e == ELEM_f32 && nan);
}

static void show(const Case *c, Arena *a) {
    Text t = {.arena = a};
    kernel_print(&t, c->k);
    print_error("%s\n", t.at);
}

static void compare(Suite *s, const Case *c, const Buffers *want, const Buffers *got,
                    const char *how) {
    for (uint32_t i = 0; i < c->k->args.n; i++)
        for (int64_t j = 0; j < c->k->args.at[i].count; j++) {
            Elem e = (Elem)c->k->args.at[i].elem;
            if (same(e, want->buf[i], got->buf[i], j)) continue;
            show(c, s->arena);
            uint32_t x = 0, y = 0;
            memcpy(&x, (char *)want->buf[i] + j * elem_info[e].bytes, elem_info[e].bytes);
            memcpy(&y, (char *)got->buf[i] + j * elem_info[e].bytes, elem_info[e].bytes);
            fail_msg("%s (%s): arg %u [%lld]: kernel_interp %08x, native %08x", c->k->name, how, i,
                     (long long)j, x, y);
        }
}

static void run_tile(const Case *c, CpuFunction fn, Buffers *b, const float *tile, bool pieces) {
    SnEpilogueFn *f = (SnEpilogueFn *)(void *)&fn;
    const Kernel *k = c->k;
    int64_t rows = 1, lanes = k->extent[k->outers];
    for (uint32_t i = 0; i < k->outers; i++) rows *= k->extent[i];
    int64_t dr = pieces ? 3 : rows, dl = pieces ? 21 : lanes;
    for (int64_t r = 0; r < rows; r += dr)
        for (int64_t l = 0; l < lanes; l += dl)
            (*f)(b->buf, &c->env, tile + r * lanes + l, lanes, r, r + dr < rows ? r + dr : rows, l,
                 l + dl < lanes ? l + dl : lanes);
}

static void run_native(const Case *c, CpuFunction fn, Buffers *b, const float *tile, bool pieces) {
    if (c->k->order == KORDER_tile) {
        run_tile(c, fn, b, tile, pieces);
        return;
    }
    SnKernelFn *f = (SnKernelFn *)(void *)&fn;
    void *scratch = aligned_alloc(64, (size_t)(c->k->scratch + 63) / 64 * 64 + 64);
    memset(scratch, 0xff,
           (size_t)c->k->scratch); // NaNs: scratch must not be read before it is written
    if (pieces)
        for (int64_t t = c->k->tasks; t-- > 0;) (*f)(b->buf, &c->env, t, t + 1, scratch);
    else
        (*f)(b->buf, &c->env, 0, c->k->tasks, scratch);
    free(scratch);
}

static void check_case(Suite *s, const Case *c, CpuFunction fn, const char *isa) {
    uint64_t seed = s->seed + (uint64_t)(c - s->cases) * 7919;
    int64_t tiles = 1;
    for (uint32_t i = 0; i <= c->k->outers; i++) tiles *= c->k->extent[i];
    float *tile = c->k->order == KORDER_tile ? malloc((size_t)tiles * 4) : NULL;
    uint64_t tile_seed = 99;
    if (tile) fill(tile, ELEM_f32, tiles, 0, &tile_seed);
    Text why = {.arena = s->arena};
    Buffers want = buffers_new(c, seed);
    if (!kernel_interp(c->k, want.buf, &c->env, tile, &why)) {
        show(c, s->arena);
        fail_msg("%s: kernel_interp: %s", c->k->name, why.at);
    }
    for (int pieces = 0; pieces < 2; pieces++) {
        Buffers got = buffers_new(c, seed);
        run_native(c, fn, &got, tile, pieces != 0);
        compare(s, c, &want, &got, isa);
        buffers_free(c, &got);
    }
    buffers_free(c, &want);
    free(tile);
}

static void finish(Suite *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        Text why = {.arena = s->arena};
        if (!kernel_finish(s->cases[i].k, &why)) {
            show(&s->cases[i], s->arena);
            fail_msg("%s: kernel_finish: %s", s->cases[i].k->name, why.at);
        }
    }
}

static void check_on(Suite *s, const char *name) {
    Text why = {.arena = s->arena};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(s->arena, name, &isa, &why));
    if (!isa.here) {
        print_message("%s: not run, this machine lacks it\n", name);
        return;
    }
    CpuModule *m = cpu_module_new(s->arena, &isa);
    for (uint32_t i = 0; i < s->n; i++) s->cases[i].fn = cpu_add_kernel(m, s->cases[i].k);
    CpuJit *j = cpu_jit(m, &why);
    if (!j) fail_msg("cpu_jit: %s", why.at);
    cpu_module_free(m);
    for (uint32_t i = 0; i < s->n; i++)
        check_case(s, &s->cases[i], cpu_jit_function(j, s->cases[i].fn), isa.name);
    cpu_jit_free(j);
}

// Both equal kernel_interp, so they equal each other.
static void check_all(Suite *s) {
    finish(s);
    check_on(s, "x86-64-v3");
    check_on(s, "x86-64-v4");
    arena_free(s->arena);
}

// ---- scalar ops: every op, every element type, whole vectors and a rest

static void add_scalar(Suite *s, Op op, Elem elem, Elem to) {
    Case *c = case_new(s,
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
                if (op == OP_cast || (op == OP_bitcast && elem_info[e].bytes == elem_info[t].bytes))
                    add_scalar(s, (Op)op, (Elem)e, (Elem)t);
        }
    check_all(s);
}

// ---- maps: shapes, strides, broadcast, gather, masks, in place

static void add_map(Suite *s, int64_t rows, int64_t lanes, int64_t grain) {
    Case *c =
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
    Case *c = case_new(s, arena_printf(s->arena, "flat.%lld.%lld", (long long)n, (long long)cut),
                       KORDER_rows, 1);
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
    Case *c = case_new(s, arena_printf(s->arena, "masked.%lld", (long long)lanes), KORDER_rows, 2);
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
    c->limit[ids] = VOCAB;
    c->limit[picks] = (int32_t)(VOCAB * lanes);
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
    Case *c = case_new(s,
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
                if (logic == (e == ELEM_bool))
                    add_fold(s, (ReduceKind)kind, (Elem)e, lanes[i], i % 2 == 1 && !logic);
        }
    check_all(s);
}

// Softmax of three phases with a held exponential, and layer norm with two folds in a phase.
static void add_softmax(Suite *s, int64_t lanes, bool hold) {
    Case *c = case_new(s, arena_printf(s->arena, "softmax.%lld.%d", (long long)lanes, hold),
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
    Case *c = case_new(s, arena_printf(s->arena, "norm.%lld", (long long)lanes), KORDER_rows, 2);
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
    Case *c = case_new(s,
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
    Case *c =
        case_new(s, arena_printf(s->arena, "scatter.%lld.%lld", (long long)lanes, (long long)grain),
                 KORDER_lanes, grain);
    enum { ROWS = 23, VOCAB = 5 };
    extents(c, 1, (int64_t[]){ROWS, lanes});
    uint32_t ids = arg(s, c, ELEM_i32, KARG_in, ROWS),
             table = arg(s, c, ELEM_f32, KARG_inout, VOCAB * lanes);
    c->limit[ids] = VOCAB;
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
    Case *c =
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

static void test_epilogues(void **state) {
    (void)state;
    Suite *s = suite_new();
    static const int64_t lanes[] = {1, 16, 40, 64};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) add_epilogue(s, lanes[i]);
    check_all(s);
}

static void add_random(Suite *s, int64_t lanes, uint32_t fixed) {
    Case *c = case_new(s, arena_printf(s->arena, "random.%lld.%u", (long long)lanes, fixed),
                       KORDER_rows, 2);
    extents(c, 2, (int64_t[]){3, 4, lanes});
    KIndex x = at(c, (int64_t[]){4 * lanes, lanes, 1});
    for (uint32_t w = 0; w < 4; w++) {
        KOp o = op_blank(KOP_random, ELEM_u32);
        o.index = at(c, (int64_t[]){lanes, 3 * lanes, w == 3 ? 0 : 1});
        o.index.base = 0xfffffff0ll; // the low half of the counter overflows within a row
        o.key = 0xfedcba9876543210ull + w;
        o.word = w;
        o.fixed = fixed;
        o.sample_stride = 12 * lanes;
        store(s, c, 0, arg(s, c, ELEM_u32, KARG_out, 12 * lanes), x, push(s, c, o), NONE);
    }
}

static void test_random(void **state) {
    (void)state;
    Suite *s = suite_new();
    add_random(s, 40, 0);
    add_random(s, 16, 1);
    add_random(s, 3, 0);
    check_all(s);
}

// ---- instruction sets and equal kernels

static void test_isa(void **state) {
    (void)state;
    Arena *a = arena_new();
    Text why = {.arena = a};
    CpuIsa isa;
    assert_false(cpu_isa_resolve(a, "pentium", &isa, &why));
    assert_string_equal(why.at, "unknown CPU 'pentium'; known are native, x86-64-v3, x86-64-v4");
    assert_true(cpu_isa_resolve(a, "x86-64-v3", &isa, &why));
    assert_int_equal(isa.features, SN_CPU_AVX2 | SN_CPU_FMA);
    assert_int_equal(isa.lanes, 8);
    assert_true(cpu_isa_resolve(a, "x86-64-v4", &isa, &why));
    assert_int_equal(isa.features, SN_CPU_AVX2 | SN_CPU_FMA | SN_CPU_AVX512);
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
    assert_true(cpu_write_object(m, "plan", 4, path, &why));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

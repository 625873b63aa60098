// Building kernels in C and comparing native code with the slow evaluator, bit for bit
// (docs/numerics.md: exact interp = kinterp = CPU). Every kernel runs through kernel_interp and, on
// each instruction set that this machine has, as one call over all tasks and as one call a task in
// reverse order. An epilogue or a strip runs on whole rectangles and piece by piece; a strip over whole rows
// also equals the `rows` kernel that has its tiles in memory. NaNs count as equal: IEEE leaves their
// bits open. Shared by the tests of the CPU printer.
#pragma once
#include "codegen/cpu/cpu.h"
#include "ir/scalar.h"
#include "runtime/plan.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { MAX_CASES = 2048 };

typedef struct {
    Kernel *k;
    SnEnv env;
    int32_t limit[K_MAX_ARGS]; // i32 arguments: values in [0, limit); 0: any
    bool tame;                 // floats are ordinary numbers: sums show their order
    uint32_t fn;
    Kernel *rows; // strips: the same body over tiles in memory
    uint32_t rows_fn;
} KernelCase;

typedef struct {
    Arena *arena;
    KernelCase cases[MAX_CASES];
    uint32_t n;
    uint64_t seed;
} Suite;

// ---- building kernels

static inline Suite *suite_new(void) {
    Arena *a = arena_new();
    Suite *s = NEW(a, Suite);
    s->arena = a;
    s->seed = 12345;
    return s;
}

static inline KernelCase *case_new(Suite *s, const char *name, KOrder order, int64_t grain) {
    assert_true(s->n < MAX_CASES);
    KernelCase *c = &s->cases[s->n++];
    c->k = NEW(s->arena, Kernel);
    c->k->name = arena_str(s->arena, name, strlen(name));
    c->k->order = order;
    c->k->grain = grain;
    c->env = (SnEnv){.first = 0, .step = 3, .seed = 0x123456789abcdefull, .sample = 7};
    return c;
}

// Outer extents, then lanes.
static inline void extents(KernelCase *c, uint32_t outers, const int64_t *extent) {
    c->k->outers = outers;
    memcpy(c->k->extent, extent, (outers + 1) * sizeof *extent);
}

static inline uint32_t arg(Suite *s, KernelCase *c, Elem e, KArgMode mode, int64_t count) {
    KArg a = {.elem = e, .mode = mode, .count = count};
    vec_push(s->arena, &c->k->args, a);
    return c->k->args.n - 1;
}

static inline KOp op_blank(KOpKind kind, Elem to) {
    return (KOp){.kind = (uint8_t)kind,
                 .to = (uint8_t)to,
                 .a = NONE,
                 .b = NONE,
                 .c = NONE,
                 .mask = NONE,
                 .index = {.op = NONE}};
}
static inline KId push(Suite *s, KernelCase *c, KOp o) {
    vec_push(s->arena, &c->k->ops, o);
    return c->k->ops.n - 1;
}
static inline KId scalar(Suite *s, KernelCase *c, Op op, Elem elem, Elem to, KId a, KId b, KId z) {
    KOp o = op_blank(KOP_scalar, to);
    o.op = (uint16_t)op;
    o.elem = (uint8_t)elem;
    o.a = a;
    o.b = b;
    o.c = z;
    return push(s, c, o);
}
static inline KId f32_op(Suite *s, KernelCase *c, Op op, KId a, KId b) {
    return scalar(s, c, op, ELEM_f32, ELEM_f32, a, b, NONE);
}
static inline KId constant(Suite *s, KernelCase *c, Elem to, double value) {
    KOp o = op_blank(KOP_const, to);
    o.value = value;
    return push(s, c, o);
}
static inline KId axis_index(Suite *s, KernelCase *c, uint32_t axis) {
    KOp o = op_blank(KOP_index, ELEM_i32);
    o.axis = axis;
    return push(s, c, o);
}
static inline KId fold_value(Suite *s, KernelCase *c, uint32_t fold, Elem to) {
    KOp o = op_blank(KOP_fold, to);
    o.fold = fold;
    return push(s, c, o);
}
static inline KIndex at(KernelCase *c, const int64_t *strides) {
    KIndex x = {.op = NONE};
    memcpy(x.stride, strides, (c->k->outers + 1) * sizeof *strides);
    return x;
}
static inline KId load(Suite *s, KernelCase *c, uint32_t a, KIndex x, KId mask) {
    KOp o = op_blank(KOP_load, (Elem)c->k->args.at[a].elem);
    o.arg = a;
    o.index = x;
    o.mask = mask;
    return push(s, c, o);
}
static inline void store(Suite *s, KernelCase *c, uint32_t phase, uint32_t a, KIndex x, KId value,
                         KId mask) {
    KStore st = {.arg = a, .phase = phase, .index = x, .value = value, .mask = mask};
    vec_push(s->arena, &c->k->stores, st);
}
static inline uint32_t row_fold(Suite *s, KernelCase *c, ReduceKind kind, uint32_t phase,
                                KId value) {
    KFold f = {.kind = kind, .phase = phase, .value = value, .index = {.op = NONE}, .plus = NONE};
    vec_push(s->arena, &c->k->folds, f);
    return c->k->folds.n - 1;
}
static inline void column_fold(Suite *s, KernelCase *c, ReduceKind kind, uint32_t phase, KId value,
                               uint32_t a, KIndex x, int64_t chunk_stride, KId plus) {
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

static inline uint64_t next(uint64_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

static inline uint32_t some_float(uint64_t *seed, bool tame) {
    static const float special[] = {0.0f,          -0.0f,         INFINITY,    -INFINITY, NAN,
                                    1.0f,          -1.0f,         0.5f,        1e-40f,    -1e-42f,
                                    3e38f,         -3e38f,        88.0f,       -104.0f,   1e-30f,
                                    2147483648.0f, 4294967296.0f, 0.49999997f, 1.5f,      2.5f,
                                    -2.5f,         8388609.0f,    0.0078125f,  700.25f};
    uint64_t r = next(seed);
    float x = special[r % 24];
    if (tame || r >> 60 > 3)
        x = (float)((double)(int64_t)next(seed) / 9.3e18 * (r & 256 ? 3.0 : 40.0));
    uint32_t bits = 0;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline void fill(void *to, Elem e, int64_t n, int32_t limit, bool tame, uint64_t *seed) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = e == ELEM_f32 ? some_float(seed, tame) : (uint32_t)next(seed);
        if (e == ELEM_i32 && limit) v %= (uint32_t)limit;
        if (e != ELEM_f32 && !limit && next(seed) % 4 == 0)
            v = (uint32_t[]){0, 1, 0x80000000u, UINT32_MAX}[v % 4];
        if (e == ELEM_bool) v &= 1;
        memcpy((char *)to + elem_info[e].bytes * i, &v, elem_info[e].bytes);
    }
}

typedef struct {
    void *buf[K_MAX_ARGS + K_MAX_TILES];
} Buffers;

static inline int64_t arg_bytes(const Kernel *k, uint32_t i) {
    return k->args.at[i].count * elem_info[k->args.at[i].elem].bytes;
}

// Memory that ends where a page ends that must not be touched: a read beyond a buffer stops the
// test.
static inline size_t guarded_size(int64_t bytes) {
    return ((size_t)bytes + 4095) / 4096 * 4096 + 4096;
}
static inline void *guarded_new(int64_t bytes) {
    size_t n = guarded_size(bytes);
    char *base = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    assert_int_equal(mprotect(base + n - 4096, 4096, PROT_NONE), 0);
    return base + n - 4096 - bytes;
}
static inline void guarded_free(void *p, int64_t bytes) {
    size_t n = guarded_size(bytes);
    munmap((char *)p + bytes + 4096 - n, n);
}

static inline Buffers buffers_new(const KernelCase *c, uint64_t seed) {
    Buffers b = {{NULL}};
    for (uint32_t i = 0; i < c->k->args.n; i++) {
        b.buf[i] = guarded_new(arg_bytes(c->k, i));
        fill(b.buf[i], (Elem)c->k->args.at[i].elem, c->k->args.at[i].count, c->limit[i], c->tame,
             &seed);
    }
    return b;
}
static inline void buffers_free(const KernelCase *c, Buffers *b) {
    for (uint32_t i = 0; i < c->k->args.n; i++) guarded_free(b->buf[i], arg_bytes(c->k, i));
}

static inline bool same(Elem e, const void *x, const void *y, int64_t i) {
    uint32_t a = 0, b = 0, bytes = elem_info[e].bytes;
    memcpy(&a, (const char *)x + bytes * i, bytes);
    memcpy(&b, (const char *)y + bytes * i, bytes);
    if (a == b || elem_info[e].kind != ELEM_FLOAT) return a == b;
    a = scalar_from_memory(e, a), b = scalar_from_memory(e, b); // as f32
    return (a & 0x7fffffff) > 0x7f800000 && (b & 0x7fffffff) > 0x7f800000;
}

static inline void show(const KernelCase *c, Arena *a) {
    Text t = {.arena = a};
    kernel_print(&t, c->k);
    print_error("%s\n", t.at);
}

static inline void compare(Suite *s, const KernelCase *c, const Buffers *want, const Buffers *got,
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

// ---- kernels over tasks

static inline void run_tasks(const Kernel *k, const SnEnv *env, CpuFunction fn, void *const *bufs,
                             bool pieces) {
    SnKernelFn *f = (SnKernelFn *)(void *)&fn;
    void *scratch = aligned_alloc(64, (size_t)(k->scratch + 63) / 64 * 64 + 64);
    memset(scratch, 0xff,
           (size_t)k->scratch); // NaNs: scratch must not be read before it is written
    if (pieces)
        for (int64_t t = k->tasks; t-- > 0;) (*f)(bufs, env, t, t + 1, scratch);
    else
        (*f)(bufs, env, 0, k->tasks, scratch);
    free(scratch);
}

static inline void interpret(Suite *s, const KernelCase *c, const Buffers *b, const KRect *rect) {
    Text why = {.arena = s->arena};
    if (kernel_interp(c->k, b->buf, &c->env, rect, &why)) return;
    show(c, s->arena);
    fail_msg("%s: kernel_interp: %s", c->k->name, why.at);
}

static inline void check_tasks(Suite *s, const KernelCase *c, CpuFunction fn, uint64_t seed,
                               const char *isa) {
    Buffers want = buffers_new(c, seed);
    interpret(s, c, &want, NULL);
    for (int pieces = 0; pieces < 2; pieces++) {
        Buffers got = buffers_new(c, seed);
        run_tasks(c->k, &c->env, fn, got.buf, pieces != 0);
        compare(s, c, &want, &got, isa);
        buffers_free(c, &got);
    }
    buffers_free(c, &want);
}

// ---- kernels over rectangles

typedef struct {
    float *at[K_MAX_TILES];
    int64_t bytes;
} KernelTiles;

static inline int64_t row_count(const Kernel *k) {
    int64_t rows = 1;
    for (uint32_t i = 0; i < k->outers; i++) rows *= k->extent[i];
    return rows;
}

static inline KernelTiles tiles_new(const KernelCase *c, int64_t ld) {
    KernelTiles t = {.bytes = row_count(c->k) * ld * 4};
    uint64_t seed = 99;
    for (uint32_t i = 0; i < c->k->tiles; i++) {
        t.at[i] = guarded_new(t.bytes);
        fill(t.at[i], ELEM_f32, t.bytes / 4, 0, c->tame, &seed);
    }
    return t;
}
static inline void tiles_free(const KernelCase *c, KernelTiles *t) {
    for (uint32_t i = 0; i < c->k->tiles; i++) guarded_free(t->at[i], t->bytes);
}
static inline void compare_tiles(Suite *s, const KernelCase *c, const KernelTiles *want,
                                 const KernelTiles *got, const char *how) {
    for (uint32_t i = 0; i < c->k->tiles; i++)
        for (int64_t j = 0; j < want->bytes / 4; j++) {
            if (same(ELEM_f32, want->at[i], got->at[i], j)) continue;
            show(c, s->arena);
            fail_msg("%s (%s): tile %u [%lld]: %a, expected %a", c->k->name, how, i, (long long)j,
                     (double)got->at[i][j], (double)want->at[i][j]);
        }
}

static inline void call_rect(const KernelCase *c, CpuFunction fn, const Buffers *b,
                             const KRect *x) {
    if (c->k->order == KORDER_tile) {
        SnEpilogueFn *f = (SnEpilogueFn *)(void *)&fn;
        (*f)(b->buf, &c->env, x->tiles[0], x->ld, x->row0, x->row1, x->lane0, x->lane1);
        return;
    }
    SnStripFn *f = (SnStripFn *)(void *)&fn;
    void *scratch = aligned_alloc(64, (size_t)(c->k->scratch + 63) / 64 * 64 + 64);
    memset(scratch, 0xff, (size_t)c->k->scratch);
    (*f)(b->buf, &c->env, x->tiles, x->ld, x->row0, x->row1, x->lane0, x->lane1, scratch);
    free(scratch);
}

// The rectangle in pieces of dr x dl.
static inline void run_rect(const KernelCase *c, CpuFunction fn, const Buffers *b, const KRect *x,
                            int64_t dr, int64_t dl) {
    for (int64_t r = x->row0; r < x->row1; r += dr)
        for (int64_t l = x->lane0; l < x->lane1; l += dl) {
            float *at[K_MAX_TILES];
            for (uint32_t i = 0; i < c->k->tiles; i++)
                at[i] = x->tiles[i] + (r - x->row0) * x->ld + (l - x->lane0);
            int64_t r1 = r + dr < x->row1 ? r + dr : x->row1;
            int64_t l1 = l + dl < x->lane1 ? l + dl : x->lane1;
            call_rect(c, fn, b, &(KRect){at, x->ld, r, r1, l, l1});
        }
}

// All rows and lanes [lane0, lane1), in tiles whose rows are `gap` longer.
static inline void check_rect(Suite *s, const KernelCase *c, CpuFunction fn, uint64_t seed,
                              const char *isa, int64_t lane0, int64_t lane1, int64_t gap) {
    int64_t ld = lane1 - lane0 + gap, rows = row_count(c->k);
    Buffers want = buffers_new(c, seed);
    KernelTiles in = tiles_new(c, ld);
    interpret(s, c, &want, &(KRect){in.at, ld, 0, rows, lane0, lane1});
    for (int pieces = 0; pieces < 2; pieces++) {
        Buffers got = buffers_new(c, seed);
        KernelTiles t = tiles_new(c, ld);
        run_rect(c, fn, &got, &(KRect){t.at, ld, 0, rows, lane0, lane1}, pieces ? 3 : rows,
                 pieces && c->k->order == KORDER_tile ? 21 : lane1 - lane0);
        compare(s, c, &want, &got, isa);
        compare_tiles(s, c, &in, &t, isa);
        buffers_free(c, &got);
        tiles_free(c, &t);
    }
    buffers_free(c, &want);
    tiles_free(c, &in);
}

// The kernel over rows of the same body, the tiles as arguments behind the others.
static inline Kernel *as_rows(Suite *s, const Kernel *strip) {
    Kernel *k = NEW(s->arena, Kernel);
    *k = *strip;
    k->order = KORDER_rows;
    k->grain = 2;
    k->args.at = NULL, k->args.n = k->args.cap = 0;
    k->ops.at = NULL, k->ops.n = k->ops.cap = 0;
    k->stores.at = NULL, k->stores.n = k->stores.cap = 0;
    for (uint32_t i = 0; i < strip->args.n; i++) vec_push(s->arena, &k->args, strip->args.at[i]);
    KIndex all = {.op = NONE};
    int64_t count = 1;
    for (uint32_t i = k->outers + 1; i-- > 0;) all.stride[i] = count, count *= k->extent[i];
    KArg tile = {.elem = ELEM_f32, .mode = KARG_inout, .count = count};
    for (uint32_t i = 0; i < strip->tiles; i++) vec_push(s->arena, &k->args, tile);
    for (KId i = 0; i < strip->ops.n; i++) {
        KOp o = strip->ops.at[i];
        if (o.kind == KOP_tile) o.kind = KOP_load, o.index = all, o.arg += strip->args.n;
        vec_push(s->arena, &k->ops, o);
    }
    for (uint32_t i = 0; i < strip->stores.n; i++) {
        KStore st = strip->stores.at[i];
        if (st.tile) st.tile = false, st.index = all, st.arg += strip->args.n;
        vec_push(s->arena, &k->stores, st);
    }
    Text why = {.arena = s->arena};
    if (!kernel_finish(s->arena, k, &why)) fail_msg("%s: as rows: %s", strip->name, why.at);
    return k;
}

// A strip over whole rows and the kernel over rows, both native.
static inline void check_rows(Suite *s, const KernelCase *c, CpuFunction fn, CpuFunction rows,
                              uint64_t seed, const char *isa) {
    int64_t lanes = c->k->extent[c->k->outers];
    Buffers want = buffers_new(c, seed), got = buffers_new(c, seed);
    KernelTiles in = tiles_new(c, lanes), t = tiles_new(c, lanes);
    for (uint32_t i = 0; i < c->k->tiles; i++) want.buf[c->k->args.n + i] = in.at[i];
    run_tasks(c->rows, &c->env, rows, want.buf, false);
    call_rect(c, fn, &got, &(KRect){t.at, lanes, 0, row_count(c->k), 0, lanes});
    compare(s, c, &want, &got, isa);
    compare_tiles(s, c, &in, &t, isa);
    buffers_free(c, &want);
    buffers_free(c, &got);
    tiles_free(c, &in);
    tiles_free(c, &t);
}

static inline void check_case(Suite *s, const KernelCase *c, const CpuJit *j, const char *isa) {
    uint64_t seed = s->seed + (uint64_t)(c - s->cases) * 7919;
    CpuFunction fn = cpu_jit_function(j, c->fn);
    int64_t lanes = c->k->extent[c->k->outers];
    if (c->k->order != KORDER_tile && c->k->order != KORDER_strip) {
        check_tasks(s, c, fn, seed, isa);
        return;
    }
    check_rect(s, c, fn, seed, isa, 0, lanes, 0);
    if (c->k->order == KORDER_tile) return;
    check_rows(s, c, fn, cpu_jit_function(j, c->rows_fn), seed, isa);
    const int64_t step = lanes > 1024 ? lanes / 256 * 128 + 128 : 128;
    for (int64_t i = 0; i * step < lanes; i++) // to the end of the row, or not
        check_rect(s, c, fn, seed, isa, i * step, i % 2 ? lanes : lanes - (lanes - i * step) / 3,
                   5);
}

// Values of an index argument stay below what its uses allow.
static inline void limit_index(KernelCase *c, uint32_t to, const KIndex *x) {
    if (x->op == NONE || c->k->ops.at[x->op].kind != KOP_load || x->op_stride <= 0) return;
    int64_t last = x->base;
    for (uint32_t i = 0; i <= c->k->outers; i++)
        if (x->stride[i] > 0) last += x->stride[i] * (c->k->extent[i] - 1);
    int32_t n = (int32_t)((c->k->args.at[to].count - 1 - last) / x->op_stride + 1);
    int32_t *limit = &c->limit[c->k->ops.at[x->op].arg];
    if (*limit == 0 || n < *limit) *limit = n;
}

static inline void limit_indices(KernelCase *c) {
    for (KId i = 0; i < c->k->ops.n; i++)
        if (c->k->ops.at[i].kind == KOP_load)
            limit_index(c, c->k->ops.at[i].arg, &c->k->ops.at[i].index);
    for (uint32_t i = 0; i < c->k->stores.n; i++)
        limit_index(c, c->k->stores.at[i].arg, &c->k->stores.at[i].index);
}

static inline void finish(Suite *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        limit_indices(&s->cases[i]);
        Text why = {.arena = s->arena};
        if (!kernel_finish(s->arena, s->cases[i].k, &why)) {
            show(&s->cases[i], s->arena);
            fail_msg("%s: kernel_finish: %s", s->cases[i].k->name, why.at);
        }
        if (s->cases[i].k->order == KORDER_strip) s->cases[i].rows = as_rows(s, s->cases[i].k);
    }
}

static inline void check_on(Suite *s, const char *name) {
    Text why = {.arena = s->arena};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(s->arena, name, &isa, &why));
    if (!isa.here) {
        print_message("%s: not run, this machine lacks it\n", name);
        return;
    }
    CpuModule *m = cpu_module_new(s->arena, &isa);
    for (uint32_t i = 0; i < s->n; i++) {
        KernelCase *c = &s->cases[i];
        c->fn = cpu_add_kernel(m, c->k);
        if (c->rows) c->rows_fn = cpu_add_kernel(m, c->rows);
    }
    CpuJit *j = cpu_jit(m, &why);
    if (!j) fail_msg("cpu_jit: %s", why.at);
    cpu_module_free(m);
    for (uint32_t i = 0; i < s->n; i++) check_case(s, &s->cases[i], j, isa.name);
    cpu_jit_free(j);
}

// Both equal kernel_interp, so they equal each other.
static inline void check_all(Suite *s) {
    finish(s);
    check_on(s, "x86-64-v3");
    check_on(s, "x86-64-v4");
    arena_free(s->arena);
}

// Attention in strips (runtime/core/attend.c) against its definition, by equality of bits: random outer axes,
// strides, features, element types, products and sums over keys and rows, hulls, strips and threads, every
// instruction set that runs here, sums in pairs by floats and by words; longer sums than a segment. Buffers and workspaces are as large as they must be, so that
// a sanitizer sees what is read or written outside.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cpu/cpu.h"
#include "runtime/core/attend.h"
#include "runtime/core/pool.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 200, STRIP_SCRATCH = 192 };
static const char *const isas[] = {"x86-64-v3", "x86-64-v4"};
enum { ISAS = sizeof isas / sizeof *isas };

typedef struct {
    Arena *arena;
    uint32_t n;
    SnGemmKit kit[ISAS + 2];
    CpuJit *jit[ISAS + 2];
} AttendWorld;

// ---- Random cases -------------------------------------------------------------------------------

static uint64_t state = 1;
static uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}
static int64_t pick(int64_t lo, int64_t hi) { return lo + (int64_t)next() % (hi - lo + 1); }
#define ONE_OF(...)                                                                                \
    ((const int64_t[]){__VA_ARGS__}[next() % (sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t))])

static float value(void) {
    switch (next() % 16) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return 1e-40f;  // subnormal
    case 3: return -3e-23f; // products underflow
    }
    return (float)(int32_t)next() * 0x1p-31f - 0.5f;
}

enum { BUFS = 2 * SN_ATTEND_PARTS };
typedef struct {
    SnAttend a;
    SnHull *hulls;
    int64_t outer, count[BUFS];    // outer indices; elements of each argument
    float *buf[BUFS], *want[BUFS]; // as numbers
    void *mem[BUFS];               // as they lie; of f32, buf
    float *row, *want_row;         // what the strip kernel stores
    int32_t tiles[3];              // that products made, and all; whether they become bf16
} AttendCase;

typedef struct {
    int64_t extent, *stride;
} StridedExtent;

static void shuffle(StridedExtent *d, uint32_t n) {
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t o = i + next() % (n - i);
        StridedExtent swap = d[i];
        d[i] = d[o], d[o] = swap;
    }
}

// Lays out x or y of a part, which has these outer axes; returns how many floats it spans.
static int64_t lay_out(AttendCase *c, SnAttendPart *p, bool y, uint32_t outer) {
    StridedExtent d[SN_ATTEND_OUTER + SN_GEMM_DIMS + 1];
    uint32_t n = 0;
    bool keys = p->kind == SN_ATTEND_KEYS ? !y : y && p->kind != SN_ATTEND_DENSE;
    for (uint32_t i = p->nf; i-- > 0;)
        d[n++] = (StridedExtent){p->f[i].extent, y ? &p->f[i].b : &p->f[i].a};
    for (uint32_t i = 0; i < c->a.nouter; i++)
        if (outer >> i & 1)
            d[n++] = (StridedExtent){c->a.outer[i], y ? &p->outer_y[i] : &p->outer_x[i]};
    d[n++] = (StridedExtent){keys ? c->a.keys : c->a.rows, y ? &p->step_y : &p->step_x};
    if (next() % 3)
        shuffle(d + p->nf, n - p->nf); // features are adjacent
    else
        shuffle(d, n);
    int64_t at = next() % 6 ? 1 : 2, base = pick(0, 3), size = base + 1;
    for (uint32_t i = 0; i < n; i++) {
        *d[i].stride = at;
        size += (d[i].extent - 1) * at;
        at = at * d[i].extent + (i >= p->nf && next() % 5 == 0);
    }
    *(y ? &p->base_y : &p->base_x) = base;
    return size;
}

static void add_part(AttendCase *c, SnAttendKind kind, uint32_t tile, int64_t features) {
    SnAttend *a = &c->a;
    uint32_t i = a->nparts++, all = (1u << a->nouter) - 1;
    SnAttendPart *p = &a->part[i];
    *p = (SnAttendPart){.kind = kind, .tile = tile, .x = 2 * i, .y = 2 * i + 1};
    if (features % 4 == 0 && next() % 2) {
        p->f[p->nf++].extent = 4;
        features /= 4;
    }
    if (features > 1 || next() % 2) p->f[p->nf++].extent = features;
    bool product = kind == SN_ATTEND_PRODUCT, dense = kind == SN_ATTEND_DENSE;
    if (dense) p->chunk = ONE_OF(1, 2, 3, 32);
    if (c->tiles[2] && !dense) { // bf16 mostly
        static const uint32_t elem[] = {SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_f16,
                                        SN_ELEM_f32};
        p->elem_x = elem[next() % 5];
        if (product) p->elem_y = elem[next() % 5];
        if (!product) p->elem_tile = elem[next() % 5]; // a number that bf16 holds, f32 does too
        if (p->elem_tile == SN_ELEM_f16) p->elem_tile = SN_ELEM_f32;
    }
    c->count[2 * i] = lay_out(c, p, false, next() & all);
    c->count[2 * i + 1] = lay_out(c, p, true, kind == SN_ATTEND_KEYS ? all : next() & all);
}

static float *new_floats(int64_t n) {
    float *to = malloc((size_t)n * sizeof *to);
    assert_non_null(to);
    for (int64_t i = 0; i < n; i++) to[i] = value();
    return to;
}

// The nearest number towards 0 that bf16 holds.
static float cut(float x) {
    uint16_t half[2]; // as one word, gcc 12 loses the mask
    memcpy(half, &x, sizeof x);
    half[0] = 0;
    memcpy(&x, half, sizeof x);
    return x;
}

// Memory of the element type with the n numbers, which become such that it holds them.
static void *in_memory(uint32_t elem, float *x, int64_t n) {
    uint16_t *to = elem == SN_ELEM_f32 ? NULL : malloc((size_t)n * sizeof *to);
    for (int64_t i = 0; to && i < n; i++) {
        uint32_t bits;
        if (elem == SN_ELEM_f16) { // a quarter of a whole number: 11 bits are enough
            int quarters = (int)pick(-2000, 2000), q = quarters < 0 ? -quarters : quarters, e = 0;
            for (x[i] = (float)quarters * 0.25f; q >= 2048; e++) q /= 2;
            while (q && q < 1024) q *= 2, e--;
            bits = q ? (uint32_t)(e + 23) << 10 | ((uint32_t)q & 1023) : 0;
            to[i] = (uint16_t)(bits | (quarters < 0 ? 0x8000u : 0));
            continue;
        }
        x[i] = cut(x[i]);
        memcpy(&bits, x + i, sizeof bits);
        to[i] = (uint16_t)(bits >> 16);
    }
    return to ? (void *)to : x;
}

static void random_hulls(AttendCase *c) {
    int64_t strips = sn_ceil_div(c->a.rows, c->a.strip);
    c->hulls = calloc((size_t)strips, sizeof *c->hulls);
    for (int64_t i = 0; i < strips; i++) {
        int64_t first = pick(0, c->a.keys / SN_ATTEND_HULL) * SN_ATTEND_HULL;
        bool whole = next() % 3 == 0;
        c->hulls[i].first = whole ? 0 : (int32_t)first;
        c->hulls[i].end = (int32_t)(whole ? c->a.keys : pick(first, c->a.keys));
    }
}

static void case_buffers(AttendCase *c) {
    c->outer = 1;
    for (uint32_t i = 0; i < c->a.nouter; i++) c->outer *= c->a.outer[i];
    c->a.args = 2 * c->a.nparts;
    for (uint32_t i = 0; i < c->a.args; i++) {
        const SnAttendPart *p = &c->a.part[i / 2];
        c->buf[i] = new_floats(c->count[i]);
        c->mem[i] = in_memory(i % 2 ? p->elem_y : p->elem_x, c->buf[i], c->count[i]);
        c->want[i] = new_floats(c->count[i]);
        memcpy(c->want[i], c->buf[i], (size_t)c->count[i] * sizeof(float));
    }
    c->row = new_floats(c->outer * c->a.rows);
    c->want_row = new_floats(c->outer * c->a.rows);
    c->tiles[1] = (int32_t)c->a.tiles;
    random_hulls(c);
}

static void case_free(AttendCase *c) {
    for (uint32_t i = 0; i < c->a.args; i++) {
        if (c->mem[i] != c->buf[i]) free(c->mem[i]);
        free(c->buf[i]), free(c->want[i]);
    }
    free(c->row), free(c->want_row), free(c->hulls);
}

// ---- The definition -----------------------------------------------------------------------------

// A value for each row in the order of its keys, then every tile from all of them and that value.
static void strip(void *const *bufs, const SnEnv *env, float *const *tiles, int64_t ld,
                  int64_t row0, int64_t row1, int64_t lane0, int64_t lane1, void *scratch) {
    (void)env;
    const int32_t *n = bufs[0];
    float *out = bufs[1];
    if (scratch) memset(scratch, 0xff, STRIP_SCRATCH);
    assert_int_equal(lane0 % SN_ATTEND_HULL, 0);
    for (int64_t r = row0; r < row1; r++) {
        float sum = 0.0f;
        for (int64_t k = 0; k < lane1 - lane0; k++) {
            for (int32_t t = 0; t < n[0]; t++) sum += tiles[t][(r - row0) * ld + k];
            for (int32_t t = n[0]; t < n[1]; t++) tiles[t][(r - row0) * ld + k] = (float)(k + t);
        }
        out[r] = sum;
        for (int64_t k = 0; k < lane1 - lane0; k++)
            for (int32_t t = 0; t < n[1]; t++) {
                float *at = &tiles[t][(r - row0) * ld + k];
                float x = (k + r + t) % 5 == 0 ? 0.0f : *at * 0.5f + sum * 0.125f;
                *at = n[2] ? cut(x) : x; // all tiles are bf16
            }
    }
}

// In pairs an even element waits for the odd one behind it, which is added first.
typedef struct {
    float chain, total, a, b;
    int64_t n;
    bool waits;
} Chain;

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }
__attribute__((target("fma"))) static float fma_flushed(float a, float b, float acc) {
    a = flushed(a), b = flushed(b), acc = flushed(acc);
    float r = fmaf(a, b, acc);
    if (fabsf(r) > 0x1p-126f) return r;
    long double sum = (long double)a * (long double)b + (long double)acc;
    return fabsl(sum) < 0x1p-126L - 0x1p-151L ? copysignf(0, r) : r;
}

static float pair_end(const Chain *c, float a, float b) {
    float odd = fma_flushed(a, b, c->chain);
    return c->waits ? fma_flushed(c->a, c->b, odd) : odd;
}
__attribute__((target("fma"))) static void chain_add(Chain *c, bool pairs, bool adds, float a,
                                                     float b) {
    if (c->n && c->n % 4096 == 0) c->total += c->chain, c->chain = 0;
    if (adds && !pairs) c->chain = fmaf(a, b, c->chain);
    if (pairs && c->n % 2 == 0) c->a = a, c->b = b, c->waits = adds;
    if (pairs && c->n % 2 && (adds || c->waits)) c->chain = pair_end(c, adds ? a : 0, b);
    c->n++;
}
static float chain_end(const Chain *c, bool pairs) {
    float chain = pairs && c->n % 2 && c->waits ? pair_end(c, 0, 0) : c->chain;
    return c->n > 4096 ? c->total + chain : chain;
}

// Where element (outer, step, feature) of x or y of a part lies.
static int64_t place(const AttendCase *c, const SnAttendPart *p, bool y, int64_t outer,
                     int64_t step, int64_t feature) {
    int64_t at = (y ? p->base_y : p->base_x) + step * (y ? p->step_y : p->step_x);
    for (uint32_t i = c->a.nouter; i-- > 0; outer /= c->a.outer[i])
        at += outer % c->a.outer[i] * (y ? p->outer_y[i] : p->outer_x[i]);
    for (uint32_t i = p->nf; i-- > 0; feature /= p->f[i].extent)
        at += feature % p->f[i].extent * (y ? p->f[i].b : p->f[i].a);
    return at;
}

static bool sees(const AttendCase *c, int64_t row, int64_t key) {
    const SnHull *h = &c->hulls[row / c->a.strip];
    return key >= h->first && key < h->end;
}

static void want_product(AttendCase *c, const SnAttendPart *p, float *tile) {
    const float *x = c->want[p->x], *y = c->want[p->y];
    int64_t features = sn_extent(p->f, p->nf);
    for (int64_t r = 0; r < c->outer * c->a.rows; r++)
        for (int64_t k = 0; k < c->a.keys; k++) {
            Chain sum = {0};
            int64_t o = r / c->a.rows, row = r % c->a.rows;
            for (int64_t f = 0; f < features; f++)
                chain_add(&sum, sn_attend_pairs(p), true, x[place(c, p, false, o, row, f)],
                          y[place(c, p, true, o, k, f)]);
            tile[r * c->a.keys + k] = chain_end(&sum, sn_attend_pairs(p));
        }
}

static void want_sum(AttendCase *c, const SnAttendPart *p, const float *tile) {
    const float *x = c->want[p->x];
    bool keys = p->kind == SN_ATTEND_KEYS;
    int64_t features = sn_extent(p->f, p->nf);
    Chain *sums = calloc((size_t)c->count[p->y], sizeof *sums);
    for (int64_t r = 0; r < c->outer * c->a.rows; r++)
        for (int64_t k = 0; k < c->a.keys; k++)
            for (int64_t f = 0; f < features; f++) {
                int64_t o = r / c->a.rows, row = r % c->a.rows;
                int64_t to = place(c, p, true, o, keys ? row : k, f);
                chain_add(&sums[to], sn_attend_pairs(p), sees(c, row, k), tile[r * c->a.keys + k],
                          x[place(c, p, false, o, keys ? k : row, f)]);
            }
    for (int64_t i = 0; i < c->count[p->y]; i++)
        if (sums[i].n) c->want[p->y][i] = chain_end(&sums[i], sn_attend_pairs(p));
    free(sums);
}

static void want_dense(AttendCase *c, const SnAttendPart *p, const float *tile) {
    Chain *sums = calloc((size_t)c->count[p->y], sizeof *sums);
    for (int64_t r = 0; r < c->outer * c->a.rows; r++)
        for (int64_t k = 0; k < c->a.keys; k++) {
            Chain *sum = &sums[place(c, p, true, r / c->a.rows, r % c->a.rows, k)];
            if (sum->n++ % p->chunk == 0) sum->total += sum->chain, sum->chain = 0;
            if (sees(c, r % c->a.rows, k)) sum->chain += tile[r * c->a.keys + k];
        }
    for (int64_t i = 0; i < c->count[p->y]; i++)
        if (sums[i].n) c->want[p->y][i] = sums[i].total + sums[i].chain;
    free(sums);
}

static void want_all(AttendCase *c) {
    float *tile[SN_ATTEND_TILES], *at[SN_ATTEND_TILES];
    int64_t size = c->outer * c->a.rows * c->a.keys;
    for (uint32_t i = 0; i < c->a.tiles; i++) tile[i] = calloc((size_t)size, sizeof(float));
    for (uint32_t i = 0; i < c->a.nparts; i++)
        if (c->a.part[i].kind == SN_ATTEND_PRODUCT)
            want_product(c, &c->a.part[i], tile[c->a.part[i].tile]);
    void *bufs[2] = {c->tiles, c->want_row};
    for (int64_t r = 0; r < c->outer * c->a.rows; r++) {
        const SnHull *h = &c->hulls[r % c->a.rows / c->a.strip];
        for (uint32_t i = 0; i < c->a.tiles; i++) at[i] = tile[i] + r * c->a.keys + h->first;
        strip(bufs, NULL, at, 0, r, r + 1, h->first, h->end, NULL);
    }
    for (uint32_t i = 0; i < c->a.nparts; i++)
        if (c->a.part[i].kind == SN_ATTEND_DENSE)
            want_dense(c, &c->a.part[i], tile[c->a.part[i].tile]);
        else if (c->a.part[i].kind != SN_ATTEND_PRODUCT)
            want_sum(c, &c->a.part[i], tile[c->a.part[i].tile]);
    for (uint32_t i = 0; i < c->a.tiles; i++) free(tile[i]);
}

// ---- Running ------------------------------------------------------------------------------------

typedef struct {
    const SnAttendJob *job;
    void *const *bufs;
    uint32_t phase;
    unsigned char *shared, *scratch[4];
} AttendPhase;

static void run_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const AttendPhase *x = user;
    sn_attend_run(x->job, x->phase, x->bufs, NULL, task0, task1, x->shared, x->scratch[thread]);
}

static unsigned char *workspace(int64_t bytes) {
    size_t size = (size_t)sn_round_up(bytes, 64);
    unsigned char *to = aligned_alloc(64, size ? size : 64);
    assert_non_null(to);
    return memset(to, 0xff, size); // NaN
}

static void run(AttendCase *c, const SnGemmKit *kit, int threads) {
    SnAttendJob job;
    void *bufs[BUFS + 2];
    for (uint32_t i = 0; i < c->a.args; i++) bufs[i] = c->mem[i];
    bufs[c->a.args] = c->tiles, bufs[c->a.args + 1] = c->row;
    sn_attend_prepare(&job, &c->a, c->hulls, kit, strip, STRIP_SCRATCH, threads);
    AttendPhase x = {.job = &job, .bufs = bufs, .shared = workspace(job.shared)};
    for (int t = 0; t < threads; t++) x.scratch[t] = workspace(job.scratch);
    SnPool *pool = sn_pool_new(threads);
    assert_non_null(pool);
    for (; x.phase < SN_ATTEND_PHASES; x.phase++)
        sn_pool_run(pool, job.tasks[x.phase], 1, run_tasks, &x);
    sn_pool_free(pool);
    for (int t = 0; t < threads; t++) free(x.scratch[t]);
    free(x.shared);
}

// What the sums of the last run left would be right already.
static void forget(AttendCase *c) {
    for (uint32_t i = 0; i < c->a.nparts; i++) {
        const SnAttendPart *p = &c->a.part[i];
        if (p->kind == SN_ATTEND_PRODUCT) continue;
        bool rows = p->kind == SN_ATTEND_KEYS || p->kind == SN_ATTEND_DENSE;
        int64_t steps = rows ? c->a.rows : c->a.keys;
        for (int64_t k = 0; k < c->outer * steps; k++)
            for (int64_t f = 0; f < sn_extent(p->f, p->nf); f++)
                c->buf[p->y][place(c, p, true, k / steps, k % steps, f)] = NAN;
    }
    for (int64_t i = 0; i < c->outer * c->a.rows; i++) c->row[i] = NAN;
}

static void check(const AttendWorld *w, AttendCase *c, uint64_t seed) {
    case_buffers(c);
    want_all(c);
    for (uint32_t i = 0; i < w->n; i++)
        for (int threads = 1; threads <= 4; threads += 1 + (int)(next() % 2)) {
            forget(c);
            run(c, &w->kit[i], threads);
            for (uint32_t b = 0; b < c->a.args; b++)
                if (memcmp(c->buf[b], c->want[b], (size_t)c->count[b] * sizeof(float)))
                    fail_msg("seed %llu: argument %u differs, %d threads", (unsigned long long)seed,
                             b, threads);
            assert_memory_equal(c->row, c->want_row,
                                (size_t)(c->outer * c->a.rows) * sizeof(float));
        }
    case_free(c);
}

static void random_parts(AttendCase *c) {
    uint32_t products = (uint32_t)pick(1, 3);
    c->a.tiles = products + next() % 2;
    c->tiles[0] = (int32_t)products;
    for (uint32_t i = 0; i < products; i++)
        add_part(c, SN_ATTEND_PRODUCT, i, ONE_OF(1, 3, 8, 16, 20));
    for (int64_t i = pick(0, 2); i > 0; i--)
        add_part(c, SN_ATTEND_KEYS, next() % c->a.tiles, ONE_OF(1, 5, 16, 24, 48, 64, 80));
    for (int64_t i = pick(0, 2); i > 0; i--)
        add_part(c, SN_ATTEND_ROWS, next() % c->a.tiles, ONE_OF(1, 5, 16, 24, 48, 64, 80));
    if (next() % 2) add_part(c, SN_ATTEND_DENSE, next() % c->a.tiles, c->a.keys);
}

// Rows of several outer indices that are summed in pairs are an even number.
static void check_random(const AttendWorld *w, uint64_t seed, bool narrow) {
    state = seed * 7919;
    AttendCase c = {.tiles = {0, 0, narrow}};
    c.a.nouter = next() % 5;
    int64_t all = 1;
    for (uint32_t i = 0; i < c.a.nouter; i++) all *= c.a.outer[i] = ONE_OF(1, 1, 2, 3);
    c.a.rows = ONE_OF(1, 2, 5, 23, 24, 25, 47, 48, 49, 97);
    c.a.keys = ONE_OF(1, 2, 15, 16, 17, 47, 49, 127, 128, 129, 257, 300);
    while (all * c.a.rows * c.a.keys > 20000) c.a.rows = (c.a.rows + 1) / 2; // in time
    if (narrow && all > 1) c.a.rows += c.a.rows % 2;
    c.a.strip = (uint32_t)ONE_OF(24, 48);
    random_parts(&c);
    check(w, &c, seed);
}

static void test_random(void **state_) {
    for (uint64_t seed = 1; seed <= CASES; seed++) check_random(*state_, seed, false);
}

static void test_random_narrow(void **state_) {
    for (uint64_t seed = 1; seed <= CASES; seed += 2) check_random(*state_, seed, true);
}

// Sums over keys, and over rows of several outer indices, that are longer than a segment.
static void test_long(void **state_) {
    for (int kind = 0; kind < 4; kind++) {
        AttendCase c = {.a = {.nouter = 2, .outer = {2, 2}, .strip = 48, .tiles = 1},
                        .tiles = {1, 0, kind / 2}};
        c.a.rows = kind % 2 ? 2100 : 3, c.a.keys = kind % 2 ? 19 : 4201;
        state = 99 + (uint64_t)kind;
        add_part(&c, SN_ATTEND_PRODUCT, 0, 2);
        for (int i = 0; i < 3; i++)
            add_part(&c, kind % 2 ? SN_ATTEND_ROWS : SN_ATTEND_KEYS, 0, ONE_OF(1, 3, 16));
        check(*state_, &c, 0);
    }
}

// Micro-kernels in C, for tiles of two rows and 32 lanes: a sanitizer sees what these read and write.
#define UKR(rows, vectors)                                                                         \
    __attribute__((target("fma"))) static void ukr_##rows##_##vectors(                             \
        int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb, const float *from,   \
        int64_t ldfrom, const float *acc, int64_t ldacc, float *to, int64_t ldto) {                \
        for (int r = 0; r < (rows); r++)                                                           \
            for (int lane = 0; lane < 16 * (vectors); lane++) {                                    \
                float x = from ? from[r * ldfrom + lane] : 0.0f;                                   \
                for (int64_t k = 0; k < kc; k++) x = fmaf(a[k * lda + r], b[k * ldb + lane], x);   \
                to[r * ldto + lane] = acc ? acc[r * ldacc + lane] + x : x;                         \
            }                                                                                      \
    }
UKR(2, 1)
UKR(1, 1)
UKR(2, 2)
UKR(1, 2)
static const SnFn in_c[] = {(SnFn)ukr_2_1, (SnFn)ukr_1_1, (SnFn)ukr_2_2, (SnFn)ukr_1_2};

// And of pairs.
#define PAIRS(rows, vectors)                                                                       \
    static void pairs_##rows##_##vectors(                                                          \
        int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb, const float *from,   \
        int64_t ldfrom, const float *acc, int64_t ldacc, float *to, int64_t ldto) {                \
        for (int r = 0; r < (rows); r++)                                                           \
            for (int lane = 0; lane < 16 * (vectors); lane++) {                                    \
                float x = from ? from[r * ldfrom + lane] : 0.0f;                                   \
                for (int64_t k = 0; k < kc; k++)                                                   \
                    x = pair_of(a + k * lda + r, b + k * ldb + lane, x);                           \
                to[r * ldto + lane] = acc ? acc[r * ldacc + lane] + x : x;                         \
            }                                                                                      \
    }
static float pair_of(const float *a, const float *b, float chain) {
    uint32_t x, y;
    memcpy(&x, a, sizeof x), memcpy(&y, b, sizeof y);
    float half[4];
    const uint32_t bits[4] = {x << 16, y << 16, x & 0xffff0000, y & 0xffff0000};
    memcpy(half, bits, sizeof half);
    return fma_flushed(half[0], half[1], fma_flushed(half[2], half[3], chain));
}
PAIRS(2, 1)
PAIRS(1, 1)
PAIRS(2, 2)
PAIRS(1, 2)
static const SnFn pairs_in_c[] = {(SnFn)pairs_2_1, (SnFn)pairs_1_1, (SnFn)pairs_2_2,
                                  (SnFn)pairs_1_2};

// ---- Set-up -------------------------------------------------------------------------------------

static int setup(void **state_) {
    AttendWorld *w = calloc(1, sizeof *w);
    if (!w) return 1;
    w->arena = arena_new();
    w->kit[w->n++] = (SnGemmKit){.mr = 2, .nr = 32, .ukr = in_c};
    w->kit[w->n++] = (SnGemmKit){.mr = 2, .nr = 32, .ukr = in_c, .pairs = pairs_in_c};
    for (int i = 0; i < ISAS; i++) {
        Text why = {0};
        CpuIsa isa;
        if (!cpu_isa_resolve(w->arena, isas[i], &isa, &why)) return 1;
        if (!isa.here) continue;
        CpuModule *m = cpu_module_new(w->arena, &isa);
        CpuGemm g = cpu_add_gemm(m);
        CpuJit *jit = cpu_jit(m, &why);
        if (!jit) return 1;
        uint32_t n = sn_ukr_sizes(g.mr) * g.nr / SN_GEMM_LANES;
        SnFn *ukr = NEW_ARRAY(w->arena, SnFn, n);
        for (uint32_t f = 0; f < n; f++) ukr[f] = cpu_jit_function(jit, g.ukr + f);
        w->jit[w->n] = jit;
        w->kit[w->n++] = (SnGemmKit){.mr = g.mr, .nr = g.nr, .ukr = ukr};
        cpu_module_free(m);
    }
    *state_ = w;
    return 0;
}

static int teardown(void **state_) {
    AttendWorld *w = *state_;
    for (uint32_t i = 2; i < w->n; i++) cpu_jit_free(w->jit[i]);
    arena_free(w->arena);
    free(w);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_narrow),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

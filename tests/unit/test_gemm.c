// The GEMM against its definition (docs/numerics.md, Contractions), by equality of bits: random
// nested extents, strides, element types, accumulators and epilogues, every instruction set that runs
// here, tasks cut and ordered at random or run by several threads. The reference below is a
// transcription of that page. Sums in pairs run on both kinds of panels everywhere: where no
// micro-kernel of pairs is generated or runs, one in C stands for it.
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cpu/cpu.h"
#include "runtime/core/gemm_block.h"
#include "tests/unit/pairs_trap.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 400, POISON = 0x7fc0dead };

static const char *const isas[] = {"x86-64-v3", "x86-64-v4", "x86-64-v4+bf16", "native"};
enum { ISAS = sizeof isas / sizeof *isas, KITS = ISAS + 1, TRAPPED = 25 };

typedef struct {
    Arena *arena;
    uint32_t n;
    const char *name[KITS];
    SnGemmKit kit[KITS];
    CpuJit *jit[KITS];
} GemmWorld;

// ---- Random numbers and cases -------------------------------------------------------------------

static uint64_t state = 1;
static uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}
static int64_t pick(int64_t lo, int64_t hi) { return lo + (int64_t)next() % (hi - lo + 1); }

static float value(void) {
    switch (next() % 16) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return 1e-40f;  // subnormal
    case 3: return -3e-23f; // products underflow
    case 4: return 1e15f;
    }
    return (float)(int32_t)next() * 0x1p-31f - 0.5f;
}

typedef struct {
    SnGemm g;
    bool in_place;          // the accumulator is C
    int64_t count[3];       // elements of A, B, C
    void *mem[2];           // A and B as they lie
    float *a, *b, *c, *acc; // as numbers
    float *want, *want_out;
    int64_t batch, m, n, k;
    SnDim *along; // offsets of each k
} GemmCase;

static int64_t extent(const SnDim *d, uint32_t n) {
    int64_t size = 1;
    for (uint32_t i = 0; i < n; i++) size *= d[i].extent;
    return size;
}

// Splits `size` into up to `most` nested extents.
static uint32_t nest(SnDim *d, int64_t size, uint32_t most) {
    uint32_t n = 0;
    while (n + 1 < most && size > 1 && next() % 3 == 0) {
        int64_t f = pick(2, 5);
        if (size % f) continue;
        d[n++].extent = f;
        size /= f;
    }
    if (size != 1 || next() % 2) d[n++].extent = size;
    return n;
}

// Lays the given dims out in a random order; which chooses the stride (0 a, 1 b, 2 c). Returns the
// number of elements that the matrix spans.
static int64_t lay_out(SnDim **dims, uint32_t n, int which, bool gaps) {
    int64_t at = gaps && next() % 4 == 0 ? 2 : 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t o = i + next() % (n - i);
        SnDim *d = dims[o];
        dims[o] = dims[i];
        dims[i] = d;
        if (which == 0) d->a = at;
        if (which == 1) d->b = at;
        if (which == 2) d->c = at;
        at = at * (d->extent ? d->extent : 1) + (gaps && next() % 4 == 0 ? pick(1, 3) : 0);
    }
    return at + 1;
}

static uint32_t gather(SnDim **to, uint32_t n, SnDim *d, uint32_t count) {
    for (uint32_t i = count; i-- > 0;) to[n++] = &d[i];
    return n;
}

static void case_layout(GemmCase *x, bool gaps) {
    SnGemm *g = &x->g;
    SnDim *dims[12];
    uint32_t n = gather(dims, 0, g->k, g->nk);
    n = gather(dims, gather(dims, n, g->m, g->nm), g->batch, g->nbatch);
    x->count[0] = lay_out(dims, n, 0, gaps);
    n = gather(dims, 0, g->n, g->nn);
    n = gather(dims, gather(dims, n, g->k, g->nk), g->batch, g->nbatch);
    x->count[1] = lay_out(dims, n, 1, gaps);
    n = gather(dims, 0, g->n, g->nn);
    n = gather(dims, gather(dims, n, g->m, g->nm), g->batch, g->nbatch);
    x->count[2] = lay_out(dims, n, 2, gaps);
    g->base_a = pick(0, 3), g->base_b = pick(0, 3), g->base_c = pick(0, 3);
    x->count[0] += g->base_a, x->count[1] += g->base_b, x->count[2] += g->base_c;
}

static void decode(const SnDim *d, uint32_t n, int64_t i, SnDim *at) {
    for (uint32_t q = n; q-- > 0;) {
        int64_t r = i % d[q].extent;
        i /= d[q].extent;
        at->a += r * d[q].a, at->b += r * d[q].b, at->c += r * d[q].c;
    }
}

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

// acc + a * b rounded once, subnormal operands and results being zeros. A result is subnormal when it is
// below 2^-126 rounded to 24 bits whatever its exponent; the sum is exact where that matters.
__attribute__((target("fma"))) static float fma_flushed(float a, float b, float acc) {
    a = flushed(a), b = flushed(b), acc = flushed(acc);
    float r = fmaf(a, b, acc);
    if (fabsf(r) > 0x1p-126f) return r;
    long double sum = (long double)a * (long double)b + (long double)acc;
    return fabsl(sum) < 0x1p-126L - 0x1p-151L ? copysignf(0, r) : r;
}

// The promised sum of one element.
__attribute__((target("fma"))) static float dot(const GemmCase *x, const SnDim *at) {
    const float *a = x->a + at->a, *b = x->b + at->b;
    bool pairs = x->g.elem_a == SN_ELEM_bf16 && x->g.elem_b == SN_ELEM_bf16;
    float total = 0.0f;
    for (int64_t s = 0; s < x->k || s == 0; s += 4096) {
        float chain = 0.0f;
        for (int64_t k = s; k < x->k && k < s + 4096; k++) {
            const SnDim *one = &x->along[k], *two = one + 1;
            if (!pairs) {
                chain = fmaf(a[one->a], b[one->b], chain);
                continue;
            }
            bool last = k + 1 == x->k;
            chain = fma_flushed(last ? 0 : a[two->a], last ? 0 : b[two->b], chain);
            chain = fma_flushed(a[one->a], b[one->b], chain);
            k++;
        }
        if (x->k <= 4096) return chain;
        total = total + chain;
    }
    return total;
}

static float epilogue_value(float v, int64_t row, int64_t lane) {
    return v * 2.0f + (float)(row * 1000 + lane);
}

// bufs[0] is the output, bufs[1] holds the number of lanes.
static void epilogue(void *const *bufs, const SnEnv *env, const float *tile, int64_t ld,
                     int64_t row0, int64_t row1, int64_t lane0, int64_t lane1) {
    (void)env;
    int64_t lanes = *(const int64_t *)bufs[1];
    for (int64_t r = row0; r < row1; r++)
        for (int64_t l = lane0; l < lane1; l++) {
            float *out = (float *)bufs[0] + r * lanes + l;
            if (lanes <= l || memcmp(out, &(int32_t){POISON}, 4))
                *out = NAN; // outside, or twice
            else
                *out = epilogue_value(tile[(r - row0) * ld + (l - lane0)], r, l);
        }
}

static float *floats(int64_t n, bool poison) {
    float *p = malloc((size_t)(n + 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i <= n; i++) {
        if (poison)
            memcpy(p + i, &(int32_t){POISON}, 4);
        else
            p[i] = value();
    }
    return p;
}

// What f16 bits stand for. Finite ones.
static float half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float x =
        exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return bits & 0x8000 ? -x : x;
}

// Memory of the element type for n numbers, which become such that it holds them. Nothing lies behind it.
static void *in_memory(uint32_t elem, float *x, int64_t n) {
    if (elem == SN_ELEM_f32) {
        float *p = malloc((size_t)n * sizeof *p + 1);
        assert_non_null(p);
        return memcpy(p, x, (size_t)n * sizeof *p);
    }
    uint16_t *p = malloc((size_t)n * sizeof *p + 1);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = next();
        if (elem == SN_ELEM_f16) {
            p[i] = (uint16_t)(next() % 4 ? bits & 0xbfff : bits & 0x83ff); // below 2, or subnormal
            x[i] = half_value(p[i]);
            continue;
        }
        memcpy(&bits, x + i, sizeof bits);
        p[i] = (uint16_t)(bits >> 16), bits &= 0xffff0000;
        memcpy(x + i, &bits, sizeof bits);
    }
    return p;
}

static SnDim *k_offsets(const GemmCase *x) {
    SnDim *to = calloc((size_t)x->k + 1, sizeof *to);
    assert_non_null(to);
    for (int64_t k = 0; k < x->k; k++) decode(x->g.k, x->g.nk, k, &to[k]);
    return to;
}

static void case_fill(GemmCase *x, bool first) {
    SnGemm *g = &x->g;
    x->batch = extent(g->batch, g->nbatch), x->m = extent(g->m, g->nm);
    x->n = extent(g->n, g->nn), x->k = extent(g->k, g->nk);
    x->a = floats(x->count[0], false), x->b = floats(x->count[1], false);
    x->mem[0] = in_memory(g->elem_a, x->a, x->count[0]);
    x->mem[1] = in_memory(g->elem_b, x->b, x->count[1]);
    x->c = floats(x->count[2], true), x->acc = floats(x->count[2], false);
    x->want = floats(x->count[2], true), x->want_out = floats(x->batch * x->m * x->n, true);
    x->along = k_offsets(x);
    if (x->in_place) memcpy(x->want, x->acc, (size_t)x->count[2] * sizeof *x->acc);
    for (int64_t e = 0; e < x->batch; e++)
        for (int64_t i = 0; i < x->m; i++)
            for (int64_t j = 0; j < x->n; j++) {
                SnDim at = {.a = g->base_a, .b = g->base_b, .c = g->base_c};
                decode(g->batch, g->nbatch, e, &at);
                decode(g->m, g->nm, i, &at);
                decode(g->n, g->nn, j, &at);
                float v = dot(x, &at);
                if (sn_gemm_has(g, SN_GEMM_ACC))
                    v = (g->acc_first && first ? 0.0f : x->acc[at.c]) + v;
                if (sn_gemm_has(g, SN_GEMM_C)) x->want[at.c] = v;
                x->want_out[(e * x->m + i) * x->n + j] = epilogue_value(v, e * x->m + i, j);
            }
}

static void case_free(GemmCase *x) {
    float *p[] = {x->a, x->b, x->c, x->acc, x->want, x->want_out};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
    free(x->mem[0]), free(x->mem[1]);
    free(x->along);
}

// ---- Running ------------------------------------------------------------------------------------

typedef struct {
    const SnGemmJob *job;
    uint32_t phase;
    void *const *bufs;
    const SnEnv *env;
    int64_t t0, t1;
    void *shared, *scratch;
} Share;

static void *run_share(void *p) {
    const Share *s = p;
    sn_gemm_run(s->job, s->phase, s->bufs, s->env, s->t0, s->t1, s->shared, s->scratch);
    return NULL;
}

static void *workspace(int64_t bytes) {
    size_t size = ((size_t)bytes + 127) / 64 * 64;
    char *p = aligned_alloc(64, size);
    assert_non_null(p);
    memset(p, 0xff, size); // NaN everywhere: what is read was written
    return p;
}

// Runs all phases: tasks dealt to `threads` in stretches cut at random; with real threads, or one
// after the other from the last to the first.
static void run_job(const SnGemmJob *job, void *const *bufs, const SnEnv *env, int64_t threads,
                    bool real) {
    void *shared = workspace(job->shared), *scratch[4];
    for (int64_t t = 0; t < threads; t++) scratch[t] = workspace(job->scratch);
    for (uint32_t phase = 0; phase < SN_GEMM_PHASES; phase++) {
        Share share[4];
        pthread_t id[4];
        int64_t at = 0, n = job->tasks[phase];
        for (int64_t t = 0; t < threads; t++) {
            int64_t to = t + 1 == threads ? n : pick(at, n);
            share[t] = (Share){job, phase, bufs, env, at, to, shared, scratch[t]};
            at = to;
        }
        for (int64_t t = threads; t-- > 0;) {
            if (!real)
                run_share(&share[t]);
            else
                assert_int_equal(pthread_create(&id[t], NULL, run_share, &share[t]), 0);
        }
        for (int64_t t = 0; real && t < threads; t++) pthread_join(id[t], NULL);
    }
    char *end = (char *)shared + (job->shared + 63) / 64 * 64;
    for (int i = 0; i < 64; i++) assert_int_equal((unsigned char)end[i], 0xff);
    for (int64_t t = 0; t < threads; t++) {
        end = (char *)scratch[t] + (job->scratch + 63) / 64 * 64;
        for (int i = 0; i < 64; i++) assert_int_equal((unsigned char)end[i], 0xff);
        free(scratch[t]);
    }
    free(shared);
}

static void assert_same(const char *what, const float *got, const float *want, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(got + i, want + i, 4) == 0 || (isnan(got[i]) && isnan(want[i]))) continue;
        fail_msg("%s: element %lld is %a, expected %a", what, (long long)i, (double)got[i],
                 (double)want[i]);
    }
}

static void check_case(const GemmWorld *w, GemmCase *x, bool first, bool real) {
    SnGemm *g = &x->g;
    SnEnv env = {.first = first, .step = 1};
    case_fill(x, first);
    int64_t outs = x->batch * x->m * x->n;
    for (uint32_t i = 0; i < w->n; i++) {
        SnGemmJob job;
        const int64_t threads = (int64_t)1 << pick(0, 7); // for the cut alone
        sn_gemm_prepare(&job, g, &w->kit[i], threads,
                        sn_gemm_has(g, SN_GEMM_EPILOGUE) ? epilogue : NULL);
        char what[160];
        snprintf(what, sizeof what, "%s types %u %u, %lld x (%lld x %lld x %lld)", w->name[i],
                 g->elem_a, g->elem_b, (long long)x->batch, (long long)x->m, (long long)x->n,
                 (long long)x->k);
        float *c = floats(x->count[2], true), *acc = floats(x->count[2], true);
        float *out = floats(outs, true);
        memcpy(acc, x->acc, (size_t)x->count[2] * sizeof *acc);
        void *bufs[6] = {x->mem[0], x->mem[1]}, *to = x->in_place ? acc : c;
        uint32_t n = 2;
        if (sn_gemm_has(g, SN_GEMM_C)) bufs[n++] = to;
        if (sn_gemm_has(g, SN_GEMM_ACC)) bufs[n++] = acc;
        bufs[n++] = out, bufs[n] = &x->n;
        run_job(&job, bufs, &env, real ? 4 : pick(1, 4), real);
        if (sn_gemm_has(g, SN_GEMM_C)) assert_same(what, to, x->want, x->count[2]);
        if (sn_gemm_has(g, SN_GEMM_EPILOGUE)) assert_same(what, out, x->want_out, outs + 1);
        free(c), free(acc), free(out);
    }
    case_free(x);
}

// ---- Tests --------------------------------------------------------------------------------------

// Micro-kernels of pairs, each sum as the reference has it, and some that are wrong.
typedef enum { RIGHT, EVEN_FIRST, SUBNORMAL, AT_ONCE } PairsKind;

static float pair_sum(PairsKind kind, uint32_t x, uint32_t y, float chain) {
    float a[2], b[2];
    for (int odd = 0; odd < 2; odd++) {
        uint32_t ax = odd ? x & 0xffff0000 : x << 16, by = odd ? y & 0xffff0000 : y << 16;
        memcpy(&a[odd], &ax, 4), memcpy(&b[odd], &by, 4);
    }
    switch (kind) {
    case RIGHT: return fma_flushed(a[0], b[0], fma_flushed(a[1], b[1], chain));
    case EVEN_FIRST: return fma_flushed(a[1], b[1], fma_flushed(a[0], b[0], chain));
    case SUBNORMAL: return fmaf(a[0], b[0], fmaf(a[1], b[1], chain));
    case AT_ONCE: break;
    }
    double sum = (double)a[0] * (double)b[0] + (double)a[1] * (double)b[1];
    return flushed((float)((double)flushed(chain) + sum));
}

static void pairs_in_c(PairsKind kind, int64_t rows, int64_t kc, const float *a, int64_t lda,
                       const float *b, int64_t ldb, const float *from, int64_t ldfrom,
                       const float *acc, int64_t ldacc, float *to, int64_t ldto) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < SN_GEMM_LANES; l++) {
            float chain = from ? from[r * ldfrom + l] : 0.0f;
            for (int64_t k = 0; k < kc; k++) {
                uint32_t x, y;
                memcpy(&x, a + k * lda + r, sizeof x), memcpy(&y, b + k * ldb + l, sizeof y);
                chain = pair_sum(kind, x, y, chain);
            }
            to[r * ldto + l] = acc ? acc[r * ldacc + l] + chain : chain;
        }
}
#define PAIRS(name, kind, rows)                                                                    \
    static void pairs_##name(int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb, \
                             const float *from, int64_t ldfrom, const float *acc, int64_t ldacc,   \
                             float *to, int64_t ldto) {                                            \
        pairs_in_c(kind, rows, kc, a, lda, b, ldb, from, ldfrom, acc, ldacc, to, ldto);            \
    }
PAIRS(6, RIGHT, 6)
PAIRS(4, RIGHT, 4)
PAIRS(2, RIGHT, 2)
PAIRS(1, RIGHT, 1)
PAIRS(even_first, EVEN_FIRST, 1)
PAIRS(subnormal, SUBNORMAL, 1)
PAIRS(at_once, AT_ONCE, 1)
#undef PAIRS
static const SnFn pairs_c[] = {(SnFn)pairs_6, (SnFn)pairs_4, (SnFn)pairs_2, (SnFn)pairs_1};

static const SnFn *functions_of(GemmWorld *w, CpuJit *jit, uint32_t first, uint32_t n) {
    SnFn *f = NEW_ARRAY(w->arena, SnFn, n);
    for (uint32_t i = 0; i < n; i++) f[i] = cpu_jit_function(jit, first + i);
    return f;
}

static int setup(void **state_) {
    GemmWorld *w = calloc(1, sizeof *w);
    if (!w) return 1;
    w->arena = arena_new();
    for (int i = 0; i < ISAS; i++) {
        Text why = {0};
        CpuIsa isa;
        if (!cpu_isa_resolve(w->arena, isas[i], &isa, &why)) return 1;
        if (!isa.here) continue;
        CpuModule *m = cpu_module_new(w->arena, &isa);
        CpuGemm g = cpu_add_gemm(m);
        CpuJit *jit = cpu_jit(m, &why);
        if (!jit) return 1;
        uint32_t n = sn_ukr_sizes(g.mr) * g.nr / 16;
        w->name[w->n] = isas[i];
        w->jit[w->n] = jit;
        w->kit[w->n] = (SnGemmKit){.mr = g.mr, .nr = g.nr, .ukr = functions_of(w, jit, g.ukr, n)};
        if (isa.features & SN_CPU_BF16) w->kit[w->n].pairs = functions_of(w, jit, g.pairs, n);
        w->n++;
        cpu_module_free(m);
    }
    w->name[w->n] = "x86-64-v3 with pairs in C";
    w->kit[w->n] = w->kit[0];
    if (w->kit[0].mr != 6 || w->kit[0].nr != SN_GEMM_LANES || w->kit[0].pairs) return 1;
    w->kit[w->n++].pairs = pairs_c;
    *state_ = w;
    return 0;
}

static int teardown(void **state_) {
    GemmWorld *w = *state_;
    for (uint32_t i = 0; i < w->n; i++) cpu_jit_free(w->jit[i]);
    arena_free(w->arena);
    free(w);
    return 0;
}

static SnGemm plain(void) { return (SnGemm){.has = sn_gemm_bit(SN_GEMM_C)}; }

// Instructions vdpbf16ps on 512 bits in n bytes: EVEX.512.F3.0F38.W0 52.
static int pair_instructions(const unsigned char *code, size_t n) {
    int found = 0;
    for (size_t i = 0; i + 5 < n; i++)
        found += code[i] == 0x62 && (code[i + 1] & 7) == 2 && (code[i + 2] & 0x87) == 6 &&
                 (code[i + 3] & 0x60) == 0x40 && code[i + 4] == 0x52;
    return found;
}

// Micro-kernels of pairs are made of the instruction, also where this machine does not run it: two words a
// round, and one behind.
static void test_instruction(void **state_) {
    GemmWorld *w = *state_;
    Text why = {0};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(w->arena, "x86-64-v4+bf16", &isa, &why));
    CpuModule *m = cpu_module_new(w->arena, &isa);
    CpuGemm g = cpu_add_gemm(m);
    CpuJit *jit = cpu_jit(m, &why);
    assert_non_null(jit);
    uint32_t sizes = sn_ukr_sizes(g.mr), n = sizes * g.nr / SN_GEMM_LANES, seen = 0;
    assert_int_equal(cpu_functions(m), 2 * n);
    for (uint32_t f = 0; f < n; f++) {
        uintptr_t from[2] = {(uintptr_t)cpu_jit_function(jit, g.ukr + f),
                             (uintptr_t)cpu_jit_function(jit, g.pairs + f)};
        int tiles = (int)(sn_ukr_rows(g.mr, f % sizes) * (f / sizes + 1)), found[2] = {0};
        for (int kind = 0; kind < 2; kind++) { // up to the next function, or what may be its end
            size_t size = 1 << 13;
            for (uint32_t q = 0; q < 2 * n; q++) {
                uintptr_t at = (uintptr_t)cpu_jit_function(jit, q);
                if (at > from[kind] && at - from[kind] < size) size = at - from[kind];
            }
            found[kind] = size < 1 << 13 ? pair_instructions((const void *)from[kind], size) : -1;
        }
        if (found[0] >= 0) assert_int_equal(found[0], 0);
        if (found[1] >= 0) assert_int_equal(found[1], 3 * tiles);
        seen += found[1] > 0;
    }
    assert_true(seen > n / 2);
    cpu_jit_free(jit);
    cpu_module_free(m);
}

// Chooses accumulator, epilogue and what is stored.
static void modes(GemmCase *x) {
    SnGemm *g = &x->g;
    uint32_t acc = next() % 3; // none, in place, elsewhere
    if (acc) g->has |= sn_gemm_bit(SN_GEMM_ACC);
    x->in_place = acc == 1;
    g->acc_first = acc && next() % 2;
    if (next() % 3 == 0) {
        g->has |= sn_gemm_bit(SN_GEMM_EPILOGUE);
        if (next() % 2) g->has &= ~sn_gemm_bit(SN_GEMM_C), x->in_place = false;
    }
}

// Mostly small, at times on one side of a tile, a block, or a segment.
static int64_t some_extent(void) {
    static const int64_t special[] = {1, 2, 5, 6, 7, 8, 9, 15, 16, 17, 47, 48, 49, 64, 96, 97, 128};
    if (next() % 2) return special[next() % (sizeof special / sizeof *special)];
    return pick(1, 70);
}

static uint32_t some_elem(void) {
    static const uint32_t all[] = {SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_bf16,
                                   SN_ELEM_bf16, SN_ELEM_f16,  SN_ELEM_f32};
    return all[next() % (sizeof all / sizeof *all)];
}

static void random_case(const GemmWorld *w, uint64_t seed, bool narrow) {
    state = seed * 7919;
    for (int i = 0; i < 4; i++) next();
    GemmCase x = {.g = plain()};
    SnGemm *g = &x.g;
    if (narrow) g->elem_a = some_elem(), g->elem_b = some_elem();
    int64_t m = some_extent(), n = some_extent(), k = some_extent();
    if (next() % 12 == 0) k = pick(380, 1200);
    if (next() % 40 == 0) m = pick(1, 9), n = pick(1, 20), k = pick(4090, 9000);
    g->nm = nest(g->m, m, 4), g->nn = nest(g->n, n, 4), g->nk = nest(g->k, k, 4);
    g->nbatch = next() % 3 ? 0 : nest(g->batch, pick(1, 6), 4);
    case_layout(&x, next() % 2);
    modes(&x);
    if (next() % 50 == 0) // an extent of 0: C is empty, or all sums are
        (next() % 2 ? g->k : g->m)[0].extent = 0, g->nk += !g->nk, g->nm += !g->nm;
    if (seed % 100 == 0) print_message("seed %llu\n", (unsigned long long)seed);
    check_case(w, &x, next() % 2, false);
}

static void test_random(void **state_) {
    for (uint64_t seed = 1; seed <= CASES; seed++) random_case(*state_, seed, false);
}

static void test_random_narrow(void **state_) {
    for (uint64_t seed = 1; seed <= CASES; seed += 2) random_case(*state_, seed, true);
}

// A GEMM of plain matrices; k_last: that operand's rows are adjacent along k.
static void check_typed(const GemmWorld *w, uint32_t elem_a, uint32_t elem_b, int64_t batch,
                        int64_t m, int64_t n, int64_t k, bool a_k, bool b_k, bool accumulate,
                        bool with_epilogue) {
    state = (uint64_t)(m * 31 + n * 7 + k);
    GemmCase x = {.g = plain(), .count = {batch * m * k, batch * k * n, batch * m * n}};
    SnGemm *g = &x.g;
    g->elem_a = elem_a, g->elem_b = elem_b;
    g->nbatch = g->nm = g->nn = g->nk = 1;
    g->batch[0] = (SnDim){batch, m * k, k * n, m * n};
    g->m[0] = (SnDim){m, a_k ? k : 1, 0, n};
    g->n[0] = (SnDim){n, 0, b_k ? k : 1, 1};
    g->k[0] = (SnDim){k, a_k ? 1 : m, b_k ? 1 : n, 0};
    if (accumulate) g->has |= sn_gemm_bit(SN_GEMM_ACC), g->acc_first = x.in_place = true;
    if (with_epilogue) g->has |= sn_gemm_bit(SN_GEMM_EPILOGUE);
    check_case(w, &x, false, true);
}

static void check_plain(const GemmWorld *w, int64_t batch, int64_t m, int64_t n, int64_t k,
                        bool a_k, bool b_k, bool accumulate, bool with_epilogue) {
    check_typed(w, SN_ELEM_f32, SN_ELEM_f32, batch, m, n, k, a_k, b_k, accumulate, with_epilogue);
}

static float promised(uint32_t x, uint32_t y, float chain) { return pair_sum(RIGHT, x, y, chain); }

// One micro-kernel of pairs, as check_ukr does it.
static void check_pairs(SnUkrFn ukr, int64_t rows, int64_t lanes, int64_t kc, bool more, bool add) {
    int64_t lda = rows + pick(0, 1), ld = lanes + pick(0, 1) * 41, n = rows * ld;
    float *a = floats(kc * lda, false), *b = floats(kc * ld, false), *acc = floats(n, false);
    float *from = floats(n, false), *to = floats(n, true), *want = floats(n, true);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < lanes; l++) {
            float x = more ? from[r * ld + l] : 0.0f;
            for (int64_t k = 0; k < kc; k++) { // the upper half of each float, and what is below it
                uint32_t u, v;
                memcpy(&u, &a[k * lda + r], 4), memcpy(&v, &b[k * ld + l], 4);
                x = promised(u, v, x);
            }
            want[r * ld + l] = add ? acc[r * ld + l] + x : x;
        }
    ukr(kc, a, lda, b, ld, more ? from : NULL, ld, add ? acc : NULL, ld, to, ld);
    assert_same("micro-kernel of pairs", to, want, n);
    float *all[] = {a, b, acc, from, to, want};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

// The generated micro-kernels of pairs and products on them, where the processor has the instruction or its trap
// can stand for it.
static void test_generated_pairs(void **state_) {
    GemmWorld *w = *state_;
    Text why = {0};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(w->arena, "x86-64-v4+bf16", &isa, &why));
    if (!isa.here && !trap_pairs(promised)) skip();
    CpuModule *m = cpu_module_new(w->arena, &isa);
    CpuGemm g = cpu_add_gemm(m);
    CpuJit *jit = cpu_jit(m, &why);
    assert_non_null(jit);
    uint32_t sizes = sn_ukr_sizes(g.mr), n = sizes * g.nr / SN_GEMM_LANES;
    const SnFn *pairs = functions_of(w, jit, g.pairs, n);
    state = 31;
    for (uint32_t f = 0; f < n; f++)
        for (int64_t kc = 0; kc < 6; kc++)
            for (int mode = 0; mode < 4; mode++)
                check_pairs((SnUkrFn)pairs[f], sn_ukr_rows(g.mr, f % sizes),
                            (f / sizes + 1) * SN_GEMM_LANES, kc, mode & 1, mode & 2);
    GemmWorld one = {.arena = w->arena, .n = 1, .name = {"x86-64-v4+bf16"}};
    one.kit[0] = (SnGemmKit){.mr = g.mr, .nr = g.nr, .pairs = pairs};
    one.kit[0].ukr = functions_of(w, jit, g.ukr, n);
    assert_true(sn_gemm_probe(&one.kit[0]));
    for (uint64_t seed = 1; seed <= TRAPPED; seed++) random_case(&one, seed, true);
    assert_true(isa.here || trap_count > 10000);
    if (!isa.here) print_message("%ld instructions vdpbf16ps trapped and done\n", trap_count);
    signal(SIGILL, SIG_DFL);
    cpu_jit_free(jit);
    cpu_module_free(m);
}

// Operands that are packed for all tasks and by each, k adjacent or not, odd, in several blocks and
// segments, with what is added at their ends.
static void test_narrow(void **state_) {
    const GemmWorld *w = *state_;
    static const uint32_t elem[][2] = {
        {SN_ELEM_bf16, SN_ELEM_bf16}, {SN_ELEM_f16, SN_ELEM_f16}, {SN_ELEM_f32, SN_ELEM_bf16}};
    for (size_t i = 0; i < sizeof elem / sizeof *elem; i++) {
        uint32_t a = elem[i][0], b = elem[i][1];
        check_typed(w, a, b, 1, 264, 60, 301, true, true, true, false);
        check_typed(w, a, b, 1, 120, 100, 401, false, true, false, true);
        check_typed(w, a, b, 1, 600, 130, 61, true, false, true, true);
        check_typed(w, a, b, 3, 70, 130, 90, false, false, true, false);
        check_typed(w, a, b, 6, 64, 64, 63, true, true, false, false);
        check_typed(w, a, b, 1, 24, 24, 8195, true, false, true, false);
        check_typed(w, a, b, 33, 3, 9, 4501, true, true, true, true);
        check_typed(w, a, b, 1, 1, 500, 77, true, false, false, false);
    }
}

// 2^-126 less 2^-151 is a tie, and rounds up to a normal number; less 1.5 * 2^-151 it is subnormal, though
// it would round up to 2^-126 in the subnormals' grid. What is added to a chain is not flushed.
static void test_flushing(void **state_) {
    const GemmWorld *w = *state_;
    static const struct {
        float a[2], b[2], acc, want;
    } cases[] = {
        {{0x1p-76f, 0x1p-63f}, {-0x1p-75f, 0x1p-63f}, 0, 0x1p-126f},
        {{0x1.8p-76f, 0x1p-63f}, {-0x1p-75f, 0x1p-63f}, 0, 0},
        {{0x1p-63f, 0x1.8p-76f}, {0x1p-63f, -0x1p-75f}, 0, 0x1p-126f}, // the odd one is lost
        {{-0x1p-126f, 0}, {0x1p-1f, 0}, -0x1p-130f, -0x1p-130f},
        {{0x1p-127f, 0}, {0x1p100f, 0}, 0x1p-149f, 0x1p-149f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint32_t q = 0; q < w->n; q++) {
            float a[2], b[2], acc[8 * 32],
                c[8 * 32]; // whole vectors of C: micro-kernels write there
            memcpy(a, cases[i].a, sizeof a), memcpy(b, cases[i].b, sizeof b);
            void *pa = in_memory(SN_ELEM_bf16, a, 2), *pb = in_memory(SN_ELEM_bf16, b, 2);
            SnGemm g = plain();
            g.elem_a = g.elem_b = SN_ELEM_bf16;
            g.nm = 1, g.m[0] = (SnDim){8, 0, 0, 32};
            g.nn = 1, g.n[0] = (SnDim){32, 0, 0, 1};
            g.nk = 1, g.k[0] = (SnDim){2, 1, 1, 0};
            for (int e = 0; e < 8 * 32; e++) acc[e] = cases[i].acc, c[e] = NAN;
            g.has |= sn_gemm_bit(SN_GEMM_ACC);
            SnGemmJob job;
            sn_gemm_prepare(&job, &g, &w->kit[q], 1, NULL);
            run_job(&job, (void *[]){pa, pb, c, acc}, &(SnEnv){0}, 1, false);
            for (int e = 0; e < 8 * 32; e++)
                if (memcmp(&c[e], &cases[i].want, sizeof *c) != 0)
                    fail_msg("%s, case %zu: %a, expected %a", w->name[q], i, (double)c[e],
                             (double)cases[i].want);
            free(pa), free(pb);
        }
}

// The probe takes micro-kernels of pairs that sum as promised, and no others.
static void test_probe(void **state_) {
    const GemmWorld *w = *state_;
    SnGemmKit kit = w->kit[w->n - 1];
    assert_true(sn_gemm_probe(&kit));
    const SnFn wrong[] = {(SnFn)pairs_even_first, (SnFn)pairs_subnormal, (SnFn)pairs_at_once};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kit.pairs = (const SnFn[]){wrong[i], wrong[i], wrong[i], wrong[i]};
        assert_false(sn_gemm_probe(&kit));
    }
    SnPlan plan = {.mr = 6, .nr = SN_GEMM_LANES, .ukr = 4};
    SnFn functions[8];
    memcpy(functions, pairs_c, sizeof pairs_c);
    memcpy(functions + 4, w->kit[0].ukr, sizeof pairs_c);
    assert_null(sn_gemm_kit(&plan, functions).pairs);
    plan.features = SN_CPU_BF16;
    assert_ptr_equal(sn_gemm_kit(&plan, functions).pairs, functions);
    functions[3] = wrong[0];
    assert_null(sn_gemm_kit(&plan, functions).pairs);
    assert_ptr_equal(sn_gemm_kit(&plan, functions).ukr, functions + 4);
}

static void test_blocks(void **state_) {
    const GemmWorld *w = *state_;
    check_plain(w, 1, 256, 193, 300, true, true, false, true);   // A shared
    check_plain(w, 1, 120, 400, 400, false, true, true, false);  // several blocks of k, accumulated
    check_plain(w, 1, 600, 130, 100, true, false, false, false); // both shared
    check_plain(w, 1, 700, 500, 40, false, false, true, true);
    check_plain(w, 3, 130, 200, 170, false, true, true, false);
    check_plain(w, 6, 64, 64, 64, true, true, false, false);
}

static void test_long_k(void **state_) {
    const GemmWorld *w = *state_;
    check_plain(w, 1, 768, 8, 4096, true, true, true, false);
    check_plain(w, 1, 64, 64, 16384, true, false, false, true);
    check_plain(w, 1, 64, 64, 16384, false, true, true, false);
    check_plain(w, 1, 300, 9, 5000, false, true, true, true);
    check_plain(w, 2, 5, 70, 8193, true, true, false, false);
    check_plain(w, 33, 3, 17, 4500, true, true, true, true); // many blocks: segments within a task
}

// Every chain ends at -0 (negative products that underflow). One segment is taken as it is; several
// are added from +0.
static void test_negative_zero(void **state_) {
    const GemmWorld *w = *state_;
    for (int64_t k = 4000; k <= 5000; k += 1000)
        for (int64_t batch = 1; batch <= 33; batch += 32) {
            GemmCase x = {.g = plain(), .count = {k, k, batch}};
            x.g.nbatch = x.g.nk = 1;
            x.g.batch[0] = (SnDim){batch, 0, 0, 1};
            x.g.k[0] = (SnDim){k, 1, 1, 0};
            case_fill(&x, false);
            for (int64_t i = 0; i < k; i++) x.a[i] = -1e-30f, x.b[i] = 1e-30f;
            for (uint32_t i = 0; i < w->n; i++) {
                SnGemmJob job;
                sn_gemm_prepare(&job, &x.g, &w->kit[i], 2, NULL);
                run_job(&job, (void *[]){x.a, x.b, x.c}, &(SnEnv){0}, 2, false);
                for (int64_t e = 0; e < batch; e++)
                    assert_true(x.c[e] == 0.0f && !signbit(x.c[e]) == (k > 4096));
            }
            case_free(&x);
        }
}

static void test_vectors(void **state_) {
    const GemmWorld *w = *state_;
    check_plain(w, 1, 1, 1000, 300, true, true, false, false);
    check_plain(w, 1, 1000, 1, 300, true, true, true, false);
    check_plain(w, 1, 1, 1, 5000, true, true, false, false);
    check_plain(w, 1, 500, 300, 1, true, true, true, true);
}

// Products of GPT-2 at 1 x 1024 tokens, tiles of both instruction sets: each thread has two tasks at least,
// and the workspace of all threads together stays small.
static void test_no_thread_starves(void **state_) {
    (void)state_;
    static const int64_t shapes[][4] = {
        {1, 1024, 768, 768},   {1, 1024, 3072, 768},  {1, 1024, 768, 3072}, {1, 1024, 50257, 768},
        {1, 1024, 768, 50257}, {1, 50257, 768, 1024}, {1, 768, 768, 1024},  {1, 768, 3072, 1024},
        {1, 3072, 768, 1024},  {12, 1024, 1024, 64},  {12, 1024, 64, 1024}, {1, 768, 768, 16384}};
    const SnGemmKit kits[] = {{.mr = 6, .nr = 16}, {.mr = 8, .nr = 48}, {.mr = 14, .nr = 32}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int64_t at = 0; at < 3 * 8; at++) {
            const int64_t *s = shapes[i], threads = (int64_t)1 << at % 8;
            SnGemm g = plain();
            SnGemmJob job;
            g.nbatch = g.nm = g.nn = g.nk = 1;
            g.batch[0] = (SnDim){s[0], s[1] * s[3], s[2] * s[3], s[1] * s[2]};
            g.m[0] = (SnDim){s[1], s[3], 0, s[2]};
            g.n[0] = (SnDim){s[2], 0, 1, 1};
            g.k[0] = (SnDim){s[3], 1, s[2], 0};
            sn_gemm_prepare(&job, &g, &kits[at / 8], threads, NULL);
            if (job.tasks[SN_GEMM_COMPUTE] < 2 * threads)
                fail_msg("%lld x (%lld x %lld x %lld): %lld tasks for %lld threads",
                         (long long)s[0], (long long)s[1], (long long)s[2], (long long)s[3],
                         (long long)job.tasks[SN_GEMM_COMPUTE], (long long)threads);
        }
}

// One micro-kernel on a block of a wider matrix: the rows of A, the lanes of B, the chain's start and
// what is added each lie `gap` floats further apart than they need to.
static void check_ukr(SnUkrFn ukr, int64_t rows, int64_t lanes, int64_t kc, int64_t gap, bool more,
                      bool add) {
    int64_t lda = rows + gap, ld = lanes + gap, n = rows * ld;
    float *a = floats(kc * lda, false), *b = floats(kc * ld, false), *acc = floats(n, false);
    float *from = floats(n, false), *to = floats(n, true), *want = floats(n, true);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < lanes; l++) {
            float x = more ? from[r * ld + l] : 0.0f;
            for (int64_t k = 0; k < kc; k++) x = fmaf(a[k * lda + r], b[k * ld + l], x);
            want[r * ld + l] = add ? acc[r * ld + l] + x : x;
        }
    ukr(kc, a, lda, b, ld, more ? from : NULL, ld, add ? acc : NULL, ld, to, ld);
    assert_same("micro-kernel", to, want, n);
    float *all[] = {a, b, acc, from, to, want};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void test_micro_kernels(void **state_) {
    const GemmWorld *w = *state_;
    state = 11;
    for (uint32_t i = 0; i < w->n; i++) {
        const SnGemmKit *kit = &w->kit[i];
        uint32_t sizes = sn_ukr_sizes((uint32_t)kit->mr);
        for (uint32_t f = 0; f < sizes * kit->nr / SN_GEMM_LANES; f++)
            for (int64_t kc = 0; kc < 36; kc += kc < 5 ? 1 : 10)
                for (int mode = 0; mode < 4; mode++)
                    check_ukr((SnUkrFn)kit->ukr[f], sn_ukr_rows((uint32_t)kit->mr, f % sizes),
                              (f / sizes + 1) * SN_GEMM_LANES, kc, pick(0, 3) * 41, mode & 1,
                              mode & 2);
    }
}

// One panel against its definition: any strides, k in nested extents, a stretch of it.
static void check_panel(SnGemmPanel panel, uint32_t elem) {
    SnGemm g = {.nm = 0};
    int64_t n = pick(1, 40), k = pick(1, 150), width = n + pick(0, 3);
    g.nm = nest(g.m, n, 3), g.nk = nest(g.k, k, 4);
    SnDim *dims[8];
    int64_t count =
        lay_out(dims, gather(dims, gather(dims, 0, g.k, g.nk), g.m, g.nm), 0, next() % 2);
    SnExtents rows = sn_extents(g.m, g.nm, false), ks = sn_extents(g.k, g.nk, false);
    float *x = floats(count, false);
    void *mem =
        in_memory(elem == SN_ELEM_f32 && panel != SN_PANEL_FLOATS ? SN_ELEM_bf16 : elem, x, count);
    if (elem == SN_ELEM_f32 && panel != SN_PANEL_FLOATS) // numbers that bf16 holds
        free(mem), mem = in_memory(elem, x, count);
    int64_t i0 = pick(0, n - 1), some = pick(1, n - i0), k0 = pick(0, (k - 1) / 2) * 2,
            kc = pick(1, k - k0);
    if (panel != SN_PANEL_FLOATS && k0 + kc < k) kc += kc % 2;
    int64_t words = sn_gemm_words(panel, kc);
    float *to = floats(words * width, true);
    sn_gemm_pack(panel, SN_GEMM_A, &rows, &ks, (SnGemmMatrix){mem, elem}, i0, some, width, k0, kc,
                 to);
    for (int64_t q = 0; q < words; q++)
        for (int64_t i = 0; i < width; i++) {
            float two[2] = {0, 0}, want;
            for (int64_t odd = 0; odd < 2; odd++) {
                int64_t at =
                    panel == SN_PANEL_FLOATS ? q : q / (panel == SN_PANEL_PAIRS ? 1 : 2) * 2 + odd;
                if (at >= kc || i >= some) continue;
                SnDim d = {0};
                decode(g.m, g.nm, i0 + i, &d), decode(g.k, g.nk, k0 + at, &d);
                two[odd] = x[d.a];
            }
            uint32_t even, odd;
            memcpy(&even, &two[0], 4), memcpy(&odd, &two[1], 4);
            even = even >> 16 | odd;
            want = panel == SN_PANEL_ODD_FIRST && q % 2 == 0 ? two[1] : two[0];
            if (panel == SN_PANEL_PAIRS) memcpy(&want, &even, 4);
            if (memcmp(&want, to + q * width + i, 4) != 0)
                fail_msg("panel %d of type %u, %lld x %lld: word %lld of column %lld", (int)panel,
                         elem, (long long)some, (long long)kc, (long long)q, (long long)i);
        }
    assert_memory_equal(to + words * width, &(int32_t){POISON}, 4);
    free(x), free(mem), free(to);
}

static void test_packing(void **state_) {
    (void)state_;
    state = 23;
    for (int i = 0; i < 3000; i++) {
        static const struct {
            SnGemmPanel panel;
            uint32_t elem;
        } kinds[] = {{SN_PANEL_FLOATS, SN_ELEM_f32},    {SN_PANEL_FLOATS, SN_ELEM_bf16},
                     {SN_PANEL_FLOATS, SN_ELEM_f16},    {SN_PANEL_ODD_FIRST, SN_ELEM_bf16},
                     {SN_PANEL_ODD_FIRST, SN_ELEM_f32}, {SN_PANEL_PAIRS, SN_ELEM_bf16},
                     {SN_PANEL_PAIRS, SN_ELEM_f32}};
        check_panel(kinds[i % 7].panel, kinds[i % 7].elem);
    }
}

// A block from panels or from where its operands lie; what is not its own keeps its value.
static void check_block(const SnGemmKit *kit, int64_t rows, int64_t lanes, int64_t kc, int mode) {
    bool pack_a = mode & 1, pack_b = mode & 2, more = mode & 4, add = mode & 8;
    int64_t whole = sn_round_up(lanes, SN_GEMM_LANES), ld = whole + pick(0, 9),
            lda = rows + pick(0, 5);
    float *a = floats(kc * lda, false), *b = floats(kc * ld, false), *to = floats(rows * ld, true);
    float *from = floats(rows * ld, false), *acc = floats(rows * ld, false);
    float *pa = floats(rows * kc, true), *pb = floats(whole * kc, true);
    SnExtents ai = {1, rows, {{rows, 1, 0, 0}}}, bi = {1, lanes, {{lanes, 0, 1, 0}}};
    SnExtents k = {1, kc, {{kc, lda, ld, 0}}};
    for (int64_t at = 0; at < kc; at += 7) { // piece by piece
        SnGemmStretch part = {0, kc, at, min64(7, kc - at)};
        SnGemmMatrix ma = {a, SN_ELEM_f32}, mb = {b, SN_ELEM_f32};
        sn_gemm_pack_rows(kit, SN_PANEL_FLOATS, &ai, &k, ma, 0, rows, part, pa);
        sn_gemm_pack_lanes(kit, SN_PANEL_FLOATS, &bi, &k, mb, 0, lanes, part, pb);
    }
    sn_gemm_block(kit, &(SnGemmBlock){.rows = rows,
                                      .lanes = lanes,
                                      .kc = kc,
                                      .a = pack_a ? pa : a,
                                      .lda = pack_a ? 0 : lda,
                                      .b = pack_b ? pb : b,
                                      .ldb = pack_b ? 0 : ld,
                                      .from = more ? from : NULL,
                                      .ldfrom = ld,
                                      .acc = add ? acc : NULL,
                                      .ldacc = ld,
                                      .to = to,
                                      .ldto = ld});
    for (int64_t i = 0; i < rows; i++)
        for (int64_t l = 0; l < ld; l++) {
            float x = more ? from[i * ld + l] : 0.0f, got = to[i * ld + l];
            for (int64_t q = 0; q < kc; q++) x = fmaf(a[q * lda + i], b[q * ld + l], x);
            if (add) x = acc[i * ld + l] + x;
            if (l >= whole) memcpy(&x, &(int32_t){POISON}, 4);
            if ((l < lanes || l >= whole) && memcmp(&got, &x, 4) != 0)
                fail_msg("mode %d, %lld x %lld x %lld: [%lld, %lld] is %a, expected %a", mode,
                         (long long)rows, (long long)lanes, (long long)kc, (long long)i,
                         (long long)l, (double)got, (double)x);
        }
    float *all[] = {a, b, to, from, acc, pa, pb};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void test_panels(void **state_) {
    const GemmWorld *w = *state_;
    state = 17;
    for (uint32_t i = 0; i < w->n; i++)
        for (int n = 0; n < 200; n++)
            check_block(&w->kit[i], pick(1, 30), pick(1, 130), pick(1, 40), n % 16);
}

// Segments in order, not a pairwise sum, and not one chain over all of k: the reference must tell
// them apart, so that equality with it says something.
static void test_reference(void **state_) {
    (void)state_;
    state = 5;
    GemmCase x = {.g = plain(), .count = {9000, 9000, 1}, .k = 9000};
    x.g.nk = 1;
    x.g.k[0] = (SnDim){9000, 1, 1, 0};
    x.a = floats(9000, false), x.b = floats(9000, false), x.along = k_offsets(&x);
    float chain = 0.0f;
    for (int i = 0; i < 9000; i++) chain = fmaf(x.a[i], x.b[i], chain);
    assert_true(chain != dot(&x, &(SnDim){0}));
    free(x.a), free(x.b), free(x.along);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),       cmocka_unit_test(test_instruction),
        cmocka_unit_test(test_generated_pairs), cmocka_unit_test(test_micro_kernels),
        cmocka_unit_test(test_panels),          cmocka_unit_test(test_no_thread_starves),
        cmocka_unit_test(test_packing),         cmocka_unit_test(test_flushing),
        cmocka_unit_test(test_probe),           cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_random_narrow),   cmocka_unit_test(test_random),
        cmocka_unit_test(test_vectors),         cmocka_unit_test(test_negative_zero),
        cmocka_unit_test(test_blocks),          cmocka_unit_test(test_long_k)};
    return cmocka_run_group_tests_name("gemm", tests, setup, teardown);
}

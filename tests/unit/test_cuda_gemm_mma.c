// Products of 16-bit floats by tensor cores (codegen/cuda/gemm_mma.c). Their texts, compiled for every target: no
// spills, no stack, no warnings. Their values, on the emulated device with all its checks: within the bound of
// docs/numerics.md of the sum in double precision, and the CPU's bits, for the emulated tensor cores sum as it does;
// the same under another order of warps and blocks. What lies around the result stays as it is, and a NaN is named.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include "runtime/elem.h"
#include "runtime/emulator/engine/emu.h"
#include "runtime/emulator/libraries/product.h"
#include "tests/unit/product_shapes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PLACE = 77, SEEDS = 3, COLUMN = 3, ROW = 2 };

// ---- numbers ------------------------------------------------------------------------------------

typedef struct {
    int fraction, least; // bits behind the point; exponent of the least normal number
} Digits;
static Digits digits_of(uint32_t elem) {
    return elem == SN_ELEM_f32    ? (Digits){23, -126}
           : elem == SN_ELEM_bf16 ? (Digits){7, -126}
                                  : (Digits){10, -14};
}

// Any number that the type has, of usual sizes, with zeros and subnormals.
static void pick_value(uint32_t elem, void *to) {
    if (elem == SN_ELEM_f32) {
        float x = (float)(int32_t)product_next() * 0x1p-30f - 1.0f;
        memcpy(to, &x, sizeof x);
        return;
    }
    Digits f = digits_of(elem);
    uint32_t one = (uint32_t)(1 - f.least) << f.fraction; // the bits of 1
    uint32_t below = (uint32_t)product_pick(0, 6) << f.fraction;
    uint32_t bits = (one - below) | (product_next() & ((1u << f.fraction) - 1));
    if (product_next() % 16 == 0) bits = 0;
    if (product_next() % 16 == 0) bits = product_next() & ((1u << f.fraction) - 1); // subnormal
    uint16_t x = (uint16_t)(bits | (product_next() & 1) << 15);
    memcpy(to, &x, sizeof x);
}

static uint64_t bytes_of(uint32_t elem) { return sn_elem_info[elem].bytes; }

// ---- products -----------------------------------------------------------------------------------

static Product typed(Product p, uint32_t elem, uint32_t result) {
    p.g.elem_a = p.g.elem_b = elem;
    p.g.elem_c = result;
    return p;
}
static Product with_bias(Product p) {
    p.g.has |= sn_gemm_bit(SN_GEMM_BIAS);
    return p;
}

// Rows of `ld` elements, from the element `base` on: what a copy can take, and what none can.
static Product pitched(Product p, int64_t lda, int64_t ldb, int64_t base) {
    bool a_along_k = p.g.k[0].a == 1, b_along_k = p.g.k[0].b == 1;
    *(a_along_k ? &p.g.m[0].a : &p.g.k[0].a) = lda;
    *(b_along_k ? &p.g.n[0].b : &p.g.k[0].b) = ldb;
    p.count[0] = (a_along_k ? p.m : p.k) * lda;
    p.count[1] = (b_along_k ? p.n : p.k) * ldb;
    return moved(p, base, base, 0);
}

// One of each kind: each width of copies, along k and along the rows, each type of result, what is added.
static uint32_t some_products(Product *to) {
    const uint32_t b = SN_ELEM_bf16, h = SN_ELEM_f16, f = SN_ELEM_f32;
    uint32_t n = 0;
    to[n++] = typed(plain(1, 1, 1), b, b);
    to[n++] = typed(plain(31, 33, 7), h, f);
    to[n++] = typed(plain(64, 72, 40), b, b);
    to[n++] = typed(transposed(72, 64, 40), b, f);
    to[n++] = typed(transposed(130, 200, 100), h, h);
    to[n++] = typed(plain(200, 136, 65), b, f); // an odd depth: A by single elements
    to[n++] = typed(pitched(plain(40, 48, 32), 36, 50, 0), b, b); // copies of 8 and of 4 bytes
    to[n++] = typed(pitched(transposed(40, 48, 32), 44, 34, 0), h, f);
    to[n++] = typed(pitched(plain(40, 48, 32), 32, 48, 4), b, f);
    to[n++] = typed(pitched(plain(66, 50, 34), 35, 51, 1), h, h);
    to[n++] = typed(with_acc(plain(40, 48, 96), false), b, f);
    to[n++] = typed(with_bias(plain(40, 48, 24)), b, h); // no library has these
    to[n++] = typed(with_acc(plain(70, 49, 96), true), b, f);
    to[n++] = typed(with_acc(transposed(33, 17, 150), true), h, h);
    to[n++] = typed(with_bias(plain(40, 48, 96)), b, b);
    to[n++] = typed(with_bias(by_columns(plain(40, 48, 96))), b, b);
    to[n++] = typed(with_bias(with_acc(plain(70, 49, 33), true)), h, f);
    to[n++] = typed(scores(2, 70, 3, 16), b, b);
    to[n++] = typed(scores(2, 37, 3, 24), h, f);
    to[n++] = typed(nested(1), b, f);
    to[n++] = typed(with_acc(plain(17, 40, 4170), true), b, f); // totals of segments
    to[n++] = typed(transposed(40, 24, 8200), h, h);
    to[n++] = typed(batched(plain(1, 8, 8), 6), b, b); // one text, two grids
    to[n++] = typed(batched(plain(1, 8, 8), 24), b, b);
    to[n++] = typed(moved(plain(40, 48, 32), 0, 0, 1), b, b); // pairs of C are not aligned
    to[n++] = typed(batched(plain(128, 128, 40), 132), b, b); // the other tiles
    to[n++] = typed(batched(transposed(128, 64, 40), 132), h, f);
    to[n++] = typed(batched(pitched(plain(64, 120, 33), 33, 121, 1), 132), b, f);
    return n;
}
enum { SOME = 28, RANDOM = 40 };

// What fills a device: each tile, with copies and without.
static uint32_t large_products(Product *to) {
    const uint32_t b = SN_ELEM_bf16, h = SN_ELEM_f16, f = SN_ELEM_f32;
    uint32_t n = 0;
    to[n++] = typed(plain(4096, 4096, 1024), b, b);
    to[n++] = typed(transposed(4096, 4096, 1024), b, f);
    to[n++] = typed(with_acc(transposed(4095, 4097, 1023), true), h, f);
    to[n++] = typed(plain(4095, 4097, 1023), b, b);
    to[n++] = typed(with_bias(plain(50257, 768, 1024)), b, b);
    to[n++] = typed(with_acc(plain(1024, 768, 50257), true), b, f);
    to[n++] = typed(scores(8, 1024, 12, 64), b, f);
    to[n++] = typed(with_acc(nested(8), true), b, f);
    to[n++] = typed(far_apart(plain(2048, 2048, 512)), b, b);
    to[n++] = typed(batched(plain(128, 64, 96), 132), b, b);
    to[n++] = typed(batched(with_acc(transposed(64, 128, 96), true), 132), h, h);
    to[n++] = typed(with_bias(batched(pitched(plain(64, 128, 33), 33, 129, 1), 132)), b, b);
    to[n++] = typed(batched(pitched(plain(128, 64, 33), 33, 65, 1), 132), b, b);
    return n;
}
enum { LARGE = 13 };

static Product any(uint64_t seed) {
    static const int64_t size[] = {1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 65, 96, 128, 130};
    product_state = seed;
    int64_t m = size[product_pick(0, 14)], n = size[product_pick(0, 14)];
    Product p =
        product_random(product_pick(1, 3), m, n, size[product_pick(0, 14)], 4, product_next() % 2);
    if (product_next() % 2) p = with_acc(p, product_next() % 2);
    uint32_t elem = product_next() % 2 ? SN_ELEM_bf16 : SN_ELEM_f16;
    return typed(p, elem, product_next() % 2 ? elem : SN_ELEM_f32);
}

static int set_up(void **state) {
    *state = arena_new();
    return 0;
}
static int tear_down(void **state) {
    arena_free(*state);
    return 0;
}

static CudaLaunch add(Arena *a, CudaModule *m, const Product *p, const char *name) {
    CudaLaunch launch;
    Text why = {.arena = a};
    if (!cuda_add_gemm(m, &p->g, name, &launch, &why)) fail_msg("%s: %s", name, why.at);
    return launch;
}

static void equal_products_share(void **state) {
    CudaModule *m = cuda_module_new(*state);
    Product p = typed(plain(40, 48, 32), SN_ELEM_bf16, SN_ELEM_bf16), q = p, r = p;
    q.g.elem_c = SN_ELEM_f32;
    r = typed(r, SN_ELEM_f16, SN_ELEM_f16);
    assert_int_equal(add(*state, m, &p, "one").function, 0);
    assert_int_equal(add(*state, m, &p, "another").function, 0);
    assert_int_equal(add(*state, m, &q, "to f32").function, 1);
    assert_int_equal(add(*state, m, &r, "f16").function, 2);
    const Product few = typed(batched(plain(1, 8, 8), 6), SN_ELEM_bf16, SN_ELEM_bf16);
    const Product many = typed(batched(plain(1, 8, 8), 24), SN_ELEM_bf16, SN_ELEM_bf16);
    const CudaLaunch a = add(*state, m, &few, "few"), b = add(*state, m, &many, "many");
    assert_int_equal(a.function, b.function);
    assert_int_equal(b.grid[0], 4 * a.grid[0]);
}

static void no_spills(void **state) {
    Arena *a = *state;
    Nvrtc rt;
    Text why = {.arena = a};
    if (!nvrtc_open(&rt, &why)) {
        printf("skipped registers and spills: %s\n", why.at);
        return;
    }
    bool all = getenv("SINTER_LONG") != NULL;
    CudaModule *m = cuda_module_new(a);
    Product p[LARGE + SOME];
    uint32_t n = large_products(p), count = 0;
    if (all) n += some_products(p + n);
    for (uint32_t i = 0; i < n; i += all ? 1 : 3) add(a, m, &p[i], "product");
    const CudaTarget *targets[8];
    for (const CudaTarget *t; (t = cuda_target_at(count)); count++) targets[count] = t;
    CudaCompile how = {targets, count, false, NULL, 2};
    CudaImages out;
    if (!cuda_compile(a, m, &how, &out, &why)) fail_msg("%s", why.at);
    if (out.warnings.n) fail_msg("%s", out.warnings.at);
    for (uint32_t t = 0; t < count; t++) {
        uint32_t most = 0;
        assert_int_equal(out.reports[t].n, m->functions);
        for (uint32_t i = 0; i < m->functions; i++) {
            const CudaReport *r = &out.reports[t].at[i];
            if (r->spill_stores || r->spill_loads || r->stack)
                fail_msg("k%u on %s: %u bytes of stack, %u + %u of spills", i, targets[t]->name,
                         r->stack, r->spill_stores, r->spill_loads);
            if (r->registers > most) most = r->registers;
        }
        printf("%s: %u functions, at most %u registers, no spills\n", targets[t]->name,
               m->functions, most);
    }
}

// ---- on the emulated device ---------------------------------------------------------------------

typedef struct {
    EmuDevice *device;
    const EmuModule *module;
    CudaLaunch launch;
    const Product *p;
    const char *what;
    SnCudaEnv env;
    uint64_t param[7], bytes[5]; // A, B, C, acc, bias
    uint32_t n;                  // of parameters
    char *before[5];             // what lay there before
    double worst;                // error by its bound
} MmaRun;

static uint32_t elem_at(const Product *p, int i) { return i < 2 ? p->g.elem_a : p->g.elem_c; }

static int64_t count_at(const Product *p, int i) { return i == 4 ? p->n : p->count[i < 3 ? i : 2]; }

static void upload(MmaRun *r, int i) {
    uint32_t elem = elem_at(r->p, i);
    r->bytes[i] = (uint64_t)count_at(r->p, i) * bytes_of(elem);
    uint64_t at = emu_alloc(r->device, r->bytes[i]);
    assert_true(at != 0);
    char *to = (char *)emu_host(r->device, at, r->bytes[i]);
    for (int64_t k = 0; k < count_at(r->p, i); k++)
        pick_value(elem, to + k * (int64_t)bytes_of(elem));
    if (i != 2) emu_mark(r->device, at, r->bytes[i], true); // C is not written yet
    r->before[i] = malloc(r->bytes[i]);
    assert_non_null(r->before[i]);
    memcpy(r->before[i], to, r->bytes[i]);
    r->param[2 + i] = at;
}

static double element(const MmaRun *r, int i, int64_t at) {
    uint32_t elem = elem_at(r->p, i);
    return sn_elem_get(elem, r->before[i] + at * (int64_t)bytes_of(elem));
}

// docs/numerics.md, Promises: of sums by tensor cores.
static double bound_of(const MmaRun *r, double magnitude, double total) {
    Digits f = digits_of(r->p->g.elem_c);
    double added = 0x1p-22 * (magnitude + fabs(total));             // acc and bias
    double flushed = r->p->g.elem_a == SN_ELEM_bf16 ? 0x1p-125 : 0; // operands are below 2
    return (double)r->p->k * (0x1p-23 * magnitude + flushed) + added +
           ldexp(fabs(total), -f.fraction - 1) * 1.01 + ldexp(1, f.least - f.fraction);
}

static void check_element(MmaRun *r, const char *c, SnDim at, double sum, double magnitude,
                          int64_t column) {
    const SnGemm *g = &r->p->g;
    double total = sum;
    if (sn_gemm_has(g, SN_GEMM_ACC) && !(g->acc_first && r->env.env.first))
        total += element(r, 3, at.c);
    if (sn_gemm_has(g, SN_GEMM_BIAS)) total += element(r, 4, column);
    double got = sn_elem_get(g->elem_c, c + at.c * (int64_t)bytes_of(g->elem_c));
    double bound = bound_of(r, magnitude, total), error = fabs(got - total);
    if (!(error <= bound)) fail_msg("%s: %g instead of %g, bound %g", r->what, got, total, bound);
    if (error > r->worst * bound) r->worst = error / bound;
}

static double *values(const MmaRun *r, int i) {
    double *x = malloc((size_t)count_at(r->p, i) * sizeof *x);
    assert_non_null(x);
    for (int64_t k = 0; k < count_at(r->p, i); k++) x[k] = element(r, i, k);
    return x;
}

static float *floats(const MmaRun *r, int i) {
    float *x = aligned_alloc(64, (size_t)(count_at(r->p, i) + 32) / 16 * 16 * sizeof *x);
    assert_non_null(x);
    for (int64_t k = 0; k < count_at(r->p, i); k++) x[k] = (float)element(r, i, k);
    return x;
}

// The product and what is added to it by the CPU's driver, in f32.
static float *by_cpu(const MmaRun *r) {
    SnGemm g = r->p->g;
    SnGemmKit kit = product_kit();
    SnGemmJob job;
    float *c = floats(r, 2), *acc = floats(r, 3);
    void *bufs[] = {r->before[0], r->before[1], c, acc};
    g.elem_c = SN_ELEM_f32;
    g.has &= ~sn_gemm_bit(SN_GEMM_BIAS);
    sn_gemm_prepare(&job, &g, &kit, 1, NULL);
    void *shared = aligned_alloc(64, ((size_t)job.shared + 127) / 64 * 64);
    void *scratch = aligned_alloc(64, ((size_t)job.scratch + 127) / 64 * 64);
    for (uint32_t phase = 0; phase < SN_GEMM_PHASES; phase++)
        sn_gemm_run(&job, phase, bufs, &r->env.env, 0, job.tasks[phase], shared, scratch);
    free(shared);
    free(scratch);
    free(acc);
    return c;
}

static void check_bits(const MmaRun *r, const char *c, const float *sums, int64_t at,
                       int64_t column) {
    const SnGemm *g = &r->p->g;
    uint64_t size = bytes_of(g->elem_c);
    float x = sums[at];
    char want[4];
    if (sn_gemm_has(g, SN_GEMM_BIAS)) x = x + (float)element(r, 4, column);
    sn_elem_set(g->elem_c, want, (double)x);
    if (memcmp(want, c + (uint64_t)at * size, size) != 0)
        fail_msg("%s: other bits than the CPU's: %a, not %a", r->what,
                 sn_elem_get(g->elem_c, c + (uint64_t)at * size), (double)x);
}

// Each element of C, and that nothing else of it was written.
static void check_values(MmaRun *r) {
    const Product *p = r->p;
    const char *c = (const char *)emu_host(r->device, r->param[4], r->bytes[2]);
    double *a = values(r, 0), *b = values(r, 1);
    float *sums = by_cpu(r);
    SnDim zero = product_at(p, 0, 0, 0, 0), *step = calloc((size_t)p->k, sizeof *step);
    for (int64_t l = 0; l < p->k; l++) step[l] = product_at(p, 0, 0, 0, l);
    uint8_t *seen = calloc((size_t)p->count[2], 1);
    for (int64_t e = 0; e < p->batch; e++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                double sum = 0, magnitude = 0;
                SnDim at = product_at(p, e, i, j, 0);
                for (int64_t l = 0; l < p->k; l++) {
                    double x = a[at.a + step[l].a - zero.a] * b[at.b + step[l].b - zero.b];
                    sum += x;
                    magnitude += fabs(x);
                }
                seen[at.c] = 1;
                check_element(r, c, at, sum, magnitude, j);
                check_bits(r, c, sums, at.c, j);
            }
    int64_t size = (int64_t)bytes_of(p->g.elem_c);
    for (int64_t i = 0; i < p->count[2]; i++)
        if (!seen[i] && memcmp(c + i * size, r->before[2] + i * size, (size_t)size) != 0)
            fail_msg("%s: element %lld between C's is written", r->what, (long long)i);
    free(sums);
    free(seen);
    free(step);
    free(a);
    free(b);
}

static void start(MmaRun *r) {
    uint32_t n = 0;
    char symbol[16];
    EmuRange range[8];
    bool acc = sn_gemm_has(&r->p->g, SN_GEMM_ACC), bias = sn_gemm_has(&r->p->g, SN_GEMM_BIAS);
    uint64_t *x = r->param, param[7] = {x[0], x[1], x[2], x[3], x[4]};
    uint32_t params = 5;
    if (acc) param[params++] = x[5];
    if (bias) param[params++] = x[6];
    range[n++] = (EmuRange){x[0], sizeof r->env.env, true, false, "env", false};
    range[n++] = (EmuRange){x[0] + offsetof(SnCudaEnv, fault), 8, true, true, "fault", true};
    range[n++] = (EmuRange){x[2], r->bytes[0], true, false, "A", false};
    range[n++] = (EmuRange){x[3], r->bytes[1], true, false, "B", false};
    range[n++] = (EmuRange){x[4], r->bytes[2], acc && x[5] == x[4], true, "C", false};
    if (acc && x[5] != x[4]) range[n++] = (EmuRange){x[5], r->bytes[3], true, false, "acc", false};
    if (bias) range[n++] = (EmuRange){x[6], r->bytes[4], true, false, "bias", false};
    snprintf(symbol, sizeof symbol, "k%u", r->launch.function);
    EmuLaunch l = {.function = emu_module_function(r->module, symbol),
                   .grid = {r->launch.grid[0], r->launch.grid[1], r->launch.grid[2]},
                   .block = {r->launch.block, 1, 1},
                   .dynamic_shared = r->launch.shared,
                   .params = param,
                   .ranges = range,
                   .range_count = n,
                   .kernel = r->what};
    EmuFault fault;
    assert_non_null(l.function);
    assert_int_equal(emu_function_info(l.function).param_bytes, 8 * params);
    if (!emu_launch(r->device, &l, NULL, &fault)) fail_msg("%s: %s", r->what, fault.text);
}

// Once more with a NaN in the middle of A: the fault word names the first element of C that became one.
static bool check_fault(MmaRun *r) {
    const Product *p = r->p;
    int64_t size = (int64_t)bytes_of(p->g.elem_c);
    SnCudaEnv *env = (void *)emu_host(r->device, r->param[0], sizeof *env);
    uint16_t *a = (void *)emu_host(r->device, r->param[2], r->bytes[0]);
    const char *c = (const char *)emu_host(r->device, r->param[4], r->bytes[2]);
    if (env->fault != UINT64_MAX) fail_msg("%s: there is no NaN", r->what);
    a[p->count[0] / 2] = 0x7fff;
    start(r);
    uint64_t want = UINT64_MAX;
    for (int64_t i = p->count[2]; i-- > 0;)
        if (isnan(sn_elem_get(p->g.elem_c, c + i * size)) && !isnan(element(r, 2, i)))
            want = (uint64_t)(PLACE + 2) << SN_FAULT_ELEMENT | (uint64_t)i;
    if (env->fault != want)
        fail_msg("%s: the fault word is %llx, not %llx", r->what, (unsigned long long)env->fault,
                 (unsigned long long)want);
    return want != UINT64_MAX;
}

// Runs it on each device, which differ in the order of warps and blocks.
static bool run_product(MmaRun r, EmuDevice *const *device, bool in_place) {
    char *first = NULL;
    bool named = false;
    uint64_t state = product_state;
    for (int s = 0; s < SEEDS; s++) {
        product_state = state; // the same values
        r.device = device[s];
        r.env = (SnCudaEnv){{.first = (int32_t)(product_next() % 2), .step = 1}, UINT64_MAX};
        for (int i = 0; i < 5; i++) upload(&r, i);
        if (in_place) {
            emu_mark(r.device, r.param[4], r.bytes[2], true);
            memcpy(r.before[3], r.before[2], r.bytes[2]);
        }
        const uint64_t acc = r.param[5];
        if (in_place) r.param[5] = r.param[4];
        r.param[0] = emu_alloc(r.device, sizeof r.env);
        r.param[1] = PLACE;
        memcpy(emu_host(r.device, r.param[0], sizeof r.env), &r.env, sizeof r.env);
        emu_mark(r.device, r.param[0], sizeof r.env, true);
        start(&r);
        const char *c = (const char *)emu_host(r.device, r.param[4], r.bytes[2]);
        if (s == 0) {
            check_values(&r);
            first = malloc(r.bytes[2]);
            memcpy(first, c, r.bytes[2]);
        } else if (memcmp(first, c, r.bytes[2]) != 0) {
            fail_msg("%s: other bits in another order", r.what);
        }
        if (s == 0 && !in_place) named = check_fault(&r);
        for (int i = 0; i < 5; i++) {
            emu_free(r.device, i == 3 ? acc : r.param[2 + i]);
            free(r.before[i]);
        }
        emu_free(r.device, r.param[0]);
    }
    free(first);
    return named;
}

static void run_all(Arena *a, const CudaTarget *target, const Product *p, uint32_t n) {
    CudaImages images;
    Text why = {.arena = a};
    CudaModule *m = cuda_module_new(a);
    CudaLaunch *launch = NEW_ARRAY(a, CudaLaunch, n);
    uint32_t named = 0;
    for (uint32_t i = 0; i < n; i++) launch[i] = add(a, m, &p[i], "product");
    CudaCompile how = {&target, 1, true, NULL, 2};
    if (!cuda_compile(a, m, &how, &images, &why)) fail_msg("%s", why.at);
    SnPool *pool = sn_pool_new(2);
    EmuDevice *device[SEEDS];
    EmuModule **module = NEW_ARRAY(a, EmuModule *, SEEDS * images.images.n);
    for (int s = 0; s < SEEDS; s++) {
        EmuConfig config = {.sm = target->sm,
                            .arch = target->arch,
                            .check = true,
                            .seed = (uint64_t)s + 1,
                            .memory = (uint64_t)1 << 26};
        device[s] = emu_device_new(&config, pool);
        assert_non_null(device[s]);
    }
    for (uint32_t i = 0; i < images.images.n; i++) {
        const CudaImage *x = &images.images.at[i];
        char text[512];
        if (emu_module_load(device[0], x->data, x->size, &module[i], text, sizeof text) != EMU_OK)
            fail_msg("batch %u for %s: %s", i, x->target->name, text);
    }
    for (uint32_t i = 0; i < n; i++) {
        MmaRun r = {.module = module[launch[i].batch], .launch = launch[i], .p = &p[i]};
        r.what = arena_printf(a, "%s, product %u: %lld of %lld x %lld x %lld", target->name, i,
                              (long long)p[i].batch, (long long)p[i].m, (long long)p[i].n,
                              (long long)p[i].k);
        named += run_product(r, device, false);
        if (sn_gemm_has(&p[i].g, SN_GEMM_ACC)) run_product(r, device, true);
    }
    assert_true(named > n / 2);
    for (uint32_t i = 0; i < images.images.n; i++) emu_module_free(module[i]);
    for (int s = 0; s < SEEDS; s++) emu_device_free(device[s]);
    sn_pool_free(pool);
}

// sm_80 and sm_120 are two generations of NVRTC's code generator. The long tier runs all products on all
// targets.
static void within_the_bound(void **state) {
    Arena *a = *state;
    Nvrtc rt;
    Text why = {.arena = a};
    if (!nvrtc_open(&rt, &why)) {
        printf("skipped products on the emulated device: %s\n", why.at);
        return;
    }
    bool all = getenv("SINTER_LONG") != NULL;
    Product p[SOME + RANDOM];
    uint32_t n = some_products(p);
    for (uint32_t i = 0; i < (all ? RANDOM : RANDOM / 8); i++) p[n++] = any(i + 1);
    for (uint32_t i = 0; cuda_target_at(i); i++)
        if (all || i == 0)
            run_all(a, cuda_target_at(i), p, n);
        else if (!cuda_target_at(i + 1))
            run_all(a, cuda_target_at(i), p, SOME / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equal_products_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_spills, set_up, tear_down),
        cmocka_unit_test_setup_teardown(within_the_bound, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The emulated cuBLASLt: products against their definition (docs/numerics.md, Contractions) and
// against the GEMM driver with another kit, by equality of bits; epilogues within 1e-5; and what it
// refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/core/gemm.h"
#include "runtime/elem.h"
#include "tests/unit/emulated.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CASES = 120, WORKSPACE = 8 << 20 };
#define OK(call)             assert_int_equal(call, 0)
#define IS(code, call)       assert_int_equal(call, code)
#define HAS(text, substring) assert_non_null(strstr(text, substring))

static uint64_t random_state = 7;
static uint32_t next(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static int64_t pick(int64_t lo, int64_t hi) { return lo + (int64_t)next() % (hi - lo + 1); }
static float value(void) {
    if (next() % 8 == 0) return next() % 2 ? 2e-23f : -2e-23f; // products vanish, to -0 too
    return (float)(int32_t)next() * 0x1p-31f - 0.25f;
}

// ---- a problem ----------------------------------------------------------------------------------

typedef struct { // stored: rows x cols with strides; order as in the layout
    int64_t rows, cols, ld, batch_stride, floats; // elements, whatever their type
    int32_t order;
    uint32_t elem;
    float *host; // values, as floats
    uint64_t device;
    SnLtLayout layout;
} Mat;
typedef struct {
    Device x;
    SnLtHandle lt;
    SnLtDesc desc;
    SnLtPreference preference;
    uint64_t workspace;
    int64_t m, n, k;
    int32_t batch, ta, tb;
    float alpha, beta;
    uint32_t epilogue;
    bool tf32;
    uint32_t elem_in, elem_out; // SnElem of A and B; of all else
    Mat a, b, c, d, aux, bias;
    SnLtHeuristic found[4];
    int count;
} LtCase;

static float *at(const Mat *x, int64_t b, int64_t r, int64_t c) {
    return x->host + b * x->batch_stride + (x->order ? r * x->ld + c : c * x->ld + r);
}

static int type_of(uint32_t elem) {
    return elem == SN_ELEM_bf16 ? SN_LT_R_16BF : elem == SN_ELEM_f16 ? SN_LT_R_16F : SN_LT_R_32F;
}

// The device's side of a matrix from the host's, or the other way round: n elements from `at` on.
static void send(const LtCase *t, const Mat *x, int64_t from, int64_t n) {
    size_t size = sn_elem_info[x->elem].bytes;
    char *bytes = malloc((size_t)n * size);
    assert_non_null(bytes);
    for (int64_t i = 0; i < n; i++) {
        static const uint16_t narrow_nan = 0x7fff;
        float f = x->host[from + i];
        sn_elem_set(x->elem, bytes + (size_t)i * size, (double)f);
        if (isnan(f))
            memcpy(bytes + (size_t)i * size,
                   size == 4 ? (void *)&f : (void *)(uintptr_t)&narrow_nan, size);
    }
    OK(t->x.api->copy_to_device(x->device + (uint64_t)from * size, bytes, (size_t)n * size,
                                t->x.a));
    OK(t->x.api->stream_synchronize(t->x.a));
    free(bytes);
}
static void fetch(const LtCase *t, Mat *x, int64_t from, int64_t n) {
    size_t size = sn_elem_info[x->elem].bytes;
    char *bytes = malloc((size_t)n * size);
    assert_non_null(bytes);
    OK(t->x.api->copy_to_host(bytes, x->device + (uint64_t)from * size, (size_t)n * size, t->x.a));
    OK(t->x.api->stream_synchronize(t->x.a));
    for (int64_t i = 0; i < n; i++)
        x->host[from + i] = (float)sn_elem_get(x->elem, bytes + (size_t)i * size);
    free(bytes);
}

// What TF32 keeps, by arithmetic: 11 bits of the significand, halves away from zero.
static float short_of(float x) {
    int e;
    double m = frexp((double)x, &e);
    return (float)ldexp(round(ldexp(m, 11)), e - 11);
}

// The nearest number of the type.
static float rounded(uint32_t elem, float x) {
    char bytes[4];
    sn_elem_set(elem, bytes, (double)x);
    return (float)sn_elem_get(elem, bytes);
}

// Fills a matrix with random values on both sides; what lies between its elements is NaN.
static void make_typed(LtCase *t, Mat *x, uint32_t elem, int64_t rows, int64_t cols, int64_t pad,
                       int32_t order) {
    *x = (Mat){.rows = rows, .cols = cols, .order = order, .elem = elem};
    x->ld = (order ? cols : rows) + pad;
    x->batch_stride = x->ld * (order ? rows : cols) + 4 * (pad & 1);
    x->floats = x->batch_stride * t->batch;
    x->host = malloc((size_t)x->floats * sizeof(float));
    assert_non_null(x->host);
    for (int64_t i = 0; i < x->floats; i++) x->host[i] = NAN;
    for (int64_t b = 0; b < t->batch; b++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) *at(x, b, r, c) = rounded(elem, value());
    const SnCudaApi *api = t->x.api;
    OK(api->mem_alloc(&x->device, (size_t)x->floats * sn_elem_info[elem].bytes));
    send(t, x, 0, x->floats);
    OK(api->lt_layout_create(&x->layout, type_of(elem), (uint64_t)rows, (uint64_t)cols, x->ld));
    OK(api->lt_layout_set(x->layout, SN_LT_LAYOUT_ORDER, &order, sizeof order));
    OK(api->lt_layout_set(x->layout, SN_LT_LAYOUT_BATCH_COUNT, &t->batch, sizeof t->batch));
    OK(api->lt_layout_set(x->layout, SN_LT_LAYOUT_BATCH_STRIDE, &x->batch_stride, 8));
}

static void make(LtCase *t, Mat *x, int64_t rows, int64_t cols, int64_t pad, int32_t order) {
    make_typed(t, x, t->elem_out, rows, cols, pad, order);
}

static void drop(LtCase *t, Mat *x) {
    if (!x->host) return;
    OK(t->x.api->mem_free(x->device));
    OK(t->x.api->lt_layout_destroy(x->layout));
    free(x->host);
    *x = (Mat){0};
}

static void open_lt(LtCase *t, uint64_t seed) {
    *t = (LtCase){.batch = 1, .alpha = 1, .epilogue = SN_LT_EPILOGUE_DEFAULT};
    device_open(&t->x, seed);
    const SnCudaApi *api = t->x.api;
    uint64_t most = WORKSPACE;
    OK(api->lt_create(&t->lt));
    OK(api->lt_desc_create(&t->desc, SN_LT_COMPUTE_32F, SN_LT_R_32F));
    OK(api->lt_preference_create(&t->preference));
    OK(api->lt_preference_set(t->preference, SN_LT_PREF_WORKSPACE_BYTES, &most, sizeof most));
    OK(api->mem_alloc(&t->workspace, WORKSPACE));
}

static void set(const LtCase *t, int attribute, const void *to, size_t bytes) {
    OK(t->x.api->lt_desc_set(t->desc, attribute, to, bytes));
}

static void set_ops(LtCase *t) {
    set(t, SN_LT_DESC_TRANSA, &t->ta, sizeof t->ta);
    set(t, SN_LT_DESC_TRANSB, &t->tb, sizeof t->tb);
    set(t, SN_LT_DESC_EPILOGUE, &t->epilogue, sizeof t->epilogue);
}

static void make_operands(LtCase *t, int64_t pad, int32_t order) {
    make_typed(t, &t->a, t->elem_in, t->ta ? t->k : t->m, t->ta ? t->m : t->k, pad, order);
    make_typed(t, &t->b, t->elem_in, t->tb ? t->n : t->k, t->tb ? t->k : t->n, pad, order & 1);
    make(t, &t->c, t->m, t->n, pad, order);
    make(t, &t->d, t->m, t->n, pad, order);
    set_ops(t);
}

static void drop_operands(LtCase *t) {
    drop(t, &t->a), drop(t, &t->b), drop(t, &t->c), drop(t, &t->d);
    drop(t, &t->aux), drop(t, &t->bias);
}

static int heuristic(LtCase *t) {
    return t->x.api->lt_heuristic(t->lt, t->desc, t->a.layout, t->b.layout, t->c.layout,
                                  t->d.layout, t->preference, 4, t->found, &t->count);
}

static const void *pointer(uint64_t p) { return (const void *)(uintptr_t)p; }

static int matmul(const LtCase *t, const SnLtAlgo *algo, size_t workspace) {
    return t->x.api->lt_matmul(t->lt, t->desc, &t->alpha, pointer(t->a.device), t->a.layout,
                               pointer(t->b.device), t->b.layout, &t->beta, pointer(t->c.device),
                               t->c.layout, (void *)(uintptr_t)t->d.device, t->d.layout, algo,
                               (void *)(uintptr_t)t->workspace, workspace, t->x.a);
}

// ---- references ---------------------------------------------------------------------------------

__attribute__((target("fma"))) static float dot(const LtCase *t, int64_t b, int64_t i, int64_t j) {
    float total = 0.0f;
    for (int64_t s = 0; s < t->k; s += 4096) {
        float chain = 0.0f;
        for (int64_t k = s; k < t->k && k < s + 4096; k++) {
            float x = t->ta ? *at(&t->a, b, k, i) : *at(&t->a, b, i, k);
            float y = t->tb ? *at(&t->b, b, j, k) : *at(&t->b, b, k, j);
            chain = t->tf32 ? fmaf(short_of(x), short_of(y), chain) : fmaf(x, y, chain);
        }
        if (t->k <= 4096) return chain;
        total = total + chain;
    }
    return total;
}

static void expect_bits(float want, float got) {
    if (memcmp(&want, &got, sizeof want) != 0)
        fail_msg("%a instead of %a", (double)got, (double)want);
}

// beta 0 or 1, alpha 1: same bits. Otherwise the rounding of the two products and the sum.
static void check_product(const LtCase *t, const Mat *d) {
    for (int64_t b = 0; b < t->batch; b++)
        for (int64_t i = 0; i < t->m; i++)
            for (int64_t j = 0; j < t->n; j++) {
                float want = t->alpha * dot(t, b, i, j), got = *at(d, b, i, j);
                if (t->beta != 0 && t->alpha == 1) want = t->beta * *at(&t->c, b, i, j) + want;
                if (t->beta != 0 && t->alpha != 1) want = want + t->beta * *at(&t->c, b, i, j);
                expect_bits(want, got);
            }
}

// ---- products -----------------------------------------------------------------------------------

static void get_result(LtCase *t) {
    const SnCudaApi *api = t->x.api;
    OK(api->stream_synchronize(t->x.a));
    for (int64_t b = 0; b < t->batch; b++)
        for (int64_t i = 0; i < (t->d.order ? t->m : t->n); i++) {
            int64_t at0 = b * t->d.batch_stride + i * t->d.ld, n = t->d.order ? t->n : t->m;
            fetch(t, &t->d, at0, n);
        }
}

static void random_case(LtCase *t, uint32_t i) {
    static const float alphas[] = {1, 1, 1, 0.5f}, betas[] = {0, 1, 0, -2};
    t->batch = (int32_t)pick(1, 3);
    t->m = pick(1, 40), t->n = pick(1, 40);
    t->k = next() % 8 == 0 ? pick(4000, 9000) : pick(1, 700);
    if (i % 10 == 0) t->k = 1;
    t->ta = (int32_t)(i & 1), t->tb = (int32_t)(i >> 1 & 1);
    t->alpha = alphas[next() % 4];
    t->beta = betas[next() % 4];
    make_operands(t, pick(0, 5), (int32_t)(next() % 4 == 0));
}

static void products_have_the_promised_bits(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    for (uint32_t i = 0; i < CASES; i++) {
        random_case(&t, i);
        uint32_t align = i % 2 ? 256 : 4;
        for (int q = SN_LT_PREF_ALIGN_A; q <= SN_LT_PREF_ALIGN_D; q++)
            OK(t.x.api->lt_preference_set(t.preference, q, &align, sizeof align));
        OK(heuristic(&t));
        const SnLtHeuristic *h = &t.found[next() % (uint32_t)t.count];
        OK(matmul(&t, next() % 4 ? &h->algo : NULL, h->workspace));
        get_result(&t);
        check_product(&t, &t.d);
        drop_operands(&t);
    }
    assert_string_equal(t.x.api->report(), "");
    assert_int_equal(sn_emulator_counts().matmuls, CASES);
    device_close(&t.x);
}

// In TF32 both operands are rounded, those between two numbers away from zero; not what is added.
static void tf32_products(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    OK(t.x.api->lt_desc_destroy(t.desc));
    OK(t.x.api->lt_desc_create(&t.desc, SN_LT_COMPUTE_32F_FAST_TF32, SN_LT_R_32F));
    t.tf32 = true;
    for (uint32_t i = 0; i < CASES / 2; i++) {
        random_case(&t, i);
        for (int64_t j = 0; j < t.a.floats; j += 3) // half a unit of the eleventh bit
            if (!isnan(t.a.host[j])) t.a.host[j] = i % 2 ? 0x1.002p0f : -0x1.006p-3f;
        send(&t, &t.a, 0, t.a.floats);
        OK(heuristic(&t));
        OK(matmul(&t, &t.found[0].algo, t.found[0].workspace));
        get_result(&t);
        check_product(&t, &t.d);
        drop_operands(&t);
    }
    uint32_t types[2] = {SN_ELEM_bf16, SN_ELEM_f16}; // it is of f32 alone
    for (int i = 0; i < 2; i++) {
        t.elem_in = types[i], t.m = t.n = t.k = 16, t.alpha = 1, t.beta = 0;
        make_operands(&t, 0, 0);
        IS(SN_LT_NOT_SUPPORTED, matmul(&t, NULL, 0));
        drop_operands(&t);
    }
    assert_string_equal(t.x.api->report(), "");
    device_close(&t.x);
}

// In place, and beta 0 over NaN.
static void accumulates_in_place(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 33, t.n = 17, t.k = 100;
    for (int i = 0; i < 2; i++) {
        t.beta = (float)i;
        make_operands(&t, 0, 0);
        for (int64_t q = 0; q < t.c.floats && !i; q++) t.c.host[q] = NAN;
        device_put(&t.x, t.d.device, t.c.host, (size_t)t.c.floats);
        uint64_t c = t.c.device;
        t.c.device = t.d.device;
        OK(matmul(&t, NULL, 0));
        t.c.device = c;
        get_result(&t);
        check_product(&t, &t.d);
        drop_operands(&t);
    }
    device_close(&t.x);
}

// Another kit: 2 rows, 16 lanes, one element after the other.
#define SCALAR(rows)                                                                               \
    __attribute__((target("fma"))) static void scalar_##rows(                                      \
        int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb, const float *from,   \
        int64_t ldfrom, const float *acc, int64_t ldacc, float *to, int64_t ldto) {                \
        for (int64_t r = 0; r < rows; r++)                                                         \
            for (int64_t l = 0; l < SN_GEMM_LANES; l++) {                                          \
                float x = from ? from[r * ldfrom + l] : 0;                                         \
                for (int64_t k = 0; k < kc; k++) x = fmaf(a[k * lda + r], b[k * ldb + l], x);      \
                to[r * ldto + l] = acc ? acc[r * ldacc + l] + x : x;                               \
            }                                                                                      \
    }
SCALAR(2)
SCALAR(1)

static void run_other_kit(const LtCase *t, float *to) {
    static const SnFn kernels[] = {(SnFn)scalar_2, (SnFn)scalar_1};
    SnGemm g = {.nm = 1, .nn = 1, .nk = 1, .has = sn_gemm_bit(SN_GEMM_C)};
    g.m[0] = (SnDim){t->m, 1, 0, 1};
    g.n[0] = (SnDim){t->n, 0, t->b.ld, t->m};
    g.k[0] = (SnDim){t->k, t->a.ld, 1, 0};
    SnGemmKit kit = {.mr = 2, .nr = 16, .ukr = kernels};
    SnGemmJob job;
    sn_gemm_prepare(&job, &g, &kit, 1, NULL);
    char *shared = aligned_alloc(64, (size_t)(job.shared + 63) / 64 * 64 + 64);
    char *scratch = aligned_alloc(64, (size_t)(job.scratch + 63) / 64 * 64 + 64);
    void *bufs[] = {t->a.host, t->b.host, to};
    SnEnv env = {0};
    for (uint32_t p = 0; p < SN_GEMM_PHASES; p++)
        sn_gemm_run(&job, p, bufs, &env, 0, job.tasks[p], shared, scratch);
    free(shared);
    free(scratch);
}

static void same_bits_as_another_kit(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 150, t.n = 90, t.k = 5000;
    make_operands(&t, 0, 0);
    OK(matmul(&t, NULL, 0));
    get_result(&t);
    float *other = malloc((size_t)t.d.floats * sizeof *other);
    run_other_kit(&t, other);
    assert_memory_equal(other, t.d.host, (size_t)t.d.floats * sizeof *other);
    free(other);
    drop_operands(&t);
    device_close(&t.x);
}

// ---- epilogues ----------------------------------------------------------------------------------

static double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
}
static double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

static void near(double want, double got) {
    if (!(fabs(want - got) <= 1e-4 * (1 + fabs(want)))) fail_msg("%g instead of %g", got, want);
}

static void set_extras(LtCase *t) {
    int64_t ld = t->aux.ld, stride = t->aux.batch_stride;
    set(t, SN_LT_DESC_BIAS_POINTER, &t->bias.device, sizeof t->bias.device);
    set(t, SN_LT_DESC_AUX_POINTER, &t->aux.device, sizeof t->aux.device);
    set(t, SN_LT_DESC_AUX_LD, &ld, sizeof ld);
    set(t, SN_LT_DESC_AUX_BATCH_STRIDE, &stride, sizeof stride);
}

static double expected(const LtCase *t, int64_t i, int64_t j) {
    double x = (double)dot(t, 0, i, j);
    switch (t->epilogue) {
    case SN_LT_EPILOGUE_BIAS: return x + (double)t->bias.host[i];
    case SN_LT_EPILOGUE_GELU:
    case SN_LT_EPILOGUE_GELU_AUX: return gelu(x);
    case SN_LT_EPILOGUE_GELU_BIAS:
    case SN_LT_EPILOGUE_GELU_AUX_BIAS: return gelu(x + (double)t->bias.host[i]);
    case SN_LT_EPILOGUE_DGELU:
    case SN_LT_EPILOGUE_DGELU_BGRAD: return x * gelu_slope((double)*at(&t->aux, 0, i, j));
    }
    return x;
}

static double expected_bias(const LtCase *t, int64_t i) {
    double sum = 0;
    if (t->epilogue == SN_LT_EPILOGUE_BGRADA)
        for (int64_t k = 0; k < t->k; k++) sum += (double)*at(&t->a, 0, i, k);
    else if (t->epilogue == SN_LT_EPILOGUE_BGRADB)
        for (int64_t k = 0; k < t->k; k++) sum += (double)*at(&t->b, 0, k, i);
    else
        for (int64_t j = 0; j < t->n; j++) sum += expected(t, i, j);
    return sum;
}

static bool is_one_of(uint32_t e, uint32_t a, uint32_t b, uint32_t c) {
    return e == a || e == b || e == c;
}

static void check_epilogue(LtCase *t) {
    const uint32_t e = t->epilogue;
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++) near(expected(t, i, j), (double)*at(&t->d, 0, i, j));
    if (is_one_of(e, SN_LT_EPILOGUE_DGELU_BGRAD, SN_LT_EPILOGUE_BGRADA, SN_LT_EPILOGUE_BGRADB)) {
        int64_t n = e == SN_LT_EPILOGUE_BGRADB ? t->n : t->m;
        float *got = malloc((size_t)n * sizeof *got);
        OK(device_get(&t->x, got, t->bias.device, (size_t)n));
        for (int64_t i = 0; i < n; i++) near(expected_bias(t, i), (double)got[i]);
        free(got);
    }
    if (e != SN_LT_EPILOGUE_GELU_AUX && e != SN_LT_EPILOGUE_GELU_AUX_BIAS) return;
    OK(device_get(&t->x, t->aux.host, t->aux.device, (size_t)t->aux.floats));
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++) {
            float b = e == SN_LT_EPILOGUE_GELU_AUX ? 0 : t->bias.host[i];
            expect_bits(dot(t, 0, i, j) + b, *at(&t->aux, 0, i, j));
        }
}

static void epilogues(void **state) {
    (void)state;
    static const uint32_t all[] = {
        SN_LT_EPILOGUE_BIAS,     SN_LT_EPILOGUE_GELU,          SN_LT_EPILOGUE_GELU_BIAS,
        SN_LT_EPILOGUE_GELU_AUX, SN_LT_EPILOGUE_GELU_AUX_BIAS, SN_LT_EPILOGUE_DGELU,
        SN_LT_EPILOGUE_BGRADA,   SN_LT_EPILOGUE_BGRADB,        SN_LT_EPILOGUE_DGELU_BGRAD};
    LtCase t;
    open_lt(&t, 1);
    t.m = 24, t.n = 19, t.k = 31;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        t.epilogue = all[i];
        make_operands(&t, 0, 0);
        make(&t, &t.aux, t.m, t.n, 0, 0);
        make(&t, &t.bias, 64, 1, 0, 0);
        set_extras(&t);
        OK(heuristic(&t));
        OK(matmul(&t, &t.found[0].algo, 0));
        get_result(&t);
        check_epilogue(&t);
        drop_operands(&t);
    }
    device_close(&t.x);
}

// ---- 16-bit operands ----------------------------------------------------------------------------

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

// docs/numerics.md, Contractions: of two bf16 in pairs, the odd one first, subnormal numbers are 0.
__attribute__((target("fma"))) static float dot_pairs(const float *x, const float *y, int64_t k) {
    float total = 0;
    for (int64_t s = 0; s < k; s += 4096) {
        float chain = 0;
        int64_t end = k < s + 4096 ? k : s + 4096;
        for (int64_t i = s; i < end; i++) {
            int64_t l = i ^ 1; // the other one of the pair
            float a = l < end ? flushed(x[l]) : 0, b = l < end ? flushed(y[l]) : 0;
            chain = flushed(fmaf(a, b, chain));
        }
        total = k <= 4096 ? chain : total + chain;
    }
    return total;
}

static float narrow_dot(const LtCase *t, int64_t b, int64_t i, int64_t j) {
    if (t->elem_in != SN_ELEM_bf16) return dot(t, b, i, j);
    float *x = malloc(2 * (size_t)t->k * sizeof *x), *y = x + t->k;
    for (int64_t k = 0; k < t->k; k++) {
        x[k] = t->ta ? *at(&t->a, b, k, i) : *at(&t->a, b, i, k);
        y[k] = t->tb ? *at(&t->b, b, j, k) : *at(&t->b, b, k, j);
    }
    float sum = dot_pairs(x, y, t->k);
    free(x);
    return sum;
}

static void check_narrow(const LtCase *t) {
    for (int64_t b = 0; b < t->batch; b++)
        for (int64_t i = 0; i < t->m; i++)
            for (int64_t j = 0; j < t->n; j++) {
                float x = t->alpha * narrow_dot(t, b, i, j);
                if (t->beta != 0) x = x + t->beta * *at(&t->c, b, i, j);
                if (t->epilogue == SN_LT_EPILOGUE_BIAS) x = x + t->bias.host[i];
                expect_bits(rounded(t->elem_out, x), *at(&t->d, b, i, j));
            }
}

// Each pair of types, factors and transposes, with a bias and without: the CPU's sum in f32, rounded once.
static void narrow_products(void **state) {
    (void)state;
    static const uint32_t in[] = {SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_f16, SN_ELEM_f16};
    static const uint32_t out[] = {SN_ELEM_bf16, SN_ELEM_f32, SN_ELEM_f16, SN_ELEM_f32};
    static const float alphas[] = {1, 1, 0.5f}, betas[] = {0, 1, -2};
    LtCase t;
    open_lt(&t, 1);
    for (uint32_t i = 0; i < 48; i++) {
        t.elem_in = in[i % 4], t.elem_out = out[i % 4];
        t.batch = (int32_t)pick(1, 2), t.m = 8 * pick(1, 4), t.n = 8 * pick(1, 4);
        t.k = i % 16 == 15 ? 4104 : 8 * pick(1, 20);
        if (i % 8 == 5) t.k = pick(1, 40); // pads make up for it
        t.ta = (int32_t)(i >> 2 & 1), t.tb = (int32_t)(i >> 3 & 1);
        t.alpha = alphas[i / 4 % 3], t.beta = betas[i / 12 % 3];
        t.epilogue = i % 3 == 2 ? SN_LT_EPILOGUE_BIAS : SN_LT_EPILOGUE_DEFAULT;
        if (t.k % 8 && (t.ta || !t.tb)) t.k = 24; // along k they start where they may
        make_operands(&t, 8, 0);
        make(&t, &t.bias, 64, 1, 0, 0);
        set(&t, SN_LT_DESC_BIAS_POINTER, &t.bias.device, sizeof t.bias.device);
        OK(heuristic(&t));
        const SnLtHeuristic *h = &t.found[next() % (uint32_t)t.count];
        OK(matmul(&t, next() % 4 ? &h->algo : NULL, h->workspace));
        get_result(&t);
        check_narrow(&t);
        drop_operands(&t);
    }
    assert_string_equal(t.x.api->report(), "");
    device_close(&t.x);
}

// What the manual's table does not have, and what is no multiple of 16 bytes.
static void narrow_products_refused(void **state) {
    (void)state;
    static const uint32_t all[] = {SN_ELEM_f32, SN_ELEM_bf16, SN_ELEM_f16};
    for (int i = 0; i < 81; i++) {
        LtCase t;
        open_lt(&t, 1);
        uint32_t a = all[i / 27], b = all[i / 9 % 3], c = all[i / 3 % 3], d = all[i % 3];
        t.m = t.n = t.k = 16;
        set_ops(&t);
        make_typed(&t, &t.a, a, 16, 16, 0, 0);
        make_typed(&t, &t.b, b, 16, 16, 0, 0);
        make_typed(&t, &t.c, c, 16, 16, 0, 0);
        make_typed(&t, &t.d, d, 16, 16, 0, 0);
        bool good = a == b && c == d && (d == a || d == SN_ELEM_f32);
        IS(good ? SN_LT_OK : SN_LT_NOT_SUPPORTED, heuristic(&t));
        drop_operands(&t);
        device_close(&t.x);
    }
    LtCase t;
    open_lt(&t, 1);
    t.elem_in = t.elem_out = SN_ELEM_bf16;
    t.m = t.n = t.k = 16;
    make_operands(&t, 4, 0); // columns of 20
    IS(SN_LT_NOT_SUPPORTED, heuristic(&t));
    IS(SN_LT_NOT_SUPPORTED, matmul(&t, NULL, 0));
    drop_operands(&t);
    make_operands(&t, 0, 0);
    OK(heuristic(&t));
    t.b.device += 8;
    IS(SN_LT_NOT_SUPPORTED, matmul(&t, &t.found[0].algo, 0));
    t.b.device -= 8;
    uint32_t align = 8;
    OK(t.x.api->lt_preference_set(t.preference, SN_LT_PREF_ALIGN_B, &align, sizeof align));
    IS(SN_LT_NOT_SUPPORTED, heuristic(&t));
    drop_operands(&t);
    device_close(&t.x);
}

// ---- what is refused ----------------------------------------------------------------------------

static void bad_attributes(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    const SnCudaApi *api = t.x.api;
    SnLtDesc desc = NULL;
    SnLtLayout layout = NULL;
    int32_t n = 3;
    int64_t wide = 1;
    uint32_t align = 12;
    IS(SN_LT_NOT_SUPPORTED, api->lt_desc_create(&desc, 75, SN_LT_R_32F)); // FAST_16BF
    IS(SN_LT_INVALID_VALUE, api->lt_desc_create(NULL, SN_LT_COMPUTE_32F, SN_LT_R_32F));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_set(t.desc, SN_LT_DESC_TRANSA, &n, sizeof n));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_set(t.desc, SN_LT_DESC_TRANSA, &wide, sizeof wide));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_set(t.desc, SN_LT_DESC_TRANSA, NULL, 4));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_set(t.desc, 99, &n, sizeof n));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_set(NULL, SN_LT_DESC_TRANSA, &n, sizeof n));
    OK(api->lt_layout_create(&layout, SN_LT_R_32F, 4, 4, 4));
    IS(SN_LT_INVALID_VALUE, api->lt_layout_set(layout, SN_LT_LAYOUT_ORDER, &n, sizeof n));
    IS(SN_LT_INVALID_VALUE, api->lt_layout_set(layout, SN_LT_LAYOUT_BATCH_STRIDE, &n, sizeof n));
    n = 0;
    IS(SN_LT_INVALID_VALUE, api->lt_layout_set(layout, SN_LT_LAYOUT_BATCH_COUNT, &n, sizeof n));
    IS(SN_LT_INVALID_VALUE, api->lt_preference_set(t.preference, SN_LT_PREF_ALIGN_A, &align, 4));
    IS(SN_LT_INVALID_VALUE, api->lt_desc_destroy((SnLtDesc)(void *)layout));
    OK(api->lt_layout_destroy(layout));
    IS(SN_LT_INVALID_VALUE, api->lt_layout_destroy(layout));
    OK(api->lt_destroy(t.lt));
    IS(SN_LT_NOT_INITIALIZED, api->lt_destroy(t.lt));
    device_close(&t.x);
}

// One thing wrong at a time. Returns what the heuristic says.
typedef enum { BAD_M, BAD_K, BAD_LD, BAD_BATCH, BAD_TYPE, BAD_C, BAD_EPILOGUE, BAD_AUX, BADS } Bad;
static int spoiled(LtCase *t, Bad bad) {
    const SnCudaApi *api = t->x.api;
    SnLtLayout *at_fault = bad == BAD_C ? &t->c.layout : &t->a.layout;
    uint64_t m = 8, k = 12;
    int64_t ld = 8, ok_ld = 8, bad_ld = 9;
    int type = SN_LT_R_32F;
    int32_t batch = 2;
    if (bad == BAD_M) m = 7;
    if (bad == BAD_K) k = 11;
    if (bad == BAD_LD) ld = 7;
    if (bad == BAD_TYPE) type = 1; // CUDA_R_64F
    if (bad == BAD_C) k = 16, ld = 9;
    if (bad == BAD_EPILOGUE) t->epilogue = 2; // RELU
    if (bad == BAD_AUX) t->epilogue = SN_LT_EPILOGUE_GELU_AUX;
    set_ops(t);
    set(t, SN_LT_DESC_AUX_LD, bad == BAD_AUX ? &bad_ld : &ok_ld, sizeof ok_ld);
    OK(api->lt_layout_destroy(*at_fault));
    OK(api->lt_layout_create(at_fault, type, m, k, ld));
    if (bad == BAD_BATCH)
        OK(api->lt_layout_set(*at_fault, SN_LT_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    return heuristic(t);
}

static void bad_problems(void **state) {
    (void)state;
    for (int bad = 0; bad <= BADS; bad++) {
        LtCase t;
        open_lt(&t, 1);
        t.m = 8, t.n = 16, t.k = 12;
        make_operands(&t, 0, 0);
        bool unsupported = bad == BAD_TYPE || bad == BAD_EPILOGUE;
        int want = bad == BADS ? SN_LT_OK : unsupported ? SN_LT_NOT_SUPPORTED : SN_LT_INVALID_VALUE;
        if (spoiled(&t, (Bad)bad) != want) fail_msg("problem %d", bad);
        assert_int_equal(t.count > 0, bad == BADS);
        drop_operands(&t);
        device_close(&t.x);
    }
}

static void bad_calls(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    const SnCudaApi *api = t.x.api;
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    OK(heuristic(&t));
    SnLtHeuristic split = t.found[0], wide = t.found[1], narrow = t.found[2];
    assert_int_equal(t.count, 3);
    assert_true(split.workspace > 0 && wide.workspace == 0);
    IS(SN_LT_INVALID_VALUE, matmul(&t, &split.algo, split.workspace - 1));
    SnLtAlgo forged = wide.algo;
    forged.data[0]++;
    IS(SN_LT_INVALID_VALUE, matmul(&t, &forged, 0));
    forged = wide.algo, forged.data[3] = 80;
    IS(SN_LT_ARCH_MISMATCH, matmul(&t, &forged, 0));
    t.ta = 1; // 600 x 16 no longer multiplies; then as another shape that does
    set_ops(&t);
    IS(SN_LT_INVALID_VALUE, matmul(&t, &wide.algo, 0));
    t.ta = 0, set_ops(&t);
    t.a.device += 4;
    IS(SN_LT_NOT_SUPPORTED, matmul(&t, &wide.algo, 0)); // less aligned than promised
    t.a.device += 2;
    IS(SN_LT_INVALID_VALUE, matmul(&t, &narrow.algo, 0));
    t.a.device -= 6;
    uint64_t d = t.d.device;
    t.d.device = 0;
    IS(SN_LT_INVALID_VALUE, matmul(&t, &wide.algo, 0));
    t.d.device = d;
    t.workspace += 16;
    IS(SN_LT_INVALID_VALUE, matmul(&t, &split.algo, split.workspace));
    t.workspace -= 16;
    t.epilogue = SN_LT_EPILOGUE_BIAS, set_ops(&t);
    IS(SN_LT_INVALID_VALUE, matmul(&t, NULL, 0)); // no pointer
    t.epilogue = SN_LT_EPILOGUE_DEFAULT, set_ops(&t);
    IS(SN_LT_NOT_INITIALIZED,
       api->lt_matmul(NULL, t.desc, &t.alpha, NULL, t.a.layout, NULL, t.b.layout, &t.beta, NULL,
                      t.c.layout, NULL, t.d.layout, NULL, NULL, 0, t.x.a));
    SnLtAlgo kept = wide.algo;
    drop_operands(&t);
    t.k = 604;
    make_operands(&t, 0, 0);
    IS(SN_LT_NOT_SUPPORTED, matmul(&t, &kept, 0)); // found for another shape
    OK(matmul(&t, NULL, 0));
    get_result(&t);
    drop_operands(&t);
    device_close(&t.x);
}

static void the_heuristic_keeps_to_preferences(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    const SnCudaApi *api = t.x.api;
    uint64_t none = 0;
    uint32_t align = 4;
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    OK(api->lt_preference_set(t.preference, SN_LT_PREF_WORKSPACE_BYTES, &none, sizeof none));
    OK(heuristic(&t));
    assert_int_equal(t.count, 2);
    for (int i = 0; i < t.count; i++) assert_int_equal(t.found[i].workspace, 0);
    OK(api->lt_preference_set(t.preference, SN_LT_PREF_ALIGN_B, &align, sizeof align));
    OK(heuristic(&t));
    assert_int_equal(t.count, 1);
    align = 2;
    OK(api->lt_preference_set(t.preference, SN_LT_PREF_ALIGN_B, &align, sizeof align));
    IS(SN_LT_NOT_SUPPORTED, heuristic(&t));
    drop_operands(&t);
    device_close(&t.x);
}

static int check_algo(const LtCase *t, const SnLtAlgo *algo, SnLtHeuristic *result) {
    return t->x.api->lt_algo_check(t->lt, t->desc, t->a.layout, t->b.layout, t->c.layout,
                                   t->d.layout, algo, result);
}

static int heuristic_of(LtCase *t, int want) {
    return t->x.api->lt_heuristic(t->lt, t->desc, t->a.layout, t->b.layout, t->c.layout,
                                  t->d.layout, t->preference, want, t->found, &t->count);
}

// As many as are asked for, in one order, each another one.
static void algorithms_are_counted(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    SnLtAlgo before[3] = {{{0}}};
    for (int want = 1; want <= 3; want++) {
        OK(heuristic_of(&t, want));
        assert_int_equal(t.count, want);
        assert_int_equal(t.found[want - 1].status, SN_LT_OK);
        before[want - 1] = t.found[want - 1].algo;
        for (int i = 0; i < want; i++)
            assert_memory_equal(&before[i], &t.found[i].algo, sizeof before[i]);
        for (int i = 0; i < want - 1; i++)
            assert_memory_not_equal(&before[i], &before[want - 1], sizeof before[i]);
    }
    OK(heuristic_of(&t, 4));
    assert_int_equal(t.count, 3);
    IS(SN_LT_INVALID_VALUE, heuristic_of(&t, 0));
    assert_int_equal(t.count, 0);
    IS(SN_LT_INVALID_VALUE, heuristic_of(&t, -1));
    drop_operands(&t);
    device_close(&t.x);
}

// Every one that was found is confirmed with its workspace, and no other.
static void algorithms_are_checked(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    OK(heuristic(&t));
    assert_int_equal(t.count, 3);
    for (int i = 0; i < t.count; i++) {
        SnLtHeuristic result = {.workspace = 1, .status = -1};
        OK(check_algo(&t, &t.found[i].algo, &result));
        assert_int_equal(result.status, SN_LT_OK);
        assert_int_equal(result.workspace, t.found[i].workspace);
        assert_int_equal(result.algo.data[0], 0); // never updated
    }
    SnLtAlgo good = t.found[1].algo, forged = good;
    SnLtHeuristic result = {0};
    IS(SN_LT_INVALID_VALUE, check_algo(&t, NULL, &result));
    IS(SN_LT_INVALID_VALUE, check_algo(&t, &good, NULL));
    forged.data[1] = 77;
    IS(SN_LT_INVALID_VALUE, check_algo(&t, &forged, &result));
    assert_int_equal(result.status, SN_LT_INVALID_VALUE);
    forged = good, forged.data[3] = 80;
    IS(SN_LT_ARCH_MISMATCH, check_algo(&t, &forged, &result));
    drop_operands(&t);
    t.k = 604;
    make_operands(&t, 0, 0);
    IS(SN_LT_NOT_SUPPORTED, check_algo(&t, &good, &result));
    drop_operands(&t);
    device_close(&t.x);
}

static void algorithms_have_attributes(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    const SnCudaApi *api = t.x.api;
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    OK(heuristic(&t));
    const SnLtAlgo *algo = &t.found[0].algo, forged = {{1}};
    int32_t x = -1;
    size_t n = 0;
    OK(api->lt_algo_get(algo, SN_LT_ALGO_SPLIT_K, &x, sizeof x, &n));
    assert_true(x == 2 && n == sizeof x);
    OK(api->lt_algo_get(&t.found[1].algo, SN_LT_ALGO_ID, &x, sizeof x, NULL));
    assert_int_equal(x, 1);
    n = 0;
    OK(api->lt_algo_get(algo, SN_LT_ALGO_TILE, NULL, 0, &n));
    assert_int_equal(n, sizeof x);
    IS(SN_LT_INVALID_VALUE, api->lt_algo_get(algo, SN_LT_ALGO_TILE, NULL, 0, NULL));
    IS(SN_LT_INVALID_VALUE, api->lt_algo_get(algo, SN_LT_ALGO_TILE, &x, 2, NULL));
    IS(SN_LT_INVALID_VALUE, api->lt_algo_get(algo, 99, &x, sizeof x, NULL));
    IS(SN_LT_INVALID_VALUE, api->lt_algo_get(&forged, SN_LT_ALGO_ID, &x, sizeof x, NULL));
    drop_operands(&t);
    device_close(&t.x);
}

// ---- checks of what runs ------------------------------------------------------------------------

static void operands_must_be_written(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 16, t.n = 16, t.k = 16;
    make_operands(&t, 0, 0);
    uint64_t fresh = device_floats(&t.x, 256);
    device_put(&t.x, fresh, t.a.host, 255);
    t.b.device = fresh;
    OK(matmul(&t, NULL, 0));
    IS(SN_CU_LAUNCH_FAILED, t.x.api->stream_synchronize(t.x.a));
    HAS(t.x.api->report(), "uninitialised: 'matrix product' reads");
    for (Mat *x = &t.a; x <= &t.d; x++) free(x->host);
    device_close(&t.x);
}

static void products_stay_within_their_note(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 16, t.n = 16, t.k = 16;
    make_operands(&t, 0, 0);
    SnCudaRange r[] = {{.base = t.a.device, .bytes = 1024, .reads = 1, .name = "a"},
                       {.base = t.b.device, .bytes = 1024, .reads = 1, .name = "b"},
                       {.base = t.d.device, .bytes = 1020, .writes = 1, .name = "d"}};
    t.x.api->note(&(SnCudaNote){.kernel = "gemm", .node = "n9", .line = 3, .ranges = r, .n = 3});
    OK(matmul(&t, NULL, 0));
    IS(SN_CU_ILLEGAL_ADDRESS, t.x.api->stream_synchronize(t.x.a));
    HAS(t.x.api->report(), "out of bounds: 'gemm' (node n9, line 3) writes");
    for (Mat *x = &t.a; x <= &t.d; x++) free(x->host);
    device_close(&t.x);
}

// Two products in two streams with one workspace.
static void a_shared_workspace_is_a_race(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    t.m = 16, t.n = 16, t.k = 600;
    make_operands(&t, 0, 0);
    OK(heuristic(&t));
    OK(matmul(&t, &t.found[0].algo, WORKSPACE));
    uint64_t other = device_floats(&t.x, 256);
    t.d.device = other;
    SnCudaStream a = t.x.a;
    t.x.a = t.x.b;
    OK(matmul(&t, &t.found[0].algo, WORKSPACE));
    int r = t.x.api->stream_synchronize(t.x.b);
    IS(SN_CU_LAUNCH_FAILED, r ? r : t.x.api->stream_synchronize(a));
    HAS(t.x.api->report(), "stream race: 'matrix product' on stream 2 writes 'workspace'");
    for (Mat *x = &t.a; x <= &t.d; x++) free(x->host);
    device_close(&t.x);
}

// Captured, and replayed on other values.
static void products_in_graphs(void **state) {
    (void)state;
    LtCase t;
    open_lt(&t, 1);
    const SnCudaApi *api = t.x.api;
    SnCudaGraph g = NULL;
    SnCudaGraphExec exec = NULL;
    t.m = 20, t.n = 30, t.k = 50;
    make_operands(&t, 0, 0);
    OK(api->capture_begin(t.x.a, SN_CU_CAPTURE_THREAD_LOCAL));
    OK(matmul(&t, NULL, 0));
    OK(api->capture_end(t.x.a, &g));
    OK(api->graph_instantiate(&exec, g, 0));
    for (int i = 0; i < 3; i++) {
        for (int64_t q = 0; q < t.a.floats; q++) t.a.host[q] = value();
        device_put(&t.x, t.a.device, t.a.host, (size_t)t.a.floats);
        OK(api->graph_launch(exec, t.x.a));
        get_result(&t);
        check_product(&t, &t.d);
    }
    drop_operands(&t);
    device_close(&t.x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_have_the_promised_bits),
        cmocka_unit_test(tf32_products),
        cmocka_unit_test(accumulates_in_place),
        cmocka_unit_test(same_bits_as_another_kit),
        cmocka_unit_test(epilogues),
        cmocka_unit_test(narrow_products),
        cmocka_unit_test(narrow_products_refused),
        cmocka_unit_test(bad_attributes),
        cmocka_unit_test(bad_problems),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(the_heuristic_keeps_to_preferences),
        cmocka_unit_test(algorithms_are_counted),
        cmocka_unit_test(algorithms_are_checked),
        cmocka_unit_test(algorithms_have_attributes),
        cmocka_unit_test(operands_must_be_written),
        cmocka_unit_test(products_stay_within_their_note),
        cmocka_unit_test(a_shared_workspace_is_a_race),
        cmocka_unit_test(products_in_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

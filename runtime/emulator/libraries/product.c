// Matrix products of the emulated cuBLASLt: the CPU's GEMM, then what the epilogue adds.
//
// The driver of runtime/core/gemm.c decides the bits (docs/numerics.md, Contractions). With alpha 1, beta 0 or
// 1 and a D of f32 it computes D as a whole, C being its accumulator; otherwise it computes the plain
// product into host memory of its own, and one pass scales, adds and rounds. Epilogues are passes over D. For TF32
// A and B are copied to host memory, rounded.
// Time O(batch * m * n * k).
#include "runtime/emulator/libraries/product.h"
#include "runtime/cuda/api.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, GRAIN = 16 };

bool product_adds_bias(uint32_t e) { return e < SN_LT_EPILOGUE_DGELU && e & SN_LT_EPILOGUE_BIAS; }
bool product_sums_bias(uint32_t e) {
    return e == SN_LT_EPILOGUE_DGELU_BGRAD || e == SN_LT_EPILOGUE_BGRADA ||
           e == SN_LT_EPILOGUE_BGRADB;
}
bool product_writes_aux(uint32_t e) {
    return e == SN_LT_EPILOGUE_GELU_AUX || e == SN_LT_EPILOGUE_GELU_AUX_BIAS;
}
bool product_reads_aux(uint32_t e) {
    return e == SN_LT_EPILOGUE_DGELU || e == SN_LT_EPILOGUE_DGELU_BGRAD;
}
static bool applies_gelu(uint32_t e) {
    return e == SN_LT_EPILOGUE_GELU || e == SN_LT_EPILOGUE_GELU_BIAS || product_writes_aux(e);
}

static int64_t bias_length(const LtProduct *p) {
    return p->epilogue == SN_LT_EPILOGUE_BGRADB ? p->n : p->m;
}
uint64_t product_bias_bytes(const LtProduct *p) {
    return (uint64_t)bias_length(p) * sn_elem_info[p->d.elem].bytes;
}

uint64_t matrix_bytes(const DeviceMatrix *x, int64_t batch) {
    int64_t last = (x->rows - 1) * x->row + (x->cols - 1) * x->col + (batch - 1) * x->batch;
    return (uint64_t)(last + 1) * sn_elem_info[x->elem].bytes;
}

// ---- elements -----------------------------------------------------------------------------------

static float get(uint32_t elem, const void *x, int64_t i) {
    if (elem == SN_ELEM_bf16) return float_of_bfloat(((const uint16_t *)x)[i]);
    if (elem == SN_ELEM_f16) return float_of_half(((const uint16_t *)x)[i]);
    return ((const float *)x)[i];
}

static void put(uint32_t elem, void *x, int64_t i, float value) {
    if (elem == SN_ELEM_bf16)
        ((uint16_t *)x)[i] = bfloat_of_float(value);
    else if (elem == SN_ELEM_f16)
        ((uint16_t *)x)[i] = half_of_float(value);
    else
        ((float *)x)[i] = value;
}

// ---- the product --------------------------------------------------------------------------------

typedef struct {
    const SnGemmJob *job;
    void *const *bufs;
    uint32_t phase;
    char *shared, *scratch;
    int64_t stride; // of the threads' scratch
} PhaseRun;

static void run_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const PhaseRun *r = user;
    static const SnEnv env = {0};
    sn_gemm_run(r->job, r->phase, r->bufs, &env, task0, task1, r->shared,
                r->scratch + thread * r->stride);
}

static bool make_space(ProductSpace *space, size_t bytes) {
    if (bytes <= space->bytes) return true;
    free(space->at);
    space->at = aligned_alloc(ALIGN, bytes);
    space->bytes = space->at ? bytes : 0;
    return space->at != NULL;
}

// The job is run with its outputs at `out`, laid out as p->d, or dense when own_out.
static SnGemm describe(const LtProduct *p, bool add, bool dense) {
    SnGemm g = {.nbatch = 1, .nm = 1, .nn = 1, .nk = 1, .has = sn_gemm_bit(SN_GEMM_C)};
    g.elem_a = p->a.elem, g.elem_b = p->b.elem;
    int64_t row = dense ? 1 : p->d.row, col = dense ? p->m : p->d.col;
    int64_t batch = dense ? p->m * p->n : p->d.batch;
    g.batch[0] = (SnDim){p->batch, p->a.batch, p->b.batch, batch};
    g.m[0] = (SnDim){p->m, p->a.row, 0, row};
    g.n[0] = (SnDim){p->n, 0, p->b.col, col};
    g.k[0] = (SnDim){p->k, p->a.col, p->b.row, 0};
    if (add) g.has |= sn_gemm_bit(SN_GEMM_ACC);
    return g;
}

// Bytes of an operand's copy.
static int64_t copy_bytes(const LtProduct *p, const DeviceMatrix *x) {
    return p->tf32 ? sn_round_up((int64_t)matrix_bytes(x, p->batch), ALIGN) : 0;
}

// The operand, or at `to` its copy in TF32.
static void *factor(const LtProduct *p, const DeviceMatrix *x, const void *from, float *to) {
    if (!p->tf32) return (void *)(uintptr_t)from;
    int64_t n = (int64_t)(matrix_bytes(x, p->batch) / sizeof *to);
    for (int64_t i = 0; i < n; i++) to[i] = tf32_of_float(((const float *)from)[i]);
    return to;
}

static bool run_gemm(const LtProduct *p, const ProductView *v, SnPool *pool, ProductSpace *space,
                     bool dense, float **out) {
    bool add = !dense && p->beta != 0;
    SnGemm g = describe(p, add, dense);
    SnGemmKit kit = product_kit();
    SnGemmJob job;
    sn_gemm_prepare(&job, &g, &kit, sn_pool_threads(pool), NULL);
    PhaseRun run = {.job = &job, .stride = sn_round_up(job.scratch, ALIGN)};
    int64_t shared = sn_round_up(job.shared, ALIGN), scratch = run.stride * sn_pool_threads(pool);
    int64_t sums = dense ? sn_round_up(p->batch * p->m * p->n * (int64_t)sizeof(float), ALIGN) : 0;
    int64_t a = copy_bytes(p, &p->a), b = copy_bytes(p, &p->b);
    if (!make_space(space, (size_t)(shared + scratch + sums + a + b + ALIGN))) return false;
    run.shared = space->at;
    run.scratch = run.shared + shared;
    char *copies = run.scratch + scratch + sums;
    *out = dense ? (float *)(void *)(run.scratch + scratch) : v->d;
    void *bufs[4] = {factor(p, &p->a, v->a, (void *)copies),
                     factor(p, &p->b, v->b, (void *)(copies + a)), *out, (void *)(uintptr_t)v->c};
    run.bufs = bufs;
    for (run.phase = 0; run.phase < SN_GEMM_PHASES; run.phase++)
        if (job.tasks[run.phase]) sn_pool_run(pool, job.tasks[run.phase], 1, run_tasks, &run);
    return true;
}

// ---- passes over D ------------------------------------------------------------------------------

typedef struct {
    const LtProduct *p;
    const ProductView *v;
    const float *sums; // the plain product, dense; NULL: it is in D
} Pass;

static const float GELU_A = 0.7978845608028654f, GELU_B = 0.044715f; // sqrt(2 / pi)

static float gelu(float x) { return 0.5f * x * (1.0f + tanhf(GELU_A * (x + GELU_B * x * x * x))); }

static float gelu_slope(float x) {
    float t = tanhf(GELU_A * (x + GELU_B * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GELU_A * (1.0f + 3.0f * GELU_B * x * x);
}

static float finish(const LtProduct *p, const ProductView *v, int64_t r, int64_t aux, float x) {
    uint32_t elem = p->d.elem;
    if (product_adds_bias(p->epilogue)) x = x + get(elem, v->bias, r);
    if (product_writes_aux(p->epilogue)) put(elem, v->aux, aux, x);
    if (applies_gelu(p->epilogue)) x = gelu(x);
    if (product_reads_aux(p->epilogue)) x = x * gelu_slope(get(elem, v->aux, aux));
    return x;
}

static void finish_column(const Pass *f, int64_t column) {
    const LtProduct *p = f->p;
    const ProductView *v = f->v;
    uint32_t elem = p->d.elem;
    int64_t batch = column / p->n, j = column % p->n;
    int64_t d = batch * p->d.batch + j * p->d.col, c = batch * p->c.batch + j * p->c.col;
    int64_t aux = batch * p->aux.batch + j * p->aux.col;
    for (int64_t r = 0; r < p->m; r++) {
        int64_t to = d + r * p->d.row;
        float x = f->sums ? p->alpha * f->sums[column * p->m + r] : get(elem, v->d, to);
        if (f->sums && v->c) x = x + p->beta * get(elem, v->c, c + r * p->c.row);
        put(elem, v->d, to, finish(p, v, r, aux + r * p->aux.row, x));
    }
}

static void finish_columns(void *user, int64_t task0, int64_t task1, int thread) {
    (void)thread;
    for (int64_t i = task0; i < task1; i++) finish_column(user, i);
}

// bias[i] = sum over j of x(i, j), in order.
static void sum_along(const LtProduct *p, const ProductView *v, const DeviceMatrix *x,
                      const void *from, int64_t step, int64_t count, int64_t along) {
    for (int64_t i = 0; i < bias_length(p); i++) {
        float sum = 0;
        for (int64_t j = 0; j < count; j++) sum += get(x->elem, from, i * step + j * along);
        put(p->d.elem, v->bias, i, sum);
    }
}

static void sum_bias(const LtProduct *p, const ProductView *v) {
    if (p->epilogue == SN_LT_EPILOGUE_BGRADA)
        sum_along(p, v, &p->a, v->a, p->a.row, p->k, p->a.col);
    else if (p->epilogue == SN_LT_EPILOGUE_BGRADB)
        sum_along(p, v, &p->b, v->b, p->b.col, p->k, p->b.row);
    else
        sum_along(p, v, &p->d, v->d, p->d.row, p->n, p->d.col);
}

static bool changes_elements(uint32_t e) {
    return product_adds_bias(e) || applies_gelu(e) || product_reads_aux(e);
}

bool product_run(const LtProduct *p, const ProductView *v, SnPool *pool, ProductSpace *space) {
    float *sums = NULL;
    bool dense = p->alpha != 1 || (p->beta != 0 && p->beta != 1) || p->d.elem != SN_ELEM_f32;
    if (!run_gemm(p, v, pool, space, dense, &sums)) return false;
    Pass pass = {.p = p, .v = v, .sums = dense ? sums : NULL};
    if (dense || changes_elements(p->epilogue))
        sn_pool_run(pool, p->batch * p->n, GRAIN, finish_columns, &pass);
    if (product_sums_bias(p->epilogue)) sum_bias(p, v);
    return true;
}

// Matrix products as calls of cuBLASLt.
//
// The plan holds each call's shape (SnLt). Here the descriptors are made once, and the library is asked
// for an algorithm once for each distinct shape and alignment: its first choice that fits the workspace.
// The choice depends on the library's version and the device alone, so a run can be repeated bit for
// bit; products are computed in f32 without TF32.
#include "runtime/cuda/cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What decides an algorithm.
typedef struct {
    SnLt shape;
    uint32_t align[4]; // of A, B, C, D in bytes
    uint32_t epilogue; // the library's number
    bool acc;
} Key;
typedef struct {
    Key key;
    SnLtAlgo algo;
    size_t workspace;
} Choice;

struct SnLt_ {
    const SnCudaApi *api;
    SnLtHandle handle;
    uint64_t workspace;
    int64_t workspace_bytes;
    Choice *choices;
    uint32_t n, room;
};

struct SnLtCall {
    SnLtDesc desc;
    SnLtLayout a, b, c;
    uint64_t at_a, at_b, at_c, at_d; // in the library's terms: A is the first column-major matrix
    bool acc, acc_first;
    uint32_t choice;
};

static SnStatus check(int code, const char *what, SnError *e) {
    if (code == SN_LT_OK) return SN_OK;
    const char *why = code == SN_LT_NOT_SUPPORTED      ? "not supported"
                      : code == SN_LT_INVALID_VALUE    ? "invalid value"
                      : code == SN_LT_ALLOC_FAILED     ? "out of memory"
                      : code == SN_LT_ARCH_MISMATCH    ? "not for this architecture"
                      : code == SN_LT_EXECUTION_FAILED ? "execution failed"
                                                       : "internal error";
    return sn_fail(e, SN_MACHINE, "cuBLASLt: %s: %s (status %d)", what, why, code);
}

SnStatus sn_lt_open(const SnCudaApi *api, uint64_t workspace, int64_t workspace_bytes,
                    SnLtPool **out, SnError *e) {
    SnLtPool *p = calloc(1, sizeof *p);
    if (!p) return sn_fail(e, SN_MACHINE, "out of memory");
    *p = (SnLtPool){.api = api, .workspace = workspace, .workspace_bytes = workspace_bytes};
    SnStatus s = check(api->lt_create(&p->handle), "cannot start", e);
    if (s) {
        free(p);
        return s;
    }
    *out = p;
    return SN_OK;
}

void sn_lt_close(SnLtPool *p) {
    if (!p) return;
    p->api->lt_destroy(p->handle);
    free(p->choices);
    free(p);
}

void sn_lt_free(SnLtPool *p, SnLtCall *c) {
    if (!c) return;
    if (c->desc) p->api->lt_desc_destroy(c->desc);
    if (c->a) p->api->lt_layout_destroy(c->a);
    if (c->b) p->api->lt_layout_destroy(c->b);
    if (c->c) p->api->lt_layout_destroy(c->c);
    free(c);
}

// A matrix as it lies in memory: `rows` neighbours, `cols` of them ld apart.
static SnStatus make_layout(const SnCudaApi *api, int64_t rows, int64_t cols, int64_t ld,
                            int64_t batch, int64_t stride, SnLtLayout *to, SnError *e) {
    int32_t count = (int32_t)batch;
    SnStatus s = check(api->lt_layout_create(to, SN_LT_R_32F, (uint64_t)rows, (uint64_t)cols, ld),
                       "a layout", e);
    if (!s && batch > 1)
        s = check(api->lt_layout_set(*to, SN_LT_LAYOUT_BATCH_COUNT, &count, sizeof count),
                  "a batch", e);
    if (!s && batch > 1)
        s = check(api->lt_layout_set(*to, SN_LT_LAYOUT_BATCH_STRIDE, &stride, sizeof stride),
                  "a batch's stride", e);
    return s;
}

static SnStatus make_desc(const SnCudaApi *api, const SnLt *l, SnLtDesc *to, SnError *e) {
    int32_t a = l->trans_a ? SN_LT_OP_T : SN_LT_OP_N, b = l->trans_b ? SN_LT_OP_T : SN_LT_OP_N;
    SnStatus s = check(api->lt_desc_create(to, SN_LT_COMPUTE_32F, SN_LT_R_32F), "a product", e);
    if (!s) s = check(api->lt_desc_set(*to, SN_LT_DESC_TRANSA, &a, sizeof a), "a transpose", e);
    if (!s) s = check(api->lt_desc_set(*to, SN_LT_DESC_TRANSB, &b, sizeof b), "a transpose", e);
    return s;
}

// Its A is the plan's B when the matrices are swapped.
static uint32_t epilogue_of(const SnGemm *g) {
    bool bias = g->bias_arg != 0, aux = g->aux_arg != 0, of_a = g->sums == SN_SUMS_A;
    switch ((SnFunction)g->function) {
    case SN_FUNCTION_GELU:
        return aux ? (bias ? SN_LT_EPILOGUE_GELU_AUX_BIAS : SN_LT_EPILOGUE_GELU_AUX)
                   : (bias ? SN_LT_EPILOGUE_GELU_BIAS : SN_LT_EPILOGUE_GELU);
    case SN_FUNCTION_GELU_GRADIENT:
        return g->sums ? SN_LT_EPILOGUE_DGELU_BGRAD : SN_LT_EPILOGUE_DGELU;
    case SN_FUNCTION_NONE:
    case SN_FUNCTIONS: break;
    }
    if (g->sums) return of_a != g->lt.swap ? SN_LT_EPILOGUE_BGRADA : SN_LT_EPILOGUE_BGRADB;
    return bias ? SN_LT_EPILOGUE_BIAS : SN_LT_EPILOGUE_DEFAULT;
}

// vector: the bias or the sums. aux: laid out as C, whose adjacent elements are the library's rows.
static SnStatus add_epilogue(const SnCudaApi *api, SnLtDesc desc, const SnLt *l, uint32_t epilogue,
                             uint64_t vector, uint64_t aux, SnError *e) {
    const struct {
        int attribute;
        const void *value;
        size_t bytes;
        bool set;
    } all[] = {
        {SN_LT_DESC_EPILOGUE, &epilogue, sizeof epilogue, true},
        {SN_LT_DESC_BIAS_POINTER, &vector, sizeof vector, vector != 0},
        {SN_LT_DESC_AUX_POINTER, &aux, sizeof aux, aux != 0},
        {SN_LT_DESC_AUX_LD, &l->ldc, sizeof l->ldc, aux != 0},
        {SN_LT_DESC_AUX_BATCH_STRIDE, &l->stride_c, sizeof l->stride_c, aux != 0 && l->batch > 1}};
    SnStatus s = SN_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && !s; i++)
        if (all[i].set)
            s = check(api->lt_desc_set(desc, all[i].attribute, all[i].value, all[i].bytes),
                      "an epilogue", e);
    return s;
}

static SnStatus make_all(const SnCudaApi *api, const SnLt *l, SnLtCall *c, SnError *e) {
    SnStatus s = make_desc(api, l, &c->desc, e);
    if (!s)
        s = make_layout(api, l->trans_a ? l->k : l->rows, l->trans_a ? l->rows : l->k, l->lda,
                        l->batch, l->stride_a, &c->a, e);
    if (!s)
        s = make_layout(api, l->trans_b ? l->cols : l->k, l->trans_b ? l->k : l->cols, l->ldb,
                        l->batch, l->stride_b, &c->b, e);
    if (!s) s = make_layout(api, l->rows, l->cols, l->ldc, l->batch, l->stride_c, &c->c, e);
    return s;
}

static uint32_t alignment(uint64_t address) {
    uint64_t low = address & (~address + 1);
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

static SnStatus ask(SnLtPool *p, const SnLtCall *c, const Key *key, Choice *to, SnError *e) {
    static const int attributes[] = {SN_LT_PREF_ALIGN_A, SN_LT_PREF_ALIGN_B, SN_LT_PREF_ALIGN_C,
                                     SN_LT_PREF_ALIGN_D};
    const SnCudaApi *api = p->api;
    SnLtPreference preference;
    uint64_t bytes = (uint64_t)p->workspace_bytes;
    SnStatus s = check(api->lt_preference_create(&preference), "a preference", e);
    if (s) return s;
    s = check(api->lt_preference_set(preference, SN_LT_PREF_WORKSPACE_BYTES, &bytes, sizeof bytes),
              "the workspace", e);
    for (int i = 0; i < 4 && !s; i++)
        s = check(
            api->lt_preference_set(preference, attributes[i], &key->align[i], sizeof key->align[i]),
            "an alignment", e);
    SnLtHeuristic found;
    int count = 0;
    if (!s)
        s = check(api->lt_heuristic(p->handle, c->desc, c->a, c->b, c->c, c->c, preference, 1,
                                    &found, &count),
                  "no algorithm for a product", e);
    if (!s && (count < 1 || found.status != SN_LT_OK || found.workspace > bytes))
        s = sn_fail(e, SN_MACHINE, "cuBLASLt: no algorithm for a product");
    api->lt_preference_destroy(preference);
    if (!s) *to = (Choice){*key, found.algo, found.workspace};
    return s;
}

static SnStatus choose(SnLtPool *p, SnLtCall *c, const Key *key, SnError *e) {
    for (c->choice = 0; c->choice < p->n; c->choice++)
        if (!memcmp(&p->choices[c->choice].key, key, sizeof *key)) return SN_OK;
    if (p->n == p->room) {
        uint32_t room = p->room ? 2 * p->room : 32;
        Choice *grown = realloc(p->choices, room * sizeof *grown);
        if (!grown) return sn_fail(e, SN_MACHINE, "out of memory");
        p->choices = grown;
        p->room = room;
    }
    SnStatus s = ask(p, c, key, &p->choices[p->n], e);
    if (!s) p->n++;
    return s;
}

SnStatus sn_lt_prepare(SnLtPool *p, const SnGemm *g, const uint64_t *args, SnLtCall **out,
                       SnError *e) {
    SnLtCall *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    uint64_t a = args[0] + (uint64_t)(g->base_a * 4), b = args[1] + (uint64_t)(g->base_b * 4);
    uint64_t to_c = (uint64_t)(g->base_c * 4);
    uint64_t aux = g->aux_arg ? args[g->aux_arg] + to_c : 0;
    uint64_t vector = g->bias_arg ? args[g->bias_arg] : g->sum_arg ? args[g->sum_arg] : 0;
    x->acc = g->acc_arg != UINT32_MAX;
    x->at_a = g->lt.swap ? b : a;
    x->at_b = g->lt.swap ? a : b;
    x->at_d = args[g->c_arg] + to_c;
    x->at_c = x->acc ? args[g->acc_arg] + to_c : x->at_d;
    x->acc_first = g->acc_first != 0;
    Key key;
    memset(&key, 0, sizeof key); // compared as bytes
    key.shape = g->lt;
    key.acc = x->acc;
    key.epilogue = epilogue_of(g);
    const uint64_t at[] = {x->at_a, x->at_b, x->at_c, x->at_d};
    for (int i = 0; i < 4; i++) key.align[i] = alignment(at[i]);
    SnStatus s = make_all(p->api, &g->lt, x, e);
    if (!s && key.epilogue != SN_LT_EPILOGUE_DEFAULT)
        s = add_epilogue(p->api, x->desc, &g->lt, key.epilogue, vector, aux, e);
    if (!s) s = choose(p, x, &key, e);
    if (s) {
        sn_lt_free(p, x);
        return s;
    }
    *out = x;
    return SN_OK;
}

static const char *epilogue_name(uint32_t epilogue) {
    switch (epilogue) {
    case SN_LT_EPILOGUE_BIAS: return ", bias";
    case SN_LT_EPILOGUE_GELU: return ", gelu";
    case SN_LT_EPILOGUE_GELU_BIAS: return ", bias, gelu";
    case SN_LT_EPILOGUE_GELU_AUX: return ", gelu with its argument";
    case SN_LT_EPILOGUE_GELU_AUX_BIAS: return ", bias, gelu with its argument";
    case SN_LT_EPILOGUE_DGELU: return ", gelu's derivative";
    case SN_LT_EPILOGUE_DGELU_BGRAD: return ", gelu's derivative, sums";
    case SN_LT_EPILOGUE_BGRADA:
    case SN_LT_EPILOGUE_BGRADB: return ", sums of an operand";
    }
    return "";
}

bool sn_lt_chosen(const SnLtPool *p, uint32_t i, char *text, size_t size) {
    if (!p || i >= p->n) return false;
    const Choice *c = &p->choices[i];
    const SnLt *l = &c->key.shape;
    snprintf(
        text, size,
        "cuBLASLt %zu: %lld x %lld x %lld x %lld, %c%c%s%s: algorithm %016llx%016llx, %zu bytes of "
        "workspace",
        p->api->lt_version(), (long long)l->batch, (long long)l->rows, (long long)l->cols,
        (long long)l->k, l->trans_a ? 't' : 'n', l->trans_b ? 't' : 'n', c->key.acc ? ", acc" : "",
        epilogue_name(c->key.epilogue), (unsigned long long)c->algo.data[0],
        (unsigned long long)c->algo.data[1], c->workspace);
    return true;
}

static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; }

SnStatus sn_lt_run(const SnLtPool *p, const SnLtCall *c, bool first, SnCudaStream stream,
                   SnError *e) {
    const Choice *choice = &p->choices[c->choice];
    float one = 1, beta = c->acc && !(c->acc_first && first) ? 1 : 0;
    int code = p->api->lt_matmul(p->handle, c->desc, &one, pointer(c->at_a), c->a, pointer(c->at_b),
                                 c->b, &beta, pointer(c->at_c), c->c, pointer(c->at_d), c->c,
                                 &choice->algo, pointer(p->workspace), choice->workspace, stream);
    return check(code, "a product", e);
}

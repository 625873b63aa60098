// Matrix products as calls of cuBLASLt.
//
// The plan holds each call's shape (SnLt). Here the descriptors are made once, and an algorithm is chosen
// once for each distinct shape and alignment: what was measured before on this device with this library
// (choices.h), if the library still takes it, else the library's first choice that fits the workspace.
// Nothing is measured unasked: the algorithm decides bits, and a run must be repeatable. Operands are
// multiplied as they are, f32 without TF32 unless the product asks for it, and summed in f32.
#include "runtime/cuda/choices.h"
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/measure.h"
#include "runtime/elem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What decides an algorithm.
typedef struct {
    SnLt shape;
    uint32_t elem[3];  // of A and B, as the library has them, and of all else
    uint32_t align[6]; // of A, B, C, D, bias or sums, aux in bytes; 0: there is none
    uint32_t epilogue; // the library's number
    bool acc, tf32;
} Key;
typedef enum { FIRST, KNOWN, REFUSED } ChoiceSource; // REFUSED: known, but the library refuses it
typedef struct {
    Key key;
    SnLtAlgo algo;
    size_t workspace;
    ChoiceSource source;
    SnLtKnown known; // when it is KNOWN
} Choice;

struct SnLt_ {
    const SnCudaApi *api;
    SnLtHandle handle;
    uint64_t workspace;
    int64_t workspace_bytes;
    SnLtChoices *known; // not owned
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
                    SnLtChoices *known, SnLtPool **out, SnError *e) {
    SnLtPool *p = calloc(1, sizeof *p);
    if (!p) return sn_fail(e, SN_MACHINE, "out of memory");
    *p = (SnLtPool){
        .api = api, .workspace = workspace, .workspace_bytes = workspace_bytes, .known = known};
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

// The library's number of a type; sn_plan_check has let no other in.
static int type_of(uint32_t elem) {
    return elem == SN_ELEM_bf16 ? SN_LT_R_16BF : elem == SN_ELEM_f16 ? SN_LT_R_16F : SN_LT_R_32F;
}

// A matrix as it lies in memory: `rows` neighbours, `cols` of them ld apart.
static SnStatus make_layout(const SnCudaApi *api, uint32_t elem, int64_t rows, int64_t cols,
                            int64_t ld, int64_t batch, int64_t stride, SnLtLayout *to, SnError *e) {
    int32_t count = (int32_t)batch;
    SnStatus s = check(api->lt_layout_create(to, type_of(elem), (uint64_t)rows, (uint64_t)cols, ld),
                       "a layout", e);
    if (!s && batch > 1)
        s = check(api->lt_layout_set(*to, SN_LT_LAYOUT_BATCH_COUNT, &count, sizeof count),
                  "a batch", e);
    if (!s && batch > 1)
        s = check(api->lt_layout_set(*to, SN_LT_LAYOUT_BATCH_STRIDE, &stride, sizeof stride),
                  "a batch's stride", e);
    return s;
}

static SnStatus make_desc(const SnCudaApi *api, const Key *k, SnLtDesc *to, SnError *e) {
    const SnLt *l = &k->shape;
    int compute = k->tf32 ? SN_LT_COMPUTE_32F_FAST_TF32 : SN_LT_COMPUTE_32F;
    int32_t a = l->trans_a ? SN_LT_OP_T : SN_LT_OP_N, b = l->trans_b ? SN_LT_OP_T : SN_LT_OP_N;
    SnStatus s = check(api->lt_desc_create(to, compute, SN_LT_R_32F), "a product", e);
    if (!s) s = check(api->lt_desc_set(*to, SN_LT_DESC_TRANSA, &a, sizeof a), "a transpose", e);
    if (!s) s = check(api->lt_desc_set(*to, SN_LT_DESC_TRANSB, &b, sizeof b), "a transpose", e);
    return s;
}

// What a call computes along: the library's number for it, and its words in the key of a product.
typedef struct {
    SnFunction function;
    bool bias, aux;
    SnSums sums; // the library's A and B
    uint32_t epilogue;
    const char *words;
} LtEpilogue;
static const LtEpilogue epilogues[] = {
    {SN_FUNCTION_NONE, false, false, SN_SUMS_NONE, SN_LT_EPILOGUE_DEFAULT, ""},
    {SN_FUNCTION_NONE, true, false, SN_SUMS_NONE, SN_LT_EPILOGUE_BIAS, ", bias"},
    {SN_FUNCTION_NONE, false, false, SN_SUMS_A, SN_LT_EPILOGUE_BGRADA, ", sums of a"},
    {SN_FUNCTION_NONE, false, false, SN_SUMS_B, SN_LT_EPILOGUE_BGRADB, ", sums of b"},
    {SN_FUNCTION_GELU, false, false, SN_SUMS_NONE, SN_LT_EPILOGUE_GELU, ", gelu"},
    {SN_FUNCTION_GELU, true, false, SN_SUMS_NONE, SN_LT_EPILOGUE_GELU_BIAS, ", bias, gelu"},
    {SN_FUNCTION_GELU, false, true, SN_SUMS_NONE, SN_LT_EPILOGUE_GELU_AUX,
     ", gelu with its argument"},
    {SN_FUNCTION_GELU, true, true, SN_SUMS_NONE, SN_LT_EPILOGUE_GELU_AUX_BIAS,
     ", bias, gelu with its argument"},
    {SN_FUNCTION_GELU_GRADIENT, false, true, SN_SUMS_NONE, SN_LT_EPILOGUE_DGELU,
     ", gelu's derivative"},
    {SN_FUNCTION_GELU_GRADIENT, false, true, SN_SUMS_C, SN_LT_EPILOGUE_DGELU_BGRAD,
     ", gelu's derivative, sums"},
};
enum { LT_EPILOGUES = sizeof epilogues / sizeof *epilogues };

// Its A is the plan's B when the matrices are swapped.
static SnSums sums_of(const SnGemm *g) {
    if (g->lt.swap && g->sums == SN_SUMS_A) return SN_SUMS_B;
    if (g->lt.swap && g->sums == SN_SUMS_B) return SN_SUMS_A;
    return (SnSums)g->sums;
}

// sn_plan_check has let nothing else in.
static uint32_t epilogue_of(const SnGemm *g) {
    bool bias = sn_gemm_has(g, SN_GEMM_BIAS), aux = sn_gemm_has(g, SN_GEMM_AUX);
    for (int i = 0; i < LT_EPILOGUES; i++) {
        const LtEpilogue *p = &epilogues[i];
        if (p->function == (SnFunction)g->function && p->sums == sums_of(g) && p->bias == bias &&
            p->aux == aux)
            return p->epilogue;
    }
    return SN_LT_EPILOGUE_DEFAULT;
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

static SnStatus make_all(const SnCudaApi *api, const Key *k, SnLtCall *c, SnError *e) {
    const SnLt *l = &k->shape;
    SnStatus s = make_desc(api, k, &c->desc, e);
    if (!s)
        s = make_layout(api, k->elem[0], l->trans_a ? l->k : l->rows, l->trans_a ? l->rows : l->k,
                        l->lda, l->batch, l->stride_a, &c->a, e);
    if (!s)
        s = make_layout(api, k->elem[1], l->trans_b ? l->cols : l->k, l->trans_b ? l->k : l->cols,
                        l->ldb, l->batch, l->stride_b, &c->b, e);
    if (!s)
        s = make_layout(api, k->elem[2], l->rows, l->cols, l->ldc, l->batch, l->stride_c, &c->c, e);
    return s;
}

static uint32_t alignment(uint64_t address) {
    uint64_t low = address & (~address + 1);
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

static const char *epilogue_name(uint32_t epilogue) {
    for (int i = 0; i < LT_EPILOGUES; i++)
        if (epilogues[i].epilogue == epilogue) return epilogues[i].words;
    return "";
}

// The key as a line, for people and for the file of choices: whatever of it an algorithm depends on.
static void key_text(const Key *k, char to[SN_LT_KEY]) {
    const SnLt *l = &k->shape;
    const uint32_t *align = k->align;
    snprintf(to, SN_LT_KEY,
             "%s x %s to %s, %lld x %lld x %lld x %lld, %c%c, ld %lld %lld %lld, "
             "stride %lld %lld %lld, align %u %u %u %u %u %u%s%s%s",
             sn_elem_info[k->elem[0]].name, sn_elem_info[k->elem[1]].name,
             sn_elem_info[k->elem[2]].name, (long long)l->batch, (long long)l->rows,
             (long long)l->cols, (long long)l->k, l->trans_a ? 't' : 'n', l->trans_b ? 't' : 'n',
             (long long)l->lda, (long long)l->ldb, (long long)l->ldc, (long long)l->stride_a,
             (long long)l->stride_b, (long long)l->stride_c, align[0], align[1], align[2], align[3],
             align[4], align[5], k->tf32 ? ", tf32" : "", k->acc ? ", acc" : "",
             epilogue_name(k->epilogue));
}

// Up to `want` algorithms that fit the workspace, the library's first choice first; at least one.
static SnStatus ask(const SnLtPool *p, const SnLtCall *c, const Key *key, int want,
                    SnLtHeuristic *found, int *count, SnError *e) {
    static const int attributes[] = {SN_LT_PREF_ALIGN_A, SN_LT_PREF_ALIGN_B, SN_LT_PREF_ALIGN_C,
                                     SN_LT_PREF_ALIGN_D};
    const SnCudaApi *api = p->api;
    SnLtPreference preference;
    uint64_t bytes = (uint64_t)p->workspace_bytes;
    int all = 0;
    *count = 0;
    SnStatus s = check(api->lt_preference_create(&preference), "a preference", e);
    if (s) return s;
    s = check(api->lt_preference_set(preference, SN_LT_PREF_WORKSPACE_BYTES, &bytes, sizeof bytes),
              "the workspace", e);
    for (int i = 0; i < 4 && !s; i++)
        s = check(
            api->lt_preference_set(preference, attributes[i], &key->align[i], sizeof key->align[i]),
            "an alignment", e);
    if (!s)
        s = check(api->lt_heuristic(p->handle, c->desc, c->a, c->b, c->c, c->c, preference, want,
                                    found, &all),
                  "no algorithm for a product", e);
    for (int i = 0; i < all && !s; i++)
        if (found[i].status == SN_LT_OK && found[i].workspace <= bytes)
            found[(*count)++] = found[i];
    if (!s && !*count) s = sn_fail(e, SN_MACHINE, "cuBLASLt: no algorithm for a product");
    api->lt_preference_destroy(preference);
    return s;
}

static SnStatus first_choice(const SnLtPool *p, const SnLtCall *c, Choice *to, SnError *e) {
    SnLtHeuristic found;
    int count;
    SnStatus s = ask(p, c, &to->key, 1, &found, &count, e);
    if (s) return s;
    to->algo = found.algo;
    to->workspace = found.workspace;
    return SN_OK;
}

// What was measured, unless the library refuses it or it takes more than there is.
static bool take_known(const SnLtPool *p, const SnLtCall *c, const SnLtKnown *known, Choice *to) {
    SnLtHeuristic now = {.status = SN_LT_INTERNAL_ERROR};
    int code =
        p->api->lt_algo_check(p->handle, c->desc, c->a, c->b, c->c, c->c, &known->algo, &now);
    if (code != SN_LT_OK || now.status != SN_LT_OK || now.workspace > (uint64_t)p->workspace_bytes)
        return false;
    to->algo = known->algo;
    to->workspace = now.workspace;
    to->source = KNOWN;
    to->known = *known;
    return true;
}

static SnStatus decide(const SnLtPool *p, const SnLtCall *c, Choice *to, SnError *e) {
    char key[SN_LT_KEY];
    key_text(&to->key, key);
    const SnLtKnown *known = sn_choices_find(p->known, key);
    if (known && take_known(p, c, known, to)) return SN_OK;
    to->source = known ? REFUSED : FIRST;
    return first_choice(p, c, to, e);
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
    p->choices[p->n] = (Choice){.key = *key};
    SnStatus s = decide(p, c, &p->choices[p->n], e);
    if (!s) p->n++;
    return s;
}

static uint64_t bytes_of(uint32_t elem, int64_t n) {
    return (uint64_t)n * sn_elem_info[elem].bytes;
}

SnStatus sn_lt_prepare(SnLtPool *p, const SnGemm *g, const uint64_t *args, SnLtCall **out,
                       SnError *e) {
    SnLtCall *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    uint64_t a = args[0] + bytes_of(g->elem_a, g->base_a);
    uint64_t b = args[1] + bytes_of(g->elem_b, g->base_b), to_c = bytes_of(g->elem_c, g->base_c);
    uint64_t aux = sn_gemm_has(g, SN_GEMM_AUX) ? args[sn_gemm_arg(g, SN_GEMM_AUX)] + to_c : 0;
    uint64_t vector = sn_gemm_has(g, SN_GEMM_BIAS)  ? args[sn_gemm_arg(g, SN_GEMM_BIAS)]
                      : sn_gemm_has(g, SN_GEMM_SUM) ? args[sn_gemm_arg(g, SN_GEMM_SUM)]
                                                    : 0;
    x->acc = sn_gemm_has(g, SN_GEMM_ACC);
    x->at_a = g->lt.swap ? b : a;
    x->at_b = g->lt.swap ? a : b;
    x->at_d = args[sn_gemm_arg(g, SN_GEMM_C)] + to_c;
    x->at_c = x->acc ? args[sn_gemm_arg(g, SN_GEMM_ACC)] + to_c : x->at_d;
    x->acc_first = g->acc_first != 0;
    Key key;
    memset(&key, 0, sizeof key); // compared as bytes
    key.shape = g->lt;
    key.elem[0] = g->lt.swap ? g->elem_b : g->elem_a;
    key.elem[1] = g->lt.swap ? g->elem_a : g->elem_b;
    key.elem[2] = g->elem_c;
    key.acc = x->acc;
    key.tf32 = g->tf32 != 0;
    key.epilogue = epilogue_of(g);
    const uint64_t at[] = {x->at_a, x->at_b, x->at_c, x->at_d, vector, aux};
    for (int i = 0; i < 6; i++) key.align[i] = i < 4 || at[i] ? alignment(at[i]) : 0;
    SnStatus s = make_all(p->api, &key, x, e);
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

// "measured, 0.0123 ms, 4.56 TFLOP/s, 1.07 times as fast as the first choice of 8"
static void source_text(const Choice *c, char *text, size_t size) {
    static const char *const unmeasured[] = {[FIRST] = "first choice",
                                             [KNOWN] = "",
                                             [REFUSED] =
                                                 "first choice, for the cache's is refused"};
    const SnLtKnown *k = &c->known;
    const SnLt *l = &c->key.shape;
    double ns = (double)k->ns;
    if (c->source != KNOWN) {
        snprintf(text, size, "%s", unmeasured[c->source]);
        return;
    }
    double flops = 2.0 * (double)l->batch * (double)l->rows * (double)l->cols * (double)l->k;
    int n = snprintf(text, size, "%s, %.4f ms, %.3f TFLOP/s", k->fresh ? "measured" : "cache",
                     ns * 1e-6, flops / ns * 1e-3);
    if (k->first_ns && n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ", %.2f times as fast as the first choice of %u",
                 (double)k->first_ns / ns, k->tried);
}

uint32_t sn_lt_shapes(const SnLtPool *p) { return p ? p->n : 0; }

bool sn_lt_chosen(const SnLtPool *p, uint32_t i, char *text, size_t size) {
    if (!p || i >= p->n) return false;
    const Choice *c = &p->choices[i];
    char key[SN_LT_KEY], source[160], algorithm[96];
    key_text(&c->key, key);
    source_text(c, source, sizeof source);
    sn_lt_describe(p->api, &c->algo, algorithm, sizeof algorithm);
    snprintf(text, size, "cuBLASLt %zu: %s: %s, %s, %zu bytes of workspace", p->api->lt_version(),
             key, source, algorithm, c->workspace);
    return true;
}

uint32_t sn_lt_refused(const SnLtPool *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; p && i < p->n; i++) n += p->choices[i].source == REFUSED;
    return n;
}

static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; }

static int start(const SnLtPool *p, const SnLtCall *c, bool first, const SnLtAlgo *algo,
                 size_t workspace, SnCudaStream stream) {
    float one = 1, beta = c->acc && !(c->acc_first && first) ? 1 : 0;
    return p->api->lt_matmul(p->handle, c->desc, &one, pointer(c->at_a), c->a, pointer(c->at_b),
                             c->b, &beta, pointer(c->at_c), c->c, pointer(c->at_d), c->c, algo,
                             pointer(p->workspace), workspace, stream);
}

SnStatus sn_lt_run(const SnLtPool *p, const SnLtCall *c, bool first, SnCudaStream stream,
                   SnError *e) {
    const Choice *choice = &p->choices[c->choice];
    int code = start(p, c, first, &choice->algo, choice->workspace, stream);
    return check(code, "a product", e);
}

// ---- measuring ----------------------------------------------------------------------------------

typedef struct {
    const SnLtPool *pool;
    const SnLtCall *call;
} Trial;

// As in the later micro-batches of a step, of which there are more.
static int start_trial(void *user, const SnLtHeuristic *h, SnCudaStream stream) {
    const Trial *t = user;
    return start(t->pool, t->call, false, &h->algo, h->workspace, stream);
}

SnStatus sn_lt_measure(SnLtPool *p, const SnLtCall *c, SnCudaStream stream, SnError *e) {
    const Choice *choice = &p->choices[c->choice];
    SnLtHeuristic found[SN_LT_CANDIDATES];
    SnLtMeasured m;
    Trial trial = {p, c};
    char key[SN_LT_KEY];
    int n;
    key_text(&choice->key, key);
    const SnLtKnown *before = sn_choices_find(p->known, key);
    if (before && before->fresh) return SN_OK;
    SnStatus s = ask(p, c, &choice->key, SN_LT_CANDIDATES, found, &n, e);
    if (!s) s = sn_lt_measure_all(p->api, stream, found, n, start_trial, &trial, &m, e);
    if (s || m.best < 0) return s;
    const SnLtKnown known = {
        .algo = found[m.best].algo, .ns = m.ns, .first_ns = m.first_ns, .tried = m.tried};
    return sn_choices_put(p->known, key, &known, e);
}

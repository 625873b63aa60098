// cuBLASLt of the emulated device: descriptors, layouts, the heuristic, and the call.
//
// Arguments are checked as the manual says and where it leaves room on the strict side, so that what
// is accepted here is accepted by the library: two operands of one type of f32, bf16 and f16, results of
// that or of f32, C laid out as D, epilogues on column-major results, pointers aligned as the algorithm
// was promised, and 16-bit products always as tensor cores want it. An algorithm comes from the heuristic and
// fits the problem and the device that it was found for; that is noted in its opaque bytes. There
// are three, which all compute the same bits and differ in what they demand:
//
//   split   a workspace of partial sums, 16-byte alignment, long k     wide   16-byte alignment
//   narrow  4-byte alignment, of f32; else 16
//
// Here the product is only put into the stream's queue; product.c computes it.
#include "runtime/elem.h"
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 130100,
    WORKSPACE_ALIGN = 256,
    SPLIT_K = 512, // from which the splitting algorithm is offered
    SPLITS = 2,
    TILE = 128
};

typedef struct {
    int32_t compute, trans_a, trans_b;
    uint32_t epilogue;
    uint64_t bias, aux;
    int64_t aux_ld, aux_stride;
} Desc;
typedef struct {
    int32_t type, order, batch;
    uint64_t rows, cols;
    int64_t ld, stride;
} MatrixLayout;
typedef struct {
    uint64_t workspace;
    uint32_t align[4]; // A, B, C, D
} Preference;

size_t drv_lt_version(void) { return VERSION; }

void lt_free_object(void *object) { free(object); }

// ---- objects ------------------------------------------------------------------------------------

// Copies `bytes` of an initial value into a new object.
static int create(HandleKind kind, void **handle, const void *value, size_t bytes) {
    EmuDriver *d = driver_lock();
    if (!d->retained) return driver_leave(d, SN_LT_NOT_INITIALIZED);
    void *object = handle ? malloc(bytes) : NULL;
    if (object) memcpy(object, value, bytes);
    void *h = object ? handle_new(d, kind, object) : NULL;
    if (!h) free(object);
    if (handle) *handle = h;
    return driver_leave(d, !handle ? SN_LT_INVALID_VALUE : h ? SN_LT_OK : SN_LT_ALLOC_FAILED);
}

static int destroy(HandleKind kind, void *handle, int unknown) {
    EmuDriver *d = driver_lock();
    void *object = handle_get(d, kind, handle);
    if (!object) return driver_leave(d, unknown);
    handle_free(d, handle);
    free(object);
    return driver_leave(d, SN_LT_OK);
}

int drv_lt_create(SnLtHandle *handle) {
    uint64_t nothing = 0;
    return create(HANDLE_LT, (void **)handle, &nothing, sizeof nothing);
}
int drv_lt_destroy(SnLtHandle handle) { return destroy(HANDLE_LT, handle, SN_LT_NOT_INITIALIZED); }

int drv_lt_desc_create(SnLtDesc *desc, int compute, int scale) {
    bool known = compute == SN_LT_COMPUTE_32F || compute == SN_LT_COMPUTE_32F_PEDANTIC ||
                 compute == SN_LT_COMPUTE_32F_FAST_TF32;
    if (!known || scale != SN_LT_R_32F) return SN_LT_NOT_SUPPORTED;
    Desc x = {.compute = compute, .epilogue = SN_LT_EPILOGUE_DEFAULT};
    return create(HANDLE_DESC, (void **)desc, &x, sizeof x);
}
int drv_lt_desc_destroy(SnLtDesc desc) { return destroy(HANDLE_DESC, desc, SN_LT_INVALID_VALUE); }

int drv_lt_layout_create(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    MatrixLayout x = {.type = type, .batch = 1, .rows = rows, .cols = cols, .ld = ld};
    return create(HANDLE_LAYOUT, (void **)layout, &x, sizeof x);
}
int drv_lt_layout_destroy(SnLtLayout layout) {
    return destroy(HANDLE_LAYOUT, layout, SN_LT_INVALID_VALUE);
}

int drv_lt_preference_create(SnLtPreference *preference) {
    Preference x = {.align = {256, 256, 256, 256}};
    return create(HANDLE_PREFERENCE, (void **)preference, &x, sizeof x);
}
int drv_lt_preference_destroy(SnLtPreference preference) {
    return destroy(HANDLE_PREFERENCE, preference, SN_LT_INVALID_VALUE);
}

// ---- attributes ---------------------------------------------------------------------------------

static bool take(void *to, size_t size, const void *value, size_t bytes) {
    if (bytes != size) return false;
    memcpy(to, value, size);
    return true;
}

// A transpose; 2 is the conjugate one, the same for real numbers.
static bool take_op(int32_t *to, const void *value, size_t bytes) {
    int32_t op = -1;
    if (!take(&op, sizeof op, value, bytes) || op < 0 || op > 2) return false;
    *to = op;
    return true;
}

static bool set_desc(Desc *x, int attribute, const void *value, size_t bytes) {
    switch (attribute) {
    case SN_LT_DESC_TRANSA: return take_op(&x->trans_a, value, bytes);
    case SN_LT_DESC_TRANSB: return take_op(&x->trans_b, value, bytes);
    case SN_LT_DESC_EPILOGUE: return take(&x->epilogue, sizeof x->epilogue, value, bytes);
    case SN_LT_DESC_BIAS_POINTER: return take(&x->bias, sizeof x->bias, value, bytes);
    case SN_LT_DESC_AUX_POINTER: return take(&x->aux, sizeof x->aux, value, bytes);
    case SN_LT_DESC_AUX_LD: return take(&x->aux_ld, sizeof x->aux_ld, value, bytes);
    case SN_LT_DESC_AUX_BATCH_STRIDE:
        return take(&x->aux_stride, sizeof x->aux_stride, value, bytes);
    }
    return false;
}

static bool set_layout(MatrixLayout *x, int attribute, const void *value, size_t bytes) {
    int32_t n = -1;
    switch (attribute) {
    case SN_LT_LAYOUT_ORDER:
        if (!take(&n, sizeof n, value, bytes) || n < 0 || n > 1) return false;
        x->order = n;
        return true;
    case SN_LT_LAYOUT_BATCH_COUNT:
        if (!take(&n, sizeof n, value, bytes) || n < 1) return false;
        x->batch = n;
        return true;
    case SN_LT_LAYOUT_BATCH_STRIDE: return take(&x->stride, sizeof x->stride, value, bytes);
    }
    return false;
}

static bool set_preference(Preference *x, int attribute, const void *value, size_t bytes) {
    if (attribute == SN_LT_PREF_WORKSPACE_BYTES)
        return take(&x->workspace, sizeof x->workspace, value, bytes);
    if (attribute < SN_LT_PREF_ALIGN_A || attribute > SN_LT_PREF_ALIGN_D) return false;
    uint32_t align = 0;
    if (!take(&align, sizeof align, value, bytes)) return false;
    if (!align || align & (align - 1)) return false;
    x->align[attribute - SN_LT_PREF_ALIGN_A] = align;
    return true;
}

static int set(HandleKind kind, void *handle, int attribute, const void *value, size_t bytes) {
    EmuDriver *d = driver_lock();
    void *x = handle_get(d, kind, handle);
    bool ok = x && value;
    if (ok && kind == HANDLE_DESC) ok = set_desc(x, attribute, value, bytes);
    if (ok && kind == HANDLE_LAYOUT) ok = set_layout(x, attribute, value, bytes);
    if (ok && kind == HANDLE_PREFERENCE) ok = set_preference(x, attribute, value, bytes);
    return driver_leave(d, ok ? SN_LT_OK : SN_LT_INVALID_VALUE);
}

int drv_lt_desc_set(SnLtDesc desc, int attribute, const void *value, size_t bytes) {
    return set(HANDLE_DESC, desc, attribute, value, bytes);
}
int drv_lt_layout_set(SnLtLayout layout, int attribute, const void *value, size_t bytes) {
    return set(HANDLE_LAYOUT, layout, attribute, value, bytes);
}
int drv_lt_preference_set(SnLtPreference preference, int attribute, const void *value,
                          size_t bytes) {
    return set(HANDLE_PREFERENCE, preference, attribute, value, bytes);
}

// ---- the problem --------------------------------------------------------------------------------

typedef struct {
    const Desc *desc;
    const MatrixLayout *a, *b, *c, *d;
} Problem;

static int find_problem(const EmuDriver *d, Problem *x, SnLtHandle handle, SnLtDesc desc,
                        const SnLtLayout *layouts) {
    if (!handle_get(d, HANDLE_LT, handle)) return SN_LT_NOT_INITIALIZED;
    x->desc = handle_get(d, HANDLE_DESC, desc);
    x->a = handle_get(d, HANDLE_LAYOUT, layouts[0]);
    x->b = handle_get(d, HANDLE_LAYOUT, layouts[1]);
    x->c = handle_get(d, HANDLE_LAYOUT, layouts[2]);
    x->d = handle_get(d, HANDLE_LAYOUT, layouts[3]);
    return x->desc && x->a && x->b && x->c && x->d ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

// The element type of a layout; SN_ELEMS: none that is multiplied.
static uint32_t elem_of(int32_t type) {
    switch (type) {
    case SN_LT_R_32F: return SN_ELEM_f32;
    case SN_LT_R_16F: return SN_ELEM_f16;
    case SN_LT_R_16BF: return SN_ELEM_bf16;
    }
    return SN_ELEMS;
}

// The manual's table of cublasLtMatmul() for sums in f32: A and B of one type, C and D too, which is that or f32;
// with TF32 all of f32.
static bool known_types(const Problem *x) {
    if (x->desc->compute == SN_LT_COMPUTE_32F_FAST_TF32 && x->a->type != SN_LT_R_32F) return false;
    return elem_of(x->a->type) < SN_ELEMS && x->a->type == x->b->type && x->c->type == x->d->type &&
           (x->d->type == x->a->type || x->d->type == SN_LT_R_32F);
}

static int check_layout(const MatrixLayout *x, const MatrixLayout *d) {
    if (!x->rows || !x->cols || x->rows > INT32_MAX || x->cols > INT32_MAX)
        return SN_LT_INVALID_VALUE;
    if (x->ld < (int64_t)(x->order ? x->cols : x->rows)) return SN_LT_INVALID_VALUE;
    return x->batch == d->batch ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

static int check_layouts(const Problem *x) {
    const MatrixLayout *all[] = {x->a, x->b, x->c, x->d};
    if (!known_types(x)) return SN_LT_NOT_SUPPORTED;
    for (int i = 0; i < 4; i++) {
        int r = check_layout(all[i], x->d);
        if (r) return r;
    }
    if (x->d->batch > 1 && !x->d->stride) return SN_LT_INVALID_VALUE; // all in one place
    bool same = x->c->order == x->d->order && x->c->ld == x->d->ld &&
                (x->d->batch == 1 || x->c->stride == x->d->stride);
    return same ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

static int check_epilogue(const Problem *x) {
    const Desc *e = x->desc;
    switch (e->epilogue) {
    case SN_LT_EPILOGUE_DEFAULT: return SN_LT_OK;
    case SN_LT_EPILOGUE_BIAS:
    case SN_LT_EPILOGUE_GELU:
    case SN_LT_EPILOGUE_GELU_BIAS:
    case SN_LT_EPILOGUE_GELU_AUX:
    case SN_LT_EPILOGUE_GELU_AUX_BIAS:
    case SN_LT_EPILOGUE_DGELU:
    case SN_LT_EPILOGUE_DGELU_BGRAD:
    case SN_LT_EPILOGUE_BGRADA:
    case SN_LT_EPILOGUE_BGRADB: break;
    default: return SN_LT_NOT_SUPPORTED;
    }
    if (x->d->order) return SN_LT_NOT_SUPPORTED;
    if (product_sums_bias(e->epilogue) && x->d->batch > 1) return SN_LT_NOT_SUPPORTED;
    if (!product_writes_aux(e->epilogue) && !product_reads_aux(e->epilogue)) return SN_LT_OK;
    bool ok = e->aux_ld % 8 == 0 && e->aux_ld >= (int64_t)x->d->rows && e->aux_stride % 8 == 0 &&
              (x->d->batch == 1 || e->aux_stride);
    return ok ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

static DeviceMatrix matrix_of(const MatrixLayout *x, bool transpose) {
    DeviceMatrix m = {.elem = elem_of(x->type), .rows = (int64_t)x->rows, .cols = (int64_t)x->cols};
    m.row = x->order ? x->ld : 1;
    m.col = x->order ? 1 : x->ld;
    m.batch = x->batch > 1 ? x->stride : 0;
    if (!transpose) return m;
    return (DeviceMatrix){.elem = m.elem,
                          .rows = m.cols,
                          .cols = m.rows,
                          .row = m.col,
                          .col = m.row,
                          .batch = m.batch};
}

// Everything but addresses, factors and workspace.
static int resolve(const Problem *x, LtProduct *p) {
    int r = check_layouts(x);
    if (!r) r = check_epilogue(x);
    if (r) return r;
    *p = (LtProduct){.batch = x->d->batch, .epilogue = x->desc->epilogue};
    p->tf32 = x->desc->compute == SN_LT_COMPUTE_32F_FAST_TF32;
    p->a = matrix_of(x->a, x->desc->trans_a);
    p->b = matrix_of(x->b, x->desc->trans_b);
    p->c = matrix_of(x->c, false);
    p->d = matrix_of(x->d, false);
    p->m = p->d.rows, p->n = p->d.cols, p->k = p->a.cols;
    if (product_writes_aux(p->epilogue) || product_reads_aux(p->epilogue))
        p->aux = (DeviceMatrix){.elem = p->d.elem,
                                .rows = p->m,
                                .cols = p->n,
                                .row = 1,
                                .col = x->desc->aux_ld,
                                .batch = p->batch > 1 ? x->desc->aux_stride : 0};
    bool fits = p->a.rows == p->m && p->b.rows == p->k && p->b.cols == p->n && p->c.rows == p->m &&
                p->c.cols == p->n;
    return fits ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

// ---- algorithms ---------------------------------------------------------------------------------

enum { ALGO_SPLIT, ALGO_WIDE, ALGO_NARROW, ALGOS };
static const uint64_t ALGO_MAGIC = UINT64_C(0x53696e7465724c74);

static uint64_t algo_workspace(int algo, const LtProduct *p) {
    return algo == ALGO_SPLIT ? (uint64_t)(SPLITS * p->batch * p->m * p->n) * sizeof(float) : 0;
}

static uint64_t mix(uint64_t h, int64_t x) {
    h = (h ^ (uint64_t)x) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ (h >> 32);
}

static uint64_t hash_matrix(uint64_t h, const DeviceMatrix *x) {
    h = mix(mix(mix(mix(h, x->elem), x->rows), x->cols), x->row);
    return mix(mix(h, x->col), x->batch);
}

static uint64_t hash_of(const LtProduct *p) {
    uint64_t h = mix(mix(mix(1, p->batch), (int64_t)p->epilogue), p->tf32);
    h = hash_matrix(hash_matrix(h, &p->a), &p->b);
    return hash_matrix(hash_matrix(h, &p->d), &p->aux);
}

static SnLtAlgo tag(const EmuDriver *d, int algo, const LtProduct *p) {
    SnLtAlgo x = {{ALGO_MAGIC, (uint64_t)algo, hash_of(p), d->config.sm}};
    return x;
}

// Every stretch of a matrix starts at a multiple of `align` bytes, its address being one of `at`.
static bool aligned(const DeviceMatrix *x, uint64_t at, uint64_t align) {
    int64_t ld = x->row > x->col ? x->row : x->col;
    uint64_t steps = (uint64_t)ld | (uint64_t)x->batch;
    return at % align == 0 && steps * sn_elem_info[x->elem].bytes % align == 0;
}

// at: addresses, or what the caller promises of them.
static bool algo_fits(int algo, const LtProduct *p, const uint64_t *at, uint64_t workspace) {
    uint64_t align = algo == ALGO_NARROW && p->a.elem == SN_ELEM_f32 ? 4 : 16;
    if (algo == ALGO_SPLIT && (p->k < SPLIT_K || product_sums_bias(p->epilogue))) return false;
    return algo_workspace(algo, p) <= workspace && aligned(&p->a, at[0], align) &&
           aligned(&p->b, at[1], align) && aligned(&p->c, at[2], align) &&
           aligned(&p->d, at[3], align);
}

static float waves_of(const EmuDriver *d, const LtProduct *p) {
    int64_t tiles = sn_ceil_div(p->m, TILE) * sn_ceil_div(p->n, TILE) * p->batch;
    return (float)tiles / (float)d->arch->count;
}

static int find_algos(const EmuDriver *d, const Problem *x, const Preference *f, int want,
                      SnLtHeuristic *found, int *count) {
    LtProduct p;
    int r = resolve(x, &p);
    if (r) return r;
    uint64_t at[4] = {f->align[0], f->align[1], f->align[2], f->align[3]};
    for (int algo = 0; algo < ALGOS && *count < want; algo++) {
        if (!algo_fits(algo, &p, at, f->workspace)) continue;
        SnLtHeuristic *h = &found[(*count)++];
        *h = (SnLtHeuristic){.algo = tag(d, algo, &p), .workspace = algo_workspace(algo, &p)};
        h->status = SN_LT_OK;
        h->waves = waves_of(d, &p);
    }
    return *count ? SN_LT_OK : SN_LT_NOT_SUPPORTED;
}

int drv_lt_heuristic(SnLtHandle handle, SnLtDesc desc, SnLtLayout a, SnLtLayout b, SnLtLayout c,
                     SnLtLayout d_layout, SnLtPreference preference, int want, SnLtHeuristic *found,
                     int *count) {
    EmuDriver *d = driver_lock();
    Problem x;
    const SnLtLayout layouts[] = {a, b, c, d_layout};
    int r = find_problem(d, &x, handle, desc, layouts);
    const Preference *f = handle_get(d, HANDLE_PREFERENCE, preference);
    if (!r && (!f || want <= 0 || !found || !count)) r = SN_LT_INVALID_VALUE;
    if (count) *count = 0;
    if (!r) r = find_algos(d, &x, f, want, found, count);
    return driver_leave(d, r);
}

// Whether an algorithm is one of ours, for this device and this problem.
static int known_algo(const EmuDriver *d, const SnLtAlgo *chosen, const LtProduct *p, int *algo) {
    const uint64_t *t = chosen->data;
    if (t[0] != ALGO_MAGIC || t[1] >= ALGOS) return SN_LT_INVALID_VALUE;
    if (t[3] != d->config.sm) return SN_LT_ARCH_MISMATCH;
    if (t[2] != hash_of(p)) return SN_LT_NOT_SUPPORTED;
    *algo = (int)t[1];
    return SN_LT_OK;
}

static int check_algo(const EmuDriver *d, const Problem *x, const SnLtAlgo *chosen,
                      SnLtHeuristic *to) {
    static const uint64_t anywhere[4] = {0, 0, 0, 0}; // addresses are not looked at
    LtProduct p;
    int algo = 0, r = resolve(x, &p);
    if (!r) r = known_algo(d, chosen, &p, &algo);
    if (!r && !algo_fits(algo, &p, anywhere, UINT64_MAX)) r = SN_LT_NOT_SUPPORTED;
    to->status = r;
    if (r) return r;
    to->workspace = algo_workspace(algo, &p);
    to->waves = waves_of(d, &p);
    return SN_LT_OK;
}

// As the library: result->algo stays as it is.
int drv_lt_algo_check(SnLtHandle handle, SnLtDesc desc, SnLtLayout a, SnLtLayout b, SnLtLayout c,
                      SnLtLayout d_layout, const SnLtAlgo *algo, SnLtHeuristic *result) {
    EmuDriver *d = driver_lock();
    Problem x;
    const SnLtLayout layouts[] = {a, b, c, d_layout};
    int r = find_problem(d, &x, handle, desc, layouts);
    if (!r && (!algo || !result)) r = SN_LT_INVALID_VALUE;
    if (!r) r = check_algo(d, &x, algo, result);
    return driver_leave(d, r);
}

static bool algo_attribute(int algo, int attribute, uint32_t *to) {
    enum { TILE_128X128 = 20 }; // CUBLASLT_MATMUL_TILE_128x128
    switch (attribute) {
    case SN_LT_ALGO_ID: *to = (uint32_t)algo; return true;
    case SN_LT_ALGO_TILE: *to = TILE_128X128; return true;
    case SN_LT_ALGO_SPLIT_K: *to = algo == ALGO_SPLIT ? SPLITS : 1; return true;
    case SN_LT_ALGO_STAGES: *to = 0; return true; // undefined
    }
    return false;
}

int drv_lt_algo_get(const SnLtAlgo *algo, int attribute, void *value, size_t bytes,
                    size_t *written) {
    uint32_t x = 0;
    if (!algo || algo->data[0] != ALGO_MAGIC || algo->data[1] >= ALGOS) return SN_LT_INVALID_VALUE;
    if (!algo_attribute((int)algo->data[1], attribute, &x)) return SN_LT_INVALID_VALUE;
    bool asked = bytes == 0 && written; // for the size
    if (!asked && (!value || bytes != sizeof x)) return SN_LT_INVALID_VALUE;
    if (!asked) memcpy(value, &x, sizeof x);
    if (written) *written = sizeof x;
    return SN_LT_OK;
}

// ---- the call -----------------------------------------------------------------------------------

// Chooses, or checks the caller's choice. workspace_bytes becomes what is really used.
static int settle_algo(const EmuDriver *d, const SnLtAlgo *chosen, LtProduct *p) {
    uint64_t at[4] = {p->a.address, p->b.address, p->beta != 0 ? p->c.address : 0, p->d.address};
    int algo = 0;
    if (chosen) {
        int r = known_algo(d, chosen, p, &algo);
        if (r) return r;
        if (algo_workspace(algo, p) > p->workspace_bytes) return SN_LT_INVALID_VALUE;
        if (!algo_fits(algo, p, at, p->workspace_bytes)) return SN_LT_NOT_SUPPORTED;
    } else {
        while (algo < ALGOS && !algo_fits(algo, p, at, p->workspace_bytes)) algo++;
        if (algo == ALGOS) return SN_LT_NOT_SUPPORTED;
    }
    p->workspace_bytes = algo_workspace(algo, p);
    if (!p->workspace_bytes) p->workspace = 0;
    bool ok = !p->workspace_bytes || (p->workspace && p->workspace % WORKSPACE_ALIGN == 0);
    return ok ? SN_LT_OK : SN_LT_INVALID_VALUE;
}

static int set_extras(LtProduct *p, const Desc *e) {
    bool bias = product_adds_bias(p->epilogue) || product_sums_bias(p->epilogue);
    if (bias) p->bias = e->bias;
    if (p->aux.rows) p->aux.address = e->aux;
    if (bias && (!p->bias || p->bias % sn_elem_info[p->d.elem].bytes)) return SN_LT_INVALID_VALUE;
    if (p->aux.rows && (!p->aux.address || p->aux.address % 16)) return SN_LT_INVALID_VALUE;
    return SN_LT_OK;
}

static void own_matrix(Work *w, const DeviceMatrix *x, bool reads, bool writes) {
    work_own(w, x->address, matrix_bytes(x, w->product.batch), reads, writes);
}

static void own_ranges(Work *w) {
    const LtProduct *p = &w->product;
    own_matrix(w, &p->a, true, false);
    own_matrix(w, &p->b, true, false);
    if (p->beta != 0) own_matrix(w, &p->c, true, false);
    own_matrix(w, &p->d, false, true);
    bool sums = product_sums_bias(p->epilogue), reads = product_reads_aux(p->epilogue);
    if (p->bias) work_own(w, p->bias, product_bias_bytes(p), !sums, sums);
    if (p->aux.rows) own_matrix(w, &p->aux, reads, !reads);
}

// What the stream says, as cuBLASLt tells it.
static int status_of(int error) {
    if (error == SN_CU_OK) return SN_LT_OK;
    if (error == SN_CU_OUT_OF_MEMORY) return SN_LT_ALLOC_FAILED;
    return error == SN_CU_INVALID_HANDLE ? SN_LT_INVALID_VALUE : SN_LT_EXECUTION_FAILED;
}

static int submit(EmuDriver *d, const LtProduct *p, SnCudaStream stream) {
    Stream *s = stream_get(d, stream);
    int r = stream_check(d, s);
    if (r) return status_of(r);
    Work *w = work_new(d, WORK_MATMUL, "matrix product");
    if (!w) return SN_LT_ALLOC_FAILED;
    w->product = *p;
    own_ranges(w);
    r = work_ready(d, w);
    if (!r) return status_of(stream_submit(d, s, w));
    work_release(w);
    return status_of(r);
}

static bool set_operands(LtProduct *p, const void *const *pointers, const void *alpha,
                         const void *beta) {
    DeviceMatrix *all[] = {&p->a, &p->b, &p->c, &p->d};
    if (!alpha || !beta) return false;
    memcpy(&p->alpha, alpha, sizeof p->alpha);
    memcpy(&p->beta, beta, sizeof p->beta);
    for (int i = 0; i < 4; i++) {
        all[i]->address = (uintptr_t)pointers[i];
        bool used = i != 2 || p->beta != 0;
        if (used && (!pointers[i] || all[i]->address % sn_elem_info[all[i]->elem].bytes))
            return false;
    }
    return true;
}

int drv_lt_matmul(SnLtHandle handle, SnLtDesc desc, const void *alpha, const void *a,
                  SnLtLayout a_layout, const void *b, SnLtLayout b_layout, const void *beta,
                  const void *c, SnLtLayout c_layout, void *d_pointer, SnLtLayout d_layout,
                  const SnLtAlgo *algo, void *workspace, size_t workspace_bytes,
                  SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Problem x;
    LtProduct p;
    const SnLtLayout layouts[] = {a_layout, b_layout, c_layout, d_layout};
    const void *const pointers[] = {a, b, c, d_pointer};
    r = r ? SN_LT_EXECUTION_FAILED : find_problem(d, &x, handle, desc, layouts);
    if (!r) r = resolve(&x, &p);
    if (!r && !set_operands(&p, pointers, alpha, beta)) r = SN_LT_INVALID_VALUE;
    if (!r) r = set_extras(&p, x.desc);
    if (!r) {
        p.workspace = (uintptr_t)workspace, p.workspace_bytes = workspace_bytes;
        r = settle_algo(d, algo, &p);
    }
    if (!r) r = submit(d, &p, stream);
    note_end(d);
    return driver_leave(d, r);
}

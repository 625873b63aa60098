// Runs a kernel, slowly and exactly: the meaning that native kernels are compared with.
//
// Why: lowering (IR to kernel) and printing (kernel to code) are then tested apart. It needs a
// kernel that kernel_finish accepted and buffers of the sizes that its arguments say; an access
// outside one ends the run with a reason. Sequential: tasks, rows, phases and lanes in order, one
// lane at a time. Time is lanes times the ops that each phase needs.
#include "codegen/kernel.h"
#include "ir/scalar.h"
#include "runtime/plan.h"
#include <string.h>

typedef struct {
    const Kernel *k;
    void *const *bufs;
    const SnEnv *env;
    const KRect *rect; // epilogues and strips
    Text *why;
    bool failed;
    int64_t at[K_MAX_AXES];   // index along each axis; the lane's last
    int64_t row, chunk;       // number of the row; of the chunk within its grid point
    int64_t lane0, lane1;     // lanes of the task
    uint32_t phase;           // k->phases: after a task's last row
    uint32_t *value;          // by op: bits
    uint32_t *held, *columns; // [op or fold][lane - lane0]
    uint32_t *total, *acc;    // [fold], [fold][FOLD_LANES]
} KernelRun;

static void fail(KernelRun *r, const char *what, uint32_t i, uint32_t arg, int64_t at) {
    if (!r->failed)
        text_printf(r->why, "%s %u: element %lld of argument %u, which has %lld", what, i,
                    (long long)at, arg, (long long)r->k->args.at[arg].count);
    r->failed = true;
}

static float *in_tile(const KernelRun *r, uint32_t tile) {
    const KRect *x = r->rect;
    return x->tiles[tile] + (r->row - x->row0) * x->ld + r->at[r->k->outers] - x->lane0;
}

static int64_t offset(const KernelRun *r, const KIndex *x) {
    int64_t at = x->base;
    for (uint32_t i = 0; i <= r->k->outers; i++) at += x->stride[i] * r->at[i];
    if (x->op != NONE) at += x->op_stride * (int32_t)r->value[x->op];
    return at;
}

// ---- memory

static uint32_t load(KernelRun *r, KId id) {
    const KOp *o = &r->k->ops.at[id];
    const KArg *a = &r->k->args.at[o->arg];
    if (o->mask != NONE && !r->value[o->mask]) return 0;
    int64_t at = offset(r, &o->index);
    if (at < 0 || at >= a->count) {
        fail(r, "op", id, o->arg, at);
        return 0;
    }
    if (a->mode == KARG_acc && r->env->first) return 0;
    uint32_t stored = 0, bytes = elem_info[a->elem].bytes; // little-endian
    memcpy(&stored, (const uint8_t *)r->bufs[o->arg] + at * bytes, bytes);
    return scalar_from_memory((Elem)a->elem, stored);
}

static void store(KernelRun *r, const char *what, uint32_t i, uint32_t arg, int64_t at,
                  uint32_t bits) {
    const KArg *a = &r->k->args.at[arg];
    if (at < 0 || at >= a->count) {
        fail(r, what, i, arg, at);
        return;
    }
    uint32_t stored = scalar_to_memory((Elem)a->elem, bits), bytes = elem_info[a->elem].bytes;
    memcpy((uint8_t *)r->bufs[arg] + at * bytes, &stored, bytes);
}

// ---- ops

static uint32_t bits_at(const KernelRun *r, KId id) { return id == NONE ? 0 : r->value[id]; }

static uint32_t evaluate(KernelRun *r, KId id) {
    const KOp *o = &r->k->ops.at[id];
    int64_t at;
    switch ((KOpKind)o->kind) {
    case KOP_scalar:
        return scalar_eval((Op)o->op, (Elem)o->elem, (Elem)o->to, bits_at(r, o->a),
                           bits_at(r, o->b), bits_at(r, o->c));
    case KOP_const: return scalar_to_bits((Elem)o->to, o->value);
    case KOP_index: return (uint32_t)r->at[o->axis];
    case KOP_load: return load(r, id);
    case KOP_random:
        at = offset(r, &o->index) + r->env->sample * o->sample_stride;
        return scalar_eval_philox((uint64_t)at, o->fixed ? 0 : r->env->step, o->key, r->env->seed,
                                  (int)o->word);
    case KOP_fold: return r->total[o->fold];
    case KOP_tile: memcpy(&r->value[id], in_tile(r, o->arg), 4); return r->value[id];
    case KOP_KINDS: break;
    }
    unreachable(o->kind);
}

static bool needs(const KernelRun *r, KId id) { return r->k->phase[r->phase].need[id]; }

// The row-level ops that the phase is the first to need.
static void evaluate_row(KernelRun *r) {
    for (KId id = 0; id < r->k->ops.n; id++)
        if (needs(r, id) && !r->k->ops.at[id].lane && !kernel_has(r->k, r->phase, id))
            r->value[id] = evaluate(r, id);
}

static int64_t task_lanes(const KernelRun *r) {
    return r->k->order == KORDER_lanes ? r->k->grain : r->k->extent[r->k->outers];
}

static uint32_t *kept(const KernelRun *r, uint32_t *rows, uint32_t i) {
    return &rows[i * task_lanes(r) + r->at[r->k->outers] - r->lane0];
}

static void evaluate_lane(KernelRun *r) {
    for (KId id = 0; id < r->k->ops.n; id++) {
        const KOp *o = &r->k->ops.at[id];
        if (!needs(r, id) || !o->lane) continue;
        r->value[id] = kernel_has(r->k, r->phase, id) ? *kept(r, r->held, id) : evaluate(r, id);
        if (o->hold) *kept(r, r->held, id) = r->value[id];
    }
}

// ---- folds

static uint32_t identity(const KernelRun *r, uint32_t f) {
    return scalar_eval_identity((ReduceKind)r->k->folds.at[f].kind, kfold_elem(r->k, f));
}

static void step(const KernelRun *r, uint32_t f, uint32_t *acc, uint32_t x) {
    *acc = scalar_eval_fold((ReduceKind)r->k->folds.at[f].kind, kfold_elem(r->k, f), *acc, x);
}

static bool row_fold_here(const KernelRun *r, uint32_t f) {
    return !r->k->folds.at[f].column && r->k->folds.at[f].phase == r->phase;
}

static void begin_segment(KernelRun *r) {
    for (uint32_t f = 0; f < r->k->folds.n; f++)
        for (uint32_t i = 0; row_fold_here(r, f) && i < FOLD_LANES; i++)
            r->acc[f * FOLD_LANES + i] = identity(r, f);
}

static void end_segment(KernelRun *r) {
    for (uint32_t f = 0; f < r->k->folds.n; f++) {
        if (!row_fold_here(r, f)) continue;
        uint32_t *acc = &r->acc[f * FOLD_LANES];
        for (uint32_t half = FOLD_LANES / 2; half > 0; half /= 2)
            for (uint32_t i = 0; i < half; i++) step(r, f, &acc[i], acc[i + half]);
        step(r, f, &r->total[f], acc[0]);
    }
}

static void fold_lane(KernelRun *r) {
    for (uint32_t f = 0; f < r->k->folds.n; f++) {
        const KFold *fold = &r->k->folds.at[f];
        if (fold->phase != r->phase) continue;
        int64_t lane = r->at[r->k->outers];
        uint32_t *acc = fold->column ? kept(r, r->columns, f)
                                     : &r->acc[f * FOLD_LANES + (uint32_t)(lane % FOLD_LANES)];
        step(r, f, acc, r->value[fold->value]);
    }
}

// ---- phases

static void run_stores(KernelRun *r, bool lane) {
    for (uint32_t i = 0; i < r->k->stores.n; i++) {
        const KStore *s = &r->k->stores.at[i];
        if (s->phase != r->phase || s->lane != lane) continue;
        if (s->mask != NONE && !r->value[s->mask]) continue;
        if (s->tile)
            memcpy(in_tile(r, s->arg), &r->value[s->value], 4);
        else
            store(r, "store", i, s->arg, offset(r, &s->index), r->value[s->value]);
    }
}

static void run_phase(KernelRun *r, int64_t end) {
    int64_t *lane = &r->at[r->k->outers];
    evaluate_row(r);
    for (uint32_t f = 0; f < r->k->folds.n; f++)
        if (row_fold_here(r, f)) r->total[f] = identity(r, f);
    for (*lane = r->lane0; *lane < end && !r->failed; ++*lane) {
        if (*lane % FOLD_SEGMENT == 0 || *lane == r->lane0) begin_segment(r);
        evaluate_lane(r);
        fold_lane(r);
        run_stores(r, true);
        if ((*lane + 1) % FOLD_SEGMENT == 0 || *lane + 1 == end) end_segment(r);
    }
    *lane = 0;
    run_stores(r, false);
}

// Indices of axes [from, to) out of a row-major number.
static void decode(KernelRun *r, int64_t number, uint32_t from, uint32_t to) {
    for (uint32_t i = to; i-- > from;) {
        r->at[i] = number % r->k->extent[i];
        number /= r->k->extent[i];
    }
}

static void run_rows(KernelRun *r, int64_t from, int64_t to, uint32_t first, uint32_t last) {
    const Kernel *k = r->k;
    int64_t lanes = k->extent[k->outers];
    for (r->row = from; r->row < to && !r->failed; r->row++) {
        decode(r, r->row, first, last);
        int64_t end = r->lane1;
        if (k->flat && k->flat - r->at[k->outers - 1] * lanes < end)
            end = k->flat - r->at[k->outers - 1] * lanes;
        for (r->phase = 0; r->phase < k->phases; r->phase++) run_phase(r, end);
    }
}

// ---- tasks

static void begin_columns(KernelRun *r) {
    for (uint32_t f = 0; f < r->k->folds.n; f++)
        for (int64_t i = 0; r->k->folds.at[f].column && i < task_lanes(r); i++)
            r->columns[f * task_lanes(r) + i] = identity(r, f);
}

static void store_column(KernelRun *r, uint32_t f) {
    const KFold *fold = &r->k->folds.at[f];
    uint32_t x = *kept(r, r->columns, f);
    if (fold->plus != NONE) {
        Elem e = kfold_elem(r->k, f);
        x = scalar_eval(OP_add, e, e, r->value[fold->plus], x, 0);
    }
    store(r, "fold", f, fold->arg, offset(r, &fold->index) + r->chunk * fold->chunk_stride, x);
}

static void end_columns(KernelRun *r) {
    const Kernel *k = r->k;
    for (uint32_t i = kernel_walk(k); i < k->outers; i++) r->at[i] = 0;
    r->phase = k->phases;
    evaluate_row(r);
    int64_t *lane = &r->at[k->outers];
    for (*lane = r->lane0; *lane < r->lane1 && !r->failed; ++*lane) {
        evaluate_lane(r);
        for (uint32_t f = 0; f < k->folds.n; f++)
            if (k->folds.at[f].column) store_column(r, f);
    }
    *lane = 0;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void run_task(KernelRun *r, int64_t task) {
    const Kernel *k = r->k;
    int64_t rows = kernel_points(k, 0, k->outers), walked = kernel_points(k, k->walk, k->outers),
            chunks;
    switch ((KOrder)k->order) {
    case KORDER_rows:
        run_rows(r, task * k->grain, least((task + 1) * k->grain, rows), 0, k->outers);
        return;
    case KORDER_chunks:
        chunks = sn_ceil_div(walked, k->grain);
        r->chunk = task % chunks;
        decode(r, task / chunks, 0, k->walk);
        begin_columns(r);
        run_rows(r, r->chunk * k->grain, least((r->chunk + 1) * k->grain, walked), k->walk,
                 k->outers);
        end_columns(r);
        return;
    case KORDER_lanes:
        r->lane0 = task * k->grain;
        r->lane1 = least(r->lane0 + k->grain, k->extent[k->outers]);
        begin_columns(r);
        run_rows(r, 0, rows, 0, k->outers);
        end_columns(r);
        return;
    case KORDER_tile:
    case KORDER_strip:
        r->lane0 = r->rect->lane0;
        r->lane1 = r->rect->lane1;
        run_rows(r, r->rect->row0, r->rect->row1, 0, k->outers);
        return;
    case KORDER_COUNT: break;
    }
    unreachable(k->order);
}

// Held rows and column accumulators cost memory only where there are any.
static size_t kept_rows(const Kernel *k, bool columns) {
    for (KId id = 0; id < k->ops.n && !columns; id++)
        if (k->ops.at[id].hold) return k->ops.n;
    return columns && k->columns ? k->folds.n : 0;
}

bool kernel_interp(const Kernel *k, void *const *bufs, const struct SnEnv *env, const KRect *rect,
                   Text *why) {
    CHECK(k->order != KORDER_strip || rect->lane0 % FOLD_LANES == 0, "strip from lane %lld",
          (long long)rect->lane0);
    Arena *a = arena_new();
    KernelRun r = {.k = k, .bufs = bufs, .env = env, .rect = rect, .why = why};
    r.lane1 = k->extent[k->outers];
    size_t ops = k->ops.n + 1, folds = k->folds.n + 1, lanes = (size_t)task_lanes(&r);
    r.value = NEW_ARRAY(a, uint32_t, ops);
    r.held = NEW_ARRAY(a, uint32_t, kept_rows(k, false) * lanes);
    r.columns = NEW_ARRAY(a, uint32_t, kept_rows(k, true) * lanes);
    r.total = NEW_ARRAY(a, uint32_t, folds);
    r.acc = NEW_ARRAY(a, uint32_t, folds * FOLD_LANES);
    for (int64_t t = 0; t < k->tasks && !r.failed; t++) run_task(&r, t);
    arena_free(a);
    return !r.failed;
}

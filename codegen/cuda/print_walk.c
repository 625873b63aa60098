// Kernels in which rows are walked in order: column folds, and scatters in their general form.
//
//   walk    thread g owns one unit of lanes of one task and walks the task's rows; the column
//           accumulators c are its registers
//   chunk   the rows of a task are folded first, each by a team of threads; the results that lanes
//           need lie in shared memory; then threads own lanes as above. What both parts need is computed twice and read
//           from the caches the second time, but rows are folded side by side with one barrier for
//           a whole task, and a thread needs the accumulators of one unit only, however long rows are.
#include "codegen/cuda/print.h"
#include <string.h>

static const char *number(const Cu *p, int64_t n) { return cu_num(p, n); }

// Declares `chunk`, the axes of the grid point, the task's first row `from` and its row count; returns
// the text of the count.
const char *cu_task_rows(Cu *p) {
    const Kernel *k = p->k;
    const CuGeometry *g = p->g;
    const char *type = cu_int(p);
    if (k->order == KORDER_lanes) {
        cu_line(p, "const %s from = 0;", type);
        return number(p, g->rows);
    }
    cu_line(p, "const %s chunk = task %% %s;", type, number(p, g->chunks));
    cu_decode(p, arena_printf(p->a, "task / %s", number(p, g->chunks)), 0, k->walk);
    cu_line(p, "const %s from = chunk * %s;", type, number(p, k->grain));
    if (g->chunks == 1) return number(p, g->walked);
    if (g->walked % k->grain == 0) return number(p, k->grain);
    cu_line(p, "const %s left = %s - from;", type, number(p, g->walked));
    cu_line(p, "const %s count = left < %s ? left : %s;", type, number(p, k->grain),
            number(p, k->grain));
    return "count";
}

// Rows whose reads are in flight together. Only what differs between rows counts: the rest is read once.
static uint32_t rows_unrolled(const Cu *p) {
    const Kernel *k = p->k;
    uint32_t loads = 0;
    if (k->order == KORDER_lanes) return 1;
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        bool walked = o->index.op != NONE;
        for (uint32_t i = k->walk; i < k->outers; i++) walked |= o->index.stride[i] != 0;
        loads += o->kind == KOP_load && o->lane && walked;
    }
    uint32_t each = loads * (p->g->vector ? 2 : 1);
    return each > 8 ? 2 : each > 2 ? 4 : 8;
}

static void declare_columns(Cu *p) {
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        if (!p->k->folds.at[f].column) continue;
        Text list = {.arena = p->a};
        for (uint32_t i = 0; i < p->g->items; i++)
            text_printf(&list, "%s%s", i ? ", " : "", cu_identity(p, f).text);
        cu_line(p, "%s c%u[%u] = {%s};", cu_register_type(kfold_elem(p->k, f)), f, p->g->items,
                list.at);
    }
}

// What the folding part left for row n.
static void fetch_results(Cu *p, const uint8_t *results) {
    for (KId id = 0; results && id < p->k->ops.n; id++) {
        if (!results[id]) continue;
        Elem e = (Elem)p->k->ops.at[id].to;
        cu_row_is(p, id, cu_temp(p, e, arena_printf(p->a, "r%u[n]", id)));
    }
}

// All of row r for the thread's unit at lane l.
void cu_walk_row(Cu *p, bool row_stores) {
    const KSweep all = {
        .to = p->k->phases, .columns = true, .stores = true, .lanes_only = !row_stores};
    cu_want(p, &all);
    cu_row_ops(p);
    if (ksweep_lanes(p->k, &all)) cu_unit(p, &all, GUARD_NONE);
    p->row_lead = "l == 0";
    if (row_stores) cu_row_stores(p, &all);
    cu_forget_row(p);
}

// After the rows the walked axes have no index any more, and what is added is read now.
void cu_end_columns(Cu *p) {
    const KSweep end = {.ends = true};
    if (!p->k->columns) return;
    cu_line(p, "{");
    cu_open(p);
    for (uint32_t i = kernel_walk(p->k); i < p->k->outers; i++)
        cu_line(p, "const %s i%u = 0;", cu_int(p), i);
    cu_want(p, &end);
    cu_row_ops(p);
    cu_unit(p, &end, GUARD_NONE);
    cu_forget_row(p);
    cu_close(p);
}

// results: NULL, or by op: whether the folding part left it.
static void walk_rows(Cu *p, const char *from, const char *count, const uint8_t *results) {
    cu_line(p, "#pragma unroll %u", rows_unrolled(p));
    cu_line(p, "for (%s n = 0; n < %s; n++) {", cu_int(p), count);
    cu_open(p);
    cu_line(p, "const %s r = %s + n;", cu_int(p), from);
    cu_decode(p, "r", kernel_walk(p->k), p->k->outers);
    fetch_results(p, results);
    cu_walk_row(p, !results);
    cu_close(p);
}

void cu_walk(Cu *p) {
    const CuGeometry *g = p->g;
    const char *word = g->wide ? "u64" : "u32", *suffix = g->wide ? "ull" : "u", *type = cu_int(p);
    int64_t points = 1;
    for (uint32_t i = 0; p->k->order == KORDER_chunks && i < p->k->walk; i++)
        points *= p->k->extent[i];
    int64_t all = points * (p->k->order == KORDER_chunks ? g->chunks : 1) * g->row_units;
    cu_line(p, "const %s g = (%s)blockIdx.x * %u + threadIdx.x;", word, word, g->threads);
    if (all % g->threads) cu_line(p, "if (g >= %lld%s) return;", (long long)all, suffix);
    cu_line(p, "const %s task = (%s)(g / %lld%s);", type, type, (long long)g->row_units, suffix);
    cu_line(p, "const %s l = (%s)(g %% %lld%s)%s;", type, type, (long long)g->row_units, suffix,
            g->vector ? " * 4" : "");
    const char *count = cu_task_rows(p);
    declare_columns(p);
    walk_rows(p, "from", count, NULL);
    cu_end_columns(p);
}

// ---- chunks with row folds

// Prints the end of a row's fold: what the lanes need of it, and its own stores.
static void leave_results(Cu *p, const uint8_t *results) {
    KSweep all = {.to = p->k->phases, .stores = true};
    cu_want(p, &all);
    for (KId id = 0; id < p->k->ops.n; id++) p->need[id] = p->need[id] && !p->k->ops.at[id].lane;
    for (KId id = 0; id < p->k->ops.n; id++) p->need[id] |= results[id];
    cu_row_ops(p);
    for (KId id = 0; id < p->k->ops.n; id++)
        if (results[id]) cu_line(p, "if (t == 0) r%u[n] = %s;", id, cu_at(p, id).text);
    p->row_lead = "t == 0";
    cu_row_stores(p, &all);
}

static void fold_rows(Cu *p, const char *from, const char *count, const uint8_t *results) {
    const CuGeometry *g = p->g;
    cu_line(p, "for (int n = threadIdx.x / %u; n < %s; n += %u) {", g->team, count,
            g->threads / g->team);
    cu_open(p);
    cu_line(p, "const %s r = %s + n;", cu_int(p), from);
    cu_decode(p, "r", p->k->walk, p->k->outers);
    cu_choose_holds(p, false);
    cu_team_phases(p, false);
    leave_results(p, results);
    memset(p->holds, 0, p->k->ops.n);
    cu_forget_row(p);
    cu_close(p);
}

// The compiler reads results ahead of the test whether there is such a row: they have a value.
static void clear_rest(Cu *p, const char *count, const uint8_t *results) {
    const CuGeometry *g = p->g;
    if (g->walked % p->k->grain == 0 && p->k->grain % g->batch == 0) return;
    cu_line(p, "for (int n = %s + threadIdx.x; n < %u; n += %u) {", count, g->batch, g->threads);
    cu_open(p);
    for (KId id = 0; id < p->k->ops.n; id++)
        if (results[id]) cu_line(p, "r%u[n] = 0;", id);
    cu_close(p);
}

static void declare_results(Cu *p, const uint8_t *results) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (results[id])
            cu_line(p, "__shared__ %s r%u[%u];", cu_register_type((Elem)p->k->ops.at[id].to), id,
                    p->g->batch);
}

static void all_rows(Cu *p, const CuGeometry *walk, const char *count, const uint8_t *results) {
    fold_rows(p, "from", count, results);
    clear_rest(p, count, results);
    cu_line(p, "__syncthreads();");
    p->g = walk;
    cu_line(p, "for (%s l = threadIdx.x%s; l < %s; l += %u) {", cu_int(p),
            walk->vector ? " * 4" : "", number(p, walk->lanes), walk->threads * walk->items);
    cu_open(p);
    declare_columns(p);
    walk_rows(p, "from", count, results);
    cu_end_columns(p);
    cu_close(p);
}

static void rows_in_batches(Cu *p, const CuGeometry *walk, const char *count,
                            const uint8_t *results) {
    const CuGeometry *fold = p->g;
    const char *type = cu_int(p), *lanes = number(p, walk->lanes);
    cu_line(p, "const %s l = threadIdx.x%s;", type, walk->vector ? " * 4" : "");
    p->g = walk;
    declare_columns(p);
    p->g = fold;
    cu_line(p, "for (%s base = 0; base < %s; base += %u) {", type, count, fold->batch);
    cu_open(p);
    cu_line(p, "const %s start = from + base, more = %s - base;", type, count);
    cu_line(p, "const %s rows = more < %u ? more : %u;", type, fold->batch, fold->batch);
    fold_rows(p, "start", "rows", results);
    clear_rest(p, "rows", results);
    cu_line(p, "__syncthreads();");
    p->g = walk;
    cu_line(p, "if (l < %s) {", lanes);
    cu_open(p);
    walk_rows(p, "start", "rows", results);
    cu_close(p);
    cu_line(p, "__syncthreads();");
    cu_close(p);
    cu_line(p, "if (l < %s) {", lanes);
    cu_open(p);
    cu_end_columns(p);
    cu_close(p);
}

void cu_chunk_rows(Cu *p) {
    const CuGeometry *fold = p->g;
    bool batches = fold->batch < p->k->grain && fold->batch < fold->walked;
    uint8_t *results = NEW_ARRAY(p->a, uint8_t, p->k->ops.n + 1);
    CuGeometry walk = *fold;
    walk.shape = CU_WALK;
    walk.vector = fold->vector && (batches ? fold->lanes > fold->threads
                                           : fold->lanes >= 4 * (int64_t)fold->threads);
    walk.items = walk.vector ? 4 : 1;
    walk.step = 1;
    cu_row_results(p->k, results);
    cu_team_threads(p);
    cu_line(p, "const %s task = blockIdx.x;", cu_int(p));
    const char *count = cu_task_rows(p);
    cu_declare_end(p);
    declare_results(p, results);
    (batches ? rows_in_batches : all_rows)(p, &walk, count, results);
    p->g = fold;
}

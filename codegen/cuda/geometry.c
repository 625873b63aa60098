// Which shape a kernel gets, from its order, folds and extents alone.
//
//   rows, no row folds     CU_MAP     a unit per thread, 256 threads, one grid dimension
//                          CU_TURN    where that walks memory across the lanes: turn.c
//   rows, row folds        CU_WARPS   up to 1024 lanes, and longer rows of one sweep when there are
//                                     enough rows: 1 to 32 threads a row
//                          CU_BLOCK   else: 4 warps share a segment of 4096 lanes; with up to 16
//                                     segments 2, beyond 1 warp takes whole segments in turn
//   chunks, no row folds   CU_WALK    a unit per thread and task
//   chunks, row folds      CU_CHUNK   a block per task
//                          CU_STAGE   where that gives too few threads: a block per task and tile
//   lanes                  CU_WALK, or CU_SCATTER when one row-level index decides the place
//
// A unit has 4 neighbouring lanes when at least as many accesses gain from 16-byte access as lose by it.
#include "codegen/cuda/geometry.h"
#include <string.h>

enum {
    SHARED_BYTES = 40960, // of a block; every device has 48 KiB
    MAP_THREADS = 256,
    TEAM_THREADS = 128,
    WARP_LANES = 1024, // longest row that a warp folds and may hold
    FEW_ROWS = 256,    // fewer rows than this: a block for each, to be done sooner
    MANY_ROWS = 1024,  // as many fill a device with a warp each
    MAX_WARPS = 32,    // of a block
    LONE_WARPS = 16,   // of a block in which a warp takes whole segments
    CHUNK_THREADS = 512,
    FEW_WALKERS = 32768, // fewer threads than this: rows side by side
    MANY_COLUMNS = 8,    // more accumulators than this: one lane a thread
    STAGE_THREADS = 256,
    STAGE_LANES = 128,   // of a tile
    STAGE_BYTES = 32768, // of shared memory
    CHUNK_BYTES = 32768,
    SCATTER_BLOCKS = 256,
    WIDE_WALKERS = 65536 // as many threads are wanted before they take four lanes each
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- 32 or 64 bits

// The sum of the magnitudes of an index' terms, without the computed one, stays below the limit.
static bool index_fits(const Kernel *k, const KIndex *x, int64_t limit) {
    int64_t sum = x->base < 0 ? -x->base : x->base;
    for (uint32_t i = 0; i <= k->outers; i++)
        sum += (x->stride[i] < 0 ? -x->stride[i] : x->stride[i]) * k->extent[i];
    return sum < limit && (x->op == NONE || (x->op_stride < limit && x->op_stride > -limit));
}

static bool fits_32(const Kernel *k) {
    int64_t slack = 1 << 20, limit = INT32_MAX - slack,
            elements = kernel_points(k, 0, k->outers + 1);
    if (elements >= limit) return false;
    for (uint32_t i = 0; i < k->args.n; i++) {
        if (k->args.at[i].count >= limit) return false;
        if (k->args.at[i].count > slack) slack = k->args.at[i].count;
    }
    limit =
        INT32_MAX - slack; // a computed term is at most an argument's count away from the others
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        bool indexed = o->kind == KOP_load || o->kind == KOP_random;
        if (indexed && !index_fits(k, &o->index, o->index.op == NONE ? INT32_MAX : limit))
            return false;
    }
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (!index_fits(k, &k->stores.at[i].index, limit)) return false;
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (k->folds.at[i].column && !index_fits(k, &k->folds.at[i].index, limit)) return false;
    return true;
}

// ---- units

bool cu_vectorises(const Kernel *k, const KIndex *x, KId mask) {
    if (x->stride[k->outers] != 1 || x->base % 4 != 0) return false;
    if (mask != NONE && k->ops.at[mask].lane) return false;
    for (uint32_t i = 0; i < k->outers; i++)
        if (k->extent[i] > 1 && x->stride[i] % 4 != 0) return false;
    return x->op == NONE || (!k->ops.at[x->op].lane && x->op_stride % 4 == 0);
}

// Counts the accesses to neighbouring lanes: those that can be 16 bytes, and those that cannot.
static void count_accesses(const Kernel *k, uint32_t *gain, uint32_t *lose) {
    *gain = *lose = 0;
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (o->kind != KOP_load || !o->lane) continue;
        *(cu_vectorises(k, &o->index, o->mask) ? gain : lose) += 1;
    }
    for (uint32_t i = 0; i < k->stores.n; i++) {
        const KStore *s = &k->stores.at[i];
        if (!s->lane) continue;
        *(cu_vectorises(k, &s->index, s->mask) ? gain : lose) += 1;
    }
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (k->folds.at[i].column)
            *(cu_vectorises(k, &k->folds.at[i].index, NONE) ? gain : lose) += 1;
}

static bool wants_vectors(const Kernel *k) {
    if (k->extent[k->outers] % 4 != 0 || k->flat % 4 != 0) return false;
    uint32_t gain, lose;
    count_accesses(k, &gain, &lose);
    return gain > 0 && gain >= lose;
}

static void set_unit(CuGeometry *g, bool vector) {
    g->vector = vector;
    g->items = vector ? 4 : 1;
    g->step = 1;
}

// ---- shapes

static void map_shape(const Kernel *k, CuGeometry *g) {
    g->shape = CU_MAP;
    set_unit(g, wants_vectors(k));
    g->row_units = g->lanes / g->items;
    g->threads = MAP_THREADS;
    g->blocks[0] = sn_ceil_div(g->rows * g->row_units, g->threads);
}

static uint32_t power_of_two(int64_t n) {
    uint32_t p = 1;
    while (p < 32 && p < n) p *= 2;
    return p;
}

// Values that stay in registers between phases.
static void warps_shape(const Kernel *k, CuGeometry *g) {
    g->shape = CU_WARPS;
    set_unit(g, wants_vectors(k));
    if (!g->vector && g->lanes > 32) {
        g->items = (uint32_t)least(4, sn_ceil_div(g->lanes, 32));
        g->step = 32;
    }
    g->team = power_of_two(sn_ceil_div(g->lanes, g->items));
    g->width = g->team * g->items;
    g->units = (uint32_t)sn_ceil_div(least(g->lanes, FOLD_SEGMENT), g->width);
    g->held = 64;
    g->threads = TEAM_THREADS;
    uint32_t teams = g->threads / g->team;
    g->blocks[0] = sn_ceil_div(g->rows, teams);
    g->exact = g->rows % teams == 0;
}

static void block_shape(const Kernel *k, CuGeometry *g) {
    g->shape = CU_BLOCK;
    g->parts = g->segments <= 8 ? 4 : g->segments <= 16 ? 2 : 1;
    g->shared = g->segments * (FOLD_LANES + 1) * 4 * k->folds.n;
    if (g->parts > 1 && g->shared > SHARED_BYTES) g->parts = 1;
    if (g->parts == 1) g->shared = g->segments * 4 * k->folds.n;
    set_unit(g, false);
    g->items = 4 / g->parts;
    g->step = g->items == 1 ? 1 : 32 * g->parts;
    g->team = 32 * g->parts;
    g->width = FOLD_LANES;
    g->units = (uint32_t)sn_ceil_div(least(g->lanes, FOLD_SEGMENT), g->width);
    int64_t warps = g->parts > 1 ? g->parts * g->segments : least(g->segments, LONE_WARPS);
    g->threads = (uint32_t)warps * 32;
    g->held = g->parts == 1 ? 0 : g->threads <= 256 ? 64 : g->threads <= 512 ? 40 : 24;
    g->blocks[0] = g->rows;
    g->exact = true;
}

// Lanes are worked on in one phase only: nothing would be read twice.
static bool one_sweep(const Kernel *k) {
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (k->folds.at[i].phase > 0) return false;
    for (uint32_t i = 0; i < k->stores.n; i++) {
        const KStore *s = &k->stores.at[i];
        if (s->phase > 0 && s->lane) return false;
    }
    return true;
}

static void rows_shape(const Kernel *k, CuGeometry *g) {
    bool sooner = g->rows < FEW_ROWS && g->lanes >= 256;
    bool streams = one_sweep(k) && g->rows >= MANY_ROWS;
    if (g->segments == 1 && !sooner && (g->lanes <= WARP_LANES || streams))
        warps_shape(k, g);
    else
        block_shape(k, g);
}

static void walk_shape(const Kernel *k, CuGeometry *g) {
    int64_t tasks = k->order == KORDER_chunks ? kernel_points(k, 0, k->walk) * g->chunks : 1;
    g->shape = CU_WALK;
    bool many = tasks * g->lanes >= WIDE_WALKERS;
    set_unit(g, many && k->columns <= MANY_COLUMNS && wants_vectors(k));
    g->row_units = g->lanes / g->items;
    g->threads = 128;
    g->blocks[0] = sn_ceil_div(tasks * g->row_units, g->threads);
}

// Threads for the lanes of a row in as few rounds of the same size as the limit allows.
static uint32_t even_threads(int64_t lanes) {
    int64_t rounds = sn_ceil_div(lanes, CHUNK_THREADS);
    uint32_t threads = (uint32_t)sn_ceil_div(sn_ceil_div(lanes, rounds), 32) * 32;
    return threads < 128 ? 128 : threads;
}

uint32_t cu_row_results(const Kernel *k, uint8_t *set) {
    const KSweep lanes = {.to = k->phases, .columns = true, .stores = true, .lanes_only = true};
    uint32_t n = 0;
    memset(set, 0, k->ops.n);
    ksweep_want(k, &lanes, set);
    for (KId id = k->ops.n; id-- > 0;) {
        const KOp *o = &k->ops.at[id];
        if (set[id] && o->lane) kop_want_operands(o, set);
        if (o->lane || o->kind == KOP_const || o->kind == KOP_index) set[id] = 0;
        n += set[id];
    }
    return n;
}

static uint32_t count_row_results(const Kernel *k) {
    Arena *a = arena_new();
    uint32_t n = cu_row_results(k, NEW_ARRAY(a, uint8_t, k->ops.n + 1));
    arena_free(a);
    return n;
}

// All rows of a task at a time when their results fit; else in batches, which needs a thread for every
// unit of the row: it keeps its accumulators from batch to batch.
static bool chunk_shape(const Kernel *k, CuGeometry *g, Text *why) {
    uint32_t results = count_row_results(k);
    int64_t rows = least(k->grain, g->walked), fit = results ? CHUNK_BYTES / 4 / results : rows;
    warps_shape(k, g);
    g->shape = CU_CHUNK;
    g->exact = g->team == 32;
    g->threads = even_threads(g->lanes);
    g->held = g->segments > 1 ? 0 : g->threads <= 256 ? 64 : g->threads <= 384 ? 48 : 32;
    g->batch = (uint32_t)least(rows, fit);
    g->shared = (int64_t)g->batch * 4 * results;
    g->blocks[0] = kernel_points(k, 0, k->walk) * g->chunks;
    int64_t units = g->vector ? sn_ceil_div(g->lanes, 4) : g->lanes;
    if (g->batch > 0 && (rows == g->batch || units <= g->threads)) return true;
    text_printf(why, "%lld rows of %lld lanes in one chunk, with %u results each", (long long)rows,
                (long long)g->lanes, results);
    return false;
}

// Values of all rows of a batch lie in shared memory, twice: threads that compute are a batch ahead.
static void stage_shape(const Kernel *k, CuGeometry *g) {
    g->shape = CU_STAGE;
    set_unit(g, wants_vectors(k));
    g->width = (uint32_t)least(g->lanes, STAGE_LANES);
    g->team = (uint32_t)sn_ceil_div(g->width, g->items);
    g->threads = STAGE_THREADS;
    uint32_t rows = g->threads / g->team, row_bytes = 2 * 4 * g->width * k->columns;
    g->batch = rows;
    while (g->batch < 4 * rows && (g->batch + rows) * row_bytes <= STAGE_BYTES) g->batch += rows;
    g->shared = g->batch * row_bytes;
    g->tiles = sn_ceil_div(g->lanes, g->width);
    g->blocks[0] = kernel_points(k, 0, k->walk) * g->chunks * g->tiles;
}

static bool chunks_shape(const Kernel *k, CuGeometry *g, Text *why) {
    bool few = kernel_points(k, 0, k->walk) * g->chunks * g->lanes < FEW_WALKERS;
    if (kernel_folds_rows(k)) return chunk_shape(k, g, why);
    if (few && least(k->grain, g->walked) >= 32) stage_shape(k, g);
    if (g->shape == CU_STAGE && g->shared <= SHARED_BYTES) return true;
    g->shared = 0;
    walk_shape(k, g);
    return true;
}

// Whether one row-level index decides the place: the stores' index, and every access of that argument
// is there. Places of different values do not meet.
static bool scatters(const Kernel *k, const CuGeometry *g) {
    if (k->stores.n == 0 || k->folds.n || k->phases != 1) return false;
    const KIndex *x = &k->stores.at[0].index;
    uint32_t arg = k->stores.at[0].arg;
    if (x->op == NONE || k->ops.at[x->op].lane || x->stride[k->outers] != 1) return false;
    if (x->op_stride < g->lanes) return false;
    for (uint32_t i = 0; i < k->outers; i++)
        if (x->stride[i]) return false;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (k->stores.at[i].arg != arg || memcmp(&k->stores.at[i].index, x, sizeof *x))
            return false;
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (o->kind == KOP_load && o->arg == arg && memcmp(&o->index, x, sizeof *x)) return false;
    }
    return true;
}

static void scatter_shape(const Kernel *k, CuGeometry *g) {
    g->shape = CU_SCATTER;
    set_unit(g, wants_vectors(k));
    int64_t units = g->lanes / g->items;
    g->threads = units <= 64 ? 64 : units <= 128 ? 128 : 256;
    g->blocks[0] = least(g->rows, SCATTER_BLOCKS);
    g->blocks[1] = sn_ceil_div(units, g->threads);
}

bool cu_geometry(const Kernel *k, CuGeometry *g, Text *why) {
    *g = (CuGeometry){.wide = !fits_32(k), .lanes = k->extent[k->outers], .blocks = {0, 1}};
    g->rows = kernel_points(k, 0, k->outers);
    g->segments = sn_ceil_div(g->lanes, FOLD_SEGMENT);
    if (g->lanes == 0 || g->rows == 0) {
        text_printf(why, "a kernel over no elements");
        return false;
    }
    if (k->order == KORDER_chunks) {
        g->walked = kernel_points(k, k->walk, k->outers);
        g->chunks = sn_ceil_div(g->walked, k->grain);
    }
    switch ((KOrder)k->order) {
    case KORDER_rows:
        if (kernel_folds_rows(k))
            rows_shape(k, g);
        else if (!cu_turn_shape(k, g))
            map_shape(k, g);
        break;
    case KORDER_chunks:
        if (!chunks_shape(k, g, why)) return false;
        break;
    case KORDER_lanes: (scatters(k, g) ? scatter_shape : walk_shape)(k, g); break;
    case KORDER_tile: text_printf(why, "an epilogue is no kernel of its own"); return false;
    case KORDER_strip: text_printf(why, "strips are computed on the CPU only"); return false;
    case KORDER_COUNT: unreachable(k->order);
    }
    if (g->shared > SHARED_BYTES) {
        text_printf(why, "results of row folds that need %lld bytes of shared memory",
                    (long long)g->shared);
        return false;
    }
    if (g->blocks[0] > INT32_MAX || g->blocks[1] > 65535) {
        text_printf(why, "%lld blocks of threads: more than a grid has", (long long)g->blocks[0]);
        return false;
    }
    return true;
}

// Kernels over independent rows.
//
//   map    thread g: unit g mod (units of a row) of row g / (units of a row)
//   rows   a team of threads folds a row: a team within a warp, or a block
//
// A team sweeps the row once for each phase that has work for the lanes. In a team of 32 that loads four
// neighbours at a time, thread t owns lanes 4t .. 4t+3 of each 128, so accumulators 4t .. 4t+3 of
// docs/numerics.md; else it owns lanes t, t + 32, t + 64, t + 96. A block's thread owns fewer
// accumulators of one segment. Values that print_hold.c chose stay in registers: their sweeps are
// unrolled in full, so that the arrays h have constant indices.
//
// Rows are folded only by kernels whose outputs are no inputs (memplan.c), apart from a row's own
// stores: a team waits for all its threads before it makes them.
#include "codegen/cuda/print.h"

// A row's lanes may be fewer than the extent.
void cu_declare_end(Cu *p) {
    const Kernel *k = p->k;
    p->lane_end = cu_num(p, p->g->lanes);
    if (!k->flat) return;
    const char *lanes = p->lane_end;
    cu_line(p, "const %s rest = %s - i%u * %s;", cu_int(p), cu_num(p, k->flat), k->outers - 1,
            lanes);
    cu_line(p, "const %s end = rest < %s ? rest : %s;", cu_int(p), lanes, lanes);
    p->lane_end = "end";
}

// ---- maps

void cu_map(Cu *p) {
    const CuGeometry *g = p->g;
    const char *word = g->wide ? "u64" : "u32", *suffix = g->wide ? "ull" : "u";
    KSweep all = {.to = p->k->phases, .stores = true};
    cu_line(p, "const %s g = (%s)blockIdx.x * %u + threadIdx.x;", word, word, g->threads);
    if (g->rows * g->row_units % g->threads)
        cu_line(p, "if (g >= %lld%s) return;", (long long)(g->rows * g->row_units), suffix);
    cu_line(p, "const %s r = (%s)(g / %lld%s);", cu_int(p), cu_int(p), (long long)g->row_units,
            suffix);
    cu_line(p, "const %s l = (%s)(g %% %lld%s)%s;", cu_int(p), cu_int(p), (long long)g->row_units,
            suffix, g->vector ? " * 4" : "");
    cu_decode(p, "r", 0, p->k->outers);
    cu_declare_end(p);
    if (p->k->flat) cu_line(p, "if (l >= end) return;");
    cu_want(p, &all);
    cu_row_ops(p);
    if (ksweep_lanes(p->k, &all)) cu_unit(p, &all, GUARD_NONE);
    p->row_lead = "l == 0";
    cu_row_stores(p, &all);
}

// ---- sweeps of a team

static bool touches_held(const Cu *p) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (p->need[id] && p->k->ops.at[id].lane && (p->holds[id] || p->there[id])) return true;
    return false;
}

static void declare_held(Cu *p) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (p->need[id] && p->holds[id] && !p->there[id])
            cu_line(p, "%s h%u[%u][%u];", cu_register_type((Elem)p->k->ops.at[id].to), id,
                    p->g->units, p->g->items);
}

static void declare_unit(Cu *p) {
    cu_line(p, "const %s l = %s%s%su * %u + t%s;", cu_int(p), p->lane_begin ? p->lane_begin : "",
            p->lane_begin ? " + " : "", p->g->wide ? "(i64)" : "", p->g->width,
            p->g->vector ? " * 4" : "");
}

static void guarded_unit(Cu *p, const KSweep *s, bool guard) {
    declare_unit(p);
    if (guard && p->g->vector) {
        cu_line(p, "if (%sl < %s) {", p->guard_free, p->lane_end);
        cu_open(p);
        cu_unit(p, s, GUARD_UNIT);
        cu_close(p);
    } else {
        cu_unit(p, s, guard ? GUARD_LANE : GUARD_NONE);
    }
}

// Reads in flight hide latency: more units at once where each reads little.
static uint32_t unroll_of(const Cu *p) {
    uint32_t loads = 0;
    for (KId id = 0; id < p->k->ops.n; id++)
        loads += p->need[id] && p->k->ops.at[id].lane && p->k->ops.at[id].kind == KOP_load;
    uint32_t each = loads * (p->g->vector ? 2 : p->g->items);
    return each >= 8 ? 1 : each >= 4 ? 2 : each >= 2 ? 4 : 8;
}

// Every unit, full or not, unrolled: what is held has constant indices.
static void unrolled_units(Cu *p, const KSweep *s, int64_t full, bool guard) {
    cu_line(p, "#pragma unroll");
    cu_line(p, "for (int u = 0; u < %u; u++) {", p->g->units);
    cu_open(p);
    if (guard && full > 0) p->guard_free = arena_printf(p->a, "u < %lld || ", (long long)full);
    guarded_unit(p, s, guard);
    p->guard_free = "";
    cu_close(p);
}

static void rolled_units(Cu *p, const KSweep *s, const char *full, bool guard) {
    cu_line(p, "#pragma unroll %u", unroll_of(p));
    cu_line(p, "for (int u = 0; u < %s; u++) {", full);
    cu_open(p);
    guarded_unit(p, s, false);
    cu_close(p);
    if (!guard) return;
    cu_line(p, "{");
    cu_open(p);
    cu_line(p, "const int u = %s;", full);
    guarded_unit(p, s, true);
    cu_close(p);
}

static void sweep_units(Cu *p, const KSweep *s) {
    const CuGeometry *g = p->g;
    bool fixed = !p->k->flat && g->segments == 1;
    int64_t full = fixed ? g->lanes / g->width : 0;
    bool guard = !fixed || g->lanes % g->width;
    if (touches_held(p) || g->units == 1) {
        unrolled_units(p, s, full, guard);
        return;
    }
    const char *count = arena_printf(p->a, "%lld", (long long)full);
    if (!fixed) {
        count = arena_printf(p->a, "n%u", p->temps++);
        cu_line(p, "const int %s = (int)((%s%s%s) / %u);", count, p->lane_end,
                p->lane_begin ? " - " : "", p->lane_begin ? p->lane_begin : "", g->width);
    }
    rolled_units(p, s, count, guard);
}

// A team that takes several segments takes one after the other.
static bool loops_segments(const Cu *p) { return p->g->segments > 1 && p->g->parts <= 1; }

void cu_segment_range(Cu *p) {
    const char *type = cu_int(p), *whole = p->lane_end;
    cu_line(p, "const %s lo = (%s)seg * %d, cut = lo + %d;", type, type, FOLD_SEGMENT,
            FOLD_SEGMENT);
    cu_line(p, "const %s hi = cut < %s ? cut : %s;", type, whole, whole);
    p->lane_begin = "lo";
    p->lane_end = "hi";
}

static void sweep_segments(Cu *p, const KSweep *s) {
    const char *whole = p->lane_end;
    bool block = p->g->shape == CU_BLOCK;
    cu_folds_total(p, s);
    cu_line(p, "for (int seg = %s; seg < %lld; seg += %u) {", block ? "warp" : "0",
            (long long)p->g->segments, block ? p->g->threads / 32 : 1);
    cu_open(p);
    cu_segment_range(p);
    cu_folds_begin(p, s);
    sweep_units(p, s);
    cu_folds_segment(p, s);
    cu_close(p);
    p->lane_begin = NULL;
    p->lane_end = whole;
}

static void sweep_lanes(Cu *p, const KSweep *s) {
    cu_line(p, "// phase %u", s->from);
    declare_held(p);
    if (loops_segments(p)) {
        sweep_segments(p, s);
    } else {
        cu_folds_begin(p, s);
        sweep_units(p, s);
    }
    cu_folds_end(p, s);
}

static void mark_held(Cu *p) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (p->need[id] && p->holds[id]) p->there[id] = 1;
}

static bool stores_rows(const Cu *p, const KSweep *s) {
    for (uint32_t i = 0; i < p->k->stores.n; i++)
        if (!p->k->stores.at[i].lane && ksweep_stores(s, &p->k->stores.at[i])) return true;
    return false;
}

static void team_wait(Cu *p) {
    if (p->g->shape == CU_BLOCK)
        cu_line(p, "__syncthreads();");
    else if (p->g->team > 1)
        cu_line(p, "__syncwarp(mates);");
}

static void team_phase(Cu *p, const KSweep *s) {
    cu_want(p, s);
    cu_row_ops(p);
    if (ksweep_lanes(p->k, s)) {
        sweep_lanes(p, s);
        mark_held(p);
    }
    if (!stores_rows(p, s)) return;
    team_wait(p);
    cu_row_stores(p, s);
}

void cu_team_phases(Cu *p, bool stores) {
    for (uint32_t i = 0; i < p->k->phases; i++) {
        KSweep s = {.from = i, .to = i + 1, .row_folds = true, .stores = stores};
        team_phase(p, &s);
    }
}

void cu_team_threads(Cu *p) {
    const CuGeometry *g = p->g;
    if (g->team < 32 && !g->exact)
        cu_line(p, "const u32 mates = 0x%xu << (threadIdx.x %% 32 / %u * %u);", (1u << g->team) - 1,
                g->team, g->team);
    else
        cu_line(p, "const u32 mates = 0xffffffffu;");
    cu_line(p, "const int t = threadIdx.x %% %u;", g->team);
    cu_declare_folds(p);
}

static void warp_threads(Cu *p) {
    const CuGeometry *g = p->g;
    cu_team_threads(p);
    cu_line(p, "const %s r = (%s)blockIdx.x * %u + threadIdx.x / %u;", cu_int(p), cu_int(p),
            g->threads / g->team, g->team);
    if (!g->exact) cu_line(p, "if (r >= %s) return;", cu_num(p, g->rows));
    p->row_lead = "t == 0";
}

static void block_threads(Cu *p) {
    cu_team_threads(p);
    cu_line(p, "const int warp = threadIdx.x / 32;");
    cu_line(p, "const %s r = blockIdx.x;", cu_int(p));
    p->row_lead = "threadIdx.x == 0";
}

void cu_rows(Cu *p) {
    const CuGeometry *g = p->g;
    if (g->shape == CU_WARPS)
        warp_threads(p);
    else
        block_threads(p);
    cu_decode(p, "r", 0, p->k->outers);
    cu_declare_end(p);
    if (g->segments > 1 && g->parts > 1) {
        cu_line(p, "const int seg = threadIdx.x / %u;", g->team);
        cu_segment_range(p);
    }
    cu_choose_holds(p, true);
    cu_team_phases(p, true);
}

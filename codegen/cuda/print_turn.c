// Maps that go through shared memory: a block takes a tile of two axes. What is turned, and why, is said
// in turn.c.
//
// A tile, zx<op> or zy<store>, lies in shared memory as [along][other] in rows of 33, so that threads
// that take a column of it meet 32 banks. A thread has index `across` of one axis and `down`,
// `down + 8`, ... of the other; which is which changes with each barrier.
//
// An output may be the memory of an input, so the compiler moves no load before a store of an element
// that comes earlier. The loads that are not turned are therefore made for all elements of a thread, into
// x<op>[4], before anything is stored: they are in flight together, and with those that are turned.
#include "codegen/cuda/print.h"

enum { ELEMENTS = CU_TILE / CU_TILE_ROWS, MOST_LOADS = 8 }; // of a thread; so x are 32 registers

static bool turned_load(const Cu *p, KId id) {
    const KOp *o = &p->k->ops.at[id];
    return p->need[id] && o->kind == KOP_load && cu_turns(p->k, p->g, o->arg, &o->index, o->mask);
}

static bool direct_load(const Cu *p, KId id) {
    const KOp *o = &p->k->ops.at[id];
    return p->need[id] && o->lane && cu_is_staged(p, o) && !turned_load(p, id);
}

static bool turned_store(const Cu *p, uint32_t i) {
    const KStore *s = &p->k->stores.at[i];
    return cu_turns(p->k, p->g, s->arg, &s->index, s->mask);
}

static void declare_tile(Cu *p, const char *name, uint32_t number, uint32_t arg) {
    cu_line(p, "__shared__ %s %s%u[%d][%d];", cu_register_type((Elem)p->k->args.at[arg].elem), name,
            number, CU_TILE, CU_TILE + 1);
}

// ---- places

// Declares the origins of the tile, o and the number of the axis, and the axes of the grid.
static void declare_place(Cu *p) {
    const Kernel *k = p->k;
    const CuGeometry *g = p->g;
    const char *type = cu_int(p);
    uint32_t outer = g->along < g->other ? g->along : g->other; // the one that is not the lanes
    long long others = cu_tiles(k, g->other), tiles = others * cu_tiles(k, g->along), inner = 1;
    for (uint32_t i = outer + 1; i < k->outers; i++) inner *= k->extent[i];
    cu_line(p, "const %s o%u = (%s)(blockIdx.x %% %lldu) * %d;", type, g->other, type, others,
            CU_TILE);
    cu_line(p, "const %s o%u = (%s)(blockIdx.x / %lldu %% %lldu) * %d;", type, g->along, type,
            others, tiles / others, CU_TILE);
    cu_decode(p, arena_printf(p->a, "(blockIdx.x / %lldu)", tiles * inner), 0, outer);
    cu_decode(p, arena_printf(p->a, "(blockIdx.x / %lldu %% %lldu)", tiles, inner), outer + 1,
              k->outers);
    cu_line(p, "const int across = threadIdx.x %% %d, down = threadIdx.x / %d;", CU_TILE, CU_TILE);
}

static const char *axis_text(const Cu *p, uint32_t axis) {
    return axis == p->k->outers ? "l" : arena_printf(p->a, "i%u", axis);
}

static void skip_behind_end(Cu *p, uint32_t axis) {
    int64_t extent = p->k->extent[axis];
    if (extent % CU_TILE)
        cu_line(p, "if (%s >= %s) continue;", axis_text(p, axis), cu_num(p, extent));
}

// The loop over a thread's elements, neighbours of which are along the axis.
static void open_elements(Cu *p, uint32_t axis) {
    uint32_t down = axis == p->g->along ? p->g->other : p->g->along;
    cu_line(p, "#pragma unroll");
    cu_line(p, "for (int u = 0; u < %d; u++) {", ELEMENTS);
    cu_open(p);
    cu_line(p, "const int n = u * %d + down;", CU_TILE_ROWS);
    cu_line(p, "const %s %s = o%u + across, %s = o%u + n;", cu_int(p), axis_text(p, axis), axis,
            axis_text(p, down), down);
    skip_behind_end(p, axis);
    skip_behind_end(p, down);
}

static void close_elements(Cu *p) {
    cu_close(p);
    cu_forget_row(p);
}

// The values of the row that decide a place: the mask, and a computed index. Changes p->need.
static void place_ops(Cu *p, KId mask, KId op) {
    cu_want_op(p, mask);
    cu_row_ops(p);
    cu_want_op(p, op);
    cu_row_ops(p);
}

// ---- the parts

static void want_body(Cu *p) {
    const KSweep all = {.to = p->k->phases, .stores = true};
    cu_want(p, &all);
    kernel_close(p->k, p->need, p->there);
}

typedef struct {
    KId load[MOST_LOADS];
    const char *to[MOST_LOADS]; // where the thread leaves it
    uint32_t n;
} Preload;

// False: more loads than are read ahead.
static bool loads_ahead(const Cu *p, bool (*is)(const Cu *, KId), Preload *to) {
    to->n = 0;
    for (KId id = 0; id < p->k->ops.n; id++) {
        if (!is(p, id)) continue;
        if (to->n == MOST_LOADS) return false;
        to->load[to->n++] = id;
    }
    return true;
}

static void read_ahead(Cu *p, const Preload *all, uint32_t axis) {
    if (all->n == 0) return;
    open_elements(p, axis);
    for (uint32_t i = 0; i < all->n; i++) {
        const KOp *o = &p->k->ops.at[all->load[i]];
        place_ops(p, o->mask, o->index.op);
        cu_line(p, "%s = %s;", all->to[i], cu_load(p, o, "l").text);
    }
    close_elements(p);
}

static void read_direct(Cu *p) {
    Preload all;
    want_body(p);
    if (!loads_ahead(p, direct_load, &all)) return;
    for (uint32_t i = 0; i < all.n; i++) {
        KId id = all.load[i];
        cu_line(p, "%s x%u[%d];", cu_register_type((Elem)p->k->ops.at[id].to), id, ELEMENTS);
        all.to[i] = p->waits[id] = arena_printf(p->a, "x%u[u]", id);
    }
    read_ahead(p, &all, p->g->along);
}

static void read_turned(Cu *p) {
    Preload all;
    want_body(p);
    CHECK(loads_ahead(p, turned_load, &all), "%s: %u tiles", p->k->name, p->g->batch);
    for (uint32_t i = 0; i < all.n; i++) {
        KId id = all.load[i];
        declare_tile(p, "zx", id, p->k->ops.at[id].arg);
        all.to[i] = arena_printf(p->a, "zx%u[n][across]", id);
        p->waits[id] = arena_printf(p->a, "zx%u[across][n]", id);
    }
    read_ahead(p, &all, p->g->other);
    if (all.n) cu_line(p, "__syncthreads();");
}

static uint32_t declare_results(Cu *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->k->stores.n; i++) {
        if (!turned_store(p, i)) continue;
        declare_tile(p, "zy", i, p->k->stores.at[i].arg);
        n++;
    }
    return n;
}

static void compute(Cu *p) {
    const KSweep all = {.to = p->k->phases, .stores = true};
    want_body(p);
    open_elements(p, p->g->along);
    cu_row_ops(p);
    cu_unit(p, &all, GUARD_NONE);
    close_elements(p);
}

static void write_turned(Cu *p) {
    cu_line(p, "__syncthreads();");
    open_elements(p, p->g->other);
    for (uint32_t i = 0; i < p->k->stores.n; i++) {
        const KStore *s = &p->k->stores.at[i];
        if (!turned_store(p, i)) continue;
        place_ops(p, s->mask, s->index.op);
        cu_store_value(p, s, "l", arena_printf(p->a, "zy%u[n][across]", i));
    }
    close_elements(p);
}

void cu_turn(Cu *p) {
    declare_place(p);
    read_direct(p);
    read_turned(p);
    uint32_t results = declare_results(p);
    compute(p);
    if (results) write_turned(p);
}

// Which maps go through shared memory (CU_TURN), and along which axis their threads are.
//
// A map gives neighbouring threads neighbouring lanes. An access that walks far along the lanes and by
// one along an outer axis, a transpose, then takes a sector of memory for every thread of a warp. Here
// a block owns a tile of both axes instead:
//
//          other                 turned loads    threads along `other`   memory -> tile
//        +-------+               barrier
//  along | tile  |               the map         threads along `along`   tile -> values -> tile
//        +-------+               barrier
//                                turned stores   threads along `other`   tile -> memory
//
// so that each access has its neighbours in one warp. Either axis may be `along`: what is adjacent
// along the other one is turned, and the choice is that of fewer bytes.
//
// All reads of an element come before its writes, so an output may be the memory of an input read at
// the same place. The order of other places of a tile is open: an argument that is read and written at
// different places refuses the shape.
//
// Accesses times axes.
#include "codegen/cuda/geometry.h"
#include <string.h>

enum {
    SECTOR = 32,       // bytes of memory that are moved together
    LEAST_EXTENT = 16, // of both axes: half a tile
    MOST_TILES = 8     // 33 KiB
};

typedef struct {
    uint32_t arg;
    const KIndex *index;
    KId mask;
} IndexedLoad;

static bool is_lane(const Kernel *k, KId id) { return id != NONE && k->ops.at[id].lane; }

static uint32_t access_count(const Kernel *k) { return k->ops.n + k->stores.n; }

// Access number i: loads by op, then stores. False: that op is no load.
static bool access_at(const Kernel *k, uint32_t i, IndexedLoad *to) {
    if (i >= k->ops.n) {
        const KStore *s = &k->stores.at[i - k->ops.n];
        *to = (IndexedLoad){s->arg, &s->index, s->mask};
        return true;
    }
    const KOp *o = &k->ops.at[i];
    *to = (IndexedLoad){o->arg, &o->index, o->mask};
    return o->kind == KOP_load;
}

static int64_t bytes_of(const Kernel *k, uint32_t arg) {
    return elem_info[k->args.at[arg].elem].bytes;
}

// Bytes that are moved for one element when neighbouring threads are neighbours along the axis. A
// computed index of the row may differ between rows.
static int64_t moved(const Kernel *k, const IndexedLoad *x, uint32_t axis) {
    int64_t stride = x->index->stride[axis], step = stride < 0 ? -stride : stride;
    KId op = x->index->op;
    if (op != NONE && (axis != k->outers || k->ops.at[op].lane)) return SECTOR;
    return step < SECTOR / bytes_of(k, x->arg) ? step * bytes_of(k, x->arg) : SECTOR;
}

static bool turns(const Kernel *k, const IndexedLoad *x, uint32_t along, uint32_t other) {
    if (is_lane(k, x->mask) || is_lane(k, x->index->op)) return false;
    return moved(k, x, along) == SECTOR && moved(k, x, other) == bytes_of(k, x->arg);
}

bool cu_turns(const Kernel *k, const CuGeometry *g, uint32_t arg, const KIndex *x, KId mask) {
    const IndexedLoad access = {arg, x, mask};
    return g->shape == CU_TURN && turns(k, &access, g->along, g->other);
}

// Bytes for an element of the tile; a turned access goes through shared memory as well.
static int64_t cost(const Kernel *k, uint32_t along, uint32_t other) {
    int64_t sum = 0;
    IndexedLoad x;
    for (uint32_t i = 0; i < access_count(k); i++)
        if (access_at(k, i, &x))
            sum += turns(k, &x, along, other) ? 2 * bytes_of(k, x.arg) : moved(k, &x, along);
    return sum;
}

// Of a map without tiles.
static int64_t straight_cost(const Kernel *k) {
    int64_t sum = 0;
    IndexedLoad x;
    for (uint32_t i = 0; i < access_count(k); i++)
        if (access_at(k, i, &x)) sum += moved(k, &x, k->outers);
    return sum;
}

// What is read of an argument that is written is read where it is written.
static bool reads_where_it_writes(const Kernel *k, const KStore *s) {
    IndexedLoad x;
    for (uint32_t i = 0; i < access_count(k); i++)
        if (access_at(k, i, &x) && x.arg == s->arg && memcmp(x.index, &s->index, sizeof s->index))
            return false;
    return true;
}

static bool may_turn(const Kernel *k) {
    if (k->flat || k->extent[k->outers] < LEAST_EXTENT) return false;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (!k->stores.at[i].lane || !reads_where_it_writes(k, &k->stores.at[i])) return false;
    return true;
}

// The axes of the cheapest tile; false when every one moves more than half of what the map does.
static bool choose_axes(const Kernel *k, CuGeometry *g) {
    int64_t best = straight_cost(k) / 2 + 1;
    uint32_t lane = k->outers;
    for (uint32_t i = 0; i < k->outers; i++) {
        if (k->extent[i] < LEAST_EXTENT) continue;
        const uint32_t pairs[2][2] = {{lane, i}, {i, lane}};
        for (uint32_t j = 0; j < 2; j++) {
            int64_t sum = cost(k, pairs[j][0], pairs[j][1]);
            if (sum >= best) continue;
            best = sum;
            g->shape = CU_TURN;
            g->along = pairs[j][0];
            g->other = pairs[j][1];
        }
    }
    return g->shape == CU_TURN;
}

static void count_tiles(const Kernel *k, CuGeometry *g) {
    IndexedLoad x;
    for (uint32_t i = 0; i < access_count(k); i++) {
        if (!access_at(k, i, &x) || !turns(k, &x, g->along, g->other)) continue;
        g->batch++;
        g->shared += CU_TILE * (CU_TILE + 1) * bytes_of(k, x.arg);
    }
}

bool cu_turn_shape(const Kernel *k, CuGeometry *g) {
    CuGeometry turned = *g;
    if (!may_turn(k) || !choose_axes(k, &turned)) return false;
    count_tiles(k, &turned);
    if (turned.batch > MOST_TILES) return false;
    turned.items = turned.step = 1;
    turned.threads = CU_TILE * CU_TILE_ROWS;
    turned.blocks[0] = g->rows * g->lanes / k->extent[turned.along] / k->extent[turned.other];
    turned.blocks[0] *= cu_tiles(k, turned.along) * cu_tiles(k, turned.other);
    *g = turned;
    return true;
}

int64_t cu_tiles(const Kernel *k, uint32_t axis) { return sn_ceil_div(k->extent[axis], CU_TILE); }

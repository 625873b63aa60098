// Column folds of few lanes and many rows: a thread per lane would leave the device idle. A block takes
// a tile of lanes of a task. Its threads compute the values of a batch of rows side by side and leave
// them in shared memory; a thread for each lane folds them, rows in order, while the others are at
// the next batch (so there are two buffers, and one barrier a batch).
//
// What is added by one thread is the same chain as in print_walk.c, so the bits are.
#include "codegen/cuda/print.h"
#include <string.h>

static void declare_stage(Cu *p) {
    const CuGeometry *g = p->g;
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        const char *type = cu_register_type(kfold_elem(p->k, f));
        cu_line(p, "__shared__ %s z%u[2][%u][%u];", type, f, g->batch, g->width);
        cu_line(p, "%s c%u[1] = {%s};", type, f, cu_identity(p, f).text);
    }
}

// The values of the thread's rows of the batch.
static void compute_batch(Cu *p, const char *count) {
    const CuGeometry *g = p->g;
    uint32_t rows = g->threads / g->team;
    bool ragged = g->lanes % g->width != 0;
    cu_line(p, "#pragma unroll %u", g->batch / rows);
    cu_line(p, "for (int b = threadIdx.x / %u; b < %u; b += %u) {", g->team, g->batch, rows);
    cu_open(p);
    if (g->threads % g->team) cu_line(p, "if (threadIdx.x >= %u) break;", rows * g->team);
    cu_line(p, "const %s n = base + b;", cu_int(p));
    cu_line(p, "if (n >= %s%s%s) break;", count, ragged ? " || l >= " : "",
            ragged ? cu_num(p, g->lanes) : "");
    cu_line(p, "const %s r = from + n;", cu_int(p));
    cu_decode(p, "r", p->k->walk, p->k->outers);
    p->staged = true;
    cu_walk_row(p, true);
    p->staged = false;
    cu_close(p);
}

// Opens what the threads with a lane of the tile do.
static void own_lane(Cu *p) {
    const CuGeometry *g = p->g;
    const char *ragged =
        arena_printf(p->a, " && tile * %u + threadIdx.x < %s", g->width, cu_num(p, g->lanes));
    cu_line(p, "if (threadIdx.x < %u%s) {", g->width, g->lanes % g->width ? ragged : "");
    cu_open(p);
}

static void fold_batch(Cu *p, const char *count) {
    const CuGeometry *g = p->g;
    own_lane(p);
    cu_line(p, "const int rows = %s - base < %u ? (int)(%s - base) : %u;", count, g->batch, count,
            g->batch);
    cu_line(p, "#pragma unroll 8");
    cu_line(p, "for (int b = 0; b < rows; b++) {");
    cu_open(p);
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        Elem e = kfold_elem(p->k, f);
        CuVal acc = {arena_printf(p->a, "c%u[0]", f), e};
        CuVal x = {arena_printf(p->a, "z%u[side][b][threadIdx.x]", f), e};
        cu_line(p, "%s = %s;", acc.text, cu_fold_step(p, f, acc, x).text);
    }
    cu_close(p);
    cu_close(p);
}

void cu_stage(Cu *p) {
    const CuGeometry *g = p->g;
    const char *type = cu_int(p);
    cu_line(p, "const %s task = blockIdx.x / %lldu, tile = blockIdx.x %% %lldu;", type,
            (long long)g->tiles, (long long)g->tiles);
    const char *count = cu_task_rows(p);
    cu_line(p, "const int lane = threadIdx.x %% %u%s;", g->team, g->vector ? " * 4" : "");
    cu_line(p, "const %s l = tile * %u + lane;", type, g->width);
    declare_stage(p);
    cu_line(p, "int side = 0;");
    cu_line(p, "for (%s base = 0; base < %s; base += %u, side ^= 1) {", type, count, g->batch);
    cu_open(p);
    compute_batch(p, count);
    cu_line(p, "__syncthreads();");
    fold_batch(p, count);
    cu_close(p);
    CuGeometry one = *g; // a lane each
    one.vector = false;
    one.items = 1;
    p->g = &one;
    own_lane(p);
    cu_line(p, "const %s l = tile * %u + threadIdx.x;", type, g->width);
    cu_end_columns(p);
    cu_close(p);
    p->g = g;
}

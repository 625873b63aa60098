// Scatters in which one row-level index v decides the place (gradients of embeddings): every access
// of the output is at base + v * stride + lane, and different v never meet.
//
// Block (x, y) owns the places with v mod (blocks in x) == x, in the lanes of tile y. It looks through
// the index values of all rows, 4 * threads at a time, lists those that are its own in increasing order
// of rows, and a thread adds the listed rows to its lanes one after the other. So each place has one
// writer that takes its rows in order: the bits of docs/numerics.md without atomics. A stable sort
// of the index values by v would list the same rows in the same order; looking through them costs every
// block one read of the index, a few percent of what the rows themselves cost, needs no memory, no
// further kernel, and no bound on v.
//
// Reads index values: blocks times rows, from the cache; everything else once.
#include "codegen/cuda/print.h"

enum { VOTES = 4 }; // as in template/scatter.cuh

static KId index_op(const Cu *p) { return p->k->stores.at[0].index.op; }

// Prints which rows of [base, base + VOTES * threads) are this block's, as votes of each warp.
static void vote(Cu *p) {
    const CuGeometry *g = p->g;
    const char *type = cu_int(p);
    cu_line(p, "u32 votes[%d];", VOTES);
    cu_line(p, "int mine = 0;");
    cu_line(p, "#pragma unroll");
    cu_line(p, "for (int b = 0; b < %d; b++) {", VOTES);
    cu_open(p);
    cu_line(p, "const %s r = base + warp * %d + b * 32 + t;", type, VOTES * 32);
    cu_line(p, "bool take = false;");
    cu_line(p, "if (r < %s) {", cu_num(p, g->rows));
    cu_open(p);
    cu_decode(p, "r", 0, p->k->outers);
    cu_want_op(p, index_op(p));
    cu_row_ops(p);
    cu_line(p, "take = %s %% %lldu == blockIdx.x;", cu_at(p, index_op(p)).text,
            (long long)g->blocks[0]);
    cu_forget_row(p);
    cu_close(p);
    cu_line(p, "votes[b] = __ballot_sync(0xffffffffu, take);");
    cu_line(p, "mine += __popc(votes[b]);");
    cu_close(p);
}

void cu_scatter(Cu *p) {
    const CuGeometry *g = p->g;
    const char *type = cu_int(p);
    uint32_t step = VOTES * g->threads;
    cu_line(p, "__shared__ int counts[%u];", g->threads / 32);
    cu_line(p, "__shared__ int list[%u];", step);
    cu_line(p, "const int warp = threadIdx.x / 32, t = threadIdx.x %% 32;");
    cu_line(p, "const %s l = ((%s)blockIdx.y * %u + threadIdx.x)%s;", type, type, g->threads,
            g->vector ? " * 4" : "");
    cu_line(p, "for (%s base = 0; base < %s; base += %u) {", type, cu_num(p, g->rows), step);
    cu_open(p);
    vote(p);
    cu_line(p, "const int total = list_owned<%u>(votes, mine, warp, t, counts, list);",
            g->threads / 32);
    cu_line(p, "if (l >= %s) continue;", cu_num(p, g->lanes));
    cu_line(p, "for (int n = 0; n < total; n++) {");
    cu_open(p);
    cu_line(p, "const %s r = base + list[n];", type);
    cu_decode(p, "r", 0, p->k->outers);
    cu_walk_row(p, true);
    cu_close(p);
    cu_close(p);
}

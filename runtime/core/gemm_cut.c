// How a product is cut: which operands are packed once for all tasks, which block of C a task computes,
// whether the segments of a long k are tasks of their own, and where everything lies in the workspace.
//
// Apart from running (gemm.c) because it is decided once, when a plan is loaded, from shapes alone. No
// cut changes the order of additions, so the bits depend on neither threads nor tile
// (docs/numerics.md). A cut leaves every thread two tasks where the shape allows that. Constant time.
#include "runtime/core/gemm_pack.h"

enum {
    DIRECT_ROWS = 64,     // rows of C up to which packing B costs more than reading it as it lies
    KC = 384,             // words of k in a block: a B panel of 48 lanes is 72 KiB
    ROWS_MAX = 512,       // rows of a task's block when A is not shared as a whole
    ROWS_MIN = 64,        // rows below which packing B again for each block costs too much
    LANES_MAX = 768,      // lanes likewise
    SHARE_MAX = 4 << 20,  // floats of packed operands that are worth sharing: 16 MiB
    PART_MAX = 8 << 20,   // floats of partial sums: 32 MiB
    TASKS_GOOD = 32,      // enough tasks to keep threads busy
    TASK_SMALL = 1 << 19, // multiply-adds below which a task is not worth claiming
    WORK_BIG = 4 << 20    // multiply-adds from which packing for all tasks pays for its barrier
};

static int64_t inner_stride_c(const SnDim *d, uint32_t n) {
    for (uint32_t i = n; i-- > 0;)
        if (d[i].extent > 1) return d[i].c;
    return 1;
}

// Lanes are the wide direction. Few columns under many rows are better computed transposed, and so
// is a C whose rows are adjacent; a product's order of factors does not change its bits.
static bool better_swapped(const SnGemm *g) {
    int64_t m = sn_extent(g->m, g->nm), n = sn_extent(g->n, g->nn);
    if (n < SN_GEMM_LANES && m >= 2 * n) return true;
    if (m < SN_GEMM_LANES && n >= 2 * m) return false;
    bool stores_only = sn_gemm_has(g, SN_GEMM_C) && !sn_gemm_has(g, SN_GEMM_EPILOGUE);
    return stores_only && inner_stride_c(g->n, g->nn) != 1 && inner_stride_c(g->m, g->nm) == 1;
}

static void fold_axes(SnGemmJob *j) {
    const SnGemm *g = j->gemm;
    bool s = j->swapped = better_swapped(g);
    j->batch = sn_extents(g->batch, g->nbatch, s);
    j->m = sn_extents(s ? g->n : g->m, s ? g->nn : g->nm, s);
    j->n = sn_extents(s ? g->m : g->n, s ? g->nm : g->nn, s);
    j->k = sn_extents(g->k, g->nk, s);
    j->base_a = s ? g->base_b : g->base_a;
    j->base_b = s ? g->base_a : g->base_b;
    j->base_c = g->base_c;
    j->elem_a = s ? g->elem_b : g->elem_a;
    j->elem_b = s ? g->elem_a : g->elem_b;
    j->panel = sn_gemm_panel(&j->kit, sn_pairs(g->elem_a, g->elem_b));
    j->words = sn_gemm_words(j->panel, j->k.size);
}

static void cut_k(SnGemmJob *j) {
    int64_t length = min64(j->k.size, SN_GEMM_SEGMENT);
    j->segments = max64(1, sn_ceil_div(j->k.size, SN_GEMM_SEGMENT));
    j->kblocks = max64(1, sn_ceil_div(sn_gemm_words(j->panel, length), KC));
    j->kc = sn_round_up(sn_ceil_div(length, j->kblocks), 4);
}

static void set_blocks(SnGemmJob *j, int64_t mb, int64_t nb) {
    j->mb = sn_round_up(min64(mb, max64(j->m.size, 1)), j->kit.mr);
    j->nb = sn_round_up(min64(nb, max64(j->n.size, 1)), j->kit.nr);
    j->mblocks = sn_ceil_div(j->m.size, j->mb);
    j->nblocks = sn_ceil_div(j->n.size, j->nb);
}

// Equal blocks of at most `most`.
static int64_t even(int64_t size, int64_t most) {
    return sn_ceil_div(size, sn_ceil_div(size, most));
}

// Panels of equally many vectors where few are needed: 64 lanes are 32 + 32, not 48 + 16.
static void even_panels(SnGemmJob *j) {
    int64_t vectors = sn_ceil_div(j->n.size, SN_GEMM_LANES);
    if (vectors) j->kit.nr = SN_GEMM_LANES * even(vectors, j->kit.nr / SN_GEMM_LANES);
}

// Little work for each batch element: operands are packed by the task that uses them.
static void cut_small(SnGemmJob *j, int64_t work) {
    int64_t parts = max64(1, work / (2 * TASK_SMALL)), m = ROWS_MAX, n = LANES_MAX;
    if (j->m.size > j->n.size)
        m = min64(m, sn_ceil_div(j->m.size, parts));
    else
        n = min64(n, sn_ceil_div(j->n.size, parts));
    set_blocks(j, even(j->m.size, m), even(j->n.size, n));
    j->batches = max64(1, TASK_SMALL / max64(work, 1));
}

// All rows of A in every task would be too few tasks: C is cut by rows too, and B is then read by
// several tasks.
static void cut_rows(SnGemmJob *j, int64_t work, int64_t packed) {
    int64_t want = min64(TASKS_GOOD, work / TASK_SMALL), have = j->mblocks * j->nblocks;
    if (2 * have >= want || packed > SHARE_MAX) return;
    set_blocks(j, max64(sn_ceil_div(j->m.size * have, want), ROWS_MIN), j->nb);
    j->share_b = j->mblocks > 1;
}

// Whole panels, equally many in each block of at most `most` lanes.
static int64_t even_lanes(const SnGemmJob *j, int64_t most) {
    return even(sn_ceil_div(j->n.size, j->kit.nr), most / j->kit.nr) * j->kit.nr;
}

// Much work: an operand that several tasks read is packed once, if it is not too big for that.
static void cut_big(SnGemmJob *j, int64_t work) {
    int64_t a = j->batch.size * j->m.size * j->words, b = j->batch.size * j->n_pad * j->words;
    int64_t lanes = j->kit.nr * max64(1, min64(8, sn_ceil_div(j->n.size, j->kit.nr) / TASKS_GOOD));
    j->share_a = a <= SHARE_MAX && j->n.size > j->kit.nr;
    j->share_b = !j->share_a ? b <= SHARE_MAX && j->m.size > ROWS_MAX / 2
                             : j->m.size > ROWS_MAX && a + b <= SHARE_MAX;
    if (j->share_a && j->share_b) {
        set_blocks(j, even(j->m.size, ROWS_MAX), even_lanes(j, lanes * 4));
        if (2 * j->mblocks * j->nblocks < TASKS_GOOD)
            set_blocks(j, j->mb, even_lanes(j, lanes * 2));
    } else if (j->share_a) {
        set_blocks(j, j->m.size, lanes);
        cut_rows(j, work * j->batch.size, a + b);
    } else if (j->share_b) {
        set_blocks(j, even(j->m.size, ROWS_MAX / 2), LANES_MAX);
    } else {
        set_blocks(j, even(j->m.size, ROWS_MAX), LANES_MAX);
    }
}

// Few blocks and several segments: the segments become tasks.
static void cut_segments(SnGemmJob *j) {
    int64_t part = j->batch.size * j->m.size * j->n_pad;
    if (j->segments == 1 || j->batch.size * j->mblocks * j->nblocks >= TASKS_GOOD) return;
    if (part * j->segments > PART_MAX) return;
    j->split = true;
    j->share_a = j->share_b = false;
    j->batches = 1;
    set_blocks(j, ROWS_MAX / 2, LANES_MAX);
}

static int64_t compute_tasks(const SnGemmJob *j) {
    int64_t blocks = sn_ceil_div(j->batch.size, j->batches) * j->mblocks * j->nblocks;
    return blocks * (j->split ? j->segments : 1);
}

// What packing costs a multiply-add of a task whose block is mb x nb: each row of A serves nb lanes, each
// lane of B serves mb rows; what is packed for all tasks is read again.
static double packing(const SnGemmJob *j, int64_t mb, int64_t nb) {
    const double again = 0.125;
    return (j->share_a ? again : 1) / (double)nb + (j->share_b ? again : 1) / (double)mb;
}

// The cheapest blocks, not larger than they are, that make `want` tasks; else the most tasks.
static void cut_blocks(SnGemmJob *j, int64_t want) {
    int64_t others = compute_tasks(j) / (j->mblocks * j->nblocks);
    int64_t rows = sn_ceil_div(j->m.size, j->kit.mr), lanes = sn_ceil_div(j->n.size, j->kit.nr);
    int64_t mb = j->mb, nb = j->nb;
    double least = 2;
    for (int64_t p = j->nb / j->kit.nr; p > 0; p--) {
        if (p != even(lanes, p)) continue; // blocks as equal as panels allow
        int64_t q = max64(1, rows / sn_ceil_div(want, others * sn_ceil_div(lanes, p)));
        q = min64(q, j->mb / j->kit.mr);
        int64_t tasks = others * sn_ceil_div(lanes, p) * sn_ceil_div(rows, q);
        double cost =
            tasks < want ? 1 + 1 / (double)tasks : packing(j, q * j->kit.mr, p * j->kit.nr);
        if (cost < least) least = cost, mb = q * j->kit.mr, nb = p * j->kit.nr;
    }
    set_blocks(j, mb, nb);
}

// Two tasks for every thread, as far as they are worth claiming.
static void cut_for_threads(SnGemmJob *j, int64_t work, int64_t threads) {
    int64_t want = min64(2 * threads, j->batch.size * work / TASK_SMALL);
    if (compute_tasks(j) >= want) return;
    int64_t groups = sn_ceil_div(j->batch.size, j->batches);
    int64_t each = max64(1, compute_tasks(j) / groups); // tasks of a group
    j->batches = max64(1, min64(j->batches, j->batch.size / sn_ceil_div(want, each)));
    if (compute_tasks(j) < want) cut_blocks(j, want);
}

static int64_t pack_tasks(const SnGemmJob *j, int64_t panels) {
    return j->batch.size * j->segments * j->kblocks * sn_ceil_div(panels, j->pack_group);
}

static void count_tasks(SnGemmJob *j) {
    j->pack_group = 8;
    j->tasks[SN_GEMM_COMPUTE] = compute_tasks(j);
    if (j->tasks[SN_GEMM_COMPUTE] == 0) return;
    if (j->share_a) j->pack_b0 = pack_tasks(j, sn_ceil_div(j->m.size, j->kit.mr));
    j->tasks[SN_GEMM_PACK] = j->pack_b0;
    if (j->share_b) j->tasks[SN_GEMM_PACK] += pack_tasks(j, sn_ceil_div(j->n.size, j->kit.nr));
    if (j->split) j->tasks[SN_GEMM_COMBINE] = j->batch.size * sn_ceil_div(j->m.size, j->kit.mr);
}

static void size_workspace(SnGemmJob *j) {
    int64_t a = j->share_a ? j->batch.size * j->m.size * j->words : 0;
    int64_t b = j->share_b ? j->batch.size * j->n_pad * j->words : 0;
    int64_t part = j->split ? j->segments * j->batch.size * j->m.size * j->n_pad : 0;
    j->shared_b = sn_round_up(a, SN_GEMM_LINE);
    j->shared_part = j->shared_b + sn_round_up(b, SN_GEMM_LINE);
    j->shared = (j->shared_part + part) * (int64_t)sizeof(float);
    bool block = j->kblocks > 1 || j->segments > 1;
    j->ld_x = block ? j->nb : j->kit.nr;
    int64_t words = sn_gemm_words(j->panel, j->kc);
    j->scratch_b = j->share_a ? 0 : sn_round_up(j->mb * words, SN_GEMM_LINE);
    j->scratch_x = j->scratch_b + (j->share_b ? 0 : sn_round_up(j->kit.nr * words, SN_GEMM_LINE));
    j->scratch_t = j->scratch_x + j->mb * j->ld_x;
    int64_t end = j->scratch_t + (j->segments > 1 && !j->split ? j->mb * j->nb : 0);
    j->scratch_e = end;
    if (j->epilogue && j->swapped) end += j->kit.nr * j->mb;
    end = max64(end,
                j->scratch_t + 2 * SN_GEMM_MOST_ROWS *
                                   SN_GEMM_COMBINE_LANES); // combine: a total and its transpose
    j->scratch = end * (int64_t)sizeof(float);
}

void sn_gemm_prepare(SnGemmJob *j, const SnGemm *gemm, const SnGemmKit *kit, int64_t threads,
                     SnEpilogueFn epilogue) {
    *j = (SnGemmJob){.gemm = gemm, .kit = *kit, .epilogue = epilogue, .batches = 1};
    fold_axes(j);
    even_panels(j);
    cut_k(j);
    j->n_pad = sn_round_up(j->n.size, SN_GEMM_LANES);
    int64_t work = j->m.size * j->n.size * max64(j->k.size, 1);
    if (work == 0 || j->batch.size == 0) { // an empty C: no tasks
        j->mb = j->kit.mr, j->nb = j->kit.nr;
        j->pack_group = 1;
        return;
    }
    if (work < WORK_BIG)
        cut_small(j, work);
    else
        cut_big(j, work);
    cut_segments(j);
    cut_for_threads(j, work, threads);
    j->direct_b = j->panel == SN_PANEL_FLOATS && j->elem_b == SN_ELEM_f32 && !j->share_b &&
                  j->m.size <= DIRECT_ROWS && j->k.count <= 1 && j->n.count <= 1 &&
                  (j->n.count == 0 || j->n.dim[0].b == 1);
    count_tasks(j);
    size_workspace(j);
}

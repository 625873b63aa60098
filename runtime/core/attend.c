// See attend.h. For each strip of `strip` rows at one outer index:
//
//   PRODUCT  tile = x y^T     rows of x packed here, keys of y in panels that all strips share
//   kernel   on the rows of the tiles, over the keys that the strip may see (its hull)
//   KEYS     y = tile x       chains over keys, in segments of 4096
//   ROWS     y += tile^T x    chains over rows go on from strip to strip: a tile is the panel it lies as
//   DENSE    y += tile        one outer index behind the other; more than a chunk of them beside y
//
// Matrices may be narrow. What they are multiplied with in a tile is f32 that the narrow type holds; where
// both are bf16 the sum is one of pairs (gemm.c), whose panels are packed here, tiles included. Pairs of rows
// do not straddle strips: strips have an even number of rows, and so have outer indices whose rows are
// summed one behind the other.
//
// Every element has one chain in the order of docs/numerics.md, so no cut changes a bit; keys outside of
// a hull would add fma(0, v, chain). Sums over rows are taken in order: the strips of a unit run one behind
// the other in one task where there are units enough for the threads. Else every strip is a task, and
// a block of keys has a counter that says which strip adds to it next; a strip waits only for the ones
// before it, which threads started earlier, so that they wait in a pipeline and never for each other.
//
// Time O(outer * rows * keys seen * features); memory O(outer * (rows + keys) * features) shared, one strip
// of tiles for each thread.
#include "runtime/core/attend.h"
#include "runtime/core/gemm_block.h"
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum {
    KEYS_BLOCK = 512, // keys of a tile that are packed at a time
    WAIT_BLOCK = 256, // keys that one counter stands for
    PACK_KEYS = 384,  // keys in a task of phase 0, about
    LINE = 16,        // floats in a cache line
    SPINS = 256       // before a waiting thread gives its CPU away
};

// ---- Preparing ----------------------------------------------------------------------------------

// Panels of equally many vectors: 64 features are 32 + 32, not 48 + 16.
static int64_t even_panel(int64_t size, int64_t nr) {
    int64_t vectors = max64(1, sn_ceil_div(size, SN_GEMM_LANES));
    int64_t panels = sn_ceil_div(vectors, nr / SN_GEMM_LANES);
    return SN_GEMM_LANES * sn_ceil_div(vectors, panels);
}

// Micro-kernels may read or write it where it lies; so what is summed in pairs is not.
static bool adjacent(const SnAttendPart *p, bool y) {
    int64_t size = 1;
    if ((y ? p->elem_y : p->elem_x) != SN_ELEM_f32) return false;
    for (uint32_t i = p->nf; i-- > 0;) {
        int64_t stride = y ? p->f[i].b : p->f[i].a;
        if (p->f[i].extent > 1 && stride != size) return false;
        size *= p->f[i].extent;
    }
    return size % SN_GEMM_LANES == 0;
}

// It adds to what other strips added to.
static bool is_ordered(const SnAttendPart *p) {
    return p->kind == SN_ATTEND_ROWS || p->kind == SN_ATTEND_DENSE;
}

// Matrices that are packed, numbered by the outer indices that `stride` has.
static void number_own(SnAttendCut *c, const SnAttend *a, const int64_t *stride) {
    c->count = 1;
    for (uint32_t i = a->nouter; i-- > 0;) {
        c->own[i] = stride[i] ? c->count : 0;
        if (stride[i]) c->count *= a->outer[i];
    }
}

// The numbers of what one element of y sums, in order: each outer index that y lacks adds `inside` of them, or as
// many as all behind it.
static void number_places(SnAttendCut *c, const SnAttend *a, const SnAttendPart *p,
                          int64_t inside) {
    c->places = inside;
    for (uint32_t k = a->nouter; k-- > 0;) {
        c->place[k] = p->outer_y[k] ? 0 : c->places;
        if (!p->outer_y[k]) c->places *= a->outer[k];
    }
}

// The number of the first of them at an outer index.
static int64_t place_of(const SnAttendCut *c, const SnAttend *a, const int64_t *outer) {
    int64_t place = 0;
    for (uint32_t i = 0; i < a->nouter; i++) place += c->place[i] * outer[i];
    return place;
}

static void cut_part(SnAttendJob *j, uint32_t i) {
    const SnAttend *a = j->attend;
    const SnAttendPart *p = &a->part[i];
    SnAttendCut *c = &j->part[i];
    c->f = sn_extents(p->f, p->nf, false);
    c->panel = sn_gemm_panel(&j->kit, sn_attend_pairs(p));
    if (p->kind == SN_ATTEND_PRODUCT) {
        c->step = (SnExtents){.count = 1, .size = a->keys};
        c->step.dim[0] = (SnDim){a->keys, 0, p->step_y, 0};
        number_own(c, a, p->outer_y);
        c->size = sn_round_up(a->keys, SN_GEMM_LANES) * sn_gemm_words(c->panel, c->f.size);
        return;
    }
    c->nr = even_panel(c->f.size, j->kit.nr);
    c->width = sn_round_up(c->f.size, SN_GEMM_LANES);
    if (p->kind == SN_ATTEND_KEYS) {
        c->direct = adjacent(p, false);
        number_own(c, a, p->outer_x);
        c->size = sn_gemm_words(c->panel, a->keys) * c->width;
        if (c->direct) c->count = 0;
        return;
    }
    j->ordered = true;
    number_own(c, a, p->outer_y);
    if (p->kind == SN_ATTEND_DENSE) {
        number_places(c, a, p, 1);
        c->direct = c->places <= p->chunk;
        c->size = c->direct ? 0 : a->rows * a->keys;
        return;
    }
    number_places(c, a, p, a->rows);
    c->direct_x = adjacent(p, false);
    c->direct = adjacent(p, true) && c->places <= SN_GEMM_SEGMENT;
    c->size = c->direct ? 0 : a->keys * c->width;
}

// Outer axes that all sums over rows keep number the units; the others are walked in order inside of one.
static void cut_units(SnAttendJob *j) {
    const SnAttend *a = j->attend;
    j->units = j->chain = 1;
    for (uint32_t i = 0; i < a->nouter; i++) {
        j->in_unit[i] = true;
        for (uint32_t k = 0; k < a->nparts; k++)
            if (is_ordered(&a->part[k]) && !a->part[k].outer_y[i]) j->in_unit[i] = false;
        *(j->in_unit[i] ? &j->units : &j->chain) *= a->outer[i];
    }
    j->whole = j->units >= 2 * j->threads || j->threads == 1;
    j->tasks[SN_ATTEND_STRIPS] = j->whole ? j->units : j->units * j->chain * j->strips;
}

static int64_t pack_keys_of(const SnAttendJob *j) { return sn_round_up(PACK_KEYS, j->kit.nr); }
static int64_t pack_blocks(const SnAttendJob *j) {
    return sn_ceil_div(j->attend->keys, pack_keys_of(j));
}

static void size_workspace(SnAttendJob *j, int64_t kernel_scratch) {
    const SnAttend *a = j->attend;
    int64_t at = 0, x = 0, y = 0;
    for (uint32_t i = 0; i < a->nparts; i++) {
        SnAttendCut *c = &j->part[i];
        c->at = at;
        at += sn_round_up(c->count * c->size, LINE);
        j->pack_tasks[i] = c->count * pack_blocks(j);
        j->tasks[SN_ATTEND_PACK] += j->pack_tasks[i];
        int64_t features = sn_gemm_words(c->panel, c->f.size);
        if (a->part[i].kind == SN_ATTEND_PRODUCT) x = max64(x, a->strip * features);
        if (a->part[i].kind == SN_ATTEND_ROWS)
            x = max64(x, sn_gemm_words(c->panel, a->strip) * c->width);
        if (a->part[i].kind == SN_ATTEND_KEYS) y = max64(y, a->strip * c->width);
    }
    j->blocks = sn_ceil_div(a->keys, WAIT_BLOCK);
    j->wait_at = at;
    if (j->ordered && !j->whole) {
        at += sn_round_up(j->units * j->blocks, LINE);
        j->tasks[SN_ATTEND_PACK]++;
    }
    j->shared = at * (int64_t)sizeof(float);
    j->scratch_x = sn_round_up(a->tiles * a->strip * j->ld, LINE);
    j->scratch_t = j->scratch_x + sn_round_up(x, LINE);
    j->scratch_sum = j->scratch_t + sn_round_up(sn_round_up(a->strip, 2) * KEYS_BLOCK, LINE);
    j->scratch_y = j->scratch_sum + sn_round_up(y, LINE);
    j->scratch_strip = j->scratch_y + sn_round_up(y, LINE);
    j->scratch = j->scratch_strip * (int64_t)sizeof(float) + kernel_scratch;
}

void sn_attend_prepare(SnAttendJob *j, const SnAttend *a, const SnHull *hulls, const SnGemmKit *kit,
                       SnStripFn strip, int64_t kernel_scratch, int64_t threads) {
    *j =
        (SnAttendJob){.attend = a, .hulls = hulls, .kit = *kit, .strip = strip, .threads = threads};
    j->strips = sn_ceil_div(a->rows, a->strip);
    j->ld = sn_round_up(a->keys, SN_GEMM_LANES) + SN_GEMM_LANES; // rows are not in one cache set
    for (uint32_t i = 0; i < a->nparts; i++) cut_part(j, i);
    cut_units(j);
    size_workspace(j, kernel_scratch);
}

// ---- Running ------------------------------------------------------------------------------------

typedef struct {
    const SnAttendJob *j;
    void *const *bufs;
    const SnEnv *env;
    float *shared, *scratch;
} AttendRun;

// Where a strip is.
typedef struct {
    int64_t outer[SN_ATTEND_OUTER];
    int64_t row0, rows;
    int64_t key0, key1;   // its hull
    int64_t unit, number; // among the strips of its unit
} AttendStrip;

static SnGemmMatrix matrix(const AttendRun *cx, uint32_t arg, uint32_t elem, int64_t base,
                           const int64_t *stride, const int64_t *outer) {
    for (uint32_t i = 0; i < cx->j->attend->nouter; i++) base += stride[i] * outer[i];
    return sn_gemm_from((SnGemmMatrix){cx->bufs[arg], elem}, base);
}

static SnGemmMatrix x_of(const AttendRun *cx, const SnAttendPart *p, const int64_t *outer) {
    return matrix(cx, p->x, p->elem_x, p->base_x, p->outer_x, outer);
}

// The keys of a product.
static SnGemmMatrix keys_of(const AttendRun *cx, const SnAttendPart *p, const int64_t *outer) {
    return matrix(cx, p->y, p->elem_y, p->base_y, p->outer_y, outer);
}

// A result.
static float *y_of(const AttendRun *cx, const SnAttendPart *p, const int64_t *outer) {
    return (float *)(uintptr_t)keys_of(cx, p, outer).at;
}

static SnGemmMatrix floats(const float *at) { return (SnGemmMatrix){at, SN_ELEM_f32}; }

static float *packed(const AttendRun *cx, const SnAttendCut *c, const int64_t *outer) {
    int64_t number = 0;
    for (uint32_t i = 0; i < cx->j->attend->nouter; i++) number += c->own[i] * outer[i];
    return cx->shared + c->at + number * c->size;
}

// The micro-kernel for `rows` rows or fewer: their number, and which it is.
static SnUkrFn ukr_for(const SnAttendJob *j, SnGemmPanel panel, int64_t left, int64_t lanes,
                       int64_t *rows) {
    uint32_t e;
    *rows = sn_gemm_panel_rows(&j->kit, left, &e);
    return sn_gemm_ukr(&j->kit, panel, sn_ceil_div(lanes, SN_GEMM_LANES), e);
}

// Rows of `words` words, packed one panel of rows behind the other.
static void pack_strip(const SnAttendJob *j, SnGemmPanel panel, const SnExtents *rows,
                       const SnExtents *k, SnGemmMatrix from, int64_t row0, int64_t count,
                       int64_t k0, int64_t kc, float *to) {
    int64_t words = sn_gemm_words(panel, kc), n;
    for (int64_t i = 0; i < count; i += n) {
        uint32_t size;
        n = sn_gemm_panel_rows(&j->kit, count - i, &size);
        sn_gemm_pack(panel, SN_GEMM_A, rows, k, from, row0 + i, n, n, k0, kc, to + i * words);
    }
}

// ---- phase 0

static void outer_of_own(const SnAttendJob *j, const SnAttendCut *c, int64_t number,
                         int64_t outer[SN_ATTEND_OUTER]) {
    for (uint32_t i = 0; i < j->attend->nouter; i++)
        outer[i] = c->own[i] ? number / c->own[i] % j->attend->outer[i] : 0;
}

// Keys k0 .. k1 of y become panels of nr keys.
static void pack_product(const AttendRun *cx, uint32_t part, const int64_t *outer, int64_t k0,
                         int64_t k1) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    SnGemmMatrix y = keys_of(cx, p, outer);
    float *to = packed(cx, c, outer);
    int64_t words = sn_gemm_words(c->panel, c->f.size);
    for (int64_t k = k0; k < k1; k += j->kit.nr) {
        int64_t keys = min64(j->kit.nr, k1 - k);
        sn_gemm_pack(c->panel, SN_GEMM_B, &c->step, &c->f, y, k, keys,
                     sn_round_up(keys, SN_GEMM_LANES), 0, c->f.size, to + k * words);
    }
}

// Keys k0 .. k1 of x become panels of nr features.
static void pack_keys(const AttendRun *cx, uint32_t part, const int64_t *outer, int64_t k0,
                      int64_t k1) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    SnExtents keys = {
        .count = 1, .size = j->attend->keys, .dim = {{j->attend->keys, p->step_x, 0, 0}}};
    float *to = packed(cx, c, outer);
    int64_t words = sn_gemm_words(c->panel, j->attend->keys);
    for (int64_t f = 0; f < c->f.size; f += c->nr) {
        int64_t lanes = min64(c->nr, c->f.size - f), width = sn_round_up(lanes, SN_GEMM_LANES);
        sn_gemm_pack(c->panel, SN_GEMM_A, &c->f, &keys, x_of(cx, p, outer), f, lanes, width, k0,
                     k1 - k0, to + f * words + sn_gemm_words(c->panel, k0) * width);
    }
}

// A row of f.size results lies at y, as its features' strides say.
static void put_row(const SnAttendCut *c, float *y, const float *from, bool add) {
    for (int64_t f = 0; f < c->f.size;) {
        SnGemmRun r = sn_gemm_run_at(&c->f, f, c->f.size);
        for (int64_t i = 0; i < r.length; i++) {
            float *to = y + r.at.b + i * r.stride.b;
            *to = add ? *to + from[f + i] : from[f + i];
        }
        f += r.length;
    }
}

static void clear_rows(const AttendRun *cx, uint32_t part, const int64_t *outer, int64_t k0,
                       int64_t k1) {
    const SnAttendPart *p = &cx->j->attend->part[part];
    const SnAttendCut *c = &cx->j->part[part];
    static const float zeros[SN_GEMM_SEGMENT];
    float *y = y_of(cx, p, outer), *chains = packed(cx, c, outer);
    if (!c->direct)
        memset(chains + k0 * c->width, 0, (size_t)((k1 - k0) * c->width) * sizeof *chains);
    bool totals = c->places > SN_GEMM_SEGMENT;
    for (int64_t k = k0; k < k1 && (c->direct || totals); k++) {
        if (c->direct)
            memset(y + k * p->step_y, 0, (size_t)c->f.size * sizeof *y);
        else
            put_row(c, y + k * p->step_y, zeros, false);
    }
}

// Keys k0 .. k1 of a row of a dense sum: values are added to them, or they become 0.
static void dense_row(const SnAttendCut *c, float *row, const float *add, int64_t k0, int64_t k1) {
    for (int64_t k = k0; k < k1;) {
        SnGemmRun r = sn_gemm_run_at(&c->f, k, k1);
        float *to = row + r.at.b;
        for (int64_t i = 0; i < r.length; i++, to += r.stride.b)
            *to = add ? *to + add[k + i] : 0.0f;
        k += r.length;
    }
}

static void clear_dense(const AttendRun *cx, uint32_t part, const int64_t *outer, int64_t k0,
                        int64_t k1) {
    const SnAttendPart *p = &cx->j->attend->part[part];
    const SnAttendCut *c = &cx->j->part[part];
    float *y = y_of(cx, p, outer), *chunk = packed(cx, c, outer);
    for (int64_t r = 0; r < cx->j->attend->rows; r++) {
        dense_row(c, y + r * p->step_y, NULL, k0, k1);
        if (!c->direct)
            memset(chunk + r * cx->j->attend->keys + k0, 0, (size_t)(k1 - k0) * sizeof *chunk);
    }
}

static void pack_task(const AttendRun *cx, int64_t task) {
    const SnAttendJob *j = cx->j;
    uint32_t part = 0;
    while (part < j->attend->nparts && task >= j->pack_tasks[part]) task -= j->pack_tasks[part++];
    if (part == j->attend->nparts) { // the last one
        memset(cx->shared + j->wait_at, 0, (size_t)(j->units * j->blocks) * sizeof(uint32_t));
        return;
    }
    int64_t blocks = pack_blocks(j), outer[SN_ATTEND_OUTER];
    outer_of_own(j, &j->part[part], task / blocks, outer);
    int64_t k0 = task % blocks * pack_keys_of(j), k1 = min64(k0 + pack_keys_of(j), j->attend->keys);
    switch ((SnAttendKind)j->attend->part[part].kind) {
    case SN_ATTEND_PRODUCT: pack_product(cx, part, outer, k0, k1); return;
    case SN_ATTEND_KEYS: pack_keys(cx, part, outer, k0, k1); return;
    case SN_ATTEND_ROWS: clear_rows(cx, part, outer, k0, k1); return;
    case SN_ATTEND_DENSE: clear_dense(cx, part, outer, k0, k1); return;
    case SN_ATTEND_KINDS: break;
    }
}

// ---- phase 1

static float *tile_of(const AttendRun *cx, uint32_t number) {
    return cx->scratch + (int64_t)number * cx->j->attend->strip * cx->j->ld;
}

static void product(const AttendRun *cx, const AttendStrip *s, uint32_t part) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    const float *y = packed(cx, c, s->outer);
    float *a = cx->scratch + j->scratch_x, *tile = tile_of(cx, p->tile);
    SnExtents rows = {
        .count = 1, .size = j->attend->rows, .dim = {{j->attend->rows, p->step_x, 0, 0}}};
    int64_t n, words = sn_gemm_words(c->panel, c->f.size);
    pack_strip(j, c->panel, &rows, &c->f, x_of(cx, p, s->outer), s->row0, s->rows, 0, c->f.size, a);
    uint32_t before = sn_gemm_enter(c->panel);
    for (int64_t k = s->key0 / j->kit.nr * j->kit.nr; k < s->key1; k += j->kit.nr) {
        int64_t lanes = min64(j->kit.nr, j->attend->keys - k),
                ldb = sn_round_up(lanes, SN_GEMM_LANES);
        for (int64_t i = 0; i < s->rows; i += n) {
            SnUkrFn ukr = ukr_for(j, c->panel, s->rows - i, lanes, &n);
            ukr(words, a + i * words, n, y + k * words, ldb, NULL, 0, NULL, 0, tile + i * j->ld + k,
                j->ld);
        }
    }
    sn_gemm_leave(c->panel, before);
}

// One block of keys of a sum over keys: the chains of `to` go on, or start.
static void keys_block(const AttendRun *cx, const AttendStrip *s, uint32_t part, int64_t k0,
                       int64_t k1, bool start, float *to, int64_t ldto) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    const float *tile = tile_of(cx, p->tile);
    float *a = cx->scratch + j->scratch_t;
    SnExtents rows = {.count = 1, .size = s->rows, .dim = {{s->rows, j->ld, 0, 0}}};
    SnExtents keys = {.count = 1, .size = k1, .dim = {{k1, 1, 0, 0}}};
    int64_t n, kc = k1 - k0, wc = sn_gemm_words(c->panel, kc), w0 = sn_gemm_words(c->panel, k0);
    pack_strip(j, c->panel, &rows, &keys, floats(tile), 0, s->rows, k0, kc, a);
    const float *x = c->direct ? x_of(cx, p, s->outer).at : packed(cx, c, s->outer);
    uint32_t before = sn_gemm_enter(c->panel);
    for (int64_t f = 0; f < c->f.size; f += c->nr) {
        int64_t lanes = min64(c->nr, c->f.size - f), width = sn_round_up(lanes, SN_GEMM_LANES);
        int64_t words = sn_gemm_words(c->panel, j->attend->keys);
        const float *b = c->direct ? x + k0 * p->step_x + f : x + f * words + w0 * width;
        int64_t ldb = c->direct ? p->step_x : width;
        for (int64_t i = 0; i < s->rows; i += n) {
            SnUkrFn ukr = ukr_for(j, c->panel, s->rows - i, lanes, &n);
            float *at = to + i * ldto + f;
            ukr(wc, a + i * wc, n, b, ldb, start ? NULL : at, ldto, NULL, 0, at, ldto);
        }
    }
    sn_gemm_leave(c->panel, before);
}

static void sum_keys(const AttendRun *cx, const AttendStrip *s, uint32_t part) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    bool segments = j->attend->keys > SN_GEMM_SEGMENT, direct = !segments && adjacent(p, true);
    float *y = y_of(cx, p, s->outer) + s->row0 * p->step_y;
    float *chain = direct ? y : cx->scratch + j->scratch_sum, *total = cx->scratch + j->scratch_y;
    int64_t ld = direct ? p->step_y : c->width;
    if (segments) memset(total, 0, (size_t)(s->rows * c->width) * sizeof *total);
    if (s->key0 >= s->key1) keys_block(cx, s, part, 0, 0, true, chain, ld);
    for (int64_t from = s->key0; from < s->key1;) {
        int64_t end = min64(s->key1, (from / SN_GEMM_SEGMENT + 1) * SN_GEMM_SEGMENT);
        for (int64_t k = from; k < end; k += KEYS_BLOCK)
            keys_block(cx, s, part, k, min64(k + KEYS_BLOCK, end), k == from, chain, ld);
        for (int64_t i = 0; segments && i < s->rows * c->width; i++) total[i] = total[i] + chain[i];
        from = end;
    }
    if (direct) return;
    const float *sum = segments ? total : chain;
    for (int64_t i = 0; i < s->rows; i++) put_row(c, y + i * p->step_y, sum + i * c->width, false);
}

// Rows r .. r + n of the strip are added to the chains of keys k0 .. k1.
static void rows_block(const AttendRun *cx, const AttendStrip *s, uint32_t part, int64_t r,
                       int64_t rows, int64_t k0, int64_t k1) {
    const SnAttendJob *j = cx->j;
    const SnAttendPart *p = &j->attend->part[part];
    const SnAttendCut *c = &j->part[part];
    const float *a = tile_of(cx, p->tile) + r * j->ld + k0; // a panel as it lies
    SnGemmMatrix x = sn_gemm_from(x_of(cx, p, s->outer), (s->row0 + r) * p->step_x);
    SnExtents axis = {.count = 1, .size = rows, .dim = {{rows, p->step_x, 0, 0}}};
    float *to = c->direct ? y_of(cx, p, s->outer) : packed(cx, c, s->outer);
    int64_t ldto = c->direct ? p->step_y : c->width, n, lda = j->ld;
    int64_t words = sn_gemm_words(c->panel, rows);
    if (c->panel != SN_PANEL_FLOATS) {
        SnExtents keys = {.count = 1, .size = k1 - k0, .dim = {{k1 - k0, 1, 0, 0}}};
        SnExtents strip = {.count = 1, .size = rows, .dim = {{rows, lda, 0, 0}}};
        float *pack = cx->scratch + j->scratch_t;
        lda = k1 - k0;
        sn_gemm_pack(c->panel, SN_GEMM_A, &keys, &strip, floats(a), 0, lda, lda, 0, rows, pack);
        a = pack;
    }
    for (int64_t f = 0; f < c->f.size; f += c->nr) {
        int64_t lanes = min64(c->nr, c->f.size - f), ldb = sn_round_up(lanes, SN_GEMM_LANES);
        const float *b = c->direct_x ? (const float *)x.at + f : cx->scratch + j->scratch_x;
        if (c->direct_x)
            ldb = p->step_x;
        else
            sn_gemm_pack(c->panel, SN_GEMM_A, &c->f, &axis, x, f, lanes, ldb, 0, rows,
                         cx->scratch + j->scratch_x);
        uint32_t before = sn_gemm_enter(c->panel);
        for (int64_t k = k0; k < k1; k += n) {
            SnUkrFn ukr = ukr_for(j, c->panel, k1 - k, lanes, &n);
            float *at = to + k * ldto + f;
            ukr(words, a + (k - k0), lda, b, ldb, at, ldto, NULL, 0, at, ldto);
        }
        sn_gemm_leave(c->panel, before);
    }
}

// The chains of keys k0 .. k1 are complete for a segment, or at all.
static void end_chains(const AttendRun *cx, const AttendStrip *s, uint32_t part, int64_t k0,
                       int64_t k1) {
    const SnAttendPart *p = &cx->j->attend->part[part];
    const SnAttendCut *c = &cx->j->part[part];
    if (c->direct) return;
    float *chains = packed(cx, c, s->outer), *y = y_of(cx, p, s->outer);
    bool totals = c->places > SN_GEMM_SEGMENT;
    for (int64_t k = k0; k < k1; k++) put_row(c, y + k * p->step_y, chains + k * c->width, totals);
    memset(chains + k0 * c->width, 0, (size_t)((k1 - k0) * c->width) * sizeof *chains);
}

static void sum_rows(const AttendRun *cx, const AttendStrip *s, uint32_t part, int64_t k0,
                     int64_t k1) {
    const SnAttendCut *c = &cx->j->part[part];
    int64_t place = s->row0 + place_of(c, cx->j->attend, s->outer);
    int64_t from = max64(k0, s->key0), to = min64(k1, s->key1);
    for (int64_t r = 0; r < s->rows;) {
        int64_t left = SN_GEMM_SEGMENT - place % SN_GEMM_SEGMENT, n = min64(left, s->rows - r);
        if (from < to) rows_block(cx, s, part, r, n, from, to);
        r += n, place += n;
        if (n == left || place == c->places) end_chains(cx, s, part, k0, k1);
    }
}

static void sum_dense(const AttendRun *cx, const AttendStrip *s, uint32_t part, int64_t k0,
                      int64_t k1) {
    const SnAttend *a = cx->j->attend;
    const SnAttendPart *p = &a->part[part];
    const SnAttendCut *c = &cx->j->part[part];
    const float *tile = tile_of(cx, p->tile);
    float *y = y_of(cx, p, s->outer) + s->row0 * p->step_y;
    float *chunk = packed(cx, c, s->outer) + s->row0 * a->keys;
    int64_t from = max64(k0, s->key0), to = min64(k1, s->key1);
    int64_t next = place_of(c, a, s->outer) + 1;
    bool last = next % p->chunk == 0 || next == c->places;
    for (int64_t r = 0; r < s->rows && from < to;
         r++, y += p->step_y, tile += cx->j->ld, chunk += a->keys) {
        if (c->direct) {
            dense_row(c, y, tile, from, to);
            continue;
        }
        for (int64_t k = from; k < to; k++) chunk[k] = chunk[k] + tile[k];
        if (!last) continue;
        dense_row(c, y, chunk, from, to);
        memset(chunk + from, 0, (size_t)(to - from) * sizeof *chunk);
    }
}

static void wait_for(_Atomic uint32_t *counter, uint32_t number) {
    for (int spins = 0; atomic_load_explicit(counter, memory_order_acquire) != number; spins++) {
        if (spins < SPINS)
            __builtin_ia32_pause();
        else
            sched_yield();
    }
}

static void all_rows(const AttendRun *cx, const AttendStrip *s) {
    const SnAttendJob *j = cx->j;
    _Atomic uint32_t *counters =
        (_Atomic uint32_t *)(void *)(cx->shared + j->wait_at) + s->unit * j->blocks;
    for (int64_t block = 0; block < j->blocks; block++) {
        int64_t k0 = block * WAIT_BLOCK, k1 = min64(k0 + WAIT_BLOCK, j->attend->keys);
        if (!j->whole) wait_for(&counters[block], (uint32_t)s->number);
        for (uint32_t i = 0; i < j->attend->nparts; i++) {
            if (j->attend->part[i].kind == SN_ATTEND_ROWS) sum_rows(cx, s, i, k0, k1);
            if (j->attend->part[i].kind == SN_ATTEND_DENSE) sum_dense(cx, s, i, k0, k1);
        }
        if (!j->whole)
            atomic_store_explicit(&counters[block], (uint32_t)s->number + 1, memory_order_release);
    }
}

static void run_strip(const AttendRun *cx, int64_t unit, int64_t number) {
    const SnAttendJob *j = cx->j;
    const SnAttend *a = j->attend;
    AttendStrip s = {.unit = unit, .number = number, .row0 = number % j->strips * a->strip};
    int64_t chain = number / j->strips, row = 0;
    for (uint32_t i = a->nouter; i-- > 0;) {
        int64_t *from = j->in_unit[i] ? &unit : &chain;
        s.outer[i] = *from % a->outer[i];
        *from /= a->outer[i];
    }
    for (uint32_t i = 0; i < a->nouter; i++) row = row * a->outer[i] + s.outer[i];
    row = row * a->rows + s.row0;
    s.rows = min64(a->strip, a->rows - s.row0);
    const SnHull *hull = &j->hulls[s.row0 / a->strip];
    s.key0 = hull->first, s.key1 = hull->end;
    float *tiles[SN_ATTEND_TILES];
    for (uint32_t i = 0; i < a->tiles; i++) tiles[i] = tile_of(cx, i) + s.key0;
    for (uint32_t i = 0; i < a->nparts; i++)
        if (a->part[i].kind == SN_ATTEND_PRODUCT) product(cx, &s, i);
    j->strip(cx->bufs + a->args, cx->env, tiles, j->ld, row, row + s.rows, s.key0, s.key1,
             cx->scratch + j->scratch_strip);
    for (uint32_t i = 0; i < a->nparts; i++)
        if (a->part[i].kind == SN_ATTEND_KEYS) sum_keys(cx, &s, i);
    if (j->ordered) all_rows(cx, &s);
}

// Where strips are tasks, those of as many units as there are threads take turns: a thread then seldom
// waits, and the units that are worked on at a time stay in the caches.
static void strip_task(const AttendRun *cx, int64_t task) {
    const SnAttendJob *j = cx->j;
    int64_t each = j->chain * j->strips;
    if (j->whole) {
        for (int64_t i = 0; i < each; i++) run_strip(cx, task, i);
        return;
    }
    int64_t first = task / (min64(j->threads, j->units) * each) * min64(j->threads, j->units);
    int64_t units = min64(min64(j->threads, j->units), j->units - first);
    int64_t at = task - first * each;
    run_strip(cx, first + at % units, at / units);
}

void sn_attend_run(const SnAttendJob *j, uint32_t phase, void *const *bufs, const SnEnv *env,
                   int64_t task0, int64_t task1, void *shared, void *scratch) {
    AttendRun cx = {j, bufs, env, shared, scratch};
    for (int64_t t = task0; t < task1; t++)
        phase == SN_ATTEND_PACK ? pack_task(&cx, t) : strip_task(&cx, t);
}

// A flash group: its parts (ir/flash.h) become kernels without a place to run, whose operations a target prints where its
// own kernels have scores in registers.
//
// Values of a row that a part reads beside its tile are loads of that part; masks of indices that decide whether a key
// is seen at all are found by asking what is left when they are false.
#include "codegen/interval.h"
#include "codegen/lower_value.h"
#include <string.h>

typedef struct {
    Lowering *l;
    LowerFlash *to;
    const Flash *x;
    NodeId mask[FLASH_MASKS];
    uint32_t masks;
} FlashLowering;

// ---- masks --------------------------------------------------------------------------------------

static bool is_below(const Func *f, NodeId n, NodeId of) {
    if (n == of) return true;
    for (uint32_t i = 0; i < node_at(f, of)->n; i++)
        if (n <= operand(f, of, i) && is_below(f, n, operand(f, of, i))) return true;
    return false;
}

// Conditions without which a key adds nothing to its row; of those that follow from each other the last.
static void find_masks(FlashLowering *x) {
    const Func *f = x->l->f;
    const Flash *s = x->x;
    NodeId out[2];
    uint32_t outs = 0;
    if (s->weight != NONE) out[outs++] = s->weight;
    if (s->dscore != NONE) out[outs++] = s->dscore;
    IndexBounds *b = interval_body(x->l->a, x->l->m, f, s->row, s->rows, s->key, s->keys);
    for (NodeId n = f->nodes.n; n-- > 0 && x->masks < FLASH_MASKS;) {
        const Type *t = type_of(x->l->m, f, n);
        bool below = false;
        if (t->elem != ELEM_bool || type_find(t, s->key) < 0) continue;
        for (uint32_t i = 0; i < x->masks; i++) below |= is_below(f, n, x->mask[i]);
        if (!below && interval_nothing_without(b, out, outs, n)) x->mask[x->masks++] = n;
    }
}

// The part of the scores that is computed.
static double seen(const FlashLowering *x) {
    enum { TILE = 64 };
    const Flash *s = x->x;
    NodeId out[2];
    uint32_t outs = 0;
    if (s->weight != NONE) out[outs++] = s->weight;
    if (s->dscore != NONE) out[outs++] = s->dscore;
    IndexBounds *b = interval_body(x->l->a, x->l->m, x->l->f, s->row, s->rows, s->key, s->keys);
    int64_t all = 0, some = 0;
    for (int64_t m = 0; m < s->rows; m += TILE)
        for (int64_t k = 0; k < s->keys; k += TILE) {
            int64_t m1 = m + TILE < s->rows ? m + TILE : s->rows;
            int64_t k1 = k + TILE < s->keys ? k + TILE : s->keys;
            all += (m1 - m) * (k1 - k);
            if (!interval_adds_nothing(b, out, outs, (IndexRange){m, m1 - 1},
                                       (IndexRange){k, k1 - 1}))
                some += (m1 - m) * (k1 - k);
        }
    return all ? (double)some / (double)all : 1;
}

// ---- parts --------------------------------------------------------------------------------------

// tile: what the part is given for each row and lane; store: what it makes of that. Lanes are keys, or features.
static bool add_part(FlashLowering *x, FlashPartKind kind, AxisId lane, const NodeId *tile,
                     uint32_t tiles, const NodeId *store, uint32_t stores) {
    FlashPart *to = &x->to->part[kind];
    StripStore s[2];
    Lowered low;
    Text why = {.arena = x->l->a};
    KId marked[FLASH_MASKS];
    StripShape shape = {.name = "flash", .tiles = tiles, .tile = tile, .store = s};
    for (uint32_t i = 0; i < stores; i++)
        if (store[i] != NONE) s[shape.stores++] = (StripStore){store[i], i, 0};
    shape.lanes = (AxisList){1, {lane}};
    shape.rows = x->x->outer;
    shape.rows.at[shape.rows.n++] = x->x->row;
    if (kind == FLASH_score || kind == FLASH_cell) {
        shape.mark = x->mask, shape.marks = x->masks;
        shape.marked = marked;
    }
    if (!lower_strip(x->l->a, x->l->m, x->l->f, &shape, &low, &why)) {
        x->l->failed = why.at;
        return false;
    }
    to->kernel = low.kernel;
    to->refs = low.refs;
    for (uint32_t i = 0; i < shape.marks; i++)
        if (marked[i] != NONE) to->mask[to->masks++] = marked[i];
    return true;
}

static bool add_forward(FlashLowering *x) {
    const Flash *s = x->x;
    x->to->kind[x->to->n++] = FLASH_forward;
    return add_part(x, FLASH_score, s->key, &s->product, 1, &s->score, 1) &&
           add_part(x, FLASH_weight, s->key, &s->exp, 1, &s->weight, 1) &&
           add_part(x, FLASH_shift, s->key, &s->peak, 1, &s->shift, 1) &&
           add_part(x, FLASH_finish, s->values, (NodeId[]){s->sums, s->peak, s->total}, 3,
                    &s->finish, 1);
}

// Both derivatives by keys and values in one kernel where two accumulators fit into registers.
static bool fit_together(const Flash *s) {
    enum { MOST = 128 };
    bool same = s->d <= MOST && s->e <= MOST;
    for (uint32_t i = 0; i < s->outer.n; i++)
        same &= flash_keeps(s, &s->dk, i) == flash_keeps(s, &s->dv, i);
    return same;
}

static bool add_backward(FlashLowering *x) {
    const Flash *s = x->x;
    FlashKernelKind *to = x->to->kind;
    if (s->dq.there) to[x->to->n++] = FLASH_dq;
    if (s->dk.there && s->dv.there && fit_together(s)) {
        to[x->to->n++] = FLASH_dkv;
    } else {
        if (s->dk.there) to[x->to->n++] = FLASH_dk;
        if (s->dv.there) to[x->to->n++] = FLASH_dv;
    }
    uint32_t tiles = s->slope == NONE ? 1 : 2;
    return add_part(x, FLASH_cell, s->key, (NodeId[]){s->product, s->slope}, tiles,
                    (NodeId[]){s->weight, s->dscore}, 2);
}

bool flash_keeps(const Flash *x, const FlashMatrix *m, uint32_t outer) {
    return m->outer[outer] != 0 || x->size[outer] == 1;
}

// ---- arguments ----------------------------------------------------------------------------------

static void add_arg(FlashArgs *to, const FlashMatrix *m, bool written) {
    if (!m->there) return;
    to->written |= (uint64_t)written << to->n;
    to->ref[to->n++] = (LowerRef){.result = m->result, .index = m->index};
}

static void add_refs(FlashArgs *to, const FlashPart *p) {
    for (uint32_t i = 0; i < p->refs.n; i++) {
        if (to->n == K_MAX_ARGS) return;
        to->ref[to->n++] = p->refs.at[i];
    }
}

FlashArgs flash_args(const LowerFlash *f, FlashKernelKind kind) {
    const Flash *s = &f->shape;
    FlashArgs to = {.n = 0};
    add_arg(&to, &s->q, false);
    add_arg(&to, &s->k, false);
    add_arg(&to, &s->v, false);
    add_arg(&to, &s->g, false);
    to.first_out = to.n;
    if (kind == FLASH_forward) {
        add_arg(&to, &s->out, true);
        add_arg(&to, &s->top, true);
        add_arg(&to, &s->sum, true);
    }
    if (kind == FLASH_dq) add_arg(&to, &s->dq, true);
    if (kind == FLASH_dkv || kind == FLASH_dk) add_arg(&to, &s->dk, true);
    if (kind == FLASH_dkv || kind == FLASH_dv) add_arg(&to, &s->dv, true);
    for (uint32_t i = 0; i < FLASH_PARTS; i++)
        if (f->part[i].kernel) {
            to.part[i] = to.n;
            add_refs(&to, &f->part[i]);
        }
    return to;
}

int64_t flash_flops(const LowerFlash *f, FlashKernelKind kind) {
    const Flash *s = &f->shape;
    double all = 2 * f->seen * (double)s->rows * (double)s->keys;
    for (uint32_t i = 0; i < s->outer.n; i++) all *= (double)s->size[i];
    double d = (double)s->d, e = (double)s->e;
    switch (kind) {
    case FLASH_forward: return (int64_t)(all * (d + e));
    case FLASH_dq:
    case FLASH_dk: return (int64_t)(all * (2 * d + e));
    case FLASH_dv: return (int64_t)(all * (d + e));
    case FLASH_dkv: return (int64_t)(all * (2 * d + 2 * e));
    }
    unreachable(kind);
}

bool lower_flash(Lowering *l, AxisId row, AxisId key, Lowered *out) {
    FlashLowering x = {.l = l, .to = &out->flash, .x = &out->flash.shape};
    const char *why;
    NodeId at;
    out->kind = LOWER_flash;
    if (!flash_of(l->a, l->m, l->f, row, key, &out->flash.shape, &why, &at)) {
        l->failed = why;
        return false;
    }
    find_masks(&x);
    out->flash.seen = seen(&x);
    return x.x->grad ? add_backward(&x) : add_forward(&x);
}

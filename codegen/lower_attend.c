// An attend group: its contractions become the parts of an SnAttend, what lies between them a strip kernel.
//
// A contraction that is a result is a sum, over keys or over rows; the others make tiles. Matrices lie in
// memory where their views say: every axis is an outer one, the step from row to row or key to key, or a
// feature, with a stride of its own.
#include "codegen/interval.h"
#include "codegen/lower_value.h"
#include <string.h>

enum {
    STRIP_ROWS = 48, // a multiple of all micro-kernels' rows, so that strips are the same for each
    STRIP_BYTES = 3 << 19 // of the tiles of a strip: a little more than a second level cache
};

typedef struct {
    Lowering *l;
    SnAttend *a;
    LowerAttend *to;
    AxisId row, key, outer[SN_ATTEND_OUTER];
    NodeId in[SN_ATTEND_TILES],
        out[SN_ATTEND_TILES]; // by tile: the product, and what the sums read
    uint32_t products, outs;
    IndexBounds *bounds;
} AttendParts;

static const Type *type_in(const Lowering *l, NodeId n) { return type_of(l->m, l->f, n); }
static bool has(const Lowering *l, NodeId n, AxisId a) { return type_find(type_in(l, n), a) >= 0; }

static bool is_result(const Func *f, NodeId n, uint32_t *index) {
    for (*index = 0; *index < f->results.n; (*index)++)
        if (f->results.at[*index].node == n) return true;
    return false;
}

static const char *const shape = "attention whose axes are more than a strip kernel has";

// A sum that has a value for each row and key: of tiles, over outer axes.
static bool is_dense(const AttendParts *p, NodeId n) {
    return node_at(p->l->f, n)->op == OP_reduce && has(p->l, n, p->key);
}

// An order of the outer axes in which every sum over rows walks those that its result lacks; from the order
// of the first product's.
static bool order_outer(AttendParts *p, NodeId product) {
    Lowering *l = p->l;
    const Type *t = type_in(l, product);
    uint32_t n = 0, left = 0;
    AxisId rest[MAX_AXES];
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis != p->row && t->axes[i].axis != p->key) rest[left++] = t->axes[i].axis;
    if (left > SN_ATTEND_OUTER) return false;
    for (uint32_t all = left; n < all;) {
        uint32_t take = left;
        for (uint32_t i = 0; i < left && take == left; i++) {
            bool first = true; // no list has an axis before it that is not there yet
            for (NodeId s = 0; s < l->f->nodes.n; s++) {
                if (node_at(l->f, s)->op != OP_contract && !is_dense(p, s)) continue;
                const Attr *at = attr_of(l->m, l->f, s);
                const AxisList *sum =
                    at->kind == ATTR_reduce ? &at->reduce.axes : &at->contract.axes;
                for (uint32_t k = 0; k < sum->n && sum->at[k] != rest[i] && list_has(sum, rest[i]);
                     k++)
                    for (uint32_t j = 0; j < left; j++) first &= rest[j] != sum->at[k];
            }
            if (first) take = i;
        }
        if (take == left) return false;
        p->a->outer[n] = t->axes[type_find(t, rest[take])].size;
        p->outer[n++] = rest[take];
        for (left--; take < left; take++) rest[take] = rest[take + 1];
    }
    p->a->nouter = n;
    return true;
}

typedef struct {
    View view;
    const Type *type;
    LowerRef ref;
} AttendMatrix;

static bool matrix_of(Lowering *l, NodeId n, AttendMatrix *out) {
    uint32_t index;
    out->type = type_in(l, n);
    if (is_result(l->f, n, &index)) {
        out->ref = (LowerRef){.result = true, .index = index};
        out->view = (View){.base = n};
        type_strides(out->type, out->view.stride);
        return true;
    }
    if (!ir_view(l->m, l->f, n, &out->view) || node_at(l->f, out->view.base)->op != OP_arg)
        return false;
    out->ref = (LowerRef){.result = false,
                          .index = (uint32_t)attr_of(l->m, l->f, out->view.base)->arg.index};
    return true;
}

static int64_t stride_in(const AttendMatrix *x, AxisId a) {
    int k = type_find(x->type, a);
    return k < 0 ? 0 : x->view.stride[k];
}

// x is what is read, y the keys of a product or the result of a sum; features: their axes, in order. elem: of
// what the tile holds.
static bool add_part(AttendParts *p, SnAttendKind kind, uint32_t tile, uint32_t elem,
                     const AttendMatrix *x, const AttendMatrix *y, const AxisList *features) {
    SnAttend *a = p->a;
    if (a->nparts == SN_ATTEND_PARTS) return false;
    p->to->x[a->nparts] = x->ref;
    p->to->y[a->nparts] = y->ref;
    SnAttendPart *s = &a->part[a->nparts++];
    *s = (SnAttendPart){.kind = kind,
                        .tile = tile,
                        .elem_x = x->type->elem,
                        .elem_y = y->type->elem,
                        .elem_tile = elem};
    if (!sn_multiplies(s->elem_x) || !sn_multiplies(s->elem_y) || !sn_multiplies(elem))
        return false;
    s->base_x = x->view.offset;
    s->base_y = y->view.offset;
    bool rows = kind == SN_ATTEND_KEYS || kind == SN_ATTEND_DENSE; // that y has
    s->step_x = stride_in(x, rows ? p->key : p->row);
    s->step_y = stride_in(y, rows ? p->row : p->key);
    for (uint32_t i = 0; i < a->nouter; i++) {
        s->outer_x[i] = stride_in(x, p->outer[i]);
        s->outer_y[i] = stride_in(y, p->outer[i]);
    }
    SnDim f[MAX_AXES];
    for (uint32_t i = 0; i < features->n; i++) {
        AxisId at = features->at[i];
        f[i] = (SnDim){x->type->axes[type_find(x->type, at)].size, stride_in(x, at),
                       stride_in(y, at), 0};
    }
    s->nf = sn_fold(f, features->n, f);
    if (s->nf > SN_GEMM_DIMS) return false;
    for (uint32_t i = 0; i < s->nf; i++) s->f[i] = f[i];
    return true;
}

static bool add_product(AttendParts *p, NodeId n) {
    Lowering *l = p->l;
    NodeId a = operand(l->f, n, 0), b = operand(l->f, n, 1);
    AttendMatrix x, y;
    if (p->products == SN_ATTEND_TILES) return false;
    if (has(l, a, p->key)) {
        NodeId swap = a;
        a = b, b = swap;
    }
    if (!matrix_of(l, a, &x) || !matrix_of(l, b, &y)) return false;
    p->in[p->products++] = n;
    return add_part(p, SN_ATTEND_PRODUCT, p->products - 1, ELEM_f32, &x, &y,
                    &attr_of(l->m, l->f, n)->contract.axes);
}

// What sums read lies where the products did.
static uint32_t tile_for(AttendParts *p, NodeId n) {
    uint32_t i = 0;
    while (i < p->outs && p->out[i] != n) i++;
    if (i == p->outs && i < SN_ATTEND_TILES) p->out[p->outs++] = n;
    return i;
}

static bool is_outer(const AttendParts *p, AxisId a) {
    for (uint32_t i = 0; i < p->a->nouter; i++)
        if (p->outer[i] == a) return true;
    return false;
}

static bool add_sum(AttendParts *p, NodeId n) {
    Lowering *l = p->l;
    NodeId w = operand(l->f, n, 0), v = operand(l->f, n, 1);
    if (!has(l, w, p->row) || !has(l, w, p->key)) {
        NodeId swap = w;
        w = v, v = swap;
    }
    AttendMatrix x, y;
    uint32_t tile = tile_for(p, w);
    if (tile == SN_ATTEND_TILES || !matrix_of(l, v, &x) || !matrix_of(l, n, &y)) return false;
    AxisList features = {0};
    for (uint32_t i = 0; i < x.type->n; i++) {
        AxisId a = x.type->axes[i].axis;
        if (a != p->row && a != p->key && !is_outer(p, a)) features.at[features.n++] = a;
    }
    SnAttendKind kind = has(l, n, p->row) ? SN_ATTEND_KEYS : SN_ATTEND_ROWS;
    return add_part(p, kind, tile, type_in(l, w)->elem, &x, &y, &features);
}

// The keys stand where other parts have features.
static bool add_dense(AttendParts *p, NodeId n) {
    AttendMatrix y;
    uint32_t tile = tile_for(p, operand(p->l->f, n, 0));
    AxisList keys = {1, {p->key}};
    if (tile == SN_ATTEND_TILES || !matrix_of(p->l, n, &y)) return false;
    AttendMatrix none = {.type = y.type, .ref = y.ref};
    if (!add_part(p, SN_ATTEND_DENSE, tile, ELEM_f32, &none, &y, &keys)) return false;
    const AxisList *over = &attr_of(p->l->m, p->l->f, n)->reduce.axes;
    const Type *from = type_in(p->l, operand(p->l->f, n, 0));
    int64_t count = 1;
    for (uint32_t i = 0; i < over->n; i++) count *= from->axes[type_find(from, over->at[i])].size;
    p->a->part[p->a->nparts - 1].chunk = fold_chunk(count);
    return true;
}

static bool add_parts(AttendParts *p) {
    const Func *f = p->l->f;
    uint32_t index;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_contract || is_result(f, n, &index)) continue;
        if (p->a->nparts == 0) {
            const Type *t = type_in(p->l, n);
            p->a->rows = t->axes[type_find(t, p->row)].size;
            p->a->keys = t->axes[type_find(t, p->key)].size;
            if (!order_outer(p, n)) return false;
        }
        if (!add_product(p, n)) return false;
    }
    for (NodeId n = 0; n < f->nodes.n; n++)
        if ((is_dense(p, n) && !add_dense(p, n)) ||
            (node_at(f, n)->op == OP_contract && is_result(f, n, &index) && !add_sum(p, n)))
            return false;
    return true;
}

// Nothing is added by keys from .. to for these rows.
static bool unseen(const AttendParts *p, int64_t row, int64_t from, int64_t to) {
    int64_t last = row + p->a->strip < p->a->rows ? row + p->a->strip : p->a->rows;
    return from >= to ||
           interval_adds_nothing(p->bounds, p->out, p->outs, (IndexRange){row, last - 1},
                                 (IndexRange){from, to - 1});
}

// The keys that a strip sees are found by halving, from both ends: of a range that is unseen as a whole every
// part is.
static SnHull hull_of(const AttendParts *p, int64_t row) {
    int64_t keys = p->a->keys, low = 0, high = keys / SN_ATTEND_HULL;
    while (low < high) { // the first `low` blocks are unseen
        int64_t mid = low + (high - low + 1) / 2;
        if (unseen(p, row, 0, mid * SN_ATTEND_HULL))
            low = mid;
        else
            high = mid - 1;
    }
    int64_t first = low * SN_ATTEND_HULL;
    for (low = first, high = keys; low < high;) { // from `high` on they are unseen
        int64_t mid = low + (high - low) / 2;
        if (unseen(p, row, mid, keys))
            high = mid;
        else
            low = mid + 1;
    }
    return (SnHull){(int32_t)first, (int32_t)high};
}

// Rows of the kernel are the outer axes and `row`. What sums read goes where the products were; folds that
// are results go to buffers.
static bool build_kernel(AttendParts *p, bool one_lane) {
    Lowering *l = p->l;
    StripStore store[SN_ATTEND_TILES + MAX_OPERANDS];
    StripShape x = {.tiles = p->products, .tile = p->in, .store = store, .lanes = {1, {p->key}}};
    for (uint32_t i = 0; i < l->f->results.n; i++) {
        NodeId n = l->f->results.at[i].node;
        if (node_at(l->f, n)->op != OP_contract && !is_dense(p, n))
            store[x.stores++] = (StripStore){n, NONE, i};
    }
    for (uint32_t i = 0; i < p->outs; i++)
        if (i >= p->products || p->out[i] != p->in[i])
            store[x.stores++] = (StripStore){p->out[i], i, 0};
    for (uint32_t i = 0; i < p->a->nouter; i++) x.rows.at[x.rows.n++] = p->outer[i];
    x.rows.at[x.rows.n++] = p->row;
    return build_strip(l, &x, one_lane);
}

bool lower_attend(Lowering *l, AxisId row, AxisId key, bool one_lane, Lowered *out) {
    for (NodeId n = 0; n < l->f->nodes.n; n++)
        if (node_at(l->f, n)->op == OP_contract && attr_of(l->m, l->f, n)->contract.tf32) {
            l->failed = "attention with products in tf32";
            return false;
        }
    AttendParts p = {.l = l, .a = &out->attend.attend, .to = &out->attend, .row = row, .key = key};
    out->kind = LOWER_attend;
    if (!add_parts(&p)) {
        l->failed = shape;
        return false;
    }
    p.a->tiles = p.products > p.outs ? p.products : p.outs;
    int64_t bytes = STRIP_ROWS * p.a->tiles * p.a->keys * (int64_t)sizeof(float);
    p.a->strip = bytes > STRIP_BYTES ? STRIP_ROWS / 2 : STRIP_ROWS;
    p.bounds = interval_body(l->a, l->m, l->f, row, p.a->rows, key, p.a->keys);
    for (int64_t r = 0; r < p.a->rows; r += p.a->strip)
        vec_push(l->a, &out->attend.hulls, hull_of(&p, r));
    return build_kernel(&p, one_lane);
}

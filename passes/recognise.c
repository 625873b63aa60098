// Attention, kept whole: the scores, what is made of them row by row, and the products that sum it up
// become one group, so that nothing as large as rows x keys is ever stored. Its body is the nodes as they
// were, so that what a region means, and every bit of it, is what it replaces.
//
//   c = a @ b            products: a has the rows, b the keys; what they make is a tile, rows x keys
//   t = map of tiles     elementwise, folds over the keys of a row, masks made of indices
//   o = t @[key] y       sums over keys, or over rows (the derivatives by b and y), or over other axes
//
// It is found after the derivatives are there, by what the operands are to each other and by no pattern of a
// softmax: any map of the scores, several products, dropout, windows, biases, grouped heads. The forward part is
// one region, the backward part another, which makes the tiles anew from the same a and b; only folds over
// rows (the maximum and the sum of a softmax) go from one to the other. A tile that anything else reads has
// to be stored, and then nothing is gained: not formed, with the reason and the place in the ledger.
//
// Attentions that share a tile, as two that sum the same values do in their derivative, are one. A sum
// with an accumulator is a sum, and an addition outside: acc + total either way.
//
// Bit-neutral. Needs functions cut into micro-batches, and the orders of layout; comes before chunk, which
// would cut long folds. O(nodes) for each region.
#include "passes/recognise.h"
#include "ir/flash.h"
#include "ir/view.h"
#include "passes/rewrite.h"
#include <stdlib.h>

enum {
    MAX_TILES = 8, // of a part: products, and sums
    MAX_PARTS = 12,
    MAX_FEATURES = 4096, // a chain over them is one segment
    MAX_ARGS = 64        // of a command: two for each product and sum, and those of the kernel
};

typedef struct {
    AxisId row, key;
    TypeId tile;                    // of the first product: the axes of all tiles
    AxisList outer;                 // the others of it, in order
    NodeList products, nodes, sums; // of both directions
    const char *why;                // it is not formed, NULL: it is
    NodeId at;                      // what is to blame
    bool taken;                     // into another one, which has its tiles
} Attention;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    uint8_t *data;    // by node: depends on data, not on states alone
    uint8_t *free;    // made of indices alone
    uint8_t *result;  // of the function
    NodeId *score;    // the product that a node follows from elementwise, or NONE
    uint32_t *owner;  // 1 + number of the attention whose tile or row it is
    uint32_t *passed; // 1 + number of the last attention whose products were looked for here
    bool tensor;      // for tensor cores
    VEC(Attention) found;
} AttendSearch;

static const Node *node(const AttendSearch *s, NodeId n) { return node_at(s->f, n); }
static const Type *type(const AttendSearch *s, NodeId n) { return type_of(s->m, s->f, n); }
static bool has(const AttendSearch *s, NodeId n, AxisId a) { return type_find(type(s, n), a) >= 0; }
static bool is_elementwise(uint32_t op) {
    return op_info[op].reads == READS_SAME || op_info[op].reads == READS_ORDER;
}
// Results keep a bound and no bits: sums may run in any order.
static bool on_tensor_cores(const AttendSearch *s) { return s->tensor; }
static bool is_backward(const AttendSearch *s, NodeId n) { return node(s, n)->phase != PHASE_F; }
static const AxisList *summed(const AttendSearch *s, NodeId n) {
    return &attr_of(s->m, s->f, n)->contract.axes;
}
static bool contains(const NodeList *v, NodeId n) {
    for (uint32_t i = 0; i < v->n; i++)
        if (v->at[i] == n) return true;
    return false;
}

// ---- finding ------------------------------------------------------------------------------------

// Operand i of contraction n brings the rows and the other one the keys: a product of this attention.
static bool is_product(const AttendSearch *s, NodeId n, AxisId row, AxisId key) {
    if (node(s, n)->op != OP_contract || !has(s, n, row) || !has(s, n, key)) return false;
    for (uint32_t i = 0; i < 2; i++) {
        NodeId a = operand(s->f, n, i), b = operand(s->f, n, 1 - i);
        if (has(s, a, row) && !has(s, a, key) && has(s, b, key) && !has(s, b, row)) return true;
    }
    return false;
}

// A tile: all axes of a product, whatever the element.
static bool is_tile(const AttendSearch *s, const Attention *x, NodeId n) {
    const Type *t = type(s, n), *tile = type_at(s->m, x->tile);
    bool same = t->n == tile->n;
    for (uint32_t i = 0; same && i < t->n; i++) same = type_find(tile, t->axes[i].axis) >= 0;
    return same; // sizes too: it is an operand with a tile, or is computed from one
}

// A value for each row, or for some of the axes of one.
static bool is_row(const AttendSearch *s, const Attention *x, NodeId n) {
    const Type *t = type(s, n), *tile = type_at(s->m, x->tile);
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis == x->key || type_find(tile, t->axes[i].axis) < 0) return false;
    return true;
}

static bool refuse(Attention *x, NodeId at, const char *why) {
    if (!x->why) x->why = why, x->at = at;
    return false;
}

// Whether n has few enough elements at one row or key and one index of each outer axis.
static bool has_few_features(const AttendSearch *s, Attention *x, NodeId n) {
    const Type *t = type(s, n), *tile = type_at(s->m, x->tile);
    int64_t all = 1;
    for (uint32_t i = 0; i < t->n; i++)
        if (type_find(tile, t->axes[i].axis) < 0) all *= t->axes[i].size;
    return all <= MAX_FEATURES || refuse(x, n, "has too many features");
}

// The first n of the summed axes are outer ones, in their order.
static bool in_order(const Attention *x, const AxisList *l, uint32_t n) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        while (at < x->outer.n && x->outer.at[at] != l->at[i]) at++;
        if (at++ == x->outer.n) return false;
    }
    return true;
}

static bool add_sum(AttendSearch *s, Attention *x, NodeId n) {
    if (!contains(&x->sums, n)) vec_push(s->a, &x->sums, n);
    return true; // taken
}

// A pair of what is summed over several outer indices' rows would be of two strips.
static bool tears_pairs(const AttendSearch *s, const Attention *x, NodeId t, NodeId y) {
    const Type *tile = type(s, t);
    return tile->elem == ELEM_bf16 && type(s, y)->elem == ELEM_bf16 &&
           tile->axes[type_find(tile, x->row)].size % 2;
}

// A contraction that reads tile t: sums over keys or over rows.
static bool take_sum(AttendSearch *s, Attention *x, NodeId n, NodeId t) {
    NodeId y = operand(s->f, n, operand(s->f, n, 0) == t ? 1 : 0);
    const AxisList *axes = summed(s, n);
    if (node(s, n)->n == 3 && operand(s->f, n, 2) == t)
        return refuse(x, n, "adds to the scores otherwise than as a product");
    if (y == t || is_tile(s, x, y)) return refuse(x, n, "multiplies scores with each other");
    bool over_keys = axes->n == 1 && axes->at[0] == x->key && !has(s, y, x->row);
    AxisList walked = {0}; // those of one index have no place in an order
    for (uint32_t i = 0; i < axes->n; i++)
        if (type(s, t)->axes[type_find(type(s, t), axes->at[i])].size > 1)
            walked.at[walked.n++] = axes->at[i];
    bool over_rows = list_has(&walked, x->row) && !has(s, y, x->key) &&
                     (on_tensor_cores(s) || walked.at[walked.n - 1] == x->row);
    if (!over_keys && !over_rows) return refuse(x, n, "sums neither over keys alone nor over rows");
    if (over_rows && !on_tensor_cores(s) && !in_order(x, &walked, walked.n - 1))
        return refuse(x, n, "sums its rows in another order");
    if (over_rows && walked.n > 1 && !on_tensor_cores(s) && tears_pairs(s, x, t, y))
        return refuse(x, n, "sums pairs of bf16 over an odd number of rows, several times");
    return has_few_features(s, x, y) && add_sum(s, x, n);
}

// Tiles of several outer indices added up: the derivative of a bias that has a value for each row and key.
static bool is_outer_sum(const AttendSearch *s, const Attention *x, NodeId n) {
    const Attr *a = attr_of(s->m, s->f, n);
    return a->reduce.kind == REDUCE_sum && a->reduce.by == FOLD_col && !a->reduce.part &&
           in_order(x, &a->reduce.axes, a->reduce.axes.n);
}

// Node n is of attention `of` already: all of that is of x from now on.
static void take_all(AttendSearch *s, Attention *x, NodeId n, Attention *of, uint32_t number) {
    if (on_tensor_cores(s) || of->why || of->row != x->row || of->key != x->key ||
        !is_tile(s, x, of->products.at[0])) {
        refuse(x, n, "belongs to two attentions");
        return;
    }
    of->taken = true;
    for (uint32_t i = 0; i < of->nodes.n; i++) {
        s->owner[of->nodes.at[i]] = number;
        vec_push(s->a, &x->nodes, of->nodes.at[i]);
    }
    for (uint32_t i = 0; i < of->products.n; i++) vec_push(s->a, &x->products, of->products.at[i]);
    of->nodes.n = of->products.n = of->sums.n = 0;
}

static void take_node(AttendSearch *s, Attention *x, NodeId n, uint32_t number) {
    if (s->owner[n] == number) return;
    if (s->owner[n]) {
        take_all(s, x, n, &s->found.at[s->owner[n] - 1], number);
        return;
    }
    s->owner[n] = number;
    vec_push(s->a, &x->nodes, n);
}

static bool take_product(AttendSearch *s, Attention *x, NodeId n, uint32_t number) {
    if (s->owner[n] == number) return true;
    if (!s->owner[n]) vec_push(s->a, &x->products, n);
    take_node(s, x, n, number);
    return !x->why && has_few_features(s, x, operand(s->f, n, 0));
}

// What reads node t of the attention.
static bool take_reader(AttendSearch *s, Attention *x, NodeId n, NodeId t, uint32_t number) {
    const Node *r = node(s, n);
    bool tile = is_tile(s, x, t);
    if (is_elementwise(r->op) && (is_tile(s, x, n) || (!tile && is_row(s, x, n)))) {
        take_node(s, x, n, number);
        return !x->why;
    }
    if (!tile) return true; // rows may be read by anything
    if (is_tile(s, x, n) && is_product(s, n, x->row, x->key)) return take_product(s, x, n, number);
    if (r->op == OP_contract) return take_sum(s, x, n, t);
    if (r->op == OP_reduce) {
        const Attr *a = attr_of(s->m, s->f, n);
        if (is_outer_sum(s, x, n)) return add_sum(s, x, n);
        if (a->reduce.axes.n != 1 || a->reduce.axes.at[0] != x->key || a->reduce.by != FOLD_row)
            return refuse(x, n, "folds something else than the keys of a row");
        take_node(s, x, n, number);
        return !x->why;
    }
    return refuse(x, n,
                  op_info[r->op].kind == OPK_SCALAR || r->op == OP_expand
                      ? "has other axes than the scores"
                      : "reads the scores elsewhere than at one row and key");
}

// The products that a tile is made of, beside those of which it is known: they are of this attention too.
static bool take_sources(AttendSearch *s, Attention *x, NodeId n, uint32_t number) {
    VEC(NodeId) stack = {0};
    vec_push(s->a, &stack, n);
    while (stack.n) {
        n = stack.at[--stack.n];
        uint32_t first = is_elementwise(node(s, n)->op)  ? 0
                         : node(s, n)->op == OP_contract ? 2
                                                         : MAX_OPERANDS;
        for (uint32_t k = first; k < node(s, n)->n; k++) {
            NodeId o = operand(s->f, n, k);
            if (s->passed[o] == number || s->owner[o] == number || !is_tile(s, x, o)) continue;
            s->passed[o] = number;
            if (!is_product(s, o, x->row, x->key))
                vec_push(s->a, &stack, o);
            else if (!take_product(s, x, o, number))
                return false;
        }
    }
    return true;
}

// All that follows from the products, through tiles and rows.
static bool flood(AttendSearch *s, Attention *x, uint32_t number) {
    for (uint32_t i = 0; i < x->nodes.n; i++) {
        NodeId t = x->nodes.at[i];
        bool tile = is_tile(s, x, t);
        if (tile && s->result[t]) return refuse(x, t, "is a result of the function");
        for (uint32_t k = s->users.first[t]; k < s->users.first[t + 1]; k++)
            if (!take_reader(s, x, s->users.list[k], t, number)) return false;
        if (tile && !take_sources(s, x, t, number)) return false;
    }
    return true;
}

// The row axis: the last one of w that only the left side of the product has and that y lacks; on tensor cores,
// where rows are many at a time, the longest.
static AxisId row_axis(const AttendSearch *s, NodeId product, NodeId w, NodeId y, AxisId key) {
    const Type *t = type(s, w);
    AxisId best = 0;
    int64_t size = 1;
    for (uint32_t i = t->n; i-- > 0;) {
        AxisId a = t->axes[i].axis;
        if (a == key || t->axes[i].size <= size || has(s, y, a) || !is_product(s, product, a, key))
            continue;
        best = a, size = on_tensor_cores(s) ? t->axes[i].size : INT64_MAX;
    }
    return best;
}

// A product itself, rounded or not: nothing is made of it.
static bool is_bare(const AttendSearch *s, NodeId w) {
    while (node(s, w)->op == OP_cast) w = operand(s->f, w, 0);
    return node(s, w)->op == OP_contract;
}

static void seed(AttendSearch *s, NodeId n, uint32_t i) {
    NodeId w = operand(s->f, n, i), y = operand(s->f, n, 1 - i), product = s->score[w];
    if (product == NONE || is_bare(s, w) || s->owner[product]) return;
    AxisId key = summed(s, n)->at[summed(s, n)->n - 1];
    if (!has(s, product, key) || type(s, product)->elem != ELEM_f32) return;
    AxisId row = row_axis(s, product, w, y, key);
    // where a side is a parameter the product is a layer or a classifier, and as large as other values
    if (!row || !s->data[operand(s->f, product, 0)] || !s->data[operand(s->f, product, 1)] ||
        !s->data[y])
        return;
    Attention x = {.row = row, .key = key, .tile = node(s, product)->type};
    const Type *t = type(s, w);
    for (uint32_t k = 0; k < t->n; k++)
        if (t->axes[k].axis != row && t->axes[k].axis != key)
            x.outer.at[x.outer.n++] = t->axes[k].axis;
    uint32_t number = s->found.n + 1;
    take_product(s, &x, product, number);
    if (summed(s, n)->n != 1)
        refuse(&x, n, "sums keys of several axes");
    else
        flood(s, &x, number);
    vec_push(s->a, &s->found, x);
}

// A product of data with a sum that attention does not have: found, to say why not. It has an axis of its own
// from either side.
static void seed_other(AttendSearch *s, NodeId n, uint32_t i) {
    NodeId w = operand(s->f, n, i), product = s->score[w];
    if (product == NONE || is_bare(s, w) || s->owner[product] || is_backward(s, product)) return;
    NodeId a = operand(s->f, product, 0), b = operand(s->f, product, 1);
    if (s->owner[a] || s->owner[b]) return; // a sum of another one
    AxisId row = 0, key = 0;
    const Type *t = type(s, product);
    for (uint32_t k = 0; k < t->n; k++) {
        if (!has(s, b, t->axes[k].axis) && t->axes[k].size > 1) row = t->axes[k].axis;
        if (!has(s, a, t->axes[k].axis) && t->axes[k].size > 1) key = t->axes[k].axis;
    }
    if (!row || !key || !s->data[a] || !s->data[b]) return;
    Attention x = {.row = row, .key = key, .tile = node(s, product)->type};
    take_product(s, &x, product, s->found.n + 1);
    flood(s, &x, s->found.n + 1);
    refuse(&x, n, "sums neither over keys alone nor over rows");
    vec_push(s->a, &s->found, x);
}

static void seed_all(AttendSearch *s) {
    for (NodeId n = 0; n < s->f->nodes.n; n++) {
        const Node *x = node(s, n);
        s->free[n] = op_info[x->op].reads == READS_NOTHING || (x->n && op_reads_one(x->op));
        s->score[n] = x->op == OP_contract ? n : NONE;
        for (uint32_t j = 0; j < x->n; j++) {
            NodeId o = operand(s->f, n, j);
            s->free[n] &= s->free[o];
            if (is_elementwise(x->op) && s->score[n] == NONE) s->score[n] = s->score[o];
        }
    }
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        for (uint32_t i = 0; i < 2 && node(s, n)->op == OP_contract && !is_backward(s, n); i++)
            seed(s, n, i);
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        for (uint32_t i = 0; i < 2 && node(s, n)->op == OP_contract && !is_backward(s, n); i++)
            seed_other(s, n, i);
}

static AttendSearch search(PassCx *cx, Func *f, bool tensor) {
    Arena *a = cx->scratch;
    uint32_t count = f->nodes.n + 1;
    AttendSearch s = {
        .cx = cx, .m = cx->m, .f = f, .a = a, .users = func_users(a, f), .tensor = tensor};
    s.data = func_samples(a, cx->m, f);
    s.free = NEW_ARRAY(a, uint8_t, count);
    s.result = NEW_ARRAY(a, uint8_t, count);
    s.score = NEW_ARRAY(a, NodeId, count);
    s.owner = NEW_ARRAY(a, uint32_t, count);
    s.passed = NEW_ARRAY(a, uint32_t, count);
    for (uint32_t i = 0; i < f->results.n; i++) s.result[f->results.at[i].node] = 1;
    seed_all(&s);
    return s;
}

const uint8_t *attention_tiles(PassCx *cx, Func *f) {
    AttendSearch s = search(cx, f, false);
    uint8_t *tiles = NEW_ARRAY(s.a, uint8_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < s.found.n; i++) {
        const Attention *x = &s.found.at[i];
        for (uint32_t k = 0; k < x->nodes.n && !x->why; k++)
            tiles[x->nodes.at[k]] = is_tile(&s, x, x->nodes.at[k]);
    }
    return tiles;
}

// ---- parts --------------------------------------------------------------------------------------

// One region: the sums of one direction and what they need.
typedef struct {
    Attention *of;
    bool backward;
    uint32_t walk; // that found its body
    NodeList sums;
    NodeList posts;      // what is made of sums alone before they are stored, where the kernels can
    NodeList body, args; // in order
    NodeList
        results; // in order: sums or what ends them, and folds over rows that something else reads
    NodeId made; // the group, in the function to be
} AttendPart;

typedef struct {
    AttendSearch *s;
    VEC(AttendPart) parts;
    // by node: the last walk that came by, that has it inside, that has it outside as well; each has a
    // number of its own, from 1
    uint32_t *seen, *body, *again, walks;
    uint8_t *stored; // by node: a product or a sum of the part at hand reads it by strides
    uint32_t *part;  // by node: 1 + number of the part whose result it is
    NodeId *sum;     // by node: such a sum without its accumulator, in the function to be
} AttendForm;

// What is read by strides, down to the memory.
static bool is_view(const AttendSearch *s, NodeId n) {
    View v;
    return op_info[node(s, n)->op].kind == OPK_VIEW && ir_view(s->m, s->f, n, &v) && v.base != n;
}

// Whether node n, which something inside reads, is computed inside too.
static bool belongs(const AttendForm *m, const AttendPart *p, NodeId n) {
    const AttendSearch *s = m->s;
    const Node *x = node(s, n);
    const Attention *t = p->of;
    if (m->stored[n] || op_info[x->op].reads == READS_STORED) return false;
    if (s->owner[n] == (uint32_t)(t - s->found.at) + 1)
        return !p->backward || x->op != OP_reduce || is_backward(s, n);
    if (s->free[n] || is_view(s, n)) return true;
    if (x->op == OP_gather && !is_view(s, operand(s->f, n, 0)) &&
        op_info[node(s, operand(s->f, n, 0))->op].reads != READS_STORED)
        return false;
    return op_reads_one(x->op) && has(s, n, t->row) && has(s, n, t->key);
}

static int by_id(const void *a, const void *b) {
    NodeId x = *(const NodeId *)a, y = *(const NodeId *)b;
    return x < y ? -1 : x > y;
}

// Operands that node n inside of a part needs there: an accumulator is added to a sum outside.
static uint32_t inner_operands(const AttendSearch *s, const AttendPart *p, NodeId n) {
    return node(s, n)->op == OP_contract && contains(&p->sums, n) ? 2 : node(s, n)->n;
}

// What products and sums of this direction read beside tiles lies in memory.
static void mark_stored(AttendForm *m, const AttendPart *p, const NodeList *parts, bool on) {
    AttendSearch *s = m->s;
    for (uint32_t i = 0; i < parts->n; i++)
        for (uint32_t k = 0; k < 2 && node(s, parts->at[i])->op == OP_contract; k++) {
            NodeId o = operand(s->f, parts->at[i], k);
            View v;
            if (is_tile(s, p->of, o) || (is_backward(s, parts->at[i]) && !p->backward)) continue;
            m->stored[ir_view(s->m, s->f, o, &v) ? v.base : o] = on;
        }
}

// What the sums need, and the folds over rows: those that no sum reads would have to read stored tiles.
static void fill(AttendForm *m, AttendPart *p) {
    AttendSearch *s = m->s;
    uint32_t number = p->walk = ++m->walks;
    NodeList stack = {0};
    mark_stored(m, p, &p->of->products, true);
    mark_stored(m, p, &p->sums, true);
    for (uint32_t i = 0; i < p->of->nodes.n; i++) {
        NodeId n = p->of->nodes.at[i];
        if (node(s, n)->op != OP_reduce || is_backward(s, n) != p->backward ||
            contains(&p->sums, n))
            continue;
        m->seen[n] = number;
        vec_push(s->a, &stack, n);
    }
    for (uint32_t i = 0; i < p->results.n; i++) {
        m->seen[p->results.at[i]] = number;
        vec_push(s->a, &stack, p->results.at[i]);
    }
    while (stack.n) {
        NodeId n = stack.at[--stack.n];
        bool inside = contains(&p->sums, n) || contains(&p->posts, n) || belongs(m, p, n);
        vec_push(s->a, inside ? &p->body : &p->args, n);
        if (inside) m->body[n] = number;
        for (uint32_t i = 0; inside && i < inner_operands(s, p, n); i++) {
            NodeId o = operand(s->f, n, i);
            if (m->seen[o] == number) continue;
            m->seen[o] = number;
            vec_push(s->a, &stack, o);
        }
    }
    mark_stored(m, p, &p->of->products, false);
    mark_stored(m, p, &p->sums, false);
    qsort(p->body.at, p->body.n, sizeof *p->body.at, by_id);
    if (p->args.n) qsort(p->args.at, p->args.n, sizeof *p->args.at, by_id);
}

// Folds over rows that are needed outside of the part, in the other direction too, become results of it. What
// else of its body is read outside is computed there again, from them.
static void keep_folds(AttendForm *m, AttendPart *p) {
    AttendSearch *s = m->s;
    for (uint32_t i = p->body.n; i-- > 0;) {
        NodeId n = p->body.at[i];
        bool read = s->result[n];
        for (uint32_t k = s->users.first[n]; k < s->users.first[n + 1]; k++) {
            NodeId u = s->users.list[k];
            read |= m->body[u] != p->walk || m->again[u] == p->walk;
        }
        if (!read || contains(&p->results, n)) continue;
        if (node(s, n)->op == OP_reduce)
            vec_push(s->a, &p->results, n);
        else
            m->again[n] = p->walk;
    }
}

// What node n of the function to be waits for: a result of a part for all arguments of that, and for what is
// added to it.
static void push_needs(const AttendForm *m, NodeId n, NodeList *to) {
    const AttendSearch *s = m->s;
    const AttendPart *p = m->part[n] ? &m->parts.at[m->part[n] - 1] : NULL;
    for (uint32_t i = 0; p && i < p->args.n; i++) vec_push(s->a, to, p->args.at[i]);
    for (uint32_t i = p ? inner_operands(s, p, n) : 0; i < node(s, n)->n; i++)
        vec_push(s->a, to, operand(s->f, n, i));
}

// Something inside, or an operand, is computed from one of its results; the parts that are formed need all
// their operands for each of theirs.
static bool waits_for_itself(AttendForm *m, const AttendPart *p) {
    AttendSearch *s = m->s;
    NodeList stack = {0};
    uint32_t walk = ++m->walks;
    for (uint32_t i = 0; i < p->body.n; i++)
        for (uint32_t k = 0; k < inner_operands(s, p, p->body.at[i]); k++)
            if (contains(&p->sums, operand(s->f, p->body.at[i], k)) &&
                !contains(&p->posts, p->body.at[i]))
                return true;
    for (uint32_t i = 0; i < p->args.n; i++) vec_push(s->a, &stack, p->args.at[i]);
    while (stack.n) {
        NodeId n = stack.at[--stack.n];
        if (m->seen[n] == walk) continue;
        m->seen[n] = walk;
        if (contains(&p->results, n)) return true;
        push_needs(m, n, &stack);
    }
    return false;
}

// Its results are made by the part with this number; 0: apart.
static void give_results(AttendForm *m, const AttendPart *p, uint32_t number) {
    for (uint32_t i = 0; i < p->results.n; i++) m->part[p->results.at[i]] = number;
}

// On tensor cores a sum is finished before it is stored: multiplied by values of its row, and rounded.
static NodeId end_of(AttendSearch *s, AttendPart *p, NodeId sum) {
    if (node(s, sum)->n == 3) return sum; // what it is added to comes first
    for (NodeId end = sum;;) {
        NodeId next = s->users.first[end] + 1 == s->users.first[end + 1] && !s->result[end]
                          ? s->users.list[s->users.first[end]]
                          : NONE;
        bool takes = next != NONE && is_elementwise(node(s, next)->op) &&
                     type(s, next)->n == type(s, sum)->n;
        for (uint32_t i = 0; takes && i < node(s, next)->n; i++) {
            NodeId o = operand(s->f, next, i);
            takes = o == end || s->free[o] || (s->owner[o] && is_row(s, p->of, o));
        }
        if (!takes) return end;
        vec_push(s->a, &p->posts, next);
        end = next;
    }
}

static void cut_part(AttendForm *m, Attention *x, bool backward) {
    AttendSearch *s = m->s;
    AttendPart p = {.of = x, .backward = backward, .made = NONE};
    for (uint32_t i = 0; i < x->sums.n; i++)
        if (is_backward(s, x->sums.at[i]) == backward) {
            vec_push(s->a, &p.sums, x->sums.at[i]);
            vec_push(s->a, &p.results,
                     on_tensor_cores(s) ? end_of(s, &p, x->sums.at[i]) : x->sums.at[i]);
        }
    if (!p.sums.n) return;
    fill(m, &p);
    keep_folds(m, &p);
    vec_push(s->a, &m->parts, p);
}

// What the plan's 'nofuse' selects is computed by itself, so not in here.
static void keep_apart(AttendSearch *s, Attention *x, const NodeList *body) {
    for (uint32_t i = 0; i < s->m->demands.n; i++) {
        const Demand *d = &s->m->demands.at[i];
        const char *why =
            ledger_said(s->a, s->m->diag, "stays by itself: the plan says nofuse", d->loc);
        for (uint32_t k = 0; d->kind == DEMAND_nofuse && k < body->n; k++)
            if (demand_selects(s->m, d, s->f, body->at[k]) && !is_view(s, body->at[k]))
                refuse(x, body->at[k], why);
    }
}

static Builder builder_for(Module *m, Func *to, const Node *n) {
    Builder b = {.m = m, .f = to};
    builder_like(&b, n);
    return b;
}

// A product or a sum, and an addition where it has an accumulator inside.
static NodeId write_product(const AttendForm *m, const AttendPart *p, Builder *b, NodeId n,
                            const NodeId *inner) {
    const AttendSearch *s = m->s;
    NodeId in[2] = {inner[operand(s->f, n, 0)], inner[operand(s->f, n, 1)]};
    NodeId made = ir_node(b, OP_contract, attr_of(s->m, s->f, n), in, 2, node(s, n)->type);
    return inner_operands(s, p, n) == 2 ? made
                                        : ir_binary(b, OP_add, inner[operand(s->f, n, 2)], made);
}

// The body, and in inner what its nodes are.
static Func *write_body(AttendForm *m, const AttendPart *p, NodeId *inner, FuncId *id) {
    AttendSearch *s = m->s;
    uint32_t number = (uint32_t)(p - m->parts.at);
    Func *to =
        func_new(s->m, arena_printf(s->a, "%s.a%u", sym_str(s->m->syms, s->f->name), number), id);
    to->region = true;
    for (uint32_t i = 0; i < p->args.n; i++) {
        NodeId n = p->args.at[i];
        Builder b = builder_for(s->m, to, node(s, n));
        inner[n] = ir_arg(&b, i, node(s, n)->type);
    }
    for (uint32_t i = 0; i < p->body.n; i++) {
        NodeId n = p->body.at[i];
        Builder b = builder_for(s->m, to, node(s, n));
        inner[n] = node(s, n)->op == OP_contract ? write_product(m, p, &b, n, inner)
                                                 : copy_node(&b, s->f, n, inner);
    }
    for (uint32_t i = 0; i < p->results.n; i++)
        func_result(s->m, to, "", inner[p->results.at[i]], RESULT_value);
    return to;
}

// How many operands of the group are q, k, v or g, which may be parts of one value.
static uint32_t matrices_of(const Flash *x) {
    const FlashMatrix *all[] = {&x->q, &x->k, &x->v, &x->g};
    uint32_t n = 0;
    for (uint32_t i = 0; i < 4; i++) {
        bool first = all[i]->there;
        for (uint32_t j = 0; j < i; j++) first &= !all[j]->there || all[j]->index != all[i]->index;
        n += first;
    }
    return n;
}

// What is in the way of a kernel on tensor cores that reads `values` beside q, k, v and g, or NULL. Each part of the
// forward pass may read all of them; backward a tile of rows has them in shared memory, beside its features.
static const char *has_no_room(const Flash *x, uint32_t values) {
    enum { MATRICES = 7, MANY_FEATURES = 128, BESIDE_MANY = 12 };
    const uint32_t parts = x->grad ? 1 : 4;
    if (parts * values + MATRICES >= MAX_ARGS) return "reads too many values";
    if (x->grad && (x->d > MANY_FEATURES || x->e > MANY_FEATURES) && values > BESIDE_MANY)
        return "reads too many values beside more than 128 features";
    return NULL;
}

// Whether tensor cores have the form of the part.
static void check_tensor(AttendForm *m, Attention *x, const AttendPart *p) {
    AttendSearch *s = m->s;
    FuncId id;
    Flash flash;
    const char *why;
    NodeId at;
    NodeId *inner = NEW_ARRAY(s->a, NodeId, s->f->nodes.n + 1);
    Func *body = write_body(m, p, inner, &id);
    if (!flash_of(s->a, s->m, body, x->row, x->key, &flash, &why, &at)) {
        NodeId n = x->products.at[0];
        for (uint32_t i = 0; i < p->args.n; i++)
            if (inner[p->args.at[i]] == at) n = p->args.at[i];
        for (uint32_t i = 0; i < p->body.n; i++)
            if (inner[p->body.at[i]] == at) n = p->body.at[i];
        refuse(x, n, why);
    } else {
        why = has_no_room(&flash, p->args.n - matrices_of(&flash));
        if (why) refuse(x, x->products.at[0], why);
    }
    CHECK(id + 1 == s->m->funcs.n, "recognise: function %u is not the last one", id);
    s->m->funcs.n--; // it was to look at
}

static uint32_t products_in(const AttendPart *p) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->of->products.n; i++)
        count += contains(&p->body, p->of->products.at[i]);
    return count;
}

// Both directions, or none.
static void cut(AttendForm *m, Attention *x) {
    AttendSearch *s = m->s;
    uint32_t before = m->parts.n;
    cut_part(m, x, false);
    cut_part(m, x, true);
    AttendPart *parts = &m->parts.at[before];
    uint32_t count = m->parts.n - before;
    for (uint32_t i = 0; i < count; i++) {
        NodeList *results = &parts[i].results;
        qsort(results->at, results->n, sizeof *results->at, by_id);
        uint32_t sums = parts[i].sums.n, products = products_in(&parts[i]);
        if (sums > MAX_TILES || products > MAX_TILES || sums + products > MAX_PARTS)
            refuse(x, parts[i].sums.at[sums - 1], "is one sum too many");
        if (parts[i].args.n + results->n + 2 * (products + sums) > MAX_ARGS)
            refuse(x, results->at[0], "reads too many values");
        if (waits_for_itself(m, &parts[i])) refuse(x, results->at[0], "waits for itself");
        keep_apart(s, x, &parts[i].body);
        if (on_tensor_cores(s) && !x->why) check_tensor(m, x, &parts[i]);
        give_results(m, &parts[i], before + i + 1);
    }
    for (uint32_t i = 0; x->why && i < count; i++) give_results(m, &parts[i], 0);
    if (x->why) m->parts.n = before;
}

// ---- writing the function again -----------------------------------------------------------------

static void mark_live(AttendForm *m, uint8_t *live) {
    AttendSearch *s = m->s;
    NodeList stack = {0};
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        if (s->result[n] || node(s, n)->op == OP_assign) vec_push(s->a, &stack, n);
    while (stack.n) {
        NodeId n = stack.at[--stack.n];
        if (live[n]) continue;
        live[n] = 1;
        push_needs(m, n, &stack);
    }
}

static void write_part(AttendForm *m, AttendPart *p, Rewrite *r, NodeId *inner) {
    AttendSearch *s = m->s;
    FuncId id;
    NodeId args[MAX_OPERANDS];
    write_body(m, p, inner, &id);
    for (uint32_t i = 0; i < p->args.n; i++) args[i] = r->map[p->args.at[i]];
    Attr attr = {.kind = ATTR_group};
    attr.group.kind = on_tensor_cores(s) ? GROUP_flash : GROUP_attend;
    attr.group.body = id;
    attr.group.row = p->of->row;
    attr.group.key = p->of->key;
    NodeId last = p->sums.at[p->sums.n - 1];
    rewrite_like(r, last);
    p->made = ir_node(&r->b, OP_group, &attr, args, p->args.n, node(s, p->results.at[0])->type);
    for (uint32_t i = 0; i < p->results.n; i++) {
        NodeId n = p->results.at[i];
        Attr part = {.kind = ATTR_part};
        part.part.index = i;
        rewrite_like(r, n);
        m->sum[n] =
            i == 0 ? p->made : ir_node(&r->b, OP_part, &part, &p->made, 1, node(s, n)->type);
    }
}

static void write_result(AttendForm *m, Rewrite *r, NodeId *inner, NodeId n) {
    AttendPart *p = &m->parts.at[m->part[n] - 1];
    if (p->made == NONE) write_part(m, p, r, inner);
    rewrite_like(r, n);
    r->map[n] = m->sum[n];
    if (inner_operands(m->s, p, n) < node(m->s, n)->n)
        r->map[n] = ir_binary(&r->b, OP_add, r->map[operand(m->s->f, n, 2)], m->sum[n]);
}

// Node n after all that it needs.
static void write_node(AttendForm *m, Rewrite *r, NodeId *inner, NodeId n) {
    AttendSearch *s = m->s;
    NodeList stack = {0}, needs = {0};
    vec_push(s->a, &stack, n);
    while (stack.n) {
        n = stack.at[stack.n - 1];
        needs.n = 0;
        if (r->map[n] == NONE) push_needs(m, n, &needs);
        uint32_t before = stack.n;
        for (uint32_t i = 0; i < needs.n; i++)
            if (r->map[needs.at[i]] == NONE) vec_push(s->a, &stack, needs.at[i]);
        if (stack.n > before) continue;
        stack.n--;
        if (r->map[n] != NONE) continue;
        if (m->part[n])
            write_result(m, r, inner, n);
        else
            rewrite_copy(r, n);
    }
}

static void write_all(AttendForm *m) {
    AttendSearch *s = m->s;
    uint8_t *live = NEW_ARRAY(s->a, uint8_t, s->f->nodes.n + 1);
    NodeId *inner = NEW_ARRAY(s->a, NodeId, s->f->nodes.n + 1);
    mark_live(m, live);
    Rewrite r;
    rewrite_begin(&r, s->cx, s->f);
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        if (live[n] && r.map[n] == NONE) write_node(m, &r, inner, n);
    rewrite_end(&r);
}

// ---- the pass -----------------------------------------------------------------------------------

static const char *name_of(const AttendSearch *s, NodeId n) {
    const char *name = sym_str(s->m->syms, node(s, n)->name);
    return *name ? name : op_info[node(s, n)->op].name;
}

// Tiles that are stored where no region is formed: products, and what is summed up.
static int64_t stored_tiles(const AttendSearch *s, const Attention *x) {
    NodeList tiles = {0};
    for (uint32_t i = 0; i < x->products.n; i++) vec_push(s->a, &tiles, x->products.at[i]);
    for (uint32_t i = 0; i < x->sums.n; i++)
        for (uint32_t j = 0; j < node(s, x->sums.at[i])->n; j++) {
            NodeId o = operand(s->f, x->sums.at[i], j);
            if (is_tile(s, x, o) && !contains(&tiles, o)) vec_push(s->a, &tiles, o);
        }
    return (int64_t)tiles.n * type_bytes(type_at(s->m, x->tile));
}

static void record(const AttendSearch *s, const Attention *x) {
    NodeId n = x->why ? x->at : x->products.at[0];
    Decision d = {.done = !x->why,
                  .func = sym_str(s->m->syms, s->f->name),
                  .pass = "recognise",
                  .rule = "attention",
                  .subject = name_of(s, x->products.at[0]),
                  .bytes = stored_tiles(s, x),
                  .loc = node(s, n)->loc};
    if (x->why)
        ledger_add(s->cx->ledger, d, "kept decomposed: '%s' %s",
                   ledger_class(s->a, name_of(s, x->at)), x->why);
    else
        ledger_add(s->cx->ledger, d, "products: %u, sums: %u, %s; nothing of rows x keys is stored",
                   x->products.n, x->sums.n,
                   on_tensor_cores(s) ? "on tensor cores" : "in strips of rows");
}

// Whether a demand is about attention number i + 1: a value of it, or one that would be if nothing stood in
// the way.
static bool is_about(const AttendSearch *s, const Demand *d, uint32_t i) {
    const Attention *x = &s->found.at[i];
    for (NodeId n = 0; n < s->f->nodes.n; n++) {
        bool of = s->owner[n] == i + 1 || contains(&x->sums, n);
        for (uint32_t k = 0; k < x->products.n; k++) of |= s->score[n] == x->products.at[k];
        if (of && demand_selects(s->m, d, s->f, n)) return true;
    }
    return false;
}

static void report(const AttendSearch *s, const Demand *d, const Attention *x) {
    Diag *diag = s->m->diag;
    if (diag_has_error(diag, d->loc)) return;
    diag_error(diag, d->loc, "'%s' is not fused: its attention is kept decomposed, '%s' %s",
               sym_str(s->m->syms, d->path), name_of(s, x->at), x->why);
    diag_note(diag, node(s, x->at)->loc, "'%s' is computed here", name_of(s, x->at));
}

// The plan's 'fuse': attention that it selects is formed, or the plan is at fault.
static void check_demands(const AttendSearch *s) {
    for (uint32_t i = 0; i < s->m->demands.n; i++) {
        const Demand *d = &s->m->demands.at[i];
        Decision kept = {.done = true,
                         .func = sym_str(s->m->syms, s->f->name),
                         .pass = "recognise",
                         .rule = "demand",
                         .subject = sym_str(s->m->syms, d->path),
                         .loc = d->loc};
        for (uint32_t k = 0; k < s->found.n && d->kind == DEMAND_fuse; k++) {
            if (s->found.at[k].taken || !is_about(s, d, k)) continue;
            if (s->found.at[k].why)
                report(s, d, &s->found.at[k]);
            else
                ledger_add(s->cx->ledger, kept, "the plan: attention is kept whole");
        }
    }
}

static bool recognise_func(PassCx *cx, Func *f) {
    uint32_t count = f->nodes.n + 1;
    Arena *a = cx->scratch;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_group) return false; // they are formed
    AttendSearch s = search(cx, f, cx->target->attends == ATTENDS_tensor);
    AttendForm m = {.s = &s};
    m.seen = NEW_ARRAY(a, uint32_t, count);
    m.body = NEW_ARRAY(a, uint32_t, count);
    m.again = NEW_ARRAY(a, uint32_t, count);
    m.stored = NEW_ARRAY(a, uint8_t, count);
    m.part = NEW_ARRAY(a, uint32_t, count);
    m.sum = NEW_ARRAY(a, NodeId, count);
    for (uint32_t i = 0; i < s.found.n; i++) {
        Attention *x = &s.found.at[i];
        if (x->taken) continue;
        if (cx->target->attends == ATTENDS_not)
            refuse(x, x->products.at[0], "has no kernel on this target");
        if (!x->why) cut(&m, x);
        record(&s, x);
    }
    check_demands(&s);
    if (m.parts.n) write_all(&m);
    return m.parts.n > 0;
}

bool pass_recognise(PassCx *cx) {
    bool changed = false;
    uint32_t count = cx->m->funcs.n; // bodies are appended while we walk
    for (uint32_t i = 0; i < count && !cx->unfused; i++)
        if (!cx->m->funcs.at[i]->region) changed |= recognise_func(cx, cx->m->funcs.at[i]);
    return changed;
}

// See flash.h. By roles: which contractions make rows x keys, what depends on what. Linear in nodes for each question.
#include "ir/flash.h"

typedef struct {
    Arena *a;
    const Module *m;
    const Func *f;
    Flash *x;
    const char *why;
    NodeId at;
} FlashSearch;

static bool refuse(FlashSearch *s, NodeId at, const char *why) {
    if (!s->why) s->why = why, s->at = at;
    return false;
}
static const Type *type(const FlashSearch *s, NodeId n) { return type_of(s->m, s->f, n); }
static bool has(const FlashSearch *s, NodeId n, AxisId a) { return type_find(type(s, n), a) >= 0; }
static uint32_t op(const FlashSearch *s, NodeId n) { return node_at(s->f, n)->op; }

NodeId flash_rounded(const Func *f, NodeId n) {
    while (node_at(f, n)->op == OP_cast) n = operand(f, n, 0);
    return n;
}

// ---- what depends on what -----------------------------------------------------------------------

// Whether n is computed from `from`. Does not look behind `stop` (NONE: nothing).
static bool depends(const FlashSearch *s, NodeId n, NodeId from, NodeId stop) {
    if (from == NONE || n < from || n == stop) return false;
    uint8_t *on = NEW_ARRAY(s->a, uint8_t, n - from + 1); // from `from` on
    on[0] = 1;
    for (NodeId i = from + 1; i <= n; i++)
        for (uint32_t k = 0; k < node_at(s->f, i)->n && i != stop; k++) {
            NodeId o = operand(s->f, i, k);
            on[i - from] |= o >= from && on[o - from];
        }
    return on[n - from];
}

// n is `of` times what does not depend on it.
static bool is_linear(const FlashSearch *s, NodeId n, NodeId of) {
    if (n == of) return true;
    NodeId a = node_at(s->f, n)->n ? operand(s->f, n, 0) : NONE;
    NodeId b = node_at(s->f, n)->n > 1 ? operand(s->f, n, 1) : NONE;
    switch ((int)op(s, n)) {
    case OP_cast:
    case OP_neg:
    case OP_expand: return is_linear(s, a, of);
    case OP_mul:
        return depends(s, a, of, NONE) ? is_linear(s, a, of) && !depends(s, b, of, NONE)
                                       : is_linear(s, b, of);
    case OP_div: return is_linear(s, a, of) && !depends(s, b, of, NONE);
    case OP_select: {
        NodeId c = operand(s->f, n, 2);
        if (depends(s, a, of, NONE)) return false;
        return node_is_zero(s->m, s->f, c) ? is_linear(s, b, of)
                                           : node_is_zero(s->m, s->f, b) && is_linear(s, c, of);
    }
    default: return false;
    }
}

// ---- matrices -----------------------------------------------------------------------------------

static bool is_result(const FlashSearch *s, NodeId n, uint32_t *index) {
    for (*index = 0; *index < s->f->results.n; (*index)++)
        if (s->f->results.at[*index].node == n) return true;
    return false;
}

static int64_t stride_along(const Type *t, const int64_t *stride, AxisId a) {
    int k = type_find(t, a);
    return k < 0 ? 0 : stride[k];
}

// features: 0, or the axis whose elements are neighbours.
static bool set_matrix(FlashSearch *s, NodeId n, AxisId row, AxisId features, FlashMatrix *to) {
    const Type *t = type(s, n);
    View v = {.base = n};
    *to = (FlashMatrix){.there = true, .elem = t->elem};
    if (is_result(s, n, &to->index)) {
        to->result = true;
        type_strides(t, v.stride);
    } else {
        if (!ir_view(s->m, s->f, n, &v) || op(s, v.base) != OP_arg)
            return refuse(s, n, "is not stored as rows of features");
        to->index = (uint32_t)attr_of(s->m, s->f, v.base)->arg.index;
    }
    to->base = v.offset;
    to->row = stride_along(t, v.stride, row);
    bool words = to->base % 8 == 0 && to->row % 8 == 0;
    for (uint32_t i = 0; i < s->x->outer.n; i++) {
        to->outer[i] = stride_along(t, v.stride, s->x->outer.at[i]);
        words &= to->outer[i] % 8 == 0;
    }
    if (!features) return true;
    int64_t adjacent = stride_along(t, v.stride, features);
    if (adjacent != 1 || !words) return refuse(s, n, "has no features in words of 16 bytes");
    return true;
}

// What tensor cores multiply.
static bool check_operand(FlashSearch *s, NodeId n) {
    Flash *x = s->x;
    uint32_t elem = type(s, n)->elem;
    if (elem != ELEM_bf16 && elem != ELEM_f16) return refuse(s, n, "is not rounded to 16 bits");
    if (x->elem == ELEM_COUNT) x->elem = elem;
    return elem == x->elem || refuse(s, n, "has another element type than the others");
}

static bool set_operand(FlashSearch *s, NodeId n, AxisId row, AxisId features, FlashMatrix *to) {
    return check_operand(s, n) && set_matrix(s, n, row, features, to);
}

static bool set_features(FlashSearch *s, NodeId n, const AxisList *axes, AxisId *to,
                         int64_t *size) {
    if (axes->n != 1) return refuse(s, n, "has features of several axes");
    *to = axes->at[0];
    const Type *t = type(s, operand(s->f, n, 0));
    *size = t->axes[type_find(t, *to)].size;
    if (*size % 8 != 0) return refuse(s, n, "has features that are no multiple of 8");
    if (*size > FLASH_FEATURES) return refuse(s, n, "has more than 256 features");
    return true;
}

// Operand of a product: of the rows, or of the keys.
static NodeId side(const FlashSearch *s, NodeId product, AxisId axis) {
    NodeId a = operand(s->f, product, 0);
    return has(s, a, axis) ? a : operand(s->f, product, 1);
}
// Of a sum: the tile that it reads, the other operand.
static NodeId tile_of(const FlashSearch *s, NodeId sum) {
    NodeId a = operand(s->f, sum, 0);
    return has(s, a, s->x->row) && has(s, a, s->x->key) ? a : operand(s->f, sum, 1);
}
static NodeId other_of(const FlashSearch *s, NodeId sum) {
    NodeId a = operand(s->f, sum, 0);
    return a == tile_of(s, sum) ? operand(s->f, sum, 1) : a;
}

static bool set_shape(FlashSearch *s, NodeId product) {
    Flash *x = s->x;
    const Type *t = type(s, product);
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        if (a == x->row) x->rows = t->axes[i].size;
        if (a == x->key) x->keys = t->axes[i].size;
        if (a == x->row || a == x->key) continue;
        x->size[x->outer.n] = t->axes[i].size;
        x->outer.at[x->outer.n++] = a;
    }
    return true;
}

static bool set_score_product(FlashSearch *s, NodeId n) {
    Flash *x = s->x;
    x->product = n;
    return check_operand(s, side(s, n, x->row)) &&
           set_features(s, n, &attr_of(s->m, s->f, n)->contract.axes, &x->features, &x->d) &&
           set_operand(s, side(s, n, x->row), x->row, x->features, &x->q) &&
           set_operand(s, side(s, n, x->key), x->key, x->features, &x->k);
}

// ---- forward ------------------------------------------------------------------------------------

static bool add_fold(FlashSearch *s, NodeId n) {
    const Attr *at = attr_of(s->m, s->f, n);
    NodeId *to = at->reduce.kind == REDUCE_max ? &s->x->peak : &s->x->total;
    if (at->reduce.kind != REDUCE_max && at->reduce.kind != REDUCE_sum)
        return refuse(s, n, "is neither the maximum nor the sum of a softmax");
    if (*to != NONE) return refuse(s, n, "is one fold too many");
    *to = n;
    return true;
}

static bool is_softmax(FlashSearch *s) {
    Flash *x = s->x;
    if (x->peak == NONE) return refuse(s, x->product, "has no maximum of each row");
    if (x->total == NONE) return refuse(s, x->product, "has no sum of each row");
    x->score = operand(s->f, x->peak, 0);
    x->exp = operand(s->f, x->total, 0);
    if (op(s, x->exp) != OP_exp) return refuse(s, x->exp, "is summed and no exponential");
    NodeId from = operand(s->f, x->exp, 0);
    if (op(s, from) != OP_sub || operand(s->f, from, 0) != x->score)
        return refuse(s, x->exp, "is not of the scores less a value of the row");
    x->shift = operand(s->f, from, 1);
    if (has(s, x->shift, x->key) || depends(s, x->shift, x->total, NONE))
        return refuse(s, x->exp, "is not of the scores less a value of the row");
    if (depends(s, x->score, x->peak, NONE) || depends(s, x->score, x->total, NONE))
        return refuse(s, x->score, "depends on a fold of its row");
    return true;
}

static bool is_finish(FlashSearch *s, NodeId n) {
    Flash *x = s->x;
    const Type *a = type(s, n), *b = type(s, x->sums);
    bool same = a->n == b->n;
    for (uint32_t i = 0; i < b->n && same; i++) same = type_find(a, b->axes[i].axis) >= 0;
    if (!same || !depends(s, n, x->sums, NONE)) return refuse(s, n, "is no result of attention");
    return true;
}

// What finishes a row is computed from the row alone.
static bool finishes(FlashSearch *s, NodeId end) {
    Flash *x = s->x;
    uint8_t *need = NEW_ARRAY(s->a, uint8_t, end + 1);
    need[end] = 1;
    for (NodeId n = end + 1; n-- > 0;) {
        if (!need[n] || n == x->sums || n == x->peak || n == x->total) continue;
        if (has(s, n, x->key)) return refuse(s, n, "is read at single keys behind the sum");
        for (uint32_t i = 0; i < node_at(s->f, n)->n; i++) need[operand(s->f, n, i)] = 1;
    }
    return true;
}

static bool is_forward(FlashSearch *s) {
    Flash *x = s->x;
    NodeId sum = x->sums;
    if (!is_softmax(s)) return false;
    x->weight = flash_rounded(s->f, tile_of(s, sum));
    if (!is_linear(s, x->weight, x->exp)) return refuse(s, x->weight, "is not linear in exp");
    NodeId all[] = {x->product, x->peak, x->total};
    for (uint32_t i = 0; i < 3; i++)
        if (depends(s, x->weight, all[i], x->exp))
            return refuse(s, x->weight, "depends on scores besides their exponential");
    AxisList values = {0};
    const Type *v = type(s, other_of(s, sum));
    for (uint32_t i = 0; i < v->n; i++)
        if (has(s, sum, v->axes[i].axis) && !has(s, x->product, v->axes[i].axis))
            values.at[values.n++] = v->axes[i].axis;
    if (values.n != 1) return refuse(s, sum, "has features of several axes");
    x->values = values.at[0];
    x->e = v->axes[type_find(v, x->values)].size;
    if (x->e % 8 != 0 || x->e > FLASH_FEATURES)
        return refuse(s, sum, "has features that are no multiple of 8 up to 256");
    if (!set_operand(s, other_of(s, sum), x->key, x->values, &x->v)) return false;
    for (uint32_t i = 0; i < s->f->results.n; i++) {
        NodeId n = s->f->results.at[i].node;
        if (n == x->peak || n == x->total) {
            if (!set_matrix(s, n, x->row, 0, n == x->peak ? &x->top : &x->sum)) return false;
            continue;
        }
        if (x->out.there) return refuse(s, n, "is one result too many");
        if (!is_finish(s, n) || !set_matrix(s, n, x->row, x->values, &x->out)) return false;
        x->finish = flash_rounded(s->f, n);
        if (!finishes(s, x->finish)) return false;
    }
    return x->out.there || refuse(s, sum, "is no result");
}

// ---- backward -----------------------------------------------------------------------------------

// The product that has n as an operand, or NONE.
static NodeId product_with(const FlashSearch *s, const NodeId *product, uint32_t n, NodeId of) {
    for (uint32_t i = 0; i < n; i++)
        if (operand(s->f, product[i], 0) == of || operand(s->f, product[i], 1) == of)
            return product[i];
    return NONE;
}

static bool same_or_first(NodeId *to, NodeId n) {
    if (*to == NONE) *to = n;
    return *to == n;
}

// A sum of dc reads q or k, and both products are in dc; that of w reads g.
static bool add_grad_sum(FlashSearch *s, const NodeId *product, uint32_t n, NodeId sum) {
    Flash *x = s->x;
    NodeId tile = flash_rounded(s->f, tile_of(s, sum)), other = other_of(s, sum);
    bool both = n == 2 && depends(s, tile, product[0], NONE) && depends(s, tile, product[1], NONE);
    NodeId of = product_with(s, product, n, other);
    if (!both && !has(s, sum, x->row)) { // dv, whose g need not make a tile
        if (!same_or_first(&x->weight, tile)) return refuse(s, tile, "is a second weight");
        if (of != NONE && !same_or_first(&x->slope, of))
            return refuse(s, sum, "sums what makes no scores");
        return true;
    }
    if (!both || of == NONE || !same_or_first(&x->product, of))
        return refuse(s, sum, "sums what makes no scores");
    if (!same_or_first(&x->slope, product[of == product[0] ? 1 : 0]))
        return refuse(s, sum, "sums what makes no scores");
    return same_or_first(&x->dscore, tile) || refuse(s, tile, "is a second derivative of scores");
}

static bool set_grad_result(FlashSearch *s, NodeId sum, NodeId result) {
    Flash *x = s->x;
    if (has(s, sum, x->row)) {
        if (x->dq.there) return refuse(s, sum, "is one sum too many");
        return set_matrix(s, result, x->row, x->features, &x->dq);
    }
    bool weights = flash_rounded(s->f, tile_of(s, sum)) == x->weight;
    FlashMatrix *to = weights ? &x->dv : &x->dk;
    if (to->there) return refuse(s, sum, "is one sum too many");
    if (!weights) return set_matrix(s, result, x->key, x->features, to);
    NodeId g = other_of(s, sum);
    if (!x->values) {
        AxisList values = {0};
        const Type *t = type(s, g);
        for (uint32_t i = 0; i < t->n; i++)
            if (t->axes[i].axis != x->row && !list_has(&x->outer, t->axes[i].axis))
                values.at[values.n++] = t->axes[i].axis;
        if (values.n != 1) return refuse(s, sum, "has features of several axes");
        x->values = values.at[0];
        x->e = t->axes[type_find(t, x->values)].size;
        if (x->e % 8 != 0 || x->e > FLASH_FEATURES)
            return refuse(s, sum, "has features that are no multiple of 8 up to 256");
        if (!set_operand(s, g, x->row, x->values, &x->g)) return false;
    }
    return set_matrix(s, result, x->key, x->values, to);
}

// The sum that a result ends.
static NodeId sum_of(const FlashSearch *s, NodeId result) {
    NodeId n = flash_rounded(s->f, result);
    return op(s, n) == OP_contract ? n : NONE;
}

static bool is_backward(FlashSearch *s, const NodeId *product, uint32_t n) {
    Flash *x = s->x;
    for (uint32_t i = 0; i < s->f->results.n; i++) {
        NodeId sum = sum_of(s, s->f->results.at[i].node);
        if (sum == NONE) return refuse(s, s->f->results.at[i].node, "is no sum over rows or keys");
        if (!add_grad_sum(s, product, n, sum)) return false;
    }
    if (x->product == NONE) // dv alone: the other one is not needed
        x->product = n == 1 ? product[0] : product[x->slope == product[0] ? 1 : 0];
    if (x->dscore == NONE) x->slope = NONE;
    if (!set_score_product(s, x->product)) return false;
    if (x->weight != NONE && x->slope != NONE && depends(s, x->weight, x->slope, NONE))
        return refuse(s, x->weight, "depends on its own derivative");
    if (x->slope != NONE &&
        (!set_features(s, x->slope, &attr_of(s->m, s->f, x->slope)->contract.axes, &x->values,
                       &x->e) ||
         !set_operand(s, side(s, x->slope, x->row), x->row, x->values, &x->g) ||
         !set_operand(s, side(s, x->slope, x->key), x->key, x->values, &x->v)))
        return false;
    for (uint32_t i = 0; i < s->f->results.n; i++) {
        NodeId result = s->f->results.at[i].node;
        if (!set_grad_result(s, sum_of(s, result), result)) return false;
    }
    return true;
}

// ---- all ----------------------------------------------------------------------------------------

static bool search(FlashSearch *s) {
    Flash *x = s->x;
    NodeId product[2];
    uint32_t n = 0;
    for (NodeId i = 0; i < s->f->nodes.n; i++) {
        if (op(s, i) == OP_reduce && !add_fold(s, i)) return false;
        if (op(s, i) != OP_contract) continue;
        if (has(s, i, x->row) && has(s, i, x->key)) {
            if (n == 2) return refuse(s, i, "is one product too many");
            product[n++] = i;
            continue;
        }
        x->sums = i;
    }
    if (n == 0) return refuse(s, 0, "has no product");
    if (!set_shape(s, product[0])) return false;
    if (x->sums == NONE) return refuse(s, product[0], "has no sum");
    x->grad = x->peak == NONE && x->total == NONE && (n == 2 || !has(s, x->sums, x->row));
    if (x->grad) return is_backward(s, product, n);
    if (n != 1) return refuse(s, product[1], "is one product too many");
    return set_score_product(s, product[0]) && is_forward(s);
}

bool flash_of(Arena *a, const Module *m, const Func *body, AxisId row, AxisId key, Flash *x,
              const char **why, NodeId *at) {
    FlashSearch s = {.a = a, .m = m, .f = body, .x = x};
    *x = (Flash){.row = row, .key = key, .elem = ELEM_COUNT};
    x->product = x->slope = x->score = x->peak = x->shift = x->exp = x->total = NONE;
    x->weight = x->sums = x->finish = x->dscore = NONE;
    bool ok = search(&s);
    *why = s.why, *at = s.at;
    return ok;
}

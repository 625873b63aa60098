// Fusion, before the first step: what a library's matrix product takes along besides a bias: a function of
// ir/epilogue.def, its derivative, and sums of columns, each in one place:
//
//   v = product + bias;  y = f(v)                      stores y, and v for the derivative
//   d = product * f'(v)                                stores d, and the sum of its rows: b's gradient
//   product(x, d) over the rows                        stores the sum of d's rows beside it
//
// These are decided here, on the function as it is, because they overrule what fuse_inline.c would
// choose: v is stored, and what lies between is computed by the product alone. Everything else about
// them is fusion's: they are members of the product's group (Fuse.product).
//
// Not bit-neutral: the library has functions of its own and adds columns in an order of its own. So they are
// taken only when asked for (PassCx.library); else the ledger says what could be. O(nodes).
#include "ir/epilogue.h"
#include "passes/fuse.h"
#include <string.h>

// A product as one call: rows x columns, each from one operand. Its last axes are the columns.
typedef struct {
    AxisList rows, columns;
    uint32_t side[2]; // operand with the rows, with the columns
} Linear;

// The axes, in this order, walk as one in the view: *stride is the last one's.
static bool walks_as_one(const Type *t, const View *v, const AxisList *axes, int64_t *stride,
                         int64_t *size) {
    *size = 1;
    *stride = 0;
    for (uint32_t i = axes->n; i-- > 0;) {
        int k = type_find(t, axes->at[i]);
        if (k < 0) return false;
        if (i + 1 == axes->n) *stride = v->stride[k];
        if (v->stride[k] != *stride * *size) return false;
        *size *= t->axes[k].size;
    }
    return axes->n > 0;
}

// The operand is one matrix of these axes with neighbours along one of them.
static bool is_matrix(const Fuse *x, NodeId o, const AxisList *kept, const AxisList *summed) {
    View v;
    int64_t stride[2], size[2];
    const Type *t = type_of(x->m, x->f, o);
    if (!ir_view(x->m, x->f, o, &v) || !walks_as_one(t, &v, kept, &stride[0], &size[0]) ||
        !walks_as_one(t, &v, summed, &stride[1], &size[1]))
        return false;
    return (stride[0] == 1 && stride[1] >= size[0]) || (stride[1] == 1 && stride[0] >= size[1]);
}

static bool linear_of(const Fuse *x, NodeId n, Linear *out) {
    *out = (Linear){.side = {0, 1}};
    if (node_at(x->f, n)->op != OP_contract || x->apart[n]) return false;
    const Type *t = type_of(x->m, x->f, n);
    const Type *in[2] = {type_of(x->m, x->f, operand(x->f, n, 0)),
                         type_of(x->m, x->f, operand(x->f, n, 1))};
    if (t->n == 0 || t->elem != ELEM_f32) return false;
    if (type_find(in[1], t->axes[t->n - 1].axis) < 0) out->side[0] = 1, out->side[1] = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        bool row = type_find(in[out->side[0]], a) >= 0;
        if (row == (type_find(in[out->side[1]], a) >= 0)) return false; // a batch
        if (row && out->columns.n) return false;
        AxisList *to = row ? &out->rows : &out->columns;
        to->at[to->n++] = a;
    }
    const AxisList *summed = &attr_of(x->m, x->f, n)->contract.axes;
    return is_matrix(x, operand(x->f, n, out->side[0]), &out->rows, summed) &&
           is_matrix(x, operand(x->f, n, out->side[1]), &out->columns, summed);
}

static int64_t size_of(const Type *t, const AxisList *axes) {
    int64_t n = 1;
    for (uint32_t i = 0; i < axes->n; i++) n *= t->axes[type_find(t, axes->at[i])].size;
    return n;
}

// cuBLASLt wants a multiple of 8 between the columns of what it keeps or reads beside the result.
static bool may_keep(const Fuse *x, NodeId product, const Linear *l) {
    return size_of(type_of(x->m, x->f, product), &l->columns) % 8 == 0;
}

// ---- users --------------------------------------------------------------------------------------

static uint32_t user_count(const Fuse *x, NodeId n) {
    return x->users.first[n + 1] - x->users.first[n];
}
static NodeId user_at(const Fuse *x, NodeId n, uint32_t i) {
    return x->users.list[x->users.first[n] + i];
}

static bool used_outside(const Fuse *x, NodeId n, const Smooth *s) {
    if (x->is_result[n]) return true;
    for (uint32_t i = 0; i < user_count(x, n); i++)
        if (!smooth_has(s, user_at(x, n, i))) return true;
    return false;
}

// Whether it is to be done; either way the ledger says so. bytes: memory traffic that it saves.
static bool decide(const Fuse *x, NodeId n, const char *what, int64_t bytes) {
    bool take = x->cx->library;
    ledger_add(x->cx->ledger,
               (Decision){.done = take,
                          .func = sym_str(x->m->syms, x->f->name),
                          .pass = "fuse",
                          .rule = "library",
                          .subject = fuse_name(x, n),
                          .bytes = bytes,
                          .loc = node_at(x->f, n)->loc},
               take ? "%s by the product's own call, in the library's rounding"
                    : "%s could be part of the product's call (--cublaslt-epilogues), in the "
                      "library's rounding",
               what);
    return take;
}

// ---- sums of rows -------------------------------------------------------------------------------

// fold sums all of `rows`, leaving `columns`; cut into parts by chunk.c, their sum is *total.
static bool sums_rows(const Fuse *x, NodeId fold, const AxisList *rows, const AxisList *columns,
                      NodeId *total) {
    if (node_at(x->f, fold)->op != OP_reduce) return false;
    const Attr *at = attr_of(x->m, x->f, fold);
    if (at->reduce.kind != REDUCE_sum || at->reduce.by == FOLD_row ||
        !list_same(&at->reduce.axes, rows))
        return false;
    *total = fold;
    if (at->reduce.part) {
        if (user_count(x, fold) != 1 || x->is_result[fold]) return false;
        *total = user_at(x, fold, 0);
        const Attr *sum = attr_of(x->m, x->f, *total);
        if (node_at(x->f, *total)->op != OP_reduce || sum->reduce.kind != REDUCE_sum ||
            sum->reduce.axes.n != 1 || sum->reduce.axes.at[0] != at->reduce.part)
            return false;
    }
    const Type *t = type_of(x->m, x->f, *total);
    for (uint32_t i = 0; i < t->n; i++)
        if (i >= columns->n || t->axes[i].axis != columns->at[i]) return false;
    return t->n == columns->n;
}

// The first user of n that sums its rows.
static NodeId find_sum(const Fuse *x, NodeId n, const AxisList *rows, const AxisList *columns,
                       NodeId *total) {
    for (uint32_t i = 0; i < user_count(x, n); i++) {
        NodeId fold = user_at(x, n, i);
        if (x->live[fold] && x->product[fold] == NONE && !x->offered[fold] &&
            sums_rows(x, fold, rows, columns, total) && !x->apart[fold] && !x->apart[*total])
            return fold;
    }
    return NONE;
}

static void take_along(Fuse *x, NodeId product, NodeId n) {
    x->product[n] = product;
    x->need[n] = 1;
}

// Offers the sum of what has this type to the product; false: it is not taken.
static bool offer_sum(Fuse *x, NodeId product, NodeId summed, NodeId fold, NodeId total) {
    x->offered[fold] = 1;
    if (!decide(x, total, "a bias's gradient", type_bytes(type_of(x->m, x->f, summed))))
        return false;
    x->product[fold] = product;
    take_along(x, product, total);
    return true;
}

// The rows of d, which the product makes, are summed.
static void find_sum_of_result(Fuse *x, NodeId product, NodeId d, const Linear *l) {
    NodeId total, fold = find_sum(x, d, &l->rows, &l->columns, &total);
    if (fold != NONE) offer_sum(x, product, d, fold, total);
}

// ---- functions of the elements ------------------------------------------------------------------

// v = product + bias among the nodes of s, whose leaves are the two.
static NodeId biased(const Fuse *x, const Smooth *s, NodeId product, NodeId bias) {
    for (uint32_t i = 0; i < s->n; i++) {
        NodeId n = s->node[i];
        if (node_at(x->f, n)->op != OP_add) continue;
        NodeId a = operand(x->f, n, 0), b = operand(x->f, n, 1);
        if ((a == product && b == bias) || (a == bias && b == product)) return n;
    }
    return NONE;
}

// The bias is a state with the columns' axes.
static bool is_bias(const Fuse *x, NodeId bias, const Linear *l) {
    const Type *t = type_of(x->m, x->f, bias);
    if (node_at(x->f, bias)->op != OP_state || t->n != l->columns.n) return false;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis != l->columns.at[i]) return false;
    return true;
}

// What lies between is computed in the call, so nothing may need it from memory, and the plan not keep it apart.
static bool stays_inside(const Fuse *x, const Smooth *s, NodeId out, NodeId kept) {
    for (uint32_t i = 0; i < s->n; i++)
        if (x->apart[s->node[i]] ||
            (s->node[i] != out && s->node[i] != kept && x->need[s->node[i]]))
            return false;
    return true;
}

static void inside(Fuse *x, const Smooth *s, NodeId out) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->node[i] != out && x->product[s->node[i]] == NONE) x->forced[s->node[i]] = 1;
}

// y = f(v); stop: by value v that is kept, which f (ProductFunction), for find_gradient.
static void find_value(Fuse *x, NodeId y, uint8_t *stop) {
    Smooth s;
    Linear l;
    if (!smooth_of(x->m, x->f, y, NULL, &s) || s.leaves > 2) return;
    uint32_t p = 0;
    while (p < s.leaves && node_at(x->f, s.leaf[p])->op != OP_contract) p++;
    if (p == s.leaves || !linear_of(x, s.leaf[p], &l) || node_at(x->f, s.leaf[p])->n != 2) return;
    NodeId product = s.leaf[p], v = product, bias = NONE;
    if (s.leaves == 2) {
        bias = s.leaf[1 - p];
        v = biased(x, &s, product, bias);
        if (v == NONE || !is_bias(x, bias, &l) || user_count(x, product) != 1) return;
        uint8_t before = stop[v];
        stop[v] = 1;
        bool fine = smooth_of(x->m, x->f, y, stop, &s);
        stop[v] = before;
        if (!fine) return;
    }
    // Who reads something in between computes it again, from v.
    bool kept = used_outside(x, v, &s);
    for (uint32_t i = 0; i < s.n; i++) kept |= s.node[i] != y && used_outside(x, s.node[i], &s);
    ProductFunction function = function_of_value(x->m, x->f, &s, v);
    if (!function || x->product[product] != NONE ||
        node_at(x->f, y)->type != node_at(x->f, product)->type ||
        (kept && node_at(x->f, v)->type != node_at(x->f, product)->type) ||
        !stays_inside(x, &s, y, v) || (kept && !may_keep(x, product, &l)) ||
        (x->is_result[product] && v != product))
        return;
    int64_t bytes = type_bytes(type_of(x->m, x->f, y));
    const char *says = function_info[function].says;
    stop[v] = (uint8_t)(kept ? function : FUNCTION_NONE);
    if (kept) says = arena_printf(x->a, "%s, and what it is applied to", says);
    if (!decide(x, y, says, kept ? bytes : 2 * bytes)) return;
    x->product[product] = product;
    take_along(x, product, y);
    if (kept) take_along(x, product, v);
    if (!kept && v != product) x->forced[v] = 1;
    inside(x, &s, y);
}

// Everything between the product and d is used by d alone.
static bool follows_alone(const Fuse *x, const Smooth *s, NodeId product, NodeId d) {
    uint8_t *after = NEW_ARRAY(x->a, uint8_t, MAX_SMOOTH);
    if (used_outside(x, product, s)) return false;
    for (uint32_t i = 0; i < s->n; i++) {
        NodeId n = s->node[i];
        for (uint32_t k = 0; k < node_at(x->f, n)->n; k++) {
            NodeId o = operand(x->f, n, k);
            after[i] |= o == product;
            for (uint32_t j = 0; j < i; j++) after[i] |= s->node[j] == o && after[j];
        }
        if (after[i] && n != d && used_outside(x, n, s)) return false;
    }
    return true;
}

// d = product * f'(v), v kept by find_value.
static void find_gradient(Fuse *x, NodeId d, const uint8_t *stop) {
    Smooth s;
    Linear l;
    if (!smooth_of(x->m, x->f, d, stop, &s) || s.leaves != 2) return;
    uint32_t p = stop[s.leaf[0]] ? 1 : 0;
    NodeId product = s.leaf[p], v = s.leaf[1 - p];
    if (!stop[v] || stop[product] || !linear_of(x, product, &l) || node_at(x->f, product)->n != 2 ||
        x->product[product] != NONE || v > product ||
        node_at(x->f, d)->type != node_at(x->f, product)->type ||
        node_at(x->f, d)->type != node_at(x->f, v)->type || x->need[product] ||
        !stays_inside(x, &s, d, d) || !follows_alone(x, &s, product, d) ||
        !may_keep(x, product, &l))
        return;
    ProductFunction function = function_of_gradient(x->m, x->f, &s, product, v);
    if (!function || function_info[function].of != (ProductFunction)stop[v]) return;
    if (decide(x, d, function_info[function].says, 2 * type_bytes(type_of(x->m, x->f, d)))) {
        x->product[product] = product;
        take_along(x, product, d);
        inside(x, &s, d);
    }
    find_sum_of_result(x, product, d, &l);
}

// ---- sums of what a product reads ---------------------------------------------------------------

// No kernel reads n, where the sum would cost nothing: products, their views and the fold alone.
static bool only_products_read(const Fuse *x, NodeId n, NodeId fold) {
    for (uint32_t i = 0; i < user_count(x, n); i++) {
        NodeId user = user_at(x, n, i);
        Op op = (Op)node_at(x->f, user)->op;
        if (op != OP_contract && op != OP_rename && user != fold) return false;
    }
    return true;
}

// All that the product reads is there when the fold is computed.
static bool ready_before(const Fuse *x, NodeId product, NodeId fold) {
    for (uint32_t i = 0; i < node_at(x->f, product)->n; i++) {
        NodeId o = operand(x->f, product, i);
        if (o >= fold && !x->is_source[o]) return false;
    }
    return true;
}

// The product sums over rows; one operand is what another product stored, and its rows are summed too.
static void find_sum_of_operand(Fuse *x, NodeId product) {
    Linear l;
    if (x->product[product] != NONE || x->need[product] == 0) return;
    if (!linear_of(x, product, &l)) return;
    const AxisList *summed = &attr_of(x->m, x->f, product)->contract.axes;
    for (int side = 0; side < 2; side++) {
        NodeId o = operand(x->f, product, l.side[side]), total;
        View v;
        if (!ir_view(x->m, x->f, o, &v) || node_at(x->f, v.base)->op != OP_contract) continue;
        NodeId fold = find_sum(x, o, summed, side ? &l.columns : &l.rows, &total);
        if (fold == NONE || !ready_before(x, product, fold) || !only_products_read(x, o, fold) ||
            !only_products_read(x, v.base, fold) || !offer_sum(x, product, o, fold, total))
            continue;
        x->product[product] = product;
        return;
    }
}

void fuse_find_library(Fuse *x) {
    uint8_t *stop = NEW_ARRAY(x->a, uint8_t, x->f->nodes.n + 1);
    if (x->cx->target->epilogue != EPILOGUE_bias || x->cx->unfused) return;
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        if (x->live[n] && x->need[n] && op_is_scalar((Op)node_at(x->f, n)->op)) {
            find_value(x, n, stop);
            find_gradient(x, n, stop);
        }
    }
    for (NodeId n = 0; n < x->f->nodes.n; n++)
        if (x->live[n] && node_at(x->f, n)->op == OP_contract) find_sum_of_operand(x, n);
}

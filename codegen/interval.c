// See interval.h. Every node is evaluated over a rectangle of indices: integers as ranges, conditions as
// what they may be, floats as the classes that they may be in. So a mask of indices that is false on all of
// the rectangle makes -inf of a score, exp of that 0, and 0 of every product with it; and a mask that
// reads data says nothing. Finite operands are assumed to give finite results: docs/numerics.md.
#include "codegen/interval.h"
#include <math.h>

// FINITE: 0 as well, of a difference or a product that is too small. LOWEST: -inf. OTHER: +inf, NaN
enum { ZERO = 1, FINITE = 2, LOWEST = 4, OTHER = 8, ANY = 15 };
enum { FALSE = 1, TRUE = 2, EITHER = 3 };

typedef struct {
    int64_t from, to; // integers; any value when from > to
    uint8_t may;      // classes of a float, or values of a bool
} Abstract;

struct IndexBounds {
    const Module *m;
    const Func *f;
    AxisId row, key;
    IndexRange rows, keys; // the rectangle
    Abstract *value;       // by node
    Abstract *whole;       // by node: over all rows and keys; of folds: what comes out
    NodeId never;          // a condition that is taken to be false, or NONE
};

static const Abstract unknown = {1, 0, ANY};

static Abstract condition(uint8_t may) { return (Abstract){1, 0, may}; }
static Abstract floating(uint8_t may) { return (Abstract){1, 0, may}; }
static bool known(const Abstract *x) { return x->from <= x->to; }

static Abstract integer(int64_t from, int64_t to) {
    const int64_t most = INT32_MAX;
    if (from < -most || to > most) return unknown; // it may wrap around
    return (Abstract){from, to, ANY};
}

// ---- floats

static uint8_t sum_of(uint8_t a, uint8_t b) {
    uint8_t r = 0;
    if ((a | b) & OTHER) r |= OTHER | FINITE;
    if (a & LOWEST && b) r |= LOWEST;
    if (b & LOWEST && a) r |= LOWEST;
    if (a & ZERO && b & ZERO) r |= ZERO;
    if ((a & FINITE && b & (ZERO | FINITE)) || (b & FINITE && a & (ZERO | FINITE))) r |= FINITE;
    return r;
}

static uint8_t negative(uint8_t a) {
    return (uint8_t)((a & (ZERO | FINITE)) | (a & LOWEST ? OTHER : 0) |
                     (a & OTHER ? OTHER | LOWEST : 0));
}

static uint8_t product_of(uint8_t a, uint8_t b) {
    if ((a | b) & (LOWEST | OTHER)) return ANY;
    uint8_t r = 0;
    if ((a | b) & ZERO) r |= ZERO;
    if (a & FINITE && b & FINITE) r |= FINITE;
    return r;
}

static uint8_t larger_of(uint8_t a, uint8_t b) {
    uint8_t r = a | b;
    if (!(a & LOWEST) || !(b & LOWEST)) r &= (uint8_t)~LOWEST;
    return r;
}

static uint8_t exponential(uint8_t a) {
    return (uint8_t)((a & (ZERO | FINITE) ? FINITE : 0) | (a & LOWEST ? ZERO : 0) |
                     (a & OTHER ? OTHER : 0));
}

static bool is_finite(uint8_t a) { return !(a & (LOWEST | OTHER)); }

static uint8_t constant(double v) {
    if (v == 0) return ZERO;
    if (v - v == 0) return FINITE;
    return v < 0 ? LOWEST : OTHER;
}

// ---- integers

static Abstract integers(Op op, const Abstract *a, const Abstract *b) {
    if (!known(a) || !known(b)) return unknown;
    int64_t p[4] = {a->from * b->from, a->from * b->to, a->to * b->from, a->to * b->to};
    Abstract r = *a;
    if (op == OP_add) return integer(a->from + b->from, a->to + b->to);
    if (op == OP_sub) return integer(a->from - b->to, a->to - b->from);
    if (op == OP_min)
        return integer(a->from < b->from ? a->from : b->from, a->to < b->to ? a->to : b->to);
    if (op == OP_max)
        return integer(a->from > b->from ? a->from : b->from, a->to > b->to ? a->to : b->to);
    if (op == OP_mul) {
        r.from = r.to = p[0];
        for (int i = 1; i < 4; i++) {
            if (p[i] < r.from) r.from = p[i];
            if (p[i] > r.to) r.to = p[i];
        }
        return integer(r.from, r.to);
    }
    if (b->from <= 0 || a->from < 0) return unknown; // where all roundings of a quotient agree
    if (op == OP_div) return integer(a->from / b->to, a->to / b->from);
    if (op == OP_rem) return a->to < b->from ? *a : integer(0, b->to - 1);
    return unknown;
}

static Abstract compared(Op op, const Abstract *a, const Abstract *b) {
    if (!known(a) || !known(b)) return condition(EITHER);
    bool always = false, never = false;
    if (op == OP_lt) always = a->to < b->from, never = a->from >= b->to;
    if (op == OP_le) always = a->to <= b->from, never = a->from > b->to;
    if (op == OP_eq || op == OP_ne) {
        always = a->from == a->to && b->from == b->to && a->from == b->from;
        never = a->to < b->from || b->to < a->from;
    }
    if (op == OP_ne) return condition(always ? FALSE : never ? TRUE : EITHER);
    return condition(always ? TRUE : never ? FALSE : EITHER);
}

static Abstract compared_floats(Op op, uint8_t a, uint8_t b) {
    uint8_t both = (uint8_t)((a & FINITE ? a | ZERO : a) & (b & FINITE ? b | ZERO : b));
    if (op == OP_eq && !both) return condition(FALSE); // no class in common
    bool less = a == LOWEST && is_finite(b), more = b == LOWEST && is_finite(a);
    if ((op == OP_lt || op == OP_le) && (less || more)) return condition(less ? TRUE : FALSE);
    return condition(EITHER);
}

// ---- nodes

static uint32_t elem_of(const IndexBounds *x, NodeId n) { return type_of(x->m, x->f, n)->elem; }
static bool is_real(const IndexBounds *x, NodeId n) {
    return elem_info[elem_of(x, n)].kind == ELEM_FLOAT;
}

static Abstract logical(Op op, uint8_t a, uint8_t b) {
    uint8_t r = 0;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            if (!(a >> i & 1) || !(b >> k & 1)) continue;
            int v = op == OP_and ? i & k : op == OP_or ? i | k : i ^ k;
            r |= (uint8_t)(1 << v);
        }
    return condition(r);
}

// c is abs(v) == inf: where it does not hold v is not -inf.
static bool is_infinite(const IndexBounds *x, NodeId c, NodeId v) {
    if (node_at(x->f, c)->op != OP_eq) return false;
    NodeId a = operand(x->f, c, 0), b = operand(x->f, c, 1);
    if (node_at(x->f, a)->op != OP_abs) {
        NodeId swap = a;
        a = b, b = swap;
    }
    return node_at(x->f, a)->op == OP_abs && operand(x->f, a, 0) == v &&
           node_at(x->f, b)->op == OP_const && attr_of(x->m, x->f, b)->constant.value == HUGE_VAL;
}

static Abstract chosen(const IndexBounds *x, NodeId n) {
    NodeId c = operand(x->f, n, 0), yes = operand(x->f, n, 1), no = operand(x->f, n, 2);
    Abstract a = x->value[yes], b = x->value[no];
    uint8_t may = x->value[c].may;
    if (may == TRUE) return a;
    if (may == FALSE) return b;
    if (node_at(x->f, c)->op == OP_isfinite && operand(x->f, c, 0) == yes)
        a.may &= ZERO | FINITE; // where it is taken
    if (is_infinite(x, c, no)) b.may &= (uint8_t)~LOWEST;
    if (elem_info[elem_of(x, n)].kind == ELEM_FLOAT || elem_of(x, n) == ELEM_bool)
        return floating(a.may | b.may);
    if (!known(&a) || !known(&b)) return unknown;
    return integer(a.from < b.from ? a.from : b.from, a.to > b.to ? a.to : b.to);
}

static Abstract floats(const IndexBounds *x, NodeId n) {
    const Node *node = node_at(x->f, n);
    uint8_t in[3] = {0, 0, 0};
    bool finite = true;
    for (uint32_t i = 0; i < node->n && i < 3; i++) {
        NodeId o = operand(x->f, n, i);
        in[i] = is_real(x, o) ? x->value[o].may : FINITE;
        finite &= is_finite(in[i]);
    }
    switch ((int)node->op) {
    case OP_add: return floating(sum_of(in[0], in[1]));
    case OP_sub: return floating(sum_of(in[0], negative(in[1])));
    case OP_mul: return floating(product_of(in[0], in[1]));
    case OP_fma: return floating(sum_of(product_of(in[0], in[1]), in[2]));
    case OP_div:
        if (!is_finite(in[1]) || in[1] & ZERO) return floating(finite ? FINITE : ANY);
        return floating(product_of(in[0], FINITE));
    case OP_max: return floating(larger_of(in[0], in[1]));
    case OP_neg: return floating(negative(in[0]));
    case OP_exp: return floating(exponential(in[0]));
    case OP_cast: // a rounding: zeros, infinities and, but for the largest numbers, the finite stay
        if (is_real(x, operand(x->f, n, 0))) return floating(in[0]);
        return floating(FINITE);
    default: return floating(finite ? FINITE : ANY);
    }
}

static Abstract scalar(const IndexBounds *x, NodeId n) {
    const Node *node = node_at(x->f, n);
    Op op = (Op)node->op;
    const Abstract *a = &x->value[operand(x->f, n, 0)];
    const Abstract *b = node->n > 1 ? &x->value[operand(x->f, n, 1)] : a;
    uint32_t from = elem_of(x, operand(x->f, n, 0)), to = elem_of(x, n);
    if (op == OP_select) return chosen(x, n);
    if (op == OP_cast && from == ELEM_bool && is_real(x, n))
        return floating((a->may & FALSE ? ZERO : 0) | (a->may & TRUE ? FINITE : 0));
    if (is_real(x, n)) return floats(x, n);
    if (to == ELEM_bool) {
        if (from == ELEM_f32) return compared_floats(op, a->may, b->may);
        if (from != ELEM_bool) return from == ELEM_i32 ? compared(op, a, b) : condition(EITHER);
        if (op == OP_not) return condition((uint8_t)((a->may & 1) << 1 | a->may >> 1));
        if (op == OP_and || op == OP_or || op == OP_xor) return logical(op, a->may, b->may);
        return condition(EITHER);
    }
    if (op == OP_cast && from == ELEM_bool) return integer(a->may == TRUE, a->may != FALSE);
    if (op == OP_neg && known(a)) return integer(-a->to, -a->from);
    return from == ELEM_i32 && to == ELEM_i32 && node->n == 2 ? integers(op, a, b) : unknown;
}

static Abstract index_along(const IndexBounds *x, NodeId n, AxisId axis) {
    const Type *t = type_of(x->m, x->f, n);
    if (axis == x->row) return integer(x->rows.from, x->rows.to);
    if (axis == x->key) return integer(x->keys.from, x->keys.to);
    return integer(0, t->axes[type_find(t, axis)].size - 1);
}

// A view of an index along an axis is one along another, elsewhere.
static Abstract renamed(const IndexBounds *x, NodeId n) {
    NodeId o = operand(x->f, n, 0);
    const Attr *at = attr_of(x->m, x->f, n), *of = attr_of(x->m, x->f, o);
    return node_at(x->f, o)->op == OP_iota && of->iota.axis == at->rename.from
               ? index_along(x, n, at->rename.to)
               : unknown;
}

// Views, gathers, random bits: what is read may lie anywhere.
static Abstract read_elsewhere(const IndexBounds *x, NodeId n) {
    const Node *node = node_at(x->f, n);
    uint8_t may = node->op == OP_pad ? constant(attr_of(x->m, x->f, n)->pad.value) : 0;
    if (!is_real(x, n)) return node->op == OP_rename ? renamed(x, n) : unknown;
    for (uint32_t i = 0; i < node->n; i++)
        if (is_real(x, operand(x->f, n, i))) may |= x->whole[operand(x->f, n, i)].may;
    return floating(is_finite(may) ? ZERO | FINITE : ANY);
}

static Abstract evaluate(const IndexBounds *x, NodeId n) {
    Op op = (Op)node_at(x->f, n)->op;
    const Attr *at = attr_of(x->m, x->f, n);
    bool is_float = is_real(x, n);
    if (n == x->never) return condition(FALSE);
    if (op_is_scalar(op)) return scalar(x, n);
    switch ((int)op) {
    case OP_const:
        if (is_float) return floating(constant(at->constant.value));
        if (elem_of(x, n) == ELEM_bool) return condition(at->constant.value != 0 ? TRUE : FALSE);
        return integer((int64_t)at->constant.value, (int64_t)at->constant.value);
    case OP_iota: return index_along(x, n, at->iota.axis);
    case OP_reduce: return x->whole[n];
    case OP_arg:
    case OP_contract: return is_float ? floating(ZERO | FINITE) : unknown;
    case OP_expand:
    case OP_copy:
    case OP_stop_gradient: return x->value[operand(x->f, n, 0)];
    default: return read_elsewhere(x, n);
    }
}

// What is folded here changes no fold over all keys.
static bool folds_nothing(const IndexBounds *x, NodeId n) {
    uint8_t may = x->value[operand(x->f, n, 0)].may;
    uint32_t kind = attr_of(x->m, x->f, n)->reduce.kind;
    if (elem_of(x, n) != ELEM_f32) return false;
    return (kind == REDUCE_sum && may == ZERO) || (kind == REDUCE_max && may == LOWEST);
}

// A sum, or a maximum, of what a value may be anywhere.
static Abstract folded(const IndexBounds *x, NodeId n) {
    uint8_t may = x->value[operand(x->f, n, 0)].may;
    uint32_t kind = attr_of(x->m, x->f, n)->reduce.kind;
    if (elem_of(x, n) != ELEM_f32 || may & OTHER) return unknown;
    if (kind == REDUCE_max) return floating(may);
    return kind == REDUCE_sum && is_finite(may) ? floating(ZERO | FINITE) : unknown;
}

IndexBounds *interval_body(Arena *a, const Module *m, const Func *f, AxisId row, int64_t rows,
                           AxisId key, int64_t keys) {
    IndexBounds *x = NEW(a, IndexBounds);
    *x = (IndexBounds){m, f, row, key, {0, rows - 1}, {0, keys - 1}, NULL, NULL, NONE};
    x->value = NEW_ARRAY(a, Abstract, f->nodes.n + 1);
    x->whole = NEW_ARRAY(a, Abstract, f->nodes.n + 1);
    for (NodeId i = 0; i < f->nodes.n; i++) {
        if (node_at(f, i)->op == OP_reduce) x->whole[i] = folded(x, i);
        x->whole[i] = x->value[i] = evaluate(x, i);
    }
    return x;
}

static bool adds_nothing(IndexBounds *x, const NodeId *nodes, uint32_t n) {
    for (NodeId i = 0; i < x->f->nodes.n; i++) {
        x->value[i] = evaluate(x, i);
        if (node_at(x->f, i)->op == OP_reduce && !folds_nothing(x, i)) return false;
    }
    for (uint32_t i = 0; i < n; i++)
        if (x->value[nodes[i]].may != ZERO) return false;
    return true;
}

bool interval_adds_nothing(IndexBounds *x, const NodeId *nodes, uint32_t n, IndexRange rows,
                           IndexRange keys) {
    x->rows = rows, x->keys = keys;
    return adds_nothing(x, nodes, n);
}

bool interval_nothing_without(IndexBounds *x, const NodeId *nodes, uint32_t n, NodeId never) {
    IndexBounds y = *x; // rows and keys are all of them until the first question
    y.never = never;
    return adds_nothing(&y, nodes, n);
}

// Attention in the form that tensor cores compute in one pass over the keys: what is a value of a row leaves the sum
// over keys, and the fold over keys that the derivative of a softmax has becomes one over features.
//
//   o = contract(exp(s - t) * r * d, v)      o = contract(exp(s - t) * d, v) * r      r lacks the keys
//   f = sum over keys (dw * exp(s - t) * d)  f = sum over features (g * o) / r        dw = contract(g, v)
//
// The first is distributivity; the second as well, since the sum over keys of w dw, with w the weights and dw = g v^T,
// is g times the sum of w v, which is o. Neither keeps roundings, so this is for
// targets whose kernels want it, and for sums that round their operands to 16 bits anyway. What is multiplied
// is found through products, quotients, roundings and choices against 0, by no pattern of a softmax; where it is not found
// nothing changes, and recognise says what attention lacks.
//
// Needs functions cut into micro-batches. O(nodes) for each sum.
#include "ir/view.h"
#include "passes/rewrite.h"
#include <string.h>

enum { MAX_FACTORS = 16 };

typedef enum { FACTOR_times, FACTOR_over, FACTOR_where, FACTOR_where_not } FactorKind;
typedef struct {
    NodeId node;
    uint32_t kind; // FactorKind
} Factor;
typedef struct {
    Factor at[MAX_FACTORS];
    uint32_t n;
    bool negative, failed;
} Factors;

typedef struct {
    NodeId sum, weight, values; // contract(weight, values)
    AxisId key;
    Factors of; // of the weight
} FlashSum;
typedef struct {
    NodeId fold;
    uint32_t sum; // whose weights it folds
    NodeId g;     // dw = contract(g, values)
    Factors of;   // of what is folded
} FlashFold;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    VEC(FlashSum) sums;
    VEC(FlashFold) folds;
    Rewrite r;
} FlashForm;

static const Node *node(const FlashForm *x, NodeId n) { return node_at(x->f, n); }
static bool has(const FlashForm *x, NodeId n, AxisId a) {
    return type_find(type_of(x->m, x->f, n), a) >= 0;
}
static bool is_narrow(const FlashForm *x, NodeId n) {
    return elem_is_narrow(type_of(x->m, x->f, n)->elem);
}

// ---- factors ------------------------------------------------------------------------------------

static void add_factor(Factors *to, NodeId n, uint32_t kind) {
    if (to->n == MAX_FACTORS)
        to->failed = true;
    else
        to->at[to->n++] = (Factor){n, kind};
}

// A choice against 0: *what is chosen where the returned condition is what *kind says. NONE: none.
static NodeId choice(const FlashForm *x, NodeId n, NodeId *what, uint32_t *kind) {
    if (node(x, n)->op != OP_select) return NONE;
    NodeId yes = operand(x->f, n, 1), no = operand(x->f, n, 2);
    *kind = node_is_zero(x->m, x->f, no) ? FACTOR_where : FACTOR_where_not;
    *what = node_is_zero(x->m, x->f, no) ? yes : no;
    return node_is_zero(x->m, x->f, yes) || node_is_zero(x->m, x->f, no) ? operand(x->f, n, 0)
                                                                         : NONE;
}

// 0 where a factor of the rest is 0: what derivatives write. It changes nothing of a finite product.
static bool is_guard(const FlashForm *x, NodeId c, uint32_t kind) {
    return kind == FACTOR_where_not && node(x, c)->op == OP_eq &&
           (node_is_zero(x->m, x->f, operand(x->f, c, 0)) ||
            node_is_zero(x->m, x->f, operand(x->f, c, 1)));
}

static void factors_of(const FlashForm *x, NodeId n, Factors *to) {
    NodeId what, c;
    uint32_t kind;
    switch ((int)node(x, n)->op) {
    case OP_cast:
        if (elem_info[type_of(x->m, x->f, operand(x->f, n, 0))->elem].kind != ELEM_FLOAT) break;
        factors_of(x, operand(x->f, n, 0), to);
        return;
    case OP_neg:
        to->negative = !to->negative;
        factors_of(x, operand(x->f, n, 0), to);
        return;
    case OP_mul:
        factors_of(x, operand(x->f, n, 0), to);
        factors_of(x, operand(x->f, n, 1), to);
        return;
    case OP_div:
        factors_of(x, operand(x->f, n, 0), to);
        add_factor(to, operand(x->f, n, 1), FACTOR_over);
        return;
    case OP_select:
        c = choice(x, n, &what, &kind);
        if (c == NONE) break;
        if (!is_guard(x, c, kind)) add_factor(to, c, kind);
        factors_of(x, what, to);
        return;
    default: break;
    }
    add_factor(to, n, FACTOR_times);
}

static bool is_of_row(const FlashForm *x, const Factor *f, AxisId key) {
    return !has(x, f->node, key);
}

// The factors that have keys are the same, whatever their order, but for `besides` in b.
static bool same_keyed(const FlashForm *x, const Factors *a, const Factors *b, AxisId key,
                       NodeId besides) {
    bool used[MAX_FACTORS] = {false};
    uint32_t left = 0;
    for (uint32_t i = 0; i < b->n; i++) left += !is_of_row(x, &b->at[i], key);
    for (uint32_t i = 0; i <= a->n; i++) {
        Factor f = i < a->n ? a->at[i] : (Factor){besides, FACTOR_times};
        if (is_of_row(x, &f, key)) continue;
        uint32_t k = 0;
        while (k < b->n && (used[k] || b->at[k].node != f.node || b->at[k].kind != f.kind)) k++;
        if (k == b->n) return false;
        used[k] = true;
        left--;
    }
    return left == 0;
}

// ---- finding ------------------------------------------------------------------------------------

// Reaches a fold over the keys: it is not 0 by some other value of the row's.
static bool is_of_fold(const FlashForm *x, NodeId n, AxisId key, uint32_t depth) {
    if (node(x, n)->op == OP_reduce) return list_has(&attr_of(x->m, x->f, n)->reduce.axes, key);
    for (uint32_t i = 0; i < node(x, n)->n && depth; i++)
        if (is_of_fold(x, operand(x->f, n, i), key, depth - 1)) return true;
    return false;
}

static void find_sum(FlashForm *x, NodeId n) {
    enum { DEPTH = 6 };
    const AxisList *axes = &attr_of(x->m, x->f, n)->contract.axes;
    if (axes->n != 1 || node(x, n)->n != 2 || node(x, n)->phase != PHASE_F) return;
    for (uint32_t i = 0; i < 2; i++) {
        FlashSum s = {n, operand(x->f, n, i), operand(x->f, n, 1 - i), axes->at[0], {.n = 0}};
        bool exponential = false, of_row = false;
        if (!is_narrow(x, s.weight) || !is_narrow(x, s.values)) continue;
        factors_of(x, s.weight, &s.of);
        for (uint32_t k = 0; k < s.of.n; k++) {
            NodeId f = s.of.at[k].node;
            exponential |= node(x, f)->op == OP_exp && has(x, f, s.key);
            of_row |= is_of_row(x, &s.of.at[k], s.key) && is_of_fold(x, f, s.key, DEPTH);
        }
        if (exponential && of_row && !s.of.failed) vec_push(x->a, &x->sums, s);
    }
}

// f over the same weights as sum s, times contract(g, values).
static bool is_fold_of(const FlashForm *x, const FlashSum *s, FlashFold *to) {
    enum { DEPTH = 6 };
    for (uint32_t i = 0; i < to->of.n; i++) {
        NodeId dw = to->of.at[i].node;
        if (to->of.at[i].kind != FACTOR_times || node(x, dw)->op != OP_contract) continue;
        uint32_t k = operand(x->f, dw, 0) == s->values ? 1 : 0;
        if (operand(x->f, dw, 1 - k) != s->values) continue;
        to->g = operand(x->f, dw, k);
        if (same_keyed(x, &s->of, &to->of, s->key, dw)) {
            for (uint32_t j = 0; j < s->of.n; j++) { // it is divided by these
                const Factor *f = &s->of.at[j];
                if (!is_of_row(x, f, s->key)) continue;
                if (f->kind >= FACTOR_where) return false;
                if (node(x, f->node)->op != OP_const && !is_of_fold(x, f->node, s->key, DEPTH))
                    return false;
            }
            return true;
        }
    }
    return false;
}

static void find_fold(FlashForm *x, NodeId n) {
    const Attr *at = attr_of(x->m, x->f, n);
    FlashFold f = {.fold = n};
    if (at->reduce.kind != REDUCE_sum || at->reduce.axes.n != 1) return;
    factors_of(x, operand(x->f, n, 0), &f.of);
    for (f.sum = 0; f.sum < x->sums.n && !f.of.failed; f.sum++)
        if (x->sums.at[f.sum].key == at->reduce.axes.at[0] &&
            is_fold_of(x, &x->sums.at[f.sum], &f)) {
            vec_push(x->a, &x->folds, f);
            return;
        }
}

// ---- writing ------------------------------------------------------------------------------------

static void record(const FlashForm *x, const char *rule, NodeId n, const char *what) {
    const char *name = sym_str(x->m->syms, node(x, n)->name);
    Decision d = {.done = true,
                  .func = sym_str(x->m->syms, x->f->name),
                  .pass = "flash",
                  .rule = rule,
                  .subject = *name ? name : op_info[node(x, n)->op].name,
                  .loc = node(x, n)->loc};
    ledger_add(x->cx->ledger, d, "%s", what);
}

// The weight without the factors of its row.
static NodeId keyed(FlashForm *x, NodeId n, AxisId key) {
    Builder *b = &x->r.b;
    NodeId what, c;
    uint32_t kind;
    NodeId a = node(x, n)->n ? operand(x->f, n, 0) : NONE;
    switch ((int)node(x, n)->op) {
    case OP_cast: return ir_cast(b, keyed(x, a, key), (Elem)type_of(x->m, x->f, n)->elem);
    case OP_neg: return ir_unary(b, OP_neg, keyed(x, a, key));
    case OP_mul: {
        NodeId y = operand(x->f, n, 1);
        if (!has(x, a, key)) return keyed(x, y, key);
        if (!has(x, y, key)) return keyed(x, a, key);
        return ir_binary(b, OP_mul, keyed(x, a, key), keyed(x, y, key));
    }
    case OP_div:
        if (!has(x, operand(x->f, n, 1), key)) return keyed(x, a, key);
        return ir_binary(b, OP_div, keyed(x, a, key), x->r.map[operand(x->f, n, 1)]);
    case OP_select:
        c = choice(x, n, &what, &kind);
        if (c == NONE) break;
        if (!has(x, c, key)) return keyed(x, what, key);
        return kind == FACTOR_where
                   ? ir_select(b, x->r.map[c], keyed(x, what, key), x->r.map[operand(x->f, n, 2)])
                   : ir_select(b, x->r.map[c], x->r.map[operand(x->f, n, 1)], keyed(x, what, key));
    default: break;
    }
    return x->r.map[n];
}

static NodeId apply(FlashForm *x, NodeId to, const Factor *f, bool inverse) {
    Builder *b = &x->r.b;
    NodeId v = x->r.map[f->node];
    switch ((FactorKind)f->kind) {
    case FACTOR_times: return ir_binary(b, inverse ? OP_div : OP_mul, to, v);
    case FACTOR_over: return ir_binary(b, inverse ? OP_mul : OP_div, to, v);
    case FACTOR_where: return ir_select(b, v, to, ir_const(b, ELEM_f32, 0));
    case FACTOR_where_not: return ir_select(b, v, ir_const(b, ELEM_f32, 0), to);
    }
    unreachable(f->kind);
}

static void write_sum(FlashForm *x, const FlashSum *s) {
    rewrite_like(&x->r, s->sum);
    NodeId w = keyed(x, s->weight, s->key), v = x->r.map[s->values];
    bool first = operand(x->f, s->sum, 0) == s->weight;
    Attr attr = *attr_of(x->m, x->f, s->sum);
    NodeId o = ir_node(&x->r.b, OP_contract, &attr, (NodeId[]){first ? w : v, first ? v : w}, 2,
                       node(x, s->sum)->type);
    for (uint32_t i = 0; i < s->of.n; i++)
        if (is_of_row(x, &s->of.at[i], s->key)) o = apply(x, o, &s->of.at[i], false);
    x->r.map[s->sum] = o;
    record(x, "weights", s->sum,
           "what is one value for each row is multiplied after the sum over keys");
}

// The sum as it is stored: rounded, where something reads it so.
static NodeId stored(const FlashForm *x, NodeId sum) {
    for (uint32_t k = x->users.first[sum]; k < x->users.first[sum + 1]; k++) {
        NodeId u = x->users.list[k];
        if (node(x, u)->op == OP_cast && is_narrow(x, u) && x->r.map[u] != NONE) return u;
    }
    return sum;
}

static bool write_fold(FlashForm *x, const FlashFold *f) {
    const FlashSum *s = &x->sums.at[f->sum];
    Builder *b = &x->r.b;
    rewrite_like(&x->r, f->fold);
    NodeId o = ir_cast(b, x->r.map[stored(x, s->sum)], ELEM_f32);
    NodeId product = ir_binary(b, OP_mul, ir_cast(b, x->r.map[f->g], ELEM_f32), o);
    AxisList features = {0};
    const Type *t = type_at(x->m, node_at(b->f, product)->type),
               *row = type_of(x->m, x->f, f->fold);
    for (uint32_t i = 0; i < t->n; i++)
        if (type_find(row, t->axes[i].axis) < 0) features.at[features.n++] = t->axes[i].axis;
    if (t->n != row->n + features.n) return false; // w has rows that g or o lacks
    NodeId sum = ir_reduce(b, REDUCE_sum, product, &features);
    for (uint32_t i = 0; i < f->of.n; i++)
        if (is_of_row(x, &f->of.at[i], s->key)) sum = apply(x, sum, &f->of.at[i], false);
    for (uint32_t i = 0; i < s->of.n; i++)
        if (is_of_row(x, &s->of.at[i], s->key)) sum = apply(x, sum, &s->of.at[i], true);
    if (f->of.negative != s->of.negative) sum = ir_unary(b, OP_neg, sum);
    x->r.map[f->fold] = sum;
    record(x, "delta", f->fold, "a fold over keys is one over the features of the result");
    return true;
}

static bool flash_func(PassCx *cx, Func *f) {
    FlashForm x = {
        .cx = cx, .m = cx->m, .f = f, .a = cx->scratch, .users = func_users(cx->scratch, f)};
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_contract) find_sum(&x, n);
    if (!x.sums.n) return false;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_reduce) find_fold(&x, n);
    rewrite_begin(&x.r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        uint32_t s = 0, k = 0;
        while (s < x.sums.n && x.sums.at[s].sum != n) s++;
        while (k < x.folds.n && x.folds.at[k].fold != n) k++;
        if (s < x.sums.n)
            write_sum(&x, &x.sums.at[s]);
        else if (k == x.folds.n || !write_fold(&x, &x.folds.at[k]))
            rewrite_copy(&x.r, n);
    }
    rewrite_end(&x.r);
    return true;
}

bool pass_flash(PassCx *cx) {
    bool changed = false;
    for (uint32_t i = 0; i < cx->m->funcs.n && cx->target->attends == ATTENDS_tensor; i++)
        if (!cx->m->funcs.at[i]->region) changed |= flash_func(cx, cx->m->funcs.at[i]);
    if (changed) { // what was divided before, and the folds that nothing reads any more
        pass_cse(cx);
        pass_dce(cx);
    }
    return changed;
}

// Merged products: those that multiply one value by several parameters (q|k|v, gate|up) become one, over the
// parameters side by side.
//
//   a = x @ u, b = x @ w            ab = x @ [u w]                    a, b are slices of ab
//   dx = da @ u + db @ w            dx = [da db] @ [u w]
//   du += x da, dw += x db          d[u w] += x [da db]
//
// A launch for several, and x is read once. What is put side by side is what a step makes for itself and no
// checkpoint has: the parameters' shadows (their copies in a narrow type) and the sums of their gradients. So a
// parameter keeps its place, its name, its optimizer and its first values; only what reads or assigns a
// shadow or a sum finds it as a slice. A parameter that products read as it is, in f32 or without a master, is not
// merged. What follows products alike, a rounding or a bias, is done once for all; where they differ, each has its slice.
//
// Not bit-neutral: dx sums up one chain over all parts instead of one for each (docs/numerics.md); all else keeps
// its bits, since the sums of each element are the same. So it is for targets whose launches cost, and where
// the plan asks for it.
//
// Needs the shadows of precision; comes before recognise, which takes slices as operands of attention. O(nodes + states) for each
// function.
#include "ir/view.h"
#include "passes/rewrite.h"
#include <string.h>

enum {
    PARTS = 8,    // operands of a concat
    LONGEST = 8,  // of what follows a product
    ALIGNED = 16, // bytes: where a part begins, so that it is read in words of 16 bytes
};

// States side by side along their last axes, however many each has.
typedef struct {
    StateId of[PARTS], whole;
    uint32_t ins; // how many of their axes are first, and stay
    AxisId part[PARTS], to;
    int64_t size[PARTS];
} Span;

// Products of one function, and what belongs to them. `at` is where something is written: all it needs is there.
typedef struct {
    NodeId x, product[PARTS];
    NodeId last[PARTS]; // the end of what follows alike
    uint32_t steps;     // how many nodes follow, the product not counted
    NodeId at;
    NodeId dy[PARTS];
    NodeId dx[PARTS], dx_at, dx_acc; // dx_at: NONE: not merged
    NodeId dw[PARTS], dw_at;
    NodeId fold[PARTS], db_at; // of dy over rows
    NodeId whole, dwhole;      // in the new function
} MergeMatch;

typedef struct {
    uint32_t n;
    Span shadow, bias, sum, bias_sum; // whole: NONE: there is none
    const char *name;
    MergeMatch *match; // by function
} MergeSet;

// What a function does with a state: the only node of its kind, NONE, or SEVERAL.
static const NodeId SEVERAL = NONE - 1;
typedef struct {
    NodeId reader, assign, product; // product: of the forward pass, as product_of
    uint32_t products;              // of the forward pass, of any form
} StateUse;

// The part of a span that a state becomes; set: NONE: of none.
typedef struct {
    uint32_t set, part;
    const Span *span;
} StatePart;

typedef struct {
    PassCx *cx;
    Module *m;
    Arena *a;
    VEC(MergeSet) sets;
    // by state, of those that there were
    uint32_t states;
    uint8_t *dead;      // nothing names it any more
    StateId *sum;       // of a parameter: the sum of its gradients, or NONE
    uint32_t *assigned; // functions that assign it
    StatePart *in;
    StateUse *use; // in the function
    // of one function
    Func *f;
    FuncId id;
    Users users;
    Rewrite r;
    uint8_t *skip;    // by node: something else is written for it
    uint32_t *set_at; // by node: 1 + the set of which something is written here
} Merge;

static const Node *node(const Merge *x, NodeId n) { return node_at(x->f, n); }
static const Type *type(const Merge *x, NodeId n) { return type_of(x->m, x->f, n); }
static const AxisList *summed(const Merge *x, NodeId n) {
    return &attr_of(x->m, x->f, n)->contract.axes;
}

static StateId state_of(const Merge *x, NodeId n) {
    return node(x, n)->op == OP_state ? attr_of(x->m, x->f, n)->state.state : NONE;
}
static StateId assigned_to(const Merge *x, NodeId n) {
    return node(x, n)->op == OP_assign ? attr_of(x->m, x->f, n)->assign.state : NONE;
}
static bool is_kind(const Merge *x, StateId s, StateKind kind) {
    return s != NONE && x->m->states.at[s].kind == kind;
}

// Everything that reads n: NONE: not one reader, or it is a result.
static NodeId only_user(const Merge *x, NodeId n) {
    for (uint32_t i = 0; i < x->f->results.n; i++)
        if (x->f->results.at[i].node == n) return NONE;
    if (x->users.first[n + 1] - x->users.first[n] != 1) return NONE;
    return x->users.list[x->users.first[n]];
}

static NodeId other(const Merge *x, NodeId n, NodeId than) {
    return operand(x->f, n, operand(x->f, n, 0) == than ? 1 : 0);
}

// The only node that reads state s, or NONE.
static NodeId reader_of(const Merge *x, StateId s) {
    return x->use[s].reader == SEVERAL ? NONE : x->use[s].reader;
}
static NodeId assign_of(const Merge *x, StateId s) {
    return x->use[s].assign == SEVERAL ? NONE : x->use[s].assign;
}

// ---- finding the sets ---------------------------------------------------------------------------

static bool ends_with(const Type *t, const Type *w, uint32_t outs) {
    if (t->n < outs) return false;
    for (uint32_t i = 0; i < outs; i++) {
        const TypeAxis *a = &t->axes[t->n - outs + i], *b = &w->axes[w->n - outs + i];
        if (a->axis != b->axis || a->size != b->size) return false;
    }
    return true;
}

static bool begins_alike(const Type *a, uint32_t a_outs, const Type *b, uint32_t b_outs) {
    if (a->n - a_outs != b->n - b_outs || a->elem != b->elem) return false;
    for (uint32_t i = 0; i < a->n - a_outs; i++)
        if (a->axes[i].axis != b->axes[i].axis || a->axes[i].size != b->axes[i].size) return false;
    return true;
}

static int64_t last_extents(const Type *t, uint32_t outs) {
    int64_t size = 1;
    for (uint32_t i = t->n - outs; i < t->n; i++) size *= t->axes[i].size;
    return size;
}

// n = x @ w of the forward pass, w a state whose first axes are summed; the other operand.
static NodeId product_of(const Merge *x, NodeId n, StateKind kind, NodeId *w) {
    const Node *p = node(x, n);
    if (p->op != OP_contract || p->n != 2 || p->phase != PHASE_F) return NONE;
    for (uint32_t i = 0; i < 2; i++) {
        *w = operand(x->f, n, i);
        if (!is_kind(x, state_of(x, *w), kind)) continue;
        const Type *t = type(x, *w);
        uint32_t sums = summed(x, n)->n;
        bool first = sums && sums < t->n;
        for (uint32_t k = 0; first && k < sums; k++)
            first = list_has(summed(x, n), t->axes[k].axis);
        const Type *v = type(x, operand(x->f, n, 1 - i));
        for (uint32_t k = sums; first && k < t->n; k++)
            first = type_find(v, t->axes[k].axis) < 0; // else it is a batch of products
        if (first && ends_with(type(x, n), t, t->n - sums)) return operand(x->f, n, 1 - i);
    }
    return NONE;
}

static const char *why_not_beside(const Merge *x, NodeId a, NodeId wa, NodeId b, NodeId wb) {
    const Type *ta = type(x, wa), *tb = type(x, wb);
    uint32_t outs_a = ta->n - summed(x, a)->n, outs_b = tb->n - summed(x, b)->n;
    if (!begins_alike(ta, outs_a, tb, outs_b) ||
        !begins_alike(type(x, a), outs_a, type(x, b), outs_b))
        return "its axes do not lie as those of the others";
    return NULL;
}

static void record(const Merge *x, bool done, const char *name, Loc loc, int64_t bytes,
                   const char *why) {
    Decision d = {.done = done,
                  .func = sym_str(x->m->syms, x->f->name),
                  .pass = "merge",
                  .rule = "products",
                  .subject = name,
                  .bytes = bytes,
                  .loc = loc};
    ledger_add(x->cx->ledger, d, "%s", why);
}

static const char *name_of(const Merge *x, NodeId n) {
    const char *name = sym_str(x->m->syms, node(x, n)->name);
    return *name ? name : op_info[node(x, n)->op].name;
}

static bool is_demanded(const Merge *x, NodeId n) {
    for (uint32_t i = 0; i < x->m->demands.n; i++)
        if (demand_selects(x->m, &x->m->demands.at[i], x->f, n)) return true;
    return false;
}

// The sum of gradients of what the shadow is of; NONE: it does not learn.
static StateId sum_of(const Merge *x, StateId shadow) {
    StateId of = x->m->states.at[shadow].of;
    return of == NONE ? NONE : x->sum[of];
}

static void count(NodeId *of, NodeId n) { *of = *of == NONE ? n : SEVERAL; }

static void enter(Merge *x, FuncId id) {
    x->id = id;
    x->f = x->m->funcs.at[id];
    x->users = func_users(x->a, x->f);
    for (StateId s = 0; s < x->states; s++) x->use[s] = (StateUse){NONE, NONE, NONE, 0};
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        StateId s = state_of(x, n), to = assigned_to(x, n);
        if (to < x->states) count(&x->use[to].assign, n);
        for (uint32_t i = x->users.first[n]; s < x->states && i < x->users.first[n + 1]; i++) {
            NodeId u = x->users.list[i], w;
            count(&x->use[s].reader, u);
            x->use[s].products += node(x, u)->op == OP_contract && node(x, u)->phase == PHASE_F;
            if (product_of(x, u, (StateKind)x->m->states.at[s].kind, &w) != NONE && w == n)
                count(&x->use[s].product, u);
        }
    }
}

// Whether the backward pass reads the product where it lies, rounded and with its bias or without. What is merged
// is stored as a whole: with one part all are kept.
static bool is_kept(const Merge *x, NodeId product) {
    for (uint32_t i = x->users.first[product]; i < x->users.first[product + 1]; i++) {
        NodeId u = x->users.list[i];
        Op op = (Op)node(x, u)->op;
        if (node(x, u)->phase != PHASE_F) return true;
        bool same = op == OP_cast || op_info[op].kind == OPK_VIEW;
        if (op == OP_add) {
            NodeId bias = other(x, u, product);
            while (node(x, bias)->op == OP_cast) bias = operand(x->f, bias, 0);
            same = node(x, bias)->op == OP_state;
        }
        if (same && is_kept(x, u)) return true;
    }
    return false;
}

// Why product n, of shadow w, is a part of no set; NULL: it may be.
static const char *why_alone(const Merge *x, NodeId n, NodeId w) {
    const Type *t = type(x, w);
    if (last_extents(t, t->n - summed(x, n)->n) * elem_info[t->elem].bytes % ALIGNED)
        return "a row of its parameter is no multiple of 16 bytes";
    if (is_demanded(x, n)) return "the plan says how it is computed";
    if (x->use[state_of(x, w)].products > 1) return "its parameter is in another product, too";
    return NULL;
}

// Why it is no part of this set, which has some.
static const char *why_apart(const Merge *x, const MergeSet *s, const MergeMatch *m, NodeId n,
                             NodeId w) {
    NodeId of = m->product[0];
    const char *why = why_not_beside(x, of, other(x, of, m->x), n, w);
    if (why) return why;
    if ((sum_of(x, s->shadow.of[0]) == NONE) != (sum_of(x, state_of(x, w)) == NONE))
        return "of its parameter and another one's only one learns";
    if (is_kept(x, of) != is_kept(x, n))
        return "of it and another one only one is kept for the backward pass";
    return NULL;
}

static void add_set(Merge *x, MergeSet s, MergeMatch m) {
    MergeSet *to;
    s.shadow.whole = s.bias.whole = s.sum.whole = s.bias_sum.whole = NONE;
    s.match = NEW_ARRAY(x->a, MergeMatch, x->m->funcs.n + 1);
    memset(s.match, 0xff, sizeof(MergeMatch) * (x->m->funcs.n + 1));
    s.match[x->id] = m;
    s.name = name_of(x, m.product[0]);
    vec_push(x->a, &x->sets, s);
    to = &x->sets.at[x->sets.n - 1];
    to->shadow.ins = summed(x, m.product[0])->n;
}

// Products of the training step that read one value: a set for each value.
static void find_sets(Merge *x) {
    uint8_t *seen = NEW_ARRAY(x->a, uint8_t, x->f->nodes.n + 1);
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        NodeId w, v = product_of(x, n, STATE_shadow, &w);
        if (v == NONE || seen[n]) continue;
        uint32_t beside = 0;
        MergeSet s = {.n = 0};
        MergeMatch m = {.x = v, .at = n};
        const NodeId *readers = x->users.list + x->users.first[v];
        uint32_t count = x->users.first[v + 1] - x->users.first[v];
        for (uint32_t i = 0; i < count; i++)
            beside += readers[i] >= n && product_of(x, readers[i], STATE_shadow, &w) == v;
        for (uint32_t i = 0; i < count; i++) {
            NodeId k = readers[i];
            if (k < n || seen[k] || product_of(x, k, STATE_shadow, &w) != v ||
                !list_same(summed(x, k), summed(x, n)))
                continue;
            if (s.n == PARTS) continue;
            const char *why = why_alone(x, k, w);
            seen[k] = why != NULL;
            if (!why && s.n) why = why_apart(x, &s, &m, k, w);
            if (why) {
                if (beside > 1) record(x, false, name_of(x, k), node(x, k)->loc, 0, why);
                continue;
            }
            seen[k] = 1;
            m.product[s.n] = k;
            s.shadow.of[s.n++] = state_of(x, w);
        }
        if (s.n > 1) add_set(x, s, m);
    }
}

// Products that would be one if their parameters had narrow copies.
static void report_wide(Merge *x) {
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        NodeId w, v = product_of(x, n, STATE_param, &w);
        bool before = false;
        if (v == NONE) continue;
        for (uint32_t i = x->users.first[v]; i < x->users.first[v + 1] && !before; i++) {
            NodeId k = x->users.list[i];
            before = k < n && product_of(x, k, STATE_param, &w) == v &&
                     list_same(summed(x, k), summed(x, n));
        }
        if (before)
            record(x, false, name_of(x, n), node(x, n)->loc, 0,
                   "its parameter is multiplied as it is: only copies in a narrow type are laid "
                   "side by side");
    }
}

// ---- what follows the products ------------------------------------------------------------------

// The shadow that `bias` is, widened; it has the last axes of w and no others.
static StateId bias_of(const Merge *x, NodeId bias, const Type *w, uint32_t outs) {
    while (node(x, bias)->op == OP_cast) bias = operand(x->f, bias, 0);
    StateId s = state_of(x, bias);
    const Type *t = type(x, bias);
    return is_kind(x, s, STATE_shadow) && t->n == outs && ends_with(t, w, outs) ? s : NONE;
}

// Each of the nodes that read the last ones does the same: a rounding, or the sum with a bias.
static bool follow(const Merge *x, const MergeSet *s, MergeMatch *m, StateId bias[PARTS]) {
    NodeId next[PARTS] = {0};
    StateId of[PARTS] = {0};
    for (uint32_t i = 0; i < s->n; i++) {
        next[i] = only_user(x, m->last[i]);
        if (next[i] == NONE || node(x, next[i])->phase != PHASE_F || is_demanded(x, next[i]))
            return false;
        const Node *u = node(x, next[i]);
        if (u->op != node(x, next[0])->op || (u->op != OP_cast && u->op != OP_add)) return false;
        if (u->op == OP_cast) {
            if (type(x, next[i])->elem != type(x, next[0])->elem) return false;
            continue;
        }
        StateId w = s->shadow.of[i];
        const Type *t = type_at(x->m, x->m->states.at[w].type);
        of[i] = bias_of(x, other(x, next[i], m->last[i]), t, t->n - summed(x, m->product[0])->n);
        if (of[i] == NONE || bias[0] != NONE || x->use[of[i]].products ||
            (x->dead[of[i]] && s->bias.whole == NONE) || // another set's
            (sum_of(x, of[i]) == NONE) != (sum_of(x, of[0]) == NONE) ||
            (operand(x->f, next[i], 0) == m->last[i]) !=
                (operand(x->f, next[0], 0) == m->last[0]) ||
            type_at(x->m, x->m->states.at[of[i]].type)->elem !=
                type_at(x->m, x->m->states.at[of[0]].type)->elem)
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (of[k] == of[i]) return false;
    }
    if (node(x, next[0])->op == OP_add) memcpy(bias, of, sizeof of);
    memcpy(m->last, next, sizeof next);
    m->steps++;
    return true;
}

// The products of the set in this function, if they still read one value.
static bool find_products(const Merge *x, const MergeSet *s, MergeMatch *m) {
    memset(m, 0xff, sizeof *m);
    m->steps = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        NodeId n = x->use[s->shadow.of[i]].product, w;
        if (n == NONE || n == SEVERAL || is_demanded(x, n)) return false;
        NodeId v = product_of(x, n, STATE_shadow, &w);
        if (i && v != m->x) return false;
        m->product[i] = n;
        m->x = v;
        NodeId w0 = other(x, m->product[0], m->x);
        if (why_not_beside(x, m->product[0], w0, m->product[i], w)) return false;
        if (m->product[i] < m->at) m->at = m->product[i];
        m->last[i] = m->product[i];
    }
    return true;
}

// ---- derivatives --------------------------------------------------------------------------------

// da has the axes of a, in an order in which parts can be put behind each other.
static bool is_part(const Merge *x, const MergeSet *s, const MergeMatch *m, uint32_t i, NodeId dy) {
    const Type *w = type_at(x->m, x->m->states.at[s->shadow.of[i]].type), *t = type(x, dy);
    const Type *w0 = type_at(x->m, x->m->states.at[s->shadow.of[0]].type);
    uint32_t outs = w->n - summed(x, m->product[i])->n;
    if (!ends_with(t, w, outs)) return false;
    return !i || begins_alike(type(x, m->dy[0]), w0->n - summed(x, m->product[0])->n, t, outs);
}

static bool set_dy(const Merge *x, const MergeSet *s, MergeMatch *m, uint32_t i, NodeId dy) {
    if (m->dy[i] == NONE && is_part(x, s, m, i, dy)) m->dy[i] = dy;
    return m->dy[i] == dy;
}

// dx_i = contract(dy_i, w_i), each the accumulator of the next, nothing between them.
static bool find_dx(const Merge *x, const MergeSet *s, MergeMatch *m) {
    NodeId first = NONE, last = NONE;
    for (uint32_t i = 0; i < s->n; i++) {
        NodeId dx = NONE, w = other(x, m->product[i], m->x);
        for (uint32_t k = x->users.first[w]; k < x->users.first[w + 1]; k++) {
            NodeId u = x->users.list[k];
            if (u == m->product[i]) continue;
            if (dx != NONE || node(x, u)->op != OP_contract || node(x, u)->phase == PHASE_F ||
                (node(x, u)->n == 3 && operand(x->f, u, 2) == w))
                return false;
            dx = u;
        }
        if (dx == NONE) return false;
        const Type *t = type(x, w);
        uint32_t outs = t->n - summed(x, m->product[i])->n;
        bool all = summed(x, dx)->n == outs;
        for (uint32_t k = t->n - outs; k < t->n; k++)
            all = all && list_has(summed(x, dx), t->axes[k].axis);
        if (!all || !set_dy(x, s, m, i, other(x, dx, w)) ||
            node(x, dx)->type != node(x, i ? m->dx[0] : dx)->type)
            return false;
        m->dx[i] = dx;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        NodeId acc = node(x, m->dx[i])->n == 3 ? operand(x->f, m->dx[i], 2) : NONE, next;
        bool inner = false;
        for (uint32_t k = 0; k < s->n; k++) inner |= acc == m->dx[k];
        if (!inner) {
            if (first != NONE) return false;
            first = m->dx[i], m->dx_acc = acc;
        }
        next = only_user(x, m->dx[i]);
        inner = false;
        for (uint32_t k = 0; k < s->n; k++)
            inner |= next == m->dx[k] && next != NONE && operand(x->f, next, 2) == m->dx[i];
        if (!inner) {
            if (last != NONE) return false;
            last = m->dx[i];
        }
    }
    if (first == NONE || last == NONE) return false;
    m->dx_at = last;
    return true;
}

// No other function assigns the sum: it reads it, as a slice.
static bool is_summed_here(const Merge *x, StateId sum) {
    return x->assigned[sum] == (x->use[sum].assign != NONE);
}

static bool find_dw(const Merge *x, MergeSet *s, MergeMatch *m) {
    for (uint32_t i = 0; i < s->n; i++) {
        StateId sum = sum_of(x, s->shadow.of[i]), shadow = s->shadow.of[i];
        if (sum == NONE || !is_summed_here(x, sum)) return false;
        NodeId dw = reader_of(x, sum), end = assign_of(x, sum);
        const Type *t = type_at(x->m, x->m->states.at[sum].type),
                   *w = type_at(x->m, x->m->states.at[shadow].type);
        if (dw == NONE || end == NONE || node(x, dw)->op != OP_contract || node(x, dw)->n != 3 ||
            only_user(x, dw) != end || state_of(x, operand(x->f, dw, 2)) != sum ||
            node(x, dw)->type != x->m->states.at[sum].type || t->n != w->n || t->elem != ELEM_f32)
            return false;
        for (uint32_t k = 0; k < t->n; k++)
            if (t->axes[k].axis != w->axes[k].axis) return false;
        uint32_t at = operand(x->f, dw, 0) == m->x ? 1 : 0;
        if (operand(x->f, dw, 1 - at) != m->x || !set_dy(x, s, m, i, operand(x->f, dw, at)))
            return false;
        if (i && (!list_same(summed(x, dw), summed(x, m->dw[0])) ||
                  (operand(x->f, m->dw[0], 0) == m->x) != (at == 1)))
            return false;
        m->dw[i] = dw;
        s->sum.of[i] = sum;
        if (m->dw_at == NONE || end > m->dw_at) m->dw_at = end;
    }
    return true;
}

// sum += fold of dy over rows, for each bias.
static bool find_db(const Merge *x, MergeSet *s, MergeMatch *m) {
    for (uint32_t i = 0; i < s->n; i++) {
        StateId sum = sum_of(x, s->bias.of[i]);
        if (sum == NONE || !is_summed_here(x, sum)) return false;
        NodeId add = reader_of(x, sum), end = assign_of(x, sum);
        if (add == NONE || end == NONE || node(x, add)->op != OP_add || only_user(x, add) != end ||
            type_at(x->m, x->m->states.at[sum].type)->elem != ELEM_f32)
            return false;
        uint32_t at = state_of(x, operand(x->f, add, 0)) == sum ? 1 : 0;
        NodeId fold = operand(x->f, add, at), from;
        if (state_of(x, operand(x->f, add, 1 - at)) != sum || node(x, fold)->op != OP_reduce ||
            only_user(x, fold) != add || node(x, fold)->type != x->m->states.at[sum].type)
            return false;
        from = operand(x->f, fold, 0);
        if (m->dy[i] == NONE || node(x, from)->op != OP_cast || operand(x->f, from, 0) != m->dy[i])
            return false;
        if (i && (node(x, fold)->attr != node(x, m->fold[0])->attr ||
                  type(x, from)->elem != type(x, operand(x->f, m->fold[0], 0))->elem))
            return false;
        m->fold[i] = fold;
        s->bias_sum.of[i] = sum;
        if (m->db_at == NONE || end > m->db_at) m->db_at = end;
    }
    return true;
}

static void find_derivatives(const Merge *x, MergeSet *s, MergeMatch *m) {
    if (!find_dx(x, s, m)) m->dx_at = NONE;
    if (!find_dw(x, s, m)) m->dw_at = NONE;
    if (s->bias.of[0] == NONE || !find_db(x, s, m)) m->db_at = NONE;
}

// ---- states side by side ------------------------------------------------------------------------

// Axes of parts of these sizes: the same for all sets that have them, so that layers have the same kernels.
static void share_axes(const Merge *x, uint32_t n, Span *s) {
    for (uint32_t i = 0; i < x->sets.n; i++) {
        const MergeSet *e = &x->sets.at[i];
        bool same = e->shadow.to && e->shadow.to != NONE && e->n == n && &e->shadow != s &&
                    e->shadow.whole != NONE;
        for (uint32_t k = 0; k < n && same; k++) same = e->shadow.size[k] == s->size[k];
        if (!same) continue;
        s->to = e->shadow.to;
        memcpy(s->part, e->shadow.part, sizeof s->part);
        return;
    }
    int64_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        all += s->size[i];
        s->part[i] = axis_new(x->m, "part", s->size[i]);
    }
    s->to = axis_new(x->m, "parts", all);
}

static void make_span(Merge *x, const MergeSet *set, Span *s) {
    const State first = x->m->states.at[s->of[0]];
    Type t = *type_at(x->m, first.type);
    int64_t all = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        const Type *of = type_at(x->m, x->m->states.at[s->of[i]].type);
        s->size[i] = last_extents(of, of->n - s->ins);
        all += s->size[i];
        x->dead[s->of[i]] = 1;
    }
    if (s == &set->shadow)
        share_axes(x, set->n, s);
    else
        s->to = set->shadow.to, memcpy(s->part, set->shadow.part, sizeof s->part);
    t.n = s->ins;
    t.axes[t.n++] = (TypeAxis){s->to, all, {0}};
    const char *path = arena_printf(x->a, "%s.merged", sym_str(x->m->syms, first.path));
    for (uint32_t i = 2; state_find(x->m, sym(x->m->syms, path)) != NONE; i++)
        path = arena_printf(x->a, "%s.merged.%u", sym_str(x->m->syms, first.path), i);
    s->whole = state_new(x->m, path, type_intern(x->m, &t), (StateKind)first.kind, first.loc);
}

// Part i of value `whole`, whose last axis is the parts', with the axes that it has by itself.
static NodeId part_of(Merge *x, const Span *s, uint32_t i, NodeId whole) {
    const Type *t = type_at(x->m, x->m->states.at[s->of[i]].type);
    AxisList to = {0};
    int64_t sizes[MAX_AXES], start = 0;
    for (uint32_t k = 0; k < i; k++) start += s->size[k];
    for (uint32_t k = s->ins; k < t->n; k++) {
        sizes[to.n] = t->axes[k].size;
        to.at[to.n++] = t->axes[k].axis;
    }
    if (to.n == 1) return ir_slice(&x->r.b, whole, s->to, to.at[0], start, s->size[i]);
    NodeId part = ir_slice(&x->r.b, whole, s->to, s->part[i], start, s->size[i]);
    return ir_split(&x->r.b, part, s->part[i], &to, sizes);
}

// The parts put behind each other.
static NodeId joined(Merge *x, const MergeSet *set, const Span *s, const NodeId *parts) {
    NodeId in[PARTS];
    AxisList names = {0};
    for (uint32_t i = 0; i < set->n; i++) {
        const Type *t = type_at(x->m, x->m->states.at[s->of[i]].type);
        AxisList from = {0};
        for (uint32_t k = s->ins; k < t->n; k++) from.at[from.n++] = t->axes[k].axis;
        in[i] = parts[i];
        names.at[names.n++] = from.n == 1 ? from.at[0] : s->part[i];
        if (from.n > 1) in[i] = ir_merge(&x->r.b, in[i], &from, s->part[i]);
    }
    return ir_concat(&x->r.b, in, &names, s->to);
}

// ---- writing ------------------------------------------------------------------------------------

static Attr contract_over(const AxisList *axes) {
    return (Attr){.kind = ATTR_contract, .contract = {.axes = *axes}};
}

// `like` is the type of the product of part 0.
static TypeId with_parts(Merge *x, const MergeSet *s, TypeId like) {
    Type t = *type_at(x->m, like);
    t.n -= type_at(x->m, x->m->states.at[s->shadow.of[0]].type)->n - s->shadow.ins;
    int64_t all = 0;
    for (uint32_t i = 0; i < s->n; i++) all += s->shadow.size[i];
    t.axes[t.n++] = (TypeAxis){s->shadow.to, all, {0}};
    return type_intern(x->m, &t);
}

static void write_products(Merge *x, const MergeSet *s, MergeMatch *m) {
    Builder *b = &x->r.b;
    NodeId p = m->product[0], v = x->r.map[m->x], chain[LONGEST + 1];
    Attr attr = contract_over(summed(x, p));
    rewrite_like(&x->r, p);
    NodeId w = ir_state(b, s->shadow.whole);
    bool first = operand(x->f, p, 0) == m->x;
    NodeId y = ir_node(b, OP_contract, &attr, (NodeId[]){first ? v : w, first ? w : v}, 2,
                       with_parts(x, s, node(x, p)->type));
    chain[0] = p;
    for (uint32_t i = 0; i < m->steps; i++) {
        NodeId n = chain[i + 1] = only_user(x, chain[i]);
        rewrite_like(&x->r, n);
        if (node(x, n)->op == OP_cast) {
            y = ir_cast(b, y, (Elem)type(x, n)->elem);
            continue;
        }
        NodeId bias = ir_cast(b, ir_state(b, s->bias.whole), (Elem)type(x, n)->elem);
        bool left = operand(x->f, n, 0) == chain[i];
        y = ir_binary(b, OP_add, left ? y : bias, left ? bias : y);
    }
    m->whole = y;
    for (uint32_t i = 0; i < s->n; i++) {
        rewrite_like(&x->r, m->last[i]);
        x->r.map[m->last[i]] = part_of(x, &s->shadow, i, y);
    }
}

static NodeId derivatives(Merge *x, const MergeSet *s, MergeMatch *m) {
    NodeId in[PARTS];
    if (m->dwhole != NONE) return m->dwhole;
    for (uint32_t i = 0; i < s->n; i++) in[i] = x->r.map[m->dy[i]];
    rewrite_like(&x->r, m->dy[0]);
    return m->dwhole = joined(x, s, &s->shadow, in);
}

static void write_dx(Merge *x, const MergeSet *s, MergeMatch *m) {
    NodeId in[3] = {0}, n = m->dx_at, dy = derivatives(x, s, m);
    AxisList axes = {1, {s->shadow.to}};
    Attr attr = contract_over(&axes);
    uint32_t i = 0;
    while (m->dx[i] != n) i++;
    rewrite_like(&x->r, n);
    NodeId w = ir_state(&x->r.b, s->shadow.whole);
    bool first = operand(x->f, n, 0) == m->dy[i];
    in[0] = first ? dy : w, in[1] = first ? w : dy;
    if (m->dx_acc != NONE) in[2] = x->r.map[m->dx_acc];
    x->r.map[n] =
        ir_node(&x->r.b, OP_contract, &attr, in, m->dx_acc == NONE ? 2 : 3, node(x, n)->type);
}

static void write_dw(Merge *x, const MergeSet *s, MergeMatch *m) {
    NodeId n = m->dw[0], dy = derivatives(x, s, m), v = x->r.map[m->x];
    Attr attr = contract_over(summed(x, n));
    rewrite_like(&x->r, n);
    bool first = operand(x->f, n, 0) == m->x;
    NodeId in[3] = {first ? v : dy, first ? dy : v, ir_state(&x->r.b, s->sum.whole)};
    NodeId dw = ir_node(&x->r.b, OP_contract, &attr, in, 3, x->m->states.at[s->sum.whole].type);
    rewrite_like(&x->r, m->dw_at);
    x->r.map[m->dw_at] = ir_assign(&x->r.b, s->sum.whole, dw);
}

static void write_db(Merge *x, const MergeSet *s, MergeMatch *m) {
    NodeId fold = m->fold[0], dy = derivatives(x, s, m);
    const Attr at = *attr_of(x->m, x->f, fold);
    rewrite_like(&x->r, operand(x->f, fold, 0));
    dy = ir_cast(&x->r.b, dy, (Elem)type(x, operand(x->f, fold, 0))->elem);
    rewrite_like(&x->r, fold);
    NodeId sum = ir_reduce_by(&x->r.b, (ReduceKind)at.reduce.kind, dy, &at.reduce.axes,
                              (FoldBy)at.reduce.by, at.reduce.part);
    NodeId state = ir_state(&x->r.b, s->bias_sum.whole);
    NodeId add = only_user(x, fold);
    rewrite_like(&x->r, add);
    bool first = operand(x->f, add, 0) == fold;
    sum = ir_binary(&x->r.b, OP_add, first ? sum : state, first ? state : sum);
    rewrite_like(&x->r, m->db_at);
    x->r.map[m->db_at] = ir_assign(&x->r.b, s->bias_sum.whole, sum);
}

static void skip_all(Merge *x, const MergeSet *s, const MergeMatch *m) {
    for (uint32_t i = 0; i < s->n; i++) {
        if (m->at != NONE)
            for (NodeId n = m->product[i];; n = only_user(x, n)) {
                x->skip[n] = 1;
                if (n == m->last[i]) break;
            }
        if (m->dx_at != NONE) x->skip[m->dx[i]] = 1;
        if (m->dw_at != NONE) x->skip[m->dw[i]] = x->skip[only_user(x, m->dw[i])] = 1;
        if (m->db_at == NONE) continue;
        NodeId add = only_user(x, m->fold[i]);
        x->skip[m->fold[i]] = x->skip[add] = x->skip[only_user(x, add)] = 1;
    }
}

static void write_at(Merge *x, NodeId n) {
    if (!x->set_at[n]) return;
    const MergeSet *s = &x->sets.at[x->set_at[n] - 1];
    MergeMatch *m = &s->match[x->id];
    if (m->at == n) write_products(x, s, m);
    if (m->dx_at == n) write_dx(x, s, m);
    if (m->dw_at == n) write_dw(x, s, m);
    if (m->db_at == n) write_db(x, s, m);
}

static void mark_at(Merge *x, uint32_t set, NodeId n) {
    if (n == NONE) return;
    CHECK(!x->set_at[n] || x->set_at[n] == set + 1, "two merged products at one place");
    x->set_at[n] = set + 1;
}

// What becomes of the states.
static void find_parts(Merge *x) {
    memset(x->in, 0xff, sizeof *x->in * (x->states + 1));
    for (uint32_t i = 0; i < x->sets.n; i++) {
        const MergeSet *s = &x->sets.at[i];
        const Span *all[] = {&s->shadow, &s->bias, &s->sum, &s->bias_sum};
        for (uint32_t k = 0; k < 4; k++)
            for (uint32_t j = 0; all[k]->whole != NONE && j < s->n; j++)
                x->in[all[k]->of[j]] = (StatePart){i, j, all[k]};
    }
}

// The last of the nodes that assign parts of a span assigns it.
static void write_assign(Merge *x, const MergeSet *set, const Span *s, NodeId n) {
    NodeId parts[PARTS], last = NONE;
    for (uint32_t i = 0; i < set->n; i++) {
        NodeId at = assign_of(x, s->of[i]);
        CHECK(at != NONE, "only some parts of '%s' are assigned in '%s'",
              sym_str(x->m->syms, x->m->states.at[s->whole].path), sym_str(x->m->syms, x->f->name));
        if (last == NONE || at > last) last = at;
        parts[i] = operand(x->f, at, 0);
    }
    if (n != last) return;
    for (uint32_t i = 0; i < set->n; i++) parts[i] = x->r.map[parts[i]];
    rewrite_like(&x->r, n);
    x->r.map[n] = ir_assign(&x->r.b, s->whole, joined(x, set, s, parts));
}

static void write_func(Merge *x) {
    x->skip = NEW_ARRAY(x->a, uint8_t, x->f->nodes.n + 1);
    x->set_at = NEW_ARRAY(x->a, uint32_t, x->f->nodes.n + 1);
    for (uint32_t i = 0; i < x->sets.n; i++) {
        const MergeMatch *m = &x->sets.at[i].match[x->id];
        if (x->sets.at[i].shadow.whole == NONE) continue;
        skip_all(x, &x->sets.at[i], m);
        mark_at(x, i, m->at);
        mark_at(x, i, m->dx_at);
        mark_at(x, i, m->dw_at);
        mark_at(x, i, m->db_at);
    }
    rewrite_begin(&x->r, x->cx, x->f);
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        write_at(x, n);
        if (x->skip[n]) continue;
        StateId s = state_of(x, n), to = assigned_to(x, n);
        const StatePart *in = s == NONE && to == NONE ? NULL : &x->in[s == NONE ? to : s];
        if (!in || in->set == NONE) {
            rewrite_copy(&x->r, n);
        } else if (to != NONE) {
            write_assign(x, &x->sets.at[in->set], in->span, n);
        } else {
            rewrite_like(&x->r, n);
            x->r.map[n] = part_of(x, in->span, in->part, ir_state(&x->r.b, in->span->whole));
        }
    }
    rewrite_end(&x->r);
}

// ---- the pass -----------------------------------------------------------------------------------

static void decide(Merge *x, MergeSet *s) {
    MergeMatch *m = &s->match[x->id];
    StateId *bias = s->bias.of;
    memset(bias, 0xff, sizeof s->bias.of);
    CHECK(find_products(x, s, m), "the products of '%s' are lost", s->name);
    while (m->steps < LONGEST && follow(x, s, m, bias)) {
    }
    find_derivatives(x, s, m);
    s->sum.ins = s->shadow.ins;
    make_span(x, s, &s->shadow);
    if (bias[0] != NONE) make_span(x, s, &s->bias);
    if (m->dw_at != NONE) make_span(x, s, &s->sum);
    if (m->db_at != NONE) make_span(x, s, &s->bias_sum);
    bool dx = m->dx_at != NONE, dw = m->dw_at != NONE;
    int64_t bytes = type_bytes(type(x, m->x)) * (s->n - 1) * (dw ? 2 : 1);
    if (dx) bytes += 2 * type_bytes(type(x, m->dx_at)) * (s->n - 1);
    record(x, true, s->name, node(x, m->product[0])->loc, bytes,
           arena_printf(
               x->a, "%u products of one value are one, over parameters side by side: forward%s%s",
               s->n, dx ? ", by the value" : "", dw ? ", by the parameters" : ""));
}

// In another function: the products of the set, and what follows them as in the training step.
static void find_again(Merge *x, MergeSet *s) {
    MergeMatch *m = &s->match[x->id];
    StateId bias[PARTS];
    memset(bias, 0xff, sizeof bias);
    if (!find_products(x, s, m)) {
        memset(m, 0xff, sizeof *m);
        return;
    }
    while (m->steps < LONGEST) {
        MergeMatch before = *m;
        if (!follow(x, s, m, bias)) break;
        if (memcmp(bias, s->bias.of, sizeof(StateId) * s->n) == 0 || bias[0] == NONE) continue;
        *m = before;
        break;
    }
}

// Facts of the module.
static void by_state(Merge *x) {
    x->states = x->m->states.n;
    x->dead = NEW_ARRAY(x->a, uint8_t, x->states + 1);
    x->sum = NEW_ARRAY(x->a, StateId, x->states + 1);
    x->assigned = NEW_ARRAY(x->a, uint32_t, x->states + 1);
    x->in = NEW_ARRAY(x->a, StatePart, x->states + 1);
    x->use = NEW_ARRAY(x->a, StateUse, x->states + 1);
    memset(x->sum, 0xff, sizeof *x->sum * (x->states + 1));
    for (StateId s = 0; s < x->states; s++)
        if (x->m->states.at[s].kind == STATE_accum && x->m->states.at[s].of != NONE)
            x->sum[x->m->states.at[s].of] = s;
    for (FuncId i = 0; i < x->m->funcs.n; i++) {
        const Func *f = x->m->funcs.at[i];
        enter(x, i);
        for (StateId s = 0; s < x->states && !f->region; s++)
            x->assigned[s] += x->use[s].assign != NONE;
    }
}

bool pass_merge(PassCx *cx) {
    Merge x = {.cx = cx, .m = cx->m, .a = cx->scratch};
    FuncId step = 0;
    if (cx->m->merge == MERGE_none || (cx->m->merge == MERGE_auto && !cx->target->merges))
        return false;
    while (step < cx->m->funcs.n && cx->m->funcs.at[step] != module_find(cx->m, "micro")) step++;
    if (step == cx->m->funcs.n) return false;
    by_state(&x);
    enter(&x, step);
    find_sets(&x);
    report_wide(&x);
    if (!x.sets.n) return false;
    for (uint32_t i = 0; i < x.sets.n; i++) decide(&x, &x.sets.at[i]);
    find_parts(&x);
    for (FuncId f = 0; f < cx->m->funcs.n; f++) {
        if (cx->m->funcs.at[f]->region) continue;
        enter(&x, f);
        for (uint32_t i = 0; i < x.sets.n && f != step; i++) find_again(&x, &x.sets.at[i]);
        write_func(&x);
    }
    uint8_t *dead = NEW_ARRAY(x.a, uint8_t, cx->m->states.n + 1);
    memcpy(dead, x.dead, x.states);
    module_drop_states(cx->m, dead);
    pass_cse(cx);
    pass_dce(cx);
    return true;
}

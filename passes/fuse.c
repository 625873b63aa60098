// Fusion: one kernel for what should touch memory once.
//
// Stored values and folds are visited in topological order. Each joins the latest group that it reads
// from (or that reads what it reads), if their iteration spaces agree, else it opens a group. Groups
// are numbered in the order they open, and a node joins a group only if everything it reads comes
// from groups with smaller or equal numbers, so edges never point backwards: groups stay convex and
// their order is a schedule, by construction, without a cycle check. O(nodes + edges).
//
// A group's kinds: map (no folds), rows (folds along the last axes; softmax, norms and their
// gradients), columns (folds along leading axes), gemm (a contraction and what follows on its tile),
// scatter. Values that are cheap to compute again never enter a group of their own: fuse_inline.c.
//
// Bit-neutral: folds keep their order and values are rounded the same wherever they are computed.
#include "passes/fuse.h"
#include "passes/rewrite.h"
#include <string.h>

const RefusalInfo refusal_info[REFUSAL_COUNT] = {
    {"none", "", ""},
#define REFUSAL(name, reason, change) {#name, reason, change},
#include "passes/fuse.def"
#undef REFUSAL
};

static AxisList axes_of(const Type *t) {
    AxisList l = {.n = t->n};
    for (uint32_t i = 0; i < t->n; i++) l.at[i] = t->axes[i].axis;
    return l;
}

static bool same_list(const AxisList *a, const AxisList *b) {
    return a->n == b->n && memcmp(a->at, b->at, a->n * sizeof a->at[0]) == 0;
}

static bool is_fold(const Fuse *x, NodeId n) { return node_at(x->f, n)->op == OP_reduce; }

// The space in which node n is computed: a fold's is its operand's.
static AxisList domain_of(const Fuse *x, NodeId n) {
    return axes_of(type_of(x->m, x->f, is_fold(x, n) ? operand(x->f, n, 0) : n));
}

static const Type *domain_type(const Fuse *x, NodeId n) {
    return type_of(x->m, x->f, is_fold(x, n) ? operand(x->f, n, 0) : n);
}

static FuseGroup open_group(const Fuse *x, NodeId n) {
    FuseGroup g = {.kind = GROUP_map, .axes = domain_of(x, n)};
    const Type *t = domain_type(x, n);
    for (uint32_t i = 0; i < t->n; i++) g.size[i] = t->axes[i].size;
    const Attr *at = attr_of(x->m, x->f, n);
    Op op = (Op)node_at(x->f, n)->op;
    if (op == OP_group) g.kind = at->group.kind, g.closed = true; // as it is
    if (op == OP_contract) g.kind = GROUP_gemm;
    if (op == OP_scatter_add) g.kind = GROUP_scatter, g.closed = true;
    if (op == OP_reduce) {
        g.kind = at->reduce.by == FOLD_row ? GROUP_rows : GROUP_columns;
        *(at->reduce.by == FOLD_row ? &g.lane : &g.walk) = at->reduce.axes;
        if (at->reduce.by != FOLD_row) g.part = at->reduce.part;
        // segments of one row are tasks of their own: nothing else has that shape
        g.closed = at->reduce.by == FOLD_row && at->reduce.part;
    }
    return g;
}

// The axes before the folded ones, in order: the rows of a row group.
static AxisList rows_of(const FuseGroup *g) {
    AxisList l = {0};
    for (uint32_t i = 0; i < g->axes.n; i++)
        if (!list_has(&g->lane, g->axes.at[i])) l.at[l.n++] = g->axes.at[i];
    return l;
}

static bool is_suffix(const AxisList *all, const AxisList *part) {
    return part->n <= all->n &&
           memcmp(all->at + all->n - part->n, part->at, part->n * sizeof part->at[0]) == 0;
}

static Refusal cannot_fold_rows(const Fuse *x, NodeId n, const FuseGroup *g) {
    const Attr *at = attr_of(x->m, x->f, n);
    if (g->kind == GROUP_gemm) return REFUSAL_row_tiles;
    if (g->updates) return REFUSAL_row_update;
    if (at->reduce.part) return REFUSAL_segments;
    if (!is_suffix(&g->axes, &at->reduce.axes)) return REFUSAL_not_last;
    if (g->kind == GROUP_rows && !same_list(&g->lane, &at->reduce.axes)) return REFUSAL_other_rows;
    if (g->kind == GROUP_columns) { // rows are walked in chunks: right when they are what is walked
        AxisList rows = {0};
        for (uint32_t i = 0; i + at->reduce.axes.n < g->axes.n; i++)
            rows.at[rows.n++] = g->axes.at[i];
        if (!is_suffix(&rows, &g->walk)) return REFUSAL_walk_rows;
    }
    return REFUSAL_none;
}

static Refusal cannot_fold_columns(const Fuse *x, NodeId n, const FuseGroup *g) {
    const Attr *at = attr_of(x->m, x->f, n);
    const AxisList *axes = &at->reduce.axes;
    if (g->kind == GROUP_gemm) return REFUSAL_column_tiles;
    if (g->walk.n && !same_list(&g->walk, axes)) return REFUSAL_walks_other;
    if (g->walk.n && g->part != at->reduce.part) return REFUSAL_cut;
    // all rows are walked in the fold's order: kept axes may only stand before or after them
    AxisList rows = rows_of(g);
    if (g->kind == GROUP_rows && !is_suffix(&rows, axes)) return REFUSAL_not_walked;
    if (g->kind == GROUP_map) {
        for (uint32_t i = 0; i + axes->n <= g->axes.n; i++)
            if (memcmp(g->axes.at + i, axes->at, axes->n * sizeof axes->at[0]) == 0)
                return REFUSAL_none;
        return REFUSAL_apart;
    }
    return REFUSAL_none;
}

// The same name may stand for a cut of the axis: extents must agree too.
static bool same_extents(const Fuse *x, NodeId n, const FuseGroup *g) {
    const Type *t = domain_type(x, n);
    for (uint32_t i = 0; i < g->axes.n; i++) {
        int k = type_find(t, g->axes.at[i]);
        if (k >= 0 && t->axes[k].size != g->size[i]) return false;
    }
    return true;
}

typedef struct {
    StateId state;
    bool read;
} StateRead;

static void visit_state(Fuse *x, NodeId s, bool moved, void *user) {
    StateRead *r = user;
    (void)moved;
    r->read |= node_at(x->f, s)->op == OP_state && attr_of(x->m, x->f, s)->state.state == r->state;
}

// n is the new value of a state that it is computed from.
static bool updates_state(Fuse *x, NodeId n) {
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId user = x->users.list[i];
        if (node_at(x->f, user)->op != OP_assign) continue;
        StateRead r = {.state = attr_of(x->m, x->f, user)->assign.state};
        fuse_sources(x, n, visit_state, &r);
        if (r.read) return true;
    }
    return false;
}

// n is read by new values of states alone, and by something: a moment, before the step's guard chooses
// between it and the old one. It is kept in registers where they are computed, and stored anywhere else.
static bool feeds_updates(Fuse *x, NodeId n) {
    enum { MOST = 32 };
    NodeId seen[MOST] = {n};
    uint32_t count = 1;
    bool found = false;
    if (x->need[n]) return false;
    for (uint32_t at = 0; at < count; at++)
        for (uint32_t i = x->users.first[seen[at]]; i < x->users.first[seen[at] + 1]; i++) {
            NodeId user = x->users.list[i];
            uint32_t k = 0;
            while (k < count && seen[k] != user) k++;
            if (k < count) continue;
            if (x->is_inline[user] && count < MOST)
                seen[count++] = user;
            else if (updates_state(x, user))
                found = true;
            else
                return false;
        }
    return found;
}

// What n rounds to a type for storage, or widens from one; n itself where it does neither.
static NodeId uncast(const Fuse *x, NodeId n) {
    if (node_at(x->f, n)->op != OP_cast) return n;
    NodeId o = operand(x->f, n, 0);
    uint32_t from = type_of(x->m, x->f, o)->elem, to = type_of(x->m, x->f, n)->elem;
    return elem_info[from].computes == elem_info[to].computes ? o : n;
}

// n adds a state to the product, which has its type. The state has the last axes of the product, all of
// which come from one operand: a value for each column; and it lies in the type of what is stored.
static bool adds_bias(const Fuse *x, NodeId n, NodeId product, uint32_t stored) {
    if (node_at(x->f, n)->op != OP_add || node_at(x->f, n)->type != node_at(x->f, product)->type)
        return false;
    NodeId a = operand(x->f, n, 0), b = operand(x->f, n, 1), bias = uncast(x, a == product ? b : a);
    const Type *t = type_of(x->m, x->f, product), *v = type_of(x->m, x->f, bias);
    if ((a != product && b != product) || node_at(x->f, bias)->op != OP_state || v->n == 0 ||
        v->n > t->n || v->elem != stored)
        return false;
    bool left = false, right = false; // which operands have the other axes, or the bias's
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId axis = t->axes[i].axis;
        bool in_a = type_find(type_of(x->m, x->f, operand(x->f, product, 0)), axis) >= 0;
        bool in_b = type_find(type_of(x->m, x->f, operand(x->f, product, 1)), axis) >= 0;
        uint32_t k = i + v->n - t->n; // the axis's place in the bias
        if (i + v->n < t->n) {
            left |= in_a && !in_b;
            right |= in_b && !in_a;
        } else if (v->axes[k].axis != axis || (in_a && in_b)) {
            return false;
        }
    }
    bool of_a = false, of_b = false; // whose axes are the bias's
    for (uint32_t i = 0; i < v->n; i++) {
        bool in_a = type_find(type_of(x->m, x->f, operand(x->f, product, 0)), v->axes[i].axis) >= 0;
        if (in_a ? left : right) return false;
        of_a |= in_a;
        of_b |= !in_a;
    }
    return of_a != of_b;
}

// What a product's call stores in the product's place, which nothing else reads: the product, or its sum with
// a bias, rounded to a type for storage or not.
static bool is_call(const Fuse *x, NodeId n, const FuseGroup *g) {
    NodeId product = g->members.at[0], sum = uncast(x, n);
    if (g->members.n != 1 || x->need[product] ||
        x->users.first[product + 1] - x->users.first[product] != 1)
        return false;
    if (sum != n && node_at(x->f, product)->n == 3)
        return false; // what is added to is f32, and so is the sum
    if (sum == product) return true;
    return (sum == n || x->is_inline[sum]) &&
           adds_bias(x, sum, product, type_of(x->m, x->f, n)->elem);
}

// Why node n cannot be computed in group g. All that n reads comes from g or earlier.
static Refusal cannot_join(Fuse *x, NodeId n, const FuseGroup *g, bool reads_member) {
    Op op = (Op)node_at(x->f, n)->op;
    if (x->apart[n] || x->apart[g->members.at[0]]) return REFUSAL_nofuse;
    const Node *first = node_at(x->f, g->members.at[0]);
    if (node_at(x->f, n)->clone && !first->clone && first->phase == PHASE_F) return REFUSAL_clone;
    if (op == OP_contract) return REFUSAL_product;
    if (op == OP_scatter_add) return REFUSAL_scatter;
    if (op == OP_group) return REFUSAL_attention;
    if (g->closed) return REFUSAL_complete;
    if (g->kind == GROUP_gemm && x->cx->target->epilogue == EPILOGUE_bias && !is_call(x, n, g))
        return REFUSAL_bias_only;
    if (g->reads + x->closure[n].reads > MAX_READS) return REFUSAL_arguments;
    if (g->members.n >= MAX_MEMBERS) return REFUSAL_members;
    AxisList own = domain_of(x, n);
    if (!same_extents(x, n, g)) return REFUSAL_space;
    if (is_fold(x, n)) {
        if (!list_same(&own, &g->axes)) return REFUSAL_space;
        return attr_of(x->m, x->f, n)->reduce.by == FOLD_row ? cannot_fold_rows(x, n, g)
                                                             : cannot_fold_columns(x, n, g);
    }
    if (g->kind == GROUP_rows && (updates_state(x, n) || feeds_updates(x, n)))
        return REFUSAL_row_twice;
    if (g->kind == GROUP_gemm && !reads_member) return REFUSAL_no_tile;
    AxisList rows = rows_of(g);
    if (g->kind == GROUP_rows && same_list(&own, &rows)) return REFUSAL_none;
    return same_list(&own, &g->axes) ? REFUSAL_none : REFUSAL_space;
}

typedef struct {
    uint32_t latest;  // largest group among what is read; GROUP_NONE when only sources are
    uint32_t sibling; // largest group that reads one of the same large values
    bool column;      // reads a column fold's result from `latest`
    bool moved;       // reads from `latest` at another place than its own
} Reads;

static bool is_column_fold(const Fuse *x, NodeId n) {
    return is_fold(x, n) && attr_of(x->m, x->f, n)->reduce.by != FOLD_row;
}

static bool later(uint32_t a, uint32_t b) { return b == GROUP_NONE || (a != GROUP_NONE && a > b); }

static void visit_read(Fuse *x, NodeId s, bool moved, void *user) {
    Reads *r = user;
    if (!x->is_source[s] && (later(x->group[s], r->latest) || x->group[s] == r->latest)) {
        if (r->latest != x->group[s]) r->column = r->moved = false;
        r->column |= is_column_fold(x, s) || node_at(x->f, s)->op == OP_scatter_add;
        r->moved |= moved;
        r->latest = x->group[s];
    }
    if (x->reader[s] != GROUP_NONE && later(x->reader[s], r->sibling)) r->sibling = x->reader[s];
}

static void visit_mark(Fuse *x, NodeId s, bool moved, void *user) {
    (void)moved;
    uint32_t g = *(uint32_t *)user;
    if (x->reader[s] != g && (x->is_source[s] || x->group[s] != g)) x->groups.at[g].reads++;
    x->reader[s] = g;
}

// `state + column fold`: the accumulation of a gradient, done where the fold's result is stored.
static bool accumulates_fold(const Fuse *x, NodeId n, const FuseGroup *g) {
    const Node *node = node_at(x->f, n);
    if (node->op != OP_add || g->kind != GROUP_columns || x->apart[n] || x->apart[g->members.at[0]])
        return false;
    NodeId a = operand(x->f, n, 0), b = operand(x->f, n, 1);
    NodeId fold = is_column_fold(x, b) ? b : a, other = fold == b ? a : b;
    return is_column_fold(x, fold) && node_at(x->f, other)->op == OP_state && g->members.n == 1 &&
           g->members.at[0] == fold && node_at(x->f, fold)->type == node->type &&
           node_at(x->f, other)->type == node->type && !x->need[fold] &&
           x->users.first[fold + 1] - x->users.first[fold] == 1;
}

static void join(Fuse *x, NodeId n, uint32_t at) {
    FuseGroup *g = &x->groups.at[at];
    const Attr *attr = attr_of(x->m, x->f, n);
    if (is_fold(x, n)) {
        if (attr->reduce.by == FOLD_row) {
            g->lane = attr->reduce.axes;
            g->kind = GROUP_rows;
        } else {
            g->walk = attr->reduce.axes;
            g->part = attr->reduce.part;
            if (g->kind == GROUP_map) g->kind = GROUP_columns;
        }
    }
    vec_push(x->a, &g->members, n);
    g->updates |= updates_state(x, n);
    x->group[n] = at;
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++)
        if (node_at(x->f, x->users.list[i])->op == OP_part) x->group[x->users.list[i]] = at;
    fuse_sources(x, n, visit_mark, &at);
}

const char *fuse_name(const Fuse *x, NodeId n) {
    const char *s = sym_str(x->m->syms, node_at(x->f, n)->name);
    return *s ? s : op_info[node_at(x->f, n)->op].name;
}

static void visit_keep(Fuse *x, NodeId s, bool moved, void *user) {
    NodeList *kept = user;
    (void)moved;
    for (uint32_t i = 0; i < kept->n; i++)
        if (kept->at[i] == s) return;
    vec_push(x->a, kept, s);
}

// For those who ask: what n reads from other groups than its own, and why it is not in theirs. why: it did
// not join the latest of them.
static void record_pairs(Fuse *x, NodeId n, uint32_t latest, Refusal why) {
    NodeList sources = {0};
    if (!x->keep_pairs) return;
    fuse_sources(x, n, visit_keep, &sources);
    const char *late = "";
    for (uint32_t i = 0; i < sources.n; i++)
        if (x->group[sources.at[i]] == latest && !x->is_source[sources.at[i]])
            late = fuse_name(x, sources.at[i]);
    for (uint32_t i = 0; i < sources.n; i++) {
        NodeId s = sources.at[i];
        if (x->is_source[s] || x->group[s] == x->group[n]) continue;
        const FuseGroup *g = &x->groups.at[x->group[s]];
        bool later_one = x->group[s] != latest && !x->cx->unfused;
        FusePair p = {.source = {fuse_name(x, s), node_at(x->f, s)->loc},
                      .reader = {fuse_name(x, n), node_at(x->f, n)->loc},
                      .func = x->f->name,
                      .from = x->group[s],
                      .to = x->group[n],
                      .why = x->cx->unfused ? REFUSAL_unfused
                             : later_one    ? REFUSAL_later
                                            : why,
                      .besides = later_one ? cannot_join(x, n, g, true) : REFUSAL_none,
                      .late = late,
                      .bytes = type_bytes(type_of(x->m, x->f, s)),
                      .reads = g->reads + x->closure[n].reads};
        vec_push(x->a, &x->pairs, p);
    }
}

// The group that n joins; else *why it does not join the latest that it reads from.
static uint32_t group_for(Fuse *x, NodeId n, const Reads *r, Refusal *why) {
    *why = REFUSAL_none;
    if (x->cx->unfused) return GROUP_NONE;
    if (r->latest != GROUP_NONE) {
        FuseGroup *g = &x->groups.at[r->latest];
        if (accumulates_fold(x, n, g)) return r->latest;
        *why = r->column ? REFUSAL_at_end : r->moved ? REFUSAL_moved : cannot_join(x, n, g, true);
        if (!*why) return r->latest;
    }
    bool sibling = r->sibling != GROUP_NONE && later(r->sibling, r->latest) &&
                   !cannot_join(x, n, &x->groups.at[r->sibling], false);
    return sibling ? r->sibling : GROUP_NONE;
}

static void place_node(Fuse *x, NodeId n) {
    Reads r = {.latest = GROUP_NONE, .sibling = GROUP_NONE};
    fuse_sources(x, n, visit_read, &r);
    Refusal why;
    uint32_t at = group_for(x, n, &r, &why);
    if (at == GROUP_NONE) {
        const Node *node = node_at(x->f, n);
        if (why && node->op != OP_contract && node->op != OP_group)
            ledger_add(x->cx->ledger,
                       (Decision){.func = sym_str(x->m->syms, x->f->name),
                                  .pass = "fuse",
                                  .rule = refusal_info[why].name,
                                  .subject = fuse_name(x, n),
                                  .loc = node->loc},
                       "stored first: %s", refusal_info[why].reason);
        at = x->groups.n;
        vec_push(x->a, &x->groups, open_group(x, n));
    }
    join(x, n, at);
    record_pairs(x, n, r.latest, why);
}

static bool needs_group(const Fuse *x, NodeId n) {
    uint32_t op = node_at(x->f, n)->op;
    return !x->is_source[n] && !x->is_inline[n] && x->group[n] == GROUP_NONE &&
           (op_info[op].reads != READS_OWN || op == OP_group);
}

// A node that a product's call computes is where the product is. The product may come later, when all
// that it reads is there already: then it is placed now.
static void place(Fuse *x, NodeId n) {
    NodeId product = x->product[n];
    if (product == NONE) {
        place_node(x, n);
        return;
    }
    if (x->group[product] == GROUP_NONE) {
        place_node(x, product);
        x->groups.at[x->group[product]].closed = true;
    }
    if (n == product) return;
    join(x, n, x->group[product]);
    record_pairs(x, n, GROUP_NONE, REFUSAL_none);
}

// What is picked out of n comes before all else that reads n, in a group of its own.
static void place_picks(Fuse *x, NodeId n) {
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId u = x->users.list[i];
        if (!x->picks[u] || operand(x->f, u, 0) != n || !needs_group(x, u)) continue;
        place_node(x, u);
        x->groups.at[x->group[u]].closed = true;
    }
}

// A state's old value that leaves the function, as a result or in another state, while the state is
// assigned: it is copied, or the update in place would change it.
static bool leaves_old_value(const Module *m, const Func *f, const uint8_t *assigned, NodeId value,
                             StateId into) {
    if (node_at(f, value)->op != OP_state) return false;
    StateId s = attr_of(m, f, value)->state.state;
    return assigned[s] && s != into;
}

static void protect_old_values(PassCx *cx, Func *f) {
    Module *m = cx->m;
    uint8_t *assigned = NEW_ARRAY(cx->scratch, uint8_t, m->states.n + 1);
    bool any = false;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_assign) assigned[attr_of(m, f, n)->assign.state] = 1;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_assign)
            any |=
                leaves_old_value(m, f, assigned, operand(f, n, 0), attr_of(m, f, n)->assign.state);
    for (uint32_t i = 0; i < f->results.n; i++)
        any |= leaves_old_value(m, f, assigned, f->results.at[i].node, NONE);
    if (!any) return;

    Rewrite r;
    rewrite_begin(&r, cx, f);
    NodeId *copy = NEW_ARRAY(cx->scratch, NodeId, f->nodes.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *node = node_at(f, n);
        NodeId old = node->op == OP_assign ? operand(f, n, 0) : NONE;
        rewrite_like(&r, n);
        if (old != NONE && leaves_old_value(m, f, assigned, old, attr_of(m, f, n)->assign.state)) {
            r.map[n] = ir_assign(&r.b, attr_of(m, f, n)->assign.state, copy[old]);
            continue;
        }
        rewrite_copy(&r, n);
        rewrite_like(&r, n);
        if (node->op == OP_state && assigned[attr_of(m, f, n)->state.state])
            copy[n] = ir_copy(&r.b, r.map[n], node->type);
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        NodeId n = f->results.at[i].node;
        if (leaves_old_value(m, f, assigned, n, NONE)) r.map[n] = copy[n];
    }
    rewrite_end(&r);
}

// What a result or an assignment needs. Where dce was left out, a dead fold must not shape a group.
static uint8_t *live_nodes(Arena *a, const Func *f) {
    uint8_t *live = NEW_ARRAY(a, uint8_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->results.n; i++) live[f->results.at[i].node] = 1;
    for (NodeId n = f->nodes.n; n-- > 0;) {
        if (node_at(f, n)->op == OP_assign) live[n] = 1;
        for (uint32_t i = 0; live[n] && i < node_at(f, n)->n; i++) live[operand(f, n, i)] = 1;
    }
    return live;
}

static Fuse fuse_new(PassCx *cx, Func *f) {
    Arena *a = cx->scratch;
    uint32_t count = f->nodes.n;
    Fuse x = {.cx = cx, .m = cx->m, .f = f, .a = a, .users = func_users(a, f)};
    x.is_inline = NEW_ARRAY(a, uint8_t, count + 1);
    x.is_source = NEW_ARRAY(a, uint8_t, count + 1);
    x.need = NEW_ARRAY(a, uint8_t, count + 1);
    x.product = NEW_ARRAY(a, NodeId, count + 1);
    x.forced = NEW_ARRAY(a, uint8_t, count + 1);
    x.offered = NEW_ARRAY(a, uint8_t, count + 1);
    x.is_result = NEW_ARRAY(a, uint8_t, count + 1);
    x.apart = NEW_ARRAY(a, uint8_t, count + 1);
    x.beside = NEW_ARRAY(a, uint8_t, count + 1);
    x.keep_pairs = cx->m->demands.n || (cx->ledger && cx->ledger->keep_pairs);
    for (uint32_t i = 0; i < f->results.n; i++) x.is_result[f->results.at[i].node] = 1;
    memset(x.product, 0xff, sizeof *x.product * count);
    x.picks = NEW_ARRAY(a, uint8_t, count + 1);
    x.closure = NEW_ARRAY(a, Closure, count + 1);
    x.group = NEW_ARRAY(a, uint32_t, count + 1);
    x.reader = NEW_ARRAY(a, uint32_t, count + 1);
    for (int i = 0; i < 2; i++) x.passed[i] = NEW_ARRAY(a, uint32_t, count + 1);
    memset(x.group, 0xff, sizeof *x.group * count);
    memset(x.reader, 0xff, sizeof *x.reader * count);
    x.live = live_nodes(a, f);
    return x;
}

const uint8_t *fuse_predict_inline(PassCx *cx, Func *f) {
    PassCx plain = *cx;
    plain.unfused = false;
    Fuse x = fuse_new(&plain, f);
    fuse_choose_inline(&x);
    return x.is_inline;
}

static bool fuse_func(PassCx *cx, FuncId id) {
    Func *f = cx->m->funcs.at[id];
    uint32_t count = f->nodes.n;
    bool any = false, all = true; // groups are made once; those of recognise are there before
    for (NodeId n = 0; n < count; n++) {
        if (node_at(f, n)->op == OP_grad) return false;
        any |= node_at(f, n)->op == OP_group;
        all &= op_is_executable(node_at(f, n)->op);
    }
    if (any && all) return false;
    protect_old_values(cx, f);
    count = f->nodes.n;
    Fuse x = fuse_new(cx, f);
    fuse_mark_inline(&x);
    for (NodeId n = 0; n < count; n++)
        if (x.live[n] && needs_group(&x, n)) {
            place(&x, n);
            place_picks(&x, n);
        }
    for (uint32_t i = 0; i < x.pairs.n && cx->ledger && cx->ledger->keep_pairs; i++)
        vec_push(cx->ledger->arena, &cx->ledger->pairs, x.pairs.at[i]);
    fuse_check_demands(&x);
    cx->m->funcs.at[id] = fuse_emit(&x, id);
    return true;
}

bool pass_fuse(PassCx *cx) {
    bool changed = false;
    uint32_t count = cx->m->funcs.n; // bodies are appended while we walk
    for (FuncId id = 0; id < count; id++)
        if (!cx->m->funcs.at[id]->region) changed |= fuse_func(cx, id);
    return changed;
}

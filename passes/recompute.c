// Recompute: which values of the forward pass the backward pass finds in memory, and which it computes again.
//
// What is computed again is written out here: a copy of each such node (`clone`), placed before the first node
// of the backward pass that reads it, so that the original's memory is free in between. Elementwise nodes that
// fuse computes in every kernel that reads them are copied only where something below them is. What a copy
// reads is kept, an input, a state, made of indices, or a copy itself. The chosen values are those of a plan's
// line 'recompute' (Module.recompute) and of its names (DEMAND_recompute, DEMAND_keep).
//
// Attention that recognise kept whole is copied as a whole, with all its results; each of them is kept or
// not by itself.
//
// Bit-neutral: a copy is the same function of the same values. With all marks taken away cse makes of the
// result what was there before (of all but attention, which cse does not merge). Not copied are sums into
// accumulators, and draws and positions, which cost no memory.
//
// After all passes that decide what is stored or rounded, before fusion, which keeps copies out of the forward
// pass's kernels: there they would live as long as the originals. O(nodes + edges).
#include "passes/recompute.h"
#include "passes/rewrite.h"
#include <string.h>

static const Node *node(const Remat *x, NodeId n) { return node_at(x->f, n); }
static bool is_forward(const Remat *x, NodeId n) { return node(x, n)->phase == PHASE_F; }

bool remat_is_stored(const Remat *x, NodeId n) {
    uint32_t reads = op_info[node(x, n)->op].reads;
    return !x->is_inline[n] && reads != READS_STORED && reads != READS_NOTHING;
}

// What makes a value: a part is made by its group.
NodeId remat_source(const Remat *x, NodeId n) {
    return node(x, n)->op == OP_part ? operand(x->f, n, 0) : n;
}

static bool may_copy(const Remat *x, NodeId n) {
    const Node *v = node(x, remat_source(x, n));
    return (op_info[v->op].reads != READS_OWN || v->op == OP_group) && node_acc(v) < 0;
}

// ---- rounds -------------------------------------------------------------------------------------

RepeatRound remat_round(const Remat *x, NodeId n) {
    Inst at = node(x, n)->inst;
    RepeatRound r = {at.repeat, at.round};
    Sym axis = x->m->recompute.axis;
    for (;;) {
        const Repeat *k = &x->m->repeats.at[r.repeat];
        if (!r.repeat || (axis && k->axis == axis) || (!axis && !k->parent)) return r;
        r.round /= k->rounds ? k->rounds : 1;
        r.repeat = k->parent;
    }
}

// Which run of `every` rounds that is.
static RepeatRound run_of(const Remat *x, NodeId n) {
    RepeatRound r = remat_round(x, n);
    r.round /= x->m->recompute.mode == RECOMPUTE_every ? x->m->recompute.number : 1;
    return r;
}

static bool same_round(RepeatRound a, RepeatRound b) {
    return a.repeat == b.repeat && a.round == b.round;
}

// The forward pass reads n outside of its own run of rounds.
static bool leaves_run(const Remat *x, NodeId n) {
    RepeatRound own = run_of(x, n);
    NodeList stack = {0};
    Map seen = {.arena = x->a};
    vec_push(x->a, &stack, n);
    while (stack.n) {
        NodeId v = stack.at[--stack.n];
        for (uint32_t i = x->users.first[v]; i < x->users.first[v + 1]; i++) {
            NodeId u = x->users.list[i];
            bool fresh;
            if (!is_forward(x, u)) continue;
            map_slot(&seen, u + 1, &fresh);
            if (!fresh) continue;
            if (x->is_inline[u] || node(x, u)->op == OP_part)
                vec_push(x->a, &stack, u);
            else if (!same_round(run_of(x, u), own))
                return true;
        }
    }
    return false;
}

// ---- choosing -----------------------------------------------------------------------------------

// What the backward pass reads: directly, or through values that it computes in its own kernels.
static void mark_read_back(Remat *x) {
    for (NodeId n = x->f->nodes.n; n-- > 0;) {
        bool reads = !is_forward(x, n) || (x->read_back[n] && !remat_is_stored(x, n));
        for (uint32_t i = 0; reads && i < node(x, n)->n; i++)
            if (is_forward(x, operand(x->f, n, i))) x->read_back[operand(x->f, n, i)] = 1;
    }
}

static const Demand *demand_of(const Remat *x, NodeId n) {
    const Demand *last = NULL; // of several the last one counts
    for (uint32_t i = 0; i < x->m->demands.n; i++) {
        const Demand *d = &x->m->demands.at[i];
        if (d->kind >= DEMAND_recompute && demand_selects(x->m, d, x->f, n)) last = d;
    }
    return last;
}

// A fold of long rows: whoever makes something of its operand again is spared a pass over it.
static bool is_small(const Remat *x, NodeId n) {
    enum { LONG_ROW = 64 };
    return node(x, n)->op == OP_reduce && type_count(type_of(x->m, x->f, operand(x->f, n, 0))) >=
                                              LONG_ROW * type_count(type_of(x->m, x->f, n));
}

static void choose(Remat *x, NodeId n) {
    const Demand *d = demand_of(x, n);
    x->fate[n] = FATE_kept;
    if (!may_copy(x, n))
        x->why[n] = "it adds to what is there already";
    else if (x->why[n])
        return; // a result
    else if (d && d->kind == DEMAND_keep)
        x->why[n] = "the plan keeps it";
    else if (d)
        x->fate[n] = FATE_again;
    else if (is_small(x, n))
        x->why[n] = "next to nothing beside what it is made from";
    else if (x->m->recompute.mode == RECOMPUTE_budget && !x->repeats)
        x->fate[n] = FATE_open; // all of the function is one round
    else if (x->m->recompute.mode == RECOMPUTE_none)
        x->why[n] = "the plan does not ask for less";
    else if (!remat_round(x, n).repeat)
        x->why[n] = "no part of a round";
    else if (leaves_run(x, n))
        x->why[n] = "what follows starts from it";
    else
        x->fate[n] = x->m->recompute.mode == RECOMPUTE_every ? FATE_again : FATE_open;
}

// ---- copying ------------------------------------------------------------------------------------

static bool is_read_as_it_is(const Remat *x, NodeId n) {
    uint32_t reads = op_info[node(x, n)->op].reads;
    return !is_forward(x, n) || x->fate[n] == FATE_kept || reads == READS_STORED ||
           reads == READS_NOTHING || !may_copy(x, n);
}

typedef struct {
    Remat *x;
    Rewrite r;
    NodeId *copy; // by old id: what the backward pass reads in its place, or NONE: not known yet
    bool *asked;  // what it reads is known
    uint32_t copies;
} Copying;

// Each group has a body of its own: fuse numbers them.
static AttrId copied_body(const Remat *x, AttrId group) {
    Attr attr = *attr_at(x->m, group);
    const Func *old = x->m->funcs.at[attr.group.body];
    Func *to = func_new(x->m, sym_str(x->m->syms, old->name), &attr.group.body);
    *to = *old;
    to->nodes.at = arena_copy(x->m->arena, old->nodes.at, old->nodes.n * sizeof *old->nodes.at);
    to->nodes.cap = to->nodes.n;
    return attr_intern(x->m, &attr);
}

// The group of v, with all its results: those that are kept are not read.
static void copy_group(Copying *c, NodeId v) {
    const Remat *x = c->x;
    NodeId g = remat_source(x, v), made = copy_node(&c->r.b, x->f, g, c->copy);
    node_at(&c->r.to, made)->clone = 1;
    node_at(&c->r.to, made)->attr = copied_body(x, node(x, g)->attr);
    c->copies++;
    c->copy[g] = made;
    for (NodeId n = g + 1;
         n < x->f->nodes.n && node(x, n)->op == OP_part && operand(x->f, n, 0) == g; n++) {
        NodeId part = copy_node(&c->r.b, x->f, n, c->copy);
        node_at(&c->r.to, part)->clone = 1;
        c->copy[n] = is_read_as_it_is(x, n) ? c->r.map[n] : part;
    }
    if (is_read_as_it_is(x, g)) c->copy[g] = c->r.map[g];
}

// Computed again only if something that it reads is: its kernel may as well read what the original's did.
static void copy_now(Copying *c, NodeId n) {
    const Remat *x = c->x;
    bool same = !remat_is_stored(x, n);
    for (uint32_t i = 0; i < node(x, n)->n; i++)
        same &= c->copy[operand(x->f, n, i)] == c->r.map[operand(x->f, n, i)];
    c->copy[n] = c->r.map[n];
    if (same) return;
    c->copy[n] = copy_node(&c->r.b, x->f, n, c->copy);
    node_at(&c->r.to, c->copy[n])->clone = 1;
    c->copies++;
}

// Operands first. The stack stands for the recursion, which may be as deep as the rounds are many.
static void need(Copying *c, NodeId n) {
    Remat *x = c->x;
    NodeList stack = {0};
    vec_push(x->a, &stack, n);
    while (stack.n) {
        NodeId v = stack.at[stack.n - 1];
        if (c->copy[v] == NONE && is_read_as_it_is(x, v)) c->copy[v] = c->r.map[v];
        if (c->copy[v] == NONE && !c->asked[v]) {
            NodeId from = remat_source(x, v);
            c->asked[v] = true;
            for (uint32_t i = node(x, from)->n; i-- > 0;)
                if (c->copy[operand(x->f, from, i)] == NONE)
                    vec_push(x->a, &stack, operand(x->f, from, i));
            continue;
        }
        if (c->copy[v] == NONE) {
            if (node(x, remat_source(x, v))->op == OP_group)
                copy_group(c, v);
            else
                copy_now(c, v);
        }
        stack.n--;
    }
}

bool remat_copy(Remat *x) {
    uint32_t count = x->f->nodes.n;
    Copying c = {.x = x};
    rewrite_begin(&c.r, x->cx, x->f);
    c.copy = NEW_ARRAY(x->a, NodeId, count + 1);
    c.asked = NEW_ARRAY(x->a, bool, count + 1);
    memset(c.copy, 0xff, sizeof *c.copy * count);
    for (NodeId n = 0; n < count; n++) {
        if (is_forward(x, n)) {
            rewrite_copy(&c.r, n);
            continue;
        }
        for (uint32_t i = 0; i < node(x, n)->n; i++) need(&c, operand(x->f, n, i));
        rewrite_like(&c.r, n);
        c.copy[n] = c.r.map[n] = copy_node(&c.r.b, x->f, n, c.copy);
    }
    if (c.copies) rewrite_end(&c.r);
    return c.copies != 0;
}

// ---- the ledger ---------------------------------------------------------------------------------

// Those of the products that n is made of, up to what has a line of its own.
static double flops_below(const Remat *x, NodeId n) {
    double flops = 0;
    NodeList stack = {0};
    Map seen = {.arena = x->a};
    vec_push(x->a, &stack, n);
    while (stack.n) {
        NodeId v = remat_source(x, stack.at[--stack.n]);
        flops += cost_flops(x->m, x->f, v);
        for (uint32_t i = 0; i < node(x, v)->n; i++) {
            NodeId o = operand(x->f, v, i);
            bool fresh,
                goes_on = x->fate[o] != FATE_kept && !(x->read_back[o] && remat_is_stored(x, o));
            map_slot(&seen, o + 1, &fresh);
            if (fresh && goes_on) vec_push(x->a, &stack, o);
        }
    }
    return flops;
}

static void record(const Remat *x, NodeId n) {
    const char *name = sym_str(x->m->syms, node(x, n)->name);
    Decision d = {.done = x->fate[n] == FATE_again,
                  .func = sym_str(x->m->syms, x->f->name),
                  .pass = "recompute",
                  .rule = x->fate[n] == FATE_again ? "again" : "kept",
                  .subject = *name ? name : op_info[node(x, n)->op].name,
                  .bytes = type_bytes(type_of(x->m, x->f, n)),
                  .loc = node(x, n)->loc};
    double flops = flops_below(x, n);
    if (x->fate[n] == FATE_kept)
        ledger_add(x->cx->ledger, d, "%s", x->why[n]);
    else if (flops > 0)
        ledger_add(x->cx->ledger, d, "not kept for the backward pass: products of %.3g GFLOP again",
                   flops * 1e-9);
    else
        ledger_add(x->cx->ledger, d, "not kept for the backward pass: %s again",
                   op_info[node(x, n)->op].name);
}

static void mark_met(const Remat *x, bool *met) {
    for (uint32_t i = 0; i < x->m->demands.n; i++)
        for (NodeId n = 0; n < x->f->nodes.n && !met[i]; n++)
            met[i] = x->read_back[n] && remat_is_stored(x, n) && may_copy(x, n) &&
                     demand_selects(x->m, &x->m->demands.at[i], x->f, n);
}

// A name that selects nothing that could be chosen about is a mistake.
static void check_demands(const Module *m, const bool *met) {
    for (uint32_t i = 0; i < m->demands.n; i++) {
        const Demand *d = &m->demands.at[i];
        if (d->kind < DEMAND_recompute || met[i] || diag_has_error(m->diag, d->loc)) continue;
        diag_error(m->diag, d->loc,
                   "'%s' names no value that the backward pass reads (sinter explain lists them)",
                   sym_str(m->syms, d->path));
    }
}

// ---- the pass -----------------------------------------------------------------------------------

static bool recompute_func(PassCx *cx, FuncId id, FuncId budgeted, bool *met) {
    Func *f = cx->m->funcs.at[id];
    bool forward = false, backward = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        uint8_t phase = node_at(f, n)->phase;
        if (node_at(f, n)->op == OP_grad) return false;
        forward |= phase == PHASE_F && op_info[node_at(f, n)->op].kind != OPK_LEAF;
        backward |= phase == PHASE_B || phase == PHASE_W;
    }
    if (!forward || !backward) return false;
    Arena *a = cx->scratch;
    Remat x = {.cx = cx, .m = cx->m, .f = f, .a = a, .users = func_users(a, f)};
    x.is_inline = fuse_predict_inline(cx, f);
    x.read_back = NEW_ARRAY(a, uint8_t, f->nodes.n + 1);
    x.fate = NEW_ARRAY(a, uint8_t, f->nodes.n + 1);
    x.why = NEW_ARRAY(a, const char *, f->nodes.n + 1);
    mark_read_back(&x);
    for (NodeId n = 0; n < f->nodes.n; n++) x.repeats |= remat_round(&x, n).repeat != 0;
    for (uint32_t i = 0; i < f->results.n; i++)
        x.why[f->results.at[i].node] = "a result of the function";
    mark_met(&x, met);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (is_forward(&x, n) && remat_is_stored(&x, n)) choose(&x, n);
    if (id == budgeted) remat_meet_budget(&x, id);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (x.fate[n] == FATE_open) x.fate[n] = FATE_kept, x.why[n] = "the budget is met elsewhere";
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (x.fate[n] && x.read_back[n]) record(&x, n);
    return remat_copy(&x);
}

// The function that a budget is about: the one whose forward pass makes most. NONE without a budget.
static FuncId largest_func(const Module *m) {
    FuncId best = NONE;
    int64_t most = -1;
    for (FuncId i = 0; i < m->funcs.n && m->recompute.mode == RECOMPUTE_budget; i++) {
        const Func *f = m->funcs.at[i];
        int64_t bytes = 0;
        bool backward = false;
        for (NodeId n = 0; n < f->nodes.n; n++) {
            uint8_t phase = node_at(f, n)->phase;
            backward |= phase == PHASE_B || phase == PHASE_W;
            if (phase == PHASE_F) bytes += type_bytes(type_of(m, f, n));
        }
        if (!f->region && backward && bytes > most) most = bytes, best = i;
    }
    return best;
}

// Copies are there already.
static bool is_done(const Module *m) {
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n; n++)
            if (node_at(m->funcs.at[i], n)->clone) return true;
    return false;
}

bool pass_recompute(PassCx *cx) {
    const Module *m = cx->m;
    bool changed = false, asked = m->recompute.mode != RECOMPUTE_none;
    for (uint32_t i = 0; i < m->demands.n; i++) asked |= m->demands.at[i].kind == DEMAND_recompute;
    asked |= cx->ledger && cx->ledger->keep_fates;
    if (!asked || is_done(m)) return false;
    bool *met = NEW_ARRAY(cx->scratch, bool, m->demands.n + 1);
    FuncId budgeted = largest_func(m);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) changed |= recompute_func(cx, i, budgeted, met);
    check_demands(m, met);
    return changed;
}

// Reverse-mode differentiation: replaces each grad(loss){state} by nodes that compute it. It exists
// so that models state the loss only. Needs a verified function in canonical form (dce before: what
// nothing reads costs nothing); leaves a verified one without grad nodes.
//
// At the first grad of a loss, one sweep goes from the loss back to the states that are asked for.
// It visits only values on a path between them, so frozen states and data cost nothing; a state
// that the loss does not depend on gets zeros. Each op's rule (gradients.c) adds to the derivatives
// by its operands. Sums are taken in node order, last user first; contractions and scatters add
// through their accumulator operand, so that the uses of a tied weight fill one buffer.
//
// New nodes carry the name "d." + value, the place and block of the forward node, and phase W when
// they belong to the derivative by a parameter, else B. O(nodes) for each distinct loss.
#include "passes/autodiff.h"
#include <stdlib.h>
#include <string.h>

static Module *module_of(const Gradient *g) { return g->b->m; }

static const Node *old_node(const Autodiff *ad, NodeId n) { return node_at(ad->r.from, n); }

// "d." + the value's name; a state without one has its path.
static Sym derivative_name(const Autodiff *ad, NodeId n) {
    Module *m = ad->r.b.m;
    const Node *x = old_node(ad, n);
    Sym name = x->name;
    if (x->op == OP_state) name = m->states.at[attr_at(m, x->attr)->state.state].path;
    if (!name) return 0;
    char buffer[512];
    snprintf(buffer, sizeof buffer, "d.%s", sym_str(m->syms, name));
    return sym(m->syms, buffer);
}

static NodeId collector(const Gradient *g, uint32_t i) {
    NodeId o = operand(g->ad->r.from, g->n, i);
    return old_node(g->ad, o)->op == OP_state ? g->ad->first[o] : o;
}

bool gradient_for(Gradient *g, uint32_t i) {
    NodeId o = collector(g, i);
    if (!g->ad->needed[o]) return false;
    g->b->phase = g->ad->weight[o] ? PHASE_W : PHASE_B;
    g->b->name = derivative_name(g->ad, o);
    return true;
}

NodeId gradient_sum(const Gradient *g, uint32_t i) { return g->ad->sum[collector(g, i)]; }

void gradient_set(Gradient *g, uint32_t i, NodeId total) { g->ad->sum[collector(g, i)] = total; }

// Sums v over the axes along which operand i was repeated.
static NodeId unbroadcast(Gradient *g, uint32_t i, NodeId v) {
    Module *m = module_of(g);
    const Func *f = g->ad->r.from;
    const Type *t = type_of(m, g->b->f, v);
    AxisList axes = {0};
    for (uint32_t a = 0; a < t->n; a++)
        if (ir_axis_flow(m, f, g->n, i, t->axes[a].axis).role == ROLE_NEW)
            axes.at[axes.n++] = t->axes[a].axis;
    // The last axis by itself: a learned factor of attention's scores is then a sum for each row, and of those.
    if (axes.n > 1 && axes.at[axes.n - 1] == t->axes[t->n - 1].axis) {
        AxisList last = {1, {axes.at[--axes.n]}};
        v = ir_reduce(g->b, REDUCE_sum, v, &last);
    }
    return axes.n ? ir_reduce(g->b, REDUCE_sum, v, &axes) : v;
}

void gradient_give(Gradient *g, uint32_t i, NodeId v) {
    NodeId o = collector(g, i), have = g->ad->sum[o];
    v = unbroadcast(g, i, v);
    if (have != NONE)
        v = ir_node(g->b, OP_add, NULL, (NodeId[]){have, v}, 2,
                    type_computing(module_of(g), old_node(g->ad, o)->type));
    g->ad->sum[o] = v;
    g->ad->chosen[o] |= g->chosen;
}

// Derivatives of a parameter are wanted through views of it too: "weight" follows those.
static bool is_weight(const Autodiff *ad, NodeId n) {
    const Node *x = old_node(ad, n);
    if (x->op == OP_state) return true;
    bool view = op_info[x->op].kind == OPK_VIEW || x->op == OP_copy || x->op == OP_cast;
    return view && ad->weight[operand(ad->r.from, n, 0)];
}

static bool is_real(const Autodiff *ad, NodeId n) {
    return elem_info[type_of(ad->r.b.m, ad->r.from, n)->elem].kind == ELEM_FLOAT;
}

// Marks what lies between the wanted states and the loss, seen from the states.
static void mark_needed(Autodiff *ad, NodeId loss, const uint8_t *wanted) {
    const Func *f = ad->r.from;
    const Module *m = ad->r.b.m;
    for (NodeId n = 0; n <= loss; n++) {
        const Node *x = old_node(ad, n);
        ad->sum[n] = NONE;
        ad->chosen[n] = false;
        ad->weight[n] = is_weight(ad, n);
        bool needed = x->op == OP_state && wanted[attr_at(m, x->attr)->state.state];
        if (gradient_table[x->op])
            for (uint32_t j = 0; j < x->n; j++) needed |= ad->needed[operand(f, n, j)];
        ad->needed[n] = needed && is_real(ad, n);
    }
}

void autodiff_reached(const Module *m, const Func *f, NodeId value, uint8_t *states) {
    uint8_t *on = calloc((size_t)value + 1, 1); // a path to the value
    CHECK(on, "out of memory");
    on[value] = 1;
    for (NodeId n = value + 1; n-- > 0;) {
        const Node *x = node_at(f, n);
        if (!on[n] || elem_info[type_of(m, f, n)->elem].kind != ELEM_FLOAT) continue;
        if (x->op == OP_state) states[attr_of(m, f, n)->state.state] = 1;
        for (uint32_t j = 0; gradient_table[x->op] && j < x->n; j++) on[operand(f, n, j)] = 1;
    }
    free(on);
}

static bool is_choice(const Node *x) {
    return x->op == OP_select || x->op == OP_min || x->op == OP_max;
}

// Nodes of the old function that the rule of n may look at, in new ids.
static void backward_node(Autodiff *ad, NodeId n) {
    const Node *x = old_node(ad, n);
    GradientFn *rule = gradient_table[x->op];
    if (!rule || !ad->needed[n] || ad->sum[n] == NONE) return;
    Gradient g = {.ad = ad, .b = &ad->r.b, .n = n, .y = ad->r.map[n], .dy = ad->sum[n]};
    g.chosen = ad->chosen[n] || is_choice(x);
    CHECK(x->n <= 8, "%u operands", x->n);
    for (uint32_t j = 0; j < x->n; j++) g.in[j] = ad->r.map[operand(ad->r.from, n, j)];
    rewrite_like(&ad->r, n);
    ad->r.b.clone = 0;
    rule(&g);
}

// Appends the derivatives of `loss`; all nodes before it are copied already.
static void backward(Autodiff *ad, NodeId loss, const uint8_t *wanted) {
    mark_needed(ad, loss, wanted);
    if (!ad->needed[loss]) return;
    rewrite_like(&ad->r, loss);
    ad->r.b.phase = PHASE_B;
    ad->r.b.name = derivative_name(ad, loss);
    ad->sum[loss] = ir_const_of(&ad->r.b, old_node(ad, loss)->type, 1);
    for (NodeId n = loss + 1; n-- > 0;) backward_node(ad, n);
}

// The states that grad nodes of this loss ask for.
static uint8_t *wanted_states(PassCx *cx, const Func *f, NodeId loss) {
    uint8_t *wanted = NEW_ARRAY(cx->scratch, uint8_t, cx->m->states.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_grad && operand(f, n, 0) == loss)
            wanted[attr_of(cx->m, f, n)->grad.state] = 1;
    return wanted;
}

// The value of a grad node, in the state's own order.
static NodeId derivative_by(Autodiff *ad, NodeId grad, NodeId state_node) {
    Module *m = ad->r.b.m;
    const Node *x = old_node(ad, grad);
    StateId s = attr_at(m, x->attr)->grad.state;
    TypeId type = type_computing(m, m->states.at[s].type);
    rewrite_like(&ad->r, grad);
    ad->r.b.phase = PHASE_W;
    if (state_node != NONE) ad->r.b.name = derivative_name(ad, state_node);
    NodeId v = state_node == NONE ? NONE : ad->sum[state_node];
    if (v == NONE) return ir_const_of(&ad->r.b, type, 0);
    return node_at(&ad->r.to, v)->type == type ? v : ir_copy(&ad->r.b, v, type);
}

static void autodiff_func(PassCx *cx, Func *f) {
    Autodiff ad;
    rewrite_begin(&ad.r, cx, f);
    uint32_t count = f->nodes.n + 1;
    ad.sum = NEW_ARRAY(cx->scratch, NodeId, count);
    ad.needed = NEW_ARRAY(cx->scratch, uint8_t, count);
    ad.weight = NEW_ARRAY(cx->scratch, uint8_t, count);
    ad.chosen = NEW_ARRAY(cx->scratch, uint8_t, count);
    ad.first = NEW_ARRAY(cx->scratch, NodeId, count);
    NodeId *of_state = NEW_ARRAY(cx->scratch, NodeId, cx->m->states.n + 1);
    for (uint32_t s = 0; s < cx->m->states.n; s++) of_state[s] = NONE;
    NodeId current = NONE;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *x = node_at(f, n);
        if (x->op == OP_state) {
            NodeId *first = &of_state[attr_of(cx->m, f, n)->state.state];
            if (*first == NONE) *first = n;
            ad.first[n] = *first;
        }
        if (x->op != OP_grad) {
            rewrite_copy(&ad.r, n);
            continue;
        }
        NodeId loss = operand(f, n, 0);
        if (loss != current) backward(&ad, loss, wanted_states(cx, f, loss));
        current = loss;
        NodeId state_node = of_state[attr_of(cx->m, f, n)->grad.state];
        if (state_node != NONE && state_node > loss) state_node = NONE;
        ad.r.map[n] = derivative_by(&ad, n, state_node);
    }
    rewrite_end(&ad.r);
}

bool pass_autodiff(PassCx *cx) {
    bool changed = false;
    for (uint32_t i = 0; i < cx->m->funcs.n; i++) {
        Func *f = cx->m->funcs.at[i];
        bool any = false;
        for (NodeId n = 0; n < f->nodes.n && !any; n++) any = f->nodes.at[n].op == OP_grad;
        if (any) autodiff_func(cx, f);
        changed |= any;
    }
    return changed;
}

// Rebuilding functions: see rewrite.h. Nodes are append-only and topologically ordered, so
// replacing a node by several needs a fresh list; copying it once per pass is cheaper than keeping
// use lists.
#include "passes/rewrite.h"

void builder_like(Builder *b, const Node *n) {
    b->phase = (Phase)n->phase;
    b->clone = n->clone;
    b->inst = n->inst;
    b->tmpl = n->tmpl;
    b->name = n->name;
    b->loc = n->loc;
}

void rewrite_begin(Rewrite *r, PassCx *cx, Func *f) {
    *r = (Rewrite){.from = f, .to = {.name = f->name, .region = f->region}};
    r->b = (Builder){.m = cx->m};
    r->map = NEW_ARRAY(cx->scratch, NodeId, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->nodes.n; i++) r->map[i] = NONE;
    r->b.f = &r->to;
    // Most rewrites end with about as many nodes: room for them at once, not by doubling.
    r->to.nodes.cap = f->nodes.n + f->nodes.n / 8 + 16;
    r->to.nodes.at = NEW_ARRAY(cx->m->arena, Node, r->to.nodes.cap);
    r->to.pool.cap = f->pool.n + f->pool.n / 8 + 16;
    r->to.pool.at = NEW_ARRAY(cx->m->arena, NodeId, r->to.pool.cap);
}

void rewrite_like(Rewrite *r, NodeId old) { builder_like(&r->b, node_at(r->from, old)); }

NodeId rewrite_copy(Rewrite *r, NodeId old) {
    return r->map[old] = copy_node(&r->b, r->from, old, r->map);
}

void rewrite_end(Rewrite *r) {
    Arena *a = r->b.m->arena;
    for (uint32_t i = 0; i < r->from->results.n; i++) {
        Result x = r->from->results.at[i];
        CHECK(r->map[x.node] != NONE, "result '%s' is lost", sym_str(r->b.m->syms, x.name));
        x.node = r->map[x.node];
        vec_push(a, &r->to.results, x);
    }
    *r->from = r->to;
}

uint8_t *func_samples(Arena *a, const Module *m, const Func *f) {
    uint8_t *on = NEW_ARRAY(a, uint8_t, f->nodes.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        on[n] = node_at(f, n)->op == OP_input && type_of(m, f, n)->n;
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) on[n] |= on[operand(f, n, i)];
    }
    return on;
}

uint32_t *count_uses(Arena *a, const Func *f) {
    uint32_t *uses = NEW_ARRAY(a, uint32_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->nodes.n; i++)
        for (uint32_t j = 0; j < f->nodes.at[i].n; j++) uses[operand(f, i, j)]++;
    for (uint32_t i = 0; i < f->results.n; i++) uses[f->results.at[i].node]++;
    return uses;
}

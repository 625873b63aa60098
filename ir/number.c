// Ordinals of nodes: which node of its template a node is.
//
// A pass makes the same nodes for each round of a repeat, in the same order, and leaves some out. So a node
// keeps the ordinal that it has, and those without, of one template, phase and instance, are counted in
// the order of the function from the first ordinal on that no instance and no function uses. The k-th new
// node of one round then is the k-th of another, whatever either has lost.
//
// Bodies of regions are left alone: what stands there is a copy, or of the kernel. O(nodes), and nothing to
// do when a pass made none.
#include "ir/ir.h"

static bool is_new(const Node *n) { return n->tmpl && !n->ordinal; }

static uint64_t key(const Node *n) { return (uint64_t)n->tmpl * PHASE_COUNT + n->phase; }

static uint64_t instance_key(const Node *n) {
    uint64_t h = hash_u64(HASH_SEED, key(n));
    return hash_u64(hash_u64(hash_u64(h, n->clone), n->inst.repeat), n->inst.round);
}

static void count_used(const Func *f, Map *used) {
    for (NodeId i = 0; i < f->nodes.n; i++) {
        const Node *n = node_at(f, i);
        if (!n->ordinal) continue;
        uint32_t *most = map_slot(used, key(n), NULL);
        if (n->ordinal > *most) *most = n->ordinal;
    }
}

static void number(const Func *f, const Map *used, Arena *a) {
    Map made = {.arena = a};
    for (NodeId i = 0; i < f->nodes.n; i++) {
        Node *n = node_at(f, i);
        if (!is_new(n)) continue;
        const uint32_t *most = map_find(used, key(n));
        n->ordinal = (most ? *most : 0) + ++*map_slot(&made, instance_key(n), NULL);
    }
}

void module_number(Module *m) {
    bool any = false;
    for (FuncId i = 0; i < m->funcs.n && !any; i++) {
        const Func *f = m->funcs.at[i];
        for (NodeId n = 0; n < f->nodes.n && !any && !f->region; n++) any = is_new(node_at(f, n));
    }
    if (!any) return;
    Arena *a = arena_new();
    Map used = {.arena = a};
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) count_used(m->funcs.at[i], &used);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) number(m->funcs.at[i], &used, a);
    arena_free(a);
}

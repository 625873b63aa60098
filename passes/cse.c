// Common subexpressions: nodes with equal op, type, attribute, copy number and operands become one,
// the first. It exists because autodiff and unrolled layers write the same mask, position or
// exponential many times. Merging never changes a bit: an equal node is the same function of the
// same values, a random node included (its key says which draw it is). Hash-consing in node order,
// O(n).
#include "passes/rewrite.h"

// Two nodes with the same key are candidates; `mergeable` nodes have no effect and no region.
static bool mergeable(const Node *n) { return op_info[n->op].reads != READS_OWN; }

// The operands in the order in which they are compared.
static void sorted_operands(const Rewrite *r, NodeId n, NodeId out[MAX_OPERANDS]) {
    const Node *x = node_at(r->from, n);
    for (uint32_t j = 0; j < x->n; j++) out[j] = r->map[operand(r->from, n, j)];
    if (op_info[x->op].swap && out[0] > out[1]) {
        NodeId t = out[0];
        out[0] = out[1];
        out[1] = t;
    }
}

static uint64_t node_hash(const Node *x, const NodeId *ops) {
    uint64_t h = hash_u64(HASH_SEED, x->op);
    h = hash_u64(h, x->type);
    h = hash_u64(h, x->attr);
    h = hash_u64(h, x->clone);
    for (uint32_t j = 0; j < x->n; j++) h = hash_u64(h, ops[j]);
    return h;
}

// Whether new node `have` is the old node x on operands ops.
static bool same_node(const Func *f, NodeId have, const Node *x, const NodeId *ops) {
    const Node *y = node_at(f, have);
    if (y->op != x->op || y->type != x->type || y->attr != x->attr || y->clone != x->clone ||
        y->n != x->n)
        return false;
    bool same = true, swapped = op_info[x->op].swap;
    for (uint32_t j = 0; j < x->n; j++) {
        same &= operand(f, have, j) == ops[j];
        swapped &= operand(f, have, j) == ops[j < 2 ? 1 - j : j];
    }
    return same || swapped;
}

static bool cse_func(PassCx *cx, Func *f) {
    Rewrite r;
    rewrite_begin(&r, cx, f);
    Map seen = {.arena = cx->scratch};
    bool changed = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *x = node_at(f, n);
        if (!mergeable(x)) {
            rewrite_copy(&r, n);
            continue;
        }
        NodeId ops[MAX_OPERANDS];
        sorted_operands(&r, n, ops);
        // A slot holds a new id plus one; a node that only collides moves on to the next key.
        uint64_t key = node_hash(x, ops);
        uint32_t *slot = map_slot(&seen, key, NULL);
        while (*slot && !same_node(&r.to, *slot - 1, x, ops)) slot = map_slot(&seen, ++key, NULL);
        if (*slot) {
            Node *first = node_at(&r.to, *slot - 1);
            if (!first->name) first->name = x->name;
            r.map[n] = *slot - 1;
            changed = true;
        } else {
            NodeId id = rewrite_copy(&r, n);
            *slot = id + 1;
        }
    }
    if (changed) rewrite_end(&r);
    return changed;
}

bool pass_cse(PassCx *cx) {
    bool changed = false;
    for (uint32_t i = 0; i < cx->m->funcs.n; i++)
        if (!cx->m->funcs.at[i]->region) changed |= cse_func(cx, cx->m->funcs.at[i]);
    return changed;
}

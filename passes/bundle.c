// Bundles: groups that do the same to different tensors stand side by side, so that a target that starts
// kernels at a cost starts one for all of them (multi-tensor optimizers, norms of many gradients).
//
// A function whose computed values are small altogether, as in an update, is ordered by level (the longest
// way from its states), and within a level by what the groups do. In other functions order is memory, so
// only groups that nothing but states wait for, and whose computed operands are small, move: to the
// function's end. Groups with equal bodies form a bundle, whatever their names. Bit-neutral: only the
// order of independent groups changes.
//
// Equality is by a hash of the body's ops, types, attributes and edges. O(nodes log nodes).
#include "ir/view.h"
#include "passes/rewrite.h"
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_FUNCTION = 16 << 20, // bytes of all computed values that are not kept in states
    SMALL_OPERANDS = 4 << 20   // bytes of computed operands, for each group that moves to the end
};

typedef struct {
    uint32_t level;
    uint64_t key;
    NodeId first; // first group of the bundle: bundles keep the order of these
    NodeId n;
} Member;

typedef struct {
    PassCx *cx;
    const Module *m;
    Func *f;
    Users users;
    Member *all;
    uint32_t n;
} Bundle;

static NodeId owner(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_part ? operand(f, n, 0) : n;
}

static bool owns(const Func *f, NodeId group, NodeId n) {
    return n < f->nodes.n && owner(f, n) == group;
}

static uint64_t hash_body(const Module *m, const Func *f, NodeId group) {
    const Attr *at = attr_of(m, f, group);
    const Func *body = m->funcs.at[at->group.body];
    uint64_t h = hash_u64(HASH_SEED, at->group.kind);
    for (NodeId n = 0; n < body->nodes.n; n++) {
        const Node *node = node_at(body, n);
        h = hash_u64(h, (uint64_t)node->op << 32 | node->type);
        h = hash_u64(h, node->attr);
        for (uint32_t i = 0; i < node->n; i++) h = hash_u64(h, operand(body, n, i));
    }
    for (uint32_t i = 0; i < body->results.n; i++) h = hash_u64(h, body->results.at[i].node);
    return h;
}

// Everything that reads a result of the group is an assignment.
static bool only_assigned(const Bundle *b, NodeId group) {
    for (uint32_t i = 0; i < b->f->results.n; i++)
        if (owner(b->f, b->f->results.at[i].node) == group) return false;
    for (NodeId n = group; owns(b->f, group, n); n++)
        for (uint32_t i = b->users.first[n]; i < b->users.first[n + 1]; i++) {
            Op op = (Op)node_at(b->f, b->users.list[i])->op;
            if (op != OP_part && op != OP_assign) return false;
        }
    return true;
}

static int64_t computed_operands(const Bundle *b, NodeId group) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < node_at(b->f, group)->n; i++) {
        NodeId o = operand(b->f, group, i);
        if (op_info[node_at(b->f, o)->op].reads != READS_STORED)
            sum += type_bytes(type_of(b->m, b->f, o));
    }
    return sum;
}

// A value that a state becomes lies there.
static bool is_assigned(const Bundle *b, NodeId n) {
    for (uint32_t i = b->users.first[n]; i < b->users.first[n + 1]; i++)
        if (node_at(b->f, b->users.list[i])->op == OP_assign) return true;
    return false;
}

static bool is_small(const Bundle *b) {
    int64_t sum = 0;
    for (NodeId n = 0; n < b->f->nodes.n; n++)
        if (node_at(b->f, owner(b->f, n))->op == OP_group && !is_assigned(b, n))
            sum += type_bytes(type_of(b->m, b->f, n));
    return sum <= SMALL_FUNCTION;
}

static int by_key(const void *a, const void *b) {
    const Member *x = a, *y = b;
    if (x->level != y->level) return x->level < y->level ? -1 : 1;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}
static int by_place(const void *a, const void *b) {
    const Member *x = a, *y = b;
    if (x->level != y->level) return x->level < y->level ? -1 : 1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

static uint32_t bundle_end(const Bundle *b, uint32_t i) {
    uint32_t end = i;
    while (end < b->n && b->all[end].key == b->all[i].key && b->all[end].level == b->all[i].level)
        end++;
    return end;
}

// Every group, by level.
static void take_all(Bundle *b) {
    uint32_t *level = NEW_ARRAY(b->cx->scratch, uint32_t, b->f->nodes.n + 1);
    for (NodeId n = 0; n < b->f->nodes.n; n++) {
        for (uint32_t i = 0; i < node_at(b->f, n)->n; i++) {
            uint32_t above = level[operand(b->f, n, i)];
            if (level[n] < above) level[n] = above;
        }
        if (node_at(b->f, n)->op != OP_group) continue;
        level[n]++;
        b->all[b->n++] = (Member){.level = level[n], .key = hash_body(b->m, b->f, n), .n = n};
    }
}

static void take_last(Bundle *b) {
    for (NodeId n = 0; n < b->f->nodes.n; n++)
        if (node_at(b->f, n)->op == OP_group && only_assigned(b, n) &&
            computed_operands(b, n) <= SMALL_OPERANDS)
            b->all[b->n++] = (Member){.key = hash_body(b->m, b->f, n), .n = n};
}

// Bundle by bundle; those of one group are left out where they need not move.
static void sort_bundles(Bundle *b, bool keep_single) {
    uint32_t kept = 0;
    qsort(b->all, b->n, sizeof *b->all, by_key);
    for (uint32_t i = 0, end; i < b->n; i = end) {
        Member first = b->all[i];
        end = bundle_end(b, i);
        for (uint32_t k = i; k < end && (keep_single || end - i > 1); k++) {
            b->all[k].first = first.n;
            b->all[kept++] = b->all[k];
        }
    }
    b->n = kept;
    qsort(b->all, b->n, sizeof *b->all, by_place);
}

static void record(const Bundle *b) {
    for (uint32_t i = 0, end; i < b->n; i = end) {
        int64_t bytes = 0;
        end = bundle_end(b, i);
        for (uint32_t k = i; k < end; k++) bytes += computed_operands(b, b->all[k].n);
        const Node *node = node_at(b->f, b->all[i].n);
        const char *name = sym_str(b->m->syms, node->name);
        if (end - i > 1)
            ledger_add(b->cx->ledger,
                       (Decision){.done = true,
                                  .func = sym_str(b->m->syms, b->f->name),
                                  .pass = "bundle",
                                  .rule = "launch",
                                  .subject = *name ? name : "group",
                                  .loc = node->loc},
                       "%u groups do the same to different tensors: one launch; %lld bytes of "
                       "operands live until it",
                       end - i, (long long)bytes);
    }
}

// The new order: what does not move, each member with its parts, then all assignments: a group may read
// the old value of a state that another one, now before it, computes anew.
static NodeId *order_of(const Bundle *b) {
    NodeId *order = NEW_ARRAY(b->cx->scratch, NodeId, b->f->nodes.n + 1), to = 0;
    uint8_t *late = NEW_ARRAY(b->cx->scratch, uint8_t, b->f->nodes.n + 1);
    for (uint32_t i = 0; i < b->n; i++)
        for (NodeId k = b->all[i].n; owns(b->f, b->all[i].n, k); k++) late[k] = 1;
    for (NodeId n = 0; n < b->f->nodes.n; n++)
        if (!late[n] && node_at(b->f, n)->op != OP_assign) order[to++] = n;
    for (uint32_t i = 0; i < b->n; i++)
        for (NodeId k = b->all[i].n; owns(b->f, b->all[i].n, k); k++) order[to++] = k;
    for (NodeId n = 0; n < b->f->nodes.n; n++)
        if (node_at(b->f, n)->op == OP_assign) order[to++] = n;
    for (NodeId n = 0; n < b->f->nodes.n; n++)
        if (order[n] != n) return order;
    return NULL;
}

static bool bundle_func(PassCx *cx, Func *f) {
    Bundle b = {.cx = cx, .m = cx->m, .f = f, .users = func_users(cx->scratch, f)};
    b.all = NEW_ARRAY(cx->scratch, Member, f->nodes.n + 1);
    bool small = is_small(&b);
    if (small)
        take_all(&b);
    else
        take_last(&b);
    sort_bundles(&b, small);
    if (b.n == 0) return false;
    const NodeId *order = order_of(&b);
    if (!order) return false;
    record(&b);
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++) rewrite_copy(&r, order[n]);
    rewrite_end(&r);
    return true;
}

bool pass_bundle(PassCx *cx) {
    bool changed = false;
    for (FuncId id = 0; cx->target->bundles && id < cx->m->funcs.n; id++) {
        Func *f = cx->m->funcs.at[id];
        if (!f->region && !f->mem.n) changed |= bundle_func(cx, f);
    }
    return changed;
}

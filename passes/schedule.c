// Scheduling: every group runs just before its first reader, unless that would keep an operand alive
// longer than it is anyway. So the result lives shorter and nothing lives longer: the liveness bound
// that memplan works against never grows.
//
// One sweep from the end: when a group is visited, its readers already have their final place. Positions
// are the old node ids of what a group is put before. Groups that read a state which the function
// assigns stay where they are, so that in-place updates stay possible. O((nodes + edges) log nodes).
#include "ir/view.h"
#include "passes/rewrite.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Users users;
    uint8_t *assigned; // by state
    NodeId *at;        // new position of each node: it runs before old node at[n] (or as it)
} Schedule;

static NodeId owner(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_part ? operand(f, n, 0) : n;
}

static bool reads_assigned(const Schedule *s, NodeId n) {
    for (uint32_t i = 0; i < node_at(s->f, n)->n; i++) {
        NodeId o = operand(s->f, n, i);
        if (node_at(s->f, o)->op == OP_state && s->assigned[attr_of(s->m, s->f, o)->state.state])
            return true;
    }
    return false;
}

// Position of the first reader of the group's results.
static NodeId first_reader(const Schedule *s, NodeId group) {
    NodeId first = s->f->nodes.n;
    for (NodeId n = group; n < s->f->nodes.n && owner(s->f, n) == group; n++)
        for (uint32_t i = s->users.first[n]; i < s->users.first[n + 1]; i++) {
            NodeId user = s->users.list[i];
            if (node_at(s->f, user)->op == OP_part) continue;
            if (s->at[user] < first) first = s->at[user];
        }
    return first;
}

// May the group wait until `to`? Only if every operand that is computed is read there or later anyway.
static bool may_wait(const Schedule *s, NodeId group, NodeId to) {
    for (uint32_t i = 0; i < node_at(s->f, group)->n; i++) {
        NodeId o = operand(s->f, group, i);
        if (op_info[node_at(s->f, o)->op].reads == READS_STORED) continue;
        bool later = false;
        for (uint32_t k = s->users.first[o]; k < s->users.first[o + 1] && !later; k++)
            later = s->users.list[k] != group && s->at[s->users.list[k]] >= to;
        if (!later) return false;
    }
    return true;
}

static bool is_func_result(const Func *f, NodeId group) {
    for (uint32_t i = 0; i < f->results.n; i++)
        if (owner(f, f->results.at[i].node) == group) return true;
    return false;
}

typedef struct {
    NodeId at, n;
} PlacedNode;
static int by_place(const void *a, const void *b) {
    const PlacedNode *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

// The new order of all nodes; NULL when it is the old one.
static PlacedNode *order_of(Schedule *s) {
    Func *f = s->f;
    PlacedNode *order = NEW_ARRAY(s->cx->scratch, PlacedNode, f->nodes.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++) order[n] = (PlacedNode){s->at[owner(f, n)], n};
    qsort(order, f->nodes.n, sizeof *order, by_place);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (order[n].n != n) return order;
    return NULL;
}

static void record(Schedule *s) {
    for (NodeId n = 0; n < s->f->nodes.n; n++) {
        NodeId end = n;
        while (end < s->f->nodes.n && owner(s->f, end) == n) end++;
        if (node_at(s->f, n)->op != OP_group || s->at[n] == n || s->at[n] == end) continue;
        const char *name = sym_str(s->m->syms, node_at(s->f, n)->name);
        ledger_add(s->cx->ledger,
                   (Decision){.done = true,
                              .func = sym_str(s->m->syms, s->f->name),
                              .pass = "schedule",
                              .rule = "later",
                              .subject = *name ? name : "value",
                              .loc = node_at(s->f, n)->loc},
                   "runs just before its first reader, its operands live on anyway");
    }
}

static bool schedule_func(PassCx *cx, FuncId id) {
    Func *f = cx->m->funcs.at[id];
    Arena *a = cx->scratch;
    Schedule s = {.cx = cx, .m = cx->m, .f = f, .users = func_users(a, f)};
    s.assigned = NEW_ARRAY(a, uint8_t, cx->m->states.n + 1);
    s.at = NEW_ARRAY(a, NodeId, f->nodes.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        s.at[n] = n;
        if (node_at(f, n)->op == OP_assign) s.assigned[attr_of(cx->m, f, n)->assign.state] = 1;
    }
    for (NodeId n = f->nodes.n; n-- > 0;) {
        const Node *node = node_at(f, n);
        if (node->op != OP_group || is_func_result(f, n) || reads_assigned(&s, n)) continue;
        NodeId first = first_reader(&s, n), end = n;
        while (end < f->nodes.n && owner(f, end) == n) end++;
        if (first < end || first >= f->nodes.n || node_at(f, first)->op == OP_assign) continue;
        // One that stands before its reader already belongs to that place too: else another that
        // waits for the same reader would overtake it, and back again in the next run.
        if (first > end && !may_wait(&s, n, first)) continue;
        for (NodeId k = n; k < end; k++) s.at[k] = first;
    }
    const PlacedNode *order = order_of(&s);
    if (!order) return false;
    record(&s);
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId i = 0; i < f->nodes.n; i++) rewrite_copy(&r, order[i].n);
    rewrite_end(&r);
    return true;
}

enum { MAX_ROUNDS = 8 }; // a move can make room for another; two rounds are usual

bool pass_schedule(PassCx *cx) {
    bool changed = false;
    for (FuncId id = 0; id < cx->m->funcs.n; id++) {
        if (cx->m->funcs.at[id]->region || cx->m->funcs.at[id]->mem.n) continue;
        for (int round = 0; round < MAX_ROUNDS && schedule_func(cx, id); round++) changed = true;
    }
    return changed;
}

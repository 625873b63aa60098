// Fusion, first step: which values are never stored, but computed again in every kernel that reads
// them.
//
// A value is inlined when it has one user, or when reading what it is made of costs no more memory
// than reading it (at most one large source) and little work. So x - mean(x) is recomputed from x in
// the backward pass, and a GELU's derivative from the pre-activation: neither is kept. The choice is
// local and monotone, so one sweep in topological order suffices: O(nodes + edges).
#include "passes/fuse.h"
#include <string.h>

enum {
    MAX_INLINE_COST = 128, // adds per element that are cheaper than one more load and store
    MAX_INLINE_READS = 12, // a long chain of sums is cut, so that a kernel has few arguments
    MAX_SCALAR_COST = 8,   // a value without axes that costs more is computed once
    LARGE_TABLE = 1 << 20, // bytes for which a kernel of its own is worth its start
    FEW = 16,              // elements of a table for each that is picked from it
};

// The memory that a contraction or gather reads for operand o: the base of its views, or o itself
// when they are not affine.
static NodeId memory_of(Fuse *x, NodeId o) {
    View v;
    return ir_view(x->m, x->f, o, &v) ? v.base : o;
}

// The rounds of a value (passes/sweep.c) are put together along its own axis. Each is stored in its round: what
// it is made of would live until the last one else.
static void mark_rounds(Fuse *x, NodeId n) {
    const Attr *at = attr_of(x->m, x->f, n);
    for (uint32_t i = 0; i < at->concat.from.n; i++)
        if (at->concat.from.at[i] == at->concat.to) x->need[operand(x->f, n, i)] = 1;
}

static void mark_needed(Fuse *x) {
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        const Node *node = node_at(x->f, n);
        Op op = (Op)node->op;
        x->is_source[n] = op_info[op].reads == READS_STORED;
        if (!x->live[n]) continue;
        if (op == OP_contract) {
            for (uint32_t i = 0; i < 2; i++) x->need[memory_of(x, operand(x->f, n, i))] = 1;
            if (node->n == 3) x->need[operand(x->f, n, 2)] = 1;
        } else if (op == OP_group) {
            for (uint32_t i = 0; i < node->n; i++) x->need[operand(x->f, n, i)] = 1;
        } else if (op == OP_gather) {
            x->need[memory_of(x, operand(x->f, n, 0))] = 1;
        } else if (op == OP_scatter_add || op == OP_assign) {
            x->need[operand(x->f, n, 0)] = 1;
        } else if (op == OP_concat) {
            mark_rounds(x, n);
        }
    }
    for (uint32_t i = 0; i < x->f->results.n; i++) x->need[x->f->results.at[i].node] = 1;
}

static void add_large(Closure *c, NodeId s) {
    for (uint32_t i = 0; i < c->n && i < MAX_SOURCES; i++)
        if (c->at[i] == s) return;
    if (c->n < MAX_SOURCES) c->at[c->n] = s;
    if (c->n <= MAX_SOURCES) c->n++;
}

static uint32_t own_cost(const Fuse *x, NodeId n) {
    const Node *node = node_at(x->f, n);
    if (op_is_scalar((Op)node->op)) return op_info[node->op].cost;
    return node->op == OP_random ? 60 : node->op == OP_concat ? node->n : 0;
}

// Work per element of computing n with all that is inlined below it, and the values it reads, each once.
// Looks at a bounded number of nodes: what is larger is expensive anyway.
static void measure(Fuse *x, NodeId n, Closure *c) {
    enum { MOST = 96 };
    NodeId seen[MOST];
    uint32_t count = 1;
    seen[0] = n;
    for (uint32_t at = 0; at < count; at++) {
        if (at && !x->is_inline[seen[at]]) {
            c->reads++;
            continue;
        }
        c->cost += own_cost(x, seen[at]);
        for (uint32_t i = 0; i < node_at(x->f, seen[at])->n; i++) {
            NodeId o = operand(x->f, seen[at], i);
            uint32_t k = 0;
            while (k < count && seen[k] != o) k++;
            if (k < count) continue;
            if (count == MOST) {
                c->cost = c->reads = 1u << 20;
                return;
            }
            seen[count++] = o;
        }
    }
}

static Closure closure_of(Fuse *x, NodeId n) {
    Closure c = {0};
    const Node *node = node_at(x->f, n);
    int64_t own = type_count(type_of(x->m, x->f, n));
    measure(x, n, &c);
    for (uint32_t i = 0; i < node->n; i++) {
        NodeId o = operand(x->f, n, i);
        if (x->is_inline[o]) {
            const Closure *in = &x->closure[o];
            if (in->n > MAX_SOURCES) c.n = MAX_SOURCES + 1;
            for (uint32_t k = 0; k < in->n && k < MAX_SOURCES; k++)
                if (type_count(type_of(x->m, x->f, in->at[k])) * 4 >= own) add_large(&c, in->at[k]);
        } else if (type_count(type_of(x->m, x->f, o)) * 4 >= own) {
            add_large(&c, o);
        }
    }
    return c;
}

// A cast of a narrow number to f32, which costs nothing where it is read.
static bool widens(const Fuse *x, NodeId n) {
    if (node_at(x->f, n)->op != OP_cast) return false;
    const Type *from = type_of(x->m, x->f, operand(x->f, n, 0)), *to = type_of(x->m, x->f, n);
    return elem_info[from->elem].kind == ELEM_FLOAT && elem_info[to->elem].kind == ELEM_FLOAT &&
           elem_info[from->elem].bytes < elem_info[to->elem].bytes;
}

// A number that is rounded to be stored: nothing else reads it as it was.
static bool rounds_stored(const Fuse *x, NodeId n) {
    if (node_at(x->f, n)->op != OP_cast) return false;
    NodeId o = operand(x->f, n, 0);
    return elem_info[type_of(x->m, x->f, o)->elem].kind == ELEM_FLOAT &&
           elem_info[type_of(x->m, x->f, n)->elem].kind == ELEM_FLOAT && !x->is_inline[o] &&
           !x->is_source[o] && x->users.first[o + 1] - x->users.first[o] == 1;
}

// Users of n, and behind a widening cast those of the cast.
static uint32_t count_readers(const Fuse *x, NodeId n) {
    uint32_t count = 0;
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId u = x->users.list[i];
        count += widens(x, u) ? count_readers(x, u) : 1;
    }
    return count;
}

// True when some user would compute n many times over: n lacks leading axes of the user (a missing
// suffix is a value per row, computed once per row).
static bool is_repeated(Fuse *x, NodeId n) {
    const Type *t = type_of(x->m, x->f, n);
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        const Type *u = type_of(x->m, x->f, x->users.list[i]);
        if (widens(x, x->users.list[i]) && is_repeated(x, x->users.list[i])) return true;
        if (type_count(u) < 4 * type_count(t)) continue;
        for (uint32_t k = 0; k < t->n && k < u->n; k++)
            if (type_find(t, u->axes[k].axis) < 0) return true;
    }
    return false;
}

// True when a user with that many operands, each reading as much as that, would read too much.
static bool is_crowded(const Fuse *x, NodeId n, uint32_t reads) {
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId u = x->users.list[i];
        if (reads * node_at(x->f, u)->n > MAX_READS) return true;
        if (widens(x, u) && is_crowded(x, u, reads)) return true;
    }
    return false;
}

// Users that read from memory what they read: nothing is computed inside a contraction's operand.
static bool may_inline(Fuse *x, NodeId n) {
    Op op = (Op)node_at(x->f, n)->op;
    if (x->need[n]) return false;
    if (op_info[op].reads == READS_NOTHING) return true;
    bool stored = x->cx->unfused || x->apart[n] || x->beside[n];
    if (!op_reads_one(op) || (stored && op_is_scalar(op))) return false;
    const Closure *c = &x->closure[n];
    const Type *t = type_of(x->m, x->f, n);
    if (widens(x, n)) return true;
    if (rounds_stored(x, n) || is_crowded(x, n, c->reads)) return false;
    View v;
    bool alias = op != OP_gather && !op_is_scalar(op) && ir_view(x->m, x->f, n, &v) && v.base != n;
    if (alias && c->cost <= MAX_SCALAR_COST) return true;
    if (c->reads > MAX_INLINE_READS) return false;
    if (t->n == 0 && c->cost > MAX_SCALAR_COST) return false;
    if (c->cost > MAX_SCALAR_COST && is_repeated(x, n)) return false;
    return count_readers(x, n) <= 1 || (c->n <= 1 && c->cost <= MAX_INLINE_COST);
}

// What 'nofuse' selects, and what it reads, through what is no scalar op and thus no kernel's work.
static void mark_apart(Fuse *x) {
    const Module *m = x->m;
    for (NodeId n = x->f->nodes.n; m->demands.n && n-- > 0;) {
        const Node *node = node_at(x->f, n);
        for (uint32_t i = 0; i < m->demands.n && node->op != OP_group && node->op != OP_part; i++)
            x->apart[n] |= m->demands.at[i].kind == DEMAND_nofuse &&
                           demand_selects(m, &m->demands.at[i], x->f, n);
        bool passes_on = x->apart[n] || (x->beside[n] && !op_is_scalar((Op)node->op));
        for (uint32_t i = 0; passes_on && i < node->n; i++) x->beside[operand(x->f, n, i)] = 1;
    }
}

static void choose(Fuse *x) {
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        x->closure[n] = closure_of(x, n);
        x->is_inline[n] = x->forced[n] || (!x->is_source[n] && may_inline(x, n));
    }
}

void fuse_choose_inline(Fuse *x) {
    mark_needed(x);
    choose(x);
}

// A few elements of a large value that something else reads, too, as the loss does of the logits: taken out as
// soon as it is there, so that the other may be written over it.
static void mark_picks(Fuse *x) {
    if (!x->cx->target->rows_over || x->cx->unfused) return;
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        if (!x->live[n] || node_at(x->f, n)->op != OP_gather) continue;
        NodeId table = operand(x->f, n, 0), index = memory_of(x, operand(x->f, n, 1));
        const Type *t = type_of(x->m, x->f, table);
        x->picks[n] = !x->is_source[table] && x->is_source[index] &&
                      x->users.first[table + 1] - x->users.first[table] > 1 &&
                      type_bytes(t) >= LARGE_TABLE &&
                      type_count(type_of(x->m, x->f, n)) * FEW <= type_count(t);
        x->need[n] |= x->picks[n];
    }
}

void fuse_mark_inline(Fuse *x) {
    mark_apart(x);
    mark_needed(x);
    mark_picks(x);
    fuse_find_library(x);
    choose(x);
}

// An operand that is read by other indices than the result is written by.
static bool moves_index(Op op, uint32_t operand_index) {
    return (op_info[op].reads == READS_VIEW || op_info[op].reads == READS_PICK) &&
           !(op_info[op].kind == OPK_INDEX && operand_index == 1);
}

void fuse_sources(Fuse *x, NodeId n, FuseVisit *visit, void *user) {
    typedef struct {
        NodeId node;
        bool moved;
    } SourceStep;
    VEC(SourceStep) stack = {0};
    uint32_t walk = ++x->walks;
    vec_push(x->a, &stack, ((SourceStep){n, false}));
    while (stack.n) {
        SourceStep at = stack.at[--stack.n];
        for (uint32_t i = 0; i < node_at(x->f, at.node)->n; i++) {
            NodeId o = operand(x->f, at.node, i);
            bool moved = at.moved || moves_index((Op)node_at(x->f, at.node)->op, i);
            if (x->passed[moved][o] == walk) continue;
            x->passed[moved][o] = walk;
            if (x->is_inline[o])
                vec_push(x->a, &stack, ((SourceStep){o, moved}));
            else
                visit(x, o, moved, user);
        }
    }
}

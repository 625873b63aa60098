// Values are intervals of node ids, as for memplan. One that is written over an operand of its group takes that
// operand's place, so that a place counts once. The order of time is walked twice: for the largest sum, and for
// what is alive where it is.
#include "passes/peak.h"
#include "ir/view.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    const Module *m;
    const Func *f;
    int64_t align;
    uint32_t *last; // by node: the group that reads it last; 0: not temporary
} Lives;

static bool is_temporary(const Func *f, NodeId n) {
    return f->mem.at[n].region == REGION_temp &&
           (node_at(f, n)->op == OP_group || node_at(f, n)->op == OP_part ||
            node_at(f, n)->op == OP_fetch);
}

static NodeId group_of(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_part ? operand(f, n, 0) : n;
}

static int64_t bytes_of(const Lives *l, NodeId n) {
    return (type_bytes(type_of(l->m, l->f, n)) + l->align - 1) / l->align * l->align;
}

// An operand that ends where n begins, and where n lies: it ends before.
static void end_below(const Lives *l, NodeId n) {
    NodeId group = group_of(l->f, n);
    const Node *g = node_at(l->f, group);
    for (uint32_t i = 0; i < g->n; i++) {
        NodeId o = operand(l->f, group, i);
        if (l->last[o] == group && o < group && l->f->mem.at[o].offset == l->f->mem.at[n].offset)
            l->last[o] = group - 1;
    }
}

static Lives find_lives(Arena *a, const Module *m, const Func *f, int64_t align) {
    Lives l = {m, f, align, NEW_ARRAY(a, uint32_t, f->nodes.n + 1)};
    Users users = func_users(a, f);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (!is_temporary(f, n)) continue;
        l.last[n] = n;
        for (uint32_t i = users.first[n]; i < users.first[n + 1]; i++)
            if (node_at(f, users.list[i])->op != OP_part && users.list[i] > l.last[n])
                l.last[n] = users.list[i];
        NodeId ready =
            node_at(f, n)->op == OP_fetch ? l.last[n] : n; // it lies where the fetch does
        if (ready != n) l.last[n] = users.list[users.first[ready + 1] - 1];
    }
    for (uint32_t i = 0; i < f->results.n; i++)
        if (is_temporary(f, f->results.at[i].node)) l.last[f->results.at[i].node] = f->nodes.n;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (is_temporary(f, n)) end_below(&l, n);
    return l;
}

const char *peak_name(Arena *a, const Module *m, const Func *f, NodeId n) {
    const Node *x = node_at(f, n);
    if (x->op == OP_group) { // it has the name of its last result, and is its first
        const Func *body = m->funcs.at[attr_of(m, f, n)->group.body];
        x = node_at(body, body->results.at[0].node);
    }
    const char *name = sym_str(m->syms, x->name);
    return ledger_class(a, *name ? name : op_info[x->op].name);
}

static int larger_first(const void *x, const void *y) {
    const PeakLine *a = x, *b = y;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void list_alive(Arena *a, const Lives *l, Peak *p) {
    Map lines = {.arena = a};
    for (NodeId n = 0; n < l->f->nodes.n && group_of(l->f, n) <= p->at; n++) {
        if (!is_temporary(l->f, n) || l->last[n] < p->at) continue;
        const char *name = peak_name(a, l->m, l->f, n);
        uint32_t *line = map_slot(&lines, hash_bytes(HASH_SEED, name, strlen(name)), NULL);
        if (!*line) {
            PeakLine fresh = {.name = name, .first = n};
            vec_push(a, &p->alive, fresh);
            *line = p->alive.n;
        }
        p->alive.at[*line - 1].count++;
        p->alive.at[*line - 1].bytes += bytes_of(l, n);
    }
    if (p->alive.n) qsort(p->alive.at, p->alive.n, sizeof *p->alive.at, larger_first);
}

Peak func_peak(Arena *a, const Module *m, const Func *f, int64_t align) {
    Peak p = {.at = NONE};
    if (!f->mem.n) return p;
    Lives l = find_lives(a, m, f, align);
    int64_t *end = NEW_ARRAY(a, int64_t, f->nodes.n + 2),
            *begin = NEW_ARRAY(a, int64_t, f->nodes.n + 2);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (is_temporary(f, n) && l.last[n] >= group_of(f, n)) {
            begin[group_of(f, n)] += bytes_of(&l, n);
            end[l.last[n] + 1] += bytes_of(&l, n);
        }
    int64_t alive = 0;
    bool backward = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        bool starts = node_at(f, n)->op == OP_group && node_at(f, n)->phase != PHASE_F;
        if (starts && !backward) p.kept = alive;
        backward |= starts;
        alive += begin[n] - end[n];
        if (alive > p.bytes) p.bytes = alive, p.at = n;
    }
    if (p.at != NONE) list_alive(a, &l, &p);
    return p;
}

const char *peak_text(Arena *a, const Peak *p, uint32_t most) {
    Text t = {.arena = a};
    int64_t rest = 0;
    text_put(&t, "", 0);
    for (uint32_t i = 0; i < p->alive.n; i++) {
        const PeakLine *l = &p->alive.at[i];
        if (i >= most) {
            rest += l->bytes;
            continue;
        }
        text_printf(&t, "%s%s", i ? ", " : "", l->name);
        if (l->count > 1) text_printf(&t, " x %u", l->count);
        text_printf(&t, " %s", bytes_text(a, l->bytes));
    }
    if (p->alive.n > most)
        text_printf(&t, " and %u others %s", p->alive.n - most, bytes_text(a, rest));
    return t.at;
}

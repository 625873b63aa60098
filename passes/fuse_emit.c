// Fusion, last step: the function is written again with one group node per group.
//
// A body holds copies of the inlined nodes that its members need, so an inlined node appears in every
// group that computes it. Results are the members that something outside the group reads. Order of
// the new function: sources, groups by number, assigns and results. Linear in what is written.
#include "passes/fuse.h"
#include "passes/rewrite.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    Fuse *x;
    Func *to;
    NodeId *map;     // old node -> new node outside groups
    NodeId *inner;   // old node -> new node in the body being written
    uint8_t *stored; // read from memory by another group or the function itself
    uint32_t *seen;  // group number + 1 in which a node was last copied
} Emit;

static void visit_stored(Fuse *x, NodeId s, bool moved, void *user) {
    (void)moved;
    Emit *e = ((void **)user)[0];
    uint32_t reader = *(uint32_t *)((void **)user)[1];
    if (!x->is_source[s] && x->group[s] != reader) e->stored[s] = 1;
}

static void mark_stored(Emit *e) {
    Fuse *x = e->x;
    for (uint32_t g = 0; g < x->groups.n; g++) {
        void *user[2] = {e, &g};
        for (uint32_t i = 0; i < x->groups.at[g].members.n; i++)
            fuse_sources(x, x->groups.at[g].members.at[i], visit_stored, user);
    }
    for (NodeId n = 0; n < x->f->nodes.n; n++)
        if (node_at(x->f, n)->op == OP_assign) e->stored[operand(x->f, n, 0)] = 1;
    for (uint32_t i = 0; i < x->f->results.n; i++) e->stored[x->f->results.at[i].node] = 1;
}

static int by_id(const void *a, const void *b) {
    NodeId x = *(const NodeId *)a, y = *(const NodeId *)b;
    return x < y ? -1 : x > y;
}

// All nodes of the body, in order, and the values it reads from outside.
static void collect(Emit *e, uint32_t g, NodeList *body, NodeList *reads) {
    Fuse *x = e->x;
    NodeList stack = {0};
    const FuseGroup *group = &x->groups.at[g];
    for (uint32_t i = 0; i < group->members.n; i++) {
        if (!e->stored[group->members.at[i]]) continue; // another member's operand
        vec_push(x->a, &stack, group->members.at[i]);
        e->seen[group->members.at[i]] = g + 1;
    }
    while (stack.n) {
        NodeId n = stack.at[--stack.n];
        bool inside = x->is_inline[n] || (!x->is_source[n] && x->group[n] == g);
        vec_push(x->a, inside ? body : reads, n);
        for (uint32_t i = 0; inside && i < node_at(x->f, n)->n; i++) {
            NodeId o = operand(x->f, n, i);
            if (e->seen[o] == g + 1) continue;
            e->seen[o] = g + 1;
            vec_push(x->a, &stack, o);
        }
    }
    if (body->n) qsort(body->at, body->n, sizeof *body->at, by_id);
    if (reads->n) qsort(reads->at, reads->n, sizeof *reads->at, by_id);
}

static Builder builder_for(Module *m, Func *to, const Node *n) {
    Builder b = {.m = m, .f = to};
    builder_like(&b, n);
    return b;
}

static void record(Emit *e, const FuseGroup *g, const NodeList *body, NodeId root) {
    Fuse *x = e->x;
    int64_t saved = 0;
    uint32_t count = 0, stored = 0;
    for (uint32_t i = 0; i < body->n; i++) {
        NodeId n = body->at[i];
        Op op = (Op)node_at(x->f, n)->op;
        stored += e->stored[n] && !x->is_inline[n];
        if (e->stored[n] || op_info[op].kind == OPK_LEAF) continue;
        saved += 2 * type_bytes(type_of(x->m, x->f, n));
        count++;
    }
    if (!count) return;
    const Node *node = node_at(x->f, root);
    const char *name = sym_str(x->m->syms, node->name);
    ledger_add(x->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(x->m->syms, x->f->name),
                          .pass = "fuse",
                          .rule = group_names[g->kind],
                          .subject = *name ? name : op_info[node->op].name,
                          .bytes = saved,
                          .loc = node->loc},
               "%u values stay in registers or cache, %u stored", count, stored);
}

static void copy_group(Emit *e, uint32_t number, Sym func_name) {
    const Fuse *x = e->x;
    NodeId n = x->groups.at[number].members.at[0];
    Builder b = {.m = x->m, .f = e->to};
    const char *name = arena_printf(x->a, "%s.g%u", sym_str(x->m->syms, func_name), number);
    x->m->funcs.at[attr_of(x->m, x->f, n)->group.body]->name = sym(x->m->syms, name);
    e->map[n] = copy_node(&b, x->f, n, e->map);
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId part = x->users.list[i];
        if (node_at(x->f, part)->op == OP_part) e->map[part] = copy_node(&b, x->f, part, e->map);
    }
}

static void emit_group(Emit *e, uint32_t number, Sym func_name) {
    Fuse *x = e->x;
    const FuseGroup *g = &x->groups.at[number];
    if (node_at(x->f, g->members.at[0])->op == OP_group) {
        copy_group(e, number, func_name);
        return;
    }
    NodeList body = {0}, reads = {0};
    collect(e, number, &body, &reads);
    FuncId id;
    Func *to =
        func_new(x->m, arena_printf(x->a, "%s.g%u", sym_str(x->m->syms, func_name), number), &id);
    to->region = true;
    NodeId *map = e->inner; // every entry that is read was written for this group
    NodeId args[MAX_OPERANDS];
    CHECK(reads.n <= MAX_OPERANDS, "fuse: group %u reads %u values", number, reads.n);
    for (uint32_t i = 0; i < reads.n; i++) {
        const Node *n = node_at(x->f, reads.at[i]);
        Builder b = builder_for(x->m, to, n);
        map[reads.at[i]] = ir_arg(&b, i, n->type);
        args[i] = e->map[reads.at[i]];
    }
    NodeId root = NONE;
    for (uint32_t i = 0; i < body.n; i++) {
        NodeId n = body.at[i];
        Builder b = builder_for(x->m, to, node_at(x->f, n));
        map[n] = copy_node(&b, x->f, n, map);
        if (!e->stored[n] || x->is_inline[n]) continue;
        func_result(x->m, to, "", map[n], RESULT_value);
        root = n;
    }
    CHECK(root != NONE, "fuse: group %u of %s stores nothing", number,
          sym_str(x->m->syms, func_name));
    record(e, g, &body, root);

    Attr attr = {.kind = ATTR_group};
    attr.group.kind = g->kind;
    attr.group.body = id;
    Builder b = builder_for(x->m, e->to, node_at(x->f, root));
    NodeId first = to->results.at[0].node;
    NodeId made = ir_node(&b, OP_group, &attr, args, reads.n, node_at(to, first)->type);
    uint32_t index = 0;
    for (uint32_t i = 0; i < body.n; i++) {
        NodeId n = body.at[i];
        if (!e->stored[n] || x->is_inline[n]) continue;
        Builder pb = builder_for(x->m, e->to, node_at(x->f, n));
        Attr part = {.kind = ATTR_part};
        part.part.index = index;
        e->map[n] =
            index == 0 ? made : ir_node(&pb, OP_part, &part, &made, 1, node_at(x->f, n)->type);
        index++;
    }
}

Func *fuse_emit(Fuse *x, FuncId slot) {
    Module *m = x->m;
    const Func *f = x->f;
    Func *to = NEW(m->arena, Func);
    to->name = f->name;
    Emit e = {.x = x, .to = to};
    e.map = NEW_ARRAY(x->a, NodeId, f->nodes.n + 1);
    e.inner = NEW_ARRAY(x->a, NodeId, f->nodes.n + 1);
    e.stored = NEW_ARRAY(x->a, uint8_t, f->nodes.n + 1);
    e.seen = NEW_ARRAY(x->a, uint32_t, f->nodes.n + 1);
    mark_stored(&e);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (!x->is_source[n]) continue;
        Builder b = builder_for(m, to, node_at(f, n));
        e.map[n] = copy_node(&b, f, n, e.map);
    }
    m->funcs.at[slot] = to;
    for (uint32_t g = 0; g < x->groups.n; g++) emit_group(&e, g, f->name);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_assign) continue;
        Builder b = builder_for(m, to, node_at(f, n));
        e.map[n] = copy_node(&b, f, n, e.map);
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        const Result *r = &f->results.at[i];
        func_result(m, to, sym_str(m->syms, r->name), e.map[r->node], (ResultKind)r->kind);
    }
    return to;
}

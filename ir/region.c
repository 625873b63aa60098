// See region.h. Copies of nodes are ir/build.c's, which comes here for the bodies: a body that holds a region
// itself is copied inner ones first. O(nodes of the body), once for each body and Resize.
#include "ir/region.h"
#include "ir/attr.h"
#include "ir/build.h"

TypeId type_resized(Module *m, TypeId type, const Resize *r) {
    Type t = *type_at(m, type);
    bool changed = false;
    for (uint32_t i = 0; i < r->n; i++) {
        int at = type_find(&t, r->axis[i]);
        if (at < 0 || t.axes[at].size == r->size[i]) continue;
        t.axes[at].size = r->size[i];
        changed = true;
    }
    return changed ? type_intern(m, &t) : type;
}

AttrId attr_resized(Module *m, AttrId attr, Resize *r) {
    Attr a = *attr_at(m, attr);
    bool changed = false;
    for (uint32_t i = 0; attr_body(&a, i); i++) {
        FuncId *body = attr_body(&a, i), to = region_instantiate(m, *body, r);
        changed |= to != *body;
        *body = to;
    }
    return changed ? attr_intern(m, &a) : attr;
}

static bool is_touched(Module *m, const Func *f, Resize *r) {
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *x = node_at(f, n);
        if (type_resized(m, x->type, r) != x->type || attr_resized(m, x->attr, r) != x->attr)
            return true;
    }
    return false;
}

static FuncId copy_body(Module *m, const Func *from, Resize *r) {
    FuncId id;
    Func *to = func_new(m, sym_str(m->syms, from->name), &id);
    to->region = true;
    Builder b = {.m = m, .f = to};
    NodeId *map = NEW_ARRAY(m->arena, NodeId, from->nodes.n + 1);
    for (NodeId n = 0; n < from->nodes.n; n++) {
        NodeId in[MAX_OPERANDS];
        for (uint32_t i = 0; i < node_at(from, n)->n; i++) in[i] = map[operand(from, n, i)];
        map[n] = copy_resized(&b, from, n, in, node_at(from, n)->n, r);
    }
    for (uint32_t i = 0; i < from->results.n; i++) {
        Result result = from->results.at[i];
        result.node = map[result.node];
        vec_push(m->arena, &to->results, result);
    }
    return id;
}

FuncId region_instantiate(Module *m, FuncId body, Resize *r) {
    r->bodies.arena = m->arena;
    const uint32_t *have = map_find(&r->bodies, body);
    if (have) return *have - 1;
    const Func *from = m->funcs.at[body];
    FuncId to = is_touched(m, from, r) ? copy_body(m, from, r) : body;
    *map_slot(&r->bodies, body, NULL) = to + 1;
    return to;
}

void module_remove(Module *m, const Func *f) {
    FuncId gone = 0;
    while (m->funcs.at[gone] != f) gone++;
    for (FuncId i = gone + 1; i < m->funcs.n; i++) m->funcs.at[i - 1] = m->funcs.at[i];
    m->funcs.n--;
    bool changed = false;
    for (AttrId a = 0; a < m->attrs.n; a++)
        for (uint32_t i = 0; attr_body(&m->attrs.at[a], i); i++) {
            FuncId *body = attr_body(&m->attrs.at[a], i);
            if (*body > gone) --*body, changed = true;
        }
    if (changed) attr_reindex(m);
}

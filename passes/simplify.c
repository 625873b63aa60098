// Simplify: canonical form by named rows. It folds constants (with the exact scalar definitions),
// drops identities and views that undo each other, and forms `fma`; no later pass adds or removes a
// rounding. It exists so that equal things look equal to cse and that rows of later passes meet one
// spelling of each idea.
//
// Needs and leaves a verified function; keeps each node's type, name and place in the source. A row
// never undoes another, so the sweeps end: each row makes the function smaller or moves it towards
// constants on the right, expands below, renames merged. One sweep is O(nodes); it is repeated
// until nothing changes (two or three times), then one more sweep forms fma.
//
// Not bit-neutral: x + 0 -> x differs for x = -0, c1 * (c2 * x) -> (c1 * c2) * x rounds
// differently, fma rounds once. NaN and infinities keep their meaning: x * 0 and x - x are left
// alone.
#include "passes/simplify.h"
#include "passes/rewrite.h"
#include <string.h>

enum { MAX_SWEEPS = 16 };

static const SimplifyRow *const tables[] = {simplify_scalar_rows, simplify_view_rows};

// One step on the candidate: true when a row changed it or (value != NONE) replaced it.
static bool apply_row(Simplify *s, Candidate *c, NodeId *value) {
    for (uint32_t t = 0; t < 2; t++)
        for (const SimplifyRow *row = tables[t]; row->name; row++)
            if ((row->op == c->op || (row->op == OP_COUNT && op_is_scalar(c->op))) &&
                row->apply(s, c, value))
                return true;
    return false;
}

enum { MAX_STEPS = 32 }; // rows that may fire in a row on one node

static NodeId simplify_node(Simplify *s, NodeId old, bool *changed) {
    Rewrite *r = &s->r;
    const Node *x = node_at(r->from, old);
    Candidate c = {(Op)x->op, x->attr, x->type, x->n, {0}};
    for (uint32_t j = 0; j < x->n; j++) c.in[j] = r->map[operand(r->from, old, j)];
    rewrite_like(r, old);
    NodeId value = NONE;
    bool fired = false;
    for (int step = 0; step < MAX_STEPS && value == NONE && apply_row(s, &c, &value); step++)
        fired = true;
    if (!fired) return rewrite_copy(r, old);
    *changed = true;
    if (value == NONE) value = simplify_make(s, c.op, c.attr, c.in, c.n, c.type);
    Node *y = node_at(&r->to, value);
    if (!y->name) y->name = x->name;
    return r->map[old] = value;
}

static bool has_op(const Func *f, Op op) {
    for (uint32_t i = 0; i < f->nodes.n; i++)
        if (f->nodes.at[i].op == op) return true;
    return false;
}

static bool sweep(PassCx *cx, Func *f) {
    Simplify s = {.keep_stops = has_op(f, OP_grad)};
    rewrite_begin(&s.r, cx, f);
    bool changed = false;
    for (NodeId n = 0; n < f->nodes.n; n++) simplify_node(&s, n, &changed);
    if (changed) rewrite_end(&s.r);
    return changed;
}

// The operand of an add that is a product read by nothing else, over the same axes; or -1.
static int lone_product(const Module *m, const Func *f, const uint32_t *uses, NodeId n) {
    const Node *x = node_at(f, n);
    if (x->op != OP_add || type_at(m, x->type)->elem != ELEM_f32) return -1;
    for (uint32_t j = 0; j < 2; j++) {
        NodeId o = operand(f, n, j);
        if (node_at(f, o)->op == OP_mul && uses[o] == 1 && node_at(f, o)->clone == x->clone &&
            type_same_axes(type_of(m, f, o), type_at(m, x->type)))
            return (int)j;
    }
    return -1;
}

// a * b + c -> fma(a, b, c) where the product has no other reader.
static bool form_fma(PassCx *cx, Func *f) {
    uint32_t *uses = count_uses(cx->scratch, f);
    Rewrite r;
    rewrite_begin(&r, cx, f);
    bool changed = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        int j = uses[n] ? lone_product(cx->m, f, uses, n) : -1;
        if (j < 0) {
            rewrite_copy(&r, n);
            continue;
        }
        NodeId product = operand(f, n, (uint32_t)j);
        NodeId in[3] = {r.map[operand(f, product, 0)], r.map[operand(f, product, 1)],
                        r.map[operand(f, n, (uint32_t)(1 - j))]};
        rewrite_like(&r, n);
        r.map[n] = ir_node(&r.b, OP_fma, NULL, in, 3, f->nodes.at[n].type);
        changed = true;
    }
    if (changed) rewrite_end(&r);
    return changed;
}

bool pass_simplify(PassCx *cx) {
    bool changed = false;
    for (uint32_t i = 0; i < cx->m->funcs.n; i++) {
        Func *f = cx->m->funcs.at[i];
        if (f->region) continue;
        bool again = true;
        for (int round = 0; again && round < MAX_SWEEPS; round++) {
            again = sweep(cx, f);
            changed |= again;
        }
        changed |= form_fma(cx, f);
    }
    return changed;
}

// Generation draws the next id from the outputs at one position, so 'generate' computes them there
// alone: an output that runs over the positions becomes the one at the scalar of the run 'position'.
//
//   logits[seq, vocab] = x[seq, dim] @[dim] w    ->    x[seq: position] @[dim] w
//
// Walks up from the outputs: a value that only such values read, and whose op treats positions alike
// (role EACH), is computed for the one position too. What anything else reads stays whole - the keys
// and values of attention - and is read at the position by a gather. So of the last layer the queries,
// the scores and the MLP are one row, and of all others nothing changes.
//
// The positions are the other axis of the input of ids. Bit-neutral: nothing is summed in another
// order; a column fold, whose order depends on the axes that stay, is kept whole. O(nodes + operands).
#include "passes/rewrite.h"

typedef struct {
    Module *m;
    Func *f;
    AxisId axis;   // the positions
    uint8_t *full; // by node: wanted at all positions,
    uint8_t *one;  //   at the one
} Position;

static bool has_axis(const Position *p, NodeId n) {
    return type_find(type_of(p->m, p->f, n), p->axis) >= 0;
}

// The other axis of the input that takes ids; 0 when there is none or they disagree.
static AxisId find_positions(const Module *m, const Func *f) {
    AxisId found = 0;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_input || !attr_of(m, f, n)->input.range) continue;
        const Type *t = type_of(m, f, n);
        for (uint32_t i = 0; i < t->n; i++) {
            AxisId a = t->axes[i].axis;
            if (m->axes.at[a].sample || a == found) continue;
            if (found) return 0;
            found = a;
        }
    }
    return found;
}

// Whether n can be computed for one position from operands at that position.
static bool is_pointwise(const Position *p, NodeId n) {
    const Node *x = node_at(p->f, n);
    if (!x->n || node_acc(x) >= 0) return false;
    if (x->op == OP_reduce && attr_of(p->m, p->f, n)->reduce.by != FOLD_row) return false;
    for (uint32_t j = 0; j < x->n; j++) {
        Role role = ir_axis_flow(p->m, p->f, n, j, p->axis).role;
        if (role != ROLE_EACH && role != ROLE_NEW) return false;
    }
    return true;
}

static void mark(Position *p) {
    for (NodeId n = p->f->nodes.n; n-- > 0;) {
        if (p->one[n] && !p->full[n] && !is_pointwise(p, n)) p->full[n] = 1;
        if (!p->one[n] && !p->full[n]) continue;
        for (uint32_t j = 0; j < node_at(p->f, n)->n; j++) {
            NodeId o = operand(p->f, n, j);
            *(p->full[n] || !has_axis(p, o) ? &p->full[o] : &p->one[o]) = 1;
        }
    }
}

static TypeId without_axis(Position *p, TypeId type) {
    Type t = *type_at(p->m, type);
    uint32_t at = (uint32_t)type_find(&t, p->axis);
    for (t.n--; at < t.n; at++) t.axes[at] = t.axes[at + 1];
    return type_intern(p->m, &t);
}

static NodeId copy_one(Position *p, Rewrite *r, NodeId n, const NodeId *row) {
    const Node *x = node_at(p->f, n);
    NodeId in[MAX_OPERANDS];
    for (uint32_t j = 0; j < x->n; j++) {
        NodeId o = operand(p->f, n, j);
        in[j] = has_axis(p, o) ? row[o] : r->map[o];
    }
    Attr a = *attr_at(p->m, x->attr);
    return ir_node(&r->b, (Op)x->op, x->attr ? &a : NULL, in, x->n, without_axis(p, x->type));
}

static void rewrite_one(PassCx *cx, Position *p) {
    Rewrite r;
    NodeId *row = NEW_ARRAY(cx->scratch, NodeId, p->f->nodes.n + 1);
    rewrite_begin(&r, cx, p->f);
    Type scalar = {.elem = ELEM_i32};
    NodeId position = ir_input(&r.b, "position", type_intern(p->m, &scalar), 0);
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        rewrite_like(&r, n);
        if (p->full[n]) rewrite_copy(&r, n);
        if (!p->one[n]) continue;
        row[n] =
            p->full[n] ? ir_gather(&r.b, r.map[n], position, p->axis) : copy_one(p, &r, n, row);
    }
    for (uint32_t i = 0; i < p->f->results.n; i++) {
        NodeId n = p->f->results.at[i].node;
        if (has_axis(p, n)) r.map[n] = row[n];
    }
    rewrite_end(&r);
}

bool pass_position(PassCx *cx) {
    Position p = {.m = cx->m, .f = module_find(cx->m, "generate")};
    p.axis = p.f ? find_positions(p.m, p.f) : 0;
    if (!p.axis) return false;
    bool found = false;
    p.full = NEW_ARRAY(cx->scratch, uint8_t, p.f->nodes.n + 1);
    p.one = NEW_ARRAY(cx->scratch, uint8_t, p.f->nodes.n + 1);
    for (uint32_t i = 0; i < p.f->results.n; i++) {
        const Result *r = &p.f->results.at[i];
        bool one = has_axis(&p, r->node);
        *(one ? &p.one[r->node] : &p.full[r->node]) = 1;
        found |= one;
        if (!one) continue;
        const Type *t = type_of(p.m, p.f, r->node);
        int64_t size = t->axes[type_find(t, p.axis)].size, bytes = type_bytes(t);
        ledger_add(cx->ledger,
                   (Decision){.done = true,
                              .func = sym_str(p.m->syms, p.f->name),
                              .pass = "position",
                              .rule = "row",
                              .subject = sym_str(p.m->syms, r->name),
                              .bytes = size ? bytes - bytes / size : 0,
                              .loc = node_at(p.f, r->node)->loc},
                   "generation reads one of %lld positions: the output is computed there",
                   (long long)size);
    }
    if (!found) return false;
    mark(&p);
    rewrite_one(cx, &p);
    return true;
}

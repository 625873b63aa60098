// The parts of simplify: the state that rows share and the two tables of rows.
#pragma once
#include "passes/rewrite.h"

typedef struct {
    Rewrite r;
    bool keep_stops; // derivatives are still to be taken: stop_gradient has a meaning
} Simplify;

// A node about to be written, in terms of the new function. Rows may change all but the type.
typedef struct {
    Op op;
    AttrId attr;
    TypeId type;
    uint32_t n;
    NodeId in[MAX_OPERANDS];
} Candidate;

// A row returns true when it changed the candidate, or found a node that has its value (*value).
typedef bool SimplifyFn(Simplify *s, Candidate *c, NodeId *value);
typedef struct {
    const char *name;
    Op op; // OP_COUNT: every scalar op
    SimplifyFn *apply;
} SimplifyRow;
extern const SimplifyRow simplify_scalar_rows[],
    simplify_view_rows[]; // end with a row without name

// Short forms over the new function.
static inline const Node *new_node(const Simplify *s, NodeId n) { return node_at(&s->r.to, n); }
static inline const Type *new_type(const Simplify *s, NodeId n) {
    return type_of(s->r.b.m, &s->r.to, n);
}
static inline const Attr *new_attr(const Simplify *s, NodeId n) {
    return attr_of(s->r.b.m, &s->r.to, n);
}
static inline NodeId new_operand(const Simplify *s, NodeId n, uint32_t i) {
    return operand(&s->r.to, n, i);
}
static inline bool new_is(const Simplify *s, NodeId n, Op op) { return new_node(s, n)->op == op; }
static inline const Attr *candidate_attr(const Simplify *s, const Candidate *c) {
    return attr_at(s->r.b.m, c->attr);
}
bool simplify_const(const Simplify *s, NodeId n, double *value); // is it a constant?
// x with exactly this type: itself, or repeated along missing axes. NONE when that would need a
// copy.
NodeId simplify_as(Simplify *s, NodeId x, TypeId type);
NodeId simplify_make(Simplify *s, Op op, AttrId attr, const NodeId *in, uint32_t n, TypeId type);

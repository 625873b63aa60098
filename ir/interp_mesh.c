// What ranks do together, in the interpreter: collectives see the operands of all of them.
//
// A rank's value is a box of the whole. Everything that moves parts is one idea: copy what two boxes have
// in common, by coordinates of the whole. Sums take the ranks of a group in their order, so that they do
// not depend on how values travel: in f32, also of narrower types, with one rounding at the end.
// O(elements x ranks of the group).
#include "ir/interp_impl.h"
#include "ir/place.h"
#include <string.h>

// The box that both have, walked in x and in out.
static void overlap(const Module *m, const Tensor *x, const uint32_t from[MAX_MESH], Tensor *out,
                    const uint32_t to[MAX_MESH]) {
    const Type *t = type_at(m, x->type), *u = type_at(m, out->type);
    Type box = *t;
    int64_t at_x = 0, at_out = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const TypeAxis *a = &t->axes[i], *b = &u->axes[type_find(u, a->axis)];
        int64_t start = axis_offset(m, a, from), other = axis_offset(m, b, to);
        int64_t low = start > other ? start : other;
        int64_t high = start + a->size < other + b->size ? start + a->size : other + b->size;
        if (high <= low) return;
        box.axes[i].size = high - low;
        at_x += (low - start) * type_stride(t, a->axis);
        at_out += (low - other) * type_stride(u, a->axis);
    }
    Walk w = walk_new(&box);
    walk_add(&w, &box, t);
    walk_add(&w, &box, u);
    w.offset[0] = at_x;
    w.offset[1] = at_out;
    for (; walk_more(&w); walk_next(&w)) out->at[w.offset[1]] = x->at[w.offset[0]];
}

void tensor_overlap(const Module *m, const Tensor *x, uint32_t from, Tensor *out, uint32_t to) {
    uint32_t a[MAX_MESH], b[MAX_MESH];
    mesh_coordinates(m, from, a);
    mesh_coordinates(m, to, b);
    overlap(m, x, a, out, b);
}

// Whether two ranks differ in no other coordinates than those of the set.
static bool grouped(const Evaluation *a, const Evaluation *b, uint32_t set) {
    for (uint32_t i = 0; i < a->in->m->meshes; i++)
        if (!(set >> i & 1) && a->at[i] != b->at[i]) return false;
    return true;
}

static ReduceKind kind_of(const Type *t, uint32_t set) {
    if (t->partial[PARTIAL_max] & set) return t->elem == ELEM_bool ? REDUCE_any : REDUCE_max;
    if (t->partial[PARTIAL_min] & set) return t->elem == ELEM_bool ? REDUCE_all : REDUCE_min;
    return REDUCE_sum;
}

// The fold of the operands of rank k's group, in the order of ranks.
static void fold_ranks(Evaluation *r, uint32_t ranks, NodeId n, uint32_t k, uint32_t set,
                       Tensor *to) {
    const Type *t = run_type(r, to);
    ReduceKind kind = kind_of(t, set);
    Elem wide = (Elem)elem_info[t->elem].computes;
    int64_t count = type_count(t);
    for (int64_t i = 0; i < count; i++) {
        double acc = 0;
        bool first = true;
        for (uint32_t j = 0; j < ranks; j++) {
            if (!grouped(&r[j], &r[k], set)) continue;
            double x = run_operand(&r[j], n, 0)->at[i];
            acc = first ? x : interp_fold_step(r, kind, wide, acc, x);
            first = false;
        }
        to->at[i] = run_round(r, (Elem)t->elem, acc);
    }
}

static void evaluate(Evaluation *r, uint32_t ranks, NodeId n, uint32_t k) {
    const Attr *a = run_attr(r, n);
    const Module *m = r->in->m;
    const Tensor *x = run_operand(&r[k], n, 0);
    Tensor *out = &r[k].value[n], sum = {x->type, out->at};
    uint32_t op = run_node(r, n)->op,
             set = a->all_reduce.mesh; // the field is the same in all records
    switch (op) {
    case OP_cut: overlap(m, x, r[k].at, out, r[k].at); return;
    case OP_first:
        for (uint32_t i = 0; i < m->meshes; i++)
            if (set >> i & 1 && r[k].at[i]) {
                memset(out->at, 0, (size_t)type_count(run_type(r, out)) * sizeof *out->at);
                return;
            }
        memcpy(out->at, x->at, (size_t)type_count(run_type(r, out)) * sizeof *out->at);
        return;
    case OP_all_gather:
    case OP_all_to_all:
        for (uint32_t j = 0; j < ranks; j++)
            if (grouped(&r[j], &r[k], set))
                overlap(m, run_operand(&r[j], n, 0), r[j].at, out, r[k].at);
        return;
    case OP_all_reduce: fold_ranks(r, ranks, n, k, set, &sum); return;
    case OP_reduce_scatter:
        sum.at = NEW_ARRAY(r->arena, double, type_count(run_type(r, x)));
        fold_ranks(r, ranks, n, k, set, &sum);
        overlap(m, &sum, r[k].at, out, r[k].at);
        return;
    }
    unreachable(op);
}

void interp_mesh(Evaluation *r, uint32_t ranks, NodeId n) {
    for (uint32_t k = 0; k < ranks; k++) evaluate(r, ranks, n, k);
}

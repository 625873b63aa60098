// See view.h. One step per node of the chain, so linear in its length.
#include "ir/view.h"
#include <string.h>

static int64_t stride_of(const Type *t, const View *v, AxisId a) {
    return v->stride[type_find(t, a)];
}

// The strides of node n from those of its operand (type 'from').
static bool view_step(const Module *m, const Func *f, NodeId n, const Type *from, const View *in,
                      View *out) {
    const Type *to = type_of(m, f, n);
    const Attr *at = attr_of(m, f, n);
    *out = (View){.base = in->base, .offset = in->offset};
    for (uint32_t i = 0; i < to->n; i++) {
        AxisId a = to->axes[i].axis;
        int same = type_find(from, a);
        out->stride[i] = same >= 0 ? in->stride[same] : 0;
    }
    Op op = (Op)node_at(f, n)->op;
    if (op == OP_rename) {
        out->stride[type_find(to, at->rename.to)] = stride_of(from, in, at->rename.from);
    } else if (op == OP_split) {
        int64_t s = stride_of(from, in, at->split.from);
        for (uint32_t i = at->split.to.n; i-- > 0;) {
            int k = type_find(to, at->split.to.at[i]);
            out->stride[k] = s;
            s *= to->axes[k].size;
        }
    } else if (op == OP_slice) {
        int64_t s = stride_of(from, in, at->slice.from);
        out->offset += s * at->slice.start;
        out->stride[type_find(to, at->slice.to)] = s;
    } else if (op == OP_merge) {
        const AxisList *l = &at->merge.from;
        int64_t inner = stride_of(from, in, l->at[l->n - 1]);
        int64_t want = inner;
        for (uint32_t i = l->n; i-- > 0;) {
            const TypeAxis *x = &from->axes[type_find(from, l->at[i])];
            if (x->size > 1 && stride_of(from, in, x->axis) != want) return false;
            want *= x->size;
        }
        out->stride[type_find(to, at->merge.to)] = inner;
    }
    return true;
}

// What reads one element of its only operand, where strides say.
static bool is_affine_view(Op op) {
    return !op_is_scalar(op) && op_info[op].reads >= READS_SAME && op_info[op].reads <= READS_VIEW;
}

bool ir_view(const Module *m, const Func *f, NodeId n, View *out) {
    enum { LONGEST = 256 };
    NodeId chain[LONGEST];
    uint32_t depth = 0;
    while (is_affine_view((Op)node_at(f, n)->op)) {
        if (depth == LONGEST) return false;
        chain[depth++] = n;
        n = operand(f, n, 0);
    }
    View v = {.base = n};
    const Type *t = type_of(m, f, n);
    type_strides(t, v.stride);
    while (depth-- > 0) {
        View next;
        if (!view_step(m, f, chain[depth], t, &v, &next)) return false;
        t = type_of(m, f, chain[depth]);
        v = next;
    }
    *out = v;
    return true;
}

Users func_users(Arena *a, const Func *f) {
    uint32_t count = f->nodes.n;
    Users u = {NEW_ARRAY(a, uint32_t, count + 2), NULL};
    uint32_t total = 0;
    for (NodeId n = 0; n < count; n++)
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) u.first[operand(f, n, i) + 1]++, total++;
    for (NodeId n = 0; n < count; n++) u.first[n + 1] += u.first[n];
    u.list = NEW_ARRAY(a, NodeId, total + 1);
    uint32_t *fill = NEW_ARRAY(a, uint32_t, count + 1);
    memcpy(fill, u.first, sizeof *fill * (count + 1));
    for (NodeId n = 0; n < count; n++)
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) u.list[fill[operand(f, n, i)]++] = n;
    return u;
}

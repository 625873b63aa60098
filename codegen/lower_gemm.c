// A gemm group: the contraction becomes an SnGemm, what follows it on the tile an epilogue kernel.
//
// Axes fall into batch (both operands, kept), m (only the left operand), n (only the right), k
// (summed). The operands are swapped when that puts the result's last axis into n, so that tiles are
// written along memory; fma(a, b, c) = fma(b, a, c), so no bit changes. Neighbouring axes that walk as one in
// all matrices fold into one dimension.
#include "codegen/lower_value.h"
#include <string.h>

typedef struct {
    View view;
    const Type *type;
    LowerRef ref;
} GemmOperand;

typedef struct {
    AxisId axis[MAX_AXES];
    SnDim dim[MAX_AXES];
    uint32_t n;
} RoleDims;

static bool matrix_of(Lowering *l, NodeId n, GemmOperand *out) {
    if (!ir_view(l->m, l->f, n, &out->view)) return false;
    if (node_at(l->f, out->view.base)->op != OP_arg) return false;
    out->type = type_of(l->m, l->f, n);
    out->ref = (LowerRef){.result = false,
                          .index = (uint32_t)attr_of(l->m, l->f, out->view.base)->arg.index};
    return true;
}

static int64_t stride_in(const GemmOperand *x, AxisId a) {
    int k = type_find(x->type, a);
    return k < 0 ? 0 : x->view.stride[k];
}

static void add_dim(RoleDims *d, AxisId axis, SnDim dim) {
    d->axis[d->n] = axis;
    d->dim[d->n++] = dim;
}

// Folds neighbours; false when more than SN_GEMM_DIMS stay.
static bool fold_dims(const RoleDims *in, SnDim out[SN_GEMM_DIMS], uint32_t *count) {
    SnDim d[MAX_AXES] = {{1, 0, 0, 0}};
    uint32_t n = sn_fold(in->dim, in->n, d);
    if (n == 0) d[n++] = in->n == 1 ? in->dim[0] : (SnDim){1, 0, 0, 0};
    if (n > SN_GEMM_DIMS) return false;
    memcpy(out, d, n * sizeof *d);
    *count = n;
    return true;
}

static NodeId contraction_of(const Func *f) {
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_contract) return n;
    unreachable(f->nodes.n);
}

static bool plain(const Func *f, NodeId contract) {
    return f->results.n == 1 && f->results.at[0].node == contract;
}

// Rows of the epilogue are batch x m in this order, its lanes are n.
static bool build_epilogue(Lowering *l, NodeId contract, const RoleDims *batch, const RoleDims *m,
                           const RoleDims *n, bool one_lane) {
    Kernel *k = l->k;
    uint32_t outer = 0;
    const RoleDims *rows[2] = {batch, m};
    KIndex e;
    for (uint32_t part = 0; part < 2; part++)
        for (uint32_t i = 0; i < rows[part]->n; i++, outer++) {
            memset(&e, 0, sizeof e);
            e.op = NONE;
            e.stride[outer] = 1;
            k->extent[outer] = rows[part]->dim[i].extent;
            l->axes[outer] = rows[part]->axis[i];
            l->axis_expr[outer] = lower_expr(l, &e);
        }
    int64_t lanes = 1;
    uint32_t naxes = outer + (n->n ? n->n : 1);
    if (naxes > K_MAX_AXES) {
        l->failed = "more axes than an epilogue has";
        return false;
    }
    for (uint32_t i = 0; i < n->n; i++) lanes *= n->dim[i].extent;
    if (one_lane) {
        naxes = outer + 1;
        KOp o;
        memset(&o, 0, sizeof o);
        o.kind = KOP_index;
        o.to = o.elem = ELEM_i32;
        o.axis = outer;
        o.a = o.b = o.c = o.mask = o.index.op = NONE;
        KId v = lower_op(l, &o);
        for (uint32_t i = n->n; i-- > 0;) {
            memset(&e, 0, sizeof e);
            KId size = lower_int(l, n->dim[i].extent);
            e.op = i ? lower_scalar(l, OP_rem, ELEM_i32, ELEM_i32, v, size, NONE) : v;
            e.op_stride = 1;
            v = i ? lower_scalar(l, OP_div, ELEM_i32, ELEM_i32, v, size, NONE) : v;
            l->axes[outer + i] = n->axis[i];
            l->axis_expr[outer + i] = lower_expr(l, &e);
        }
        k->extent[outer] = lanes;
    } else {
        for (uint32_t i = 0; i < n->n; i++) {
            memset(&e, 0, sizeof e);
            e.op = NONE;
            e.stride[outer + i] = 1;
            k->extent[outer + i] = n->dim[i].extent;
            l->axes[outer + i] = n->axis[i];
            l->axis_expr[outer + i] = lower_expr(l, &e);
        }
        if (!n->n) k->extent[outer] = 1;
    }
    l->tile[0] = contract;
    for (uint32_t i = 0; i < l->f->results.n; i++) {
        NodeId r = l->f->results.at[i].node;
        const Type *t = type_of(l->m, l->f, r);
        PosId at = lower_identity(l, t);
        KStore st;
        memset(&st, 0, sizeof st);
        st.mask = NONE;
        st.value = lower_value(l, r, at, NONE);
        st.index = lower_index(l, t, at);
        st.arg = lower_arg(l, true, i, t, KARG_out);
        vec_push(l->a, &k->stores, st);
    }
    if (lower_collapse(k, naxes, outer, naxes) != 1) return false;
    k->outers = k->walk = lower_collapse(k, outer + 1, 0, outer);
    k->order = KORDER_tile;
    k->grain = 1;
    return true;
}

static bool take_accumulator(Lowering *l, NodeId contract, LowerGemm *out) {
    if (node_at(l->f, contract)->n < 3) return true;
    NodeId acc = operand(l->f, contract, 2);
    if (node_at(l->f, acc)->op != OP_arg) {
        l->failed = "an accumulator that is not in memory";
        return false;
    }
    uint32_t index = (uint32_t)attr_of(l->m, l->f, acc)->arg.index;
    lower_part(&out->parts, SN_GEMM_ACC, (LowerRef){.result = false, .index = index});
    out->gemm.acc_first = l->acc[index];
    return true;
}

bool lower_gemm(Lowering *l, bool one_lane, Lowered *out);
bool lower_gemm(Lowering *l, bool one_lane, Lowered *out) {
    NodeId contract = contraction_of(l->f);
    GemmOperand a, b;
    if (!matrix_of(l, operand(l->f, contract, 0), &a) ||
        !matrix_of(l, operand(l->f, contract, 1), &b)) {
        l->failed = "a contraction whose operand is not in memory";
        return false;
    }
    if (!sn_multiplies(a.type->elem) || !sn_multiplies(b.type->elem)) {
        l->failed = "a contraction of operands that are neither f32 nor bf16 nor f16";
        return false;
    }
    const Type *t = type_of(l->m, l->f, contract);
    bool swapped = t->n && type_find(b.type, t->axes[t->n - 1].axis) < 0;
    if (swapped) { // the last axis belongs to n
        GemmOperand swap = a;
        a = b;
        b = swap;
    }
    int64_t strides[MAX_AXES];
    type_strides(t, strides);
    RoleDims batch = {0}, m = {0}, n = {0}, k = {0};
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId x = t->axes[i].axis;
        bool in_a = type_find(a.type, x) >= 0, in_b = type_find(b.type, x) >= 0;
        SnDim d = {t->axes[i].size, stride_in(&a, x), stride_in(&b, x), strides[i]};
        add_dim(in_a && in_b ? &batch : in_a ? &m : &n, x, d);
    }
    const AxisList *summed = &attr_of(l->m, l->f, contract)->contract.axes;
    for (uint32_t i = 0; i < summed->n; i++) {
        AxisId x = summed->at[i];
        SnDim d = {a.type->axes[type_find(a.type, x)].size, stride_in(&a, x), stride_in(&b, x), 0};
        add_dim(&k, x, d);
    }
    LowerGemm *to = &out->gemm;
    SnGemm *g = &to->gemm;
    if (!fold_dims(&batch, g->batch, &g->nbatch) || !fold_dims(&m, g->m, &g->nm) ||
        !fold_dims(&n, g->n, &g->nn) || !fold_dims(&k, g->k, &g->nk)) {
        l->failed = "a contraction whose axes do not fold into four strides";
        return false;
    }
    g->base_a = a.view.offset;
    g->base_b = b.view.offset;
    g->elem_a = a.type->elem;
    g->elem_b = b.type->elem;
    g->tf32 = (uint32_t)attr_of(l->m, l->f, contract)->contract.tf32; // Tf32: the target decides
    out->kind = LOWER_gemm;
    to->a = a.ref;
    to->b = b.ref;
    if (!take_accumulator(l, contract, to)) return false;
    AxisList columns = {.n = n.n};
    for (uint32_t i = 0; i < n.n; i++) columns.at[i] = n.axis[i];
    to->call = lower_call(l, contract, &columns, swapped);
    if (plain(l->f, contract)) {
        lower_part(&to->parts, SN_GEMM_C, (LowerRef){.result = true, .index = 0});
        return true;
    }
    if (to->call.sums) return true; // no kernel on a tile sums rows
    if (!build_epilogue(l, contract, &batch, &m, &n, one_lane)) return false;
    out->kernel = l->k;
    return true;
}

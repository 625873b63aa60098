// Building nodes: the general form, the short forms, and copying a node into another function.
//
// Every node of a function is appended here, so operands precede users by construction and every
// type is what ir/infer.c says. O(1) per node but for the type rule.
#include "ir/build.h"
#include <string.h>

static NodeId append(Builder *b, Op op, AttrId attr, const NodeId *operands, uint32_t n,
                     TypeId type) {
    Func *f = b->f;
    Node node = {.op = (uint16_t)op,
                 .phase = (uint8_t)b->phase,
                 .clone = b->clone,
                 .n = (uint16_t)n,
                 .inst = b->inst,
                 .type = type,
                 .attr = attr,
                 .first = f->pool.n,
                 .tmpl = b->tmpl,
                 .name = b->name,
                 .loc = b->loc};
    NodeId id = f->nodes.n;
    for (uint32_t i = 0; i < n; i++) {
        CHECK(operands[i] < id, "%s: operand %%%u of node %%%u", op_info[op].name, operands[i], id);
        vec_push(b->m->arena, &f->pool, operands[i]);
    }
    vec_push(b->m->arena, &f->nodes, node);
    return id;
}

NodeId ir_node(Builder *b, Op op, const Attr *attr, const NodeId *operands, uint32_t n,
               TypeId given) {
    Module *m = b->m;
    TypeId types[MAX_OPERANDS];
    CHECK(n <= MAX_OPERANDS, "%u operands", n);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(operands[i] < b->f->nodes.n, "%s: operand %%%u does not exist", op_info[op].name,
              operands[i]);
        types[i] = node_at(b->f, operands[i])->type;
    }
    Text why = {.arena = m->arena};
    TypeId type = ir_infer(m, op, attr, types, n, given, &why);
    CHECK(type != NONE, "%s: %s", op_info[op].name, why.at ? why.at : "?");
    return append(b, op, attr ? attr_intern(m, attr) : 0, operands, n, type);
}

static const Type *type_in(const Builder *b, NodeId x) { return type_of(b->m, b->f, x); }

// ---- scalars

NodeId ir_unary(Builder *b, Op op, NodeId x) { return ir_node(b, op, NULL, &x, 1, NONE); }

NodeId ir_binary(Builder *b, Op op, NodeId x, NodeId y) {
    return ir_node(b, op, NULL, (NodeId[]){x, y}, 2, NONE);
}

NodeId ir_select(Builder *b, NodeId c, NodeId x, NodeId y) {
    return ir_node(b, OP_select, NULL, (NodeId[]){c, x, y}, 3, NONE);
}

NodeId ir_fma(Builder *b, NodeId x, NodeId y, NodeId z) {
    return ir_node(b, OP_fma, NULL, (NodeId[]){x, y, z}, 3, NONE);
}

NodeId ir_cast(Builder *b, NodeId x, Elem to) {
    if (type_in(b, x)->elem == to) return x;
    Attr a = {.kind = ATTR_cast, .cast = {to}};
    return ir_node(b, OP_cast, &a, &x, 1, NONE);
}

NodeId ir_bitcast(Builder *b, NodeId x, Elem to) {
    if (type_in(b, x)->elem == to) return x;
    Attr a = {.kind = ATTR_cast, .cast = {to}};
    return ir_node(b, OP_bitcast, &a, &x, 1, NONE);
}

// ---- leaves

NodeId ir_const(Builder *b, Elem elem, double value) {
    return ir_const_of(b, type_scalar(b->m, elem), value);
}

NodeId ir_const_of(Builder *b, TypeId type, double value) {
    Attr a = {.kind = ATTR_const, .constant = {value}};
    return ir_node(b, OP_const, &a, NULL, 0, type);
}

NodeId ir_iota(Builder *b, AxisId axis, int64_t size) {
    Attr a = {.kind = ATTR_iota, .iota = {axis}};
    Type t = {.elem = ELEM_i32, .n = 1, .axes = {{.axis = axis, .size = size}}};
    return ir_node(b, OP_iota, &a, NULL, 0, type_intern(b->m, &t));
}

NodeId ir_extent(Builder *b, AxisId axis) {
    Attr a = {.kind = ATTR_extent, .extent = {axis}};
    return ir_node(b, OP_extent, &a, NULL, 0, NONE);
}

NodeId ir_random(Builder *b, TypeId u32_type, uint64_t key, int word, bool fixed) {
    Attr a = {.kind = ATTR_random, .random = {(int64_t)key, word, fixed}};
    return ir_node(b, OP_random, &a, NULL, 0, u32_type);
}

NodeId ir_input(Builder *b, const char *name, TypeId type, AxisId range) {
    Attr a = {.kind = ATTR_input, .input = {sym(b->m->syms, name), range}};
    return ir_node(b, OP_input, &a, NULL, 0, type);
}

NodeId ir_state(Builder *b, StateId s) {
    Attr a = {.kind = ATTR_state, .state = {s}};
    return ir_node(b, OP_state, &a, NULL, 0, NONE);
}

NodeId ir_arg(Builder *b, int64_t index, TypeId type) {
    Attr a = {.kind = ATTR_arg, .arg = {index}};
    return ir_node(b, OP_arg, &a, NULL, 0, type);
}

NodeId ir_grad(Builder *b, NodeId loss, StateId wrt) {
    Attr a = {.kind = ATTR_grad, .grad = {wrt}};
    return ir_node(b, OP_grad, &a, &loss, 1, NONE);
}

// ---- views

NodeId ir_rename(Builder *b, NodeId x, AxisId from, AxisId to) {
    Attr a = {.kind = ATTR_rename, .rename = {from, to}};
    return ir_node(b, OP_rename, &a, &x, 1, NONE);
}

// The type of x with one axis replaced by others: what the views below ask for, since their sizes
// are not in the attributes.
static TypeId replaced(Builder *b, NodeId x, AxisId from, const AxisList *to,
                       const int64_t *sizes) {
    Type t = *type_in(b, x), r = {.elem = t.elem};
    CHECK(t.n + to->n <= MAX_AXES + 1u, "a view to more than %d axes", MAX_AXES);
    for (uint32_t i = 0; i < t.n; i++) {
        if (t.axes[i].axis != from) {
            CHECK(r.n < MAX_AXES, "a view to more than %d axes", MAX_AXES);
            r.axes[r.n++] = t.axes[i];
            continue;
        }
        for (uint32_t j = 0; j < to->n; j++) r.axes[r.n++] = (TypeAxis){to->at[j], sizes[j], {0}};
        if (to->n) // a split goes on outermost
            memcpy(r.axes[r.n - to->n].split, t.axes[i].split, sizeof t.axes[i].split);
    }
    memcpy(r.partial, t.partial, sizeof r.partial);
    return type_intern(b->m, &r);
}

NodeId ir_split(Builder *b, NodeId x, AxisId from, const AxisList *to, const int64_t *sizes) {
    Attr a = {.kind = ATTR_split};
    a.split.from = from;
    a.split.to = *to;
    return ir_node(b, OP_split, &a, &x, 1, replaced(b, x, from, to, sizes));
}

// x with the axes 'from' side by side in order, where the first of them stands.
static NodeId neighbours(Builder *b, NodeId x, const AxisList *from) {
    Type t = *type_in(b, x), r = t;
    r.n = 0;
    for (uint32_t i = 0; i < t.n; i++) {
        if (t.axes[i].axis == from->at[0])
            for (uint32_t j = 0; j < from->n; j++) {
                int at = type_find(&t, from->at[j]);
                CHECK(at >= 0, "merge of an axis that the operand lacks");
                r.axes[r.n++] = t.axes[at];
            }
        else if (!list_has(from, t.axes[i].axis))
            r.axes[r.n++] = t.axes[i];
    }
    TypeId order = type_intern(b->m, &r);
    return order == node_at(b->f, x)->type ? x : ir_copy(b, x, order);
}

NodeId ir_merge(Builder *b, NodeId x, const AxisList *from, AxisId to) {
    Attr a = {.kind = ATTR_merge};
    a.merge.from = *from;
    a.merge.to = to;
    x = neighbours(b, x, from);
    return ir_node(b, OP_merge, &a, &x, 1, NONE);
}

NodeId ir_slice(Builder *b, NodeId x, AxisId from, AxisId to, int64_t start, int64_t size) {
    Attr a = {.kind = ATTR_slice, .slice = {from, to, start}};
    TypeId t = replaced(b, x, from, &(AxisList){1, {to}}, &size);
    return ir_node(b, OP_slice, &a, &x, 1, t);
}

NodeId ir_pad(Builder *b, NodeId x, AxisId from, AxisId to, int64_t start, int64_t size,
              double value) {
    Attr a = {.kind = ATTR_pad, .pad = {from, to, start, value}};
    TypeId t = replaced(b, x, from, &(AxisList){1, {to}}, &size);
    return ir_node(b, OP_pad, &a, &x, 1, t);
}

NodeId ir_concat(Builder *b, const NodeId *xs, const AxisList *parts, AxisId to) {
    Attr a = {.kind = ATTR_concat};
    a.concat.from = *parts;
    a.concat.to = to;
    return ir_node(b, OP_concat, &a, xs, parts->n, NONE);
}

NodeId ir_expand(Builder *b, NodeId x, TypeId to) { return ir_node(b, OP_expand, NULL, &x, 1, to); }

// ---- folds, contractions, index

NodeId ir_reduce_by(Builder *b, ReduceKind kind, NodeId x, const AxisList *axes, FoldBy by,
                    AxisId part) {
    Attr a = {.kind = ATTR_reduce};
    a.reduce.kind = kind;
    a.reduce.axes = *axes;
    a.reduce.by = by;
    a.reduce.part = part;
    return ir_node(b, OP_reduce, &a, &x, 1, NONE);
}

NodeId ir_reduce(Builder *b, ReduceKind kind, NodeId x, const AxisList *axes) {
    const Type t = *type_in(b, x);
    AxisList suffix = {0}, rest = {0};
    uint32_t first = t.n; // the folded suffix starts here
    while (first > 0 && list_has(axes, t.axes[first - 1].axis)) first--;
    for (uint32_t i = first; i < t.n; i++) suffix.at[suffix.n++] = t.axes[i].axis;
    for (uint32_t i = 0; i < first; i++)
        if (list_has(axes, t.axes[i].axis)) rest.at[rest.n++] = t.axes[i].axis;
    CHECK(suffix.n + rest.n == axes->n, "reduce over an axis that the operand lacks");
    if (suffix.n) x = ir_reduce_by(b, kind, x, &suffix, FOLD_row, 0);
    if (rest.n) x = ir_reduce_by(b, kind, x, &rest, FOLD_col, 0);
    return x;
}

NodeId ir_contract(Builder *b, NodeId x, NodeId y, const AxisList *axes, NodeId acc) {
    Attr a = {.kind = ATTR_contract};
    a.contract.axes = *axes;
    return ir_node(b, OP_contract, &a, (NodeId[]){x, y, acc}, acc == NONE ? 2 : 3, NONE);
}

NodeId ir_gather(Builder *b, NodeId x, NodeId index, AxisId axis) {
    Attr a = {.kind = ATTR_gather, .gather = {axis}};
    return ir_node(b, OP_gather, &a, (NodeId[]){x, index}, 2, NONE);
}

NodeId ir_scatter_add(Builder *b, NodeId acc, NodeId index, NodeId x, AxisId axis) {
    Attr a = {.kind = ATTR_scatter_add, .scatter_add = {axis}};
    return ir_node(b, OP_scatter_add, &a, (NodeId[]){acc, index, x}, 3, NONE);
}

// ---- order

NodeId ir_stop(Builder *b, NodeId x) { return ir_node(b, OP_stop_gradient, NULL, &x, 1, NONE); }

NodeId ir_copy(Builder *b, NodeId x, TypeId order) {
    return ir_node(b, OP_copy, NULL, &x, 1, order);
}

// The state's own axis order is the one kept: a value in another order is copied into it.
NodeId ir_assign(Builder *b, StateId s, NodeId x) {
    CHECK(s < b->m->states.n, "assign to state %u", s);
    TypeId held = state_local(b->m, s);
    const Type *want = type_at(b->m, held), *have = type_in(b, x);
    bool same = want->n == have->n;
    for (uint32_t i = 0; same && i < want->n; i++) same = want->axes[i].axis == have->axes[i].axis;
    if (!same) x = ir_copy(b, x, held);
    Attr a = {.kind = ATTR_assign, .assign = {s}};
    return ir_node(b, OP_assign, &a, &x, 1, NONE);
}

void func_result(Module *m, Func *f, const char *name, NodeId n, ResultKind kind) {
    CHECK(n < f->nodes.n, "result '%s' of node %%%u", name, n);
    vec_push(m->arena, &f->results, ((Result){sym(m->syms, name), n, kind}));
}

// ---- copying

// The type of a copy whose operands may have changed: the rule's, in the old order where that still
// is one; for an op without a rule the wanted one.
static TypeId copied_type(Builder *b, const Node *n, AttrId record, const NodeId *operands,
                          uint32_t count, TypeId wanted) {
    const Attr *attr = attr_at(b->m, record);
    Op op = (Op)n->op;
    TypeId types[MAX_OPERANDS];
    for (uint32_t i = 0; i < count; i++) types[i] = node_at(b->f, operands[i])->type;
    Text why = {.arena = b->m->arena};
    TypeId given = op_info[op].type == TYPE_FREE ? wanted : NONE;
    TypeId found = ir_infer(b->m, op, attr, types, count, given, &why);
    CHECK(found != NONE, "copy of %s: %s", op_info[op].name, why.at ? why.at : "?");
    const Type *old = type_at(b->m, wanted);
    if (given != NONE || type_at(b->m, found)->n != old->n) return found;
    Type r = *type_at(b->m, found);
    for (uint32_t i = 0; i < old->n; i++) {
        int at = type_find(type_at(b->m, found), old->axes[i].axis);
        if (at < 0) return found;
        r.axes[i] = type_at(b->m, found)->axes[at];
    }
    TypeId ordered = ir_infer(b->m, op, attr, types, count, type_intern(b->m, &r), NULL);
    return ordered != NONE ? ordered : found;
}

// Operand i of a copy is there; whether its type is that of the old one.
static bool keeps_type(const Builder *b, const Func *from, NodeId n, uint32_t i, NodeId operand) {
    const Node *x = node_at(from, n);
    CHECK(operand < b->f->nodes.n, "copy of %s %%%u: operand %u is not copied", op_info[x->op].name,
          n, i);
    return i < x->n &&
           node_at(b->f, operand)->type == node_at(from, from->pool.at[x->first + i])->type;
}

static NodeId append_like(Builder *b, const Node *old, AttrId attr, const NodeId *operands,
                          uint32_t count, TypeId type) {
    NodeId id = append(b, (Op)old->op, attr, operands, count, type);
    Node *node = node_at(b->f, id);
    node->phase = old->phase;
    node->clone = old->clone;
    node->inst = old->inst;
    node->tmpl = old->tmpl;
    node->ordinal = old->ordinal;
    node->name = old->name;
    node->loc = old->loc;
    return id;
}

// While the operands' types are the old ones a copy has the old type without asking the rule: so it is for
// nearly every copy, and most of a pass is copying.
NodeId copy_node(Builder *b, const Func *from, NodeId n, const NodeId *map) {
    const Node old = *node_at(from, n);
    NodeId operands[MAX_OPERANDS];
    bool same = true;
    for (uint32_t i = 0; i < old.n; i++) {
        operands[i] = map[operand(from, n, i)];
        same &= keeps_type(b, from, n, i, operands[i]);
    }
    TypeId type = old.type;
    if (!same) type = copied_type(b, &old, old.attr, operands, old.n, type);
    return append_like(b, &old, old.attr, operands, old.n, type);
}

NodeId copy_resized(Builder *b, const Func *from, NodeId n, const NodeId *operands, uint32_t count,
                    Resize *r) {
    const Node old = *node_at(from, n);
    TypeId type = type_resized(b->m, old.type, r);
    AttrId attr = op_info[old.op].kind == OPK_REGION ? attr_resized(b->m, old.attr, r) : old.attr;
    bool same = type == old.type && count == old.n;
    for (uint32_t i = 0; i < count; i++) same &= keeps_type(b, from, n, i, operands[i]);
    if (!same) type = copied_type(b, &old, attr, operands, count, type);
    return append_like(b, &old, attr, operands, count, type);
}

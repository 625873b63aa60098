// What an axis is to one operand of a node: the one place where gradients of broadcasts,
// micro-batching, sharding, layout and fusion learn it.
//
//   EACH    both keep it: element by element along this axis     SUM  summed away, linear
//   MAX     folded away, not linear                              NEW  the result repeats along it
//   WHOLE   anything else: it cannot be cut without knowing the op (views of the axis itself, the
//           indexed axis, axes that a fold creates)              ABSENT  neither has it
//
// A rule answers for one op and has no state. O(axes).
#include "ir/ir.h"

typedef struct {
    const Module *m;
    const Func *f;
    NodeId node;
    uint32_t index; // of the operand
    AxisId axis;
    const Attr *attr;
    bool in, out; // operand and result have the axis
} Query;

static Role by_presence(const Query *q) {
    if (q->in) return q->out ? ROLE_EACH : ROLE_WHOLE;
    return q->out ? ROLE_NEW : ROLE_ABSENT;
}

// For ops where an axis that only the result has is no broadcast.
static Role no_broadcast(const Query *q) {
    Role r = by_presence(q);
    return r == ROLE_NEW ? ROLE_WHOLE : r;
}

static bool operand_has(const Query *q, uint32_t i) {
    return type_find(type_of(q->m, q->f, operand(q->f, q->node, i)), q->axis) >= 0;
}

static Role role_leaf(const Query *q) { unreachable(q->node); }
static Role role_input(const Query *q) { return role_leaf(q); }
static Role role_state(const Query *q) { return role_leaf(q); }
static Role role_const(const Query *q) { return role_leaf(q); }
static Role role_iota(const Query *q) { return role_leaf(q); }
static Role role_extent(const Query *q) { return role_leaf(q); }
static Role role_random(const Query *q) { return role_leaf(q); }
static Role role_arg(const Query *q) { return role_leaf(q); }

static Role role_grad(const Query *q) { return no_broadcast(q); }

// A view touches the axes it names and leaves the others alone.
static Role view(const Query *q, bool named) {
    if (named) return q->in || q->out ? ROLE_WHOLE : ROLE_ABSENT;
    return by_presence(q);
}

static Role role_rename(const Query *q) {
    return view(q, q->axis == q->attr->rename.from || q->axis == q->attr->rename.to);
}
static Role role_split(const Query *q) {
    return view(q, q->axis == q->attr->split.from || list_has(&q->attr->split.to, q->axis));
}
static Role role_merge(const Query *q) {
    return view(q, q->axis == q->attr->merge.to || list_has(&q->attr->merge.from, q->axis));
}
static Role role_slice(const Query *q) {
    return view(q, q->axis == q->attr->slice.from || q->axis == q->attr->slice.to);
}
static Role role_pad(const Query *q) {
    return view(q, q->axis == q->attr->pad.from || q->axis == q->attr->pad.to);
}
static Role role_concat(const Query *q) {
    return view(q, q->axis == q->attr->concat.to || list_has(&q->attr->concat.from, q->axis));
}
static Role role_expand(const Query *q) { return by_presence(q); }

static Role role_reduce(const Query *q) {
    if (list_has(&q->attr->reduce.axes, q->axis))
        return q->attr->reduce.kind == REDUCE_sum ? ROLE_SUM : ROLE_MAX;
    return no_broadcast(q);
}

static Role role_contract(const Query *q) {
    if (list_has(&q->attr->contract.axes, q->axis)) return q->index < 2 ? ROLE_SUM : ROLE_ABSENT;
    return by_presence(q);
}

// The index decides where in 'axis' to read, so of x all of it is needed; axes that only one of the
// two has are repeated for the other.
static Role role_gather(const Query *q) {
    if (q->axis == q->attr->gather.axis) return q->in ? ROLE_WHOLE : ROLE_ABSENT;
    return by_presence(q);
}

// What the index adds to the axes of acc is summed into it.
static Role role_scatter_add(const Query *q) {
    if (q->axis == q->attr->scatter_add.axis) return ROLE_WHOLE;
    if (q->out) return by_presence(q);
    if (q->index == 0) return ROLE_ABSENT;
    return operand_has(q, 1) ? ROLE_SUM : ROLE_ABSENT;
}

static Role role_stop_gradient(const Query *q) { return by_presence(q); }
static Role role_copy(const Query *q) { return by_presence(q); }
static Role role_assign(const Query *q) { return by_presence(q); }

// A group may do anything with its operands: whoever cares asks its region.
static Role role_group(const Query *q) { return q->in || q->out ? ROLE_WHOLE : ROLE_ABSENT; }
static Role role_part(const Query *q) { return role_group(q); }

static Role (*const roles[OP_COUNT])(const Query *) = {
#define SCALAR(name, ...) by_presence,
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(name, ...) role_##name,
#include "ir/ops.def"
#undef OPCODE
};

Role ir_role(const Module *m, const Func *f, NodeId n, uint32_t operand_index, AxisId a) {
    const Node *node = node_at(f, n);
    CHECK(operand_index < node->n, "operand %u of %s %%%u", operand_index, op_info[node->op].name,
          n);
    Query q = {m, f, n, operand_index, a, attr_at(m, node->attr), false, false};
    q.in = operand_has(&q, operand_index);
    q.out = type_find(type_at(m, node->type), a) >= 0;
    return roles[node->op](&q);
}

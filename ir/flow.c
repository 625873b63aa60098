// What becomes of an axis of an operand in a node: the one place where gradients of broadcasts,
// micro-batching, sharding, layout and fusion learn it.
//
//   EACH    both keep it: element by element along this axis     SUM  added up, linear
//   MOVED   it becomes axis `to` of the result, or a block of    MAX MIN  folded away, not linear
//           it: equal contiguous parts of the one make such      NEW  the result repeats along it
//           parts of the other                                   ABSENT  neither has it
//   WHOLE   anything else: it cannot be cut without knowing the op
//
// SUM, MAX and MIN say what the results of the parts make together. So the axis of x that a gather
// indexes is SUM: an index outside gives 0. The same axis of what a scatter adds to is MOVED to
// itself: whoever has a part adds what falls into it.
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

static AxisFlow as(const Query *q, Role role) {
    bool kept = role == ROLE_EACH || role == ROLE_NEW;
    return (AxisFlow){role, kept ? q->axis : 0};
}

static AxisFlow moved(AxisId to) { return (AxisFlow){ROLE_MOVED, to}; }

static AxisFlow by_presence(const Query *q) {
    if (q->in) return as(q, q->out ? ROLE_EACH : ROLE_WHOLE);
    return as(q, q->out ? ROLE_NEW : ROLE_ABSENT);
}

// For ops where an axis that only the result has is no broadcast.
static AxisFlow no_broadcast(const Query *q) {
    AxisFlow x = by_presence(q);
    return x.role == ROLE_NEW ? as(q, ROLE_WHOLE) : x;
}

static const Type *type_in(const Query *q, uint32_t i) {
    return type_of(q->m, q->f, operand(q->f, q->node, i));
}
static bool operand_has(const Query *q, uint32_t i) {
    return type_find(type_in(q, i), q->axis) >= 0;
}

static AxisFlow flow_leaf(const Query *q) { unreachable(q->node); }
static AxisFlow flow_input(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_state(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_const(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_iota(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_extent(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_random(const Query *q) { return flow_leaf(q); }
static AxisFlow flow_arg(const Query *q) { return flow_leaf(q); }

static AxisFlow flow_grad(const Query *q) { return no_broadcast(q); }

// A view touches the axes it names and leaves the others alone.
static AxisFlow view(const Query *q, bool named) {
    if (named) return as(q, q->in || q->out ? ROLE_WHOLE : ROLE_ABSENT);
    return by_presence(q);
}

static AxisFlow flow_rename(const Query *q) {
    AxisId from = q->attr->rename.from, to = q->attr->rename.to;
    return q->axis == from && q->in ? moved(to) : view(q, q->axis == to);
}
static AxisFlow flow_split(const Query *q) {
    const AxisList *to = &q->attr->split.to;
    bool from = q->axis == q->attr->split.from;
    return from && q->in && to->n ? moved(to->at[0]) : view(q, from || list_has(to, q->axis));
}
static AxisFlow flow_merge(const Query *q) {
    const AxisList *from = &q->attr->merge.from;
    AxisId to = q->attr->merge.to;
    bool outermost = q->in && from->at[0] == q->axis;
    return outermost ? moved(to) : view(q, q->axis == to || list_has(from, q->axis));
}

// A slice or a pad that leaves nothing away and adds nothing is a rename.
static AxisFlow cut(const Query *q, AxisId from, AxisId to) {
    const Type *x = type_in(q, 0), *y = type_of(q->m, q->f, q->node);
    bool same = q->axis == from && q->in &&
                x->axes[type_find(x, from)].size == y->axes[type_find(y, to)].size;
    return same ? moved(to) : view(q, q->axis == from || q->axis == to);
}
static AxisFlow flow_slice(const Query *q) {
    return cut(q, q->attr->slice.from, q->attr->slice.to);
}
static AxisFlow flow_pad(const Query *q) { return cut(q, q->attr->pad.from, q->attr->pad.to); }

static AxisFlow flow_concat(const Query *q) {
    return view(q, q->axis == q->attr->concat.to || list_has(&q->attr->concat.from, q->axis));
}
static AxisFlow flow_expand(const Query *q) { return by_presence(q); }

static AxisFlow folded(const Query *q) {
    switch ((ReduceKind)q->attr->reduce.kind) {
    case REDUCE_sum: return as(q, ROLE_SUM);
    case REDUCE_any:
    case REDUCE_max: return as(q, ROLE_MAX);
    case REDUCE_all:
    case REDUCE_min: return as(q, ROLE_MIN);
    case REDUCE_prod: return as(q, ROLE_WHOLE);
    case REDUCE_COUNT: break;
    }
    unreachable(q->node);
}
static AxisFlow flow_reduce(const Query *q) {
    return list_has(&q->attr->reduce.axes, q->axis) ? folded(q) : no_broadcast(q);
}

static AxisFlow flow_contract(const Query *q) {
    if (list_has(&q->attr->contract.axes, q->axis))
        return as(q, q->index < 2 ? ROLE_SUM : ROLE_ABSENT);
    return by_presence(q);
}

// Axes that only one of x and the index has are repeated for the other.
static AxisFlow flow_gather(const Query *q) {
    if (q->axis == q->attr->gather.axis) return as(q, q->in ? ROLE_SUM : ROLE_ABSENT);
    return by_presence(q);
}

// What the index adds to the axes of acc is summed into it.
static AxisFlow flow_scatter_add(const Query *q) {
    if (q->axis == q->attr->scatter_add.axis) return q->in ? moved(q->axis) : as(q, ROLE_WHOLE);
    if (q->out) return by_presence(q);
    if (q->index == 0) return as(q, ROLE_ABSENT);
    return as(q, operand_has(q, 1) ? ROLE_SUM : ROLE_ABSENT);
}

static AxisFlow flow_stop_gradient(const Query *q) { return by_presence(q); }
static AxisFlow flow_copy(const Query *q) { return by_presence(q); }
static AxisFlow flow_assign(const Query *q) { return by_presence(q); }
static AxisFlow flow_offload(const Query *q) { return by_presence(q); }
static AxisFlow flow_landed(const Query *q) { return by_presence(q); }
static AxisFlow flow_fetch(const Query *q) { return by_presence(q); }
static AxisFlow flow_ready(const Query *q) { return by_presence(q); }

// A collective moves axes between ranks, which no cut of one rank's value can follow.
static AxisFlow between_ranks(const Query *q) {
    return as(q, q->in || q->out ? ROLE_WHOLE : ROLE_ABSENT);
}
static AxisFlow flow_all_reduce(const Query *q) { return between_ranks(q); }
static AxisFlow flow_reduce_scatter(const Query *q) { return between_ranks(q); }
static AxisFlow flow_all_gather(const Query *q) { return between_ranks(q); }
static AxisFlow flow_all_to_all(const Query *q) { return between_ranks(q); }
static AxisFlow flow_cut(const Query *q) { return between_ranks(q); }
static AxisFlow flow_first(const Query *q) { return between_ranks(q); }

// A group may do anything with its operands: whoever cares asks its region.
static AxisFlow flow_group(const Query *q) {
    return as(q, q->in || q->out ? ROLE_WHOLE : ROLE_ABSENT);
}
static AxisFlow flow_part(const Query *q) { return flow_group(q); }

static AxisFlow (*const flows[OP_COUNT])(const Query *) = {
#define SCALAR(name, ...) by_presence,
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(name, ...) flow_##name,
#include "ir/ops.def"
#undef OPCODE
};

AxisFlow ir_axis_flow(const Module *m, const Func *f, NodeId n, uint32_t operand_index, AxisId a) {
    const Node *node = node_at(f, n);
    CHECK(operand_index < node->n, "operand %u of %s %%%u", operand_index, op_info[node->op].name,
          n);
    Query q = {m, f, n, operand_index, a, attr_at(m, node->attr), false, false};
    q.in = operand_has(&q, operand_index);
    q.out = type_find(type_at(m, node->type), a) >= 0;
    return flows[node->op](&q);
}

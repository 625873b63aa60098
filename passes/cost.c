// See cost.h. A roofline (Williams, Waterman, Patterson, "Roofline", 2009) over nominal rates.
#include "passes/cost.h"

double cost_flops(const Module *m, const Func *f, NodeId n) {
    if (node_at(f, n)->op == OP_group) {
        const Func *body = m->funcs.at[attr_of(m, f, n)->group.body];
        double sum = 0;
        for (NodeId k = 0; k < body->nodes.n; k++) sum += cost_flops(m, body, k);
        return sum;
    }
    if (node_at(f, n)->op != OP_contract) return 0;
    const AxisList *axes = &attr_of(m, f, n)->contract.axes;
    const Type *t = type_of(m, f, operand(f, n, 0));
    double flops = 2.0 * (double)type_count(type_of(m, f, n));
    for (uint32_t i = 0; i < axes->n; i++) flops *= (double)t->axes[type_find(t, axes->at[i])].size;
    return flops;
}

double cost_seconds(const Module *m, const Func *f, NodeId n, const Target *t) {
    double bytes = (double)type_bytes(type_of(m, f, n)), work = 0;
    if (node_at(f, n)->op != OP_group) return 0;
    const Func *body = m->funcs.at[attr_of(m, f, n)->group.body];
    for (uint32_t i = 0; i < node_at(f, n)->n; i++)
        bytes += (double)type_bytes(type_of(m, f, operand(f, n, i)));
    for (NodeId k = 0; k < body->nodes.n; k++) {
        uint32_t op = node_at(body, k)->op;
        work += cost_flops(m, body, k);
        if (op_is_scalar((Op)op))
            work += op_info[op].cost * (double)type_count(type_of(m, body, k));
    }
    double moved = bytes / t->bytes_per_second, computed = work / t->flops_per_second;
    return moved > computed ? moved : computed;
}

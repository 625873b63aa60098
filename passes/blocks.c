// States in blocks of 8 bits, as nodes; see blocks.h. Constant time per state, but for blocks_positive.
#include "passes/blocks.h"

// ---- never negative -----------------------------------------------------------------------------

static bool node_positive(const Module *m, const Func *f, NodeId n, const uint8_t *state,
                          const uint8_t *at) {
    const Node *x = node_at(f, n);
    const uint8_t a = x->n > 0 ? at[operand(f, n, 0)] : 0, b = x->n > 1 ? at[operand(f, n, 1)] : 0;
    bool square = x->n > 1 && operand(f, n, 0) == operand(f, n, 1);
    switch ((int)x->op) {
    case OP_const: return attr_of(m, f, n)->constant.value >= 0;
    case OP_state: return state[attr_of(m, f, n)->state.state];
    case OP_abs:
    case OP_sqrt:
    case OP_exp: return true;
    case OP_mul: return square || (a && b);
    case OP_add:
    case OP_div:
    case OP_min: return a && b;
    case OP_max: return a || b;
    case OP_fma: return (square || (a && b)) && at[operand(f, n, 2)];
    case OP_select: return b && at[operand(f, n, 2)];
    default: // what moves numbers
        return !op_is_scalar((Op)x->op) && x->n == 1 && op_info[x->op].reads >= READS_SAME &&
               op_info[x->op].reads <= READS_VIEW && a;
    }
}

// Assumed of all moments, and taken back from those that are assigned what does not follow.
uint8_t *blocks_positive(Arena *a, const Module *m) {
    uint8_t *state = NEW_ARRAY(a, uint8_t, m->states.n + 1);
    for (StateId s = 0; s < m->states.n; s++) state[s] = m->states.at[s].kind == STATE_moment;
    for (bool changed = true; changed;) {
        changed = false;
        for (FuncId i = 0; i < m->funcs.n; i++) {
            const Func *f = m->funcs.at[i];
            if (f->region) continue;
            uint8_t *at = NEW_ARRAY(a, uint8_t, f->nodes.n + 1);
            for (NodeId n = 0; n < f->nodes.n; n++) {
                at[n] = node_positive(m, f, n, state, at);
                if (node_at(f, n)->op != OP_assign || at[operand(f, n, 0)]) continue;
                StateId s = attr_of(m, f, n)->assign.state;
                changed |= state[s];
                state[s] = 0;
            }
        }
    }
    return state;
}

// ---- the state ----------------------------------------------------------------------------------

static AxisId axis_of(Arena *a, Module *m, const char *name, int64_t size) {
    const char *wanted = arena_printf(a, "%s%lld", name, (long long)size);
    AxisId x = axis_find(m, sym(m->syms, wanted));
    return x && m->axes.at[x].size == size ? x : axis_new(m, wanted, size);
}

Blocks blocks_new(Arena *a, Module *m, StateId s, bool positive) {
    const State of = m->states.at[s];
    int64_t n = type_count(type_at(m, of.type));
    Blocks k = {.type = of.type, .root = positive};
    k.flat = axis_of(a, m, "flat", n);
    k.block = axis_of(a, m, "block", n / BLOCK);
    k.lane = axis_of(a, m, "lane", BLOCK);
    Type t = {.elem = ELEM_i8,
              .n = 2,
              .axes = {{.axis = k.block, .size = n / BLOCK}, {.axis = k.lane, .size = BLOCK}}};
    m->states.at[s].type = type_intern(m, &t);
    m->states.at[s].n_batch = 0;
    m->states.at[s].n_in = 1;
    t = (Type){.elem = ELEM_f32, .n = 1, .axes = {{.axis = k.block, .size = n / BLOCK}}};
    const char *path = arena_printf(a, "%s.scale", sym_str(m->syms, of.path));
    for (uint32_t i = 2; state_find(m, sym(m->syms, path)) != NONE; i++)
        path = arena_printf(a, "%s.scale.%u", sym_str(m->syms, of.path), i);
    k.scale = state_new(m, path, type_intern(m, &t), (StateKind)of.kind, of.loc);
    m->states.at[k.scale].of = of.of;
    m->states.at[k.scale].n_in = 1;
    return k;
}

// ---- nodes --------------------------------------------------------------------------------------

static AxisList axes_of(const Type *t) {
    AxisList l = {.n = t->n};
    for (uint32_t i = 0; i < t->n; i++) l.at[i] = t->axes[i].axis;
    return l;
}

NodeId blocks_read(Builder *b, const Blocks *k, StateId s) {
    const Type t = *type_at(b->m, k->type);
    const AxisList from = {2, {k->block, k->lane}}, to = axes_of(&t);
    int64_t sizes[MAX_AXES];
    for (uint32_t i = 0; i < t.n; i++) sizes[i] = t.axes[i].size;
    NodeId x = ir_cast(b, ir_state(b, s), ELEM_f32);
    x = ir_binary(b, OP_mul, x, ir_state(b, k->scale));
    if (k->root) x = ir_binary(b, OP_mul, x, x);
    x = ir_merge(b, x, &from, t.n == 1 ? to.at[0] : k->flat);
    return t.n == 1 ? x : ir_split(b, x, k->flat, &to, sizes);
}

// Its numbers, block by block.
static NodeId in_blocks(Builder *b, const Blocks *k, NodeId x) {
    const Type *t = type_at(b->m, k->type);
    const AxisList from = axes_of(t), to = {2, {k->block, k->lane}};
    const int64_t sizes[] = {b->m->axes.at[k->block].size, BLOCK};
    AxisId flat = t->n == 1 ? from.at[0] : k->flat;
    if (t->n > 1) x = ir_merge(b, x, &from, flat);
    return ir_split(b, x, flat, &to, sizes);
}

// From 0 to below 1.
static NodeId draw(Builder *b, NodeId like, uint64_t key) {
    Type t = *type_of(b->m, b->f, like);
    t.elem = ELEM_u32;
    NodeId bits = ir_random(b, type_intern(b->m, &t), key, 0, false);
    bits = ir_binary(b, OP_shr, bits, ir_const(b, ELEM_u32, 8));
    return ir_binary(b, OP_mul, ir_cast(b, bits, ELEM_f32), ir_const(b, ELEM_f32, 0x1p-24));
}

// Below the least magnitude that has an inverse in f32 a block is 0; NaN is above it.
NodeId blocks_assign(Builder *b, const Blocks *k, StateId s, NodeId x, NodeId ok, uint64_t key,
                     bool chance) {
    enum { MOST = 127 };
    NodeId zero = ir_const(b, ELEM_f32, 0), most = ir_const(b, ELEM_f32, MOST);
    x = in_blocks(b, k, x);
    if (k->root) x = ir_unary(b, OP_sqrt, x);
    NodeId top = ir_reduce(b, REDUCE_max, ir_unary(b, OP_abs, x), &(AxisList){1, {k->lane}});
    NodeId none = ir_binary(b, OP_le, top, ir_const(b, ELEM_f32, 1e-36));
    NodeId inverse = ir_select(b, none, zero, ir_binary(b, OP_div, most, top));
    NodeId scale = ir_select(b, none, zero, ir_binary(b, OP_div, top, most));
    NodeId add = chance ? draw(b, x, key) : ir_const(b, ELEM_f32, 0.5);
    NodeId y = ir_binary(b, OP_mul, x, inverse);
    NodeId least = k->root
                       ? ir_select(b, ir_binary(b, OP_lt, zero, y), ir_const(b, ELEM_f32, 1), zero)
                       : ir_const(b, ELEM_f32, -MOST);
    y = ir_unary(b, OP_floor, ir_binary(b, OP_add, y, add));
    y = ir_binary(b, OP_max, ir_binary(b, OP_min, y, most), least);
    if (ok != NONE) {
        y = ir_select(b, ok, y, ir_cast(b, ir_state(b, s), ELEM_f32));
        scale = ir_select(b, ok, scale, ir_state(b, k->scale));
    }
    ir_assign(b, k->scale, scale);
    return ir_assign(b, s, ir_cast(b, y, ELEM_i8));
}

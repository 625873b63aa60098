// Random draws and initial values.
//
// A draw is a function of its key, the step, and the element's canonical index (op random): it
// knows nothing of layout, micro-batches or threads. The key is the hash of a path: of the
// parameter in an initial value, of the block and the number of the draw in it elsewhere. From 32
// bits w come
//   uniform  (w >> 8) * 2^-24                                   in [0, 1), 24 bits, exact in f32
//   normal   sqrt(-2 log u1) * cos(2 pi u2),  u1 = ((w0 >> 8) + 1) * 2^-24 in (0, 1]   (Box, Muller
//   1958)
//
// A function that is called in an initial value and whose first argument is a map, w[..b: ..i -> ..o], is given
// the parameter there, so that it knows what is in and what is out: it may ask for extents, not for values.
//
// Initial values are elaborated into the function 'init', where a parameter named in an expression
// stands for its own first value.
#include "frontend/elab.h"
#include <string.h>

static const double step24 = 1.0 / 16777216.0;

// The upper 24 bits of word 'word' as a whole real number.
static NodeId bits24(Elab *cx, TypeId type, uint64_t key, int word) {
    NodeId w = ir_random(cx->b, type, key, word, cx->at.initial != NULL);
    NodeId high = ir_binary(cx->b, OP_shr, w, ir_const(cx->b, ELEM_u32, 8));
    return ir_cast(cx->b, high, ELEM_f32);
}

static NodeId times(Elab *cx, NodeId x, double k) {
    return ir_binary(cx->b, OP_mul, x, ir_const(cx->b, ELEM_f32, k));
}

NodeId random_uniform(Elab *cx, TypeId type, uint64_t key) {
    return times(cx, bits24(cx, type, key, 0), step24);
}

NodeId random_normal(Elab *cx, TypeId type, uint64_t key) {
    NodeId one = ir_const(cx->b, ELEM_f32, 1);
    NodeId u1 = times(cx, ir_binary(cx->b, OP_add, bits24(cx, type, key, 0), one), step24);
    NodeId radius = ir_unary(cx->b, OP_sqrt, times(cx, ir_unary(cx->b, OP_log, u1), -2));
    NodeId angle = times(cx, bits24(cx, type, key, 1), step24 * 6.283185307179586);
    return ir_binary(cx->b, OP_mul, radius, ir_unary(cx->b, OP_cos, angle));
}

static uint64_t draw_key(Elab *cx) {
    Initial *in = cx->at.initial;
    if (in) return in->draws++ ? hash_u64(in->key, in->draws) : in->key;
    const char *path = str(cx, cx->at.path);
    bool fresh;
    uint32_t *count = map_slot(&cx->draws, hash_bytes(HASH_SEED, path, strlen(path)), &fresh);
    const char *text = arena_printf(cx->arena, "%s#%u", path, (*count)++);
    return hash_bytes(HASH_SEED, text, strlen(text));
}

// The sample axis first, so that the canonical indices of one micro-batch are neighbours.
static TypeId draw_type(Elab *cx, const AxisList *axes) {
    AxisList order = {0};
    if (cx->sample && list_has(axes, cx->sample)) list_add(&order, cx->sample);
    for (uint32_t i = 0; i < axes->n; i++)
        if (!list_has(&order, axes->at[i])) list_add(&order, axes->at[i]);
    return type_make(cx, ELEM_u32, &order);
}

bool random_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                     Value *out) {
    bool normal = strcmp(name, "normal") == 0;
    if (!normal && strcmp(name, "uniform") != 0) return false;
    *out = value_error();
    AxisList axes = {0};
    if (!axes_resolve(cx, &e->call.axes, &axes) || !axes_fit(cx, e->loc, &axes)) return true;
    if (n > (normal ? 1u : 0u)) {
        *out = elab_error(cx, e->loc,
                          normal ? "'normal' takes the standard deviation only, found %u values"
                                 : "'uniform' takes no value, found %u",
                          n);
        return true;
    }
    if (!e->call.has_axes && !cx->at.initial) {
        *out = elab_error(
            cx, e->loc,
            "'%s' needs its axes in [ ]: only in an initial value it takes the parameter's", name);
        return true;
    }
    TypeId type = e->call.has_axes ? draw_type(cx, &axes) : cx->at.initial->type;
    Value v = value_node(cx, normal ? random_normal(cx, type, draw_key(cx))
                                    : random_uniform(cx, type, draw_key(cx)));
    if (!normal) v = value_ranged(v, 0, 1);
    if (!normal || !n) return *out = v, true;
    v = value_real(cx, v, e->loc);
    Value deviation = value_real(cx, args[0], e->loc);
    *out = math_binary(cx, e, BIN_mul, v, deviation);
    return true;
}

Value initial_map(Elab *cx) {
    Initial *in = cx->at.initial;
    if (in->map == NONE) in->map = ir_state(cx->b, in->state);
    return value_node(cx, in->map);
}

// What a function of an initial value was given for its arrow holds nothing yet.
static bool reads_map(const Elab *cx, const Value *v) {
    const Func *f = cx->b->f;
    NodeId map = cx->at.initial->map;
    if (map == NONE) return false;
    if (v->kind == V_TENSOR && v->node == map) return true;
    for (NodeId n = map + 1; n < f->nodes.n; n++)
        for (uint32_t i = 0; i < node_at(f, n)->n; i++)
            if (operand(f, n, i) == map) return true;
    return false;
}

// Evaluates 'init' in the scope of the declaration, with the function 'init' as the one being
// built.
void init_state(Elab *cx, StateId s, const Expr *init, Scope *scope) {
    ElabContext before = cx->at, inside = before;
    const State *state = &cx->m->states.at[s];
    const char *path = str(cx, state->path);
    Type bits = *type_at(cx->m, state->type), t = bits;
    bits.elem = ELEM_u32;
    Initial initial = {.state = s,
                       .type = type_intern(cx->m, &bits),
                       .key = hash_bytes(HASH_SEED, path, strlen(path)),
                       .frame = before.frame,
                       .map = NONE};
    inside.scope = scope;
    inside.name = state->path;
    inside.initial = &initial;
    stand_at(cx, inside);
    Value v = eval(cx, init);
    if (v.kind != V_ERROR && reads_map(cx, &v))
        v = elab_error(cx, init->loc, "the initial value of '%s' is computed from '%s' itself",
                       path, path);
    enter(cx, init);
    AxisList have = axes_of(cx, &v), want = {0};
    for (uint32_t i = 0; i < t.n; i++) list_add(&want, t.axes[i].axis);
    bool good = v.kind != V_ERROR;
    for (uint32_t i = 0; good && i < have.n; i++)
        if (!list_has(&want, have.at[i])) {
            elab_error(cx, init->loc, "the initial value has axis '%s', which '%s' does not have",
                       axis_name(cx, have.at[i]), path);
            good = false;
        }
    if (good) v = value_expand(cx, v, &want, ELEM_f32, init->loc);
    if (good && v.kind != V_ERROR) {
        cx->states.at[s].init = v.node;
        ir_assign(cx->b, s, v.node);
    }
    stand_at(cx, before);
}

// Loss scaling: derivatives of f16 vanish below 2^-24 and overflow above 65504, so they are taken of the loss
// times a scale, and divided by it again (Micikevicius et al. 2018).
//
//   g     = d (loss * scale) / d w          summed over the micro-batches as they are
//   g     = g * (1 / scale)                 then norm, clipping, optimizers; no bit of a normal g changes when
//                                           the scale is a power of two
//   good  = isfinite(loss) and isfinite(norm)
//   ok    = good and the rates are finite
//   steps = ok ? steps + 1 : steps          'step' of an optimizer is steps + 1: those that were taken
//
// and, where the scale is dynamic:
//
//   scale' = good ? (run + 1 == every ? larger(scale) : scale)
//                 : (held - 1 <= 0 ? max(scale * backoff, least) : scale)
//   run'   = good ? (run + 1 == every ? 0 : run + 1) : 0
//   held'  = good ? (run + 1 == every ? hysteresis : held) : held - 1
//   larger(s) = isfinite(s * growth) ? s * growth : s
//
// With hysteresis 1 and least 0 that is PyTorch's GradScaler, else Megatron's DynamicGradScaler. Those ask each
// gradient; the norm of all is finite when each is, unless their squares add up beyond f32, which is as much of
// an end, and it needs no second reading of them. A step that is not ok changes none of the other states. The
// rates are the user's: where they are no numbers, the scale changes no more than anything else.
#include "frontend/elab.h"
#include <string.h>

static void stand_for(Elab *cx, Builder *b, const char *name) {
    b->name = sym(cx->syms, name);
    b->loc = cx->scale.plan.loc;
    b->phase = PHASE_U;
    b->tmpl = 0;
    b->inst = (Inst){0};
}

// A state of the run, with its first value.
static StateId run_state(Elab *cx, const char *path, Elem elem, double first) {
    bool fresh;
    uint32_t *slot = map_slot(&cx->state_ids, sym(cx->syms, path), &fresh);
    if (!fresh) {
        elab_error(cx, cx->states.at[*slot].use, "'%s' is a name of the loss scale's", path);
        return NONE;
    }
    TypeId type = type_scalar(cx->m, elem);
    *slot = state_new(cx->m, path, type, STATE_counter, cx->scale.plan.loc);
    while (cx->states.n <= *slot) vec_push(cx->arena, &cx->states, ((StateInfo){.init = NONE}));
    stand_for(cx, &cx->init_b, path);
    ir_assign(&cx->init_b, *slot, ir_const(&cx->init_b, elem, first));
    return *slot;
}

bool scale_begin(Elab *cx) {
    LossScaling *s = &cx->scale;
    s->on = plan_loss_scale(cx, &s->plan);
    if (!s->on) return true;
    s->steps = run_state(cx, "loss_scale.steps", ELEM_i32, 0);
    if (s->steps == NONE) return false;
    if (!s->plan.moves) {
        stand_for(cx, cx->b, "loss_scale");
        s->now = ir_const(cx->b, ELEM_f32, s->plan.init);
        return true;
    }
    s->state = run_state(cx, "loss_scale", ELEM_f32, s->plan.init);
    s->run = run_state(cx, "loss_scale.run", ELEM_i32, 0);
    s->held = run_state(cx, "loss_scale.held", ELEM_i32, s->plan.hysteresis);
    if (s->state == NONE || s->run == NONE || s->held == NONE) return false;
    stand_for(cx, cx->b, "loss_scale");
    s->now = ir_state(cx->b, s->state);
    return true;
}

NodeId scale_loss(Elab *cx, NodeId loss) {
    if (!cx->scale.on) return loss;
    stand_for(cx, cx->b, "loss");
    cx->b->phase = PHASE_F;
    return ir_binary(cx->b, OP_mul, loss, cx->scale.now);
}

NodeId scale_inverse(Elab *cx) {
    stand_for(cx, cx->b, "loss_scale");
    return ir_binary(cx->b, OP_div, ir_const(cx->b, ELEM_f32, 1), cx->scale.now);
}

Value scale_step(Elab *cx) {
    stand_for(cx, cx->b, "loss_scale.steps");
    NodeId one = ir_const(cx->b, ELEM_i32, 1), done = ir_state(cx->b, cx->scale.steps);
    return value_ranged(value_node(cx, ir_binary(cx->b, OP_add, done, one)), 1, MAX_EXTENT);
}

static void keep(Elab *cx, StateId s, NodeId ok, NodeId n) {
    ir_assign(cx->b, s, ir_select(cx->b, ok, n, ir_state(cx->b, s)));
}

void scale_end(Elab *cx, NodeId good, NodeId rates) {
    const LossScaling *s = &cx->scale;
    Builder *b = cx->b;
    if (!s->on) return;
    stand_for(cx, b, "loss_scale.steps");
    NodeId one = ir_const(b, ELEM_i32, 1);
    keep(cx, s->steps, cx->ok, ir_binary(b, OP_add, ir_state(b, s->steps), one));
    stand_for(cx, b, "loss_scale");
    if (!s->plan.moves) {
        func_result(cx->m, b->f, "loss_scale", s->now, RESULT_metric);
        return;
    }
    NodeId held = ir_state(b, s->held), run = ir_binary(b, OP_add, ir_state(b, s->run), one);
    NodeId full = ir_binary(b, OP_eq, run, ir_const(b, ELEM_i32, s->plan.every));
    NodeId larger = ir_binary(b, OP_mul, s->now, ir_const(b, ELEM_f32, s->plan.growth));
    NodeId smaller = ir_binary(b, OP_mul, s->now, ir_const(b, ELEM_f32, s->plan.backoff));
    NodeId left = ir_binary(b, OP_sub, held, one), zero = ir_const(b, ELEM_i32, 0);
    larger = ir_select(b, ir_unary(b, OP_isfinite, larger), larger, s->now);
    smaller = ir_binary(b, OP_max, smaller, ir_const(b, ELEM_f32, s->plan.least));
    NodeId up = ir_select(b, full, larger, s->now);
    NodeId down = ir_select(b, ir_binary(b, OP_le, left, zero), smaller, s->now);
    NodeId next = ir_select(b, good, up, down);
    next = ir_select(b, rates, next, s->now);
    func_result(cx->m, b->f, "loss_scale", next, RESULT_metric);
    ir_assign(b, s->state, next);
    stand_for(cx, b, "loss_scale.run");
    keep(cx, s->run, rates, ir_select(b, good, ir_select(b, full, zero, run), zero));
    stand_for(cx, b, "loss_scale.held");
    NodeId again = ir_select(b, full, ir_const(b, ELEM_i32, s->plan.hysteresis), held);
    keep(cx, s->held, rates, ir_select(b, good, again, left));
}

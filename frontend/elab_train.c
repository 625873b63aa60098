// The rest of the step after the model's body: total loss, gradients, clipping, schedule,
// optimizers.
//
//   g    = d loss / d w                              op grad, which autodiff replaces; with a loss scale
//                                                    elab_scale.c has what stands around it
//   norm = sqrt(sum of g^2 over all parameters)      added in the order of the states
//   ok   = isfinite(loss) and isfinite(norm) and isfinite(lr)   every rate, with its largest factor
//   g    = g * min(1, clip / (norm + 1e-6))          (Pascanu et al. 2013); with a 'clip' line
//   w    = optimizer(w, g, factor * lr, options)     a block of the language, once a parameter; the
//                                                    rate of the last 'lr' line that matches it
//   s    = select(ok, s, old s)                      every state: parameters, moments, the model's
//
// A step that is not ok changes no byte of any state; what happens then is the executable's affair.
// The numeric arguments of a schedule are scalars of the run (inputs "lr.peak", …; "lr.GROUP.peak", … of the
// line 'lr …: GROUP'), so that the executable can change them; the options of an optimizer are constants of
// the build.
#include "frontend/elab.h"
#include <math.h>
#include <string.h>

static bool covered_by(Elab *cx, const PlanLine *l, const char *path) {
    for (uint32_t i = 0; i < l->paths.n; i++)
        if (path_matches(cx, l->paths.at[i].text, path)) return true;
    return false;
}

// A name in a plan line that selects no parameter is a fault.
static void check_paths(Elab *cx, const PlanLine *l) {
    for (uint32_t i = 0; i < l->paths.n; i++) {
        bool found = false;
        for (StateId s = 0; s < cx->m->states.n && !found; s++)
            found = cx->m->states.at[s].kind == STATE_param &&
                    path_matches(cx, l->paths.at[i].text, str(cx, cx->m->states.at[s].path));
        if (!found)
            elab_error(cx, l->paths.at[i].loc, "'%s' matches no parameter",
                       str(cx, l->paths.at[i].text));
    }
}

static bool freeze_states(Elab *cx) {
    uint32_t errors = cx->diag->errors;
    for (uint32_t i = 0; i < cx->plan.freezes.n; i++) {
        check_paths(cx, cx->plan.freezes.at[i]);
        for (StateId s = 0; s < cx->m->states.n; s++)
            if (covered_by(cx, cx->plan.freezes.at[i], str(cx, cx->m->states.at[s].path)))
                cx->m->states.at[s].frozen = 1;
    }
    for (uint32_t i = 0; i < cx->plan.optimizers.n; i++)
        check_paths(cx, cx->plan.optimizers.at[i].line);
    for (uint32_t i = 0; i < cx->plan.rates.n; i++) check_paths(cx, cx->plan.rates.at[i]);
    return cx->diag->errors == errors;
}

static NodeId total_loss(Elab *cx) {
    NodeId sum = NONE;
    cx->b->name = sym(cx->syms, "loss");
    cx->b->loc = cx->model->name_loc;
    for (uint32_t i = 0; i < cx->losses.n; i++) {
        NodeId n = node_of(cx, &cx->losses.at[i], ELEM_f32, cx->model->name_loc);
        if (n == NONE) return NONE;
        sum = sum == NONE ? n : ir_binary(cx->b, OP_add, sum, n);
    }
    return sum;
}

static void result(Elab *cx, const char *name, NodeId n, ResultKind kind) {
    func_result(cx->m, cx->b->f, name, n, kind);
}

void train_results(Elab *cx) {
    bool outputs = cx->mode == MODE_predict || cx->mode == MODE_generate;
    if (!outputs) {
        NodeId loss = total_loss(cx);
        if (loss != NONE) result(cx, "loss", loss, RESULT_loss);
    }
    for (uint32_t i = 0; i < cx->yields.n; i++) {
        const Yield *y = &cx->yields.at[i];
        if ((y->kind == RESULT_output) != outputs) continue;
        NodeId n = node_of(cx, &y->value,
                           y->value.kind == V_NUM ? ELEM_f32 : elem_of(cx, &y->value), y->loc);
        if (n != NONE) result(cx, str(cx, y->name), n, (ResultKind)y->kind);
    }
}

// ---- places ---------------------------------------------------------------------------------------

static void at_state(Elab *cx, StateId s) {
    cx->b->name = cx->m->states.at[s].path;
    cx->b->loc = cx->m->states.at[s].loc;
    cx->b->tmpl = 0;
    cx->b->inst = cx->states.at[s].inst;
}

// What belongs to the whole step and to no state.
static void at_step(Elab *cx, const char *name, Loc loc) {
    cx->b->name = sym(cx->syms, name);
    cx->b->loc = loc;
    cx->b->tmpl = 0;
    cx->b->inst = (Inst){0};
}

// The step is ok while this scalar is a finite number.
static void require_finite(Elab *cx, NodeId scalar) {
    at_step(cx, "ok", (Loc){0});
    NodeId finite = ir_unary(cx->b, OP_isfinite, scalar);
    cx->ok = cx->ok == NONE ? finite : ir_binary(cx->b, OP_and, cx->ok, finite);
}

// ---- schedules ----------------------------------------------------------------------------------

// A rate of the plan: of all parameters, or of the group that its line's first path names.
typedef struct {
    const PlanLine *line;
    const char *name; // of its result; before those of its scalars
    Value value;
    bool taken;  // some parameter has it
    double most; // the largest factor that an optimizer line multiplies it by
} Rate;

const char *rate_name(Elab *cx, const PlanLine *l) {
    return l->has_paths ? arena_printf(cx->arena, "lr.%s", str(cx, l->paths.at[0].text)) : "lr";
}

static void run_scalar(Elab *cx, const char *name, double value) {
    vec_push(cx->arena, &cx->program->scalars, ((RunScalar){name, ELEM_f32, value}));
}

// Whether a schedule of this length is to be as long as the run when -D gives the run another length: one
// for all parameters is; others are when they are as long as the run, or as the first one, in the text.
static bool follows_run(Elab *cx, const Rate *r, double length) {
    double run = plan_written(cx, "steps"), first = cx->plan.length;
    return !r->line->has_paths || length == run || length == first || (run == 0 && first == 0);
}

// The length of a schedule: that of -D steps as well; where no line says how long the run is, the first
// schedule does.
static Value schedule_length(Elab *cx, const Rate *r, const Option *d, Value given, Loc at) {
    GivenSetting *steps = &cx->plan.set[SN_SET_steps];
    bool first = cx->plan.length == 0;
    const Option *run = plan_define(cx, sn_settings[SN_SET_steps].key);
    if (given.kind == V_NUM && !d && run && follows_run(cx, r, given.num)) d = run;
    if (given.kind == V_NUM && first) cx->plan.length = given.num;
    if (d) given = value_num(d->value, false);
    bool decides = (d && !r->line->has_paths) || !steps->text;
    if (given.kind == V_NUM && decides)
        *steps = (GivenSetting){number_text(cx, given.num), given.num, at};
    return given;
}

// One argument of a schedule as a scalar of the run: -D, then the plan, then the default.
static Value schedule_argument(Elab *cx, const Rate *r, const Arg *arg, Value given, Loc at) {
    const char *name = arena_printf(cx->arena, "%s.%s", r->name, str(cx, arg->name));
    const SnSetting *s = sn_setting_find(name);
    const Option *d = plan_define_number(cx, s, name);
    double x;
    if (value_is_absent(&given) && arg->init) given = eval(cx, arg->init);
    if (s == &sn_settings[SN_SET_lr_steps]) given = schedule_length(cx, r, d, given, at);
    if (d) given = value_num(d->value, false);
    if (given.kind != V_NUM) return given;
    if (!plan_takes(cx, s, name, at, &given, &x)) return value_error();
    run_scalar(cx, name, given.num);
    TypeId t = type_make(cx, ELEM_f32, &(AxisList){0});
    return value_node(cx, ir_input(cx->b, name, t, 0));
}

static const AstFunc *schedule_of(Elab *cx, const Expr *e, const CallArgList **options,
                                  CallArgList *constant) {
    const char *name = "constant";
    if (e->kind == E_call || e->kind == E_name) {
        name = str(cx, e->kind == E_call ? e->call.name : e->name.name);
        if (e->kind == E_call) *options = &e->call.args;
    } else {
        vec_push(cx->arena, constant, ((CallArg){.loc = e->loc, .value = (Expr *)e}));
        *options = constant;
    }
    const Binding *b =
        scope_find(cx->file, sym(cx->syms, arena_printf(cx->arena, "%s_lr", name)), NAME_func);
    if (!b) b = scope_find(cx->file, sym(cx->syms, name), NAME_func);
    if (b && b->func->kind == FUNC_fn && !b->func->axes.n) return b->func;
    const char *near = scope_suggest(
        cx, cx->file, sym(cx->syms, arena_printf(cx->arena, "%s_lr", name)), NAME_func);
    size_t n = near ? strlen(near) : 0;
    if (n > 3 && strcmp(near + n - 3, "_lr") == 0)
        elab_error(cx, e->loc, "unknown schedule '%s'; did you mean '%.*s'?", name, (int)(n - 3),
                   near);
    else
        elab_error(cx, e->loc, "unknown schedule '%s'", name);
    return NULL;
}

static Value learning_rate(Elab *cx, const Rate *r) {
    const Expr *e = r->line->items.at[0].value;
    CallArgList constant = {0};
    const CallArgList *options = &constant;
    const AstFunc *f = schedule_of(cx, e, &options, &constant);
    if (!f) return value_error();
    Value *values = NEW_ARRAY(cx->arena, Value, f->args.n + 1);
    Loc *locs = NEW_ARRAY(cx->arena, Loc, f->args.n + 1);
    for (uint32_t i = 0; i < f->args.n; i++) values[i] = value_absent(), locs[i] = e->loc;
    if (!call_place(cx, f, options, 0, values, locs)) return value_error();
    cx->b->name = sym(cx->syms, r->name);
    cx->b->loc = e->loc;
    for (uint32_t i = 0; i < f->args.n; i++)
        values[i] = schedule_argument(cx, r, &f->args.at[i], values[i], locs[i]);
    Value v = call_expand(cx, f, e->loc, &(AxisList){0}, false, values, locs, 0, false);
    v = value_real(cx, v, e->loc);
    if (v.kind == V_NUM) v = value_expand(cx, v, &(AxisList){0}, ELEM_f32, e->loc);
    AxisList axes = axes_of(cx, &v);
    return axes.n ? elab_error(cx, e->loc, "a rate has no axes, found %s", type_text(cx, &v)) : v;
}

static OptimizerRule *rule_of(Elab *cx, const char *path) {
    for (uint32_t i = cx->plan.optimizers.n; i-- > 0;) {
        OptimizerRule *r = &cx->plan.optimizers.at[i];
        if (!r->line->has_paths || covered_by(cx, r->line, path)) return r;
    }
    return NULL;
}

// The rate of a parameter: of several lines that match it the last counts.
static Rate *rate_of(Elab *cx, Rate *rates, const char *path) {
    for (uint32_t i = cx->plan.rates.n; i-- > 0;)
        if (!rates[i].line->has_paths || covered_by(cx, rates[i].line, path)) return &rates[i];
    return NULL;
}

// A line whose parameters all belong to later lines is a fault, but for one of all parameters, which may be
// there for what the others leave.
static bool line_taken(Elab *cx, const PlanLine *l, const PlanLine *last, bool taken,
                       const char *what) {
    bool all = !l->has_paths, dead = all ? !last->has_paths && last != l : true;
    if (taken || !dead) return true;
    if (all)
        elab_error(cx, l->loc, "no parameter has this %s: a later line is for all", what);
    else
        elab_error(cx, l->loc, "no parameter has this %s: later lines are for all of '%s'", what,
                   str(cx, l->paths.at[0].text));
    return false;
}

// Whether each line that says how parameters learn, and how fast, is that of some; reports.
static bool lines_taken(Elab *cx, Rate *rates) {
    bool good = true, *taken = NEW_ARRAY(cx->arena, bool, cx->plan.optimizers.n + 1);
    for (StateId s = 0; s < cx->m->states.n; s++) {
        const State *state = &cx->m->states.at[s];
        if (state->kind != STATE_param) continue;
        const char *path = str(cx, state->path);
        OptimizerRule *o = rule_of(cx, path);
        Rate *r = rate_of(cx, rates, path);
        if (o) taken[o - cx->plan.optimizers.at] = true;
        if (r) r->taken = true;
        if (r && o && !state->frozen) r->most = fmax(r->most, o->rate);
    }
    const PlanLine *last = NULL;
    for (uint32_t i = 0; i < cx->plan.optimizers.n; i++)
        if (!last || !cx->plan.optimizers.at[i].line->has_paths)
            last = cx->plan.optimizers.at[i].line;
    for (uint32_t i = 0; i < cx->plan.optimizers.n; i++)
        good &= line_taken(cx, cx->plan.optimizers.at[i].line, last, taken[i], "optimizer");
    for (uint32_t i = 0; i < cx->plan.rates.n; i++)
        good &= line_taken(cx, rates[i].line, rates[i].line, rates[i].taken, "rate");
    return good;
}

// The rate as the step reports and checks it: where it is finite and a factor takes it beyond f32, the product.
static NodeId reported_rate(Elab *cx, const Rate *r) {
    if (r->most <= 1) return r->value.node;
    NodeId most = ir_const(cx->b, ELEM_f32, r->most);
    NodeId product = ir_binary(cx->b, OP_mul, r->value.node, most);
    return ir_select(cx->b, ir_unary(cx->b, OP_isfinite, product), r->value.node, product);
}

// All rates of the plan, in the order of its lines; NULL, reported, when one is none. That of all parameters
// is computed first: its scalars come first, and its length is the run's where no line says that.
static Rate *all_rates(Elab *cx) {
    uint32_t n = cx->plan.rates.n;
    Rate *rates = NEW_ARRAY(cx->arena, Rate, n + 1);
    if (!n) {
        elab_error(cx, cx->plan.optimizers.at[0].line->loc,
                   "the plan has an optimizer but no 'lr' line");
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        const PlanLine *l = cx->plan.rates.at[i];
        rates[i] = (Rate){.line = l, .name = rate_name(cx, l)};
    }
    bool good = lines_taken(cx, rates);
    for (int groups = 0; groups < 2; groups++)
        for (uint32_t i = 0; i < n; i++) {
            if (rates[i].line->has_paths != groups) continue;
            rates[i].value = learning_rate(cx, &rates[i]);
            good &= rates[i].value.kind == V_TENSOR;
            if (rates[i].value.kind != V_TENSOR) continue;
            NodeId told = reported_rate(cx, &rates[i]);
            result(cx, rates[i].name, told, RESULT_metric);
            require_finite(cx, told);
        }
    return good ? rates : NULL;
}

// ---- gradients ----------------------------------------------------------------------------------

static NodeId square_sum(Elab *cx, NodeId g) {
    NodeId square = ir_binary(cx->b, OP_mul, g, g);
    const Type *t = type_of(cx->m, cx->b->f, square);
    AxisList all = {0};
    for (uint32_t i = 0; i < t->n; i++) list_add(&all, t->axes[i].axis);
    return all.n ? ir_reduce(cx->b, REDUCE_sum, square, &all) : square;
}

static void unscale_gradients(Elab *cx, NodeId *grads, const StateId *params, uint32_t n) {
    NodeId inverse = scale_inverse(cx);
    for (uint32_t i = 0; i < n; i++) {
        at_state(cx, params[i]);
        grads[i] = ir_binary(cx->b, OP_mul, grads[i], inverse);
    }
}

// The norm of all gradients together, a result of every step.
static NodeId gradient_norm(Elab *cx, const NodeId *grads, const StateId *params, uint32_t n) {
    NodeId sum = NONE;
    for (uint32_t i = 0; i < n; i++) {
        at_state(cx, params[i]);
        NodeId one = square_sum(cx, grads[i]);
        sum = sum == NONE ? one : ir_binary(cx->b, OP_add, sum, one);
    }
    const PlanLine *clip = plan_line(cx, "clip");
    at_step(cx, "grad_norm", clip ? clip->loc : (Loc){0});
    NodeId norm = ir_unary(cx->b, OP_sqrt, sum);
    result(cx, "grad_norm", norm, RESULT_metric);
    return norm;
}

// Scales all gradients so that their common norm is at most the scalar of the run 'clip'.
static void clip_gradients(Elab *cx, NodeId norm, NodeId *grads, const StateId *params,
                           uint32_t n) {
    Builder *b = cx->b;
    NodeId bound = ir_const(b, ELEM_f32, plan_number(cx, SN_SET_clip, 0)),
           tiny = ir_const(b, ELEM_f32, 1e-6);
    NodeId ratio = ir_binary(b, OP_div, bound, ir_binary(b, OP_add, norm, tiny));
    NodeId scale = ir_binary(b, OP_min, ir_const(b, ELEM_f32, 1), ratio);
    for (uint32_t i = 0; i < n; i++) {
        at_state(cx, params[i]);
        grads[i] = ir_binary(b, OP_mul, grads[i], scale);
    }
}

// The only way in which a step changes a state. The choice has the name of what it chooses.
static void change_state(Elab *cx, StateId s, NodeId n) {
    at_state(cx, s);
    cx->b->name = node_at(cx->b->f, n)->name;
    n = ir_select(cx->b, cx->ok, n, ir_state(cx->b, s));
    at_state(cx, s);
    ir_assign(cx->b, s, n);
}

// ---- optimizers ---------------------------------------------------------------------------------

static void keep_states(Elab *cx) {
    for (uint32_t k = 0; k < cx->changed.n; k++) {
        StateId s = cx->changed.at[k];
        StateInfo *i = &cx->states.at[s];
        at_state(cx, s);
        NodeId n = node_of(cx, &i->current, ELEM_f32, i->use);
        if (n != NONE) change_state(cx, s, n);
        i->changed = false;
    }
    cx->changed.n = 0;
}

// A number that is given to an optimizer is finite; an option of a block of std.sn has the range of its row,
// and is a number.
static bool option_good(Elab *cx, const SnSetting *s, const char *key, Loc at, const Value *v) {
    bool good = true, any = s == &sn_settings[SN_SET_optimizer];
    double x;
    if (v->kind == V_NUM || (!any && (v->kind == V_BOOL || v->kind == V_STRING)))
        return plan_takes(cx, s, key, at, v, &x);
    for (uint32_t i = 0; v->kind == V_TUPLE && i < v->n; i++)
        good &= option_good(cx, s, key, at, &v->items[i]);
    return good;
}

// An option that is true or false if nothing is said.
static bool is_flag(const Elab *cx, const Arg *a) {
    const char *name = a->init && a->init->kind == E_name ? str(cx, a->init->name.name) : "";
    return !strcmp(name, "true") || !strcmp(name, "false");
}

// The options of a rule as values: those of -D optimizer.NAME, else as written.
static bool rule_options(Elab *cx, const OptimizerRule *r, Value *values, Loc *locs) {
    ElabContext before = cx->at;
    cx->at.scope = cx->file;
    bool good = call_place(cx, r->func, r->options, 3, values, locs);
    bool std = cx->diag->files.at[r->func->name_loc.file].is_std;
    const SnSetting *any = &sn_settings[SN_SET_optimizer];
    cx->at = before;
    for (uint32_t i = 3; i < r->func->args.n && good; i++) {
        const char *key =
            arena_printf(cx->arena, "optimizer.%s", str(cx, r->func->args.at[i].name));
        const SnSetting *s = std ? sn_setting_find(key) : any;
        bool flag = is_flag(cx, &r->func->args.at[i]);
        Value word = flag ? plan_constant(cx, key) : value_absent();
        const Option *d = flag ? NULL : plan_define_number(cx, s, key);
        if (!value_is_absent(&word)) values[i] = word;
        if (d) values[i] = value_num(d->value, false);
        good = option_good(cx, s, key, locs[i], &values[i]);
    }
    return good;
}

static Value times_factor(Elab *cx, Value rate, double factor) {
    if (factor == 1) return rate;
    NodeId k = ir_const(cx->b, ELEM_f32, factor);
    return value_node(cx, ir_binary(cx->b, OP_mul, rate.node, k));
}

static bool update(Elab *cx, StateId s, NodeId g, Rate *rates) {
    const char *path = str(cx, cx->m->states.at[s].path);
    OptimizerRule *r = rule_of(cx, path);
    if (!r) {
        elab_error(cx, cx->m->states.at[s].loc, "no optimizer line covers '%s'", path);
        return false;
    }
    const Rate *rate = rate_of(cx, rates, path);
    if (!rate) {
        elab_error(cx, cx->m->states.at[s].loc, "no 'lr' line covers '%s'", path);
        return false;
    }
    Value *values = NEW_ARRAY(cx->arena, Value, r->func->args.n);
    Loc *locs = NEW_ARRAY(cx->arena, Loc, r->func->args.n);
    for (uint32_t i = 0; i < r->func->args.n; i++) values[i] = value_absent(), locs[i] = r->at;
    if (!rule_options(cx, r, values, locs)) return false;
    values[0] = cx->states.at[s].current;
    values[1] = value_node(cx, g);
    values[2] = times_factor(cx, rate->value, r->rate);
    ElabContext before = cx->at;
    cx->at.path = cx->at.base = cx->m->states.at[s].path;
    cx->at.context = cx->states.at[s].context;
    cx->b->inst = cx->states.at[s].inst;
    StateId first = cx->m->states.n;
    Value w = call_expand(cx, r->func, r->at, &(AxisList){0}, false, values, locs, 0, false);
    cx->at = before;
    cx->states.at[s].rule = r;
    cx->states.at[s].rate = rate->line;
    for (StateId k = first; k < cx->m->states.n; k++) cx->m->states.at[k].of = s;
    if (w.kind == V_ERROR) return false;
    AxisList have = axes_of(cx, &w), want = axes_of(cx, &values[0]);
    if (w.kind != V_TENSOR || !is_real(cx, &w) || !list_same(&have, &want)) {
        elab_error(cx, r->at, "'%s' is to give a parameter %s, found %s", str(cx, r->func->name),
                   axes_text(cx, &want), type_text(cx, &w));
        return false;
    }
    keep_states(cx);
    change_state(cx, s, w.node);
    return true;
}

static uint32_t trained(Elab *cx, StateId *params) {
    uint32_t n = 0;
    for (StateId s = 0; s < cx->m->states.n; s++) {
        const State *state = &cx->m->states.at[s];
        if (state->kind == STATE_param && !state->frozen && cx->states.at[s].seen == cx->serial)
            params[n++] = s;
    }
    return n;
}

static void update_all(Elab *cx, NodeId loss) {
    StateId *params = NEW_ARRAY(cx->arena, StateId, cx->m->states.n + 1);
    NodeId *grads = NEW_ARRAY(cx->arena, NodeId, cx->m->states.n + 1);
    uint32_t n = trained(cx, params);
    if (!n) return;
    if (cx->program->no_plan) return;
    if (!cx->plan.optimizers.n) {
        elab_error(cx, cx->model->name_loc, "the plan has no 'optimizer' line");
        return;
    }
    if (!scale_begin(cx)) return;
    loss = scale_loss(cx, loss);
    cx->b->phase = PHASE_W;
    for (uint32_t i = 0; i < n; i++) {
        at_state(cx, params[i]);
        grads[i] = ir_grad(cx->b, loss, params[i]);
    }
    cx->b->phase = PHASE_U;
    if (cx->scale.on) unscale_gradients(cx, grads, params, n);
    NodeId norm = gradient_norm(cx, grads, params, n);
    require_finite(cx, norm);
    NodeId good = cx->ok;
    if (plan_number(cx, SN_SET_clip, 0) > 0) clip_gradients(cx, norm, grads, params, n);
    cx->ok = NONE;
    Rate *rates = all_rates(cx);
    NodeId rates_ok = cx->ok;
    if (!rates) return;
    at_step(cx, "ok", (Loc){0});
    cx->ok = ir_binary(cx->b, OP_and, good, rates_ok);
    Value step = cx->step;
    if (cx->scale.on) cx->step = scale_step(cx);
    cx->optimizing = true;
    // The model's bodies are done: axes that they declared are now those of parameters only.
    for (AxisId a = 0; a < cx->axis_info.n; a++) cx->axis_info.at[a].depth = 0;
    bool updated = true;
    for (uint32_t i = 0; i < n && updated; i++) updated = update(cx, params[i], grads[i], rates);
    cx->optimizing = false;
    cx->step = step;
    if (updated) scale_end(cx, good, rates_ok);
}

void train_finish(Elab *cx) {
    if (!cx->losses.n) {
        elab_error(cx, cx->model->name_loc, "the model '%s' has no loss", str(cx, cx->model->name));
        return;
    }
    if (!freeze_states(cx)) return;
    train_results(cx);
    NodeId loss = cx->b->f->results.at[0].node;
    cx->ok = NONE;
    cx->b->phase = PHASE_U;
    require_finite(cx, loss);
    update_all(cx, loss);
    cx->b->phase = PHASE_U;
    keep_states(cx);
    if (!cx->diag->errors) warn_of_plan(cx);
}

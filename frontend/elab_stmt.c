// Statements: definitions, parameters and states, losses and outputs, repeat and if.
//
// A definition gives the nearest name of that spelling in the body a new value, or makes a new one.
// A repeat runs its body in a scope of its own per round; names from outside are carried and must
// keep their type, so that every round is the same computation. The branch of an 'if' that is not
// taken is not looked at; the other runs in the scope around it.
#include "frontend/elab.h"
#include <string.h>

static void exec(Elab *cx, const Stmt *s);

void exec_body(Elab *cx, const StmtList *body) {
    for (uint32_t i = 0; i < body->n && !cx->aborted; i++) {
        if (cx->at.frame->returned) return;
        exec(cx, body->at[i]);
    }
}

static const AstFunc *inside(const Elab *cx) { return cx->at.frame->func; }

// ---- parameters and states ----------------------------------------------------------------------

// The axes of a declaration in canonical order: each, in, out.
static bool declared_axes(Elab *cx, const Decl *d, AxisList *all, uint32_t *each, uint32_t *in) {
    AxisList part[3];
    *all = (AxisList){0};
    if (!axes_resolve(cx, &d->dims.each, &part[0]) || !axes_resolve(cx, &d->dims.in, &part[1]) ||
        !axes_resolve(cx, &d->dims.out, &part[2]))
        return false;
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t i = 0; i < part[g].n; i++) {
            AxisId a = part[g].at[i];
            if (list_has(all, a) || a == cx->sample) {
                elab_error(cx, d->dims.loc,
                           a == cx->sample
                               ? "'%s' may not have the sample axis '%s'"
                               : "'%s' has axis '%s' twice; a square matrix takes a second axis",
                           str(cx, d->name), axis_name(cx, a));
                return false;
            }
            if (list_add(all, a)) continue;
            elab_error(cx, d->dims.loc, "more than %d axes", MAX_AXES);
            return false;
        }
    *each = part[0].n, *in = part[1].n;
    return axes_fit(cx, d->dims.loc, all);
}

static bool may_own(Elab *cx, const Stmt *s, const Decl *d) {
    if (cx->at.initial) {
        elab_error(cx, d->loc, "an initial value owns nothing");
        return false;
    }
    if (inside(cx)->kind == FUNC_fn) {
        elab_error(cx, d->loc, "a 'fn' owns nothing: make '%s' a 'block'",
                   str(cx, inside(cx)->name));
        return false;
    }
    if (s->kind == S_state || !cx->optimizing) return true;
    elab_error(cx, d->loc, "an optimizer owns states, not parameters");
    return false;
}

static StateId new_state(Elab *cx, const Stmt *s, const Decl *d, Sym path, TypeId type) {
    StateKind kind = cx->optimizing ? STATE_moment : s->kind == S_param ? STATE_param : STATE_stat;
    StateId id = state_new(cx->m, str(cx, path), type, kind, user_loc(cx, d->name_loc));
    while (cx->states.n <= id) vec_push(cx->arena, &cx->states, ((StateInfo){.init = NONE}));
    return id;
}

static CallPath calls_here(Elab *cx) {
    CallPath p = {0};
    for (const Frame *f = cx->at.frame; f && f->up; f = f->up) p.n++;
    Loc *at = NEW_ARRAY(cx->arena, Loc, p.n + 1);
    uint32_t i = p.n;
    for (const Frame *f = cx->at.frame; f && f->up; f = f->up) at[--i] = f->call;
    p.at = at;
    return p;
}

static bool same_loc(Loc a, Loc b) {
    return a.file == b.file && a.start == b.start && a.end == b.end;
}

// The number of calls from the model on that two places have in common.
static uint32_t common_calls(const CallPath *a, const CallPath *b) {
    uint32_t n = 0;
    while (n < a->n && n < b->n && same_loc(a->at[n], b->at[n])) n++;
    return n;
}

// One error per use: the other names of the block would say the same again.
static bool path_told(Elab *cx, Loc here) {
    if (same_loc(here, cx->path_error)) return true;
    cx->path_error = here;
    return false;
}

static void declared_here(Elab *cx, const Decl *d) {
    elab_note(cx, d->name_loc, "'%s' is declared here", str(cx, d->name));
}

// A name that exists is the fault of the place where two ways to it part: two calls, two rounds, or two
// declarations in one body.
static void path_exists(Elab *cx, const Decl *d, Sym path, const StateInfo *first) {
    CallPath calls = calls_here(cx);
    uint32_t n = common_calls(&calls, &first->calls);
    if (n < calls.n && n < first->calls.n) {
        if (path_told(cx, calls.at[n])) return;
        elab_error(cx, calls.at[n],
                   "'%s' exists already: name this use with 'as', or both 'as shared'",
                   str(cx, path));
        elab_note(cx, first->calls.at[n], "the first use is here");
        declared_here(cx, d);
        return;
    }
    if (n < calls.n || n < first->calls.n || !same_loc(first->decl, d->name_loc)) {
        elab_error(cx, d->name_loc, "'%s' is declared twice", str(cx, path));
        elab_note(cx, first->decl, "the first is here");
        return;
    }
    const Round *r = cx->at.round;
    while (r && !r->repeats) r = r->up;
    Loc at = r ? r->loc : d->name_loc;
    if (path_told(cx, at)) return;
    elab_error(cx, at,
               "'%s' exists already, from an earlier round: rounds have parameters of their own by "
               "'repeat … as NAME', or one set by 'repeat … shared'",
               str(cx, path));
    declared_here(cx, d);
}

// The state of that path when the function has it already and may use it again; reports when not.
static bool reuse_state(Elab *cx, const Decl *d, Sym path, TypeId type, StateId id) {
    StateInfo *info = &cx->states.at[id];
    if (info->seen == cx->serial && !cx->at.share) {
        path_exists(cx, d, path, info);
        return false;
    }
    if (cx->m->states.at[id].type == type) return true;
    elab_error(cx, d->name_loc, "'%s' is shared with other axes", str(cx, path));
    elab_note(cx, info->use, "the first is here");
    return false;
}

Value state_value(Elab *cx, StateId s) {
    StateInfo *info = &cx->states.at[s];
    if (info->seen != cx->serial) {
        info->seen = cx->serial;
        info->changed = false;
        info->current = (Value){.kind = V_TENSOR, .home = cx->b->f, .node = ir_state(cx->b, s)};
    }
    return info->current;
}

static void declare_state(Elab *cx, const Stmt *s, const Decl *d) {
    AxisList all;
    uint32_t each, in;
    Binding *b = scope_add(cx, cx->at.scope, d->name, NAME_value, d->name_loc);
    b->value = value_error();
    if (!may_own(cx, s, d) || !value_name_free(cx, d->name, d->name_loc)) return;
    if (!declared_axes(cx, d, &all, &each, &in)) return;
    TypeId type = type_make(cx, ELEM_f32, &all);
    Sym path = path_join(cx, cx->at.path, str(cx, d->name));
    bool fresh;
    uint32_t *slot = map_slot(&cx->state_ids, path, &fresh);
    if (fresh) {
        if (cx->mode != MODE_step) {
            elab_error(cx, d->name_loc, "'%s' would exist in evaluation only", str(cx, path));
            return;
        }
        *slot = new_state(cx, s, d, path, type);
        State *state = &cx->m->states.at[*slot];
        state->n_batch = (uint16_t)each, state->n_in = (uint16_t)in;
        StateInfo *info = &cx->states.at[*slot];
        info->use = user_loc(cx, d->name_loc);
        info->decl = d->name_loc;
        info->calls = calls_here(cx);
        info->context = hash_u64(cx->at.context, ((uint64_t)d->loc.start << 32) | d->loc.end);
        info->inst = cx->b->inst;
        info->initial = d->init;
        init_state(cx, *slot, d->init, cx->at.scope);
    } else if (!reuse_state(cx, d, path, type, *slot)) {
        return;
    }
    StateId id = *map_slot(&cx->state_ids, path, &fresh);
    cx->b->name = path, cx->b->loc = user_loc(cx, d->name_loc), cx->b->tmpl = 0;
    b = scope_local(cx->at.scope, d->name, NAME_value); // init_state may have added names
    b->value = state_value(cx, id);
    b->state = id;
    b->is_state = s->kind == S_state;
}

// ---- definitions --------------------------------------------------------------------------------

static Binding *binding_in_body(Elab *cx, Sym name) {
    for (Scope *s = cx->at.scope; s && !s->is_file; s = s->parent) {
        Binding *b = scope_local(s, name, NAME_value);
        if (b) return b;
    }
    return NULL;
}

// A state keeps its declared axes; numbers fill them.
static Value state_assigned(Elab *cx, Binding *b, Value v, Loc at) {
    AxisList want = {0}, have = axes_of(cx, &v);
    const Type *t = type_at(cx->m, cx->m->states.at[b->state].type);
    for (uint32_t i = 0; i < t->n; i++) list_add(&want, t->axes[i].axis);
    if (have.n && !list_same(&have, &want)) {
        elab_error(cx, at, "state '%s' has axes %s, found %s", str(cx, b->name),
                   axes_text(cx, &want), type_text(cx, &v));
        elab_note(cx, b->loc, "'%s' is declared here", str(cx, b->name));
        axes_alike(cx, &have, &want);
        return value_error();
    }
    v = value_expand(cx, v, &want, ELEM_f32, at);
    if (v.kind != V_ERROR && cx->training) {
        StateInfo *info = &cx->states.at[b->state];
        if (!info->changed) vec_push(cx->arena, &cx->changed, b->state);
        info->current = v;
        info->changed = true;
    }
    return v;
}

static void define(Elab *cx, Sym name, Loc at, Value v) {
    Binding *b = binding_in_body(cx, name);
    if (!b && !value_name_free(cx, name, at)) v = value_error();
    if (!b) b = scope_add(cx, cx->at.scope, name, NAME_value, at);
    if (b->is_state && v.kind != V_ERROR) v = state_assigned(cx, b, v, at);
    b->value = v;
}

static Value checked_axes(Elab *cx, const AstTarget *t, Value v) {
    AxisList want, have = axes_of(cx, &v);
    if (v.kind == V_ERROR || !axes_resolve(cx, &t->axes, &want)) return value_error();
    if (v.kind == V_TENSOR && list_same(&have, &want)) return v;
    if (v.kind == V_TUPLE || v.kind == V_STRING || have.n) {
        elab_error(cx, t->loc, "'%s' is to have axes %s, found %s", str(cx, t->name),
                   axes_text(cx, &want), type_text(cx, &v));
        axes_alike(cx, &have, &want);
        return value_error();
    }
    return value_expand(cx, v, &want, fill_elem(cx, &v), t->loc);
}

static Collected *collected(Elab *cx, const AstTarget *t, AxisId axis) {
    Loop *l = cx->at.loop;
    for (uint32_t i = 0; i < l->collected.n; i++)
        if (l->collected.at[i].name == t->name) return &l->collected.at[i];
    int64_t n = extent_of(cx, axis);
    if (n > MAX_ROUNDS) return NULL;
    vec_push(cx->arena, &l->collected,
             ((Collected){t->name, t->name_loc, axis, NEW_ARRAY(cx->arena, Value, n), 0}));
    return &l->collected.at[l->collected.n - 1];
}

// y[n: t] = e
static void collect(Elab *cx, const AstTarget *t, Value v) {
    AxisId axis;
    int64_t at;
    if (!cx->at.loop) {
        elab_error(cx, t->loc, "collecting along an axis stands in a 'repeat'");
        return;
    }
    if (!axis_resolve(cx, &t->axis, &axis) || !eval_count(cx, t->index, "the round", &at) ||
        v.kind == V_ERROR)
        return;
    AxisList have = axes_of(cx, &v);
    Collected *c = collected(cx, t, axis);
    if (!c || c->axis != axis || at >= extent_of(cx, axis) || list_has(&have, axis) ||
        (v.kind != V_TENSOR && v.kind != V_NUM)) {
        elab_error(cx, t->loc, "cannot collect %s at round %lld of '%s'", type_text(cx, &v),
                   (long long)at, axis_name(cx, axis));
        return;
    }
    if (v.kind == V_NUM) v = value_expand(cx, v, &(AxisList){0}, fill_elem(cx, &v), t->loc);
    c->have += c->rounds[at].kind == V_ERROR;
    c->rounds[at] = v;
}

// A value given to '_', or each of a tuple: tuples are MAX_TUPLE deep at most.
static void drop(Elab *cx, const Value *v) {
    if (v->kind == V_TENSOR && v->home == cx->b->f)
        vec_push(cx->arena, &cx->dropped, ((Dropped){v->home, v->node}));
    for (uint32_t i = 0; v->kind == V_TUPLE && i < v->n; i++) drop(cx, &v->items[i]);
}

static void assign_target(Elab *cx, const AstTarget *t, Value v) {
    if (strcmp(str(cx, t->name), "_") == 0) {
        drop(cx, &v);
        return;
    }
    if (t->kind == TARGET_index) {
        collect(cx, t, v);
        return;
    }
    if (t->kind == TARGET_axes) v = checked_axes(cx, t, v);
    plan_name(cx, t->name, &v);
    define(cx, t->name, t->name_loc, v);
}

// Evaluates e with nodes named after the target.
static Value eval_named(Elab *cx, const Expr *e, Sym name) {
    ElabContext before = cx->at;
    if (name) cx->at.name = path_join(cx, cx->at.base, str(cx, name));
    Value v = eval(cx, e);
    cx->at = before;
    if (!value_is_absent(&v)) return v;
    return elab_error(cx, e->loc, "this has no value: the block returns nothing");
}

static void exec_assign(Elab *cx, const Stmt *s) {
    const TargetList *to = &s->assign.targets;
    Value v = eval_named(cx, s->assign.value, to->at[0].name);
    if (to->n == 1) {
        assign_target(cx, &to->at[0], v);
        return;
    }
    bool fits = v.kind == V_TUPLE && v.n == to->n;
    if (!fits && v.kind != V_ERROR)
        elab_error(cx, s->assign.value->loc, "%u names take a tuple of %u, found %s", to->n, to->n,
                   type_text(cx, &v));
    for (uint32_t i = 0; i < to->n; i++)
        assign_target(cx, &to->at[i], fits ? v.items[i] : value_error());
}

// ---- losses, metrics, outputs -------------------------------------------------------------------

// Results of every step and evaluation, and the other keys of a line of metrics.jsonl.
static bool is_reserved(const char *name) {
    const char *all[] = {"loss", "grad_norm", "lr",      "loss_scale",
                         "kind", "step",      "samples", "seconds"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(name, all[i]) == 0) return true;
    return strncmp(name, "lr.", 3) == 0; // of a group
}

static void yield(Elab *cx, const AstTarget *t, Value v, ResultKind kind) {
    Sym name = path_join(cx, cx->at.path, str(cx, t->name));
    if (kind != RESULT_output && is_reserved(str(cx, name))) {
        elab_error(cx, t->loc, "'%s' stands for what every step reports: choose another name",
                   str(cx, name));
        return;
    }
    uint32_t *at = map_slot(&cx->yield_at, name, NULL);
    if (*at) {
        elab_error(cx, t->loc, "'%s' is given twice", str(cx, name));
        elab_note(cx, cx->yields.at[*at - 1].loc, "the first is here");
        return;
    }
    vec_push(cx->arena, &cx->yields, ((Yield){name, v, t->loc, (uint8_t)kind}));
    *at = cx->yields.n;
}

static Value scalar_only(Elab *cx, Loc at, const char *what, Value v) {
    v = value_real(cx, v, at);
    AxisList l = axes_of(cx, &v);
    if (v.kind == V_ERROR || !l.n) return v;
    return elab_error(cx, at, "%s has no axes, found %s: use mean%s(…) or sum", what,
                      type_text(cx, &v), axes_text(cx, &l));
}

static bool may_yield(Elab *cx, const Stmt *s) {
    if (inside(cx)->kind != FUNC_fn && !cx->optimizing) return true;
    elab_error(cx, s->loc, "'%s' stands in a model or block, not in a fn or optimizer",
               ast_stmt_name(s->kind));
    return false;
}

static void exec_loss(Elab *cx, const Stmt *s) {
    const AstTarget *t = s->assign.targets.n ? &s->assign.targets.at[0] : NULL;
    Value v = eval_named(cx, s->assign.value, t ? t->name : sym(cx->syms, "loss"));
    if (!may_yield(cx, s) || v.kind == V_ERROR) return;
    v = scalar_only(cx, s->assign.value->loc, "a loss", v);
    if (v.kind == V_ERROR) return;
    vec_push(cx->arena, &cx->losses, v);
    if (t) yield(cx, t, v, RESULT_loss);
}

static void exec_yield(Elab *cx, const Stmt *s) {
    const AstTarget *t = &s->assign.targets.at[0];
    bool metric = s->kind == S_metric;
    Value v = eval_named(cx, s->assign.value, t->name);
    if (!may_yield(cx, s)) return;
    if (metric) v = scalar_only(cx, s->assign.value->loc, "a metric", v);
    if (t->kind == TARGET_axes) v = checked_axes(cx, t, v);
    if (v.kind != V_ERROR) {
        AxisId a;
        if (v.kind != V_TENSOR && v.kind != V_NUM)
            v = elab_error(cx, s->assign.value->loc, "an output is a tensor, found %s",
                           type_text(cx, &v));
        else if (value_escapes(cx, &v, 1, &a))
            v = elab_error(cx, s->assign.value->loc,
                           "an output may not have axis '%s', which a body declares",
                           axis_name(cx, a));
        else
            yield(cx, t, v, metric ? RESULT_metric : RESULT_output);
    }
    if (!metric) define(cx, t->name, t->name_loc, v);
}

// ---- repeat and if ------------------------------------------------------------------------------

static bool same_type(Elab *cx, const Value *a, const Value *b) {
    if (a->kind == V_ERROR || b->kind == V_ERROR) return true;
    if (a->kind != b->kind || a->n != b->n) return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!same_type(cx, &a->items[i], &b->items[i])) return false;
    if (a->kind != V_TENSOR) return true;
    AxisList x = axes_of(cx, a), y = axes_of(cx, b);
    return elem_of(cx, a) == elem_of(cx, b) && list_same(&x, &y);
}

// The names that rounds carry: those of the body outside the repeat, with their values before a
// round.
typedef struct {
    uint32_t n;
    Value *before;
} Carried;

static uint32_t carried_count(Scope *s) {
    uint32_t n = 0;
    for (; s && !s->is_file; s = s->parent) n += s->items.n;
    return n;
}

static void carried_note(Elab *cx, Scope *s, Carried *c) {
    uint32_t k = 0;
    for (; s && !s->is_file; s = s->parent)
        for (uint32_t i = 0; i < s->items.n && k < c->n; i++) c->before[k++] = s->items.at[i].value;
    cx->work += c->n / 4;
}

static bool carried_check(Elab *cx, const Stmt *stmt, Scope *s, const Carried *c) {
    uint32_t k = 0;
    bool good = true;
    for (; s && !s->is_file; s = s->parent)
        for (uint32_t i = 0; i < s->items.n && k < c->n; i++, k++) {
            Binding *b = &s->items.at[i];
            AxisId a;
            if (b->space != NAME_value) continue;
            if (value_escapes(cx, &b->value, cx->at.depth, &a)) {
                elab_error(
                    cx, stmt->loc,
                    "'%s' leaves the body of 'repeat' with axis '%s', which is declared in it",
                    str(cx, b->name), axis_name(cx, a));
            } else if (!same_type(cx, &c->before[k], &b->value)) {
                elab_error(cx, stmt->loc,
                           "'%s' does not keep its type in 'repeat': %s before, %s after a round",
                           str(cx, b->name), type_text(cx, &c->before[k]),
                           type_text(cx, &b->value));
                elab_note(cx, b->loc, "'%s' is defined here", str(cx, b->name));
            } else {
                continue;
            }
            b->value = value_error();
            good = false;
        }
    return good;
}

static void finish_collected(Elab *cx, const Loop *l, bool good) {
    for (uint32_t i = 0; i < l->collected.n; i++) {
        const Collected *c = &l->collected.at[i];
        int64_t n = extent_of(cx, c->axis);
        Value v = value_error();
        if (!good) {
            // what stopped the rounds is reported already
        } else if (c->have != n) {
            elab_error(cx, c->loc, "'%s' has %lld of %lld rounds of '%s'", str(cx, c->name),
                       (long long)c->have, (long long)n, axis_name(cx, c->axis));
        } else if (n) {
            bool same = true;
            for (int64_t k = 1; k < n; k++)
                same = same && same_type(cx, &c->rounds[0], &c->rounds[k]);
            v = same ? view_stack(cx, c->loc, c->rounds, (uint32_t)n, c->axis)
                     : elab_error(cx, c->loc, "'%s' has another type in another round",
                                  str(cx, c->name));
        }
        define(cx, c->name, c->loc, v);
    }
}

static bool repeat_count(Elab *cx, const Stmt *s, int64_t *n) {
    if (!eval_count(cx, s->repeat.count, "the number of rounds", n)) return false;
    if (*n <= MAX_ROUNDS) return true;
    elab_error(cx, s->repeat.count->loc, "%lld rounds; at most %d are possible", (long long)*n,
               MAX_ROUNDS);
    return false;
}

// One round; false when the rest need not be tried.
static bool run_round(Elab *cx, const Stmt *s, int64_t i, Carried *c) {
    ElabContext before = cx->at;
    uint32_t errors = cx->diag->errors;
    if (s->repeat.label) {
        const char *round =
            arena_printf(cx->arena, "%s.%lld", str(cx, s->repeat.label), (long long)i);
        cx->at.path = path_join(cx, before.path, round);
        cx->at.base = path_join(cx, before.base, round);
    }
    carried_note(cx, before.scope, c);
    cx->at.depth++;
    cx->at.scope = scope_new(cx, before.scope, false);
    cx->at.share += s->repeat.shared && i > 0;
    if (s->repeat.at) value_name_free(cx, s->repeat.at, s->repeat.at_loc);
    if (s->repeat.at)
        scope_add(cx, cx->at.scope, s->repeat.at, NAME_value, s->repeat.at_loc)->value =
            value_num((double)i, true);
    exec_body(cx, &s->repeat.body);
    cx->at.scope = before.scope;
    bool good = carried_check(cx, s, before.scope, c);
    cx->at = before;
    if (!cx->at.frame->returned) return good && cx->diag->errors == errors && spend(cx, s->loc);
    if (cx->at.frame->result.kind != V_ERROR) // else that was reported, or a call was refused
        elab_error(cx, s->loc, "'return' may not stand in a 'repeat'");
    return false;
}

// The module's entry for this 'repeat', by the same calls and in the same repeat around it. One whose number
// of rounds depends on the round around it has several: an instance is a number below a product of rounds.
static bool repeat_here(Elab *cx, const Stmt *s, int64_t n, uint32_t *repeat) {
    uint64_t h = hash_u64(hash_u64(cx->at.context, s->loc.start), (uint64_t)n);
    bool fresh;
    uint32_t *at = map_slot(&cx->repeats, hash_u64(h, cx->b->inst.repeat), &fresh);
    const char *axis = s->repeat.count_name ? str(cx, s->repeat.count_name) : "";
    if (fresh)
        *at = repeat_new(cx->m, axis, n, cx->b->inst.repeat, user_loc(cx, s->repeat.count->loc));
    *repeat = *at;
    if (repeat_total(cx->m, *repeat) >= 0) return true;
    elab_error(cx, s->repeat.count->loc, "more than 2^32 rounds inside each other");
    return false;
}

static void exec_repeat(Elab *cx, const Stmt *s) {
    int64_t n = 0;
    if (!repeat_count(cx, s, &n)) return;
    Carried c = {.n = carried_count(cx->at.scope)};
    c.before = NEW_ARRAY(cx->arena, Value, c.n + 1);
    ElabContext before = cx->at;
    Loop loop = {.up = before.loop};
    Round round = {.up = before.round, .loc = s->repeat.count->loc};
    Inst inst = cx->b->inst;
    uint32_t repeat;
    if (!repeat_here(cx, s, n, &repeat)) return;
    cx->at.loop = &loop;
    cx->at.round = &round;
    cx->at.context = hash_u64(before.context, repeat);
    bool good = true;
    for (int64_t i = 0; i < n && good; i++) {
        cx->b->inst = (Inst){repeat, (uint32_t)(inst.round * n + i)};
        round.repeats = i > 0 && !s->repeat.label;
        good = run_round(cx, s, i, &c);
    }
    cx->b->inst = inst;
    cx->at = before;
    finish_collected(cx, &loop, good);
}

static void exec_if(Elab *cx, const Stmt *s) {
    Value c = value_settle(cx, eval(cx, s->branch.test), s->branch.test->loc, "an 'if'");
    if (c.kind == V_BOOL)
        exec_body(cx, c.truth ? &s->branch.yes : &s->branch.no);
    else
        if_mismatch(cx, s->branch.test->loc, &c);
}

static void exec_return(Elab *cx, const Stmt *s) {
    if (inside(cx)->kind == FUNC_model) {
        elab_error(cx, s->loc, "a model yields its outputs, it does not return");
        return;
    }
    cx->at.frame->result = eval_named(cx, s->result, 0);
    cx->at.frame->returned = true;
}

static void exec_kind(Elab *cx, const Stmt *s) {
    switch (s->kind) {
    case S_axis:
        for (uint32_t i = 0; i < s->axes.n; i++) axis_declare(cx, &s->axes.at[i]);
        return;
    case S_param:
    case S_state:
        for (uint32_t i = 0; i < s->decls.n; i++) declare_state(cx, s, &s->decls.at[i]);
        return;
    case S_assign: exec_assign(cx, s); return;
    case S_loss: exec_loss(cx, s); return;
    case S_metric:
    case S_output: exec_yield(cx, s); return;
    case S_return: exec_return(cx, s); return;
    case S_repeat: exec_repeat(cx, s); return;
    case S_if: exec_if(cx, s); return;
    }
    unreachable(s->kind);
}

static void exec(Elab *cx, const Stmt *s) {
    if (!spend(cx, s->loc) || !nest(cx, s->loc)) return;
    exec_kind(cx, s);
    cx->nesting--;
}

// Expressions: dispatch by kind, names, and what must be known at build.
#include "frontend/elab.h"
#include <math.h>
#include <string.h>

static Value axis_value(Elab *cx, Binding *b) {
    if (!axis_force(cx, b)) return value_error();
    if (b->axis == cx->sample) return value_samples(cx);
    return b->value.live ? b->value : value_num((double)extent_of(cx, b->axis), true);
}

Value eval_in_file(Elab *cx, const Binding *b, const Expr *e) {
    ElabContext before = cx->at, file = before;
    file.scope = b->file_scope;
    file.initial = NULL;
    stand_at(cx, file);
    Value v = eval(cx, e);
    stand_at(cx, before);
    return v;
}

bool binding_force(Elab *cx, Binding *b) {
    if (b->lazy == LAZY_done) return b->value.kind != V_ERROR;
    if (b->lazy == LAZY_running) {
        elab_error(cx, b->loc, "'%s' depends on itself", str(cx, b->name));
        return false;
    }
    b->lazy = LAZY_running;
    Value v = b->file_scope == cx->std ? value_absent() : plan_constant(cx, str(cx, b->name));
    if (value_is_absent(&v)) v = eval_in_file(cx, b, b->expr);
    if (v.kind == V_TENSOR)
        v = elab_error(cx, b->loc, "'%s' must be known at build, found %s", str(cx, b->name),
                       type_text(cx, &v));
    b->value = v;
    b->lazy = LAZY_done;
    return v.kind != V_ERROR;
}

// The step counter: a number of the run, an input without axes.
static Value step_value(Elab *cx) {
    if (cx->at.initial) return value_num(0, true);
    if (cx->step.kind == V_ERROR) {
        TypeId t = type_make(cx, ELEM_i32, &(AxisList){0});
        cx->step = value_ranged(value_node(cx, ir_input(cx->b, "step", t, 0)), 0, MAX_EXTENT);
    }
    return cx->step;
}

static const char *const builtin_names[] = {"training", "true", "false", "inf", "step"};

static bool builtin_name(Elab *cx, const char *name, Value *out) {
    if (strcmp(name, "training") == 0)
        *out = value_bool(cx->training);
    else if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0)
        *out = value_bool(*name == 't');
    else if (strcmp(name, "inf") == 0)
        *out = value_num(INFINITY, false);
    else if (strcmp(name, "step") == 0)
        *out = step_value(cx);
    else
        return false;
    return true;
}

static Value unknown_name(Elab *cx, const Expr *e, Sym name) {
    const char *text = str(cx, name);
    if (scope_find(cx->at.scope, name, NAME_func) || builtin_known(text))
        return elab_error(cx, e->loc, "'%s' is a function: call it as %s(…)", text, text);
    const char *advice = foreign_advice(text);
    if (advice) return elab_error(cx, e->loc, "unknown name '%s': %s", text, advice);
    const char *near = scope_suggest(cx, cx->at.scope, name, NAME_value);
    if (!near) near = scope_suggest(cx, cx->at.scope, name, NAME_axis);
    if (!near) near = suggest_of(text, builtin_names, sizeof builtin_names / sizeof *builtin_names);
    if (!near) near = function_suggest(cx, name);
    if (near) return elab_error(cx, e->loc, "unknown name '%s'; did you mean '%s'?", text, near);
    return elab_error(cx, e->loc, "unknown name '%s'", text);
}

static Value not_a_part(Elab *cx, const Expr *e, const char *owner, const char *what,
                        const char *name, Loc declared) {
    const char *advice = foreign_advice(name);
    elab_error(cx, e->loc, "'%s' is %s and has no '%s'%s%s", owner, what, name, advice ? ": " : "",
               advice ? advice : "");
    elab_note(cx, declared, "'%s' is declared here", owner);
    return value_error();
}

// 'x.name(arg)' as it is written here; NULL: there is no such function.
static const char *method_form(Elab *cx, const Expr *e, const char *of) {
    const char *name = str(cx, e->call.name);
    const Expr *arg = e->call.args.n ? e->call.args.at[0].value : NULL;
    const Binding *f = scope_find(cx->at.scope, e->call.name, NAME_func);
    if (!f && !builtin_known(name)) {
        if (!(name = function_suggest(cx, e->call.name))) return NULL;
        f = scope_find(cx->at.scope, sym(cx->syms, name), NAME_func);
    }
    if (f ? !f->func->axes.n : !fold_known(name))
        return arena_printf(cx->arena, "%s(%s)", name, of);
    return arena_printf(cx->arena, "%s[%s](%s)", name,
                        arg && arg->kind == E_name ? str(cx, arg->name.name) : "axis", of);
}

// The dot belongs to names of files, which are not compiled yet: what stands here is a habit of other
// languages, and the message says how this one writes it.
Value eval_member(Elab *cx, const Expr *e, Sym owner, Sym member) {
    const char *of = str(cx, owner), *name = str(cx, member);
    const Binding *v = scope_find(cx->at.scope, owner, NAME_value);
    const Binding *f = scope_find(cx->at.scope, owner, NAME_func);
    const Binding *a = scope_find(cx->at.scope, owner, NAME_axis);
    if (v && e->kind == E_call) {
        const char *advice = foreign_advice(name);
        const char *form = advice ? advice : method_form(cx, e, of);
        elab_error(cx, e->loc, "'%s' is a value and has no functions%s%s", of,
                   !form    ? ""
                   : advice ? ": "
                            : ": write ",
                   form ? form : "");
        elab_note(cx, v->loc, "'%s' is declared here", of);
        return value_error();
    }
    if (v) return not_a_part(cx, e, of, "a value", name, v->loc);
    if (f && f->func->kind == FUNC_block) {
        elab_error(cx, e->loc, "'%s' is a block, and what it owns is seen inside only: return '%s'",
                   of, name);
        elab_note(cx, f->loc, "'%s' is declared here", of);
        return value_error();
    }
    if (f) return not_a_part(cx, e, of, "a function", name, f->loc);
    if (a) return not_a_part(cx, e, of, "an axis", name, a->loc);
    const char *near = scope_suggest(cx, cx->at.scope, owner, NAME_value);
    if (near) return elab_error(cx, e->loc, "unknown name '%s'; did you mean '%s'?", of, near);
    const char *advice = foreign_advice(name);
    if (!advice) advice = foreign_advice(of);
    if (advice) return elab_error(cx, e->loc, "unknown name '%s.%s': %s", of, name, advice);
    bool known = builtin_known(name) || scope_find(cx->at.scope, member, NAME_func) ||
                 scope_find(cx->at.scope, member, NAME_value);
    near = known ? name : function_suggest(cx, member);
    if (near)
        return elab_error(cx, e->loc, "no file is known as '%s'; names have no prefix: write '%s'",
                          of, near);
    return elab_error(cx, e->loc, "no file is known as '%s'", of);
}

static Value named_value(Elab *cx, const Expr *e, Binding *b) {
    if (!binding_force(cx, b)) return value_error();
    if (b->value.kind != V_FUNC) return b->value;
    elab_error(cx, e->loc, "'%s' is a function here, '%s', and a value is needed", str(cx, b->name),
               b->value.text);
    elab_note(cx, b->value.from, "'%s' is given here", b->value.text);
    return value_error();
}

Value eval_name(Elab *cx, const Expr *e, Sym qualifier, Sym name) {
    if (qualifier) return eval_member(cx, e, qualifier, name);
    for (Scope *s = cx->at.scope; s; s = s->parent) {
        Binding *b = scope_local(s, name, NAME_value);
        if (b) return named_value(cx, e, b);
        b = scope_local(s, name, NAME_axis);
        if (b) return axis_value(cx, b);
    }
    Value v;
    enter(cx, e);
    return builtin_name(cx, str(cx, name), &v) ? v : unknown_name(cx, e, name);
}

bool value_number(Elab *cx, const Expr *e, const char *what, const Value *v) {
    if (v->kind == V_NUM || v->kind == V_ERROR) return v->kind == V_NUM;
    elab_error(cx, e->loc, "%s must be a number known at build, found %s", what, type_text(cx, v));
    return false;
}

bool eval_number(Elab *cx, const Expr *e, const char *what, double *out) {
    Value v = eval(cx, e);
    if (!value_number(cx, e, what, &v)) return false;
    *out = value_settle(cx, v, e->loc, what).num;
    return true;
}

bool eval_count(Elab *cx, const Expr *e, const char *what, int64_t *out) {
    double x;
    if (!eval_number(cx, e, what, &x)) return false;
    if (x >= 0 && x <= MAX_EXTENT && x == floor(x)) {
        *out = (int64_t)x;
        return true;
    }
    elab_error(cx, e->loc, "%s must be a whole number from 0 on, found %s", what,
               number_text(cx, x));
    return false;
}

// The side of an 'if' that exists; NULL after an error.
void if_mismatch(Elab *cx, Loc at, const Value *c) {
    if (c->kind == V_TENSOR)
        elab_error(cx, at, "'if' is settled at build, but this is %s; data choose by where(…)",
                   type_text(cx, c));
    else if (c->kind != V_ERROR)
        elab_error(cx, at, "'if' takes true or false, found %s", type_text(cx, c));
}

static const Expr *side_taken(Elab *cx, const Expr *e) {
    Value c = value_settle(cx, eval(cx, e->cond.cond), e->cond.cond->loc, "an 'if'");
    if (c.kind == V_BOOL) return c.truth ? e->cond.yes : e->cond.no;
    return if_mismatch(cx, e->cond.cond->loc, &c), NULL;
}

static Value eval_if(Elab *cx, const Expr *e) {
    const Expr *side = side_taken(cx, e);
    return side ? eval(cx, side) : value_error();
}

// A value or an axis of that name goes before a function, as everywhere.
bool function_named(Elab *cx, const Expr *e, Value *out) {
    if (e->kind != E_name || e->name.qualifier) return false;
    Sym name = e->name.name;
    const Binding *b = scope_find(cx->at.scope, name, NAME_value);
    if (b) return *out = b->value, b->value.kind == V_FUNC;
    if (scope_find(cx->at.scope, name, NAME_axis)) return false;
    b = scope_find(cx->at.scope, name, NAME_func);
    *out =
        (Value){.kind = V_FUNC, .text = str(cx, name), .func = b ? b->func : NULL, .from = e->loc};
    return b || builtin_known(out->text);
}

Value eval_argument(Elab *cx, const Expr *e) {
    Value f;
    while (e && e->kind == E_if) e = side_taken(cx, e);
    if (!e) return value_error();
    return function_named(cx, e, &f) ? f : eval(cx, e);
}

static Value eval_tuple(Elab *cx, const Expr *e) {
    if (e->tuple.n > MAX_TUPLE) return elab_error(cx, e->loc, "a tuple of more than %d", MAX_TUPLE);
    Value *items = NEW_ARRAY(cx->arena, Value, e->tuple.n + 1);
    Value v = {.kind = V_TUPLE, .n = e->tuple.n, .items = items};
    bool error = false;
    for (uint32_t i = 0; i < e->tuple.n; i++) {
        items[i] = eval(cx, e->tuple.at[i]);
        error |= items[i].kind == V_ERROR;
        if (items[i].tuples >= v.tuples) v.tuples = (uint8_t)(items[i].tuples + 1);
    }
    if (v.tuples > MAX_TUPLE)
        return elab_error(cx, e->loc, "more than %d tuples inside each other", MAX_TUPLE);
    return error ? value_error() : v;
}

static Value eval_number_node(const Expr *e) {
    if (e->number.is_int) return value_num((double)e->number.integer, true);
    return value_num(e->number.value, false);
}

static Value eval_kind(Elab *cx, const Expr *e) {
    switch (e->kind) {
    case E_number: return eval_number_node(e);
    case E_string: return (Value){.kind = V_STRING, .text = e->string.text};
    case E_name: return eval_name(cx, e, e->name.qualifier, e->name.name);
    case E_call: return eval_call(cx, e);
    case E_tuple: return eval_tuple(cx, e);
    case E_view: return view_apply(cx, e);
    case E_if: return eval_if(cx, e);
    case E_unary: {
        Value x = eval(cx, e->unary.x);
        enter(cx, e);
        return math_unary(cx, e, e->unary.op, x);
    }
    case E_binary: {
        Value a = eval(cx, e->binary.a), b = eval(cx, e->binary.b);
        enter(cx, e);
        return math_binary(cx, e, e->binary.op, a, b);
    }
    case E_contract: {
        Value a = eval(cx, e->contract.a), b = eval(cx, e->contract.b);
        enter(cx, e);
        return fold_contract(cx, e, a, b);
    }
    }
    unreachable(e->kind);
}

Value eval(Elab *cx, const Expr *e) {
    if (!spend(cx, e->loc) || !nest(cx, e->loc)) return value_error();
    Value v = eval_kind(cx, e);
    cx->nesting--;
    return v;
}

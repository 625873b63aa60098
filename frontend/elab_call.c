// Calls: expanding a body with its axes, packs and values bound.
//
// A callee sees the file it stands in, its axes and its arguments, nothing of its caller. Axes in [
// ] are bound first: names one each, a pack what is left. Then every argument's brackets are
// matched with the axes of its value: plain axes and bound packs must be there, one open pack takes
// the rest,
// '..' allows a rest, and without either a rest is a fault. A parameter carries its arrow, so
// w[..b: ..i -> ..o] binds three packs. Faults are reported at the caller's argument.
#include "frontend/elab.h"
#include <string.h>

// ---- builtins -----------------------------------------------------------------------------------

static const char *const plain_builtins[] = {"iota", "uniform", "normal", "sum",   "mean",
                                             "prod", "any",     "all",    "refuse"};
enum { PLAIN_BUILTINS = sizeof plain_builtins / sizeof *plain_builtins };
static const char *const later_builtins[] = {"top", "scan", "cumulate", "sort"};
enum { LATER_BUILTINS = sizeof later_builtins / sizeof *later_builtins };

bool frontend_builtin(const char *name) {
    for (uint32_t i = 0; i < PLAIN_BUILTINS; i++)
        if (strcmp(name, plain_builtins[i]) == 0) return true;
    for (uint32_t i = 0; i < math_name_count; i++)
        if (strcmp(name, math_names[i]) == 0) return true;
    return false;
}

static Value iota_call(Elab *cx, const Expr *e, uint32_t n) {
    AxisList l;
    if (n) return elab_error(cx, e->loc, "'iota' takes no value, found %u", n);
    if (!axes_resolve(cx, &e->call.axes, &l)) return value_error();
    if (l.n != 1) return elab_error(cx, e->loc, "'iota' walks one axis, found %u", l.n);
    int64_t size = extent_of(cx, l.at[0]);
    Value v = value_node(cx, ir_iota(cx->b, l.at[0], size));
    Affine f = {.n = 1, .axis = {l.at[0]}, .coef = {1}};
    v.affine = arena_copy(cx->arena, &f, sizeof f);
    return value_ranged(v, 0, size ? (double)size - 1 : 0);
}

static bool among(const char *name, const char *const *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0) return true;
    return false;
}

bool builtin_known(const char *name) {
    return among(name, plain_builtins, PLAIN_BUILTINS) || among(name, math_names, math_name_count);
}

const char *function_suggest(Elab *cx, Sym name) {
    for (const Scope *s = cx->at.scope; s; s = s->parent)
        for (uint32_t i = 0; i < s->items.n; i++)
            if (s->items.at[i].space == NAME_func &&
                foreign_spelling(str(cx, name), str(cx, s->items.at[i].name)))
                return str(cx, s->items.at[i].name);
    const char *near = scope_suggest(cx, cx->at.scope, name, NAME_func);
    if (!near) near = suggest_of(str(cx, name), math_names, math_name_count);
    return near ? near : suggest_of(str(cx, name), plain_builtins, PLAIN_BUILTINS);
}

static Value unknown_function(Elab *cx, const Expr *e, const char *name) {
    if (among(name, later_builtins, LATER_BUILTINS))
        return elab_error(cx, e->call.name_loc, "'%s' is not compiled yet", name);
    Binding *v = scope_find(cx->at.scope, e->call.name, NAME_value);
    if (v && v->value.kind == V_ERROR) return value_error();
    if (v) {
        elab_error(cx, e->call.name_loc, "'%s' is a value, not a function", name);
        elab_note(cx, v->loc, "'%s' is defined here", name);
        if (v->given.file)
            elab_note(cx, v->given, "'%s' is %s, given here", name, type_text(cx, &v->value));
        return value_error();
    }
    const char *advice = foreign_advice(name);
    if (advice) return elab_error(cx, e->call.name_loc, "unknown function '%s': %s", name, advice);
    const char *near = function_suggest(cx, e->call.name);
    if (near)
        return elab_error(cx, e->call.name_loc, "unknown function '%s'; did you mean '%s'?", name,
                          near);
    return elab_error(cx, e->call.name_loc, "unknown function '%s'", name);
}

// What is reached at build and may not be: the text is the error. The calls that led here end, so that nothing
// follows from it.
static Value refuse_call(Elab *cx, const Expr *e, const Value *args, uint32_t n) {
    const AstFunc *f = cx->at.frame ? cx->at.frame->func : NULL;
    if (n != 1 || args[0].kind != V_STRING || e->call.has_axes)
        return elab_error(cx, e->loc, "'refuse' takes a text, which is the error");
    elab_error(cx, e->loc, "%s", args[0].text);
    if (f && f->kind != FUNC_model && !cx->diag->files.at[f->loc.file].is_std)
        elab_note(cx, cx->at.frame->call, "'%s' is called here", str(cx, f->name));
    for (Frame *up = cx->at.frame; up && up->func->kind != FUNC_model; up = up->up)
        up->returned = true, up->result = value_error();
    return value_error();
}

static Value builtin_call(Elab *cx, const Expr *e, const char *name, const Value *args,
                          uint32_t n) {
    Value out;
    enter(cx, e);
    if (strcmp(name, "iota") == 0) return iota_call(cx, e, n);
    if (strcmp(name, "refuse") == 0) return refuse_call(cx, e, args, n);
    if (random_function(cx, e, name, args, n, &out)) return out;
    bool outer = e->call.has_axes && !e->call.axes.n && n > 1 && math_takes_several(name);
    bool along = e->call.has_axes && !outer; // not max[](a, b)
    bool folds = along || !math_takes_several(name);
    if (folds && fold_function(cx, e, name, args, n, &out)) {
        return out;
    }
    if (!along && math_function(cx, e, name, args, n, &out)) return out;
    if (along && among(name, math_names, math_name_count))
        return elab_error(cx, e->call.axes_loc, "'%s' works on each element and takes no axes",
                          name);
    return unknown_function(cx, e, name);
}

static Value call_builtin(Elab *cx, const Expr *e, const char *name) {
    uint32_t n = e->call.args.n;
    Value *args = NEW_ARRAY(cx->arena, Value, n + 1);
    bool error = false;
    if (n > 8) return elab_error(cx, e->loc, "too many values for '%s'", name);
    if (fold_known(name) && !math_takes_several(name) && !e->call.has_axes)
        return elab_error(cx, e->loc, "'%s' needs the axes to remove, as in %s[axis](x)", name,
                          name);
    for (uint32_t i = 0; i < n; i++) {
        args[i] = eval(cx, e->call.args.at[i].value);
        error |= args[i].kind == V_ERROR;
        if (!e->call.args.at[i].name) continue;
        elab_error(cx, e->call.args.at[i].name_loc,
                   "'%s' takes its values by position, without '%s ='; '==' compares", name,
                   str(cx, e->call.args.at[i].name));
        error = true;
    }
    if (error) return value_error();
    return builtin_call(cx, e, name, args, n);
}

// ---- binding ------------------------------------------------------------------------------------

typedef struct {
    const AstFunc *f;
    const Arg *arg;
    const Value *value;
    Loc at;
} Match;

static Value mismatch(Elab *cx, const Match *m, const char *what) {
    Value v = elab_error(cx, m->at, "'%s' of '%s' %s, found %s", str(cx, m->arg->name),
                         str(cx, m->f->name), what, type_text(cx, m->value));
    elab_note(cx, m->arg->loc, "'%s' is declared here", str(cx, m->arg->name));
    return v;
}

static bool take(Elab *cx, const Match *m, AxisId a, AxisList *rest) {
    for (uint32_t i = 0; i < rest->n; i++)
        if (rest->at[i] == a) {
            memmove(rest->at + i, rest->at + i + 1, sizeof *rest->at * (rest->n - i - 1));
            rest->n--;
            return true;
        }
    mismatch(cx, m, arena_printf(cx->arena, "must have axis '%s'", axis_name(cx, a)));
    AxisList have = axes_of(cx, m->value);
    axes_alike(cx, &have, &(AxisList){1, {a}});
    return false;
}

// Matches one bracketed list with the axes in 'rest'.
static bool match_list(Elab *cx, const Match *m, const AxList *dims, AxisList rest) {
    const Ax *open = NULL;
    bool any = false;
    for (uint32_t i = 0; i < dims->n; i++) {
        const Ax *ax = &dims->at[i];
        AxisId a;
        Binding *b = ax->pack && ax->name ? scope_local(cx->at.scope, ax->name, NAME_pack) : NULL;
        if (ax->pack && !ax->name) {
            any = true;
        } else if (ax->pack && !b) {
            if (open)
                return elab_error(cx, ax->loc, "two packs are open here: '..%s' and '..%s'",
                                  str(cx, open->name), str(cx, ax->name)),
                       false;
            open = ax;
        } else if (ax->pack) {
            for (uint32_t k = 0; k < b->pack.n; k++)
                if (!take(cx, m, b->pack.at[k], &rest)) return false;
        } else if (!axis_resolve(cx, ax, &a) || !take(cx, m, a, &rest)) {
            return false;
        }
    }
    if (open) {
        scope_add(cx, cx->at.scope, open->name, NAME_pack, open->loc)->pack = rest;
        return true;
    }
    if (any || !rest.n) return true;
    mismatch(cx, m, arena_printf(cx->arena, "has no axis '%s'", axis_name(cx, rest.at[0])));
    return false;
}

// A declared map w[b: i -> o] takes a parameter, whose own arrow says what is what.
static bool match_map(Elab *cx, const Match *m) {
    const Value *v = m->value;
    const Node *n = v->kind == V_TENSOR ? node_at(v->home, v->node) : NULL;
    if (!n || n->op != OP_state)
        return mismatch(cx, m, "must be a parameter, for its arrow"), false;
    const State *s = &cx->m->states.at[attr_at(cx->m, n->attr)->state.state];
    AxisList groups[3] = {{0}, {0}, {0}};
    const Type *t = type_at(cx->m, s->type);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t g = i < s->n_batch ? 0 : i < (uint32_t)s->n_batch + s->n_in ? 1 : 2;
        list_add(&groups[g], t->axes[i].axis);
    }
    return match_list(cx, m, &m->arg->dims.each, groups[0]) &&
           match_list(cx, m, &m->arg->dims.in, groups[1]) &&
           match_list(cx, m, &m->arg->dims.out, groups[2]);
}

static bool in_axis(const Elab *cx, const Value *v, AxisId a) {
    if (v->kind == V_NUM)
        return value_is_whole(v) && v->num >= 0 && v->num < (double)extent_of(cx, a);
    return v->kind == V_TENSOR && is_int(cx, v) && v->has_range && v->lo >= 0 &&
           v->hi < extent_of(cx, a);
}

// The declared kind: real, int, bool or an index of an axis. An int meets real as real.
static bool match_kind(Elab *cx, const Match *m, Value *v) {
    const char *kind = str(cx, m->arg->kind);
    if (!*kind) return true;
    if (strcmp(kind, "real") == 0) {
        if (is_bool(cx, v) || v->kind == V_TUPLE || v->kind == V_STRING)
            return mismatch(cx, m, "is real"), false;
        *v = value_real(cx, *v, m->at);
        v->is_int = false;
        return v->kind != V_ERROR;
    }
    if (strcmp(kind, "int") == 0) {
        bool good = value_is_whole(v) || ((v->kind == V_TENSOR || v->live) && is_int(cx, v));
        if (v->kind == V_NUM) v->is_int = true;
        return good ? true : (mismatch(cx, m, "is int"), false);
    }
    if (strcmp(kind, "bool") == 0)
        return is_bool(cx, v) ? true : (mismatch(cx, m, "is bool"), false);
    AxisId a;
    if (!kind_resolve(cx, m->arg->kind_loc, m->arg->kind, &a)) return false;
    *v = value_settle(cx, *v, m->at, "an index");
    if (in_axis(cx, v, a)) return true;
    const char *what = arena_printf(cx->arena, "is an index of '%s' (0 to %lld)", axis_name(cx, a),
                                    (long long)extent_of(cx, a) - 1);
    if (v->kind == V_TENSOR && is_int(cx, v))
        what = v->has_range
                   ? arena_printf(cx->arena, "%s, this ranges from %lld to %lld", what,
                                  (long long)v->lo, (long long)v->hi)
                   : arena_printf(cx->arena, "%s, nothing is known of the range of this", what);
    return mismatch(cx, m, what), false;
}

static bool argument_new(Elab *cx, const Arg *arg) {
    const Binding *old = scope_local(cx->at.scope, arg->name, NAME_value);
    if (!old) return true;
    elab_error(cx, arg->name_loc, "'%s' is declared twice", str(cx, arg->name));
    elab_note(cx, old->loc, "the first is here");
    return false;
}

// A function is given where the default is none, or has none and is not bound to be a value: and the
// other way round.
static bool match_function(Elab *cx, const Match *m) {
    Value f;
    const Arg *arg = m->arg;
    bool is = m->value->kind == V_FUNC, wanted = arg->init && function_named(cx, arg->init, &f);
    bool value = arg->kind || arg->dims.given || (arg->init && arg->init->kind != E_if);
    if (wanted && !is) return mismatch(cx, m, "must be a function"), false;
    if (!wanted && is && value) return mismatch(cx, m, "must be a value"), false;
    return true;
}

static bool bind_argument(Elab *cx, const AstFunc *f, const Arg *arg, Value v, Loc at, bool given) {
    if (!argument_new(cx, arg)) return false;
    if (!given) {
        if (!arg->init) {
            elab_error(cx, at, "'%s' needs a value for '%s'", str(cx, f->name), str(cx, arg->name));
            elab_note(cx, arg->loc, "'%s' is declared here", str(cx, arg->name));
            return false;
        }
        v = eval_argument(cx, arg->init);
    }
    if (v.kind == V_ERROR) return false;
    Match m = {f, arg, &v, at};
    if (given && !match_function(cx, &m)) return false;
    if (v.kind == V_TUPLE && !v.n) return mismatch(cx, &m, "must be a value"), false;
    if (arg->dims.given && v.kind == V_TUPLE) return mismatch(cx, &m, "is one tensor"), false;
    if (arg->dims.given && arg->dims.arrow && !match_map(cx, &m)) return false;
    if (arg->dims.given && !arg->dims.arrow && !match_list(cx, &m, &arg->dims.out, axes_of(cx, &v)))
        return false;
    if (!match_kind(cx, &m, &v)) return false;
    Binding *b = scope_add(cx, cx->at.scope, arg->name, NAME_value, arg->name_loc);
    b->value = v;
    b->given = at;
    return value_name_free(cx, arg->name, arg->name_loc);
}

// "[row, cin -> row2, cout]"
static const char *declared_axes(Elab *cx, const AstFunc *f) {
    Text t = {.arena = cx->arena};
    for (uint32_t i = 0; i < f->axes.n; i++)
        text_printf(&t, "%s%s%s",
                    !i                         ? "["
                    : f->arrow && i == f->left ? " -> "
                                               : ", ",
                    f->axes.at[i].pack ? ".." : "", str(cx, f->axes.at[i].name));
    return text_printf(&t, "]"), t.at;
}

static bool axes_differ(Elab *cx, const AstFunc *f, Loc at, const char *found) {
    elab_error(cx, at, "'%s' takes the axes %s, found %s", str(cx, f->name), declared_axes(cx, f),
               found);
    elab_note(cx, f->name_loc, "'%s' is declared here", str(cx, f->name));
    return false;
}

// On both sides of '->' as many as declared; a pack makes up for one side.
static bool sides_agree(Elab *cx, const AstFunc *f, Loc at, uint32_t left, uint32_t right) {
    uint32_t want[2] = {f->left, f->axes.n - f->left};
    bool pack[2] = {false, false};
    for (uint32_t i = 0; i < f->axes.n; i++) pack[i >= f->left] |= f->axes.at[i].pack;
    if ((pack[0] || left == want[0]) && (pack[1] || right == want[1])) return true;
    return axes_differ(cx, f, at, arena_printf(cx->arena, "%u -> %u", left, right));
}

// How a call of f is written, with its axes and the values that it needs: "softmax[..a](x)".
static const char *call_text(Elab *cx, const AstFunc *f) {
    Text t = {.arena = cx->arena};
    text_printf(&t, "%s[", str(cx, f->name));
    for (uint32_t i = 0; i < f->axes.n; i++)
        text_printf(&t, "%s%s%s",
                    !i                         ? ""
                    : f->arrow && i == f->left ? " -> "
                                               : ", ",
                    f->axes.at[i].pack ? ".." : "", str(cx, f->axes.at[i].name));
    text_printf(&t, "](");
    for (uint32_t i = 0; i < f->args.n && !f->args.at[i].init; i++)
        text_printf(&t, "%s%s", i ? ", " : "", str(cx, f->args.at[i].name));
    text_printf(&t, ")");
    return t.at;
}

static Value axes_missing(Elab *cx, const AstFunc *f, Loc at) {
    return elab_error(cx, at, "'%s' needs its axes: %s", str(cx, f->name), call_text(cx, f));
}

// f[axes]: names take one each, the pack what is left.
static bool bind_axes(Elab *cx, const AstFunc *f, Loc at, const AxisList *axes, bool has_axes) {
    uint32_t names = 0, packs = 0, next = 0;
    for (uint32_t i = 0; i < f->axes.n; i++) f->axes.at[i].pack ? packs++ : names++;
    const char *name = str(cx, f->name);
    if (packs > 1)
        return elab_error(cx, f->name_loc, "'%s' has more than one pack of axes in [ ]", name),
               false;
    if (!f->axes.n && has_axes) return elab_error(cx, at, "'%s' takes no axes in [ ]", name), false;
    if (f->axes.n && !has_axes) return axes_missing(cx, f, at), false;
    if (f->arrow && (axes->n < names || (!packs && axes->n > names)))
        return axes_differ(cx, f, at, arena_printf(cx->arena, "%u", axes->n));
    if (axes->n < names || (!packs && axes->n > names)) {
        elab_error(cx, at, "'%s' takes %u ax%s in [ ]%s, found %u", name, names,
                   names == 1 ? "is" : "es", packs ? " or more" : "", axes->n);
        elab_note(cx, f->name_loc, "'%s' is declared here", name);
        return false;
    }
    for (uint32_t i = 0; i < f->axes.n; i++) {
        const Ax *ax = &f->axes.at[i];
        Binding *b =
            scope_add(cx, cx->at.scope, ax->name, ax->pack ? NAME_pack : NAME_axis, ax->loc);
        if (!ax->pack) {
            b->axis = axes->at[next++];
            continue;
        }
        for (uint32_t k = axes->n - names; k > 0; k--) list_add(&b->pack, axes->at[next++]);
    }
    return true;
}

// ---- expansion ----------------------------------------------------------------------------------

static bool may_expand(Elab *cx, const AstFunc *f, Loc at) {
    uint32_t depth = 0;
    for (const Frame *up = cx->at.frame; up; up = up->up, depth++)
        if (up->func == f) {
            elab_error(cx, at, "'%s' calls itself", str(cx, f->name));
            elab_note(cx, f->name_loc, "'%s' is declared here", str(cx, f->name));
            return false;
        }
    if (depth < MAX_CALL_DEPTH) return true;
    elab_error(cx, at, "more than %d calls in each other", MAX_CALL_DEPTH);
    return false;
}

static Value check_escape(Elab *cx, const Frame *frame, Value v) {
    AxisId a;
    if (!value_escapes(cx, &v, frame->depth, &a)) return v;
    elab_error(cx, frame->call, "the result of '%s' has axis '%s', which '%s' declares itself",
               str(cx, frame->func->name), axis_name(cx, a), str(cx, frame->func->name));
    elab_note(cx, cx->axis_info.at[a].loc, "'%s' is declared here", axis_name(cx, a));
    return value_error();
}

static Scope *file_of(const Elab *cx, const AstFunc *f) {
    return cx->diag->files.at[f->loc.file].is_std ? cx->std : cx->file;
}

static Value expand_body(Elab *cx, Frame *frame, const AxisList *axes, bool has_axes, Value *values,
                         const Loc *locs) {
    const AstFunc *f = frame->func;
    bool good = bind_axes(cx, f, frame->call, axes, has_axes);
    for (uint32_t i = 0; good && i < f->args.n; i++)
        good =
            bind_argument(cx, f, &f->args.at[i], values[i], locs[i], !value_is_absent(&values[i]));
    if (!good) return value_error();
    exec_body(cx, &f->body);
    return frame->returned ? frame->result : value_absent();
}

Value call_expand(Elab *cx, const AstFunc *f, Loc at, const AxisList *axes, bool has_axes,
                  Value *values, const Loc *locs, Sym label, bool shared) {
    if (!may_expand(cx, f, at)) return value_error();
    ElabContext caller = cx->at;
    Frame frame = {.up = caller.frame, .func = f, .call = at, .depth = caller.depth + 1};
    frame.scope = cx->at.scope = scope_new(cx, file_of(cx, f), false);
    cx->at.frame = &frame;
    cx->at.loop = NULL;
    cx->at.depth = frame.depth;
    cx->at.share += shared;
    const char *last = str(cx, label ? label : f->name);
    if (f->kind == FUNC_block) cx->at.path = shared ? label : path_join(cx, caller.path, last);
    cx->at.base = f->kind == FUNC_block ? cx->at.path : path_join(cx, caller.base, last);
    cx->at.name = cx->at.base;
    cx->at.context =
        hash_u64(hash_u64(caller.context, at.file), ((uint64_t)at.start << 32) | at.end);
    Value v = expand_body(cx, &frame, axes, has_axes, values, locs);
    cx->at = caller;
    v = check_escape(cx, &frame, v);
    return v;
}

// Names are mostly given in order, so the search begins at the place of the value.
static uint32_t argument_index(const AstFunc *f, Sym name, uint32_t place) {
    for (uint32_t k = 0; k < f->args.n; k++) {
        uint32_t i = (place + k) % f->args.n;
        if (f->args.at[i].name == name) return i;
    }
    return f->args.n;
}

static void unknown_argument(Elab *cx, const AstFunc *f, const CallArg *a) {
    const char **names = NEW_ARRAY(cx->arena, const char *, f->args.n + 1);
    for (uint32_t i = 0; i < f->args.n; i++) names[i] = str(cx, f->args.at[i].name);
    const char *near = suggest_of(str(cx, a->name), names, f->args.n);
    if (near)
        elab_error(cx, a->name_loc, "'%s' has no argument '%s'; did you mean '%s'?",
                   str(cx, f->name), str(cx, a->name), near);
    else
        elab_error(cx, a->name_loc, "'%s' has no argument '%s'", str(cx, f->name),
                   str(cx, a->name));
}

bool call_place(Elab *cx, const AstFunc *f, const CallArgList *args, uint32_t first, Value *values,
                Loc *locs) {
    bool good = true;
    uint32_t position = first;
    for (uint32_t i = 0; i < args->n; i++) {
        const CallArg *a = &args->at[i];
        Value v = eval_argument(cx, a->value);
        uint32_t to = a->name ? argument_index(f, a->name, first + i) : position++;
        if (to >= f->args.n) {
            if (a->name)
                unknown_argument(cx, f, a);
            else
                elab_error(cx, a->loc, "'%s' takes %u value%s, found more", str(cx, f->name),
                           f->args.n, f->args.n == 1 ? "" : "s");
            elab_note(cx, f->name_loc, "'%s' is declared here", str(cx, f->name));
            good = false;
        } else if (!value_is_absent(&values[to])) {
            elab_error(cx, a->loc, "'%s' of '%s' is given twice", str(cx, f->args.at[to].name),
                       str(cx, f->name));
            good = false;
        } else if (value_is_absent(&v)) {
            elab_error(cx, a->loc, "this has no value");
            good = false;
        } else {
            values[to] = v;
            locs[to] = a->value->loc;
            good &= v.kind != V_ERROR;
        }
    }
    return good;
}

// Packs spread out; *left of them stand before '->'. What goes through unchanged stands on both sides.
static bool call_axes(Elab *cx, const Expr *e, AxisList *axes, uint32_t *left) {
    const AxList *l = &e->call.axes;
    AxList before = *l, after = *l;
    AxisList to;
    before.n = e->call.left;
    after.at += e->call.left, after.n -= e->call.left;
    if (!axes_resolve(cx, &before, axes) || !axes_resolve(cx, &after, &to)) return false;
    *left = axes->n;
    for (uint32_t i = 0; i < to.n; i++)
        if (!list_add(axes, to.at[i]))
            return elab_error(cx, e->call.axes_loc, "more than %d axes", MAX_AXES), false;
    return true;
}

// Whether f, called where an initial value is written, is given the parameter as its first argument.
static bool takes_map(const Elab *cx, const AstFunc *f) {
    return cx->at.initial && cx->at.frame == cx->at.initial->frame && f->args.n &&
           f->args.at[0].dims.given && f->args.at[0].dims.arrow;
}

static Value call_function(Elab *cx, const Expr *e, const AstFunc *f) {
    if (f->kind == FUNC_model)
        return elab_error(cx, e->call.name_loc, "calling the model '%s' is not compiled yet",
                          str(cx, f->name));
    if (e->call.arrow && !f->arrow)
        return elab_error(cx, e->call.axes_loc, "'%s' takes axes, not a map of axes",
                          str(cx, f->name));
    if (f->axes.n && !e->call.has_axes) return axes_missing(cx, f, e->loc);
    AxisList axes = {0};
    uint32_t left = 0;
    Value *values = NEW_ARRAY(cx->arena, Value, f->args.n + 1);
    Loc *locs = NEW_ARRAY(cx->arena, Loc, f->args.n + 1);
    for (uint32_t i = 0; i < f->args.n; i++) values[i] = value_absent(), locs[i] = e->loc;
    bool good = !e->call.has_axes || call_axes(cx, e, &axes, &left);
    if (e->call.arrow && good) good = sides_agree(cx, f, e->call.axes_loc, left, axes.n - left);
    uint32_t first = takes_map(cx, f);
    if (first) values[0] = initial_map(cx);
    good &= call_place(cx, f, &e->call.args, first, values, locs);
    if (!good) return value_error();
    return call_expand(cx, f, e->loc, &axes, e->call.has_axes, values, locs, e->call.label,
                       e->call.shared);
}

static Value call_named(Elab *cx, const Expr *e) {
    const Binding *b = scope_find(cx->at.scope, e->call.name, NAME_func);
    const char *name = str(cx, e->call.name);
    if (e->call.label && (!b || b->func->kind == FUNC_fn) && (b || builtin_known(name)))
        return elab_error(cx, e->call.label_loc,
                          "'as' names what a block owns, and '%s' owns nothing", name);
    return b ? call_function(cx, e, b->func) : call_builtin(cx, e, name);
}

// A call of an argument. What it is differs by use, so 'as' may stand there for a fn too, and faults
// tell what was given.
static Value call_argument(Elab *cx, const Expr *e, const Value *f) {
    uint32_t errors = cx->diag->errors;
    Value v = f->func ? call_function(cx, e, f->func) : call_builtin(cx, e, f->text);
    if (cx->diag->errors > errors)
        elab_note(cx, f->from, "'%s' is '%s', given here", str(cx, e->call.name), f->text);
    return v;
}

Value eval_call(Elab *cx, const Expr *e) {
    if (e->call.qualifier) return eval_member(cx, e, e->call.qualifier, e->call.name);
    const Binding *v = scope_find(cx->at.scope, e->call.name, NAME_value);
    bool argument = v && v->value.kind == V_FUNC;
    return argument ? call_argument(cx, e, &v->value) : call_named(cx, e);
}

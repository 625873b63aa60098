// The plan half and the command line: lines 'what how: which' become settings and options.
//
// The lines, their options and the values of both are rows of runtime/plan.def. A line that the compiler does
// not know yet is refused by name, at its place, so that no wish is silently dropped. -D reaches every axis
// and constant of the file and every option of those lines; a -D that nothing used is a fault with a
// suggestion. Options come out as text, in the order of the rows.
#include "frontend/elab.h"
#include "ir/base/path.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- the command line ---------------------------------------------------------------------------

const Option *plan_define(Elab *cx, const char *name) {
    for (uint32_t i = cx->plan.defines.n; i-- > 0;) {
        Option *o = &cx->plan.defines.at[i];
        if (strcmp(o->name, name) != 0) continue;
        if (!o->used && !o->is_number)
            diag_error(cx->diag, (Loc){0}, "-D %s=%s: expected a number", o->name, o->text);
        o->used = true;
        return o->is_number ? o : NULL;
    }
    return NULL;
}

static const char *define_text(Elab *cx, const char *name) {
    for (uint32_t i = cx->plan.defines.n; i-- > 0;) {
        Option *o = &cx->plan.defines.at[i];
        if (strcmp(o->name, name) == 0) return o->used = true, o->text;
    }
    return NULL;
}

Value plan_constant(Elab *cx, const char *name) {
    const char *text = define_text(cx, name);
    if (!text) return value_absent();
    if (!strcmp(text, "true") || !strcmp(text, "false")) return value_bool(*text == 't');
    const Option *o = plan_define(cx, name);
    if (o && o->is_number) return value_num(o->value, o->value == floor(o->value));
    diag_error(cx->diag, (Loc){0}, "-D %s=%s: expected a number, true or false", name, text);
    return value_error();
}

static void read_defines(Elab *cx, const Define *defs, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        Option o = {.name = defs[i].name, .text = defs[i].value};
        bool negative = *o.text == '-';
        o.is_number = sn_number(o.text, &o.value);
        if (strcmp(o.text + negative, "inf") == 0)
            o.is_number = true, o.value = negative ? -(double)INFINITY : (double)INFINITY;
        vec_push(cx->arena, &cx->plan.defines, o);
    }
}

static const char *nearest_define(Elab *cx, const char *name) {
    const char *best = NULL;
    const SnSetting *known = sn_setting_find(name);
    if (known && !strchr(known->key, '*')) return NULL; // an argument that this block lacks
    for (uint32_t i = 0; i < SN_SETTINGS; i++)
        if (sn_settings[i].when <= SN_SCALAR && !strchr(sn_settings[i].key, '*'))
            best = sn_nearer(name, best, sn_settings[i].key);
    bool size = strncmp(name, "size.", 5) == 0;
    Sym plain = sym(cx->syms, size ? name + 5 : name);
    const char *axis = scope_suggest(cx, cx->file, plain, NAME_axis);
    if (axis && size) return arena_printf(cx->arena, "size.%s", axis);
    if (!axis) axis = scope_suggest(cx, cx->file, plain, NAME_value);
    return sn_nearer(name, axis, best);
}

// A name of the file that no function needed is known all the same.
static bool define_known(Elab *cx, const char *name) {
    const char *plain = strncmp(name, "size.", 5) == 0 ? name + 5 : name;
    Sym s = sym(cx->syms, plain);
    Binding *b = scope_local(cx->file, s, NAME_axis);
    if (!b && plain == name) b = scope_local(cx->file, s, NAME_value);
    return b != NULL;
}

static const char *sample_name(const Elab *cx) {
    return cx->plan.sample ? str(cx, cx->plan.sample) : "batch";
}

void plan_check_defines(Elab *cx) {
    for (uint32_t i = 0; i < cx->plan.defines.n; i++) {
        const Option *o = &cx->plan.defines.at[i];
        if (o->used || define_known(cx, o->name)) continue;
        const char *near = nearest_define(cx, o->name);
        if (strcmp(o->name, sn_settings[SN_SET_accum].key) == 0)
            diag_error(cx->diag, (Loc){0},
                       "-D %s: it follows from the batch and the micro-batch; when the program "
                       "runs it is --accum",
                       o->name);
        else if (strncmp(o->name, "micro.", 6) == 0)
            diag_error(cx->diag, (Loc){0},
                       "-D %s: the samples of this plan lie along '%s': its micro-batches are "
                       "sized by -D micro.%s",
                       o->name, sample_name(cx), sample_name(cx));
        else if (near)
            diag_error(cx->diag, (Loc){0}, "-D %s: nothing has this name; did you mean '%s'?",
                       o->name, near);
        else
            diag_error(cx->diag, (Loc){0}, "-D %s: nothing has this name", o->name);
    }
}

// ---- values -------------------------------------------------------------------------------------

const char *plan_text(const Elab *cx, SnSettingId id) {
    const char *given = cx->plan.set[id].text;
    return given ? given : sn_settings[id].without;
}

double plan_number(const Elab *cx, SnSettingId id, double otherwise) {
    double x = otherwise;
    if (cx->plan.set[id].text) return cx->plan.set[id].num;
    if (sn_settings[id].without)
        (void)sn_setting_text(&sn_settings[id], sn_settings[id].without, &x);
    return x;
}

static const char *allowed_text(Elab *cx, const SnSetting *s) {
    char text[128];
    sn_setting_allowed(s, text, sizeof text);
    return arena_printf(cx->arena, "%s", text);
}

static const char *found_text(Elab *cx, const Value *v) {
    if (v->kind == V_STRING) return arena_printf(cx->arena, "\"%.100s\"", v->text);
    if (v->kind != V_NUM) return type_text(cx, v);
    return isnan(v->num) ? "nan" : number_text(cx, v->num);
}

// The value as a text that the row takes; NULL: it takes none such.
static const char *value_text(Elab *cx, const SnSetting *s, const Value *v, double *x) {
    const char *text = v->kind == V_BOOL ? v->truth ? "true" : "false" : v->text;
    switch (s->type) {
    case SN_COUNT:
    case SN_REAL:
        *x = v->num;
        return v->kind == V_NUM && sn_setting_number(s, v->num) ? number_text(cx, v->num) : NULL;
    case SN_CHOICE:
        if (v->kind == V_NUM) return sn_setting_number(s, v->num) ? number_text(cx, v->num) : NULL;
        return v->kind == V_STRING && sn_setting_text(s, text, x) ? text : NULL;
    case SN_BOOL: return v->kind == V_BOOL && sn_setting_text(s, text, x) ? text : NULL;
    case SN_PATH:
    case SN_TEXT: return v->kind == V_STRING && sn_setting_text(s, text, x) ? text : NULL;
    case SN_FLAG:
    case SN_SET: break;
    }
    unreachable(s->type);
}

static const char *checked_text(Elab *cx, const SnSetting *s, const char *key, Loc at,
                                const Value *v, double *x) {
    if (v->kind == V_ERROR) return NULL;
    value_settle(cx, *v, at, arena_printf(cx->arena, "'%s'", key));
    const char *text = value_text(cx, s, v, x);
    if (!text)
        elab_error(cx, at, "'%s' takes %s, found %s", key, allowed_text(cx, s), found_text(cx, v));
    return text;
}

bool plan_takes(Elab *cx, const SnSetting *s, const char *key, Loc at, const Value *v, double *x) {
    return checked_text(cx, s, key, at, v, x) != NULL;
}

// A word that names no value, such as f32, stands for itself.
static Value eval_choice(Elab *cx, const SnSetting *s, const Expr *e) {
    bool word = s->type == SN_CHOICE && e->kind == E_name && !e->name.qualifier &&
                !scope_find(cx->at.scope, e->name.name, NAME_value);
    return word ? (Value){.kind = V_STRING, .text = str(cx, e->name.name)} : eval(cx, e);
}

static void give(Elab *cx, SnSettingId id, Loc at, Value v) {
    const SnSetting *s = &sn_settings[id];
    GivenSetting *to = &cx->plan.set[id];
    double x = 0;
    const char *text = checked_text(cx, s, s->key, at, &v, &x);
    if (to->text) {
        elab_error(cx, at, "'%s' is given twice", s->key);
        elab_note(cx, to->loc, "it is given here");
    } else if (text) {
        *to = (GivenSetting){text, x, at};
    }
}

const char *plan_word(Elab *cx, const SnSetting *s, const Expr *e) {
    Value v = eval_choice(cx, s, e);
    double x;
    return checked_text(cx, s, s->key, e->loc, &v, &x);
}

void plan_give(Elab *cx, SnSettingId id, const Expr *e) {
    give(cx, id, e->loc, eval_choice(cx, &sn_settings[id], e));
}

static bool define_good(Elab *cx, const SnSetting *s, const char *key, const char *text,
                        double *x) {
    if (sn_setting_text(s, text, x)) return true;
    diag_error(cx->diag, (Loc){0}, "-D %s=%s: expected %s", key, text, allowed_text(cx, s));
    return false;
}

const Option *plan_define_number(Elab *cx, const SnSetting *s, const char *key) {
    const char *text = define_text(cx, key);
    double x;
    return text && define_good(cx, s, key, text, &x) ? plan_define(cx, key) : NULL;
}

// -D wins over the plan's text.
static void give_define(Elab *cx, SnSettingId id, const char *key) {
    const char *text = define_text(cx, key);
    double x = 0;
    if (text && define_good(cx, &sn_settings[id], key, text, &x))
        cx->plan.set[id] = (GivenSetting){text, x, (Loc){0}};
}

// Of all settings with one value; arguments of optimizers and schedules are asked for where they are used.
static void give_defines(Elab *cx) {
    for (uint32_t i = 0; i < SN_SETTINGS; i++) {
        const SnSetting *s = &sn_settings[i];
        bool of_build = s->when == SN_BUILD || s->when == SN_RUN;
        // accum follows from the batch and the micro-batch
        if (of_build && i != SN_SET_accum && !strchr(s->key, '*'))
            give_define(cx, (SnSettingId)i, s->key);
    }
    give_define(cx, SN_SET_micro, arena_printf(cx->arena, "micro.%s", sample_name(cx)));
}

// ---- lines --------------------------------------------------------------------------------------

const PlanLine *plan_line(const Elab *cx, const char *name) {
    return cx->plan.lines[sn_line_find(name) - sn_lines];
}

double plan_written(Elab *cx, const char *name) {
    const PlanLine *l = plan_line(cx, name);
    Value v = l ? eval(cx, l->items.at[0].value) : value_error();
    return v.kind == V_NUM ? v.num : 0;
}

static bool is_rate(const Elab *cx, const CallArg *a) {
    return a->name && strcmp(str(cx, a->name), "rate") == 0;
}

static bool is_demand(const Elab *cx, const CallArg *a) {
    const Expr *e = a->value;
    return !a->name && e->kind == E_name && !e->name.qualifier &&
           strcmp(str(cx, e->name.name), "demand") == 0;
}

static bool shape_good(const Elab *cx, const PlanLine *l, const SnLine *k) {
    bool one = l->items.n == 1 && !l->items.at[0].name, named = l->items.n > 0, typed = named;
    for (uint32_t i = 0; i < l->items.n; i++) named &= l->items.at[i].name != 0;
    for (uint32_t i = 1; i < l->items.n; i++)
        typed &= l->items.at[i].name != 0 || is_demand(cx, &l->items.at[i]);
    switch (k->shape) {
    case SN_LINE_VALUE:
    case SN_LINE_CALL: return one;
    case SN_LINE_SCALED:
        return one || (l->items.n == 2 && !l->items.at[0].name && is_rate(cx, &l->items.at[1]));
    case SN_LINE_OPTIONS: return named || (l->items.n == 0 && l->has_paths);
    case SN_LINE_AXES: return named;
    case SN_LINE_TYPED: return typed;
    case SN_LINE_WORD: return one || (l->items.n == 0 && l->has_paths);
    case SN_LINE_NOTHING: return l->items.n == 0;
    }
    unreachable(k->shape);
}

// The line has the form that its row says, and is the only one where one is all there may be.
static bool line_good(Elab *cx, const PlanLine *l, const SnLine *k) {
    static const char *const takes[] = {[SN_LINE_VALUE] = "one value",
                                        [SN_LINE_OPTIONS] = "options by name",
                                        [SN_LINE_AXES] = "axes with extents",
                                        [SN_LINE_CALL] = "one name, with options in brackets",
                                        [SN_LINE_SCALED] =
                                            "one name, with options in brackets, and a rate",
                                        [SN_LINE_TYPED] = "a type, options by name, or both",
                                        [SN_LINE_WORD] = ("one name, with values in brackets, or "
                                                          "names after ':'"),
                                        [SN_LINE_NOTHING] = "names after ':'"};
    const PlanLine **first = &cx->plan.lines[k - sn_lines];
    bool paths = k->paths == SN_PATHS_MAY || l->has_paths == (k->paths == SN_PATHS_MUST);
    if (!paths && l->has_paths) {
        elab_error(cx, l->loc, "'%s' takes no ': names'", k->name);
        return false;
    }
    if (!paths || !shape_good(cx, l, k)) {
        elab_error(cx, l->loc, "'%s' takes %s, as in '%s'", k->name, takes[k->shape], k->form);
        return false;
    }
    if (*first && k->once) {
        elab_error(cx, l->what_loc, "a second '%s' line", k->name);
        elab_note(cx, (*first)->what_loc, "the first is here");
        return false;
    }
    if (!*first) *first = l;
    return true;
}

// An option 'name = value' of a line: the setting LINE.name.
void plan_option(Elab *cx, const CallArg *a, const char *line) {
    const char *name = str(cx, a->name), *near = NULL;
    const char *key = arena_printf(cx->arena, "%s.%s", line, name);
    const SnSetting *s = sn_setting_find(key);
    size_t n = strlen(line) + 1;
    if (s) {
        plan_give(cx, (SnSettingId)(s - sn_settings), a->value);
        return;
    }
    for (uint32_t i = 0; i < SN_SETTINGS; i++)
        if (strncmp(sn_settings[i].key, key, n) == 0)
            near = sn_nearer(name, near, sn_settings[i].key + n);
    if (near)
        elab_error(cx, a->loc, "'%s' has no option '%s'; did you mean '%s'?", line, name, near);
    else
        elab_error(cx, a->loc, "'%s' has no option '%s'", line, name);
}

// The block and the options of 'adamw' or 'adamw(…)'.
static const AstFunc *line_block(Elab *cx, const Expr *e, const CallArgList **options) {
    static const CallArgList none = {0};
    *options = e->kind == E_call ? &e->call.args : &none;
    if (e->kind != E_call && e->kind != E_name) {
        elab_error(cx, e->loc, "expected a block by name");
        return NULL;
    }
    Sym name = e->kind == E_call ? e->call.name : e->name.name;
    const Binding *b = scope_find(cx->file, name, NAME_func);
    if (b && b->func->kind == FUNC_block) return b->func;
    const char *near = scope_suggest(cx, cx->file, name, NAME_func);
    if (b)
        elab_error(cx, e->loc, "'%s' is a %s, expected a block", str(cx, name),
                   ast_func_name(b->func->kind));
    else if (near)
        elab_error(cx, e->loc, "unknown optimizer '%s'; did you mean '%s'?", str(cx, name), near);
    else
        elab_error(cx, e->loc, "unknown optimizer '%s'", str(cx, name));
    return NULL;
}

const SizeLine *plan_size(const Elab *cx, Sym axis) {
    const uint32_t *at = map_find(&cx->plan.size_at, axis);
    return at ? &cx->plan.sizes.at[*at - 1] : NULL;
}

static void size_twice(Elab *cx, const CallArg *a) {
    const SizeLine *old = plan_size(cx, a->name);
    if (!old) return;
    elab_error(cx, a->loc, "'%s' is sized twice", str(cx, a->name));
    elab_note(cx, old->loc, "it is sized here");
}

static void read_size(Elab *cx, const PlanLine *l) {
    for (uint32_t i = 0; i < l->items.n; i++) {
        const CallArg *a = &l->items.at[i];
        Binding *b = scope_local(cx->file, a->name, NAME_axis);
        double x;
        if (!b) {
            const char *near = scope_suggest(cx, cx->file, a->name, NAME_axis);
            elab_error(cx, a->name_loc,
                       near ? "the file has no axis '%s'; did you mean '%s'?"
                            : "the file has no axis '%s'",
                       str(cx, a->name), near);
        } else if (b->decl->extent) {
            elab_error(cx, a->loc, "axis '%s' has an extent already", str(cx, a->name));
            elab_note(cx, b->loc, "'%s' is declared here", str(cx, a->name));
        } else {
            size_twice(cx, a);
            Value v = eval(cx, a->value);
            const char *key = arena_printf(cx->arena, "size.%s", str(cx, a->name));
            // a value that is none was reported: 1 stands for it, so that nothing follows from it
            if (!plan_takes(cx, &sn_settings[SN_SET_size], key, a->value->loc, &v, &x)) x = 1;
            vec_push(cx->arena, &cx->plan.sizes, ((SizeLine){a->name, x, a->value->loc}));
            *map_slot(&cx->plan.size_at, a->name, NULL) = cx->plan.sizes.n;
        }
    }
}

// What the rate of the parameters of a line is multiplied by.
static double read_factor(Elab *cx, const CallArg *a) {
    Value v = eval(cx, a->value);
    double x = 1;
    // a rate is what the row of 'lr.peak' takes
    (void)plan_takes(cx, &sn_settings[SN_SET_lr_peak], "rate", a->value->loc, &v, &x);
    return x;
}

static void read_optimizer(Elab *cx, const PlanLine *l) {
    const Expr *e = l->items.at[0].value;
    OptimizerRule r = {.line = l, .rate = 1};
    if (l->items.n > 1) r.rate = read_factor(cx, &l->items.at[1]);
    if (!(r.func = line_block(cx, e, &r.options))) return;
    r.at = e->loc;
    if (r.func->args.n < 3 || r.func->axes.n) {
        elab_error(cx, e->loc,
                   "'%s' is no optimizer: one takes a parameter, its gradient and the rate",
                   str(cx, r.func->name));
        elab_note(cx, r.func->name_loc, "'%s' is declared here", str(cx, r.func->name));
        return;
    }
    vec_push(cx->arena, &cx->plan.optimizers, r);
}

static bool same_group(const PlanLine *a, const PlanLine *b) {
    return a->has_paths == b->has_paths &&
           (!a->has_paths || a->paths.at[0].text == b->paths.at[0].text);
}

// The scalars of a schedule are named by the first of its paths, so two lines may not begin alike.
static void read_rate(Elab *cx, const PlanLine *l) {
    for (uint32_t i = 0; i < cx->plan.rates.n; i++) {
        const PlanLine *old = cx->plan.rates.at[i];
        if (!same_group(l, old)) continue;
        if (l->has_paths)
            elab_error(cx, l->paths.at[0].loc, "a second 'lr' line that begins with '%s'",
                       str(cx, l->paths.at[0].text));
        else
            elab_error(cx, l->what_loc, "a second 'lr' line without ': names'");
        elab_note(cx, old->what_loc, "the first is here");
        return;
    }
    vec_push(cx->arena, &cx->plan.rates, l);
}

static void read_micro(Elab *cx, const PlanLine *l) {
    const CallArg *a = &l->items.at[0];
    if (l->items.n > 1 || !scope_local(cx->file, a->name, NAME_axis)) {
        elab_error(cx, l->loc,
                   "'micro' takes one axis of the file with its extent, as in 'micro batch = 8'");
        return;
    }
    plan_give(cx, SN_SET_micro, a->value);
}

static void refuse_line(Elab *cx, const PlanLine *l, const char *what) {
    const char *near = NULL;
    if (sn_line_find(what)) {
        elab_error(cx, l->loc, "'%s' is not compiled yet", what);
        return;
    }
    for (uint32_t i = 0; i < sn_line_count; i++) near = sn_nearer(what, near, sn_lines[i].name);
    if (near)
        elab_error(cx, l->what_loc, "unknown plan line '%s'; did you mean '%s'?", what, near);
    else
        elab_error(cx, l->what_loc, "unknown plan line '%s'", what);
}

// A file for each array: runtime/files/arrays.h says how they are listed.
static bool is_array_kind(const char *kind) {
    return strcmp(kind, "idx") == 0 || strcmp(kind, "npy") == 0;
}

static const char *input_of(const Elab *cx, const char *name) {
    for (uint32_t i = 0; i < cx->model->args.n; i++)
        if (strcmp(str(cx, cx->model->args.at[i].name), name) == 0) return name;
    return NULL;
}

static void put_file(Elab *cx, Text *list, const char *input, const Expr *file) {
    Value v = eval(cx, file);
    if (v.kind != V_STRING) {
        if (v.kind != V_ERROR) elab_error(cx, file->loc, "expected the name of a file");
        return;
    }
    text_printf(list, "%s%s=", list->n ? "," : "", input);
    for (const char *s = v.text; *s; s++) {
        if (*s == ',' || *s == '\\') text_put(list, "\\", 1);
        text_put(list, s, 1);
    }
}

static void read_arrays(Elab *cx, const Expr *e) {
    Text list = {.arena = cx->arena};
    uint32_t next = 0;
    for (uint32_t i = 0; i < e->call.args.n; i++) {
        const CallArg *a = &e->call.args.at[i];
        const char *input = a->name ? input_of(cx, str(cx, a->name)) : NULL;
        if (a->name && !input)
            plan_option(cx, a, "data");
        else if (!input && next == cx->model->args.n)
            elab_error(cx, a->value->loc, "'%s' has %u inputs, and this is file %u",
                       str(cx, cx->model->name), next, next + 1);
        else
            put_file(cx, &list, input ? input : str(cx, cx->model->args.at[next++].name), a->value);
    }
    if (list.n) give(cx, SN_SET_data_path, e->loc, (Value){.kind = V_STRING, .text = list.at});
}

static void read_data(Elab *cx, const PlanLine *l) {
    const Expr *e = l->items.at[0].value;
    const SnSetting *kinds = &sn_settings[SN_SET_data_kind];
    const char *forms = "text(\"file\"), tokens(\"file\"), tensors(\"file\"), idx(\"file\", …) or "
                        "npy(\"file\", …)";
    if (e->kind != E_call && e->kind != E_name) {
        elab_error(cx, e->loc, "expected %s", forms);
        return;
    }
    const char *kind = str(cx, e->kind == E_call ? e->call.name : e->name.name);
    if (!sn_setting_text(kinds, kind, NULL)) {
        elab_error(cx, e->loc, "data '%s' is not compiled yet: expected %s", kind, forms);
        return;
    }
    give(cx, SN_SET_data_kind, e->loc, (Value){.kind = V_STRING, .text = kind});
    if (e->kind == E_call && is_array_kind(kind)) {
        read_arrays(cx, e);
        return;
    }
    for (uint32_t i = 0; e->kind == E_call && i < e->call.args.n; i++) {
        const CallArg *a = &e->call.args.at[i];
        if (a->name)
            plan_option(cx, a, "data");
        else
            plan_give(cx, SN_SET_data_path, a->value);
    }
}

static bool is_word(const Elab *cx, const Expr *e, const char *word) {
    return e->kind == E_name && !e->name.qualifier && strcmp(str(cx, e->name.name), word) == 0;
}

// 'every(2)', 'every(2, layer)', 'budget(70GiB)'.
static void read_recompute_call(Elab *cx, const Expr *e) {
    const char *how = e->kind == E_call ? str(cx, e->call.name) : "";
    const CallArgList *args = &e->call.args;
    bool every = strcmp(how, "every") == 0, budget = strcmp(how, "budget") == 0;
    bool named = every && args->n == 2 && args->at[1].value->kind == E_name;
    if ((!every && !budget) || (args->n != 1 && !named) || args->at[0].name) {
        elab_error(
            cx, e->loc,
            "'recompute' takes none, every(N), every(N, axis), budget(BYTES), 'keep : names' "
            "or ': names'");
        return;
    }
    plan_give(cx, every ? SN_SET_recompute_every : SN_SET_recompute_budget, args->at[0].value);
    if (named) cx->m->recompute.axis = args->at[1].value->name.name;
    cx->m->recompute.loc = e->loc;
}

static void read_recompute(Elab *cx, const PlanLine *l) {
    const Expr *e = l->items.n ? l->items.at[0].value : NULL;
    bool keep = e && is_word(cx, e, "keep");
    if (e && l->has_paths != keep)
        elab_error(cx, l->loc,
                   keep ? "'recompute keep' takes names after ':'"
                        : "'recompute' takes names after ': ' alone or after 'keep'");
    else if (l->has_paths)
        vec_push(cx->arena, &cx->plan.demands, l), cx->plan.named = true;
    else if (!is_word(cx, e, "none"))
        read_recompute_call(cx, e);
}

static DemandKind demand_kind(const Elab *cx, const PlanLine *l) {
    for (uint32_t k = 0; k < DEMAND_recompute; k++)
        if (strcmp(str(cx, l->what), demand_names[k]) == 0) return (DemandKind)k;
    return l->items.n ? DEMAND_keep : DEMAND_recompute;
}

// What holds of all values. Names that are kept say that the others are not.
static void set_recompute(Elab *cx) {
    Recompute *r = &cx->m->recompute;
    double every = plan_number(cx, SN_SET_recompute_every, 0);
    double budget = plan_number(cx, SN_SET_recompute_budget, 0);
    for (uint32_t i = 0; i < cx->plan.demands.n; i++) {
        const PlanLine *l = cx->plan.demands.at[i];
        bool keep = demand_kind(cx, l) == DEMAND_keep;
        if (keep && !cx->plan.set[SN_SET_recompute_every].text && budget <= 0)
            every = 1, r->loc = l->loc;
    }
    if (every > 0 && budget > 0)
        elab_error(cx, r->loc, "'recompute' is every(N) or budget(BYTES), not both");
    if (every > 0) r->mode = RECOMPUTE_every, r->number = (int64_t)every;
    if (budget > 0) r->mode = RECOMPUTE_budget, r->number = (int64_t)fmin(budget, 9e18);
    if (every > 0 && cx->m->repeats.n <= 1)
        elab_error(cx, r->loc, "'recompute' counts rounds of a 'repeat', and the model has none");
    bool found = !r->axis;
    for (uint32_t i = 1; i < cx->m->repeats.n && !found; i++)
        found = cx->m->repeats.at[i].axis == r->axis;
    if (!found) elab_error(cx, r->loc, "no 'repeat' goes over '%s'", str(cx, r->axis));
}

static void read_line(Elab *cx, const PlanLine *l) {
    const char *what = l->is_stage ? "stage" : str(cx, l->what);
    const SnLine *k = sn_line_find(what);
    if (!k || k->later) {
        refuse_line(cx, l, what);
        return;
    }
    if (!line_good(cx, l, k)) return;
    if (k->shape == SN_LINE_VALUE)
        plan_give(cx, (SnSettingId)(sn_setting_find(what) - sn_settings), l->items.at[0].value);
    if (k->shape == SN_LINE_OPTIONS)
        for (uint32_t i = 0; i < l->items.n; i++) plan_option(cx, &l->items.at[i], what);
    if (strcmp(what, "data") == 0) read_data(cx, l);
    if (strcmp(what, "size") == 0) read_size(cx, l);
    if (strcmp(what, "micro") == 0) read_micro(cx, l);
    if (strcmp(what, "optimizer") == 0) read_optimizer(cx, l);
    if (strcmp(what, "lr") == 0) read_rate(cx, l);
    if (strcmp(what, "precision") == 0) plan_precision(cx, l);
    if (strcmp(what, "recompute") == 0) read_recompute(cx, l);
    if (strcmp(what, "freeze") == 0) vec_push(cx->arena, &cx->plan.freezes, l);
    bool demands = !strcmp(what, "offload") && l->has_paths;
    if (!strcmp(what, "fuse") || !strcmp(what, "nofuse") || demands) {
        vec_push(cx->arena, &cx->plan.demands, l);
        cx->plan.named = true;
    }
}

// ---- data ---------------------------------------------------------------------------------------

// What an input takes from the data; NULL, reported, when there is no such field.
static const char *field_of(Elab *cx, const Arg *a) {
    const char *name = str(cx, a->name), *kind = plan_text(cx, SN_SET_data_kind);
    if (strcmp(kind, "tensors") == 0 || is_array_kind(kind) || strcmp(name, "tokens") == 0)
        return name;
    if (strcmp(name, "targets") == 0) return "next";
    if (strcmp(name, "weight") == 0) return "ones"; // every position counts
    elab_error(cx, a->loc, "'%s' data has no field '%s': it gives 'tokens', 'targets' and 'weight'",
               kind, name);
    if (plan_line(cx, "data")) elab_note(cx, plan_line(cx, "data")->loc, "the data is chosen here");
    return NULL;
}

bool plan_bind_inputs(Elab *cx) {
    bool good = true;
    if (cx->program->no_plan) return true; // no data is chosen
    for (uint32_t i = 0; i < cx->model->args.n; i++)
        good &= field_of(cx, &cx->model->args.at[i]) != NULL;
    return good;
}

// ---- all together -------------------------------------------------------------------------------

static void find_sample(Elab *cx, const PlanLineList *lines) {
    for (uint32_t i = 0; i < lines->n; i++) // its name first: extents depend on it
        if (strcmp(str(cx, lines->at[i]->what), "micro") == 0 && lines->at[i]->items.n == 1)
            cx->plan.sample = lines->at[i]->items.at[0].name;
    Sym batch = sym(cx->syms, "batch");
    if (!cx->plan.sample && scope_local(cx->file, batch, NAME_axis)) cx->plan.sample = batch;
}

bool plan_read(Elab *cx, const Define *defs, uint32_t ndefs) {
    uint32_t errors = cx->diag->errors;
    PlanLineList lines = {0};
    CHECK(sn_line_count <= MAX_LINES, "%u kinds of plan lines", sn_line_count);
    read_defines(cx, defs, ndefs);
    for (uint32_t i = 0; i < cx->ast->items.n; i++)
        if (cx->ast->items.at[i].kind == ITEM_train)
            for (uint32_t k = 0; k < cx->ast->items.at[i].train.n; k++)
                vec_push(cx->arena, &lines, cx->ast->items.at[i].train.at[k]);
    find_sample(cx, &lines);
    for (uint32_t i = 0; i < lines.n; i++)
        if (strcmp(str(cx, lines.at[i]->what), "micro") != 0) read_line(cx, lines.at[i]);
    for (uint32_t i = 0; i < lines.n; i++)
        if (strcmp(str(cx, lines.at[i]->what), "micro") == 0) read_line(cx, lines.at[i]);
    give_defines(cx);
    plan_precision_defines(cx);
    return cx->diag->errors == errors;
}

static void option(Elab *cx, const char *key, const char *value) {
    vec_push(cx->arena, &cx->program->options, ((PlanOption){key, value}));
}

static void option_number(Elab *cx, const char *key, double x) {
    option(cx, key, number_text(cx, x));
}

// What the executable may be told otherwise.
static void option_settings(Elab *cx) {
    for (uint32_t i = 0; i < SN_SETTINGS; i++) {
        const char *text = plan_text(cx, (SnSettingId)i);
        bool always = i == SN_SET_data_kind || i == SN_SET_seed;
        if (sn_settings[i].when == SN_RUN && (cx->plan.set[i].text || always))
            option(cx, sn_settings[i].key, text);
    }
}

void plan_name(Elab *cx, Sym name, const Value *v) {
    if (!cx->plan.named || v->kind != V_TENSOR || v->home != cx->b->f) return;
    ValueName x = {path_join(cx, cx->at.base, str(cx, name)), node_at(v->home, v->node)->name};
    if (x.given != x.node) vec_push(cx->arena, &cx->plan.names, x);
}

// Adds a demand of the module, unless nothing is selected or it is there already.
static bool demand(Elab *cx, const Demand *d) {
    Module *m = cx->m;
    bool selects = false;
    for (uint32_t i = 0; i < m->demands.n && d->exact; i++)
        if (m->demands.at[i].path == d->path && m->demands.at[i].loc.start == d->loc.start)
            return true;
    for (FuncId i = 0; i < m->funcs.n && !selects; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n && !selects; n++)
            selects = demand_selects(m, d, m->funcs.at[i], n);
    if (selects) vec_push(cx->arena, &m->demands, *d);
    return selects;
}

void plan_demands(Elab *cx) {
    set_recompute(cx);
    for (uint32_t i = 0; i < cx->plan.demands.n; i++) {
        const PlanLine *l = cx->plan.demands.at[i];
        for (uint32_t k = 0; k < l->paths.n; k++) {
            const Path *p = &l->paths.at[k];
            Demand d = {p->text, (uint8_t)demand_kind(cx, l), false, p->loc};
            bool selects = demand(cx, &d);
            for (uint32_t j = 0; j < cx->plan.names.n; j++) {
                const ValueName *x = &cx->plan.names.at[j];
                Demand named = {x->node, d.kind, true, p->loc};
                if (path_matches(cx, p->text, str(cx, x->given)) &&
                    !path_matches(cx, p->text, str(cx, x->node)))
                    selects |= demand(cx, &named);
            }
            if (!selects) elab_error(cx, p->loc, "'%s' matches no value", str(cx, p->text));
        }
    }
}

void plan_options(Elab *cx) {
    Program *g = cx->program;
    if (g->no_plan) return;
    option_settings(cx);
    for (uint32_t i = 0; i < cx->model->args.n; i++) {
        const Arg *a = &cx->model->args.at[i];
        option(cx, arena_printf(cx->arena, "input.%s", str(cx, a->name)), field_of(cx, a));
    }
    for (uint32_t i = 0; i < cx->file->items.n; i++) {
        const Binding *b = &cx->file->items.at[i];
        if (b->space != NAME_axis || b->decl->extent || !b->axis) continue;
        double extent = b->axis == cx->sample ? (double)g->batch : (double)extent_of(cx, b->axis);
        option_number(cx, arena_printf(cx->arena, "size.%s", str(cx, b->name)), extent);
    }
    option_number(cx, "batch", (double)g->batch);
    option_number(cx, "micro", (double)g->micro);
    option_number(cx, "accum", (double)(g->batch / g->micro));
    option(cx, "clip", plan_text(cx, SN_SET_clip));
}

bool path_matches(Elab *cx, Sym pattern, const char *path) {
    return path_selects(str(cx, pattern), path);
}

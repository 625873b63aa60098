// The plan half and the command line: lines 'what how: which' become settings and options.
//
// What is compiled: data, size, micro, optimizer, lr, clip, steps, seed, freeze. Every other line
// that the language has is refused by name, at its place, so that no wish is silently dropped. -D
// reaches every axis and constant of the file and every option of those lines; a -D that nothing
// used is a fault with a suggestion. Options come out as text, in a fixed order.
#include "frontend/elab.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const compiled_lines[] = {"eval", "save", "data",  "size", "micro", "optimizer",
                                             "lr",   "clip", "steps", "seed", "freeze"};
enum { COMPILED_LINES = sizeof compiled_lines / sizeof *compiled_lines };
static const char *const later_lines[] = {"precision", "recompute", "mesh",  "shard", "schedule",
                                          "zero",      "offload",   "adapt", "fuse",  "nofuse",
                                          "average",   "load",      "stage", "log"};
enum { LATER_LINES = sizeof later_lines / sizeof *later_lines };

static const char *const other_keys[] = {"data.split", "data.stride",  "data.width", "data.shuffle",
                                         "eval.every", "eval.batches", "save.every", "save.keep"};
enum { OTHER_KEYS = sizeof other_keys / sizeof *other_keys };

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
        char *end;
        Option o = {.name = defs[i].name, .text = defs[i].value};
        o.value = strtod(o.text, &end);
        o.is_number = end != o.text && !*end;
        vec_push(cx->arena, &cx->plan.defines, o);
    }
}

static const char *nearest_define(Elab *cx, const char *name) {
    static const char *const plain[] = {
        "batch",     "micro",     "clip",       "steps",       "seed",       "lr.peak", "lr.steps",
        "lr.warmup", "data.path", "data.split", "micro.batch", "size.batch", "size.seq"};
    const char *best = suggest_of(name, plain, sizeof plain / sizeof *plain);
    const char *axis = scope_suggest(cx, cx->file, sym(cx->syms, name), NAME_axis);
    if (!axis) axis = scope_suggest(cx, cx->file, sym(cx->syms, name), NAME_value);
    if (!best || (axis && edit_distance(name, axis) <= edit_distance(name, best))) return axis;
    return best;
}

// A name of the file that no function needed is known all the same.
static bool define_known(Elab *cx, const char *name) {
    const char *plain = strncmp(name, "size.", 5) == 0 ? name + 5 : name;
    Sym s = sym(cx->syms, plain);
    Binding *b = scope_local(cx->file, s, NAME_axis);
    if (!b && plain == name) b = scope_local(cx->file, s, NAME_value);
    return b != NULL;
}

void plan_check_defines(Elab *cx) {
    for (uint32_t i = 0; i < cx->plan.defines.n; i++) {
        const Option *o = &cx->plan.defines.at[i];
        if (o->used || define_known(cx, o->name)) continue;
        const char *near = nearest_define(cx, o->name);
        if (near)
            diag_error(cx->diag, (Loc){0}, "-D %s: nothing has this name; did you mean '%s'?",
                       o->name, near);
        else
            diag_error(cx->diag, (Loc){0}, "-D %s: nothing has this name", o->name);
    }
}

// ---- lines --------------------------------------------------------------------------------------

static const Expr *only_item(Elab *cx, const PlanLine *l) {
    if (l->items.n == 1 && !l->items.at[0].name) return l->items.at[0].value;
    elab_error(cx, l->loc, "'%s' takes one value", str(cx, l->what));
    return NULL;
}

static bool no_paths(Elab *cx, const PlanLine *l) {
    if (!l->has_paths) return true;
    elab_error(cx, l->loc, "'%s' takes no ': names'", str(cx, l->what));
    return false;
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

static void read_size(Elab *cx, const PlanLine *l) {
    for (uint32_t i = 0; i < l->items.n; i++) {
        const CallArg *a = &l->items.at[i];
        Binding *b = a->name ? scope_local(cx->file, a->name, NAME_axis) : NULL;
        double x;
        if (!a->name) {
            elab_error(cx, a->loc, "'size' takes axes with extents, as in 'size batch = 8'");
        } else if (!b) {
            const char *near = scope_suggest(cx, cx->file, a->name, NAME_axis);
            elab_error(cx, a->name_loc,
                       near ? "the file has no axis '%s'; did you mean '%s'?"
                            : "the file has no axis '%s'",
                       str(cx, a->name), near);
        } else if (b->decl->extent) {
            elab_error(cx, a->loc, "axis '%s' has an extent already", str(cx, a->name));
            elab_note(cx, b->loc, "'%s' is declared here", str(cx, a->name));
        } else if (eval_number(cx, a->value, "an extent", &x)) {
            vec_push(cx->arena, &cx->plan.sizes, ((SizeLine){a->name, x, a->value->loc}));
        }
    }
}

static void read_optimizer(Elab *cx, const PlanLine *l) {
    const Expr *e = only_item(cx, l);
    OptimizerRule r = {.line = l};
    if (!e || !(r.func = line_block(cx, e, &r.options))) return;
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

static double read_number(Elab *cx, const PlanLine *l, const char *name, double otherwise) {
    const Option *d = plan_define(cx, name);
    double x = otherwise;
    const Expr *e = l && no_paths(cx, l) ? only_item(cx, l) : NULL;
    if (e) {
        bool good = eval_number(cx, e, arena_printf(cx->arena, "'%s'", name), &x);
        if (good && !(x >= 0 && x <= 9e15))
            elab_error(cx, e->loc, "'%s' may not be negative", name);
    }
    if (!d) return x;
    if (!(d->value >= 0 && d->value <= 9e15))
        diag_error(cx->diag, (Loc){0}, "-D %s=%s: may not be negative", d->name, d->text);
    return d->value;
}

static void read_micro(Elab *cx, const PlanLine *l) {
    const CallArg *a = l->items.n == 1 ? &l->items.at[0] : NULL;
    if (!a || !a->name || !scope_local(cx->file, a->name, NAME_axis)) {
        elab_error(cx, l->loc,
                   "'micro' takes one axis of the file with its extent, as in 'micro batch = 8'");
        return;
    }
    cx->plan.sample = a->name;
    cx->plan.micro_loc = a->value->loc;
    eval_number(cx, a->value, "the samples per micro-batch", &cx->plan.micro);
}

static bool listed(const char *name, const char *const *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

static void refuse_line(Elab *cx, const PlanLine *l) {
    const char *what = l->is_stage ? "stage" : str(cx, l->what);
    if (strcmp(what, "precision") == 0 && l->items.n == 1 && !l->has_paths &&
        !l->items.at[0].name) {
        const Expr *e = l->items.at[0].value;
        if (e->kind == E_name && strcmp(str(cx, e->name.name), "f32") == 0) return;
        elab_error(cx, l->loc, "'precision' other than f32 is not compiled yet");
        return;
    }
    if (listed(what, later_lines, LATER_LINES)) {
        elab_error(cx, l->loc, "'%s' is not compiled yet", what);
        return;
    }
    const char *near = suggest_of(what, compiled_lines, COMPILED_LINES);
    if (!near) near = suggest_of(what, later_lines, LATER_LINES);
    if (near)
        elab_error(cx, l->what_loc, "unknown plan line '%s'; did you mean '%s'?", what, near);
    else
        elab_error(cx, l->what_loc, "unknown plan line '%s'", what);
}

static void option_later(Elab *cx, const char *key, const char *value) {
    vec_push(cx->arena, &cx->plan.others, ((PlanOption){key, value}));
}

// An option that only the executable reads: a number or a bool, kept as text.
static void read_other(Elab *cx, const CallArg *a, const char *line, const char *const *known) {
    const char *name = str(cx, a->name);
    while (*known && strcmp(*known, name) != 0) known++;
    if (!*known) {
        elab_error(cx, a->loc, "'%s' of '%s' is not compiled yet", name, line);
        return;
    }
    Value v = eval(cx, a->value);
    const char *key = arena_printf(cx->arena, "%s.%s", line, name);
    if (v.kind == V_BOOL) {
        option_later(cx, key, v.truth ? "true" : "false");
    } else if (v.kind != V_NUM || !(v.num >= 0)) {
        if (v.kind != V_ERROR)
            elab_error(cx, a->value->loc, "'%s' is a number from 0 on, found %s", name,
                       type_text(cx, &v));
    } else if (strcmp(name, "split") == 0 && !(v.num > 0 && v.num <= 1)) {
        elab_error(cx, a->value->loc, "'split' is the part for training, above 0 and at most 1");
    } else {
        option_later(cx, key, number_text(cx, v.num));
    }
}

static void read_line(Elab *cx, const PlanLine *l) {
    const char *what = str(cx, l->what);
    Plan *p = &cx->plan;
    if (l->is_stage || !listed(what, compiled_lines, COMPILED_LINES)) {
        refuse_line(cx, l);
        return;
    }
    static const char *const eval_known[] = {"every", "batches", NULL}, *const save_known[] = {
                                                                            "every", "keep", NULL};
    bool saves = strcmp(what, "save") == 0;
    if (saves || strcmp(what, "eval") == 0)
        for (uint32_t i = 0; i < l->items.n; i++)
            read_other(cx, &l->items.at[i], what, saves ? save_known : eval_known);
    if (strcmp(what, "size") == 0) read_size(cx, l);
    if (strcmp(what, "optimizer") == 0) read_optimizer(cx, l);
    if (strcmp(what, "data") == 0) p->data = l;
    if (strcmp(what, "lr") == 0) p->lr = l;
    if (strcmp(what, "clip") == 0) p->clip = l;
    if (strcmp(what, "steps") == 0) p->steps = l;
    if (strcmp(what, "seed") == 0) p->seed = l;
    if (strcmp(what, "freeze") != 0) return;
    if (l->items.n || !l->has_paths)
        elab_error(cx, l->loc, "'freeze' takes names after ':', as in 'freeze : wte'");
    vec_push(cx->arena, &p->freezes, l);
}

// ---- data ---------------------------------------------------------------------------------------

static void data_option(Elab *cx, const CallArg *a) {
    static const char *const known[] = {"split", "stride", "width", "shuffle", NULL};
    Plan *p = &cx->plan;
    if (a->name) {
        read_other(cx, a, "data", known);
        return;
    }
    Value v = eval(cx, a->value);
    if (v.kind == V_STRING && !p->data_path)
        p->data_path = v.text;
    else if (v.kind != V_ERROR)
        elab_error(cx, a->loc, "'%s' takes one path in quotes, found %s", p->data_kind,
                   p->data_path ? "more" : type_text(cx, &v));
}

static bool data_kind_known(const char *kind) {
    static const char *const kinds[] = {"text", "tokens", "tensors"};
    return listed(kind, kinds, sizeof kinds / sizeof *kinds);
}

static void read_data(Elab *cx) {
    Plan *p = &cx->plan;
    const char *forms = "text(\"file\"), tokens(\"file\") or tensors(\"file\")";
    p->data_kind = "text";
    const Expr *e = p->data && no_paths(cx, p->data) ? only_item(cx, p->data) : NULL;
    if (e && (e->kind == E_call || e->kind == E_name)) {
        p->data_kind = str(cx, e->kind == E_call ? e->call.name : e->name.name);
        if (!data_kind_known(p->data_kind))
            elab_error(cx, e->loc, "data '%s' is not compiled yet: expected %s", p->data_kind,
                       forms);
        else if (e->kind == E_call)
            for (uint32_t i = 0; i < e->call.args.n; i++) data_option(cx, &e->call.args.at[i]);
    } else if (e) {
        elab_error(cx, e->loc, "expected %s", forms);
    }
    const char *path = define_text(cx, "data.path"), *kind = define_text(cx, "data.kind");
    for (uint32_t i = 0; i < OTHER_KEYS; i++) {
        const char *set = define_text(cx, other_keys[i]);
        if (set) option_later(cx, other_keys[i], set);
    }
    if (path) p->data_path = path;
    if (kind && !data_kind_known(kind))
        diag_error(cx->diag, (Loc){0}, "-D data.kind=%s: expected text, tokens or tensors", kind);
    if (kind) p->data_kind = kind;
}

// What an input takes from the data; NULL, reported, when there is no such field.
static const char *field_of(Elab *cx, const Arg *a) {
    const char *name = str(cx, a->name), *kind = cx->plan.data_kind;
    if (strcmp(kind, "tensors") == 0 || strcmp(name, "tokens") == 0) return name;
    if (strcmp(name, "targets") == 0) return "next";
    if (strcmp(name, "weight") == 0) return "ones"; // every position counts
    if (!data_kind_known(kind)) return NULL;
    elab_error(cx, a->loc, "'%s' data has no field '%s': it gives 'tokens', 'targets' and 'weight'",
               kind, name);
    if (cx->plan.data) elab_note(cx, cx->plan.data->loc, "the data is chosen here");
    return NULL;
}

bool plan_bind_inputs(Elab *cx) {
    bool good = true;
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

static const char *sample_option(Elab *cx, const char *format) {
    return arena_printf(cx->arena, format, cx->plan.sample ? str(cx, cx->plan.sample) : "batch");
}

bool plan_read(Elab *cx, const Define *defs, uint32_t ndefs) {
    uint32_t errors = cx->diag->errors;
    Plan *p = &cx->plan;
    PlanLineList lines = {0};
    read_defines(cx, defs, ndefs);
    for (uint32_t i = 0; i < cx->ast->items.n; i++)
        if (cx->ast->items.at[i].kind == ITEM_train)
            for (uint32_t k = 0; k < cx->ast->items.at[i].train.n; k++)
                vec_push(cx->arena, &lines, cx->ast->items.at[i].train.at[k]);
    find_sample(cx, &lines);
    for (uint32_t i = 0; i < lines.n; i++)
        if (strcmp(str(cx, lines.at[i]->what), "micro") != 0) read_line(cx, lines.at[i]);
    for (uint32_t i = 0; i < lines.n; i++)
        if (strcmp(str(cx, lines.at[i]->what), "micro") == 0) read_micro(cx, lines.at[i]);
    const Option *d = plan_define(cx, "micro");
    if (!d) d = plan_define(cx, sample_option(cx, "micro.%s"));
    if (d) p->micro = d->value, p->micro_loc = (Loc){0};
    p->clip_value = read_number(cx, p->clip, "clip", 0);
    p->steps_value = read_number(cx, p->steps, "steps", 0);
    p->seed_value = read_number(cx, p->seed, "seed", 1);
    read_data(cx);
    return cx->diag->errors == errors;
}

static void option(Elab *cx, const char *key, const char *value) {
    vec_push(cx->arena, &cx->program->options, ((PlanOption){key, value}));
}

static void option_number(Elab *cx, const char *key, double x) {
    option(cx, key, number_text(cx, x));
}

static void other_options(Elab *cx) {
    for (uint32_t i = 0; i < OTHER_KEYS; i++)
        for (uint32_t k = cx->plan.others.n; k-- > 0;)
            if (strcmp(cx->plan.others.at[k].key, other_keys[i]) == 0) {
                option(cx, other_keys[i], cx->plan.others.at[k].value);
                break; // the last counts, and -D was read last
            }
}

void plan_options(Elab *cx) {
    const Plan *p = &cx->plan;
    Program *g = cx->program;
    option(cx, "data.kind", p->data_kind);
    if (p->data_path) option(cx, "data.path", p->data_path);
    other_options(cx);
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
    option_number(cx, "steps", p->steps_value);
    option_number(cx, "clip", p->clip_value);
    option_number(cx, "seed", p->seed_value);
}

// ---- paths --------------------------------------------------------------------------------------

// '*' stands for any text within one component. [p, pe) against [s, se); greedy with one fall-back.
static bool component_matches(const char *p, const char *pe, const char *s, const char *se) {
    const char *star = NULL, *from = NULL;
    while (s < se) {
        if (p < pe && *p == '*') {
            star = p++, from = s;
        } else if (p < pe && *p == *s) {
            p++, s++;
        } else if (star) {
            p = star + 1, s = ++from;
        } else {
            return false;
        }
    }
    while (p < pe && *p == '*') p++;
    return p == pe;
}

static const char *component_end(const char *s) {
    while (*s && *s != '.') s++;
    return s;
}

// Whether the components of the pattern match a run that starts at s.
static bool run_matches(const char *p, const char *s) {
    for (;;) {
        const char *pe = component_end(p), *se = component_end(s);
        if (!component_matches(p, pe, s, se)) return false;
        if (!*pe) return true;
        if (!*se) return false;
        p = pe + 1, s = se + 1;
    }
}

bool path_matches(Elab *cx, Sym pattern, const char *path) {
    const char *p = str(cx, pattern);
    for (const char *s = path;; s++) {
        if (run_matches(p, s)) return true;
        s = component_end(s);
        if (!*s) return false;
    }
}

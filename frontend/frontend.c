// The front half of the compiler: files in, a module with the functions step, eval, predict,
// generate and init out.
//
// The model is elaborated once per function: with 'training' on for step, off for eval and predict, and
// with one sample for generate; init is written while step is, one assignment per state. Each function
// starts from fresh file scopes, because extents may differ; the ids of axes, states and templates
// persist. Time is linear in what the model expands to, which elab_scope.c bounds.
#include "frontend/frontend.h"
#include "frontend/elab.h"
#include "frontend/parse.h"
#include "ir/base/file.h"
#include <errno.h>
#include <math.h>
#include <string.h>

enum { MAX_FILES = 64, MAX_FILE_BYTES = 16 << 20 };

// ---- 'use' --------------------------------------------------------------------------------------

// "models/a.sn" used from "models/b.sn" is named relative to the latter.
static const char *beside(Arena *a, const char *from, const char *path) {
    const char *slash = strrchr(from, '/');
    if (!slash || *path == '/') return path;
    return arena_printf(a, "%.*s/%s", (int)(slash - from), from, path);
}

static char *read_all(Arena *a, const char *path, size_t *size) {
    FILE *f = file_open(path);
    if (!f) return NULL;
    char *text = NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        long n = ftell(f);
        if (n >= 0 && n <= MAX_FILE_BYTES && fseek(f, 0, SEEK_SET) == 0) {
            text = arena_alloc(a, (size_t)n + 1);
            *size = fread(text, 1, (size_t)n, f);
            if (*size != (size_t)n) text = NULL;
        }
        if (n > MAX_FILE_BYTES) errno = EFBIG;
    }
    int saved = errno;
    fclose(f);
    errno = saved;
    return text;
}

typedef struct {
    AstFile *at[MAX_FILES];
    uint32_t n;
} Files;

static bool used_already(const Elab *cx, const Files *files, const char *path) {
    for (uint32_t i = 0; i < files->n; i++)
        if (strcmp(cx->diag->files.at[files->at[i]->file].path, path) == 0) return true;
    return false;
}

static void use_file(Elab *cx, Files *files, const Use *u, const char *from) {
    if (u->alias || u->with.n) {
        elab_error(cx, u->loc, "'use … as' and 'use … with' are not compiled yet");
        return;
    }
    const char *path = beside(cx->arena, from, u->path);
    size_t size = 0;
    if (used_already(cx, files, path)) return;
    if (files->n == MAX_FILES) {
        elab_error(cx, u->path_loc, "more than %d files", MAX_FILES);
        return;
    }
    char *text = read_all(cx->arena, path, &size);
    if (!text) {
        elab_error(cx, u->path_loc, "cannot read '%s': %s", path, file_fault());
        return;
    }
    uint16_t id = diag_add_file(cx->diag, path, text, size, false);
    files->at[files->n++] = parse_file(cx->arena, cx->syms, cx->diag, id);
}

// Breadth first, so a chain of files needs no recursion.
static void load_used(Elab *cx, Files *files) {
    for (uint32_t i = 0; i < files->n; i++) {
        const AstFile *f = files->at[i];
        for (uint32_t k = 0; k < f->items.n; k++)
            if (f->items.at[k].kind == ITEM_use)
                use_file(cx, files, &f->items.at[k].use, cx->diag->files.at[f->file].path);
    }
}

// ---- file scopes --------------------------------------------------------------------------------

static Binding *declare(Elab *cx, Scope *s, Sym name, NameSpace space, Loc loc) {
    const Binding *old = scope_local(s, name, space);
    if (old) {
        elab_error(cx, loc, "'%s' is declared twice", str(cx, name));
        elab_note(cx, old->loc, "'%s' is declared here", str(cx, name));
        return NULL;
    }
    // an axis and a constant of one name, in either order
    if (space == NAME_value) value_name_free(cx, name, loc);
    old = space == NAME_axis ? scope_local(s, name, NAME_value) : NULL;
    if (old) axis_name_taken(cx, old, loc);
    return scope_add(cx, s, name, space, loc);
}

static void declare_item(Elab *cx, Scope *s, const Item *item) {
    Binding *b;
    if (item->kind == ITEM_axis) {
        for (uint32_t i = 0; i < item->axes.n; i++) {
            const AxisDecl *d = &item->axes.at[i];
            if (d->pack.pack) {
                elab_error(cx, d->loc, "a pack is known inside a fn or block only");
                continue;
            }
            if (!(b = declare(cx, s, d->name, NAME_axis, d->name_loc))) continue;
            b->lazy = LAZY_waiting, b->decl = d, b->file_scope = s;
        }
    } else if (item->kind == ITEM_bind) {
        if ((b = declare(cx, s, item->bind.name, NAME_value, item->bind.name_loc)))
            b->lazy = LAZY_waiting, b->expr = item->bind.value, b->file_scope = s;
    } else if (item->kind == ITEM_func) {
        if ((b = declare(cx, s, item->func->name, NAME_func, item->func->name_loc)))
            b->func = item->func;
    }
}

static void open_scopes(Elab *cx, const Files *files) {
    cx->std = scope_new(cx, NULL, true);
    for (uint32_t i = 0; i < cx->std_ast->items.n; i++)
        declare_item(cx, cx->std, &cx->std_ast->items.at[i]);
    cx->file = cx->at.scope = scope_new(cx, cx->std, true);
    for (uint32_t k = 0; k < files->n; k++)
        for (uint32_t i = 0; i < files->at[k]->items.n; i++)
            declare_item(cx, cx->file, &files->at[k]->items.at[i]);
}

// The model of the first file that has one; two in it are a fault.
static bool find_model(Elab *cx, const Files *files) {
    for (uint32_t k = 0; k < files->n && !cx->model; k++)
        for (uint32_t i = 0; i < files->at[k]->items.n; i++) {
            const Item *item = &files->at[k]->items.at[i];
            if (item->kind != ITEM_func || item->func->kind != FUNC_model) continue;
            if (cx->model) {
                elab_error(cx, item->func->name_loc, "a second model: '%s' is one already",
                           str(cx, cx->model->name));
                elab_note(cx, cx->model->name_loc, "the first is here");
                return false;
            }
            cx->model = item->func;
        }
    if (cx->model) return true;
    elab_error(cx, (Loc){files->at[0]->file, 0, 0}, "the file has no model");
    return false;
}

// The plan of the first file that has one.
static void find_plan(Elab *cx, const Files *files) {
    cx->ast = files->at[0];
    for (uint32_t k = 0; k < files->n; k++)
        for (uint32_t i = 0; i < files->at[k]->items.n; i++)
            if (files->at[k]->items.at[i].kind == ITEM_train) {
                cx->ast = files->at[k];
                return;
            }
    cx->program->no_plan = true;
}

// ---- functions ----------------------------------------------------------------------------------

static void begin(Elab *cx, const Files *files, const char *name, RunMode mode) {
    cx->mode = mode;
    cx->training = mode == MODE_step;
    cx->step_b = (Builder){.m = cx->m, .f = func_new(cx->m, name, NULL), .phase = PHASE_F};
    cx->b = &cx->step_b;
    cx->serial++;
    cx->work = 0;
    cx->at = (ElabContext){.context = HASH_SEED};
    cx->step = value_error();
    cx->losses.n = cx->yields.n = cx->changed.n = 0;
    cx->draws = (Map){.arena = cx->arena};
    cx->yield_at = (Map){.arena = cx->arena};
    open_scopes(cx, files);
}

// The samples of an input are the first axis of what is read for it.
static bool samples_come_first(Elab *cx, const Arg *a, const AxisList *axes) {
    if (!cx->plan.sample || cx->program->no_plan || !axes->n || axes->at[0] == cx->sample)
        return true;
    elab_error(cx, a->loc,
               list_has(axes, cx->sample)
                   ? "the samples of '%s' come first in its data: '%s' must be its first axis"
                   : "'%s' holds no samples: '%s' must be its first axis",
               str(cx, a->name), str(cx, cx->plan.sample));
    return false;
}

// One input of the model: kind and axes must be written.
static void bind_input(Elab *cx, const Arg *a) {
    Binding *b = declare(cx, cx->at.scope, a->name, NAME_value, a->name_loc);
    AxisList axes;
    AxisId range = 0;
    const char *kind = str(cx, a->kind);
    Elem elem = strcmp(kind, "int") == 0    ? ELEM_i32
                : strcmp(kind, "bool") == 0 ? ELEM_bool
                                            : ELEM_f32;
    if (!b) return;
    b->value = value_error();
    if (!value_name_free(cx, a->name, a->name_loc)) return;
    if (a->dims.arrow || !a->dims.given || a->init) {
        elab_error(cx, a->loc, "an input of the model is written as 'name: kind[axes]'");
        return;
    }
    if (!axes_resolve(cx, &a->dims.out, &axes) || !axes_fit(cx, a->loc, &axes)) return;
    if (!samples_come_first(cx, a, &axes)) return;
    if (*kind && strcmp(kind, "real") != 0 && elem == ELEM_f32) {
        if (!kind_resolve(cx, a->kind_loc, a->kind, &range)) return;
        elem = ELEM_i32;
    }
    cx->b->name = a->name, cx->b->loc = a->loc, cx->b->tmpl = 0, cx->b->inst = (Inst){0};
    NodeId n = ir_input(cx->b, str(cx, a->name), type_make(cx, elem, &axes), range);
    Value v = value_node(cx, n);
    if (range) v = value_ranged(v, 0, extent_of(cx, range) ? (double)extent_of(cx, range) - 1 : 0);
    scope_local(cx->at.scope, a->name, NAME_value)->value = v;
}

static void run_model(Elab *cx) {
    ElabContext file = cx->at;
    Frame frame = {.func = cx->model, .call = cx->model->name_loc, .depth = 1};
    frame.scope = cx->at.scope = scope_new(cx, file.scope, false);
    cx->at.frame = &frame;
    cx->at.depth = frame.depth;
    if (cx->model->axes.n)
        elab_error(cx, cx->model->name_loc,
                   "a model takes no axes in [ ]: declare them in the file");
    for (uint32_t i = 0; i < cx->model->args.n; i++) bind_input(cx, &cx->model->args.at[i]);
    exec_body(cx, &cx->model->body);
    cx->at = file;
    cx->b->name = 0;
}

// The sample axis: its extent is the batch, and the micro-batch divides it.
static bool resolve_batch(Elab *cx) {
    Program *g = cx->program;
    cx->m->sweep_above = (int64_t)ceil(plan_number(cx, SN_SET_sweep_above, 0) * (1 << 20));
    cx->m->sweep_rows = (int64_t)plan_number(cx, SN_SET_sweep_rows, 0);
    for (uint32_t i = 0; i < MERGE_MODES; i++)
        if (strcmp(plan_text(cx, SN_SET_merge), merge_names[i]) == 0) cx->m->merge = i;
    g->batch = g->micro = 1;
    g->micro_at = cx->plan.set[SN_SET_micro].loc;
    if (g->no_plan && !cx->plan.sample) return true; // nothing is cut
    Binding *b = cx->plan.sample ? scope_local(cx->file, cx->plan.sample, NAME_axis) : NULL;
    if (!b) {
        elab_error(cx, cx->model->name_loc,
                   "no sample axis: name one with a 'micro' line, or call it 'batch'");
        return false;
    }
    if (!axis_force(cx, b)) return false;
    g->sample = cx->sample;
    g->batch = cx->sample_size;
    if (!g->batch) {
        elab_error(cx, b->loc, "'%s' is the sample axis: its extent is at least 1, found 0",
                   str(cx, cx->plan.sample));
        return false;
    }
    double micro = plan_number(cx, SN_SET_micro, (double)g->batch);
    g->micro = micro >= 1 && micro <= (double)g->batch ? (int64_t)micro : 0;
    if (g->micro > 0 && (double)g->micro == micro && g->batch % g->micro == 0) return true;
    const char *name = str(cx, cx->plan.sample);
    elab_error(cx, cx->plan.set[SN_SET_micro].loc,
               "%s = %lld does not fall into micro-batches of %s", name, (long long)g->batch,
               number_text(cx, micro));
    return false;
}

static bool has_output(const Elab *cx) {
    for (uint32_t i = 0; i < cx->yields.n; i++)
        if (cx->yields.at[i].kind == RESULT_output) return true;
    return false;
}

// One step under errors: false stops.
static bool build_step(Elab *cx, const Files *files, const Define *defs, uint32_t ndefs) {
    begin(cx, files, "step", MODE_step);
    cx->init_b = (Builder){.m = cx->m, .f = func_new(cx->m, "init", NULL), .phase = PHASE_F};
    bool plan = plan_read(cx, defs, ndefs);
    if (!resolve_batch(cx)) return false;
    plan &= plan_bind_inputs(cx);
    run_model(cx);
    if (cx->diag->errors) return false;
    train_finish(cx);
    settled_check(cx);
    return plan && !cx->diag->errors;
}

// A function of the outputs. What it does not allow is no fault of the model, which trains all the same: then
// there is no such function, and a warning says so.
static void build_outputs(Elab *cx, const Files *files, const char *name, RunMode mode,
                          const char *when) {
    Diag *d = cx->diag;
    uint32_t items = d->items.n, errors = d->errors;
    begin(cx, files, name, mode);
    run_model(cx);
    if (d->errors == errors) {
        train_results(cx);
        if (mode == MODE_predict) settled_check(cx);
    }
    if (d->errors == errors) return;
    DiagItem first = d->items.at[items];
    d->items.n = items;
    d->errors = errors;
    cx->m->funcs.n--;
    diag_warning(d, first.loc, "no '%s': %s%s", name, when, first.text);
}

static Program *build_all(Elab *cx, const Files *files, const Define *defs, uint32_t ndefs) {
    bool good = build_step(cx, files, defs, ndefs);
    plan_check_defines(cx);
    if (!good || cx->diag->errors) return NULL;
    bool outputs = has_output(cx);
    begin(cx, files, "eval", MODE_eval);
    run_model(cx);
    if (cx->diag->errors) return NULL;
    train_results(cx);
    settled_check(cx);
    plan_options(cx);
    cx->program->loss_scale = cx->plan.set[SN_SET_loss_scale].text;
    if (outputs) {
        build_outputs(cx, files, "predict", MODE_predict, "");
        build_outputs(cx, files, "generate", MODE_generate, "with one sample, ");
    }
    warn_of_inputs(cx);
    state_notes(cx);
    plan_demands(cx);
    plan_precision_names(cx);
    if (cx->diag->errors) return NULL;
    module_number(cx->m);
    return cx->program;
}

Program *frontend_compile(Arena *a, SymTab *syms, Diag *d, uint16_t file, const Define *defs,
                          uint32_t ndefs) {
    Elab *cx = NEW(a, Elab);
    Files files = {.n = 1};
    cx->arena = a, cx->syms = syms, cx->diag = d;
    cx->templates.arena = cx->repeats.arena = cx->axis_ids.arena = cx->reported.arena =
        cx->state_ids.arena = a;
    cx->plan.size_at.arena = a;
    uint32_t errors = d->errors;
    files.at[0] = parse_file(a, syms, d, file);
    if (d->errors != errors) return NULL;
    cx->std_ast =
        parse_file(a, syms, d, diag_add_file(d, "std.sn", std_source, std_source_size, true));
    CHECK(d->errors == errors, "std.sn does not parse");
    load_used(cx, &files);
    if (d->errors != errors || !find_model(cx, &files)) return NULL;
    cx->m = module_new(a, syms, d);
    cx->program = NEW(a, Program);
    cx->program->m = cx->m;
    cx->program->model_at = cx->model->name_loc;
    find_plan(cx, &files);
    cx->program->model_name = sym_str(syms, cx->model->name);
    return build_all(cx, &files, defs, ndefs);
}

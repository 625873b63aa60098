// For tests of std.sn: a model from text, run by the interpreter for a step, its states and results by name.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "runtime/safetensors.h"
#include "tests/oracle/model.h"
#include <math.h>

typedef struct {
    TestModel *t;
    Interp in;
    Tensor *results;
    double step;
} TextRun;

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const TextRun *r = user;
    const Program *p = r->t->program;
    int64_t n = type_count(type_at(p->m, type));
    for (int64_t i = 0; i < n; i++) out[i] = strcmp(name, "step") == 0 ? r->step : n == 1;
    for (uint32_t i = 0; i < p->scalars.n; i++)
        if (strcmp(name, p->scalars.at[i].name) == 0) *out = p->scalars.at[i].value;
    return true;
}

static TestModel *compile(const char *text) {
    Arena *a = arena_new();
    TestModel *t = NEW(a, TestModel);
    *t = (TestModel){.a = a, .diag = diag_new(a), .ledger = ledger_new(a)};
    uint16_t file = diag_add_file(t->diag, "test", text, (uint32_t)strlen(text), false);
    t->program = frontend_compile(a, symtab_new(a), t->diag, file, NULL, 0);
    if (!t->program || t->diag->errors) {
        diag_print(t->diag, stderr, false);
        fail_msg("this does not compile:\n%s", text);
    }
    model_keep_gradients(t);
    if (!model_passes(t, "tidy")) fail_msg("the passes refuse:\n%s", text);
    return t;
}

static const Func *func_of(const TestModel *t, const char *name) {
    const Func *f = module_find(t->program->m, name);
    if (!f) fail_msg("no function '%s'", name);
    return f;
}

// States with their initial values.
static void start(TextRun *r, TestModel *t, InterpMode mode) {
    Text why = {.arena = t->a};
    Tensor none[64];
    *r = (TextRun){.t = t, .step = 1};
    interp_init(&r->in, t->program->m, mode, t->a);
    r->in.input = give_input;
    r->in.user = r;
    if (!interp_run(&r->in, func_of(t, "init"), none, NULL, &why)) fail_msg("%s", why.at);
}

static inline Tensor *state_of(TextRun *r, const char *path) {
    const Module *m = r->t->program->m;
    for (StateId s = 0; s < m->states.n; s++)
        if (strcmp(sym_str(m->syms, m->states.at[s].path), path) == 0) return &r->in.states[s];
    fail_msg("no state '%s' in\n%s", path, r->t->diag->files.at[1].text);
    return NULL;
}

static void run_step(TextRun *r, double step) {
    const Func *f = func_of(r->t, "step");
    Text why = {.arena = r->t->a};
    r->step = step;
    r->in.step = (uint64_t)step;
    r->results = NEW_ARRAY(r->t->a, Tensor, f->results.n);
    if (!interp_run(&r->in, f, r->results, NULL, &why)) fail_msg("%s", why.at);
}

static const double *result_of(const TextRun *r, const char *name) {
    const Func *f = func_of(r->t, "step");
    for (uint32_t i = 0; i < f->results.n; i++)
        if (strcmp(sym_str(r->t->program->m->syms, f->results.at[i].name), name) == 0)
            return r->results[i].at;
    fail_msg("no result '%s'", name);
    return NULL;
}

#define PLAN "train {\n data tensors(\"data.safetensors\")\n size batch = 1\n steps 100\n"

// want is rounded to f32 first, so that what lies beyond its range is infinite.
static inline bool within(double got, double want, double part, double absolute) {
    double w = (double)(float)want;
    if (isnan(w) || isnan(got)) return isnan(w) && isnan(got);
    if (isinf(w) || isinf(got)) return w == got;
    return fabs(got - w) <= part * fabs(w) + absolute;
}

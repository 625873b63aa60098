// The rounds of a classifier (passes/sweep.c) by the interpreter: the models of tests/e2e/sweep, a micro-batch and
// an evaluation, with rounds and without. Values of rows keep every bit, so the losses do; sums over rows differ
// by the order of sums alone (docs/numerics.md), in double not even by that.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "tests/oracle/model.h"
#include <math.h>

static const char *const models[] = {"tied",    "smooth", "zloss", "heads",
                                     "distill", "focal",  "longer"};
enum { MODELS = sizeof models / sizeof *models };

typedef struct {
    TestModel *t;
    Interp in;
} SweepRun;

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const SweepRun *r = user;
    const Type *t = type_at(r->t->program->m, type);
    int64_t n = type_count(t);
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)i) >> 20;
        out[i] =
            t->elem == ELEM_f32 ? (double)(float)((double)(h % 1000) / 1000) : (double)(h % 256);
    }
    if (!strcmp(name, "accum")) out[0] = 1;
    if (!strcmp(name, "valid") || !strcmp(name, "batch")) out[0] = (double)r->t->program->micro;
    return true;
}

static void run(SweepRun *r, const char *section) {
    const Func *f = module_find(r->t->program->m, section);
    Text why = {.arena = r->t->a};
    assert_non_null(f);
    Tensor *results = NEW_ARRAY(r->t->a, Tensor, f->results.n + 1);
    if (!interp_run(&r->in, f, results, NULL, &why)) fail_msg("%s: %s", section, why.at);
}

static uint32_t formed(const TestModel *t, const char *func) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->ledger->lines.n; i++) {
        const Decision *d = &t->ledger->lines.at[i];
        n += d->done && !strcmp(d->pass, "sweep") && !strcmp(d->func, func);
    }
    return n;
}

static void begin(SweepRun *r, const char *model, bool rounds, InterpMode mode) {
    char path[64];
    snprintf(path, sizeof path, "tests/e2e/sweep/%s.sn", model);
    r->t = model_compile(path, rounds ? "" : "sweep.above=1e6");
    assert_non_null(r->t);
    assert_true(model_passes(r->t, "sweep"));
    for (int i = 0; i < 2; i++)
        if ((formed(r->t, i ? "eval_micro" : "micro") > 0) != rounds)
            fail_msg("%s: %s rounds", model, rounds ? "no" : "there are");
    interp_init(&r->in, r->t->program->m, mode, r->t->a);
    r->in.input = give_input;
    r->in.user = r;
    r->in.seed = 5;
    r->in.step = 1;
    run(r, "init");
    run(r, "prologue");
    run(r, "micro");
    run(r, "eval_prologue");
    run(r, "eval_micro");
}

// How far two values of a state are apart, in the norm of the first.
static double distance(const Module *m, const Tensor *whole, const Tensor *rounds) {
    double norm = 0, off = 0;
    int64_t n = type_count(type_at(m, whole->type));
    assert_int_equal(whole->type, rounds->type);
    for (int64_t i = 0; i < n; i++) {
        double d = whole->at[i] - rounds->at[i];
        assert_true(!isnan(d));
        norm += whole->at[i] * whole->at[i];
        off += d * d;
    }
    return off > 0 ? sqrt(off / norm) : 0;
}

// bound: of sums over rows.
static void compare(const char *model, InterpMode mode, double bound) {
    SweepRun whole, rounds;
    uint32_t sums = 0;
    begin(&whole, model, false, mode);
    begin(&rounds, model, true, mode);
    const Module *m = whole.t->program->m;
    for (StateId s = 0; s < m->states.n; s++) {
        const char *path = sym_str(m->syms, m->states.at[s].path);
        double d = distance(m, &whole.in.states[s], &rounds.in.states[s]);
        bool loss = type_at(m, m->states.at[s].type)->n == 0; // of rows, added by one fold
        sums += d > 0;
        if (d > (loss && mode == INTERP_EXACT ? 0 : bound))
            fail_msg("%s: '%s' differs by %g of its norm", model, path, d);
    }
    if (mode == INTERP_EXACT && !sums) fail_msg("%s: no sum has another order", model);
    model_free(whole.t);
    model_free(rounds.t);
}

static void test_rounds_in_f32(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) compare(models[i], INTERP_EXACT, 1e-5);
}

static void test_rounds_in_double(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) compare(models[i], INTERP_F64, 1e-13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds_in_f32),
        cmocka_unit_test(test_rounds_in_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

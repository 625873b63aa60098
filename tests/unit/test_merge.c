// Products of one value as one (passes/merge.c) by the interpreter: a step and an evaluation, merged and not, of models
// whose parts have equal and unequal sizes, with biases and without, of which some do not learn. What is computed forward and what
// the parameters' sums are keeps every bit until a derivative by a value is rounded; in double all is the same.
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

typedef struct {
    const char *path, *defines;
    uint32_t sets; // of products that are one
} MergeModel;
static const MergeModel models[] = {
    {"models/gpt2.sn",
     "precision=bf16 layer=2 dim=16 head=2 vocab=64 ctx=8 size.seq=8 size.batch=2 micro=2", 2},
    {"models/gpt2.sn",
     "precision=f16 layer=1 dim=16 head=2 vocab=64 ctx=8 size.seq=8 size.batch=2 micro=1", 1},
    {"models/llama.sn",
     "precision=bf16 layer=2 dim=32 kv=1 group=2 ff=24 vocab=64 size.seq=8 size.batch=2 micro=1",
     4},
    {"models/bytes.sn", "precision=bf16 layer=1 dim=32 head=2 size.seq=8 size.batch=2 micro=2", 1},
    {"models/gpt2.sn",
     "precision=bf16 precision.grads=bf16 layer=1 dim=16 head=2 vocab=64 ctx=8 size.seq=8 "
     "size.batch=2 micro=1",
     1},
    {"tests/e2e/merge/shared.sn", "precision=bf16", 1}, // of parameters that two layers share none
    {"tests/e2e/merge/frozen.sn", "precision=bf16", 2}, // what learns, and what does not
    {"tests/e2e/merge/biases.sn", "precision=bf16", 3},
    {"tests/e2e/merge/batched.sn", "precision=bf16", 0},
    {"models/gpt2.sn",
     "precision=bf16 precision.master=none layer=1 dim=16 head=2 vocab=64 ctx=8 size.seq=8 "
     "size.batch=2 micro=1",
     0},
};
enum { MODELS = sizeof models / sizeof *models };

typedef struct {
    TestModel *t;
    Interp in;
    double loss[2]; // of the first micro-batch of each step
} MergeRun;

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const MergeRun *r = user;
    const Type *t = type_at(r->t->program->m, type);
    int64_t n = type_count(t);
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)i) >> 20;
        out[i] =
            t->elem == ELEM_f32 ? (double)(float)((double)(h % 1000) / 1000) : (double)(h % 64);
    }
    if (!strcmp(name, "accum")) out[0] = 1;
    if (!strcmp(name, "valid") || !strcmp(name, "batch")) out[0] = (double)r->t->program->micro;
    return true;
}

static void run(MergeRun *r, const char *section) {
    const Func *f = module_find(r->t->program->m, section);
    Text why = {.arena = r->t->a};
    assert_non_null(f);
    Tensor *results = NEW_ARRAY(r->t->a, Tensor, f->results.n + 1);
    if (!interp_run(&r->in, f, results, NULL, &why)) fail_msg("%s: %s", section, why.at);
}

static uint32_t formed(const TestModel *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->ledger->lines.n; i++) {
        const Decision *d = &t->ledger->lines.at[i];
        if (d->done && !strcmp(d->pass, "merge")) n += d->count;
    }
    return n;
}

static const Tensor *state(const MergeRun *r, const char *path) {
    const Module *m = r->t->program->m;
    StateId s = state_find(m, sym(m->syms, path));
    return s == NONE ? NULL : &r->in.states[s];
}

static void begin(MergeRun *r, const MergeModel *of, bool merged, InterpMode mode) {
    char defines[256];
    snprintf(defines, sizeof defines, "%s merge=%s", of->defines, merged ? "all" : "none");
    r->t = model_compile(of->path, defines);
    assert_non_null(r->t);
    assert_true(model_passes(r->t, "merge"));
    if (formed(r->t) != (merged ? of->sets : 0))
        fail_msg("%s %s: %u sets are merged", of->path, defines, formed(r->t));
    interp_init(&r->in, r->t->program->m, mode, r->t->a);
    r->in.input = give_input;
    r->in.user = r;
    r->in.seed = 5;
    r->in.step = 1;
    run(r, "init");
    for (int i = 0; i < 2; i++) { // the second step reads what the first one has made of the copies
        run(r, "prologue");
        run(r, "micro");
        r->loss[i] = state(r, "loss")->at[0];
        run(r, "update");
    }
    if (module_find(r->t->program->m, "refresh")) run(r, "refresh");
    run(r, "eval_prologue");
    run(r, "eval_micro");
}

// Of the norm, and of `floor` for each element: the derivative by the keys' bias is 0 but for roundings.
static double distance(const Module *m, const Tensor *a, const Tensor *b, double floor) {
    double norm = 0, off = 0;
    int64_t n = type_count(type_at(m, a->type));
    for (int64_t i = 0; i < n; i++) {
        double d = a->at[i] - b->at[i];
        assert_true(!isnan(d));
        norm += a->at[i] * a->at[i];
        off += d * d;
    }
    return off > 0 ? sqrt(off) / (sqrt(norm) + floor * sqrt((double)n)) : 0;
}

static void compare(const MergeModel *of, InterpMode mode, double bound, double floor) {
    MergeRun apart, merged;
    begin(&apart, of, false, mode);
    begin(&merged, of, true, mode);
    const Module *m = apart.t->program->m;
    uint32_t gone = 0;
    if (fabs(apart.loss[1] - merged.loss[1]) > bound * fabs(apart.loss[1]) ||
        !(apart.loss[0] == merged.loss[0]))
        fail_msg("%s %s: losses %.17g %.17g, %.17g %.17g", of->path, of->defines, apart.loss[0],
                 merged.loss[0], apart.loss[1], merged.loss[1]);
    for (StateId s = 0; s < m->states.n; s++) {
        const State *x = &m->states.at[s];
        const char *path = sym_str(m->syms, x->path);
        const Tensor *other = state(&merged, path);
        bool derived = x->kind == STATE_shadow || x->kind == STATE_accum;
        gone += !other;
        if (!other && !derived) fail_msg("%s: '%s' is gone", of->path, path);
        double d = x->kind == STATE_moment ? distance(m, &apart.in.states[s], other, floor) : 0;
        if (d > bound) fail_msg("%s: '%s' differs by %g of its norm", of->path, path, d);
    }
    assert_true((gone > 0) == (of->sets > 0));
    model_free(apart.t);
    model_free(merged.t);
}

// Moments show the gradients, the loss of the second step the parameters.
static void test_merged_rounded(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) compare(&models[i], INTERP_EXACT, 0.02, 1e-3);
}

static void test_merged_in_double(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) compare(&models[i], INTERP_F64, 1e-11, 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged_rounded),
        cmocka_unit_test(test_merged_in_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

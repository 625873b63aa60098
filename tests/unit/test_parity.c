// Parity with PyTorch: the models of models/ as native code against stored values.
//
// tests/parity/NAME.safetensors holds first weights, token batches, the first loss, the gradient of
// every parameter and the losses of 20 steps of the optimizer, from torch in double precision
// (tests/parity/generate.py). Here the same sizes are compiled by the whole pipeline and run as the
// executable runs them: prologue and micro per micro-batch, then update.
//
// Bounds: a loss 1e-6 relative, a gradient 1e-4 of its norm, the losses of 20 steps 1e-4 relative.
// A cut of the batch changes results by rounding only (docs/numerics.md): one micro-batch of four
// samples, two of two and four of one agree within 1e-6 and 1e-5.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/safetensors.h"
#include "tests/oracle/model.h"
#include <math.h>

// ---- the stored values

typedef struct {
    SnSafetensors *file;
    const char *name, *defines;
    int64_t steps, batch;
    double *losses;
} ParityReference;

static void *read_tensor(const ParityReference *r, const SnTensorInfo *t) {
    void *to = malloc(t->bytes + 8);
    SnError err;
    assert_non_null(to);
    if (sn_st_read(r->file, t, 0, t->bytes, to, &err)) fail_msg("%s: %s", r->name, err.text);
    return to;
}

static void *read_named(const ParityReference *r, const char *name) {
    const SnTensorInfo *t = sn_st_find(r->file, name);
    if (!t) fail_msg("%s: no tensor '%s'", r->name, name);
    return read_tensor(r, t);
}

static ParityReference reference_open(const char *name) {
    ParityReference r = {.name = name};
    char path[512];
    SnError err;
    snprintf(path, sizeof path, "%s/tests/parity/%s.safetensors", SOURCE_DIR, name);
    if (sn_st_open(path, &r.file, &err)) fail_msg("%s", err.text);
    r.defines = sn_st_metadata(r.file, "defines");
    assert_non_null(r.defines);
    const char *batch = strstr(r.defines, "size.batch=");
    assert_non_null(batch);
    r.batch = atoll(batch + strlen("size.batch="));
    r.steps = (int64_t)(sn_st_find(r.file, "losses")->bytes / sizeof *r.losses);
    r.losses = read_named(&r, "losses");
    return r;
}

static void reference_close(ParityReference *r) {
    free(r->losses);
    sn_st_close(r->file);
}

// ---- a model that runs

typedef struct {
    bool gradients; // as results of the update
    int64_t micro;  // samples in a micro-batch; 0: half the batch
    const char *cpu;
    int threads;
    const char *more; // -D options
} How;

static TestModel *start(const ParityReference *r, How how) {
    char defines[512], path[64];
    static const char *const of_tests[] = {"weighted", "groups", "cnn", "optimizers"};
    const char *folder = "models";
    for (size_t i = 0; i < sizeof of_tests / sizeof *of_tests; i++)
        if (!strcmp(r->name, of_tests[i])) folder = "tests/models";
    snprintf(path, sizeof path, "%s/%s.sn", folder, r->name);
    int64_t micro = how.micro ? how.micro : r->batch / 2;
    snprintf(defines, sizeof defines, "%s micro.batch=%lld %s", r->defines, (long long)micro,
             how.more ? how.more : "");
    TestModel *t = model_compile(path, defines);
    assert_non_null(t);
    if (how.gradients) model_keep_gradients(t);
    assert_true(model_passes(t, NULL));
    assert_true(model_load(t, how.cpu, how.threads));
    return t;
}

// Parameters are the stored ones, other states as the model begins.
static void init_states(const TestModel *t, const ParityReference *r) {
    const SnPlan *plan = t->native.plan;
    const SnEnv env = {.seed = 1};
    uint32_t params = 0;
    sn_exec_run(t->native.exec, "init", &env, NULL);
    for (uint32_t i = 0; i < plan->states.count; i++) {
        const SnState *s = &SN_AT(plan, SnState, states)[i];
        void *to = sn_exec_at(t->native.exec, s->region, s->offset);
        char name[256];
        if (s->kind != STATE_param) continue;
        snprintf(name, sizeof name, "param.%s", SN_STRING(plan, s->path));
        const SnTensorInfo *info = sn_st_find(r->file, name);
        if (!info || info->bytes != (uint64_t)s->bytes || info->ndim != s->naxes)
            fail_msg("%s: '%s' is not stored, or in another shape", r->name, name);
        for (uint32_t d = 0; d < info->ndim; d++) assert_int_equal(info->shape[d], s->size[d]);
        void *from = read_tensor(r, info);
        memcpy(to, from, (size_t)s->bytes);
        free(from);
        params++;
    }
    sn_exec_run(t->native.exec, "refresh", &env, NULL); // parameters in other types
    for (uint32_t i = 0; i < sn_st_count(r->file); i++) // and the model has every stored one
        params -= strncmp(sn_st_at(r->file, i)->name, "param.", 6) == 0;
    assert_int_equal(params, 0);
}

// Samples [first, ...) of a step's batch into the section's inputs.
static void fill_inputs(const TestModel *t, const ParityReference *r, const char *section,
                        int64_t step, int64_t first) {
    const SnPlan *plan = t->native.plan;
    for (uint32_t i = 0; i < plan->inputs.count; i++) {
        const SnPort *p = &SN_AT(plan, SnPort, inputs)[i];
        if (strcmp(SN_STRING(plan, p->section), section)) continue;
        assert_int_equal(p->sample, 1);
        const SnTensorInfo *info = sn_st_find(r->file, SN_STRING(plan, p->name));
        assert_non_null(info);
        uint64_t row = info->bytes / (uint64_t)(r->steps * r->batch);
        assert_int_equal((uint64_t)p->bytes, row * (uint64_t)p->size[0]);
        SnError err;
        if (sn_st_read(r->file, info, row * (uint64_t)(step * r->batch + first), (uint64_t)p->bytes,
                       sn_exec_at(t->native.exec, p->region, p->offset), &err))
            fail_msg("%s", err.text);
    }
}

static void run_step(const TestModel *t, const ParityReference *r, int64_t step) {
    static const char *const sections[] = {"prologue", "micro"};
    SnExec *x = t->native.exec;
    int64_t micro = t->program->micro, accum = r->batch / micro;
    SnEnv env = {.step = (uint32_t)step + 1, .seed = 1};
    sn_exec_set(x, "step", (double)step + 1);
    sn_exec_set(x, "accum", (double)accum);
    for (int s = 0; s < 2; s++)
        for (int64_t j = 0; j < accum; j++) {
            env.first = j == 0;
            env.sample = j * micro;
            sn_exec_set(x, "first", j == 0);
            fill_inputs(t, r, sections[s], step, j * micro);
            sn_exec_run(x, sections[s], &env, NULL);
        }
    env.first = 0;
    env.sample = 0;
    sn_exec_set(x, "first", 0);
    sn_exec_run(x, "update", &env, NULL);
}

static double loss_of(const TestModel *t) {
    return sn_exec_result(t->native.exec, "update", "loss", 0);
}

// ---- comparing. The worst relative errors are printed: how much of a bound is used.

typedef struct {
    double loss, gradient;
} Worst;

static void print_worst(const ParityReference *r, const char *what, const Worst *w) {
    print_message("  %s, %s: loss off by %.1e", r->name, what, w->loss);
    if (w->gradient > 0) print_message(", gradients by %.1e", w->gradient);
    print_message("\n");
}

static void check_loss(const ParityReference *r, const char *what, int64_t step, double got,
                       double want, double bound, Worst *w) {
    double off = fabs(got - want) / fabs(want);
    w->loss = fmax(w->loss, off);
    if (!(off <= bound))
        fail_msg("%s, %s, step %lld: loss %.9g, expected %.9g, relative error %.2g over %.2g",
                 r->name, what, (long long)step + 1, got, want, off, bound);
}

static double norm_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static double distance(const float *x, const float *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        sum += d * d;
    }
    return sqrt(sum); // NaN where either has one
}

// A bias of the keys moves all scores of a row by the same amount, so softmax does not see it: its
// exact gradient is zero and has no relative error. Then what is left is rounding, against the
// whole gradient.
static bool is_zero_gradient(const char *path) {
    size_t n = strlen(path);
    return n > 8 && strcmp(path + n - 8, ".attn.bk") == 0;
}

static void check_gradient(const ParityReference *r, const char *what, const char *path,
                           const float *got, const float *want, int64_t n, double whole,
                           double bound, Worst *w) {
    double off = distance(got, want, n), scale = norm_of(want, n);
    bool zero = is_zero_gradient(path);
    double limit = zero ? 1e-7 * whole : bound * scale;
    if (!zero && !(scale > 1e-4 * whole))
        fail_msg("%s: the gradient of '%s' is too small to say anything", r->name, path);
    if (!zero) w->gradient = fmax(w->gradient, off / scale);
    if (!(off <= limit))
        fail_msg("%s, %s: gradient of '%s' is off by %.3g, norm %.3g, allowed %.3g", r->name, what,
                 path, off, scale, limit);
}

static double whole_norm(const ParityReference *r) {
    double sum = 0;
    for (uint32_t i = 0; i < sn_st_count(r->file); i++) {
        const SnTensorInfo *t = sn_st_at(r->file, i);
        if (strncmp(t->name, "grad.", 5)) continue;
        float *g = read_tensor(r, t);
        double norm = norm_of(g, (int64_t)t->bytes / 4);
        sum += norm * norm;
        free(g);
    }
    return sqrt(sum);
}

static const float *gradient_of(const TestModel *t, const char *name, int64_t count) {
    const SnPort *p = sn_plan_output(t->native.plan, "update", name);
    if (!p) fail_msg("no result '%s'", name);
    assert_int_equal(p->bytes, count * 4);
    return sn_exec_at(t->native.exec, p->region, p->offset);
}

// Of the other model, or of the stored values. A derivative has its state's order of axes.
static void check_gradients(const TestModel *t, const ParityReference *r, const char *what,
                            const TestModel *other, double bound, Worst *w) {
    double whole = whole_norm(r);
    uint32_t checked = 0;
    for (uint32_t i = 0; i < sn_st_count(r->file); i++) {
        const SnTensorInfo *info = sn_st_at(r->file, i);
        if (strncmp(info->name, "grad.", 5)) continue;
        int64_t n = (int64_t)info->bytes / 4;
        float *want = read_tensor(r, info);
        const float *from = other ? gradient_of(other, info->name, n) : want;
        check_gradient(r, what, info->name + 5, gradient_of(t, info->name, n), from, n, whole,
                       bound, w);
        free(want);
        checked++;
    }
    assert_true(checked > 4);
}

// ---- tests

static const char *const names[] = {"mlp", "gpt2",     "llama",  "bytes",
                                    "vit", "weighted", "groups", "cnn"};
enum { NAMES = sizeof names / sizeof *names };

// Models without stored values, and why: test_gradients has their derivatives.
static const char *const others[][2] = {{"convnet", "dropout draws random numbers of its own"},
                                        {"fashion", "the same"}};

static void test_every_model_is_here(void **state) {
    (void)state;
    DIR *d = opendir(SOURCE_DIR "/models");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 3, ".sn") != 0) continue;
        bool found = false;
        for (int i = 0; i < NAMES; i++)
            found |= strlen(names[i]) == n - 3 && strncmp(names[i], e->d_name, n - 3) == 0;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            found |= strlen(others[i][0]) == n - 3 && strncmp(others[i][0], e->d_name, n - 3) == 0;
        if (!found) fail_msg("models/%s has no values from torch and no reason", e->d_name);
    }
    closedir(d);
}

static void test_first_step(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ParityReference r = reference_open(names[i]);
        TestModel *t = start(&r, (How){.gradients = true});
        Worst w = {0};
        init_states(t, &r);
        run_step(t, &r, 0);
        check_loss(&r, "first step", 0, loss_of(t), r.losses[0], 1e-6, &w);
        check_gradients(t, &r, "first step", NULL, 1e-4, &w);
        print_worst(&r, "first step", &w);
        model_free(t);
        reference_close(&r);
    }
}

static void test_twenty_steps(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ParityReference r = reference_open(names[i]);
        assert_int_equal(r.steps, 20);
        TestModel *t = start(&r, (How){.gradients = false});
        Worst w = {0};
        init_states(t, &r);
        for (int64_t step = 0; step < r.steps; step++) {
            run_step(t, &r, step);
            check_loss(&r, "twenty steps", step, loss_of(t), r.losses[step], 1e-4, &w);
        }
        print_worst(&r, "twenty steps", &w);
        model_free(t);
        reference_close(&r);
    }
}

static void compare_cuts(const ParityReference *r, const TestModel *whole, int64_t micro) {
    TestModel *cut = start(r, (How){.gradients = true, .micro = micro});
    Worst w = {0};
    init_states(whole, r);
    init_states(cut, r);
    for (int64_t step = 0; step < 3; step++) {
        run_step(whole, r, step);
        run_step(cut, r, step);
        check_loss(r, "cut", step, loss_of(cut), loss_of(whole), 1e-6, &w);
        check_gradients(cut, r, "cut", whole, 1e-5, &w);
    }
    print_worst(r, micro == 1 ? "samples alone" : "samples in pairs", &w);
    model_free(cut);
}

// The whole batch in one pass, and in four (and two, when there is time). In `weighted` each step
// has a sample without any weight: with four passes, one of them counts nothing.
static void test_cuts_of_the_batch(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++) {
        ParityReference r = reference_open(names[i]);
        TestModel *whole = start(&r, (How){.gradients = true, .micro = r.batch});
        compare_cuts(&r, whole, 1);
        if (getenv("SINTER_LONG")) compare_cuts(&r, whole, 2);
        model_free(whole);
        reference_close(&r);
    }
}

// Same bits on every instruction set and for any number of threads.
static void test_bits_of_machines(void **state) {
    (void)state;
    static const How hows[] = {{.cpu = "x86-64-v3", .threads = 1}, {.cpu = "native", .threads = 3}};
    for (int i = 0; i < (getenv("SINTER_LONG") ? NAMES : 2); i++) {
        ParityReference r = reference_open(names[i]);
        double losses[2][4];
        for (int k = 0; k < 2; k++) {
            TestModel *t = start(&r, hows[k]);
            init_states(t, &r);
            for (int64_t step = 0; step < 4; step++) {
                run_step(t, &r, step);
                losses[k][step] = loss_of(t);
            }
            model_free(t);
        }
        assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
        reference_close(&r);
    }
}

// ---- narrow types

// One of bf16 and f16 beside torch.autocast, both measured from double precision. u: its unit roundoff.
typedef struct {
    const char *name, *defines;
    double u, scale; // of the loss
} NarrowType;
static const NarrowType narrow_types[] = {
    {"bf16", "precision=bf16", 0x1p-8, 1},
    {"f16", "precision=f16 precision.loss_scale=1024", 0x1p-11, 1024}};
enum { NARROW_TYPES = sizeof narrow_types / sizeof *narrow_types };

// How many u autocast's gradient is off, in the worse of the types: a number of the model and the parameter.
static double autocast_off(SnSafetensors *narrow, const char *model, const char *path) {
    double most = 0;
    for (int i = 0; i < NARROW_TYPES; i++) {
        char key[256];
        double off;
        SnError e;
        snprintf(key, sizeof key, "%s.%s.off.%s", narrow_types[i].name, model, path);
        const SnTensorInfo *t = sn_st_find(narrow, key);
        assert_non_null(t);
        if (sn_st_read(narrow, t, 0, sizeof off, &off, &e)) fail_msg("%s", e.text);
        most = fmax(most, off / narrow_types[i].u);
    }
    return most;
}

// From double precision at most twice as far as autocast's.
static void check_narrow_gradients(const TestModel *t, const ParityReference *r,
                                   SnSafetensors *narrow, const NarrowType *type, double *worst) {
    double whole = whole_norm(r);
    for (uint32_t i = 0; i < sn_st_count(r->file); i++) {
        const SnTensorInfo *info = sn_st_at(r->file, i);
        if (strncmp(info->name, "grad.", 5)) continue;
        const char *path = info->name + 5;
        int64_t n = (int64_t)info->bytes / 4;
        float *want = read_tensor(r, info), *got = malloc(info->bytes);
        assert_non_null(got);
        for (int64_t k = 0; k < n; k++)
            got[k] = gradient_of(t, info->name, n)[k] / (float)type->scale;
        double theirs = autocast_off(narrow, r->name, path) * type->u * norm_of(want, n);
        double off = distance(got, want, n);
        double limit = is_zero_gradient(path) ? type->u * whole : 2 * theirs;
        if (!is_zero_gradient(path)) *worst = fmax(*worst, off / theirs);
        if (!(off <= limit))
            fail_msg("%s %s: gradient of '%s' is off by %.3g, norm %.3g, allowed %.3g", type->name,
                     r->name, path, off, norm_of(want, n), limit);
        free(want);
        free(got);
    }
}

// u/2 for the first loss, 2u for the losses of 20 steps, beside autocast's.
static void check_narrow(const char *name, SnSafetensors *narrow, const NarrowType *type) {
    ParityReference r = reference_open(name);
    TestModel *t = start(&r, (How){.gradients = true, .more = type->defines});
    Worst w = {0}, first = {0};
    double losses[20];
    char key[64], what[64];
    SnError e;
    assert_int_equal(r.steps, 20);
    snprintf(key, sizeof key, "%s.%s.losses", type->name, name);
    snprintf(what, sizeof what, "%s beside autocast", type->name);
    const SnTensorInfo *info = sn_st_find(narrow, key);
    assert_non_null(info);
    if (sn_st_read(narrow, info, 0, sizeof losses, losses, &e)) fail_msg("%s", e.text);
    init_states(t, &r);
    for (int64_t step = 0; step < r.steps; step++) {
        run_step(t, &r, step);
        check_loss(&r, what, step, loss_of(t), losses[step], 2 * type->u, &w);
        if (step) continue;
        check_loss(&r, what, step, loss_of(t), losses[step], type->u / 2, &first);
        check_narrow_gradients(t, &r, narrow, type, &w.gradient);
    }
    print_message("  %s %s: losses off by %.2f u, then %.2f u; gradients by %.2f of autocast's\n",
                  name, what, first.loss / type->u, w.loss / type->u, w.gradient);
    model_free(t);
    reference_close(&r);
}

static void test_narrow_types(void **state) {
    (void)state;
    static const char *const models[] = {"gpt2", "llama", "bytes", "vit"};
    SnSafetensors *narrow;
    SnError e;
    if (sn_st_open(SOURCE_DIR "/tests/parity/narrow.safetensors", &narrow, &e))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < NARROW_TYPES; i++)
        for (size_t k = 0; k < sizeof models / sizeof *models; k++)
            check_narrow(models[k], narrow, &narrow_types[i]);
    sn_st_close(narrow);
}

// ---- optimizers

// What the bound is part of: the largest of an element's values so far, and of its moves.
static double scale_of(const float *first, const double *want, int64_t n, int64_t i, int64_t step) {
    double before = (double)first[i], scale = fabs(before);
    for (int64_t k = 0; k <= step; k++) {
        double now = want[k * n + i];
        scale = fmax(scale, fmax(fabs(now), fabs(now - before)));
        before = now;
    }
    return scale;
}

static void check_parameter(const TestModel *t, const ParityReference *r, const SnTensorInfo *after,
                            int64_t step, double bound, double *worst) {
    const char *path = after->name + strlen("after.");
    char name[256];
    snprintf(name, sizeof name, "param.%s", path);
    double *want = read_tensor(r, after);
    float *first = read_named(r, name);
    const SnPlan *plan = t->native.plan;
    bool found = false;
    for (uint32_t i = 0; i < plan->states.count; i++) {
        const SnState *s = &SN_AT(plan, SnState, states)[i];
        if (strcmp(SN_STRING(plan, s->path), path)) continue;
        int64_t n = s->bytes / 4;
        const float *got = sn_exec_at(t->native.exec, s->region, s->offset);
        assert_int_equal(after->bytes, (uint64_t)(r->steps * n) * sizeof *want);
        for (int64_t k = 0; k < n; k++) {
            double off =
                fabs((double)got[k] - want[step * n + k]) / scale_of(first, want, n, k, step);
            *worst = fmax(*worst, off);
            if (!(off <= bound))
                fail_msg("%s, step %lld, element %lld: %.9g, expected %.9g, off by %.1e", path,
                         (long long)step + 1, (long long)k, (double)got[k], want[step * n + k],
                         off);
        }
        found = true;
    }
    if (!found) fail_msg("no parameter '%s'", path);
    free(first);
    free(want);
}

// Every parameter after each of ten steps, the gradients given: some of them 0, 1e-20 or 1e18.
static void test_optimizers(void **state) {
    (void)state;
    ParityReference r = reference_open("optimizers");
    TestModel *t = start(&r, (How){.micro = 1});
    uint32_t checked = 0;
    double worst = 0;
    init_states(t, &r);
    for (int64_t step = 0; step < r.steps; step++) {
        run_step(t, &r, step);
        for (uint32_t i = 0; i < sn_st_count(r.file); i++) {
            const SnTensorInfo *info = sn_st_at(r.file, i);
            if (strncmp(info->name, "after.", 6)) continue;
            check_parameter(t, &r, info, step, 3e-6, &worst);
            checked++;
        }
    }
    assert_int_equal(checked, 22 * 4 * r.steps);
    print_message("  optimizers: off by %.1e\n", worst);
    model_free(t);
    reference_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_model_is_here), cmocka_unit_test(test_first_step),
        cmocka_unit_test(test_twenty_steps),        cmocka_unit_test(test_cuts_of_the_batch),
        cmocka_unit_test(test_bits_of_machines),    cmocka_unit_test(test_narrow_types),
        cmocka_unit_test(test_optimizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The loss scale: thousands of steps in which the data makes the loss, or gradients alone, infinite or NaN,
// against stored traces of PyTorch's GradScaler and of Megatron's rule (tests/parity/scale.py), every step by
// equality. And what a skipped step leaves alone: every byte of every state but the scale and its counters,
// whatever the optimizer, batch or clipping.
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

// ---- a model that runs

static TestModel *start(const char *path, const char *defines) {
    TestModel *t = model_compile(path, defines);
    assert_non_null(t);
    assert_true(model_passes(t, NULL));
    assert_true(model_load(t, NULL, 1));
    const SnEnv env = {.seed = 1};
    sn_exec_run(t->native.exec, "init", &env, NULL);
    return t;
}

static bool is_scales(const TestModel *t, const SnState *s) {
    return strncmp(SN_STRING(t->native.plan, s->path), "loss_scale", 10) == 0;
}

static const void *state_at(const TestModel *t, const char *path) {
    const SnPlan *plan = t->native.plan;
    for (uint32_t i = 0; i < plan->states.count; i++) {
        const SnState *s = &SN_AT(plan, SnState, states)[i];
        if (!strcmp(SN_STRING(plan, s->path), path))
            return sn_exec_at(t->native.exec, s->region, s->offset);
    }
    fail_msg("no state '%s'", path);
    return NULL;
}

static int32_t counter(const TestModel *t, const char *path) {
    int32_t x;
    memcpy(&x, state_at(t, path), sizeof x);
    return x;
}

// All states but the scale's own (accumulators live within a step only): a sum of their bytes.
static uint64_t states_hash(const TestModel *t) {
    const SnPlan *plan = t->native.plan;
    uint64_t h = HASH_SEED;
    for (uint32_t i = 0; i < plan->states.count; i++) {
        const SnState *s = &SN_AT(plan, SnState, states)[i];
        if (s->kind == SN_STATE_ACCUM || is_scales(t, s)) continue;
        h = hash_bytes(h, sn_exec_at(t->native.exec, s->region, s->offset), (size_t)s->bytes);
    }
    return h;
}

// Gives a micro-batch its inputs.
typedef void Fill(void *user, const SnPort *port, const char *name, int64_t first, float *to);

static void run_step(const TestModel *t, uint32_t step, Fill *fill, void *user) {
    static const char *const sections[] = {"prologue", "micro"};
    SnExec *x = t->native.exec;
    const SnPlan *plan = t->native.plan;
    SnEnv env = {.step = step, .seed = 1};
    int64_t micro = t->program->micro, accum = t->program->batch / micro;
    sn_exec_set(x, "step", step);
    sn_exec_set(x, "accum", (double)accum);
    for (int s = 0; s < 2; s++)
        for (int64_t j = 0; j < accum; j++) {
            env.first = j == 0;
            env.sample = j * micro;
            sn_exec_set(x, "first", j == 0);
            for (uint32_t i = 0; i < plan->inputs.count; i++) {
                const SnPort *p = &SN_AT(plan, SnPort, inputs)[i];
                if (!strcmp(SN_STRING(plan, p->section), sections[s]))
                    fill(user, p, SN_STRING(plan, p->name), j * micro,
                         sn_exec_at(x, p->region, p->offset));
            }
            sn_exec_run(x, sections[s], &env, NULL);
        }
    env.first = 0;
    env.sample = 0;
    sn_exec_set(x, "first", 0);
    sn_exec_run(x, "update", &env, NULL);
}

// ---- traces

typedef struct {
    SnSafetensors *file;
    int64_t step, batch;
} Trace;

static void *read_all(SnSafetensors *file, const char *name, int64_t *count) {
    const SnTensorInfo *t = sn_st_find(file, name);
    SnError e;
    if (!t) fail_msg("no tensor '%s'", name);
    void *to = malloc(t->bytes);
    assert_non_null(to);
    if (sn_st_read(file, t, 0, t->bytes, to, &e)) fail_msg("%s: %s", name, e.text);
    *count = t->shape[0];
    return to;
}

static void fill_trace(void *user, const SnPort *port, const char *name, int64_t first, float *to) {
    const Trace *r = user;
    const SnTensorInfo *t = sn_st_find(r->file, name);
    SnError e;
    assert_non_null(t);
    if (sn_st_read(r->file, t, 4 * (uint64_t)(r->step * r->batch + first), (uint64_t)port->bytes,
                   to, &e))
        fail_msg("%s: %s", name, e.text);
}

// cut: -D options that change nothing of the trace.
static void compare_trace(const char *name, const char *cut, int64_t most) {
    Trace r = {.batch = 2};
    SnError e;
    if (sn_st_open(SOURCE_DIR "/tests/parity/scale.safetensors", &r.file, &e))
        fail_msg("%s", e.text);
    int64_t steps, skipped = 0;
    int8_t *power = read_all(r.file, "torch_default.scale", &steps);
    free(power);
    char key[64], defines[512];
    snprintf(defines, sizeof defines, "%s %s", sn_st_metadata(r.file, name), cut);
    snprintf(key, sizeof key, "%s.scale", name);
    power = read_all(r.file, key, &steps);
    snprintf(key, sizeof key, "%s.run", name);
    int16_t *run = read_all(r.file, key, &steps);
    snprintf(key, sizeof key, "%s.done", name);
    int16_t *done = read_all(r.file, key, &steps);
    TestModel *t = start("tests/models/scale.sn", defines);
    for (r.step = 0; r.step < steps && r.step < most; r.step++) {
        float scale;
        uint64_t before = states_hash(t);
        run_step(t, (uint32_t)r.step + 1, fill_trace, &r);
        memcpy(&scale, state_at(t, "loss_scale"), sizeof scale);
        bool taken = done[r.step] > (r.step ? done[r.step - 1] : 0);
        bool same = states_hash(t) == before;
        skipped += !taken;
        if (scale != ldexpf(1, power[r.step]) || counter(t, "loss_scale.run") != run[r.step] ||
            counter(t, "loss_scale.steps") != done[r.step] || taken == same)
            fail_msg("%s, step %lld: scale %g, run %d, %d steps taken%s, expected %g, %d, %d", name,
                     (long long)r.step + 1, (double)scale, counter(t, "loss_scale.run"),
                     counter(t, "loss_scale.steps"),
                     taken == same ? same ? ", no state changed" : ", states changed" : "",
                     ldexp(1, power[r.step]), run[r.step], done[r.step]);
        assert_true(sn_exec_result(t->native.exec, "update", "loss_scale", 0) == (double)scale);
    }
    print_message("  %s: %lld of %lld steps skipped\n", name, (long long)skipped,
                  (long long)r.step);
    assert_true(skipped > 20);
    model_free(t);
    free(power), free(run), free(done);
    sn_st_close(r.file);
}

static void test_traces(void **state) {
    (void)state;
    static const char *const names[] = {"torch_default",    "torch_large",    "torch_steep",
                                        "megatron_default", "megatron_large", "megatron_least"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        compare_trace(names[i], "", INT64_MAX);
}

// Without clipping, in one micro-batch, by another optimizer.
static void test_traces_of_other_plans(void **state) {
    (void)state;
    compare_trace("torch_large", "clip=0", 1000);
    compare_trace("megatron_large", "micro=2", 1000);
}

// ---- skipped steps

typedef struct {
    uint32_t step;
    float bad; // 0: nothing is
} Plant;

// Small numbers that no two steps share; in one real input of the first micro-batch the bad one.
static void fill_noise(void *user, const SnPort *port, const char *name, int64_t first, float *to) {
    Plant *p = user;
    uint64_t h =
        hash_bytes(hash_u64(hash_u64(HASH_SEED, p->step), (uint64_t)first), name, strlen(name));
    if (port->elem == SN_ELEM_i32) {
        memset(to, 0, (size_t)port->bytes);
        return;
    }
    for (int64_t i = 0; i < port->bytes / 4; i++)
        to[i] = (float)((h = hash_u64(h, (uint64_t)i)) % 2000) / 1000 - 1;
    if (p->bad != 0 && first == 0) to[port->bytes / 8] = p->bad;
}

// Runs steps of which some are bad, or only the others. numbered: those have the numbers of a run of their own.
static void run_steps(const TestModel *t, bool skipping, bool numbered, uint64_t *after) {
    static const float bad[] = {0, 0, NAN, INFINITY, 0, 0};
    const SnEnv env = {.seed = 1};
    uint32_t taken = 0;
    sn_exec_run(t->native.exec, "init", &env, NULL);
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Plant p = {.step = i + 1, .bad = bad[i]};
        uint64_t before = states_hash(t);
        if (bad[i] != 0 && !skipping) continue;
        run_step(t, numbered ? taken + 1 : p.step, fill_noise, &p);
        if ((states_hash(t) == before) != (bad[i] != 0))
            fail_msg("step %u: %s state changed", p.step, bad[i] == 0 ? "no" : "a");
        if (bad[i] == 0) after[taken++] = states_hash(t);
    }
    assert_int_equal(counter(t, "loss_scale.steps"), taken);
    assert_int_equal(taken, 4);
}

// A step that is skipped leaves no trace: after each of the others the states are those of a run without it,
// whatever an optimizer makes of the number of its steps.
static void compare_skipping(const char *path, const char *defines, bool numbered) {
    uint64_t all[4], good[4];
    TestModel *t = start(path, defines);
    run_steps(t, true, false, all);
    run_steps(t, false, numbered, good);
    for (int i = 0; i < 4; i++)
        if (all[i] != good[i]) fail_msg("%s, step %d of those taken: other states", path, i + 1);
    model_free(t);
}

static void test_skipped_steps_leave_no_trace(void **state) {
    (void)state;
    // a rate that is the same in every step, and every optimizer
    compare_skipping(
        "tests/models/optimizers.sn",
        "precision.loss_scale=1024 size.batch=2 micro=1 lr.warmup=0 lr.steps=1000000000", true);
    compare_skipping("tests/models/cnn.sn", "precision.loss_scale=1024", false);
    compare_skipping("models/convnet.sn", // moments of 8 bits
                     "precision.loss_scale=8 precision.moments=i8 size.batch=2 f1=4 f2=16 "
                     "hidden=16",
                     false);
    compare_skipping("models/convnet.sn", // statistics, and draws
                     "precision.loss_scale=0.5 size.batch=2 f1=4 f2=4 hidden=8", false);
}

// ---- bits

static uint64_t states_after(const char *path, const char *defines, const char *scale) {
    char all[512];
    snprintf(all, sizeof all, "%s %s", defines, scale);
    TestModel *t = start(path, all);
    for (uint32_t i = 0; i < 3; i++) {
        Plant p = {.step = i + 1};
        run_step(t, i + 1, fill_noise, &p);
    }
    uint64_t h = states_hash(t);
    model_free(t);
    return h;
}

// A power of two changes the exponent of a gradient and nothing else.
static void test_scales_change_no_bit(void **state) {
    (void)state;
    static const char *const models[][2] = {
        {"models/bytes.sn", "layer=1 dim=16 head=2 vocab=31 size.seq=8 size.batch=4 micro=2"},
        {"models/gpt2.sn",
         "layer=1 dim=16 head=2 vocab=31 ctx=9 size.seq=8 size.batch=2 micro=2 clip=0"},
        {"models/llama.sn",
         "layer=1 dim=16 kv=1 group=2 ff=24 vocab=31 size.seq=8 size.batch=2 micro=1"},
        {"tests/models/cnn.sn", ""}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        uint64_t h = states_after(models[i][0], models[i][1], "");
        if (states_after(models[i][0], models[i][1], "precision.loss_scale=65536") != h)
            fail_msg("%s: 65536 changes bits", models[i][0]);
        if (states_after(models[i][0], models[i][1], "precision.loss_scale=0.125") != h)
            fail_msg("%s: 1/8 changes bits", models[i][0]);
        if (states_after(models[i][0], models[i][1], "precision.loss_scale=3") == h)
            fail_msg("%s: 3 changes no bit", models[i][0]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traces),
        cmocka_unit_test(test_skipped_steps_leave_no_trace),
        cmocka_unit_test(test_scales_change_no_bit),
        cmocka_unit_test(test_traces_of_other_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

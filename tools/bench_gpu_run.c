// The measuring half of bench_gpu.c: steps on a device, with random inputs.
#include "runtime/sinter.h"
#include "tools/bench_gpu.h"
#include "tools/bench_inputs.h"
#include "tools/clock.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 31 };

typedef struct {
    SnExec *x;
    const SnPlan *plan;
    uint32_t accum, step;
    uint64_t random;
} BenchRun;

// One step, waited for. Seconds in *seconds.
static SnStatus run_step(BenchRun *r, double *seconds, SnError *e) {
    SnEnv env = {.first = 1, .step = ++r->step, .seed = 1};
    sn_exec_set(r->x, "step", r->step);
    double start = clock_now();
    bench_fill(r->x, r->plan, "prologue", &r->random);
    SnStatus s = sn_exec_run(r->x, "prologue", &env, e);
    for (uint32_t i = 0; i < r->accum && !s; i++) {
        env.first = i == 0;
        bench_fill(r->x, r->plan, "micro", &r->random);
        s = sn_exec_run(r->x, "micro", &env, e);
    }
    if (!s) s = sn_exec_run(r->x, "update", &env, e);
    if (!s) s = sn_exec_wait(r->x, e);
    *seconds = clock_now() - start;
    return s;
}

static SnStatus run_init(BenchRun *r, double micro, SnError *e) {
    SnEnv env = {.first = 1, .step = 1, .seed = 1};
    for (uint32_t i = 0; i < r->plan->scalars.count; i++) {
        const SnScalar *s = &SN_AT(r->plan, SnScalar, scalars)[i];
        sn_exec_set(r->x, SN_STRING(r->plan, s->name), s->value);
    }
    sn_exec_set(r->x, "accum", r->accum);
    sn_exec_set(r->x, "batch", micro * r->accum);
    SnStatus s = sn_exec_run(r->x, "init", &env, e);
    return s ? s : sn_exec_wait(r->x, e);
}

// Steps as graphs: the first prepares them and is not counted.
static SnStatus measure_steps(BenchRun *r, int repeat, GpuRun *out, SnError *e) {
    double t[MAX_STEPS], first;
    SnStatus s = run_step(r, &first, e);
    out->loss[0] = sn_exec_result(r->x, "update", "loss", 0);
    for (int i = 0; i < repeat && !s; i++) s = run_step(r, &t[i], e);
    if (!s) out->step = clock_median(t, repeat);
    return s;
}

// Steps command by command: seconds of each, by command and by step.
static SnStatus measure_commands(BenchRun *r, int repeat, double *all, SnError *e) {
    const SnCounter *counters = sn_exec_counters(r->x);
    uint32_t n = r->plan->cmds.count;
    SnStatus s = SN_OK;
    sn_exec_profile(r->x, true);
    for (int k = 0; k < repeat && !s; k++) {
        double step, *before = &all[(size_t)n * (size_t)repeat];
        for (uint32_t i = 0; i < n; i++) before[i] = (double)counters[i].nanoseconds;
        s = run_step(r, &step, e);
        for (uint32_t i = 0; i < n; i++)
            all[(size_t)i * (size_t)repeat + (size_t)k] =
                ((double)counters[i].nanoseconds - before[i]) * 1e-9;
    }
    return s;
}

static bool measure(Arena *a, BenchRun *r, int repeat, GpuRun *out, SnError *e) {
    uint32_t n = r->plan->cmds.count;
    double *all = NEW_ARRAY(a, double, (size_t)n *((size_t)repeat + 1) + 1);
    if (measure_steps(r, repeat, out, e) || measure_commands(r, repeat, all, e)) return false;
    const SnCounter *counters = sn_exec_counters(r->x);
    out->seconds = NEW_ARRAY(a, double, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        // a command of the micro-batch runs several times in a step
        double times = (double)counters[i].runs / repeat;
        double s = clock_median(&all[(size_t)i * (size_t)repeat], repeat);
        out->seconds[i] = times > 0 ? s / times : 0;
    }
    out->loss[1] = sn_exec_result(r->x, "update", "loss", 0);
    return true;
}

bool gpu_run(Arena *a, const SnProgram *programs, uint32_t accum, double micro, int repeat,
             GpuRun *out, Text *why) {
    const char *name = getenv("SINTER_DEVICE");
    SnError e = {0};
    BenchRun r = {.plan = (const SnPlan *)(const void *)programs[0].plan,
                  .accum = accum,
                  .random = BENCH_SEED};
    *out = (GpuRun){0};
    if (repeat > MAX_STEPS) repeat = MAX_STEPS;
    if (!name || !*name) name = "cuda";
    bool ok = sn_exec_open(programs, name, 2, &r.x, &e) == SN_OK;
    if (ok) {
        out->emulated = strncmp(name, "emu:", 4) == 0;
        snprintf(out->device, sizeof out->device, "%s", sn_exec_device(r.x));
        ok = run_init(&r, micro, &e) == SN_OK && measure(a, &r, repeat, out, &e);
    }
    sn_exec_free(r.x);
    if (!ok) text_printf(why, "%s", e.text);
    return ok;
}

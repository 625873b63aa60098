// See bench_cpu.h. Linear in the model; compiling takes what `sinter build` does without the linker.
#include "codegen/plan.h"
#include "tools/bench_cpu.h"
#include "tools/bench_inputs.h"
#include "tools/clock.h"
#include <stdlib.h>

bool bench_step_load(BenchStep *s, Driver *d) {
    Arena *a = d->arena;
    KernelProgram kernels;
    Text why = {.arena = a};
    CpuIsa isa;
    *s = (BenchStep){.d = d};
    if (!driver_load(d) || !driver_needs_plan(d) || !driver_passes(d, NULL)) return false;
    if (!program_lower(a, d->program->m, d->diag, &kernels)) return false;
    if (!cpu_isa_resolve(a, d->o.cpu ? d->o.cpu : "native", &isa, &why)) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return false;
    }
    CpuModule *cpu = cpu_module_new(a, &isa);
    PlanScalar *scalars = NEW_ARRAY(a, PlanScalar, d->program->scalars.n + 1);
    for (uint32_t i = 0; i < d->program->scalars.n; i++)
        scalars[i] = (PlanScalar){d->program->scalars.at[i].name, d->program->scalars.at[i].elem,
                                  d->program->scalars.at[i].value};
    PlanInfo info = {.sinter = "bench",
                     .model_name = d->program->model_name,
                     .model_text = "",
                     .scalars = scalars,
                     .scalar_count = d->program->scalars.n};
    CpuPlan target;
    size_t size;
    cpu_plan(cpu, &target, &info);
    PlanTables *tables = plan_collect(a, &kernels, &info, d->diag);
    if (!tables) return false;
    s->plan = plan_write(tables, "", &size);
    uint32_t n = cpu_functions(cpu);
    s->jit = cpu_jit(cpu, &why);
    if (!s->jit) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return false;
    }
    s->functions = (void (**)(void))arena_alloc(a, sizeof *s->functions * (n + 1));
    for (uint32_t i = 0; i < n; i++) s->functions[i] = cpu_jit_function(s->jit, i);
    return true;
}

static void must(SnStatus s, const SnError *e) {
    if (s == SN_OK) return;
    exit(driver_error(s == SN_MACHINE ? EXIT_MACHINE : 70, "%s", e->text));
}

SnExec *bench_step_open(const BenchStep *s, int threads) {
    SnError e = {0};
    SnExec *x;
    must(sn_exec_new(s->plan, (void (*const *)(void))s->functions, threads, &x, &e), &e);
    SnEnv env = {.first = 1, .step = 1, .seed = 1};
    for (uint32_t i = 0; i < s->plan->scalars.count; i++) {
        const SnScalar *v = &SN_AT(s->plan, SnScalar, scalars)[i];
        sn_exec_set(x, SN_STRING(s->plan, v->name), v->value);
    }
    sn_exec_run(x, "init", &env, NULL);
    uint64_t random = BENCH_SEED;
    bench_fill(x, s->plan, NULL, &random);
    return x;
}

double bench_step_run(const BenchStep *s, SnExec *x, uint32_t step) {
    SnEnv env = {.first = 1, .step = step, .seed = 1};
    sn_exec_set(x, "step", step);
    sn_exec_set(x, "accum", 1);
    sn_exec_set(x, "batch", (double)s->d->program->micro);
    double start = clock_now();
    sn_exec_run(x, "prologue", &env, NULL);
    sn_exec_run(x, "micro", &env, NULL);
    sn_exec_run(x, "update", &env, NULL);
    return clock_now() - start;
}

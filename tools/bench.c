// sinter bench MODEL: the figures of a model's training step on this machine, side by side with a yardstick
// in the same run.
//
//   step       one optimizer step of native code, random ids
//   products   the step's matrix products alone, ours and oneDNN's, on cold operands
//   build      wall time of `sinter build`, of the executable up to its first step, and its memory
//
// Every repetition measures the step, our products and oneDNN's products one after another; the table
// shows medians and ratios of medians. Times vary with what else the machine does, ratios less.
#include "codegen/cpu/cpu.h"
#include "codegen/plan.h"
#include "runtime/core/gemm.h"
#include "runtime/core/pool.h"
#include "runtime/sinter.h"
#include "tools/account.h"
#include "tools/bench_gpu.h"
#include "tools/clock.h"
#include "tools/yardstick.h"
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { MAX_REPEAT = 31 /* of command.def */, MAX_PRODUCTS = 256 };
static const int64_t RING_BYTES = (int64_t)1
                                  << 29; // operands come from a ring larger than the caches

typedef struct {
    GemmShape p;
    int64_t times; // in one step
    SnGemm gemm;   // as the plan has it
    Yardstick *theirs;
    SnGemmJob ours;
} BenchEntry;

typedef struct {
    Driver *d;
    const SnPlan *plan;
    CpuJit *jit;
    void (**functions)(void);
    BenchEntry entries[MAX_PRODUCTS];
    int count;
    char *ring;
    int64_t at;
    int repeat, threads;
} CpuBench;

// ---- compiling into this process ----------------------------------------------------------------

static bool load(CpuBench *b) {
    Driver *d = b->d;
    Arena *a = d->arena;
    KernelProgram kernels;
    Text why = {.arena = a};
    CpuIsa isa;
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
    b->plan = plan_write(tables, "", &size);
    uint32_t n = cpu_functions(cpu);
    b->jit = cpu_jit(cpu, &why);
    if (!b->jit) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return false;
    }
    b->functions = (void (**)(void))arena_alloc(a, sizeof *b->functions * (n + 1));
    for (uint32_t i = 0; i < n; i++) b->functions[i] = cpu_jit_function(b->jit, i);
    return true;
}

// ---- products -----------------------------------------------------------------------------------

static bool same_product(const GemmShape *a, const GemmShape *b) {
    return a->batch == b->batch && a->m == b->m && a->n == b->n && a->k == b->k &&
           a->a_k == b->a_k && a->b_k == b->b_k;
}

static void collect(CpuBench *b, const char *section) {
    const SnSection *s = sn_plan_section(b->plan, section);
    for (uint32_t i = 0; s && i < s->count; i++) {
        const SnCmd *c = &SN_AT(b->plan, SnCmd, cmds)[s->cmd + i];
        if (c->op != SN_CMD_GEMM) continue;
        const SnGemm *g = &SN_AT(b->plan, SnGemm, gemms)[c->fn];
        GemmShape p = {sn_extent(g->batch, g->nbatch), sn_extent(g->m, g->nm),
                       sn_extent(g->n, g->nn),         sn_extent(g->k, g->nk),
                       g->k[g->nk - 1].a == 1,         g->k[g->nk - 1].b == 1};
        int k = 0;
        while (k < b->count && !same_product(&b->entries[k].p, &p)) k++;
        if (k == MAX_PRODUCTS) continue;
        if (k == b->count) b->entries[b->count++] = (BenchEntry){.p = p};
        b->entries[k].times++;
    }
}

// The plain product that oneDNN is given, for our driver: no accumulator, no epilogue.
static void plain_gemm(const GemmShape *p, SnGemm *g) {
    *g = (SnGemm){.nbatch = 1, .nm = 1, .nn = 1, .nk = 1, .has = sn_gemm_bit(SN_GEMM_C)};
    g->batch[0] = (SnDim){p->batch, p->m * p->k, p->k * p->n, p->m * p->n};
    g->m[0] = (SnDim){p->m, p->a_k ? p->k : 1, 0, p->n};
    g->n[0] = (SnDim){p->n, 0, p->b_k ? p->k : 1, 1};
    g->k[0] = (SnDim){p->k, p->a_k ? 1 : p->m, p->b_k ? 1 : p->n, 0};
}

static void next_operands(CpuBench *b, const GemmShape *p, void *bufs[3]) {
    const int64_t bytes[3] = {p->batch * p->m * p->k * 4, p->batch * p->k * p->n * 4,
                              p->batch * p->m * p->n * 4};
    for (int i = 0; i < 3; i++) {
        if (b->at + bytes[i] > RING_BYTES) b->at = 0;
        bufs[i] = b->ring + b->at;
        b->at += (bytes[i] + 63) / 64 * 64;
    }
}

typedef struct {
    BenchEntry *e;
    uint32_t phase;
    void *bufs[3];
    void *shared, **scratch;
} Running;

static void run_tasks(void *user, int64_t t0, int64_t t1, int thread) {
    Running *r = user;
    SnEnv env = {0};
    sn_gemm_run(&r->e->ours, r->phase, r->bufs, &env, t0, t1, r->shared, r->scratch[thread]);
}

static double time_ours(CpuBench *b, SnPool *pool, void *shared, void **scratch) {
    double sum = 0;
    for (int i = 0; i < b->count; i++)
        for (int64_t t = 0; t < b->entries[i].times; t++) {
            Running r = {.e = &b->entries[i], .shared = shared, .scratch = scratch};
            next_operands(b, &r.e->p, r.bufs);
            double start = clock_now();
            for (r.phase = 0; r.phase < SN_GEMM_PHASES; r.phase++)
                if (r.e->ours.tasks[r.phase])
                    sn_pool_run(pool, r.e->ours.tasks[r.phase], 1, run_tasks, &r);
            sum += clock_now() - start;
        }
    return sum;
}

static double time_theirs(CpuBench *b) {
    double sum = 0;
    for (int i = 0; i < b->count; i++)
        for (int64_t t = 0; t < b->entries[i].times; t++) {
            void *bufs[3];
            next_operands(b, &b->entries[i].p, bufs);
            double start = clock_now();
            yardstick_run(b->entries[i].theirs, bufs);
            sum += clock_now() - start;
        }
    return sum;
}

// ---- the step -----------------------------------------------------------------------------------

static void fill_inputs(SnExec *x, const SnPlan *plan) {
    uint64_t r = 88172645463325252ull;
    for (uint32_t i = 0; i < plan->inputs.count; i++) {
        const SnPort *p = &SN_AT(plan, SnPort, inputs)[i];
        int32_t *at = sn_exec_at(x, p->region, p->offset);
        for (int64_t k = 0; k < p->bytes / 4; k++) {
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            if (p->elem == ELEM_f32)
                ((float *)(void *)at)[k] = (float)(r % 1000) * 1e-3f;
            else
                at[k] = (int32_t)(r % (uint64_t)(p->range > 0 ? p->range : 2));
        }
    }
}

static double time_step(SnExec *x, uint32_t step, double micro) {
    SnEnv env = {.first = 1, .step = step, .seed = 1};
    sn_exec_set(x, "step", step);
    sn_exec_set(x, "accum", 1);
    sn_exec_set(x, "batch", micro);
    double start = clock_now();
    sn_exec_run(x, "prologue", &env, NULL);
    sn_exec_run(x, "micro", &env, NULL);
    sn_exec_run(x, "update", &env, NULL);
    return clock_now() - start;
}

static void must(SnStatus s, const SnError *e) {
    if (s == SN_OK) return;
    exit(driver_error(s == SN_MACHINE ? EXIT_MACHINE : 70, "%s", e->text));
}

static double flops(const CpuBench *b) {
    double f = 0;
    for (int i = 0; i < b->count; i++) {
        const GemmShape *p = &b->entries[i].p;
        f += 2.0 * (double)p->batch * (double)p->m * (double)p->n * (double)p->k *
             (double)b->entries[i].times;
    }
    return f;
}

static void measure(CpuBench *b, int threads) {
    SnError e = {0};
    SnExec *x;
    must(sn_exec_new(b->plan, (void (*const *)(void))b->functions, threads, &x, &e), &e);
    SnEnv env = {.first = 1, .step = 1, .seed = 1};
    for (uint32_t i = 0; i < b->plan->scalars.count; i++) {
        const SnScalar *s = &SN_AT(b->plan, SnScalar, scalars)[i];
        sn_exec_set(x, SN_STRING(b->plan, s->name), s->value);
    }
    sn_exec_run(x, "init", &env, NULL);
    fill_inputs(x, b->plan);

    SnPool *pool = sn_pool_new(threads);
    SnGemmKit kit = sn_gemm_kit(b->plan, (const SnFn *)b->functions);
    int64_t shared = 64, scratch = 64;
    for (int i = 0; i < b->count; i++) {
        BenchEntry *n = &b->entries[i];
        plain_gemm(&n->p, &n->gemm);
        sn_gemm_prepare(&n->ours, &n->gemm, &kit, threads, NULL);
        if (n->ours.shared > shared) shared = n->ours.shared;
        if (n->ours.scratch > scratch) scratch = n->ours.scratch;
        if (yardstick_available()) n->theirs = yardstick_new(&n->p, threads);
    }
    void *common = aligned_alloc(64, (size_t)((shared + 63) / 64 * 64));
    void **own = calloc((size_t)threads, sizeof *own);
    for (int t = 0; own && t < threads; t++)
        own[t] = aligned_alloc(64, (size_t)((scratch + 63) / 64 * 64));
    if (!pool || !common || !own) exit(EXIT_MACHINE);

    double step[MAX_REPEAT], ours[MAX_REPEAT], theirs[MAX_REPEAT], before = 0, after = 0;
    for (int r = -1; r < b->repeat; r++) { // the first round warms up
        double s = time_step(x, (uint32_t)(r + 2), (double)b->d->program->micro);
        double o = time_ours(b, pool, common, own);
        double t = yardstick_available() ? time_theirs(b) : 0;
        double loss = sn_exec_result(x, "update", "loss", 0);
        if (r < 0)
            before = loss;
        else
            step[r] = s, ours[r] = o, theirs[r] = t;
        after = loss;
    }
    double s = clock_median(step, b->repeat), o = clock_median(ours, b->repeat),
           t = clock_median(theirs, b->repeat);
    double gf = flops(b) * 1e-9;
    printf("%d thread%s, median of %d\n", threads, threads == 1 ? "" : "s", b->repeat);
    printf("  step                       %8.1f ms   loss %.3f -> %.3f\n", s * 1e3, before, after);
    printf("  its %d products, ours       %8.1f ms   %.0f GFLOP/s\n", (int)b->count, o * 1e3,
           gf / o);
    if (yardstick_available()) {
        printf("  its %d products, oneDNN     %8.1f ms   %.0f GFLOP/s\n", (int)b->count, t * 1e3,
               gf / t);
        printf("  step / oneDNN's products   %8.2f\n", s / t);
        printf("  oneDNN / ours              %8.2f\n", t / o);
    }
    for (int i = 0; i < b->count; i++)
        if (b->entries[i].theirs) yardstick_free(b->entries[i].theirs);
    for (int i = 0; i < threads; i++) free(own[i]);
    free(own);
    free(common);
    sn_pool_free(pool);
    sn_exec_free(x);
}

// ---- builds and starts --------------------------------------------------------------------------

static char **words(CpuBench *b, const char *exe, const char *command, const char *out,
                    const char *extra) {
    const Options *o = &b->d->o;
    char **argv = NEW_ARRAY(b->d->arena, char *, o->defs.n * 2 + 12);
    int n = 0;
    const char *fixed[] = {exe, command, o->input};
    for (int i = 0; i < 3; i++) argv[n++] = arena_str(b->d->arena, fixed[i], strlen(fixed[i]));
    for (uint32_t i = 0; i < o->defs.n; i++)
        argv[n++] = arena_printf(b->d->arena, "-D%s=%s", o->defs.at[i].name, o->defs.at[i].value);
    if (out) {
        argv[n++] = arena_str(b->d->arena, "-o", 2);
        argv[n++] = arena_str(b->d->arena, out, strlen(out));
    }
    if (extra) argv[n++] = arena_str(b->d->arena, extra, strlen(extra));
    return argv;
}

// Seconds that a command takes; negative when it fails. Its largest resident size in *peak (bytes).
static double run_timed(char **argv, int64_t *peak) {
    pid_t pid;
    double start = clock_now();
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0) return -1;
    int status;
    struct rusage use;
    if (wait4(pid, &status, 0, &use) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) return -1;
    if (peak) *peak = (int64_t)use.ru_maxrss * 1024;
    return clock_now() - start;
}

static void bench_builds(CpuBench *b, const char *directory) {
    Arena *a = b->d->arena;
    const char *sinter = arena_printf(a, "%s/sinter", directory);
    char folder[] = "/tmp/sinter-bench-XXXXXX";
    if (!mkdtemp(folder)) return;
    const char *out = arena_printf(a, "%s/train", folder);
    double t = 1e9, check = 1e9;
    for (int i = 0; i < 3; i++) {
        double s = run_timed(words(b, sinter, "build", out, NULL), NULL);
        if (s >= 0 && s < t) t = s;
        s = run_timed(words(b, sinter, "check", NULL, NULL), NULL);
        if (s >= 0 && s < check) check = s;
    }
    printf("sinter check, best of 3        %8.1f ms\nsinter build, best of 3        %8.2f s\n",
           check * 1e3, t);
    // a model without an axis of that name says so, and there is no such figure
    double deep = run_timed(words(b, sinter, "build", out, "-Dlayer=96"), NULL);
    if (deep >= 0) printf("  with -D layer=96             %8.2f s = %.1f x\n", deep, deep / t);
    unlink(out);
    rmdir(folder);
}

static int bench_cpu(Driver *d) {
    CHECK(d->o.repeat <= MAX_REPEAT, "%d repetitions", d->o.repeat);
    CpuBench b = {.d = d, .repeat = d->o.repeat};
    if (!load(&b)) return driver_report(d);
    collect(&b, "prologue");
    collect(&b, "micro");
    collect(&b, "update");
    b.ring = calloc(1, (size_t)RING_BYTES);
    if (!b.ring) return EXIT_MACHINE;
    if (!yardstick_available()) puts("oneDNN was not found when sinter was built: no yardstick");
    printf("%s: ", d->program->model_name);
    for (uint32_t i = 0; i < d->o.defs.n; i++)
        printf("-D %s=%s ", d->o.defs.at[i].name, d->o.defs.at[i].value);
    printf("f32, %.1f GFLOP of matrix products a step, plan %.1f MiB\n", flops(&b) * 1e-9,
           (double)(account_peak(b.plan) - b.plan->workspace) / 1048576);
    int least = d->o.threads ? d->o.threads : 1;
    int most = d->o.threads ? d->o.threads : sn_pool_default_threads();
    for (int t = least; t <= most; t *= 2) measure(&b, t);
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        *strrchr(self, '/') = 0;
        bench_builds(&b, self);
    }
    free(b.ring);
    return 0;
}

static int bench(int argc, char **argv) {
    Driver d = {.arena = arena_new(), .scratch = arena_new(), .argv = argv};
    d.syms = symtab_new(d.arena);
    d.diag = diag_new(d.arena);
    d.ledger = ledger_new(d.arena);
    int rc = driver_arguments(&d, CMD_bench, argc - 1, argv + 1);
    if (rc != ARGUMENTS_READ) return rc;
    if (d.ncuda > 1 || (d.cpu && d.ncuda)) return usage_error("bench takes one target at a time");
    return d.ncuda ? bench_gpu(&d) : bench_cpu(&d);
}

int main(int argc, char **argv) { return driver_close_output(bench(argc, argv)); }

// Walks the plan's commands on real memory.
//
// Why a table and not generated host code: walking costs tens of nanoseconds a command, kernels
// take microseconds, and one table can be checked, dumped and profiled.
//
// When the executor is made, everything is decided: one arena holds all regions (64-byte aligned,
// huge pages advised), then the workspace that matrix products share and one scratch per thread;
// every argument becomes a pointer, every command a resolved Step. Running allocates nothing.
// A command ends before the next one starts. The cut into tasks depends on the plan alone, so the
// number of threads changes no bit of any result.
#define _GNU_SOURCE
#include "runtime/gemm.h"
#include "runtime/pool.h"
#include "runtime/sinter.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, COPY_CHUNK = 1 << 18 };
// Below this much work the other threads are not asked: waking them costs a few microseconds.
enum { SMALL_BYTES = 1 << 15, SMALL_FLOPS = 1 << 16, RANGES_PER_THREAD = 8 };

// A command with everything looked up.
typedef struct {
    SnCmdOp op;
    bool first_only;
    SnKernelFn kernel;
    SnGemmJob *job;
    void *const *bufs;
    int64_t tasks, grain, bytes;
} Step;

struct SnExec {
    const SnPlan *plan;
    SnPool *pool;
    unsigned char *arena;
    size_t arena_bytes;
    unsigned char *region[SN_REGIONS];
    unsigned char *shared;  // workspace of the matrix products
    unsigned char *scratch; // threads * scratch_bytes
    int64_t scratch_bytes;
    void **bufs;         // one per argument of the plan
    Step *steps;         // one per command
    SnGemmJob *jobs;     // one per matrix product
    SnCounter *counters; // one per command
    bool profile;
};

// What a job's tasks need to know.
typedef struct {
    SnExec *x;
    const Step *step;
    const SnEnv *env;
    uint32_t phase;
} Job;

static void *thread_scratch(const SnExec *x, int thread) {
    return x->scratch + (int64_t)thread * x->scratch_bytes;
}

static void kernel_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const Job *j = user;
    j->step->kernel(j->step->bufs, j->env, task0, task1, thread_scratch(j->x, thread));
}

static void gemm_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const Job *j = user;
    sn_gemm_run(j->step->job, j->phase, j->step->bufs, j->env, task0, task1, j->x->shared,
                thread_scratch(j->x, thread));
}

static void copy_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const Job *j = user;
    (void)thread;
    int64_t from = task0 * COPY_CHUNK, to = task1 * COPY_CHUNK;
    if (to > j->step->bytes) to = j->step->bytes;
    if (from >= to) return;
    char *dst = j->step->bufs[0];
    if (j->step->op == SN_CMD_FILL)
        memset(dst + from, 0, (size_t)(to - from));
    else
        memcpy(dst + from, (const char *)j->step->bufs[1] + from, (size_t)(to - from));
}

// Ranges that leave every thread a few to claim.
static int64_t grain_of(const SnExec *x, int64_t tasks) {
    int64_t grain = tasks / ((int64_t)sn_pool_threads(x->pool) * RANGES_PER_THREAD);
    return grain < 1 ? 1 : grain;
}

static void run_gemm(SnExec *x, const Step *s, const SnEnv *env) {
    for (uint32_t phase = 0; phase < SN_GEMM_PHASES; phase++) {
        int64_t tasks = s->job->tasks[phase];
        Job j = {x, s, env, phase};
        if (tasks) sn_pool_run(x->pool, tasks, grain_of(x, tasks), gemm_tasks, &j);
    }
}

static void run_step(SnExec *x, const Step *s, const SnEnv *env) {
    if (s->first_only && !env->first) return;
    Job j = {x, s, env, 0};
    switch (s->op) {
    case SN_CMD_KERNEL: sn_pool_run(x->pool, s->tasks, s->grain, kernel_tasks, &j); return;
    case SN_CMD_GEMM: run_gemm(x, s, env); return;
    case SN_CMD_FILL:
    case SN_CMD_COPY: sn_pool_run(x->pool, s->tasks, s->grain, copy_tasks, &j); return;
    }
    assert(false && "a command of a checked plan has a known kind");
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void sn_exec_run(SnExec *x, const char *section, const SnEnv *env) {
    const SnSection *s = sn_plan_section(x->plan, section);
    if (!s) return;
    for (uint32_t i = s->cmd; i < s->cmd + s->count; i++) {
        uint64_t start = x->profile ? now() : 0;
        run_step(x, &x->steps[i], env);
        if (!x->profile) continue;
        x->counters[i].runs++;
        x->counters[i].nanoseconds += now() - start;
    }
}

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Memory that this process may use: the machine's, cut down by the cgroup's limit.
static double usable_memory(void) {
    double bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const char *files[] = {"/sys/fs/cgroup/memory.max",
                           "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(files[i], "re");
        double limit;
        if (!f) continue;
        if (fscanf(f, "%lf", &limit) == 1 && limit > 0 && limit < bytes) bytes = limit;
        fclose(f);
    }
    return bytes;
}

// Lays out and maps the arena: regions, shared workspace, scratch of each thread.
static SnStatus map_arena(SnExec *x, int64_t shared, int64_t scratch, SnError *e) {
    int64_t threads = sn_pool_threads(x->pool), at = 0, offset[SN_REGIONS];
    for (int r = 0; r < SN_REGIONS; r++) {
        offset[r] = at;
        at += round_up(x->plan->region_bytes[r] + 64, PAGE);
    }
    // An odd number of lines between scratches keeps threads out of each other's cache sets.
    x->scratch_bytes = round_up(scratch + 64, PAGE) + 64;
    int64_t shared_at = at, scratch_at = at + round_up(shared, PAGE);
    at = round_up(scratch_at + threads * x->scratch_bytes, HUGE_PAGE);
    double gib = 1024.0 * 1024.0 * 1024.0, usable = usable_memory();
    if ((double)at > usable)
        return sn_fail(e, SN_MACHINE,
                       "the model needs %.2f GiB of memory, this machine allows %.2f GiB",
                       (double)at / gib, usable / gib);
    void *m = mmap(NULL, (size_t)at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        return sn_fail(e, SN_MACHINE, "cannot reserve %.2f GiB of memory", (double)at / gib);
    (void)madvise(m, (size_t)at, MADV_HUGEPAGE); // advice only: nothing is lost when refused
    x->arena = m;
    x->arena_bytes = (size_t)at;
    for (int r = 0; r < SN_REGIONS; r++) x->region[r] = x->arena + offset[r];
    x->shared = x->arena + shared_at;
    x->scratch = x->arena + scratch_at;
    return SN_OK;
}

static SnStatus allocate_tables(SnExec *x, SnError *e) {
    const SnPlan *p = x->plan;
    x->bufs = calloc((size_t)p->args.count + 1, sizeof *x->bufs);
    x->steps = calloc((size_t)p->cmds.count + 1, sizeof *x->steps);
    x->jobs = calloc((size_t)p->gemms.count + 1, sizeof *x->jobs);
    x->counters = calloc((size_t)p->cmds.count + 1, sizeof *x->counters);
    if (!x->bufs || !x->steps || !x->jobs || !x->counters)
        return sn_fail(e, SN_MACHINE, "out of memory");
    return SN_OK;
}

// Prepares the matrix products; *shared and *scratch become what the greediest needs.
static void prepare_gemms(SnExec *x, void (*const *functions)(void), int64_t *shared,
                          int64_t *scratch) {
    const SnPlan *p = x->plan;
    const SnGemmKit kit = {p->mr, p->nr, functions + p->ukr};
    for (uint32_t i = 0; i < p->gemms.count; i++) {
        const SnGemm *g = &SN_AT(p, SnGemm, gemms)[i];
        SnEpilogueFn epilogue = NULL;
        if (g->epilogue != UINT32_MAX) {
            const SnKernel *k = &SN_AT(p, SnKernel, kernels)[g->epilogue];
            epilogue = (SnEpilogueFn)functions[k->fn];
        }
        sn_gemm_prepare(&x->jobs[i], g, &kit, epilogue);
        if (x->jobs[i].shared > *shared) *shared = x->jobs[i].shared;
        if (x->jobs[i].scratch > *scratch) *scratch = x->jobs[i].scratch;
    }
    for (uint32_t i = 0; i < p->kernels.count; i++) {
        int64_t need = SN_AT(p, SnKernel, kernels)[i].scratch;
        if (need > *scratch) *scratch = need;
    }
}

static void resolve_kernel(SnExec *x, Step *s, const SnKernel *k, void (*const *functions)(void)) {
    s->kernel = (SnKernelFn)functions[k->fn];
    s->tasks = k->tasks;
    bool small = k->bytes < SMALL_BYTES && k->flops < SMALL_FLOPS;
    s->grain = small && k->tasks ? k->tasks : grain_of(x, k->tasks);
}

static void resolve(SnExec *x, void (*const *functions)(void)) {
    const SnPlan *p = x->plan;
    for (uint32_t i = 0; i < p->args.count; i++) {
        const SnArg *a = &SN_AT(p, SnArg, args)[i];
        x->bufs[i] = a->region == SN_REGION_NONE ? NULL : x->region[a->region] + a->offset;
    }
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
        Step *s = &x->steps[i];
        s->op = (SnCmdOp)c->op;
        s->first_only = c->when == SN_WHEN_FIRST;
        s->bufs = x->bufs + c->args;
        if (s->op == SN_CMD_KERNEL) {
            resolve_kernel(x, s, &SN_AT(p, SnKernel, kernels)[c->fn], functions);
        } else if (s->op == SN_CMD_GEMM) {
            s->job = &x->jobs[c->fn];
        } else {
            s->bytes = SN_AT(p, SnArg, args)[c->args].bytes;
            s->tasks = (s->bytes + COPY_CHUNK - 1) / COPY_CHUNK;
            s->grain = 1;
        }
    }
}

static void set_defaults(SnExec *x) {
    for (uint32_t i = 0; i < x->plan->scalars.count; i++) {
        const SnScalar *s = &SN_AT(x->plan, SnScalar, scalars)[i];
        sn_exec_set(x, SN_STRING(x->plan, s->name), s->value);
    }
}

static SnStatus build(SnExec *x, void (*const *functions)(void), int threads, SnError *e) {
    int64_t shared = 0, scratch = 0;
    x->pool = sn_pool_new(threads);
    if (!x->pool) return sn_fail(e, SN_MACHINE, "cannot start %d threads", threads);
    SnStatus s = allocate_tables(x, e);
    if (s) return s;
    prepare_gemms(x, functions, &shared, &scratch);
    s = map_arena(x, shared, scratch, e);
    if (s) return s;
    resolve(x, functions);
    set_defaults(x);
    return SN_OK;
}

SnStatus sn_exec_new(const SnPlan *plan, void (*const *functions)(void), int threads, SnExec **out,
                     SnError *e) {
    *out = NULL;
    SnExec *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    x->plan = plan;
    SnStatus s = build(x, functions, threads < 1 ? 1 : threads, e);
    if (s) {
        sn_exec_free(x);
        return s;
    }
    *out = x;
    return SN_OK;
}

void sn_exec_free(SnExec *x) {
    if (!x) return;
    sn_pool_free(x->pool);
    if (x->arena) munmap(x->arena, x->arena_bytes);
    free(x->bufs);
    free(x->steps);
    free(x->jobs);
    free(x->counters);
    free(x);
}

const SnPlan *sn_exec_plan(const SnExec *x) { return x->plan; }
int sn_exec_threads(const SnExec *x) { return sn_pool_threads(x->pool); }
int64_t sn_exec_bytes(const SnExec *x) { return (int64_t)x->arena_bytes; }
void sn_exec_profile(SnExec *x, bool on) { x->profile = on; }
const SnCounter *sn_exec_counters(const SnExec *x) { return x->counters; }

void *sn_exec_at(SnExec *x, uint32_t region, int64_t offset) {
    assert(region > SN_REGION_NONE && region < SN_REGIONS);
    return x->region[region] + offset;
}

// Elements of ir/dtypes.def, in its order.
static void write_elem(void *to, uint32_t elem, double value) {
    if (value != value) value = 0; // callers check; converting it would be undefined
    float f = (float)value;
    int32_t i = value >= INT32_MAX ? INT32_MAX : value <= INT32_MIN ? INT32_MIN : (int32_t)value;
    uint32_t u = value >= UINT32_MAX ? UINT32_MAX : value <= 0 ? 0 : (uint32_t)value;
    unsigned char b = value != 0;
    const void *from[] = {&f, &i, &u, &b};
    memcpy(to, from[elem], elem == 3 ? 1 : 4);
}

static double read_elem(const void *from, uint32_t elem) {
    float f;
    int32_t i;
    uint32_t u;
    switch (elem) {
    case 0: memcpy(&f, from, 4); return (double)f;
    case 1: memcpy(&i, from, 4); return (double)i;
    case 2: memcpy(&u, from, 4); return (double)u;
    }
    return *(const unsigned char *)from != 0;
}

bool sn_exec_set(SnExec *x, const char *name, double value) {
    const SnScalar *s = sn_plan_scalar(x->plan, name);
    if (!s) return false;
    write_elem(sn_exec_at(x, SN_REGION_SCALAR, s->offset), s->elem, value);
    return true;
}

double sn_exec_get(SnExec *x, const char *name, double otherwise) {
    const SnScalar *s = sn_plan_scalar(x->plan, name);
    return s ? read_elem(sn_exec_at(x, SN_REGION_SCALAR, s->offset), s->elem) : otherwise;
}

double sn_exec_result(SnExec *x, const char *section, const char *name) {
    const SnPort *p = sn_plan_output(x->plan, section, name);
    return p && p->naxes == 0 ? read_elem(sn_exec_at(x, p->region, p->offset), p->elem)
                              : (double)NAN;
}

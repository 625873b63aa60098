// The CPU: walks the plan's commands on host memory.
//
// Why a table and not generated host code: walking costs tens of nanoseconds a command, kernels
// take microseconds, and one table can be checked, dumped and profiled.
//
// When the device is made, everything is decided: one arena holds all regions (64-byte aligned,
// huge pages advised), then the workspace that matrix products share and one scratch per thread;
// every argument becomes a pointer, every command a CpuCommand. Running allocates nothing.
// A command ends before the next one starts. The cut of a kernel into tasks depends on the plan alone,
// and no cut of a product changes a bit (gemm.c): the number of threads changes none of any result.
#define _GNU_SOURCE
#include "runtime/core/device.h"
#include "runtime/core/attend.h"
#include "runtime/core/cgroup.h"
#include "runtime/core/pool.h"
#include "runtime/cpu/moments.h"
#include <assert.h>
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
    union {
        SnGemmJob *job;
        SnAttendJob *attend;
    };
    void *const *bufs;
    int64_t tasks, grain, bytes;
} CpuCommand;

typedef struct {
    SnDevice device;
    const SnPlan *plan;
    SnPool *pool;
    bool find_nan;
    unsigned char *arena;
    size_t arena_bytes;
    unsigned char *region[SN_REGIONS];
    unsigned char *shared;  // workspace of the matrix products
    unsigned char *scratch; // threads * scratch_bytes
    int64_t scratch_bytes;
    void **bufs;          // one per argument of the plan
    const char *moments;  // folder of the file that they are in; NULL: memory
    CpuCommand *steps;    // one per command
    SnGemmJob *jobs;      // one per matrix product
    SnAttendJob *attends; // one per attention
} CpuDevice;

static CpuDevice *cpu_of(SnDevice *d) { return (CpuDevice *)(void *)d; }

// What a job's tasks need to know.
typedef struct {
    CpuDevice *x;
    const CpuCommand *step;
    const SnEnv *env;
    uint32_t phase;
} CommandRun;

static void *thread_scratch(const CpuDevice *x, int thread) {
    return x->scratch + (int64_t)thread * x->scratch_bytes;
}

static void kernel_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const CommandRun *j = user;
    j->step->kernel(j->step->bufs, j->env, task0, task1, thread_scratch(j->x, thread));
}

static void gemm_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const CommandRun *j = user;
    sn_gemm_run(j->step->job, j->phase, j->step->bufs, j->env, task0, task1, j->x->shared,
                thread_scratch(j->x, thread));
}

static void attend_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const CommandRun *j = user;
    sn_attend_run(j->step->attend, j->phase, j->step->bufs, j->env, task0, task1, j->x->shared,
                  thread_scratch(j->x, thread));
}

static void copy_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const CommandRun *j = user;
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
static int64_t grain_of(const CpuDevice *x, int64_t tasks) {
    int64_t grain = tasks / ((int64_t)sn_pool_threads(x->pool) * RANGES_PER_THREAD);
    return grain < 1 ? 1 : grain;
}

static void run_gemm(CpuDevice *x, const CpuCommand *s, const SnEnv *env) {
    for (uint32_t phase = 0; phase < SN_GEMM_PHASES; phase++) {
        int64_t tasks = s->job->tasks[phase];
        CommandRun j = {x, s, env, phase};
        if (tasks) sn_pool_run(x->pool, tasks, grain_of(x, tasks), gemm_tasks, &j);
    }
}

// Strips wait for those before them: one to a range, in order.
static void run_attend(CpuDevice *x, const CpuCommand *s, const SnEnv *env) {
    for (uint32_t phase = 0; phase < SN_ATTEND_PHASES; phase++) {
        CommandRun j = {x, s, env, phase};
        if (s->attend->tasks[phase])
            sn_pool_run(x->pool, s->attend->tasks[phase], 1, attend_tasks, &j);
    }
}

static void run_step(CpuDevice *x, const CpuCommand *s, const SnEnv *env) {
    if (s->first_only && !env->first) return;
    CommandRun j = {x, s, env, 0};
    switch (s->op) {
    case SN_CMD_KERNEL: sn_pool_run(x->pool, s->tasks, s->grain, kernel_tasks, &j); return;
    case SN_CMD_GEMM: run_gemm(x, s, env); return;
    case SN_CMD_ATTEND: run_attend(x, s, env); return;
    case SN_CMD_FILL:
    case SN_CMD_COPY: sn_pool_run(x->pool, s->tasks, s->grain, copy_tasks, &j); return;
    case SN_CMD_RECORD: // one command at a time, whatever its stream
    case SN_CMD_WAIT: return;
    }
    assert(false && "a command of a checked plan has a known kind");
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Pages of the moments that command i has: wanted when its turn is near, done with behind it.
static void advise_moments(const CpuDevice *x, uint32_t i, bool soon) {
    const SnCmd *c = &SN_AT(x->plan, SnCmd, cmds)[i];
    for (uint32_t k = c->args; k < c->args + c->nargs; k++) {
        const SnArg *a = &SN_AT(x->plan, SnArg, args)[k];
        if (a->region != SN_REGION_MOMENT || a->bytes < PAGE) continue;
        (soon ? sn_moments_soon : sn_moments_done)(x->bufs[k], a->bytes);
    }
}

static SnStatus cpu_run(SnDevice *d, const SnSection *s, const SnEnv *env, SnError *e) {
    CpuDevice *x = cpu_of(d);
    SnStatus status = SN_OK;
    for (uint32_t i = s->cmd; i < s->cmd + s->count && !status; i++) {
        uint64_t start = d->profile ? now() : 0;
        if (x->moments && i + 1 < s->cmd + s->count) advise_moments(x, i + 1, true);
        run_step(x, &x->steps[i], env);
        if (x->moments) advise_moments(x, i, false);
        if (x->find_nan) status = sn_nan_check(d, &SN_AT(d->plan, SnCmd, cmds)[i], e);
        if (!d->profile) continue;
        d->counters[i].runs++;
        d->counters[i].nanoseconds += now() - start;
    }
    return status;
}

// Memory that this process may use: the machine's, cut down by the limits of its control groups.
double sn_usable_memory(void) {
    double bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double limit = sn_cgroup_limits("/proc/self/cgroup", "/sys/fs/cgroup").memory;
    return limit < bytes ? limit : bytes;
}

// Where everything lies in the arena.
typedef struct {
    int64_t region[SN_REGIONS], shared, scratch; // offsets
    int64_t of_thread;                           // bytes of a thread's scratch
    int64_t all;
} CpuPlaces;

// Regions, shared workspace, scratch of each thread.
static CpuPlaces places(const SnPlan *plan, int64_t temporary, int64_t threads, int64_t shared,
                        int64_t scratch) {
    CpuPlaces p;
    int64_t at = 0;
    for (int r = 0; r < SN_REGIONS; r++) {
        p.region[r] = at;
        int64_t bytes = r == SN_REGION_TEMP ? temporary : plan->region_bytes[r];
        at += sn_round_up(bytes + 64, PAGE);
    }
    // An odd number of lines between scratches keeps threads out of each other's cache sets.
    p.of_thread = sn_round_up(scratch + 64, PAGE) + 64;
    p.shared = at;
    p.scratch = at + sn_round_up(shared, PAGE);
    p.all = sn_round_up(p.scratch + threads * p.of_thread, HUGE_PAGE);
    return p;
}

static SnStatus map_arena(CpuDevice *x, int64_t shared, int64_t scratch, SnError *e) {
    CpuPlaces p = places(x->plan, x->device.temporary, sn_pool_threads(x->pool), shared, scratch);
    int64_t at = p.all;
    x->scratch_bytes = p.of_thread;
    int64_t in_file = x->moments ? p.region[SN_REGION_MOMENT + 1] - p.region[SN_REGION_MOMENT] : 0;
    double gib = 1024.0 * 1024.0 * 1024.0, usable = sn_usable_memory();
    if ((double)(at - in_file) > usable)
        return sn_fail(e, SN_MACHINE,
                       "the model needs %.2f GiB of memory, this machine allows %.2f GiB",
                       (double)(at - in_file) / gib, usable / gib);
    void *m = mmap(NULL, (size_t)at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        return sn_fail(e, SN_MACHINE, "cannot reserve %.2f GiB of memory", (double)at / gib);
    (void)madvise(m, (size_t)at, MADV_HUGEPAGE); // advice only: nothing is lost when refused
    x->arena = m;
    x->arena_bytes = (size_t)at;
    for (int r = 0; r < SN_REGIONS; r++) x->region[r] = x->arena + p.region[r];
    x->shared = x->arena + p.shared;
    x->scratch = x->arena + p.scratch;
    return in_file ? sn_moments_map(x->region[SN_REGION_MOMENT], in_file, x->moments, e) : SN_OK;
}

static SnStatus allocate_tables(CpuDevice *x, SnError *e) {
    const SnPlan *p = x->plan;
    x->bufs = calloc((size_t)p->args.count + 1, sizeof *x->bufs);
    x->steps = calloc((size_t)p->cmds.count + 1, sizeof *x->steps);
    x->jobs = calloc((size_t)p->gemms.count + 1, sizeof *x->jobs);
    x->attends = calloc((size_t)p->attends.count + 1, sizeof *x->attends);
    x->device.counters = calloc((size_t)p->cmds.count + 1, sizeof *x->device.counters);
    if (!x->bufs || !x->steps || !x->jobs || !x->attends || !x->device.counters)
        return sn_fail(e, SN_MACHINE, "out of memory");
    return SN_OK;
}

static void at_least(int64_t *most, int64_t bytes) {
    if (bytes > *most) *most = bytes;
}

static void prepare_gemm(const SnPlan *p, uint32_t i, const SnGemmKit *kit, int64_t threads,
                         void (*const *functions)(void), SnGemmJob *job) {
    const SnGemm *g = &SN_AT(p, SnGemm, gemms)[i];
    SnEpilogueFn epilogue = NULL;
    if (sn_gemm_has(g, SN_GEMM_EPILOGUE))
        epilogue = (SnEpilogueFn)functions[SN_AT(p, SnKernel, kernels)[g->epilogue].fn];
    sn_gemm_prepare(job, g, kit, threads, epilogue);
}

static void prepare_attend(const SnPlan *p, uint32_t i, const SnGemmKit *kit, int64_t threads,
                           void (*const *functions)(void), SnAttendJob *job) {
    const SnAttend *a = &SN_AT(p, SnAttend, attends)[i];
    const SnKernel *k = &SN_AT(p, SnKernel, kernels)[a->kernel];
    sn_attend_prepare(job, a, &SN_AT(p, SnHull, hulls)[a->hull], kit, (SnStripFn)functions[k->fn],
                      k->scratch, threads);
}

// Prepares products and attention; *shared and *scratch become what the greediest needs. gemms, attends: a
// place for each, or one for all when step is 0.
static void prepare_jobs(const SnPlan *p, const SnGemmKit *kit, int64_t threads,
                         void (*const *functions)(void), SnGemmJob *gemms, SnAttendJob *attends,
                         uint32_t step, int64_t *shared, int64_t *scratch) {
    for (uint32_t i = 0; i < p->gemms.count; i++) {
        prepare_gemm(p, i, kit, threads, functions, &gemms[i * step]);
        at_least(shared, gemms[i * step].shared);
        at_least(scratch, gemms[i * step].scratch);
    }
    for (uint32_t i = 0; i < p->attends.count; i++) {
        prepare_attend(p, i, kit, threads, functions, &attends[i * step]);
        at_least(shared, attends[i * step].shared);
        at_least(scratch, attends[i * step].scratch);
    }
    for (uint32_t i = 0; i < p->kernels.count; i++)
        at_least(scratch, SN_AT(p, SnKernel, kernels)[i].scratch);
}

// Stands for every function of an executable that is not there.
static void nothing(void) {}

bool sn_cpu_layout(const SnPlan *plan, int threads, SnLayout *to) {
    int64_t shared = 0, scratch = 0;
    SnGemmJob gemm;
    SnAttendJob attend;
    // functions are not called; panels of pairs, where the processor has them, are no larger
    const SnGemmKit kit = {.mr = plan->mr, .nr = plan->nr};
    uint32_t count = 1;
    for (uint32_t i = 0; i < plan->kernels.count; i++)
        if (SN_AT(plan, SnKernel, kernels)[i].fn >= count)
            count = SN_AT(plan, SnKernel, kernels)[i].fn + 1;
    void (**functions)(void) = calloc(count, sizeof *functions);
    if (!functions) return false;
    for (uint32_t i = 0; i < count; i++) functions[i] = nothing;
    prepare_jobs(plan, &kit, threads, functions, &gemm, &attend, 0, &shared, &scratch);
    free(functions);
    CpuPlaces p = places(plan, sn_plan_temporary(plan, true), threads, shared, scratch);
    *to = (SnLayout){.shared = shared, .scratch = threads * p.of_thread, .all = p.all};
    return true;
}

static void resolve_kernel(CpuDevice *x, CpuCommand *s, const SnKernel *k,
                           void (*const *functions)(void)) {
    s->kernel = (SnKernelFn)functions[k->fn];
    s->tasks = k->tasks;
    bool small = k->bytes < SMALL_BYTES && k->flops < SMALL_FLOPS;
    s->grain = small && k->tasks ? k->tasks : grain_of(x, k->tasks);
}

static void resolve(CpuDevice *x, void (*const *functions)(void)) {
    const SnPlan *p = x->plan;
    for (uint32_t i = 0; i < p->args.count; i++) {
        const SnArg *a = &SN_AT(p, SnArg, args)[i];
        x->bufs[i] = a->region == SN_REGION_NONE ? NULL : x->region[a->region] + a->offset;
    }
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
        CpuCommand *s = &x->steps[i];
        s->op = (SnCmdOp)c->op;
        s->first_only = c->when == SN_WHEN_FIRST;
        s->bufs = x->bufs + c->args;
        if (s->op == SN_CMD_KERNEL) {
            resolve_kernel(x, s, &SN_AT(p, SnKernel, kernels)[c->fn], functions);
        } else if (s->op == SN_CMD_GEMM) {
            s->job = &x->jobs[c->fn];
        } else if (s->op == SN_CMD_ATTEND) {
            s->attend = &x->attends[c->fn];
        } else if (c->nargs) {
            s->bytes = SN_AT(p, SnArg, args)[c->args].bytes;
            s->tasks = sn_ceil_div(s->bytes, COPY_CHUNK);
            s->grain = 1;
        }
    }
}

static SnStatus build(CpuDevice *x, void (*const *functions)(void), int threads, SnError *e) {
    int64_t shared = 0, scratch = 0;
    x->pool = sn_pool_new(threads);
    if (!x->pool) return sn_fail(e, SN_MACHINE, "cannot start %d threads", threads);
    SnStatus s = allocate_tables(x, e);
    if (s) return s;
    const SnGemmKit kit = sn_gemm_kit(x->plan, functions);
    prepare_jobs(x->plan, &kit, sn_pool_threads(x->pool), functions, x->jobs, x->attends, 1,
                 &shared, &scratch);
    s = map_arena(x, shared, scratch, e);
    if (s) return s;
    resolve(x, functions);
    x->device.scalars = x->region[SN_REGION_SCALAR];
    x->device.bytes = (int64_t)x->arena_bytes;
    snprintf(x->device.name, sizeof x->device.name, "%d threads", threads);
    return SN_OK;
}

static void cpu_free(SnDevice *d) {
    CpuDevice *x = cpu_of(d);
    sn_pool_free(x->pool);
    if (x->arena) munmap(x->arena, x->arena_bytes);
    free(x->bufs);
    free(x->steps);
    free(x->jobs);
    free(x->attends);
    free(d->counters);
    free(x);
}

static void *cpu_at(SnDevice *d, uint32_t region, int64_t offset) {
    return cpu_of(d)->region[region] + offset;
}

static void *cpu_input(SnDevice *d, const SnPort *port) {
    return cpu_at(d, port->region, port->offset);
}

static SnStatus cpu_read(SnDevice *d, uint32_t region, int64_t offset, void *to, int64_t bytes,
                         SnError *e) {
    (void)e;
    memcpy(to, cpu_at(d, region, offset), (size_t)bytes);
    return SN_OK;
}

static SnStatus cpu_write(SnDevice *d, uint32_t region, int64_t offset, const void *from,
                          int64_t bytes, SnError *e) {
    (void)e;
    memcpy(cpu_at(d, region, offset), from, (size_t)bytes);
    return SN_OK;
}

static SnStatus cpu_result(SnDevice *d, const SnPort *port, int back, void *to, int64_t bytes,
                           SnError *e) {
    assert(back == 0);
    return cpu_read(d, port->region, port->offset, to, bytes, e);
}

static SnStatus cpu_wait(SnDevice *d, SnError *e) {
    (void)d;
    (void)e;
    return SN_OK;
}

static const SnDeviceOps cpu_ops = {.free = cpu_free,
                                    .at = cpu_at,
                                    .input = cpu_input,
                                    .read = cpu_read,
                                    .write = cpu_write,
                                    .result = cpu_result,
                                    .run = cpu_run,
                                    .wait = cpu_wait};

SnStatus sn_cpu_device(const SnPlan *plan, void (*const *functions)(void), const SnDeviceWish *wish,
                       SnDevice **out, SnError *e) {
    *out = NULL;
    CpuDevice *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    x->plan = x->device.plan = plan;
    x->device.ops = &cpu_ops;
    x->device.temporary = sn_plan_temporary(plan, wish->training);
    x->moments = plan->region_bytes[SN_REGION_MOMENT] ? wish->moments : NULL;
    x->find_nan = sn_nan_wanted();
    SnStatus s = build(x, functions, wish->threads, e);
    if (s) {
        cpu_free(&x->device);
        return s;
    }
    *out = &x->device;
    return SN_OK;
}

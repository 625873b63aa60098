// sinter bench MODEL: the figures of a model's training step on this machine, side by side with yardsticks
// in the same run.
//
//   step       one optimizer step of native code, random ids
//   products   the step's matrix products alone, ours and oneDNN's, on cold operands
//   attention  its time in the step, and its rate beside the micro-kernel's own
//   bound      products by the faster of both, attention's needed work at the micro-kernel's own rate, and the
//              bytes of all other commands at the rate of a copy
//   predicted  what sinter plan says of the step with the rates of these products and copies, part by part
//   PyTorch    the same step of GPT-2, where a Python with PyTorch is given
//   memory     the peak by length (bench_memory.c), instead of all else
//   build      wall time of `sinter build`
//
// Every repetition measures all of them one after another; the table shows medians and ratios of medians.
// Times vary with what else the machine does, ratios less.
#include "tools/account.h"
#include "tools/bench_cpu.h"
#include "tools/bench_gpu.h"
#include "tools/clock.h"
#include "tools/fit.h"
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
    double took[2][MAX_REPEAT]; // of all its times: ours, theirs
} BenchEntry;

typedef struct {
    BenchStep s;
    Driver *d;
    const SnPlan *plan;
    BenchEntry entries[MAX_PRODUCTS];
    int count,
        left; // products; those with an operand in 8 or 16 bits that are not two of bf16: in the step alone
    bool bf16;
    char *ring;
    int64_t ring_bytes, at;
    int repeat, threads;
} CpuBench;

// ---- products -----------------------------------------------------------------------------------

static bool same_product(const GemmShape *a, const GemmShape *b) {
    return a->batch == b->batch && a->m == b->m && a->n == b->n && a->k == b->k &&
           a->a_k == b->a_k && a->b_k == b->b_k && a->bf16 == b->bf16;
}

static void collect(CpuBench *b, const char *section) {
    const SnSection *s = sn_plan_section(b->plan, section);
    for (uint32_t i = 0; s && i < s->count; i++) {
        const SnCmd *c = &SN_AT(b->plan, SnCmd, cmds)[s->cmd + i];
        if (c->op != SN_CMD_GEMM) continue;
        const SnGemm *g = &SN_AT(b->plan, SnGemm, gemms)[c->fn];
        bool bf16 = sn_pairs(g->elem_a, g->elem_b);
        b->bf16 |= bf16;
        if (!bf16 && (g->elem_a != SN_ELEM_f32 || g->elem_b != SN_ELEM_f32)) {
            b->left++;
            continue;
        }
        GemmShape p = {sn_extent(g->batch, g->nbatch),
                       sn_extent(g->m, g->nm),
                       sn_extent(g->n, g->nn),
                       sn_extent(g->k, g->nk),
                       g->k[g->nk - 1].a == 1,
                       g->k[g->nk - 1].b == 1,
                       bf16};
        int k = 0;
        while (k < b->count && !same_product(&b->entries[k].p, &p)) k++;
        if (k == MAX_PRODUCTS) continue;
        if (k == b->count) b->entries[b->count++] = (BenchEntry){.p = p};
        b->entries[k].times++;
    }
}

// The plain product that oneDNN is given, for our driver: no accumulator, no epilogue.
static void plain_gemm(const GemmShape *p, SnGemm *g) {
    uint32_t elem = p->bf16 ? SN_ELEM_bf16 : SN_ELEM_f32;
    *g = (SnGemm){.nbatch = 1,
                  .nm = 1,
                  .nn = 1,
                  .nk = 1,
                  .elem_a = elem,
                  .elem_b = elem,
                  .has = sn_gemm_bit(SN_GEMM_C)};
    g->batch[0] = (SnDim){p->batch, p->m * p->k, p->k * p->n, p->m * p->n};
    g->m[0] = (SnDim){p->m, p->a_k ? p->k : 1, 0, p->n};
    g->n[0] = (SnDim){p->n, 0, p->b_k ? p->k : 1, 1};
    g->k[0] = (SnDim){p->k, p->a_k ? 1 : p->m, p->b_k ? 1 : p->n, 0};
}

static void operand_bytes(const GemmShape *p, int64_t bytes[3]) {
    int64_t width = p->bf16 ? 2 : 4;
    bytes[0] = p->batch * p->m * p->k * width;
    bytes[1] = p->batch * p->k * p->n * width;
    bytes[2] = p->batch * p->m * p->n * 4;
}

static bool new_ring(CpuBench *b) {
    b->ring_bytes = RING_BYTES;
    for (int i = 0; i < b->count; i++) {
        int64_t bytes[3];
        operand_bytes(&b->entries[i].p, bytes);
        int64_t all = bytes[0] + bytes[1] + bytes[2] + 3 * 64;
        if (all > b->ring_bytes) b->ring_bytes = all;
    }
    b->ring = calloc(1, (size_t)b->ring_bytes);
    return b->ring != NULL;
}

static void next_operands(CpuBench *b, const GemmShape *p, void *bufs[3]) {
    int64_t bytes[3];
    operand_bytes(p, bytes);
    for (int i = 0; i < 3; i++) {
        if (b->at + bytes[i] > b->ring_bytes) b->at = 0;
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

static double time_ours(CpuBench *b, int round, SnPool *pool, void *shared, void **scratch) {
    double sum = 0;
    for (int i = 0; i < b->count; i++) {
        double start = clock_now();
        for (int64_t t = 0; t < b->entries[i].times; t++) {
            Running r = {.e = &b->entries[i], .shared = shared, .scratch = scratch};
            next_operands(b, &r.e->p, r.bufs);
            for (r.phase = 0; r.phase < SN_GEMM_PHASES; r.phase++)
                if (r.e->ours.tasks[r.phase])
                    sn_pool_run(pool, r.e->ours.tasks[r.phase], 1, run_tasks, &r);
        }
        double took = clock_now() - start;
        if (round >= 0) b->entries[i].took[0][round] = took;
        sum += took;
    }
    return sum;
}

static double time_theirs(CpuBench *b, int round) {
    double sum = 0;
    for (int i = 0; i < b->count && yardstick_available(); i++) {
        double start = clock_now();
        for (int64_t t = 0; t < b->entries[i].times; t++) {
            void *bufs[3];
            next_operands(b, &b->entries[i].p, bufs);
            yardstick_run(b->entries[i].theirs, bufs);
        }
        double took = clock_now() - start;
        if (round >= 0) b->entries[i].took[1][round] = took;
        sum += took;
    }
    return sum;
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

// What can run the products alone: threads, and the memory that they need.
typedef struct {
    SnPool *pool;
    SnGemmKit kit;
    void *shared, **scratch;
    int threads;
} ProductKit;

static ProductKit prepare_products(CpuBench *b, int threads) {
    ProductKit k = {.pool = sn_pool_new(threads), .threads = threads};
    k.kit = sn_gemm_kit(b->plan, (const SnFn *)b->s.functions);
    int64_t shared = 64, scratch = 64;
    for (int i = 0; i < b->count; i++) {
        BenchEntry *n = &b->entries[i];
        plain_gemm(&n->p, &n->gemm);
        sn_gemm_prepare(&n->ours, &n->gemm, &k.kit, threads, NULL);
        if (n->ours.shared > shared) shared = n->ours.shared;
        if (n->ours.scratch > scratch) scratch = n->ours.scratch;
        if (yardstick_available()) n->theirs = yardstick_new(&n->p, threads);
    }
    k.shared = aligned_alloc(64, (size_t)((shared + 63) / 64 * 64));
    k.scratch = calloc((size_t)threads, sizeof *k.scratch);
    for (int t = 0; k.scratch && t < threads; t++)
        k.scratch[t] = aligned_alloc(64, (size_t)((scratch + 63) / 64 * 64));
    if (!k.pool || !k.shared || !k.scratch) exit(EXIT_MACHINE);
    return k;
}

static void free_products(CpuBench *b, ProductKit *k) {
    for (int i = 0; i < b->count; i++)
        if (b->entries[i].theirs) yardstick_free(b->entries[i].theirs);
    for (int t = 0; t < k->threads; t++) free(k->scratch[t]);
    free(k->scratch);
    free(k->shared);
    sn_pool_free(k->pool);
}

// ---- attention ----------------------------------------------------------------------------------

enum { FORWARD, BACKWARD };

// Sums over rows are derivatives.
static int direction_of(const SnAttend *a) {
    for (uint32_t i = 0; i < a->nparts; i++)
        if (a->part[i].kind == SN_ATTEND_ROWS) return BACKWARD;
    return FORWARD;
}

// The needed work of a step, by how products sum (account_attend_needed), and the time that its commands have
// taken since the start; both by direction.
typedef struct {
    double flops[2][2], seconds[2];
} AttendCost;

static AttendCost attend_cost(const CpuBench *b, const SnExec *x) {
    AttendCost c = {0};
    const SnSection *s = sn_plan_section(b->plan, "micro");
    const SnCounter *counters = sn_exec_counters(x);
    for (uint32_t i = 0; s && i < s->count; i++) {
        const SnCmd *cmd = &SN_AT(b->plan, SnCmd, cmds)[s->cmd + i];
        if (cmd->op != SN_CMD_ATTEND) continue;
        const SnAttend *a = &SN_AT(b->plan, SnAttend, attends)[cmd->fn];
        int at = direction_of(a);
        double flops[2];
        account_attend_needed(b->plan, a, flops);
        for (int k = 0; k < 2; k++) c.flops[at][k] += flops[k];
        c.seconds[at] += 1e-9 * (double)counters[s->cmd + i].nanoseconds;
    }
    return c;
}

// ---- the table ----------------------------------------------------------------------------------

// Of each repetition; seconds, or a rate.
typedef enum {
    OF_STEP,
    OF_OURS,
    OF_THEIRS,
    OF_FORWARD,
    OF_BACKWARD,
    OF_UKR,
    OF_PAIRS, // the micro-kernel's, as OF_UKR
    OF_COPY,
    OF_TORCH,
    COLUMNS
} Column;
typedef struct {
    double at[COLUMNS][MAX_REPEAT], loss[2]; // loss: of the first and the last step
} Times;

static double median(Times *t, Column c, int n) { return clock_median(t->at[c], n); }

static void measure_round(CpuBench *b, SnExec *x, ProductKit *k, BenchTorch *torch, int r,
                          Times *t) {
    AttendCost before = attend_cost(b, x);
    double v[COLUMNS] = {[OF_STEP] = bench_step_run(&b->s, x, (uint32_t)(r + 2))};
    AttendCost after = attend_cost(b, x);
    for (int i = 0; i < 2; i++) v[OF_FORWARD + i] = after.seconds[i] - before.seconds[i];
    if (r < 0) t->loss[0] = sn_exec_result(x, "update", "loss", 0);
    t->loss[1] = sn_exec_result(x, "update", "loss", 0);
    v[OF_OURS] = time_ours(b, r, k->pool, k->shared, k->scratch);
    v[OF_THEIRS] = time_theirs(b, r);
    v[OF_UKR] = bench_ukr_rate(k->pool, &k->kit, false, CLOCK_MONOTONIC);
    if (b->bf16) v[OF_PAIRS] = bench_ukr_rate(k->pool, &k->kit, true, CLOCK_MONOTONIC);
    v[OF_COPY] = bench_copy_rate(k->pool, b->ring, RING_BYTES);
    if (torch) v[OF_TORCH] = bench_torch_step(torch);
    for (int c = 0; c < COLUMNS && r >= 0; c++) t->at[c][r] = v[c];
}

// Seconds of attention's needed work at the micro-kernel's rates.
static double least_attention(const AttendCost *c, int direction, const double ukr[2]) {
    double s = 0;
    for (int k = 0; k < 2; k++)
        if (c->flops[direction][k] > 0) s += c->flops[direction][k] / ukr[k];
    return s;
}

static void print_attention(const CpuBench *b, const AttendCost *c, Times *t, const double ukr[2]) {
    static const char *const names[] = {"forward", "backward"};
    for (int i = 0; i < 2; i++) {
        double s = median(t, OF_FORWARD + (Column)i, b->repeat);
        double f = c->flops[i][0] + c->flops[i][1];
        if (f == 0) continue;
        printf("  attention, %-8s        %8.1f ms   %.0f GFLOP/s of needed work, %.2f of the "
               "micro-kernel's rate\n",
               names[i], s * 1e3, f / s * 1e-9, least_attention(c, i, ukr) / s);
    }
}

// By the faster of both, shape by shape.
static double least_products(CpuBench *b) {
    double sum = 0;
    for (int i = 0; i < b->count; i++) {
        double ours = clock_median(b->entries[i].took[0], b->repeat);
        double theirs = clock_median(b->entries[i].took[1], b->repeat);
        sum += yardstick_available() && theirs < ours ? theirs : ours;
    }
    return sum;
}

static void print_bound(CpuBench *b, const AttendCost *c, double step, const double ukr[2],
                        double copy) {
    Account account;
    account_step(b->d->arena, b->plan, 1, &account);
    double bytes = account.total.kernel_bytes + account.total.other_bytes,
           products = least_products(b),
           attention = least_attention(c, FORWARD, ukr) + least_attention(c, BACKWARD, ukr);
    double bound = products + attention + bytes / copy;
    printf("  micro-kernel by itself                    %.0f GFLOP/s; ", ukr[0] * 1e-9);
    if (b->bf16) printf("of bf16 %.0f GFLOP/s; ", ukr[1] * 1e-9);
    printf("copies %.1f GB/s\n", copy * 1e-9);
    printf("  bound                      %8.1f ms   products %.1f, attention %.1f, %.0f MB of all "
           "else %.1f\n",
           bound * 1e3, products * 1e3, attention * 1e3, bytes * 1e-6, bytes / copy * 1e3);
    printf("  step / bound               %8.2f\n", step / bound);
}

// Ours of two bf16 operands, beside their micro-kernel, summed over the step's shapes. Without its instruction they run
// by f32's, which says nothing about theirs.
static void print_pairs(CpuBench *b, bool instruction, double rate) {
    double seconds = 0, operations = 0;
    if (!b->bf16) return;
    if (!instruction) {
        puts("  those of bf16, ours          not measured: this build uses no AVX512-BF16");
        return;
    }
    for (int i = 0; i < b->count; i++) {
        BenchEntry *e = &b->entries[i];
        if (!e->p.bf16) continue;
        seconds += clock_median(e->took[0], b->repeat);
        operations += 2.0 * (double)e->times * (double)e->p.batch * (double)e->p.m *
                      (double)e->p.n * (double)e->p.k;
    }
    if (seconds > 0)
        printf("  those of bf16, ours        %8.1f ms   %.0f GFLOP/s, %.2f of their micro-kernel's "
               "rate\n",
               seconds * 1e3, operations / seconds * 1e-9, operations / seconds / rate);
}

// ---- predicted ----------------------------------------------------------------------------------

// Seconds by kind of command, of all steps so far; the update apart.
typedef struct {
    double kind[TIME_KINDS], update;
} StepParts;

static StepParts measured_parts(const CpuBench *b, const SnExec *x) {
    static const char *const sections[] = {"prologue", "micro", "update"};
    StepParts p = {.update = 0};
    for (int i = 0; i < 3; i++) {
        const SnSection *s = sn_plan_section(b->plan, sections[i]);
        for (uint32_t k = 0; s && k < s->count; k++) {
            const SnCmd *c = &SN_AT(b->plan, SnCmd, cmds)[s->cmd + k];
            double seconds = 1e-9 * (double)sn_exec_counters(x)[s->cmd + k].nanoseconds;
            TimeKind kind = c->op == SN_CMD_GEMM     ? TIME_products
                            : c->op == SN_CMD_ATTEND ? TIME_attention
                            : c->op == SN_CMD_KERNEL ? TIME_kernels
                                                     : TIME_copies;
            *(i == 2 ? &p.update : &p.kind[kind]) += seconds;
        }
    }
    return p;
}

static Rates measured_rates(CpuBench *b, double products, double copy) {
    const Fleet cpu = {.count = 1, .threads = b->threads};
    Rates r;
    fit_rates(&cpu, &r);
    fit_take_rates(&r, products, copy);
    return r;
}

static double predict(CpuBench *b, const Rates *rates, FitBuilt *to) {
    *to = (FitBuilt){.good = true};
    fit_cost(rates, b->d->arena, b->plan, to);
    double all = to->update;
    for (int k = 0; k < TIME_KINDS; k++) all += to->seconds[k];
    return all;
}

// What sinter plan --calibration reads.
static void print_rates(CpuBench *b, const Rates *rates, double step) {
    FitBuilt built;
    Text t = {.arena = b->d->arena};
    text_printf(&t, "{\"kind\":\"rates\",\"device\":\"cpu\",\"model\":");
    text_put_json(&t, b->d->program->model_name);
    printf("%s,\"threads\":%d,\"products\":%.6g,\"copies\":%.6g,\"step_ms\":%.6g,"
           "\"predicted_ms\":%.6g}\n",
           t.at, b->threads, rates->products[RATE_f32] * 1e-9, rates->bytes * 1e-9, step * 1e3,
           predict(b, rates, &built) * 1e3);
}

// before: the steps that do not count.
static void print_predicted(CpuBench *b, const SnExec *x, const StepParts *before,
                            const Rates *rates, double step) {
    StepParts got = measured_parts(b, x);
    for (int k = 0; k < TIME_KINDS; k++) got.kind[k] = (got.kind[k] - before->kind[k]) / b->repeat;
    got.update = (got.update - before->update) / b->repeat;
    FitBuilt built;
    double all = predict(b, rates, &built);
    printf("  predicted                  %8.1f ms   %.2f of the step\n", all * 1e3, all / step);
    for (int k = 0; k < TIME_KINDS; k++)
        if (built.seconds[k] > 0)
            printf("    %-22s   %8.1f ms   measured %.1f\n", time_names[k], built.seconds[k] * 1e3,
                   got.kind[k] * 1e3);
    printf("    %-22s   %8.1f ms   measured %.1f\n", "update", built.update * 1e3,
           got.update * 1e3);
}

static void print_times(CpuBench *b, const SnExec *x, const StepParts *before, const SnGemmKit *kit,
                        const AttendCost *c, const BenchTorch *torch, Times *t) {
    int n = b->repeat;
    double s = median(t, OF_STEP, n), o = median(t, OF_OURS, n), y = median(t, OF_THEIRS, n);
    double ukr[] = {median(t, OF_UKR, n), median(t, OF_PAIRS, n)};
    double copy = median(t, OF_COPY, n), gf = flops(b) * 1e-9;
    Rates rates = measured_rates(b, gf * 1e9 / o, copy);
    if (b->d->o.json) {
        if (b->count) print_rates(b, &rates, s); // else there is no rate of products
        return;
    }
    // medians are taken of sorted times
    printf("  step                       %8.1f ms   %.1f to %.1f, loss %.3f -> %.3f\n", s * 1e3,
           t->at[OF_STEP][0] * 1e3, t->at[OF_STEP][n - 1] * 1e3, t->loss[0], t->loss[1]);
    printf("  its %d products, ours       %8.1f ms   %.0f GFLOP/s\n", b->count, o * 1e3, gf / o);
    print_pairs(b, kit->pairs != NULL, ukr[1]);
    if (yardstick_available()) {
        printf("  its %d products, oneDNN     %8.1f ms   %.0f GFLOP/s\n", b->count, y * 1e3,
               gf / y);
        printf("  step / oneDNN's products   %8.2f\n", s / y);
        printf("  oneDNN / ours              %8.2f\n", y / o);
    }
    print_attention(b, c, t, ukr);
    if (b->left)
        printf("  %d products of other narrow operands than bf16 are in the step alone: no bound\n",
               b->left);
    else
        print_bound(b, c, s, ukr, copy);
    if (b->count) print_predicted(b, x, before, &rates, s);
    if (!torch) return;
    double p = median(t, OF_TORCH, n);
    if (t->at[OF_TORCH][0] < 0) {
        puts("  PyTorch ended");
        return;
    }
    printf("  PyTorch %-8s compiled  %8.1f ms   %.1f to %.1f\n  PyTorch / step             %8.2f\n",
           bench_torch_version(torch), p * 1e3, t->at[OF_TORCH][0] * 1e3,
           t->at[OF_TORCH][n - 1] * 1e3, p / s);
}

static void measure(CpuBench *b, int threads) {
    SnExec *x = bench_step_open(&b->s, threads);
    sn_exec_profile(x, true);
    ProductKit k = prepare_products(b, threads);
    BenchTorch *torch = NULL;
    if (!b->d->o.json)
        printf("%d thread%s, median of %d\n", threads, threads == 1 ? "" : "s", b->repeat);
    fflush(stdout);
    if (b->d->o.torch) torch = bench_torch_start(&b->s, b->d->o.torch, threads, b->bf16);
    Times *t = NEW(b->d->arena, Times);
    measure_round(b, x, &k, torch, -1, t); // warms up
    StepParts before = measured_parts(b, x);
    for (int r = 0; r < b->repeat; r++) measure_round(b, x, &k, torch, r, t);
    AttendCost c = attend_cost(b, x);
    b->threads = threads;
    print_times(b, x, &before, &k.kit, &c, torch, t);
    if (torch) bench_torch_end(torch);
    free_products(b, &k);
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

static void put_head(CpuBench *b) {
    const Driver *d = b->d;
    if (!yardstick_available()) puts("oneDNN was not found when sinter was built: no yardstick");
    if (!d->o.torch) puts("PyTorch is not measured: --torch PYTHON");
    printf("%s: ", d->program->model_name);
    for (uint32_t i = 0; i < d->o.defs.n; i++)
        printf("-D %s=%s ", d->o.defs.at[i].name, d->o.defs.at[i].value);
    printf("%.1f GFLOP of matrix products a step, plan %.1f MiB\n", flops(b) * 1e-9,
           (double)account_peak(b->plan) / 1048576);
}

static int bench_cpu(Driver *d) {
    CHECK(d->o.repeat <= MAX_REPEAT, "%d repetitions", d->o.repeat);
    if (d->o.lengths) return bench_memory(d, d->o.lengths);
    CpuBench *b = NEW(d->arena, CpuBench);
    *b = (CpuBench){.d = d, .repeat = d->o.repeat};
    if (!bench_step_load(&b->s, d)) return driver_report(d);
    b->plan = b->s.plan;
    collect(b, "prologue");
    collect(b, "micro");
    collect(b, "update");
    if (!new_ring(b)) return EXIT_MACHINE;
    if (!d->o.json) put_head(b);
    int least = d->o.threads ? d->o.threads : 1;
    int most = d->o.threads ? d->o.threads : sn_pool_default_threads();
    for (int t = least; t <= most; t *= 2) measure(b, t);
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0 && !d->o.json) {
        self[n] = 0;
        *strrchr(self, '/') = 0;
        bench_builds(b, self);
    }
    free(b->ring);
    return 0;
}

static int bench(int argc, char **argv) {
    Driver d = {.arena = arena_new(), .scratch = arena_new(), .argv = argv};
    d.syms = symtab_new(d.arena);
    d.diag = diag_new(d.arena);
    d.ledger = ledger_new(d.arena);
    int rc = driver_arguments(&d, CMD_bench, argc - 1, argv + 1);
    if (rc != ARGUMENTS_READ) return rc;
    if (d.ncuda && (d.o.lengths || d.o.torch))
        return usage_error("--lengths and --torch are for the CPU");
    if (d.o.compare && (d.o.target || d.o.gpu || d.cpu))
        return usage_error("--compare takes CUDA targets, and neither --target nor --gpu");
    if ((d.ncuda > 1 && !d.o.compare) || (d.cpu && d.ncuda))
        return usage_error("bench takes one target at a time");
    return d.ncuda ? bench_gpu(&d) : bench_cpu(&d);
}

int main(int argc, char **argv) { return driver_close_output(bench(argc, argv)); }

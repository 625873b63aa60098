// GEMM benchmark: ours beside oneDNN (when it is found) on the products of one GPT-2 124M training
// step at batch 4 x 64: forward, input gradient and weight gradient of every projection, the
// logits, and attention's batched products. It exists because a speed is only known against a
// yardstick in the same run on the same machine.
//
//   bench_gemm [--type f32|bf16] [--repeat N] [--threads T] [--cpu NAME] [--only TEXT] [--clock cpu]
//
// Each repetition runs ours, then oneDNN, shape by shape; the table shows medians in milliseconds,
// their ratio (oneDNN / ours: above 1 we are faster), and sums weighted by how often the step runs
// the shape. The last column is our rate beside that of the micro-kernel alone, on panels in the first level
// cache and on as many threads: of bf16 by vdpbf16ps, or, where the processor or the level has none, by the
// f32 micro-kernel, which the first line says. Operands change with each repetition within a ring larger than the caches, as in a
// step, where every layer has weights of its own. --clock cpu counts the process's time instead of
// the clock on the wall: on a busy machine the better measure for one thread, meaningless for
// several.
#include "codegen/cpu/cpu.h"
#include "runtime/core/gemm_block.h"
#include "runtime/core/pool.h"
#include "runtime/elem.h"
#include "tools/bench_cpu.h"
#include "tools/clock.h"
#include "tools/yardstick.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEAT = 64, RING = 3, SETTLE_US = 6000 };

// C[m x n] = A * B for each batch element; a_k, b_k: that operand is adjacent along k.
typedef struct {
    const char *name;
    int64_t batch, m, n, k;
    bool a_k, b_k;
    int times; // in one step
} BenchShape;

// Weights are [out, in]. Forward: x[m,k] w[n,k]; input gradient: dy[m,k] w[k,n]; weight gradient:
// dy[k,m] x[k,n].
static const BenchShape shapes[] = {
    {"qkv", 1, 256, 2304, 768, true, true, 12},
    {"qkv.dx", 1, 256, 768, 2304, true, false, 12},
    {"qkv.dw", 1, 2304, 768, 256, false, false, 12},
    {"o", 1, 256, 768, 768, true, true, 12},
    {"o.dx", 1, 256, 768, 768, true, false, 12},
    {"o.dw", 1, 768, 768, 256, false, false, 12},
    {"ff1", 1, 256, 3072, 768, true, true, 12},
    {"ff1.dx", 1, 256, 768, 3072, true, false, 12},
    {"ff1.dw", 1, 3072, 768, 256, false, false, 12},
    {"ff2", 1, 256, 768, 3072, true, true, 12},
    {"ff2.dx", 1, 256, 3072, 768, true, false, 12},
    {"ff2.dw", 1, 768, 3072, 256, false, false, 12},
    {"logits", 1, 256, 50257, 768, true, true, 1},
    {"logits.dx", 1, 256, 768, 50257, true, false, 1},
    {"logits.dw", 1, 50257, 768, 256, false, false, 1},
    {"attn.qk", 48, 64, 64, 64, true, true, 12},
    {"attn.pv", 48, 64, 64, 64, true, false, 36},
    {"attn.dkv", 48, 64, 64, 64, false, false, 24},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct {
    int repeat, threads;
    uint32_t elem;  // of A and B
    double ceiling; // GFLOP/s of the micro-kernel on all threads
    const char *cpu, *only;
    clockid_t clock;
    SnGemmKit kit;
    SnPool *pool;
} GemmBench;

// Threads of either side may spin for a while after their work: let them fall asleep.
static void settle(void) { nanosleep(&(struct timespec){.tv_nsec = SETTLE_US * 1000}, NULL); }

static void *take(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(2);
    }
    return p;
}

static void *filled(uint32_t elem, int64_t n) {
    char *p = take((size_t)n * sn_elem_info[elem].bytes);
    uint32_t x = 1;
    for (int64_t i = 0; i < n; i++) {
        float f = (float)((x = x * 1664525u + 1013904223u) >> 20) * 1e-4f;
        if (elem == SN_ELEM_f32)
            memcpy(p + i * (int64_t)sizeof f, &f, sizeof f);
        else
            memcpy(p + i * 2, (const char *)&f + 2, 2);
    }
    return p;
}

// ---- Ours ---------------------------------------------------------------------------------------

typedef struct {
    SnGemm gemm;
    SnGemmJob job;
    uint32_t phase;
    void *bufs[3];
    void *shared, **scratch;
} Ours;

static void ours_prepare(const GemmBench *b, const BenchShape *s, Ours *o) {
    *o = (Ours){.gemm = {.nbatch = 1, .nm = 1, .nn = 1, .nk = 1, .has = sn_gemm_bit(SN_GEMM_C)}};
    SnGemm *g = &o->gemm;
    g->batch[0] = (SnDim){s->batch, s->m * s->k, s->k * s->n, s->m * s->n};
    g->m[0] = (SnDim){s->m, s->a_k ? s->k : 1, 0, s->n};
    g->n[0] = (SnDim){s->n, 0, s->b_k ? s->k : 1, 1};
    g->k[0] = (SnDim){s->k, s->a_k ? 1 : s->m, s->b_k ? 1 : s->n, 0};
    g->elem_a = g->elem_b = b->elem;
    sn_gemm_prepare(&o->job, g, &b->kit, b->threads, NULL);
    o->shared = take((size_t)o->job.shared);
    o->scratch = take((size_t)b->threads * sizeof *o->scratch);
    for (int t = 0; t < b->threads; t++) o->scratch[t] = take((size_t)o->job.scratch);
}

static void ours_tasks(void *user, int64_t t0, int64_t t1, int thread) {
    Ours *o = user;
    SnEnv env = {0};
    sn_gemm_run(&o->job, o->phase, o->bufs, &env, t0, t1, o->shared, o->scratch[thread]);
}

static void ours_run(const GemmBench *b, Ours *o) {
    for (o->phase = 0; o->phase < SN_GEMM_PHASES; o->phase++)
        if (o->job.tasks[o->phase]) sn_pool_run(b->pool, o->job.tasks[o->phase], 1, ours_tasks, o);
}

static void ours_free(const GemmBench *b, Ours *o) {
    for (int t = 0; t < b->threads; t++) free(o->scratch[t]);
    free(o->scratch), free(o->shared);
}

// ---- The table ----------------------------------------------------------------------------------

static void bench_shape(const GemmBench *b, const BenchShape *s, double *ours_ms,
                        double *theirs_ms) {
    void *bufs[RING][3];
    double ours[MAX_REPEAT], theirs[MAX_REPEAT];
    int ring = s->n > 10000 || s->k > 10000 || s->m > 10000 ? 1 : RING;
    for (int r = 0; r < ring; r++) {
        bufs[r][0] = filled(b->elem, s->batch * s->m * s->k);
        bufs[r][1] = filled(b->elem, s->batch * s->k * s->n);
        bufs[r][2] = filled(SN_ELEM_f32, s->batch * s->m * s->n);
    }
    Ours o;
    const GemmShape product = {s->batch, s->m, s->n, s->k, s->a_k, s->b_k, b->elem == SN_ELEM_bf16};
    Yardstick *d = yardstick_available() ? yardstick_new(&product, b->threads) : NULL;
    ours_prepare(b, s, &o);
    for (int i = -1; i < b->repeat; i++) { // the first round warms up
        memcpy(o.bufs, bufs[(i + 1) % ring], sizeof o.bufs);
        settle();
        double t0 = clock_read(b->clock);
        ours_run(b, &o);
        double t1 = clock_read(b->clock);
        settle();
        double t2 = clock_read(b->clock);
        if (d) yardstick_run(d, bufs[(i + 2) % ring]);
        double t3 = clock_read(b->clock);
        if (i >= 0) ours[i] = 1e3 * (t1 - t0), theirs[i] = 1e3 * (t3 - t2);
    }
    *ours_ms = clock_median(ours, b->repeat), *theirs_ms = clock_median(theirs, b->repeat);
    ours_free(b, &o);
    if (d) yardstick_free(d);
    for (int r = 0; r < ring; r++)
        for (int i = 0; i < 3; i++) free(bufs[r][i]);
}

static void measure_ceiling(GemmBench *b) {
    enum { ROUNDS = 5 };
    double rate[ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        rate[r] = bench_ukr_rate(b->pool, &b->kit, b->elem == SN_ELEM_bf16, b->clock) * 1e-9;
    b->ceiling = clock_median(rate, ROUNDS);
    printf("micro-kernel of %s: %.1f GFLOP/s\n",
           b->elem == SN_ELEM_f32 ? "f32"
           : b->kit.pairs         ? "bf16 by vdpbf16ps"
                                  : "bf16 widened to f32 (AVX512-BF16 is not used here)",
           b->ceiling);
}

static void bench_all(const GemmBench *b) {
    double sum = 0, sum_theirs = 0, flops = 0;
    const char *head = yardstick_available() ? "oneDNN ms  GFLOP/s | ratio | of the micro-kernel's"
                                             : "of the micro-kernel's";
    printf("%-10s %6s %6s %6s %6s %5s | %9s %8s | %s\n", "product", "batch", "m", "n", "k", "times",
           "ours ms", "GFLOP/s", head);
    for (int i = 0; i < SHAPES; i++) {
        const BenchShape *s = &shapes[i];
        if (b->only && !strstr(s->name, b->only)) continue;
        double ours, theirs, f = 2.0 * (double)(s->batch * s->m * s->n * s->k);
        bench_shape(b, s, &ours, &theirs);
        printf("%-10s %6lld %6lld %6lld %6lld %5d | %9.3f %8.1f", s->name, (long long)s->batch,
               (long long)s->m, (long long)s->n, (long long)s->k, s->times, ours, f / ours * 1e-6);
        if (yardstick_available())
            printf(" | %9.3f %8.1f | %.3f", theirs, f / theirs * 1e-6, theirs / ours);
        printf(" | %.3f\n", f / ours * 1e-6 / b->ceiling);
        fflush(stdout);
        sum += ours * s->times, sum_theirs += theirs * s->times, flops += f * s->times;
    }
    printf("step, %d thread%s: ours %.1f ms (%.1f GFLOP/s), %.3f of the micro-kernel's rate",
           b->threads, b->threads > 1 ? "s" : "", sum, flops / sum * 1e-6,
           flops / sum * 1e-6 / b->ceiling);
    if (yardstick_available())
        printf(", oneDNN %.1f ms (%.1f GFLOP/s), ratio %.3f", sum_theirs, flops / sum_theirs * 1e-6,
               sum_theirs / sum);
    putchar('\n');
}

static bool options(GemmBench *b, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        if (!strcmp(argv[i], "--repeat"))
            b->repeat = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--threads"))
            b->threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--cpu"))
            b->cpu = argv[i + 1];
        else if (!strcmp(argv[i], "--type") && !strcmp(argv[i + 1], "bf16"))
            b->elem = SN_ELEM_bf16;
        else if (!strcmp(argv[i], "--type") && !strcmp(argv[i + 1], "f32"))
            b->elem = SN_ELEM_f32;
        else if (!strcmp(argv[i], "--only"))
            b->only = argv[i + 1];
        else if (!strcmp(argv[i], "--clock") && !strcmp(argv[i + 1], "cpu"))
            b->clock = CLOCK_PROCESS_CPUTIME_ID;
        else
            return false;
    }
    return b->repeat >= 1 && b->repeat <= MAX_REPEAT && b->threads >= 1 && b->threads <= 1024;
}

static CpuJit *load_kit(Arena *a, GemmBench *b, Text *why) {
    CpuIsa isa;
    if (!cpu_isa_resolve(a, b->cpu, &isa, why)) return NULL;
    if (!isa.here) {
        text_printf(why, "this machine cannot run %s", isa.name);
        return NULL;
    }
    double start = clock_now();
    CpuModule *m = cpu_module_new(a, &isa);
    CpuGemm g = cpu_add_gemm(m);
    CpuJit *jit = cpu_jit(m, why);
    cpu_module_free(m);
    if (!jit) return NULL;
    uint32_t n = g.ukr + sn_ukr_sizes(g.mr) * g.nr / SN_GEMM_LANES;
    if (isa.features & SN_CPU_BF16) n = g.pairs + sn_ukr_sizes(g.mr) * g.nr / SN_GEMM_LANES;
    SnFn *all = NEW_ARRAY(a, SnFn, n);
    for (uint32_t f = 0; f < n; f++) all[f] = cpu_jit_function(jit, f);
    const SnPlan plan = {
        .mr = g.mr, .nr = g.nr, .ukr = g.ukr, .ukr_pairs = g.pairs, .features = isa.features};
    b->kit = sn_gemm_kit(&plan, all);
    printf("%s, tile %u x %u, %u micro-kernels compiled in %.0f ms\n", isa.name, g.mr, g.nr, n,
           1e3 * (clock_now() - start));
    return jit;
}

int main(int argc, char **argv) {
    GemmBench b = {.repeat = 7, .threads = 1, .cpu = "native", .clock = CLOCK_MONOTONIC};
    if (!options(&b, argc, argv)) {
        fprintf(stderr,
                "usage: bench_gemm [--type f32|bf16] [--repeat N] [--threads T] [--cpu NAME] "
                "[--only TEXT] [--clock cpu]\n");
        return 2;
    }
    Arena *a = arena_new();
    Text why = {.arena = a};
    CpuJit *jit = load_kit(a, &b, &why);
    b.pool = jit ? sn_pool_new(b.threads) : NULL;
    if (!b.pool) {
        fprintf(stderr, "bench_gemm: %s\n", jit ? "no threads" : why.at ? why.at : "no code");
        return 2;
    }
    measure_ceiling(&b);
    bench_all(&b);
    sn_pool_free(b.pool);
    cpu_jit_free(jit);
    arena_free(a);
    return 0;
}

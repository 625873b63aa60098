// From a module's batches to images. A job is one batch for one target; jobs that the cache does not
// hold are compiled by a few threads, each taking the next one, and everything is collected in order of
// targets and batches, so that the result does not depend on who was first.
//
// What is cached is NVRTC's own output with its log; reports and warnings are read from the log in
// both cases. Time is NVRTC's: about 25 ms a program and 3 ms (PTX) or 9 ms (machine code) a kernel.
#include "codegen/cuda/cache.h"
#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include "codegen/cuda/report.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

// ---- targets ------------------------------------------------------------------------------------

static const CudaTarget targets[] = {{"sm_80", 80, false},
                                     {"sm_89", 89, false},
                                     {"sm_90a", 90, true},
                                     {"sm_100a", 100, true},
                                     {"sm_120", 120, false}};

const CudaTarget *cuda_target_at(uint32_t i) {
    return i < sizeof targets / sizeof *targets ? &targets[i] : NULL;
}

const CudaTarget *cuda_target_find(const char *name, size_t n) {
    for (uint32_t i = 0; cuda_target_at(i); i++)
        if (strlen(targets[i].name) == n && memcmp(targets[i].name, name, n) == 0)
            return &targets[i];
    return NULL;
}

// ---- jobs ---------------------------------------------------------------------------------------

typedef struct {
    const CudaTarget *target;
    uint32_t batch;
    const Text *text;
    bool keyed, have; // has a key; its result is there
    CacheKey key;
    CacheEntry entry;   // from the cache, or pointing into `result`
    NvrtcResult result; // of this run
    const char *failed; // in short; the log says more
} CompileJob;

typedef struct {
    const Nvrtc *rt;
    const CudaCompile *how;
    CompileJob *job;
    uint32_t jobs;
    atomic_uint next;
} CompileQueue;

static void compile_job(const CompileQueue *w, CompileJob *j) {
    j->failed = nvrtc_compile(w->rt, j->text->at, j->target, w->how->ptx_only, &j->result);
    j->entry = (CacheEntry){{j->result.ptx, j->result.cubin, j->result.log},
                            {j->result.ptx_size, j->result.cubin_size, j->result.log_size}};
    if (!j->failed && j->keyed) cache_write(w->how->cache_dir, &j->key, &j->entry);
}

static void *work(void *arg) {
    CompileQueue *w = arg;
    for (uint32_t i; (i = atomic_fetch_add(&w->next, 1)) < w->jobs;)
        if (!w->job[i].have) compile_job(w, &w->job[i]);
    return NULL;
}

enum { MAX_THREADS = 64 };

static void run_jobs(CompileQueue *w, uint32_t missing) {
    pthread_t thread[MAX_THREADS];
    uint32_t n = w->how->threads < missing ? w->how->threads : missing, started = 0;
    if (n > MAX_THREADS) n = MAX_THREADS;
    while (started + 1 < n && pthread_create(&thread[started], NULL, work, w) == 0) started++;
    work(w);
    for (uint32_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
}

// Everything beside the text that decides the result.
static void put_setting(const Nvrtc *rt, const CudaTarget *t, bool ptx_only, Text *to) {
    text_printf(to, "nvrtc %d.%d %llu ", rt->major, rt->minor, (unsigned long long)rt->file_bytes);
    nvrtc_options(t, ptx_only, to);
}

static void plan_job(Arena *a, const CompileQueue *w, CudaModule *m, const char *setting,
                     CompileJob *j) {
    j->text = cuda_batch(m, j->batch);
    if (!w->how->cache_dir) return;
    j->keyed = cache_key(j->text->at, j->text->n, setting, &j->key);
    j->have = j->keyed && cache_read(a, w->how->cache_dir, &j->key, &j->entry);
}

static void plan_jobs(Arena *a, CompileQueue *w, CudaModule *m, CudaImages *out) {
    uint32_t batches = cuda_batches(m);
    w->jobs = w->how->ntargets * batches;
    w->job = NEW_ARRAY(a, CompileJob, w->jobs + 1);
    for (uint32_t t = 0; t < w->how->ntargets; t++) {
        Text setting = {.arena = a};
        put_setting(w->rt, w->how->targets[t], w->how->ptx_only, &setting);
        for (uint32_t b = 0; b < batches; b++) {
            CompileJob *j = &w->job[t * batches + b];
            *j = (CompileJob){.target = w->how->targets[t], .batch = b};
            plan_job(a, w, m, setting.at, j);
            *(j->have ? &out->cached : &out->compiled) += 1;
        }
    }
}

// ---- collecting ---------------------------------------------------------------------------------

// Generated code that does not compile is a defect of ours: the first lines of the log say where.
static void put_failure(const CompileJob *j, Text *why) {
    enum { LINES = 12 };
    const char *log = j->result.log ? j->result.log : "";
    size_t n = 0;
    for (int lines = 0; log[n] && lines < LINES; n++) lines += log[n] == '\n';
    text_printf(why, "internal error: NVRTC refuses batch %u for %s (%s)\n", j->batch,
                j->target->name, j->failed);
    text_put(why, log, n);
}

static const void *keep(Arena *a, const char *p, size_t n) {
    char *to = arena_alloc(a, n + 1);
    memcpy(to, p, n);
    return to;
}

static void add_image(Arena *a, const CompileJob *j, CachePart part, CudaImages *out) {
    size_t n = (size_t)j->entry.n[part];
    if (n == 0) return;
    const void *data = j->have ? j->entry.at[part] : keep(a, j->entry.at[part], n);
    CudaImage image = {j->target, j->batch, part == CACHE_ptx, data, n};
    vec_push(a, &out->images, image);
}

static void collect(Arena *a, const CompileJob *j, bool ptx_only, uint32_t target,
                    CudaImages *out) {
    char where[64];
    LogReport log = {.warnings = {.arena = a}};
    add_image(a, j, CACHE_cubin, out);
    add_image(a, j, CACHE_ptx, out);
    snprintf(where, sizeof where, "batch %u, %s", j->batch, j->target->name);
    if (j->entry.n[CACHE_log])
        report_parse(a, j->entry.at[CACHE_log], (size_t)j->entry.n[CACHE_log], where, &log);
    if (log.warnings.n) text_put(&out->warnings, log.warnings.at, log.warnings.n);
    for (uint32_t i = 0; i < log.functions.n && !ptx_only; i++)
        vec_push(a, &out->reports[target], log.functions.at[i]);
}

bool cuda_available(Text *why) {
    Nvrtc rt;
    return nvrtc_open(&rt, why);
}

bool cuda_print_version(Text *to) {
    Nvrtc rt;
    Text why = {.arena = to->arena};
    if (!nvrtc_open(&rt, &why)) return false;
    text_printf(to, "%d.%d", rt.major, rt.minor);
    if (rt.file) text_printf(to, " (%s)", rt.file);
    return true;
}

bool cuda_compile(Arena *a, CudaModule *m, const CudaCompile *how, CudaImages *out, Text *why) {
    Nvrtc rt;
    *out = (CudaImages){.warnings = {.arena = a}};
    CHECK(how->ntargets <= sizeof out->reports / sizeof *out->reports, "%u targets", how->ntargets);
    if (!nvrtc_open(&rt, why)) return false;
    for (uint32_t i = 0; i < how->ntargets; i++)
        if (!nvrtc_supports(&rt, how->targets[i], why)) return false;
    CompileQueue w = {.rt = &rt, .how = how};
    plan_jobs(a, &w, m, out);
    run_jobs(&w, out->compiled);
    const CompileJob *failed = NULL;
    for (uint32_t i = 0; i < w.jobs && !failed; i++)
        if (w.job[i].failed) failed = &w.job[i];
    if (failed) put_failure(failed, why);
    for (uint32_t i = 0; i < w.jobs; i++) {
        if (!failed) collect(a, &w.job[i], how->ptx_only, i / cuda_batches(m), out);
        nvrtc_free(&w.job[i].result);
    }
    return !failed;
}

const SnImage *cuda_program_images(Arena *a, const CudaImages *all) {
    SnImage *to = NEW_ARRAY(a, SnImage, all->images.n + 1);
    for (uint32_t i = 0; i < all->images.n; i++) {
        const CudaImage *m = &all->images.at[i];
        to[i] = (SnImage){.sm = m->target->sm,
                          .exact = m->target->arch,
                          .batch = m->batch,
                          .ptx = m->ptx,
                          .data = m->data,
                          .size = m->size};
    }
    return to;
}

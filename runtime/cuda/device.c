// A GPU, real or emulated: walks the plan's commands through the CUDA driver and cuBLASLt.
//
// When the device is made, everything is decided: one allocation holds all regions, what each run needs
// of the host (scalars and SnEnv) and cuBLASLt's workspace; every command has its function, parameters
// or descriptors. A section is captured once as a graph, for first and later micro-batches apart, and
// replayed: starting hundreds of kernels costs as much as starting one. Where that is asked for, the
// algorithms of products are measured before.
//
// Where the plan keeps values in memory of the host, copies to it and from it have streams of their own, which
// events of the plan order: they run beside the computing one, in graphs too.
//
// Inputs, scalars and SnEnv come by another stream (feed.h), so that the next micro-batch is filled and
// copied while the device works on this one. Outputs without axes are copied back at the end of each
// section; reading one waits for its section only.
//
// Behind SnEnv stands the word that names the first NaN (SnCudaEnv); it comes back with the results of every
// section (watch.h).
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/feed.h"
#include "runtime/cuda/module.h"
#include "runtime/cuda/watch.h"
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// RESERVE: what the driver and cuBLASLt take for code and graphs.
enum { RESERVE = 64 << 20, ALIGN = 256, MAX_PARAMS = 2 + SN_MAX_ARGS + SN_MAX_KEYS };

// A command with everything looked up.
typedef struct {
    const SnCmd *cmd;
    const SnKernel *kernel; // NULL: not a kernel
    SnCudaFunction function;
    SnLtCall *call;
    uint64_t table; // device address of the arguments of all instances; 0: parameters
} CudaCommand;

// One section's graphs, and where its small outputs are copied to.
typedef struct {
    SnCudaGraphExec graph[2]; // [first]
    bool seen[2];             // it ran once, command by command
    SnCudaEvent done[2];      // of the last runs, by their number's parity
    uint64_t runs;
} Section;

typedef struct {
    SnDevice device;
    const SnPlan *plan;
    const SnCudaApi *api;
    SnCudaChoice choice;
    bool find_nan;
    int ordinal; // the driver's number of the device
    SnCudaContext context;
    SnCudaImages images;
    SnCudaStream stream;
    SnCudaStream lane[SN_STREAMS]; // of the plan's streams; the first is `stream`
    SnCudaEvent *events;           // of the plan
    unsigned char *host;           // pinned: region host
    uint64_t arena, region[SN_REGIONS], env;
    uint64_t *value;     // by argument of the plan: its device address
    uint64_t staging;    // the feed's
    uint64_t tables;     // of the arguments of kernels that are started many times at once
    const char **names;  // by argument of the plan, for the emulated device; NULL: temporary
    SnCudaRange *ranges; // room for the longest note
    CudaCommand *steps;
    Section *sections;
    SnFeed *feed;           // a slot: the input region, then scalars, then SnCudaEnv
    SnFeedPiece *pieces;    // of the slot, for one run
    unsigned char *results; // pinned: 8 bytes for each parity and output of the plan
    SnWatch *watch;
    SnLtPool *lt;
    SnLtOwner owner;      // of the choices
    SnLtChoices *choices; // algorithms that were measured; NULL: no call of cuBLASLt
    SnStatus failed;      // a fault that every later call reports
    char why[sizeof((SnError *)0)->text];
    char where[256]; // text of the last error's place
} Cuda;

static Cuda *cuda_of(SnDevice *d) { return (Cuda *)(void *)d; }

SnStatus sn_cuda_check(const SnCudaApi *api, int code, const char *what, SnError *e) {
    if (code == SN_CU_OK) return SN_OK;
    const char *text = NULL, *name = NULL, *report = api->report ? api->report() : "";
    if (api->error_string(code, &text) || !text) text = "unknown error";
    if (api->error_name(code, &name) || !name) name = "?";
    if (*report) return sn_fail(e, SN_MACHINE, "%s: %s", what, report);
    return sn_fail(e, SN_MACHINE, "%s: %s (%s)", what, text, name);
}

// The first fault is kept: what follows it says nothing new.
static SnStatus keep(Cuda *x, SnStatus s, SnError *e) {
    if (x->failed) return sn_fail(e, x->failed, "%s", x->why);
    if (!s) return SN_OK;
    x->failed = s;
    snprintf(x->why, sizeof x->why, "%s", e->text);
    return s;
}

// What the user should know; several things are one line.
static void add_note(Cuda *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_note(Cuda *x, const char *format, ...) {
    char *note = x->device.note;
    size_t n = strlen(note), size = sizeof x->device.note;
    if (n) n += (size_t)snprintf(note + n, size - n, "; ");
    if (n >= size) return;
    va_list args;
    va_start(args, format);
    vsnprintf(note + n, size - n, format, args);
    va_end(args);
}

static SnStatus cu(const Cuda *x, int code, const char *what, SnError *e) {
    return sn_cuda_check(x->api, code, what, e);
}

// ---- one command ----------------------------------------------------------------------------------

// For errors: which op and kernel, and where it comes from.
static const char *where(Cuda *x, const CudaCommand *s) {
    snprintf(x->where, sizeof x->where, "op '%.100s' (%s%.60s, line %u)",
             sn_cmd_name(x->plan, s->cmd), s->kernel ? "kernel " : "",
             s->kernel ? SN_STRING(x->plan, s->kernel->name) : "cuBLASLt",
             sn_cmd_node(x->plan, s->cmd)->line);
    return x->where;
}

static uint8_t bit(uint64_t set, uint32_t i) { return set >> i & 1; }

static uint64_t table_bytes(const CudaCommand *s) {
    return 8 * (uint64_t)s->cmd->count * (s->kernel->nargs + s->kernel->nkeys);
}

// Which arguments the command reads and writes, one bit each.
static void modes_of(const Cuda *x, const SnCmd *c, uint64_t *reads, uint64_t *writes) {
    *reads = *writes = 0;
    switch ((SnCmdOp)c->op) {
    case SN_CMD_KERNEL: {
        const SnKernel *k = &SN_AT(x->plan, SnKernel, kernels)[c->fn];
        *reads = k->reads;
        *writes = k->writes;
        return;
    }
    case SN_CMD_GEMM: {
        const SnGemm *g = &SN_AT(x->plan, SnGemm, gemms)[c->fn];
        *reads = sn_gemm_reads(g);
        *writes = sn_gemm_writes(g);
        return;
    }
    case SN_CMD_ATTEND: return; // no checked plan for this device has one
    case SN_CMD_FILL: *reads = 0, *writes = 1; return;
    case SN_CMD_COPY: *reads = 2, *writes = 1; return;
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: return;
    }
}

static const char *what_runs(const Cuda *x, const CudaCommand *s) {
    const SnCmd *c = s->cmd;
    if (s->kernel) return SN_STRING(x->plan, s->kernel->name);
    if (c->op == SN_CMD_FILL) return "fill";
    if (c->op != SN_CMD_COPY) return "cuBLASLt";
    return c->stream == SN_STREAM_OUT  ? "copy to the host"
           : c->stream == SN_STREAM_IN ? "copy from the host"
                                       : "copy";
}

// Tells the emulated device what the next call touches.
static void note(Cuda *x, const CudaCommand *s) {
    const SnCmd *c = s->cmd;
    SnCudaRange *ranges = x->ranges;
    uint64_t reads, writes;
    uint32_t n = 0, each = c->nargs / c->count;
    if (!x->api->note) return;
    modes_of(x, c, &reads, &writes);
    if (s->kernel) {
        ranges[n++] = (SnCudaRange){x->env, sizeof(SnEnv), 0, 1, 0, "the environment", 0};
        ranges[n++] = (SnCudaRange){
            x->env + offsetof(SnCudaEnv, fault), sizeof(uint64_t), 0, 1, 1, "the fault word", 1};
    }
    if (s->table)
        ranges[n++] = (SnCudaRange){s->table, table_bytes(s), 0, 1, 0, "the table of arguments", 0};
    for (uint32_t i = 0; i < c->nargs; i++) {
        const SnArg *a = &SN_AT(x->plan, SnArg, args)[c->args + i];
        ranges[n++] = (SnCudaRange){
            x->value[c->args + i], (uint64_t)a->bytes,    a->value, bit(reads, i % each),
            bit(writes, i % each), x->names[c->args + i], 0};
    }
    x->api->note(&(SnCudaNote){what_runs(x, s), sn_cmd_name(x->plan, c),
                               sn_cmd_node(x->plan, c)->line, ranges, n});
}

// Parameters: the environment, the place of the first argument, the arguments, the keys; or the
// environment, the place, and their table.
static SnStatus launch(Cuda *x, const CudaCommand *s, uint32_t place, const uint64_t *args,
                       uint32_t nargs, SnError *e) {
    uint64_t at[MAX_PARAMS];
    void *params[MAX_PARAMS];
    const SnKernel *k = s->kernel;
    uint32_t n = 0;
    at[n++] = x->env;
    at[n++] = place; // the kernel takes the lower half
    if (s->table) at[n++] = s->table;
    for (uint32_t i = 0; i < nargs && !s->table; i++) at[n++] = args[i];
    for (uint32_t i = 0; i < k->nkeys && !s->table; i++) at[n++] = k->key[i];
    for (uint32_t i = 0; i < n; i++) params[i] = &at[i];
    return cu(x,
              x->api->launch(s->function, k->grid[0], k->grid[1], s->cmd->count, k->block, 1, 1,
                             k->shared, x->stream, params, NULL),
              where(x, s), e);
}

static SnStatus run_gemm(Cuda *x, const CudaCommand *s, bool first, SnError *e) {
    if (s->call) return sn_lt_run(x->lt, s->call, first, x->stream, e);
    return launch(x, s, s->cmd->args, &x->value[s->cmd->args], s->cmd->nargs, e);
}

static SnStatus run_copy(Cuda *x, const SnCmd *c, const uint64_t *v, size_t bytes, SnError *e) {
    SnCudaStream lane = x->lane[c->stream];
    if (c->stream == SN_STREAM_OUT)
        return cu(x, x->api->copy_to_host((void *)(uintptr_t)v[0], v[1], bytes, lane),
                  "a copy to the host", e);
    if (c->stream == SN_STREAM_IN)
        return cu(x, x->api->copy_to_device(v[0], (const void *)(uintptr_t)v[1], bytes, lane),
                  "a copy from the host", e);
    return cu(x, x->api->copy_on_device(v[0], v[1], bytes, lane), "a copy", e);
}

static SnStatus run_step(Cuda *x, const CudaCommand *s, bool first, SnError *e) {
    const SnCmd *c = s->cmd;
    const uint64_t *v = &x->value[c->args];
    const SnArg *args = &SN_AT(x->plan, SnArg, args)[c->args];
    if (c->when == SN_WHEN_FIRST && !first) return SN_OK;
    if (c->nargs) note(x, s);
    switch ((SnCmdOp)c->op) {
    case SN_CMD_KERNEL: return launch(x, s, c->args, v, c->nargs, e);
    case SN_CMD_GEMM: return run_gemm(x, s, first, e);
    case SN_CMD_ATTEND: break;
    case SN_CMD_FILL:
        if (args[0].bytes == 0) return SN_OK;
        return cu(x, x->api->fill_bytes(v[0], 0, (size_t)args[0].bytes, x->stream), "a fill", e);
    case SN_CMD_COPY:
        if (args[0].bytes == 0) return SN_OK;
        return run_copy(x, c, v, (size_t)args[0].bytes, e);
    case SN_CMD_RECORD:
        return cu(x, x->api->event_record(x->events[c->fn], x->lane[c->stream]), "an event", e);
    case SN_CMD_WAIT:
        return cu(x, x->api->stream_wait(x->lane[c->stream], x->events[c->fn], 0), "an event", e);
    }
    return SN_OK;
}

// ---- a section ------------------------------------------------------------------------------------

static bool in_section(const SnPlan *p, const SnPort *port, const SnSection *s) {
    return !strcmp(SN_STRING(p, port->section), SN_STRING(p, s->name));
}

static unsigned char *result_of(const Cuda *x, uint32_t output, uint64_t run) {
    return x->results + 8 * (2 * (uint64_t)output + run % 2);
}

// Copies the fault word and the outputs without axes of a section to the host.
static SnStatus copy_results(Cuda *x, const SnSection *s, uint64_t run, void *word, SnError *e) {
    const SnPort *out = SN_AT(x->plan, SnPort, outputs);
    SnStatus status = cu(x,
                         x->api->copy_to_host(word, x->env + offsetof(SnCudaEnv, fault),
                                              sizeof(uint64_t), x->stream),
                         "the fault word", e);
    for (uint32_t i = 0; i < x->plan->outputs.count && !status; i++)
        if (!out[i].naxes && in_section(x->plan, &out[i], s))
            status = cu(x,
                        x->api->copy_to_host(result_of(x, i, run),
                                             x->region[out[i].region] + (uint64_t)out[i].offset,
                                             (size_t)out[i].bytes, x->stream),
                        "a result", e);
    return status;
}

static SnStatus run_commands(Cuda *x, const SnSection *s, bool first, SnError *e) {
    SnStatus status = SN_OK;
    for (uint32_t i = s->cmd; i < s->cmd + s->count && !status; i++)
        status = run_step(x, &x->steps[i], first, e);
    return status;
}

// Records the section's commands into a graph.
static SnStatus capture(Cuda *x, const SnSection *s, bool first, SnCudaGraphExec *to, SnError *e) {
    SnCudaGraph graph = NULL;
    SnStatus status = cu(x, x->api->capture_begin(x->stream, SN_CU_CAPTURE_THREAD_LOCAL),
                         "cannot record a section", e);
    if (status) return status;
    status = run_commands(x, s, first, e);
    int code = x->api->capture_end(x->stream, &graph);
    if (!status) status = cu(x, code, "cannot record a section", e);
    if (!status)
        status = cu(x, x->api->graph_instantiate(to, graph, 0), "cannot prepare a section", e);
    if (graph) x->api->graph_destroy(graph);
    return status;
}

static uint64_t elapsed(const Cuda *x, SnCudaEvent from, SnCudaEvent to) {
    float ms = 0;
    return x->api->event_elapsed(&ms, from, to) ? 0 : (uint64_t)((double)ms * 1e6);
}

// Command by command, each timed by events on the device, or waited for so that a fault has a name.
static SnStatus run_stepwise(Cuda *x, const SnSection *s, bool first, SnError *e) {
    SnCudaEvent mark[2] = {NULL, NULL};
    SnStatus status = SN_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = cu(x, x->api->event_create(&mark[i], SN_CU_EVENT_DEFAULT), "an event", e);
    for (uint32_t i = s->cmd; i < s->cmd + s->count && !status; i++) {
        SnCudaStream lane = x->lane[x->steps[i].cmd->stream];
        status = cu(x, x->api->event_record(mark[0], lane), "an event", e);
        if (!status) status = run_step(x, &x->steps[i], first, e);
        if (!status) status = cu(x, x->api->event_record(mark[1], lane), "an event", e);
        if (!status) status = cu(x, x->api->stream_synchronize(lane), where(x, &x->steps[i]), e);
        if (!status && x->find_nan) status = sn_nan_check(&x->device, x->steps[i].cmd, e);
        if (status || !x->device.profile) continue;
        x->device.counters[i].runs++;
        x->device.counters[i].nanoseconds += elapsed(x, mark[0], mark[1]);
    }
    for (int i = 0; i < 2; i++)
        if (mark[i]) x->api->event_destroy(mark[i]);
    return status;
}

// The first time without a graph: what drivers and libraries load on first use may not be loaded while
// commands are recorded. Sections that run once are never recorded.
static SnStatus run_graph(Cuda *x, Section *sec, const SnSection *s, bool first, SnError *e) {
    if (!s->count) return SN_OK;
    if (!sec->seen[first]) {
        sec->seen[first] = true;
        return run_commands(x, s, first, e);
    }
    SnCudaGraphExec *graph = &sec->graph[first];
    SnStatus status = *graph ? SN_OK : capture(x, s, first, graph, e);
    return status ? status
                  : cu(x, x->api->graph_launch(*graph, x->stream), "cannot start a section", e);
}

// ---- what the host hands over -----------------------------------------------------------------------

static int64_t scalar_bytes(const SnPlan *p) { return p->region_bytes[SN_REGION_SCALAR]; }
static int64_t input_bytes(const SnPlan *p) {
    return sn_round_up(p->region_bytes[SN_REGION_INPUT], ALIGN);
}
// Scalars and SnCudaEnv lie side by side, on the host and on the device: one copy.
static int64_t env_offset(const SnPlan *p) { return sn_round_up(scalar_bytes(p), 64); }
static size_t slot_bytes(const SnPlan *p) {
    return (size_t)sn_round_up(input_bytes(p) + env_offset(p) + (int64_t)sizeof(SnCudaEnv), ALIGN);
}

static SnStatus hand_over(Cuda *x, const SnSection *s, const SnEnv *env, SnError *e) {
    const SnPort *in = SN_AT(x->plan, SnPort, inputs);
    const SnCudaEnv all = {*env, SN_NO_FAULT};
    size_t scalars = (size_t)input_bytes(x->plan), after = (size_t)env_offset(x->plan);
    unsigned char *slot;
    SnStatus status = sn_feed_slot(x->feed, &slot, e);
    if (status) return status;
    memcpy(slot + scalars, x->device.scalars, (size_t)scalar_bytes(x->plan));
    memcpy(slot + scalars + after, &all, sizeof all);
    uint32_t n = 0;
    x->pieces[n++] = (SnFeedPiece){x->region[SN_REGION_SCALAR], scalars, after + sizeof all};
    for (uint32_t i = 0; i < x->plan->inputs.count; i++)
        if (in[i].region == SN_REGION_INPUT && in_section(x->plan, &in[i], s))
            x->pieces[n++] = (SnFeedPiece){x->region[SN_REGION_INPUT] + (uint64_t)in[i].offset,
                                           (size_t)in[i].offset, (size_t)in[i].bytes};
    return sn_feed_send(x->feed, x->pieces, n, e);
}

static SnStatus cuda_run(SnDevice *d, const SnSection *s, const SnEnv *env, SnError *e) {
    Cuda *x = cuda_of(d);
    uint32_t index = (uint32_t)(s - SN_AT(x->plan, SnSection, sections));
    Section *sec = &x->sections[index];
    SnError mine = {0};
    if (x->failed) return keep(x, SN_OK, e);
    if (!e) e = &mine;
    SnStatus status = hand_over(x, s, env, e);
    void *word = sn_watch_begin(x->watch, index, env->step);
    if (!status)
        status = d->profile || x->choice.stepwise || x->find_nan
                     ? run_stepwise(x, s, env->first != 0, e)
                     : run_graph(x, sec, s, env->first != 0, e);
    if (!status) status = copy_results(x, s, sec->runs, word, e);
    if (!status)
        status = cu(x, x->api->event_record(sec->done[sec->runs % 2], x->stream), "an event", e);
    sec->runs++;
    return keep(x, status, e);
}

static void *cuda_input(SnDevice *d, const SnPort *port) {
    Cuda *x = cuda_of(d);
    SnError e = {0};
    unsigned char *slot;
    (void)keep(x, sn_feed_slot(x->feed, &slot, &e), &e);
    return slot + port->offset;
}

static SnStatus cuda_wait(SnDevice *d, SnError *e) {
    Cuda *x = cuda_of(d);
    SnError mine = {0};
    if (x->failed) return keep(x, SN_OK, e);
    if (!e) e = &mine;
    return keep(x, cu(x, x->api->stream_synchronize(x->stream), "the device", e), e);
}

static SnStatus cuda_memory(SnDevice *d, int64_t *in_use, int64_t *total, SnError *e) {
    Cuda *x = cuda_of(d);
    size_t available = 0, all = 0;
    SnStatus s = cu(x, x->api->mem_info(&available, &all), "the device's memory", e);
    if (s) return s;
    *in_use = (int64_t)(all - available);
    *total = (int64_t)all;
    return SN_OK;
}

static SnStatus cuda_result(SnDevice *d, const SnPort *port, int back, void *to, int64_t bytes,
                            SnError *e) {
    Cuda *x = cuda_of(d);
    SnError mine = {0};
    uint32_t at = (uint32_t)(port - SN_AT(x->plan, SnPort, outputs));
    const SnSection *s = sn_plan_section(x->plan, SN_STRING(x->plan, port->section));
    Section *sec = &x->sections[s - SN_AT(x->plan, SnSection, sections)];
    if (x->failed) return keep(x, SN_OK, e);
    if (!e) e = &mine;
    uint64_t run = sec->runs - 1 - (uint64_t)back;
    if (sec->runs <= (uint64_t)back) return sn_fail(e, SN_PLAN, "there was no such run");
    if (keep(x, cu(x, x->api->event_synchronize(sec->done[run % 2]), "the device", e), e))
        return x->failed;
    if (x->api->touch) x->api->touch(result_of(x, at, run), (size_t)bytes, false);
    memcpy(to, result_of(x, at, run), (size_t)bytes);
    return SN_OK;
}

static void *cuda_at(SnDevice *d, uint32_t region, int64_t offset) {
    (void)d;
    (void)region;
    (void)offset;
    return NULL;
}

// Bytes of region host, which this thread is about to read or write.
static void *touch(const Cuda *x, int64_t offset, int64_t bytes, bool writes) {
    if (x->api->touch) x->api->touch(x->host + offset, (size_t)bytes, writes);
    return x->host + offset;
}

static SnStatus cuda_read(SnDevice *d, uint32_t region, int64_t offset, void *to, int64_t bytes,
                          SnError *e) {
    Cuda *x = cuda_of(d);
    SnError mine = {0};
    if (x->failed) return keep(x, SN_OK, e);
    if (!e) e = &mine;
    if (!bytes) return SN_OK;
    if (region == SN_REGION_HOST) {
        if (!cuda_wait(d, e)) memcpy(to, touch(x, offset, bytes, false), (size_t)bytes);
        return x->failed;
    }
    SnStatus s = cu(
        x, x->api->copy_to_host(to, x->region[region] + (uint64_t)offset, (size_t)bytes, x->stream),
        "copying to the host", e);
    if (!s) s = cu(x, x->api->stream_synchronize(x->stream), "copying to the host", e);
    return keep(x, s, e);
}

static SnStatus cuda_write(SnDevice *d, uint32_t region, int64_t offset, const void *from,
                           int64_t bytes, SnError *e) {
    Cuda *x = cuda_of(d);
    SnError mine = {0};
    if (x->failed) return keep(x, SN_OK, e);
    if (!e) e = &mine;
    if (!bytes) return SN_OK;
    if (region == SN_REGION_HOST) {
        if (!cuda_wait(d, e)) memcpy(touch(x, offset, bytes, true), from, (size_t)bytes);
        return x->failed;
    }
    SnStatus s = cu(x,
                    x->api->copy_to_device(x->region[region] + (uint64_t)offset, from,
                                           (size_t)bytes, x->stream),
                    "copying to the device", e);
    if (!s) s = cu(x, x->api->stream_synchronize(x->stream), "copying to the device", e);
    return keep(x, s, e);
}

// ---- opening ----------------------------------------------------------------------------------------

static int attribute(const SnCudaApi *api, int ordinal, int which) {
    int value = 0;
    return api->device_attribute(&value, which, ordinal) ? 0 : value;
}

// Device `wanted` of this machine: the driver's number for it, and what it is.
static SnStatus find_device(const SnCudaApi *api, int wanted, int *ordinal, SnLtOwner *to,
                            SnError *e) {
    int count = 0;
    SnStatus s = sn_cuda_check(api, api->init(0), "CUDA cannot start", e);
    if (!s) s = sn_cuda_check(api, api->device_count(&count), "CUDA devices", e);
    if (!s && wanted >= count)
        return sn_fail(e, SN_MACHINE, "there is no CUDA device %d: this machine has %d", wanted,
                       count);
    if (!s) s = sn_cuda_check(api, api->device_get(ordinal, wanted), "a CUDA device", e);
    if (!s)
        s = sn_cuda_check(api, api->device_name(to->device, sizeof to->device, *ordinal),
                          "a CUDA device", e);
    if (s) return s;
    to->sm = attribute(api, *ordinal, SN_CU_ATTR_MAJOR) * 10 +
             attribute(api, *ordinal, SN_CU_ATTR_MINOR);
    to->library = api->lt_version();
    return SN_OK;
}

SnStatus sn_cuda_choices(const SnCudaApi *api, int ordinal, char *path, size_t size, SnError *e) {
    SnLtOwner owner = {.sm = 0};
    SnStatus s = find_device(api, ordinal, &ordinal, &owner, e);
    if (s || sn_choices_path(&owner, path, size)) return s;
    return sn_fail(e, SN_MACHINE,
                   "neither XDG_CACHE_HOME nor HOME names a folder of a usable length");
}

static SnStatus open_context(Cuda *x, SnError *e) {
    SnStatus s = find_device(x->api, x->choice.ordinal, &x->ordinal, &x->owner, e);
    if (!s) s = cu(x, x->api->context_retain(&x->context, x->ordinal), "a CUDA context", e);
    if (!s) s = cu(x, x->api->context_set(x->context), "a CUDA context", e);
    for (int i = 0; i < SN_STREAMS && !s; i++)
        if (i == SN_STREAM_COMPUTE || x->plan->events)
            s = cu(x, x->api->stream_create(&x->lane[i], SN_CU_STREAM_NON_BLOCKING), "a stream", e);
    x->stream = x->lane[SN_STREAM_COMPUTE];
    snprintf(x->device.name, sizeof x->device.name, "%s", x->owner.device);
    return s;
}

// Bytes of the tables of arguments.
static uint64_t table_area(const SnPlan *p) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
        if (c->op == SN_CMD_KERNEL && SN_AT(p, SnKernel, kernels)[c->fn].table)
            sum += 8 * ((uint64_t)c->nargs +
                        (uint64_t)c->count * SN_AT(p, SnKernel, kernels)[c->fn].nkeys);
    }
    return sum;
}

// Where everything lies in the arena.
typedef struct {
    uint64_t region[SN_REGION_HOST], env, tables, staging, workspace, all; // offsets
} CudaPlaces;

static CudaPlaces places(const SnPlan *plan, int64_t temporary) {
    CudaPlaces p = {.all = 0};
    uint64_t at = 0;
    for (int r = 1; r < SN_REGION_HOST; r++) {
        p.region[r] = at;
        at += (uint64_t)(r == SN_REGION_TEMP ? temporary : plan->region_bytes[r]) + 64;
        if (r == SN_REGION_SCALAR) {
            p.env = p.region[r] + (uint64_t)env_offset(plan);
            at = p.env + sizeof(SnCudaEnv);
        }
        at = (at + ALIGN - 1) / ALIGN * ALIGN;
    }
    p.tables = at;
    at += (table_area(plan) + ALIGN - 1) / ALIGN * ALIGN;
    p.staging = at;
    at += SN_FEED_SLOTS * slot_bytes(plan);
    p.workspace = at;
    p.all = at + (uint64_t)plan->workspace;
    return p;
}

void sn_cuda_layout(const SnPlan *plan, SnLayout *to) {
    CudaPlaces p = places(plan, sn_plan_temporary(plan, true));
    *to = (SnLayout){.tables = (int64_t)(p.staging - p.tables),
                     .staging = (int64_t)(p.workspace - p.staging),
                     .workspace = plan->workspace,
                     .all = (int64_t)p.all};
}

// Lays out and allocates the device's memory.
static SnStatus map_arena(Cuda *x, SnError *e) {
    x->device.temporary = sn_plan_temporary(x->plan, x->choice.training);
    CudaPlaces p = places(x->plan, x->device.temporary);
    uint64_t at = p.all;
    size_t available = 0, total = 0;
    const double gib = 1024.0 * 1024.0 * 1024.0;
    SnStatus s = cu(x, x->api->mem_info(&available, &total), "the device's memory", e);
    if (s) return s;
    if (at + RESERVE > available)
        return sn_fail(
            e, SN_MACHINE,
            "the plan needs %.2f GiB of device memory (%llu bytes) and the driver 0.06, %s has "
            "%.2f GiB free (%zu bytes)",
            (double)at / gib, (unsigned long long)at, x->device.name, (double)available / gib,
            available);
    s = cu(x, x->api->mem_alloc(&x->arena, at), "device memory", e);
    if (s) return s;
    for (int r = 1; r < SN_REGION_HOST; r++) x->region[r] = x->arena + p.region[r];
    x->env = x->arena + p.env;
    x->tables = x->arena + p.tables;
    x->staging = x->arena + p.staging;
    x->device.bytes = (int64_t)at;
    return x->plan->workspace ? sn_lt_open(x->api, x->arena + p.workspace, x->plan->workspace,
                                           x->choices, &x->lt, e)
                              : SN_OK;
}

static SnStatus map_pinned(Cuda *x, SnError *e) {
    int64_t bytes = x->plan->region_bytes[SN_REGION_HOST];
    void *at = NULL;
    if (!bytes) return SN_OK;
    if (x->api->host_alloc(&at, (size_t)bytes, 0))
        return sn_fail(e, SN_MACHINE,
                       "the plan keeps %.2f GiB (%lld bytes) in pinned memory of the host, which "
                       "the driver does not give",
                       (double)bytes / (1024.0 * 1024.0 * 1024.0), (long long)bytes);
    x->host = at;
    x->region[SN_REGION_HOST] = (uint64_t)(uintptr_t)at;
    return SN_OK;
}

static SnStatus map_host(Cuda *x, SnError *e) {
    size_t results = 16 * (size_t)x->plan->outputs.count;
    void *at;
    x->pieces = calloc((size_t)x->plan->inputs.count + 1, sizeof *x->pieces);
    if (!x->pieces) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = sn_feed_open(x->api, x->stream, x->staging, slot_bytes(x->plan), &x->feed, e);
    if (!s) s = sn_watch_open(x->api, x->plan->sections.count, &x->watch, e);
    if (!s) s = map_pinned(x, e);
    if (!s) s = cu(x, x->api->host_alloc(&at, results + 8, 0), "pinned memory", e);
    if (s) return s;
    x->results = at;
    x->device.scalars = calloc(1, (size_t)scalar_bytes(x->plan) + 8);
    return x->device.scalars ? SN_OK : sn_fail(e, SN_MACHINE, "out of memory");
}

static SnStatus allocate_tables(Cuda *x, SnError *e) {
    const SnPlan *p = x->plan;
    x->value = calloc((size_t)p->args.count + 1, sizeof *x->value);
    x->names = calloc((size_t)p->args.count + 1, sizeof *x->names);
    x->steps = calloc((size_t)p->cmds.count + 1, sizeof *x->steps);
    x->sections = calloc((size_t)p->sections.count + 1, sizeof *x->sections);
    x->events = calloc((size_t)p->events + 1, sizeof *x->events);
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->cmds.count; i++)
        if (SN_AT(p, SnCmd, cmds)[i].nargs > most) most = SN_AT(p, SnCmd, cmds)[i].nargs;
    x->ranges = calloc((size_t)most + 3, sizeof *x->ranges);
    x->device.counters = calloc((size_t)p->cmds.count + 1, sizeof *x->device.counters);
    if (!x->value || !x->names || !x->ranges || !x->steps || !x->sections || !x->events ||
        !x->device.counters)
        return sn_fail(e, SN_MACHINE, "out of memory");
    return SN_OK;
}

static SnStatus resolve_function(Cuda *x, CudaCommand *s, const SnKernel *k, SnError *e) {
    s->kernel = k;
    return sn_cuda_function(x->api, &x->images, k, SN_STRING(x->plan, k->name), &s->function, e);
}

// Writes the arguments of all instances where the kernel will read them.
static SnStatus put_table(Cuda *x, CudaCommand *s, uint64_t *at, SnError *e) {
    const SnKernel *k = s->kernel;
    const uint64_t *v = &x->value[s->cmd->args];
    size_t n = 0, bytes = (size_t)table_bytes(s);
    uint64_t *table = malloc(bytes + 8);
    if (!table) return sn_fail(e, SN_MACHINE, "out of memory");
    for (uint32_t i = 0; i < s->cmd->count; i++) {
        for (uint32_t a = 0; a < k->nargs; a++) table[n++] = v[i * k->nargs + a];
        for (uint32_t a = 0; a < k->nkeys; a++) table[n++] = k->key[a];
    }
    s->table = *at;
    *at += bytes;
    SnStatus status = cu(x, x->api->copy_to_device(s->table, table, bytes, x->stream),
                         "copying a table of arguments", e);
    if (!status)
        status = cu(x, x->api->stream_synchronize(x->stream), "copying a table of arguments", e);
    free(table);
    return status;
}

// The command's call of cuBLASLt.
static SnStatus prepare_call(Cuda *x, const SnCmd *c, SnLtCall **to, SnError *e) {
    return sn_lt_prepare(x->lt, &SN_AT(x->plan, SnGemm, gemms)[c->fn], &x->value[c->args], to, e);
}

static SnStatus resolve_step(Cuda *x, uint32_t i, uint64_t *tables, SnError *e) {
    const SnPlan *p = x->plan;
    CudaCommand *s = &x->steps[i];
    const SnCmd *c = s->cmd = &SN_AT(p, SnCmd, cmds)[i];
    if (c->op == SN_CMD_KERNEL) {
        SnStatus status = resolve_function(x, s, &SN_AT(p, SnKernel, kernels)[c->fn], e);
        return status || !s->kernel->table ? status : put_table(x, s, tables, e);
    }
    if (c->op != SN_CMD_GEMM) return SN_OK;
    const SnGemm *g = &SN_AT(p, SnGemm, gemms)[c->fn];
    if (sn_gemm_has(g, SN_GEMM_KERNEL))
        return resolve_function(x, s, &SN_AT(p, SnKernel, kernels)[g->kernel], e);
    return prepare_call(x, c, &s->call, e);
}

// The state or input that lies at an argument's place.
static const char *name_at(const SnPlan *p, const SnArg *a) {
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (s->region == a->region && s->offset == a->offset) return SN_STRING(p, s->path);
    }
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *in = &SN_AT(p, SnPort, inputs)[i];
        if (in->region == a->region && in->offset == a->offset) return SN_STRING(p, in->name);
    }
    return NULL;
}

static void place_values(Cuda *x) {
    const SnPlan *p = x->plan;
    for (uint32_t i = 0; i < p->args.count; i++) {
        const SnArg *a = &SN_AT(p, SnArg, args)[i];
        x->value[i] = a->region == SN_REGION_NONE ? 0 : x->region[a->region] + (uint64_t)a->offset;
        if (x->api->note) x->names[i] = name_at(p, a);
    }
}

static SnStatus resolve(Cuda *x, SnError *e) {
    const SnPlan *p = x->plan;
    SnStatus s = SN_OK;
    uint64_t tables = x->tables;
    place_values(x);
    for (uint32_t i = 0; i < p->cmds.count && !s; i++) s = resolve_step(x, i, &tables, e);
    for (uint32_t i = 0; i < 2 * p->sections.count && !s; i++)
        s = cu(x, x->api->event_create(&x->sections[i / 2].done[i % 2], SN_CU_EVENT_NO_TIMING),
               "an event", e);
    for (uint32_t i = 0; i < p->events && !s; i++)
        s = cu(x, x->api->event_create(&x->events[i], SN_CU_EVENT_NO_TIMING), "an event", e);
    return s;
}

// ---- algorithms of products -------------------------------------------------------------------------

static bool calls_library(const SnPlan *p, const SnCmd *c) {
    return c->op == SN_CMD_GEMM && !sn_gemm_has(&SN_AT(p, SnGemm, gemms)[c->fn], SN_GEMM_KERNEL);
}

static SnStatus measure_products(Cuda *x, SnError *e) {
    SnStatus s = SN_OK;
    place_values(x);
    for (uint32_t i = 0; i < x->plan->cmds.count && !s; i++) {
        const SnCmd *c = &SN_AT(x->plan, SnCmd, cmds)[i];
        SnLtCall *call = NULL;
        if (!calls_library(x->plan, c)) continue;
        s = prepare_call(x, c, &call, e);
        if (!s) s = sn_lt_measure(x->lt, call, x->stream, e);
        sn_lt_free(x->lt, call);
    }
    return s;
}

// In an arena of its own, which is all zeros and is given back: so products are measured where they will
// lie, and the emulated device still knows of the run's arena that nothing was written there.
static SnStatus tune(Cuda *x, SnError *e) {
    SnError unkept;
    SnStatus s = map_arena(x, e);
    if (!s)
        s = cu(x, x->api->fill_bytes(x->arena, 0, (size_t)x->device.bytes, x->stream), "a fill", e);
    if (!s) s = measure_products(x, e);
    sn_lt_close(x->lt);
    x->lt = NULL;
    if (!s) s = cu(x, x->api->stream_synchronize(x->stream), "measuring products", e);
    if (s) return s;
    s = cu(x, x->api->mem_free(x->arena), "device memory", e);
    x->arena = 0;
    if (!s && sn_choices_save(x->choices, &unkept))
        add_note(x, "the measured algorithms serve this run and are not kept: %.400s", unkept.text);
    return s;
}

static SnStatus open_choices(Cuda *x, SnError *e) {
    if (!x->plan->workspace) return SN_OK;
    SnStatus s = sn_choices_open(&x->owner, &x->choices, e);
    if (!s && *sn_choices_note(x->choices)) add_note(x, "%s", sn_choices_note(x->choices));
    return s || !x->choice.tune ? s : tune(x, e);
}

static SnStatus build(Cuda *x, const SnProgram *program, SnError *e) {
    SnStatus s = open_context(x, e);
    if (!s)
        s = sn_cuda_images(x->api, program, x->plan->batches, x->owner.sm, x->choice.from_ptx,
                           &x->images, e);
    if (!s) s = allocate_tables(x, e);
    if (!s) s = open_choices(x, e);
    if (!s) s = map_arena(x, e);
    if (!s) s = map_host(x, e);
    if (!s) s = resolve(x, e);
    if (*x->images.fallback) add_note(x, "%s; its PTX is used", x->images.fallback);
    if (!s && sn_lt_refused(x->lt))
        add_note(x,
                 "cuBLASLt refuses the cache's algorithm of %u products: its first choice is used",
                 sn_lt_refused(x->lt));
    size_t n = strlen(x->device.name);
    snprintf(x->device.name + n, sizeof x->device.name - n, ", sm_%d, %s", x->owner.sm,
             x->images.from_ptx ? "PTX" : "machine code");
    return s;
}

static void cuda_free(SnDevice *d) {
    Cuda *x = cuda_of(d);
    if (x->stream) x->api->stream_synchronize(x->stream);
    for (uint32_t i = 0; x->steps && i < x->plan->cmds.count; i++)
        sn_lt_free(x->lt, x->steps[i].call);
    for (uint32_t i = 0; x->sections && i < x->plan->sections.count; i++) {
        for (int k = 0; k < 2; k++) {
            if (x->sections[i].graph[k]) x->api->graph_exec_destroy(x->sections[i].graph[k]);
            if (x->sections[i].done[k]) x->api->event_destroy(x->sections[i].done[k]);
        }
    }
    sn_feed_close(x->feed);
    sn_watch_close(x->watch);
    if (x->results) x->api->host_free(x->results);
    if (x->host) x->api->host_free(x->host);
    for (uint32_t i = 0; x->events && i < x->plan->events; i++)
        if (x->events[i]) x->api->event_destroy(x->events[i]);
    sn_lt_close(x->lt);
    sn_choices_free(x->choices);
    sn_cuda_images_free(x->api, &x->images);
    if (x->arena) x->api->mem_free(x->arena);
    for (int i = 0; i < SN_STREAMS; i++)
        if (x->lane[i]) x->api->stream_destroy(x->lane[i]);
    if (x->context) x->api->context_release(x->ordinal);
    free(x->value);
    free(x->names);
    free(x->ranges);
    free(x->pieces);
    free(x->steps);
    free(x->sections);
    free(x->events);
    free(d->counters);
    free(d->scalars);
    free(x);
}

static bool cuda_first_nan(SnDevice *d, const SnSection *s, uint64_t *run, char *text,
                           size_t size) {
    Cuda *x = cuda_of(d);
    uint64_t word;
    uint32_t step;
    if (cuda_wait(d, NULL)) return false;
    uint32_t index = (uint32_t)(s - SN_AT(x->plan, SnSection, sections));
    if (!sn_watch_first(x->watch, index, &word, run, &step)) return false;
    int n = snprintf(text, size, "in step %u ", step);
    return n >= 0 && (size_t)n < size &&
           sn_nan_watched(x->plan, (uint32_t)(word >> SN_FAULT_ELEMENT),
                          (int64_t)(word & ((UINT64_C(1) << SN_FAULT_ELEMENT) - 1)), text + n,
                          size - (size_t)n);
}

// A line for each shape of product, then the file.
static bool cuda_decided(SnDevice *d, uint32_t i, char *text, size_t size) {
    const Cuda *x = cuda_of(d);
    if (sn_lt_chosen(x->lt, i, text, size)) return true;
    if (!x->choices || i > sn_lt_shapes(x->lt) || !*sn_choices_file(x->choices)) return false;
    snprintf(text, size, "measured algorithms: %s", sn_choices_file(x->choices));
    return true;
}

static const SnDeviceOps cuda_ops = {.free = cuda_free,
                                     .at = cuda_at,
                                     .input = cuda_input,
                                     .read = cuda_read,
                                     .write = cuda_write,
                                     .result = cuda_result,
                                     .run = cuda_run,
                                     .wait = cuda_wait,
                                     .first_nan = cuda_first_nan,
                                     .memory = cuda_memory,
                                     .decided = cuda_decided};

SnStatus sn_cuda_device(const SnProgram *program, const SnCudaChoice *choice, SnDevice **out,
                        SnError *e) {
    *out = NULL;
    Cuda *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    x->plan = (const SnPlan *)(const void *)program->plan;
    x->device.plan = x->plan;
    x->device.ops = &cuda_ops;
    x->find_nan = sn_nan_wanted();
    x->device.ahead = !x->find_nan && !choice->stepwise; // they wait for every command
    x->api = choice->api;
    x->choice = *choice;
    SnStatus s = build(x, program, e);
    if (s) {
        cuda_free(&x->device);
        return s;
    }
    *out = &x->device;
    return SN_OK;
}

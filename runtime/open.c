// Which device a run gets: SINTER_DEVICE and --device name one, else the best that the executable has a
// program for and the machine has.
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/module.h"
#include "runtime/emulator/emulator.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const SnPlan *plan_of(const SnProgram *p) { return (const SnPlan *)(const void *)p->plan; }

const SnProgram *sn_program_find(const SnProgram *programs, SnDeviceKind kind) {
    for (; programs->plan; programs++)
        if (plan_of(programs)->device == kind) return programs;
    return NULL;
}

// A whole number of at most `most` that fills the text; -1 when it is none.
static int number(const char *text, int most) {
    char *end;
    long n = strtol(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && n <= most ? (int)n : -1;
}

static const char *setting(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

static bool is_on(const char *name, const char *otherwise) {
    return strcmp(setting(name, otherwise), "off") != 0;
}

// "sm_90a" and what the environment says of checking and order.
static SnStatus configure(const SnEmulator *emulator, const char *name, int threads, SnError *e) {
    SnEmulatorConfig c = {.check = is_on("SINTER_SANITIZE", "on"),
                          .nan = is_on("SINTER_SANITIZE", "on"),
                          .threads = threads};
    char digits[8];
    const char *seed = setting("SINTER_EMU_SEED", "1");
    size_t n = strlen(name);
    c.arch = n > 3 && name[n - 1] == 'a';
    snprintf(digits, sizeof digits, "%.*s", (int)(n > 3 ? n - 3 - c.arch : 0),
             name + (n > 3 ? 3 : n));
    int sm = strncmp(name, "sm_", 3) ? -1 : number(digits, 999), at = number(seed, INT32_MAX);
    if (at < 0)
        return sn_fail(e, SN_USER, "SINTER_EMU_SEED takes a whole number, not '%.80s'", seed);
    c.sm = sm < 0 ? 0 : (uint32_t)sm;
    c.seed = (uint64_t)at;
    c.memory = (uint64_t)64 << 30; // addresses only: what a run does not touch costs nothing
    if (sm > 0 && emulator->configure(&c)) return SN_OK;
    return sn_fail(e, SN_USER,
                   "there is no emulated device '%.80s'; there are sm_80, sm_89, sm_90a, "
                   "sm_100a and sm_120",
                   name);
}

static SnStatus open_cuda(const SnProgram *p, const SnCudaApi *api, int ordinal, bool from_ptx,
                          SnDevice **out, SnError *e) {
    const SnCudaChoice choice = {.api = api,
                                 .ordinal = ordinal,
                                 .from_ptx = from_ptx || !is_on("SINTER_CUDA_CUBIN", "on"),
                                 .stepwise = !is_on("SINTER_CUDA_GRAPHS", "on")};
    return sn_cuda_device(p, &choice, out, e);
}

SnStatus sn_device_check(const char *name, SnError *e) {
    if (!name || !strcmp(name, "cpu") || !strcmp(name, "cuda") || !strncmp(name, "emu:", 4) ||
        (!strncmp(name, "cuda:", 5) && number(name + 5, 1023) >= 0))
        return SN_OK;
    return sn_fail(e, SN_USER, "there is no device '%.80s'; it is cpu, cuda, cuda:N or emu:sm_90a",
                   name);
}

static SnStatus open_cpu(const SnProgram *p, int threads, SnDevice **out, SnError *e) {
    char missing[128];
    if (!p) return sn_fail(e, SN_USER, "this program was not built for the CPU (--target cpu)");
    sn_cpu_missing(plan_of(p)->features, missing, sizeof missing);
    if (*missing)
        return sn_fail(e, SN_MACHINE, "this program's code for CPUs needs %s, which this one lacks",
                       missing);
    return sn_cpu_device(plan_of(p), p->functions, threads, out, e);
}

static SnStatus open_named(const SnProgram *programs, const char *name, int threads, SnDevice **out,
                           SnError *e) {
    const SnProgram *cpu = sn_program_find(programs, SN_DEVICE_CPU);
    const SnProgram *cuda = sn_program_find(programs, SN_DEVICE_CUDA);
    bool emulated = !strncmp(name, "emu:", 4);
    SnStatus known = sn_device_check(name, e);
    if (known) return known;
    if (!strcmp(name, "cpu")) return open_cpu(cpu, threads, out, e);
    int ordinal = strncmp(name, "cuda:", 5) ? 0 : number(name + 5, 1023);
    if (!cuda) return sn_fail(e, SN_USER, "this program was not built for a GPU (--target sm_90a)");
    if (emulated) {
        SnStatus s = configure(cuda->emulator, name + 4, threads, e);
        if (!s) s = open_cuda(cuda, cuda->emulator->api(), 0, true, out, e);
        if (!s) (*out)->first_nan = cuda->emulator->first_nan;
        return s;
    }
    const SnCudaApi *api = sn_cuda_load(e);
    return api ? open_cuda(cuda, api, ordinal, false, out, e) : e ? e->status : SN_MACHINE;
}

// A GPU when the program has code for it and there is one.
static SnStatus open_best(const SnProgram *programs, int threads, SnDevice **out, SnError *e) {
    SnError gpu = {0};
    const char *name = "cuda";
    if (sn_program_find(programs, SN_DEVICE_CUDA)) {
        if (!open_named(programs, name, threads, out, &gpu)) return SN_OK;
        if (!sn_program_find(programs, SN_DEVICE_CPU))
            return sn_fail(e, gpu.status,
                           "%.700s; SINTER_DEVICE=emu:sm_90a runs it on an emulated one", gpu.text);
    }
    SnStatus s = open_named(programs, "cpu", threads, out, e);
    if (!s && *gpu.text)
        snprintf((*out)->note, sizeof(*out)->note, "no GPU is used: %.160s", gpu.text);
    return s;
}

SnStatus sn_device_open(const SnProgram *programs, const char *name, int threads, SnDevice **out,
                        SnError *e) {
    *out = NULL;
    for (const SnProgram *p = programs; p->plan; p++) {
        SnStatus s = sn_plan_check(p->plan, e);
        if (s) return s;
    }
    return name ? open_named(programs, name, threads, out, e)
                : open_best(programs, threads, out, e);
}

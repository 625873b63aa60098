// Which device a run gets: SINTER_DEVICE and --device name one, else the best that the executable has a
// program for and the machine has.
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/module.h"
#include "runtime/emulator/emulator.h"
#include "runtime/program/options.h"
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

// The devices that there are emulations of.
static const struct {
    const char *name;
    uint32_t sm;
    bool arch;
} emulated[] = {{"emu:sm_80", 80, false},
                {"emu:sm_89", 89, false},
                {"emu:sm_90a", 90, true},
                {"emu:sm_100a", 100, true},
                {"emu:sm_120", 120, false}};
enum { EMULATED = sizeof emulated / sizeof *emulated };

static int emulated_index(const char *name) {
    for (int i = 0; i < EMULATED; i++)
        if (!strcmp(emulated[i].name, name)) return i;
    return -1;
}

// What the environment says of checking and order.
static SnStatus configure(const SnEmulator *emulator, int which, int threads, SnError *e) {
    bool check = sn_environ_number(SN_SET_env_sanitize) != 0;
    SnEmulatorConfig c = {.sm = emulated[which].sm,
                          .arch = emulated[which].arch,
                          .check = check,
                          .nan = check,
                          .threads = threads,
                          .seed = (uint64_t)sn_environ_number(SN_SET_env_emu_seed)};
    // Device memory is this machine's, and the checker keeps as much again beside it.
    c.memory = (uint64_t)(sn_usable_memory() / (c.check ? 3.2 : 1.1)) & ~(uint64_t)0xffff;
    if (emulator->configure(&c)) return SN_OK;
    return sn_fail(e, SN_MACHINE, "the emulated device is in use");
}

// The driver behind a GPU's name, and which of its devices is meant. NULL with the reason in *e.
static const SnCudaApi *find_api(const SnProgram *cuda, const char *name, int threads, int *ordinal,
                                 SnError *e) {
    int emulator = emulated_index(name);
    *ordinal = strncmp(name, "cuda:", 5) ? 0 : number(name + 5, 1023);
    if (!cuda) {
        sn_fail(e, SN_USER, "this program was not built for a GPU (--target sm_90a)");
        return NULL;
    }
    if (emulator < 0) return sn_cuda_load(e);
    return configure(cuda->emulator, emulator, threads, e) ? NULL : cuda->emulator->api();
}

static SnStatus open_cuda(const SnProgram *p, const SnDeviceWish *wish, SnDevice **out,
                          SnError *e) {
    bool emulated_one = emulated_index(wish->name) >= 0;
    int ordinal;
    SnError mine = {0};
    const SnCudaApi *api = find_api(p, wish->name, wish->threads, &ordinal, e ? e : &mine);
    if (!api) return e ? e->status : mine.status;
    const SnCudaChoice choice = {.api = api,
                                 .ordinal = ordinal,
                                 .from_ptx =
                                     emulated_one || sn_environ_number(SN_SET_env_cubin) == 0,
                                 .stepwise = sn_environ_number(SN_SET_env_graphs) == 0,
                                 .tune = wish->tune,
                                 .training = wish->training};
    SnStatus s = sn_cuda_device(p, &choice, out, e);
    if (!s && emulated_one) (*out)->first_nan = p->emulator->first_nan;
    if (!s && wish->moments && !*(*out)->note)
        snprintf((*out)->note, sizeof(*out)->note,
                 "the moments stay on the device: 'offload moments' is for the CPU");
    return s;
}

SnStatus sn_device_check(const char *name, SnError *e) {
    if (!name || !strcmp(name, "cpu") || !strcmp(name, "cuda") || emulated_index(name) >= 0 ||
        (!strncmp(name, "cuda:", 5) && number(name + 5, 1023) >= 0))
        return SN_OK;
    return sn_fail(e, SN_USER,
                   "there is no device '%.80s'; it is cpu, cuda, cuda:N, emu:sm_80, emu:sm_89, "
                   "emu:sm_90a, emu:sm_100a or emu:sm_120",
                   name);
}

static SnStatus open_cpu(const SnProgram *p, const SnDeviceWish *wish, SnDevice **out, SnError *e) {
    char missing[128];
    if (!p) return sn_fail(e, SN_USER, "this program was not built for the CPU (--target cpu)");
    sn_cpu_missing(plan_of(p)->features, missing, sizeof missing);
    if (*missing)
        return sn_fail(e, SN_MACHINE, "this program's code for CPUs needs %s, which this one lacks",
                       missing);
    return sn_cpu_device(plan_of(p), p->functions, wish, out, e);
}

static SnStatus open_named(const SnProgram *programs, const SnDeviceWish *wish, SnDevice **out,
                           SnError *e) {
    SnStatus known = sn_device_check(wish->name, e);
    if (known) return known;
    if (!strcmp(wish->name, "cpu"))
        return open_cpu(sn_program_find(programs, SN_DEVICE_CPU), wish, out, e);
    return open_cuda(sn_program_find(programs, SN_DEVICE_CUDA), wish, out, e);
}

SnStatus sn_device_choices(const SnProgram *programs, const char *name, char *path, size_t size,
                           SnError *e) {
    int ordinal;
    SnError mine = {0};
    if (!e) e = &mine;
    SnStatus known = sn_device_check(name, e);
    if (known) return known;
    if (name && !strcmp(name, "cpu"))
        return sn_fail(e, SN_USER, "the CPU has one way to compute a product");
    const SnCudaApi *api =
        find_api(sn_program_find(programs, SN_DEVICE_CUDA), name ? name : "cuda", 1, &ordinal, e);
    return api ? sn_cuda_choices(api, ordinal, path, size, e) : e->status;
}

static SnStatus no_device(const SnProgram *p, const SnError *gpu, SnError *e) {
    char emulator[32];
    sn_cuda_emulator(p, emulator, sizeof emulator);
    return sn_fail(e, gpu->status, "%.700s; SINTER_DEVICE=%s runs it on an emulated one", gpu->text,
                   emulator);
}

// A GPU when the program has code for it and there is one.
static SnStatus open_best(const SnProgram *programs, const SnDeviceWish *wish, SnDevice **out,
                          SnError *e) {
    SnError gpu = {0};
    SnDeviceWish one = *wish;
    if (sn_program_find(programs, SN_DEVICE_CUDA)) {
        one.name = "cuda";
        if (!open_named(programs, &one, out, &gpu)) return SN_OK;
        if (!sn_program_find(programs, SN_DEVICE_CPU))
            return no_device(sn_program_find(programs, SN_DEVICE_CUDA), &gpu, e);
    }
    one.name = "cpu";
    SnStatus s = open_named(programs, &one, out, e);
    if (!s && *gpu.text)
        snprintf((*out)->note, sizeof(*out)->note, "no GPU is used: %.160s", gpu.text);
    return s;
}

SnStatus sn_device_open(const SnProgram *programs, const SnDeviceWish *wish, SnDevice **out,
                        SnError *e) {
    *out = NULL;
    SnStatus s = sn_environ_check(e);
    for (const SnProgram *p = programs; p->plan && !s; p++) s = sn_plan_check(p->plan, e);
    if (s) return s;
    return wish->name ? open_named(programs, wish, out, e) : open_best(programs, wish, out, e);
}

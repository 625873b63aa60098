// Instruction sets: what --cpu means. LLVM ends the process on a CPU or feature name it does not
// know, so names are resolved here against a table and never handed through. Two levels exist
// because kernels are 16-lane vectors: v3 (AVX2, FMA) splits them in two, v4 (AVX-512) does not; a third
// for the instruction that products of bf16 are made of.
// FMA hardware is the baseline, since `fma` would otherwise be a library call. "native" is the best
// level that this machine runs, tuned for its CPU: the tuning orders instructions, it never selects
// others, so the executable asks for no more than its level.
#include "codegen/cpu/cpu.h"
#include "runtime/plan.h"
#include <cpuid.h>
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <string.h>

typedef struct {
    const char *name, *base, *more; // of the last two: see CpuIsa
    uint32_t features, lanes;
} Level;
// Best last.
static const Level levels[] = {
    {"x86-64-v3", "x86-64-v3", "", SN_CPU_AVX2 | SN_CPU_FMA, 8},
    {"x86-64-v4", "x86-64-v4", "", SN_CPU_AVX2 | SN_CPU_FMA | SN_CPU_AVX512, 16},
    {"x86-64-v4+bf16", "x86-64-v4", "+avx512bf16",
     SN_CPU_AVX2 | SN_CPU_FMA | SN_CPU_AVX512 | SN_CPU_BF16, 16},
};
enum { LEVELS = sizeof levels / sizeof *levels };

// SN_CPU_* bits of this machine. __builtin_cpu_supports also asks whether the kernel saves the
// registers.
static uint32_t host_features(void) {
    uint32_t f = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) f |= SN_CPU_AVX2;
    if (__builtin_cpu_supports("fma")) f |= SN_CPU_FMA;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        f |= SN_CPU_AVX512;
    if (__builtin_cpu_supports("avx512bf16")) f |= SN_CPU_BF16;
    return f;
}

static const Level *best_here(uint32_t host) {
    const Level *best = NULL;
    for (size_t i = 0; i < LEVELS; i++)
        if ((levels[i].features & ~host) == 0) best = &levels[i];
    return best;
}

static const Level *find(const char *name) {
    for (size_t i = 0; i < LEVELS; i++)
        if (strcmp(levels[i].name, name) == 0) return &levels[i];
    return NULL;
}

static const char *host_name(Arena *a) {
    char *s = LLVMGetHostCPUName();
    const char *copy = arena_str(a, s, strlen(s));
    LLVMDisposeMessage(s);
    return copy;
}

bool cpu_isa_resolve(Arena *a, const char *name, CpuIsa *isa, Text *why) {
    uint32_t host = host_features();
    bool native = strcmp(name, "native") == 0;
    const Level *level = native ? best_here(host) : find(name);
    if (!level && native) {
        text_printf(
            why,
            "this machine's CPU lacks AVX2 or FMA; choose --cpu x86-64-v3 to build for another");
        return false;
    }
    if (!level) {
        text_printf(why, "unknown CPU '%s'; known are native", name);
        for (size_t i = 0; i < LEVELS; i++) text_printf(why, ", %s", levels[i].name);
        return false;
    }
    *isa = (CpuIsa){.name = level->name,
                    .base = level->base,
                    .more = level->more,
                    .tune = native ? host_name(a) : level->base,
                    .features = level->features,
                    .lanes = level->lanes,
                    .here = (level->features & ~host) == 0};
    return true;
}

void cpu_print_version(Text *to) {
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    text_printf(to, "%u.%u.%u", major, minor, patch);
}

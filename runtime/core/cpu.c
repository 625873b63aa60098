// Which instructions this CPU and system offer. This file is compiled for the x86-64 baseline,
// unlike the rest of the runtime, because it decides whether the rest may run.
#include "runtime/sinter.h"
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

// The register state that the system saves (XCR0).
static uint64_t enabled_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t sn_cpu_features(void) {
    uint32_t a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) return 0;
    uint64_t state = enabled_state();
    if ((state & 6) != 6) return 0; // xmm and ymm
    if (c & bit_FMA) features |= SN_CPU_FMA;
    uint32_t b7;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d)) return features;
    // The runtime itself is compiled for x86-64-v3, of which AVX2, BMI1 and BMI2 stand for the
    // rest.
    if ((b7 & bit_AVX2) && (b7 & bit_BMI) && (b7 & bit_BMI2)) features |= SN_CPU_AVX2;
    const uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    if ((b7 & wide) == wide && (state & 0xe6) == 0xe6) features |= SN_CPU_AVX512;
    uint32_t subleaves = a;
    if ((features & SN_CPU_AVX512) && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b7, &c, &d) &&
        (a & bit_AVX512BF16))
        features |= SN_CPU_BF16;
    return features;
}

void sn_cpu_missing(uint32_t need, char *text, size_t size) {
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{SN_CPU_AVX2, "AVX2"},
                 {SN_CPU_FMA, "FMA"},
                 {SN_CPU_AVX512, "AVX-512 (F BW DQ VL CD)"},
                 {SN_CPU_BF16, "AVX512-BF16"}};
    uint32_t missing = need & ~sn_cpu_features();
    text[0] = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t used = strlen(text);
        if (missing & names[i].bit)
            snprintf(text + used, size - used, "%s%s", used ? " and " : "", names[i].name);
    }
}

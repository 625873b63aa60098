// vdpbf16ps where the processor has AVX-512 but not this instruction: the trap is caught, the instruction
// carried out on the registers that the signal saved, by `pair_sum`, and skipped. So generated code that
// holds it is run, slowly, on machines without it. Needs _GNU_SOURCE.
//
// EVEX.512.F3.0F38.W0 52 /r, without mask: zmm1 += pairs of zmm2 with zmm3, memory, or one word of memory.
// Layout of what is saved: Intel's manual, volume 1, chapter 13 (XSAVE, standard form).
#pragma once
#include <cpuid.h>
#include <immintrin.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

typedef float PairSum(uint32_t a, uint32_t b, float chain);
static PairSum *trap_sum;
static long trap_count;

enum { TRAP_FXSAVE = 512, TRAP_XMM = 160, TRAP_AVX = 2, TRAP_ZMM = 6, TRAP_ZMM16 = 7 };

static unsigned char *trap_component(unsigned char *area, uint32_t number) {
    uint32_t a, b, c, d;
    __cpuid_count(0xd, number, a, b, c, d);
    area[TRAP_FXSAVE] |= (unsigned char)(1u << number); // it holds something from now on
    return area + b;
}

// Registers 0 to 15 lie in three pieces.
static void trap_move(unsigned char *area, uint32_t reg, float *value, bool store) {
    unsigned char *piece[3] = {area + TRAP_XMM + reg * 16,
                               trap_component(area, TRAP_AVX) + reg * 16,
                               trap_component(area, TRAP_ZMM) + reg * 32};
    const size_t bytes[3] = {16, 16, 32};
    unsigned char *high = trap_component(area, TRAP_ZMM16) + (reg - 16) * 64, *at = (void *)value;
    if (reg >= 16) {
        memcpy(store ? high : at, store ? at : high, 64);
        return;
    }
    for (int i = 0; i < 3; at += bytes[i++])
        memcpy(store ? piece[i] : at, store ? at : piece[i], bytes[i]);
}

static greg_t trap_register(const greg_t *r, uint32_t number) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return r[order[number]];
}

// The address of a memory operand; *p: behind it. unit: of a displacement of one byte.
static const float *trap_address(const greg_t *r, const unsigned char **p, uint32_t p0, int unit) {
    const unsigned char *c = *p;
    uint32_t mod = c[0] >> 6, rm = c[0] & 7, base = rm | (~p0 >> 5 & 1) << 3;
    greg_t at = 0;
    c++;
    if (rm == 4) {
        uint32_t index = (*c >> 3 & 7) | (~p0 >> 6 & 1) << 3, scale = *c >> 6;
        base = (*c & 7) | (~p0 >> 5 & 1) << 3;
        if (index != 4) at = trap_register(r, index) << scale;
        c++;
    }
    int32_t far = 0;
    if (mod == 1) far = (int8_t)*c++ * unit;
    if (mod == 2 || (mod == 0 && (base & 7) == 5)) memcpy(&far, c, 4), c += 4;
    if (mod || (base & 7) != 5) at += trap_register(r, base);
    *p = c;
    return (const float *)(at + far);
}

static void trap(int signal_, siginfo_t *info, void *context) {
    (void)info;
    ucontext_t *u = context;
    greg_t *r = u->uc_mcontext.gregs;
    const unsigned char *c = (const unsigned char *)r[REG_RIP];
    unsigned char *area = (void *)u->uc_mcontext.fpregs;
    uint32_t p0 = c[1], p1 = c[2], p2 = c[3];
    if (c[0] != 0x62 || (p0 & 7) != 2 || (p1 & 0x87) != 6 || (p2 & 0xe7) != 0x40 || c[4] != 0x52) {
        signal(signal_, SIG_DFL); // another one
        return;
    }
    uint32_t to = (c[5] >> 3 & 7) | (~p0 >> 7 & 1) << 3 | (~p0 >> 4 & 1) << 4;
    uint32_t first = (~p1 >> 3 & 15) | (~p2 >> 3 & 1) << 4;
    float chain[16], a[16], b[16];
    trap_move(area, to, chain, false), trap_move(area, first, a, false);
    const unsigned char *end = c + 5;
    if (*end >> 6 == 3) {
        trap_move(area, (*end & 7) | (~p0 >> 5 & 1) << 3 | (~p0 >> 6 & 1) << 4, b, false);
        end++;
    } else {
        bool one = p2 >> 4 & 1;
        const float *from = trap_address(r, &end, p0, one ? 4 : 64);
        for (int i = 0; i < 16; i++) memcpy(&b[i], from + (one ? 0 : i), 4);
    }
    for (int i = 0; i < 16; i++) {
        uint32_t x, y;
        memcpy(&x, &a[i], 4), memcpy(&y, &b[i], 4);
        chain[i] = trap_sum(x, y, chain[i]);
    }
    trap_move(area, to, chain, true);
    r[REG_RIP] = (greg_t)end;
    trap_count++;
}

// From now on; false where it cannot be: the processor has no AVX-512.
static bool trap_pairs(PairSum *sum) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f")) return false;
    trap_sum = sum;
    struct sigaction act = {.sa_sigaction = trap, .sa_flags = SA_SIGINFO};
    return sigaction(SIGILL, &act, NULL) == 0;
}

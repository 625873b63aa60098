// Operands of the conformance suite. The first 256 elements are all pairs of 16 edge values of the
// operand's type, the rest are random: bits, small numbers, numbers near one. Where PTX leaves an
// instruction undefined or promises no accuracy, operands keep away.
#include "tools/conformance.h"
#include <string.h>

enum { EDGES = 16 };

static const uint16_t edge16[EDGES] = {
    0, 1, 2, 7, 15, 16, 31, 0x00ff, 0x0100, 0x7f80, 0x7bff, 0x7c00, 0x7fff, 0x8000, 0xfffe, 0xffff};
static const uint32_t edge32[EDGES] = {
    0,       1,          2,          31,         32,         33,         0xff,       0xffff,
    0x10000, 0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0xffff0000, 0xfffffffe, 0xffffffff};
static const uint64_t edge64[EDGES] = {0,
                                       1,
                                       2,
                                       63,
                                       64,
                                       0xffffffff,
                                       0x100000000,
                                       0x7fffffff,
                                       0x80000000,
                                       0x7ffffffffffffffe,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0x8000000000000001,
                                       0xffffffff00000000,
                                       0xfffffffffffffffe,
                                       0xffffffffffffffff};
// zeros, ones, subnormals, the least and largest normal numbers, infinities, NaN, halves, 2^31
static const uint32_t edge_f[EDGES] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff, 0x00800000, 0x80800000,
    0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x3f000000, 0x40200000, 0x4f000000};
static const uint64_t edge_d[EDGES] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
    0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000, 0x8010000000000000,
    0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
    0x7ff8000000000000, 0x3fe0000000000000, 0x4004000000000000, 0x41e0000000000000};

// splitmix64 (Steele, Lea, Flood, 2014).
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t bits_f(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static uint64_t bits_d(double d) {
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

static uint64_t edge(char type, uint32_t at) {
    switch (type) {
    case 'h': return edge16[at];
    case 'w': return edge32[at];
    case 'l': return edge64[at];
    case 'f': return edge_f[at];
    case 'd': return edge_d[at];
    default: return at & 1;
    }
}

static uint64_t random_value(char type, uint64_t r) {
    bool near = r & 1, small = r >> 1 & 1;
    double x = ((double)(r >> 11) * 0x1p-53 - 0.5) * 8; // in [-4, 4)
    switch (type) {
    case 'h': return small ? r >> 8 & 31 : r >> 8 & 0xffff;
    case 'w': return small ? r >> 8 & 63 : r >> 8 & 0xffffffff;
    case 'l': return small ? r >> 8 & 127 : mix(r);
    case 'f': return near ? bits_f((float)x) : r >> 8 & 0xffffffff;
    case 'd': return near ? bits_d(x) : mix(r);
    default: return r >> 8 & 1;
    }
}

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

// Whether the instruction is undefined, or promises nothing, for this value of an operand.
static bool avoided(const UnitCase *c, uint32_t operand, uint64_t v) {
    const char *n = c->name;
    bool whole = strchr("hwl", c->operands[operand]) != NULL;
    if (whole && operand == 1 && (begins(n, "div") || begins(n, "rem"))) {
        uint64_t ones = c->operands[1] == 'h'   ? 0xffff
                        : c->operands[1] == 'w' ? UINT32_MAX
                                                : UINT64_MAX;
        return v == 0 || v == ones; // by zero, or the least number by -1
    }
    float f;
    uint32_t low = (uint32_t)v;
    memcpy(&f, &low, sizeof f);
    float size = f < 0 ? -f : f;
    if (begins(n, "div.approx") || begins(n, "div.full"))
        return !(size > 0x1p-40f && size < 0x1p40f);
    if (begins(n, "sin") || begins(n, "cos")) return !(size <= 3.14f);
    return false;
}

uint64_t suite_input(const UnitCase *c, uint32_t operand, uint32_t i) {
    static const uint32_t steps[MAX_OPERANDS] = {1, EDGES, 7, 11};
    char type = c->operands[operand];
    uint32_t place = operand == 1 ? i / EDGES : i * steps[operand];
    uint64_t r = mix((uint64_t)c->entry << 32 | operand << 16 | i);
    uint64_t v = i < EDGES * EDGES ? edge(type, place % EDGES) : random_value(type, r);
    // a shuffle's segments and clamp: five bits each
    if (begins(c->name, "shfl") && operand == 2) return v & 0x1f1f;
    while (avoided(c, operand, v)) v = random_value(type, r = mix(r));
    return v;
}

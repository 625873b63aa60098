// Floats of fewer bits than an f32: their values, and the nearest of a number. BF16 is the upper half of an
// f32, F8_E5M2 that of an F16. F8_E4M3 is the one without infinities (arXiv:2209.05433): exponent bias 7,
// all ones is a NaN.
//
// Why here: files and run scalars need them, which kernels do not touch. Kernels round by ir/scalar_math.c;
// tests/unit/test_narrow.c holds the two against each other.
#pragma once
#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

// Of a float of fewer bits: the exponent with another bias, or where it is 0, the fraction alone. Without
// branches, which gcc makes no vectors of.
static inline float float_of_parts(uint32_t sign, uint32_t exponent, uint32_t bias,
                                   uint32_t fraction, float subnormal) {
    uint32_t normal = (exponent + bias) << 23 | fraction, mask = 0 - (uint32_t)(exponent != 0);
    return float_of_bits(sign << 31 | (normal & mask) | (bits_of_float(subnormal) & ~mask));
}

// All ones, infinity or NaN, stay all ones.
static inline float float_of_half(uint16_t x) {
    uint32_t exponent = x >> 10 & 31, fraction = x & 0x3ff, ones = exponent == 31;
    return float_of_parts(x >> 15, exponent, 127 - 15 + ones * (255 - 127 - 16), fraction << 13,
                          (float)(int32_t)fraction * 0x1p-24f);
}

static inline float float_of_bfloat(uint16_t x) { return float_of_bits((uint32_t)x << 16); }
static inline float float_of_e5m2(uint8_t x) { return float_of_half((uint16_t)(x << 8)); }

static inline float float_of_e4m3(uint8_t x) {
    uint32_t exponent = x >> 3 & 15, fraction = x & 7, nan = (x & 0x7f) == 0x7f;
    return float_of_parts(x >> 7, exponent, 127 - 7 + nan * (255 - 127 - 8), fraction << 20,
                          (float)(int32_t)fraction * 0x1p-9f);
}

// Of the last bits that go, half and more rounds up, half itself to even; a carry goes into the exponent.
static inline uint32_t nearest_even(uint32_t bits, uint32_t drop) {
    return (bits + (1u << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop;
}

// What TF32 keeps: 11 bits, halves away from zero, as PTX's cvt.rna.tf32.f32.
static inline float tf32_of_float(float x) {
    return x != x ? x : float_of_bits((bits_of_float(x) + 0x1000) & 0xffffe000);
}

static inline uint16_t bfloat_of_float(float x) {
    return x != x ? 0x7fc0 : (uint16_t)nearest_even(bits_of_float(x), 16);
}

// Beyond 65504, half a unit of the last place allowed, infinity. Below 2^-14 adding 1/2 leaves a whole
// number of units of 2^-24.
static inline uint16_t half_of_float(float x) {
    uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7e00;
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000)
        return (uint16_t)(sign | (bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (nearest_even(magnitude, 13) - ((127 - 15) << 10)));
}

// Below the least normal number a whole number of units, as above: `step` has the unit of the result.
static inline uint8_t byte_of_float(float x, uint32_t drop, float least, float step, float most,
                                    uint32_t bias) {
    uint32_t sign = bits_of_float(x) >> 24 & 0x80;
    float a = float_of_bits(bits_of_float(x) & 0x7fffffff);
    if (a != a) return (uint8_t)(sign | 0x7f);
    if (a > most) a = most;
    if (a < least) return (uint8_t)(sign | (bits_of_float(a + step) - bits_of_float(step)));
    uint32_t y = nearest_even(bits_of_float(a), drop) - ((127 - bias) << (23 - drop));
    return (uint8_t)(sign | y);
}

// Both saturate; the cut to the largest comes first, so that nothing rounds beyond it.
static inline uint8_t e4m3_of_float(float x) {
    return byte_of_float(x, 20, 0x1p-6f, 0x1p14f, 448, 7);
}
static inline uint8_t e5m2_of_float(float x) {
    return byte_of_float(x, 21, 0x1p-14f, 0x1p7f, 57344, 15);
}

// See convert.h. A loop goes over all elements without leaving it, so that compilers make vectors of it;
// only when some element was refused, a second one looks for the first.
//
// The small floats: BF16 is the upper half of an f32, F8_E5M2 that of an F16. F8_E4M3 is the one without
// infinities (arXiv:2209.05433): exponent bias 7, all ones is a NaN.
#include "runtime/files/convert.h"
#include "runtime/elem.h"
#include <math.h>
#include <stdio.h>
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

// Beyond i64 is beyond every limit.
static inline int64_t whole_signed(int64_t x) { return x; }
static inline int64_t whole_unsigned(uint64_t x) { return x > INT64_MAX ? INT64_MAX : (int64_t)x; }

// ---- loops --------------------------------------------------------------------------------------

#define AS_IS(x) (x)
// NAME: of the loop. MAKE: the element made of x[i]. REFUSED: of the same.
#define LOOP(name, type, result, make, refused)                                                    \
    static int64_t name(const void *from, int64_t n, int64_t least, int64_t most, void *to) {      \
        const type *x = from;                                                                      \
        result *y = to;                                                                            \
        int bad = 0;                                                                               \
        (void)least, (void)most;                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            y[i] = (result)(make);                                                                 \
            bad |= (refused);                                                                      \
        }                                                                                          \
        for (int64_t i = 0; bad && i < n; i++)                                                     \
            if (refused) return i;                                                                 \
        return n;                                                                                  \
    }
#define INTEGER(name, type, sign)                                                                  \
    LOOP(name##_real, type, float, x[i], 0)                                                        \
    LOOP(name##_int, type, uint32_t, whole_##sign(x[i]),                                           \
         (whole_##sign(x[i]) < least) | (whole_##sign(x[i]) > most))                               \
    LOOP(name##_bool, type, unsigned char, x[i] != 0, (x[i] != 0) & (x[i] != 1))
#define FLOAT(name, type, value)                                                                   \
    LOOP(name##_real, type, float, value(x[i]), isinf((float)value(x[i])) && !isinf(value(x[i])))  \
    LOOP(name##_bool, type, unsigned char, value(x[i]) != 0,                                       \
         !((value(x[i]) == 0) | (value(x[i]) == 1)))
#define OPAQUE(name, bytes)
#include "runtime/dtypes.def"
#undef INTEGER
#undef FLOAT
#undef OPAQUE

static const struct {
    const char *name;
    SnConvert *to[SN_KINDS];
} rows[] = {
#define INTEGER(name, type, sign) {#name, {name##_real, name##_int, name##_int, name##_bool}},
#define FLOAT(name, type, value)  {#name, {name##_real, NULL, NULL, name##_bool}},
#define OPAQUE(name, bytes)
#include "runtime/dtypes.def"
#undef INTEGER
#undef FLOAT
#undef OPAQUE
};

SnConvert *sn_convert_find(const char *dtype, uint32_t elem) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows && elem < SN_ELEMS; i++)
        if (!strcmp(rows[i].name, dtype)) return rows[i].to[sn_elem_info[elem].kind];
    return NULL;
}

const char *sn_convert_fits(uint32_t elem) {
#define INTEGER(name, type, sign) " " #name
#define FLOAT(name, type, value)
#define OPAQUE(name, bytes)
    static const char whole[] =
#include "runtime/dtypes.def"
        ;
#undef FLOAT
#define FLOAT(name, type, value) " " #name
    static const char all[] =
#include "runtime/dtypes.def"
        ;
#undef INTEGER
#undef FLOAT
#undef OPAQUE
    uint32_t kind = sn_elem_info[elem].kind;
    return 1 + (kind == SN_KIND_INT || kind == SN_KIND_UINT ? whole : all);
}

void sn_convert_text(const char *dtype, const void *element, char *to, size_t size) {
    *to = 0;
#define INTEGER(name, type, sign)                                                                  \
    if (!strcmp(dtype, #name))                                                                     \
        snprintf(to, size, PRINT_##sign, (WIDE_##sign) * (const type *)element);
#define FLOAT(name, type, value)                                                                   \
    if (!strcmp(dtype, #name)) snprintf(to, size, "%.9g", (double)value(*(const type *)element));
#define OPAQUE(name, bytes)
#define PRINT_signed   "%lld"
#define PRINT_unsigned "%llu"
#define WIDE_signed    long long
#define WIDE_unsigned  unsigned long long
#include "runtime/dtypes.def"
#undef INTEGER
#undef FLOAT
#undef OPAQUE
}

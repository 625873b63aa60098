// See convert.h. A loop goes over all elements without leaving it, so that compilers make vectors of it;
// only when some element was refused, a second one looks for the first.
#include "runtime/files/convert.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

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

// What is for storage is taken from a file of the same type only, as it is: it is not to be rounded unseen.
static bool is_narrow(uint32_t elem) {
    uint32_t kind = sn_elem_info[elem].kind, whole = kind == SN_KIND_BOOL ? 1 : 4;
    return sn_elem_info[elem].bytes < whole;
}
LOOP(two_bytes, uint16_t, uint16_t, x[i], 0)
LOOP(one_byte, uint8_t, uint8_t, x[i], 0)

SnConvert *sn_convert_find(const char *dtype, uint32_t elem) {
    if (elem >= SN_ELEMS) return NULL;
    if (is_narrow(elem))
        return strcmp(dtype, sn_elem_info[elem].dtype) ? NULL
               : sn_elem_info[elem].bytes == 2         ? two_bytes
                                                       : one_byte;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
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
    if (is_narrow(elem)) return sn_elem_info[elem].dtype;
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

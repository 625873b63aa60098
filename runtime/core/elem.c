// See elem.h. A type of four bytes or less: a double holds each of its values.
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <math.h>
#include <string.h>

enum {
#define INTEGER(dtype, type, sign) BYTES_##dtype = sizeof(type),
#define FLOAT(dtype, type, value)  BYTES_##dtype = sizeof(type),
#define OPAQUE(dtype, bytes)
#include "runtime/dtypes.def"
#undef INTEGER
#undef FLOAT
#undef OPAQUE
};

const SnElemInfo sn_elem_info[SN_ELEMS] = {
#define SN_ELEMENT(name, dtype, kind) {#name, #dtype, BYTES_##dtype, SN_KIND_##kind},
#include "runtime/elem.def"
#undef SN_ELEMENT
};

// The f32 that a narrower float is rounded from, so that it is rounded once: towards zero, the last bit set
// where something is lost.
static float to_odd(double value) {
    float f = (float)value;
    if ((double)f == value || f != f) return f;
    uint32_t bits = bits_of_float(f);
    if (fabs((double)f) > fabs(value)) bits--;
    return float_of_bits(bits | 1);
}

void sn_elem_set(uint32_t elem, void *to, double value) {
    if (value != value) value = 0; // converting it would be undefined
    float f = (float)value;
    int32_t i = value >= INT32_MAX ? INT32_MAX : value <= INT32_MIN ? INT32_MIN : (int32_t)value;
    uint32_t u = value >= UINT32_MAX ? UINT32_MAX : value <= 0 ? 0 : (uint32_t)value;
    unsigned char b = value != 0;
    float odd = to_odd(value);
    uint16_t bf = bfloat_of_float(odd), h = half_of_float(odd);
    uint8_t e4 = e4m3_of_float(odd), e5 = e5m2_of_float(odd);
    int8_t c = (int8_t)(i > INT8_MAX ? INT8_MAX : i < INT8_MIN ? INT8_MIN : i);
    const void *from[] = {[SN_ELEM_f32] = &f,     [SN_ELEM_i32] = &i,     [SN_ELEM_u32] = &u,
                          [SN_ELEM_bool] = &b,    [SN_ELEM_bf16] = &bf,   [SN_ELEM_f16] = &h,
                          [SN_ELEM_f8e4m3] = &e4, [SN_ELEM_f8e5m2] = &e5, [SN_ELEM_i8] = &c};
    _Static_assert(sizeof from / sizeof *from == SN_ELEMS, "of each element type");
    memcpy(to, from[elem], sn_elem_info[elem].bytes);
}

double sn_elem_get(uint32_t elem, const void *from) {
    float f;
    int32_t i;
    uint32_t u;
    uint16_t h;
    switch ((SnElem)elem) {
    case SN_ELEM_f32: memcpy(&f, from, sizeof f); return (double)f;
    case SN_ELEM_i32: memcpy(&i, from, sizeof i); return (double)i;
    case SN_ELEM_u32: memcpy(&u, from, sizeof u); return (double)u;
    case SN_ELEM_bf16: memcpy(&h, from, sizeof h); return (double)float_of_bfloat(h);
    case SN_ELEM_f16: memcpy(&h, from, sizeof h); return (double)float_of_half(h);
    case SN_ELEM_f8e4m3: return (double)float_of_e4m3(*(const uint8_t *)from);
    case SN_ELEM_f8e5m2: return (double)float_of_e5m2(*(const uint8_t *)from);
    case SN_ELEM_i8: return *(const int8_t *)from;
    case SN_ELEM_bool:
    case SN_ELEMS: break;
    }
    return *(const unsigned char *)from != 0;
}

void sn_elem_fill(uint32_t elem, void *to, int64_t n, double value) {
    size_t done = sn_elem_info[elem].bytes, all = (size_t)n * done, more;
    if (!n) return;
    sn_elem_set(elem, to, value);
    for (; done < all; done += more) {
        more = all - done < done ? all - done : done;
        memcpy((char *)to + done, to, more);
    }
}

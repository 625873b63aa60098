// Conversions. aux says from what to what, see ops.h.
#include "runtime/emulator/engine/lanes.h"

static inline uint32_t field(const Insn *i, int at, uint32_t mask) { return i->aux >> at & mask; }

// ---- integers -----------------------------------------------------------------------------------

// A value of 64 bits as an integer of 8 << width bits.
static inline uint64_t narrow(uint64_t v, uint32_t width, bool sign) {
    switch (width) {
    case 0: return sign ? (uint64_t)(int8_t)v : (uint8_t)v;
    case 1: return sign ? (uint64_t)(int16_t)v : (uint16_t)v;
    case 2: return sign ? (uint64_t)(int32_t)v : (uint32_t)v;
    default: return v;
    }
}

// from_signed: v is to be read as signed.
static inline uint64_t saturate(uint64_t v, bool from_signed, uint32_t width, bool sign) {
    bool negative = from_signed && (int64_t)v < 0;
    if (!sign) {
        uint64_t max = narrow(UINT64_MAX, width, false);
        return negative ? 0 : v > max ? max : v;
    }
    int64_t max = (int64_t)(UINT64_MAX >> (65 - (8u << width))), min = -max - 1;
    if (negative) return (uint64_t)((int64_t)v < min ? min : (int64_t)v);
    return v > (uint64_t)max ? (uint64_t)max : v;
}

static inline void put_int(const Insn *i, void *d, int k, uint64_t v) {
    uint32_t reg = field(i, CVT_REG, 3);
    v = narrow(v, field(i, CVT_TO, 3), field(i, CVT_TO_SIGNED, 1));
    v = narrow(v, reg, false);
    if (reg == 3)
        ((u64a *)d)[k] = v;
    else
        ((u32a *)d)[k] = (uint32_t)v;
}
static inline uint64_t get_int(const Insn *i, const void *x, int k) {
    uint32_t width = field(i, CVT_FROM, 3);
    uint64_t v = width == 3 ? ((const u64a *)x)[k] : ((const u32a *)x)[k];
    return narrow(v, width, field(i, CVT_FROM_SIGNED, 1));
}

void op_cvt_int(Cx *c, const Insn *i) {
    const void *x = place(c, i->r[1]);
    void *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) {
        uint64_t v = get_int(i, x, k);
        if (field(i, CVT_SAT, 1))
            v = saturate(v, field(i, CVT_FROM_SIGNED, 1), field(i, CVT_TO, 3),
                         field(i, CVT_TO_SIGNED, 1));
        put_int(i, d, k, v);
    }
}

// The frequent ones.
void op_cvt_l_w(Cx *c, const Insn *i) {
    L4 *d = place(c, i->r[0]);
    const U4 *x = place(c, i->r[1]);
    for (int k = 0; k < 8; k++) d[k] = __builtin_convertvector(x[k], L4);
}
void op_cvt_l_sw(Cx *c, const Insn *i) {
    S4 *d = place(c, i->r[0]);
    const I4 *x = place(c, i->r[1]);
    for (int k = 0; k < 8; k++) d[k] = __builtin_convertvector(x[k], S4);
}
SCALAR1(op_cvt_w_l, u32a, u64a, a)

// ---- floating point to integer ------------------------------------------------------------------

static inline double whole(double v, Rounding how) {
    switch (how) {
    case ROUND_rz: return trunc(v);
    case ROUND_rm: return floor(v);
    case ROUND_rp: return ceil(v);
    case ROUND_none:
    case ROUND_rn:
    case ROUND_rna: return rint(v);
    }
    return v;
}

// Out of range is clamped. A NaN is 0, or the integer with only the highest bit set when f64 or 64
// bits are involved. `wide`: the source is f64.
static inline uint64_t integer_of(const Insn *i, double v, bool wide) {
    uint32_t width = field(i, CVT_TO, 3), bits = 8u << width;
    bool sign = field(i, CVT_TO_SIGNED, 1);
    if (v != v) return wide || width == 3 ? UINT64_C(1) << (bits - 1) : 0;
    v = whole(v, (Rounding)field(i, CVT_INTEGER_ROUND, 15));
    double high = ldexp(1, sign ? (int)bits - 1 : (int)bits);
    if (v >= high) return sign ? (UINT64_C(1) << (bits - 1)) - 1 : narrow(UINT64_MAX, width, false);
    if (!sign) return v <= 0 ? 0 : (uint64_t)v;
    return v <= -high ? UINT64_C(0) - (UINT64_C(1) << (bits - 1)) : (uint64_t)(int64_t)v;
}
void op_cvt_f_int(Cx *c, const Insn *i) {
    const f32a *x = place(c, i->r[1]);
    void *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) put_int(i, d, k, integer_of(i, (double)x[k], false));
}
void op_cvt_d_int(Cx *c, const Insn *i) {
    const f64a *x = place(c, i->r[1]);
    void *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) put_int(i, d, k, integer_of(i, x[k], true));
}

// To s32: the machine's conversion gives INT_MIN for what does not fit.
static inline U8 fix_s32(F8 a, __m256i r) {
    U8 v = select8(a >= 0x1p31f, (U8){0} + INT32_MAX, (U8)r);
    return v & (U8)(a == a);
}
VECTOR1(op_cvt_s32_rz, F8, 4, fix_s32(a, _mm256_cvttps_epi32((__m256)a)))
VECTOR1(op_cvt_s32_rn, F8, 4, fix_s32(a, _mm256_cvtps_epi32((__m256)a)))

// ---- integer to floating point ------------------------------------------------------------------

// The rounding mode is set by op_rounded. Up to 32 bits a double holds the integer exactly; the
// machine converts signed 64 bits; unsigned ones with the highest bit set are halved, keeping the
// last bit's part in the rounding, and doubled.
static inline float float_of_u64(uint64_t v) {
    if (v >> 63) return (float)(int64_t)(v >> 1 | (v & 1)) * 2.0f;
    return (float)(int64_t)v;
}
static inline double double_of_u64(uint64_t v) {
    if (v >> 63) return (double)(int64_t)(v >> 1 | (v & 1)) * 2.0;
    return (double)(int64_t)v;
}
void op_cvt_int_f(Cx *c, const Insn *i) {
    const void *x = place(c, i->r[1]);
    f32a *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) {
        uint64_t v = get_int(i, x, k);
        d[k] = field(i, CVT_FROM_SIGNED, 1) ? (float)(int64_t)v : float_of_u64(v);
    }
}
void op_cvt_int_d(Cx *c, const Insn *i) {
    const void *x = place(c, i->r[1]);
    f64a *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) {
        uint64_t v = get_int(i, x, k);
        d[k] = field(i, CVT_FROM_SIGNED, 1) ? (double)(int64_t)v : double_of_u64(v);
    }
}

// ---- between floating-point types ---------------------------------------------------------------

void op_cvt_d_f(Cx *c, const Insn *i) {
    const f32a *x = place(c, i->r[1]);
    f64a *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) d[k] = (double)x[k];
}
void op_cvt_f_d(Cx *c, const Insn *i) {
    const f64a *x = place(c, i->r[1]);
    f32a *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) d[k] = (float)x[k];
}
#define NO_EXCEPTIONS _MM_FROUND_NO_EXC
void op_cvt_f_f(Cx *c, const Insn *i) {
    F8 *d = place(c, i->r[0]);
    const F8 *x = place(c, i->r[1]);
    for (int k = 0; k < 4; k++) {
        __m256 a = (__m256)x[k], r = a;
        switch ((Rounding)field(i, CVT_INTEGER_ROUND, 15)) {
        case ROUND_none: break;
        case ROUND_rna:
        case ROUND_rn: r = _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | NO_EXCEPTIONS); break;
        case ROUND_rz: r = _mm256_round_ps(a, _MM_FROUND_TO_ZERO | NO_EXCEPTIONS); break;
        case ROUND_rm: r = _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | NO_EXCEPTIONS); break;
        case ROUND_rp: r = _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | NO_EXCEPTIONS); break;
        }
        d[k] = (F8)r;
    }
}
void op_cvt_d_d(Cx *c, const Insn *i) {
    const f64a *x = place(c, i->r[1]);
    f64a *d = place(c, i->r[0]);
    Rounding how = (Rounding)field(i, CVT_INTEGER_ROUND, 15);
    for (int k = 0; k < LANES; k++) d[k] = how == ROUND_none ? x[k] : whole(x[k], how);
}

// f32 to bf16 or f16 by bits: to nearest even or towards zero.
static inline uint32_t to_bf16(uint32_t u, bool nearest) {
    if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (nearest ? u + 0x7fff + (u >> 16 & 1) : u) >> 16;
}
static inline uint32_t to_f16(float f, bool nearest) {
    if (f != f) return 0x7fff;
    __m128 v = _mm_set_ss(f);
    __m128i r = nearest ? _mm_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | NO_EXCEPTIONS)
                        : _mm_cvtps_ph(v, _MM_FROUND_TO_ZERO | NO_EXCEPTIONS);
    return (uint32_t)_mm_cvtsi128_si32(r) & 0xffff;
}
static inline uint32_t to_half(const Insn *i, uint32_t u) {
    bool nearest = field(i, AUX_ROUND, 15) != ROUND_rz;
    return field(i, CVT_BF16, 1) ? to_bf16(u, nearest) : to_f16(float_of(u), nearest);
}
SCALAR1(op_cvt_half_f, u32a, u32a, to_half(i, a))
// The second operand goes to the lower half.
SCALAR2(op_cvt_half2, u32a, u32a, u32a, to_half(i, a) << 16 | to_half(i, b))

static inline float half_of(const Insn *i, uint32_t h) {
    if (field(i, CVT_BF16, 1)) return float_of(h << 16);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128((int)(h & 0xffff))));
}
SCALAR1(op_cvt_f_half, f32a, u32a, half_of(i, a))

// Integers, bits, moves and comparisons of integers. Registers of 16 bits hold their value
// zero-extended in 32, and every instruction that writes one keeps it so.
#include "runtime/emulator/engine/lanes.h"

__extension__ typedef unsigned __int128 Wide;
__extension__ typedef __int128 WideS;
#define LOW16 0xffffu

static inline int32_t s16(uint32_t a) { return (int16_t)(uint16_t)a; }
static inline uint32_t mulhi_s(int32_t a, int32_t b) { return (uint32_t)(((int64_t)a * b) >> 32); }
static inline uint32_t mulhi_u(uint32_t a, uint32_t b) {
    return (uint32_t)(((uint64_t)a * b) >> 32);
}
static inline uint64_t mulhi_ul(uint64_t a, uint64_t b) { return (uint64_t)((Wide)a * b >> 64); }
static inline uint64_t mulhi_sl(int64_t a, int64_t b) {
    return (uint64_t)((Wide)((WideS)a * b) >> 64);
}

// ---- sums and products --------------------------------------------------------------------------

VECTOR2(op_add_h, U8, 4, (a + b) & LOW16)
VECTOR2(op_add_w, U8, 4, a + b)
VECTOR2(op_add_l, L4, 8, a + b)
VECTOR2(op_sub_h, U8, 4, (a - b) & LOW16)
VECTOR2(op_sub_w, U8, 4, a - b)
VECTOR2(op_sub_l, L4, 8, a - b)
VECTOR2(op_mul_h, U8, 4, (a * b) & LOW16)
VECTOR2(op_mul_w, U8, 4, a *b)
VECTOR2(op_mul_l, L4, 8, a *b)
VECTOR3(op_mad_h, U8, 4, (a * b + e) & LOW16)
VECTOR3(op_mad_w, U8, 4, a *b + e)
VECTOR3(op_mad_l, L4, 8, a *b + e)

static inline int32_t clamp32(int64_t v) {
    return (int32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
}
SCALAR2(op_add_sat, s32a, s32a, s32a, clamp32((int64_t)a + b))
SCALAR2(op_sub_sat, s32a, s32a, s32a, clamp32((int64_t)a - b))
SCALAR2(op_mul_hi_u16, u32a, u32a, u32a, (a * b) >> 16)
SCALAR2(op_mul_hi_s16, u32a, u32a, u32a, ((uint32_t)(s16(a) * s16(b)) >> 16) & LOW16)
SCALAR2(op_mul_hi_s32, u32a, s32a, s32a, mulhi_s(a, b))
SCALAR2(op_mul_hi_u64, u64a, u64a, u64a, mulhi_ul(a, b))
SCALAR2(op_mul_hi_s64, u64a, s64a, s64a, mulhi_sl(a, b))
SCALAR2(op_mul_wide_u16, u32a, u32a, u32a, a *b)
SCALAR2(op_mul_wide_s16, s32a, u32a, u32a, s16(a) * s16(b))
SCALAR2(op_mul24_u32, u32a, u32a, u32a, (a & 0xffffff) * (b & 0xffffff))
SCALAR2(op_mul24_s32, u32a, u32a, u32a,
        (uint32_t)((int32_t)(a << 8) >> 8) * (uint32_t)((int32_t)(b << 8) >> 8))
SCALAR3(op_mad_hi_u32, u32a, u32a, u32a, u32a, mulhi_u(a, b) + e)
SCALAR3(op_mad_hi_s32, u32a, s32a, s32a, u32a, mulhi_s(a, b) + e)
SCALAR3(op_mad_hi_u64, u64a, u64a, u64a, u64a, mulhi_ul(a, b) + e)
SCALAR3(op_mad_hi_s64, u64a, s64a, s64a, u64a, mulhi_sl(a, b) + e)
SCALAR3(op_mad_wide_u16, u32a, u32a, u32a, u32a, a *b + e)
SCALAR3(op_mad_wide_s16, u32a, u32a, u32a, u32a, (uint32_t)(s16(a) * s16(b)) + e)
SCALAR3(op_sad_u32, u32a, u32a, u32a, u32a, e + (a > b ? a - b : b - a))
SCALAR3(op_sad_s32, u32a, s32a, s32a, u32a,
        e + (a > b ? (uint32_t)a - (uint32_t)b : (uint32_t)b - (uint32_t)a))
// Two halves of a times the two low bytes of b. NVRTC makes it of small indices.
SCALAR3(op_dp2a_lo_u, u32a, u32a, u32a, u32a,
        e + (a & LOW16) * (b & 255) + (a >> 16) * (b >> 8 & 255))

// Four bytes of a times the four of b.
SCALAR3(op_dp4a_u, u32a, u32a, u32a, u32a,
        e + (a & 255) * (b & 255) + (a >> 8 & 255) * (b >> 8 & 255) +
            (a >> 16 & 255) * (b >> 16 & 255) + (a >> 24) * (b >> 24))

// Eight lanes of a widening product at a time: even lanes and odd lanes, interleaved again.
static inline L4 widen_u(const uint32_t *x, const uint32_t *y) {
    __m256i a = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)x)),
            b = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)y));
    return (L4)_mm256_mul_epu32(a, b);
}
static inline L4 widen_s(const uint32_t *x, const uint32_t *y) {
    __m256i a = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)x)),
            b = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)y));
    return (L4)_mm256_mul_epi32(a, b);
}
#define WIDE(name, widen)                                                                          \
    void op_mul_##name(Cx *c, const Insn *i) {                                                     \
        L4 *d = place(c, i->r[0]);                                                                 \
        const uint32_t *x = place(c, i->r[1]), *y = place(c, i->r[2]);                             \
        for (int k = 0; k < 8; k++) d[k] = widen(x + 4 * k, y + 4 * k);                            \
    }                                                                                              \
    void op_mad_##name(Cx *c, const Insn *i) {                                                     \
        L4 *d = place(c, i->r[0]);                                                                 \
        const uint32_t *x = place(c, i->r[1]), *y = place(c, i->r[2]);                             \
        const L4 *z = place(c, i->r[3]);                                                           \
        for (int k = 0; k < 8; k++) d[k] = widen(x + 4 * k, y + 4 * k) + z[k];                     \
    }
WIDE(wide_u32, widen_u)
WIDE(wide_s32, widen_s)

void op_mul_hi_u32(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    const U8 *x = place(c, i->r[1]), *y = place(c, i->r[2]);
    for (int k = 0; k < 4; k++) {
        __m256i a = (__m256i)x[k], b = (__m256i)y[k];
        __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a, b), 32);
        __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
        d[k] = (U8)_mm256_blend_epi32(even, odd, 0xaa);
    }
}

// ---- with carry ---------------------------------------------------------------------------------

// All sums are a + b + carry; a difference adds the complement with the borrow turned over. The flag
// of a lane that is not active stays.
typedef enum { CARRY_none, CARRY_in = 1, CARRY_out = 2, CARRY_both = 3 } Carry;

static inline bool carry_of(const Cx *c, Carry how, bool minus, int k) {
    bool flag = how & CARRY_in && (c->warp->cc >> k & 1);
    return minus ? !flag : flag;
}
static inline void set_carry(Cx *c, uint32_t out, bool minus) {
    if (minus) out = ~out;
    c->warp->cc = (c->warp->cc & ~c->mask) | (out & c->mask);
}
static inline void sum_w(Cx *c, u32a *d, const u32a *x, const u32a *y, Carry how, bool minus) {
    uint32_t out = 0;
    for (int k = 0; k < LANES; k++) {
        uint64_t s = (uint64_t)x[k] + (minus ? ~y[k] : y[k]) + carry_of(c, how, minus, k);
        d[k] = (uint32_t)s;
        out |= (uint32_t)(s >> 32) << k;
    }
    if (how & CARRY_out) set_carry(c, out, minus);
}
static inline void sum_l(Cx *c, u64a *d, const u64a *x, const u64a *y, Carry how, bool minus) {
    uint32_t out = 0;
    for (int k = 0; k < LANES; k++) {
        Wide s = (Wide)x[k] + (minus ? ~y[k] : y[k]) + carry_of(c, how, minus, k);
        d[k] = (uint64_t)s;
        out |= (uint32_t)(s >> 64) << k;
    }
    if (how & CARRY_out) set_carry(c, out, minus);
}
#define SUM(name, how, minus)                                                                      \
    void op_##name##_w(Cx *c, const Insn *i) {                                                     \
        sum_w(c, place(c, i->r[0]), place(c, i->r[1]), place(c, i->r[2]), how, minus);             \
    }                                                                                              \
    void op_##name##_l(Cx *c, const Insn *i) {                                                     \
        sum_l(c, place(c, i->r[0]), place(c, i->r[1]), place(c, i->r[2]), how, minus);             \
    }
SUM(add_cc, CARRY_out, false)
SUM(addc, CARRY_in, false)
SUM(addc_cc, CARRY_both, false)
SUM(sub_cc, CARRY_out, true)
SUM(subc, CARRY_in, true)
SUM(subc_cc, CARRY_both, true)

#define MAD_W(name, product, how)                                                                  \
    void op_##name(Cx *c, const Insn *i) {                                                         \
        const u32a *x = place(c, i->r[1]), *y = place(c, i->r[2]);                                 \
        uint32_t t[LANES];                                                                         \
        for (int k = 0; k < LANES; k++) t[k] = product(x[k], y[k]);                                \
        sum_w(c, place(c, i->r[0]), t, place(c, i->r[3]), how, false);                             \
    }
#define MAD_L(name, product, how)                                                                  \
    void op_##name(Cx *c, const Insn *i) {                                                         \
        const u64a *x = place(c, i->r[1]), *y = place(c, i->r[2]);                                 \
        uint64_t t[LANES];                                                                         \
        for (int k = 0; k < LANES; k++) t[k] = product(x[k], y[k]);                                \
        sum_l(c, place(c, i->r[0]), t, place(c, i->r[3]), how, false);                             \
    }
static inline uint32_t mullo(uint32_t a, uint32_t b) { return a * b; }
static inline uint64_t mullo_l(uint64_t a, uint64_t b) { return a * b; }
MAD_W(mad_lo_cc_w, mullo, CARRY_out)
MAD_W(madc_lo_cc_w, mullo, CARRY_both)
MAD_W(madc_lo_w, mullo, CARRY_in)
MAD_W(mad_hi_cc_u32, mulhi_u, CARRY_out)
MAD_W(madc_hi_cc_u32, mulhi_u, CARRY_both)
MAD_W(madc_hi_u32, mulhi_u, CARRY_in)
MAD_L(mad_lo_cc_l, mullo_l, CARRY_out)
MAD_L(madc_lo_cc_l, mullo_l, CARRY_both)
MAD_L(madc_lo_l, mullo_l, CARRY_in)
MAD_L(mad_hi_cc_u64, mulhi_ul, CARRY_out)
MAD_L(madc_hi_cc_u64, mulhi_ul, CARRY_both)
MAD_L(madc_hi_u64, mulhi_ul, CARRY_in)

// ---- quotients ----------------------------------------------------------------------------------

// PTX leaves division by zero open; GPUs give all ones, and the dividend as remainder. The one
// signed quotient that does not fit wraps.
static inline int32_t div_s(int32_t a, int32_t b) {
    if (!b) return -1;
    return b == -1 ? (int32_t)(0 - (uint32_t)a) : a / b;
}
static inline int32_t rem_s(int32_t a, int32_t b) {
    if (!b) return a;
    return b == -1 ? 0 : a % b;
}
static inline int64_t div_sl(int64_t a, int64_t b) {
    if (!b) return -1;
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
static inline int64_t rem_sl(int64_t a, int64_t b) {
    if (!b) return a;
    return b == -1 ? 0 : a % b;
}
SCALAR2(op_div_u16, u32a, u32a, u32a, b ? a / b : LOW16)
SCALAR2(op_rem_u16, u32a, u32a, u32a, b ? a % b : a)
SCALAR2(op_div_s16, u32a, u32a, u32a, (uint32_t)div_s(s16(a), s16(b)) & LOW16)
SCALAR2(op_rem_s16, u32a, u32a, u32a, (uint32_t)rem_s(s16(a), s16(b)) & LOW16)
SCALAR2(op_div_u32, u32a, u32a, u32a, b ? a / b : UINT32_MAX)
SCALAR2(op_rem_u32, u32a, u32a, u32a, b ? a % b : a)
SCALAR2(op_div_s32, s32a, s32a, s32a, div_s(a, b))
SCALAR2(op_rem_s32, s32a, s32a, s32a, rem_s(a, b))
SCALAR2(op_div_u64, u64a, u64a, u64a, b ? a / b : UINT64_MAX)
SCALAR2(op_rem_u64, u64a, u64a, u64a, b ? a % b : a)
SCALAR2(op_div_s64, s64a, s64a, s64a, div_sl(a, b))
SCALAR2(op_rem_s64, s64a, s64a, s64a, rem_sl(a, b))

// ---- sign, extrema ------------------------------------------------------------------------------

VECTOR1(op_neg_s16, U8, 4, (0u - a) & LOW16)
VECTOR1(op_neg_s32, U8, 4, 0u - a)
VECTOR1(op_neg_s64, L4, 8, UINT64_C(0) - a)
SCALAR1(op_abs_s16, u32a, u32a, (uint32_t)(s16(a) < 0 ? -s16(a) : s16(a)) & LOW16)
SCALAR1(op_abs_s32, u32a, u32a, (int32_t)a < 0 ? 0 - a : a)
SCALAR1(op_abs_s64, u64a, u64a, (int64_t)a < 0 ? 0 - a : a)
SCALAR2(op_min_s16, u32a, u32a, u32a, s16(a) < s16(b) ? a : b)
SCALAR2(op_max_s16, u32a, u32a, u32a, s16(a) > s16(b) ? a : b)
VECTOR2(op_min_u32, U8, 4, select8(a < b, a, b))
VECTOR2(op_max_u32, U8, 4, select8(a > b, a, b))
VECTOR2(op_min_s32, U8, 4, select8((I8)a < (I8)b, a, b))
VECTOR2(op_max_s32, U8, 4, select8((I8)a > (I8)b, a, b))
SCALAR2(op_min_u64, u64a, u64a, u64a, a < b ? a : b)
SCALAR2(op_max_u64, u64a, u64a, u64a, a > b ? a : b)
SCALAR2(op_min_s64, s64a, s64a, s64a, a < b ? a : b)
SCALAR2(op_max_s64, s64a, s64a, s64a, a > b ? a : b)

// ---- bits ---------------------------------------------------------------------------------------

VECTOR2(op_and_w, U8, 4, a &b)
VECTOR2(op_and_l, L4, 8, a &b)
VECTOR2(op_or_w, U8, 4, a | b)
VECTOR2(op_or_l, L4, 8, a | b)
VECTOR2(op_xor_w, U8, 4, a ^ b)
VECTOR2(op_xor_l, L4, 8, a ^ b)
VECTOR1(op_not_h, U8, 4, ~a &LOW16)
VECTOR1(op_not_w, U8, 4, ~a)
VECTOR1(op_not_l, L4, 8, ~a)
VECTOR1(op_cnot_w, U8, 4, (U8)(a == 0) & 1)
VECTOR1(op_cnot_l, L4, 8, (L4)(a == 0) & 1)

#define PREDICATE(name, expression)                                                                \
    void name(Cx *c, const Insn *i) {                                                              \
        uint32_t a = *(u32a *)place(c, i->r[1]), b = *(u32a *)place(c, i->r[i->srcs]);             \
        (void)b;                                                                                   \
        *(u32a *)place(c, i->r[0]) = (expression);                                                 \
    }
PREDICATE(op_and_p, a &b)
PREDICATE(op_or_p, a | b)
PREDICATE(op_xor_p, a ^ b)
PREDICATE(op_not_p, ~a)
PREDICATE(op_mov_p, a)

// Bit j of the table is the result where the bits of a, b, c spell j.
void op_lop3(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    const U8 *x = place(c, i->r[1]), *y = place(c, i->r[2]), *z = place(c, i->r[3]);
    uint32_t table = *(u32a *)place(c, i->r[4]);
    for (int k = 0; k < 4; k++) {
        U8 r = {0};
        for (uint32_t j = 0; j < 8; j++)
            if (table >> j & 1)
                r |= (j & 4 ? x[k] : ~x[k]) & (j & 2 ? y[k] : ~y[k]) & (j & 1 ? z[k] : ~z[k]);
        d[k] = r;
    }
}

// Amounts of the width or more shift everything out.
VECTOR2(op_shl_w, U8, 4, (a << (b & 31)) & (U8)(b < 32))
VECTOR2(op_shl_h, U8, 4, (a << (b & 31)) & (U8)(b < 32) & LOW16)
VECTOR2(op_shr_w, U8, 4, (a >> (b & 31)) & (U8)(b < 32))
VECTOR2(op_shr_h, U8, 4, (a >> (b & 31)) & (U8)(b < 32))
VECTOR2(op_shr_s32, U8, 4, (I8)a >> (I8)select8(b < 32, b, (U8){0} + 31))
SCALAR2(op_shr_s16, u32a, u32a, u32a, (uint32_t)(s16(a) >> (b < 32 ? b : 31)) & LOW16)
SCALAR2(op_shl_l, u64a, u64a, u32a, b < 64 ? a << b : 0)
SCALAR2(op_shr_l, u64a, u64a, u32a, b < 64 ? a >> b : 0)
SCALAR2(op_shr_s64, s64a, s64a, u32a, a >> (b < 64 ? b : 63))

// Funnel shifts of b:a by e.
static inline uint64_t pair_of(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }
static inline uint32_t at_most_32(uint32_t n) { return n > 32 ? 32 : n; }
SCALAR3(op_shf_l_wrap, u32a, u32a, u32a, u32a, (pair_of(a, b) << (e & 31)) >> 32)
SCALAR3(op_shf_r_wrap, u32a, u32a, u32a, u32a, pair_of(a, b) >> (e & 31))
SCALAR3(op_shf_l_clamp, u32a, u32a, u32a, u32a, (pair_of(a, b) << at_most_32(e)) >> 32)
SCALAR3(op_shf_r_clamp, u32a, u32a, u32a, u32a, pair_of(a, b) >> at_most_32(e))

// Nibble j of the selector names a byte of b:a for byte j of the result; its bit 3 copies the sign.
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    uint64_t bytes = pair_of(a, b);
    uint32_t r = 0;
    for (int j = 0; j < 4; j++) {
        uint32_t s = selector >> (4 * j) & 15, byte = (uint32_t)(bytes >> (8 * (s & 7))) & 255;
        if (s & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << (8 * j);
    }
    return r;
}
SCALAR3(op_prmt, u32a, u32a, u32a, u32a, permute(a, b, e))
// The other modes: the two lowest bits choose one of four selectors.
static inline uint32_t permute4(uint32_t a, uint32_t b, uint32_t e, uint64_t selectors) {
    return permute(a, b, (uint32_t)(selectors >> (16 * (e & 3))) & 0xffff);
}
SCALAR3(op_prmt_f4e, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x6543543243213210)))
SCALAR3(op_prmt_b4e, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x0123701267015670)))
SCALAR3(op_prmt_rc8, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x3333222211110000)))
SCALAR3(op_prmt_ecl, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x3333322232113210)))
SCALAR3(op_prmt_ecr, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x3210221011100000)))
SCALAR3(op_prmt_rc16, u32a, u32a, u32a, u32a, permute4(a, b, e, UINT64_C(0x3232101032321010)))

// len bits from pos on; beyond the width, and beyond len, comes the sign of the field.
static inline uint64_t extract(uint64_t a, uint32_t pos, uint32_t len, uint32_t width, bool sign) {
    pos &= 255;
    len &= 255;
    uint32_t last = pos + len - 1 < width - 1 ? pos + len - 1 : width - 1;
    uint64_t fill = sign && len && a >> last & 1 ? UINT64_MAX : 0;
    if (!len || pos >= width) return fill;
    uint32_t n = last - pos + 1;
    uint64_t mask = n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    return (a >> pos & mask) | (fill & ~mask);
}
SCALAR3(op_bfe_u32, u32a, u32a, u32a, u32a, extract(a, b, e, 32, false))
SCALAR3(op_bfe_s32, u32a, u32a, u32a, u32a, extract(a, b, e, 32, true))
SCALAR3(op_bfe_u64, u64a, u64a, u32a, u32a, extract(a, b, e, 64, false))
SCALAR3(op_bfe_s64, u64a, u64a, u32a, u32a, extract(a, b, e, 64, true))

// The len lowest bits of a replace those of b from pos on.
static inline uint64_t insert(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, uint32_t width) {
    pos &= 255;
    len &= 255;
    if (!len || pos >= width) return b;
    uint32_t n = len > width - pos ? width - pos : len;
    uint64_t mask = (n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << pos;
    return (b & ~mask) | (a << pos & mask);
}
#define INSERT(name, T, width)                                                                     \
    void name(Cx *c, const Insn *i) {                                                              \
        T *d = place(c, i->r[0]);                                                                  \
        const T *x = place(c, i->r[1]), *y = place(c, i->r[2]);                                    \
        const u32a *p = place(c, i->r[3]), *n = place(c, i->r[4]);                                 \
        for (int k = 0; k < LANES; k++) d[k] = (T)insert(x[k], y[k], p[k], n[k], width);           \
    }
INSERT(op_bfi_w, u32a, 32)
INSERT(op_bfi_l, u64a, 64)

// Number of the highest bit that is not the sign; all ones when there is none.
static inline uint32_t highest(uint64_t a) {
    return a ? 63 - (uint32_t)__builtin_clzll(a) : UINT32_MAX;
}
static inline uint64_t magnitude(int64_t a) { return (uint64_t)(a < 0 ? ~a : a); }
static inline uint32_t shift_to(uint32_t bit, uint32_t width) {
    return bit == UINT32_MAX ? bit : width - 1 - bit;
}
SCALAR1(op_bfind_u32, u32a, u32a, highest(a))
SCALAR1(op_bfind_s32, u32a, s32a, highest(magnitude(a)))
SCALAR1(op_bfind_u64, u32a, u64a, highest(a))
SCALAR1(op_bfind_s64, u32a, s64a, highest(magnitude(a)))
SCALAR1(op_bfind_shift_u32, u32a, u32a, shift_to(highest(a), 32))
SCALAR1(op_bfind_shift_s32, u32a, s32a, shift_to(highest(magnitude(a)), 32))
SCALAR1(op_bfind_shift_u64, u32a, u64a, shift_to(highest(a), 64))
SCALAR1(op_bfind_shift_s64, u32a, s64a, shift_to(highest(magnitude(a)), 64))
SCALAR1(op_popc_w, u32a, u32a, __builtin_popcount(a))
SCALAR1(op_popc_l, u32a, u64a, __builtin_popcountll(a))
SCALAR1(op_clz_w, u32a, u32a, a ? __builtin_clz(a) : 32)
SCALAR1(op_clz_l, u32a, u64a, a ? __builtin_clzll(a) : 64)

static inline uint32_t reverse(uint32_t a) {
    a = (a >> 1 & 0x55555555) | (a & 0x55555555) << 1;
    a = (a >> 2 & 0x33333333) | (a & 0x33333333) << 2;
    a = (a >> 4 & 0x0f0f0f0f) | (a & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(a);
}
SCALAR1(op_brev_w, u32a, u32a, reverse(a))
SCALAR1(op_brev_l, u64a, u64a, pair_of(reverse((uint32_t)(a >> 32)), reverse((uint32_t)a)))

// ---- moves and choices --------------------------------------------------------------------------

VECTOR1(op_mov_w, U8, 4, a)
VECTOR1(op_mov_l, L4, 8, a)

void op_selp_w(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    const U8 *x = place(c, i->r[1]), *y = place(c, i->r[2]);
    uint32_t p = *(u32a *)place(c, i->r[3]);
    for (int k = 0; k < 4; k++) d[k] = select8(lanes8(p >> 8 * k), x[k], y[k]);
}
void op_selp_l(Cx *c, const Insn *i) {
    L4 *d = place(c, i->r[0]);
    const L4 *x = place(c, i->r[1]), *y = place(c, i->r[2]);
    uint32_t p = *(u32a *)place(c, i->r[3]);
    for (int k = 0; k < 8; k++) d[k] = select4(lanes4(p >> 4 * k), x[k], y[k]);
}
SCALAR3(op_slct_w, u32a, u32a, u32a, s32a, e >= 0 ? a : b)
SCALAR3(op_slct_w_f, u32a, u32a, u32a, f32a, e >= 0 ? a : b)
SCALAR3(op_slct_l, u64a, u64a, u64a, s32a, e >= 0 ? a : b)

// A word of packed parts, and back. The parts are of aux bits, the lowest first; parts of up to 32
// bits are 32-bit registers.
static uint64_t part_of(Cx *c, uint32_t r, uint32_t bits, int k) {
    if (bits == 64) return ((u64a *)place(c, r))[k];
    uint32_t v = ((u32a *)place(c, r))[k];
    return bits == 32 ? v : v & ((1u << bits) - 1);
}
void op_mov_pack(Cx *c, const Insn *i) {
    void *d = place(c, i->r[0]);
    for (int k = 0; k < LANES; k++) {
        uint64_t v = 0;
        for (uint32_t j = 0; j < i->srcs; j++)
            v |= part_of(c, i->r[1 + j], i->aux, k) << j * i->aux;
        if (i->wide & 1)
            ((u64a *)d)[k] = v;
        else
            ((u32a *)d)[k] = (uint32_t)v;
    }
}
void op_mov_unpack(Cx *c, const Insn *i) {
    bool wide = i->aux * i->dsts == 64;
    const void *x = place(c, i->r[i->dsts]);
    uint64_t v[LANES];
    for (int k = 0; k < LANES; k++) v[k] = wide ? ((const u64a *)x)[k] : ((const u32a *)x)[k];
    uint64_t mask = (UINT64_C(1) << i->aux) - 1;
    for (uint32_t j = 0; j < i->dsts; j++) {
        u32a *d = place(c, i->r[j]);
        for (int k = 0; k < LANES; k++) d[k] = (uint32_t)(v[k] >> j * i->aux & mask);
    }
}

// ---- comparisons --------------------------------------------------------------------------------

// p = comparison, q = its opposite, both perhaps combined with a third predicate.
void put_comparison(Cx *c, const Insn *i, uint32_t p) {
    uint32_t q = ~p;
    BoolOp op = (BoolOp)(i->aux >> AUX_BOOL & 15);
    if (op != BOOL_none) {
        uint32_t other = *(u32a *)place(c, i->r[4]);
        if (op == BOOL_and)
            p &= other, q &= other;
        else if (op == BOOL_or)
            p |= other, q |= other;
        else
            p ^= other, q ^= other;
    }
    *(u32a *)place(c, i->r[0]) = p;
    *(u32a *)place(c, i->r[1]) = q;
}

#define COMPARE(name, T, n, width, mask)                                                           \
    static inline uint32_t eq_##name(const T *x, const T *y) {                                     \
        uint32_t m = 0;                                                                            \
        for (int k = 0; k < n; k++) m |= mask(x[k] == y[k]) << width * k;                          \
        return m;                                                                                  \
    }                                                                                              \
    static inline uint32_t lt_##name(const T *x, const T *y) {                                     \
        uint32_t m = 0;                                                                            \
        for (int k = 0; k < n; k++) m |= mask(x[k] < y[k]) << width * k;                           \
        return m;                                                                                  \
    }                                                                                              \
    void op_setp_##name(Cx *c, const Insn *i) {                                                    \
        const T *x = place(c, i->r[2]), *y = place(c, i->r[3]);                                    \
        switch (i->aux & 255) {                                                                    \
        case CMP_eq: put_comparison(c, i, eq_##name(x, y)); break;                                 \
        case CMP_ne: put_comparison(c, i, ~eq_##name(x, y)); break;                                \
        case CMP_lt: put_comparison(c, i, lt_##name(x, y)); break;                                 \
        case CMP_le: put_comparison(c, i, ~lt_##name(y, x)); break;                                \
        case CMP_gt: put_comparison(c, i, lt_##name(y, x)); break;                                 \
        default: put_comparison(c, i, ~lt_##name(x, y)); break;                                    \
        }                                                                                          \
    }
COMPARE(s32, I8, 4, 8, mask8)
COMPARE(u32, U8, 4, 8, mask8)
COMPARE(s64, S4, 8, 4, mask4)
COMPARE(u64, L4, 8, 4, mask4)

// 16 bits: as 32 bits with the sign brought up.
void op_setp_s16(Cx *c, const Insn *i) {
    const u32a *x = place(c, i->r[2]), *y = place(c, i->r[3]);
    I8 a[4], b[4];
    for (int k = 0; k < LANES; k++) {
        ((s32a *)a)[k] = s16(x[k]);
        ((s32a *)b)[k] = s16(y[k]);
    }
    uint32_t eq = eq_s32(a, b), lt = lt_s32(a, b), m;
    switch (i->aux & 255) {
    case CMP_eq: m = eq; break;
    case CMP_ne: m = ~eq; break;
    case CMP_lt: m = lt; break;
    case CMP_le: m = lt | eq; break;
    case CMP_gt: m = ~(lt | eq); break;
    default: m = ~lt; break;
    }
    put_comparison(c, i, m);
}

void op_set_w(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    uint32_t p = *(u32a *)place(c, i->r[1]);
    for (int k = 0; k < 4; k++) d[k] = (U8)lanes8(p >> 8 * k);
}
void op_set_f(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    uint32_t p = *(u32a *)place(c, i->r[1]);
    for (int k = 0; k < 4; k++) d[k] = (U8)lanes8(p >> 8 * k) & 0x3f800000;
}

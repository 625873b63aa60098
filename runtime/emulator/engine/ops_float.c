// f32 and f64: IEEE 754 operations, and the approximate functions. Subnormals are kept: where an
// instruction says .ftz, decode.c puts op_flush around it. Another rounding than to nearest is set by
// op_rounded, so that the functions here need not know.
//
// The approximate functions are closer to the true value than a GPU's (1-2 units in the last place;
// PTX promises about 2^-22) and do not depend on the C library.
#include "runtime/emulator/engine/lanes.h"

#define SIGN   0x80000000u
#define NAN32  0x7fffffffu
#define NAN64  UINT64_C(0x7fffffffffffffff)
#define SIGN64 (UINT64_C(1) << 63)

void op_rounded(Cx *c, const Insn *i) {
    static const unsigned mode[] = {
        [ROUND_none] = _MM_ROUND_NEAREST,   [ROUND_rn] = _MM_ROUND_NEAREST,
        [ROUND_rz] = _MM_ROUND_TOWARD_ZERO, [ROUND_rm] = _MM_ROUND_DOWN,
        [ROUND_rp] = _MM_ROUND_UP,          [ROUND_rna] = _MM_ROUND_NEAREST};
    unsigned before = _MM_GET_ROUNDING_MODE();
    _MM_SET_ROUNDING_MODE(mode[i->aux >> AUX_ROUND & 15]);
    i->inner(c, i); // a call through a pointer: nothing of it moves over the change of mode
    _MM_SET_ROUNDING_MODE(before);
}

// A subnormal becomes a zero of its sign.
VECTOR1(op_flush, U8, 4, a &((U8)((a & 0x7f800000) != 0) | SIGN))
// NaN becomes +0.
static inline U8 clamp_unit(F8 a) {
    U8 positive = (U8)(a > 0.0f), large = (U8)(a > 1.0f);
    return ((U8)a & positive & ~large) | (0x3f800000 & large);
}
VECTOR1(op_sat, F8, 4, clamp_unit(a))

// ---- arithmetic ---------------------------------------------------------------------------------

VECTOR2(op_add_f, F8, 4, a + b)
VECTOR2(op_sub_f, F8, 4, a - b)
VECTOR2(op_mul_f, F8, 4, a *b)
VECTOR2(op_div_f, F8, 4, a / b)
VECTOR3(op_fma_f, F8, 4, _mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)e))
VECTOR1(op_sqrt_f, F8, 4, _mm256_sqrt_ps((__m256)a))
VECTOR1(op_rcp_f, F8, 4, 1.0f / a)
VECTOR2(op_add_d, D4, 8, a + b)
VECTOR2(op_sub_d, D4, 8, a - b)
VECTOR2(op_mul_d, D4, 8, a *b)
VECTOR2(op_div_d, D4, 8, a / b)
VECTOR3(op_fma_d, D4, 8, _mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)e))
VECTOR1(op_sqrt_d, D4, 8, _mm256_sqrt_pd((__m256d)a))
VECTOR1(op_rcp_d, D4, 8, 1.0 / a)

// The reciprocal of f64 that divisions start from: 20 bits of the mantissa, on GPUs and here, so
// that what follows it has to converge.
static inline double flush_d(double a) { return fabs(a) < 0x1p-1022 ? copysign(0.0, a) : a; }
static inline double upper_word(double a) {
    uint64_t u;
    memcpy(&u, &a, 8);
    return a != a ? a : double_of(u & ~UINT64_C(0xffffffff));
}
SCALAR1(op_rcp_ftz_d, f64a, f64a, upper_word(flush_d(1.0 / flush_d(a))))
SCALAR1(op_rsqrt_ftz_d, f64a, f64a, upper_word(1.0 / sqrt(flush_d(a))))
SCALAR1(op_rsqrt_d, f64a, f64a, 1.0 / sqrt(a))

VECTOR1(op_neg_f, U8, 4, a ^ SIGN)
VECTOR1(op_abs_f, U8, 4, a & ~SIGN)
VECTOR1(op_neg_d, L4, 8, a ^ SIGN64)
VECTOR1(op_abs_d, L4, 8, a & ~SIGN64)
VECTOR2(op_copysign_f, U8, 4, (b & ~SIGN) | (a & SIGN))
VECTOR2(op_copysign_d, L4, 8, (b & ~SIGN64) | (a & SIGN64))

// ---- extrema: -0 is below +0; of a number and a NaN the number, unless .NaN ---------------------

static inline U8 extremum(F8 a, F8 b, bool max, bool nan) {
    U8 less = (U8)(max ? a > b : a < b), equal = (U8)(a == b);
    U8 same = max ? (U8)a & (U8)b : (U8)a | (U8)b;
    U8 r = select8((I8)less, (U8)a, (U8)b);
    r = select8((I8)equal, same, r);
    U8 na = (U8)(a != a), nb = (U8)(b != b);
    if (nan) return select8((I8)(na | nb), (U8){0} + NAN32, r);
    r = select8((I8)nb, (U8)a, r);
    return select8((I8)(na & nb), (U8){0} + NAN32, r);
}
#define EXTREMUM(name, max, nan)                                                                   \
    VECTOR2(op_##name##_f, F8, 4, extremum(a, b, max, nan))                                        \
    VECTOR3(op_##name##_3, F8, 4, extremum((F8)extremum(a, b, max, nan), e, max, nan))
#define op_min_3     op_min3_f
#define op_max_3     op_max3_f
#define op_min_nan_3 op_min3_nan_f
#define op_max_nan_3 op_max3_nan_f
EXTREMUM(min, false, false)
EXTREMUM(max, true, false)
EXTREMUM(min_nan, false, true)
EXTREMUM(max_nan, true, true)

static inline double extremum_d(double a, double b, bool max) {
    if (a != a && b != b) return double_of(NAN64);
    if (a != a) return b;
    if (b != b) return a;
    if (a == b) return (signbit(a) != 0) != max ? a : b;
    return (max ? a > b : a < b) ? a : b;
}
SCALAR2(op_min_d, f64a, f64a, f64a, extremum_d(a, b, false))
SCALAR2(op_max_d, f64a, f64a, f64a, extremum_d(a, b, true))

// ---- comparisons --------------------------------------------------------------------------------

#define COMPARE(name, T, n, width, mask)                                                           \
    static uint32_t compare_##name(const T *x, const T *y, uint32_t how) {                         \
        uint32_t lt = 0, gt = 0, un = 0;                                                           \
        for (int k = 0; k < n; k++) {                                                              \
            lt |= mask(x[k] < y[k]) << width * k;                                                  \
            gt |= mask(x[k] > y[k]) << width * k;                                                  \
            un |= mask((x[k] != x[k]) | (y[k] != y[k])) << width * k;                              \
        }                                                                                          \
        return outcome(lt, gt, un, (Compare)how);                                                  \
    }                                                                                              \
    void op_setp_##name(Cx *c, const Insn *i) {                                                    \
        put_comparison(c, i, compare_##name(place(c, i->r[2]), place(c, i->r[3]), i->aux & 255));  \
    }
static inline uint32_t outcome(uint32_t lt, uint32_t gt, uint32_t un, Compare how) {
    switch (how) {
    case CMP_eq: return ~(lt | gt | un);
    case CMP_ne: return lt | gt;
    case CMP_lt: return lt;
    case CMP_le: return ~(gt | un);
    case CMP_gt: return gt;
    case CMP_ge: return ~(lt | un);
    case CMP_equ: return ~(lt | gt);
    case CMP_neu: return lt | gt | un;
    case CMP_ltu: return lt | un;
    case CMP_leu: return ~gt;
    case CMP_gtu: return gt | un;
    case CMP_geu: return ~lt;
    case CMP_num: return ~un;
    case CMP_nan: return un;
    }
    return 0;
}
COMPARE(f, F8, 4, 8, mask8)
COMPARE(d, D4, 8, 4, mask4)

#define TEST(name, T, expression)                                                                  \
    void op_testp_##name(Cx *c, const Insn *i) {                                                   \
        const T *x = place(c, i->r[1]);                                                            \
        uint32_t m = 0;                                                                            \
        for (int k = 0; k < LANES; k++) {                                                          \
            T a = x[k];                                                                            \
            m |= (uint32_t)(expression) << k;                                                      \
        }                                                                                          \
        *(u32a *)place(c, i->r[0]) = m;                                                            \
    }
#define EXPONENT  0x7f800000u
#define EXPONENTD (UINT64_C(0x7ff) << 52)
TEST(finite, u32a, (a & EXPONENT) != EXPONENT)
TEST(infinite, u32a, (a & ~SIGN) == EXPONENT)
TEST(number, u32a, (a & ~SIGN) <= EXPONENT)
TEST(notanumber, u32a, (a & ~SIGN) > EXPONENT)
TEST(normal, u32a, (a & EXPONENT) && (a & EXPONENT) != EXPONENT)
TEST(subnormal, u32a, !(a & EXPONENT) && (a & ~SIGN))
TEST(finite_d, u64a, (a & EXPONENTD) != EXPONENTD)
TEST(infinite_d, u64a, (a & ~SIGN64) == EXPONENTD)
TEST(number_d, u64a, (a & ~SIGN64) <= EXPONENTD)
TEST(notanumber_d, u64a, (a & ~SIGN64) > EXPONENTD)
TEST(normal_d, u64a, (a & EXPONENTD) && (a & EXPONENTD) != EXPONENTD)
TEST(subnormal_d, u64a, !(a & EXPONENTD) && (a & ~SIGN64))

// ---- approximate functions ----------------------------------------------------------------------

// In double, then rounded: the error of the double is far below half a unit of f32. Polynomials are
// Taylor series on small intervals, long enough for 2^-30.

// 2^f on [-0.5, 0.5]: powers of ln 2 over factorials.
static inline D4 exp2_fraction(D4 f) {
    D4 r = (D4){0} + 1.0178086009239699e-07;
    r = r * f + 1.3215486790144309e-06;
    r = r * f + 1.5252733804059841e-05;
    r = r * f + 1.5403530393381609e-04;
    r = r * f + 1.3333558146428443e-03;
    r = r * f + 9.6181291076284769e-03;
    r = r * f + 5.5504108664821580e-02;
    r = r * f + 2.4022650695910072e-01;
    r = r * f + 6.9314718055994531e-01;
    return r * f + 1.0;
}
static inline D4 exp2_lanes(D4 x) {
    // Beyond these bounds the f32 is 0 or infinite anyway; a NaN goes through the polynomial.
    x = (D4)select4(x > 200.0, (L4)((D4){0} + 200.0), (L4)x);
    x = (D4)select4(x < -200.0, (L4)((D4){0} - 200.0), (L4)x);
    D4 whole = (D4)_mm256_round_pd((__m256d)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    S4 n = (S4)_mm256_cvtepi32_epi64(_mm256_cvtpd_epi32((__m256d)whole));
    D4 scale = (D4)(((L4)n + 1023) << 52);
    return exp2_fraction(x - whole) * scale;
}
static inline D4 to_double(const F8 *x, int k) {
    return (D4)_mm256_cvtps_pd(_mm_loadu_ps((const float *)(const void *)x + 4 * k));
}
#define THROUGH_DOUBLE(name, function)                                                             \
    void name(Cx *c, const Insn *i) {                                                              \
        const F8 *x = place(c, i->r[1]);                                                           \
        float *d = place(c, i->r[0]);                                                              \
        for (int k = 0; k < 8; k++)                                                                \
            _mm_storeu_ps(d + 4 * k, _mm256_cvtpd_ps((__m256d)function(to_double(x, k))));         \
    }
THROUGH_DOUBLE(op_ex2_f, exp2_lanes)

static inline D4 rsqrt_lanes(D4 x) { return 1.0 / (D4)_mm256_sqrt_pd((__m256d)x); }
THROUGH_DOUBLE(op_rsqrt_f, rsqrt_lanes)

// tanh x = 1 - 2 / (e^2x + 1), odd; near 0 its series.
static inline D4 tanh_lanes(D4 x) {
    D4 a = (D4)((L4)x & ~SIGN64);
    D4 large = 1.0 - 2.0 / (exp2_lanes(a * 2.8853900817779268) + 1.0), s = a * a;
    D4 small =
        a + a * s * (-0.33333333333333333 + s * (0.13333333333333333 - s * 0.053968253968253968));
    D4 r = (D4)select4(a < 0.05, (L4)small, (L4)large);
    return (D4)((L4)r | ((L4)x & SIGN64));
}
THROUGH_DOUBLE(op_tanh_f, tanh_lanes)

// log2 of m 2^e with m in [sqrt(1/2), sqrt 2): 2 / ln 2 (s + s^3 / 3 + ...), s = (m - 1) / (m + 1).
static inline double log2_lane(double x) {
    if (x != x || x < 0) return double_of(NAN64);
    if (x == 0) return -HUGE_VAL;
    if (x == HUGE_VAL) return x;
    uint64_t u;
    memcpy(&u, &x, 8);
    int e = (int)(u >> 52) - 1023; // an f32 is never subnormal as a double
    double m = double_of((u & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52);
    if (m > 1.4142135623730951) m *= 0.5, e++;
    double s = (m - 1) / (m + 1), t = s * s, r = 1.0 / 15;
    for (int k = 13; k > 0; k -= 2) r = r * t + 1.0 / k;
    return e + 2.8853900817779268 * s * r;
}
SCALAR1(op_lg2_f, f32a, f32a, (float)log2_lane(a))

// sin and cos of the rest of x by multiples of pi / 2; quarter: of the turn, to be added.
static inline double circle(double x, int quarter) {
    if (!(fabs(x) < HUGE_VAL)) return double_of(NAN64);
    if (x == 0) return quarter ? 1 : x; // keeps the zero's sign
    double n = rint(x * 0.63661977236758134);
    if (fabs(n) > 0x1p52) return 0; // a GPU's is without meaning as well
    double r = fma(n, -1.5707963267948966, x);
    r = fma(n, -6.123233995736766e-17, r);
    int q = (int)((int64_t)n & 3) + quarter;
    double s = r * r, v;
    if (q & 1)
        v = 1 + s * (-0.5 + s * (1.0 / 24 + s * (-1.0 / 720 + s * (1.0 / 40320 - s / 3628800))));
    else
        v = r + r * s *
                    (-1.0 / 6 +
                     s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 - s / 39916800))));
    return q & 2 ? -v : v;
}
SCALAR1(op_sin_f, f32a, f32a, (float)circle(a, 0))
SCALAR1(op_cos_f, f32a, f32a, (float)circle(a, 1))

// exp, expm1, log, log1p, sin, cos, tanh, erf, pow and Philox as straight-line DAGs over the primitive table.
//
// Why: one text gives the same bits in the interpreter, in kinterp and in native code, on every
// instruction set. So there are no branches, no tables in memory and no library calls; special
// cases are selects, and NaN passes because every select compares in the order that keeps it.
//
// The coefficients come from tools/minimax.py (minimax fits with the leading coefficients rounded
// to f32 first). Bounds over all finite arguments, checked by tests/unit/test_scalar.c, in units in
// the last place of the correctly rounded result:
//   exp 1.1   expm1 1.2   log 0.9   log1p 1.0   tanh 1.3   erf 1.1   pow 0.8
//   sin, cos 1.3 for |x| <= 2^20
// Subnormal results and arguments are exact to the same bounds: nothing is flushed. Beyond 2^20 sin
// and cos stay within [-1, 1] but lose meaning: one ulp of the argument is then an eighth of a
// radian or more.
//
// Argument reduction is Cody and Waite's with fused multiply-adds; pow carries log2 in two floats
// (Dekker's arithmetic), which keeps b^step good for any step.
#include "ir/scalar_impl.h"

// 1.5 * 2^23: adding it leaves round(x) in the low bits, for |x| < 2^22.
#define MAGIC 12582912.0f
// ln 2 in two floats, for reductions where n has few bits.
#define LN2_HI 0.693147182f
#define LN2_LO (-1.90465421e-09f)

// c[0] + c[1] x + ... by Horner's rule.
static SV poly(const ScalarOps *o, SV x, const float *c, int n) {
    SV r = num(o, c[n - 1]);
    for (int i = n - 2; i >= 0; i--) r = fma3(o, r, x, num(o, c[i]));
    return r;
}

// min(x, hi) and max(x, lo) that let NaN through.
static SV at_most(const ScalarOps *o, SV x, float hi) {
    SV h = num(o, hi);
    return pick(o, flt(o, h, x), h, x);
}
static SV at_least(const ScalarOps *o, SV x, float lo) {
    SV l = num(o, lo);
    return pick(o, flt(o, x, l), l, x);
}

// n = the integer nearest to x * scale, as float; its bits (two's complement in the low 22) in
// *bits.
static SV nearest(const ScalarOps *o, SV x, SV scale, SV *bits) {
    SV t = fma3(o, x, scale, num(o, MAGIC));
    *bits = isub(o, bits_of(o, t), word(o, 0x4b400000u));
    return fsub(o, t, num(o, MAGIC));
}

// 2^n for -126 <= n <= 127.
static SV power_of_two(const ScalarOps *o, SV n) {
    return float_of(o, shl(o, iadd(o, n, word(o, 127)), 23));
}

// x * 2^n for 1/2 <= x < 2 and -250 <= n <= 252: two steps, of which only the second can round.
static SV scale(const ScalarOps *o, SV x, SV n) {
    SV half = ashr(o, n, 1);
    SV y = fmul(o, x, power_of_two(o, half));
    return fmul(o, y, power_of_two(o, isub(o, n, half)));
}

// e^r = 1 + r + r^2 q(r).
static const float exp_q[] = {0.5f, 0.166665196f, 0.0416663848f, 0.00836884882f, 0.00139422144f};

// e^r - 1 for r = x - n ln 2, with n in *n. |r| <= ln(2) / 2.
static SV exp_reduced(const ScalarOps *o, SV x, SV *n) {
    SV k = nearest(o, x, num(o, 1.44269502f), n);
    SV r = fma3(o, k, num(o, -LN2_HI), x);
    r = fma3(o, k, num(o, -LN2_LO), r);
    return fma3(o, fmul(o, r, r), poly(o, r, exp_q, 5), r);
}

// Above 89 the result is infinite, which the scaling produces by itself. Up to -104 it is 0: chosen
// and not scaled, because arithmetic that underflows takes a hundred cycles on most machines, and
// masked scores of attention are -inf.
SV scalar_exp(const ScalarOps *o, SV x) {
    SV n, zero = num(o, 0.0f), vanishes = fle(o, x, num(o, -104.0f));
    x = pick(o, vanishes, zero, at_most(o, x, 89.0f));
    SV p = exp_reduced(o, x, &n);
    return pick(o, vanishes, zero, scale(o, fadd(o, p, num(o, 1.0f)), n));
}

// e^x - 1 = 2^n (tail + r) + (2^n - 1), where the low part of r goes into the tail; half of that is
// computed, so that n = 128 has a power of two. Below -18 the result is -1; where x^2 / 2 does not
// count it is x.
SV scalar_expm1(const ScalarOps *o, SV x) {
    SV n, half = num(o, 0.5f);
    SV within = at_least(o, at_most(o, x, 89.0f), -18.0f);
    SV k = nearest(o, within, num(o, 1.44269502f), &n);
    SV r = fma3(o, k, num(o, -LN2_HI), within), lo = fmul(o, k, num(o, -LN2_LO));
    SV tail = fma3(o, fmul(o, r, r), poly(o, r, exp_q, 5), fma3(o, lo, r, lo));
    SV s = power_of_two(o, isub(o, n, word(o, 1)));
    SV y = fma3(o, s, tail, fma3(o, s, r, fsub(o, s, half)));
    SV tiny = flt(o, prim1(o, P_FABS, x), num(o, 0x1p-25f));
    return pick(o, tiny, x, fadd(o, y, y));
}

// x = 2^e m with 2/3 <= m < 4/3; *e as float. x is positive and finite, else any values.
static SV split_exponent(const ScalarOps *o, SV x, SV *e) {
    SV small = flt(o, x, num(o, 0x1p-126f));
    SV y = pick(o, small, fmul(o, x, num(o, 0x1p24f)), x);
    SV bits = bits_of(o, y);
    SV k = ashr(o, isub(o, bits, word(o, 0x3f2aaaabu)), 23); // 0x3f2aaaab: 2/3
    *e = fadd(o, prim1(o, P_I2F, k), pick(o, small, num(o, -24.0f), num(o, 0.0f)));
    return float_of(o, isub(o, bits, shl(o, k, 23)));
}

// log x = h + *low for positive finite x = 2^e (1 + f); log(1 + f) = f + f^2 q(f) on [-1/3, 1/3].
static SV log_two(const ScalarOps *o, SV x, SV *low) {
    static const float q[] = {-0.5f,         0.33333227f,   -0.24999696f,
                              0.200098842f,  -0.166851848f, 0.140132636f,
                              -0.121186137f, 0.139518917f,  -0.131776869f};
    SV e;
    SV f = fsub(o, split_exponent(o, x, &e), num(o, 1.0f));
    SV rest = fma3(o, e, num(o, 1.42860677e-06f), fmul(o, fmul(o, f, f), poly(o, f, q, 9)));
    SV whole = fmul(o, e, num(o, 0x1.62e4p-1f)); // exact: 16 bits times 8
    SV h = fadd(o, whole, f);
    SV lost = fsub(o, f, fsub(o, h, whole));
    *low = fadd(o, lost, rest);
    return h;
}

// r where 0 < x < inf, and what the logarithm of x is elsewhere.
static SV log_domain(const ScalarOps *o, SV x, SV r) {
    SV zero = num(o, 0.0f), inf = num(o, INFINITY);
    SV outside = pick(o, feq(o, x, zero), num(o, -INFINITY), num(o, NAN));
    return pick(o, flt(o, zero, x), pick(o, flt(o, x, inf), r, inf), outside);
}

SV scalar_log(const ScalarOps *o, SV x) {
    SV low;
    SV h = log_two(o, x, &low);
    return log_domain(o, x, fadd(o, h, low));
}

// log(1 + x) = log u + c / u, where u is 1 + x rounded and c what the rounding took, exactly.
SV scalar_log1p(const ScalarOps *o, SV x) {
    SV low, one = num(o, 1.0f);
    SV u = fadd(o, one, x);
    SV part = fsub(o, u, one);
    SV c = fadd(o, fsub(o, one, fsub(o, u, part)), fsub(o, x, part));
    SV h = log_two(o, u, &low);
    SV r = fadd(o, h, fadd(o, low, fdiv(o, c, u)));
    return pick(o, feq(o, x, num(o, 0.0f)), x, log_domain(o, u, r)); // the sign of zero
}

// |x| < 5/8: x + x z p(z) with z = x^2; above: 1 - 2 / (e^2x + 1).
SV scalar_tanh(const ScalarOps *o, SV x) {
    static const float p[] = {-0.333332837f, 0.133314788f, -0.0537421666f, 0.0206455253f,
                              -0.00571073871f};
    SV n, one = num(o, 1.0f);
    SV t = at_most(o, prim1(o, P_FABS, x), 10.0f);
    SV z = fmul(o, t, t);
    SV near = fma3(o, fmul(o, t, z), poly(o, z, p, 5), t);
    SV e = exp_reduced(o, fadd(o, t, t), &n);
    SV s = power_of_two(o, n);
    SV d = fma3(o, s, e, fadd(o, s, one));
    SV far = fsub(o, one, fdiv(o, num(o, 2.0f), d));
    SV r = pick(o, flt(o, num(o, 0.625f), t), far, near);
    return with_sign(o, r, bits_of(o, x));
}

// |x| < 15/16: x + x p(x^2); above: 1 - e^q(|x|), where e^q is erfc.
SV scalar_erf(const ScalarOps *o, SV x) {
    static const float p[] = {0.128379166f,   -0.376126289f,    0.112836242f,   -0.0268555935f,
                              0.00519198226f, -0.000804449723f, 7.97361281e-05f};
    static const float q[] = {0.000160396798f, -1.12943411f,    -0.633543372f,
                              -0.108012244f,   0.0248955954f,   -0.00405373145f,
                              0.000396808668f, -1.4334556e-05f, -5.1971449e-07f};
    SV n;
    SV t = at_most(o, prim1(o, P_FABS, x), 4.0f);
    SV near = fma3(o, t, poly(o, fmul(o, t, t), p, 7), t);
    SV tail = exp_reduced(o, poly(o, t, q, 9), &n);
    tail = fmul(o, fadd(o, tail, num(o, 1.0f)), power_of_two(o, n));
    SV far = fsub(o, num(o, 1.0f), tail);
    SV r = pick(o, flt(o, num(o, 0.9375f), t), far, near);
    return with_sign(o, r, bits_of(o, x));
}

// r + lo = x - n pi/2, exact to well below the last place of r for |x| <= 2^20; n's bits in
// *quadrant.
static SV reduce_angle(const ScalarOps *o, SV x, SV *lo, SV *quadrant) {
    SV n = nearest(o, x, num(o, 0.636619747f), quadrant);
    SV r1 = fma3(o, n, num(o, -1.57079637f), x); // exact
    SV p = fmul(o, n, num(o, 4.37113883e-08f));
    SV p_lo = fma3(o, n, num(o, 4.37113883e-08f), prim1(o, P_FNEG, p));
    SV r = fadd(o, r1, p);
    SV lost = fsub(o, p, fsub(o, r, r1)); // exact: r1 has few bits when it is the smaller one
    SV sure = flt(o, prim1(o, P_FABS, x), num(o, 1048577.0f));
    *lo = pick(o, sure, fadd(o, lost, fma3(o, n, num(o, 1.71512451e-15f), p_lo)), num(o, 0.0f));
    return at_least(o, at_most(o, r, 1.0f), -1.0f); // the bounds bite beyond 2^20 only
}

// sin(x + turn pi/2).
static SV sine(const ScalarOps *o, SV x, uint32_t turn) {
    static const float s[] = {-0.166666552f, 0.0083321901f, -0.000195184082f};
    static const float c[] = {0.0416666456f, -0.00138873013f, 2.44306866e-05f};
    SV lo, quadrant;
    SV r = reduce_angle(o, x, &lo, &quadrant);
    quadrant = iadd(o, quadrant, word(o, turn));
    SV z = fmul(o, r, r);
    SV sin_r = fadd(o, r, fma3(o, fmul(o, r, z), poly(o, z, s, 3), lo));
    SV cos_low = fma3(o, prim1(o, P_FNEG, r), lo, fmul(o, z, num(o, -0.5f)));
    SV cos_r = fadd(o, num(o, 1.0f), fma3(o, fmul(o, z, z), poly(o, z, c, 3), cos_low));
    SV odd = prim2(o, P_IEQ, prim2(o, P_AND, quadrant, word(o, 1)), word(o, 1));
    SV y = pick(o, odd, cos_r, sin_r);
    SV sign = shl(o, prim2(o, P_AND, quadrant, word(o, 2)), 30);
    return float_of(o, prim2(o, P_XOR, bits_of(o, y), sign));
}

SV scalar_sin(const ScalarOps *o, SV x) { // the select keeps the sign of zero
    return pick(o, feq(o, x, num(o, 0.0f)), x, sine(o, x, 0));
}

SV scalar_cos(const ScalarOps *o, SV x) { return sine(o, x, 1); }

// A value as the unevaluated sum of two floats.
typedef struct {
    SV hi, lo;
} Two;

// a + b exactly, for |a| >= |b| or a = 0.
static Two fast_sum(const ScalarOps *o, SV a, SV b) {
    SV s = fadd(o, a, b);
    return (Two){s, fsub(o, b, fsub(o, s, a))};
}

static Two product(const ScalarOps *o, Two a, Two b) {
    SV h = fmul(o, a.hi, b.hi);
    SV l = fma3(o, a.hi, b.hi, prim1(o, P_FNEG, h));
    return (Two){h, fma3(o, a.hi, b.lo, fma3(o, a.lo, b.hi, l))};
}

// log2 of a positive finite x to about 2^-34: e + s (c0 + z (c1 + z q(z))), s = f / (2 + f), z =
// s^2.
static Two log2_two(const ScalarOps *o, SV x) {
    static const float q[] = {0.577083528f, 0.411545038f, 0.344314098f};
    SV e, one = num(o, 1.0f);
    SV m = split_exponent(o, x, &e);
    SV f = fsub(o, m, one); // exact
    SV d = fadd(o, m, one), d_lo = fsub(o, m, fsub(o, d, one));
    SV inverse = fdiv(o, one, d);
    SV s_hi = fmul(o, f, inverse), minus = prim1(o, P_FNEG, s_hi);
    SV rest = fma3(o, minus, d_lo, fma3(o, minus, d, f));
    Two s = {s_hi, fmul(o, rest, inverse)};
    Two z = product(o, s, s);
    Two w = fast_sum(o, num(o, 0.961796701f), fmul(o, z.hi, poly(o, z.hi, q, 3)));
    w.lo = fadd(o, w.lo, num(o, -7.02846181e-09f));
    Two p = product(o, z, w);
    Two v = fast_sum(o, num(o, 2.88539004f), p.hi);
    v.lo = fadd(o, v.lo, fadd(o, p.lo, num(o, 3.85192607e-08f)));
    Two l = product(o, s, v);
    Two sum = fast_sum(o, e, l.hi);
    sum.lo = fadd(o, sum.lo, l.lo);
    return sum;
}

// 2^(p.hi + p.lo) = 2^n (1 + r q(r)), the first product kept in two floats.
static SV exp2_two(const ScalarOps *o, Two p) {
    static const float c = 0.693147182f; // q's first coefficient
    static const float q[] = {0.240226507f,   0.0555040576f,   0.0096180886f,
                              0.00133370189f, 0.000154514273f, 1.4590315e-05f};
    SV n, one = num(o, 1.0f);
    SV inside = flt(o, prim1(o, P_FABS, p.hi), num(o, 160.0f));
    SV lo = pick(o, inside, p.lo, num(o, 0.0f));
    SV hi = at_least(o, at_most(o, p.hi, 160.0f), -160.0f);
    SV r = fsub(o, hi, nearest(o, hi, one, &n));
    SV t = fmul(o, r, num(o, c)), t_lo = fma3(o, r, num(o, c), prim1(o, P_FNEG, t));
    Two head = fast_sum(o, one, t);
    SV tail = fma3(o, fmul(o, r, r), poly(o, r, q, 6), t_lo);
    SV slope = fmul(o, fadd(o, head.hi, tail), num(o, c)); // derivative of 2^r
    tail = fadd(o, fma3(o, lo, slope, tail), head.lo);
    return scale(o, fadd(o, head.hi, tail), n);
}

// The special cases are those of IEEE 754-2019 pow. |y| beyond 2^40 behaves as 2^40: the smallest
// |log2 x| that is not 0 is above 2^-24, so that the result is 0 or infinite already.
SV scalar_pow(const ScalarOps *o, SV x, SV y) {
    SV zero = num(o, 0.0f), one = num(o, 1.0f), inf = num(o, INFINITY);
    SV ax = prim1(o, P_FABS, x);
    SV yc = at_least(o, at_most(o, y, 0x1p40f), -0x1p40f);
    Two none = {yc, zero};
    SV r = exp2_two(o, product(o, none, log2_two(o, ax)));
    // |x| is 0 or infinite: 0 or infinite, by the sign of y.
    SV is_zero = feq(o, ax, zero), is_inf = feq(o, ax, inf);
    SV grows = prim2(o, P_BXOR, is_zero, flt(o, zero, y));
    r = pick(o, prim2(o, P_BOR, is_zero, is_inf), pick(o, grows, inf, zero), r);
    SV half = fmul(o, y, num(o, 0.5f));
    SV whole = feq(o, prim1(o, P_RINT, y), y);
    SV odd = prim2(o, P_BAND, whole, prim1(o, P_BNOT, feq(o, prim1(o, P_RINT, half), half)));
    SV sign = pick(o, odd, prim2(o, P_AND, bits_of(o, x), word(o, 0x80000000u)), word(o, 0));
    r = float_of(o, prim2(o, P_OR, bits_of(o, r), sign));
    SV finite_negative = prim2(o, P_BAND, flt(o, x, zero), flt(o, ax, inf));
    SV undefined = prim2(o, P_BAND, finite_negative, prim1(o, P_BNOT, whole));
    undefined = prim2(o, P_BAND, undefined, feq(o, y, y));
    r = pick(o, undefined, num(o, NAN), r);
    SV ordered = prim2(o, P_BAND, feq(o, x, x), feq(o, y, y));
    r = pick(o, ordered, r, num(o, NAN));
    SV is_one = prim2(o, P_BOR, feq(o, y, zero), feq(o, x, one));
    // (-1) to an infinite power is 1 by the general path: its logarithm is 0.
    return pick(o, is_one, one, r);
}

// ---- narrow types

// Sums of bits: what rounding to nearest even leaves of the last `drop` bits, with its carry.
static SV rounded_bits(const ScalarOps *o, SV bits, uint32_t drop) {
    SV odd = prim2(o, P_AND, lshr(o, bits, drop), word(o, 1));
    bits = iadd(o, bits, iadd(o, odd, word(o, (1u << (drop - 1)) - 1)));
    return prim2(o, P_AND, bits, word(o, 0u - (1u << drop)));
}

// The sign stands above the bits that take part. Beyond the largest: the carry makes an infinity.
static SV round_bf16(const ScalarOps *o, SV x) {
    SV r = float_of(o, rounded_bits(o, bits_of(o, x), 16));
    return pick(o, feq(o, x, x), r, num(o, NAN));
}

// Eight bits: `drop` bits of the fraction go. Below `least`, the least normal number, the unit stays the
// same: that of an f32 at `step`, which is added and taken away. Scaling there and rounding bits would round
// twice. Beyond the largest, infinity included: the largest.
static SV round_byte(const ScalarOps *o, SV x, uint32_t drop, float least, float step, float most) {
    SV a = prim1(o, P_FABS, x), far = num(o, most);
    SV small = fsub(o, fadd(o, a, num(o, step)), num(o, step));
    SV y =
        pick(o, flt(o, a, num(o, least)), small, float_of(o, rounded_bits(o, bits_of(o, a), drop)));
    y = with_sign(o, pick(o, flt(o, far, y), far, y), bits_of(o, x));
    return pick(o, feq(o, x, x), y, num(o, NAN));
}

// The nearest value of a narrow type, ties to even, of one of the type that it computes in.
SV scalar_round(const ScalarOps *o, Elem narrow, SV x) {
    switch (narrow) {
    case ELEM_bf16: return round_bf16(o, x);
    case ELEM_f16: return prim1(o, P_H2F, prim1(o, P_F2H, x));
    case ELEM_f8e4m3: return round_byte(o, x, 20, 0x1p-6f, 0x1p14f, 448);
    case ELEM_f8e5m2: return round_byte(o, x, 21, 0x1p-14f, 0x1p7f, 57344);
    case ELEM_i8: return prim2(o, P_SMAX, prim2(o, P_SMIN, x, word(o, 127)), word(o, -128u));
    case ELEM_f32:
    case ELEM_i32:
    case ELEM_u32:
    case ELEM_bool:
    case ELEM_COUNT: break;
    }
    unreachable(narrow);
}

// Exponent and fraction where those of an f32 stand; a product brings the bias from 127 to 7 and makes the
// fraction of a subnormal a number. All ones are a NaN, there is no infinity.
static SV widen_e4m3(const ScalarOps *o, SV bits) {
    SV low = prim2(o, P_AND, bits, word(o, 0x7f)), sign = shl(o, bits, 24);
    SV y = with_sign(o, fmul(o, float_of(o, shl(o, low, 20)), num(o, 0x1p120f)), sign);
    return pick(o, prim2(o, P_IEQ, low, word(o, 0x7f)), num(o, NAN), y);
}

static SV cut_e4m3(const ScalarOps *o, SV x) {
    SV a = prim1(o, P_FABS, x), small = flt(o, a, num(o, 0x1p-6f));
    SV units = fmul(o, pick(o, small, a, num(o, 0.0f)), num(o, 0x1p9f));
    SV normal = isub(o, lshr(o, bits_of(o, a), 20), word(o, (127 - 7) << 3));
    SV y = pick(o, small, prim1(o, P_F2I_RAW, units), normal);
    SV sign = prim2(o, P_AND, lshr(o, bits_of(o, x), 24), word(o, 0x80));
    return pick(o, feq(o, x, x), prim2(o, P_OR, sign, y), word(o, 0x7f));
}

// An f8e5m2 is the upper half of an f16.
SV scalar_widen(const ScalarOps *o, Elem elem, SV bits) {
    switch (elem) {
    case ELEM_bf16: return float_of(o, shl(o, bits, 16));
    case ELEM_f16: return prim1(o, P_H2F, bits);
    case ELEM_f8e4m3: return widen_e4m3(o, bits);
    case ELEM_f8e5m2: return prim1(o, P_H2F, shl(o, bits, 8));
    case ELEM_i8: return ashr(o, shl(o, bits, 24), 24);
    case ELEM_f32:
    case ELEM_i32:
    case ELEM_u32:
    case ELEM_bool:
    case ELEM_COUNT: break;
    }
    unreachable(elem);
}

SV scalar_cut(const ScalarOps *o, Elem elem, SV x) {
    switch (elem) {
    case ELEM_bf16: return lshr(o, bits_of(o, x), 16);
    case ELEM_f16: return prim1(o, P_F2H, x);
    case ELEM_f8e4m3: return cut_e4m3(o, x);
    case ELEM_f8e5m2: return lshr(o, prim1(o, P_F2H, x), 8);
    case ELEM_i8: return x;
    case ELEM_f32:
    case ELEM_i32:
    case ELEM_u32:
    case ELEM_bool:
    case ELEM_COUNT: break;
    }
    unreachable(elem);
}

// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: ten rounds.
SV scalar_philox(const ScalarOps *o, const SV counter[4], const SV key[2], int which) {
    SV c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    SV m0 = word(o, 0xD2511F53u), m1 = word(o, 0xCD9E8D57u);
    for (int round = 0; round < 10; round++) {
        if (round > 0) {
            k0 = iadd(o, k0, word(o, 0x9E3779B9u));
            k1 = iadd(o, k1, word(o, 0xBB67AE85u));
        }
        SV hi0 = prim2(o, P_UMULHI, m0, c0), lo0 = prim2(o, P_IMUL, m0, c0);
        SV hi1 = prim2(o, P_UMULHI, m1, c2), lo1 = prim2(o, P_IMUL, m1, c2);
        c0 = prim2(o, P_XOR, prim2(o, P_XOR, hi1, c1), k0);
        c2 = prim2(o, P_XOR, prim2(o, P_XOR, hi0, c3), k1);
        c1 = lo1;
        c3 = lo0;
    }
    const SV out[4] = {c0, c1, c2, c3};
    return out[which & 3];
}

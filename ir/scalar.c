// The scalar ops: which DAG of primitives each one is, the steps of folds, and the two direct
// evaluators (exact bits, and double for the oracle's F64 mode).
//
// Why: the interpreter, kinterp and every printer call scalar_expand, so an op means the same bits
// everywhere. Transcendental functions and Philox are in scalar_math.c.
//
// What a primitive must do, beyond its name: P_FMIN and P_FMAX are IEEE 754-2019 minimum and
// maximum (NaN if either is, -0 below +0). Shift amounts are always in 0..31. Division primitives
// and the raw conversions get arguments in range only, in every lane: the guards are selects before
// them. The payload and sign of a NaN are not part of the meaning.
#include "ir/scalar_impl.h"
#include <string.h>

// ---- ops with one primitive per element type, as a table

typedef struct {
    uint8_t f32, i32, u32, boolean; // Prim plus one, or 0: no single primitive
} PrimRow;

#define ROW(op, f, i, u, b) [op] = {f + 1, i + 1, u + 1, b + 1}
#define NO                  -1
static const PrimRow prim_rows[OP_SCALARS] = {
    ROW(OP_neg, P_FNEG, NO, NO, NO),
    ROW(OP_abs, P_FABS, NO, NO, NO),
    ROW(OP_sqrt, P_FSQRT, NO, NO, NO),
    ROW(OP_floor, P_FLOOR, NO, NO, NO),
    ROW(OP_rint, P_RINT, NO, NO, NO),
    ROW(OP_add, P_FADD, P_IADD, P_IADD, P_BOR),
    ROW(OP_sub, P_FSUB, P_ISUB, P_ISUB, P_BXOR),
    ROW(OP_mul, P_FMUL, P_IMUL, P_IMUL, P_BAND),
    ROW(OP_div, P_FDIV, NO, NO, NO),
    ROW(OP_min, P_FMIN, P_SMIN, P_UMIN, P_BAND),
    ROW(OP_max, P_FMAX, P_SMAX, P_UMAX, P_BOR),
    ROW(OP_and, NO, P_AND, P_AND, P_BAND),
    ROW(OP_or, NO, P_OR, P_OR, P_BOR),
    ROW(OP_xor, NO, P_XOR, P_XOR, P_BXOR),
    ROW(OP_eq, P_FEQ, P_IEQ, P_IEQ, NO),
    ROW(OP_lt, P_FLT, P_SLT, P_ULT, NO),
    ROW(OP_le, P_FLE, P_SLE, P_ULE, NO),
};
#undef ROW
#undef NO

static int prim_of(Op op, Elem elem) {
    CHECK(op_is_scalar(op), "op %d is not a scalar", (int)op);
    PrimRow row = prim_rows[op];
    switch ((ElemKind)elem_info[elem].kind) {
    case ELEM_FLOAT: return row.f32 - 1;
    case ELEM_INT: return row.i32 - 1;
    case ELEM_UINT: return row.u32 - 1;
    case ELEM_BOOL: return row.boolean - 1;
    }
    unreachable(elem);
}

// ---- integers

// Floored division and remainder of i32. The divisor is replaced by 1 where the division would
// trap: by zero the result is 0, and INT_MIN / -1 = INT_MIN / 1 is what wrapping gives.
static SV divide_signed(const ScalarOps *o, SV a, SV b, bool remainder) {
    SV zero = word(o, 0), by_zero = prim2(o, P_IEQ, b, zero);
    SV wraps = prim2(o, P_BAND, prim2(o, P_IEQ, a, word(o, 0x80000000u)),
                     prim2(o, P_IEQ, b, word(o, 0xffffffffu)));
    SV d = pick(o, prim2(o, P_BOR, by_zero, wraps), word(o, 1), b);
    SV q = prim2(o, P_SDIV, a, d), r = prim2(o, P_SREM, a, d);
    SV opposite = prim2(o, P_SLT, prim2(o, P_XOR, r, d), zero);
    SV adjust = prim2(o, P_BAND, opposite, prim1(o, P_BNOT, prim2(o, P_IEQ, r, zero)));
    SV y =
        remainder ? pick(o, adjust, iadd(o, r, d), r) : pick(o, adjust, isub(o, q, word(o, 1)), q);
    return pick(o, by_zero, zero, y);
}

static SV divide_unsigned(const ScalarOps *o, SV a, SV b, bool remainder) {
    SV zero = word(o, 0), by_zero = prim2(o, P_IEQ, b, zero);
    SV d = pick(o, by_zero, word(o, 1), b);
    return pick(o, by_zero, zero, prim2(o, remainder ? P_UREM : P_UDIV, a, d));
}

static SV divide(const ScalarOps *o, Elem elem, SV a, SV b, bool remainder) {
    if (elem == ELEM_i32) return divide_signed(o, a, b, remainder);
    return divide_unsigned(o, a, b, remainder);
}

static SV shift(const ScalarOps *o, Op op, Elem elem, SV a, SV b) {
    SV by = prim2(o, P_AND, b, word(o, 31));
    Prim p = op == OP_shl ? P_SHL : elem == ELEM_i32 ? P_ASHR : P_LSHR;
    return prim2(o, p, a, by);
}

// ---- casts

// Truncates; NaN gives 0; beyond the range the nearest end.
static SV float_to_int(const ScalarOps *o, Elem to, SV x) {
    bool s = to == ELEM_i32;
    SV low = num(o, s ? -0x1p31f : 0.0f), high = num(o, s ? 0x1p31f : 0x1p32f), zero = num(o, 0.0f);
    SV above = fle(o, high, x);
    SV inside = prim2(o, P_BAND, fle(o, low, x), flt(o, x, high));
    SV v = prim1(o, s ? P_F2I_RAW : P_F2U_RAW, pick(o, inside, x, zero));
    v = pick(o, above, word(o, s ? 0x7fffffffu : 0xffffffffu), v);
    return s ? pick(o, flt(o, x, low), word(o, 0x80000000u), v) : v;
}

static SV to_bool(const ScalarOps *o, Elem elem, SV a) {
    if (elem == ELEM_bool) return a;
    SV zero = elem == ELEM_f32 ? feq(o, a, num(o, 0.0f)) : prim2(o, P_IEQ, a, word(o, 0));
    return prim1(o, P_BNOT, zero);
}

static SV to_float(const ScalarOps *o, Elem elem, SV a) {
    switch ((ElemKind)elem_info[elem].kind) {
    case ELEM_FLOAT: return a;
    case ELEM_INT: return prim1(o, P_I2F, a);
    case ELEM_UINT: return prim1(o, P_U2F, a);
    case ELEM_BOOL: return pick(o, a, num(o, 1.0f), num(o, 0.0f));
    }
    unreachable(elem);
}

// Between i32 and u32 the bits stay: the value wraps. To a narrow type: what it computes in, rounded; a u32
// is first cut to what both hold.
static SV cast(const ScalarOps *o, Elem elem, Elem to, SV a) {
    if (elem == to) return a;
    if (elem_is_narrow(to)) {
        if (elem == ELEM_u32 && elem_info[to].kind == ELEM_INT)
            a = prim2(o, P_UMIN, a, word(o, (uint32_t)elem_info[to].high));
        return scalar_round(o, to, cast(o, elem, (Elem)elem_info[to].computes, a));
    }
    elem = (Elem)elem_info[elem].computes;
    if (to == ELEM_f32) return to_float(o, elem, a);
    if (to == ELEM_bool) return to_bool(o, elem, a);
    if (elem == ELEM_f32) return float_to_int(o, to, a);
    return elem == ELEM_bool ? prim1(o, P_B2I, a) : a;
}

static SV bitcast(const ScalarOps *o, Elem elem, Elem to, SV a) {
    if ((elem == ELEM_f32) == (to == ELEM_f32)) return a;
    return elem == ELEM_f32 ? bits_of(o, a) : float_of(o, a);
}

// ---- the expansion

static SV negate(const ScalarOps *o, Elem elem, SV a) {
    return elem == ELEM_bool ? a : isub(o, word(o, 0), a);
}

static SV absolute(const ScalarOps *o, Elem elem, SV a) {
    return elem == ELEM_i32 ? prim2(o, P_SMAX, a, negate(o, elem, a)) : a;
}

static SV complement(const ScalarOps *o, Elem elem, SV a) {
    if (elem == ELEM_bool) return prim1(o, P_BNOT, a);
    return prim2(o, P_XOR, a, word(o, 0xffffffffu));
}

// Comparisons of bools, false below true.
static SV compare_bools(const ScalarOps *o, Op op, SV a, SV b) {
    if (op == OP_eq) return prim1(o, P_BNOT, prim2(o, P_BXOR, a, b));
    SV below = prim1(o, P_BNOT, a);
    return prim2(o, op == OP_lt ? P_BAND : P_BOR, below, b);
}

static SV remainder_of(const ScalarOps *o, Elem elem, SV a, SV b) {
    if (elem != ELEM_f32) return divide(o, elem, a, b, true);
    return fsub(o, a, fmul(o, prim1(o, P_FLOOR, fdiv(o, a, b)), b));
}

SV scalar_expand(const ScalarOps *o, Op op, Elem elem, Elem to, SV a, SV b, SV c) {
    int p = prim_of(op, elem);
    if (p >= 0) return prim2(o, (Prim)p, a, b);
    switch ((int)op) {
#define SCALAR(name, arity, rule, by, ...) by(name, arity)
#define PRIMS(name, arity)
#define MATH(name, arity)                                                                          \
    case OP_##name:                                                                                \
        return MATH_##arity(scalar_##name);
#define MATH_1(f) f(o, a)
#define MATH_2(f) f(o, a, b)
#include "ir/scalar.def"
#undef MATH_2
#undef MATH_1
#undef MATH
#undef PRIMS
#undef SCALAR
    case OP_neg: return negate(o, elem, a);
    case OP_abs: return absolute(o, elem, a);
    case OP_rsqrt: return fdiv(o, num(o, 1.0f), prim1(o, P_FSQRT, a));
    case OP_isfinite: return flt(o, prim1(o, P_FABS, a), num(o, INFINITY));
    case OP_not: return complement(o, elem, a);
    case OP_div: return divide(o, elem, a, b, false);
    case OP_rem: return remainder_of(o, elem, a, b);
    case OP_shl:
    case OP_shr: return shift(o, op, elem, a, b);
    case OP_ne: return prim1(o, P_BNOT, scalar_expand(o, OP_eq, elem, to, a, b, c));
    case OP_eq:
    case OP_lt:
    case OP_le: return compare_bools(o, op, a, b);
    case OP_select: return pick(o, a, b, c);
    case OP_fma: return fma3(o, a, b, c);
    case OP_cast: return cast(o, elem, to, a);
    case OP_bitcast: return bitcast(o, elem, to, a);
    default: unreachable(op); // an op outside scalar.def, or an element type its rule forbids
    }
}

// ---- folds

static Op fold_op(ReduceKind kind) {
    switch (kind) {
    case REDUCE_sum: return OP_add;
    case REDUCE_prod: return OP_mul;
    case REDUCE_min: return OP_min;
    case REDUCE_max: return OP_max;
    case REDUCE_any: return OP_or;
    case REDUCE_all: return OP_and;
    case REDUCE_COUNT: break;
    }
    unreachable(kind);
}

SV scalar_fold(const ScalarOps *o, ReduceKind kind, Elem elem, SV acc, SV x) {
    return scalar_expand(o, fold_op(kind), elem, elem, acc, x, (SV){0});
}

uint32_t scalar_eval_identity(ReduceKind kind, Elem elem) {
    switch (kind) {
    case REDUCE_sum:
    case REDUCE_any: return 0;
    case REDUCE_prod: return elem == ELEM_f32 ? 0x3f800000u : 1u;
    case REDUCE_min: return scalar_to_bits(elem, elem_info[elem].high);
    case REDUCE_max: return scalar_to_bits(elem, elem_info[elem].low);
    case REDUCE_all: return elem == ELEM_bool ? 1u : 0xffffffffu;
    case REDUCE_COUNT: break;
    }
    unreachable(kind);
}

SV scalar_identity(const ScalarOps *o, ReduceKind kind, Elem elem) {
    uint32_t bits = scalar_eval_identity(kind, elem);
    if (elem == ELEM_bool) return o->boolean(o->user, bits != 0);
    if (elem != ELEM_f32) return word(o, bits);
    float x;
    memcpy(&x, &bits, sizeof x);
    return num(o, x);
}

// ---- direct evaluation: an SV is the bits themselves

static float as_float(SV x) {
    float f;
    uint32_t bits = (uint32_t)x.v;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static SV of_bits(uint32_t x) { return (SV){x}; }
static SV of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (SV){bits};
}
static SV of_bool(bool x) { return (SV){x}; }

// IEEE 754-2019 minimum: NaN if either is, -0 < +0.
static float minimum(float a, float b) {
    if (a != a || b != b) return a + b;
    if (a == b) return signbit(a) ? a : b;
    return a < b ? a : b;
}
static float maximum(float a, float b) { return -minimum(-a, -b); }

// Below 2^-14 an f16 counts units of 2^-24, which rintf rounds to; above, the exponent has another bias. A
// fraction that rounds up carries into the exponent.
static uint32_t half_of(float x) {
    uint32_t sign = of_float(x).v >> 16 & 0x8000;
    float a = fabsf(x);
    if (a != a) return 0x7e00;
    if (a >= 65520.0f) return sign | 0x7c00;
    if (a < 0x1p-14f) return sign | (uint32_t)rintf(a * 0x1p24f);
    uint32_t u = (uint32_t)of_float(a).v;
    return sign | (((u + 0xfff + (u >> 13 & 1)) >> 13) - ((127 - 15) << 10));
}

static float float_of_half(uint32_t h) {
    uint32_t exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float a = exponent == 31  ? fraction ? NAN : INFINITY
              : exponent == 0 ? (float)fraction * 0x1p-24f
                              : ldexpf((float)(fraction | 0x400), (int)exponent - 25);
    return h >> 15 & 1 ? -a : a;
}

static SV eval_float(Prim p, float a, float b, float c) {
    switch ((int)p) {
    case P_FADD: return of_float(a + b);
    case P_FSUB: return of_float(a - b);
    case P_FMUL: return of_float(a * b);
    case P_FDIV: return of_float(a / b);
    case P_FMA: return of_float(fmaf(a, b, c));
    case P_FSQRT: return of_float(sqrtf(a));
    case P_FNEG: return of_float(-a);
    case P_FABS: return of_float(fabsf(a));
    case P_FLOOR: return of_float(floorf(a));
    case P_RINT: return of_float(rintf(a));
    case P_FMIN: return of_float(minimum(a, b));
    case P_FMAX: return of_float(maximum(a, b));
    case P_FLT: return of_bool(a < b);
    case P_FLE: return of_bool(a <= b);
    case P_FEQ: return of_bool(a == b);
    case P_F2H: return of_bits(half_of(a));
    case P_F2I_RAW:
        CHECK(a >= -0x1p31f && a < 0x1p31f, "conversion of %g in an expansion", (double)a);
        return of_bits((uint32_t)(int32_t)a);
    case P_F2U_RAW:
        CHECK(a > -1 && a < 0x1p32f, "conversion of %g in an expansion", (double)a);
        return of_bits((uint32_t)a);
    default: unreachable(p);
    }
}

// What expansions promise about the arguments of primitives (top of the file).
static void check_int(Prim p, uint32_t a, uint32_t b) {
    bool divides = p == P_SDIV || p == P_UDIV || p == P_SREM || p == P_UREM;
    bool shifts = p == P_SHL || p == P_LSHR || p == P_ASHR;
    bool is_signed = p == P_SDIV || p == P_SREM;
    CHECK(!divides || b != 0, "division by zero in an expansion");
    CHECK(!is_signed || a != 0x80000000u || b != 0xffffffffu, "overflow in an expansion");
    CHECK(!shifts || b < 32, "shift by %u in an expansion", b);
}

static SV eval_int(Prim p, uint32_t a, uint32_t b) {
    int32_t sa = (int32_t)a, sb = (int32_t)b;
    check_int(p, a, b);
    switch ((int)p) {
    case P_IADD: return of_bits(a + b);
    case P_ISUB: return of_bits(a - b);
    case P_IMUL: return of_bits(a * b);
    case P_UMULHI: return of_bits((uint32_t)((uint64_t)a * b >> 32));
    case P_SDIV: return of_bits((uint32_t)(sa / sb));
    case P_UDIV: return of_bits(a / b);
    case P_SREM: return of_bits((uint32_t)(sa % sb));
    case P_UREM: return of_bits(a % b);
    case P_AND: return of_bits(a & b);
    case P_OR: return of_bits(a | b);
    case P_XOR: return of_bits(a ^ b);
    case P_SHL: return of_bits(a << b);
    case P_LSHR: return of_bits(a >> b);
    case P_ASHR: return of_bits((uint32_t)(sa >> b));
    case P_SMIN: return of_bits(sa < sb ? a : b);
    case P_SMAX: return of_bits(sa > sb ? a : b);
    case P_UMIN: return of_bits(a < b ? a : b);
    case P_UMAX: return of_bits(a > b ? a : b);
    case P_SLT: return of_bool(sa < sb);
    case P_SLE: return of_bool(sa <= sb);
    case P_ULT: return of_bool(a < b);
    case P_ULE: return of_bool(a <= b);
    case P_IEQ: return of_bool(a == b);
    case P_I2F: return of_float((float)sa);
    case P_U2F: return of_float((float)a);
    default: unreachable(p);
    }
}

// The grouping of Prim in scalar.h: floats up to P_FMAX, the float compares and the raw
// conversions; bools and reinterpretations here; the rest integers.
static SV eval_prim(void *user, Prim p, SV a, SV b, SV c) {
    (void)user;
    if (p <= P_FMAX || (p >= P_FLT && p <= P_FEQ) || p == P_F2I_RAW || p == P_F2U_RAW || p == P_F2H)
        return eval_float(p, as_float(a), as_float(b), as_float(c));
    switch ((int)p) {
    case P_BAND: return (SV){a.v & b.v};
    case P_BOR: return (SV){a.v | b.v};
    case P_BXOR: return (SV){a.v ^ b.v};
    case P_BNOT: return (SV){a.v ^ 1};
    case P_SELECT: return a.v ? b : c;
    case P_F2BITS:
    case P_BITS2F:
    case P_B2I: return a;
    case P_H2F: return of_float(float_of_half((uint32_t)a.v));
    default: return eval_int(p, (uint32_t)a.v, (uint32_t)b.v);
    }
}

static SV eval_num(void *user, float x) {
    (void)user;
    return of_float(x);
}
static SV eval_word(void *user, uint32_t x) {
    (void)user;
    return of_bits(x);
}
static SV eval_boolean(void *user, bool x) {
    (void)user;
    return of_bool(x);
}

static const ScalarOps eval_ops = {NULL, eval_prim, eval_num, eval_word, eval_boolean};

uint32_t scalar_eval(Op op, Elem elem, Elem to, uint32_t a, uint32_t b, uint32_t c) {
    return (uint32_t)scalar_expand(&eval_ops, op, elem, to, (SV){a}, (SV){b}, (SV){c}).v;
}

uint32_t scalar_eval_fold(ReduceKind kind, Elem elem, uint32_t acc, uint32_t x) {
    return (uint32_t)scalar_fold(&eval_ops, kind, elem, (SV){acc}, (SV){x}).v;
}

uint32_t scalar_eval_philox(uint64_t index, uint32_t step, uint64_t key, uint64_t seed,
                            int word_of) {
    uint64_t k = key ^ seed;
    const SV counter[4] = {{(uint32_t)index}, {(uint32_t)(index >> 32)}, {step}, {0}};
    const SV keys[2] = {{(uint32_t)k}, {(uint32_t)(k >> 32)}};
    return (uint32_t)scalar_philox(&eval_ops, counter, keys, word_of).v;
}

// ---- in double

static double minimum64(double a, double b) {
    if (a != a || b != b) return a + b;
    if (a == b) return signbit(a) ? a : b;
    return a < b ? a : b;
}

static double eval_f64(Op op, double a, double b, double c) {
    switch ((int)op) {
#define SCALAR(name, arity, rule, by, ...) by(name, arity)
#define PRIMS(name, arity)
#define MATH(name, arity)                                                                          \
    case OP_##name:                                                                                \
        return MATH_##arity(name);
#define MATH_1(f) f(a)
#define MATH_2(f) f(a, b)
#include "ir/scalar.def"
#undef MATH_2
#undef MATH_1
#undef MATH
#undef PRIMS
#undef SCALAR
    case OP_neg: return -a;
    case OP_abs: return fabs(a);
    case OP_sqrt: return sqrt(a);
    case OP_rsqrt: return 1 / sqrt(a);
    case OP_floor: return floor(a);
    case OP_rint: return rint(a);
    case OP_isfinite: return isfinite(a) != 0;
    case OP_add: return a + b;
    case OP_sub: return a - b;
    case OP_mul: return a * b;
    case OP_div: return a / b;
    case OP_rem: return a - floor(a / b) * b;
    case OP_min: return minimum64(a, b);
    case OP_max: return -minimum64(-a, -b);
    case OP_eq: return a == b;
    case OP_ne: return a != b;
    case OP_lt: return a < b;
    case OP_le: return a <= b;
    case OP_fma: return fma(a, b, c);
    default: unreachable(op);
    }
}

uint32_t scalar_to_bits(Elem elem, double x) {
    uint32_t e = elem_info[elem].computes;
    if (e == ELEM_f32) return (uint32_t)of_float((float)x).v;
    if (e == ELEM_bool) return x != 0;
    return e == ELEM_i32 ? (uint32_t)(int32_t)x : (uint32_t)x;
}

double scalar_from_bits(Elem elem, uint32_t x) {
    uint32_t e = elem_info[elem].computes;
    if (e == ELEM_f32) return (double)as_float((SV){x});
    return e == ELEM_i32 ? (double)(int32_t)x : (double)x;
}

uint32_t scalar_to_memory(Elem elem, uint32_t bits) {
    return elem_is_narrow(elem) ? (uint32_t)scalar_cut(&eval_ops, elem, of_bits(bits)).v : bits;
}

uint32_t scalar_from_memory(Elem elem, uint32_t stored) {
    if (elem == ELEM_bool) return (stored & 0xff) != 0;
    if (!elem_is_narrow(elem)) return stored;
    return (uint32_t)scalar_widen(&eval_ops, elem, of_bits(stored)).v;
}

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

// A result is subnormal when it is below the least normal number after rounding to 24 bits without regard
// to the exponent: what f32 itself rounds up to 2^-126 may still be. The sum in double says which: near that
// bound it is exact, since the factors have 8 bits.
float scalar_fma_flushed(float a, float b, float acc) {
    a = flushed(a), b = flushed(b), acc = flushed(acc);
    double sum = fma((double)a, (double)b, (double)acc);
    return fabs(sum) < 0x1p-126 - 0x1p-151 ? copysignf(0, (float)sum) : fmaf(a, b, acc);
}

// As PTX's cvt.rna.tf32.f32. The carry goes into the exponent, beyond the largest to infinity.
float scalar_tf32(float x) {
    uint32_t bits = (uint32_t)of_float(x).v;
    return x != x ? x : as_float(of_bits((bits + 0x1000) & 0xffffe000u));
}

// Truncating and saturating, from the double itself: through f32 an integer above 2^24 would move.
static double int_of_f64(Elem to, double a) {
    double low = elem_info[to].low, high = elem_info[to].high;
    if (a != a) return 0;
    a = trunc(a);
    return a < low ? low : a > high ? high : a + 0.0;
}

double scalar_eval_f64(Op op, Elem elem, Elem to, double a, double b, double c) {
    if (op == OP_select) return a != 0 ? b : c;
    elem = (Elem)elem_info[elem].computes;
    if (op == OP_cast && elem_info[to].kind == ELEM_FLOAT) return a; // a narrow type rounds nothing
    if (op == OP_cast && elem == ELEM_f32 && to != ELEM_bool) return int_of_f64(to, a);
    if (op == OP_cast && elem == ELEM_f32) return a != 0;
    if (elem == ELEM_f32 && op != OP_bitcast) return eval_f64(op, a, b, c);
    bool compare = op_info[op].rule == RULE_COMPARE;
    Elem result = op == OP_cast || op == OP_bitcast ? to : compare ? ELEM_bool : elem;
    uint32_t r = scalar_eval(op, elem, to, scalar_to_bits(elem, a), scalar_to_bits(elem, b),
                             scalar_to_bits(elem, c));
    return scalar_from_bits(result, r);
}

double scalar_eval_fold_f64(ReduceKind kind, Elem elem, double acc, double x) {
    return scalar_eval_f64(fold_op(kind), elem, elem, acc, x, 0);
}

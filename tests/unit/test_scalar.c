// The scalar definitions: every function against long double libm with the bound that
// ir/scalar_math.c states, over samples of all floats; special cases by table; integers and casts
// against 64-bit arithmetic; Philox against the published known-answer vectors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/scalar.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static float eval(Op op, float a, float b) {
    return from_bits(scalar_eval(op, ELEM_f32, ELEM_f32, to_bits(a), to_bits(b), 0));
}
static bool same(float a, float b) { return (isnan(a) && isnan(b)) || to_bits(a) == to_bits(b); }

// Error in units in the last place of a float as large as `want`; an infinity counts as 2^128.
static double ulps(float got, long double want) {
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (isnan(got)) return INFINITY;
    long double big = 0x1p128L, g = got, w = want;
    if (isinf(got)) g = got < 0 ? -big : big;
    if (fabsl(w) > big) w = w < 0 ? -big : big;
    int e;
    frexpl(w, &e);
    if (e < -125) e = -125; // subnormals
    if (e > 128) e = 128;
    return (double)(fabsl(g - w) / ldexpl(1, e - 24));
}

// ---- functions of one argument

typedef struct {
    Op op;
    const char *name;
    long double (*reference)(long double);
    double bound;
    float limit; // arguments beyond are not held to the bound
} ScalarFunction;

static const ScalarFunction functions[] = {
    {OP_exp, "exp", expl, 1.1, INFINITY},       {OP_log, "log", logl, 0.9, INFINITY},
    {OP_expm1, "expm1", expm1l, 1.2, INFINITY}, {OP_log1p, "log1p", log1pl, 1.0, INFINITY},
    {OP_tanh, "tanh", tanhl, 1.3, INFINITY},    {OP_erf, "erf", erfl, 1.1, INFINITY},
    {OP_sin, "sin", sinl, 1.3, 1048576.0f},     {OP_cos, "cos", cosl, 1.3, 1048576.0f},
};

static void check_one(const ScalarFunction *f, uint32_t bits) {
    float x = from_bits(bits), got = eval(f->op, x, 0);
    if (fabsf(x) > f->limit) {
        if (isinf(x) ? !isnan(got) : !(fabsf(got) <= 1))
            fail_msg("%s(%a) = %a is not in [-1, 1]", f->name, (double)x, (double)got);
        return;
    }
    long double want = f->reference((long double)x);
    if (!(ulps(got, want) <= f->bound))
        fail_msg("%s(%a) = %a, expected %La: %.3f ulp", f->name, (double)x, (double)got, want,
                 ulps(got, want));
}

static void test_functions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        const ScalarFunction *f = &functions[i];
        for (uint64_t u = 0; u < 1ull << 32; u += 6007) check_one(f, (uint32_t)u);
        // Around zero, subnormals, one, and the borders of the reductions, both signs.
        static const float centres[] = {
            0.0f,     0x1p-126f, 0x1p-24f, 0.3465736f, 0.625f,       0.66667f,   0.9375f,    1.0f,
            1.33333f, 4.0f,      88.7228f, 87.3365f,   103.9720767f, 1.5707964f, 3.1415927f, 9.0f,
            0x1p20f,  INFINITY,  0x1p-25f, 0.34657f,   1.03972f,     17.0f,      18.0f,      89.0f};
        for (size_t c = 0; c < sizeof centres / sizeof *centres; c++)
            for (int32_t d = -2000; d <= 2000; d++) {
                uint32_t u = to_bits(centres[c]) + (uint32_t)d;
                check_one(f, u);
                check_one(f, u ^ 0x80000000u);
            }
    }
}

static void test_special_values(void **state) {
    (void)state;
    static const struct {
        Op op;
        float x, want;
    } cases[] = {
        {OP_exp, INFINITY, INFINITY},
        {OP_exp, -INFINITY, 0},
        {OP_exp, 0, 1},
        {OP_exp, -0.0f, 1},
        {OP_exp, NAN, NAN},
        {OP_exp, 1e30f, INFINITY},
        {OP_exp, -1e30f, 0},
        {OP_exp, -103.0f, 0x1p-149f},
        {OP_log, 0, -INFINITY},
        {OP_log, -0.0f, -INFINITY},
        {OP_log, -1, NAN},
        {OP_log, INFINITY, INFINITY},
        {OP_log, -INFINITY, NAN},
        {OP_log, NAN, NAN},
        {OP_log, 1, 0},
        {OP_expm1, INFINITY, INFINITY},
        {OP_expm1, -INFINITY, -1},
        {OP_expm1, -0.0f, -0.0f},
        {OP_expm1, 0x1p-149f, 0x1p-149f},
        {OP_expm1, 1e30f, INFINITY},
        {OP_expm1, -1e30f, -1},
        {OP_expm1, NAN, NAN},
        {OP_log1p, INFINITY, INFINITY},
        {OP_log1p, -INFINITY, NAN},
        {OP_log1p, -1, -INFINITY},
        {OP_log1p, -2, NAN},
        {OP_log1p, -0.0f, -0.0f},
        {OP_log1p, -0x1p-149f, -0x1p-149f},
        {OP_log1p, NAN, NAN},
        {OP_tanh, INFINITY, 1},
        {OP_tanh, -INFINITY, -1},
        {OP_tanh, -0.0f, -0.0f},
        {OP_tanh, NAN, NAN},
        {OP_erf, INFINITY, 1},
        {OP_erf, -INFINITY, -1},
        {OP_erf, -0.0f, -0.0f},
        {OP_erf, NAN, NAN},
        {OP_sin, -0.0f, -0.0f},
        {OP_sin, INFINITY, NAN},
        {OP_sin, NAN, NAN},
        {OP_cos, -INFINITY, NAN},
        {OP_cos, 0, 1},
        {OP_cos, NAN, NAN},
        {OP_sqrt, -1, NAN},
        {OP_sqrt, -0.0f, -0.0f},
        {OP_rsqrt, 0, INFINITY},
        {OP_rsqrt, INFINITY, 0},
        {OP_rsqrt, 4, 0.5f},
        {OP_floor, -0.5f, -1},
        {OP_rint, 2.5f, 2},
        {OP_rint, -0.5f, -0.0f},
        {OP_neg, 0, -0.0f},
        {OP_abs, -0.0f, 0},
        {OP_tanh, 0x1p-149f, 0x1p-149f},
        {OP_erf, -0x1p-149f, -0x1p-149f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float got = eval(cases[i].op, cases[i].x, 0);
        if (!same(got, cases[i].want))
            fail_msg("%s(%a) = %a, expected %a", op_info[cases[i].op].name, (double)cases[i].x,
                     (double)got, (double)cases[i].want);
    }
}

// ---- pow

static void check_pow(float x, float y) {
    long double want = powl((long double)x, (long double)y);
    float got = eval(OP_pow, x, y);
    if (!(ulps(got, want) <= 0.8) || (want == 0 && !signbit(got) != !signbit(want)))
        fail_msg("pow(%a, %a) = %a, expected %La: %.3f ulp", (double)x, (double)y, (double)got,
                 want, ulps(got, want));
}

static void test_pow(void **state) {
    (void)state;
    static const float special[] = {0.0f,
                                    1.0f,
                                    2.0f,
                                    3.0f,
                                    0.5f,
                                    1.5f,
                                    7.0f,
                                    0.75f,
                                    1e30f,
                                    1e-30f,
                                    0x1p-149f,
                                    0x1p24f,
                                    0x1.fffffep127f,
                                    INFINITY,
                                    16777215.0f,
                                    1.0000001f,
                                    0.99999994f};
    size_t n = sizeof special / sizeof *special;
    for (size_t i = 0; i < 2 * n; i++)
        for (size_t j = 0; j < 2 * n; j++)
            check_pow(i < n ? special[i] : -special[i - n], j < n ? special[j] : -special[j - n]);
    for (size_t i = 0; i < n;
         i++) { // the C library agrees with IEEE on these; by hand all the same
        assert_true(same(eval(OP_pow, special[i], NAN), special[i] == 1 ? 1.0f : NAN));
        assert_true(same(eval(OP_pow, NAN, special[i]), special[i] == 0 ? 1.0f : NAN));
    }
    uint32_t r = 1;
    for (int i = 0; i < 300000; i++) {
        r = r * 1664525u + 1013904223u;
        uint32_t s = r * 22695477u + 1u;
        float x = from_bits(r & 0x7fffffffu), y = from_bits(s);
        check_pow(x, y);
        // A result inside the range: y = t / log2 x.
        double l = log2((double)x);
        if (isfinite(l) && l != 0)
            check_pow(x, (float)((double)(s >> 8) * 0x1p-24 * 300 - 150) / (float)l);
        check_pow(1 + (float)((int)(r >> 16) - 32768) * 0x1p-22f,
                  (float)((int)(s >> 12) - 524288) * 0.25f);
    }
}

// What adamw asks of it: b^step for any step, and exact results where they exist.
static void test_pow_integers(void **state) {
    (void)state;
    static const float betas[] = {0.9f, 0.95f, 0.99f, 0.999f, 0.9999f};
    for (size_t b = 0; b < 5; b++)
        for (int step = 1; step < 100000; step += 1 + step / 50) check_pow(betas[b], (float)step);
    for (int base = 2; base < 200; base++) {
        double p = 1;
        for (int e = 0; p < 0x1p24; e++, p *= base) {
            assert_true(eval(OP_pow, (float)base, (float)e) == (float)p);
            assert_true(eval(OP_pow, (float)-base, (float)e) == (float)(e & 1 ? -p : p));
        }
    }
}

// ---- integers

static const uint32_t words[] = {0,           1,           2,           3,           7,
                                 31,          32,          33,          100,         0x7fffffffu,
                                 0x80000000u, 0x80000001u, 0xffffffffu, 0xfffffffeu, 0xfffffff9u,
                                 12345678u,   0xdeadbeefu};
enum { WORDS = sizeof words / sizeof *words };

static uint32_t int_op(Op op, Elem e, Elem to, uint32_t a, uint32_t b) {
    return scalar_eval(op, e, to, a, b, 0);
}

static int64_t floored(int64_t a, int64_t b, bool remainder) {
    if (b == 0) return 0;
    int64_t q = a / b, r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) q--, r += b;
    return remainder ? r : q;
}

static void test_integers(void **state) {
    (void)state;
    for (int i = 0; i < WORDS; i++)
        for (int j = 0; j < WORDS; j++)
            for (int s = 0; s < 2; s++) {
                Elem e = s ? ELEM_i32 : ELEM_u32;
                uint32_t a = words[i], b = words[j];
                int64_t x = s ? (int64_t)(int32_t)a : a, y = s ? (int64_t)(int32_t)b : b;
                assert_int_equal(int_op(OP_add, e, e, a, b), (uint32_t)(x + y));
                assert_int_equal(int_op(OP_sub, e, e, a, b), (uint32_t)(x - y));
                assert_int_equal(int_op(OP_mul, e, e, a, b), a * b);
                assert_int_equal(int_op(OP_div, e, e, a, b), (uint32_t)floored(x, y, false));
                assert_int_equal(int_op(OP_rem, e, e, a, b), (uint32_t)floored(x, y, true));
                assert_int_equal(int_op(OP_min, e, e, a, b), (uint32_t)(x < y ? x : y));
                assert_int_equal(int_op(OP_max, e, e, a, b), (uint32_t)(x > y ? x : y));
                assert_int_equal(int_op(OP_eq, e, ELEM_bool, a, b), x == y);
                assert_int_equal(int_op(OP_ne, e, ELEM_bool, a, b), x != y);
                assert_int_equal(int_op(OP_lt, e, ELEM_bool, a, b), x < y);
                assert_int_equal(int_op(OP_le, e, ELEM_bool, a, b), x <= y);
                assert_int_equal(int_op(OP_and, e, e, a, b), a & b);
                assert_int_equal(int_op(OP_or, e, e, a, b), a | b);
                assert_int_equal(int_op(OP_xor, e, e, a, b), a ^ b);
                assert_int_equal(int_op(OP_not, e, e, a, 0), ~a);
                assert_int_equal(int_op(OP_neg, e, e, a, 0), 0u - a);
                assert_int_equal(int_op(OP_abs, e, e, a, 0), s && x < 0 ? 0u - a : a);
                assert_int_equal(int_op(OP_shl, e, e, a, b), a << (b & 31));
                assert_int_equal(int_op(OP_shr, e, e, a, b),
                                 s ? (uint32_t)((int32_t)a >> (b & 31)) : a >> (b & 31));
                assert_true(
                    scalar_eval_f64(OP_div, e, e, (double)x, (double)y, 0) ==
                    (s ? (double)(int32_t)floored(x, y, false) : (double)floored(x, y, false)));
            }
}

static void test_bools(void **state) {
    (void)state;
    for (uint32_t a = 0; a < 2; a++)
        for (uint32_t b = 0; b < 2; b++) {
            assert_int_equal(int_op(OP_and, ELEM_bool, ELEM_bool, a, b), a & b);
            assert_int_equal(int_op(OP_or, ELEM_bool, ELEM_bool, a, b), a | b);
            assert_int_equal(int_op(OP_xor, ELEM_bool, ELEM_bool, a, b), a ^ b);
            assert_int_equal(int_op(OP_not, ELEM_bool, ELEM_bool, a, 0), !a);
            assert_int_equal(int_op(OP_eq, ELEM_bool, ELEM_bool, a, b), a == b);
            assert_int_equal(int_op(OP_ne, ELEM_bool, ELEM_bool, a, b), a != b);
            assert_int_equal(int_op(OP_lt, ELEM_bool, ELEM_bool, a, b), a < b);
            assert_int_equal(int_op(OP_le, ELEM_bool, ELEM_bool, a, b), a <= b);
            assert_int_equal(scalar_eval(OP_select, ELEM_bool, ELEM_bool, a, b, !b), a ? b : !b);
        }
}

static void test_casts(void **state) {
    (void)state;
    static const struct {
        float x;
        uint32_t i, u;
        bool b;
    } cases[] = {
        {0, 0, 0, false},
        {-0.0f, 0, 0, false},
        {0.99f, 0, 0, true},
        {-0.99f, 0, 0, true},
        {-1.5f, 0xffffffffu, 0, true},
        {3e9f, 0x7fffffffu, 3000000000u, true},
        {-3e9f, 0x80000000u, 0, true},
        {-0x1p31f, 0x80000000u, 0, true},
        {0x1p31f, 0x7fffffffu, 0x80000000u, true},
        {0x1p32f, 0x7fffffffu, 0xffffffffu, true},
        {INFINITY, 0x7fffffffu, 0xffffffffu, true},
        {-INFINITY, 0x80000000u, 0, true},
        {NAN, 0, 0, true},
        {16777217.0f, 16777216u, 16777216u, true},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint32_t x = to_bits(cases[k].x);
        assert_int_equal(int_op(OP_cast, ELEM_f32, ELEM_i32, x, 0), cases[k].i);
        assert_int_equal(int_op(OP_cast, ELEM_f32, ELEM_u32, x, 0), cases[k].u);
        assert_int_equal(int_op(OP_cast, ELEM_f32, ELEM_bool, x, 0), cases[k].b);
        double v = (double)cases[k].x;
        assert_true(scalar_eval_f64(OP_cast, ELEM_f32, ELEM_i32, v, 0, 0) ==
                    (double)(int32_t)cases[k].i);
        assert_true(scalar_eval_f64(OP_cast, ELEM_f32, ELEM_u32, v, 0, 0) == (double)cases[k].u);
    }
    for (int k = 0; k < WORDS; k++) {
        uint32_t w = words[k];
        assert_int_equal(int_op(OP_cast, ELEM_i32, ELEM_f32, w, 0), to_bits((float)(int32_t)w));
        assert_int_equal(int_op(OP_cast, ELEM_u32, ELEM_f32, w, 0), to_bits((float)w));
        assert_int_equal(int_op(OP_cast, ELEM_i32, ELEM_u32, w, 0), w);
        assert_int_equal(int_op(OP_cast, ELEM_i32, ELEM_bool, w, 0), w != 0);
        assert_int_equal(int_op(OP_bitcast, ELEM_i32, ELEM_f32, w, 0), w);
        assert_int_equal(int_op(OP_bitcast, ELEM_f32, ELEM_u32, w, 0), w);
        assert_true(scalar_to_bits(ELEM_i32, scalar_from_bits(ELEM_i32, w)) == w);
        assert_true(scalar_to_bits(ELEM_u32, scalar_from_bits(ELEM_u32, w)) == w);
    }
    assert_int_equal(int_op(OP_cast, ELEM_bool, ELEM_f32, 1, 0), to_bits(1));
    assert_int_equal(int_op(OP_cast, ELEM_bool, ELEM_i32, 1, 0), 1);
}

// ---- float rules

static void test_floats(void **state) {
    (void)state;
    assert_true(same(eval(OP_min, NAN, 1), NAN) && same(eval(OP_max, 1, NAN), NAN));
    assert_true(same(eval(OP_min, 0.0f, -0.0f), -0.0f) && same(eval(OP_max, -0.0f, 0.0f), 0.0f));
    assert_true(same(eval(OP_min, -0.0f, 0.0f), -0.0f) && same(eval(OP_max, 0.0f, -0.0f), 0.0f));
    assert_true(same(eval(OP_max, -INFINITY, 3), 3) && same(eval(OP_min, INFINITY, 3), 3));
    assert_true(same(eval(OP_rem, -7, 3), 2) && same(eval(OP_rem, 7, -3), -2));
    assert_true(same(eval(OP_rem, 5.5f, 2), 1.5f) && isnan(eval(OP_rem, 1, 0)));
    assert_true(same(eval(OP_div, 1, 0), INFINITY) && same(eval(OP_mul, 0x1p-149f, 0.5f), 0));
    static const float x[] = {1, -0.0f, INFINITY, NAN, 0x1p-149f};
    static const bool finite[] = {true, true, false, false, true};
    for (int i = 0; i < 5; i++)
        assert_int_equal(int_op(OP_isfinite, ELEM_f32, ELEM_bool, to_bits(x[i]), 0), finite[i]);
    assert_int_equal(int_op(OP_ne, ELEM_f32, ELEM_bool, to_bits(NAN), to_bits(NAN)), 1);
    assert_int_equal(int_op(OP_le, ELEM_f32, ELEM_bool, to_bits(NAN), to_bits(1)), 0);
    float fused = from_bits(scalar_eval(OP_fma, ELEM_f32, ELEM_f32, to_bits(1 + 0x1p-12f),
                                        to_bits(1 - 0x1p-12f), to_bits(-1)));
    assert_true(fused == -0x1p-24f); // two roundings would give 0
}

static void test_folds(void **state) {
    (void)state;
    for (int kind = 0; kind < REDUCE_COUNT; kind++)
        for (int elem = 0; elem < ELEM_COUNT; elem++) {
            bool logic = kind == REDUCE_any || kind == REDUCE_all;
            if (logic != (elem == ELEM_bool) || elem_is_narrow((Elem)elem)) continue;
            for (int i = 0; i < WORDS; i++) {
                uint32_t all = UINT32_MAX >> (32 - 8 * elem_info[elem].bytes);
                uint32_t x = words[i] & (elem == ELEM_bool ? 1 : all);
                if (elem == ELEM_f32 && x == 0x80000000u && kind == REDUCE_sum)
                    continue; // 0 + -0 = 0
                uint32_t id = scalar_eval_identity((ReduceKind)kind, (Elem)elem);
                uint32_t y = scalar_eval_fold((ReduceKind)kind, (Elem)elem, id, x);
                if (elem == ELEM_f32 && isnan(from_bits(x)))
                    assert_true(isnan(from_bits(y)));
                else
                    assert_int_equal(y, x);
            }
        }
    assert_true(scalar_eval_fold_f64(REDUCE_max, ELEM_f32, 1, 2) == 2);
    assert_true(scalar_eval_fold_f64(REDUCE_sum, ELEM_i32, 2147483647, 1) == -2147483648.0);
}

// ---- Philox

// A table with the four primitives that Philox may use.
static SV philox_prim(void *user, Prim p, SV a, SV b, SV c) {
    (void)user;
    (void)c;
    if (p == P_IADD) return (SV){(uint32_t)(a.v + b.v)};
    if (p == P_XOR) return (SV){a.v ^ b.v};
    if (p == P_IMUL) return (SV){(uint32_t)(a.v * b.v)};
    if (p == P_UMULHI) return (SV){a.v * b.v >> 32};
    fail_msg("primitive %d", (int)p);
    return (SV){0};
}
static SV philox_word(void *user, uint32_t x) {
    (void)user;
    return (SV){x};
}

// philox4x32-10 of the Random123 distribution's kat_vectors.
static void test_philox(void **state) {
    (void)state;
    static const uint32_t vectors[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    const ScalarOps o = {.prim = philox_prim, .i32 = philox_word};
    for (int v = 0; v < 3; v++)
        for (int w = 0; w < 4; w++) {
            const uint32_t *k = vectors[v];
            const SV counter[4] = {{k[0]}, {k[1]}, {k[2]}, {k[3]}}, key[2] = {{k[4]}, {k[5]}};
            assert_int_equal(scalar_philox(&o, counter, key, w).v, k[6 + w]);
        }
    // The wrapper: counter (index, step, 0), key (stream ^ seed).
    assert_int_equal(scalar_eval_philox(0, 0, 0, 0, 0), 0x6627e8d5);
    assert_int_equal(scalar_eval_philox(0, 0, 0x1234567890abcdefull, 0x1234567890abcdefull, 3),
                     0x9b00dbd8);
    const SV counter[4] = {{5}, {2}, {9}, {0}}, key[2] = {{0x11}, {0x33}};
    uint32_t want = (uint32_t)scalar_philox(&o, counter, key, 1).v;
    assert_int_equal(scalar_eval_philox(0x200000005ull, 9, 0x3300000000ull, 0x11, 1), want);
}

// The F64 evaluator is libm's: a different error, the same function.
static void test_f64(void **state) {
    (void)state;
    static const float points[] = {-3.5f, -1.0f, -0.25f, 0.125f, 0.5f, 0.9f, 1.7f, 6.0f};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (int op = 0; op < OP_SCALARS; op++) {
            bool unary = op_info[op].min == 1 && op_info[op].rule == RULE_FLOAT;
            bool binary = op_info[op].min == 2 && op != OP_rem &&
                          (op_info[op].rule == RULE_FLOAT || op_info[op].rule == RULE_ARITH);
            if (!unary && !binary) continue;
            double exact = (double)eval((Op)op, points[i], 0.75f);
            double wide = scalar_eval_f64((Op)op, ELEM_f32, ELEM_f32, (double)points[i], 0.75, 0);
            if (isnan(exact) ? !isnan(wide)
                             : exact != wide && !(fabs(exact - wide) <= 2e-7 * fabs(wide)))
                fail_msg("%s(%g): %.9g and %.9g", op_info[op].name, (double)points[i], exact, wide);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_pow),       cmocka_unit_test(test_pow_integers),
        cmocka_unit_test(test_integers),  cmocka_unit_test(test_bools),
        cmocka_unit_test(test_casts),     cmocka_unit_test(test_floats),
        cmocka_unit_test(test_folds),     cmocka_unit_test(test_philox),
        cmocka_unit_test(test_f64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

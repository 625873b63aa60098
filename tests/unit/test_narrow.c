// Narrow element types: every value through every cast, roundings of f32 by a stride over all 2^32, against
// arithmetic in double that knows a type by its digits and its range; the runtime's conversions against the
// same; the flushing fused multiply-add against the machine's. SINTER_LONG=1: every f32 to bf16 and f16.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/scalar.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// A float: digits of the significand, the exponent of the least unit, the largest number, which larger ones
// become where it saturates. last: all ones of the exponent are numbers, but for all ones of the rest.
typedef struct {
    Elem elem;
    int digits, unit;
    double most;
    bool saturates, last;
} NarrowFloat;

static const NarrowFloat narrow_floats[] = {
    {ELEM_bf16, 8, -133, 0x1.fep127, false, false},
    {ELEM_f16, 11, -24, 65504, false, false},
    {ELEM_f8e4m3, 4, -9, 448, true, true},
    {ELEM_f8e5m2, 3, -16, 57344, true, false},
};
enum { NARROW_FLOATS = sizeof narrow_floats / sizeof *narrow_floats };

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
static bool same(double a, double b) {
    return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

// The value of stored bits: sign, exponent, fraction; all ones of the exponent are infinity and NaN.
static double value_of(const NarrowFloat *t, uint32_t stored) {
    int width = 8 * elem_info[t->elem].bytes, fraction = t->digits - 1;
    uint32_t ones = (1u << (width - 1 - fraction)) - 1, exponent = stored >> fraction & ones,
             f = stored & ((1u << fraction) - 1);
    bool special = exponent == ones && (!t->last || f == (1u << fraction) - 1);
    double x = special    ? f ? (double)NAN : (double)INFINITY
               : exponent ? ldexp((double)(f | 1u << fraction), t->unit + (int)exponent - 1)
                          : ldexp((double)f, t->unit);
    return stored >> (width - 1) & 1 ? -x : x;
}

// The nearest of the type, ties to even.
static double nearest_of(const NarrowFloat *t, double x) {
    int e;
    if (isinf(x) && t->saturates) return copysign(t->most, x);
    if (!isfinite(x) || x == 0) return x;
    frexp(x, &e);
    int unit = e - t->digits > t->unit ? e - t->digits : t->unit;
    double y = ldexp(rint(ldexp(x, -unit)), unit);
    double beyond = t->saturates ? t->most : (double)INFINITY;
    return copysign(fabs(y) > t->most ? beyond : y, x);
}

static double cast(Elem from, Elem to, double x) {
    return scalar_from_bits(to, scalar_eval(OP_cast, from, to, scalar_to_bits(from, x), 0, 0));
}

static double truncated(double x, double low, double high) {
    if (isnan(x)) return 0;
    x = trunc(x);
    return x < low ? low : x > high ? high : x + 0.0;
}

// What a real is in another type.
static double expected(Elem to, double x) {
    for (int i = 0; i < NARROW_FLOATS; i++)
        if (narrow_floats[i].elem == to) return nearest_of(&narrow_floats[i], x);
    if (to == ELEM_f32) return (double)(float)x;
    if (to == ELEM_bool) return x != 0;
    return truncated(x, elem_info[to].low, elem_info[to].high);
}

static void test_every_value(void **state) {
    (void)state;
    for (int i = 0; i < NARROW_FLOATS; i++) {
        const NarrowFloat *t = &narrow_floats[i];
        for (uint32_t stored = 0; stored < 1u << 8 * elem_info[t->elem].bytes; stored++) {
            double x = value_of(t, stored);
            // what stands above the stored bits does not count
            uint32_t bits = scalar_from_memory(t->elem, stored | 0xabcd0000u);
            assert_true(same(scalar_from_bits(t->elem, bits), x));
            uint32_t all = UINT32_MAX >> (32 - 8 * elem_info[t->elem].bytes);
            uint32_t back = scalar_to_memory(t->elem, bits) & all;
            assert_true(isnan(x) ? isnan(value_of(t, back)) : back == stored);
            for (Elem to = 0; to < ELEM_COUNT; to++)
                if (to != t->elem && !same(cast(t->elem, to, x), expected(to, x)))
                    fail_msg("%s %g to %s: %g", elem_info[t->elem].name, x, elem_info[to].name,
                             cast(t->elem, to, x));
        }
    }
}

// The least positive f32 that is rounded to more than `stored`; beyond the largest as if there were one more.
static uint32_t end_of(const NarrowFloat *t, uint32_t stored) {
    double low = value_of(t, stored);
    double high = low < t->most ? value_of(t, stored + 1) : 2 * low - value_of(t, stored - 1);
    return to_bits((float)((low + high) / 2)) + (stored % 2 == 0);
}

// Every step-th f32 of [from, to), of both signs: the values of the type are walked beside them, so that what is
// expected changes only where a value ends.
static bool round_all(const NarrowFloat *t, uint32_t from, uint32_t to, uint32_t step) {
    const uint32_t infinity = 0x7f800000;
    uint32_t stored = 0, want = 0, end = end_of(t, 0);
    for (uint32_t u = from; u < to; u += step) {
        while (u >= end && end <= infinity)
            if (value_of(t, stored) < t->most) {
                want = to_bits((float)value_of(t, ++stored));
                end = end_of(t, stored);
            } else {
                want = t->saturates ? want : infinity;
                end = infinity + 1;
            }
        for (uint32_t sign = 0; sign < 2; sign++) {
            uint32_t y = scalar_eval(OP_cast, ELEM_f32, t->elem, u | sign << 31, 0, 0);
            if (u > infinity ? isnan(from_bits(y)) : y == (want | sign << 31)) continue;
            print_error("%a to %s: %a, not %a\n", (double)from_bits(u | sign << 31),
                        elem_info[t->elem].name, (double)from_bits(y),
                        u > infinity ? (double)NAN : (double)from_bits(want | sign << 31));
            return false;
        }
    }
    return true;
}

// By processes, as many as there are cores. Types of 8 bits, which are not computed with yet, every 31st.
static void round_everything(const NarrowFloat *t) {
    enum { PIECES = 256, PIECE = (1u << 31) / PIECES };
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    for (long child = 0; child < n; child++) {
        if (fork()) continue;
        for (uint32_t i = (uint32_t)child; i < PIECES; i += (uint32_t)n)
            if (!round_all(t, i * PIECE, (i + 1) * PIECE, elem_info[t->elem].bytes == 1 ? 31 : 1))
                _exit(1);
        _exit(0);
    }
    int status, failed = 0;
    while (wait(&status) > 0) failed |= status;
    assert_int_equal(failed, 0);
}

static void test_roundings(void **state) {
    (void)state;
    uint64_t step = 4093;
    for (int i = 0; i < NARROW_FLOATS && getenv("SINTER_LONG"); i++)
        round_everything(&narrow_floats[i]);
    for (int i = 0; i < NARROW_FLOATS; i++) {
        const NarrowFloat *t = &narrow_floats[i];
        for (uint64_t u = 0; u < UINT64_C(1) << 32; u += step) {
            float x = from_bits((uint32_t)u);
            uint32_t y = scalar_eval(OP_cast, ELEM_f32, t->elem, (uint32_t)u, 0, 0);
            if (!same((double)from_bits(y), nearest_of(t, (double)x)))
                fail_msg("%a to %s: %a", (double)x, elem_info[t->elem].name, (double)from_bits(y));
        }
    }
}

// Around each value and around each middle between neighbours: where a rounding changes.
static void test_ties(void **state) {
    (void)state;
    for (int i = 0; i < NARROW_FLOATS; i++) {
        const NarrowFloat *t = &narrow_floats[i];
        uint32_t last = (1u << (8 * elem_info[t->elem].bytes - 1)) - 1;
        for (uint32_t stored = 0; stored < last; stored++) {
            double a = value_of(t, stored), b = value_of(t, stored + 1);
            if (!isfinite(a)) break;
            uint32_t middle = to_bits((float)(isfinite(b) ? (a + b) / 2 : t->most));
            const uint32_t at[] = {to_bits((float)a), middle};
            for (int k = 0; k < 2; k++)
                for (uint32_t u = at[k] - (at[k] > 0); u != at[k] + 2; u++)
                    for (uint32_t sign = 0; sign < 2; sign++) {
                        float x = from_bits(u | sign << 31);
                        double y = cast(ELEM_f32, t->elem, (double)x);
                        if (!same(y, nearest_of(t, (double)x)))
                            fail_msg("%a to %s: %a", (double)x, elem_info[t->elem].name, y);
                    }
        }
    }
}

// From integers: through f32, as a cast to a real is, and then to the narrow type.
static void test_integers(void **state) {
    (void)state;
    static const double whole[] = {0,    1,     -1,    255,        256,        257,          258,
                                   2049, 65519, 65520, 2147483647, 4294967295, -2147483648.0};
    for (int i = 0; i < NARROW_FLOATS; i++)
        for (size_t k = 0; k < sizeof whole / sizeof *whole; k++)
            for (Elem from = ELEM_i32; from <= ELEM_bool; from++) {
                double x = whole[k];
                if (x < elem_info[from].low || x > elem_info[from].high) continue;
                const NarrowFloat *t = &narrow_floats[i];
                assert_true(same(cast(from, t->elem, x), nearest_of(t, (double)(float)x)));
            }
}

static void test_i8(void **state) {
    (void)state;
    static const double whole[] = {0,    1,    -1,   126,        127,        128,          129,
                                   -127, -128, -129, 2147483647, 4294967295, -2147483648.0};
    for (uint32_t stored = 0; stored < 256; stored++) {
        double x = (double)(int8_t)stored;
        uint8_t at = (uint8_t)stored, back;
        uint32_t bits = scalar_from_memory(ELEM_i8, stored | 0xabcdef00u);
        assert_true(scalar_from_bits(ELEM_i8, bits) == x);
        assert_int_equal(scalar_to_memory(ELEM_i8, bits) & 0xff, stored);
        assert_true(sn_elem_get(SN_ELEM_i8, &at) == x);
        sn_elem_set(SN_ELEM_i8, &back, x);
        assert_int_equal(back, at);
        assert_true(cast(ELEM_i8, ELEM_i32, x) == x);
        assert_true(cast(ELEM_i8, ELEM_u32, x) == (double)(uint32_t)(int32_t)x); // wraps
        assert_true(cast(ELEM_i8, ELEM_bool, x) == (x != 0));
        assert_true(cast(ELEM_i8, ELEM_f32, x) == x);
        for (int i = 0; i < NARROW_FLOATS; i++)
            assert_true(
                same(cast(ELEM_i8, narrow_floats[i].elem, x), nearest_of(&narrow_floats[i], x)));
    }
    for (size_t k = 0; k < sizeof whole / sizeof *whole; k++)
        for (Elem from = ELEM_i32; from <= ELEM_bool; from++) {
            double x = whole[k];
            if (x < elem_info[from].low || x > elem_info[from].high) continue;
            assert_true(cast(from, ELEM_i8, x) == truncated(x, -128, 127));
            assert_true(scalar_eval_f64(OP_cast, from, ELEM_i8, x, 0, 0) ==
                        truncated(x, -128, 127));
        }
    for (uint64_t u = 0; u < UINT64_C(1) << 32; u += 65521) {
        double x = (double)from_bits((uint32_t)u), y = truncated(x, -128, 127);
        uint8_t at;
        assert_true(cast(ELEM_f32, ELEM_i8, x) == y);
        sn_elem_set(SN_ELEM_i8, &at, x);
        assert_true(sn_elem_get(SN_ELEM_i8, &at) == y);
    }
}

// In double a cast to a narrow float keeps the number: finite differences see no steps.
static void test_double(void **state) {
    (void)state;
    for (int i = 0; i < NARROW_FLOATS; i++) {
        Elem t = narrow_floats[i].elem;
        assert_true(scalar_eval_f64(OP_cast, ELEM_f32, t, 0.1, 0, 0) == 0.1);
        assert_true(scalar_eval_f64(OP_cast, t, ELEM_f32, 0.1, 0, 0) == 0.1);
        assert_true(scalar_eval_f64(OP_cast, t, ELEM_i32, -2.9, 0, 0) == -2);
        assert_true(scalar_eval_f64(OP_select, t, t, 1, 0.1, 0.2) == 0.1);
    }
}

// TF32, in the interpreter and in the emulated library: 11 bits, halves away from zero.
static void test_tf32(void **state) {
    (void)state;
    for (uint64_t i = 0; i < UINT64_C(1) << 32; i += 4093) {
        uint32_t u = (uint32_t)i & (i % 7 ? UINT32_MAX : 0xfffff000u); // halves
        float x = from_bits(u);
        int e;
        frexp((double)x, &e);
        if (e < -125) e = -125; // the unit of subnormals is theirs
        double want = isfinite(x) ? ldexp(round(ldexp((double)x, 11 - e)), e - 11) : (double)x;
        assert_true(same((double)scalar_tf32(x), (double)(float)want));
        assert_true(same((double)tf32_of_float(x), (double)(float)want));
    }
}

// The runtime's numbers: set rounds a double once, get widens.
static void test_runtime(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < NARROW_FLOATS; i++) {
        const NarrowFloat *t = &narrow_floats[i];
        for (uint32_t stored = 0; stored < 1u << 8 * elem_info[t->elem].bytes; stored++) {
            uint16_t at = (uint16_t)stored, back = 0;
            double x = sn_elem_get(t->elem, &at);
            assert_true(same(x, value_of(t, stored)));
            if (isnan(x) || (t->saturates && isinf(x))) continue;
            sn_elem_set(t->elem, &back, x);
            assert_int_equal(back, at);
            // beside a middle by less than an f32 can say
            double beside = (x + value_of(t, stored + 1)) / 2 * (1 + 0x1p-50);
            if (!isfinite(beside)) continue;
            sn_elem_set(t->elem, &back, beside);
            assert_true(same(value_of(t, back), nearest_of(t, beside)));
        }
        for (int k = 0; k < 200000; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            double x = ldexp((double)(int64_t)seed, (int)(seed >> 7 & 255) - 190);
            uint16_t at = 0;
            sn_elem_set(t->elem, &at, x);
            assert_true(same(value_of(t, at), nearest_of(t, x)));
        }
    }
}

// ---- the step of a contraction of two bf16

__attribute__((target("fma"))) static float machine_fma(float a, float b, float c) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); // flush to zero, denormals are zeros
    __m128 r = _mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c));
    float y = _mm_cvtss_f32(r);
    _mm_setcsr(before);
    return y;
}

static float bf16_of(uint64_t bits) { return from_bits((uint32_t)(bits & 0xffff) << 16); }

static void check_fma(float a, float b, float c) {
    float want = machine_fma(a, b, c), got = scalar_fma_flushed(a, b, c);
    if (!same((double)want, (double)got))
        fail_msg("%a * %a + %a: %a, the machine has %a", (double)a, (double)b, (double)c,
                 (double)got, (double)want);
}

static void test_flushed_fma(void **state) {
    (void)state;
    uint64_t seed = 7;
    if (!__builtin_cpu_supports("fma")) skip();
    for (int k = 0; k < 2000000; k++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        float a = bf16_of(seed >> 8), b = bf16_of(seed >> 24),
              c = from_bits((uint32_t)(seed >> 32));
        check_fma(a, b, c);
        // sums that end close to the least normal number, from both sides
        int e = (int)(seed >> 50 & 31);
        float p = from_bits(0x3f800000 | (to_bits(a) & 0x7f0000)),
              q = from_bits(0x3f800000 | (to_bits(b) & 0x7f0000));
        float near = from_bits(0x00800000 + (to_bits(c) & 0xff));
        check_fma(ldexpf(p, -70), ldexpf(-q, e - 86), near);
        check_fma(ldexpf(p, -64), ldexpf(q, -61 - (e & 1)), from_bits(to_bits(c) & 0x81ffffff));
    }
    // 2^-126 less half of its last place, which f32 rounds up and which is subnormal nevertheless
    check_fma(0x1p-75f, -0x1p-75f, 0x1p-126f);
    check_fma(0x1p-75f, -0x1p-76f, 0x1p-126f);
    check_fma(0x1p-76f, -0x1p-76f, 0x1p-126f);
    check_fma(0x1.02p-75f, -0x1p-76f, 0x1p-126f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tf32), //
        cmocka_unit_test(test_every_value), cmocka_unit_test(test_roundings),
        cmocka_unit_test(test_ties),        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_i8),          cmocka_unit_test(test_double),
        cmocka_unit_test(test_runtime),     cmocka_unit_test(test_flushed_fma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

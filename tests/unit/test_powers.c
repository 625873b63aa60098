// x ^ n for whole n: in exact f32 its value and its gradient against double, over the range of f32.
//
// Bounds: 2^-20 of the value (products round up to eight times), plus 16 times the smallest subnormal,
// for a slope is a power times n.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "tests/oracle/model.h"
#include <math.h>

// Exponents of two from the smallest subnormal to the largest number, both signs, five numbers each.
enum { EXPONENTS = 278, EACH = 5, POINTS = 2 * EXPONENTS * EACH + 4 };

static float point(int64_t i) {
    static const float ends[] = {0.0f, -0.0f, INFINITY, -INFINITY};
    if (i < 4) return ends[i];
    int64_t k = (i - 4) / 2;
    double x = ldexp(1 + (double)(k % EACH) / (double)EACH, (int)(k / EACH) - 149);
    return (float)(i % 2 ? -x : x);
}

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const TestModel *t = user;
    int64_t n = type_count(type_at(t->program->m, type));
    for (int64_t i = 0; i < n; i++) out[i] = strcmp(name, "x") == 0 ? 0 : 1;
    return true;
}

static bool within(double got, double want) {
    double w = (double)(float)want;
    if (isinf(w) || isinf(got)) return w == got;
    return fabs(got - w) <= ldexp(fabs(w), -20) + ldexp(16, -149);
}

static TestModel *compile(int power) {
    Arena *a = arena_new();
    TestModel *t = NEW(a, TestModel);
    *t = (TestModel){.a = a, .diag = diag_new(a), .ledger = ledger_new(a)};
    const char *text =
        arena_printf(a,
                     "axis place = %d, batch = 1\nmodel m(x: real[batch]) {\n param p[place] ~ 0, "
                     "one[place] ~ 1\n"
                     " loss = sum[place](one * p ^ %d) + sum[batch](x)\n}\n"
                     "train {\n data tensors(\"x\")\n optimizer sgd\n lr constant(1)\n}\n",
                     POINTS, power);
    uint16_t file = diag_add_file(t->diag, "powers", text, (uint32_t)strlen(text), false);
    t->program = frontend_compile(a, symtab_new(a), t->diag, file, NULL, 0);
    if (!t->program) {
        diag_print(t->diag, stderr, false);
        fail_msg("%s", text);
    }
    model_keep_gradients(t);
    assert_true(model_passes(t, "tidy"));
    return t;
}

static void test_power(int power) {
    TestModel *t = compile(power);
    Module *m = t->program->m;
    const Func *f = module_find(m, "step");
    Interp in;
    Text why = {.arena = t->a};
    interp_init(&in, m, INTERP_EXACT, t->a);
    in.input = give_input;
    in.user = t;
    for (StateId s = 0; s < m->states.n; s++)
        for (int64_t i = 0; i < POINTS; i++)
            in.states[s].at[i] =
                strcmp(sym_str(m->syms, m->states.at[s].path), "p") ? 1 : (double)point(i);
    Tensor *results = NEW_ARRAY(t->a, Tensor, f->results.n);
    if (!interp_run(&in, f, results, NULL, &why)) fail_msg("%s", why.at);
    uint32_t seen = 0;
    for (uint32_t r = 0; r < f->results.n; r++) {
        const char *name = sym_str(m->syms, f->results.at[r].name);
        bool value = strcmp(name, "grad.one") == 0; // the loss is linear in it
        if (!value && strcmp(name, "grad.p") != 0) continue;
        seen++;
        for (int64_t i = 0; i < POINTS; i++) {
            double x = (double)point(i);
            double want = value ? pow(x, power) : power * pow(x, power - 1);
            if (!within(results[r].at[i], want))
                fail_msg("%s of %.9g ^ %d is %.9g, expected %.9g", value ? "value" : "gradient", x,
                         power, results[r].at[i], want);
        }
    }
    assert_int_equal(seen, 2);
    arena_free(t->a);
}

static void test_whole_powers(void **state) {
    (void)state;
    static const int powers[] = {-17, -16, -9, -8, -7, -3, -2, -1, 1, 2, 3, 4, 7, 8, 11, 16, 17};
    for (uint32_t i = 0; i < sizeof powers / sizeof *powers; i++) test_power(powers[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_powers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

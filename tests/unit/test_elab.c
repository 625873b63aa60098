// The elaborator: what small models become. Meaning is checked by numbers: the function 'generate'
// is run by the interpreter and its output compared with values worked out by hand. Structure is
// checked on the module: states, names, rounds, results. Messages are compared with
// tests/diag/*.txt to the byte, and hostile files must end in an error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "ir/interp.h"
#include "tests/unit/files.h"
#include <dirent.h>
#include <math.h>

typedef struct {
    Arena *a;
    SymTab *syms;
    Diag *d;
    Program *p;
} Built;

static Built build_text(const char *path, const char *text, const Define *defs, uint32_t n) {
    Built b = {.a = arena_new()};
    b.syms = symtab_new(b.a);
    b.d = diag_new(b.a);
    b.p = frontend_compile(b.a, b.syms, b.d, diag_add_file(b.d, path, text, strlen(text), false),
                           defs, n);
    return b;
}

static void verify(const Built *b) {
    Text why = {.arena = b->a};
    if (ir_verify(b->p->m, &why)) fail_msg("verifier: %s", why.at);
}

static Built build_good(const char *text, const Define *defs, uint32_t n) {
    Built b = build_text("test.sn", text, defs, n);
    if (!b.p) diag_print(b.d, stderr, false);
    assert_non_null(b.p);
    verify(&b);
    return b;
}

#define HEAD "axis vocab = 16, dim = 4, two = 2, three = 3, six = 6, batch, seq, key = seq\n"
#define PLAN                                                                                       \
    "train { data text(\"x\")\n size batch = 2, seq = 5\n optimizer sgd\n lr constant(0.1) }\n"
#define MODEL(body)                                                                                \
    HEAD "model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {\n"                      \
         "param w[vocab -> dim] ~ normal(0.02)\n x = w[vocab: tokens]\n" body                      \
         "\n loss = mean[batch, seq](cross_entropy[vocab](x @[dim] w, targets))\n}\n" PLAN

// Tokens are 3, 1, 4, 1, 5, … ; other inputs do not occur here.
static bool give_input(void *user, const char *name, TypeId type, double *out) {
    static const int digits[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
    const Module *m = user;
    int64_t n = type_count(type_at(m, type));
    if (!strcmp(name, "step")) return out[0] = 7, true;
    if (!strncmp(name, "lr.", 3)) return out[0] = 0.5, true;
    for (int64_t i = 0; i < n; i++) out[i] = digits[i % 10];
    return true;
}

static Interp run_init(const Built *b) {
    Interp in;
    Text why = {.arena = b->a};
    interp_init(&in, b->p->m, INTERP_EXACT, b->a);
    in.input = give_input;
    in.user = b->p->m;
    in.seed = 1;
    if (!interp_run(&in, module_find(b->p->m, "init"), NULL, NULL, &why)) fail_msg("%s", why.at);
    return in;
}

// Runs 'generate' and gives its output, which must be one.
static Tensor run_output(const Built *b) {
    Interp in = run_init(b);
    const Func *f = module_find(b->p->m, "generate");
    assert_non_null(f);
    assert_int_equal(f->results.n, 1);
    Tensor r = {0};
    Text why = {.arena = b->a};
    if (!interp_run(&in, f, &r, NULL, &why)) fail_msg("%s", why.at);
    return r;
}

// The output of the model whose body is 'text', with these elements and axes.
static void gives(const char *text, const char *axes, const double *want, int64_t n) {
    Built b = build_good(text, NULL, 0);
    Tensor r = run_output(&b);
    Text type = {.arena = b.a};
    ir_print_type(&type, b.p->m, r.type);
    if (!strstr(type.at, axes)) fail_msg("%s\nis %s, expected %s", text, type.at, axes);
    assert_int_equal(type_count(type_at(b.p->m, r.type)), n);
    for (int64_t i = 0; i < n; i++)
        if (r.at[i] != want[i] && !(fabs(r.at[i] - want[i]) < 1e-5))
            fail_msg("%s\nelement %d is %g, expected %g", text, (int)i, r.at[i], want[i]);
    arena_free(b.a);
}
#define GIVES(body, axes, ...)                                                                     \
    gives(MODEL(body), axes, (const double[]){__VA_ARGS__},                                        \
          sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

// ---- meaning ------------------------------------------------------------------------------------

static void test_numbers(void **s) {
    (void)s;
    GIVES("output y = real(7 // 2) + 0 * iota[two]", "[two=2]", 3, 3);
    GIVES("output y = real(-7 // 2) + 0 * iota[two]", "[two=2]", -4, -4);
    GIVES("output y = -7 % 3 + iota[two]", "[two=2]", 2, 3);
    GIVES("output y = 7 / 2 + iota[two]", "[two=2]", 3.5, 4.5);
    GIVES("output y = iota[three] / 2", "f32[three=3]", 0, 0.5, 1);
    GIVES("output y = iota[three] // 2", "i32[three=3]", 0, 0, 1);
    GIVES("output y = (iota[three] - 1) % 3", "i32[three=3]", 2, 0, 1);
    GIVES("output y = (iota[three] + 1)^3", "i32[three=3]", 1, 8, 27);
    GIVES("output y = (iota[three] + 1.0)^-2", "f32[three=3]", 1, 0.25, 1.0 / 9);
    GIVES("output y = 2 ^ iota[three]", "f32[three=3]", 1, 2, 4);
    GIVES("output y = (iota[three] + 0.0)^0.5", "f32[three=3]", 0, 1, 1.41421356);
    GIVES("output y = -2^2 + iota[two]", "[two=2]", -4, -3);
    GIVES("output y = max(iota[three], 1) + min(iota[three], 1)", "i32[three=3]", 1, 2, 3);
    GIVES("output y = where(iota[three] > 1 or iota[three] < 1, 1, -iota[three])", "i32[three=3]",
          1, -1, 1);
    GIVES("output y = real(not (iota[three] == 1)) + three", "f32[three=3]", 4, 3, 4);
    GIVES("output y = if three < 4 and not training then int(2.9 + iota[two]) else 0", "i32[two=2]",
          2, 3);
    GIVES("output y = sign(iota[three] - 1.0)", "f32[three=3]", -1, 0, 1);
    GIVES("output y = sign(iota[three] - 1)", "f32[three=3]", -1, 0, 1);
    GIVES("n = max(inf - inf, 1)\n output y = where(n == n, 1, 2) + iota[two]", "[two=2]", 2, 3);
    GIVES("n = min(1, inf - inf)\n output y = where(n == n, 1, 2) + iota[two]", "[two=2]", 2, 3);
}

// Numbers are doubles, rounded to f32 where they meet a tensor; a number fills a definition as real.
static void test_doubles(void **s) {
    (void)s;
    GIVES("output y = 1e8 + 1 - 1e8 + iota[two]", "f32[two=2]", 1, 2);
    GIVES("output y = where(0.1 + 0.2 == 0.3, 1, 0) + iota[two]", "[two=2]", 0, 1);
    GIVES("output y = where(2^53 + 1 == 2^53, 1, 0) + iota[two]", "[two=2]", 1, 2);
    GIVES("output y = 9007199254740991 // 2 - 4503599627370495 + iota[two]", "[two=2]", 0, 1);
    GIVES("output y = (2^53 - 1) % 10 + iota[two]", "[two=2]", 1, 2);
    GIVES("output y = 1 // 0.1 + iota[two]", "[two=2]", 9, 10);
    GIVES("h[two] = 0\n output y = h", "f32[two=2]", 0, 0);
    GIVES("h[two] = three\n output y = h", "f32[two=2]", 3, 3);
    GIVES("h[two] = int(0)\n output y = iota[six][six: h]", "i32[two=2]", 0, 0);
    GIVES("h[two] = 0\n repeat three { h = 0.5 * h + 1 }\n output y = h", "f32[two=2]", 1.75, 1.75);
    GIVES("repeat two at t { y[two: t] = t }\n output y = y", "f32[two=2]", 0, 1);
}

// What 'whole' means, statement by statement of docs/language.md.
static void test_kinds_of_numbers(void **s) {
    (void)s;
    GIVES("output y = iota[two] + 1", "i32[two=2]", 1, 2);
    GIVES("output y = iota[two] + 1.0", "f32[two=2]", 1, 2);
    GIVES("output y = iota[two] + 1e0", "f32[two=2]", 1, 2);
    GIVES("output y = iota[two] * 0.5 + 1", "f32[two=2]", 1, 1.5);
    GIVES("output y = iota[two] + (2 * 3 - 7 // 2 + 7 % 4 + 2^3)", "i32[two=2]", 14, 15);
    GIVES("output y = iota[two] + 8 / 2", "f32[two=2]", 4, 5);
    GIVES("output y = iota[two] + 2^-1", "f32[two=2]", 0.5, 1.5);
    GIVES("output y = iota[two] + 7.0 // 2", "f32[two=2]", 3, 4);
    GIVES("output y = iota[two] + three + max(2, 1) + abs(-2)", "i32[two=2]", 7, 8);
    GIVES("output y = iota[two] + floor(2.5)", "f32[two=2]", 2, 3);
    GIVES("output y = iota[two] + sqrt(4)", "f32[two=2]", 2, 3);
    GIVES("output y = max(iota[two], 0)", "i32[two=2]", 0, 1);
    GIVES("output y = max(iota[two], 0.0)", "f32[two=2]", 0, 1);
    GIVES("output y = where(iota[two] == 1, iota[two], 0)", "i32[two=2]", 0, 1);
    GIVES("output y = where(iota[two] == 1, iota[two], 0.0)", "f32[two=2]", 0, 1);
    GIVES("output y = where(iota[two] == 1, 0.5 * iota[two], 0)", "f32[two=2]", 0, 0.5);
    GIVES("output y = where(iota[two] == 1, 7, 0)", "i32[two=2]", 0, 7);
    GIVES("output y = where(iota[two] == 1, 7, -inf)", "f32[two=2]", -INFINITY, 7);
    GIVES("output y = iota[two] + real(2)", "f32[two=2]", 2, 3);
    GIVES("output y = iota[two] + int(2.7) + int(-2.7) + int(0)", "i32[two=2]", 0, 1);
    GIVES("output y = real(iota[two] < 0.5)", "f32[two=2]", 1, 0);
    GIVES("output y = sum[three](iota[three]) + iota[two]", "i32[two=2]", 3, 4);
    GIVES("output y = mean[three](iota[three]) + iota[two]", "f32[two=2]", 1, 2);
    GIVES("axis n = 6 / 2\n output y = iota[n][n: 4.0 / 2] + iota[two]", "i32[two=2]", 2, 3);
    GIVES("h[two] = 0\n output y = h", "f32[two=2]", 0, 0);
    GIVES("h[two] = int(0)\n output y = h", "i32[two=2]", 0, 0);
    GIVES("repeat two at t { y[two: t] = int(t) }\n output y = y", "i32[two=2]", 0, 1);
}

static void test_views(void **s) {
    (void)s;
    GIVES("output y = iota[six][six -> two * three][two: 1]", "[three=3]", 3, 4, 5);
    GIVES("output y = iota[six][six -> three * two][three: 1]", "[two=2]", 2, 3);
    GIVES("z = iota[two] * 10 + iota[three]\n output y = z[three * two -> six]", "[six=6]", 0, 10,
          1, 11, 2, 12);
    GIVES("z = iota[two] * 10 + iota[three]\n output y = z[two * three -> six]", "[six=6]", 0, 1, 2,
          10, 11, 12);
    GIVES(
        "axis tw = 2\n z = iota[two] * 10 + iota[tw]\n output y = (z[two -> tw, tw -> two])[tw: 0]",
        "[two=2]", 0, 1);
    GIVES("a, b = iota[six][six -> three + three]\n output y = b - a", "[three=3]", 3, 3, 3);
    GIVES("a, b = iota[three][three -> 1 + two]\n output y = a + b * 10", "[two=2]", 10, 20);
    GIVES("output y = (iota[three], iota[three] + 7)[three + three -> six]", "[six=6]", 0, 1, 2, 7,
          8, 9);
    GIVES("output y = (5, iota[two])[1 + two -> three]", "[three=3]", 5, 0, 1);
    // The part with most axes gives the order, what others lack is repeated.
    GIVES("output y = (iota[two] * 100, iota[three] * 10 + iota[two])[1 + three -> dim]",
          "[dim=4, two=2]", 0, 100, 0, 1, 10, 11, 20, 21);
    GIVES("axis n = 9\n a, b = (iota[n] + 0)[n -> two * three + three]\n output y = a[two: 1] + b",
          "[three=3]", 9, 11, 13);
    // One element is a view: it keeps the sign of zero.
    GIVES("z = -0.0 * (iota[six] + 1)[six -> two * three]\n output y = 1 / z[two: 1]", "[three=3]",
          -INFINITY, -INFINITY, -INFINITY);
    GIVES("a, b = (-0.0 * (iota[three] + 1))[three -> 1 + two]\n output y = 1 / a + iota[two]",
          "[two=2]", -INFINITY, -INFINITY);
}

static void test_index(void **s) {
    (void)s;
    GIVES("output y = iota[six][six: iota[three] + 2]", "[three=3]", 2, 3, 4);
    GIVES("output y = (iota[six] + 1)[six: iota[three] - 1 else 9]", "[three=3]", 9, 1, 2);
    GIVES("output y = (iota[three] + 1)[three: iota[three] + 2 else 0]", "[three=3]", 3, 0, 0);
    GIVES("output y = (iota[three] + 1)[three: iota[six] - 2 else 0]", "[six=6]", 0, 0, 1, 2, 3, 0);
    GIVES("output y = (iota[three] + 1)[three: iota[two] + 7 else 8]", "[two=2]", 8, 8);
    GIVES("output y = (iota[six] * 2)[six: 5 - iota[three]]", "[three=3]", 10, 8, 6);
    GIVES("output y = (iota[six] * 2)[six: 4] + iota[two]", "[two=2]", 8, 9);
    GIVES("output y = (iota[six] * 2)[six: 4 - 9 else -1] + iota[two]", "[two=2]", -1, 0);
    GIVES("z = iota[three] * 10 + iota[two]\n output y = z[three: iota[two]]", "[two=2]", 0, 11);
    GIVES("output y = (iota[six] + 1)[six: iota[two] + iota[two] * 4 - 1 else iota[two] - 5]",
          "[two=2]", -5, 5);
    GIVES("output y = (iota[three] + 1)[three: iota[three] + iota[two] - 1 else 0][two: 0]",
          "[three=3]", 0, 1, 2);
    GIVES("output y = (tokens * 100)[seq: tokens % 5]", "[batch=1, seq=5]", 100, 100, 500, 100,
          300);
    GIVES("output y = iota[vocab][vocab: tokens]", "[batch=1, seq=5]", 3, 1, 4, 1, 5);
    // Where nothing is read, any index will do.
    GIVES("axis none = 0\n output y = sum[none](iota[three][three: iota[none] + 7]) + iota[two]",
          "[two=2]", 0, 1);
    GIVES("axis none = 0\n output y = sum[none](iota[three][three: iota[none] * 5]) + iota[two]",
          "[two=2]", 0, 1);
    GIVES("axis none = 0\n z = iota[none] + 10 * iota[three]\n"
          "output y = sum[none](z[three: 9]) + iota[two]",
          "[two=2]", 0, 1);
    // Folds, cuts and joins keep the range of an index.
    GIVES("output y = iota[six][six: max[three](iota[three]) + iota[two]]", "[two=2]", 2, 3);
    GIVES("o = iota[three] % 2\n to = min[three](where(o == max[three](o), iota[three], 2))\n"
          "output y = iota[three][three: to] + iota[two]",
          "[two=2]", 1, 2);
    GIVES("output y = iota[six][six: sum[three](int(iota[three] > 0)) + iota[two]]", "[two=2]", 2,
          3);
    GIVES("z = (iota[three], iota[three])[three + three -> six]\n output y = iota[three][three: z]",
          "[six=6]", 0, 1, 2, 0, 1, 2);
    GIVES("a, b = (5 - iota[six])[six -> three + three]\n output y = iota[six][six: a]",
          "[three=3]", 5, 4, 3);
    GIVES("output y = iota[vocab][vocab: min(int(uniform[two] * vocab), vocab - 1)] * 0", "[two=2]",
          0, 0);
}

static void test_folds(void **s) {
    (void)s;
    GIVES("z = iota[two] * 10 + iota[three]\n output y = sum[two](z)", "[three=3]", 10, 12, 14);
    GIVES("z = iota[two] * 10 + iota[three]\n output y = mean[three](z)", "f32[two=2]", 1, 11);
    GIVES("z = iota[two] * 10 + iota[three]\n output y = max[two, three](z) + iota[two]", "[two=2]",
          12, 13);
    GIVES("output y = prod[three](iota[three] + 1) + iota[two]", "[two=2]", 6, 7);
    GIVES("output y = real(any[three](iota[three] == iota[two] + 2))", "[two=2]", 1, 0);
    GIVES("a = iota[three] + 1.0\n output y = a @[three] (iota[three] * iota[two] + 1.0)",
          "[two=2]", 6, 14);
    GIVES("output y = iota[three] @[three] (iota[three] + iota[two])", "i32[two=2]", 5, 8);
    GIVES("output y = softmax[two](where(iota[two] < 5, -inf, 0.0 * iota[two]))", "[two=2]", 0, 0);
    // Singular values 1 and 0.5 over their norm, five times x -> 3.4445 x - 4.775 x^3 + 2.0315 x^5.
    GIVES("axis tw = 2\n u = where(iota[two] == iota[tw], 1 / (1.0 + iota[two]), 0)\n"
          "output y = sum[tw](orthogonal[two, tw](u))",
          "[two=2]", 0.6887628, 1.1141640);
    GIVES("output y = softmax[two](log(iota[two] + 1.0))", "[two=2]", 1.0 / 3, 2.0 / 3);
    // The sample axis counts one sample here.
    GIVES("output y = mean[batch, seq](real(tokens)) + iota[two] * batch", "[two=2]", 2.8, 3.8);
}

// The outer forms: what lacks axes is repeated along them, on either side, and in all of three.
static void test_outer(void **s) {
    (void)s;
    GIVES("a = 1.0 * iota[two]\n b = 0.5 * iota[three]\n output y = a +[] b", "f32[two=2, three=3]",
          0, 0.5, 1, 1, 1.5, 2);
    GIVES("a = 1.0 * iota[two]\n b = 0.5 * iota[three]\n output y = b -[] a", "f32[three=3, two=2]",
          0, -1, 0.5, -0.5, 1, 0);
    GIVES("a = 1.0 + iota[two]\n b = 6.0 + iota[three]\n output y = b /[] a", "f32[three=3, two=2]",
          6, 3, 7, 3.5, 8, 4);
    GIVES("a = 2.5 + iota[two]\n b = 7.0 + iota[three]\n output y = b //[] a +[] b %[] a",
          "f32[three=3, two=2]", 4, 2, 3.5, 3, 4.5, 4);
    GIVES("a = 2.0 + iota[two]\n b = 0.0 + iota[three]\n output y = a ^[] b", "f32[two=2, three=3]",
          1, 2, 4, 1, 3, 9);
    GIVES("a = 1.0 + iota[two]\n b = 1.0 + iota[three]\n output y = a *[] b - a @[] b",
          "[two=2, three=3]", 0, 0, 0, 0, 0, 0);
    GIVES("a = 1.0 + iota[two]\n b = 0.0 + iota[three]\n"
          "output y = real(a <[] b) + 2 * real(a <=[] b) + 4 * real(a ==[] b) + 8 * real(a !=[] b)"
          " + 16 * real(a >=[] b) + 32 * real(a >[] b)",
          "f32[two=2, three=3]", 56, 22, 11, 56, 56, 22);
    // One after the other, looser ones last; with numbers, ints and bools as the plain operator.
    GIVES("a = 1.0 * iota[two]\n b = 10.0 * iota[three]\n c = 100.0 * iota[dim]\n"
          "output y = (a +[] b +[] c)[dim: 3, three: 2]",
          "f32[two=2]", 320, 321);
    GIVES("a = 1.0 + iota[two]\n b = 1.0 * iota[three]\n output y = a +[] b *[] a",
          "f32[three=3, two=2]", 1, 2, 2, 4, 3, 6);
    GIVES("output y = iota[two] -[] iota[three]", "i32[two=2, three=3]", 0, -1, -2, 1, 0, -1);
    GIVES("a = 0.5 * iota[two]\n output y = a +[] iota[three]", "f32[two=2, three=3]", 0, 1, 2, 0.5,
          1.5, 2.5);
    GIVES("a = 0.5 * iota[two]\n output y = 1 -[] a +[] 2", "f32[two=2]", 3, 2.5);
    GIVES("output y = real((iota[two] == 1) !=[] (iota[three] == 1))", "f32[two=2, three=3]", 0, 1,
          0, 1, 0, 1);
    // Common axes align.
    GIVES("a = iota[two] + 10 * iota[dim] + 0.0\n b = 100 * iota[three] + 1000 * iota[dim] + 0.0\n"
          "output y = (a +[] b)[dim: 2]",
          "[two=2, three=3]", 2020, 2120, 2220, 2021, 2121, 2221);
    // Functions of several values; with one value the brackets are those of a fold.
    GIVES("a = 1.0 * iota[two]\n b = iota[three] - 0.5\n output y = max[](a, b)",
          "f32[two=2, three=3]", 0, 0.5, 1.5, 1, 1, 1.5);
    GIVES("a = 1.0 * iota[two]\n b = iota[three] - 0.5\n output y = min[](b, a, 0.75)",
          "f32[three=3, two=2]", -0.5, -0.5, 0, 0.5, 0, 0.75);
    GIVES("a = 1.0 * iota[two]\n b = -0.5 * iota[three]\n output y = where[](iota[two] == 1, a, b)",
          "f32[two=2, three=3]", 0, -0.5, -1, 1, 1, 1);
    GIVES("a = 1.0 * iota[two]\n output y = max[](a) + iota[two]", "[two=2]", 0, 2);
    // The range of an index passes through.
    GIVES("output y = iota[six][six: iota[two] +[] iota[three]]", "[two=2, three=3]", 0, 1, 2, 1, 2,
          3);
    GIVES("a = real(tokens)\n output y = sum[batch](a -[] iota[two])[seq: 0]", "[two=2]", 3, 2);
}

static void test_repeat(void **s) {
    (void)s;
    GIVES("y = 0 * iota[two]\n repeat 4 at t { y = y * 2 + t }\n output r = y", "[two=2]", 11, 11);
    GIVES("repeat three at t { y[three: t] = t * t + iota[two] }\n output r = y[two: 1]",
          "[three=3]", 1, 2, 5);
    GIVES("axis n = 20\n repeat n at t { y[n: t] = 3 * t }\n output r = sum[n](y * iota[n]) + 0 * "
          "iota[two]",
          "[two=2]", 7410, 7410);
    GIVES("y = iota[two]\n if three == 3 { y = y + 5 } else { y = nonsense }\n output r = y",
          "[two=2]", 5, 6);
}

#define WITH(extra, body)                                                                          \
    HEAD extra                                                                                     \
        "model m(tokens: vocab[batch, seq]) {\n" body                                              \
        "\n param w[dim] ~ 1\n loss = sum[dim](w) * mean[batch, seq](real(tokens))\n}\n" PLAN
#define GIVES_WITH(extra, body, axes, ...)                                                         \
    gives(WITH(extra, body), axes, (const double[]){__VA_ARGS__},                                  \
          sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void test_calls(void **s) {
    (void)s;
    GIVES_WITH("fn f(x, y = x + 1, z = 2 * y) = x + y * z\n", "output r = f(iota[two], z = 10)",
               "[two=2]", 10, 21);
    GIVES_WITH("fn total[..a](x[..a, ..]) = sum[..a](x)\n",
               "output r = total[two, three](iota[two] + iota[three] * 10 + 0 * iota[six])[six: 0] "
               "+ iota[two]",
               "[two=2]", 63, 64);
    GIVES_WITH("fn rest(x[dim, ..r]) { axis n = ..r\n return n + 0 * sum[dim, ..r](x) }\n",
               "output r = rest(iota[dim] + iota[two] + iota[three]) + iota[two]", "[two=2]", 6, 7);
    // A callee sees the file's axes, not its caller's: both blocks have an axis 'half' of their
    // own.
    GIVES_WITH(
        "fn inner(x[six]) { axis half = six / 3\n return sum[six](x) + sum[half](iota[half]) }\n"
        "fn outer(x[six]) { axis half = six / 2\n return inner(x) + sum[half](iota[half]) }\n",
        "output r = outer(iota[six]) + iota[two]", "[two=2]", 19, 20);
    GIVES_WITH("fn f(i: int, x: real) = iota[two] * i + x\n", "output r = f(6 / 2, 2)",
               "f32[two=2]", 2, 5);
    GIVES_WITH("fn f(i: int) = iota[two] * i\n", "output r = f(6 / 2)", "i32[two=2]", 0, 3);
    // The product of a pack as an extent, and back.
    GIVES_WITH("fn flat(x[..r]) { axis n = ..r\n y = x[..r -> n]\n return (y + 100)[n -> ..r] }\n",
               "output r = flat(iota[three] + 10 * iota[two])[three: 1]", "[two=2]", 101, 111);
}

// An index of its axis without 'else': the first of equals or of NaN, of ints too; of one element 0.
static void test_argmax(void **s) {
    (void)s;
    GIVES("z = where(iota[three] == 1, 5.0, 0.5 * iota[three]) -[] iota[two]\n output y = "
          "argmax[three](z)",
          "i32[two=2]", 1, 1);
    GIVES(
        "output y = argmax[six](iota[six] % 3) + 10 * argmin[six]((iota[six] + 2) % 3) + iota[two]",
        "i32[two=2]", 12, 13);
    GIVES("z = where(iota[six] == iota[two], -inf, -inf)\n"
          "output y = argmax[six](z) + argmin[six](z)",
          "i32[two=2]", 0, 0);
    // torch.argmax and argmin of [1, NaN, inf, -inf, NaN, 0] are 1.
    GIVES("z = where(iota[six] == 1 or iota[six] == 4, inf - inf, where(iota[six] == 2, inf,"
          " where(iota[six] == 3, -inf, 0.0 + real(iota[six] == 0))))\n"
          "output y = argmax[six](z) + 10 * argmin[six](z) + iota[two]",
          "i32[two=2]", 11, 12);
    GIVES("axis one = 1\n z = -inf * (1 + iota[one] + iota[two])\n output y = argmax[one](z) + "
          "iota[two]",
          "i32[two=2]", 0, 1);
    GIVES("z = (iota[six] - 4)^2 - 3 * iota[two]\n output y = z[six: argmin[six](z)]", "i32[two=2]",
          0, -3);
    // The kind is checked where an index of the axis is wanted.
    GIVES_WITH("fn pick(i: six[..]) = iota[six][six: i] + 1\n",
               "z = 0.0 - iota[two] * iota[six]\n output y = pick(argmin[six](z))", "i32[two=2]", 1,
               6);
    GIVES("logits = where(iota[vocab] == 4, 1.0, 0.0)\n"
          "output y = mean[batch, seq](real(argmax[vocab](logits) == tokens)) + iota[two]",
          "[two=2]", 0.2, 1.2);
}

// A function as an argument: of the file, of std, of the language, with axes, passed on; it sees the file in
// which it is written, and values of the same name go before it.
static void test_function_arguments(void **s) {
    (void)s;
#define APPLY "fn apply(x, f, by = 1) = f(x) + by\nfn bump(x, by = 10) = x + by\n"
    GIVES_WITH(APPLY, "output r = apply(iota[two], bump)", "i32[two=2]", 11, 12);
    GIVES_WITH(APPLY, "output r = apply(iota[two] - 0.5, f = relu, by = 0)", "f32[two=2]", 0, 0.5);
    GIVES_WITH(APPLY, "output r = apply(iota[two] - 3, abs)", "i32[two=2]", 4, 3);
    GIVES_WITH(APPLY, "output r = apply(iota[two], f = if two < 3 then square else nonsense)",
               "i32[two=2]", 1, 2);
    GIVES_WITH(APPLY "fn on(x, f) = apply(x, f = f, by = 0)\n", "output r = on(iota[two], bump)",
               "i32[two=2]", 10, 11);
    GIVES_WITH("fn twice(x, f = square, g = f) = f(g(x))\n",
               "output r = twice(iota[two] + 2) + twice(iota[two], g = abs)", "i32[two=2]", 16, 82);
    GIVES_WITH("fn along(x, how) = how[three](x)\n",
               "z = iota[two] * 10 + iota[three]\n"
               "output r = along(z, sum) + along(z, max) + along(z, how = mean)",
               "f32[two=2]", 6, 56);
    GIVES_WITH("fn along(x, how = logsumexp) = how[three](x)\n",
               "output r = exp(along(log(iota[three] + iota[two] + 1.0)))", "f32[two=2]", 6, 9);
    // The callee's file, not its caller's names; a value of that name goes before the function.
    GIVES_WITH("by = 5\nfn own(x) = x + by\nfn call(x, f) { by = 100\n return f(x) + by }\n",
               "by = 1000\n output r = call(iota[two], own) + by", "i32[two=2]", 1105, 1106);
    GIVES_WITH("fn take(x, square) = x + square\n",
               "square = 3\n output r = take(iota[two], square) + take(iota[two], square = 1)",
               "i32[two=2]", 4, 6);
    GIVES_WITH("fn take(x, square) = square(x)\n",
               "output r = take(iota[two] + 3, square) + take(iota[two] + 3, abs)", "i32[two=2]",
               12, 20);
    GIVES_WITH("fn local(square, x) { square = square(x)\n return square + square(x) }\n",
               "output r = local(abs, iota[two] + 3)", "i32[two=2]", 12, 20);
}

// ---- structure ----------------------------------------------------------------------------------

static const State *state(const Built *b, const char *path) {
    for (StateId i = 0; i < b->p->m->states.n; i++)
        if (!strcmp(sym_str(b->syms, b->p->m->states.at[i].path), path))
            return &b->p->m->states.at[i];
    fail_msg("no state '%s'", path);
    return NULL;
}

static bool has_state(const Built *b, const char *path) {
    for (StateId i = 0; i < b->p->m->states.n; i++)
        if (!strcmp(sym_str(b->syms, b->p->m->states.at[i].path), path)) return true;
    return false;
}

static uint32_t count_op(const Built *b, const char *func, Op op) {
    const Func *f = module_find(b->p->m, func);
    uint32_t n = 0;
    for (NodeId i = 0; i < f->nodes.n; i++) n += f->nodes.at[i].op == op;
    return n;
}

static const char *option(const Built *b, const char *key) {
    for (uint32_t i = 0; i < b->p->options.n; i++)
        if (!strcmp(b->p->options.at[i].key, key)) return b->p->options.at[i].value;
    return NULL;
}

static Built build_model(const char *name, const Define *defs, uint32_t n) {
    Arena *a = arena_new();
    const char *path = arena_printf(a, "%s/models/%s.sn", SOURCE_DIR, name);
    Built b = build_text(path, read_file(a, path, NULL), defs, n);
    if (!b.p) diag_print(b.d, stderr, false);
    assert_non_null(b.p);
    verify(&b);
    return b;
}

static void test_shipped_models(void **s) {
    (void)s;
    Define small[] = {{"layer", "3"}, {"dim", "48"}, {"seq", "8"}, {"batch", "4"}, {"micro", "2"}};
    Built b = build_model("gpt2", small, 5);
    const State *wo = state(&b, "h.2.attn.wo"), *wte = state(&b, "wte");
    assert_int_equal(wo->n_in, 2);
    assert_int_equal(type_at(b.p->m, wo->type)->n, 3);
    assert_int_equal(wo->kind, STATE_param);
    assert_int_equal(wte->n_in, 1);
    assert_int_equal(state(&b, "h.1.ln_2.scale.adamw.v")->kind, STATE_moment);
    assert_false(has_state(&b, "h.3.attn.wo"));
    assert_int_equal(count_op(&b, "step", OP_assign), b.p->m->states.n);
    assert_int_equal(count_op(&b, "init", OP_assign), b.p->m->states.n);
    assert_int_equal(count_op(&b, "eval", OP_assign), 0);
    assert_int_equal(b.p->batch, 4);
    assert_int_equal(b.p->micro, 2);
    assert_string_equal(option(&b, "accum"), "2");
    assert_string_equal(option(&b, "input.targets"), "next");
    assert_string_equal(option(&b, "size.seq"), "8");
    const Func *step = module_find(b.p->m, "step");
    assert_string_equal(sym_str(b.syms, step->results.at[0].name), "loss");
    assert_string_equal(sym_str(b.syms, step->results.at[1].name), "grad_norm");
    const char *others[] = {"bytes", "mlp", "llama", "vit"};
    for (int i = 0; i < 4; i++) build_model(others[i], &small[3], 2);
    b = build_model("convnet", &small[3], 1);
    assert_string_equal(option(&b, "input.label"), "label");
    assert_int_equal(state(&b, "norm_2.var")->kind, STATE_stat);
}

static bool same_class(const Node *a, const Node *b) {
    return a->tmpl == b->tmpl && a->ordinal == b->ordinal && a->phase == b->phase &&
           a->inst.repeat == b->inst.repeat;
}

// Each node of the first round has one of its template and ordinal in every other, and that one is alike.
static void one_in_each_round(const Func *f, uint32_t repeat, uint32_t rounds) {
    uint32_t seen = 0;
    for (NodeId i = 0; i < f->nodes.n; i++) {
        const Node *n = node_at(f, i);
        if (!n->tmpl || n->inst.repeat != repeat || n->inst.round) continue;
        uint32_t found = 0;
        for (NodeId j = 0; j < f->nodes.n; j++) {
            const Node *o = node_at(f, j);
            if (!same_class(n, o)) continue;
            assert_int_equal(n->op, o->op);
            assert_int_equal(n->type, o->type);
            found |= 1u << o->inst.round;
        }
        assert_int_equal(found, (1u << rounds) - 1);
        seen++;
    }
    assert_true(seen > 20);
}

// Rounds of a repeat are the same computation under other names.
static void test_rounds(void **s) {
    (void)s;
    Define small[] = {{"layer", "3"}};
    Built b = build_model("bytes", small, 1);
    const Func *f = module_find(b.p->m, "eval");
    const Node *found[3] = {NULL};
    for (NodeId i = 0; i < f->nodes.n; i++) {
        const Node *n = &f->nodes.at[i];
        const char *name = sym_str(b.syms, n->name);
        for (int k = 0; k < 3; k++) {
            char want[32];
            snprintf(want, sizeof want, "h.%d.attn.q", k);
            if (n->op == OP_contract && !strcmp(name, want)) found[k] = n;
        }
    }
    for (int k = 0; k < 3; k++) {
        assert_non_null(found[k]);
        assert_int_equal(found[k]->inst.round, k);
        assert_int_equal(found[k]->inst.repeat, 1);
        assert_int_equal(found[k]->tmpl, found[0]->tmpl);
    }
    one_in_each_round(f, 1, 3);
    one_in_each_round(module_find(b.p->m, "step"), 1, 3);
    one_in_each_round(module_find(b.p->m, "generate"), 1, 3);
    assert_int_equal(state(&b, "h.1.attn.wq.adamw.m")->of,
                     state_find(b.p->m, sym(b.syms, "h.1.attn.wq")));
    const Repeat *repeat = &b.p->m->repeats.at[1];
    assert_string_equal(sym_str(b.syms, repeat->axis), "layer");
    assert_int_equal(repeat->rounds, 3);
    assert_int_equal(b.p->m->repeats.n, 2);
    // The axis that rope declares is one axis in all layers and both uses.
    uint32_t halves = 0;
    for (AxisId a = 1; a < b.p->m->axes.n; a++)
        halves += !strncmp(sym_str(b.syms, b.p->m->axes.at[a].name), "half", 4);
    assert_int_equal(halves, 1);
}

// What a block owns that was given as an argument has the path of a direct call.
static void test_block_arguments(void **s) {
    (void)s;
    const char *text =
        HEAD "axis ff = 6\n"
             "block mlp(x[dim, ..], act = gelu, norm = rmsnorm) {\n"
             " param up[dim -> ff], down[ff -> dim] ~ normal(0.02)\n"
             " return act(norm[dim](x) as pre @[dim] up) @[ff] down\n}\n"
             "block two(x, act, norm = layernorm) {\n"
             " x = x + mlp(x, norm = norm, act = act)\n"
             " return norm[dim](x) as post\n}\n"
             "block twice(x, of) { x = of(x) as a\n return of(x) as b + of(x) }\n"
             "model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {\n"
             " param w[vocab -> dim] ~ normal(0.02)\n x = w[vocab: tokens]\n"
             " x = mlp(x, relu) as one\n x = mlp(x, norm = softmax) as bare\n"
             " repeat 2 as h { x = two(x, act = silu) as in }\n"
             " x = two(x, act = tanh, norm = rmsnorm) as last\n"
             " x = twice(x, of = mlp) as of\n"
             " loss = mean[batch, seq](cross_entropy[vocab](x @[dim] w, targets))\n}\n" PLAN;
    Built b = build_good(text, NULL, 0);
    static const char *const paths[] = {"one.up",
                                        "one.down",
                                        "one.pre.scale",
                                        "bare.up",
                                        "h.0.in.mlp.up",
                                        "h.1.in.mlp.down",
                                        "h.0.in.mlp.pre.scale",
                                        "h.1.in.mlp.pre.shift",
                                        "h.1.in.post.scale",
                                        "h.1.in.post.shift",
                                        "last.mlp.pre.scale",
                                        "last.post.scale",
                                        "of.a.up",
                                        "of.b.down",
                                        "of.mlp.up",
                                        "of.mlp.pre.scale"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) state(&b, paths[i]);
    assert_false(has_state(&b, "bare.pre.scale"));
    assert_false(has_state(&b, "last.post.shift"));
    arena_free(b.a);
}

static void test_shared_and_stat(void **s) {
    (void)s;
    Built b = build_good(
        MODEL("y = linear[dim, six](x) as shared tie\n z = linear[dim, six](x) as shared tie\n"
              "repeat 3 shared { x = layernorm[dim](x) as n }\n"
              "x = batchnorm[dim, batch, seq](x) as bn"),
        NULL, 0);
    assert_true(has_state(&b, "tie.w"));
    assert_true(has_state(&b, "n.scale"));
    assert_int_equal(state(&b, "bn.mu")->kind, STATE_stat);
    assert_false(has_state(&b, "bn.mu.sgd.m"));
    assert_int_equal(count_op(&b, "eval", OP_assign), 0);
    // w, tie.w, tie.b, n.scale, n.shift, bn.scale, bn.shift trained, bn.mu and bn.var kept
    assert_int_equal(count_op(&b, "step", OP_assign), 9);
    assert_int_equal(count_op(&b, "step", OP_grad), 7);
}

static void test_plan(void **s) {
    (void)s;
    Define defs[] = {
        {"clip", "0.5"}, {"optimizer.momentum", "0.9"}, {"lr.peak", "0.25"}, {"steps", "30"}};
    Built b = build_good(
        MODEL("y = linear[dim, six](x) as head\n loss extra = sum[batch, seq, six](y)"), defs, 4);
    assert_true(has_state(&b, "head.w.sgd.m"));
    assert_string_equal(option(&b, "clip"), "0.5");
    assert_string_equal(option(&b, "steps"), "30");
    assert_int_equal(b.p->scalars.n, 1);
    assert_string_equal(b.p->scalars.at[0].name, "lr.peak");
    assert_true(b.p->scalars.at[0].value == 0.25);
    const Func *step = module_find(b.p->m, "step");
    const char *results[] = {"loss", "extra", "grad_norm", "lr"};
    assert_int_equal(step->results.n, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_string_equal(sym_str(b.syms, step->results.at[i].name), results[i]);
    assert_null(module_find(b.p->m, "generate")); // no output
}

#define TWO_RULES                                                                                  \
    HEAD "model m(tokens: vocab[batch, seq]) {\n param emb[vocab -> dim] ~ 0\n x = linear[dim, "   \
         "six](emb[vocab: tokens]) as top\n"                                                       \
         "loss = mean[batch, seq, six](x)\n}\n"                                                    \
         "train {\n size batch = 2, seq = 5\n optimizer adamw\n optimizer sgd(momentum = 0.5): "   \
         "top\n"                                                                                   \
         "optimizer lion: top.b\n lr cosine(peak = 1, warmup = 2, steps = 9)\n freeze : emb\n}\n"

static void test_rules_of_names(void **s) {
    (void)s;
    Built b = build_good(TWO_RULES, NULL, 0);
    assert_false(has_state(&b, "emb.adamw.m"));
    assert_int_equal(state(&b, "emb")->frozen, 1);
    assert_int_equal(state(&b, "top.w")->frozen, 0);
    assert_true(has_state(&b, "top.w.sgd.m"));
    assert_true(has_state(&b, "top.b.lion.m"));
    assert_int_equal(b.p->scalars.n, 4);
    assert_string_equal(option(&b, "steps"), "9");
}

// With one sample the batch cannot be cut: no 'generate', a warning, and the rest is built.
static void test_no_generate(void **s) {
    (void)s;
    Built b = build_good("axis ghost = 2, part = batch / ghost\n" MODEL(
                             "g = x[batch -> part * ghost]\n output y = g[part * ghost -> batch]"),
                         NULL, 0);
    assert_null(module_find(b.p->m, "generate"));
    assert_non_null(module_find(b.p->m, "eval"));
    assert_int_equal(b.d->items.n, 1);
    assert_int_equal(b.d->items.at[0].level, DIAG_WARNING);
}

static void test_constants_by_define(void **s) {
    (void)s;
    Define defs[] = {{"deep", "true"}, {"scale", "2.5"}}, bad = {"deep", "perhaps"};
    const char *text = "deep = false\nscale = 1\n" MODEL(
        "output y = if deep then scale * iota[two] else iota[three]");
    Built b = build_good(text, defs, 2);
    Tensor r = run_output(&b);
    assert_true(r.at[1] == 2.5);
    Built f = build_text("test.sn", text, &bad, 1);
    assert_null(f.p);
    assert_string_equal(f.d->items.at[0].text, "-D deep=perhaps: expected a number, true or false");
}

static void test_maps_of_optimizers(void **s) {
    (void)s;
    Define small[] = {{"layer", "2"}, {"batch", "2"}};
    Arena *a = arena_new();
    const char *text = arena_printf(
        a,
        "use \"%s/models/bytes.sn\"\ntrain { data text(\"x\")\n size batch = 4, seq = 8\n"
        "optimizer adafactor\n optimizer muon(decay = 0.1): attn, mlp\n lr linear(peak = 0.1, "
        "warmup = 1, steps = 5)\n}\n",
        SOURCE_DIR);
    Built b = build_good(text, small, 2);
    assert_true(has_state(&b, "h.1.attn.wo.muon.m"));
    const State *row = state(&b, "embed.adafactor.row"), *col = state(&b, "embed.adafactor.col");
    assert_int_equal(type_count(type_at(b.p->m, row->type)), 256);
    assert_int_equal(type_at(b.p->m, col->type)->n, 1);
    assert_int_equal(type_at(b.p->m, state(&b, "norm.scale.adafactor.row")->type)->n, 0);
    assert_string_equal(option(&b, "steps"), "5");
    arena_free(a);
}

// ---- numbers of the run -------------------------------------------------------------------------

static void test_initial_values(void **s) {
    (void)s;
    Define dims[] = {{"dim", "512"}, {"vocab", "64"}};
    Built b = build_good(MODEL("param u[dim, six] ~ 2 * uniform() - 1, half[six] ~ 0.5"), dims, 2);
    Interp in = run_init(&b);
    const Module *m = b.p->m;
    for (StateId i = 0; i < m->states.n; i++) {
        const char *path = sym_str(b.syms, m->states.at[i].path);
        int64_t n = type_count(type_at(m, m->states.at[i].type));
        double sum = 0, square = 0, most = 0;
        for (int64_t k = 0; k < n; k++) {
            sum += in.states[i].at[k];
            square += in.states[i].at[k] * in.states[i].at[k];
            if (fabs(in.states[i].at[k]) > most) most = fabs(in.states[i].at[k]);
        }
        double mean = sum / (double)n, deviation = sqrt(square / (double)n - mean * mean);
        // n is 32768 and 3072: five standard errors
        if (!strcmp(path, "w")) {
            assert_true(fabs(mean) < 5 * 0.02 / sqrt((double)n));
            assert_true(fabs(deviation / 0.02 - 1) < 5 / sqrt(2.0 * (double)n));
        } else if (!strcmp(path, "u")) {
            assert_true(fabs(mean) < 5 * 0.58 / sqrt((double)n));
            assert_true(most <= 1 && most > 0.99);
        } else if (!strcmp(path, "half")) {
            assert_true(sum == 3 && most == 0.5);
        }
    }
}

// A parameter's first values depend on its path alone.
static void test_initial_values_by_path(void **s) {
    (void)s;
    Built a = build_good(MODEL(""), NULL, 0),
          b = build_good(MODEL("param before[six] ~ normal(1)"), NULL, 0);
    Interp x = run_init(&a), y = run_init(&b);
    StateId ia = (StateId)(state(&a, "w") - a.p->m->states.at),
            ib = (StateId)(state(&b, "w") - b.p->m->states.at);
    int64_t n = type_count(type_at(a.p->m, a.p->m->states.at[ia].type));
    assert_memory_equal(x.states[ia].at, y.states[ib].at, (size_t)n * sizeof(double));
}

// Draws differ between places, and evaluation has no dropout.
static void test_draws(void **s) {
    (void)s;
    Built b = build_good(MODEL("a = dropout(x, 0.5)\n b = dropout(x, 0.5)\n x = x + 0 * a + 0 * b"),
                         NULL, 0);
    assert_int_equal(count_op(&b, "step", OP_random), 2);
    assert_int_equal(count_op(&b, "eval", OP_random), 0);
    const Func *f = module_find(b.p->m, "step");
    int64_t keys[2] = {0}, n = 0;
    for (NodeId i = 0; i < f->nodes.n; i++)
        if (f->nodes.at[i].op == OP_random) keys[n++] = attr_of(b.p->m, f, i)->random.key;
    assert_true(keys[0] != keys[1]);
}

// The schedule at step 7.
static double run_schedule(const char *line) {
    const char *text = arena_printf(
        arena_new(),
        HEAD "model m(tokens: vocab[batch, seq]) { param w[dim] ~ 1\n"
             "loss = sum[dim](w) * mean[batch, seq](real(tokens))\n metric rate = %s }\n" PLAN,
        line);
    Built b = build_good(text, NULL, 0);
    Interp in = run_init(&b);
    in.input = give_input;
    Tensor r[2] = {0};
    Text why = {.arena = b.a};
    assert_true(interp_run(&in, module_find(b.p->m, "eval"), r, NULL, &why));
    double x = r[1].at[0];
    arena_free(b.a);
    return x;
}

static void test_schedules(void **s) {
    (void)s;
    static const struct {
        const char *line;
        double rate;
    } cases[] = {
        {"constant_lr(2)", 2},
        {"cosine_lr(2, 14, 100)", 1}, // half-way up
        {"cosine_lr(2, 7, 10)", 2},
        {"cosine_lr(2, 6, 10)", 2},               // no step of the decay is finished
        {"cosine_lr(2, 3, 9, floor = 0.5)", 1.5}, // half-way down
        {"cosine_lr(2, 1, 5, floor = 0.5)", 1},
        {"cosine_lr(2, 6, 7)", 2}, // one step learns
        {"linear_lr(2, 3, 9)", 1},
        {"linear_lr(2, 0, 7)", 2.0 / 7}, // and so does the last
        {"linear_lr(2, 0, 6)", 0},
        {"warmup_stable_decay_lr(2, 2, 8, decay = 0.5)", 1},
        {"warmup_stable_decay_lr(2, 0, 7, decay = 0.2)", 2 / 1.4},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double rate = run_schedule(cases[i].line);
        if (fabs(rate - cases[i].rate) > 1e-6) fail_msg("%s: %.9g", cases[i].line, rate);
    }
}

// ---- faults -------------------------------------------------------------------------------------

// The extent of the sample axis in a tensor is the op 'extent', by whatever products it gets there.
static void test_sample_extent(void **s) {
    (void)s;
    Built b =
        build_good(MODEL("n = batch * seq\n t = sum[batch, seq](real(tokens))\n"
                         "metric a = mean[batch, seq](real(tokens))\n metric b = t / batch / seq\n"
                         "metric c = t / n\n metric d = t * (3 / n) * (batch / (3 * batch))"),
                   NULL, 0);
    assert_int_equal(count_op(&b, "eval", OP_extent), 6); // a, b, n, twice in d, and the loss
    Interp in = run_init(&b);
    Tensor r[5] = {0};
    Text why = {.arena = b.a};
    if (!interp_run(&in, module_find(b.p->m, "eval"), r, NULL, &why)) fail_msg("%s", why.at);
    for (int i = 1; i < 5; i++) assert_true(fabs(r[i].at[0] - 3.9) < 1e-5);
}

static void fails(const char *text, const Define *defs, uint32_t n, const char *message) {
    Built b = build_text("test.sn", text, defs, n);
    assert_null(b.p);
    assert_true(b.d->errors > 0);
    for (uint32_t i = 0; i < b.d->items.n; i++)
        if (strstr(b.d->items.at[i].text, message)) {
            arena_free(b.a);
            return;
        }
    fail_msg("expected '%s', found '%s'", message, b.d->items.at[0].text);
}

// Where the extent of the sample axis must be known at build, one pass must hold the batch.
static void test_sample_extent_settled(void **s) {
    (void)s;
    static const char *const models[][2] = {
        {MODEL("axis lane = batch\n metric y = real(sum[lane](iota[lane]))"),
         "the extent of an axis depends on"},
        {MODEL("if batch > 1 { y = x }"), "an 'if' depends on"},
        {MODEL("y = if sqrt(batch) > 1 then x else x + 1"), "an 'if' depends on"},
        {MODEL("y = x\n half = batch // 2\n repeat half { y = y + 1 }"),
         "the number of rounds depends on"},
        {MODEL("y = x[seq: min(batch, 1)]"), "an index depends on"},
    };
    for (uint32_t i = 0; i < sizeof models / sizeof *models; i++) {
        Define part = {"micro", "1"};
        fails(models[i][0], &part, 1, models[i][1]);
        Built b = build_good(models[i][0], NULL, 0);
        assert_true(b.p->m->whole_step && b.p->m->whole_eval);
        arena_free(b.a);
    }
    Built b = build_good(MODEL("axis all = batch\n metric n = sqrt(all) + max(batch, 3)"), NULL, 0);
    assert_false(b.p->m->whole_step || b.p->m->whole_eval);
    arena_free(b.a);
    fails(MODEL("param v[vocab] ~ 1 / batch"), NULL, 0, "may not depend on the number of samples");
}

// A name is an axis or a value.
static void test_names(void **s) {
    (void)s;
    static const char *const models[] = {
        MODEL("dim = 3"),
        MODEL("param dim[six] ~ 1"),
        MODEL("state dim[six] ~ 1"),
        MODEL("repeat 2 at dim { y = x }"),
        MODEL("a, dim = (x, x)"),
        MODEL("y = f(x)") "fn f(dim) = dim\n",
        MODEL("y = f[six](2)") "fn f[six](six) = six\n",
        MODEL("output dim = x"),
        MODEL("") "dim = 3\n",
    };
    for (uint32_t i = 0; i < sizeof models / sizeof *models; i++)
        fails(models[i], NULL, 0, "is an axis: a value needs a name of its own");
    fails(MODEL("n = 3\n axis n = 4"), NULL, 0, "'n' is a value: an axis needs a name of its own");
    fails("n = 3\naxis n = 4\n" MODEL(""), NULL, 0, "'n' is a value: an axis needs");
}

static void test_defines(void **s) {
    (void)s;
    Define near = {"sek", "4"}, text = {"seq", "many"}, odd = {"micro", "3"},
           extent = {"dim", "2.5"}, far = {"qqqqqqqq", "1"};
    fails(MODEL(""), &near, 1, "-D sek: nothing has this name; did you mean 'seq'?");
    fails(MODEL(""), &text, 1, "-D seq=many: expected a number");
    fails(MODEL(""), &odd, 1, "does not fall into micro-batches of 3");
    fails(MODEL(""), &extent, 1, "whole number");
    fails(MODEL(""), &far, 1, "-D qqqqqqqq: nothing has this name");
}

// The module keeps the lines in order: what -D says of all takes the place of lines without names, or goes
// before all; a value that the text names otherwise than its call has a line of its own.
static void test_precision(void **s) {
    (void)s;
    static const char *const text =
        "axis vocab = 16, dim = 4, batch, seq\n"
        "model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {\n"
        "param w[vocab -> dim] ~ normal(0.02)\n x = w[vocab: tokens] @[dim] w\n"
        "p = softmax[vocab](x)\n"
        "loss = mean[batch, seq, vocab](p) + mean[batch, seq](cross_entropy[vocab](x, "
        "targets))\n}\n"
        "train { data text(\"x\")\n size batch = 2, seq = 5\n optimizer sgd\n lr constant(0.1)\n"
        "precision forward = f32, master = f32\n precision f32: p, w\n"
        "precision stored = f32: p\n }\n";
    static const Define defs[] = {{"precision.forward", "f32"}, {"precision.grads", "f32"}};
    static const char *const want[] = {"* {forward grads}",
                                       "* {forward master}",
                                       "p {forward dgrad wgrad stored}",
                                       "softmax exact {forward dgrad wgrad stored}",
                                       "w {forward dgrad wgrad stored}",
                                       "p {stored}",
                                       "softmax exact {stored}"};
    Built b = build_good(text, defs, 2);
    const Module *m = b.p->m;
    assert_int_equal(m->precisions.n, sizeof want / sizeof *want);
    for (uint32_t i = 0; i < m->precisions.n; i++) {
        const Precision *p = &m->precisions.at[i];
        Text t = {.arena = b.a};
        text_printf(&t, "%s%s", sym_str(b.syms, p->path), p->exact ? " exact {" : " {");
        for (uint32_t k = 0, n = 0; k < PRECISIONS; k++)
            if (p->format[k]) text_printf(&t, "%s%s", n++ ? " " : "", precision_names[k]);
        text_printf(&t, "}");
        assert_string_equal(t.at, want[i]);
    }
    assert_int_equal(precision_of(m, PRECISION_stored, sym(b.syms, "d.softmax")), FORMAT_f32);
    assert_int_equal(precision_of(m, PRECISION_stored, sym(b.syms, "x")), FORMAT_unset);
    assert_int_equal(precision_of(m, PRECISION_forward, sym(b.syms, "x")), FORMAT_f32);
    arena_free(b.a);
}

static void test_bounds(void **s) {
    (void)s;
    fails(MODEL("y = x\n repeat 20000 { repeat 20000 { y = y + 1 } }"), NULL, 0,
          "expands to more than");
    fails(MODEL("y = f(x)") "fn f(x) = g(x)\nfn g(x) = f(x)\n", NULL, 0, "calls itself");
    Text t = {.arena = arena_new()};
    text_printf(&t, "%s", MODEL("y = f0(x)"));
    for (int i = 0; i < 100; i++) text_printf(&t, "fn f%d(x) = f%d(x) + 1\n", i, i + 1);
    text_printf(&t, "fn f100(x) = x\n");
    fails(t.at, NULL, 0, "calls in each other");
    // Doubling calls: 2^40 expansions are cut off by the budget.
    Text u = {.arena = t.arena};
    text_printf(&u, "%s", MODEL("y = f0(x)"));
    for (int i = 0; i < 40; i++) text_printf(&u, "fn f%d(x) = f%d(x) + f%d(x)\n", i, i + 1, i + 1);
    text_printf(&u, "fn f40(x) = x\n");
    fails(u.at, NULL, 0, "expands to more than");
}

// The messages of the semantic cases in tests/diag, byte by byte. (test_parser compares syntax_*;
// passes_* are messages of passes, which `golden` compares.)
static void test_messages(void **s) {
    (void)s;
    Arena *a = arena_new();
    DIR *dir = opendir(SOURCE_DIR "/tests/diag");
    assert_non_null(dir);
    uint32_t seen = 0, wrong = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 3, ".sn") || !strncmp(e->d_name, "syntax_", 7) ||
            !strncmp(e->d_name, "passes_", 7))
            continue;
        char *shown = arena_printf(a, "tests/diag/%s", e->d_name);
        Built b = build_text(shown, read_file(a, arena_printf(a, "%s/%s", SOURCE_DIR, shown), NULL),
                             NULL, 0);
        char *got = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&got, &size);
        diag_print(b.d, to, false);
        fclose(to);
        const char *want = read_file(
            a, arena_printf(a, "%s/tests/diag/%.*s.txt", SOURCE_DIR, (int)(n - 3), e->d_name),
            NULL);
        if (!b.p != (strstr(want, "error:") != NULL) || strcmp(got, want)) {
            print_error("%s:\n%s", shown, got);
            wrong++;
        }
        seen++;
        free(got);
        arena_free(b.a);
    }
    closedir(dir);
    assert_int_equal(wrong, 0);
    assert_true(seen >= 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_outer),
        cmocka_unit_test(test_function_arguments),
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_shipped_models),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_block_arguments),
        cmocka_unit_test(test_shared_and_stat),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_rules_of_names),
        cmocka_unit_test(test_maps_of_optimizers),
        cmocka_unit_test(test_no_generate),
        cmocka_unit_test(test_constants_by_define),
        cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_initial_values_by_path),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_sample_extent),
        cmocka_unit_test(test_defines),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_kinds_of_numbers),
        cmocka_unit_test(test_sample_extent_settled),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

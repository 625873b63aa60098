// Feed-forward layers and their gradients at random, with what cuBLASLt's products compute along: the
// emulated device against the interpreter, within the tolerance of docs/numerics.md. What varies is what
// decides (passes/fuse_library.c): sizes down to 1 and no multiples of 8, a bias, transposed weights,
// renamed operands, exchanged sides, accumulators, the place of the bias's gradient, and which values
// somebody else wants. SINTER_LONG=1: 1,500 programs; SINTER_SEED: others. Needs NVRTC.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/cuda/cuda.h"
#include "tests/oracle/oracle.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Text text, results, states;
    uint64_t random;
    uint32_t nodes, count;
    int64_t dim, ff, out;
    char rows[32];    // "b=3, s=33"
    const char *axes; // "b, s"
    bool exchanged;   // operands of products
} ModelGen;

static uint32_t pick(ModelGen *g, uint32_t below) {
    g->random = g->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(g->random >> 33) % below;
}
static bool chance(ModelGen *g, uint32_t percent) { return pick(g, 100) < percent; }

__attribute__((format(printf, 2, 3))) static uint32_t node(ModelGen *g, const char *fmt, ...) {
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    text_printf(&g->text, "  %%%u = %s\n", g->nodes, line);
    return g->nodes++;
}

static void wanted(ModelGen *g, uint32_t n) {
    text_printf(&g->results, "  value r%u = %%%u\n", g->count++, n);
}

// Of the layer's inner type.
static uint32_t inner(ModelGen *g, const char *op, uint32_t a, uint32_t b) {
    return node(g, "%s %%%u, %%%u : f32[%s, ff=%lld]", op, a, b, g->rows, (long long)g->ff);
}
static uint32_t inner_fma(ModelGen *g, uint32_t a, uint32_t b, uint32_t c) {
    return node(g, "fma %%%u, %%%u, %%%u : f32[%s, ff=%lld]", a, b, c, g->rows, (long long)g->ff);
}
static uint32_t number(ModelGen *g, double x) { return node(g, "const : f32 {value=%.9g}", x); }

static uint32_t product(ModelGen *g, uint32_t a, uint32_t b, const char *type, const char *axes) {
    return node(g, "contract %%%u, %%%u : f32[%s] {axes=(%s)}", g->exchanged ? b : a,
                g->exchanged ? a : b, type, axes);
}

typedef struct {
    uint32_t v, half, one, root, h, square, tanh, e, y;
} Gelu;

static Gelu gelu_of(ModelGen *g, uint32_t v) {
    Gelu x = {.v = v, .half = number(g, 0.5), .one = number(g, 1), .root = number(g, 0.797884583)};
    uint32_t cube = number(g, 0.0447149985);
    x.h = inner(g, "mul", v, x.half);
    x.square = inner(g, "mul", v, v);
    uint32_t c = inner_fma(g, inner(g, "mul", v, x.square), cube, v);
    c = inner(g, "mul", c, x.root);
    x.tanh = node(g, "tanh %%%u : f32[%s, ff=%lld]", c, g->rows, (long long)g->ff);
    x.e = inner(g, "add", x.tanh, x.one);
    x.y = inner(g, "mul", x.h, x.e);
    return x;
}

// As autodiff writes it.
static uint32_t gradient_of(ModelGen *g, const Gelu *x, uint32_t dy) {
    uint32_t k = number(g, 0.0356774069), two = number(g, 2), a = inner(g, "mul", dy, x->e);
    uint32_t b = inner(g, "mul", dy, x->h), t = inner(g, "mul", x->tanh, x->tanh);
    b = inner(g, "mul", b, inner(g, "sub", x->one, t));
    uint32_t c = inner(g, "mul", b, k), d = inner(g, "mul", c, x->square);
    d = inner_fma(g, b, x->root, d);
    c = inner(g, "mul", inner(g, "mul", c, x->v), x->v);
    return inner_fma(g, a, x->half, inner_fma(g, c, two, d));
}

static uint32_t sum_of(ModelGen *g, uint32_t n) {
    return node(g, "reduce %%%u : f32[ff=%lld] {kind=sum, axes=(%s), by=%s}", n, (long long)g->ff,
                g->axes, chance(g, 67) ? "col" : "seq");
}

static void keep_sum(ModelGen *g, uint32_t sum) {
    long long ff = (long long)g->ff;
    if (chance(g, 50)) {
        uint32_t s = node(g, "state : f32[ff=%lld] {state=db}", ff);
        s = node(g, "add %%%u, %%%u : f32[ff=%lld]", s, sum, ff);
        node(g, "assign %%%u : f32[ff=%lld] {state=db}", s, ff);
    } else {
        wanted(g, sum);
    }
    if (chance(g, 15)) wanted(g, node(g, "mul %%%u, %%%u : f32[ff=%lld]", sum, sum, ff));
}

static void weights_gradient(ModelGen *g, uint32_t x, uint32_t d) {
    uint32_t a = g->exchanged ? d : x, b = g->exchanged ? x : d;
    char type[64];
    snprintf(type, sizeof type, "dim=%lld, ff=%lld", (long long)g->dim, (long long)g->ff);
    if (chance(g, 50)) {
        uint32_t s = node(g, "state : f32[%s] {state=dw}", type);
        s = node(g, "contract %%%u, %%%u, %%%u : f32[%s] {axes=(%s)}", a, b, s, type, g->axes);
        node(g, "assign %%%u : f32[%s] {state=dw}", s, type);
    } else {
        wanted(g, product(g, x, d, type, g->axes));
    }
}

static void backward(ModelGen *g, const Gelu *y, uint32_t x, uint32_t w, uint32_t dy) {
    char type[64];
    uint32_t d = chance(g, 80) ? gradient_of(g, y, dy) : dy;
    bool sums = chance(g, 80), first = chance(g, 60);
    uint32_t sum = sums && first ? sum_of(g, d) : 0;
    if (chance(g, 15)) wanted(g, dy);
    weights_gradient(g, x, d);
    snprintf(type, sizeof type, "%s, dim=%lld", g->rows, (long long)g->dim);
    if (chance(g, 70)) wanted(g, product(g, d, w, type, "ff"));
    if (sums && !first) sum = sum_of(g, d);
    if (sums) keep_sum(g, sum);
    if (chance(g, 20)) wanted(g, inner(g, "max", d, d));
    if (chance(g, 15)) wanted(g, sum_of(g, y->y));
}

// A weight of these two axes, in one order or the other.
static uint32_t weight(ModelGen *g, const char *name, const char *a, int64_t m, const char *b,
                       int64_t n) {
    bool turned = chance(g, 40);
    char type[64];
    snprintf(type, sizeof type, "%s=%lld, %s=%lld", turned ? b : a, (long long)(turned ? n : m),
             turned ? a : b, (long long)(turned ? m : n));
    text_printf(&g->states, "state %s : f32[%s] param\n", name, type);
    return node(g, "state : f32[%s] {state=%s}", type, name);
}

static void layer(ModelGen *g) {
    char type[64];
    long long ff = (long long)g->ff;
    uint32_t x = node(g, "input : f32[%s, dim=%lld] {name=x}", g->rows, (long long)g->dim);
    if (chance(g, 30)) {
        x = node(g, "rename %%%u : f32[%s, other=%lld] {from=dim, to=other}", x, g->rows,
                 (long long)g->dim);
        x = node(g, "rename %%%u : f32[%s, dim=%lld] {from=other, to=dim}", x, g->rows,
                 (long long)g->dim);
    }
    uint32_t dz = node(g, "input : f32[%s, out=%lld] {name=dz}", g->rows, (long long)g->out);
    uint32_t w = weight(g, "w", "dim", g->dim, "ff", g->ff);
    uint32_t w2 = weight(g, "w2", "ff", g->ff, "out", g->out);
    uint32_t bias = node(g, "state : f32[ff=%lld] {state=bias}", ff);
    snprintf(type, sizeof type, "%s, ff=%lld", g->rows, ff);
    uint32_t p = product(g, x, w, type, "dim"), v = chance(g, 60) ? inner(g, "add", p, bias) : p;
    Gelu y = gelu_of(g, v);
    if (chance(g, 75)) backward(g, &y, x, w, product(g, dz, w2, type, "out"));
    if (chance(g, 20)) wanted(g, v);
    if (v != p && chance(g, 20)) wanted(g, p);
    if (chance(g, 20)) wanted(g, y.y);
    if (chance(g, 15)) wanted(g, y.tanh);
    snprintf(type, sizeof type, "%s, out=%lld", g->rows, (long long)g->out);
    wanted(g, product(g, y.y, w2, type, "ff"));
}

static const char *program(Arena *a, uint64_t seed) {
    static const int64_t batches[] = {1, 2, 3, 5}, lengths[] = {1, 2, 7, 8, 33, 40};
    static const int64_t dims[] = {1, 4, 8, 24, 31}, wide[] = {1, 8, 16, 24, 32, 20, 40};
    ModelGen g = {.random = seed};
    g.text.arena = g.results.arena = g.states.arena = a;
    text_put(&g.states, "", 0);
    for (int i = 0; i < 8; i++) pick(&g, 2);
    long long b = batches[pick(&g, 4)], s = lengths[pick(&g, 6)];
    g.dim = dims[pick(&g, 5)], g.ff = wide[pick(&g, 7)], g.out = dims[pick(&g, 5)];
    g.exchanged = chance(&g, 50);
    bool two = chance(&g, 50);
    snprintf(g.rows, sizeof g.rows, two ? "s=%lld, b=%lld" : "s=%lld", s, b);
    g.axes = two ? "s, b" : "s";
    layer(&g);
    Text all = {.arena = a};
    text_printf(&all, "axis b = %lld\naxis s = %lld\naxis dim = %lld\naxis other = %lld\n", b, s,
                (long long)g.dim, (long long)g.dim);
    text_printf(&all, "axis ff = %lld\naxis out = %lld\n", (long long)g.ff, (long long)g.out);
    text_printf(&all, "%sstate bias : f32[ff=%lld] param\nstate db : f32[ff=%lld] accum\n",
                g.states.at, (long long)g.ff, (long long)g.ff);
    text_printf(&all, "state dw : f32[dim=%lld, ff=%lld] accum\nfunc step {\n%s%s}\n",
                (long long)g.dim, (long long)g.ff, g.text.at, g.results.at);
    return all.at;
}

static void check(uint64_t seed) {
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    const char *text = program(a, seed);
    Text why = {.arena = a};
    const OracleOptions o = {.seed = seed, .emulated = "sm_90a", .library = true, .loose = true};
    uint16_t file = diag_add_file(d, "program", text, strlen(text), false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    if (!m) diag_print(d, stderr, false);
    if (!m || !oracle_check(m, &o, &why))
        fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, why.at ? why.at : "no program",
                 text);
    arena_free(a);
}

static void layers_at_random(void **state) {
    (void)state;
    const char *tier = getenv("SINTER_LONG"), *seed = getenv("SINTER_SEED");
    uint32_t count = tier && *tier == '1' ? 1500 : 150;
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    print_message("%u programs from seed %llu\n", count, (unsigned long long)first);
    for (uint32_t i = 0; i < count; i++) check(first + i);
}

int main(void) {
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool available = cuda_available(&why);
    if (!available) printf("skipped products of a library: %s\n", why.at);
    arena_free(a);
    if (!available) return 77;
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_at_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

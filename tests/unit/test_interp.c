// The oracle against loops written here: every kind of op, both modes, the promised orders, states,
// regions, and refusals. Scalars have their own test; here only that they align by name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "ir/scalar.h"
#include "tests/unit/files.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// A module, an interpreter, and inputs that are drawn from a fixed sequence.
typedef struct {
    Arena *arena;
    Module *m;
    Interp in;
    Tensor results[64], inputs[16];
    const char *names[16];
    uint32_t n_inputs;
    uint32_t state;
} InterpFixture;

static double draw(InterpFixture *x, Elem e) {
    x->state = x->state * 1664525u + 1013904223u;
    if (e == ELEM_bool) return x->state >> 31;
    if (e != ELEM_f32) return (double)(x->state >> 8) / 16777216.0 * 10;
    return (double)((float)(x->state >> 8) * 0x1p-22f - 2.0f);
}

static bool give(void *user, const char *name, TypeId type, double *out) {
    InterpFixture *x = user;
    const Type *t = type_at(x->m, type);
    int64_t n = type_count(t);
    if (strcmp(name, "absent") == 0) return false;
    for (int64_t i = 0; i < n; i++) {
        out[i] = draw(x, (Elem)t->elem);
        if (t->elem == ELEM_i32) out[i] = floor(out[i]) - 1; // -1 .. 8
    }
    Tensor *keep = &x->inputs[x->n_inputs];
    keep->type = type;
    keep->at = arena_copy(x->arena, out, (size_t)n * sizeof *out);
    x->names[x->n_inputs++] = arena_str(x->arena, name, strlen(name));
    return true;
}

static InterpFixture *parse(const char *text, InterpMode mode) {
    Arena *a = arena_new();
    InterpFixture *x = NEW(a, InterpFixture);
    x->arena = a;
    Diag *d = diag_new(a);
    x->m = ir_parse(a, symtab_new(a), d, diag_add_file(d, "in.ir", text, strlen(text), false));
    if (!x->m) fail_msg("%s", d->items.at[0].text);
    interp_init(&x->in, x->m, mode, a);
    x->in.input = give;
    x->in.user = x;
    return x;
}

static void run(InterpFixture *x) {
    Text why = {.arena = x->arena};
    x->n_inputs = 0;
    if (!interp_run(&x->in, module_find(x->m, "step"), x->results, NULL, &why))
        fail_msg("%s", why.at);
}

static const double *input(const InterpFixture *x, const char *name) {
    for (uint32_t i = 0; i < x->n_inputs; i++)
        if (strcmp(x->names[i], name) == 0) return x->inputs[i].at;
    fail_msg("no input '%s'", name);
    return NULL;
}

static void finish(InterpFixture *x) { arena_free(x->arena); }

// ---- alignment and views

static void test_align(void **state) {
    (void)state;
    InterpFixture *x = parse("axis a = 2\naxis b = 3\nfunc step {\n"
                             "%0 = input : f32[a=2, b=3] {name=x}\n%1 = input : f32[b=3] {name=y}\n"
                             "%2 = input : f32 {name=z}\n"
                             "%3 = fma %1, %2, %0 : f32[b=3, a=2]\n"
                             "%4 = lt %0, %1 : bool[a=2, b=3]\n"
                             "%5 = select %4, %1, %0 : f32[a=2, b=3]\n"
                             "%6 = cast %5 : i32[a=2, b=3] {to=i32}\n"
                             "%7 = copy %6 : i32[b=3, a=2]\n"
                             "value r = %3\nvalue s = %5\nvalue t = %7\n}\n",
                             INTERP_EXACT);
    run(x);
    const double *p = input(x, "x"), *q = input(x, "y"), *z = input(x, "z");
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 3; b++) {
            double u = p[a * 3 + b];
            assert_true(x->results[0].at[b * 2 + a] ==
                        (double)fmaf((float)q[b], (float)z[0], (float)u));
            double s = u < q[b] ? q[b] : u;
            assert_true(x->results[1].at[a * 3 + b] == s);
            assert_true(x->results[2].at[b * 2 + a] == trunc(s));
        }
    finish(x);
}

static void test_views(void **state) {
    (void)state;
    InterpFixture *x = parse(
        "axis a = 2\naxis b = 6\naxis c = 2\naxis d = 3\naxis e = 12\naxis f = 4\naxis g = 9\n"
        "func step {\n%0 = input : f32[a=2, b=6] {name=x}\n"
        "%1 = rename %0 : f32[a=2, e=6] {from=b, to=e}\n"
        "%2 = split %0 : f32[d=3, a=2, c=2] {from=b, to=(c, d)}\n"
        "%3 = merge %0 : f32[e=12] {from=(a, b), to=e}\n"
        "%4 = slice %0 : f32[f=4, a=2] {from=b, to=f, start=1}\n"
        "%5 = pad %0 : f32[a=2, g=9] {from=b, to=g, start=2, value=7}\n"
        "%6 = concat %0, %4 : f32[a=2, e=10] {from=(b, f), to=e}\n"
        "%7 = expand %0 : f32[c=2, b=6, a=2]\n"
        "%8 = iota : i32[d=3] {axis=d}\n%9 = extent : f32 {axis=g}\n"
        "value r = %1\nvalue r = %2\nvalue r = %3\nvalue r = %4\nvalue r = %5\nvalue r = %6\n"
        "value r = %7\nvalue r = %8\nvalue r = %9\n}\n",
        INTERP_F64);
    run(x);
    const double *v = input(x, "x");
    const Tensor *r = x->results;
    for (int i = 0; i < 12; i++) {
        int a = i / 6, b = i % 6, c = b / 3, d = b % 3;
        assert_true(r[0].at[i] == v[i]);
        assert_true(r[1].at[d * 4 + a * 2 + c] == v[i]);
        assert_true(r[2].at[i] == v[i]);
        assert_true(r[4].at[a * 9 + b + 2] == v[i]);
        assert_true(r[5].at[a * 10 + b] == v[i]);
        assert_true(r[6].at[b * 2 + a] == v[i] && r[6].at[12 + b * 2 + a] == v[i]);
        if (b >= 1 && b < 5) {
            assert_true(r[3].at[(b - 1) * 2 + a] == v[i]);
            assert_true(r[5].at[a * 10 + 6 + b - 1] == v[i]);
        }
    }
    for (int a = 0; a < 2; a++)
        assert_true(r[4].at[a * 9] == 7 && r[4].at[a * 9 + 1] == 7 && r[4].at[a * 9 + 8] == 7);
    assert_true(r[7].at[0] == 0 && r[7].at[2] == 2 && r[8].at[0] == 9);
    finish(x);
}

// ---- folds: the orders by the letter of docs/numerics.md, in float

static float chain(const double *x, int64_t n, int64_t stride) {
    float acc = 0;
    for (int64_t i = 0; i < n; i++) acc += (float)x[i * stride];
    return acc;
}

static float segment(const double *x, int64_t n) {
    float acc[128] = {0};
    for (int64_t i = 0; i < n; i++) acc[i % 128] += (float)x[i];
    for (int half = 64; half; half /= 2)
        for (int j = 0; j < half; j++) acc[j] += acc[j + half];
    return acc[0];
}

static void test_reduce_orders(void **state) {
    (void)state;
    InterpFixture *x =
        parse("axis a = 3\naxis n = 9001\naxis p = 3\naxis q = 251\nfunc step {\n"
              "%0 = input : f32[a=3, n=9001] {name=x}\n"
              "%1 = reduce %0 : f32[a=3] {kind=sum, axes=(n), by=row}\n"
              "%2 = reduce %0 : f32[a=3, p=3] {kind=sum, axes=(n), by=row, part=p}\n"
              "%3 = reduce %2 : f32[a=3] {kind=sum, axes=(p), by=seq}\n"
              "%4 = copy %0 : f32[n=9001, a=3]\n"
              "%5 = reduce %4 : f32[a=3] {kind=sum, axes=(n), by=col}\n"
              "%6 = reduce %4 : f32[q=251, a=3] {kind=sum, axes=(n), by=col, part=q}\n"
              "%7 = reduce %6 : f32[a=3] {kind=sum, axes=(q), by=seq}\n"
              "%8 = reduce %4 : f32[a=3] {kind=sum, axes=(n), by=seq}\n"
              "value r = %1\nvalue r = %2\nvalue r = %3\nvalue r = %5\nvalue r = %6\n"
              "value r = %7\nvalue r = %8\n}\n",
              INTERP_EXACT);
    run(x);
    const double *v = input(x, "x");
    for (int a = 0; a < 3; a++) {
        const double *row = v + a * 9001;
        float s[3] = {segment(row, 4096), segment(row + 4096, 4096), segment(row + 8192, 809)};
        float want = 0 + s[0] + s[1] + s[2];
        float copy[9001];
        for (int i = 0; i < 9001; i++) copy[i] = (float)row[i];
        assert_true(exact_fold_row(REDUCE_sum, copy, 9001, 1) == want);
        assert_true(x->results[0].at[a] == (double)want);
        for (int p = 0; p < 3; p++) assert_true(x->results[1].at[a * 3 + p] == (double)s[p]);
        assert_true(x->results[2].at[a] == (double)want);
        float total = 0; // chunks of ceil(9001 / 256) = 36 rows
        for (int q = 0; q < 251; q++) {
            float c = chain(row + q * 36, q == 250 ? 1 : 36, 1);
            assert_true(x->results[4].at[q * 3 + a] == (double)c);
            total += c;
        }
        assert_true(x->results[3].at[a] == (double)total);
        assert_true(x->results[5].at[a] == (double)total);
        assert_true(x->results[6].at[a] == (double)chain(row, 9001, 1));
    }
    finish(x);
}

static void test_reduce_kinds(void **state) {
    (void)state;
    InterpFixture *x =
        parse("axis a = 2\naxis b = 5\naxis c = 3\nfunc step {\n"
              "%0 = input : f32[a=2, b=5, c=3] {name=x}\n"
              "%1 = input : bool[a=2, b=5, c=3] {name=y}\n"
              "%2 = input : i32[a=2, b=5, c=3] {name=z}\n"
              "%3 = reduce %0 : f32[a=2] {kind=prod, axes=(b, c), by=row}\n"
              "%4 = reduce %0 : f32[a=2] {kind=min, axes=(b, c), by=row}\n"
              "%5 = reduce %0 : f32[c=3] {kind=max, axes=(a, b), by=col}\n"
              "%6 = reduce %1 : bool[a=2, c=3] {kind=any, axes=(b), by=seq}\n"
              "%7 = reduce %1 : bool[a=2, c=3] {kind=all, axes=(b), by=col}\n"
              "%8 = reduce %2 : i32[c=3] {kind=sum, axes=(b, a), by=seq}\n"
              "%9 = reduce %2 : i32 {kind=max, axes=(a, b, c), by=row}\n"
              "value r = %3\nvalue r = %4\nvalue r = %5\nvalue r = %6\nvalue r = %7\n"
              "value r = %8\nvalue r = %9\n}\n",
              INTERP_F64);
    run(x);
    const double *v = input(x, "x"), *y = input(x, "y"), *z = input(x, "z");
    double most = -1e9;
    for (int a = 0; a < 2; a++) {
        double prod = 1, low = INFINITY;
        for (int i = 0; i < 15; i++) {
            prod *= v[a * 15 + i];
            low = fmin(low, v[a * 15 + i]);
            most = fmax(most, z[a * 15 + i]);
        }
        assert_true(fabs(x->results[0].at[a] - prod) <= 1e-12 * fabs(prod));
        assert_true(x->results[1].at[a] == low);
    }
    for (int c = 0; c < 3; c++) {
        double high = -INFINITY, sum = 0;
        for (int i = 0; i < 10; i++) high = fmax(high, v[i * 3 + c]), sum += z[i * 3 + c];
        assert_true(x->results[2].at[c] == high && x->results[5].at[c] == sum);
        for (int a = 0; a < 2; a++) {
            int count = 0;
            for (int b = 0; b < 5; b++) count += y[a * 15 + b * 3 + c] != 0;
            assert_true(x->results[3].at[a * 3 + c] == (count > 0));
            assert_true(x->results[4].at[a * 3 + c] == (count == 5));
        }
    }
    assert_true(x->results[6].at[0] == most);
    finish(x);
}

// ---- contraction

static void test_contract(void **state) {
    (void)state;
    const char *text =
        "axis h = 2\naxis m = 3\naxis n = 4\naxis k = 5\naxis l = 2000\nfunc step {\n"
        "%0 = input : f32[m=3, k=5, h=2, l=2000] {name=x}\n"
        "%1 = input : f32[l=2000, n=4, h=2, k=5] {name=y}\n"
        "%2 = input : f32[h=2, n=4, m=3] {name=acc}\n"
        "%3 = contract %0, %1 : f32[h=2, m=3, n=4] {axes=(k, l)}\n"
        "%4 = contract %0, %1, %2 : f32[h=2, n=4, m=3] {axes=(k, l)}\n"
        "%5 = contract %2, %2 : f32[h=2, n=4, m=3] {axes=()}\n"
        "%6 = contract %2, %2 : f32[h=2, n=4, m=3] {axes=(), tf32=1}\n"
        "value r = %3\nvalue r = %4\nvalue r = %5\nvalue r = %6\n}\n";
    for (int mode = 0; mode < 2; mode++) {
        InterpFixture *x = parse(text, mode ? INTERP_EXACT : INTERP_F64);
        run(x);
        const double *p = input(x, "x"), *q = input(x, "y"), *c = input(x, "acc");
        for (int h = 0; h < 2; h++)
            for (int m = 0; m < 3; m++)
                for (int n = 0; n < 4; n++) {
                    float total = 0, part = 0;
                    double sum = 0;
                    for (int i = 0; i < 10000; i++) { // k outer, l inner
                        int k = i / 2000, l = i % 2000;
                        double u = p[((m * 5 + k) * 2 + h) * 2000 + l];
                        double w = q[((l * 4 + n) * 2 + h) * 5 + k];
                        part = fmaf((float)u, (float)w, part);
                        sum += u * w;
                        if (i % 4096 == 4095 || i == 9999) total += part, part = 0;
                    }
                    double acc = c[(h * 4 + n) * 3 + m];
                    double r0 = x->results[0].at[(h * 3 + m) * 4 + n];
                    double r1 = x->results[1].at[(h * 4 + n) * 3 + m];
                    double r2 = x->results[2].at[(h * 4 + n) * 3 + m];
                    double r3 = x->results[3].at[(h * 4 + n) * 3 + m];
                    int e;
                    frexp(acc, &e);
                    double kept = ldexp(round(ldexp(acc, 11 - e)), e - 11); // 11 bits
                    if (mode) {
                        assert_true(r3 == (double)((float)kept * (float)kept));
                        assert_true(r0 == (double)total);
                        assert_true(r1 == (double)((float)acc + total));
                        assert_true(r2 == (double)((float)acc * (float)acc));
                    } else {
                        assert_true(fabs(r0 - sum) < 1e-9 && fabs(r1 - acc - sum) < 1e-9);
                    }
                }
        finish(x);
    }
}

// ---- index

static void test_gather_scatter(void **state) {
    (void)state;
    InterpFixture *x = parse("axis v = 7\naxis b = 3\naxis s = 20\naxis d = 4\nfunc step {\n"
                             "%0 = input : f32[b=3, v=7, d=4] {name=w}\n"
                             "%1 = input : i32[s=20, b=3] {name=i}\n"
                             "%2 = gather %0, %1 : f32[b=3, s=20, d=4] {axis=v}\n"
                             "%3 = input : f32[b=3, s=20, d=4] {name=x}\n"
                             "%4 = scatter_add %0, %1, %3 : f32[b=3, v=7, d=4] {axis=v}\n"
                             "value r = %2\nvalue r = %4\n}\n",
                             INTERP_EXACT);
    run(x);
    const double *w = input(x, "w"), *at = input(x, "i"), *v = input(x, "x");
    float sum[84];
    for (int i = 0; i < 84; i++) sum[i] = (float)w[i];
    int outside = 0, twice = 0;
    for (int s = 0; s < 20; s++)
        for (int b = 0; b < 3; b++)
            for (int d = 0; d < 4; d++) {
                int i = (int)at[s * 3 + b];
                bool in = i >= 0 && i < 7;
                double got = x->results[0].at[(b * 20 + s) * 4 + d];
                assert_true(got == (in ? w[(b * 7 + i) * 4 + d] : 0));
                outside += !in;
                if (in) sum[(b * 7 + i) * 4 + d] += (float)v[(b * 20 + s) * 4 + d], twice++;
            }
    assert_true(outside > 0 && twice > 84); // the draw covers both cases
    for (int i = 0; i < 84; i++) assert_true(x->results[1].at[i] == (double)sum[i]);
    finish(x);
}

static void test_random(void **state) {
    (void)state;
    InterpFixture *x = parse("axis a = 3\naxis b = 4\nfunc step {\n"
                             "%0 = random : u32[a=3, b=4] {key=-5, word=1}\n"
                             "%1 = random : u32[a=3, b=4] {key=77, word=3, fixed=1}\n"
                             "value r = %0\nvalue r = %1\n}\n",
                             INTERP_F64);
    x->in.seed = 0x123456789ull;
    x->in.step = 12;
    run(x);
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t u = scalar_eval_philox(i, 12, (uint64_t)-5, 0x123456789ull, 1);
        uint32_t v = scalar_eval_philox(i, 0, 77, 0x123456789ull, 3);
        assert_true(x->results[0].at[i] == (double)u && x->results[1].at[i] == (double)v);
    }
    finish(x);
}

// ---- states and regions

static void test_states(void **state) {
    (void)state;
    InterpFixture *x = parse("axis a = 2\nstate w : f32[a=2] param\nstate m : f32[a=2] moment\n"
                             "func step {\n%0 = state : f32[a=2] {state=w}\n"
                             "%1 = const : f32 {value=1.5}\n%2 = add %0, %1 : f32[a=2]\n"
                             "%3 = assign %2 : f32[a=2] {state=w}\n"
                             "%4 = state : f32[a=2] {state=w}\n" // still the old value
                             "%5 = assign %4 : f32[a=2] {state=m}\n"
                             "value old = %4\n}\n",
                             INTERP_EXACT);
    x->in.states[0].at[0] = 4;
    run(x);
    assert_true(x->results[0].at[0] == 4 && x->results[0].at[1] == 0);
    assert_true(x->in.states[0].at[0] == 5.5 && x->in.states[0].at[1] == 1.5);
    assert_true(x->in.states[1].at[0] == 4 && x->in.states[1].at[1] == 0);
    run(x);
    assert_true(x->in.states[0].at[0] == 7 && x->in.states[1].at[0] == 5.5);
    finish(x);
}

static void test_groups(void **state) {
    (void)state;
    const char *text = "axis a = 2\naxis b = 3\nfunc step {\n"
                       "%0 = input : f32[a=2, b=3] {name=x}\n%1 = input : f32[b=3] {name=y}\n"
                       "%2 = group %0, %1 : f32[a=2, b=3] {kind=rows, body=#1} region k0 {\n"
                       "  %0 = arg : f32[a=2, b=3]\n  %1 = arg : f32[b=3] {index=1}\n"
                       "  %2 = mul %0, %1 : f32[a=2, b=3]\n"
                       "  %3 = reduce %2 : f32[a=2] {kind=sum, axes=(b), by=row}\n"
                       "  value \"\" = %2\n  value \"\" = %3\n}\n"
                       "%3 = part %2 : f32[a=2] {index=1}\n"
                       "%4 = group %2, %1 : f32[a=2, b=3] {kind=rows, body=#1}\n"
                       "%5 = part %4 : f32[a=2] {index=1}\n"
                       "value r = %4\nvalue r = %3\nvalue r = %5\n}\n";
    InterpFixture *x = parse(text, INTERP_EXACT);
    run(x);
    const double *p = input(x, "x"), *q = input(x, "y");
    for (int a = 0; a < 2; a++) {
        // three elements lie in three accumulators: (e0 + e2) + e1 by the tree
        float e[3], g[3];
        for (int b = 0; b < 3; b++)
            e[b] = (float)p[a * 3 + b] * (float)q[b], g[b] = e[b] * (float)q[b];
        for (int b = 0; b < 3; b++) assert_true(x->results[0].at[a * 3 + b] == (double)g[b]);
        assert_true(x->results[1].at[a] == (double)((e[0] + e[2]) + e[1]));
        assert_true(x->results[2].at[a] == (double)((g[0] + g[2]) + g[1]));
    }
    finish(x);
}

// Keeping every value changes nothing, and each kept value is what the node gave.
static void test_keep(void **state) {
    (void)state;
    InterpFixture *x =
        parse("axis a = 4\nfunc step {\n%0 = const : f32 {value=2}\n"
              "%1 = expand %0 : f32[a=4]\n%2 = mul %1, %0 : f32[a=4]\n"
              "%3 = mul %2, %2 : f32[a=4]\n%4 = mul %3, %3 : f32[a=4]\nvalue r = %4\n}\n",
              INTERP_F64);
    Tensor values[5];
    Text why = {.arena = x->arena};
    assert_true(interp_run(&x->in, module_find(x->m, "step"), x->results, values, &why));
    const double want[5] = {2, 2, 4, 16, 256};
    for (int i = 0; i < 5; i++) assert_true(values[i].at[0] == want[i]);
    assert_true(x->results[0].at[3] == 256);
    finish(x);
}

static void refuse(const char *body, const char *message) {
    Arena *a = arena_new();
    InterpFixture *x = parse(arena_printf(a,
                                          "axis a = 2\nstate w : f32[a=2] param\nfunc step {\n%s\n"
                                          "value r = %%0\n}\n",
                                          body),
                             INTERP_F64);
    Text why = {.arena = a};
    assert_false(interp_run(&x->in, module_find(x->m, "step"), x->results, NULL, &why));
    if (!strstr(why.at, message)) fail_msg("got '%s', expected '%s'", why.at, message);
    finish(x);
    arena_free(a);
}

static void test_refusals(void **state) {
    (void)state;
    refuse("%0 = input : f32 {name=absent}", "input 'absent' has no value");
    refuse("%0 = const : f32 {value=1}\n%1 = grad %0 : f32[a=2] {state=w}", "after autodiff only");
}

// The file that holds every op: all of them have an evaluator in both modes (grad refuses).
static void test_every_op(void **state) {
    (void)state;
    Arena *a = arena_new();
    char *text = read_file(a, SOURCE_DIR "/tests/ir/every_op.ir", NULL);
    for (int mode = 0; mode < 2; mode++) {
        InterpFixture *x = parse(text, mode ? INTERP_EXACT : INTERP_F64);
        Func *step = module_find(x->m, "step");
        bool seen[OP_COUNT] = {false};
        for (NodeId i = 0; i < step->nodes.n; i++) {
            Node *node = node_at(step, i);
            seen[node->op] = true;
            if (node->op == OP_grad) node->op = OP_stop_gradient; // shapes agree, see the file
        }
        for (int op = 0; op < OP_COUNT; op++)
            if (op != OP_arg && op_info[op].kind != OPK_MESH && !seen[op]) // ranks: test_ranks
                fail_msg("no '%s' in the file", op_info[op].name);
        for (NodeId i = 0; i < step->nodes.n; i++)
            if (node_at(step, i)->op == OP_stop_gradient &&
                attr_of(x->m, step, i)->kind == ATTR_grad)
                step->pool.at[node_at(step, i)->first] = i - 2; // a value of that type
        run(x);
        assert_int_equal(type_count(type_at(x->m, x->results[2].type)), 4 * 6 * 10);
        finish(x);
    }
    arena_free(a);
}

// ---- columns of ops.def

typedef struct {
    const Module *m;
    const char *name; // of the input that is changed
    int64_t element;  //   here
} Bump;

static bool give_bumped(void *user, const char *name, TypeId type, double *out) {
    const Bump *b = user;
    static const double index[] = {2, 0, 2};
    const Type *t = type_at(b->m, type);
    for (int64_t i = 0; i < type_count(t); i++) {
        out[i] = t->elem == ELEM_i32 ? index[i] : 1 + 0.37 * (double)(i + 3 * name[0] % 7);
        if (t->elem != ELEM_i32 && strcmp(name, b->name) == 0 && i == b->element) out[i] += 0.5;
    }
    return true;
}

// Of operand i of the node: whether every element is read only where its like in memory is written, and
// how many elements of it one element of the result reads at most.
static void observe(const char *node, uint32_t i, bool *in_place, int *reads) {
    Arena *a = arena_new();
    InterpFixture *x = parse(
        arena_printf(a,
                     "axis a = 3 axis b = 3 axis c = 3 axis d = 5 axis e = 9 axis f = 6 "
                     "func step { %%v = input : f32[b] {name=v} %%w = input : f32[e] {name=w} "
                     "%%x = input : f32[a, b] {name=x} %%y = input : f32[a, b] {name=y} "
                     "%%z = input : f32[a, b] {name=z} %%u = input : f32[c, b] {name=u} "
                     "%%s = input : f32[a, c] {name=s} %%j = input : i32[c] {name=j} "
                     "%%r = %s value r = %%r }",
                     node),
        INTERP_F64);
    const Func *f = module_find(x->m, "step");
    NodeId result = f->results.at[0].node, o = operand(f, result, i);
    int64_t from = type_count(type_of(x->m, f, o)), to = type_count(type_of(x->m, f, result));
    Bump b = {.m = x->m, .name = sym_str(x->m->syms, attr_of(x->m, f, o)->input.name)};
    x->in.input = give_bumped;
    x->in.user = &b;
    double before[32];
    int read[32] = {0};
    Text why = {.arena = x->arena};
    *in_place = from == to;
    *reads = 0;
    for (b.element = -1; b.element < from; b.element++) {
        assert_true(interp_run(&x->in, f, x->results, NULL, &why));
        for (int64_t k = 0; k < to; k++) {
            double now = x->results[0].at[k];
            if (b.element < 0) before[k] = now;
            if (now == before[k]) continue;
            if (k != b.element) *in_place = false;
            if (++read[k] > *reads) *reads = read[k];
        }
    }
    finish(x);
    arena_free(a);
}

// What the table says of where an op reads is what its evaluation does. A view may happen to be in place.
static void test_reads(void **state) {
    (void)state;
    static const char *const nodes[] = {"neg %x",
                                        "add %x, %y",
                                        "fma %x, %y, %z",
                                        "stop_gradient %x",
                                        "copy %x : f32[b, a]",
                                        "expand %v : f32[a, b]",
                                        "rename %x {from=a, to=c}",
                                        "split %w : f32[a, b] {from=e, to=(a, b)}",
                                        "merge %x {from=(a, b), to=e}",
                                        "slice %x : f32[c=2, b] {from=a, to=c, start=1}",
                                        "pad %x : f32[d, b] {from=a, to=d, start=1}",
                                        "concat %x, %u {from=(a, c), to=f}",
                                        "reduce %x {kind=sum, axes=(b), by=row}",
                                        "contract %s, %u, %x {axes=(c)}",
                                        "gather %x, %j {axis=a}",
                                        "scatter_add %x, %j, %u {axis=a}"};
    for (size_t n = 0; n < sizeof nodes / sizeof nodes[0]; n++) {
        Node node = {.n = 3};
        size_t length = strcspn(nodes[n], " ");
        while (strlen(op_info[node.op].name) != length ||
               memcmp(op_info[node.op].name, nodes[n], length) != 0)
            node.op++;
        const OpInfo *o = &op_info[node.op];
        uint32_t count = node.op == OP_concat ? 2 : o->max;
        for (uint32_t i = 0; i < count; i++) {
            if (o->kind == OPK_INDEX && i == 1) continue; // the index
            bool in_place;
            int reads;
            observe(nodes[n], i, &in_place, &reads);
            bool adds = (int)i == o->acc, loose = o->reads == READS_VIEW;
            if (node_reads_in_place(&node, i) ? !in_place : in_place && !loose)
                fail_msg("%s, operand %u: in place %d", nodes[n], i, in_place);
            if ((op_reads_one(node.op) || adds) != (reads <= 1))
                fail_msg("%s, operand %u: an element reads %d", nodes[n], i, reads);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_align),         cmocka_unit_test(test_views),
        cmocka_unit_test(test_reduce_orders), cmocka_unit_test(test_reduce_kinds),
        cmocka_unit_test(test_contract),      cmocka_unit_test(test_gather_scatter),
        cmocka_unit_test(test_random),        cmocka_unit_test(test_states),
        cmocka_unit_test(test_groups),        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_every_op),
        cmocka_unit_test(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

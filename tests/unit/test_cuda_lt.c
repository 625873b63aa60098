// Products as calls of cuBLASLt: whatever is planned must compute the product when the call is carried
// out by its definition in lt.h, and what has one adjacent direction in each matrix must be planned.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cuda/lt.h"
#include "tests/unit/products.h"
#include <stdio.h>
#include <stdlib.h>

enum { CASES = 4000 };

static Arena *arena;
static int set_up(void **state) {
    (void)state;
    arena = arena_new();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static double *numbers(int64_t n) {
    double *p = arena_alloc(arena, (size_t)(n + 1) * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = (double)product_pick(-8, 8); // sums are exact
    return p;
}

static void by_definition(const Product *p, const double *a, const double *b, double *c) {
    for (int64_t e = 0; e < p->batch; e++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                double sum = 0;
                for (int64_t l = 0; l < p->k; l++) {
                    SnDim at = product_at(p, e, i, j, l);
                    sum += a[at.a] * b[at.b];
                }
                c[product_at(p, e, i, j, 0).c] = sum;
            }
}

// The call, as cuBLAS defines it. Every index is within the matrix that its layout describes.
static void by_call(const CudaLt *t, const double *a, const double *b, double *c) {
    for (int64_t e = 0; e < t->batch; e++)
        for (int64_t j = 0; j < t->n; j++)
            for (int64_t i = 0; i < t->m; i++) {
                const double *x = a + t->base_a + e * t->stride_a;
                const double *y = b + t->base_b + e * t->stride_b;
                double sum = 0;
                for (int64_t l = 0; l < t->k; l++)
                    sum += x[t->trans_a ? l + i * t->lda : i + l * t->lda] *
                           y[t->trans_b ? j + l * t->ldb : l + j * t->ldb];
                c[t->base_c + e * t->stride_c + i + j * t->ldc] = sum;
            }
}

static void check_call(const Product *p, const CudaLt *t) {
    assert_true(t->lda >= (t->trans_a ? t->k : t->m));
    assert_true(t->ldb >= (t->trans_b ? t->n : t->k));
    assert_true(t->ldc >= t->m);
    assert_true(t->base_a * 4 % t->align_a == 0 && t->base_b * 4 % t->align_b == 0);
    assert_true(t->base_c * 4 % t->align_c == 0 && t->align_c >= 4 && t->align_c <= 64);
    double *a = numbers(p->count[0]), *b = numbers(p->count[1]);
    double *want = numbers(p->count[2]), *got = numbers(p->count[2]);
    memcpy(got, want, (size_t)p->count[2] * sizeof *got);
    by_definition(p, a, b, want);
    by_call(t, t->swap ? b : a, t->swap ? a : b, got);
    assert_memory_equal(got, want, (size_t)p->count[2] * sizeof *got);
}

static void random_products(void **unused) {
    (void)unused;
    int planned = 0, refused = 0;
    for (int i = 0; i < CASES; i++) {
        product_state = (uint64_t)i + 1;
        arena_reset(arena);
        Product p = product_random(product_pick(1, 3), product_pick(1, 6), product_pick(1, 6),
                                   product_pick(1, 6), i % 2 ? 1 : 3, i % 3 == 0);
        CudaLt t;
        Text why = {.arena = arena};
        bool good = cuda_lt_plan(&p.g, &t, &why);
        if (good)
            check_call(&p, &t);
        else
            assert_true(why.n > 10);
        *(good ? &planned : &refused) += 1;
    }
    printf("%d products planned, %d refused\n", planned, refused);
    assert_true(planned > CASES / 4 && refused > CASES / 10);
}

// ---- layouts with a known answer ----------------------------------------------------------------

// A matrix of rows x columns, at least 2 each; false when no call can take it.
static bool layout(int64_t rows, int64_t columns, int64_t *row, int64_t *column) {
    switch (product_next() % 5) {
    case 0: *row = 1, *column = rows + product_pick(0, 2); return true;
    case 1:
    case 2: *column = 1, *row = columns + product_pick(0, 2); return true;
    case 3: *row = 2, *column = 2 * rows; return false;
    default: *row = 1, *column = rows - 1; return false; // columns overlap
    }
}

static void known_layouts(void **unused) {
    (void)unused;
    for (int i = 0; i < CASES; i++) {
        product_state = (uint64_t)i + 1;
        arena_reset(arena);
        Product p = {
            .batch = 1, .m = product_pick(3, 6), .n = product_pick(3, 6), .k = product_pick(3, 6)};
        SnDim m = {p.m, 0, 0, 0}, n = {p.n, 0, 0, 0}, k = {p.k, 0, 0, 0};
        bool a = layout(p.m, p.k, &m.a, &k.a), b = layout(p.k, p.n, &k.b, &n.b);
        bool c = layout(p.m, p.n, &m.c, &n.c);
        p.g = (SnGemm){.nm = 1, .nn = 1, .nk = 1, .m = {m}, .n = {n}, .k = {k}};
        for (int w = 0; w < 3; w++) p.count[w] = 200;
        CudaLt t;
        Text why = {.arena = arena};
        assert_int_equal(cuda_lt_plan(&p.g, &t, &why), a && b && c);
        if (a && b && c)
            check_call(&p, &t);
        else
            assert_int_equal(why.at[0], !a ? 'A' : !b ? 'B' : 'C');
    }
}

// ---- what lowering makes ------------------------------------------------------------------------

static bool plan(const SnGemm *g, CudaLt *t, Text *why) {
    *why = (Text){.arena = arena};
    return cuda_lt_plan(g, t, why);
}

// q [b, s, h, d] times k [b, t, h, d] over d, to [b, h, s, t].
static SnGemm scores(int64_t b, int64_t s, int64_t h, int64_t d) {
    return (SnGemm){.nbatch = 2,
                    .nm = 1,
                    .nn = 1,
                    .nk = 1,
                    .batch = {{b, s * h * d, s * h * d, h * s * s}, {h, d, d, s * s}},
                    .m = {{s, h * d, 0, s}},
                    .n = {{s, 0, h * d, 1}},
                    .k = {{d, 1, 1, 0}}};
}

static void attention(void **unused) {
    (void)unused;
    CudaLt t;
    Text why;
    SnGemm g = scores(2, 5, 3, 4);
    assert_false(plan(&g, &t, &why));
    assert_string_equal(why.at, "the batch is 2 nested extents that do not fold into one");
    g = scores(1, 5, 3, 4); // one sequence: heads are the batch
    assert_true(plan(&g, &t, &why));
    assert_true(t.swap && t.trans_a && !t.trans_b && t.batch == 3);
    assert_int_equal(t.lda, 12);
    assert_int_equal(t.stride_a, 4);
    assert_int_equal(t.stride_c, 25);
    Product p = {.g = g, .batch = 3, .m = 5, .n = 5, .k = 4, .count = {60, 60, 75}};
    check_call(&p, &t);
}

// An m of two extents becomes a batch over one B.
static void outer_extent(void **unused) {
    (void)unused;
    CudaLt t;
    Text why;
    Product p = {.batch = 1, .m = 6, .n = 4, .k = 5, .count = {80, 20, 48}};
    p.g = (SnGemm){.nm = 2,
                   .nn = 1,
                   .nk = 1,
                   .m = {{2, 40, 0, 24}, {3, 5, 0, 4}},
                   .n = {{4, 0, 1, 1}},
                   .k = {{5, 1, 4, 0}}};
    assert_true(plan(&p.g, &t, &why));
    assert_true(t.batch == 2 && t.stride_a == 0 && t.stride_b == 40);
    check_call(&p, &t);
}

static void bases_and_alignment(void **unused) {
    (void)unused;
    CudaLt t;
    Text why;
    SnGemm g = {.nm = 1,
                .nn = 1,
                .nk = 1,
                .m = {{8, 8, 0, 8}},
                .n = {{8, 0, 1, 1}},
                .k = {{8, 1, 8, 0}},
                .base_a = 3,
                .base_b = 4,
                .base_c = 64};
    assert_true(plan(&g, &t, &why));
    assert_true(t.swap && t.base_a == 4 && t.base_b == 3 && t.base_c == 64);
    assert_true(t.align_a == 16 && t.align_b == 4 && t.align_c == 64);
}

// ---- types --------------------------------------------------------------------------------------

static SnGemm square(int64_t n, int64_t ld) {
    return (SnGemm){.nm = 1,
                    .nn = 1,
                    .nk = 1,
                    .m = {{n, ld, 0, ld}},
                    .n = {{n, 0, 1, 1}},
                    .k = {{n, 1, ld, 0}}};
}

// What the library's manual has, and nothing else.
static void types(void **unused) {
    (void)unused;
    static const SnElem all[] = {SN_ELEM_f32, SN_ELEM_bf16, SN_ELEM_f16};
    CudaLt t;
    Text why;
    for (int i = 0; i < 27; i++) {
        SnGemm g = square(16, 16);
        g.elem_a = all[i / 9], g.elem_b = all[i / 3 % 3], g.elem_c = all[i % 3];
        bool same = g.elem_a == g.elem_b, kept = g.elem_c == g.elem_a;
        bool good = same && (kept || g.elem_c == SN_ELEM_f32);
        if (plan(&g, &t, &why) != good) fail_msg("types %d", i);
    }
    SnGemm g = square(16, 16);
    g.elem_b = SN_ELEM_f16;
    assert_false(plan(&g, &t, &why));
    assert_string_equal(why.at, "cuBLASLt does not multiply f32 by f16 to f32");
}

static void expect_refusal(SnGemm g, const char *text) {
    CudaLt t;
    Text why;
    g.elem_a = g.elem_b = SN_ELEM_bf16;
    assert_false(plan(&g, &t, &why));
    assert_string_equal(why.at, text);
    g.elem_a = g.elem_b = SN_ELEM_f32; // which takes any multiple of four bytes
    assert_true(plan(&g, &t, &why));
}

// Two bytes an element: what lies one behind the other starts at multiples of 16 bytes.
static void aligned_to_tensor_cores(void **unused) {
    (void)unused;
    CudaLt t;
    Text why;
    SnGemm g = square(50, 52); // C is f32: 52 are enough for it
    expect_refusal(g,
                   "B has columns at multiples of 104 bytes, not of 16 as products of bf16 need");
    g = square(50, 56);
    g.elem_a = g.elem_b = SN_ELEM_bf16;
    assert_true(plan(&g, &t, &why));
    g.elem_c = SN_ELEM_bf16, g.m[0].c = 50;
    assert_false(plan(&g, &t, &why));
    assert_string_equal(
        why.at, "C has columns at multiples of 100 bytes, not of 16 as products of bf16 need");
    g = square(16, 16);
    g.base_a = 4;
    expect_refusal(g, "A starts at multiples of 8 bytes, not of 16 as products of bf16 need");
    g = square(16, 16);
    g.nbatch = 1, g.batch[0] = (SnDim){3, 260, 256, 256};
    expect_refusal(g,
                   "A has a batch at multiples of 520 bytes, not of 16 as products of bf16 need");
}

// One column has no next one, so its length need not be aligned.
static void single_columns(void **unused) {
    (void)unused;
    CudaLt t;
    Text why;
    SnGemm g = {.nm = 1, .nn = 1, .nk = 1, .m = {{1, 0, 0, 0}}, .n = {{24, 0, 1, 1}}};
    g.k[0] = (SnDim){13, 1, 24, 0};
    g.elem_a = g.elem_b = g.elem_c = SN_ELEM_f16;
    assert_true(plan(&g, &t, &why));
    assert_true(t.lda % 8 == 0 && t.ldb % 8 == 0 && t.ldc % 8 == 0);
    Product p = {.g = g, .batch = 1, .m = 1, .n = 24, .k = 13, .count = {13, 13 * 24, 24}};
    check_call(&p, &t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_products),
        cmocka_unit_test(known_layouts),
        cmocka_unit_test(attention),
        cmocka_unit_test(outer_extent),
        cmocka_unit_test(bases_and_alignment),
        cmocka_unit_test(types),
        cmocka_unit_test(aligned_to_tensor_cores),
        cmocka_unit_test(single_columns),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

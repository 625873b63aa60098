// The kernel IR: text round trips, what kernel_finish derives and refuses, and kinterp against
// plain C loops written down here from docs/numerics.md.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/kernel.h"
#include "ir/scalar.h"
#include "runtime/plan.h"
#include "tests/unit/files.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Kernel *parse(Arena *a, const char *text, size_t size, Diag **diag) {
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, "test.k", text, size, false);
    if (diag) *diag = d;
    Kernel *k = kernel_parse(a, d, file);
    if (!k && !diag) diag_print(d, stderr, false);
    return k;
}

static Kernel *load(Arena *a, const char *name) {
    size_t size;
    char *text = read_file(a, arena_printf(a, SOURCE_DIR "/tests/codegen/%s", name), &size);
    Kernel *k = parse(a, text, size, NULL);
    assert_non_null(k);
    return k;
}

static float frand(void) { return (float)(rand() % 20001 - 10000) / 5000.0f; }

static float *floats(Arena *a, int64_t n) {
    float *x = NEW_ARRAY(a, float, n);
    for (int64_t i = 0; i < n; i++) x[i] = frand();
    return x;
}

static void run_on(const Kernel *k, void **bufs, const KRect *rect, SnEnv env) {
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool ok = kernel_interp(k, bufs, &env, rect, &why);
    if (!ok) print_error("%s\n", why.at);
    assert_true(ok);
    arena_free(a);
}

static void run(const Kernel *k, void **bufs, SnEnv env) { run_on(k, bufs, NULL, env); }

static float scalar1(Op op, float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    b = scalar_eval(op, ELEM_f32, ELEM_f32, b, 0, 0);
    memcpy(&x, &b, 4);
    return x;
}

// The promised order, by the letter of docs/numerics.md.
static float row_sum(const float *x, int64_t n) {
    float total = 0;
    for (int64_t s = 0; s < n; s += FOLD_SEGMENT) {
        float acc[FOLD_LANES] = {0};
        for (int64_t i = s; i < n && i < s + FOLD_SEGMENT; i++) acc[(i - s) % FOLD_LANES] += x[i];
        for (int half = FOLD_LANES / 2; half; half /= 2)
            for (int j = 0; j < half; j++) acc[j] += acc[j + half];
        total += acc[0];
    }
    return total;
}

static const char *const files[] = {"layernorm.k", "columns.k",  "scatter.k", "random.k",
                                    "epilogue.k",  "long_row.k", "turn.k",    "strip.k"};

static void test_text(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        Arena *a = arena_new();
        Kernel *k = load(a, files[i]);
        Text once = {.arena = a}, twice = {.arena = a};
        kernel_print(&once, k);
        Kernel *again = parse(a, once.at, once.n, NULL);
        assert_non_null(again);
        kernel_print(&twice, again);
        assert_string_equal(once.at, twice.at);
        assert_true(kernel_equal(k, again));
        assert_true(k->hash == again->hash);
        again->name = "other"; // not part of the meaning
        assert_true(kernel_equal(k, again));
        again->grain++;
        assert_false(kernel_equal(k, again));
        // Every text, cut anywhere, is refused and does not crash.
        for (size_t n = 0; n + 2 < once.n; n += 7) {
            Diag *d;
            assert_null(parse(a, arena_str(a, once.at, n), n, &d));
            assert_int_equal(d->errors, 1);
        }
        arena_free(a);
    }
}

// The ops that a phase needs, "0 3".
static const char *needs(Arena *a, const Kernel *k, uint32_t phase) {
    Text t = {.arena = a};
    text_printf(&t, "%s", "");
    for (KId id = 0; id < k->ops.n; id++)
        if (k->phase[phase].need[id]) text_printf(&t, "%s%u", t.n ? " " : "", id);
    return t.at;
}

static void test_phases(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "layernorm.k");
    assert_string_equal(needs(a, k, 0), "0");
    assert_string_equal(needs(a, k, 1), "0 1 2 3 4 5");
    assert_string_equal(needs(a, k, 2), "1 4 6 7 8 9 10 11 12 13"); // 4 is held, 1 of the row
    assert_string_equal(needs(a, k, 3), "");
    assert_int_equal(k->ops.at[0].first, 0);
    assert_int_equal(k->ops.at[4].first, 1);
    assert_int_equal(k->ops.at[9].first, 2);
    assert_false(kernel_has(k, 1, 4));
    assert_false(kernel_has(k, 1, 0)); // not held: read again
    assert_true(kernel_has(k, 2, 4) && kernel_has(k, 2, 1));
    assert_true(k->phase[1].row_folds && k->phase[1].lanes);
    assert_true(!k->phase[2].row_folds && k->phase[2].lanes);
    assert_true(k->stores.at[0].lane && !k->stores.at[1].lane);
    assert_int_equal(k->columns, 0);
    k = load(a, "columns.k");
    assert_string_equal(needs(a, k, 0), "0");
    assert_string_equal(needs(a, k, 1), "1"); // after the last row
    assert_int_equal(k->ops.at[1].first, KOP_NEVER);
    assert_false(kernel_has(k, 1, 0));
    assert_true(k->phase[0].lanes && !k->phase[0].row_folds);
    assert_int_equal(k->columns, 1);
    // 2 is a value of the row for phases 1 and 2: what it is made of is needed for the first.
    static const char text[] = "kernel \"\" rows grain 1 axes 2, 8 { a0 = in f32 16 a1 = out f32 2 "
                               "%0 = f32 load a0[0 + i0*8 + i1*1] %1 = f32 fold f0 %2 = f32 neg %1 "
                               "%3 = f32 sub %0 %2 %4 = f32 fold f1 %5 = f32 mul %2 %4 "
                               "f0 = row sum %0 phase 0 f1 = row sum %3 phase 1 "
                               "store a1[0 + i0*1] = %5 phase 2 }";
    k = parse(a, text, sizeof text - 1, NULL);
    assert_non_null(k);
    assert_string_equal(needs(a, k, 1), "0 1 2 3");
    assert_string_equal(needs(a, k, 2), "2 4 5");
    assert_false(k->phase[2].lanes);
    // 2 is evaluated again after the last row.
    static const char sums[] = "kernel \"\" chunks walk 1 grain 4 axes 2, 4, 8 { a0 = in f32 64 "
                               "a1 = in f32 2 a2 = out f32 16 %0 = f32 load a0[0 + i1*8 + i2*1] "
                               "%1 = f32 load a1[0 + i0*1] %2 = f32 neg %1 %3 = f32 mul %0 %2 "
                               "f0 = column sum %3 phase 0 -> a2[0 + i0*8 + i2*1] plus %2 }";
    k = parse(a, sums, sizeof sums - 1, NULL);
    assert_non_null(k);
    assert_string_equal(needs(a, k, 0), "0 1 2 3");
    assert_string_equal(needs(a, k, 1), "1 2");
    arena_free(a);
}

static void test_finish(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "layernorm.k");
    assert_int_equal(k->phases, 3);
    assert_int_equal(k->tasks, 2);
    assert_int_equal(k->scratch, 208 * 4); // one held row
    assert_int_equal(k->ops.at[3].lane, 0);
    assert_int_equal(k->ops.at[3].ready, 1);
    assert_int_equal(k->ops.at[4].lane, 1);
    assert_int_equal(k->ops.at[4].ready, 1);
    assert_int_equal(k->ops.at[13].ready, 2);
    assert_int_equal(k->bytes, (1200 + 200 + 200 + 1200 + 6) * 4);
    k = load(a, "columns.k");
    assert_int_equal(k->tasks, 2 * 3);
    assert_int_equal(k->scratch, 48 * 4);
    k = load(a, "scatter.k");
    assert_int_equal(k->tasks, 3);
    k = load(a, "random.k");
    assert_int_equal(k->tasks, 2);
    arena_free(a);
}

// Each text breaks one invariant; the message must say which.
typedef struct {
    const char *body, *message;
} KernelRefusal;

static void check_refusals(const char *order, const KernelRefusal *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Arena *a = arena_new();
        char *text = arena_printf(a,
                                  "kernel \"x\" %s grain 1 axes 2, 8 {\n a0 = in f32 16\n"
                                  " a1 = out f32 16\n %s\n}\n",
                                  order, cases[i].body);
        Diag *d;
        assert_null(parse(a, text, strlen(text), &d));
        assert_int_equal(d->errors, 1);
        if (!strstr(d->items.at[0].text, cases[i].message))
            fail_msg("%s, case %zu: got '%s', expected '%s'", order, i, d->items.at[0].text,
                     cases[i].message);
        arena_free(a);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const KernelRefusal cases[] = {
        {"%0 = f32 add %0 %0", "not before it"},
        {"%0 = f32 load a9[0]", "loads argument 9 of 2"},
        {"%0 = i32 load a0[0]", "as another type"},
        {"%0 = f32 load a1[0]", "written only"},
        {"%0 = f32 load a0[0 + i5*1]", "axis 5, which does not exist"},
        {"%0 = f32 const 1 %1 = i32 add %0 %0", "wants i32"},
        {"%0 = f32 const 1 %1 = f32 and %0 %0", "does not take f32"},
        {"%0 = f32 const 1 %1 = f32 load a0[0 + %0*1]", "wants i32"},
        {"%0 = f32 const 1 %1 = f32 load a0[0] if %0", "wants bool"},
        {"%0 = f32 fold f0", "there is no fold 0"},
        {"%0 = f32 tile 0", "only epilogues and strips"},
        {"%0 = i32 index i3", "there is no axis 3"},
        {"%0 = f32 const 1 f0 = row sum %0 phase 0 store a1[0] = %3 phase 0", "there is no op 3"},
        {"%0 = f32 const 1 %1 = f32 fold f0 f0 = row sum %0 phase 0 store a1[0] = %1 phase 0",
         "ready in phase 1"},
        {"%0 = f32 const 1 store a0[0] = %0 phase 0", "only read"},
        {"%0 = f32 const 1 f0 = row any %0 phase 0", "cannot fold f32"},
        {"%0 = f32 const 1 f0 = column sum %0 phase 0 -> a1[0 + i1*1]", "only chunks and lanes"},
        {"%0 = u32 random key=0x1 word=4 [0]", "word 0 to 3"},
        {"%0 = i32 const nan", "i32 cannot hold nan"},
        {"%0 = f32 load a0[0 + i1*1000000000000000000]", "out of the range of 62 bits"},
    };
    check_refusals("rows", cases, sizeof cases / sizeof *cases);
}

static void test_tile_refusals(void **state) {
    (void)state;
    static const KernelRefusal epilogues[] = {
        {"%0 = f32 tile 1", "there are 1 at most"},
        {"%0 = f32 const 1 store tile 0 = %0 phase 0", "only strips store tiles"},
    };
    static const KernelRefusal strips[] = {
        {"%0 = f32 tile 8", "there are 8 at most"},
        {"%0 = i32 tile 0", "of f32"},
        {"%0 = f32 const 1 store tile 8 = %0 phase 0", "there are 8 at most"},
        {"%0 = i32 const 1 store tile 0 = %0 phase 0", "a tile is of f32"},
        {"%0 = bool const 1 %1 = f32 const 1 store tile 0 = %1 phase 0 if %0", "without mask"},
        {"%0 = f32 const 1 store tile 0 = %0 phase 0 store tile 0 = %0 phase 0", "stored twice"},
        {"%0 = f32 tile 0 store tile 0 = %0 phase 0 f0 = row sum %0 phase 1",
         "fold 0 reads lanes after tile 0"},
        {"%0 = f32 tile 0 store tile 0 = %0 phase 0 store a1[0 + i1*1] = %0 phase 1",
         "store 1 reads lanes after tile 0"},
        {"%0 = f32 const 1 f0 = column sum %0 phase 0 -> a1[0 + i1*1]", "only chunks and lanes"},
    };
    check_refusals("tile", epilogues, sizeof epilogues / sizeof *epilogues);
    check_refusals("strip", strips, sizeof strips / sizeof *strips);
}

static void test_layernorm(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "layernorm.k");
    float *x = floats(a, 1200), *g = floats(a, 200), *b = floats(a, 200);
    float *y = floats(a, 1200), *scale = floats(a, 6);
    run(k, (void *[]){x, g, b, y, scale}, (SnEnv){0});
    for (int r = 0; r < 6; r++) {
        float c[200], s[200], mean = row_sum(&x[r * 200], 200) * 0.005f;
        for (int i = 0; i < 200; i++) c[i] = x[r * 200 + i] - mean, s[i] = c[i] * c[i];
        float rs = 1.0f / sqrtf(fmaf(row_sum(s, 200), 0.005f, 1e-05f));
        assert_true(scale[r] == rs);
        for (int i = 0; i < 200; i++) assert_true(y[r * 200 + i] == fmaf(c[i] * rs, g[i], b[i]));
    }
    arena_free(a);
}

static void test_columns(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "columns.k");
    for (int first = 0; first < 2; first++) {
        float *x = floats(a, 5600), *acc = floats(a, 240), *y = floats(a, 240);
        run(k, (void *[]){x, acc, y}, (SnEnv){.first = first});
        for (int g = 0; g < 2; g++)
            for (int c = 0; c < 3; c++)
                for (int l = 0; l < 40; l++) {
                    float sum = 0;
                    for (int r = c * 32; r < 70 && r < c * 32 + 32; r++)
                        sum += x[g * 2800 + r * 40 + l];
                    float plus = first ? 0 : acc[g * 120 + l];
                    assert_true(y[g * 120 + c * 40 + l] == plus + sum);
                }
    }
    arena_free(a);
}

static void test_scatter(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "scatter.k");
    int32_t index[9] = {3, 0, 3, 4, -1, 3, 5, 0, 2};
    float *x = floats(a, 360), *y = floats(a, 200), want[200];
    memcpy(want, y, sizeof want);
    for (int r = 0; r < 9; r++)
        for (int l = 0; l < 40; l++)
            if (index[r] >= 0 && index[r] < 5) want[index[r] * 40 + l] += x[r * 40 + l];
    run(k, (void *[]){index, x, y}, (SnEnv){0});
    assert_memory_equal(y, want, sizeof want);
    arena_free(a);
}

static void test_random(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "random.k");
    float *x = floats(a, 100), *y = floats(a, 101);
    float guard = y[100];
    run(k, (void *[]){x, y}, (SnEnv){.step = 7, .seed = 99, .sample = 4});
    int dropped = 0;
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t bits = scalar_eval_philox(i + 100, 7, 0x1234567890abcdefull, 99, 2);
        float u = (float)(bits >> 8) * 0x1p-24f;
        assert_true(y[i] == (u >= 0.1f ? x[i] : 0.0f));
        dropped += u < 0.1f;
    }
    assert_in_range(dropped, 1, 30);
    assert_true(y[100] == guard);
    arena_free(a);
}

static void test_epilogue(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "epilogue.k");
    float *tile = floats(a, 120), *bias = floats(a, 24), *y = floats(a, 120);
    run_on(k, (void *[]){bias, y}, &(KRect){&tile, 24, 0, 5, 0, 24}, (SnEnv){0});
    for (int i = 0; i < 120; i++) {
        float v = tile[i] + bias[i % 24];
        float e = scalar1(OP_erf, v * (float)0.7071067811865476) + 1.0f;
        assert_true(y[i] == v * 0.5f * e);
    }
    arena_free(a);
}

// Rows 3 to 6 and lanes 128 to 290, of tiles that are wider; other keys belong to no query, so the sums
// are those of the whole row.
static void test_strip(void **state) {
    (void)state;
    enum { ROW0 = 3, ROWS = 4, LANE0 = 128, LANES = 162, LD = 170, N = ROWS * LD };
    Arena *a = arena_new();
    Kernel *k = load(a, "strip.k");
    assert_int_equal(k->tiles, 3);
    float *tile[] = {floats(a, N), floats(a, N), floats(a, N)},
          *was = arena_copy(a, tile[0], N * 4);
    float *top = floats(a, 10), *sum = floats(a, 10), guard = top[2], gap = tile[2][LANES];
    int32_t key[300], query[10];
    for (int i = 0; i < 300; i++) key[i] = i < LANE0 || i >= LANE0 + LANES ? -1 : i % 3;
    for (int i = 0; i < 10; i++) query[i] = i % 3;
    run_on(k, (void *[]){key, query, top, sum},
           &(KRect){tile, LD, ROW0, ROW0 + ROWS, LANE0, LANE0 + LANES}, (SnEnv){0});
    for (int r = 0; r < ROWS; r++) {
        float s[300] = {0}, most = -INFINITY;
        for (int i = 0; i < LANES; i++)
            if (key[LANE0 + i] == query[ROW0 + r]) most = fmaxf(most, was[r * LD + i] * 0.125f);
        for (int i = 0; i < LANES; i++)
            if (key[LANE0 + i] == query[ROW0 + r])
                s[LANE0 + i] = scalar1(OP_exp, was[r * LD + i] * 0.125f - most);
        assert_true(top[ROW0 + r] == most && sum[ROW0 + r] == row_sum(s, 300));
        for (int i = 0; i < LANES; i++) {
            float w = s[LANE0 + i] / sum[ROW0 + r];
            assert_true(tile[0][r * LD + i] == w && tile[2][r * LD + i] == w * tile[1][r * LD + i]);
        }
    }
    assert_true(top[ROW0 - 1] == guard && tile[2][LANES] == gap);
    // no key at all
    run_on(k, (void *[]){key, query, top, sum}, &(KRect){tile, LD, 0, 1, 128, 128}, (SnEnv){0});
    assert_true(top[0] == -INFINITY && sum[0] == 0);
    arena_free(a);
}

static void test_long_row(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "long_row.k");
    float *x = floats(a, 18000), sum[2], max[2];
    int32_t count[2];
    uint8_t any[2];
    x[9000 + 8500] = 3.5f;
    x[17] = NAN;
    run(k, (void *[]){x, sum, max, count, any}, (SnEnv){0});
    assert_true(isnan(sum[0]) && isnan(max[0]) && !any[0]);
    assert_true(sum[1] == row_sum(x + 9000, 9000) && max[1] == 3.5f && any[1] == 1);
    assert_int_equal(count[1], 9000 * 8999 / 2);
    arena_free(a);
}

static void test_bounds(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "random.k");
    k->args.at[0].count = 99;
    float *x = floats(a, 100), *y = floats(a, 100);
    Text why = {.arena = a};
    assert_false(kernel_interp(k, (void *[]){x, y}, &(SnEnv){0}, NULL, &why));
    assert_string_equal(why.at, "op 8: element 99 of argument 0, which has 99");
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_finish),
        cmocka_unit_test(test_phases),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tile_refusals), cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_columns),       cmocka_unit_test(test_scatter),
        cmocka_unit_test(test_random),        cmocka_unit_test(test_epilogue),
        cmocka_unit_test(test_strip),         cmocka_unit_test(test_long_row),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

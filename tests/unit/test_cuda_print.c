// Kernels as CUDA C: what the text must and must not hold, who shares code, how it is started. What the
// text computes is compared with kinterp on the emulated device.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/cuda/module.h"
#include "tests/unit/files.h"
#include <string.h>

static Kernel *parse(Arena *a, const char *text) {
    Diag *d = diag_new(a);
    Kernel *k = kernel_parse(a, d, diag_add_file(d, "test.k", text, strlen(text), false));
    if (!k) diag_print(d, stderr, false);
    assert_non_null(k);
    return k;
}

static Kernel *load(Arena *a, const char *name) {
    size_t size;
    return parse(a, read_file(a, arena_printf(a, SOURCE_DIR "/tests/codegen/%s", name), &size));
}

typedef struct {
    Arena *a;
    CudaModule *m;
    CudaLaunch l;
} Printed;

static void add(Printed *p, const Kernel *k) {
    Text why = {.arena = p->a};
    bool ok = cuda_add_kernel(p->m, k, false, &p->l, &why);
    if (!ok) print_error("%s\n", why.at);
    assert_true(ok);
}

static Printed one(const Kernel *k, Arena *a) {
    Printed p = {.a = a, .m = cuda_module_new(a)};
    add(&p, k);
    return p;
}

static const char *text_of(const Printed *p) { return cuda_batch(p->m, p->l.batch)->at; }

// The functions, without the templates.
static const char *functions_of(const Printed *p) {
    const char *at = strstr(text_of(p), "\n// k");
    assert_non_null(at);
    return at;
}

static void has(const Printed *p, const char *what) {
    if (!strstr(functions_of(p), what)) {
        print_error("'%s' is missing in\n%s\n", what, functions_of(p));
        fail();
    }
}

static void lacks(const Printed *p, const char *what) {
    if (strstr(functions_of(p), what)) {
        print_error("'%s' is in\n%s\n", what, functions_of(p));
        fail();
    }
}

static void started(const Printed *p, uint32_t x, uint32_t y, uint32_t block) {
    assert_int_equal(p->l.grid[0], x);
    assert_int_equal(p->l.grid[1], y);
    assert_int_equal(p->l.grid[2], 1);
    assert_int_equal(p->l.block, block);
}

// ---- shapes

static void warp_folds_row(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(load(a, "layernorm.k"), a);
    started(&p, 2, 1, 128); // 4 rows a block
    has(&p, "__launch_bounds__(128, 1)\nk0(const Env *e, const u32 place, const float "
            "*__restrict__ a0, ");
    has(&p, "load4(&a0[i0 * 200 + l], x0);");
    has(&p, "store4(&a3[i0 * 200 + l], y0);");
    has(&p, "fold_team<32>(mates, s0, fold0);");
    has(&p, "float h0[2][4];"); // the row is read once
    has(&p, "if (t == 0) a4[i0] =");
    lacks(&p, "__syncthreads");
    arena_free(a);
}

static void block_folds_long_row(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(load(a, "long_row.k"), a);
    started(&p, 2, 1, 3 * 128); // three segments, four warps each
    has(&p, "__shared__ float z0[384];");
    has(&p, "__shared__ bool w3[3];");
    arena_free(a);
}

static const char *const row_sum =
    "kernel \"r\" rows grain 1 axes %d, %d {\n"
    "  a0 = in f32 %d\n  a1 = out f32 %d\n"
    "  %%0 = f32 load a0[0 + i0*%d + i1*1]\n  %%1 = f32 fold f0\n"
    "  f0 = row sum %%0 phase 0\n  store a1[0 + i0*1] = %%1 phase 1\n}\n";

static Printed sum_rows(Arena *a, int rows, int lanes) {
    return one(parse(a, arena_printf(a, row_sum, rows, lanes, rows * lanes, rows, lanes)), a);
}

static void teams_follow_lanes(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = sum_rows(a, 64, 10); // 16 threads a row, a lane each
    started(&p, 8, 1, 128);
    p = sum_rows(a, 64, 64); // 16 threads a row, four lanes each
    started(&p, 8, 1, 128);
    has(&p, "load4(");
    p = sum_rows(a, 1000, 1024); // a warp a row
    started(&p, 250, 1, 128);
    p = sum_rows(a, 1000, 1025); // too long to hold
    started(&p, 1000, 1, 128);
    lacks(&p, "load4(");
    p = sum_rows(a, 5000, 4096); // read once anyway, and enough rows
    started(&p, 1250, 1, 128);
    p = sum_rows(a, 8, 50257); // 13 segments, two warps each
    started(&p, 8, 1, 13 * 64);
    p = sum_rows(a, 2, 100000); // 25 segments, 16 warps
    started(&p, 2, 1, 512);
    arena_free(a);
}

static void columns_and_scatters(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(load(a, "columns.k"), a);
    started(&p, 6, 1, 256); // 2 points of 3 chunks, rows side by side
    has(&p, "z0[side][b][lane + j]");
    has(&p, "first");
    p = one(load(a, "scatter.k"), a);
    started(&p, 9, 1, 64);
    has(&p, "__ballot_sync(0xffffffffu, take)");
    lacks(&p, "atomic");
    p = one(load(a, "random.k"), a);
    started(&p, 1, 1, 256);
    has(&p, "load4(&a0[i0 * 64 + l], x8);");
    arena_free(a);
}

static const char *const centred =
    "kernel \"c\" chunks walk 0 grain %d axes %d, %d {\n"
    "  a0 = in f32 %lld\n  a1 = out f32 %d\n"
    "  %%0 = f32 load a0[0 + i0*%d + i1*1]\n  %%1 = f32 fold f0\n  %%2 = f32 sub %%0 %%1\n"
    "  f0 = row max %%0 phase 0\n  f1 = column sum %%2 phase 1 -> a1[0 + i1*1]\n}\n";

static const Kernel *centre(Arena *a, int rows, int lanes) {
    long long n = (long long)rows * lanes;
    return parse(a, arena_printf(a, centred, rows, rows, lanes, n, lanes, lanes));
}

// Rows are folded by teams, then walked; their results wait in shared memory, as many as fit.
static void chunks_fold_rows_first(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(centre(a, 32, 768), a);
    started(&p, 1, 1, 384);
    has(&p, "__shared__ float r1[32];");
    has(&p, "if (t == 0) r1[n] = f0;");
    has(&p, "for (int l = threadIdx.x; l < 768; l += 384) {");
    p = one(centre(a, 20000, 768), a);
    has(&p, "__shared__ float r1[8192];");
    has(&p, "for (int base = 0; base < 20000; base += 8192) {");
    CudaLaunch l;
    Text why = {.arena = a};
    assert_false(cuda_add_kernel(p.m, centre(a, 20000, 5000), false, &l, &why));
    assert_non_null(strstr(why.at, "20000 rows of 5000 lanes"));
    arena_free(a);
}

static const char *const map =
    "kernel \"m\" rows grain 1 axes 8, 64 {\n"
    "  a0 = in f32 1024\n  a1 = out f32 512\n"
    "  %%0 = f32 load a0[%s]\n  store a1[0 + i0*64 + i1*1] = %%0 phase 0\n}\n";

// Only neighbours at multiples of 16 bytes are read at once.
static void vectors_need_alignment(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(parse(a, arena_printf(a, map, "4 + i0*64 + i1*1")), a);
    has(&p, "load4(&a0[4 + i0 * 64 + l], x0);");
    const char *const not_aligned[] = {"2 + i0*64 + i1*1", "0 + i0*66 + i1*1", "0 + i0*1 + i1*8"};
    for (int i = 0; i < 3; i++) {
        p = one(parse(a, arena_printf(a, map, not_aligned[i])), a);
        lacks(&p, "load4(&a0");
    }
    arena_free(a);
}

// ---- transposing maps

static void transposes_take_tiles(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(load(a, "turn.k"), a);
    started(&p, 2 * 42 * 2, 1, 256); // images, tiles of points, tiles of channels
    has(&p, "__shared__ float zx0[32][33];");
    has(&p, "= a0[i0 * 63360 + i1 + l * 1320];");
    has(&p, "zx0[n][across] =");
    has(&p, "zx0[across][n] + x1[u];");
    has(&p, "a1[i0 * 63360 + i1 * 48 + l] = y0[0];");
    lacks(&p, "zy");
    arena_free(a);
}

static const char *const turning =
    "kernel \"m\" rows grain 1 axes %d, %d {\n  a0 = in f32 8192\n  a1 = in f32 8192\n"
    "  a2 = inout f32 8192\n  a3 = inout f32 8192\n%s}\n";

static Printed turn(Arena *a, int rows, int lanes, const char *lines) {
    return one(parse(a, arena_printf(a, turning, rows, lanes, lines)), a);
}

#define TURNED   "[0 + i0*1 + i1*64]"
#define STRAIGHT "[0 + i0*64 + i1*1]"

// What is turned is what costs less: one store against two loads.
static void fewer_bytes_are_turned(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = turn(a, 64, 64,
                     "  %0 = f32 load a0" TURNED "\n  %1 = f32 load a1" TURNED "\n"
                     "  %2 = f32 sub %0 %1\n  store a3" STRAIGHT " = %2 phase 0\n");
    started(&p, 4, 1, 256);
    has(&p, "zy0[across][n] = y0[0];");
    has(&p, "a3[i0 * 64 + l] = zy0[n][across];");
    lacks(&p, "zx");
    p = turn(a, 64, 64, "  %0 = f32 load a0" STRAIGHT "\n  store a3" TURNED " = %0 phase 0\n");
    has(&p, "a3[i0 + l * 64] = zy0[n][across];");
    arena_free(a);
}

static void transposes_that_stay(void **state) {
    (void)state;
    Arena *a = arena_new();
    const char *plain = "  %0 = f32 load a0" TURNED "\n  store a3" STRAIGHT " = %0 phase 0\n";
    const char *const lines[] = {
        // the masks differ between lanes
        "  %0 = f32 load a1" STRAIGHT "\n  %1 = bool isfinite f32 %0\n"
        "  %2 = f32 load a0" TURNED " if %1\n  store a3" STRAIGHT " = %2 phase 0 if %1\n",
        // so does the place
        "  %0 = i32 index i1\n  %1 = f32 load a0[0 + i0*1 + %0*64]\n"
        "  store a3" STRAIGHT " = %1 phase 0\n",
        // read and written at different places
        "  %0 = f32 load a3" TURNED "\n  store a3" STRAIGHT " = %0 phase 0\n",
        // a store of the row
        "  %0 = f32 load a0" TURNED "\n  store a3" STRAIGHT " = %0 phase 0\n"
        "  %1 = f32 const 1\n  store a2[0 + i0*1] = %1 phase 0\n",
        // lanes that are nearly neighbours
        "  %0 = f32 load a0[0 + i0*1 + i1*2]\n  store a3" STRAIGHT " = %0 phase 0\n",
        // little beside the rest
        "  %0 = f32 load a0" TURNED "\n  %1 = f32 load a1" STRAIGHT "\n"
        "  %2 = f32 load a2" STRAIGHT "\n  %3 = f32 load a1[64 + i0*64 + i1*1]\n"
        "  %4 = f32 load a2[64 + i0*64 + i1*1]\n  %5 = f32 fma %0 %1 %2\n"
        "  %6 = f32 fma %5 %3 %4\n  store a3" STRAIGHT " = %6 phase 0\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        Printed p = turn(a, 64, 64, lines[i]);
        lacks(&p, "__shared__");
    }
    Printed p = turn(a, 16, 64, plain);
    has(&p, "__shared__");
    p = turn(a, 15, 64, plain);
    lacks(&p, "__shared__");
    p = turn(a, 64, 15, plain);
    lacks(&p, "__shared__");
    p = one(parse(a, "kernel \"m\" rows grain 1 flat 4080 axes 64, 64 {\n" // a shorter last row
                     "  a0 = in f32 4096\n  a1 = out f32 4080\n  %0 = f32 load a0" TURNED "\n"
                     "  store a1" STRAIGHT " = %0 phase 0\n}\n"),
            a);
    lacks(&p, "__shared__");
    arena_free(a);
}

static void large_kernels_are_wide(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(parse(a, "kernel \"m\" rows grain 1 axes 70000, 65536 {\n"
                             "  a0 = out f32 4587520000\n  %0 = f32 const 1\n"
                             "  store a0[0 + i0*65536 + i1*1] = %0 phase 0\n}\n"),
                    a);
    has(&p, "store4(&a0[i0 * 65536ll + l], y0);");
    started(&p, 4480000, 1, 256);
    p = one(parse(a, arena_printf(a, map, "0 + i0*64 + i1*1")), a);
    lacks(&p, "i64");
    arena_free(a);
}

static void epilogues_are_refused(void **state) {
    (void)state;
    Arena *a = arena_new();
    CudaModule *m = cuda_module_new(a);
    CudaLaunch l;
    Text why = {.arena = a};
    assert_false(cuda_add_kernel(m, load(a, "epilogue.k"), false, &l, &why));
    assert_non_null(strstr(why.at, "epilogue"));
    why.n = 0;
    assert_false(cuda_add_kernel(m, load(a, "strip.k"), false, &l, &why));
    assert_string_equal(why.at, "strips are computed on the CPU only");
    assert_int_equal(cuda_batches(m), 0);
    arena_free(a);
}

// ---- sharing

static void keys_are_parameters(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "random.k");
    Printed p = one(k, a);
    assert_int_equal(p.l.function, 0);
    assert_int_equal(p.l.nkeys, 1);
    assert_true(p.l.key[0] == 0x1234567890abcdefull);
    has(&p, ", u64 q0) {");
    lacks(&p, "90abcdef");
    k = load(a, "random.k");
    k->ops.at[0].key = 7;
    add(&p, k);
    assert_int_equal(p.l.function, 0);
    assert_true(p.l.key[0] == 7);
    k->ops.at[0].word = 3;
    add(&p, k);
    assert_int_equal(p.l.function, 1);
    assert_int_equal(p.l.batch, 0);
    arena_free(a);
}

static void many_kernels_are_batches(void **state) {
    (void)state;
    Arena *a = arena_new();
    Text text[2] = {{.arena = a}, {.arena = a}};
    for (int round = 0; round < 2; round++) {
        Printed p = {.a = a, .m = cuda_module_new(a)};
        for (int i = 0; i < CUDA_BATCH + 1; i++) {
            add(&p, parse(a, arena_printf(a, row_sum, 3, i + 1, 3 * i + 3, 3, i + 1)));
            assert_int_equal(p.l.function, i);
            assert_int_equal(p.l.batch, i / CUDA_BATCH);
        }
        assert_int_equal(cuda_batches(p.m), 2);
        for (uint32_t b = 0; b < 2; b++)
            assert_non_null(strstr(cuda_batch(p.m, b)->at, "struct Env {"));
        cuda_print(p.m, NULL, &text[round]);
    }
    assert_string_equal(text[0].at, text[1].at);
    arena_free(a);
}

// ---- what a user writes is never code

static uint32_t lines_of(const char *s) {
    uint32_t n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}

static void names_are_harmless(void **state) {
    (void)state;
    Arena *a = arena_new();
    Kernel *k = load(a, "layernorm.k");
    k->name = "plain";
    Printed p = one(k, a);
    uint32_t lines = lines_of(text_of(&p));
    const char *const hostile[] = {"a\nevil();",
                                   "a\\",
                                   "a?"
                                   "?/",
                                   "a\r\fb\v",
                                   "*/ evil();",
                                   "\xe2\x80\xa8"
                                   "evil",
                                   "\"evil\"",
                                   "`$evil`",
                                   "\x01\x7f"};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        k->name = hostile[i];
        p = one(k, a);
        assert_int_equal(lines_of(text_of(&p)), lines);
        const char *rest = strchr(functions_of(&p) + 1, '\n');
        assert_null(strstr(rest, "evil"));
        for (const char *s = text_of(&p); *s; s++) {
            assert_true(*s == '\n' || (*s >= ' ' && *s <= '~'));
            assert_true(*s != '\\');
        }
        assert_null(strstr(text_of(&p), "?"
                                        "?"));
    }
    arena_free(a);
}

static void text_is_self_contained(void **state) {
    (void)state;
    static const char *const files[] = {"layernorm.k", "long_row.k", "columns.k",
                                        "scatter.k",   "random.k",   "turn.k"};
    Arena *a = arena_new();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        Printed p = one(load(a, files[i]), a);
        assert_null(strstr(text_of(&p), "#include"));
        lacks(&p, "double");
        assert_non_null(strstr(text_of(&p), "extern \"C\" __global__ void __launch_bounds__("));
    }
    arena_free(a);
}

// A value that only another held value is made of is wanted in one phase.
static void holds_what_is_read_again(void **state) {
    (void)state;
    Arena *a = arena_new();
    Printed p = one(parse(a, "kernel \"m\" rows grain 1 axes 8, 100 {\n  a0 = in f32 800\n"
                             "  a1 = out f32 800\n  %0 = f32 load a0[0 + i0*100 + i1*1]\n"
                             "  %1 = hold f32 abs %0\n  %2 = hold f32 mul %1 %1\n"
                             "  %3 = f32 fold f0\n  %4 = f32 div %2 %3\n"
                             "  f0 = row sum %2 phase 0\n"
                             "  store a1[0 + i0*100 + i1*1] = %4 phase 1\n}\n"),
                    a);
    has(&p, "h2[");
    lacks(&p, "h1[");
    arena_free(a);
}

static void nothing_to_do_is_refused(void **state) {
    (void)state;
    Arena *a = arena_new();
    CudaLaunch l;
    Text why = {.arena = a};
    const Kernel *k = parse(a, "kernel \"m\" rows grain 1 axes 8, 0 {\n  a0 = out f32 0\n"
                               "  %0 = f32 const 1\n  store a0[0 + i1*1] = %0 phase 0\n}\n");
    assert_false(cuda_add_kernel(cuda_module_new(a), k, false, &l, &why));
    assert_string_equal(why.at, "a kernel over no elements");
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warp_folds_row),           cmocka_unit_test(block_folds_long_row),
        cmocka_unit_test(teams_follow_lanes),       cmocka_unit_test(columns_and_scatters),
        cmocka_unit_test(chunks_fold_rows_first),   cmocka_unit_test(vectors_need_alignment),
        cmocka_unit_test(large_kernels_are_wide),   cmocka_unit_test(epilogues_are_refused),
        cmocka_unit_test(keys_are_parameters),      cmocka_unit_test(many_kernels_are_batches),
        cmocka_unit_test(names_are_harmless),       cmocka_unit_test(text_is_self_contained),
        cmocka_unit_test(holds_what_is_read_again), cmocka_unit_test(nothing_to_do_is_refused),
        cmocka_unit_test(transposes_take_tiles),    cmocka_unit_test(fewer_bytes_are_turned),
        cmocka_unit_test(transposes_that_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

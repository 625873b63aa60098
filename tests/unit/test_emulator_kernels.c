// What NVRTC makes of tests/emulator/kernels.cu, for five targets: every kernel loads and gives what the
// same C code gives here, for one and two threads and several seeds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/emulator/engine/emu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1 << 17, MAX_ARRAYS = 5 };

__extension__ typedef __int128 WideInt;

typedef struct {
    SnPool *pool;
    EmuDevice *d;
    EmuModule *m;
} NvrtcWorld;

// Arrays of a launch, in the order of the kernel's first parameters.
typedef struct {
    const char *kernel;
    uint32_t grid[2], threads, dynamic, arrays;
    struct {
        uint64_t bytes;
        const void *in; // NULL: only written
        bool out;
    } array[MAX_ARRAYS];
    uint64_t more[4]; // the parameters after the arrays
} KernelLaunch;

static size_t read_text(const char *name, char *text) {
    char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/emulator/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, TEXT - 1, f);
    fclose(f);
    text[n] = 0;
    return n;
}

static NvrtcWorld open_world(uint32_t sm, const char *target, int threads, uint64_t seed) {
    NvrtcWorld w = {.pool = sn_pool_new(threads)};
    EmuConfig config = {.sm = sm, .arch = true, .check = true, .seed = seed, .memory = 64 << 20};
    w.d = emu_device_new(&config, w.pool);
    assert_non_null(w.d);
    char *text = malloc(TEXT), *real = malloc(TEXT), why[256];
    assert_true(text && real);
    read_text(sm >= 100 ? "kernels_120.ptx" : "kernels_80.ptx", text);
    const char *at = strstr(text, ".target sm_"), *line = strchr(at, '\n');
    int n = snprintf(real, TEXT, "%.*s.target %s%s", (int)(at - text), text, target, line);
    if (emu_module_load(w.d, real, (size_t)n, &w.m, why, sizeof why) != EMU_OK) fail_msg("%s", why);
    free(text);
    free(real);
    return w;
}
static void close_world(NvrtcWorld *w) {
    emu_module_free(w->m);
    emu_device_free(w->d);
    sn_pool_free(w->pool);
}

// Runs the job; *out is a copy of its array 0.
static void run(NvrtcWorld *w, const KernelLaunch *j, void *out) {
    const EmuFunction *f = emu_module_function(w->m, j->kernel);
    assert_non_null(f);
    EmuFunctionInfo info = emu_function_info(f);
    EmuRange ranges[MAX_ARRAYS];
    uint8_t params[256] = {0};
    for (uint32_t k = 0; k < info.params; k++) {
        uint64_t v = k < j->arrays ? 0 : j->more[k - j->arrays];
        if (k < j->arrays) {
            uint64_t n = j->array[k].bytes, a = v = emu_alloc(w->d, n);
            assert_true(a != 0);
            ranges[k] = (EmuRange){a, n, j->array[k].in != NULL, j->array[k].out, "array", false};
            if (j->array[k].in) memcpy(emu_host(w->d, a, n), j->array[k].in, n);
            if (j->array[k].in) emu_mark(w->d, a, n, true);
        }
        memcpy(params + info.offset[k], &v, info.size[k]);
    }
    EmuLaunch l = {.function = f,
                   .grid = {j->grid[0], j->grid[1] ? j->grid[1] : 1, 1},
                   .block = {j->threads, 1, 1},
                   .dynamic_shared = j->dynamic,
                   .params = params,
                   .ranges = ranges,
                   .range_count = j->arrays,
                   .kernel = j->kernel};
    EmuFault fault;
    if (!emu_launch(w->d, &l, NULL, &fault)) fail_msg("%s", fault.text);
    uint64_t n = j->array[0].bytes;
    assert_int_equal(emu_first_unwritten(w->d, ranges[0].base, n), -1);
    memcpy(out, emu_host(w->d, ranges[0].base, n), n);
    for (uint32_t k = 0; k < j->arrays; k++) assert_true(emu_free(w->d, ranges[k].base));
}

static void same(const char *what, const void *got, const void *want, size_t n) {
    for (size_t k = 0; k < n / 4; k++)
        if (memcmp((const char *)got + 4 * k, (const char *)want + 4 * k, 4))
            fail_msg("%s: word %zu is 0x%08x, expected 0x%08x", what, k, ((const uint32_t *)got)[k],
                     ((const uint32_t *)want)[k]);
}

static float *floats(size_t n, float low, float high) {
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t k = 0; k < n; k++) x[k] = low + (high - low) * (float)(rand() % 4096) / 4096.0f;
    return x;
}

// ---- kernels ------------------------------------------------------------------------------------

static void check_map(NvrtcWorld *w) {
    enum { N = 4094, ALL = 4096 };
    float *a = floats(ALL, -10, 10), *b = floats(ALL, 0.5f, 9), got[N], want[N];
    KernelLaunch j = {
        "map4", {5}, 256, 0, 3, {{4 * N, NULL, true}, {4 * N, a, false}, {4 * N, b, false}}, {N}};
    run(w, &j, got);
    for (int i = 0; i < N; i++) {
        float r[4] = {fmaf(a[i], b[i], 1), a[i] * b[i], fmaxf(a[i], b[i]), a[i] / b[i]};
        want[i] = i / 4 * 4 + 3 < N ? r[i % 4] : a[i] - b[i];
    }
    same("map4", got, want, sizeof got);
    free(a);
    free(b);
}

static void check_row_sum(NvrtcWorld *w) {
    enum { ROWS = 32, COLS = 333 };
    float *a = floats(ROWS * COLS, -1, 1), got[ROWS], want[ROWS];
    KernelLaunch j = {
        "row_sum", {4}, 256, 0, 2, {{4 * ROWS, NULL, true}, {4 * ROWS * COLS, a, false}}, {COLS}};
    run(w, &j, got);
    for (int r = 0; r < ROWS; r++) {
        float acc[4][32] = {{0}}, t[32], u[32];
        for (int c = 0; c < COLS; c++) acc[c / 32 % 4][c % 32] += a[r * COLS + c];
        for (int l = 0; l < 32; l++) t[l] = (acc[0][l] + acc[2][l]) + (acc[1][l] + acc[3][l]);
        for (int d = 16; d; d >>= 1) {
            for (int l = 0; l < 32; l++) u[l] = t[l] + t[l ^ d];
            memcpy(t, u, sizeof t);
        }
        want[r] = t[0];
    }
    same("row_sum", got, want, sizeof got);
    free(a);
}

static void check_functions(NvrtcWorld *w) {
    enum { N = 1000 };
    float *a = floats(N, 0.01f, 4), got[N];
    KernelLaunch j = {"functions", {4}, 256, 0, 2, {{4 * N, NULL, true}, {4 * N, a, false}}, {N}};
    run(w, &j, got);
    for (int i = 0; i < N; i++) {
        double t = (double)a[i];
        double want = sqrt(t) + 1 / sqrt(t) + exp(t) + log(t) + tanh(t) + erf(t) + sin(t) + cos(t) +
                      pow(t, 1.5);
        if (!(fabs((double)got[i] - want) <= 1e-6 * (2 + fabs(want))))
            fail_msg("functions(%g) is %.9g, expected %.9g", t, (double)got[i], want);
    }
    free(a);
}

static void check_block_sum(NvrtcWorld *w) {
    enum { N = 5000, BLOCKS = 3 };
    float *a = floats(N, -1, 1), got[BLOCKS], s[256] = {0}, second;
    KernelLaunch j = {
        "block_sum", {BLOCKS}, 256, 1024, 2, {{4 * BLOCKS, NULL, true}, {4 * N, a, false}}, {N}};
    run(w, &j, got);
    for (int i = 0; i < N; i++) s[i % 256] += a[i];
    second = s[1];
    for (int d = 128; d; d >>= 1)
        for (int t = 0; t < d; t++) s[t] += s[t + d];
    float want[BLOCKS] = {s[0] + second, s[0] + second, s[0] + second};
    same("block_sum", got, want, sizeof got);
    free(a);
}

static void check_columns(NvrtcWorld *w) {
    enum { ROWS = 37, COLS = 150 };
    float *a = floats(ROWS * COLS, -1, 1), got[COLS], want[COLS];
    KernelLaunch j = {
        "column_sum", {2}, 96, 0, 2, {{4 * COLS, NULL, true}, {4 * ROWS * COLS, a, false}},
        {ROWS, COLS}};
    run(w, &j, got);
    for (int c = 0; c < COLS; c++) {
        want[c] = 0;
        for (int r = 0; r < ROWS; r++) want[c] += a[r * COLS + c];
    }
    same("column_sum", got, want, sizeof got);
    free(a);
}

static void check_gather_scatter(NvrtcWorld *w) {
    enum { TABLE = 32, ROWS = 70, COLS = 50 };
    float *table = floats(TABLE * COLS, -1, 1), *x = floats(ROWS * COLS, -1, 1);
    float got[ROWS * COLS], want[ROWS * COLS];
    int32_t index[ROWS];
    for (int r = 0; r < ROWS; r++) index[r] = rand() % TABLE;
    KernelLaunch g = {
        "gather",
        {ROWS},
        32,
        0,
        3,
        {{sizeof got, NULL, true}, {4 * TABLE * COLS, table, false}, {sizeof index, index, false}},
        {COLS}};
    run(w, &g, got);
    for (int r = 0; r < ROWS; r++) memcpy(want + r * COLS, table + index[r] * COLS, 4 * COLS);
    same("gather", got, want, sizeof got);
    KernelLaunch s = {
        "scatter",
        {TABLE / 8},
        256,
        0,
        3,
        {{4 * TABLE * COLS, table, true}, {sizeof got, x, false}, {sizeof index, index, false}},
        {ROWS, COLS}};
    run(w, &s, got);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) table[index[r] * COLS + c] += x[r * COLS + c];
    same("scatter", got, table, 4 * TABLE * COLS);
    free(table);
    free(x);
}

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
    for (int r = 0; r < 10; r++) {
        uint64_t x = (uint64_t)0xD2511F53u * c[0], y = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(y >> 32) ^ c[1] ^ k0, (uint32_t)y,
                            (uint32_t)(x >> 32) ^ c[3] ^ k1, (uint32_t)x};
        memcpy(c, next, sizeof next);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static void check_philox(NvrtcWorld *w) {
    enum { N = 500 };
    uint32_t got[4 * N], want[4 * N];
    KernelLaunch j = {
        "philox", {4}, 128, 0, 1, {{sizeof got, NULL, true}}, {UINT64_C(0x0123456789abcdef), 7, N}};
    run(w, &j, got);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t c[4] = {i, 0, 7, 0};
        philox(c, 0x89abcdef, 0x01234567);
        memcpy(want + 4 * i, c, sizeof c);
    }
    same("philox", got, want, sizeof got);
}

static void check_gemm(NvrtcWorld *w) {
    enum { M = 64, N = 128, K = 48 };
    float *a = floats(M * K, -1, 1), *b = floats(K * N, -1, 1), got[M * N], want[M * N];
    KernelLaunch j = {
        "gemm",   {N / 64, M / 64},
        256,      0,
        3,        {{sizeof got, NULL, true}, {4 * M * K, a, false}, {4 * K * N, b, false}},
        {M, N, K}};
    run(w, &j, got);
    for (int r = 0; r < M; r++)
        for (int c = 0; c < N; c++) {
            float s = 0;
            for (int k = 0; k < K; k++) s = fmaf(a[r * K + k], b[k * N + c], s);
            want[r * N + c] = s;
        }
    same("gemm", got, want, sizeof got);
    free(a);
    free(b);
}

static uint32_t bits_reversed(uint32_t v) {
    uint32_t r = 0;
    for (int k = 0; k < 32; k++) r |= (v >> k & 1) << (31 - k);
    return r;
}

static void check_integers(NvrtcWorld *w) {
    enum { N = 300 };
    int64_t a[N], got[N], want[N];
    int32_t b[N];
    double d[N];
    for (int i = 0; i < N; i++) {
        a[i] = (int64_t)((uint64_t)rand() << 32 | (uint32_t)rand()) * (rand() % 2 ? 1 : -1);
        b[i] = (rand() + 1) * (rand() % 2 ? 1 : -1);
        d[i] = rand() / 1e3;
    }
    KernelLaunch j = {"integers",
                      {3},
                      128,
                      0,
                      4,
                      {{sizeof got, NULL, true},
                       {sizeof a, a, false},
                       {sizeof b, b, false},
                       {sizeof d, d, false}},
                      {N}};
    run(w, &j, got);
    for (int i = 0; i < N; i++) {
        WideInt product = (WideInt)a[i] * b[i];
        uint32_t u = (uint32_t)b[i];
        uint32_t small =
            (uint32_t)(b[i] / 3) + (uint32_t)__builtin_popcount(u) + (uint32_t)__builtin_clz(u);
        want[i] =
            a[i] / 7 + a[i] % b[i] + (int64_t)d[i] + (int64_t)(product >> 64) + (int32_t)small;
        want[i] +=
            (int64_t)bits_reversed(u) + (int)rintf((float)d[i]) + abs(b[i]) + (b[i] < 3 ? b[i] : 3);
        want[i] += (int)floorf((float)d[i] * 0.3f) + (int64_t)(sqrt(d[i]) / 3.0);
    }
    same("integers", got, want, sizeof got);
}

static void check_local_and_calls(NvrtcWorld *w) {
    enum { N = 64 };
    int32_t a[N], got[N], want[N];
    float sums[N], floats_want[N];
    for (int i = 0; i < N; i++) a[i] = rand() % 1000;
    KernelLaunch j = {
        "local_array", {1}, N, 0, 2, {{sizeof got, NULL, true}, {sizeof a, a, false}}, {N}};
    run(w, &j, got);
    for (int i = 0; i < N; i++) {
        int k = a[i] & 15;
        want[i] = a[(i + k) % N] + a[(i + ((k + 3) & 15)) % N];
    }
    same("local_array", got, want, sizeof got);
    KernelLaunch c = {"calls", {1}, N, 0, 1, {{sizeof sums, NULL, true}}, {7}};
    run(w, &c, sums);
    for (int i = 0; i < N; i++) {
        floats_want[i] = (float)i;
        for (int k = 0; k < 7; k++) floats_want[i] = floats_want[i] * 1.5f + 0.25f;
    }
    same("calls", sums, floats_want, sizeof sums);
}

static uint16_t bf16_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return (uint16_t)(u >> 16); // exact for the small integers used here
}

// A row-major; b and c as the lanes hold them, by the tables of the PTX ISA.
static void check_matrix(NvrtcWorld *w) {
    float a[16][16], b[16][8], c[16][8], want[16][8], lanes_c[32][4], got[32][4];
    uint16_t bits_a[16][16], bits_b[32][4];
    for (int i = 0; i < 256; i++) a[i / 16][i % 16] = (float)(rand() % 17 - 8);
    for (int i = 0; i < 128; i++) b[i / 8][i % 8] = (float)(rand() % 17 - 8);
    for (int i = 0; i < 128; i++) c[i / 8][i % 8] = (float)(rand() % 17 - 8);
    for (int i = 0; i < 256; i++) bits_a[i / 16][i % 16] = bf16_of(a[i / 16][i % 16]);
    for (int lane = 0; lane < 32; lane++)
        for (int k = 0; k < 4; k++) {
            int g = lane / 4, t = lane % 4;
            bits_b[lane][k] = bf16_of(b[t * 2 + (k & 1) + (k < 2 ? 0 : 8)][g]);
            lanes_c[lane][k] = c[k < 2 ? g : g + 8][t * 2 + (k & 1)];
        }
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            want[m][n] = c[m][n];
            for (int k = 0; k < 16; k++) want[m][n] += a[m][k] * b[k][n];
        }
    KernelLaunch j = {"matrix",
                      {1},
                      32,
                      0,
                      4,
                      {{sizeof got, NULL, true},
                       {sizeof bits_a, bits_a, false},
                       {sizeof bits_b, bits_b, false},
                       {sizeof lanes_c, lanes_c, false}},
                      {0}};
    run(w, &j, got);
    for (int lane = 0; lane < 32; lane++)
        for (int k = 0; k < 4; k++)
            same("matrix", &got[lane][k], &want[lane / 4 + (k < 2 ? 0 : 8)][lane % 4 * 2 + (k & 1)],
                 4);
}

static void check_all(uint32_t sm, const char *target, int threads, uint64_t seed) {
    srand(1);
    NvrtcWorld w = open_world(sm, target, threads, seed);
    check_map(&w);
    check_row_sum(&w);
    check_functions(&w);
    check_block_sum(&w);
    check_columns(&w);
    check_gather_scatter(&w);
    check_philox(&w);
    check_gemm(&w);
    check_integers(&w);
    check_local_and_calls(&w);
    check_matrix(&w);
    close_world(&w);
}

static void test_targets(void **state) {
    (void)state;
    check_all(80, "sm_80", 1, 0);
    check_all(89, "sm_89", 1, 0);
    check_all(90, "sm_90a", 1, 0);
    check_all(100, "sm_100a", 1, 0);
    check_all(120, "sm_120", 1, 0);
}

static void test_threads_and_seeds(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++)
        for (uint64_t seed = 0; seed < 3; seed++) check_all(120, "sm_120", threads, seed * 1234567);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_targets),
                                       cmocka_unit_test(test_threads_and_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

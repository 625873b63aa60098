// How fast the emulated device runs: thread instructions per second of one thread, with the checker and
// without, on four kernels of tests/emulator/kernels_80.ptx.
//
//   build/bench_emulator [THREADS]
#include "runtime/emulator/engine/emu.h"
#include "tools/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1 << 17, ELEMENTS = 1 << 20, REPEATS = 5 };

typedef struct {
    const char *kernel;
    uint32_t grid[2], arrays;
    uint64_t more[3]; // the parameters after the arrays
} BenchKernel;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "bench_emulator: %s\n", what);
    exit(1);
}

static EmuModule *load(EmuDevice *d) {
    static char text[TEXT], why[256];
    FILE *f = fopen(SOURCE_DIR "/tests/emulator/kernels_80.ptx", "rb");
    if (!f) die("no " SOURCE_DIR "/tests/emulator/kernels_80.ptx");
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    EmuModule *m;
    double start = clock_now();
    if (emu_module_load(d, text, n, &m, why, sizeof why) != EMU_OK) die(why);
    printf("loading %zu bytes of PTX: %.2f ms\n", n, 1e3 * (clock_now() - start));
    return m;
}

// The first array is written, the others are read.
static void bench(EmuDevice *d, const EmuModule *m, const BenchKernel *j, const uint64_t *arrays) {
    const EmuFunction *f = emu_module_function(m, j->kernel);
    if (!f) die(j->kernel);
    EmuFunctionInfo info = emu_function_info(f);
    EmuRange ranges[3];
    uint8_t params[64] = {0};
    for (uint32_t k = 0; k < info.params; k++) {
        uint64_t v = k < j->arrays ? arrays[k] : j->more[k - j->arrays];
        memcpy(params + info.offset[k], &v, info.size[k]);
        if (k < j->arrays) ranges[k] = (EmuRange){v, 4 * ELEMENTS, k > 0, k == 0, "array", false};
    }
    EmuLaunch l = {.function = f,
                   .grid = {j->grid[0], j->grid[1], 1},
                   .block = {256, 1, 1},
                   .params = params,
                   .ranges = ranges,
                   .range_count = j->arrays};
    double best = 1e9;
    EmuCounts counts = {.instructions = 0};
    for (int r = 0; r < REPEATS; r++) {
        EmuFault fault;
        double start = clock_now();
        if (!emu_launch(d, &l, &counts, &fault)) die(fault.text);
        double t = clock_now() - start;
        if (t < best) best = t;
    }
    printf("  %-8s %7.1f M instructions %8.2f ms %6.2f G/s\n", j->kernel,
           1e-6 * (double)counts.instructions, 1e3 * best,
           1e-9 * (double)counts.instructions / best);
}

static void bench_all(int threads, bool check) {
    static const BenchKernel jobs[] = {
        {"map4", {1024, 1}, 3, {ELEMENTS}},
        {"row_sum", {64, 1}, 2, {2000}},
        {"philox", {1024, 1}, 1, {UINT64_C(0x123456789abcdef), 7, 1 << 18}},
        {"gemm", {8, 8}, 3, {512, 512, 512}}};
    SnPool *pool = sn_pool_new(threads);
    EmuConfig config = {.sm = 80, .check = check, .memory = 64 << 20};
    EmuDevice *d = pool ? emu_device_new(&config, pool) : NULL;
    if (!d) die("no memory");
    EmuModule *m = load(d);
    uint64_t arrays[3];
    for (int k = 0; k < 3; k++) {
        arrays[k] = emu_alloc(d, 4 * ELEMENTS);
        float *x = emu_host(d, arrays[k], 4 * ELEMENTS);
        if (!x) die("no device memory");
        for (int i = 0; i < ELEMENTS; i++) x[i] = (float)(i % 1000) * 0.001f;
        emu_mark(d, arrays[k], 4 * ELEMENTS, true);
    }
    printf("%s, threads: %d\n", check ? "with the checker" : "without the checker", threads);
    for (size_t k = 0; k < sizeof jobs / sizeof *jobs; k++) bench(d, m, &jobs[k], arrays);
    emu_module_free(m);
    emu_device_free(d);
    sn_pool_free(pool);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1) die("usage: bench_emulator [THREADS]");
    bench_all(threads, false);
    bench_all(threads, true);
    return 0;
}

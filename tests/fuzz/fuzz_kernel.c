// Fuzzes the kernel text: no input may crash the parser, what it accepts prints as a text that
// parses to an equal kernel, and the slow evaluator runs what is small without a fault, whatever it
// computes.
//
//   cmake -B build-fuzz -DFUZZ=ON -DCMAKE_C_COMPILER=clang-19 && build-fuzz/tests/fuzz_kernel
//   tests/codegen
#include "codegen/kernel.h"
#include "runtime/plan.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_WORK = 100000, MAX_COUNT = 10000 };

static Kernel *parse(Arena *a, const char *text, size_t size) {
    Diag *d = diag_new(a);
    Kernel *k = kernel_parse(a, d, diag_add_file(d, "in.k", text, size, false));
    if (!k != (d->errors != 0)) abort();
    return k;
}

static void round_trip(Arena *a, const Kernel *k) {
    Text once = {.arena = a};
    kernel_print(&once, k);
    const Kernel *again = parse(a, once.at, once.n);
    if (!again || !kernel_equal(k, again) || k->hash != again->hash) abort();
}

// Buffers of exactly the promised sizes, so that the sanitizer sees an access outside.
static void run(Arena *a, const Kernel *k) {
    int64_t work = (k->ops.n + k->stores.n + k->folds.n + 1) * k->phases,
            lanes = k->extent[k->outers];
    for (uint32_t i = 0; i <= k->outers; i++) {
        if (k->extent[i] > MAX_WORK || work > MAX_WORK) return;
        work *= k->extent[i] ? k->extent[i] : 1;
    }
    if (work > MAX_WORK || k->tasks > MAX_WORK) return;
    if (k->order == KORDER_lanes && (k->grain > MAX_COUNT || k->tasks * work > MAX_WORK)) return;
    for (uint32_t i = 0; i < k->args.n; i++)
        if (k->args.at[i].count > MAX_COUNT) return;
    void *bufs[K_MAX_ARGS] = {NULL};
    for (uint32_t i = 0; i < k->args.n; i++) {
        size_t size = (size_t)k->args.at[i].count * elem_info[k->args.at[i].elem].bytes;
        bufs[i] = calloc(1, size ? size : 1);
        if (!bufs[i]) abort();
    }
    float *tiles[K_MAX_TILES] = {NULL};
    int64_t rows = 1;
    for (uint32_t i = 0; i < k->outers; i++) rows *= k->extent[i];
    for (uint32_t i = 0; i < k->tiles; i++)
        tiles[i] = calloc((size_t)(rows * lanes + 1), sizeof *tiles[i]);
    KRect rect = {tiles, lanes, 0, rows, 0, lanes};
    Text why = {.arena = a};
    SnEnv env = {.first = 1, .step = 3, .seed = 5, .sample = 7};
    bool ok = kernel_interp(k, bufs, &env, &rect, &why);
    if (!ok && !why.n) abort();
    for (uint32_t i = 0; i < k->tiles; i++) free(tiles[i]);
    for (uint32_t i = 0; i < k->args.n; i++) free(bufs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *a = arena_new();
    char *copy = malloc(size + 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    copy[size] = 0;
    const Kernel *k = parse(a, copy, size);
    if (k) {
        round_trip(a, k);
        run(a, k);
    }
    free(copy);
    arena_free(a);
    return 0;
}

// See bench_cpu.h. Rates that a step is held against, from the same run. Threads share pieces of some tenths of a
// millisecond, so that none waits long for one that woke late or lost its CPU.
#include "runtime/core/gemm_block.h"
#include "tools/bench_cpu.h"
#include "tools/clock.h"
#include <string.h>

enum { WORDS = 128, CALLS = 250, MAX_TILE = 16 * 64, PIECES = 64 };

typedef struct {
    const SnGemmKit *kit;
    SnGemmPanel panel;
    char *ring;
    int64_t bytes;
} RateJob;

// The largest tile, of panels that stay in a first level cache.
static void ukr_task(void *user, int64_t t0, int64_t t1, int thread) {
    (void)thread;
    const RateJob *r = user;
    int64_t mr = r->kit->mr, nr = r->kit->nr;
    SnUkrFn ukr = sn_gemm_ukr(r->kit, r->panel, nr / SN_GEMM_LANES, 0);
    _Alignas(64) float a[16 * WORDS], b[64 * WORDS], c[MAX_TILE];
    for (int i = 0; i < 16 * WORDS; i++) a[i] = 0.5f;
    for (int i = 0; i < 64 * WORDS; i++) b[i] = 0.25f;
    for (int64_t t = t0; t < t1; t++)
        for (int i = 0; i < CALLS; i++) {
            uint32_t before = sn_gemm_enter(r->panel);
            ukr(WORDS, a, mr, b, nr, NULL, 0, NULL, 0, c, nr);
            sn_gemm_leave(r->panel, before);
        }
}

double bench_ukr_rate(SnPool *pool, const SnGemmKit *kit, bool pairs, clockid_t clock) {
    RateJob r = {.kit = kit, .panel = sn_gemm_panel(kit, pairs)};
    int64_t pieces = PIECES * sn_pool_threads(pool);
    CHECK(kit->mr <= 16 && kit->nr <= 64, "a tile of %lld x %lld", (long long)kit->mr,
          (long long)kit->nr);
    double start = clock_read(clock);
    sn_pool_run(pool, pieces, 1, ukr_task, &r);
    int64_t k = WORDS * (r.panel == SN_PANEL_PAIRS ? 2 : 1);
    double flops = 2.0 * (double)(kit->mr * kit->nr * k * CALLS * pieces);
    return flops / (clock_read(clock) - start);
}

static void copy_task(void *user, int64_t t0, int64_t t1, int thread) {
    (void)thread;
    const RateJob *r = user;
    int64_t half = r->bytes / 2, from = half * t0 / PIECES, to = half * t1 / PIECES;
    memcpy(r->ring + half + from, r->ring + from, (size_t)(to - from));
}

double bench_copy_rate(SnPool *pool, char *ring, int64_t bytes) {
    RateJob r = {.ring = ring, .bytes = bytes};
    double start = clock_now();
    sn_pool_run(pool, PIECES, 1, copy_task, &r);
    return (double)(bytes / 2 * 2) / (clock_now() - start);
}

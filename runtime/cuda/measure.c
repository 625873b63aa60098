// See measure.h. Each algorithm is started once unmeasured (the driver loads its code), once to learn how
// long it takes, and then ROUNDS times in batches that take about ENOUGH milliseconds, timed by events
// on the device. The least time of a batch counts: what disturbs a measurement only makes it longer. In
// each round all algorithms have their turn, so that a clock that rises or falls does so for all.
// An algorithm that takes longer than LONG is measured by its one call. So one algorithm costs at most
// ROUNDS * LONG milliseconds beside those two calls.
//
// What is measured is the call alone and again and again: small operands lie in the device's cache, as
// they may not in a step.
#include "runtime/cuda/measure.h"
#include "runtime/cuda/cuda.h"
#include <stdio.h>

enum { ROUNDS = 5 };
static const double ENOUGH = 1, LONG = 10, MOST_CALLS = 200;
// The library's first choice stays unless another one is faster by more than noise: a change costs bits.
static const double CLEARLY = 0.98;

typedef struct {
    const SnCudaApi *api;
    SnCudaStream stream;
    SnCudaEvent from, to;
    SnLtStartFn start;
    void *user;
} Timer;

// Milliseconds of one call, of n in a row. *refused: the library does not start it.
static SnStatus time_calls(const Timer *t, const SnLtHeuristic *h, int n, double *ms, bool *refused,
                           SnError *e) {
    const SnCudaApi *api = t->api;
    float took = 0;
    *refused = false;
    int code = api->event_record(t->from, t->stream);
    for (int i = 0; i < n && !code && !*refused; i++)
        *refused = t->start(t->user, h, t->stream) != SN_LT_OK;
    if (!code) code = api->event_record(t->to, t->stream);
    if (!code) code = api->event_synchronize(t->to);
    if (!code) code = api->event_elapsed(&took, t->from, t->to);
    *ms = (double)took / n;
    return sn_cuda_check(api, code, "measuring a product", e);
}

typedef struct {
    bool runs;
    double ms;
} Measured;

static SnStatus try_once(const Timer *t, const SnLtHeuristic *h, Measured *c, SnError *e) {
    bool refused = false;
    for (int i = 0; i < 2 && !refused; i++) {
        SnStatus s = time_calls(t, h, 1, &c->ms, &refused, e);
        if (s) return s;
    }
    c->runs = !refused;
    return SN_OK;
}

static SnStatus time_batch(const Timer *t, const SnLtHeuristic *h, Measured *c, SnError *e) {
    bool refused;
    double ms, calls = c->ms > 0 ? ENOUGH / c->ms : MOST_CALLS;
    int n = (int)(calls < 1 ? 1 : calls > MOST_CALLS ? MOST_CALLS : calls);
    SnStatus s = time_calls(t, h, n, &ms, &refused, e);
    if (s) return s;
    if (refused) c->runs = false;
    if (ms < c->ms) c->ms = ms;
    return SN_OK;
}

static SnStatus time_all(const Timer *t, const SnLtHeuristic *found, int n, Measured *c,
                         SnError *e) {
    SnStatus s = SN_OK;
    for (int i = 0; i < n && !s; i++) s = try_once(t, &found[i], &c[i], e);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < n && !s; i++)
            if (c[i].runs && c[i].ms < LONG) s = time_batch(t, &found[i], &c[i], e);
    return s;
}

static uint64_t nanoseconds(double ms) { return ms * 1e6 < 1 ? 1 : (uint64_t)(ms * 1e6); }

SnStatus sn_lt_measure_all(const SnCudaApi *api, SnCudaStream stream, const SnLtHeuristic *found,
                           int n, SnLtStartFn start, void *user, SnLtMeasured *out, SnError *e) {
    Timer t = {.api = api, .stream = stream, .start = start, .user = user};
    Measured c[SN_LT_CANDIDATES] = {{0}};
    *out = (SnLtMeasured){.best = -1};
    SnStatus s = sn_cuda_check(api, api->event_create(&t.from, SN_CU_EVENT_DEFAULT), "an event", e);
    if (!s) s = sn_cuda_check(api, api->event_create(&t.to, SN_CU_EVENT_DEFAULT), "an event", e);
    if (!s) s = time_all(&t, found, n, c, e);
    for (int i = 0; i < n && !s; i++) {
        if (!c[i].runs) continue;
        out->tried++;
        if (out->best < 0 || c[i].ms < c[out->best].ms * (out->best == 0 ? CLEARLY : 1))
            out->best = i;
    }
    if (out->best >= 0) out->ns = nanoseconds(c[out->best].ms);
    if (c[0].runs) out->first_ns = nanoseconds(c[0].ms);
    if (t.from) api->event_destroy(t.from);
    if (t.to) api->event_destroy(t.to);
    return s;
}

void sn_lt_describe(const SnCudaApi *api, const SnLtAlgo *algo, char *text, size_t size) {
    static const int which[] = {SN_LT_ALGO_ID, SN_LT_ALGO_TILE, SN_LT_ALGO_STAGES,
                                SN_LT_ALGO_SPLIT_K};
    int32_t x[4] = {-1, -1, -1, -1}; // -1: the library does not say
    for (int i = 0; i < 4; i++)
        if (api->lt_algo_get(algo, which[i], &x[i], sizeof x[i], NULL)) x[i] = -1;
    snprintf(text, size, "algorithm %d, tile %d, stages %d, split-k %d", x[0], x[1], x[2], x[3]);
}

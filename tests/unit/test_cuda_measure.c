// Which algorithm is taken as the fastest: on a device whose clock the test drives, so that every time is
// known. Algorithm i is marked by waves = i.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/cuda/measure.h"
#include <string.h>

typedef struct {
    double ms[SN_LT_CANDIDATES]; // of a call
    double
        later[SN_LT_CANDIDATES]; // what a call takes longer after each call, as a clock that falls
    bool refused[SN_LT_CANDIDATES];
    int calls[SN_LT_CANDIDATES];
    double slow_first; // more, for an algorithm's first call
    int disturbed; // from which call of algorithm 0 on something else takes the device's time; 0: never
    bool warming; // the device begins at half of its clock, which rises for 20 ms
    int fault;    // what waiting for an event returns
} Fake;

static double now;        // milliseconds
static double mark[4];    // when each event was recorded
static int events, fault; // made and not destroyed; of every wait

static int event_create(SnCudaEvent *event, unsigned flags) {
    assert_int_equal(flags, SN_CU_EVENT_DEFAULT); // with a time
    events++;
    *event = (SnCudaEvent)(void *)&mark[events];
    return SN_CU_OK;
}
static int event_destroy(SnCudaEvent event) {
    assert_non_null(event);
    events--;
    return SN_CU_OK;
}
static int event_record(SnCudaEvent event, SnCudaStream stream) {
    (void)stream;
    *(double *)(void *)event = now;
    return SN_CU_OK;
}
static int event_synchronize(SnCudaEvent event) {
    (void)event;
    return fault;
}
static int event_elapsed(float *ms, SnCudaEvent from, SnCudaEvent to) {
    *ms = (float)(*(double *)(void *)to - *(double *)(void *)from);
    return SN_CU_OK;
}
static int error_text(int error, const char **text) {
    (void)error;
    *text = "broken";
    return SN_CU_OK;
}
static const SnCudaApi api = {.event_create = event_create,
                              .event_destroy = event_destroy,
                              .event_record = event_record,
                              .event_synchronize = event_synchronize,
                              .event_elapsed = event_elapsed,
                              .error_name = error_text,
                              .error_string = error_text};

static int start(void *user, const SnLtHeuristic *h, SnCudaStream stream) {
    Fake *f = user;
    int i = (int)h->waves;
    (void)stream;
    if (f->refused[i]) return SN_LT_NOT_SUPPORTED;
    bool shared = i == 0 && f->disturbed && f->calls[0] >= f->disturbed;
    double cold = f->warming && now < 20 ? 2 - now / 20 : 1;
    now += f->ms[i] * cold * (shared ? 5 : 1) + (f->calls[i]++ ? 0 : f->slow_first);
    return SN_LT_OK;
}

static SnStatus measure(Fake *f, int n, SnLtMeasured *to, SnError *e) {
    SnLtHeuristic found[SN_LT_CANDIDATES];
    memset(found, 0, sizeof found);
    for (int i = 0; i < n; i++) found[i].waves = (float)i;
    now = 0, events = 0, fault = f->fault;
    SnStatus s = sn_lt_measure_all(&api, NULL, found, n, start, f, to, e);
    assert_int_equal(events, 0);
    return s;
}

static void near(uint64_t want, uint64_t got) {
    if (got + want / 1000 + 1 < want || got > want + want / 1000 + 1)
        fail_msg("%llu ns instead of %llu", (unsigned long long)got, (unsigned long long)want);
}

static void the_fastest(void **state) {
    (void)state;
    for (int best = 0; best < SN_LT_CANDIDATES; best++) {
        Fake f = {.slow_first = 50}; // loading code is not the algorithm's time
        SnLtMeasured m;
        SnError e = {0};
        for (int i = 0; i < SN_LT_CANDIDATES; i++) f.ms[i] = 0.5;
        f.ms[best] = 0.4;
        assert_int_equal(measure(&f, SN_LT_CANDIDATES, &m, &e), SN_OK);
        assert_int_equal(m.best, best);
        assert_int_equal(m.tried, SN_LT_CANDIDATES);
        near(400000, m.ns);
        near(best == 0 ? 400000 : 500000, m.first_ns);
    }
}

// Equals, or nearly: the library's own order.
static void the_first_of_equals(void **state) {
    (void)state;
    Fake f = {.ms = {0.25, 0.25, 0.25}};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 3, &m, &e), SN_OK);
    assert_int_equal(m.best, 0);
    f.ms[1] = 0.248; // noise
    assert_int_equal(measure(&f, 3, &m, &e), SN_OK);
    assert_int_equal(m.best, 0);
    f.ms[2] = 0.244;
    assert_int_equal(measure(&f, 3, &m, &e), SN_OK);
    assert_int_equal(m.best, 2);
}

static void refused_ones(void **state) {
    (void)state;
    Fake f = {.ms = {1, 0.1, 2}, .refused = {true, true, false}};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 3, &m, &e), SN_OK);
    assert_true(m.best == 2 && m.tried == 1 && m.first_ns == 0);
    near(2000000, m.ns);
    f.refused[2] = true;
    assert_int_equal(measure(&f, 3, &m, &e), SN_OK);
    assert_true(m.best == -1 && m.tried == 0);
}

// A fast one is called often, a slow one seldom, and a very slow one only twice.
static void time_is_bounded(void **state) {
    (void)state;
    Fake f = {.ms = {0.001, 0.5, 9, 1000}};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 4, &m, &e), SN_OK);
    assert_true(f.calls[0] >= 500);
    assert_true(f.calls[1] >= 10 && f.calls[1] <= 20);
    assert_int_equal(f.calls[2], 7);
    assert_int_equal(f.calls[3], 2);
    assert_true(now < 2 * 1009.501 + 5 * (1 + 1 + 10));
    assert_int_equal(m.best, 0);
}

// A device whose clock rises does so for all: the one that is measured last has no advantage.
static void a_rising_clock(void **state) {
    (void)state;
    Fake f = {.ms = {0.5, 0.53}, .warming = true};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 2, &m, &e), SN_OK);
    assert_int_equal(m.best, 0);
}

static void a_disturbance(void **state) {
    (void)state;
    Fake f = {.ms = {0.5, 0.6}, .disturbed = 6};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 2, &m, &e), SN_OK);
    assert_int_equal(m.best, 0);
    near(500000, m.ns);
}

static void a_fault(void **state) {
    (void)state;
    Fake f = {.ms = {1, 1}, .fault = SN_CU_LAUNCH_FAILED};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 2, &m, &e), SN_MACHINE);
    assert_non_null(strstr(e.text, "measuring a product: broken"));
}

// A device without a clock: nothing takes no time, and nothing is divided by it.
static void no_time(void **state) {
    (void)state;
    Fake f = {.ms = {0, 0}};
    SnLtMeasured m;
    SnError e = {0};
    assert_int_equal(measure(&f, 2, &m, &e), SN_OK);
    assert_true(m.best == 0 && m.ns == 1 && m.first_ns == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest),    cmocka_unit_test(the_first_of_equals),
        cmocka_unit_test(refused_ones),   cmocka_unit_test(time_is_bounded),
        cmocka_unit_test(a_rising_clock), cmocka_unit_test(a_disturbance),
        cmocka_unit_test(a_fault),        cmocka_unit_test(no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

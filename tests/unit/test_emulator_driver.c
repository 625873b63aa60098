// The emulated CUDA driver: arguments and their error codes, the order of streams and what it
// hides, capture and graphs, races, ownership, faults.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/emulated.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { N = 256, SEEDS = 24 };
#define OK(call)             assert_int_equal(call, SN_CU_OK)
#define IS(code, call)       assert_int_equal(call, code)
#define HAS(text, substring) assert_non_null(strstr(text, substring))

static float ramp[N];

static void fill_ramp(void) {
    for (int i = 0; i < N; i++) ramp[i] = (float)i;
}

// ---- arguments ----------------------------------------------------------------------------------

static void before_init(void **state) {
    (void)state;
    const SnCudaApi *api = sn_emulator_api();
    int n = 0;
    uint64_t p = 0;
    SnCudaContext c = NULL;
    IS(SN_CU_NOT_INITIALIZED, api->device_count(&n));
    IS(SN_CU_NOT_INITIALIZED, api->mem_alloc(&p, 4));
    IS(SN_CU_NOT_INITIALIZED, api->context_retain(&c, 0));
    IS(SN_CU_INVALID_VALUE, api->init(1));
    OK(api->init(0));
    IS(SN_CU_INVALID_CONTEXT, api->mem_alloc(&p, 4));
    IS(SN_CU_INVALID_CONTEXT, api->context_release(0));
    assert_false(sn_emulator_configure(&(SnEmulatorConfig){.sm = 70}));
}

static void device_arguments(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    int n = 0;
    char name[32];
    OK(x.api->device_count(&n));
    assert_int_equal(n, 1);
    IS(SN_CU_INVALID_DEVICE, x.api->device_get(&n, 1));
    IS(SN_CU_INVALID_VALUE, x.api->device_get(NULL, 0));
    OK(x.api->device_name(name, sizeof name, 0));
    assert_string_equal(name, "emulated sm_90a");
    IS(SN_CU_INVALID_VALUE, x.api->device_name(name, 0, 0));
    OK(x.api->device_attribute(&n, SN_CU_ATTR_SM_COUNT, 0));
    assert_int_equal(n, 132);
    OK(x.api->device_attribute(&n, SN_CU_ATTR_MAX_SHARED_OPTIN, 0));
    assert_int_equal(n, 227 << 10);
    IS(SN_CU_INVALID_VALUE, x.api->device_attribute(&n, 9999, 0));
    IS(SN_CU_INVALID_DEVICE, x.api->device_attribute(&n, SN_CU_ATTR_SM_COUNT, 1));
    assert_false(sn_emulator_configure(NULL)); // a context is in use
    const char *text = NULL;
    OK(x.api->error_name(SN_CU_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    IS(SN_CU_INVALID_VALUE, x.api->error_name(12345, &text));
    device_close(&x);
}

static void *without_context(void *api) {
    uint64_t p = 0;
    IS(SN_CU_INVALID_CONTEXT, ((const SnCudaApi *)api)->mem_alloc(&p, 4));
    return NULL;
}

static void memory_arguments(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    uint64_t p = 0;
    void *host = NULL;
    size_t free_bytes = 0, total = 0;
    IS(SN_CU_INVALID_VALUE, x.api->mem_alloc(&p, 0));
    IS(SN_CU_INVALID_VALUE, x.api->mem_alloc(NULL, 4));
    IS(SN_CU_OUT_OF_MEMORY, x.api->mem_alloc(&p, (size_t)65 << 20));
    p = device_floats(&x, N);
    OK(x.api->mem_info(&free_bytes, &total));
    assert_int_equal(total, 64 << 20);
    assert_in_range(free_bytes, 1, total - N * 4);
    IS(SN_CU_INVALID_VALUE, x.api->mem_free(p + 4));
    IS(SN_CU_INVALID_VALUE, x.api->copy_to_device(p + 4, ramp, N * 4, x.a));
    IS(SN_CU_INVALID_VALUE, x.api->copy_to_device(p, NULL, 4, x.a));
    IS(SN_CU_INVALID_VALUE, x.api->copy_on_device(12345, p, 4, x.a));
    IS(SN_CU_INVALID_VALUE, x.api->fill_bytes(p, 0, N * 4 + 1, x.a));
    IS(SN_CU_INVALID_HANDLE, x.api->fill_bytes(p, 0, 4, (SnCudaStream)(uintptr_t)77));
    OK(x.api->copy_to_device(12345, NULL, 0, x.a)); // nothing
    OK(x.api->mem_free(p));
    IS(SN_CU_INVALID_VALUE, x.api->mem_free(p));
    OK(x.api->mem_free(0));
    IS(SN_CU_INVALID_VALUE, x.api->host_alloc(&host, 0, 0));
    IS(SN_CU_INVALID_VALUE, x.api->host_alloc(&host, 4, 8));
    IS(SN_CU_INVALID_VALUE, x.api->host_free(&host));
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, without_context, (void *)(uintptr_t)x.api), 0);
    pthread_join(t, NULL);
    device_close(&x);
}

static void module_arguments(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    SnCudaModule m = NULL;
    SnCudaFunction f = NULL;
    char log[64] = "?";
    int options[] = {SN_CU_JIT_ERROR_LOG, SN_CU_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)sizeof log};
    IS(SN_CU_INVALID_PTX, x.api->module_load(&m, "nonsense", 2, options, values));
    assert_true(strlen(log) > 5 && strlen(log) < sizeof log);
    assert_int_equal((uintptr_t)values[1], strlen(log) + 1);
    IS(SN_CU_NO_BINARY_FOR_GPU, x.api->module_load(&m,
                                                   "\x7f"
                                                   "ELF\2\1\1",
                                                   0, NULL, NULL));
    IS(SN_CU_NO_BINARY_FOR_GPU,
       x.api->module_load(&m, ".version 8.7\n.target sm_120\n.address_size 64\n", 0, NULL, NULL));
    IS(SN_CU_INVALID_VALUE, x.api->module_load(NULL, module_text, 0, NULL, NULL));
    IS(SN_CU_INVALID_VALUE, x.api->module_load(&m, module_text, 1, NULL, NULL));
    IS(SN_CU_NOT_FOUND, x.api->module_function(&f, x.module, "absent"));
    IS(SN_CU_INVALID_HANDLE, x.api->module_function(&f, (SnCudaModule)(void *)x.a, "next"));
    OK(x.api->module_function(&f, x.module, "next"));
    assert_ptr_equal(f, x.next);
    OK(x.api->module_unload(x.module));
    int n = 0;
    IS(SN_CU_INVALID_HANDLE, x.api->function_attribute(&n, SN_CU_FUNC_REGISTERS, f));
    IS(SN_CU_INVALID_HANDLE, x.api->module_unload(x.module));
    device_close(&x);
}

static int shape(const Device *x, unsigned grid, unsigned block, unsigned shared) {
    uint64_t p = 0;
    uint32_t n = 0;
    void *params[] = {&p, &p, &n};
    return x->api->launch(x->next, grid, 1, 1, block, 1, 1, shared, x->a, params, NULL);
}

static void launch_arguments(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    IS(SN_CU_INVALID_VALUE, shape(&x, 0, 64, 0));
    IS(SN_CU_INVALID_VALUE, shape(&x, 1, 0, 0));
    IS(SN_CU_INVALID_VALUE, shape(&x, 1, 1025, 0));
    IS(SN_CU_INVALID_VALUE, shape(&x, 0x80000000u, 1, 0));
    IS(SN_CU_INVALID_VALUE, shape(&x, 1, 64, (48 << 10) + 1));
    IS(SN_CU_INVALID_VALUE, x.api->launch(x.next, 1, 1, 1, 1, 1, 1, 0, x.a, NULL, NULL));
    IS(SN_CU_INVALID_HANDLE, x.api->launch(NULL, 1, 1, 1, 1, 1, 1, 0, x.a, NULL, NULL));
    int n = 0, set = SN_CU_FUNC_MAX_DYNAMIC_SHARED;
    IS(SN_CU_INVALID_VALUE, x.api->function_set_attribute(x.next, set, (227 << 10) + 1));
    IS(SN_CU_INVALID_VALUE, x.api->function_set_attribute(x.next, SN_CU_FUNC_REGISTERS, 1));
    OK(x.api->occupancy(&n, x.next, 1024, 0));
    assert_int_equal(n, 2); // 2048 threads
    OK(x.api->occupancy(&n, x.next, 32, 40 << 10));
    assert_int_equal(n, 5); // 228 KiB
    OK(x.api->occupancy(&n, x.next, 32, 100 << 10));
    assert_int_equal(n, 0); // not asked for
    OK(x.api->function_set_attribute(x.next, set, 227 << 10));
    OK(x.api->occupancy(&n, x.next, 32, 100 << 10));
    assert_int_equal(n, 2);
    IS(SN_CU_INVALID_VALUE, x.api->occupancy(&n, x.next, 0, 0));
    device_close(&x);
}

static void stream_arguments(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    SnCudaEvent e = NULL, quiet = NULL;
    SnCudaStream s = NULL;
    float ms = 0;
    IS(SN_CU_INVALID_VALUE, x.api->stream_create(&s, 2));
    IS(SN_CU_INVALID_VALUE, x.api->stream_create(NULL, 0));
    IS(SN_CU_INVALID_VALUE, x.api->event_create(NULL, 0));
    OK(x.api->event_create(&e, SN_CU_EVENT_DEFAULT));
    OK(x.api->event_create(&quiet, SN_CU_EVENT_NO_TIMING));
    OK(x.api->event_query(e)); // never recorded
    IS(SN_CU_INVALID_HANDLE, x.api->event_elapsed(&ms, e, e));
    IS(SN_CU_INVALID_HANDLE, x.api->event_record(NULL, x.a));
    IS(SN_CU_INVALID_VALUE, x.api->stream_wait(x.a, e, 1));
    OK(x.api->event_record(e, x.a));
    IS(SN_CU_NOT_READY, x.api->event_elapsed(&ms, e, e));
    while (x.api->event_query(e) == SN_CU_NOT_READY) {
    }
    OK(x.api->event_elapsed(&ms, e, e));
    assert_true(ms == 0);
    OK(x.api->event_record(quiet, x.a));
    OK(x.api->event_synchronize(quiet));
    IS(SN_CU_INVALID_HANDLE, x.api->event_elapsed(&ms, e, quiet));
    OK(x.api->event_destroy(e));
    IS(SN_CU_INVALID_HANDLE, x.api->event_destroy(e));
    OK(x.api->stream_create(&s, 0));
    OK(x.api->stream_destroy(s));
    IS(SN_CU_INVALID_HANDLE, x.api->stream_synchronize(s));
    device_close(&x);
}

// ---- order --------------------------------------------------------------------------------------

// Two streams fill the same bytes; without the checker both orders are seen, and only with a wait is
// it always the same.
static unsigned last_fill(uint64_t seed, bool wait) {
    Device x;
    SnEmulatorConfig c = {.sm = 80, .seed = seed, .memory = 1 << 20, .threads = 1};
    device_open_as(&x, &c);
    uint64_t p = device_floats(&x, N);
    unsigned char got[4];
    SnCudaEvent e = NULL;
    OK(x.api->event_create(&e, SN_CU_EVENT_NO_TIMING));
    OK(x.api->fill_bytes(p, 1, N, x.a));
    OK(x.api->event_record(e, x.a));
    if (wait) OK(x.api->stream_wait(x.b, e, 0));
    OK(x.api->fill_bytes(p, 2, N, x.b));
    OK(x.api->stream_synchronize(x.b));
    OK(x.api->stream_synchronize(x.a));
    OK(x.api->copy_to_host(got, p, sizeof got, x.a));
    device_close(&x);
    return got[0];
}

static void seeds_choose_the_order(void **state) {
    (void)state;
    int seen[3] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        seen[last_fill(seed, false)]++;
        assert_int_equal(last_fill(seed, true), 2);
    }
    assert_true(seen[1] > 0 && seen[2] > 0);
}

static void pinned_memory_is_read_late(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Device x;
        device_open(&x, seed);
        uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
        void *host = NULL;
        float *pinned, page[N], got[N];
        OK(x.api->host_alloc(&host, sizeof ramp, 0));
        pinned = host;
        memcpy(pinned, ramp, sizeof ramp);
        memcpy(page, ramp, sizeof ramp);
        OK(x.api->copy_to_device(p, pinned, sizeof ramp, x.a));
        OK(x.api->copy_to_device(q, page, sizeof ramp, x.a));
        pinned[5] = page[5] = 100; // too early for one of them
        OK(device_get(&x, got, p, N));
        assert_true(got[5] == 100);
        OK(device_get(&x, got, q, N));
        assert_true(got[5] == 5);
        OK(x.api->host_free(host));
        device_close(&x);
    }
}

static void the_legacy_stream_orders(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Device x;
        device_open(&x, seed);
        SnCudaStream s = NULL, t = NULL;
        uint64_t p = device_floats(&x, N);
        float got[N];
        OK(x.api->stream_create(&s, 0));
        OK(x.api->stream_create(&t, 0));
        OK(x.api->copy_to_device(p, ramp, sizeof ramp, s));
        OK(device_launch(&x, &(RecordedLaunch){x.next, p, p, N, NULL, "middle", {0}}));
        OK(device_launch(&x, &(RecordedLaunch){x.next, p, p, N, t, "end", {0}}));
        OK(x.api->stream_synchronize(t));
        OK(device_get(&x, got, p, N));
        assert_true(got[3] == 5);
        device_close(&x);
    }
}

// ---- races --------------------------------------------------------------------------------------

typedef enum { NO_WAIT, EVENT_WAIT, HOST_WAIT, LATE_EVENT } Wait;

// Stream a stores y, stream b reads it. Returns what the synchronization says.
static int two_streams(Device *x, Wait wait) {
    uint64_t p = device_floats(x, N), q = device_floats(x, N), r = device_floats(x, N);
    SnCudaEvent e = NULL;
    float got[N];
    device_put(x, p, ramp, N);
    OK(x->api->event_create(&e, SN_CU_EVENT_NO_TIMING));
    if (wait == LATE_EVENT) OK(x->api->event_record(e, x->a)); // recorded before the work
    OK(device_launch(x, &(RecordedLaunch){x->next, p, q, N, x->a, "producer", {0}}));
    if (wait == EVENT_WAIT) OK(x->api->event_record(e, x->a));
    if (wait == EVENT_WAIT || wait == LATE_EVENT) OK(x->api->stream_wait(x->b, e, 0));
    if (wait == HOST_WAIT) OK(x->api->stream_synchronize(x->a));
    OK(device_launch(x, &(RecordedLaunch){x->next, q, r, N, x->b, "consumer", {0}}));
    int code = x->api->stream_synchronize(x->b);
    if (code) return code;
    OK(device_get(x, got, r, N));
    assert_true(got[9] == 11);
    return SN_CU_OK;
}

static void missing_waits_are_found(void **state) {
    (void)state;
    static const Wait waits[] = {NO_WAIT, EVENT_WAIT, HOST_WAIT, LATE_EVENT};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Device x;
        device_open(&x, seed);
        Wait wait = waits[seed % 4];
        int code = two_streams(&x, wait);
        const char *report = x.api->report();
        if (wait == EVENT_WAIT || wait == HOST_WAIT) {
            assert_int_equal(code, SN_CU_OK);
            assert_string_equal(report, "");
        } else {
            assert_int_equal(code, SN_CU_LAUNCH_FAILED);
            assert_int_equal(strncmp(report, "stream race:", 12), 0);
            HAS(report, "node consumer, line 7) on stream 2 reads 'x'");
            HAS(report, "node producer, line 7) on stream 1 writes");
            HAS(report, "stream 2 does not wait for stream 1");
        }
        device_close(&x);
    }
}

// A write may not pass reads in other streams, copies and fills are seen without a note, and reads
// may pass reads.
static void races_of_writes_and_copies(void **state) {
    (void)state;
    Device x;
    float got[N];
    device_open(&x, 3);
    uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    OK(x.api->copy_on_device(q, p, N * 4, x.a));
    OK(device_launch(&x,
                     &(RecordedLaunch){x.next, p, device_floats(&x, N), N, x.b, "reader", {0}}));
    OK(x.api->stream_synchronize(x.b));
    OK(x.api->stream_synchronize(x.a));
    OK(x.api->copy_on_device(q, p, N * 4, x.a));
    OK(x.api->fill_bytes(p + 4, 0, 4, x.b));
    IS(SN_CU_LAUNCH_FAILED,
       device_get(&x, got, q, N) ? SN_CU_LAUNCH_FAILED : x.api->stream_synchronize(x.b));
    HAS(x.api->report(), "'fill' on stream 2 writes");
    HAS(x.api->report(), "'copy on the device' on stream 1 reads");
    device_close(&x);
}

// The host knows what a query told it.
static void queries_synchronize(void **state) {
    (void)state;
    Device x;
    device_open(&x, 2);
    SnCudaEvent e = NULL;
    uint64_t p = device_floats(&x, N);
    OK(x.api->event_create(&e, SN_CU_EVENT_NO_TIMING));
    OK(x.api->fill_bytes(p, 0, N * 4, x.a));
    OK(x.api->event_record(e, x.a));
    while (x.api->event_query(e) == SN_CU_NOT_READY) {
    }
    OK(x.api->fill_bytes(p, 1, N * 4, x.b));
    OK(x.api->stream_synchronize(x.b));
    device_close(&x);
}

// Freeing waits for the work that uses the memory, and new memory has no past.
static void freed_memory(void **state) {
    (void)state;
    Device x;
    float got[N];
    device_open(&x, 2);
    uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    OK(x.api->copy_on_device(q, p, N * 4, x.a));
    OK(x.api->mem_free(p));
    p = device_floats(&x, N);
    OK(x.api->fill_bytes(p, 0, N * 4, x.b));
    OK(x.api->stream_synchronize(x.b));
    OK(device_get(&x, got, q, N));
    assert_true(got[9] == 9);
    device_close(&x);
}

// A stream that is gone, done, and never waited for: its successor is not ordered after it.
static void destroyed_streams_are_remembered(void **state) {
    (void)state;
    Device x;
    device_open(&x, 2);
    SnCudaStream s = NULL;
    uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
    OK(x.api->stream_create(&s, SN_CU_STREAM_NON_BLOCKING));
    OK(x.api->fill_bytes(p, 0, N * 4, s));
    OK(x.api->mem_free(q)); // runs everything
    OK(x.api->stream_destroy(s));
    OK(x.api->stream_create(&s, SN_CU_STREAM_NON_BLOCKING));
    OK(x.api->fill_bytes(p, 1, N * 4, s));
    IS(SN_CU_LAUNCH_FAILED, x.api->stream_synchronize(s));
    HAS(x.api->report(), "stream race:");
    device_close(&x);
}

// ---- ownership, memory that was never written ---------------------------------------------------

static void overwritten_tensors_are_found(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    uint64_t p = device_floats(&x, 3 * N), y = p + N * 4, z = p + 2 * N * 4;
    device_put(&x, p, ramp, N);
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, y, N, x.a, "first", {0, 5}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, y, z, N, x.a, "good", {5, 6}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, z, z, N, x.a, "in place", {6, 7}}));
    for (uint32_t i = 0; i < 4; i++) // pieces that are gone after the whole
        OK(device_launch(
            &x, &(RecordedLaunch){x.next, p, y + i * N, N / 4, x.a, "piece", {0, 10 + i}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, y, N, x.a, "whole", {0, 5}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, y + N * 3, z, N / 4, x.a, "quarter", {5, 6}}));
    OK(x.api->stream_synchronize(x.a));
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, y + N * 2, N / 2, x.a, "thief", {0, 8}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, y, z, N, x.a, "victim", {5, 9}}));
    IS(SN_CU_LAUNCH_FAILED, x.api->stream_synchronize(x.a));
    const char *report = x.api->report();
    assert_int_equal(strncmp(report, "overwritten:", 12), 0);
    HAS(report, "node victim, line 7) reads tensor 'x' (value 5)");
    HAS(report, "by 'y' (value 8) of 'kernel' (node thief");
    device_close(&x);
}

// A kernel whose note says that it writes y leaves out its second half, which held older values.
static void stale_outputs_are_not_written(void **state) {
    (void)state;
    Device x;
    float got[N];
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N), y = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    device_put(&x, y, ramp, N);
    SnCudaRange ranges[] = {{.base = p, .bytes = N * 4, .reads = 1, .name = "x"},
                            {.base = y, .bytes = N * 4, .writes = 1, .name = "y"},
                            {.name = "n"}};
    x.api->note(&(SnCudaNote){.kernel = "half", .node = "n1", .ranges = ranges, .n = 3});
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, y, N / 2, x.a, NULL, {0}}));
    OK(device_get(&x, got, y, N / 2));
    IS(SN_CU_LAUNCH_FAILED, device_get(&x, got, y, N));
    assert_int_equal(strncmp(x.api->report(), "uninitialised:", 14), 0);
    HAS(x.api->report(), "byte 512 of");
    HAS(x.api->report(), "; 'half' (node n1) was to write it");
    device_close(&x);
}

// A writer that is queued behind the reader is not the one that left something out.
static void later_writers_are_not_blamed(void **state) {
    (void)state;
    Device x;
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N), y = device_floats(&x, N), z = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    OK(device_launch(&x, &(RecordedLaunch){x.next, y, z, N, x.a, "reader", {0}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, y, N, x.a, "later", {0}}));
    IS(SN_CU_LAUNCH_FAILED, x.api->stream_synchronize(x.a));
    HAS(x.api->report(), "which was never written");
    assert_null(strstr(x.api->report(), "was to write it"));
    device_close(&x);
}

// ---- faults -------------------------------------------------------------------------------------

static void faults_stay(void **state) {
    (void)state;
    Device x;
    float got[N];
    device_open(&x, 1);
    uint64_t p = device_floats(&x, 2 * N), q = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    OK(device_launch(&x, &(RecordedLaunch){x.stray, p, q, N - 1, x.a, "node 12", {0}}));
    IS(SN_CU_ILLEGAL_ADDRESS, x.api->stream_synchronize(x.a));
    const char *report = x.api->report();
    assert_non_null(strstr(report, "bound"));
    HAS(report, "0 bytes behind the end of 'x'");
    HAS(report, "node 12, line 7");
    HAS(report, "block 3,0,0, thread 63,0,0");
    IS(SN_CU_ILLEGAL_ADDRESS,
       device_launch(&x, &(RecordedLaunch){x.next, p, q, N, x.a, NULL, {0}}));
    IS(SN_CU_ILLEGAL_ADDRESS, device_get(&x, got, p, N));
    IS(SN_CU_ILLEGAL_ADDRESS, x.api->mem_alloc(&p, 4));
    IS(SN_CU_ILLEGAL_ADDRESS, x.api->mem_free(q));
    device_close(&x);
    device_open(&x, 1); // a new context has no past
    assert_string_equal(x.api->report(), "");
    device_put(&x, device_floats(&x, N), ramp, N);
    device_close(&x);
}

static void first_nan_and_counts(void **state) {
    (void)state;
    Device x;
    float negative[N] = {0};
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
    negative[7] = -1;
    device_put(&x, p, negative, N);
    sn_emulator_reset_counts();
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, q, N, x.a, "fine", {0}}));
    OK(device_launch(&x, &(RecordedLaunch){x.root, p, q, N, x.a, "culprit", {0}}));
    OK(device_launch(&x, &(RecordedLaunch){x.next, q, q, N, x.a, "heir", {0}}));
    OK(x.api->stream_synchronize(x.a));
    HAS(sn_emulator_first_nan(), "nan: first stored by 'kernel' (node culprit, line 7), PTX line");
    SnEmulatorCounts c = sn_emulator_counts();
    assert_int_equal(c.launches, 3);
    assert_true(c.instructions >= 3 * N && c.kernel_bytes >= 6 * N * 4);
    SnEmulatorKernel k[4];
    assert_int_equal(sn_emulator_kernels(k, 4), 2);
    assert_string_equal(k[0].name, "next");
    assert_int_equal(k[0].launches, 2);
    assert_string_equal(k[1].name, "root");
    device_close(&x);
}

// ---- capture and graphs -------------------------------------------------------------------------

typedef struct {
    Device x;
    uint64_t p, q, r;
    SnCudaEvent fork, join;
} Forked;

// p -> q in stream a, p -> r in stream b, then q -> q in stream a; joined or not.
static int capture(Forked *f, bool join, SnCudaGraph *graph) {
    const SnCudaApi *api = f->x.api;
    OK(api->capture_begin(f->x.a, SN_CU_CAPTURE_THREAD_LOCAL));
    OK(api->event_record(f->fork, f->x.a));
    OK(api->stream_wait(f->x.b, f->fork, 0));
    OK(device_launch(&f->x, &(RecordedLaunch){f->x.next, f->p, f->q, N, f->x.a, "left", {0}}));
    OK(device_launch(&f->x, &(RecordedLaunch){f->x.next, f->p, f->r, N, f->x.b, "right", {0}}));
    OK(api->event_record(f->join, f->x.b));
    if (join) OK(api->stream_wait(f->x.a, f->join, 0));
    OK(device_launch(&f->x, &(RecordedLaunch){f->x.next, f->r, f->q, N, f->x.a, "sum", {0}}));
    return api->capture_end(f->x.a, graph);
}

static void forked_open(Forked *f, uint64_t seed) {
    device_open(&f->x, seed);
    f->p = device_floats(&f->x, N), f->q = device_floats(&f->x, N), f->r = device_floats(&f->x, N);
    OK(f->x.api->event_create(&f->fork, SN_CU_EVENT_NO_TIMING));
    OK(f->x.api->event_create(&f->join, SN_CU_EVENT_NO_TIMING));
}

static void graphs_replay(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Forked f;
        SnCudaGraph g = NULL;
        SnCudaGraphExec exec = NULL;
        float in[N], got[N];
        forked_open(&f, seed);
        OK(capture(&f, true, &g));
        OK(f.x.api->graph_instantiate(&exec, g, 0));
        OK(f.x.api->graph_destroy(g));
        for (int i = 0; i < 5; i++) {
            memcpy(in, ramp, sizeof in);
            in[1] = (float)(10 * i);
            OK(f.x.api->copy_to_device(f.p, in, sizeof in, f.x.a));
            OK(f.x.api->graph_launch(exec, f.x.a));
            OK(f.x.api->graph_launch(exec, f.x.b)); // after the one in the other stream
            OK(f.x.api->stream_synchronize(f.x.b));
            OK(device_get(&f.x, got, f.q, N));
            assert_true(got[1] == (float)(10 * i + 2) && got[9] == 11);
        }
        assert_int_equal(sn_emulator_counts().launches, 30);
        OK(f.x.api->graph_exec_destroy(exec));
        IS(SN_CU_INVALID_VALUE, f.x.api->graph_launch(exec, f.x.a));
        assert_string_equal(f.x.api->report(), "");
        device_close(&f.x);
    }
}

static void unjoined_captures_fail(void **state) {
    (void)state;
    Forked f;
    SnCudaGraph g = NULL;
    forked_open(&f, 1);
    IS(904, capture(&f, false, &g));
    assert_null(g);
    device_put(&f.x, f.p, ramp, N); // both streams are free again
    OK(f.x.api->stream_synchronize(f.x.b));
    device_close(&f.x);
}

// The right lane's result is joined too late: after its reader.
static void races_in_graphs_are_found(void **state) {
    (void)state;
    Forked f;
    SnCudaGraph g = NULL;
    SnCudaGraphExec exec = NULL;
    forked_open(&f, 1);
    const SnCudaApi *api = f.x.api;
    device_put(&f.x, f.p, ramp, N);
    OK(api->capture_begin(f.x.a, SN_CU_CAPTURE_THREAD_LOCAL));
    OK(api->event_record(f.fork, f.x.a));
    OK(api->stream_wait(f.x.b, f.fork, 0));
    OK(device_launch(&f.x, &(RecordedLaunch){f.x.next, f.p, f.r, N, f.x.b, "right", {0}}));
    OK(device_launch(&f.x, &(RecordedLaunch){f.x.next, f.r, f.q, N, f.x.a, "early", {0}}));
    OK(api->event_record(f.join, f.x.b));
    OK(api->stream_wait(f.x.a, f.join, 0));
    OK(api->capture_end(f.x.a, &g));
    OK(api->graph_instantiate(&exec, g, 0));
    OK(api->graph_launch(exec, f.x.a));
    IS(SN_CU_LAUNCH_FAILED, api->stream_synchronize(f.x.a));
    HAS(api->report(), "node early, line 7) on stream 1 of a graph reads");
    HAS(api->report(), "node right, line 7) on stream 2 of a graph writes");
    device_close(&f.x);
}

// Launches of one graph do not overlap, whatever their streams; and a graph is ordered with what was
// in its stream before.
static void graph_launches_do_not_overlap(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Device x;
        float got[N];
        SnCudaGraph g = NULL;
        SnCudaGraphExec exec = NULL;
        device_open(&x, seed);
        uint64_t p = device_floats(&x, N);
        device_put(&x, p, ramp, N);
        OK(x.api->capture_begin(x.a, SN_CU_CAPTURE_THREAD_LOCAL));
        OK(device_launch(&x, &(RecordedLaunch){x.next, p, p, N, x.a, "step", {0}}));
        OK(x.api->capture_end(x.a, &g));
        OK(x.api->graph_instantiate(&exec, g, 0));
        OK(x.api->graph_launch(exec, x.a));
        OK(x.api->graph_launch(exec, x.b));
        OK(x.api->graph_launch(exec, x.a));
        OK(device_get(&x, got, p, N));
        assert_true(got[1] == 4);
        device_close(&x);
    }
}

// Each illegal call ends the capture: code of the call, then of the end.
static void begin(const Device *x) { OK(x->api->capture_begin(x->a, SN_CU_CAPTURE_THREAD_LOCAL)); }
static void ends_invalid(const Device *x) {
    SnCudaGraph g = NULL;
    IS(SN_CU_CAPTURE_INVALIDATED, x->api->fill_bytes(0, 0, 1, x->a));
    IS(SN_CU_CAPTURE_INVALIDATED, x->api->capture_end(x->a, &g));
    OK(x->api->stream_synchronize(x->a));
}

static void illegal_during_capture(void **state) {
    (void)state;
    Device x;
    SnCudaGraph g = NULL;
    SnCudaEvent inside = NULL, outside = NULL;
    SnCudaStream blocking = NULL;
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N), q = 0;
    OK(x.api->event_create(&inside, 0));
    OK(x.api->event_create(&outside, 0));
    OK(x.api->event_record(outside, x.b));
    IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->capture_begin(NULL, SN_CU_CAPTURE_THREAD_LOCAL));
    IS(SN_CU_INVALID_VALUE, x.api->capture_begin(x.a, 3));
    IS(SN_CU_INVALID_VALUE, x.api->capture_end(x.a, &g));
    begin(&x), IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->stream_synchronize(x.a)), ends_invalid(&x);
    begin(&x), IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->mem_alloc(&q, 4)), ends_invalid(&x);
    begin(&x), IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->mem_free(p)), ends_invalid(&x);
    begin(&x), IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->event_query(outside)), ends_invalid(&x);
    begin(&x), IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->capture_begin(x.a, 1)), ends_invalid(&x);
    begin(&x), IS(905, x.api->stream_wait(x.a, outside, 0)), ends_invalid(&x);
    begin(&x), IS(903, (OK(x.api->event_record(inside, x.a)),
                        OK(x.api->stream_wait(x.b, inside, 0)), x.api->capture_end(x.b, &g)));
    ends_invalid(&x);
    IS(907, x.api->stream_wait(x.b, inside, 0)); // its capture is over
    IS(907, x.api->event_query(inside));
    OK(x.api->stream_create(&blocking, 0));
    OK(x.api->capture_begin(blocking, SN_CU_CAPTURE_THREAD_LOCAL));
    IS(906, x.api->fill_bytes(p, 0, 4, NULL));
    IS(SN_CU_CAPTURE_INVALIDATED, x.api->capture_end(blocking, &g));
    device_close(&x);
}

// Mode 0 forbids unsafe calls to all threads, 1 to the capturing one, 2 to none; waiting for the
// captured stream itself is never allowed.
typedef struct {
    const Device *x;
    int want;
} Elsewhere;
static void *allocate_elsewhere(void *user) {
    const Elsewhere *e = user;
    SnCudaContext c = NULL;
    uint64_t p = 0;
    OK(e->x->api->context_retain(&c, 0));
    OK(e->x->api->context_set(c));
    IS(e->want, e->x->api->mem_alloc(&p, 4));
    OK(e->x->api->context_release(0));
    return NULL;
}

static void modes_of_capture(void **state) {
    (void)state;
    static const int elsewhere[] = {SN_CU_CAPTURE_UNSUPPORTED, SN_CU_OK, SN_CU_OK};
    for (int mode = 0; mode < 3; mode++) {
        Device x;
        SnCudaGraph g = NULL;
        uint64_t p = 0;
        pthread_t t;
        device_open(&x, 1);
        Elsewhere e = {&x, elsewhere[mode]};
        OK(x.api->capture_begin(x.a, mode));
        assert_int_equal(pthread_create(&t, NULL, allocate_elsewhere, &e), 0);
        pthread_join(t, NULL);
        IS(mode ? SN_CU_OK : SN_CU_CAPTURE_INVALIDATED, x.api->capture_end(x.a, &g));
        OK(x.api->capture_begin(x.a, mode));
        IS(mode == 2 ? SN_CU_OK : SN_CU_CAPTURE_UNSUPPORTED, x.api->mem_alloc(&p, 4));
        IS(mode == 2 ? SN_CU_OK : SN_CU_CAPTURE_INVALIDATED, x.api->capture_end(x.a, &g));
        OK(x.api->capture_begin(x.a, 2));
        IS(SN_CU_CAPTURE_UNSUPPORTED, x.api->stream_synchronize(x.a));
        IS(SN_CU_CAPTURE_INVALIDATED, x.api->capture_end(x.a, &g));
        device_close(&x);
    }
}

// A captured copy reads host memory at each launch; parameters are those of the capture.
static void captured_copies_read_again(void **state) {
    (void)state;
    Device x;
    float in[N], got[N];
    SnCudaGraph g = NULL;
    SnCudaGraphExec exec = NULL;
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N);
    memcpy(in, ramp, sizeof in);
    begin(&x);
    OK(x.api->copy_to_device(p, in, sizeof in, x.a));
    OK(x.api->capture_end(x.a, &g));
    OK(x.api->graph_instantiate(&exec, g, 0));
    for (int i = 0; i < 3; i++) {
        in[0] = (float)(i + 50);
        OK(x.api->graph_launch(exec, x.a));
        OK(device_get(&x, got, p, N));
        assert_true(got[0] == (float)(i + 50));
    }
    device_close(&x);
}

static void graphs_of_freed_memory_fail(void **state) {
    (void)state;
    Device x;
    SnCudaGraph g = NULL;
    SnCudaGraphExec exec = NULL;
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N), q = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    begin(&x);
    OK(device_launch(&x, &(RecordedLaunch){x.next, p, q, N, x.a, "late", {0}}));
    OK(x.api->capture_end(x.a, &g));
    OK(x.api->graph_instantiate(&exec, g, 0));
    OK(x.api->mem_free(q));
    OK(x.api->graph_launch(exec, x.a));
    IS(SN_CU_ILLEGAL_ADDRESS, x.api->stream_synchronize(x.a));
    HAS(x.api->report(), "out of bounds: 'kernel' (node late, line 7) touches");
    device_close(&x);
}

// Streams, events and graphs that come and go do not pile up clocks, and destroying them early
// loses no work.
static void objects_come_and_go(void **state) {
    (void)state;
    Device x;
    float got[N];
    device_open(&x, 1);
    uint64_t p = device_floats(&x, N);
    device_put(&x, p, ramp, N);
    for (int i = 0; i < 300; i++) {
        SnCudaStream s = NULL;
        SnCudaEvent e = NULL;
        OK(x.api->stream_create(&s, SN_CU_STREAM_NON_BLOCKING));
        OK(x.api->event_create(&e, 0));
        OK(device_launch(&x, &(RecordedLaunch){x.next, p, p, N, s, "n", {0}}));
        OK(x.api->event_record(e, s));
        OK(x.api->stream_destroy(s));
        if (i % 2)
            OK(x.api->event_synchronize(e));
        else
            OK(x.api->stream_wait(x.a, e, 0)), OK(x.api->stream_synchronize(x.a));
        OK(x.api->event_destroy(e));
    }
    OK(device_get(&x, got, p, N));
    assert_true(got[0] == 300);
    device_close(&x);
}

int main(void) {
    fill_ramp();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_init),
        cmocka_unit_test(device_arguments),
        cmocka_unit_test(memory_arguments),
        cmocka_unit_test(module_arguments),
        cmocka_unit_test(launch_arguments),
        cmocka_unit_test(stream_arguments),
        cmocka_unit_test(seeds_choose_the_order),
        cmocka_unit_test(pinned_memory_is_read_late),
        cmocka_unit_test(the_legacy_stream_orders),
        cmocka_unit_test(missing_waits_are_found),
        cmocka_unit_test(races_of_writes_and_copies),
        cmocka_unit_test(queries_synchronize),
        cmocka_unit_test(freed_memory),
        cmocka_unit_test(destroyed_streams_are_remembered),
        cmocka_unit_test(overwritten_tensors_are_found),
        cmocka_unit_test(stale_outputs_are_not_written),
        cmocka_unit_test(later_writers_are_not_blamed),
        cmocka_unit_test(faults_stay),
        cmocka_unit_test(first_nan_and_counts),
        cmocka_unit_test(graphs_replay),
        cmocka_unit_test(unjoined_captures_fail),
        cmocka_unit_test(races_in_graphs_are_found),
        cmocka_unit_test(graph_launches_do_not_overlap),
        cmocka_unit_test(illegal_during_capture),
        cmocka_unit_test(modes_of_capture),
        cmocka_unit_test(captured_copies_read_again),
        cmocka_unit_test(graphs_of_freed_memory_fail),
        cmocka_unit_test(objects_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

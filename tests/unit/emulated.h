// An emulated device for unit tests: opens a context with a seed, loads a module of three kernels,
// and turns calls that must succeed into one line each. Include after cmocka.h.
#pragma once
#include "runtime/emulator/emulator.h"
#include <string.h>

// Each kernel is f(x, y, n): thread i < n stores f(x[i]) to y[i]. stray goes one element too far.
#define HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"
#define KERNEL(name, compare, op)                                                                  \
    ".visible .entry " name "(\n.param .u64 " name "_param_0,\n.param .u64 " name "_param_1,\n"    \
    ".param .u32 " name "_param_2\n)\n{\n.reg .pred %p<2>;\n.reg .f32 %f<4>;\n.reg .b32 %r<6>;\n"  \
    ".reg .b64 %rd<8>;\nld.param.u64 %rd1, [" name "_param_0];\nld.param.u64 %rd2, [" name         \
    "_param_1];\nld.param.u32 %r1, [" name "_param_2];\nmov.u32 %r2, %ctaid.x;\n"                  \
    "mov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.s32 %r5, %r2, %r3, %r4;\n"                \
    "setp." compare ".s32 %p1, %r5, %r1;\n@%p1 bra $done;\ncvta.to.global.u64 %rd3, %rd1;\n"       \
    "mul.wide.s32 %rd4, %r5, 4;\nadd.s64 %rd5, %rd3, %rd4;\nld.global.f32 %f1, [%rd5];\n" op       \
    "\ncvta.to.global.u64 %rd6, %rd2;\nadd.s64 %rd7, %rd6, %rd4;\nst.global.f32 [%rd7], %f2;\n"    \
    "$done:\nret;\n}\n"
static const char module_text[] =
    HEAD KERNEL("next", "ge", "add.rn.f32 %f2, %f1, 0f3F800000;") // x + 1
    KERNEL("stray", "gt", "mov.f32 %f2, %f1;") KERNEL("root", "ge", "sqrt.rn.f32 %f2, %f1;");

typedef struct {
    const SnCudaApi *api;
    SnCudaModule module;
    SnCudaFunction next, stray, root;
    SnCudaStream a, b; // non-blocking
} Device;

static inline void device_open_as(Device *x, const SnEmulatorConfig *config) {
    const SnCudaApi *api = x->api = sn_emulator_api();
    SnCudaContext context = NULL;
    while (api->context_release(0) == SN_CU_OK) {
    } // of a test that failed
    assert_true(sn_emulator_configure(config));
    assert_int_equal(api->init(0), SN_CU_OK);
    assert_int_equal(api->context_retain(&context, 0), SN_CU_OK);
    assert_int_equal(api->context_set(context), SN_CU_OK);
    assert_int_equal(api->module_load(&x->module, module_text, 0, NULL, NULL), SN_CU_OK);
    assert_int_equal(api->module_function(&x->next, x->module, "next"), SN_CU_OK);
    assert_int_equal(api->module_function(&x->stray, x->module, "stray"), SN_CU_OK);
    assert_int_equal(api->module_function(&x->root, x->module, "root"), SN_CU_OK);
    assert_int_equal(api->stream_create(&x->a, SN_CU_STREAM_NON_BLOCKING), SN_CU_OK);
    assert_int_equal(api->stream_create(&x->b, SN_CU_STREAM_NON_BLOCKING), SN_CU_OK);
}

static inline void device_open(Device *x, uint64_t seed) {
    SnEmulatorConfig c = {.sm = 90, .arch = true, .check = true, .nan = true, .seed = seed};
    c.memory = 64 << 20, c.threads = 2;
    device_open_as(x, &c);
}

static inline void device_close(const Device *x) {
    assert_int_equal(x->api->context_release(0), SN_CU_OK);
}

static inline uint64_t device_floats(const Device *x, size_t n) {
    uint64_t p = 0;
    assert_int_equal(x->api->mem_alloc(&p, n * sizeof(float)), SN_CU_OK);
    return p;
}

static inline void device_put(const Device *x, uint64_t to, const float *from, size_t n) {
    assert_int_equal(x->api->copy_to_device(to, from, n * sizeof *from, x->a), SN_CU_OK);
    assert_int_equal(x->api->stream_synchronize(x->a), SN_CU_OK);
}

static inline int device_get(const Device *x, float *to, uint64_t from, size_t n) {
    int r = x->api->copy_to_host(to, from, n * sizeof *to, x->a);
    return r ? r : x->api->stream_synchronize(x->a);
}

// Launches f(from, to, n); without a node there is no note. value: of what is read and written.
typedef struct {
    SnCudaFunction f;
    uint64_t from, to;
    uint32_t n;
    SnCudaStream stream;
    const char *node;
    uint32_t value[2];
} RecordedLaunch;
static inline int device_launch(const Device *x, const RecordedLaunch *l) {
    const SnCudaRange ranges[] = {
        {.base = l->from, .bytes = l->n * 4ull, .value = l->value[0], .reads = 1, .name = "x"},
        {.base = l->to, .bytes = l->n * 4ull, .value = l->value[1], .writes = 1, .name = "y"},
        {.name = "n"}};
    SnCudaNote note = {.kernel = "kernel", .node = l->node, .line = 7, .ranges = ranges, .n = 3};
    if (l->node) x->api->note(&note);
    uint64_t from = l->from, to = l->to;
    uint32_t n = l->n;
    void *params[] = {&from, &to, &n};
    return x->api->launch(l->f, (n + 63) / 64, 1, 1, 64, 1, 1, 0, l->stream, params, NULL);
}

// What the CUDA device says when it cannot start or goes wrong, on the emulated device: memory, images,
// faults with their place, the first NaN; and that it starts where machine code is refused.
#include "ir/build.h"
#include "passes/pipeline.h"
#include "runtime/cuda/cuda.h"
#include "runtime/emulator/emulator.h"
#include "tests/oracle/emulated.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

// x / x is a NaN where x is 0. Its kernel is that of the sum.
static const char text[] = "axis n = 1000\n"
                           "state w : f32[n=1000] param\n"
                           "func update {\n"
                           "  %0 = input : f32[n=1000] {name=x}\n"
                           "  %1 = div %0, %0 : f32[n=1000] \"quotient\"\n"
                           "  %2 = state : f32[n=1000] {state=w}\n"
                           "  %3 = add %2, %1 : f32[n=1000] \"sum\"\n"
                           "  %4 = assign %3 : f32[n=1000] {state=w}\n"
                           "}\n";

typedef struct {
    Arena *a;
    KernelProgram kernels;
    Emulated x;
} DeviceFixture;

static int set_up(void **state) {
    DeviceFixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->a = arena_new();
    Diag *d = diag_new(f->a);
    uint16_t file = diag_add_file(d, "test.ir", text, sizeof text - 1, false);
    Module *m = ir_parse(f->a, symtab_new(f->a), d, file);
    PassCx cx = {
        .m = m, .scratch = arena_new(), .ledger = ledger_new(f->a), .target = target_find("cuda")};
    PassHooks hooks = {.verify = true};
    Text why = {.arena = f->a};
    assert_true(pipeline_run_list(&cx, "chunk,layout,fuse,schedule,bundle,memplan", &hooks));
    arena_free(cx.scratch);
    assert_true(program_lower(f->a, m, d, &f->kernels));
    const EmulatedOptions how = {.target = "sm_90a"};
    if (!emulated_open(f->a, &f->kernels, &how, &f->x, &why)) fail_msg("%s", why.at);
    sn_exec_free(f->x.exec);
    f->x.exec = NULL;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    DeviceFixture *f = *state;
    emulated_close(&f->x);
    arena_free(f->a);
    free(f);
    return 0;
}

// The device, opened directly, on an emulated one of `memory` bytes.
static SnStatus open_on(DeviceFixture *f, uint32_t sm, uint64_t memory, bool from_ptx, SnDevice **d,
                        SnError *e) {
    const SnEmulatorConfig c = {
        .sm = sm, .arch = sm == 90, .check = true, .memory = memory, .threads = 1};
    assert_true(sn_emulator_configure(&c));
    const SnCudaChoice choice = {.api = sn_emulator_api(), .from_ptx = from_ptx};
    return sn_cuda_device(&f->x.programs[0], &choice, d, e);
}

static void test_memory(void **state) {
    SnDevice *d;
    SnError e = {0};
    assert_int_equal(open_on(*state, 90, 1 << 16, true, &d, &e), SN_MACHINE);
    assert_non_null(strstr(e.text, "the plan needs 0.00 GiB of device memory ("));
    assert_non_null(strstr(e.text, "GiB free (65536 bytes)"));
    assert_null(d);
}

static void test_no_image(void **state) {
    SnDevice *d;
    SnError e = {0};
    assert_int_equal(open_on(*state, 120, 1 << 30, true, &d, &e), SN_USER);
    assert_non_null(strstr(e.text, "no code for sm_120, it was built for sm_90a PTX"));
}

static void test_damaged_ptx(void **state) {
    DeviceFixture *f = *state;
    SnImage *image = (SnImage *)(uintptr_t)&f->x.programs[0].images[0];
    SnDevice *d;
    SnError e = {0};
    char *copy = arena_str(f->a, (const char *)image->data, image->size);
    *strstr(copy, "ld.global") = 'X';
    const unsigned char *good = image->data;
    image->data = (unsigned char *)copy;
    assert_int_equal(open_on(f, 90, 1 << 30, true, &d, &e), SN_MACHINE);
    assert_non_null(strstr(e.text, "the driver refuses PTX for sm_90a: line "));
    image->data = good;
}

// Machine code is there, and refused: the PTX runs, and that is said.
static void test_fallback(void **state) {
    DeviceFixture *f = *state;
    SnImage images[2] = {f->x.programs[0].images[0], f->x.programs[0].images[0]};
    static const unsigned char elf[64] = "\177ELF";
    images[1].ptx = 0;
    images[1].data = elf;
    images[1].size = sizeof elf;
    SnProgram program = f->x.programs[0];
    program.images = images;
    program.image_count = 2;
    const SnEmulatorConfig c = {
        .sm = 90, .arch = true, .check = true, .memory = 1 << 30, .threads = 1};
    assert_true(sn_emulator_configure(&c));
    const SnCudaChoice choice = {.api = sn_emulator_api()};
    SnDevice *d;
    SnError e = {0};
    if (sn_cuda_device(&program, &choice, &d, &e)) fail_msg("%s", e.text);
    assert_non_null(strstr(d->note, "the driver refuses machine code for sm_90a"));
    assert_non_null(strstr(d->name, "PTX"));
    d->ops->free(d);
}

// Runs "update" on x = value and w = start.
static SnStatus run(SnExec *x, float value, SnError *e) {
    const SnPort *p = sn_plan_input(sn_exec_plan(x), "update", "x");
    const SnState *w = SN_AT(sn_exec_plan(x), SnState, states);
    float start[1000] = {0};
    SnEnv env = {.first = 1, .step = 1};
    float *to = sn_exec_input(x, p);
    for (int i = 0; i < 1000; i++) to[i] = i == 700 ? value : 2;
    SnStatus s = sn_exec_write(x, w->region, w->offset, start, w->bytes, e);
    if (!s) s = sn_exec_run(x, "update", &env, e);
    return s ? s : sn_exec_wait(x, e);
}

static void test_first_nan(void **state) {
    DeviceFixture *f = *state;
    SnExec *x;
    SnError e = {0};
    setenv("SINTER_FIND_NAN", "on", 1);
    assert_int_equal(sn_exec_open(f->x.programs, "emu:sm_90a", 1, &x, &e), SN_OK);
    unsetenv("SINTER_FIND_NAN");
    assert_int_equal(run(x, 3, &e), SN_OK);
    assert_int_equal(run(x, 0, &e), SN_USER);
    assert_string_equal(e.text, "'update/sum' stored the first NaN, at element 700 of 1000");
    sn_exec_free(x);
}

// A fault is reported by every later call, and names kernel, op, line and thread.
static void test_fault(void **state) {
    DeviceFixture *f = *state;
    SnExec *x;
    SnError e = {0}, again = {0};
    SnPlan *plan = (SnPlan *)(uintptr_t)f->x.programs[0].plan;
    SnKernel *k = (SnKernel *)(uintptr_t)SN_AT(plan, SnKernel, kernels);
    uint32_t grid = k->grid[0];
    SnArg *arg = (SnArg *)(uintptr_t)SN_AT(plan, SnArg, args);
    while (arg->region != SN_REGION_INPUT) arg++;
    int64_t bytes = arg->bytes;
    arg->bytes = 3000; // the launch may touch less than the kernel does
    assert_int_equal(sn_exec_open(f->x.programs, "emu:sm_90a", 1, &x, &e), SN_OK);
    assert_int_equal(run(x, 3, &e), SN_MACHINE);
    assert_non_null(strstr(e.text, "bounds"));
    assert_non_null(strstr(e.text, "update/sum"));
    assert_non_null(strstr(e.text, "kernel 'map."));
    assert_non_null(strstr(e.text, "thread"));
    assert_non_null(strstr(e.text, "'x'")); // the tensor
    assert_int_equal(sn_exec_wait(x, &again), SN_MACHINE);
    assert_string_equal(e.text, again.text);
    sn_exec_free(x);
    arg->bytes = bytes;
    k->grid[0] = grid;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_no_image),
        cmocka_unit_test(test_damaged_ptx), cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_first_nan),   cmocka_unit_test(test_fault)};
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool there = cuda_available(&why);
    if (!there) printf("skipped the CUDA device: %s\n", why.at);
    arena_free(a);
    return there ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}

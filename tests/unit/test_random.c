// Random programs through the whole chain: exact interpreter = kernel evaluator = native code, or the
// emulated CUDA device, fused and not, after the passes that must keep every bit. SINTER_LONG=1: 1,000
// programs and native code for each; else a sample. SINTER_SEED chooses another stream; each failure
// names its seed. The device's part needs NVRTC, and says that it is skipped without.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "passes/pipeline.h"
#include "tests/oracle/emulated.h"
#include "tests/oracle/oracle.h"
#include "tools/irgen.c"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uint32_t count, native_every;
    uint64_t first;
} Size;

static Size size_of_run(void) {
    const char *tier = getenv("SINTER_LONG"), *seed = getenv("SINTER_SEED");
    bool full = tier && *tier == '1';
    Size s = {full ? 1000 : 120, full ? 1 : 10, seed ? strtoull(seed, NULL, 10) : 1};
    print_message("%u programs from seed %llu\n", s.count, (unsigned long long)s.first);
    return s;
}

// Gradients of random programs: column folds, scatters and sums over what was broadcast.
static void differentiate(Arena *a, Module *m) {
    PassCx cx = {
        .m = m, .scratch = arena_new(), .ledger = ledger_new(a), .target = target_find("cuda")};
    PassHooks hooks = {.verify = true};
    assert_true(pipeline_run_list(&cx, "dce,autodiff,tidy", &hooks));
    arena_free(cx.scratch);
}

static bool has_attention_gradients(uint64_t seed) { return seed % 8 == 3; }

// For GPUs, every third program is a step with its gradients, and the others update many states. For the CPU
// every fourth one has an attention, half of them with its gradients.
static void check_with(const OracleOptions *o) {
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    uint64_t seed = o->seed;
    bool gpu = o->emulated || o->target, attention = !gpu && seed % 4 == 3,
         gradients = gpu ? seed % 3 == 0 : has_attention_gradients(seed);
    IrGen options = {.seed = seed,
                     .nodes = attention ? (uint32_t)(seed % 9) : 6 + (uint32_t)(seed % 40),
                     .gradients = gradients,
                     .twins = gpu,
                     .narrow = seed % 4 == 1,
                     .multiplied = seed % 4 == 1 && !gpu,
                     .attention = attention};
    Module *m = irgen_module(a, symtab_new(a), d, &options);
    Text why = {.arena = a}, before = {.arena = a};
    ir_print_module(&before, m);
    if (gradients) differentiate(a, m);
    if (!oracle_check(m, o, &why)) {
        fprintf(stderr, "%s\n", before.at);
        fail_msg("seed %llu: %s", (unsigned long long)seed, why.at ? why.at : "?");
    }
    arena_free(a);
}

static void check_seed(uint64_t seed, const char *passes, bool unfused, bool native) {
    OracleOptions o = {.passes = passes,
                       .seed = seed,
                       .skip_native = !native,
                       .threads = 1 + (int)(seed % 3),
                       .unfused = unfused,
                       .cpu = seed % 2 ? "x86-64-v3" : NULL};
    check_with(&o);
}

static void test_lowered_programs(void **state) {
    (void)state;
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++)
        check_seed(s.first + i, "layout,recognise,chunk,fuse,schedule,memplan", false,
                   i % s.native_every == 0 || has_attention_gradients(s.first + i));
}

static void test_each_pass_left_out(void **state) {
    (void)state;
    static const char *const lists[] = {
        "chunk,fuse,schedule,memplan",                // without layout
        "chunk,layout,fuse,memplan",                  // without schedule
        "cse,dce,chunk,layout,fuse,schedule,memplan", // with cse and dce
    };
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++)
        check_seed(s.first + 5000 + i, lists[i % 3], false, false);
}

static void test_unfused_programs(void **state) {
    (void)state;
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++)
        check_seed(s.first + i, "chunk,layout,fuse,schedule,memplan", true,
                   i % s.native_every == 0);
}

static const char bundled[] = "chunk,layout,fuse,schedule,bundle,memplan";

// The passes as they decide for GPUs, without one: bundles keep every bit.
static void test_bundled_programs(void **state) {
    (void)state;
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++) {
        OracleOptions o = {
            .passes = bundled, .seed = s.first + i, .target = "cuda", .skip_native = true};
        check_with(&o);
    }
}

// Every target in turn in the long tier; one in eight programs is unfused.
static void test_emulated_programs(void **state) {
    (void)state;
    static const char *const targets[] = {"sm_90a", "sm_80", "sm_120", "sm_89", "sm_100a"};
    Arena *a = arena_new();
    Text why = {.arena = a};
    if (!cuda_available(&why)) {
        printf("skipped programs on the emulated device: %s\n", why.at);
        arena_free(a);
        return;
    }
    Size s = size_of_run();
    uint32_t count = s.native_every == 1 ? s.count : s.count / 2;
    print_message("the first %u of them on the emulated device\n", count);
    for (uint32_t i = 0; i < count; i++) {
        OracleOptions o = {.passes = bundled,
                           .seed = s.first + i,
                           .emulated = targets[s.native_every == 1 ? i % 5 : 0],
                           .unfused = i % 8 == 7};
        check_with(&o);
    }
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowered_programs),  cmocka_unit_test(test_each_pass_left_out),
        cmocka_unit_test(test_unfused_programs),  cmocka_unit_test(test_bundled_programs),
        cmocka_unit_test(test_emulated_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

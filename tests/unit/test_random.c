// Random programs through the whole chain: exact interpreter = kernel evaluator = native code, fused
// and not, after the passes that must keep every bit. SINTER_LONG=1: 1,000 programs and native code for
// each; else a sample. SINTER_SEED chooses another stream; each failure names its seed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static void check_seed(uint64_t seed, const char *passes, bool gradients, bool unfused,
                       bool native) {
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    IrGen options = {.seed = seed, .nodes = 6 + (uint32_t)(seed % 40), .gradients = gradients};
    Module *m = irgen_module(a, symtab_new(a), d, &options);
    OracleOptions o = {.passes = passes,
                       .seed = seed,
                       .skip_native = !native,
                       .threads = 1 + (int)(seed % 3),
                       .unfused = unfused,
                       .cpu = seed % 2 ? "x86-64-v3" : NULL};
    Text why = {.arena = a}, before = {.arena = a};
    ir_print_module(&before, m);
    if (!oracle_check(m, &o, &why)) {
        fprintf(stderr, "%s\n", before.at);
        fail_msg("seed %llu: %s", (unsigned long long)seed, why.at ? why.at : "?");
    }
    arena_free(a);
}

static void test_lowered_programs(void **state) {
    (void)state;
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++)
        check_seed(s.first + i, "chunk,layout,fuse,schedule,memplan", false, false,
                   i % s.native_every == 0);
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
        check_seed(s.first + 5000 + i, lists[i % 3], false, false, false);
}

static void test_unfused_programs(void **state) {
    (void)state;
    Size s = size_of_run();
    for (uint32_t i = 0; i < s.count; i++)
        check_seed(s.first + i, "chunk,layout,fuse,schedule,memplan", false, true,
                   i % s.native_every == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowered_programs),
        cmocka_unit_test(test_each_pass_left_out),
        cmocka_unit_test(test_unfused_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

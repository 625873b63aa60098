// The first NaN of a run, as the device tells it with the results (SnCudaEnv): which op, on which line, at
// which element; the same for every order of warps and blocks, with graphs and command by command. The
// emulated device's own search for NaNs is off. What each kind of kernel stores in its word is compared
// with the evaluator in test_cuda_kernels.c, the line that a training run ends with in e2e/emulated.sh.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/mutants.h"
#include <stdio.h>

typedef struct {
    const char *input; // NULL: nothing
    int64_t element;
    float value;
} Planted;

// All inputs are ones beside what is planted.
typedef struct {
    const char *subject;
    Planted planted[2];
    const char *want; // NULL: no NaN
} FaultRow;

static const FaultRow rows[] = {
    {"map", {{0}}, NULL},
    {"map", {{"x", 700, -1}}, "'map/logs' (line 15) stored the first NaN, at element 700 of 1015"},
    {"map", {{"x", 0, -1}}, "'map/logs' (line 15) stored the first NaN, at element 0 of 1015"},
    {"map",
     {{"x", 900, -1}, {"x", 31, NAN}},
     "'map/logs' (line 15) stored the first NaN, at element 31 of 1015"},
    {"vectors",
     {{"x", 403, -1}},
     "'vectors/logs' (line 20) stored the first NaN, at element 403 of 1000"},
    {"vectors",
     {{"x", 406, -1}, {"x", 405, -1}},
     "'vectors/logs' (line 20) stored the first NaN, at element 405 of 1000"},
    {"bundle",
     {{"x", 204, -1}},
     "'bundle/first' (line 27) stored the first NaN, at element 1 of 5"},
    {"bundle",
     {{"z", 1014, -1}},
     "'bundle/second' (line 29) stored the first NaN, at element 4 of 5"},
    {"bundle",
     {{"z", 0, -1}, {"x", 1014, -1}},
     "'bundle/first' (line 27) stored the first NaN, at element 4 of 5"},
    {"two", {{"x", 208, -1}}, "'two/sums' (line 36) stored the first NaN, at element 5 of 203"},
    {"masked", {{"x", 5, INFINITY}}, NULL},
    {"masked", {{"x", 150, NAN}}, NULL},
    {"masked",
     {{"x", 99, NAN}},
     "'masked/scores' (line 46) stored the first NaN, at element 99 of 1015"},
    {"library",
     {{"x", 140, INFINITY}, {"x", 150, -INFINITY}},
     "'library/sums' (line 53) stored the first NaN, at element 2 of 33 (or 'library/product' "
     "(line 52), a product that it reads, which is not watched)"},
    {"ours", {{"z", 0, NAN}}, "'ours/scores' (line 60) stored the first NaN, at element 0 of 4800"},
};
enum { ROWS = sizeof rows / sizeof *rows };

// ---- one run -------------------------------------------------------------------------------------

static void give_ones(SnExec *x, const Planted *planted) {
    const SnPlan *p = sn_exec_plan(x);
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *t = &SN_AT(p, SnPort, inputs)[i];
        float *to = sn_exec_input(x, t);
        for (int64_t k = 0; k < t->bytes / 4; k++) to[k] = 1;
        for (int k = 0; planted && k < 2 && planted[k].input; k++)
            if (strcmp(planted[k].input, SN_STRING(p, t->name)) == 0)
                to[planted[k].element] = planted[k].value;
    }
}

// Run number `bad` of `runs` has what is planted. text: what the device says then; "" nothing.
static void run_all_of(const Subject *s, const Planted *planted, uint32_t bad, uint32_t runs,
                       char *text, size_t size) {
    const SnProgram programs[2] = {{.plan = s->plan,
                                    .images = s->images,
                                    .image_count = s->image_count,
                                    .emulator = &sn_emulator}};
    SnExec *x;
    SnError e = {0};
    if (sn_exec_open(programs, "emu:sm_90a", 2, &x, &e)) fail_msg("%s", e.text);
    for (uint32_t i = 0; i < runs; i++) {
        const SnEnv env = {.first = 1, .step = i + 1};
        give_ones(x, i == bad ? planted : NULL);
        if (sn_exec_run(x, s->name, &env, &e)) fail_msg("%s", e.text);
    }
    *text = '\0';
    bool found = sn_exec_first_nan(x, &s->name, 1, text, size);
    assert_int_equal(found, *text != '\0');
    if (sn_exec_wait(x, &e)) fail_msg("%s", e.text);
    sn_exec_free(x);
}

static void check(Arena *a, const Subject *s, const FaultRow *row, uint32_t bad, uint32_t runs) {
    char text[600];
    const char *want = row->want ? arena_printf(a, "in step %u %s", bad + 1, row->want) : "";
    run_all_of(s, row->planted, bad, runs, text, sizeof text);
    assert_string_equal(text, want);
}

// ---- tests ---------------------------------------------------------------------------------------

typedef struct {
    Arena *a;
    KernelProgram all;
    Subject at[ROWS];
    uint32_t n;
} FaultWorld;

static const Subject *subject_of(FaultWorld *w, const char *name) {
    for (uint32_t i = 0; i < w->n; i++)
        if (strcmp(w->at[i].name, name) == 0) return &w->at[i];
    w->at[w->n] = subject_new(w->a, &w->all, name);
    return &w->at[w->n++];
}

static void every_row(FaultWorld *w) {
    for (uint32_t i = 0; i < ROWS; i++) check(w->a, subject_of(w, rows[i].subject), &rows[i], 0, 1);
}

static void names_the_first(void **state) {
    FaultWorld *w = *state;
    every_row(w);
    assert_int_equal(w->n, w->all.sections.n); // none without a row
}

static void any_order_says_the_same(void **state) {
    static const char *const seeds[] = {"2", "3", "12345"};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        setenv("SINTER_EMU_SEED", seeds[i], 1);
        every_row(*state);
    }
    setenv("SINTER_EMU_SEED", "1", 1);
}

static void without_graphs(void **state) {
    setenv("SINTER_CUDA_GRAPHS", "off", 1);
    every_row(*state);
    setenv("SINTER_CUDA_GRAPHS", "on", 1);
}

// With all checks: the word is written by many blocks at once, which is no race, and nothing else of
// what a kernel is told may be written.
static void with_checks(void **state) {
    setenv("SINTER_SANITIZE", "on", 1);
    every_row(*state);
    setenv("SINTER_SANITIZE", "off", 1);
}

// The host is ahead of the device and asks at the end: no run is missed, the first one counts. From the
// third run on they are graphs.
static void any_run_is_seen(void **state) {
    FaultWorld *w = *state;
    const Subject *s = subject_of(w, "map");
    for (uint32_t runs = 1; runs < 9; runs++)
        for (uint32_t bad = 0; bad < runs; bad++) check(w->a, s, &rows[1], bad, runs);
}

// What the rows are about is there: a launch of two instances, products by the library and by us.
static void subjects_are_what_they_say(void **state) {
    FaultWorld *w = *state;
    const SnPlan *p = (const void *)subject_of(w, "bundle")->plan;
    assert_int_equal(SN_AT(p, SnCmd, cmds)[0].count, 2);
    p = (const void *)subject_of(w, "library")->plan;
    assert_false(sn_gemm_has(SN_AT(p, SnGemm, gemms), SN_GEMM_KERNEL));
    p = (const void *)subject_of(w, "ours")->plan;
    assert_true(sn_gemm_has(SN_AT(p, SnGemm, gemms), SN_GEMM_KERNEL));
}

static int set_up(void **state) {
    FaultWorld *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->a = arena_new();
    w->all = lower_module(w->a, parse_file(w->a, SOURCE_DIR "/tests/unit/faults.ir"));
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    FaultWorld *w = *state;
    arena_free(w->a);
    free(w);
    return 0;
}

int main(void) {
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool available = cuda_available(&why);
    if (!available) printf("skipped the fault word of CUDA programs: %s\n", why.at);
    arena_free(a);
    if (!available) return 77;
    setenv("SINTER_EMU_SEED", "1", 1);
    setenv("SINTER_CUDA_GRAPHS", "on", 1);
    setenv("SINTER_SANITIZE", "off", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_first), cmocka_unit_test(any_order_says_the_same),
        cmocka_unit_test(without_graphs),  cmocka_unit_test(with_checks),
        cmocka_unit_test(any_run_is_seen), cmocka_unit_test(subjects_are_what_they_say)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

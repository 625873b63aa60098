// Where the algorithms of a program's products come from, on the emulated device, whose products have the
// same bits by every algorithm: the library's first choice, what --tune measures, what an earlier run
// left. Whatever the file holds, the run computes what it computes without one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/cuda/cuda.h"
#include "runtime/emulator/emulator.h"
#include "tests/oracle/emulated.h"
#include "tests/unit/mutants.h"
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

// Five products that cuBLASLt does, two of one shape: one with a bias, one in tf32, one onto an accumulator. All
// but the last are long enough for the algorithm that splits k, which is the library's first choice there.
static const char text[] = "axis m = 32\n"
                           "axis k = 640\n"
                           "axis n = 48\n"
                           "state weight : f32[k=640, n=48] accum\n"
                           "state shift : f32[n=48] param\n"
                           "func step {\n"
                           "  %0 = input : f32[m=32, k=640] {name=x}\n"
                           "  %1 = input : f32[k=640, n=48] {name=w}\n"
                           "  %2 = input : f32[m=32, n=48] {name=dy}\n"
                           "  %3 = input : f32[k=640, n=48] {name=v}\n"
                           "  %4 = state : f32[n=48] {state=shift}\n"
                           "  %5 = contract %0, %1 : f32[m=32, n=48] {axes=(k)} \"product\"\n"
                           "  %6 = add %5, %4 : f32[m=32, n=48] \"biased\"\n"
                           "  %7 = contract %0, %3 : f32[m=32, n=48] {axes=(k)} \"other\"\n"
                           "  %8 = contract %0, %1 : f32[m=32, n=48] {axes=(k)} \"same\"\n"
                           "  %9 = contract %0, %1 : f32[m=32, n=48] {axes=(k), tf32=1} \"short\"\n"
                           "  %10 = state : f32[k=640, n=48] {state=weight}\n"
                           "  %11 = contract %0, %2, %10 : f32[k=640, n=48] {axes=(m)} \"dw\"\n"
                           "  %12 = assign %11 : f32[k=640, n=48] {state=weight}\n"
                           "  value y = %6\n"
                           "  value z = %7\n"
                           "  value u = %8\n"
                           "  value t = %9\n"
                           "}\n";
enum { SHAPES = 4 };

typedef struct {
    Arena *a;
    KernelProgram kernels;
    Emulated x;
    char folder[64], path[PATH_MAX];
    Text bits; // of all results of a run that nothing was measured for
} TuneFixture;

static const char *cache_of(const TuneFixture *f) {
    return arena_printf(f->a, "%s/sinter", f->folder);
}

static const SnLtOwner owner = {.device = "emulated sm_90a", .sm = 90, .library = 130100};

// ---- a run --------------------------------------------------------------------------------------

typedef SnStatus (*OpenFn)(const SnProgram *, const char *, int, SnExec **, SnError *);
typedef struct {
    const char *note;
    uint32_t first, measured, cached, refused, lines;
} TuneSeen;

static void count_lines(SnExec *x, TuneSeen *to) {
    char line[768];
    while (sn_exec_decided(x, to->lines, line, sizeof line)) {
        to->lines++;
        to->refused += strstr(line, ": first choice, for the cache's is refused,") != NULL;
        to->first += strstr(line, ": first choice, algorithm ") != NULL;
        to->measured += strstr(line, ": measured, ") != NULL;
        to->cached += strstr(line, ": cache, ") != NULL;
    }
}

static void take_bits(const TuneFixture *f, SnExec *x, Text *to) {
    SnError e = {0};
    if (give_parameters(x, &e)) fail_msg("%s", e.text);
    for (uint64_t i = 0; i < RUNS; i++) {
        const SnEnv env = {.first = i == 0, .step = 1};
        give_inputs(x, i);
        if (sn_exec_run(x, "step", &env, &e)) fail_msg("%s", e.text);
    }
    const SnPlan *p = (const SnPlan *)(const void *)f->x.programs[0].plan;
    if (take_results(x, p, to, &e)) fail_msg("%s", e.text);
}

// Opens the device, runs, and compares the bits with the fixture's.
static TuneSeen run(const TuneFixture *f, OpenFn open) {
    SnExec *x = NULL;
    SnError e = {0};
    TuneSeen seen = {0};
    Text bits = {.arena = f->a};
    if (open(f->x.programs, "emu:sm_90a", 2, &x, &e)) fail_msg("%s", e.text);
    seen.note = arena_printf(f->a, "%s", sn_exec_note(x));
    count_lines(x, &seen);
    take_bits(f, x, &bits);
    sn_exec_free(x);
    assert_int_equal(bits.n, f->bits.n);
    assert_memory_equal(bits.at, f->bits.at, bits.n);
    assert_int_equal(seen.lines, SHAPES + (getenv("XDG_CACHE_HOME") != NULL)); // and the file
    return seen;
}

static void expect(const TuneSeen *s, uint32_t first, uint32_t measured, uint32_t cached) {
    if (s->first != first || s->measured != measured || s->cached != cached)
        fail_msg("%u first choices, %u measured, %u of the cache", s->first, s->measured,
                 s->cached);
}

// ---- the fixture --------------------------------------------------------------------------------

static int set_up(void **state) {
    TuneFixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->a = arena_new();
    strcpy(f->folder, "/tmp/sinter-tune-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    setenv("XDG_CACHE_HOME", f->folder, 1);
    assert_true(sn_choices_path(&owner, f->path, sizeof f->path));
    Diag *d = diag_new(f->a);
    uint16_t file = diag_add_file(d, "test.ir", text, sizeof text - 1, false);
    Module *m = ir_parse(f->a, symtab_new(f->a), d, file);
    if (!m) diag_print(d, stderr, false);
    assert_non_null(m);
    f->kernels = lower_module(f->a, m);
    const EmulatedOptions how = {.target = "sm_90a"};
    Text why = {.arena = f->a};
    if (!emulated_open(f->a, &f->kernels, &how, &f->x, &why)) fail_msg("%s", why.at);
    f->bits = (Text){.arena = f->a};
    take_bits(f, f->x.exec, &f->bits);
    sn_exec_free(f->x.exec);
    f->x.exec = NULL;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    TuneFixture *f = *state;
    setenv("XDG_CACHE_HOME", f->folder, 1);
    remove(f->path);
    rmdir(cache_of(f));
    rmdir(f->folder);
    emulated_close(&f->x);
    arena_free(f->a);
    free(f);
    return 0;
}

static int forget(void **state) {
    const TuneFixture *f = *state;
    setenv("XDG_CACHE_HOME", f->folder, 1);
    remove(f->path);
    return 0;
}

static void overwrite(const TuneFixture *f, const char *bytes, size_t n) {
    FILE *to = fopen(f->path, "wb");
    assert_non_null(to);
    assert_int_equal(fwrite(bytes, 1, n, to), n);
    assert_int_equal(fclose(to), 0);
}

// ---- sources ------------------------------------------------------------------------------------

static void unasked(void **state) {
    const TuneFixture *f = *state;
    TuneSeen s = run(f, sn_exec_open);
    expect(&s, SHAPES, 0, 0);
    assert_string_equal(s.note, "");
    assert_int_equal(access(f->path, F_OK), -1); // nothing is written
}

static void measured_and_remembered(void **state) {
    const TuneFixture *f = *state;
    TuneSeen s = run(f, sn_exec_tune);
    expect(&s, 0, SHAPES, 0);
    assert_string_equal(s.note, "");
    size_t n, again;
    const char *before = read_file(f->a, f->path, &n);
    s = run(f, sn_exec_open);
    expect(&s, 0, 0, SHAPES);
    assert_string_equal(s.note, "");
    const char *after = read_file(f->a, f->path, &again);
    assert_int_equal(n, again); // reading changes nothing
    assert_memory_equal(before, after, n);
    s = run(f, sn_exec_tune); // measures anew
    expect(&s, 0, SHAPES, 0);
}

// Looks at or changes what the file holds of each product.
static void visit_all(const TuneFixture *f, void (*visit)(const char *key, SnLtKnown *k)) {
    SnLtChoices *c = NULL;
    SnError e = {0};
    assert_int_equal(sn_choices_open(&owner, &c, &e), SN_OK);
    char *lines = read_file(f->a, f->path, NULL);
    int n = 0;
    for (char *line = strtok(lines, "\n"); (line = strtok(NULL, "\n")); n++) {
        for (int i = 0; i < 5; i++) line = strchr(line, ' ') + 1;
        SnLtKnown k = *sn_choices_find(c, line);
        visit(line, &k);
        assert_int_equal(sn_choices_put(c, line, &k, &e), SN_OK);
    }
    assert_int_equal(n, SHAPES);
    assert_int_equal(sn_choices_save(c, &e), SN_OK);
    sn_choices_free(c);
}

// The emulated library's algorithms have their number in data[1]; 0 splits k, which needs a workspace.
static void is_fastest(const char *key, SnLtKnown *k) {
    uint64_t first = strstr(key, "acc") ? 1 : 0;
    assert_int_equal(k->tried, first ? 2 : 3);
    assert_true(k->ns > 0 && k->ns <= k->first_ns);
    if (k->ns < k->first_ns) assert_int_not_equal(k->algo.data[1], first);
}

static void the_fastest_is_kept(void **state) {
    const TuneFixture *f = *state;
    for (int i = 0; i < 5; i++) {
        run(f, sn_exec_tune);
        visit_all(f, is_fastest);
    }
}

static void split(const char *key, SnLtKnown *k) {
    if (!strstr(key, "acc")) k->algo.data[1] = 0;
}

// What was measured with a larger workspace than this plan has is not taken.
static void smaller_workspace(void **state) {
    const TuneFixture *f = *state;
    SnPlan *plan = (SnPlan *)(uintptr_t)f->x.programs[0].plan;
    int64_t bytes = plan->workspace;
    run(f, sn_exec_tune);
    visit_all(f, split);
    TuneSeen s = run(f, sn_exec_open);
    expect(&s, 0, 0, SHAPES);
    plan->workspace = 256;
    s = run(f, sn_exec_open);
    plan->workspace = bytes;
    expect(&s, 0, 0, 1);
    assert_int_equal(s.refused, SHAPES - 1);
}

static void other_problem(const char *key, SnLtKnown *k) { (void)key, k->algo.data[2]++; }
static void other_device(const char *key, SnLtKnown *k) { (void)key, k->algo.data[3] = 80; }
static void nothing_at_all(const char *key, SnLtKnown *k) {
    (void)key, memset(&k->algo, 0xee, sizeof k->algo);
}

static void refused_algorithms(void **state) {
    const TuneFixture *f = *state;
    void (*const all[])(const char *, SnLtKnown *) = {other_problem, other_device, nothing_at_all};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        run(f, sn_exec_tune);
        visit_all(f, all[i]);
        TuneSeen s = run(f, sn_exec_open);
        assert_int_equal(s.refused, SHAPES);
        expect(&s, 0, 0, 0);
        assert_non_null(strstr(s.note, "cuBLASLt refuses the cache's algorithm of 4 products"));
        s = run(f, sn_exec_tune); // mends the file
        expect(&s, 0, SHAPES, 0);
        assert_string_equal(s.note, "");
        s = run(f, sn_exec_open);
        expect(&s, 0, 0, SHAPES);
    }
}

static void another_library(void **state) {
    const TuneFixture *f = *state;
    SnLtOwner newer = owner;
    newer.library++;
    char path[PATH_MAX];
    assert_true(sn_choices_path(&newer, path, sizeof path));
    run(f, sn_exec_tune);
    assert_int_equal(rename(f->path, path), 0); // as if the library had been another one
    TuneSeen s = run(f, sn_exec_open);
    expect(&s, SHAPES, 0, 0);
    assert_string_equal(s.note, "");
    assert_int_equal(remove(path), 0);
}

static void damaged_files(void **state) {
    const TuneFixture *f = *state;
    size_t n;
    run(f, sn_exec_tune);
    char *whole = read_file(f->a, f->path, &n);
    whole[n - 2] ^= 1; // of the last line
    overwrite(f, whole, n);
    TuneSeen s = run(f, sn_exec_open);
    expect(&s, 1, 0, SHAPES - 1);
    assert_non_null(strstr(s.note, "1 of its lines are damaged and ignored"));
    overwrite(f, whole, n / 2);
    s = run(f, sn_exec_open);
    assert_true(s.first > 0 && s.first + s.cached == SHAPES);
    overwrite(f, whole, 0);
    s = run(f, sn_exec_open);
    expect(&s, SHAPES, 0, 0);
    assert_non_null(strstr(s.note, "not of this device and library, or of another version"));
}

static void random_bytes(void **state) {
    const TuneFixture *f = *state;
    enum { FILES = 40 };
    size_t n;
    run(f, sn_exec_tune);
    const char *whole = read_file(f->a, f->path, &n);
    for (uint64_t seed = 0; seed < FILES; seed++) {
        char *bytes = arena_str(f->a, whole, n);
        size_t from = seed % 2 ? strcspn(whole, "\n") + 1 : 0; // with the first line, or without
        uint32_t many = seed % 4 < 2 ? 3 : (uint32_t)n;
        for (uint32_t i = 0; i < many; i++)
            bytes[from + mixed(2 * seed << 32 | i) % (n - from)] =
                (char)mixed((2 * seed + 1) << 32 | i);
        overwrite(f, bytes, n);
        TuneSeen s = run(f, sn_exec_open);
        if (s.first + s.cached != SHAPES || s.refused) fail_msg("seed %d", (int)seed);
    }
}

static void nowhere_to_keep(void **state) {
    const TuneFixture *f = *state;
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    TuneSeen s = run(f, sn_exec_tune);
    expect(&s, 0, SHAPES, 0);
    assert_non_null(strstr(s.note, "serve this run and are not kept: '/dev/null/sinter'"));
    const char *home = getenv("HOME");
    home = home ? arena_printf(f->a, "%s", home) : NULL;
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    s = run(f, sn_exec_tune);
    expect(&s, 0, SHAPES, 0);
    assert_non_null(strstr(s.note, "neither XDG_CACHE_HOME nor HOME names a folder"));
    s = run(f, sn_exec_open);
    expect(&s, SHAPES, 0, 0);
    assert_string_equal(s.note, "");
    if (home) setenv("HOME", home, 1);
}

// Both measure, both write; what is left is whole.
static void two_processes(void **state) {
    const TuneFixture *f = *state;
    pid_t child[2];
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i]) continue;
        SnExec *x = NULL;
        SnError e = {0};
        bool good = !sn_exec_tune(f->x.programs, "emu:sm_90a", 1, &x, &e) && !*sn_exec_note(x);
        _exit(good ? 0 : 1);
    }
    for (int i = 0; i < 2; i++) {
        int status = 0;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    TuneSeen s = run(f, sn_exec_open);
    expect(&s, 0, 0, SHAPES);
    assert_string_equal(s.note, "");
}

// Measuring wrote to no byte of the run's memory: what a run forgets to write is still found.
static void nothing_is_hidden(void **state) {
    const TuneFixture *f = *state;
    SnExec *x = NULL;
    SnError e = {0};
    const SnEnv env = {.first = 1, .step = 1};
    assert_int_equal(sn_exec_tune(f->x.programs, "emu:sm_90a", 2, &x, &e), SN_OK);
    give_inputs(x, 0); // and no parameters
    SnStatus s = sn_exec_run(x, "step", &env, &e);
    if (!s) s = sn_exec_wait(x, &e);
    assert_int_equal(s, SN_MACHINE);
    assert_non_null(strstr(e.text, "uninitialised"));
    sn_exec_free(x);
}

static void open_with(const TuneFixture *f, uint64_t memory, bool tune, uint64_t *bytes) {
    const SnEmulatorConfig c = {
        .sm = 90, .arch = true, .check = true, .memory = memory, .threads = 1};
    const SnCudaChoice choice = {.api = sn_emulator_api(), .from_ptx = true, .tune = tune};
    SnDevice *d;
    SnError e = {0};
    assert_true(sn_emulator_configure(&c));
    if (sn_cuda_device(&f->x.programs[0], &choice, &d, &e)) fail_msg("%s", e.text);
    *bytes = (uint64_t)d->bytes;
    d->ops->free(d);
}

// Measuring needs no more memory than the run.
static void memory_is_given_back(void **state) {
    const TuneFixture *f = *state;
    uint64_t bytes, again;
    open_with(f, UINT64_C(1) << 30, false, &bytes);
    open_with(f, bytes + (65 << 20), true, &again); // 64 MiB are the driver's
    assert_int_equal(bytes, again);
}

static void the_file_is_named(void **state) {
    const TuneFixture *f = *state;
    char path[PATH_MAX] = "";
    SnError e = {0};
    assert_int_equal(sn_device_choices(f->x.programs, "emu:sm_90a", path, sizeof path, &e), SN_OK);
    assert_string_equal(path, f->path);
    assert_int_equal(sn_device_choices(f->x.programs, "cpu", path, sizeof path, &e), SN_USER);
    assert_int_equal(sn_device_choices(f->x.programs, "gpu", path, sizeof path, NULL), SN_USER);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, forget)
    const struct CMUnitTest tests[] = {
        TEST(unasked),
        TEST(measured_and_remembered),
        TEST(refused_algorithms),
        TEST(another_library),
        TEST(damaged_files),
        TEST(random_bytes),
        TEST(nowhere_to_keep),
        TEST(two_processes),
        TEST(the_fastest_is_kept),
        TEST(smaller_workspace),
        TEST(nothing_is_hidden),
        TEST(the_file_is_named),
        TEST(memory_is_given_back),
    };
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool there = cuda_available(&why);
    if (!there) printf("skipped measuring products: %s\n", why.at);
    arena_free(a);
    return there ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}

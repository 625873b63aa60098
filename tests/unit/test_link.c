// Objects on disk and executables: what is written runs, is the same in every build, and failures
// (no linker, no such input, no room) are plain messages that leave no file behind.
#include "codegen/link.h"
#include "runtime/plan.h"
#include "tests/unit/cpu_suite.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static const char main_text[] = "#include <stdio.h>\n"
                                "extern const struct {\n"
                                "    const char *plan;\n"
                                "    void (*const *functions)(void);\n"
                                "    const void *images;\n"
                                "    unsigned long image_count;\n"
                                "    const void *emulator;\n"
                                "} sn_programs[];\n"
                                "int main(void) {\n"
                                "    float in[64], out[64];\n"
                                "    void *bufs[] = {in, out};\n"
                                "    long env[4] = {0};\n"
                                "    for (int i = 0; i < 64; i++) in[i] = i;\n"
                                "    void (*f)(void **, void *, long, long, void *) = (void "
                                "(*)(void **, void *, long, long, void *))"
                                "sn_programs[0].functions[0];\n"
                                "    f(bufs, env, 0, 1, 0);\n"
                                "    printf(\"%s %g %g %d\\n\", sn_programs[0].plan, out[1], "
                                "out[63], !sn_programs[0].functions[2] && !sn_programs[1].plan);\n"
                                "    return 0;\n"
                                "}\n";

// A kernel that negates 64 numbers, and one that takes their roots.
static bool write_kernels(Arena *a, const char *path, Text *why) {
    Suite *s = suite_new();
    for (int i = 0; i < 2; i++) {
        KernelCase *c = case_new(s, i ? "root" : "negate", KORDER_rows, 1);
        extents(c, 1, (int64_t[]){1, 64});
        KIndex x = at(c, (int64_t[]){64, 1});
        KId v = load(s, c, arg(s, c, ELEM_f32, KARG_in, 64), x, NONE);
        KId y = scalar(s, c, i ? OP_sqrt : OP_neg, ELEM_f32, ELEM_f32, v, NONE, NONE);
        store(s, c, 0, arg(s, c, ELEM_f32, KARG_out, 64), x, y, NONE);
    }
    finish(s);
    CpuIsa isa;
    assert_true(cpu_isa_resolve(a, "x86-64-v3", &isa, why));
    CpuModule *m = cpu_module_new(a, &isa);
    for (uint32_t i = 0; i < s->n; i++) assert_int_equal(cpu_add_kernel(m, s->cases[i].k), i);
    const ObjectProgram program = {.plan = "the plan", .plan_size = sizeof "the plan"};
    bool good = cpu_write_object(m, &program, 1, path, why);
    cpu_module_free(m);
    arena_free(s->arena);
    return good;
}

typedef struct {
    Arena *a;
    char dir[64];
    const char *object, *main, *out;
} Folder;

static Folder folder_new(void) {
    Folder p = {.a = arena_new(), .dir = "/tmp/sinter-link-XXXXXX"};
    assert_non_null(mkdtemp(p.dir));
    p.object = arena_printf(p.a, "%s/kernels.o", p.dir);
    p.main = arena_printf(p.a, "%s/main.c", p.dir);
    p.out = arena_printf(p.a, "%s/out", p.dir);
    FILE *f = fopen(p.main, "w");
    assert_non_null(f);
    assert_true(fputs(main_text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return p;
}

// The directory must be empty but for what the test made: nothing temporary stays.
static void folder_free(Folder *p) {
    remove(p->object);
    remove(p->main);
    remove(p->out);
    assert_int_equal(rmdir(p->dir), 0);
    arena_free(p->a);
}

static size_t read_file(Arena *a, const char *path, char **data) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *data = arena_alloc(a, 1 << 20);
    size_t n = fread(*data, 1, 1 << 20, f);
    fclose(f);
    return n;
}

static void test_executable(void **state) {
    (void)state;
    Folder p = folder_new();
    Text why = {.arena = p.a};
    char *bytes[2], line[100] = "";
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        assert_true(write_kernels(p.a, p.object, &why));
        const char *inputs[] = {p.object, p.main, NULL};
        if (!link_executable(inputs, p.out, &why)) fail_msg("%s", why.at);
        n[i] = read_file(p.a, p.out, &bytes[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    FILE *f = popen(p.out, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(pclose(f), 0);
    assert_string_equal(line, "the plan -1 -63 1\n");
    folder_free(&p);
}

static void test_no_input(void **state) {
    (void)state;
    Folder p = folder_new();
    Text why = {.arena = p.a};
    const char *inputs[] = {p.object, p.main, NULL};
    assert_false(link_executable(inputs, p.out, &why));
    assert_non_null(strstr(why.at, "cannot link"));
    assert_non_null(strstr(why.at, "kernels.o"));
    folder_free(&p);
}

static void test_no_linker(void **state) {
    (void)state;
    Folder p = folder_new();
    Text why = {.arena = p.a};
    const char *inputs[] = {p.main, NULL};
    const char *path = arena_printf(p.a, "%s", getenv("PATH"));
    setenv("PATH", p.dir, 1);
    bool linked = link_executable(inputs, p.out, &why);
    setenv("PATH", path, 1);
    assert_false(linked);
    assert_string_equal(why.at, "cannot run the linker 'cc': No such file or directory");
    folder_free(&p);
}

static void test_no_room(void **state) {
    (void)state;
    Folder p = folder_new();
    Text why = {.arena = p.a};
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 500;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool wrote = write_kernels(p.a, p.object, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(wrote);
    assert_non_null(strstr(why.at, "cannot write"));
    assert_int_not_equal(access(p.object, F_OK), 0);
    folder_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_executable),
        cmocka_unit_test(test_no_input),
        cmocka_unit_test(test_no_linker),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

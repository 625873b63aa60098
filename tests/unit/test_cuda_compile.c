// Compiling CUDA C: the cache and its damages, the report, and what happens without NVRTC. Parts that
// need NVRTC say so and are skipped where it is missing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cuda/cache.h"
#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include "codegen/cuda/report.h"
#include "tests/unit/files.h"
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    Arena *arena;
    char dir[64]; // of this test, empty at its start
} CompileWorld;

static int set_up(void **state) {
    CompileWorld *w = calloc(1, sizeof *w);
    if (!w) return -1;
    w->arena = arena_new();
    snprintf(w->dir, sizeof w->dir, "/tmp/sinter-cache-XXXXXX");
    *state = w;
    return mkdtemp(w->dir) ? 0 : -1;
}

static uint32_t files_in(const char *dir, bool erase) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    uint32_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        n++;
        if (erase) remove(path);
    }
    closedir(d);
    return n;
}

static int tear_down(void **state) {
    CompileWorld *w = *state;
    files_in(w->dir, true);
    rmdir(w->dir);
    arena_free(w->arena);
    free(w);
    return 0;
}

// ---- the cache ----------------------------------------------------------------------------------

static CacheKey key_of(const char *text) {
    CacheKey k;
    assert_true(cache_key(text, strlen(text), "nvrtc 13.0 sm_90a", &k));
    return k;
}

static CacheEntry entry_of(const char *ptx, const char *cubin, const char *log) {
    return (CacheEntry){{ptx, cubin, log}, {strlen(ptx), strlen(cubin), strlen(log)}};
}

static const char *path_of(CompileWorld *w, const CacheKey *k) {
    static const size_t size = 512;
    char *path = arena_alloc(w->arena, size);
    assert_true(cache_path(w->dir, k, path, size));
    return path;
}

static void write_file(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void keys_differ(void **state) {
    (void)state;
    CacheKey a = key_of("abc"), b = key_of("abd"), c, d;
    assert_true(cache_key("abc", 3, "nvrtc 13.0 sm_90a", &c));
    assert_memory_equal(&a, &c, sizeof a);
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_true(cache_key("abc", 3, "nvrtc 13.1 sm_90a", &d));
    assert_memory_not_equal(&a, &d, sizeof a);
    assert_true(cache_key("aabc", 4, "nvrtc 13.0 sm_90", &d)); // not one string after the other
    assert_memory_not_equal(&a, &d, sizeof a);
}

static void hit_and_miss(void **state) {
    CompileWorld *w = *state;
    CacheKey k = key_of("a"), other = key_of("b");
    CacheEntry e = entry_of("some ptx", "", "a log"), got;
    assert_false(cache_read(w->arena, w->dir, &k, &got));
    assert_true(cache_write(w->dir, &k, &e));
    assert_true(cache_read(w->arena, w->dir, &k, &got));
    assert_string_equal(got.at[CACHE_ptx], "some ptx");
    assert_string_equal(got.at[CACHE_log], "a log");
    assert_int_equal(got.n[CACHE_ptx], 8);
    assert_int_equal(got.n[CACHE_cubin], 0);
    assert_false(cache_read(w->arena, w->dir, &other, &got));
    assert_int_equal(files_in(w->dir, false), 1); // no temporary file stays
}

// Every single damaged byte, every length, and bytes behind the end are noticed; then the entry is
// written again.
static void damaged_entries(void **state) {
    CompileWorld *w = *state;
    CacheKey k = key_of("a");
    CacheEntry e = entry_of("ptx!", "cubin", "log"), got;
    assert_true(cache_write(w->dir, &k, &e));
    const char *path = path_of(w, &k);
    size_t n;
    char *good = read_file(w->arena, path, &n), *bad = arena_alloc(w->arena, n + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, good, n);
        bad[i] = (char)(bad[i] ^ (1 << (i % 8)));
        write_file(path, bad, n);
        assert_false(cache_read(w->arena, w->dir, &k, &got));
        write_file(path, good, i); // truncated
        assert_false(cache_read(w->arena, w->dir, &k, &got));
    }
    memcpy(bad, good, n);
    bad[n] = 0;
    write_file(path, bad, n + 1);
    assert_false(cache_read(w->arena, w->dir, &k, &got));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); // nobody writes into it: not waited for
    alarm(20);
    assert_false(cache_read(w->arena, w->dir, &k, &got));
    alarm(0);
    assert_true(cache_write(w->dir, &k, &e));
    assert_true(cache_read(w->arena, w->dir, &k, &got));
}

static void entry_of_another_key(void **state) {
    CompileWorld *w = *state;
    CacheKey k = key_of("a"), other = key_of("b");
    CacheEntry e = entry_of("ptx", "cubin", "log"), got;
    assert_true(cache_write(w->dir, &other, &e));
    assert_int_equal(rename(path_of(w, &other), path_of(w, &k)), 0);
    assert_false(cache_read(w->arena, w->dir, &k, &got));
}

enum { WRITES = 300, WRITERS = 2 };
static void write_many(const char *dir, const CacheKey *k, int who) {
    static char text[WRITERS][40000];
    for (int i = 0; i < WRITES; i++) {
        memset(text[who], 'a' + who, sizeof text[who]);
        size_t n = who ? sizeof text[who] : 10;
        CacheEntry e = {{text[who], "", ""}, {n, 0, 0}};
        if (!cache_write(dir, k, &e)) _exit(1);
    }
    _exit(0);
}

// A reader sees a whole entry of one of the writers at any time.
static void writers_at_once(void **state) {
    CompileWorld *w = *state;
    CacheKey k = key_of("a");
    CacheEntry first = entry_of("first", "", ""), got;
    assert_true(cache_write(w->dir, &k, &first));
    pid_t child[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        if ((child[i] = fork()) == 0) write_many(w->dir, &k, i);
    for (int i = 0; i < WRITES; i++) {
        Arena *a = arena_new();
        assert_true(cache_read(a, w->dir, &k, &got));
        char c = got.at[CACHE_ptx][0];
        assert_int_equal(got.n[CACHE_ptx], c == 'f' ? 5 : c == 'a' ? 10 : 40000);
        arena_free(a);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = -1;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(files_in(w->dir, false), 1);
}

static void directories(void **state) {
    CompileWorld *w = *state;
    CacheKey k = key_of("a");
    CacheEntry e = entry_of("ptx", "", ""), got;
    assert_false(cache_write("/dev/null/cache", &k, &e)); // cannot be made
    assert_false(cache_read(w->arena, "/dev/null/cache", &k, &got));
    if (geteuid() != 0) { // root writes anyway
        assert_int_equal(chmod(w->dir, 0555), 0);
        assert_false(cache_write(w->dir, &k, &e));
        assert_int_equal(chmod(w->dir, 0755), 0);
    }
    const char *deep = arena_printf(w->arena, "%s/x/y", w->dir);
    assert_true(cache_write(deep, &k, &e));
    assert_true(cache_read(w->arena, deep, &k, &got));
    files_in(deep, true);
    rmdir(deep);
}

// ---- the report ---------------------------------------------------------------------------------

static LogReport parse(CompileWorld *w, const char *log) {
    LogReport r = {.warnings = {.arena = w->arena}};
    report_parse(w->arena, log, strlen(log), "batch 3, sm_90a", &r);
    return r;
}

static void report_of_two(void **state) {
    LogReport r = parse(
        *state,
        "ptxas info    : 0 bytes gmem\n"
        "ptxas info    : Compiling entry function 'k8' for 'sm_90a'\n"
        "ptxas info    : Function properties for k8\n"
        "ptxas         .     400 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 32 registers, used 0 barriers, 400 bytes cumulative stack size\n"
        "ptxas info    : Compile time = 50.283 ms\n"
        "ptxas info    : Compiling entry function 'k7' for 'sm_90a'\n"
        "ptxas info    : Function properties for k7\n"
        "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 127 registers, used 1 barriers, 25600 bytes smem\n");
    assert_int_equal(r.functions.n, 2);
    CudaReport *k7 = &r.functions.at[0], *k8 = &r.functions.at[1];
    assert_true(k7->function == 7 && k7->registers == 127 && k7->shared == 25600);
    assert_true(k7->stack == 0 && k7->spill_stores == 0 && k7->spill_loads == 0);
    assert_true(k8->function == 8 && k8->registers == 32 && k8->shared == 0);
    assert_true(k8->stack == 400 && k8->spill_stores == 12 && k8->spill_loads == 16);
    assert_int_equal(r.warnings.n, 0);
}

// Versions before 13 begin the line of spills with blanks and name no barriers.
static void report_of_older_version(void **state) {
    LogReport r =
        parse(*state, "ptxas info    : Compiling entry function 'k0' for 'sm_80'\n"
                      "ptxas info    : Function properties for k0\n"
                      "    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
                      "ptxas info    : Used 40 registers, 17408 bytes smem, 384 bytes cmem[0]");
    assert_int_equal(r.functions.n, 1);
    CudaReport *k = r.functions.at;
    assert_true(k->registers == 40 && k->shared == 17408);
    assert_true(k->spill_stores == 8 && k->spill_loads == 4);
}

static void report_of_warnings(void **state) {
    static const char log[] =
        "kernels.cu(3): warning #550-D: variable \"x\" was set but never used\n"
        "  int x = 0;\n"
        "      ^\n"
        "\n"
        "Remark: The warnings can be suppressed with \"-diag-suppress <warning-number>\"\n"
        "\n"
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
        "serialized due to insufficient register resources\n"
        "ptxas info    : Compiling entry function 'other' for 'sm_90a'\n"
        "ptxas info    : Used 1 registers";
    LogReport r = parse(*state, log);
    assert_int_equal(r.functions.n, 0); // not a function of ours
    assert_string_equal(
        r.warnings.at,
        "batch 3, sm_90a: kernels.cu(3): warning #550-D: variable \"x\" was set but never used\n"
        "batch 3, sm_90a: ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async "
        "instructions are serialized due to insufficient register resources\n");
}

static void report_of_nothing(void **state) {
    LogReport r = parse(*state, "");
    assert_true(r.functions.n == 0 && r.warnings.n == 0);
    r = parse(*state,
              "\n\nptxas info : Compiling entry function 'k\nentry function 'k99999999999'");
    assert_int_equal(r.functions.n, 0);
}

// ---- targets and NVRTC --------------------------------------------------------------------------

static void targets(void **state) {
    (void)state;
    uint32_t n = 0;
    for (const CudaTarget *t; (t = cuda_target_at(n)); n++)
        assert_ptr_equal(cuda_target_find(t->name, strlen(t->name)), t);
    assert_int_equal(n, 5);
    assert_null(cuda_target_find("sm_90", 5));
    assert_null(cuda_target_find("sm_100ab", 8));
    assert_true(cuda_target_find("sm_100a, ", 7)->sm == 100);
    assert_null(cuda_target_find("", 0));
}

static void add(CudaModule *m, const char *body) {
    uint32_t function, batch;
    Text *t = cuda_module_open_function(m, "test", CUDA_kernel, &function, &batch);
    text_printf(t, "extern \"C\" __global__ void k%u(const Env *env, float *x) { %s }\n", function,
                body);
}

static bool compile(CompileWorld *w, CudaModule *m, const char *target, bool ptx_only,
                    const char *dir, CudaImages *out, Text *why) {
    const CudaTarget *t = cuda_target_find(target, strlen(target));
    assert_non_null(t);
    CudaCompile how = {&t, 1, ptx_only, dir, 2};
    *why = (Text){.arena = w->arena};
    return cuda_compile(w->arena, m, &how, out, why);
}

static void without_nvrtc(void **state) {
    CompileWorld *w = *state;
    CudaModule *m = cuda_module_new(w->arena);
    CudaImages out;
    Text why;
    add(m, "x[0] = 1.0f;");
    setenv("SINTER_NVRTC", "/nowhere/libnvrtc.so", 1);
    bool good = compile(w, m, "sm_90a", true, NULL, &out, &why);
    unsetenv("SINTER_NVRTC");
    assert_false(good);
    assert_non_null(strstr(why.at, "cannot load NVRTC from $SINTER_NVRTC: /nowhere/libnvrtc.so"));
}

// A library that loads but is no NVRTC.
static void another_library(void **state) {
    CompileWorld *w = *state;
    Nvrtc rt;
    Text why = {.arena = w->arena};
    setenv("SINTER_NVRTC", "libc.so.6", 1);
    bool good = nvrtc_open(&rt, &why);
    unsetenv("SINTER_NVRTC");
    assert_false(good);
    assert_string_equal(why.at, "NVRTC has no nvrtcGetErrorString: it is too old");
}

static bool have_nvrtc(CompileWorld *w, const char *what) {
    Nvrtc rt;
    Text why = {.arena = w->arena};
    if (nvrtc_open(&rt, &why)) return true;
    printf("skipped %s: %s\n", what, why.at);
    return false;
}

static void unsupported_target(void **state) {
    CompileWorld *w = *state;
    if (!have_nvrtc(w, "a target that NVRTC does not know")) return;
    Nvrtc rt;
    Text why = {.arena = w->arena};
    assert_true(nvrtc_open(&rt, &why));
    CudaTarget future = {"sm_999", 999, false}, past = {"sm_20", 20, false};
    assert_false(nvrtc_supports(&rt, &future, &why));
    assert_non_null(strstr(why.at, "does not compile for sm_999: a newer CUDA toolkit is needed"));
    why = (Text){.arena = w->arena};
    assert_false(nvrtc_supports(&rt, &past, &why));
    assert_null(strstr(why.at, "newer"));
}

static void broken_text(void **state) {
    CompileWorld *w = *state;
    if (!have_nvrtc(w, "text that does not compile")) return;
    CudaModule *m = cuda_module_new(w->arena);
    CudaImages out;
    Text why;
    add(m, "x[0] = undeclared;");
    assert_false(compile(w, m, "sm_90a", true, w->dir, &out, &why));
    assert_non_null(strstr(why.at, "internal error: NVRTC refuses batch 0 for sm_90a"));
    assert_non_null(strstr(why.at, "identifier \"undeclared\" is undefined"));
    assert_int_equal(files_in(w->dir, false), 0);
}

static bool same_images(const CudaImages *a, const CudaImages *b) {
    if (a->images.n != b->images.n || a->reports[0].n != b->reports[0].n) return false;
    for (uint32_t i = 0; i < a->images.n; i++) {
        const CudaImage *x = &a->images.at[i], *y = &b->images.at[i];
        if (x->ptx != y->ptx || x->size != y->size || memcmp(x->data, y->data, x->size) != 0)
            return false;
    }
    return a->reports[0].n == 0 ||
           memcmp(a->reports[0].at, b->reports[0].at, a->reports[0].n * sizeof(CudaReport)) == 0;
}

static void compiled_once(void **state) {
    CompileWorld *w = *state;
    if (!have_nvrtc(w, "the cache of compiled programs")) return;
    CudaModule *m = cuda_module_new(w->arena);
    CudaImages fresh, cached, other;
    Text why;
    for (int i = 0; i < CUDA_BATCH + 1; i++) add(m, "x[threadIdx.x] = x[threadIdx.x] * 3.0f;");
    assert_true(compile(w, m, "sm_90a", false, w->dir, &fresh, &why));
    assert_true(fresh.compiled == 2 && fresh.cached == 0 && fresh.reports[0].n == CUDA_BATCH + 1);
    assert_int_equal(fresh.images.n, 4);
    assert_false(fresh.images.at[0].ptx);
    assert_memory_equal(fresh.images.at[0].data,
                        "\x7f"
                        "ELF",
                        4);
    assert_true(fresh.images.at[1].ptx);
    assert_non_null(strstr(fresh.images.at[1].data, ".target sm_90a"));
    assert_int_equal(strlen(fresh.images.at[1].data), fresh.images.at[1].size);
    for (uint32_t i = 0; i <= CUDA_BATCH; i++) assert_int_equal(fresh.reports[0].at[i].function, i);
    assert_true(fresh.reports[0].at[0].registers > 0);
    assert_int_equal(fresh.warnings.n, 0);
    assert_true(compile(w, m, "sm_90a", false, w->dir, &cached, &why));
    assert_true(cached.compiled == 0 && cached.cached == 2 && same_images(&fresh, &cached));
    assert_true(compile(w, m, "sm_90a", true, w->dir, &other, &why)); // other options
    assert_true(other.compiled == 2 && other.images.n == 2 && other.reports[0].n == 0);
    assert_true(compile(w, m, "sm_80", true, w->dir, &other, &why)); // another target
    assert_int_equal(other.compiled, 2);
    assert_int_equal(files_in(w->dir, false), 6);
}

// A damaged entry costs a compilation and is whole again afterwards.
static void repaired(void **state) {
    CompileWorld *w = *state;
    if (!have_nvrtc(w, "a damaged entry")) return;
    CudaModule *m = cuda_module_new(w->arena);
    CudaImages fresh, again;
    Text why;
    add(m, "x[0] = 1.0f;");
    assert_true(compile(w, m, "sm_120", true, w->dir, &fresh, &why));
    DIR *d = opendir(w->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(truncate(arena_printf(w->arena, "%s/%s", w->dir, e->d_name), 300), 0);
    closedir(d);
    assert_true(compile(w, m, "sm_120", true, w->dir, &again, &why));
    assert_true(again.compiled == 1 && same_images(&fresh, &again));
    assert_true(compile(w, m, "sm_120", true, w->dir, &again, &why));
    assert_true(again.cached == 1 && same_images(&fresh, &again));
    assert_true(compile(w, m, "sm_120", true, "/dev/null/cache", &again, &why)); // no directory
    assert_true(again.compiled == 1 && same_images(&fresh, &again));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keys_differ),
        TEST(hit_and_miss),
        TEST(damaged_entries),
        TEST(entry_of_another_key),
        TEST(writers_at_once),
        TEST(directories),
        TEST(report_of_two),
        TEST(report_of_older_version),
        TEST(report_of_warnings),
        TEST(report_of_nothing),
        TEST(targets),
        TEST(without_nvrtc),
        TEST(another_library),
        TEST(unsupported_target),
        TEST(broken_text),
        TEST(compiled_once),
        TEST(repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

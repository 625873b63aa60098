// sinter build and sinter run: module -> kernels -> object -> executable.
#include "codegen/cpu/cpu.h"
#include "codegen/link.h"
#include "codegen/plan.h"
#include "tools/driver.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint32_t function_of(void *user, const Kernel *k) { return cpu_add_kernel(user, k); }
static uint32_t function_count(void *user) { return cpu_functions(user); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void timed(const Driver *d, const char *what, double *since) {
    double t = now();
    if (d->o.time_passes) fprintf(stderr, "%-12s %8.2f ms\n", what, (t - *since) * 1e3);
    *since = t;
}

// The directory of this program: the runtime's archives lie beside it, or in ../lib/sinter.
static const char *library(Arena *a, const char *name) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return name;
    self[n] = 0;
    *strrchr(self, '/') = 0;
    const char *beside = arena_printf(a, "%s/%s", self, name);
    return access(beside, R_OK) == 0 ? beside : arena_printf(a, "%s/../lib/sinter/%s", self, name);
}

// The plan half of the model file, and what microbatch found out.
static const char *(*plan_options(Arena *a, const Program *p, uint32_t *n))[2] {
    const char *(*options)[2] = arena_alloc(a, sizeof *options * (p->options.n + 2));
    for (uint32_t i = 0; i < p->options.n; i++)
        options[i][0] = p->options.at[i].key, options[i][1] = p->options.at[i].value;
    *n = p->options.n;
    if (p->m->whole_step) options[*n][0] = "accum.max", options[(*n)++][1] = "1";
    if (p->m->whole_eval) options[*n][0] = "eval.max", options[(*n)++][1] = "1";
    return options;
}

// *disk: it failed because the machine has no room, not because of what was asked.
static bool write_object(Driver *d, const CpuIsa *isa, const char *path, bool *disk) {
    double since = now();
    Arena *a = d->arena;
    KernelProgram kernels;
    if (!program_lower(a, d->program->m, d->diag, &kernels)) return false;
    timed(d, "lower", &since);
    Text ledger = {.arena = a};
    ledger_print(d->ledger, &ledger);

    CpuModule *cpu = cpu_module_new(a, isa);
    CpuGemm gemm = cpu_add_gemm(cpu);
    const Program *p = d->program;
    uint32_t noptions;
    const char *(*options)[2] = plan_options(a, p, &noptions);
    PlanScalar *scalars = NEW_ARRAY(a, PlanScalar, p->scalars.n + 1);
    for (uint32_t i = 0; i < p->scalars.n; i++)
        scalars[i] =
            (PlanScalar){p->scalars.at[i].name, p->scalars.at[i].elem, p->scalars.at[i].value};
    PlanInfo info = {.sinter = SINTER_VERSION,
                     .target = "cpu",
                     .cpu = isa->name,
                     .model_name = p->model_name,
                     .model_text = d->source,
                     .ledger = ledger.at,
                     .features = isa->features,
                     .ukr = gemm.ukr,
                     .mr = gemm.mr,
                     .nr = gemm.nr,
                     .option_text = (const char *const(*)[2])options,
                     .option_count = noptions,
                     .scalars = scalars,
                     .scalar_count = p->scalars.n,
                     .function = function_of,
                     .functions = function_count,
                     .user = cpu};
    size_t size;
    void *plan = plan_write(a, &kernels, &info, &size);
    timed(d, "print", &since);
    Text why = {.arena = a};
    errno = 0;
    bool ok = cpu_write_object(cpu, plan, size, path, &why);
    *disk = !ok && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO);
    if (!ok) diag_error(d->diag, (Loc){0}, "%s", why.at);
    cpu_module_free(cpu);
    timed(d, "llvm", &since);
    return ok;
}

static int machine_error(Driver *d) {
    driver_report(d);
    return EXIT_MACHINE;
}

// What is built for; 0, or the exit code after a message.
static int resolve_target(Driver *d, CpuIsa *isa) {
    if (d->o.target && strcmp(d->o.target, "cpu") != 0) {
        fprintf(stderr, "sinter: error: unknown target '%s' (see 'sinter targets')\n", d->o.target);
        return EXIT_USAGE;
    }
    Text why = {.arena = d->arena};
    if (cpu_isa_resolve(d->arena, d->o.cpu ? d->o.cpu : "native", isa, &why)) return 0;
    fprintf(stderr, "sinter: error: %s\n", why.at);
    return EXIT_USAGE;
}

// From the loaded module to o.output; the exit code.
static int build_loaded(Driver *d, const CpuIsa *isa) {
    double since = now();
    if (!driver_passes(d, NULL)) return driver_report(d);
    timed(d, "passes", &since);
    const char *object = arena_printf(d->arena, "%s.%ld.o", d->o.output, (long)getpid());
    bool disk = false;
    if (!write_object(d, isa, object, &disk)) {
        unlink(object);
        return disk ? machine_error(d) : driver_report(d);
    }
    const char *inputs[] = {object, library(d->arena, "libsinter_train.a"), NULL};
    Text why = {.arena = d->arena};
    since = now();
    bool ok = link_executable(inputs, d->o.output, &why);
    unlink(object);
    if (!ok) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return machine_error(d);
    }
    timed(d, "link", &since);
    return driver_report(d);
}

int command_build(Driver *d) {
    CpuIsa isa;
    int rc = resolve_target(d, &isa);
    if (rc) return rc;
    double since = now();
    if (!driver_load(d)) return driver_report(d);
    timed(d, "frontend", &since);
    return build_loaded(d, &isa);
}

static uint64_t hash_file_times(uint64_t h, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return h;
    h = hash_u64(h, (uint64_t)st.st_size);
    h = hash_u64(h, (uint64_t)st.st_mtim.tv_sec);
    return hash_u64(h, (uint64_t)st.st_mtim.tv_nsec);
}

// The cache key: everything that decides the executable, so also the files that the model uses, this
// compiler and the runtime.
static uint64_t content_key(Driver *d, const CpuIsa *isa) {
    uint64_t h = HASH_SEED;
    for (uint32_t i = 0; i < d->diag->files.n; i++) {
        h = hash_u64(h, d->diag->files.at[i].size);
        h = hash_bytes(h, d->diag->files.at[i].text, d->diag->files.at[i].size);
    }
    for (uint32_t i = 0; i < d->o.defs.n; i++) {
        h = hash_bytes(h, d->o.defs.at[i].name, strlen(d->o.defs.at[i].name) + 1);
        h = hash_bytes(h, d->o.defs.at[i].value, strlen(d->o.defs.at[i].value) + 1);
    }
    h = hash_bytes(h, isa->name, strlen(isa->name) + 1);
    h = hash_bytes(h, isa->tune, strlen(isa->tune) + 1);
    h = hash_u64(h, d->o.no_fuse);
    if (d->o.passes) h = hash_bytes(h, d->o.passes, strlen(d->o.passes) + 1);
    h = hash_file_times(h, "/proc/self/exe");
    return hash_file_times(h, library(d->arena, "libsinter_train.a"));
}

int command_run(Driver *d) {
    CpuIsa isa;
    int rc = resolve_target(d, &isa);
    if (rc) return rc;
    if (!driver_load(d)) return driver_report(d);
    const char *home = getenv("XDG_CACHE_HOME"), *base = getenv("HOME");
    const char *dir =
        home && *home ? arena_printf(d->arena, "%s/sinter", home)
                      : arena_printf(d->arena, "%s/.cache/sinter", base && *base ? base : "/tmp");
    for (char *s = (char *)(uintptr_t)dir + 1; *s; s++) // every parent
        if (*s == '/') {
            *s = 0;
            mkdir(dir, 0777);
            *s = '/';
        }
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        diag_error(d->diag, (Loc){0}, "cannot make '%s': %s", dir, strerror(errno));
        return machine_error(d);
    }
    char *exe = arena_printf(d->arena, "%s/%016llx", dir, (unsigned long long)content_key(d, &isa));
    if (access(exe, X_OK) != 0) {
        d->o.output = exe;
        rc = build_loaded(d, &isa);
        if (rc) return rc;
    }
    char **argv = NEW_ARRAY(d->arena, char *, d->o.nrest + 2);
    argv[0] = exe;
    for (int i = 0; i < d->o.nrest; i++) argv[i + 1] = d->o.rest[i];
    execv(exe, argv);
    diag_error(d->diag, (Loc){0}, "cannot run '%s': %s", exe, strerror(errno));
    return machine_error(d);
}

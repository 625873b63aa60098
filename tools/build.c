// sinter build and sinter run: module -> kernels -> object -> executable.
#include "codegen/cpu/cpu.h"
#include "codegen/link.h"
#include "codegen/plan.h"
#include "runtime/files/folder.h"
#include "runtime/program/help.h"
#include "tools/clock.h"
#include "tools/driver.h"
#include "tools/roofline.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void timed(const Driver *d, const char *what, double *since) {
    double t = clock_now();
    if (d->o.time_passes) fprintf(stderr, "%-12s %8.2f ms\n", what, (t - *since) * 1e3);
    *since = t;
}

// A library of executables: beside this program, or where it is installed.
static const char *library(Arena *a, const char *name) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return name;
    self[n] = 0;
    *strrchr(self, '/') = 0;
    const char *beside = arena_printf(a, "%s/%s", self, name);
    return access(beside, R_OK) == 0 ? beside
                                     : arena_printf(a, "%s/" SINTER_LIBRARIES "/%s", self, name);
}

// The plan half of the model file, and what microbatch found out.
static const char *(*plan_options(Arena *a, const Program *p, uint32_t *n))[2] {
    const char *(*options)[2] = arena_alloc(a, sizeof *options * (p->options.n + 3));
    for (uint32_t i = 0; i < p->options.n; i++)
        options[i][0] = p->options.at[i].key, options[i][1] = p->options.at[i].value;
    *n = p->options.n;
    if (p->m->whole_step) options[*n][0] = "accum.max", options[(*n)++][1] = "1";
    if (p->m->whole_eval) options[*n][0] = "eval.max", options[(*n)++][1] = "1";
    if (p->m->whole_predict) options[*n][0] = "predict.max", options[(*n)++][1] = "1";
    return options;
}

// What every plan says, whatever it is for.
static PlanInfo plan_info(Driver *d) {
    Arena *a = d->arena;
    const Program *p = d->program;
    uint32_t noptions;
    const char *(*options)[2] = plan_options(a, p, &noptions);
    PlanScalar *scalars = NEW_ARRAY(a, PlanScalar, p->scalars.n + 1);
    for (uint32_t i = 0; i < p->scalars.n; i++)
        scalars[i] =
            (PlanScalar){p->scalars.at[i].name, p->scalars.at[i].elem, p->scalars.at[i].value};
    return (PlanInfo){.sinter = SINTER_VERSION,
                      .model_name = p->model_name,
                      .model_text = d->source,
                      .option_text = (const char *const(*)[2])options,
                      .option_count = noptions,
                      .scalars = scalars,
                      .scalar_count = p->scalars.n};
}

static void write_plan(Driver *d, PlanTables *tables, ObjectProgram *to) {
    Text ledger = {.arena = d->arena};
    text_put(&ledger, "", 0);
    ledger_print(d->ledger, &ledger);
    to->plan = plan_write(tables, ledger.at, &to->plan_size);
}

// The loaded module through the passes for d->family.
static bool lower(Driver *d, KernelProgram *to) {
    double since = clock_now();
    if (!driver_passes(d, NULL)) return false;
    timed(d, "passes", &since);
    bool ok = program_lower(d->arena, d->program->m, d->diag, to);
    timed(d, "lower", &since);
    return ok;
}

// The plan for the CPU; its code is left in `cpu`.
static bool plan_cpu(Driver *d, CpuModule *cpu, ObjectProgram *to) {
    KernelProgram kernels;
    if (!lower(d, &kernels)) return false;
    double since = clock_now();
    PlanInfo info = plan_info(d);
    CpuPlan target;
    cpu_plan(cpu, &target, &info);
    PlanTables *tables = plan_collect(d->arena, &kernels, &info, d->diag);
    if (tables) write_plan(d, tables, to);
    timed(d, "print", &since);
    return tables != NULL;
}

// What becomes of a product, in the ledger.
void driver_decide(void *user, const char *what, Loc loc, bool library, const char *reason) {
    const Ledger *l = user;
    const char *slash = strchr(what, '/'); // FUNCTION/VALUE
    size_t n = slash ? (size_t)(slash - what) : 0;
    ledger_add(user,
               (Decision){.done = library,
                          .func = arena_str(l->arena, what, n),
                          .pass = "cuda",
                          .rule = library ? "cublaslt" : "gemm",
                          .subject = slash ? slash + 1 : what,
                          .loc = loc},
               "%s", reason);
}

// What ptxas says of a kernel on a target, in the ledger. Registers that spill to memory are a defect of
// the compiler's text, and are said aloud.
static void report_kernel(Driver *d, const CudaTarget *t, const CudaModule *m,
                          const CudaReport *r) {
    const char *name = cuda_function_comment(m, r->function);
    const Gpu *gpu = gpu_of_sm(t->sm);
    uint32_t block = cuda_function_block(m, r->function);
    double share = gpu ? gpu_occupancy(gpu, r->registers, r->shared, block).share : 0;
    bool spills = r->spill_loads || r->spill_stores;
    ledger_add(d->ledger,
               (Decision){.done = !spills, .pass = "ptxas", .rule = t->name, .subject = name},
               "%u threads, %u registers, %u bytes of shared memory: occupancy %.0f %%%s", block,
               r->registers, r->shared, 100 * share, spills ? ", and registers spill" : "");
    if (spills)
        diag_warning(d->diag, (Loc){0}, "kernel '%s' spills registers on %s", name, t->name);
}

static void report_kernels(Driver *d, const CudaModule *m, const CudaImages *images) {
    for (uint32_t t = 0; t < d->ncuda; t++)
        for (uint32_t i = 0; i < images->reports[t].n; i++)
            report_kernel(d, d->cuda[t], m, &images->reports[t].at[i]);
    if (images->warnings.n)
        diag_warning(d->diag, (Loc){0}, "the CUDA compiler warns: %s", images->warnings.at);
}

// The folder of executables of `sinter run` and of compiled CUDA programs. What lies there is executed, so
// nobody else may write there. NULL with the reason: there is none.
static const char *cache_directory(Arena *a, const char **why) {
    char dir[PATH_MAX], reason[512] = "neither XDG_CACHE_HOME nor HOME names a folder";
    bool good =
        sn_folder_cache(dir, sizeof dir) && sn_folder_make_private(dir, reason, sizeof reason);
    *why = good ? NULL : arena_str(a, reason, strlen(reason));
    return good ? arena_str(a, dir, strlen(dir)) : NULL;
}

// Kernels to machine code and PTX.
static bool compile_cuda(Driver *d, CudaModule *m, CudaImages *images) {
    const char *kept;
    const CudaCompile how = {.targets = d->cuda,
                             .ntargets = d->ncuda,
                             .cache_dir = cache_directory(d->arena, &kept),
                             .threads = driver_threads()};
    Text why = {.arena = d->arena};
    double since = clock_now();
    if (kept) diag_warning(d->diag, (Loc){0}, "compiled kernels are not kept: %s", kept);
    bool ok = cuda_compile(d->arena, m, &how, images, &why);
    if (!ok) diag_error(d->diag, (Loc){0}, "%s", why.at);
    timed(d, "nvrtc", &since);
    return ok;
}

static bool plan_cuda(Driver *d, ObjectProgram *to) {
    KernelProgram kernels;
    if (!lower(d, &kernels)) return false;
    double since = clock_now();
    PlanInfo info = plan_info(d);
    CudaModule *m = cuda_module_new(d->arena);
    CudaPlan target = {.module = m, .decide = driver_decide, .user = d->ledger};
    cuda_plan(&target, &info);
    PlanTables *tables = plan_collect(d->arena, &kernels, &info, d->diag);
    timed(d, "print", &since);
    CudaImages images = {0};
    if (!tables || !compile_cuda(d, m, &images)) return false;
    report_kernels(d, m, &images);
    write_plan(d, tables, to);
    to->images = cuda_program_images(d->arena, &images);
    to->image_count = images.images.n;
    return true;
}

// All programs into one object. *disk: it failed because the machine has no room, not because of what
// was asked.
static bool write_object(Driver *d, const CpuIsa *isa, const char *path, bool *disk) {
    ObjectProgram programs[2] = {{0}};
    uint32_t n = 0;
    CpuModule *cpu = cpu_module_new(d->arena, isa);
    bool ok = true;
    if (d->cpu) {
        d->family = "cpu";
        ok = plan_cpu(d, cpu, &programs[n++]);
    }
    if (d->ncuda && d->cpu && ok) ok = driver_reload(d, "cuda");
    if (d->ncuda && ok) ok = plan_cuda(d, &programs[n++]);
    Text why = {.arena = d->arena};
    double since = clock_now();
    errno = 0;
    if (ok && !cpu_write_object(cpu, programs, n, path, &why)) {
        *disk = errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO;
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        ok = false;
    }
    cpu_module_free(cpu);
    timed(d, "llvm", &since);
    return ok;
}

static int machine_error(Driver *d) {
    driver_report(d);
    return EXIT_MACHINE;
}

// The instruction set; 0, or the exit code after a message.
static int resolve_isa(Driver *d, CpuIsa *isa) {
    Text why = {.arena = d->arena};
    if (cpu_isa_resolve(d->arena, d->o.cpu ? d->o.cpu : "native", isa, &why)) return 0;
    return usage_error("%s", why.at);
}

// From the loaded module to o.output; the exit code.
static int build_loaded(Driver *d, const CpuIsa *isa) {
    const char *object = arena_printf(d->arena, "%s.%ld.o", d->o.output, (long)getpid());
    bool disk = false;
    if (!write_object(d, isa, object, &disk)) {
        unlink(object);
        return disk ? machine_error(d) : driver_report(d);
    }
    const char *train = library(d->arena, "libsinter_train.a");
    const char *inputs[] = {object, d->ncuda ? library(d->arena, "libsinter_emulator.a") : train,
                            d->ncuda ? train : NULL, NULL};
    Text why = {.arena = d->arena};
    double since = clock_now();
    bool ok = link_executable(inputs, d->o.output, &why);
    unlink(object);
    if (!ok) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return machine_error(d);
    }
    timed(d, "link", &since);
    return driver_report(d);
}

// What the targets need of this machine; 0, or the exit code after a message.
static int check_machine(Driver *d) {
    const char *train = library(d->arena, "libsinter_train.a");
    if (access(train, R_OK) != 0) {
        diag_error(d->diag, (Loc){0}, "cannot read '%s', which every executable is linked with: %s",
                   train, strerror(errno));
        return machine_error(d);
    }
    Text why = {.arena = d->arena};
    if (!d->ncuda || cuda_available(&why)) return 0;
    diag_error(d->diag, (Loc){0}, "%s", why.at);
    return machine_error(d);
}

int command_build(Driver *d) {
    CpuIsa isa;
    int rc = resolve_isa(d, &isa);
    if (!rc) rc = check_machine(d);
    if (rc) return rc;
    double since = clock_now();
    if (!driver_load(d) || !driver_needs_plan(d)) return driver_report(d);
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
    h = hash_u64(h, d->o.lt_epilogues);
    h = hash_u64(h, d->cpu);
    for (uint32_t i = 0; i < d->ncuda; i++)
        h = hash_bytes(h, d->cuda[i]->name, strlen(d->cuda[i]->name) + 1);
    if (d->o.passes) h = hash_bytes(h, d->o.passes, strlen(d->o.passes) + 1);
    h = hash_file_times(h, "/proc/self/exe");
    if (d->ncuda) {
        const char *nvrtc = getenv("SINTER_NVRTC");
        h = hash_file_times(h, library(d->arena, "libsinter_emulator.a"));
        if (nvrtc) h = hash_bytes(h, nvrtc, strlen(nvrtc) + 1);
    }
    return hash_file_times(h, library(d->arena, "libsinter_train.a"));
}

// The command line up to the executable's own options: as its name, it stands in the executable's messages
// and in what it says can be typed next.
static char *typed(Driver *d) {
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) return NULL;
    for (char **arg = d->argv; *arg && arg + 1 != d->o.rest; arg++) {
        sn_help_word(to, *arg);
        fputc(' ', to);
    }
    fputs("--", to);
    return fclose(to) == 0 ? text : NULL;
}

int command_run(Driver *d) {
    CpuIsa isa;
    int rc = resolve_isa(d, &isa);
    if (!rc) rc = check_machine(d);
    if (rc) return rc;
    if (!driver_load(d) || !driver_needs_plan(d)) return driver_report(d);
    const char *why, *dir = cache_directory(d->arena, &why);
    if (!dir) {
        diag_error(d->diag, (Loc){0},
                   "there is no private folder for the executable: %s; or build it with -o", why);
        return machine_error(d);
    }
    char *exe = arena_printf(d->arena, "%s/%016llx", dir, (unsigned long long)content_key(d, &isa));
    if (access(exe, X_OK) != 0) {
        d->o.output = exe;
        rc = build_loaded(d, &isa);
        if (rc) return rc;
    }
    char **argv = NEW_ARRAY(d->arena, char *, d->o.nrest + 2);
    argv[0] = typed(d);
    if (!argv[0]) argv[0] = exe;
    for (int i = 0; i < d->o.nrest; i++) argv[i + 1] = d->o.rest[i];
    execv(exe, argv);
    diag_error(d->diag, (Loc){0}, "cannot run '%s': %s", exe, strerror(errno));
    return machine_error(d);
}

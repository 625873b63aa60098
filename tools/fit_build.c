// See fit.h. A variant is elaborated anew with its lines, so that what they do is what the compiler does, and in a
// process of its own: nothing of it is left, and two run at once.
#include "codegen/cpu/cpu.h"
#include "tools/fit.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- the plan -----------------------------------------------------------------------------------

static const SnPlan *write_plan(Driver *d, const KernelProgram *k, PlanInfo *info) {
    size_t size;
    PlanTables *tables = plan_collect(d->arena, k, info, d->diag);
    return tables ? plan_write(tables, "", &size) : NULL;
}

// The executable's plan, without machine code. NULL after reporting.
static const SnPlan *plan_of(Driver *d) {
    KernelProgram k;
    Text why = {.arena = d->arena};
    CpuIsa isa;
    PlanInfo info = {.sinter = "plan", .model_name = d->program->model_name, .model_text = ""};
    if (!program_lower(d->arena, d->program->m, d->diag, &k)) return NULL;
    if (strcmp(d->family, "cuda") == 0) {
        CudaPlan target = {.module = cuda_module_new(d->arena)};
        cuda_plan(&target, &info);
        return write_plan(d, &k, &info);
    }
    if (!cpu_isa_resolve(d->arena, "native", &isa, &why)) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return NULL;
    }
    CpuModule *cpu = cpu_module_new(d->arena, &isa);
    CpuPlan target;
    cpu_plan(cpu, &target, &info);
    const SnPlan *plan = write_plan(d, &k, &info);
    cpu_module_free(cpu);
    return plan;
}

// ---- one build ----------------------------------------------------------------------------------

const char *fit_axis(const Driver *d) {
    const char *found = NULL;
    const Program *p = d->program;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->options.n; i++) {
        const char *key = p->options.at[i].key;
        if (strncmp(key, "size.", 5) != 0) continue;
        if (strcmp(key + 5, sym_str(d->syms, p->m->axes.at[p->sample].name)) == 0) continue;
        if (strcmp(key + 5, "seq") == 0) return key + 5;
        found = key + 5, n++;
    }
    return n == 1 ? found : NULL;
}

static int64_t option_of(const Program *p, const char *key) {
    for (uint32_t i = 0; i < p->options.n; i++)
        if (strcmp(p->options.at[i].key, key) == 0) return atoll(p->options.at[i].value);
    return 0;
}

static bool is_needed(const char *name, BuildDepth depth) {
    static const char *const step[] = {"micro", "update", "prologue"};
    for (int i = 0; i < (depth == BUILD_sizes ? 1 : 3); i++)
        if (strcmp(name, step[i]) == 0) return true;
    return false;
}

// Between the passes: what is left out is an empty function from here on.
static bool run_passes(Fit *x, Driver *d, BuildDepth depth) {
    Module *m = d->program->m;
    const char *resume = d->resume;
    if (depth == BUILD_all || x->others || resume) return driver_passes(d, NULL);
    if (!driver_passes(d, "microbatch")) return false;
    for (FuncId i = 0; i < m->funcs.n; i++) {
        Func *f = m->funcs.at[i];
        if (!f->region && !is_needed(sym_str(m->syms, f->name), depth))
            *f = (Func){.name = f->name};
    }
    d->resume = "microbatch";
    bool ok = driver_passes(d, NULL);
    d->resume = resume;
    return ok;
}

// Those of training: what runs beside it has its own memory then.
static void take_temporaries(const Module *m, FitBuilt *to) {
    for (FuncId i = 0; i < m->funcs.n; i++) {
        int64_t end[REGION_COUNT] = {0};
        const Func *f = m->funcs.at[i];
        if (f->region || func_is_beside(m, f)) continue;
        func_regions(m, f, end);
        bool micro = strcmp(sym_str(m->syms, f->name), "micro") == 0;
        int64_t *most = micro ? &to->temp_micro : &to->temp_other;
        if (end[REGION_temp] > *most) *most = end[REGION_temp];
    }
}

// Of the module: what the plan will have, but for temporaries of what is not part of training.
static void take_regions(const Module *m, FitBuilt *to) {
    int64_t end[REGION_COUNT] = {0};
    module_regions(m, end);
    take_temporaries(m, to);
    end[REGION_temp] = to->temp_micro > to->temp_other ? to->temp_micro : to->temp_other;
    for (int r = 0; r < REGION_COUNT; r++) {
        to->region[r] = end[r];
        to->layout.all += end[r];
    }
}

bool fit_build(Fit *x, Driver *d, BuildDepth depth, FitBuilt *to) {
    const Program *p = d->program;
    *to = (FitBuilt){.micro = p->micro, .batch = p->batch};
    if (x->axis) to->length = option_of(p, arena_printf(d->arena, "size.%s", x->axis));
    if (!run_passes(x, d, depth)) return false;
    take_regions(p->m, to);
    int64_t align = target_find(d->family)->align;
    fit_hold(p->m, align, to);
    const Func *micro = module_find(p->m, "micro");
    if (micro) to->kept = func_peak(d->arena, p->m, micro, align).kept;
    to->good = true;
    if (depth == BUILD_sizes) return true;
    const SnPlan *plan = plan_of(d);
    if (!plan) return false;
    if (x->fleet.gpu)
        sn_cuda_layout(plan, &to->layout);
    else if (!sn_cpu_layout(plan, x->fleet.threads, &to->layout))
        return false;
    for (int r = 0; r < SN_REGIONS; r++) to->region[r] = plan->region_bytes[r];
    to->region[SN_REGION_TEMP] = sn_plan_temporary(plan, true);
    fit_cost(&x->rates, d->arena, plan, to);
    return true;
}

// ---- variants -----------------------------------------------------------------------------------

static void first_error(const Diag *diag, FitBuilt *to) {
    to->good = false;
    snprintf(to->error, sizeof to->error, "does not compile");
    for (uint32_t i = 0; i < diag->items.n; i++)
        if (diag->items.at[i].level == DIAG_ERROR) {
            snprintf(to->error, sizeof to->error, "%s", diag->items.at[i].text);
            return;
        }
}

static void build_variant(Fit *x, Variant *v) {
    Driver d = {.arena = arena_new(), .scratch = arena_new(), .o = x->d->o, .argv = x->d->argv};
    d.syms = symtab_new(d.arena);
    d.diag = diag_new(d.arena);
    d.ledger = ledger_new(d.arena);
    d.family = x->d->family;
    d.o.defs.n = 0, d.o.defs.at = NULL, d.o.defs.cap = 0;
    for (uint32_t i = 0; i < x->d->o.defs.n; i++) vec_push(d.arena, &d.o.defs, x->d->o.defs.at[i]);
    for (uint32_t i = 0; i < v->n; i++)
        driver_define(&d, arena_printf(d.arena, "%s=%s", v->set[i].name, v->set[i].value));
    if (!driver_load(&d) || !fit_build(x, &d, v->depth, &v->built)) first_error(d.diag, &v->built);
}

typedef struct {
    pid_t pid;
    int fd;
} FitChild;

static FitChild start(Fit *x, Variant *v) {
    int fd[2];
    fflush(NULL);
    if (pipe(fd) != 0) return (FitChild){-1, -1};
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        build_variant(x, v);
        bool sent = write(fd[1], &v->built, sizeof v->built) == (ssize_t)sizeof v->built;
        _exit(sent ? 0 : 1);
    }
    close(fd[1]);
    if (pid < 0) close(fd[0]);
    return (FitChild){pid, pid < 0 ? -1 : fd[0]};
}

static void finish(FitChild c, Variant *v) {
    bool good = c.fd >= 0 && read(c.fd, &v->built, sizeof v->built) == (ssize_t)sizeof v->built;
    if (c.fd >= 0) close(c.fd);
    if (c.pid > 0) waitpid(c.pid, NULL, 0);
    if (good) return;
    v->built = (FitBuilt){.good = false};
    snprintf(v->built.error, sizeof v->built.error, "the compiler could not be run for it");
}

void fit_variants(Fit *x, Variant *v, uint32_t n) {
    uint32_t most = driver_threads(), started = 0;
    FitChild *children = NEW_ARRAY(x->d->arena, FitChild, n + 1);
    for (uint32_t done = 0; done < n; done++) {
        for (; started < n && started < done + most; started++)
            children[started] = start(x, &v[started]);
        finish(children[done], &v[done]);
    }
}

// The GPU half of the bench: compiles a model's step for one architecture in this process, accounts for
// it (account.h), and prints each different command with what the GPU could do at most (roofline.h). Several
// architectures (--compare) stand side by side: the plan is the same, registers and rates are theirs.
//
// Three kinds of figures, never mixed: counted (launches, flops, bytes: exact, from the plan),
// estimated (times from a GPU's nominal rates; occupancy from ptxas' registers), measured (on a device,
// by events around each command). A line is one command of the step and all that equal it.
#define _GNU_SOURCE // nftw
#include "tools/bench_gpu.h"
#include "codegen/plan.h"
#include "runtime/emulator/emulator.h"
#include "tools/clock.h"
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Driver *d;
    const Gpu *gpu;
    const CudaTarget *target; // number `at` of those asked for
    uint32_t at;
    CudaModule *module;
    const SnPlan *plan;
    uint32_t accum;
    Account account;
    AccountLayer layer;
    bool compiled, ran;
    CudaImages images;
    double cold, cached; // seconds of NVRTC
    GpuRun run;
    Text not_compiled, not_run; // why
} GpuBench;

// ---- compiling ----------------------------------------------------------------------------------

static bool make_plan(GpuBench *b) {
    Driver *d = b->d;
    Arena *a = d->arena;
    const Program *p = d->program;
    KernelProgram *kernels = NEW(a, KernelProgram);
    if (!driver_passes(d, NULL) || !program_lower(a, p->m, d->diag, kernels)) return false;
    PlanScalar *scalars = NEW_ARRAY(a, PlanScalar, p->scalars.n + 1);
    for (uint32_t i = 0; i < p->scalars.n; i++)
        scalars[i] =
            (PlanScalar){p->scalars.at[i].name, p->scalars.at[i].elem, p->scalars.at[i].value};
    PlanInfo info = {.sinter = "bench",
                     .model_name = p->model_name,
                     .model_text = "",
                     .scalars = scalars,
                     .scalar_count = p->scalars.n};
    CudaPlan target = {.module = b->module = cuda_module_new(a)};
    size_t size;
    cuda_plan(&target, &info);
    PlanTables *tables = plan_collect(a, kernels, &info, d->diag);
    if (tables) b->plan = plan_write(tables, "", &size);
    return tables != NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)at;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

// Twice with a cache of its own: the first fills it, the second finds everything there.
static void compile(GpuBench *b) {
    Arena *a = b->d->arena;
    if (!cuda_available(&b->not_compiled)) return;
    const char *tmp = getenv("TMPDIR");
    char *dir = arena_printf(a, "%s/sinter-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        text_printf(&b->not_compiled, "cannot make a directory '%s'", dir);
        return;
    }
    const CudaCompile how = {.targets = b->d->cuda,
                             .ntargets = b->d->ncuda,
                             .cache_dir = dir,
                             .threads = driver_threads()};
    double start = clock_now();
    b->compiled = cuda_compile(a, b->module, &how, &b->images, &b->not_compiled);
    b->cold = clock_now() - start;
    if (b->compiled) {
        CudaImages again;
        start = clock_now();
        cuda_compile(a, b->module, &how, &again, &b->not_compiled);
        b->cached = clock_now() - start;
    }
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void run(GpuBench *b) {
    const SnProgram programs[2] = {
        {.plan = (const unsigned char *)b->plan,
         .images = cuda_program_images(b->d->arena, &b->images),
         .image_count = b->images.images.n,
         .emulator = &sn_emulator},
        {0},
    };
    b->ran = gpu_run(b->d->arena, programs, b->accum, (double)b->d->program->micro, b->d->o.repeat,
                     &b->run, &b->not_run);
    const Gpu *there = b->ran && !b->d->o.gpu ? gpu_of_device(b->run.device) : NULL;
    if (there) b->gpu = there;
}

static void select_target(GpuBench *b, uint32_t at) {
    b->at = at;
    b->target = b->d->cuda[at];
    b->gpu = gpu_of_sm(b->target->sm);
}

// ---- figures of a line --------------------------------------------------------------------------

typedef struct {
    const AccountLine *line;
    const CudaReport *report; // NULL: not a kernel of ours, or not compiled
    Occupancy occupancy;
    Roofline roof;
    double seconds; // measured
    char what[128];
} Figures;

static const CudaReport *report_of(const GpuBench *b, const SnKernel *k) {
    for (uint32_t i = 0; k && i < b->images.reports[b->at].n; i++)
        if (b->images.reports[b->at].at[i].function == k->fn)
            return &b->images.reports[b->at].at[i];
    return NULL;
}

// The mean of the commands that the line stands for.
static double measured_of(const GpuBench *b, const AccountLine *l) {
    double sum = 0;
    for (uint32_t i = 0; i < l->commands.n; i++) sum += b->run.seconds[l->commands.at[i]];
    return sum / l->commands.n;
}

static uint32_t shared_of(const Figures *f) { return f->report->shared + f->line->kernel->shared; }

static Figures figures_of(const GpuBench *b, const AccountLine *l) {
    Figures f = {.line = l, .report = report_of(b, l->kernel)};
    char shape[64];
    const char *type =
        l->rate == RATE_f32 ? "" : arena_printf(b->d->arena, "%s ", gpu_rate_names[l->rate]);
    f.roof = roofline(b->gpu, l->rate, l->flops, l->bytes);
    if (f.report)
        f.occupancy = gpu_occupancy(b->gpu, f.report->registers, shared_of(&f), l->kernel->block);
    if (b->ran) f.seconds = measured_of(b, l);
    switch (l->op) {
    case SN_CMD_KERNEL:
        snprintf(f.what, sizeof f.what, "%s%s%s", type, l->attention ? "attention " : "", l->name);
        break;
    case SN_CMD_GEMM:
        account_shape(l->gemm, shape, sizeof shape);
        snprintf(f.what, sizeof f.what, "%s %s%s%s", shape, type, l->kernel ? "(ours) " : "",
                 l->name);
        break;
    case SN_CMD_ATTEND: snprintf(f.what, sizeof f.what, "attend %s", l->name); break;
    case SN_CMD_FILL: snprintf(f.what, sizeof f.what, "fill %s", l->name); break;
    case SN_CMD_COPY: snprintf(f.what, sizeof f.what, "copy %s", l->name); break;
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: break;
    }
    return f;
}

static double blocks_of(const SnKernel *k) { return (double)k->grid[0] * k->grid[1] * k->grid[2]; }

// Launches of a step that leave multiprocessors without work.
static uint32_t small_launches(const GpuBench *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->account.lines.n; i++) {
        const AccountLine *l = &b->account.lines.at[i];
        if (l->kernel && blocks_of(l->kernel) < b->gpu->multiprocessors) n += l->count;
    }
    return n;
}

static double estimated_step(const GpuBench *b) {
    double sum = 0;
    for (uint32_t i = 0; i < b->account.lines.n; i++) {
        const AccountLine *l = &b->account.lines.at[i];
        sum += l->count * roofline(b->gpu, l->rate, l->flops, l->bytes).seconds;
    }
    return sum;
}

static uint32_t spills(const GpuBench *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->images.reports[b->at].n; i++)
        n += b->images.reports[b->at].at[i].spill_loads ||
             b->images.reports[b->at].at[i].spill_stores;
    return n;
}

static uint32_t lines_in(const Text *t) {
    uint32_t n = 0;
    for (size_t i = 0; i < t->n; i++) n += t->at[i] == '\n';
    return n;
}

// ---- the table ----------------------------------------------------------------------------------

static const char *const bounds[] = {
    [BOUND_start] = "start", [BOUND_memory] = "memory", [BOUND_flops] = "flops"};

// Text cut to `columns` characters; names are ASCII but for a final "…".
static void put_cut(const char *text, int width) {
    int n = 0;
    for (; *text && n < width; text++) {
        if (((unsigned char)*text & 0xc0) != 0x80) n++;
        putchar(*text);
    }
    while (((unsigned char)*text & 0xc0) == 0x80) putchar(*text++);
    printf("%*s", width - n, "");
}

static void put_rates(const GpuBench *b) {
    printf("           %s: %.1f TFLOP/s in f32, tensor cores %.1f in tf32, %.1f in bf16 and f16; "
           "%.0f GB/s\n",
           b->gpu->name, b->gpu->f32, b->gpu->tf32, b->gpu->bf16, b->gpu->bandwidth);
}

static void put_head(const GpuBench *b) {
    const Driver *d = b->d;
    printf("%s", d->program->model_name);
    for (uint32_t i = 0; i < d->o.defs.n; i++)
        printf(" -D %s=%s", d->o.defs.at[i].name, d->o.defs.at[i].value);
    printf(", %s: a step of %u x %lld samples\n", d->o.compare ? d->o.compare : b->target->name,
           b->accum, (long long)d->program->micro);
    printf("counted    launches, flops, bytes (each kernel's and product's tensors once)\n");
    printf("estimated  us: %.1f us to start, and the larger of flops and bytes at nominal rates; "
           "occ: share of a\n"
           "           multiprocessor's warps; KiB: shared memory of a block\n",
           ROOFLINE_START * 1e6);
    for (uint32_t i = 0; i < d->ncuda; i++) {
        GpuBench of = *b;
        if (d->o.compare) select_target(&of, i);
        put_rates(&of);
    }
    if (b->ran && b->run.emulated)
        printf("emulated   by this CPU: its times say nothing about a GPU\n");
    else if (b->ran)
        printf("measured   on %s, median of %d\n", b->run.device, b->d->o.repeat);
    else if (!d->o.compare)
        printf("measured   nothing: %s\n", b->not_run.at ? b->not_run.at : "no machine code");
    if (b->compiled)
        printf("compiled   %u functions in %u batches: %.2f s cold, %.3f s cached; %u spill, "
               "%u warnings\n",
               b->images.reports[b->at].n, b->plan->batches, b->cold, b->cached, spills(b),
               lines_in(&b->images.warnings));
    else
        printf("compiled   nothing: %s\n", b->not_compiled.at);
}

// Of a line's name; the whole table is below 120.
static int columns(const GpuBench *b) { return b->ran ? 26 : 35; }

static void put_columns(const GpuBench *b) {
    printf("\n%5s %-*s %9s %9s %7s %6s %4s %4s %4s ", "count", columns(b), "", "Mflop", "MB",
           "flop/B", "blocks", "regs", "KiB", "occ");
    if (b->ran)
        printf("%8s | %8s %5s %5s %5s\n", "us", b->run.emulated ? "emulated" : "measured", "GB/s",
               "TF/s", "ratio");
    else
        printf("%-6s %8s %9s\n", "bound", "us", "all us");
}

static void put_line(const GpuBench *b, const Figures *f) {
    const AccountLine *l = f->line;
    printf("%5u ", l->count);
    put_cut(f->what, columns(b));
    printf(" %9.1f %9.3f %7.1f ", l->flops * 1e-6, l->bytes * 1e-6,
           l->bytes > 0 ? l->flops / l->bytes : 0);
    if (f->report)
        printf("%6.0f %4u %4.0f %3.0f%% ", blocks_of(l->kernel), f->report->registers,
               shared_of(f) / 1024.0, f->occupancy.share * 100);
    else
        printf("%6s %4s %4s %4s ", "-", "-", "-", "-");
    double us = f->roof.seconds * 1e6, m = f->seconds * 1e6;
    if (!b->ran) {
        printf("%-6s %8.1f %9.1f\n", bounds[f->roof.bound], us, us * l->count);
        return;
    }
    printf("%8.1f | %8.1f ", us, m);
    if (b->run.emulated || m <= 0)
        printf("%5s %5s %5s\n", "-", "-", "-");
    else
        printf("%5.0f %5.1f %5.2f\n", l->bytes / m * 1e-3, l->flops / m * 1e-6, m / us);
}

static void put_totals(const GpuBench *b) {
    const AccountTotal *t = &b->account.total;
    const AccountLayer *y = &b->layer;
    printf("\nstep       %u kernels, %u products, %u copies and fills: %u launches\n", t->kernels,
           t->products, t->others, t->kernels + t->products + t->others);
    printf(
        "           %.1f MB of device memory by kernels, %.1f MB by products, %.1f MB by copies\n",
        t->kernel_bytes * 1e-6, t->product_bytes * 1e-6, t->other_bytes * 1e-6);
    printf("           %.1f GFLOP in products, %.1f GFLOP in kernels\n", t->product_flops * 1e-9,
           t->kernel_flops * 1e-9);
    printf("           the plan needs %.1f MiB, %.1f %% of %s's %.0f GB\n",
           (double)account_peak(b->plan) / 1048576,
           (double)account_peak(b->plan) * 1e-7 / b->gpu->memory, b->gpu->name, b->gpu->memory);
    if (b->gpu->multiprocessors)
        printf("           %u launches have fewer blocks than the %u multiprocessors of %s\n",
               small_launches(b), b->gpu->multiprocessors, b->gpu->name);
    if (y->layers)
        printf("layer      one of %u, forward and backward: %u kernels, %u products, %u others: %u "
               "launches\n"
               "           %.1f MB by kernels without products, %.1f MB by attention\n"
               "           %.1f MB are kept from the forward pass for the backward pass\n",
               y->layers, y->kernels, y->products, y->others, y->kernels + y->products + y->others,
               y->kernel_bytes * 1e-6, y->attention_bytes * 1e-6, y->saved_bytes * 1e-6);
    printf("estimated  %.3f ms a step\n", estimated_step(b) * 1e3);
    if (b->ran && !b->run.emulated)
        printf("measured   %.3f ms a step as graphs, %.2f of the estimate; loss %.3f -> %.3f\n",
               b->run.step * 1e3, b->run.step / estimated_step(b), b->run.loss[0], b->run.loss[1]);
    else if (b->ran)
        printf("emulated   loss %.3f -> %.3f\n", b->run.loss[0], b->run.loss[1]);
}

static void put_table(const GpuBench *b) {
    const char *section = "";
    put_head(b);
    put_columns(b);
    for (uint32_t i = 0; i < b->account.lines.n; i++) {
        const AccountLine *l = &b->account.lines.at[i];
        if (strcmp(section, l->section) != 0) printf("%s\n", section = l->section);
        Figures f = figures_of(b, l);
        put_line(b, &f);
    }
    put_totals(b);
}

// ---- side by side -------------------------------------------------------------------------------

static const char bound_letters[] = {
    [BOUND_start] = 's', [BOUND_memory] = 'm', [BOUND_flops] = 'f'};

static void compare_line(GpuBench *b, const AccountLine *l) {
    Figures f = figures_of(b, l);
    printf("%5u ", l->count);
    put_cut(f.what, 36);
    printf(" %9.1f %9.3f", l->flops * 1e-6, l->bytes * 1e-6);
    for (uint32_t i = 0; i < b->d->ncuda; i++) {
        select_target(b, i);
        f = figures_of(b, l);
        if (f.report)
            printf(" | %4u %4.0f %3.0f%%", f.report->registers, shared_of(&f) / 1024.0,
                   f.occupancy.share * 100);
        else
            printf(" | %4s %4s %4s", "-", "-", "-");
        printf(" %8.1f  %c", f.roof.seconds * 1e6, bound_letters[f.roof.bound]);
    }
    putchar('\n');
}

static void put_comparison(GpuBench *b) {
    const char *section = "";
    put_head(b);
    printf("           by: what binds it, s its start, m memory, f operations\n");
    printf("\n%5s %-36s %9s %9s", "", "", "", "");
    for (uint32_t i = 0; i < b->d->ncuda; i++) printf(" | %-26s", b->d->cuda[i]->name);
    printf("\n%5s %-36s %9s %9s", "count", "", "Mflop", "MB");
    for (uint32_t i = 0; i < b->d->ncuda; i++)
        printf(" | %4s %4s %4s %8s by", "regs", "KiB", "occ", "us");
    putchar('\n');
    for (uint32_t i = 0; i < b->account.lines.n; i++) {
        const AccountLine *l = &b->account.lines.at[i];
        if (strcmp(section, l->section) != 0) printf("%s\n", section = l->section);
        compare_line(b, l);
    }
    putchar('\n');
    for (uint32_t i = 0; i < b->d->ncuda; i++) {
        select_target(b, i);
        printf("estimated  %s: %.3f ms a step on %s", b->target->name, estimated_step(b) * 1e3,
               b->gpu->name);
        if (b->compiled) printf(", %u of %u functions spill", spills(b), b->images.reports[i].n);
        putchar('\n');
    }
}

// ---- JSON ---------------------------------------------------------------------------------------

static void json_string(const char *key, const char *value) {
    printf(",\"%s\":\"", key);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c < 0x20) {
            printf("\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\') putchar('\\');
        putchar(c);
    }
    putchar('"');
}

static void json_number(const char *key, double value) {
    if (value == value && value < 1e300 && value > -1e300)
        printf(",\"%s\":%.9g", key, value);
    else
        printf(",\"%s\":null", key);
}

static void json_head(const GpuBench *b) {
    printf("{\"kind\":\"bench\"");
    json_string("model", b->d->program->model_name);
    for (uint32_t i = 0; i < b->d->o.defs.n; i++)
        json_string(arena_printf(b->d->arena, "-D %s", b->d->o.defs.at[i].name),
                    b->d->o.defs.at[i].value);
    json_string("target", b->target->name);
    json_string("rates", b->gpu->name);
    json_number("start_us", ROOFLINE_START * 1e6);
    json_number("accum", b->accum);
    json_number("micro", (double)b->d->program->micro);
    if (b->ran) json_string(b->run.emulated ? "emulated" : "device", b->run.device);
    if (b->compiled) {
        json_number("functions", b->images.reports[b->at].n);
        json_number("batches", b->plan->batches);
        json_number("compile_cold_s", b->cold);
        json_number("compile_cached_s", b->cached);
        json_number("spilling", spills(b));
    }
    puts("}");
}

static void json_line(const GpuBench *b, const Figures *f) {
    const AccountLine *l = f->line;
    static const char *const ops[] = {"kernel", "product", "attend", "fill", "copy"};
    printf("{\"kind\":\"%s\"", ops[l->op]);
    json_string("section", l->section);
    json_string("name", f->what);
    json_number("count", l->count);
    json_number("flops", l->flops);
    json_number("bytes", l->bytes);
    if (f->report) {
        json_number("registers", f->report->registers);
        json_number("shared", shared_of(f));
        json_number("block", l->kernel->block);
        json_number("blocks", blocks_of(l->kernel));
        json_number("estimated_occupancy", f->occupancy.share);
    }
    json_string("rate", gpu_rate_names[l->rate]);
    json_string("estimated_bound", bounds[f->roof.bound]);
    json_number("estimated_us", f->roof.seconds * 1e6);
    if (b->ran) json_number(b->run.emulated ? "emulated_us" : "measured_us", f->seconds * 1e6);
    puts("}");
}

static void json_totals(const GpuBench *b) {
    const AccountTotal *t = &b->account.total;
    printf("{\"kind\":\"step\"");
    json_number("kernels", t->kernels);
    json_number("products", t->products);
    json_number("others", t->others);
    json_number("kernel_bytes", t->kernel_bytes);
    json_number("product_bytes", t->product_bytes);
    json_number("other_bytes", t->other_bytes);
    json_number("kernel_flops", t->kernel_flops);
    json_number("product_flops", t->product_flops);
    if (b->gpu->multiprocessors) json_number("small_launches", small_launches(b));
    json_number("plan_bytes", (double)account_peak(b->plan));
    json_number("layers", b->layer.layers);
    json_number("layer_kernels", b->layer.kernels);
    json_number("layer_products", b->layer.products);
    json_number("layer_others", b->layer.others);
    json_number("layer_kernel_bytes", b->layer.kernel_bytes);
    json_number("layer_attention_bytes", b->layer.attention_bytes);
    json_number("layer_saved_bytes", b->layer.saved_bytes);
    json_number("estimated_ms", estimated_step(b) * 1e3);
    if (b->ran && !b->run.emulated) json_number("measured_ms", b->run.step * 1e3);
    if (b->ran) json_number("loss_first", b->run.loss[0]);
    if (b->ran) json_number("loss_last", b->run.loss[1]);
    puts("}");
}

static void put_json(const GpuBench *b) {
    json_head(b);
    for (uint32_t i = 0; i < b->account.lines.n; i++) {
        Figures f = figures_of(b, &b->account.lines.at[i]);
        json_line(b, &f);
    }
    json_totals(b);
}

// ---- all of it ----------------------------------------------------------------------------------

static int choose_gpu(GpuBench *b) {
    b->gpu = b->d->o.gpu ? gpu_find(b->d->o.gpu) : gpu_of_sm(b->target->sm);
    if (b->gpu && b->gpu->sm == b->target->sm) return 0;
    if (b->gpu)
        return usage_error("'%s' is sm_%u, not %s", b->gpu->name, b->gpu->sm, b->target->name);
    Text names = {.arena = b->d->arena};
    for (uint32_t i = 0; gpu_at(i); i++)
        text_printf(&names, "%s %s", i ? "," : "", gpu_at(i)->name);
    return usage_error("unknown GPU '%.100s'; there are:%s",
                       b->d->o.gpu ? b->d->o.gpu : b->target->name, names.at);
}

int bench_gpu(Driver *d) {
    GpuBench b = {.d = d,
                  .target = d->cuda[0],
                  .not_compiled = {.arena = d->arena},
                  .not_run = {.arena = d->arena}};
    const char *named = d->o.compare ? NULL : getenv("SINTER_DEVICE");
    int rc = choose_gpu(&b);
    if (rc) return rc;
    if (!driver_load(d) || !driver_needs_plan(d) || !make_plan(&b)) return driver_report(d);
    int64_t micro = d->program->micro, batch = d->program->batch;
    b.accum = micro > 0 && batch > micro ? (uint32_t)(batch / micro) : 1;
    account_step(d->arena, b.plan, b.accum, &b.account);
    b.layer = account_layer(d->arena, b.plan, d->program->m);
    compile(&b);
    if (b.compiled && !d->o.compare) run(&b);
    if (named && *named && !b.ran) {
        return driver_error(EXIT_MACHINE, "%s", b.not_run.at ? b.not_run.at : b.not_compiled.at);
    }
    for (uint32_t i = 0; d->o.json && i < d->ncuda; i++) {
        if (d->o.compare) select_target(&b, i);
        put_json(&b);
    }
    if (!d->o.json && d->o.compare) put_comparison(&b);
    if (!d->o.json && !d->o.compare) put_table(&b);
    return 0;
}

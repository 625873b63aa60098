// The sinter command. Conventions of compiler drivers: messages on stderr as file:line:col: error:,
// exit code 0 well, 1 the user's error, 2 usage, 3 the machine's (memory, disk, no linker).
#include "codegen/cpu/cpu.h"
#include "runtime/files/file.h"
#include "runtime/setting.h"
#include "tools/complete.h"
#include "tools/driver.h"
#include "tools/explain.h"
#include "tools/lint.h"
#include "tools/page.h"
#include "tools/verify.h"
#include "tools/version.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int unknown_command(const char *name) {
    const char *near = NULL;
    for (CommandId c = 0; c < COMMANDS; c++) near = sn_nearer(name, near, command_info[c].name);
    if (near) return usage_error("unknown command '%.100s'; did you mean '%s'?", name, near);
    return usage_error("unknown command '%.100s' (see 'sinter --help')", name);
}

// ---- commands -----------------------------------------------------------------------------------

static int command_check(Driver *d) {
    if (driver_load(d) && driver_check(d) && d->o.lint) lint(d);
    return driver_report(d);
}

// Kernels as CUDA C, and in the ledger what becomes of products. t: NULL, or receives the text.
static bool print_cuda(Driver *d, const KernelProgram *kernels, Text *t) {
    PlanInfo info = {0};
    CudaPlan target = {
        .module = cuda_module_new(d->arena), .decide = driver_decide, .user = d->ledger};
    cuda_plan(&target, &info);
    PlanTables *tables = plan_collect(d->arena, kernels, &info, d->diag);
    if (!tables || !t) return tables != NULL;
    size_t size;
    cuda_print(target.module, plan_write(tables, "", &size), t);
    return true;
}

static bool dump_lowered(Driver *d, Text *t) {
    KernelProgram k;
    if (!program_lower(d->arena, d->program->m, d->diag, &k)) return false;
    if (d->o.kernels) program_print_kernels(t, &k);
    if (d->o.plan) program_print_plan(t, &k);
    if (d->o.cuda && !print_cuda(d, &k, t)) return false;
    if (!d->o.llvm) return true;
    CpuIsa isa;
    Text why = {.arena = d->arena};
    if (!cpu_isa_resolve(d->arena, d->o.cpu ? d->o.cpu : "native", &isa, &why)) {
        diag_error(d->diag, (Loc){0}, "%s", why.at);
        return false;
    }
    CpuModule *cpu = cpu_module_new(d->arena, &isa);
    for (uint32_t i = 0; i < k.sections.n; i++)
        for (uint32_t j = 0; j < k.sections.at[i].steps.n; j++)
            if (k.sections.at[i].steps.at[j].low.kernel)
                cpu_add_kernel(cpu, k.sections.at[i].steps.at[j].low.kernel);
    cpu_print_llvm(cpu, t);
    cpu_module_free(cpu);
    return true;
}

static int command_dump(Driver *d) {
    if (d->o.cuda) d->family = "cuda";
    if (!driver_load(d)) return driver_report(d);
    bool lowered = d->o.kernels || d->o.plan || d->o.llvm || d->o.cuda;
    Text t = {.arena = d->arena};
    text_put(&t, "", 0);
    bool run = lowered || d->o.after || d->o.passes || d->o.dump_dir || d->o.html;
    if (run && !driver_passes(d, lowered ? NULL : d->o.after)) return driver_report(d);
    if (d->o.html) {
        page_write(d);
        return driver_report(d);
    }
    if (lowered ? !dump_lowered(d, &t) : false) return driver_report(d);
    if (!lowered) driver_print_module(d, d->o.after ? d->o.after : d->resume, &t);
    int rc = driver_report(d);
    return rc ? rc : driver_put(d, &t);
}

static int command_opt(Driver *d) {
    if (!driver_load(d) || !driver_passes(d, NULL)) return driver_report(d);
    Text t = {.arena = d->arena};
    ir_print_module(&t, d->program->m);
    int rc = driver_report(d);
    return rc ? rc : driver_put(d, &t);
}

// The decisions for d->family.
static bool explain_family(Driver *d, Text *t) {
    KernelProgram k;
    explain_ask(d);
    if (!driver_passes(d, NULL)) return false;
    if (d->o.pareto || d->o.kept) return explain(d, t);
    if (!program_lower(d->arena, d->program->m, d->diag, &k)) return false;
    if (strcmp(d->family, "cuda") == 0 && !print_cuda(d, &k, NULL)) return false;
    return explain(d, t);
}

static int command_explain(Driver *d) {
    Text t = {.arena = d->arena};
    text_put(&t, "", 0);
    bool both = d->cpu && d->ncuda;
    if (both) d->family = "cpu";
    bool ok = driver_load(d) && explain_family(d, &t);
    if (ok && both) ok = driver_reload(d, "cuda") && explain_family(d, &t);
    int rc = driver_report(d);
    return ok && !rc ? driver_put(d, &t) : rc ? rc : EXIT_USER;
}

static int command_verify(Driver *d) { return verify(d); }

static int command_fmt(Driver *d) {
    if (d->o.in_place && strcmp(d->o.input, "-") == 0)
        return usage_error("'fmt -i' needs a file, not standard input");
    if (!read_file(d->arena, d->o.input, &d->source, &d->source_size)) {
        report_unread(d);
        return driver_report(d);
    }
    d->file = diag_add_file(d->diag, d->o.input, d->source, d->source_size, false);
    char *text = frontend_format(d->arena, d->diag, d->file);
    int rc = driver_report(d);
    if (rc || !text) return rc ? rc : EXIT_USER;
    if (d->o.in_place) d->o.output = d->o.input;
    Text t = {.arena = d->arena, .at = text, .n = strlen(text)};
    if (d->o.in_place && t.n == d->source_size && memcmp(text, d->source, t.n) == 0) return 0;
    return driver_put(d, &t);
}

static int command_ops(Driver *d) {
    (void)d;
    for (uint32_t i = 0; i < OP_COUNT; i++)
        printf("%-14s %u-%u  %s\n", op_info[i].name, op_info[i].min, op_info[i].max,
               op_info[i].meaning);
    return 0;
}

static int command_passes(Driver *d) {
    (void)d;
    for (uint32_t i = 0; i < pass_count; i++)
        printf("%-12s %-12s %s\n", pass_table[i].name, pass_table[i].neutral ? "bit-neutral" : "",
               pass_table[i].reason);
    return 0;
}

static int command_targets(Driver *d) {
    (void)d;
    for (uint32_t i = 0; i < target_count(); i++) {
        const Target *t = target_at(i);
        printf("%-6s %u lanes, %lld bytes fast memory, nominal %.0f GB/s and %.0f GFLOP/s a core\n",
               t->name, t->lanes, (long long)t->fast_memory, t->bytes_per_second / 1e9,
               t->flops_per_second / 1e9);
    }
    puts("  --target: cpu, and for cuda:");
    for (uint32_t i = 0; cuda_target_at(i); i++) printf("    %s\n", cuda_target_at(i)->name);
    puts("  --cpu: native, x86-64-v3, x86-64-v4, x86-64-v4+bf16");
    return 0;
}

// The bench is a program beside this one, because it loads the yardstick's libraries. It reads the command
// line again.
static int command_bench(Driver *d) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 8);
    if (n > 0) {
        memcpy(self + n, "-bench", 7);
        execv(self, d->argv + 1);
    }
    return driver_error(EXIT_MACHINE, "cannot run 'sinter-bench': %s", strerror(errno));
}

static int command_help(Driver *d) {
    CommandId c = d->o.input ? command_find(d->o.input) : COMMANDS;
    if (d->o.input && c == COMMANDS) return unknown_command(d->o.input);
    if (d->o.input)
        command_print_help(stdout, c);
    else
        command_print_list(stdout);
    return 0;
}

static int (*const functions[COMMANDS])(Driver *d) = {
#define OPTION(...)
#define COMMAND(id, ...) command_##id,
#include "tools/command.def"
#undef COMMAND
#undef OPTION
};

static int run_command(Driver *d, int argc, char **argv) {
    CommandId c = command_find(argv[1]);
    if (c == COMMANDS) return unknown_command(argv[1]);
    if (option_taken(OPT_verify_each, c)) driver_keep_arguments(argc, argv);
    int rc = driver_arguments(d, c, argc - 2, argv + 2);
    return rc == ARGUMENTS_READ ? functions[c](d) : rc;
}

// For completion.bash: --complete PROGRAM WORD...
static int complete(Driver *d, int argc, char **argv) {
    if (argc < 3)
        return usage_error("'--complete' needs a program and the words of its command line");
    if (strcmp(argv[2], "train") == 0)
        complete_train(argc - 3, argv + 3);
    else
        complete_sinter(d, argc - 3, argv + 3);
    return 0;
}

static int run(Driver *d, int argc, char **argv) {
    if (argc < 2) {
        command_print_list(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        command_print_list(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        version_print(stdout);
        return 0;
    }
    if (strcmp(name, "--complete") == 0) return complete(d, argc, argv);
    return run_command(d, argc, argv);
}

int main(int argc, char **argv) {
    sn_file_prepare();
    Driver d = {.arena = arena_new(), .scratch = arena_new(), .argv = argv};
    d.syms = symtab_new(d.arena);
    d.diag = diag_new(d.arena);
    d.ledger = ledger_new(d.arena);
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    d.colour = isatty(2) && term && *term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
    int rc = driver_close_output(run(&d, argc, argv));
    arena_free(d.scratch);
    arena_free(d.arena);
    return rc;
}

// The sinter command. Conventions of compiler drivers: messages on stderr as file:line:col: error:,
// exit code 0 well, 1 the user's error, 2 usage, 3 the machine's (memory, disk, no linker).
#include "codegen/cpu/cpu.h"
#include "runtime/file.h"
#include "runtime/setting.h"
#include "tools/driver.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: sinter COMMAND [options] FILE\n"
    "\n"
    "  build FILE -o OUT   compile a model (.sn) or a dump (.ir) into a training executable\n"
    "  run FILE [-- ARGS]  build into the cache, then run with ARGS\n"
    "  check FILE          report errors only\n"
    "  dump FILE           print the IR after a pass, the kernels, or the plan\n"
    "  explain FILE        what was decided, why, and what it saves\n"
    "  bench MODEL         figures of the training step on this machine, beside oneDNN; with\n"
    "                      --target sm_90a of a GPU, there or not\n"
    "  opt FILE --passes=A,B   run some passes on a .ir file and print the result\n"
    "  fmt FILE [-i]       print the file in its canonical layout, or rewrite it in place\n"
    "  std [NAME]          the library's reference: all of it by section, or one entry with its "
    "text\n"
    "  ops | passes | targets  what there is\n"
    "\n"
    "options\n"
    "  -o OUT              output file\n"
    "  -D NAME=VALUE       an axis, a constant or a plan option: -D layer=4 -D lr.peak=1e-4\n"
    "  --cpu ISA           native (default), x86-64-v3, x86-64-v4\n"
    "  --target A,B        cpu (default), sm_80, sm_89, sm_90a, sm_100a, sm_120\n"
    "  --after PASS        stop after this pass (dump; default: none has run)\n"
    "  --kernels --plan --llvm --cuda   dump these instead of the IR\n"
    "  --dump-dir DIR      write the IR after every pass\n"
    "  --passes=A,B        run exactly these passes\n"
    "  --cublaslt-epilogues   products take GELU, its derivative and bias gradients along, in\n"
    "                      the library's rounding\n"
    "  --no-fuse           every value in a kernel of its own (same bits, for comparing)\n"
    "  --time-passes       time of every stage, on stderr\n"
    "  --verify-each       check all invariants after every pass\n"
    "  --error-limit N     errors that are shown (default 20; 0: all)\n"
    "  --help --version\n";

static int usage_error(const char *fmt, const char *what) {
    fputs("sinter: error: ", stderr);
    fprintf(stderr, fmt, what); // NOLINT: every format is a literal of this file
    fputs("\n", stderr);
    return EXIT_USAGE;
}

static int unknown(Driver *d, const char *what, const char *name, const char *near) {
    const char *hint =
        near ? arena_printf(d->arena, "; did you mean '%s'?", near) : " (see 'sinter --help')";
    return usage_error("%s", arena_printf(d->arena, "unknown %s '%.100s'%s", what, name, hint));
}

// ---- options ------------------------------------------------------------------------------------

// The value of option `name` written as "--name value" or "--name=value"; NULL when arg is another.
static const char *value_of(const char *name, int argc, char **argv, int *i, bool *missing) {
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return NULL;
    if (argv[*i][n] == '=') return argv[*i] + n + 1;
    if (argv[*i][n]) return NULL;
    *missing = *i + 1 >= argc;
    return *missing ? NULL : argv[++*i];
}

static int set_error_limit(Driver *d) {
    const char *s = d->o.error_limit;
    if (!s) return 0;
    size_t n = strlen(s);
    if (!n || n > 9 || strspn(s, "0123456789") != n)
        return usage_error("--error-limit wants a number, not '%s'", s);
    uint32_t limit = (uint32_t)atoi(s);
    d->diag->limit = limit ? limit : UINT32_MAX;
    return 0;
}

static int parse_options(Driver *d, int argc, char **argv) {
    Options *o = &d->o;
    const struct {
        const char *name;
        const char **to;
    } values[] = {{"-o", &o->output},
                  {"--cpu", &o->cpu},
                  {"--target", &o->target},
                  {"--after", &o->after},
                  {"--passes", &o->passes},
                  {"--dump-dir", &o->dump_dir},
                  {"--error-limit", &o->error_limit}};
    const struct {
        const char *name;
        bool *to;
    } flags[] = {{"--kernels", &o->kernels},
                 {"--plan", &o->plan},
                 {"--llvm", &o->llvm},
                 {"--cuda", &o->cuda},
                 {"--time-passes", &o->time_passes},
                 {"--verify-each", &o->verify_each},
                 {"-i", &o->in_place},
                 {"--no-fuse", &o->no_fuse},
                 {"--cublaslt-epilogues", &o->lt_epilogues}};
    for (int i = 2; i < argc; i++) {
        bool done = false, missing = false;
        if (strcmp(argv[i], "--") == 0) {
            o->rest = argv + i + 1;
            o->nrest = argc - i - 1;
            break;
        }
        for (size_t k = 0; k < sizeof values / sizeof *values && !done; k++) {
            const char *v = value_of(values[k].name, argc, argv, &i, &missing);
            if (missing) return usage_error("option '%s' needs a value", argv[i]);
            // an empty list of passes is one
            if (v && !*v && values[k].to != &o->passes)
                return usage_error("option '%s' needs a value", values[k].name);
            if (v) *values[k].to = v, done = true;
        }
        for (size_t k = 0; k < sizeof flags / sizeof *flags && !done; k++)
            if (strcmp(argv[i], flags[k].name) == 0) *flags[k].to = true, done = true;
        if (done) continue;
        if (strncmp(argv[i], "-D", 2) == 0) {
            const char *text = argv[i][2] ? argv[i] + 2 : i + 1 < argc ? argv[++i] : "";
            if (!driver_define(d, text)) return usage_error("-D wants name=value, not '%s'", text);
        } else if (argv[i][0] == '-' && argv[i][1]) {
            const char *near = NULL;
            for (size_t k = 0; k < sizeof values / sizeof *values; k++)
                near = sn_nearer(argv[i], near, values[k].name);
            for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
                near = sn_nearer(argv[i], near, flags[k].name);
            return unknown(d, "option", argv[i], near);
        } else if (o->input) {
            return usage_error("one input file at a time: '%s' is the second", argv[i]);
        } else {
            o->input = argv[i];
        }
    }
    return set_error_limit(d);
}

// ---- commands -----------------------------------------------------------------------------------

static int command_check(Driver *d) {
    if (driver_load(d)) driver_check(d);
    return driver_report(d);
}

static int put(Driver *d, const Text *t) {
    if (d->o.output) {
        if (write_file(d->arena, d->o.output, t->at, t->n)) return 0;
        fprintf(stderr, "sinter: error: cannot write '%s': %s\n", d->o.output, strerror(errno));
        return EXIT_MACHINE;
    }
    fwrite(t->at, 1, t->n, stdout);
    return driver_close_output(0); // errno is still that of the write
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
    bool run = lowered || d->o.after || d->o.passes || d->o.dump_dir;
    if (run && !driver_passes(d, lowered ? NULL : d->o.after)) return driver_report(d);
    if (lowered ? !dump_lowered(d, &t) : false) return driver_report(d);
    if (!lowered) driver_print_module(d, d->o.after ? d->o.after : d->resume, &t);
    int rc = driver_report(d);
    return rc ? rc : put(d, &t);
}

static int command_opt(Driver *d) {
    if (!d->o.passes) return usage_error("'opt' needs --passes=%s", "A,B");
    if (!driver_load(d) || !driver_passes(d, NULL)) return driver_report(d);
    Text t = {.arena = d->arena};
    ir_print_module(&t, d->program->m);
    int rc = driver_report(d);
    return rc ? rc : put(d, &t);
}

// The decisions for d->family.
static bool explain(Driver *d, Text *t) {
    KernelProgram k;
    if (!driver_passes(d, NULL) || !program_lower(d->arena, d->program->m, d->diag, &k))
        return false;
    if (strcmp(d->family, "cuda") == 0 && !print_cuda(d, &k, NULL)) return false;
    if (d->cpu && d->ncuda) text_printf(t, "# %s\n", d->family);
    ledger_print(d->ledger, t);
    return true;
}

static int command_explain(Driver *d) {
    Text t = {.arena = d->arena};
    text_put(&t, "", 0);
    bool both = d->cpu && d->ncuda;
    if (both) d->family = "cpu";
    bool ok = driver_load(d) && explain(d, &t);
    if (ok && both) ok = driver_reload(d, "cuda") && explain(d, &t);
    int rc = driver_report(d);
    return ok && !rc ? put(d, &t) : rc ? rc : EXIT_USER;
}

static int command_fmt(Driver *d) {
    if (d->o.in_place && strcmp(d->o.input, "-") == 0)
        return usage_error("'fmt %s' needs a file, not standard input", "-i");
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
    return put(d, &t);
}

static int list_ops(void) {
    for (uint32_t i = 0; i < OP_COUNT; i++)
        printf("%-14s %u-%u  %s\n", op_info[i].name, op_info[i].min, op_info[i].max,
               op_info[i].meaning);
    return 0;
}

static int list_passes(void) {
    for (uint32_t i = 0; i < pass_count; i++)
        printf("%-12s %-12s %s\n", pass_table[i].name, pass_table[i].neutral ? "bit-neutral" : "",
               pass_table[i].reason);
    return 0;
}

static int list_targets(void) {
    for (uint32_t i = 0; i < target_count(); i++) {
        const Target *t = target_at(i);
        printf("%-6s %u lanes, %lld bytes fast memory, nominal %.0f GB/s and %.0f GFLOP/s a core\n",
               t->name, t->lanes, (long long)t->fast_memory, t->bytes_per_second / 1e9,
               t->flops_per_second / 1e9);
    }
    puts("  --target: cpu, and for cuda:");
    for (uint32_t i = 0; cuda_target_at(i); i++) printf("    %s\n", cuda_target_at(i)->name);
    puts("  --cpu: native, x86-64-v3, x86-64-v4");
    return 0;
}

// The bench is a program beside this one, because it loads the yardstick's libraries.
static int run_bench(char **argv) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 8);
    if (n > 0) {
        memcpy(self + n, "-bench", 7);
        execv(self, argv);
    }
    fprintf(stderr, "sinter: error: cannot run 'sinter-bench': %s\n", strerror(errno));
    return EXIT_MACHINE;
}

static const struct {
    const char *name;
    int (*run)(Driver *d);
    bool needs_input, needs_output;
} commands[] = {{"build", command_build, true, true},      {"run", command_run, true, false},
                {"check", command_check, true, false},     {"dump", command_dump, true, false},
                {"explain", command_explain, true, false}, {"opt", command_opt, true, false},
                {"fmt", command_fmt, true, false},         {"std", command_std, false, false}};

static int run_command(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        fputs(usage, argc > 1 ? stdout : stderr);
        return argc > 1 ? 0 : EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        puts("sinter " SINTER_VERSION);
        return 0;
    }
    if (strcmp(name, "ops") == 0) return list_ops();
    if (strcmp(name, "passes") == 0) return list_passes();
    if (strcmp(name, "targets") == 0) return list_targets();
    if (strcmp(name, "bench") == 0) return run_bench(argv + 1);

    driver_keep_arguments(argc, argv);
    Driver d = {.arena = arena_new(), .scratch = arena_new()};
    d.syms = symtab_new(d.arena);
    d.diag = diag_new(d.arena);
    d.ledger = ledger_new(d.arena);
    const char *no_color = getenv("NO_COLOR");
    d.colour = isatty(2) && !(no_color && *no_color);
    d.o.command = name;
    int rc = EXIT_USAGE;
    size_t i = 0;
    while (i < sizeof commands / sizeof *commands && strcmp(commands[i].name, name) != 0) i++;
    const char *near = NULL;
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        near = sn_nearer(name, near, commands[k].name);
    if (i == sizeof commands / sizeof *commands)
        rc = unknown(&d, "command", name, near);
    else if (parse_options(&d, argc, argv) != 0)
        rc = EXIT_USAGE;
    else if (commands[i].needs_input && !d.o.input)
        usage_error("'%s' needs a file", name);
    else if (!driver_targets(&d))
        rc = EXIT_USAGE;
    else if (commands[i].needs_output && !d.o.output)
        usage_error("'%s' needs -o OUT", name);
    else
        rc = commands[i].run(&d);
    arena_free(d.scratch);
    arena_free(d.arena);
    return rc;
}

int main(int argc, char **argv) {
    sn_file_prepare();
    return driver_close_output(run_command(argc, argv));
}

// See info.h. These print, as train.c does; the rest of the runtime does not.
#include "runtime/program/info.h"
#include "runtime/cuda/module.h"
#include "runtime/elem.h"
#include "runtime/program/help.h"
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- information --------------------------------------------------------------------------------

void sn_print_help(const char *program, const SnPlan *p) {
    int width = sn_help_width();
    SnOptionHelp help;
    fputs("usage: ", stdout);
    sn_help_program(stdout, program);
    printf(" [OPTION]...\n\nTrains %s, or continues a prompt with it.\n",
           SN_STRING(p, p->model_name));
    for (const SnGroup *g = sn_groups; g->first < SN_SETTINGS; g++) {
        printf("\n%s\n", g->title);
        for (SnSettingId id = g->first; id < g[1].first; id++)
            if (sn_option_help(p, id, &help)) sn_help_row(stdout, width, help.head, help.text);
    }
    putchar('\n');
    sn_help_text(
        stdout, width,
        "A run that is interrupted saves its last complete step and exits with status 0; a "
        "second SIGINT or SIGTERM ends it at once.");
    sn_help_text(stdout, width,
                 "Exit status: 1 data or checkpoint at fault, 2 command line, 3 machine.");
}

int64_t sn_count_parameters(const SnPlan *p) {
    int64_t n = 0;
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (s->kind == SN_STATE_PARAM) n += s->bytes / sn_elem_info[s->elem].bytes;
    }
    return n;
}

static void print_ports(const SnPlan *p, const SnPort *ports, uint32_t n, const char *what) {
    for (uint32_t i = 0; i < n; i++) {
        printf("%-10s %s %s", what, SN_STRING(p, ports[i].section), SN_STRING(p, ports[i].name));
        for (uint32_t a = 0; a < ports[i].naxes; a++)
            printf("%s%s=%" PRId64, a ? ", " : "[", SN_STRING(p, ports[i].axis[a]),
                   ports[i].size[a]);
        puts(ports[i].naxes ? "]" : "");
    }
}

// What it can run on.
static void print_programs(void) {
    for (const SnProgram *p = sn_programs; p->plan; p++) {
        const SnPlan *plan = (const SnPlan *)(const void *)p->plan;
        char list[256];
        if (plan->device == SN_DEVICE_CPU) {
            printf("runs on    cpu: %s\n", SN_STRING(plan, plan->cpu));
            continue;
        }
        sn_cuda_list(p, list, sizeof list);
        char emulator[32];
        sn_cuda_emulator(p, emulator, sizeof emulator);
        printf("runs on    cuda: %s; the same emulated: SINTER_DEVICE=%s\n", list, emulator);
    }
}

// Where measured algorithms of the GPU's products are kept.
static void print_choices(const char *device) {
    char path[PATH_MAX];
    SnError e = {0};
    struct stat info;
    if (!sn_program_find(sn_programs, SN_DEVICE_CUDA)) return;
    if (sn_device_choices(sn_programs, device, path, sizeof path, &e))
        printf("algorithms none measured: %s\n", e.text);
    else if (stat(path, &info))
        printf("algorithms %s (not there; --tune writes it)\n", path);
    else
        printf("algorithms %s (%lld bytes)\n", path, (long long)info.st_size);
}

// text NULL: the plan does not say.
static void print_option(const char *key, const char *text) {
    const SnSetting *s = sn_setting_find(key);
    char line[160];
    if (!text && s && s->without) text = s->without;
    snprintf(line, sizeof line, "%s%s%s", key, text ? " = " : ": ", text ? text : s->words);
    if (!s || s->when == SN_BUILD)
        printf("option     %s\n", line);
    else
        printf("option     %-32s %s%s\n", line, *s->flag ? "--" : "--set", s->flag);
}

void sn_print_info(const SnPlan *p, const char *device) {
    const char *regions[SN_REGIONS] = {"",          "parameters", "moments", "shadows", "gradients",
                                       "temporary", "inputs",     "scalars", "host"};
    char missing[128];
    printf("model      %s\nparameters %" PRId64 "\nsinter     %s\ntarget     %s%s%s\n",
           SN_STRING(p, p->model_name), sn_count_parameters(p), SN_STRING(p, p->sinter),
           SN_STRING(p, p->target), *SN_STRING(p, p->cpu) ? ", " : "", SN_STRING(p, p->cpu));
    sn_cpu_missing(p->features, missing, sizeof missing);
    if (p->device == SN_DEVICE_CPU)
        printf("this CPU   %s%s\n", *missing ? "lacks " : "has all features", missing);
    print_programs();
    print_choices(device);
    for (int i = 1; i < SN_REGIONS; i++)
        if (i != SN_REGION_HOST || p->region_bytes[i])
            printf("memory     %-10s %12" PRId64 " bytes\n", regions[i],
                   i == SN_REGION_TEMP ? sn_plan_temporary(p, true) : p->region_bytes[i]);
    if (sn_plan_temporary(p, false) > sn_plan_temporary(p, true))
        printf("           to generate or predict, %" PRId64 " bytes are temporary\n",
               sn_plan_temporary(p, false));
    printf("kernels    %u, matrix products %u, commands %u\n", p->kernels.count, p->gemms.count,
           p->cmds.count);
    for (uint32_t i = 0; i < p->sections.count; i++) {
        const SnSection *s = &SN_AT(p, SnSection, sections)[i];
        printf("section    %-13s %6u commands\n", SN_STRING(p, s->name), s->count);
    }
    print_ports(p, SN_AT(p, SnPort, inputs), p->inputs.count, "input");
    print_ports(p, SN_AT(p, SnPort, outputs), p->outputs.count, "output");
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const SnScalar *s = &SN_AT(p, SnScalar, scalars)[i];
        printf("scalar     %s = %g\n", SN_STRING(p, s->name), s->value);
    }
    for (uint32_t i = 0; i < p->options.count; i++) {
        const SnOption *o = &SN_AT(p, SnOption, options)[i];
        print_option(SN_STRING(p, o->key), SN_STRING(p, o->value));
    }
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++)
        if (s->when == SN_RUN && !sn_plan_option(p, s->key, NULL)) print_option(s->key, NULL);
}

// ---- what comes next ----------------------------------------------------------------------------

// What a run was given that the next one must be given too, since no checkpoint holds it.
static bool is_again(SnSettingId id, bool generates) {
    if (id == SN_SET_data_kind || id == SN_SET_threads || id == SN_SET_device) return true;
    bool kept = id == SN_SET_steps || id == SN_SET_seed || id == SN_SET_accum;
    return !generates && !kept && (sn_settings[id].when == SN_RUN || id == SN_SET_log);
}

static void print_next(const SnNext *n, const char *what, bool generates) {
    printf("%-13s ", what);
    sn_help_program(stdout, n->program);
    for (int i = 0; i < SN_SETTINGS; i++) {
        const SnSetting *s = &sn_settings[i];
        char set[600];
        if (!n->options->given[i] || !is_again((SnSettingId)i, generates)) continue;
        snprintf(set, sizeof set, "%s=%s", s->key, n->options->given[i]);
        printf(*s->flag ? " --%s " : " --set ", s->flag);
        sn_help_word(stdout, *s->flag ? n->options->given[i] : set);
    }
    printf(" --resume ");
    sn_help_word(stdout, n->dir);
}

void sn_print_next(const SnNext *n) {
    print_next(n, "to go on:", false);
    if (n->steps) printf(" --steps %" PRIu64, n->steps);
    putchar('\n');
    if (!n->generates && !n->evaluates) return;
    print_next(n, n->generates ? "to generate:" : "to evaluate:", n->generates);
    puts(!n->generates ? " --steps 0"
         : n->text     ? " --generate 'Once upon a time'"
                       : " --generate '1 2 3'");
}

// ---- profile ------------------------------------------------------------------------------------

typedef struct {
    uint32_t cmd;
    uint64_t nanoseconds;
} Hot;

static int by_time(const void *a, const void *b) {
    const Hot *x = a, *y = b;
    if (x->nanoseconds != y->nanoseconds) return x->nanoseconds > y->nanoseconds ? -1 : 1;
    return x->cmd < y->cmd ? -1 : x->cmd > y->cmd;
}

static double gemm_flops(const SnGemm *g) {
    return 2.0 * (double)sn_extent(g->batch, g->nbatch) * (double)sn_extent(g->m, g->nm) *
           (double)sn_extent(g->n, g->nn) * (double)sn_extent(g->k, g->nk);
}

static void print_command(const SnPlan *p, const Hot *hot, const SnCounter *c, double total) {
    const SnCmd *cmd = &SN_AT(p, SnCmd, cmds)[hot->cmd];
    const char *kinds[] = {"kernel", "gemm", "attend", "fill", "copy"};
    const char *name = sn_cmd_name(p, cmd);
    double time = (double)c->nanoseconds, flops = 0, bytes = 0;
    if (cmd->op == SN_CMD_KERNEL) {
        flops = (double)SN_AT(p, SnKernel, kernels)[cmd->fn].flops * cmd->count;
        bytes = (double)SN_AT(p, SnKernel, kernels)[cmd->fn].bytes * cmd->count;
        if (!*name) name = SN_STRING(p, SN_AT(p, SnKernel, kernels)[cmd->fn].name);
    } else if (cmd->op == SN_CMD_GEMM) {
        flops = gemm_flops(&SN_AT(p, SnGemm, gemms)[cmd->fn]);
    } else if (cmd->op == SN_CMD_ATTEND) {
        flops = sn_attend_flops(p, &SN_AT(p, SnAttend, attends)[cmd->fn]);
    }
    printf("%6.2f %% %10.3f ms %8" PRIu64 " runs %8.2f GFLOP/s %8.2f GB/s  %-6s %s\n",
           100 * time / total, time * 1e-6, c->runs, flops * (double)c->runs / time,
           bytes * (double)c->runs / time, kinds[cmd->op], name);
}

bool sn_print_decided(const SnExec *x, FILE *to) {
    char line[768];
    uint32_t i = 0;
    for (; sn_exec_decided(x, i, line, sizeof line); i++) fprintf(to, "%s\n", line);
    return i > 0;
}

SnStatus sn_print_profile(SnExec *x, SnError *e) {
    enum { SHOWN = 40 };
    const SnPlan *p = sn_exec_plan(x);
    const SnCounter *counters = sn_exec_counters(x);
    Hot *hot = calloc((size_t)p->cmds.count + 1, sizeof *hot);
    double total = 0;
    if (!hot) return sn_fail(e, SN_MACHINE, "out of memory for the profile");
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        hot[i] = (Hot){i, counters[i].nanoseconds};
        total += (double)counters[i].nanoseconds;
    }
    qsort(hot, p->cmds.count, sizeof *hot, by_time);
    printf("profile: %.3f s in %u commands, the first %d:\n", total * 1e-9, p->cmds.count, SHOWN);
    for (uint32_t i = 0; i < p->cmds.count && i < SHOWN && hot[i].nanoseconds; i++)
        print_command(p, &hot[i], &counters[hot[i].cmd], total);
    (void)sn_print_decided(x, stdout);
    free(hot);
    return SN_OK;
}

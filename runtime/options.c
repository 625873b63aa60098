// Parses the command line by one table, from which --help is printed too. Compiled for the
// baseline: it runs before the CPU is checked. Values are borrowed from argv.
#include "runtime/options.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FLAG, TEXT, COUNT, REAL, SET } Kind;
typedef struct {
    const char *name, *value, *help;
    Kind kind;
    size_t at;
    int64_t least; // smallest COUNT; shortest TEXT
} Option;

#define AT(field) offsetof(SnOptions, field)
static const Option table[] = {
    {"data", "FILE", "what to train on; a pattern such as 'corpus/*.bin' names several files", TEXT,
     AT(data), 1},
    {"steps", "N", "steps of the whole run", COUNT, AT(steps), 0},
    {"lr", "RATE", "peak learning rate", REAL, AT(lr), 0},
    {"accum", "N", "micro-batches in a step", COUNT, AT(accum), 1},
    {"seed", "N", "seed of weights, samples and dropout; of what --generate draws", COUNT, AT(seed),
     0},
    {"threads", "N", "threads; default: the CPUs that this process may use", COUNT, AT(threads), 1},
    {"device", "NAME",
     "cpu, cuda, cuda:N, or emu:sm_90a; default: SINTER_DEVICE, else the best there is", TEXT,
     AT(device), 0},
    {"set", "KEY=VALUE", "another scalar or option of the plan (--info lists them)", SET, AT(sets),
     0},
    {"out", "DIR", "where checkpoints go; default: the directory given to --resume", TEXT, AT(out),
     1},
    {"resume", "DIR|FILE", "continue from a checkpoint", TEXT, AT(resume), 1},
    {"save-every", "N", "steps between checkpoints; 0: only at the end", COUNT, AT(save_every), 0},
    {"keep", "N", "newest checkpoints to keep; 0: all", COUNT, AT(keep), 0},
    {"eval-every", "N", "steps between evaluations; 0: only at the end", COUNT, AT(eval_every), 0},
    {"eval-batches", "N", "micro-batches in an evaluation", COUNT, AT(eval_batches), 1},
    {"log", "DIR", "append metrics to DIR/metrics.jsonl", TEXT, AT(log), 1},
    {"print-every", "N", "steps between lines when the output is no terminal", COUNT,
     AT(print_every), 1},
    {"generate", "PROMPT", "continue a prompt instead of training", TEXT, AT(generate), 0},
    {"temperature", "T", "of drawing; 0: always the likeliest", REAL, AT(temperature), 0},
    {"top-k", "N", "draw among the N likeliest; 0: all", COUNT, AT(top_k), 0},
    {"tokens", "N", "how many to generate", COUNT, AT(tokens), 0},
    {"tune", NULL, "first measure cuBLASLt's algorithms on this GPU; later runs use the fastest",
     FLAG, AT(tune), 0},
    {"profile", NULL, "at the end, print where the time went", FLAG, AT(profile), 0},
    {"info", NULL, "print what this program is, and stop", FLAG, AT(info), 0},
    {"check-cpu", NULL, "say whether this CPU can run it, and stop", FLAG, AT(check_cpu), 0},
    {"help", NULL, "print this, and stop", FLAG, AT(help), 0},
    {"version", NULL, "print the version, and stop", FLAG, AT(version), 0},
};
enum { OPTIONS = sizeof table / sizeof *table };

const char *sn_options_help(uint32_t i, char *line, size_t size) {
    if (i >= OPTIONS) return NULL;
    char head[64];
    snprintf(head, sizeof head, "--%s%s%s", table[i].name, table[i].value ? " " : "",
             table[i].value ? table[i].value : "");
    snprintf(line, size, "  %-22s %s", head, table[i].help);
    return line;
}

static const Option *find(const char *name, size_t n) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (strlen(table[i].name) == n && !strncmp(table[i].name, name, n)) return &table[i];
    return NULL;
}

static SnStatus parse_count(const Option *o, const char *text, int64_t *to, SnError *e) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool digits = *text >= '0' && *text <= '9';
    if (!digits || *end || errno || value > INT32_MAX)
        return sn_fail(e, SN_USER, "--%s takes a whole number, not '%s'", o->name, text);
    if (value < o->least)
        return sn_fail(e, SN_USER, "--%s must be at least %lld", o->name, (long long)o->least);
    *to = value;
    return SN_OK;
}

static SnStatus parse_real(const Option *o, const char *text, double *to, SnError *e) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0)
        return sn_fail(e, SN_USER, "--%s takes a number that is not negative, not '%s'", o->name,
                       text);
    *to = value;
    return SN_OK;
}

static SnStatus parse_set(const char *text, SnOptions *to, SnError *e) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return sn_fail(e, SN_USER, "--set takes KEY=VALUE, not '%s'", text);
    if (to->nsets == SN_MAX_SETS)
        return sn_fail(e, SN_USER, "--set may be given %d times", SN_MAX_SETS);
    to->sets[to->nsets++] = text;
    return SN_OK;
}

static SnStatus parse_value(const Option *o, const char *text, SnOptions *to, SnError *e) {
    char *field = (char *)to + o->at;
    switch (o->kind) {
    case FLAG: *(bool *)field = true; return SN_OK;
    case TEXT:
        if ((int64_t)strlen(text) < o->least)
            return sn_fail(e, SN_USER, "--%s takes %s, not an empty text", o->name, o->value);
        *(const char **)(void *)field = text;
        return SN_OK;
    case COUNT: return parse_count(o, text, (int64_t *)(void *)field, e);
    case REAL: return parse_real(o, text, (double *)(void *)field, e);
    case SET: return parse_set(text, to, e);
    }
    return SN_OK;
}

static void set_defaults(SnOptions *to) {
    memset(to, 0, sizeof *to);
    for (size_t i = 0; i < OPTIONS; i++) {
        char *field = (char *)to + table[i].at;
        if (table[i].kind == COUNT) *(int64_t *)(void *)field = -1;
        if (table[i].kind == REAL) *(double *)(void *)field = (double)NAN;
    }
}

SnStatus sn_options_parse(int argc, char **argv, SnOptions *to, SnError *e) {
    set_defaults(to);
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strncmp(arg, "--", 2) || !arg[2])
            return sn_fail(e, SN_USER, "unexpected argument '%s'; --help lists the options", arg);
        const char *name = arg + 2, *value = strchr(name, '=');
        size_t n = value ? (size_t)(value - name) : strlen(name);
        const Option *o = find(name, n);
        if (!o)
            return sn_fail(e, SN_USER, "unknown option '%.*s'; --help lists the options",
                           (int)n + 2, arg);
        if (o->kind == FLAG && value) return sn_fail(e, SN_USER, "--%s takes no value", o->name);
        if (value) value++;
        if (o->kind != FLAG && !value) value = ++i < argc ? argv[i] : NULL;
        if (o->kind != FLAG && !value)
            return sn_fail(e, SN_USER, "--%s needs a value: %s", o->name, o->value);
        SnStatus s = parse_value(o, value, to, e);
        if (s) return s;
    }
    return SN_OK;
}

const char *sn_options_set(const SnOptions *o, const char *key) {
    size_t n = strlen(key);
    for (uint32_t i = o->nsets; i-- > 0;)
        if (!strncmp(o->sets[i], key, n) && o->sets[i][n] == '=') return o->sets[i] + n + 1;
    return NULL;
}

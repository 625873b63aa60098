// The command line of a command, read by the rows of command.def. Linear in the arguments but for suggestions.
#include "runtime/plain.h"
#include "runtime/setting.h"
#include "tools/driver.h"
#include <stdarg.h>
#include <string.h>

static void put_error(const char *fmt, va_list args) {
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args); // NOLINT: every format is a literal
    sn_plain(text);
    fprintf(stderr, "sinter: error: %s\n", text);
}

int driver_error(int status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    put_error(fmt, args);
    va_end(args);
    return status;
}

int usage_error(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    put_error(fmt, args);
    va_end(args);
    return EXIT_USAGE;
}

// The members of Options that an option may be.
static void *member(Driver *d, OptionId o) { return (char *)&d->o + option_info[o].at; }

static SnSetting range_of(const OptionInfo *p) {
    return (SnSetting){.type = SN_COUNT, .values = p->values};
}

static int set_count(Driver *d, OptionId o, const char *text) {
    const SnSetting range = range_of(&option_info[o]);
    char allowed[96];
    double x;
    if (sn_setting_text(&range, text, &x)) {
        *(int *)member(d, o) = (int)x;
        return 0;
    }
    sn_setting_allowed(&range, allowed, sizeof allowed);
    return usage_error("option '%s' takes %s, not '%.100s'", option_info[o].name, allowed, text);
}

// Gives the option its value; text is NULL for a flag.
static int set_option(Driver *d, OptionId o, const char *text) {
    switch (option_info[o].type) {
    case OPTION_FLAG: *(bool *)member(d, o) = true; return 0;
    case OPTION_COUNT: return set_count(d, o, text);
    case OPTION_TEXT: *(const char **)member(d, o) = text; return 0;
    case OPTION_PAIR: unreachable(o); // has two
    case OPTION_DEFINE:
        if (driver_define(d, text)) return 0;
        return usage_error("%s wants name=value, not '%.100s'", option_info[o].name, text);
    }
    unreachable(option_info[o].type);
}

// What holds of numbers when none is given.
static void set_defaults(Driver *d) {
    double x;
    for (OptionId o = 0; o < OPTIONS; o++) {
        const SnSetting range = range_of(&option_info[o]);
        if (option_info[o].type == OPTION_COUNT &&
            sn_setting_text(&range, option_info[o].without, &x))
            *(int *)member(d, o) = (int)x;
    }
}

// Whether arg gives the option: "--name", "--name=value", or "-Dvalue". *value is NULL where the value, if
// there is one, is the next argument.
static bool names_option(const OptionInfo *p, const char *arg, const char **value) {
    size_t n = strlen(p->name);
    *value = NULL;
    if (strncmp(arg, p->name, n) != 0) return false;
    if (!arg[n]) return true;
    if (p->type == OPTION_DEFINE)
        *value = arg + n;
    else if (p->type != OPTION_FLAG && arg[n] == '=')
        *value = arg + n + 1;
    return *value != NULL;
}

static OptionId find_option(const char *arg, const char **value) {
    OptionId o = 0;
    while (o < OPTIONS && !names_option(&option_info[o], arg, value)) o++;
    return o;
}

// "'build', 'run' and 'dump'".
static const char *takers_of(Driver *d, OptionId o) {
    uint32_t left = option_info[o].takers;
    Text t = {.arena = d->arena};
    text_put(&t, "", 0);
    for (CommandId c = 0; left; c++) {
        if (!(left >> c & 1)) continue;
        left &= ~(1u << c);
        text_printf(&t, "%s'%s'", !t.n ? "" : left ? ", " : " and ", command_info[c].name);
    }
    return t.at;
}

static int unknown_option(Driver *d, CommandId c, const char *arg) {
    const char *near = NULL;
    for (OptionId o = 0; o < OPTIONS; o++)
        if (option_taken(o, c)) near = sn_nearer(arg, near, option_info[o].name);
    if (near) return usage_error("unknown option '%.100s'; did you mean '%s'?", arg, near);
    OptionId other = OPTIONS;
    for (OptionId o = 0; o < OPTIONS; o++)
        if (sn_nearer(arg, near, option_info[o].name) != near)
            near = option_info[o].name, other = o;
    if (near)
        return usage_error("unknown option '%.100s'; did you mean '%s', an option of %s?", arg,
                           near, takers_of(d, other));
    return usage_error("unknown option '%.100s' (see 'sinter %s --help')", arg,
                       command_info[c].name);
}

// Both values; `first` is NULL where it is an argument of its own.
static int set_pair(Driver *d, OptionId o, const char *first, int argc, char **argv, int *i) {
    const char **pair = member(d, o);
    if (!first && *i + 1 < argc) first = argv[++*i];
    const char *second = *i + 1 < argc ? argv[++*i] : NULL;
    if (!first || !second || !*first || !*second)
        return usage_error("option '%s' needs two values: %s", option_info[o].name,
                           option_info[o].shown);
    pair[0] = first, pair[1] = second;
    return 0;
}

// One option and, where it has one, its value; the exit code, or 0.
static int read_option(Driver *d, CommandId c, int argc, char **argv, int *i) {
    const char *arg = strcmp(argv[*i], "-h") == 0 ? option_info[OPT_help].name : argv[*i], *value;
    OptionId o = find_option(arg, &value);
    if (o == OPTIONS) return unknown_option(d, c, arg);
    const OptionInfo *p = &option_info[o];
    if (!option_taken(o, c))
        return usage_error("'%s' does not take '%s', an option of %s", command_info[c].name,
                           p->name, takers_of(d, o));
    if (p->type == OPTION_FLAG) return set_option(d, o, NULL);
    if (p->type == OPTION_PAIR) return set_pair(d, o, value, argc, argv, i);
    if (!value && *i + 1 < argc) value = argv[++*i];
    // an empty list of passes is one
    if (!value || (!*value && o != OPT_passes))
        return usage_error("option '%s' needs a value: %s", p->name, p->shown);
    return set_option(d, o, value);
}

static int read_input(Driver *d, CommandId c, const char *arg) {
    const CommandInfo *p = &command_info[c];
    if (p->input == INPUT_NONE) return usage_error("'%s' takes no '%.100s'", p->name, arg);
    if (d->o.input) return usage_error("one input at a time: '%.100s' is the second", arg);
    d->o.input = arg;
    return 0;
}

static int read_all(Driver *d, CommandId c, int argc, char **argv) {
    for (int i = 0; i < argc && !d->o.help; i++) {
        if (strcmp(argv[i], "--") == 0) {
            if (c != CMD_run) return usage_error("only 'run' takes arguments after '--'");
            d->o.rest = argv + i + 1;
            d->o.nrest = argc - i - 1;
            return 0;
        }
        bool option = argv[i][0] == '-' && argv[i][1]; // '-' is standard input
        int rc = option ? read_option(d, c, argc, argv, &i) : read_input(d, c, argv[i]);
        if (rc) return rc;
    }
    return 0;
}

int driver_arguments(Driver *d, CommandId c, int argc, char **argv) {
    const CommandInfo *p = &command_info[c];
    set_defaults(d);
    int rc = read_all(d, c, argc, argv);
    if (rc) return rc;
    if (d->o.help) {
        command_print_help(stdout, c);
        return 0;
    }
    if (p->input == INPUT_ONE && !d->o.input) return usage_error("'%s' needs a file", p->name);
    if (p->needs != OPT_none && !*(const char **)member(d, p->needs))
        return usage_error("'%s' needs %s %s", p->name, option_info[p->needs].name,
                           option_info[p->needs].shown);
    if (!driver_targets(d)) return EXIT_USAGE;
    d->diag->limit = d->o.error_limit ? (uint32_t)d->o.error_limit : UINT32_MAX;
    return ARGUMENTS_READ;
}

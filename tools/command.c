// See command.h: the tables, and help printed from them.
#include "tools/command.h"
#include "runtime/program/help.h"
#include <string.h>

#define OPTION(...)
#define COMMAND(id, input, files, shown, needs, group, meaning, more, example)                     \
    {#id, INPUT_##input, files, shown, OPT_##needs, group, meaning, more, example},
const CommandInfo command_info[COMMANDS] = {
#include "tools/command.def"
};
#undef COMMAND
#undef OPTION

// Sets of commands, for the column `takers`.
#define OF(id) (1u << CMD_##id)
#define RUN_PASSES                                                                                 \
    (OF(build) | OF(run) | OF(check) | OF(explain) | OF(dump) | OF(opt)) // and may be watched
#define READ_MODELS   (RUN_PASSES | OF(bench) | OF(verify))
#define EVERY_COMMAND ((1u << COMMANDS) - 1)
_Static_assert(COMMANDS < 32, "takers is a set of 32 bits");

#define COMMAND(...)
#define OPTION(id, type, name, shown, takers, values, without, meaning)                            \
    {OPTION_##type, name, shown, takers, values, without, meaning, offsetof(Options, id)},
const OptionInfo option_info[OPTIONS] = {
#include "tools/command.def"
};
#undef OPTION
#undef COMMAND

CommandId command_find(const char *name) {
    CommandId c = 0;
    while (c < COMMANDS && strcmp(command_info[c].name, name) != 0) c++;
    return c;
}

void option_head(OptionId o, char *text, size_t size) {
    const OptionInfo *p = &option_info[o];
    snprintf(text, size, "%s%s%s", p->name, *p->shown ? " " : "", p->shown);
}

void option_meaning(OptionId o, char *text, size_t size) {
    const OptionInfo *p = &option_info[o];
    snprintf(text, size, "%s%s%s", p->meaning, *p->without ? "; default: " : "", p->without);
}

// ---- help ---------------------------------------------------------------------------------------

void command_print_list(FILE *to) {
    int width = sn_help_width();
    fputs("usage: sinter COMMAND [OPTION]... [FILE]\n", to);
    for (CommandId c = 0; c < COMMANDS; c++) {
        const CommandInfo *p = &command_info[c];
        char head[128];
        if (!c || strcmp(p->group, p[-1].group) != 0) fprintf(to, "\n%s\n", p->group);
        snprintf(head, sizeof head, "%s%s%s", p->name, *p->shown ? " " : "", p->shown);
        sn_help_row(to, width, head, p->meaning);
    }
    fputs("\noptions\n", to);
    sn_help_row(to, width, "--help, -h", "print this; after a command: its options");
    sn_help_row(to, width, "--version", "print the version, and stop");
    fputc('\n', to);
    sn_help_text(to, width,
                 "Exit status: 1 the input is at fault, 2 the command line, 3 the machine (memory, "
                 "disk, no linker).");
}

void command_print_help(FILE *to, CommandId c) {
    const CommandInfo *p = &command_info[c];
    int width = sn_help_width();
    char head[256], text[256];
    snprintf(head, sizeof head, "usage: sinter %s [OPTION]...%s%s", p->name, *p->shown ? " " : "",
             p->shown);
    sn_help_text(to, width, head);
    fputc('\n', to);
    snprintf(text, sizeof text, "%c%s.", p->meaning[0] - 'a' + 'A', p->meaning + 1);
    sn_help_text(to, width, text);
    if (*p->more) sn_help_text(to, width, p->more);
    fputs("\noptions\n", to);
    for (OptionId o = 0; o < OPTIONS; o++) {
        if (!option_taken(o, c)) continue;
        option_head(o, head, sizeof head);
        option_meaning(o, text, sizeof text);
        sn_help_row(to, width, head, text);
    }
    fprintf(to, "\nexample\n  %s\n", p->example);
}

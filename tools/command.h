// The commands of sinter and their options: the rows of command.def. What a command is given is a struct
// Options, with a member for each option.
#pragma once
#include "frontend/frontend.h"
#include <stddef.h>
#include <stdio.h>

typedef enum {
#define OPTION(...)
#define COMMAND(id, ...) CMD_##id,
#include "tools/command.def"
#undef COMMAND
#undef OPTION
    COMMANDS
} CommandId;

typedef enum {
#define COMMAND(...)
#define OPTION(id, ...) OPT_##id,
#include "tools/command.def"
#undef OPTION
#undef COMMAND
    OPTIONS,
    OPT_none = OPTIONS
} OptionId;

typedef struct {
    const char *input; // NULL: none was given
#define COMMAND(...)
#define OPTION_FLAG(id)       bool id;
#define OPTION_COUNT(id)      int id; // 0: not given, and there is no number that holds without
#define OPTION_TEXT(id)       const char *id;    // NULL: not given
#define OPTION_PAIR(id)       const char *id[2]; // NULL: not given
#define OPTION_DEFINE(id)     VEC(Define) id;
#define OPTION(id, type, ...) OPTION_##type(id)
#include "tools/command.def"
#undef OPTION
#undef OPTION_DEFINE
#undef OPTION_PAIR
#undef OPTION_TEXT
#undef OPTION_COUNT
#undef OPTION_FLAG
#undef COMMAND
    char **rest; // after "--"
    int nrest;
} Options;

typedef enum { INPUT_NONE, INPUT_ONE, INPUT_MAYBE } CommandInput;
typedef struct {
    const char *name;
    CommandInput input;
    const char *files, *shown;
    OptionId needs;
    const char *group, *meaning, *more, *example;
} CommandInfo;

typedef enum { OPTION_FLAG, OPTION_COUNT, OPTION_TEXT, OPTION_PAIR, OPTION_DEFINE } OptionType;
typedef struct {
    OptionType type;
    const char *name, *shown;
    uint32_t takers; // bit c: the command c takes it
    const char *values, *without, *meaning;
    size_t at; // in Options
} OptionInfo;

extern const CommandInfo command_info[COMMANDS];
extern const OptionInfo option_info[OPTIONS];

CommandId command_find(const char *name); // COMMANDS: there is none
static inline bool option_taken(OptionId o, CommandId c) { return option_info[o].takers >> c & 1; }
// "-D NAME=VALUE", and what holds without: the meaning with that behind it. Both fit 256 letters.
void option_head(OptionId o, char *text, size_t size);
void option_meaning(OptionId o, char *text, size_t size);

void command_print_list(FILE *to);              // what 'sinter --help' says
void command_print_help(FILE *to, CommandId c); // what 'sinter NAME --help' says

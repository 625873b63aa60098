// Help that fits the terminal: of executables and of the compiler's commands.
#pragma once
#include <stdbool.h>
#include <stdio.h>

// Columns of the terminal that stdout is; 80 where there is none or it does not tell.
int sn_help_terminal(void);
// Columns for help: COLUMNS, else the terminal's; never fewer than can be read.
int sn_help_width(void);
// A text, its words broken into lines of `width` columns.
void sn_help_text(FILE *to, int width, const char *text);
// "  HEAD   text": the text in a column of its own, or below the head where lines are narrow.
void sn_help_row(FILE *to, int width, const char *head, const char *text);

// A word of a command line, quoted where a shell would read it otherwise.
void sn_help_word(FILE *to, const char *word);
// How a program is called, by its argv[0]: a path, or, of one that another program stands for, a whole command
// line that ends in " --", such as "sinter run model.sn --".
bool sn_help_is_command(const char *program);
void sn_help_program(FILE *to, const char *program);

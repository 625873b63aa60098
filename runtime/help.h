// Help that fits the terminal: of executables and of the compiler's commands.
#pragma once
#include <stdio.h>

// Columns that stdout has: COLUMNS, else the terminal's, else 80; never fewer than can be read.
int sn_help_width(void);
// A text, its words broken into lines of `width` columns.
void sn_help_text(FILE *to, int width, const char *text);
// "  HEAD   text": the text in a column of its own, or below the head where lines are narrow.
void sn_help_row(FILE *to, int width, const char *head, const char *text);

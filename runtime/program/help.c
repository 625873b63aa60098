// See help.h. Linear in the text; letters of several bytes count as one column.
#include "runtime/program/help.h"
#include "runtime/setting.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const int LEAST = 40, USUAL = 80, MOST = 1000, NARROW = 60, COLUMN = 25, BELOW = 8;

int sn_help_terminal(void) {
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : USUAL;
}

int sn_help_width(void) {
    const char *text = getenv("COLUMNS");
    double n = 0;
    if (!text || !sn_number(text, &n) || n < 1) n = sn_help_terminal();
    return n < LEAST ? LEAST : n > MOST ? MOST : (int)n;
}

static int columns(const char *text, size_t n) {
    int used = 0;
    for (size_t i = 0; i < n; i++) used += ((unsigned char)text[i] & 0xc0) != 0x80;
    return used;
}

// Words of text from column `at` on; further lines begin in column `indent`.
static void put_words(FILE *to, int width, int indent, int at, const char *text) {
    bool first = true;
    for (;;) {
        text += strspn(text, " ");
        size_t n = strcspn(text, " ");
        if (!n) break;
        int wide = columns(text, n);
        if (!first && at + 1 + wide > width) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(to, "%s", first ? "" : " ") + wide;
        fwrite(text, 1, n, to);
        text += n;
        first = false;
    }
    fputc('\n', to);
}

void sn_help_text(FILE *to, int width, const char *text) { put_words(to, width, 0, 0, text); }

void sn_help_row(FILE *to, int width, const char *head, const char *text) {
    int column = width < NARROW ? BELOW : COLUMN;
    int at = 2 + columns(head, strlen(head));
    fprintf(to, "  %s", head);
    if (!*text) {
        fputc('\n', to);
        return;
    }
    if (at < column) {
        fprintf(to, "%*s", column - at, "");
    } else {
        fprintf(to, "\n%*s", column, "");
    }
    put_words(to, width, column, column, text);
}

void sn_help_word(FILE *to, const char *word) {
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (*word && !word[strspn(word, plain)]) {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", to);
        else
            fputc(*word, to);
    fputc('\'', to);
}

bool sn_help_is_command(const char *program) {
    size_t n = strlen(program);
    return n > 3 && strcmp(program + n - 3, " --") == 0;
}

void sn_help_program(FILE *to, const char *program) {
    if (sn_help_is_command(program))
        fputs(program, to);
    else
        sn_help_word(to, program);
}

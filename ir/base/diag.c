// Collects diagnostics and prints them with the source line and a caret; diag.h shows the form.
//
// They are kept, not printed at once, so that a caller decides where they go and tests compare them.
#include "ir/base/diag.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ERRORS = 20 };

Diag *diag_new(Arena *a) {
    Diag *d = NEW(a, Diag);
    d->arena = a;
    vec_push(a, &d->files, ((SourceFile){"", "", 0, false}));
    return d;
}

uint16_t diag_add_file(Diag *d, const char *path, const char *text, size_t size, bool is_std) {
    vec_push(d->arena, &d->files, ((SourceFile){path, text, size, is_std}));
    return (uint16_t)(d->files.n - 1);
}

static void diag_add(Diag *d, DiagLevel level, Loc at, const char *fmt, va_list ap) {
    char buf[2048];
    vsnprintf(buf, sizeof buf, fmt, ap);
    vec_push(d->arena, &d->items, ((DiagItem){level, at, arena_str(d->arena, buf, strlen(buf))}));
    if (level == DIAG_ERROR) d->errors++;
}

#define DEFINE_LEVEL(name, level)                                                                  \
    void name(Diag *d, Loc at, const char *fmt, ...) {                                             \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        diag_add(d, level, at, fmt, ap);                                                           \
        va_end(ap);                                                                                \
    }
DEFINE_LEVEL(diag_error, DIAG_ERROR)
DEFINE_LEVEL(diag_warning, DIAG_WARNING)
DEFINE_LEVEL(diag_note, DIAG_NOTE)

void diag_position(const Diag *d, Loc at, uint32_t *line, uint32_t *col) {
    const SourceFile *f = &d->files.at[at.file];
    uint32_t start = at.start < f->size ? at.start : (uint32_t)f->size;
    *line = 1;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < start; i++)
        if (f->text[i] == '\n') (*line)++, begin = i + 1;
    *col = start - begin + 1;
}

static void put_clean(FILE *to, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        fputc(c == '\t' ? ' ' : (c < 32 || c == 127) ? '?' : c, to);
    }
}

// Shows the line that holds 'at' with the range underlined; a range over several lines is
// underlined to the end of its first.
static void put_source(const Diag *d, Loc at, uint32_t line, uint32_t col, FILE *to,
                       const char *green, const char *plain) {
    const SourceFile *f = &d->files.at[at.file];
    size_t begin = at.start - (col - 1), end = begin;
    if (at.start > f->size) begin = end = f->size;
    while (end < f->size && f->text[end] != '\n') end++;
    size_t shown = end - begin > 200 ? 200 : end - begin;
    fprintf(to, "%5u | ", line);
    put_clean(to, f->text + begin, shown);
    fputs("\n      | ", to);
    if (col > 200) {
        fputc('\n', to);
        return;
    }
    for (uint32_t i = 1; i < col; i++) {
        // continuation bytes of UTF-8 take no column on the screen
        if (((unsigned char)f->text[begin + i - 1] & 0xc0) != 0x80) fputc(' ', to);
    }
    fprintf(to, "%s^", green);
    for (size_t i = at.start + 1; i < at.end && i < begin + shown; i++)
        if (((unsigned char)f->text[i] & 0xc0) != 0x80) fputc('~', to);
    fprintf(to, "%s\n", plain);
}

void diag_print(const Diag *d, FILE *to, bool colour) {
    static const char *const names[] = {"error", "warning", "note"};
    static const char *const codes[] = {"\033[1;31m", "\033[1;35m", "\033[1;36m"};
    const char *plain = colour ? "\033[0m" : "", *green = colour ? "\033[1;32m" : "";
    uint32_t shown = 0;
    for (uint32_t i = 0; i < d->items.n; i++) {
        const DiagItem *it = &d->items.at[i];
        if (it->level == DIAG_ERROR && shown++ == MAX_ERRORS) {
            fprintf(to, "%u more errors not shown\n", d->errors - MAX_ERRORS);
            return;
        }
        uint32_t line = 0, col = 0;
        if (it->loc.file) {
            diag_position(d, it->loc, &line, &col);
            const char *path = d->files.at[it->loc.file].path;
            put_clean(to, path, strlen(path));
            fprintf(to, ":%u:%u: ", line, col);
        } else {
            fputs("sinter: ", to);
        }
        fprintf(to, "%s%s:%s ", colour ? codes[it->level] : "", names[it->level], plain);
        put_clean(to, it->text, strlen(it->text));
        fputc('\n', to);
        if (it->loc.file) put_source(d, it->loc, line, col, to, green, plain);
    }
}

_Noreturn void internal_error(const char *file, int line, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "sinter: internal error: %s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputs("\nsinter: this is a bug in sinter, not in your model\n", stderr);
    va_end(ap);
    // abort() so that the driver's SIGABRT handler can write the reproducer, and a debugger stops.
    abort();
}

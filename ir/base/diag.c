// Collects diagnostics and prints them with the source line and a caret; diag.h shows the form.
//
// They are kept, not printed at once, so that a caller decides where they go and tests compare them.
// A file may hold any number of faults: those beyond the limit cost a count.
#include "ir/base/diag.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

Diag *diag_new(Arena *a) {
    Diag *d = NEW(a, Diag);
    d->arena = a;
    d->limit = DIAG_LIMIT;
    diag_add_file(d, "", "", 0, false);
    return d;
}

// Where each line of the file begins.
static void index_lines(Arena *a, SourceFile *f) {
    const char *end = f->text + f->size;
    uint32_t n = 1;
    for (const char *s = f->text; (s = memchr(s, '\n', (size_t)(end - s))); s++) n++;
    uint32_t *lines = NEW_ARRAY(a, uint32_t, n);
    for (const char *s = f->text; (s = memchr(s, '\n', (size_t)(end - s)));)
        lines[++f->nlines] = (uint32_t)(++s - f->text);
    f->lines = lines;
    f->nlines = n;
}

uint16_t diag_add_file(Diag *d, const char *path, const char *text, size_t size, bool is_std) {
    SourceFile f = {.path = path, .text = text, .size = size, .is_std = is_std};
    index_lines(d->arena, &f);
    vec_push(d->arena, &d->files, f);
    return (uint16_t)(d->files.n - 1);
}

void diag_format(char *buf, size_t size, const char *fmt, va_list ap) {
    static const char more[] = "…";
    int n = vsnprintf(buf, size, fmt, ap);
    if (n < 0 || (size_t)n < size) return;
    size_t at = size - sizeof more;
    while (at && ((unsigned char)buf[at] & 0xc0) == 0x80) at--; // not inside a character
    memcpy(buf + at, more, sizeof more);
}

static void diag_add(Diag *d, DiagLevel level, Loc at, const char *fmt, va_list ap) {
    char buf[2048];
    if (level != DIAG_NOTE) d->dropping = level == DIAG_ERROR && d->errors >= d->limit;
    if (level == DIAG_ERROR) d->errors++;
    if (d->dropping) return;
    diag_format(buf, sizeof buf, fmt, ap);
    vec_push(d->arena, &d->items, ((DiagItem){level, at, arena_str(d->arena, buf, strlen(buf))}));
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

bool diag_has_error(const Diag *d, Loc at) {
    for (uint32_t i = 0; i < d->items.n && at.file; i++) {
        const DiagItem *x = &d->items.at[i];
        if (x->level == DIAG_ERROR && x->loc.file == at.file && x->loc.start == at.start &&
            x->loc.end == at.end)
            return true;
    }
    return false;
}

void diag_position(const Diag *d, Loc at, uint32_t *line, uint32_t *col) {
    const SourceFile *f = &d->files.at[at.file];
    uint32_t start = at.start < f->size ? at.start : (uint32_t)f->size;
    uint32_t lo = 0, hi = f->nlines; // the line is one of [lo, hi)
    while (hi - lo > 1) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (f->lines[middle] <= start)
            lo = middle;
        else
            hi = middle;
    }
    *line = lo + 1;
    *col = start - f->lines[lo] + 1;
}

static void put_clean(Text *to, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        char shown = (char)(c == '\t' ? ' ' : (c < 32 || c == 127) ? '?' : c);
        text_put(to, &shown, 1);
    }
}

// Whether this byte continues a character of UTF-8: it takes no column on the screen.
static bool is_inside(const SourceFile *f, size_t i) {
    return i < f->size && ((unsigned char)f->text[i] & 0xc0) == 0x80;
}

enum {
    SHOWN = 200, // bytes of a line that are shown
    BEFORE = 100 // of them before a place that lies further behind
};

// Shows the line that holds 'at' with the range underlined; a range over several lines is
// underlined to the end of its first. Of a long line the part around 'at' is shown.
static void put_source(const Diag *d, Loc at, uint32_t line, uint32_t col, Text *to,
                       const char *green, const char *plain) {
    const SourceFile *f = &d->files.at[at.file];
    size_t place = at.start < f->size ? at.start : f->size, begin = place - (col - 1), end = begin;
    if (col > SHOWN) begin = place - BEFORE;
    while (is_inside(f, begin)) begin++;
    while (end < f->size && f->text[end] != '\n') end++;
    size_t stop = end - begin > SHOWN ? begin + SHOWN : end;
    text_printf(to, "%5u | ", line);
    put_clean(to, f->text + begin, stop - begin);
    text_printf(to, "\n      | ");
    for (size_t i = begin; i < place; i++)
        if (!is_inside(f, i)) text_put(to, " ", 1);
    text_printf(to, "%s^", green);
    for (size_t i = place + 1; i < at.end && i < stop; i++)
        if (!is_inside(f, i)) text_put(to, "~", 1);
    text_printf(to, "%s\n", plain);
}

const char *diag_text(const Diag *d, Arena *a, Loc at) {
    const SourceFile *f = &d->files.at[at.file];
    Text t = {.arena = a};
    bool quoted = false, blank = false;
    text_put(&t, "", 0);
    for (size_t i = at.start; i < at.end && i < f->size; i++) {
        char c = f->text[i];
        if (!quoted && c == '#') {
            while (i < at.end && i < f->size && f->text[i] != '\n') i++;
            c = ' ';
        }
        if (!quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
            blank = t.n > 0;
            continue;
        }
        if (c == '"') quoted = !quoted;
        if (blank) text_put(&t, " ", 1);
        blank = false;
        text_put(&t, &c, 1);
        if (quoted && c == '\\' && i + 1 < at.end && i + 1 < f->size)
            text_put(&t, &f->text[++i], 1);
    }
    return t.at;
}

// Built first and written at once: stderr has no buffer.
void diag_print(const Diag *d, FILE *file, bool colour) {
    static const char *const names[] = {"error", "warning", "note"};
    static const char *const codes[] = {"\033[1;31m", "\033[1;35m", "\033[1;36m"};
    Arena *a = arena_new();
    Text text = {.arena = a}, *to = &text;
    const char *plain = colour ? "\033[0m" : "", *green = colour ? "\033[1;32m" : "";
    for (uint32_t i = 0; i < d->items.n; i++) {
        const DiagItem *it = &d->items.at[i];
        uint32_t line = 0, col = 0;
        if (it->loc.file) {
            diag_position(d, it->loc, &line, &col);
            const char *path = d->files.at[it->loc.file].path;
            put_clean(to, path, strlen(path));
            text_printf(to, ":%u:%u: ", line, col);
        } else {
            text_printf(to, "sinter: ");
        }
        text_printf(to, "%s%s:%s ", colour ? codes[it->level] : "", names[it->level], plain);
        put_clean(to, it->text, strlen(it->text));
        text_put(to, "\n", 1);
        if (it->loc.file) put_source(d, it->loc, line, col, to, green, plain);
    }
    if (d->errors > d->limit) text_printf(to, "%u more errors not shown\n", d->errors - d->limit);
    if (text.n) fwrite(text.at, 1, text.n, file);
    arena_free(a);
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

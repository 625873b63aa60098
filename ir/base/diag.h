// Source files, positions in them, and diagnostics with a caret.
//
// A message reads   file:line:col: error: text
//                     12 | source line
//                        |   ^~~~~
// 'text' is lower case without a period, names in 'quotes', expected and found.
#pragma once
#include "ir/base/arena.h"
#include "ir/base/str.h"
#include <stdarg.h>

// A range of bytes in one source file. file 0 = nowhere.
typedef struct {
    uint16_t file;
    uint32_t start, end; // [start, end)
} Loc;

typedef struct {
    const char *path; // as the user wrote it; "std.sn" for the embedded library
    const char *text; // NUL-terminated; may hold any byte
    size_t size;
    bool is_std;           // faults inside are reported at the user's call
    const uint32_t *lines; // where each line begins, in order
    uint32_t nlines;
} SourceFile;

typedef enum { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE } DiagLevel;

typedef struct {
    DiagLevel level;
    Loc loc;
    const char *text;
} DiagItem;

typedef struct Diag {
    Arena *arena;
    VEC(SourceFile) files; // files.at[0] is the empty file
    VEC(DiagItem) items;
    uint32_t errors; // all of them, kept or not
    uint32_t limit;  // errors that are kept; those after them are counted only
    bool dropping;   // the last error was not kept, so its notes are not either
} Diag;

enum { DIAG_LIMIT = 20 }; // errors that are kept unless another limit is set
Diag *diag_new(Arena *a);
uint16_t diag_add_file(Diag *d, const char *path, const char *text, size_t size, bool is_std);
void diag_error(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// Whether an error at exactly this place is kept: several functions of a module come from one line, and
// one error says what is wrong with it. O(errors).
bool diag_has_error(const Diag *d, Loc at);
// vsnprintf for texts of messages: what does not fit ends in '…'.
void diag_format(char *buf, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
// Line and column, both from 1; a column counts bytes, a tab is one. O(log lines).
void diag_position(const Diag *d, Loc at, uint32_t *line, uint32_t *col);
// The text at a place as one line: comments are left out, blanks between words are one. In the arena.
const char *diag_text(const Diag *d, Arena *a, Loc at);
// Writes all items in the order reported, then how many errors were not kept. Control characters in
// source lines and names are shown as '?', so that a hostile file cannot drive the terminal.
void diag_print(const Diag *d, FILE *to, bool colour);

// Internal error: message with values to stderr, writes a reproducer if one was registered, exit
// code 70. For broken invariants only, never for bad input.
_Noreturn void internal_error(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define unreachable(value)                                                                         \
    internal_error(__FILE__, __LINE__, "impossible value %lld", (long long)(value))
#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) internal_error(__FILE__, __LINE__, __VA_ARGS__);                              \
    } while (0)

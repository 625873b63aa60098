// JSON (RFC 8259), as far as a safetensors header needs it: a reader that is asked for what must come
// next, and a buffer to write. No tree is built: a header of n bytes costs n bytes and what its reader
// keeps of it. Strings are decoded where they stand.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *text; // writable; the reader's until the strings it gave are no longer needed
    size_t at, n;
    const char *fault; // NULL: none; no call gets behind the first one, which is at byte `at`
} SnJson;

char sn_json_peek(SnJson *j);         // what comes next, blanks aside; 0 at the end
bool sn_json_take(SnJson *j, char c); // takes that character; false: something else comes
bool sn_json_need(SnJson *j, char c); // the same, and then it is a fault
// The next entry of what `open` ('{' or '[') was taken of. False: its end, which is taken, or a fault.
bool sn_json_next(SnJson *j, char open, bool *first);
// Ends in a NUL byte and holds no other. NULL: a fault.
char *sn_json_string(SnJson *j);
// A whole number from 0 to INT64_MAX without a fraction or an exponent. False: no fault, nothing is
// taken.
bool sn_json_size(SnJson *j, uint64_t *to);

typedef struct {
    char *text; // ends in a NUL byte; the caller frees it
    size_t n, limit;
    bool failed; // memory was short: what follows is dropped too
} SnText;

void sn_text_add(SnText *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sn_text_quote(SnText *t, const char *s); // as a JSON string

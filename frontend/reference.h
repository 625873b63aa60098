// The library's reference, read from the comments of std.sn and of any file written like it.
//
// '# --- TITLE' opens a section; lines below it, up to a blank one, are its text. The comment right above a
// definition is its entry: a first line that stands in lists, more lines, then fields 'NAME: …' (reference.def),
// each going on in lines that begin with '#   '. Signatures and texts are the file's own.
#pragma once
#include "ir/base/diag.h"

typedef enum {
#define FIELD(name, meaning) REF_##name,
#include "frontend/reference.def"
#undef FIELD
    REF_FIELDS
} RefField;

typedef struct {
    const char *name, *signature;  // "softmax[..a](x[..a, ..])"; of a constant "pi = 3.14"
    const char *brief, *more;      // the first line; the lines after it, or ""
    const char *field[REF_FIELDS]; // one line each; "" where it is not written
    const char *text;              // its source
    uint32_t section;
} RefEntry;
typedef struct {
    const char *title, *text; // text: lines, or ""
} RefSection;
typedef struct {
    VEC(RefSection) sections;
    VEC(RefEntry) entries; // in the order of the file
} Reference;

extern const char *const ref_field_names[REF_FIELDS];
// Reads file number 'file' of d. A definition without comment or section, and a field that is none, are errors.
Reference *reference_read(Arena *a, Diag *d, uint16_t file);
// That of std.sn, which has no errors.
Reference *reference_std(Arena *a, Diag *d);
// The entry of that name, or NULL.
const RefEntry *reference_find(const Reference *r, const char *name);

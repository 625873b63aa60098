// From the text of a source file to its syntax tree (frontend/ast.h).
#pragma once
#include "frontend/ast.h"

// Parses file number 'file' of d. Syntax errors go to d, several per run: after one, reading goes
// on with the next statement, and what was broken is left out of the tree. Never NULL; check
// d->errors. Time and memory are linear in the file.
AstFile *parse_file(Arena *a, SymTab *syms, Diag *d, uint16_t file);

// The standard library, embedded: the text of frontend/std.sn, NUL-terminated.
extern const char std_source[];
extern const size_t std_source_size;

// Fuzzes the frontend's text half: no bytes may crash the parser, and what it accepts is formatted
// to a text that has the same tree and is formatted to itself.
//
//   cmake -B build-fuzz -DFUZZ=ON -DCMAKE_C_COMPILER=clang-19
//   build-fuzz/tests/fuzz_source models
#include "frontend/frontend.h"
#include "frontend/parse.h"
#include <stdlib.h>
#include <string.h>

static AstFile *parse(Arena *a, SymTab *syms, const char *text, size_t size) {
    Diag *d = diag_new(a);
    AstFile *ast = parse_file(a, syms, d, diag_add_file(d, "in.sn", text, size, false));
    if (!ast) abort();
    return d->errors ? NULL : ast;
}

static char *format(Arena *a, const char *text, size_t size) {
    Diag *d = diag_new(a);
    char *out = frontend_format(a, d, diag_add_file(d, "in.sn", text, size, false));
    if (!out != (d->errors != 0)) abort();
    return out;
}

static void check_format(Arena *a, SymTab *syms, const AstFile *ast, const char *text,
                         size_t size) {
    char *once = format(a, text, size);
    if (!once) abort();
    AstFile *again = parse(a, syms, once, strlen(once));
    if (!again || !ast_equal(ast, again)) abort();
    char *twice = format(a, once, strlen(once));
    if (!twice || strcmp(once, twice) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *a = arena_new();
    SymTab *syms = symtab_new(a);
    // The parser reads a text that ends in NUL; the copy lets the sanitizer see reads beyond it.
    char *copy = malloc(size + 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    copy[size] = 0;
    AstFile *ast = parse(a, syms, copy, size);
    if (ast) check_format(a, syms, ast, copy, size);
    free(copy);
    arena_free(a);
    return 0;
}

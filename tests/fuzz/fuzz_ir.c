// Fuzzes the IR text parser: no input may crash it or the verifier, and what it accepts prints as a
// text that parses to the same text again.
//
//   cmake -B build-fuzz -DFUZZ=ON -DCMAKE_C_COMPILER=clang-19 && build-fuzz/tests/fuzz_ir tests/ir
#include "ir/ir.h"
#include <stdlib.h>
#include <string.h>

static bool print_parsed(Arena *a, const char *text, size_t size, bool verify, Text *out) {
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, "in.ir", text, size, false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    if (!m != (d->errors != 0)) abort();
    if (!m) return false;
    Text why = {.arena = a};
    if (verify) ir_verify(m, &why);
    ir_print_module(out, m);
    text_put(out, "", 0);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *a = arena_new();
    // The parser reads a text that ends in NUL; the copy lets the sanitizer see reads beyond it.
    char *copy = malloc(size + 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    copy[size] = 0;
    Text once = {.arena = a}, twice = {.arena = a};
    if (print_parsed(a, copy, size, true, &once)) {
        if (!print_parsed(a, once.at, once.n, false, &twice)) abort();
        if (once.n != twice.n || memcmp(once.at, twice.at, once.n) != 0) abort();
    }
    free(copy);
    arena_free(a);
    return 0;
}

// docs/language.md is true: every block marked 'sn' compiles and stands in the canonical layout.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "frontend/parse.h"
#include "tests/unit/files.h"

// The next block and where the search goes on; NULL after the last.
static char *next_block(Arena *a, const char **at) {
    const char *open = strstr(*at, "\n```sn\n");
    if (!open) return NULL;
    open += strlen("\n```sn\n");
    const char *close = strstr(open, "\n```\n");
    assert_non_null(close);
    *at = close + 1;
    return arena_str(a, open, (size_t)(close + 1 - open));
}

static void fail_with(const Diag *d, const char *text) {
    diag_print(d, stderr, false);
    fail_msg("a block of docs/language.md does not compile:\n%s", text);
}

static void check_compiles(const char *text) {
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, "block.sn", text, strlen(text), false);
    if (!frontend_compile(a, symtab_new(a), d, file, NULL, 0)) fail_with(d, text);
    arena_free(a);
}

static AstFile *parse(Arena *a, SymTab *syms, const char *text) {
    Diag *d = diag_new(a);
    AstFile *ast = parse_file(a, syms, d, diag_add_file(d, "block.sn", text, strlen(text), false));
    if (d->errors) fail_with(d, text);
    return ast;
}

static void check_format(const char *text) {
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    SymTab *syms = symtab_new(a);
    char *out = frontend_format(a, d, diag_add_file(d, "block.sn", text, strlen(text), false));
    assert_non_null(out);
    assert_true(ast_equal(parse(a, syms, text), parse(a, syms, out)));
    assert_string_equal(out, text);
    arena_free(a);
}

static void test_blocks(void **state) {
    (void)state;
    Arena *a = arena_new();
    const char *at = read_file(a, SOURCE_DIR "/docs/language.md", NULL);
    int n = 0;
    for (char *text; (text = next_block(a, &at)); n++) {
        check_compiles(text);
        check_format(text);
    }
    assert_true(n >= 7);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

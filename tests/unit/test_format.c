// `sinter fmt`: the layout is canonical (formatting its own output changes nothing), keeps the tree
// and every comment, and is the one docs/language.md describes.
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
#include <dirent.h>

static AstFile *parse(Arena *a, SymTab *syms, const char *text) {
    Diag *d = diag_new(a);
    AstFile *ast = parse_file(a, syms, d, diag_add_file(d, "test.sn", text, strlen(text), false));
    if (d->errors) fail_msg("%s: %s", text, d->items.at[0].text);
    return ast;
}

static char *format(Arena *a, const char *text) {
    Diag *d = diag_new(a);
    char *out = frontend_format(a, d, diag_add_file(d, "test.sn", text, strlen(text), false));
    if (!out) fail_msg("%s", d->items.at[0].text);
    return out;
}

static uint32_t count(const char *text, char what) {
    uint32_t n = 0;
    for (; *text; text++) n += *text == what;
    return n;
}

static void assert_kept(Arena *a, const char *text) {
    SymTab *syms = symtab_new(a);
    char *once = format(a, text);
    assert_string_equal(format(a, once), once);
    assert_true(ast_equal(parse(a, syms, text), parse(a, syms, once)));
    assert_int_equal(count(once, '#'), count(text, '#'));
}

static void assert_format(const char *text, const char *expected) {
    Arena *a = arena_new();
    assert_kept(a, text);
    assert_string_equal(format(a, text), expected);
    arena_free(a);
}

static void test_spaces(void **state) {
    (void)state;
    assert_format("x=a+b*-c^ -2", "x = a + b * -c^-2\n");
    assert_format("x = f ( a,b ) [c->d*e] [ g:-1  else -h ]",
                  "x = f(a, b)[c -> d * e][g: -1 else -h]\n");
    assert_format("x=a@[b,..r](-c)@[ ]-d", "x = a @[b, ..r] (-c) @[] -d\n");
    assert_format("x=a+[ ]b*[](c)-[]-d^[]-e^f<[]g", "x = a +[] b *[] (c) -[] -d ^[] -e^f <[] g\n");
    assert_format("x=max[ ](a>=[]b,c)/[]d", "x = max[](a >=[] b, c) /[] d\n");
    assert_format("x=a@[b]\nc==[]\nd\ny=2", "x = a @[b]\n  c ==[]\n  d\ny = 2\n");
    assert_format("x=(a , b)[1+c->d]", "x = (a, b)[1 + c -> d]\n");
    assert_format("x = if not(a) then(b)else-c", "x = if not (a) then (b) else -c\n");
    assert_format("x = sum [a] (b)  as  shared  c", "x = sum[a](b) as shared c\n");
    assert_format("use \"a\"as l with b=1,c = 2", "use \"a\" as l with b = 1, c = 2\n");
    assert_format("x = a . b", "x = a.b\n");
    assert_format("fn f [..a] (x [..a , ..],k:int=3)=x", "fn f[..a](x[..a, ..], k: int = 3) = x\n");
}

static void test_lines(void **state) {
    (void)state;
    assert_format("\n\nx = 1\n\n\n\ny = 2;z = 3 ;\n\n", "x = 1\n\ny = 2; z = 3;\n");
    assert_format("x = 1 +\n2 *\n\n3\ny = f(a,\nb)\n", "x = 1 +\n  2 *\n\n  3\ny = f(a,\n  b)\n");
    assert_format("model m(x){\n\nif a{x=1}\nelse{\nx = 2\n\n}\nrepeat 3{}\n}",
                  "model m(x) {\n  if a { x = 1 }\n  else {\n    x = 2\n  }\n  repeat 3 {}\n}\n");
    assert_format("", "");
    assert_format("x = 3\r\n# a\r\n", "x = 3\n# a\n");
}

static void test_comments(void **state) {
    (void)state;
    assert_format("#a  \nx = 1 # b\nlong = 2 #c\n  # d\ny=1#e",
                  "#a\nx = 1     # b\nlong = 2  #c\n# d\ny = 1  #e\n");
    assert_format("model m(x) { # a\n# b\n\nx = f(1, # c\n# d\n2)\n# e\n}",
                  "model m(x) {  # a\n  # b\n\n  x = f(1,  # c\n    # d\n    2)\n  # e\n}\n");
    assert_format("x = \"\xc3\xa9\" # a\ny = \"ab\" # b",
                  "x = \"\xc3\xa9\"   # a\ny = \"ab\"  # b\n");
}

static void test_plan(void **state) {
    (void)state;
    assert_format("train{\nsize batch=3,\nseq=4 ; clip 1\nfreeze:*\noptimizer a:b , c.*\nlr\n"
                  "stage s{steps 3}\nstage t{\nsteps -3\n}\n}",
                  "train {\n  size      batch = 3,\n    seq = 4; clip 1\n  freeze    : *\n"
                  "  optimizer a: b, c.*\n  lr\n  stage s { steps 3 }\n  stage t {\n"
                  "    steps     -3\n  }\n}\n");
    assert_format("weights h{\na.*,b=\"x\"[c*d+e]\n}",
                  "weights h {\n  a.*, b = \"x\" [c * d + e]\n}\n");
}

static void test_errors(void **state) {
    (void)state;
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    assert_null(frontend_format(a, d, diag_add_file(d, "test.sn", "x = = 3", 7, false)));
    assert_true(d->errors > 0);
    arena_free(a);
}

static void test_models(void **state) {
    (void)state;
    Arena *a = arena_new();
    assert_kept(a, std_source);
    DIR *dir = opendir(SOURCE_DIR "/models");
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".sn"))
            assert_kept(a, read_file(a, arena_printf(a, SOURCE_DIR "/models/%s", e->d_name), NULL));
    closedir(dir);
    arena_free(a);
}

// A comparison that cannot fail proves nothing: texts that differ in one place are told apart.
static void test_equality(void **state) {
    (void)state;
    static const char *const texts[] = {
        "x = a + b",
        "x = a - b",
        "y = a + b",
        "x = a @[b] c",
        "x = a @[..b] c",
        "x = f(a)",
        "x = f[](a)",
        "x = f(a) as b",
        "x = f(a) as shared b",
        "x = a[b -> c]",
        "x = a[c -> b]",
        "x = a[b -> c * d]",
        "x = a[b: 1]",
        "x = a[b: 1 else 2]",
        "axis a",
        "axis a = 1",
        "axis a = ..b",
        "fn f(x) = x",
        "fn f(x) { return x }",
        "block f(x) = x",
        "fn f(x[a]) = x",
        "fn f(x[]) = x",
        "train { a b }",
        "train { a: b }",
        "train { stage a { b } }",
        "x = \"a\"",
        "x = \"b\"",
        "model m(x) { if a { x = 1 } }",
        "model m(x) { if a { x = 1 } else { } }",
        "model m(x) { repeat a { x = 1 } }",
        "model m(x) { repeat a shared { x = 1 } }",
        "model m(x) { param a[b -> c] ~ 0 }",
        "model m(x) { param a[b] ~ 0 }",
        "model m(x) { state a[b] ~ 0 }",
        "weights a { b = \"c\" }",
        "weights a { b = \"c\" [d] }",
    };
    enum { N = sizeof texts / sizeof *texts };
    Arena *a = arena_new();
    SymTab *syms = symtab_new(a);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            assert_int_equal(ast_equal(parse(a, syms, texts[i]), parse(a, syms, texts[k])), i == k);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spaces),   cmocka_unit_test(test_lines),
        cmocka_unit_test(test_comments), cmocka_unit_test(test_plan),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_models),
        cmocka_unit_test(test_equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

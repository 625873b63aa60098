// The parser: trees of small texts in a bracket notation, where statements end, what numbers and
// strings mean, the bounds on nesting, and the messages of tests/diag/syntax_*.sn to the byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/parse.h"
#include "tests/unit/files.h"
#include <dirent.h>

typedef struct {
    Arena *a;
    SymTab *syms;
    Diag *d;
    AstFile *ast;
} Parsed;

static Parsed parse_bytes(const char *path, const char *text, size_t size) {
    Parsed p = {.a = arena_new()};
    p.syms = symtab_new(p.a);
    p.d = diag_new(p.a);
    p.ast = parse_file(p.a, p.syms, p.d, diag_add_file(p.d, path, text, size, false));
    return p;
}

static Parsed parse(const char *text) { return parse_bytes("test.sn", text, strlen(text)); }

static Parsed parse_good(const char *text) {
    Parsed p = parse(text);
    if (p.d->errors) fail_msg("%s: %s", text, p.d->items.at[0].text);
    return p;
}

// ---- trees as text ------------------------------------------------------------------------------

typedef struct {
    Text *t;
    const SymTab *syms;
} Out;

static const char *name_of(Out o, Sym s) { return sym_str(o.syms, s); }

static void put_axes(Out o, const AxList *l, const char *sep) {
    for (uint32_t i = 0; i < l->n; i++)
        text_printf(o.t, "%s%s%s", i ? sep : "", l->at[i].pack ? ".." : "",
                    name_of(o, l->at[i].name));
}

static void put_sum(Out o, const Sum *s) {
    for (uint32_t i = 0; i < s->parts.n; i++) {
        if (i) text_printf(o.t, "+");
        if (s->parts.at[i].one) text_printf(o.t, "1");
        put_axes(o, &s->parts.at[i].factors, "*");
    }
}

static void put_expr(Out o, const Expr *e);

static void put_view(Out o, const AstView *v) {
    static const char *const kinds[] = {"rename", "reshape", "cut", "join", "index"};
    text_printf(o.t, " %s:", kinds[v->kind]);
    if (v->kind == VIEW_index) {
        text_printf(o.t, "%s:", name_of(o, v->axis.name));
        put_expr(o, v->index);
        if (v->outside) text_printf(o.t, "|"), put_expr(o, v->outside);
    } else {
        put_sum(o, &v->from);
        text_printf(o.t, ">");
        put_sum(o, &v->to);
    }
}

static void put_call(Out o, const Expr *e) {
    if (e->call.qualifier) text_printf(o.t, "%s.", name_of(o, e->call.qualifier));
    text_printf(o.t, "%s", name_of(o, e->call.name));
    if (e->call.has_axes) {
        text_printf(o.t, "[");
        AxList left = e->call.axes, right = e->call.axes;
        left.n = e->call.left;
        right.at += e->call.left, right.n -= e->call.left;
        put_axes(o, &left, ",");
        if (e->call.arrow) text_printf(o.t, ">");
        put_axes(o, &right, ",");
        text_printf(o.t, "]");
    }
    text_printf(o.t, "%s", e->call.has_args ? "(" : "");
    for (uint32_t i = 0; i < e->call.args.n; i++) {
        if (i) text_printf(o.t, ",");
        if (e->call.args.at[i].name) text_printf(o.t, "%s=", name_of(o, e->call.args.at[i].name));
        put_expr(o, e->call.args.at[i].value);
    }
    text_printf(o.t, "%s", e->call.has_args ? ")" : "");
    if (e->call.label)
        text_printf(o.t, " as%s %s", e->call.shared ? " shared" : "", name_of(o, e->call.label));
}

static void put_expr(Out o, const Expr *e) {
    switch (e->kind) {
    case E_number: text_printf(o.t, "%s", name_of(o, e->number.text)); return;
    case E_string: text_printf(o.t, "\"%s\"", e->string.text); return;
    case E_name:
        if (e->name.qualifier) text_printf(o.t, "%s.", name_of(o, e->name.qualifier));
        text_printf(o.t, "%s", name_of(o, e->name.name));
        return;
    case E_call: put_call(o, e); return;
    case E_tuple:
        text_printf(o.t, "<");
        for (uint32_t i = 0; i < e->tuple.n; i++) {
            if (i) text_printf(o.t, ",");
            put_expr(o, e->tuple.at[i]);
        }
        text_printf(o.t, ">");
        return;
    case E_view:
        text_printf(o.t, "{");
        put_expr(o, e->view.base);
        for (uint32_t i = 0; i < e->view.items.n; i++) put_view(o, &e->view.items.at[i]);
        text_printf(o.t, "}");
        return;
    case E_unary:
        text_printf(o.t, "(%s ", e->unary.op == UN_neg ? "-" : "not");
        put_expr(o, e->unary.x);
        text_printf(o.t, ")");
        return;
    case E_binary:
        text_printf(o.t, "(");
        put_expr(o, e->binary.a);
        text_printf(o.t, " %s%s ", ast_binary_name(e->binary.op), e->binary.outer ? "[]" : "");
        put_expr(o, e->binary.b);
        text_printf(o.t, ")");
        return;
    case E_contract:
        text_printf(o.t, "(");
        put_expr(o, e->contract.a);
        text_printf(o.t, " @");
        put_axes(o, &e->contract.axes, ",");
        text_printf(o.t, " ");
        put_expr(o, e->contract.b);
        text_printf(o.t, ")");
        return;
    case E_if:
        text_printf(o.t, "(if ");
        put_expr(o, e->cond.cond);
        text_printf(o.t, " ");
        put_expr(o, e->cond.yes);
        text_printf(o.t, " ");
        put_expr(o, e->cond.no);
        text_printf(o.t, ")");
        return;
    }
    unreachable(e->kind);
}

static void assert_expr(const char *source, const char *expected) {
    Arena *a = arena_new();
    Parsed p = parse_good(arena_printf(a, "x = %s", source));
    assert_int_equal(p.ast->items.n, 1);
    Text t = {.arena = p.a};
    put_expr((Out){&t, p.syms}, p.ast->items.at[0].bind.value);
    assert_string_equal(t.at, expected);
    arena_free(p.a);
    arena_free(a);
}

static void test_operators(void **state) {
    (void)state;
    assert_expr("a + b * c", "(a + (b * c))");
    assert_expr("a - b - c", "((a - b) - c)");
    assert_expr("a / b // c % d", "(((a / b) // c) % d)");
    assert_expr("-a ^ b", "(- (a ^ b))");
    assert_expr("a ^ -b ^ c", "(a ^ (- (b ^ c)))");
    assert_expr("-a * -b", "((- a) * (- b))");
    assert_expr("not a < b and c or d", "(((not (a < b)) and c) or d)");
    assert_expr("a == b + 1", "(a == (b + 1))");
    assert_expr("if a then b else if c then d else e", "(if a b (if c d e))");
    assert_expr("(if a then b else c) + 1", "((if a b c) + 1)");
    assert_expr("a @[s] b * c @[t, ..r] d", "(((a @s b) * c) @t,..r d)");
    assert_expr("a @[] b ^ (-c / d)", "(a @ (b ^ ((- c) / d)))");
    assert_expr("a +[] b *[] c -[] -d", "((a +[] (b *[] c)) -[] (- d))");
    assert_expr("a < b +[] c ^[] -d ^ e", "(a < (b +[] (c ^[] (- (d ^ e)))))");
    assert_expr("a <[] b /[] c //[] d %[] e", "(a <[] (((b /[] c) //[] d) %[] e))");
    assert_expr("a <=[] b or a ==[] b or a !=[] b or a >=[] b or a >[] b",
                "(((((a <=[] b) or (a ==[] b)) or (a !=[] b)) or (a >=[] b)) or (a >[] b))");
    assert_expr("f(a) -[] (b)[c -> d]", "(f(a) -[] {b rename:c>d})");
    assert_expr("max[](a, b)", "max[](a,b)");
    assert_expr("(a, b + 1)", "<a,(b + 1)>");
    assert_expr("(a)", "a");
}

static void test_calls_and_views(void **state) {
    (void)state;
    assert_expr("f()", "f()");
    assert_expr("f[a, ..r](x, k = 3)", "f[a,..r](x,k=3)");
    assert_expr("top[a -> k](x)", "top[a>k](x)");
    assert_expr("iota[a]", "iota[a]");
    assert_expr("f[]", "f[]");
    assert_expr("lib.f[a](lib.x)", "lib.f[a](lib.x)");
    assert_expr("f(x) as n", "f(x) as n");
    assert_expr("f(g(x) as m)[a -> b] @[b] w", "({f(g(x) as m) rename:a>b} @b w)");
    assert_expr("f[a](x) as shared n", "f[a](x) as shared n");
    assert_expr("x[a -> b]", "{x rename:a>b}");
    assert_expr("x[a -> b * c, d * e -> f]", "{x reshape:a>b*c reshape:d*e>f}");
    assert_expr("x[..i -> r]", "{x rename:..i>r}");
    assert_expr("x[a -> b + c]", "{x cut:a>b+c}");
    assert_expr("(x, y)[1 + b * c -> a][a -> d]", "{{<x,y> join:1+b*c>a} rename:a>d}");
    assert_expr("x[a: i + 1 else 0, b: 3]", "{x index:a:(i + 1)|0 index:b:3}");
    assert_expr("x[a: if t then 1 else 2 else 3]", "{x index:a:(if t 1 2)|3}");
    assert_expr("f(x)[a: 0]", "{f(x) index:a:0}");
}

// ---- statements ---------------------------------------------------------------------------------

static void assert_items(const char *source, uint32_t n) {
    Parsed p = parse_good(source);
    assert_int_equal(p.ast->items.n, n);
    arena_free(p.a);
}

static void test_line_ends(void **state) {
    (void)state;
    assert_items("", 0);
    assert_items("\n\n# only a comment", 0);
    assert_items("x = 3; y = 4;; z = 5;", 3);
    assert_items("x = 3\ny = 4\n\n\nz = 5", 3);
    assert_items("x =\n  3 +\n\n  # why\n  4 *\n 5\ny = 2", 2);
    assert_items("x = f(a,\n  b\n  + c)\ny = x[a\n ->\n b]", 2);
    assert_items("x = a @[b]\n  c +[]\n\n  d <[\n]\n  e\ny = x[a]\nz = a[b: 0]\nw = 2", 4);
    assert_items("x = 3\r\ny = 4\r\n", 2);
    assert_items("\xef\xbb\xbfx = 3", 1);
    assert_items("fn f(x) =\n  x\nmodel m(x) {\n  if a { y = 1 }\n\n  else { y = 2 }\n}\n", 2);
    assert_items("train { freeze : *\n  fuse : a.*\n}\nx = 3", 2);
}

static const Stmt *only_statement(Parsed p, uint32_t i) {
    assert_int_equal(p.ast->items.at[0].kind, ITEM_func);
    assert_true(i < p.ast->items.at[0].func->body.n);
    return p.ast->items.at[0].func->body.at[i];
}

static void test_declarations(void **state) {
    (void)state;
    Parsed p = parse_good("block b[i, ..o](x: real[i, ..] = 1, w[..b: i -> ..o]) {\n"
                          "  param u[i -> ..o], v[b: i -> ..o] ~ normal(1), s[] ~ 0, t ~ 2\n"
                          "  axis r = ..o, h = i / 2, open\n}");
    const AstFunc *f = p.ast->items.at[0].func;
    assert_int_equal(f->kind, FUNC_block);
    assert_true(f->has_axes && f->axes.n == 2 && f->axes.at[1].pack);
    assert_int_equal(f->args.n, 2);
    assert_string_equal(sym_str(p.syms, f->args.at[0].kind), "real");
    assert_true(f->args.at[0].dims.out.at[1].pack && !f->args.at[0].dims.out.at[1].name);
    assert_non_null(f->args.at[0].init);
    assert_true(f->args.at[1].dims.arrow && f->args.at[1].dims.each.n == 1);
    const DeclList *d = &only_statement(p, 0)->decls;
    assert_int_equal(d->n, 4);
    assert_ptr_equal(d->at[0].init, d->at[1].init); // one '~' for both
    assert_true(d->at[2].init != d->at[1].init);
    assert_true(d->at[2].dims.given && !d->at[2].dims.out.n);
    assert_false(d->at[3].dims.given);
    const AxisDeclList *a = &only_statement(p, 1)->axes;
    assert_int_equal(a->n, 3);
    assert_true(a->at[0].pack.pack && !a->at[0].extent);
    assert_non_null(a->at[1].extent);
    assert_true(!a->at[2].extent && !a->at[2].pack.pack);
    arena_free(p.a);
}

static void test_statements(void **state) {
    (void)state;
    Parsed p = parse_good("model m(x) {\n"
                          "  a, _ = top[i -> k](x)\n"
                          "  s[i, j] = x; y[n: t + 1] = x\n"
                          "  repeat n as h at t { loss aux = x }\n"
                          "  repeat 3 shared { metric g = x }\n"
                          "  if a { return x } else if b { output o = x } else { loss = x }\n"
                          "  return a, b\n}");
    const Stmt *s = only_statement(p, 0);
    assert_true(s->kind == S_assign && s->assign.targets.n == 2);
    s = only_statement(p, 1);
    assert_true(s->assign.targets.at[0].kind == TARGET_axes && s->assign.targets.at[0].axes.n == 2);
    s = only_statement(p, 2);
    assert_true(s->assign.targets.at[0].kind == TARGET_index && s->assign.targets.at[0].index);
    s = only_statement(p, 3);
    assert_true(s->kind == S_repeat && s->repeat.label && s->repeat.at && s->repeat.count_name);
    s = only_statement(p, 4);
    assert_true(s->repeat.shared && !s->repeat.label && s->repeat.count->number.integer == 3);
    s = only_statement(p, 5);
    assert_true(s->kind == S_if && s->branch.has_else && s->branch.no.n == 1);
    assert_true(s->branch.no.at[0]->kind == S_if && s->branch.no.at[0]->branch.no.n == 1);
    s = only_statement(p, 6);
    assert_true(s->kind == S_return && s->result->kind == E_tuple);
    arena_free(p.a);
}

static void test_plan(void **state) {
    (void)state;
    Parsed p =
        parse_good("use \"a.sn\" as l with n = 3, m = 4\n"
                   "train {\n  optimizer adamw(betas = (0.9, 0.95)): b*, h.*.scale\n"
                   "  size batch = 8, seq = 4;  freeze : *\n"
                   "  recompute\n  stage short { steps 2000; size seq = 256 }\n}\n"
                   "weights hf {\n  h.*.wq, loss = \"h.*.c\" [dim, a * b + c]\n  e = \"e\"\n}\n");
    const Use *u = &p.ast->items.at[0].use;
    assert_true(!strcmp(u->path, "a.sn") && u->alias && u->with.n == 2);
    const PlanLineList *l = &p.ast->items.at[1].train;
    assert_int_equal(l->n, 5);
    assert_int_equal(l->at[0]->paths.n, 2);
    assert_string_equal(sym_str(p.syms, l->at[0]->paths.at[1].text), "h.*.scale");
    assert_int_equal(l->at[1]->items.n, 2);
    assert_true(l->at[2]->has_paths && l->at[2]->items.n == 0);
    assert_true(l->at[3]->items.n == 0 && !l->at[3]->has_paths);
    assert_true(l->at[4]->is_stage && l->at[4]->lines.n == 2);
    const Weights *w = &p.ast->items.at[2].weights;
    assert_int_equal(w->lines.n, 2);
    assert_true(w->lines.at[0].paths.n == 2 && w->lines.at[0].layout.n == 2);
    assert_int_equal(w->lines.at[0].layout.at[1].parts.n, 2);
    assert_false(w->lines.at[1].has_layout);
    arena_free(p.a);
}

static const Expr *value(Parsed p) { return p.ast->items.at[0].bind.value; }

static void assert_number(const char *text, bool is_int, int64_t integer, double number) {
    Parsed p = parse_good(text);
    assert_int_equal(value(p)->number.is_int, is_int);
    if (is_int) assert_true(value(p)->number.integer == integer);
    assert_true(value(p)->number.value == number);
    arena_free(p.a);
}

static void test_literals(void **state) {
    (void)state;
    assert_number("x = 70GiB", true, INT64_C(75161927680), 75161927680.0);
    assert_number("x = 1.5KB", false, 0, 1500.0);
    assert_number("x = 1e-4", false, 0, 1e-4);
    assert_number("x = 9223372036854775808", false, 0, 9223372036854775808.0);
    Parsed p = parse_good("x = \"a\\\"b\\\\\\n\\t\xc3\xa9#\"");
    assert_string_equal(value(p)->string.text, "a\"b\\\n\t\xc3\xa9#");
    arena_free(p.a);
    assert_items("fn f(weights) = weights + stage", 1);
}

static void test_locations(void **state) {
    (void)state;
    Parsed p = parse_good("x = a + f(b)[c -> d]\n");
    const Expr *e = value(p);
    assert_true(e->loc.start == 4 && e->loc.end == 20);
    assert_true(e->binary.op_loc.start == 6 && e->binary.op_loc.end == 7);
    e = e->binary.b;
    assert_true(e->loc.start == 8 && e->view.items.at[0].loc.start == 13);
    assert_int_equal(e->view.items.at[0].loc.end, 19);
    arena_free(p.a);
}

// ---- bounds -------------------------------------------------------------------------------------

static char *repeated(Arena *a, const char *before, const char *part, int n, const char *after) {
    Text t = {.arena = a};
    text_printf(&t, "%s", before);
    for (int i = 0; i < n; i++) text_printf(&t, "%s", part);
    text_printf(&t, "%s", after);
    return t.at;
}

static void assert_error(const char *text, const char *message) {
    Parsed p = parse(text);
    assert_true(p.d->errors > 0);
    if (!strstr(p.d->items.at[0].text, message)) fail_msg("%s", p.d->items.at[0].text);
    arena_free(p.a);
}

static void test_bounds(void **state) {
    (void)state;
    Arena *a = arena_new();
    char *tail = repeated(a, "", ")", 200, "");
    arena_free(parse_good(repeated(a, "x = ", "(", 200, arena_printf(a, "1%s", tail))).a);
    assert_error(repeated(a, "x = ", "(", 201, "1"), "more than 200 brackets");
    assert_error(repeated(a, "x = ", "(", 100000, ""), "more than 200 brackets");
    arena_free(parse_good(repeated(a, "x = 1", " + 1", AST_MAX_DEPTH - 1, "")).a);
    assert_error(repeated(a, "x = 1", " + 1", AST_MAX_DEPTH, ""), "more than 256 levels");
    assert_error(repeated(a, "x = ", "- ", 1000, "1"), "more than 256 levels");
    assert_error(repeated(a, "x = y", "[a -> b]", 1000, ""), "more than 256 levels");
    assert_error(repeated(a, "x = ", "- ", 100000, "1"), "nested too deeply");
    assert_error(repeated(a, "model m(x) { if x { } ", "else if x { } ", 100, "}"),
                 "more than 64 bodies");
    assert_error(repeated(a, "model m(x) { ", "if x { ", 65, ""), "");
    assert_error(repeated(a, "", "{", 100000, ""), "expected a statement");
    arena_free(a);
}

static void test_hostile_bytes(void **state) {
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text[] = {'x', ' ', '=', ' ', (char)c, '\n', 'y', ' ', '=', ' ', '3', 0};
        Parsed p = parse_bytes("test.sn", text, sizeof text - 1);
        bool fine =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        assert_int_equal(p.d->errors == 0, fine);
        arena_free(p.a);
    }
}

// ---- files --------------------------------------------------------------------------------------

static void test_models_parse(void **state) {
    (void)state;
    Arena *a = arena_new();
    DIR *dir = opendir(SOURCE_DIR "/models");
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strstr(e->d_name, ".sn")) continue;
        size_t size;
        char *text = read_file(a, arena_printf(a, SOURCE_DIR "/models/%s", e->d_name), &size);
        arena_free(parse_good(text).a);
        n++;
    }
    closedir(dir);
    assert_true(n > 0);
    arena_free(parse_good(std_source).a);
    arena_free(a);
}

static char *messages(Parsed p) {
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    assert_non_null(f);
    diag_print(p.d, f, false);
    fclose(f);
    return out;
}

static void test_messages(void **state) {
    (void)state;
    Arena *a = arena_new();
    DIR *dir = opendir(SOURCE_DIR "/tests/diag");
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char *dot = strstr(e->d_name, ".sn");
        if (!dot || strncmp(e->d_name, "syntax_", 7) != 0) continue;
        size_t size;
        char *path = arena_printf(a, "tests/diag/%s", e->d_name);
        char *text = read_file(a, arena_printf(a, SOURCE_DIR "/%s", path), &size);
        Parsed p = parse_bytes(path, text, size);
        int stem = (int)strlen(path) - 3;
        char *expected = read_file(a, arena_printf(a, SOURCE_DIR "/%.*s.txt", stem, path), &size);
        char *found = messages(p);
        assert_string_equal(found, expected);
        assert_true(p.d->errors > 0);
        free(found);
        arena_free(p.a);
        n++;
    }
    closedir(dir);
    assert_true(n >= 20);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),    cmocka_unit_test(test_calls_and_views),
        cmocka_unit_test(test_line_ends),    cmocka_unit_test(test_declarations),
        cmocka_unit_test(test_statements),   cmocka_unit_test(test_plan),
        cmocka_unit_test(test_literals),     cmocka_unit_test(test_locations),
        cmocka_unit_test(test_bounds),       cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_models_parse), cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

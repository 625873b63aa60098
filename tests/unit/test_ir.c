// The IR core: text round trips, type rules and their messages, builder orders, verifier, roles.
//
// The files of tests/ir are canonical text but for their comments: parsing and printing gives the
// same bytes. every_op.ir must hold every op, so a new op without a text form fails here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/build.h"
#include "ir/ir.h"
#include "tests/unit/files.h"
#include <dirent.h>
#include <math.h>

#define DIR_IR SOURCE_DIR "/tests/ir"

static Module *parse_at(Arena *a, const char *text, size_t size, Diag **d) {
    *d = diag_new(a);
    return ir_parse(a, symtab_new(a), *d, diag_add_file(*d, "in.ir", text, size, false));
}

static Module *parse(Arena *a, const char *text) {
    Diag *d;
    Module *m = parse_at(a, text, strlen(text), &d);
    if (!m) fail_msg("%s", d->items.at[0].text);
    return m;
}

static Module *parse_file(Arena *a, const char *name) {
    size_t size;
    return parse(a, read_file(a, arena_printf(a, DIR_IR "/%s", name), &size));
}

static const char *printed(Arena *a, const Module *m) {
    Text t = {.arena = a};
    ir_print_module(&t, m);
    text_put(&t, "", 0);
    return t.at;
}

static const char *type_text(Arena *a, const Module *m, TypeId id) {
    Text t = {.arena = a};
    ir_print_type(&t, m, id);
    return t.at;
}

static void must_verify(Arena *a, const Module *m) {
    Text why = {.arena = a};
    if (ir_verify(m, &why) != 0) fail_msg("%s", why.at);
}

// ---- text

static const char *without_comments(Arena *a, const char *text) {
    Text t = {.arena = a};
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t n = end ? (size_t)(end - text) + 1 : strlen(text);
        if (strncmp(text, "//", 2) != 0) text_put(&t, text, n);
        text += n;
    }
    return t.at;
}

static void same_ids(const Module *x, const Module *y) {
    assert_int_equal(x->axes.n, y->axes.n);
    assert_int_equal(x->states.n, y->states.n);
    assert_int_equal(x->funcs.n, y->funcs.n);
    for (FuncId i = 0; i < x->funcs.n; i++) {
        const Func *f = x->funcs.at[i], *g = y->funcs.at[i];
        assert_int_equal(f->nodes.n, g->nodes.n);
        assert_int_equal(f->mem.n, g->mem.n);
        assert_int_equal(f->region, g->region);
        for (NodeId n = 0; n < f->nodes.n; n++) {
            const Node *p = node_at(f, n), *q = node_at(g, n);
            assert_true(p->op == q->op && p->phase == q->phase && p->clone == q->clone);
            assert_true(p->n == q->n && p->tmpl == q->tmpl && p->ordinal == q->ordinal);
            assert_true(p->inst.repeat == q->inst.repeat && p->inst.round == q->inst.round);
            for (uint32_t k = 0; k < p->n; k++)
                assert_int_equal(operand(f, n, k), operand(g, n, k));
        }
    }
}

static void test_files_round_trip(void **state) {
    (void)state;
    DIR *dir = opendir(DIR_IR);
    assert_non_null(dir);
    int files = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name), size;
        if (n < 4 || strcmp(e->d_name + n - 3, ".ir") != 0) continue;
        Arena *a = arena_new();
        const char *text = read_file(a, arena_printf(a, DIR_IR "/%s", e->d_name), &size);
        Module *m = parse(a, text);
        must_verify(a, m);
        const char *again = printed(a, m);
        assert_string_equal(again, without_comments(a, text));
        same_ids(m, parse(a, again));
        arena_free(a);
        files++;
    }
    closedir(dir);
    assert_true(files >= 2);
}

// The example of docs/ir.md is canonical text too.
static void test_documented_example(void **state) {
    (void)state;
    Arena *a = arena_new();
    size_t size;
    const char *doc = read_file(a, SOURCE_DIR "/docs/ir.md", &size);
    const char *at = strstr(doc, "\n    file 1 ");
    assert_non_null(at);
    Text t = {.arena = a};
    for (at++; strncmp(at, "    ", 4) == 0; at = strchr(at, '\n') + 1)
        text_put(&t, at + 4, strcspn(at + 4, "\n") + 1);
    Module *m = parse(a, t.at);
    must_verify(a, m);
    assert_string_equal(printed(a, m), t.at);
    arena_free(a);
}

static void test_every_op_is_there(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse_file(a, "every_op.ir");
    bool seen[OP_COUNT] = {false};
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n; n++)
            seen[node_at(m->funcs.at[i], n)->op] = true;
    for (int i = 0; i < OP_COUNT; i++)
        if (!seen[i]) fail_msg("every_op.ir lacks '%s'", op_info[i].name);
    arena_free(a);
}

// Hand-written text may be shorter: own labels, types and regions' ids left out.
static void test_short_text(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse(a, "axis d = 3 axis e = 2\n"
                         "func f { %x = input : f32[d, e] {name=x} // comment\n"
                         "%y = add %x, %x %z = group %y : f32[d, e] region r { %q = arg : f32[d, e]"
                         " value v = %q } output y = %z }");
    must_verify(a, m);
    assert_string_equal(printed(a, m),
                        "axis d = 3\naxis e = 2\nfunc f {\n"
                        "  %0 = input : f32[d=3, e=2] {name=x}\n"
                        "  %1 = add %0, %0 : f32[d=3, e=2]\n"
                        "  %2 = group %1 : f32[d=3, e=2] {kind=map, body=#1} region r {\n"
                        "    %0 = arg : f32[d=3, e=2]\n    value v = %0\n  }\n"
                        "  output y = %2\n}\n");
    arena_free(a);
}

static void test_odd_names(void **state) {
    (void)state;
    Arena *a = arena_new();
    static const char *const text = "axis \"a b\" = 2\naxis \"2nd\" = 3\naxis \"\xc3\xa9\" = 1\n"
                                    "func \"\\x01\\x1f \\x22\\x5c\\x7f\" {\n}\n";
    assert_string_equal(printed(a, parse(a, text)), text);
    arena_free(a);
}

static void test_print_func(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse_file(a, "planned.ir");
    Text t = {.arena = a};
    ir_print_func(&t, m, m->funcs.at[3]);
    assert_string_equal(t.at, "region double {\n  %0 = arg : f32[batch=64, dim=768]\n"
                              "  %1 = add %0, %0 : f32[batch=64, dim=768]\n  value out = %1\n}\n");
    arena_free(a);
}

static void test_text_faults(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
        uint32_t line, col;
    } faults[] = {
        {"func f {\n  %0 = nonsense\n}", "unknown op 'nonsense'", 2, 8},
        {"axis d = 3\nfunc f { %0 = add %1, %1 }", "no node '%1' before here", 2, 19},
        {"func f { %0 = const : f32 %0 = const : f32 }", "second node '%0'", 1, 27},
        {"func f { %0 = const : f32[d] }", "unknown axis 'd'", 1, 27},
        {"axis d = 3\naxis d = 4", "axis 'd' is declared twice or has no name", 2, 6},
        {"axis d = 1099511627777", "integer out of range, expected 0 to 1099511627776", 1, 10},
        {"axis d = 99999999999999999999", "integer out of range", 1, 10},
        {"axis d = 1099511627776 axis e = 2 func f { %0 = const : f32[d, e] }",
         "more than 2^40 elements", 1, 57},
        {"axis d = 3 func f { %0 = const : f32[d, d] }", "axis 'd' occurs twice in one type", 1,
         34},
        {"axis d = 3 state w : f32[d] param state w : f32 param",
         "state 'w' is declared twice or has no name", 1, 41},
        {"func f { %0 = state {state=w} }", "unknown state 'w'", 1, 28},
        {"func f { %0 = state : f32 }", "'state' of an unknown state", 1, 10},
        {"func f { %0 = const : f32 @2:0-1 }", "source file 2 is not in the header", 1, 28},
        {"func f { %0 = const : f32 @temp+0 }",
         "a place in memory in a function that is not 'planned'", 1, 10},
        {"func f { %0 = group : f32 {body=#9} }", "function #1 is not defined", 1, 38},
        {"func f #0 { } func g #0 { }", "function #0 is defined twice", 1, 22},
        {"func f { %0 = const : f32 {axis=d} }", "no attribute 'axis' here", 1, 28},
        {"func f { %0 = const : f32 {value=1x} }", "expected a number", 1, 34},
        {"func \"\\x00\" { }", "expected an escape '\\xNN'", 1, 7},
        {"func \"abc", "name without closing quote", 1, 7},
        {"func f {", "expected a node, a result or '}'", 1, 9},
        {"state w : f32[d]", "unknown axis 'd'", 1, 15},
        {"axis d = 3 state w : f32[d<%0] param", "expected ']'", 1, 27},
        {"repeat x = 2 in 1", "integer out of range, expected 0 to 0", 1, 17},
        {"repeat x = 70000 repeat y = 70000 in 1", "more than 2^32 rounds inside each other", 1,
         25},
        {"repeat x = 2 func f { %0 = const : f32 inst=2.0 }", "no repeat 2 before here", 1, 45},
        {"repeat x = 2 func f { %0 = const : f32 inst=1.2 }", "repeat 1 has no round 2", 1, 45},
        {"sweep rows=2", "expected 'above'", 1, 7},
        {"sweep above=64", "expected 'rows'", 1, 15},
        {"sweep above=0 rows=2", "integer out of range, expected 1 to 1125899906842624", 1, 13},
        {"state m : f32 moment of=w", "no state 'w' before here", 1, 25},
        {"hello",
         "expected 'file', 'mesh', 'axis', 'shard', 'whole', 'repeat', 'state', 'precision', "
         "'rounded', "
         "'recomputes', 'sweep', 'merges', a demand, 'func' or 'region'",
         1, 1},
        {"whole batch", "unknown function 'batch'", 1, 7},
        {"precision w {forward=f64}", "unknown format 'f64'", 1, 22},
        {"precision w {forward=unset}", "unknown format 'unset'", 1, 22},
        {"precision w {range=f32}", "unknown attribute 'range'", 1, 14},
        {"precision w {grads=f32, grads=bf16}", "'grads' twice", 1, 25},
        {"precision w {grads=f32 master=f32}", "expected ','", 1, 24},
        {"precision w exact", "expected '{'", 1, 18},
        {"precision w demand", "expected '{'", 1, 19},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        Arena *a = arena_new();
        Diag *d;
        assert_null(parse_at(a, faults[i].text, strlen(faults[i].text), &d));
        assert_int_equal(d->errors, 1);
        assert_string_equal(d->items.at[0].text, faults[i].message);
        uint32_t line, col;
        diag_position(d, d->items.at[0].loc, &line, &col);
        if (line != faults[i].line || col != faults[i].col)
            fail_msg("%s: at %u:%u, expected %u:%u", faults[i].text, line, col, faults[i].line,
                     faults[i].col);
        arena_free(a);
    }
}

// Positions by search, at both ends of every kind of line; errors beyond the limit are counted and take
// their notes along; a text that does not fit ends in '…', whole characters only.
static void test_diagnostics(void **state) {
    (void)state;
    enum { LINES = 100000, LONG = 1500 };
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    Text t = {.arena = a};
    for (uint32_t i = 0; i < LINES; i++) text_put(&t, "ab\n\n", 4);
    uint16_t file = diag_add_file(d, "many", t.at, t.n, false);
    for (uint32_t i = 0; i < LINES; i++) {
        uint32_t line, col, column[] = {1, 2, 3, 1};
        for (uint32_t k = 0; k < 4; k++) {
            diag_position(d, (Loc){file, 4 * i + k, 4 * i + k}, &line, &col);
            assert_int_equal(line, 2 * i + 1 + (k == 3));
            assert_int_equal(col, column[k]);
        }
        diag_error(d, (Loc){file, 4 * i, 4 * i + 2}, "error %u", i);
        diag_note(d, (Loc){file, 4 * i, 4 * i + 2}, "note %u", i);
    }
    uint32_t line, col;
    diag_position(d, (Loc){file, UINT32_MAX, UINT32_MAX}, &line, &col);
    assert_int_equal(line, 2 * LINES + 1);
    assert_int_equal(d->errors, LINES);
    assert_int_equal(d->items.n, 2 * DIAG_LIMIT);
    diag_warning(d, (Loc){0}, "a warning");
    diag_note(d, (Loc){0}, "its note");
    assert_int_equal(d->items.n, 2 * DIAG_LIMIT + 2);
    char name[2 * LONG + 1];
    for (uint32_t i = 0; i < LONG; i++) memcpy(name + 2 * i, "é", 3);
    diag_warning(d, (Loc){0}, "%s", name);
    const char *text = d->items.at[d->items.n - 1].text;
    size_t n = strlen(text);
    assert_string_equal(text + n - 3, "…");
    assert_int_equal((n - 3) % 2, 0);
    assert_memory_equal(text, name, n - 3);
    arena_free(a);
}

// Random damage to a good file: no crash, and what is still accepted is a fixed point of printing.
static void test_damaged_text(void **state) {
    (void)state;
    Arena *keep = arena_new();
    size_t size;
    const char *good = read_file(keep, DIR_IR "/every_op.ir", &size);
    uint32_t seed = 12345, accepted = 0;
    for (int round = 0; round < 3000; round++) {
        Arena *a = arena_new();
        char *text = arena_str(a, good, size);
        for (int k = 0; k < 1 + round % 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = (seed >> 8) % size;
            seed = seed * 1664525u + 1013904223u;
            text[at] = good[(seed >> 8) % size];
        }
        Diag *d;
        Module *m = parse_at(a, text, size, &d);
        assert_true(!m == (d->errors > 0));
        if (m) {
            Text why = {.arena = a};
            ir_verify(m, &why);
            const char *once = printed(a, m);
            assert_string_equal(printed(a, parse(a, once)), once);
            accepted++;
        }
        arena_free(a);
    }
    assert_in_range(accepted, 20, 2000);
    arena_free(keep);
}

// ---- type rules: what the frontend shows to users

static void test_rule_messages(void **state) {
    (void)state;
    static const char *const axes =
        "axis a = 2 axis b = 3 axis c = 6 axis d = 4 axis e = 5 "
        "state w : f32[a, b] param func f {"
        "%x = input : f32[a, b] {name=x} %y = input : f32[a=1, d] {name=y} "
        "%i = input : i32[d] {name=i} %p = input : bool[a] {name=p} "
        "%q = input : f32[b, a] {name=q} %h = input : bf16[a, b] {name=h} "
        "%c = input : i8[a] {name=c} ";
    static const struct {
        const char *node, *message;
    } faults[] = {
        {"add %x, %y", "axis 'a' has size 2 in one operand of 'add' and 1 in another"},
        {"add %x, %i", "operands of 'add' are f32 and i32, they must agree"},
        {"add %p, %p", "'add' of bool, expected numbers"},
        {"exp %i", "'exp' of i32, expected a real"},
        {"add %h, %h", "'add' of bf16, which is for storage: cast it to f32"},
        {"lt %h, %h", "'lt' of bf16, which is for storage: cast it to f32"},
        {"not %c", "'not' of i8, which is for storage: cast it to i32"},
        {"bitcast %h {to=f16}", "'bitcast' of bf16, which is for storage: cast it to f32"},
        {"reduce %h {axes=(b)}", "'reduce' of bf16, which is for storage: cast it to f32"},
        {"scatter_add %h, %i, %h {axis=b}",
         "'scatter_add' of bf16, which is for storage: cast it to f32"},
        {"gather %x, %c {axis=a}", "'gather' of i8, which is for storage: cast it to i32"},
        {"contract %h, %c {axes=(a)}", "'contract' of bf16 and i8, expected reals"},
        {"contract %h, %h, %h {axes=(a)}", "the accumulator of 'contract' is bf16, expected f32"},
        {"const : bf16 {value=0.1}", "bf16 cannot hold the constant 0.1"},
        {"const : f8e4m3 {value=449}", "f8e4m3 cannot hold the constant 449"},
        {"const : i8 {value=128}", "i8 cannot hold the constant 128"},
        {"not %x", "'not' of f32, expected bool or integers"},
        {"shl %p, %p", "'shl' of bool, expected integers"},
        {"select %x, %x, %x", "the condition of 'select' is f32, expected bool"},
        {"bitcast %p {to=f32}", "'bitcast' from bool to f32, the widths differ"},
        {"add %x", "'add' takes 2 operands, not 1"},
        {"add %x, %x : f32[a]", "the result of 'add' has axis 'b'"},
        {"add %x, %x : f32[a, b=2]", "axis 'b' of the result of 'add' has size 3, not 2"},
        {"add %x, %x : f32[a, b, c]", "the result of 'add' has 2 axes, not 3"},
        {"add %x, %x : i32[a, b]", "'add' gives f32, not i32"},
        {"const : i32 {value=0.5}", "i32 cannot hold the constant 0.5"},
        {"const {value=1}", "the type of 'const' must be given"},
        {"random : f32 {}", "'random' gives u32, not f32"},
        {"rename %x {from=a, to=b}", "axis 'b' occurs twice in one type"},
        {"rename %x {from=c, to=d}", "the operand of 'rename' has no axis 'c'"},
        {"split %x {from=b, to=(d, e)}",
         "axis 'b' of size 3 cannot be split into sizes whose product is 20"},
        {"merge %x {from=(b, a), to=c}",
         "'merge' needs axis 'b' just before axis 'a' in the operand"},
        {"slice %x : f32[a, d=4] {from=b, to=d}",
         "slice of 4 elements from 0 on, axis 'b' has size 3"},
        {"slice %x : f32[a, d=1] {from=b, to=d, start=9}",
         "slice of axis 'b' starts at 9, its size is 3"},
        {"pad %x {from=b, to=d, start=2}", "3 elements of axis 'b' at 2 do not fit into size 4"},
        {"concat %x, %y {from=(b, d), to=c}",
         "axis 'a' has size 2 in one operand of 'concat' and 1 in another"},
        {"concat %x {from=(b, d), to=c}", "'concat' of 1 operands names 2 parts"},
        {"expand %x : f32[a, d]", "'expand' drops axis 'b'"},
        {"reduce %x {axes=(a)}", "a row fold takes the last axes in order, 'a' is not in place"},
        {"reduce %x {axes=(b), by=col}", "a column fold keeps the last axis, 'b'"},
        {"reduce %p {axes=(a)}", "'sum' of bool, expected numbers"},
        {"reduce %x {axes=(b), by=seq, part=d}", "a sequential fold has no parts"},
        {"reduce %x {axes=(b, b)}", "'reduce' lists axis 'b' twice"},
        {"contract %x, %y {axes=(b)}", "the operand of 'contract' has no axis 'b'"},
        {"contract %x, %y {axes=(a)}",
         "axis 'a' has size 2 in one operand of 'contract' and 1 in another"},
        {"contract %x, %x, %x {axes=(a)}",
         "the accumulator of 'contract' has other axes than the result"},
        {"gather %x, %y {axis=b}", "the index of 'gather' is f32, expected integers"},
        {"gather %x, %i {axis=d}", "the operand of 'gather' has no axis 'd'"},
        {"gather %y, %i {axis=d}", "the index of 'gather' has the indexed axis 'd' itself"},
        {"scatter_add %x, %i, %x {axis=b}",
         "the values of 'scatter_add' do not have the axes that a gather would give"},
        {"grad %x {state=w}", "'grad' of a value with axes, expected a scalar f32"},
        {"assign %y {state=w}", "'assign' of a value whose type is not that of state 'w'"},
        {"assign %x : f32[b, a] {state=w}",
         "the axes of the result of 'assign' cannot be reordered"},
        {"state : f32[b, a] {state=w}", "the axes of the result of 'state' cannot be reordered"},
        {"assign %q {state=w}", "'assign' needs the axes in the order of state 'w'"},
        {"input : f32 {name=q, range=a}", "an index of axis 'a' is i32, not f32"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        Arena *a = arena_new();
        Diag *d;
        const char *text = arena_printf(a, "%s %%r = %s }", axes, faults[i].node);
        if (parse_at(a, text, strlen(text), &d)) fail_msg("accepted: %s", faults[i].node);
        assert_string_equal(d->items.at[0].text, faults[i].message);
        arena_free(a);
    }
}

// Node -> type it must have, for orders that the rules promise.
static void test_rule_types(void **state) {
    (void)state;
    static const char *const axes =
        "axis a = 2 axis b = 3 axis c = 6 axis d = 4 axis v = 9 "
        "axis part = 1 func f {"
        "%x = input : f32[a, b] {name=x} %y = input : f32[b, d] {name=y} "
        "%z = input : f32[d, a, b] {name=z} %s = input : f32 {name=s} "
        "%i = input : i32[d, a] {name=i} %t = input : f32[a, v, b] {name=t} "
        "%k = input : f32[v, a, d] {name=k} ";
    static const struct {
        const char *node, *type;
    } cases[] = {
        {"add %s, %x", "f32[a=2, b=3]"},
        {"add %x, %y", "f32[a=2, b=3, d=4]"},
        {"add %x, %z", "f32[d=4, a=2, b=3]"},
        {"add %x, %z : f32[b, a, d]", "f32[b=3, a=2, d=4]"},
        {"lt %x, %s", "bool[a=2, b=3]"},
        {"gather %t, %i {axis=v}", "f32[a=2, d=4, b=3]"},
        {"contract %z, %t {axes=(b)}", "f32[a=2, d=4, v=9]"},
        {"contract %z, %t, %k {axes=(b)}", "f32[v=9, a=2, d=4]"},
        {"contract %z, %t, %k {axes=(b)} : f32[a, d, v]", NULL},
        {"contract %x, %y {axes=()}", "f32[b=3, a=2, d=4]"},
        {"contract %x, %y {axes=(b)} : f32[d, a]", "f32[d=4, a=2]"},
        {"merge %x {from=(a, b), to=c}", "f32[c=6]"},
        {"split %t {from=v, to=(d, c)} : f32[a, d=3, c=3, b]", "f32[a=2, d=3, c=3, b=3]"},
        {"split %z {from=d, to=(c, a)} : f32[c=2, d=2, a, b] ", NULL},
        {"slice %x {from=b, to=b, start=1}", "f32[a=2, b=2]"},
        {"reduce %z {axes=(a, b), by=row, part=part}", "f32[d=4, part=1]"},
        {"reduce %z {axes=(a), by=col, part=part}", "f32[part=1, d=4, b=3]"},
        {"concat %x, %x {from=(b, b), to=c}", "f32[a=2, c=6]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena *a = arena_new();
        Diag *d;
        const char *text = arena_printf(a, "%s %%r = %s }", axes, cases[i].node);
        Module *m = parse_at(a, text, strlen(text), &d);
        if (!m != !cases[i].type)
            fail_msg("%s: %s", cases[i].node, m ? "accepted" : d->items.at[0].text);
        if (m) {
            const Func *f = m->funcs.at[0];
            assert_string_equal(type_text(a, m, node_at(f, f->nodes.n - 1)->type), cases[i].type);
        }
        arena_free(a);
    }
}

// ---- tables, interning

static void test_folds(void **state) {
    (void)state;
    assert_int_equal(fold_chunk(0), 32);
    assert_int_equal(fold_chunk(32 * 256), 32);
    assert_int_equal(fold_chunk(32 * 256 + 1), 33);
    assert_int_equal(fold_parts(FOLD_col, 33), 2);
    assert_int_equal(fold_parts(FOLD_col, 1 << 20), 256);
    assert_int_equal(fold_parts(FOLD_row, 4096), 1);
    assert_int_equal(fold_parts(FOLD_row, 4097), 2);
    assert_int_equal(fold_parts(FOLD_seq, 99), 1);
}

static void test_interning(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = module_new(a, symtab_new(a), diag_new(a));
    AxisId x = axis_new(m, "half", 3), y = axis_new(m, "half", 4);
    assert_string_equal(sym_str(m->syms, m->axes.at[y].name), "half.2");
    assert_int_equal(axis_find(m, sym(m->syms, "half.2")), y);
    axis_new(m, "half.3", 1);
    assert_string_equal(sym_str(m->syms, m->axes.at[axis_new(m, "half", 5)].name), "half.4");
    Type t;
    memset(&t, 0xab, sizeof t);
    t.elem = ELEM_f32;
    t.n = 1;
    t.axes[0] = (TypeAxis){x, 3, {0}};
    memset(t.partial, 0, sizeof t.partial);
    Type clean = {.elem = ELEM_f32, .n = 1, .axes = {{x, 3, {0}}}};
    assert_int_equal(type_intern(m, &t), type_intern(m, &clean));
    Attr p, q;
    memset(&p, 0xab, sizeof p);
    memset(&q, 0xcd, sizeof q);
    p.kind = q.kind = ATTR_const;
    p.constant.value = (double)NAN;
    q.constant.value = -(double)NAN;
    assert_int_equal(attr_intern(m, &p), attr_intern(m, &q));
    q.constant.value = -0.0;
    p.constant.value = 0.0;
    assert_int_not_equal(attr_intern(m, &p), attr_intern(m, &q));
    arena_free(a);
}

static void test_tables(void **state) {
    (void)state;
    assert_string_equal(op_info[OP_cast].name, "cast");
    assert_int_equal(op_info[OP_cast].attr, ATTR_cast);
    assert_int_equal(op_info[OP_add].attr, ATTR_none);
    assert_int_equal(op_info[OP_contract].max, 3);
    assert_int_equal(op_info[OP_gather].kind, OPK_INDEX);
    assert_int_equal(elem_info[ELEM_bool].bytes, 1);
    Type t = {.elem = ELEM_i32,
              .n = 3,
              .axes = {{.axis = 1, .size = 2}, {.axis = 2, .size = 3}, {.axis = 3, .size = 5}}};
    int64_t s[MAX_AXES];
    type_strides(&t, s);
    assert_true(s[0] == 15 && s[1] == 5 && s[2] == 1 && type_bytes(&t) == 120);
}

// ---- builder

typedef struct {
    Arena *a;
    Module *m;
    Builder b;
    AxisId i, j, k;
} IrFixture;

static IrFixture fixture(void) {
    IrFixture x = {.a = arena_new()};
    x.m = module_new(x.a, symtab_new(x.a), diag_new(x.a));
    x.i = axis_new(x.m, "i", 4);
    x.j = axis_new(x.m, "j", 5);
    x.k = axis_new(x.m, "k", 6);
    x.b = (Builder){.m = x.m, .f = func_new(x.m, "f", NULL)};
    return x;
}

static NodeId input3(IrFixture *x, AxisId a, AxisId b, AxisId c) {
    Type t = {.elem = ELEM_f32, .n = 3};
    AxisId axes[3] = {a, b, c};
    for (int i = 0; i < 3; i++) t.axes[i] = (TypeAxis){axes[i], x->m->axes.at[axes[i]].size, {0}};
    return ir_input(&x->b, "x", type_intern(x->m, &t), 0);
}

static const char *text_of(IrFixture *x, NodeId n) {
    return type_text(x->a, x->m, node_at(x->b.f, n)->type);
}

// Last axes by a row fold, the others by a column fold: each exactly where it is needed.
static void test_build_reduce(void **state) {
    (void)state;
    IrFixture x = fixture();
    NodeId n = input3(&x, x.i, x.j, x.k);
    NodeId r = ir_reduce(&x.b, REDUCE_sum, n, &(AxisList){2, {x.k, x.i}});
    assert_string_equal(text_of(&x, r), "f32[j=5]");
    assert_int_equal(attr_of(x.m, x.b.f, r)->reduce.by, FOLD_col);
    NodeId row = operand(x.b.f, r, 0);
    assert_int_equal(attr_of(x.m, x.b.f, row)->reduce.by, FOLD_row);
    assert_int_equal(operand(x.b.f, row, 0), n);
    r = ir_reduce(&x.b, REDUCE_max, n, &(AxisList){3, {x.k, x.i, x.j}});
    assert_int_equal(operand(x.b.f, r, 0), n);
    assert_string_equal(text_of(&x, r), "f32");
    r = ir_reduce(&x.b, REDUCE_sum, n, &(AxisList){1, {x.i}});
    assert_int_equal(operand(x.b.f, r, 0), n);
    assert_int_equal(attr_of(x.m, x.b.f, r)->reduce.by, FOLD_col);
    assert_int_equal(ir_reduce(&x.b, REDUCE_sum, n, &(AxisList){0}), n);
    must_verify(x.a, x.m);
    arena_free(x.a);
}

static void test_build_copies(void **state) {
    (void)state;
    IrFixture x = fixture();
    NodeId n = input3(&x, x.i, x.j, x.k);
    AxisId ik = axis_new(x.m, "ik", 24), ij = axis_new(x.m, "ij", 20);
    NodeId r = ir_merge(&x.b, n, &(AxisList){2, {x.i, x.k}}, ik);
    assert_string_equal(text_of(&x, r), "f32[ik=24, j=5]");
    assert_int_equal(node_at(x.b.f, operand(x.b.f, r, 0))->op, OP_copy);
    r = ir_merge(&x.b, n, &(AxisList){2, {x.i, x.j}}, ij);
    assert_int_equal(operand(x.b.f, r, 0), n);
    StateId s = state_new(x.m, "w", node_at(x.b.f, n)->type, STATE_param, (Loc){0});
    assert_int_equal(operand(x.b.f, ir_assign(&x.b, s, n), 0), n);
    StateId t = state_new(x.m, "v", node_at(x.b.f, n)->type, STATE_param, (Loc){0});
    NodeId swapped = input3(&x, x.k, x.i, x.j);
    NodeId as = ir_assign(&x.b, t, swapped);
    assert_int_equal(node_at(x.b.f, operand(x.b.f, as, 0))->op, OP_copy);
    assert_string_equal(text_of(&x, as), "f32[i=4, j=5, k=6]");
    must_verify(x.a, x.m);
    arena_free(x.a);
}

static void test_build_views(void **state) {
    (void)state;
    IrFixture x = fixture();
    NodeId n = input3(&x, x.i, x.j, x.k);
    AxisId p = axis_new(x.m, "p", 8), q = axis_new(x.m, "q", 3);
    AxisList pq = {2, {p, q}};
    NodeId s = ir_split(&x.b, n, x.k, &pq, (int64_t[]){2, 3});
    assert_string_equal(text_of(&x, s), "f32[i=4, j=5, p=2, q=3]");
    assert_string_equal(text_of(&x, ir_slice(&x.b, n, x.j, q, 1, 3)), "f32[i=4, q=3, k=6]");
    assert_string_equal(text_of(&x, ir_pad(&x.b, n, x.k, p, 1, 8, 0)), "f32[i=4, j=5, p=8]");
    NodeId acc = ir_contract(&x.b, n, n, &(AxisList){1, {x.i}}, NONE);
    assert_string_equal(text_of(&x, acc), "f32[j=5, k=6]");
    NodeId flipped = ir_copy(&x.b, acc, node_at(x.b.f, ir_binary(&x.b, OP_add, acc, acc))->type);
    assert_string_equal(text_of(&x, ir_contract(&x.b, n, n, &(AxisList){1, {x.i}}, flipped)),
                        "f32[j=5, k=6]");
    arena_free(x.a);
}

// A copy keeps all properties.
static void test_copy_node(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m =
        parse(a, "axis d = 3 repeat d = 3 func f { %0 = const : f32 %1 = input : i32 {name=n} "
                 "%2 = input : f32[d] {name=x} %3 = exp %2 !B inst=1.2 tmpl=7.4 clone=1 \"y\" }");
    Func *f = m->funcs.at[0], *g = func_new(m, "g", NULL);
    Builder b = {.m = m, .f = g};
    NodeId map[4] = {NONE, NONE, NONE, NONE};
    for (NodeId i = 1; i < 4; i++) map[i] = copy_node(&b, f, i, map);
    assert_int_equal(g->nodes.n, 3);
    assert_string_equal(type_text(a, m, node_at(g, 2)->type), "f32[d=3]");
    const Node *n = node_at(g, 2);
    assert_true(n->phase == PHASE_B && n->tmpl == 8 && n->ordinal == 5 && n->clone == 1);
    assert_true(n->inst.repeat == 1 && n->inst.round == 2);
    assert_string_equal(sym_str(m->syms, n->name), "y");
    must_verify(a, m);
    arena_free(a);
}

static FuncId body_of(const Module *m, const Func *f, NodeId n) {
    return attr_of(m, f, n)->group.body;
}

static Func *copy_all(Module *m, const Func *f, const char *name, Resize *r) {
    Builder b = {.m = m, .f = func_new(m, name, NULL)};
    NodeId map[16];
    for (NodeId n = 0; n < f->nodes.n; n++) {
        NodeId in[MAX_OPERANDS];
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) in[i] = map[operand(f, n, i)];
        map[n] = copy_resized(&b, f, n, in, node_at(f, n)->n, r);
    }
    return b.f;
}

// A copy in another size has bodies of that size, one for each; a body without the axis is the same one.
static void test_copy_resized(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m =
        parse(a, "axis batch = 6 axis dim = 3 func f { "
                 "%0 = input : f32[batch, dim] {name=x} %1 = input : f32[dim] {name=y} "
                 "%2 = group %0, %1 : f32[batch, dim] {kind=rows} region rows { "
                 "  %0 = arg : f32[batch, dim] %1 = arg : f32[dim] {index=1} "
                 "  %2 = iota : i32[batch] {axis=batch} %3 = cast %2 {to=f32} %4 = mul %0, %1 "
                 "  %5 = add %4, %3 %6 = reduce %5 {axes=(dim)} value y = %5 value s = %6 } "
                 "%3 = part %2 : f32[batch] {index=1} "
                 "%4 = group %2, %1 : f32[batch, dim] {kind=rows, body=#1} "
                 "%5 = group %1 : f32[dim] {kind=map} region same { "
                 "  %0 = arg : f32[dim] %1 = neg %0 value y = %1 } "
                 "%6 = mul %4, %5 output s = %3 } ");
    Func *f = m->funcs.at[0];
    AxisId batch = axis_find(m, sym(m->syms, "batch"));
    Resize r = {.n = 1, .axis = {batch}, .size = {2}};
    Func *g = copy_all(m, f, "g", &r);
    assert_string_equal(type_text(a, m, node_at(g, 2)->type), "f32[batch=2, dim=3]");
    assert_string_equal(type_text(a, m, node_at(g, 3)->type), "f32[batch=2]");
    assert_string_equal(type_text(a, m, node_at(g, 6)->type), "f32[batch=2, dim=3]");
    assert_int_equal(body_of(m, g, 2), body_of(m, g, 4));
    assert_int_not_equal(body_of(m, g, 2), body_of(m, f, 2));
    assert_int_equal(body_of(m, g, 5), body_of(m, f, 5));
    const Func *body = m->funcs.at[body_of(m, g, 2)];
    assert_string_equal(type_text(a, m, node_at(body, 5)->type), "f32[batch=2, dim=3]");
    assert_string_equal(type_text(a, m, node_at(body, 6)->type), "f32[batch=2]");
    assert_int_equal(body->results.n, 2);
    must_verify(a, m);
    Resize same = {.n = 1, .axis = {batch}, .size = {6}};
    Func *h = copy_all(m, f, "h", &same);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        assert_int_equal(node_at(h, n)->type, node_at(f, n)->type);
        assert_int_equal(node_at(h, n)->attr, node_at(f, n)->attr);
    }
    // 'f' leaves: the bodies are one less, in all records, and an equal record is found again
    FuncId was = body_of(m, g, 2);
    module_remove(m, f);
    assert_int_equal(body_of(m, g, 2), was - 1);
    assert_ptr_equal(m->funcs.at[body_of(m, g, 2)], body);
    Attr again = *attr_of(m, g, 2);
    assert_int_equal(attr_intern(m, &again), node_at(g, 2)->attr);
    must_verify(a, m);
    arena_free(a);
}

// New nodes are counted behind what any instance and any function has, per instance; a copy keeps its own.
static void test_ordinals(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse(a, "repeat x = 2 func f { "
                         "%0 = const : f32 inst=1.0 tmpl=7.3 %1 = neg %0 inst=1.0 tmpl=7 "
                         "%2 = neg %0 inst=1.1 tmpl=7 %3 = neg %0 inst=1.1 tmpl=7 !B "
                         "%4 = abs %0 inst=1.1 tmpl=7 %5 = abs %0 %6 = abs %0 inst=1.0 tmpl=7 } "
                         "func g { %0 = const : f32 inst=1.1 tmpl=7 %1 = abs %0 tmpl=8 }");
    static const uint32_t f[] = {4, 5, 5, 1, 6, 0, 6}, g[] = {5, 1};
    for (NodeId i = 0; i < 7; i++) assert_int_equal(node_at(m->funcs.at[0], i)->ordinal, f[i]);
    for (NodeId i = 0; i < 2; i++) assert_int_equal(node_at(m->funcs.at[1], i)->ordinal, g[i]);
    module_number(m);
    for (NodeId i = 0; i < 7; i++) assert_int_equal(node_at(m->funcs.at[0], i)->ordinal, f[i]);
    must_verify(a, m);
    arena_free(a);
}

// ---- verifier

static void violates(Arena *a, const Module *m, const char *expected) {
    Text why = {.arena = a};
    int n = ir_verify(m, &why);
    if (n == 0) fail_msg("not found: %s", expected);
    if (strncmp(why.at, expected, strlen(expected)) != 0)
        fail_msg("expected '%s', found '%s'", expected, why.at);
}

// Each case damages one thing in a module that verifies.
// Damage number i of the nodes of every_op.ir, and what the verifier says of it; NULL when there are
// no more.
static const char *damage_nodes(Module *m, int i) {
    Func *f = m->funcs.at[0];
    Type t = *type_at(m, node_at(f, 2)->type);
    switch (i) {
    case 0:
        f->pool.at[node_at(f, 18)->first] = 18;
        return "V1: function step, node %18 add: operand %18 is not";
    case 1: node_at(f, 18)->first = 100000; return "V1: function step, node %18 add: its operands";
    case 2: node_at(f, 18)->n = 1; return "V2: function step, node %18 add: 1 operands";
    case 3: node_at(f, 18)->op = OP_COUNT; return "V2: function step, node %18 ?: unknown op";
    case 4:
        node_at(f, 0)->attr = 0;
        return "V3: function step, node %0 input: the attributes of another op";
    case 5:
        m->attrs.at[node_at(f, 1)->attr].state.state = 9;
        return "V3: function step, node %1 state: attribute 'state'";
    case 6: node_at(f, 4)->type = 100000; return "V4: function step, node %4 neg: unknown type";
    case 7:
        t.axes[0].size = 5;
        node_at(f, 4)->type = type_intern(m, &t);
        return "V4: function step, node %4 neg: axis 'batch' has size 5, declared 4";
    case 8:
        t.axes[0].size = 3;
        node_at(f, 4)->type = type_intern(m, &t);
        return "V5: function step, node %4 neg: axis 'batch'";
    case 9: node_at(f, 4)->phase = 9; return "V6: function step, node %4 neg: unknown phase";
    case 10:
        node_at(f, 4)->loc = (Loc){1, 9, 3};
        return "V6: function step, node %4 neg: its source range";
    case 11:
        node_at(f, 4)->loc = (Loc){77, 0, 0};
        return "V6: function step, node %4 neg: unknown source file";
    case 12:
        node_at(f, 4)->inst.round = 8;
        return "V7: function step, node %4 neg: round 8 of repeat 2 does not exist";
    case 13:
        node_at(f, 4)->inst = (Inst){0, 1};
        return "V7: function step, node %4 neg: round 1 of repeat 0 does not exist";
    case 14:
        node_at(f, 5)->tmpl = node_at(f, 4)->tmpl, node_at(f, 5)->ordinal = node_at(f, 4)->ordinal;
        node_at(f, 5)->inst = node_at(f, 4)->inst;
        return "V7: function step, node %5 abs: the same node of a template as %4";
    default: return NULL;
    }
}

// The same for states, regions, results and what a module holds.
static const char *damage_module(Module *m, int i) {
    Func *f = m->funcs.at[0], *r = m->funcs.at[1];
    switch (i) {
    case 0: m->states.at[1].path = m->states.at[0].path; return "V8: state 'wte' is not unique";
    case 1: m->states.at[0].n_in = 3; return "V8: state 'wte' declares more axes";
    case 2:
        ir_assign(&(Builder){.m = m, .f = f}, 0, 64);
        return "V9: function step, node %73 assign: second assignment to state 'wte'";
    case 3: f->region = true; return "V10: region step, node %1 state: not possible";
    case 4:
        r->region = false;
        return "V11: function step, node %64 group: its body 'k0' is no region";
    case 5: r->results.at[0].node = 3; return "V11: function step, node %64 group: its type";
    case 6:
        m->attrs.at[node_at(r, 1)->attr].arg.index = 2;
        return "V11: function step, node %64 group: its body asks for operand 2";
    case 7:
        m->attrs.at[node_at(f, 65)->attr].part.index = 2;
        return "V12: function step, node %65 part: the group has no result 2";
    case 8:
        f->results.at[1].name = f->results.at[0].name;
        return "V13: function step: result 'loss' has no name of its own";
    case 9: f->results.at[0].node = 2; return "V13: function step: loss 'loss' is not an f32";
    case 10:
        vec_push(m->arena, &f->mem, ((Mem){0}));
        return "V14: function step: 1 places in memory for 73 nodes";
    case 11: m->axes.at[2].name = m->axes.at[1].name; return "V15: axis 'vocab' is not unique";
    case 12: func_new(m, "step", NULL); return "V16: function step: its name is not its own";
    case 13: m->repeats.at[1].parent = 2; return "V7: repeat 1 stands in none";
    case 14: m->repeats.at[2].rounds = INT64_MAX; return "V7: repeat 2 has 9223372036854775807";
    case 15: m->states.at[1].of = 2; return "V8: state 'odd name' belongs to no earlier parameter";
    case 16: m->states.at[2].of = 1; return "V8: state 'count' belongs to no earlier parameter";
    case 17:
        m->demands.n = 0, m->recompute = (Recompute){0};
        vec_push(m->arena, &m->demands, ((Demand){.path = sym(m->syms, "p"), .kind = DEMAND_keep}));
        return "V18: 'keep p': nothing is recomputed";
    case 18:
        m->recompute = (Recompute){.mode = RECOMPUTE_every, .number = 1};
        m->repeats.n = 1;
        for (NodeId n = 0; n < f->nodes.n; n++) node_at(f, n)->inst = (Inst){0};
        return "V18: 'recomputes every' counts rounds, and there is no repeat";
    case 19:
        m->recompute.axis = sym(m->syms, "nowhere");
        return "V18: no repeat goes over 'nowhere'";
    default: return NULL;
    }
}

static int each_damage(const char *(*damage)(Module *m, int i)) {
    for (int i = 0;; i++) {
        Arena *a = arena_new();
        Module *m = parse_file(a, "every_op.ir");
        const char *expected = damage(m, i);
        if (expected) violates(a, m, expected);
        arena_free(a);
        if (!expected) return i;
    }
}

static void test_verifier(void **state) {
    (void)state;
    assert_int_equal(each_damage(damage_nodes), 15);
    assert_int_equal(each_damage(damage_module), 20);
}

static void test_verifier_memory(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse(a, "func f { %0 = arg : f32 }");
    violates(a, m, "V10: function f, node %0 arg: only possible in a region");
    m = parse(a, "func f planned { %0 = const : f32 @temp+63 }");
    violates(a, m, "V14: function f, node %0 const: offset 63 in memory is no multiple of 64");
    arena_free(a);
}

// ---- roles

static void role_is(const Module *m, NodeId n, uint32_t k, const char *axis, Role want) {
    Role r = ir_axis_flow(m, m->funcs.at[0], n, k, axis_find(m, sym(m->syms, axis))).role;
    if (r != want) fail_msg("node %%%u operand %u axis %s: role %d, not %d", n, k, axis, r, want);
}

static void test_roles(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = parse_file(a, "every_op.ir");
    role_is(m, 18, 0, "dim", ROLE_NEW); // add of a scalar
    role_is(m, 18, 1, "dim", ROLE_EACH);
    role_is(m, 18, 1, "vocab", ROLE_ABSENT);
    role_is(m, 2, 0, "vocab", ROLE_SUM); // gather
    role_is(m, 2, 0, "batch", ROLE_NEW);
    role_is(m, 2, 1, "batch", ROLE_EACH);
    role_is(m, 42, 0, "seq", ROLE_MOVED); // rename
    role_is(m, 42, 0, "batch", ROLE_EACH);
    role_is(m, 49, 0, "dim", ROLE_SUM); // reduce
    role_is(m, 50, 0, "dim", ROLE_MAX);
    role_is(m, 50, 0, "part", ROLE_WHOLE);
    role_is(m, 55, 0, "dim", ROLE_SUM); // contract
    role_is(m, 55, 1, "batch", ROLE_NEW);
    role_is(m, 58, 2, "batch", ROLE_ABSENT);
    role_is(m, 58, 2, "vocab", ROLE_EACH);
    role_is(m, 57, 0, "vocab", ROLE_MOVED); // scatter_add
    role_is(m, 57, 1, "vocab", ROLE_WHOLE);
    role_is(m, 57, 0, "dim", ROLE_EACH);
    role_is(m, 57, 2, "batch", ROLE_SUM);
    role_is(m, 57, 2, "ff", ROLE_ABSENT);
    role_is(m, 48, 0, "dim", ROLE_NEW);  // expand
    role_is(m, 66, 0, "dim", ROLE_EACH); // assign
    // Every op answers for every axis of the module.
    const Func *f = m->funcs.at[0];
    for (NodeId n = 0; n < f->nodes.n; n++)
        for (uint32_t k = 0; k < node_at(f, n)->n; k++)
            for (AxisId x = 1; x < m->axes.n; x++)
                assert_in_range(ir_axis_flow(m, f, n, k, x).role, ROLE_ABSENT, ROLE_NEW);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_round_trip),
        cmocka_unit_test(test_every_op_is_there),
        cmocka_unit_test(test_documented_example),
        cmocka_unit_test(test_short_text),
        cmocka_unit_test(test_text_faults),
        cmocka_unit_test(test_print_func),
        cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_diagnostics),
        cmocka_unit_test(test_damaged_text),
        cmocka_unit_test(test_rule_messages),
        cmocka_unit_test(test_rule_types),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_interning),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_build_reduce),
        cmocka_unit_test(test_build_copies),
        cmocka_unit_test(test_build_views),
        cmocka_unit_test(test_copy_node),
        cmocka_unit_test(test_ordinals),
        cmocka_unit_test(test_copy_resized),
        cmocka_unit_test(test_verifier),
        cmocka_unit_test(test_verifier_memory),
        cmocka_unit_test(test_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The op matrix is complete: every op of scalar.def and ops.def has tests/ops/NAME.ir, in which it
// occurs; every scalar op occurs there on every element type that its rule allows, and cast between
// every two. The program `oracle` runs the files; this test keeps them whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"
#include "tests/unit/files.h"

// Ops that no file can hold, and why.
static const struct {
    Op op;
    const char *reason;
} absent[] = {
    {OP_grad, "autodiff replaces it; test_op_gradients has every rule"},
    {OP_group, "fuse makes it: every file runs as groups"},
    {OP_part, "fuse makes it"},
    {OP_arg, "fuse makes it"},
    {OP_offload, "offload makes it, behind fuse: mutants.ir"},
    {OP_landed, "offload makes it, behind fuse: mutants.ir"},
    {OP_fetch, "offload makes it, behind fuse: mutants.ir"},
    {OP_ready, "offload makes it, behind fuse: mutants.ir"},
    {OP_all_reduce, "between ranks: test_ranks"},
    {OP_reduce_scatter, "between ranks: test_ranks"},
    {OP_all_gather, "between ranks: test_ranks"},
    {OP_all_to_all, "between ranks: test_ranks"},
    {OP_cut, "between ranks: test_ranks"},
    {OP_first, "between ranks: test_ranks"},
};

static bool is_absent(Op op) {
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (absent[i].op == op) return true;
    return false;
}

static Module *read_module(Arena *a, const char *op) {
    const char *path = arena_printf(a, "%s/tests/ops/%s.ir", SOURCE_DIR, op);
    size_t size;
    char *text = read_file(a, path, &size);
    Diag *d = diag_new(a);
    Module *m = ir_parse(a, symtab_new(a), d, diag_add_file(d, path, text, size, false));
    if (!m) diag_print(d, stderr, false);
    assert_non_null(m);
    return m;
}

// By element type of the operand that decides (of a select: the second) and of the result.
typedef struct {
    uint32_t uses;
    bool at[ELEM_COUNT][ELEM_COUNT];
} OpSeen;

static void look(const Module *m, Op op, OpSeen *s) {
    for (FuncId i = 0; i < m->funcs.n; i++) {
        const Func *f = m->funcs.at[i];
        for (NodeId n = 0; n < f->nodes.n; n++) {
            if (node_at(f, n)->op != op) continue;
            uint32_t to = type_of(m, f, n)->elem, from = to;
            if (node_at(f, n)->n) from = type_of(m, f, operand(f, n, op == OP_select))->elem;
            s->at[from][to] = true;
            s->uses++;
        }
    }
}

static bool allowed(Op op, Elem from, Elem to) {
    ElemKind k = (ElemKind)elem_info[from].kind;
    bool narrow = elem_is_narrow(from) || elem_is_narrow(to);
    if (narrow && op != OP_cast && op != OP_select) return false;
    switch ((ScalarRule)op_info[op].rule) {
    case RULE_FLOAT: return k == ELEM_FLOAT && to == from;
    case RULE_ARITH: return k != ELEM_BOOL && to == from;
    case RULE_LOGIC: return k != ELEM_FLOAT && to == from;
    case RULE_SHIFT: return (k == ELEM_INT || k == ELEM_UINT) && to == from;
    case RULE_COMPARE: return to == ELEM_bool;
    case RULE_PREDICATE: return k == ELEM_FLOAT && to == ELEM_bool;
    case RULE_SELECT: return to == from;
    case RULE_CAST: return to != from && (op == OP_cast || (k != ELEM_BOOL && to != ELEM_bool));
    case RULE_NONE: break;
    }
    unreachable(op);
}

static void test_every_op_has_a_file(void **state) {
    (void)state;
    for (Op op = 0; op < OP_COUNT; op++) {
        if (is_absent(op)) continue;
        Arena *a = arena_new();
        OpSeen s = {0};
        look(read_module(a, op_info[op].name), op, &s);
        if (!s.uses)
            fail_msg("tests/ops/%s.ir does not use '%s'", op_info[op].name, op_info[op].name);
        arena_free(a);
    }
}

static void test_every_element_type(void **state) {
    (void)state;
    int missing = 0;
    for (Op op = 0; op < OP_SCALARS; op++) {
        Arena *a = arena_new();
        OpSeen s = {0};
        look(read_module(a, op_info[op].name), op, &s);
        for (Elem e = 0; e < ELEM_COUNT; e++) // what is for storage has a file of its own
            if (elem_is_narrow(e)) look(read_module(a, elem_info[e].name), op, &s);
        for (Elem from = 0; from < ELEM_COUNT; from++)
            for (Elem to = 0; to < ELEM_COUNT; to++) {
                if (!allowed(op, from, to) || s.at[from][to]) continue;
                print_error("tests/ops/%s.ir: no '%s' from %s to %s\n", op_info[op].name,
                            op_info[op].name, elem_info[from].name, elem_info[to].name);
                missing++;
            }
        arena_free(a);
    }
    assert_int_equal(missing, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_has_a_file),
        cmocka_unit_test(test_every_element_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

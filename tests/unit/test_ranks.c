// Programs of one rank, run by all ranks in lockstep, against the same computation on one device: the function
// 'ranks' of each module here gives the results of its function 'one'. And their mutants: each collective left
// out, doubled, over another mesh axis or along another axis is refused by the type rules, or changes a result.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/build.h"
#include "ir/interp.h"
#include "ir/place.h"
#include "ir/scalar.h"
#include <math.h>
#include <string.h>

enum { MOST_RANKS = 8, MOST_RESULTS = 16 };

static Module *read_module(Arena *a, const char *text) {
    Diag *d = diag_new(a);
    Module *m = ir_parse(a, symtab_new(a), d, diag_add_file(d, "in.ir", text, strlen(text), false));
    Text why = {.arena = a};
    if (!m) fail_msg("%s", d->items.at[0].text);
    if (ir_verify(m, &why)) fail_msg("%s", why.at);
    return m;
}

// The values of the whole follow from the name, so that ranks and one device get parts of the same.
static bool give(void *user, const char *name, TypeId type, double *out) {
    Interp *in = user;
    TypeId whole = type_whole(in->m, type);
    int64_t count = type_count(type_at(in->m, whole));
    Tensor x = {whole, NEW_ARRAY(in->arena, double, count)}, part = {type, out};
    uint64_t h = hash_bytes(HASH_SEED, name, strlen(name));
    for (int64_t i = 0; i < count; i++) {
        h = hash_u64(h, (uint64_t)i);
        double u = (double)(h >> 40) * 0x1p-24;
        x.at[i] = type_at(in->m, type)->elem == ELEM_i32 ? floor(u * 10) - 1 : u * 4 - 2;
    }
    tensor_overlap(in->m, &x, 0, &part, in->rank);
    return true;
}

static Interp fresh(Module *m, InterpMode mode, Arena *a, uint32_t rank) {
    Interp in;
    interp_init(&in, m, mode, a);
    in.input = give;
    in.rank = rank;
    in.seed = 5;
    return in;
}

// Whether 'ranks' has the results of 'one' on every rank.
static bool agrees(Arena *a, Module *m, InterpMode mode, double bound) {
    Interp one = fresh(m, mode, a, 0), in[MOST_RANKS];
    Tensor want[MOST_RESULTS], have[MOST_RANKS][MOST_RESULTS], *results[MOST_RANKS];
    const Func *f = module_find(m, "one"), *g = module_find(m, "ranks");
    uint32_t ranks = (uint32_t)mesh_ranks(m);
    Text why = {.arena = a};
    one.user = &one;
    for (uint32_t k = 0; k < ranks; k++) {
        in[k] = fresh(m, mode, a, k);
        in[k].user = &in[k];
        results[k] = have[k];
    }
    if (!interp_run(&one, f, want, NULL, &why) || !interp_run_ranks(in, g, results, NULL, &why))
        fail_msg("%s", why.at);
    for (uint32_t i = 0; i < g->results.n; i++)
        for (uint32_t k = 0; k < ranks; k++) {
            const Tensor *x = &have[k][i], *y = &want[i];
            assert_true(x->type == y->type);
            for (int64_t e = 0; e < type_count(type_at(m, x->type)); e++)
                if (!(fabs(x->at[e] - y->at[e]) <= bound * (1 + fabs(y->at[e])))) return false;
        }
    return true;
}

#define HEADER                                                                                     \
    "mesh data=2 tensor=2 axis batch = 4 axis seq = 8 axis dim = 8 axis ff = 16 axis vocab = 12 "  \
    "axis key = 8 axis head = 4 axis hd = 2 "
#define INPUTS(x, w)                                                                               \
    "%x = input : f32[batch" x ", seq, dim] {name=x} "                                             \
    "%w = input : f32[dim, ff" w "] {name=w} "

static const char *const programs[] = {
    // A column and a row product, a norm of what is summed, the loss.
    HEADER "func one { " INPUTS(
        "", "") "%v = input : f32[ff, dim] {name=v} "
                "%h = contract %x, %w : f32[batch, seq, ff] {axes=(dim)} %t = tanh %h "
                "%y = contract %t, %v : f32[batch, seq, dim] {axes=(ff)} %z = add %y, %x "
                "%q = mul %z, %z %l = reduce %q : f32 {kind=sum, axes=(batch, seq, dim), by=row} "
                "%g = contract %x, %t : f32[dim, ff] {axes=(batch, seq)} "
                "%m = reduce %z : f32[dim] {kind=max, axes=(batch, seq), by=col} "
                "loss l = %l value g = %g value m = %m } "
                "func ranks { " INPUTS(
                    "/data=2", "/tensor=8") "%v = input : f32[ff/tensor=8, dim] {name=v} "
                                            "%h = contract %x, %w {axes=(dim)} %t = tanh %h "
                                            "%p = contract %t, %v {axes=(ff)} %y = all_reduce %p "
                                            "{mesh=(tensor)} %z = add %y, %x "
                                            "%q = mul %z, %z %s = reduce %q {kind=sum, "
                                            "axes=(batch, seq, dim), by=row} "
                                            "%l = all_reduce %s {mesh=(data)} "
                                            "%d = contract %x, %t {axes=(batch, seq)} %r = "
                                            "reduce_scatter %d {mesh=(data), axis=dim} "
                                            "%u = all_gather %r {mesh=(data), axis=dim} %g = "
                                            "all_gather %u {mesh=(tensor), axis=ff} "
                                            "%n = reduce %z {kind=max, axes=(batch, seq), by=col} "
                                            "%m = all_reduce %n {mesh=(data)} "
                                            "loss l = %l value g = %g value m = %m }",
    // A table split along its indexed axis, its gradient, draws and indices in parts, an exchange.
    HEADER
    "func one { %i = input : i32[batch, seq] {name=i} %t = input : f32[vocab, dim] {name=t} "
    "%x = gather %t, %i {axis=vocab} %z = const : f32[vocab, dim] {value=0} "
    "%g = scatter_add %z, %i, %x {axis=vocab} "
    "%r = random : u32[batch, seq, dim] {key=3} %c = cast %r : f32[batch, seq, dim] {to=f32} "
    "%k = iota : i32[seq] {axis=seq} %f = cast %k {to=f32} %y = mul %c, %f "
    "%e = reduce %y {kind=sum, axes=(dim), by=row} %a = reduce %x {kind=min, axes=(seq), by=col} "
    "value x = %x value g = %g value e = %e value a = %a } "
    "func ranks { %i = input : i32[batch/data=2, seq] {name=i} "
    "%t = input : f32[vocab/tensor=6, dim] {name=t} "
    "%p = gather %t, %i {axis=vocab} %q = reduce_scatter %p {mesh=(tensor), axis=seq} "
    "%s = all_to_all %q {mesh=(tensor), axis=seq, to=dim} "
    "%o = all_gather %s {mesh=(tensor), axis=dim} %x = all_gather %o {mesh=(data), axis=batch} "
    "%z = const : f32[vocab/tensor=6, dim] +data {value=0} "
    "%d = scatter_add %z, %i, %o {axis=vocab} %w = all_reduce %d {mesh=(data)} "
    "%g = all_gather %w {mesh=(tensor), axis=vocab} "
    "%r = random : u32[batch/data=2, seq/tensor=4, dim] {key=3} "
    "%c = cast %r : f32[batch/data=2, seq/tensor=4, dim] {to=f32} "
    "%k = iota : i32[seq/tensor=4] {axis=seq} %f = cast %k {to=f32} %y = mul %c, %f "
    "%h = reduce %y {kind=sum, axes=(dim), by=row} %j = all_gather %h {mesh=(tensor), axis=seq} "
    "%e = all_gather %j {mesh=(data), axis=batch} "
    "%b = cut %x {mesh=(data, tensor), axis=seq} %n = reduce %b {kind=min, axes=(seq), by=col} "
    "%a = all_reduce %n {mesh=(data, tensor)} "
    "value x = %x value g = %g value e = %e value a = %a }",
    // An axis that is split twice: the outer part first, gathered in the contrary order. A scalar that
    // is whole beside summands.
    HEADER "func one { " INPUTS(
        "", "") "%y = contract %x, %w : f32[batch, seq, ff] {axes=(dim)} "
                "%q = mul %y, %y %s = reduce %q : f32 {kind=sum, axes=(batch, seq, ff), by=row} "
                "%o = const : f32 {value=3} %l = add %s, %o value y = %y value l = %l } "
                "func ranks { " INPUTS(
                    "", "/data/tensor=4") "%y = contract %x, %w {axes=(dim)} "
                                          "%q = mul %y, %y %s = reduce %q {kind=sum, axes=(batch, "
                                          "seq, ff), by=row} "
                                          "%c = const : f32 {value=3} %o = first %c {mesh=(data, "
                                          "tensor)} %d = add %s, %o "
                                          "%l = all_reduce %d {mesh=(data, tensor)} %a = "
                                          "all_gather %y {mesh=(tensor), axis=ff} "
                                          "%z = all_gather %a {mesh=(data), axis=ff} value y = %z "
                                          "value l = %l }",
};
enum { PROGRAMS = sizeof programs / sizeof programs[0] };

static void test_programs(void **state) {
    (void)state;
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        Arena *a = arena_new();
        Module *m = read_module(a, programs[i]);
        if (!agrees(a, m, INTERP_F64, 1e-12)) fail_msg("program %u differs", i);
        if (!agrees(a, m, INTERP_EXACT, 1e-5)) fail_msg("program %u differs in f32", i);
        arena_free(a);
    }
}

// ---- mutants

typedef enum { LEFT_OUT, DOUBLED, OTHER_MESH, OTHER_AXIS, MUTATIONS } Mutation;

static bool other_axis(const Type *t, AxisId *a) {
    int at = type_find(t, *a);
    for (uint32_t i = 0; i < t->n; i++)
        if ((int)i != at && t->axes[i].size == t->axes[at].size) return *a = t->axes[i].axis, true;
    return false;
}

// Appends n onto these operands as the type rule has it. False: it refuses.
static bool append(Builder *b, const Func *from, NodeId n, const Attr *attr, const NodeId *in,
                   NodeId *to) {
    const Node x = *node_at(from, n);
    TypeId types[MAX_OPERANDS], given = NONE;
    if (op_info[x.op].type == TYPE_FREE) given = x.type;
    for (uint32_t i = 0; i < x.n; i++) types[i] = node_at(b->f, in[i])->type;
    if (ir_infer(b->m, (Op)x.op, attr, types, x.n, given, NULL) == NONE) return false;
    *to = ir_node(b, (Op)x.op, attr->kind ? attr : NULL, in, x.n, given);
    return true;
}

// A copy of f with node `at` mutated. NULL: the rules refuse it, or there is no such mutant (*none).
static Func *mutate(Module *m, const Func *f, NodeId at, Mutation how, bool *none) {
    Func *to = NEW(m->arena, Func);
    NodeId map[256];
    Builder b = {.m = m, .f = to};
    to->name = f->name;
    *none = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        Attr attr = *attr_of(m, f, n);
        NodeId in[MAX_OPERANDS];
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) in[i] = map[operand(f, n, i)];
        if (n == at && how == OTHER_MESH) {
            *none = attr.all_reduce.mesh == 3;
            attr.all_reduce.mesh ^= 3;
        }
        if (n == at && how == OTHER_AXIS)
            *none =
                !attr.all_reduce.axis || !other_axis(type_of(m, to, in[0]), &attr.all_reduce.axis);
        if (*none) return NULL;
        if (n == at && how == LEFT_OUT) {
            map[n] = in[0];
            continue;
        }
        if (!append(&b, f, n, &attr, in, &map[n])) return NULL;
        if (n == at && how == DOUBLED && !append(&b, f, n, &attr, &map[n], &map[n])) return NULL;
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        Result r = f->results.at[i];
        r.node = map[r.node];
        vec_push(m->arena, &to->results, r);
    }
    return to;
}

static bool is_caught(Arena *a, Module *m, NodeId at, Mutation how, int count[3]) {
    Func *f = module_find(m, "ranks"), old = *f;
    bool none;
    Func *g = mutate(m, f, at, how, &none);
    if (none) return true;
    count[0]++;
    if (g) *f = *g;
    bool refused = !g || ir_verify(m, NULL) > 0;
    count[1] += refused;
    bool caught = refused || !agrees(a, m, INTERP_F64, 1e-12);
    count[2] += caught && !refused;
    *f = old;
    return caught;
}

static void test_mutants(void **state) {
    (void)state;
    int count[3] = {0};
    for (uint32_t i = 0; i < PROGRAMS; i++)
        for (Mutation how = LEFT_OUT; how < MUTATIONS; how++) {
            Arena *a = arena_new();
            Module *m = read_module(a, programs[i]);
            const Func *f = module_find(m, "ranks");
            for (NodeId n = 0; n < f->nodes.n; n++)
                if (op_info[node_at(f, n)->op].kind == OPK_MESH && !is_caught(a, m, n, how, count))
                    fail_msg("program %u: mutant %d of %%%u lives", i, how, n);
            arena_free(a);
        }
    print_message("%d mutants: %d refused, %d with other results\n", count[0], count[1], count[2]);
    assert_true(count[0] >= 50 && count[0] == count[1] + count[2]);
}

// ---- the rule of summands

// Every pattern of operands that are summands: where the rule accepts one, the results of summands add up to
// the result; where it refuses, they do not for some values.
static double at_operand(uint32_t i, uint32_t k, bool summand) {
    static const double value[3][3] = {{-1.4, 2.9, 0.8}, {2, 3.5, -1.5}, {0.25, 4, 1}};
    return summand || k == 0 ? value[i][k] : value[i][0];
}

static void test_linear(void **state) {
    (void)state;
    Arena *a = arena_new();
    Module *m = read_module(a, "mesh data=3 func f { %0 = const : f32 }");
    Type whole = {.elem = ELEM_f32}, part = whole, flag = {.elem = ELEM_bool};
    part.partial[PARTIAL_sum] = 1;
    TypeId of[2] = {type_intern(m, &whole), type_intern(m, &part)};
    for (uint32_t op = 0; op < OP_SCALARS; op++) {
        const OpInfo *o = &op_info[op];
        if (o->rule != RULE_FLOAT && o->rule != RULE_ARITH && op != OP_select) continue;
        for (uint32_t set = 1; set < 1u << o->min; set++) {
            TypeId types[3];
            double sum = 0, x[3] = {0}, total[3] = {0};
            for (uint32_t i = 0; i < o->min; i++) types[i] = of[set >> i & 1];
            bool choice = op == OP_select;
            if (choice && set & 1) continue;
            if (choice) types[0] = type_intern(m, &flag);
            for (uint32_t k = 0; k < 3; k++) {
                for (uint32_t i = 0; i < o->min; i++) {
                    x[i] = choice && i == 0 ? 1 : at_operand(i, k, set >> i & 1);
                    total[i] = set >> i & 1 ? total[i] + x[i] : x[i];
                }
                sum += scalar_eval_f64((Op)op, ELEM_f32, ELEM_f32, x[0], x[1], x[2]);
            }
            double want = scalar_eval_f64((Op)op, ELEM_f32, ELEM_f32, total[0], total[1], total[2]);
            bool linear = fabs(sum - want) < 1e-9;
            bool accepted = ir_infer(m, (Op)op, NULL, types, o->min, NONE, NULL) != NONE;
            // a choice of the summands by a condition that is always true proves nothing
            if (choice && set != 6) continue;
            if (linear != accepted)
                fail_msg("'%s' of summands %x: %s, %s", o->name, set,
                         linear ? "adds up" : "differs", accepted ? "accepted" : "refused");
        }
    }
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_mutants),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

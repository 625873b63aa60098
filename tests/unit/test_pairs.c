// What fuse says about neighbours: for every model, on every kind of target, each pair of groups of which
// one reads the other has a rule of passes/fuse.def, with what would have to change.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/pipeline.h"
#include "tests/oracle/model.h"

static void run_passes(TestModel *t, const char *target, bool unfused, bool library, bool apart) {
    PassCx cx = {.m = t->program->m,
                 .scratch = arena_new(),
                 .ledger = t->ledger,
                 .target = target_find(target),
                 .micro = t->program->micro,
                 .unfused = unfused,
                 .library = library};
    t->ledger->keep_pairs = true;
    Demand all = {.path = sym(t->program->m->syms, "*"), .kind = DEMAND_nofuse};
    if (apart) vec_push(t->program->m->arena, &t->program->m->demands, all);
    assert_true(pipeline_run(&cx, NULL, NULL, NULL));
    arena_free(cx.scratch);
}

// Of the group whose value n is, by the name of its body.
static uint32_t number_of(const Module *m, const Func *f, NodeId n) {
    if (node_at(f, n)->op == OP_part) n = operand(f, n, 0);
    if (node_at(f, n)->op != OP_group) return UINT32_MAX;
    const Func *body = m->funcs.at[attr_of(m, f, n)->group.body];
    const char *dot = strrchr(sym_str(m->syms, body->name), '.');
    return (uint32_t)strtoul(dot + 2, NULL, 10);
}

static bool is_answered(const Ledger *l, const Func *f, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < l->pairs.n; i++) {
        const FusePair *p = &l->pairs.at[i];
        if (p->func == f->name && p->from == from && p->to == to && p->why &&
            *refusal_info[p->why].reason && *refusal_info[p->why].change)
            return true;
    }
    return false;
}

static int check_pairs(const TestModel *t) {
    const Module *m = t->program->m;
    int pairs = 0;
    for (FuncId i = 0; i < m->funcs.n; i++) {
        const Func *f = m->funcs.at[i];
        for (NodeId n = 0; n < f->nodes.n && !f->region; n++)
            for (uint32_t k = 0; node_at(f, n)->op == OP_group && k < node_at(f, n)->n; k++) {
                uint32_t from = number_of(m, f, operand(f, n, k));
                if (from == UINT32_MAX) continue;
                pairs++;
                if (!is_answered(t->ledger, f, from, number_of(m, f, n)))
                    fail_msg("%s: nothing is said of groups %u and %u", sym_str(m->syms, f->name),
                             from, number_of(m, f, n));
            }
    }
    return pairs;
}

static void test_neighbours_are_answered(void **state) {
    (void)state;
    static const char *const models[] = {"mlp", "bytes",   "gpt2",   "llama",
                                         "vit", "convnet", "fashion"};
    int pairs = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (int how = 0; how < 5; how++) {
            Arena *a = arena_new();
            TestModel *t = model_compile(arena_printf(a, "models/%s.sn", models[i]), "");
            assert_non_null(t);
            run_passes(t, how ? "cuda" : "cpu", how == 2, how == 3, how == 4);
            pairs += check_pairs(t);
            model_free(t);
            arena_free(a);
        }
    print_message("%d reads of one group by another\n", pairs);
    assert_true(pairs > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neighbours_are_answered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

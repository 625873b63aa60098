// The passes up to fusion, on random modules.
//
// A bit-neutral pass is compared by equality with the exact interpreter; simplify in f64, with a
// tolerance, because docs/numerics.md lets it round differently; derivatives against differences;
// micro-batches against the whole batch. Every failure prints the seed and the module's text.
// SINTER_LONG=1 runs ten times as many modules.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "passes/pipeline.h"
#include "tools/irgen.c"
#include <math.h>

static uint32_t rounds(uint32_t n) { return getenv("SINTER_LONG") ? 10 * n : n; }

// ---- one module and its runs

typedef struct {
    uint64_t seed;
    Arena *a;
    Diag *diag;
    Module *m;
    PassCx cx;
} Case;

static Case new_case(IrGen options) {
    Case c = {.seed = options.seed, .a = arena_new()};
    c.diag = diag_new(c.a);
    c.m = irgen_module(c.a, symtab_new(c.a), c.diag, &options);
    c.cx = (PassCx){c.m, arena_new(), ledger_new(c.a), target_find("cpu"), 0};
    return c;
}

static void end_case(Case *c) {
    arena_free(c->cx.scratch);
    arena_free(c->a);
}

static const char *text_of(const Case *c) {
    Text t = {.arena = c->a};
    ir_print_module(&t, c->m);
    return t.at;
}

static void must_verify(Case *c, const char *after) {
    Text why = {.arena = c->a};
    if (ir_verify(c->m, &why))
        fail_msg("seed %llu, after %s: %s\n%s", (unsigned long long)c->seed, after, why.at,
                 text_of(c));
}

// Runs a pass, checks the module, and that the pass leaves its own output alone.
static void apply(Case *c, const char *name, bool (*pass)(PassCx *)) {
    pass(&c->cx);
    arena_reset(c->cx.scratch);
    if (c->diag->errors) return;
    must_verify(c, name);
    const char *text = text_of(c);
    bool again = pass(&c->cx);
    arena_reset(c->cx.scratch);
    if (again || strcmp(text, text_of(c)) != 0)
        fail_msg("seed %llu: %s changes its own output\n%s", (unsigned long long)c->seed, name,
                 text);
}

// The value of element i of something called `name`: moderate, different for each.
static double number_for(const char *name, int64_t i) {
    uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)i);
    h ^= h >> 31;
    return (double)(float)((double)(h % 100003) / 100003 * 3 - 1.5);
}

typedef struct {
    const Case *c;
    int64_t first; // sample the micro-batch starts at
    int64_t accum;
} Inputs;

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const Inputs *in = user;
    const Type *t = type_at(in->c->m, type);
    if (strcmp(name, "accum") == 0) return out[0] = (double)in->accum, true;
    int64_t n = type_count(t);
    bool sampled = t->n && in->c->m->axes.at[t->axes[0].axis].sample;
    int64_t skip = sampled ? in->first * (n / t->axes[0].size) : 0;
    for (int64_t i = 0; i < n; i++) {
        double x = number_for(name, i + skip);
        out[i] = t->elem == ELEM_f32 ? x : floor(fabs(x) * 4); // indices: mostly inside small axes
    }
    return true;
}

static void set_states(Interp *in, const Module *m) {
    for (StateId s = 0; s < m->states.n; s++) {
        const State *x = &m->states.at[s];
        int64_t n = type_count(type_at(m, x->type));
        for (int64_t i = 0; i < n && x->kind != STATE_accum; i++)
            in->states[s].at[i] = number_for(sym_str(m->syms, x->path), i);
    }
}

typedef struct {
    Interp in;
    Inputs inputs;
    Tensor *results;
    uint32_t n;
} Run;

static void run_start(Run *r, const Case *c, InterpMode mode) {
    *r = (Run){.inputs = {c, 0, 1}};
    interp_init(&r->in, c->m, mode, c->a);
    r->in.input = give_input;
    r->in.user = &r->inputs;
    r->in.seed = 7;
    r->in.step = 3;
    set_states(&r->in, c->m);
}

static void run_func(Run *r, const Case *c, const char *name) {
    const Func *f = module_find(c->m, name);
    if (!f) fail_msg("seed %llu: no function %s", (unsigned long long)c->seed, name);
    Text why = {.arena = c->a};
    r->n = f->results.n;
    r->results = NEW_ARRAY(c->a, Tensor, r->n + 1);
    r->inputs.c = c;
    r->in.user = &r->inputs;
    if (!interp_run(&r->in, f, r->results, NULL, &why))
        fail_msg("seed %llu: %s\n%s", (unsigned long long)c->seed, why.at, text_of(c));
}

// ---- comparing

static bool close_to(double x, double y, double tolerance) {
    if (isnan(x) || isnan(y)) return isnan(x) && isnan(y);
    if (x == y) return tolerance > 0 || signbit(x) == signbit(y);
    return fabs(x - y) <= tolerance * fmax(1, fmax(fabs(x), fabs(y)));
}

static void compare(const Case *c, const char *what, const Tensor *x, const Tensor *y,
                    double tolerance) {
    assert_int_equal(x->type, y->type);
    int64_t n = type_count(type_at(c->m, x->type));
    for (int64_t i = 0; i < n; i++)
        if (!close_to(x->at[i], y->at[i], tolerance))
            fail_msg("seed %llu: %s, element %lld: %.17g, expected %.17g\n%s",
                     (unsigned long long)c->seed, what, (long long)i, y->at[i], x->at[i],
                     text_of(c));
}

static void compare_runs(const Case *c, const char *what, const Run *x, const Run *y,
                         double tolerance) {
    assert_int_equal(x->n, y->n);
    for (uint32_t i = 0; i < x->n; i++) compare(c, what, &x->results[i], &y->results[i], tolerance);
    for (StateId s = 0; s < c->m->states.n; s++)
        compare(c, what, &x->in.states[s], &y->in.states[s], tolerance);
}

typedef struct {
    const char *name;
    bool (*run)(PassCx *);
} Step;

// ---- tests

static void test_neutral_passes_keep_every_bit(void **state) {
    (void)state;
    static const Step steps[] = {{"dce", pass_dce},
                                 {"cse", pass_cse},
                                 {"recognise", pass_recognise},
                                 {"chunk", pass_chunk},
                                 {"cse", pass_cse}};
    for (uint32_t i = 0; i < rounds(100); i++) {
        Case c = new_case((IrGen){.seed = 1000 + i, .nodes = 10 + i % 60});
        must_verify(&c, "irgen");
        Run before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, "f");
        for (uint32_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
            apply(&c, steps[s].name, steps[s].run);
            run_start(&after, &c, INTERP_EXACT);
            run_func(&after, &c, "f");
            compare_runs(&c, steps[s].name, &before, &after, 0);
        }
        end_case(&c);
    }
}

static void test_simplify_keeps_the_meaning(void **state) {
    (void)state;
    for (uint32_t i = 0; i < rounds(100); i++) {
        Case c = new_case((IrGen){.seed = 50000 + i, .nodes = 10 + i % 60, .smooth = true});
        Run before, after;
        run_start(&before, &c, INTERP_F64);
        run_func(&before, &c, "f");
        apply(&c, "simplify", pass_simplify);
        apply(&c, "tidy", pass_tidy);
        run_start(&after, &c, INTERP_F64);
        run_func(&after, &c, "f");
        compare_runs(&c, "simplify", &before, &after, 1e-5); // constants are folded as f32
        end_case(&c);
    }
}

// ---- derivatives

static double loss_at(const Case *c, const Run *base, double h) {
    Run r;
    run_start(&r, c, INTERP_F64);
    (void)base;
    for (StateId s = 0; s < 3; s++) {
        int64_t n = type_count(type_at(c->m, c->m->states.at[s].type));
        for (int64_t i = 0; i < n; i++) r.in.states[s].at[i] += h * number_for("direction", i + s);
    }
    run_func(&r, c, "step");
    return r.results[0].at[0];
}

// The derivative along a direction, from the gradients.
static double slope_of(const Case *c, const Run *r) {
    double slope = 0;
    for (StateId s = 0; s < 3; s++) {
        int64_t n = type_count(type_at(c->m, c->m->states.at[s].type));
        for (int64_t i = 0; i < n; i++)
            slope += r->results[1 + s].at[i] * number_for("direction", i + s);
    }
    return slope;
}

static void test_gradients_match_differences(void **state) {
    (void)state;
    uint32_t steep = 0, n = rounds(100);
    for (uint32_t i = 0; i < n; i++) {
        Case c = new_case(
            (IrGen){.seed = 90000 + i, .nodes = 10 + i % 40, .gradients = true, .smooth = true});
        if (i % 2) apply(&c, "simplify", pass_simplify);
        apply(&c, "autodiff", pass_autodiff);
        if (i % 3) apply(&c, "tidy", pass_tidy);
        Run r;
        run_start(&r, &c, INTERP_F64);
        run_func(&r, &c, "step");
        double slope = slope_of(&c, &r);
        // Two step sizes: at a kink, or where the loss is wild, they disagree and nothing is
        // learnt.
        double wide = (loss_at(&c, &r, 2e-5) - loss_at(&c, &r, -2e-5)) / 4e-5;
        double narrow = (loss_at(&c, &r, 1e-5) - loss_at(&c, &r, -1e-5)) / 2e-5;
        steep += fabs(slope) > 1e-3;
        if (fabs(wide - narrow) < 1e-6 * fmax(1, fabs(narrow)) &&
            fabs(slope - narrow) > 1e-4 * fmax(1, fabs(narrow)))
            fail_msg("seed %llu: slope %.12g, differences %.12g\n%s", (unsigned long long)c.seed,
                     slope, narrow, text_of(&c));
        end_case(&c);
    }
    assert_true(steep > n / 3); // most losses do depend on the states
}

// ---- micro-batches

// Runs prologue, micro and update of a cut module; the results are those of update.
static void run_cut(Run *r, const Case *c, int64_t batch, int64_t micro) {
    run_start(r, c, INTERP_F64);
    r->inputs.accum = batch / micro;
    for (int64_t first = 0; first < batch; first += micro) {
        r->inputs.first = first;
        run_func(r, c, "prologue");
    }
    for (int64_t first = 0; first < batch; first += micro) {
        r->inputs.first = first;
        run_func(r, c, "micro");
    }
    run_func(r, c, "update");
}

static void test_micro_batches_add_up(void **state) {
    (void)state;
    enum { BATCH = 6 };
    static const int64_t sizes[] = {1, 2, 3, 6};
    uint32_t cut = 0, n = rounds(60);
    for (uint32_t i = 0; i < n; i++) {
        Case c = new_case((IrGen){.seed = 130000 + i,
                                  .nodes = 8 + i % 40,
                                  .gradients = true,
                                  .smooth = true,
                                  .batch = BATCH});
        must_verify(&c, "irgen");
        apply(&c, "simplify", pass_simplify);
        apply(&c, "autodiff", pass_autodiff);
        apply(&c, "tidy", pass_tidy);
        Run whole, parts;
        run_start(&whole, &c, INTERP_F64);
        run_func(&whole, &c, "step");
        c.cx.micro = sizes[i % 4];
        apply(&c, "microbatch", pass_microbatch);
        if (!c.diag->errors) {
            run_cut(&parts, &c, BATCH, c.cx.micro);
            for (uint32_t k = 0; k < whole.n; k++)
                compare(&c, "microbatch", &whole.results[k], &parts.results[k], 1e-9);
            cut += c.cx.micro < BATCH;
        }
        end_case(&c);
    }
    assert_true(cut > n / 4);
}

// ---- the ledger

static void test_ledger_counts_layers(void **state) {
    (void)state;
    Arena *a = arena_new();
    Ledger *l = ledger_new(a);
    for (int i = 0; i < 12; i++)
        ledger_add(l, true, "fuse", "epilogue", arena_printf(a, "h.%d.mlp.y", i), 100, (Loc){0},
                   "stays %s", "hot");
    ledger_add(l, false, "fuse", "epilogue", "h.3.mlp.y", 7, (Loc){0}, "stays hot");
    assert_int_equal(l->lines.n, 2);
    assert_int_equal(l->lines.at[0].count, 12);
    assert_int_equal(l->lines.at[0].bytes, 1200);
    assert_string_equal(l->lines.at[0].subject, "h.*.mlp.y");
    Text t = {.arena = a};
    ledger_print(l, &t);
    assert_non_null(strstr(t.at, "h.*.mlp.y x 12, 1.2 KiB: stays hot"));
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger_counts_layers),
        cmocka_unit_test(test_neutral_passes_keep_every_bit),
        cmocka_unit_test(test_simplify_keeps_the_meaning),
        cmocka_unit_test(test_gradients_match_differences),
        cmocka_unit_test(test_micro_batches_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

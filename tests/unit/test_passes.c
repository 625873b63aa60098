// The passes on random modules.
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
#include "passes/autodiff.h"
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
} PassCase;

static PassCx pass_cx(const PassCase *c) {
    return (PassCx){.m = c->m,
                    .scratch = arena_new(),
                    .ledger = ledger_new(c->a),
                    .target = target_find("cpu")};
}

static PassCase new_case(IrGen options) {
    PassCase c = {.seed = options.seed, .a = arena_new()};
    c.diag = diag_new(c.a);
    c.m = irgen_module(c.a, symtab_new(c.a), c.diag, &options);
    c.cx = pass_cx(&c);
    return c;
}

static void end_case(PassCase *c) {
    arena_free(c->cx.scratch);
    arena_free(c->a);
}

static const char *text_of(const PassCase *c) {
    Text t = {.arena = c->a};
    ir_print_module(&t, c->m);
    return t.at;
}

static void must_verify(PassCase *c, const char *after) {
    Text why = {.arena = c->a};
    if (ir_verify(c->m, &why))
        fail_msg("seed %llu, after %s: %s\n%s", (unsigned long long)c->seed, after, why.at,
                 text_of(c));
}

// Runs a pass, checks the module, and that the pass leaves its own output alone.
static void apply(PassCase *c, const char *name, bool (*pass)(PassCx *)) {
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
    const PassCase *c;
    int64_t first; // sample the micro-batch starts at
    int64_t accum;
    int64_t samples; // of an evaluation: behind them NaN and wild indices
} Inputs;

static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const Inputs *in = user;
    const Type *t = type_at(in->c->m, type);
    if (strcmp(name, "accum") == 0) return out[0] = (double)in->accum, true;
    if (strcmp(name, "batch") == 0) return out[0] = (double)in->samples, true;
    int64_t n = type_count(t);
    bool sampled = t->n && in->c->m->axes.at[t->axes[0].axis].sample;
    int64_t each = sampled ? n / t->axes[0].size : n, skip = sampled ? in->first * each : 0;
    int64_t left = in->samples - in->first;
    if (strcmp(name, "valid") == 0) return out[0] = (double)left, true;
    for (int64_t i = 0; i < n; i++) {
        double x = number_for(name, i + skip);
        out[i] = t->elem == ELEM_f32 ? x : floor(fabs(x) * 4); // indices: mostly inside small axes
        if (sampled && in->samples && i >= left * each) out[i] = t->elem == ELEM_f32 ? NAN : 77;
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
} InterpRun;

static void run_start(InterpRun *r, const PassCase *c, InterpMode mode) {
    *r = (InterpRun){.inputs = {c, 0, 1, 0}};
    interp_init(&r->in, c->m, mode, c->a);
    r->in.input = give_input;
    r->in.user = &r->inputs;
    r->in.seed = 7;
    r->in.step = 3;
    set_states(&r->in, c->m);
}

static void run_func(InterpRun *r, const PassCase *c, const char *name) {
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

static void compare(const PassCase *c, const char *what, const Tensor *x, const Tensor *y,
                    double tolerance) {
    assert_int_equal(x->type, y->type);
    int64_t n = type_count(type_at(c->m, x->type));
    for (int64_t i = 0; i < n; i++)
        if (!close_to(x->at[i], y->at[i], tolerance))
            fail_msg("seed %llu: %s, element %lld: %.17g, expected %.17g\n%s",
                     (unsigned long long)c->seed, what, (long long)i, y->at[i], x->at[i],
                     text_of(c));
}

static void compare_runs(const PassCase *c, const char *what, const InterpRun *x,
                         const InterpRun *y, double tolerance) {
    assert_int_equal(x->n, y->n);
    for (uint32_t i = 0; i < x->n; i++) compare(c, what, &x->results[i], &y->results[i], tolerance);
    for (StateId s = 0; s < c->m->states.n; s++)
        compare(c, what, &x->in.states[s], &y->in.states[s], tolerance);
}

// ---- tests

// Every neutral pass of the table, one after the other.
static void test_neutral_passes_keep_every_bit(void **state) {
    (void)state;
    for (uint32_t i = 0; i < rounds(100); i++) {
        PassCase c =
            new_case((IrGen){.seed = 1000 + i, .nodes = 10 + i % 60, .attention = i % 4 == 0});
        must_verify(&c, "irgen");
        InterpRun before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, "f");
        for (uint32_t p = 0; p < pass_count; p++) {
            if (!pass_table[p].neutral) continue;
            apply(&c, pass_table[p].name, pass_table[p].run);
            run_start(&after, &c, INTERP_EXACT);
            run_func(&after, &c, "f");
            compare_runs(&c, pass_table[p].name, &before, &after, 0);
        }
        end_case(&c);
    }
}

static uint32_t regions_of(const PassCase *c, const char *func) {
    const Func *f = module_find(c->m, func);
    uint32_t count = 0;
    for (NodeId n = 0; n < f->nodes.n; n++) count += node_at(f, n)->op == OP_group;
    return count;
}

// Attentions of all kinds, forward and with their derivatives, as the model has them and kept whole.
static void test_attention_keeps_every_bit(void **state) {
    (void)state;
    uint32_t forward = 0, backward = 0, n = rounds(60);
    for (uint32_t i = 0; i < n; i++) {
        bool gradients = i % 2;
        const char *f = gradients ? "step" : "f";
        PassCase c = new_case((IrGen){.seed = 170000 + i,
                                      .nodes = i % 8,
                                      .gradients = gradients,
                                      .smooth = true,
                                      .attention = true});
        if (gradients) apply(&c, "autodiff", pass_autodiff);
        apply(&c, "tidy", pass_tidy);
        apply(&c, "cse", pass_cse);
        apply(&c, "layout", pass_layout);
        InterpRun before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, f);
        apply(&c, "recognise", pass_recognise);
        *(gradients ? &backward : &forward) += regions_of(&c, f) > gradients;
        run_start(&after, &c, INTERP_EXACT);
        run_func(&after, &c, f);
        compare_runs(&c, "recognise", &before, &after, 0);
        end_case(&c);
    }
    if (forward < n / 4 || backward < n / 6)
        fail_msg("of %u, %u are kept whole, and %u with their derivatives", n, forward, backward);
}

// The same where the target starts kernels at a cost: only then there are bundles.
static void test_bundles_keep_every_bit(void **state) {
    (void)state;
    uint32_t changed = 0;
    for (uint32_t i = 0; i < rounds(100); i++) {
        PassCase c = new_case((IrGen){.seed = 90000 + i, .nodes = 10 + i % 60, .twins = true});
        c.cx.target = target_find("cuda");
        PassHooks hooks = {.verify = true};
        if (!pipeline_run_list(&c.cx, "chunk,layout,fuse,schedule", &hooks))
            fail_msg("seed %llu: the passes before fail", (unsigned long long)c.seed);
        InterpRun before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, "f");
        uint32_t lines = c.cx.ledger->lines.n;
        apply(&c, "bundle", pass_bundle);
        changed += c.cx.ledger->lines.n > lines;
        run_start(&after, &c, INTERP_EXACT);
        run_func(&after, &c, "f");
        compare_runs(&c, "bundle", &before, &after, 0);
        end_case(&c);
    }
    if (changed < rounds(100) / 4) fail_msg("bundles in only %u modules", changed);
}

// What is computed again is drawn: values of this name.
static void draw_again(PassCase *c) {
    Func *f = module_find(c->m, "step");
    uint64_t draw = c->seed * 2654435761u;
    Sym names[2] = {sym(c->m->syms, "keep"), sym(c->m->syms, "again")};
    for (NodeId n = 0; n < f->nodes.n; n++) {
        draw = hash_u64(draw, n);
        node_at(f, n)->name = names[draw >> 20 & 1];
    }
    Demand d = {.path = names[1], .kind = DEMAND_recompute};
    vec_push(c->a, &c->m->demands, d);
}

// Without the marks the copies are the originals.
static const char *erased(PassCase *c) {
    Func *f = module_find(c->m, "step");
    Func old = *f;
    f->nodes.at = arena_copy(c->a, old.nodes.at, old.nodes.n * sizeof *old.nodes.at);
    f->nodes.cap = old.nodes.n;
    for (NodeId n = 0; n < f->nodes.n; n++) node_at(f, n)->clone = 0;
    pass_cse(&c->cx);
    pass_dce(&c->cx);
    arena_reset(c->cx.scratch);
    const char *text = text_of(c);
    *f = old;
    return text;
}

// Whatever is computed again: every bit, also once it is fused and planned, where the verifier looks at the
// memory; and it is the same function.
static void test_recompute_keeps_every_bit(void **state) {
    (void)state;
    uint32_t changed = 0, total = rounds(100);
    for (uint32_t i = 0; i < total; i++) {
        PassCase c = new_case((IrGen){.seed = 30000 + i, .nodes = 10 + i % 60, .gradients = true});
        draw_again(&c);
        PassHooks hooks = {.verify = true};
        if (!pipeline_run_list(&c.cx, "dce,autodiff,tidy,layout", &hooks))
            fail_msg("seed %llu: the passes before fail", (unsigned long long)c.seed);
        InterpRun before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, "step");
        const char *meant = erased(&c);
        pass_recompute(&c.cx);
        arena_reset(c.cx.scratch);
        if (c.diag->errors) { // none of the drawn values is kept
            end_case(&c);
            continue;
        }
        apply(&c, "recompute", pass_recompute);
        uint32_t clones = 0;
        const Func *f = module_find(c.m, "step");
        for (NodeId n = 0; n < f->nodes.n; n++) clones += node_at(f, n)->clone != 0;
        changed += clones != 0;
        if (strcmp(meant, erased(&c)) != 0)
            fail_msg("seed %llu: another function\n%s\nshould be\n%s", (unsigned long long)c.seed,
                     erased(&c), meant);
        run_start(&after, &c, INTERP_EXACT);
        run_func(&after, &c, "step");
        compare_runs(&c, "recompute", &before, &after, 0);
        if (!pipeline_run_list(&c.cx, "chunk,fuse,schedule,memplan", &hooks))
            fail_msg("seed %llu: the passes after fail", (unsigned long long)c.seed);
        run_start(&after, &c, INTERP_EXACT);
        run_func(&after, &c, "step");
        compare_runs(&c, "recompute and all that follows", &before, &after, 0);
        end_case(&c);
    }
    if (changed < total / 2) fail_msg("values computed again in only %u modules", changed);
}

// Whatever waits on the host: every bit, and memory in which nothing touches what is being copied (V17).
static void test_offload_keeps_every_bit(void **state) {
    (void)state;
    uint32_t changed = 0, total = rounds(100);
    for (uint32_t i = 0; i < total; i++) {
        PassCase c = new_case((IrGen){.seed = 70000 + i, .nodes = 10 + i % 60, .gradients = true});
        Target slow =
            *target_find("cuda"); // from links that hide every copy to such that hide none
        slow.out = slow.in = 1e12 / pow(10, i % 8);
        c.cx.target = &slow;
        draw_again(&c);
        c.m->demands.at[0].kind = DEMAND_offload;
        PassHooks hooks = {.verify = true};
        if (!pipeline_run_list(&c.cx, "dce,autodiff,tidy,layout,chunk,fuse,schedule,bundle",
                               &hooks))
            fail_msg("seed %llu: the passes before fail", (unsigned long long)c.seed);
        InterpRun before, after;
        run_start(&before, &c, INTERP_EXACT);
        run_func(&before, &c, "step");
        pass_offload(&c.cx);
        arena_reset(c.cx.scratch);
        if (!c.diag->errors) { // else none of the drawn values is kept
            apply(&c, "offload", pass_offload);
            uint32_t copies = 0;
            const Func *f = module_find(c.m, "step");
            for (NodeId n = 0; n < f->nodes.n; n++) copies += node_at(f, n)->op == OP_offload;
            changed += copies != 0;
            if (!pipeline_run_list(&c.cx, "memplan", &hooks))
                fail_msg("seed %llu: memplan fails", (unsigned long long)c.seed);
            run_start(&after, &c, INTERP_EXACT);
            run_func(&after, &c, "step");
            compare_runs(&c, "offload and memplan", &before, &after, 0);
        }
        end_case(&c);
    }
    if (changed < total / 3) fail_msg("values go to the host in only %u modules", changed);
}

static void test_simplify_keeps_the_meaning(void **state) {
    (void)state;
    for (uint32_t i = 0; i < rounds(100); i++) {
        PassCase c = new_case((IrGen){.seed = 50000 + i, .nodes = 10 + i % 60, .smooth = true});
        InterpRun before, after;
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

static double loss_at(const PassCase *c, double h) {
    InterpRun r;
    run_start(&r, c, INTERP_F64);
    for (StateId s = 0; s < c->m->states.n; s++) {
        int64_t n = type_count(type_at(c->m, c->m->states.at[s].type));
        for (int64_t i = 0; i < n; i++) r.in.states[s].at[i] += h * number_for("direction", i + s);
    }
    run_func(&r, c, "step");
    return r.results[0].at[0];
}

// The derivative along a direction, from the gradients.
static double slope_of(const PassCase *c, const InterpRun *r) {
    double slope = 0;
    for (StateId s = 0; s < c->m->states.n; s++) {
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
        PassCase c = new_case((IrGen){.seed = 90000 + i,
                                      .nodes = 10 + i % 40,
                                      .gradients = true,
                                      .smooth = true,
                                      .attention = i % 4 == 0});
        if (i % 2) apply(&c, "simplify", pass_simplify);
        apply(&c, "autodiff", pass_autodiff);
        if (i % 3) apply(&c, "tidy", pass_tidy);
        if (i % 4 == 0) apply(&c, "recognise", pass_recognise);
        InterpRun r;
        run_start(&r, &c, INTERP_F64);
        run_func(&r, &c, "step");
        double slope = slope_of(&c, &r);
        // Two step sizes: at a kink, or where the loss is wild, they disagree and nothing is
        // learnt.
        double wide = (loss_at(&c, 2e-5) - loss_at(&c, -2e-5)) / 4e-5;
        double narrow = (loss_at(&c, 1e-5) - loss_at(&c, -1e-5)) / 2e-5;
        steep += fabs(slope) > 1e-3;
        if (fabs(wide - narrow) < 1e-6 * fmax(1, fabs(narrow)) &&
            fabs(slope - narrow) > 1e-4 * fmax(1, fabs(narrow)))
            fail_msg("seed %llu: slope %.12g, differences %.12g\n%s", (unsigned long long)c.seed,
                     slope, narrow, text_of(&c));
        end_case(&c);
    }
    assert_true(steep > n / 3); // most losses do depend on the states
}

// ---- derivatives, op by op

// A module with one function "step" from text, as a case.
static PassCase text_case(const char *text) {
    PassCase c = {.a = arena_new()};
    c.diag = diag_new(c.a);
    uint16_t file = diag_add_file(c.diag, "test.ir", text, strlen(text), false);
    c.m = ir_parse(c.a, symtab_new(c.a), c.diag, file);
    if (!c.m) fail_msg("%s in\n%s", c.diag->items.at[0].text, text);
    c.cx = pass_cx(&c);
    must_verify(&c, "parsing");
    return c;
}

// Makes the value y the function's end: loss = sum(y * x0), and the derivatives by all states.
static void add_loss(PassCase *c, Func *f, NodeId y) {
    Builder b = {.m = c->m, .f = f};
    y = ir_binary(&b, OP_mul, y, ir_input(&b, "x0", node_at(f, y)->type, 0));
    const Type t = *type_of(c->m, f, y);
    AxisList axes = {.n = t.n};
    for (uint32_t i = 0; i < t.n; i++) axes.at[i] = t.axes[i].axis;
    NodeId loss = t.n ? ir_reduce(&b, REDUCE_sum, y, &axes) : y;
    f->results.n = 0;
    func_result(c->m, f, "loss", loss, RESULT_loss);
    for (StateId s = 0; s < c->m->states.n; s++)
        func_result(c->m, f, arena_printf(c->a, "g%u", s), ir_grad(&b, loss, s), RESULT_value);
}

static void check_gradient(PassCase *c, const char *what) {
    apply(c, "autodiff", pass_autodiff);
    InterpRun r;
    run_start(&r, c, INTERP_F64);
    run_func(&r, c, "step");
    double slope = slope_of(c, &r), h = 1e-4;
    // Fourth order in h, so that 1e-7 holds away from kinks.
    double want =
        (8 * (loss_at(c, h) - loss_at(c, -h)) - (loss_at(c, 2 * h) - loss_at(c, -2 * h))) /
        (12 * h);
    if (fabs(slope - want) > 1e-7 * fmax(1, fabs(want)))
        fail_msg("%s: slope %.12g, differences %.12g\n%s", what, slope, want, text_of(c));
    apply(c, "tidy", pass_tidy);
    run_start(&r, c, INTERP_F64);
    run_func(&r, c, "step");
    if (fabs(slope - slope_of(c, &r)) > 1e-6 * fmax(1, fabs(want)))
        fail_msg("%s after tidy: slope %.12g, before %.12g\n%s", what, slope_of(c, &r), slope,
                 text_of(c));
}

// Operands: w in -1.5 .. 1.5, v and u above 1/2, all of them states.
static void test_gradient_of_each_scalar(void **state) {
    (void)state;
    static const char leaves[] =
        "axis a = 7 state w : f32[a=7] param state v : f32[a=7] param state u : f32[a=7] param "
        "func step { %two = const : f32 {value=2.1} %w = state {state=w} %v0 = state {state=v} "
        "%u0 = state {state=u} %v = add %v0, %two %u = add %u0, %two %i = iota : i32[a=7] {axis=a} "
        "%three = const : i32 {value=3} %c = lt %i, %three output w = %w output v = %v "
        "output u = %u output c = %c }";
    for (int op = 0; op < OP_SCALARS; op++) {
        if (!gradient_table[op] || op == OP_cast) continue;
        for (int turn = 0; turn < 2; turn++) {
            PassCase c = text_case(leaves);
            Func *f = module_find(c.m, "step");
            NodeId w = f->results.at[0].node, v = f->results.at[1].node, u = f->results.at[2].node;
            bool positive = op == OP_sqrt || op == OP_rsqrt || op == OP_log || op == OP_pow;
            NodeId in[3] = {positive || turn ? v : w, positive || !turn ? u : w, v};
            if (op == OP_div || op == OP_rem) in[1] = u;
            if (op == OP_select) in[0] = f->results.at[3].node;
            Builder b = {.m = c.m, .f = f};
            add_loss(&c, f, ir_node(&b, (Op)op, NULL, in, op_info[op].min, NONE));
            check_gradient(&c, op_info[op].name);
            end_case(&c);
        }
    }
}

// Each with a result 'y' of states w and v. Ties and zeros are met where they can be
// differentiated.
static const char *const gradient_bodies[] = {
    "%y = rename %w {from=a, to=k} output y = %y",
    "%y = split %w {from=a, to=(c, d)} : f32[c=2, d=2, b=3] output y = %y",
    "%y = merge %w {from=(a, b), to=ab} output y = %y",
    "%y = slice %w {from=a, to=c, start=1} : f32[c=2, b=3] output y = %y",
    "%y = pad %w {from=a, to=ab, start=5, value=2} : f32[ab=12, b=3] output y = %y",
    "%x = rename %w {from=a, to=k} %y = concat %x, %w {from=(k, a), to=e} output y = %y",
    "%y = expand %w : f32[k=4, a=4, b=3] output y = %y",
    "%y = copy %w : f32[b=3, a=4] output y = %y",
    "%y = cast %w {to=f32} : f32[a=4, b=3] output y = %y",
    "%y = stop_gradient %w %z = mul %y, %w output y = %z",
    "%y = reduce %w {kind=sum, axes=(a), by=col} output y = %y",
    "%y = reduce %w {kind=sum, axes=(a, b), by=row} output y = %y",
    "%y = reduce %w {kind=max, axes=(b), by=row} output y = %y",
    "%y = reduce %w {kind=min, axes=(a), by=col} output y = %y",
    "%y = reduce %w {kind=prod, axes=(b), by=row} output y = %y",
    // A product with one zero, and with two; the zeros move with the state.
    "%x = input : f32[a=4, b=3] {name=w} %i = iota : i32[b=3] {axis=b} %one = const : i32 {value=1}"
    " %at = eq %i, %one %o = const : f32 {value=0} %s = select %at, %x, %o %z = sub %w, %s"
    " %y = reduce %z {kind=prod, axes=(b), by=row} output y = %y",
    "%x = input : f32[a=4, b=3] {name=w} %i = iota : i32[b=3] {axis=b} %one = const : i32 {value=1}"
    " %at = le %i, %one %o = const : f32 {value=0} %s = select %at, %x, %o %z = sub %w, %s"
    " %y = reduce %z {kind=prod, axes=(b), by=row} output y = %y",
    // Equal elements share: moved together they count once.
    "%x = expand %w : f32[a=4, b=3, k=4] %y = reduce %x {kind=max, axes=(k), by=row} output y = %y",
    "%y = max %w, %w output y = %y",
    "%y = min %w, %w output y = %y",
    "%y = mul %w, %w output y = %y",
    "%y = contract %w, %v {axes=(b)} output y = %y",
    "%x = rename %w {from=a, to=c2} %y = contract %w, %x {axes=(b)} output y = %y",
    "%x = exp %w %y = contract %w, %x {axes=(b)} output y = %y",
    "%x = exp %w %y = contract %w, %x {axes=(a, b)} output y = %y",
    "%x = contract %w, %v {axes=(b)} %z = sin %x %y = contract %z, %v, %w {axes=(c)} output y = %y",
    "%i = input : i32[k=4] {name=i0, range=b} %y = gather %w, %i {axis=b} output y = %y",
    "%i = input : i32[a=4] {name=i0, range=b} %y = gather %w, %i {axis=b} output y = %y",
    "%i = input : i32[a=4, k=4] {name=i0, range=b} %y = gather %w, %i {axis=b} output y = %y",
    "%i = input : i32[k=4] {name=i0, range=b} %x = gather %w, %i {axis=b} %s = sin %x"
    " %y = scatter_add %w, %i, %s {axis=b} output y = %y",
    // Several uses of a state: contraction, scatter and elementwise shares are one sum.
    "%i = input : i32[k=4] {name=i0, range=b} %x = gather %w, %i {axis=b} %s = sin %w"
    " %z = contract %x, %s {axes=(a)} %q = contract %z, %v {axes=(b)} %t = tanh %v"
    " %y = contract %q, %t {axes=(c)} output y = %y",
};

static void test_gradient_of_each_op(void **state) {
    (void)state;
    bool seen[OP_COUNT] = {false};
    for (uint32_t i = 0; i < sizeof gradient_bodies / sizeof gradient_bodies[0]; i++) {
        Text t = {.arena = arena_new()};
        text_printf(&t, "axis a = 4 axis b = 3 axis c = 2 axis d = 2 axis k = 4 axis c2 = 4 "
                        "axis ab = 12 axis e = 8 "
                        "state w : f32[a=4, b=3] param state v : f32[b=3, c=2] param "
                        "func step { %%w = state {state=w} %%v = state {state=v} ");
        text_printf(&t, "%s }", gradient_bodies[i]);
        PassCase c = text_case(t.at);
        Func *f = module_find(c.m, "step");
        for (NodeId n = 0; n < f->nodes.n; n++) seen[node_at(f, n)->op] = true;
        if (!strstr(gradient_bodies[i], "stop_gradient")) {
            add_loss(&c, f, f->results.at[0].node);
            check_gradient(&c, gradient_bodies[i]);
        }
        end_case(&c);
        arena_free(t.arena);
    }
    for (int op = OP_SCALARS; op < OP_COUNT; op++)
        if (gradient_table[op] && !seen[op]) fail_msg("no case for '%s'", op_info[op].name);
}

// stop_gradient(w) * w has the slope of a constant times w.
static void test_stop_gradient(void **state) {
    (void)state;
    PassCase c = text_case("axis a = 4 state w : f32[a=4] param func step { %w = state {state=w} "
                           "%s = stop_gradient %w %y = mul %s, %w output y = %y }");
    Func *f = module_find(c.m, "step");
    add_loss(&c, f, f->results.at[0].node);
    apply(&c, "simplify", pass_simplify);
    apply(&c, "autodiff", pass_autodiff);
    apply(&c, "tidy", pass_tidy);
    InterpRun r;
    run_start(&r, &c, INTERP_F64);
    run_func(&r, &c, "step");
    for (int64_t i = 0; i < 4; i++)
        assert_true(r.results[1].at[i] == number_for("w", i) * number_for("x0", i));
    end_case(&c);
}

// ---- micro-batches

// Runs prologue, micro and update of a cut module; the results are those of update.
static void run_cut(InterpRun *r, const PassCase *c, int64_t batch, int64_t micro) {
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
        PassCase c = new_case((IrGen){.seed = 130000 + i,
                                      .nodes = 8 + i % 40,
                                      .gradients = true,
                                      .smooth = true,
                                      .batch = BATCH});
        must_verify(&c, "irgen");
        apply(&c, "simplify", pass_simplify);
        apply(&c, "autodiff", pass_autodiff);
        apply(&c, "tidy", pass_tidy);
        InterpRun whole, parts;
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

// Rounds of every product that can have some, however small: the same but for the order of sums.
static void test_rounds_add_up(void **state) {
    (void)state;
    enum { BATCH = 6 };
    uint32_t formed = 0, n = rounds(500);
    for (uint32_t i = 0; i < n; i++) {
        PassCase c = new_case((IrGen){.seed = 170000 + i,
                                      .nodes = 8 + i % 40,
                                      .gradients = true,
                                      .smooth = true,
                                      .batch = BATCH});
        must_verify(&c, "irgen");
        apply(&c, "simplify", pass_simplify);
        apply(&c, "autodiff", pass_autodiff);
        apply(&c, "tidy", pass_tidy);
        c.cx.micro = BATCH;
        apply(&c, "microbatch", pass_microbatch);
        if (!c.diag->errors) {
            InterpRun whole, parts;
            uint32_t lines = c.cx.ledger->lines.n;
            run_cut(&whole, &c, BATCH, BATCH);
            c.m->sweep_above = 4;
            c.m->sweep_rows = 1 + i % 3;
            apply(&c, "sweep", pass_sweep);
            run_cut(&parts, &c, BATCH, BATCH);
            compare_runs(&c, "sweep", &whole, &parts, 1e-9);
            for (; lines < c.cx.ledger->lines.n; lines++)
                formed += c.cx.ledger->lines.at[lines].done;
        }
        end_case(&c);
    }
    if (formed < n / 20) fail_msg("only %u of %u modules have rounds", formed, n);
}

// Any micro-batch gives the evaluation of the samples that there are, whatever stands behind them.
static void test_evaluations_count_what_exists(void **state) {
    (void)state;
    enum { BATCH = 6, SAMPLES = 5 };
    static const int64_t sizes[] = {2, 3, 6};
    static const char *const parts[] = {"eval_prologue", "eval_micro"};
    uint32_t compared = 0, n = rounds(60);
    for (uint32_t i = 0; i < n; i++) {
        InterpRun runs[2];
        PassCase cases[2];
        bool good = true;
        for (uint32_t k = 0; k < 2; k++) {
            PassCase *c = &cases[k];
            *c = new_case((IrGen){.seed = 130000 + i,
                                  .nodes = 8 + i % 40,
                                  .gradients = true,
                                  .smooth = true,
                                  .batch = BATCH});
            apply(c, "simplify", pass_simplify);
            apply(c, "autodiff", pass_autodiff);
            apply(c, "tidy", pass_tidy);
            module_find(c->m, "step")->name = sym(c->m->syms, "eval");
            c->cx.micro = k ? sizes[i % 3] : 1;
            apply(c, "microbatch", pass_microbatch);
            good = good && !c->diag->errors && !c->m->whole_eval;
            if (!good) continue;
            InterpRun *r = &runs[k];
            run_start(r, c, INTERP_F64);
            r->inputs.samples = SAMPLES;
            for (uint32_t p = 0; p < 2; p++)
                for (int64_t first = 0; first < SAMPLES; first += c->cx.micro) {
                    r->inputs.first = first;
                    run_func(r, c, parts[p]);
                }
            run_func(r, c, "eval_finish");
        }
        for (uint32_t k = 0; good && k < runs[0].n; k++)
            compare(&cases[1], "evaluation", &runs[0].results[k], &runs[1].results[k], 1e-9);
        compared += good;
        end_case(&cases[0]);
        end_case(&cases[1]);
    }
    assert_true(compared > n / 4);
}

// A tied weight: rows are gathered from it and it is contracted with, so its gradient is a chain.
static void test_tied_weight_adds_up(void **state) {
    (void)state;
    for (int64_t micro = 1; micro <= 6; micro++) {
        if (6 % micro) continue;
        PassCase c =
            text_case("axis batch = 6 sample axis p = 4 axis k = 5 state w : f32[p=4, k=5] param "
                      "func step { %i = input : i32[batch=6] {name=i0, range=p} "
                      "%w = state {state=w} %x = gather %w, %i {axis=p} %z = sin %x "
                      "%y = contract %z, %w {axes=(k)} %s = mul %w, %w %r = reduce %s "
                      "{kind=sum, axes=(p, k), by=row} %t = add %y, %r output y = %t }");
        Func *f = module_find(c.m, "step");
        add_loss(&c, f, f->results.at[0].node);
        apply(&c, "autodiff", pass_autodiff);
        apply(&c, "tidy", pass_tidy);
        InterpRun whole, parts;
        run_start(&whole, &c, INTERP_F64);
        run_func(&whole, &c, "step");
        c.cx.micro = micro;
        apply(&c, "microbatch", pass_microbatch);
        assert_int_equal(c.diag->errors, 0);
        run_cut(&parts, &c, 6, micro);
        for (uint32_t k = 0; k < whole.n; k++)
            compare(&c, "microbatch", &whole.results[k], &parts.results[k], 1e-12);
        end_case(&c);
    }
}

// ---- the ledger

static void test_ledger_counts_layers(void **state) {
    (void)state;
    Arena *a = arena_new();
    Ledger *l = ledger_new(a);
    for (int i = 0; i < 12; i++)
        ledger_add(l,
                   (Decision){.done = true,
                              .func = "micro",
                              .pass = "fuse",
                              .rule = "epilogue",
                              .subject = arena_printf(a, "h.%d.mlp.y", i),
                              .bytes = 100},
                   "stays %s", "hot");
    const Decision refused = {
        .func = "micro", .pass = "fuse", .rule = "epilogue", .subject = "h.3.mlp.y", .bytes = 7};
    Decision elsewhere = refused;
    elsewhere.func = "init";
    ledger_add(l, elsewhere, "stays hot");
    ledger_add(l, refused, "stays hot");
    assert_int_equal(l->lines.n, 3);
    assert_int_equal(l->lines.at[0].count, 12);
    assert_int_equal(l->lines.at[0].bytes, 1200);
    assert_string_equal(l->lines.at[0].subject, "h.*.mlp.y");
    Text t = {.arena = a};
    ledger_print(l, &t);
    const char *twelve = strstr(t.at, "h.*.mlp.y x 12, 1.2 KiB: stays hot");
    const char *one = strstr(t.at, "no   epilogue       h.*.mlp.y, 7 B: stays hot");
    assert_true(twelve && one && strstr(t.at, "micro\n") < twelve && twelve < one);
    assert_true(one < strstr(t.at, "init\n")); // added before, printed behind
    arena_free(a);
}

static void test_ledger_as_json(void **state) {
    (void)state;
    Arena *a = arena_new();
    Ledger *l = ledger_new(a);
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, "a \"b\".sn", "x\ny = 1\n", 8, false);
    ledger_add(l,
               (Decision){.pass = "fuse",
                          .rule = "join",
                          .subject = "q\"\\\x01\xc3\xa9\xff.3",
                          .bytes = 5,
                          .loc = {.file = file, .start = 2, .end = 3}},
               "a\tb");
    ledger_add(l, (Decision){.done = true, .func = "f", .pass = "p", .rule = "r", .subject = ""},
               "c");
    Text t = {.arena = a};
    ledger_print_json(l, d, "cpu", &t);
    assert_string_equal(
        t.at, "{\"kind\":\"decision\",\"target\":\"cpu\",\"function\":\"\",\"pass\":\"fuse\","
              "\"rule\":\"join\",\"done\":false,\"subject\":\"q\\\"\\\\\\u0001\xc3\xa9\\ufffd.*\","
              "\"count\":1,\"bytes\":5,\"file\":\"a \\\"b\\\".sn\",\"line\":2,\"column\":1,"
              "\"reason\":\"a\\u0009b\"}\n"
              "{\"kind\":\"decision\",\"target\":\"cpu\",\"function\":\"f\",\"pass\":\"p\","
              "\"rule\":\"r\",\"done\":true,\"subject\":\"\",\"count\":1,\"bytes\":0,"
              "\"reason\":\"c\"}\n");
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger_counts_layers),
        cmocka_unit_test(test_ledger_as_json),
        cmocka_unit_test(test_neutral_passes_keep_every_bit),
        cmocka_unit_test(test_recompute_keeps_every_bit),
        cmocka_unit_test(test_offload_keeps_every_bit),
        cmocka_unit_test(test_attention_keeps_every_bit),
        cmocka_unit_test(test_bundles_keep_every_bit),
        cmocka_unit_test(test_simplify_keeps_the_meaning),
        cmocka_unit_test(test_gradient_of_each_scalar),
        cmocka_unit_test(test_gradient_of_each_op),
        cmocka_unit_test(test_stop_gradient),
        cmocka_unit_test(test_gradients_match_differences),
        cmocka_unit_test(test_micro_batches_add_up),
        cmocka_unit_test(test_rounds_add_up),
        cmocka_unit_test(test_evaluations_count_what_exists),
        cmocka_unit_test(test_tied_weight_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

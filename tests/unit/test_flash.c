// Attention on tensor cores from the IR to the emulated device: derivatives, the pass flash, recognise, the lowering and the
// printed kernels, against the interpreter; and that no kernel spills registers. A case is a function with the softmax of whatever is made of
// q k^T, times v, its products' operands rounded to 16 bits. What the device computes is within twice the error of the
// decomposed form (the exact interpreter on the same roundings) against double. Without NVRTC only the passes run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"
#include "tests/oracle/emulated.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    uint32_t batch, kv, group, rows, keys, d, e;
    bool causal, slopes, cap, dropout, bias;
    bool halves; // rows of a half see the keys of that half: a comparison of conditions
    uint32_t window;
    int32_t ahead; // row m sees keys up to m - ahead
    Elem elem;
    bool stored;         // the result and its derivatives are rounded too
    const char *refused; // it is kept decomposed: what the ledger says
} FlashModel;

static const FlashModel models[] = {
    {.name = "causal",
     .batch = 2,
     .kv = 1,
     .group = 1,
     .rows = 40,
     .keys = 40,
     .d = 16,
     .e = 16,
     .causal = true,
     .elem = ELEM_bf16,
     .stored = true},
    {.name = "grouped heads, cross",
     .batch = 1,
     .kv = 2,
     .group = 3,
     .rows = 20,
     .keys = 70,
     .d = 24,
     .e = 40,
     .elem = ELEM_bf16},
    {.name = "window, slopes, f16",
     .batch = 1,
     .kv = 1,
     .group = 1,
     .rows = 200,
     .keys = 200,
     .d = 16,
     .e = 24,
     .causal = true,
     .slopes = true,
     .window = 100,
     .elem = ELEM_f16},
    {.name = "dropout, cap",
     .batch = 2,
     .kv = 1,
     .group = 2,
     .rows = 33,
     .keys = 40,
     .d = 16,
     .e = 8,
     .cap = true,
     .dropout = true,
     .elem = ELEM_bf16},
    {.name = "rows that see no key, bias",
     .batch = 2,
     .kv = 1,
     .group = 1,
     .rows = 30,
     .keys = 30,
     .d = 8,
     .e = 16,
     .ahead = 5,
     .bias = true,
     .elem = ELEM_bf16,
     .stored = true},
    {.name = "halves",
     .batch = 1,
     .kv = 1,
     .group = 2,
     .rows = 150,
     .keys = 140,
     .d = 16,
     .e = 8,
     .halves = true,
     .elem = ELEM_bf16},
    {.name = "large heads",
     .batch = 1,
     .kv = 1,
     .group = 1,
     .rows = 20,
     .keys = 36,
     .d = 160,
     .e = 136,
     .causal = true,
     .elem = ELEM_bf16},
    {.name = "f32",
     .batch = 1,
     .kv = 1,
     .group = 1,
     .rows = 8,
     .keys = 8,
     .d = 8,
     .e = 8,
     .elem = ELEM_f32,
     .refused = "is not rounded to 16 bits"},
    {.name = "odd features",
     .batch = 1,
     .kv = 1,
     .group = 1,
     .rows = 8,
     .keys = 8,
     .d = 12,
     .e = 8,
     .elem = ELEM_bf16,
     .refused = "has features that are no multiple of 8"},
};
enum { MODELS = sizeof models / sizeof *models };

// ---- the function, as text

static uint32_t lines;
static uint32_t put(Text *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static uint32_t put(Text *to, const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    text_printf(to, "  %%%u = %s\n", lines, line);
    return lines++;
}

// A parameter plus data: attention of parameters alone is none.
static uint32_t put_operand(Text *to, const char *name, const char *type) {
    uint32_t s = put(to, "state : %s {state=%s}", type, name);
    uint32_t x = put(to, "input : %s {name=z%s}", type, name);
    return put(to, "add %%%u, %%%u", s, x);
}

static uint32_t put_const(Text *to, const char *elem, double v) {
    return put(to, "const : %s {value=%.9g}", elem, v);
}

static uint32_t put_mask(Text *to, const FlashModel *x, uint32_t s) {
    uint32_t row = put(to, "iota : i32[seq=%u] {axis=seq}", x->rows);
    uint32_t key = put(to, "iota : i32[key=%u] {axis=key}", x->keys);
    uint32_t low = put_const(to, "f32", -(double)INFINITY), seen = NONE;
    if (x->causal) seen = put(to, "le %%%u, %%%u", key, row);
    if (x->window) {
        uint32_t w = put_const(to, "i32", x->window), far = put(to, "add %%%u, %%%u", key, w);
        uint32_t near = put(to, "lt %%%u, %%%u", row, far);
        seen = seen == NONE ? near : put(to, "and %%%u, %%%u", seen, near);
    }
    if (x->ahead) {
        uint32_t w = put_const(to, "i32", x->ahead), last = put(to, "sub %%%u, %%%u", row, w);
        seen = put(to, "le %%%u, %%%u", key, last);
    }
    if (x->halves) {
        uint32_t r = put(to, "lt %%%u, %%%u", row, put_const(to, "i32", x->rows / 2));
        uint32_t k = put(to, "lt %%%u, %%%u", key, put_const(to, "i32", x->keys / 2));
        seen = put(to, "eq %%%u, %%%u", r, k);
    }
    return seen == NONE ? s : put(to, "select %%%u, %%%u, %%%u", seen, s, low);
}

static uint32_t put_scores(Text *to, const FlashModel *x, uint32_t c) {
    uint32_t s = put(to, "mul %%%u, %%%u", c, put_const(to, "f32", 1 / sqrt(x->d)));
    if (x->cap) {
        uint32_t t = put_const(to, "f32", 5), u = put(to, "div %%%u, %%%u", s, t);
        s = put(to, "mul %%%u, %%%u", put(to, "tanh %%%u", u), t);
    }
    if (x->slopes) {
        uint32_t slope = put(to, "input : f32[kv=%u, group=%u] {name=slope}", x->kv, x->group);
        uint32_t row = put(to, "iota : i32[seq=%u] {axis=seq}", x->rows);
        uint32_t key = put(to, "iota : i32[key=%u] {axis=key}", x->keys);
        uint32_t far = put(to, "cast %%%u {to=f32}", put(to, "sub %%%u, %%%u", key, row));
        far = put(to, "mul %%%u, %%%u", far, put_const(to, "f32", 0.01)); // far keys count
        s = put(to, "add %%%u, %%%u", s, put(to, "mul %%%u, %%%u", far, slope));
    }
    if (x->bias)
        s = put(to, "add %%%u, %%%u", s,
                put(to, "input : f32[seq=%u, key=%u] {name=bias}", x->rows, x->keys));
    return put_mask(to, x, s);
}

// As std.sn's: rows without a key are 0.
static uint32_t put_softmax(Text *to, uint32_t s) {
    uint32_t top = put(to, "reduce %%%u {kind=max, axes=(key), by=row}", s);
    top = put(to, "stop_gradient %%%u", top);
    uint32_t none =
        put(to, "eq %%%u, %%%u", put(to, "abs %%%u", top), put_const(to, "f32", (double)INFINITY));
    uint32_t shift = put(to, "select %%%u, %%%u, %%%u", none, put_const(to, "f32", 0), top);
    uint32_t e = put(to, "exp %%%u", put(to, "sub %%%u, %%%u", s, shift));
    uint32_t sum = put(to, "reduce %%%u {kind=sum, axes=(key), by=row}", e);
    uint32_t least = put(to, "max %%%u, %%%u", sum, put_const(to, "f32", 1e-30));
    uint32_t inverse = put(to, "div %%%u, %%%u", put_const(to, "f32", 1), least);
    return put(to, "mul %%%u, %%%u", e, inverse);
}

static const char *type_text(Arena *a, const FlashModel *x, char what) {
    switch (what) {
    case 'q':
        return arena_printf(a, "f32[batch=%u, seq=%u, kv=%u, group=%u, hdim=%u]", x->batch, x->rows,
                            x->kv, x->group, x->d);
    case 'k':
        return arena_printf(a, "f32[batch=%u, key=%u, kv=%u, hdim=%u]", x->batch, x->keys, x->kv,
                            x->d);
    case 'v':
        return arena_printf(a, "f32[batch=%u, key=%u, kv=%u, vdim=%u]", x->batch, x->keys, x->kv,
                            x->e);
    default:
        return arena_printf(a, "f32[batch=%u, seq=%u, kv=%u, group=%u, vdim=%u]", x->batch, x->rows,
                            x->kv, x->group, x->e);
    }
}

static const char *model_text(Arena *a, const FlashModel *x) {
    Text t = {.arena = a};
    lines = 0;
    text_printf(&t,
                "axis batch = %u\naxis seq = %u\naxis key = %u\naxis kv = %u\naxis group = %u\n"
                "axis hdim = %u\naxis vdim = %u\n",
                x->batch, x->rows, x->keys, x->kv, x->group, x->d, x->e);
    for (const char *s = "qkv"; *s; s++)
        text_printf(&t, "state %c : %s param\n", *s, type_text(a, x, *s));
    text_printf(&t, "func step {\n");
    uint32_t q = put_operand(&t, "q", type_text(a, x, 'q'));
    uint32_t k = put_operand(&t, "k", type_text(a, x, 'k'));
    uint32_t v = put_operand(&t, "v", type_text(a, x, 'v'));
    uint32_t c = put(
        &t, "contract %%%u, %%%u : f32[batch=%u, kv=%u, group=%u, seq=%u, key=%u] {axes=(hdim)}", q,
        k, x->batch, x->kv, x->group, x->rows, x->keys);
    uint32_t w = put_softmax(&t, put_scores(&t, x, c));
    if (x->dropout) {
        uint32_t r = put(&t, "random : u32[batch=%u, kv=%u, group=%u, seq=%u, key=%u] {key=77}",
                         x->batch, x->kv, x->group, x->rows, x->keys);
        uint32_t keep = put(&t, "lt %%%u, %%%u", r, put_const(&t, "u32", 3e9));
        uint32_t scaled = put(&t, "mul %%%u, %%%u", w, put_const(&t, "f32", 1.25));
        w = put(&t, "select %%%u, %%%u, %%%u", keep, scaled, put_const(&t, "f32", 0));
    }
    uint32_t o = put(&t, "contract %%%u, %%%u : %s {axes=(key)}", w, v, type_text(a, x, 'o'));
    uint32_t g = put(&t, "input : %s {name=g}", type_text(a, x, 'o'));
    uint32_t loss = put(&t, "mul %%%u, %%%u", o, g);
    loss = put(&t, "reduce %%%u {kind=sum, axes=(batch, seq, kv, group, vdim), by=row}", loss);
    uint32_t d[3];
    for (int i = 0; i < 3; i++) d[i] = put(&t, "grad %%%u {state=%c}", loss, "qkv"[i]);
    text_printf(
        &t, "  output o = %%%u\n  output dq = %%%u\n  output dk = %%%u\n  output dv = %%%u\n}\n", o,
        d[0], d[1], d[2]);
    return t.at;
}

// ---- rounding, as the plan's precision does it

static NodeId rounded(Builder *b, NodeId n, Elem e) { return ir_cast(b, n, e); }

static void round_products(PassCx *cx, Func *f, const FlashModel *x) {
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_contract || x->elem == ELEM_f32) {
            rewrite_copy(&r, n);
            continue;
        }
        Attr attr = *attr_of(cx->m, f, n);
        rewrite_like(&r, n);
        NodeId in[2] = {rounded(&r.b, r.map[operand(f, n, 0)], x->elem),
                        rounded(&r.b, r.map[operand(f, n, 1)], x->elem)};
        NodeId y = ir_node(&r.b, OP_contract, &attr, in, 2, node_at(f, n)->type);
        const Type *t = type_of(cx->m, f, n);
        bool tile = type_find(t, axis_find(cx->m, sym(cx->m->syms, "seq"))) >= 0 &&
                    type_find(t, axis_find(cx->m, sym(cx->m->syms, "key"))) >= 0;
        if (x->stored && !tile) y = ir_cast(&r.b, rounded(&r.b, y, x->elem), ELEM_f32);
        r.map[n] = y;
    }
    rewrite_end(&r);
}

// ---- values

static bool value_of(void *user, const char *name, TypeId type, double *out) {
    const Module *m = user;
    uint32_t state = 7;
    for (const char *s = name; *s; s++) state = state * 31 + (uint8_t)*s;
    int64_t n = type_count(type_at(m, type));
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        double x = (double)(state >> 8) / (1 << 23) - 1; // -1 .. 1
        out[i] = *name == 'z' ? 0 : (double)(float)(strchr("qk", *name) ? 2 * x : x);
    }
    return true;
}

static void evaluate(Arena *a, Module *m, InterpMode mode, Tensor results[4]) {
    Interp in;
    Text why = {.arena = a};
    interp_init(&in, m, mode, a);
    in.input = value_of, in.user = m;
    in.seed = 5, in.step = 3;
    for (StateId s = 0; s < m->states.n; s++)
        value_of(m, sym_str(m->syms, m->states.at[s].path), m->states.at[s].type, in.states[s].at);
    if (!interp_run(&in, module_find(m, "step"), results, NULL, &why)) fail_msg("%s", why.at);
}

static float *floats(Arena *a, const Module *m, const char *name, TypeId type, int64_t *n) {
    *n = type_count(type_at(m, type));
    double *v = NEW_ARRAY(a, double, *n + 1);
    float *f = NEW_ARRAY(a, float, *n + 1);
    value_of((void *)(uintptr_t)m, name, type, v);
    for (int64_t i = 0; i < *n; i++) f[i] = (float)v[i];
    return f;
}

// ---- a case

typedef struct {
    Arena *a;
    Module *m;
    Ledger *ledger;
    KernelProgram program;
    uint32_t groups;
} FlashRun;

static Module *parse(Arena *a, const FlashModel *x) {
    const char *text = model_text(a, x);
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, x->name, text, strlen(text), false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    if (!m) fail_msg("%s: %s\n%s", x->name, d->items.at[0].text, text);
    return m;
}

static void run_passes(FlashRun *r, const char *list) {
    PassCx cx = {
        .m = r->m, .scratch = arena_new(), .ledger = r->ledger, .target = target_find("cuda")};
    PassHooks hooks = {.verify = true};
    if (!pipeline_run_list(&cx, list, &hooks))
        fail_msg("%s: %s", list, r->m->diag->items.n ? r->m->diag->items.at[0].text : "failed");
    arena_free(cx.scratch);
}

static void count_groups(FlashRun *r) {
    const Func *f = module_find(r->m, "step");
    r->groups = 0;
    for (NodeId n = 0; n < f->nodes.n; n++)
        r->groups +=
            node_at(f, n)->op == OP_group && attr_of(r->m, f, n)->group.kind == GROUP_flash;
}

static void compile(FlashRun *r, const FlashModel *x) {
    run_passes(r, "layout,flash,recognise,chunk,fuse,schedule,bundle,memplan");
    count_groups(r);
    if (x->refused || r->groups == 2) return;
    Text t = {.arena = r->a};
    ledger_print(r->ledger, &t);
    fail_msg("%s: %u groups\n%s", x->name, r->groups, t.at);
}

static void give(FlashRun *r, SnExec *e) {
    const SnPlan *p = sn_exec_plan(e);
    SnError err = {0};
    int64_t n;
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *port = &SN_AT(p, SnPort, inputs)[i];
        const Func *f = module_find(r->m, "step");
        for (NodeId k = 0; k < f->nodes.n; k++) {
            if (node_at(f, k)->op != OP_input) continue;
            const char *name = sym_str(r->m->syms, attr_of(r->m, f, k)->input.name);
            if (strcmp(name, SN_STRING(p, port->name)) != 0) continue;
            float *v = floats(r->a, r->m, name, node_at(f, k)->type, &n);
            memcpy(sn_exec_input(e, port), v, (size_t)port->bytes);
        }
    }
    for (StateId s = 0; s < r->m->states.n; s++) {
        const State *st = &r->m->states.at[s];
        float *v = floats(r->a, r->m, sym_str(r->m->syms, st->path), st->type, &n);
        assert_int_equal(sn_exec_write(e, st->mem.region, st->mem.offset, v, n * 4, &err), SN_OK);
    }
}

// The results of the device, as the tensors of the interpreter lie.
static void compare(FlashRun *r, const FlashModel *x, SnExec *e, const Tensor *exact,
                    const Tensor *bf) {
    const Func *f = module_find(r->m, "step");
    static const char *const names[] = {"o", "dq", "dk", "dv"};
    for (uint32_t i = 0; i < 4; i++) {
        NodeId node = f->results.at[i].node;
        const Type *t = type_of(r->m, f, node), *u = type_at(r->m, exact[i].type);
        int64_t n = type_count(t), stride[MAX_AXES], index[MAX_AXES] = {0};
        float *got = NEW_ARRAY(r->a, float, n + 1);
        SnError err = {0};
        type_strides(t, stride);
        assert_int_equal(
            sn_exec_read(e, f->mem.at[node].region, f->mem.at[node].offset, got, n * 4, &err),
            SN_OK);
        double error = 0, bound = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t at = 0;
            for (uint32_t j = 0; j < u->n; j++)
                at += index[j] * stride[type_find(t, u->axes[j].axis)];
            double d = fabs((double)got[at] - exact[i].at[k]);
            error = d != d ? (double)INFINITY : fmax(error, d);
            bound = fmax(bound, fabs(bf[i].at[k] - exact[i].at[k]));
            for (uint32_t j = u->n; j-- > 0 && ++index[j] == u->axes[j].size;) index[j] = 0;
        }
        bound = 2 * bound + 1e-5;
        printf("%s, %s: %.2f of the bound %.2e\n", x->name, names[i], error / bound, bound);
        if (!(error <= bound))
            fail_msg("%s, %s: %g from the exact result, bound %g", x->name, names[i], error, bound);
    }
}

static void run_device(FlashRun *r, const FlashModel *x, const Tensor *exact, const Tensor *bf,
                       const char *target) {
    Text why = {.arena = r->a};
    Emulated e;
    const EmulatedOptions how = {.target = target};
    if (!emulated_open(r->a, &r->program, &how, &e, &why)) fail_msg("%s: %s", x->name, why.at);
    SnEnv env = {.first = 1, .step = 3, .seed = 5};
    SnError err = {0};
    give(r, e.exec);
    if (sn_exec_run(e.exec, "step", &env, &err) || sn_exec_wait(e.exec, &err))
        fail_msg("%s on %s: %s", x->name, target, err.text);
    compare(r, x, e.exec, exact, bf);
    emulated_close(&e);
}

// The module after its derivatives, with its products rounded.
static FlashRun open_model(Arena *a, const FlashModel *x) {
    FlashRun r = {.a = a, .m = parse(a, x), .ledger = ledger_new(a)};
    run_passes(&r, "simplify,cse,dce,autodiff,tidy");
    PassCx cx = {
        .m = r.m, .scratch = arena_new(), .ledger = r.ledger, .target = target_find("cuda")};
    round_products(&cx, module_find(r.m, "step"), x);
    arena_free(cx.scratch);
    run_passes(&r, "cse,dce");
    return r;
}

static void check_ledger(const FlashRun *r, const FlashModel *x) {
    Text t = {.arena = r->a};
    ledger_print(r->ledger, &t);
    assert_int_equal(r->groups, 0);
    if (!strstr(t.at, x->refused))
        fail_msg("%s: the ledger does not say '%s'\n%s", x->name, x->refused, t.at);
}

// Element k of a value, in row-major order of type t, in another order of the axes.
static int64_t place(const Type *t, const Type *other, int64_t k) {
    int64_t strides[MAX_AXES], to = 0;
    type_strides(other, strides);
    for (uint32_t i = t->n; i-- > 0; k /= t->axes[i].size)
        to += k % t->axes[i].size * strides[type_find(other, t->axes[i].axis)];
    return to;
}

// In double, what the passes made means what was there before.
static void check_meaning(const FlashRun *r, const FlashModel *x, const Tensor *exact) {
    Tensor again[4];
    evaluate(r->a, r->m, INTERP_F64, again);
    for (uint32_t i = 0; i < 4; i++) {
        const Type *t = type_at(r->m, exact[i].type), *u = type_at(r->m, again[i].type);
        double most = 0;
        int64_t n = type_count(t);
        assert_true(type_same_axes(t, u));
        for (int64_t k = 0; k < n; k++) most = fmax(most, fabs(exact[i].at[k]));
        for (int64_t k = 0; k < n; k++) {
            double want = exact[i].at[k], got = again[i].at[place(t, u, k)];
            if (!(fabs(want - got) <= 1e-9 * (1 + most)))
                fail_msg("%s: result %u has another meaning at %lld: %g, %g", x->name, i,
                         (long long)k, want, got);
        }
    }
}

// Lowered; masks of indices are known, so that hidden tiles are skipped.
static void lower(FlashRun *r, const FlashModel *x) {
    if (!program_lower(r->a, r->m, r->m->diag, &r->program))
        fail_msg("%s: %s", x->name, r->m->diag->items.at[0].text);
    const ProgramSection *p = &r->program.sections.at[0];
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const LowerFlash *f = &p->steps.at[i].low.flash;
        if (p->steps.at[i].low.kind != LOWER_flash) continue;
        bool hides = x->causal || x->window || x->ahead || x->halves;
        assert_int_equal(f->part[f->shape.grad ? FLASH_cell : FLASH_score].masks, hides);
        assert_true(hides || f->seen == 1);
    }
}

static void run_model(const FlashModel *x, const char *target) {
    Arena *a = arena_new();
    FlashRun r = open_model(a, x);
    Tensor exact[4], bf[4];
    Text why = {.arena = a};
    evaluate(a, r.m, INTERP_F64, exact);
    evaluate(a, r.m, INTERP_EXACT, bf);
    compile(&r, x);
    if (x->refused) {
        check_ledger(&r, x);
    } else {
        check_meaning(&r, x, exact);
        lower(&r, x);
        if (cuda_available(&why))
            run_device(&r, x, exact, bf, target);
        else
            printf("skipped the device: %s\n", why.at);
    }
    arena_free(a);
}

static void all_models(void **state) {
    (void)state;
    for (uint32_t i = 0; i < MODELS; i++) run_model(&models[i], i % 2 ? "sm_80" : "sm_120");
}

// ---- registers

// Large ones: the sizes decide tiles.
static const FlashModel large[] = {
    {.name = "64, dropout",
     .batch = 4,
     .kv = 12,
     .group = 1,
     .rows = 1024,
     .keys = 1024,
     .d = 64,
     .e = 64,
     .causal = true,
     .dropout = true,
     .elem = ELEM_bf16,
     .stored = true},
    {.name = "128, cap",
     .batch = 1,
     .kv = 8,
     .group = 4,
     .rows = 2048,
     .keys = 2048,
     .d = 128,
     .e = 128,
     .causal = true,
     .cap = true,
     .window = 512,
     .elem = ELEM_bf16,
     .stored = true},
    {.name = "256, dropout",
     .batch = 1,
     .kv = 4,
     .group = 2,
     .rows = 512,
     .keys = 512,
     .d = 256,
     .e = 256,
     .causal = true,
     .dropout = true,
     .slopes = true,
     .elem = ELEM_f16,
     .stored = true},
};

static void check_registers(FlashRun *r, const FlashModel *x, const CudaTarget *const *targets,
                            uint32_t n) {
    CudaPlan plan = {.module = cuda_module_new(r->a)};
    PlanInfo info = {.sinter = "test", .model_name = "test", .model_text = ""};
    Text why = {.arena = r->a};
    cuda_plan(&plan, &info);
    if (!plan_collect(r->a, &r->program, &info, r->m->diag))
        fail_msg("%s: %s", x->name, r->m->diag->items.at[0].text);
    const CudaCompile how = {targets, n, false, NULL, 2};
    CudaImages out;
    if (!cuda_compile(r->a, plan.module, &how, &out, &why)) fail_msg("%s: %s", x->name, why.at);
    if (out.warnings.n) fail_msg("%s: %s", x->name, out.warnings.at);
    for (uint32_t t = 0; t < n; t++) {
        uint32_t most = 0;
        for (uint32_t i = 0; i < out.reports[t].n; i++) {
            const CudaReport *f = &out.reports[t].at[i];
            if (f->stack || f->spill_stores || f->spill_loads)
                fail_msg("%s on %s: '%s' has %u bytes of stack", x->name, targets[t]->name,
                         cuda_function_comment(plan.module, f->function), f->stack);
            if (f->registers > most) most = f->registers;
        }
        printf("%s on %s: at most %u registers\n", x->name, targets[t]->name, most);
    }
}

// In the sampled tier each on one target.
static void no_spills(void **state) {
    (void)state;
    bool all = getenv("SINTER_LONG") != NULL;
    const CudaTarget *targets[8];
    uint32_t n = 0;
    while (cuda_target_at(n)) targets[n] = cuda_target_at(n), n++;
    for (uint32_t i = 0; i < sizeof large / sizeof *large; i++) {
        Arena *a = arena_new();
        Text why = {.arena = a};
        FlashRun r = open_model(a, &large[i]);
        compile(&r, &large[i]);
        lower(&r, &large[i]);
        if (cuda_available(&why))
            check_registers(&r, &large[i], all ? targets : targets + (3 * i + 3) % n, all ? n : 1);
        else
            printf("skipped registers: %s\n", why.at);
        arena_free(a);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_models), cmocka_unit_test(no_spills)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// See model.h.
#include "tests/oracle/model.h"
#include "passes/pipeline.h"
#include <stdlib.h>
#include <string.h>

static bool read_text(Arena *a, const char *path, Text *to) {
    FILE *f = fopen(arena_printf(a, "%s/%s", SOURCE_DIR, path), "rb");
    if (!f) return false;
    char buf[4096];
    text_put(to, "", 0);
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) text_put(to, buf, n);
    return fclose(f) == 0;
}

static uint32_t split_defines(Arena *a, const char *text, Define *defs, uint32_t most) {
    uint32_t n = 0;
    for (char *s = strtok(arena_str(a, text, strlen(text)), " "); s; s = strtok(NULL, " ")) {
        char *eq = strchr(s, '=');
        CHECK(eq && n < most, "define '%s'", s);
        *eq = 0;
        defs[n++] = (Define){s, eq + 1};
    }
    return n;
}

TestModel *model_compile(const char *path, const char *defines) {
    enum { MOST = 32 };
    Arena *a = arena_new();
    TestModel *t = NEW(a, TestModel);
    *t = (TestModel){.a = a, .diag = diag_new(a), .ledger = ledger_new(a)};
    Text text = {.arena = a};
    Define defs[MOST];
    uint32_t n = split_defines(a, defines, defs, MOST);
    if (read_text(a, path, &text)) {
        uint16_t file = diag_add_file(t->diag, path, text.at, text.n, false);
        t->program = frontend_compile(a, symtab_new(a), t->diag, file, defs, n);
    } else {
        diag_error(t->diag, (Loc){0}, "cannot read '%s'", path);
    }
    if (t->program && !t->diag->errors) return t;
    diag_print(t->diag, stderr, false);
    model_free(t);
    return NULL;
}

void model_free(TestModel *t) {
    if (!t) return;
    native_close(&t->native);
    arena_free(t->a);
}

void model_keep_gradients(TestModel *t) {
    Module *m = t->program->m;
    Func *f = module_find(m, "step");
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_grad) continue;
        const State *s = &m->states.at[attr_of(m, f, n)->grad.state];
        func_result(m, f, arena_printf(t->a, "grad.%s", sym_str(m->syms, s->path)), n,
                    RESULT_value);
    }
}

bool model_passes(TestModel *t, const char *last) {
    PassCx cx = {.m = t->program->m,
                 .scratch = arena_new(),
                 .ledger = t->ledger,
                 .target = target_find("cpu"),
                 .micro = t->program->micro};
    PassHooks hooks = {.verify = true};
    bool ok = pipeline_run(&cx, NULL, last, &hooks) && !t->diag->errors;
    arena_free(cx.scratch);
    if (!ok) diag_print(t->diag, stderr, false);
    return ok;
}

bool model_load(TestModel *t, const char *cpu, int threads) {
    const Program *p = t->program;
    KernelProgram *kernels = NEW(t->a, KernelProgram);
    if (!program_lower(t->a, p->m, t->diag, kernels)) {
        diag_print(t->diag, stderr, false);
        return false;
    }
    PlanScalar *scalars = NEW_ARRAY(t->a, PlanScalar, p->scalars.n + 1);
    for (uint32_t i = 0; i < p->scalars.n; i++)
        scalars[i] =
            (PlanScalar){p->scalars.at[i].name, p->scalars.at[i].elem, p->scalars.at[i].value};
    NativeOptions o = {
        .cpu = cpu, .threads = threads, .scalars = scalars, .scalar_count = p->scalars.n};
    Text why = {.arena = t->a};
    if (native_open(t->a, kernels, &o, &t->native, &why)) return true;
    fprintf(stderr, "%s\n", why.at ? why.at : "native code does not load");
    return false;
}

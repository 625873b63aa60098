// Programs that are broken on purpose, run on the emulated device: the machinery of
// test_cuda_mutants.c. Include after cmocka.h.
//
// A subject is one function of mutants.ir, printed and planned for CUDA, and what it computes. A mutant
// changes one thing of it: a token of a kernel's text, a number of the plan, or a call of the driver.
// It is compiled and run as any program is; the outcome is a report or the bits of all results.
#pragma once
#include "codegen/cuda/module.h"
#include "passes/pipeline.h"
#include "runtime/elem.h"
#include "runtime/emulator/emulator.h"
#include "runtime/sinter.h"
#include "tests/unit/files.h"
#include <stdlib.h>
#include <string.h>

enum { RUNS = 3 }; // micro-batches: the first, one more, and one that is replayed as a graph

typedef struct {
    bool failed;
    const char *text; // why
    Text bits;        // of all results
} Outcome;

typedef struct {
    const char *name;
    Arena *a;
    CudaModule *module;
    const unsigned char *plan;
    size_t bytes;
    SnImage *images;
    uint64_t image_count;
    Outcome clean;
} Subject;

// A plan that may be changed, and one command of it.
typedef struct {
    SnPlan *plan;
    SnSection *section;
    SnCmd *cmd;
    SnKernel *kernel; // NULL: a product of cuBLASLt, a fill
    SnGemm *gemm;     // NULL: no product
    SnArg *args;
} Spot;

#define ITEMS(p, T, table) ((T *)(void *)((unsigned char *)(p) + (p)->table.offset))

static inline Spot spot_of(SnPlan *p, uint32_t at) {
    Spot x = {.plan = p, .section = ITEMS(p, SnSection, sections)};
    assert_int_equal(p->sections.count, 1);
    assert_true(at < x.section->count);
    x.cmd = ITEMS(p, SnCmd, cmds) + x.section->cmd + at;
    x.args = ITEMS(p, SnArg, args) + x.cmd->args;
    if (x.cmd->op == SN_CMD_KERNEL) x.kernel = ITEMS(p, SnKernel, kernels) + x.cmd->fn;
    if (x.cmd->op != SN_CMD_GEMM) return x;
    x.gemm = ITEMS(p, SnGemm, gemms) + x.cmd->fn;
    if (sn_gemm_has(x.gemm, SN_GEMM_KERNEL))
        x.kernel = ITEMS(p, SnKernel, kernels) + x.gemm->kernel;
    return x;
}

// ---- compiling ----------------------------------------------------------------------------------

// Nodes get the line that they stand in.
static inline void locate_nodes(Module *m, const char *text, uint16_t file) {
    FuncId f = NONE;
    NodeId n = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "func ", 5) == 0) f++, n = 0;
        if (strncmp(line, "  %", 3) != 0) continue;
        uint32_t start = (uint32_t)(line - text) + 2;
        node_at(m->funcs.at[f], n++)->loc = (Loc){file, start, start + 1};
    }
}

static inline Module *parse_file(Arena *a, const char *path) {
    size_t size;
    const char *text = read_file(a, path, &size);
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, path, text, size, false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    if (!m) diag_print(d, stderr, false);
    assert_non_null(m);
    locate_nodes(m, text, file);
    return m;
}

static inline KernelProgram lower_module(Arena *a, Module *m) {
    KernelProgram program = {.m = m};
    PassCx cx = {.m = m,
                 .scratch = arena_new(),
                 .ledger = ledger_new(a),
                 .target = target_find("cuda"),
                 .library = true};
    PassHooks hooks = {.verify = true};
    bool ok = pipeline_run_list(&cx, "chunk,layout,fuse,schedule,bundle,offload,memplan", &hooks) &&
              program_lower(a, m, m->diag, &program);
    arena_free(cx.scratch);
    if (!ok) diag_print(m->diag, stderr, false);
    assert_true(ok);
    return program;
}

// False: NVRTC refuses the text; *why says so.
static inline bool make_images(Subject *s, SnImage **to, uint64_t *n, Text *why) {
    const CudaTarget *target = cuda_target_find("sm_90a", 6);
    const CudaCompile how = {.targets = &target, .ntargets = 1, .ptx_only = true, .threads = 1};
    CudaImages images = {0};
    if (!cuda_compile(s->a, s->module, &how, &images, why)) return false;
    *n = images.images.n;
    *to = NEW_ARRAY(s->a, SnImage, *n + 1);
    for (uint64_t i = 0; i < *n; i++) {
        const CudaImage *x = &images.images.at[i];
        (*to)[i] =
            (SnImage){target->sm, target->arch, x->batch, x->ptx, x->data, (uint64_t)x->size};
    }
    return true;
}

static inline Subject subject_new(Arena *a, const KernelProgram *all, const char *name) {
    Subject s = {.name = name, .a = a, .module = cuda_module_new(a)};
    KernelProgram one = {.m = all->m};
    for (uint32_t i = 0; i < all->sections.n; i++) {
        const Func *f = all->m->funcs.at[all->sections.at[i].func];
        if (strcmp(sym_str(all->m->syms, f->name), name) == 0)
            vec_push(a, &one.sections, all->sections.at[i]);
    }
    assert_int_equal(one.sections.n, 1);
    CudaPlan target = {.module = s.module};
    PlanInfo info = {.sinter = "test", .model_name = "mutants", .model_text = ""};
    Text why = {.arena = a};
    cuda_plan(&target, &info);
    PlanTables *tables = plan_collect(a, &one, &info, one.m->diag);
    assert_non_null(tables);
    s.plan = plan_write(tables, "", &s.bytes);
    if (!make_images(&s, &s.images, &s.image_count, &why)) fail_msg("%s: %s", name, why.at);
    return s;
}

// ---- running ------------------------------------------------------------------------------------

static inline uint32_t mixed(uint64_t x) {
    x = (x + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 32);
}

// Floats in [-2, 2), integers in [0, range).
static inline void draw(void *to, uint32_t elem, int64_t bytes, int64_t range, uint64_t seed) {
    int64_t size = sn_elem_info[elem].bytes;
    bool real = sn_elem_info[elem].kind == SN_KIND_FLOAT;
    for (int64_t i = 0; i < bytes / size; i++) {
        uint32_t r = mixed(seed << 32 | (uint64_t)i);
        double x = (double)(r >> 8) / (double)(1 << 22) - 2;
        double k = (double)(r % (uint32_t)(range > 0 ? range : 7));
        sn_elem_set(elem, (char *)to + i * size, real ? x : k);
    }
}

static inline SnStatus give_parameters(SnExec *x, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    SnStatus status = SN_OK;
    for (uint32_t i = 0; i < p->states.count && !status; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (s->region != SN_REGION_PARAM) continue;
        void *values = malloc((size_t)s->bytes);
        assert_non_null(values);
        draw(values, s->elem, s->bytes, 0, 1000 + i);
        status = sn_exec_write(x, s->region, s->offset, values, s->bytes, e);
        free(values);
    }
    return status;
}

static inline void give_inputs(SnExec *x, uint64_t run) {
    const SnPlan *p = sn_exec_plan(x);
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *t = &SN_AT(p, SnPort, inputs)[i];
        draw(sn_exec_input(x, t), t->elem, t->bytes, t->range, 10 * run + i);
    }
}

static inline SnStatus take(SnExec *x, uint32_t region, int64_t offset, int64_t bytes, Text *to,
                            SnError *e) {
    void *values = calloc(1, (size_t)bytes);
    assert_non_null(values);
    SnStatus status = sn_exec_read(x, region, offset, values, bytes, e);
    text_put(to, values, (size_t)bytes);
    free(values);
    return status;
}

// Outputs, and the accumulators that commands have: all are written. By the plan that is not broken.
static inline SnStatus take_results(SnExec *x, const SnPlan *clean, Text *to, SnError *e) {
    SnStatus status = SN_OK;
    for (uint32_t i = 0; i < clean->outputs.count && !status; i++) {
        const SnPort *t = &SN_AT(clean, SnPort, outputs)[i];
        status = take(x, t->region, t->offset, t->bytes, to, e);
    }
    for (uint32_t i = 0; i < clean->args.count && !status; i++) {
        const SnArg *t = &SN_AT(clean, SnArg, args)[i];
        if (t->region == SN_REGION_ACCUM) status = take(x, t->region, t->offset, t->bytes, to, e);
    }
    return status;
}

// ahead: the host prepares all micro-batches without waiting for one.
static inline SnStatus run_all(SnExec *x, const Subject *s, bool ahead, SnError *e) {
    SnStatus status = give_parameters(x, e);
    for (uint64_t i = 0; i < RUNS && !status; i++) {
        const SnEnv env = {.first = i == 0, .step = 3, .seed = 77};
        give_inputs(x, i);
        status = sn_exec_run(x, s->name, &env, e);
        if (!status && !ahead) status = sn_exec_wait(x, e);
    }
    return status;
}

static inline Outcome run_program(const Subject *s, const void *plan, const SnImage *images,
                                  uint64_t n, const SnEmulator *device, bool ahead) {
    const SnProgram programs[2] = {
        {.plan = plan, .images = images, .image_count = n, .emulator = device}};
    Outcome o = {.bits = {.arena = s->a}};
    SnExec *x = NULL;
    SnError e = {0};
    SnStatus status = sn_exec_open(programs, "emu:sm_90a", 2, &x, &e);
    if (!status) status = run_all(x, s, ahead, &e);
    if (!status) status = take_results(x, (const SnPlan *)(const void *)s->plan, &o.bits, &e);
    sn_exec_free(x);
    o.failed = status != SN_OK;
    o.text = arena_printf(s->a, "%s", e.text);
    return o;
}

// ---- mutants of text ----------------------------------------------------------------------------

// Where `what` stands in [at, end); NULL: nowhere.
static inline const char *find_in(const char *at, const char *end, const char *what) {
    const char *p = strstr(at, what);
    return p && p < end ? p : NULL;
}

// In the function of that number, else in the templates in front of it: from, which is there once, becomes
// to.
static inline void edit_text(Subject *s, const SnKernel *k, const char *from, const char *to) {
    CudaBatch *b = &s->module->batches.at[k->batch];
    const char *start = strstr(b->text.at, arena_printf(s->a, "\n// k%u: ", k->fn));
    assert_non_null(start);
    const char *end = strstr(start + 1, "\n// k");
    if (!end) end = start + strlen(start);
    const char *at = find_in(start, end, from);
    if (!at) at = find_in(b->text.at, start, from);
    if (!at) fail_msg("'%s' is not in\n%.*s", from, (int)(end - start), start);
    Text text = {.arena = s->a};
    text_put(&text, b->text.at, (size_t)(at - b->text.at));
    text_put(&text, to, strlen(to));
    text_put(&text, at + strlen(from), strlen(at + strlen(from)));
    b->text = text;
}

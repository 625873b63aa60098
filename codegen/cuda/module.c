// The CUDA module: batches of functions, each a complete program text. Nothing is compiled here.
//
// Why batches: NVRTC's start-up dominates for small kernels. Why the templates in each: a batch is a
// translation unit and includes no header. Constant time per function beside its text.
#include "codegen/cuda/module.h"
#include <string.h>

CudaModule *cuda_module_new(Arena *a) {
    CudaModule *m = NEW(a, CudaModule);
    m->arena = a;
    m->by_hash.arena = a;
    return m;
}

typedef struct {
    const char *text;
    const size_t *size;
    CudaTemplate needs;
} TemplateText;
static const TemplateText templates[] = {
#define TEMPLATE(name, needs) {cuda_template_##name, &cuda_template_##name##_size, CUDA_##needs},
#include "codegen/cuda/template/template.def"
#undef TEMPLATE
};

static void put_template(CudaBatch *b, CudaTemplate t) {
    if (b->templates >> t & 1) return;
    if (templates[t].needs != t) put_template(b, templates[t].needs);
    b->templates |= 1u << t;
    if (b->text.n) text_put(&b->text, "\n", 1);
    text_put(&b->text, templates[t].text, *templates[t].size);
}

static CudaBatch *open_batch(CudaModule *m) {
    if (m->batches.n && m->batches.at[m->batches.n - 1].count < CUDA_BATCH)
        return &m->batches.at[m->batches.n - 1];
    CudaBatch b = {.text = {.arena = m->arena}, .first = m->functions};
    put_template(&b, CUDA_kernel);
    vec_push(m->arena, &m->batches, b);
    return &m->batches.at[m->batches.n - 1];
}

Text *cuda_module_open_function(CudaModule *m, const char *comment, CudaTemplate uses,
                                uint32_t *function, uint32_t *batch) {
    CudaBatch *b = open_batch(m);
    put_template(b, uses);
    b->count++;
    *function = m->functions++;
    *batch = m->batches.n - 1;
    vec_push(m->arena, &m->comments, arena_str(m->arena, comment, strlen(comment)));
    text_printf(&b->text, "\n// k%u: ", *function);
    cuda_put_safe(&b->text, comment);
    text_put(&b->text, "\n", 1);
    vec_push(m->arena, &b->starts, b->text.n);
    return &b->text;
}

static bool is_text(const CudaPrinted *f, const Text *t) {
    return f->n == t->n && memcmp(f->text, t->at, t->n) == 0;
}

const CudaPrinted *cuda_module_find(CudaModule *m, const Text *text, uint32_t **slot) {
    bool fresh;
    uint64_t hash = hash_bytes(HASH_SEED, text->at, text->n);
    for (;; hash++) { // a collision moves on
        *slot = map_slot(&m->by_hash, hash, &fresh);
        if (fresh || **slot == 0) return NULL;
        if (is_text(&m->printed.at[**slot - 1], text)) return &m->printed.at[**slot - 1];
    }
}

void cuda_put_safe(Text *to, const char *s) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               " ._-+=,:;()[]<>%#@'";
    for (; *s; s++) text_put(to, strchr(safe, *s) ? s : "_", 1);
}

const char *cuda_function_comment(const CudaModule *m, uint32_t function) {
    return m->comments.at[function];
}

uint32_t cuda_function_block(const CudaModule *m, uint32_t function) {
    for (uint32_t i = 0; i < m->printed.n; i++)
        if (m->printed.at[i].launch.function == function) return m->printed.at[i].launch.block;
    return 0;
}

uint32_t cuda_batches(const CudaModule *m) { return m->batches.n; }

const Text *cuda_batch(const CudaModule *m, uint32_t batch) { return &m->batches.at[batch].text; }

// The kernel that a command starts, or NULL.
static const SnKernel *started_by(const SnPlan *p, const SnCmd *c) {
    const SnKernel *kernels = SN_AT(p, SnKernel, kernels);
    if (c->op == SN_CMD_KERNEL) return &kernels[c->fn];
    if (c->op != SN_CMD_GEMM) return NULL;
    const SnGemm *g = &SN_AT(p, SnGemm, gemms)[c->fn];
    return sn_gemm_has(g, SN_GEMM_KERNEL) ? &kernels[g->kernel] : NULL;
}

// What starts function f: op, line of the model, grid and threads.
static void print_launches(const SnPlan *p, uint32_t f, Text *t) {
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
        const SnKernel *k = started_by(p, c);
        if (!k || k->fn != f) continue;
        text_put(t, "//   ", 5);
        cuda_put_safe(t, sn_cmd_name(p, c));
        text_printf(t, ", line %u: <<<(%u, %u, %u), %u>>>\n", sn_cmd_node(p, c)->line, k->grid[0],
                    k->grid[1], c->count, k->block);
    }
}

void cuda_print(const CudaModule *m, const SnPlan *plan, Text *to) {
    for (uint32_t i = 0; i < m->batches.n; i++) {
        const CudaBatch *b = &m->batches.at[i];
        size_t from = 0;
        text_printf(to, "// ---- batch %u\n", i);
        for (uint32_t k = 0; plan && k < b->starts.n; k++) {
            text_put(to, b->text.at + from, b->starts.at[k] - from);
            print_launches(plan, b->first + k, to);
            from = b->starts.at[k];
        }
        text_put(to, b->text.at + from, b->text.n - from);
    }
}

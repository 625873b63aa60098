// The CUDA module: batches of functions, each a complete program text. Nothing is compiled here.
//
// Why batches: NVRTC's start-up dominates for small kernels. Why a prelude in each: a batch is a
// translation unit and includes no header. Constant time per function beside its text.
#include "codegen/cuda/module.h"
#include <string.h>

CudaModule *cuda_module_new(Arena *a) {
    CudaModule *m = NEW(a, CudaModule);
    m->arena = a;
    m->by_hash.arena = a;
    return m;
}

// Env has the layout of SnCudaEnv (runtime/plan.h). min_nan and max_nan are primitives of ir/scalar.h that
// CUDA C has no exact spelling for.
//
// A thread keeps the least element of each output that it stored a NaN to (NaNs only: masks store
// infinities) in `bad`, and reports it when all is done. The test is straight code, in PTX because the
// compiler would make branches of it: a branch behind a store ends the stretch in which loads are moved
// ahead, and of a layer norm's twelve loads in flight two are left.
static const char prelude[] =
    "#pragma nv_diag_suppress 177, 186\n"
    "typedef unsigned char u8;\n"
    "typedef unsigned int u32;\n"
    "typedef long long i64;\n"
    "typedef unsigned long long u64;\n"
    "struct Env {\n"
    "    int first;\n"
    "    u32 step;\n"
    "    u64 seed;\n"
    "    i64 sample;\n"
    "    u64 fault;\n"
    "};\n"
    "static __device__ __forceinline__ void load4(const float *p, float *x) {\n"
    "    const float4 w = *(const float4 *)p;\n"
    "    x[0] = w.x, x[1] = w.y, x[2] = w.z, x[3] = w.w;\n"
    "}\n"
    "static __device__ __forceinline__ void load4(const u32 *p, u32 *x) {\n"
    "    const uint4 w = *(const uint4 *)p;\n"
    "    x[0] = w.x, x[1] = w.y, x[2] = w.z, x[3] = w.w;\n"
    "}\n"
    "static __device__ __forceinline__ void load4(const u8 *p, bool *x) {\n"
    "    const uchar4 w = *(const uchar4 *)p;\n"
    "    x[0] = w.x != 0, x[1] = w.y != 0, x[2] = w.z != 0, x[3] = w.w != 0;\n"
    "}\n"
    "template <class T> static __device__ __forceinline__ void zero4(T *x) {\n"
    "    x[0] = x[1] = x[2] = x[3] = 0;\n"
    "}\n"
    "static __device__ __forceinline__ void store4(float *p, const float *y) {\n"
    "    *(float4 *)p = make_float4(y[0], y[1], y[2], y[3]);\n"
    "}\n"
    "static __device__ __forceinline__ void store4(u32 *p, const u32 *y) {\n"
    "    *(uint4 *)p = make_uint4(y[0], y[1], y[2], y[3]);\n"
    "}\n"
    "static __device__ __forceinline__ void store4(u8 *p, const bool *y) {\n"
    "    *(uchar4 *)p = make_uchar4(y[0], y[1], y[2], y[3]);\n"
    "}\n"
    "static __device__ __forceinline__ void watch(u32 &bad, u32 at, float y) {\n"
    "    asm(\"{\"\n"
    "        \".reg .pred p;\"\n"
    "        \"setp.nan.f32 p, %1, %1;\"\n"
    "        \"@p min.u32 %0, %0, %2;\"\n"
    "        \"}\"\n"
    "        : \"+r\"(bad) : \"f\"(y), \"r\"(at));\n"
    "}\n"
    "static __device__ __forceinline__ void watch4(u32 &bad, u32 at, const float *y) {\n"
    "    asm(\"{\"\n"
    "        \".reg .pred p, q, r, any;\"\n"
    "        \".reg .b32 i;\"\n"
    "        \"setp.nan.f32 p, %1, %1;\"\n"
    "        \"setp.nan.or.f32 q, %2, %2, p;\"\n"
    "        \"setp.nan.or.f32 r, %3, %3, q;\"\n"
    "        \"setp.nan.or.f32 any, %4, %4, r;\"\n"
    "        \"selp.u32 i, 2, 3, r;\"\n"
    "        \"selp.u32 i, 1, i, q;\"\n"
    "        \"selp.u32 i, 0, i, p;\"\n"
    "        \"add.u32 i, i, %5;\"\n"
    "        \"@any min.u32 %0, %0, i;\"\n"
    "        \"}\"\n"
    "        : \"+r\"(bad) : \"f\"(y[0]), \"f\"(y[1]), \"f\"(y[2]), \"f\"(y[3]), \"r\"(at));\n"
    "}\n"
    "static __device__ __forceinline__ void watch(u64 &bad, u64 at, float y) {\n"
    "    if (y != y && at < bad) bad = at;\n"
    "}\n"
    "static __device__ __forceinline__ void watch4(u64 &bad, u64 at, const float *y) {\n"
    "    for (int j = 0; j < 4; j++) watch(bad, at + j, y[j]);\n"
    "}\n"
    "template <class T> static __device__ __forceinline__\n"
    "void report(const Env *e, u32 arg, T bad) {\n"
    "    if (bad != ~(T)0) atomicMin((u64 *)&e->fault, (u64)arg << 38 | bad);\n"
    "}\n"
    "static __device__ __forceinline__ float min_nan(float a, float b) {\n"
    "    float r;\n"
    "    asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b));\n"
    "    return r;\n"
    "}\n"
    "static __device__ __forceinline__ float max_nan(float a, float b) {\n"
    "    float r;\n"
    "    asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b));\n"
    "    return r;\n"
    "}\n";

static CudaBatch *open_batch(CudaModule *m) {
    if (m->batches.n && m->batches.at[m->batches.n - 1].count < CUDA_BATCH)
        return &m->batches.at[m->batches.n - 1];
    CudaBatch b = {.text = {.arena = m->arena}, .first = m->functions};
    text_put(&b.text, prelude, sizeof prelude - 1);
    vec_push(m->arena, &m->batches, b);
    return &m->batches.at[m->batches.n - 1];
}

Text *cuda_module_open_function(CudaModule *m, const char *comment, uint32_t *function,
                                uint32_t *batch) {
    CudaBatch *b = open_batch(m);
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

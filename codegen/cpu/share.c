// Which kernels share code. Equal kernels are one entry of the function table. Kernels that differ
// in the keys of their random numbers only (initial values and dropout: one key a tensor) share a
// body that takes the keys as parameters; each has an entry that calls it. GPT-2 has 80 tensors to
// draw and 9 bodies. Linear in kernels times distinct bodies with random numbers.
#include "codegen/cpu/print.h"
#include <string.h>

static const CpuBody *find(const CpuModule *m, const Text *text) {
    for (uint32_t i = 0; i < m->bodies.n; i++) {
        const CpuBody *b = &m->bodies.at[i];
        if (b->n == text->n && memcmp(b->text, text->at, b->n) == 0) return b;
    }
    return NULL;
}

static const CpuBody *body_of(CpuModule *m, CpuFnKind kind, const Kernel *plain, const char *name,
                              uint32_t keys) {
    Text text = {.arena = m->arena};
    kernel_print(&text, plain);
    const CpuBody *old = find(m, &text);
    if (old) return old;
    CpuBody b = {.text = text.at, .n = text.n, .unit = llvm_lightest(m)};
    b.fn = llvm_define_body(m, b.unit, kind, name, keys);
    print_function(m, b.unit, b.fn, plain, true);
    vec_push(m->arena, &m->bodies, b);
    return &m->bodies.at[m->bodies.n - 1];
}

// Hands the entry's parameters and the keys on to the body.
static void call_body(const CpuBody *b, LLVMValueRef entry, const uint64_t *keys, uint32_t n) {
    LLVMValueRef args[16 + CPU_MAX_KEYS];
    const LlvmUnit *u = b->unit;
    uint32_t at = LLVMCountParams(entry);
    LLVMGetParams(entry, args);
    for (uint32_t i = 0; i < n; i++) args[at++] = LLVMConstInt(u->t_i64, keys[i], 0);
    LLVMBuildCall2(u->b, LLVMGlobalGetValueType(b->fn), b->fn, args, at, "");
    LLVMBuildRetVoid(u->b);
}

static uint32_t add(CpuModule *m, const Kernel *k) {
    CpuFnKind kind = print_kind(k);
    uint64_t keys[CPU_MAX_KEYS];
    uint32_t n = 0, index = 0;
    Kernel plain = kernel_without_keys(m->arena, k, keys, CPU_MAX_KEYS, &n);
    if (n == 0) {
        LlvmUnit *u = llvm_lightest(m);
        print_function(m, u, llvm_define_in(m, u, kind, k->name, &index), k, false);
        return index;
    }
    const CpuBody *b = body_of(m, kind, &plain, k->name, n);
    call_body(b, llvm_define_in(m, b->unit, kind, k->name, &index), keys, n);
    return index;
}

uint32_t cpu_add_kernel(CpuModule *m, const Kernel *k) {
    bool fresh = false;
    uint32_t *slot = map_slot(&m->kernels, k->hash, &fresh);
    if (!fresh && kernel_equal(m->entries.at[*slot - 1].kernel, k)) return *slot - 1;
    uint32_t index = add(m, k);
    m->entries.at[index].kernel = k;
    if (fresh) *slot = index + 1;
    return index;
}

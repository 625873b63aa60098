// Kernels into this process, for tests and benchmarks: the object that would be written to a file
// is loaded by ORC instead, so what runs here is what an executable runs.
#include "codegen/cpu/object.h"
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>

struct CpuJit {
    LLVMOrcLLJITRef jit;
    CpuFunction const *table;
    uint32_t n;
};

static bool check(LLVMErrorRef e, Text *why) {
    if (!e) return true;
    char *text = LLVMGetErrorMessage(e);
    text_printf(why, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return false;
}

// Adding an object takes its buffer, also when it fails.
static bool load(CpuJit *j, LLVMMemoryBufferRef *out, uint32_t units, Text *why) {
    LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(j->jit);
    for (uint32_t i = 0; i < units; i++) {
        LLVMMemoryBufferRef buffer = out[i];
        out[i] = NULL;
        if (!check(LLVMOrcLLJITAddObjectFile(j->jit, lib, buffer), why)) return false;
    }
    LLVMOrcExecutorAddress at = 0;
    if (!check(LLVMOrcLLJITLookup(j->jit, &at, "sn_functions"), why)) return false;
    j->table = (CpuFunction const *)(uintptr_t)at;
    return true;
}

CpuJit *cpu_jit(CpuModule *m, Text *why) {
    LLVMMemoryBufferRef out[CPU_MAX_UNITS] = {NULL};
    CpuJit *j = NEW(m->arena, CpuJit);
    j->n = m->entries.n;
    bool good = object_compile(m, NULL, 0, out, why) &&
                check(LLVMOrcCreateLLJIT(&j->jit, NULL), why) && load(j, out, m->units, why);
    for (uint32_t i = 0; i < m->units; i++)
        if (out[i]) LLVMDisposeMemoryBuffer(out[i]);
    if (good) return j;
    cpu_jit_free(j);
    return NULL;
}

CpuFunction cpu_jit_function(const CpuJit *j, uint32_t index) {
    return index < j->n ? j->table[index] : NULL;
}

void cpu_jit_free(CpuJit *j) {
    if (!j || !j->jit) return;
    LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->jit);
    if (e) LLVMConsumeError(e);
    j->jit = NULL;
}

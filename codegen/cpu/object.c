// From LLVM modules to an object file. The pass list is short because the printer already emits
// vectors and hoists what a row or a task needs once: what is left is common subexpressions,
// constant addresses out of loops, and dead code. On GPT-2's kernels gvn in place of the second
// early-cse takes a fifth longer and gives the same code.
//
// The function table and the programs are constant data of the first unit. With several units the
// objects are compiled on one thread each; which function is in which unit follows from the kernels
// and their order, so the bytes are the same in every build.
#include "codegen/cpu/object.h"
#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>

static const char passes[] = "function(mem2reg,early-cse,instcombine<no-verify-fixpoint>,loop-mssa("
                             "licm),early-cse<memssa>,simplifycfg)";

// A declaration of entry i in unit u, or its definition when it lives there.
static LLVMValueRef entry_in(CpuModule *m, LlvmUnit *u, uint32_t i) {
    LLVMValueRef fn = LLVMGetNamedFunction(u->module, m->entries.at[i].symbol);
    if (fn) return fn;
    fn = LLVMAddFunction(u->module, m->entries.at[i].symbol,
                         LLVMFunctionType(u->t_void, NULL, 0, 0));
    LLVMSetVisibility(fn, LLVMHiddenVisibility);
    return fn;
}

static LLVMValueRef constant(LlvmUnit *u, const char *name, LLVMValueRef value) {
    LLVMValueRef g = LLVMAddGlobal(u->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetVisibility(g, LLVMHiddenVisibility);
    LLVMSetAlignment(g, 64);
    return g;
}

static LLVMValueRef bytes(LlvmUnit *u, const char *name, const void *at, size_t n) {
    return constant(u, name, LLVMConstStringInContext2(u->cx, at, n, 1));
}

static LLVMValueRef number(const LlvmUnit *u, uint32_t x) { return LLVMConstInt(u->t_i32, x, 0); }

// An array of SnImage.
static LLVMValueRef images_of(LlvmUnit *u, const ObjectProgram *p, Arena *a) {
    LLVMTypeRef fields[] = {u->t_i32, u->t_i32, u->t_i32, u->t_i32, u->t_ptr, u->t_i64};
    LLVMTypeRef type = LLVMStructTypeInContext(u->cx, fields, 6, 0);
    LLVMValueRef *all = NEW_ARRAY(a, LLVMValueRef, p->image_count + 1);
    for (uint32_t i = 0; i < p->image_count; i++) {
        const SnImage *m = &p->images[i];
        LLVMValueRef v[] = {number(u, m->sm),
                            number(u, m->exact),
                            number(u, m->batch),
                            number(u, m->ptx),
                            bytes(u, "sn_image", m->data, m->size + (m->ptx != 0)),
                            LLVMConstInt(u->t_i64, m->size, 0)};
        all[i] = LLVMConstStructInContext(u->cx, v, 6, 0);
    }
    return constant(u, "sn_images", LLVMConstArray2(type, all, p->image_count));
}

// The array of SnProgram, with an empty one at its end.
static void add_programs(CpuModule *m, LLVMValueRef functions, const ObjectProgram *p, uint32_t n) {
    LlvmUnit *u = &m->unit[0];
    LLVMTypeRef fields[] = {u->t_ptr, u->t_ptr, u->t_ptr, u->t_i64, u->t_ptr};
    LLVMTypeRef type = LLVMStructTypeInContext(u->cx, fields, 5, 0);
    LLVMValueRef *all = NEW_ARRAY(m->arena, LLVMValueRef, n + 1), none = LLVMConstNull(u->t_ptr);
    for (uint32_t i = 0; i < n; i++) {
        bool other = p[i].images != NULL;
        LLVMValueRef v[] = {bytes(u, "sn_plan_blob", p[i].plan, p[i].plan_size),
                            other ? none : functions, other ? images_of(u, &p[i], m->arena) : none,
                            LLVMConstInt(u->t_i64, p[i].image_count, 0),
                            other ? LLVMAddGlobal(u->module, u->t_i8, "sn_emulator") : none};
        all[i] = LLVMConstStructInContext(u->cx, v, 5, 0);
    }
    all[n] = LLVMConstNull(type);
    constant(u, "sn_programs", LLVMConstArray2(type, all, n + 1));
}

static void add_tables(CpuModule *m, const ObjectProgram *programs, uint32_t n) {
    LlvmUnit *u = &m->unit[0];
    uint32_t count = m->entries.n;
    LLVMValueRef *table = NEW_ARRAY(m->arena, LLVMValueRef, count + 1);
    for (uint32_t i = 0; i < count; i++) table[i] = entry_in(m, u, i);
    table[count] = LLVMConstNull(u->t_ptr);
    LLVMValueRef functions =
        constant(u, "sn_functions", LLVMConstArray2(u->t_ptr, table, count + 1));
    add_programs(m, functions, programs, n);
}

typedef struct {
    CpuModule *m;
    LlvmUnit *u;
    LLVMMemoryBufferRef out;
    char *error; // of LLVM's, or NULL
} ObjectJob;

static void *compile(void *arg) {
    ObjectJob *j = arg;
    char *broken = NULL;
    if (LLVMVerifyModule(j->u->module, LLVMReturnStatusAction, &broken)) {
        j->error = broken;
        return NULL;
    }
    LLVMDisposeMessage(broken);
    LLVMTargetMachineRef tm = llvm_target_machine(&j->m->isa);
    LLVMSetTarget(j->u->module, "x86_64-pc-linux-gnu");
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    LLVMSetModuleDataLayout(j->u->module, layout);
    LLVMDisposeTargetData(layout);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failed = LLVMRunPasses(j->u->module, passes, tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (failed) {
        char *text = LLVMGetErrorMessage(failed);
        j->error = LLVMCreateMessage(text);
        LLVMDisposeErrorMessage(text);
    } else if (!LLVMTargetMachineEmitToMemoryBuffer(tm, j->u->module, LLVMObjectFile, &j->error,
                                                    &j->out)) {
        j->error = NULL;
    }
    LLVMDisposeTargetMachine(tm);
    return NULL;
}

bool object_compile(CpuModule *m, const ObjectProgram *programs, uint32_t n,
                    LLVMMemoryBufferRef out[CPU_MAX_UNITS], Text *why) {
    add_tables(m, programs, n);
    ObjectJob job[CPU_MAX_UNITS] = {0};
    pthread_t thread[CPU_MAX_UNITS];
    bool started[CPU_MAX_UNITS] = {false}, good = true;
    for (uint32_t i = 0; i < m->units; i++) job[i] = (ObjectJob){.m = m, .u = &m->unit[i]};
    for (uint32_t i = 1; i < m->units; i++)
        started[i] = pthread_create(&thread[i], NULL, compile, &job[i]) == 0;
    for (uint32_t i = 0; i < m->units; i++)
        if (!started[i]) compile(&job[i]);
    for (uint32_t i = 0; i < m->units; i++) {
        if (started[i]) pthread_join(thread[i], NULL);
        out[i] = job[i].out;
        if (!job[i].error) continue;
        text_printf(why, "LLVM: %s", job[i].error);
        LLVMDisposeMessage(job[i].error);
        good = false;
    }
    return good;
}

// A member of an archive: a header of fixed columns, the bytes, and a filler to an even length.
static bool write_member(FILE *f, uint32_t unit, LLVMMemoryBufferRef object) {
    size_t n = LLVMGetBufferSize(object);
    char name[24];
    snprintf(name, sizeof name, "kernels%u.o/", unit);
    return fprintf(f, "%-16s%-12d%-6d%-6d%-8s%-10zu`\n", name, 0, 0, 0, "100644", n) == 60 &&
           fwrite(LLVMGetBufferStart(object), 1, n, f) == n &&
           (n % 2 == 0 || fputc('\n', f) != EOF);
}

// Several units are one file as an archive without an index (link.c takes every member).
static bool write_units(FILE *f, uint32_t units, LLVMMemoryBufferRef *object) {
    if (units == 1) {
        size_t n = LLVMGetBufferSize(object[0]);
        return fwrite(LLVMGetBufferStart(object[0]), 1, n, f) == n;
    }
    if (fputs("!<arch>\n", f) == EOF) return false;
    for (uint32_t i = 0; i < units; i++)
        if (!write_member(f, i, object[i])) return false;
    return true;
}

static bool write_file(const char *path, uint32_t units, LLVMMemoryBufferRef *object, Text *why) {
    FILE *f = fopen(path, "wb");
    if (!f) {
        text_printf(why, "cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    bool good = write_units(f, units, object);
    int code = errno;
    if (fclose(f) != 0 && good) {
        good = false;
        code = errno;
    }
    if (!good) {
        text_printf(why, "cannot write '%s': %s", path, strerror(code));
        remove(path);
    }
    return good;
}

bool cpu_write_object(CpuModule *m, const ObjectProgram *programs, uint32_t n, const char *path,
                      Text *why) {
    LLVMMemoryBufferRef out[CPU_MAX_UNITS] = {NULL};
    bool good = object_compile(m, programs, n, out, why) && write_file(path, m->units, out, why);
    for (uint32_t i = 0; i < m->units; i++)
        if (out[i]) LLVMDisposeMemoryBuffer(out[i]);
    return good;
}

void cpu_print_llvm(CpuModule *m, Text *to) {
    for (uint32_t i = 0; i < m->units; i++) {
        char *s = LLVMPrintModuleToString(m->unit[i].module);
        text_put(to, s, strlen(s));
        LLVMDisposeMessage(s);
    }
}

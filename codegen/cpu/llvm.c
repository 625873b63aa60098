// Small helpers over LLVM's C interface: modules in the making, function definitions, loops. They
// exist so that print.c and ukr.c read as what they generate. Every value is built through the
// unit's one builder; nothing here is optimised, object.c does that.
#include "codegen/cpu/llvm.h"
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// LLVM reports its own broken invariants here. There is no way back from it.
static void fatal(const char *reason) {
    fprintf(stderr, "internal error: LLVM: %s\n", reason);
    exit(4);
}

// What LLVM, and C++ under it, call when memory is short. There is no C interface for these, and
// another version may lack them: then it aborts.
#define WEAK(symbol) __asm__(symbol) __attribute__((weak))
typedef void NoRoom(void *user, const char *reason, bool crash);
void on_no_room(NoRoom *f, void *user)
    WEAK("_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_");
void forget_no_room(void) WEAK("_ZN4llvm30remove_bad_alloc_error_handlerEv");
void new_has_no_room(void) WEAK("_ZN4llvm33install_out_of_memory_new_handlerEv");

static void no_room(void *user, const char *reason, bool crash) {
    (void)user, (void)reason, (void)crash;
    const char *text = "sinter: error: out of memory\n";
    (void)!write(STDERR_FILENO, text, strlen(text));
    _exit(3); // on any thread, in the middle of anything: nothing is cleaned up
}

static void install_no_room(void) {
    if (!on_no_room || !forget_no_room || !new_has_no_room) return;
    forget_no_room(); // a second module in the process finds the first one's
    on_no_room(no_room, NULL);
    new_has_no_room();
}

static void unit_init(LlvmUnit *u) {
    u->cx = LLVMContextCreate();
    u->module = LLVMModuleCreateWithNameInContext("sinter", u->cx);
    u->b = LLVMCreateBuilderInContext(u->cx);
    u->t_void = LLVMVoidTypeInContext(u->cx);
    u->t_i1 = LLVMInt1TypeInContext(u->cx);
    u->t_i8 = LLVMInt8TypeInContext(u->cx);
    u->t_i16 = LLVMInt16TypeInContext(u->cx);
    u->t_i32 = LLVMInt32TypeInContext(u->cx);
    u->t_i64 = LLVMInt64TypeInContext(u->cx);
    u->t_f16 = LLVMHalfTypeInContext(u->cx);
    u->t_f32 = LLVMFloatTypeInContext(u->cx);
    u->t_ptr = LLVMPointerTypeInContext(u->cx, 0);
}

CpuModule *cpu_module_new(Arena *a, const CpuIsa *isa) {
    LLVMResetFatalErrorHandler(); // a second module in the process finds the first one's
    LLVMInstallFatalErrorHandler(fatal);
    install_no_room();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    CpuModule *m = NEW(a, CpuModule);
    m->arena = a;
    m->isa = *isa;
    m->units = CPU_MAX_UNITS;
    m->kernels.arena = a;
    for (uint32_t i = 0; i < m->units; i++) unit_init(&m->unit[i]);
    return m;
}

void cpu_module_free(CpuModule *m) {
    for (uint32_t i = 0; i < m->units; i++) {
        LLVMDisposeBuilder(m->unit[i].b);
        LLVMDisposeModule(m->unit[i].module);
        LLVMContextDispose(m->unit[i].cx);
    }
    m->units = 0;
}

const CpuIsa *cpu_module_isa(const CpuModule *m) { return &m->isa; }
uint32_t cpu_functions(const CpuModule *m) { return m->entries.n; }

// Parameters of an entry: p a pointer, i an i64.
static const char *const params[] = {[FN_KERNEL] = "ppiip",
                                     [FN_EPILOGUE] = "pppiiiii",
                                     [FN_STRIP] = "pppiiiiip",
                                     [FN_UKR] = "ipipipipipi"};

uint32_t llvm_params(CpuFnKind kind) { return (uint32_t)strlen(params[kind]); }

// `more` of type i64 follow.
static LLVMTypeRef function_type(const LlvmUnit *u, CpuFnKind kind, uint32_t more) {
    LLVMTypeRef at[16 + CPU_MAX_KEYS];
    uint32_t n = 0;
    for (const char *c = params[kind]; *c; c++) at[n++] = *c == 'p' ? u->t_ptr : u->t_i64;
    for (uint32_t i = 0; i < more; i++) at[n++] = u->t_i64;
    return LLVMFunctionType(u->t_void, at, n, 0);
}

static void attribute(const LlvmUnit *u, LLVMValueRef fn, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(u->cx, kind, 0));
}

static void text_attribute(const LlvmUnit *u, LLVMValueRef fn, const char *name,
                           const char *value) {
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(u->cx, name, (unsigned)strlen(name), value,
                                                      (unsigned)strlen(value)));
}

static LLVMValueRef start_function(CpuModule *m, const LlvmUnit *u, const char *symbol,
                                   LLVMTypeRef type) {
    LLVMValueRef fn = LLVMAddFunction(u->module, symbol, type);
    attribute(u, fn, "nounwind");
    text_attribute(u, fn, "target-cpu", m->isa.base);
    if (*m->isa.more) text_attribute(u, fn, "target-features", m->isa.more);
    text_attribute(u, fn, "tune-cpu", m->isa.tune);
    text_attribute(u, fn, "prefer-vector-width", m->isa.lanes == 16 ? "512" : "256");
    LLVMPositionBuilderAtEnd(u->b, LLVMAppendBasicBlockInContext(u->cx, fn, "entry"));
    return fn;
}

LlvmUnit *llvm_lightest(CpuModule *m) {
    LlvmUnit *u = &m->unit[0];
    for (uint32_t i = 1; i < m->units; i++)
        if (m->unit[i].weight < u->weight) u = &m->unit[i];
    return u;
}

LLVMValueRef llvm_define_in(CpuModule *m, const LlvmUnit *u, CpuFnKind kind, const char *name,
                            uint32_t *index) {
    *index = m->entries.n;
    const char *symbol = arena_printf(m->arena, "%s.%u", name, *index);
    CpuEntry entry = {.symbol = symbol};
    vec_push(m->arena, &m->entries, entry);
    LLVMValueRef fn = start_function(m, u, symbol, function_type(u, kind, 0));
    LLVMSetVisibility(fn, LLVMHiddenVisibility);
    return fn;
}

LLVMValueRef llvm_define(CpuModule *m, CpuFnKind kind, const char *name, LlvmUnit **unit,
                         uint32_t *index) {
    *unit = llvm_lightest(m);
    (*unit)->weight += 40;
    return llvm_define_in(m, *unit, kind, name, index);
}

LLVMValueRef llvm_define_body(CpuModule *m, const LlvmUnit *u, CpuFnKind kind, const char *name,
                              uint32_t more) {
    const char *symbol = arena_printf(m->arena, "%s.body", name);
    LLVMValueRef fn = start_function(m, u, symbol, function_type(u, kind, more));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    return fn;
}

// Machine code is the same for equal text: no jump tables or constants depend on addresses.
LLVMTargetMachineRef llvm_target_machine(const CpuIsa *isa) {
    LLVMTargetRef target = NULL;
    char *error = NULL;
    const char *triple = "x86_64-pc-linux-gnu";
    if (LLVMGetTargetFromTriple(triple, &target, &error)) fatal(error);
    return LLVMCreateTargetMachine(target, triple, isa->base, isa->more, LLVMCodeGenLevelDefault,
                                   LLVMRelocPIC, LLVMCodeModelSmall);
}

LLVMTypeRef llvm_vec(LLVMTypeRef element, unsigned lanes) { return LLVMVectorType(element, lanes); }
LLVMValueRef llvm_i64(const LlvmUnit *u, int64_t x) {
    return LLVMConstInt(u->t_i64, (uint64_t)x, 1);
}
LLVMValueRef llvm_i32(const LlvmUnit *u, uint32_t x) { return LLVMConstInt(u->t_i32, x, 0); }

// Through the bits: a NaN's payload must arrive as it is.
LLVMValueRef llvm_f32(const LlvmUnit *u, float x) {
    uint32_t bits = 0;
    memcpy(&bits, &x, sizeof bits);
    return LLVMConstBitCast(llvm_i32(u, bits), u->t_f32);
}

LLVMValueRef llvm_intrinsic(const LlvmUnit *u, const char *name, const LLVMTypeRef *types,
                            unsigned ntypes, const LLVMValueRef *args, unsigned nargs) {
    LLVMTypeRef t[4];
    LLVMValueRef v[8];
    memcpy(t, types, ntypes * sizeof *types);
    memcpy(v, args, nargs * sizeof *args);
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(u->module, id, t, ntypes);
    return LLVMBuildCall2(u->b, LLVMIntrinsicGetType(u->cx, id, t, ntypes), fn, v, nargs, "");
}

LLVMValueRef llvm_splat(const LlvmUnit *u, LLVMValueRef scalar, unsigned lanes) {
    LLVMTypeRef type = llvm_vec(LLVMTypeOf(scalar), lanes);
    LLVMValueRef one =
        LLVMBuildInsertElement(u->b, LLVMGetPoison(type), scalar, llvm_i32(u, 0), "");
    return LLVMBuildShuffleVector(u->b, one, LLVMGetPoison(type),
                                  LLVMConstNull(llvm_vec(u->t_i32, lanes)), "");
}

static LLVMValueRef current_function(const LlvmUnit *u) {
    return LLVMGetBasicBlockParent(LLVMGetInsertBlock(u->b));
}

LLVMBasicBlockRef llvm_block(const LlvmUnit *u, const char *name) {
    return LLVMAppendBasicBlockInContext(u->cx, current_function(u), name);
}

LLVMValueRef llvm_load(const LlvmUnit *u, LLVMTypeRef type, LLVMValueRef ptr, unsigned align) {
    LLVMValueRef v = LLVMBuildLoad2(u->b, type, ptr, "");
    LLVMSetAlignment(v, align);
    return v;
}

void llvm_store(const LlvmUnit *u, LLVMValueRef value, LLVMValueRef ptr, unsigned align) {
    LLVMSetAlignment(LLVMBuildStore(u->b, value, ptr), align);
}

LLVMValueRef llvm_at(const LlvmUnit *u, LLVMTypeRef type, LLVMValueRef ptr, LLVMValueRef index) {
    return LLVMBuildGEP2(u->b, type, ptr, &index, 1, ""); // a base may lie before the buffer
}

LlvmLoop llvm_loop(const LlvmUnit *u, LLVMValueRef from, LLVMValueRef to, int64_t step,
                   const char *name) {
    LlvmLoop l = {.step = llvm_i64(u, step), .head = llvm_block(u, name)};
    LLVMBasicBlockRef before = LLVMGetInsertBlock(u->b), body = llvm_block(u, "body");
    l.done = llvm_block(u, "done");
    LLVMBuildBr(u->b, l.head);
    LLVMPositionBuilderAtEnd(u->b, l.head);
    l.i = LLVMBuildPhi(u->b, u->t_i64, "i");
    LLVMAddIncoming(l.i, &from, &before, 1);
    LLVMBuildCondBr(u->b, LLVMBuildICmp(u->b, LLVMIntSLT, l.i, to, ""), body, l.done);
    LLVMPositionBuilderAtEnd(u->b, body);
    return l;
}

void llvm_loop_end(const LlvmUnit *u, LlvmLoop *l) {
    LLVMValueRef next = LLVMBuildNSWAdd(u->b, l->i, l->step, "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(u->b);
    LLVMBuildBr(u->b, l->head);
    LLVMAddIncoming(l->i, &next, &last, 1);
    LLVMPositionBuilderAtEnd(u->b, l->done);
}

LLVMValueRef llvm_local(const LlvmUnit *u, LLVMTypeRef type, const char *name) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(u->b);
    LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(current_function(u));
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first)
        LLVMPositionBuilderBefore(u->b, first);
    else
        LLVMPositionBuilderAtEnd(u->b, entry);
    LLVMValueRef v = LLVMBuildAlloca(u->b, type, name);
    LLVMSetAlignment(v, 64);
    LLVMPositionBuilderAtEnd(u->b, here);
    return v;
}

// The GEMM micro-kernels: r rows x v vectors of 16 lanes of C held in registers over a whole run of
// k. There is one for every v up to the tile and for r = the tile's and the powers of two below it
// (sn_ukr_rows), so that nothing is computed to be thrown away at the edges of C. They exist apart
// from the kernel IR because a tile of accumulators in registers is the one shape that IR does not
// say. Packing, blocking and tasks are runtime/core/gemm.c's.
//
// Needs from the caller what SnUkrFn says; reads nothing else of A and B (a prefetch may touch
// addresses beyond A's panel, which cannot fault). Per element: one chain fma(a, b, chain) over
// increasing k, hence the same bits for every r, v and instruction set (docs/numerics.md).
//
// The inner loop for one k: v vector loads of B, then per row one broadcast of A and v FMAs. Full
// tiles: AVX-512 8 x 48 (24 accumulators, 3 of B, broadcasts in flight: 11 loads for 24 FMAs), AVX2
// 6 x 16 (12 accumulators of 8 lanes). The tile is Goto's and BLIS's: Goto and van de Geijn,
// "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
//
// Where the level has AVX512-BF16 there is a second set, of pairs: for each word of k the same loads, and
// vdpbf16ps in the place of the FMA. It adds the product of the odd elements, then that of the even
// ones, each rounded to nearest and subnormals flushed, whatever MXCSR says.
#include "codegen/cpu/llvm.h"
#include "runtime/plan.h"

enum { LANES = 16, MAX_ROWS = 16, MAX_VECTORS = 4, UNROLL = 2, AHEAD = 24 };

// What the steps of one micro-kernel share while it is emitted.
typedef struct {
    const LlvmUnit *u;
    LLVMValueRef fn;
    LLVMTypeRef vec;
    uint32_t rows, vectors;
    bool pairs;
    LLVMValueRef acc[MAX_ROWS * MAX_VECTORS];
} Ukr;
enum { P_KC, P_A, P_LDA, P_B, P_LDB, P_FROM, P_LDFROM, P_ACC, P_LDACC, P_TO, P_LDTO };

static LLVMValueRef param(const Ukr *x, unsigned p) { return LLVMGetParam(x->fn, p); }

// Address of vector v of row r of a block at `base` with leading dimension `ld`.
static LLVMValueRef place(const Ukr *x, LLVMValueRef base, LLVMValueRef ld, uint32_t r,
                          uint32_t v) {
    const LlvmUnit *u = x->u;
    LLVMValueRef row = LLVMBuildMul(u->b, ld, llvm_i64(u, r), "");
    LLVMValueRef at = LLVMBuildAdd(u->b, row, llvm_i64(u, v * LANES), "");
    return llvm_at(u, u->t_f32, base, at);
}

// Asks for the cache line at p: write is 0 or 1, locality 3 is L1, 2 is L2.
static void prefetch(const LlvmUnit *u, LLVMValueRef p, uint32_t write, uint32_t locality) {
    LLVMValueRef args[] = {p, llvm_i32(u, write), llvm_i32(u, locality), llvm_i32(u, 1)};
    llvm_intrinsic(u, "llvm.prefetch", &u->t_ptr, 1, args, 4);
}

// The chain goes on by one word of k.
static LLVMValueRef chain(const Ukr *x, LLVMValueRef row, LLVMValueRef lanes, LLVMValueRef acc) {
    const LlvmUnit *u = x->u;
    if (!x->pairs)
        return llvm_intrinsic(u, "llvm.fma", &x->vec, 1, (LLVMValueRef[]){row, lanes, acc}, 3);
    LLVMTypeRef halves = llvm_vec(LLVMBFloatTypeInContext(u->cx), 2 * LANES);
    LLVMValueRef args[] = {acc, LLVMBuildBitCast(u->b, row, halves, ""),
                           LLVMBuildBitCast(u->b, lanes, halves, "")};
    return llvm_intrinsic(u, "llvm.x86.avx512bf16.dpbf16ps.512", NULL, 0, args, 3);
}

// One k: a points at this k's rows of A, b at its lanes of B.
static void step(Ukr *x, LLVMValueRef a, LLVMValueRef b) {
    const LlvmUnit *u = x->u;
    LLVMValueRef lanes[MAX_VECTORS];
    for (uint32_t v = 0; v < x->vectors; v++)
        lanes[v] = llvm_load(u, x->vec, llvm_at(u, u->t_f32, b, llvm_i64(u, v * LANES)), 4);
    for (uint32_t r = 0; r < x->rows; r++) {
        LLVMValueRef one = llvm_load(u, u->t_f32, llvm_at(u, u->t_f32, a, llvm_i64(u, r)), 4);
        LLVMValueRef row = llvm_splat(u, one, LANES);
        for (uint32_t v = 0; v < x->vectors; v++) {
            LLVMValueRef *acc = &x->acc[r * x->vectors + v];
            *acc = chain(x, row, lanes[v], *acc);
        }
    }
}

// for (k = from; k < to; k += unroll) with a and b moving along; the accumulators are phis.
typedef struct {
    LLVMValueRef k, a, b;
} Cursor;

static Cursor sweep(Ukr *x, Cursor at, LLVMValueRef to, uint32_t unroll) {
    const LlvmUnit *u = x->u;
    uint32_t n = x->rows * x->vectors;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(u->b), head = llvm_block(u, "k");
    LLVMBasicBlockRef body = llvm_block(u, "fma"), done = llvm_block(u, "done");
    LLVMValueRef phi[MAX_ROWS * MAX_VECTORS], step_k = llvm_i64(u, unroll);
    LLVMBuildBr(u->b, head);
    LLVMPositionBuilderAtEnd(u->b, head);
    Cursor in = {LLVMBuildPhi(u->b, u->t_i64, "k"), LLVMBuildPhi(u->b, u->t_ptr, "a"),
                 LLVMBuildPhi(u->b, u->t_ptr, "b")};
    LLVMAddIncoming(in.k, &at.k, &before, 1);
    LLVMAddIncoming(in.a, &at.a, &before, 1);
    LLVMAddIncoming(in.b, &at.b, &before, 1);
    for (uint32_t i = 0; i < n; i++) {
        phi[i] = LLVMBuildPhi(u->b, x->vec, "");
        LLVMAddIncoming(phi[i], &x->acc[i], &before, 1);
        x->acc[i] = phi[i];
    }
    LLVMValueRef next_k = LLVMBuildNSWAdd(u->b, in.k, step_k, "");
    LLVMBuildCondBr(u->b, LLVMBuildICmp(u->b, LLVMIntSLE, next_k, to, ""), body, done);
    LLVMPositionBuilderAtEnd(u->b, body);
    Cursor out = {next_k, in.a, in.b};
    if (unroll > 1) {
        LLVMValueRef ahead = LLVMBuildMul(u->b, param(x, P_LDA), llvm_i64(u, AHEAD), "");
        prefetch(u, llvm_at(u, u->t_f32, in.a, ahead), 0, 3);
    }
    for (uint32_t i = 0; i < unroll; i++) {
        step(x, out.a, out.b);
        out.a = llvm_at(u, u->t_f32, out.a, param(x, P_LDA));
        out.b = llvm_at(u, u->t_f32, out.b, param(x, P_LDB));
    }
    LLVMBuildBr(u->b, head);
    LLVMAddIncoming(in.k, &out.k, &body, 1);
    LLVMAddIncoming(in.a, &out.a, &body, 1);
    LLVMAddIncoming(in.b, &out.b, &body, 1);
    for (uint32_t i = 0; i < n; i++) {
        LLVMAddIncoming(phi[i], &x->acc[i], &body, 1);
        x->acc[i] = phi[i]; // seen from behind the loop
    }
    LLVMPositionBuilderAtEnd(u->b, done);
    return in;
}

// if (pointer p is not NULL) every accumulator becomes combine(acc, block at p); else stays.
static void merge(Ukr *x, unsigned p, bool add) {
    const LlvmUnit *u = x->u;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(u->b), some = llvm_block(u, "some");
    LLVMBasicBlockRef none = llvm_block(u, "none");
    LLVMBuildCondBr(u->b, LLVMBuildIsNotNull(u->b, param(x, p), ""), some, none);
    LLVMPositionBuilderAtEnd(u->b, some);
    LLVMValueRef got[MAX_ROWS * MAX_VECTORS];
    for (uint32_t r = 0; r < x->rows; r++)
        for (uint32_t v = 0; v < x->vectors; v++) {
            uint32_t i = r * x->vectors + v;
            got[i] = llvm_load(u, x->vec, place(x, param(x, p), param(x, p + 1), r, v), 4);
            if (add) got[i] = LLVMBuildFAdd(u->b, got[i], x->acc[i], "");
        }
    LLVMBuildBr(u->b, none);
    LLVMPositionBuilderAtEnd(u->b, none);
    for (uint32_t i = 0; i < x->rows * x->vectors; i++) {
        LLVMValueRef phi = LLVMBuildPhi(u->b, x->vec, "");
        LLVMAddIncoming(phi, &x->acc[i], &before, 1);
        LLVMAddIncoming(phi, &got[i], &some, 1);
        x->acc[i] = phi;
    }
}

// Rows of the result come into the cache while the chain runs.
static void prefetch_to(const Ukr *x) {
    for (uint32_t r = 0; r < x->rows; r++)
        for (uint32_t v = 0; v < x->vectors; v++)
            prefetch(x->u, place(x, param(x, P_TO), param(x, P_LDTO), r, v), 1, 3);
}

static uint32_t emit(CpuModule *m, uint32_t rows, uint32_t vectors, bool pairs) {
    Ukr x = {.rows = rows, .vectors = vectors, .pairs = pairs};
    LlvmUnit *u = NULL;
    uint32_t index = 0;
    const char *name =
        arena_printf(m->arena, "ukr.%s%ux%u", pairs ? "pairs." : "", rows, vectors * LANES);
    x.fn = llvm_define(m, FN_UKR, name, &u, &index);
    x.u = u;
    x.vec = llvm_vec(u->t_f32, LANES);
    prefetch_to(&x);
    for (uint32_t i = 0; i < rows * vectors; i++) x.acc[i] = LLVMConstNull(x.vec);
    merge(&x, P_FROM, false);
    Cursor at = {llvm_i64(u, 0), param(&x, P_A), param(&x, P_B)};
    at = sweep(&x, at, param(&x, P_KC), UNROLL);
    sweep(&x, at, param(&x, P_KC), 1);
    merge(&x, P_ACC, true);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t v = 0; v < vectors; v++)
            llvm_store(u, x.acc[r * vectors + v],
                       place(&x, param(&x, P_TO), param(&x, P_LDTO), r, v), 4);
    LLVMBuildRetVoid(u->b);
    return index;
}

// The first of one set.
static uint32_t emit_all(CpuModule *m, uint32_t mr, uint32_t vectors, bool pairs) {
    uint32_t first = cpu_functions(m);
    for (uint32_t v = 1; v <= vectors; v++)
        for (uint32_t e = 0; e < sn_ukr_sizes(mr); e++) emit(m, sn_ukr_rows(mr, e), v, pairs);
    return first;
}

CpuGemm cpu_add_gemm(CpuModule *m) {
    uint32_t mr = 6, vectors = 1;
    if (m->isa.lanes == 16) mr = 8, vectors = 3;
    CpuGemm g = {.mr = mr, .nr = vectors * LANES, .ukr = emit_all(m, mr, vectors, false)};
    if (m->isa.features & SN_CPU_BF16) g.pairs = emit_all(m, mr, vectors, true);
    return g;
}

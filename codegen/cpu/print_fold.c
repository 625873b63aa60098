// Folds in the order that docs/numerics.md promises.
//
// Row folds: element i belongs to accumulator i mod 128, which is lane i mod 16 of vector (i / 16)
// mod 8. The eight vectors live on the stack and are addressed by the vector's number, so that the
// body of the loop is printed once and not eight times. At the end of a segment of 4096 they are
// combined as a halving tree: first whole vectors (64, 32, 16), then halves of one vector (8, 4, 2,
// 1).
//
//   fewer than 128 elements: accumulators that never got an element hold the identity, and
//   combining with it changes nothing (every accumulator began as identity o x), so such vectors
//   are left out.
//
// Column folds: one accumulator per lane of the row, in scratch, rows in order.
#include "codegen/cpu/print.h"

enum { VECTORS = FOLD_LANES / VEC_LANES };

static const KFold *fold_at(const Print *p, uint32_t f) { return &p->k->folds.at[f]; }

// Vectors that get an element in a row.
static unsigned used(const Print *p) {
    int64_t n = sn_ceil_div(p->k->extent[p->k->outers], VEC_LANES);
    return n < VECTORS ? (unsigned)n : VECTORS;
}

static LLVMValueRef identity(const Print *p, uint32_t f) {
    return print_value(
        scalar_identity(&p->ops, (ReduceKind)fold_at(p, f)->kind, kfold_elem(p->k, f)));
}

static LLVMValueRef combine(const Print *p, uint32_t f, LLVMValueRef acc, LLVMValueRef x) {
    return print_value(scalar_fold(&p->ops, (ReduceKind)fold_at(p, f)->kind, kfold_elem(p->k, f),
                                   print_sv(acc), print_sv(x)));
}

// Accumulators on the stack hold bools as bytes: vectors of bits are slow in memory.
static LLVMTypeRef slot_type(const Print *p, uint32_t f) {
    return llvm_vec(print_memory(p, kfold_elem(p->k, f)), VEC_LANES);
}
static LLVMValueRef slot_load(const Print *p, uint32_t f, LLVMValueRef at) {
    return print_from_memory(p, kfold_elem(p->k, f), llvm_load(p->u, slot_type(p, f), at, 16));
}
static void slot_store(const Print *p, uint32_t f, LLVMValueRef at, LLVMValueRef v) {
    llvm_store(p->u, print_to_memory(p, kfold_elem(p->k, f), v), at, 16);
}
static LLVMValueRef slot(const Print *p, uint32_t f, unsigned i) {
    return i == 0 ? p->acc[f] : llvm_at(p->u, slot_type(p, f), p->acc[f], llvm_i64(p->u, i));
}

// Before the lanes of a row: nothing has been folded yet.
void print_fold_row(Print *p, uint32_t f) {
    if (!p->acc[f]) {
        unsigned n = used(p);
        LLVMTypeRef type = slot_type(p, f);
        p->acc[f] = llvm_local(p->u, n == 1 ? type : LLVMArrayType2(type, n), "acc");
        p->total[f] = llvm_local(p->u, print_type(p, kfold_elem(p->k, f)), "total");
    }
    LLVMBuildStore(p->u->b, identity(p, f), p->total[f]);
}

void print_fold_begin(Print *p, uint32_t f) {
    LLVMValueRef start = print_lanes(p, identity(p, f));
    for (unsigned i = 0; i < used(p); i++) slot_store(p, f, slot(p, f, i), start);
}

void print_fold_step(Print *p, uint32_t f) {
    LLVMBuilderRef b = p->u->b;
    LLVMValueRef at = p->acc[f];
    if (used(p) > 1) {
        LLVMValueRef number = LLVMBuildUDiv(b, p->lane, llvm_i64(p->u, VEC_LANES), "");
        number = LLVMBuildAnd(b, number, llvm_i64(p->u, VECTORS - 1), "");
        at = llvm_at(p->u, slot_type(p, f), at, number);
    }
    LLVMValueRef acc = slot_load(p, f, at);
    LLVMValueRef next = combine(p, f, acc, print_lanes(p, print_at(p, fold_at(p, f)->value)));
    if (p->mask) next = LLVMBuildSelect(b, p->mask, next, acc, "");
    slot_store(p, f, at, next);
}

// Lanes [from, from + n) of a vector.
static LLVMValueRef part(const Print *p, LLVMValueRef v, unsigned from, unsigned n) {
    LLVMValueRef at[VEC_LANES];
    for (unsigned i = 0; i < n; i++) at[i] = llvm_i32(p->u, from + i);
    return LLVMBuildShuffleVector(p->u->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(at, n),
                                  "");
}

void print_fold_segment(Print *p, uint32_t f) {
    LLVMBuilderRef b = p->u->b;
    LLVMValueRef v[VECTORS] = {NULL};
    unsigned n = used(p);
    for (unsigned i = 0; i < n; i++) v[i] = slot_load(p, f, slot(p, f, i));
    for (unsigned half = VECTORS / 2; half > 0; half /= 2)
        for (unsigned i = 0; i < half; i++)
            if (i + half < n) v[i] = combine(p, f, v[i], v[i + half]);
    LLVMValueRef x = v[0];
    for (unsigned half = VEC_LANES / 2; half > 1; half /= 2)
        x = combine(p, f, part(p, x, 0, half), part(p, x, half, half));
    x = combine(p, f, LLVMBuildExtractElement(b, x, llvm_i32(p->u, 0), ""),
                LLVMBuildExtractElement(b, x, llvm_i32(p->u, 1), ""));
    LLVMTypeRef type = print_type(p, kfold_elem(p->k, f));
    LLVMValueRef total = LLVMBuildLoad2(b, type, p->total[f], "");
    LLVMBuildStore(b, combine(p, f, total, x), p->total[f]);
}

LLVMValueRef print_fold_value(const Print *p, uint32_t f) {
    return LLVMBuildLoad2(p->u->b, print_type(p, kfold_elem(p->k, f)), p->total[f], "");
}

void print_column_begin(Print *p, uint32_t f) {
    print_scratch_store(p, kfold_elem(p->k, f), p->column[f], identity(p, f));
}

// Lanes beyond the end accumulate rubbish that is never stored.
void print_column_step(Print *p, uint32_t f) {
    LLVMValueRef acc = print_scratch_load(p, kfold_elem(p->k, f), p->column[f]);
    LLVMValueRef x = print_lanes(p, print_at(p, fold_at(p, f)->value));
    print_scratch_store(p, kfold_elem(p->k, f), p->column[f], combine(p, f, acc, x));
}

void print_column_end(Print *p, uint32_t f) {
    const KFold *fold = fold_at(p, f);
    Elem e = kfold_elem(p->k, f);
    LLVMValueRef v = print_scratch_load(p, e, p->column[f]);
    if (fold->plus != NONE) {
        LLVMValueRef plus = print_lanes(p, print_at(p, fold->plus));
        v = print_value(scalar_expand(&p->ops, OP_add, e, e, print_sv(plus), print_sv(v), (SV){0}));
    }
    LLVMValueRef by = llvm_i64(p->u, fold->chunk_stride);
    LLVMValueRef plus = p->chunk ? LLVMBuildMul(p->u->b, p->chunk, by, "") : NULL;
    print_store(p, fold->arg, &fold->index, plus, v, NULL);
}

// What the files of the kernel printer share: print.c (tasks, rows, phases), print_mem.c (indices,
// loads, stores), print_fold.c (row folds, column accumulators), print_prim.c (scalar operations).
//
// A value is scalar (row-level) or a vector of 16 lanes (lane-level). A bool is i1 in registers and
// a byte in memory.
#pragma once
#include "codegen/cpu/llvm.h"
#include "codegen/sweep.h"
#include "ir/scalar.h"

enum { VEC_LANES = 16 };

typedef struct {
    CpuModule *m;
    LlvmUnit *u;
    const Kernel *k;
    ScalarOps ops; // emits through this Print
    LLVMValueRef fn, scratch;
    LLVMValueRef tile[K_MAX_TILES], ld; // epilogues and strips
    uint32_t keys;                      // 0, or the first parameter with a random key
    LLVMValueRef buf[K_MAX_ARGS];
    LLVMValueRef first, step, seed, sample; // of the environment
    LLVMValueRef zero; // a stack slot of zeros: what a masked-off scalar load reads

    LLVMValueRef axis[K_MAX_AXES];     // i64 index of each outer axis in the current row
    LLVMValueRef chunk;                // i64: chunks only
    LLVMValueRef lane_begin, lane_end; // i64: the lanes of this row, or those this task owns
    LLVMValueRef row0, lane0,
        tile_row; // i64: epilogues, strips: where the tile begins, and the row
    bool tail;    // the number of lanes may be no multiple of 16

    LLVMValueRef lane; // i64: first lane of the vector being printed
    LLVMValueRef mask; // <16 x i1>, or NULL when all 16 lanes exist
    uint32_t phase;    // k->phases: after a task's last row

    LLVMValueRef *row;         // by op: scalar value in this row, NULL when not yet there
    LLVMValueRef *vec;         // by op: vector value in this sweep's body
    int64_t *place;            // by op: byte offset of a held row in scratch
    int64_t *column;           // by fold: byte offset of column accumulators in scratch
    LLVMValueRef *acc, *total; // by fold: stack arrays of 8 vectors; the running scalar
} Print;

// print_prim.c
LLVMTypeRef print_type(const Print *p, Elem e);   // of one value in a register
LLVMTypeRef print_memory(const Print *p, Elem e); // of one element in memory
// A value or vector as it lies in memory, as it is computed with: only bools differ.
LLVMValueRef print_from_memory(const Print *p, Elem e, LLVMValueRef v);
LLVMValueRef print_to_memory(const Print *p, Elem e, LLVMValueRef v);
ScalarOps print_scalar_ops(Print *p);
LLVMValueRef print_const(const Print *p, Elem e, double value);
LLVMValueRef print_lanes(const Print *p, LLVMValueRef v); // splat unless it is a vector
static inline SV print_sv(LLVMValueRef v) { return (SV){(uint64_t)(uintptr_t)v}; }
static inline LLVMValueRef print_value(SV v) { return (LLVMValueRef)(uintptr_t)v.v; }

// print_mem.c
LLVMValueRef print_iota(LLVMTypeRef integer); // 0, 1, ... 15
LLVMValueRef print_random(Print *p, const KOp *o);
LLVMValueRef print_load(Print *p, const KOp *o);
// plus: NULL, or an i64 element offset added to the index.
void print_store(Print *p, uint32_t arg, const KIndex *x, LLVMValueRef plus, LLVMValueRef value,
                 LLVMValueRef mask);
LLVMValueRef print_tile(const Print *p, uint32_t tile);
void print_tile_store(const Print *p, uint32_t tile, LLVMValueRef value);
LLVMValueRef print_scratch_load(const Print *p, Elem e, int64_t place);
void print_scratch_store(const Print *p, Elem e, int64_t place, LLVMValueRef value);

// print.c
CpuFnKind print_kind(const Kernel *k);
// Value of an op that has been printed: the vector, or the row's scalar.
LLVMValueRef print_at(const Print *p, KId id);

// Prints k into fn, at the builder's place. keyed: the keys of k's random ops are numbers 0, 1, ...
// of the i64 parameters that follow the usual ones.
void print_function(CpuModule *m, LlvmUnit *u, LLVMValueRef fn, const Kernel *k, bool keyed);

// print_fold.c
void print_fold_row(Print *p, uint32_t fold);     // before a row's first segment
void print_fold_begin(Print *p, uint32_t fold);   // before a segment: accumulators to the identity
void print_fold_step(Print *p, uint32_t fold);    // one vector
void print_fold_segment(Print *p, uint32_t fold); // halving tree, into the total
LLVMValueRef print_fold_value(const Print *p, uint32_t fold);
void print_column_begin(Print *p, uint32_t fold); // for the current vector of lanes
void print_column_step(Print *p, uint32_t fold);
void print_column_end(Print *p, uint32_t fold);

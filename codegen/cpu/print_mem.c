// Indices, loads and stores of kernels. An offset has a part that is the same for the whole row (a
// scalar: LLVM hoists it) and a part that differs between lanes. How a load is printed follows from
// the lane part:
//
//   none                   one scalar, splatted where used
//   lane stride 1          one vector of 16 neighbours
//   anything else          gather (scatter for stores)
//
// Masked-off lanes are never touched in memory and read as 0. Nothing is marked as not aliasing: an
// output may be the buffer of an input, element by element, so all loads of a vector precede its
// stores and LLVM keeps it that way.
#include "codegen/cpu/print.h"

static bool op_is_row(const Print *p, const KIndex *x) {
    return x->op != NONE && !p->k->ops.at[x->op].lane;
}

static LLVMValueRef scaled(const Print *p, LLVMValueRef sum, LLVMValueRef x, int64_t stride) {
    LLVMBuilderRef b = p->u->b;
    if (stride == 0) return sum;
    return LLVMBuildAdd(b, sum, LLVMBuildMul(b, x, llvm_i64(p->u, stride), ""), "");
}

// The scalar part, in elements.
static LLVMValueRef row_offset(const Print *p, const KIndex *x) {
    LLVMValueRef sum = llvm_i64(p->u, x->base);
    for (uint32_t i = 0; i < p->k->outers; i++) sum = scaled(p, sum, p->axis[i], x->stride[i]);
    if (!op_is_row(p, x)) return sum;
    LLVMValueRef at = LLVMBuildSExt(p->u->b, print_at(p, x->op), p->u->t_i64, "");
    return scaled(p, sum, at, x->op_stride);
}

LLVMValueRef print_iota(LLVMTypeRef integer) {
    LLVMValueRef at[VEC_LANES];
    for (unsigned i = 0; i < VEC_LANES; i++) at[i] = LLVMConstInt(integer, i, 0);
    return LLVMConstVector(at, VEC_LANES);
}

// The parts of the offset that differ, as integers of the given type; they wrap.
static LLVMValueRef lane_offset(const Print *p, const KIndex *x, LLVMTypeRef integer) {
    LLVMBuilderRef b = p->u->b;
    bool wide = integer == p->u->t_i64;
    LLVMValueRef lane = wide ? p->lane : LLVMBuildTrunc(b, p->lane, integer, "");
    LLVMValueRef stride = LLVMConstInt(integer, (uint64_t)x->stride[p->k->outers], 1);
    LLVMValueRef iota =
        LLVMBuildMul(b, print_iota(integer), llvm_splat(p->u, stride, VEC_LANES), "");
    LLVMValueRef first = LLVMBuildMul(b, lane, stride, "");
    LLVMValueRef sum = LLVMBuildAdd(b, llvm_splat(p->u, first, VEC_LANES), iota, "");
    if (x->op == NONE || op_is_row(p, x)) return sum;
    LLVMValueRef at = print_at(p, x->op);
    if (wide) at = LLVMBuildSExt(b, at, llvm_vec(integer, VEC_LANES), "");
    LLVMValueRef by = LLVMConstInt(integer, (uint64_t)x->op_stride, 1);
    return LLVMBuildAdd(b, sum, LLVMBuildMul(b, at, llvm_splat(p->u, by, VEC_LANES), ""), "");
}

// The lane part of every element that is accessed fits 32 bits: the whole offset lies in the tensor
// and the row part is bounded by the extents. Gathers with 32-bit offsets are twice as fast. A row
// part that depends on an op is not bounded.
static bool fits_32(const Print *p, uint32_t arg, const KIndex *x) {
    if (op_is_row(p, x)) return false;
    int64_t low = x->base, high = x->base, count = p->k->args.at[arg].count;
    for (uint32_t i = 0; i < p->k->outers; i++) {
        int64_t end = x->stride[i] * (p->k->extent[i] - 1);
        if (end < 0) low += end;
        if (end > 0) high += end;
    }
    return count - low < INT32_MAX && high < INT32_MAX;
}

// The vector of 16 addresses.
static LLVMValueRef addresses(const Print *p, uint32_t arg, const KIndex *x, LLVMValueRef row) {
    LLVMTypeRef element = print_memory(p, (Elem)p->k->args.at[arg].elem);
    LLVMTypeRef integer = fits_32(p, arg, x) ? p->u->t_i32 : p->u->t_i64;
    LLVMValueRef at = lane_offset(p, x, integer);
    return LLVMBuildGEP2(p->u->b, element, row, &at, 1, "");
}

static LLVMValueRef both(const Print *p, LLVMValueRef a, LLVMValueRef b) {
    if (!a) return b ? print_lanes(p, b) : NULL;
    if (!b) return a;
    return LLVMBuildAnd(p->u->b, a, print_lanes(p, b), "");
}

static LLVMValueRef all_true(const Print *p) {
    return LLVMConstAllOnes(llvm_vec(p->u->t_i1, VEC_LANES));
}

static unsigned alignment(Elem e) { return elem_info[e].bytes; }

static LLVMValueRef load_vector(const Print *p, uint32_t arg, const KIndex *x, LLVMValueRef row,
                                LLVMValueRef mask) {
    const LlvmUnit *u = p->u;
    Elem e = (Elem)p->k->args.at[arg].elem;
    LLVMTypeRef type = llvm_vec(print_memory(p, e), VEC_LANES);
    bool neighbours = x->stride[p->k->outers] == 1 && (x->op == NONE || op_is_row(p, x));
    LLVMValueRef at =
        neighbours ? llvm_at(u, print_memory(p, e), row, p->lane) : addresses(p, arg, x, row);
    if (neighbours && !mask) return llvm_load(u, type, at, alignment(e));
    LLVMTypeRef types[] = {type, LLVMTypeOf(at)};
    LLVMValueRef args[] = {at, llvm_i32(u, alignment(e)), mask ? mask : all_true(p),
                           LLVMConstNull(type)};
    return llvm_intrinsic(u, neighbours ? "llvm.masked.load" : "llvm.masked.gather", types, 2, args,
                          4);
}

// A row's scalar. Where the mask is false the address may be anything: read a zero instead.
static LLVMValueRef load_scalar(const Print *p, uint32_t arg, LLVMValueRef at, LLVMValueRef mask) {
    Elem e = (Elem)p->k->args.at[arg].elem;
    if (mask) at = LLVMBuildSelect(p->u->b, mask, at, p->zero, "");
    return llvm_load(p->u, print_memory(p, e), at, alignment(e));
}

LLVMValueRef print_load(Print *p, const KOp *o) {
    Elem e = (Elem)p->k->args.at[o->arg].elem;
    LLVMValueRef row = llvm_at(p->u, print_memory(p, e), p->buf[o->arg], row_offset(p, &o->index));
    LLVMValueRef mask = o->mask == NONE ? NULL : print_at(p, o->mask);
    LLVMValueRef v = o->lane ? load_vector(p, o->arg, &o->index, row, both(p, p->mask, mask))
                             : load_scalar(p, o->arg, row, mask);
    if (p->k->args.at[o->arg].mode == KARG_acc)
        v = LLVMBuildSelect(p->u->b, p->first, LLVMConstNull(LLVMTypeOf(v)), v, "");
    return print_from_memory(p, e, v);
}

static void store_vector(const Print *p, uint32_t arg, const KIndex *x, LLVMValueRef row,
                         LLVMValueRef v, LLVMValueRef mask) {
    const LlvmUnit *u = p->u;
    Elem e = (Elem)p->k->args.at[arg].elem;
    bool neighbours = x->stride[p->k->outers] == 1 && (x->op == NONE || op_is_row(p, x));
    LLVMValueRef at =
        neighbours ? llvm_at(u, print_memory(p, e), row, p->lane) : addresses(p, arg, x, row);
    if (neighbours && !mask) {
        llvm_store(u, v, at, alignment(e));
        return;
    }
    LLVMTypeRef types[] = {LLVMTypeOf(v), LLVMTypeOf(at)};
    LLVMValueRef args[] = {v, at, llvm_i32(u, alignment(e)), mask ? mask : all_true(p)};
    llvm_intrinsic(u, neighbours ? "llvm.masked.store" : "llvm.masked.scatter", types, 2, args, 4);
}

static void store_scalar(const Print *p, Elem e, LLVMValueRef at, LLVMValueRef v,
                         LLVMValueRef mask) {
    LLVMBasicBlockRef write = NULL, done = NULL;
    if (mask) {
        write = llvm_block(p->u, "write");
        done = llvm_block(p->u, "written");
        LLVMBuildCondBr(p->u->b, mask, write, done);
        LLVMPositionBuilderAtEnd(p->u->b, write);
    }
    llvm_store(p->u, v, at, alignment(e));
    if (!mask) return;
    LLVMBuildBr(p->u->b, done);
    LLVMPositionBuilderAtEnd(p->u->b, done);
}

void print_store(Print *p, uint32_t arg, const KIndex *x, LLVMValueRef plus, LLVMValueRef value,
                 LLVMValueRef mask) {
    Elem e = (Elem)p->k->args.at[arg].elem;
    LLVMValueRef offset = row_offset(p, x);
    if (plus) offset = LLVMBuildAdd(p->u->b, offset, plus, "");
    LLVMValueRef row = llvm_at(p->u, print_memory(p, e), p->buf[arg], offset);
    if (p->lane)
        store_vector(p, arg, x, row, print_to_memory(p, e, print_lanes(p, value)),
                     both(p, p->mask, mask));
    else
        store_scalar(p, e, row, print_to_memory(p, e, value), mask);
}

// This row's lanes in a tile.
static LLVMValueRef in_tile(const Print *p, uint32_t tile) {
    LLVMBuilderRef b = p->u->b;
    LLVMValueRef r = LLVMBuildMul(b, LLVMBuildSub(b, p->tile_row, p->row0, ""), p->ld, "");
    LLVMValueRef line = llvm_at(p->u, p->u->t_f32, p->tile[tile], r);
    return llvm_at(p->u, p->u->t_f32, line, LLVMBuildSub(b, p->lane, p->lane0, ""));
}

LLVMValueRef print_tile(const Print *p, uint32_t tile) {
    LLVMTypeRef type = llvm_vec(p->u->t_f32, VEC_LANES);
    LLVMValueRef at = in_tile(p, tile);
    if (!p->mask) return llvm_load(p->u, type, at, 4);
    LLVMTypeRef types[] = {type, LLVMTypeOf(at)};
    LLVMValueRef args[] = {at, llvm_i32(p->u, 4), p->mask, LLVMConstNull(type)};
    return llvm_intrinsic(p->u, "llvm.masked.load", types, 2, args, 4);
}

void print_tile_store(const Print *p, uint32_t tile, LLVMValueRef value) {
    LLVMValueRef at = in_tile(p, tile), v = print_lanes(p, value);
    if (!p->mask) {
        llvm_store(p->u, v, at, 4);
        return;
    }
    LLVMTypeRef types[] = {LLVMTypeOf(v), LLVMTypeOf(at)};
    llvm_intrinsic(p->u, "llvm.masked.store", types, 2,
                   (LLVMValueRef[]){v, at, llvm_i32(p->u, 4), p->mask}, 4);
}

// The canonical element index of each lane, as two halves of the Philox counter.
LLVMValueRef print_random(Print *p, const KOp *o) {
    LLVMBuilderRef b = p->u->b;
    const LlvmUnit *u = p->u;
    LLVMValueRef at = scaled(p, row_offset(p, &o->index), p->sample, o->sample_stride);
    if (o->lane && kernel_index_lane(p->k, &o->index)) {
        LLVMValueRef lanes = lane_offset(p, &o->index, u->t_i64);
        at = LLVMBuildAdd(b, llvm_splat(u, at, VEC_LANES), lanes, "");
    }
    bool vector = LLVMGetTypeKind(LLVMTypeOf(at)) == LLVMVectorTypeKind;
    LLVMTypeRef narrow = vector ? llvm_vec(u->t_i32, VEC_LANES) : u->t_i32;
    LLVMValueRef by = vector ? llvm_splat(u, llvm_i64(u, 32), VEC_LANES) : llvm_i64(u, 32);
    LLVMValueRef key = p->keys ? LLVMGetParam(p->fn, p->keys + (uint32_t)o->key)
                               : LLVMConstInt(u->t_i64, o->key, 0);
    key = LLVMBuildXor(b, key, p->seed, "");
    SV counter[4] = {print_sv(LLVMBuildTrunc(b, at, narrow, "")),
                     print_sv(LLVMBuildTrunc(b, LLVMBuildLShr(b, at, by, ""), narrow, "")),
                     print_sv(o->fixed ? llvm_i32(u, 0) : p->step), print_sv(llvm_i32(u, 0))};
    LLVMValueRef high = LLVMBuildLShr(b, key, llvm_i64(u, 32), "");
    SV keys[2] = {print_sv(LLVMBuildTrunc(b, key, u->t_i32, "")),
                  print_sv(LLVMBuildTrunc(b, high, u->t_i32, ""))};
    return print_value(scalar_philox(&p->ops, counter, keys, (int)o->word));
}

// Held rows and column accumulators: 16 lanes at byte offset `place`, counted from the row's first
// lane.
static LLVMValueRef scratch_at(const Print *p, Elem e, int64_t place) {
    LLVMValueRef base = llvm_at(p->u, p->u->t_i8, p->scratch, llvm_i64(p->u, place));
    LLVMValueRef at = LLVMBuildSub(p->u->b, p->lane, p->lane_begin, "");
    return llvm_at(p->u, print_memory(p, e), base, at);
}

LLVMValueRef print_scratch_load(const Print *p, Elem e, int64_t place) {
    LLVMTypeRef type = llvm_vec(print_memory(p, e), VEC_LANES);
    return print_from_memory(p, e, llvm_load(p->u, type, scratch_at(p, e, place), alignment(e)));
}

void print_scratch_store(const Print *p, Elem e, int64_t place, LLVMValueRef value) {
    LLVMValueRef v = print_to_memory(p, e, print_lanes(p, value));
    llvm_store(p->u, v, scratch_at(p, e, place), alignment(e));
}

// Prints a kernel as LLVM code: tasks, rows, phases and sweeps over the lanes. The result is
// already vector code (16 lanes, no fast-math flags), so every instruction set gives the same bits;
// LLVM splits the vectors where registers are narrower.
//
//   for rows of the tasks:          outer indices decoded from the row's number
//     for phase p:
//       row-level ops wanted by p   scalars, computed once a row
//       for lane = 0, 16, ...:      full vectors without masks
//       last lanes                  one masked vector, when the count is no multiple of 16
//       row-level stores
//
// An op is printed where it is wanted first: row-level values stay for the rest of the row,
// lane-level ones for the body of one sweep, held ones are kept in scratch for later phases. Needs
// a kernel that kernel_finish accepted. Time and code size are linear in ops times phases that want
// them.
#include "codegen/cpu/print.h"
#include "runtime/plan.h"
#include <assert.h>
#include <stddef.h>
#include <string.h>

LLVMValueRef print_at(const Print *p, KId id) {
    LLVMValueRef v = p->k->ops.at[id].lane ? p->vec[id] : p->row[id];
    assert(v && "op used before it is printed");
    return v;
}

static bool lane_axis(const Print *p, uint32_t axis) { return axis == p->k->outers; }

static LLVMValueRef print_index(const Print *p, const KOp *o) {
    LLVMBuilderRef b = p->u->b;
    if (!lane_axis(p, o->axis)) return LLVMBuildTrunc(b, p->axis[o->axis], p->u->t_i32, "");
    LLVMValueRef first = LLVMBuildTrunc(b, p->lane, p->u->t_i32, "");
    return LLVMBuildAdd(b, llvm_splat(p->u, first, VEC_LANES), print_iota(p->u->t_i32), "");
}

static SV operand_sv(const Print *p, KId id) {
    return id == NONE ? (SV){0} : print_sv(print_at(p, id));
}

static LLVMValueRef print_op(Print *p, const KOp *o) {
    switch ((KOpKind)o->kind) {
    case KOP_scalar:
        return print_value(scalar_expand(&p->ops, (Op)o->op, (Elem)o->elem, (Elem)o->to,
                                         operand_sv(p, o->a), operand_sv(p, o->b),
                                         operand_sv(p, o->c)));
    case KOP_const: return print_const(p, (Elem)o->to, o->value);
    case KOP_index: return print_index(p, o);
    case KOP_load: return print_load(p, o);
    case KOP_random: return print_random(p, o);
    case KOP_fold: return print_fold_value(p, o->fold);
    case KOP_tile: return print_tile(p, o->arg);
    case KOP_KINDS: break;
    }
    unreachable(o->kind);
}

static bool needs(const Print *p, KId id) { return p->k->phase[p->phase].need[id]; }

// Prints the row-level ops that the phase is the first to need.
static void print_row_ops(Print *p) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (needs(p, id) && !p->k->ops.at[id].lane && !p->row[id])
            p->row[id] = print_op(p, &p->k->ops.at[id]);
}

static void print_lane_ops(Print *p) {
    memset(p->vec, 0, sizeof *p->vec * p->k->ops.n);
    for (KId id = 0; id < p->k->ops.n; id++) {
        const KOp *o = &p->k->ops.at[id];
        if (!needs(p, id) || !o->lane) continue;
        if (kernel_has(p->k, p->phase, id)) {
            p->vec[id] = print_scratch_load(p, (Elem)o->to, p->place[id]);
            continue;
        }
        p->vec[id] = print_lanes(p, print_op(p, o));
        if (o->hold && p->phase < p->k->phases)
            print_scratch_store(p, (Elem)o->to, p->place[id], p->vec[id]);
    }
}

static void print_stores(Print *p, bool lane) {
    for (uint32_t i = 0; i < p->k->stores.n; i++) {
        const KStore *s = &p->k->stores.at[i];
        if (s->phase != p->phase || s->lane != lane) continue;
        if (s->tile) {
            print_tile_store(p, s->arg, print_at(p, s->value));
            continue;
        }
        LLVMValueRef mask = s->mask == NONE ? NULL : print_at(p, s->mask);
        print_store(p, s->arg, &s->index, NULL, print_at(p, s->value), mask);
    }
}

// What a vector of a sweep does.
typedef void Body(Print *p);

static void phase_body(Print *p) {
    print_lane_ops(p);
    for (uint32_t f = 0; f < p->k->folds.n; f++) {
        const KFold *fold = &p->k->folds.at[f];
        if (fold->phase != p->phase) continue;
        if (fold->column)
            print_column_step(p, f);
        else
            print_fold_step(p, f);
    }
    print_stores(p, true);
}

static void columns_begin_body(Print *p) {
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (p->k->folds.at[f].column) print_column_begin(p, f);
}

static void columns_end_body(Print *p) {
    print_lane_ops(p);
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (p->k->folds.at[f].column) print_column_end(p, f);
}

// Body for lanes [from, to): whole vectors, then a masked one where the count may ask for it.
static void sweep(Print *p, LLVMValueRef from, LLVMValueRef to, Body *body) {
    LLVMBuilderRef b = p->u->b;
    LLVMValueRef count = LLVMBuildSub(b, to, from, "");
    LLVMValueRef whole = LLVMBuildAnd(b, count, llvm_i64(p->u, ~(int64_t)(VEC_LANES - 1)), "");
    LLVMValueRef full = LLVMBuildAdd(b, from, whole, "");
    p->mask = NULL;
    if (p->k->extent[p->k->outers] >= VEC_LANES) {
        LlvmLoop l = llvm_loop(p->u, from, full, VEC_LANES, "lanes");
        p->lane = l.i;
        body(p);
        llvm_loop_end(p->u, &l);
    }
    if (p->tail) {
        LLVMBasicBlockRef rest = llvm_block(p->u, "rest"), done = llvm_block(p->u, "swept");
        LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, full, to, ""), rest, done);
        LLVMPositionBuilderAtEnd(b, rest);
        LLVMValueRef n = LLVMBuildTrunc(b, LLVMBuildSub(b, to, full, ""), p->u->t_i32, "");
        p->mask = LLVMBuildICmp(b, LLVMIntULT, print_iota(p->u->t_i32),
                                llvm_splat(p->u, n, VEC_LANES), "");
        p->lane = full;
        body(p);
        LLVMBuildBr(b, done);
        LLVMPositionBuilderAtEnd(b, done);
    }
    p->lane = p->mask = NULL;
    memset(p->vec, 0, sizeof *p->vec * p->k->ops.n);
}

static LLVMValueRef smaller(const Print *p, LLVMValueRef a, LLVMValueRef b) {
    return llvm_intrinsic(p->u, "llvm.smin", &p->u->t_i64, 1, (LLVMValueRef[]){a, b}, 2);
}

static bool row_fold_here(const Print *p, uint32_t f) {
    return !p->k->folds.at[f].column && p->k->folds.at[f].phase == p->phase;
}

static LLVMValueRef larger(const Print *p, LLVMValueRef a, LLVMValueRef b) {
    return llvm_intrinsic(p->u, "llvm.smax", &p->u->t_i64, 1, (LLVMValueRef[]){a, b}, 2);
}

// A sweep with row folds: segment by segment. The first of a strip may begin within one.
static void fold_sweep(Print *p) {
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (row_fold_here(p, f)) print_fold_row(p, f);
    bool several = p->k->extent[p->k->outers] > FOLD_SEGMENT;
    LLVMValueRef from = p->lane_begin, to = p->lane_end;
    LlvmLoop l = {0};
    if (several) {
        bool strip = p->k->order == KORDER_strip;
        LLVMValueRef whole = llvm_i64(p->u, ~(int64_t)(FOLD_SEGMENT - 1));
        LLVMValueRef first = strip ? LLVMBuildAnd(p->u->b, from, whole, "") : from;
        l = llvm_loop(p->u, first, to, FOLD_SEGMENT, "segments");
        from = strip ? larger(p, from, l.i) : l.i;
        to = smaller(p, to, LLVMBuildAdd(p->u->b, l.i, llvm_i64(p->u, FOLD_SEGMENT), ""));
    }
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (row_fold_here(p, f)) print_fold_begin(p, f);
    sweep(p, from, to, phase_body);
    for (uint32_t f = 0; f < p->k->folds.n; f++)
        if (row_fold_here(p, f)) print_fold_segment(p, f);
    if (several) llvm_loop_end(p->u, &l);
}

static void print_phase(Print *p) {
    const KPhase *at = &p->k->phase[p->phase];
    print_row_ops(p);
    if (at->row_folds)
        fold_sweep(p);
    else if (at->lanes)
        sweep(p, p->lane_begin, p->lane_end, phase_body);
    print_stores(p, false);
}

// Indices of axes [from, to) out of a row-major number.
static void decode(Print *p, LLVMValueRef number, uint32_t from, uint32_t to) {
    LLVMBuilderRef b = p->u->b;
    for (uint32_t i = to; i-- > from;) {
        LLVMValueRef n = llvm_i64(p->u, p->k->extent[i]);
        p->axis[i] = i == from ? number : LLVMBuildURem(b, number, n, "");
        number = LLVMBuildUDiv(b, number, n, "");
    }
}

static void print_row(Print *p) {
    memset(p->row, 0, sizeof *p->row * p->k->ops.n);
    const Kernel *k = p->k;
    if (k->flat) {
        LLVMValueRef extent = llvm_i64(p->u, k->extent[k->outers]);
        LLVMValueRef before = LLVMBuildMul(p->u->b, p->axis[k->outers - 1], extent, "");
        p->lane_end =
            smaller(p, extent, LLVMBuildSub(p->u->b, llvm_i64(p->u, k->flat), before, ""));
    }
    for (p->phase = 0; p->phase < k->phases; p->phase++) print_phase(p);
    memset(p->row, 0, sizeof *p->row * k->ops.n);
}

static void columns_begin(Print *p) {
    if (p->k->columns) sweep(p, p->lane_begin, p->lane_end, columns_begin_body);
}

// After a task's rows: the walked axes have no index any more, and what is added is read now.
static void columns_end(Print *p) {
    if (!p->k->columns) return;
    for (uint32_t i = kernel_walk(p->k); i < p->k->outers; i++) p->axis[i] = llvm_i64(p->u, 0);
    p->phase = p->k->phases;
    print_row_ops(p);
    sweep(p, p->lane_begin, p->lane_end, columns_end_body);
    memset(p->row, 0, sizeof *p->row * p->k->ops.n);
}

static void print_rows(Print *p, LLVMValueRef from, LLVMValueRef to, uint32_t first,
                       uint32_t last) {
    LlvmLoop l = llvm_loop(p->u, from, to, 1, "rows");
    decode(p, l.i, first, last);
    p->tile_row = l.i;
    print_row(p);
    llvm_loop_end(p->u, &l);
}

// Tasks are neighbouring rows: one loop over all of them.
static void order_rows(Print *p, LLVMValueRef task0, LLVMValueRef task1) {
    LLVMValueRef grain = llvm_i64(p->u, p->k->grain),
                 n = llvm_i64(p->u, kernel_points(p->k, 0, p->k->outers));
    LLVMValueRef from = LLVMBuildMul(p->u->b, task0, grain, "");
    LLVMValueRef to = smaller(p, LLVMBuildMul(p->u->b, task1, grain, ""), n);
    print_rows(p, from, to, 0, p->k->outers);
}

// Task t is chunk t mod chunks of grid point t / chunks.
static void order_chunks(Print *p, LLVMValueRef task0, LLVMValueRef task1) {
    const Kernel *k = p->k;
    LLVMBuilderRef b = p->u->b;
    int64_t rows = kernel_points(k, k->walk, k->outers), chunks = sn_ceil_div(rows, k->grain);
    LlvmLoop l = llvm_loop(p->u, task0, task1, 1, "tasks");
    p->chunk = LLVMBuildURem(b, l.i, llvm_i64(p->u, chunks), "");
    decode(p, LLVMBuildUDiv(b, l.i, llvm_i64(p->u, chunks), ""), 0, k->walk);
    LLVMValueRef from = LLVMBuildMul(b, p->chunk, llvm_i64(p->u, k->grain), "");
    LLVMValueRef to =
        smaller(p, LLVMBuildAdd(b, from, llvm_i64(p->u, k->grain), ""), llvm_i64(p->u, rows));
    columns_begin(p);
    print_rows(p, from, to, k->walk, k->outers);
    columns_end(p);
    llvm_loop_end(p->u, &l);
}

// Every task walks all rows over its own lanes.
static void order_lanes(Print *p, LLVMValueRef task0, LLVMValueRef task1) {
    const Kernel *k = p->k;
    LlvmLoop l = llvm_loop(p->u, task0, task1, 1, "tasks");
    LLVMValueRef grain = llvm_i64(p->u, k->grain);
    p->lane_begin = LLVMBuildMul(p->u->b, l.i, grain, "");
    p->lane_end = smaller(p, LLVMBuildAdd(p->u->b, p->lane_begin, grain, ""),
                          llvm_i64(p->u, k->extent[k->outers]));
    columns_begin(p);
    print_rows(p, llvm_i64(p->u, 0), llvm_i64(p->u, kernel_points(k, 0, k->outers)), 0, k->outers);
    columns_end(p);
    llvm_loop_end(p->u, &l);
}

// Epilogues and strips: a rectangle.
static void order_rectangle(Print *p) {
    const LlvmUnit *u = p->u;
    LLVMValueRef tiles = LLVMGetParam(p->fn, 2);
    if (p->k->order == KORDER_tile) p->tile[0] = tiles;
    for (uint32_t i = 0; p->k->order == KORDER_strip && i < p->k->tiles; i++)
        p->tile[i] = llvm_load(u, u->t_ptr, llvm_at(u, u->t_ptr, tiles, llvm_i64(u, i)), 8);
    p->ld = LLVMGetParam(p->fn, 3);
    p->row0 = LLVMGetParam(p->fn, 4);
    p->lane0 = p->lane_begin = LLVMGetParam(p->fn, 6);
    p->lane_end = LLVMGetParam(p->fn, 7);
    print_rows(p, p->row0, LLVMGetParam(p->fn, 5), 0, p->k->outers);
}

// Whether a sweep may end within a vector.
static bool may_have_tail(const Kernel *k) {
    int64_t n = k->extent[k->outers];
    switch ((KOrder)k->order) {
    case KORDER_rows:
    case KORDER_chunks: return n % VEC_LANES != 0 || k->flat % VEC_LANES != 0;
    case KORDER_lanes: return n % VEC_LANES != 0 || k->grain % VEC_LANES != 0;
    case KORDER_tile:
    case KORDER_strip:
    case KORDER_COUNT: break;
    }
    return true;
}

// Lays out held rows and column accumulators, in the order of kernel_finish.
static void lay_out(Print *p) {
    const Kernel *k = p->k;
    int64_t lanes = k->order == KORDER_lanes ? k->grain : k->extent[k->outers];
    int64_t row = sn_round_up(lanes, VEC_LANES) * 4, at = 0;
    for (KId id = 0; id < k->ops.n; id++) {
        if (!k->ops.at[id].hold || !k->ops.at[id].lane) continue;
        p->place[id] = at;
        at += row;
    }
    for (uint32_t f = 0; f < k->folds.n; f++) {
        if (!k->folds.at[f].column) continue;
        p->column[f] = at;
        at += row;
    }
    assert(at <= k->scratch && "kernel_finish counts less scratch than the printer lays out");
}

// A number that LLVM must not know. LLVM 19 reads and writes all of a vector of which half the mask
// is constantly false and the rest is select(c, ..., ...) when it splits the vector for AVX2; with
// an unknown number of lanes the mask of the last vector is never constant, and the pattern cannot
// arise.
static LLVMValueRef unknown(const Print *p, int64_t x) {
    LLVMValueRef slot = llvm_local(p->u, p->u->t_i64, "unknown");
    LLVMSetVolatile(LLVMBuildStore(p->u->b, llvm_i64(p->u, x), slot), 1);
    LLVMValueRef v = LLVMBuildLoad2(p->u->b, p->u->t_i64, slot, "");
    LLVMSetVolatile(v, 1);
    return v;
}

// Arguments and the environment, loaded once.
static void print_prologue(Print *p) {
    const LlvmUnit *u = p->u;
    LLVMValueRef bufs = LLVMGetParam(p->fn, 0), env = LLVMGetParam(p->fn, 1);
    for (uint32_t i = 0; i < p->k->args.n; i++)
        p->buf[i] = llvm_load(u, u->t_ptr, llvm_at(u, u->t_ptr, bufs, llvm_i64(u, i)), 8);
    LLVMValueRef first = llvm_load(u, u->t_i32, env, 4);
    p->first = LLVMBuildICmp(u->b, LLVMIntNE, first, llvm_i32(u, 0), "");
    p->step =
        llvm_load(u, u->t_i32, llvm_at(u, u->t_i8, env, llvm_i64(u, offsetof(SnEnv, step))), 4);
    p->seed =
        llvm_load(u, u->t_i64, llvm_at(u, u->t_i8, env, llvm_i64(u, offsetof(SnEnv, seed))), 8);
    p->sample =
        llvm_load(u, u->t_i64, llvm_at(u, u->t_i8, env, llvm_i64(u, offsetof(SnEnv, sample))), 8);
    p->zero = llvm_local(u, u->t_i64, "zero");
    llvm_store(u, llvm_i64(u, 0), p->zero, 8);
    p->tail = may_have_tail(p->k);
    int64_t lanes = p->k->extent[p->k->outers];
    p->lane_begin = p->tail ? unknown(p, 0) : llvm_i64(u, 0);
    p->lane_end = p->tail ? unknown(p, lanes) : llvm_i64(u, lanes);
}

static void print_kernel(Print *p) {
    print_prologue(p);
    lay_out(p);
    LLVMValueRef task0 = NULL, task1 = NULL;
    CpuFnKind kind = print_kind(p->k);
    if (kind == FN_KERNEL) {
        task0 = LLVMGetParam(p->fn, 2);
        task1 = LLVMGetParam(p->fn, 3);
    }
    if (kind != FN_EPILOGUE) p->scratch = LLVMGetParam(p->fn, llvm_params(kind) - 1);
    switch ((KOrder)p->k->order) {
    case KORDER_rows: order_rows(p, task0, task1); break;
    case KORDER_chunks: order_chunks(p, task0, task1); break;
    case KORDER_lanes: order_lanes(p, task0, task1); break;
    case KORDER_tile:
    case KORDER_strip: order_rectangle(p); break;
    case KORDER_COUNT: break;
    }
    LLVMBuildRetVoid(p->u->b);
}

CpuFnKind print_kind(const Kernel *k) {
    if (k->order == KORDER_tile) return FN_EPILOGUE;
    return k->order == KORDER_strip ? FN_STRIP : FN_KERNEL;
}

static Print *print_new(CpuModule *m, Arena *a, const Kernel *k) {
    Print *p = NEW(a, Print);
    p->m = m;
    p->k = k;
    p->ops = print_scalar_ops(p);
    p->row = NEW_ARRAY(a, LLVMValueRef, k->ops.n + 1);
    p->vec = NEW_ARRAY(a, LLVMValueRef, k->ops.n + 1);
    p->place = NEW_ARRAY(a, int64_t, k->ops.n + 1);
    p->column = NEW_ARRAY(a, int64_t, k->folds.n + 1);
    p->acc = NEW_ARRAY(a, LLVMValueRef, k->folds.n + 1);
    p->total = NEW_ARRAY(a, LLVMValueRef, k->folds.n + 1);
    return p;
}

void print_function(CpuModule *m, LlvmUnit *u, LLVMValueRef fn, const Kernel *k, bool keyed) {
    Arena *scratch = arena_new();
    Print *p = print_new(m, scratch, k);
    p->u = u;
    p->fn = fn;
    p->keys = keyed ? llvm_params(print_kind(k)) : 0;
    print_kernel(p);
    u->weight += k->ops.n + 8;
    arena_free(scratch);
}

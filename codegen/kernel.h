// The kernel IR: what one kernel computes, for every target. One kernel is a grid of independent
// tasks; a task walks rows; a row is a few phases; a phase is one sweep of a scalar DAG over the lane
// axis. The text form prints and parses back (kernel.c); kinterp.c runs it slowly; cpu/print.c turns
// it into native code. docs/kernels.md explains it with an example.
//
//   task:  for row in its rows:                       outer axes, row-major
//            for phase p = 0, 1, ...:
//              evaluate row-level ops that became ready (they depend on folds of phases < p)
//              for lane in 0 .. lanes:                 16 at a time
//                evaluate what the stores and folds of p need; folds += ; store
//            row-level stores
//          column folds are stored at the end of the task
//
// Axes are numbered: outer axes 0 .. outers-1, then the lane axis (number `outers`). The lane axis is
// a collapse of one or more tensor axes; an operand for which they do not collapse is read through a
// computed index.
#pragma once
#include "ir/ir.h"

enum { K_MAX_AXES = 9, K_MAX_ARGS = 64, K_MAX_TILES = 8, KOP_NEVER = UINT8_MAX };
typedef uint32_t KId; // an op of the kernel; NONE is absent

// How rows are given to tasks.
typedef enum {
    KORDER_rows,   // rows are independent; a task takes `grain` consecutive ones
    KORDER_chunks, // axes from `walk` on are walked in order, `grain` rows to a task (column folds)
    KORDER_lanes,  // every task walks all rows in order but owns `grain` lanes only (scatter)
    KORDER_tile,   // an epilogue: called by the GEMM on a rectangle of rows x lanes, value KOP_tile
    KORDER_strip, // rows as in KORDER_rows over values that are nowhere whole: called on a rectangle
                  // of rows x lanes, reads and writes tiles of it
    KORDER_COUNT
} KOrder;

typedef enum { KARG_in, KARG_out, KARG_acc, KARG_inout, KARG_MODES } KArgMode;
// acc: read as all zeros when env->first is set (the first micro-batch), then written.
typedef struct {
    uint32_t elem; // Elem
    uint32_t mode; // KArgMode
    int64_t count; // elements in the tensor: bounds for kinterp and the checker
} KArg;

// Element offset base + sum stride[i] * index of axis i + op_stride * value of `op` (an i32 op).
typedef struct {
    int64_t base;
    int64_t stride[K_MAX_AXES];
    KId op; // NONE, or an i32 op
    int64_t op_stride;
} KIndex;

typedef enum {
    KOP_scalar, // op, elem (of operand a; of b for select), to (of the result), a b c
    KOP_const,  // value
    KOP_index,  // i32 index along `axis` (the lane axis counts collapsed elements)
    KOP_load,   // arg, index, mask: not read where mask is false, the value is then 0
    KOP_random, // u32: index.base + strides = canonical element index; key, word, fixed
    KOP_fold,   // row-level result of row fold number `fold`; ready from the phase after the fold's
    KOP_tile,   // f32: tile `arg` at (row, lane); an epilogue has one, the GEMM's value, number 0
    KOP_KINDS
} KOpKind;

typedef struct {
    uint8_t kind;  // KOpKind
    uint8_t to;    // Elem of the result
    uint8_t elem;  // Elem the scalar op works on
    uint8_t hold;  // lane-level, needed in several phases: computed once per row, kept in scratch
    uint16_t op;   // Op (scalar)
    uint8_t lane;  // filled by kernel_finish: depends on the lane
    uint8_t ready; // filled by kernel_finish: first phase in which it may be evaluated
    uint8_t first; // filled by kernel_finish: first phase that needs it, or KOP_NEVER
    KId a, b, c;
    uint32_t arg, axis, fold;
    KId mask;
    KIndex index;
    double value;
    uint64_t key;
    uint32_t word, fixed;
    int64_t sample_stride; // random: elements between samples; env->sample times this is added
} KOp;

typedef struct {
    uint32_t arg, phase; // a row-level value is stored once per row, after the phase's lanes
    bool tile;           // arg is the number of a tile: stored at (row, lane), index is unused
    KIndex index;
    KId value, mask; // mask: NONE or bool; not stored where false
    bool lane;       // filled by kernel_finish: value, place or mask differs between lanes
} KStore;

typedef struct {
    uint32_t kind; // ReduceKind
    uint32_t phase;
    KId value;
    bool column; // false: row fold (FOLD_row over the lanes, or 128 accumulators across segments)
    // column: stored after the task's last row in arg at `index` + chunk_stride * chunk; the strides
    // of the walked axes are 0
    uint32_t arg;
    KIndex index;
    int64_t chunk_stride;
    KId plus; // column: NONE, or an op evaluated at the end (no walked axes) and added: plus + fold
} KFold;

// What a phase does.
typedef struct {
    uint8_t *need;  // by op: its value is used
    bool lanes;     // something is done for each lane
    bool row_folds; // some begin and end here
} KPhase;

typedef struct Kernel {
    const char *name;           // readable: "rows.layernorm.3"; not part of the hash
    uint64_t hash;              // filled by kernel_finish: structure without names
    uint32_t outers;            // number of outer axes
    int64_t extent[K_MAX_AXES]; // [outers] is the lane axis
    uint32_t order;             // KOrder
    uint32_t walk;              // chunks: first walked axis
    int64_t grain;
    int64_t flat; // 0, or: rows x lanes is a cut of `flat` elements, the last row is shorter
                  //   (then the last outer axis counts the cuts; lanes in a row =
                  //   min(extent[outers], flat - index of the last outer axis * extent[outers]))
    VEC(KArg) args;
    VEC(KOp) ops; // operands before users
    VEC(KStore) stores;
    VEC(KFold) folds;
    Loc loc;
    // From here on filled by kernel_finish.
    uint32_t phases;
    KPhase *phase;    // each, and behind them what stores the columns after a task's last row
    uint32_t columns; // column folds; the others are row folds
    uint32_t tiles;   // 1 + the highest number of a tile, or 0
    int64_t tasks;
    int64_t scratch;      // bytes a thread needs: held rows, column accumulators
    int64_t flops, bytes; // per run: for the ledger and the bench
} Kernel;
// Points of the outer axes [from, to): the product of their extents, which cannot overflow once checked.
static inline int64_t kernel_points(const Kernel *k, uint32_t from, uint32_t to) {
    int64_t n = 1;
    for (uint32_t i = from; i < to; i++) n *= k->extent[i];
    return n;
}

// Computes the derived fields, in a, and checks the invariants; false with the reason in *why.
bool kernel_finish(Arena *a, Kernel *k, Text *why);

// The value of an op that a phase needs is there from an earlier phase: one of the row is evaluated once, a
// held one is kept. After a task's last row all is evaluated anew.
static inline bool kernel_has(const Kernel *k, uint32_t phase, KId id) {
    const KOp *o = &k->ops.at[id];
    return phase < k->phases && o->first < phase && (o->hold || !o->lane);
}
static inline Elem kfold_elem(const Kernel *k, uint32_t fold) {
    return (Elem)k->ops.at[k->folds.at[fold].value].to;
}
static inline bool kernel_folds_rows(const Kernel *k) { return k->columns < k->folds.n; }
// The first axis that a task with column folds walks.
static inline uint32_t kernel_walk(const Kernel *k) {
    return k->order == KORDER_chunks ? k->walk : 0;
}

void kernel_print(Text *to, const Kernel *k);
Kernel *kernel_parse(Arena *a, Diag *d, uint16_t file); // NULL after errors
// A copy without name in which the keys of random ops are their numbers in order of first use: kernels
// that differ in keys only are then equal, and can share code that takes the keys as parameters.
// keys[0 .. *n) are the keys; more than `most`: they stay in the copy, and *n is 0.
Kernel kernel_without_keys(Arena *a, const Kernel *k, uint64_t *keys, uint32_t most, uint32_t *n);
bool kernel_equal(const Kernel *a, const Kernel *b); // same code; names aside

// The environment of a run, as the kernel sees it: the same struct as in runtime/plan.h.
struct SnEnv;
// Where an epilogue or a strip runs: rows [row0, row1) x lanes [lane0, lane1), element (row, lane) of a
// tile at (row - row0) * ld + (lane - lane0). For a strip lane0 is a multiple of FOLD_LANES, so that
// every lane is folded in the place that it has in the whole row.
typedef struct {
    float *const *tiles;
    int64_t ld, row0, row1, lane0, lane1;
} KRect;
// Slow evaluator, exact. Out-of-range accesses are reported in *why and end the run with false.
// rect: for epilogues and strips, NULL for others, which run over everything.
bool kernel_interp(const Kernel *k, void *const *bufs, const struct SnEnv *env, const KRect *rect,
                   Text *why);

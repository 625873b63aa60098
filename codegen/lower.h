// Lowering: what a node of a planned function becomes. A map, rows, columns or scatter group is one kernel;
// a gemm group is one GEMM with an optional epilogue kernel; an assign may be a copy.
//
// The value of a node is an expression over the kernel's axes. Views move no data: they rewrite the
// index with which their operand is evaluated, down to the loads (lower_value.c). The same node at the
// same index is one kernel op.
#pragma once
#include "codegen/kernel.h"
#include "ir/epilogue.h"
#include "ir/flash.h"
#include "ir/view.h"
#include "runtime/plan.h"

// An argument of a kernel or GEMM: operand or result `index` of the group; of a kernel's, `count` elements of
// it from `first` on, a multiple of 64 bytes (0: all of them).
typedef struct {
    bool result;
    uint32_t index;
    int64_t first, count;
} LowerRef;
typedef VEC(LowerRef) LowerRefs;
// The value that it is, and where it lies in a planned function.
NodeId lowered_node(const Module *m, const Func *f, NodeId group, LowerRef r);
Mem lowered_place(const Module *m, const Func *f, NodeId group, LowerRef r);

// What a product has beside its operands, as SnGemm.has says, and where: one ref for each part that is an
// argument, meaningless for others.
enum { LOWER_PARTS = SN_GEMM_SUM + 1 };
typedef struct {
    uint32_t has;
    LowerRef part[LOWER_PARTS];
} LowerParts;

static inline void lower_part(LowerParts *to, SnGemmPart part, LowerRef ref) {
    to->has |= sn_gemm_bit(part);
    to->part[part] = ref;
}

// The row of ir/epilogue.def of an SnFunction; NULL: none.
const FunctionInfo *lower_function_info(uint32_t function);

// A product with what a library's call can compute besides, and nothing else.
typedef struct {
    bool known;
    Elem elem; // of what is stored, and of bias, aux and sums
    SnFunction function;
    SnSums sums;
    LowerParts parts; // without the accumulator, which is the product's own
} LowerCall;

typedef struct {
    SnGemm gemm; // has, epilogue, function and sums are filled in by the plan writer
    LowerRef a, b;
    LowerParts parts;
    LowerCall call; // the same group for targets whose products are a library's
} LowerGemm;

typedef struct {
    SnAttend
        attend; // kernel, args, hull and the arguments' numbers are filled in by the plan writer
    LowerRef x[SN_ATTEND_PARTS], y[SN_ATTEND_PARTS];
    VEC(SnHull) hulls; // by strip of rows
} LowerAttend;

// A flash group (ir/flash.h) becomes up to three kernels that share its parts. A part is a kernel that nothing runs by
// itself: what a target prints where its own kernels have the tile in registers. It stores to tile 0, and of a
// cell weight and derivative to tiles 0 and 1. Lanes are keys, of finish features.
typedef enum {
    FLASH_score,  // tile 0: c
    FLASH_weight, // tile 0: e
    FLASH_shift,  // tile 0: top
    FLASH_finish, // tiles 0, 1, 2: a, top, sum
    FLASH_cell,   // tiles 0, 1: c, dw
    FLASH_PARTS
} FlashPartKind;
enum { FLASH_MASKS = 4 };
typedef struct {
    const Kernel *kernel; // NULL: the group has no such part
    LowerRefs refs;       // one for each of its arguments
    KId mask
        [FLASH_MASKS]; // conditions: where one is false a key adds nothing to a row, nor a row to a key
    uint32_t masks;
} FlashPart;
typedef enum { FLASH_forward, FLASH_dq, FLASH_dkv, FLASH_dk, FLASH_dv } FlashKernelKind;
typedef struct {
    Flash shape;
    FlashPart part[FLASH_PARTS];
    FlashKernelKind kind[3];
    uint32_t n;
    double seen; // the part of rows x keys that masks leave, in tiles
} LowerFlash;

// The arguments of one of the kernels: q, k, v, g (those that there are), results in the order of Flash, then what the
// parts read.
typedef struct {
    LowerRef ref[K_MAX_ARGS];
    uint32_t n, first_out, part[FLASH_PARTS]; // numbers of arguments
    uint64_t written;                         // a bit for each
} FlashArgs;
FlashArgs flash_args(const LowerFlash *f, FlashKernelKind kind);
int64_t flash_flops(const LowerFlash *f,
                    FlashKernelKind kind); // of the products, without hidden tiles
bool flash_keeps(const Flash *x, const FlashMatrix *m, uint32_t outer); // it has this outer axis

typedef enum {
    LOWER_kernel,
    LOWER_scatter, // a kernel that adds to result 0 in place, which starts as a copy of operand `from`
    LOWER_gemm,
    LOWER_attend,
    LOWER_flash,    // attention on tensor cores: kernels that the target has its own form for
    LOWER_transfer, // starts a copy between device and host, or waits for it
    LOWER_copy      // the value of an assign goes to the state's place
} LowerKind;
typedef struct {
    LowerKind kind;
    Kernel *
        kernel; // the kernel, the epilogue of a gemm, of an attend the strips'; NULL: a plain gemm, a copy
    LowerRefs refs; // arguments of `kernel`, one per KArg
    union {         // by kind
        LowerRef from;
        LowerGemm gemm;
        LowerAttend attend;
        LowerFlash flash;
    };
} Lowered;

// acc_operand[i]: operand i is an accumulator that this function also assigns. False with the reason
// (a shape that the kernel IR cannot hold) in *why.
bool lower_group(Arena *a, const Module *m, const Func *f, NodeId group, const uint8_t *acc_operand,
                 Lowered *out, Text *why);

// How the body of an attention becomes a strip kernel. Tiles are f32 and read at their row and lane only;
// what a tile's node is computed from is not looked at. A row of the kernel is one index of `rows`,
// row-major in that order; its lanes are those of `lanes`, the only axes that the body may fold, all of them
// at once.
typedef struct {
    NodeId node;
    uint32_t
        tile; // where it is stored (one that is read: in place), or NONE: it has all axes of `rows`
    uint32_t result; // and no other, and goes to the buffer of this result
} StripStore;
typedef struct {
    const char *name; // of the kernel
    uint32_t tiles, stores;
    const NodeId *tile; // by number: what it holds before
    const StripStore *store;
    AxisList rows, lanes;
    const NodeId *mark; // nodes whose ops are wanted: marked[i] is that of mark[i]
    uint32_t marks;
    KId *marked;
} StripShape;
// refs: the buffers, by number of argument and of result. False with the reason in *why.
bool lower_strip(Arena *a, const Module *m, const Func *body, const StripShape *shape, Lowered *out,
                 Text *why);

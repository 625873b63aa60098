// Inside the lowering: kernels under construction and values at positions.
#pragma once
#include "codegen/lower.h"

// Where a node is evaluated: for each axis of its type, the index along it as a KIndex (in units of
// that axis). Both are interned: equal ids are equal contents.
typedef uint32_t ExprId, PosId;
typedef struct {
    uint32_t n;
    AxisId axis[MAX_AXES];
    ExprId expr[MAX_AXES];
} Pos;

typedef struct {
    Arena *a;
    const Module *m;
    const Func *f;      // the group's body
    const uint8_t *acc; // operand is an accumulator
    Kernel *k;
    LowerRefs refs;
    VEC(KIndex) exprs;
    VEC(Pos) positions;
    Map memo;                 // (node, position, mask) -> op + 1
    uint32_t *arg_of;         // operand -> kernel argument + 1
    KId *fold_value;          // body node -> KOP_fold op, or NONE
    NodeId tile[K_MAX_TILES]; // by number: the node whose value KOP_tile is, or NONE
    AxisId axes[K_MAX_AXES];  // tensor axis that kernel axis i stands for, 0: none
    ExprId axis_expr[K_MAX_AXES];
    const char *failed; // why this group cannot be lowered
} Lowering;

KId lower_value(Lowering *l, NodeId n, PosId at, KId mask);
// The element index of a tensor of type t at a position.
KIndex lower_index(Lowering *l, const Type *t, PosId at);
PosId lower_identity(Lowering *l, const Type *t); // kernel axes as they are
ExprId lower_expr(Lowering *l, const KIndex *e);
uint32_t lower_arg(Lowering *l, bool result, uint32_t index, const Type *t, KArgMode mode);
KId lower_op(Lowering *l, const KOp *op);
KId lower_scalar(Lowering *l, Op op, Elem elem, Elem to, KId a, KId b, KId c);
KId lower_int(Lowering *l, int64_t v);
PosId lower_with(Lowering *l, PosId at, AxisId from, AxisId to, ExprId e);
ExprId lower_at(Lowering *l, PosId at, AxisId a);
PosId lower_pos_add(Lowering *l, PosId at, AxisId a, ExprId e);

bool build_strip(Lowering *l, const StripShape *x, bool one_lane); // lower.c
bool lower_attend(Lowering *l, AxisId row, AxisId key, bool one_lane,
                  Lowered *out); // lower_attend.c

bool lower_flash(Lowering *l, AxisId row, AxisId key, Lowered *out); // lower_flash.c

// A gemm group's contraction as a library's call; columns: the axes of the product's n, in order. swapped:
// A is its second operand.
LowerCall lower_call(const Lowering *l, NodeId contract, const AxisList *columns, bool swapped);

// Merges neighbouring kernel axes that every access walks as one, within [first, last). Returns the
// number of axes left in that range.
uint32_t lower_collapse(Kernel *k, uint32_t naxes, uint32_t first, uint32_t last);

// The only way to create nodes: each function computes the result's type, checks the operands'
// types (a violation is an internal error: the frontend and the parser check first, through
// ir_infer), and appends the node.
//
// A Builder carries what every new node gets: phase, clone, tmpl, inst, name, loc.
#pragma once
#include "ir/ir.h"
#include "ir/region.h"

typedef struct {
    Module *m;
    Func *f;
    Phase phase;
    uint8_t clone;
    Inst inst;
    uint32_t tmpl;
    Sym name;
    Loc loc;
} Builder;

// The result type of op on operands of these types, or NONE with the reason in *why (lower case, no
// period, axis names in quotes). Ops whose type is free (input, state, const, iota, random, expand,
// copy, arg, group, part) take the wanted type in 'given'; for the others 'given' is NONE, or a type
// with the same elem and set of axes in another order: the order wanted for the result.
TypeId ir_infer(Module *m, Op op, const Attr *attr, const TypeId *types, uint32_t n, TypeId given,
                Text *why);

// General form; attr may be NULL. ir_infer must hold.
NodeId ir_node(Builder *b, Op op, const Attr *attr, const NodeId *operands, uint32_t n,
               TypeId given);

// Short forms. Scalars align axes by name and broadcast; the result has the axes of the operand with
// most axes first, then what the others add, in order.
NodeId ir_unary(Builder *b, Op op, NodeId x);
NodeId ir_binary(Builder *b, Op op, NodeId x, NodeId y);
NodeId ir_select(Builder *b, NodeId c, NodeId x, NodeId y);
NodeId ir_fma(Builder *b, NodeId x, NodeId y, NodeId z);
NodeId ir_cast(Builder *b, NodeId x, Elem to); // x itself when it has that type
NodeId ir_bitcast(Builder *b, NodeId x, Elem to);
NodeId ir_const(Builder *b, Elem elem, double value); // no axes
NodeId ir_const_of(Builder *b, TypeId type, double value);
NodeId ir_iota(Builder *b, AxisId axis, int64_t size);
NodeId ir_extent(Builder *b, AxisId axis);
NodeId ir_random(Builder *b, TypeId u32_type, uint64_t key, int word, bool fixed);
NodeId ir_input(Builder *b, const char *name, TypeId type, AxisId range);
NodeId ir_state(Builder *b, StateId s);
NodeId ir_rename(Builder *b, NodeId x, AxisId from, AxisId to);
NodeId ir_split(Builder *b, NodeId x, AxisId from, const AxisList *to, const int64_t *sizes);
// The merged axes must stand side by side in x, in this order; ir_merge inserts the copy that makes
// it so where they do not.
NodeId ir_merge(Builder *b, NodeId x, const AxisList *from, AxisId to);
NodeId ir_slice(Builder *b, NodeId x, AxisId from, AxisId to, int64_t start, int64_t size);
NodeId ir_pad(Builder *b, NodeId x, AxisId from, AxisId to, int64_t start, int64_t size,
              double value);
NodeId ir_concat(Builder *b, const NodeId *xs, const AxisList *parts, AxisId to);
NodeId ir_expand(Builder *b, NodeId x, TypeId to);
// Folds over axes that need not be suffix: emits a row fold and a column fold where both are needed.
NodeId ir_reduce(Builder *b, ReduceKind kind, NodeId x, const AxisList *axes);
NodeId ir_reduce_by(Builder *b, ReduceKind kind, NodeId x, const AxisList *axes, FoldBy by,
                    AxisId part);
// acc: NONE, or a value of the result's type. Result axes: shared kept (order of x), x's, y's.
NodeId ir_contract(Builder *b, NodeId x, NodeId y, const AxisList *axes, NodeId acc);
NodeId ir_gather(Builder *b, NodeId x, NodeId index, AxisId axis);
NodeId ir_scatter_add(Builder *b, NodeId acc, NodeId index, NodeId x, AxisId axis);
NodeId ir_stop(Builder *b, NodeId x);
NodeId ir_copy(Builder *b, NodeId x, TypeId order);
NodeId ir_grad(Builder *b, NodeId loss, StateId wrt);
NodeId ir_assign(Builder *b, StateId s, NodeId x);
NodeId ir_arg(Builder *b, int64_t index, TypeId type);
void func_result(Module *m, Func *f, const char *name, NodeId n, ResultKind kind);

// A rewritten copy of a function: the usual way for a pass to change one. map[old] is the new id, or
// NONE when not copied. copy_node appends old node n with mapped operands and all its properties.
NodeId copy_node(Builder *b, const Func *from, NodeId n, const NodeId *map);
// Likewise onto these operands, in the sizes of r, bodies of a region included. A
// contraction may get an accumulator.
NodeId copy_resized(Builder *b, const Func *from, NodeId n, const NodeId *operands, uint32_t count,
                    Resize *r);

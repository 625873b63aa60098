// Attention that tensor cores can keep whole: what a group of kind flash consists of. The pass that forms such a
// group asks whether it has a form that the kernels have, code generation asks for the parts.
//
//   forward:   c = q k^T    s = score(c)    top = max s    e = exp(s - shift(top))    sum = sum e
//              a = weight(e) v              out = finish(a, top, sum)
//   backward:  c = q k^T    dw = g v^T      w, dc = cell(c, dw)
//              dq = dc k    dk = dc^T q     dv = w^T g
//
// score, weight and cell compute an element from one of each operand, shift and finish one of a row: whatever they are,
// they are printed from the nodes. Weights are linear in e, so that the sum over keys may be finished
// later. Operands have 16 bits, rows of features lie in memory as 16-byte words.
#pragma once
#include "ir/view.h"

enum { FLASH_FEATURES = 256 };

// A matrix of the group: rows (or keys) of adjacent features.
typedef struct {
    bool there, result;
    uint32_t index; // operand or result of the group
    uint32_t elem;
    int64_t base, row,
        outer[MAX_AXES]; // in elements: of the first row, from row to row, along the outer axes
} FlashMatrix;

typedef struct {
    bool grad;
    AxisId row, key, features, values; // of q and k, and of v
    int64_t rows, keys, d, e;
    AxisList outer; // the others of the scores, in their order
    int64_t size[MAX_AXES];
    uint32_t elem; // of q, k, v, g
    FlashMatrix q, k, v, g, out, dq, dk, dv;
    FlashMatrix top, sum;                  // of results: a value for each row
    NodeId product, slope;                 // c; dw, NONE: not needed
    NodeId score, peak, shift, exp, total; // peak: top; total: sum
    NodeId weight, sums, finish;           // sums: a
    NodeId dscore;                         // dc
} Flash;

// Whether the body has that form, and what is what. False: *why says what node *at is or does that the kernels
// lack.
bool flash_of(Arena *a, const Module *m, const Func *body, AxisId row, AxisId key, Flash *x,
              const char **why, NodeId *at);

// A value without the roundings to 16 bits that it ends with.
NodeId flash_rounded(const Func *f, NodeId n);

// What a library's matrix product computes along of each element: a table (epilogue.def), and which of it an
// expression is. The answer comes from values, not from how the expression is written: of GELU,
// 0.5 x (1 + tanh(…)), x / (1 + exp(-…)) and what autodiff makes of either are recognised alike.
#pragma once
#include "ir/ir.h"

enum { MAX_SMOOTH = 64, MAX_LEAVES = 3 };

// The scalar ops that lead to one value, all of them analytic functions of f32.
typedef struct {
    NodeId node[MAX_SMOOTH]; // ascending, so operands come first; the last is the value itself
    uint32_t n;
    NodeId leaf[MAX_LEAVES]; // what they start from, constants aside
    uint32_t leaves;
} Smooth;

// Walks back from y to what is no such op, or is marked in `stop` (by node, may be NULL). False when
// that are too many nodes or leaves, or y is none itself. O(MAX_SMOOTH squared).
bool smooth_of(const Module *m, const Func *f, NodeId y, const uint8_t *stop, Smooth *out);
bool smooth_has(const Smooth *s, NodeId n); // as a node; leaves are none

typedef enum {
    FUNCTION_NONE,
#define FUNCTION(name, of, matcher, says) FUNCTION_##name,
#include "ir/epilogue.def"
#undef FUNCTION
    PRODUCT_FUNCTIONS
} ProductFunction;

typedef struct {
    ProductFunction of; // FUNCTION_NONE, or whose derivative it is a multiple of
    const char *says;
} FunctionInfo;
extern const FunctionInfo function_info[PRODUCT_FUNCTIONS];

// The function f with y = f(v), where s is the expression of y; FUNCTION_NONE: no row.
ProductFunction function_of_value(const Module *m, const Func *f, const Smooth *s, NodeId v);
// d = product * f'(v), where s is the expression of d: the row of the derivative.
ProductFunction function_of_gradient(const Module *m, const Func *f, const Smooth *s,
                                     NodeId product, NodeId v);

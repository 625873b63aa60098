// Type rules on types themselves, without interning: what ir_infer and the verifier share. Private
// to ir/ except for the checks.
#pragma once
#include "ir/ir.h"

// ir_infer's rule; the result in *out. false with the reason in *why (which may be NULL).
bool infer_type(const Module *m, Op op, const Attr *attr, const Type *const *types, uint32_t n,
                const Type *given, Type *out, Text *why);
// A type alone: known element type, at most MAX_AXES distinct known axes, sizes from 0 on, at most
// 2^40 elements.
bool type_check(const Module *m, const Type *t, Text *why);
enum { MAX_ELEMENTS_LOG2 = 40 };

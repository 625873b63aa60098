// Short spellings of the primitives, shared by scalar.c (which op is which DAG) and scalar_math.c
// (the functions that need one). Private to those two files.
#pragma once
#include "ir/scalar.h"
#include <math.h>

static inline SV prim3(const ScalarOps *o, Prim p, SV a, SV b, SV c) {
    return o->prim(o->user, p, a, b, c);
}
static inline SV prim2(const ScalarOps *o, Prim p, SV a, SV b) {
    return o->prim(o->user, p, a, b, (SV){0});
}
static inline SV prim1(const ScalarOps *o, Prim p, SV a) {
    return o->prim(o->user, p, a, (SV){0}, (SV){0});
}
static inline SV num(const ScalarOps *o, float x) { return o->f32(o->user, x); }
static inline SV word(const ScalarOps *o, uint32_t x) { return o->i32(o->user, x); }
static inline SV fadd(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FADD, a, b); }
static inline SV fsub(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FSUB, a, b); }
static inline SV fmul(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FMUL, a, b); }
static inline SV fdiv(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FDIV, a, b); }
static inline SV fma3(const ScalarOps *o, SV a, SV b, SV c) { return prim3(o, P_FMA, a, b, c); }
static inline SV flt(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FLT, a, b); }
static inline SV fle(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FLE, a, b); }
static inline SV feq(const ScalarOps *o, SV a, SV b) { return prim2(o, P_FEQ, a, b); }
static inline SV pick(const ScalarOps *o, SV c, SV a, SV b) { return prim3(o, P_SELECT, c, a, b); }
static inline SV iadd(const ScalarOps *o, SV a, SV b) { return prim2(o, P_IADD, a, b); }
static inline SV isub(const ScalarOps *o, SV a, SV b) { return prim2(o, P_ISUB, a, b); }
static inline SV shl(const ScalarOps *o, SV a, uint32_t by) {
    return prim2(o, P_SHL, a, word(o, by));
}
static inline SV lshr(const ScalarOps *o, SV a, uint32_t by) {
    return prim2(o, P_LSHR, a, word(o, by));
}
static inline SV ashr(const ScalarOps *o, SV a, uint32_t by) {
    return prim2(o, P_ASHR, a, word(o, by));
}
static inline SV bits_of(const ScalarOps *o, SV a) { return prim1(o, P_F2BITS, a); }
static inline SV float_of(const ScalarOps *o, SV a) { return prim1(o, P_BITS2F, a); }
// A value that is not negative, with the sign bit of 'bits'.
static inline SV with_sign(const ScalarOps *o, SV x, SV bits) {
    SV sign = prim2(o, P_AND, bits, word(o, 0x80000000u));
    return float_of(o, prim2(o, P_OR, bits_of(o, x), sign));
}

// The functions of scalar_math.c.
SV scalar_round(const ScalarOps *o, Elem narrow, SV x);
#define SCALAR(name, arity, rule, by, ...) by(name, arity)
#define PRIMS(name, arity)
#define MATH(name, arity) MATH_##arity(name)
#define MATH_1(name)      SV scalar_##name(const ScalarOps *o, SV x);
#define MATH_2(name)      SV scalar_##name(const ScalarOps *o, SV x, SV y);
#include "ir/scalar.def"
#undef MATH_2
#undef MATH_1
#undef MATH
#undef PRIMS
#undef SCALAR

// The one definition of the scalar functions that hardware does not give exactly: exp expm1 log log1p
// sin cos tanh erf pow rsqrt, Philox, and integer division. Each is written once, over a table of primitive
// operations; the table's owner decides whether a primitive computes (interpreter, kinterp) or emits
// code (CPU printer, later CUDA). So all of them give the same bits.
#pragma once
#include "ir/ir.h"

// A value of the owner's: an index, a pointer in disguise, or the bits themselves.
typedef struct {
    uint64_t v;
} SV;

// clang-format off
typedef enum {
    P_FADD, P_FSUB, P_FMUL, P_FDIV, P_FMA, P_FSQRT, P_FNEG, P_FABS, P_FLOOR, P_RINT,
    P_FMIN, P_FMAX,                    // NaN if either is
    P_IADD, P_ISUB, P_IMUL, P_UMULHI,
    P_SDIV, P_UDIV, P_SREM, P_UREM,    // raw: divisor is never 0 nor the quotient overflowing
    P_AND, P_OR, P_XOR, P_SHL, P_LSHR, P_ASHR,
    P_SMIN, P_SMAX, P_UMIN, P_UMAX,
    P_FLT, P_FLE, P_FEQ,               // ordered compare -> bool; false on NaN
    P_SLT, P_SLE, P_ULT, P_ULE, P_IEQ, // -> bool
    P_BAND, P_BOR, P_BNOT, P_BXOR,     // on bools
    P_SELECT,                          // bool, T, T
    P_F2I_RAW, P_I2F, P_U2F, P_F2U_RAW,// raw: argument in range, truncates
    P_F2BITS, P_BITS2F,                // reinterpret
    P_F2H, P_H2F,                      // to the bits of the nearest f16, ties to even; back, exact
    P_B2I                              // bool -> 0 or 1
} Prim;
// clang-format on

typedef struct ScalarOps {
    void *user;
    SV (*prim)(void *user, Prim p, SV a, SV b, SV c); // unused operands are zero
    SV (*f32)(void *user, float x);
    SV (*i32)(void *user, uint32_t x);
    SV (*boolean)(void *user, bool x);
} ScalarOps;

// Expands scalar op on operands of element type 'elem' (of a; for select, of b). 'to' is the result
// type of cast and bitcast. Total: every op of scalar.def, for every element type its rule allows.
SV scalar_expand(const ScalarOps *o, Op op, Elem elem, Elem to, SV a, SV b, SV c);
// Fold step: acc `kind` x. Identity of the fold.
SV scalar_fold(const ScalarOps *o, ReduceKind kind, Elem elem, SV acc, SV x);
SV scalar_identity(const ScalarOps *o, ReduceKind kind, Elem elem);
// A value of a narrow type (elem_is_narrow): of the bits that memory holds, and those bits of it. Both are
// exact. The bits are the low ones of an i32, whatever stands above.
SV scalar_widen(const ScalarOps *o, Elem elem, SV bits);
SV scalar_cut(const ScalarOps *o, Elem elem, SV x);
// Word 'word' (0..3) of Philox4x32-10, counter (c0..c3), key (k0, k1): all u32.
SV scalar_philox(const ScalarOps *o, const SV counter[4], const SV key[2], int word);
// random(key, word, fixed) of element i: counter = (i low, i high, step or 0, 0), key = (key low ^ seed low,
// key high ^ seed high). So streams differ by path and seed, elements by canonical index.

// Direct evaluation in exact f32: bits in, bits out (a bool is 0 or 1).
uint32_t scalar_eval(Op op, Elem elem, Elem to, uint32_t a, uint32_t b, uint32_t c);
uint32_t scalar_eval_fold(ReduceKind kind, Elem elem, uint32_t acc, uint32_t x);
uint32_t scalar_eval_identity(ReduceKind kind, Elem elem);
uint32_t scalar_eval_philox(uint64_t index, uint32_t step, uint64_t key, uint64_t seed, int word);
// The same op in double (libm), for INTERP_F64: values, not bits.
double scalar_eval_f64(Op op, Elem elem, Elem to, double a, double b, double c);
double scalar_eval_fold_f64(ReduceKind kind, Elem elem, double acc, double x);
// A value of the interpreter (an f32 held as double, an integer, 0 or 1) as bits, and back.
uint32_t scalar_to_bits(Elem elem, double x);
double scalar_from_bits(Elem elem, uint32_t bits);
// What memory holds of a value, in the low bytes, and back; of any type.
uint32_t scalar_to_memory(Elem elem, uint32_t bits);
uint32_t scalar_from_memory(Elem elem, uint32_t stored);
// One step of a contraction of two bf16 operands, acc + a * b: one rounding, subnormal operands and results
// are zeros of their sign. As fma does with FTZ and DAZ, which looks for a subnormal after rounding.
float scalar_fma_flushed(float a, float b, float acc);
// What TF32 keeps of a number: 11 bits, to the nearest, halves away from zero.
float scalar_tf32(float x);

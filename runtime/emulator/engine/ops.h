// The functions that execute instructions: those of the table, and those that decode.c names itself.
#pragma once
#include "runtime/emulator/engine/program.h"

// Comparisons, as they stand in Insn.aux of setp.
typedef enum {
    CMP_eq,
    CMP_ne,
    CMP_lt,
    CMP_le,
    CMP_gt,
    CMP_ge,
    CMP_equ,
    CMP_neu,
    CMP_ltu,
    CMP_leu,
    CMP_gtu,
    CMP_geu,
    CMP_num,
    CMP_nan
} Compare;
typedef enum { BOOL_none, BOOL_and, BOOL_or, BOOL_xor } BoolOp;
typedef enum { ROUND_none, ROUND_rn, ROUND_rz, ROUND_rm, ROUND_rp, ROUND_rna } Rounding;
enum { AUX_BOOL = 8, AUX_ROUND = 12 }; // bit positions in aux

// aux of op_atomic
typedef enum {
    ATOMIC_add,
    ATOMIC_and,
    ATOMIC_or,
    ATOMIC_xor,
    ATOMIC_exch,
    ATOMIC_min_u,
    ATOMIC_max_u,
    ATOMIC_min_s,
    ATOMIC_max_s,
    ATOMIC_inc,
    ATOMIC_dec,
    ATOMIC_cas
} AtomicOp;

// aux of conversions. Widths are 0 .. 3 for 8 .. 64 bits.
enum {
    CVT_FROM = 0,           // width of an integer source
    CVT_FROM_SIGNED = 2,    //
    CVT_TO = 4,             // width of an integer result
    CVT_TO_SIGNED = 6,      //
    CVT_SAT = 7,            // .sat
    CVT_REG = 8,            // width of the result's register
    CVT_INTEGER_ROUND = 16, // Rounding to a whole number
    CVT_BF16 = 20           // the half is bf16
};

#define FORM(pattern, signature, sm, fn) OpFn fn;
#include "runtime/emulator/engine/ops.def"
#undef FORM

// Parts that other instructions are made of.
OpFn op_guarded;       // runs inner for the lanes of the guard
OpFn op_rounded;       // runs inner with the rounding of aux
OpFn op_flush, op_sat; // f32: subnormals to zero; clamp to [0, 1]
OpFn op_clock_w, op_clock_l;
OpFn op_set_w, op_set_f;
OpFn op_mov_pack, op_mov_unpack; // aux: bits of a part
// Conversions; aux: see ops_cvt.c.
OpFn op_cvt_int, op_cvt_l_w, op_cvt_l_sw, op_cvt_w_l;
OpFn op_cvt_f_int, op_cvt_d_int, op_cvt_int_f, op_cvt_int_d, op_cvt_s32_rz, op_cvt_s32_rn;
OpFn op_cvt_d_f, op_cvt_f_d, op_cvt_f_f, op_cvt_d_d;
OpFn op_cvt_half_f, op_cvt_f_half, op_cvt_half2;
// Memory.
OpFn op_load, op_store, op_atomic, op_load_uniform;
OpFn op_load_pointer; // a load that tells the checker what it loaded
OpFn op_cp_async;
// Matrices of a warp.
typedef enum { MATRIX_f16, MATRIX_bf16, MATRIX_tf32 } MatrixType;
OpFn op_mma, op_ldmatrix, op_stmatrix;

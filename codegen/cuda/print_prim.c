// The primitives of ir/scalar.h as CUDA C: exp, Philox and the rest are written once over these, so a
// GPU computes what the interpreter computes. Compiled with --fmad=false, + and * are IEEE 754 and
// stay apart; only P_FMA fuses. Both integer types are u32 in registers: arithmetic wraps, and the
// signed operations cast. Each primitive is one statement; the compiler removes what is computed twice.
#include "codegen/cuda/print.h"
#include <math.h>
#include <string.h>

const char *cu_register_type(Elem e) {
    ElemKind kind = (ElemKind)elem_info[e].kind;
    return kind == ELEM_FLOAT ? "float" : kind == ELEM_BOOL ? "bool" : "u32";
}
const char *cu_memory_type(Elem e) {
    if (elem_is_narrow(e)) return elem_info[e].name;
    return elem_info[e].bytes == 1 ? "u8" : cu_register_type(e);
}

SV cu_sv(Cu *p, CuVal v) {
    CuVal *copy = NEW(p->a, CuVal);
    *copy = v;
    return (SV){(uint64_t)(uintptr_t)copy};
}

CuVal cu_val(SV v) { return v.v ? *(const CuVal *)(uintptr_t)v.v : (CuVal){0}; }

CuVal cu_temp(Cu *p, Elem e, const char *text) {
    CuVal v = {arena_printf(p->a, "t%u", p->temps++), e};
    cu_line(p, "const %s %s = %s;", cu_register_type(e), v.text, text);
    return v;
}

// ---- constants

static const char *float_text(Cu *p, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (!isnormal(x) && x != 0) return arena_printf(p->a, "__uint_as_float(0x%08xu)", bits);
    const char *s = arena_printf(p->a, "%.9g", (double)x);
    if (!strpbrk(s, ".e")) s = arena_printf(p->a, "%s.0", s);
    return arena_printf(p->a, signbit(x) ? "(%sf)" : "%sf", s);
}

static SV constant_f32(void *user, float x) {
    return cu_sv(user, (CuVal){float_text(user, x), ELEM_f32});
}
static SV constant_i32(void *user, uint32_t x) {
    Cu *p = user;
    return cu_sv(p, (CuVal){arena_printf(p->a, x > 0xffff ? "0x%xu" : "%uu", x), ELEM_u32});
}
static SV constant_bool(void *user, bool x) {
    return cu_sv(user, (CuVal){x ? "true" : "false", ELEM_bool});
}

CuVal cu_const(Cu *p, Elem e, double value) {
    switch (elem_info[e].kind) {
    case ELEM_FLOAT: return cu_val(constant_f32(p, (float)value));
    case ELEM_BOOL: return cu_val(constant_bool(p, value != 0));
    default: return cu_val(constant_i32(p, (uint32_t)(int64_t)value));
    }
}

// ---- primitives

// How a primitive is spelled: %1, %2, %3 are the operands. to: 0 is the type of the last operand.
typedef struct {
    const char *form;
    Elem to;
} Spelling;

// clang-format off
static Spelling spelling(Prim op) {
    switch (op) {
    case P_FADD: return (Spelling){"%1 + %2", ELEM_f32};
    case P_FSUB: return (Spelling){"%1 - %2", ELEM_f32};
    case P_FMUL: return (Spelling){"%1 * %2", ELEM_f32};
    case P_FDIV: return (Spelling){"__fdiv_rn(%1, %2)", ELEM_f32};
    case P_FMA: return (Spelling){"__fmaf_rn(%1, %2, %3)", ELEM_f32};
    case P_FSQRT: return (Spelling){"__fsqrt_rn(%1)", ELEM_f32};
    case P_FNEG: return (Spelling){"-%1", ELEM_f32};
    case P_FABS: return (Spelling){"fabsf(%1)", ELEM_f32};
    case P_FLOOR: return (Spelling){"floorf(%1)", ELEM_f32};
    case P_RINT: return (Spelling){"rintf(%1)", ELEM_f32};
    case P_FMIN: return (Spelling){"min_nan(%1, %2)", ELEM_f32};
    case P_FMAX: return (Spelling){"max_nan(%1, %2)", ELEM_f32};
    case P_IADD: return (Spelling){"%1 + %2", ELEM_u32};
    case P_ISUB: return (Spelling){"%1 - %2", ELEM_u32};
    case P_IMUL: return (Spelling){"%1 * %2", ELEM_u32};
    case P_UMULHI: return (Spelling){"__umulhi(%1, %2)", ELEM_u32};
    case P_SDIV: return (Spelling){"(u32)((int)%1 / (int)%2)", ELEM_u32};
    case P_UDIV: return (Spelling){"%1 / %2", ELEM_u32};
    case P_SREM: return (Spelling){"(u32)((int)%1 %% (int)%2)", ELEM_u32};
    case P_UREM: return (Spelling){"%1 %% %2", ELEM_u32};
    case P_AND: return (Spelling){"%1 & %2", ELEM_u32};
    case P_OR: return (Spelling){"%1 | %2", ELEM_u32};
    case P_XOR: return (Spelling){"%1 ^ %2", ELEM_u32};
    case P_SHL: return (Spelling){"%1 << %2", ELEM_u32};
    case P_LSHR: return (Spelling){"%1 >> %2", ELEM_u32};
    case P_ASHR: return (Spelling){"(u32)((int)%1 >> %2)", ELEM_u32};
    case P_SMIN: return (Spelling){"(int)%1 < (int)%2 ? %1 : %2", ELEM_u32};
    case P_SMAX: return (Spelling){"(int)%1 > (int)%2 ? %1 : %2", ELEM_u32};
    case P_UMIN: return (Spelling){"%1 < %2 ? %1 : %2", ELEM_u32};
    case P_UMAX: return (Spelling){"%1 > %2 ? %1 : %2", ELEM_u32};
    case P_FLT: return (Spelling){"%1 < %2", ELEM_bool};
    case P_FLE: return (Spelling){"%1 <= %2", ELEM_bool};
    case P_FEQ: return (Spelling){"%1 == %2", ELEM_bool};
    case P_SLT: return (Spelling){"(int)%1 < (int)%2", ELEM_bool};
    case P_SLE: return (Spelling){"(int)%1 <= (int)%2", ELEM_bool};
    case P_ULT: return (Spelling){"%1 < %2", ELEM_bool};
    case P_ULE: return (Spelling){"%1 <= %2", ELEM_bool};
    case P_IEQ: return (Spelling){"%1 == %2", ELEM_bool};
    case P_BAND: return (Spelling){"%1 & %2", ELEM_bool};
    case P_BOR: return (Spelling){"%1 | %2", ELEM_bool};
    case P_BNOT: return (Spelling){"!%1", ELEM_bool};
    case P_BXOR: return (Spelling){"%1 != %2", ELEM_bool};
    case P_SELECT: return (Spelling){"%1 ? %2 : %3", ELEM_COUNT};
    case P_F2I_RAW: return (Spelling){"(u32)(int)%1", ELEM_u32};
    case P_I2F: return (Spelling){"(float)(int)%1", ELEM_f32};
    case P_U2F: return (Spelling){"(float)%1", ELEM_f32};
    case P_F2U_RAW: return (Spelling){"(u32)%1", ELEM_u32};
    case P_F2BITS: return (Spelling){"__float_as_uint(%1)", ELEM_u32};
    case P_BITS2F: return (Spelling){"__uint_as_float(%1)", ELEM_f32};
    case P_F2H: return (Spelling){"half_bits(%1)", ELEM_u32};
    case P_H2F: return (Spelling){"half_value(%1)", ELEM_f32};
    case P_B2I: return (Spelling){"(u32)%1", ELEM_u32};
    }
    unreachable(op);
}
// clang-format on

// The form with its operands in place.
static const char *spell(Cu *p, const char *form, const CuVal v[3]) {
    Text t = {.arena = p->a};
    for (; *form; form++) {
        if (*form != '%') {
            text_put(&t, form, 1);
        } else if (*++form == '%') {
            text_put(&t, "%", 1);
        } else {
            const char *operand = v[*form - '1'].text;
            text_put(&t, operand, strlen(operand));
        }
    }
    return t.at;
}

static SV prim(void *user, Prim op, SV a, SV b, SV c) {
    Cu *p = user;
    const CuVal v[3] = {cu_val(a), cu_val(b), cu_val(c)};
    Spelling s = spelling(op);
    Elem to = s.to == ELEM_COUNT ? v[1].elem : s.to;
    return cu_sv(p, cu_temp(p, to, spell(p, s.form, v)));
}

ScalarOps cu_scalar_ops(Cu *p) {
    return (ScalarOps){.user = p,
                       .prim = prim,
                       .f32 = constant_f32,
                       .i32 = constant_i32,
                       .boolean = constant_bool};
}

// ---- folds

CuVal cu_fold_step(Cu *p, uint32_t f, CuVal acc, CuVal x) {
    ReduceKind kind = (ReduceKind)p->k->folds.at[f].kind;
    return cu_val(scalar_fold(&p->ops, kind, kfold_elem(p->k, f), cu_sv(p, acc), cu_sv(p, x)));
}

CuVal cu_identity(Cu *p, uint32_t f) {
    return cu_val(
        scalar_identity(&p->ops, (ReduceKind)p->k->folds.at[f].kind, kfold_elem(p->k, f)));
}

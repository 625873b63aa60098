// The primitives of ir/scalar.h as LLVM instructions: exp, Philox and the rest are written once
// over these, so the native code computes what the interpreter computes. Operands may be scalars or
// vectors of any width; a scalar beside a vector is splatted. No fast-math flag is ever set, and
// only P_FMA fuses, so LLVM may not change a bit (NaN payloads aside, which IEEE leaves open).
#include "codegen/cpu/print.h"

LLVMTypeRef print_type(const Print *p, Elem e) {
    const LlvmUnit *u = p->u;
    return e == ELEM_bool ? u->t_i1 : elem_info[e].kind == ELEM_FLOAT ? u->t_f32 : u->t_i32;
}

LLVMTypeRef print_memory(const Print *p, Elem e) {
    switch (elem_info[e].bytes) {
    case 1: return p->u->t_i8;
    case 2: return p->u->t_i16;
    default: return print_type(p, e);
    }
}

LLVMValueRef print_const(const Print *p, Elem e, double value) {
    switch (elem_info[e].kind) {
    case ELEM_FLOAT: return llvm_f32(p->u, (float)value);
    case ELEM_BOOL: return LLVMConstInt(p->u->t_i1, value != 0, 0);
    default: return llvm_i32(p->u, (uint32_t)(int64_t)value);
    }
}

static unsigned width(LLVMValueRef v) {
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetVectorSize(t) : 0;
}

LLVMValueRef print_lanes(const Print *p, LLVMValueRef v) {
    return width(v) ? v : llvm_splat(p->u, v, VEC_LANES);
}

static LLVMTypeRef shaped(LLVMTypeRef scalar, LLVMValueRef like) {
    unsigned n = width(like);
    return n ? llvm_vec(scalar, n) : scalar;
}

LLVMValueRef print_from_memory(const Print *p, Elem e, LLVMValueRef v) {
    if (e == ELEM_bool)
        return LLVMBuildICmp(p->u->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
    if (!elem_is_narrow(e)) return v;
    v = LLVMBuildZExt(p->u->b, v, shaped(p->u->t_i32, v), "");
    return print_value(scalar_widen(&p->ops, e, print_sv(v)));
}

LLVMValueRef print_to_memory(const Print *p, Elem e, LLVMValueRef v) {
    if (e == ELEM_bool) return LLVMBuildZExt(p->u->b, v, shaped(p->u->t_i8, v), "");
    if (!elem_is_narrow(e)) return v;
    v = print_value(scalar_cut(&p->ops, e, print_sv(v)));
    return LLVMBuildTrunc(p->u->b, v, shaped(print_memory(p, e), v), "");
}

static LLVMValueRef call(const Print *p, const char *name, LLVMValueRef a, LLVMValueRef b,
                         LLVMValueRef c) {
    LLVMTypeRef type = LLVMTypeOf(a);
    LLVMValueRef args[] = {a, b, c};
    return llvm_intrinsic(p->u, name, &type, 1, args, c ? 3u : b ? 2u : 1u);
}

static LLVMValueRef high_product(const Print *p, LLVMValueRef a, LLVMValueRef b) {
    LLVMBuilderRef B = p->u->b;
    LLVMTypeRef narrow = LLVMTypeOf(a), wide = shaped(p->u->t_i64, a);
    LLVMValueRef x = LLVMBuildZExt(B, a, wide, ""), y = LLVMBuildZExt(B, b, wide, "");
    LLVMValueRef n = LLVMConstInt(p->u->t_i64, 32, 0);
    LLVMValueRef by = width(a) ? llvm_splat(p->u, n, width(a)) : n;
    return LLVMBuildTrunc(B, LLVMBuildLShr(B, LLVMBuildMul(B, x, y, ""), by, ""), narrow, "");
}

static LLVMValueRef reinterpret(const Print *p, LLVMValueRef a, LLVMTypeRef to) {
    return LLVMBuildBitCast(p->u->b, a, shaped(to, a), "");
}

// An f16 only passes by: vcvtps2ph and vcvtph2ps round and widen as the interpreter does, on every level
// that has AVX2.
static LLVMValueRef half_bits(const Print *p, LLVMValueRef a) {
    LLVMBuilderRef B = p->u->b;
    LLVMValueRef h = LLVMBuildFPTrunc(B, a, shaped(p->u->t_f16, a), "");
    h = LLVMBuildBitCast(B, h, shaped(p->u->t_i16, a), "");
    return LLVMBuildZExt(B, h, shaped(p->u->t_i32, a), "");
}

static LLVMValueRef half_value(const Print *p, LLVMValueRef a) {
    LLVMBuilderRef B = p->u->b;
    LLVMValueRef h = LLVMBuildTrunc(B, a, shaped(p->u->t_i16, a), "");
    h = LLVMBuildBitCast(B, h, shaped(p->u->t_f16, a), "");
    return LLVMBuildFPExt(B, h, shaped(p->u->t_f32, a), "");
}

static LLVMValueRef emit(const Print *p, Prim op, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    LLVMBuilderRef B = p->u->b;
    const LlvmUnit *u = p->u;
    switch (op) {
    case P_FADD: return LLVMBuildFAdd(B, a, b, "");
    case P_FSUB: return LLVMBuildFSub(B, a, b, "");
    case P_FMUL: return LLVMBuildFMul(B, a, b, "");
    case P_FDIV: return LLVMBuildFDiv(B, a, b, "");
    case P_FMA: return call(p, "llvm.fma", a, b, c);
    case P_FSQRT: return call(p, "llvm.sqrt", a, NULL, NULL);
    case P_FNEG: return LLVMBuildFNeg(B, a, "");
    case P_FABS: return call(p, "llvm.fabs", a, NULL, NULL);
    case P_FLOOR: return call(p, "llvm.floor", a, NULL, NULL);
    case P_RINT: return call(p, "llvm.roundeven", a, NULL, NULL);
    case P_FMIN: return call(p, "llvm.minimum", a, b, NULL);
    case P_FMAX: return call(p, "llvm.maximum", a, b, NULL);
    case P_IADD: return LLVMBuildAdd(B, a, b, "");
    case P_ISUB: return LLVMBuildSub(B, a, b, "");
    case P_IMUL: return LLVMBuildMul(B, a, b, "");
    case P_UMULHI: return high_product(p, a, b);
    case P_SDIV: return LLVMBuildSDiv(B, a, b, "");
    case P_UDIV: return LLVMBuildUDiv(B, a, b, "");
    case P_SREM: return LLVMBuildSRem(B, a, b, "");
    case P_UREM: return LLVMBuildURem(B, a, b, "");
    case P_AND: return LLVMBuildAnd(B, a, b, "");
    case P_OR: return LLVMBuildOr(B, a, b, "");
    case P_XOR: return LLVMBuildXor(B, a, b, "");
    case P_SHL: return LLVMBuildShl(B, a, b, "");
    case P_LSHR: return LLVMBuildLShr(B, a, b, "");
    case P_ASHR: return LLVMBuildAShr(B, a, b, "");
    case P_SMIN: return call(p, "llvm.smin", a, b, NULL);
    case P_SMAX: return call(p, "llvm.smax", a, b, NULL);
    case P_UMIN: return call(p, "llvm.umin", a, b, NULL);
    case P_UMAX: return call(p, "llvm.umax", a, b, NULL);
    case P_FLT: return LLVMBuildFCmp(B, LLVMRealOLT, a, b, "");
    case P_FLE: return LLVMBuildFCmp(B, LLVMRealOLE, a, b, "");
    case P_FEQ: return LLVMBuildFCmp(B, LLVMRealOEQ, a, b, "");
    case P_SLT: return LLVMBuildICmp(B, LLVMIntSLT, a, b, "");
    case P_SLE: return LLVMBuildICmp(B, LLVMIntSLE, a, b, "");
    case P_ULT: return LLVMBuildICmp(B, LLVMIntULT, a, b, "");
    case P_ULE: return LLVMBuildICmp(B, LLVMIntULE, a, b, "");
    case P_IEQ: return LLVMBuildICmp(B, LLVMIntEQ, a, b, "");
    case P_BAND: return LLVMBuildAnd(B, a, b, "");
    case P_BOR: return LLVMBuildOr(B, a, b, "");
    case P_BNOT: return LLVMBuildNot(B, a, "");
    case P_BXOR: return LLVMBuildXor(B, a, b, "");
    case P_SELECT: return LLVMBuildSelect(B, a, b, c, "");
    case P_F2I_RAW: return LLVMBuildFPToSI(B, a, shaped(u->t_i32, a), "");
    case P_I2F: return LLVMBuildSIToFP(B, a, shaped(u->t_f32, a), "");
    case P_U2F: return LLVMBuildUIToFP(B, a, shaped(u->t_f32, a), "");
    case P_F2U_RAW: return LLVMBuildFPToUI(B, a, shaped(u->t_i32, a), "");
    case P_F2BITS: return reinterpret(p, a, u->t_i32);
    case P_BITS2F: return reinterpret(p, a, u->t_f32);
    case P_F2H: return half_bits(p, a);
    case P_H2F: return half_value(p, a);
    case P_B2I: return LLVMBuildZExt(B, a, shaped(u->t_i32, a), "");
    }
    unreachable(op);
}

static SV prim(void *user, Prim op, SV a, SV b, SV c) {
    const Print *p = user;
    LLVMValueRef v[] = {print_value(a), print_value(b), print_value(c)};
    unsigned n = 0;
    for (int i = 0; i < 3; i++)
        if (v[i] && width(v[i]) > n) n = width(v[i]);
    for (int i = 0; i < 3; i++)
        if (v[i] && n && !width(v[i])) v[i] = llvm_splat(p->u, v[i], n);
    return print_sv(emit(p, op, v[0], v[1], v[2]));
}

static SV constant_f32(void *user, float x) { return print_sv(llvm_f32(((Print *)user)->u, x)); }
static SV constant_i32(void *user, uint32_t x) { return print_sv(llvm_i32(((Print *)user)->u, x)); }
static SV constant_bool(void *user, bool x) {
    return print_sv(LLVMConstInt(((Print *)user)->u->t_i1, x, 0));
}

ScalarOps print_scalar_ops(Print *p) {
    return (ScalarOps){.user = p,
                       .prim = prim,
                       .f32 = constant_f32,
                       .i32 = constant_i32,
                       .boolean = constant_bool};
}

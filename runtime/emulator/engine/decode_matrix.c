// Decodes ldmatrix, stmatrix and mma.sync: the shapes that all targets from sm_80 on have.
#include "runtime/emulator/engine/decode.h"
#include <string.h>

static const PtxOperand *vector_of(const Decoder *lo, const PtxOperand *o, uint32_t n) {
    if (n == 1 && o->kind == OPERAND_reg) return o;
    if (o->kind != OPERAND_vector || o->count != n) lower_error(lo, "a vector of another length");
    return o->list;
}

// .m16n8k16.row.col.f32.bf16.bf16.f32
static bool parse_mma(const char *t, uint32_t *type, uint32_t *depth) {
    static const struct {
        const char *shape, *types;
        uint8_t type, depth;
    } all[] = {{".m16n8k16", ".bf16", MATRIX_bf16, 16}, {".m16n8k16", ".f16", MATRIX_f16, 16},
               {".m16n8k8", ".bf16", MATRIX_bf16, 8},   {".m16n8k8", ".f16", MATRIX_f16, 8},
               {".m16n8k8", ".tf32", MATRIX_tf32, 8},   {".m16n8k4", ".tf32", MATRIX_tf32, 4}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const char *s = t;
        if (!form_word(&s, all[k].shape) || !form_word(&s, ".row") || !form_word(&s, ".col"))
            continue;
        if (!form_word(&s, ".f32") || !form_word(&s, all[k].types)) continue;
        if (!form_word(&s, all[k].types) || !form_word(&s, ".f32") || *s) continue;
        *type = all[k].type;
        *depth = all[k].depth;
        return true;
    }
    return false;
}

static bool lower_mma(Decoder *lo, const Instance *in, const PtxStmt *s, const char *t) {
    uint32_t type, depth;
    if (!form_word(&t, ".sync") || !form_word(&t, ".aligned") || !parse_mma(t, &type, &depth))
        return false;
    if (s->count != 4) lower_error(lo, "another number of operands");
    uint32_t b_regs = depth / (type == MATRIX_tf32 ? 4 : 8), count[4] = {4, 2 * b_regs, b_regs, 4};
    static const char kinds[4] = {'f', 'w', 'w', 'f'};
    VReg v[4][4];
    for (uint32_t k = 0; k < 4; k++) {
        const PtxOperand *o = vector_of(lo, &s->operands[k], count[k]);
        for (uint32_t j = 0; j < count[k]; j++)
            v[k][j] =
                k ? lower_read(lo, in, &o[j], kinds[k]) : lower_write(lo, in, &o[j], kinds[k]);
    }
    lower_emit(lo, op_mma)->aux = type | depth << 8;
    for (uint32_t j = 0; j < 4; j++) lower_result(lo, v[0][j]);
    for (uint32_t k = 1; k < 4; k++)
        for (uint32_t j = 0; j < count[k]; j++) lower_source(lo, v[k][j]);
    return true;
}

static VReg matrix_base(Decoder *lo, const Instance *in, const PtxOperand *o, Insn *how) {
    if (o->kind != OPERAND_address) lower_error(lo, "an address is needed");
    if (!o->has_reg) {
        StateSpace space = SPACE_shared;
        if (!o->var) return lower_constant(lo, CLASS_64, (uint64_t)o->value);
        VReg v = lower_symbol(lo, in, o, CLASS_64, &space);
        if (space != SPACE_shared) lower_error(lo, "the variable is in another space");
        return v;
    }
    VReg v = in->first_reg + o->reg;
    RegClass class = lower_class(lo, v);
    if (class != CLASS_32 && class != CLASS_64) lower_error(lo, "an address of another width");
    if (class == CLASS_32) how->flags |= MEM_narrow;
    how->offset = o->value;
    return v;
}

// .sync.aligned.m8n8.x4.trans.shared.b16
static bool lower_matrix_access(Decoder *lo, const Instance *in, const PtxStmt *s, const char *t,
                                bool load) {
    if (!form_word(&t, ".sync") || !form_word(&t, ".aligned") || !form_word(&t, ".m8n8"))
        return false;
    uint32_t n = form_word(&t, ".x1") ? 1 : form_word(&t, ".x2") ? 2 : form_word(&t, ".x4") ? 4 : 0;
    bool turned = form_word(&t, ".trans");
    if (!n || (!form_word(&t, ".shared") && !form_word(&t, ".shared::cta"))) return false;
    if (!form_word(&t, ".b16") || *t) return false;
    if (s->count != 2) lower_error(lo, "another number of operands");
    if (!load) lower_need_sm(lo, 90);
    Insn how = {.offset = 0};
    const PtxOperand *o = vector_of(lo, &s->operands[load ? 0 : 1], n);
    VReg base = matrix_base(lo, in, &s->operands[load ? 1 : 0], &how), v[4];
    for (uint32_t k = 0; k < n; k++)
        v[k] = load ? lower_write(lo, in, &o[k], 'w') : lower_read(lo, in, &o[k], 'w');
    Insn *i = lower_emit(lo, load ? op_ldmatrix : op_stmatrix);
    i->aux = turned;
    i->flags = how.flags;
    i->offset = how.offset;
    i->space = SPACE_shared;
    i->bytes = 16;
    if (!load) lower_source(lo, base);
    for (uint32_t k = 0; k < n; k++) {
        if (load)
            lower_result(lo, v[k]);
        else
            lower_source(lo, v[k]);
    }
    if (load) lower_source(lo, base);
    return true;
}

bool lower_matrix(Decoder *lo, const Instance *in, const PtxStmt *s) {
    const char *t = s->opcode;
    if (form_word(&t, "mma")) return lower_mma(lo, in, s, t);
    bool load = form_word(&t, "ldmatrix");
    return (load || form_word(&t, "stmatrix")) && lower_matrix_access(lo, in, s, t, load);
}

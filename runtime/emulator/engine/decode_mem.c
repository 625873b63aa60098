// Loads, stores, atomic updates, asynchronous copies and conversions: opcodes whose modifiers are too
// many for a table of whole forms. Modifiers must come in the order of the language; one that is not
// known here makes the instruction unknown.
#include "runtime/emulator/engine/decode.h"
#include <string.h>

// ---- types --------------------------------------------------------------------------------------

typedef struct {
    const char *word;
    uint8_t bytes;
    char kind; // u s b f; h: f16, B: bf16
} MemType;

static const MemType mem_types[] = {
    {".b8", 1, 'b'},  {".u8", 1, 'u'},  {".s8", 1, 's'},  {".b16", 2, 'b'},
    {".u16", 2, 'u'}, {".s16", 2, 's'}, {".f16", 2, 'h'}, {".bf16", 2, 'B'},
    {".b32", 4, 'b'}, {".u32", 4, 'u'}, {".s32", 4, 's'}, {".f32", 4, 'f'},
    {".b64", 8, 'b'}, {".u64", 8, 'u'}, {".s64", 8, 's'}, {".f64", 8, 'f'}};

static const MemType *take_type(const char **t) {
    for (size_t k = 0; k < sizeof mem_types / sizeof *mem_types; k++)
        if (form_word(t, mem_types[k].word)) return &mem_types[k];
    return NULL;
}

static bool take_one(const char **t, const char *const *words) {
    for (; *words; words++)
        if (form_word(t, *words)) return true;
    return false;
}

static StateSpace take_space(const char **t) {
    static const struct {
        const char *word;
        StateSpace space;
    } all[] = {{".global", SPACE_global},      {".shared", SPACE_shared},
               {".shared::cta", SPACE_shared}, {".local", SPACE_local},
               {".const", SPACE_const},        {".param", SPACE_param},
               {".param::entry", SPACE_param}, {".param::func", SPACE_param}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (form_word(t, all[k].word)) return all[k].space;
    return SPACE_generic;
}

// .weak, .volatile, .relaxed.scope ...; true: the access is strong.
static bool take_order(const char **t, const char *const *orders) {
    static const char *const scopes[] = {".cta", ".cluster", ".gpu", ".sys", NULL};
    if (form_word(t, ".weak")) return false;
    if (form_word(t, ".volatile")) return true;
    if (!take_one(t, orders)) return false;
    take_one(t, scopes);
    return true;
}

// Where a cache keeps the line: of no effect on values.
static void take_hints(const char **t) {
    static const char *const caches[] = {".ca", ".cg", ".cs", ".lu", ".cv",
                                         ".wb", ".wt", ".nc", NULL};
    static const char *const level1[] = {".L1::evict_normal", ".L1::evict_unchanged",
                                         ".L1::evict_first",  ".L1::evict_last",
                                         ".L1::no_allocate",  NULL};
    static const char *const level2[] = {".L2::evict_normal", ".L2::evict_first", ".L2::evict_last",
                                         NULL};
    static const char *const fetch[] = {".L2::64B", ".L2::128B", ".L2::256B", NULL};
    take_one(t, caches);
    take_one(t, level1);
    take_one(t, level2);
    take_one(t, fetch);
}

typedef struct {
    StateSpace space;
    bool strong;
    uint32_t lanes;
    const MemType *type;
} MemForm;

static bool parse_access(const char *t, MemForm *to) {
    static const char *const orders[] = {".relaxed", ".acquire", ".release", NULL};
    to->strong = take_order(&t, orders);
    to->space = take_space(&t);
    take_hints(&t);
    to->lanes = form_word(&t, ".v2") ? 2 : form_word(&t, ".v4") ? 4 : form_word(&t, ".v8") ? 8 : 1;
    to->type = take_type(&t);
    if (!to->type || *t) return false;
    // 256 bits at most, 128 before sm_100 (seen to by the caller).
    return to->lanes * to->type->bytes <= 32 && (to->lanes < 8 || to->type->bytes == 4);
}

// ---- addresses ----------------------------------------------------------------------------------

typedef struct {
    VReg base; // NO_VREG: the address is `offset`
    StateSpace space;
    int64_t offset;
    bool narrow;
} MemAddress;

static StateSpace agree(const Decoder *lo, StateSpace opcode, StateSpace var) {
    if (opcode == SPACE_generic) lower_error(lo, "a variable's own address is not a generic one");
    if (opcode != var && !(opcode == SPACE_param && var == SPACE_local))
        lower_error(lo, "the variable is in another space");
    return var;
}

static MemAddress read_address(Decoder *lo, const Instance *in, const PtxOperand *o,
                               StateSpace space) {
    MemAddress a = {.base = NO_VREG, .space = space, .offset = o->value};
    if (o->kind != OPERAND_address) lower_error(lo, "an address is needed");
    if (o->has_reg) {
        a.base = in->first_reg + o->reg;
        RegClass class = lower_class(lo, a.base);
        if (class != CLASS_64 && class != CLASS_32) lower_error(lo, "an address of another width");
        a.narrow = class == CLASS_32;
        if (space == SPACE_param && in->caller)
            lower_error(lo, "a computed address of a parameter");
    } else if (o->var && o->var->dynamic) {
        a.base = lower_symbol(lo, in, o, CLASS_64, &a.space);
        a.offset = 0;
        agree(lo, space, a.space);
    } else if (o->var) {
        a.offset += (int64_t)lower_address(lo, in, o->var, &a.space);
        agree(lo, space, a.space);
    }
    return a;
}

static Insn *emit_access(Decoder *lo, OpFn *fn, const MemForm *f, const MemAddress *a) {
    Insn *i = lower_emit(lo, fn);
    i->blend = false; // only writes lanes that are active
    i->space = (uint8_t)a->space;
    i->bytes = f->type->bytes;
    i->lanes = (uint8_t)f->lanes;
    i->offset = a->offset;
    i->flags = (uint8_t)((f->strong ? MEM_strong : 0) | (a->narrow ? MEM_narrow : 0));
    return i;
}

// The register that holds the address, or a constant that does.
static VReg base_register(Decoder *lo, MemAddress *a) {
    if (a->base != NO_VREG) return a->base;
    VReg v = lower_constant(lo, CLASS_64, (uint64_t)a->offset);
    a->offset = 0;
    return v;
}

static RegClass least_class(uint32_t bytes) {
    return bytes == 1 ? CLASS_8 : bytes == 2 ? CLASS_16 : bytes == 4 ? CLASS_32 : CLASS_64;
}

static const PtxOperand *elements(const Decoder *lo, const PtxOperand *o, uint32_t lanes) {
    if (lanes == 1 && o->kind != OPERAND_vector) return o;
    if (o->kind != OPERAND_vector || o->count != lanes)
        lower_error(lo, "a vector of another length");
    return o->list;
}

// ---- ld, st -------------------------------------------------------------------------------------

static void lower_load(Decoder *lo, const Instance *in, const PtxStmt *s, const MemForm *f) {
    if (s->count != 2) lower_error(lo, "another number of operands");
    const PtxOperand *d = elements(lo, s->operands, f->lanes);
    MemAddress a = read_address(lo, in, &s->operands[1], f->space);
    VReg to[8];
    bool half = false;
    for (uint32_t k = 0; k < f->lanes; k++) {
        to[k] = lower_write_any(lo, in, &d[k], least_class(f->type->bytes));
        if (lower_class(lo, to[k]) == CLASS_pred) lower_error(lo, "a load into a predicate");
        half = half || lower_class(lo, to[k]) <= CLASS_16;
        if (f->type->kind == 'f' && f->type->bytes == 4) lo->regs.at[to[k]].is_f32 = true;
    }
    bool uniform = a.base == NO_VREG && (a.space == SPACE_param || a.space == SPACE_const);
    VReg base = uniform ? NO_VREG : base_register(lo, &a);
    Insn *i = emit_access(lo, uniform ? op_load_uniform : op_load, f, &a);
    if (f->type->kind == 's') i->flags |= MEM_signed;
    if (half) i->aux = 16;
    i->blend = uniform; // that one writes all lanes
    for (uint32_t k = 0; k < f->lanes; k++) lower_result(lo, to[k]);
    if (!uniform) lower_source(lo, base);
}

static void lower_store(Decoder *lo, const Instance *in, const PtxStmt *s, const MemForm *f) {
    if (s->count != 2) lower_error(lo, "another number of operands");
    const PtxOperand *x = elements(lo, &s->operands[1], f->lanes);
    MemAddress a = read_address(lo, in, &s->operands[0], f->space);
    if (a.space == SPACE_const || a.space == SPACE_param) lower_error(lo, "a store into constants");
    bool f32 = f->type->kind == 'f' && f->type->bytes == 4, all_f32 = f->type->bytes == 4;
    VReg from[8], base = base_register(lo, &a);
    for (uint32_t k = 0; k < f->lanes; k++) {
        from[k] = lower_read_any(lo, in, &x[k], least_class(f->type->bytes), f32);
        if (lower_class(lo, from[k]) == CLASS_pred) lower_error(lo, "a store of a predicate");
        all_f32 = all_f32 && (f32 || lo->regs.at[from[k]].is_f32);
    }
    Insn *i = emit_access(lo, op_store, f, &a);
    if (all_f32) i->flags |= MEM_float;
    for (uint32_t k = 0; k < f->lanes; k++)
        if (lower_class(lo, from[k]) == CLASS_64) i->wide |= (uint8_t)(1 << k);
    if (i->wide && all_f32) i->flags &= (uint8_t)~MEM_float;
    lower_source(lo, base);
    for (uint32_t k = 0; k < f->lanes; k++) lower_source(lo, from[k]);
}

// ---- atom, red ----------------------------------------------------------------------------------

static bool parse_atomic(const char *t, MemForm *f, uint32_t *op) {
    static const char *const orders[] = {".relaxed", ".acquire", ".release", ".acq_rel", NULL};
    static const struct {
        const char *word;
        AtomicOp op;
        const char *kinds; // and widths
    } ops[] = {{".add", ATOMIC_add, "us"},   {".min", ATOMIC_min_u, "us"},
               {".max", ATOMIC_max_u, "us"}, {".and", ATOMIC_and, "b"},
               {".or", ATOMIC_or, "b"},      {".xor", ATOMIC_xor, "b"},
               {".exch", ATOMIC_exch, "b"},  {".cas", ATOMIC_cas, "b"},
               {".inc", ATOMIC_inc, "u"},    {".dec", ATOMIC_dec, "u"}};
    take_order(&t, orders);
    f->strong = true;
    f->lanes = 1;
    static const char *const scopes[] = {".cta", ".cluster", ".gpu", ".sys", NULL};
    take_one(&t, scopes); // a scope may stand without an order
    f->space = take_space(&t);
    size_t k = 0, n = sizeof ops / sizeof *ops;
    while (k < n && !form_word(&t, ops[k].word)) k++;
    if (k == n) return false;
    f->type = take_type(&t);
    if (!f->type || *t || f->type->bytes < 4 || !strchr(ops[k].kinds, f->type->kind)) return false;
    bool counts = ops[k].op == ATOMIC_inc || ops[k].op == ATOMIC_dec;
    if (counts && f->type->bytes != 4) return false;
    *op = ops[k].op;
    if (f->type->kind == 's' && *op == ATOMIC_min_u) *op = ATOMIC_min_s;
    if (f->type->kind == 's' && *op == ATOMIC_max_u) *op = ATOMIC_max_s;
    return true;
}

static bool lower_atomic(Decoder *lo, const Instance *in, const PtxStmt *s, const char *t,
                         bool red) {
    MemForm f;
    uint32_t op;
    if (!parse_atomic(t, &f, &op)) return false;
    uint32_t results = red ? 0 : 1;
    if (s->count != results + 2 + (op == ATOMIC_cas)) lower_error(lo, "another number of operands");
    char kind = f.type->bytes == 8 ? 'l' : 'w';
    const PtxOperand *o = s->operands;
    VReg d = red ? NO_VREG : lower_write(lo, in, o++, kind);
    MemAddress a = read_address(lo, in, o++, f.space);
    if (a.space != SPACE_generic && a.space != SPACE_global && a.space != SPACE_shared)
        return false;
    VReg base = base_register(lo, &a), b = lower_read(lo, in, o++, kind);
    VReg other = op == ATOMIC_cas ? lower_read(lo, in, o, kind) : NO_VREG;
    emit_access(lo, op_atomic, &f, &a)->aux = op;
    if (!red) lower_result(lo, d);
    lower_source(lo, base);
    lower_source(lo, b);
    if (other != NO_VREG) lower_source(lo, other);
    return true;
}

// ---- cp.async -----------------------------------------------------------------------------------

static VReg plus_offset(Decoder *lo, const MemAddress *a) {
    if (!a->offset) return a->base;
    VReg t = lower_temp(lo, CLASS_64), k = lower_constant(lo, CLASS_64, (uint64_t)a->offset);
    lower_emit(lo, op_add_l);
    lower_result(lo, t);
    lower_source(lo, a->base);
    lower_source(lo, k);
    return t;
}

static bool lower_async(Decoder *lo, const Instance *in, const PtxStmt *s, const char *t) {
    static const char *const fetch[] = {".L2::64B", ".L2::128B", ".L2::256B", NULL};
    bool all_levels = form_word(&t, ".ca");
    if (!all_levels && !form_word(&t, ".cg")) return false;
    if (!form_word(&t, ".shared") && !form_word(&t, ".shared::cta")) return false;
    if (!form_word(&t, ".global")) return false;
    take_one(&t, fetch);
    if (*t) return false;
    const PtxOperand *o = s->operands;
    if (s->count < 3 || s->count > 4 || o[2].kind != OPERAND_int) lower_error(lo, "other operands");
    int64_t n = o[2].value;
    if (n != 16 && (!all_levels || (n != 4 && n != 8)))
        lower_error(lo, "a size that is not copied");
    static const MemType types[] = {{"", 4, 'b'}, {"", 8, 'b'}, {"", 16, 'b'}};
    MemForm f = {.space = SPACE_shared, .lanes = 1, .type = &types[n == 4 ? 0 : n == 8 ? 1 : 2]};
    MemAddress to = read_address(lo, in, &o[0], SPACE_shared);
    MemAddress from = read_address(lo, in, &o[1], SPACE_global);
    if (from.narrow) lower_error(lo, "an address of another width");
    VReg base = base_register(lo, &to);
    if (from.base == NO_VREG) from.base = base_register(lo, &from);
    VReg source = plus_offset(lo, &from);
    VReg size =
        s->count == 4 ? lower_read(lo, in, &o[3], 'w') : lower_constant(lo, CLASS_32, (uint64_t)n);
    emit_access(lo, op_cp_async, &f, &to);
    lower_source(lo, base);
    lower_source(lo, source);
    lower_source(lo, size);
    return true;
}

// A prefetch changes nothing.
static bool lower_prefetch(const char *t) {
    static const char *const spaces[] = {".global", ".local", NULL};
    static const char *const levels[] = {".L1", ".L2", NULL};
    take_one(&t, spaces);
    return take_one(&t, levels) && !*t;
}

bool lower_memory(Decoder *lo, const Instance *in, const PtxStmt *s) {
    const char *t = s->opcode;
    MemForm f;
    bool load = form_word(&t, "ld");
    if (load || form_word(&t, "st")) {
        if (!parse_access(t, &f)) return false;
        if (f.lanes * f.type->bytes > 16) lower_need_sm(lo, 100);
        if (load)
            lower_load(lo, in, s, &f);
        else
            lower_store(lo, in, s, &f);
        return true;
    }
    bool red = form_word(&t, "red");
    if (red || form_word(&t, "atom")) return lower_atomic(lo, in, s, t, red);
    if (form_word(&t, "prefetch")) return lower_prefetch(t) && s->count == 1;
    if (form_word(&t, "cp") && form_word(&t, ".async")) return lower_async(lo, in, s, t);
    return false;
}

// ---- cvt ----------------------------------------------------------------------------------------

typedef struct {
    const MemType *to, *from;
    uint32_t rounding, whole; // Rounding, of the value and to a whole number
    bool ftz, sat;
} Cvt;

static bool is_int(const MemType *t) { return t->kind == 'u' || t->kind == 's'; }
static bool is_f32(const MemType *t) { return t->kind == 'f' && t->bytes == 4; }
static bool is_f64(const MemType *t) { return t->kind == 'f' && t->bytes == 8; }
static bool is_half(const MemType *t) { return t->kind == 'h' || t->kind == 'B'; }
static uint32_t width_of(uint32_t bytes) {
    return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
}

static bool parse_cvt(const char *t, Cvt *c) {
    static const struct {
        const char *word;
        Rounding how;
    } wholes[] = {{".rni", ROUND_rn}, {".rzi", ROUND_rz}, {".rmi", ROUND_rm}, {".rpi", ROUND_rp}};
    *c = (Cvt){.rounding = ROUND_none};
    if (!form_word(&t, "cvt")) return false;
    if (!form_rounding(&t, &c->rounding))
        for (size_t k = 0; k < 4 && !c->whole; k++)
            if (form_word(&t, wholes[k].word)) c->whole = wholes[k].how;
    c->ftz = form_word(&t, ".ftz");
    c->sat = form_word(&t, ".sat");
    c->to = take_type(&t);
    c->from = c->to ? take_type(&t) : NULL;
    return c->from && !*t;
}

static uint32_t cvt_aux(const Decoder *lo, const Cvt *c, VReg d) {
    uint32_t aux = c->rounding << AUX_ROUND | c->whole << CVT_INTEGER_ROUND;
    RegClass reg = lower_class(lo, d);
    if (is_int(c->from)) aux |= width_of(c->from->bytes) << CVT_FROM;
    if (c->from->kind == 's') aux |= 1u << CVT_FROM_SIGNED;
    if (is_int(c->to)) aux |= width_of(c->to->bytes) << CVT_TO;
    if (c->to->kind == 's') aux |= 1u << CVT_TO_SIGNED;
    if (c->sat) aux |= 1u << CVT_SAT;
    if (c->to->kind == 'B' || c->from->kind == 'B') aux |= 1u << CVT_BF16;
    return aux | (reg == CLASS_64   ? 3u
                  : reg == CLASS_32 ? 2u
                  : reg == CLASS_16 ? 1u
                                    : 0u)
                     << CVT_REG;
}

// The function for a pair of types whose roundings are those that the language wants; else NULL.
static OpFn *cvt_function(const Cvt *c) {
    const MemType *to = c->to, *from = c->from;
    bool plain = !c->rounding && !c->whole;
    if (c->ftz && !is_f32(to) && !is_f32(from)) return NULL;
    if (is_int(to) && is_int(from)) return plain ? op_cvt_int : NULL;
    if (is_int(to) && is_f32(from)) return c->whole ? op_cvt_f_int : NULL;
    if (is_int(to) && is_f64(from)) return c->whole ? op_cvt_d_int : NULL;
    if (is_f32(to) && is_int(from)) return c->rounding ? op_cvt_int_f : NULL;
    if (is_f64(to) && is_int(from)) return c->rounding ? op_cvt_int_d : NULL;
    if (is_f32(to) && is_f32(from)) return c->rounding ? NULL : op_cvt_f_f;
    if (is_f64(to) && is_f64(from)) return c->rounding || c->sat ? NULL : op_cvt_d_d;
    if (is_f64(to) && is_f32(from)) return plain && !c->sat ? op_cvt_d_f : NULL;
    if (is_f32(to) && is_f64(from)) return c->rounding ? op_cvt_f_d : NULL;
    bool narrows = c->rounding == ROUND_rn || c->rounding == ROUND_rz;
    if (is_half(to) && is_f32(from)) return narrows && !c->sat ? op_cvt_half_f : NULL;
    if (is_f32(to) && is_half(from)) return plain ? op_cvt_f_half : NULL;
    return NULL;
}

// Frequent conversions between integers and to s32 have functions of their own.
static OpFn *cvt_special(const Decoder *lo, const Cvt *c, OpFn *fn, VReg d, VReg a) {
    bool w_w = lower_class(lo, a) == CLASS_32, l_d = lower_class(lo, d) == CLASS_64;
    uint32_t to = c->to->bytes, from = c->from->bytes;
    if (fn == op_cvt_int && !c->sat && from == 4 && w_w && to == 8 && l_d)
        return c->from->kind == 's' ? op_cvt_l_sw : op_cvt_l_w;
    if (fn == op_cvt_int && !c->sat && from == 8 && to == 4 && lower_class(lo, d) == CLASS_32)
        return op_cvt_w_l;
    if (fn == op_cvt_f_int && to == 4 && c->to->kind == 's' && lower_class(lo, d) == CLASS_32) {
        if (c->whole == ROUND_rz) return op_cvt_s32_rz;
        if (c->whole == ROUND_rn) return op_cvt_s32_rn;
    }
    return fn;
}

static VReg cvt_step(Decoder *lo, OpFn *fn, VReg from) {
    VReg t = lower_temp(lo, CLASS_32);
    lower_emit(lo, fn);
    lower_result(lo, t);
    lower_source(lo, from);
    return t;
}

// Makes the last instruction write somewhere else, and this step write what it wrote.
static void append_step(Decoder *lo, OpFn *fn) {
    VReg t = lower_temp(lo, CLASS_32);
    Insn *i = &lo->insns.at[lo->insns.n - 1];
    VReg d = i->r[0];
    i->r[0] = t;
    lower_emit(lo, fn);
    lower_result(lo, d);
    lower_source(lo, t);
}

static RegClass cvt_class(const MemType *t) { return least_class(t->bytes); }

static void emit_cvt(Decoder *lo, const Cvt *c, OpFn *fn, VReg d, VReg a) {
    if (c->ftz && is_f32(c->from)) a = cvt_step(lo, op_flush, a);
    if (is_int(c->from) && c->from->bytes < 8 && lower_class(lo, a) == CLASS_64)
        a = cvt_step(lo, op_cvt_w_l, a);
    bool directed = c->rounding > ROUND_rn && !is_half(c->to);
    Insn *i = lower_emit(lo, directed ? op_rounded : cvt_special(lo, c, fn, d, a));
    i->inner = fn;
    i->aux = cvt_aux(lo, c, d);
    lower_result(lo, d);
    lower_source(lo, a);
    if (!is_f32(c->to)) return;
    lo->regs.at[d].is_f32 = true;
    if (c->ftz) append_step(lo, op_flush);
    if (c->sat) append_step(lo, op_sat);
}

// cvt.rn.bf16x2.f32 d, a, b
static bool lower_cvt_pair(Decoder *lo, const Instance *in, const PtxStmt *s) {
    const char *t = s->opcode;
    uint32_t rounding;
    if (!form_word(&t, "cvt") || !form_rounding(&t, &rounding) || rounding > ROUND_rz) return false;
    bool bf16 = form_word(&t, ".bf16x2");
    if ((!bf16 && !form_word(&t, ".f16x2")) || !form_word(&t, ".f32") || *t || s->count != 3)
        return false;
    VReg d = lower_write(lo, in, &s->operands[0], 'w');
    VReg a = lower_read(lo, in, &s->operands[1], 'f'), b = lower_read(lo, in, &s->operands[2], 'f');
    lower_emit(lo, op_cvt_half2)->aux = rounding << AUX_ROUND | (bf16 ? 1u << CVT_BF16 : 0);
    lower_result(lo, d);
    lower_source(lo, a);
    lower_source(lo, b);
    return true;
}

bool lower_convert(Decoder *lo, const Instance *in, const PtxStmt *s) {
    Cvt c;
    if (strncmp(s->opcode, "cvt.", 4)) return false;
    if (lower_cvt_pair(lo, in, s)) return true;
    if (!parse_cvt(s->opcode, &c) || s->count != 2) return false;
    OpFn *fn = cvt_function(&c);
    if (!fn) return false;
    if (is_half(c.to) || c.from->kind == 'B') lower_need_sm(lo, c.to->kind == 'B' ? 80 : 0);
    // Integers may stand in wider registers, floating-point numbers in their own width.
    VReg d = is_int(c.to) ? lower_write_any(lo, in, &s->operands[0], cvt_class(c.to))
                          : lower_write(lo, in, &s->operands[0],
                                        is_f64(c.to)    ? 'd'
                                        : is_half(c.to) ? 'h'
                                                        : 'f');
    VReg a = is_int(c.from) ? lower_read_any(lo, in, &s->operands[1], cvt_class(c.from), false)
                            : lower_read(lo, in, &s->operands[1],
                                         is_f64(c.from)    ? 'd'
                                         : is_half(c.from) ? 'h'
                                                           : 'f');
    if (lower_class(lo, d) == CLASS_pred || lower_class(lo, a) == CLASS_pred)
        lower_error(lo, "a conversion of a predicate");
    emit_cvt(lo, &c, fn, d, a);
    return true;
}

// Decodes a kernel: expands the device functions that it calls, cuts the statements into basic blocks
// and turns each statement into one or a few instructions.
//
// A basic block begins at a label, behind a branch, and at every instruction in which lanes meet:
// there the warp may have to wait for lanes that are elsewhere, and it can only wait between blocks.
// A guard on such an instruction becomes a branch around it.
#include "runtime/emulator/engine/decode.h"
#include <stdio.h>
#include <string.h>

enum { MAX_INSNS = 1 << 20, MAX_CALLS = 32, MAX_REGS = 1 << 21 };

_Noreturn void lower_error(const Decoder *lo, const char *what) {
    load_error(lo->l, lo->line, "%s: '%s'", what, lo->opcode);
}
void lower_need_sm(const Decoder *lo, uint32_t sm) {
    if (lo->m->sm < sm)
        load_error(lo->l, lo->line, "'%s' needs sm_%u, the module is for sm_%u", lo->opcode, sm,
                   lo->m->sm);
}

// ---- instructions and registers -----------------------------------------------------------------

Insn *lower_emit(Decoder *lo, OpFn *fn) {
    if (lo->insns.n == MAX_INSNS)
        load_error(lo->l, lo->line, "more than %d instructions", MAX_INSNS);
    Insn i = {.fn = fn, .line = lo->line, .blend = true};
    load_push(lo->l, &lo->insns, i);
    return &lo->insns.at[lo->insns.n - 1];
}
static Insn *last(Decoder *lo) { return &lo->insns.at[lo->insns.n - 1]; }

void lower_result(Decoder *lo, VReg v) {
    Insn *i = last(lo);
    RegClass class = lower_class(lo, v);
    if (class == CLASS_pred) i->preds |= (uint8_t)(1 << i->dsts);
    if (class == CLASS_64) i->wide |= (uint8_t)(1 << i->dsts);
    i->r[i->dsts++] = v;
}
void lower_source(Decoder *lo, VReg v) {
    Insn *i = last(lo);
    if (i->dsts + i->srcs == MAX_PLACES) lower_error(lo, "too many operands");
    i->r[i->dsts + i->srcs++] = v;
}
RegClass lower_class(const Decoder *lo, VReg v) { return (RegClass)lo->regs.at[v].class; }

static VReg new_register(Decoder *lo, Register r) {
    if (lo->regs.n == MAX_REGS) load_error(lo->l, lo->line, "more than %d registers", MAX_REGS);
    load_push(lo->l, &lo->regs, r);
    return lo->regs.n - 1;
}
VReg lower_temp(Decoder *lo, RegClass class) {
    return new_register(lo, (Register){.class = (uint8_t) class, .temp = true});
}

static uint32_t constant_hash(RegClass class, uint64_t value) {
    uint64_t h = (value ^ (uint64_t) class << 60) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}
static VReg *constant_slot(Decoder *lo, RegClass class, uint64_t value) {
    uint32_t k = constant_hash(class, value) & (lo->constant_cap - 1);
    for (; lo->constants[k] != NO_VREG; k = (k + 1) & (lo->constant_cap - 1)) {
        const Register *r = &lo->regs.at[lo->constants[k]];
        if (r->class == class && r->value == value) break;
    }
    return &lo->constants[k];
}
static void grow_constants(Decoder *lo) {
    const VReg *old = lo->constants;
    uint32_t n = lo->constant_cap;
    lo->constant_cap = n ? n * 2 : 64;
    lo->constants = LOAD_ARRAY(lo->l, VReg, lo->constant_cap);
    for (uint32_t k = 0; k < lo->constant_cap; k++) lo->constants[k] = NO_VREG;
    for (uint32_t k = 0; k < n; k++) {
        if (old[k] == NO_VREG) continue;
        const Register *r = &lo->regs.at[old[k]];
        *constant_slot(lo, (RegClass)r->class, r->value) = old[k];
    }
}
VReg lower_constant(Decoder *lo, RegClass class, uint64_t value) {
    if (class == CLASS_16) value &= 0xffff;
    if (class == CLASS_pred)
        value = value ? UINT32_MAX : 0;
    else if (class < CLASS_64)
        class = CLASS_32, value &= UINT32_MAX;
    if (lo->constant_count * 2 >= lo->constant_cap) grow_constants(lo);
    VReg *slot = constant_slot(lo, class, value);
    if (*slot != NO_VREG) return *slot;
    lo->constant_count++;
    VReg v =
        new_register(lo, (Register){.class = (uint8_t) class, .constant = true, .value = value});
    *constant_slot(lo, class, value) = v;
    return v;
}

// ---- addresses of variables ---------------------------------------------------------------------

static uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }

static uint64_t reserve(Decoder *lo, const PtxVar *v, uint64_t *used, uint64_t most) {
    uint64_t at = align_up(*used, v->align);
    if (v->bytes > most || at > most - v->bytes)
        load_error(lo->l, v->line, "'%s': more than %llu bytes of this space", v->name,
                   (unsigned long long)most);
    *used = at + v->bytes;
    return at;
}

// Variables get their place when they are first used, so that a kernel has only its own.
static uint64_t var_address(Decoder *lo, const Instance *in, const PtxVar *v) {
    enum { MAX_SHARED = 1 << 20, MAX_LOCAL = 1 << 19 };
    bool *placed = v->module ? &lo->shared_placed[v->number] : &in->has_address[v->number];
    uint64_t *at = v->module ? &lo->shared_address[v->number] : &in->vars[v->number];
    if (*placed) return *at;
    *placed = true;
    *at = v->space == SPACE_shared ? reserve(lo, v, &lo->shared_bytes, MAX_SHARED)
                                   : reserve(lo, v, &lo->local_bytes, MAX_LOCAL);
    return *at;
}

uint64_t lower_address(Decoder *lo, const Instance *in, const PtxVar *v, StateSpace *space) {
    *space = (StateSpace)v->space;
    if (v->entry) return v->address;
    if (v->formal) {
        *space = SPACE_local;
        return in->formals[v->number];
    }
    if (v->space == SPACE_param) *space = SPACE_local; // arguments of a call
    if (v->space == SPACE_global || v->space == SPACE_const) return v->address;
    return var_address(lo, in, v);
}

// Dynamic shared memory starts behind all static variables: place_registers adds where that is.
VReg lower_symbol(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass class,
                  StateSpace *space) {
    if (!o->var->dynamic) {
        uint64_t at = lower_address(lo, in, o->var, space) + (uint64_t)o->value;
        VReg v = lower_constant(lo, class, at);
        lo->regs.at[v].symbol |= *space == SPACE_global;
        return v;
    }
    *space = SPACE_shared;
    if (o->var->align > lo->dynamic_align) lo->dynamic_align = o->var->align;
    return new_register(lo, (Register){.class = (uint8_t) class,
                                       .constant = true,
                                       .dynamic = true,
                                       .value = (uint64_t)o->value});
}

// ---- operands -----------------------------------------------------------------------------------

static RegClass class_of(char kind) {
    switch (kind) {
    case 'p': return CLASS_pred;
    case 'h': return CLASS_16;
    case 'l':
    case 'd': return CLASS_64;
    default: return CLASS_32;
    }
}

static VReg special_register(Decoder *lo, const char *name) {
    static const char *const names[SPECIAL_COUNT] = {
#define SPECIAL(id, text, own) text,
#include "runtime/emulator/engine/special.def"
#undef SPECIAL
    };
    for (uint32_t k = 0; k < SPECIAL_COUNT; k++) {
        if (strcmp(name, names[k])) continue;
        if (lo->specials[k] == NO_VREG)
            lo->specials[k] = new_register(
                lo, (Register){.class = CLASS_32, .special = true, .lasting = true, .value = k});
        return lo->specials[k];
    }
    load_error(lo->l, lo->line, "unknown register or symbol '%s'", name);
}

static uint64_t immediate(const Decoder *lo, const PtxOperand *o, char kind) {
    double d;
    memcpy(&d, &o->value, 8);
    float f = (float)d;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (o->kind == OPERAND_float && kind == 'f') return bits;
    if (o->kind == OPERAND_float && (kind == 'd' || kind == 'l')) return (uint64_t)o->value;
    if (o->kind == OPERAND_f32 && (kind == 'f' || kind == 'w')) return (uint64_t)o->value;
    if (o->kind == OPERAND_int) {
        if (kind == 'f' || kind == 'd')
            lower_error(lo, "a whole number for a floating-point operand");
        return (uint64_t)o->value;
    }
    lower_error(lo, "a constant of another type than the operand");
}

VReg lower_read(Decoder *lo, const Instance *in, const PtxOperand *o, char kind) {
    RegClass class = class_of(kind);
    if (o->negated && kind != 'p') lower_error(lo, "'!' before what is no predicate");
    if (o->pair) lower_error(lo, "a pair where one operand is needed");
    switch ((OperandKind)o->kind) {
    case OPERAND_reg: {
        VReg v = in->first_reg + o->reg;
        if (kind == 'i') lower_error(lo, "a register where a constant is needed");
        if (lower_class(lo, v) != class) lower_error(lo, "an operand of another width");
        if (!o->negated) return v;
        VReg t = lower_temp(lo, CLASS_pred);
        lower_emit(lo, op_not_p);
        lower_result(lo, t);
        lower_source(lo, v);
        return t;
    }
    case OPERAND_int:
    case OPERAND_float:
    case OPERAND_f32: return lower_constant(lo, class, immediate(lo, o, kind));
    case OPERAND_special:
        if (kind != 'w') lower_error(lo, "a special register where another width is needed");
        return special_register(lo, o->name);
    case OPERAND_symbol: {
        StateSpace space;
        if (kind != 'l' && kind != 'w') break;
        if (o->var->formal) lower_error(lo, "the address of a device function's parameter");
        return lower_symbol(lo, in, o, class, &space);
    }
    case OPERAND_label:
    case OPERAND_sink:
    case OPERAND_vector:
    case OPERAND_address:
    case OPERAND_targets:
    case OPERAND_func:
    case OPERAND_list: break;
    }
    lower_error(lo, "an operand of the wrong kind");
}

VReg lower_write(Decoder *lo, const Instance *in, const PtxOperand *o, char kind) {
    RegClass class = class_of(kind);
    if (o->kind == OPERAND_sink) return lower_temp(lo, class);
    if (o->kind != OPERAND_reg || o->negated) lower_error(lo, "the result is not a register");
    VReg v = in->first_reg + o->reg;
    if (lower_class(lo, v) != class) lower_error(lo, "a result of another width");
    if (kind == 'f') lo->regs.at[v].is_f32 = true;
    return v;
}

VReg lower_read_any(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass least,
                    bool f32) {
    if (o->kind == OPERAND_reg) {
        VReg v = in->first_reg + o->reg;
        if (o->negated || lower_class(lo, v) < least || lower_class(lo, v) == CLASS_128)
            lower_error(lo, "an operand that is too narrow");
        return v;
    }
    if (least == CLASS_64) return lower_read(lo, in, o, o->kind == OPERAND_float ? 'd' : 'l');
    return lower_read(lo, in, o, f32 ? 'f' : least == CLASS_32 ? 'w' : 'h');
}

VReg lower_write_any(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass least) {
    if (o->kind == OPERAND_sink) return lower_temp(lo, least < CLASS_64 ? CLASS_32 : CLASS_64);
    if (o->kind != OPERAND_reg || o->negated) lower_error(lo, "the result is not a register");
    VReg v = in->first_reg + o->reg;
    if (lower_class(lo, v) < least || lower_class(lo, v) == CLASS_128)
        lower_error(lo, "a result that is too narrow");
    return v;
}

// ---- basic blocks -------------------------------------------------------------------------------

static BasicBlock *current(Decoder *lo) { return &lo->blocks.at[lo->blocks.n - 1]; }

static bool block_is_empty(Decoder *lo) { return current(lo)->first == lo->insns.n && !lo->ptx; }

// Ends the basic block and begins the next one. The end is filled in by the caller before.
static void begin_block(Decoder *lo) {
    if (lo->blocks.n) {
        BasicBlock *b = current(lo);
        b->count = lo->insns.n - b->first;
        b->ptx = lo->ptx;
        if (!b->line) b->line = lo->line;
    }
    lo->ptx = 0;
    BasicBlock b = {.first = lo->insns.n};
    load_push(lo->l, &lo->blocks, b);
}

static void add_fixup(Decoder *lo, uint32_t statement, uint32_t index) {
    Fixup f = {lo->blocks.n - 1, statement, index};
    load_push(lo->l, &lo->fixups, f);
}

static void set_guard(Decoder *lo, const Instance *in, const PtxStmt *s, bool turned) {
    BasicBlock *b = current(lo);
    b->guarded = s->guard != 0;
    if (!b->guarded) return;
    b->guard = in->first_reg + s->guard - 1;
    b->guard_not = s->guard_not != turned;
}

// ---- control flow -------------------------------------------------------------------------------

static void lower_branch(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (s->count != 1 || s->operands->kind != OPERAND_label)
        lower_error(lo, "a branch needs a label");
    set_guard(lo, in, s, false);
    current(lo)->end = END_branch;
    add_fixup(lo, s->operands->label, UINT32_MAX);
    begin_block(lo);
}

// Lanes for which the guard does not hold go around what follows. Returns the block to complete.
static uint32_t skip_unless(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (!s->guard) return UINT32_MAX;
    uint32_t from = lo->blocks.n - 1;
    set_guard(lo, in, s, true);
    current(lo)->end = END_branch;
    begin_block(lo);
    return from;
}
static void skip_to_here(Decoder *lo, uint32_t from) {
    if (from != UINT32_MAX) lo->blocks.at[from].target = lo->blocks.n - 1;
}

static void lower_indexed(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (s->count != 2 || s->operands[1].kind != OPERAND_targets)
        lower_error(lo, "an indexed branch needs a list of targets");
    uint32_t from = skip_unless(lo, in, s);
    const PtxOperand *list = &s->operands[1];
    VReg index = lower_read(lo, in, s->operands, 'w');
    BasicBlock *b = current(lo);
    b->end = END_index;
    b->index = index;
    b->target_count = list->count;
    b->targets = LOAD_ARRAY(lo->l, uint32_t, list->count);
    for (uint32_t k = 0; k < list->count; k++) add_fixup(lo, list->list[k].label, k);
    begin_block(lo);
    skip_to_here(lo, from);
}

static void lower_end(Decoder *lo, const Instance *in, const PtxStmt *s, EndKind end) {
    set_guard(lo, in, s, false);
    current(lo)->end = (uint8_t)end;
    begin_block(lo);
}

// ret of a device function: on to behind the call, which is patched in lower_call.
static void lower_return(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (!in->caller) {
        lower_end(lo, in, s, END_exit);
        return;
    }
    set_guard(lo, in, s, false);
    current(lo)->end = END_branch;
    add_fixup(lo, in->func->stmts.n, UINT32_MAX);
    begin_block(lo);
}

static void lower_function(Decoder *lo, Instance *in);

static uint64_t argument_address(Decoder *lo, const Instance *in, const PtxOperand *o,
                                 const PtxVar *formal) {
    StateSpace space;
    if (o->kind != OPERAND_symbol || o->value || (o->var->space != SPACE_param) || o->var->entry)
        lower_error(lo, "an argument of a call that is not a .param variable");
    if (o->var->bytes != formal->bytes)
        lower_error(lo, "an argument of another size than the parameter");
    return lower_address(lo, in, o->var, &space);
}

static void lower_arguments(Decoder *lo, const Instance *in, const PtxOperand *list, uint32_t want,
                            PtxVar *const *formals, uint64_t *to) {
    uint32_t n = list ? list->count : 0;
    if (n != want) lower_error(lo, "another number of arguments than the function has");
    for (uint32_t k = 0; k < n; k++) to[k] = argument_address(lo, in, &list->list[k], formals[k]);
}

static void lower_call(Decoder *lo, Instance *in, const PtxStmt *s) {
    uint32_t k = 0;
    const PtxOperand *o = s->operands, *results = NULL, *args = NULL;
    if (k < s->count && o[k].kind == OPERAND_list) results = &o[k++];
    if (k == s->count || o[k].kind != OPERAND_func)
        lower_error(lo, "a call of something that is not a function of the module");
    PtxFunc *f = o[k++].func;
    if (k < s->count && o[k].kind == OPERAND_list) args = &o[k++];
    if (k != s->count) lower_error(lo, "operands that a direct call does not have");
    if (!f->defined || f->entry)
        load_error(lo->l, lo->line, "function '%s' has no body in this module", f->name);
    if (f->busy) load_error(lo->l, lo->line, "function '%s' calls itself", f->name);
    if (in->depth == MAX_CALLS)
        load_error(lo->l, lo->line, "more than %d calls in each other", MAX_CALLS);
    uint32_t from = skip_unless(lo, in, s);
    uint64_t *formals = LOAD_ARRAY(lo->l, uint64_t, f->results.n + f->params.n);
    lower_arguments(lo, in, results, f->results.n, f->results.at, formals);
    lower_arguments(lo, in, args, f->params.n, f->params.at, formals + f->results.n);
    Instance callee = {.func = f, .formals = formals, .caller = in, .depth = in->depth + 1};
    f->busy = true;
    begin_block(lo);
    lower_function(lo, &callee);
    f->busy = false;
    skip_to_here(lo, from);
}

// ---- barriers -----------------------------------------------------------------------------------

typedef struct {
    BarrierOp op;
    bool aligned;
} BarrierForm;

static bool parse_barrier(const char *t, BarrierForm *to) {
    static const struct {
        const char *word;
        BarrierOp op;
    } reductions[] = {{".popc", BARRIER_popc}, {".and", BARRIER_and}, {".or", BARRIER_or}};
    bool bar = form_word(&t, "bar");
    if (!bar && !form_word(&t, "barrier")) return false;
    form_word(&t, ".cta");
    bool reduces = false;
    if (form_word(&t, ".sync")) {
        to->op = BARRIER_sync;
    } else if (form_word(&t, ".arrive")) {
        to->op = BARRIER_arrive;
    } else if (form_word(&t, ".red")) {
        reduces = true;
        size_t k = 0;
        while (k < 3 && !form_word(&t, reductions[k].word)) k++;
        if (k == 3) return false;
        to->op = reductions[k].op;
    } else {
        return false;
    }
    to->aligned = bar || form_word(&t, ".aligned");
    if (reduces && !form_word(&t, to->op == BARRIER_popc ? ".u32" : ".pred")) return false;
    return !*t;
}

static bool lower_barrier(Decoder *lo, const Instance *in, const PtxStmt *s) {
    BarrierForm form;
    if (!parse_barrier(s->opcode, &form)) return false;
    bool reduces = form.op != BARRIER_sync && form.op != BARRIER_arrive;
    const PtxOperand *o = s->operands;
    uint32_t n = s->count, least = reduces ? 3 : form.op == BARRIER_arrive ? 2 : 1;
    if (n < least || n > (reduces ? 4u : 2u)) lower_error(lo, "another number of operands");
    uint32_t from = skip_unless(lo, in, s);
    BasicBlock b = {.end = END_barrier, .barrier = (uint8_t)form.op, .aligned = form.aligned};
    if (reduces) {
        b.result = lower_write(lo, in, o, form.op == BARRIER_popc ? 'w' : 'p');
        lo->regs.at[b.result].lasting = true;
        b.predicate = lower_read(lo, in, &o[n - 1], 'p');
        o++, n -= 2;
    }
    b.barrier_id = lower_read(lo, in, o, 'w');
    b.counted = n == 2;
    b.barrier_threads = b.counted ? lower_read(lo, in, &o[1], 'w') : b.barrier_id;
    BasicBlock *to = current(lo);
    b.first = to->first;
    b.line = lo->line;
    *to = b;
    begin_block(lo);
    skip_to_here(lo, from);
    return true;
}

// ---- mov ----------------------------------------------------------------------------------------

static uint32_t class_bits(RegClass class) {
    static const uint32_t bits[] = {1, 8, 16, 32, 64, 128};
    return bits[class];
}

static RegClass element_class(Decoder *lo, uint32_t bits, uint32_t n) {
    if (n == 2 && bits == 64) return CLASS_32;
    if (n * 16 == bits) return CLASS_16;
    if (n * 8 == bits) return CLASS_8;
    lower_error(lo, "a vector that does not fill the register");
}

static VReg read_part(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass class) {
    if (o->kind == OPERAND_int) return lower_constant(lo, CLASS_32, (uint64_t)o->value);
    if (o->kind == OPERAND_f32 && class == CLASS_32)
        return lower_constant(lo, class, (uint64_t)o->value);
    VReg v = lower_read_any(lo, in, o, class, false);
    if (lower_class(lo, v) != class && !(class == CLASS_8 && lower_class(lo, v) == CLASS_16))
        lower_error(lo, "a part of another width");
    return v;
}

// mov.b32 d, {a, b} and mov.b64 {a, b}, d
static bool lower_mov_vector(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (s->count != 2) return false;
    const PtxOperand *d = &s->operands[0], *a = &s->operands[1];
    bool pack = a->kind == OPERAND_vector, unpack = d->kind == OPERAND_vector;
    if (pack == unpack) return false;
    const char *t = s->opcode + 3;
    uint32_t bits = form_word(&t, ".b64")   ? 64
                    : form_word(&t, ".b32") ? 32
                    : form_word(&t, ".b16") ? 16
                                            : 0;
    if (!bits || *t) return false;
    const PtxOperand *v = pack ? a : d, *whole = pack ? d : a;
    RegClass class = element_class(lo, bits, v->count);
    char kind = bits == 64 ? 'l' : bits == 32 ? 'w' : 'h';
    VReg parts[8], w = pack ? NO_VREG : lower_read(lo, in, whole, kind);
    for (uint32_t k = 0; k < v->count; k++)
        parts[k] = pack ? read_part(lo, in, &v->list[k], class)
                        : lower_write_any(lo, in, &v->list[k], class);
    if (pack) w = lower_write(lo, in, whole, kind);
    lower_emit(lo, pack ? op_mov_pack : op_mov_unpack)->aux = class_bits(class);
    if (pack) lower_result(lo, w);
    for (uint32_t k = 0; k < v->count; k++) {
        if (pack) {
            lower_source(lo, parts[k]);
            continue;
        }
        if (lower_class(lo, parts[k]) > CLASS_32) lower_error(lo, "a part of another width");
        lower_result(lo, parts[k]);
    }
    if (unpack) lower_source(lo, w);
    return true;
}

static bool lower_mov_clock(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (s->count != 2 || s->operands[1].kind != OPERAND_special) return false;
    const char *t = s->opcode + 3, *name = s->operands[1].name;
    bool wide = form_word(&t, ".u64");
    if ((!wide && !form_word(&t, ".u32")) || *t) return false;
    if (strcmp(name, wide ? "%clock64" : "%clock") && !(wide && !strcmp(name, "%globaltimer")))
        return false;
    VReg d = lower_write(lo, in, s->operands, wide ? 'l' : 'w');
    lower_emit(lo, wide ? op_clock_l : op_clock_w);
    lower_result(lo, d);
    return true;
}

// ---- forms of the table -------------------------------------------------------------------------

static VReg flushed(Decoder *lo, VReg v) {
    Register *r = &lo->regs.at[v];
    if (r->constant && r->value & 0x7f800000) return v;
    VReg t = lower_temp(lo, CLASS_32);
    lower_emit(lo, op_flush);
    lower_result(lo, t);
    lower_source(lo, v);
    return t;
}

// What is to be done with a result after the instruction proper.
typedef struct {
    VReg raw, to;
    OpFn *first, *second; // may be NULL
} After;

static void emit_after(Decoder *lo, const After *a) {
    VReg from = a->raw;
    OpFn *steps[2] = {a->first, a->second};
    for (int k = 0; k < 2; k++) {
        if (!steps[k]) continue;
        bool is_last = k == 1 || !steps[1];
        VReg to = is_last ? a->to : lower_temp(lo, CLASS_32);
        lower_emit(lo, steps[k]);
        lower_result(lo, to);
        lower_source(lo, from);
        from = to;
    }
}

static VReg result_of(Decoder *lo, const Instance *in, const PtxOperand *o, char kind,
                      const Form *f, After *after) {
    if (kind == 'S' || kind == 'T') {
        *after =
            (After){lower_temp(lo, CLASS_pred), lower_write(lo, in, o, kind == 'T' ? 'f' : 'w'),
                    kind == 'S' ? op_set_w : op_set_f, NULL};
        return after->raw;
    }
    VReg to = lower_write(lo, in, o, kind);
    if (kind != 'f' || (!f->ftz && !f->sat)) return to;
    *after = (After){lower_temp(lo, CLASS_32), to, f->ftz ? op_flush : op_sat,
                     f->ftz && f->sat ? op_sat : NULL};
    return after->raw;
}

static void lower_form(Decoder *lo, const Instance *in, const PtxStmt *s, const Form *f) {
    const PtxOperand *o = s->operands;
    VReg results[4], sources[8];
    uint32_t dsts = 0, srcs = 0;
    After after = {NO_VREG, NO_VREG, NULL, NULL};
    const char *sig = f->signature;
    const PtxOperand *pair = NULL;
    for (; *sig != ':'; sig++) {
        if (*sig == 'q') {
            results[dsts++] = pair ? lower_write(lo, in, pair, 'p') : lower_temp(lo, CLASS_pred);
            pair = NULL;
            continue;
        }
        pair = o->pair;
        results[dsts++] = result_of(lo, in, o++, *sig, f, &after);
        if (pair && sig[1] != 'q') lower_error(lo, "a pair where one result is needed");
        if (*sig == 'S' || *sig == 'T') results[dsts++] = lower_temp(lo, CLASS_pred);
    }
    for (sig++; *sig; sig++) {
        if (*sig == '?' && !f->combines) continue;
        VReg v = lower_read(lo, in, o++, *sig == '?' ? 'p' : *sig);
        sources[srcs++] = f->ftz && *sig == 'f' ? flushed(lo, v) : v;
    }
    Insn *i = lower_emit(lo, f->fn);
    i->aux = f->aux;
    if ((f->aux >> AUX_ROUND & 15) > ROUND_rn) i->inner = f->fn, i->fn = op_rounded;
    for (uint32_t k = 0; k < dsts; k++) lower_result(lo, results[k]);
    for (uint32_t k = 0; k < srcs; k++) lower_source(lo, sources[k]);
    if (after.first) emit_after(lo, &after);
}

// Instructions that need the whole warp, without a member mask.
static bool needs_warp(const char *opcode) {
    return !strncmp(opcode, "mma.", 4) || !strncmp(opcode, "ldmatrix.", 9) ||
           !strncmp(opcode, "stmatrix.", 9);
}

static bool is_meeting(const char *opcode) {
    if (needs_warp(opcode)) return true;
    static const char *const bases[] = {"shfl", "vote", "match", "redux", "elect", "bar.warp"};
    for (size_t k = 0; k < sizeof bases / sizeof *bases; k++) {
        size_t n = strlen(bases[k]);
        if (!strncmp(opcode, bases[k], n) && opcode[n] == '.') return true;
    }
    return false;
}

// Opcodes that would make results depend on the order of threads.
static void refuse_float_atomics(const Decoder *lo, const char *opcode) {
    bool atomic = !strncmp(opcode, "atom.", 5) || !strncmp(opcode, "red.", 4);
    if (atomic && (strstr(opcode, ".f32") || strstr(opcode, ".f64") || strstr(opcode, ".f16") ||
                   strstr(opcode, ".bf16")))
        lower_error(lo,
                    "atomic updates of floating-point numbers depend on the order of threads and "
                    "are not allowed");
}

// A kernel has a few dozen spellings; the table is walked once for most of them.
static bool find_form(Decoder *lo, const PtxStmt *s, Form *f) {
    uint32_t k = (uint32_t)((uintptr_t)s->opcode >> 4) % 64;
    if (lo->recent[k].opcode != s->opcode || lo->recent[k].operands != s->count) {
        if (!form_find(s->opcode, s->count, &lo->recent[k].form)) return false;
        lo->recent[k].opcode = s->opcode;
        lo->recent[k].operands = s->count;
    }
    *f = lo->recent[k].form;
    return true;
}

static void lower_plain(Decoder *lo, const Instance *in, const PtxStmt *s) {
    Form f;
    bool mov = !strncmp(s->opcode, "mov.", 4);
    if (mov && (lower_mov_vector(lo, in, s) || lower_mov_clock(lo, in, s))) return;
    if (lower_memory(lo, in, s) || lower_convert(lo, in, s) || lower_matrix(lo, in, s)) return;
    if (!find_form(lo, s, &f)) {
        refuse_float_atomics(lo, s->opcode);
        lower_error(lo, "unknown instruction or operands");
    }
    lower_need_sm(lo, f.sm);
    lower_form(lo, in, s, &f);
}

// The instruction in which lanes meet stands alone at the start of a basic block.
static void lower_meeting(Decoder *lo, const Instance *in, const PtxStmt *s) {
    if (!s->count) lower_error(lo, "no operands");
    uint32_t from = skip_unless(lo, in, s);
    VReg members = needs_warp(s->opcode) ? lower_constant(lo, CLASS_32, ALL_LANES)
                                         : lower_read(lo, in, &s->operands[s->count - 1], 'w');
    if (!block_is_empty(lo)) begin_block(lo);
    lower_plain(lo, in, s);
    lo->ptx++;
    BasicBlock *b = current(lo);
    b->meets = true;
    b->members = members;
    if (from == UINT32_MAX) return;
    begin_block(lo);
    skip_to_here(lo, from);
}

// Steps on the way to a result need no guard: what they write is read by this statement alone.
static bool is_step(const Decoder *lo, const Insn *i) {
    if (!i->dsts || i->bytes) return false;
    for (uint32_t k = 0; k < i->dsts; k++)
        if (!lo->regs.at[i->r[k]].temp) return false;
    return true;
}

static void lower_guarded(Decoder *lo, const Instance *in, const PtxStmt *s) {
    uint32_t first = lo->insns.n;
    lower_plain(lo, in, s);
    lo->ptx++;
    for (uint32_t k = first; s->guard && k < lo->insns.n; k++) {
        Insn *i = &lo->insns.at[k];
        if (is_step(lo, i)) continue;
        i->guarded = true;
        i->guard = in->first_reg + s->guard - 1;
        i->guard_not = s->guard_not;
    }
}

static void lower_statement(Decoder *lo, Instance *in, const PtxStmt *s) {
    const char *t = s->opcode;
    lo->line = s->line;
    lo->opcode = t;
    bool is_call = !strcmp(t, "call") || !strcmp(t, "call.uni");
    if (!strcmp(t, "bra") || !strcmp(t, "bra.uni"))
        lo->ptx++, lower_branch(lo, in, s);
    else if (!strcmp(t, "brx.idx") || !strcmp(t, "brx.idx.uni"))
        lo->ptx++, lower_indexed(lo, in, s);
    else if (is_call)
        lo->ptx++, lower_call(lo, in, s);
    else if (!strcmp(t, "ret") || !strcmp(t, "ret.uni"))
        lo->ptx++, lower_return(lo, in, s);
    else if (!strcmp(t, "exit"))
        lo->ptx++, lower_end(lo, in, s, END_exit);
    else if (!strcmp(t, "trap"))
        lo->ptx++, lower_end(lo, in, s, END_trap);
    else if (is_meeting(t))
        lower_meeting(lo, in, s);
    else if (lo->ptx++, !lower_barrier(lo, in, s))
        lo->ptx--, lower_guarded(lo, in, s);
}

// ---- functions ----------------------------------------------------------------------------------

static void mark_targets(Decoder *lo, Instance *in) {
    const PtxFunc *f = in->func;
    in->is_target = LOAD_ARRAY(lo->l, bool, f->stmts.n + 1);
    in->block_of = LOAD_ARRAY(lo->l, uint32_t, f->stmts.n + 1);
    for (uint32_t k = 0; k < f->stmts.n; k++)
        for (uint32_t j = 0; j < f->stmts.at[k].count; j++) {
            const PtxOperand *o = &f->stmts.at[k].operands[j];
            if (o->kind == OPERAND_label) in->is_target[o->label] = true;
            for (uint32_t t = 0; o->kind == OPERAND_targets && t < o->count; t++)
                in->is_target[o->list[t].label] = true;
        }
}

static void patch(Decoder *lo, const Instance *in, uint32_t from) {
    for (uint32_t k = from; k < lo->fixups.n; k++) {
        const Fixup *x = &lo->fixups.at[k];
        uint32_t to = in->block_of[x->statement];
        if (x->index == UINT32_MAX)
            lo->blocks.at[x->block].target = to;
        else
            ((uint32_t *)(uintptr_t)lo->blocks.at[x->block].targets)[x->index] = to;
    }
    lo->fixups.n = from;
}

// Expands the function where the current block is; afterwards the current block is what follows it.
static void lower_function(Decoder *lo, Instance *in) {
    const PtxFunc *f = in->func;
    uint32_t fixups = lo->fixups.n;
    in->first_reg = lo->regs.n;
    for (uint32_t k = 0; k < f->regs.n; k++) new_register(lo, (Register){.class = f->regs.at[k]});
    in->vars = LOAD_ARRAY(lo->l, uint64_t, f->vars.n);
    in->has_address = LOAD_ARRAY(lo->l, bool, f->vars.n);
    mark_targets(lo, in);
    for (uint32_t k = 0; k < f->stmts.n; k++) {
        const PtxStmt *s = &f->stmts.at[k];
        if (in->is_target[k] && !block_is_empty(lo)) begin_block(lo);
        in->block_of[k] = lo->blocks.n - 1;
        if (s->opcode)
            lower_statement(lo, in, s);
        else if (!in->caller)
            lo->line = s->line, lower_end(lo, in, s, END_exit);
    }
    if (in->caller && !block_is_empty(lo)) begin_block(lo);
    in->block_of[f->stmts.n] = lo->blocks.n - 1;
    patch(lo, in, fixups);
}

static void fill_params(Load *l, EmuFunction *f, const PtxFunc *entry) {
    uint32_t n = entry->params.n, *offset = LOAD_ARRAY(l, uint32_t, n),
             *size = LOAD_ARRAY(l, uint32_t, n);
    for (uint32_t k = 0; k < n; k++) {
        offset[k] = (uint32_t)entry->params.at[k]->address;
        size[k] = (uint32_t)entry->params.at[k]->bytes;
        f->param_bytes = offset[k] + size[k];
    }
    f->params = n;
    f->offset = offset;
    f->size = size;
}

EmuFunction *decode_entry(Load *l, const PtxModule *m, PtxFunc *entry) {
    EmuFunction *f = LOAD_NEW(l, EmuFunction);
    Decoder *lo = LOAD_NEW(l, Decoder);
    lo->l = l;
    lo->m = m;
    lo->f = f;
    lo->line = entry->line;
    lo->shared_address = LOAD_ARRAY(l, uint64_t, m->vars.n);
    lo->shared_placed = LOAD_ARRAY(l, bool, m->vars.n);
    for (uint32_t k = 0; k < SPECIAL_COUNT; k++) lo->specials[k] = NO_VREG;
    f->name = entry->name;
    memcpy(f->maxntid, entry->maxntid, sizeof f->maxntid);
    memcpy(f->reqntid, entry->reqntid, sizeof f->reqntid);
    fill_params(l, f, entry);
    Instance in = {.func = entry};
    begin_block(lo);
    lower_function(lo, &in);
    begin_block(lo);
    lo->blocks.n--;
    current(lo)->end = END_exit;
    find_provenance(lo);
    place_registers(lo);
    return f;
}

// Parses PTX into PtxModule: directives, variables, functions, statements and their operands. Knows
// no opcodes. Whatever it does not know is an error: a directive that is skipped may have mattered.
#include "runtime/emulator/engine/ptx_scope.h"
#include <string.h>

enum {
    MAX_VERSION = 90,       // of CUDA 13.0
    MAX_REGISTERS = 1 << 18 // of a function
};
#define MAX_VARIABLE ((uint64_t)1 << 32) // bytes

typedef struct {
    PtxOperand *operand;
    PtxName *name;
    uint32_t line;
} PendingLabel;

typedef struct {
    Load *l;
    Lexer x;
    Tok t, ahead; // the current token and the one after it
    PtxScopes scopes;
    PtxModule *m;
    PtxFunc *f, **last_func;
    struct {
        PendingLabel *at;
        uint32_t n, cap;
    } pending;
    struct {
        PtxOperand *at;
        uint32_t n, cap;
    } operands;                // of the statement being read
    uint32_t pending_from[66]; // by depth: first pending label of the scope
} PtxParser;

// ---- tokens -------------------------------------------------------------------------------------

static void advance(PtxParser *p) {
    p->t = p->ahead;
    p->ahead = ptx_next(p->l, &p->x);
}
static bool is_punct(const Tok *t, char c) { return t->kind == TOK_punct && t->punct == c; }
static bool is_text(const Tok *t, const char *s) {
    return t->n == strlen(s) && !memcmp(t->at, s, t->n);
}
static bool is_dot(const PtxParser *p, const char *s) {
    return p->t.kind == TOK_dot && is_text(&p->t, s);
}
static int shown(const Tok *t) { return t->n > 40 ? 40 : (int)t->n; }

_Noreturn static void unexpected(PtxParser *p, const char *wanted) {
    if (p->t.kind == TOK_end)
        load_error(p->l, p->t.line, "the text ends where %s is needed", wanted);
    load_error(p->l, p->t.line, "'%.*s' where %s is needed", shown(&p->t), p->t.at, wanted);
}
static bool accept(PtxParser *p, char c) {
    if (!is_punct(&p->t, c)) return false;
    advance(p);
    return true;
}
static void expect(PtxParser *p, char c) {
    if (accept(p, c)) return;
    char wanted[4] = {'\'', c, '\'', 0};
    unexpected(p, wanted);
}
static bool accept_dot(PtxParser *p, const char *s) {
    if (!is_dot(p, s)) return false;
    advance(p);
    return true;
}
static uint64_t expect_int(PtxParser *p, uint64_t max) {
    if (p->t.kind != TOK_int) unexpected(p, "a whole number");
    uint64_t v = p->t.value;
    if (v > max) load_error(p->l, p->t.line, "%llu is too large here", (unsigned long long)v);
    advance(p);
    return v;
}
static PtxName *expect_name(PtxParser *p) {
    if (p->t.kind != TOK_name) unexpected(p, "a name");
    PtxName *name = scope_name(p->l, &p->scopes, p->t.at, p->t.n);
    advance(p);
    return name;
}
static void expect_string(PtxParser *p) {
    if (p->t.kind != TOK_string) unexpected(p, "a string");
    advance(p);
}

// ---- types --------------------------------------------------------------------------------------

typedef struct {
    const char *name;
    uint8_t class, bytes;
    bool is_float;
} PtxType;

static const PtxType types[] = {
    {".pred", CLASS_pred, 0, false}, {".b8", CLASS_8, 1, false},   {".u8", CLASS_8, 1, false},
    {".s8", CLASS_8, 1, false},      {".b16", CLASS_16, 2, false}, {".u16", CLASS_16, 2, false},
    {".s16", CLASS_16, 2, false},    {".f16", CLASS_16, 2, true},  {".b32", CLASS_32, 4, false},
    {".u32", CLASS_32, 4, false},    {".s32", CLASS_32, 4, false}, {".f32", CLASS_32, 4, true},
    {".f16x2", CLASS_32, 4, false},  {".b64", CLASS_64, 8, false}, {".u64", CLASS_64, 8, false},
    {".s64", CLASS_64, 8, false},    {".f64", CLASS_64, 8, true},  {".b128", CLASS_128, 16, false},
};

static const PtxType *expect_type(PtxParser *p) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (is_dot(p, types[i].name)) {
            advance(p);
            return &types[i];
        }
    unexpected(p, "a type");
}

static uint32_t optional_align(PtxParser *p, uint32_t otherwise) {
    if (!accept_dot(p, ".align")) return otherwise;
    uint32_t line = p->t.line;
    uint64_t a = expect_int(p, 1024);
    if (!a || a & (a - 1)) load_error(p->l, line, "an alignment is a power of two");
    return (uint32_t)a;
}

// ---- variables ----------------------------------------------------------------------------------

static void put_value(PtxParser *p, const PtxType *type, uint8_t *to) {
    bool minus = accept(p, '-');
    uint64_t v = p->t.value;
    if (p->t.kind == TOK_int && !type->is_float) {
        if (minus) v = 0 - v;
    } else if (p->t.kind == TOK_f32 && type->bytes == 4) {
        if (minus) v ^= UINT64_C(1) << 31;
    } else if (p->t.kind == TOK_float && type->is_float && type->bytes >= 4) {
        double d;
        memcpy(&d, &v, 8);
        if (minus) d = -d;
        float f = (float)d;
        if (type->bytes == 4)
            memcpy(&v, &f, 4);
        else
            memcpy(&v, &d, 8);
    } else {
        unexpected(p, "a number of the variable's type (addresses are not supported)");
    }
    memcpy(to, &v, type->bytes);
    advance(p);
}

// = value or { value, ... }; what is not listed is zero. Nested lists are read as one.
static void parse_init(PtxParser *p, PtxVar *v, const PtxType *type) {
    uint32_t line = p->t.line;
    if (v->bytes > 1 << 26) load_error(p->l, line, "initial values of more than 64 MiB");
    v->init = load_alloc(p->l, v->bytes, 1);
    if (!accept(p, '{')) {
        put_value(p, type, v->init);
        return;
    }
    uint64_t at = 0;
    int depth = 1;
    while (depth) {
        if (accept(p, '{')) {
            depth++;
            continue;
        }
        if (!is_punct(&p->t, '}')) {
            if (at + type->bytes > v->bytes)
                load_error(p->l, line, "more initial values than '%s' has", v->name);
            put_value(p, type, v->init + at);
            at += type->bytes;
        }
        while (depth && accept(p, '}')) depth--;
        if (depth) expect(p, ',');
    }
}

static uint64_t parse_extents(PtxParser *p, uint64_t bytes, bool *open) {
    *open = false;
    while (accept(p, '[')) {
        if (accept(p, ']')) {
            if (*open) load_error(p->l, p->t.line, "two open extents");
            *open = true;
            continue;
        }
        uint64_t n = expect_int(p, MAX_VARIABLE);
        if (bytes && n > MAX_VARIABLE / bytes)
            load_error(p->l, p->t.line, "the variable is too large");
        bytes *= n;
        expect(p, ']');
    }
    return bytes;
}

static PtxVar *declare_var(PtxParser *p, StateSpace space, PtxName *name, uint32_t line) {
    PtxVar *v = LOAD_NEW(p->l, PtxVar);
    v->name = name->text;
    v->space = (uint8_t)space;
    v->line = line;
    scope_declare(p->l, &p->scopes, name, DECL_var, line)->var = v;
    return v;
}

// After the state space: [.align N] [.v2|.v4] type name[extents] [= init] {, name ...} ;
static void parse_vars(PtxParser *p, StateSpace space, bool external) {
    uint32_t align = optional_align(p, 0), lanes = 1;
    if (accept_dot(p, ".v2"))
        lanes = 2;
    else if (accept_dot(p, ".v4"))
        lanes = 4;
    const PtxType *type = expect_type(p);
    if (!type->bytes) load_error(p->l, p->t.line, "a variable of type .pred");
    do {
        uint32_t line = p->t.line;
        PtxVar *v = declare_var(p, space, expect_name(p), line);
        bool open;
        v->bytes = parse_extents(p, (uint64_t)type->bytes * lanes, &open);
        v->align = align ? align : type->bytes * lanes;
        v->dynamic = external && space == SPACE_shared && (open || !v->bytes);
        v->module = !p->f;
        if (external && !v->dynamic)
            load_error(p->l, line, "'%s' is defined in another module: there is no linker",
                       v->name);
        if (open && !v->dynamic) load_error(p->l, line, "'%s' has an open extent", v->name);
        if (v->dynamic) v->bytes = 0;
        if (accept(p, '=')) {
            if (space != SPACE_global && space != SPACE_const)
                load_error(p->l, line, "initial values in a space that has none");
            parse_init(p, v, type);
        }
        if (p->f) {
            v->number = p->f->vars.n;
            load_push(p->l, &p->f->vars, v);
        } else {
            v->number = p->m->vars.n;
            load_push(p->l, &p->m->vars, v);
        }
    } while (accept(p, ','));
    expect(p, ';');
}

static bool parse_space(PtxParser *p, StateSpace *space) {
    static const struct {
        const char *name;
        StateSpace space;
    } spaces[] = {{".global", SPACE_global},
                  {".shared", SPACE_shared},
                  {".local", SPACE_local},
                  {".const", SPACE_const},
                  {".param", SPACE_param}};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (is_dot(p, spaces[i].name)) {
            *space = spaces[i].space;
            advance(p);
            return true;
        }
    return false;
}

// .reg type name {<count>} {, ...} ;
static void parse_registers(PtxParser *p) {
    const PtxType *type = expect_type(p);
    do {
        uint32_t line = p->t.line, count = 1;
        PtxName *name = expect_name(p);
        bool range = accept(p, '<');
        if (range) {
            count = (uint32_t)expect_int(p, MAX_REGISTERS);
            expect(p, '>');
        }
        if (p->f->regs.n + count > MAX_REGISTERS)
            load_error(p->l, line, "more than %d registers", MAX_REGISTERS);
        PtxDecl *d = scope_declare(p->l, &p->scopes, name, range ? DECL_range : DECL_reg, line);
        d->number = p->f->regs.n;
        d->count = count;
        for (uint32_t i = 0; i < count; i++) load_push(p->l, &p->f->regs, type->class);
    } while (accept(p, ','));
    expect(p, ';');
}

// ---- operands -----------------------------------------------------------------------------------

static PtxOperand parse_number(PtxParser *p) {
    PtxOperand o = {.kind = OPERAND_int};
    bool minus = accept(p, '-');
    uint64_t v = p->t.value;
    if (p->t.kind == TOK_int) {
        o.value = (int64_t)(minus ? 0 - v : v);
    } else if (p->t.kind == TOK_float) {
        o.kind = OPERAND_float;
        o.value = (int64_t)(minus ? v ^ UINT64_C(1) << 63 : v);
    } else if (p->t.kind == TOK_f32) {
        o.kind = OPERAND_f32;
        o.value = (int64_t)(minus ? v ^ UINT64_C(1) << 31 : v);
    } else {
        unexpected(p, "an operand");
    }
    advance(p);
    return o;
}

static int64_t optional_offset(PtxParser *p) {
    bool plus = accept(p, '+'), minus = !plus && accept(p, '-');
    if (plus) minus = accept(p, '-');
    if (!plus && !minus) return 0;
    uint64_t v = expect_int(p, UINT64_MAX);
    return (int64_t)(minus ? 0 - v : v);
}

static PtxOperand special(PtxParser *p, const PtxName *name) {
    PtxOperand o = {.kind = OPERAND_special, .name = name->text};
    if (p->t.kind != TOK_dot) return o;
    char *text = load_alloc(p->l, name->n + p->t.n + 1, 1);
    memcpy(text, name->text, name->n);
    memcpy(text + name->n, p->t.at, p->t.n);
    o.name = text;
    advance(p);
    return o;
}

static PtxOperand parse_name(PtxParser *p) {
    uint32_t line = p->t.line;
    PtxName *name = expect_name(p);
    PtxOperand o = {.kind = OPERAND_reg, .name = name->text};
    if (name->n == 1 && *name->text == '_' && !name->decl) {
        o.kind = OPERAND_sink;
    } else if (scope_register(p->l, &p->scopes, name, &o.reg)) {
        if (p->t.kind == TOK_dot) load_error(p->l, line, "'%s' has no components", name->text);
    } else if (name->decl && name->decl->kind == DECL_var) {
        o.kind = OPERAND_symbol;
        o.var = name->decl->var;
        o.value = optional_offset(p);
    } else if (name->decl && name->decl->kind == DECL_func) {
        o.kind = OPERAND_func;
        o.func = name->decl->func;
    } else if (*name->text == '%' || !strcmp(name->text, "WARP_SZ")) {
        return special(p, name);
    } else {
        o.kind = OPERAND_label; // perhaps further down: resolved when the scope ends
    }
    return o;
}

static PtxOperand parse_address(PtxParser *p) {
    PtxOperand o = {.kind = OPERAND_address};
    uint32_t line = p->t.line;
    if (p->t.kind == TOK_name) {
        PtxOperand base = parse_name(p);
        o.name = base.name;
        o.has_reg = base.kind == OPERAND_reg;
        o.reg = base.reg;
        o.var = base.var;
        o.value = base.kind == OPERAND_symbol ? base.value : optional_offset(p);
        if (base.kind != OPERAND_reg && base.kind != OPERAND_symbol)
            load_error(p->l, line, "'%s' is neither a register nor a variable", base.name);
    } else {
        o.value = parse_number(p).value;
    }
    if (!is_punct(&p->t, ']')) unexpected(p, "']' (addresses of tensors are not supported)");
    advance(p);
    return o;
}

static PtxOperand parse_simple(PtxParser *p) {
    if (accept(p, '!')) {
        PtxOperand o = parse_name(p);
        if (o.kind != OPERAND_reg) unexpected(p, "a predicate before it");
        o.negated = true;
        return o;
    }
    return p->t.kind == TOK_name ? parse_name(p) : parse_number(p);
}

static PtxOperand parse_list(PtxParser *p, OperandKind kind, char close) {
    enum { MOST = 64 };
    PtxOperand o = {.kind = (uint8_t)kind}, items[MOST];
    while (!accept(p, close)) {
        if (o.count) expect(p, ',');
        if (o.count == MOST) load_error(p->l, p->t.line, "more than %d operands", MOST);
        items[o.count++] = parse_simple(p);
    }
    o.list = LOAD_ARRAY(p->l, PtxOperand, o.count);
    if (o.count) memcpy(o.list, items, o.count * sizeof *items);
    return o;
}

static PtxOperand parse_operand(PtxParser *p) {
    if (accept(p, '{')) return parse_list(p, OPERAND_vector, '}');
    if (accept(p, '(')) return parse_list(p, OPERAND_list, ')');
    if (accept(p, '[')) return parse_address(p);
    PtxOperand o = parse_simple(p);
    if (accept(p, '|')) {
        o.pair = LOAD_NEW(p->l, PtxOperand);
        *o.pair = parse_simple(p);
    }
    return o;
}

// ---- labels -------------------------------------------------------------------------------------

static void note_label(PtxParser *p, PtxOperand *o, uint32_t line) {
    if (o->kind != OPERAND_label) return;
    PtxName *name = scope_name(p->l, &p->scopes, o->name, (uint32_t)strlen(o->name));
    PendingLabel pending = {o, name, line};
    load_push(p->l, &p->pending, pending);
}

// Labels of the scope that ends meet their uses; the other uses wait for the scope around it.
static void resolve_labels(PtxParser *p) {
    uint32_t from = p->pending_from[p->scopes.depth], kept = from;
    for (uint32_t i = from; i < p->pending.n; i++) {
        PendingLabel *w = &p->pending.at[i];
        const PtxDecl *d = w->name->decl;
        if (d && d->depth == p->scopes.depth && d->kind == DECL_label) {
            w->operand->label = d->number;
        } else if (d && d->depth == p->scopes.depth && d->kind == DECL_targets) {
            w->operand->kind = OPERAND_targets;
            w->operand->list = d->targets->list;
            w->operand->count = d->targets->count;
        } else if (p->scopes.depth == 1) {
            load_error(p->l, w->line, "'%s' is not declared", w->name->text);
        } else {
            p->pending.at[kept++] = *w;
        }
    }
    p->pending.n = kept;
}

static void open_scope(PtxParser *p) {
    scope_open(p->l, &p->scopes, p->t.line);
    p->pending_from[p->scopes.depth] = p->pending.n;
}

static void close_scope(PtxParser *p) {
    resolve_labels(p);
    scope_close(&p->scopes);
}

static void parse_label(PtxParser *p) {
    uint32_t line = p->t.line;
    PtxName *name = expect_name(p);
    expect(p, ':');
    if (!accept_dot(p, ".branchtargets")) {
        scope_declare(p->l, &p->scopes, name, DECL_label, line)->number = p->f->stmts.n;
        return;
    }
    PtxOperand *o = LOAD_NEW(p->l, PtxOperand);
    *o = parse_list(p, OPERAND_targets, ';');
    for (uint32_t i = 0; i < o->count; i++) {
        if (o->list[i].kind != OPERAND_label) load_error(p->l, line, "a branch target is a label");
        note_label(p, &o->list[i], line);
    }
    scope_declare(p->l, &p->scopes, name, DECL_targets, line)->targets = o;
}

// ---- statements ---------------------------------------------------------------------------------

// The opcode with its modifiers, which follow each other without blanks.
static const char *parse_opcode(PtxParser *p) {
    const char *start = p->t.at, *end = start + p->t.n;
    for (advance(p); p->t.kind == TOK_dot && p->t.at == end; advance(p)) end = p->t.at + p->t.n;
    return scope_name(p->l, &p->scopes, start, (uint32_t)(end - start))->text;
}

static void parse_instruction(PtxParser *p) {
    PtxStmt s = {.line = p->t.line};
    if (accept(p, '@')) {
        s.guard_not = accept(p, '!');
        PtxOperand o = parse_name(p);
        if (o.kind != OPERAND_reg || p->f->regs.at[o.reg] != CLASS_pred)
            load_error(p->l, s.line, "'%s' is not a predicate", o.name);
        s.guard = o.reg + 1;
    }
    if (p->t.kind != TOK_name) unexpected(p, "an instruction");
    s.line = p->t.line;
    s.opcode = parse_opcode(p);
    p->operands.n = 0;
    while (!accept(p, ';')) {
        if (p->operands.n) expect(p, ',');
        PtxOperand o = parse_operand(p);
        load_push(p->l, &p->operands, o);
    }
    s.count = p->operands.n;
    s.operands = LOAD_ARRAY(p->l, PtxOperand, s.count);
    if (s.count) memcpy(s.operands, p->operands.at, s.count * sizeof *s.operands);
    for (uint32_t i = 0; i < s.count; i++) note_label(p, &s.operands[i], s.line);
    load_push(p->l, &p->f->stmts, s);
}

static void skip_number_list(PtxParser *p, int n) {
    for (int i = 0; i < n; i++) expect_int(p, UINT64_MAX);
}

// .loc file line column [, function_name label [+ n], inlined_at file line column]: of no use here,
// reports name the line of the PTX.
static void parse_loc(PtxParser *p) {
    skip_number_list(p, 3);
    while (accept(p, ',')) {
        if (is_text(&p->t, "function_name")) {
            advance(p);
            expect_name(p);
            optional_offset(p);
        } else if (is_text(&p->t, "inlined_at")) {
            advance(p);
            skip_number_list(p, 3);
        } else {
            unexpected(p, "'function_name' or 'inlined_at'");
        }
    }
}

static void parse_file(PtxParser *p) {
    expect_int(p, UINT64_MAX);
    expect_string(p);
    while (accept(p, ',')) expect_int(p, UINT64_MAX);
}

// A pragma changes how fast code is, never what it computes.
static void parse_pragma(PtxParser *p) {
    do expect_string(p);
    while (accept(p, ','));
    expect(p, ';');
}

static void parse_directive(PtxParser *p) {
    StateSpace space;
    if (accept_dot(p, ".reg")) {
        parse_registers(p);
    } else if (parse_space(p, &space)) {
        if (space == SPACE_global || space == SPACE_const)
            load_error(p->l, p->t.line, "variables of this space belong outside of functions");
        parse_vars(p, space, false);
    } else if (accept_dot(p, ".loc")) {
        parse_loc(p);
    } else if (accept_dot(p, ".pragma")) {
        parse_pragma(p);
    } else {
        unexpected(p, "a statement");
    }
}

static void parse_body(PtxParser *p) {
    uint32_t outer = p->scopes.depth;
    expect(p, '{');
    for (;;) {
        if (is_punct(&p->t, '{')) {
            open_scope(p);
            advance(p);
        } else if (is_punct(&p->t, '}')) {
            if (p->scopes.depth == outer) break;
            close_scope(p);
            advance(p);
        } else if (p->t.kind == TOK_dot) {
            parse_directive(p);
        } else if (p->t.kind == TOK_name && is_punct(&p->ahead, ':')) {
            parse_label(p);
        } else if (!accept(p, ';')) {
            parse_instruction(p);
        }
    }
    PtxStmt end = {.line = p->t.line};
    load_push(p->l, &p->f->stmts, end);
    advance(p);
}

// ---- functions ----------------------------------------------------------------------------------

// .param .u64 [.ptr [.space] [.align N]] name, or .param .align N .b8 name[N]
static PtxVar *parse_param(PtxParser *p) {
    if (!accept_dot(p, ".param")) unexpected(p, "'.param'");
    uint32_t align = optional_align(p, 0);
    const PtxType *type = expect_type(p);
    if (!type->bytes) load_error(p->l, p->t.line, "a parameter of type .pred");
    if (accept_dot(p, ".ptr")) {
        StateSpace space;
        parse_space(p, &space);
        optional_align(p, 1);
    }
    uint32_t line = p->t.line;
    PtxVar *v = declare_var(p, SPACE_param, expect_name(p), line);
    bool open;
    v->bytes = parse_extents(p, type->bytes, &open);
    v->align = align ? align : type->bytes;
    if (open || v->bytes > 1 << 15) load_error(p->l, line, "'%s' is too large", v->name);
    return v;
}

static void parse_params(PtxParser *p, PtxFunc *f, bool results) {
    expect(p, '(');
    uint64_t address = 0;
    uint32_t n = 0;
    while (!accept(p, ')')) {
        if (n) expect(p, ',');
        PtxVar *v = parse_param(p);
        address = (address + v->align - 1) & ~(uint64_t)(v->align - 1);
        v->address = address;
        v->entry = f->entry;
        v->formal = !f->entry;
        v->number = n++ + (results ? 0 : f->results.n);
        address += v->bytes;
        if (address > 1 << 15) load_error(p->l, v->line, "more than 32 KiB of parameters");
        if (results)
            load_push(p->l, &f->results, v);
        else
            load_push(p->l, &f->params, v);
    }
}

static void parse_extent3(PtxParser *p, uint32_t to[3]) {
    to[0] = to[1] = to[2] = 1;
    for (int i = 0; i < 3; i++) {
        to[i] = (uint32_t)expect_int(p, 1 << 16);
        if (i == 2 || !accept(p, ',')) break;
    }
    if (!to[0] || !to[1] || !to[2]) load_error(p->l, p->t.line, "an extent of zero");
}

static void parse_tuning(PtxParser *p, PtxFunc *f) {
    for (;;) {
        if (accept_dot(p, ".maxntid"))
            parse_extent3(p, f->maxntid);
        else if (accept_dot(p, ".reqntid"))
            parse_extent3(p, f->reqntid);
        else if (accept_dot(p, ".minnctapersm") || accept_dot(p, ".maxnctapersm") ||
                 accept_dot(p, ".maxnreg"))
            expect_int(p, UINT32_MAX);
        else if (accept_dot(p, ".pragma"))
            parse_pragma(p);
        else if (!accept_dot(p, ".noreturn"))
            return;
    }
}

static PtxFunc *new_function(PtxParser *p, bool entry) {
    PtxFunc *f = LOAD_NEW(p->l, PtxFunc);
    f->entry = entry;
    f->line = p->t.line;
    return f;
}

// A declaration may come before the definition: calls refer to the first of them.
static PtxFunc *name_function(PtxParser *p, PtxFunc *f, PtxName *name) {
    f->name = name->text;
    PtxDecl *d = name->decl;
    if (!d) {
        scope_declare_module(p->l, name, DECL_func)->func = f;
        *p->last_func = f;
        p->last_func = &f->next;
        return f;
    }
    if (d->kind != DECL_func || d->func->defined || d->func->entry != f->entry)
        load_error(p->l, f->line, "'%s' is declared twice", f->name);
    PtxFunc *next = d->func->next;
    *d->func = *f;
    d->func->next = next;
    return d->func;
}

static void parse_function(PtxParser *p, bool entry) {
    PtxFunc *f = new_function(p, entry);
    scope_open(p->l, &p->scopes, f->line);
    p->pending_from[p->scopes.depth] = p->pending.n = 0;
    if (!entry && is_punct(&p->t, '(')) parse_params(p, f, true);
    f = name_function(p, f, expect_name(p));
    if (is_punct(&p->t, '(')) parse_params(p, f, false);
    parse_tuning(p, f);
    if (!accept(p, ';')) {
        f->defined = true;
        p->f = f;
        parse_body(p);
        p->f = NULL;
    } else if (entry) {
        load_error(p->l, f->line, "entry '%s' has no body", f->name);
    }
    close_scope(p);
}

// ---- module -------------------------------------------------------------------------------------

static void skip_section(PtxParser *p) {
    while (p->t.kind == TOK_dot || p->t.kind == TOK_name) advance(p);
    expect(p, '{');
    while (!accept(p, '}')) {
        if (p->t.kind == TOK_end || is_punct(&p->t, '{')) unexpected(p, "'}'");
        advance(p);
    }
}

static void parse_top(PtxParser *p) {
    StateSpace space;
    bool external = false;
    for (;; advance(p)) {
        if (is_dot(p, ".extern"))
            external = true;
        else if (!is_dot(p, ".visible") && !is_dot(p, ".weak"))
            break;
    }
    if (accept_dot(p, ".entry")) {
        parse_function(p, true);
    } else if (accept_dot(p, ".func")) {
        parse_function(p, false);
    } else if (parse_space(p, &space)) {
        if (space == SPACE_param || space == SPACE_local)
            load_error(p->l, p->t.line, "variables of this space belong into functions");
        parse_vars(p, space, external);
    } else if (accept_dot(p, ".file")) {
        parse_file(p);
    } else if (accept_dot(p, ".section")) {
        skip_section(p);
    } else if (accept_dot(p, ".pragma")) {
        parse_pragma(p);
    } else {
        unexpected(p, "a directive");
    }
}

static void parse_version(PtxParser *p) {
    if (!accept_dot(p, ".version")) unexpected(p, "'.version'");
    if (p->t.kind != TOK_float) unexpected(p, "a version");
    double v;
    memcpy(&v, &p->t.value, 8);
    if (!(v >= 6.0 && v < 100.0)) load_error(p->l, p->t.line, "a version that is not supported");
    p->m->version = (uint32_t)(v * 10 + 0.5);
    if (p->m->version > MAX_VERSION)
        load_fail(p->l, EMU_WRONG_TARGET, p->t.line, "PTX %u.%u is newer than %d.%d",
                  p->m->version / 10, p->m->version % 10, MAX_VERSION / 10, MAX_VERSION % 10);
    advance(p);
}

// sm_80 runs on every later device, sm_90a on that device alone, sm_100f on those of its family.
static void check_target(PtxParser *p, uint32_t sm, char suffix) {
    Load *l = p->l;
    const char *a = l->arch ? "a" : "";
    bool fits = sm <= l->sm;
    if (suffix == 'a') fits = sm == l->sm && l->arch;
    if (suffix == 'f') fits = sm <= l->sm && sm / 10 == l->sm / 10;
    if (!fits)
        load_fail(l, EMU_WRONG_TARGET, p->t.line, "code for sm_%u%.1s, the device is sm_%u%s", sm,
                  suffix ? (char[2]){suffix, 0} : "", l->sm, a);
    p->m->sm = sm;
}

static void parse_target(PtxParser *p) {
    if (!accept_dot(p, ".target")) unexpected(p, "'.target'");
    const char *s = p->t.at;
    uint32_t i = 3, sm = 0;
    if (p->t.kind != TOK_name || p->t.n < 5 || memcmp(s, "sm_", 3)) unexpected(p, "a target");
    for (; i < p->t.n && i < 7 && s[i] >= '0' && s[i] <= '9'; i++)
        sm = sm * 10 + (uint32_t)(s[i] - '0');
    char suffix = i + 1 == p->t.n ? s[i] : 0;
    if (i + (suffix ? 1 : 0) != p->t.n || (suffix && suffix != 'a' && suffix != 'f'))
        unexpected(p, "a target");
    check_target(p, sm, suffix);
    advance(p);
    while (accept(p, ',')) {
        if (!is_text(&p->t, "debug")) unexpected(p, "'debug'");
        advance(p);
    }
}

PtxModule *ptx_parse(Load *l, const char *text, size_t n) {
    PtxParser *p = LOAD_NEW(l, PtxParser);
    char *copy = load_alloc(l, n + 1, 1);
    memcpy(copy, text, n);
    // A text of a C string: the driver's callers may count its NUL.
    while (n && !copy[n - 1]) n--;
    p->l = l;
    p->m = LOAD_NEW(l, PtxModule);
    p->last_func = &p->m->funcs;
    p->x = (Lexer){copy, copy + n, 1};
    advance(p);
    advance(p);
    parse_version(p);
    parse_target(p);
    if (accept_dot(p, ".address_size") && expect_int(p, 64) != 64)
        load_error(l, p->t.line, "addresses have 64 bits");
    while (p->t.kind != TOK_end) parse_top(p);
    return p->m;
}

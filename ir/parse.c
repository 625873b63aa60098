// Parses the text form of a module. ir/print.c is the inverse; docs/ir.md has the grammar.
//
// Text may come from a user's file or a fuzzer: every reference is looked up, every size bounded,
// every node goes through the type rules, and the first fault is reported at its place and ends the
// parse. Recursive descent over characters; only regions nest, MAX_DEPTH deep. Linear in the text.
#include "ir/attr.h"
#include "ir/build.h"
#include "ir/infer.h"
#include "ir/place.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 8, MAX_FILES = 1024, MAX_FUNCS = 1 << 16 };

typedef struct {
    Arena *arena;
    Module *m;
    Diag *d;
    uint16_t file;
    const char *text, *at, *end;
    bool failed;
    VEC(uint16_t) files;  // number in the header, less one -> file of the Diag
    VEC(uint8_t) defined; // by FuncId
    Func *f;              // the function being read, or NULL
    Map labels;           // of f: Sym -> NodeId
    int depth;
} IrParser;

// ---- characters and words

static Loc range(const IrParser *p, const char *from) {
    return (Loc){p->file, (uint32_t)(from - p->text), (uint32_t)(p->at - p->text)};
}

#define ERROR(p, from, ...)                                                                        \
    do {                                                                                           \
        if (!(p)->failed) diag_error((p)->d, range((p), (from)), __VA_ARGS__);                     \
        (p)->failed = true;                                                                        \
    } while (0)

static void skip(IrParser *p) {
    while (p->at < p->end) {
        if (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r') {
            p->at++;
        } else if (*p->at == '/' && p->at + 1 < p->end && p->at[1] == '/') {
            while (p->at < p->end && *p->at != '\n') p->at++;
        } else {
            return;
        }
    }
}

// The next character that is no space, or 0 at the end and after an error.
static char peek(IrParser *p) {
    skip(p);
    return p->failed || p->at == p->end ? 0 : *p->at;
}

// Where the next token starts, for messages.
static const char *here(IrParser *p) {
    peek(p);
    return p->at;
}

static bool take(IrParser *p, char c) {
    if (c == 0 || peek(p) != c) return false;
    p->at++;
    return true;
}

static bool expect(IrParser *p, char c) {
    if (take(p, c)) return true;
    ERROR(p, p->at, "expected '%c'", c);
    return false;
}

static bool is_word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

// Length of the word at the cursor: [A-Za-z_][A-Za-z0-9_.]*
static size_t word_length(IrParser *p) {
    char c = peek(p);
    if (!isalpha((unsigned char)c) && c != '_') return 0;
    size_t n = 1;
    while (p->at + n < p->end && is_word_char(p->at[n])) n++;
    return n;
}

static bool take_word(IrParser *p, const char *word) {
    size_t n = word_length(p);
    if (n == 0 || n != strlen(word) || memcmp(p->at, word, n) != 0) return false;
    p->at += n;
    return true;
}

// The index of the next word in a list of names, or n with an error. Leaves the word behind.
static uint32_t one_of(IrParser *p, const char *const *names, uint32_t n, const char *what) {
    size_t len = word_length(p);
    const char *from = p->at;
    p->at += len;
    for (uint32_t i = 0; len && i < n; i++)
        if (strlen(names[i]) == len && memcmp(names[i], from, len) == 0) return i;
    if (len)
        ERROR(p, from, "unknown %s '%.*s'", what, len > 40 ? 40 : (int)len, from);
    else
        ERROR(p, from, "expected %s", what);
    return n;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

// After the opening quote. Only \xNN escapes; no control characters.
static Sym quoted(IrParser *p) {
    Text t = {.arena = p->arena};
    const char *from = p->at;
    while (p->at < p->end && *p->at != '"') {
        char c = *p->at++;
        if (c == '\\') {
            int hi = -1, lo = -1;
            if (p->end - p->at >= 3 && p->at[0] == 'x')
                hi = hex_digit(p->at[1]), lo = hex_digit(p->at[2]);
            if (hi < 0 || lo < 0 || hi + lo == 0) {
                ERROR(p, p->at - 1, "expected an escape '\\xNN'");
                return 0;
            }
            c = (char)(unsigned char)(hi * 16 + lo);
            p->at += 3;
        } else if ((unsigned char)c < 32 || c == 127) {
            ERROR(p, p->at - 1, "control character in a name");
            return 0;
        }
        text_put(&t, &c, 1);
    }
    if (p->at == p->end) {
        ERROR(p, from, "name without closing quote");
        return 0;
    }
    p->at++;
    return sym_intern(p->m->syms, t.at, t.n);
}

static Sym name(IrParser *p) {
    if (take(p, '"')) return quoted(p);
    size_t n = word_length(p);
    if (n == 0) {
        ERROR(p, p->at, "expected a name");
        return 0;
    }
    p->at += n;
    return sym_intern(p->m->syms, p->at - n, n);
}

static int64_t integer(IrParser *p, int64_t low, int64_t high) {
    char c = peek(p);
    const char *from = p->at;
    bool negative = c == '-';
    if (negative) p->at++;
    uint64_t x = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (p->at == p->end || !isdigit((unsigned char)*p->at)) ERROR(p, from, "expected an integer");
    for (; !p->failed && p->at < p->end && isdigit((unsigned char)*p->at); p->at++) {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (x > (limit - digit) / 10) {
            ERROR(p, from, "integer out of range");
            return low;
        }
        x = x * 10 + digit;
    }
    int64_t value = negative ? (int64_t)(0 - x) : (int64_t)x;
    if (!p->failed && value >= low && value <= high) return value;
    ERROR(p, from, "integer out of range, expected %lld to %lld", (long long)low, (long long)high);
    return low;
}

static double number(IrParser *p) {
    char buf[48];
    size_t n = 0;
    const char *from = here(p);
    while (p->at < p->end && n + 1 < sizeof buf &&
           (is_word_char(*p->at) || *p->at == '-' || *p->at == '+'))
        buf[n++] = *p->at++;
    buf[n] = 0;
    char *rest = buf;
    double x = strtod(buf, &rest);
    if (n == 0 || *rest) ERROR(p, from, "expected a number");
    return x;
}

// ---- references

static AxisId axis(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    AxisId a = axis_find(p->m, s);
    if (!a) ERROR(p, from, "unknown axis '%.100s'", sym_str(p->m->syms, s));
    return a;
}

static StateId state(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    StateId id = state_find(p->m, s);
    if (id == NONE) ERROR(p, from, "unknown state '%.100s'", sym_str(p->m->syms, s));
    return id;
}

// A label after '%': letters, digits, '_' and '.'.
static Sym label(IrParser *p) {
    if (!expect(p, '%')) return 0;
    const char *from = p->at;
    while (p->at < p->end && is_word_char(*p->at)) p->at++;
    if (p->at == from) ERROR(p, from, "expected a label after '%%'");
    return sym_intern(p->m->syms, from, (size_t)(p->at - from));
}

static NodeId node_ref(IrParser *p) {
    const char *from = here(p);
    Sym s = label(p);
    const uint32_t *id = map_find(&p->labels, s);
    if (p->f && id) return *id;
    ERROR(p, from, "no node '%%%.100s' before here", sym_str(p->m->syms, s));
    return 0;
}

// A function's slot: an explicit '#id', or the next free one.
static FuncId func_ref(IrParser *p) {
    FuncId id = p->m->funcs.n;
    if (take(p, '#')) id = (FuncId)integer(p, 0, MAX_FUNCS - 1);
    if (id >= MAX_FUNCS) ERROR(p, p->at, "too many functions");
    while (!p->failed && p->m->funcs.n <= id) {
        func_new(p->m, "", NULL);
        vec_push(p->arena, &p->defined, 0);
    }
    return id;
}

// ---- types

static uint32_t mesh_axis(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    uint32_t mesh = p->failed ? 0 : mesh_find(p->m, s);
    if (mesh != NONE) return mesh;
    ERROR(p, from, "unknown mesh axis '%.100s'", sym_str(p->m->syms, s));
    return 0;
}

static void splits(IrParser *p, TypeAxis *x) {
    for (uint32_t i = 0; take(p, '/'); i++) {
        if (i == MAX_NEST) ERROR(p, p->at, "an axis is split at most %d times", MAX_NEST);
        if (p->failed) return;
        x->split[i] = (uint8_t)(mesh_axis(p) + 1);
    }
}

static void partials(IrParser *p, Type *t) {
    for (const char *c; (c = peek(p) ? strchr(partial_marks, peek(p)) : NULL);) {
        p->at++;
        t->partial[c - partial_marks] |= (uint8_t)(1u << mesh_axis(p));
    }
}

static void type_axis(IrParser *p, Type *t) {
    const char *from = here(p);
    AxisId a = axis(p);
    if (p->failed) return;
    if (t->n == MAX_AXES) {
        ERROR(p, from, "more than %d axes", MAX_AXES);
        return;
    }
    TypeAxis x = {a, p->m->axes.at[a].size, {0}};
    splits(p, &x);
    if (take(p, '=')) x.size = integer(p, 0, (int64_t)1 << MAX_ELEMENTS_LOG2);
    t->axes[t->n++] = x;
}

static uint32_t elem(IrParser *p) {
    const char *names[ELEM_COUNT];
    for (uint32_t i = 0; i < ELEM_COUNT; i++) names[i] = elem_info[i].name;
    return one_of(p, names, ELEM_COUNT, "element type");
}

static TypeId type(IrParser *p) {
    const char *from = here(p);
    Type t = {.elem = elem(p)};
    if (take(p, '[') && !take(p, ']')) {
        do {
            type_axis(p, &t);
        } while (take(p, ','));
        expect(p, ']');
    }
    partials(p, &t);
    Text why = {.arena = p->arena};
    if (p->failed) return 0;
    if (!type_check(p->m, &t, &why)) ERROR(p, from, "%s", why.at);
    return type_intern(p->m, &t);
}

// ---- attributes

static AxisList axes(IrParser *p) {
    AxisList l = {0};
    if (!expect(p, '(') || take(p, ')')) return l;
    do {
        const char *from = here(p);
        AxisId a = axis(p);
        if (l.n == MAX_AXES) ERROR(p, from, "more than %d axes", MAX_AXES);
        if (!p->failed) l.at[l.n++] = a;
    } while (take(p, ','));
    expect(p, ')');
    return l;
}

static uint32_t mesh_set(IrParser *p) {
    uint32_t set = 0;
    if (!expect(p, '(')) return 0;
    do {
        const char *from = here(p);
        uint32_t bit = 1u << mesh_axis(p);
        if (set & bit) ERROR(p, from, "a mesh axis twice");
        set |= bit;
    } while (take(p, ','));
    expect(p, ')');
    return set;
}

static void field_value(IrParser *p, const AttrField *f, void *to) {
    uint32_t n;
    const char *const *names = field_names((FieldKind)f->kind, &n);
    switch ((FieldKind)f->kind) {
    case FIELD_AXIS: *(AxisId *)to = axis(p); return;
    case FIELD_AXES: *(AxisList *)to = axes(p); return;
    case FIELD_I64: *(int64_t *)to = integer(p, INT64_MIN, INT64_MAX); return;
    case FIELD_F64: *(double *)to = number(p); return;
    case FIELD_SYM: *(Sym *)to = name(p); return;
    case FIELD_DTYPE: *(uint32_t *)to = elem(p); return;
    case FIELD_STATE: *(StateId *)to = state(p); return;
    case FIELD_FUNC: *(FuncId *)to = func_ref(p); return;
    case FIELD_MESH: *(uint32_t *)to = mesh_set(p); return;
    case FIELD_REDUCE:
    case FIELD_FOLD:
    case FIELD_GROUP: *(uint32_t *)to = one_of(p, names, n, f->name); return;
    }
    unreachable(f->kind);
}

static void field(IrParser *p, Attr *a) {
    uint32_t first, n = attr_record((AttrKind)a->kind, &first);
    const char *from = here(p);
    Sym s = name(p);
    for (uint32_t i = first; i < first + n && !p->failed; i++)
        if (strcmp(attr_fields[i].name, sym_str(p->m->syms, s)) == 0) {
            if (expect(p, '=')) field_value(p, &attr_fields[i], attr_field(a, &attr_fields[i]));
            return;
        }
    ERROR(p, from, "no attribute '%.100s' here", sym_str(p->m->syms, s));
}

// After the opening brace.
static void fields(IrParser *p, Attr *a) {
    if (take(p, '}')) return;
    do {
        field(p, a);
    } while (take(p, ','));
    expect(p, '}');
}

// References whose zero is a thing start as none; they must be written.
static Attr attr_start(Op op) {
    Attr a;
    memset(&a, 0, sizeof a);
    a.kind = op_info[op].attr;
    uint32_t first, n = attr_record((AttrKind)a.kind, &first);
    for (uint32_t i = first; i < first + n; i++) {
        FieldKind k = (FieldKind)attr_fields[i].kind;
        if (k == FIELD_STATE || k == FIELD_FUNC)
            *(uint32_t *)attr_field(&a, &attr_fields[i]) = NONE;
    }
    return a;
}

// ---- functions

// What follows '@': a source range "3:10-20" or a place in memory "temp+4096".
static void source_range(IrParser *p, Loc *loc) {
    const char *from = here(p);
    int64_t file = integer(p, 1, UINT16_MAX);
    if (file > p->files.n) {
        ERROR(p, from, "source file %lld is not in the header", (long long)file);
        return;
    }
    expect(p, ':');
    int64_t start = integer(p, 0, UINT32_MAX);
    expect(p, '-');
    int64_t end = integer(p, start, UINT32_MAX);
    if (!p->failed) *loc = (Loc){p->files.at[file - 1], (uint32_t)start, (uint32_t)end};
}

static void at_tail(IrParser *p, Loc *loc, Mem *mem) {
    const char *from = here(p);
    if (isdigit((unsigned char)peek(p))) {
        source_range(p, loc);
        return;
    }
    uint32_t region = one_of(p, region_names, REGION_COUNT, "memory region");
    if (region == REGION_none) ERROR(p, from, "expected a memory region");
    expect(p, '+');
    *mem = (Mem){.region = region, .offset = integer(p, 0, INT64_MAX)};
}

static void phase(IrParser *p, Builder *b) {
    const char *c = p->at < p->end && *p->at ? strchr(phase_letters, *p->at) : NULL;
    if (c)
        b->phase = (Phase)(c - phase_letters), p->at++;
    else
        ERROR(p, p->at, "expected a phase: one of %s", phase_letters);
}

typedef struct {
    Builder b;
    Op op;
    Attr attr;
    NodeId operands[MAX_OPERANDS];
    uint32_t n;
    TypeId type;
    uint32_t ordinal;
    Mem mem;
} NodeLine;

// repeat.round, template.ordinal
static Inst inst(IrParser *p) {
    const char *from = here(p);
    Inst at = {.repeat = (uint32_t)integer(p, 1, UINT32_MAX)};
    expect(p, '.');
    at.round = (uint32_t)integer(p, 0, UINT32_MAX);
    if (p->failed) return at;
    if (at.repeat >= p->m->repeats.n)
        ERROR(p, from, "no repeat %u before here", at.repeat);
    else if (at.round >= repeat_total(p->m, at.repeat))
        ERROR(p, from, "repeat %u has no round %u", at.repeat, at.round);
    return at;
}

static void template(IrParser *p, NodeLine *l) {
    l->b.tmpl = (uint32_t)integer(p, 0, UINT32_MAX - 1) + 1;
    if (take(p, '.')) l->ordinal = (uint32_t)integer(p, 0, UINT32_MAX / 2) + 1;
}

// Everything after the operands but the region, in any order.
static void tails(IrParser *p, NodeLine *l) {
    for (;;) {
        if (take(p, ':'))
            l->type = type(p);
        else if (take(p, '{'))
            fields(p, &l->attr);
        else if (take(p, '!'))
            phase(p, &l->b);
        else if (take(p, '"'))
            l->b.name = quoted(p);
        else if (take(p, '@'))
            at_tail(p, &l->b.loc, &l->mem);
        else if (take_word(p, "inst"))
            expect(p, '='), l->b.inst = inst(p);
        else if (take_word(p, "clone"))
            expect(p, '='), l->b.clone = (uint8_t)integer(p, 0, UINT8_MAX);
        else if (take_word(p, "tmpl"))
            expect(p, '='), template(p, l);
        else
            return;
    }
}

static Op op(IrParser *p) {
    size_t len = word_length(p);
    const char *from = p->at;
    p->at += len;
    for (int i = 0; i < OP_COUNT; i++)
        if (strlen(op_info[i].name) == len && memcmp(op_info[i].name, from, len) == 0) return (Op)i;
    ERROR(p, from, "unknown op '%.*s'", len > 40 ? 40 : (int)len, from);
    return OP_const;
}

static void operands(IrParser *p, NodeLine *l) {
    if (peek(p) != '%') return;
    do {
        const char *from = here(p);
        NodeId n = node_ref(p);
        if (l->n == MAX_OPERANDS) ERROR(p, from, "more than %d operands", MAX_OPERANDS);
        if (!p->failed) l->operands[l->n++] = n;
    } while (take(p, ','));
}

static void check_line(IrParser *p, const NodeLine *l, const char *from) {
    TypeId types[MAX_OPERANDS];
    for (uint32_t i = 0; i < l->n; i++) types[i] = node_at(p->f, l->operands[i])->type;
    Text why = {.arena = p->arena};
    if (p->failed) return;
    if (ir_infer(p->m, l->op, &l->attr, types, l->n, l->type, &why) == NONE)
        ERROR(p, from, "%s", why.at);
}

static void body(IrParser *p, FuncId id);

// The region of a group. Labels inside are its own.
static void region(IrParser *p, const NodeLine *l) {
    FuncId id = l->attr.group.body;
    if (!take_word(p, "region")) return;
    const char *from = here(p);
    if (l->op != OP_group)
        ERROR(p, from, "'%s' has no region", op_info[l->op].name);
    else if (p->defined.at[id])
        ERROR(p, from, "region #%u is defined twice", id);
    else if (p->depth == MAX_DEPTH)
        ERROR(p, from, "regions nested too deep");
    if (p->failed) return;
    Func *outer = p->f;
    Map labels = p->labels;
    Func *f = p->m->funcs.at[id];
    f->region = true;
    f->name = name(p);
    p->depth++;
    body(p, id);
    p->depth--;
    p->f = outer;
    p->labels = labels;
}

static void node(IrParser *p) {
    const char *from = here(p);
    Sym s = label(p);
    bool fresh;
    if (map_find(&p->labels, s)) ERROR(p, from, "second node '%%%.100s'", sym_str(p->m->syms, s));
    expect(p, '=');
    NodeLine l = {.b = {.m = p->m, .f = p->f}, .op = op(p), .type = NONE};
    if (p->failed) return;
    l.attr = attr_start(l.op);
    operands(p, &l);
    tails(p, &l);
    if (!p->failed && l.op == OP_group && l.attr.group.body == NONE)
        l.attr.group.body = func_ref(p);
    check_line(p, &l, from);
    if (p->failed) return;
    if (l.mem.region != REGION_none && !p->f->mem.cap) {
        ERROR(p, from, "a place in memory in a function that is not 'planned'");
        return;
    }
    NodeId id = ir_node(&l.b, l.op, l.attr.kind ? &l.attr : NULL, l.operands, l.n, l.type);
    node_at(p->f, id)->ordinal = l.ordinal;
    *map_slot(&p->labels, s, &fresh) = id;
    if (p->f->mem.cap) vec_push(p->m->arena, &p->f->mem, l.mem);
    region(p, &l);
}

static bool result(IrParser *p) {
    for (uint32_t i = 0; i < RESULT_KINDS; i++) {
        if (!take_word(p, result_names[i])) continue;
        Sym s = name(p);
        expect(p, '=');
        NodeId n = node_ref(p);
        if (!p->failed) func_result(p->m, p->f, sym_str(p->m->syms, s), n, (ResultKind)i);
        return true;
    }
    return false;
}

// "[planned] { nodes results }" of function id. A planned function has a place for every node.
static void body(IrParser *p, FuncId id) {
    p->f = p->m->funcs.at[id];
    p->labels = (Map){.arena = p->arena};
    p->defined.at[id] = 1;
    if (take_word(p, "planned"))
        p->f->mem.at = vec_grow(p->m->arena, NULL, 0, &p->f->mem.cap, sizeof(Mem));
    expect(p, '{');
    while (!p->failed && !take(p, '}')) {
        if (peek(p) == '%')
            node(p);
        else if (!result(p))
            ERROR(p, p->at, "expected a node, a result or '}'");
    }
}

static void func(IrParser *p, bool is_region) {
    Sym s = name(p);
    const char *from = here(p);
    FuncId id = func_ref(p);
    if (p->failed) return;
    if (p->defined.at[id]) {
        ERROR(p, from, "function #%u is defined twice", id);
        return;
    }
    p->m->funcs.at[id]->name = s;
    p->m->funcs.at[id]->region = is_region;
    body(p, id);
    p->f = NULL;
}

// ---- the header

static void file_line(IrParser *p) {
    const char *from = here(p);
    int64_t n = integer(p, 1, MAX_FILES);
    Sym s = name(p);
    if (p->failed) return;
    if (n != (int64_t)p->files.n + 1) {
        ERROR(p, from, "source files are numbered from 1 on");
        return;
    }
    const char *path = sym_str(p->m->syms, s);
    uint32_t i = 1;
    while (i < p->d->files.n && strcmp(p->d->files.at[i].path, path) != 0) i++;
    if (i == UINT16_MAX) {
        ERROR(p, from, "too many source files");
        return;
    }
    // The text of a source that is not at hand is empty: its faults show without the line.
    if (i == p->d->files.n) diag_add_file(p->d, path, "", 0, strcmp(path, "std.sn") == 0);
    vec_push(p->arena, &p->files, (uint16_t)i);
}

static void axis_line(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    if (!p->failed && (s == 0 || axis_find(p->m, s)))
        ERROR(p, from, "axis '%.100s' is declared twice or has no name", sym_str(p->m->syms, s));
    expect(p, '=');
    int64_t size = integer(p, 0, (int64_t)1 << MAX_ELEMENTS_LOG2);
    if (p->failed) return;
    AxisId a = axis_new(p->m, sym_str(p->m->syms, s), size);
    p->m->axes.at[a].sample = take_word(p, "sample");
}

// mesh data=8 tensor=4
static void mesh_line(IrParser *p) {
    while (word_length(p) && !p->failed) {
        const char *from = p->at;
        MeshAxis x = {.name = name(p)};
        if (!take(p, '=')) { // the next line
            p->at = from;
            break;
        }
        x.ranks = (uint32_t)integer(p, 1, MAX_RANKS);
        if (p->m->meshes == MAX_MESH || mesh_find(p->m, x.name) != NONE)
            ERROR(p, from, "a mesh has at most %d axes, each with a name of its own", MAX_MESH);
        else if (mesh_ranks(p->m) * x.ranks > MAX_RANKS)
            ERROR(p, from, "more than %d ranks", MAX_RANKS);
        else
            p->m->mesh[p->m->meshes++] = x;
    }
    if (!p->m->meshes) ERROR(p, p->at, "expected a mesh axis");
}

// shard tensor (vocab, head, ff)
static void shard_line(IrParser *p) {
    ShardLine l = {.mesh = mesh_axis(p)};
    if (!p->failed) l.axes = axes(p);
    if (!p->failed) vec_push(p->arena, &p->m->shards, l);
}

static void whole_line(IrParser *p) {
    static const char *const names[] = {"step", "eval", "predict"};
    uint32_t which = one_of(p, names, 3, "function");
    if (which == 0) p->m->whole_step = true;
    if (which == 1) p->m->whole_eval = true;
    if (which == 2) p->m->whole_predict = true;
}

static void repeat_line(IrParser *p) {
    const char *from = here(p);
    Repeat r = {.axis = name(p)};
    expect(p, '=');
    r.rounds = integer(p, 0, UINT32_MAX);
    if (take_word(p, "in")) r.parent = (uint32_t)integer(p, 0, (int64_t)p->m->repeats.n - 1);
    if (take(p, '@')) source_range(p, &r.loc);
    if (p->failed) return;
    uint32_t id = repeat_new(p->m, sym_str(p->m->syms, r.axis), r.rounds, r.parent, r.loc);
    if (repeat_total(p->m, id) < 0) ERROR(p, from, "more than 2^32 rounds inside each other");
}

static StateId earlier_state(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    StateId id = p->failed ? NONE : state_find(p->m, s);
    if (id == NONE) ERROR(p, from, "no state '%.100s' before here", sym_str(p->m->syms, s));
    return id;
}

static void state_tails(IrParser *p, State *s) {
    for (;;) {
        if (take_word(p, "of")) {
            expect(p, '=');
            s->of = earlier_state(p);
            continue;
        }
        if (take_word(p, "local")) {
            expect(p, '=');
            s->local = type(p);
            continue;
        }
        if (take_word(p, "frozen"))
            s->frozen = 1;
        else if (take_word(p, "n_batch"))
            expect(p, '='), s->n_batch = (uint16_t)integer(p, 0, MAX_AXES);
        else if (take_word(p, "n_in"))
            expect(p, '='), s->n_in = (uint16_t)integer(p, 0, MAX_AXES);
        else if (take(p, '@'))
            at_tail(p, &s->loc, &s->mem);
        else
            return;
    }
}

static void state_line(IrParser *p) {
    const char *from = here(p);
    Sym s = name(p);
    if (!p->failed && (s == 0 || state_find(p->m, s) != NONE))
        ERROR(p, from, "state '%.100s' is declared twice or has no name", sym_str(p->m->syms, s));
    expect(p, ':');
    TypeId t = type(p);
    uint32_t kind = one_of(p, state_kind_names, STATE_KINDS, "kind of state");
    if (p->failed) return;
    StateId id = state_new(p->m, sym_str(p->m->syms, s), t, (StateKind)kind, (Loc){0});
    state_tails(p, &p->m->states.at[id]);
}

// recomputes every 2 in layer
static void recompute_line(IrParser *p) {
    Recompute r = {.mode = one_of(p, recompute_names, RECOMPUTE_MODES, "how much is recomputed")};
    if (r.mode != RECOMPUTE_none) r.number = integer(p, 1, INT64_MAX);
    if (take_word(p, "in")) r.axis = name(p);
    if (take(p, '@')) source_range(p, &r.loc);
    if (!p->failed) p->m->recompute = r;
}

static bool demand_line(IrParser *p) {
    Demand d = {.kind = DEMAND_KINDS};
    for (uint32_t i = 0; i < DEMAND_KINDS && d.kind == DEMAND_KINDS; i++)
        if (take_word(p, demand_names[i])) d.kind = (uint8_t)i;
    if (d.kind == DEMAND_KINDS) return false;
    d.path = name(p);
    d.exact = take_word(p, "exact");
    if (take(p, '@')) source_range(p, &d.loc);
    if (!p->failed) vec_push(p->arena, &p->m->demands, d);
    return true;
}

static void precision_line(IrParser *p) {
    Precision l = {.path = name(p)};
    l.exact = take_word(p, "exact");
    l.demand = take_word(p, "demand");
    expect(p, '{');
    while (!p->failed && !take(p, '}')) {
        const char *from = here(p);
        uint32_t attr = one_of(p, precision_names, PRECISIONS, "attribute");
        expect(p, '=');
        uint32_t format = one_of(p, format_names + 1, FORMATS - 1, "format") + 1;
        if (!p->failed && l.format[attr]) ERROR(p, from, "'%s' twice", precision_names[attr]);
        if (p->failed) return;
        l.format[attr] = (uint8_t)format;
        if (peek(p) != '}') expect(p, ',');
    }
    if (take(p, '@')) source_range(p, &l.loc);
    if (!p->failed) vec_push(p->arena, &p->m->precisions, l);
}

static void sweep_line(IrParser *p) {
    enum { MOST_MIB = 1 << 30 };
    if (!take_word(p, "above")) ERROR(p, p->at, "expected 'above'");
    expect(p, '=');
    p->m->sweep_above = integer(p, 1, (int64_t)MOST_MIB << 20);
    if (!take_word(p, "rows")) ERROR(p, p->at, "expected 'rows'");
    expect(p, '=');
    p->m->sweep_rows = integer(p, 1, INT32_MAX);
}

static void item(IrParser *p) {
    if (take_word(p, "file"))
        file_line(p);
    else if (take_word(p, "mesh"))
        mesh_line(p);
    else if (take_word(p, "shard"))
        shard_line(p);
    else if (take_word(p, "axis"))
        axis_line(p);
    else if (take_word(p, "whole"))
        whole_line(p);
    else if (take_word(p, "repeat"))
        repeat_line(p);
    else if (take_word(p, "state"))
        state_line(p);
    else if (take_word(p, "precision"))
        precision_line(p);
    else if (take_word(p, "rounded"))
        p->m->rounded = true;
    else if (take_word(p, "recomputes"))
        recompute_line(p);
    else if (take_word(p, "sweep"))
        sweep_line(p);
    else if (take_word(p, "merges"))
        p->m->merge = one_of(p, merge_names, MERGE_MODES, "mode");
    else if (take_word(p, "func"))
        func(p, false);
    else if (take_word(p, "region"))
        func(p, true);
    else if (!demand_line(p))
        ERROR(p, p->at,
              "expected 'file', 'mesh', 'axis', 'shard', 'whole', 'repeat', 'state', 'precision', "
              "'rounded', "
              "'recomputes', 'sweep', 'merges', a demand, 'func' or 'region'");
}

Module *ir_parse(Arena *a, SymTab *syms, Diag *d, uint16_t file) {
    const SourceFile source = d->files.at[file];
    Module *m = module_new(a, syms, d);
    IrParser p = {.arena = a, .m = m, .d = d, .file = file};
    p.text = p.at = source.text;
    p.end = source.text + source.size;
    if (source.size > UINT32_MAX / 2) ERROR(&p, p.at, "the file is too large");
    skip(&p);
    while (!p.failed && p.at < p.end) {
        item(&p);
        skip(&p);
    }
    for (FuncId i = 0; i < m->funcs.n && !p.failed; i++)
        if (!p.defined.at[i]) ERROR(&p, p.at, "function #%u is not defined", i);
    if (p.failed) return NULL;
    module_number(m);
    return m;
}

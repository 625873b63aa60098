// Tokens with statement ends, and the small checks that shape the tree while the grammar builds it.
//
// A line end ends a statement, except inside ( ) and [ ], after an operator, a comma or an opening
// brace, and before 'else'. ';' always does. The scanner hands out every line end; this file
// decides which of them count, follows the brackets (so that words after ':' in a plan are read as
// paths), and keeps hostile input from nesting without bound: 200 brackets, 256 levels of one
// expression, 64 bodies. After a syntax error it makes line ends count again and skips a block
// whose head was broken. It needs the text registered with Diag; it leaves a tree without NULL
// children. Linear.
#include "frontend/parse_internal.h"
#include <string.h>

enum { MAX_SOURCE = 16 << 20 }; // bytes

// ---- statement ends -----------------------------------------------------------------------------

bool parse_operator(int kind) {
    bool long_one = kind == T_IDIV || kind == T_LE || kind == T_GE || kind == T_EQ || kind == T_NE;
    return long_one || (kind > 0 && kind < 128 && strchr("+-*/%^@<>", kind));
}

// Whether a line may not end after this token.
bool parse_continues(int kind) {
    switch (kind) {
    case T_END: // nothing yet
    case T_SEP:
    case T_AND:
    case T_OR:
    case T_NOT:
    case T_THEN:
    case T_ELSE:
    case T_ARROW: return true;
    default:
        return parse_operator(kind) || (kind > 0 && kind < 128 && strchr("{,=~.", kind) != NULL);
    }
}

static LexMode current_mode(const Parse *p) {
    for (uint32_t i = p->depth; i-- > 0;)
        if (p->stack[i].open == '{') return p->stack[i].mode;
    return MODE_code;
}

static bool in_brackets(const Parse *p) { return p->depth && p->stack[p->depth - 1].open != '{'; }

// Forgets the open ( and [ of a broken statement, all but the innermost, which a note will name.
void parse_reset_brackets(Parse *p) {
    p->dropped = (Bracket){0};
    if (in_brackets(p)) p->dropped = p->stack[p->depth - 1];
    while (in_brackets(p)) p->depth--;
}

// False when there are too many, which is reported once per statement.
static bool open_bracket(Parse *p, int kind, Loc loc) {
    if (p->depth == AST_MAX_BRACKETS) {
        if (!p->too_many)
            diag_error(p->diag, loc, "more than %d brackets inside each other", AST_MAX_BRACKETS);
        p->too_many = true;
        return false;
    }
    LexMode mode =
        p->next_brace == MODE_code && current_mode(p) == MODE_plan ? MODE_plan : p->next_brace;
    bool joins = kind == '[' && parse_operator(p->prev);
    p->stack[p->depth++] = (Bracket){(char)kind, mode, joins, loc};
    if (kind == '{') p->next_brace = MODE_code;
    return true;
}

// Whether what closes belongs to an operator.
static bool close_bracket(Parse *p, int kind) {
    if (kind == '}') parse_reset_brackets(p);
    p->stray = kind == '}' && !p->depth;
    if (!p->depth) return false;
    char open = kind == '}' ? '{' : kind == ')' ? '(' : '[';
    if (p->stack[p->depth - 1].open != open) return false;
    return p->stack[--p->depth].joins;
}

static void end_statement(Parse *p) {
    p->recovering = p->too_deep = p->too_many = false;
    p->next_brace = MODE_code;
}

// Follows brackets and modes for a token that is about to be handed out.
static int hand_out(Parse *p, int kind, Loc loc) {
    if (kind == '{') parse_reset_brackets(p);
    if ((kind == '(' || kind == '[' || kind == '{') && !open_bracket(p, kind, loc))
        kind = T_SN_error;
    bool joins = (kind == ')' || kind == ']' || kind == '}') && close_bracket(p, kind);
    if (kind == T_TRAIN) p->next_brace = MODE_plan;
    if (kind == T_WEIGHTS) p->next_brace = MODE_weights;
    if (kind == T_SEP) end_statement(p);
    if (kind == T_SN_error) {
        p->recovering = true;
        parse_reset_brackets(p);
    }
    LexMode mode = current_mode(p);
    if (mode == MODE_weights)
        p->paths = !in_brackets(p);
    else if (mode == MODE_code || kind == T_SEP || kind == '{' || kind == '}')
        p->paths = false;
    else if (kind == ':' && !in_brackets(p))
        p->paths = true;
    p->prev = joins ? '@' : kind; // '@[a]' is an operator as a whole
    return kind;
}

// ---- raw tokens ---------------------------------------------------------------------------------

static int read_raw(Parse *p, SN_STYPE *value, Loc *loc) {
    int kind = scan_raw(value, loc, p);
    if (p->record) vec_push(p->arena, p->record, ((Token){kind, *loc}));
    return kind;
}

// The next token that is no comment and no line end; 'newline' is where the first line end was.
static int read_word(Parse *p, SN_STYPE *value, Loc *loc, Loc *newline) {
    p->fresh = p->prev == T_END || p->prev == T_SEP || p->prev == '{';
    for (;;) {
        int kind = read_raw(p, value, loc);
        if (kind == RAW_NEWLINE && !newline->file) *newline = *loc;
        if (kind == RAW_NEWLINE && !in_brackets(p) && !parse_continues(p->prev)) {
            p->fresh = true;
            if (current_mode(p) == MODE_plan) p->paths = false;
        }
        if (kind != RAW_NEWLINE && kind != RAW_COMMENT) return kind;
    }
}

// After the head of a block was found broken: passes over { … }.
static void skip_braces(Parse *p, uint32_t open) {
    SN_STYPE value;
    Loc loc;
    bool paths = p->paths;
    p->paths = false;
    while (open) {
        int kind = read_raw(p, &value, &loc);
        if (kind == '{') open++;
        if (kind == '}') open--;
        if (kind == T_END) break;
    }
    p->paths = paths;
    p->prev = '}';
}

static bool opens_item(int kind) {
    return kind == T_USE || kind == T_FN || kind == T_BLOCK || kind == T_MODEL || kind == T_TRAIN;
}

static void keep(Parse *p, int kind, const SN_STYPE *value, Loc loc) {
    p->peeked = true;
    p->next = kind;
    p->next_value = *value;
    p->next_loc = loc;
}

// 'block' inside a body means that a brace above was not closed: says so once and closes it, so
// that the rest of the file reads as it was meant.
static void close_braces(Parse *p, Loc at) {
    const Bracket *b = &p->stack[p->depth - 1];
    diag_error(p->diag, at, "expected '}' but found the reserved word '%.*s'",
               (int)(at.end - at.start), p->text + at.start);
    diag_note(p->diag, b->loc, "'{' opened here is not closed");
    p->closes = p->depth;
}

int parse_token(SN_STYPE *value, Loc *loc, Parse *p) {
    Loc newline = {0};
    int kind;
    if (p->skip_block) {
        p->skip_block = false;
        skip_braces(p, 1);
        if (p->depth) p->depth--;
    }
    if (p->closes) {
        p->closes--;
        *loc = (Loc){p->next_loc.file, p->next_loc.start, p->next_loc.start};
        return hand_out(p, '}', *loc);
    }
    if (p->peeked) {
        if (p->prev == '}' && opens_item(p->next)) { // the braces were put in: end that statement
            *loc = (Loc){p->next_loc.file, p->next_loc.start, p->next_loc.start};
            return hand_out(p, T_SEP, *loc);
        }
        p->peeked = false;
        kind = p->next;
        *value = p->next_value;
        *loc = p->next_loc;
    } else {
        kind = read_word(p, value, loc, &newline);
        while (kind == '{' && p->recovering) {
            skip_braces(p, 1);
            kind = read_word(p, value, loc, &newline);
        }
    }
    if (kind == ';') return hand_out(p, T_SEP, *loc);
    if (newline.file && !in_brackets(p) && !parse_continues(p->prev) && kind != T_ELSE) {
        if (kind == '{' && !p->recovering) {
            diag_error(p->diag, *loc, "'{' belongs on the line before");
            return hand_out(p, kind, *loc);
        }
        keep(p, kind, value, *loc);
        *loc = newline;
        return hand_out(p, T_SEP, *loc);
    }
    if (opens_item(kind) && p->depth && (p->prev == T_SEP || p->prev == '{')) {
        keep(p, kind, value, *loc);
        close_braces(p, *loc);
        return parse_token(value, loc, p);
    }
    return hand_out(p, kind, *loc);
}

// ---- building the tree --------------------------------------------------------------------------

static uint16_t max_depth(uint16_t d, const Expr *e) { return e && e->depth > d ? e->depth : d; }

static uint16_t children_depth(const Expr *e) {
    uint16_t d = 0;
    switch (e->kind) {
    case E_number:
    case E_string:
    case E_name: return 0;
    case E_call:
        for (uint32_t i = 0; i < e->call.args.n; i++) d = max_depth(d, e->call.args.at[i].value);
        return d;
    case E_tuple:
        for (uint32_t i = 0; i < e->tuple.n; i++) d = max_depth(d, e->tuple.at[i]);
        return d;
    case E_view:
        d = max_depth(d, e->view.base);
        for (uint32_t i = 0; i < e->view.items.n; i++)
            d = max_depth(max_depth(d, e->view.items.at[i].index), e->view.items.at[i].outside);
        return d;
    case E_unary: return max_depth(d, e->unary.x);
    case E_binary: return max_depth(max_depth(d, e->binary.a), e->binary.b);
    case E_contract: return max_depth(max_depth(d, e->contract.a), e->contract.b);
    case E_if: return max_depth(max_depth(max_depth(d, e->cond.cond), e->cond.yes), e->cond.no);
    }
    unreachable(e->kind);
}

// A node whose children are too deep is replaced by a leaf: the file is rejected anyway.
Expr *parse_expr(Parse *p, Loc loc, Expr e) {
    Expr *n = NEW(p->arena, Expr);
    *n = e;
    n->loc = loc;
    n->depth = (uint16_t)(children_depth(&e) + 1);
    if (n->depth <= AST_MAX_DEPTH) return n;
    if (!p->too_deep)
        diag_error(p->diag, loc, "the expression has more than %d levels; name a part of it",
                   AST_MAX_DEPTH);
    p->too_deep = true;
    *n = (Expr){.kind = E_number, .loc = loc, .depth = 1};
    return n;
}

static uint16_t body_depth(uint16_t d, const StmtList *body) {
    for (uint32_t i = 0; i < body->n; i++)
        if (body->at[i]->depth > d) d = body->at[i]->depth;
    return d;
}

Stmt *parse_stmt(Parse *p, Loc loc, Stmt s) {
    Stmt *n = NEW(p->arena, Stmt);
    *n = s;
    n->loc = loc;
    n->depth = 1;
    if (s.kind == S_repeat) n->depth = (uint16_t)(1 + body_depth(0, &s.repeat.body));
    if (s.kind == S_if)
        n->depth = (uint16_t)(1 + body_depth(body_depth(0, &s.branch.yes), &s.branch.no));
    if (n->depth <= AST_MAX_BODIES) return n;
    diag_error(p->diag, loc, "more than %d bodies inside each other", AST_MAX_BODIES);
    *n = (Stmt){.kind = S_param, .loc = loc, .depth = 1};
    return n;
}

Prod parse_one(Parse *p, Loc loc, const Expr *number) {
    bool odd = !number->number.is_int || number->number.integer != 1;
    if (odd)
        diag_error(p->diag, loc,
                   "axes stand in '[ ]' by name, as in sum[axis](x) and x[axis: %s], found '%s'",
                   sym_str(p->syms, number->number.text), sym_str(p->syms, number->number.text));
    return (Prod){.loc = loc, .one = true, .odd = odd};
}

static bool is_axis(const Sum *s) {
    return s->parts.n == 1 && !s->parts.at[0].one && s->parts.at[0].factors.n == 1;
}

AstView parse_arrow(Parse *p, Loc loc, Sum from, Sum to) {
    AstView v = {.loc = loc, .kind = VIEW_reshape, .from = from, .to = to};
    bool ones = false;
    if (from.parts.n == 1) ones = from.parts.at[0].one;
    if (to.parts.n == 1) ones = ones || to.parts.at[0].one;
    if (from.parts.n > 1 && to.parts.n > 1)
        diag_error(p->diag, loc, "only one side of '->' may be a sum");
    else if (ones)
        diag_error(p->diag, loc, "'1' stands for a part of a sum of two or more");
    if (from.parts.n > 1)
        v.kind = VIEW_join;
    else if (to.parts.n > 1)
        v.kind = VIEW_cut;
    else if (is_axis(&from) && is_axis(&to))
        v.kind = VIEW_rename;
    return v;
}

// The grammar marks an item without '->' and ':' by an empty right side.
static bool is_plain(const AstView *v) { return v->kind != VIEW_index && v->to.parts.n == 0; }

static bool all_plain(const ViewList *items) {
    for (uint32_t i = 0; i < items->n; i++)
        if (!is_plain(&items->at[i])) return false;
    return true;
}

// A number where an axis should stand, which is reported.
static bool is_odd(const AstView *v) {
    return v->kind != VIEW_index && v->from.parts.n == 1 && v->from.parts.at[0].odd;
}

// The brackets of a call: a list of axes with one '->' at most, which was read as a rename of its neighbours.
static void set_axes(Parse *p, Expr *call, const ViewList *items) {
    for (uint32_t i = 0; i < items->n; i++) {
        const AstView *v = &items->at[i];
        bool arrow = v->kind == VIEW_rename && !is_plain(v);
        if (is_odd(v)) return;
        if ((arrow && call->call.arrow) || (!arrow && (!is_plain(v) || !is_axis(&v->from)))) {
            bool number = is_plain(v) && v->from.parts.at[0].one;
            diag_error(p->diag, v->loc,
                       number ? "axes stand in '[ ]' by name, as in sum[axis](x) and x[axis: 1]"
                              : "a call takes axes in '[ ]', with one '->' at most");
            return;
        }
        vec_push(p->arena, &call->call.axes, v->from.parts.at[0].factors.at[0]);
        if (!arrow) continue;
        call->call.arrow = true;
        call->call.left = call->call.axes.n;
        vec_push(p->arena, &call->call.axes, v->to.parts.at[0].factors.at[0]);
    }
    call->call.has_axes = true;
}

Expr *parse_call(Parse *p, Loc loc, Expr *name, const ViewList *items, Loc items_loc,
                 const CallArgList *args) {
    Expr e = {.kind = E_call};
    e.call.qualifier = name->name.qualifier;
    e.call.name = name->name.name;
    e.call.name_loc = name->loc;
    e.call.axes_loc = items_loc;
    if (args) e.call.has_args = true, e.call.args = *args;
    if (items) set_axes(p, &e, items);
    return parse_expr(p, loc, e);
}

static void check_view(Parse *p, const AstView *v, uint32_t n) {
    if (is_odd(v)) return;
    if (is_plain(v)) diag_error(p->diag, v->loc, "expected 'a -> b' or 'a: index' in a view");
    if (n > 1 && (v->kind == VIEW_cut || v->kind == VIEW_join))
        diag_error(p->diag, v->loc, "a sum stands alone in its brackets");
}

// base[items]: a call without ( ) when a name is followed by axes only, else a view.
Expr *parse_bracket(Parse *p, Loc loc, Expr *base, ViewList items, Loc items_loc) {
    if (base->kind == E_name && !base->parens && all_plain(&items))
        return parse_call(p, loc, base, &items, items_loc, NULL);
    if (!items.n) diag_error(p->diag, items_loc, "expected 'a -> b' or 'a: index' in a view");
    for (uint32_t i = 0; i < items.n; i++) check_view(p, &items.at[i], items.n);
    Expr e = {.kind = E_view, .view = {.base = base, .items = items}};
    return parse_expr(p, loc, e);
}

// In 'a[x], b[y] ~ e' both start from e; the last of a line needs one.
DeclList parse_decl_end(Parse *p, DeclList decls) {
    Expr *init = NULL;
    for (uint32_t i = decls.n; i-- > 0;) {
        Decl *d = &decls.at[i];
        if (d->init)
            init = d->init;
        else if (init)
            d->init = init;
        else {
            Loc after = {d->loc.file, d->loc.end, d->loc.end};
            diag_error(p->diag, after, "expected '~' and the first value of '%s'",
                       sym_str(p->syms, d->name));
            init = d->init = parse_expr(p, d->loc, (Expr){.kind = E_number});
        }
    }
    return decls;
}

// ---- the file -----------------------------------------------------------------------------------

// Bytes to skip at the front: editors on some systems write a mark of the encoding.
static uint32_t mark_length(const SourceFile *f) {
    return f->size >= 3 && !memcmp(f->text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

bool parse_text(Parse *p, Diag *d, uint16_t file) {
    const SourceFile *f = &d->files.at[file];
    p->diag = d;
    p->file = file;
    p->text = f->text;
    p->ast = NEW(p->arena, AstFile);
    p->ast->file = file;
    p->prev = T_END;
    if (f->size > MAX_SOURCE) {
        diag_error(d, (Loc){file, 0, 0}, "the file has %zu bytes; at most %d are read", f->size,
                   MAX_SOURCE);
        return false;
    }
    p->offset = mark_length(f);
    uint32_t errors = d->errors;
    scan_open(p, f->text + p->offset, f->size - p->offset);
    sn_parse(p);
    scan_close(p);
    return d->errors == errors;
}

AstFile *parse_file(Arena *a, SymTab *syms, Diag *d, uint16_t file) {
    Parse p = {.arena = a, .syms = syms};
    parse_text(&p, d, file);
    return p.ast;
}

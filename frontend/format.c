// The canonical layout of a source file (`sinter fmt`).
//
// It lays out the tokens and comments of the text, not its tree: so comments keep their places and
// the meaning cannot change, because the same tokens come out in the same order with the same line
// ends. What it decides: two spaces per open brace (and two more for a line that goes on), spaces
// between tokens, the column of the plan's options, the column of comments at line ends, and single
// blank lines. What the writer decides: where lines break. Formatting its own output changes
// nothing: every decision reads tokens, never columns of the input. Linear in the text.
#include "frontend/frontend.h"
#include "frontend/parse_internal.h"
#include <string.h>

enum {
    INDENT = 2,
    PLAN_COLUMN = 10,  // width of the first word of a plan line
    COMMENT_WIDTH = 84 // longer lines take no part in aligning comments
};

// One line of output: the code, and the comment at its end or alone.
typedef struct {
    const char *code;
    uint32_t columns; // of the code on a screen
    const char *comment;
    bool blank_before;
} OutputLine;

typedef struct {
    char open;
    LexMode mode;
    bool joins; // '[' of an operator
} Open;

typedef struct {
    Arena *arena;
    const char *text;
    TokenList tokens;
    VEC(OutputLine) lines;
    VEC(Open) stack;
    LexMode next_brace;
    int prev;        // the last token of the line; 0 at its start
    bool prev_unary; // prev is a sign, not a difference
    bool prev_joins; // prev is the ']' of an operator: '@[…]', '+[]'
    bool continued;  // the statement goes on from the line before
    int last;        // token of the line before, 0 for a comment
} Formatter;

static bool is_keyword(int k) { return k >= T_USE && k <= T_NOT; }

// A token after which an expression starts, so that '-' is a sign.
static bool expects_value(int k) {
    return k == 0 || is_keyword(k) || k == T_ARROW || k == T_SEP || parse_operator(k) ||
           (k > 0 && k < 128 && strchr("([{,;:=~", k));
}

static const Open *innermost(const Formatter *l) {
    return l->stack.n ? &l->stack.at[l->stack.n - 1] : NULL;
}

static bool space_before_bracket(const Formatter *l, int k) {
    if (k == '[' && parse_operator(l->prev)) return false;
    if (k == '[' && l->prev == T_STRING) return true; // the layout of a weight
    if (l->prev == T_NAME || l->prev == ')' || (l->prev == ']' && !l->prev_joins)) return false;
    return true;
}

// Whether one space stands between l->prev and a token; a power with brackets has spaces, one without none.
static bool space_between(const Formatter *l, const Token *t) {
    int p = l->prev, k = t->kind;
    if (p == 0) return false;
    if (k == ',' || k == ';' || k == ')' || k == ']') return false;
    if (p == '(' || p == '[' || l->prev_unary || p == T_DOTS) return false;
    if (p == '.' || k == '.' || p == '^') return false;
    if (k == '^') return t[1].kind == '[';
    if (k == '(' || k == '[') return space_before_bracket(l, k);
    if (p == '{' && k == '}') return false;
    if (k == ':') return false;
    return true;
}

static void open_layout(Formatter *l, int k) {
    const Open *top = innermost(l);
    LexMode mode = l->next_brace;
    if (mode == MODE_code && top && top->mode == MODE_plan) mode = MODE_plan;
    vec_push(l->arena, &l->stack, ((Open){(char)k, mode, k == '[' && parse_operator(l->prev)}));
    if (k == '{') l->next_brace = MODE_code;
}

// Puts one token of code after those already on the line.
static void put_token(Formatter *l, Text *line, const Token *t) {
    int k = t->kind;
    bool unary = k == '-' && (expects_value(l->prev) || l->prev_joins);
    if (space_between(l, t)) text_put(line, " ", 1);
    text_put(line, l->text + t->loc.start, t->loc.end - t->loc.start);
    bool joins = false;
    if (k == '(' || k == '[' || k == '{') open_layout(l, k);
    if ((k == ')' || k == ']' || k == '}') && l->stack.n) joins = l->stack.at[--l->stack.n].joins;
    if (k == T_TRAIN) l->next_brace = MODE_plan;
    if (k == T_WEIGHTS) l->next_brace = MODE_weights;
    l->prev = k;
    l->prev_unary = unary;
    l->prev_joins = joins;
}

// The first word of a plan line and its column: "optimizer adamw", "lr        cosine(…)".
static bool starts_option(const Formatter *l, const Token *t, const Token *next) {
    const Open *top = innermost(l);
    return t->kind == T_NAME && !l->continued && top && top->open == '{' &&
           top->mode == MODE_plan && next->kind != RAW_NEWLINE && next->kind != T_END &&
           next->kind != ';' && next->kind != '}' && next->kind != RAW_COMMENT;
}

static void put_option(Formatter *l, Text *line, const Token *t) {
    put_token(l, line, t);
    uint32_t width = t->loc.end - t->loc.start;
    text_printf(line, "%*s", width < PLAN_COLUMN ? (int)(PLAN_COLUMN - width) : 1, "");
    l->prev = 0; // the space is there
}

static uint32_t screen_columns(const char *s) {
    uint32_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static const char *comment_text(const Formatter *l, const Token *t) {
    uint32_t end = t->loc.end;
    while (end > t->loc.start && strchr(" \t\r", l->text[end - 1])) end--;
    return arena_str(l->arena, l->text + t->loc.start, end - t->loc.start);
}

static uint32_t open_braces(const Formatter *l) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->stack.n; i++) n += l->stack.at[i].open == '{';
    return n;
}

static uint32_t line_indent(const Formatter *l, int first) {
    uint32_t depth = open_braces(l);
    if (first == '}' && depth) depth--;
    bool inside = l->stack.n && innermost(l)->open != '{';
    bool closing = first == ')' || first == ']';
    return INDENT * (depth + ((inside || l->continued) && !closing && first != '}'));
}

// Lays out the tokens of one line of input; returns the index after its end.
static uint32_t put_line(Formatter *l, uint32_t i, bool blank) {
    Text code = {.arena = l->arena};
    OutputLine line = {.code = "", .blank_before = blank};
    const Token *t = &l->tokens.at[i];
    text_printf(&code, "%*s", (int)line_indent(l, t->kind), "");
    l->prev = 0;
    l->prev_unary = l->prev_joins = false;
    int last = 0;
    if (starts_option(l, t, t + 1)) put_option(l, &code, t), last = t->kind, t++;
    for (; t->kind != RAW_NEWLINE && t->kind != RAW_COMMENT && t->kind != T_END; t++) {
        put_token(l, &code, t);
        last = t->kind;
    }
    if (last) l->continued = l->prev_joins || (parse_continues(last) && last != '{');
    l->last = last;
    line.code = code.at ? code.at : "";
    line.columns = screen_columns(line.code);
    if (t->kind == RAW_COMMENT) line.comment = comment_text(l, t++);
    vec_push(l->arena, &l->lines, line);
    return (uint32_t)(t - l->tokens.at);
}

// Blank lines are kept single, and dropped at the ends of the file and beside braces.
static void put_lines(Formatter *l) {
    bool blank = false;
    for (uint32_t i = 0; l->tokens.at[i].kind != T_END;) {
        int k = l->tokens.at[i].kind;
        if (k == RAW_NEWLINE) {
            bool empty = i == 0 || l->tokens.at[i - 1].kind == RAW_NEWLINE;
            blank = blank || empty;
            i++;
            continue;
        }
        bool first = l->lines.n == 0 || l->last == '{' || k == '}';
        i = put_line(l, i, blank && !first);
        blank = false;
    }
}

static bool has_tail(const OutputLine *line) {
    return line->comment && line->columns > 0 && strspn(line->code, " ") < line->columns;
}

// Comments at the ends of neighbouring lines share a column.
static uint32_t comment_column(const Formatter *l, uint32_t from) {
    uint32_t widest = 0;
    for (uint32_t i = from; i < l->lines.n && has_tail(&l->lines.at[i]); i++) {
        const OutputLine *line = &l->lines.at[i];
        if (i > from && line->blank_before) break;
        if (line->columns <= COMMENT_WIDTH && line->columns > widest) widest = line->columns;
    }
    return widest;
}

static void print_lines(const Formatter *l, Text *out) {
    uint32_t column = 0;
    bool in_run = false;
    for (uint32_t i = 0; i < l->lines.n; i++) {
        const OutputLine *line = &l->lines.at[i];
        bool tail = has_tail(line);
        if (tail && (!in_run || line->blank_before)) column = comment_column(l, i);
        in_run = tail;
        if (line->blank_before) text_put(out, "\n", 1);
        text_put(out, line->code, strlen(line->code));
        if (tail) {
            uint32_t pad = line->columns < column ? column - line->columns : 0;
            text_printf(out, "%*s", (int)pad + 2, "");
        }
        if (line->comment) text_put(out, line->comment, strlen(line->comment));
        text_put(out, "\n", 1);
    }
}

char *frontend_format(Arena *a, Diag *d, uint16_t file) {
    Formatter l = {.arena = a, .text = d->files.at[file].text};
    Parse p = {.arena = a, .syms = symtab_new(a), .record = &l.tokens};
    if (!parse_text(&p, d, file)) return NULL;
    put_lines(&l);
    Text out = {.arena = a};
    text_put(&out, "", 0);
    print_lines(&l, &out);
    return out.at ? out.at : arena_str(a, "", 0);
}

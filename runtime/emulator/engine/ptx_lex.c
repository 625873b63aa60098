// Tokens of PTX text. Comments are skipped; everything else that the language does not have is an
// error with its line.
#include "runtime/emulator/engine/ptx.h"
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
static bool is_word(char c) { return is_start(c) || is_digit(c); }
static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void skip_comment(Load *l, Lexer *x) {
    uint32_t line = x->line;
    for (x->at += 2;; x->at++) {
        if (x->end - x->at < 2) load_error(l, line, "comment without an end");
        if (x->at[0] == '*' && x->at[1] == '/') break;
        if (*x->at == '\n') x->line++;
    }
    x->at += 2;
}

static void skip_blanks(Load *l, Lexer *x) {
    while (x->at < x->end) {
        char c = *x->at;
        bool two = x->end - x->at >= 2;
        if (c == '\n') {
            x->line++;
            x->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
            x->at++;
        } else if (two && c == '/' && x->at[1] == '/') {
            while (x->at < x->end && *x->at != '\n') x->at++;
        } else if (two && c == '/' && x->at[1] == '*') {
            skip_comment(l, x);
        } else {
            return;
        }
    }
}

// 0f or 0d and the bits in hex.
static void lex_bits(Load *l, Lexer *x, Tok *t, int digits) {
    t->kind = digits == 8 ? TOK_f32 : TOK_float;
    x->at += 2;
    for (int i = 0; i < digits; i++, x->at++) {
        int h = x->at < x->end ? hex_digit(*x->at) : -1;
        if (h < 0) load_error(l, t->line, "a floating-point constant needs %d hex digits", digits);
        t->value = t->value << 4 | (uint64_t)h;
    }
}

static void lex_radix(Load *l, Lexer *x, Tok *t, unsigned radix, int prefix) {
    const char *start = x->at += prefix;
    for (; x->at < x->end; x->at++) {
        int h = hex_digit(*x->at);
        if (h < 0 || (unsigned)h >= radix) break;
        if (t->value > (UINT64_MAX - (unsigned)h) / radix)
            load_error(l, t->line, "an integer constant does not fit 64 bits");
        t->value = t->value * radix + (unsigned)h;
    }
    if (x->at == start && prefix) load_error(l, t->line, "a constant without digits");
    if (x->at < x->end && *x->at == 'U') x->at++;
}

static void lex_decimal_float(Load *l, Lexer *x, Tok *t) {
    char buffer[64];
    size_t n = 0;
    while (x->at < x->end &&
           (is_digit(*x->at) || *x->at == '.' || *x->at == 'e' || *x->at == 'E' ||
            ((*x->at == '+' || *x->at == '-') && n && (x->at[-1] == 'e' || x->at[-1] == 'E')))) {
        if (n == sizeof buffer - 1) load_error(l, t->line, "a constant of too many digits");
        buffer[n++] = *x->at++;
    }
    buffer[n] = 0;
    char *end;
    double d = strtod(buffer, &end);
    if (*end) load_error(l, t->line, "not a number: '%s'", buffer);
    t->kind = TOK_float;
    memcpy(&t->value, &d, 8);
}

static void lex_number(Load *l, Lexer *x, Tok *t) {
    t->kind = TOK_int;
    char second = x->end - x->at >= 2 ? x->at[1] : ' ';
    bool zero = *x->at == '0';
    if (zero && (second == 'f' || second == 'F')) {
        lex_bits(l, x, t, 8);
    } else if (zero && (second == 'd' || second == 'D')) {
        lex_bits(l, x, t, 16);
    } else if (zero && (second == 'x' || second == 'X')) {
        lex_radix(l, x, t, 16, 2);
    } else if (zero && (second == 'b' || second == 'B')) {
        lex_radix(l, x, t, 2, 2);
    } else {
        const char *p = x->at;
        while (p < x->end && is_digit(*p)) p++;
        if (p < x->end && (*p == '.' || *p == 'e' || *p == 'E'))
            lex_decimal_float(l, x, t);
        else
            lex_radix(l, x, t, zero ? 8 : 10, 0);
    }
    if (x->at < x->end && is_word(*x->at))
        load_error(l, t->line, "a constant runs into a name: '%.20s'", x->at);
}

static void lex_dot(Load *l, Lexer *x, Tok *t) {
    t->kind = TOK_dot;
    x->at++;
    while (x->at < x->end && (is_word(*x->at) || (x->end - x->at >= 3 && x->at[0] == ':' &&
                                                  x->at[1] == ':' && is_word(x->at[2]))))
        x->at += *x->at == ':' ? 2 : 1;
    if (x->at == t->at + 1) load_error(l, t->line, "a '.' without a word");
}

static void lex_string(Load *l, Lexer *x, Tok *t) {
    t->kind = TOK_string;
    for (x->at++; x->at < x->end && *x->at != '"' && *x->at != '\n'; x->at++)
        if (*x->at == '\\' && x->end - x->at >= 2 && x->at[1] != '\n') x->at++;
    if (x->at == x->end || *x->at != '"') load_error(l, t->line, "string without an end");
    x->at++;
}

Tok ptx_next(Load *l, Lexer *x) {
    skip_blanks(l, x);
    Tok t = {.kind = TOK_end, .at = x->at, .line = x->line};
    if (x->at == x->end) return t;
    char c = *x->at;
    if (is_digit(c)) {
        lex_number(l, x, &t);
    } else if (is_start(c)) {
        t.kind = TOK_name;
        while (x->at < x->end && is_word(*x->at)) x->at++;
    } else if (c == '.') {
        lex_dot(l, x, &t);
    } else if (c == '"') {
        lex_string(l, x, &t);
    } else if (strchr("{}[]()<>,;:+-*@!|=&~", c) && c) {
        t.kind = TOK_punct;
        t.punct = c;
        x->at++;
    } else {
        load_error(l, x->line, "unexpected byte 0x%02x", (unsigned)(unsigned char)c);
    }
    t.n = (uint32_t)(x->at - t.at);
    return t;
}

// See json.h. Strict: control characters in strings, overlong or broken UTF-8, lone surrogates and NUL
// characters are faults, as is whatever the grammar does not allow. O(n); no recursion.
#include "runtime/files/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fail(SnJson *j, const char *why) {
    if (!j->fault) j->fault = why;
    return false;
}

char sn_json_peek(SnJson *j) {
    while (j->at < j->n && strchr(" \t\r\n", j->text[j->at]) && j->text[j->at]) j->at++;
    return j->at < j->n && !j->fault ? j->text[j->at] : 0;
}

bool sn_json_take(SnJson *j, char c) {
    if (sn_json_peek(j) != c || !c) return false;
    j->at++;
    return true;
}

bool sn_json_need(SnJson *j, char c) {
    if (sn_json_take(j, c)) return true;
    return fail(j, c == ':'   ? "':' is missing"
                   : c == '{' ? "'{' is missing"
                              : "a token is missing");
}

bool sn_json_next(SnJson *j, char open, bool *first) {
    char end = open == '{' ? '}' : ']';
    bool was_first = *first;
    *first = false;
    if (sn_json_take(j, end)) return false;
    if (was_first) return !j->fault;
    return sn_json_take(j, ',') || fail(j, "neither ',' nor the end of a list or table");
}

// ---- strings ------------------------------------------------------------------------------------

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex_word(SnJson *j, uint32_t *to) {
    *to = 0;
    if (j->n - j->at < 4) return fail(j, "an escape is cut off");
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(j->text[j->at]);
        if (digit < 0) return fail(j, "an escape that is none");
        *to = *to << 4 | (uint32_t)digit;
        j->at++;
    }
    return true;
}

// Behind "\u". A character beyond the first 65536 is a pair of surrogates.
static bool code_point(SnJson *j, uint32_t *to) {
    uint32_t low;
    if (!hex_word(j, to)) return false;
    if (!*to) return fail(j, "a NUL character");
    if (*to < 0xd800 || *to > 0xdfff) return true;
    if (*to > 0xdbff || j->n - j->at < 2 || j->text[j->at] != '\\' || j->text[j->at + 1] != 'u')
        return fail(j, "half a surrogate pair");
    j->at += 2;
    if (!hex_word(j, &low)) return false;
    if (low < 0xdc00 || low > 0xdfff) return fail(j, "half a surrogate pair");
    *to = 0x10000 + ((*to - 0xd800) << 10 | (low - 0xdc00));
    return true;
}

// Never longer than its escape.
static char *put_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)((0xff00 >> (more + 1) & 0xff) | c >> 6 * more);
    while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return to;
}

static bool escape(SnJson *j, char **to) {
    static const char from[] = "\"\\/bfnrt", is[] = "\"\\/\b\f\n\r\t";
    char c = j->at < j->n ? j->text[j->at] : 0;
    const char *known = c ? strchr(from, c) : NULL;
    uint32_t code;
    if (known) {
        j->at++;
        *(*to)++ = is[known - from];
        return true;
    }
    if (c != 'u') return fail(j, "an escape that is none");
    j->at++;
    if (!code_point(j, &code)) return false;
    *to = put_utf8(*to, code);
    return true;
}

// Bytes of the UTF-8 character at p, of which n are left; 0: it is none.
static size_t utf8_length(const unsigned char *p, size_t n) {
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (!length || p[0] > 0xf4 || length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0; // overlong
    if (p[0] == 0xed && p[1] > 0x9f) return 0; // surrogates
    if (p[0] == 0xf0 && p[1] < 0x90) return 0; // overlong
    return p[0] == 0xf4 && p[1] > 0x8f ? 0 : length;
}

char *sn_json_string(SnJson *j) {
    if (!sn_json_take(j, '"')) {
        fail(j, "a string is missing");
        return NULL;
    }
    char *start = j->text + j->at, *to = start;
    while (j->at < j->n && j->text[j->at] != '"') {
        unsigned char c = (unsigned char)j->text[j->at];
        size_t length = utf8_length((const unsigned char *)j->text + j->at, j->n - j->at);
        if (c < 0x20 || !length) {
            fail(j, c < 0x20 ? "a control character in a string" : "bytes that are not UTF-8");
            return NULL;
        }
        if (c == '\\') {
            j->at++;
            if (!escape(j, &to)) return NULL;
            continue;
        }
        memmove(to, j->text + j->at, length);
        to += length;
        j->at += length;
    }
    if (j->at == j->n) {
        fail(j, "a string is cut off");
        return NULL;
    }
    j->at++;
    *to = 0; // on or before the closing quote
    return start;
}

bool sn_json_size(SnJson *j, uint64_t *to) {
    char c = sn_json_peek(j);
    size_t at = j->at;
    uint64_t value = 0;
    if (c < '0' || c > '9') return false;
    for (; at < j->n && j->text[at] >= '0' && j->text[at] <= '9'; at++) {
        if (c == '0' && at > j->at) return false; // 007
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(j->text[at] - '0'), &value) ||
            value > INT64_MAX)
            return false;
    }
    if (at < j->n && j->text[at] && strchr(".eE", j->text[at])) return false;
    j->at = at;
    *to = value;
    return true;
}

// ---- writing ------------------------------------------------------------------------------------

static bool room(SnText *t, size_t more) {
    if (t->failed) return false;
    if (t->limit - t->n > more) return true;
    size_t limit = (t->limit + more) * 2 + 64;
    char *grown = realloc(t->text, limit);
    t->failed = !grown;
    if (!grown) return false;
    t->text = grown;
    t->limit = limit;
    return true;
}

void sn_text_add(SnText *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) t->failed = true;
    if (n < 0 || !room(t, (size_t)n + 1)) return;
    va_start(args, format);
    t->n += (size_t)vsnprintf(t->text + t->n, (size_t)n + 1, format, args);
    va_end(args);
}

void sn_text_quote(SnText *t, const char *s) {
    size_t n = strlen(s);
    if (!room(t, 6 * n + 3)) return;
    char *to = t->text + t->n;
    *to++ = '"';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20) {
            to += snprintf(to, 7, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\') *to++ = '\\';
        *to++ = s[i];
    }
    *to++ = '"';
    *to = 0;
    t->n = (size_t)(to - t->text);
}

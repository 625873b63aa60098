// Hashes, the hash map, interned symbols and growing text; str.h and arena.h say what each promises.
//
// Symbols are ids into one table: equal spelling is equal id, so that the compiler compares names as
// integers and iterates by id, never by address. Map is open addressing at most half full, O(1) a look-up.
#include "ir/base/str.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++) h = (h ^ s[i]) * 0x100000001b3ull;
    return h;
}

uint64_t hash_u64(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15ull; // one multiply and a fold: ids are small integers
    return h ^ (h >> 29);
}

uint32_t *map_slot(Map *m, uint64_t key, bool *fresh) {
    if ((m->n + 1) * 2 > m->cap) {
        Map old = *m;
        m->cap = old.cap ? old.cap * 2 : 64;
        m->keys = NEW_ARRAY(m->arena, uint64_t, m->cap);
        m->vals = NEW_ARRAY(m->arena, uint32_t, m->cap);
        m->used = NEW_ARRAY(m->arena, uint8_t, m->cap);
        m->n = 0;
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.used[i]) *map_slot(m, old.keys[i], NULL) = old.vals[i];
    }
    uint32_t i = (uint32_t)hash_u64(HASH_SEED, key) & (m->cap - 1);
    while (m->used[i] && m->keys[i] != key) i = (i + 1) & (m->cap - 1);
    if (fresh) *fresh = !m->used[i];
    if (!m->used[i]) {
        m->used[i] = 1;
        m->keys[i] = key;
        m->n++;
    }
    return &m->vals[i];
}

const uint32_t *map_find(const Map *m, uint64_t key) {
    if (!m->cap) return NULL;
    uint32_t i = (uint32_t)hash_u64(HASH_SEED, key) & (m->cap - 1);
    while (m->used[i] && m->keys[i] != key) i = (i + 1) & (m->cap - 1);
    return m->used[i] ? &m->vals[i] : NULL;
}

// Strings with equal hash are chained through 'next'.
struct SymTab {
    Arena *arena;
    Map heads;
    VEC(const char *) text;
    VEC(uint32_t) next;
};

SymTab *symtab_new(Arena *a) {
    SymTab *t = NEW(a, SymTab);
    t->arena = a;
    t->heads.arena = a;
    vec_push(a, &t->text, "");
    vec_push(a, &t->next, 0);
    return t;
}

Sym sym_intern(SymTab *t, const char *s, size_t n) {
    if (n == 0) return 0;
    uint32_t *head = map_slot(&t->heads, hash_bytes(HASH_SEED, s, n), NULL);
    for (uint32_t i = *head; i; i = t->next.at[i])
        if (strlen(t->text.at[i]) == n && memcmp(t->text.at[i], s, n) == 0) return i;
    vec_push(t->arena, &t->text, arena_str(t->arena, s, n));
    vec_push(t->arena, &t->next, *head);
    *head = t->text.n - 1;
    return *head;
}

Sym sym(SymTab *t, const char *s) { return sym_intern(t, s, strlen(s)); }
const char *sym_str(const SymTab *t, Sym s) { return t->text.at[s]; }

void text_put(Text *t, const char *s, size_t n) {
    if (t->n + n + 1 > t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        while (cap < t->n + n + 1) cap *= 2;
        char *p = arena_alloc(t->arena, cap);
        if (t->n) memcpy(p, t->at, t->n);
        t->at = p;
        t->cap = cap;
    }
    if (n) memcpy(t->at + t->n, s, n);
    t->n += n;
    t->at[t->n] = 0;
}

void text_printf(Text *t, const char *fmt, ...) {
    char small[256];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if ((size_t)n < sizeof small) {
        text_put(t, small, (size_t)n);
    } else {
        char *big = arena_alloc(t->arena, (size_t)n + 1);
        vsnprintf(big, (size_t)n + 1, fmt, again);
        text_put(t, big, (size_t)n);
    }
    va_end(again);
}

char *bytes_text(Arena *a, int64_t bytes) {
    const char *unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    for (; x >= 1024 && u < 4; u++) x /= 1024;
    return arena_printf(a, u ? "%.1f %s" : "%.0f %s", x, unit[u]);
}

// Bytes of the UTF-8 character at s, 0 if there is none. (RFC 3629; surrogates pass)
static size_t character(const unsigned char *s) {
    size_t n = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return n;
}

void text_put_json(Text *t, const char *s) {
    text_put(t, "\"", 1);
    while (*s) {
        size_t n = character((const unsigned char *)s);
        if (n == 0)
            text_put(t, "\\ufffd", 6);
        else if (*s == '"' || *s == '\\')
            text_printf(t, "\\%c", *s);
        else if ((unsigned char)*s < 0x20 || *s == 0x7f)
            text_printf(t, "\\u%04x", *s);
        else
            text_put(t, s, n);
        s += n ? n : 1;
    }
    text_put(t, "\"", 1);
}

const char *format_double(char buf[32], double x) {
    if (isnan(x)) return "nan";
    if (isinf(x)) return x < 0 ? "-inf" : "inf";
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, x);
        if (strtod(buf, NULL) == x) break;
    }
    return buf;
}

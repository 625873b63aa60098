// Interned strings and a growing text buffer.
#pragma once
#include "ir/base/arena.h"
#include <stdbool.h>
#include <stdio.h>

// Equal spelling is equal id. Id 0 is the empty string.
typedef uint32_t Sym;
typedef struct SymTab SymTab;
SymTab *symtab_new(Arena *a);
Sym sym_intern(SymTab *t, const char *s, size_t n);
Sym sym(SymTab *t, const char *s);
const char *sym_str(const SymTab *t, Sym s);

// Text under construction, in an arena; `at` is always NUL-terminated once anything was put.
typedef struct {
    Arena *arena;
    char *at;
    size_t n, cap;
} Text;
void text_put(Text *t, const char *s, size_t n);
void text_printf(Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *bytes_text(Arena *a, int64_t bytes); // "36.0 KiB", for people
// s as a JSON string, quotes included. What is no UTF-8 becomes U+FFFD.
void text_put_json(Text *t, const char *s);

// FNV-1a over bytes, seeded with the previous value: start with HASH_SEED. 64-bit.
#define HASH_SEED 0xcbf29ce484222325ull
uint64_t hash_bytes(uint64_t h, const void *p, size_t n);
uint64_t hash_u64(uint64_t h, uint64_t x);

// Shortest decimal that reads back as the same double ("0.02", "-inf", "nan"). Buffer of 32 bytes.
const char *format_double(char buf[32], double x);

// Map from a 64-bit key to a 32-bit value (open addressing). The key is usually a hash: callers
// with possible collisions compare themselves. `map_slot` returns the value's place, creating it
// with 0 ('*fresh' tells).
typedef struct {
    Arena *arena;
    uint64_t *keys;
    uint32_t *vals;
    uint8_t *used;
    uint32_t n, cap;
} Map;
uint32_t *map_slot(Map *m, uint64_t key, bool *fresh);
const uint32_t *map_find(const Map *m, uint64_t key); // NULL when absent

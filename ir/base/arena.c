// Blocks are chained; a block holds at least 64 KiB or the request, whichever is larger.
#include "ir/base/arena.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
} Chunk;

struct Arena {
    Chunk *head;
    size_t used;
};

enum { BLOCK_BYTES = 1 << 16 };

void no_memory(size_t bytes) {
    fprintf(stderr, "sinter: error: out of memory (%zu bytes asked for)\n", bytes);
    exit(3);
}

static Chunk *block_new(size_t size, Chunk *next) {
    Chunk *b = calloc(1, sizeof(Chunk) + size);
    if (!b) no_memory(size);
    b->size = size;
    b->next = next;
    return b;
}

Arena *arena_new(void) {
    Arena *a = calloc(1, sizeof *a);
    if (!a) no_memory(sizeof *a);
    return a;
}

void *need_memory(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    if (!p) no_memory(bytes);
    return p;
}

void arena_free(Arena *a) {
    if (!a) return;
    for (Chunk *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void arena_reset(Arena *a) {
    while (a->head && a->head->next) {
        Chunk *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    if (a->head) {
        memset(a->head->bytes, 0, a->head->used);
        a->head->used = 0;
    }
    a->used = 0;
}

void *arena_alloc(Arena *a, size_t bytes) {
    size_t need = (bytes + 15) & ~(size_t)15;
    if (need < bytes) no_memory(bytes);
    if (!a->head || a->head->size - a->head->used < need) {
        size_t grown = a->head ? a->head->size * 2 : BLOCK_BYTES;
        if (grown > (size_t)1 << 24) grown = (size_t)1 << 24;
        a->head = block_new(need > grown ? need : grown, a->head);
    }
    void *p = a->head->bytes + a->head->used;
    a->head->used += need;
    a->used += need;
    return p;
}

void *arena_copy(Arena *a, const void *p, size_t bytes) {
    void *q = arena_alloc(a, bytes);
    if (bytes) memcpy(q, p, bytes);
    return q;
}

char *arena_str(Arena *a, const char *s, size_t n) {
    char *p = arena_alloc(a, n + 1);
    if (n) memcpy(p, s, n);
    return p;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t arena_used(const Arena *a) { return a->used; }

void *vec_grow(Arena *a, void *at, uint32_t n, uint32_t *cap, size_t item) {
    uint32_t more = *cap ? *cap * 2 : 8;
    void *p = arena_alloc(a, more * item);
    if (n) memcpy(p, at, n * item);
    *cap = more;
    return p;
}

// The arena of a module and the way out of a failed load; see load.h.
#include "runtime/emulator/engine/load.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The bound keeps hostile text from taking the machine's memory: real modules need a few MB.
enum { CHUNK = 1 << 16, ALIGN = 64 };
#define ARENA_LIMIT ((size_t)1 << 28)

void arena_release(EmuArena *a) {
    while (a->chunks) {
        ArenaChunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    a->total = 0;
}

static ArenaChunk *new_chunk(Load *l, size_t bytes) {
    size_t size = bytes > CHUNK ? bytes : CHUNK;
    if (l->arena.total + size > ARENA_LIMIT)
        load_fail(l, EMU_NO_MEMORY, 0, "the module needs more memory than a module may");
    ArenaChunk *c = aligned_alloc(ALIGN, ALIGN + size);
    if (!c) load_fail(l, EMU_NO_MEMORY, 0, "no memory for the module");
    c->next = l->arena.chunks;
    c->used = 0;
    c->size = size;
    l->arena.chunks = c;
    l->arena.total += size;
    return c;
}

void *load_alloc(Load *l, size_t n, size_t size) {
    if (size && n > ARENA_LIMIT / size)
        load_fail(l, EMU_NO_MEMORY, 0, "the module needs more memory than a module may");
    size_t bytes = (n * size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    // Small things are packed closer: most are names and operands.
    if (n * size <= 32) bytes = (n * size + 15) & ~(size_t)15;
    ArenaChunk *c = l->arena.chunks;
    size_t at = c ? c->used : 0;
    if (bytes >= ALIGN) at = (at + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!c || at + bytes > c->size) {
        c = new_chunk(l, bytes);
        at = 0;
    }
    c->used = at + bytes;
    void *p = (char *)c + ALIGN + at;
    memset(p, 0, bytes);
    return p;
}

void *load_grow(Load *l, void *at, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap) return at;
    uint32_t more = *cap ? *cap * 2 : 8;
    void *p = load_alloc(l, more, size);
    if (n) memcpy(p, at, n * size);
    *cap = more;
    return p;
}

void load_fail(Load *l, EmuStatus status, uint32_t line, const char *fmt, ...) {
    l->status = status;
    if (l->why_size) {
        int n = line ? snprintf(l->why, l->why_size, "line %u: ", line) : 0;
        size_t at = n < 0 ? 0 : (size_t)n < l->why_size ? (size_t)n : l->why_size - 1;
        va_list args;
        va_start(args, fmt);
        vsnprintf(l->why + at, l->why_size - at, fmt, args);
        va_end(args);
        // Names come from the text: nothing in them may drive a terminal.
        for (char *p = l->why; *p; p++)
            if ((unsigned char)*p < ' ' || (unsigned char)*p > '~') *p = '?';
    }
    longjmp(l->out, 1);
}

// What loading a module needs everywhere: an arena with a bound, and a way out. Loading either
// succeeds or unwinds: the first error jumps back to emu_module_load, which frees the arena, so that
// no function below it has to carry on with half a module.
#pragma once
#include "runtime/emulator/engine/emu.h"
#include <setjmp.h>

typedef struct ArenaChunk {
    struct ArenaChunk *next;
    size_t used, size;
} ArenaChunk;

// Zeroed memory, 64-byte aligned, freed all at once.
typedef struct {
    ArenaChunk *chunks;
    size_t total;
} EmuArena;

typedef struct {
    EmuArena arena;
    jmp_buf out;
    EmuStatus status;
    char *why; // [why_size]
    size_t why_size;
    uint32_t sm;
    bool arch;
} Load;

void arena_release(EmuArena *a);
// n items of `size` bytes; gives up with EMU_NO_MEMORY.
void *load_alloc(Load *l, size_t n, size_t size);
// Makes room for one more item: returns the array, moved when it was full. Arrays double.
void *load_grow(Load *l, void *at, uint32_t n, uint32_t *cap, size_t size);
_Noreturn void load_fail(Load *l, EmuStatus status, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define load_error(l, line, ...) load_fail((l), EMU_BAD_PTX, (line), __VA_ARGS__)
#define LOAD_NEW(l, T)           ((T *)load_alloc((l), 1, sizeof(T)))
#define LOAD_ARRAY(l, T, n)      ((T *)load_alloc((l), (n), sizeof(T)))
#define load_push(l, v, x)                                                                         \
    ((v)->at = load_grow((l), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at), (v)->at[(v)->n++] = (x))

// Arena: bump allocation, freed all at once. Everything in the IR lives in one.
// Memory is zeroed. Allocation never returns NULL: when the machine has no memory
// left, the process says so and exits with code 3 (the compiler has nothing to save).
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct Arena Arena;

_Noreturn void no_memory(size_t bytes); // says so and exits with code 3
void *need_memory(size_t bytes);        // from malloc; for generated code that wants one

Arena *arena_new(void);
void arena_free(Arena *a);
void arena_reset(Arena *a); // keeps the first block
void *arena_alloc(Arena *a, size_t bytes);
void *arena_copy(Arena *a, const void *p, size_t bytes);
char *arena_str(Arena *a, const char *s, size_t n); // NUL-terminated copy
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t arena_used(const Arena *a);

#define NEW(a, T)          ((T *)arena_alloc((a), sizeof(T)))
#define NEW_ARRAY(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))

// A growing array: struct { T *at; uint32_t n, cap; }. Grows by doubling in an arena.
#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *at;                                                                                     \
        uint32_t n, cap;                                                                           \
    }
void *vec_grow(Arena *a, void *at, uint32_t n, uint32_t *cap, size_t item);
#define vec_push(a, v, x)                                                                          \
    ((v)->n == (v)->cap                                                                            \
         ? (void)((v)->at = vec_grow((a), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at))            \
         : (void)0,                                                                                \
     (v)->at[(v)->n++] = (x))

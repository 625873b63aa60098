// Lanes of registers as vectors. A register of 32 bits is 4 vectors of 8 lanes, one of 64 bits is 8
// vectors of 4. Each step reads its vectors before it writes, so that a result may be the register of
// an operand. The types may alias: registers have no type.
#pragma once
#include "runtime/emulator/engine/exec.h"
#include "runtime/emulator/engine/ops.h"
#include <immintrin.h>
#include <math.h>
#include <string.h>

typedef uint32_t U8 __attribute__((vector_size(32), may_alias));
typedef int32_t I8 __attribute__((vector_size(32), may_alias));
typedef float F8 __attribute__((vector_size(32), may_alias));
typedef uint64_t L4 __attribute__((vector_size(32), may_alias));
typedef int64_t S4 __attribute__((vector_size(32), may_alias));
typedef double D4 __attribute__((vector_size(32), may_alias));
typedef uint32_t U4 __attribute__((vector_size(16), may_alias));
typedef int32_t I4 __attribute__((vector_size(16), may_alias));
typedef uint32_t u32a __attribute__((may_alias));
typedef int32_t s32a __attribute__((may_alias));
typedef uint64_t u64a __attribute__((may_alias));
typedef int64_t s64a __attribute__((may_alias));
typedef float f32a __attribute__((may_alias));
typedef double f64a __attribute__((may_alias));

static inline uint32_t mask8(I8 v) { return (uint32_t)_mm256_movemask_ps((__m256)v); }
static inline uint32_t mask4(S4 v) { return (uint32_t)_mm256_movemask_pd((__m256d)v); }
// All ones in the lanes of the mask's lowest 8 (4) bits.
static inline I8 lanes8(uint32_t mask) {
    const U8 bits = {1, 2, 4, 8, 16, 32, 64, 128};
    return (bits & mask) != 0;
}
static inline S4 lanes4(uint32_t mask) {
    const L4 bits = {1, 2, 4, 8};
    return (bits & (uint64_t)mask) != 0;
}
static inline U8 select8(I8 m, U8 a, U8 b) { return ((U8)m & a) | (~(U8)m & b); }
static inline L4 select4(S4 m, L4 a, L4 b) { return ((L4)m & a) | (~(L4)m & b); }
static inline float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline double double_of(uint64_t u) {
    double f;
    memcpy(&f, &u, 8);
    return f;
}

// Definitions of lane-wise instructions. a, b, e are the operands. VECTOR: T is a vector type and n
// how many make a register. SCALAR: one lane at a time.
#define VECTOR1(name, T, n, ...)                                                                   \
    void name(Cx *c, const Insn *i) {                                                              \
        T *d = place(c, i->r[0]);                                                                  \
        const T *x = place(c, i->r[1]);                                                            \
        for (int k = 0; k < n; k++) {                                                              \
            T a = x[k];                                                                            \
            d[k] = (T)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }
#define VECTOR2(name, T, n, ...)                                                                   \
    void name(Cx *c, const Insn *i) {                                                              \
        T *d = place(c, i->r[0]);                                                                  \
        const T *x = place(c, i->r[1]), *y = place(c, i->r[2]);                                    \
        for (int k = 0; k < n; k++) {                                                              \
            T a = x[k], b = y[k];                                                                  \
            d[k] = (T)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }
#define VECTOR3(name, T, n, ...)                                                                   \
    void name(Cx *c, const Insn *i) {                                                              \
        T *d = place(c, i->r[0]);                                                                  \
        const T *x = place(c, i->r[1]), *y = place(c, i->r[2]), *z = place(c, i->r[3]);            \
        for (int k = 0; k < n; k++) {                                                              \
            T a = x[k], b = y[k], e = z[k];                                                        \
            d[k] = (T)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }
#define SCALAR1(name, R, A, ...)                                                                   \
    void name(Cx *c, const Insn *i) {                                                              \
        R *d = place(c, i->r[0]);                                                                  \
        const A *x = place(c, i->r[1]);                                                            \
        for (int k = 0; k < LANES; k++) {                                                          \
            A a = x[k];                                                                            \
            d[k] = (R)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }
#define SCALAR2(name, R, A, B, ...)                                                                \
    void name(Cx *c, const Insn *i) {                                                              \
        R *d = place(c, i->r[0]);                                                                  \
        const A *x = place(c, i->r[1]);                                                            \
        const B *y = place(c, i->r[2]);                                                            \
        for (int k = 0; k < LANES; k++) {                                                          \
            A a = x[k];                                                                            \
            B b = y[k];                                                                            \
            d[k] = (R)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }
#define SCALAR3(name, R, A, B, E, ...)                                                             \
    void name(Cx *c, const Insn *i) {                                                              \
        R *d = place(c, i->r[0]);                                                                  \
        const A *x = place(c, i->r[1]);                                                            \
        const B *y = place(c, i->r[2]);                                                            \
        const E *z = place(c, i->r[3]);                                                            \
        for (int k = 0; k < LANES; k++) {                                                          \
            A a = x[k];                                                                            \
            B b = y[k];                                                                            \
            E e = z[k];                                                                            \
            d[k] = (R)(__VA_ARGS__);                                                               \
        }                                                                                          \
    }

// setp: writes the comparison p of all lanes, its opposite, and what .and .or .xor make of them.
void put_comparison(Cx *c, const Insn *i, uint32_t p);

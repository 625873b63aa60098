// See reduce.h. Sums are made in runs that stay in the first cache, one member after the other, so that the
// compiler makes vectors of the loops and the order stays that of the members.
#include "runtime/comm/reduce.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <math.h>
#include <string.h>

enum { RUN = 1024 };

// IEEE 754-2019 maximum and minimum, without branches. Of equal numbers, zeros of both signs alone have other
// bits: their AND is +0, their OR -0.
static inline float largest(float a, float b) {
    uint32_t x = bits_of_float(a), y = bits_of_float(b);
    float r = a == b ? float_of_bits(x & y) : a > b ? a : b;
    return a != a || b != b ? a + b : r;
}
static inline float least(float a, float b) {
    uint32_t x = bits_of_float(a), y = bits_of_float(b);
    float r = a == b ? float_of_bits(x | y) : a < b ? a : b;
    return a != a || b != b ? a + b : r;
}

static inline float same_float(float x) { return x; }

// Floats: narrow ones are widened, and rounded once at the end.
#define FLOATS(name, T, WIDEN, NARROW)                                                             \
    static void name(uint32_t kind, const void *const *from, uint32_t n, int64_t at, int64_t len,  \
                     void *to) {                                                                   \
        float sum[RUN];                                                                            \
        const T *x = (const T *)from[0] + at;                                                      \
        for (int64_t i = 0; i < len; i++) sum[i] = WIDEN(x[i]);                                    \
        for (uint32_t r = 1; r < n; r++) {                                                         \
            x = (const T *)from[r] + at;                                                           \
            if (kind == SN_SUM)                                                                    \
                for (int64_t i = 0; i < len; i++) sum[i] += WIDEN(x[i]);                           \
            else if (kind == SN_LARGEST)                                                           \
                for (int64_t i = 0; i < len; i++) sum[i] = largest(sum[i], WIDEN(x[i]));           \
            else                                                                                   \
                for (int64_t i = 0; i < len; i++) sum[i] = least(sum[i], WIDEN(x[i]));             \
        }                                                                                          \
        T *y = (T *)to + at;                                                                       \
        for (int64_t i = 0; i < len; i++) y[i] = NARROW(sum[i]);                                   \
    }
FLOATS(reduce_f32, float, same_float, same_float)
FLOATS(reduce_bf16, uint16_t, float_of_bfloat, bfloat_of_float)
FLOATS(reduce_f16, uint16_t, float_of_half, half_of_float)

// Integers: sums wrap, so they are made without sign.
#define INTEGERS(name, T)                                                                          \
    static void name(uint32_t kind, const void *const *from, uint32_t n, int64_t at, int64_t len,  \
                     void *to) {                                                                   \
        T sum[RUN];                                                                                \
        memcpy(sum, (const T *)from[0] + at, (size_t)len * sizeof *sum);                           \
        for (uint32_t r = 1; r < n; r++) {                                                         \
            const T *x = (const T *)from[r] + at;                                                  \
            if (kind == SN_SUM)                                                                    \
                for (int64_t i = 0; i < len; i++) sum[i] = (T)((uint32_t)sum[i] + (uint32_t)x[i]); \
            else if (kind == SN_LARGEST)                                                           \
                for (int64_t i = 0; i < len; i++) sum[i] = sum[i] > x[i] ? sum[i] : x[i];          \
            else                                                                                   \
                for (int64_t i = 0; i < len; i++) sum[i] = sum[i] < x[i] ? sum[i] : x[i];          \
        }                                                                                          \
        memcpy((T *)to + at, sum, (size_t)len * sizeof *sum);                                      \
    }
INTEGERS(reduce_i32, int32_t)
INTEGERS(reduce_u32, uint32_t)
INTEGERS(reduce_bool, uint8_t)

typedef void (*ReduceFn)(uint32_t kind, const void *const *from, uint32_t n, int64_t at,
                         int64_t len, void *to);

// NULL: values of this type are only moved.
static ReduceFn function_of(uint32_t elem) {
    switch ((SnElem)elem) {
    case SN_ELEM_f32: return reduce_f32;
    case SN_ELEM_bf16: return reduce_bf16;
    case SN_ELEM_f16: return reduce_f16;
    case SN_ELEM_i32: return reduce_i32;
    case SN_ELEM_u32: return reduce_u32;
    case SN_ELEM_bool: return reduce_bool;
    case SN_ELEM_f8e4m3:
    case SN_ELEM_f8e5m2:
    case SN_ELEM_i8:
    case SN_ELEMS: break;
    }
    return NULL;
}

void sn_reduce(uint32_t elem, uint32_t kind, const void *const *from, uint32_t n, void *to,
               int64_t bytes) {
    ReduceFn f = function_of(elem);
    int64_t count = bytes / sn_elem_info[elem].bytes;
    for (int64_t at = 0; at < count; at += RUN)
        f(kind, from, n, at, count - at < RUN ? count - at : RUN, to);
}

// ---- the cut ------------------------------------------------------------------------------------

bool sn_is_reduction(uint32_t op) { return op == SN_all_reduce || op == SN_reduce_scatter; }

SnStatus sn_cut(const SnCollective *c, const SnPart *parts, uint32_t nparts, uint32_t n,
                uint32_t me, int64_t piece, SnCut *out, SnError *e) {
    if (c->op >= SN_COLLECTIVES || c->elem >= SN_ELEMS || c->kind > SN_LEAST)
        return sn_fail(e, SN_PLAN, "collective '%s' is none: op %u, kind %u, type %u", c->name,
                       c->op, c->kind, c->elem);
    if (sn_is_reduction(c->op) &&
        (!function_of(c->elem) || (c->kind == SN_SUM && c->elem == SN_ELEM_bool)))
        return sn_fail(e, SN_PLAN, "%s '%s': values of type %s are not reduced so",
                       sn_collective_name(c->op), c->name, sn_elem_info[c->elem].name);
    *out = (SnCut){.c = c, .parts = parts, .nparts = nparts, .n = n, .me = me};
    out->width = sn_elem_info[c->elem].bytes;
    for (uint32_t i = 0; i < nparts; i++) {
        if (parts[i].count < 0 || parts[i].count > INT64_MAX / 64 / n - out->length)
            return sn_fail(e, SN_PLAN, "%s '%s' of %lld elements", sn_collective_name(c->op),
                           c->name, (long long)parts[i].count);
        out->length += parts[i].count * out->width;
    }
    // Shares of whole cache lines, where a piece has room for them, and no larger than what there is.
    bool one = c->op == SN_all_reduce || c->op == SN_all_gather;
    int64_t share = piece / n, needed = one ? (out->length + n - 1) / n : out->length;
    if (share > needed) share = (needed + 63) / 64 * 64;
    share -= share % (share >= 64 ? 64 : out->width);
    if (share < out->width) share = out->width;
    out->piece = share * n;
    int64_t run = one ? out->piece : share;
    out->pieces = (out->length + run - 1) / run;
    return SN_OK;
}

int64_t sn_cut_place(const SnCut *cut, uint32_t q) {
    return cut->c->op == SN_all_gather ? 0 : cut->piece / cut->n * q;
}

int64_t sn_cut_range(const SnCut *cut, int64_t k, uint32_t q, int64_t *at) {
    int64_t share = cut->piece / cut->n, size = share;
    if (cut->c->op == SN_all_reduce)
        *at = k * cut->piece + q * share;
    else if (cut->c->op == SN_all_gather)
        *at = k * cut->piece, size = cut->piece;
    else
        *at = k * share;
    int64_t rest = cut->length - *at;
    return rest <= 0 ? 0 : rest < size ? rest : size;
}

// Bytes [at, at + n) of block q of all parts together, to or from `buffer`. out: of the results.
static void copy(const SnCut *cut, bool out, uint32_t q, int64_t at, int64_t n,
                 unsigned char *buffer) {
    for (uint32_t i = 0; i < cut->nparts && n > 0; i++) {
        int64_t block = cut->parts[i].count * cut->width;
        if (at >= block) {
            at -= block;
            continue;
        }
        int64_t run = block - at < n ? block - at : n, from = q * block + at;
        if (out)
            memmove((unsigned char *)cut->parts[i].out + from, buffer, (size_t)run);
        else
            memcpy(buffer, (const unsigned char *)cut->parts[i].in + from, (size_t)run);
        buffer += run;
        n -= run;
        at = 0;
    }
}

void sn_cut_take(const SnCut *cut, int64_t k, unsigned char *piece) {
    bool each = cut->c->op == SN_reduce_scatter || cut->c->op == SN_all_to_all;
    uint32_t blocks = cut->c->op == SN_all_gather ? 1 : cut->n;
    for (uint32_t q = 0; q < blocks; q++) {
        int64_t at, n = sn_cut_range(cut, k, q, &at);
        copy(cut, false, each ? q : 0, at, n, piece + sn_cut_place(cut, q));
    }
}

void sn_cut_give(const SnCut *cut, int64_t k, uint32_t q, const unsigned char *block) {
    bool each = cut->c->op == SN_all_gather || cut->c->op == SN_all_to_all;
    int64_t at, n = sn_cut_range(cut, k, q, &at);
    copy(cut, true, each ? q : 0, at, n, (unsigned char *)(uintptr_t)block);
}

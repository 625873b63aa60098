// Random products (SnGemm) and what they mean, element by element: for tests of everything that takes
// one. Include after cmocka.h.
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>
#include <string.h>

typedef struct {
    SnGemm g;
    int64_t batch, m, n, k;
    int64_t count[3]; // elements that A, B and C span, from their first
} Product;

static uint64_t product_state = 1;
static inline uint32_t product_next(void) {
    product_state = product_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(product_state >> 33);
}
static inline int64_t product_pick(int64_t lo, int64_t hi) {
    return lo + (int64_t)product_next() % (hi - lo + 1);
}

static inline void product_decode(const SnDim *d, uint32_t n, int64_t i, SnDim *at) {
    for (uint32_t q = n; q-- > 0;) {
        int64_t r = i % d[q].extent;
        i /= d[q].extent;
        at->a += r * d[q].a, at->b += r * d[q].b, at->c += r * d[q].c;
    }
}

// Where element (e, i, j) and term l are in the matrices.
static inline SnDim product_at(const Product *p, int64_t e, int64_t i, int64_t j, int64_t l) {
    const SnGemm *g = &p->g;
    SnDim at = {.a = g->base_a, .b = g->base_b, .c = g->base_c};
    product_decode(g->batch, g->nbatch, e, &at);
    product_decode(g->m, g->nm, i, &at);
    product_decode(g->n, g->nn, j, &at);
    product_decode(g->k, g->nk, l, &at);
    return at;
}

// Splits `size` into up to `most` nested extents.
static inline uint32_t product_nest(SnDim *d, int64_t size, uint32_t most) {
    uint32_t n = 0;
    while (n + 1 < most && size > 1 && product_next() % 3 == 0) {
        int64_t f = product_pick(2, 5);
        if (size % f) continue;
        d[n++].extent = f;
        size /= f;
    }
    if (size != 1 || product_next() % 2) d[n++].extent = size;
    return n;
}

// Lays extents out, the first fastest, in an order that is mostly the given one. Returns the elements
// spanned.
static inline int64_t product_lay(SnDim **dims, uint32_t n, int which, bool gaps) {
    int64_t at = gaps && product_next() % 4 == 0 ? 2 : 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t o = product_next() % 3 ? i : i + product_next() % (n - i);
        SnDim *d = dims[o];
        dims[o] = dims[i];
        dims[i] = d;
        *(which == 0 ? &d->a : which == 1 ? &d->b : &d->c) = at;
        at = at * d->extent + (gaps && product_next() % 4 == 0 ? product_pick(1, 3) : 0);
    }
    return at + 1;
}

static inline uint32_t product_gather(SnDim **to, uint32_t n, SnDim *d, uint32_t count) {
    for (uint32_t i = count; i-- > 0;) to[n++] = &d[i];
    return n;
}

// x fastest, then y, or the other way round; batch slowest.
static inline int64_t product_matrix(SnGemm *g, SnDim *x, uint32_t nx, SnDim *y, uint32_t ny,
                                     int which, bool gaps) {
    SnDim *dims[3 * SN_GEMM_DIMS];
    bool turn = product_next() % 2;
    uint32_t n = turn ? product_gather(dims, 0, y, ny) : product_gather(dims, 0, x, nx);
    n = turn ? product_gather(dims, n, x, nx) : product_gather(dims, n, y, ny);
    n = product_gather(dims, n, g->batch, g->nbatch);
    return product_lay(dims, n, which, gaps);
}

// A product of these sizes with random nesting, layout and, with gaps, padding and base offsets.
static inline Product product_random(int64_t batch, int64_t m, int64_t n, int64_t k, uint32_t most,
                                     bool gaps) {
    Product p = {.batch = batch, .m = m, .n = n, .k = k};
    SnGemm *g = &p.g;
    g->nbatch = product_nest(g->batch, batch, most);
    g->nm = product_nest(g->m, m, most);
    g->nn = product_nest(g->n, n, most);
    g->nk = product_nest(g->k, k, most);
    p.count[0] = product_matrix(g, g->k, g->nk, g->m, g->nm, 0, gaps);
    p.count[1] = product_matrix(g, g->n, g->nn, g->k, g->nk, 1, gaps);
    p.count[2] = product_matrix(g, g->n, g->nn, g->m, g->nm, 2, gaps);
    if (gaps)
        g->base_a = product_pick(0, 3), g->base_b = product_pick(0, 3),
        g->base_c = product_pick(0, 3);
    p.count[0] += g->base_a, p.count[1] += g->base_b, p.count[2] += g->base_c;
    g->has = sn_gemm_bit(SN_GEMM_C);
    return p;
}

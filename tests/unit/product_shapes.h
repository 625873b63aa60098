// Products of the kinds that models have: for tests of kernels that compute one. Include after cmocka.h.
#pragma once
#include "tests/unit/products.h"

static inline Product plain(int64_t m, int64_t n, int64_t k) {
    Product p = {.batch = 1, .m = m, .n = n, .k = k, .count = {m * k, k * n, m * n}};
    p.g = (SnGemm){.nm = 1,
                   .nn = 1,
                   .nk = 1,
                   .m = {{m, k, 0, n}},
                   .n = {{n, 0, 1, 1}},
                   .k = {{k, 1, n, 0}},
                   .has = sn_gemm_bit(SN_GEMM_C)};
    return p;
}

static inline Product transposed(int64_t m, int64_t n, int64_t k) {
    Product p = plain(m, n, k);
    p.g.m[0].a = 1, p.g.k[0].a = m;
    p.g.k[0].b = 1, p.g.n[0].b = k;
    return p;
}

// q [b, s, h, d] times k [b, s, h, d] over d, to [b, h, s, s].
static inline Product scores(int64_t b, int64_t s, int64_t h, int64_t d) {
    int64_t all = b * s * h * d;
    Product p = {.batch = b * h, .m = s, .n = s, .k = d, .count = {all, all, b * h * s * s}};
    p.g = (SnGemm){.nbatch = 2,
                   .nm = 1,
                   .nn = 1,
                   .nk = 1,
                   .batch = {{b, s * h * d, s * h * d, h * s * s}, {h, d, d, s * s}},
                   .m = {{s, h * d, 0, s}},
                   .n = {{s, 0, h * d, 1}},
                   .k = {{d, 1, 1, 0}},
                   .has = sn_gemm_bit(SN_GEMM_C)};
    return p;
}

static inline Product with_acc(Product p, bool first) {
    p.g.has |= sn_gemm_bit(SN_GEMM_ACC);
    p.g.acc_first = first;
    return p;
}

static inline Product moved(Product p, int64_t a, int64_t b, int64_t c) {
    p.g.base_a = a, p.g.base_b = b, p.g.base_c = c;
    p.count[0] += a, p.count[1] += b, p.count[2] += c;
    return p;
}

// C is column by column: its rows are n.
static inline Product by_columns(Product p) {
    p.g.m[0].c = 1, p.g.n[0].c = p.m;
    return p;
}

// Four extents for everything, none of which fold.
static inline Product nested(int64_t scale) {
    Product p = {.batch = 24, .m = 120 * scale, .n = 120 * scale, .k = 120};
    SnGemm *g = &p.g;
    static const int64_t extent[4] = {2, 3, 4, 5};
    SnDim *all[4] = {g->batch, g->m, g->n, g->k};
    int64_t at[3] = {1, 1, 1};
    for (int d = 3; d >= 0; d--)
        for (int r = 3; r >= 0; r--) {
            SnDim *x = &all[r][d];
            x->extent =
                r == 0 && d == 3 ? 1 : extent[d] * (d == 3 && (r == 1 || r == 2) ? scale : 1);
            if (r != 2) x->a = at[0], at[0] *= x->extent;
            if (r != 1) x->b = at[1], at[1] *= x->extent;
            if (r != 3) x->c = at[2], at[2] *= x->extent;
        }
    g->nbatch = g->nm = g->nn = g->nk = 4;
    for (int w = 0; w < 3; w++) p.count[w] = at[w];
    g->has = sn_gemm_bit(SN_GEMM_C);
    return p;
}

// Offsets beyond 32 bits.
static inline Product far_apart(Product p) {
    p.g.m[0].a = (int64_t)1 << 26;
    p.g.n[0].b = ((int64_t)1 << 25) + 1;
    return p;
}

// A product for each of `batch` elements that lie one behind the other.
static inline Product batched(Product p, int64_t batch) {
    p.batch = batch;
    p.g.nbatch = 1;
    p.g.batch[0] = (SnDim){batch, p.count[0], p.count[1], p.count[2]};
    for (int w = 0; w < 3; w++) p.count[w] *= batch;
    return p;
}

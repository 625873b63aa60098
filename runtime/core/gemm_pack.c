// Packing: copies a panel of A or B (a few rows, a run of k) into the order in which the
// micro-kernel reads it, k-major. It exists so that the micro-kernel sees one layout whatever the
// strides, and so that its reads are adjacent. Values are only moved, never changed, so packing
// cannot change a result. A panel costs O(width * kc), spread over the rows or lanes of C that read
// it.
//
// Three ways, by the strides of the innermost extents: adjacent along the panel's width (copies),
// adjacent along k (8 x 8 transposes in registers), anything else (one by one). Here are those of f32;
// narrow elements and pairs are gemm_narrow.c's.
#include "runtime/core/gemm_pack.h"
#include <immintrin.h>
#include <string.h>

SnGemmRun sn_gemm_run_at(const SnExtents *axis, int64_t i, int64_t end) {
    SnGemmRun run = {.first = i, .length = end - i};
    for (uint32_t d = axis->count; d-- > 0;) {
        const SnDim *dim = &axis->dim[d];
        int64_t at = d ? i % dim->extent : i;
        i = d ? i / dim->extent : 0;
        run.at.a += at * dim->a, run.at.b += at * dim->b, run.at.c += at * dim->c;
        if (d + 1 < axis->count) continue;
        run.stride = *dim;
        run.length = min64(run.length, dim->extent - at);
    }
    return run;
}

// dst[k * width + i] = src[i + k * sk]: adjacent along the panel.
static void pack_copy(const float *src, int64_t sk, int64_t n, int64_t kc, float *dst,
                      int64_t width) {
    if (n == 48)
        for (int64_t k = 0; k < kc; k++) memcpy(dst + k * width, src + k * sk, 48 * sizeof *src);
    else if (n == 16)
        for (int64_t k = 0; k < kc; k++) memcpy(dst + k * width, src + k * sk, 16 * sizeof *src);
    else if (n == 8)
        for (int64_t k = 0; k < kc; k++) memcpy(dst + k * width, src + k * sk, 8 * sizeof *src);
    else
        for (int64_t k = 0; k < kc; k++)
            for (int64_t i = 0; i < n; i++) dst[k * width + i] = src[k * sk + i];
}

// Four elements of row i and four of row i + 4: half the work of the transpose is done by the
// loads.
static inline __m256 pair(const char *row, const char *row4) {
    __m128 low = _mm_loadu_ps((const float *)(const void *)row);
    __m128 high = _mm_loadu_ps((const float *)(const void *)row4);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

// Word k of a row that need not be aligned.
static inline void move_word(float *to, const char *row, int64_t k) {
    memcpy(to, row + k * (int64_t)sizeof *to, sizeof *to);
}

// Four columns k of eight rows: out[j] is column j.
static inline __attribute__((always_inline)) void transpose_8x4(const char *const row[8], int64_t k,
                                                                __m256 out[4]) {
    k *= (int64_t)sizeof(float);
    __m256 r0 = pair(row[0] + k, row[4] + k), r1 = pair(row[1] + k, row[5] + k);
    __m256 r2 = pair(row[2] + k, row[6] + k), r3 = pair(row[3] + k, row[7] + k);
    __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
    __m256 c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    out[0] = _mm256_shuffle_ps(a, c, 0x44), out[1] = _mm256_shuffle_ps(a, c, 0xee);
    out[2] = _mm256_shuffle_ps(b, d, 0x44), out[3] = _mm256_shuffle_ps(b, d, 0xee);
}

// n <= 8 rows, adjacent along k. Missing rows repeat the first and are not stored.
static void pack_8(const char *src, int64_t si, int64_t n, int64_t kc, float *dst, int64_t width) {
    const char *row[8];
    for (int64_t i = 0; i < 8; i++) row[i] = src + (i < n ? i : 0) * si;
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
    int64_t k = 0;
    for (; k + 4 <= kc; k += 4) {
        __m256 out[4];
        transpose_8x4(row, k, out);
        for (int j = 0; j < 4; j++) {
            if (n == 8)
                _mm256_storeu_ps(dst + (k + j) * width, out[j]);
            else
                _mm256_maskstore_ps(dst + (k + j) * width, mask, out[j]);
        }
    }
    for (; k < kc; k++)
        for (int64_t i = 0; i < n; i++) move_word(dst + k * width + i, row[i], k);
}

// 16 rows, adjacent along k: whole cache lines of the panel are written at once.
static void pack_16(const char *src, int64_t si, int64_t kc, float *dst, int64_t width) {
    const char *row[16];
    for (int64_t i = 0; i < 16; i++) row[i] = src + i * si;
    int64_t k = 0;
    for (; k + 4 <= kc; k += 4) {
        __m256 lo[4], hi[4];
        transpose_8x4(row, k, lo);
        transpose_8x4(row + 8, k, hi);
        for (int j = 0; j < 4; j++) {
            _mm256_storeu_ps(dst + (k + j) * width, lo[j]);
            _mm256_storeu_ps(dst + (k + j) * width + 8, hi[j]);
        }
    }
    for (; k < kc; k++)
        for (int64_t i = 0; i < 16; i++) move_word(dst + k * width + i, row[i], k);
}

void sn_gemm_pack_words(const void *src, int64_t bytes, int64_t n, int64_t words, float *dst,
                        int64_t width) {
    const char *row = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) pack_16(row + i * bytes, bytes, words, dst + i, width);
    for (; i < n; i += 8) pack_8(row + i * bytes, bytes, min64(8, n - i), words, dst + i, width);
}

static void pack_any(const float *src, int64_t si, int64_t sk, int64_t n, int64_t kc, float *dst,
                     int64_t width) {
    for (int64_t k = 0; k < kc; k++)
        for (int64_t i = 0; i < n; i++) dst[k * width + i] = src[i * si + k * sk];
}

static void pack_floats(const float *src, int64_t si, int64_t sk, int64_t n, int64_t kc, float *dst,
                        int64_t width) {
    if (si == 1 || n == 1)
        pack_copy(src, sk, n, kc, dst, width);
    else if (sk == 1 || kc == 1)
        sn_gemm_pack_words(src, si * (int64_t)sizeof *src, n, kc, dst, width);
    else
        pack_any(src, si, sk, n, kc, dst, width);
}

// What is packed, but for its place: n neighbours of one stretch of rows.
typedef struct {
    SnGemmPanel panel;
    SnGemmMatrix src;
    const SnExtents *k;
    bool b;
    int64_t si, n, k0, end, width;
    float *dst;
} Stripe;

// The pair from k on, whose second element lies elsewhere.
static void pack_split_pair(const Stripe *x, int64_t k) {
    SnGemmRun first = sn_gemm_run_at(x->k, k, k + 1), second = sn_gemm_run_at(x->k, k + 1, k + 2);
    int64_t at = x->b ? first.at.b : first.at.a, step = (x->b ? second.at.b : second.at.a) - at;
    sn_gemm_pack_narrow(x->panel, sn_gemm_from(x->src, at), x->si, step, x->n, 2,
                        x->dst + sn_gemm_words(x->panel, k - x->k0) * x->width, x->width);
}

// Stretches of k; in pairs, even ones.
static void pack_stripe(const Stripe *x) {
    bool plain = x->panel == SN_PANEL_FLOATS && x->src.elem == SN_ELEM_f32;
    for (int64_t k = x->k0; k < x->end;) {
        SnGemmRun r = sn_gemm_run_at(x->k, k, x->end);
        int64_t sk = x->b ? r.stride.b : r.stride.a, n = r.length;
        SnGemmMatrix from = sn_gemm_from(x->src, x->b ? r.at.b : r.at.a);
        float *to = x->dst + sn_gemm_words(x->panel, k - x->k0) * x->width;
        if (x->panel != SN_PANEL_FLOATS && n % 2 && k + n < x->end) n--;
        if (n == 0)
            pack_split_pair(x, k);
        else if (plain)
            pack_floats(from.at, x->si, sk, x->n, n, to, x->width);
        else
            sn_gemm_pack_narrow(x->panel, from, x->si, sk, x->n, n, to, x->width);
        k += n ? n : 2;
    }
}

void sn_gemm_pack(SnGemmPanel panel, SnGemmSide side, const SnExtents *rows, const SnExtents *k,
                  SnGemmMatrix src, int64_t i0, int64_t count, int64_t width, int64_t k0,
                  int64_t kc, float *dst) {
    bool b = side == SN_GEMM_B;
    if (count < width) memset(dst, 0, (size_t)(width * sn_gemm_words(panel, kc)) * sizeof *dst);
    for (int64_t i = i0; i < i0 + count;) {
        SnGemmRun r = sn_gemm_run_at(rows, i, i0 + count);
        pack_stripe(&(Stripe){.panel = panel,
                              .src = sn_gemm_from(src, b ? r.at.b : r.at.a),
                              .k = k,
                              .b = b,
                              .si = b ? r.stride.b : r.stride.a,
                              .n = r.length,
                              .k0 = k0,
                              .end = k0 + kc,
                              .width = width,
                              .dst = dst + (i - i0)});
        i += r.length;
    }
}

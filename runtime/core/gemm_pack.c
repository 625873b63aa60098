// Packing: copies a panel of A or B (a few rows, a run of k) into the order in which the
// micro-kernel reads it, k-major. It exists so that the micro-kernel sees one layout whatever the
// strides, and so that its reads are adjacent. Values are only moved, never changed, so packing
// cannot change a result. A panel costs O(width * kc), spread over the rows or lanes of C that read
// it.
//
// Three ways, by the strides of the innermost extents: adjacent along the panel's width (copies),
// adjacent along k (8 x 8 transposes in registers), anything else (one by one).
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
static inline __m256 pair(const float *row, const float *row4) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row)), _mm_loadu_ps(row4), 1);
}

// Four columns k of eight rows: out[j] is column j.
static inline __attribute__((always_inline)) void transpose_8x4(const float *const row[8],
                                                                int64_t k, __m256 out[4]) {
    __m256 r0 = pair(row[0] + k, row[4] + k), r1 = pair(row[1] + k, row[5] + k);
    __m256 r2 = pair(row[2] + k, row[6] + k), r3 = pair(row[3] + k, row[7] + k);
    __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
    __m256 c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    out[0] = _mm256_shuffle_ps(a, c, 0x44), out[1] = _mm256_shuffle_ps(a, c, 0xee);
    out[2] = _mm256_shuffle_ps(b, d, 0x44), out[3] = _mm256_shuffle_ps(b, d, 0xee);
}

// n <= 8 rows, adjacent along k. Missing rows repeat the first and are not stored.
static void pack_8(const float *src, int64_t si, int64_t n, int64_t kc, float *dst, int64_t width) {
    const float *row[8];
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
        for (int64_t i = 0; i < n; i++) dst[k * width + i] = row[i][k];
}

// 16 rows, adjacent along k: whole cache lines of the panel are written at once.
static void pack_16(const float *src, int64_t si, int64_t kc, float *dst, int64_t width) {
    const float *row[16];
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
        for (int64_t i = 0; i < 16; i++) dst[k * width + i] = row[i][k];
}

static void pack_transpose(const float *src, int64_t si, int64_t n, int64_t kc, float *dst,
                           int64_t width) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) pack_16(src + i * si, si, kc, dst + i, width);
    for (; i < n; i += 8) pack_8(src + i * si, si, min64(8, n - i), kc, dst + i, width);
}

static void pack_any(const float *src, int64_t si, int64_t sk, int64_t n, int64_t kc, float *dst,
                     int64_t width) {
    for (int64_t k = 0; k < kc; k++)
        for (int64_t i = 0; i < n; i++) dst[k * width + i] = src[i * si + k * sk];
}

void sn_gemm_pack(SnGemmSide side, const SnExtents *rows, const SnExtents *k, const float *src,
                  int64_t i0, int64_t count, int64_t width, int64_t k0, int64_t kc, float *dst) {
    bool b = side == SN_GEMM_B;
    if (count < width) memset(dst, 0, (size_t)(width * kc) * sizeof *dst);
    for (int64_t i = i0; i < i0 + count;) {
        SnGemmRun ri = sn_gemm_run_at(rows, i, i0 + count);
        int64_t si = b ? ri.stride.b : ri.stride.a;
        for (int64_t at = k0; at < k0 + kc;) {
            SnGemmRun rk = sn_gemm_run_at(k, at, k0 + kc);
            int64_t sk = b ? rk.stride.b : rk.stride.a;
            const float *from = src + (b ? ri.at.b + rk.at.b : ri.at.a + rk.at.a);
            float *to = dst + (at - k0) * width + (i - i0);
            if (si == 1 || ri.length == 1)
                pack_copy(from, sk, ri.length, rk.length, to, width);
            else if (sk == 1 || rk.length == 1)
                pack_transpose(from, si, ri.length, rk.length, to, width);
            else
                pack_any(from, si, sk, ri.length, rk.length, to, width);
            at += rk.length;
        }
        i += ri.length;
    }
}

// Packing of what is not plain f32: bf16 and f16 become floats, which hold each of their values, and
// for sums in pairs (SnGemmPanel) two of k lie together. Beside gemm_pack.c, which knows where
// stretches of constant strides lie and moves words.
//
// Two ways: adjacent along k, rows are written to a small stage and turned there; else word by word of
// the panel, in vectors where columns are adjacent. O(n * kc).
#include "runtime/core/gemm_pack.h"
#include <immintrin.h>
#include <string.h>

enum { STAGE_ROWS = 16, STAGE_K = 64, VECTOR = 8 };

static float number(SnGemmMatrix x) {
    uint16_t half;
    float f;
    memcpy(&half, x.at, sizeof half);
    uint32_t wide = (uint32_t)half << 16;
    memcpy(&f, x.elem == SN_ELEM_f32 ? x.at : &wide, sizeof f);
    return x.elem == SN_ELEM_f16 ? _cvtsh_ss(half) : f;
}

static __m256 numbers(SnGemmMatrix x) { // neighbours
    if (x.elem == SN_ELEM_f32) return _mm256_loadu_ps(x.at);
    __m128i half = _mm_loadu_si128(x.at);
    if (x.elem == SN_ELEM_f16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

// Of two numbers that bf16 holds.
static inline __m256 words(__m256 even, __m256 odd) {
    __m256i low = _mm256_srli_epi32(_mm256_castps_si256(even), 16);
    return _mm256_castsi256_ps(_mm256_blend_epi16(low, _mm256_castps_si256(odd), 0xaa));
}

static inline float word(float even, float odd) {
    return _mm256_cvtss_f32(words(_mm256_set1_ps(even), _mm256_set1_ps(odd)));
}

// n numbers, `step` apart.
static void float_row(SnGemmMatrix x, int64_t step, int64_t n, float *to) {
    int64_t i = 0;
    for (; step == 1 && i + VECTOR <= n; i += VECTOR)
        _mm256_storeu_ps(to + i, numbers(sn_gemm_from(x, i)));
    for (; i < n; i++) to[i] = number(sn_gemm_from(x, i * step));
}

static void pair_row(SnGemmMatrix even, SnGemmMatrix odd, int64_t step, int64_t n, float *to) {
    int64_t i = 0;
    for (; step == 1 && i + VECTOR <= n; i += VECTOR)
        _mm256_storeu_ps(to + i,
                         words(numbers(sn_gemm_from(even, i)), numbers(sn_gemm_from(odd, i))));
    for (; i < n; i++)
        to[i] = word(number(sn_gemm_from(even, i * step)), number(sn_gemm_from(odd, i * step)));
}

// The last of an odd number of k.
static void last_row(SnGemmPanel panel, SnGemmMatrix x, int64_t step, int64_t n, float *to,
                     int64_t width) {
    if (panel == SN_PANEL_ODD_FIRST) {
        memset(to, 0, (size_t)n * sizeof *to);
        to += width;
    }
    if (panel != SN_PANEL_PAIRS)
        float_row(x, step, n, to);
    else
        for (int64_t i = 0; i < n; i++) to[i] = word(number(sn_gemm_from(x, i * step)), 0);
}

static void pack_rows(SnGemmPanel panel, SnGemmMatrix src, int64_t si, int64_t sk, int64_t n,
                      int64_t kc, float *dst, int64_t width) {
    int64_t k = 0;
    for (; k + 2 <= kc; k += 2) {
        SnGemmMatrix even = sn_gemm_from(src, k * sk), odd = sn_gemm_from(even, sk);
        if (panel == SN_PANEL_PAIRS) {
            pair_row(even, odd, si, n, dst);
            dst += width;
        } else {
            bool turn = panel == SN_PANEL_ODD_FIRST;
            float_row(turn ? odd : even, si, n, dst);
            float_row(turn ? even : odd, si, n, dst + width);
            dst += 2 * width;
        }
    }
    if (k < kc) last_row(panel, sn_gemm_from(src, k * sk), si, n, dst, width);
}

// kc neighbours along k of one row, as words of a panel.
static void stage_row(SnGemmPanel panel, SnGemmMatrix x, int64_t kc, float *to) {
    int64_t k = 0;
    for (; k + VECTOR <= kc; k += VECTOR) {
        __m256 f = numbers(sn_gemm_from(x, k));
        if (panel == SN_PANEL_ODD_FIRST) f = _mm256_permute_ps(f, 0xb1);
        if (panel != SN_PANEL_PAIRS) {
            _mm256_storeu_ps(to + k, f);
            continue;
        }
        __m256i high = _mm256_srli_epi32(_mm256_castps_si256(f), 16);
        __m128i all =
            _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
        _mm_storeu_si128((__m128i *)(void *)(to + k / 2), all);
    }
    to += sn_gemm_words(panel, k);
    pack_rows(panel, sn_gemm_from(x, k), 0, 1, 1, kc - k, to, 1);
}

static void pack_staged(SnGemmPanel panel, SnGemmMatrix src, int64_t si, int64_t n, int64_t kc,
                        float *dst, int64_t width) {
    float stage[STAGE_ROWS * STAGE_K];
    for (int64_t i = 0; i < n; i += STAGE_ROWS)
        for (int64_t k = 0; k < kc; k += STAGE_K) {
            int64_t rows = min64(STAGE_ROWS, n - i), part = min64(STAGE_K, kc - k);
            for (int64_t r = 0; r < rows; r++)
                stage_row(panel, sn_gemm_from(src, (i + r) * si + k), part, stage + r * STAGE_K);
            sn_gemm_pack_words(stage, STAGE_K * (int64_t)sizeof *stage, rows,
                               sn_gemm_words(panel, part),
                               dst + sn_gemm_words(panel, k) * width + i, width);
        }
}

void sn_gemm_pack_narrow(SnGemmPanel panel, SnGemmMatrix src, int64_t si, int64_t sk, int64_t n,
                         int64_t kc, float *dst, int64_t width) {
    if (sk != 1 || si == 1 || n == 1) {
        pack_rows(panel, src, si, sk, n, kc, dst, width);
    } else if (panel == SN_PANEL_PAIRS && src.elem == SN_ELEM_bf16 && kc % 2 == 0) {
        int64_t bytes = si * sn_gemm_bytes(src.elem); // pairs lie as words
        sn_gemm_pack_words(src.at, bytes, n, kc / 2, dst, width);
    } else {
        pack_staged(panel, src, si, n, kc, dst, width);
    }
}

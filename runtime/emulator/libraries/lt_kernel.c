// Micro-kernels for the emulated cuBLASLt, in C: 6 rows x 16 lanes and the smaller numbers of rows
// that the GEMM driver asks for (SnUkrFn and sn_ukr_rows in plan.h). The CPU backend generates its
// own; these exist so that the emulated device needs no compiler, and give the same bits: one fused
// multiply-add per element and k, in the order of k. Compiled for x86-64-v3: 12 of the 16 vector
// registers hold the tile.
#include "runtime/emulator/libraries/product.h"
#include <immintrin.h>

enum { TILE_ROWS = 6, LANES = SN_GEMM_LANES, VECTOR = 8 };

// rows is a constant wherever this is inlined, so the tile stays in registers.
static inline __attribute__((always_inline)) void
tile(int64_t rows, int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb,
     const float *from, int64_t ldfrom, const float *acc, int64_t ldacc, float *to, int64_t ldto) {
    __m256 x[TILE_ROWS][2];
    for (int64_t r = 0; r < rows; r++) {
        x[r][0] = from ? _mm256_loadu_ps(from + r * ldfrom) : _mm256_setzero_ps();
        x[r][1] = from ? _mm256_loadu_ps(from + r * ldfrom + VECTOR) : _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < kc; k++, a += lda, b += ldb) {
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + VECTOR);
        for (int64_t r = 0; r < rows; r++) {
            __m256 s = _mm256_broadcast_ss(a + r);
            x[r][0] = _mm256_fmadd_ps(s, b0, x[r][0]);
            x[r][1] = _mm256_fmadd_ps(s, b1, x[r][1]);
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        if (acc) {
            x[r][0] = _mm256_add_ps(_mm256_loadu_ps(acc + r * ldacc), x[r][0]);
            x[r][1] = _mm256_add_ps(_mm256_loadu_ps(acc + r * ldacc + VECTOR), x[r][1]);
        }
        _mm256_storeu_ps(to + r * ldto, x[r][0]);
        _mm256_storeu_ps(to + r * ldto + VECTOR, x[r][1]);
    }
}

#define KERNEL(rows)                                                                               \
    static void tile_##rows(int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb,  \
                            const float *from, int64_t ldfrom, const float *acc, int64_t ldacc,    \
                            float *to, int64_t ldto) {                                             \
        tile(rows, kc, a, lda, b, ldb, from, ldfrom, acc, ldacc, to, ldto);                        \
    }
KERNEL(6)
KERNEL(4)
KERNEL(2)
KERNEL(1)
#undef KERNEL

SnGemmKit product_kit(void) {
    static const SnFn kernels[] = {(SnFn)tile_6, (SnFn)tile_4, (SnFn)tile_2, (SnFn)tile_1};
    return (SnGemmKit){.mr = TILE_ROWS, .nr = LANES, .ukr = kernels};
}

// Matrices spread over the registers of a warp: ldmatrix, stmatrix, mma. All 32 lanes are there (exec.c
// sees to it). With g = lane / 4 and t = lane % 4, after the PTX ISA:
//
//   8 x 8 of 16 bits        lane holds row g, columns 2t and 2t + 1 (lower half first); of the transposed
//                           matrix, rows 2t and 2t + 1 of column g
//   A 16 x 16 of 16 bits    register j: row g + 8 (j & 1), columns 2t + 8 (j >> 1) and the next
//   A 16 x 8 of 32 bits     register j: row g + 8 (j & 1), column t + 4 (j >> 1)
//   B k x 8                 register j: column g, rows 2t + 8 j and the next; of 32 bits: row t + 4 j
//   C, D 16 x 8 of f32      register j: row g + 8 (j >> 1), column 2t + (j & 1)
//
// Products are summed by fused multiply-adds over increasing k from c on, of bf16 in pairs, the odd one first,
// where subnormal numbers are zero: as the CPU's products are (docs/numerics.md, Contractions), so that the two can be
// compared. A GPU sums in an order of its own: results agree within the rounding of the sum, not bit for bit.
#include "runtime/emulator/engine/lanes.h"

typedef struct {
    _Alignas(32) float a[16][16], b[16][8], c[16][8];
} Tiles;

static float value_of(uint32_t bits, uint32_t half, MatrixType type) {
    uint32_t h = half ? bits >> 16 : bits & 0xffff;
    switch (type) {
    case MATRIX_f16: return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128((int)h)));
    case MATRIX_bf16: return float_of(h << 16);
    case MATRIX_tf32: break;
    }
    return float_of(bits & ~UINT32_C(0x1fff)); // the lower bits are not looked at
}

static void gather_a(Cx *c, const uint32_t *r, uint32_t regs, MatrixType type, Tiles *x) {
    for (uint32_t j = 0; j < regs; j++) {
        const u32a *s = place(c, r[j]);
        for (uint32_t k = 0; k < LANES; k++) {
            uint32_t row = k / 4 + 8 * (j & 1), t = k % 4;
            if (type == MATRIX_tf32) {
                x->a[row][t + 4 * (j >> 1)] = value_of(s[k], 0, type);
                continue;
            }
            x->a[row][2 * t + 8 * (j >> 1)] = value_of(s[k], 0, type);
            x->a[row][2 * t + 8 * (j >> 1) + 1] = value_of(s[k], 1, type);
        }
    }
}

static void gather_b(Cx *c, const uint32_t *r, uint32_t regs, MatrixType type, Tiles *x) {
    for (uint32_t j = 0; j < regs; j++) {
        const u32a *s = place(c, r[j]);
        for (uint32_t k = 0; k < LANES; k++) {
            uint32_t column = k / 4, t = k % 4;
            if (type == MATRIX_tf32) {
                x->b[t + 4 * j][column] = value_of(s[k], 0, type);
                continue;
            }
            x->b[2 * t + 8 * j][column] = value_of(s[k], 0, type);
            x->b[2 * t + 8 * j + 1][column] = value_of(s[k], 1, type);
        }
    }
}

static float *result_at(Tiles *x, uint32_t j, uint32_t k) {
    return &x->c[k / 4 + 8 * (j >> 1)][k % 4 * 2 + (j & 1)];
}

enum { FLUSH_SUBNORMAL = 0x8040 }; // of MXCSR: operands that are subnormal are 0, and results

// odd: 1 takes the odd k of a pair first. A function of its own, so that nothing is moved out of its mode.
static __attribute__((noinline)) void multiply(Tiles *x, uint32_t depth, uint32_t odd) {
    for (uint32_t m = 0; m < 16; m++) {
        __m256 s = _mm256_load_ps(x->c[m]);
        for (uint32_t k = 0; k < depth; k++)
            s = _mm256_fmadd_ps(_mm256_set1_ps(x->a[m][k ^ odd]), _mm256_load_ps(x->b[k ^ odd]), s);
        _mm256_store_ps(x->c[m], s);
    }
}

// r: d[4], a[], b[], c[4]. aux: MatrixType, k in bits 8 to 15.
void op_mma(Cx *c, const Insn *i) {
    Tiles x;
    MatrixType type = (MatrixType)(i->aux & 255);
    uint32_t depth = i->aux >> 8 & 255, per = type == MATRIX_tf32 ? 4 : 8, regs_b = depth / per;
    const uint32_t *a = i->r + 4, *b = a + 2 * regs_b, *sum = b + regs_b;
    gather_a(c, a, 2 * regs_b, type, &x);
    gather_b(c, b, regs_b, type, &x);
    for (uint32_t j = 0; j < 4; j++)
        for (uint32_t k = 0; k < LANES; k++)
            *result_at(&x, j, k) = ((const f32a *)place(c, sum[j]))[k];
    const uint32_t mode = _mm_getcsr();
    if (type == MATRIX_bf16) _mm_setcsr(mode | FLUSH_SUBNORMAL);
    multiply(&x, depth, type == MATRIX_bf16);
    _mm_setcsr(mode);
    for (uint32_t j = 0; j < 4; j++)
        for (uint32_t k = 0; k < LANES; k++) ((f32a *)place(c, i->r[j]))[k] = *result_at(&x, j, k);
}

// The row that lane k gives the address of, or NULL after a fault.
static uint8_t *matrix_row(Cx *c, const Insn *i, uint32_t k, uint32_t base, AccessKind how,
                           const void *value) {
    const void *x = place(c, base);
    uint64_t address = i->flags & MEM_narrow ? ((const u32a *)x)[k] : ((const u64a *)x)[k];
    address += (uint64_t)i->offset;
    if (i->flags & MEM_narrow) address &= UINT32_MAX;
    return access_shared(c, i, k, address, 16, how, value);
}

// Row and column of half h of a lane's register.
static void position(bool turned, uint32_t k, uint32_t h, uint32_t *row, uint32_t *column) {
    *row = turned ? k % 4 * 2 + h : k / 4;
    *column = turned ? k / 4 : k % 4 * 2 + h;
}

// r: results, address. Lanes 8 j to 8 j + 7 give the rows of matrix j. aux: 1 transposed.
void op_ldmatrix(Cx *c, const Insn *i) {
    uint16_t m[4][8][8];
    for (uint32_t k = 0; k < 8u * i->dsts; k++) {
        const uint8_t *p = matrix_row(c, i, k, i->r[i->dsts], ACCESS_read, NULL);
        if (!p) return;
        memcpy(m[k / 8][k % 8], p, 16);
    }
    for (uint32_t j = 0; j < i->dsts; j++) {
        u32a *d = place(c, i->r[j]);
        for (uint32_t k = 0; k < LANES; k++) {
            uint32_t row[2], column[2];
            for (uint32_t h = 0; h < 2; h++) position(i->aux, k, h, &row[h], &column[h]);
            d[k] = m[j][row[0]][column[0]] | (uint32_t)m[j][row[1]][column[1]] << 16;
        }
    }
}

// r: address, values.
void op_stmatrix(Cx *c, const Insn *i) {
    uint16_t m[4][8][8];
    uint32_t count = i->srcs - 1u;
    for (uint32_t j = 0; j < count; j++) {
        const u32a *s = place(c, i->r[1 + j]);
        for (uint32_t k = 0; k < LANES; k++)
            for (uint32_t h = 0; h < 2; h++) {
                uint32_t row, column;
                position(i->aux, k, h, &row, &column);
                m[j][row][column] = (uint16_t)(s[k] >> 16 * h);
            }
    }
    for (uint32_t k = 0; k < 8 * count; k++) {
        uint8_t *p = matrix_row(c, i, k, i->r[0], ACCESS_write, m[k / 8][k % 8]);
        if (!p) return;
        memcpy(p, m[k / 8][k % 8], 16);
    }
}

// Products as one call of cuBLASLt's matmul.
//
// The convention is cuBLAS's own: all matrices are column-major, element (row i, column j) of a matrix
// with leading dimension ld is at i + j * ld, and batch element e starts e * stride further. With
//
//   P(i, l) = trans_a ? A[base_a + e * stride_a + l + i * lda] : A[base_a + e * stride_a + i + l * lda]
//   Q(l, j) = trans_b ? B[base_b + e * stride_b + j + l * ldb] : B[base_b + e * stride_b + l + j * ldb]
//
// the call computes, for i < m, j < n and e < batch,
//
//   C[base_c + e * stride_c + i + j * ldc] = sum over l < k of P(i, l) * Q(l, j)
//
// A and B here are cuBLAS's: with swap, A is the product's B and B the product's A (a row-major C is the
// transposed column-major one, and C' = B' A'). So the matrix layouts are
//
//   A: rows trans_a ? k : m, columns trans_a ? m : k        C and D: rows m, columns n, ldc; an
//   B: rows trans_b ? n : k, columns trans_b ? k : n        accumulator is C's operand with beta 1
//
// Strides and leading dimensions count elements. A stride of 0 (A, B) repeats the matrix.
#pragma once
#include "ir/base/str.h"
#include "runtime/plan.h"

typedef struct {
    int64_t m, n, k, batch; // batch >= 1
    bool swap, trans_a, trans_b;
    int64_t lda, ldb, ldc;
    int64_t stride_a, stride_b, stride_c; // 0 when batch is 1
    int64_t base_a, base_b, base_c;
    // Bytes that the addresses of A, B and C are multiples of, as far as is known here: at most 64,
    // which buffers are aligned to.
    uint32_t align_a, align_b, align_c;
} CudaLt;

// False with the reason in *why, in words of the product (A, B, C, m, n, k): no single call can do it, or none
// of these types and alignments. Epilogues and accumulators are not looked at.
bool cuda_lt_plan(const SnGemm *g, CudaLt *out, Text *why);

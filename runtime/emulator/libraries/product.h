// A matrix product as cuBLASLt describes it, resolved and checked, and its execution on the CPU.
//
//   D = epilogue(alpha * op(A) * op(B) + beta * C)     per batch element; in f32, rounded once to D's type
//
// Bits of the product: docs/numerics.md, Contractions; alpha 1 and beta 0 or 1 add nothing to that. With tf32
// A and B are rounded to 11 bits before.
// Bias is one addition more. GELU is the tanh form in f32; its bits are not promised.
#pragma once
#include "runtime/core/gemm.h"
#include "runtime/core/pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A matrix in device memory: element (r, c) of batch element b is r * row + c * col + b * batch
// elements from its address.
typedef struct {
    uint32_t elem; // SnElem: f32, bf16, f16
    uint64_t address;
    int64_t rows, cols, row, col, batch;
} DeviceMatrix;
typedef struct {
    int64_t m, n, k, batch;
    DeviceMatrix a, b, c, d; // a [m, k], b [k, n], c and d [m, n]: transposes are in the strides
    float alpha, beta;
    uint32_t epilogue;
    bool tf32;
    uint64_t bias;    // [m] or, for BGRADB, [n], of D's type; read by BIAS, written by BGRAD*
    DeviceMatrix aux; // [m, n] input of GELU
    uint64_t workspace, workspace_bytes;
} LtProduct;

typedef struct { // host memory for products, grown as needed
    void *at;
    size_t bytes;
} ProductSpace;

bool product_adds_bias(uint32_t epilogue);
bool product_sums_bias(uint32_t epilogue); // DGELU_BGRAD, BGRADA, BGRADB
bool product_writes_aux(uint32_t epilogue);
bool product_reads_aux(uint32_t epilogue);
uint64_t product_bias_bytes(const LtProduct *p);
uint64_t matrix_bytes(const DeviceMatrix *x, int64_t batch); // from the first to the last element

// Host views of the device's memory; NULL where the product has none.
typedef struct {
    const void *a, *b, *c;
    void *d, *bias, *aux;
} ProductView;

// False: host memory is short.
bool product_run(const LtProduct *p, const ProductView *v, SnPool *pool, ProductSpace *space);
SnGemmKit product_kit(void); // the micro-kernels of lt_kernel.c

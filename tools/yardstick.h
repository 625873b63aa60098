// oneDNN as the yardstick of benchmarks: one matrix product, run on given buffers. Without oneDNN at
// build time yardstick_available is false and the others do nothing.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// C[batch][m x n] = A * B. a_k, b_k: that operand's elements are adjacent along k. bf16: of A and B; C is f32.
typedef struct {
    int64_t batch, m, n, k;
    bool a_k, b_k, bf16;
} GemmShape;

typedef struct Yardstick Yardstick;
bool yardstick_available(void);
Yardstick *yardstick_new(const GemmShape *p,
                         int threads);                 // exits with a message when oneDNN refuses
void yardstick_run(Yardstick *y, void *const bufs[3]); // A, B, C
void yardstick_free(Yardstick *y);

// A product of our own, on its way to a kernel. gemm.c reads what is asked for and writes what all templates
// want to know of it; gemm_fma.c (in f32, the CPU's bits) and gemm_mma.c (one 16-bit type, tensor cores) choose
// the tile and add what only their template knows.
#pragma once
#include "codegen/cuda/extents.h"
#include "codegen/cuda/module.h"

enum {
    GEMM_PROCESSORS = 132, // of a big device: more blocks than that are a second wave
    GEMM_SEGMENT = 4096    // k whose sum is a chain: a longer one has totals
};

typedef struct {
    SnExtents batch, m, n, k;
    int64_t base[3];
    bool swapped; // rows are B's: A and B of the text are the other way round
    bool add, add_first;
    bool bias, bias_rows; // a value for each n, which are the rows when swapped
    uint32_t elem[3];     // SnElem of A, B and C; acc and bias are as C
} GemmExtents;

bool gemm_narrow(const GemmExtents *x, int which); // offsets fit 32 bits
bool gemm_simple(const GemmExtents *x); // and nothing is nested: indices cost few registers
// `count` neighbours along x start at a multiple of `count` elements: x is adjacent and everything else
// moves by multiples of that.
bool gemm_vectors(const GemmExtents *x, const SnExtents *along, int which, int64_t count);
const SnExtents *gemm_rows(const GemmExtents *x, int which);
bool gemm_along_k(const GemmExtents *x, int which); // neighbours of A or B, and not along its rows
int64_t gemm_blocks(const GemmExtents *x, uint32_t bm, uint32_t bn); // tiles of all of C
// The time of tiles of that size on a big device, in waves; speed: of one tile.
double gemm_cost(const GemmExtents *x, uint32_t bm, uint32_t bn, uint32_t speed);

// Members of P: types of offsets, extents, what is added; a matrix, `width` neighbours at once.
void gemm_put_constants(Text *to, const GemmExtents *x);
void gemm_put_operand(Text *to, const GemmExtents *x, int which, uint32_t width);
void gemm_put_result(Text *to, const GemmExtents *x, uint32_t width);

// How the template is used.
typedef struct {
    CudaTemplate uses;
    const char *function;     // of the template
    const char *element[3];   // of A, B and C in memory; acc and bias are as C
    uint32_t bm, bn, threads; // tile of a block
    int resident;             // blocks that share a processor: how many registers a thread may have
} GemmKernel;
// Writes the members of P. Equal products have equal texts.
GemmKernel gemm_fma(const GemmExtents *x, Text *to);
GemmKernel gemm_mma(const GemmExtents *x, Text *to);

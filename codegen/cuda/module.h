// What the files of codegen/cuda share: the module, a list of batches. A batch is one program text of
// up to CUDA_BATCH functions; NVRTC pays its start-up once per batch and not once per function.
//
//   print*.c   appends the kernels of the step         gemm.c    appends products of our own
//   nvrtc.c    compiles batch by batch                 cache.c   keys on a batch's text
//
// A function's symbol is "k<number>"; its text may use what template/kernel.cuh declares (Env), with which
// every batch begins.
#pragma once
#include "codegen/cuda/cuda.h"

enum { CUDA_BATCH = 24 };

// The files of codegen/cuda/template/, as text.
typedef enum {
#define TEMPLATE(name, needs) CUDA_##name,
#include "codegen/cuda/template/template.def"
#undef TEMPLATE
    CUDA_TEMPLATES
} CudaTemplate;
#define TEMPLATE(name, needs)                                                                      \
    extern const char cuda_template_##name[];                                                      \
    extern const size_t cuda_template_##name##_size;
#include "codegen/cuda/template/template.def"
#undef TEMPLATE

typedef struct {
    Text text;
    uint32_t templates;    // a bit for each that the text has
    uint32_t first, count; // functions first .. first + count - 1
    VEC(size_t) starts;    // of each one's code in the text, behind its comment
} CudaBatch;

// A printed kernel, by its text without name and with keys replaced by their number.
typedef struct {
    const char *text;
    size_t n;
    CudaLaunch launch; // keys are not filled in
} CudaPrinted;

struct CudaModule {
    Arena *arena;
    VEC(CudaBatch) batches;
    uint32_t functions;
    VEC(const char *) comments; // of each function
    VEC(CudaPrinted) printed;
    Map by_hash; // hash of a printed text -> 1 + index in printed
};

// Where the next function's text goes: the batch's text, behind a line "// k<number>: comment" whose
// characters are made harmless. The caller appends `extern "C" __global__ ... k<number>(...) {...}`.
// The Text stays valid until the next call.
// uses: the template that it needs; what that one needs stands in front of it.
Text *cuda_module_open_function(CudaModule *m, const char *comment, CudaTemplate uses,
                                uint32_t *function, uint32_t *batch);
// Appends s with every character outside a safe list replaced by '_': no line ends, no backslashes (which
// would join lines), no trigraphs, no end of a comment.
void cuda_put_safe(Text *to, const char *s);

// The function that was printed from this text; NULL: none yet. *slot: where 1 + its place in `printed`
// belongs.
const CudaPrinted *cuda_module_find(CudaModule *m, const Text *text, uint32_t **slot);

uint32_t cuda_batches(const CudaModule *m);
const Text *cuda_batch(const CudaModule *m, uint32_t batch);

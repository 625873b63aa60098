// NVRTC, the CUDA compiler as a library, loaded when it is needed (nvrtc.c). Own prototypes: building
// needs no CUDA header.
#pragma once
#include "codegen/cuda/cuda.h"

typedef struct NvrtcProgram *NvrtcHandle;
typedef struct {
    const char *(*error_string)(int code);
    int (*version)(int *major, int *minor);
    int (*arch_count)(int *n);
    int (*archs)(int *list);
    int (*create)(NvrtcHandle *p, const char *text, const char *name, int headers,
                  const char *const *header_texts, const char *const *header_names);
    int (*destroy)(NvrtcHandle *p);
    int (*compile)(NvrtcHandle p, int n, const char *const *options);
    int (*ptx_size)(NvrtcHandle p, size_t *n);
    int (*ptx)(NvrtcHandle p, char *to);
    int (*cubin_size)(NvrtcHandle p, size_t *n);
    int (*cubin)(NvrtcHandle p, char *to);
    int (*log_size)(NvrtcHandle p, size_t *n);
    int (*log)(NvrtcHandle p, char *to);
    int major, minor;
    const char *file;    // the library's, or NULL
    uint64_t file_bytes; // its size: tells builds of one version apart
} Nvrtc;

// Finds the library: $SINTER_NVRTC alone when it is set (a path), else libnvrtc.so, .so.13, .so.12 in
// $CUDA_HOME/lib64, $CUDA_PATH/lib64, the loader's path and /usr/local/cuda/lib64. It stays loaded.
// False with what is missing, and how to get it, in *why.
bool nvrtc_open(Nvrtc *rt, Text *why);
// False with the reason in *why: this version has no code generator for t.
bool nvrtc_supports(const Nvrtc *rt, const CudaTarget *t, Text *why);

// What one program became. All three are malloc'd, NUL-terminated (sizes do not count that) or NULL.
typedef struct {
    char *ptx, *cubin, *log;
    size_t ptx_size, cubin_size, log_size;
} NvrtcResult;
// NULL, or in short what failed: then the log says why. ptx_only: no machine code. Any number of
// threads may compile at once.
const char *nvrtc_compile(const Nvrtc *rt, const char *text, const CudaTarget *t, bool ptx_only,
                          NvrtcResult *out);
void nvrtc_free(NvrtcResult *r);

// The options that change what is generated, as one line: part of the cache's key.
void nvrtc_options(const CudaTarget *t, bool ptx_only, Text *to);

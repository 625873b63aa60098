// Finds the CUDA driver and cuBLASLt on this machine. By dlopen, so that an executable starts where
// neither is installed, and says what is missing only when a GPU is asked for.
#include "runtime/cuda/cuda.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name, *symbol;
    size_t at; // of the pointer in the table
    bool blas;
} Import;

static const Import entries[] = {
#define DRIVER(name, symbol, params) {#name, #symbol, offsetof(SnCudaApi, name), false},
#define BLAS(name, symbol, params)   {#name, #symbol, offsetof(SnCudaApi, name), true},
#include "runtime/cuda/api.def"
#undef DRIVER
#undef BLAS
    {"lt_version", "cublasLtGetVersion", offsetof(SnCudaApi, lt_version), true},
};
enum { ENTRIES = sizeof entries / sizeof *entries };

// Libraries keep their names with a version; the toolkit's folder is not always on the search path.
static void *open_library(const char *const *names) {
    for (; *names; names++) {
        void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    return NULL;
}

static void *open_blas(void) {
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                                        NULL};
    void *library = open_library(names);
    const char *folders[] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
    for (size_t f = 0; f < sizeof folders / sizeof *folders && !library; f++)
        for (size_t i = 0; names[i] && !library; i++) {
            char path[1024];
            if (!folders[f]) continue;
            snprintf(path, sizeof path, "%s/lib64/%s", folders[f], names[i]);
            library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    return library;
}

static SnStatus find_all(void *driver, void *blas, SnCudaApi *to, SnError *e) {
    for (size_t i = 0; i < ENTRIES; i++) {
        void *at = dlsym(entries[i].blas ? blas : driver, entries[i].symbol);
        if (!at)
            return sn_fail(e, SN_MACHINE, "the installed %s has no '%s': it is too old",
                           entries[i].blas ? "cuBLASLt" : "CUDA driver", entries[i].symbol);
        memcpy((char *)to + entries[i].at, &at, sizeof at);
    }
    return SN_OK;
}

const SnCudaApi *sn_cuda_load(SnError *e) {
    static const char *const drivers[] = {"libcuda.so.1", "libcuda.so", NULL};
    void *driver = open_library(drivers);
    if (!driver) {
        sn_fail(e, SN_MACHINE, "no CUDA driver is installed (libcuda.so.1 is not found)");
        return NULL;
    }
    void *blas = open_blas();
    if (!blas) {
        sn_fail(e, SN_MACHINE, "cuBLASLt is not installed (libcublasLt.so.12 or .13 is not found)");
        return NULL;
    }
    SnCudaApi *api = calloc(1, sizeof *api); // for the life of the process, like the libraries
    if (!api) {
        sn_fail(e, SN_MACHINE, "out of memory");
        return NULL;
    }
    if (!find_all(driver, blas, api, e)) return api;
    free(api);
    return NULL;
}

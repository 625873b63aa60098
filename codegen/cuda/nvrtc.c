// NVRTC by dlopen: one program text to PTX and machine code for one target.
//
// Options and why: --fmad=false keeps a*b+c two roundings (docs/numerics.md); sm_XX gives machine code
// and PTX from one compile, compute_XX only PTX and half the time; ptxas -v puts registers and spills
// into the log, which report.c reads. --minimal and --no-cache save time and hidden state where the
// version knows them. NVIDIA, "NVRTC" manual.
#define _GNU_SOURCE // dladdr
#include "codegen/cuda/nvrtc.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NVRTC_OK = 0, NVRTC_INVALID_OPTION = 5, MAX_ARCHS = 64 };

// ---- loading ------------------------------------------------------------------------------------

static const char *const names[] = {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"};
enum { NAMES = sizeof names / sizeof *names };

static void *open_in(const char *dir) {
    char path[4096];
    for (int i = 0; i < NAMES; i++) {
        int n = snprintf(path, sizeof path, "%s%s%s", dir, *dir ? "/lib64/" : "", names[i]);
        if (n < 0 || n >= (int)sizeof path) continue;
        void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (lib) return lib;
    }
    return NULL;
}

static void *find_library(Text *why) {
    const char *chosen = getenv("SINTER_NVRTC");
    if (chosen && *chosen) {
        void *lib = dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
        if (!lib) text_printf(why, "cannot load NVRTC from $SINTER_NVRTC: %s", dlerror());
        return lib;
    }
    const char *home = getenv("CUDA_HOME"), *path = getenv("CUDA_PATH");
    void *lib = home && *home ? open_in(home) : NULL;
    if (!lib && path && *path) lib = open_in(path);
    if (!lib) lib = open_in("");
    if (!lib) lib = open_in("/usr/local/cuda");
    if (!lib)
        text_printf(why, "the CUDA compiler NVRTC is missing: no libnvrtc.so, libnvrtc.so.13 or "
                         "libnvrtc.so.12 in $CUDA_HOME/lib64, $CUDA_PATH/lib64, the loader's path "
                         "or /usr/local/cuda/lib64; install the CUDA toolkit 12.8 or newer (of it, "
                         "NVIDIA's package cuda-nvrtc is enough) or set SINTER_NVRTC to the "
                         "library's path");
    return lib;
}

// An object pointer as a function's, which only POSIX allows.
static bool symbol(void *lib, const char *name, void *to, Text *why) {
    void *p = dlsym(lib, name);
    memcpy(to, &p, sizeof p);
    if (!p) text_printf(why, "NVRTC has no %s: it is too old", name);
    return p != NULL;
}

// The file that a function is from.
static void find_file(Nvrtc *rt, int (*any)(int *, int *)) {
    Dl_info info;
    struct stat st;
    void *p = NULL;
    memcpy(&p, &any, sizeof p);
    if (!dladdr(p, &info) || !info.dli_fname) return;
    rt->file = info.dli_fname;
    if (stat(rt->file, &st) == 0) rt->file_bytes = (uint64_t)st.st_size;
}

bool nvrtc_open(Nvrtc *rt, Text *why) {
    *rt = (Nvrtc){0};
    void *lib = find_library(why);
    if (!lib) return false;
    bool good = symbol(lib, "nvrtcGetErrorString", &rt->error_string, why) &&
                symbol(lib, "nvrtcVersion", &rt->version, why) &&
                symbol(lib, "nvrtcGetNumSupportedArchs", &rt->arch_count, why) &&
                symbol(lib, "nvrtcGetSupportedArchs", &rt->archs, why) &&
                symbol(lib, "nvrtcCreateProgram", &rt->create, why) &&
                symbol(lib, "nvrtcDestroyProgram", &rt->destroy, why) &&
                symbol(lib, "nvrtcCompileProgram", &rt->compile, why) &&
                symbol(lib, "nvrtcGetPTXSize", &rt->ptx_size, why) &&
                symbol(lib, "nvrtcGetPTX", &rt->ptx, why) &&
                symbol(lib, "nvrtcGetCUBINSize", &rt->cubin_size, why) &&
                symbol(lib, "nvrtcGetCUBIN", &rt->cubin, why) &&
                symbol(lib, "nvrtcGetProgramLogSize", &rt->log_size, why) &&
                symbol(lib, "nvrtcGetProgramLog", &rt->log, why);
    if (!good) return false;
    find_file(rt, rt->version);
    if (rt->version(&rt->major, &rt->minor) == NVRTC_OK) return true;
    text_printf(why, "NVRTC does not tell its version");
    return false;
}

bool nvrtc_supports(const Nvrtc *rt, const CudaTarget *t, Text *why) {
    int n = 0, list[MAX_ARCHS], newest = 0;
    if (rt->arch_count(&n) != NVRTC_OK || n > MAX_ARCHS || rt->archs(list) != NVRTC_OK) n = 0;
    for (int i = 0; i < n; i++) {
        if (list[i] == (int)t->sm) return true;
        if (list[i] > newest) newest = list[i];
    }
    text_printf(why, "NVRTC %d.%d does not compile for %s", rt->major, rt->minor, t->name);
    if (newest < (int)t->sm) text_printf(why, ": a newer CUDA toolkit is needed (12.8 or later)");
    return false;
}

// ---- compiling ----------------------------------------------------------------------------------

enum { ARCH_SIZE = 48 };
// 177: a function of a template that is not used; 186: a u32 that a model compares with 0.
static const char *const fixed[] = {"--std=c++17", "--fmad=false", "-default-device",
                                    "--diag-suppress=177,186"};
static const char *const machine[] = {"--ptxas-options=-v"};       // not for PTX alone
static const char *const optional[] = {"--minimal", "--no-cache"}; // not in every version
enum {
    FIXED = sizeof fixed / sizeof *fixed,
    MACHINE = sizeof machine / sizeof *machine,
    OPTIONAL = sizeof optional / sizeof *optional,
    OPTIONS = 1 + FIXED + MACHINE + OPTIONAL
};

static void arch_option(const CudaTarget *t, bool ptx_only, char to[ARCH_SIZE]) {
    snprintf(to, ARCH_SIZE, "--gpu-architecture=%s_%u%s", ptx_only ? "compute" : "sm", t->sm,
             t->arch ? "a" : "");
}

static int list_options(const char *arch, bool ptx_only, bool all, const char *to[OPTIONS]) {
    int n = 0;
    to[n++] = arch;
    for (int i = 0; i < FIXED; i++) to[n++] = fixed[i];
    for (int i = 0; i < MACHINE && !ptx_only; i++) to[n++] = machine[i];
    for (int i = 0; i < OPTIONAL && all; i++) to[n++] = optional[i];
    return n;
}

void nvrtc_options(const CudaTarget *t, bool ptx_only, Text *to) {
    char arch[ARCH_SIZE];
    const char *option[OPTIONS];
    arch_option(t, ptx_only, arch);
    int n = list_options(arch, ptx_only, false, option);
    for (int i = 0; i < n; i++) text_printf(to, "%s%s", i ? " " : "", option[i]);
}

typedef int SizeOf(NvrtcHandle p, size_t *n);
typedef int BytesOf(NvrtcHandle p, char *to);

// Fetches one output; false when there is none. terminated: the library counts a final NUL.
static bool fetch(NvrtcHandle p, SizeOf *size, BytesOf *bytes, bool terminated, char **to,
                  size_t *n) {
    size_t all = 0;
    if (size(p, &all) != NVRTC_OK || all == 0) return false;
    *to = calloc(all + 1, 1);
    if (!*to || bytes(p, *to) != NVRTC_OK) return false;
    *n = terminated ? all - 1 : all;
    return true;
}

static int compile_with(const Nvrtc *rt, const char *text, const CudaTarget *t, bool ptx_only,
                        bool all, NvrtcHandle *p) {
    char arch[ARCH_SIZE];
    const char *option[OPTIONS];
    arch_option(t, ptx_only, arch);
    int n = list_options(arch, ptx_only, all, option);
    int code = rt->create(p, text, "kernels.cu", 0, NULL, NULL);
    return code == NVRTC_OK ? rt->compile(*p, n, option) : code;
}

const char *nvrtc_compile(const Nvrtc *rt, const char *text, const CudaTarget *t, bool ptx_only,
                          NvrtcResult *out) {
    *out = (NvrtcResult){0};
    NvrtcHandle p = NULL;
    int code = compile_with(rt, text, t, ptx_only, true, &p);
    if (code == NVRTC_INVALID_OPTION) {
        rt->destroy(&p);
        code = compile_with(rt, text, t, ptx_only, false, &p);
    }
    const char *failed = code == NVRTC_OK ? NULL : rt->error_string(code);
    if (p) fetch(p, rt->log_size, rt->log, true, &out->log, &out->log_size);
    if (!failed && !fetch(p, rt->ptx_size, rt->ptx, true, &out->ptx, &out->ptx_size))
        failed = "no PTX came back";
    if (!failed && !ptx_only &&
        !fetch(p, rt->cubin_size, rt->cubin, false, &out->cubin, &out->cubin_size))
        failed = "no machine code came back";
    if (p) rt->destroy(&p);
    return failed;
}

void nvrtc_free(NvrtcResult *r) {
    free(r->ptx);
    free(r->cubin);
    free(r->log);
    *r = (NvrtcResult){0};
}

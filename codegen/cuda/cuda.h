// CUDA code generation: kernels in, CUDA C out, then machine code and PTX through NVRTC. The only
// header of codegen/cuda that others include.
//
// Use: cuda_module_new, cuda_add_kernel and cuda_add_gemm for each kernel, then cuda_compile once.
// The same calls in the same order give the same text. NVRTC is loaded when it is needed: without the
// CUDA toolkit everything builds, and cuda_compile says what is missing.
#pragma once
#include "codegen/plan.h"

typedef struct CudaModule CudaModule;
CudaModule *cuda_module_new(Arena *a);

// How a kernel is started. Parameters of every kernel, in order: the address of an SnCudaEnv in device
// memory; the index of its first argument in the plan's args, u32; the kernel's arguments, a pointer each;
// the random keys, u64 each. With a table: the first two, and the address of a table of u64 with the
// arguments and keys of instance z at z * (arguments + keys), for the block's z.
enum { CUDA_MAX_KEYS = 8 };
typedef struct {
    uint32_t function; // its symbol is "k<function>"
    uint32_t batch;    // the image that holds it
    uint32_t grid[3], block;
    uint32_t shared; // dynamic, bytes
    uint32_t nkeys;
    uint64_t key[CUDA_MAX_KEYS];
} CudaLaunch;

// False with the reason in *why: a kernel that this target cannot run. Kernels that are equal, or
// differ in random keys only, share code. k must live as long as the module. Not for KORDER_tile.
bool cuda_add_kernel(CudaModule *m, const Kernel *k, bool table, CudaLaunch *launch, Text *why);
// A product whose strides cuBLASLt cannot take, as a kernel of ours: C = A B (+ acc). Arguments: A, B,
// C, then acc and bias if it has them. Same bits as the CPU's (docs/numerics.md, Contractions).
bool cuda_add_gemm(CudaModule *m, const SnGemm *g, const char *name, CudaLaunch *launch, Text *why);

// The target's part of a plan: code for its kernels is added to `module` while the plan is collected.
typedef struct {
    CudaModule *module;
    // NULL, or told of each product: whether cuBLASLt does it, else why not.
    void (*decide)(void *user, const char *what, Loc loc, bool library, const char *reason);
    void *user;
    uint32_t calls; // of cuBLASLt
} CudaPlan;
void cuda_plan(CudaPlan *p, PlanInfo *info);

// A kernel of a flash group; name: for people.
bool cuda_add_flash(CudaModule *m, const LowerFlash *f, FlashKernelKind kind, const char *name,
                    CudaLaunch *launch, Text *why);

// ---- compiling

typedef struct {
    const char *name; // "sm_90a"
    uint32_t sm;      // 90
    bool arch;        // the "a"
} CudaTarget;
// "sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120"; NULL: unknown.
const CudaTarget *cuda_target_find(const char *name, size_t n);
const CudaTarget *cuda_target_at(uint32_t i); // NULL behind the last

typedef struct { // what ptxas said of one function on one target
    uint32_t function, registers, spill_stores, spill_loads, stack, shared;
} CudaReport;
typedef struct {
    const CudaTarget *target;
    uint32_t batch;
    bool ptx; // else a cubin
    const void *data;
    size_t size; // PTX: without the final NUL, which is there
} CudaImage;
typedef struct {
    VEC(CudaImage) images;
    VEC(CudaReport) reports[8]; // by target, in the order asked for
    Text warnings;              // ptxas' and NVRTC's, one a line; empty is the goal
    uint32_t cached, compiled;  // batches found in the cache, and not
} CudaImages;
typedef struct {
    const CudaTarget *const *targets;
    uint32_t ntargets;
    bool ptx_only;         // for the emulator: no machine code
    const char *cache_dir; // NULL: no cache
    uint32_t threads;
} CudaCompile;
bool cuda_available(Text *why);    // NVRTC is installed; else *why says what is missing
bool cuda_print_version(Text *to); // "12.8 (the library's file)"; false: NVRTC is not installed
bool cuda_compile(Arena *a, CudaModule *m, const CudaCompile *how, CudaImages *out, Text *why);

// The images as a program of an executable holds them; data is shared.
const SnImage *cuda_program_images(Arena *a, const CudaImages *all);

// What a function is, for people: the name of the first kernel that it was printed for.
const char *cuda_function_comment(const CudaModule *m, uint32_t function);
uint32_t cuda_function_block(const CudaModule *m, uint32_t function); // its threads

// The CUDA C of all batches, for `sinter dump --cuda`. plan: of its commands, NULL: none; what starts a
// kernel stands above it then. The text that is compiled does not have it, because kernels are shared and
// cached by their text.
void cuda_print(const CudaModule *m, const SnPlan *plan, Text *to);

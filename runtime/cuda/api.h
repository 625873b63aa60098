// The CUDA driver and cuBLASLt as one table of functions, with two providers: the installed libraries
// (cuda/load.c, by dlopen) and the emulated device (emulator/). Everything above the table runs the
// same on both.
//
// Types and numbers are declared here because building must not need the CUDA toolkit;
// tests/unit/test_cuda_api.c compares them with the toolkit's headers where those are installed.
// Meaning, ownership and errors of each function: the CUDA Driver API and cuBLAS manuals.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct SnCudaContextOf *SnCudaContext;
typedef struct SnCudaModuleOf *SnCudaModule;
typedef struct SnCudaFunctionOf *SnCudaFunction;
typedef struct SnCudaStreamOf *SnCudaStream;
typedef struct SnCudaEventOf *SnCudaEvent;
typedef struct SnCudaGraphOf *SnCudaGraph;
typedef struct SnCudaGraphExecOf *SnCudaGraphExec;
typedef struct SnLtHandleOf *SnLtHandle;
typedef struct SnLtDescOf *SnLtDesc;
typedef struct SnLtLayoutOf *SnLtLayout;
typedef struct SnLtPreferenceOf *SnLtPreference;

// clang-format off
enum { // CUresult
    SN_CU_OK = 0, SN_CU_INVALID_VALUE = 1, SN_CU_OUT_OF_MEMORY = 2, SN_CU_NOT_INITIALIZED = 3,
    SN_CU_NO_DEVICE = 100, SN_CU_INVALID_DEVICE = 101, SN_CU_INVALID_IMAGE = 200,
    SN_CU_INVALID_CONTEXT = 201, SN_CU_NO_BINARY_FOR_GPU = 209, SN_CU_INVALID_PTX = 218,
    SN_CU_UNSUPPORTED_PTX_VERSION = 222, SN_CU_INVALID_HANDLE = 400, SN_CU_NOT_FOUND = 500,
    SN_CU_NOT_READY = 600, SN_CU_ILLEGAL_ADDRESS = 700, SN_CU_LAUNCH_OUT_OF_RESOURCES = 701,
    SN_CU_MISALIGNED_ADDRESS = 716, SN_CU_LAUNCH_FAILED = 719, SN_CU_NOT_SUPPORTED = 801,
    SN_CU_CAPTURE_UNSUPPORTED = 900, SN_CU_CAPTURE_INVALIDATED = 901, SN_CU_UNKNOWN = 999
};
enum { // CUdevice_attribute
    SN_CU_ATTR_MAX_THREADS_PER_BLOCK = 1, SN_CU_ATTR_MAX_SHARED_PER_BLOCK = 8,
    SN_CU_ATTR_WARP_SIZE = 10, SN_CU_ATTR_CLOCK_KHZ = 13, SN_CU_ATTR_SM_COUNT = 16,
    SN_CU_ATTR_MEMORY_CLOCK_KHZ = 36, SN_CU_ATTR_MEMORY_BUS_BITS = 37,
    SN_CU_ATTR_MAJOR = 75, SN_CU_ATTR_MINOR = 76, SN_CU_ATTR_MAX_SHARED_OPTIN = 97
};
enum { // CUfunction_attribute
    SN_CU_FUNC_MAX_THREADS = 0, SN_CU_FUNC_SHARED_BYTES = 1, SN_CU_FUNC_LOCAL_BYTES = 3,
    SN_CU_FUNC_REGISTERS = 4, SN_CU_FUNC_MAX_DYNAMIC_SHARED = 8
};
enum { // CUjit_option
    SN_CU_JIT_INFO_LOG = 3, SN_CU_JIT_INFO_LOG_BYTES = 4, SN_CU_JIT_ERROR_LOG = 5,
    SN_CU_JIT_ERROR_LOG_BYTES = 6
};
enum { SN_CU_STREAM_NON_BLOCKING = 1, SN_CU_EVENT_DEFAULT = 0, SN_CU_EVENT_NO_TIMING = 2, SN_CU_CAPTURE_THREAD_LOCAL = 1 };
enum { // cublasStatus_t
    SN_LT_OK = 0, SN_LT_NOT_INITIALIZED = 1, SN_LT_ALLOC_FAILED = 3, SN_LT_INVALID_VALUE = 7,
    SN_LT_ARCH_MISMATCH = 8, SN_LT_EXECUTION_FAILED = 13, SN_LT_INTERNAL_ERROR = 14,
    SN_LT_NOT_SUPPORTED = 15
};
enum { SN_LT_R_32F = 0, SN_LT_R_16F = 2, SN_LT_R_16BF = 14 }; // cudaDataType
enum { // cublasComputeType_t
    SN_LT_COMPUTE_32F = 68,
    SN_LT_COMPUTE_32F_PEDANTIC = 69,
    SN_LT_COMPUTE_32F_FAST_TF32 = 77
};
enum { SN_LT_OP_N = 0, SN_LT_OP_T = 1 };                         // cublasOperation_t
enum { // cublasLtMatmulDescAttributes_t
    SN_LT_DESC_TRANSA = 3, SN_LT_DESC_TRANSB = 4, SN_LT_DESC_EPILOGUE = 7,
    SN_LT_DESC_BIAS_POINTER = 8, SN_LT_DESC_AUX_POINTER = 11, SN_LT_DESC_AUX_LD = 12,
    SN_LT_DESC_AUX_BATCH_STRIDE = 13
};
enum { // cublasLtEpilogue_t
    SN_LT_EPILOGUE_DEFAULT = 1, SN_LT_EPILOGUE_BIAS = 4, SN_LT_EPILOGUE_GELU = 32,
    SN_LT_EPILOGUE_GELU_BIAS = 36, SN_LT_EPILOGUE_GELU_AUX = 160,
    SN_LT_EPILOGUE_GELU_AUX_BIAS = 164, SN_LT_EPILOGUE_DGELU = 192,
    SN_LT_EPILOGUE_DGELU_BGRAD = 208, SN_LT_EPILOGUE_BGRADA = 256, SN_LT_EPILOGUE_BGRADB = 512
};
enum { // cublasLtMatrixLayoutAttribute_t
    SN_LT_LAYOUT_ORDER = 1, SN_LT_LAYOUT_BATCH_COUNT = 5, SN_LT_LAYOUT_BATCH_STRIDE = 6
};
enum { // cublasLtMatmulPreferenceAttributes_t
    SN_LT_PREF_WORKSPACE_BYTES = 1, SN_LT_PREF_ALIGN_A = 5, SN_LT_PREF_ALIGN_B = 6,
    SN_LT_PREF_ALIGN_C = 7, SN_LT_PREF_ALIGN_D = 8
};
enum { // cublasLtMatmulAlgoConfigAttributes_t, 32 bits each
    SN_LT_ALGO_ID = 0, SN_LT_ALGO_TILE = 1, SN_LT_ALGO_SPLIT_K = 2, SN_LT_ALGO_STAGES = 6
};
// clang-format on
typedef struct { // cublasLtMatmulAlgo_t: opaque, may be copied and stored as bytes
    uint64_t data[8];
} SnLtAlgo;
typedef struct { // cublasLtMatmulHeuristicResult_t
    SnLtAlgo algo;
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
} SnLtHeuristic;

// What the next launch, copy, fill or matmul touches. The emulated device checks accesses against it;
// the real one has no ear for it (the table's `note` is NULL there), so nothing can depend on it.
typedef struct {
    uint64_t base, bytes; // device addresses
    uint32_t value;       // which tensor lies there now: equal numbers are equal tensors; 0: none
    uint8_t reads, writes;
    const char *name;  // may be NULL
    uint8_t continues; // one object with the range that ends here: a pointer to that one reaches it
} SnCudaRange;
typedef struct {
    const char *kernel, *node; // what runs, and the IR op it came from
    uint32_t line;             // of the model file; 0: none
    const SnCudaRange
        *ranges; // parameter i of a kernel is ranges[i]; in any order, copied by the callee
    uint32_t n;
} SnCudaNote;

typedef struct SnCudaApi {
#define DRIVER(name, symbol, params) int(*name) params;
#define BLAS(name, symbol, params)   int(*name) params;
#include "runtime/cuda/api.def"
#undef DRIVER
#undef BLAS
    size_t (*lt_version)(void); // cublasLtGetVersion
    // Of the emulated device only, else NULL. note: before the call it describes, copied. report: the
    // text of the last fault, "" when there was none.
    // touch: before the host itself reads or writes pinned memory that copies use.
    void (*note)(const SnCudaNote *note);
    const char *(*report)(void);
    void (*touch)(const void *at, size_t bytes, int writes);
} SnCudaApi;

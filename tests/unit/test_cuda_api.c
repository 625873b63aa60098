// Numbers, structures and prototypes that runtime/cuda/api.h and api.def repeat, against the CUDA
// toolkit's own headers. Without the toolkit it is skipped, saying so.
//
// Prototypes are compared by compiling one call of each function of api.def with parameters of the
// types that api.def gives them: the number of arguments and every handle and pointer have to fit.
// Nothing is called, and no library of the toolkit is linked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#if __has_include(<cuda.h>) && __has_include(<cublasLt.h>)
#include "runtime/cuda/api.h"
#include <cublasLt.h>
#include <cuda.h>

#define ROW(ours, theirs)                                                                          \
    { #ours, ours, (long)(theirs) }
typedef struct {
    const char *name;
    long ours, theirs;
} ApiRow;

static const ApiRow driver_rows[] = {
    ROW(SN_CU_OK, CUDA_SUCCESS),
    ROW(SN_CU_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE),
    ROW(SN_CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY),
    ROW(SN_CU_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED),
    ROW(SN_CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE),
    ROW(SN_CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE),
    ROW(SN_CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE),
    ROW(SN_CU_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT),
    ROW(SN_CU_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU),
    ROW(SN_CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX),
    ROW(SN_CU_UNSUPPORTED_PTX_VERSION, CUDA_ERROR_UNSUPPORTED_PTX_VERSION),
    ROW(SN_CU_INVALID_HANDLE, CUDA_ERROR_INVALID_HANDLE),
    ROW(SN_CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND),
    ROW(SN_CU_NOT_READY, CUDA_ERROR_NOT_READY),
    ROW(SN_CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS),
    ROW(SN_CU_LAUNCH_OUT_OF_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES),
    ROW(SN_CU_MISALIGNED_ADDRESS, CUDA_ERROR_MISALIGNED_ADDRESS),
    ROW(SN_CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED),
    ROW(SN_CU_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED),
    ROW(SN_CU_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
    ROW(SN_CU_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
    ROW(SN_CU_UNKNOWN, CUDA_ERROR_UNKNOWN),
    ROW(SN_CU_ATTR_MAX_THREADS_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
    ROW(SN_CU_ATTR_MAX_SHARED_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
    ROW(SN_CU_ATTR_WARP_SIZE, CU_DEVICE_ATTRIBUTE_WARP_SIZE),
    ROW(SN_CU_ATTR_CLOCK_KHZ, CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
    ROW(SN_CU_ATTR_SM_COUNT, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
    ROW(SN_CU_ATTR_MEMORY_CLOCK_KHZ, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
    ROW(SN_CU_ATTR_MEMORY_BUS_BITS, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
    ROW(SN_CU_ATTR_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
    ROW(SN_CU_ATTR_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
    ROW(SN_CU_ATTR_MAX_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
    ROW(SN_CU_FUNC_MAX_THREADS, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
    ROW(SN_CU_FUNC_SHARED_BYTES, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES),
    ROW(SN_CU_FUNC_LOCAL_BYTES, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES),
    ROW(SN_CU_FUNC_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS),
    ROW(SN_CU_FUNC_MAX_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES),
    ROW(SN_CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_BUFFER),
    ROW(SN_CU_JIT_INFO_LOG_BYTES, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES),
    ROW(SN_CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BUFFER),
    ROW(SN_CU_JIT_ERROR_LOG_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES),
    ROW(SN_CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING),
    ROW(SN_CU_EVENT_DEFAULT, CU_EVENT_DEFAULT),
    ROW(SN_CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING),
    ROW(SN_CU_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
};

static const ApiRow blas_rows[] = {
    ROW(SN_LT_OK, CUBLAS_STATUS_SUCCESS),
    ROW(SN_LT_NOT_INITIALIZED, CUBLAS_STATUS_NOT_INITIALIZED),
    ROW(SN_LT_ALLOC_FAILED, CUBLAS_STATUS_ALLOC_FAILED),
    ROW(SN_LT_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE),
    ROW(SN_LT_ARCH_MISMATCH, CUBLAS_STATUS_ARCH_MISMATCH),
    ROW(SN_LT_EXECUTION_FAILED, CUBLAS_STATUS_EXECUTION_FAILED),
    ROW(SN_LT_INTERNAL_ERROR, CUBLAS_STATUS_INTERNAL_ERROR),
    ROW(SN_LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED),
    ROW(SN_LT_R_32F, CUDA_R_32F),
    ROW(SN_LT_R_16F, CUDA_R_16F),
    ROW(SN_LT_R_16BF, CUDA_R_16BF),
    ROW(SN_LT_COMPUTE_32F, CUBLAS_COMPUTE_32F),
    ROW(SN_LT_COMPUTE_32F_PEDANTIC, CUBLAS_COMPUTE_32F_PEDANTIC),
    ROW(SN_LT_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_TF32),
    ROW(SN_LT_OP_N, CUBLAS_OP_N),
    ROW(SN_LT_OP_T, CUBLAS_OP_T),
    ROW(SN_LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA),
    ROW(SN_LT_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB),
    ROW(SN_LT_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE),
    ROW(SN_LT_DESC_BIAS_POINTER, CUBLASLT_MATMUL_DESC_BIAS_POINTER),
    ROW(SN_LT_DESC_AUX_POINTER, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER),
    ROW(SN_LT_DESC_AUX_LD, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD),
    ROW(SN_LT_DESC_AUX_BATCH_STRIDE, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE),
    ROW(SN_LT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT),
    ROW(SN_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS),
    ROW(SN_LT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU),
    ROW(SN_LT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS),
    ROW(SN_LT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX),
    ROW(SN_LT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS),
    ROW(SN_LT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU),
    ROW(SN_LT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_DGELU_BGRAD),
    ROW(SN_LT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADA),
    ROW(SN_LT_EPILOGUE_BGRADB, CUBLASLT_EPILOGUE_BGRADB),
    ROW(SN_LT_LAYOUT_ORDER, CUBLASLT_MATRIX_LAYOUT_ORDER),
    ROW(SN_LT_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT),
    ROW(SN_LT_LAYOUT_BATCH_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
    ROW(SN_LT_PREF_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES),
    ROW(SN_LT_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES),
    ROW(SN_LT_PREF_ALIGN_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES),
    ROW(SN_LT_PREF_ALIGN_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES),
    ROW(SN_LT_PREF_ALIGN_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES),
    ROW(SN_LT_ALGO_ID, CUBLASLT_ALGO_CONFIG_ID),
    ROW(SN_LT_ALGO_TILE, CUBLASLT_ALGO_CONFIG_TILE_ID),
    ROW(SN_LT_ALGO_SPLIT_K, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
    ROW(SN_LT_ALGO_STAGES, CUBLASLT_ALGO_CONFIG_STAGES_ID),
};

#define FIELD(ours, theirs, mine, its)                                                             \
    {#ours "." #mine, (long)offsetof(ours, mine), (long)offsetof(theirs, its)}, {                  \
        "size of " #ours "." #mine, (long)sizeof(((ours *)0)->mine),                               \
            (long)sizeof(((theirs *)0)->its)                                                       \
    }
static const ApiRow struct_rows[] = {
    {"size of SnLtAlgo", (long)sizeof(SnLtAlgo), (long)sizeof(cublasLtMatmulAlgo_t)},
    {"size of SnLtHeuristic", (long)sizeof(SnLtHeuristic),
     (long)sizeof(cublasLtMatmulHeuristicResult_t)},
    FIELD(SnLtHeuristic, cublasLtMatmulHeuristicResult_t, algo, algo),
    FIELD(SnLtHeuristic, cublasLtMatmulHeuristicResult_t, workspace, workspaceSize),
    FIELD(SnLtHeuristic, cublasLtMatmulHeuristicResult_t, status, state),
    FIELD(SnLtHeuristic, cublasLtMatmulHeuristicResult_t, waves, wavesCount),
    {"size of a device address", (long)sizeof(uint64_t), (long)sizeof(CUdeviceptr)},
    {"size of a result", (long)sizeof(int), (long)sizeof(CUresult)},
    {"size of a status", (long)sizeof(int), (long)sizeof(cublasStatus_t)},
    {"size of an option", (long)sizeof(int), (long)sizeof(CUjit_option)},
    {"size of a device", (long)sizeof(int), (long)sizeof(CUdevice)},
};

static void compare(const ApiRow *rows, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (rows[i].ours != rows[i].theirs)
            fail_msg("%s is %ld, the toolkit says %ld", rows[i].name, rows[i].ours, rows[i].theirs);
}

static void numbers_of_the_driver(void **state) {
    (void)state;
    compare(driver_rows, sizeof driver_rows / sizeof *driver_rows);
}

static void numbers_of_cublaslt(void **state) {
    (void)state;
    compare(blas_rows, sizeof blas_rows / sizeof *blas_rows);
}

static void structures(void **state) {
    (void)state;
    compare(struct_rows, sizeof struct_rows / sizeof *struct_rows);
}

// ---- prototypes ---------------------------------------------------------------------------------

// Our names for opaque types, as the toolkit's types.
#define SnCudaContext   CUcontext
#define SnCudaModule    CUmodule
#define SnCudaFunction  CUfunction
#define SnCudaStream    CUstream
#define SnCudaEvent     CUevent
#define SnCudaGraph     CUgraph
#define SnCudaGraphExec CUgraphExec
#define SnLtHandle      cublasLtHandle_t
#define SnLtDesc        cublasLtMatmulDesc_t
#define SnLtLayout      cublasLtMatrixLayout_t
#define SnLtPreference  cublasLtMatmulPreference_t
#define SnLtAlgo        cublasLtMatmulAlgo_t
#define SnLtHeuristic   cublasLtMatmulHeuristicResult_t

// The arguments of each call. Casts: enumerations, which api.def calls int, and device addresses,
// whose width is compared above.
#define ARGS_init                   (flags)
#define ARGS_driver_version         (version)
#define ARGS_device_count           (count)
#define ARGS_device_get             (device, ordinal)
#define ARGS_device_name            (name, size, device)
#define ARGS_device_attribute       (value, (CUdevice_attribute)attribute, device)
#define ARGS_context_retain         (context, device)
#define ARGS_context_release        (device)
#define ARGS_context_set            (context)
#define ARGS_mem_info               (free, total)
#define ARGS_mem_alloc              ((CUdeviceptr *)ptr, bytes)
#define ARGS_mem_free               (ptr)
#define ARGS_host_alloc             (ptr, bytes, flags)
#define ARGS_host_free              (ptr)
#define ARGS_copy_to_device         (to, from, bytes, stream)
#define ARGS_copy_to_host           (to, from, bytes, stream)
#define ARGS_copy_on_device         (to, from, bytes, stream)
#define ARGS_fill_bytes             (to, value, bytes, stream)
#define ARGS_module_load            (module, image, n, (CUjit_option *)options, values)
#define ARGS_module_unload          (module)
#define ARGS_module_function        (function, module, name)
#define ARGS_function_attribute     (value, (CUfunction_attribute)attribute, function)
#define ARGS_function_set_attribute (function, (CUfunction_attribute)attribute, value)
#define ARGS_launch                 (function, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
#define ARGS_occupancy              (blocks, function, block, shared)
#define ARGS_stream_create          (stream, flags)
#define ARGS_stream_destroy         (stream)
#define ARGS_stream_synchronize     (stream)
#define ARGS_stream_wait            (stream, event, flags)
#define ARGS_capture_begin          (stream, (CUstreamCaptureMode)mode)
#define ARGS_capture_end            (stream, graph)
#define ARGS_graph_instantiate      (exec, graph, flags)
#define ARGS_graph_launch           (exec, stream)
#define ARGS_graph_destroy          (graph)
#define ARGS_graph_exec_destroy     (exec)
#define ARGS_event_create           (event, flags)
#define ARGS_event_destroy          (event)
#define ARGS_event_record           (event, stream)
#define ARGS_event_query            (event)
#define ARGS_event_synchronize      (event)
#define ARGS_event_elapsed          (milliseconds, start, end)
#define ARGS_error_name             ((CUresult)error, text)
#define ARGS_error_string           ((CUresult)error, text)
#define ARGS_lt_create              (handle)
#define ARGS_lt_destroy             (handle)
#define ARGS_lt_desc_create         (desc, (cublasComputeType_t)compute, (cudaDataType_t)scale)
#define ARGS_lt_desc_destroy        (desc)
#define ARGS_lt_desc_set            (desc, (cublasLtMatmulDescAttributes_t)attribute, value, bytes)
#define ARGS_lt_layout_create       (layout, (cudaDataType)type, rows, cols, ld)
#define ARGS_lt_layout_destroy      (layout)
#define ARGS_lt_layout_set          (layout, (cublasLtMatrixLayoutAttribute_t)attribute, value, bytes)
#define ARGS_lt_preference_create   (preference)
#define ARGS_lt_preference_destroy  (preference)
#define ARGS_lt_preference_set                                                                     \
    (preference, (cublasLtMatmulPreferenceAttributes_t)attribute, value, bytes)
#define ARGS_lt_heuristic  (handle, desc, a, b, c, d, preference, want, found, count)
#define ARGS_lt_algo_check (handle, desc, a, b, c, d, algo, result)
#define ARGS_lt_algo_get                                                                           \
    (algo, (cublasLtMatmulAlgoConfigAttributes_t)attribute, value, bytes, written)
#define ARGS_lt_matmul                                                                             \
    (handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo,          \
     workspace, workspace_bytes, stream)

// Inline and never called, so no symbol is left for the linker.
#define DRIVER(name, symbol, params)                                                               \
    static inline int call_##name params { return (int)symbol ARGS_##name; }
#define BLAS(name, symbol, params)                                                                 \
    static inline int call_##name params { return (int)symbol ARGS_##name; }
#include "runtime/cuda/api.def"
#undef DRIVER
#undef BLAS
static inline size_t call_lt_version(void) { return cublasLtGetVersion(); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_the_driver),
        cmocka_unit_test(numbers_of_cublaslt),
        cmocka_unit_test(structures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    printf("skipped: no cuda.h and cublasLt.h to compare with\n");
    return 77;
}
#endif

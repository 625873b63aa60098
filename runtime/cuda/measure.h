// Which of several algorithms for one product is the fastest on this device.
#pragma once
#include "runtime/cuda/api.h"
#include "runtime/sinter.h"

enum { SN_LT_CANDIDATES = 8 }; // how many algorithms are asked for and measured

// Starts one call by that algorithm; cuBLASLt's status.
typedef int (*SnLtStartFn)(void *user, const SnLtHeuristic *algorithm, SnCudaStream stream);
typedef struct {
    int best;              // -1: none runs
    uint32_t tried;        // those that run
    uint64_t ns, first_ns; // of one call by the best; by the first of the list, 0: it does not run
} SnLtMeasured;
// found: n <= SN_LT_CANDIDATES of them, the library's first choice first. An error: the device's fault.
SnStatus sn_lt_measure_all(const SnCudaApi *api, SnCudaStream stream, const SnLtHeuristic *found,
                           int n, SnLtStartFn start, void *user, SnLtMeasured *out, SnError *e);

// "algorithm 21, tile 20, stages 8, split-k 1": numbers as in cublasLt.h.
void sn_lt_describe(const SnCudaApi *api, const SnLtAlgo *algo, char *text, size_t size);

// The CUDA device: the plan on a GPU, or on the emulated one, through the table of api.h.
#pragma once
#include "runtime/core/device.h"
#include "runtime/cuda/api.h"
#include "runtime/cuda/choices.h"

// Opens the installed driver and cuBLASLt; the table lives as long as the process. NULL with the reason
// in *e: no driver, no cuBLASLt, a function missing.
const SnCudaApi *sn_cuda_load(SnError *e);

typedef struct {
    const SnCudaApi *api;
    int ordinal;
    bool from_ptx; // take the PTX even where machine code would do
    bool stepwise; // no graphs, and wait after every command: a fault then names its command
    bool training; // see SnDeviceWish
    bool tune;     // measure the algorithms of products before anything else, and keep the fastest
} SnCudaChoice;
SnStatus sn_cuda_device(const SnProgram *program, const SnCudaChoice *choice, SnDevice **out,
                        SnError *e);
// The file with the algorithms that were measured on that device, there or not.
SnStatus sn_cuda_choices(const SnCudaApi *api, int ordinal, char *path, size_t size, SnError *e);

// ---- between the files of this folder ------------------------------------------------------------

// Turns a driver's code into a status: `what` says what was tried.
SnStatus sn_cuda_check(const SnCudaApi *api, int code, const char *what, SnError *e);

// lt.c: products as calls of cuBLASLt. A call is prepared once, with the addresses it will use.
typedef struct SnLtCall SnLtCall;
typedef struct SnLt_ SnLtPool; // handle, workspace, and the algorithms chosen so far
// known: algorithms that were measured, which outlive the pool.
SnStatus sn_lt_open(const SnCudaApi *api, uint64_t workspace, int64_t workspace_bytes,
                    SnLtChoices *known, SnLtPool **out, SnError *e);
void sn_lt_close(SnLtPool *pool);
// args: device addresses of the command's arguments. The algorithm is the one that is known for this shape,
// else cuBLASLt's first choice; equal shapes share it.
SnStatus sn_lt_prepare(SnLtPool *pool, const SnGemm *g, const uint64_t *args, SnLtCall **out,
                       SnError *e);
void sn_lt_free(SnLtPool *pool, SnLtCall *call);
uint32_t sn_lt_shapes(const SnLtPool *pool);
// What was chosen for shape i, as a line; false behind the last.
bool sn_lt_chosen(const SnLtPool *pool, uint32_t i, char *text, size_t size);
// For how many shapes an algorithm is known that the library refuses.
uint32_t sn_lt_refused(const SnLtPool *pool);
// Measures the call's shape, unless this run has done so, and puts the fastest algorithm into `known`: a
// pool that is opened later takes it. The call's operands must have values, which are overwritten.
SnStatus sn_lt_measure(SnLtPool *pool, const SnLtCall *call, SnCudaStream stream, SnError *e);
SnStatus sn_lt_run(const SnLtPool *pool, const SnLtCall *call, bool first, SnCudaStream stream,
                   SnError *e);

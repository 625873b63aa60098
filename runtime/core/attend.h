// Attention on the CPU: a strip of rows at a time, so that nothing of rows x keys lies in memory.
//
// As with matrix products (gemm.h), a job is prepared when the plan is loaded and then run any number of
// times, in two phases of tasks with a barrier after each; the caller owns the shared workspace and one
// scratch per thread. The bits are those of the products, kernels and sums apart (docs/numerics.md), for
// any number of threads.
#pragma once
#include "runtime/core/gemm.h"

// pack: what many strips read is put into panels, what they add to is set to zero. strips: the rest.
enum { SN_ATTEND_PACK, SN_ATTEND_STRIPS, SN_ATTEND_PHASES };

// One product or sum, and how it is cut.
typedef struct {
    SnExtents f;    // features: a is x's stride, b is y's
    SnExtents step; // PRODUCT: keys of y, which is packed as B of a matrix product
    int64_t
        own[SN_ATTEND_OUTER]; // weight of an outer index in the number of the matrix that is packed
    int64_t count;            // of those matrices; 0: nothing is packed
    int64_t at, size;         // in the shared workspace: where they start, and each; floats
    SnGemmPanel panel;        // of what is multiplied
    int64_t nr, width;        // lanes of a panel of features; features up to whole vectors
    int64_t places; // ROWS: rows that one element of y sums; DENSE: tiles. And what an outer index
    int64_t place[SN_ATTEND_OUTER]; // adds to the number of its first
    bool direct;   // KEYS: x is read where it lies. ROWS, DENSE: the chains are in y itself
    bool direct_x; // ROWS: x is read where it lies
} SnAttendCut;

typedef struct {
    const SnAttend *attend;
    const SnHull *hulls; // one for each strip of rows
    SnGemmKit kit;
    SnStripFn strip;
    SnAttendCut part[SN_ATTEND_PARTS];
    int64_t strips, chain; // strips of rows; outer indices whose strips are summed in order
    int64_t units;         // of which each has chain * strips strips of its own, in order
    uint8_t in_unit[SN_ATTEND_OUTER];
    bool whole;              // a task is a unit; else a strip
    bool ordered;            // a sum goes on from strip to strip
    int64_t blocks, wait_at; // blocks of keys whose sums go in order, and where their counters are
    int64_t threads, ld;
    int64_t pack_tasks[SN_ATTEND_PARTS];
    int64_t scratch_x, scratch_t, scratch_sum, scratch_y,
        scratch_strip; // in a thread's scratch, floats
    int64_t tasks[SN_ATTEND_PHASES];
    int64_t shared, scratch; // bytes of workspace: shared by all, and of each thread
} SnAttendJob;

// kernel_scratch: bytes that the strip kernel needs. The job refers to all that it is given.
void sn_attend_prepare(SnAttendJob *job, const SnAttend *attend, const SnHull *hulls,
                       const SnGemmKit *kit, SnStripFn strip, int64_t kernel_scratch,
                       int64_t threads);

// Runs tasks [task0, task1) of a phase, as sn_gemm_run. Tasks of SN_ATTEND_STRIPS wait for those before
// them: they must be started in order.
void sn_attend_run(const SnAttendJob *job, uint32_t phase, void *const *bufs, const SnEnv *env,
                   int64_t task0, int64_t task1, void *shared, void *scratch);

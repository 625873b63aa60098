// C = A * B (+ acc, + epilogue) over nested batch, m, n and k: the driver that the plan walker
// calls.
//
// A GEMM is prepared once, when the plan is loaded, and then run any number of times in up to three
// phases of independent tasks with a barrier after each. Nothing is allocated here: the caller owns
// one shared workspace (one for all GEMMs: they run one after another) and one scratch per thread.
// Which tasks a thread runs never changes a bit of the result (docs/numerics.md, Contractions).
//
//   SnGemmJob job;
//   sn_gemm_prepare(&job, gemm, &kit, threads, epilogue); // at load; note job.shared and job.scratch
//   for (phase = 0; phase < SN_GEMM_PHASES; phase++)    // each time; skip phases without tasks
//       in parallel over [0, job.tasks[phase]):  sn_gemm_run(&job, phase, bufs, env, t0, t1,
//       shared, scratch) barrier
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>

// pack: operands that many tasks read are packed once into the shared workspace.
// compute: blocks of C. combine: the partial sums of a k that was shared between tasks.
enum { SN_GEMM_PACK, SN_GEMM_COMPUTE, SN_GEMM_COMBINE, SN_GEMM_PHASES };
enum { SN_GEMM_SEGMENT = 4096, SN_GEMM_LANES = 16 };

typedef void (*SnFn)(void);

// The micro-kernels of one executable, from SnPlan.ukr on, each an SnUkrFn. mr <= 16.
typedef struct {
    int64_t mr, nr;
    const SnFn *ukr;
    const SnFn *pairs; // of pairs; NULL: they are floats, odd ones first, to ukr
} SnGemmKit;

// The kit of a plan for the CPU; without pairs where the level has none, or where this processor's do not
// sum as docs/numerics.md says.
SnGemmKit sn_gemm_kit(const SnPlan *plan, const SnFn *functions);

// How panels hold k, in words of four bytes. FLOATS: a float for each k. Sums in pairs (sn_pairs):
// ODD_FIRST: the same with each two of k exchanged, for micro-kernels of floats that run with subnormals
// flushed; PAIRS: two bf16 in a word. Both fill up an odd kc with 0.
typedef enum { SN_PANEL_FLOATS, SN_PANEL_ODD_FIRST, SN_PANEL_PAIRS } SnGemmPanel;
static inline SnGemmPanel sn_gemm_panel(const SnGemmKit *kit, bool pairs) {
    return !pairs ? SN_PANEL_FLOATS : kit->pairs ? SN_PANEL_PAIRS : SN_PANEL_ODD_FIRST;
}
// Words for each row or lane of kc of k.
static inline int64_t sn_gemm_words(SnGemmPanel panel, int64_t kc) {
    int64_t odd = panel == SN_PANEL_FLOATS ? 0 : kc % 2;
    return panel == SN_PANEL_PAIRS ? kc / 2 + odd : kc + odd;
}

typedef struct {
    const SnGemm *gemm;
    SnGemmKit kit;
    SnEpilogueFn epilogue;    // NULL: none
    SnExtents batch, m, n, k; // after a possible exchange of A and B
    int64_t base_a, base_b, base_c;
    bool swapped; // rows of the micro-kernel are n, its lanes are m
    uint32_t elem_a, elem_b;
    SnGemmPanel panel;     // of both
    int64_t words;         // of a row or lane over all k
    bool share_a, share_b; // packed in phase 0 for all tasks; else by each task
    bool direct_b;         // B is read where it lies: lanes are adjacent, little reuse
    bool split;            // segments of k are tasks of their own, combined in phase 2
    int64_t segments, kc,
        kblocks; // k: segments of 4096, each in kblocks blocks of kc (last shorter)
    int64_t mb, nb, mblocks, nblocks; // a task computes mb x nb of C
    int64_t batches;                  // batch elements in a task
    int64_t n_pad;                    // n up to whole vectors
    int64_t pack_group, pack_b0;      // phase 0: panels in a task; first task that packs B
    int64_t shared_b, shared_part;    // where packed B and partial sums start, in floats
    int64_t scratch_b, scratch_x, scratch_t,
        scratch_e;                 // in a thread's scratch, in floats: B panel,
                                   // chains, totals, a transposed strip for the epilogue
    int64_t ld_x;                  // leading dimension of the chain's block
    int64_t tasks[SN_GEMM_PHASES]; // 0: the phase has nothing to do
    int64_t shared, scratch;       // bytes of workspace: shared by all, and of each thread
} SnGemmJob;

// Decides how `gemm` is cut, from its shape, the tile and how many threads will share the tasks.
// epilogue: NULL exactly when the GEMM has none. The job refers to `gemm` and to kit->ukr, which must
// stay.
void sn_gemm_prepare(SnGemmJob *job, const SnGemm *gemm, const SnGemmKit *kit, int64_t threads,
                     SnEpilogueFn epilogue);

// Runs tasks [task0, task1) of a phase. bufs: the command's arguments. shared, scratch: 64-byte
// aligned, at least job->shared and job->scratch bytes; contents need not survive between GEMMs.
void sn_gemm_run(const SnGemmJob *job, uint32_t phase, void *const *bufs, const SnEnv *env,
                 int64_t task0, int64_t task1, void *shared, void *scratch);

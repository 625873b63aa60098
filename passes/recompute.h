// The working state of the pass recompute: which values are kept and which computed again (recompute.c), what
// brings a step into a budget of bytes (recompute_budget.c).
#pragma once
#include "passes/cost.h"
#include "passes/fuse.h"

// What becomes of a value of the forward pass.
typedef enum {
    FATE_none, // not stored, or not of the forward pass
    FATE_kept,
    FATE_again, // computed again where the backward pass needs it
    FATE_open,  // whichever the budget asks for; then one of the two
} Fate;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    const uint8_t *is_inline; // fuse.h: computed in every kernel that reads it
    uint8_t *read_back;       // the backward pass reads it, through what is inline
    uint8_t *fate;            // Fate
    const char **why;         // it is kept
    bool repeats;             // some of the function is part of a round
} Remat;

typedef struct {
    uint32_t repeat; // 0: outside of all
    int64_t round;
} RepeatRound;

// The round of a node in the outermost repeat, or in that over the plan's axis.
RepeatRound remat_round(const Remat *x, NodeId n);
// Lies in memory of its own once the function is fused.
bool remat_is_stored(const Remat *x, NodeId n);
// The group that makes it, or itself.
NodeId remat_source(const Remat *x, NodeId n);
// Writes the copies; false: there are none, and the function is as it was. Changes x->f and nothing else of x.
bool remat_copy(Remat *x);
// Makes open fates such that a step takes at most the plan's budget, or reports that none are. id: of x->f.
void remat_meet_budget(Remat *x, FuncId id);

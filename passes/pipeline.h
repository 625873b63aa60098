// Running passes: the table of passes in order, the loop that runs a range of them, and the
// targets.
#pragma once
#include "passes/pass.h"

// What a driver hears of a run. Every function may be NULL.
typedef struct {
    void *user;
    // Called before each pass with the module it will get: the place to write a reproducer.
    void (*before)(void *user, const PassInfo *pass, const Module *m);
    // Called after each pass that ended well; seconds is its wall time without the verifier's.
    void (*after)(void *user, const PassInfo *pass, const Module *m, double seconds, bool changed);
    bool verify; // check the module after each pass; a violation is an internal error
} PassHooks;

// Runs the passes from `first` to `last`, both included; NULL stands for the end of the table.
// Stops and returns false when a pass reported an error to the module's diagnostics, or a name is
// unknown (reported likewise). The scratch arena is reset after each pass.
bool pipeline_run(PassCx *cx, const char *first, const char *last, const PassHooks *hooks);
// Runs the passes of a list of names with commas between them, in the order written. A list with a pass
// before another that it requires (passes.def) is an error, and nothing of it runs.
bool pipeline_run_list(PassCx *cx, const char *names, const PassHooks *hooks);
const PassInfo *pass_find(const char *name, size_t n); // NULL when unknown

const Target *target_find(const char *name); // NULL when unknown
const Target *target_at(uint32_t i);
uint32_t target_count(void);

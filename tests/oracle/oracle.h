// The chain of oracles on one function of a module: exact interpreter = kernel evaluator = native
// code, by equality of bits. Inputs and states are drawn from a seed.
#pragma once
#include "codegen/plan.h"
#include "ir/interp.h"

typedef struct {
    const char *passes; // run before lowering; NULL: "chunk,layout,fuse,schedule,bundle,memplan"
    const char *cpu;    // NULL: native
    int threads;        // of the native run; 0: 2
    uint64_t seed;
    bool skip_native;
    const char *target;   // that the passes decide for; NULL: "cpu", with `emulated` "cuda"
    const char *emulated; // "sm_90a": the last link is the emulated CUDA device, not native code
    const char *device;   // beside `emulated`: a GPU ("cuda:0") in its place
    const char *cache;    // of programs compiled for it; NULL: none
    bool unfused;         // every value in a kernel of its own
    bool library;         // products take along what cuBLASLt can; with `loose`, and not in kinterp
    bool loose; // passes that are not bit-neutral ran: compare with tolerance 1e-4 relative
} OracleOptions;

// Runs every function that is no region. True when all agree; else *why says where they differ.
// The module is changed by the passes.
bool oracle_check(Module *m, const OracleOptions *o, Text *why);
// Reads and checks a .ir file; diagnostics go to *why.
bool oracle_check_file(const char *path, const OracleOptions *o, Text *why);

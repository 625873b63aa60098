// The command line of a training executable.
#pragma once
#include "runtime/sinter.h"

enum { SN_MAX_SETS = 32 };
typedef struct {
    const char *data, *out, *resume, *log, *generate, *device;
    bool info, check_cpu, profile, tune, help, version;
    int64_t steps, accum, threads, seed, save_every, keep, eval_every, eval_batches, print_every;
    int64_t tokens, top_k;         // numbers that were not given are -1
    double lr, temperature;        // NaN when not given
    const char *sets[SN_MAX_SETS]; // "KEY=VALUE"
    uint32_t nsets;
} SnOptions;

SnStatus sn_options_parse(int argc, char **argv, SnOptions *to, SnError *e);
// Text for --help, line i; NULL after the last.
const char *sn_options_help(uint32_t i, char *line, size_t size);
// Value of --set KEY=...; NULL when not given. The last one counts.
const char *sn_options_set(const SnOptions *o, const char *key);

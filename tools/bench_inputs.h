// Random inputs of a plan, for what measures steps of it.
#pragma once
#include "runtime/sinter.h"

#define BENCH_SEED UINT64_C(88172645463325252)

// Fills the inputs of a section, of all where that is NULL: ids in their range, other integers and bools 0 or 1,
// floats of every type in [0, 1). *state goes on from call to call, and is never 0.
void bench_fill(SnExec *x, const SnPlan *plan, const char *section, uint64_t *state);

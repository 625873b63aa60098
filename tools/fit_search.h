// What else could be run: the largest sizes that fit, and lines of the plan that would save memory. Each is built.
#pragma once
#include "tools/fit.h"

typedef struct {
    bool asked;
    int64_t fits, fails; // the largest found that fits, the smallest that does not; 0: none
    int64_t needs;       // bytes of that
    char why[384];       // it is refused; "": it needs more than there is
} FitFound;
void find_largest(Fit *x, FitFound *micro, FitFound *length);

typedef struct {
    const char *line; // of the plan, or what else would be done
    int64_t bytes;    // of a device then
    int64_t weights;  // of these, what products read
    double time;      // of a token, against now
    const char *why;  // nothing can be said of it: why. "": the figures hold
} Remedy;
typedef VEC(Remedy) Remedies;
// Those that save memory: what fits first, then by time for each byte.
void find_remedies(Fit *x, Remedies *to);

// Wall time, and the median of several timings: what every bench needs.
#pragma once
#include <stdlib.h>
#include <time.h>

static inline double clock_read(clockid_t clock) { // seconds
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline double clock_now(void) { return clock_read(CLOCK_MONOTONIC); }

static inline int clock_by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// Sorts t.
static inline double clock_median(double *t, int n) {
    qsort(t, (size_t)n, sizeof *t, clock_by_value);
    return t[n / 2];
}

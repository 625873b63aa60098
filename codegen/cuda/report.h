// What ptxas says of each function, read from NVRTC's log (report.c).
#pragma once
#include "codegen/cuda/cuda.h"

// Adds the functions of a log to `out` in the order of their numbers, and its warnings to *warnings, one
// a line with the line of the log behind `where`. log need not be terminated.
typedef struct {
    VEC(CudaReport) functions;
    Text warnings;
} LogReport;
void report_parse(Arena *a, const char *log, size_t n, const char *where, LogReport *out);

// Reads the log of one program. ptxas -v writes, for each function and in an order of its own:
//
//   ptxas info    : Compiling entry function 'k7' for 'sm_90a'
//   ptxas info    : Function properties for k7
//   ptxas         .     176 bytes stack frame, 172 bytes spill stores, 172 bytes spill loads
//   ptxas info    : Used 64 registers, used 1 barriers, 1024 bytes smem, 368 bytes cmem[0]
//
// (older versions begin the third line with blanks). Everything that warns or advises is kept as it
// is: spilling, "wgmma ... serialized", unused variables. Linear in the log.
#define _GNU_SOURCE // memmem
#include "codegen/cuda/report.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *at;
    size_t n;
} LogLine;

static bool next_line(const char **at, const char *end, LogLine *out) {
    if (*at >= end) return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    if (!stop) stop = end;
    *out = (LogLine){*at, (size_t)(stop - *at)};
    *at = stop + 1;
    return true;
}

static const char *find(LogLine l, const char *what) {
    return memmem(l.at, l.n, what, strlen(what));
}

// The number that stands before `what`; 0 when `what` does not occur.
static uint32_t number_before(LogLine l, const char *what) {
    const char *p = find(l, what);
    uint64_t value = 0, place = 1;
    if (!p) return 0;
    while (p > l.at && p[-1] >= '0' && p[-1] <= '9' && place < 10000000000u) {
        value += (uint64_t)(*--p - '0') * place;
        place *= 10;
    }
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

// "…entry function 'k7' for…": its number, or false for a name that is not ours.
static bool function_of(LogLine l, uint32_t *out) {
    static const char before[] = "Compiling entry function 'k";
    const char *p = find(l, before), *end = l.at + l.n;
    if (!p) return false;
    p += sizeof before - 1;
    uint64_t value = 0;
    const char *start = p;
    for (; p < end && *p >= '0' && *p <= '9' && value <= UINT32_MAX; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    if (p == start || p == end || *p != '\'' || value > UINT32_MAX) return false;
    *out = (uint32_t)value;
    return true;
}

static bool warns(LogLine l) {
    static const char *const signs[] = {"warning", "Warning", "serialized", "Potential Performance",
                                        "advisory"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (find(l, signs[i])) return find(l, "Remark:") == NULL;
    return false;
}

static int by_function(const void *a, const void *b) {
    uint32_t x = ((const CudaReport *)a)->function, y = ((const CudaReport *)b)->function;
    return (x > y) - (x < y);
}

void report_parse(Arena *a, const char *log, size_t n, const char *where, LogReport *out) {
    LogLine l;
    CudaReport *r = NULL;
    uint32_t before = out->functions.n, function = 0;
    if (!out->warnings.arena) out->warnings.arena = a;
    for (const char *at = log, *end = log + n; next_line(&at, end, &l);) {
        if (warns(l)) {
            text_printf(&out->warnings, "%s: ", where);
            text_put(&out->warnings, l.at, l.n);
            text_put(&out->warnings, "\n", 1);
        }
        if (function_of(l, &function)) {
            CudaReport fresh = {.function = function};
            vec_push(a, &out->functions, fresh);
            r = &out->functions.at[out->functions.n - 1];
        }
        if (r && find(l, "bytes stack frame")) {
            r->stack = number_before(l, " bytes stack frame");
            r->spill_stores = number_before(l, " bytes spill stores");
            r->spill_loads = number_before(l, " bytes spill loads");
        }
        if (r && find(l, ": Used ")) {
            r->registers = number_before(l, " registers");
            r->shared = number_before(l, " bytes smem");
        }
    }
    if (out->functions.n > before)
        qsort(out->functions.at + before, out->functions.n - before, sizeof(CudaReport),
              by_function);
}

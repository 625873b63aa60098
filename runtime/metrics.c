// The log of a run: one JSON object per line, appended, so that it can be read while the run goes
// on and survives a crash up to the last line. Numbers are printed with 9 significant digits, which
// restore an f32 exactly; what JSON cannot hold (NaN, infinities) is null.
#define _GNU_SOURCE
#include "runtime/folder.h"
#include "runtime/sinter.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct SnLog {
    FILE *file; // NULL: goes nowhere
    char path[PATH_MAX];
};

static SnStatus open_log(SnLog *log, const char *dir, SnError *e) {
    if (snprintf(log->path, sizeof log->path, "%s/metrics.jsonl", dir) >= (int)sizeof log->path)
        return sn_fail(e, SN_USER, "the name of the directory '%.200s' is too long", dir);
    if (!sn_folder_make(dir))
        return sn_fail(e, SN_MACHINE, "cannot make '%s': %s", dir, strerror(errno));
    log->file = fopen(log->path, "ae");
    if (!log->file) return sn_fail(e, SN_MACHINE, "%s: %s", log->path, strerror(errno));
    return SN_OK;
}

SnStatus sn_log_new(const char *dir, SnLog **out, SnError *e) {
    *out = NULL;
    SnLog *log = calloc(1, sizeof *log);
    if (!log) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = dir ? open_log(log, dir, e) : SN_OK;
    if (s)
        free(log);
    else
        *out = log;
    return s;
}

SnStatus sn_log_free(SnLog *log, SnError *e) {
    if (!log) return SN_OK;
    SnStatus s = SN_OK;
    if (log->file && fclose(log->file))
        s = sn_fail(e, SN_MACHINE, "%s: %s", log->path, strerror(errno));
    free(log);
    return s;
}

// Names are identifiers of the model language: nothing in them needs escapes.
void sn_log_begin(SnLog *log, const char *kind, uint64_t step) {
    if (log->file) fprintf(log->file, "{\"kind\":\"%s\",\"step\":%" PRIu64, kind, step);
}

void sn_log_number(SnLog *log, const char *name, double value) {
    if (!log->file) return;
    if (isfinite(value))
        fprintf(log->file, ",\"%s\":%.9g", name, value);
    else
        fprintf(log->file, ",\"%s\":null", name);
}

SnStatus sn_log_end(SnLog *log, SnError *e) {
    if (!log->file) return SN_OK;
    fputs("}\n", log->file);
    if (!fflush(log->file) && !ferror(log->file)) return SN_OK;
    return sn_fail(e, SN_MACHINE, "%s: %s", log->path, strerror(errno));
}

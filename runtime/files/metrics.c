// The log of a run: one JSON object per line, appended, so that it can be read while the run goes
// on and survives a crash up to the last line. Numbers are printed with 9 significant digits, which
// restore an f32 exactly; what JSON cannot hold (NaN, infinities) is null.
//
// A line is one write. What a full disk took of it is cut off again, so that the next line, if there
// is room for one, starts where a line ends; so is what a killed run left.
#define _GNU_SOURCE
#include "runtime/files/file.h"
#include "runtime/files/folder.h"
#include "runtime/files/json.h"
#include "runtime/sinter.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct SnLog {
    int fd; // -1: goes nowhere
    SnText line;
    bool torn; // the file ends within a line that could not be cut off
    uint64_t lost;
    char path[PATH_MAX];
};

// A rest behind the last line end: cut off when it is the start of one of our lines, else ended.
static void mend_end(SnLog *log) {
    char tail[8192];
    struct stat info;
    if (fstat(log->fd, &info) || !S_ISREG(info.st_mode) || !info.st_size) return;
    off_t from = info.st_size > (off_t)sizeof tail ? info.st_size - (off_t)sizeof tail : 0;
    ssize_t n = pread(log->fd, tail, sizeof tail, from);
    if (n <= 0 || tail[n - 1] == '\n') return;
    const char *end = memrchr(tail, '\n', (size_t)n);
    const char *rest = end ? end + 1 : tail;
    bool ours = (end || !from) && *rest == '{' && tail[n - 1] != '}';
    log->torn = !ours || ftruncate(log->fd, from + (rest - tail));
}

static SnStatus open_log(SnLog *log, const char *dir, SnError *e) {
    struct stat info;
    int n = snprintf(log->path, sizeof log->path, "%s/metrics.jsonl", dir);
    if (n < 0 || (size_t)n >= sizeof log->path)
        return sn_fail(e, SN_USER, "the name of the directory '%.200s' is too long", dir);
    if (!sn_folder_make(dir))
        return sn_fail(e, sn_file_status(errno), "cannot make '%.600s': %s", dir, strerror(errno));
    log->fd =
        open(log->path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (log->fd < 0 || fstat(log->fd, &info))
        return sn_fail(e, sn_file_status(errno), "%.600s: %s", log->path, strerror(errno));
    if (S_ISFIFO(info.st_mode)) return sn_fail(e, SN_USER, "%.600s is a pipe", log->path);
    mend_end(log);
    return SN_OK;
}

SnStatus sn_log_new(const char *dir, SnLog **out, SnError *e) {
    *out = NULL;
    SnLog *log = calloc(1, sizeof *log);
    if (!log) return sn_fail(e, SN_MACHINE, "out of memory");
    log->fd = -1;
    SnStatus s = dir ? open_log(log, dir, e) : SN_OK;
    if (s)
        (void)sn_log_free(log, NULL);
    else
        *out = log;
    return s;
}

SnStatus sn_log_free(SnLog *log, SnError *e) {
    if (!log) return SN_OK;
    SnStatus s = SN_OK;
    if (log->fd >= 0 && close(log->fd))
        s = sn_fail(e, SN_MACHINE, "%.600s: %s", log->path, strerror(errno));
    free(log->line.text);
    free(log);
    return s;
}

uint64_t sn_log_lost(const SnLog *log) { return log->lost; }

// Names are identifiers of the model language: nothing in them needs escapes.
void sn_log_begin(SnLog *log, const char *kind, uint64_t step) {
    log->line.n = 0;
    log->line.failed = false;
    sn_text_add(&log->line, "%s{\"kind\":\"%s\",\"step\":%" PRIu64, log->torn ? "\n" : "", kind,
                step);
}

void sn_log_number(SnLog *log, const char *name, double value) {
    if (isfinite(value))
        sn_text_add(&log->line, ",\"%s\":%.9g", name, value);
    else
        sn_text_add(&log->line, ",\"%s\":null", name);
}

// Takes back the `put` bytes of a line that got no further, unless somebody else wrote behind them.
static void take_back(SnLog *log, ssize_t put, off_t before) {
    struct stat info;
    if (put <= 0) return;
    log->torn = fstat(log->fd, &info) || info.st_size != before + put || ftruncate(log->fd, before);
}

SnStatus sn_log_end(SnLog *log, SnError *e) {
    struct stat info;
    if (log->fd < 0) return SN_OK;
    sn_text_add(&log->line, "}\n");
    off_t before = fstat(log->fd, &info) ? -1 : info.st_size;
    ssize_t put = -1;
    errno = ENOMEM;
    if (!log->line.failed) do
            put = write(log->fd, log->line.text, log->line.n);
        while (put < 0 && errno == EINTR);
    if (put >= 0 && (size_t)put == log->line.n) {
        log->torn = false;
        return SN_OK;
    }
    int reason = put < 0 ? errno : ENOSPC;
    take_back(log, put, before);
    log->lost++;
    return sn_fail(e, SN_MACHINE, "cannot write to %.600s: %s", log->path, strerror(reason));
}

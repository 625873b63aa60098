// See moments.h. A checkpoint is written from the mapping as from memory, so nothing else knows of the file, and a
// run that was killed resumes as any other.
#define _GNU_SOURCE
#include "runtime/cpu/moments.h"
#include "runtime/core/device.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21 // Linux 5.4; older ones refuse it, and pages stay as long as there is room
#endif

// Not all file systems have files without a name from the start.
static int open_nameless(const char *folder) {
    char path[4096];
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
    if ((size_t)snprintf(path, sizeof path, "%s/moments-XXXXXX", folder) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    file = mkostemp(path, O_CLOEXEC);
    if (file >= 0) unlink(path);
    return file;
}

SnStatus sn_moments_map(void *at, int64_t bytes, const char *folder, SnError *e) {
    int file = open_nameless(folder);
    if (file < 0)
        return sn_fail(e, errno == ENOENT || errno == ENOTDIR ? SN_USER : SN_MACHINE,
                       "no file for the moments in '%.300s': %s", folder, strerror(errno));
    int why = posix_fallocate(file, 0, bytes);
    void *m =
        why ? MAP_FAILED
            : mmap(at, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (!why && m == MAP_FAILED) why = errno;
    close(file);
    if (!why) return SN_OK;
    return sn_fail(e, SN_MACHINE, "%.2f GiB of moments in '%.300s': %s",
                   (double)bytes / (1024.0 * 1024.0 * 1024.0), folder, strerror(why));
}

static void advise(void *at, int64_t bytes, int advice) {
    uintptr_t from = (uintptr_t)at / PAGE * PAGE, to = (uintptr_t)at + (uintptr_t)bytes;
    if (bytes > 0) (void)madvise((void *)from, to - from, advice); // nothing is lost when refused
}

void sn_moments_soon(void *at, int64_t bytes) { advise(at, bytes, MADV_WILLNEED); }
void sn_moments_done(void *at, int64_t bytes) { advise(at, bytes, MADV_PAGEOUT); }

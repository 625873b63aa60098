// See file.h. The kind is asked for twice: before opening, so that nothing else is touched, and after,
// because another file may have taken the name meanwhile; the open itself never waits.
#define _GNU_SOURCE
#include "runtime/files/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100 };
enum { SPARE = 64 }; // descriptors that a run holds besides its data: checkpoints, logs, devices

// Opened for reading, so that writing to them still fails.
void sn_file_prepare(void) {
    int fd;
    do fd = open("/dev/null", O_RDONLY | O_NOCTTY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
    signal(SIGXFSZ, SIG_IGN);
}

static const char *kind_name(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

SnStatus sn_file_status(int error) {
    const int theirs[] = {EACCES, EPERM, ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EEXIST};
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (error == theirs[i]) return SN_USER;
    return SN_MACHINE;
}

static SnStatus failed(const char *path, SnError *e) {
    int error = errno;
    return sn_fail(e, sn_file_status(error), "%.600s: %s", path, strerror(error));
}

static SnStatus refuse(const char *path, const struct stat *info, SnError *e) {
    return sn_fail(e, SN_USER, "%.600s is not a file but %s", path, kind_name(info->st_mode));
}

SnStatus sn_file_open(const char *path, int *fd, int64_t *size, SnError *e) {
    struct stat info;
    if (stat(path, &info)) return failed(path, e);
    if (!S_ISREG(info.st_mode)) return refuse(path, &info, e);
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0) return failed(path, e);
    SnStatus s = fstat(*fd, &info)        ? failed(path, e)
                 : !S_ISREG(info.st_mode) ? refuse(path, &info, e)
                                          : SN_OK;
    if (s) {
        close(*fd);
        *fd = -1;
        return s;
    }
    *size = info.st_size;
    return SN_OK;
}

SnStatus sn_file_temporary(const char *dir, const char *name, char *path, size_t size, int *fd,
                           SnError *e) {
    for (int i = 0; i < TRIES; i++) {
        uint64_t key = (uint64_t)getpid() << 32 | (uint32_t)i;
        (void)!getrandom(&key, sizeof key, GRND_NONBLOCK); // two of one name are no harm
        int n = snprintf(path, size, "%s/.%s.%016" PRIx64 ".tmp", dir, name, key);
        if (n < 0 || (size_t)n >= size)
            return sn_fail(e, SN_USER, "the name '%.200s' is too long", dir);
        *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (*fd >= 0) return SN_OK;
        if (errno != EEXIST) break;
    }
    int error = errno;
    return sn_fail(e, sn_file_status(error), "cannot write in '%.600s': %s", dir, strerror(error));
}

SnStatus sn_file_finish(int fd, const char *temporary, const char *path, SnStatus status,
                        SnError *e) {
    if (!status && fsync(fd)) status = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    if (close(fd) && !status) status = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    if (!status && rename(temporary, path)) status = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    if (status) (void)unlink(temporary);
    return status;
}

bool sn_file_same(const char *a, const char *b) {
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

SnStatus sn_file_reserve(uint64_t files, const char *what, SnError *e) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= files + SPARE)
        return SN_OK;
    if (limit.rlim_max < files + SPARE)
        return sn_fail(e, SN_MACHINE,
                       "%s: %llu files are more than this process may hold open: its limit is %llu "
                       "(ulimit -Hn), %d of them for the rest of the run",
                       what, (unsigned long long)files, (unsigned long long)limit.rlim_max, SPARE);
    limit.rlim_cur = files + SPARE;
    return setrlimit(RLIMIT_NOFILE, &limit)
               ? sn_fail(e, SN_MACHINE, "%s: cannot hold %llu files open: %s", what,
                         (unsigned long long)files, strerror(errno))
               : SN_OK;
}

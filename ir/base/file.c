// See file.h. The kind is asked for before opening, and again after, because another file may have
// taken the name meanwhile; the open itself never waits.
#define _GNU_SOURCE
#include "ir/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ESPIPE, "Illegal seek", is what a read at a position would say.
static bool is_file(const struct stat *info) {
    errno = S_ISDIR(info->st_mode) ? EISDIR : ESPIPE;
    return S_ISREG(info->st_mode);
}

const char *file_fault(void) {
    return errno == ESPIPE ? "a pipe or a device, not a file" : strerror(errno);
}

static void close_keeping(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
}

int file_descriptor(const char *path) {
    struct stat info;
    if (stat(path, &info) || !is_file(&info)) return -1;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || (!fstat(fd, &info) && is_file(&info))) return fd;
    close_keeping(fd);
    return -1;
}

FILE *file_open(const char *path) {
    int fd = file_descriptor(path);
    FILE *f = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (fd >= 0 && !f) close_keeping(fd);
    return f;
}

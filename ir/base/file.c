// See file.h. The kind is asked for before opening, and again after, because another file may have
// taken the name meanwhile; the open itself never waits.
#define _GNU_SOURCE
#include "ir/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

// ESPIPE, "Illegal seek", is what a read at a position would say.
static bool is_file(const struct stat *info) {
    errno = S_ISDIR(info->st_mode) ? EISDIR : ESPIPE;
    return S_ISREG(info->st_mode);
}

FILE *file_open(const char *path) {
    struct stat info;
    if (stat(path, &info) || !is_file(&info)) return NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    FILE *f = fd >= 0 && !fstat(fd, &info) && is_file(&info) ? fdopen(fd, "rb") : NULL;
    if (fd >= 0 && !f) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return f;
}

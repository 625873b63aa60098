// See folder.h. The compiler's tools ask here too, so that the cache's folder is named in one place.
#define _GNU_SOURCE
#include "runtime/folder.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool sn_folder_make(const char *path) {
    char part[PATH_MAX];
    if (!*path) {
        errno = ENOENT;
        return false;
    }
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (char *p = part + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        if (mkdir(part, 0777) && errno != EEXIST) return false;
        *p = '/';
    }
    return !mkdir(part, 0777) || errno == EEXIST;
}

bool sn_folder_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = !fsync(fd);
    close(fd);
    return good;
}

// A relative XDG_CACHE_HOME is none, as the XDG Base Directory Specification says; a relative HOME
// would be another folder for each working directory.
bool sn_folder_cache(char *to, size_t size) {
    const char *set = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (set && *set == '/')
        n = snprintf(to, size, "%s/sinter", set);
    else if (home && *home == '/')
        n = snprintf(to, size, "%s/.cache/sinter", home);
    return n >= 0 && (size_t)n < size;
}

// See folder.h. The compiler's tools ask here too, so that the cache's folder is named in one place.
#define _GNU_SOURCE
#include "runtime/files/folder.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static bool refuse(char *why, size_t size, const char *path, const char *reason) {
    snprintf(why, size, "'%.300s'%s", path, reason);
    return false;
}

static bool failed(char *why, size_t size, const char *path) {
    snprintf(why, size, "'%.300s': %s", path, strerror(errno));
    return false;
}

bool sn_folder_is_private(const char *path, char *why, size_t size) {
    struct stat info;
    if (stat(path, &info)) return errno == ENOENT || errno == ENOTDIR || failed(why, size, path);
    if (!S_ISDIR(info.st_mode)) return refuse(why, size, path, " is no folder");
    if (info.st_uid != geteuid()) return refuse(why, size, path, " belongs to another user");
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(why, size, path,
                      " can be written by other users: chmod go-w makes it private");
    return true;
}

// The last part is made here, so that nobody can be faster: mkdir does not take one that is there.
bool sn_folder_make_private(const char *path, char *why, size_t size) {
    char above[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash && slash != path) {
        snprintf(above, sizeof above, "%.*s", (int)(slash - path), path);
        if (!sn_folder_make(above)) return failed(why, size, above);
    }
    if (mkdir(path, 0700) && errno != EEXIST) return failed(why, size, path);
    return sn_folder_is_private(path, why, size);
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

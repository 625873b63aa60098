// A folder of checkpoints: DIR/step-NNNNNNNN.safetensors.
//
// Writing goes to a name of its own in the same folder, which nobody else has and no link stands for,
// is read back in part (safetensors.c), synced and renamed: the final name either stands for a whole
// file or does not exist, whatever fails (disk full, kill -9, power). Old files go only after the new
// one is in place. A folder belongs to one run at a time: a lock says so, which ends with the process.
//
// Reading takes no lock. It goes on from a file that another run removes to the newer ones that it has
// put there, and from a damaged file to the one before.
#define _GNU_SOURCE
#include "runtime/files/checkpoint.h"
#include "runtime/files/file.h"
#include "runtime/files/folder.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100 };

// ---- names --------------------------------------------------------------------------------------

static bool step_path(char *to, size_t size, const char *dir, int64_t step, const char *suffix) {
    int n = snprintf(to, size, "%s/step-%08" PRId64 ".safetensors%s", dir, step, suffix);
    return n >= 0 && (size_t)n < size;
}

static SnStatus too_long(const char *name, SnError *e) {
    return sn_fail(e, SN_USER, "the name '%.200s' is too long", name);
}

static SnStatus cannot(const char *what, const char *path, SnError *e) {
    int error = errno;
    return sn_fail(e, sn_file_status(error), "cannot %s '%.600s': %s", what, path, strerror(error));
}

// Step number of a checkpoint's file name as it is written here, or -1 of any other name.
static int64_t step_of_name(const char *name) {
    char written[64];
    int64_t step = 0;
    const char *digits = name + strlen("step-");
    if (strncmp(name, "step-", strlen("step-"))) return -1;
    size_t n = strspn(digits, "0123456789");
    if (n < 8 || n > 18) return -1;
    for (size_t i = 0; i < n; i++) step = step * 10 + (digits[i] - '0');
    snprintf(written, sizeof written, "step-%08" PRId64 ".safetensors", step);
    return strcmp(name, written) ? -1 : step;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// The steps of a folder's checkpoints, ascending; a folder that is not there has none. Free *steps.
static SnStatus list_steps(const char *dir, int64_t **steps, size_t *n, SnError *e) {
    DIR *d = opendir(dir);
    size_t limit = 0;
    *steps = NULL;
    *n = 0;
    if (!d && errno == ENOENT) return SN_OK;
    if (!d) return cannot("read", dir, e);
    SnStatus s = SN_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(d);
        if (!entry && errno) s = sn_fail(e, SN_MACHINE, "%.600s: %s", dir, strerror(errno));
        if (!entry) break;
        int64_t step = step_of_name(entry->d_name);
        if (step < 0) continue;
        int64_t *grown =
            *n < limit ? *steps : realloc(*steps, (limit = limit * 2 + 16) * sizeof step);
        if (!grown) {
            s = sn_fail(e, SN_MACHINE, "out of memory");
            break;
        }
        *steps = grown;
        (*steps)[(*n)++] = step;
    }
    closedir(d);
    if (s) {
        free(*steps);
        *steps = NULL;
        return s;
    }
    if (*n) qsort(*steps, *n, sizeof **steps, by_step);
    return SN_OK;
}

// The newest step below `below`; -1: there is none.
static SnStatus newest_step(const char *dir, int64_t below, int64_t *step, SnError *e) {
    int64_t *steps;
    size_t n;
    SnStatus s = list_steps(dir, &steps, &n, e);
    if (s) return s;
    while (n && steps[n - 1] >= below) n--;
    *step = n ? steps[n - 1] : -1;
    free(steps);
    return SN_OK;
}

// ---- the lock -----------------------------------------------------------------------------------

// Its name tells remove_temporary what it is.
static SnStatus open_temporary(const char *dir, int64_t step, char *path, size_t size, int *fd,
                               SnError *e) {
    char name[64];
    snprintf(name, sizeof name, "step-%08" PRId64 ".safetensors", step);
    return sn_file_temporary(dir, name, path, size, fd, e);
}

// Removes what a killed run left half written.
static void remove_temporary(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *name = entry->d_name, *end = ".tmp";
        size_t n = strlen(name);
        char path[PATH_MAX];
        if (strncmp(name, ".step-", 6) || !strstr(name, ".safetensors.") ||
            strcmp(name + n - strlen(end), end))
            continue;
        int length = snprintf(path, sizeof path, "%s/%s", dir, name);
        if (length > 0 && (size_t)length < sizeof path) (void)unlink(path);
    }
    if (d) closedir(d);
}

// Who holds the lock, for the message; "" when it is not known.
static void read_holder(int fd, char *to, size_t size) {
    ssize_t n = pread(fd, to, size - 1, 0);
    to[n > 0 ? n : 0] = 0;
    to[strcspn(to, "\n")] = 0;
}

static void write_holder(int fd) {
    char host[128] = "", text[200];
    (void)gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    (void)!ftruncate(fd, 0); // a full disk leaves a message shorter, no more
    (void)!pwrite(fd, text, (size_t)n, 0);
}

// *lock -1: the file system has no locks.
static SnStatus lock_folder(const char *dir, int *lock, SnError *e) {
    char path[PATH_MAX], holder[200];
    int n = snprintf(path, sizeof path, "%s/.lock", dir);
    if (n < 0 || (size_t)n >= sizeof path) return too_long(dir, e);
    const int how = O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = open(path, O_RDWR | how, 0666);
    if (fd < 0 && errno == EACCES)
        fd = open(path, O_RDONLY | how, 0666); // another user's, of a group
    if (fd < 0) return cannot("write", path, e);
    int rc;
    do rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc && errno == EINTR);
    if (rc && errno == EWOULDBLOCK) {
        read_holder(fd, holder, sizeof holder);
        close(fd);
        return sn_fail(e, SN_USER, "another run saves in '%.600s'%s%s", dir, *holder ? ": " : "",
                       holder);
    }
    if (rc) {
        close(fd);
        return SN_OK;
    }
    write_holder(fd);
    *lock = fd;
    return SN_OK;
}

SnStatus sn_checkpoint_claim(const char *dir, int *lock, SnError *e) {
    char path[PATH_MAX];
    int fd;
    *lock = -1;
    if (!sn_folder_make(dir)) return cannot("make", dir, e);
    SnStatus s = lock_folder(dir, lock, e);
    if (!s) s = open_temporary(dir, 0, path, sizeof path, &fd, e);
    if (s) {
        if (*lock >= 0) close(*lock);
        *lock = -1;
        return s;
    }
    close(fd);
    (void)unlink(path);
    if (*lock >= 0) remove_temporary(dir);
    return SN_OK;
}

// ---- saving -------------------------------------------------------------------------------------

// Removes all but the `keep` newest, never the one just written. A file that cannot go is left.
static void remove_old(const char *dir, int keep, int64_t newest) {
    int64_t *steps;
    size_t n;
    if (list_steps(dir, &steps, &n, NULL)) return;
    for (size_t i = 0; n - i > (size_t)keep; i++) {
        char path[PATH_MAX];
        if (steps[i] != newest && step_path(path, sizeof path, dir, steps[i], ""))
            (void)unlink(path);
    }
    free(steps);
}

SnStatus sn_checkpoint_save(SnExec *x, const SnProgress *at, const char *dir, int keep, char *path,
                            size_t path_size, SnError *e) {
    char temporary[PATH_MAX];
    SnError inner = {0};
    int fd;
    if (!step_path(path, path_size, dir, (int64_t)at->step, "")) return too_long(dir, e);
    if (!sn_folder_make(dir)) return cannot("make", dir, e);
    SnStatus s = open_temporary(dir, (int64_t)at->step, temporary, sizeof temporary, &fd, e);
    if (s) return s;
    s = sn_file_finish(fd, temporary, path, sn_checkpoint_write(x, at, fd, &inner), &inner);
    if (s) return sn_fail(e, s, "cannot write the checkpoint '%s': %s", path, inner.text);
    if (!sn_folder_sync(dir))
        return sn_fail(e, SN_MACHINE, "cannot sync '%s': %s", dir, strerror(errno));
    remove_temporary(dir);
    if (keep > 0) remove_old(dir, keep, (int64_t)at->step);
    return SN_OK;
}

// ---- loading ------------------------------------------------------------------------------------

static SnStatus read_file(SnExec *x, const char *path, SnProgress *at, bool *old, bool *damaged,
                          SnError *e) {
    SnSafetensors *st = NULL;
    SnError inner = {0};
    int fd;
    int64_t bytes;
    *damaged = false;
    SnStatus s = sn_file_open(path, &fd, &bytes, e);
    if (s) return s;
    s = sn_st_take(fd, bytes, path, &st, e);
    *damaged = s == SN_USER;
    if (s) return s;
    *old = !sn_st_has_sums(st);
    s = sn_checkpoint_read(x, st, at, damaged, &inner);
    sn_st_close(st);
    return s ? sn_fail(e, s, "checkpoint '%.500s': %s", path, inner.text) : SN_OK;
}

static void note_old(bool old, SnFound *f) {
    if (old)
        snprintf(
            f->note, sizeof f->note,
            "'%.500s' is of an older Sinter, without checksums and axes: what it holds is taken "
            "as it is",
            f->path);
}

static bool is_gone(const char *path) {
    struct stat info;
    return lstat(path, &info) && errno == ENOENT;
}

static SnStatus none_whole(const char *dir, const SnError *first, SnError *e) {
    if (!first->status) return sn_fail(e, SN_USER, "there is no checkpoint in '%.600s'", dir);
    return sn_fail(e, SN_USER, "%s; there is none before it", first->text);
}

static SnStatus load_newest(SnExec *x, const char *dir, SnProgress *at, SnFound *f, SnError *e) {
    int64_t below = INT64_MAX; // damaged from here on
    SnError first = {0};       // of the newest one
    for (int gone = 0; gone < TRIES;) {
        bool old = false, damaged;
        int64_t step;
        SnStatus s = newest_step(dir, below, &step, e);
        if (s) return s;
        if (step < 0) return none_whole(dir, &first, e);
        if (!step_path(f->path, sizeof f->path, dir, step, "")) return too_long(dir, e);
        s = read_file(x, f->path, at, &old, &damaged, e);
        if (!s) {
            note_old(old, f);
            if (first.status)
                snprintf(f->note, sizeof f->note, "%.700s; the one before it is taken", first.text);
            return SN_OK;
        }
        if (is_gone(f->path)) {
            gone++;
            continue;
        }
        if (!damaged) return s;
        if (!first.status)
            first = (SnError){.status = s}, memcpy(first.text, e->text, sizeof e->text);
        below = step;
    }
    return sn_fail(e, SN_MACHINE,
                   "the checkpoints in '%.600s' are removed faster than they are read", dir);
}

SnStatus sn_checkpoint_load(SnExec *x, const char *file_or_dir, SnProgress *at, SnFound *f,
                            SnError *e) {
    struct stat info;
    SnError own;
    bool old = false, damaged;
    if (!e) e = &own;
    *f = (SnFound){.note = ""};
    if (stat(file_or_dir, &info)) return cannot("read", file_or_dir, e);
    if (S_ISDIR(info.st_mode)) return load_newest(x, file_or_dir, at, f, e);
    int n = snprintf(f->path, sizeof f->path, "%s", file_or_dir);
    if (n < 0 || (size_t)n >= sizeof f->path) return too_long(file_or_dir, e);
    SnStatus s = read_file(x, f->path, at, &old, &damaged, e);
    if (!s) note_old(old, f);
    if (!damaged) return s;
    SnError first = *e;
    return sn_fail(e, s, "%.900s; --resume with its folder takes the newest whole one", first.text);
}

// Puts a damaged checkpoint out of the way, where it is no step's. *damaged false: it is whole.
static SnStatus set_aside(const char *dir, int64_t step, char *path, size_t size, bool *damaged,
                          SnError *e) {
    char aside[PATH_MAX];
    bool old;
    SnProgress at;
    if (!step_path(path, size, dir, step, "") ||
        !step_path(aside, sizeof aside, dir, step, ".damaged"))
        return too_long(dir, e);
    SnStatus s = read_file(NULL, path, &at, &old, damaged, e);
    if (!*damaged) return s;
    return rename(path, aside) ? cannot("rename", path, e) : SN_OK;
}

SnStatus sn_checkpoint_clear(const char *dir, uint64_t step, char *note, size_t size, SnError *e) {
    int64_t *steps;
    size_t n;
    char path[PATH_MAX];
    *note = 0;
    SnStatus s = list_steps(dir, &steps, &n, e);
    for (size_t i = 0; i < n && !s; i++) {
        bool damaged = false;
        if ((uint64_t)steps[i] <= step) continue;
        s = set_aside(dir, steps[i], path, sizeof path, &damaged, e);
        if (!s && damaged)
            snprintf(note, size, "'%.600s' is damaged and now called '....damaged'", path);
        if (!s && !damaged)
            s = sn_fail(e, SN_USER,
                        "'%.600s' holds a checkpoint of step %" PRId64
                        ": continue it with --resume, or give --out another directory",
                        dir, steps[i]);
    }
    free(steps);
    return s;
}

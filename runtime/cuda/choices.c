// See choices.h. The file is text, so that it can be read and compared:
//
//   sinter cublaslt 2, NVIDIA H100 80GB HBM3, sm_90, library 130100
//   SUM ALGORITHM NS FIRST TRIED KEY          for each product, the newest first
//
// SUM is FNV-1a (64 bits) over the first line and the rest of its own, so a line that was torn, changed
// or copied from another device's file is no line. It finds accidents: who may write the user's cache
// may do worse. The library is asked once more before an algorithm is used (lt.c).
//
// Writers lock the folder, read what is there by then, write a temporary file, sync and rename it. Who
// cannot have the lock for a second goes on without: then a line may be lost, never a file.
// Time: linear in the file to open it, quadratic in its lines (at most ENTRIES) to save.
#define _GNU_SOURCE
#include "runtime/cuda/choices.h"
#include "runtime/files/folder.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// LINE: the most that a line can take with its end, so FILE_MOST is more than is ever written.
enum { ENTRIES = 4096, WORDS = 8, LINE = 640, HEAD = 160, FILE_MOST = HEAD + ENTRIES * LINE };

typedef struct {
    char *key;
    SnLtKnown known;
} KnownChoice;
struct SnLtChoices {
    char head[HEAD];                       // the file's first line
    char folder[PATH_MAX], path[PATH_MAX]; // "": there is none
    KnownChoice *at;
    uint32_t n, room;
    char note[512];
};

static bool make_path(const SnLtOwner *owner, const char *folder, char *to, size_t size) {
    char name[sizeof owner->device];
    snprintf(name, sizeof name, "%s", owner->device);
    for (char *p = name; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || *p == '_';
        if (!plain) *p = '-';
    }
    int n =
        snprintf(to, size, "%s/cublaslt-%s-sm_%d-%zu.txt", folder, name, owner->sm, owner->library);
    return n >= 0 && (size_t)n < size;
}

bool sn_choices_path(const SnLtOwner *owner, char *to, size_t size) {
    char folder[PATH_MAX];
    return sn_folder_cache(folder, sizeof folder) && make_path(owner, folder, to, size);
}

// ---- the table ----------------------------------------------------------------------------------

static KnownChoice *find(const SnLtChoices *c, const char *key) {
    for (uint32_t i = 0; i < c->n; i++)
        if (!strcmp(c->at[i].key, key)) return &c->at[i];
    return NULL;
}

const SnLtKnown *sn_choices_find(const SnLtChoices *c, const char *key) {
    const KnownChoice *x = find(c, key);
    return x ? &x->known : NULL;
}

static bool add(SnLtChoices *c, const char *key, const SnLtKnown *known) {
    if (c->n == c->room) {
        uint32_t room = c->room ? 2 * c->room : 64;
        KnownChoice *grown = realloc(c->at, room * sizeof *grown);
        if (!grown) return false;
        c->at = grown;
        c->room = room;
    }
    char *copy = strdup(key);
    if (!copy) return false;
    c->at[c->n++] = (KnownChoice){copy, *known};
    return true;
}

SnStatus sn_choices_put(SnLtChoices *c, const char *key, const SnLtKnown *known, SnError *e) {
    KnownChoice *x = find(c, key);
    if (!x && !add(c, key, known)) return sn_fail(e, SN_MACHINE, "out of memory");
    if (!x) x = &c->at[c->n - 1];
    x->known = *known;
    x->known.fresh = true;
    return SN_OK;
}

static void clear(SnLtChoices *c) {
    for (uint32_t i = 0; i < c->n; i++) free(c->at[i].key);
    free(c->at);
}

void sn_choices_free(SnLtChoices *c) {
    if (!c) return;
    clear(c);
    free(c);
}

const char *sn_choices_note(const SnLtChoices *c) { return c->note; }
const char *sn_choices_file(const SnLtChoices *c) { return c->path; }

// ---- lines --------------------------------------------------------------------------------------

static uint64_t fnv(uint64_t h, const char *text) {
    for (; *text; text++) h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t sum_of(const SnLtChoices *c, const char *rest) {
    return fnv(fnv(UINT64_C(0xcbf29ce484222325), c->head), rest);
}

static bool take_hex(const char **p, uint64_t *to) {
    *to = 0;
    for (int i = 0; i < 16; i++) {
        char x = *(*p);
        bool digit = x >= '0' && x <= '9', letter = x >= 'a' && x <= 'f';
        if (!digit && !letter) return false;
        *to = *to << 4 | (uint64_t)(digit ? x - '0' : x - 'a' + 10);
        (*p)++;
    }
    return true;
}

// A decimal number and the space behind it.
static bool take_number(const char **p, uint64_t most, uint64_t *to) {
    const char *start = *p;
    for (*to = 0; **p >= '0' && **p <= '9'; (*p)++) {
        uint64_t digit = (uint64_t)(**p - '0');
        if (*to > (most - digit) / 10) return false;
        *to = *to * 10 + digit;
    }
    return *p > start && *(*p)++ == ' ';
}

static bool good_key(const char *key) {
    for (const char *p = key; *p; p++)
        if (*p < ' ' || *p > '~') return false;
    return strlen(key) < SN_LT_KEY;
}

// The line without its end. *key points into it.
static bool parse_line(const SnLtChoices *c, const char *line, SnLtKnown *to, const char **key) {
    const char *p = line;
    uint64_t sum, tried;
    *to = (SnLtKnown){0};
    if (!take_hex(&p, &sum) || *p++ != ' ' || sum != sum_of(c, p)) return false;
    for (int i = 0; i < WORDS; i++)
        if (!take_hex(&p, &to->algo.data[i])) return false;
    if (*p++ != ' ' || !take_number(&p, INT64_MAX, &to->ns) ||
        !take_number(&p, INT64_MAX, &to->first_ns) || !take_number(&p, UINT32_MAX, &tried))
        return false;
    to->tried = (uint32_t)tried;
    *key = p;
    return good_key(p);
}

static bool write_line(FILE *f, const SnLtChoices *c, const KnownChoice *x) {
    char rest[LINE];
    int n = 0;
    for (int i = 0; i < WORDS; i++)
        n += snprintf(rest + n, sizeof rest - (size_t)n, "%016" PRIx64, x->known.algo.data[i]);
    snprintf(rest + n, sizeof rest - (size_t)n, " %" PRIu64 " %" PRIu64 " %" PRIu32 " %s",
             x->known.ns, x->known.first_ns, x->known.tried, x->key);
    return fprintf(f, "%016" PRIx64 " %s\n", sum_of(c, rest), rest) > 0;
}

// ---- reading ------------------------------------------------------------------------------------

// The next line, ended in place; NULL behind the last.
static char *next_line(char **at, const char *end) {
    char *line = *at, *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
    if (line >= end) return NULL;
    if (!stop) stop = line + (end - line);
    *stop = 0;
    *at = stop + 1;
    return line;
}

// text[n] is writable.
static void parse(SnLtChoices *c, char *text, size_t n) {
    const char *end = text + n, *head = next_line(&text, end), *key;
    uint32_t ignored = 0;
    SnLtKnown known;
    if (!head || strcmp(head, c->head)) {
        snprintf(c->note, sizeof c->note,
                 "'%.300s' is ignored: it is not of this device and library, or of another version",
                 c->path);
        return;
    }
    for (char *line; (line = next_line(&text, end));) {
        bool good = c->n < ENTRIES && parse_line(c, line, &known, &key);
        if (!good || (!find(c, key) && !add(c, key, &known))) ignored++;
    }
    if (ignored)
        snprintf(c->note, sizeof c->note, "'%.300s': %u of its lines are damaged and ignored",
                 c->path, ignored);
}

// Up to n bytes; -1 with the reason in errno.
static ssize_t read_bytes(int fd, char *to, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t got = read(fd, to + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (!got) break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

// Not blocking: in the file's place may be a pipe.
static void read_file(SnLtChoices *c) {
    struct stat info;
    int fd = open(c->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return;
    char *text = NULL;
    ssize_t n = -1;
    if (fd >= 0 && !fstat(fd, &info)) {
        errno = EFBIG;
        bool fits = S_ISREG(info.st_mode) && info.st_size <= FILE_MOST;
        text = fits ? malloc((size_t)info.st_size + 1) : NULL;
        if (text) n = read_bytes(fd, text, (size_t)info.st_size);
    }
    if (n >= 0)
        parse(c, text, (size_t)n);
    else
        snprintf(c->note, sizeof c->note, "'%.300s' cannot be read: %s", c->path, strerror(errno));
    free(text);
    if (fd >= 0) close(fd);
}

SnStatus sn_choices_open(const SnLtOwner *owner, SnLtChoices **out, SnError *e) {
    SnLtChoices *c = calloc(1, sizeof *c);
    if (!c) return sn_fail(e, SN_MACHINE, "out of memory");
    snprintf(c->head, sizeof c->head, "sinter cublaslt 2, %s, sm_%d, library %zu", owner->device,
             owner->sm, owner->library);
    if (!sn_folder_cache(c->folder, sizeof c->folder) ||
        !make_path(owner, c->folder, c->path, sizeof c->path))
        *c->path = 0;
    else if (sn_folder_is_private(c->folder, c->note, sizeof c->note))
        read_file(c);
    *out = c;
    return SN_OK;
}

// ---- writing ------------------------------------------------------------------------------------

// The folder's descriptor, to be closed; -1: none, or not within a second.
static int lock(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < 100; i++) {
        if (!flock(fd, LOCK_EX | LOCK_NB)) return fd;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (fd >= 0) close(fd);
    return -1;
}

// others: what the file holds by now.
static bool write_entries(FILE *f, const SnLtChoices *c, const SnLtChoices *others) {
    uint32_t n = 0;
    bool good = fprintf(f, "%s\n", c->head) > 0;
    for (uint32_t i = 0; i < c->n && good && n < ENTRIES; i++)
        if (c->at[i].known.fresh) good = write_line(f, c, &c->at[i]), n++;
    for (uint32_t i = 0; i < others->n && good && n < ENTRIES; i++) {
        const SnLtKnown *mine = sn_choices_find(c, others->at[i].key);
        if (!mine || !mine->fresh) good = write_line(f, c, &others->at[i]), n++;
    }
    return good;
}

// Leaves the reason of a failure in errno.
static bool replace(const SnLtChoices *c, const SnLtChoices *others) {
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s/new-XXXXXX", c->folder) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return false;
    FILE *f = fdopen(fd, "w");
    bool good = f && write_entries(f, c, others) && !fflush(f) && !fsync(fd);
    int why = errno;
    if (f ? fclose(f) : close(fd)) good = false;
    if (good && rename(temporary, c->path)) good = false, why = errno;
    if (!good) unlink(temporary);
    errno = why;
    return good && sn_folder_sync(c->folder);
}

static bool any_fresh(const SnLtChoices *c) {
    for (uint32_t i = 0; i < c->n; i++)
        if (c->at[i].known.fresh) return true;
    return false;
}

SnStatus sn_choices_save(const SnLtChoices *c, SnError *e) {
    if (!any_fresh(c)) return SN_OK;
    if (!*c->path)
        return sn_fail(e, SN_MACHINE,
                       "neither XDG_CACHE_HOME nor HOME names a folder of a usable length");
    char reason[512];
    if (!sn_folder_make_private(c->folder, reason, sizeof reason))
        return sn_fail(e, SN_MACHINE, "%s", reason);
    SnLtChoices *others = calloc(1, sizeof *others);
    if (!others) return sn_fail(e, SN_MACHINE, "out of memory");
    memcpy(others->head, c->head, sizeof c->head);
    memcpy(others->path, c->path, sizeof c->path);
    int locked = lock(c->folder);
    read_file(others);
    bool good = replace(c, others);
    int why = errno;
    if (locked >= 0) close(locked);
    sn_choices_free(others);
    return good ? SN_OK : sn_fail(e, SN_MACHINE, "'%.300s': %s", c->path, strerror(why));
}

// The cache of compiled programs. An entry is named by the SHA-256 of what made it, and is believed only
// when it is whole:
//
//   Header { magic, key again, sizes of the parts, SHA-256 of all before and behind it }, parts
//
// A writer fills a temporary file in the same directory and renames it, so a reader sees all of an
// entry or nothing. There is no fsync: an entry that a crash has torn fails its hash and is written
// again. SHA-256 (OpenSSL) because a hit replaces compilation without a look at the text: a shorter or
// weaker hash would have to store and compare the text itself. Linear in the entry.
#include "codegen/cuda/cache.h"
#include "ir/base/file.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "SNCUDA1";
enum { PATH_SIZE = 4096, PART_MAX = 1 << 30 };

typedef struct {
    char magic[8];
    CacheKey key;
    uint64_t n[CACHE_PARTS];
    CacheKey sum;
} Header;

static bool finish(EVP_MD_CTX *cx, bool good, CacheKey *out) {
    unsigned n = 0;
    good = good && EVP_DigestFinal_ex(cx, out->at, &n) == 1 && n == CACHE_KEY;
    EVP_MD_CTX_free(cx);
    return good;
}

static bool begin(EVP_MD_CTX **cx) {
    *cx = EVP_MD_CTX_new();
    return *cx && EVP_DigestInit_ex(*cx, EVP_sha256(), NULL) == 1;
}

bool cache_key(const char *text, size_t n, const char *setting, CacheKey *out) {
    EVP_MD_CTX *cx = NULL;
    bool good = begin(&cx) && EVP_DigestUpdate(cx, setting, strlen(setting) + 1) == 1 &&
                EVP_DigestUpdate(cx, text, n) == 1;
    return finish(cx, good, out);
}

static bool sum_of(const Header *h, const CacheEntry *e, CacheKey *out) {
    EVP_MD_CTX *cx = NULL;
    bool good = begin(&cx) && EVP_DigestUpdate(cx, h, offsetof(Header, sum)) == 1;
    for (int i = 0; i < CACHE_PARTS && good; i++)
        if (e->n[i]) good = EVP_DigestUpdate(cx, e->at[i], e->n[i]) == 1;
    return finish(cx, good, out);
}

bool cache_path(const char *dir, const CacheKey *key, char *to, size_t size) {
    int n = snprintf(to, size, "%s/", dir);
    if (n < 0 || (size_t)n + 2 * CACHE_KEY + sizeof ".cuda" > size) return false;
    for (int i = 0; i < CACHE_KEY; i++, n += 2) snprintf(to + n, 3, "%02x", key->at[i]);
    snprintf(to + n, sizeof ".cuda", ".cuda");
    return true;
}

// ---- reading ------------------------------------------------------------------------------------

// The header is right and the parts fill the file exactly.
static bool header_fits(const Header *h, const CacheKey *key, uint64_t file) {
    uint64_t all = sizeof *h;
    if (memcmp(h->magic, magic, sizeof magic) != 0 || memcmp(&h->key, key, sizeof *key) != 0)
        return false;
    for (int i = 0; i < CACHE_PARTS; i++) {
        if (h->n[i] > PART_MAX) return false;
        all += h->n[i];
    }
    return all == file;
}

static bool read_parts(Arena *a, FILE *f, const Header *h, CacheEntry *out) {
    for (int i = 0; i < CACHE_PARTS; i++) {
        char *to = arena_alloc(a, (size_t)h->n[i] + 1);
        if (fread(to, 1, h->n[i], f) != h->n[i]) return false;
        out->at[i] = to;
        out->n[i] = h->n[i];
    }
    return true;
}

bool cache_read(Arena *a, const char *dir, const CacheKey *key, CacheEntry *out) {
    char path[PATH_SIZE];
    *out = (CacheEntry){0};
    if (!cache_path(dir, key, path, sizeof path)) return false;
    FILE *f = file_open(path);
    if (!f) return false;
    Header h;
    CacheKey sum;
    struct stat st;
    bool good = fstat(fileno(f), &st) == 0 && fread(&h, sizeof h, 1, f) == 1 &&
                header_fits(&h, key, (uint64_t)st.st_size) && read_parts(a, f, &h, out) &&
                sum_of(&h, out, &sum) && memcmp(&sum, &h.sum, sizeof sum) == 0;
    fclose(f);
    return good;
}

// ---- writing ------------------------------------------------------------------------------------

static void make_directories(const char *dir) {
    char path[PATH_SIZE];
    size_t n = strlen(dir);
    if (n >= sizeof path) return;
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i < n; i++)
        if (path[i] == '/') {
            path[i] = 0;
            mkdir(path, 0777);
            path[i] = '/';
        }
    mkdir(path, 0777);
}

static bool write_entry(FILE *f, const Header *h, const CacheEntry *e) {
    bool good = fwrite(h, sizeof *h, 1, f) == 1;
    for (int i = 0; i < CACHE_PARTS && good; i++)
        good = !e->n[i] || fwrite(e->at[i], 1, e->n[i], f) == e->n[i];
    return good;
}

bool cache_write(const char *dir, const CacheKey *key, const CacheEntry *e) {
    char path[PATH_SIZE], temporary[PATH_SIZE];
    Header h = {.key = *key};
    memcpy(h.magic, magic, sizeof magic);
    for (int i = 0; i < CACHE_PARTS; i++) h.n[i] = e->n[i];
    int n = snprintf(temporary, sizeof temporary, "%s/new-XXXXXX", dir);
    if (n < 0 || n >= (int)sizeof temporary || !cache_path(dir, key, path, sizeof path) ||
        !sum_of(&h, e, &h.sum))
        return false;
    make_directories(dir);
    int fd = mkstemp(temporary);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f) {
        if (fd >= 0) close(fd), unlink(temporary);
        return false;
    }
    bool good = write_entry(f, &h, e);
    good = fclose(f) == 0 && good && rename(temporary, path) == 0;
    if (!good) unlink(temporary);
    return good;
}

// See magic.h. A format with few bytes of its own asks for more of the file (functions below), so that ids
// are taken for one in less than a file of a hundred million. Constant time: the first bytes and the last.
#define _GNU_SOURCE
#include "runtime/files/magic.h"
#include <string.h>
#include <unistd.h>

enum { HEAD = 512 };
typedef struct {
    unsigned char at[HEAD]; // zeros behind the end
    int64_t size;
    unsigned char tail[4];
} Head;

static uint64_t little(const unsigned char *p, int n) {
    uint64_t x = 0;
    while (n-- > 0) x = x << 8 | p[n];
    return x;
}

static bool always(const Head *h) { return h->size > 0; }
static bool both_ends(const Head *h) { return h->size >= 12 && !memcmp(h->at, h->tail, 4); }
static bool is_riff(const Head *h) { return !memcmp(h->at, "RIFF", 4); }
static bool has_version(const Head *h) { return h->at[4] > 0 && h->at[4] < 16 && !h->at[5]; }

// Deflate, no reserved flag, a known system.
static bool is_gzip(const Head *h) {
    return h->at[3] < 0x20 && h->size >= 18 && (h->at[9] <= 13 || h->at[9] == 255);
}

static bool is_bzip(const Head *h) {
    return h->at[3] >= '1' && h->at[3] <= '9' && !memcmp(h->at + 4, "1AY&SY", 6);
}

// The first name in the archive tells what it is for.
static bool zip_holds(const Head *h, const char *part) {
    size_t n = (size_t)little(h->at + 26, 2);
    return n < HEAD - 30 && memmem(h->at + 30, n, part, strlen(part));
}
static bool is_npz(const Head *h) { return zip_holds(h, ".npy"); }
static bool is_torch(const Head *h) {
    return zip_holds(h, "/data.pkl") || zip_holds(h, "/.format_version");
}

// Protocol 4 and 5 begin with a frame, and all end with a stop.
static bool is_framed_pickle(const Head *h) {
    return (h->at[1] == 4 || h->at[1] == 5) && h->at[2] == 0x95 &&
           little(h->at + 3, 8) + 11 <= (uint64_t)h->size;
}
static bool is_pickle(const Head *h) {
    static const char first[] = "}]()cXKMJGU\x8a\x8c"; // opcodes that values start with
    return (h->at[1] == 2 || h->at[1] == 3) && h->at[2] && strchr(first, h->at[2]) &&
           h->tail[3] == '.';
}

static bool is_safetensors(const Head *h) {
    return h->size >= 10 && little(h->at, 8) >= 2 && little(h->at, 8) <= (uint64_t)h->size - 8 &&
           h->at[8] == '{';
}

static const struct {
    size_t at, n;
    const char *bytes;
    bool (*also)(const Head *h);
    SnMagic magic;
} table[] = {
#define MAGIC(at, bytes, also, what, ...) {at, sizeof bytes - 1, bytes, also, {what, __VA_ARGS__}},
#include "runtime/files/magic.def"
#undef MAGIC
};

const SnMagic *sn_magic_find(int fd, int64_t size) {
    Head h = {.size = size};
    if (size < 4 || pread(fd, h.at, HEAD, 0) < 4 || pread(fd, h.tail, 4, (off_t)size - 4) != 4)
        return NULL;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!memcmp(h.at + table[i].at, table[i].bytes, table[i].n) && table[i].also(&h))
            return &table[i].magic;
    return NULL;
}

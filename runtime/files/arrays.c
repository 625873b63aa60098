// See arrays.h. The headers are read from the first bytes of a file; what they say is an SnTensorInfo, as of
// a safetensors file, and from there on both are read alike (tensors.c).
#define _GNU_SOURCE
#include "runtime/files/arrays.h"
#include "runtime/files/file.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum { HEAD = 1 << 16, PIECE = 1 << 18, SHOWN = 80 };
enum { RATIO = 1032 }; // deflate's best: two bits for a match of 258 bytes

typedef struct {
    SnTensorInfo info;
    char *name, *path;
    int fd;
    uint64_t at;       // first byte of the elements
    uint64_t unpacked; // bytes of memory; 0: it is read from its file
    bool swap;         // the bytes of an element stand in the other order
} Array;

struct SnArrays {
    Array *all;
    uint32_t n;
};

// ---- idx ----------------------------------------------------------------------------------------

static uint32_t big_endian(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static SnStatus damaged(const Array *a, const char *why, SnError *e) {
    return sn_fail(e, SN_USER, "data: %.600s: %s", a->path, why);
}

static SnStatus read_idx(Array *a, const unsigned char *head, uint64_t n, SnError *e) {
    static const struct {
        unsigned char code;
        const char *dtype;
    } types[] = {{8, "U8"}, {9, "I8"}, {11, "I16"}, {12, "I32"}, {13, "F32"}, {14, "F64"}};
    if (n < 4 || head[0] || head[1]) return damaged(a, "not an idx file", e);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == head[2]) a->info.dtype = types[i].dtype;
    if (!a->info.dtype)
        return sn_fail(e, SN_USER, "data: %.600s: not an idx file: no element type is %d", a->path,
                       head[2]);
    a->info.ndim = head[3];
    if (a->info.ndim == 0 || a->info.ndim > SN_ST_DIMS)
        return sn_fail(e, SN_USER, "data: %.600s: an idx file with %u extents", a->path,
                       a->info.ndim);
    a->at = 4 + 4 * (uint64_t)a->info.ndim;
    if (n < a->at) return damaged(a, "the file ends within its header", e);
    for (uint32_t i = 0; i < a->info.ndim; i++) a->info.shape[i] = big_endian(head + 4 + 4 * i);
    a->swap = true;
    return SN_OK;
}

// ---- npy ----------------------------------------------------------------------------------------

// The header is a dictionary of Python with three entries.
typedef struct {
    const char *at, *end;
} HeaderReader;

static void skip(HeaderReader *r) {
    while (r->at < r->end && strchr(" \n\t,", *r->at) && *r->at) r->at++;
}

static bool take(HeaderReader *r, const char *text) {
    size_t n = strlen(text);
    skip(r);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, text, n) != 0) return false;
    r->at += n;
    return true;
}

static bool take_string(HeaderReader *r, char *to, size_t size) {
    skip(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"')) return false;
    char quote = *r->at++;
    size_t n = 0;
    while (r->at < r->end && *r->at != quote) {
        if (n + 1 < size) to[n++] = *r->at;
        r->at++;
    }
    to[n] = 0;
    return r->at++ < r->end;
}

static bool take_shape(HeaderReader *r, SnTensorInfo *info) {
    if (!take(r, "(")) return false;
    for (info->ndim = 0; !take(r, ")");) {
        int64_t x = 0;
        const char *from = r->at;
        for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
            if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, *r->at - '0', &x))
                return false;
        if (r->at == from || info->ndim == SN_ST_DIMS) return false;
        info->shape[info->ndim++] = x;
    }
    return true;
}

static bool set_type(Array *a, const char *descr) {
    static const char *const names[][2] = {
        {"f2", "F16"}, {"f4", "F32"}, {"f8", "F64"}, {"i1", "I8"},  {"i2", "I16"}, {"i4", "I32"},
        {"i8", "I64"}, {"u1", "U8"},  {"u2", "U16"}, {"u4", "U32"}, {"u8", "U64"}, {"b1", "BOOL"}};
    if (!*descr || !strchr("<>|=", *descr)) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(descr + 1, names[i][0]) == 0) a->info.dtype = names[i][1];
    a->swap = *descr == '>';
    return a->info.dtype != NULL;
}

static SnStatus read_dictionary(Array *a, HeaderReader *r, SnError *e) {
    char key[32], descr[SHOWN] = "";
    bool shaped = false, columns = false, ordered = false;
    if (!take(r, "{")) return damaged(a, "not an npy file: its header is no dictionary", e);
    while (!take(r, "}")) {
        if (!take_string(r, key, sizeof key) || !take(r, ":"))
            return damaged(a, "not an npy file: its header is damaged", e);
        if (strcmp(key, "descr") == 0) {
            if (!take_string(r, descr, sizeof descr))
                return damaged(a, "an array of records; save one array of numbers", e);
        } else if (strcmp(key, "fortran_order") == 0) {
            columns = take(r, "True");
            ordered = columns || take(r, "False");
        } else if (strcmp(key, "shape") == 0) {
            shaped = take_shape(r, &a->info);
        } else {
            return damaged(a, "not an npy file: its header has another entry", e);
        }
    }
    if (!shaped || !ordered) return damaged(a, "not an npy file: its header is damaged", e);
    if (!set_type(a, descr))
        return sn_fail(e, SN_USER, "data: %.600s: elements are '%.40s', and not numbers that fit",
                       a->path, descr);
    if (columns && a->info.ndim > 1)
        return damaged(
            a, "columns one behind the other (Fortran order); save numpy.ascontiguousarray(x)", e);
    if (a->info.ndim == 0) return damaged(a, "a single number, which has no samples", e);
    return SN_OK;
}

static SnStatus read_npy(Array *a, const unsigned char *head, uint64_t n, SnError *e) {
    if (n < 10 || memcmp(head, "\x93NUMPY", 6) != 0) return damaged(a, "not an npy file", e);
    if (head[6] < 1 || head[6] > 3)
        return sn_fail(e, SN_USER, "data: %.600s: an npy file of version %d.%d", a->path, head[6],
                       head[7]);
    uint64_t from = head[6] == 1 ? 10 : 12, size = head[8] | (uint64_t)head[9] << 8;
    if (head[6] > 1 && n >= 12) size |= (uint64_t)head[10] << 16 | (uint64_t)head[11] << 24;
    if (size > HEAD - from) return damaged(a, "an npy file with an oversized header", e);
    if (n < from + size) return damaged(a, "the file ends within its header", e);
    a->at = from + size;
    HeaderReader r = {(const char *)head + from, (const char *)head + a->at};
    return read_dictionary(a, &r, e);
}

// ---- a file -------------------------------------------------------------------------------------

static bool is_format(const Array *a, const unsigned char *head, uint64_t n, const char *format,
                      SnError *e) {
    bool npy = n >= 6 && !memcmp(head, "\x93NUMPY", 6), idx = n >= 4 && !head[0] && !head[1];
    const char *other = npy && strcmp(format, "npy")   ? "an npy file: data npy(...)"
                        : idx && strcmp(format, "idx") ? "an idx file: data idx(...)"
                                                       : NULL;
    if (other) sn_fail(e, SN_USER, "data: %.600s is %s, or --set data.kind", a->path, other);
    return !other;
}

// The header, and how long the file must be.
static SnStatus read_header(Array *a, const char *format, const unsigned char *head, uint64_t n,
                            uint64_t *length, SnError *e) {
    if (!is_format(a, head, n, format, e)) return SN_USER;
    SnStatus s = strcmp(format, "idx") ? read_npy(a, head, n, e) : read_idx(a, head, n, e);
    if (s) return s;
    a->info.item = sn_st_item(a->info.dtype);
    if (!sn_st_measure(&a->info) || a->info.bytes > INT64_MAX - HEAD)
        return damaged(a, "its header says more elements than a file can hold", e);
    a->swap &= a->info.item > 1;
    *length = a->at + a->info.bytes;
    return SN_OK;
}

static bool read_all(int fd, void *to, uint64_t n, uint64_t from) {
    char *p = to;
    while (n) {
        ssize_t got = pread(fd, p, n > 1u << 30 ? 1u << 30 : (size_t)n, (off_t)from);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = 0;
            return false;
        }
        p += got, from += (uint64_t)got, n -= (uint64_t)got;
    }
    return true;
}

static SnStatus not_read(const char *path, SnError *e) {
    if (errno) return sn_fail(e, SN_MACHINE, "data: %.600s: %s", path, strerror(errno));
    return sn_fail(e, SN_USER, "data: %.600s: the file has become shorter", path);
}

static SnStatus other_length(const Array *a, uint64_t have, uint64_t want, SnError *e) {
    return sn_fail(e, SN_USER,
                   "data: %.600s: its header says %" PRIu64 " bytes, there are %s%" PRIu64, a->path,
                   want, have > want ? "more, at least " : "", have);
}

// ---- gzip (RFC 1952, by zlib) -------------------------------------------------------------------

typedef struct {
    z_stream z;
    int from, to;        // descriptors
    uint64_t size, held; // of the compressed file; of memory that the arrays before take
    uint64_t made, length;
    bool known, ended; // the header was read; a member has ended
    unsigned char in[PIECE], out[PIECE];
} Unpack;

// What the header says is compared before it is unpacked.
static SnStatus check_length(const Unpack *u, const Array *a, SnError *e) {
    double gib = 1024.0 * 1024.0 * 1024.0, usable = sn_usable_memory();
    if (u->length / RATIO > u->size)
        return sn_fail(e, SN_USER,
                       "data: %.600s: its header says %" PRIu64 " bytes, and %" PRIu64
                       " compressed ones hold at most %d times as many",
                       a->path, u->length, u->size, RATIO);
    if ((double)u->held + (double)u->length <= usable) return SN_OK;
    return sn_fail(e, SN_MACHINE,
                   "data: %.600s takes %.2f GiB of memory when it is unpacked, this machine allows "
                   "%.2f GiB: unpack it with gzip -d",
                   a->path, (double)u->length / gib, (usable - (double)u->held) / gib);
}

// What was made goes to memory; as soon as the header is there, no more than it says.
static SnStatus keep(Unpack *u, Array *a, const char *format, bool last, SnError *e) {
    size_t n = PIECE - u->z.avail_out;
    for (size_t done = 0; done < n;) {
        ssize_t put = write(u->to, u->out + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0)
            return sn_fail(e, SN_MACHINE, "data: %.600s: unpacking: %s", a->path, strerror(errno));
        done += (size_t)put;
    }
    u->made += n;
    u->z.next_out = u->out;
    u->z.avail_out = PIECE;
    if (!u->known && (last || u->made >= HEAD)) {
        unsigned char head[HEAD];
        uint64_t there = u->made < HEAD ? u->made : HEAD;
        if (!read_all(u->to, head, there, 0)) return not_read(a->path, e);
        SnStatus s = read_header(a, format, head, there, &u->length, e);
        if (!s && !last) s = check_length(u, a, e);
        if (s) return s;
        u->known = true;
    }
    return u->known && u->made > u->length ? other_length(a, u->made, u->length, e) : SN_OK;
}

static SnStatus inflate_piece(Unpack *u, Array *a, const char *format, SnError *e) {
    while (u->z.avail_in) {
        if (u->ended && !*u->z.next_in) { // what fills the last block of a tape, as for gzip
            u->z.next_in++, u->z.avail_in--;
            continue;
        }
        if (u->ended && inflateReset(&u->z) != Z_OK) return damaged(a, "cannot unpack", e);
        u->ended = false;
        int rc = inflate(&u->z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR) return sn_fail(e, SN_MACHINE, "out of memory");
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return sn_fail(e, SN_USER, "data: %.600s: compressed by gzip, and damaged: %s", a->path,
                           u->z.msg ? u->z.msg : "no message");
        u->ended = rc == Z_STREAM_END;
        if (u->z.avail_out && !u->ended) return SN_OK; // it wants more
        SnStatus s = keep(u, a, format, false, e);
        if (s) return s;
    }
    return SN_OK;
}

static SnStatus unpack_all(Unpack *u, Array *a, const char *format, SnError *e) {
    for (;;) {
        ssize_t got = read(u->from, u->in, PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return not_read(a->path, e);
        if (got == 0) break;
        u->z.next_in = u->in;
        u->z.avail_in = (uInt)got;
        SnStatus s = inflate_piece(u, a, format, e);
        if (s) return s;
    }
    SnStatus s = keep(u, a, format, true, e);
    if (s) return s;
    return u->ended ? SN_OK : damaged(a, "compressed by gzip, and ends too early", e);
}

// The file's descriptor becomes one of its content.
static SnStatus unpack(Array *a, const char *format, uint64_t held, int64_t *size, SnError *e) {
    Unpack *u = calloc(1, sizeof *u);
    if (!u) return sn_fail(e, SN_MACHINE, "out of memory");
    u->size = (uint64_t)*size;
    u->held = held;
    u->from = a->fd;
    u->to = memfd_create("array", MFD_CLOEXEC);
    u->z.next_out = u->out;
    u->z.avail_out = PIECE;
    SnStatus s = SN_OK;
    if (u->to < 0)
        s = sn_fail(e, SN_MACHINE, "data: no memory to unpack into: %s", strerror(errno));
    else if (inflateInit2(&u->z, 15 + 16) != Z_OK)
        s = sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) s = unpack_all(u, a, format, e);
    inflateEnd(&u->z);
    close(u->from);
    a->fd = u->to;
    *size = (int64_t)u->made;
    a->unpacked = u->made;
    free(u);
    return s;
}

static SnStatus open_array(Array *a, const char *format, uint64_t held, SnError *e) {
    unsigned char head[HEAD];
    SnError inner = {0};
    int64_t size;
    uint64_t length;
    SnStatus s = sn_file_open(a->path, &a->fd, &size, &inner);
    if (s) return sn_fail(e, s, "data: %s", inner.text);
    bool packed = size >= 2 && read_all(a->fd, head, 2, 0) && head[0] == 0x1f && head[1] == 0x8b;
    if (packed) s = unpack(a, format, held, &size, e);
    if (s) return s;
    uint64_t n = size < HEAD ? (uint64_t)size : HEAD;
    if (!read_all(a->fd, head, n, 0)) return not_read(a->path, e);
    s = read_header(a, format, head, n, &length, e);
    if (!s && length != (uint64_t)size) s = other_length(a, (uint64_t)size, length, e);
    return s;
}

// ---- the list -----------------------------------------------------------------------------------

// One word up to an unescaped comma, or to '=' where that may end it; NULL: no memory.
static char *take_word(const char **at, bool equals) {
    char *to = malloc(strlen(*at) + 1), *end = to;
    if (!to) return NULL;
    while (**at && **at != ',' && !(equals && **at == '=')) {
        if (**at == '\\' && (*at)[1]) ++*at;
        *end++ = *(*at)++;
    }
    *end = 0;
    return to;
}

static SnStatus add_array(SnArrays *a, const char **list, const char *format,
                          const char *const *names, uint32_t nnames, SnError *e) {
    Array *grown = realloc(a->all, (a->n + 1) * sizeof *grown);
    if (!grown) return sn_fail(e, SN_MACHINE, "out of memory");
    a->all = grown;
    Array *x = &a->all[a->n];
    *x = (Array){.fd = -1, .name = take_word(list, true)};
    uint32_t number = a->n++;
    bool named = **list == '=';
    if (named) ++*list;
    x->path = named ? take_word(list, false) : x->name;
    if (!named) x->name = number < nnames ? strdup(names[number]) : strdup("");
    if (!x->name || !x->path) return sn_fail(e, SN_MACHINE, "out of memory");
    if (!*x->path && named && *x->name)
        return sn_fail(e, SN_USER, "data: no file behind '%.100s='", x->name);
    if (!*x->path) return sn_fail(e, SN_USER, "data: a file without a name");
    if (named && !*x->name) return sn_fail(e, SN_USER, "data: no name before '=%.600s'", x->path);
    if (!*x->name)
        return sn_fail(e, SN_USER, "data: %.600s is file %u, and the model has %u input%s", x->path,
                       number + 1, nnames, nnames == 1 ? "" : "s");
    uint64_t held = 0;
    for (uint32_t i = 0; i < number; held += a->all[i++].unpacked)
        if (strcmp(a->all[i].name, x->name) == 0)
            return sn_fail(e, SN_USER, "data: two files for '%.100s'", x->name);
    x->info.name = x->name;
    return open_array(x, format, held, e);
}

SnStatus sn_arrays_open(const char *list, const char *format, const char *const *names,
                        uint32_t nnames, SnArrays **out, SnError *e) {
    SnArrays *a = *out = calloc(1, sizeof *a);
    if (!a) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = add_array(a, &list, format, names, nnames, e);
    while (!s && *list == ',') {
        list++;
        s = add_array(a, &list, format, names, nnames, e);
    }
    if (!s) return SN_OK;
    sn_arrays_close(a);
    *out = NULL;
    return s;
}

void sn_arrays_close(SnArrays *a) {
    if (!a) return;
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->all[i].fd >= 0) close(a->all[i].fd);
        free(a->all[i].name);
        free(a->all[i].path);
    }
    free(a->all);
    free(a);
}

uint32_t sn_arrays_count(const SnArrays *a) { return a->n; }
const SnTensorInfo *sn_arrays_at(const SnArrays *a, uint32_t i) { return &a->all[i].info; }

const SnTensorInfo *sn_arrays_find(const SnArrays *a, const char *name) {
    for (uint32_t i = 0; i < a->n; i++)
        if (strcmp(a->all[i].name, name) == 0) return &a->all[i].info;
    return NULL;
}

static const Array *array_of(const SnArrays *a, const SnTensorInfo *info) {
    uint32_t i = 0;
    while (i < a->n && &a->all[i].info != info) i++;
    assert(i < a->n);
    return &a->all[i];
}

const char *sn_arrays_path(const SnArrays *a, const SnTensorInfo *info) {
    return array_of(a, info)->path;
}

SnStatus sn_arrays_read(const SnArrays *a, const SnTensorInfo *info, uint64_t from, uint64_t n,
                        void *to, SnError *e) {
    const Array *x = array_of(a, info);
    assert(from <= info->bytes && n <= info->bytes - from);
    return read_all(x->fd, to, n, x->at + from) ? SN_OK : not_read(x->path, e);
}

void sn_arrays_order(const SnArrays *a, const SnTensorInfo *info, uint64_t n, void *elements) {
    unsigned char *p = elements;
    if (!array_of(a, info)->swap) return;
    for (uint64_t i = 0; i + info->item <= n; i += info->item)
        for (uint32_t k = 0; k < info->item / 2; k++) {
            unsigned char byte = p[i + k];
            p[i + k] = p[i + info->item - 1 - k];
            p[i + info->item - 1 - k] = byte;
        }
}

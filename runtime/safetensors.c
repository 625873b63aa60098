// Reads and writes safetensors files.
//
// Why strict: a file that two readers understand differently is a way to hide things, and a damaged
// checkpoint must be refused before it touches a weight. JSON is read by jansson (linked
// statically), which rejects duplicate keys, bad UTF-8 and trailing text. Reading goes through
// pread, so a file that shrinks meanwhile is an error and not a fault. n tensors cost O(n log n).
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include "runtime/file.h"
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_HEADER (100u * 1000u * 1000u)

struct SnSafetensors {
    json_t *header; // owns the names
    json_t *meta;   // borrowed; NULL when absent
    SnTensorInfo *tensors;
    uint32_t n;
    int fd; // -1: only a header
    uint64_t data_at;
    char *path;
};

static const struct {
    const char *name;
    uint32_t item;
} dtypes[] = {{"F64", 8},  {"F32", 4},     {"F16", 2},     {"BF16", 2}, {"I64", 8}, {"I32", 4},
              {"I16", 2},  {"I8", 1},      {"U64", 8},     {"U32", 4},  {"U16", 2}, {"U8", 1},
              {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"C64", 8}};

static const char *known_dtype(const char *name, uint32_t *item) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name)) {
            *item = dtypes[i].item;
            return dtypes[i].name;
        }
    return NULL;
}

uint32_t sn_st_item(const char *dtype) {
    uint32_t item = 0;
    return known_dtype(dtype, &item) ? item : 0;
}

// A non-negative integer; false for anything else.
static bool get_size(const json_t *j, uint64_t *to) {
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *to = (uint64_t)json_integer_value(j);
    return true;
}

static SnStatus parse_shape(const json_t *j, SnTensorInfo *t, SnError *e) {
    if (!json_is_array(j) || json_array_size(j) > SN_ST_DIMS)
        return sn_fail(e, SN_USER, "tensor '%.200s': the shape is not a list of up to %d sizes",
                       t->name, SN_ST_DIMS);
    t->ndim = (uint32_t)json_array_size(j);
    uint64_t bytes = t->item;
    for (uint32_t i = 0; i < t->ndim; i++) {
        uint64_t size;
        if (!get_size(json_array_get(j, i), &size))
            return sn_fail(e, SN_USER, "tensor '%.200s': size %u is not a number of elements",
                           t->name, i);
        t->shape[i] = (int64_t)size;
        if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > INT64_MAX)
            return sn_fail(e, SN_USER, "tensor '%.200s' is too large", t->name);
    }
    t->bytes = bytes;
    return SN_OK;
}

static SnStatus parse_offsets(const json_t *j, SnTensorInfo *t, SnError *e) {
    uint64_t begin, end;
    if (!json_is_array(j) || json_array_size(j) != 2 || !get_size(json_array_get(j, 0), &begin) ||
        !get_size(json_array_get(j, 1), &end) || begin > end)
        return sn_fail(e, SN_USER, "tensor '%.200s': data_offsets is not [begin, end]", t->name);
    if (end - begin != t->bytes)
        return sn_fail(e, SN_USER, "tensor '%.200s' has %llu bytes, its shape asks for %llu",
                       t->name, (unsigned long long)(end - begin), (unsigned long long)t->bytes);
    t->begin = begin;
    return SN_OK;
}

static SnStatus parse_tensor(const char *name, const json_t *j, SnTensorInfo *t, SnError *e) {
    t->name = name;
    if (!json_is_object(j) || json_object_size(j) != 3)
        return sn_fail(e, SN_USER,
                       "tensor '%.200s' is not described by dtype, shape and data_offsets", name);
    const json_t *dtype = json_object_get(j, "dtype");
    if (!json_is_string(dtype) || !(t->dtype = known_dtype(json_string_value(dtype), &t->item)))
        return sn_fail(e, SN_USER, "tensor '%.200s' has an unknown dtype", name);
    SnStatus s = parse_shape(json_object_get(j, "shape"), t, e);
    if (s) return s;
    return parse_offsets(json_object_get(j, "data_offsets"), t, e);
}

static SnStatus parse_metadata(SnSafetensors *st, json_t *j, SnError *e) {
    const char *key;
    json_t *value;
    if (!json_is_object(j)) return sn_fail(e, SN_USER, "__metadata__ is not a table");
    json_object_foreach(j, key, value) if (!json_is_string(value)) return sn_fail(
        e, SN_USER, "__metadata__ entry '%.200s' is not text", key);
    st->meta = j;
    return SN_OK;
}

static int by_begin(const void *a, const void *b) {
    const SnTensorInfo *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1
                               : x->bytes > y->bytes; // an empty tensor stands before its neighbour
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const SnTensorInfo *)a)->name, ((const SnTensorInfo *)b)->name);
}

// Tensors must follow each other without gaps or overlaps up to the end of the data.
static SnStatus check_tiling(SnSafetensors *st, uint64_t data_bytes, SnError *e) {
    if (st->n) qsort(st->tensors, st->n, sizeof *st->tensors, by_begin);
    uint64_t at = 0;
    for (uint32_t i = 0; i < st->n; i++) {
        if (st->tensors[i].begin != at)
            return sn_fail(e, SN_USER,
                           "tensor '%.200s' begins at byte %llu of the data, not at %llu",
                           st->tensors[i].name, (unsigned long long)st->tensors[i].begin,
                           (unsigned long long)at);
        at += st->tensors[i].bytes; // no overflow: begin + bytes was an offset
    }
    if (at != data_bytes)
        return sn_fail(e, SN_USER, "the tensors end at byte %llu of the data, the file at %llu",
                       (unsigned long long)at, (unsigned long long)data_bytes);
    if (st->n) qsort(st->tensors, st->n, sizeof *st->tensors, by_name);
    return SN_OK;
}

static SnStatus parse_header(SnSafetensors *st, const char *text, size_t n, uint64_t data_bytes,
                             SnError *e) {
    json_error_t why;
    if (!n || text[0] != '{') return sn_fail(e, SN_USER, "the header does not start with '{'");
    st->header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!st->header) return sn_fail(e, SN_USER, "the header is not valid JSON: %s", why.text);
    if (!json_is_object(st->header)) return sn_fail(e, SN_USER, "the header is not a table");
    st->tensors = calloc(json_object_size(st->header) + 1, sizeof *st->tensors);
    if (!st->tensors) return sn_fail(e, SN_MACHINE, "out of memory");
    const char *name;
    json_t *value;
    json_object_foreach(st->header, name, value) {
        bool meta = !strcmp(name, "__metadata__");
        SnStatus s =
            meta ? parse_metadata(st, value, e) : parse_tensor(name, value, &st->tensors[st->n], e);
        if (s) return s;
        if (!meta) st->n++;
    }
    return check_tiling(st, data_bytes, e);
}

SnStatus sn_st_parse(const char *text, size_t n, uint64_t data_bytes, SnSafetensors **out,
                     SnError *e) {
    *out = NULL;
    SnSafetensors *st = calloc(1, sizeof *st);
    if (!st) return sn_fail(e, SN_MACHINE, "out of memory");
    st->fd = -1;
    SnStatus s = parse_header(st, text, n, data_bytes, e);
    if (s) {
        sn_st_close(st);
        return s;
    }
    *out = st;
    return SN_OK;
}

// Reads n bytes at `from`, all of them; errno is 0 when the file ends before.
static bool read_all(int fd, void *to, uint64_t n, uint64_t from) {
    char *p = to;
    while (n) {
        size_t part = n > 1u << 30 ? 1u << 30 : (size_t)n;
        ssize_t got = pread(fd, p, part, (off_t)from);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = 0;
            return false;
        }
        p += got;
        from += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}

static SnStatus open_fd(int fd, int64_t bytes, const char *path, SnSafetensors **out, SnError *e) {
    unsigned char head[8];
    if (bytes < 8 || !read_all(fd, head, 8, 0))
        return sn_fail(e, SN_USER, "%s: not a safetensors file", path);
    uint64_t size = (uint64_t)bytes - 8, n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | head[i];
    if (n > size || n > MAX_HEADER)
        return sn_fail(e, SN_USER, "%s: not a safetensors file: a header of %llu bytes", path,
                       (unsigned long long)n);
    char *text = malloc((size_t)n + 1);
    if (!text) return sn_fail(e, SN_MACHINE, "out of memory");
    SnError inner = {0};
    SnStatus s = SN_OK;
    if (!read_all(fd, text, n, 8))
        s = sn_fail(&inner, SN_USER, "the header cannot be read");
    else
        s = sn_st_parse(text, (size_t)n, size - n, out, &inner);
    free(text);
    if (s) return sn_fail(e, s, "%s: %s", path, inner.text);
    (*out)->data_at = 8 + n;
    return SN_OK;
}

SnStatus sn_st_open(const char *path, SnSafetensors **out, SnError *e) {
    *out = NULL;
    int fd;
    int64_t size;
    SnStatus s = sn_file_open(path, &fd, &size, e);
    if (s) return s;
    s = open_fd(fd, size, path, out, e);
    if (s) {
        close(fd);
        return s;
    }
    (*out)->fd = fd;
    (*out)->path = strdup(path);
    if ((*out)->path) return SN_OK;
    sn_st_close(*out);
    *out = NULL;
    return sn_fail(e, SN_MACHINE, "out of memory");
}

void sn_st_close(SnSafetensors *st) {
    if (!st) return;
    if (st->fd >= 0) close(st->fd);
    json_decref(st->header);
    free(st->tensors);
    free(st->path);
    free(st);
}

uint32_t sn_st_count(const SnSafetensors *st) { return st->n; }

const SnTensorInfo *sn_st_at(const SnSafetensors *st, uint32_t i) {
    assert(i < st->n);
    return &st->tensors[i];
}

const SnTensorInfo *sn_st_find(const SnSafetensors *st, const char *name) {
    SnTensorInfo key = {.name = name};
    return st->n ? bsearch(&key, st->tensors, st->n, sizeof key, by_name) : NULL;
}

const char *sn_st_metadata(const SnSafetensors *st, const char *key) {
    return json_string_value(json_object_get(st->meta, key));
}

SnStatus sn_st_read(SnSafetensors *st, const SnTensorInfo *t, uint64_t from, uint64_t n, void *to,
                    SnError *e) {
    assert(st->fd >= 0 && from <= t->bytes && n <= t->bytes - from);
    if (read_all(st->fd, to, n, st->data_at + t->begin + from)) return SN_OK;
    return sn_fail(e, SN_USER, "%s: tensor '%.200s' cannot be read: %s", st->path, t->name,
                   errno ? strerror(errno) : "the file has become shorter");
}

static bool write_all(int fd, const void *from, uint64_t n) {
    const char *p = from;
    while (n) {
        ssize_t put = write(fd, p, n > 1u << 30 ? 1u << 30 : (size_t)n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        p += put;
        n -= (uint64_t)put;
    }
    return true;
}

static int by_alignment(const void *a, const void *b) {
    const SnTensor *x = a, *y = b;
    uint32_t ix = sn_st_item(x->dtype), iy = sn_st_item(y->dtype);
    return ix != iy ? (ix > iy ? -1 : 1) : strcmp(x->name, y->name);
}

static uint64_t tensor_bytes(const SnTensor *t) {
    uint64_t bytes = sn_st_item(t->dtype);
    for (uint32_t i = 0; i < t->ndim; i++) bytes *= (uint64_t)t->shape[i];
    return bytes;
}

// The header as compact JSON, padded with spaces to a multiple of 8; NULL when memory is short.
static char *make_header(const SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                         size_t *size) {
    json_t *root = json_object();
    bool good = root != NULL;
    if (nmeta) {
        json_t *m = json_object();
        for (uint32_t i = 0; i < nmeta; i++)
            good &= !json_object_set_new(m, meta[i].key, json_string(meta[i].value));
        good &= !json_object_set_new(root, "__metadata__", m);
    }
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (uint32_t k = 0; k < tensors[i].ndim; k++)
            good &= !json_array_append_new(shape, json_integer(tensors[i].shape[k]));
        uint64_t end = at + tensor_bytes(&tensors[i]);
        json_t *t = json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensors[i].dtype, "shape", shape,
                              "data_offsets", (json_int_t)at, (json_int_t)end);
        good &= !json_object_set_new(root, tensors[i].name, t);
        at = end;
    }
    char *text = good ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return NULL;
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    char *grown = realloc(text, padded + 1);
    if (!grown) {
        free(text);
        return NULL;
    }
    memset(grown + length, ' ', padded - length);
    *size = padded;
    return grown;
}

// A tensor that is not in this process's memory, piece by piece.
static SnStatus write_pieces(int fd, const SnTensor *t, SnError *e) {
    int64_t bytes = (int64_t)tensor_bytes(t);
    SnStatus s = SN_OK;
    char *piece = malloc(SN_ST_PIECE);
    if (!piece) return sn_fail(e, SN_MACHINE, "out of memory");
    for (int64_t at = 0; at < bytes && !s; at += SN_ST_PIECE) {
        int64_t n = bytes - at < SN_ST_PIECE ? bytes - at : SN_ST_PIECE;
        s = t->read(t->what, t->user, at, n, piece, e);
        if (!s && !write_all(fd, piece, (uint64_t)n))
            s = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    }
    free(piece);
    return s;
}

static SnStatus write_tensor(int fd, const SnTensor *t, SnError *e) {
    if (!t->data) return write_pieces(fd, t, e);
    return write_all(fd, t->data, tensor_bytes(t)) ? SN_OK
                                                   : sn_fail(e, SN_MACHINE, "%s", strerror(errno));
}

SnStatus sn_st_write(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnError *e) {
    if (n) qsort(tensors, n, sizeof *tensors, by_alignment);
    size_t size = 0;
    char *header = make_header(tensors, n, meta, nmeta, &size);
    if (!header)
        return sn_fail(e, SN_MACHINE,
                       "the header cannot be made: out of memory or a name that is not UTF-8");
    unsigned char head[8];
    for (int i = 0; i < 8; i++) head[i] = (unsigned char)(size >> 8 * i);
    bool good = write_all(fd, head, 8) && write_all(fd, header, size);
    SnStatus s = good ? SN_OK : sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    for (uint32_t i = 0; i < n && !s; i++) s = write_tensor(fd, &tensors[i], e);
    free(header);
    return s;
}

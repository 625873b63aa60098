// Reads and writes safetensors files.
//
// Why strict: a file that two readers understand differently is a way to hide things, and a damaged
// checkpoint must be refused before it is trained on. The header is read in place (json.c): a header
// of n bytes costs n bytes and 200 for each tensor. Reading goes through pread, so a file that shrinks
// meanwhile is an error and not a fault. n tensors cost O(n log n).
//
// Checksums go into the metadata, where other readers of the format expect nothing of their own. They
// are known when the data is written, behind the header; so the header is written twice, the same
// length.
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include "runtime/files/file.h"
#include "runtime/files/json.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_HEADER (100u * 1000u * 1000u)
#define SUM        "xxh64" // the key of the metadata's checksum; with ".NAME" of a tensor's
enum { SUM_DIGITS = 16 };

struct SnSafetensors {
    char *text; // the header, whose strings were decoded in place: owns the names
    SnTensorInfo *tensors;
    SnMeta *meta;
    uint32_t n, nmeta, tensor_limit, meta_limit;
    int fd; // -1: only a header
    uint64_t data_at;
    char *path;
};

static const struct {
    const char *name;
    uint32_t item;
} dtypes[] = {
#define FLOAT(name, type, value)  {#name, sizeof(type)},
#define INTEGER(name, type, sign) {#name, sizeof(type)},
#define OPAQUE(name, bytes)       {#name, bytes},
#include "runtime/dtypes.def"
#undef FLOAT
#undef INTEGER
#undef OPAQUE
};

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

// ---- the header ---------------------------------------------------------------------------------

static SnStatus parse_shape(SnJson *j, SnTensorInfo *t, SnError *e) {
    bool first = true;
    if (!sn_json_take(j, '['))
        return sn_fail(e, SN_USER, "tensor '%.200s': the shape is not a list", t->name);
    for (t->ndim = 0; sn_json_next(j, '[', &first); t->ndim++) {
        uint64_t size;
        if (t->ndim == SN_ST_DIMS)
            return sn_fail(e, SN_USER, "tensor '%.200s': the shape is not a list of up to %d sizes",
                           t->name, SN_ST_DIMS);
        if (!sn_json_size(j, &size))
            return sn_fail(e, SN_USER, "tensor '%.200s': size %u is not a number of elements",
                           t->name, t->ndim);
        t->shape[t->ndim] = (int64_t)size;
    }
    return SN_OK;
}

static SnStatus parse_offsets(SnJson *j, SnTensorInfo *t, uint64_t *end, SnError *e) {
    if (sn_json_take(j, '[') && sn_json_size(j, &t->begin) && sn_json_take(j, ',') &&
        sn_json_size(j, end) && sn_json_take(j, ']') && t->begin <= *end)
        return SN_OK;
    return sn_fail(e, SN_USER, "tensor '%.200s': data_offsets is not [begin, end]", t->name);
}

static SnStatus parse_dtype(SnJson *j, SnTensorInfo *t, SnError *e) {
    const char *name = sn_json_peek(j) == '"' ? sn_json_string(j) : NULL;
    if (name && (t->dtype = known_dtype(name, &t->item))) return SN_OK;
    return j->fault ? SN_OK : sn_fail(e, SN_USER, "tensor '%.200s' has an unknown dtype", t->name);
}

bool sn_st_measure(SnTensorInfo *t) {
    uint64_t n = 1;
    bool empty = false, fits = true;
    for (uint32_t i = 0; i < t->ndim; i++) {
        empty |= !t->shape[i];
        fits &= !__builtin_mul_overflow(n, (uint64_t)t->shape[i] + !t->shape[i], &n);
        fits &= n <= INT64_MAX;
    }
    return fits && !__builtin_mul_overflow(empty ? 0 : n, t->item, &t->bytes) &&
           t->bytes <= INT64_MAX;
}

// All three fields are there: what they say together.
static SnStatus check_tensor(SnTensorInfo *t, uint64_t end, SnError *e) {
    if (!sn_st_measure(t)) return sn_fail(e, SN_USER, "tensor '%.200s' is too large", t->name);
    if (end - t->begin == t->bytes) return SN_OK;
    return sn_fail(e, SN_USER, "tensor '%.200s' has %llu bytes, its shape asks for %llu", t->name,
                   (unsigned long long)(end - t->begin), (unsigned long long)t->bytes);
}

static SnStatus parse_tensor(SnJson *j, SnTensorInfo *t, SnError *e) {
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    uint64_t end = 0;
    uint32_t seen = 0;
    bool first = true, is_table = sn_json_take(j, '{');
    while (is_table && sn_json_next(j, '{', &first)) {
        const char *key = sn_json_string(j);
        uint32_t f = 0;
        if (!key || !sn_json_need(j, ':')) return SN_OK; // a fault of j
        while (f < 3 && strcmp(key, fields[f])) f++;
        if (f == 3 || seen & 1u << f) {
            seen = 0;
            break;
        }
        seen |= 1u << f;
        SnStatus s = f == 0   ? parse_dtype(j, t, e)
                     : f == 1 ? parse_shape(j, t, e)
                              : parse_offsets(j, t, &end, e);
        if (s || j->fault) return s;
    }
    if (j->fault) return SN_OK;
    if (seen == 7) return check_tensor(t, end, e);
    return sn_fail(e, SN_USER,
                   "tensor '%.200s' is not described by dtype, shape and data_offsets, once each",
                   t->name);
}

// Room for one item more. False: memory is short.
static bool grow(void *list, uint32_t n, uint32_t *limit, size_t size) {
    void **at = list;
    if (n < *limit) return true;
    uint32_t more = *limit ? *limit * 2 : 16;
    void *grown = realloc(*at, more * size);
    if (!grown) return false;
    *at = grown;
    *limit = more;
    return true;
}

static SnStatus parse_metadata(SnSafetensors *st, SnJson *j, SnError *e) {
    bool first = true;
    if (!sn_json_take(j, '{')) return sn_fail(e, SN_USER, "__metadata__ is not a table");
    while (sn_json_next(j, '{', &first)) {
        const char *key = sn_json_string(j);
        if (!key || !sn_json_need(j, ':')) return SN_OK;
        if (sn_json_peek(j) != '"')
            return sn_fail(e, SN_USER, "__metadata__ entry '%.200s' is not text", key);
        const char *value = sn_json_string(j);
        if (!value) return SN_OK;
        if (!grow(&st->meta, st->nmeta, &st->meta_limit, sizeof *st->meta))
            return sn_fail(e, SN_MACHINE, "out of memory");
        st->meta[st->nmeta++] = (SnMeta){key, value};
    }
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

static int by_key(const void *a, const void *b) {
    return strcmp(((const SnMeta *)a)->key, ((const SnMeta *)b)->key);
}

static SnStatus check_names(SnSafetensors *st, SnError *e) {
    if (st->n) qsort(st->tensors, st->n, sizeof *st->tensors, by_name);
    if (st->nmeta) qsort(st->meta, st->nmeta, sizeof *st->meta, by_key);
    for (uint32_t i = 1; i < st->n; i++)
        if (!by_name(&st->tensors[i - 1], &st->tensors[i]))
            return sn_fail(e, SN_USER, "there are two tensors '%.200s'", st->tensors[i].name);
    for (uint32_t i = 1; i < st->nmeta; i++)
        if (!by_key(&st->meta[i - 1], &st->meta[i]))
            return sn_fail(e, SN_USER, "__metadata__ has '%.200s' twice", st->meta[i].key);
    return SN_OK;
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
    return check_names(st, e);
}

static SnStatus parse_entries(SnSafetensors *st, SnJson *j, SnError *e) {
    bool first = true, meta = false;
    while (sn_json_next(j, '{', &first)) {
        const char *name = sn_json_string(j);
        SnStatus s;
        if (!name || !sn_json_need(j, ':')) return SN_OK;
        if (!strcmp(name, "__metadata__")) {
            if (meta) return sn_fail(e, SN_USER, "there are two __metadata__");
            meta = true;
            s = parse_metadata(st, j, e);
        } else {
            if (!grow(&st->tensors, st->n, &st->tensor_limit, sizeof *st->tensors))
                return sn_fail(e, SN_MACHINE, "out of memory");
            st->tensors[st->n] = (SnTensorInfo){.name = name};
            s = parse_tensor(j, &st->tensors[st->n], e);
            st->n++;
        }
        if (s || j->fault) return s;
    }
    return SN_OK;
}

static SnStatus parse_header(SnSafetensors *st, size_t n, uint64_t data_bytes, SnError *e) {
    SnJson j = {.text = st->text, .n = n};
    if (!n || st->text[0] != '{') return sn_fail(e, SN_USER, "the header does not start with '{'");
    (void)sn_json_take(&j, '{');
    SnStatus s = parse_entries(st, &j, e);
    if (s) return s;
    if (!j.fault) (void)sn_json_peek(&j);
    if (!j.fault && j.at < j.n) j.fault = "text behind its end";
    if (j.fault)
        return sn_fail(e, SN_USER, "the header is not valid JSON: byte %zu: %s", j.at, j.fault);
    return check_tiling(st, data_bytes, e);
}

// Takes `text`, of n bytes and one more.
static SnStatus parse_owned(char *text, size_t n, uint64_t data_bytes, SnSafetensors **out,
                            SnError *e) {
    SnSafetensors *st = calloc(1, sizeof *st);
    if (!st) {
        free(text);
        return sn_fail(e, SN_MACHINE, "out of memory");
    }
    st->fd = -1;
    st->text = text;
    SnStatus s = parse_header(st, n, data_bytes, e);
    if (s)
        sn_st_close(st);
    else
        *out = st;
    return s;
}

SnStatus sn_st_parse(const char *text, size_t n, uint64_t data_bytes, SnSafetensors **out,
                     SnError *e) {
    char *copy = malloc(n + 1);
    *out = NULL;
    if (!copy) return sn_fail(e, SN_MACHINE, "out of memory");
    memcpy(copy, text, n);
    return parse_owned(copy, n, data_bytes, out, e);
}

// ---- reading ------------------------------------------------------------------------------------

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

// Why a read failed: the machine, or a file that ends too early.
static SnStatus read_failed(SnError *e, const char *path, const char *what) {
    if (errno) return sn_fail(e, SN_MACHINE, "%s: %s: %s", path, what, strerror(errno));
    return sn_fail(e, SN_USER, "%s: %s: the file has become shorter", path, what);
}

static SnStatus read_header(int fd, int64_t bytes, const char *path, SnSafetensors **out,
                            SnError *e) {
    unsigned char head[8];
    if (bytes < 8) return sn_fail(e, SN_USER, "%s: not a safetensors file", path);
    if (!read_all(fd, head, 8, 0)) return read_failed(e, path, "the header cannot be read");
    uint64_t size = (uint64_t)bytes - 8, n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | head[i];
    if (n > size || n > MAX_HEADER)
        return sn_fail(e, SN_USER, "%s: not a safetensors file: a header of %llu bytes", path,
                       (unsigned long long)n);
    char *text = malloc((size_t)n + 1);
    if (!text) return sn_fail(e, SN_MACHINE, "out of memory");
    if (!read_all(fd, text, n, 8)) {
        free(text);
        return read_failed(e, path, "the header cannot be read");
    }
    SnError inner = {0};
    SnStatus s = parse_owned(text, (size_t)n, size - n, out, &inner);
    if (s) return sn_fail(e, s, "%s: %s", path, inner.text);
    (*out)->data_at = 8 + n;
    return SN_OK;
}

SnStatus sn_st_take(int fd, int64_t bytes, const char *path, SnSafetensors **out, SnError *e) {
    *out = NULL;
    SnStatus s = read_header(fd, bytes, path, out, e);
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

SnStatus sn_st_open(const char *path, SnSafetensors **out, SnError *e) {
    int fd;
    int64_t bytes;
    *out = NULL;
    SnStatus s = sn_file_open(path, &fd, &bytes, e);
    return s ? s : sn_st_take(fd, bytes, path, out, e);
}

void sn_st_close(SnSafetensors *st) {
    if (!st) return;
    if (st->fd >= 0) close(st->fd);
    free(st->tensors);
    free(st->meta);
    free(st->text);
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
    SnMeta wanted = {.key = key};
    const SnMeta *m =
        st->nmeta ? bsearch(&wanted, st->meta, st->nmeta, sizeof wanted, by_key) : NULL;
    return m ? m->value : NULL;
}

uint32_t sn_st_metas(const SnSafetensors *st) { return st->nmeta; }

const SnMeta *sn_st_meta(const SnSafetensors *st, uint32_t i) {
    assert(i < st->nmeta);
    return &st->meta[i];
}

typedef struct {
    const char *kind, *name;
} Parts;

static int by_parts(const void *a, const void *b) {
    const Parts *p = a;
    const char *key = ((const SnMeta *)b)->key;
    size_t n = strlen(p->kind);
    int kind = strncmp(p->kind, key, n);
    if (kind) return kind;
    return key[n] == '.' ? strcmp(p->name, key + n + 1) : '.' - (int)(unsigned char)key[n];
}

const char *sn_st_metadata_of(const SnSafetensors *st, const char *kind, const char *name) {
    Parts wanted = {kind, name};
    const SnMeta *m = st->nmeta ? bsearch(&wanted, st->meta, st->nmeta, sizeof *m, by_parts) : NULL;
    return m ? m->value : NULL;
}

SnStatus sn_st_read(SnSafetensors *st, const SnTensorInfo *t, uint64_t from, uint64_t n, void *to,
                    SnError *e) {
    assert(st->fd >= 0 && from <= t->bytes && n <= t->bytes - from);
    if (read_all(st->fd, to, n, st->data_at + t->begin + from)) return SN_OK;
    char what[300];
    snprintf(what, sizeof what, "tensor '%.200s' cannot be read", t->name);
    return read_failed(e, st->path, what);
}

// ---- checksums ----------------------------------------------------------------------------------

static void sum_text(uint64_t sum, char to[SUM_DIGITS + 1]) {
    snprintf(to, SUM_DIGITS + 1, "%016" PRIx64, sum);
}

// Of all entries but its own; they are in order of their keys.
static uint64_t sum_metadata(const SnMeta *meta, uint32_t n) {
    SnXxh64 x;
    sn_xxh64_begin(&x);
    for (uint32_t i = 0; i < n; i++) {
        if (!strcmp(meta[i].key, SUM)) continue;
        sn_xxh64_add(&x, meta[i].key, strlen(meta[i].key) + 1);
        sn_xxh64_add(&x, meta[i].value, strlen(meta[i].value) + 1);
    }
    return sn_xxh64_end(&x);
}

bool sn_st_has_sums(const SnSafetensors *st) {
    for (uint32_t i = 0; i < st->nmeta; i++)
        if (!strncmp(st->meta[i].key, SUM, strlen(SUM))) return true;
    return false;
}

SnStatus sn_st_check_metadata(const SnSafetensors *st, SnError *e) {
    char found[SUM_DIGITS + 1];
    const char *wanted = sn_st_metadata(st, SUM);
    if (!sn_st_has_sums(st)) return SN_OK;
    for (uint32_t i = 0; i < st->n; i++) // a damaged name has none
        if (!sn_st_metadata_of(st, SUM, st->tensors[i].name))
            return sn_fail(e, SN_USER, "the header is damaged: tensor '%.200s' has no checksum",
                           st->tensors[i].name);
    sum_text(sum_metadata(st->meta, st->nmeta), found);
    if (wanted && !strcmp(wanted, found)) return SN_OK;
    return sn_fail(e, SN_USER, "the metadata is damaged: its checksum is %s, not %.32s", found,
                   wanted ? wanted : "there");
}

SnStatus sn_st_check_sum(const SnSafetensors *st, const SnTensorInfo *t, const SnXxh64 *x,
                         SnError *e) {
    char found[SUM_DIGITS + 1];
    const char *wanted = sn_st_metadata_of(st, SUM, t->name);
    if (!sn_st_has_sums(st)) return SN_OK;
    sum_text(sn_xxh64_end(x), found);
    if (wanted && !strcmp(wanted, found)) return SN_OK;
    return sn_fail(e, SN_USER, "tensor '%.200s' is damaged: its checksum is %s, not %.32s", t->name,
                   found, wanted ? wanted : "there");
}

// ---- writing ------------------------------------------------------------------------------------

static bool write_all(int fd, const void *from, uint64_t n, uint64_t at) {
    const char *p = from;
    while (n) {
        ssize_t put = pwrite(fd, p, n > 1u << 30 ? 1u << 30 : (size_t)n, (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        p += put;
        at += (uint64_t)put;
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

// What was written: entries of the metadata, with room for those of the checksums.
typedef struct {
    SnMeta *meta; // in order of their keys
    uint32_t n;
    char (*sums)[SUM_DIGITS + 1]; // of the tensors, then of the metadata
    char **keys;                  // of the sums
} Entries;

static void free_entries(Entries *all, uint32_t ntensors) {
    for (uint32_t i = 0; all->keys && i < ntensors; i++) free(all->keys[i]);
    free(all->keys);
    free(all->sums);
    free(all->meta);
}

static bool make_entries(const SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                         Entries *all) {
    all->n = nmeta + n + 1;
    all->meta = calloc(all->n, sizeof *all->meta);
    all->sums = calloc((size_t)n + 1, sizeof *all->sums);
    all->keys = calloc((size_t)n + 1, sizeof *all->keys);
    if (!all->meta || !all->sums || !all->keys) return false;
    if (nmeta) memcpy(all->meta, meta, nmeta * sizeof *meta);
    for (uint32_t i = 0; i <= n; i++) {
        sum_text(0, all->sums[i]);
        if (i < n && asprintf(&all->keys[i], SUM ".%s", tensors[i].name) < 0) {
            all->keys[i] = NULL;
            return false;
        }
        all->meta[nmeta + i] = (SnMeta){i < n ? all->keys[i] : SUM, all->sums[i]};
    }
    qsort(all->meta, all->n, sizeof *all->meta, by_key);
    return true;
}

// Head and header as they stand in the file, padded with spaces to a multiple of 8.
static bool make_header(const SnTensor *tensors, uint32_t n, const Entries *all, SnText *out) {
    uint64_t at = 0;
    sn_text_add(out, "%8s{\"__metadata__\":{", "");
    for (uint32_t i = 0; i < all->n; i++) {
        if (i) sn_text_add(out, ",");
        sn_text_quote(out, all->meta[i].key);
        sn_text_add(out, ":");
        sn_text_quote(out, all->meta[i].value);
    }
    sn_text_add(out, "}");
    for (uint32_t i = 0; i < n; i++) {
        uint64_t end = at + tensor_bytes(&tensors[i]);
        sn_text_add(out, ",");
        sn_text_quote(out, tensors[i].name);
        sn_text_add(out, ":{\"dtype\":\"%s\",\"shape\":[", tensors[i].dtype);
        for (uint32_t k = 0; k < tensors[i].ndim; k++)
            sn_text_add(out, k ? ",%" PRId64 : "%" PRId64, tensors[i].shape[k]);
        sn_text_add(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, end);
        at = end;
    }
    sn_text_add(out, "}");
    while (!out->failed && out->n % 8) sn_text_add(out, " ");
    for (int i = 0; i < 8 && !out->failed; i++)
        out->text[i] = (char)(unsigned char)((out->n - 8) >> 8 * i);
    return !out->failed;
}

// The header read again says what it was made of: nothing was lost on the way, and every reader will
// take it. `text` is behind the head.
static SnStatus check_header(const char *text, size_t size, const SnTensor *tensors, uint32_t n,
                             const Entries *all, SnError *e) {
    SnSafetensors *st;
    SnError inner = {0};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) bytes += tensor_bytes(&tensors[i]);
    SnStatus s = sn_st_parse(text, size, bytes, &st, &inner);
    if (s) return sn_fail(e, SN_MACHINE, "the header cannot be made: %s", inner.text);
    bool same = st->n == n && st->nmeta == all->n;
    for (uint32_t i = 0; same && i < n; i++) {
        const SnTensorInfo *t = sn_st_find(st, tensors[i].name);
        same = t && !strcmp(t->dtype, tensors[i].dtype) && t->ndim == tensors[i].ndim &&
               !memcmp(t->shape, tensors[i].shape, t->ndim * sizeof *t->shape);
    }
    for (uint32_t i = 0; same && i < all->n; i++)
        same = !strcmp(st->meta[i].key, all->meta[i].key) &&
               !strcmp(st->meta[i].value, all->meta[i].value);
    sn_st_close(st);
    return same ? SN_OK : sn_fail(e, SN_MACHINE, "the header reads back otherwise");
}

static SnStatus write_failed(SnError *e) {
    return sn_fail(e, SN_MACHINE, "%s", errno ? strerror(errno) : "somebody has cut it off");
}

// Reads the header back from the file, where it has been written over the first one.
static SnStatus replace_header(int fd, const SnText *h, const SnTensor *tensors, uint32_t n,
                               const Entries *all, SnError *e) {
    if (!write_all(fd, h->text, h->n, 0)) return write_failed(e);
    char *back = malloc(h->n);
    if (!back) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = read_all(fd, back, h->n, 0) ? SN_OK : write_failed(e);
    if (!s && memcmp(back, h->text, h->n))
        s = sn_fail(e, SN_MACHINE, "the header reads back otherwise");
    if (!s) s = check_header(back + 8, h->n - 8, tensors, n, all, e);
    free(back);
    return s;
}

// Bytes of tensor i are written from its end so far on.
struct SnStWriter {
    int fd;
    SnTensor *tensors;
    uint32_t n;
    Entries all;
    uint64_t header; // its size, with the head
    struct {
        SnXxh64 sum;
        uint64_t begin, done, bytes; // from the start of the data
    } * parts;
};

static SnStatus begin(SnStWriter *w, const SnMeta *meta, uint32_t nmeta, SnError *e) {
    SnText first = {0};
    uint64_t at = 0;
    w->parts = calloc((size_t)w->n + 1, sizeof *w->parts);
    if (w->n) qsort(w->tensors, w->n, sizeof *w->tensors, by_alignment);
    bool made = w->parts && make_entries(w->tensors, w->n, meta, nmeta, &w->all) &&
                make_header(w->tensors, w->n, &w->all, &first);
    SnStatus s = made ? SN_OK : sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) s = check_header(first.text + 8, first.n - 8, w->tensors, w->n, &w->all, e);
    if (!s && !write_all(w->fd, first.text, first.n, 0)) s = write_failed(e);
    w->header = first.n;
    for (uint32_t i = 0; i < w->n && !s; i++) {
        sn_xxh64_begin(&w->parts[i].sum);
        w->parts[i].begin = at;
        at += w->parts[i].bytes = tensor_bytes(&w->tensors[i]);
    }
    free(first.text);
    return s;
}

SnStatus sn_st_begin(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnStWriter **out, SnError *e) {
    SnStWriter *w = *out = calloc(1, sizeof *w);
    if (!w) return sn_fail(e, SN_MACHINE, "out of memory");
    *w = (SnStWriter){.fd = fd, .tensors = tensors, .n = n};
    SnStatus s = begin(w, meta, nmeta, e);
    if (!s) return s;
    sn_st_drop(w);
    *out = NULL;
    return s;
}

void sn_st_drop(SnStWriter *w) {
    if (!w) return;
    free_entries(&w->all, w->n);
    free(w->parts);
    free(w);
}

SnStatus sn_st_put(SnStWriter *w, uint32_t i, const void *from, uint64_t n, SnError *e) {
    assert(i < w->n && n <= w->parts[i].bytes - w->parts[i].done);
    sn_xxh64_add(&w->parts[i].sum, from, n);
    if (!write_all(w->fd, from, n, w->header + w->parts[i].begin + w->parts[i].done))
        return write_failed(e);
    w->parts[i].done += n;
    return SN_OK;
}

SnStatus sn_st_end(SnStWriter *w, SnError *e) {
    SnText header = {0};
    for (uint32_t i = 0; i < w->n; i++) {
        assert(w->parts[i].done == w->parts[i].bytes);
        sum_text(sn_xxh64_end(&w->parts[i].sum), w->all.sums[i]);
    }
    sum_text(sum_metadata(w->all.meta, w->all.n), w->all.sums[w->n]);
    SnStatus s = make_header(w->tensors, w->n, &w->all, &header)
                     ? SN_OK
                     : sn_fail(e, SN_MACHINE, "out of memory");
    assert(s || header.n == w->header);
    if (!s) s = replace_header(w->fd, &header, w->tensors, w->n, &w->all, e);
    free(header.text);
    return s;
}

// A tensor, piece by piece.
static SnStatus put_tensor(SnStWriter *w, uint32_t i, char *piece, SnError *e) {
    const SnTensor *t = &w->tensors[i];
    int64_t bytes = (int64_t)tensor_bytes(t);
    SnStatus s = SN_OK;
    for (int64_t at = 0; at < bytes && !s; at += SN_ST_PIECE) {
        int64_t n = bytes - at < SN_ST_PIECE ? bytes - at : SN_ST_PIECE;
        const char *from = t->data ? (const char *)t->data + at : piece;
        if (!t->data) s = t->read(t->what, t->user, at, n, piece, e);
        if (!s) s = sn_st_put(w, i, from, (uint64_t)n, e);
    }
    return s;
}

SnStatus sn_st_write(int fd, SnTensor *tensors, uint32_t n, const SnMeta *meta, uint32_t nmeta,
                     SnError *e) {
    SnStWriter *w = NULL;
    char *piece = malloc(SN_ST_PIECE);
    SnStatus s = piece ? sn_st_begin(fd, tensors, n, meta, nmeta, &w, e)
                       : sn_fail(e, SN_MACHINE, "out of memory");
    for (uint32_t i = 0; i < n && !s; i++) s = put_tensor(w, i, piece, e);
    if (!s) s = sn_st_end(w, e);
    sn_st_drop(w);
    free(piece);
    return s;
}

// See tensors.h. Names, extents and types are compared once, when an input is bound; tensors that no
// input takes are not looked at. What is left to go wrong while samples are read is a value that the
// input cannot hold, and the file itself. A sample is read in pieces that stay in the first caches.
#define _GNU_SOURCE
#include "runtime/files/tensors.h"
#include "runtime/elem.h"
#include "runtime/files/arrays.h"
#include "runtime/files/convert.h"
#include "runtime/files/file.h"
#include "runtime/files/magic.h"
#include "runtime/safetensors.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 15, NAMES_SHOWN = 8, TEXT = 512 };

typedef struct {
    const SnTensorInfo *info;
    char *input;
    SnConvert *convert; // NULL: the bytes are taken as they are
    const SnElemInfo *elem;
    int64_t least, most; // of integers
    int64_t n;           // elements of a sample
} Field;

struct SnTensors {
    char *path;
    SnSafetensors *file; // one of these
    SnArrays *arrays;
    Field *fields;
    int n;
};

// Why it is no safetensors file: what else it is, if that is known, says more than the reader.
static SnStatus explain(const char *path, SnStatus status, const SnError *why, SnError *e) {
    int fd = -1;
    int64_t size = 0;
    const SnMagic *other = NULL;
    if (status == SN_USER && !sn_file_open(path, &fd, &size, NULL)) {
        other = sn_magic_find(fd, size);
        close(fd);
    }
    if (!other || !*other->as_data) return sn_fail(e, status, "data: %s", why->text);
    return sn_fail(e, status, "data: %.600s is %s, not a safetensors file: %s", path, other->what,
                   other->as_data);
}

SnStatus sn_tensors_open(const char *path, SnTensors **out, SnError *e) {
    SnTensors *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t) t->path = strdup(path);
    SnError inner = {0};
    SnStatus s = t && t->path ? sn_st_open(path, &t->file, &inner)
                              : sn_fail(&inner, SN_MACHINE, "out of memory");
    if (!s) {
        *out = t;
        return SN_OK;
    }
    sn_tensors_free(t);
    return explain(path, s, &inner, e);
}

SnStatus sn_tensors_open_arrays(const char *list, const char *format, const char *const *names,
                                uint32_t nnames, SnTensors **out, SnError *e) {
    SnTensors *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t) t->path = strdup(list);
    SnStatus s = t && t->path ? sn_arrays_open(list, format, names, nnames, &t->arrays, e)
                              : sn_fail(e, SN_MACHINE, "out of memory");
    if (s) {
        sn_tensors_free(t);
        return s;
    }
    *out = t;
    return SN_OK;
}

// ---- where they are -----------------------------------------------------------------------------

static uint32_t count_tensors(const SnTensors *t) {
    return t->arrays ? sn_arrays_count(t->arrays) : sn_st_count(t->file);
}

static const SnTensorInfo *tensor_at(const SnTensors *t, uint32_t i) {
    return t->arrays ? sn_arrays_at(t->arrays, i) : sn_st_at(t->file, i);
}

static const SnTensorInfo *find_tensor(const SnTensors *t, const char *name) {
    return t->arrays ? sn_arrays_find(t->arrays, name) : sn_st_find(t->file, name);
}

// As the bytes stand in the file.
static SnStatus read_bytes(const SnTensors *t, const SnTensorInfo *info, uint64_t from, uint64_t n,
                           void *to, SnError *e) {
    return t->arrays ? sn_arrays_read(t->arrays, info, from, n, to, e)
                     : sn_st_read(t->file, info, from, n, to, e);
}

static SnStatus read_elements(const SnTensors *t, const SnTensorInfo *info, uint64_t from,
                              uint64_t n, void *to, SnError *e) {
    SnStatus s = read_bytes(t, info, from, n, to, e);
    if (!s && t->arrays) sn_arrays_order(t->arrays, info, n, to);
    return s;
}

void sn_tensors_free(SnTensors *t) {
    if (!t) return;
    for (int i = 0; i < t->n; i++) free(t->fields[i].input);
    if (t->file) sn_st_close(t->file);
    sn_arrays_close(t->arrays);
    free(t->fields);
    free(t->path);
    free(t);
}

bool sn_tensors_reads(const SnTensors *t, const char *path) {
    if (!t->arrays) return sn_file_same(t->path, path);
    for (uint32_t i = 0; i < sn_arrays_count(t->arrays); i++)
        if (sn_file_same(sn_arrays_path(t->arrays, sn_arrays_at(t->arrays, i)), path)) return true;
    return false;
}

int sn_tensors_fields(const SnTensors *t) { return t->n; }
int64_t sn_tensors_samples(const SnTensors *t) { return t->n ? t->fields[0].info->shape[0] : 0; }

size_t sn_tensors_bytes(const SnTensors *t, int id) {
    return (size_t)t->fields[id].n * t->fields[id].elem->bytes;
}

// ---- binding ------------------------------------------------------------------------------------

// Appends to a text of TEXT bytes; what does not fit is cut.
__attribute__((format(printf, 2, 3))) static void append(char *to, const char *format, ...) {
    size_t used = strlen(to);
    va_list args;
    va_start(args, format);
    vsnprintf(to + used, TEXT - used, format, args);
    va_end(args);
}

static SnStatus no_tensor(const SnTensors *t, const SnField *f, SnError *e) {
    char names[TEXT] = "";
    uint32_t n = count_tensors(t);
    for (uint32_t i = 0; i < n && i < NAMES_SHOWN; i++)
        append(names, "%s'%.40s'", i ? ", " : "", tensor_at(t, i)->name);
    return sn_fail(
        e, SN_USER, "data: %.300s has no tensor '%.100s', which input '%.100s' takes; it has %s%s",
        t->path, f->tensor, f->input, n ? names : "none", n > NAMES_SHOWN ? ", ..." : "");
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Whether the extents of a sample are the input's in another order.
static bool is_reordered(const SnTensorInfo *info, const SnField *f) {
    int64_t have[SN_ST_DIMS], want[SN_MAX_AXES];
    if (info->ndim != f->naxes + 1) return false;
    memcpy(have, info->shape + 1, f->naxes * sizeof *have);
    memcpy(want, f->size, f->naxes * sizeof *want);
    qsort(have, f->naxes, sizeof *have, by_size);
    qsort(want, f->naxes, sizeof *want, by_size);
    return !memcmp(have, want, f->naxes * sizeof *have);
}

static SnStatus other_shape(const SnTensors *t, const SnTensorInfo *info, const SnField *f,
                            SnError *e) {
    char have[TEXT] = "", want[TEXT] = "";
    for (uint32_t i = 0; i < info->ndim; i++)
        append(have, "%s%lld", i ? ", " : "", (long long)info->shape[i]);
    for (uint32_t i = 0; i < f->naxes; i++)
        append(want, ", %s = %lld", f->axis[i], (long long)f->size[i]);
    const char *hint = is_reordered(info, f)
                           ? "; these are the same extents in another order: declare the input's "
                             "axes in the order of the file"
                           : "";
    return sn_fail(e, SN_USER,
                   "data: %.200s: tensor '%.100s' is %s[%s], but input '%.100s' takes "
                   "[samples%s]%s",
                   t->path, info->name, info->dtype, have, f->input, want, hint);
}

static SnStatus compare(const SnTensors *t, const SnTensorInfo *info, const SnField *f,
                        SnError *e) {
    bool equal =
        info->ndim == f->naxes + 1 && !memcmp(info->shape + 1, f->size, f->naxes * sizeof *f->size);
    if (!equal) return other_shape(t, info, f, e);
    if (!sn_convert_find(info->dtype, f->elem))
        return sn_fail(e, SN_USER,
                       "data: %.200s: tensor '%.100s' is %s, which does not fit input '%.100s'; "
                       "what fits is %s",
                       t->path, info->name, info->dtype, f->input, sn_convert_fits(f->elem));
    if (t->n && info->shape[0] != sn_tensors_samples(t))
        return sn_fail(e, SN_USER,
                       "data: %.200s: tensors '%.100s' and '%.100s' differ in their first extent, "
                       "the number of samples: %lld and %lld",
                       t->path, t->fields[0].info->name, info->name,
                       (long long)sn_tensors_samples(t), (long long)info->shape[0]);
    return SN_OK;
}

static void set_limits(Field *to, const SnField *f) {
    bool negative = to->elem->kind == SN_KIND_INT;
    to->least = negative && !f->range ? INT32_MIN : 0;
    to->most = f->range ? f->range - 1 : negative ? INT32_MAX : UINT32_MAX;
}

SnStatus sn_tensors_field(SnTensors *t, const SnField *f, int *id, SnError *e) {
    const SnTensorInfo *info = find_tensor(t, f->tensor);
    SnStatus s = info ? compare(t, info, f, e) : no_tensor(t, f, e);
    if (s) return s;
    Field *grown = realloc(t->fields, ((size_t)t->n + 1) * sizeof *grown);
    if (!grown) return sn_fail(e, SN_MACHINE, "out of memory");
    t->fields = grown;
    const SnElemInfo *elem = &sn_elem_info[f->elem];
    bool as_is = elem->kind == SN_KIND_FLOAT && !strcmp(info->dtype, elem->dtype);
    Field new = {.info = info,
                 .input = strdup(f->input),
                 .elem = elem,
                 .convert = as_is ? NULL : sn_convert_find(info->dtype, f->elem),
                 .n = 1};
    if (!new.input) return sn_fail(e, SN_MACHINE, "out of memory");
    for (uint32_t i = 0; i < f->naxes; i++) new.n *= f->size[i];
    set_limits(&new, f);
    *id = t->n;
    t->fields[t->n++] = new;
    return SN_OK;
}

// ---- reading ------------------------------------------------------------------------------------

// Element i of a sample, as a place in the tensor: "[12, 0, 3]".
static void place_text(const SnTensorInfo *info, int64_t sample, int64_t i, char *to) {
    int64_t at[SN_ST_DIMS] = {sample};
    for (uint32_t a = info->ndim; --a > 0;) {
        at[a] = i % info->shape[a];
        i /= info->shape[a];
    }
    *to = 0;
    for (uint32_t a = 0; a < info->ndim; a++)
        append(to, "%s%lld", a ? ", " : "[", (long long)at[a]);
    append(to, "]");
}

static SnStatus refuse(const SnTensors *t, const Field *f, int64_t sample, int64_t i,
                       const void *element, SnError *e) {
    char place[TEXT], value[64], why[200];
    place_text(f->info, sample, i, place);
    sn_convert_text(f->info->dtype, element, value, sizeof value);
    switch ((SnElemKind)f->elem->kind) {
    case SN_KIND_FLOAT: snprintf(why, sizeof why, "is beyond the largest %s", f->elem->name); break;
    case SN_KIND_BOOL: snprintf(why, sizeof why, "is neither 0 nor 1"); break;
    case SN_KIND_INT:
    case SN_KIND_UINT:
    case SN_KINDS:
        snprintf(why, sizeof why, "is outside of the range of the input, %lld to %lld",
                 (long long)f->least, (long long)f->most);
    }
    return sn_fail(e, SN_USER, "data: %.200s: tensor '%.100s' at %.200s, for input '%.100s': %s %s",
                   t->path, f->info->name, place, f->input, value, why);
}

SnStatus sn_tensors_read(const SnTensors *t, int id, int64_t sample, void *to, SnError *e) {
    const Field *f = &t->fields[id];
    uint32_t item = f->info->item;
    uint64_t bytes = (uint64_t)f->n * item, from = (uint64_t)sample * bytes;
    int64_t n = PIECE / item;
    unsigned char raw[PIECE] __attribute__((aligned(64)));
    if (!f->convert) return read_elements(t, f->info, from, bytes, to, e);
    for (int64_t at = 0; at < f->n; at += n) {
        if (n > f->n - at) n = f->n - at;
        SnStatus s =
            read_elements(t, f->info, from + (uint64_t)at * item, (uint64_t)n * item, raw, e);
        if (s) return s;
        void *place = (char *)to + (size_t)at * f->elem->bytes;
        int64_t good = f->convert(raw, n, f->least, f->most, place);
        if (good < n) return refuse(t, f, sample, at + good, raw + good * item, e);
    }
    return SN_OK;
}

bool sn_tensors_again(const SnTensors *t, int id) {
    int i = 0;
    while (t->fields[i].info != t->fields[id].info) i++;
    return i < id;
}

int64_t sn_tensors_describe(const SnTensors *t, int id, char *name, char *type, size_t size) {
    const Field *f = &t->fields[id];
    char extents[TEXT] = "";
    for (uint32_t i = 1; i < f->info->ndim; i++)
        append(extents, "%s%lld", i > 1 ? ", " : "", (long long)f->info->shape[i]);
    snprintf(name, size, "%s", f->info->name);
    snprintf(type, size, "%s[%s]", f->info->dtype, extents);
    return f->n * f->info->item;
}

SnStatus sn_tensors_bytes_at(const SnTensors *t, int id, int64_t at, int64_t n, void *to,
                             SnError *e) {
    return read_bytes(t, t->fields[id].info, (uint64_t)at, (uint64_t)n, to, e);
}

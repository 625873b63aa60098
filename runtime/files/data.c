// Training data from files: text (a byte is an id), raw token files, and tensors by name.
//
// Why a sample is found by its number alone: the order of samples is a function of the seed and one
// global counter, so a run resumes at any position without replaying, and cutting a batch in other
// micro-batches reads the same samples. Pass p over the n training samples visits them in the order
// of a keyed permutation (random.c) that needs no memory. In each pass all windows move by one
// random shift below the stride, so that the model sees other cuts of the text.
//
// Files are read by pread into buffers (a file that shrinks is an error, not a fault), ids are
// checked against the input's range as they are read. Reading ids ahead is left to the system, which
// is told the samples of the next step; tensors are read and converted ahead by a thread (loader.c).
// A sample costs O(window).
#define _GNU_SOURCE
#include "runtime/files/data.h"
#include "runtime/files/file.h"
#include "runtime/files/loader.h"
#include "runtime/files/magic.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// llm.c's token shards start with 256 int32: magic, version, number of ids.
enum { SHARD_HEADER = 1024, SHARD_MAGIC_16 = 20240520, SHARD_MAGIC_32 = 20240801 };
enum { SHIFT_MIN_SAMPLES = 16 }; // below this, giving up one sample to the shift costs too much

typedef struct {
    char *path;
    int fd;
    int width;    // bytes of an id
    int64_t skip; // bytes before the first id
    int64_t ids;
    int64_t first; // number of the file's first id among all
} File;

struct SnData {
    SnDataSpec spec; // strings are copies
    char *path, *input;
    File *files;
    int64_t nfiles, ids;
    int64_t begin[2], count[2]; // ids (or samples of tensors) of each split
    int64_t samples[2];
    unsigned char *raw; // one window as it stands in the file
    SnTensors *tensors;
    SnLoader *loader; // NULL: nothing was asked for ahead
};

SnDataKind sn_data_kind(const SnData *d) { return d->spec.kind; }
int64_t sn_data_ids(const SnData *d) { return d->ids; }
int64_t sn_data_samples(const SnData *d, SnSplit split) { return d->samples[split]; }
const SnDataSpec *sn_data_given(const SnData *d) { return &d->spec; }
SnTensors *sn_data_tensors(const SnData *d) { return d->tensors; }

// Looks for a shard header; leaves width and skip alone when there is none.
static SnStatus read_shard_header(File *f, int64_t size, SnError *e) {
    int32_t head[3];
    if (size < SHARD_HEADER || pread(f->fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        return SN_OK;
    if (head[0] != SHARD_MAGIC_16 && head[0] != SHARD_MAGIC_32) return SN_OK;
    f->width = head[0] == SHARD_MAGIC_16 ? 2 : 4;
    f->skip = SHARD_HEADER;
    if ((size - SHARD_HEADER) / f->width != head[2])
        return sn_fail(e, SN_USER, "%s: the header says %d tokens, the file holds %lld", f->path,
                       head[2], (long long)((size - SHARD_HEADER) / f->width));
    return SN_OK;
}

static SnStatus open_file(SnData *d, File *f, const char *path, SnError *e) {
    int64_t size;
    SnError inner = {0};
    f->path = strdup(path);
    if (!f->path) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = sn_file_open(path, &f->fd, &size, &inner);
    if (s) return sn_fail(e, s, "data: %s", inner.text);
    const SnMagic *other = sn_magic_find(f->fd, size);
    if (other)
        return sn_fail(e, SN_USER, "data: %.600s is %s, not %s: %s", path, other->what,
                       d->spec.kind == SN_DATA_TEXT ? "text" : "raw ids", other->as_ids);
    f->width = d->spec.kind == SN_DATA_TEXT ? 1 : d->spec.width ? d->spec.width : 2;
    if (d->spec.kind == SN_DATA_TOKENS && !d->spec.width) {
        s = read_shard_header(f, size, e);
        if (s) return s;
    }
    if ((size - f->skip) % f->width)
        return sn_fail(e, SN_USER, "data: %s: %lld bytes are no whole number of %d-byte tokens",
                       path, (long long)(size - f->skip), f->width);
    f->ids = (size - f->skip) / f->width;
    f->first = d->ids;
    d->ids += f->ids;
    return SN_OK;
}

static SnStatus open_list(SnData *d, char *const *paths, size_t n, SnError *e) {
    SnStatus room = sn_file_reserve(n, "data", e);
    if (room) return room;
    d->files = calloc(n ? n : 1, sizeof *d->files);
    if (!d->files) return sn_fail(e, SN_MACHINE, "out of memory");
    for (size_t i = 0; i < n; i++) d->files[i].fd = -1;
    for (size_t i = 0; i < n; i++) {
        d->nfiles++;
        SnStatus s = open_file(d, &d->files[i], paths[i], e);
        if (s) return s;
    }
    return SN_OK;
}

// A plain name is a file even when it looks like a pattern; a pattern must match something.
static SnStatus open_files(SnData *d, SnError *e) {
    if (!access(d->path, F_OK) || !strpbrk(d->path, "*?[")) return open_list(d, &d->path, 1, e);
    glob_t found;
    int rc = glob(d->path, 0, NULL, &found);
    if (rc == GLOB_NOSPACE) return sn_fail(e, SN_MACHINE, "out of memory");
    if (rc) return sn_fail(e, SN_USER, "data: no file matches '%s'", d->path);
    SnStatus s = open_list(d, found.gl_pathv, found.gl_pathc, e);
    globfree(&found);
    return s;
}

// Those of a window and the one that follows it.
static int64_t window_ids(const SnData *d) { return d->spec.window + !d->spec.closed; }

static int64_t windows_in(const SnData *d, int64_t ids) {
    int64_t free_ids = ids - window_ids(d);
    return free_ids < 0 ? 0 : free_ids / d->spec.stride + 1;
}

// Gives the first share of the ids to training and the rest to validation.
static SnStatus cut_splits(SnData *d, SnError *e) {
    int64_t train = (int64_t)((double)d->ids * d->spec.split);
    if (d->spec.split >= 1 || train > d->ids) train = d->ids;
    d->begin[SN_VALID] = train;
    d->count[SN_TRAIN] = train;
    d->count[SN_VALID] = d->ids - train;
    for (int s = 0; s < 2; s++)
        d->samples[s] = d->tensors ? d->count[s] : windows_in(d, d->count[s]);
    if (d->samples[SN_TRAIN]) return SN_OK;
    if (d->tensors && d->ids)
        return sn_fail(e, SN_USER, "data: %s: of %lld samples none is for training (data.split %g)",
                       d->path, (long long)d->ids, d->spec.split);
    if (d->tensors) return sn_fail(e, SN_USER, "data: %s holds no samples", d->path);
    return sn_fail(e, SN_USER,
                   "data: %s: %lld tokens for training are too few, one sample takes %lld", d->path,
                   (long long)train, (long long)window_ids(d));
}

static SnStatus open_all(SnData *d, SnError *e) {
    if (!d->path || !d->input) return sn_fail(e, SN_MACHINE, "out of memory");
    if (d->spec.arrays)
        return sn_tensors_open_arrays(d->path, d->spec.arrays, d->spec.names, d->spec.nnames,
                                      &d->tensors, e);
    if (d->spec.kind == SN_DATA_TENSORS) return sn_tensors_open(d->path, &d->tensors, e);
    SnStatus s = open_files(d, e);
    if (!s) s = cut_splits(d, e);
    if (s) return s;
    d->raw = malloc((size_t)(d->spec.window + 1) * 4);
    return d->raw ? SN_OK : sn_fail(e, SN_MACHINE, "out of memory");
}

SnStatus sn_data_new(const SnDataSpec *spec, SnData **out, SnError *e) {
    *out = NULL;
    if (!(spec->split > 0 && spec->split <= 1))
        return sn_fail(e, SN_USER, "data: the split must be above 0 and at most 1");
    if (spec->width != 0 && spec->width != 1 && spec->width != 2 && spec->width != 4)
        return sn_fail(e, SN_USER, "data: a token takes 1, 2 or 4 bytes, not %d", spec->width);
    SnData *d = calloc(1, sizeof *d);
    if (!d) return sn_fail(e, SN_MACHINE, "out of memory");
    d->spec = *spec;
    if (d->spec.stride < 1) d->spec.stride = d->spec.window < 1 ? 1 : d->spec.window;
    d->path = strdup(spec->path);
    d->input = strdup(spec->input ? spec->input : "");
    SnStatus s = open_all(d, e);
    if (s) {
        sn_data_free(d);
        return s;
    }
    *out = d;
    return SN_OK;
}

void sn_data_free(SnData *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->nfiles; i++) {
        if (d->files[i].fd >= 0) close(d->files[i].fd);
        free(d->files[i].path);
    }
    sn_loader_free(d->loader); // reads the tensors
    sn_tensors_free(d->tensors);
    free(d->files);
    free(d->path);
    free(d->input);
    free(d->raw);
    free(d);
}

bool sn_data_reads(const SnData *d, const char *path) {
    for (int64_t i = 0; i < d->nfiles; i++)
        if (sn_file_same(d->files[i].path, path)) return true;
    return d->tensors && sn_tensors_reads(d->tensors, path);
}

// A 64-bit number for this pass: word 0 keys the permutation, word 1 makes the shift.
static uint64_t pass_number(const SnData *d, uint64_t pass, uint32_t word) {
    const uint32_t counter[4] = {(uint32_t)pass, (uint32_t)(pass >> 32), word, 0x44415441u};
    const uint32_t key[2] = {(uint32_t)d->spec.seed, (uint32_t)(d->spec.seed >> 32)};
    return (uint64_t)sn_philox(counter, key, 1) << 32 | sn_philox(counter, key, 0);
}

// The place of sample g of the endless sequence: its number among the samples of the split, and by
// how much the windows of its pass are shifted.
static int64_t place(const SnData *d, SnSplit split, uint64_t g, int64_t *shift) {
    uint64_t n = (uint64_t)d->samples[split];
    bool shifted = split == SN_TRAIN && d->spec.shuffle && !d->tensors && n >= SHIFT_MIN_SAMPLES;
    n -= shifted; // the last window would stick out
    uint64_t pass = g / n, i = g % n;
    *shift = shifted ? (int64_t)(pass_number(d, pass, 1) % (uint64_t)d->spec.stride) : 0;
    if (!d->spec.shuffle) return (int64_t)i;
    // Validation samples are shuffled once and for all: the first few then speak for the whole.
    uint64_t key = split == SN_TRAIN ? pass_number(d, pass, 0) : 0x56414c4944u;
    return (int64_t)sn_permute(n, key, i);
}

static const File *file_of(const SnData *d, int64_t id) {
    int64_t low = 0, high = d->nfiles - 1;
    while (low < high) {
        int64_t mid = low + (high - low + 1) / 2;
        if (d->files[mid].first <= id)
            low = mid;
        else
            high = mid - 1;
    }
    return &d->files[low];
}

static uint32_t raw_id(const unsigned char *raw, int width, int64_t i) {
    uint32_t id = 0;
    memcpy(&id, raw + i * width, (size_t)width); // little-endian, as the machine
    return id;
}

// Ids [at, at + n) of one file as they stand in it.
static SnStatus read_raw(const File *f, int64_t at, int64_t n, void *raw, SnError *e) {
    char *to = raw;
    size_t left = (size_t)(n * f->width);
    off_t from = (off_t)(f->skip + at * f->width);
    while (left) {
        ssize_t got = pread(f->fd, to, left, from);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return sn_fail(e, SN_USER, "data: %s: cannot read at byte %lld: %s", f->path,
                           (long long)from, got ? strerror(errno) : "the file has become shorter");
        to += got;
        from += got;
        left -= (size_t)got;
    }
    return SN_OK;
}

// The same as numbers, inside of the range.
static SnStatus read_part(SnData *d, const File *f, int64_t at, int64_t n, int32_t *ids,
                          SnError *e) {
    SnStatus s = read_raw(f, at, n, d->raw, e);
    if (s) return s;
    for (int64_t i = 0; i < n; i++) {
        uint32_t id = raw_id(d->raw, f->width, i);
        if (id >= (uint64_t)d->spec.range)
            return sn_fail(e, SN_USER,
                           "data: %s: %s %u at position %lld is outside of the range of '%s', "
                           "which ends at %lld",
                           f->path, f->width == 1 ? "byte" : "token", id, (long long)(at + i),
                           d->input, (long long)d->spec.range - 1);
        ids[i] = (int32_t)id;
    }
    return SN_OK;
}

// A window may run over the end of a file into the next.
static SnStatus read_window(SnData *d, int64_t at, int32_t *ids, SnError *e) {
    for (int64_t left = window_ids(d); left > 0;) {
        const File *f = file_of(d, at);
        int64_t inside = at - f->first, n = f->ids - inside;
        if (n > left) n = left;
        SnStatus s = read_part(d, f, inside, n, ids, e);
        if (s) return s;
        ids += n;
        at += n;
        left -= n;
    }
    return SN_OK;
}

// The stored ids stand at the end of `ids` and are made numbers from the front.
SnStatus sn_data_ids_at(const SnData *d, int64_t at, int64_t n, int32_t *ids, SnError *e) {
    while (n > 0) {
        const File *f = file_of(d, at);
        int64_t inside = at - f->first, part = f->ids - inside < n ? f->ids - inside : n;
        unsigned char *raw = (unsigned char *)ids + part * (4 - f->width);
        SnStatus s = read_raw(f, inside, part, raw, e);
        if (s) return s;
        for (int64_t i = 0; i < part; i++) ids[i] = (int32_t)raw_id(raw, f->width, i);
        ids += part;
        at += part;
        n -= part;
    }
    return SN_OK;
}

static int64_t window_start(const SnData *d, SnSplit split, uint64_t g) {
    int64_t shift, i = place(d, split, g, &shift);
    return d->begin[split] + shift + i * d->spec.stride;
}

SnStatus sn_data_windows(SnData *d, SnSplit split, uint64_t first, int64_t count, int32_t *ids,
                         SnError *e) {
    assert(!d->tensors && d->samples[split] > 0);
    for (int64_t i = 0; i < count; i++) {
        SnStatus s = read_window(d, window_start(d, split, first + (uint64_t)i),
                                 ids + i * (d->spec.window + 1), e);
        if (s) return s;
    }
    return SN_OK;
}

void sn_data_prefetch(SnData *d, SnSplit split, uint64_t first, int64_t count) {
    assert(!d->tensors);
    if (!d->samples[split]) return;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = window_start(d, split, first + (uint64_t)i);
        const File *f = file_of(d, at);
        off_t from = (off_t)(f->skip + (at - f->first) * f->width);
        (void)posix_fadvise(f->fd, from, (off_t)((d->spec.window + 1) * f->width),
                            POSIX_FADV_WILLNEED);
    }
}

// ---- tensors ------------------------------------------------------------------------------------

SnStatus sn_data_field(SnData *d, const SnField *field, int *id, SnError *e) {
    assert(d->tensors && !d->loader);
    SnStatus s = sn_tensors_field(d->tensors, field, id, e);
    if (s || d->ids) return s;
    d->ids = sn_tensors_samples(d->tensors);
    return cut_splits(d, e);
}

// A request, in the loader's thread or the caller's.
static SnStatus fill(const void *data, const SnRequest *r, void *to, SnError *e) {
    const SnData *d = data;
    size_t bytes = sn_tensors_bytes(d->tensors, r->field);
    SnStatus s = SN_OK;
    for (int64_t i = 0; i < r->count && !s; i++) {
        int64_t shift,
            sample = d->begin[r->split] + place(d, r->split, r->first + (uint64_t)i, &shift);
        s = sn_tensors_read(d->tensors, r->field, sample, (char *)to + (size_t)i * bytes, e);
    }
    return s;
}

SnStatus sn_data_tensor(SnData *d, int field, SnSplit split, uint64_t first, int64_t count,
                        void *to, SnError *e) {
    assert(d->samples[split] > 0);
    const SnRequest r = {field, split, first, count};
    SnStatus s;
    if (d->loader && sn_loader_take(d->loader, &r, to, &s, e)) return s;
    return fill(d, &r, to, e);
}

void sn_data_ahead(SnData *d, int field, SnSplit split, uint64_t first, int64_t count) {
    if (!d->loader) d->loader = sn_loader_new(fill, d, sn_tensors_fields(d->tensors));
    const SnRequest r = {field, split, first, count};
    if (d->loader && d->samples[split] > 0)
        sn_loader_ask(d->loader, &r, (size_t)count * sn_tensors_bytes(d->tensors, field));
}

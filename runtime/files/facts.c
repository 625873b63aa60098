// What a run's samples depend on, as text, for its checkpoints; and the comparison when it is resumed.
//
// A resumed run gives the bits of an uninterrupted one only on the data it had. Neither names nor times of
// files count: data that was moved, or cut into other files, is the same. What counts is each id or
// element, in order, and how samples are made of them.
//
// The content is known by a sum over blocks at places that follow from the length alone: all of it up to
// 4 Mi ids, or 16 MiB of a tensor, else 256 blocks of 64 KiB (16 Ki ids, as i32) at equal distances, the
// first and the last among them. So terabytes cost 16 MiB of reading, and a change between the blocks is
// not seen. Of data that has grown the sum
// over the old length is taken too: data that was appended to is told from other data.
#define _GNU_SOURCE
#include "runtime/files/data.h"
#include "runtime/files/json.h"
#include "runtime/plain.h"
#include "runtime/xxh64.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16, BLOCKS = 256 };

// ---- the sum ------------------------------------------------------------------------------------

// Of the first n units (ids, or bytes of a field).
typedef struct {
    SnData *data;
    int field; // -1: ids
    int64_t n, unit;
} Content;

static SnStatus add_block(const Content *c, int64_t at, int64_t n, void *block, SnXxh64 *sum,
                          SnError *e) {
    SnStatus s = c->field < 0
                     ? sn_data_ids_at(c->data, at, n, block, e)
                     : sn_tensors_bytes_at(sn_data_tensors(c->data), c->field, at, n, block, e);
    if (!s) sn_xxh64_add(sum, block, (size_t)(n * c->unit));
    return s;
}

static SnStatus content_sum(const Content *c, uint64_t *to, SnError *e) {
    int64_t block = BLOCK / c->unit, last = c->n - block;
    bool whole = c->n <= BLOCKS * block;
    int64_t count = whole ? sn_ceil_div(c->n, block) : BLOCKS;
    SnXxh64 sum;
    SnStatus s = SN_OK;
    void *buffer = malloc(BLOCK);
    if (!buffer) return sn_fail(e, SN_MACHINE, "out of memory");
    sn_xxh64_begin(&sum);
    for (int64_t i = 0; i < count && !s; i++) {
        int64_t even = last / (BLOCKS - 1) * i + last % (BLOCKS - 1) * i / (BLOCKS - 1);
        int64_t at = whole ? i * block : even, left = c->n - at;
        s = add_block(c, at, left < block ? left : block, buffer, &sum, e);
    }
    free(buffer);
    *to = sn_xxh64_end(&sum);
    return s;
}

// ---- the text: lines of a name, a tab and a value -----------------------------------------------

static const char content[] = "content"; // names that begin so have sums for values

static SnStatus write_stream(SnText *f, SnData *d, int64_t n, SnError *e) {
    const SnDataSpec *spec = sn_data_given(d);
    const Content all = {d, -1, n, sizeof(int32_t)};
    uint64_t sum = 0;
    SnStatus s = content_sum(&all, &sum, e);
    sn_text_add(f, "ids\t%" PRId64 "\n%s\t%016" PRIx64 "\n", n, content, sum);
    sn_text_add(f, "window\t%" PRId64 "\nstride\t%" PRId64 "\n", spec->window, spec->stride);
    return s;
}

static SnStatus write_tensors(SnText *f, SnData *d, int64_t n, SnError *e) {
    const SnTensors *t = sn_data_tensors(d);
    char name[256], type[256];
    SnStatus s = SN_OK;
    sn_text_add(f, "samples\t%" PRId64 "\n", n);
    for (int i = 0; i < sn_tensors_fields(t) && !s; i++) {
        if (sn_tensors_again(t, i)) continue;
        uint64_t sum = 0;
        const Content one = {d, i, n * sn_tensors_describe(t, i, name, type, sizeof name), 1};
        sn_plain(name);
        s = content_sum(&one, &sum, e);
        sn_text_add(f, "tensor '%s'\t%s\n%s of '%s'\t%016" PRIx64 "\n", name, type, content, name,
                    sum);
    }
    return s;
}

// As if the data had n ids or samples.
static SnStatus make_facts(SnData *d, int64_t n, char **to, SnError *e) {
    static const char *const kinds[] = {"text", "tokens", "tensors"};
    const SnDataSpec *spec = sn_data_given(d);
    SnText text = {0}, *f = &text;
    sn_text_add(f, "kind\t%s\nsplit\t%.15g\nshuffle\t%s\n", kinds[spec->kind], spec->split,
                spec->shuffle ? "true" : "false");
    SnStatus s =
        spec->kind == SN_DATA_TENSORS ? write_tensors(f, d, n, e) : write_stream(f, d, n, e);
    if (!s && text.failed) s = sn_fail(e, SN_MACHINE, "out of memory");
    if (s) free(text.text);
    *to = s ? NULL : text.text;
    return s;
}

SnStatus sn_data_facts(SnData *d, char **to, SnError *e) {
    return make_facts(d, sn_data_ids(d), to, e);
}

// ---- comparing ----------------------------------------------------------------------------------

typedef struct {
    const char *name, *value;
    int name_length, length;
} Fact;

// Steps to the next line; false behind the last.
static bool next_fact(const char **text, Fact *f) {
    const char *line = *text, *tab = strchr(line, '\t');
    if (!tab) return false;
    size_t n = strcspn(tab, "\n");
    *f = (Fact){line, tab + 1, (int)(tab - line), (int)n - 1};
    *text = tab + n + (tab[n] == '\n');
    return true;
}

static bool find_fact(const char *text, const Fact *like, Fact *f) {
    while (next_fact(&text, f))
        if (f->name_length == like->name_length &&
            !memcmp(f->name, like->name, (size_t)f->name_length))
            return true;
    return false;
}

static bool is_sum(const Fact *f) { return !strncmp(f->name, content, sizeof content - 1); }
static bool equal(const Fact *a, const Fact *b) {
    return a->length == b->length && !memcmp(a->value, b->value, (size_t)a->length);
}

static int64_t length_of(const char *facts) {
    static const Fact names[] = {{"ids", "", 3, 0}, {"samples", "", 7, 0}};
    Fact f;
    for (int i = 0; i < 2; i++)
        if (find_fact(facts, &names[i], &f)) return strtoll(f.value, NULL, 10);
    return 0;
}

// Text under construction; what does not fit is cut.
typedef struct {
    char *at;
    size_t size;
} Told;

__attribute__((format(printf, 2, 3))) static void tell(const Told *to, const char *format, ...) {
    size_t used = strlen(to->at);
    va_list args;
    if (used) used += (size_t)snprintf(to->at + used, to->size - used, "; ");
    va_start(args, format);
    if (used < to->size) vsnprintf(to->at + used, to->size - used, format, args);
    va_end(args);
}

// What each line of one text says otherwise in another.
static void tell_changes(const char *had, const char *has, const Told *to) {
    for (Fact was, is; next_fact(&had, &was);) {
        bool there = find_fact(has, &was, &is);
        if (is_sum(&was)) {
            if (there && !equal(&was, &is)) tell(to, "the %.*s differs", was.name_length, was.name);
        } else if (!there) {
            tell(to, "%.*s: not there now", was.name_length, was.name);
        } else if (!equal(&was, &is)) {
            tell(to, "%.*s: %.*s then, %.*s now", was.name_length, was.name, was.length, was.value,
                 is.length, is.value);
        }
    }
}

static void tell_new(const char *had, const char *has, const Told *to) {
    for (Fact was, is; next_fact(&has, &is);)
        if (!is_sum(&is) && !find_fact(had, &is, &was))
            tell(to, "%.*s: not there then", is.name_length, is.name);
}

// Data that has grown is compared as it was, so that the sums are of the same places.
SnStatus sn_data_compare(SnData *d, const char *had, char *text, size_t size, SnError *e) {
    char *has = NULL;
    const Told to = {text, size};
    int64_t now = sn_data_ids(d), then = length_of(had);
    bool grown = then > 0 && now > then;
    *text = 0;
    SnStatus s = make_facts(d, grown ? then : now, &has, e);
    if (s) return s;
    tell_changes(had, has, &to);
    tell_new(had, has, &to);
    sn_plain(text); // what a checkpoint says may be anything
    free(has);
    if (grown)
        tell(&to, "it has grown: %" PRId64 " %s then, %" PRId64 " now%s", then,
             sn_data_tensors(d) ? "samples" : "ids", now,
             *text ? "" : "; what was there is the same");
    return SN_OK;
}

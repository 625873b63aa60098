// Checkpoints: DIR/step-NNNNNNNN.safetensors.
//
// A file holds every state that is carried over steps (weights, moments, statistics, counters)
// under its path, in its declared axis order, and as metadata the progress, the scalars of the run
// and the plan's options. That is all a run depends on, so a resumed run continues bit for bit.
//
// Writing goes to a temporary name in the same directory, is synced and renamed: the name either
// stands for a whole file or does not exist, whatever fails (disk full, kill -9, power). Old files
// go only after the new one is in place. Loading compares all names, types and shapes before the
// first byte of a state changes.
#define _GNU_SOURCE
#include "runtime/folder.h"
#include "runtime/safetensors.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KIND_ACCUM = 4, TEXT = 64 }; // ir's StateKind: sums of one step, never saved
static const char *const dtype_names[] = {"F32", "I32", "U32", "BOOL"};

static bool is_saved(const SnState *s) { return s->kind != KIND_ACCUM; }

// Scalars that follow from the progress.
static bool is_derived(const char *scalar) {
    const char *all[] = {"step", "accum", "first", "batch"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(scalar, all[i])) return true;
    return false;
}

// ---- metadata -----------------------------------------------------------------------------------

typedef struct {
    SnMeta *at;
    uint32_t n, limit;
    bool failed;
} MetaList;

static void meta_add(MetaList *m, const char *prefix, const char *key, const char *value) {
    char *k = NULL, *v = strdup(value);
    if (m->n == m->limit || asprintf(&k, "%s%s", prefix, key) < 0 || !v) {
        free(v);
        m->failed = true;
        return;
    }
    m->at[m->n++] = (SnMeta){k, v};
}

static void meta_add_number(MetaList *m, const char *key, uint64_t value) {
    char text[TEXT];
    snprintf(text, sizeof text, "%" PRIu64, value);
    meta_add(m, "sinter.", key, text);
}

static void meta_free(MetaList *m) {
    for (uint32_t i = 0; i < m->n; i++) {
        free((void *)(uintptr_t)m->at[i].key);
        free((void *)(uintptr_t)m->at[i].value);
    }
    free(m->at);
}

static void meta_fill(MetaList *m, SnExec *x, const SnProgress *at) {
    const SnPlan *p = sn_exec_plan(x);
    meta_add(m, "sinter.", "model", SN_STRING(p, p->model_name));
    meta_add_number(m, "step", at->step);
    meta_add_number(m, "samples", at->samples);
    meta_add_number(m, "seed", at->seed);
    meta_add_number(m, "accum", (uint64_t)at->accum);
    meta_add_number(m, "steps", at->total);
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const char *name = SN_STRING(p, SN_AT(p, SnScalar, scalars)[i].name);
        char text[TEXT];
        snprintf(text, sizeof text, "%.17g", sn_exec_get(x, name, 0));
        if (!is_derived(name)) meta_add(m, "scalar.", name, text);
    }
    for (uint32_t i = 0; i < p->options.count; i++) {
        const SnOption *o = &SN_AT(p, SnOption, options)[i];
        meta_add(m, "option.", SN_STRING(p, o->key), SN_STRING(p, o->value));
    }
}

// ---- saving -------------------------------------------------------------------------------------

static SnStatus read_state(const void *what, void *user, int64_t from, int64_t n, void *to,
                           SnError *e) {
    const SnState *s = what;
    return sn_exec_read(user, s->region, s->offset + from, to, n, e);
}

static SnTensor *collect_states(SnExec *x, uint32_t *n) {
    const SnPlan *p = sn_exec_plan(x);
    SnTensor *tensors = calloc((size_t)p->states.count + 1, sizeof *tensors);
    *n = 0;
    for (uint32_t i = 0; tensors && i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (!is_saved(s)) continue;
        SnTensor *t = &tensors[(*n)++];
        t->name = SN_STRING(p, s->path);
        t->dtype = dtype_names[s->elem];
        t->ndim = s->naxes;
        memcpy(t->shape, s->size, s->naxes * sizeof *s->size);
        t->data = sn_exec_at(x, s->region, s->offset);
        t->read = read_state;
        t->what = s;
        t->user = x;
    }
    return tensors;
}

static SnStatus write_states(SnExec *x, const SnProgress *at, int fd, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    uint32_t n;
    MetaList meta = {.limit = 8 + p->scalars.count + p->options.count};
    meta.at = calloc(meta.limit, sizeof *meta.at);
    SnTensor *tensors = collect_states(x, &n);
    if (meta.at) meta_fill(&meta, x, at);
    SnStatus s = SN_OK;
    if (!meta.at || !tensors || meta.failed)
        s = sn_fail(e, SN_MACHINE, "out of memory");
    else
        s = sn_st_write(fd, tensors, n, meta.at, meta.n, e);
    meta_free(&meta);
    free(tensors);
    return s;
}

static SnStatus write_temporary(SnExec *x, const SnProgress *at, const char *temporary,
                                SnError *e) {
    int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    SnStatus s = write_states(x, at, fd, e);
    if (!s && fsync(fd)) s = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    if (close(fd) && !s) s = sn_fail(e, SN_MACHINE, "%s", strerror(errno));
    return s;
}

// Step number of a checkpoint's file name, or -1.
static int64_t step_of_name(const char *name) {
    uint64_t step;
    int end = 0;
    if (sscanf(name, "step-%" SCNu64 ".safetensors%n", &step, &end) != 1 || !end || name[end])
        return -1;
    return step > INT64_MAX ? -1 : (int64_t)step;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// The steps of a directory's checkpoints, ascending; *n is their number. NULL when it cannot be
// read.
static int64_t *list_steps(const char *dir, size_t *n) {
    DIR *d = opendir(dir);
    size_t limit = 16;
    int64_t *steps = malloc(limit * sizeof *steps);
    *n = 0;
    for (struct dirent *entry; d && steps && (entry = readdir(d));) {
        int64_t step = step_of_name(entry->d_name);
        if (step < 0) continue;
        if (*n == limit) {
            int64_t *grown = realloc(steps, (limit *= 2) * sizeof *steps);
            if (!grown) free(steps);
            steps = grown;
        }
        if (steps) steps[(*n)++] = step;
    }
    if (d) closedir(d);
    if (!d || !steps) {
        free(steps);
        return NULL;
    }
    qsort(steps, *n, sizeof *steps, by_step);
    return steps;
}

static int step_path(char *to, size_t size, const char *dir, const char *prefix, int64_t step,
                     const char *suffix) {
    int n = snprintf(to, size, "%s/%sstep-%08" PRId64 ".safetensors%s", dir, prefix, step, suffix);
    return n >= 0 && (size_t)n < size;
}

int64_t sn_checkpoint_newest(const char *dir) {
    size_t n;
    int64_t *steps = list_steps(dir, &n), newest = steps && n ? steps[n - 1] : -1;
    free(steps);
    return newest;
}

// Removes what a killed run left half written. A directory belongs to one run at a time.
static void remove_temporary(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *name = entry->d_name, *end = strstr(name, ".safetensors.tmp");
        char path[PATH_MAX];
        if (strncmp(name, ".step-", 6) || !end || strcmp(end, ".safetensors.tmp")) continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, name);
        if (n > 0 && (size_t)n < sizeof path) (void)unlink(path);
    }
    if (d) closedir(d);
}

// Removes all but the `keep` newest, never the one just written. A file that cannot go is left.
static void remove_old(const char *dir, int keep, int64_t newest) {
    size_t n;
    int64_t *steps = list_steps(dir, &n);
    for (size_t i = 0; steps && n - i > (size_t)keep; i++) {
        char path[PATH_MAX];
        if (steps[i] != newest && step_path(path, sizeof path, dir, "", steps[i], ""))
            (void)unlink(path);
    }
    free(steps);
}

SnStatus sn_checkpoint_save(SnExec *x, const SnProgress *at, const char *dir, int keep, char *path,
                            size_t path_size, SnError *e) {
    char temporary[PATH_MAX];
    SnError inner = {0};
    if (!step_path(path, path_size, dir, "", (int64_t)at->step, "") ||
        !step_path(temporary, sizeof temporary, dir, ".", (int64_t)at->step, ".tmp"))
        return sn_fail(e, SN_USER, "the name of the directory '%.200s' is too long", dir);
    if (!sn_folder_make(dir))
        return sn_fail(e, SN_MACHINE, "cannot make '%s': %s", dir, strerror(errno));
    SnStatus s = write_temporary(x, at, temporary, &inner);
    if (!s && rename(temporary, path)) s = sn_fail(&inner, SN_MACHINE, "%s", strerror(errno));
    if (s) {
        (void)unlink(temporary);
        return sn_fail(e, s, "cannot write the checkpoint '%s': %s", path, inner.text);
    }
    if (!sn_folder_sync(dir))
        return sn_fail(e, SN_MACHINE, "cannot sync '%s': %s", dir, strerror(errno));
    remove_temporary(dir);
    if (keep > 0) remove_old(dir, keep, (int64_t)at->step);
    return SN_OK;
}

// ---- loading ------------------------------------------------------------------------------------

static void shape_text(const int64_t *size, uint32_t n, const char *dtype, char *to, size_t limit) {
    int used = snprintf(to, limit, "%s[", dtype);
    for (uint32_t i = 0; i < n && used >= 0 && (size_t)used < limit; i++)
        used += snprintf(to + used, limit - (size_t)used, "%s%" PRId64, i ? ", " : "", size[i]);
    if (used >= 0 && (size_t)used < limit) snprintf(to + used, limit - (size_t)used, "]");
}

static SnStatus compare_state(const SnPlan *p, const SnState *s, const SnSafetensors *st,
                              SnError *e) {
    const char *name = SN_STRING(p, s->path);
    const SnTensorInfo *t = sn_st_find(st, name);
    if (!t) return sn_fail(e, SN_USER, "it lacks '%s', which the model has", name);
    bool equal = t->ndim == s->naxes && !strcmp(t->dtype, dtype_names[s->elem]) &&
                 !memcmp(t->shape, s->size, s->naxes * sizeof *s->size);
    if (equal) return SN_OK;
    char in_file[256], in_model[256];
    shape_text(t->shape, t->ndim, t->dtype, in_file, sizeof in_file);
    shape_text(s->size, s->naxes, dtype_names[s->elem], in_model, sizeof in_model);
    return sn_fail(e, SN_USER, "'%s' is %s there, %s in the model", name, in_file, in_model);
}

static const SnState *find_state(const SnPlan *p, const char *name) {
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (is_saved(s) && !strcmp(SN_STRING(p, s->path), name)) return s;
    }
    return NULL;
}

static SnStatus compare_all(const SnPlan *p, const SnSafetensors *st, SnError *e) {
    uint32_t saved = 0;
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (!is_saved(s)) continue;
        saved++;
        SnStatus status = compare_state(p, s, st, e);
        if (status) return status;
    }
    if (sn_st_count(st) == saved) return SN_OK;
    for (uint32_t i = 0; i < sn_st_count(st); i++)
        if (!find_state(p, sn_st_at(st, i)->name))
            return sn_fail(e, SN_USER, "it has '%s', which the model lacks", sn_st_at(st, i)->name);
    return SN_OK;
}

static SnStatus read_number(const SnSafetensors *st, const char *key, uint64_t *to, SnError *e) {
    const char *text = sn_st_metadata(st, key);
    char *end;
    errno = 0;
    if (text && *text >= '0' && *text <= '9') {
        *to = strtoull(text, &end, 10);
        if (!errno && !*end) return SN_OK;
    }
    return sn_fail(e, SN_USER,
                   "it is no checkpoint of a run: metadata '%s' is missing or no number", key);
}

static SnStatus read_progress(const SnSafetensors *st, SnProgress *at, SnError *e) {
    uint64_t accum = 0;
    SnStatus s = read_number(st, "sinter.step", &at->step, e);
    if (!s) s = read_number(st, "sinter.samples", &at->samples, e);
    if (!s) s = read_number(st, "sinter.seed", &at->seed, e);
    if (!s) s = read_number(st, "sinter.accum", &accum, e);
    if (!s) s = read_number(st, "sinter.steps", &at->total, e);
    if (!s && (accum < 1 || accum > INT32_MAX || at->step >= UINT32_MAX ||
               at->total >= UINT32_MAX || at->samples > INT64_MAX))
        s = sn_fail(e, SN_USER, "its progress is out of range");
    at->accum = (int64_t)accum;
    return s;
}

static void read_scalars(SnExec *x, const SnSafetensors *st) {
    const SnPlan *p = sn_exec_plan(x);
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const char *name = SN_STRING(p, SN_AT(p, SnScalar, scalars)[i].name);
        char key[256], *end;
        snprintf(key, sizeof key, "scalar.%s", name);
        const char *text = sn_st_metadata(st, key);
        double value = text ? strtod(text, &end) : 0;
        if (text && end != text && isfinite(value)) sn_exec_set(x, name, value);
    }
}

static SnStatus load_state(SnExec *x, SnSafetensors *st, const SnTensorInfo *t, const SnState *to,
                           SnError *e) {
    void *at = sn_exec_at(x, to->region, to->offset);
    if (at) return sn_st_read(st, t, 0, t->bytes, at, e);
    SnStatus s = SN_OK;
    char *piece = malloc(SN_ST_PIECE);
    if (!piece) return sn_fail(e, SN_MACHINE, "out of memory");
    for (uint64_t from = 0; from < t->bytes && !s; from += SN_ST_PIECE) {
        uint64_t n = t->bytes - from < SN_ST_PIECE ? t->bytes - from : SN_ST_PIECE;
        s = sn_st_read(st, t, from, n, piece, e);
        if (!s) s = sn_exec_write(x, to->region, to->offset + (int64_t)from, piece, (int64_t)n, e);
    }
    free(piece);
    return s;
}

static SnStatus load_file(SnExec *x, SnSafetensors *st, SnProgress *at, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    SnProgress progress = {0};
    SnStatus s = read_progress(st, &progress, e);
    if (!s) s = compare_all(p, st, e);
    for (uint32_t i = 0; i < sn_st_count(st) && !s; i++) {
        const SnTensorInfo *t = sn_st_at(st, i);
        const SnState *state = find_state(p, t->name);
        s = load_state(x, st, t, state, e);
    }
    if (s) return s;
    read_scalars(x, st);
    *at = progress;
    return SN_OK;
}

// The file itself, or the newest checkpoint of the directory.
static SnStatus find_file(const char *name, char *path, size_t size, SnError *e) {
    struct stat info;
    if (stat(name, &info)) return sn_fail(e, SN_USER, "%s: %s", name, strerror(errno));
    if (!S_ISDIR(info.st_mode)) {
        int n = snprintf(path, size, "%s", name);
        return (size_t)n < size ? SN_OK
                                : sn_fail(e, SN_USER, "the name '%.200s' is too long", name);
    }
    size_t n;
    int64_t *steps = list_steps(name, &n);
    bool good = steps && n && step_path(path, size, name, "", steps[n - 1], "");
    free(steps);
    return good ? SN_OK : sn_fail(e, SN_USER, "there is no checkpoint in '%s'", name);
}

SnStatus sn_checkpoint_load(SnExec *x, const char *file_or_dir, SnProgress *at, char *path,
                            size_t path_size, SnError *e) {
    SnSafetensors *st = NULL;
    SnError inner = {0};
    SnStatus s = find_file(file_or_dir, path, path_size, e);
    if (s) return s;
    s = sn_st_open(path, &st, e);
    if (s) return s;
    s = load_file(x, st, at, &inner);
    sn_st_close(st);
    return s ? sn_fail(e, s, "checkpoint '%s': %s", path, inner.text) : SN_OK;
}

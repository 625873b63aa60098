// What stands in a checkpoint.
//
// A file holds every state that is carried over steps (weights, moments, statistics, counters)
// under its path, in its declared axis order, and as metadata the progress, the scalars of the run,
// the plan's options, the axes of each state and checksums (safetensors.h). That is all a run depends
// on, so a resumed run continues bit for bit.
//
// Reading looks for damage first, then compares all states with the model's and says everything that
// differs, then reads, summing what it reads. Files of an older Sinter have neither axes nor checksums.
#define _GNU_SOURCE
#include "runtime/files/checkpoint.h"
#include "runtime/elem.h"
#include "runtime/files/json.h"
#include "runtime/files/meta.h"
#include "runtime/setting.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 64 };

static bool is_saved(const SnState *s) {
    return s->kind != SN_STATE_ACCUM && s->kind != SN_STATE_SHADOW;
}

// Scalars that follow from the progress.
static bool is_derived(const char *scalar) {
    const char *all[] = {"step", "accum", "first", "batch", "valid", "position"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(scalar, all[i])) return true;
    return false;
}

// ---- writing ------------------------------------------------------------------------------------

static void meta_fill(SnMetaList *m, SnExec *x, const SnProgress *at) {
    const SnPlan *p = sn_exec_plan(x);
    sn_meta_add(m, "sinter.", "model", SN_STRING(p, p->model_name));
    sn_meta_number(m, "sinter.", "step", at->step);
    sn_meta_number(m, "sinter.", "samples", at->samples);
    sn_meta_number(m, "sinter.", "seed", at->seed);
    sn_meta_number(m, "sinter.", "accum", (uint64_t)at->accum);
    sn_meta_number(m, "sinter.", "steps", at->total);
    if (at->data) sn_meta_add(m, "sinter.", "data", at->data);
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const char *name = SN_STRING(p, SN_AT(p, SnScalar, scalars)[i].name);
        char text[TEXT];
        snprintf(text, sizeof text, "%.17g", sn_exec_get(x, name, 0));
        if (!is_derived(name)) sn_meta_add(m, "scalar.", name, text);
    }
    for (uint32_t i = 0; i < p->options.count; i++) {
        const SnOption *o = &SN_AT(p, SnOption, options)[i];
        sn_meta_add(m, "option.", SN_STRING(p, o->key), SN_STRING(p, o->value));
    }
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (!is_saved(s)) continue;
        sn_meta_axes(m, p, SN_STRING(p, s->path), s->axis, s->naxes, 0);
    }
}

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
        t->dtype = sn_elem_info[s->elem].dtype;
        t->ndim = s->naxes;
        memcpy(t->shape, s->size, s->naxes * sizeof *s->size);
        t->data = sn_exec_at(x, s->region, s->offset);
        t->read = read_state;
        t->what = s;
        t->user = x;
    }
    return tensors;
}

SnStatus sn_checkpoint_write(SnExec *x, const SnProgress *at, int fd, SnError *e) {
    uint32_t n;
    SnMetaList meta = {0};
    SnTensor *tensors = collect_states(x, &n);
    meta_fill(&meta, x, at);
    SnStatus s = SN_OK;
    if (!tensors || meta.failed)
        s = sn_fail(e, SN_MACHINE, "out of memory");
    else
        s = sn_st_write(fd, tensors, n, meta.at, meta.n, e);
    sn_meta_free(&meta);
    free(tensors);
    return s;
}

// ---- the metadata -------------------------------------------------------------------------------

static SnStatus read_number(const SnSafetensors *st, const char *key, uint64_t *to, SnError *e) {
    const char *text = sn_st_metadata_of(st, "sinter", key);
    char *end;
    errno = 0;
    if (text && *text >= '0' && *text <= '9') {
        *to = strtoull(text, &end, 10);
        if (!errno && !*end) return SN_OK;
    }
    if (!text)
        return sn_fail(e, SN_USER, "it is no checkpoint of a run: the metadata lacks 'sinter.%s'",
                       key);
    return sn_fail(e, SN_USER, "metadata 'sinter.%s' is no number: '%.64s'", key, text);
}

// A number that the command line could give too: what it may be says the same row.
static SnStatus read_setting(const SnSafetensors *st, SnSettingId id, uint64_t *to, SnError *e) {
    const SnSetting *s = &sn_settings[id];
    char allowed[96];
    SnStatus status = read_number(st, s->key, to, e);
    if (status || sn_setting_number(s, (double)*to)) return status;
    sn_setting_allowed(s, allowed, sizeof allowed);
    return sn_fail(e, SN_USER, "metadata 'sinter.%s' is %s, not %" PRIu64, s->key, allowed, *to);
}

static SnStatus read_progress(const SnSafetensors *st, SnProgress *at, SnError *e) {
    uint64_t accum = 0;
    SnStatus s = read_number(st, "step", &at->step, e);
    if (!s) s = read_number(st, "samples", &at->samples, e);
    if (!s) s = read_setting(st, SN_SET_seed, &at->seed, e);
    if (!s) s = read_setting(st, SN_SET_accum, &accum, e);
    if (!s) s = read_setting(st, SN_SET_steps, &at->total, e);
    if (!s && (at->step >= UINT32_MAX || at->samples > INT64_MAX))
        s = sn_fail(e, SN_USER, "its progress is out of range");
    at->accum = (int64_t)accum;
    return s;
}

// *there: the file has it; a schedule that the model has now may have other scalars.
static SnStatus read_scalar(const SnSafetensors *st, const char *name, double *to, bool *there,
                            SnError *e) {
    const char *text = sn_st_metadata_of(st, "scalar", name);
    const SnSetting *s = sn_setting_find(name);
    char allowed[96];
    *there = text && !is_derived(name);
    if (!*there) return SN_OK;
    if (!sn_number(text, to) || !isfinite(*to))
        return sn_fail(e, SN_USER, "metadata 'scalar.%.200s' is no number: '%.64s'", name, text);
    // the largest count is written as the f32 above it
    if (!s || sn_setting_number(s, *to == -(double)INT32_MIN ? INT32_MAX : *to)) return SN_OK;
    sn_setting_allowed(s, allowed, sizeof allowed);
    return sn_fail(e, SN_USER, "metadata 'scalar.%.200s' is %s, not '%.64s'", name, allowed, text);
}

static SnStatus check_scalars(const SnSafetensors *st, SnError *e) {
    SnStatus s = SN_OK;
    const char *prefix = "scalar.";
    for (uint32_t i = 0; i < sn_st_metas(st) && !s; i++) {
        const char *key = sn_st_meta(st, i)->key;
        double value;
        bool there;
        if (!strncmp(key, prefix, strlen(prefix)))
            s = read_scalar(st, key + strlen(prefix), &value, &there, e);
    }
    return s;
}

static void take_scalars(SnExec *x, const SnSafetensors *st) {
    const SnPlan *p = sn_exec_plan(x);
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const char *name = SN_STRING(p, SN_AT(p, SnScalar, scalars)[i].name);
        double value;
        bool there;
        if (!read_scalar(st, name, &value, &there, NULL) && there) sn_exec_set(x, name, value);
    }
}

// ---- the states, compared -----------------------------------------------------------------------

// What is wrong in one way: the first few in words, all counted.
typedef struct {
    uint32_t n;
    size_t used;
    char text[280];
} Wrong;

static void wrong_add(Wrong *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong_add(Wrong *w, const char *format, ...) {
    enum { SHOWN = 4 };
    char item[200];
    va_list args;
    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    bool fits = w->used + strlen(item) + 8 < sizeof w->text;
    if (w->n < SHOWN && (fits || !w->n))
        w->used += (size_t)snprintf(w->text + w->used, sizeof w->text - w->used, "%s%s",
                                    w->n ? ", " : "", item);
    else if (w->used + 6 < sizeof w->text && strcmp(w->text + w->used - 5, ", ..."))
        w->used += (size_t)snprintf(w->text + w->used, sizeof w->text - w->used, ", ...");
    w->n++;
}

static void shape_text(const int64_t *size, uint32_t n, const char *dtype, const char *axes,
                       char *to, size_t limit) {
    size_t used = (size_t)snprintf(to, limit, "%s[", dtype);
    for (uint32_t i = 0; i < n && used < limit; i++)
        used += (size_t)snprintf(to + used, limit - used, "%s%" PRId64, i ? ", " : "", size[i]);
    if (used < limit) used += (size_t)snprintf(to + used, limit - used, "]");
    if (used < limit && axes && n) snprintf(to + used, limit - used, " (%s)", axes);
}

// Which of the model's element types a file's is; SN_ELEMS: none.
static uint32_t elem_of(const char *dtype) {
    uint32_t e = 0;
    while (e < SN_ELEMS && strcmp(sn_elem_info[e].dtype, dtype)) e++;
    return e;
}

// A float is read as any other, rounded where it must be: the plan of the run may say now 'moments = bf16'.
static bool fits_type(const SnState *s, const SnTensorInfo *t) {
    uint32_t e = elem_of(t->dtype);
    return e == s->elem || (e < SN_ELEMS && sn_elem_info[e].kind == SN_KIND_FLOAT &&
                            sn_elem_info[s->elem].kind == SN_KIND_FLOAT);
}

// False: memory is short.
static bool compare_state(const SnPlan *p, const SnState *s, const SnSafetensors *st,
                          const SnTensorInfo *t, Wrong *other) {
    const char *name = SN_STRING(p, s->path), *there = sn_st_metadata_of(st, "axes", name);
    char *axes = sn_axes_text(p, s->axis, s->naxes, 0);
    if (!axes) return false;
    bool same = t->ndim == s->naxes && fits_type(s, t) &&
                !memcmp(t->shape, s->size, s->naxes * sizeof *s->size) &&
                (!there || !strcmp(there, axes));
    if (!same) {
        char in_file[128], in_model[128];
        shape_text(t->shape, t->ndim, t->dtype, there, in_file, sizeof in_file);
        shape_text(s->size, s->naxes, sn_elem_info[s->elem].dtype, axes, in_model, sizeof in_model);
        wrong_add(other, "'%s' is %s there, %s in the model", name, in_file, in_model);
    }
    free(axes);
    return true;
}

// A state of the loss scale. A plan may have another one than the file, or none: it is no part of the model.
static bool is_scale(const char *name) {
    static const char *const names[] = {"loss_scale", "loss_scale.run", "loss_scale.held",
                                        "loss_scale.steps"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

// All that differs, at once. states: which one each tensor of the file is, in their order. *anew: the file
// lacks a state of the loss scale.
static SnStatus compare_states(const SnPlan *p, const SnSafetensors *st, const SnState **states,
                               bool *anew, SnError *e) {
    Wrong missing = {0}, extra = {0}, other = {0};
    char text[1000] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        const char *name = SN_STRING(p, s->path);
        const SnTensorInfo *t = sn_st_find(st, name);
        if (!is_saved(s)) continue;
        if (!t && s->kind == SN_STATE_COUNTER && is_scale(name))
            *anew = true;
        else if (!t)
            wrong_add(&missing, "'%s'", name);
        else if (compare_state(p, s, st, t, &other))
            states[t - sn_st_at(st, 0)] = s;
        else
            return sn_fail(e, SN_MACHINE, "out of memory");
    }
    for (uint32_t i = 0; i < sn_st_count(st); i++)
        if (!states[i] && !is_scale(sn_st_at(st, i)->name))
            wrong_add(&extra, "'%s'", sn_st_at(st, i)->name);
    const struct {
        const Wrong *w;
        const char *what;
    } all[] = {{&missing, "it lacks"},
               {&extra, "the model lacks"},
               {&other, "of another type, shape or order of axes"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].w->n)
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "%s%s %" PRIu32 " state%s: %s", used ? "; " : "", all[i].what,
                                     all[i].w->n, all[i].w->n == 1 ? "" : "s", all[i].w->text);
    if (!used) return SN_OK;
    bool others = missing.n || extra.n;
    return sn_fail(e, SN_USER, "it is of another model: %s%s", text,
                   others ? "; is the optimizer, 'freeze' or the number of layers another?" : "");
}

// ---- reading ------------------------------------------------------------------------------------

// All of a tensor into a state of another element type, summing it. piece: twice SN_ST_PIECE.
static SnStatus read_converted(SnExec *x, SnSafetensors *st, const SnTensorInfo *t,
                               const SnState *to, char *piece, SnError *e) {
    const uint32_t there = elem_of(t->dtype);
    const SnElemInfo *in = &sn_elem_info[there], *out = &sn_elem_info[to->elem];
    char *made = piece + SN_ST_PIECE;
    const uint64_t most = SN_ST_PIECE / 4; // elements, of four bytes at most
    SnXxh64 sum;
    sn_xxh64_begin(&sum);
    for (uint64_t from = 0, all = t->bytes / in->bytes, n; from < all; from += n) {
        n = all - from < most ? all - from : most;
        SnStatus s = sn_st_read(st, t, from * in->bytes, n * in->bytes, piece, e);
        if (s) return s;
        sn_xxh64_add(&sum, piece, n * in->bytes);
        for (uint64_t i = 0; i < n; i++)
            sn_elem_set(to->elem, made + i * out->bytes, sn_elem_get(there, piece + i * in->bytes));
        s = sn_exec_write(x, to->region, to->offset + (int64_t)(from * out->bytes), made,
                          (int64_t)(n * out->bytes), e);
        if (s) return s;
    }
    return sn_st_check_sum(st, t, &sum, e);
}

// All of a tensor into a state, or nowhere, summing it.
static SnStatus read_tensor(SnExec *x, SnSafetensors *st, const SnTensorInfo *t, const SnState *to,
                            char *piece, SnError *e) {
    if (to && elem_of(t->dtype) != to->elem) return read_converted(x, st, t, to, piece, e);
    char *host = to ? sn_exec_at(x, to->region, to->offset) : NULL;
    SnXxh64 sum;
    sn_xxh64_begin(&sum);
    for (uint64_t from = 0; from < t->bytes; from += SN_ST_PIECE) {
        uint64_t n = t->bytes - from < SN_ST_PIECE ? t->bytes - from : SN_ST_PIECE;
        char *at = host ? host + from : piece;
        SnStatus s = sn_st_read(st, t, from, n, at, e);
        if (!s && to && !host)
            s = sn_exec_write(x, to->region, to->offset + (int64_t)from, at, (int64_t)n, e);
        if (s) return s;
        sn_xxh64_add(&sum, at, n);
    }
    return sn_st_check_sum(st, t, &sum, e);
}

// states NULL: nowhere.
static SnStatus read_tensors(SnExec *x, SnSafetensors *st, const SnState **states, SnError *e) {
    char *piece = malloc(2 * SN_ST_PIECE);
    SnStatus s = piece ? SN_OK : sn_fail(e, SN_MACHINE, "out of memory");
    for (uint32_t i = 0; i < sn_st_count(st) && !s; i++)
        s = read_tensor(x, st, sn_st_at(st, i), states ? states[i] : NULL, piece, e);
    free(piece);
    return s;
}

// The first values of a loss scale that the file has none of. All steps so far count as taken.
static SnStatus begin_scale(SnExec *x, uint64_t step, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    int32_t steps = step > INT32_MAX ? INT32_MAX : (int32_t)step;
    SnStatus s = sn_exec_run(x, "init", &(SnEnv){0}, e);
    for (uint32_t i = 0; i < p->states.count && !s; i++) {
        const SnState *to = &SN_AT(p, SnState, states)[i];
        if (!strcmp(SN_STRING(p, to->path), "loss_scale.steps"))
            s = sn_exec_write(x, to->region, to->offset, &steps, sizeof steps, e);
    }
    return s;
}

static SnStatus restore(SnExec *x, SnSafetensors *st, uint64_t step, bool *damaged, SnError *e) {
    const SnState **states = calloc((size_t)sn_st_count(st) + 1, sizeof *states);
    bool anew = false;
    if (!states) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = compare_states(sn_exec_plan(x), st, states, &anew, e);
    if (!s && anew) s = begin_scale(x, step, e);
    if (!s) {
        s = read_tensors(x, st, states, e);
        *damaged = s == SN_USER;
        if (!s) s = sn_exec_run(x, "refresh", &(SnEnv){0}, e);
    }
    free(states);
    return s;
}

SnStatus sn_checkpoint_read(SnExec *x, SnSafetensors *st, SnProgress *at, bool *damaged,
                            SnError *e) {
    SnProgress progress = {0};
    SnStatus s = sn_st_check_metadata(st, e);
    if (!s) s = read_progress(st, &progress, e);
    if (!s) s = check_scalars(st, e);
    if (!s && !x) s = read_tensors(NULL, st, NULL, e);
    *damaged = s == SN_USER;
    if (!s && x) s = restore(x, st, progress.step, damaged, e);
    if (s || !x) return s;
    const char *data = sn_st_metadata(st, "sinter.data");
    if (data && !(progress.data = strdup(data))) return sn_fail(e, SN_MACHINE, "out of memory");
    take_scalars(x, st);
    *at = progress;
    return SN_OK;
}

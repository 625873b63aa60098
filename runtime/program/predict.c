// Writes the outputs of a model over its data as a safetensors file: a tensor for each output, its samples
// first and in the order of the data.
//
// A file tells its shapes in front and its tensors lie one behind the other; how many samples there are is
// known, so the header is written first and every micro-batch then adds to the end of each tensor. Memory is
// what one micro-batch takes, whatever the length of the data. Only samples that exist are written of the
// last one. An output whose type lacks the sample axis is one tensor for all samples, written at the end.
//
// The file has a name of its own until it is whole, is synced and renamed.
#define _GNU_SOURCE
#include "runtime/core/bind.h"
#include "runtime/elem.h"
#include "runtime/files/file.h"
#include "runtime/files/json.h"
#include "runtime/files/meta.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const sections[] = {"predict_prologue", "predict_micro", "predict_finish"};

static bool is_of_prediction(const SnPlan *p, const SnPort *port) {
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (!strcmp(SN_STRING(p, port->section), sections[i])) return true;
    return false;
}

SnStatus sn_predict_spec(const SnPlan *plan, SnDataSpec *spec, SnError *e) {
    if (!sn_plan_section(plan, "predict_micro"))
        return sn_fail(e, SN_USER,
                       "this program has nothing to predict: in the model, 'output NAME = VALUE' "
                       "says what is wanted");
    spec->closed = true;
    for (uint32_t i = 0; i < plan->inputs.count; i++) {
        const SnPort *port = &SN_AT(plan, SnPort, inputs)[i];
        SnBind b;
        if (!is_of_prediction(plan, port)) continue;
        SnStatus s = sn_bind(plan, port, spec->kind, &b, e);
        if (s) return s;
        spec->closed &= b.kind != SN_BIND_NEXT;
    }
    return SN_OK;
}

// ---- outputs ------------------------------------------------------------------------------------

typedef struct {
    SnExec *x;
    const SnPlan *plan;
    uint32_t n;
    SnTensor *tensors;
    SnMetaList meta;
    SnStWriter *writer;
    char *raw, *rows; // one output as it lies in memory; its samples first
    int64_t samples;
    const SnPredict *given;
} Predict;

static SnStatus out_of_memory(SnError *e) { return sn_fail(e, SN_MACHINE, "out of memory"); }

static void add_tensor(Predict *p, const SnPort *port) {
    SnTensor *t = &p->tensors[p->n++];
    *t = (SnTensor){.name = SN_STRING(p->plan, port->name),
                    .dtype = sn_elem_info[port->elem].dtype,
                    .ndim = port->naxes,
                    .what = port};
    uint32_t at = 0;
    if (port->sample) t->shape[at++] = p->samples;
    for (uint32_t i = 0; i < port->naxes; i++)
        if (i + 1 != port->sample) t->shape[at++] = port->size[i];
    sn_meta_axes(&p->meta, p->plan, t->name, port->axis, port->naxes, port->sample - 1u);
}

static SnStatus collect(Predict *p, SnError *e) {
    size_t most = 1;
    p->tensors = calloc((size_t)p->plan->outputs.count + 1, sizeof *p->tensors);
    if (!p->tensors) return out_of_memory(e);
    for (uint32_t i = 0; i < p->plan->outputs.count; i++) {
        const SnPort *port = &SN_AT(p->plan, SnPort, outputs)[i];
        if (!is_of_prediction(p->plan, port)) continue;
        if (!strcmp(SN_STRING(p->plan, port->name), "__metadata__"))
            return sn_fail(e, SN_USER,
                           "a safetensors file has no place for an output called '__metadata__'");
        if ((size_t)port->bytes > most) most = (size_t)port->bytes;
        add_tensor(p, port);
    }
    p->raw = malloc(most);
    p->rows = malloc(most);
    return p->raw && p->rows ? SN_OK : out_of_memory(e);
}

static SnStatus describe(Predict *p, const SnProgress *at, SnError *e) {
    sn_meta_add(&p->meta, "sinter.", "model", SN_STRING(p->plan, p->plan->model_name));
    sn_meta_number(&p->meta, "sinter.", "step", at->step);
    sn_meta_add(&p->meta, "sinter.", "checkpoint", p->given->checkpoint);
    return p->meta.failed ? out_of_memory(e) : SN_OK;
}

// The first `count` samples, one behind the other.
static SnStatus put_samples(Predict *p, uint32_t i, int64_t count, SnError *e) {
    const SnPort *port = p->tensors[i].what;
    int64_t outer = 1, inner = sn_st_item(p->tensors[i].dtype), held = port->size[port->sample - 1];
    SnStatus s = sn_exec_read(p->x, port->region, port->offset, p->raw, port->bytes, e);
    if (s) return s;
    for (uint32_t k = 0; k + 1u < port->sample; k++) outer *= port->size[k];
    for (uint32_t k = port->sample; k < port->naxes; k++) inner *= port->size[k];
    if (outer == 1) return sn_st_put(p->writer, i, p->raw, (uint64_t)(count * inner), e);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < count; k++)
            memcpy(p->rows + (k * outer + o) * inner, p->raw + (o * held + k) * inner,
                   (size_t)inner);
    return sn_st_put(p->writer, i, p->rows, (uint64_t)(count * outer * inner), e);
}

static SnStatus take_micro(void *user, int64_t first, int64_t count, SnError *e) {
    Predict *p = user;
    SnStatus s = SN_OK;
    for (uint32_t i = 0; i < p->n && !s; i++)
        if (((const SnPort *)p->tensors[i].what)->sample) s = put_samples(p, i, count, e);
    if (!s && p->given->tell) p->given->tell(p->given->user, first + count, p->samples);
    return s;
}

static SnStatus take_rest(Predict *p, SnError *e) {
    SnStatus s = SN_OK;
    for (uint32_t i = 0; i < p->n && !s; i++) {
        const SnPort *port = p->tensors[i].what;
        if (port->sample) continue;
        s = sn_exec_read(p->x, port->region, port->offset, p->raw, port->bytes, e);
        if (!s) s = sn_st_put(p->writer, i, p->raw, (uint64_t)port->bytes, e);
    }
    return s;
}

// "logits F32[10000, 10], …", what does not fit left out.
static void list_tensors(const Predict *p, char *to, size_t size) {
    SnText t = {0};
    for (uint32_t i = 0; i < p->n; i++) {
        const SnTensor *x = &p->tensors[i];
        sn_text_add(&t, "%s%s %s[", i ? ", " : "", x->name, x->dtype);
        for (uint32_t k = 0; k < x->ndim; k++)
            sn_text_add(&t, "%s%" PRId64, k ? ", " : "", x->shape[k]);
        sn_text_add(&t, "]");
    }
    snprintf(to, size, "%s", t.text ? t.text : "");
    free(t.text);
}

// ---- the file -----------------------------------------------------------------------------------

// What is replaced is a file, and none that this run reads.
static SnStatus check_path(const SnPredict *p, char *path, SnError *e) {
    struct stat info;
    if (snprintf(path, PATH_MAX, "%s", p->path) >= PATH_MAX)
        return sn_fail(e, SN_USER, "--predict: the name '%.200s' is too long", p->path);
    if (!strcmp(p->path, "-"))
        return sn_fail(e, SN_USER,
                       "--predict writes a file, not the output; './-' is a file of that name");
    if (stat(p->path, &info)) {
        if (lstat(p->path, &info)) return SN_OK;
        return sn_fail(e, SN_USER, "--predict: '%.600s' is a link that leads nowhere", p->path);
    }
    if (!S_ISREG(info.st_mode))
        return sn_fail(e, SN_USER, "--predict: '%.600s' is there and is not a file", p->path);
    if (sn_file_same(p->path, p->checkpoint) || sn_data_reads(p->data, p->path))
        return sn_fail(e, SN_USER, "--predict: '%.600s' is what is read", p->path);
    char *real = realpath(p->path, NULL); // where a link leads
    if (real) snprintf(path, PATH_MAX, "%s", real);
    free(real);
    return SN_OK;
}

static SnStatus open_file(const char *path, char *temporary, int *fd, SnError *e) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    const char *name = slash ? path + (slash - dir) + 1 : path;
    if (slash) slash[slash == dir] = 0;
    return sn_file_temporary(slash ? dir : ".", name, temporary, PATH_MAX, fd, e);
}

static SnStatus fill(Predict *p, SnTrainer *t, int fd, SnError *e) {
    SnStatus s = sn_st_begin(fd, p->tensors, p->n, p->meta.at, p->meta.n, &p->writer, e);
    if (!s) s = sn_trainer_predict(t, take_micro, p, e);
    if (!s) s = take_rest(p, e);
    return s ? s : sn_st_end(p->writer, e);
}

static SnStatus write_file(Predict *p, SnTrainer *t, SnError *e) {
    char path[PATH_MAX], temporary[PATH_MAX];
    SnError inner = {0};
    int fd;
    SnStatus s = check_path(p->given, path, e);
    if (!s) s = open_file(path, temporary, &fd, e);
    if (s) return s;
    s = sn_file_finish(fd, temporary, path, fill(p, t, fd, &inner), &inner);
    return s ? sn_fail(e, s, "'%.600s' is not written: %s", p->given->path, inner.text) : SN_OK;
}

SnStatus sn_predict(SnExec *x, SnTrainer *t, int64_t samples, SnPredict *given, SnError *e) {
    const SnProgress at = sn_trainer_progress(t);
    Predict p = {.x = x, .plan = sn_exec_plan(x), .samples = samples, .given = given};
    SnStatus s = collect(&p, e);
    if (!s) s = describe(&p, &at, e);
    if (!s) s = write_file(&p, t, e);
    if (!s) list_tensors(&p, given->written, sizeof given->written);
    sn_st_drop(p.writer);
    sn_meta_free(&p.meta);
    free(p.tensors);
    free(p.raw);
    free(p.rows);
    return s;
}

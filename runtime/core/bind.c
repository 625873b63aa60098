// Binds inputs to data (bind.h). Shapes are checked once here, so that filling a micro-batch cannot
// fail. Filling is linear in the input's size.
#include "runtime/core/bind.h"
#include "runtime/elem.h"
#include <stdio.h>
#include <string.h>

static SnStatus bind_field(const SnPlan *plan, SnDataKind data, SnBind *b, SnError *e) {
    static const struct {
        const char *name;
        SnBindKind kind;
    } fields[] = {{"tokens", SN_BIND_WINDOW}, {"targets", SN_BIND_NEXT}, {"window", SN_BIND_WINDOW},
                  {"next", SN_BIND_NEXT},     {"ones", SN_BIND_ONES},    {"zeros", SN_BIND_ZEROS}};
    const char *name = SN_STRING(plan, b->port->name);
    char key[256];
    snprintf(key, sizeof key, "input.%s", name);
    b->field = sn_plan_option(plan, key, name);
    for (size_t i = data == SN_DATA_TENSORS ? 4 : 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(b->field, fields[i].name)) {
            b->kind = fields[i].kind;
            return SN_OK;
        }
    b->kind = SN_BIND_TENSOR;
    if (data == SN_DATA_TENSORS) return SN_OK;
    return sn_fail(e, SN_USER,
                   "input '%s': the data has no field '%s'; it has 'tokens' and 'targets'", name,
                   b->field);
}

static SnStatus bind_shape(const SnPlan *plan, SnBind *b, SnError *e) {
    const SnPort *p = b->port;
    const char *name = SN_STRING(plan, p->name);
    if (!p->sample) return sn_fail(e, SN_USER, "input '%s' has no sample axis", name);
    uint32_t sample = p->sample - 1u;
    int64_t stride = 1, others = 1;
    for (uint32_t i = p->naxes; i-- > 0; stride *= p->size[i]) {
        if (i == sample) {
            b->sample_stride = stride;
        } else {
            b->window_stride = stride;
            others *= p->size[i];
        }
    }
    b->samples = p->size[sample];
    b->window = others;
    bool ids = b->kind == SN_BIND_WINDOW || b->kind == SN_BIND_NEXT;
    if (ids && p->naxes != 2)
        return sn_fail(e, SN_USER,
                       "input '%s' takes tokens and needs two axes: samples and positions", name);
    if (ids && p->elem != SN_ELEM_i32)
        return sn_fail(e, SN_USER, "input '%s' takes tokens and must be integer", name);
    if (b->kind == SN_BIND_TENSOR && sample != 0)
        return sn_fail(e, SN_USER, "input '%s': the sample axis must come first", name);
    return SN_OK;
}

SnStatus sn_bind(const SnPlan *plan, const SnPort *port, SnDataKind data, SnBind *to, SnError *e) {
    memset(to, 0, sizeof *to);
    to->port = port;
    SnStatus s = bind_field(plan, data, to, e);
    return s ? s : bind_shape(plan, to, e);
}

SnStatus sn_bind_tensor(const SnPlan *plan, SnBind *b, SnData *data, SnError *e) {
    const SnPort *p = b->port;
    SnField f = {
        .input = SN_STRING(plan, p->name), .tensor = b->field, .elem = p->elem, .range = p->range};
    for (uint32_t i = 0; i < p->naxes; i++) {
        if (i + 1u == p->sample) continue;
        f.axis[f.naxes] = SN_STRING(plan, p->axis[i]);
        f.size[f.naxes++] = p->size[i];
    }
    return sn_data_field(data, &f, &b->id, e);
}

static void fill_ids(const SnBind *b, int32_t *to, const int32_t *ids) {
    int64_t shift = b->kind == SN_BIND_NEXT;
    for (int64_t s = 0; s < b->samples; s++)
        for (int64_t w = 0; w < b->window; w++)
            to[s * b->sample_stride + w * b->window_stride] = ids[s * (b->window + 1) + w + shift];
}

void sn_bind_fill(const SnBind *b, SnExec *x, const int32_t *ids) {
    void *to = sn_exec_input(x, b->port);
    switch (b->kind) {
    case SN_BIND_WINDOW:
    case SN_BIND_NEXT: fill_ids(b, to, ids); return;
    case SN_BIND_ONES: sn_elem_fill(b->port->elem, to, b->samples * b->window, 1); return;
    case SN_BIND_ZEROS: memset(to, 0, (size_t)b->port->bytes); return;
    case SN_BIND_TENSOR: return;
    }
}

SnStatus sn_data_spec(const SnPlan *plan, SnDataSpec *spec, SnError *e) {
    spec->window = spec->range = 0;
    spec->input = "";
    for (uint32_t i = 0; i < plan->inputs.count; i++) {
        const SnPort *port = &SN_AT(plan, SnPort, inputs)[i];
        SnBind b;
        if (strcmp(SN_STRING(plan, port->section), "micro")) continue;
        SnStatus s = sn_bind(plan, port, spec->kind, &b, e);
        if (s) return s;
        if (b.kind != SN_BIND_WINDOW && b.kind != SN_BIND_NEXT) continue;
        spec->window = b.window;
        int64_t range = port->range ? port->range : INT32_MAX;
        if (spec->range && spec->range <= range) continue;
        spec->range = range;
        spec->input = SN_STRING(plan, port->name);
    }
    return SN_OK;
}

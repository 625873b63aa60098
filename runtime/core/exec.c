// One run of a plan on one device: opens the device, and converts between numbers and elements.
#include "runtime/core/device.h"
#include "runtime/elem.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct SnExec {
    const SnPlan *plan;
    SnDevice *device;
    int threads;
};

static void set_defaults(SnExec *x) {
    for (uint32_t i = 0; i < x->plan->scalars.count; i++) {
        const SnScalar *s = &SN_AT(x->plan, SnScalar, scalars)[i];
        sn_exec_set(x, SN_STRING(x->plan, s->name), s->value);
    }
}

// Takes over a device that has been opened.
static SnStatus finish(SnDevice *device, int threads, SnExec **out, SnError *e) {
    SnExec *x = calloc(1, sizeof *x);
    if (!x) {
        device->ops->free(device);
        return sn_fail(e, SN_MACHINE, "out of memory");
    }
    *x = (SnExec){.plan = device->plan, .device = device, .threads = threads};
    set_defaults(x);
    *out = x;
    return SN_OK;
}

SnStatus sn_exec_new(const SnPlan *plan, void (*const *functions)(void), int threads, SnExec **out,
                     SnError *e) {
    SnDevice *device;
    const SnDeviceWish wish = {.threads = threads < 1 ? 1 : threads};
    *out = NULL;
    SnStatus s = sn_cpu_device(plan, functions, &wish, &device, e);
    return s ? s : finish(device, wish.threads, out, e);
}

SnStatus sn_exec_open_as(const SnProgram *programs, const SnDeviceWish *wish, SnExec **out,
                         SnError *e) {
    SnDevice *device;
    SnDeviceWish mine = *wish;
    if (mine.threads < 1) mine.threads = 1;
    *out = NULL;
    SnStatus s = sn_device_open(programs, &mine, &device, e);
    return s ? s : finish(device, mine.threads, out, e);
}

SnStatus sn_exec_open(const SnProgram *programs, const char *name, int threads, SnExec **out,
                      SnError *e) {
    const SnDeviceWish wish = {.name = name, .threads = threads};
    return sn_exec_open_as(programs, &wish, out, e);
}

SnStatus sn_exec_tune(const SnProgram *programs, const char *name, int threads, SnExec **out,
                      SnError *e) {
    const SnDeviceWish wish = {.name = name, .threads = threads, .tune = true};
    return sn_exec_open_as(programs, &wish, out, e);
}

void sn_exec_free(SnExec *x) {
    if (!x) return;
    x->device->ops->free(x->device);
    free(x);
}

const SnPlan *sn_exec_plan(const SnExec *x) { return x->plan; }
int sn_exec_threads(const SnExec *x) { return x->threads; }
const char *sn_exec_device(const SnExec *x) { return x->device->name; }
const char *sn_exec_note(const SnExec *x) { return x->device->note; }

bool sn_exec_first_nan(SnExec *x, const char *const *sections, int n, char *text, size_t size) {
    SnDevice *d = x->device;
    uint64_t first = UINT64_MAX, run;
    char one[512];
    for (int i = 0; i < n && d->ops->first_nan; i++) {
        const SnSection *s = sn_plan_section(x->plan, sections[i]);
        if (!s || !d->ops->first_nan(d, s, &run, one, sizeof one) || run > first) continue;
        first = run;
        snprintf(text, size, "%s", one);
    }
    if (first != UINT64_MAX || !d->first_nan || !*d->first_nan()) return first != UINT64_MAX;
    snprintf(text, size, "%s", d->first_nan());
    return true;
}

bool sn_exec_decided(const SnExec *x, uint32_t i, char *text, size_t size) {
    return x->device->ops->decided && x->device->ops->decided(x->device, i, text, size);
}
int64_t sn_exec_bytes(const SnExec *x) { return x->device->bytes; }
// Linux's word on the process; 0: it says nothing.
static int64_t most_resident(void) {
    char line[256];
    long long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6)) kilobytes = atoll(line + 6);
    if (f) fclose(f);
    return kilobytes * 1024;
}

SnStatus sn_exec_memory(SnExec *x, SnMemory *to, SnError *e) {
    const SnDevice *d = x->device;
    *to = (SnMemory){.planned = x->plan->workspace + d->temporary,
                     .arena = d->bytes,
                     .process = most_resident()};
    for (int r = 1; r < SN_REGIONS; r++)
        if (r != SN_REGION_TEMP) to->planned += x->plan->region_bytes[r];
    return d->ops->memory ? d->ops->memory(x->device, &to->in_use, &to->total, e) : SN_OK;
}

void sn_exec_profile(SnExec *x, bool on) { x->device->profile = on; }
const SnCounter *sn_exec_counters(const SnExec *x) { return x->device->counters; }

void *sn_exec_at(SnExec *x, uint32_t region, int64_t offset) {
    assert(region > SN_REGION_NONE && region < SN_REGIONS);
    assert(region != SN_REGION_TEMP || offset <= x->device->temporary);
    return x->device->ops->at(x->device, region, offset);
}

void *sn_exec_input(SnExec *x, const SnPort *port) {
    return x->device->ops->input(x->device, port);
}

SnStatus sn_exec_read(SnExec *x, uint32_t region, int64_t offset, void *to, int64_t bytes,
                      SnError *e) {
    if (region == SN_REGION_TEMP && offset + bytes > x->device->temporary)
        return sn_fail(e, SN_PLAN, "the device was opened for training alone");
    return x->device->ops->read(x->device, region, offset, to, bytes, e);
}

SnStatus sn_exec_write(SnExec *x, uint32_t region, int64_t offset, const void *from, int64_t bytes,
                       SnError *e) {
    return x->device->ops->write(x->device, region, offset, from, bytes, e);
}

SnStatus sn_exec_run(SnExec *x, const char *section, const SnEnv *env, SnError *e) {
    const SnSection *s = sn_plan_section(x->plan, section);
    if (s && s->temp > x->device->temporary)
        return sn_fail(e, SN_PLAN, "'%s': the device was opened for training alone", section);
    return s ? x->device->ops->run(x->device, s, env, e) : SN_OK;
}

SnStatus sn_exec_wait(SnExec *x, SnError *e) { return x->device->ops->wait(x->device, e); }

bool sn_exec_set(SnExec *x, const char *name, double value) {
    const SnScalar *s = sn_plan_scalar(x->plan, name);
    if (!s) return false;
    sn_elem_set(s->elem, x->device->scalars + s->offset, value);
    return true;
}

double sn_exec_get(SnExec *x, const char *name, double otherwise) {
    const SnScalar *s = sn_plan_scalar(x->plan, name);
    return s ? sn_elem_get(s->elem, x->device->scalars + s->offset) : otherwise;
}

bool sn_exec_ahead(const SnExec *x) { return x->device->ahead && !x->device->profile; }

double sn_exec_result(SnExec *x, const char *section, const char *name, int back) {
    const SnPort *p = sn_plan_output(x->plan, section, name);
    unsigned char bits[4];
    if (!p || p->naxes || x->device->ops->result(x->device, p, back, bits, p->bytes, NULL))
        return (double)NAN;
    return sn_elem_get(p->elem, bits);
}

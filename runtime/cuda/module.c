// See module.h. Machine code of one architecture runs on devices of the same major version and an equal
// or larger minor one; of an exact architecture ("sm_90a") on that one alone. PTX runs on equal or newer
// devices, of an exact architecture again on that one alone. (CUDA programming guide, compute
// capabilities.)
#include "runtime/cuda/module.h"
#include "runtime/cuda/cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_BYTES = 2048, DEFAULT_SHARED = 48 << 10 };

static bool runs_on(const SnImage *m, int device) {
    int sm = (int)m->sm;
    if (m->exact) return sm == device;
    return m->ptx ? sm <= device : sm / 10 == device / 10 && sm <= device;
}

// The best image of a batch: the newest architecture that the device takes.
static const SnImage *best(const SnProgram *p, uint32_t batch, int sm, bool ptx) {
    const SnImage *found = NULL;
    for (uint64_t i = 0; i < p->image_count; i++) {
        const SnImage *m = &p->images[i];
        if (m->batch != batch || (m->ptx != 0) != ptx || !runs_on(m, sm)) continue;
        if (!found || m->sm > found->sm || (m->sm == found->sm && m->exact)) found = m;
    }
    return found;
}

void sn_cuda_list(const SnProgram *p, char *text, size_t size) {
    size_t n = 0;
    *text = 0;
    for (uint64_t i = 0; i < p->image_count && n < size; i++) {
        const SnImage *m = &p->images[i];
        if (m->batch) continue;
        n += (size_t)snprintf(text + n, size - n, "%ssm_%u%s %s", n ? ", " : "", m->sm,
                              m->exact ? "a" : "", m->ptx ? "PTX" : "machine code");
    }
}

void sn_cuda_emulator(const SnProgram *p, char *text, size_t size) {
    const SnImage *m = p->image_count ? &p->images[0] : NULL;
    snprintf(text, size, "emu:sm_%u%s", m ? m->sm : 0, m && m->exact ? "a" : "");
}

static SnStatus load(const SnCudaApi *api, const SnImage *m, SnCudaModule *to, SnError *e) {
    char log[LOG_BYTES] = "";
    int options[] = {SN_CU_JIT_ERROR_LOG, SN_CU_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    int code = api->module_load(to, m->data, m->ptx ? 2 : 0, options, values);
    log[strcspn(log, "\n")] = 0;
    char what[256];
    snprintf(what, sizeof what, "the driver refuses %s for sm_%u%s%s%.120s",
             m->ptx ? "PTX" : "machine code", m->sm, m->exact ? "a" : "", *log ? ": " : "", log);
    return sn_cuda_check(api, code, what, e);
}

static SnStatus load_batch(const SnCudaApi *api, const SnProgram *program, uint32_t batch, int sm,
                           bool from_ptx, SnCudaImages *to, SnError *e) {
    const SnImage *code = from_ptx ? NULL : best(program, batch, sm, false);
    const SnImage *ptx = best(program, batch, sm, true);
    SnError refused = {0};
    if (code) {
        if (!load(api, code, &to->modules[batch], &refused)) return SN_OK;
        snprintf(to->fallback, sizeof to->fallback, "%.159s", refused.text);
    }
    if (ptx) {
        to->from_ptx = true;
        return load(api, ptx, &to->modules[batch], e);
    }
    if (code) return sn_fail(e, SN_MACHINE, "%s", refused.text);
    char list[256];
    sn_cuda_list(program, list, sizeof list);
    return sn_fail(e, SN_USER, "this program has no code for sm_%d, it was built for %s", sm, list);
}

SnStatus sn_cuda_images(const SnCudaApi *api, const SnProgram *program, uint32_t batches, int sm,
                        bool from_ptx, SnCudaImages *to, SnError *e) {
    to->modules = calloc((size_t)batches + 1, sizeof *to->modules);
    if (!to->modules) return sn_fail(e, SN_MACHINE, "out of memory");
    to->n = batches;
    SnStatus s = SN_OK;
    for (uint32_t i = 0; i < batches && !s; i++)
        s = load_batch(api, program, i, sm, from_ptx, to, e);
    return s;
}

void sn_cuda_images_free(const SnCudaApi *api, SnCudaImages *images) {
    for (uint32_t i = 0; images->modules && i < images->n; i++)
        if (images->modules[i]) api->module_unload(images->modules[i]);
    free(images->modules);
    images->modules = NULL;
}

SnStatus sn_cuda_function(const SnCudaApi *api, const SnCudaImages *images, const SnKernel *k,
                          const char *name, SnCudaFunction *to, SnError *e) {
    char symbol[16], what[128];
    snprintf(symbol, sizeof symbol, "k%u", k->fn);
    snprintf(what, sizeof what, "kernel '%.80s' (%s)", name, symbol);
    SnStatus s =
        sn_cuda_check(api, api->module_function(to, images->modules[k->batch], symbol), what, e);
    if (s || k->shared <= DEFAULT_SHARED) return s;
    return sn_cuda_check(
        api, api->function_set_attribute(*to, SN_CU_FUNC_MAX_DYNAMIC_SHARED, (int)k->shared), what,
        e);
}

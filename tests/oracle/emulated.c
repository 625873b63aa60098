// See emulated.h. The same calls in the same order as tools/build.c.
#include "tests/oracle/emulated.h"
#include "runtime/emulator/emulator.h"
#include <stdlib.h>
#include <string.h>

static bool compile(Arena *a, CudaModule *m, const EmulatedOptions *o, const SnImage **to,
                    uint64_t *n, Text *why) {
    const CudaTarget *target = cuda_target_find(o->target, strlen(o->target));
    const CudaCompile how = {.targets = &target,
                             .ntargets = 1,
                             .ptx_only = !o->device,
                             .cache_dir = o->cache,
                             .threads = 1};
    CudaImages images = {0};
    if (!cuda_compile(a, m, &how, &images, why)) return false;
    if (images.warnings.n) {
        text_printf(why, "NVRTC warns: %s", images.warnings.at);
        return false;
    }
    *to = cuda_program_images(a, &images);
    *n = images.images.n;
    return true;
}

bool emulated_open(Arena *a, const KernelProgram *program, const EmulatedOptions *o, Emulated *out,
                   Text *why) {
    memset(out, 0, sizeof *out);
    CudaPlan target = {.module = cuda_module_new(a)};
    PlanInfo info = {.sinter = "test",
                     .model_name = "test",
                     .model_text = "",
                     .scalars = o->scalars,
                     .scalar_count = o->scalar_count};
    cuda_plan(&target, &info);
    out->module = target.module;
    uint32_t before = program->m->diag->items.n;
    PlanTables *tables = plan_collect(a, program, &info, program->m->diag);
    if (!tables) {
        text_printf(why, "cuda: %s", program->m->diag->items.at[before].text);
        return false;
    }
    size_t size;
    const SnImage *images;
    uint64_t count;
    out->programs[0].plan = plan_write(tables, "", &size);
    if (!compile(a, out->module, o, &images, &count, why)) return false;
    out->programs[0].images = images;
    out->programs[0].image_count = count;
    out->programs[0].emulator = &sn_emulator;
    SnError err = {0};
    const char *device = o->device ? o->device : arena_printf(a, "emu:%s", o->target);
    if (!sn_exec_open(out->programs, device, 2, &out->exec, &err)) return true;
    text_printf(why, "%s: %s", device, err.text);
    return false;
}

void emulated_close(Emulated *e) {
    sn_exec_free(e->exec);
    memset(e, 0, sizeof *e);
}

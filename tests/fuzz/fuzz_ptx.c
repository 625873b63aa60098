// Fuzzes the loader and the engine of the emulated device: no text may crash them, take much memory or
// run for long, and a kernel of a module that loads runs to its end or to a reported fault.
//
//   cmake -B build-fuzz -DFUZZ=ON -DCMAKE_C_COMPILER=clang-19 && build-fuzz/tests/fuzz_ptx tests/emulator
#include "runtime/emulator/engine/emu.h"
#include <stdlib.h>
#include <string.h>

enum { MEMORY = 1 << 20, BYTES = 4096, PARAMS = 1 << 15, BUDGET = 50000 };

// Every parameter is the address of the array, or its lowest bytes.
static void fill_params(uint8_t *params, const EmuFunctionInfo *info, uint64_t address) {
    for (uint32_t k = 0; k < info->params; k++)
        memcpy(params + info->offset[k], &address, info->size[k] < 8 ? info->size[k] : 8);
}

static void run(EmuDevice *d, const EmuFunction *f) {
    static const uint8_t nothing[PARAMS + 8];
    EmuFunctionInfo info = emu_function_info(f);
    uint64_t address = emu_alloc(d, BYTES);
    if (!address || info.local_bytes > BYTES || info.shared_bytes > 1 << 16) return;
    emu_mark(d, address, BYTES / 2, true);
    uint8_t *params = malloc(info.param_bytes + 1);
    if (!params) abort();
    memcpy(params, nothing, info.param_bytes);
    fill_params(params, &info, address);
    EmuLaunch l = {.function = f,
                   .grid = {2, 1, 1},
                   .block = {info.max_threads < 64 ? info.max_threads : 64, 1, 1},
                   .dynamic_shared = 512,
                   .params = params};
    EmuFault fault;
    EmuCounts counts;
    bool ok = emu_launch(d, &l, &counts, &fault);
    if (ok != (fault.kind == EMU_FAULT_none) || (!ok && !*fault.text)) abort();
    free(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    SnPool *pool = sn_pool_new(1);
    EmuConfig config = {.sm = 120, .check = true, .memory = MEMORY, .budget = BUDGET};
    EmuDevice *d = emu_device_new(&config, pool);
    if (!d) abort();
    char *text = malloc(size + 1), why[256];
    if (!text) abort();
    memcpy(text, data, size);
    EmuModule *m;
    EmuStatus status = emu_module_load(d, text, size, &m, why, sizeof why);
    if ((status == EMU_OK) != (m != NULL) || (status != EMU_OK && !*why)) abort();
    const EmuFunction *f = m ? emu_module_function(m, NULL) : NULL;
    if (f) run(d, f);
    emu_module_free(m);
    free(text);
    emu_device_free(d);
    sn_pool_free(pool);
    return 0;
}

// Modules, functions, launches and occupancy of the emulated driver.
//
// A module is PTX text; the engine compiles it when it is loaded. Limits are those of the emulated
// architecture. Registers are an estimate (the engine knows what PTX declares, not what ptxas would
// allocate), so it is capped by what the kernel's declared block size allows and refuses no launch.
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>
#include <string.h>

enum {
    SHARED_DEFAULT = 48 << 10, // of a block, unless the function's attribute raises it
    SHARED_RESERVED = 1 << 10, // that the system takes of each block
    SHARED_UNIT = 128,         // allocation granularity, as is the next: registers of a warp
    REGISTER_UNIT = 256,
    REGISTERS_SM = 64 << 10,
    REGISTERS_MAX = 255,
    GRID_YZ = 65535,
    BLOCK_XY = 1024,
    BLOCK_Z = 64,
    WARP = 32,
    JIT_OPTIONS = 64, // numbers from there on are no options
    WHY = 4096
};

// ---- modules ------------------------------------------------------------------------------------

typedef struct { // where the caller wants messages
    char *text;
    size_t room;
    void **written;
} Log;

static void write_log(const Log *log, const char *why) {
    if (!log->text || !log->room) return;
    size_t n = strlen(why) < log->room - 1 ? strlen(why) : log->room - 1;
    memcpy(log->text, why, n);
    log->text[n] = 0;
    if (log->written) *log->written = (void *)(uintptr_t)(n ? n + 1 : 0);
}

static int read_options(unsigned n, const int *options, void **values, Log *info, Log *error) {
    if (n && (!options || !values)) return SN_CU_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        if (options[i] < 0 || options[i] >= JIT_OPTIONS) return SN_CU_INVALID_VALUE;
        if (options[i] == SN_CU_JIT_INFO_LOG) info->text = values[i];
        if (options[i] == SN_CU_JIT_ERROR_LOG) error->text = values[i];
        Log *sized = options[i] == SN_CU_JIT_INFO_LOG_BYTES    ? info
                     : options[i] == SN_CU_JIT_ERROR_LOG_BYTES ? error
                                                               : NULL;
        if (sized) sized->room = (uintptr_t)values[i], sized->written = &values[i];
    }
    return SN_CU_OK;
}

static int load_ptx(EmuDriver *d, const char *ptx, EmuModule **module, char *why) {
    switch (emu_module_load(d->device, ptx, strlen(ptx), module, why, WHY)) {
    case EMU_OK: return SN_CU_OK;
    case EMU_BAD_PTX: return SN_CU_INVALID_PTX;
    case EMU_WRONG_TARGET: // of another device, named in the message, or of another version of PTX
        return strstr(why, "sm_") ? SN_CU_NO_BINARY_FOR_GPU : SN_CU_UNSUPPORTED_PTX_VERSION;
    case EMU_NO_MEMORY: break;
    }
    return SN_CU_OUT_OF_MEMORY;
}

static int register_module(EmuDriver *d, EmuModule *emu, SnCudaModule *module) {
    LoadedModule *m = driver_alloc(d, sizeof *m);
    *module = m ? handle_new(d, HANDLE_MODULE, m) : NULL;
    if (!*module) {
        free(m);
        emu_module_free(emu);
        return SN_CU_OUT_OF_MEMORY;
    }
    m->refs = 1;
    m->emu = emu;
    return SN_CU_OK;
}

static int load(EmuDriver *d, SnCudaModule *module, const void *image, const Log *info,
                const Log *error) {
    char why[WHY] = "";
    EmuModule *emu = NULL;
    if (memcmp(image,
               "\x7f"
               "ELF",
               4) == 0)
        return SN_CU_NO_BINARY_FOR_GPU; // a cubin; its text would run on hardware only
    int r = load_ptx(d, image, &emu, why);
    write_log(r ? error : info, why);
    write_log(r ? info : error, "");
    return r ? r : register_module(d, emu, module);
}

int drv_module_load(SnCudaModule *module, const void *image, unsigned n, int *options,
                    void **values) {
    int r = 0;
    Log info = {0}, error = {0};
    EmuDriver *d = driver_enter_unsafe(&r);
    if (!r && (!module || !image)) r = SN_CU_INVALID_VALUE;
    if (!r) r = read_options(n, options, values, &info, &error);
    return driver_leave(d, r ? r : load(d, module, image, &info, &error));
}

int drv_module_unload(SnCudaModule module) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (r && r != d->error) return driver_leave(d, r);
    LoadedModule *m = handle_get(d, HANDLE_MODULE, module);
    if (!m) return driver_leave(d, r ? r : SN_CU_INVALID_HANDLE);
    queue_run_all(d);
    for (LoadedFunction *f = m->functions; f; f = f->next) handle_free(d, f->handle);
    handle_free(d, module);
    module_release(m);
    return driver_leave(d, d->error);
}

// ---- functions ----------------------------------------------------------------------------------

static int new_function(EmuDriver *d, SnCudaFunction *function, LoadedModule *m, const char *name) {
    for (LoadedFunction *f = m->functions; f; f = f->next)
        if (strcmp(f->info.name, name) == 0) {
            *function = f->handle;
            return SN_CU_OK;
        }
    const EmuFunction *emu = emu_module_function(m->emu, name);
    if (!emu) return SN_CU_NOT_FOUND;
    LoadedFunction *f = driver_alloc(d, sizeof *f);
    void *handle = f ? handle_new(d, HANDLE_FUNCTION, f) : NULL;
    if (!handle) {
        free(f);
        return SN_CU_OUT_OF_MEMORY;
    }
    *f = (LoadedFunction){.next = m->functions, .module = m, .emu = emu, .handle = handle};
    f->info = emu_function_info(emu);
    if (f->info.shared_bytes < SHARED_DEFAULT)
        f->max_dynamic = SHARED_DEFAULT - f->info.shared_bytes;
    m->functions = f;
    *function = handle;
    return SN_CU_OK;
}

int drv_module_function(SnCudaFunction *function, SnCudaModule module, const char *name) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    LoadedModule *m = r ? NULL : handle_get(d, HANDLE_MODULE, module);
    if (!r && (!function || !name)) r = SN_CU_INVALID_VALUE;
    if (!r && !m) r = SN_CU_INVALID_HANDLE;
    return driver_leave(d, r ? r : new_function(d, function, m, name));
}

static int block_limit(const LoadedFunction *f) {
    uint32_t most = f->info.max_threads;
    return most && most < BLOCK_XY ? (int)most : BLOCK_XY;
}

static int registers_of(const LoadedFunction *f) {
    int most = REGISTERS_SM / ((block_limit(f) + WARP - 1) / WARP * WARP) / 8 * 8;
    if (most > REGISTERS_MAX) most = REGISTERS_MAX;
    return f->info.registers < (uint32_t)most ? (int)f->info.registers : most;
}

static int attribute_of(const LoadedFunction *f, int attribute, int *value) {
    switch (attribute) {
    case SN_CU_FUNC_MAX_THREADS: *value = block_limit(f); return SN_CU_OK;
    case SN_CU_FUNC_SHARED_BYTES: *value = (int)f->info.shared_bytes; return SN_CU_OK;
    case SN_CU_FUNC_LOCAL_BYTES: *value = (int)f->info.local_bytes; return SN_CU_OK;
    case SN_CU_FUNC_REGISTERS: *value = registers_of(f); return SN_CU_OK;
    case SN_CU_FUNC_MAX_DYNAMIC_SHARED: *value = (int)f->max_dynamic; return SN_CU_OK;
    }
    return SN_CU_INVALID_VALUE;
}

int drv_function_attribute(int *value, int attribute, SnCudaFunction function) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    LoadedFunction *f = r ? NULL : handle_get(d, HANDLE_FUNCTION, function);
    if (!r && !value) r = SN_CU_INVALID_VALUE;
    if (!r && !f) r = SN_CU_INVALID_HANDLE;
    return driver_leave(d, r ? r : attribute_of(f, attribute, value));
}

int drv_function_set_attribute(SnCudaFunction function, int attribute, int value) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    LoadedFunction *f = r ? NULL : handle_get(d, HANDLE_FUNCTION, function);
    if (!r && !f) r = SN_CU_INVALID_HANDLE;
    if (!r && attribute != SN_CU_FUNC_MAX_DYNAMIC_SHARED) r = SN_CU_INVALID_VALUE;
    if (!r && (value < 0 || value + (int)f->info.shared_bytes > d->arch->shared_optin))
        r = SN_CU_INVALID_VALUE;
    if (!r) f->max_dynamic = (uint32_t)value;
    return driver_leave(d, r);
}

// ---- launches -----------------------------------------------------------------------------------

static int check_shape(const LoadedFunction *f, const uint32_t *grid, const uint32_t *block,
                       unsigned shared) {
    for (int i = 0; i < 3; i++)
        if (!grid[i] || !block[i]) return SN_CU_INVALID_VALUE;
    if (grid[0] > INT32_MAX || grid[1] > GRID_YZ || grid[2] > GRID_YZ) return SN_CU_INVALID_VALUE;
    if (block[0] > BLOCK_XY || block[1] > BLOCK_XY || block[2] > BLOCK_Z)
        return SN_CU_INVALID_VALUE;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (threads > BLOCK_XY || shared > f->max_dynamic) return SN_CU_INVALID_VALUE;
    return threads > (uint64_t)block_limit(f) ? SN_CU_LAUNCH_OUT_OF_RESOURCES : SN_CU_OK;
}

static int pack_params(EmuDriver *d, Work *w, void **params) {
    const EmuFunctionInfo *info = &w->function->info;
    w->params = driver_alloc(d, info->param_bytes);
    if (!w->params) return SN_CU_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < info->params; i++) {
        if (!params || !params[i]) return SN_CU_INVALID_VALUE;
        memcpy((char *)w->params + info->offset[i], params[i], info->size[i]);
    }
    return SN_CU_OK;
}

static int launch(EmuDriver *d, LoadedFunction *f, const uint32_t *grid, const uint32_t *block,
                  unsigned shared, Stream *s, void **params) {
    int r = check_shape(f, grid, block, shared);
    if (r) return r;
    Work *w = work_new(d, WORK_KERNEL, f->info.name);
    if (!w) return SN_CU_OUT_OF_MEMORY;
    w->function = f;
    f->module->refs++;
    memcpy(w->grid, grid, sizeof w->grid);
    memcpy(w->block, block, sizeof w->block);
    w->shared = shared;
    r = pack_params(d, w, params);
    if (!r) r = work_ready(d, w);
    if (!r) return stream_submit(d, s, w);
    work_release(w);
    return r;
}

// Parameters in a buffer of the caller's own (extra) are not served.
int drv_launch(SnCudaFunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
               unsigned by, unsigned bz, unsigned shared, SnCudaStream stream, void **params,
               void **extra) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    LoadedFunction *f = r ? NULL : handle_get(d, HANDLE_FUNCTION, function);
    Stream *s = r ? NULL : stream_get(d, stream);
    uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    if (!r && !f) r = SN_CU_INVALID_HANDLE;
    if (!r) r = stream_check(d, s);
    if (!r && extra) r = SN_CU_NOT_SUPPORTED;
    if (!r) r = launch(d, f, grid, block, shared, s, params);
    note_end(d);
    return driver_leave(d, r);
}

// ---- occupancy ----------------------------------------------------------------------------------

static int min(int a, int b) { return a < b ? a : b; }
static int round_up(int a, int to) { return (a + to - 1) / to * to; }

static int blocks_that_fit(const EmuDriver *d, const LoadedFunction *f, int block, size_t dynamic) {
    const Arch *a = d->arch;
    int warps = (block + WARP - 1) / WARP, blocks = min(a->blocks_sm, a->threads_sm / WARP / warps);
    int registers = round_up((registers_of(f) > 0 ? registers_of(f) : 1) * WARP, REGISTER_UNIT);
    blocks = min(blocks, REGISTERS_SM / registers / warps);
    int shared = round_up((int)(f->info.shared_bytes + dynamic), SHARED_UNIT) + SHARED_RESERVED;
    return min(blocks, a->shared_sm / shared);
}

int drv_occupancy(int *blocks, SnCudaFunction function, int block, size_t shared) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    LoadedFunction *f = r ? NULL : handle_get(d, HANDLE_FUNCTION, function);
    if (!r && (!blocks || block <= 0)) r = SN_CU_INVALID_VALUE;
    if (!r && !f) r = SN_CU_INVALID_HANDLE;
    if (r) return driver_leave(d, r);
    bool fits = block <= block_limit(f) && shared <= f->max_dynamic;
    *blocks = fits ? blocks_that_fit(d, f, block, shared) : 0;
    return driver_leave(d, SN_CU_OK);
}

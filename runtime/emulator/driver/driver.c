// The emulated CUDA driver: the process's one state, its device and its context, and the table.
//
// The driver API has implicit state (a current context, a device's memory), so the emulated one has
// it too: `the` below, the only mutable object with static lifetime here. Its lock is held during
// each call. Everything but the configuration lives from the first retain of the primary context to
// its last release.
//
// Errors are CUDA's: an argument that is wrong is reported by its call; a fault of something that
// ran is sticky, comes back from the call that waited for it and from every later one.
#include "runtime/emulator/driver/state.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static EmuDriver the = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum { DRIVER_VERSION = 13000 };

// Data sheets and the programming guide's table of technical specifications: A100, RTX 4090, H100
// SXM, B200, RTX 5090.
static const Arch archs[] = {
    {80, 108, 164 << 10, 163 << 10, 2048, 32, 1410000, 1593000, 5120},
    {89, 128, 100 << 10, 99 << 10, 1536, 24, 2520000, 10501000, 384},
    {90, 132, 228 << 10, 227 << 10, 2048, 32, 1980000, 2619000, 5120},
    {100, 148, 228 << 10, 227 << 10, 2048, 32, 1965000, 3996000, 8192},
    {120, 170, 100 << 10, 99 << 10, 1536, 24, 2407000, 14001000, 512},
};

static const Arch *arch_of(uint32_t sm) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (archs[i].sm == sm) return &archs[i];
    return NULL;
}

// ---- entering, failing --------------------------------------------------------------------------

EmuDriver *driver_lock(void) {
    pthread_mutex_lock(&the.lock);
    return &the;
}

int driver_leave(EmuDriver *d, int result) {
    pthread_mutex_unlock(&d->lock);
    return result;
}

static bool is_bound(const EmuDriver *d) {
    for (size_t i = 0; i < d->bound_n; i++)
        if (pthread_equal(d->bound[i], pthread_self())) return true;
    return false;
}

EmuDriver *driver_enter(int *refusal) {
    EmuDriver *d = driver_lock();
    *refusal = SN_CU_OK;
    if (!d->initialised)
        *refusal = SN_CU_NOT_INITIALIZED;
    else if (!d->retained || !is_bound(d))
        *refusal = SN_CU_INVALID_CONTEXT;
    else if (d->error)
        *refusal = d->error;
    return d;
}

EmuDriver *driver_enter_unsafe(int *refusal) {
    EmuDriver *d = driver_enter(refusal);
    if (!*refusal && capture_forbids(d)) *refusal = SN_CU_CAPTURE_UNSUPPORTED;
    return d;
}

void driver_fail(EmuDriver *d, int code, const char *format, ...) {
    if (d->error) return;
    d->error = code;
    va_list args;
    va_start(args, format);
    vsnprintf(d->report, sizeof d->report, format, args);
    va_end(args);
}

void *driver_alloc(EmuDriver *d, size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p) driver_fail(d, SN_CU_OUT_OF_MEMORY, "host memory is short");
    return p;
}

bool driver_grow(EmuDriver *d, void **at, size_t count, size_t size) {
    void *p = realloc(*at, count * size);
    if (!p) {
        driver_fail(d, SN_CU_OUT_OF_MEMORY, "host memory is short");
        return false;
    }
    *at = p;
    return true;
}

// ---- configuration ------------------------------------------------------------------------------

static bool configure(EmuDriver *d, const SnEmulatorConfig *config) {
    SnEmulatorConfig c = {.sm = 90, .arch = true, .check = true, .nan = true, .seed = 1};
    if (config) c = *config;
    if (!c.sm) c.sm = 90;
    c.arch = c.arch && c.sm >= 90; // earlier ones have no features of their own
    if (!c.memory) c.memory = UINT64_C(4) << 30;
    if (c.threads <= 0) c.threads = sn_pool_default_threads();
    if (!arch_of(c.sm) || d->retained) return false;
    d->config = c;
    d->arch = arch_of(c.sm);
    return true;
}

bool sn_emulator_configure(const SnEmulatorConfig *config) {
    EmuDriver *d = driver_lock();
    bool ok = configure(d, config);
    driver_leave(d, SN_CU_OK);
    return ok;
}

// ---- the device ---------------------------------------------------------------------------------

int drv_init(unsigned flags) {
    EmuDriver *d = driver_lock();
    if (flags) return driver_leave(d, SN_CU_INVALID_VALUE);
    if (!d->config.threads) configure(d, NULL);
    d->initialised = true;
    return driver_leave(d, SN_CU_OK);
}

int drv_driver_version(int *version) {
    if (!version) return SN_CU_INVALID_VALUE;
    *version = DRIVER_VERSION;
    return SN_CU_OK;
}

// Calls about the device need no context. Returns whether the call may go on.
static int check_device(const EmuDriver *d, const void *to, int device) {
    if (!d->initialised) return SN_CU_NOT_INITIALIZED;
    if (!to) return SN_CU_INVALID_VALUE;
    return device == 0 ? SN_CU_OK : SN_CU_INVALID_DEVICE;
}

int drv_device_count(int *count) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, count, 0);
    if (!r) *count = 1;
    return driver_leave(d, r);
}

int drv_device_get(int *device, int ordinal) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, device, ordinal);
    if (!r) *device = 0;
    return driver_leave(d, r);
}

int drv_device_name(char *name, int size, int device) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, name, device);
    if (!r && size <= 0) r = SN_CU_INVALID_VALUE;
    if (!r)
        snprintf(name, (size_t)size, "emulated sm_%u%s", d->config.sm, d->config.arch ? "a" : "");
    return driver_leave(d, r);
}

static int attribute_of(const EmuDriver *d, int attribute, int *value) {
    const Arch *a = d->arch;
    switch (attribute) {
    case SN_CU_ATTR_MAX_THREADS_PER_BLOCK: *value = 1024; return SN_CU_OK;
    case SN_CU_ATTR_MAX_SHARED_PER_BLOCK: *value = 48 << 10; return SN_CU_OK;
    case SN_CU_ATTR_WARP_SIZE: *value = 32; return SN_CU_OK;
    case SN_CU_ATTR_CLOCK_KHZ: *value = a->clock_khz; return SN_CU_OK;
    case SN_CU_ATTR_SM_COUNT: *value = a->count; return SN_CU_OK;
    case SN_CU_ATTR_MEMORY_CLOCK_KHZ: *value = a->memory_khz; return SN_CU_OK;
    case SN_CU_ATTR_MEMORY_BUS_BITS: *value = a->bus_bits; return SN_CU_OK;
    case SN_CU_ATTR_MAJOR: *value = (int)a->sm / 10; return SN_CU_OK;
    case SN_CU_ATTR_MINOR: *value = (int)a->sm % 10; return SN_CU_OK;
    case SN_CU_ATTR_MAX_SHARED_OPTIN: *value = a->shared_optin; return SN_CU_OK;
    }
    return SN_CU_INVALID_VALUE;
}

int drv_device_attribute(int *value, int attribute, int device) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, value, device);
    if (!r) r = attribute_of(d, attribute, value);
    return driver_leave(d, r);
}

// ---- the context --------------------------------------------------------------------------------

static int open_context(EmuDriver *d) {
    const SnEmulatorConfig *c = &d->config;
    d->report[0] = d->nan[0] = 0;
    EmuConfig e = {.sm = c->sm, .arch = c->arch, .check = c->check, .seed = c->seed};
    e.memory = c->memory, e.budget = c->budget;
    d->pool = sn_pool_new(c->threads);
    if (d->pool) d->device = emu_device_new(&e, d->pool);
    if (d->device) d->context = handle_new(d, HANDLE_CONTEXT, d);
    d->random = c->seed;
    d->legacy = (Stream){.queue = queue_new(d, 0, false), .blocking = true};
    return d->context && d->legacy.queue != UINT32_MAX ? SN_CU_OK : SN_CU_OUT_OF_MEMORY;
}

static void free_object(EmuDriver *d, HandleSlot *s) {
    void *o = s->object;
    HandleKind kind = s->kind;
    s->kind = HANDLE_FREE, s->object = NULL;
    switch (kind) {
    case HANDLE_EVENT: event_release(o); break;
    case HANDLE_MODULE: module_release(o); break;
    case HANDLE_GRAPH:
    case HANDLE_EXEC: graph_free_object(d, kind, o); break;
    case HANDLE_LT:
    case HANDLE_DESC:
    case HANDLE_LAYOUT:
    case HANDLE_PREFERENCE: lt_free_object(o); break;
    case HANDLE_FREE:
    case HANDLE_CONTEXT:
    case HANDLE_STREAM:
    case HANDLE_FUNCTION: break; // freed with their owners
    }
}

static void free_blocks(MemoryBlocks *b) {
    for (size_t i = 0; i < b->n; i++) free(b->at[i].host);
    free(b->at);
}

// What is queued does not run; all memory is given back.
static void close_context(EmuDriver *d) {
    queue_drop_all(d);
    note_clear(d);
    capture_free_all(d);
    stream_free_all(d);
    for (uint32_t i = 0; i < d->slot_n; i++) free_object(d, &d->slots[i]);
    for (uint32_t i = 0; i < d->queue_n; i++) clock_free(&d->queues[i].clock);
    for (size_t i = 0; i < d->string_room; i++) free(d->strings[i]);
    if (d->device) emu_device_free(d->device);
    sn_pool_free(d->pool);
    free_blocks(&d->allocations);
    free_blocks(&d->pinned);
    clock_free(&d->host);
    free(d->slots);
    free(d->queues);
    free(d->strings);
    free(d->history.at);
    free(d->kernels);
    free(d->space.at);
    free(d->bound);
    size_t kept = offsetof(EmuDriver, retained);
    memset((char *)d + kept, 0, sizeof *d - kept);
}

int drv_context_retain(SnCudaContext *context, int device) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, context, device);
    if (!r && !d->retained) r = open_context(d);
    if (r) {
        if (!d->retained) close_context(d);
        return driver_leave(d, r);
    }
    d->retained++;
    *context = d->context;
    return driver_leave(d, SN_CU_OK);
}

int drv_context_release(int device) {
    EmuDriver *d = driver_lock();
    int r = check_device(d, d, device);
    if (!r && !d->retained) r = SN_CU_INVALID_CONTEXT;
    if (!r && --d->retained == 0) close_context(d);
    return driver_leave(d, r);
}

static void unbind(EmuDriver *d) {
    size_t n = 0;
    for (size_t i = 0; i < d->bound_n; i++)
        if (!pthread_equal(d->bound[i], pthread_self())) d->bound[n++] = d->bound[i];
    d->bound_n = n;
}

static int set_context(EmuDriver *d, SnCudaContext context) {
    if (!d->initialised) return SN_CU_NOT_INITIALIZED;
    unbind(d);
    if (!context) return SN_CU_OK;
    if (!handle_get(d, HANDLE_CONTEXT, context)) return SN_CU_INVALID_CONTEXT;
    if (!driver_grow(d, (void **)&d->bound, d->bound_n + 1, sizeof *d->bound))
        return SN_CU_OUT_OF_MEMORY;
    d->bound[d->bound_n++] = pthread_self();
    return SN_CU_OK;
}

int drv_context_set(SnCudaContext context) {
    EmuDriver *d = driver_lock();
    return driver_leave(d, set_context(d, context));
}

// ---- errors -------------------------------------------------------------------------------------

typedef struct {
    int code;
    const char *name, *text;
} ErrorRow;
static const ErrorRow errors[] = {
    {SN_CU_OK, "CUDA_SUCCESS", "no error"},
    {SN_CU_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "an argument is not acceptable"},
    {SN_CU_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "memory is short"},
    {SN_CU_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "the driver is not initialised"},
    {SN_CU_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no device"},
    {SN_CU_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "no such device"},
    {SN_CU_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "not a kernel image"},
    {SN_CU_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "no current context"},
    {SN_CU_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no code for this device"},
    {SN_CU_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "the PTX does not compile"},
    {SN_CU_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the PTX is newer than the driver"},
    {SN_CU_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "no such object"},
    {SN_CU_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "no such name"},
    {SN_CU_NOT_READY, "CUDA_ERROR_NOT_READY", "not done yet"},
    {SN_CU_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an access out of bounds"},
    {SN_CU_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "a block needs more than a multiprocessor has"},
    {SN_CU_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "a misaligned access"},
    {SN_CU_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "a kernel failed"},
    {SN_CU_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "not supported"},
    {SN_CU_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "not allowed during a capture"},
    {SN_CU_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "an earlier error ended the capture"},
    {CU_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "two captures would become one"},
    {CU_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "the capture did not begin in this stream"},
    {CU_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
     "the capture holds work that its stream does not wait for"},
    {CU_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "a captured stream would depend on work outside of the capture"},
    {CU_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "the legacy stream would depend on a capture"},
    {CU_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "the event belongs to a capture"},
    {CU_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "the capture began in another thread"},
    {SN_CU_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown"},
};

static const ErrorRow *error_row(int error) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == error) return &errors[i];
    return NULL;
}

int drv_error_name(int error, const char **text) {
    if (!text) return SN_CU_INVALID_VALUE;
    const ErrorRow *row = error_row(error);
    *text = row ? row->name : NULL;
    return row ? SN_CU_OK : SN_CU_INVALID_VALUE;
}

int drv_error_string(int error, const char **text) {
    if (!text) return SN_CU_INVALID_VALUE;
    const ErrorRow *row = error_row(error);
    *text = row ? row->text : NULL;
    return row ? SN_CU_OK : SN_CU_INVALID_VALUE;
}

// ---- what only the emulated device has ----------------------------------------------------------

static bool copy_note(EmuDriver *d, const SnCudaNote *note) {
    size_t bytes = note->n * sizeof *note->ranges;
    SnCudaRange *ranges = driver_alloc(d, bytes);
    if (!ranges) return false;
    if (note->n) memcpy(ranges, note->ranges, bytes);
    for (uint32_t i = 0; i < note->n; i++) ranges[i].name = intern(d, ranges[i].name);
    d->note = *note;
    d->note.ranges = ranges;
    d->note.kernel = intern(d, note->kernel);
    d->note.node = intern(d, note->node);
    d->note_thread = pthread_self();
    d->note_set = true;
    return true;
}

static void drv_note(const SnCudaNote *note) {
    EmuDriver *d = driver_lock();
    note_clear(d);
    if (note && d->retained) copy_note(d, note);
    driver_leave(d, SN_CU_OK);
}

static const char *drv_report(void) { return the.report; }

const char *sn_emulator_first_nan(void) { return the.nan; }

SnEmulatorCounts sn_emulator_counts(void) {
    EmuDriver *d = driver_lock();
    SnEmulatorCounts counts = d->counts;
    driver_leave(d, SN_CU_OK);
    return counts;
}

size_t sn_emulator_kernels(SnEmulatorKernel *kernels, size_t room) {
    EmuDriver *d = driver_lock();
    size_t n = d->kernel_n;
    for (size_t i = 0; i < n && i < room; i++) kernels[i] = d->kernels[i];
    driver_leave(d, SN_CU_OK);
    return n;
}

void sn_emulator_reset_counts(void) {
    EmuDriver *d = driver_lock();
    d->counts = (SnEmulatorCounts){0};
    d->kernel_n = 0;
    driver_leave(d, SN_CU_OK);
}

static const SnCudaApi api = {
#define DRIVER(name, symbol, params) .name = drv_##name,
#define BLAS(name, symbol, params)   .name = drv_##name,
#include "runtime/cuda/api.def"
#undef DRIVER
#undef BLAS
    .lt_version = drv_lt_version,
    .note = drv_note,
    .report = drv_report,
    .touch = drv_touch,
};

const SnCudaApi *sn_emulator_api(void) { return &api; }

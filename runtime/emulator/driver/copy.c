// Memory of the emulated driver: allocation, copies and fills.
//
// Copies from pinned memory read it when they run, which is as late as the order allows; copies from
// pageable memory are staged by the call, except in a capture, where each launch reads them anew.
// A copy to pageable memory returns when it is done. Pinned memory has a history as the device's has. Freeing waits for everything, as CUDA does in
// practice; it is no synchronization that later work may count on.
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, HOST_FLAGS = 7 };

// ---- blocks -------------------------------------------------------------------------------------

static bool add_block(EmuDriver *d, MemoryBlocks *b, MemoryBlock block) {
    if (b->n == b->room) {
        size_t room = b->room ? 2 * b->room : 16;
        if (!driver_grow(d, (void **)&b->at, room, sizeof *b->at)) return false;
        b->room = room;
    }
    b->at[b->n++] = block;
    return true;
}

static MemoryBlock *find_block(const MemoryBlocks *b, uint64_t base) {
    for (size_t i = 0; i < b->n; i++)
        if (b->at[i].base == base) return &b->at[i];
    return NULL;
}

static void remove_block(MemoryBlocks *b, MemoryBlock *at) { *at = b->at[--b->n]; }

static bool is_pinned(const EmuDriver *d, const void *host, size_t bytes) {
    uint64_t base = (uintptr_t)host;
    for (size_t i = 0; i < d->pinned.n; i++) {
        const MemoryBlock *b = &d->pinned.at[i];
        if (b->base <= base && base + bytes <= b->base + b->bytes) return true;
    }
    return false;
}

// ---- allocation ---------------------------------------------------------------------------------

int drv_mem_info(size_t *free_bytes, size_t *total) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    if (!r && (!free_bytes || !total)) r = SN_CU_INVALID_VALUE;
    if (r) return driver_leave(d, r);
    *free_bytes = emu_free_bytes(d->device);
    *total = d->config.memory;
    return driver_leave(d, SN_CU_OK);
}

static int allocate(EmuDriver *d, uint64_t *ptr, size_t bytes) {
    uint64_t at = emu_alloc(d->device, bytes);
    if (!at) return SN_CU_OUT_OF_MEMORY;
    if (!add_block(d, &d->allocations, (MemoryBlock){.base = at, .bytes = bytes})) {
        emu_free(d->device, at);
        return SN_CU_OUT_OF_MEMORY;
    }
    *ptr = at;
    return SN_CU_OK;
}

int drv_mem_alloc(uint64_t *ptr, size_t bytes) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (!r && (!ptr || !bytes)) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : allocate(d, ptr, bytes));
}

// After a fault it still gives the memory back, and returns the fault.
int drv_mem_free(uint64_t ptr) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (r && r != d->error) return driver_leave(d, r);
    if (!ptr) return driver_leave(d, r);
    MemoryBlock *b = find_block(&d->allocations, ptr);
    if (!b) return driver_leave(d, r ? r : SN_CU_INVALID_VALUE);
    queue_run_all(d);
    history_forget(d, b->base, b->bytes);
    emu_free(d->device, ptr);
    remove_block(&d->allocations, b);
    return driver_leave(d, d->error);
}

int drv_host_alloc(void **ptr, size_t bytes, unsigned flags) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (!r && (!ptr || !bytes || flags > HOST_FLAGS)) r = SN_CU_INVALID_VALUE;
    if (!r && bytes > SIZE_MAX - PAGE) r = SN_CU_OUT_OF_MEMORY;
    if (r) return driver_leave(d, r);
    void *p = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
    MemoryBlock b = {.base = (uintptr_t)p, .bytes = bytes, .host = p};
    if (!p || !add_block(d, &d->pinned, b)) {
        free(p);
        return driver_leave(d, SN_CU_OUT_OF_MEMORY);
    }
    *ptr = p;
    return driver_leave(d, SN_CU_OK);
}

int drv_host_free(void *ptr) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (r && r != d->error) return driver_leave(d, r);
    MemoryBlock *b = find_block(&d->pinned, (uintptr_t)ptr);
    if (!b) return driver_leave(d, r ? r : SN_CU_INVALID_VALUE);
    queue_run_all(d);
    history_forget(d, b->base, b->bytes);
    free(b->host);
    remove_block(&d->pinned, b);
    return driver_leave(d, d->error);
}

// ---- copies and fills ---------------------------------------------------------------------------

static bool on_device(const EmuDriver *d, uint64_t base, size_t bytes) {
    return emu_host(d->device, base, bytes) != NULL;
}

// The work, or NULL with *r set when there is nothing to do.
static Work *start(EmuDriver *d, Stream *s, WorkKind kind, const char *name, size_t bytes, int *r) {
    Work *w = NULL;
    *r = stream_check(d, s);
    if (!*r && bytes) {
        w = work_new(d, kind, name);
        if (!w) *r = SN_CU_OUT_OF_MEMORY;
    }
    note_end(d);
    if (w) w->bytes = bytes;
    return w;
}

static int finish(EmuDriver *d, Stream *s, Work *w) {
    int r = work_ready(d, w);
    if (!r) return stream_submit(d, s, w);
    work_release(w);
    return r;
}

static int refuse(Work *w, int error) {
    work_release(w);
    return error;
}

static int to_device(EmuDriver *d, uint64_t to, const void *from, size_t bytes, Stream *s) {
    int r = 0;
    Work *w = start(d, s, WORK_TO_DEVICE, "copy to the device", bytes, &r);
    if (!w) return r;
    if (!from || !on_device(d, to, bytes)) return refuse(w, SN_CU_INVALID_VALUE);
    w->to = to, w->host_from = from;
    work_own(w, to, bytes, false, true);
    if (is_pinned(d, from, bytes)) {
        work_pinned(w, from, bytes, false);
    } else if (!s->capture) {
        w->staged = malloc(bytes);
        if (!w->staged) return refuse(w, SN_CU_OUT_OF_MEMORY);
        memcpy(w->staged, from, bytes);
    }
    return finish(d, s, w);
}

int drv_copy_to_device(uint64_t to, const void *from, size_t bytes, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    return driver_leave(d, r ? r : to_device(d, to, from, bytes, stream_get(d, stream)));
}

static int to_host(EmuDriver *d, void *to, uint64_t from, size_t bytes, Stream *s) {
    int r = 0;
    Work *w = start(d, s, WORK_TO_HOST, "copy to the host", bytes, &r);
    if (!w) return r;
    if (!to || !on_device(d, from, bytes)) return refuse(w, SN_CU_INVALID_VALUE);
    w->from = from, w->host_to = to;
    work_own(w, from, bytes, true, false);
    bool pinned = is_pinned(d, to, bytes);
    if (pinned) work_pinned(w, to, bytes, true);
    r = finish(d, s, w);
    if (!r && !s->capture && !pinned) queue_run_until(d, &d->queues[s->queue].clock);
    return r ? r : d->error;
}

int drv_copy_to_host(void *to, uint64_t from, size_t bytes, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    return driver_leave(d, r ? r : to_host(d, to, from, bytes, stream_get(d, stream)));
}

static int copy(EmuDriver *d, uint64_t to, uint64_t from, size_t bytes, Stream *s) {
    int r = 0;
    Work *w = start(d, s, WORK_ON_DEVICE, "copy on the device", bytes, &r);
    if (!w) return r;
    if (!on_device(d, to, bytes) || !on_device(d, from, bytes))
        return refuse(w, SN_CU_INVALID_VALUE);
    w->to = to, w->from = from;
    work_own(w, from, bytes, true, false);
    work_own(w, to, bytes, false, true);
    return finish(d, s, w);
}

int drv_copy_on_device(uint64_t to, uint64_t from, size_t bytes, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    return driver_leave(d, r ? r : copy(d, to, from, bytes, stream_get(d, stream)));
}

static int fill(EmuDriver *d, uint64_t to, unsigned char value, size_t bytes, Stream *s) {
    int r = 0;
    Work *w = start(d, s, WORK_FILL, "fill", bytes, &r);
    if (!w) return r;
    if (!on_device(d, to, bytes)) return refuse(w, SN_CU_INVALID_VALUE);
    w->to = to, w->value = value;
    work_own(w, to, bytes, false, true);
    return finish(d, s, w);
}

int drv_fill_bytes(uint64_t to, unsigned char value, size_t bytes, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    return driver_leave(d, r ? r : fill(d, to, value, bytes, stream_get(d, stream)));
}

void drv_touch(const void *at, size_t bytes, int writes) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    if (!r && d->config.check && is_pinned(d, at, bytes))
        history_touch(d, (uintptr_t)at, bytes, writes != 0);
    driver_leave(d, r);
}

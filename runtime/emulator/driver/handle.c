// Handles of the emulated driver. A handle is no address but a number: kind, generation and slot, in
// a form that no pointer has, so that dereferencing one faults, and that a destroyed, foreign or
// wrong one is told apart without touching memory. The real driver promises less; that makes what is
// accepted here accepted there.
//
//   63..56: 0x5e   55..48: kind   47..32: generation   31..0: slot
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>

static void *encode(const HandleSlot *s, uint32_t i) {
    uint64_t v = UINT64_C(0x5e) << 56 | (uint64_t)s->kind << 48 | (uint64_t)s->generation << 32 | i;
    return (void *)(uintptr_t)v;
}

void *handle_new(EmuDriver *d, HandleKind kind, void *object) {
    uint32_t i = 0;
    while (i < d->slot_n && d->slots[i].kind != HANDLE_FREE) i++;
    if (i == d->slot_n) {
        uint32_t n = d->slot_n ? 2 * d->slot_n : 64;
        if (!driver_grow(d, (void **)&d->slots, n, sizeof *d->slots)) return NULL;
        for (; d->slot_n < n; d->slot_n++) d->slots[d->slot_n] = (HandleSlot){0};
    }
    HandleSlot *s = &d->slots[i];
    s->object = object;
    s->kind = kind;
    return encode(s, i);
}

static uint32_t slot_of(const void *handle) { return (uint32_t)(uintptr_t)handle; }

void *handle_get(const EmuDriver *d, HandleKind kind, const void *handle) {
    uint32_t i = slot_of(handle);
    if (i >= d->slot_n || d->slots[i].kind != kind) return NULL;
    return encode(&d->slots[i], i) == handle ? d->slots[i].object : NULL;
}

void handle_free(EmuDriver *d, const void *handle) {
    HandleSlot *s = &d->slots[slot_of(handle)];
    s->object = NULL;
    s->kind = HANDLE_FREE;
    s->generation++;
}

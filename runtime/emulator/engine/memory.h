// Device memory and its shadow. A device address is a number in a range of address space that is
// reserved and never accessible; the bytes are in another mapping, at the same distance from its
// start. Both are reserved without being committed.
#pragma once
#include "runtime/emulator/engine/emu.h"
#include <stdatomic.h>

typedef struct {
    uint64_t address, bytes; // as asked for
} Allocation;

typedef struct {
    uint64_t base, bytes; // of the device
    uint8_t *host;
    _Atomic uint64_t *written; // a bit for each byte: has a value; NULL without the checker
    _Atomic uint64_t *races;   // a word for each four bytes, see check.c; NULL without the checker
    uint64_t epoch;            // of the races: the launch
    Allocation *list;          // by address
    uint32_t count, cap;
    uint64_t used;
} Memory;

bool memory_init(Memory *m, uint64_t bytes, bool check);
void memory_free(Memory *m);
uint64_t memory_alloc(Memory *m, uint64_t bytes);
bool memory_release(Memory *m, uint64_t address);
// The allocation that holds the address, or NULL.
const Allocation *memory_find(const Memory *m, uint64_t address);
// A new number for a launch: what earlier launches left in `races` means nothing any more.
uint64_t memory_next_epoch(Memory *m);
void memory_mark(Memory *m, uint64_t address, uint64_t bytes, bool written);
// Offset of the first byte without a value, or -1.
int64_t memory_first_unwritten(const Memory *m, uint64_t address, uint64_t bytes);

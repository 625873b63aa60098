// The memory of an emulated device: reservation, allocation, and which bytes have a value.
//
// Allocations are kept in a sorted array: a training step has some hundred of them, and finding is
// more frequent than allocating.
#define _GNU_SOURCE
#include "runtime/emulator/engine/memory.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 256, POISON = 0xff /* a NaN in every floating-point type */ };

static void *reserve(uint64_t bytes, int protection) {
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

bool memory_init(Memory *m, uint64_t bytes, bool check) {
    *m = (Memory){.epoch = 0};
    if (!bytes || bytes > UINT64_C(1) << 42) return false;
    m->bytes = round_up(bytes, 4096);
    m->base = (uint64_t)(uintptr_t)reserve(m->bytes, PROT_NONE);
    m->host = reserve(m->bytes, PROT_READ | PROT_WRITE);
    if (check) {
        m->written = reserve(m->bytes / 8, PROT_READ | PROT_WRITE);
        m->races = reserve(m->bytes * 2, PROT_READ | PROT_WRITE);
    }
    if (m->base && m->host && (!check || (m->written && m->races))) return true;
    memory_free(m);
    return false;
}

void memory_free(Memory *m) {
    if (m->base) munmap((void *)(uintptr_t)m->base, m->bytes);
    if (m->host) munmap(m->host, m->bytes);
    if (m->written) munmap((void *)m->written, m->bytes / 8);
    if (m->races) munmap((void *)m->races, m->bytes * 2);
    free(m->list);
    *m = (Memory){.epoch = 0};
}

// Index of the first allocation above the address.
static uint32_t above(const Memory *m, uint64_t address) {
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->list[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const Allocation *memory_find(const Memory *m, uint64_t address) {
    uint32_t i = above(m, address);
    if (!i) return NULL;
    const Allocation *a = &m->list[i - 1];
    return address - a->address < a->bytes ? a : NULL;
}

static bool insert(Memory *m, uint32_t at, Allocation a) {
    if (m->count == m->cap) {
        uint32_t cap = m->cap ? m->cap * 2 : 64;
        Allocation *list = realloc(m->list, cap * sizeof *list);
        if (!list) return false;
        m->list = list;
        m->cap = cap;
    }
    memmove(m->list + at + 1, m->list + at, (m->count - at) * sizeof *m->list);
    m->list[at] = a;
    m->count++;
    return true;
}

// First fit. Between two allocations at least one granule is left free, so that an overrun by a few
// elements meets no neighbour.
uint64_t memory_alloc(Memory *m, uint64_t bytes) {
    uint64_t need = round_up(bytes ? bytes : 1, ALIGN) + ALIGN, at = m->base;
    if (bytes > m->bytes) return 0;
    uint32_t i = 0;
    for (; i < m->count; i++) {
        const Allocation *a = &m->list[i];
        if (a->address - at >= need) break;
        at = a->address + round_up(a->bytes, ALIGN) + ALIGN;
    }
    if (m->base + m->bytes < at || m->base + m->bytes - at < need - ALIGN) return 0;
    if (!insert(m, i, (Allocation){at, bytes ? bytes : 1})) return 0;
    m->used += need;
    memset(m->host + (at - m->base), POISON, bytes);
    memory_mark(m, at, round_up(bytes, ALIGN), false);
    return at;
}

bool memory_release(Memory *m, uint64_t address) {
    uint32_t i = above(m, address);
    if (!i || m->list[i - 1].address != address) return false;
    m->used -= round_up(m->list[i - 1].bytes, ALIGN) + ALIGN;
    memmove(m->list + i - 1, m->list + i, (m->count - i) * sizeof *m->list);
    m->count--;
    return true;
}

uint64_t memory_next_epoch(Memory *m) {
    enum { EPOCHS = 1 << 12 };
    if (++m->epoch == EPOCHS) {
        m->epoch = 1;
        if (m->races) madvise((void *)m->races, m->bytes * 2, MADV_DONTNEED);
    }
    return m->epoch;
}

// Whole words of the bitmap at once; the ends by masks.
void memory_mark(Memory *m, uint64_t address, uint64_t bytes, bool written) {
    if (!m->written) return;
    uint64_t at = address - m->base, end = at + bytes;
    while (at < end) {
        uint64_t word = at / 64, from = at % 64, n = 64 - from < end - at ? 64 - from : end - at;
        uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << from;
        if (written)
            atomic_fetch_or_explicit(&m->written[word], mask, memory_order_relaxed);
        else
            atomic_fetch_and_explicit(&m->written[word], ~mask, memory_order_relaxed);
        at += n;
    }
}

int64_t memory_first_unwritten(const Memory *m, uint64_t address, uint64_t bytes) {
    if (!m->written) return -1;
    uint64_t start = address - m->base, at = start, end = at + bytes;
    while (at < end) {
        uint64_t word = at / 64, from = at % 64, n = 64 - from < end - at ? 64 - from : end - at;
        uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << from;
        uint64_t missing = ~atomic_load_explicit(&m->written[word], memory_order_relaxed) & mask;
        if (missing) return (int64_t)(word * 64 + (uint64_t)__builtin_ctzll(missing) - start);
        at += n;
    }
    return -1;
}

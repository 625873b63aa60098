// The checker: where an access may go, which bytes have a value, and who else touched them.
//
// Global memory. A word of Memory.races for each four bytes says who touched them in this launch:
//
//   epoch 12 | atomic 1 | bytes written 4 | bytes read 4 | writer 21 | reader 21
//
// writer and reader are block numbers + 1 (modulo 2^21 - 2: two blocks far apart may pass for one), 0
// nobody, all ones for readers that are several. Blocks of a launch are never ordered, so two of them
// meeting in a byte, one writing, is a race unless both access it atomically. The word is exchanged
// atomically, so that the later of two blocks always sees the earlier one.
//
// Shared memory. Time counts meetings of threads: it goes up with every barrier of the block and with
// every instruction in which lanes of a warp meet. An access before the last meeting of all threads is
// ordered before this one; an access by the same warp is ordered when lanes of that warp met since.
// What meets partially (a barrier of some warps, a shuffle of some lanes) counts as a meeting of all
// of the block, or of the warp: races may then be missed, but what is reported is one.
#include "runtime/emulator/engine/exec.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- faults -------------------------------------------------------------------------------------

const char *emu_fault_name(EmuFaultKind kind) {
    static const char *const names[EMU_FAULT_COUNT] = {"none",
                                                       "out of bounds",
                                                       "uninitialised read",
                                                       "misaligned access",
                                                       "shared race",
                                                       "global race",
                                                       "divergence",
                                                       "deadlock",
                                                       "budget",
                                                       "resource limit",
                                                       "trap"};
    return kind < EMU_FAULT_COUNT ? names[kind] : "unknown";
}

static void thread_position(const Cx *c, uint32_t lane, uint32_t to[3]) {
    const uint32_t *block = c->launch->l->block;
    uint32_t n = c->warp->number * LANES + lane;
    to[0] = n % block[0];
    to[1] = n / block[0] % block[1];
    to[2] = n / block[0] / block[1];
}

void fault_at(Cx *c, EmuFaultKind kind, uint32_t line, uint32_t lane, uint64_t address,
              const char *fmt, ...) {
    c->stop = true;
    if (c->fault_block <= c->block) return;
    c->fault_block = c->block;
    EmuFault *f = &c->fault;
    const EmuLaunch *l = c->launch->l;
    *f = (EmuFault){.kind = kind, .line = line, .address = address};
    memcpy(f->block, c->ctaid, sizeof f->block);
    thread_position(c, lane, f->thread);
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(f->text, sizeof f->text,
             "kernel '%s'%s%s%s%s: %s: %s; block (%u,%u,%u) thread (%u,%u,%u), PTX line %u",
             l->kernel ? l->kernel : c->f->name, l->node ? ", op " : "", l->node ? l->node : "",
             l->where ? ", " : "", l->where ? l->where : "", emu_fault_name(kind), what,
             f->block[0], f->block[1], f->block[2], f->thread[0], f->thread[1], f->thread[2], line);
    for (char *p = f->text; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
    uint64_t lowest = atomic_load(&c->launch->d->lowest);
    while (c->block < lowest &&
           !atomic_compare_exchange_weak(&c->launch->d->lowest, &lowest, c->block)) {
    }
}

static const char *verb(AccessKind how) {
    return how == ACCESS_read ? "read" : how == ACCESS_write ? "write" : "atomic update";
}

// ---- ranges of global memory --------------------------------------------------------------------

static bool covers(const EmuRange *r, uint64_t address, uint32_t bytes) {
    return address >= r->base && address - r->base < r->bytes &&
           r->bytes - (address - r->base) >= bytes;
}
static bool allows(const EmuRange *r, uint64_t address, uint32_t bytes, AccessKind how) {
    return covers(r, address, bytes) && (how == ACCESS_write || r->reads) &&
           (how == ACCESS_read || r->writes);
}

// The last range of the span that begins at the address or before; the first one where none does.
static uint32_t find_last(const Launch *l, RangeSpan s, uint64_t address) {
    uint32_t low = s.first, high = s.first + s.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->ranges[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > s.first ? low - 1 : s.first;
}

static RangeSpan all_ranges(const Launch *l) { return (RangeSpan){0, l->range_count}; }

// ---- by which pointer ---------------------------------------------------------------------------

static bool in_memory(const Memory *m, uint64_t address, uint32_t bytes) {
    return address >= m->base && address - m->base <= m->bytes - bytes;
}

// The ranges that begin where the pointer points, and what continues them; if none does, from the first to
// the last that it is in: those between them lie in the first.
static RangeSpan span_of(const Launch *l, uint64_t pointer) {
    uint32_t last = find_last(l, all_ranges(l), pointer), first = last;
    if (l->ranges[last].base == pointer) {
        while (l->ranges[first - 1].base == pointer) first--;
        while (last + 1 < l->range_count && l->ranges[last + 1].continues) last++;
        return (RangeSpan){first, last - first + 1};
    }
    for (first = 0; first <= last && !covers(&l->ranges[first], pointer, 1);) first++;
    return (RangeSpan){first, last + 1 - first};
}

static void set_origin(const Cx *c, Origin *o, uint64_t pointer) {
    if (!in_memory(&c->launch->d->memory, pointer, 1)) return;
    o->pointer = pointer;
    o->span = span_of(c->launch, pointer);
    o->any = !o->span.count;
}

void start_origins(Cx *c) {
    const EmuFunction *f = c->f;
    memset(c->origin, 0, sizeof c->origin);
    c->origin[ORIGIN_ANY].any = true;
    for (uint32_t k = 0; k < f->origin_count; k++) {
        uint64_t value;
        if (f->origin_param[k] == ORIGIN_LOADED) continue;
        memcpy(&value, (const char *)c->launch->l->params + f->origin_param[k], sizeof value);
        set_origin(c, &c->origin[k], value);
    }
}

// Another block may find other pointers in a table, and then other ranges at its accesses.
static void forget_loaded(Cx *c) {
    const EmuFunction *f = c->f;
    for (uint32_t k = 0; k < f->origin_count; k++)
        if (f->origin_param[k] == ORIGIN_LOADED) c->origin[k] = (Origin){.pointer = 0};
    memset(c->hint, 0, f->sites * sizeof *c->hint);
}

// Threads of a block that load other pointers than its first one did may mean any.
void note_pointer(Cx *c, uint32_t origin, uint64_t value) {
    Origin *o = &c->origin[origin];
    if (value == o->pointer || o->any) return;
    if (!o->pointer)
        set_origin(c, o, value);
    else if (in_memory(&c->launch->d->memory, value, 1))
        o->any = true;
}

// The ranges that the access may be in, as spans: how many. All of them where no pointer is known.
static uint32_t spans_of(const Cx *c, const Insn *i, RangeSpan to[MAX_ORIGINS]) {
    uint32_t n = 0;
    for (uint64_t rest = c->f->origins[i->site]; rest; rest &= rest - 1) {
        const Origin *o = &c->origin[__builtin_ctzll(rest)];
        if (o->any) {
            n = 0;
            break;
        }
        if (o->span.count) to[n++] = o->span;
    }
    if (!n) to[n++] = all_ranges(c->launch);
    return n;
}

// The range that allows the access, or NULL. An atomic update may need two.
static const EmuRange *search(Cx *c, const Insn *i, uint64_t address, uint32_t bytes,
                              AccessKind how) {
    const Launch *l = c->launch;
    const EmuRange *reads = NULL, *writes = NULL;
    RangeSpan spans[MAX_ORIGINS];
    uint32_t n = spans_of(c, i, spans);
    for (uint32_t s = 0; s < n; s++) {
        RangeSpan at = spans[s];
        if (l->disjoint) at = (RangeSpan){find_last(l, at, address), 1};
        for (uint32_t k = at.first; k < at.first + at.count; k++) {
            const EmuRange *r = &l->ranges[k];
            if (allows(r, address, bytes, how)) {
                c->hint[i->site] = k;
                return r;
            }
            if (allows(r, address, bytes, ACCESS_read)) reads = r;
            if (allows(r, address, bytes, ACCESS_write)) writes = r;
        }
    }
    return how == ACCESS_atomic && reads && writes ? writes : NULL;
}

// The same; most accesses of an instruction are in one range.
static const EmuRange *find_range(Cx *c, const Insn *i, uint64_t address, uint32_t bytes,
                                  AccessKind how) {
    const EmuRange *r = &c->launch->ranges[c->hint[i->site]];
    return allows(r, address, bytes, how) ? r : search(c, i, address, bytes, how);
}

// ---- reports of what is out of bounds -----------------------------------------------------------

static const char *range_name(const EmuRange *r) { return r->name ? r->name : "unnamed"; }

static const char *permission(const EmuRange *r) {
    return r->reads ? "only read" : r->writes ? "only write" : "not touch";
}

// 0: all of the access is in the range.
static uint64_t distance(const EmuRange *r, uint64_t address, uint32_t bytes) {
    if (covers(r, address, bytes)) return 0;
    if (address < r->base) return r->base - address + 1;
    return address - r->base < r->bytes ? 1 : address - (r->base + r->bytes) + 1;
}

static const EmuRange *nearest(const Launch *l, RangeSpan s, uint64_t address, uint32_t bytes,
                               const EmuRange *best) {
    for (uint32_t k = s.first; k < s.first + s.count; k++) {
        const EmuRange *r = &l->ranges[k];
        if (r->bytes && (!best || distance(r, address, bytes) < distance(best, address, bytes)))
            best = r;
    }
    return best;
}

// Says what the pointer points to, or, where that is not known, what is next to the address; and
// which tensor of the launch the access hits instead.
static void fault_bounds(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                         AccessKind how) {
    const Launch *l = c->launch;
    RangeSpan spans[MAX_ORIGINS];
    const EmuRange *near = NULL, *hit = nearest(l, all_ranges(l), address, bytes, NULL);
    for (uint32_t n = spans_of(c, i, spans); n-- > 0;)
        near = nearest(l, spans[n], address, bytes, near);
    if (!near) {
        fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
                 "%s of %u bytes at 0x%" PRIx64 ", which is no device memory", verb(how), bytes,
                 address);
        return;
    }
    if (covers(near, address, bytes)) {
        fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
                 "%s of %u bytes at 0x%" PRIx64 ", in '%s', which this launch may %s", verb(how),
                 bytes, address, range_name(near), permission(near));
        return;
    }
    bool before = address < near->base, behind = address - near->base >= near->bytes,
         other = covers(hit, address, bytes);
    fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
             "%s of %u bytes at 0x%" PRIx64 ", %" PRIu64 " bytes %s '%s' of %" PRIu64
             " bytes%s%s%s",
             verb(how), bytes, address,
             before ? near->base - address : address - near->base - (behind ? near->bytes : 0),
             before   ? "before"
             : behind ? "behind the end of"
                      : "into",
             range_name(near), near->bytes, other ? ", in '" : "", other ? range_name(hit) : "",
             other ? "'" : "");
}

// ---- races of blocks ----------------------------------------------------------------------------

enum { BLOCK_BITS = 21, READER = 0, WRITER = 21, READ = 42, WRITTEN = 46, ATOMIC = 50, EPOCH = 51 };
#define BLOCK_MASK ((UINT64_C(1) << BLOCK_BITS) - 1)
#define SEVERAL    BLOCK_MASK

static inline uint64_t block_id(const Cx *c) { return c->race_id; }

void start_checks(Cx *c) {
    c->race_id = c->block % (BLOCK_MASK - 1) + 1;
    if (c->check && c->f->loads_pointers) forget_loaded(c);
}
static inline uint64_t bits_at(uint64_t s, int at, uint64_t mask) { return s >> at & mask; }

// The word after a read of these bytes; 0: a race.
static uint64_t after_read(uint64_t s, uint64_t me, uint64_t bytes, bool strong) {
    uint64_t writer = bits_at(s, WRITER, BLOCK_MASK), reader = bits_at(s, READER, BLOCK_MASK);
    uint64_t read = bits_at(s, READ, 15);
    if (writer && writer != me && bits_at(s, WRITTEN, 15) & bytes && !(s >> ATOMIC & 1 && strong))
        return 0;
    if (strong) return s;
    if (!reader || reader == me) {
        reader = me, read |= bytes;
    } else if (read & bytes) {
        if (reader != SEVERAL || (read & bytes) == bytes) read &= bytes;
        reader = SEVERAL;
    } else {
        reader = me, read = bytes;
    }
    s &= ~(BLOCK_MASK << READER | UINT64_C(15) << READ);
    return s | reader << READER | read << READ;
}

static uint64_t after_write(uint64_t s, uint64_t me, uint64_t bytes, bool strong) {
    uint64_t writer = bits_at(s, WRITER, BLOCK_MASK), reader = bits_at(s, READER, BLOCK_MASK);
    uint64_t written = bits_at(s, WRITTEN, 15);
    bool atomic = s >> ATOMIC & 1;
    if (writer && writer != me && written & bytes && !(atomic && strong)) return 0;
    if (reader && reader != me && bits_at(s, READ, 15) & bytes) return 0;
    if (writer == me)
        written |= bytes, atomic = atomic && strong;
    else
        written = bytes, atomic = strong;
    s &= ~(BLOCK_MASK << WRITER | UINT64_C(15) << WRITTEN | UINT64_C(1) << ATOMIC);
    return s | me << WRITER | written << WRITTEN | (uint64_t)atomic << ATOMIC;
}

static inline bool touch_word(Cx *c, _Atomic uint64_t *word, uint64_t bytes, AccessKind how,
                              bool strong) {
    uint64_t s = atomic_load_explicit(word, memory_order_relaxed), epoch = c->launch->epoch;
    for (;;) {
        uint64_t now = s >> EPOCH == epoch ? s : epoch << EPOCH;
        uint64_t next = how == ACCESS_read ? after_read(now, block_id(c), bytes, strong)
                                           : after_write(now, block_id(c), bytes, strong);
        if (!next) return false;
        if (next == s) return true;
        if (atomic_compare_exchange_weak_explicit(word, &s, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}

// Whole words by one block, as most accesses are: nothing to do when it was here before, one exchange
// when nobody was.
static inline bool touch_quickly(Cx *c, _Atomic uint64_t *word, AccessKind how) {
    uint64_t s = atomic_load_explicit(word, memory_order_relaxed), epoch = c->launch->epoch;
    uint64_t mine =
        epoch << EPOCH | (how == ACCESS_read ? block_id(c) << READER | UINT64_C(15) << READ
                                             : block_id(c) << WRITER | UINT64_C(15) << WRITTEN);
    if (s == mine) return true;
    return s >> EPOCH != epoch && atomic_compare_exchange_strong_explicit(
                                      word, &s, mine, memory_order_relaxed, memory_order_relaxed);
}

static bool touch_global(Cx *c, const Insn *i, uint64_t address, uint32_t bytes, AccessKind how) {
    const Memory *m = &c->launch->d->memory;
    uint64_t at = address - m->base, end = at + bytes;
    bool strong = how == ACCESS_atomic || i->flags & MEM_strong;
    while (at < end) {
        uint64_t word = at / 4, from = at % 4, n = 4 - from < end - at ? 4 - from : end - at;
        if (n == 4 && !strong && touch_quickly(c, &m->races[word], how)) {
            at += 4;
            continue;
        }
        if (!touch_word(c, &m->races[word], ((UINT64_C(1) << n) - 1) << from, how, strong))
            return false;
        at += n;
    }
    return true;
}

// A read can only race in memory that this launch may write.
static bool may_race(const Cx *c, const EmuRange *r, AccessKind how) {
    return how != ACCESS_read || c->launch->racy[r - c->launch->ranges];
}

// ---- global accesses ----------------------------------------------------------------------------

uint8_t *access_global(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                       AccessKind how) {
    const Memory *m = &c->launch->d->memory;
    if (!c->check) {
        if (!in_memory(m, address, bytes)) {
            fault_bounds(c, i, lane, address, bytes, how);
            return NULL;
        }
    }
    if (address & (bytes - 1)) {
        fault_at(c, EMU_FAULT_misaligned, i->line, lane, address,
                 "%s of %u bytes at 0x%" PRIx64 ", which is not a multiple of %u", verb(how), bytes,
                 address, bytes);
        return NULL;
    }
    if (!c->check) return m->host + (address - m->base);
    const EmuRange *r = find_range(c, i, address, bytes, how);
    if (!r) {
        fault_bounds(c, i, lane, address, bytes, how);
        return NULL;
    }
    int64_t missing = how == ACCESS_write ? -1 : memory_first_unwritten(m, address, bytes);
    if (missing >= 0) {
        fault_at(c, EMU_FAULT_uninitialised, i->line, lane, address + (uint64_t)missing,
                 "%s at 0x%" PRIx64 ", byte %" PRIu64 " of '%s', which was never written",
                 verb(how), address + (uint64_t)missing, address + (uint64_t)missing - r->base,
                 range_name(r));
        return NULL;
    }
    if (may_race(c, r, how) && !touch_global(c, i, address, bytes, how)) {
        fault_at(c, EMU_FAULT_global_race, i->line, lane, address,
                 "%s at 0x%" PRIx64 ", byte %" PRIu64 " of '%s', which another block of the launch "
                 "accesses too, one of the two writing",
                 verb(how), address, address - r->base, range_name(r));
        return NULL;
    }
    if (how == ACCESS_write) memory_mark(&c->launch->d->memory, address, bytes, true);
    return m->host + (address - m->base);
}

uint8_t *span_global(Cx *c, const Insn *i, uint64_t address, uint32_t bytes, AccessKind how) {
    Memory *m = &c->launch->d->memory;
    if (!in_memory(m, address, bytes)) return NULL;
    uint8_t *p = m->host + (address - m->base);
    if (!c->check) return p;
    const EmuRange *r = find_range(c, i, address, bytes, how);
    if (!r) return NULL;
    if (how == ACCESS_read && memory_first_unwritten(m, address, bytes) >= 0) return NULL;
    if (may_race(c, r, how) && !touch_global(c, i, address, bytes, how)) return NULL;
    if (how == ACCESS_write) memory_mark(m, address, bytes, true);
    return p;
}

// ---- shared memory ------------------------------------------------------------------------------

enum { READ_LANES = 1, READ_WARPS = 2, WROTE_ATOMIC = 4 };

// Whether what this thread did at that time is ordered before what `me` does now.
static inline bool ordered(const Cx *c, uint32_t when, uint32_t who, uint32_t me) {
    if (when < c->all_met || who == me) return true;
    return who / LANES == me / LANES && when < c->warp->since;
}

static inline void note_read(const Cx *c, SharedShadow *s, uint32_t me, uint8_t bytes) {
    bool stale = s->read < c->all_met, same = s->reader == me;
    bool near = s->reader / LANES == me / LANES;
    if (near && !(s->flags & READ_WARPS) && s->read < c->warp->since) stale = true;
    if (stale || (!same && !(s->read_bytes & bytes))) {
        s->flags &= (uint8_t) ~(READ_LANES | READ_WARPS);
        s->read_bytes = bytes;
    } else if (same && !(s->flags & (READ_LANES | READ_WARPS))) {
        s->read_bytes |= bytes;
    } else {
        if (!same) s->flags |= near ? READ_LANES : READ_WARPS;
        if (s->read_bytes & bytes) s->read_bytes &= bytes;
    }
    s->read = c->time;
    s->reader = (uint16_t)me;
}

static inline bool read_conflicts(const Cx *c, const SharedShadow *s, uint32_t me, uint8_t bytes) {
    if (!(s->read_bytes & bytes) || s->read < c->all_met) return false;
    if (s->flags & READ_WARPS) return true;
    if (s->flags & READ_LANES) return s->reader / LANES != me / LANES || s->read >= c->warp->since;
    return !ordered(c, s->read, s->reader, me);
}

static inline bool write_conflicts(const Cx *c, const SharedShadow *s, uint32_t me, uint8_t bytes,
                                   AccessKind how) {
    return s->wrote_bytes & bytes && !ordered(c, s->wrote, s->writer, me) &&
           !(s->flags & WROTE_ATOMIC && how == ACCESS_atomic);
}

static inline void note_write(const Cx *c, SharedShadow *s, uint32_t me, uint8_t bytes,
                              AccessKind how) {
    // What the thread wrote before a meeting is ordered for those it met: it must not look recent.
    bool recent = s->writer == me && s->wrote >= c->all_met && s->wrote >= c->warp->since;
    s->wrote_bytes = recent ? s->wrote_bytes | bytes : bytes;
    s->wrote = c->time;
    s->writer = (uint16_t)me;
    s->written |= bytes;
    if (how == ACCESS_atomic)
        s->flags |= WROTE_ATOMIC;
    else
        s->flags &= (uint8_t)~WROTE_ATOMIC;
}

// Whether a copy to this byte was asked for and not waited for.
static const AsyncCopy *copy_in_flight(const Cx *c, uint32_t address) {
    for (uint32_t w = 0; w < c->launch->warps; w++)
        for (uint32_t k = 0; k < c->warps[w].copies.n; k++) {
            const AsyncCopy *a = &c->warps[w].copies.at[k];
            if (address >= a->to && address - a->to < a->bytes) return a;
        }
    return NULL;
}

static void fault_unwritten(Cx *c, const Insn *i, uint32_t lane, uint32_t address, AccessKind how) {
    const AsyncCopy *a = copy_in_flight(c, address);
    if (a)
        fault_at(
            c, EMU_FAULT_uninitialised, i->line, lane, address,
            "%s of shared memory at 0x%x, to which the asynchronous copy of line %u has not been "
            "waited for",
            verb(how), address, a->line);
    else
        fault_at(c, EMU_FAULT_uninitialised, i->line, lane, address,
                 "%s of shared memory at 0x%x, which this block never wrote", verb(how), address);
}

static void fault_shared(Cx *c, const Insn *i, uint32_t lane, uint32_t address, AccessKind how,
                         uint32_t other, bool wrote) {
    const uint32_t *block = c->launch->l->block;
    fault_at(c, EMU_FAULT_shared_race, i->line, lane, address,
             "%s of shared memory at 0x%x, which thread (%u,%u,%u) %s with no barrier between",
             verb(how), address, other % block[0], other / block[0] % block[1],
             other / block[0] / block[1], wrote ? "wrote" : "read");
}

bool touch_shared(Cx *c, const Insn *i, uint32_t lane, uint32_t address, uint32_t bytes,
                  AccessKind how, const void *value) {
    uint32_t me = c->warp->number * LANES + lane;
    for (uint32_t at = address, end = address + bytes; at < end;) {
        uint32_t from = at % 4, n = 4 - from < end - at ? 4 - from : end - at;
        uint8_t mask = (uint8_t)(((1u << n) - 1) << from);
        SharedShadow *s = &c->shadow[at / 4];
        if (s->wrote < c->begin) s->written = 0, s->wrote_bytes = 0;
        if (how != ACCESS_write && mask & ~s->written) {
            fault_unwritten(c, i, lane, at, how);
            return false;
        }
        // Lanes of one warp may write the same value: whichever stays, it is the same.
        if (write_conflicts(c, s, me, mask, how) &&
            !(value && s->writer / LANES == me / LANES &&
              !memcmp(c->shared + at, (const uint8_t *)value + (at - address), n))) {
            fault_shared(c, i, lane, at, how, s->writer, true);
            return false;
        }
        if (how != ACCESS_read) {
            if (read_conflicts(c, s, me, mask)) {
                fault_shared(c, i, lane, at, how, s->reader, false);
                return false;
            }
            note_write(c, s, me, mask, how);
        } else {
            note_read(c, s, me, mask);
        }
        at += n;
    }
    return true;
}

// Whether a read of this whole word is in order and adds nothing to what is known: nobody wrote it
// since the last meeting of all, and since then several warps read it, or several lanes of this warp.
static inline bool read_before(const Cx *c, const SharedShadow *s) {
    if (s->wrote >= c->all_met || s->wrote < c->begin || s->written != 15 || s->read_bytes != 15)
        return false;
    if (s->flags & READ_WARPS) return s->read >= c->all_met;
    return s->flags & READ_LANES && s->reader / LANES == c->warp->number && s->read >= c->all_met &&
           s->read >= c->warp->since;
}

bool touch_shared_reads(Cx *c, const Insn *i, const uint64_t address[LANES], uint32_t bytes) {
    for (uint32_t k = 0; k < LANES; k++) {
        bool known = !(bytes & 3);
        for (uint32_t w = 0; known && w < bytes / 4; w++)
            known = read_before(c, &c->shadow[address[k] / 4 + w]);
        if (!known && !touch_shared(c, i, k, (uint32_t)address[k], bytes, ACCESS_read, NULL))
            return false;
    }
    return true;
}

uint8_t *access_shared(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                       AccessKind how, const void *value) {
    if (address > c->shared_bytes || c->shared_bytes - address < bytes) {
        fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
                 "%s of %u bytes of shared memory at 0x%" PRIx64 ", the block has %u bytes",
                 verb(how), bytes, address, c->shared_bytes);
        return NULL;
    }
    if (address & (bytes - 1)) {
        fault_at(c, EMU_FAULT_misaligned, i->line, lane, address,
                 "%s of %u bytes of shared memory at 0x%" PRIx64 ", which is not a multiple of %u",
                 verb(how), bytes, address, bytes);
        return NULL;
    }
    if (c->check && !touch_shared(c, i, lane, (uint32_t)address, bytes, how, value)) return NULL;
    return c->shared + address;
}

// ---- local memory, constants, parameters --------------------------------------------------------

uint8_t *access_local(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                      AccessKind how) {
    uint32_t size = c->f->local_bytes;
    if (address > size || size - address < bytes) {
        fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
                 "%s of %u bytes of local memory at 0x%" PRIx64 ", a thread has %u bytes",
                 verb(how), bytes, address, size);
        return NULL;
    }
    if (address & (bytes - 1)) {
        fault_at(c, EMU_FAULT_misaligned, i->line, lane, address,
                 "%s of %u bytes of local memory at 0x%" PRIx64, verb(how), bytes, address);
        return NULL;
    }
    uint64_t all = (uint64_t)size * c->launch->warps * LANES;
    uint64_t at = (uint64_t)size * (c->warp->number * LANES + lane) + address;
    uint8_t *written = c->local + all + at;
    if (!c->check) return c->local + at;
    if (how != ACCESS_read) memset(written, 1, bytes);
    for (uint32_t k = 0; how == ACCESS_read && k < bytes; k++) {
        if (written[k]) continue;
        fault_at(c, EMU_FAULT_uninitialised, i->line, lane, address + k,
                 "read of local memory at 0x%" PRIx64 ", which this thread never wrote",
                 address + k);
        return NULL;
    }
    return c->local + at;
}

uint8_t *access_constant(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                         StateSpace space) {
    bool param = space == SPACE_param;
    const uint8_t *base = param ? c->launch->l->params : c->f->module->constants;
    uint64_t size = param ? c->f->param_bytes : c->f->module->constant_bytes;
    if (address > size || size - address < bytes) {
        fault_at(c, EMU_FAULT_bounds, i->line, lane, address,
                 "read of %u bytes of %s at 0x%" PRIx64 " of %" PRIu64, bytes,
                 param ? "the parameters" : "constant memory", address, size);
        return NULL;
    }
    if (address & (bytes - 1)) {
        fault_at(c, EMU_FAULT_misaligned, i->line, lane, address,
                 "read of %u bytes of %s at 0x%" PRIx64, bytes,
                 param ? "the parameters" : "constant memory", address);
        return NULL;
    }
    return (uint8_t *)(uintptr_t)(base + address);
}

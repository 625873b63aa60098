// Loads, stores, atomic updates and asynchronous copies. A full warp with consecutive or equal
// addresses is one check and one copy; anything else goes lane by lane through check.c, which also
// says what is wrong when the fast way finds that something is.
#include "runtime/emulator/engine/lanes.h"
#include <stdlib.h>

typedef struct {
    _Alignas(32) uint64_t a[LANES];
    uint64_t first;
} Addresses;

static inline void read_addresses(const Cx *c, const Insn *i, uint32_t r, Addresses *to) {
    const void *x = place(c, r);
    L4 *d = (L4 *)(void *)to->a;
    uint64_t offset = (uint64_t)i->offset;
    if (i->flags & MEM_narrow) {
        const U4 *narrow = x;
        uint32_t low = (uint32_t)offset;
        for (int k = 0; k < 8; k++) d[k] = __builtin_convertvector(narrow[k] + low, L4);
    } else {
        const L4 *wide = x;
        for (int k = 0; k < 8; k++) d[k] = wide[k] + offset;
    }
    to->first = to->a[0];
}

static inline bool all_zero(L4 x) { return _mm256_testz_si256((__m256i)x, (__m256i)x); }

// Whether lane k is at first + k * step.
static inline bool consecutive(const Addresses *a, uint64_t step) {
    const L4 *x = (const L4 *)(const void *)a->a;
    L4 want = (L4){0, 1, 2, 3} * step + a->first, off = {0};
    for (int k = 0; k < 8; k++, want += 4 * step) off |= x[k] ^ want;
    return all_zero(off);
}

// ---- elements -----------------------------------------------------------------------------------

// An element in memory, extended to its register.
static inline uint64_t element(const Insn *i, const uint8_t *p) {
    uint64_t v = 0;
    memcpy(&v, p, i->bytes);
    if (!(i->flags & MEM_signed)) return v;
    int shift = 64 - 8 * i->bytes;
    v = (uint64_t)((int64_t)(v << shift) >> shift);
    // A 16-bit register holds its value zero-extended.
    return i->aux == 16 ? v & 0xffff : v;
}
static inline void put_element(Cx *c, const Insn *i, uint32_t j, uint32_t k, const uint8_t *p) {
    uint64_t v = element(i, p + j * i->bytes);
    if (i->wide >> j & 1)
        ((u64a *)place(c, i->r[j]))[k] = v;
    else
        ((u32a *)place(c, i->r[j]))[k] = (uint32_t)v;
}

static inline void get_element(Cx *c, const Insn *i, uint32_t j, uint32_t k, uint8_t *to) {
    const void *x = place(c, i->r[1 + j]);
    uint64_t v = i->wide >> j & 1 ? ((const u64a *)x)[k] : ((const u32a *)x)[k];
    memcpy(to + j * i->bytes, &v, i->bytes);
}

static inline bool words(const Insn *i) { return i->bytes == 4 && !i->wide; }

// 32 lanes' elements that lie one after the other.
static inline void unpack(Cx *c, const Insn *i, const uint8_t *p) {
    uint32_t n = i->lanes;
    if (words(i) && n == 1) {
        memcpy(place(c, i->r[0]), p, 4 * LANES);
    } else if (words(i)) {
        const u32a *x = (const u32a *)(const void *)p;
        for (uint32_t j = 0; j < n; j++) {
            u32a *d = place(c, i->r[j]);
            for (uint32_t k = 0; k < LANES; k++) d[k] = x[k * n + j];
        }
    } else if (i->bytes == 8 && n == 1) {
        memcpy(place(c, i->r[0]), p, 8 * LANES);
    } else {
        for (uint32_t k = 0; k < LANES; k++)
            for (uint32_t j = 0; j < n; j++) put_element(c, i, j, k, p + k * n * i->bytes);
    }
}
static inline void pack(Cx *c, const Insn *i, uint8_t *p) {
    uint32_t n = i->lanes;
    if (words(i) && n == 1) {
        memcpy(p, place(c, i->r[1]), 4 * LANES);
    } else if (words(i)) {
        u32a *d = (u32a *)(void *)p;
        for (uint32_t j = 0; j < n; j++) {
            const u32a *x = place(c, i->r[1 + j]);
            for (uint32_t k = 0; k < LANES; k++) d[k * n + j] = x[k];
        }
    } else if (i->bytes == 8 && n == 1) {
        memcpy(p, place(c, i->r[1]), 8 * LANES);
    } else {
        for (uint32_t k = 0; k < LANES; k++)
            for (uint32_t j = 0; j < n; j++) get_element(c, i, j, k, p + k * n * i->bytes);
    }
}

// ---- loads --------------------------------------------------------------------------------------

static uint8_t *access_lane(Cx *c, const Insn *i, uint32_t k, uint64_t address, uint32_t bytes,
                            StateSpace space, AccessKind how, const void *value) {
    if (space == SPACE_generic) {
        space = (StateSpace)(address >> 56);
        address &= ~(UINT64_C(255) << 56);
        if (space == SPACE_generic) space = SPACE_global;
    }
    switch (space) {
    case SPACE_global: return access_global(c, i, k, address, bytes, how);
    case SPACE_shared: return access_shared(c, i, k, address, bytes, how, value);
    case SPACE_local: return access_local(c, i, k, address, bytes, how);
    case SPACE_param:
    case SPACE_const:
        if (how == ACCESS_read) return access_constant(c, i, k, address, bytes, space);
        break;
    case SPACE_generic:
    case SPACE_COUNT: break;
    }
    fault_at(c, EMU_FAULT_bounds, i->line, k, address,
             "access to an address that is in no space that allows it: 0x%llx",
             (unsigned long long)address);
    return NULL;
}

static void load_lanes(Cx *c, const Insn *i, const Addresses *a) {
    uint32_t bytes = (uint32_t)i->bytes * i->lanes;
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        const uint8_t *p =
            access_lane(c, i, k, a->a[k], bytes, (StateSpace)i->space, ACCESS_read, NULL);
        if (!p) return;
        for (uint32_t j = 0; j < i->lanes; j++) put_element(c, i, j, k, p);
    }
}

static inline void count_loads(Cx *c, uint32_t bytes) {
    c->counts.loads += (uint64_t)bytes * (uint32_t)__builtin_popcount(c->mask);
}

static inline bool is_global(const Insn *i, const Addresses *a) {
    return i->space == SPACE_global || (i->space == SPACE_generic && !(a->first >> 56));
}

static bool load_global_fast(Cx *c, const Insn *i, const Addresses *a, uint32_t bytes) {
    if (c->mask != ALL_LANES || a->first & (bytes - 1)) return false;
    if (consecutive(a, bytes)) {
        const uint8_t *p = span_global(c, i, a->first, bytes * LANES, ACCESS_read);
        if (p) unpack(c, i, p);
        return p;
    }
    if (!consecutive(a, 0)) return false;
    const uint8_t *p = span_global(c, i, a->first, bytes, ACCESS_read);
    for (uint32_t k = 0; p && k < LANES; k++)
        for (uint32_t j = 0; j < i->lanes; j++) put_element(c, i, j, k, p);
    return p;
}

// All active lanes aligned and within the block's shared memory.
static inline bool shared_in_range(const Cx *c, const Addresses *a, uint32_t bytes) {
    if (c->mask != ALL_LANES || c->shared_bytes < bytes) return false;
    const L4 *x = (const L4 *)(const void *)a->a;
    uint64_t last = c->shared_bytes - bytes;
    L4 odd = {0};
    for (int k = 0; k < 8; k++) odd |= (x[k] & (uint64_t)(bytes - 1)) | (L4)(x[k] > last);
    return all_zero(odd);
}

static bool load_shared_fast(Cx *c, const Insn *i, const Addresses *a, uint32_t bytes) {
    if (!shared_in_range(c, a, bytes)) return false;
    if (c->check && !touch_shared_reads(c, i, a->a, bytes)) return true;
    if (words(i)) {
        for (uint32_t j = 0; j < i->lanes; j++) {
            u32a *d = place(c, i->r[j]);
            const uint8_t *base = c->shared + 4 * j;
            for (uint32_t k = 0; k < LANES; k++)
                d[k] = *(const u32a *)(const void *)(base + a->a[k]);
        }
        return true;
    }
    for (uint32_t k = 0; k < LANES; k++)
        for (uint32_t j = 0; j < i->lanes; j++) put_element(c, i, j, k, c->shared + a->a[k]);
    return true;
}

void op_load(Cx *c, const Insn *i) {
    Addresses a;
    read_addresses(c, i, i->r[i->dsts], &a);
    uint32_t bytes = (uint32_t)i->bytes * i->lanes;
    if (is_global(i, &a)) {
        count_loads(c, bytes);
        if (load_global_fast(c, i, &a, bytes)) return;
    } else if (i->space == SPACE_shared && load_shared_fast(c, i, &a, bytes)) {
        return;
    }
    load_lanes(c, i, &a);
}

void op_load_pointer(Cx *c, const Insn *i) {
    i->inner(c, i);
    for (uint32_t j = 0; c->check && !c->stop && j < i->lanes; j++) {
        const u64a *x = place(c, i->r[j]);
        for (uint32_t rest = c->mask; rest; rest &= rest - 1)
            note_pointer(c, i->pointer - 1u + j, x[__builtin_ctz(rest)]);
    }
}

// A parameter or constant at an address that stands in the instruction: writes all lanes.
void op_load_uniform(Cx *c, const Insn *i) {
    uint32_t lane = (uint32_t)__builtin_ctz(c->mask), bytes = (uint32_t)i->bytes * i->lanes;
    const uint8_t *p =
        access_constant(c, i, lane, (uint64_t)i->offset, bytes, (StateSpace)i->space);
    if (!p) return;
    for (uint32_t j = 0; j < i->lanes; j++) {
        uint64_t v = element(i, p + j * i->bytes);
        if (i->wide >> j & 1) {
            L4 *d = place(c, i->r[j]);
            for (int k = 0; k < 8; k++) d[k] = (L4){0} + v;
        } else {
            U8 *d = place(c, i->r[j]);
            for (int k = 0; k < 4; k++) d[k] = (U8){0} + (uint32_t)v;
        }
    }
}

// ---- stores -------------------------------------------------------------------------------------

static void note_nan(Cx *c, const Insn *i) {
    for (uint32_t j = 0; j < i->lanes; j++) {
        const F8 *x = place(c, i->r[1 + j]);
        uint32_t nan = 0;
        for (int k = 0; k < 4; k++) nan |= mask8((I8)(x[k] != x[k])) << 8 * k;
        if (!(nan & c->mask) || c->nan_block <= c->block) continue;
        c->nan_block = c->block;
        c->counts.nan_line = i->line;
    }
}

static void store_lanes(Cx *c, const Insn *i, const Addresses *a) {
    uint32_t bytes = (uint32_t)i->bytes * i->lanes;
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        uint8_t value[64];
        for (uint32_t j = 0; j < i->lanes; j++) get_element(c, i, j, k, value);
        uint8_t *p =
            access_lane(c, i, k, a->a[k], bytes, (StateSpace)i->space, ACCESS_write, value);
        if (!p) return;
        memcpy(p, value, bytes);
    }
}

static bool store_shared_fast(Cx *c, const Insn *i, const Addresses *a, uint32_t bytes) {
    if (!words(i) || i->lanes != 1 || !shared_in_range(c, a, bytes)) return false;
    const u32a *x = place(c, i->r[1]);
    for (uint32_t k = 0; k < LANES; k++) {
        uint32_t v = x[k];
        if (c->check && !touch_shared(c, i, k, (uint32_t)a->a[k], 4, ACCESS_write, &v)) return true;
        memcpy(c->shared + a->a[k], &v, 4);
    }
    return true;
}

void op_store(Cx *c, const Insn *i) {
    Addresses a;
    read_addresses(c, i, i->r[0], &a);
    uint32_t bytes = (uint32_t)i->bytes * i->lanes;
    if (is_global(i, &a)) {
        c->counts.stores += (uint64_t)bytes * (uint32_t)__builtin_popcount(c->mask);
        if (i->flags & MEM_float) note_nan(c, i);
        if (c->mask == ALL_LANES && !(a.first & (bytes - 1)) && consecutive(&a, bytes)) {
            uint8_t *p = span_global(c, i, a.first, bytes * LANES, ACCESS_write);
            if (p) {
                pack(c, i, p);
                return;
            }
        }
    } else if (i->space == SPACE_shared && store_shared_fast(c, i, &a, bytes)) {
        return;
    }
    store_lanes(c, i, &a);
}

// ---- atomic updates -----------------------------------------------------------------------------

static uint64_t updated(AtomicOp op, uint64_t old, uint64_t b, uint64_t other, bool wide) {
    int64_t so = wide ? (int64_t)old : (int32_t)old, sb = wide ? (int64_t)b : (int32_t)b;
    switch (op) {
    case ATOMIC_add: return old + b;
    case ATOMIC_and: return old & b;
    case ATOMIC_or: return old | b;
    case ATOMIC_xor: return old ^ b;
    case ATOMIC_exch: return b;
    case ATOMIC_min_u: return old < b ? old : b;
    case ATOMIC_max_u: return old > b ? old : b;
    case ATOMIC_min_s: return so < sb ? old : b;
    case ATOMIC_max_s: return so > sb ? old : b;
    case ATOMIC_inc: return old >= b ? 0 : old + 1;
    case ATOMIC_dec: return !old || old > b ? b : old - 1;
    case ATOMIC_cas: return old == b ? other : old;
    }
    return old;
}

static uint64_t update_word(void *p, AtomicOp op, uint64_t b, uint64_t other) {
    _Atomic uint32_t *word = p;
    uint32_t old = atomic_load(word);
    while (!atomic_compare_exchange_weak(word, &old, (uint32_t)updated(op, old, b, other, false))) {
    }
    return old;
}
static uint64_t update_long(void *p, AtomicOp op, uint64_t b, uint64_t other) {
    _Atomic uint64_t *word = p;
    uint64_t old = atomic_load(word);
    while (!atomic_compare_exchange_weak(word, &old, updated(op, old, b, other, true))) {
    }
    return old;
}

// r: result (if any), address, b, other (of cas). aux: AtomicOp.
void op_atomic(Cx *c, const Insn *i) {
    Addresses a;
    const uint32_t *r = i->r + i->dsts;
    read_addresses(c, i, r[0], &a);
    bool wide = i->bytes == 8;
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        const void *x = place(c, r[1]), *y = place(c, r[i->srcs - 1]);
        uint64_t b = wide ? ((const u64a *)x)[k] : ((const u32a *)x)[k];
        uint64_t other = wide ? ((const u64a *)y)[k] : ((const u32a *)y)[k];
        void *p = access_lane(c, i, k, a.a[k], i->bytes, (StateSpace)i->space, ACCESS_atomic, NULL);
        if (!p) return;
        uint64_t old = wide ? update_long(p, (AtomicOp)i->aux, b, other)
                            : update_word(p, (AtomicOp)i->aux, b, other);
        if (!i->dsts) continue;
        if (wide)
            ((u64a *)place(c, i->r[0]))[k] = old;
        else
            ((u32a *)place(c, i->r[0]))[k] = (uint32_t)old;
    }
}

// ---- asynchronous copies ------------------------------------------------------------------------

enum {
    MAX_COPIES = 1 << 14
}; // of a warp in flight; beyond, the oldest are carried out: any time is legal

static void carry_out(Cx *c, const AsyncCopy *a) {
    Insn how = {.line = a->line, .space = SPACE_shared};
    uint8_t value[16] = {0};
    const Memory *m = &c->launch->d->memory;
    if (a->filled) memcpy(value, m->host + (a->from - m->base), a->filled);
    if (c->check && !touch_shared(c, &how, a->lane, a->to, a->bytes, ACCESS_write, value)) return;
    memcpy(c->shared + a->to, value, a->bytes);
}

// Carries out the copies of these lanes but those of the last `keep` groups; all: also those that
// belong to no group yet.
static void finish_copies(Cx *c, uint32_t lanes, uint32_t keep, bool all) {
    Warp *w = c->warp;
    uint32_t kept = 0;
    for (uint32_t k = 0; k < w->copies.n; k++) {
        const AsyncCopy *a = &w->copies.at[k];
        bool due = lanes >> a->lane & 1 && (all || (uint64_t)a->group + keep < w->groups[a->lane]);
        if (due && !c->stop)
            carry_out(c, a);
        else
            w->copies.at[kept++] = *a;
    }
    w->copies.n = kept;
}

static bool room_for_copy(Cx *c) {
    Warp *w = c->warp;
    if (w->copies.n < w->copies.cap) return true;
    if (w->copies.n == MAX_COPIES) {
        finish_copies(c, ALL_LANES, 0, true);
        return true;
    }
    uint32_t cap = w->copies.cap ? w->copies.cap * 2 : 64;
    AsyncCopy *at = realloc(w->copies.at, cap * sizeof *at);
    if (!at) return false;
    w->copies.at = at;
    w->copies.cap = cap;
    return true;
}

// The bytes that the copy will write have no value until it is waited for.
static void forget_shared(Cx *c, uint32_t address, uint32_t bytes) {
    for (uint32_t at = address; at < address + bytes; at += 4) c->shadow[at / 4].written = 0;
}

// r: shared address, device address, bytes to read. bytes: of the copy.
void op_cp_async(Cx *c, const Insn *i) {
    Addresses to;
    read_addresses(c, i, i->r[0], &to);
    const u64a *from = place(c, i->r[1]);
    const u32a *size = place(c, i->r[2]);
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest), n = size[k] < i->bytes ? size[k] : i->bytes;
        uint64_t source = from[k];
        if (source >> 56) source = 0; // no device memory: refused below
        if (n && !access_global(c, i, k, source, i->bytes, ACCESS_read)) return;
        if (!access_shared(c, i, k, to.a[k], i->bytes, ACCESS_write, NULL)) return;
        c->counts.loads += n;
        if (c->check) forget_shared(c, (uint32_t)to.a[k], i->bytes);
        if (!room_for_copy(c)) {
            fault_at(c, EMU_FAULT_resources, i->line, k, source, "no host memory for a copy");
            return;
        }
        c->warp->copies.at[c->warp->copies.n++] = (AsyncCopy){.from = source,
                                                              .to = (uint32_t)to.a[k],
                                                              .group = c->warp->groups[k],
                                                              .lane = (uint8_t)k,
                                                              .bytes = i->bytes,
                                                              .filled = (uint8_t)n,
                                                              .line = i->line};
    }
}

void op_cp_commit(Cx *c, const Insn *i) {
    (void)i;
    for (uint32_t k = 0; k < LANES; k++)
        if (c->mask >> k & 1) c->warp->groups[k]++;
}
void op_cp_wait(Cx *c, const Insn *i) {
    finish_copies(c, c->mask, *(u32a *)place(c, i->r[0]), false);
}
void op_cp_wait_all(Cx *c, const Insn *i) {
    (void)i;
    finish_copies(c, c->mask, 0, true);
}

// Runs a block of threads: its warps in turn, each until it stops at a barrier or ends.
//
// Within a warp, the basic block with the lowest number that has waiting lanes runs next, with all
// lanes that wait for it. That is right for any control flow, and lanes that went apart come together
// at the first block that both reach.
#include "runtime/emulator/engine/exec.h"
#include "runtime/emulator/engine/lanes.h"
#include <stdlib.h>

enum { TURN = 1 << 16 }; // basic blocks that a warp runs before another gets a turn

// ---- instructions -------------------------------------------------------------------------------

// Runs an instruction that writes all lanes, and puts back what inactive lanes held.
static void run_blended(Cx *c, const Insn *i) {
    enum { MOST = 8 };
    uint8_t before[MOST][256] __attribute__((aligned(32)));
    for (uint32_t j = 0; j < i->dsts; j++)
        memcpy(before[j], place(c, i->r[j]), i->preds >> j & 1 ? 4 : i->wide >> j & 1 ? 256 : 128);
    i->fn(c, i);
    for (uint32_t j = 0; j < i->dsts; j++) {
        if (i->preds >> j & 1) {
            u32a *d = place(c, i->r[j]), old = *(u32a *)(void *)before[j];
            *d = (*d & c->mask) | (old & ~c->mask);
        } else if (i->wide >> j & 1) {
            L4 *d = place(c, i->r[j]);
            const L4 *old = (const L4 *)(const void *)before[j];
            for (int k = 0; k < 8; k++) d[k] = select4(lanes4(c->mask >> 4 * k), d[k], old[k]);
        } else {
            U8 *d = place(c, i->r[j]);
            const U8 *old = (const U8 *)(const void *)before[j];
            for (int k = 0; k < 4; k++) d[k] = select8(lanes8(c->mask >> 8 * k), d[k], old[k]);
        }
    }
}

static uint32_t guard_mask(const Cx *c, uint32_t guard, bool turned) {
    uint32_t p = *(u32a *)place(c, guard);
    return turned ? ~p : p;
}

static void run_guarded(Cx *c, const Insn *i) {
    uint32_t mask = c->mask;
    c->mask &= guard_mask(c, i->guard, i->guard_not);
    if (c->mask == ALL_LANES || (c->mask && !i->blend))
        i->fn(c, i);
    else if (c->mask)
        run_blended(c, i);
    c->mask = mask;
}

static void run_insns(Cx *c, const Insn *i, const Insn *end) {
    if (c->mask == ALL_LANES) {
        for (; i < end && !c->stop; i++) {
            if (i->guarded)
                run_guarded(c, i);
            else
                i->fn(c, i);
        }
        return;
    }
    for (; i < end && !c->stop; i++) {
        if (i->guarded)
            run_guarded(c, i);
        else if (i->blend)
            run_blended(c, i);
        else
            i->fn(c, i);
    }
}

// ---- budget -------------------------------------------------------------------------------------

// Brings the launch's count up to date; a launch that goes on for ever ends here.
static void spend(Cx *c, uint32_t line, uint32_t lane) {
    enum { STEP = 1 << 22 };
    EmuDevice *d = c->launch->d;
    uint64_t fresh = c->counts.instructions - c->flushed;
    uint64_t used = atomic_fetch_add(&d->used, fresh) + fresh;
    c->flushed = c->counts.instructions;
    uint64_t budget = c->launch->budget, left = used < budget ? budget - used : 0;
    c->limit = c->counts.instructions + (left < STEP ? left + 1 : STEP);
    if (!left)
        fault_at(
            c, EMU_FAULT_budget, line, lane, 0,
            "the launch has run its budget of %llu thread instructions: an endless loop, or lanes "
            "that wait for each other",
            (unsigned long long)budget);
    // A block with a lower number has a fault: this one's is not wanted.
    if (atomic_load(&d->lowest) < c->block) c->stop = true;
}

// ---- meeting of lanes ---------------------------------------------------------------------------

// Lanes of the warp that must be at the block before the active ones may run it.
static uint32_t missing_members(Cx *c, const BasicBlock *b, uint32_t mask) {
    const u32a *members = place(c, b->members);
    uint32_t named = 0;
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        named |= members[k];
        if (members[k] >> k & 1) continue;
        fault_at(c, EMU_FAULT_divergence, c->f->insns[b->first].line, k, 0,
                 "the lane is not in the mask 0x%08x of lanes that it means to meet", members[k]);
        return 0;
    }
    return named & ~mask;
}

static void fault_missing(Cx *c, const BasicBlock *b, uint32_t present, uint32_t missing) {
    uint32_t k = (uint32_t)__builtin_ctz(missing);
    const Warp *w = c->warp;
    uint32_t lane = w->exists >> k & 1 ? k : (uint32_t)__builtin_ctz(present);
    const char *why = !(w->exists >> k & 1) ? "the block of threads does not have"
                      : !(w->live >> k & 1) ? "has ended"
                      : w->waiting >> k & 1 ? "waits at a barrier"
                                            : "never gets here";
    fault_at(c, EMU_FAULT_divergence, c->f->insns[b->first].line, lane, 0,
             "lanes that meet name lane %u, which %s (missing: 0x%08x)", k, why, missing);
}

// ---- control flow -------------------------------------------------------------------------------

static void branch_indexed(Cx *c, const BasicBlock *b, Warp *w) {
    const u32a *index = place(c, b->index);
    for (uint32_t rest = c->mask; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        if (index[k] >= b->target_count) {
            fault_at(c, EMU_FAULT_bounds, b->line, k, index[k],
                     "branch to entry %u of a list of %u", index[k], b->target_count);
            return;
        }
        w->pending[b->targets[index[k]]] |= 1u << k;
    }
}

// Lanes at a barrier wait there until all lanes of the warp have come.
static void arrive_lanes(Cx *c, const BasicBlock *b, Warp *w, uint32_t number) {
    uint32_t id = *(u32a *)place(c, b->barrier_id);
    uint32_t lane = (uint32_t)__builtin_ctz(c->mask);
    if (id >= BARRIERS) {
        fault_at(c, EMU_FAULT_divergence, b->line, lane, 0, "barrier %u: there are %d", id,
                 BARRIERS);
        return;
    }
    if (w->waiting && w->barrier_block != number) {
        uint32_t other = (uint32_t)__builtin_ctz(w->waiting);
        fault_at(c, EMU_FAULT_divergence, b->line, lane, 0,
                 "lane %u of the warp waits at the barrier of line %u, this one at another", other,
                 w->barrier_line);
        return;
    }
    w->waiting |= c->mask;
    w->barrier = id;
    w->barrier_line = b->line;
    w->barrier_block = number;
}

static void end_block(Cx *c, const BasicBlock *b, Warp *w, uint32_t number) {
    uint32_t taken = c->mask;
    if (b->guarded) taken &= guard_mask(c, b->guard, b->guard_not);
    uint32_t rest = c->mask & ~taken;
    switch ((EndKind)b->end) {
    case END_fall: w->pending[number + 1] |= c->mask; break;
    case END_branch:
        w->pending[b->target] |= taken;
        if (rest) w->pending[number + 1] |= rest;
        break;
    case END_index: branch_indexed(c, b, w); break;
    case END_exit:
        w->live &= ~taken;
        if (rest) w->pending[number + 1] |= rest;
        break;
    case END_trap:
        if (taken) fault_at(c, EMU_FAULT_trap, b->line, (uint32_t)__builtin_ctz(taken), 0, "trap");
        w->pending[number + 1] |= rest;
        break;
    case END_barrier: arrive_lanes(c, b, w, number); break;
    }
}

// The lowest basic block with waiting lanes from `from` on, or the number of blocks.
static uint32_t next_pending(const EmuFunction *f, const Warp *w, uint32_t from) {
    while (from < f->block_count && !w->pending[from]) from++;
    return from;
}

// The block to run next, which is not one whose lanes wait for lanes that are elsewhere.
static uint32_t choose_block(Cx *c, Warp *w, uint32_t from) {
    const EmuFunction *f = c->f;
    uint32_t waits = f->block_count, missing = 0;
    for (uint32_t n = next_pending(f, w, from); n < f->block_count; n = next_pending(f, w, n + 1)) {
        const BasicBlock *b = &f->blocks[n];
        if (!b->meets || w->pending[n] == ALL_LANES) return n;
        uint32_t m = missing_members(c, b, w->pending[n]);
        if (!m || c->stop) return n;
        if (waits == f->block_count) waits = n, missing = m;
    }
    if (waits < f->block_count && !c->stop)
        fault_missing(c, &f->blocks[waits], w->pending[waits], missing);
    return waits;
}

// Runs the warp until its lanes end or wait, or its turn is over.
static void run_warp(Cx *c, Warp *w) {
    const EmuFunction *f = c->f;
    c->warp = w;
    c->base[1] = w->own;
    uint32_t n = 0;
    for (int turn = 0; turn < TURN && !c->stop; turn++) {
        n = choose_block(c, w, n);
        if (n == f->block_count || c->stop) return;
        const BasicBlock *b = &f->blocks[n];
        c->mask = w->pending[n];
        w->pending[n] = 0;
        uint32_t lanes = (uint32_t)__builtin_popcount(c->mask);
        c->counts.instructions += (uint64_t)lanes * b->ptx;
        c->counts.warp_instructions += b->ptx;
        run_insns(c, f->insns + b->first, f->insns + b->first + b->count);
        if (c->stop) return;
        end_block(c, b, w, n);
        if (c->counts.instructions >= c->limit) spend(c, b->line, (uint32_t)__builtin_ctz(c->mask));
        // The lowest block with waiting lanes is the next one, or one that this one branched to. What
        // waits for other lanes further up gets its chance when they branch there, or next turn.
        if (b->end == END_fall)
            n++;
        else
            n = b->end == END_branch && b->target <= n ? b->target
                : b->end == END_index                  ? 0
                                                       : n + 1;
    }
}

// ---- barriers -----------------------------------------------------------------------------------

static uint32_t live_threads(const Cx *c) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < c->launch->warps; k++)
        n += (uint32_t)__builtin_popcount(c->warps[k].live);
    return n;
}

// A warp whose live lanes all wait has arrived. Whether this barrier expects a number of threads is
// said by those who arrive.
static bool arrive_warp(Cx *c, Warp *w) {
    const BasicBlock *b = &c->f->blocks[w->barrier_block];
    Barrier *x = &c->barriers[w->barrier];
    c->warp = w;
    c->base[1] = w->own;
    c->mask = w->waiting;
    uint32_t lane = (uint32_t)__builtin_ctz(w->waiting);
    uint32_t expected = b->counted ? ((u32a *)place(c, b->barrier_threads))[lane] : 0;
    if (b->counted && (!expected || expected % LANES)) {
        fault_at(c, EMU_FAULT_divergence, b->line, lane, 0,
                 "a barrier of %u threads: it must be a multiple of %d", expected, LANES);
        return false;
    }
    if (x->arrived && (x->expected != expected || (!expected && x->line != b->line))) {
        fault_at(c, EMU_FAULT_divergence, b->line, lane, 0,
                 "threads of the block wait at another barrier with the same number, in line %u",
                 x->line);
        return false;
    }
    // A warp counts with all its lanes when the barrier counts threads.
    x->arrived += expected ? LANES : (uint32_t)__builtin_popcount(w->waiting);
    x->expected = expected;
    x->line = b->line;
    if (b->barrier >= BARRIER_popc) {
        uint32_t yes = *(u32a *)place(c, b->predicate) & w->waiting;
        x->reduce_count += (uint32_t)__builtin_popcount(w->waiting);
        x->reduce_true += (uint32_t)__builtin_popcount(yes);
    }
    w->arrived = true;
    if (b->barrier == BARRIER_arrive) {
        w->pending[w->barrier_block + 1] |= w->waiting;
        w->waiting = 0;
        w->arrived = false;
    }
    return true;
}

static void put_reduction(Cx *c, const BasicBlock *b, const Barrier *x, uint32_t mask) {
    bool all = x->reduce_true == x->reduce_count, any = x->reduce_true;
    if (b->barrier == BARRIER_popc) {
        u32a *d = place(c, b->result);
        for (uint32_t k = 0; k < LANES; k++)
            if (mask >> k & 1) d[k] = x->reduce_true;
    } else if (b->barrier == BARRIER_and || b->barrier == BARRIER_or) {
        u32a *d = place(c, b->result);
        bool yes = b->barrier == BARRIER_and ? all : any;
        *d = yes ? *d | mask : *d & ~mask;
    }
}

// All have come: the warps that wait here go on.
static void release_barrier(Cx *c, uint32_t id) {
    Barrier *x = &c->barriers[id];
    c->all_met = ++c->time;
    for (uint32_t k = 0; k < c->launch->warps; k++) {
        Warp *w = &c->warps[k];
        w->since = c->time;
        if (!w->arrived || w->barrier != id) continue;
        c->base[1] = w->own;
        put_reduction(c, &c->f->blocks[w->barrier_block], x, w->waiting);
        w->pending[w->barrier_block + 1] |= w->waiting;
        w->waiting = 0;
        w->arrived = false;
    }
    *x = (Barrier){.arrived = 0};
}

static bool release_barriers(Cx *c) {
    bool any = false;
    uint32_t live = live_threads(c);
    for (uint32_t id = 0; id < BARRIERS; id++) {
        const Barrier *x = &c->barriers[id];
        if (!x->arrived || x->arrived < (x->expected ? x->expected : live)) continue;
        release_barrier(c, id);
        any = true;
    }
    return any;
}

static void fault_deadlock(Cx *c) {
    for (uint32_t k = 0; k < c->launch->warps; k++) {
        Warp *w = &c->warps[k];
        if (!w->waiting) continue;
        const Barrier *x = &c->barriers[w->barrier];
        c->warp = w;
        fault_at(c, EMU_FAULT_deadlock, w->barrier_line, (uint32_t)__builtin_ctz(w->waiting), 0,
                 "every thread waits: barrier %u has %u threads and needs %u", w->barrier,
                 x->arrived, x->expected ? x->expected : live_threads(c));
        return;
    }
}

// ---- a block of threads -------------------------------------------------------------------------

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static bool has_pending(const Cx *c, const Warp *w) {
    return w->live & ~w->waiting && next_pending(c->f, w, 0) < c->f->block_count;
}

// One turn of every warp, in an order that the seed gives. False: none could run.
static bool run_round(Cx *c, uint64_t round) {
    const Launch *l = c->launch;
    uint64_t seed = l->d->config.seed;
    uint32_t first = seed ? (uint32_t)(mix(seed ^ mix(c->block) ^ round) % l->warps) : 0;
    bool back = seed && mix(seed + round) & 1, any = false;
    for (uint32_t k = 0; k < l->warps && !c->stop; k++) {
        uint32_t n = (first + (back ? l->warps - k : k)) % l->warps;
        Warp *w = &c->warps[n];
        if (!has_pending(c, w)) continue;
        any = true;
        run_warp(c, w);
        if (!c->stop && w->waiting && w->waiting == w->live && !w->arrived) arrive_warp(c, w);
    }
    return any;
}

static void set_word(Cx *c, Special s, uint32_t value) {
    uint32_t r = c->f->special[s];
    if (r == UINT32_MAX) return;
    u32a *d = place(c, r);
    for (int k = 0; k < LANES; k++) d[k] = value;
}

static void set_warp_specials(Cx *c, const Warp *w) {
    const uint32_t *r = c->f->special, *block = c->launch->l->block;
    for (uint32_t k = 0; k < LANES; k++) {
        uint32_t t = w->number * LANES + k;
        uint32_t at[3] = {t % block[0], t / block[0] % block[1], t / block[0] / block[1]};
        for (int j = 0; j < 3; j++)
            if (r[SPECIAL_tid_x + j] != UINT32_MAX)
                ((u32a *)place(c, r[SPECIAL_tid_x + j]))[k] = at[j];
    }
    set_word(c, SPECIAL_warpid, w->number);
}

static void set_lane_specials(Cx *c) {
    static const Special ids[] = {SPECIAL_laneid, SPECIAL_lt, SPECIAL_le,
                                  SPECIAL_eq,     SPECIAL_ge, SPECIAL_gt};
    for (int j = 0; j < 6; j++) {
        uint32_t r = c->f->special[ids[j]];
        if (r == UINT32_MAX) continue;
        u32a *d = place(c, r);
        for (uint32_t k = 0; k < LANES; k++) {
            uint32_t bit = 1u << k, below = bit - 1;
            const uint32_t values[] = {k, below, below | bit, bit, ~below, ~below & ~bit};
            d[k] = values[j];
        }
    }
}

static void set_common_specials(Cx *c) {
    const Launch *l = c->launch;
    for (uint32_t j = 0; j < 3; j++) {
        set_word(c, (Special)(SPECIAL_ntid_x + j), l->l->block[j]);
        set_word(c, (Special)(SPECIAL_nctaid_x + j), l->l->grid[j]);
    }
    set_lane_specials(c);
    set_word(c, SPECIAL_nwarpid, l->warps);
    set_word(c, SPECIAL_smid, 0);
    set_word(c, SPECIAL_nsmid, 1);
    set_word(c, SPECIAL_dynamic, l->l->dynamic_shared);
    set_word(c, SPECIAL_total, l->shared_bytes);
    set_word(c, SPECIAL_warpsize, LANES);
}

static void start_warp(Cx *c, Warp *w, uint32_t number) {
    const Launch *l = c->launch;
    uint32_t left = l->threads - number * LANES;
    char *own = w->own;
    uint32_t *pending = w->pending;
    AsyncCopy *copies = w->copies.at;
    uint32_t cap = w->copies.cap;
    *w = (Warp){.own = own, .pending = pending, .number = number};
    w->copies.at = copies;
    w->copies.cap = cap;
    w->exists = left >= LANES ? ALL_LANES : (1u << left) - 1;
    w->live = w->exists;
    w->since = c->time;
    memset(pending, 0, (c->f->block_count + 1) * sizeof *pending);
    pending[0] = w->exists;
    c->warp = w;
    c->base[1] = own;
    if (!c->check) return;
    // A quiet NaN that no computation gives, also twice in 64 bits.
    u32a *rest = (u32a *)(void *)(own + c->f->own_special);
    for (uint32_t k = 0; k < (c->f->own_bytes - c->f->own_special) / 4; k++) rest[k] = 0x7fc5dead;
}

static void start_block(Cx *c) {
    const Launch *l = c->launch;
    const uint32_t *grid = l->l->grid;
    c->ctaid[0] = (uint32_t)(c->block % grid[0]);
    c->ctaid[1] = (uint32_t)(c->block / grid[0] % grid[1]);
    c->ctaid[2] = (uint32_t)(c->block / grid[0] / grid[1]);
    for (uint32_t j = 0; j < 3; j++) set_word(c, (Special)(SPECIAL_ctaid_x + j), c->ctaid[j]);
    if (c->time > UINT32_MAX / 2) {
        c->time = 0;
        if (c->shadow) memset(c->shadow, 0, c->shadow_cap);
    }
    c->begin = c->all_met = ++c->time;
    start_checks(c);
    c->clock_start = c->counts.warp_instructions;
    memset(c->barriers, 0, sizeof c->barriers);
    // Not zero: a kernel must not depend on it.
    memset(c->shared, 0xff, l->shared_bytes);
    uint64_t local = (uint64_t)c->f->local_bytes * l->warps * LANES;
    if (local) memset(c->local, 0xff, local), memset(c->local + local, 0, local);
    for (uint32_t k = 0; k < l->warps; k++) start_warp(c, &c->warps[k], k);
}

void exec_block(Cx *c, const Launch *launch, uint64_t block) {
    c->launch = launch;
    c->block = block;
    c->stop = false;
    start_block(c);
    for (uint64_t round = 0; !c->stop; round++) {
        bool ran = run_round(c, round);
        if (c->stop) break;
        if (!live_threads(c)) break;
        // A warp whose other lanes ended while some waited has arrived as well.
        for (uint32_t k = 0; k < launch->warps && !c->stop; k++) {
            Warp *w = &c->warps[k];
            if (w->waiting && w->waiting == w->live && !w->arrived) arrive_warp(c, w);
        }
        if (c->stop || release_barriers(c) || ran) continue;
        fault_deadlock(c);
    }
}

// ---- memory of a worker -------------------------------------------------------------------------

static bool grow(void *at, uint32_t *cap, uint64_t bytes) {
    void **p = at;
    if (bytes <= *cap) return true;
    if (bytes > UINT32_MAX / 2) return false;
    void *more = aligned_alloc(64, (bytes + 63) & ~UINT64_C(63));
    if (!more) return false;
    memset(more, 0, (bytes + 63) & ~UINT64_C(63));
    free(*p);
    *p = more;
    *cap = (uint32_t)bytes;
    return true;
}

static bool prepare_warps(Cx *c, const Launch *l) {
    const EmuFunction *f = l->f;
    uint64_t per_warp = (f->block_count + 1) * sizeof(uint32_t);
    per_warp = (per_warp + 63) & ~UINT64_C(63);
    if (!grow(&c->own_memory, &c->own_cap, (uint64_t)f->own_bytes * l->warps + 64)) return false;
    if (!grow(&c->pending_memory, &c->pending_cap, per_warp * l->warps)) return false;
    for (uint32_t k = 0; k < l->warps; k++) {
        c->warps[k].own = c->own_memory + (size_t)f->own_bytes * k;
        c->warps[k].pending = (uint32_t *)(void *)(c->pending_memory + per_warp * k);
    }
    return true;
}

bool exec_prepare(Cx *c, const Launch *l) {
    const EmuFunction *f = l->f;
    enum { WARPS = 32 };
    if (!c->warps) c->warps = calloc(WARPS, sizeof *c->warps);
    uint64_t local = (uint64_t)f->local_bytes * l->warps * LANES * 2;
    uint64_t shared = l->shared_bytes < 1024 ? 1024 : l->shared_bytes,
             sites = (uint64_t)f->sites * 4 + 4;
    if (!c->warps || !prepare_warps(c, l)) return false;
    if (!grow(&c->base[0], &c->common_cap, f->common_bytes + 64)) return false;
    if (!grow(&c->local, &c->local_cap, local)) return false;
    if (!grow(&c->hint, &c->site_cap, sites)) return false;
    if (!grow(&c->shadow, &c->shadow_cap, l->check ? (shared + 3) / 4 * sizeof *c->shadow : 0))
        return false;
    if (!grow(&c->shared, &c->shared_cap, shared)) return false;
    memset(c->hint, 0, sites);
    memcpy(c->base[0], f->common, f->common_init);
    c->check = l->check;
    c->launch = l;
    c->f = f;
    c->shared_bytes = l->shared_bytes;
    c->counts = (EmuCounts){.instructions = 0};
    c->flushed = 0;
    c->limit = 0;
    c->nan_block = UINT64_MAX;
    c->fault_block = UINT64_MAX;
    c->fault = (EmuFault){.kind = EMU_FAULT_none};
    start_origins(c);
    set_common_specials(c);
    for (uint32_t k = 0; k < l->warps; k++) {
        c->warps[k].number = k;
        c->base[1] = c->warps[k].own;
        set_warp_specials(c, &c->warps[k]);
    }
    return true;
}

void exec_free(Cx *c) {
    for (uint32_t k = 0; c->warps && k < 32; k++) free(c->warps[k].copies.at);
    free(c->warps);
    free(c->own_memory);
    free(c->pending_memory);
    free(c->base[0]);
    free(c->local);
    free(c->hint);
    free(c->shadow);
    free(c->shared);
}

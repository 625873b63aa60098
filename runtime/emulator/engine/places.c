// Gives registers their places. One that lives within a basic block gets a place that other blocks and
// later instructions reuse: most registers of a kernel do, and so a warp's registers stay in the
// cache. The others have a place of their own for each warp.
#include "runtime/emulator/engine/decode.h"
#include <string.h>

enum { BYTES_PRED = 4, BYTES_32 = 128, BYTES_64 = 256 };
#define NO_PLACE UINT32_MAX
// Positions of last uses: the end of the block, and what a register gets that has been let go.
#define AT_END   UINT32_MAX
#define RELEASED (UINT32_MAX - 1)

static uint32_t bytes_of(const Register *r) {
    return r->class == CLASS_pred ? BYTES_PRED : r->class == CLASS_64 ? BYTES_64 : BYTES_32;
}

// ---- which registers last -----------------------------------------------------------------------

static void see(Decoder *lo, VReg v, uint32_t block, uint32_t position, bool write_all) {
    Register *r = &lo->regs.at[v];
    if (r->constant) return;
    if (!r->seen) {
        r->seen = true;
        r->block = block;
        if (!write_all) r->lasting = true;
    } else if (r->block != block) {
        r->lasting = true;
    }
    r->last = position;
}

// What the end of a basic block reads.
static uint32_t end_reads(const BasicBlock *b, VReg to[6]) {
    uint32_t n = 0;
    if (b->meets) to[n++] = b->members;
    if (b->guarded) to[n++] = b->guard;
    if (b->end == END_index) to[n++] = b->index;
    if (b->end == END_barrier) {
        to[n++] = b->barrier_id;
        to[n++] = b->barrier_threads;
        if (b->barrier != BARRIER_sync && b->barrier != BARRIER_arrive) to[n++] = b->predicate;
    }
    return n;
}

static void find_lasting(Decoder *lo) {
    for (uint32_t n = 0; n < lo->blocks.n; n++) {
        const BasicBlock *b = &lo->blocks.at[n];
        VReg reads[6];
        // The member mask is read before the block runs.
        if (b->meets) see(lo, b->members, n, b->first, false);
        for (uint32_t k = b->first; k < b->first + b->count; k++) {
            const Insn *i = &lo->insns.at[k];
            for (uint32_t j = 0; j < i->srcs; j++) see(lo, i->r[i->dsts + j], n, k, false);
            if (i->guarded) see(lo, i->guard, n, k, false);
            for (uint32_t j = 0; j < i->dsts; j++) see(lo, i->r[j], n, k, !i->guarded);
        }
        uint32_t count = end_reads(b, reads);
        for (uint32_t k = 0; k < count; k++) see(lo, reads[k], n, AT_END, false);
    }
}

// ---- places -------------------------------------------------------------------------------------

typedef struct {
    uint32_t *at;
    uint32_t n, cap;
} FreePlaces;

typedef struct {
    FreePlaces free[3]; // by class: predicates, 32 bits, 64 bits
    uint32_t bytes;     // of the common part so far
    uint32_t own;
    uint32_t live, most; // 32-bit registers that live at once, short-lived ones
} Places;

static uint32_t kind_of(const Register *r) {
    return r->class == CLASS_pred ? 0 : r->class == CLASS_64 ? 2 : 1;
}
static uint32_t words_of(const Register *r) { return kind_of(r); }

static uint32_t take(uint32_t *used, uint32_t bytes) {
    uint32_t align = bytes < 32 ? bytes : 32, at = (*used + align - 1) & ~(align - 1);
    *used = at + bytes;
    return at;
}

static void place_short(Places *p, Register *r) {
    FreePlaces *f = &p->free[kind_of(r)];
    r->place = f->n ? f->at[--f->n] : take(&p->bytes, bytes_of(r));
    p->live += words_of(r);
    if (p->live > p->most) p->most = p->live;
}
static void release(Decoder *lo, Places *p, Register *r) {
    uint32_t place = r->place;
    load_push(lo->l, &p->free[kind_of(r)], place);
    p->live -= words_of(r);
}

static bool is_short(const Register *r) { return !r->constant && !r->lasting; }

// Results get their places before the places of sources that end here are free again: an
// instruction may write one result before it has read all lanes of its sources.
static void place_insn(Decoder *lo, Places *p, Insn *i, uint32_t position) {
    for (uint32_t j = 0; j < i->dsts; j++) {
        Register *r = &lo->regs.at[i->r[j]];
        if (is_short(r) && r->place == NO_PLACE) place_short(p, r);
    }
    for (uint32_t j = 0; j < (uint32_t)(i->dsts + i->srcs); j++) {
        Register *r = &lo->regs.at[i->r[j]];
        i->r[j] = r->place;
        if (is_short(r) && r->last == position) {
            release(lo, p, r);
            r->last = RELEASED; // once, also when it stands here twice
        }
    }
    if (!i->guarded) return;
    Register *g = &lo->regs.at[i->guard];
    i->guard = g->place;
    if (is_short(g) && g->last == position) release(lo, p, g), g->last = RELEASED;
}

// Inactive lanes of a short-lived register hold nothing: no need to keep them.
static void drop_blending(const Decoder *lo, Insn *i) {
    bool all_short = true;
    for (uint32_t j = 0; j < i->dsts; j++) all_short = all_short && is_short(&lo->regs.at[i->r[j]]);
    if (all_short && !i->guarded) i->blend = false;
}

static void place_end(Decoder *lo, Places *p, BasicBlock *b) {
    VReg reads[6];
    uint32_t n = end_reads(b, reads);
    if (b->meets) b->members = lo->regs.at[b->members].place;
    if (b->guarded) b->guard = lo->regs.at[b->guard].place;
    if (b->end == END_index) b->index = lo->regs.at[b->index].place;
    if (b->end == END_barrier) {
        bool reduces = b->barrier != BARRIER_sync && b->barrier != BARRIER_arrive;
        b->barrier_id = lo->regs.at[b->barrier_id].place;
        b->barrier_threads = lo->regs.at[b->barrier_threads].place;
        if (reduces) b->predicate = lo->regs.at[b->predicate].place;
        if (reduces) b->result = lo->regs.at[b->result].place;
    }
    for (uint32_t k = 0; k < n; k++) {
        Register *r = &lo->regs.at[reads[k]];
        if (is_short(r) && r->last == AT_END) release(lo, p, r), r->last = RELEASED;
    }
}

static void place_lasting(Decoder *lo, Places *p) {
    for (VReg v = 0; v < lo->regs.n; v++) {
        Register *r = &lo->regs.at[v];
        if (r->constant || r->special) continue;
        r->place = NO_PLACE;
        if (!r->lasting) continue;
        r->place = take(&p->own, bytes_of(r)) | 1;
    }
}

static void place_constants(Decoder *lo, Places *p) {
    EmuFunction *f = lo->f;
    for (VReg v = 0; v < lo->regs.n; v++) {
        Register *r = &lo->regs.at[v];
        if (!r->constant) continue;
        if (r->dynamic) r->value += f->dynamic_start;
        r->place = take(&p->bytes, bytes_of(r));
    }
    f->common_init = p->bytes;
    char *common = load_alloc(lo->l, p->bytes, 1);
    for (VReg v = 0; v < lo->regs.n; v++) {
        const Register *r = &lo->regs.at[v];
        if (!r->constant) continue;
        size_t size = r->class == CLASS_64 ? 8 : 4, n = r->class == CLASS_pred ? 1 : LANES;
        for (size_t k = 0; k < n; k++) memcpy(common + r->place + k * size, &r->value, size);
    }
    f->common = common;
}

static void place_specials(Decoder *lo, Places *p) {
    static const bool own[SPECIAL_COUNT] = {
#define SPECIAL(id, text, is_own) is_own,
#include "runtime/emulator/engine/special.def"
#undef SPECIAL
    };
    for (uint32_t k = 0; k < SPECIAL_COUNT; k++) {
        lo->f->special[k] = UINT32_MAX;
        if (lo->specials[k] == NO_VREG) continue;
        uint32_t at = own[k] ? take(&p->own, BYTES_32) | 1 : take(&p->bytes, BYTES_32);
        lo->f->special[k] = at;
        lo->regs.at[lo->specials[k]].place = at;
    }
    lo->f->own_special = p->own;
}

// An upper estimate of what a compiler would need; never more than a thread may have, nor than lets
// the promised number of threads run.
static void limit_registers(EmuFunction *f) {
    uint32_t n = f->registers + 4, most = 255;
    uint64_t threads = 1;
    const uint32_t *given = f->reqntid[0] ? f->reqntid : f->maxntid;
    for (int k = 0; k < 3 && given[0]; k++) threads *= given[k];
    if (given[0] && 65536 / threads < most) most = (uint32_t)(65536 / threads);
    f->registers = n > most ? most : n;
}

static void place_block(Decoder *lo, Places *p, uint32_t n, uint32_t lasting) {
    EmuFunction *f = lo->f;
    BasicBlock *b = &lo->blocks.at[n];
    p->most = p->live;
    for (uint32_t k = b->first; k < b->first + b->count; k++) {
        Insn *i = &lo->insns.at[k];
        drop_blending(lo, i);
        place_insn(lo, p, i, k);
    }
    place_end(lo, p, b);
    if (lasting + p->most > f->registers) f->registers = lasting + p->most;
}

void place_registers(Decoder *lo) {
    EmuFunction *f = lo->f;
    Places *p = LOAD_NEW(lo->l, Places);
    uint32_t align = lo->dynamic_align > 16 ? lo->dynamic_align : 16;
    f->shared_bytes = (uint32_t)lo->shared_bytes;
    f->dynamic_start = (f->shared_bytes + align - 1) & ~(align - 1);
    f->local_bytes = (uint32_t)((lo->local_bytes + 15) & ~UINT64_C(15));
    find_lasting(lo);
    uint32_t *lasting = LOAD_ARRAY(lo->l, uint32_t, lo->blocks.n);
    find_pressure(lo, lasting);
    place_specials(lo, p);
    place_lasting(lo, p);
    place_constants(lo, p);
    for (uint32_t n = 0; n < lo->blocks.n; n++) place_block(lo, p, n, lasting[n]);
    limit_registers(f);
    f->insns = lo->insns.n ? lo->insns.at : LOAD_NEW(lo->l, Insn);
    f->insn_count = lo->insns.n;
    f->blocks = lo->blocks.at;
    f->block_count = lo->blocks.n;
    f->common_bytes = (p->bytes + 63) & ~63u;
    f->own_bytes = (p->own + 63) & ~63u;
}

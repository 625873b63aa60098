// By which pointer a kernel makes each access to global memory, so that the checker knows which tensor
// is meant, whatever tensor the address lies in.
//
// A pointer has an origin: a parameter, or a load from global memory, which is how a kernel that is
// started for many commands at once finds its arguments. The origins of a register are those of all
// registers that it is computed from, anywhere in the kernel; what selects between values, a predicate,
// carries none. An address has one origin, or those of all pointers that it may have been chosen from.
// Numbers of 64 bits are origins too: only their value tells them from pointers (check.c). What comes
// out of memory in other ways may be any pointer, and so may what is computed from it.
//
// Sets are 64 bits; rounds over all instructions go on until none adds to a register. A round more for
// each nesting of loops: O(instructions x rounds).
#include "runtime/emulator/engine/decode.h"

enum { MOST_ROUNDS = 64 };
#define SET(origin) (UINT64_C(1) << (origin))

typedef struct {
    Decoder *lo;
    uint64_t *of; // [register] set of origins
} Flow;

static uint64_t new_origin(EmuFunction *f, int64_t param) {
    if (f->origin_count == ORIGIN_ANY) return SET(ORIGIN_ANY);
    f->origin_param[f->origin_count] = param;
    return SET(f->origin_count++);
}

static uint64_t param_origin(EmuFunction *f, int64_t at) {
    if (at < 0 || (uint64_t)at + 8 > f->param_bytes) return SET(ORIGIN_ANY);
    for (uint32_t k = 0; k < f->origin_count; k++)
        if (f->origin_param[k] == at) return SET(k);
    return new_origin(f, at);
}

// ---- where origins begin ------------------------------------------------------------------------

// The results of a load are numbered one after the other, the first is kept in Insn.pointer.
static void begin_load(Flow *x, Insn *i) {
    EmuFunction *f = x->lo->f;
    bool room = f->origin_count + i->dsts <= ORIGIN_ANY;
    if (room) i->pointer = (uint8_t)(f->origin_count + 1);
    for (uint32_t j = 0; j < i->dsts; j++)
        x->of[i->r[j]] |= room ? new_origin(f, ORIGIN_LOADED) : SET(ORIGIN_ANY);
}

static void begin_access(Flow *x, Insn *i) {
    if (i->bytes != 8) return;
    if (i->fn == op_load && i->space == SPACE_global) {
        begin_load(x, i);
        return;
    }
    bool param = i->fn == op_load_uniform && i->space == SPACE_param;
    for (uint32_t j = 0; j < i->dsts; j++)
        x->of[i->r[j]] |= param ? param_origin(x->lo->f, i->offset + 8 * j) : SET(ORIGIN_ANY);
}

// ---- where they go ------------------------------------------------------------------------------

static bool carry(Flow *x, const Insn *i) {
    uint64_t set = 0, fresh = 0;
    if (i->bytes) return false; // what memory gives does not come from its address
    for (uint32_t j = 0; j < i->srcs; j++) set |= x->of[i->r[i->dsts + j]];
    for (uint32_t j = 0; set && j < i->dsts; j++) {
        if (i->preds >> j & 1) continue;
        fresh |= set & ~x->of[i->r[j]];
        x->of[i->r[j]] |= set;
    }
    return fresh;
}

// False: it would take too long, and nothing is known.
static bool carry_all(Flow *x) {
    Decoder *lo = x->lo;
    bool changed = true;
    for (int round = 0; changed && round < MOST_ROUNDS; round++) {
        changed = false;
        for (uint32_t k = 0; k < lo->insns.n; k++) changed |= carry(x, &lo->insns.at[k]);
    }
    return !changed;
}

// ---- what accesses learn ------------------------------------------------------------------------

static uint64_t origins_of_address(const Flow *x, const Insn *i) {
    uint32_t global = i->fn == op_cp_async ? 1 : 0; // that one has a shared address before it
    return i->srcs ? x->of[i->r[i->dsts + global]] : 0;
}

static bool is_followed(const Insn *i, uint64_t addresses) {
    return i->pointer && addresses >> (i->pointer - 1) & (SET(i->dsts) - 1);
}

void find_provenance(Decoder *lo) {
    EmuFunction *f = lo->f;
    Flow x = {lo, LOAD_ARRAY(lo->l, uint64_t, lo->regs.n)};
    f->origin_param = LOAD_ARRAY(lo->l, int64_t, ORIGIN_ANY);
    f->origins = LOAD_ARRAY(lo->l, uint64_t, lo->insns.n);
    for (VReg v = 0; v < lo->regs.n; v++)
        if (lo->regs.at[v].symbol) x.of[v] = SET(ORIGIN_ANY);
    for (uint32_t k = 0; k < lo->insns.n; k++) begin_access(&x, &lo->insns.at[k]);
    bool known = carry_all(&x);
    uint64_t addresses = 0;
    for (uint32_t k = 0; k < lo->insns.n; k++) {
        Insn *i = &lo->insns.at[k];
        if (!i->bytes) continue;
        uint64_t set = known ? origins_of_address(&x, i) : SET(ORIGIN_ANY);
        i->site = f->sites++;
        f->origins[i->site] = set;
        addresses |= set;
    }
    // Only loads of what becomes an address have to tell what they loaded.
    for (uint32_t k = 0; k < lo->insns.n; k++) {
        Insn *i = &lo->insns.at[k];
        if (!is_followed(i, addresses)) continue;
        i->inner = i->fn;
        i->fn = op_load_pointer;
        f->loads_pointers = true;
    }
}

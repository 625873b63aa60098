// How many registers a thread of a kernel needs: the most that live at once, which is what a compiler
// for the machine would have to find room for. An upper estimate: within a basic block all registers
// that last count from its beginning to its end.
//
// Liveness is the usual backward iteration over sets of registers, for those alone that live across
// basic blocks. O(blocks x registers / 64) a round, few rounds; kernels beyond a bound get the number
// of all their registers.
#include "runtime/emulator/engine/decode.h"
#include <string.h>

enum { MAX_WORDS = 1 << 20 };

typedef struct {
    Decoder *lo;
    uint32_t words;                 // of a set
    uint32_t *index;                // of a register among those that last
    uint8_t *weight;                // by index: 32-bit registers
    uint64_t *in, *out, *use, *def; // [block][words]
} Liveness;

static uint64_t *set_of(const Liveness *x, uint64_t *sets, uint32_t block) {
    return sets + (size_t)block * x->words;
}
static bool counts(const Register *r) {
    return r->lasting && !r->constant && !r->special && r->class != CLASS_pred;
}

static void note_use(Liveness *x, uint32_t block, VReg v) {
    if (!counts(&x->lo->regs.at[v])) return;
    uint32_t k = x->index[v];
    if (set_of(x, x->def, block)[k / 64] >> k % 64 & 1) return;
    set_of(x, x->use, block)[k / 64] |= UINT64_C(1) << k % 64;
}
static void note_def(Liveness *x, uint32_t block, VReg v) {
    if (!counts(&x->lo->regs.at[v])) return;
    set_of(x, x->def, block)[x->index[v] / 64] |= UINT64_C(1) << x->index[v] % 64;
}

static void note_block(Liveness *x, uint32_t n) {
    const BasicBlock *b = &x->lo->blocks.at[n];
    if (b->meets) note_use(x, n, b->members);
    for (uint32_t k = b->first; k < b->first + b->count; k++) {
        const Insn *i = &x->lo->insns.at[k];
        for (uint32_t j = 0; j < i->srcs; j++) note_use(x, n, i->r[i->dsts + j]);
        // Under a guard the register may keep what it held.
        for (uint32_t j = 0; j < i->dsts; j++) {
            if (i->guarded) note_use(x, n, i->r[j]);
            note_def(x, n, i->r[j]);
        }
    }
    if (b->end == END_index) note_use(x, n, b->index);
    if (b->end != END_barrier) return;
    note_use(x, n, b->barrier_id);
    note_use(x, n, b->barrier_threads);
}

static bool join(uint64_t *to, const uint64_t *from, uint32_t words) {
    uint64_t fresh = 0;
    for (uint32_t k = 0; k < words; k++) {
        fresh |= from[k] & ~to[k];
        to[k] |= from[k];
    }
    return fresh;
}

static bool join_next(Liveness *x, uint32_t n, uint32_t next) {
    return next < x->lo->blocks.n && join(set_of(x, x->out, n), set_of(x, x->in, next), x->words);
}

// One step for a block; true when more is live at its beginning than before.
static bool update(Liveness *x, uint32_t n) {
    const BasicBlock *b = &x->lo->blocks.at[n];
    bool goes_on = b->end == END_fall || b->end == END_barrier || b->guarded;
    if (goes_on) join_next(x, n, n + 1);
    if (b->end == END_branch) join_next(x, n, b->target);
    for (uint32_t k = 0; b->end == END_index && k < b->target_count; k++)
        join_next(x, n, b->targets[k]);
    uint64_t *in = set_of(x, x->in, n), fresh = 0;
    const uint64_t *out = set_of(x, x->out, n), *use = set_of(x, x->use, n),
                   *def = set_of(x, x->def, n);
    for (uint32_t k = 0; k < x->words; k++) {
        uint64_t now = use[k] | (out[k] & ~def[k]);
        fresh |= now & ~in[k];
        in[k] |= now;
    }
    return fresh;
}

static uint32_t weigh(const Liveness *x, uint32_t n) {
    uint32_t sum = 0;
    for (uint32_t k = 0; k < x->words; k++) {
        uint64_t set = set_of(x, x->in, n)[k] | set_of(x, x->out, n)[k];
        for (; set; set &= set - 1) sum += x->weight[k * 64 + (uint32_t)__builtin_ctzll(set)];
    }
    return sum;
}

static void number_registers(Liveness *x, uint32_t *count, uint32_t *all) {
    *count = *all = 0;
    for (VReg v = 0; v < x->lo->regs.n; v++) {
        if (!counts(&x->lo->regs.at[v])) continue;
        x->weight[*count] = lower_class(x->lo, v) == CLASS_64 ? 2 : 1;
        *all += x->weight[*count];
        x->index[v] = (*count)++;
    }
}

void find_pressure(Decoder *lo, uint32_t *by_block) {
    Liveness *x = LOAD_NEW(lo->l, Liveness);
    uint32_t count, all, blocks = lo->blocks.n;
    x->lo = lo;
    x->index = LOAD_ARRAY(lo->l, uint32_t, lo->regs.n);
    x->weight = LOAD_ARRAY(lo->l, uint8_t, lo->regs.n + 64);
    number_registers(x, &count, &all);
    x->words = (count + 63) / 64;
    if ((uint64_t)x->words * blocks > MAX_WORDS) {
        for (uint32_t n = 0; n < blocks; n++) by_block[n] = all;
        return;
    }
    uint64_t **sets[] = {&x->in, &x->out, &x->use, &x->def};
    for (int k = 0; k < 4; k++) *sets[k] = LOAD_ARRAY(lo->l, uint64_t, (size_t)x->words * blocks);
    for (uint32_t n = 0; n < blocks; n++) note_block(x, n);
    // Each round but the last makes a set larger; real kernels need a handful.
    bool changed = true;
    for (int round = 0; changed && round < 64; round++) {
        changed = false;
        for (uint32_t n = blocks; n-- > 0;) changed |= update(x, n);
    }
    for (uint32_t n = 0; n < blocks; n++) by_block[n] = changed ? all : weigh(x, n);
}

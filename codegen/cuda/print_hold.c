// Which values of the lanes stay in registers between the phases of a row.
//
// Why: a value that two phases need would be computed twice, and a load read twice. Candidates are what
// the kernel itself marks (hold), then loads that several phases evaluate; instead of a load that one
// other value alone uses, that value is kept (a sum of two loads costs one register, not two). A
// candidate is taken when what is alive between any two phases still fits g->held registers a thread.
// What does not fit is computed again: it is the same function of the same inputs.
//
// Candidates times ops times phases.
#include "codegen/cuda/print.h"
#include <string.h>

enum { MAX_PHASES = 32 };

typedef struct {
    Cu *p;
    uint32_t *in;   // by op: phases in which it is evaluated
    uint32_t *used; // by op: phases in which its value is wanted
    bool stores;    // stores and column folds are made in these phases, not row folds alone
    uint8_t *root;  // by op: a store or fold of the phase takes it
    KId *user;      // by op: the one op that uses it; MANY: several, or a store or fold
} Holds;
#define MANY (NONE - 1)

static void used_by(Holds *h, KId id, KId user, uint32_t phase) {
    if (!h->p->k->ops.at[id].lane) return;
    h->used[id] |= 1u << phase;
    h->user[id] = h->user[id] == NONE || h->user[id] == user ? user : MANY;
}

static void roots(Holds *h, uint32_t phase) {
    const Kernel *k = h->p->k;
    const KSweep s = {.from = phase,
                      .to = phase + 1,
                      .row_folds = true,
                      .columns = h->stores,
                      .stores = h->stores};
    memset(h->root, 0, k->ops.n);
    ksweep_want(k, &s, h->root);
    for (KId id = 0; id < k->ops.n; id++)
        if (h->root[id]) used_by(h, id, MANY, phase);
}

static void evaluate(Holds *h, KId id, uint32_t phase) {
    KId from[KOP_OPERANDS];
    h->in[id] |= 1u << phase;
    for (uint32_t i = kop_operands(&h->p->k->ops.at[id], from); i-- > 0;)
        used_by(h, from[i], id, phase);
}

static void simulate(Holds *h) {
    const Kernel *k = h->p->k;
    memset(h->in, 0, sizeof *h->in * k->ops.n);
    memset(h->used, 0, sizeof *h->used * k->ops.n);
    memset(h->user, 0xff, sizeof *h->user * k->ops.n);
    for (uint32_t phase = 0; phase < k->phases; phase++) {
        roots(h, phase);
        for (KId id = k->ops.n; id-- > 0;)
            if ((h->used[id] >> phase & 1) && !(h->p->holds[id] && h->in[id]))
                evaluate(h, id, phase);
    }
}

// Registers alive between two phases, at most.
static uint32_t most_alive(const Holds *h) {
    const Kernel *k = h->p->k;
    uint32_t most = 0, each = h->p->g->units * h->p->g->items;
    for (uint32_t phase = 0; phase + 1 < k->phases; phase++) {
        uint32_t n = 0;
        for (KId id = 0; id < k->ops.n; id++)
            if (h->p->holds[id] && (h->used[id] >> (phase + 1)) &&
                (h->used[id] & ((2u << phase) - 1)))
                n += each;
        if (n > most) most = n;
    }
    return most;
}

static bool several(uint32_t phases) { return (phases & (phases - 1)) != 0; }

static void try_hold(Holds *h, KId id, uint8_t *refused) {
    h->p->holds[id] = 1;
    simulate(h);
    if (most_alive(h) <= h->p->g->held) return;
    h->p->holds[id] = 0;
    *refused = 1;
    simulate(h);
}

// The value to keep so that this load is read once.
static KId instead_of(const Holds *h, KId id) {
    while (h->user[id] != MANY && h->user[id] != NONE && several(h->in[h->user[id]]) &&
           h->p->k->ops.at[h->user[id]].kind == KOP_scalar)
        id = h->user[id];
    return id;
}

// What only one phase wants since values made of it are kept.
static void let_go(Holds *h) {
    for (KId id = 0; id < h->p->k->ops.n; id++)
        if (!several(h->used[id])) h->p->holds[id] = 0;
}

void cu_choose_holds(Cu *p, bool stores) {
    const Kernel *k = p->k;
    memset(p->holds, 0, k->ops.n);
    if (k->phases < 2 || k->phases > MAX_PHASES || p->g->held == 0) return;
    Holds h = {.p = p, .stores = stores};
    h.in = NEW_ARRAY(p->a, uint32_t, k->ops.n + 1);
    h.used = NEW_ARRAY(p->a, uint32_t, k->ops.n + 1);
    h.root = NEW_ARRAY(p->a, uint8_t, k->ops.n + 1);
    h.user = NEW_ARRAY(p->a, KId, k->ops.n + 1);
    uint8_t *refused = NEW_ARRAY(p->a, uint8_t, k->ops.n + 1);
    simulate(&h);
    for (KId id = 0; id < k->ops.n; id++)
        if (k->ops.at[id].hold && several(h.used[id])) try_hold(&h, id, &refused[id]);
    let_go(&h);
    for (KId id = 0; id < k->ops.n; id++) {
        if (k->ops.at[id].kind != KOP_load || !several(h.in[id])) continue;
        KId keep = instead_of(&h, id);
        if (!refused[keep] && !p->holds[keep]) try_hold(&h, keep, &refused[keep]);
    }
    let_go(&h);
}

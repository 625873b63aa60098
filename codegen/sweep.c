// Which ops a part of a kernel needs.
//
// Why: whatever walks a kernel asks this. kernel_finish answers it for each phase, once (Kernel.phase); a
// printer that sweeps otherwise, or holds other values, asks here itself.
//
// A need is a byte by op. Operands come before users, so one walk from the last op to the first closes it.
#include "codegen/sweep.h"

static void add(KId *to, uint32_t *n, KId id) {
    if (id != NONE) to[(*n)++] = id;
}

uint32_t kop_operands(const KOp *o, KId to[KOP_OPERANDS]) {
    uint32_t n = 0;
    switch ((KOpKind)o->kind) {
    case KOP_scalar:
        add(to, &n, o->a);
        add(to, &n, o->b);
        add(to, &n, o->c);
        return n;
    case KOP_load:
        add(to, &n, o->mask);
        add(to, &n, o->index.op);
        return n;
    case KOP_random: add(to, &n, o->index.op); return n;
    case KOP_const:
    case KOP_index:
    case KOP_fold:
    case KOP_tile: return 0;
    case KOP_KINDS: break;
    }
    unreachable(o->kind);
}

void kop_want_operands(const KOp *o, uint8_t *need) {
    KId from[KOP_OPERANDS];
    for (uint32_t i = kop_operands(o, from); i-- > 0;) need[from[i]] = 1;
}

uint8_t kop_ready(const Kernel *k, const KOp *o) {
    if (o->kind == KOP_fold) return (uint8_t)(k->folds.at[o->fold].phase + 1);
    KId from[KOP_OPERANDS];
    uint8_t ready = 0;
    for (uint32_t i = kop_operands(o, from); i-- > 0;)
        if (k->ops.at[from[i]].ready > ready) ready = k->ops.at[from[i]].ready;
    return ready;
}

bool kernel_index_lane(const Kernel *k, const KIndex *x) {
    return x->stride[k->outers] != 0 || (x->op != NONE && k->ops.at[x->op].lane);
}

bool kop_lane(const Kernel *k, const KOp *o) {
    KId from[KOP_OPERANDS];
    if (o->kind == KOP_tile) return true;
    if (o->kind == KOP_index) return o->axis == k->outers;
    if ((o->kind == KOP_load || o->kind == KOP_random) && kernel_index_lane(k, &o->index))
        return true;
    for (uint32_t i = kop_operands(o, from); i-- > 0;)
        if (k->ops.at[from[i]].lane) return true;
    return false;
}

// ---- sweeps

static bool in_sweep(const KSweep *s, uint32_t phase) { return phase >= s->from && phase < s->to; }

bool ksweep_folds(const KSweep *s, const KFold *f) {
    return in_sweep(s, f->phase) && (f->column ? s->columns : s->row_folds);
}

bool ksweep_stores(const KSweep *s, const KStore *t) {
    return s->stores && in_sweep(s, t->phase) && (t->lane || !s->lanes_only);
}

bool ksweep_lanes(const Kernel *k, const KSweep *s) {
    if (s->ends) return k->columns > 0;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (k->stores.at[i].lane && ksweep_stores(s, &k->stores.at[i])) return true;
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (ksweep_folds(s, &k->folds.at[i])) return true;
    return false;
}

static void want(uint8_t *need, KId id) {
    if (id != NONE) need[id] = 1;
}

void ksweep_want(const Kernel *k, const KSweep *s, uint8_t *need) {
    for (uint32_t i = 0; i < k->stores.n; i++) {
        const KStore *t = &k->stores.at[i];
        if (!ksweep_stores(s, t)) continue;
        want(need, t->value);
        want(need, t->mask);
        if (!t->tile) want(need, t->index.op);
    }
    for (uint32_t i = 0; i < k->folds.n; i++) {
        const KFold *f = &k->folds.at[i];
        if (ksweep_folds(s, f)) want(need, f->value);
        if (!s->ends || !f->column) continue;
        want(need, f->plus);
        want(need, f->index.op);
    }
}

void kernel_close(const Kernel *k, uint8_t *need, const uint8_t *there) {
    for (KId id = k->ops.n; id-- > 0;)
        if (need[id] && !there[id]) kop_want_operands(&k->ops.at[id], need);
}

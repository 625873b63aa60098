// One sweep of a thread over one unit of lanes:
//
//   loads of all its lanes                  x6
//   for each lane j of the unit, unrolled:  scalars, folds, values to be stored (y)
//   stores of all its lanes
//
// and before it the row-level ops that the sweep is the first to need: every thread of a row computes
// them, they stay for the rest of the row. Linear in ops for each sweep.
#include "codegen/cuda/print.h"
#include <string.h>

CuVal cu_at(const Cu *p, KId id) {
    CuVal v = p->k->ops.at[id].lane ? p->lane[id] : p->row[id];
    CHECK(v.text, "op %u used before it is printed", id);
    return v;
}

// ---- what a sweep needs

void cu_want(Cu *p, const KSweep *s) {
    memset(p->need, 0, p->k->ops.n);
    ksweep_want(p->k, s, p->need);
}

void cu_want_op(Cu *p, KId id) {
    memset(p->need, 0, p->k->ops.n);
    if (id != NONE) p->need[id] = 1;
}

static SV operand_sv(Cu *p, KId id) { return id == NONE ? (SV){0} : cu_sv(p, cu_at(p, id)); }

// lane: the text of the lane, NULL for a row-level op.
static CuVal print_op(Cu *p, KId id, const char *lane) {
    const KOp *o = &p->k->ops.at[id];
    if (o->kind == KOP_scalar)
        cu_line(p, "// %%%u = %s %s", id, elem_info[o->to].name, op_info[o->op].name);
    if (p->fast && o->kind == KOP_scalar && o->op == OP_exp)
        return cu_temp(p, ELEM_f32, arena_printf(p->a, "exp_fast(%s)", cu_at(p, o->a).text));
    switch ((KOpKind)o->kind) {
    case KOP_scalar:
        return cu_val(scalar_expand(&p->ops, (Op)o->op, (Elem)o->elem, (Elem)o->to,
                                    operand_sv(p, o->a), operand_sv(p, o->b), operand_sv(p, o->c)));
    case KOP_const: return cu_const(p, (Elem)o->to, o->value);
    case KOP_index:
        if (o->axis == p->k->outers)
            return cu_temp(p, ELEM_u32, arena_printf(p->a, "(u32)%s", lane));
        return (CuVal){arena_printf(p->a, "(u32)i%u", o->axis), ELEM_u32};
    case KOP_load: return cu_load(p, o, lane);
    case KOP_random: return cu_random(p, o, lane);
    case KOP_fold: return (CuVal){arena_printf(p->a, "f%u", o->fold), (Elem)o->to};
    case KOP_tile:
    case KOP_KINDS: break;
    }
    unreachable(o->kind);
}

void cu_row_is(Cu *p, KId id, CuVal v) {
    p->row[id] = v;
    p->there[id] = 1;
}

void cu_row_ops(Cu *p) {
    const Kernel *k = p->k;
    kernel_close(k, p->need, p->there);
    for (KId id = 0; id < k->ops.n; id++)
        if (p->need[id] && !k->ops.at[id].lane && !p->there[id])
            cu_row_is(p, id, print_op(p, id, NULL));
}

void cu_forget_row(Cu *p) {
    memset(p->row, 0, sizeof *p->row * p->k->ops.n);
    memset(p->there, 0, p->k->ops.n);
}

// ---- the body of a unit

static const char *item(const Cu *p) { return p->g->items == 1 ? "0" : "j"; }

static bool staged(const Cu *p, KId id) {
    const KOp *o = &p->k->ops.at[id];
    return p->need[id] && o->lane && !p->there[id] && !p->waits[id] && cu_is_staged(p, o);
}

static void lane_ops(Cu *p) {
    for (KId id = 0; id < p->k->ops.n; id++) {
        const KOp *o = &p->k->ops.at[id];
        if (!p->need[id] || !o->lane) continue;
        const char *held = arena_printf(p->a, "h%u[u][%s]", id, item(p));
        if (p->there[id])
            p->lane[id] = (CuVal){held, (Elem)o->to};
        else if (p->waits[id])
            p->lane[id] = (CuVal){p->waits[id], (Elem)o->to};
        else if (staged(p, id))
            p->lane[id] = (CuVal){arena_printf(p->a, "x%u[%s]", id, item(p)), (Elem)o->to};
        else
            p->lane[id] = print_op(p, id, cu_lane_text(p));
        if (p->always[id])
            p->lane[id] = cu_temp(p, ELEM_bool,
                                  arena_printf(p->a, "%s || %s", p->always[id], p->lane[id].text));
        if (p->holds[id] && !p->there[id]) cu_line(p, "%s = %s;", held, p->lane[id].text);
    }
}

static void lane_folds(Cu *p, const KSweep *s) {
    for (uint32_t i = 0; i < p->k->folds.n; i++) {
        const KFold *f = &p->k->folds.at[i];
        if (!ksweep_folds(s, f)) continue;
        if (p->staged) {
            cu_line(p, "z%u[side][b][lane + %s] = %s;", i, item(p), cu_at(p, f->value).text);
            continue;
        }
        const char *acc = arena_printf(p->a, "%s%u[%s]", f->column ? "c" : "s", i, item(p));
        CuVal next = cu_fold_step(p, i, (CuVal){acc, kfold_elem(p->k, i)}, cu_at(p, f->value));
        cu_line(p, "%s = %s;", acc, next.text);
    }
}

// ---- what is stored: lane-level stores, and column folds at the end of a walk

static void keep(Cu *p, const char *prefix, uint32_t number, KId id) {
    if (id != NONE && p->k->ops.at[id].lane)
        cu_line(p, "%s%u[%s] = %s;", prefix, number, item(p), cu_at(p, id).text);
}

static void declare(Cu *p, const char *prefix, uint32_t number, Elem e) {
    cu_line(p, "%s %s%u[%u];", cu_register_type(e), prefix, number, p->g->items);
}

static void declare_target(Cu *p, uint32_t number, const CuTarget *t) {
    declare(p, "y", number, (Elem)p->k->args.at[t->arg].elem);
    if (t->mask != NONE && p->k->ops.at[t->mask].lane) declare(p, "ym", number, ELEM_bool);
    if (t->index->op != NONE && p->k->ops.at[t->index->op].lane) declare(p, "yi", number, ELEM_u32);
}

static void keep_target(Cu *p, uint32_t number, const CuTarget *t, CuVal v) {
    cu_line(p, "y%u[%s] = %s;", number, item(p), v.text);
    keep(p, "ym", number, t->mask);
    keep(p, "yi", number, t->index->op);
}

static CuVal column_result(Cu *p, uint32_t i) {
    const KFold *f = &p->k->folds.at[i];
    Elem e = kfold_elem(p->k, i);
    CuVal v = {arena_printf(p->a, "c%u[%s]", i, item(p)), e};
    if (f->plus == NONE) return v;
    return cu_val(
        scalar_expand(&p->ops, OP_add, e, e, cu_sv(p, cu_at(p, f->plus)), cu_sv(p, v), (SV){0}));
}

// Target number i of the sweep: stores come first, then folds. False: not one of this sweep's.
static bool target_at(const Cu *p, const KSweep *s, uint32_t i, CuTarget *t) {
    if (i < p->k->stores.n) {
        const KStore *st = &p->k->stores.at[i];
        *t = (CuTarget){.arg = st->arg, .index = &st->index, .mask = st->mask};
        return st->lane && ksweep_stores(s, st);
    }
    const KFold *f = &p->k->folds.at[i - p->k->stores.n];
    *t = (CuTarget){.arg = f->arg, .index = &f->index, .mask = NONE};
    t->plus_stride = f->chunk_stride;
    if (f->chunk_stride) t->plus = arena_printf(p->a, "chunk * %s", cu_num(p, f->chunk_stride));
    return s->ends && f->column;
}

static CuVal target_value(Cu *p, uint32_t i) {
    if (i < p->k->stores.n) return cu_at(p, p->k->stores.at[i].value);
    return column_result(p, i - p->k->stores.n);
}

void cu_open_items(Cu *p) {
    if (p->g->items > 1) {
        cu_line(p, "#pragma unroll");
        cu_line(p, "for (int j = 0; j < %u; j++) {", p->g->items);
    } else {
        cu_line(p, "{");
    }
    cu_open(p);
}

void cu_unit(Cu *p, const KSweep *s, CuGuard guard) {
    uint32_t targets = p->k->stores.n + p->k->folds.n;
    CuTarget t;
    memset(p->lane, 0, sizeof *p->lane * p->k->ops.n);
    for (KId id = 0; id < p->k->ops.n; id++)
        if (staged(p, id)) cu_stage_load(p, id, guard);
    for (uint32_t i = 0; i < targets; i++)
        if (target_at(p, s, i, &t)) declare_target(p, i, &t);
    cu_open_items(p);
    if (guard == GUARD_LANE) {
        cu_line(p, "if (%s < %s) {", cu_lane_text(p), p->lane_end);
        cu_open(p);
    }
    lane_ops(p);
    lane_folds(p, s);
    for (uint32_t i = 0; i < targets; i++)
        if (target_at(p, s, i, &t)) keep_target(p, i, &t, target_value(p, i));
    if (guard == GUARD_LANE) cu_close(p);
    cu_close(p);
    for (uint32_t i = 0; i < targets; i++)
        if (target_at(p, s, i, &t)) cu_store_unit(p, i, &t, guard);
    memset(p->lane, 0, sizeof *p->lane * p->k->ops.n);
}

void cu_point(Cu *p) {
    cu_row_ops(p);
    for (KId id = 0; id < p->k->ops.n; id++)
        if (staged(p, id)) cu_stage_load(p, id, GUARD_NONE);
    lane_ops(p);
}

void cu_row_stores(Cu *p, const KSweep *s) {
    for (uint32_t i = 0; i < p->k->stores.n; i++) {
        const KStore *t = &p->k->stores.at[i];
        if (!t->lane && ksweep_stores(s, t)) cu_store_row(p, t);
    }
}

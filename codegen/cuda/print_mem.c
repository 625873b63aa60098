// Indices, loads, stores and random numbers of CUDA kernels.
//
// A load whose place no lane-level op decides is staged: all lanes of a unit are read before anything
// is computed, so that the reads are in flight together. Where the four lanes are neighbours and
// aligned, they are one access, of 16 bytes where they are floats. The other loads stand in the lane's body.
// Stores come after the bodies of all lanes of the unit: an output may be the memory of an input,
// element by element. Masked-off places are never touched.
#include "codegen/cuda/print.h"

bool cu_is_staged(const Cu *p, const KOp *o) {
    const KOp *ops = p->k->ops.at;
    return o->kind == KOP_load && (o->mask == NONE || !ops[o->mask].lane) &&
           (o->index.op == NONE || !ops[o->index.op].lane);
}

const char *cu_lane_text(const Cu *p) {
    if (p->g->items == 1) return "l";
    if (p->g->step == 1) return "(l + j)";
    return arena_printf(p->a, "(l + %u * j)", p->g->step);
}

static const char *item(const Cu *p) { return p->g->items == 1 ? "0" : "j"; }

static void add_term(const Cu *p, Text *t, const char *factor, int64_t stride) {
    if (stride == 0) return;
    if (t->n) text_printf(t, " + ");
    if (stride == 1)
        text_printf(t, "%s", factor);
    else
        text_printf(t, "%s * %s", factor, cu_num(p, stride));
}

const char *cu_offset(Cu *p, const KIndex *x, const char *lane, const char *op) {
    Text t = {.arena = p->a};
    if (x->base) text_printf(&t, "%s", cu_num(p, x->base));
    for (uint32_t i = 0; i < p->k->outers; i++)
        add_term(p, &t, arena_printf(p->a, "i%u", i), x->stride[i]);
    if (x->op != NONE)
        add_term(p, &t, arena_printf(p->a, "%s(int)%s", p->g->wide ? "(i64)" : "", op),
                 x->op_stride);
    if (lane) add_term(p, &t, lane, x->stride[p->k->outers]);
    return t.n ? t.at : "0";
}

static const char *op_text(const Cu *p, const KIndex *x) {
    return x->op == NONE ? NULL : cu_at(p, x->op).text;
}

static Elem arg_elem(const Cu *p, uint32_t arg) { return (Elem)p->k->args.at[arg].elem; }

static const char *zero_text(Elem e) {
    ElemKind kind = (ElemKind)elem_info[e].kind;
    return kind == ELEM_FLOAT ? "0.0f" : kind == ELEM_BOOL ? "false" : "0u";
}

static const char *read_text(Cu *p, uint32_t arg, const char *offset) {
    return arena_printf(p->a, "a%u[%s]%s", arg, offset,
                        arg_elem(p, arg) == ELEM_bool ? " != 0" : "");
}

// The conditions under which a place is touched, joined; NULL when there is none.
static const char *both(Cu *p, const char *a, const char *b) {
    if (!a || !b) return a ? a : b;
    return arena_printf(p->a, "%s && %s", a, b);
}

static const char *mask_text(const Cu *p, KId mask) {
    return mask == NONE ? NULL : cu_at(p, mask).text;
}

static const char *load_condition(Cu *p, const KOp *o) {
    const char *later = p->k->args.at[o->arg].mode == KARG_acc ? "!first" : NULL;
    return both(p, later, mask_text(p, o->mask));
}

static const char *lane_exists(Cu *p) {
    return arena_printf(p->a, "%s < %s", cu_lane_text(p), p->lane_end);
}

static const char *guarded(Cu *p, CuGuard guard, const char *condition) {
    return guard == GUARD_LANE ? both(p, lane_exists(p), condition) : condition;
}

CuVal cu_load(Cu *p, const KOp *o, const char *lane) {
    Elem e = arg_elem(p, o->arg);
    const char *when = load_condition(p, o);
    const char *read = read_text(p, o->arg, cu_offset(p, &o->index, lane, op_text(p, &o->index)));
    if (when) read = arena_printf(p->a, "%s ? %s : %s", when, read, zero_text(e));
    return cu_temp(p, e, read);
}

// Opens the loop over the lanes of a unit.
static void open_items(Cu *p, const char *rest) {
    if (p->g->items > 1) {
        cu_line(p, "#pragma unroll");
        cu_line(p, "for (int j = 0; j < %u; j++)%s", p->g->items, rest);
    }
    p->indent += p->g->items > 1;
}
static void close_items(Cu *p) { p->indent -= p->g->items > 1; }

static bool vectorises(const Cu *p, const KIndex *x, KId mask) {
    return p->g->vector && cu_vectorises(p->k, x, mask);
}

void cu_stage_load(Cu *p, KId id, CuGuard guard) {
    const KOp *o = &p->k->ops.at[id];
    Elem e = arg_elem(p, o->arg);
    const char *when = load_condition(p, o), *op = op_text(p, &o->index);
    cu_line(p, "%s x%u[%u];", cu_register_type(e), id, p->g->items);
    if (vectorises(p, &o->index, o->mask)) {
        const char *call = arena_printf(p->a, "load4(&a%u[%s], x%u)", o->arg,
                                        cu_offset(p, &o->index, "l", op), id);
        if (when)
            cu_line(p, "if (%s) %s; else zero4(x%u);", when, call, id);
        else
            cu_line(p, "%s;", call);
        return;
    }
    when = guarded(p, guard, when);
    const char *read = read_text(p, o->arg, cu_offset(p, &o->index, cu_lane_text(p), op));
    open_items(p, "");
    if (when)
        cu_line(p, "x%u[%s] = %s ? %s : %s;", id, item(p), when, read, zero_text(e));
    else
        cu_line(p, "x%u[%s] = %s;", id, item(p), read);
    close_items(p);
}

// ---- stores

// How a line begins that is for some threads only.
static const char *only_when(Cu *p, const char *when) {
    return when ? arena_printf(p->a, "if (%s) ", when) : "";
}

// What has been stored is looked at (template/kernel.cuh). call: "watch", or "watch4" for four values.
static void watch(Cu *p, const char *only, const char *call, uint32_t number, uint32_t arg,
                  const char *at, const char *value) {
    if (elem_info[arg_elem(p, arg)].kind == ELEM_FLOAT)
        cu_line(p, "%s%s(bad%u, (%s)(%s), %s);", only, call, number, p->g->wide ? "u64" : "u32", at,
                value);
}

void cu_store_value(Cu *p, const KStore *s, const char *lane, const char *value) {
    const char *only = only_when(p, both(p, p->row_lead, mask_text(p, s->mask)));
    const char *at = cu_offset(p, &s->index, lane, op_text(p, &s->index));
    cu_line(p, "%sa%u[%s] = %s;", only, s->arg, at, value);
    watch(p, only, "watch", (uint32_t)(s - p->k->stores.at), s->arg, at, value);
}

void cu_store_row(Cu *p, const KStore *s) { cu_store_value(p, s, NULL, cu_at(p, s->value).text); }

// The text of what a store's mask or index op is in lane j, behind the bodies: kept in an array when
// it is lane-level.
static const char *kept_text(Cu *p, const char *prefix, uint32_t number, KId id) {
    if (id == NONE) return NULL;
    if (!p->k->ops.at[id].lane) return cu_at(p, id).text;
    return arena_printf(p->a, "%s%u[%s]", prefix, number, item(p));
}

void cu_store_unit(Cu *p, uint32_t number, const CuTarget *t, CuGuard guard) {
    const char *when = kept_text(p, "ym", number, t->mask);
    const char *op = kept_text(p, "yi", number, t->index->op);
    if (cu_turns(p->k, p->g, t->arg, t->index, t->mask)) {
        cu_line(p, "zy%u[across][n] = y%u[0];", number, number);
        return;
    }
    const char *more = t->plus ? arena_printf(p->a, " + %s", t->plus) : "";
    bool four = vectorises(p, t->index, t->mask) && t->plus_stride % 4 == 0;
    const char *lane = four ? "l" : cu_lane_text(p);
    const char *at = arena_printf(p->a, "%s%s", cu_offset(p, t->index, lane, op), more);
    const char *all = arena_printf(p->a, "y%u", number);
    const char *one = arena_printf(p->a, "y%u[%s]", number, item(p));
    const char *only = only_when(p, four ? when : guarded(p, guard, when));
    if (four) {
        cu_line(p, "%sstore4(&a%u[%s], %s);", only, t->arg, at, all);
        watch(p, only, "watch4", number, t->arg, at, all);
        return;
    }
    open_items(p, " {");
    cu_line(p, "%sa%u[%s] = %s;", only, t->arg, at, one);
    watch(p, only, "watch", number, t->arg, at, one);
    if (p->g->items > 1) cu_close(p);
}

// ---- random numbers

// The canonical element index is the Philox counter, in 64 bits.
CuVal cu_random(Cu *p, const KOp *o, const char *lane) {
    uint32_t n = p->temps++;
    const char *at = cu_offset(p, &o->index, lane, op_text(p, &o->index));
    const char *sample = o->sample_stride
                             ? arena_printf(p->a, " + sample * %lldll", (long long)o->sample_stride)
                             : "";
    cu_line(p, "const u64 n%u = (u64)((i64)(%s)%s);", n, at, sample);
    const char *key = p->keyed ? arena_printf(p->a, "q%u", (uint32_t)o->key)
                               : arena_printf(p->a, "0x%016llxull", (unsigned long long)o->key);
    cu_line(p, "const u64 m%u = %s ^ seed;", n, key);
    CuVal low = cu_temp(p, ELEM_u32, arena_printf(p->a, "(u32)n%u", n));
    CuVal high = cu_temp(p, ELEM_u32, arena_printf(p->a, "(u32)(n%u >> 32)", n));
    CuVal key_low = cu_temp(p, ELEM_u32, arena_printf(p->a, "(u32)m%u", n));
    CuVal key_high = cu_temp(p, ELEM_u32, arena_printf(p->a, "(u32)(m%u >> 32)", n));
    CuVal zero = {"0u", ELEM_u32}, step = {"step", ELEM_u32};
    SV counter[4] = {cu_sv(p, low), cu_sv(p, high), cu_sv(p, o->fixed ? zero : step),
                     cu_sv(p, zero)};
    SV keys[2] = {cu_sv(p, key_low), cu_sv(p, key_high)};
    return cu_val(scalar_philox(&p->ops, counter, keys, (int)o->word));
}

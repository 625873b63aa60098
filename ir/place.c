// See place.h. Splits need no rule of their own: a type rule carries an axis with the mesh axes that divide
// it, so operands that are split alike give a result that is, and place_check refuses what would be placed
// twice. What is here is the other half: when results of summands are summands of the result.
//
//   made   a fold over a split axis: each rank has the fold of its part. So do both factors of a
//          contraction that are split along a summed axis, a table whose indexed axis is split, and a
//          scatter whose rows are
//   kept   the op is linear in the operands that are summands: column `linear` of scalar.def, ops.def.
//          Largest and least values pass through views, and through max or min of two of them
//
// What a node adds to (an accumulator) must be held in summands where the node's own sum is, else it would be
// added once for each rank. O(operands x axes x mesh).
#include "ir/place.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

// ---- coordinates

uint32_t mesh_find(const Module *m, Sym name) {
    for (uint32_t i = 0; i < m->meshes; i++)
        if (m->mesh[i].name == name) return i;
    return NONE;
}

int64_t mesh_ranks(const Module *m) {
    int64_t n = 1;
    for (uint32_t i = 0; i < m->meshes; i++) n *= m->mesh[i].ranks;
    return n;
}

void mesh_coordinates(const Module *m, uint32_t rank, uint32_t at[MAX_MESH]) {
    for (uint32_t i = m->meshes; i-- > 0;) {
        at[i] = rank % m->mesh[i].ranks;
        rank /= m->mesh[i].ranks;
    }
}

int64_t axis_ways(const Module *m, const TypeAxis *a) {
    int64_t ways = 1;
    for (uint32_t i = 0; i < MAX_NEST && a->split[i]; i++) ways *= m->mesh[a->split[i] - 1].ranks;
    return ways;
}

int64_t axis_offset(const Module *m, const TypeAxis *a, const uint32_t at[MAX_MESH]) {
    int64_t part = 0;
    for (uint32_t i = 0; i < MAX_NEST && a->split[i]; i++)
        part = part * m->mesh[a->split[i] - 1].ranks + at[a->split[i] - 1];
    return part * a->size;
}

TypeId type_whole(Module *m, TypeId id) {
    Type t = *type_at(m, id);
    for (uint32_t i = 0; i < t.n; i++) {
        t.axes[i].size *= axis_ways(m, &t.axes[i]);
        memset(t.axes[i].split, 0, sizeof t.axes[i].split);
    }
    memset(t.partial, 0, sizeof t.partial);
    return type_intern(m, &t);
}

static uint32_t split_set(const TypeAxis *a) {
    uint32_t set = 0;
    for (uint32_t i = 0; i < MAX_NEST && a->split[i]; i++) set |= 1u << (a->split[i] - 1);
    return set;
}

MeshPlace place_on(const Type *t, uint32_t mesh) {
    static const uint8_t kinds[PARTIALS] = {PLACE_sum, PLACE_max, PLACE_min};
    for (uint32_t i = 0; i < t->n; i++)
        if (split_set(&t->axes[i]) >> mesh & 1) return (MeshPlace){PLACE_split, t->axes[i].axis};
    for (uint32_t k = 0; k < PARTIALS; k++)
        if (t->partial[k] >> mesh & 1) return (MeshPlace){kinds[k], 0};
    return (MeshPlace){PLACE_same, 0};
}

// ---- reasons

__attribute__((format(printf, 2, 3))) static bool refuse(Text *why, const char *fmt, ...) {
    char buf[512];
    if (!why) return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    text_put(why, buf, strlen(buf));
    return false;
}

static const char *mesh_name(const Module *m, uint32_t mesh) {
    return sym_str(m->syms, m->mesh[mesh].name);
}

const char *place_partial(const Module *m, Arena *a, const Type *t) {
    static const char *const words[PARTIALS] = {"", "of largest ", "of least "};
    Text text = {.arena = a};
    for (uint32_t k = 0; k < PARTIALS; k++)
        for (uint32_t i = 0; i < m->meshes; i++)
            if (t->partial[k] >> i & 1)
                text_printf(&text, "%s'%s'%s", text.n ? ", " : "partial over ", mesh_name(m, i),
                            k ? arena_printf(a, " (%svalues)", words[k]) : "");
    return text.n ? text.at : "whole";
}

bool place_check(const Module *m, const Type *t, Text *why) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const uint8_t *split = t->axes[i].split;
        if (!memcmp(split, (const uint8_t[MAX_NEST]){0}, MAX_NEST)) continue;
        for (uint32_t k = 0; k < MAX_NEST; k++) {
            if (!split[k]) continue;
            if (split[k] > m->meshes || (k && !split[k - 1]))
                return refuse(why, "axis '%s' is split by an unknown mesh axis",
                              sym_str(m->syms, m->axes.at[t->axes[i].axis].name));
            uint32_t bit = 1u << (split[k] - 1);
            if (used & bit)
                return refuse(why, "two axes are split by '%s'", mesh_name(m, split[k] - 1u));
            used |= bit;
        }
    }
    for (uint32_t k = 0; k < PARTIALS; k++) {
        uint32_t set = t->partial[k];
        if (set >> m->meshes) return refuse(why, "partial over an unknown mesh axis");
        for (uint32_t i = 0; i < m->meshes; i++)
            if (set & used & 1u << i)
                return refuse(why, "split by '%s' and partial over it", mesh_name(m, i));
        used |= set;
    }
    return true;
}

// ---- the rule

typedef struct {
    const Module *m;
    Op op;
    const Attr *attr;
    const Type *const *in;
    uint32_t n;
    Type *out;
    Text *why;
} PlaceRule;

static Partial fold_partial(uint32_t kind) {
    if (kind == REDUCE_max || kind == REDUCE_any) return PARTIAL_max;
    return kind == REDUCE_min || kind == REDUCE_all ? PARTIAL_min : PARTIAL_sum;
}

static uint32_t listed_split(const Type *t, const AxisList *axes) {
    uint32_t set = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (list_has(axes, t->axes[i].axis)) set |= split_set(&t->axes[i]);
    return set;
}

// The mesh axes along which the ranks' results are parts of a fold; *kind which.
static uint32_t made(const PlaceRule *r, Partial *kind) {
    uint32_t set = 0;
    *kind = PARTIAL_sum;
    if (r->op == OP_reduce) {
        *kind = fold_partial(r->attr->reduce.kind);
        return listed_split(r->in[0], &r->attr->reduce.axes);
    }
    if (r->op == OP_contract) return listed_split(r->in[0], &r->attr->contract.axes);
    if (r->op == OP_gather) return listed_split(r->in[0], &(AxisList){1, {r->attr->gather.axis}});
    for (uint32_t i = 0; r->op == OP_scatter_add && i < r->in[1]->n; i++)
        if (type_find(r->out, r->in[1]->axes[i].axis) < 0) set |= split_set(&r->in[1]->axes[i]);
    return set;
}

// Whether the op is linear in these operands, a bit for each.
static bool is_linear(const PlaceRule *r, uint32_t operands) {
    const char *p = op_info[r->op].linear;
    for (; *p; p += *p == ' ') {
        bool fits = true;
        for (uint32_t i = 0; i < r->n; i++) {
            fits &= (*p == 'p') == (operands >> i & 1);
            if (p[1] && p[1] != ' ') p++;
        }
        if (fits) return true;
        p += strcspn(p, " ");
    }
    return false;
}

static bool is_real(const Type *t) { return elem_info[t->elem].kind == ELEM_FLOAT; }

// What the patterns do not say of an op.
static bool keeps_sums(const PlaceRule *r) {
    const Type *x = r->in[0], *y = r->out;
    if (r->op == OP_reduce) return r->attr->reduce.kind == REDUCE_sum;
    if (r->op == OP_pad) return r->attr->pad.value == 0;
    if (r->op == OP_div) return is_real(x);
    if (r->op == OP_cast)
        return is_real(x) && is_real(y) && elem_info[y->elem].bytes >= elem_info[x->elem].bytes &&
               !elem_is_narrow(y->elem);
    return true;
}

static bool keeps_extremes(const PlaceRule *r, Partial k) {
    uint32_t op = r->op;
    if (op_info[op].kind == OPK_ORDER || (op_info[op].kind == OPK_VIEW && op != OP_pad))
        return true;
    if (op == OP_reduce) return fold_partial(r->attr->reduce.kind) == k;
    return k == PARTIAL_max ? op == OP_max || op == OP_or : op == OP_min || op == OP_and;
}

static bool keeps(const PlaceRule *r, Partial k, uint32_t operands) {
    if (k == PARTIAL_sum) return is_linear(r, operands) && keeps_sums(r);
    return operands == (1u << r->n) - 1 && keeps_extremes(r, k);
}

static bool not_summands(const PlaceRule *r, uint32_t mesh, uint32_t operands) {
    uint32_t one = 0, other = 0;
    while (!(operands >> one & 1)) one++;
    while (other < r->n && operands >> other & 1) other++;
    if (other == r->n)
        return refuse(r->why, "operand %u of '%s' is partial over '%s': an all_reduce is missing",
                      one, op_info[r->op].name, mesh_name(r->m, mesh));
    return refuse(
        r->why,
        "operand %u of '%s' is partial over '%s', operand %u is not: an all_reduce is missing", one,
        op_info[r->op].name, mesh_name(r->m, mesh), other);
}

// Where the node's own fold is partial, of its operands the accumulator is, and it alone.
static bool check_made(const PlaceRule *r, uint32_t mesh, uint32_t operands) {
    int acc = op_info[r->op].acc;
    uint32_t want = acc >= 0 && (uint32_t)acc < r->n ? 1u << acc : 0;
    if (operands == want) return true;
    if (want && !operands)
        return refuse(r->why, "'%s' sums over '%s' and adds to a value that is whole",
                      op_info[r->op].name, mesh_name(r->m, mesh));
    return not_summands(r, mesh, operands);
}

static bool rule_on(const PlaceRule *r, uint32_t mesh, uint32_t own, Partial own_kind) {
    for (uint32_t k = 0; k < PARTIALS; k++) {
        uint32_t operands = 0, bit = 1u << mesh;
        for (uint32_t i = 0; i < r->n; i++)
            operands |= (uint32_t)(r->in[i]->partial[k] >> mesh & 1) << i;
        if (own & bit && k == own_kind) {
            if (!check_made(r, mesh, operands)) return false;
            r->out->partial[k] |= (uint8_t)bit;
        } else if (operands) {
            if (own & bit || !keeps(r, (Partial)k, operands))
                return not_summands(r, mesh, operands);
            r->out->partial[k] |= (uint8_t)bit;
        }
    }
    return true;
}

// A function of indices is free to be any part; a constant that adds nothing may be a summand, too.
static bool leaf_rule(const PlaceRule *r) {
    static const double nothing[PARTIALS] = {0, -(double)INFINITY, (double)INFINITY};
    if (r->op == OP_state || r->op == OP_arg) return true;
    for (uint32_t k = 0; k < PARTIALS; k++)
        if (r->out->partial[k] && (r->op != OP_const || r->attr->constant.value != nothing[k]))
            return refuse(r->why, "'%s' gives no summands", op_info[r->op].name);
    return true;
}

bool place_rule(const Module *m, Op op, const Attr *attr, const Type *const *in, uint32_t n,
                Type *out, Text *why) {
    PlaceRule r = {m, op, attr, in, n, out, why};
    if (op_info[op].kind == OPK_REGION || op_info[op].kind == OPK_MESH || op == OP_part)
        return true;
    if (n == 0) return leaf_rule(&r);
    Partial kind;
    uint32_t own = made(&r, &kind);
    memset(out->partial, 0, sizeof out->partial);
    for (uint32_t i = 0; i < m->meshes; i++)
        if (!rule_on(&r, i, own, kind)) return false;
    return true;
}

// The invariants of the IR, checked after every pass.
//
//   V1   operands are earlier nodes of the same function; the pool holds them all
//   V2   the op is known and has as many operands as ops.def says
//   V3   the attribute record is the op's own; what it names exists
//   V4   types are well formed; no axis is longer than it was declared
//   V5   a node's type is what its rule gives (ir/infer.c), its place included (ir/place.c), in an order the rule
//        allows
//   V6   phase and source range are valid
//   V7   a repeat stands in an earlier one; a node's repeat exists and has its round; of a function, nodes with an ordinal that agree in
//        template, ordinal, phase, clone and instance are one
//   V8   states: path unique, type well formed, as many axes declared as the type has; one belongs to an
//        earlier parameter
//   V9   a state is assigned at most once in a function
//   V10  a region holds no state, grad, assign, group or part; only a region holds arg
//   V11  a group's body is a region with results, its parameters are the group's operands, and the
//        group has the type of result 0
//   V12  a part belongs to a group and has the type of the result it names
//   V13  results have a name of their own; a loss is an f32 without axes
//   V14  memory: a place for every node or for none, at multiples of 64 bytes
//   V15  axes: name unique, size not negative
//   V16  functions that are no regions: name unique
//   V17  memory: M1 to M6 of ir/memcheck.c
//   V18  what is recomputed: rounds are those of a repeat; 'keep' needs something that is recomputed else
//   V19  the mesh: axes of one rank and more, with names of their own, at most 2^20 ranks
//   V20  states: what a rank holds are parts of the whole, summands of accumulators only
//   V21  a result is the same on all ranks
//   V22  a copy between device and host is started by offload or fetch, and read by one landed or ready alone, which
//        names what it reads too; what lies on the host is read by fetch, ready and assign alone
//
// V1 to V4, V7 of repeats, V8, V15, V19 and V20 make ids safe to follow; the others are checked only when those hold, V17 only
// when all others do.
// Linear in nodes, operands and results.
#include "ir/attr.h"
#include "ir/infer.h"
#include "ir/place.h"
#include <stdarg.h>
#include <string.h>

enum { MAX_SHOWN = 50 };

typedef struct {
    const Module *m;
    Text *why;
    int n;
    const Func *f; // under check, or NULL
    NodeId node;   // or NONE
} Verifier;

static const char *str(const Verifier *v, Sym s) { return sym_str(v->m->syms, s); }

static void put_place(Verifier *v) {
    if (!v->f) return;
    text_printf(v->why, "%s %s", v->f->region ? "region" : "function", str(v, v->f->name));
    if (v->node != NONE) {
        uint32_t op = node_at(v->f, v->node)->op;
        text_printf(v->why, ", node %%%u %s", v->node, op < OP_COUNT ? op_info[op].name : "?");
    }
    text_put(v->why, ": ", 2);
}

__attribute__((format(printf, 3, 4))) static void bad(Verifier *v, int number, const char *fmt,
                                                      ...) {
    if (v->n++ >= MAX_SHOWN || !v->why) return;
    char buf[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    text_printf(v->why, "V%d: ", number);
    put_place(v);
    text_printf(v->why, "%s\n", buf);
}

// The reason that infer_type or type_check gives, as a violation.
static Text reason(const Verifier *v) { return (Text){.arena = v->m->arena}; }

// Which of the nodes is under report, or NONE for the function itself.
static void at_func(Verifier *v, const Func *f) { v->f = f, v->node = NONE; }

// ---- ids that are safe to follow

static bool check_type(Verifier *v, int number, TypeId t) {
    if (t >= v->m->types.n) return bad(v, number, "unknown type %u", t), false;
    Text why = reason(v);
    const Type *type = type_at(v->m, t);
    if (!type_check(v->m, type, &why)) return bad(v, number, "%s", why.at), false;
    for (uint32_t i = 0; i < type->n; i++) {
        const Axis *a = &v->m->axes.at[type->axes[i].axis];
        int64_t ways = axis_ways(v->m, &type->axes[i]);
        if (type->axes[i].size > a->size / ways)
            return bad(v, number, "axis '%s' has size %lld%s, declared %lld", str(v, a->name),
                       (long long)type->axes[i].size, ways > 1 ? " on each rank" : "",
                       (long long)a->size),
                   false;
    }
    return true;
}

static void check_axes(Verifier *v) {
    const Module *m = v->m;
    if (m->axes.n == 0 || m->axes.at[0].name) bad(v, 15, "axis 0 is not the absent axis");
    for (AxisId i = 1; i < m->axes.n; i++) {
        const Axis *a = &m->axes.at[i];
        if (axis_find(m, a->name) != i) bad(v, 15, "axis '%s' is not unique", str(v, a->name));
        if (a->size < 0) bad(v, 15, "axis '%s' has a negative size", str(v, a->name));
    }
}

static void check_mesh(Verifier *v) {
    const Module *m = v->m;
    int64_t ranks = 1;
    if (m->meshes > MAX_MESH) {
        bad(v, 19, "%u axes of the mesh", m->meshes);
        return;
    }
    for (uint32_t i = 0; i < m->meshes; i++) {
        if (!m->mesh[i].name || mesh_find(m, m->mesh[i].name) != i)
            bad(v, 19, "mesh axis '%s' is not unique", str(v, m->mesh[i].name));
        if (m->mesh[i].ranks < 1 || m->mesh[i].ranks > MAX_RANKS / ranks) {
            bad(v, 19, "mesh axis '%s' has %u ranks", str(v, m->mesh[i].name), m->mesh[i].ranks);
            return;
        }
        ranks *= m->mesh[i].ranks;
    }
}

// The parts make the declared whole, axis by axis in the same order.
static void check_local(Verifier *v, const State *s) {
    const Module *m = v->m;
    if (s->local == NONE || !check_type(v, 20, s->local)) return;
    const Type *part = type_at(m, s->local), *whole = type_at(m, s->type);
    bool fits = part->elem == whole->elem && part->n == whole->n;
    for (uint32_t i = 0; fits && i < part->n; i++)
        fits = part->axes[i].axis == whole->axes[i].axis &&
               part->axes[i].size * axis_ways(m, &part->axes[i]) == whole->axes[i].size;
    if (!fits) bad(v, 20, "what a rank holds of state '%s' is no part of it", str(v, s->path));
    for (uint32_t k = 0; k < PARTIALS; k++)
        if (part->partial[k] && s->kind != STATE_accum)
            bad(v, 20, "state '%s' is held in summands, and is no accumulator", str(v, s->path));
}

static void check_repeats(Verifier *v) {
    const Module *m = v->m;
    for (uint32_t i = 1; i < m->repeats.n; i++) {
        const Repeat *r = &m->repeats.at[i];
        if (r->parent >= i)
            bad(v, 7, "repeat %u stands in none that comes before it", i);
        else if (r->rounds < 0 || repeat_total(m, i) < 0)
            bad(v, 7, "repeat %u has %lld rounds", i, (long long)r->rounds);
    }
}

static void check_mem(Verifier *v, const Mem *mem) {
    if (mem->region >= REGION_COUNT)
        bad(v, 14, "unknown memory region %u", mem->region);
    else if (mem->offset < 0 || mem->offset % 64)
        bad(v, 14, "offset %lld in memory is no multiple of 64", (long long)mem->offset);
    else if (mem->region == REGION_none && mem->offset)
        bad(v, 14, "an offset without a memory region");
}

static bool is_shadow(const Module *m, const State *s) {
    if (s->of >= m->states.n || s->type >= m->types.n) return false;
    const State *of = &m->states.at[s->of];
    return of->type < m->types.n && type_same_axes(type_at(m, s->type), type_at(m, of->type));
}

static void check_states(Verifier *v) {
    for (StateId i = 0; i < v->m->states.n; i++) {
        const State *s = &v->m->states.at[i];
        if (!s->path || state_find(v->m, s->path) != i)
            bad(v, 8, "state '%s' is not unique", str(v, s->path));
        if (s->of != NONE && (s->of >= i || v->m->states.at[s->of].kind != STATE_param))
            bad(v, 8, "state '%s' belongs to no earlier parameter", str(v, s->path));
        if (s->kind == STATE_shadow && s->of != NONE && !is_shadow(v->m, s))
            bad(v, 8, "state '%s' is no shadow of a parameter with its axes", str(v, s->path));
        if (s->kind >= STATE_KINDS) bad(v, 8, "state '%s' has no known kind", str(v, s->path));
        check_mem(v, &s->mem);
        if (!check_type(v, 8, s->type)) continue;
        check_local(v, s);
        const Type *t = type_at(v->m, s->type);
        if ((uint32_t)s->n_batch + s->n_in > t->n)
            bad(v, 8, "state '%s' declares more axes than it has", str(v, s->path));
    }
}

static bool axes_known(const Verifier *v, const AxisList *l) {
    if (l->n > MAX_AXES) return false;
    for (uint32_t i = 0; i < l->n; i++)
        if (l->at[i] == 0 || l->at[i] >= v->m->axes.n) return false;
    return true;
}

static bool field_valid(const Verifier *v, const AttrField *f, const void *at) {
    uint32_t n, id = f->size >= 4 ? *(const uint32_t *)at : 0;
    switch ((FieldKind)f->kind) {
    case FIELD_AXIS: return id < v->m->axes.n;
    case FIELD_AXES: return axes_known(v, at);
    case FIELD_I64:
    case FIELD_F64:
    case FIELD_SYM: return true;
    case FIELD_DTYPE: return id < ELEM_COUNT;
    case FIELD_STATE: return id < v->m->states.n;
    case FIELD_FUNC: return id < v->m->funcs.n;
    case FIELD_MESH: return id && !(id >> v->m->meshes);
    case FIELD_REDUCE:
    case FIELD_FOLD:
    case FIELD_GROUP: return field_names((FieldKind)f->kind, &n) && id < n;
    }
    unreachable(f->kind);
}

static void check_attr(Verifier *v, const Node *n) {
    if (n->attr >= v->m->attrs.n) {
        bad(v, 3, "unknown attributes %u", n->attr);
        return;
    }
    const Attr *a = attr_at(v->m, n->attr);
    if (a->kind != op_info[n->op].attr) {
        bad(v, 3, "the attributes of another op");
        return;
    }
    uint32_t first, count = attr_record((AttrKind)a->kind, &first);
    for (uint32_t i = first; i < first + count; i++)
        if (!field_valid(v, &attr_fields[i], attr_field_const(a, &attr_fields[i])))
            bad(v, 3, "attribute '%s' names nothing that exists", attr_fields[i].name);
}

static void check_operands(Verifier *v, const Node *n) {
    const OpInfo *o = &op_info[n->op];
    if (n->n < o->min || n->n > o->max)
        bad(v, 2, "%u operands, expected %u to %u", n->n, o->min, o->max);
    if (n->first > v->f->pool.n || n->n > v->f->pool.n - n->first) {
        bad(v, 1, "its operands are outside the pool");
        return;
    }
    for (uint32_t i = 0; i < n->n; i++)
        if (v->f->pool.at[n->first + i] >= v->node)
            bad(v, 1, "operand %%%u is not an earlier node", v->f->pool.at[n->first + i]);
}

static void check_ids(Verifier *v, const Func *f) {
    at_func(v, f);
    for (v->node = 0; v->node < f->nodes.n; v->node++) {
        const Node *n = node_at(f, v->node);
        if (n->op >= OP_COUNT) {
            bad(v, 2, "unknown op %u", n->op);
            continue;
        }
        check_operands(v, n);
        check_attr(v, n);
        check_type(v, 4, n->type);
    }
    at_func(v, f);
    for (uint32_t i = 0; i < f->results.n; i++)
        if (f->results.at[i].node >= f->nodes.n || f->results.at[i].kind >= RESULT_KINDS)
            bad(v, 13, "result '%s' of unknown node or kind", str(v, f->results.at[i].name));
}

// ---- meaning

static void check_rule(Verifier *v, const Node *n) {
    const Type *types[MAX_OPERANDS], *have = type_at(v->m, n->type);
    for (uint32_t i = 0; i < n->n; i++) types[i] = type_of(v->m, v->f, operand(v->f, v->node, i));
    Text why = reason(v);
    Type want;
    if (!infer_type(v->m, (Op)n->op, attr_at(v->m, n->attr), types, n->n, have, &want, &why))
        bad(v, 5, "%s", why.at);
    else if (!type_same(&want, have))
        bad(v, 5, "its type is not what its rule gives");
}

static void check_marks(Verifier *v, const Node *n) {
    if (n->phase >= PHASE_COUNT) bad(v, 6, "unknown phase %u", n->phase);
    if (n->inst.repeat >= v->m->repeats.n || n->inst.round >= repeat_total(v->m, n->inst.repeat))
        bad(v, 7, "round %u of repeat %u does not exist", n->inst.round, n->inst.repeat);
    if (n->loc.start > n->loc.end) bad(v, 6, "its source range ends before it starts");
    if (v->m->diag && n->loc.file && n->loc.file >= v->m->diag->files.n)
        bad(v, 6, "unknown source file %u", n->loc.file);
}

static void check_residence(Verifier *v, const Node *n) {
    uint8_t in = op_info[n->op].in;
    if (v->f->region && in == IN_TOP) bad(v, 10, "not possible in a region");
    if (!v->f->region && in == IN_BODY) bad(v, 10, "only possible in a region");
}

static const Func *body_of(const Verifier *v, const Node *group) {
    return v->m->funcs.at[attr_at(v->m, group->attr)->group.body];
}

static void check_group(Verifier *v, const Node *n) {
    const Func *body = body_of(v, n);
    if (!body->region || body->results.n == 0) {
        bad(v, 11, "its body '%s' is no region with results", str(v, body->name));
        return;
    }
    if (n->type != node_at(body, body->results.at[0].node)->type)
        bad(v, 11, "its type is not that of result 0 of its body");
    for (NodeId i = 0; i < body->nodes.n; i++) {
        if (node_at(body, i)->op != OP_arg) continue;
        int64_t index = attr_of(v->m, body, i)->arg.index;
        if (index >= n->n) {
            bad(v, 11, "its body asks for operand %lld", (long long)index);
            continue;
        }
        NodeId x = operand(v->f, v->node, (uint32_t)index);
        if (node_at(v->f, x)->type != node_at(body, i)->type)
            bad(v, 11, "operand %lld has another type than parameter %%%u of its body",
                (long long)index, i);
    }
}

static void check_part(Verifier *v, const Node *n) {
    const Node *group = node_at(v->f, operand(v->f, v->node, 0));
    if (group->op != OP_group) {
        bad(v, 12, "its operand is no group");
        return;
    }
    const Func *body = body_of(v, group);
    int64_t index = attr_at(v->m, n->attr)->part.index;
    if (index >= body->results.n)
        bad(v, 12, "the group has no result %lld", (long long)index);
    else if (n->type != node_at(body, body->results.at[index].node)->type)
        bad(v, 12, "its type is not that of result %lld", (long long)index);
}

static void check_assigns(Verifier *v, const Func *f) {
    Map seen = {.arena = v->m->arena};
    at_func(v, f);
    for (v->node = 0; v->node < f->nodes.n; v->node++) {
        if (node_at(f, v->node)->op != OP_assign) continue;
        StateId s = attr_of(v->m, f, v->node)->assign.state;
        bool fresh;
        map_slot(&seen, s, &fresh);
        if (!fresh) bad(v, 9, "second assignment to state '%s'", str(v, v->m->states.at[s].path));
    }
}

static bool same_instance(const Node *a, const Node *b) {
    return a->tmpl == b->tmpl && a->ordinal == b->ordinal && a->phase == b->phase &&
           a->clone == b->clone && a->inst.repeat == b->inst.repeat &&
           a->inst.round == b->inst.round;
}

static void check_ordinals(Verifier *v, const Func *f) {
    Map seen = {.arena = v->m->arena};
    at_func(v, f);
    for (v->node = 0; v->node < f->nodes.n; v->node++) {
        const Node *n = node_at(f, v->node);
        if (!n->ordinal) continue;
        uint64_t h = hash_u64(hash_u64(HASH_SEED, n->tmpl), n->ordinal);
        h = hash_u64(hash_u64(h, n->phase), n->clone);
        bool fresh;
        uint32_t *first =
            map_slot(&seen, hash_u64(hash_u64(h, n->inst.repeat), n->inst.round), &fresh);
        if (fresh)
            *first = v->node;
        else if (same_instance(n, node_at(f, *first)))
            bad(v, 7, "the same node of a template as %%%u", *first);
    }
}

static void check_results(Verifier *v, const Func *f) {
    Map seen = {.arena = v->m->arena};
    at_func(v, f);
    for (uint32_t i = 0; i < f->results.n; i++) {
        const Result *r = &f->results.at[i];
        const Type *t = type_of(v->m, f, r->node);
        bool fresh = true;
        if (!f->region) map_slot(&seen, r->name, &fresh);
        if (!fresh || (!f->region && !r->name))
            bad(v, 13, "result '%s' has no name of its own", str(v, r->name));
        for (uint32_t k = 0; k < v->m->meshes && !f->region; k++)
            if (place_on(t, k).kind != PLACE_same)
                bad(v, 21, "result '%s' is not the same on all ranks of '%s'", str(v, r->name),
                    str(v, v->m->mesh[k].name));
        if (r->kind == RESULT_loss && (t->n || t->elem != ELEM_f32))
            bad(v, 13, "loss '%s' is not an f32 without axes", str(v, r->name));
    }
}

static void check_plan(Verifier *v, const Func *f) {
    at_func(v, f);
    if (f->mem.n == 0) return;
    if (f->mem.n != f->nodes.n) {
        bad(v, 14, "%u places in memory for %u nodes", f->mem.n, f->nodes.n);
        return;
    }
    for (v->node = 0; v->node < f->nodes.n; v->node++) check_mem(v, &f->mem.at[v->node]);
}

// Of each use of a copy, of what it read, and of what lies on the host.
static void check_copy_use(Verifier *v, const Node *n, uint32_t i, uint32_t *ends) {
    NodeId o = operand(v->f, v->node, i);
    uint32_t of = node_at(v->f, o)->op, end = of == OP_offload ? OP_landed : OP_ready;
    if (op_starts_copy(of)) {
        if (n->op != end || i != 0 || ends[o]++)
            bad(v, 22, "the copy %%%u is not read by one '%s' alone", o, op_info[end].name);
        else if (operand(v->f, v->node, 1) != operand(v->f, o, 0))
            bad(v, 22, "its second operand is not what %%%u copies", o);
    } else if (op_ends_copy(n->op) && i == 0) {
        bad(v, 22, "its first operand is no copy");
    }
    bool reads_host = n->op == OP_fetch || n->op == OP_assign || (n->op == OP_ready && i == 1);
    if (of == OP_landed && !reads_host) bad(v, 22, "operand %%%u lies on the host", o);
}

static void check_copies(Verifier *v, const Func *f) {
    uint32_t *ends = NEW_ARRAY(v->m->arena, uint32_t, f->nodes.n + 1);
    at_func(v, f);
    for (v->node = 0; v->node < f->nodes.n; v->node++) {
        const Node *n = node_at(f, v->node);
        for (uint32_t i = 0; i < n->n; i++) check_copy_use(v, n, i, ends);
    }
    for (v->node = 0; v->node < f->nodes.n; v->node++)
        if (op_starts_copy(node_at(f, v->node)->op) && !ends[v->node])
            bad(v, 22, "nothing waits for this copy");
    at_func(v, f);
    for (uint32_t i = 0; i < f->results.n; i++)
        if (op_is_on_host(node_at(f, f->results.at[i].node)->op))
            bad(v, 22, "result '%s' lies on the host", str(v, f->results.at[i].name));
}

static bool has_copies(const Func *f) {
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (op_starts_copy(node_at(f, n)->op) || op_ends_copy(node_at(f, n)->op)) return true;
    return false;
}

static void check_func(Verifier *v, const Func *f) {
    at_func(v, f);
    for (v->node = 0; v->node < f->nodes.n; v->node++) {
        const Node *n = node_at(f, v->node);
        check_rule(v, n);
        check_marks(v, n);
        check_residence(v, n);
        if (n->op == OP_group) check_group(v, n);
        if (n->op == OP_part) check_part(v, n);
    }
    check_assigns(v, f);
    if (has_copies(f)) check_copies(v, f);
    if (!f->region) check_ordinals(v, f);
    check_results(v, f);
    check_plan(v, f);
}

static void check_names(Verifier *v) {
    Map seen = {.arena = v->m->arena};
    for (FuncId i = 0; i < v->m->funcs.n; i++) {
        const Func *f = v->m->funcs.at[i];
        bool fresh;
        if (f->region) continue;
        map_slot(&seen, f->name, &fresh);
        at_func(v, f);
        if (!fresh || !f->name) bad(v, 16, "its name is not its own");
    }
}

static void check_recompute(Verifier *v) {
    const Recompute *r = &v->m->recompute;
    bool asked = r->mode != RECOMPUTE_none, rounds = r->mode != RECOMPUTE_every && !r->axis;
    for (uint32_t i = 1; i < v->m->repeats.n; i++)
        rounds |= !r->axis || v->m->repeats.at[i].axis == r->axis;
    if (!rounds && !r->axis) bad(v, 18, "'recomputes every' counts rounds, and there is no repeat");
    if (!rounds && r->axis) bad(v, 18, "no repeat goes over '%s'", str(v, r->axis));
    for (uint32_t i = 0; i < v->m->demands.n; i++)
        asked |= v->m->demands.at[i].kind == DEMAND_recompute;
    for (uint32_t i = 0; i < v->m->demands.n && !asked; i++)
        if (v->m->demands.at[i].kind == DEMAND_keep)
            bad(v, 18, "'keep %s': nothing is recomputed ('recomputes', or 'recompute NAMES')",
                str(v, v->m->demands.at[i].path));
}

int ir_verify(const Module *m, Text *why) {
    Verifier v = {.m = m, .why = why, .node = NONE};
    check_mesh(&v);
    if (v.n) return v.n;
    check_axes(&v);
    check_repeats(&v);
    check_states(&v);
    check_recompute(&v);
    for (FuncId i = 0; i < m->funcs.n; i++) check_ids(&v, m->funcs.at[i]);
    if (v.n) return v.n;
    check_names(&v);
    for (FuncId i = 0; i < m->funcs.n; i++) check_func(&v, m->funcs.at[i]);
    for (FuncId i = 0; i < m->funcs.n && !v.n; i++) v.n += ir_check_memory(m, m->funcs.at[i], why);
    return v.n;
}

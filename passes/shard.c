// Divides the program among the ranks of a mesh: every value gets a place, and collectives stand where the
// place that an operand has is not the one that an op needs. It exists so that data and tensor parallel training
// are lists of axes in the plan and no code of their own.
//
// A value is wanted split along the first axis of its mesh axis's list that it has (`shard data (batch)`), by the
// axis's own name; what is renamed from such an axis, or is the outermost part of one, counts after it, in values
// of samples only: an optimizer's views of parameters are no kin of activations. How to get there is chosen node
// by node, one mesh axis at a time, in order: of the ways in which the op's result follows from parts
// (ir_axis_flow, the column `linear`) the one that sends least, then computes least. Not chosen, whatever it
// costs: what moves samples away from their rank, and what cuts a value that nobody wants cut.
//
//   indices, constants, inputs and what follows from them alone have no place: made where they are used
//   a sum over what is split is held in summands as long as its users take it so (accumulators); else it is
//   reduced at once, to the place that is wanted
//   a state lies where its name says; an accumulator where the function that adds to it leaves it, and who reads
//   it later has it reduced
//
// The result verifies by ir/place.c, so what is chosen can be slow, not wrong. Not done: one axis over two mesh
// axes, sizes that do not divide. O(nodes x mesh x strategies).
#include "ir/place.h"
#include "passes/rewrite.h"
#include <math.h>
#include <string.h>

enum { MOST_WAYS = 24, MOST_OPERANDS = 8 };
static const MeshPlace SAME = {PLACE_same, 0}, SUMMANDS = {PLACE_sum, 0};
static MeshPlace along(AxisId a) { return (MeshPlace){PLACE_split, a}; }
static const double START = 1500,
                    REDUNDANT = 8; // bytes that a start costs, flops that weigh as much as a byte

typedef struct {
    MeshPlace out, in[MOST_OPERANDS];
} Way;

// One function, one mesh axis.
typedef struct {
    MeshPlace *raw, *place; // by node: as the op gives it, and as it is kept
    MeshPlace *need;        // by place in the pool of operands
} Chosen;

typedef struct {
    PassCx *cx;
    Module *m;
    Arena *a;
    AxisId sample;
    uint32_t *rank[MAX_MESH];  // by axis: place in the list, from 1, kin behind; 0: not listed
    MeshPlace *held[MAX_MESH]; // by state
    uint8_t *written;          // by state: its place is known
    const Func *f;
    Chosen at[MAX_MESH];
    uint8_t *free; // by node of f
    uint8_t *own;  // by state: an accumulator that f adds to
    NodeList *users;
    uint32_t count[MAX_MESH]; // collectives written
    bool failed;
} Shard;

static const Node *node(const Shard *s, NodeId n) { return node_at(s->f, n); }
static const Type *type(const Shard *s, NodeId n) { return type_of(s->m, s->f, n); }
static uint32_t ways(const Shard *s, uint32_t k) { return s->m->mesh[k].ranks; }

// ---- what is wanted

static bool has_sample(const Shard *s, const Type *t) {
    return s->sample && type_find(t, s->sample) >= 0;
}

// Axes that stand for a listed one.
static bool add_kin(Shard *s, uint32_t k, AxisId x, AxisId y) {
    if (!s->rank[k][x] || s->rank[k][y]) return false;
    s->rank[k][y] = s->rank[k][x] + 2 * MAX_AXES;
    return true;
}

static bool find_kin(Shard *s, uint32_t k, const Func *f) {
    bool more = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Attr *a = attr_of(s->m, f, n);
        if (!has_sample(s, type_of(s->m, f, n))) continue;
        uint32_t op = node_at(f, n)->op;
        if (op == OP_rename) {
            more |= add_kin(s, k, a->rename.from, a->rename.to);
            more |= add_kin(s, k, a->rename.to, a->rename.from);
        }
        if (op == OP_split && a->split.to.n)
            more |= add_kin(s, k, a->split.from, a->split.to.at[0]);
        if (op == OP_merge) more |= add_kin(s, k, a->merge.from.at[0], a->merge.to);
    }
    return more;
}

static void read_lists(Shard *s) {
    for (uint32_t k = 0; k < s->m->meshes; k++)
        s->rank[k] = NEW_ARRAY(s->a, uint32_t, s->m->axes.n);
    for (uint32_t i = 0; i < s->m->shards.n; i++) {
        const ShardLine *l = &s->m->shards.at[i];
        for (uint32_t j = 0; j < l->axes.n; j++) s->rank[l->mesh][l->axes.at[j]] = j + 1;
    }
    for (uint32_t k = 0; k < s->m->meshes; k++)
        for (bool more = true; more;) {
            more = false;
            for (FuncId i = 0; i < s->m->funcs.n; i++) more |= find_kin(s, k, s->m->funcs.at[i]);
        }
}

// Whether a value of type t may be split along a by mesh axis k, beside what others split.
static bool divides(const Shard *s, uint32_t k, NodeId n, const Type *t, AxisId a) {
    for (uint32_t j = 0; j < k && n != NONE; j++)
        if (place_same(s->at[j].place[n], along(a)) || place_same(s->at[j].raw[n], along(a)))
            return false;
    return t->axes[type_find(t, a)].size % ways(s, k) == 0;
}

static MeshPlace by_name(const Shard *s, uint32_t k, NodeId n, const Type *t, bool literal) {
    MeshPlace best = SAME;
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        uint32_t r = s->rank[k][a];
        if (!r || r >= least || (literal && r > 2 * MAX_AXES) || !divides(s, k, n, t, a)) continue;
        least = r;
        best = along(a);
    }
    return best;
}

static MeshPlace wanted(const Shard *s, uint32_t k, NodeId n) {
    return by_name(s, k, n, type(s, n), !has_sample(s, type(s, n)));
}

static void place_states(Shard *s) {
    s->written = NEW_ARRAY(s->a, uint8_t, s->m->states.n + 1);
    for (uint32_t k = 0; k < s->m->meshes; k++) {
        s->held[k] = NEW_ARRAY(s->a, MeshPlace, s->m->states.n + 1);
        for (StateId i = 0; i < s->m->states.n; i++) {
            const Type *t = type_at(s->m, s->m->states.at[i].type);
            bool first = true; // one axis, one mesh axis
            MeshPlace p = by_name(s, k, NONE, t, true);
            for (uint32_t j = 0; j < k; j++) first &= !place_same(s->held[j][i], p);
            if (s->m->states.at[i].kind != STATE_accum && p.kind == PLACE_split && first)
                s->held[k][i] = p;
        }
    }
}

// ---- the ways of an op

static bool lists_axis(const Type *t, AxisId a) { return type_find(t, a) >= 0; }

// Operand i's place when the result is split along a. False: it has the axis in a form that cannot be cut.
static bool source(const Shard *s, NodeId n, uint32_t i, AxisId a, MeshPlace *to) {
    const Type *x = type(s, operand(s->f, n, i));
    *to = SAME;
    for (uint32_t j = 0; j < x->n; j++) {
        AxisFlow flow = ir_axis_flow(s->m, s->f, n, i, x->axes[j].axis);
        if ((flow.role == ROLE_EACH || flow.role == ROLE_MOVED) && flow.to == a)
            return *to = along(x->axes[j].axis), true;
    }
    if (node(s, n)->op == OP_scatter_add && attr_of(s->m, s->f, n)->scatter_add.axis == a)
        return true;
    return ir_axis_flow(s->m, s->f, n, i, a).role == ROLE_NEW;
}

static void add_split(const Shard *s, NodeId n, AxisId a, Way *to, uint32_t *count) {
    Way w = {.out = along(a)};
    for (uint32_t i = 0; i < node(s, n)->n; i++)
        if (!source(s, n, i, a, &w.in[i])) return;
    if (*count < MOST_WAYS) to[(*count)++] = w;
}

// The op's own fold, over an axis of operand `first` that is split.
static void add_fold(const Shard *s, NodeId n, uint32_t first, AxisId x, Way *to, uint32_t *count) {
    Role role = ir_axis_flow(s->m, s->f, n, first, x).role;
    if (role != ROLE_SUM && role != ROLE_MAX && role != ROLE_MIN) return;
    Way w = {.out = {role == ROLE_SUM ? PLACE_sum : role == ROLE_MAX ? PLACE_max : PLACE_min, 0}};
    int acc = node_acc(node(s, n));
    for (uint32_t i = 0; i < node(s, n)->n; i++) {
        if ((int)i == acc)
            w.in[i] = SUMMANDS;
        else if (lists_axis(type(s, operand(s->f, n, i)), x) &&
                 ir_axis_flow(s->m, s->f, n, i, x).role == role)
            w.in[i] = along(x);
    }
    if (*count < MOST_WAYS) to[(*count)++] = w;
}

// Where the op is linear in operands that are summands.
static void add_linear(const Shard *s, NodeId n, Way *to, uint32_t *count) {
    const char *p = op_info[node(s, n)->op].linear;
    for (; *p; p += *p == ' ') {
        Way w = {.out = SUMMANDS};
        for (uint32_t i = 0; i < node(s, n)->n; i++) {
            if (*p == 'p') w.in[i] = SUMMANDS;
            if (p[1] && p[1] != ' ') p++;
        }
        p += strcspn(p, " ");
        if (*count < MOST_WAYS) to[(*count)++] = w;
    }
}

static uint32_t all_ways(const Shard *s, NodeId n, Way *to) {
    const Node *x = node(s, n);
    const Type *t = type(s, n);
    uint32_t count = 1, first = x->op == OP_scatter_add ? 1 : 0;
    to[0] = (Way){.out = SAME};
    for (uint32_t i = 0; i < t->n; i++) add_split(s, n, t->axes[i].axis, to, &count);
    for (uint32_t i = 0; x->n && i < type(s, operand(s->f, n, first))->n; i++)
        add_fold(s, n, first, type(s, operand(s->f, n, first))->axes[i].axis, to, &count);
    if (x->op == OP_add || x->op == OP_rename || x->op == OP_copy) add_linear(s, n, to, &count);
    return count;
}

// ---- choice

static double bytes_of(const Shard *s, uint32_t k, NodeId n) {
    double b = (double)type_bytes(type(s, n));
    for (uint32_t j = 0; j < k; j++)
        if (s->at[j].place[n].kind == PLACE_split) b /= ways(s, j);
    return b;
}

// Bytes that a rank sends to bring n from one place to another; infinite where there is no way.
static double moving(const Shard *s, uint32_t k, NodeId n, MeshPlace have, MeshPlace want) {
    double b = bytes_of(s, k, n), f = (ways(s, k) - 1.0) / ways(s, k);
    if (place_same(have, want)) return 0;
    if (want.kind != PLACE_same && want.kind != PLACE_split) return (double)INFINITY;
    if (have.kind == PLACE_same) return 0;
    if (have.kind == PLACE_split)
        return START + f * b / (want.kind == PLACE_split ? ways(s, k) : 1);
    if (have.kind != PLACE_sum && want.kind == PLACE_split) return (double)INFINITY;
    return START + (want.kind == PLACE_same ? 2 : 1) * f * b;
}

static double flops_of(const Shard *s, NodeId n) {
    const Node *x = node(s, n);
    double c = (double)type_count(type(s, n));
    const AxisList *axes = x->op == OP_contract ? &attr_of(s->m, s->f, n)->contract.axes : NULL;
    const Type *t = x->n ? type(s, operand(s->f, n, 0)) : NULL;
    for (uint32_t i = 0; axes && i < axes->n; i++)
        c *= 2 * (double)t->axes[type_find(t, axes->at[i])].size;
    return x->op == OP_reduce ? (double)type_count(t) : c;
}

static bool is_open(const Shard *s, NodeId n) { // an accumulator before its place is known
    return node(s, n)->op == OP_state && s->own[attr_of(s->m, s->f, n)->state.state];
}

// Whether u, which adds to n, folds over what will be split.
static bool folds_split(const Shard *s, uint32_t k, NodeId u, NodeId n) {
    int acc = node_acc(node(s, u));
    if (acc < 0 || operand(s->f, u, (uint32_t)acc) != n) return false;
    const Type *t = type(s, operand(s->f, u, acc == 0 ? 1 : 0));
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        if (ir_axis_flow(s->m, s->f, u, acc == 0 ? 1 : 0, a).role != ROLE_SUM) continue;
        if (place_same(by_name(s, k, NONE, t, !has_sample(s, t)), along(a))) return true;
    }
    return false;
}

// Whether all users of n, a sum in summands, take it so.
static bool stays_summands(const Shard *s, uint32_t k, NodeId n) {
    const NodeList *l = &s->users[n];
    for (uint32_t i = 0; i < s->f->results.n; i++)
        if (s->f->results.at[i].node == n) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        NodeId u = l->at[i];
        const Node *x = node(s, u);
        bool accum = x->op == OP_assign && s->own[attr_of(s->m, s->f, u)->assign.state];
        bool added =
            x->op == OP_add && (is_open(s, operand(s->f, u, 0)) || is_open(s, operand(s->f, u, 1)));
        if (!accum && !added && !folds_split(s, k, u, n)) return false;
    }
    return l->n > 0;
}

static bool may(const Shard *s, uint32_t k, NodeId n, const Way *w, MeshPlace want) {
    bool cut = w->out.kind == PLACE_sum || w->out.kind == PLACE_max || w->out.kind == PLACE_min;
    bool split = false;
    if (want.kind == PLACE_split && want.axis == s->sample && !place_same(w->out, want))
        return false;
    if (w->out.kind == PLACE_split && !divides(s, k, n, type(s, n), w->out.axis)) return false;
    for (uint32_t i = 0; i < node(s, n)->n; i++) {
        NodeId o = operand(s->f, n, i);
        MeshPlace have = s->at[k].place[o], p = w->in[i];
        if (p.kind == PLACE_split && !divides(s, k, o, type(s, o), p.axis)) return false;
        for (uint32_t j = 0; p.kind == PLACE_split && j < k; j++) // one mesh axis for each axis
            if (place_same(s->at[j].need[node(s, n)->first + i], p)) return false;
        if (s->free[o] || is_open(s, o)) continue;
        split |= have.kind != PLACE_same && place_same(have, p);
        if (have.kind == PLACE_split && have.axis == s->sample && !place_same(have, p))
            return false;
    }
    // nothing is cut only to be summed, or along axes that nobody named
    return split || !(cut || (w->out.kind == PLACE_split && !place_same(w->out, want)));
}

static double price(const Shard *s, uint32_t k, NodeId n, const Way *w, MeshPlace *kept) {
    double sent = 0;
    MeshPlace want = wanted(s, k, n);
    for (uint32_t i = 0; i < node(s, n)->n; i++) {
        NodeId o = operand(s->f, n, i);
        bool zero = node(s, o)->op == OP_const && attr_of(s->m, s->f, o)->constant.value == 0;
        if (is_open(s, o)) continue;
        if (!s->free[o])
            sent += moving(s, k, o, s->at[k].place[o], w->in[i]);
        else if (w->in[i].kind == PLACE_sum && !zero)
            return (double)INFINITY;
    }
    bool stays = w->out.kind == PLACE_sum && stays_summands(s, k, n);
    *kept = stays ? w->out : want;
    sent += moving(s, k, n, w->out, *kept);
    double part = w->out.kind == PLACE_same ? 1 : 1.0 / ways(s, k);
    return sent + flops_of(s, n) * part / REDUNDANT;
}

static void choose_leaf(Shard *s, uint32_t k, NodeId n) {
    const Node *x = node(s, n);
    Chosen *c = &s->at[k];
    if (x->op != OP_state || is_open(s, n)) return;
    c->raw[n] = c->place[n] = s->held[k][attr_of(s->m, s->f, n)->state.state];
    if (c->raw[n].kind != PLACE_split) c->place[n] = SAME; // an accumulator is complete here
}

static void choose_assign(Shard *s, uint32_t k, NodeId n) {
    StateId state = attr_of(s->m, s->f, n)->assign.state;
    Chosen *c = &s->at[k];
    NodeId o = operand(s->f, n, 0);
    if (s->own[state]) s->held[k][state] = s->free[o] ? SAME : c->place[o];
    c->raw[n] = c->place[n] = c->need[node(s, n)->first] = s->held[k][state];
}

static void choose(Shard *s, uint32_t k, NodeId n) {
    const Node *x = node(s, n);
    Chosen *c = &s->at[k];
    Way way[MOST_WAYS];
    double least = (double)INFINITY;
    if (s->free[n]) return;
    if (x->op == OP_assign) choose_assign(s, k, n);
    if (x->op == OP_assign || x->n == 0) {
        choose_leaf(s, k, n);
        return;
    }
    if (s->failed) return;
    uint32_t count = all_ways(s, n, way), best = MOST_WAYS;
    MeshPlace kept = SAME;
    for (uint32_t i = 0; i < count; i++) {
        MeshPlace final = SAME;
        if (!may(s, k, n, &way[i], wanted(s, k, n))) continue;
        double cost = price(s, k, n, &way[i], &final);
        if (cost >= least) continue;
        least = cost;
        best = i;
        kept = final;
    }
    if (best == MOST_WAYS) {
        const char *name = sym_str(s->m->syms, x->name);
        diag_error(s->m->diag, x->loc, "'%s' needs samples of several ranks of '%s' at once",
                   *name ? name : op_info[x->op].name, sym_str(s->m->syms, s->m->mesh[k].name));
        s->failed = true;
        return;
    }
    c->raw[n] = way[best].out;
    c->place[n] = kept;
    for (uint32_t i = 0; i < x->n; i++) c->need[x->first + i] = way[best].in[i];
}

// ---- writing

typedef struct {
    Shard *s;
    Rewrite r;
    Map made; // hash of a node and places -> new node, plus one
} ShardWriter;

typedef struct {
    MeshPlace on[MAX_MESH];
} MeshPlaces;

static Type local_type(const Shard *s, const Type *whole, const MeshPlaces *p) {
    Type t = *whole;
    for (uint32_t k = 0; k < s->m->meshes; k++) {
        int at = p->on[k].kind == PLACE_split ? type_find(&t, p->on[k].axis) : -1;
        if (p->on[k].kind == PLACE_sum) t.partial[PARTIAL_sum] |= (uint8_t)(1u << k);
        if (p->on[k].kind == PLACE_max) t.partial[PARTIAL_max] |= (uint8_t)(1u << k);
        if (p->on[k].kind == PLACE_min) t.partial[PARTIAL_min] |= (uint8_t)(1u << k);
        if (at < 0) continue;
        TypeAxis *a = &t.axes[at];
        uint32_t nest = 0;
        while (a->split[nest]) nest++;
        a->split[nest] = (uint8_t)(k + 1);
        a->size /= ways(s, k);
    }
    return t;
}

static uint64_t key_of(NodeId n, const MeshPlaces *p, uint32_t meshes, uint32_t kind) {
    uint64_t h = hash_u64(hash_u64(HASH_SEED, n), kind);
    for (uint32_t k = 0; k < meshes; k++)
        h = hash_u64(h, (uint64_t)p->on[k].kind << 32 | p->on[k].axis);
    return h;
}

static NodeId collective(ShardWriter *w, Op op, uint32_t k, AxisId a, AxisId to, NodeId x) {
    Attr attr = {.kind = op_info[op].attr};
    attr.all_reduce.mesh = 1u << k;
    attr.all_reduce.axis = a;
    attr.all_reduce.to = to;
    if (op != OP_cut) w->s->count[k]++;
    return ir_node(&w->r.b, op, &attr, &x, 1, NONE);
}

static NodeId step_on(ShardWriter *w, uint32_t k, MeshPlace have, MeshPlace want, NodeId x) {
    if (have.kind == PLACE_split && want.kind == PLACE_split)
        return collective(w, OP_all_to_all, k, have.axis, want.axis, x);
    if (have.kind == PLACE_split) return collective(w, OP_all_gather, k, have.axis, 0, x);
    if (have.kind == PLACE_same) return collective(w, OP_cut, k, want.axis, 0, x);
    if (want.kind == PLACE_split) return collective(w, OP_reduce_scatter, k, want.axis, 0, x);
    return collective(w, OP_all_reduce, k, 0, 0, x);
}

// The value of old node n, which x holds at `have`, at `want`: first what takes splits away.
static NodeId reshard(ShardWriter *w, NodeId n, NodeId x, MeshPlaces have, const MeshPlaces *want) {
    for (int late = 0; late < 2; late++)
        for (uint32_t k = 0; k < w->s->m->meshes; k++) {
            bool frees = have.on[k].kind == PLACE_split;
            if (place_same(have.on[k], want->on[k]) || (!late && !frees)) continue;
            MeshPlace old = have.on[k], to = want->on[k];
            // onto an axis that another one has still to leave: by way of the whole
            for (uint32_t j = 0; !late && to.kind == PLACE_split && j < w->s->m->meshes; j++)
                if (j != k && place_same(have.on[j], to)) to = SAME;
            have.on[k] = to;
            uint32_t *made = map_slot(&w->made, key_of(n, &have, w->s->m->meshes, 1), NULL);
            if (!*made) {
                NodeId y = step_on(w, k, old, to, x);
                made = map_slot(&w->made, key_of(n, &have, w->s->m->meshes, 1), NULL);
                *made = y + 1;
            }
            x = *made - 1;
        }
    return x;
}

// What follows from indices, constants and inputs is made where it is wanted. Operands first: a walk, not a
// recursion over inputs, since chains are as long as the model's text, not as the model.
static NodeId make_free(ShardWriter *w, NodeId n, MeshPlaces p) {
    Shard *s = w->s;
    const Node *x = node(s, n);
    uint32_t *have = map_slot(&w->made, key_of(n, &p, s->m->meshes, 2), NULL);
    if (*have) return *have - 1;
    NodeId in[MOST_OPERANDS];
    MeshPlaces made = p;
    for (uint32_t i = 0; i < x->n; i++) {
        MeshPlaces q;
        for (uint32_t k = 0; k < s->m->meshes; k++) {
            q.on[k] = SAME;
            MeshPlace *to = &q.on[k];
            bool fits = p.on[k].kind != PLACE_split;
            for (uint32_t j = 0; j < x->n && p.on[k].kind == PLACE_split; j++) {
                MeshPlace unused;
                fits = source(s, n, j, p.on[k].axis, j == i ? to : &unused);
                if (!fits) break;
            }
            if (fits) continue;
            *to = SAME;
            made.on[k] = SAME;
        }
        in[i] = make_free(w, operand(s->f, n, i), q);
    }
    for (uint32_t k = 0; k < s->m->meshes; k++)
        if (p.on[k].kind == PLACE_sum && x->op != OP_const) made.on[k] = SAME;
    rewrite_like(&w->r, n);
    Type t = local_type(s, type(s, n), &made);
    const Attr attr = *attr_of(s->m, s->f, n);
    NodeId y =
        ir_node(&w->r.b, (Op)x->op, attr.kind ? &attr : NULL, in, x->n, type_intern(s->m, &t));
    if (w->r.map[n] == NONE) { // of what is made several times, the first has the name
        w->r.map[n] = y;
        node_at(&w->r.to, y)->ordinal = x->ordinal;
    }
    y = reshard(w, n, y, made, &p);
    *map_slot(&w->made, key_of(n, &p, s->m->meshes, 2), NULL) = y + 1;
    return y;
}

static MeshPlaces places_at(const Shard *s, NodeId n, bool raw) {
    MeshPlaces p = {0};
    for (uint32_t k = 0; k < s->m->meshes; k++) p.on[k] = raw ? s->at[k].raw[n] : s->at[k].place[n];
    return p;
}

static NodeId value_at(ShardWriter *w, NodeId n, const MeshPlaces *p) {
    if (w->s->free[n]) return make_free(w, n, *p);
    return reshard(w, n, w->r.map[n], places_at(w->s, n, false), p);
}

static void write_one(ShardWriter *w, NodeId n) {
    Shard *s = w->s;
    const Node *x = node(s, n);
    NodeId in[MOST_OPERANDS];
    if (s->free[n]) return;
    for (uint32_t i = 0; i < x->n; i++) {
        MeshPlaces p;
        for (uint32_t k = 0; k < s->m->meshes; k++) p.on[k] = s->at[k].need[x->first + i];
        in[i] = value_at(w, operand(s->f, n, i), &p);
    }
    rewrite_like(&w->r, n);
    MeshPlaces raw = places_at(s, n, true), kept = places_at(s, n, false);
    Type t = local_type(s, type(s, n), &raw);
    const Attr attr = *attr_of(s->m, s->f, n);
    NodeId y =
        ir_node(&w->r.b, (Op)x->op, attr.kind ? &attr : NULL, in, x->n, type_intern(s->m, &t));
    node_at(&w->r.to, y)->ordinal = x->ordinal;
    w->r.map[n] = reshard(w, n, y, raw, &kept);
}

static void write_func(Shard *s, Func *f) {
    ShardWriter w = {.s = s, .made = {.arena = s->a}};
    Func *from = arena_copy(s->a, f, sizeof *f); // f is written anew while it is read
    rewrite_begin(&w.r, s->cx, from);
    s->f = from;
    for (NodeId n = 0; n < from->nodes.n; n++) write_one(&w, n);
    const MeshPlaces same = {0};
    for (uint32_t i = 0; i < from->results.n; i++) {
        NodeId n = from->results.at[i].node;
        rewrite_like(&w.r, n);
        Result r = from->results.at[i];
        r.node = value_at(&w, n, &same);
        vec_push(s->m->arena, &w.r.to.results, r);
    }
    *f = w.r.to;
}

// ---- a function

static bool is_free(const Shard *s, NodeId n) {
    const Node *x = node(s, n);
    const OpInfo *o = &op_info[x->op];
    if (x->op == OP_state) return false;
    bool plain = o->kind == OPK_LEAF || o->kind == OPK_SCALAR || o->kind == OPK_VIEW;
    for (uint32_t i = 0; plain && i < x->n; i++) plain = s->free[operand(s->f, n, i)];
    return plain;
}

static void divide_func(Shard *s, Func *f) {
    uint32_t n = f->nodes.n + 1;
    s->f = f;
    s->free = NEW_ARRAY(s->a, uint8_t, n);
    s->own = NEW_ARRAY(s->a, uint8_t, s->m->states.n + 1);
    s->users = NEW_ARRAY(s->a, NodeList, n);
    for (NodeId i = 0; i < f->nodes.n; i++) {
        s->free[i] = is_free(s, i);
        for (uint32_t j = 0; j < node(s, i)->n; j++) vec_push(s->a, &s->users[operand(f, i, j)], i);
        if (node(s, i)->op != OP_assign) continue;
        StateId state = attr_of(s->m, f, i)->assign.state;
        s->own[state] = s->m->states.at[state].kind == STATE_accum;
    }
    for (uint32_t k = 0; k < s->m->meshes; k++) {
        s->at[k] = (Chosen){NEW_ARRAY(s->a, MeshPlace, n), NEW_ARRAY(s->a, MeshPlace, n),
                            NEW_ARRAY(s->a, MeshPlace, f->pool.n + 1)};
        for (NodeId i = 0; i < f->nodes.n; i++) choose(s, k, i);
        // what is added to was open until now
        for (NodeId i = 0; i < f->nodes.n; i++)
            if (is_open(s, i))
                s->at[k].raw[i] = s->at[k].place[i] = s->held[k][attr_of(s->m, f, i)->state.state];
    }
    if (s->failed) return;
    for (StateId i = 0; i < s->m->states.n; i++) {
        if (!s->own[i]) continue;
        MeshPlaces p;
        for (uint32_t k = 0; k < s->m->meshes; k++) p.on[k] = s->held[k][i];
        Type t = local_type(s, type_at(s->m, s->m->states.at[i].type), &p);
        s->m->states.at[i].local = type_intern(s->m, &t);
    }
    write_func(s, f);
}

static void say(Shard *s, const char *func, uint32_t k) {
    if (!s->count[k]) return;
    ledger_add(s->cx->ledger,
               (Decision){.done = true,
                          .func = func,
                          .pass = "shard",
                          .rule = "collectives",
                          .subject = sym_str(s->m->syms, s->m->mesh[k].name)},
               "%u over %u ranks", s->count[k], ways(s, k));
    s->count[k] = 0;
}

static bool has_regions(const Module *m) {
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (m->funcs.at[i]->region) return true;
    return false;
}

// "2, 3, 4, 6"
static const char *divisors(Arena *a, int64_t size) {
    Text t = {.arena = a};
    text_put(&t, "", 0);
    for (int64_t n = 2; n <= size && n <= MAX_RANKS && t.n < 60; n++)
        if (size % n == 0) text_printf(&t, "%s%lld", t.n ? ", " : "", (long long)n);
    return t.at;
}

// Whether every mesh axis has a list, and its ranks divide every axis of it.
static bool check_lists(Shard *s) {
    const Module *m = s->m;
    uint32_t errors = m->diag->errors;
    for (uint32_t k = 0; k < m->meshes; k++) {
        const char *mesh = sym_str(m->syms, m->mesh[k].name);
        bool listed = false;
        for (AxisId a = 1; a < m->axes.n; a++) {
            bool cut = a == s->sample && s->cx->micro;
            int64_t size = cut ? s->cx->micro : m->axes.at[a].size;
            if (!s->rank[k][a] || s->rank[k][a] > 2 * MAX_AXES) continue;
            listed = true;
            if (size % ways(s, k) == 0) continue;
            const char *good = divisors(s->a, size);
            diag_error(m->diag, (Loc){0}, "'%s' has %lld%s, %u ranks of '%s' do not divide it%s%s",
                       sym_str(m->syms, m->axes.at[a].name), (long long)size,
                       cut ? " in a micro-batch" : "", ways(s, k), mesh,
                       *good ? ": these do: " : "", good);
        }
        if (!listed)
            diag_error(m->diag, (Loc){0},
                       "mesh axis '%s' divides nothing: it needs a list, such as '%s: %s'", mesh,
                       mesh, s->sample ? sym_str(m->syms, m->axes.at[s->sample].name) : "batch");
    }
    return m->diag->errors == errors;
}

bool pass_shard(PassCx *cx) {
    Shard s = {.cx = cx, .m = cx->m, .a = cx->scratch};
    if (!cx->m->meshes || !cx->m->shards.n) return false; // done, or nothing to do
    for (AxisId a = 1; a < cx->m->axes.n; a++)
        if (cx->m->axes.at[a].sample) s.sample = a;
    if (has_regions(cx->m)) {
        diag_error(cx->m->diag, (Loc){0},
                   "'shard' divides values, and some are in regions already");
        return false;
    }
    read_lists(&s);
    if (!check_lists(&s)) return false;
    cx->m->shards.n = 0;
    place_states(&s);
    for (StateId i = 0; i < cx->m->states.n; i++) {
        MeshPlaces p;
        for (uint32_t k = 0; k < cx->m->meshes; k++) p.on[k] = s.held[k][i];
        Type t = local_type(&s, type_at(cx->m, cx->m->states.at[i].type), &p);
        if (cx->m->states.at[i].kind != STATE_accum)
            cx->m->states.at[i].local = type_intern(cx->m, &t);
    }
    for (FuncId i = 0; i < cx->m->funcs.n && !s.failed; i++) {
        Func *f = cx->m->funcs.at[i];
        divide_func(&s, f);
        for (uint32_t k = 0; k < cx->m->meshes; k++) say(&s, sym_str(cx->m->syms, f->name), k);
    }
    return true;
}

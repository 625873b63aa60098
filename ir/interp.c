// The oracle: runs a function node by node, in order. See interp.h; docs/numerics.md is the
// meaning.
//
// Why: everything else is compared with it, so it is written to be checked by reading. It needs a
// function that the verifier accepts. Values are dense arrays of double in the order of the node's
// type; a value is dropped after its last user unless the caller keeps them. Region bodies (of
// groups) run the same way, one level deeper. Assigned states change when the function has ended,
// so that every read in it sees the old value. Zeroing accumulators at the start of a step is the
// caller's.
//
// Views, gather and scatter: interp_move.c. Folds and contractions: interp_fold.c. Between ranks: interp_mesh.c.
#include "ir/interp_impl.h"
#include "ir/place.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

void interp_init(Interp *in, Module *m, InterpMode mode, Arena *a) {
    memset(in, 0, sizeof *in);
    in->m = m;
    in->mode = mode;
    in->arena = a;
    in->step = 1;
    in->states = NEW_ARRAY(a, Tensor, m->states.n + 1);
    for (StateId s = 0; s < m->states.n; s++) {
        TypeId t = state_local(m, s);
        in->states[s] = (Tensor){t, NEW_ARRAY(a, double, type_count(type_at(m, t)))};
    }
}

bool run_fail(Evaluation *r, NodeId n, const char *fmt, ...) {
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    const Node *node = run_node(r, n);
    text_printf(r->why, "%%%u = %s '%s' in '%s': %s", n, op_info[node->op].name,
                sym_str(r->in->m->syms, node->name), sym_str(r->in->m->syms, r->f->name), buf);
    return false;
}

// ---- buffers

static double *buffer_take(Evaluation *r, int64_t count) {
    for (uint32_t i = r->pool->n; i-- > 0;) {
        if (r->pool->at[i].count != count) continue;
        double *at = r->pool->at[i].at;
        r->pool->at[i] = r->pool->at[--r->pool->n];
        return at;
    }
    return NEW_ARRAY(r->arena, double, count);
}

static void buffer_give(Evaluation *r, Tensor *t) {
    if (!t->at) return;
    FreeBuffer b = {type_count(run_type(r, t)), t->at};
    if (r->pool->n == r->pool->cap)
        r->pool->at = vec_grow(r->arena, r->pool->at, r->pool->n, &r->pool->cap, sizeof b);
    r->pool->at[r->pool->n++] = b;
    t->at = NULL;
}

// ---- leaves

static bool interp_input(Evaluation *r, NodeId n, Tensor *out) {
    const Node *node = run_node(r, n);
    const char *name = sym_str(r->in->m->syms, run_attr(r, n)->input.name);
    if (!r->in->input || !r->in->input(r->in->user, name, node->type, out->at))
        return run_fail(r, n, "input '%s' has no value", name);
    const Type *t = run_type(r, out);
    int64_t count = type_count(t);
    for (int64_t i = 0; i < count; i++) out->at[i] = run_round(r, (Elem)t->elem, out->at[i]);
    return true;
}

static bool interp_state(Evaluation *r, NodeId n, Tensor *out) {
    interp_move(r, &r->in->states[run_attr(r, n)->state.state], out);
    return true;
}

static void fill(Evaluation *r, Tensor *out, double x) {
    const Type *t = run_type(r, out);
    int64_t count = type_count(t);
    x = run_round(r, (Elem)t->elem, x);
    for (int64_t i = 0; i < count; i++) out->at[i] = x;
}

static bool interp_const(Evaluation *r, NodeId n, Tensor *out) {
    fill(r, out, run_attr(r, n)->constant.value);
    return true;
}

static bool interp_iota(Evaluation *r, NodeId n, Tensor *out) {
    (void)n;
    int64_t count = type_count(run_type(r, out));
    int64_t start = axis_offset(r->in->m, &run_type(r, out)->axes[0], r->at);
    for (int64_t i = 0; i < count; i++) out->at[i] = (double)(start + i);
    return true;
}

static bool interp_extent(Evaluation *r, NodeId n, Tensor *out) {
    fill(r, out, (double)r->in->m->axes.at[run_attr(r, n)->extent.axis].size);
    return true;
}

// The list order of a draw is the declared one, so the canonical index is the place in memory, of a rank's part
// that in the memory of the whole.
static bool interp_random(Evaluation *r, NodeId n, Tensor *out) {
    const Attr *a = run_attr(r, n);
    const Type *t = run_type(r, out);
    uint32_t step = a->random.fixed ? 0 : (uint32_t)r->in->step;
    int64_t stride = 1, strides[MAX_AXES] = {0}, start = 0;
    for (uint32_t i = t->n; i-- > 0;) {
        strides[i] = stride;
        start += stride * axis_offset(r->in->m, &t->axes[i], r->at);
        stride *= t->axes[i].size * axis_ways(r->in->m, &t->axes[i]);
    }
    Walk w = walk_new(t);
    walk_add(&w, t, t);
    for (uint32_t i = 0; i < t->n; i++) w.step[0][i] = strides[i];
    w.offset[0] = start;
    for (double *to = out->at; walk_more(&w); walk_next(&w))
        *to++ = scalar_eval_philox((uint64_t)w.offset[0], step, (uint64_t)a->random.key,
                                   r->in->seed, (int)a->random.word);
    return true;
}

static bool interp_arg(Evaluation *r, NodeId n, Tensor *out) {
    int64_t index = run_attr(r, n)->arg.index;
    if (index < 0 || index >= r->nargs)
        return run_fail(r, n, "operand %lld of %u", (long long)index, r->nargs);
    interp_move(r, &r->args[index], out);
    return true;
}

static bool interp_grad(Evaluation *r, NodeId n, Tensor *out) {
    (void)out;
    return run_fail(r, n, "derivatives exist after autodiff only");
}

// ---- scalars

static double scalar_value(const Evaluation *r, Op op, Elem elem, Elem to, Elem first,
                           const double *x) {
    if (!run_exact(r)) return scalar_eval_f64(op, elem, to, x[0], x[1], x[2]);
    uint32_t bits = scalar_eval(op, elem, to, scalar_to_bits(first, x[0]),
                                scalar_to_bits(elem, x[1]), scalar_to_bits(elem, x[2]));
    return scalar_from_bits(to, bits);
}

static bool interp_scalar(Evaluation *r, NodeId n, Tensor *out) {
    const Node *node = run_node(r, n);
    const Type *t = run_type(r, out);
    const Tensor *in[3] = {out, out, out};
    Walk w = walk_new(t);
    for (uint32_t i = 0; i < node->n; i++) {
        in[i] = run_operand(r, n, i);
        walk_add(&w, t, run_type(r, in[i]));
    }
    Op op = (Op)node->op;
    Elem first = (Elem)run_type(r, in[0])->elem;
    Elem elem = op == OP_select ? (Elem)run_type(r, in[1])->elem : first;
    double *to = out->at;
    for (; walk_more(&w); walk_next(&w)) {
        double x[3] = {0, 0, 0};
        for (uint32_t i = 0; i < node->n; i++) x[i] = in[i]->at[w.offset[i]];
        *to++ = scalar_value(r, op, elem, (Elem)t->elem, first, x);
    }
    return true;
}

// ---- order and regions

static bool interp_copy(Evaluation *r, NodeId n, Tensor *out) {
    interp_move(r, run_operand(r, n, 0), out);
    return true;
}

static bool interp_stop_gradient(Evaluation *r, NodeId n, Tensor *out) {
    return interp_copy(r, n, out);
}
static bool interp_assign(Evaluation *r, NodeId n, Tensor *out) { return interp_copy(r, n, out); }
static bool interp_offload(Evaluation *r, NodeId n, Tensor *out) { return interp_copy(r, n, out); }
static bool interp_landed(Evaluation *r, NodeId n, Tensor *out) { return interp_copy(r, n, out); }
static bool interp_fetch(Evaluation *r, NodeId n, Tensor *out) { return interp_copy(r, n, out); }
static bool interp_ready(Evaluation *r, NodeId n, Tensor *out) { return interp_copy(r, n, out); }

static void region_results(Evaluation *r, Tensor *results);
static bool run_nodes(Evaluation *r, uint32_t ranks, bool keep, int depth);

// The body's results, evaluated once for the group node and kept for its parts.
static bool group_results(Evaluation *r, NodeId n, Tensor *results, int depth) {
    const Node *node = run_node(r, n);
    Tensor args[MAX_OPERANDS];
    for (uint32_t i = 0; i < node->n; i++) args[i] = *run_operand(r, n, i);
    const Func *body = r->in->m->funcs.at[run_attr(r, n)->group.body];
    Evaluation inner = {.in = r->in,
                        .f = body,
                        .args = args,
                        .nargs = node->n,
                        .why = r->why,
                        .pool = r->pool,
                        .arena = r->arena};
    memcpy(inner.at, r->at, sizeof inner.at);
    inner.value = NEW_ARRAY(r->arena, Tensor, body->nodes.n + 1);
    if (depth >= MAX_DEPTH) return run_fail(r, n, "regions nest too deeply");
    if (!run_nodes(&inner, 1, false, depth + 1)) return false;
    region_results(&inner, results);
    return true;
}

// ---- the run

static bool interp_group(Evaluation *r, NodeId n, Tensor *out) {
    (void)out;
    unreachable(run_node(r, n)->op); // run_group
}
static bool interp_part(Evaluation *r, NodeId n, Tensor *out) {
    (void)out;
    unreachable(run_node(r, n)->op); // run_part
}

// All ranks together: ir/interp_mesh.c.
static bool interp_alone(Evaluation *r, NodeId n) { return run_fail(r, n, "needs all ranks"); }
#define ALONE(name)                                                                                \
    static bool interp_##name(Evaluation *r, NodeId n, Tensor *out) {                              \
        (void)out;                                                                                 \
        return interp_alone(r, n);                                                                 \
    }
ALONE(all_reduce)
ALONE(reduce_scatter)
ALONE(all_gather)
ALONE(all_to_all)
ALONE(cut)
ALONE(first)
#undef ALONE

static bool (*const evaluators[OP_COUNT])(Evaluation *, NodeId, Tensor *) = {
#define SCALAR(name, ...) interp_scalar,
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(name, ...) interp_##name,
#include "ir/ops.def"
#undef OPCODE
};

// More results of a group than one lie here until its parts have read them.
typedef struct {
    Tensor **group; // by node: the body's results
    NodeId *last;   // by node: its last user, or itself
} Side;

static bool run_group(Evaluation *r, NodeId n, Side *s, int depth) {
    const Func *body = r->in->m->funcs.at[run_attr(r, n)->group.body];
    s->group[n] = NEW_ARRAY(r->arena, Tensor, body->results.n + 1);
    if (!group_results(r, n, s->group[n], depth)) return false;
    if (body->results.n == 0) return run_fail(r, n, "the region has no result");
    r->value[n] =
        (Tensor){run_node(r, n)->type, buffer_take(r, type_count(type_of(r->in->m, r->f, n)))};
    interp_move(r, &s->group[n][0], &r->value[n]);
    return true;
}

static bool run_part(Evaluation *r, NodeId n, const Side *s) {
    NodeId of = operand(r->f, n, 0);
    int64_t i = run_attr(r, n)->part.index;
    if (run_node(r, of)->op != OP_group) return run_fail(r, n, "the operand is no group");
    const Func *body = r->in->m->funcs.at[run_attr(r, of)->group.body];
    if (i < 0 || i >= body->results.n)
        return run_fail(r, n, "result %lld of %u", (long long)i, body->results.n);
    r->value[n] =
        (Tensor){run_node(r, n)->type, buffer_take(r, type_count(type_of(r->in->m, r->f, n)))};
    interp_move(r, &s->group[of][i], &r->value[n]);
    return true;
}

static bool run_one(Evaluation *r, NodeId n, Side *s, int depth) {
    const Type *t = type_of(r->in->m, r->f, n);
    Op op = (Op)run_node(r, n)->op;
    if (op == OP_group) return run_group(r, n, s, depth);
    if (op == OP_part) return run_part(r, n, s);
    r->value[n] = (Tensor){run_node(r, n)->type, buffer_take(r, type_count(t))};
    return evaluators[op](r, n, &r->value[n]);
}

static void drop_dead(Evaluation *r, NodeId n, const Side *s) {
    const Node *node = run_node(r, n);
    for (uint32_t i = 0; i < node->n; i++) {
        NodeId o = operand(r->f, n, i);
        if (s->last[o] == n) buffer_give(r, &r->value[o]);
        const Func *body = run_node(r, o)->op == OP_group && s->last[o] == n
                               ? r->in->m->funcs.at[run_attr(r, o)->group.body]
                               : NULL;
        for (uint32_t j = 0; body && j < body->results.n; j++) buffer_give(r, &s->group[o][j]);
    }
    if (s->last[n] == n) buffer_give(r, &r->value[n]);
}

static Side side_of(Evaluation *r) {
    uint32_t count = r->f->nodes.n;
    Side s = {NEW_ARRAY(r->arena, Tensor *, count + 1), NEW_ARRAY(r->arena, NodeId, count + 1)};
    for (NodeId n = 0; n < count; n++) {
        s.last[n] = n;
        for (uint32_t i = 0; i < run_node(r, n)->n; i++) s.last[operand(r->f, n, i)] = n;
    }
    for (uint32_t i = 0; i < r->f->results.n; i++) s.last[r->f->results.at[i].node] = NONE;
    for (NodeId n = 0; n < count; n++) // read once more, at the end
        if (run_node(r, n)->op == OP_assign) s.last[n] = NONE;
    return s;
}

static Tensor copied(Evaluation *r, const Tensor *t, double *to) {
    memcpy(to, t->at, (size_t)type_count(run_type(r, t)) * sizeof(double));
    return (Tensor){t->type, to};
}

// The body of a region leaves buffers to its caller: results to keep, the others to use again.
static void region_results(Evaluation *r, Tensor *results) {
    for (uint32_t i = 0; i < r->f->results.n; i++) {
        const Tensor *t = &r->value[r->f->results.at[i].node];
        results[i] = copied(r, t, buffer_take(r, type_count(run_type(r, t))));
    }
    for (uint32_t i = 0; i < r->f->results.n; i++)
        buffer_give(r, &r->value[r->f->results.at[i].node]);
}

// Ranks in lockstep: each node of all of them before the next.
static bool run_nodes(Evaluation *r, uint32_t ranks, bool keep, int depth) {
    const Func *f = r->f;
    Side *side = NEW_ARRAY(r->arena, Side, ranks);
    for (uint32_t k = 0; k < ranks; k++) side[k] = side_of(&r[k]);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        bool mesh = op_info[node_at(f, n)->op].kind == OPK_MESH && ranks == mesh_ranks(r->in->m);
        for (uint32_t k = 0; k < ranks; k++) {
            if (mesh)
                r[k].value[n] = (Tensor){node_at(f, n)->type,
                                         buffer_take(&r[k], type_count(type_of(r->in->m, f, n)))};
            else if (!run_one(&r[k], n, &side[k], depth))
                return false;
        }
        if (mesh) interp_mesh(r, ranks, n);
        for (uint32_t k = 0; k < ranks && !keep; k++) drop_dead(&r[k], n, &side[k]);
    }
    return true;
}

static void commit_states(Evaluation *r) {
    for (NodeId n = 0; n < r->f->nodes.n; n++)
        if (run_node(r, n)->op == OP_assign)
            interp_move(r, &r->value[n], &r->in->states[run_attr(r, n)->assign.state]);
}

static void final_results(Evaluation *r, Tensor *results) {
    for (uint32_t i = 0; results && i < r->f->results.n; i++) {
        const Tensor *t = &r->value[r->f->results.at[i].node];
        results[i] = copied(r, t, NEW_ARRAY(r->in->arena, double, type_count(run_type(r, t))));
    }
}

static bool run_all(Interp *in, uint32_t ranks, const Func *f, Tensor **results, Tensor **values,
                    Text *why) {
    Pool pool = {0};
    Arena *own = values ? NULL : arena_new(), *arena = values ? in->arena : own;
    Evaluation *r = NEW_ARRAY(arena, Evaluation, ranks);
    for (uint32_t k = 0; k < ranks; k++) {
        r[k] = (Evaluation){.in = &in[k], .f = f, .why = why, .pool = &pool, .arena = arena};
        mesh_coordinates(in->m, in[k].rank, r[k].at);
        r[k].value = NEW_ARRAY(arena, Tensor, f->nodes.n + 1);
    }
    bool ok = run_nodes(r, ranks, values != NULL, 0);
    for (uint32_t k = 0; k < ranks && ok; k++) {
        commit_states(&r[k]);
        final_results(&r[k], results ? results[k] : NULL);
        if (values) memcpy(values[k], r[k].value, f->nodes.n * sizeof **values);
    }
    arena_free(own);
    return ok;
}

bool interp_run(Interp *in, const Func *f, Tensor *results, Tensor *values, Text *why) {
    return run_all(in, 1, f, &results, values ? &values : NULL, why);
}

bool interp_run_ranks(Interp *in, const Func *f, Tensor **results, Tensor **values, Text *why) {
    return run_all(in, (uint32_t)mesh_ranks(in->m), f, results, values, why);
}

// Cuts the batch: 'step' becomes prologue, micro and update, 'eval' becomes eval_prologue,
// eval_micro and eval_finish, 'predict' likewise. It exists so that a step of any batch size runs in the memory of one
// micro-batch, with results that differ from the whole batch by rounding only.
//
//   prologue  per micro-batch: folds over the sample axis that need data only (token counts). Since
//             they are complete before the first micro-batch, a mean is over the whole batch,
//             exactly
//   micro     per micro-batch: all that carries the sample axis, and the folds of it, each added to
//             a state of kind accum (zero when the step starts)
//   update    once: what follows the folds - norms, optimizers, the schedule, losses and metrics.
//             It reads no input: what a state keeps of the samples is put into an accumulator by micro
//
// A value without the sample axis that depends on no fold (a constant, a cast weight) is computed
// in every function that needs it. Folds of sums accumulate through their accumulator operand; a
// chain of them (a tied weight) keeps one state. `extent` of the sample axis is accum x micro at
// run time.
//
// An evaluation takes the samples that there are: its last micro-batch may hold fewer, `valid` at
// run time, and what stands behind them is data of no meaning. So every fold over the sample axis
// takes zeros there, select(iota < valid, x, 0), and `extent` is the scalar `batch`. A training step
// is whole micro-batches and has neither.
//
// Not possible: a fold that feeds back into values with the sample axis (batch norm), a fold that
// is no sum (max over the batch), views of the sample axis, a state that keeps single samples. These
// are errors at their place unless one pass holds the whole batch (micro = batch); then they are
// computed in place, and whole_step, whole_eval or whole_predict of the module says so: the executable
// refuses to accumulate. Outputs that cannot be cut are no fault: the model trains without 'predict'. The
// functions step, eval and predict are removed. O(nodes).
#include "passes/rewrite.h"
#include <string.h>

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;            // step or eval
    const char *prefix; // of accumulator names
    AxisId sample;      // 0: the module has none
    int64_t micro;
    Resize cut;       // the sample axis, to a micro-batch
    bool one_pass;    // a micro-batch is the batch
    bool whole;       // and must be
    bool eval;        // cuts an evaluation
    bool masks;       // of which a micro-batch may hold fewer samples
    uint8_t *sampled; // by axis: comes from the sample axis
    uint32_t *uses;
    // By node of f:
    uint8_t *has;      // carries the sample axis
    uint8_t *fold;     // lacks it, but an operand has it
    uint8_t *param;    // depends on a state
    uint8_t *data;     // depends on an input of samples
    uint8_t *late;     // is or depends on a fold that depends on a state
    uint8_t *early;    // is or depends on a fold of data alone
    uint8_t *read;     // by a fold or a result, not only by assignments
    NodeId *source;    // late, early: the first such fold
    NodeId *end;       // folds: the last one of the accumulator chain it is in
    uint8_t *need[3];  // wanted in prologue, micro, update
    uint8_t *raw;      // folds wanted in place, for feedback
    uint8_t *root;     // folds, and values of samples, that a later function reads,
    StateId *accum;    //   and the state where they are summed or kept
    Map paths, counts; // names taken; per base name, the number to try next
} Cut;

enum { PROLOGUE, MICRO, UPDATE };

static const Node *node(const Cut *c, NodeId n) { return node_at(c->f, n); }

static const char *name_of(const Cut *c, NodeId n) {
    const char *name = sym_str(c->m->syms, node(c, n)->name);
    return *name ? name : op_info[node(c, n)->op].name;
}

// ---- what is what

// A view of the sample axis makes axes that stand for it.
static void follow_views(Cut *c, NodeId n) {
    const Node *x = node(c, n);
    const Attr *a = attr_of(c->m, c->f, n);
    if (x->op == OP_rename && c->sampled[a->rename.from]) c->sampled[a->rename.to] = 1;
    if (x->op == OP_slice && c->sampled[a->slice.from]) c->sampled[a->slice.to] = 1;
    if (x->op == OP_pad && c->sampled[a->pad.from]) c->sampled[a->pad.to] = 1;
    if (x->op == OP_split && c->sampled[a->split.from])
        for (uint32_t i = 0; i < a->split.to.n; i++) c->sampled[a->split.to.at[i]] = 1;
    if (x->op == OP_merge)
        for (uint32_t i = 0; i < a->merge.from.n; i++)
            if (c->sampled[a->merge.from.at[i]]) c->sampled[a->merge.to] = 1;
    if (x->op == OP_concat)
        for (uint32_t i = 0; i < a->concat.from.n; i++)
            if (c->sampled[a->concat.from.at[i]]) c->sampled[a->concat.to] = 1;
}

static bool type_sampled(const Cut *c, const Type *t) {
    for (uint32_t i = 0; i < t->n; i++)
        if (c->sampled[t->axes[i].axis]) return true;
    return false;
}

// Sums can be cut anywhere; `any` likewise, from false.
static bool adds_up(const Cut *c, NodeId n) {
    const Node *x = node(c, n);
    uint32_t kind = attr_of(c->m, c->f, n)->reduce.kind;
    if (x->op == OP_reduce) return kind == REDUCE_sum || kind == REDUCE_any;
    return op_info[x->op].acc >= 0;
}

// A fold of data that needs another one complete (a gradient that no state enters) cannot be taken
// in the same pass over the data: it counts as one of parameters and is taken in micro.
static void classify_fold(Cut *c, NodeId n) {
    if (c->early[n]) c->param[n] = 1;
    if (!c->param[n]) {
        c->early[n] = 1;
        return;
    }
    if (!c->late[n]) c->source[n] = n;
    c->late[n] = 1;
}

static void classify(Cut *c, NodeId n) {
    const Node *x = node(c, n);
    follow_views(c, n);
    c->has[n] = type_sampled(c, type_of(c->m, c->f, n));
    c->param[n] = x->op == OP_state;
    c->data[n] = x->op == OP_input && c->has[n];
    c->source[n] = NONE;
    c->end[n] = n;
    c->accum[n] = NONE;
    for (uint32_t j = 0; j < x->n; j++) {
        NodeId o = operand(c->f, n, j);
        c->fold[n] |= !c->has[n] && c->has[o];
        c->param[n] |= c->param[o];
        c->data[n] |= c->data[o];
        c->late[n] |= c->late[o];
        c->early[n] |= c->early[o];
        if (c->source[n] == NONE) c->source[n] = c->source[o];
    }
    if (c->fold[n]) classify_fold(c, n);
}

// What only assignments wait for is of the update: there all folds are complete.
static void mark_read(Cut *c) {
    for (uint32_t i = 0; i < c->f->results.n; i++) c->read[c->f->results.at[i].node] = 1;
    for (NodeId n = c->f->nodes.n; n-- > 0;)
        for (uint32_t j = 0; j < node(c, n)->n && (c->read[n] || c->fold[n]); j++)
            c->read[operand(c->f, n, j)] = 1;
}

// ---- what cannot be cut

// A fault, unless one pass holds the batch. read: where the model goes on with it, or nowhere.
static void explain(Cut *c, NodeId n, const char *what, Loc read) {
    Diag *d = c->m->diag;
    Loc at = node(c, n)->loc;
    const char *axis = sym_str(c->m->syms, c->m->axes.at[c->sample].name);
    c->whole = true;
    if (c->one_pass || diag_has_error(d, at)) return; // evaluation says what the step said
    diag_error(d, at, "'%s' %s: one pass must hold the batch", name_of(c, n), what);
    if (read.file && read.start != at.start)
        diag_note(d, read, "it is read again for each sample here");
    diag_note(
        d, c->cx->micro_at,
        "micro-batches of %lld cut '%s': without them one pass holds all; a model may fold over "
        "groups of its samples by [%s -> part * ghost]",
        (long long)c->micro, axis, axis);
}

// The complete value of a fold is known after the last micro-batch: nothing in one may read it.
static bool check_feedback(Cut *c, NodeId n) {
    const Node *x = node(c, n);
    if (!c->fold[n] && !(c->has[n] && c->read[n])) return true;
    for (uint32_t j = 0; j < x->n; j++) {
        NodeId o = operand(c->f, n, j);
        bool known = c->fold[n] && (int)j == node_acc(x);
        if (known || !c->late[o]) continue;
        explain(c, c->source[o], "folds over the batch and feeds back into it", x->loc);
        return false;
    }
    return true;
}

// Roles say whether an op treats samples alike. A sum that is no fold reads other samples.
static bool check_roles(Cut *c, NodeId n) {
    const Node *x = node(c, n);
    if (x->op == OP_iota && c->has[n]) {
        explain(c, n, "numbers the samples of the batch", (Loc){0});
        return false;
    }
    if (x->op == OP_assign && c->has[operand(c->f, n, 0)] && !c->whole) {
        explain(c, n, "keeps single samples of the batch", (Loc){0});
        return false;
    }
    if (c->fold[n] && !adds_up(c, n)) {
        explain(c, n, "folds over the batch and is not a sum", (Loc){0});
        return false;
    }
    for (uint32_t j = 0; j < x->n && !c->fold[n]; j++) {
        NodeId o = operand(c->f, n, j);
        if (!c->has[o]) continue;
        Role role = ir_axis_flow(c->m, c->f, n, j, c->sample).role;
        bool view = op_info[x->op].kind == OPK_VIEW && x->op != OP_expand &&
                    type_find(type_of(c->m, c->f, n), c->sample) < 0;
        if (role == ROLE_WHOLE || role == ROLE_MOVED || role == ROLE_SUM || view) {
            explain(c, n, "mixes the samples of the batch", (Loc){0});
            return false;
        }
    }
    return true;
}

static bool check_cut(Cut *c) {
    uint8_t *bad = NEW_ARRAY(c->cx->scratch, uint8_t, c->f->nodes.n + 1);
    for (NodeId n = 0; n < c->f->nodes.n; n++) {
        for (uint32_t j = 0; j < node(c, n)->n; j++) bad[n] |= bad[operand(c->f, n, j)];
        if (!bad[n]) bad[n] = !check_roles(c, n) || !check_feedback(c, n);
    }
    return c->one_pass || !c->whole;
}

// ---- chains of accumulators

// Whether the accumulator operand of fold n is itself a fold that only n reads: then both add to
// the same buffer.
static NodeId chained_below(const Cut *c, NodeId n) {
    int j = node_acc(node(c, n));
    if (j < 0 || !c->fold[n]) return NONE;
    NodeId o = operand(c->f, n, (uint32_t)j);
    return c->fold[o] && op_info[node(c, o)->op].acc >= 0 && c->uses[o] == 1 &&
                   c->param[o] == c->param[n]
               ? o
               : NONE;
}

// What fold n starts from besides the folds: a value without the sample axis that is added once, in
// the update. NONE when it starts from zero.
static NodeId start_value(const Cut *c, NodeId n) {
    NodeId below;
    while ((below = chained_below(c, n)) != NONE) n = below;
    int j = node_acc(node(c, n));
    if (j < 0) return NONE;
    NodeId o = operand(c->f, n, (uint32_t)j);
    bool zero = node_is_zero(c->m, c->f, o);
    return zero ? NONE : o;
}

// ---- which nodes each function needs

// A value of the samples that the update reads but micro computes, where the samples are. One that
// waits for a fold of parameters is computed by the update, from such values.
static bool is_kept(const Cut *c, NodeId n) {
    return c->has[n] && c->data[n] && !c->late[n] && node(c, n)->op != OP_assign;
}

// Data folds are read from their state by micro, all folds by update.
static bool reads_state(const Cut *c, int part, NodeId n) {
    if (part == UPDATE && is_kept(c, n)) return true;
    return c->fold[n] && (part == UPDATE || (part == MICRO && !c->param[n]));
}

// Folds that this function adds up.
static bool sums_here(const Cut *c, int part, NodeId n) {
    return c->fold[n] && !reads_state(c, part, n);
}

static void need_operands(Cut *c, int part, NodeId n) {
    const Node *x = node(c, n);
    bool in_place = c->raw[n] || !adds_up(c, n);
    for (uint32_t j = 0; j < x->n; j++) {
        NodeId o = operand(c->f, n, j);
        bool summed = sums_here(c, part, n);
        if (summed && !in_place && (int)j == node_acc(x)) {
            if (o == chained_below(c, n)) c->need[part][o] = 1;
            continue; // else the accumulator takes its place
        }
        c->need[part][o] = 1;
        if (sums_here(c, part, o)) c->raw[o] = 1;
    }
}

// Whether the update adds the value that the fold started from: not when it was computed in place.
static bool adds_start(const Cut *c, NodeId n) { return c->fold[n] && !c->raw[n] && adds_up(c, n); }

static void need_part(Cut *c, int part) {
    for (NodeId n = c->f->nodes.n; n-- > 0;) {
        if (!c->need[part][n]) continue;
        if (!reads_state(c, part, n)) {
            need_operands(c, part, n);
            continue;
        }
        c->need[c->fold[n] && !c->param[n] ? PROLOGUE : MICRO][n] = 1;
        c->root[n] = 1;
    }
}

// A fold's start is needed wherever the fold is read; known only after the function that sums it.
static bool need_starts(Cut *c) {
    bool more = false;
    for (NodeId n = 0; n < c->f->nodes.n; n++) {
        if (!c->root[n] || !adds_start(c, n)) continue;
        NodeId start = start_value(c, n);
        for (int part = MICRO; part <= UPDATE && start != NONE; part++) {
            if (!c->need[part][n] || !reads_state(c, part, n) || c->need[part][start]) continue;
            c->need[part][start] = 1;
            more = true;
        }
    }
    return more;
}

static void need_all(Cut *c) {
    for (NodeId n = 0; n < c->f->nodes.n; n++)
        if (node(c, n)->op == OP_assign) c->need[UPDATE][n] = 1;
    for (uint32_t i = 0; i < c->f->results.n; i++) {
        NodeId n = c->f->results.at[i].node;
        c->need[c->has[n] ? MICRO : UPDATE][n] = 1;
    }
    do {
        need_part(c, UPDATE);
        need_part(c, MICRO);
        need_part(c, PROLOGUE);
    } while (need_starts(c)); // starts are rare: a second round at most per nesting of folds
}

// ---- accumulator states

// base, base.2, base.3 … or, numbered, base.0, base.1 …: the first that no state has.
static const char *unique_path(Cut *c, const char *base, bool numbered) {
    Arena *a = c->cx->scratch;
    uint32_t *next = map_slot(&c->counts, hash_bytes(HASH_SEED, base, strlen(base)), NULL);
    for (;; ++*next) {
        const char *path = numbered     ? arena_printf(a, "%s.%u", base, *next)
                           : *next == 0 ? base
                                        : arena_printf(a, "%s.%u", base, *next + 1);
        bool fresh;
        map_slot(&c->paths, hash_bytes(HASH_SEED, path, strlen(path)), &fresh);
        if (fresh) return path;
    }
}

// The parameter whose derivative n is, or part of it: autodiff names it after the state.
static StateId parameter_of(const Cut *c, NodeId n) {
    const char *name = sym_str(c->m->syms, node(c, n)->name);
    if (node(c, n)->phase != PHASE_W || strncmp(name, "d.", 2) != 0) return NONE;
    StateId s = state_find(c->m, sym(c->m->syms, name + 2));
    return s != NONE && c->m->states.at[s].kind == STATE_param ? s : NONE;
}

static void make_accum(Cut *c, NodeId n) {
    const char *name = sym_str(c->m->syms, node(c, n)->name);
    bool data = c->fold[n] && !c->param[n];
    const char *base = data ? "sum" : *name ? name : "fold";
    base = arena_printf(c->cx->scratch, "%s%s", c->prefix, base);
    const char *path = unique_path(c, base, data || !*name);
    TypeId type = node(c, n)->type;
    const char *rule = "keep", *why = "a value of samples is kept until the update, which has none";
    if (data)
        rule = "count", why = "a fold of data alone is complete before the first micro-batch";
    else if (c->fold[n])
        rule = "accumulate", why = "a fold over the batch is summed over the micro-batches";
    ledger_add(c->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(c->m->syms, c->f->name),
                          .pass = "microbatch",
                          .rule = rule,
                          .subject = data ? name_of(c, n) : base,
                          .bytes = type_bytes(type_at(c->m, type)),
                          .loc = node(c, n)->loc},
               "%s", why);
    c->accum[n] = state_new(c->m, path, type, STATE_accum, node(c, n)->loc);
    c->m->states.at[c->accum[n]].of = parameter_of(c, n);
}

// ---- writing a function

typedef struct {
    Cut *c;
    Builder b;
    Func *to;
    int part;
    NodeId *map;
    NodeId valid; // bool[sample]: the sample exists
} Part;

static NodeId run_scalar(Part *p, const char *name) {
    return ir_input(&p->b, name, type_scalar(p->c->m, ELEM_i32), 0);
}

// Operand j of fold n, with what adds nothing (an index outside, else 0) in place of samples that do
// not exist.
static NodeId fold_operand(Part *p, NodeId n, uint32_t j) {
    Cut *c = p->c;
    NodeId o = operand(c->f, n, j), x = p->map[o];
    bool index = node(c, n)->op == OP_scatter_add;
    if (!c->masks || !c->has[o] || (index && j != 1)) return x;
    if (p->valid == NONE)
        p->valid =
            ir_binary(&p->b, OP_lt, ir_iota(&p->b, c->sample, c->micro), run_scalar(p, "valid"));
    Elem elem = (Elem)type_of(c->m, p->to, x)->elem;
    double nothing = !index ? 0 : elem == ELEM_u32 ? (double)UINT32_MAX : -1;
    NodeId in[3] = {p->valid, x, ir_const(&p->b, elem, nothing)};
    return ir_node(&p->b, OP_select, NULL, in, 3, node_at(p->to, x)->type);
}

static NodeId recopy(Part *p, NodeId n) {
    Cut *c = p->c;
    const Node *x = node(c, n);
    NodeId in[MAX_OPERANDS];
    for (uint32_t j = 0; j < x->n; j++)
        in[j] = c->fold[n] ? fold_operand(p, n, j) : p->map[operand(c->f, n, j)];
    return copy_resized(&p->b, c->f, n, in, x->n, &c->cut);
}

// extent of the sample axis: micro-batches in a step times their size, samples in an evaluation.
static NodeId batch_extent(Part *p) {
    NodeId count = ir_cast(&p->b, run_scalar(p, p->c->eval ? "batch" : "accum"), ELEM_f32);
    if (p->c->eval) return count;
    return ir_binary(&p->b, OP_mul, count, ir_const(&p->b, ELEM_f32, (double)p->c->micro));
}

// What earlier functions summed, and what that sum starts from.
static NodeId read_fold(Part *p, NodeId n) {
    Cut *c = p->c;
    NodeId v = ir_state(&p->b, c->accum[n]);
    NodeId start = adds_start(c, n) ? start_value(c, n) : NONE;
    if (start == NONE) return v;
    return ir_node(&p->b, OP_add, NULL, (NodeId[]){v, p->map[start]}, 2, node(c, n)->type);
}

// A contraction or scatter over the batch that adds to the state of its chain.
static NodeId add_to_accum(Part *p, NodeId n) {
    Cut *c = p->c;
    const Node *x = node(c, n);
    NodeId below = chained_below(c, n);
    NodeId acc = below != NONE ? p->map[below] : ir_state(&p->b, c->accum[c->end[n]]);
    NodeId in[3];
    for (uint32_t i = 0; i < 3; i++)
        in[i] = i == (uint32_t)op_info[x->op].acc ? acc : fold_operand(p, n, i);
    return copy_resized(&p->b, c->f, n, in, 3, &c->cut);
}

static NodeId sum_fold(Part *p, NodeId n) {
    Cut *c = p->c;
    const Node *x = node(c, n);
    NodeId total;
    if (c->raw[n] || !adds_up(c, n)) {
        p->map[n] = total = recopy(p, n);
    } else if (x->op == OP_reduce) {
        p->map[n] = recopy(p, n);
        if (!c->root[n]) return p->map[n];
        bool any = attr_of(c->m, c->f, n)->reduce.kind == REDUCE_any;
        NodeId in[2] = {ir_state(&p->b, c->accum[n]), p->map[n]};
        total = ir_node(&p->b, any ? OP_or : OP_add, NULL, in, 2, x->type);
    } else {
        p->map[n] = total = add_to_accum(p, n);
    }
    if (c->root[n]) ir_assign(&p->b, c->accum[n], total);
    return p->map[n];
}

static NodeId write_node(Part *p, NodeId n) {
    Cut *c = p->c;
    const Node *x = node(c, n);
    builder_like(&p->b, x);
    if (reads_state(c, p->part, n)) return read_fold(p, n);
    if (c->fold[n]) return sum_fold(p, n);
    if (x->op == OP_extent && attr_of(c->m, c->f, n)->extent.axis == c->sample)
        return batch_extent(p);
    NodeId copy = recopy(p, n);
    if (c->root[n]) ir_assign(&p->b, c->accum[n], copy);
    return copy;
}

static void write_part(Cut *c, int part, const char *name) {
    Part p = {.c = c, .part = part, .to = func_new(c->m, name, NULL), .valid = NONE};
    p.b = (Builder){.m = c->m, .f = p.to};
    p.map = NEW_ARRAY(c->cx->scratch, NodeId, c->f->nodes.n + 1);
    for (NodeId n = 0; n < c->f->nodes.n; n++)
        p.map[n] = c->need[part][n] ? write_node(&p, n) : NONE;
    for (uint32_t i = 0; i < c->f->results.n; i++) {
        Result r = c->f->results.at[i];
        if ((c->has[r.node] ? MICRO : UPDATE) != part) continue;
        r.node = p.map[r.node];
        vec_push(c->m->arena, &p.to->results, r);
    }
}

// ---- the pass

static void prepare(Cut *c) {
    Arena *a = c->cx->scratch;
    uint32_t count = c->f->nodes.n + 1;
    c->sampled = NEW_ARRAY(a, uint8_t, c->m->axes.n);
    if (c->sample) c->sampled[c->sample] = 1;
    uint8_t **flags[] = {&c->has,  &c->fold,    &c->param,   &c->data,    &c->late, &c->early,
                         &c->read, &c->need[0], &c->need[1], &c->need[2], &c->raw,  &c->root};
    for (uint32_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        *flags[i] = NEW_ARRAY(a, uint8_t, count);
    c->source = NEW_ARRAY(a, NodeId, count);
    c->end = NEW_ARRAY(a, NodeId, count);
    c->accum = NEW_ARRAY(a, StateId, count);
    c->uses = count_uses(a, c->f);
    c->paths.arena = c->counts.arena = a;
    for (uint32_t s = 0; s < c->m->states.n; s++) {
        const char *path = sym_str(c->m->syms, c->m->states.at[s].path);
        map_slot(&c->paths, hash_bytes(HASH_SEED, path, strlen(path)), NULL);
    }
    for (NodeId n = 0; n < c->f->nodes.n; n++) classify(c, n);
    mark_read(c);
    for (NodeId n = c->f->nodes.n; n-- > 0;) {
        NodeId below = chained_below(c, n);
        if (below != NONE) c->end[below] = c->end[n];
    }
}

// *whole: one pass must hold the batch.
static bool cut_func(PassCx *cx, const char *name, const char *prefix, const char *const to[3],
                     bool *whole) {
    Cut c = {.cx = cx, .m = cx->m, .f = module_find(cx->m, name), .prefix = prefix};
    c.eval = *prefix;
    if (!c.f) return false;
    for (AxisId a = 1; a < cx->m->axes.n; a++)
        if (cx->m->axes.at[a].sample) c.sample = a;
    int64_t batch = c.sample ? cx->m->axes.at[c.sample].size : 1;
    c.micro = cx->micro && c.sample ? cx->micro : batch;
    c.one_pass = c.micro == batch;
    if (!c.one_pass) c.cut = (Resize){.n = 1, .axis = {c.sample}, .size = {c.micro}};
    if (batch % c.micro) {
        diag_error(cx->m->diag, (Loc){0},
                   "a batch of %lld does not divide into micro-batches of %lld", (long long)batch,
                   (long long)c.micro);
        return false;
    }
    prepare(&c);
    if (!check_cut(&c)) return false;
    *whole |= c.whole;
    c.masks = c.eval && !*whole;
    need_all(&c);
    for (NodeId n = 0; n < c.f->nodes.n; n++)
        if (c.root[n]) make_accum(&c, n);
    for (int part = PROLOGUE; part <= UPDATE; part++) write_part(&c, part, to[part]);
    module_remove(cx->m, c.f);
    return true;
}

static bool cut_predict(PassCx *cx) {
    static const char *const to[3] = {"predict_prologue", "predict_micro", "predict_finish"};
    Diag *d = cx->m->diag;
    uint32_t items = d->items.n, errors = d->errors;
    const Func *f = module_find(cx->m, "predict");
    if (!f || cut_func(cx, "predict", "predict.", to, &cx->m->whole_predict)) return f != NULL;
    if (!errors) {
        DiagItem first = d->items.at[items];
        d->items.n = items;
        d->errors = 0;
        diag_warning(d, first.loc, "no 'predict': %s", first.text);
    }
    cx->m->whole_predict = false;
    module_remove(cx->m, f);
    return true;
}

bool pass_microbatch(PassCx *cx) {
    static const char *const step[3] = {"prologue", "micro", "update"};
    static const char *const eval[3] = {"eval_prologue", "eval_micro", "eval_finish"};
    bool changed = cut_func(cx, "step", "", step, &cx->m->whole_step);
    changed |= cut_func(cx, "eval", "eval.", eval, &cx->m->whole_eval);
    changed |= cut_predict(cx);
    return changed;
}

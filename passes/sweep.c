// A classifier in rounds over rows: what is as large as rows x classes is never whole.
//
//   logits = x @ w          a product of data and weights: the largest value of a step
//   loss   = f(logits)      row by row, and its derivatives: d.logits
//   d.x    = d.logits @ w   a value for each row
//   d.w   += d.logits @ x   a sum over rows
//
// All that lies between the large values, S, is written out several times, each time on slices of what it
// reads. Values for each row are put together behind the last round; a sum over rows goes on from round to
// round through its accumulator, in place. It is found by what the rows are to each operand, and by no
// pattern of a softmax: label smoothing, distillation, a bias, several heads have nothing of their own here.
// It is here, after the derivatives and the cut of the batch, because only then loss, d.logits, d.x and d.w
// lie in one S. What waits for all rows and is read inside again (a loss that is not linear in its sums) has no
// rounds, and the ledger names the path.
//
// There is no loop in the IR for it: rounds are few, a slice is a view with another base, and equal kernels are
// one, so that a round costs some commands and no code; the memory planner, its check, the CPU and a GPU's
// graph see ordinary nodes.
//
// Values of rows keep their bits; sums over rows are added for each round, so it is not bit-neutral. The rounds
// depend on shapes and the plan alone, not on the target: all targets have the same bits. O(nodes) for each
// product that may be large.
#include "ir/view.h"
#include "passes/rewrite.h"
#include <string.h>

enum {
    MAX_ROUNDS = 64,
    MAX_NODES =
        120, // focal loss has 100; a value of a layer that its derivative reads drags in the network
    PARTS = 8 // operands of a concat
};

// A product that has rounds: those of a sample may have rounds in turn, along another axis of its rows.
typedef struct {
    Sym name;
    uint32_t rounds;
} Swept;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    VEC(Swept) swept;
    int64_t large, rows; // elements of a large value; fewest rows of a round
    int64_t largest;     // elements, of the products that may have rounds
    Users users;
    uint8_t *data;   // by node: depends on data, not on states alone
    uint8_t *result; // of the function
    uint8_t *in;     // in S
    uint8_t *below;  // depends on S
} Sweep;

// S of one product, and its rounds.
typedef struct {
    NodeId product;
    AxisId axis;
    int64_t extent, per; // of the axis; rows for each index of it
    NodeList nodes;      // S, in order
    int64_t size;        // of a round along the axis, the last one may be shorter
    uint32_t rounds;
    const char *why; // there are none, NULL: there are
    NodeId at;       // what is to blame
} Rounds;

static int64_t divide_up(int64_t n, int64_t by) { return n / by + (n % by != 0); }
static const Node *node(const Sweep *s, NodeId n) { return node_at(s->f, n); }
static const Type *type(const Sweep *s, NodeId n) { return type_of(s->m, s->f, n); }
static bool has(const Sweep *s, NodeId n, AxisId a) { return type_find(type(s, n), a) >= 0; }
static bool is_stored(const Sweep *s, NodeId n) {
    return op_info[node(s, n)->op].reads == READS_STORED;
}

static const char *name_of(const Sweep *s, NodeId n) {
    const char *name = sym_str(s->m->syms, node(s, n)->name);
    return *name ? name : op_info[node(s, n)->op].name;
}

static const Swept *part_of(const Sweep *s, NodeId n) {
    for (uint32_t i = 0; i < s->swept.n; i++)
        if (node(s, n)->name && s->swept.at[i].name == node(s, n)->name) return &s->swept.at[i];
    return NULL;
}

static bool refuse(Rounds *x, NodeId at, const char *why) {
    if (!x->why) x->why = why, x->at = at;
    return false;
}

// ---- finding S ----------------------------------------------------------------------------------

// A product of data, whose rows the result keeps, and of what has none. Of the axes that are rows the
// outermost is cut: its slices lie side by side.
static bool is_seed(const Sweep *s, NodeId n, Rounds *x) {
    const Type *t = type(s, n);
    int64_t count = type_count(t);
    if (node(s, n)->op != OP_contract || count < s->large) return false;
    if (count < s->largest / 2 && !part_of(s, n)) return false;
    NodeId l = operand(s->f, n, 0), r = operand(s->f, n, 1);
    if (s->data[l] == s->data[r]) return false;
    NodeId rows = s->data[l] ? l : r, weights = rows == l ? r : l;
    *x = (Rounds){.product = n, .per = 1, .at = n};
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        if (!has(s, rows, a) || has(s, weights, a)) continue;
        if (!x->axis && t->axes[i].size > 1)
            x->axis = a, x->extent = t->axes[i].size;
        else
            x->per *= t->axes[i].size;
    }
    return x->axis != 0;
}

// About as large as the product, so that what its rows are multiplied with, and the derivative by that, is not.
static bool is_large(const Sweep *s, const Rounds *x, NodeId n) {
    return type_count(type(s, n)) > type_count(type(s, x->product)) / 2 && has(s, n, x->axis) &&
           !is_stored(s, n) && node(s, n)->op != OP_iota;
}

static void take(Sweep *s, Rounds *x, NodeId n) {
    if (s->in[n]) return;
    s->in[n] = 1;
    vec_push(s->a, &x->nodes, n);
}

// Large values, what they are made of element by element as far as it is large, and all that reads them.
static void take_large(Sweep *s, Rounds *x) {
    take(s, x, x->product);
    for (uint32_t i = 0; i < x->nodes.n && x->nodes.n <= MAX_NODES; i++) {
        NodeId n = x->nodes.at[i];
        if (!is_large(s, x, n)) continue;
        for (uint32_t k = s->users.first[n]; k < s->users.first[n + 1]; k++)
            take(s, x, s->users.list[k]);
        for (uint32_t k = 0; k < node(s, n)->n && node(s, n)->op != OP_contract; k++)
            if (is_large(s, x, operand(s->f, n, k))) take(s, x, operand(s->f, n, k));
    }
}

// All that is on a way from S to S: then no value outside is both read and made by rounds.
static void take_between(Sweep *s, Rounds *x) {
    uint8_t *above = NEW_ARRAY(s->a, uint8_t, s->f->nodes.n + 1);
    memset(s->below, 0, s->f->nodes.n);
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        for (uint32_t k = 0; k < node(s, n)->n; k++)
            s->below[n] |= s->below[operand(s->f, n, k)] | s->in[operand(s->f, n, k)];
    for (NodeId n = s->f->nodes.n; n-- > 0;) {
        if (above[n] && s->below[n]) take(s, x, n);
        for (uint32_t k = 0; k < node(s, n)->n && (above[n] || s->in[n]); k++)
            above[operand(s->f, n, k)] = 1;
    }
}

// Operands in S that nothing outside reads but n: with n inside they need not be put together.
static uint32_t frees(const Sweep *s, NodeId n) {
    uint32_t freed = 0;
    for (uint32_t k = 0; k < node(s, n)->n; k++) {
        NodeId o = operand(s->f, n, k);
        bool only = s->in[o] && !s->result[o];
        for (uint32_t i = s->users.first[o]; i < s->users.first[o + 1] && only; i++)
            only = s->in[s->users.list[i]] || s->users.list[i] == n;
        freed += only;
    }
    return freed;
}

// What follows from rows of S alone, such as the loss of a row, where fewer values then leave S.
static void take_behind(Sweep *s, Rounds *x) {
    for (NodeId n = x->product + 1; n < s->f->nodes.n && x->nodes.n < MAX_NODES; n++) {
        bool fits = !s->in[n] && op_is_scalar((Op)node(s, n)->op) && has(s, n, x->axis) &&
                    type_count(type(s, n)) <= x->extent * x->per;
        for (uint32_t k = 0; k < node(s, n)->n && fits; k++) {
            NodeId o = operand(s->f, n, k);
            fits = s->in[o] || (!has(s, o, x->axis) && !s->below[o]);
        }
        if (fits && frees(s, n)) take(s, x, n);
    }
}

static void sort_nodes(Sweep *s, Rounds *x) {
    x->nodes.n = 0;
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        if (s->in[n]) vec_push(s->a, &x->nodes, n);
}

// ---- what stands in the way ---------------------------------------------------------------------

static bool is_sum(const Sweep *s, const Rounds *x, NodeId n) {
    const Node *d = node(s, n);
    if (has(s, n, x->axis)) return false;
    return op_info[d->op].acc >= 0 ||
           (d->op == OP_reduce && attr_of(s->m, s->f, n)->reduce.kind == REDUCE_sum);
}

// The accumulator operand of sum n where it is a sum of S too: both add to the same buffer.
static NodeId chained_below(const Sweep *s, const Rounds *x, NodeId n) {
    int k = node_acc(node(s, n));
    NodeId o = k < 0 ? NONE : operand(s->f, n, (uint32_t)k);
    return o != NONE && is_sum(s, x, n) && s->in[o] ? o : NONE;
}

// From a sum to the large value that waits for it: names, each once in a row.
static const char *path_from(const Sweep *s, const Rounds *x, NodeId n) {
    enum { MOST = 6 };
    const char *last = NULL;
    Text path = {.arena = s->a};
    for (uint32_t shown = 0; shown < MOST;) {
        const char *name = ledger_class(s->a, name_of(s, n));
        if (!last || strcmp(name, last) != 0) {
            text_printf(&path, "%s'%s'", last ? ", " : "", name);
            shown++;
        }
        last = name;
        if (is_large(s, x, n)) break;
        NodeId next = NONE;
        for (uint32_t i = s->users.first[n]; i < s->users.first[n + 1] && next == NONE; i++)
            if (s->in[s->users.list[i]]) next = s->users.list[i];
        if (next == NONE) break;
        n = next;
    }
    return path.at;
}

// The complete sum is known behind the last round: no round may read it, but to add to it.
static bool check_sum(const Sweep *s, Rounds *x, NodeId n) {
    uint32_t readers = s->users.first[n + 1] - s->users.first[n];
    for (uint32_t i = s->users.first[n]; i < s->users.first[n + 1]; i++) {
        NodeId u = s->users.list[i];
        if (!s->in[u] || (chained_below(s, x, u) == n && readers == 1 && !s->result[n])) continue;
        return refuse(x, n,
                      arena_printf(s->a, "is a sum over all rows, and rows wait for it: %s",
                                   path_from(s, x, n)));
    }
    return true;
}

static bool check_node(const Sweep *s, Rounds *x, NodeId n) {
    const Node *d = node(s, n);
    bool rows = has(s, n, x->axis);
    if (d->op == OP_random) return refuse(x, n, "draws a number for each row and class");
    if (op_info[d->op].kind == OPK_REGION || op_info[d->op].reads == READS_OWN)
        return refuse(x, n, d->op == OP_assign ? "keeps rows in a state" : "needs all rows");
    if (s->result[n] && is_large(s, x, n)) return refuse(x, n, "is an output");
    if (!d->n) return true;
    if (!rows && !is_sum(s, x, n))
        return refuse(x, n, d->op == OP_reduce ? "folds rows, and is no sum" : "mixes rows");
    for (uint32_t k = 0; k < d->n; k++) {
        Role role = ir_axis_flow(s->m, s->f, n, k, x->axis).role;
        if (rows ? role == ROLE_EACH || role == ROLE_NEW : role == ROLE_SUM || role == ROLE_ABSENT)
            continue;
        return refuse(x, n, "mixes rows");
    }
    return rows || check_sum(s, x, n);
}

static void check_demands(const Sweep *s, Rounds *x) {
    for (uint32_t i = 0; i < s->m->demands.n; i++) {
        const Demand *d = &s->m->demands.at[i];
        for (uint32_t k = 0; d->kind == DEMAND_nofuse && k < x->nodes.n; k++)
            if (demand_selects(s->m, d, s->f, x->nodes.at[k]))
                refuse(x, x->nodes.at[k],
                       ledger_said(s->a, s->m->diag, "stays whole: the plan says nofuse", d->loc));
    }
}

// Fewest rows for which rounds are long enough, not small (a quarter of what is large) and few enough; where it
// can be had with less than twice as many, all rounds are equal.
static void cut(const Sweep *s, Rounds *x) {
    const Swept *of = part_of(s, x->product);
    int64_t each = type_count(type(s, x->product)) / x->extent;
    int64_t size = divide_up(s->rows, x->per), whole = divide_up(s->large / 4, each);
    int64_t least = divide_up(x->extent, of ? MAX_ROUNDS / of->rounds : MAX_ROUNDS);
    if (size < whole) size = whole;
    if (size < least) size = least;
    x->size = size;
    for (int64_t even = size; even < 2 * size && even < x->extent; even++)
        if (x->extent % even == 0) {
            x->size = even;
            break;
        }
    x->rounds = (uint32_t)divide_up(x->extent, x->size);
    if (x->rounds < 2)
        refuse(x, x->product,
               arena_printf(s->a, "has %lld rows, too few for two rounds of %lld",
                            (long long)(x->extent * x->per), (long long)(x->size * x->per)));
}

static bool leaves(const Sweep *s, NodeId n) {
    bool read = s->result[n];
    for (uint32_t i = s->users.first[n]; i < s->users.first[n + 1]; i++)
        read |= !s->in[s->users.list[i]];
    return read;
}

// What is put together is whole in the end, and copied.
static void check_gain(const Sweep *s, Rounds *x) {
    int64_t whole = 0;
    for (uint32_t i = 0; i < x->nodes.n; i++) {
        NodeId n = x->nodes.at[i];
        if (has(s, n, x->axis) && leaves(s, n)) whole += type_bytes(type(s, n));
    }
    if (whole > type_bytes(type(s, x->product)) / 2)
        refuse(x, x->product,
               arena_printf(s->a, "would be in rounds, but for %s that are read outside of them",
                            bytes_text(s->a, whole)));
}

static void find_rounds(Sweep *s, Rounds *x) {
    memset(s->in, 0, s->f->nodes.n);
    take_large(s, x);
    if (x->nodes.n <= MAX_NODES) take_between(s, x);
    if (x->nodes.n <= MAX_NODES) take_behind(s, x);
    if (x->nodes.n > MAX_NODES) {
        refuse(x, x->product,
               "is read far from where it is made: the rounds would be the network's");
        return;
    }
    sort_nodes(s, x);
    for (uint32_t i = 0; i < x->nodes.n; i++)
        if (!check_node(s, x, x->nodes.at[i])) return;
    check_demands(s, x);
    check_gain(s, x);
    cut(s, x);
}

// ---- writing the rounds -------------------------------------------------------------------------

typedef struct {
    Sweep *s;
    const Rounds *x;
    Rewrite r;
    NodeId *slice, *copy, *before; // by node: in this round; the sum of the round before
    NodeId **made;                 // by round, then by node of S
    NodeId *end;                   // by sum: the last one of the chain that it is in
} Written;

static NodeId slice_of(Written *w, NodeId o, int64_t start, int64_t size) {
    if (w->slice[o] == NONE) {
        rewrite_like(&w->r, o);
        w->r.b.tmpl = 0;
        w->slice[o] = ir_slice(&w->r.b, w->r.map[o], w->x->axis, w->x->axis, start, size);
    }
    return w->slice[o];
}

// Node n of S in this round. A sum adds to the one of the round before: where it starts, and from then on
// through its accumulator.
static NodeId write_round_node(Written *w, NodeId n, int64_t start, Resize *size) {
    const Sweep *s = w->s;
    const Node *d = node(s, n);
    NodeId in[MAX_OPERANDS], before = NONE;
    uint32_t count = d->n;
    bool sum = is_sum(s, w->x, n), first = sum && chained_below(s, w->x, n) == NONE;
    if (first) before = w->before[w->end[n]];
    for (uint32_t k = 0; k < d->n; k++) {
        NodeId o = operand(s->f, n, k);
        if (before != NONE && (int)k == node_acc(d))
            in[k] = before;
        else if (s->in[o])
            in[k] = w->copy[o];
        else
            in[k] = has(s, o, w->x->axis) ? slice_of(w, o, start, size->size[0]) : w->r.map[o];
    }
    if (before != NONE && d->op == OP_contract && d->n == 2) in[count++] = before;
    NodeId copy = copy_resized(&w->r.b, s->f, n, in, count, size);
    if (start) node_at(&w->r.to, copy)->ordinal = 0; // a node of its own
    if (before == NONE || op_info[d->op].acc >= 0) return copy;
    rewrite_like(&w->r, n);
    return ir_node(&w->r.b, OP_add, NULL, (NodeId[]){before, copy}, 2, d->type);
}

static void write_round(Written *w, uint32_t round) {
    const Rounds *x = w->x;
    int64_t start = round * x->size, left = x->extent - start;
    Resize size = {.n = 1, .axis = {x->axis}, .size = {left < x->size ? left : x->size}};
    memset(w->slice, 0xff, sizeof(NodeId) * w->s->f->nodes.n);
    for (uint32_t i = 0; i < x->nodes.n; i++) {
        NodeId n = x->nodes.at[i];
        w->made[round][i] = w->copy[n] = write_round_node(w, n, start, &size);
    }
    for (uint32_t i = 0; i < x->nodes.n; i++) w->before[x->nodes.at[i]] = w->copy[x->nodes.at[i]];
}

// Parts of all rounds along the axis, eight and eight.
static NodeId put_together(Written *w, NodeId n, const NodeId *part, uint32_t count) {
    NodeId group[PARTS];
    AxisList axes = {0};
    uint32_t each = (uint32_t)divide_up(count, PARTS);
    for (uint32_t i = 0; i < count; i += each) {
        uint32_t many = count - i < each ? count - i : each;
        group[axes.n] = many == 1 ? part[i] : put_together(w, n, part + i, many);
        axes.at[axes.n++] = w->x->axis;
    }
    rewrite_like(&w->r, n);
    return ir_concat(&w->r.b, group, &axes, w->x->axis);
}

static void write_rounds(Written *w) {
    const Rounds *x = w->x;
    const Sweep *s = w->s;
    for (uint32_t r = 0; r < x->rounds; r++) write_round(w, r);
    NodeId *parts = NEW_ARRAY(s->a, NodeId, x->rounds);
    for (uint32_t i = 0; i < x->nodes.n; i++) {
        NodeId n = x->nodes.at[i];
        if (!leaves(s, n)) continue;
        for (uint32_t r = 0; r < x->rounds; r++) parts[r] = w->made[r][i];
        w->r.map[n] =
            has(s, n, x->axis) ? put_together(w, n, parts, x->rounds) : parts[x->rounds - 1];
    }
}

// What S needs, the rounds, what needs them.
static void write_func(Sweep *s, const Rounds *x) {
    Written w = {.s = s, .x = x};
    uint32_t count = s->f->nodes.n + 1;
    w.slice = NEW_ARRAY(s->a, NodeId, count);
    w.copy = NEW_ARRAY(s->a, NodeId, count);
    w.before = NEW_ARRAY(s->a, NodeId, count);
    w.end = NEW_ARRAY(s->a, NodeId, count);
    memset(w.before, 0xff, sizeof(NodeId) * count);
    w.made = NEW_ARRAY(s->a, NodeId *, x->rounds);
    for (uint32_t r = 0; r < x->rounds; r++) w.made[r] = NEW_ARRAY(s->a, NodeId, x->nodes.n);
    for (uint32_t i = x->nodes.n; i-- > 0;) {
        NodeId n = x->nodes.at[i], below = chained_below(s, x, n);
        if (!w.end[n]) w.end[n] = n;
        if (below != NONE) w.end[below] = w.end[n];
    }
    rewrite_begin(&w.r, s->cx, s->f);
    NodeId last = x->nodes.at[x->nodes.n - 1];
    for (NodeId n = 0; n < last; n++)
        if (!s->in[n] && !s->below[n]) rewrite_copy(&w.r, n);
    write_rounds(&w);
    for (NodeId n = 0; n < s->f->nodes.n; n++)
        if (!s->in[n] && w.r.map[n] == NONE) rewrite_copy(&w.r, n);
    rewrite_end(&w.r);
}

// ---- the pass -----------------------------------------------------------------------------------

static void record(const Sweep *s, const Rounds *x) {
    uint32_t together = 0, sums = 0;
    for (uint32_t i = 0; i < x->nodes.n && !x->why; i++) {
        NodeId n = x->nodes.at[i];
        sums += is_sum(s, x, n);
        together += has(s, n, x->axis) && leaves(s, n);
    }
    int64_t bytes = type_bytes(type(s, x->product));
    Decision d = {.done = !x->why,
                  .func = sym_str(s->m->syms, s->f->name),
                  .pass = "sweep",
                  .rule = "rounds",
                  .subject = name_of(s, x->product),
                  .bytes = x->why ? bytes : bytes - bytes / x->extent * x->size,
                  .loc = node(s, x->at)->loc};
    if (x->why)
        ledger_add(s->cx->ledger, d, "kept whole: '%s' %s", ledger_class(s->a, name_of(s, x->at)),
                   x->why);
    else
        ledger_add(s->cx->ledger, d,
                   "%u rounds of %lld rows, %u values each: %u sums go on from round to round, %u "
                   "values are put together",
                   x->rounds, (long long)(x->size * x->per), x->nodes.n, sums, together);
}

static void look(Sweep *s) {
    uint32_t count = s->f->nodes.n + 1;
    s->users = func_users(s->a, s->f);
    s->data = func_samples(s->a, s->m, s->f);
    s->result = NEW_ARRAY(s->a, uint8_t, count);
    s->in = NEW_ARRAY(s->a, uint8_t, count);
    s->below = NEW_ARRAY(s->a, uint8_t, count);
    for (uint32_t i = 0; i < s->f->results.n; i++) s->result[s->f->results.at[i].node] = 1;
}

// Of the largest product, before any rounds: one far below it is not what a step's memory is made of.
static int64_t largest(const Sweep *s) {
    int64_t most = 0;
    for (NodeId n = 0; n < s->f->nodes.n; n++) {
        Rounds x;
        int64_t count = type_count(type(s, n));
        if (count > most && is_seed(s, n, &x)) most = count;
    }
    return most;
}

// One product's rounds; false: there are none any more, and the ledger says why.
static bool sweep_once(Sweep *s) {
    VEC(Rounds) refused = {0};
    look(s);
    if (!s->largest) s->largest = largest(s);
    for (NodeId n = 0; n < s->f->nodes.n; n++) {
        Rounds x;
        if (!is_seed(s, n, &x)) continue;
        find_rounds(s, &x);
        if (x.why && !part_of(s, n)) vec_push(s->a, &refused, x);
        if (x.why) continue;
        record(s, &x);
        if (!part_of(s, n)) vec_push(s->a, &s->swept, ((Swept){node(s, n)->name, x.rounds}));
        write_func(s, &x);
        return true;
    }
    for (uint32_t i = 0; i < refused.n; i++) record(s, &refused.at[i]);
    return false;
}

static void sweep_func(PassCx *cx, Func *f) {
    Sweep s = {.cx = cx, .m = cx->m, .f = f, .a = cx->scratch};
    s.large = cx->m->sweep_above / 4;
    s.rows = cx->m->sweep_rows;
    while (sweep_once(&s)) continue;
}

// Done once: the module says no more that products are to have rounds, or those of a round would be asked again.
bool pass_sweep(PassCx *cx) {
    Module *m = cx->m;
    if (!m->sweep_rows) return false;
    for (uint32_t i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) sweep_func(cx, m->funcs.at[i]);
    m->sweep_above = m->sweep_rows = 0;
    return true;
}

// Offload: values that the backward pass reads late wait for it in memory of the host.
//
// Of a value that a line 'offload' names, a copy to the host starts as soon as it is computed; when the copy is
// done and nothing of the forward pass reads the value any more, its memory is free. Before the backward pass reads
// it, a copy starts back into memory that is taken only then. The copies run beside what computes.
//
// How far apart they stand is decided by a clock: each group takes what its roofline says (cost.h) and two
// microseconds to start, each direction is a queue that moves so many bytes a second. A copy out is waited for when a
// quarter more than its time is over, one back starts so much earlier; where a value is needed again before that,
// what computes waits, and the ledger says how long. Bit-neutral: a copy is the value.
//
// Last before memplan: from here on the order is that of the run. O(nodes + edges), times the values' reads.
#include "ir/view.h"
#include "passes/cost.h"
#include "passes/rewrite.h"
#include <stdlib.h>
#include <string.h>

#define START 2e-6 // seconds, of a kernel behind another: assumed, not measured
#define SPARE 1.25 // times its length, a copy is given

// A value on its way; all places are nodes that something is put before.
typedef struct {
    NodeId value, next; // next: the first that reads it when it is back
    NodeId landed, fetch;
    double bytes, out_end, in_end, waited; // the last three of the run that is predicted
    NodeId host, copy;                     // in the new function
} Trip;
typedef VEC(Trip) TripList;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    double *start; // by node: seconds before it; of the end too
    TripList trips;
    bool *met; // by demand
} Offload;

static const Node *node(const Offload *x, NodeId n) { return node_at(x->f, n); }

// ---- which values -------------------------------------------------------------------------------

// The node of a group's body that a value is.
static NodeId inner(const Offload *x, NodeId n, const Func **body) {
    NodeId group = node(x, n)->op == OP_part ? operand(x->f, n, 0) : n;
    int64_t result = group == n ? 0 : attr_of(x->m, x->f, n)->part.index;
    *body = x->m->funcs.at[attr_of(x->m, x->f, group)->group.body];
    return (*body)->results.at[result].node;
}

static const char *name_of(const Offload *x, NodeId n) {
    const Func *body;
    const Node *in = node_at(body, inner(x, n, &body));
    const char *name = sym_str(x->m->syms, in->name);
    return *name ? name : op_info[in->op].name;
}

static bool is_forward(const Node *n) { return n->phase == PHASE_F && !n->clone; }

static bool is_computed(const Offload *x, NodeId n) {
    return (node(x, n)->op == OP_group || node(x, n)->op == OP_part) &&
           type_bytes(type_of(x->m, x->f, n)) > 0;
}

static bool stays(const Offload *x, NodeId n) { // in a state, or as a result
    for (uint32_t i = 0; i < x->f->results.n; i++)
        if (x->f->results.at[i].node == n) return true;
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++)
        if (node(x, x->users.list[i])->op == OP_assign) return true;
    return false;
}

// The longest time in which nothing reads the value, up to a reader of the backward pass. False: there is none.
static bool find_pause(const Offload *x, NodeId n, NodeId *last, NodeId *next) {
    double longest = -1;
    NodeId before = n;
    for (uint32_t i = x->users.first[n]; i < x->users.first[n + 1]; i++) {
        NodeId user = x->users.list[i];
        if (node(x, user)->op == OP_part) continue;
        double pause = x->start[user] - x->start[before];
        if (!is_forward(node(x, user)) && pause > longest)
            longest = pause, *last = before, *next = user;
        before = user;
    }
    return longest >= 0;
}

static bool is_named(const Offload *x, NodeId n) {
    const Func *body;
    NodeId in = inner(x, n, &body);
    bool named = false;
    for (uint32_t i = 0; i < x->m->demands.n; i++) {
        const Demand *d = &x->m->demands.at[i];
        if (d->kind != DEMAND_offload || !demand_selects(x->m, d, body, in)) continue;
        named = x->met[i] = true;
    }
    return named;
}

// ---- where their copies stand -------------------------------------------------------------------

// Nothing comes between a group and its parts.
static NodeId behind(const Offload *x, NodeId n) {
    for (n++; n < x->f->nodes.n && node(x, n)->op == OP_part; n++) {
    }
    return n;
}

static void measure(Offload *x) {
    Target one = *x->cx->target; // all of the device
    one.bytes_per_second *= one.units;
    one.flops_per_second *= one.units;
    x->start = NEW_ARRAY(x->a, double, x->f->nodes.n + 2);
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        double seconds = cost_seconds(x->m, x->f, n, &one);
        x->start[n + 1] = x->start[n] + seconds + (node(x, n)->op == OP_group ? START : 0);
    }
}

static Decision decision(const Offload *x, NodeId n, bool done, const char *rule) {
    return (Decision){.done = done,
                      .func = sym_str(x->m->syms, x->f->name),
                      .pass = "offload",
                      .rule = rule,
                      .subject = name_of(x, n),
                      .bytes = type_bytes(type_of(x->m, x->f, n)),
                      .loc = node(x, n)->loc};
}

static void find_trips(Offload *x) {
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        NodeId last = n, next = NONE;
        if (!is_computed(x, n) || stays(x, n) || !find_pause(x, n, &last, &next)) continue;
        if (!is_named(x, n)) continue;
        if (behind(x, last) >= next) {
            ledger_add(x->cx->ledger, decision(x, n, false, "soon"),
                       "the backward pass reads it again at once");
            continue;
        }
        Trip t = {.value = n, .next = next, .landed = behind(x, last)};
        t.bytes = (double)type_bytes(type_of(x->m, x->f, n));
        vec_push(x->a, &x->trips, t);
    }
}

// The link out, in the order in which values are made.
static void place_landed(Offload *x) {
    double out = x->cx->target->out, free_at = 0;
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        double from = x->start[behind(x, t->value)], seconds = t->bytes / out;
        free_at = (from > free_at ? from : free_at) + seconds;
        while (t->landed < t->next && x->start[t->landed] < free_at + (SPARE - 1) * seconds)
            t->landed = behind(x, t->landed);
    }
}

static int later_first(const void *a, const void *b) {
    const Trip *x = a, *y = b;
    if (x->next != y->next) return x->next > y->next ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

// The link back, from the last that is needed to the first.
static void place_fetch(Offload *x) {
    double in = x->cx->target->in, until = x->start[x->f->nodes.n];
    if (x->trips.n) qsort(x->trips.at, x->trips.n, sizeof *x->trips.at, later_first);
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        if (x->start[t->next] < until) until = x->start[t->next];
        until -= SPARE * t->bytes / in;
        for (t->fetch = t->next; t->fetch > 0 && x->start[t->fetch] > until; t->fetch--) {
        }
        while (node(x, t->fetch)->op == OP_part) t->fetch--;
    }
}

// Where the time is too short, what computes waits for the copies: the value is away between its readers.
static void settle(Offload *x) {
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        NodeId last = t->value, next = NONE;
        if (x->start[t->landed] < x->start[t->fetch]) continue;
        (void)find_pause(x, t->value, &last, &next);
        t->landed = behind(x, last);
        t->fetch = t->next;
    }
}

// ---- what that costs ----------------------------------------------------------------------------

typedef struct {
    double now, out_free, in_free;
} Timeline;

static double later(double a, double b) { return a > b ? a : b; }

static void wait_for(Timeline *c, Trip *t, double end) {
    if (end > c->now) t->waited += end - c->now;
    c->now = later(c->now, end);
}

static void pass_node(Offload *x, Timeline *c, NodeId n) {
    const Target *target = x->cx->target;
    for (uint32_t i = 0; i < x->trips.n; i++)
        if (x->trips.at[i].landed == n) wait_for(c, &x->trips.at[i], x->trips.at[i].out_end);
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        if (t->fetch == n)
            t->in_end = c->in_free = later(c->now, c->in_free) + t->bytes / target->in;
    }
    for (uint32_t i = 0; i < x->trips.n; i++)
        if (x->trips.at[i].next == n) wait_for(c, &x->trips.at[i], x->trips.at[i].in_end);
    c->now += x->start[n + 1] - x->start[n];
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        if (t->value == n)
            t->out_end = c->out_free = later(c->now, c->out_free) + t->bytes / target->out;
    }
}

static void record(Offload *x) {
    Timeline c = {0};
    const Target *t = x->cx->target;
    double bytes = 0;
    for (NodeId n = 0; n < x->f->nodes.n; n++) pass_node(x, &c, n);
    for (uint32_t i = x->trips.n; i-- > 0;) {
        const Trip *k = &x->trips.at[i];
        bytes += k->bytes;
        ledger_add(x->cx->ledger, decision(x, k->value, true, "host"), "waits on the host%s",
                   k->waited > 0 ? ", and is waited for" : "");
    }
    double alone = x->start[x->f->nodes.n];
    ledger_add(x->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(x->m->syms, x->f->name),
                          .pass = "offload",
                          .rule = "links",
                          .subject = sym_str(x->m->syms, x->f->name),
                          .bytes = (int64_t)bytes},
               "%u values, %.3g ms out at %.3g GB/s and %.3g ms back at %.3g GB/s beside %.3g ms: "
               "predicted to wait %.3g ms for them",
               x->trips.n, 1e3 * bytes / t->out, 1e-9 * t->out, 1e3 * bytes / t->in, 1e-9 * t->in,
               1e3 * alone, 1e3 * (c.now - alone));
}

// ---- writing ------------------------------------------------------------------------------------

static NodeId copy_op(Rewrite *r, Op op, NodeId a, NodeId b) {
    NodeId operands[2] = {a, b};
    return ir_node(&r->b, op, NULL, operands, b == NONE ? 1 : 2, NONE);
}

// What stands before old node n.
static void put_before(Offload *x, Rewrite *r, NodeId n) {
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        if (t->landed != n) continue;
        rewrite_like(r, t->value);
        t->host = copy_op(r, OP_landed, t->host, r->map[t->value]);
    }
    for (uint32_t i = x->trips.n; i-- > 0;) { // in the order in which they are needed
        Trip *t = &x->trips.at[i];
        if (t->fetch != n) continue;
        rewrite_like(r, t->value);
        r->b.phase = (Phase)node(x, t->next)->phase;
        t->copy = copy_op(r, OP_fetch, t->host, NONE);
    }
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        if (t->next != n) continue;
        rewrite_like(r, t->value);
        r->b.phase = (Phase)node(x, t->next)->phase;
        r->map[t->value] = copy_op(r, OP_ready, t->copy, t->host);
    }
}

static void start_out(Offload *x, Rewrite *r, NodeId n) {
    for (uint32_t i = 0; i < x->trips.n; i++) {
        Trip *t = &x->trips.at[i];
        NodeId group = node(x, t->value)->op == OP_part ? operand(x->f, t->value, 0) : t->value;
        if (behind(x, group) != n + 1 || group > n) continue;
        rewrite_like(r, t->value);
        t->host = copy_op(r, OP_offload, r->map[t->value], NONE);
    }
}

static void write(Offload *x) {
    Rewrite r;
    rewrite_begin(&r, x->cx, x->f);
    for (NodeId n = 0; n < x->f->nodes.n; n++) {
        put_before(x, &r, n);
        rewrite_copy(&r, n);
        start_out(x, &r, n);
    }
    rewrite_end(&r);
}

// ---- the pass -----------------------------------------------------------------------------------

static bool has_backward(const Func *f) {
    bool backward = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *k = node_at(f, n);
        if (!op_is_executable(k->op) || op_starts_copy(k->op)) return false;
        backward |= k->phase == PHASE_B || k->phase == PHASE_W;
    }
    return backward;
}

static bool offload_func(PassCx *cx, Func *f, bool *met) {
    Arena *a = cx->scratch;
    Offload x = {.cx = cx, .m = cx->m, .f = f, .a = a, .met = met, .users = func_users(a, f)};
    measure(&x);
    find_trips(&x);
    if (!x.trips.n) return false;
    place_landed(&x);
    place_fetch(&x);
    settle(&x);
    record(&x);
    write(&x);
    return true;
}

static void check_demands(PassCx *cx, const bool *met) {
    Diag *diag = cx->m->diag;
    for (uint32_t i = 0; i < cx->m->demands.n; i++) {
        const Demand *d = &cx->m->demands.at[i];
        if (d->kind != DEMAND_offload || met[i] || diag_has_error(diag, d->loc)) continue;
        diag_error(diag, d->loc, "'%s' names no value that waits in memory for the backward pass",
                   sym_str(cx->m->syms, d->path));
    }
}

// Memory of the device is the host's: values lie there already.
static void record_none(PassCx *cx) {
    for (uint32_t i = 0; i < cx->m->demands.n; i++)
        if (cx->m->demands.at[i].kind == DEMAND_offload)
            ledger_add(cx->ledger,
                       (Decision){.pass = "offload",
                                  .rule = "host",
                                  .subject = sym_str(cx->m->syms, cx->m->demands.at[i].path),
                                  .loc = cx->m->demands.at[i].loc},
                       "stays where it is: this device's memory is the host's");
}

bool pass_offload(PassCx *cx) {
    bool changed = false, asked = false, done = false;
    for (uint32_t i = 0; i < cx->m->demands.n; i++)
        asked |= cx->m->demands.at[i].kind == DEMAND_offload;
    if (!asked) return false;
    if (!(cx->target->out > 0)) {
        record_none(cx);
        return false;
    }
    bool *met = NEW_ARRAY(cx->scratch, bool, cx->m->demands.n + 1);
    for (FuncId i = 0; i < cx->m->funcs.n; i++) {
        Func *f = cx->m->funcs.at[i];
        for (NodeId n = 0; n < f->nodes.n; n++) done |= op_starts_copy(node_at(f, n)->op);
    }
    for (FuncId i = 0; i < cx->m->funcs.n && !done; i++) {
        Func *f = cx->m->funcs.at[i];
        if (!f->region && !f->mem.n && has_backward(f)) changed |= offload_func(cx, f, met);
    }
    if (!done) check_demands(cx, met);
    return changed;
}

// A budget: what the backward pass computes again so that a step fits into so many bytes.
//
// One round of the model's largest `repeat` is looked at, since all are alike. Keeping a value costs memory,
// computing it again costs time and needs what it is made of, kept or computed again in turn: for each price of
// a byte the best choice is a least cut. Over all prices these are a handful of patterns, from nothing again to
// all but what enters the round. Each is then priced exactly: on a fork of the module, by the very passes that
// follow. The first that fits is taken in as many rounds as it takes, the early ones, whose values live longest;
// the others keep the pattern before it.
//
// About (patterns + log2 rounds) runs of the passes that follow.
#include "passes/mincut.h"
#include "passes/pipeline.h"
#include "passes/recompute.h"
#include <stdlib.h>
#include <string.h>

enum { SOURCE, SINK, FIRST, MAX_PATTERNS = 16 };

typedef struct {
    int64_t bytes;  // of a step
    double seconds; // of the function, predicted
} Price;

typedef struct {
    bool *again;  // by place in the round
    double ticks; // of one round, as the cut estimates it
    double kept;  // bytes of one round
    Price price;  // if all rounds do so
} Pattern;

typedef struct {
    Remat *x;
    Arena *a;
    FuncId id;
    uint32_t repeat;  // whose rounds; 0: the function is one round
    int64_t rounds;   // that have such values
    NodeList sample;  // the round that is looked at: what may be computed again there
    uint32_t *vertex; // by node: 1 + place in `sample`
    uint32_t *place;  // by node of any round: 1 + place in `sample` of the node like it
    int64_t *round;   // by node: rounds before its own, of those that have such values
    VEC(Pattern) patterns;
    int64_t besides; // bytes of a step beside temporaries
    int64_t others;  // temporaries of the other functions
} Budget;

static const Node *node(const Budget *b, NodeId n) { return node_at(b->x->f, n); }

// ---- rounds that are alike ----------------------------------------------------------------------

// What of a round may have to be computed again: open values, and what lies between.
static bool is_between(const Budget *b, NodeId n) {
    uint32_t reads = op_info[node(b, n)->op].reads;
    return node(b, n)->phase == PHASE_F && reads != READS_STORED && reads != READS_NOTHING &&
           b->x->fate[n] != FATE_kept;
}

// The repeat with the most bytes that are open.
static uint32_t largest_repeat(const Budget *b) {
    const Remat *x = b->x;
    int64_t *bytes = NEW_ARRAY(b->a, int64_t, x->m->repeats.n + 1);
    uint32_t best = 0;
    for (NodeId n = 0; n < x->f->nodes.n; n++)
        if (x->fate[n] == FATE_open)
            bytes[remat_round(x, n).repeat] += type_bytes(type_of(x->m, x->f, n));
    for (uint32_t r = 0; r < x->m->repeats.n; r++)
        if (bytes[r] > bytes[best]) best = r;
    return best;
}

// Nodes of two rounds are alike when op, type and name are, and as many such came before them.
static uint64_t likeness(Budget *b, Map *before, NodeId n) {
    const Node *x = node(b, n);
    const char *name = ledger_class(b->a, sym_str(b->x->m->syms, x->name));
    uint64_t h = hash_bytes(hash_u64(hash_u64(HASH_SEED, x->op), x->type), name, strlen(name));
    uint64_t own = hash_u64(h, (uint64_t)b->round[n] + 1);
    return hash_u64(h, (*map_slot(before, own, NULL))++);
}

static void find_rounds(Budget *b) {
    const Remat *x = b->x;
    uint32_t count = x->f->nodes.n;
    Map numbers = {.arena = b->a}, before = {.arena = b->a}, known = {.arena = b->a};
    b->repeat = largest_repeat(b);
    b->vertex = NEW_ARRAY(b->a, uint32_t, count + 1);
    b->place = NEW_ARRAY(b->a, uint32_t, count + 1);
    b->round = NEW_ARRAY(b->a, int64_t, count + 1);
    uint64_t *key = NEW_ARRAY(b->a, uint64_t, count + 1);
    for (NodeId n = 0; n < count; n++) {
        RepeatRound r = remat_round(x, n);
        bool fresh;
        if (!is_between(b, n) || r.repeat != b->repeat) continue;
        uint32_t *number = map_slot(&numbers, (uint64_t)r.round + 1, &fresh);
        if (fresh) *number = (uint32_t)b->rounds++;
        b->round[n] = *number;
        key[n] = likeness(b, &before, n);
    }
    for (NodeId n = 0; n < count; n++) // a middle one: the first and the last may be different
        if (key[n] && b->round[n] == b->rounds / 2) {
            vec_push(b->a, &b->sample, n);
            b->vertex[n] = b->sample.n;
            *map_slot(&known, key[n], NULL) = b->sample.n;
        }
    for (NodeId n = 0; n < count; n++) {
        const uint32_t *place = key[n] ? map_find(&known, key[n]) : NULL;
        if (place) b->place[n] = *place;
    }
}

// ---- patterns -----------------------------------------------------------------------------------

// Picoseconds of computing a value again, in its reader's kernel unless it is stored.
static double ticks_of(const Budget *b, NodeId n) {
    const Remat *x = b->x;
    const Target *t = x->cx->target;
    const Node *v = node(b, n);
    double elements = (double)type_count(type_of(x->m, x->f, n));
    double work = remat_flops(x->m, x->f, n), bytes = 0;
    if (op_is_scalar((Op)v->op)) work = elements * op_info[v->op].cost;
    if (remat_is_stored(x, n)) {
        bytes = (double)type_bytes(type_of(x->m, x->f, n));
        for (uint32_t i = 0; i < v->n; i++)
            bytes += (double)type_bytes(type_of(x->m, x->f, operand(x->f, n, i)));
    }
    double seconds = work / t->flops_per_second, moved = bytes / t->bytes_per_second;
    return 1e12 * (seconds > moved ? seconds : moved) + 1;
}

static bool read_by_backward(const Budget *b, NodeId n) {
    const Users *u = &b->x->users;
    for (uint32_t i = u->first[n]; i < u->first[n + 1]; i++)
        if (node(b, u->list[i])->phase != PHASE_F) return true;
    return false;
}

// What is best where a byte that is kept costs so many ticks. Of each value two vertices: it is needed, it is
// computed again; an edge between the two is cut where it is kept.
static Pattern best_at(const Budget *b, double price) {
    const Remat *x = b->x;
    CutGraph g = cut_graph(b->a, FIRST + 2 * b->sample.n);
    Pattern p = {.again = NEW_ARRAY(b->a, bool, b->sample.n + 1)};
    for (uint32_t i = 0; i < b->sample.n; i++) {
        NodeId n = b->sample.at[i];
        uint32_t need = FIRST + 2 * i, again = need + 1;
        double bytes = (double)type_bytes(type_of(x->m, x->f, n));
        bool open = x->fate[n] == FATE_open;
        cut_edge(&g, need, again, open ? (int64_t)(bytes * price) : CUT_NEVER);
        cut_edge(&g, again, SINK, (int64_t)ticks_of(b, n));
        if (read_by_backward(b, n)) cut_edge(&g, SOURCE, need, CUT_NEVER);
        for (uint32_t k = 0; k < node(b, n)->n; k++) {
            uint32_t o = b->vertex[operand(x->f, n, k)];
            if (o) cut_edge(&g, again, FIRST + 2 * (o - 1), CUT_NEVER);
        }
    }
    bool *with_source = cut_least(&g, SOURCE, SINK);
    for (uint32_t i = 0; i < b->sample.n; i++) {
        uint32_t need = FIRST + 2 * i;
        NodeId n = b->sample.at[i];
        p.again[i] = with_source[need + 1];
        if (p.again[i]) p.ticks += ticks_of(b, n);
        if (with_source[need] && !p.again[i]) p.kept += (double)type_bytes(type_of(x->m, x->f, n));
    }
    return p;
}

// Those between two: where both cost the same another may cost less.
static void find_between(Budget *b, const Pattern *less, const Pattern *more) {
    if (less->kept <= more->kept || b->patterns.n >= MAX_PATTERNS) return;
    double price = (more->ticks - less->ticks) / (less->kept - more->kept);
    Pattern p = best_at(b, price);
    if (p.ticks <= less->ticks || p.kept >= less->kept || p.kept <= more->kept) return;
    find_between(b, less, &p);
    vec_push(b->a, &b->patterns, p);
    find_between(b, &p, more);
}

static void find_patterns(Budget *b) {
    int64_t bytes =
        1; // at the last price any byte is dearer than time, and the sum is far from CUT_NEVER
    for (uint32_t i = 0; i < b->sample.n; i++)
        bytes += type_bytes(type_of(b->x->m, b->x->f, b->sample.at[i]));
    Pattern none = best_at(b, 0), all = best_at(b, (double)(CUT_NEVER / 4) / (double)bytes);
    vec_push(b->a, &b->patterns, none);
    find_between(b, &none, &all);
    if (all.kept < none.kept) vec_push(b->a, &b->patterns, all);
}

// ---- prices -------------------------------------------------------------------------------------

// The first `rounds` rounds take pattern i, the others the one before it.
static void set_fates(const Budget *b, uint8_t *fate, uint32_t i, int64_t rounds) {
    for (NodeId n = 0; n < b->x->f->nodes.n; n++) {
        if (b->x->fate[n] != FATE_open) continue;
        const Pattern *p = &b->patterns.at[b->round[n] < rounds || i == 0 ? i : i - 1];
        fate[n] = b->place[n] && p->again[b->place[n] - 1] ? FATE_again : FATE_kept;
    }
}

// Time of a function whose groups are formed: each moves its operands and results, and computes meanwhile.
static double seconds_of(const Module *m, const Func *f, const Target *t) {
    double seconds = 0;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        double bytes = (double)type_bytes(type_of(m, f, n)), work = 0;
        if (node_at(f, n)->op != OP_group) continue;
        const Func *body = m->funcs.at[attr_of(m, f, n)->group.body];
        for (uint32_t i = 0; i < node_at(f, n)->n; i++)
            bytes += (double)type_bytes(type_of(m, f, operand(f, n, i)));
        for (NodeId k = 0; k < body->nodes.n; k++) {
            uint32_t op = node_at(body, k)->op;
            work += remat_flops(m, body, k);
            if (op_is_scalar((Op)op))
                work += op_info[op].cost * (double)type_count(type_of(m, body, k));
        }
        double moved = bytes / t->bytes_per_second, computed = work / t->flops_per_second;
        seconds += moved > computed ? moved : computed;
    }
    return seconds;
}

// A fork of the module, with these fates, through all passes that follow. alone: without the other functions.
static Module *try_fates(const Budget *b, uint8_t *fate, bool alone, Arena *a) {
    PassCx cx = *b->x->cx;
    cx.m = module_fork(b->x->m, a);
    cx.scratch = arena_new();
    cx.ledger = NULL;
    cx.m->recompute = (Recompute){0};
    Remat x = *b->x;
    x.cx = &cx, x.m = cx.m, x.f = cx.m->funcs.at[b->id], x.a = a, x.fate = fate;
    remat_copy(&x);
    for (FuncId i = 0; i < cx.m->funcs.n && alone; i++)
        if (i != b->id && !cx.m->funcs.at[i]->region)
            *cx.m->funcs.at[i] = (Func){.name = cx.m->funcs.at[i]->name};
    bool good = pipeline_run(&cx, "chunk", NULL, NULL);
    arena_free(cx.scratch);
    return good ? cx.m : NULL;
}

static Price price_of(Budget *b, uint32_t pattern, int64_t rounds) {
    Arena *a = arena_new();
    uint8_t *fate = arena_copy(a, b->x->fate, b->x->f->nodes.n + 1);
    set_fates(b, fate, pattern, rounds);
    bool first = b->besides == 0;
    Module *m = try_fates(b, fate, !first, a);
    Price p = {INT64_MAX, 0};
    if (m) {
        int64_t all[REGION_COUNT] = {0}, others[REGION_COUNT] = {0}, own[REGION_COUNT] = {0};
        module_regions(m, all);
        func_regions(m, m->funcs.at[b->id], own);
        for (FuncId i = 0; i < m->funcs.n && first; i++)
            if (i != b->id && !func_is_beside(m, m->funcs.at[i]))
                func_regions(m, m->funcs.at[i], others);
        if (first) b->others = others[REGION_temp];
        for (int r = 0; r < REGION_COUNT && first; r++)
            if (r != REGION_temp) b->besides += all[r];
        int64_t temp = own[REGION_temp];
        p.bytes = b->besides + (temp > b->others ? temp : b->others);
        p.seconds = seconds_of(m, m->funcs.at[b->id], b->x->cx->target);
    }
    arena_free(a);
    return p;
}

// ---- the choice ---------------------------------------------------------------------------------

// "attn.q, mlp.gelu": what a pattern computes again that the one before it keeps.
static const char *names_of(const Budget *b, uint32_t i) {
    Text t = {.arena = b->a};
    Map seen = {.arena = b->a};
    text_put(&t, "", 0);
    for (uint32_t k = 0; k < b->sample.n; k++) {
        NodeId n = b->sample.at[k];
        const char *name = sym_str(b->x->m->syms, node(b, n)->name);
        bool fresh, now = b->x->fate[n] == FATE_open && b->x->read_back[n] &&
                          b->patterns.at[i].again[k] && !(i && b->patterns.at[i - 1].again[k]);
        if (!now) continue;
        name = ledger_class(b->a, *name ? name : op_info[node(b, n)->op].name);
        map_slot(&seen, hash_bytes(HASH_SEED, name, strlen(name)), &fresh);
        if (fresh) text_printf(&t, "%s%s", t.n ? ", " : "", name);
    }
    return t.at;
}

static double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

static void record_pattern(const Budget *b, uint32_t i, bool taken) {
    const Pattern *p = &b->patterns.at[i], *none = &b->patterns.at[0];
    ledger_add(b->x->cx->ledger,
               (Decision){.done = taken,
                          .func = sym_str(b->x->m->syms, b->x->f->name),
                          .pass = "recompute",
                          .rule = "price",
                          .subject = arena_printf(b->a, "pattern %u", i),
                          .bytes = p->price.bytes,
                          .loc = b->x->m->recompute.loc},
               "%s%s: %.1f %% of the step's memory, predicted time %+.1f %%", i ? "+ " : "",
               i ? names_of(b, i) : "all kept",
               percent((double)p->price.bytes, (double)none->price.bytes),
               percent(p->price.seconds, none->price.seconds) - 100);
}

static void record_choice(const Budget *b, uint32_t i, int64_t rounds, Price p) {
    ledger_add(b->x->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(b->x->m->syms, b->x->f->name),
                          .pass = "recompute",
                          .rule = "budget",
                          .subject = sym_str(b->x->m->syms, b->x->f->name),
                          .bytes = p.bytes,
                          .loc = b->x->m->recompute.loc},
               "of %lld bytes: pattern %u in %lld of %lld rounds, predicted time %+.1f %%",
               (long long)b->x->m->recompute.number, i, (long long)rounds, (long long)b->rounds,
               percent(p.seconds, b->patterns.at[0].price.seconds) - 100);
}

static void report(const Budget *b, uint32_t least) {
    Diag *d = b->x->m->diag;
    Loc at = b->x->m->recompute.loc;
    const Price *p = &b->patterns.at[least].price;
    if (diag_has_error(d, at)) return;
    diag_error(d, at,
               "a budget of %s cannot be met: %s (%lld bytes) is the least, at %+.1f %% of time",
               bytes_text(b->a, b->x->m->recompute.number), bytes_text(b->a, p->bytes),
               (long long)p->bytes, percent(p->seconds, b->patterns.at[0].price.seconds) - 100);
    diag_note(d, at, "%s of it are parameters, moments, gradients and inputs, %s temporary",
              bytes_text(b->a, b->besides), bytes_text(b->a, p->bytes - b->besides));
}

void remat_meet_budget(Remat *x, FuncId id) {
    Budget b = {.x = x, .a = x->a, .id = id};
    int64_t most = x->m->recompute.number;
    find_rounds(&b);
    find_patterns(&b);
    uint32_t taken = b.patterns.n, least = 0;
    for (uint32_t i = 0; i < b.patterns.n; i++) {
        Pattern *p = &b.patterns.at[i];
        p->price = price_of(&b, i, b.rounds);
        if (p->price.bytes < b.patterns.at[least].price.bytes) least = i;
        if (taken == b.patterns.n && p->price.bytes <= most) taken = i;
    }
    for (uint32_t i = 0; i < b.patterns.n; i++) record_pattern(&b, i, i == taken);
    if (taken == b.patterns.n) {
        report(&b, least);
        return;
    }
    int64_t low = 0, high = b.rounds; // fits in high rounds
    Price price = b.patterns.at[taken].price;
    while (taken && high - low > 1) {
        Price p = price_of(&b, taken, (low + high) / 2);
        *(p.bytes <= most ? &high : &low) = (low + high) / 2;
        if (p.bytes <= most) price = p;
    }
    record_choice(&b, taken, high, price);
    for (NodeId n = 0; n < x->f->nodes.n; n++)
        if (x->fate[n] == FATE_open) x->why[n] = "it fits into the budget";
    uint8_t *fate = arena_copy(x->a, x->fate, x->f->nodes.n + 1);
    set_fates(&b, fate, taken, high);
    x->fate = fate;
    x->m->recompute.promised = price.bytes;
}

// A budget: what the backward pass computes again so that a step fits into so many bytes.
//
// One round of each `repeat` is looked at, since all of it are alike; a function without is one round. Keeping a
// value costs memory, computing it again costs time and needs what it is made of, kept or computed again in turn:
// for each price of a byte the best choice is a least cut. Over all prices these are a handful of patterns, from
// nothing again to all but what enters the rounds. Each is then priced exactly: on a fork of the module, by the
// very passes that follow; in all rounds, and in all but the last, whose backward pass comes at once. The first
// that fits is taken in as many rounds as it takes, the early ones, whose values live longest; the others keep the
// pattern before it.
//
// About (patterns + 4, at most patterns + 6 + log2 rounds) runs of the passes that follow.
#include "passes/mincut.h"
#include "passes/peak.h"
#include "passes/pipeline.h"
#include "passes/recompute.h"
#include <stdlib.h>
#include <string.h>

enum { SOURCE, SINK, FIRST, MAX_PATTERNS = 24 };

typedef struct {
    int64_t bytes;  // of a step
    double seconds; // of the function, predicted
} Price;

typedef struct {
    bool *again;  // by place in the sample
    double ticks; // of the sample, as the cut estimates it
    double kept;  // bytes of it
    Price price;  // if all rounds do so
} Pattern;

// What rounds do.
typedef struct {
    uint32_t pattern; // the first `rounds` of them, the others the one before it
    int64_t rounds;
    bool last; // the last one keeps all
} RoundChoice;

typedef struct {
    Remat *x;
    Arena *a;
    FuncId id;
    int64_t rounds;  // that have such values, of all repeats, in order
    NodeList sample; // of each repeat the round that is looked at: what may be computed again there
    uint32_t *vertex; // by node: 1 + place in `sample`
    uint32_t *place;  // by node of any round: 1 + place in `sample` of the node like it
    int64_t *round;   // by node: rounds before its own, of those that have such values
    NodeList beside;  // groups that make values of the sample, and what lies below and nobody keeps
    uint32_t *apart;  // by node: 1 + place in `beside`
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

// Nodes of two rounds are alike when repeat, op, type and name are, and as many such came before them.
static uint64_t likeness(Budget *b, Map *before, NodeId n) {
    const Node *x = node(b, n);
    const char *name = ledger_class(b->a, sym_str(b->x->m->syms, x->name));
    uint64_t h = hash_bytes(hash_u64(hash_u64(HASH_SEED, x->op), x->type), name, strlen(name));
    h = hash_u64(h, remat_round(b->x, n).repeat);
    uint64_t own = hash_u64(h, (uint64_t)b->round[n] + 1);
    return hash_u64(h, (*map_slot(before, own, NULL))++);
}

// What the cut needs a vertex for beside the sample.
static void add_beside(Budget *b, NodeId n) {
    if (b->apart[n]) return;
    vec_push(b->a, &b->beside, n);
    b->apart[n] = b->beside.n;
}

// A value that lies in memory for a while and that the backward pass reads only if something made of it is
// computed again.
static bool is_revived(const Budget *b, NodeId n) {
    const Remat *x = b->x;
    return x->fate[n] == FATE_kept && !x->read_back[n];
}

static void find_sample(Budget *b, const uint64_t *key, const int64_t *middle) {
    for (NodeId n = 0; n < b->x->f->nodes.n; n++) {
        if (!key[n] || b->round[n] != middle[remat_round(b->x, n).repeat]) continue;
        NodeId from = remat_source(b->x, n);
        vec_push(b->a, &b->sample, n);
        b->vertex[n] = b->sample.n;
        if (node(b, from)->op == OP_group) add_beside(b, from);
        for (uint32_t i = 0; i < node(b, from)->n; i++)
            if (is_revived(b, operand(b->x->f, from, i))) add_beside(b, operand(b->x->f, from, i));
    }
}

static void find_rounds(Budget *b) {
    const Remat *x = b->x;
    uint32_t count = x->f->nodes.n;
    Map numbers = {.arena = b->a}, before = {.arena = b->a}, known = {.arena = b->a};
    b->vertex = NEW_ARRAY(b->a, uint32_t, count + 1);
    b->place = NEW_ARRAY(b->a, uint32_t, count + 1);
    b->apart = NEW_ARRAY(b->a, uint32_t, count + 1);
    b->round = NEW_ARRAY(b->a, int64_t, count + 1);
    uint64_t *key = NEW_ARRAY(b->a, uint64_t, count + 1);
    int64_t *first = NEW_ARRAY(b->a, int64_t, x->m->repeats.n + 1); // round of a repeat
    int64_t *rounds = NEW_ARRAY(b->a, int64_t, x->m->repeats.n + 1), *middle = first;
    for (NodeId n = 0; n < count; n++) {
        RepeatRound r = remat_round(x, n);
        bool fresh;
        if (!is_between(b, n) || (!r.repeat && x->repeats)) continue;
        uint64_t own = hash_u64(hash_u64(HASH_SEED, r.repeat), (uint64_t)r.round);
        uint32_t *number = map_slot(&numbers, own, &fresh);
        if (fresh) *number = (uint32_t)b->rounds++;
        if (fresh && !rounds[r.repeat]++) first[r.repeat] = *number;
        b->round[n] = *number;
        key[n] = likeness(b, &before, n);
    }
    // a middle one: the first and the last may be different
    for (uint32_t r = 0; r < x->m->repeats.n; r++) middle[r] += rounds[r] / 2;
    find_sample(b, key, middle);
    for (uint32_t i = 0; i < b->sample.n; i++)
        *map_slot(&known, key[b->sample.at[i]], NULL) = i + 1;
    for (NodeId n = 0; n < count; n++) {
        const uint32_t *place = key[n] ? map_find(&known, key[n]) : NULL;
        if (place) b->place[n] = *place;
    }
}

// ---- patterns -----------------------------------------------------------------------------------

// Picoseconds of computing a value again, in its reader's kernel unless it is stored. Of a group: all of it, and
// its results cost nothing more.
static double ticks_of(const Budget *b, NodeId n) {
    const Remat *x = b->x;
    const Target *t = x->cx->target;
    const Node *v = node(b, n);
    double elements = (double)type_count(type_of(x->m, x->f, n));
    double work = cost_flops(x->m, x->f, n), bytes = 0;
    if (op_is_scalar((Op)v->op)) work = elements * op_info[v->op].cost;
    if (remat_is_stored(x, n)) {
        bytes = (double)type_bytes(type_of(x->m, x->f, n));
        for (uint32_t i = 0; i < v->n; i++)
            bytes += (double)type_bytes(type_of(x->m, x->f, operand(x->f, n, i)));
    }
    double seconds = work / t->flops_per_second, moved = bytes / t->bytes_per_second;
    return 1e12 * (seconds > moved ? seconds : moved) + 1;
}

static double bytes_of(const Budget *b, NodeId n) {
    return (double)type_bytes(type_of(b->x->m, b->x->f, n));
}

static bool read_by_backward(const Budget *b, NodeId n) {
    const Users *u = &b->x->users;
    for (uint32_t i = u->first[n]; i < u->first[n + 1]; i++)
        if (node(b, u->list[i])->phase != PHASE_F) return true;
    return false;
}

static uint32_t vertex_beside(const Budget *b, NodeId n) {
    return FIRST + 2 * b->sample.n + b->apart[n] - 1;
}

// Whoever computes by `vertex` needs n.
static void need(const Budget *b, CutGraph *g, uint32_t vertex, NodeId n) {
    if (b->vertex[n])
        cut_edge(g, vertex, FIRST + 2 * (b->vertex[n] - 1), CUT_NEVER);
    else if (is_revived(b, n) && b->apart[n])
        cut_edge(g, vertex, vertex_beside(b, n), CUT_NEVER);
}

static void need_operands(const Budget *b, CutGraph *g, uint32_t vertex, NodeId n) {
    for (uint32_t k = 0; k < node(b, n)->n; k++) need(b, g, vertex, operand(b->x->f, n, k));
}

// Of each value two vertices: it is needed, it is computed again; an edge between the two is cut where it is kept.
// A group is computed for any of its results. What is revived is kept where it is needed.
static CutGraph graph_at(const Budget *b, double price) {
    const Remat *x = b->x;
    CutGraph g = cut_graph(b->a, FIRST + 2 * b->sample.n + b->beside.n);
    for (uint32_t i = 0; i < b->sample.n; i++) {
        NodeId n = b->sample.at[i], from = remat_source(x, n);
        uint32_t needed = FIRST + 2 * i, again = needed + 1;
        bool open = x->fate[n] == FATE_open, group = node(b, from)->op == OP_group;
        cut_edge(&g, needed, again, open ? (int64_t)(bytes_of(b, n) * price) : CUT_NEVER);
        if (read_by_backward(b, n)) cut_edge(&g, SOURCE, needed, CUT_NEVER);
        if (group)
            cut_edge(&g, again, vertex_beside(b, from), CUT_NEVER);
        else
            cut_edge(&g, again, SINK, (int64_t)ticks_of(b, n));
        if (!group) need_operands(b, &g, again, n);
    }
    for (uint32_t i = 0; i < b->beside.n; i++) {
        NodeId n = b->beside.at[i];
        uint32_t v = vertex_beside(b, n);
        bool group = node(b, n)->op == OP_group && !is_revived(b, n);
        cut_edge(&g, v, SINK, (int64_t)(group ? ticks_of(b, n) : bytes_of(b, n) * price));
        if (group) need_operands(b, &g, v, n);
    }
    return g;
}

// What is best where a byte that is kept costs so many ticks.
static Pattern best_at(const Budget *b, double price) {
    CutGraph g = graph_at(b, price);
    Pattern p = {.again = NEW_ARRAY(b->a, bool, b->sample.n + 1)};
    bool *with_source = cut_least(&g, SOURCE, SINK);
    for (uint32_t i = 0; i < b->sample.n; i++) {
        uint32_t needed = FIRST + 2 * i;
        NodeId n = b->sample.at[i];
        p.again[i] = with_source[needed + 1];
        if (p.again[i] && node(b, remat_source(b->x, n))->op != OP_group) p.ticks += ticks_of(b, n);
        if (with_source[needed] && !p.again[i]) p.kept += bytes_of(b, n);
    }
    for (uint32_t i = 0; i < b->beside.n; i++) {
        NodeId n = b->beside.at[i];
        if (!with_source[vertex_beside(b, n)]) continue;
        *(is_revived(b, n) ? &p.kept : &p.ticks) +=
            is_revived(b, n) ? bytes_of(b, n) : ticks_of(b, n);
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
    for (uint32_t i = 0; i < b->beside.n; i++)
        bytes += type_bytes(type_of(b->x->m, b->x->f, b->beside.at[i]));
    Pattern none = best_at(b, 0), all = best_at(b, (double)(CUT_NEVER / 4) / (double)bytes);
    vec_push(b->a, &b->patterns, none);
    find_between(b, &none, &all);
    if (all.kept < none.kept) vec_push(b->a, &b->patterns, all);
}

// ---- prices -------------------------------------------------------------------------------------

static uint32_t pattern_of(const Budget *b, RoundChoice c, int64_t round) {
    if (c.last && round == b->rounds - 1) return 0;
    return round < c.rounds || c.pattern == 0 ? c.pattern : c.pattern - 1;
}

static void set_fates(const Budget *b, uint8_t *fate, RoundChoice c) {
    for (NodeId n = 0; n < b->x->f->nodes.n; n++) {
        if (b->x->fate[n] != FATE_open) continue;
        const Pattern *p = &b->patterns.at[pattern_of(b, c, b->round[n])];
        fate[n] = b->place[n] && p->again[b->place[n] - 1] ? FATE_again : FATE_kept;
    }
}

// Time of a function whose groups are formed.
static double seconds_of(const Module *m, const Func *f, const Target *t) {
    double seconds = 0;
    for (NodeId n = 0; n < f->nodes.n; n++) seconds += cost_seconds(m, f, n, t);
    return seconds;
}

// A fork of the module that does so, through all passes that follow. alone: without the other functions.
static Module *try_choice(const Budget *b, RoundChoice c, bool alone, Arena *a) {
    PassCx cx = *b->x->cx;
    Remat x = *b->x;
    cx.m = module_fork(b->x->m, a);
    cx.scratch = arena_new();
    cx.ledger = NULL;
    cx.m->recompute = (Recompute){0};
    x.cx = &cx, x.m = cx.m, x.f = cx.m->funcs.at[b->id], x.a = a;
    x.fate = arena_copy(a, b->x->fate, b->x->f->nodes.n + 1);
    set_fates(b, x.fate, c);
    remat_copy(&x);
    for (FuncId i = 0; i < cx.m->funcs.n && alone; i++)
        if (i != b->id && !cx.m->funcs.at[i]->region)
            *cx.m->funcs.at[i] = (Func){.name = cx.m->funcs.at[i]->name};
    bool good = pipeline_run(&cx, "chunk", NULL, NULL);
    arena_free(cx.scratch);
    return good ? cx.m : NULL;
}

static Price price_of(Budget *b, RoundChoice c) {
    Arena *a = arena_new();
    bool first = b->besides == 0;
    Module *m = try_choice(b, c, !first, a);
    Price p = {INT64_MAX, 0};
    if (m) {
        int64_t all[REGION_COUNT] = {0}, others[REGION_COUNT] = {0}, own[REGION_COUNT] = {0};
        module_regions(m, all);
        func_regions(m, m->funcs.at[b->id], own);
        for (FuncId i = 0; i < m->funcs.n && first; i++)
            if (i != b->id && !func_is_beside(m, m->funcs.at[i]))
                func_regions(m, m->funcs.at[i], others);
        if (first) b->others = others[REGION_temp];
        for (int r = 0; r < REGION_host && first; r++) // of the device
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

// More time than with all kept.
static double slower(const Budget *b, Price p) {
    double all = b->patterns.at[0].price.seconds;
    return percent(p.seconds - all, all);
}

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
               percent((double)p->price.bytes, (double)none->price.bytes), slower(b, p->price));
}

static void add_tradeoff(const Budget *b, uint32_t i, bool taken) {
    Ledger *l = b->x->cx->ledger;
    const Pattern *p = &b->patterns.at[i];
    const char *names = i ? names_of(b, i) : "";
    if (!l) return;
    Tradeoff t = {.again = arena_str(l->arena, names, strlen(names)),
                  .bytes = p->price.bytes,
                  .slower = slower(b, p->price),
                  .taken = taken && b->x->m->recompute.number < INT64_MAX};
    vec_push(l->arena, &l->tradeoffs, t);
}

static void record_choice(const Budget *b, RoundChoice c, Price p) {
    ledger_add(b->x->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(b->x->m->syms, b->x->f->name),
                          .pass = "recompute",
                          .rule = "budget",
                          .subject = sym_str(b->x->m->syms, b->x->f->name),
                          .bytes = p.bytes,
                          .loc = b->x->m->recompute.loc},
               "of %lld bytes: pattern %u in %lld of %lld rounds%s, predicted time %+.1f %%",
               (long long)b->x->m->recompute.number, c.pattern, (long long)c.rounds,
               (long long)b->rounds, c.last ? ", the last one keeps all" : "", slower(b, p));
}

static void report(Budget *b, uint32_t least) {
    Diag *d = b->x->m->diag;
    Loc at = b->x->m->recompute.loc;
    Price p = b->patterns.at[least].price;
    if (diag_has_error(d, at)) return;
    diag_error(d, at,
               "a budget of %s cannot be met: %s (%lld bytes) is the least, at %+.1f %% of time",
               bytes_text(b->a, b->x->m->recompute.number), bytes_text(b->a, p.bytes),
               (long long)p.bytes, slower(b, p));
    diag_note(d, at, "%s of it are parameters, moments, gradients and inputs, %s temporary",
              bytes_text(b->a, b->besides), bytes_text(b->a, p.bytes - b->besides));
    Arena *a = arena_new();
    Module *m = try_choice(b, (RoundChoice){.pattern = least, .rounds = b->rounds}, true, a);
    Peak peak = {.at = NONE};
    if (m) peak = func_peak(b->a, m, m->funcs.at[b->id], b->x->cx->target->align);
    if (peak.at != NONE)
        diag_note(d, node_at(m->funcs.at[b->id], peak.at)->loc, "at the peak are alive: %s",
                  peak_text(b->a, &peak, 6));
    arena_free(a);
}

// ---- the search ---------------------------------------------------------------------------------

// The first pattern that fits if all rounds take it, or as many as there are; *least: that with the least bytes.
static uint32_t first_that_fits(Budget *b, uint32_t *least) {
    uint32_t taken = b->patterns.n;
    *least = 0;
    for (uint32_t i = 0; i < b->patterns.n; i++) {
        Pattern *p = &b->patterns.at[i];
        p->price = price_of(b, (RoundChoice){.pattern = i, .rounds = b->rounds});
        if (p->price.bytes < b->patterns.at[*least].price.bytes) *least = i;
        if (taken == b->patterns.n && p->price.bytes <= b->x->m->recompute.number) taken = i;
    }
    return taken;
}

// Between `low` rounds, which do not fit, and c.rounds, which do: where a line through both meets the budget, since
// each round adds about the same; after some steps the middle, in case it does not.
static int64_t next_rounds(int64_t most, int64_t low, int64_t low_bytes, RoundChoice c, Price p,
                           int step) {
    enum { LINES = 4 };
    int64_t middle = low + (c.rounds - low) / 2;
    double slope = (double)(low_bytes - p.bytes) / (double)(c.rounds - low);
    if (step >= LINES || slope <= 0) return middle;
    int64_t at = c.rounds - (int64_t)((double)(most - p.bytes) / slope);
    return at <= low ? low + 1 : at >= c.rounds ? c.rounds - 1 : at;
}

// As few rounds as fit, of a pattern that fits in all; the last one keeps all if that fits.
static RoundChoice fewest_rounds(Budget *b, uint32_t pattern, Price *price) {
    int64_t most = b->x->m->recompute.number, low = 0;
    RoundChoice c = {.pattern = pattern, .rounds = b->rounds};
    *price = b->patterns.at[pattern].price;
    if (pattern == 0) return c;
    int64_t low_bytes = b->patterns.at[pattern - 1].price.bytes;
    if (b->rounds > 1) {
        Price p = price_of(b, (RoundChoice){.pattern = pattern, .rounds = b->rounds, .last = true});
        if (p.bytes <= most && p.seconds <= price->seconds) c.last = true, *price = p;
    }
    if (c.last) c.rounds = b->rounds - 1;
    for (int step = 0; c.rounds - low > 1; step++) {
        RoundChoice fewer = c;
        fewer.rounds = next_rounds(most, low, low_bytes, c, *price, step);
        Price p = price_of(b, fewer);
        if (p.bytes <= most)
            c = fewer, *price = p;
        else
            low = fewer.rounds, low_bytes = p.bytes;
    }
    return c;
}

void remat_meet_budget(Remat *x, FuncId id) {
    Budget b = {.x = x, .a = x->a, .id = id};
    uint32_t least;
    Price price;
    find_rounds(&b);
    find_patterns(&b);
    uint32_t taken = first_that_fits(&b, &least);
    for (uint32_t i = 0; i < b.patterns.n; i++) {
        record_pattern(&b, i, i == taken);
        add_tradeoff(&b, i, i == taken);
    }
    if (taken == b.patterns.n) {
        report(&b, least);
        return;
    }
    RoundChoice c = fewest_rounds(&b, taken, &price);
    record_choice(&b, c, price);
    for (NodeId n = 0; n < x->f->nodes.n; n++)
        if (x->fate[n] == FATE_open)
            x->why[n] = x->m->recompute.number < INT64_MAX ? "it fits into the budget"
                                                           : "the plan does not ask for less";
    uint8_t *fate = arena_copy(x->a, x->fate, x->f->nodes.n + 1);
    set_fates(&b, fate, c);
    x->fate = fate;
    x->m->recompute.promised = price.bytes;
}

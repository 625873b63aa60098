// See fit_search.h. Memory is nearly affine in a size, so that few builds find the largest one: two at a time, where
// the line through what is known meets the device's memory and one step above.
#include "tools/fit_search.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 12, MOST_POINTS = 2 * ROUNDS + 1 };

// ---- the largest --------------------------------------------------------------------------------

typedef struct {
    int64_t at, bytes;
} Point;

typedef struct {
    Fit *x;
    bool micro; // else the length
    int64_t unit, most;
    Point known[MOST_POINTS]; // in order
    uint32_t n;
    FitFound *to;
} Search;

// What a build for sizes does not say is as in the base, and what is staged as the inputs are.
static int64_t bytes_of(const Fit *x, FitBuilt *b, BuildDepth depth) {
    const FitBuilt *base = &x->base;
    if (depth == BUILD_sizes) {
        int64_t regions = 0, in = base->region[REGION_input];
        for (int r = 0; r < SN_REGION_HOST; r++) regions += base->region[r];
        double grown = in > 0 ? (double)b->region[REGION_input] / (double)in : 1;
        b->layout.all += base->layout.all - regions - base->layout.staging +
                         (int64_t)((double)base->layout.staging * grown);
    }
    return fit_bytes(x, b, x->zero, x->fleet.count);
}

static void learn(Search *s, int64_t at, int64_t bytes) {
    uint32_t i = s->n++;
    for (; i > 0 && s->known[i - 1].at > at; i--) s->known[i] = s->known[i - 1];
    s->known[i] = (Point){at, bytes};
}

static const char *number(Fit *x, int64_t n) {
    return arena_printf(x->d->arena, "%lld", (long long)n);
}

static Variant variant_at(Search *s, int64_t at) {
    Fit *x = s->x;
    Arena *a = x->d->arena;
    // panels and scratch of a CPU grow with sizes, and the plan says how
    Variant v = {.depth = x->fleet.gpu ? BUILD_sizes : BUILD_step, .n = 1};
    if (!s->micro) {
        v.set[0].name = arena_printf(a, "size.%s", x->axis);
        v.set[0].value = number(x, at);
        return v;
    }
    const Module *m = x->d->program->m;
    int64_t times = (x->base.batch + at - 1) / at;
    v.n = 2;
    v.set[0].name = "micro", v.set[0].value = number(x, at);
    v.set[1].name =
        arena_printf(a, "size.%s", sym_str(m->syms, m->axes.at[x->d->program->sample].name));
    v.set[1].value = number(x, at * (times > 0 ? times : 1));
    return v;
}

static int64_t whole(const Search *s, double at) {
    double units = at / (double)s->unit, most = (double)(s->most / s->unit);
    return s->unit * (int64_t)(units < 1 ? 1 : units > most ? most : units);
}

// Where the line through two points that are known meets the memory: those around it, else the two nearest.
static int64_t guess(const Search *s) {
    int64_t memory = s->x->fleet.memory;
    uint32_t i = 0;
    if (s->n == 1) {
        double fixed = (double)(s->known[0].bytes - s->x->base.region[REGION_temp]);
        double each = (double)s->x->base.region[REGION_temp] / (double)s->known[0].at;
        return whole(s, each > 0 ? ((double)memory - fixed) / each : (double)s->most);
    }
    while (i + 2 < s->n && s->known[i + 1].bytes <= memory) i++;
    Point a = s->known[i], b = s->known[i + 1];
    double slope = (double)(b.bytes - a.bytes) / (double)(b.at - a.at);
    if (slope <= 0) return s->most;
    return whole(s, (double)a.at + ((double)memory - (double)a.bytes) / slope);
}

static bool is_known(const Search *s, int64_t at) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->known[i].at == at) return true;
    return false;
}

static void take(Search *s, int64_t at, Variant *v) {
    FitFound *f = s->to;
    bool refused = !v->built.good;
    int64_t bytes = refused ? 0 : bytes_of(s->x, &v->built, v->depth);
    if (!refused) learn(s, at, bytes);
    if (!refused && bytes <= s->x->fleet.memory) {
        if (at > f->fits) f->fits = at;
        // a size of more rounds may need less than one before it
        if (f->fails && f->fails <= f->fits) f->fails = 0, f->why[0] = 0;
    } else if (!f->fails || at < f->fails) {
        f->fails = at, f->needs = bytes;
        snprintf(f->why, sizeof f->why, "%s", refused ? v->built.error : "");
    }
}

// Two sizes to look at. Where a size is refused memory does not say which is: those that leave thirds.
static void next_sizes(const Search *s, int64_t next[2]) {
    const FitFound *f = s->to;
    int64_t at = guess(s), between = f->fails ? f->fails - s->unit : s->most;
    bool refused = f->fails && *f->why;
    if (at > between) at = between;
    if (at <= f->fits) at = f->fits + s->unit;
    next[0] = at, next[1] = at + s->unit;
    if (f->fits && f->fails > 2 * f->fits) { // a line says little over such a range
        double third = cbrt((double)f->fails / (double)f->fits);
        next[0] = whole(s, (double)f->fits * third);
        next[1] = whole(s, (double)f->fits * third * third);
        return;
    }
    if (!refused || at < between) return;
    double third = (double)(f->fails - f->fits) / 3;
    next[0] = whole(s, (double)f->fits + third), next[1] = whole(s, (double)f->fits + 2 * third);
}

static void search(Search *s) {
    FitFound *f = s->to;
    f->asked = true;
    for (int i = 0; i < ROUNDS && !(f->fails && f->fails - f->fits <= s->unit); i++) {
        int64_t next[2];
        next_sizes(s, next);
        Variant v[2];
        uint32_t n = 0;
        for (int k = 0; k < 2; k++) {
            if (next[k] > s->most || next[k] < s->unit || is_known(s, next[k])) continue;
            if (next[k] <= f->fits || (f->fails && next[k] >= f->fails)) continue;
            next[n] = next[k];
            v[n++] = variant_at(s, next[k]);
        }
        if (!n) return;
        fit_variants(s->x, v, n);
        for (uint32_t k = 0; k < n; k++) take(s, next[k], &v[k]);
    }
}

static void find(Fit *x, bool micro, FitFound *to) {
    int64_t now = micro ? x->base.micro : x->base.length;
    Search s = {.x = x, .micro = micro, .unit = 1, .to = to};
    if (now <= 0) return;
    if (!micro)
        while (s.unit * 32 <= now) s.unit *= 2;
    s.most = micro ? 1 << 16 : (1 << 22) / s.unit * s.unit;
    learn(&s, now, fit_bytes(x, &x->base, x->zero, x->fleet.count));
    if (s.known[0].bytes <= x->fleet.memory)
        to->fits = now;
    else
        to->fails = now, to->needs = s.known[0].bytes;
    if (now >= s.unit) search(&s);
}

void find_largest(Fit *x, FitFound *micro, FitFound *length) {
    // what the size does not change is too much already: nothing smaller fits
    if (fit_states(x, &x->base, x->zero, x->fleet.count) + x->fleet.context > x->fleet.memory)
        return;
    find(x, true, micro);
    if (x->axis) find(x, false, length);
}

// ---- remedies -----------------------------------------------------------------------------------

typedef struct {
    const char *line, *name, *value;
} FitLine;

enum { MOST = 8 };

static uint32_t candidates(Fit *x, FitLine *to) {
    const FitBuilt *b = &x->base;
    const Module *m = x->d->program->m;
    Arena *a = x->d->arena;
    uint32_t n = 0;
    bool narrow = b->held[HELD_shadow].bytes > 0;
    if (!narrow && b->flops[RATE_bf16] == 0)
        to[n++] = (FitLine){"precision bf16", "precision", "bf16"};
    if (narrow && elem_info[b->held[HELD_sum].elem].bytes > 2)
        to[n++] = (FitLine){"precision grads = bf16", "precision.grads", "bf16"};
    if (elem_info[b->held[HELD_moment].elem].bytes > 2)
        to[n++] = (FitLine){"precision moments = bf16", "precision.moments", "bf16"};
    if (narrow && x->fleet.gpu) to[n++] = (FitLine){"merge none", "merge", "none"};
    if (m->recompute.mode == RECOMPUTE_none && !m->demands.n)
        to[n++] = (FitLine){"recompute every(1)", "recompute.every", "1"};
    if (b->micro > 1) {
        const char *half = number(x, b->micro / 2);
        const char *sample = sym_str(m->syms, m->axes.at[x->d->program->sample].name);
        if (b->batch % (b->micro / 2) == 0)
            to[n++] = (FitLine){arena_printf(a, "micro %s = %s", sample, half), "micro", half};
    }
    if (x->axis && b->length > 1) {
        const char *half = number(x, b->length / 2);
        to[n++] = (FitLine){arena_printf(a, "size %s = %s", x->axis, half),
                            arena_printf(a, "size.%s", x->axis), half};
    }
    return n;
}

static double time_of(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks) {
    StepTime now, then;
    fit_time(x, &x->base, x->zero, x->fleet.count, &now);
    fit_time(x, b, zero, ranks, &then);
    return then.seconds / then.tokens * ranks / (now.seconds / now.tokens * x->fleet.count);
}

static void put(Fit *x, Remedies *to, const char *line, const FitBuilt *b, uint32_t zero,
                uint32_t ranks) {
    Remedy r = {.line = line, .why = ""};
    int64_t now = fit_bytes(x, &x->base, x->zero, x->fleet.count);
    if (!b->good) {
        r.why = arena_printf(x->d->arena, "%s", b->error);
    } else {
        r.bytes = fit_bytes(x, b, zero, ranks);
        r.time = time_of(x, b, zero, ranks);
        r.weights = fit_weights(b, zero, ranks);
        if (r.bytes >= now) return;
    }
    vec_push(x->d->arena, to, r);
}

// What comes first: what fits, then what at least makes room for the weights, then time for a byte; what saves time
// is before all that costs some.
static int rank_of(const Fit *x, const Remedy *r) {
    return *r->why ? 3 : r->bytes <= x->fleet.memory ? 0 : r->weights <= x->fleet.memory ? 1 : 2;
}

static bool is_before(const Fit *x, const Remedy *a, const Remedy *b, int64_t now) {
    int p = rank_of(x, a), q = rank_of(x, b);
    if (p != q || p == 3) return p < q;
    return (a->time - 1) / (double)(now - a->bytes) < (b->time - 1) / (double)(now - b->bytes);
}

static void sort(Fit *x, Remedies *r) {
    int64_t now = fit_bytes(x, &x->base, x->zero, x->fleet.count);
    for (uint32_t i = 1; i < r->n; i++)
        for (uint32_t k = i; k > 0 && is_before(x, &r->at[k], &r->at[k - 1], now); k--) {
            Remedy swap = r->at[k];
            r->at[k] = r->at[k - 1], r->at[k - 1] = swap;
        }
}

// Stages of ZeRO above the one that there is: counted, since what a rank computes is the same.
static void put_stages(Fit *x, Remedies *to) {
    uint32_t ranks = x->fleet.count;
    Arena *a = x->d->arena;
    for (uint32_t z = x->zero + 1; z <= 3 && ranks > 1; z++)
        put(x, to, arena_printf(a, "--zero %u", z), &x->base, z, ranks);
    if (x->fleet.gpu && ranks * 2 <= FLEET_MOST && x->zero)
        put(x, to, arena_printf(a, "--on %ux%s", ranks * 2, x->fleet.gpu->short_name), &x->base,
            x->zero, ranks * 2);
}

static bool any_fits(const Fit *x, const Remedies *r) {
    for (uint32_t i = 0; i < r->n; i++)
        if (!*r->at[i].why && r->at[i].bytes <= x->fleet.memory) return true;
    return false;
}

// Pairs that might do together what none does alone: built, or a line's build with more divided. The first of those
// that fit is kept.
static void put_pairs(Fit *x, Remedies *to, const FitLine *c, const Variant *one, uint32_t n) {
    enum { PAIRS = 4 };
    Arena *a = x->d->arena;
    int64_t now = fit_bytes(x, &x->base, x->zero, x->fleet.count);
    uint32_t first[MOST * MOST], second[MOST * MOST], many = 0;
    Variant v[PAIRS];
    Remedies found = {0};
    const char *line[PAIRS];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n; k++) {
            if (!one[i].built.good || !one[k].built.good) continue;
            int64_t saved = 2 * now - fit_bytes(x, &one[i].built, x->zero, x->fleet.count) -
                            fit_bytes(x, &one[k].built, x->zero, x->fleet.count);
            if (now - saved > x->fleet.memory) continue;
            first[many] = i, second[many++] = k;
        }
    for (uint32_t i = 0; i < many && i < PAIRS; i++) {
        const FitLine *p = &c[first[i]], *q = &c[second[i]];
        v[i] = (Variant){
            .depth = BUILD_step, .n = 2, .set = {{p->name, p->value}, {q->name, q->value}}};
        line[i] = arena_printf(a, "%s; %s", p->line, q->line);
    }
    many = many < PAIRS ? many : PAIRS;
    if (many) fit_variants(x, v, many);
    for (uint32_t i = 0; i < many; i++)
        put(x, &found, line[i], &v[i].built, x->zero, x->fleet.count);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t z = x->zero + 1; z <= 3 && x->fleet.count > 1 && one[i].built.good; z++)
            put(x, &found, arena_printf(a, "%s; --zero %u", c[i].line, z), &one[i].built, z,
                x->fleet.count);
    sort(x, &found);
    for (uint32_t i = 0; i < found.n; i++)
        if (!*found.at[i].why && found.at[i].bytes <= x->fleet.memory) {
            vec_push(a, to, found.at[i]);
            return;
        }
}

void find_remedies(Fit *x, Remedies *to) {
    FitLine c[MOST];
    Variant v[MOST];
    uint32_t n = candidates(x, c);
    for (uint32_t i = 0; i < n; i++)
        v[i] = (Variant){.depth = BUILD_step, .n = 1, .set = {{c[i].name, c[i].value}}};
    fit_variants(x, v, n);
    for (uint32_t i = 0; i < n; i++) put(x, to, c[i].line, &v[i].built, x->zero, x->fleet.count);
    put_stages(x, to);
    sort(x, to);
    if (!any_fits(x, to)) put_pairs(x, to, c, v, n);
    if (x->fleet.count > 1 && x->fleet.gpu)
        vec_push(x->d->arena, to,
                 ((Remedy){.line = "parts of a tensor or stages on several devices",
                           .why = "not compiled yet"}));
}

// sinter explain: what was decided and why, function by function, below a summary; and why two values are
// not computed by one kernel.
//
// The decisions are the passes' own (passes/ledger.c). For --why-not, fuse keeps what it decided about every
// pair of groups of which one reads the other; a question selects groups by the values they compute, and
// the answers are the pairs between them, or on the shortest way from one to the other.
#include "tools/explain.h"
#include "codegen/plan.h"
#include "ir/base/path.h"
#include "runtime/setting.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    Driver *d;
    const Module *m;
    const Ledger *l;
    const char *target; // "cpu", "cuda"
    Text *to;
} Explain;

// ---- the summary --------------------------------------------------------------------------------

typedef struct {
    uint32_t kernels, products; // of the groups
    uint32_t refused;           // values that were stored first
    int64_t saved, temporaries;
} Summary;

static Summary summary_of(const Explain *x, const Func *f) {
    Summary s = {0};
    const char *name = sym_str(x->m->syms, f->name);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Mem *mem = &f->mem.at[n];
        int64_t end = mem->offset + type_bytes(type_of(x->m, f, n));
        if (mem->region == REGION_temp && end > s.temporaries) s.temporaries = end;
        if (node_at(f, n)->op != OP_group) continue;
        s.kernels++;
        s.products += attr_of(x->m, f, n)->group.kind == GROUP_gemm;
    }
    for (uint32_t i = 0; i < x->l->lines.n; i++) {
        const Decision *d = &x->l->lines.at[i];
        if (strcmp(d->func, name) != 0 || strcmp(d->pass, "fuse") != 0) continue;
        if (d->done) s.saved += d->bytes;
        for (int r = 1; r < REFUSAL_COUNT && !d->done; r++)
            if (strcmp(d->rule, refusal_info[r].name) == 0) s.refused += d->count;
    }
    return s;
}

static void put_summary_line(const Explain *x, const Func *f, bool json) {
    Arena *a = x->d->arena;
    const char *name = sym_str(x->m->syms, f->name);
    Summary s = summary_of(x, f);
    if (json)
        text_printf(x->to,
                    "{\"kind\":\"function\",\"target\":\"%s\",\"function\":\"%s\",\"kernels\":%u,"
                    "\"products\":%u,\"saved\":%lld,\"stored_first\":%u,\"temporaries\":%lld}\n",
                    x->target, name, s.kernels, s.products, (long long)s.saved, s.refused,
                    (long long)s.temporaries);
    else if (s.kernels)
        text_printf(x->to, "%-14s %7u %9u %14s %13u %12s\n", name, s.kernels, s.products,
                    bytes_text(a, s.saved), s.refused, bytes_text(a, s.temporaries));
}

static void put_summary(const Explain *x, bool json) {
    int64_t bytes[STATE_KINDS] = {0};
    Arena *a = x->d->arena;
    for (StateId s = 0; s < x->m->states.n; s++)
        bytes[x->m->states.at[s].kind] += type_bytes(type_at(x->m, x->m->states.at[s].type));
    int64_t moments = bytes[STATE_moment] + bytes[STATE_stat] + bytes[STATE_counter];
    const char *shadows = "";
    if (bytes[STATE_shadow])
        shadows = arena_printf(a, ", their shadows %s", bytes_text(a, bytes[STATE_shadow]));
    if (json)
        text_printf(x->to,
                    "{\"kind\":\"module\",\"target\":\"%s\",\"parameters\":%lld,\"moments\":%lld,"
                    "\"shadows\":%lld,\"accumulators\":%lld}\n",
                    x->target, (long long)bytes[STATE_param], (long long)moments,
                    (long long)bytes[STATE_shadow], (long long)bytes[STATE_accum]);
    else
        text_printf(x->to,
                    "%s: parameters %s%s, moments %s, accumulators %s\n\n"
                    "%-14s %7s %9s %14s %13s %12s\n",
                    x->target, bytes_text(a, bytes[STATE_param]), shadows, bytes_text(a, moments),
                    bytes_text(a, bytes[STATE_accum]), "function", "kernels", "products",
                    "traffic saved", "stored first", "temporaries");
    for (FuncId i = 0; i < x->m->funcs.n; i++)
        if (!x->m->funcs.at[i]->region) put_summary_line(x, x->m->funcs.at[i], json);
    if (!json) text_put(x->to, "\n", 1);
}

// ---- why not: what is asked for -----------------------------------------------------------------

// A path of values as in the plan, or FILE:LINE.
typedef struct {
    const char *text;
    uint32_t file, line; // file 0: a path
    bool whole; // some value is called just so: what is below it, or its gradient, is not meant
    bool found; // some value is selected
} Asked;

static const char *name_of(const Module *m, const Node *n) {
    const char *name = sym_str(m->syms, n->name);
    return *name ? name : op_info[n->op].name;
}

// Constants and the like keep the name of the place where they stood first.
static bool is_shared(const Node *n) { return op_info[n->op].kind == OPK_LEAF; }

static bool is_a_name(const Module *m, const char *text) {
    for (FuncId f = 0; f < m->funcs.n; f++)
        for (NodeId n = 0; n < m->funcs.at[f]->nodes.n; n++) {
            const Node *node = node_at(m->funcs.at[f], n);
            if (!is_shared(node) && path_is(text, name_of(m, node))) return true;
        }
    return false;
}

static Asked asked(const Explain *x, const char *text) {
    Asked w = {.text = text, .whole = is_a_name(x->m, text)};
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")]) return w;
    size_t n = (size_t)(colon - text);
    for (uint32_t i = 1; i < x->m->diag->files.n; i++) {
        const char *path = x->m->diag->files.at[i].path;
        size_t m = strlen(path);
        bool ends = m >= n && memcmp(path + m - n, text, n) == 0;
        if (ends && (m == n || path[m - n - 1] == '/')) w.file = i;
    }
    w.line = (uint32_t)strtoul(colon + 1, NULL, 10);
    return w;
}

static bool is_asked(const Explain *x, const Asked *w, const char *name, Loc loc) {
    if (!w->file) return w->whole ? path_is(w->text, name) : path_selects(w->text, name);
    if (loc.file != w->file) return false;
    uint32_t line, column;
    diag_position(x->m->diag, loc, &line, &column);
    return line == w->line;
}

// ---- groups -------------------------------------------------------------------------------------

enum { HAS_A = 1, HAS_B = 2 };

typedef struct {
    const Explain *x;
    const Func *f;
    uint32_t count;  // of groups
    uint8_t *has;    // by number of a group
    FuncId *body;    // likewise; NONE
    uint32_t *come;  // pair by which a walk came to a group, plus one
    uint32_t *pair;  // pairs of this function, in order of their source's group
    uint32_t *first; // by group: its first one there
    Asked *a, *b;
} Question;

// Group 12 of micro has the body micro.g12.
static uint32_t group_number(const Explain *x, FuncId body) {
    const char *dot = strrchr(sym_str(x->m->syms, x->m->funcs.at[body]->name), '.');
    return dot && dot[1] == 'g' ? (uint32_t)strtoul(dot + 2, NULL, 10) : UINT32_MAX;
}

static uint8_t what_is(const Question *q, const char *name, Loc loc) {
    uint8_t a = is_asked(q->x, q->a, name, loc) ? HAS_A : 0;
    return (uint8_t)(a | (is_asked(q->x, q->b, name, loc) ? HAS_B : 0));
}

static void look_at_group(Question *q, FuncId id) {
    const Func *body = q->x->m->funcs.at[id];
    uint32_t g = group_number(q->x, id);
    if (g >= q->count) return;
    q->body[g] = id;
    for (NodeId n = 0; n < body->nodes.n; n++) {
        const Node *node = node_at(body, n);
        if (is_shared(node)) continue;
        q->has[g] |= what_is(q, name_of(q->x->m, node), node->loc);
    }
    q->a->found |= (q->has[g] & HAS_A) != 0;
    q->b->found |= (q->has[g] & HAS_B) != 0;
}

static void sort_pairs(Question *q) {
    const Ledger *l = q->x->l;
    for (uint32_t i = 0; i < l->pairs.n; i++)
        if (l->pairs.at[i].func == q->f->name) q->first[l->pairs.at[i].from + 1]++;
    for (uint32_t g = 0; g < q->count; g++) q->first[g + 1] += q->first[g];
    uint32_t *at = arena_copy(q->x->d->arena, q->first, sizeof *q->first * (q->count + 1));
    for (uint32_t i = 0; i < l->pairs.n; i++)
        if (l->pairs.at[i].func == q->f->name) q->pair[at[l->pairs.at[i].from]++] = i;
}

static Question question(const Explain *x, const Func *f, Asked *a, Asked *b) {
    Question q = {.x = x, .f = f, .a = a, .b = b};
    Arena *arena = x->d->arena;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_group) {
            uint32_t g = group_number(x, attr_of(x->m, f, n)->group.body);
            if (g != UINT32_MAX && g + 1 > q.count) q.count = g + 1;
        }
    q.has = NEW_ARRAY(arena, uint8_t, q.count + 1);
    q.body = NEW_ARRAY(arena, FuncId, q.count + 1);
    q.come = NEW_ARRAY(arena, uint32_t, q.count + 1);
    q.first = NEW_ARRAY(arena, uint32_t, q.count + 2);
    q.pair = NEW_ARRAY(arena, uint32_t, x->l->pairs.n + 1);
    memset(q.body, 0xff, sizeof *q.body * (q.count + 1));
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_group) look_at_group(&q, attr_of(x->m, f, n)->group.body);
    sort_pairs(&q);
    return q;
}

// ---- answers ------------------------------------------------------------------------------------

// Pairs that agree over the layers are one answer.
typedef struct {
    const FusePair *pair;
    const char *source, *reader; // with '*' for instance numbers
    uint32_t count, readers;     // readers: kernels that read the source
    int64_t bytes;               // of all of them: written once, read by each
} Answer;
typedef VEC(Answer) Answers;

static uint32_t readers_of(const Question *q, const FusePair *p) {
    uint32_t readers = 0, last = UINT32_MAX;
    for (uint32_t i = q->first[p->from]; i < q->first[p->from + 1]; i++) {
        const FusePair *o = &q->x->l->pairs.at[q->pair[i]];
        if (o->to == last || strcmp(o->source.name, p->source.name) != 0) continue;
        readers++;
        last = o->to;
    }
    return readers;
}

static void add_answer(const Question *q, Answers *to, const FusePair *p) {
    Arena *a = q->x->d->arena;
    Answer n = {.pair = p,
                .source = ledger_class(a, p->source.name),
                .reader = ledger_class(a, p->reader.name),
                .count = 1,
                .readers = readers_of(q, p)};
    n.bytes = p->bytes * (1 + (int64_t)n.readers);
    for (uint32_t i = 0; i < to->n; i++) {
        Answer *o = &to->at[i];
        if (strcmp(o->source, n.source) || strcmp(o->reader, n.reader) || o->pair->why != p->why ||
            o->pair->besides != p->besides)
            continue;
        o->count++;
        o->bytes += n.bytes;
        return;
    }
    vec_push(a, to, n);
}

static const char *figures(const Question *q, const Answer *n) {
    Arena *a = q->x->d->arena;
    const FusePair *p = n->pair;
    Text t = {.arena = a};
    text_printf(&t, "%s stored and read by %u kernel%s: %s of traffic", bytes_text(a, p->bytes),
                n->readers, n->readers == 1 ? "" : "s", bytes_text(a, n->bytes));
    if (n->count > 1) text_printf(&t, " for all %u", n->count);
    if (p->why == REFUSAL_later) text_printf(&t, "; %s is made later", ledger_class(a, p->late));
    if (p->why == REFUSAL_arguments || p->besides == REFUSAL_arguments)
        text_printf(&t, "; one kernel would read %u values", p->reads);
    return t.at;
}

static void put_pair(const Question *q, const Answer *n, bool json) {
    const FusePair *p = n->pair;
    const RefusalInfo *why = &refusal_info[p->why], *besides = &refusal_info[p->besides];
    const char *func = sym_str(q->x->m->syms, q->f->name);
    Text *to = q->x->to;
    if (json) {
        text_printf(to, "{\"kind\":\"why_not\",\"target\":\"%s\",\"function\":\"%s\",\"source\":",
                    q->x->target, func);
        text_put_json(to, n->source);
        text_printf(to, ",\"reader\":");
        text_put_json(to, n->reader);
        text_printf(
            to, ",\"count\":%u,\"rule\":\"%s\",\"besides\":\"%s\",\"bytes\":%lld,\"readers\":%u}\n",
            n->count, why->name, p->besides ? besides->name : "", (long long)p->bytes, n->readers);
        return;
    }
    text_printf(to, "%s: %s -> %s", func, n->source, n->reader);
    if (n->count > 1) text_printf(to, " x %u", n->count);
    text_printf(to, "\n  rule     %s: %s", why->name, why->reason);
    if (p->besides) text_printf(to, "; and by itself, %s: %s", besides->name, besides->reason);
    text_printf(to, "\n  figures  %s\n  change   %s\n", figures(q, n),
                p->besides ? besides->change : why->change);
}

// All pairs of which one is A and the other B, or else one's kernel computes A and the other's B.
static void neighbours(const Question *q, Answers *to) {
    for (int whole = 0; whole < 2 && !to->n; whole++)
        for (uint32_t i = 0; i < q->first[q->count]; i++) {
            const FusePair *p = &q->x->l->pairs.at[q->pair[i]];
            uint8_t from = whole ? q->has[p->from] : what_is(q, p->source.name, p->source.loc);
            uint8_t into = whole ? q->has[p->to] : what_is(q, p->reader.name, p->reader.loc);
            if ((from & HAS_A && into & HAS_B) || (from & HAS_B && into & HAS_A))
                add_answer(q, to, p);
        }
}

// The shortest way along reads from a group that has `from` to one that has `into`; false: there is none.
static bool find_way(Question *q, uint8_t from, uint8_t into, Answers *to) {
    VEC(uint32_t) queue = {0};
    Arena *a = q->x->d->arena;
    uint8_t *seen = NEW_ARRAY(a, uint8_t, q->count + 1);
    memset(q->come, 0, sizeof *q->come * (q->count + 1));
    for (uint32_t g = 0; g < q->count; g++)
        if (q->has[g] & from) {
            seen[g] = 1;
            vec_push(a, &queue, g);
        }
    for (uint32_t i = 0; i < queue.n; i++) {
        uint32_t g = queue.at[i];
        if (q->has[g] & into && q->come[g]) {
            VEC(uint32_t) way = {0};
            for (; q->come[g]; g = q->x->l->pairs.at[q->come[g] - 1].from)
                vec_push(a, &way, q->come[g] - 1);
            while (way.n) add_answer(q, to, &q->x->l->pairs.at[way.at[--way.n]]);
            return true;
        }
        for (uint32_t k = q->first[g]; k < q->first[g + 1]; k++) {
            uint32_t next = q->x->l->pairs.at[q->pair[k]].to;
            if (seen[next]) continue;
            seen[next] = 1;
            q->come[next] = q->pair[k] + 1;
            vec_push(a, &queue, next);
        }
    }
    return false;
}

static void put_together(const Question *q, bool json) {
    const char *func = sym_str(q->x->m->syms, q->f->name);
    uint32_t count = 0, g = 0;
    for (uint32_t i = 0; i < q->count; i++)
        if (q->has[i] == (HAS_A | HAS_B) && count++ == 0) g = i;
    if (!count) return;
    if (json) {
        text_printf(q->x->to,
                    "{\"kind\":\"together\",\"target\":\"%s\",\"function\":\"%s\",\"count\":%u}\n",
                    q->x->target, func, count);
        return;
    }
    const Func *body = q->x->m->funcs.at[q->body[g]];
    NodeId last = body->results.at[body->results.n - 1].node;
    const char *name = ledger_class(q->x->d->arena, name_of(q->x->m, node_at(body, last)));
    text_printf(q->x->to, "%s: one kernel computes both, that of %s", func, name);
    if (count > 1) text_printf(q->x->to, " x %u", count);
    text_put(q->x->to, "\n", 1);
}

static bool has_both(const Question *q) {
    uint8_t all = 0;
    for (uint32_t g = 0; g < q->count; g++) all |= q->has[g];
    return all == (HAS_A | HAS_B);
}

// Whether there was something to say of the function.
static bool answer(Question *q, bool json) {
    Answers found = {0};
    if (!has_both(q)) return false;
    put_together(q, json);
    neighbours(q, &found);
    bool together = false;
    for (uint32_t g = 0; g < q->count; g++) together |= q->has[g] == (HAS_A | HAS_B);
    const char *func = sym_str(q->x->m->syms, q->f->name);
    if (!found.n && !together) {
        bool way = find_way(q, HAS_A, HAS_B, &found) || find_way(q, HAS_B, HAS_A, &found);
        if (!json && way)
            text_printf(q->x->to, "%s: between %s and %s stand others; the shortest way:\n", func,
                        q->a->text, q->b->text);
        if (!json && !way)
            text_printf(q->x->to,
                        "%s: neither %s nor %s reads the other, or what is made of it: kernels are "
                        "formed along what is read\n",
                        func, q->a->text, q->b->text);
    }
    for (uint32_t i = 0; i < found.n; i++) put_pair(q, &found.at[i], json);
    return true;
}

// A name that no kernel computes: was it ever there, and what is written alike.
static void not_there(const Explain *x, const Asked *w) {
    const char *near = NULL;
    const Module *m = x->m;
    for (FuncId f = 0; f < m->funcs.n; f++)
        for (NodeId n = 0; n < m->funcs.at[f]->nodes.n; n++)
            near = sn_nearer(w->text, near, name_of(m, node_at(m->funcs.at[f], n)));
    const char *hint = near ? arena_printf(x->d->arena, "; did you mean '%s'?", near)
                            : "; it is a state or an input, or simplification left nothing of it";
    diag_error(m->diag, (Loc){0}, "--why-not: no kernel computes '%s'%s", w->text, hint);
}

static bool why_not(const Explain *x, bool json) {
    Asked a = asked(x, x->d->o.why_not[0]), b = asked(x, x->d->o.why_not[1]);
    bool some = false;
    for (FuncId i = 0; i < x->m->funcs.n; i++) {
        if (x->m->funcs.at[i]->region) continue;
        Question q = question(x, x->m->funcs.at[i], &a, &b);
        some |= answer(&q, json);
    }
    if (!a.found) not_there(x, &a);
    if (!b.found) not_there(x, &b);
    if (a.found && b.found && !some && !json)
        text_printf(x->to, "no function computes both %s and %s\n", a.text, b.text);
    return a.found && b.found;
}

bool explain(Driver *d, Text *to) {
    bool json = d->o.json;
    Explain x = {.d = d, .m = d->program->m, .l = d->ledger, .target = d->family, .to = to};
    if (d->o.why_not[0]) return why_not(&x, json);
    if (d->o.pareto) explain_pareto(d, to);
    if (d->o.kept) explain_kept(d, to);
    if (d->o.pareto || d->o.kept) return true;
    put_summary(&x, json);
    if (json)
        ledger_print_json(d->ledger, d->diag, d->family, to);
    else
        ledger_print(d->ledger, to);
    return true;
}

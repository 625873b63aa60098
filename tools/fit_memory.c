// See fit.h. One device's bytes are those of the plan. Of several ranks, each with the plan's micro-batch, states
// are divided as ZeRO does it (Rajbhandari et al., arXiv 1910.02054): stage 1 moments and masters, 2 the sums of
// gradients too, 3 the parameters too. What a round needs whole for a while is counted beside them.
#include "tools/fit.h"
#include <string.h>

// Bytes that NCCL takes for a communicator of two ranks, of more (nccl#964: A100, NVLink).
enum { NCCL_TWO = 544 << 20, NCCL_MORE = 688 << 20 };

static const struct {
    uint32_t stage;
    const char *text;
} held_info[HELD_COUNT] = {
#define HOLD(name, stage, text) [HELD_##name] = {stage, text},
    HELD(HOLD)
#undef HOLD
};

// ---- states -------------------------------------------------------------------------------------

static Held held_of(const State *s, bool read) {
    switch ((StateKind)s->kind) {
    case STATE_param: return read ? HELD_direct : HELD_master;
    case STATE_moment:
    case STATE_stat:
    case STATE_counter: return HELD_moment;
    case STATE_accum: return HELD_sum;
    case STATE_shadow: return HELD_shadow;
    case STATE_KINDS: break;
    }
    unreachable(s->kind);
}

// By state: a micro-batch reads it itself, and not a shadow of it, which may be one for several.
static uint8_t *read_by_products(Arena *a, const Module *m) {
    uint8_t *read = NEW_ARRAY(a, uint8_t, m->states.n + 1);
    const Func *f = module_find(m, "micro");
    bool shadows = false;
    for (StateId s = 0; s < m->states.n; s++) shadows |= m->states.at[s].kind == STATE_shadow;
    if (!shadows) memset(read, 1, m->states.n);
    for (NodeId n = 0; f && n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_state) read[attr_of(m, f, n)->state.state] = 1;
    return read;
}

// "h.3" of "h.3.attn.wq"; all of a path that has no number.
static size_t round_name(const char *path) {
    for (const char *s = path; (s = strchr(s, '.'));) {
        size_t n = strspn(++s, "0123456789");
        if (n && s[n] == '.') return (size_t)(s - path) + n;
    }
    return strlen(path);
}

static void add_state(Holding *k, const Type *t, int64_t align, int64_t *round) {
    k->mixed |= k->count && k->elem != t->elem;
    k->elem = t->elem;
    k->count += type_count(t);
    k->bytes += (type_bytes(t) + align - 1) / align * align;
    *round += type_bytes(t);
    if (*round > k->round) k->round = *round;
}

void fit_hold(const Module *m, int64_t align, FitBuilt *to) {
    Arena *a = arena_new();
    Map at = {.arena = a};
    VEC(int64_t) rounds = {0};
    uint8_t *read = read_by_products(a, m);
    memset(to->held, 0, sizeof to->held);
    for (StateId s = 0; s < m->states.n; s++) {
        const State *st = &m->states.at[s];
        bool of = st->of != NONE && st->kind != STATE_param, fresh;
        const char *path = sym_str(m->syms, of ? m->states.at[st->of].path : st->path);
        Held held = held_of(st, read[s]);
        uint64_t key = hash_u64(hash_bytes(HASH_SEED, path, round_name(path)), held);
        uint32_t *slot = map_slot(&at, key, &fresh);
        if (fresh) {
            *slot = rounds.n;
            vec_push(a, &rounds, 0);
        }
        add_state(&to->held[held], type_at(m, st->type), align, &rounds.at[*slot]);
    }
    arena_free(a);
}

// ---- terms --------------------------------------------------------------------------------------

typedef struct {
    const Fit *x;
    const FitBuilt *b;
    uint32_t zero, ranks;
    Terms *to; // NULL: only the sum is asked for
} TermSum;

static int64_t put(TermSum *c, const char *name, int64_t bytes, int64_t unsure,
                   const char *formula) {
    if (c->to && bytes) vec_push(c->x->d->arena, c->to, ((Term){name, formula, bytes, unsure}));
    return bytes;
}

// Whole on each rank, or divided.
static int64_t put_held(TermSum *c, Held held) {
    const Holding *k = &c->b->held[held];
    Arena *a = c->x->d->arena;
    const char *formula = "", *by = "";
    bool divided = c->ranks > 1 && c->zero >= held_info[held].stage;
    int64_t bytes = divided ? (k->bytes + c->ranks - 1) / c->ranks : k->bytes;
    if (!c->to || !bytes) return bytes;
    if (divided) by = arena_printf(a, " / %u ranks", c->ranks);
    if (k->mixed)
        formula = arena_printf(a, "%lld numbers of several types%s", (long long)k->count, by);
    else
        formula = arena_printf(a, "%lld x %u B (%s)%s", (long long)k->count,
                               elem_info[k->elem].bytes, elem_info[k->elem].name, by);
    return put(c, held_info[held].text, bytes, 0, formula);
}

static int64_t put_ranks(TermSum *c) {
    if (c->ranks < 2) return 0;
    int64_t all = 0, nccl = c->ranks == 2 ? NCCL_TWO : NCCL_MORE;
    const Holding *h = c->b->held;
    if (c->zero >= 2)
        all += put(c, "gradients of a round", h[HELD_sum].round, 0,
                   "the largest, before it is scattered");
    if (c->zero >= 3)
        all += put(c, "parameters of two rounds", 2 * (h[HELD_shadow].round + h[HELD_direct].round),
                   0, "gathered: one in use, the next on its way");
    return all + put(c, "collectives", nccl, nccl / 4, "NCCL, for one communicator");
}

// What is neither a state nor temporary.
static void put_rest(TermSum *c) {
    const SnLayout *l = &c->b->layout;
    int64_t rest = l->all - l->staging - l->tables - l->workspace - l->shared - l->scratch;
    for (int r = 0; r < SN_REGION_HOST; r++) rest -= c->b->region[r];
    put(c, "inputs and scalars", c->b->region[REGION_input] + c->b->region[REGION_scalar], 0,
        "of a micro-batch");
    put(c, "staging", l->staging, 0, "inputs of the micro-batches to come");
    put(c, "tables of arguments", l->tables, 0, "of kernels that are started together");
    put(c, "workspace of cuBLASLt", l->workspace, 0, "one for all products");
    put(c, "shared panels", l->shared, 0, "packed operands, of the greediest product");
    put(c, "scratch", l->scratch, 0,
        arena_printf(c->x->d->arena, "of %d threads", c->x->fleet.threads));
    put(c, "between", rest, 0, "ends of pages and places");
}

int64_t fit_states(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks) {
    TermSum c = {x, b, zero, ranks, NULL};
    int64_t all = 0;
    for (Held h = 0; h < HELD_COUNT; h++) all += put_held(&c, h);
    return all;
}

int64_t fit_weights(const FitBuilt *b, uint32_t zero, uint32_t ranks) {
    int64_t bytes = b->held[HELD_shadow].bytes + b->held[HELD_direct].bytes;
    return zero >= 3 ? bytes / ranks : bytes;
}

int64_t fit_bytes(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks) {
    TermSum c = {x, b, zero, ranks, NULL};
    int64_t besides = b->layout.all;
    for (int r = REGION_param; r <= REGION_accum; r++) besides -= b->region[r];
    return fit_states(x, b, zero, ranks) + besides + put_ranks(&c) + x->fleet.context;
}

void fit_terms(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks, Terms *to) {
    TermSum c = {x, b, zero, ranks, to};
    int64_t temp = b->region[REGION_temp], kept = b->kept < temp ? b->kept : temp;
    for (Held h = 0; h < HELD_COUNT; h++) put_held(&c, h);
    put(&c, "kept for the backward pass", kept, 0, "alive when it starts");
    put(&c, "working set", temp - kept, 0,
        b->temp_other > b->temp_micro ? "temporaries of another function beyond that"
                                      : "what the peak needs beyond that");
    put_rest(&c);
    put_ranks(&c);
    put(&c, "context and code", x->fleet.context, x->fleet.uncertain, "driver, kernels, cuBLASLt");
}

// See oracle.h. Memory of the evaluated plan is one block per region, as the runtime has it.
#include "tests/oracle/oracle.h"
#include "ir/scalar.h"
#include "passes/pipeline.h"
#include "tests/oracle/emulated.h"
#include "tests/oracle/native.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- values from a seed -------------------------------------------------------------------------

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// The nearest that the type holds.
static double held(Elem e, double x) {
    Elem wide = (Elem)elem_info[e].computes;
    return scalar_from_bits(e, scalar_eval(OP_cast, wide, e, scalar_to_bits(wide, x), 0, 0));
}

// What rounds, saturates, overflows, wraps or is no number.
static double edge(Elem e, int64_t i) {
    static const double real[] = {
        0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3.1415927410125732, 1e-20, 1e20, 0x1p-149,
        -0x1p-149, 0x1p-126, 0x1.fffffep127, -0x1.fffffep127, 0x1p23, 0x1p31, -0x1p31, 0x1p32,
        88.75, -103.5, INFINITY, -INFINITY, NAN,
        // ties and ends of narrow types, and just beside them
        0x1.01p0, 0x1.03p0, 0x1.010002p0, 0x1.00fffep0, -0x1.feffp127, 0x1.ff00p127, 0x1.002p0,
        0x1.006p0, 65504, 65519.99609375, -65520, 0x1p-14, 0x1.ffcp-15, 0x1.ffep-15, 0x1p-24,
        0x1p-25, 0x1.000002p-25, 0x1.8p-24, -0x1.4p-23};
    static const double whole[] = {0,  1,  -1,    2,          7,           -7,           31,
                                   32, 33, 65537, 2147483647, -2147483647, -2147483648.0};
    size_t reals = sizeof real / sizeof *real, wholes = sizeof whole / sizeof *whole;
    switch ((ElemKind)elem_info[e].kind) {
    case ELEM_FLOAT: return held(e, real[(size_t)i % reals]);
    case ELEM_INT: return held(e, whole[(size_t)i % wholes]);
    case ELEM_UINT: return held(e, (double)(uint32_t)(int64_t)whole[(size_t)i % wholes]);
    case ELEM_BOOL: return (double)(i % 2);
    }
    unreachable(e);
}

// Floats in [-2, 2), some exact zeros; integers in [0, range); the scalar `first` is 1. Inputs named
// edge.… take the edges of their type in turn.
static void draw(const Module *m, const char *name, TypeId type, int64_t range, uint64_t seed,
                 double *out) {
    const Type *t = type_at(m, type);
    uint64_t h = hash_bytes(hash_u64(HASH_SEED, seed), name, strlen(name));
    bool edges = strncmp(name, "edge.", 5) == 0;
    for (int64_t i = 0; i < type_count(t); i++) {
        uint64_t r = mix(h + (uint64_t)i);
        if (edges)
            out[i] = edge((Elem)t->elem, i);
        else if (elem_info[t->elem].kind == ELEM_FLOAT)
            out[i] = r % 31 == 0 ? 0 : held((Elem)t->elem, (double)(r >> 40) / (1 << 22) - 2);
        else if (t->elem == ELEM_bool)
            out[i] = (double)(r >> 63);
        else
            out[i] = (double)((r >> 20) % (uint64_t)(range > 0 ? range : 7));
    }
}

typedef struct {
    Module *m;
    uint64_t seed;
} Source;

static int64_t range_of(const Module *m, const char *name) {
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n; n++) {
            if (node_at(m->funcs.at[i], n)->op != OP_input) continue;
            const Attr *at = attr_of(m, m->funcs.at[i], n);
            if (strcmp(sym_str(m->syms, at->input.name), name) == 0 && at->input.range)
                return m->axes.at[at->input.range].size;
        }
    return 0;
}

static bool interp_input(void *user, const char *name, TypeId type, double *out) {
    Source *s = user;
    draw(s->m, name, type, range_of(s->m, name), s->seed, out);
    return true;
}

// ---- bytes and values ---------------------------------------------------------------------------

static void to_bytes(Elem e, const double *v, int64_t n, void *out) {
    uint32_t bytes = elem_info[e].bytes; // little-endian
    for (int64_t i = 0; i < n; i++) {
        uint32_t stored = scalar_to_memory(e, scalar_to_bits(e, v[i]));
        memcpy((uint8_t *)out + i * bytes, &stored, bytes);
    }
}

static double value_at(Elem e, const void *p, int64_t i) {
    uint32_t stored = 0, bytes = elem_info[e].bytes;
    memcpy(&stored, (const uint8_t *)p + i * bytes, bytes);
    return scalar_from_bits(e, scalar_from_memory(e, stored));
}

static bool same(double a, double b, bool loose) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (a == b) return loose || signbit(a) == signbit(b);
    return loose && fabs(a - b) <= 1e-4 * (1 + fabs(a));
}

static bool compare(const char *link, const char *func, const char *what, const Type *t,
                    const double *want, const void *got, bool loose, Text *why) {
    for (int64_t i = 0; i < type_count(t); i++) {
        double g = value_at((Elem)t->elem, got, i);
        if (same(want[i], g, loose)) continue;
        text_printf(why, "%s: function '%s', '%s', element %lld: exact interpreter %.9g, here %.9g",
                    link, func, what, (long long)i, want[i], g);
        return false;
    }
    return true;
}

// ---- the plan, evaluated ------------------------------------------------------------------------

typedef struct {
    Arena *a;
    const Module *m;
    uint8_t *region[REGION_COUNT];
    SnEnv env;
} PlanMemory;

static void *at_mem(const PlanMemory *mem, const Mem *p) {
    return mem->region[p->region] + p->offset;
}

static void measure(const Module *m, int64_t bytes[REGION_COUNT]) {
    for (StateId s = 0; s < m->states.n; s++) {
        const State *st = &m->states.at[s];
        int64_t end = st->mem.offset + type_bytes(type_at(m, st->type));
        if (end > bytes[st->mem.region]) bytes[st->mem.region] = end;
    }
    for (FuncId i = 0; i < m->funcs.n; i++) {
        const Func *f = m->funcs.at[i];
        for (NodeId n = 0; n < f->mem.n; n++) {
            int64_t end = f->mem.at[n].offset + type_bytes(type_of(m, f, n));
            if (end > bytes[f->mem.at[n].region]) bytes[f->mem.at[n].region] = end;
        }
    }
}

static PlanMemory memory_new(Arena *a, const Module *m) {
    PlanMemory mem = {.a = a, .m = m, .env = {.first = 1, .step = 3, .seed = 77}};
    int64_t bytes[REGION_COUNT] = {0};
    measure(m, bytes);
    for (int r = 0; r < REGION_COUNT; r++) {
        mem.region[r] = arena_alloc(a, (size_t)bytes[r] + 64);
        if (r == REGION_temp || r == REGION_accum || r == REGION_host)
            memset(mem.region[r], 0xcd, (size_t)bytes[r]); // poison
    }
    return mem;
}

static void *ref_at(const PlanMemory *mem, const Func *f, NodeId group, LowerRef r) {
    Mem place = lowered_place(mem->m, f, group, r);
    return at_mem(mem, &place);
}

// Offset of linear index i over nested dims in matrix `which` (0 a, 1 b, 2 c).
static int64_t dim_offset(const SnDim *d, uint32_t n, int64_t i, int which) {
    int64_t at = 0;
    for (uint32_t k = n; k-- > 0; i /= d[k].extent) {
        int64_t s = which == 0 ? d[k].a : which == 1 ? d[k].b : d[k].c;
        at += i % d[k].extent * s;
    }
    return at;
}
static int64_t total(const SnDim *d, uint32_t n) {
    int64_t t = 1;
    for (uint32_t i = 0; i < n; i++) t *= d[i].extent;
    return t;
}

// A matrix in memory, read one element at a time.
typedef struct {
    const void *at;
    Elem elem;
} Matrix;
static float element_of(const Matrix *x, int64_t i) { return (float)value_at(x->elem, x->at, i); }

// One term of a chain after the other; of two bf16 operands the odd one of a pair first.
static float chain(const SnGemm *g, const Matrix *a, int64_t a0, const Matrix *b, int64_t b0,
                   int64_t k) {
    bool pairs = a->elem == ELEM_bf16 && b->elem == ELEM_bf16;
    float sum = 0;
    for (int64_t from = 0; from < k || from == 0; from += FOLD_SEGMENT) {
        float part = 0;
        int64_t to = from + FOLD_SEGMENT < k ? from + FOLD_SEGMENT : k;
        for (int64_t q = from; q < to + (pairs && to % 2); q++) {
            int64_t i = pairs ? q ^ 1 : q;
            float x = i < to ? element_of(a, a0 + dim_offset(g->k, g->nk, i, 0)) : 0;
            float y = i < to ? element_of(b, b0 + dim_offset(g->k, g->nk, i, 1)) : 0;
            part = pairs ? scalar_fma_flushed(x, y, part) : fmaf(x, y, part);
        }
        sum = k <= FOLD_SEGMENT ? part : sum + part;
    }
    return sum;
}

static void *part_at(PlanMemory *mem, const Func *f, const SectionCommand *s, SnGemmPart part) {
    const LowerParts *p = &s->low.gemm.parts;
    if (!(p->has & sn_gemm_bit(part))) return NULL;
    return ref_at(mem, f, s->node, p->part[part]);
}

static bool run_gemm(PlanMemory *mem, const Func *f, const SectionCommand *s, Text *why) {
    const LowerGemm *l = &s->low.gemm;
    const SnGemm *g = &l->gemm;
    const Matrix a = {ref_at(mem, f, s->node, l->a), (Elem)g->elem_a};
    const Matrix b = {ref_at(mem, f, s->node, l->b), (Elem)g->elem_b};
    float *c = part_at(mem, f, s, SN_GEMM_C);
    const float *acc = part_at(mem, f, s, SN_GEMM_ACC);
    int64_t nb = total(g->batch, g->nbatch), nm = total(g->m, g->nm), nn = total(g->n, g->nn),
            nk = total(g->k, g->nk);
    float *tile = arena_alloc(mem->a, (size_t)(nb * nm * nn) * 4 + 4);
    for (int64_t i = 0; i < nb * nm * nn; i++) {
        int64_t bi = i / (nm * nn), mi = i / nn % nm, ni = i % nn;
        int64_t ao =
            g->base_a + dim_offset(g->batch, g->nbatch, bi, 0) + dim_offset(g->m, g->nm, mi, 0);
        int64_t bo =
            g->base_b + dim_offset(g->batch, g->nbatch, bi, 1) + dim_offset(g->n, g->nn, ni, 1);
        int64_t co = dim_offset(g->batch, g->nbatch, bi, 2) + dim_offset(g->m, g->nm, mi, 2) +
                     dim_offset(g->n, g->nn, ni, 2);
        float v = chain(g, &a, ao, &b, bo, nk);
        if (acc) v = (g->acc_first && mem->env.first ? 0.0f : acc[co]) + v;
        tile[i] = v;
        if (c) c[co] = v;
    }
    if (!s->low.kernel) return true;
    void *bufs[K_MAX_ARGS];
    for (uint32_t i = 0; i < s->low.refs.n; i++)
        bufs[i] = ref_at(mem, f, s->node, s->low.refs.at[i]);
    KRect all = {(float *[]){tile}, nn, 0, nb * nm, 0, nn};
    return kernel_interp(s->low.kernel, bufs, &mem->env, &all, why);
}

// ---- attention, with whole tiles

typedef struct {
    const SnAttend *a;
    int64_t outer[SN_ATTEND_OUTER], rows; // of the kernel: outer x rows
} WholeAttend;

static int64_t offset_in(const WholeAttend *w, const SnAttendPart *p, bool y, int64_t step,
                         int64_t feature) {
    int64_t at = (y ? p->base_y : p->base_x) + step * (y ? p->step_y : p->step_x);
    for (uint32_t i = 0; i < w->a->nouter; i++)
        at += w->outer[i] * (y ? p->outer_y[i] : p->outer_x[i]);
    return at + dim_offset(p->f, p->nf, feature, y ? 1 : 0);
}
static float factor(const WholeAttend *w, const SnAttendPart *p, bool y, const void *at,
                    int64_t step, int64_t feature) {
    const Matrix m = {at, (Elem)(y ? p->elem_y : p->elem_x)};
    return element_of(&m, offset_in(w, p, y, step, feature));
}

static void set_outer(WholeAttend *w, int64_t number) {
    for (uint32_t i = w->a->nouter; i-- > 0;) {
        w->outer[i] = number % w->a->outer[i];
        number /= w->a->outer[i];
    }
}

// A chain in segments of 4096, one addition at a time. In pairs the even element waits for the odd one.
typedef struct {
    float chain, total, a, b;
    int64_t n;
} FmaChain;
static float pair_end(const FmaChain *c, float a, float b) {
    return scalar_fma_flushed(c->a, c->b, scalar_fma_flushed(a, b, c->chain));
}
static void chain_add(FmaChain *c, bool pairs, float a, float b) {
    if (c->n && c->n % 4096 == 0) c->total += c->chain, c->chain = 0;
    if (pairs && c->n % 2)
        c->chain = pair_end(c, a, b);
    else if (pairs)
        c->a = a, c->b = b;
    else
        c->chain = fmaf(a, b, c->chain);
    c->n++;
}
static float chain_end(const FmaChain *c, bool pairs) {
    float chain = pairs && c->n % 2 ? pair_end(c, 0, 0) : c->chain;
    return c->n > 4096 ? c->total + chain : chain;
}

static void whole_product(WholeAttend *w, const SnAttendPart *p, const void *x, const void *y,
                          float *tile) {
    bool pairs = sn_attend_pairs(p);
    int64_t features = total(p->f, p->nf);
    for (int64_t r = 0; r < w->rows; r++) {
        set_outer(w, r / w->a->rows);
        for (int64_t k = 0; k < w->a->keys; k++) {
            FmaChain c = {0};
            for (int64_t i = 0; i < features; i++)
                chain_add(&c, pairs, factor(w, p, false, x, r % w->a->rows, i),
                          factor(w, p, true, y, k, i));
            tile[r * w->a->keys + k] = chain_end(&c, pairs);
        }
    }
}

static void whole_keys(WholeAttend *w, const SnAttendPart *p, const void *x, float *y,
                       const float *tile) {
    bool pairs = sn_attend_pairs(p);
    int64_t features = total(p->f, p->nf);
    for (int64_t r = 0; r < w->rows; r++) {
        set_outer(w, r / w->a->rows);
        for (int64_t i = 0; i < features; i++) {
            FmaChain c = {0};
            for (int64_t k = 0; k < w->a->keys; k++)
                chain_add(&c, pairs, tile[r * w->a->keys + k], factor(w, p, false, x, k, i));
            y[offset_in(w, p, true, r % w->a->rows, i)] = chain_end(&c, pairs);
        }
    }
}

// A chain for each element of y: rows come in the order of its sum.
static void whole_rows(PlanMemory *mem, WholeAttend *w, const SnAttendPart *p, const void *x,
                       float *y, const float *tile, int64_t bytes) {
    bool pairs = sn_attend_pairs(p);
    int64_t features = total(p->f, p->nf);
    FmaChain *chains = NEW_ARRAY(mem->a, FmaChain, bytes / 4 + 1);
    for (int64_t r = 0; r < w->rows; r++) {
        set_outer(w, r / w->a->rows);
        for (int64_t k = 0; k < w->a->keys; k++)
            for (int64_t i = 0; i < features; i++) {
                int64_t to = offset_in(w, p, true, k, i);
                FmaChain *c = &chains[to];
                chain_add(c, pairs, tile[r * w->a->keys + k],
                          factor(w, p, false, x, r % w->a->rows, i));
                y[to] = chain_end(c, pairs);
            }
    }
}

static void whole_dense(PlanMemory *mem, WholeAttend *w, const SnAttendPart *p, float *y,
                        const float *tile, int64_t bytes) {
    float *chunk = NEW_ARRAY(mem->a, float, bytes / (int64_t)sizeof(float) + 1);
    int64_t *added = NEW_ARRAY(mem->a, int64_t, bytes / (int64_t)sizeof(float) + 1);
    memset(y, 0, (size_t)bytes);
    for (int64_t r = 0; r < w->rows; r++) {
        set_outer(w, r / w->a->rows);
        for (int64_t k = 0; k < w->a->keys; k++) {
            int64_t at = offset_in(w, p, true, r % w->a->rows, k);
            chunk[at] = chunk[at] + tile[r * w->a->keys + k];
            if (++added[at] % p->chunk) continue;
            y[at] = y[at] + chunk[at];
            chunk[at] = 0;
        }
    }
    for (int64_t at = 0; at < bytes / (int64_t)sizeof(float); at++)
        if (added[at] % p->chunk) y[at] = y[at] + chunk[at];
}

static bool run_attend(PlanMemory *mem, const Func *f, const SectionCommand *s, Text *why) {
    const LowerAttend *l = &s->low.attend;
    WholeAttend w = {.a = &l->attend, .rows = l->attend.rows};
    float *tiles[SN_ATTEND_TILES];
    for (uint32_t i = 0; i < w.a->nouter; i++) w.rows *= w.a->outer[i];
    for (uint32_t i = 0; i < w.a->tiles; i++)
        tiles[i] = NEW_ARRAY(mem->a, float, w.rows *w.a->keys + 1);
    for (uint32_t i = 0; i < w.a->nparts; i++)
        if (w.a->part[i].kind == SN_ATTEND_PRODUCT)
            whole_product(&w, &w.a->part[i], ref_at(mem, f, s->node, l->x[i]),
                          ref_at(mem, f, s->node, l->y[i]), tiles[w.a->part[i].tile]);
    void *bufs[K_MAX_ARGS];
    for (uint32_t i = 0; i < s->low.refs.n; i++)
        bufs[i] = ref_at(mem, f, s->node, s->low.refs.at[i]);
    const KRect all = {tiles, w.a->keys, 0, w.rows, 0, w.a->keys};
    if (!kernel_interp(s->low.kernel, bufs, &mem->env, &all, why)) return false;
    for (uint32_t i = 0; i < w.a->nparts; i++) {
        const SnAttendPart *p = &w.a->part[i];
        float *x = ref_at(mem, f, s->node, l->x[i]);
        float *y = ref_at(mem, f, s->node, l->y[i]);
        if (p->kind == SN_ATTEND_KEYS) whole_keys(&w, p, x, y, tiles[p->tile]);
        if (p->kind == SN_ATTEND_ROWS || p->kind == SN_ATTEND_DENSE) {
            NodeId n = s->node;
            for (NodeId q = n; l->y[i].index && q < f->nodes.n; q++)
                if (node_at(f, q)->op == OP_part && operand(f, q, 0) == s->node &&
                    (uint32_t)attr_of(mem->m, f, q)->part.index == l->y[i].index)
                    n = q;
            int64_t bytes = type_bytes(type_of(mem->m, f, n));
            if (p->kind == SN_ATTEND_ROWS)
                whole_rows(mem, &w, p, x, y, tiles[p->tile], bytes);
            else
                whole_dense(mem, &w, p, y, tiles[p->tile], bytes);
        }
    }
    return true;
}

static bool run_step(PlanMemory *mem, const Func *f, const SectionCommand *s, Text *why) {
    if (s->low.kind == LOWER_copy) {
        NodeId from = operand(f, s->node, 0);
        memmove(at_mem(mem, &f->mem.at[s->node]), at_mem(mem, &f->mem.at[from]),
                (size_t)type_bytes(type_of(mem->m, f, from)));
        return true;
    }
    if (s->low.kind == LOWER_transfer) { // as late as it may be
        if (!op_ends_copy(node_at(f, s->node)->op)) return true;
        NodeId copy = operand(f, s->node, 0), from = operand(f, copy, 0);
        memmove(at_mem(mem, &f->mem.at[copy]), at_mem(mem, &f->mem.at[from]),
                (size_t)type_bytes(type_of(mem->m, f, copy)));
        return true;
    }
    if (s->low.kind == LOWER_gemm) return run_gemm(mem, f, s, why);
    if (s->low.kind == LOWER_attend) return run_attend(mem, f, s, why);
    if (s->low.kind == LOWER_flash) { // tests/unit/test_flash.c
        text_printf(why, "attention on tensor cores has bounds and no bits");
        return false;
    }
    if (s->low.kind == LOWER_scatter) {
        Mem from = lowered_place(mem->m, f, s->node, s->low.from),
            to = lowered_place(mem->m, f, s->node, (LowerRef){.result = true, .index = 0});
        size_t bytes = (size_t)type_bytes(type_of(mem->m, f, s->node));
        NodeId acc = operand(f, s->node, s->low.from.index);
        if (mem->env.first && node_at(f, acc)->op == OP_state &&
            mem->m->states.at[attr_of(mem->m, f, acc)->state.state].kind == STATE_accum)
            memset(at_mem(mem, &from), 0, bytes);
        memmove(at_mem(mem, &to), at_mem(mem, &from), bytes);
    }
    void *bufs[K_MAX_ARGS];
    for (uint32_t i = 0; i < s->low.refs.n; i++)
        bufs[i] = ref_at(mem, f, s->node, s->low.refs.at[i]);
    if (kernel_interp(s->low.kernel, bufs, &mem->env, NULL, why)) return true;
    text_printf(why, " (kernel %s)", s->low.kernel->name);
    return false;
}

// ---- the chain ----------------------------------------------------------------------------------

typedef struct {
    Arena *a;
    Module *m;
    const OracleOptions *o;
    Source source;
    KernelProgram program;
    Text *why;
} OracleCheck;

// A sum that f adds to: env.first must make it zero. One that f only reads is a state as others are.
static bool starts_at_zero(const OracleCheck *c, const Func *f, StateId s) {
    if (c->m->states.at[s].kind != STATE_accum) return false;
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_assign && attr_of(c->m, f, n)->assign.state == s) return true;
    return false;
}

// Moments are not negative, so that a root of one is a number.
static void state_values(const OracleCheck *c, const Func *f, StateId s, double *out) {
    const State *st = &c->m->states.at[s];
    int64_t n = type_count(type_at(c->m, st->type));
    draw(c->m, sym_str(c->m->syms, st->path), st->type, 0, c->o->seed, out);
    for (int64_t i = 0; i < n; i++) {
        if (st->kind == STATE_moment) out[i] = fabs(out[i]);
        if (starts_at_zero(c, f, s)) out[i] = 0;
    }
}

typedef struct {
    Tensor *results;
    Tensor *states;
} Expected;

static bool expect(OracleCheck *c, const Func *f, Expected *e) {
    Interp in;
    interp_init(&in, c->m, INTERP_EXACT, c->a);
    in.input = interp_input;
    in.user = &c->source;
    in.seed = 77;
    in.step = 3;
    for (StateId s = 0; s < c->m->states.n; s++) state_values(c, f, s, in.states[s].at);
    e->results = NEW_ARRAY(c->a, Tensor, f->results.n + 1);
    bool ok = interp_run(&in, f, e->results, NULL, c->why);
    e->states = in.states;
    return ok;
}

static bool same_places(const OracleCheck *c, const char *link, const Func *f, const Expected *e,
                        void *(*place)(void *user, const Mem *m, int64_t bytes), void *user) {
    const char *name = sym_str(c->m->syms, f->name);
    for (uint32_t i = 0; i < f->results.n; i++) {
        NodeId n = f->results.at[i].node;
        if (!compare(link, name, sym_str(c->m->syms, f->results.at[i].name), type_of(c->m, f, n),
                     e->results[i].at, place(user, &f->mem.at[n], type_bytes(type_of(c->m, f, n))),
                     c->o->loose, c->why))
            return false;
    }
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_assign) continue;
        StateId s = attr_of(c->m, f, n)->assign.state;
        const State *st = &c->m->states.at[s];
        if (!compare(link, name, sym_str(c->m->syms, st->path), type_at(c->m, st->type),
                     e->states[s].at, place(user, &st->mem, type_bytes(type_at(c->m, st->type))),
                     c->o->loose, c->why))
            return false;
    }
    return true;
}

static void fill_inputs(const OracleCheck *c, const Func *f,
                        void *(*place)(void *user, const Mem *m, int64_t bytes), void *user) {
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_input) continue;
        const Type *t = type_of(c->m, f, n);
        double *v = NEW_ARRAY(c->a, double, type_count(t) + 1);
        Source s = c->source;
        interp_input(&s, sym_str(c->m->syms, attr_of(c->m, f, n)->input.name), node_at(f, n)->type,
                     v);
        to_bytes((Elem)t->elem, v, type_count(t), place(user, &f->mem.at[n], type_bytes(t)));
    }
    for (StateId s = 0; s < c->m->states.n; s++) {
        const State *st = &c->m->states.at[s];
        if (starts_at_zero(c, f, s)) continue;
        const Type *t = type_at(c->m, st->type);
        double *v = NEW_ARRAY(c->a, double, type_count(t) + 1);
        state_values(c, f, s, v);
        to_bytes((Elem)t->elem, v, type_count(t), place(user, &st->mem, type_bytes(t)));
    }
}

static void *in_memory(void *user, const Mem *m, int64_t bytes) {
    (void)bytes;
    return at_mem(user, m);
}

static bool check_kinterp(OracleCheck *c, const ProgramSection *sec, const Expected *e) {
    const Func *f = c->m->funcs.at[sec->func];
    PlanMemory mem = memory_new(c->a, c->m);
    fill_inputs(c, f, in_memory, &mem);
    for (uint32_t i = 0; i < sec->steps.n; i++)
        if (!run_step(&mem, f, &sec->steps.at[i], c->why)) return false;
    return same_places(c, "kernel evaluator", f, e, in_memory, &mem);
}

static void *in_exec(void *user, const Mem *m, int64_t bytes) {
    (void)bytes;
    return sn_exec_at(user, m->region, m->offset);
}

static bool check_native(OracleCheck *c, Expected *expected) {
    Native n;
    bool ok = native_open(c->a, &c->program,
                          &(NativeOptions){.cpu = c->o->cpu, .threads = c->o->threads}, &n, c->why);
    for (uint32_t i = 0; i < c->program.sections.n && ok; i++) {
        const Func *f = c->m->funcs.at[c->program.sections.at[i].func];
        fill_inputs(c, f, in_exec, n.exec);
        SnEnv env = {.first = 1, .step = 3, .seed = 77};
        sn_exec_run(n.exec, sym_str(c->m->syms, f->name), &env, NULL);
        ok = same_places(c, "native code", f, &expected[i], in_exec, n.exec);
    }
    native_close(&n);
    return ok;
}

// What a device other than the CPU holds is copied: inputs to where the runtime wants them, states into
// its memory. Accumulators and temporaries stay as they are, never written.
typedef struct {
    OracleCheck *c;
    SnExec *exec;
    PlanMemory host;
    bool failed;
} Remote;

static void give_states(const OracleCheck *c, const Func *f, Remote *r) {
    for (StateId s = 0; s < c->m->states.n; s++) {
        const State *st = &c->m->states.at[s];
        if (starts_at_zero(c, f, s)) continue;
        r->failed |=
            sn_exec_write(r->exec, st->mem.region, st->mem.offset, at_mem(&r->host, &st->mem),
                          type_bytes(type_at(c->m, st->type)), NULL) != SN_OK;
    }
}

static void give_inputs(Remote *r, const char *section) {
    const SnPlan *p = sn_exec_plan(r->exec);
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *port = &SN_AT(p, SnPort, inputs)[i];
        const Mem mem = {.region = port->region, .offset = port->offset};
        if (!strcmp(SN_STRING(p, port->section), section))
            memcpy(sn_exec_input(r->exec, port), at_mem(&r->host, &mem), (size_t)port->bytes);
    }
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const SnScalar *s = &SN_AT(p, SnScalar, scalars)[i];
        const Mem mem = {.region = REGION_scalar, .offset = s->offset};
        uint32_t bits = 0;
        memcpy(&bits, at_mem(&r->host, &mem), (size_t)elem_info[s->elem].bytes);
        sn_exec_set(r->exec, SN_STRING(p, s->name), scalar_from_bits((Elem)s->elem, bits));
    }
}

static void *from_remote(void *user, const Mem *m, int64_t bytes) {
    Remote *r = user;
    void *to = arena_alloc(r->c->a, (size_t)bytes + 8);
    SnError e = {0};
    if (sn_exec_read(r->exec, m->region, m->offset, to, bytes, &e) && !r->failed) {
        text_printf(r->c->why, "%s ", e.text);
        r->failed = true;
    }
    return to;
}

static bool check_emulated(OracleCheck *c, Expected *expected) {
    Emulated x;
    const EmulatedOptions how = {
        .target = c->o->emulated, .device = c->o->device, .cache = c->o->cache};
    bool ok = emulated_open(c->a, &c->program, &how, &x, c->why);
    for (uint32_t i = 0; i < c->program.sections.n && ok; i++) {
        const Func *f = c->m->funcs.at[c->program.sections.at[i].func];
        const char *name = sym_str(c->m->syms, f->name);
        Remote r = {.c = c, .exec = x.exec, .host = memory_new(c->a, c->m)};
        SnEnv env = {.first = 1, .step = 3, .seed = 77};
        SnError e = {0};
        fill_inputs(c, f, in_memory, &r.host);
        give_states(c, f, &r);
        give_inputs(&r, name);
        if (sn_exec_run(x.exec, name, &env, &e) || sn_exec_wait(x.exec, &e)) {
            text_printf(c->why, "%s %s, function '%s': %s", how.device ? how.device : "emulated",
                        how.target, name, e.text);
            ok = false;
        }
        ok = ok &&
             same_places(c, how.device ? how.device : "emulated device", f, &expected[i],
                         from_remote, &r) &&
             !r.failed;
    }
    emulated_close(&x);
    return ok;
}

static bool check_all(OracleCheck *c) {
    Module *m = c->m;
    Expected *expected = NEW_ARRAY(c->a, Expected, m->funcs.n + 1);
    uint32_t funcs = m->funcs.n, k = 0;
    for (FuncId i = 0; i < funcs; i++)
        if (!m->funcs.at[i]->region && !expect(c, m->funcs.at[i], &expected[k++])) return false;
    const char *target = c->o->target ? c->o->target : c->o->emulated ? "cuda" : "cpu";
    PassCx cx = {.m = m,
                 .scratch = arena_new(),
                 .ledger = ledger_new(c->a),
                 .target = target_find(target),
                 .unfused = c->o->unfused,
                 .library = c->o->library};
    PassHooks hooks = {.verify = true};
    bool ok = pipeline_run_list(
        &cx, c->o->passes ? c->o->passes : "chunk,layout,fuse,schedule,bundle,offload,memplan",
        &hooks);
    arena_free(cx.scratch);
    if (!ok || !program_lower(c->a, m, m->diag, &c->program)) {
        text_printf(c->why, "%s", m->diag->items.n ? m->diag->items.at[0].text : "passes failed");
        return false;
    }
    for (uint32_t i = 0; i < c->program.sections.n && !c->o->library; i++)
        if (!check_kinterp(c, &c->program.sections.at[i], &expected[i])) return false;
    if (c->o->emulated) return check_emulated(c, expected);
    return c->o->skip_native || check_native(c, expected);
}

bool oracle_check(Module *m, const OracleOptions *o, Text *why) {
    OracleCheck c = {.a = arena_new(), .m = m, .o = o, .source = {m, o->seed}, .why = why};
    bool ok = check_all(&c);
    arena_free(c.a);
    return ok;
}

bool oracle_check_file(const char *path, const OracleOptions *o, Text *why) {
    Arena *a = arena_new();
    FILE *f = fopen(path, "r");
    if (!f) {
        text_printf(why, "cannot read '%s'", path);
        arena_free(a);
        return false;
    }
    Text text = {.arena = a};
    text_put(&text, "", 0);
    char buf[4096];
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) text_put(&text, buf, n);
    fclose(f);
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, path, text.at, text.n, false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    bool ok = m && oracle_check(m, o, why);
    if (!m && d->items.n) {
        uint32_t line, col;
        diag_position(d, d->items.at[0].loc, &line, &col);
        text_printf(why, "%s:%u:%u: %s", path, line, col, d->items.at[0].text);
    }
    arena_free(a);
    return ok;
}

// sinter verify: does the program of one rank, run by all ranks of a mesh, compute what one device computes?
//
// Both programs are run by the interpreter in double, from the same first values, on inputs drawn from a fixed
// sequence: init, the steps (prologue, micro, update), one evaluation. After each function every value of the
// ranks that has a counterpart is put together by its place (parts side by side, summands added, copies equal to the
// bit) and compared with it. Counterparts are the nodes that agree in template, ordinal, phase, clone and instance:
// the pass shard keeps them. What the order of sums may change is measured, not guessed: one device computes
// everything a second time with all sums taken backwards, and 64 times that difference is allowed, plus 1e-12 of
// the largest element. A gradient that is 0 but for rounding says nothing relative to itself.
#include "tools/verify.h"
#include "ir/interp.h"
#include "ir/place.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 2, MOST_RANKS = 64 };
static const double NOISE = 64, ALLOWED = 1e-12;
static const int64_t MOST_ELEMENTS = (int64_t)1 << 27;

typedef struct {
    Driver *d;
    Module *one, *many;
    Interp a, back, *b; // one device; the same with its sums backwards; by rank
    uint32_t ranks;
    Arena *arena; // of one function's run
    int64_t step;
    uint64_t values, copies;
    bool failed;
    Text *out;
} Verify;

// Whose inputs.
typedef struct {
    Verify *v;
    Interp *in;
} Feed;

// ---- the mesh

static bool bad_option(const char *option, const char *text, const char *form) {
    usage_error("'%s %s': expected %s", option, text, form);
    return false;
}

// data=2,tensor=4
static bool read_mesh(Module *m, const char *text) {
    m->meshes = 0;
    for (const char *s = text; *s;) {
        size_t n = strcspn(s, "=,");
        char *end;
        long ranks = s[n] == '=' ? strtol(s + n + 1, &end, 10) : 0;
        if (!n || ranks < 1 || (*end && *end != ',') || m->meshes == MAX_MESH)
            return bad_option("--mesh", text, "axes with their ranks, as in data=2,tensor=4");
        MeshAxis x = {sym_intern(m->syms, s, n), (uint32_t)ranks};
        if (ranks > MOST_RANKS || mesh_find(m, x.name) != NONE ||
            mesh_ranks(m) * ranks > MOST_RANKS)
            return bad_option("--mesh", text, "each axis once, and 64 ranks in all at most");
        m->mesh[m->meshes++] = x;
        s = *end ? end + 1 : end;
    }
    return m->meshes > 0;
}

static Sym word_of(Module *m, const char **s) {
    while (**s == ' ' || **s == ',') ++*s;
    size_t n = strcspn(*s, " ,:;");
    *s += n;
    return n ? sym_intern(m->syms, *s - n, n) : 0;
}

// data: batch; tensor: vocab, head, ff
static bool read_shard(Module *m, const char *text) {
    m->shards.n = 0;
    for (const char *s = text; *s; s += *s == ';') {
        ShardLine l = {.mesh = mesh_find(m, word_of(m, &s))};
        if (l.mesh == NONE || *s++ != ':')
            return bad_option("--shard", text,
                              "a list for each mesh axis, as in 'data: batch; tensor: vocab, ff'");
        for (Sym w; (w = word_of(m, &s));) {
            AxisId a = axis_find(m, w);
            if (!a || l.axes.n == MAX_AXES) {
                usage_error("'--shard': the model has no axis '%.100s'", sym_str(m->syms, w));
                return false;
            }
            l.axes.at[l.axes.n++] = a;
        }
        vec_push(m->arena, &m->shards, l);
    }
    if (m->shards.n) return true;
    return bad_option("--shard", text, "a list for each mesh axis");
}

// ---- inputs

static AxisId range_of(const Module *m, const char *name) {
    for (FuncId f = 0; f < m->funcs.n; f++)
        for (NodeId n = 0; n < m->funcs.at[f]->nodes.n; n++) {
            const Attr *a = attr_of(m, m->funcs.at[f], n);
            if (a->kind == ATTR_input && !strcmp(sym_str(m->syms, a->input.name), name))
                return a->input.range;
        }
    return 0;
}

static double scalar_of(const Verify *v, const char *name) {
    for (uint32_t i = 0; i < v->d->program->scalars.n; i++)
        if (!strcmp(v->d->program->scalars.at[i].name, name))
            return v->d->program->scalars.at[i].value;
    if (!strcmp(name, "step")) return (double)v->step;
    if (!strcmp(name, "valid") || !strcmp(name, "batch")) return (double)v->d->program->micro;
    return 1; // one micro-batch
}

static bool give(void *user, const char *name, TypeId type, double *out) {
    const Feed *x = user;
    Module *m = x->in->m;
    TypeId whole = type_whole(m, type);
    const Type *t = type_at(m, whole);
    if (!t->n) return *out = scalar_of(x->v, name), true;
    int64_t count = type_count(t);
    AxisId range = range_of(m, name);
    Tensor all = {whole, NEW_ARRAY(x->v->arena, double, count)}, part = {type, out};
    uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)x->v->step);
    for (int64_t i = 0; i < count; i++) {
        h = hash_u64(h, (uint64_t)i);
        double u = (double)(h >> 40) * 0x1p-24;
        all.at[i] = range ? floor(u * (double)m->axes.at[range].size)
                    : elem_info[t->elem].kind == ELEM_FLOAT ? u
                                                            : floor(u * 2);
    }
    tensor_overlap(m, &all, 0, &part, x->in->rank);
    return true;
}

// ---- comparison

// What all ranks hold together. False: copies differ, by the report.
static bool put_together(Verify *v, Tensor *const *values, NodeId n, const char *what, Tensor *to) {
    const Type *t = type_at(v->many, values[0][n].type);
    int64_t count = type_count(type_at(v->many, to->type)), part = type_count(t);
    double *box = NEW_ARRAY(v->arena, double, count);
    for (int64_t i = 0; i < count; i++) to->at[i] = (double)NAN;
    for (uint32_t r = 0; r < v->ranks; r++) {
        uint32_t at[MAX_MESH], stride = 1, first = 0;
        mesh_coordinates(v->many, r, at);
        MeshPlace summed = {PLACE_same, 0};
        for (uint32_t k = v->many->meshes; k-- > 0;) {
            MeshPlace p = place_on(t, k);
            if (p.kind != PLACE_same) first += at[k] * stride;
            if (p.kind > PLACE_split) summed = p;
            stride *= v->many->mesh[k].ranks;
        }
        if (first != r) { // a copy
            v->copies++;
            if (!memcmp(values[r][n].at, values[first][n].at, (size_t)part * sizeof(double)))
                continue;
            text_printf(v->out, "%s: rank %u holds another copy than rank %u\n", what, r, first);
            return false;
        }
        for (int64_t i = 0; i < count; i++) box[i] = (double)NAN;
        Tensor b = {to->type, box};
        tensor_overlap(v->many, &values[r][n], r, &b, 0);
        for (int64_t i = 0; i < count; i++) {
            double x = box[i], y = to->at[i];
            if (isnan(x)) continue;
            if (isnan(y))
                to->at[i] = x;
            else if (summed.kind == PLACE_max)
                to->at[i] = x > y ? x : y;
            else if (summed.kind == PLACE_min)
                to->at[i] = x < y ? x : y;
            else
                to->at[i] = x + y;
        }
    }
    return true;
}

static void say_where(Verify *v, const Func *f, NodeId n) {
    const Node *x = node_at(f, n);
    text_printf(v->out, "first difference: step %lld, '%s', '%s' %s", (long long)v->step,
                sym_str(v->many->syms, f->name), sym_str(v->many->syms, x->name),
                op_info[x->op].name);
    if (x->loc.file) {
        uint32_t line, column;
        diag_position(v->many->diag, x->loc, &line, &column);
        text_printf(v->out, " (%s:%u:%u)", v->many->diag->files.at[x->loc.file].path, line, column);
    }
    text_put(v->out, "\n  ", 3);
    ir_print_type(v->out, v->many, x->type);
    text_put(v->out, "\n", 1);
}

static double apart(double x, double y) {
    if (x == y || (isnan(x) && isnan(y))) return 0;
    return isfinite(x - y) ? fabs(x - y) : (double)INFINITY;
}

static bool equal(const Verify *v, const Tensor *want, const Tensor *again, const Tensor *have,
                  double *off, double *noise) {
    int64_t count = type_count(type_at(v->one, want->type));
    double most = 0;
    *off = *noise = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(want->at[i])) most = fmax(most, fabs(want->at[i]));
        *off = fmax(*off, apart(want->at[i], have->at[i]));
        *noise = fmax(*noise, apart(want->at[i], again->at[i]));
    }
    return *off <= NOISE * *noise + ALLOWED * most;
}

static uint64_t identity(const Node *x) {
    uint64_t h = hash_u64(hash_u64(HASH_SEED, x->tmpl), x->ordinal);
    h = hash_u64(hash_u64(h, x->phase), x->clone);
    return hash_u64(hash_u64(h, x->inst.repeat), x->inst.round);
}

static bool compare_func(Verify *v, const Func *f, const Func *g, const Tensor *one,
                         const Tensor *back, Tensor *const *many) {
    Map at = {.arena = v->arena};
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->ordinal) *map_slot(&at, identity(node_at(f, n)), NULL) = n + 1;
    for (NodeId n = 0; n < g->nodes.n; n++) {
        const Node *x = node_at(g, n);
        const uint32_t *found = x->ordinal ? map_find(&at, identity(x)) : NULL;
        if (!found || op_info[x->op].kind == OPK_MESH || node_at(f, *found - 1)->op != x->op)
            continue;
        const Tensor *want = &one[*found - 1];
        TypeId whole = type_whole(v->many, x->type);
        if (!type_same(type_at(v->many, whole), type_at(v->one, want->type))) continue;
        double off, noise;
        Tensor have = {whole, NEW_ARRAY(v->arena, double, type_count(type_at(v->many, whole)))};
        v->values++;
        if (!put_together(v, many, n, "copies", &have)) return say_where(v, g, n), false;
        if (equal(v, want, &back[*found - 1], &have, &off, &noise)) continue;
        say_where(v, g, n);
        text_printf(v->out, "  %.1e off, noise %.1e\n", off, noise);
        return false;
    }
    return true;
}

// ---- the run

static bool too_large(const Verify *v) {
    for (FuncId f = 0; f < v->one->funcs.n; f++) {
        int64_t sum = 0;
        const Func *g = v->one->funcs.at[f];
        for (NodeId n = 0; n < g->nodes.n; n++) sum += type_count(type_of(v->one, g, n));
        if (sum > MOST_ELEMENTS) return true;
    }
    return false;
}

static bool run_func(Verify *v, const char *name) {
    const Func *f = module_find(v->one, name), *g = module_find(v->many, name);
    if (!f || !g || v->failed) return !v->failed;
    Feed user[MOST_RANKS + 2];
    Text why = {.arena = v->d->arena};
    v->arena = arena_new();
    v->a.arena = v->arena;
    user[MOST_RANKS] = (Feed){v, &v->a};
    user[MOST_RANKS + 1] = (Feed){v, &v->back};
    v->a.user = &user[MOST_RANKS];
    v->back.user = &user[MOST_RANKS + 1];
    v->back.arena = v->arena;
    Tensor *one = NEW_ARRAY(v->arena, Tensor, f->nodes.n + 1), *many[MOST_RANKS];
    for (uint32_t r = 0; r < v->ranks; r++) {
        many[r] = NEW_ARRAY(v->arena, Tensor, g->nodes.n + 1);
        v->b[r].arena = v->arena;
        user[r] = (Feed){v, &v->b[r]};
        v->b[r].user = &user[r];
    }
    Tensor *back = NEW_ARRAY(v->arena, Tensor, f->nodes.n + 1);
    bool ok = interp_run(&v->a, f, NULL, one, &why) && interp_run(&v->back, f, NULL, back, &why) &&
              interp_run_ranks(v->b, g, NULL, many, &why);
    if (!ok) text_printf(v->out, "%s\n", why.at);
    ok = ok && compare_func(v, f, g, one, back, many);
    v->failed |= !ok;
    arena_free(v->arena);
    return ok;
}

static void clear_accumulators(Interp *in) {
    for (StateId s = 0; s < in->m->states.n; s++)
        if (in->m->states.at[s].kind == STATE_accum)
            memset(in->states[s].at, 0,
                   (size_t)type_count(type_at(in->m, in->states[s].type)) * sizeof(double));
}

static void begin_step(Verify *v, int64_t step) {
    v->step = step;
    v->a.step = v->back.step = (uint64_t)step;
    clear_accumulators(&v->a);
    clear_accumulators(&v->back);
    for (uint32_t r = 0; r < v->ranks; r++) {
        v->b[r].step = (uint64_t)step;
        clear_accumulators(&v->b[r]);
    }
}

static void run_all(Verify *v) {
    static const char *const step[] = {"prologue", "micro", "update"};
    static const char *const eval[] = {"eval_prologue",    "eval_micro",    "eval_finish",
                                       "predict_prologue", "predict_micro", "predict_finish",
                                       "generate"};
    begin_step(v, 0);
    run_func(v, "init");
    for (int64_t s = 1; s <= STEPS; s++) {
        begin_step(v, s);
        for (uint32_t i = 0; i < 3; i++) run_func(v, step[i]);
    }
    for (uint32_t i = 0; i < sizeof eval / sizeof eval[0]; i++) run_func(v, eval[i]);
}

// The program of one rank. NULL after a message.
static Module *divide(Driver *d, Module *m, Ledger **said) {
    Module *many = module_fork(m, d->arena);
    many->diag = d->diag;
    if (d->o.mesh && !read_mesh(many, d->o.mesh)) return NULL;
    if (d->o.shard && !read_shard(many, d->o.shard)) return NULL;
    Ledger *own = *said = ledger_new(d->arena);
    PassCx cx = {.m = many,
                 .scratch = arena_new(),
                 .ledger = own,
                 .target = target_find(d->family),
                 .micro = d->program->micro};
    PassHooks hooks = {.verify = true};
    bool ok = pipeline_run(&cx, "shard", "shard", &hooks);
    arena_free(cx.scratch);
    return ok ? many : NULL;
}

int verify(Driver *d) {
    if (!d->o.mesh || !d->o.shard) return usage_error("'verify' needs --mesh and --shard");
    if (!driver_load(d) || !driver_passes(d, "precision")) return driver_report(d);
    if (d->program->m->meshes) return usage_error("'%s' has a mesh of its own", d->o.input);
    Text out = {.arena = d->arena};
    Ledger *said;
    Verify v = {.d = d, .one = d->program->m, .out = &out};
    uint32_t errors = d->diag->errors;
    v.many = divide(d, v.one, &said);
    if (!v.many) return d->diag->errors > errors ? driver_report(d) : EXIT_USAGE;
    if (too_large(&v))
        return usage_error(
            "the interpreter runs all ranks here: give smaller sizes by -D, such as -D layer=2");
    v.ranks = (uint32_t)mesh_ranks(v.many);
    v.b = NEW_ARRAY(d->arena, Interp, v.ranks);
    interp_init(&v.a, v.one, INTERP_F64, d->arena);
    interp_init(&v.back, v.one, INTERP_F64, d->arena);
    v.a.input = v.back.input = give;
    v.a.seed = v.back.seed = 1;
    v.back.backwards = true;
    for (uint32_t r = 0; r < v.ranks; r++) {
        interp_init(&v.b[r], v.many, INTERP_F64, d->arena);
        v.b[r].input = give;
        v.b[r].seed = 1;
        v.b[r].rank = r;
    }
    run_all(&v);
    ledger_print(said, &out);
    if (!v.failed)
        text_printf(&out, "%u ranks, %d steps: %llu values and %llu copies agree\n", v.ranks, STEPS,
                    (unsigned long long)v.values, (unsigned long long)v.copies);
    int rc = driver_report(d);
    if (!rc) rc = driver_put(d, &out);
    return rc ? rc : v.failed ? EXIT_USER : 0;
}

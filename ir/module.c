// The module: tables of elements and ops, interning of types and attributes, axes, states and
// functions.
//
// Interning makes equality of types and attributes equality of ids, which every pass relies on. It
// compares bytes, so a type or attribute is first copied into zeroed memory, used parts only. All
// look-ups are hashed: building a module of n nodes is O(n).
#include "ir/attr.h"
#include "ir/base/path.h"
#include <math.h>
#include <string.h>

#define LOW_FLOAT(bytes)  (-(double)INFINITY)
#define HIGH_FLOAT(bytes) ((double)INFINITY)
#define LOW_INT(bytes)    (-(double)(UINT64_C(1) << (8 * (bytes)-1)))
#define HIGH_INT(bytes)   ((double)(UINT64_C(1) << (8 * (bytes)-1)) - 1)
#define LOW_UINT(bytes)   0
#define HIGH_UINT(bytes)  ((double)(UINT64_C(1) << 8 * (bytes)) - 1)
#define LOW_BOOL(bytes)   0
#define HIGH_BOOL(bytes)  1
const ElemInfo elem_info[ELEM_COUNT] = {
#define DTYPE(name, bytes, kind, st, computes)                                                     \
    {#name, #st, bytes, ELEM_##kind, ELEM_##computes, LOW_##kind(bytes), HIGH_##kind(bytes)},
#include "ir/dtypes.def"
#undef DTYPE
};

// ATTR_none or ATTR_cast: what a scalar rule asks of the attribute.
#define RULE_ATTR(rule) (RULE_##rule == RULE_CAST ? ATTR_cast : ATTR_none)
const OpInfo op_info[OP_COUNT] = {
#define SCALAR(op, arity, result, by, adds, swaps, sums, text)                                     \
    {.name = #op,                                                                                  \
     .meaning = text,                                                                              \
     .min = arity,                                                                                 \
     .max = arity,                                                                                 \
     .attr = RULE_ATTR(result),                                                                    \
     .rule = RULE_##result,                                                                        \
     .cost = adds,                                                                                 \
     .swap = swaps,                                                                                \
     .linear = sums,                                                                               \
     .acc = -1,                                                                                    \
     .reads = READS_SAME},
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(op, least, most, record, sort, adds_to, result, from, place, sums, text)            \
    {.name = #op,                                                                                  \
     .meaning = text,                                                                              \
     .min = least,                                                                                 \
     .max = most,                                                                                  \
     .attr = ATTR_##record,                                                                        \
     .kind = OPK_##sort,                                                                           \
     .acc = adds_to,                                                                               \
     .type = TYPE_##result,                                                                        \
     .reads = READS_##from,                                                                        \
     .in = IN_##place,                                                                             \
     .linear = sums},
#include "ir/ops.def"
#undef OPCODE
};

const char *const reduce_names[REDUCE_COUNT] = {"sum", "prod", "min", "max", "any", "all"};
const char *const demand_names[DEMAND_KINDS] = {"fuse", "nofuse", "offload", "recompute", "keep"};
const char *const recompute_names[RECOMPUTE_MODES] = {"none", "every", "budget"};
const char *const merge_names[MERGE_MODES] = {"auto", "none", "all"};
const char *const fold_names[FOLD_COUNT] = {"row", "col", "seq"};
const char *const group_names[GROUP_COUNT] = {"map",     "rows", "columns", "gemm", "gather",
                                              "scatter", "copy", "attend",  "flash"};
const char *const region_names[REGION_COUNT] = {"none", "param", "moment", "shadow", "accum",
                                                "temp", "input", "scalar", "host"};
const char *const state_kind_names[STATE_KINDS] = {"param",   "moment", "stat",
                                                   "counter", "accum",  "shadow"};
Region state_region(StateKind kind) {
    switch (kind) {
    case STATE_param: return REGION_param;
    case STATE_moment:
    case STATE_stat:
    case STATE_counter: return REGION_moment;
    case STATE_accum: return REGION_accum;
    case STATE_shadow: return REGION_shadow;
    case STATE_KINDS: break;
    }
    unreachable(kind);
}
const char *const result_names[] = {"loss", "metric", "output", "value"};
const char phase_letters[PHASE_COUNT + 1] = "FBWU";
const char partial_marks[PARTIALS + 1] = "+^_";

int64_t fold_chunk(int64_t n) {
    int64_t even = n / 256 + (n % 256 != 0);
    return even > 32 ? even : 32;
}

static int64_t parts_of(int64_t n, int64_t size) { return n / size + (n % size != 0); }

int64_t fold_parts(FoldBy by, int64_t n) {
    switch (by) {
    case FOLD_row: return parts_of(n, FOLD_SEGMENT);
    case FOLD_col: return parts_of(n, fold_chunk(n));
    case FOLD_seq: return 1;
    case FOLD_COUNT: break;
    }
    unreachable(by);
}

Module *module_new(Arena *a, SymTab *syms, Diag *diag) {
    Module *m = NEW(a, Module);
    m->arena = a;
    m->syms = syms;
    m->diag = diag;
    m->type_map.arena = m->attr_map.arena = a;
    m->axis_map.arena = m->axis_last.arena = m->state_map.arena = a;
    vec_push(a, &m->axes, ((Axis){0, 0, 0}));
    vec_push(a, &m->repeats, ((Repeat){0}));
    vec_push(a, &m->attrs, ((Attr){0}));
    vec_push(a, &m->attr_next, NONE);
    return m;
}

Func *func_new(Module *m, const char *name, FuncId *id) {
    Func *f = NEW(m->arena, Func);
    f->name = sym(m->syms, name);
    if (id) *id = m->funcs.n;
    vec_push(m->arena, &m->funcs, f);
    return f;
}

Func *module_find(const Module *m, const char *name) {
    for (uint32_t i = 0; i < m->funcs.n; i++) {
        Func *f = m->funcs.at[i];
        if (!f->region && strcmp(sym_str(m->syms, f->name), name) == 0) return f;
    }
    return NULL;
}

// A taken name gets the next free suffix: half, half.2, half.3. axis_last remembers where to go on,
// so that many axes of one name cost O(1) each.
static Sym unique_axis_name(Module *m, Sym wanted) {
    if (!map_find(&m->axis_map, wanted)) return wanted;
    uint32_t *last = map_slot(&m->axis_last, wanted, NULL);
    if (*last == 0) *last = 1;
    for (;;) {
        Sym s = sym(m->syms, arena_printf(m->arena, "%s.%u", sym_str(m->syms, wanted), ++*last));
        if (!map_find(&m->axis_map, s)) return s;
    }
}

AxisId axis_new(Module *m, const char *name, int64_t size) {
    Sym unique = unique_axis_name(m, sym(m->syms, name));
    AxisId id = m->axes.n;
    vec_push(m->arena, &m->axes, ((Axis){unique, size, 0}));
    *map_slot(&m->axis_map, unique, NULL) = id;
    return id;
}

AxisId axis_find(const Module *m, Sym name) {
    const uint32_t *id = map_find(&m->axis_map, name);
    return id ? *id : 0;
}

uint32_t repeat_new(Module *m, const char *axis, int64_t rounds, uint32_t parent, Loc loc) {
    vec_push(m->arena, &m->repeats, ((Repeat){sym(m->syms, axis), parent, rounds, loc}));
    return m->repeats.n - 1;
}

int64_t repeat_total(const Module *m, uint32_t repeat) {
    int64_t total = 1, most = (int64_t)UINT32_MAX + 1;
    for (; repeat; repeat = m->repeats.at[repeat].parent) {
        int64_t rounds = m->repeats.at[repeat].rounds;
        if (rounds && total > most / rounds) return -1;
        total *= rounds;
    }
    return total;
}

StateId state_new(Module *m, const char *path, TypeId type, StateKind kind, Loc loc) {
    State s = {.path = sym(m->syms, path),
               .type = type,
               .local = NONE,
               .kind = (uint8_t)kind,
               .of = NONE,
               .loc = loc};
    StateId id = m->states.n;
    vec_push(m->arena, &m->states, s);
    bool fresh;
    uint32_t *slot = map_slot(&m->state_map, s.path, &fresh);
    if (fresh) *slot = id;
    return id;
}

StateId state_find(const Module *m, Sym path) {
    const uint32_t *id = map_find(&m->state_map, path);
    return id ? *id : NONE;
}

// The state that an attribute names, or NULL.
static StateId *named_state(Attr *a) {
    if (a->kind == ATTR_state) return &a->state.state;
    if (a->kind == ATTR_grad) return &a->grad.state;
    return a->kind == ATTR_assign ? &a->assign.state : NULL;
}

void module_drop_states(Module *m, const uint8_t *dead) {
    uint32_t n = 0;
    StateId *to = NEW_ARRAY(m->arena, StateId, m->states.n + 1);
    for (StateId s = 0; s < m->states.n; s++) to[s] = dead[s] ? NONE : n++;
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId k = 0; k < m->funcs.at[i]->nodes.n; k++) {
            Attr a = *attr_of(m, m->funcs.at[i], k);
            StateId *s = named_state(&a);
            if (!s) continue;
            CHECK(to[*s] != NONE, "state '%s' is still named",
                  sym_str(m->syms, m->states.at[*s].path));
            *s = to[*s];
            node_at(m->funcs.at[i], k)->attr = attr_intern(m, &a);
        }
    m->state_map = (Map){.arena = m->arena};
    for (StateId s = 0; s < m->states.n; s++) {
        State *x = &m->states.at[s];
        if (dead[s]) continue;
        if (x->of != NONE) x->of = to[x->of];
        m->states.at[to[s]] = *x;
        bool fresh;
        uint32_t *slot = map_slot(&m->state_map, x->path, &fresh);
        if (fresh) *slot = to[s];
    }
    m->states.n = n;
}

static Map map_copy(const Map *from, Arena *a) {
    Map m = *from;
    m.arena = a;
    if (!m.cap) return m;
    m.keys = arena_copy(a, from->keys, m.cap * sizeof *m.keys);
    m.vals = arena_copy(a, from->vals, m.cap * sizeof *m.vals);
    m.used = arena_copy(a, from->used, m.cap * sizeof *m.used);
    return m;
}

#define COPY_VEC(a, v)                                                                             \
    ((v)->at = arena_copy((a), (v)->at, (v)->n * sizeof *(v)->at), (v)->cap = (v)->n)

Module *module_fork(const Module *from, Arena *a) {
    Module *m = NEW(a, Module);
    *m = *from;
    m->arena = a;
    m->diag = NEW(a, Diag);
    *m->diag = *from->diag;
    m->diag->arena = a;
    COPY_VEC(a, &m->diag->items);
    COPY_VEC(a, &m->axes);
    COPY_VEC(a, &m->states);
    COPY_VEC(a, &m->types);
    COPY_VEC(a, &m->attrs);
    COPY_VEC(a, &m->type_next);
    COPY_VEC(a, &m->attr_next);
    COPY_VEC(a, &m->funcs);
    for (FuncId i = 0; i < m->funcs.n; i++) {
        m->funcs.at[i] = NEW(a, Func);
        *m->funcs.at[i] = *from->funcs.at[i];
        COPY_VEC(a, &m->funcs.at[i]->nodes);
    }
    m->type_map = map_copy(&from->type_map, a);
    m->attr_map = map_copy(&from->attr_map, a);
    m->axis_map = map_copy(&from->axis_map, a);
    m->axis_last = map_copy(&from->axis_last, a);
    m->state_map = map_copy(&from->state_map, a);
    return m;
}

static void add_place(int64_t end[REGION_COUNT], const Module *m, Mem at, TypeId type) {
    int64_t last = at.offset + mem_aligned(type_bytes(type_at(m, type)));
    if (at.region && last > end[at.region]) end[at.region] = last;
}

void func_regions(const Module *m, const Func *f, int64_t end[REGION_COUNT]) {
    for (NodeId n = 0; n < f->mem.n; n++) add_place(end, m, f->mem.at[n], node_at(f, n)->type);
}

void module_regions(const Module *m, int64_t end[REGION_COUNT]) {
    for (StateId s = 0; s < m->states.n; s++)
        add_place(end, m, m->states.at[s].mem, state_local(m, s));
    for (FuncId i = 0; i < m->funcs.n; i++) func_regions(m, m->funcs.at[i], end);
}

bool func_is_beside(const Module *m, const Func *f) {
    const char *name = sym_str(m->syms, f->name);
    return !strcmp(name, "generate") || !strncmp(name, "predict", 7);
}

int64_t module_training_bytes(const Module *m) {
    int64_t end[REGION_COUNT] = {0}, temp[REGION_COUNT] = {0}, bytes = 0;
    module_regions(m, end);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!func_is_beside(m, m->funcs.at[i])) func_regions(m, m->funcs.at[i], temp);
    end[REGION_temp] = temp[REGION_temp];
    for (int r = 0; r < REGION_host; r++) bytes += end[r]; // of the device
    return bytes;
}

bool node_is_zero(const Module *m, const Func *f, NodeId n) {
    while (node_at(f, n)->op == OP_expand) n = operand(f, n, 0);
    return node_at(f, n)->op == OP_const && attr_of(m, f, n)->constant.value == 0;
}

bool demand_selects(const Module *m, const Demand *d, const Func *f, NodeId n) {
    const Node *x = node_at(f, n);
    const char *func = sym_str(m->syms, f->name), *name = sym_str(m->syms, x->name);
    if (x->phase != PHASE_F && !strncmp(name, "d.", 2)) name += 2; // autodiff's
    if (!strcmp(func, "init") || (d->kind != DEMAND_nofuse && !strcmp(func, "generate")))
        return false;
    if (x->phase == PHASE_U || (d->kind != DEMAND_nofuse && x->phase != PHASE_F)) return false;
    return op_info[x->op].kind != OPK_LEAF && x->name &&
           (d->exact ? strcmp(sym_str(m->syms, d->path), name) == 0
                     : path_selects(sym_str(m->syms, d->path), name));
}

const char *const precision_names[] = {
#define PRECISION(name, ...) #name,
#define FORMAT(...)
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
};
const char *const format_names[] = {
    "unset",
#define PRECISION(...)
#define FORMAT(name, ...) #name,
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
};

#define ON_ALL  ""
#define ON_NONE NULL
#define ON_cuda "cuda"
const FormatInfo format_info[] = {
    {ON_ALL, FORMAT_unset},
#define PRECISION(...)
#define FORMAT(name, on, wider) {ON_##on, FORMAT_##wider},
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
};

bool precision_selects(const Module *m, const Precision *p, Sym name) {
    const char *s = sym_str(m->syms, name), *pattern = sym_str(m->syms, p->path);
    if (!strncmp(s, "d.", 2)) s += 2;
    return p->exact ? strcmp(pattern, s) == 0 : path_selects(pattern, s);
}

const Precision *precision_from(const Module *m, PrecisionAttr attr, Sym name) {
    for (uint32_t i = m->precisions.n; i-- > 0;) {
        const Precision *p = &m->precisions.at[i];
        if (p->format[attr] && precision_selects(m, p, name)) return p;
    }
    return NULL;
}

Format precision_of(const Module *m, PrecisionAttr attr, Sym name) {
    const Precision *p = precision_from(m, attr, name);
    return p ? (Format)p->format[attr] : FORMAT_unset;
}

// Records are whole numbers of words; interning hashes them on every new node.
static uint64_t hash_record(const void *record, size_t bytes) {
    uint64_t h = HASH_SEED, word;
    for (size_t i = 0; i < bytes; i += sizeof word) {
        memcpy(&word, (const char *)record + i, sizeof word);
        if (word) h = hash_u64(h, word + i); // the position counts, so that zeros need not
    }
    return h;
}
_Static_assert(sizeof(Attr) % 8 == 0, "hash_record reads words");

static uint64_t type_hash(const Type *t) {
    uint64_t h = hash_u64(HASH_SEED, (uint64_t)t->elem << 32 | t->n);
    for (uint32_t i = 0; i < t->n; i++)
        h = hash_u64(hash_u64(h, t->axes[i].axis), (uint64_t)t->axes[i].size);
    return h; // not of the place: types that differ in it alone are few
}

TypeId type_intern(Module *m, const Type *t) {
    CHECK(t->n <= MAX_AXES, "type with %u axes", t->n);
    Type clean = {.elem = t->elem, .n = t->n};
    memcpy(clean.axes, t->axes, t->n * sizeof t->axes[0]);
    memcpy(clean.partial, t->partial, sizeof clean.partial);
    bool fresh;
    uint32_t *head = map_slot(&m->type_map, type_hash(t), &fresh);
    uint32_t first = fresh ? NONE : *head;
    for (TypeId i = first; i != NONE; i = m->type_next.at[i])
        if (type_same(&m->types.at[i], t)) return i;
    TypeId id = m->types.n;
    *head = id;
    vec_push(m->arena, &m->types, clean);
    vec_push(m->arena, &m->type_next, first);
    return id;
}

TypeId type_scalar(Module *m, Elem e) { return type_intern(m, &(Type){.elem = e}); }

TypeId type_computing(Module *m, TypeId t) {
    Type wide = *type_at(m, t);
    if (!elem_is_narrow(wide.elem)) return t;
    wide.elem = elem_info[wide.elem].computes;
    return type_intern(m, &wide);
}

AttrId attr_intern(Module *m, const Attr *a) {
    if (a->kind == ATTR_none) return 0;
    Attr clean = attr_clean(a);
    bool fresh;
    uint32_t *head = map_slot(&m->attr_map, hash_record(&clean, sizeof clean), &fresh);
    uint32_t first = fresh ? NONE : *head;
    for (AttrId i = first; i != NONE; i = m->attr_next.at[i])
        if (memcmp(&m->attrs.at[i], &clean, sizeof clean) == 0) return i;
    AttrId id = m->attrs.n;
    *head = id;
    vec_push(m->arena, &m->attrs, clean);
    vec_push(m->arena, &m->attr_next, first);
    return id;
}

void attr_reindex(Module *m) {
    m->attr_map = (Map){.arena = m->arena};
    for (AttrId i = 1; i < m->attrs.n; i++) {
        bool fresh;
        uint32_t *head = map_slot(&m->attr_map, hash_record(&m->attrs.at[i], sizeof(Attr)), &fresh);
        m->attr_next.at[i] = fresh ? NONE : *head;
        *head = i;
    }
}

// In size and split.
static bool axis_same(const TypeAxis *a, const TypeAxis *b) {
    return a->size == b->size && !memcmp(a->split, b->split, sizeof a->split);
}

bool type_same(const Type *a, const Type *b) {
    bool same =
        a->elem == b->elem && a->n == b->n && !memcmp(a->partial, b->partial, sizeof a->partial);
    for (uint32_t i = 0; same && i < a->n; i++)
        same = a->axes[i].axis == b->axes[i].axis && axis_same(&a->axes[i], &b->axes[i]);
    return same;
}

int type_find(const Type *t, AxisId a) {
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis == a) return (int)i;
    return -1;
}

bool type_same_axes(const Type *a, const Type *b) {
    if (a->n != b->n) return false;
    for (uint32_t i = 0; i < a->n; i++) {
        int at = type_find(b, a->axes[i].axis);
        if (at < 0 || !axis_same(&b->axes[at], &a->axes[i])) return false;
    }
    return true;
}

int64_t type_count(const Type *t) {
    int64_t count = 1;
    for (uint32_t i = 0; i < t->n; i++) count *= t->axes[i].size;
    return count;
}

int64_t type_bytes(const Type *t) { return type_count(t) * elem_info[t->elem].bytes; }

void type_strides(const Type *t, int64_t strides[MAX_AXES]) {
    int64_t stride = 1;
    for (uint32_t i = t->n; i-- > 0;) {
        strides[i] = stride;
        stride *= t->axes[i].size;
    }
}

bool list_has(const AxisList *l, AxisId a) {
    for (uint32_t i = 0; i < l->n; i++)
        if (l->at[i] == a) return true;
    return false;
}

bool list_same(const AxisList *a, const AxisList *b) {
    if (a->n != b->n) return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!list_has(b, a->at[i])) return false;
    return true;
}

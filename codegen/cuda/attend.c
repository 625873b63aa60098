// Attention on tensor cores: the class that template/attend.cuh and attend_grad.cuh take, written from a flash group. Its
// shape becomes constants; what is made of scores is printed from the group's parts (ir/flash.h), each a struct S<part>
// with what it reads as members:
//
//   struct S0 {
//       const float *a0;                          what the part reads
//       struct Row { float v3; };                 values of the row, computed once for each
//       Row row(u32 r, u32 m) const;              r: number of the row in all; m: in its matrix
//       template <bool ALL> void at(const Row &, u32 m, u32 k, float c0, float &y0) const;
//   };
//
// exp is the processor's, so results keep a bound and no bits (docs/numerics.md). Linear in the ops of the parts.
#include "codegen/cuda/print.h"
#include <string.h>

// ---- shapes -------------------------------------------------------------------------------------

typedef struct {
    uint32_t bm, bn, stages;
    uint32_t resident; // blocks on a processor, at least: small heads need not take all registers
} FlashTile;

enum {
    SMALL = 64, // features
    LARGE = 128,
    MOST_SHARED =
        99 * 1024, // bytes of a block, on each target (sm_89, sm_120); recognise sees to it
};

// What is made of a score takes many registers.
static bool is_dear(const LowerFlash *f) {
    enum { DEAR = 8 }; // adds
    for (uint32_t i = 0; i < FLASH_PARTS; i++) {
        const Kernel *k = f->part[i].kernel;
        for (KId id = 0; k && id < k->ops.n; id++) {
            const KOp *o = &k->ops.at[id];
            if (o->kind == KOP_random) return true;
            if (o->kind == KOP_scalar && o->op != OP_exp && o->lane && op_info[o->op].cost > DEAR)
                return true;
        }
    }
    return false;
}

static FlashTile tile_of(const LowerFlash *f, FlashKernelKind kind) {
    const Flash *s = &f->shape;
    int64_t most = s->d > s->e ? s->d : s->e;
    bool small = most <= SMALL && !is_dear(f);
    if (kind == FLASH_forward) {
        uint32_t bm = most <= LARGE ? 128 : 64;
        while (bm > 16 && bm / 2 >= s->rows) bm /= 2;
        return (FlashTile){bm, most <= LARGE ? 64 : 32, 2, small ? 2 : 1};
    }
    uint32_t resident = !small ? 1 : kind == FLASH_dq ? 3 : 2;
    return (FlashTile){64, most <= SMALL ? 64 : 32, most <= LARGE ? 2 : 1, resident};
}

// Bytes of a row of features in shared memory (template/mma.cuh, Rows16).
static uint32_t pitch(int64_t features) {
    uint32_t chunks = (uint32_t)(features + 15) / 16 * 2;
    return 16 * (chunks % 8 == 0 ? chunks : chunks + 1);
}

static int64_t outer_count(const Flash *s) {
    int64_t n = 1;
    for (uint32_t i = 0; i < s->outer.n; i++) n *= s->size[i];
    return n;
}

// Elements of the outer axes that a result has.
static int64_t kept_count(const Flash *s, const FlashMatrix *m) {
    int64_t n = 1;
    for (uint32_t i = 0; i < s->outer.n; i++)
        if (flash_keeps(s, m, i)) n *= s->size[i];
    return n;
}

static bool by_keys(FlashKernelKind kind) { return kind >= FLASH_dkv; }
static bool has_dk(FlashKernelKind kind) { return kind == FLASH_dkv || kind == FLASH_dk; }
static bool has_dv(FlashKernelKind kind) { return kind == FLASH_dkv || kind == FLASH_dv; }

static const FlashMatrix *result_of(const Flash *s, FlashKernelKind kind) {
    return has_dk(kind) ? &s->dk : &s->dv;
}

// ---- a part -------------------------------------------------------------------------------------

typedef struct {
    Arena *a;
    Text *to;
    const LowerFlash *f;
    const Flash *s;
    FlashKernelKind kind;
    uint32_t row_bytes; // of a Row, at most
    // Parts without the keys of their random numbers, which are parameters, so that layers share code.
    Kernel plain[FLASH_PARTS];
    uint32_t keys[FLASH_PARTS], first_key[FLASH_PARTS], nkeys;
    uint64_t key[CUDA_MAX_KEYS];
} FlashPrinter;

static void take_keys(FlashPrinter *x) {
    for (uint32_t i = 0; i < FLASH_PARTS; i++) {
        uint64_t keys[CUDA_MAX_KEYS];
        const Kernel *k = x->f->part[i].kernel;
        if (!k) continue;
        x->plain[i] = kernel_without_keys(x->a, k, keys, CUDA_MAX_KEYS - x->nkeys, &x->keys[i]);
        x->first_key[i] = x->nkeys;
        memcpy(x->key + x->nkeys, keys, x->keys[i] * sizeof *keys);
        x->nkeys += x->keys[i];
    }
}

// The index along the rows of the matrix, where the part's axes still have it.
static bool is_row_index(const FlashPrinter *x, const Kernel *k, const KOp *o) {
    return o->kind == KOP_index && k->outers && o->axis == k->outers - 1 &&
           k->extent[o->axis] == x->s->rows;
}

static bool reads_axis(const Kernel *k, const uint8_t *need, uint32_t axis) {
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (need[id] && o->lane && (o->kind == KOP_load || o->kind == KOP_random) &&
            o->index.stride[axis])
            return true;
    }
    return false;
}

// What the lanes need of their row. need: of all that a part stores.
static void mark_row(const FlashPrinter *x, Cu *p, uint8_t *need, uint8_t *row) {
    const Kernel *k = p->k;
    for (uint32_t i = 0; i < k->stores.n; i++) need[k->stores.at[i].value] = 1;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (!k->ops.at[k->stores.at[i].value].lane) row[k->stores.at[i].value] = 1;
    for (KId id = k->ops.n; id-- > 0;) {
        KId from[KOP_OPERANDS];
        const KOp *o = &k->ops.at[id];
        if (!need[id]) continue;
        for (uint32_t j = kop_operands(o, from); j-- > 0;) {
            need[from[j]] = 1;
            const KOp *q = &k->ops.at[from[j]];
            if (o->lane && !q->lane && q->kind != KOP_const && !is_row_index(x, k, q))
                row[from[j]] = 1;
        }
    }
}

static void open_method(Cu *p) {
    cu_forget_row(p);
    memset(p->lane, 0, sizeof *p->lane * p->k->ops.n);
    memset(p->need, 0, p->k->ops.n);
    p->indent = 3;
}

static void row_is_there(const FlashPrinter *x, Cu *p) {
    for (KId id = 0; id < p->k->ops.n; id++)
        if (!p->k->ops.at[id].lane && is_row_index(x, p->k, &p->k->ops.at[id]))
            cu_row_is(p, id, (CuVal){"m", ELEM_u32});
}

static void put_members(FlashPrinter *x, Cu *p, uint32_t part) {
    bool random = false;
    for (uint32_t i = 0; i < p->k->args.n; i++)
        text_printf(x->to, "        const %s *a%u;\n", cu_memory_type((Elem)p->k->args.at[i].elem),
                    i);
    for (KId id = 0; id < p->k->ops.n; id++) random |= p->k->ops.at[id].kind == KOP_random;
    if (random) text_printf(x->to, "        u64 seed;\n        u32 step;\n        i64 sample;\n");
    for (uint32_t i = 0; i < x->keys[part]; i++) text_printf(x->to, "        u64 q%u;\n", i);
}

static void put_row(FlashPrinter *x, Cu *p, const uint8_t *row, const uint8_t *axis) {
    const Kernel *k = p->k;
    text_printf(x->to, "        struct Row {\n");
    for (uint32_t i = 0; i < k->outers; i++)
        if (axis[i]) text_printf(x->to, "            %s i%u;\n", cu_int(p), i), x->row_bytes += 8;
    for (KId id = 0; id < k->ops.n; id++)
        if (row[id])
            text_printf(x->to, "            %s v%u;\n", cu_register_type((Elem)k->ops.at[id].to),
                        id),
                x->row_bytes += 4;
    text_printf(x->to, "        };\n        __device__ Row row(%s r, u32 m) const {\n",
                p->g->wide ? "u64" : "u32");
    open_method(p);
    cu_line(p, "Row x;");
    if (k->outers) cu_decode(p, "r", 0, k->outers);
    row_is_there(x, p);
    memcpy(p->need, row, k->ops.n);
    cu_row_ops(p);
    for (uint32_t i = 0; i < k->outers; i++)
        if (axis[i]) cu_line(p, "x.i%u = i%u;", i, i);
    for (KId id = 0; id < k->ops.n; id++)
        if (row[id]) cu_line(p, "x.v%u = %s;", id, cu_at(p, id).text);
    cu_line(p, "return x;");
    text_printf(x->to, "        }\n");
}

static void put_at(FlashPrinter *x, Cu *p, const FlashPart *part, const uint8_t *row,
                   const uint8_t *axis) {
    const Kernel *k = p->k;
    text_printf(x->to,
                "        template <bool ALL> __device__ void at(const Row &row, u32 m, u32 k");
    for (uint32_t i = 0; i < k->tiles; i++) text_printf(x->to, ", float c%u", i);
    for (uint32_t i = 0; i < k->stores.n; i++)
        text_printf(x->to, ", float &y%u", k->stores.at[i].arg);
    text_printf(x->to, ") const {\n");
    open_method(p);
    row_is_there(x, p);
    cu_line(p, "const int l = (int)k;");
    for (uint32_t i = 0; i < k->outers; i++)
        if (axis[i]) cu_line(p, "const %s i%u = row.i%u;", cu_int(p), i, i);
    for (KId id = 0; id < k->ops.n; id++) {
        if (row[id])
            cu_row_is(p, id, (CuVal){arena_printf(p->a, "row.v%u", id), (Elem)k->ops.at[id].to});
        if (k->ops.at[id].kind == KOP_tile)
            p->waits[id] = arena_printf(p->a, "c%u", k->ops.at[id].arg);
    }
    for (uint32_t i = 0; i < part->masks; i++) p->always[part->mask[i]] = "ALL";
    for (uint32_t i = 0; i < k->stores.n; i++) p->need[k->stores.at[i].value] = 1;
    cu_point(p);
    for (uint32_t i = 0; i < k->stores.n; i++)
        cu_line(p, "y%u = %s;", k->stores.at[i].arg, cu_at(p, k->stores.at[i].value).text);
    text_printf(x->to, "        }\n");
}

static bool is_wide(const FlashPrinter *x, const Kernel *k) {
    bool wide = outer_count(x->s) * x->s->rows > INT32_MAX;
    for (uint32_t i = 0; i < k->args.n; i++) wide |= k->args.at[i].count > INT32_MAX;
    return wide;
}

// ---- which tiles are seen -----------------------------------------------------------------------

// Integers as ranges i<op>, j<op>, conditions as whether they can hold (may<op>) and must (must<op>). What is not known of
// an op: nothing of integers, of conditions that they may hold.
typedef struct {
    FlashPrinter *x;
    const Kernel *k;
    uint8_t *done; // by op: 1: printed, 2: nothing is known
} Ranges;

static void put(Ranges *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(Ranges *r, const char *fmt, ...) {
    va_list ap;
    char line[512];
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    text_printf(r->x->to, "            %s\n", line);
}

static bool put_integer(Ranges *r, KId id) {
    const KOp *o = &r->k->ops.at[id];
    KId a = o->a, b = o->b;
    if (o->kind == KOP_const) {
        put(r, "const i64 i%u = %lld, j%u = i%u;", id, (long long)o->value, id, id);
        return true;
    }
    if (o->kind == KOP_index && (o->axis == r->k->outers || is_row_index(r->x, r->k, o))) {
        const char *axis = o->axis == r->k->outers ? "k" : "m";
        put(r, "const i64 i%u = %s0, j%u = %s1;", id, axis, id, axis);
        return true;
    }
    if (o->kind != KOP_scalar || r->done[a] != 1 || (b != NONE && r->done[b] != 1)) return false;
    bool constant = b != NONE && r->k->ops.at[b].kind == KOP_const && r->k->ops.at[b].value > 0;
    switch ((int)o->op) {
    case OP_add: put(r, "const i64 i%u = i%u + i%u, j%u = j%u + j%u;", id, a, b, id, a, b); break;
    case OP_sub: put(r, "const i64 i%u = i%u - j%u, j%u = j%u - i%u;", id, a, b, id, a, b); break;
    case OP_neg: put(r, "const i64 i%u = -j%u, j%u = -i%u;", id, a, id, a); break;
    case OP_min:
    case OP_max: {
        const char *f = o->op == OP_min ? "min" : "max";
        put(r, "const i64 i%u = %s(i%u, i%u), j%u = %s(j%u, j%u);", id, f, a, b, id, f, a, b);
        break;
    }
    case OP_mul:
        if (!constant) return false;
        put(r, "const i64 i%u = i%u * i%u, j%u = j%u * i%u;", id, a, b, id, a, b);
        break;
    case OP_div: // where the rows and keys begin at 0 all roundings agree
        if (!constant) return false;
        put(r,
            "const i64 i%u = i%u < 0 ? -(1ll << 40) : i%u / i%u, j%u = i%u < 0 ? 1ll << 40 : j%u / "
            "i%u;",
            id, a, a, b, id, a, a, b);
        break;
    default: return false;
    }
    return true;
}

static bool put_condition(Ranges *r, KId id) {
    const KOp *o = &r->k->ops.at[id];
    KId a = o->a, b = o->b;
    if (o->kind == KOP_const) {
        put(r, "const bool may%u = %d, must%u = %d;", id, o->value != 0, id, o->value != 0);
        return true;
    }
    if (o->kind != KOP_scalar || r->done[a] != 1 || (b != NONE && r->done[b] != 1)) return false;
    bool compares = op_info[o->op].rule == RULE_COMPARE;
    if (compares && o->elem != ELEM_i32) return false; // of conditions there are no ends
    switch ((int)o->op) {
    case OP_lt:
        put(r, "const bool may%u = i%u < j%u, must%u = j%u < i%u;", id, a, b, id, a, b);
        break;
    case OP_le:
        put(r, "const bool may%u = i%u <= j%u, must%u = j%u <= i%u;", id, a, b, id, a, b);
        break;
    case OP_eq:
    case OP_ne: {
        bool eq = o->op == OP_eq;
        put(r, "const bool meet%u = i%u <= j%u && i%u <= j%u;", id, a, b, b, a);
        put(r, "const bool same%u = i%u == j%u && j%u == i%u;", id, a, b, a, b);
        put(r,
            eq ? "const bool may%u = meet%u, must%u = meet%u && same%u;"
               : "const bool may%u = !(meet%u && same%u), must%u = !meet%u;",
            id, id, id, id, id);
        break;
    }
    case OP_and:
    case OP_or: {
        const char *f = o->op == OP_and ? "&&" : "||";
        put(r, "const bool may%u = may%u %s may%u, must%u = must%u %s must%u;", id, a, f, b, id, a,
            f, b);
        break;
    }
    case OP_not: put(r, "const bool may%u = !must%u, must%u = !may%u;", id, a, id, a); break;
    default: return false;
    }
    return true;
}

// A comparison of integers, or an operation on conditions.
static bool has_ranges(const KOp *o) {
    if (o->kind != KOP_scalar || o->to != ELEM_bool) return true;
    return o->elem == ELEM_i32 || o->elem == ELEM_bool;
}

static void put_tile(FlashPrinter *x, const FlashPart *part) {
    const Kernel *k = part ? part->kernel : NULL;
    text_printf(x->to, "    static __device__ int tile(u32 m0, u32 m1, u32 k0, u32 k1) {\n");
    Ranges r = {.x = x, .k = k};
    Text none = {.arena = x->a}, all = {.arena = x->a};
    if (k) r.done = NEW_ARRAY(x->a, uint8_t, k->ops.n + 1);
    uint8_t *need = k ? NEW_ARRAY(x->a, uint8_t, k->ops.n + 1) : NULL;
    for (uint32_t i = 0; k && i < part->masks; i++) need[part->mask[i]] = 1;
    for (KId id = k ? k->ops.n : 0; id-- > 0;) {
        KId from[KOP_OPERANDS];
        for (uint32_t j = need[id] ? kop_operands(&k->ops.at[id], from) : 0; j-- > 0;)
            need[from[j]] = 1;
    }
    text_printf(x->to, "        {\n");
    for (KId id = 0; k && id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (!need[id]) continue;
        bool known = has_ranges(o) && (o->to == ELEM_bool  ? put_condition(&r, id)
                                       : o->to == ELEM_i32 ? put_integer(&r, id)
                                                           : false);
        if (!known && o->to == ELEM_bool)
            put(&r, "const bool may%u = true, must%u = false;", id, id);
        r.done[id] = known || o->to == ELEM_bool ? 1 : 2;
    }
    text_put(&all, "true", 4);
    for (uint32_t i = 0; k && i < part->masks; i++) {
        text_printf(&none, "%s!may%u", none.n ? " || " : "", part->mask[i]);
        text_printf(&all, " && must%u", part->mask[i]);
    }
    if (none.n) put(&r, "if (%s) return TILE_none;", none.at);
    put(&r, "return %s ? TILE_all : TILE_some;", all.at);
    text_printf(x->to, "        }\n    }\n");
}

// ---- the class ----------------------------------------------------------------------------------

static void put_part(FlashPrinter *x, uint32_t number) {
    const FlashPart *part = &x->f->part[number];
    const Kernel *k = &x->plain[number];
    CuGeometry g = {.items = 1, .step = 1, .wide = is_wide(x, k)};
    Cu *p = cu_new(x->a, x->to, k, &g);
    uint32_t n = k->ops.n + 1;
    uint8_t *need = NEW_ARRAY(x->a, uint8_t, n), *row = NEW_ARRAY(x->a, uint8_t, n);
    uint8_t axis[K_MAX_AXES] = {0};
    p->fast = true;
    p->keyed = x->keys[number] > 0;
    mark_row(x, p, need, row);
    for (uint32_t i = 0; i < k->outers; i++) axis[i] = reads_axis(k, need, i);
    text_printf(x->to, "    struct S%u {\n", number);
    put_members(x, p, number);
    put_row(x, p, row, axis);
    put_at(x, p, part, row, axis);
    text_printf(x->to, "    };\n    S%u s%u;\n", number, number);
}

static void put_offset(FlashPrinter *x, const char *name, const FlashMatrix *m,
                       const FlashMatrix *kept) {
    if (!m->there) return;
    text_printf(x->to, "    static __device__ i64 %s(u32 z) {\n        return %lld", name,
                (long long)m->base);
    int64_t below = 1;
    for (uint32_t i = x->s->outer.n; i-- > 0;) {
        if (kept && !flash_keeps(x->s, kept, i)) continue;
        if (m->outer[i] && x->s->size[i] > 1)
            text_printf(x->to, " + i64(z / %lldu %% %lldu) * %lld", (long long)below,
                        (long long)x->s->size[i], (long long)m->outer[i]);
        below *= x->s->size[i];
    }
    text_printf(x->to, ";\n    }\n");
}

static void put_matrix(FlashPrinter *x, const char *name, const char *row, const FlashMatrix *m,
                       const FlashMatrix *kept) {
    put_offset(x, name, m, kept);
    if (m->there)
        text_printf(x->to, "    static constexpr i64 %s_ROW = %lld;\n", row, (long long)m->row);
}

// z of member i of what the keys' element y is shared by: digits of y where the result has an axis, of i elsewhere.
static void put_member(FlashPrinter *x, const FlashMatrix *kept) {
    text_printf(x->to, "    static __device__ u32 member(u32 y, u32 i) {\n        return 0");
    int64_t z = 1, own = 1, other = 1;
    for (uint32_t i = x->s->outer.n; i-- > 0;) {
        bool keeps = flash_keeps(x->s, kept, i);
        int64_t *below = keeps ? &own : &other, size = x->s->size[i];
        if (size > 1)
            text_printf(x->to, " + %s / %lldu %% %lldu * %lldu", keeps ? "y" : "i",
                        (long long)*below, (long long)size, (long long)z);
        *below *= size, z *= size;
    }
    text_printf(x->to, ";\n    }\n");
}

static const char *memory(uint32_t elem) { return cu_memory_type((Elem)elem); }

static void put_constants(FlashPrinter *x) {
    const Flash *s = x->s;
    FlashTile t = tile_of(x->f, x->kind);
    text_printf(x->to, "    using T = %s;\n", memory(s->elem));
    if (s->out.there) text_printf(x->to, "    using Out = %s;\n", memory(s->out.elem));
    if (s->dq.there) text_printf(x->to, "    using DQ = %s;\n", memory(s->dq.elem));
    text_printf(x->to, "    using DK = %s;\n", s->dk.there ? memory(s->dk.elem) : "float");
    text_printf(x->to, "    using DV = %s;\n", s->dv.there ? memory(s->dv.elem) : "float");
    text_printf(x->to, "    static constexpr u32 ROWS = %lld, KEYS = %lld, OUTER = %lld;\n",
                (long long)s->rows, (long long)s->keys, (long long)outer_count(s));
    text_printf(x->to, "    static constexpr u32 D = %lld, E = %lld;\n", (long long)s->d,
                (long long)s->e);
    text_printf(x->to, "    static constexpr u32 BM = %u, BN = %u, STAGES = %u;\n", t.bm, t.bn,
                t.stages);
    if (!by_keys(x->kind)) return;
    const FlashMatrix *kept = result_of(s, x->kind);
    long long shared = (long long)kept_count(s, kept);
    text_printf(x->to, "    static constexpr u32 SHARED = %lld, MEMBERS = %lld;\n", shared,
                (long long)outer_count(s) / shared);
    text_printf(x->to, "    static constexpr bool HAS_DK = %d, HAS_DV = %d;\n", has_dk(x->kind),
                has_dv(x->kind));
    put_member(x, kept);
}

static void put_matrices(FlashPrinter *x) {
    const Flash *s = x->s;
    static const FlashMatrix absent;
    put_matrix(x, "q", "Q", &s->q, NULL);
    put_matrix(x, "k", "K", &s->k, NULL);
    put_matrix(x, "v", "V", &s->v, NULL);
    put_matrix(x, "g", "G", &s->g, NULL);
    put_matrix(x, "o", "O", &s->out, NULL);
    put_matrix(x, "dq", "DQ", x->kind == FLASH_dq ? &s->dq : &absent, NULL);
    if (!by_keys(x->kind)) return;
    put_matrix(x, "dk", "DK", has_dk(x->kind) ? &s->dk : &absent, result_of(s, x->kind));
    put_matrix(x, "dv", "DV", has_dv(x->kind) ? &s->dv : &absent, result_of(s, x->kind));
    if (!s->v.there)
        text_printf(x->to, "    static constexpr i64 V_ROW = 0;\n"
                           "    static __device__ i64 v(u32 z) { return 0; }\n");
}

static void put_keep(FlashPrinter *x) {
    const Flash *s = x->s;
    if (s->top.there) text_printf(x->to, "    float *top;\n");
    if (s->sum.there) text_printf(x->to, "    float *sum;\n");
    put_offset(x, "top_at", &s->top, NULL);
    put_offset(x, "sum_at", &s->sum, NULL);
    text_printf(x->to, "    __device__ void keep(u32 z, u32 m, float t, float s) const {\n");
    if (s->top.there)
        text_printf(x->to, "        top[top_at(z) + (i64)m * %lld] = t;\n", (long long)s->top.row);
    if (s->sum.there)
        text_printf(x->to, "        sum[sum_at(z) + (i64)m * %lld] = s;\n", (long long)s->sum.row);
    text_printf(x->to, "    }\n");
}

static void put_rows(FlashPrinter *x, uint32_t first, uint32_t last) {
    const char *wide = outer_count(x->s) * x->s->rows > UINT32_MAX ? "(u64)" : "";
    text_printf(x->to, "    struct Row {\n");
    for (uint32_t i = first; i <= last; i++) text_printf(x->to, "        S%u::Row s%u;\n", i, i);
    text_printf(x->to, "    };\n    __device__ Row row(u32 z, u32 m) const {\n        return {");
    for (uint32_t i = first; i <= last; i++)
        text_printf(x->to, "%ss%u.row(%sz * ROWS + m, m)", i > first ? ", " : "", i, wide);
    text_printf(x->to, "};\n    }\n");
}

static const char forward_methods[] =
    "    template <bool ALL> __device__ float score(const Row &r, u32 z, u32 m, u32 k, float c) "
    "const {\n"
    "        float y;\n        s0.template at<ALL>(r.s0, m, k, c, y);\n        return y;\n    }\n"
    "    template <bool ALL> __device__ float weight(const Row &r, u32 z, u32 m, u32 k, float e) "
    "const {\n"
    "        float y;\n        s1.template at<ALL>(r.s1, m, k, e, y);\n        return y;\n    }\n"
    "    __device__ float shift(const Row &r, u32 z, u32 m, float top) const {\n"
    "        float y;\n        s2.template at<false>(r.s2, m, 0, top, y);\n        return y;\n    "
    "}\n";

static void put_finish(FlashPrinter *x) {
    static const char *const given[] = {"a", "top", "sum"};
    text_printf(x->to,
                "    __device__ float finish(const Row &r, u32 z, u32 m, u32 e, float a, float "
                "top, float sum) const {\n        float y;\n        s3.template "
                "at<false>(r.s3, m, e");
    for (uint32_t i = 0; i < x->f->part[FLASH_finish].kernel->tiles; i++)
        text_printf(x->to, ", %s", given[i]);
    text_printf(x->to, ", y);\n        return y;\n    }\n");
}

static void put_cell(FlashPrinter *x) {
    const Kernel *k = x->f->part[FLASH_cell].kernel;
    text_printf(
        x->to,
        "    template <bool ALL> __device__ void cell(const Row &r, u32 z, u32 m, u32 k, float "
        "c, float dw, float &w, float &dc) const {\n        w = dc = 0;\n"
        "        s%u.template at<ALL>(r.s%u, m, k, c%s",
        FLASH_cell, FLASH_cell, k->tiles > 1 ? ", dw" : "");
    for (uint32_t i = 0; i < k->stores.n; i++)
        text_printf(x->to, ", %s", k->stores.at[i].arg ? "dc" : "w");
    text_printf(x->to, ");\n    }\n");
}

static void put_class(FlashPrinter *x) {
    bool forward = x->kind == FLASH_forward;
    uint32_t first = forward ? FLASH_score : FLASH_cell, last = forward ? FLASH_finish : FLASH_cell;
    put_constants(x);
    put_matrices(x);
    for (uint32_t i = first; i <= last; i++) put_part(x, i);
    put_tile(x, &x->f->part[first]);
    put_rows(x, first, last);
    if (forward) {
        text_put(x->to, forward_methods, sizeof forward_methods - 1);
        put_finish(x);
        put_keep(x);
    } else {
        put_cell(x);
    }
}

// ---- the kernel ---------------------------------------------------------------------------------

// Its parameters are its arguments, p<number>.
static void put_signature(FlashPrinter *x, const FlashArgs *args, const char *const *types,
                          uint32_t function) {
    FlashTile t = tile_of(x->f, x->kind);
    text_printf(x->to,
                "extern \"C\" __global__ void __launch_bounds__(%u, %u) k%u(const Env *env, "
                "const u32 place",
                2 * t.bm, t.resident, function);
    for (uint32_t i = 0; i < args->n; i++) text_printf(x->to, ", %s *p%u", types[i], i);
    for (uint32_t i = 0; i < x->nkeys; i++) text_printf(x->to, ", u64 q%u", i);
    text_printf(x->to, ") {\n    Flash%u p;\n", function);
}

static void put_fields(FlashPrinter *x, const FlashArgs *args) {
    for (uint32_t i = 0; i < FLASH_PARTS; i++) {
        const Kernel *k = x->f->part[i].kernel;
        if (!k) continue;
        bool random = false;
        for (uint32_t j = 0; j < k->args.n; j++)
            text_printf(x->to, "    p.s%u.a%u = p%u;\n", i, j, args->part[i] + j);
        for (uint32_t j = 0; j < x->keys[i]; j++)
            text_printf(x->to, "    p.s%u.q%u = q%u;\n", i, j, x->first_key[i] + j);
        for (KId id = 0; id < k->ops.n; id++) random |= k->ops.at[id].kind == KOP_random;
        if (random)
            text_printf(x->to,
                        "    p.s%u.seed = env->seed, p.s%u.step = env->step, p.s%u.sample = "
                        "env->sample;\n",
                        i, i, i);
    }
}

static void put_call(FlashPrinter *x, const FlashArgs *args) {
    const Flash *s = x->s;
    uint32_t out = args->first_out;
    if (x->kind == FLASH_forward) {
        uint32_t at = out + 1;
        if (s->top.there) text_printf(x->to, "    p.top = p%u;\n", at++);
        if (s->sum.there) text_printf(x->to, "    p.sum = p%u;\n", at);
        text_printf(x->to, "    attend(env, place + %u, p, p0, p1, p2, p%u);\n}\n", out, out);
        return;
    }
    const char *v = s->v.there ? "p2" : "nullptr";
    uint32_t g = s->v.there ? 3 : 2;
    text_printf(x->to, "    attend_%s(env, place + %u, p, p0, p1, %s, p%u",
                x->kind == FLASH_dq ? "dq" : "dkv", out, v, g);
    if (x->kind == FLASH_dq)
        text_printf(x->to, ", p%u);\n}\n", out);
    else if (x->kind == FLASH_dkv)
        text_printf(x->to, ", p%u, p%u);\n}\n", out, out + 1);
    else if (x->kind == FLASH_dk)
        text_printf(x->to, ", p%u, nullptr);\n}\n", out);
    else
        text_printf(x->to, ", nullptr, p%u);\n}\n", out);
}

static const char *const *types_of(FlashPrinter *x, const FlashArgs *args) {
    const char **types = NEW_ARRAY(x->a, const char *, args->n + 1);
    const Flash *s = x->s;
    uint32_t at = 0;
    while (at < args->first_out) types[at++] = arena_printf(x->a, "const %s", memory(s->elem));
    const FlashMatrix *out[] = {&s->out, &s->top, &s->sum};
    for (uint32_t i = 0; x->kind == FLASH_forward && i < 3; i++)
        if (out[i]->there) types[at++] = memory(out[i]->elem);
    if (x->kind == FLASH_dq) types[at++] = memory(s->dq.elem);
    if (has_dk(x->kind)) types[at++] = memory(s->dk.elem);
    if (has_dv(x->kind)) types[at++] = memory(s->dv.elem);
    for (uint32_t i = 0; i < FLASH_PARTS; i++) {
        const Kernel *k = x->f->part[i].kernel;
        for (uint32_t j = 0; k && j < k->args.n; j++)
            types[at++] = arena_printf(x->a, "const %s", memory(k->args.at[j].elem));
    }
    return types;
}

static bool set_launch(const FlashPrinter *x, CudaLaunch *to, Text *why) {
    const Flash *s = x->s;
    FlashTile t = tile_of(x->f, x->kind);
    int64_t rows = by_keys(x->kind) ? s->keys : s->rows;
    int64_t blocks = (rows + t.bm - 1) / t.bm *
                     (by_keys(x->kind) ? kept_count(s, result_of(s, x->kind)) : outer_count(s));
    if (blocks > INT32_MAX || s->rows > INT32_MAX || s->keys > INT32_MAX) {
        text_printf(why, "an attention with more tiles than a grid has blocks");
        return false;
    }
    uint32_t q = pitch(s->d), v = pitch(s->e);
    *to = (CudaLaunch){.grid = {(uint32_t)blocks, 1, 1}, .block = 2 * t.bm};
    to->shared = t.bm * (x->kind == FLASH_forward ? q : q + v) + t.stages * t.bn * (q + v);
    if (by_keys(x->kind)) to->shared += t.stages * t.bn * x->row_bytes;
    if (to->shared > MOST_SHARED) {
        text_printf(why, "an attention whose blocks need %u bytes of shared memory, of %d",
                    to->shared, MOST_SHARED);
        return false;
    }
    to->nkeys = x->nkeys;
    memcpy(to->key, x->key, x->nkeys * sizeof *x->key);
    return true;
}

bool cuda_add_flash(CudaModule *m, const LowerFlash *f, FlashKernelKind kind, const char *name,
                    CudaLaunch *launch, Text *why) {
    FlashArgs args = flash_args(f, kind);
    Text text = {.arena = m->arena};
    FlashPrinter x = {
        .a = m->arena, .to = &text, .f = f, .s = &f->shape, .kind = kind, .row_bytes = 8};
    if (args.n >= K_MAX_ARGS) {
        text_printf(why, "an attention with more arguments than a kernel has");
        return false;
    }
    take_keys(&x);
    put_class(&x);
    if (!set_launch(&x, launch, why)) return false;
    uint32_t *slot;
    const CudaPrinted *same = cuda_module_find(m, &text, &slot);
    if (same) {
        launch->function = same->launch.function;
        launch->batch = same->launch.batch;
        return true;
    }
    CudaTemplate uses = kind == FLASH_forward ? CUDA_attend : CUDA_attend_grad;
    Text *to = cuda_module_open_function(m, name, uses, &launch->function, &launch->batch);
    text_printf(to, "struct Flash%u {\n", launch->function);
    text_put(to, text.at, text.n);
    text_printf(to, "};\n");
    x.to = to;
    put_signature(&x, &args, types_of(&x, &args), launch->function);
    put_fields(&x, &args);
    put_call(&x, &args);
    CudaPrinted p = {text.at, text.n, *launch};
    vec_push(m->arena, &m->printed, p);
    *slot = m->printed.n;
    return true;
}

// kernel_finish: checks a kernel and computes what follows from it: which ops depend on the lane, the
// phases and what each needs, the number of tasks, scratch, cost and hash.
//
// Why in one place: the printers, kinterp and the plan must agree on all of them, and a kernel that
// breaks an invariant must be refused before it becomes code.
//
// Scratch: one row per held op in order of id, then one per column fold in order; a row is the
// lanes of a task (KORDER_lanes: grain, else the lane extent) rounded up to 16, times 4 bytes. So
// every row is aligned to 64 bytes. Bools lie in such a row as bytes.
//
// Linear in ops, stores and folds, for each phase.
#include "codegen/sweep.h"
#include "runtime/plan.h"
#include <string.h>

enum { LANE_STEP = 16, SCRATCH_BYTES = 4, MAX_PHASES = 255 };

// One check of one kernel under way. uses[i]: set of axes that op i depends on, one bit each.
typedef struct {
    Kernel *k;
    Text *why;
    uint32_t *uses;
} Finish;

#define FAIL(f, ...)                                                                               \
    do {                                                                                           \
        text_printf((f)->why, __VA_ARGS__);                                                        \
        return false;                                                                              \
    } while (0)

static uint32_t axis_bit(uint32_t axis) { return 1u << axis; }

// Axes that tasks walk: the result of a column fold does not depend on them.
static uint32_t walked_axes(const Kernel *k) {
    uint32_t set = 0;
    for (uint32_t i = kernel_walk(k); i < k->outers; i++) set |= axis_bit(i);
    return set;
}

static bool multiply(int64_t *product, int64_t by) {
    return !__builtin_mul_overflow(*product, by, product);
}

// ---- the frame

static bool check_flat(Finish *f) {
    const Kernel *k = f->k;
    if (k->flat == 0) return true;
    if (k->outers == 0) FAIL(f, "a flat kernel needs an outer axis");
    int64_t cuts = k->extent[k->outers - 1], lanes = k->extent[k->outers];
    if (k->flat < 0 || k->flat > cuts * lanes || k->flat <= (cuts - 1) * lanes)
        FAIL(f, "%lld flat elements do not fit %lld rows of %lld", (long long)k->flat,
             (long long)cuts, (long long)lanes);
    if (k->order != KORDER_rows) FAIL(f, "only kernels over rows can be flat");
    return true;
}

static bool check_axes(Finish *f) {
    const Kernel *k = f->k;
    if (k->order >= KORDER_COUNT) FAIL(f, "unknown order %u", k->order);
    if (k->outers >= K_MAX_AXES) FAIL(f, "%u axes, at most %d fit", k->outers + 1, K_MAX_AXES);
    if (k->args.n > K_MAX_ARGS) FAIL(f, "%u arguments, at most %d fit", k->args.n, K_MAX_ARGS);
    if (k->grain < 1) FAIL(f, "grain %lld is below 1", (long long)k->grain);
    if (k->order == KORDER_chunks && k->walk > k->outers)
        FAIL(f, "axis %u cannot be the first walked one", k->walk);
    int64_t all = 1 << 20; // room for bytes and costs
    for (uint32_t i = 0; i <= k->outers; i++) {
        if (k->extent[i] < 0) FAIL(f, "axis %u has extent %lld", i, (long long)k->extent[i]);
        if (k->extent[i] && !multiply(&all, k->extent[i])) FAIL(f, "extents are too large");
    }
    return check_flat(f);
}

static bool check_args(Finish *f) {
    for (uint32_t i = 0; i < f->k->args.n; i++) {
        const KArg *a = &f->k->args.at[i];
        if (a->elem >= ELEM_COUNT || a->mode >= KARG_MODES || a->count < 0)
            FAIL(f, "argument %u has elem %u, mode %u, count %lld", i, a->elem, a->mode,
                 (long long)a->count);
    }
    return true;
}

// ---- ops

static Elem result_of(const Kernel *k, KId id) { return (Elem)k->ops.at[id].to; }

// An operand: an earlier op of the wanted type.
static bool check_operand(Finish *f, KId user, KId id, Elem want) {
    if (id >= user) FAIL(f, "op %u uses op %u, which is not before it", user, id);
    Elem got = result_of(f->k, id);
    if (got != want)
        FAIL(f, "op %u wants %s, op %u is %s", user, elem_info[want].name, id, elem_info[got].name);
    f->uses[user] |= f->uses[id];
    return true;
}

// Adds |step| * count to *sum; false beyond 2^62, so that no offset overflows.
static bool reaches(int64_t *sum, int64_t step, int64_t count) {
    int64_t by;
    if (step == INT64_MIN || __builtin_mul_overflow(step < 0 ? -step : step, count, &by))
        return false;
    return !__builtin_add_overflow(*sum, by, sum) && *sum < (int64_t)1 << 62;
}

static bool bounded(const Kernel *k, const KIndex *x) {
    int64_t sum = 0;
    if (!reaches(&sum, x->base, 1)) return false;
    for (uint32_t i = 0; i <= k->outers; i++)
        if (!reaches(&sum, x->stride[i], k->extent[i])) return false;
    return x->op == NONE || reaches(&sum, x->op_stride, (int64_t)1 << 31);
}

// user: the op that is indexed, or the number of ops for stores and folds.
static bool check_index(Finish *f, KId user, const KIndex *x) {
    const Kernel *k = f->k;
    for (uint32_t i = k->outers + 1; i < K_MAX_AXES; i++)
        if (x->stride[i]) FAIL(f, "stride along axis %u, which does not exist", i);
    if (!bounded(k, x)) FAIL(f, "an index is out of the range of 62 bits");
    for (uint32_t i = 0; i <= k->outers; i++)
        if (x->stride[i]) f->uses[user] |= axis_bit(i);
    return x->op == NONE || check_operand(f, user, x->op, ELEM_i32);
}

static bool check_mask(Finish *f, KId user, KId mask) {
    return mask == NONE || check_operand(f, user, mask, ELEM_bool);
}

static bool is_whole(Elem e) {
    return elem_info[e].kind == ELEM_INT || elem_info[e].kind == ELEM_UINT;
}

// Which elem -> to an op allows. What is for storage is moved and cast.
static bool rule_allows(ScalarRule rule, Op op, Elem elem, Elem to) {
    if (elem_is_narrow(elem) && op != OP_select && op != OP_cast) return false;
    switch (rule) {
    case RULE_FLOAT: return elem == ELEM_f32 && to == elem;
    case RULE_ARITH: return elem != ELEM_bool && to == elem;
    case RULE_LOGIC: return elem != ELEM_f32 && to == elem;
    case RULE_SHIFT: return is_whole(elem) && to == elem;
    case RULE_COMPARE: return to == ELEM_bool;
    case RULE_PREDICATE: return elem == ELEM_f32 && to == ELEM_bool;
    case RULE_SELECT: return to == elem;
    case RULE_CAST: return op == OP_cast || elem_info[elem].bytes == elem_info[to].bytes;
    case RULE_NONE: break;
    }
    return false;
}

static bool check_scalar(Finish *f, KId id) {
    const KOp *o = &f->k->ops.at[id];
    if (!op_is_scalar((Op)o->op)) FAIL(f, "op %u is no scalar op (%u)", id, o->op);
    const OpInfo *info = &op_info[o->op];
    if (!rule_allows((ScalarRule)info->rule, (Op)o->op, (Elem)o->elem, (Elem)o->to))
        FAIL(f, "op %u: '%s' does not take %s to %s", id, info->name, elem_info[o->elem].name,
             elem_info[o->to].name);
    const KId from[] = {o->a, o->b, o->c};
    for (uint32_t i = 0; i < 3; i++) {
        if ((from[i] != NONE) != (i < info->min))
            FAIL(f, "op %u: '%s' takes %u operands", id, info->name, info->min);
        Elem want = o->op == OP_select && i == 0 ? ELEM_bool : (Elem)o->elem;
        if (i < info->min && !check_operand(f, id, from[i], want)) return false;
    }
    return true;
}

static bool readable(const KArg *a) { return a->mode != KARG_out; }
static bool writable(const KArg *a) { return a->mode != KARG_in; }

static bool check_load(Finish *f, KId id) {
    const KOp *o = &f->k->ops.at[id];
    if (o->arg >= f->k->args.n) FAIL(f, "op %u loads argument %u of %u", id, o->arg, f->k->args.n);
    const KArg *a = &f->k->args.at[o->arg];
    if (!readable(a)) FAIL(f, "op %u loads argument %u, which is written only", id, o->arg);
    if (a->elem != o->to) FAIL(f, "op %u loads argument %u as another type", id, o->arg);
    return check_index(f, id, &o->index) && check_mask(f, id, o->mask);
}

static bool check_fold_op(Finish *f, KId id) {
    const KOp *o = &f->k->ops.at[id];
    if (o->fold >= f->k->folds.n) FAIL(f, "op %u: there is no fold %u", id, o->fold);
    const KFold *fold = &f->k->folds.at[o->fold];
    if (fold->column) FAIL(f, "op %u reads fold %u, which is a column fold", id, o->fold);
    if (fold->phase >= MAX_PHASES) FAIL(f, "fold %u is in phase %u", o->fold, fold->phase);
    if (fold->value >= id) FAIL(f, "op %u reads fold %u of a later op", id, o->fold);
    if (result_of(f->k, fold->value) != o->to) FAIL(f, "op %u reads a fold of another type", id);
    f->uses[id] = f->uses[fold->value] & ~axis_bit(f->k->outers);
    return true;
}

static bool check_const(Finish *f, KId id) {
    const KOp *o = &f->k->ops.at[id];
    const ElemInfo *e = &elem_info[o->to]; // a bool is true for all but 0
    if (is_whole((Elem)o->to) && !(o->value >= e->low && o->value < e->high + 1))
        FAIL(f, "op %u: %s cannot hold %g", id, elem_info[o->to].name, o->value);
    return true;
}

static bool check_tile(Finish *f, const char *what, uint32_t i, uint32_t tile) {
    uint32_t most = f->k->order == KORDER_strip ? K_MAX_TILES : 1;
    if (tile >= most) FAIL(f, "%s %u: tile %u, there are %u at most", what, i, tile, most);
    return true;
}

static bool check_op(Finish *f, KId id) {
    const Kernel *k = f->k;
    const KOp *o = &k->ops.at[id];
    if (o->to >= ELEM_COUNT || o->elem >= ELEM_COUNT) FAIL(f, "op %u has no element type", id);
    switch ((KOpKind)o->kind) {
    case KOP_scalar: return check_scalar(f, id);
    case KOP_const: return check_const(f, id);
    case KOP_index:
        if (o->axis > k->outers) FAIL(f, "op %u: there is no axis %u", id, o->axis);
        if (o->to != ELEM_i32) FAIL(f, "op %u: an index is i32", id);
        f->uses[id] = axis_bit(o->axis);
        return true;
    case KOP_load: return check_load(f, id);
    case KOP_random:
        if (o->sample_stride > INT32_MAX || o->sample_stride < INT32_MIN)
            FAIL(f, "op %u: sample stride %lld", id, (long long)o->sample_stride);
        if (o->to != ELEM_u32 || o->word > 3) FAIL(f, "op %u: random is word 0 to 3, u32", id);
        return check_index(f, id, &o->index);
    case KOP_fold: return check_fold_op(f, id);
    case KOP_tile:
        if ((k->order != KORDER_tile && k->order != KORDER_strip) || o->to != ELEM_f32)
            FAIL(f, "op %u: only epilogues and strips read tiles, of f32", id);
        if (!check_tile(f, "op", id, o->arg)) return false;
        for (uint32_t i = 0; i <= k->outers; i++) f->uses[id] |= axis_bit(i);
        return true;
    case KOP_KINDS: break;
    }
    FAIL(f, "op %u has unknown kind %u", id, o->kind);
}

static bool check_ops(Finish *f) {
    Kernel *k = f->k;
    for (KId id = 0; id < k->ops.n; id++) {
        if (!check_op(f, id)) return false;
        KOp *o = &k->ops.at[id];
        o->lane = kop_lane(k, o);
        o->ready = kop_ready(k, o);
        if (o->hold && k->order == KORDER_tile) FAIL(f, "op %u: an epilogue holds no rows", id);
    }
    return true;
}

// ---- stores and folds

static bool store_lane(const Kernel *k, const KStore *s) {
    const KOp *ops = k->ops.at;
    return s->tile || ops[s->value].lane || kernel_index_lane(k, &s->index) ||
           (s->mask != NONE && ops[s->mask].lane);
}

// The value, mask or index of a store or fold exists and is ready in its phase.
static bool check_use(Finish *f, const char *what, uint32_t i, uint32_t phase, KId id) {
    if (id == NONE) return true;
    if (id >= f->k->ops.n) FAIL(f, "%s %u: there is no op %u", what, i, id);
    if (f->k->ops.at[id].ready > phase)
        FAIL(f, "%s %u is in phase %u, op %u is ready in phase %u", what, i, phase, id,
             f->k->ops.at[id].ready);
    return true;
}

static bool check_target(Finish *f, const char *what, uint32_t i, uint32_t arg, KId value,
                         const KIndex *x) {
    const Kernel *k = f->k;
    if (arg >= k->args.n) FAIL(f, "%s %u: there is no argument %u", what, i, arg);
    if (!writable(&k->args.at[arg])) FAIL(f, "%s %u: argument %u is only read", what, i, arg);
    if (k->args.at[arg].elem != k->ops.at[value].to)
        FAIL(f, "%s %u: argument %u has another type", what, i, arg);
    f->uses[k->ops.n] = 0;
    return check_index(f, k->ops.n, x);
}

// A tile is stored by the last sweep over the lanes: an earlier one's value would be read again.
static bool check_tile_store(Finish *f, uint32_t i) {
    const Kernel *k = f->k;
    const KStore *s = &k->stores.at[i];
    if (k->order != KORDER_strip) FAIL(f, "store %u: only strips store tiles", i);
    if (!check_tile(f, "store", i, s->arg)) return false;
    if (elem_info[result_of(k, s->value)].computes != ELEM_f32) // in registers it is that
        FAIL(f, "store %u: a tile is of f32", i);
    if (s->mask != NONE) FAIL(f, "store %u: a tile is stored whole, without mask", i);
    for (uint32_t q = 0; q < k->folds.n; q++)
        if (k->folds.at[q].phase > s->phase)
            FAIL(f, "store %u: fold %u reads lanes after tile %u is stored", i, q, s->arg);
    for (uint32_t q = 0; q < k->stores.n; q++) {
        const KStore *other = &k->stores.at[q];
        if (q < i && other->tile && other->arg == s->arg)
            FAIL(f, "store %u: tile %u is stored twice", i, s->arg);
        if (other->phase > s->phase && other->lane)
            FAIL(f, "store %u: store %u reads lanes after tile %u is stored", i, q, s->arg);
    }
    return true;
}

static bool check_stores(Finish *f) {
    const Kernel *k = f->k;
    for (uint32_t i = 0; i < k->stores.n; i++) {
        KStore *s = &k->stores.at[i];
        if (s->phase >= MAX_PHASES) FAIL(f, "store %u is in phase %u", i, s->phase);
        if (s->value == NONE) FAIL(f, "store %u has no value", i);
        if (!check_use(f, "store", i, s->phase, s->value) ||
            !check_use(f, "store", i, s->phase, s->mask) ||
            (!s->tile && !check_use(f, "store", i, s->phase, s->index.op)))
            return false;
        s->lane = store_lane(k, s);
        if (s->tile) continue;
        if (!check_target(f, "store", i, s->arg, s->value, &s->index) ||
            !check_mask(f, k->ops.n, s->mask))
            return false;
        bool shared = k->order == KORDER_lanes || k->order == KORDER_tile;
        if (shared && k->extent[k->outers] > 1 && !(f->uses[k->ops.n] & axis_bit(k->outers)))
            FAIL(f, "store %u does not depend on the lane: several tasks would store it", i);
    }
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (k->stores.at[i].tile && !check_tile_store(f, i)) return false;
    return true;
}

static bool check_column(Finish *f, uint32_t i) {
    const Kernel *k = f->k;
    const KFold *fold = &k->folds.at[i];
    if (k->order != KORDER_chunks && k->order != KORDER_lanes)
        FAIL(f, "fold %u: only chunks and lanes fold columns", i);
    if (!check_target(f, "fold", i, fold->arg, fold->value, &fold->index)) return false;
    uint32_t uses = f->uses[k->ops.n];
    if (fold->plus != NONE) {
        if (fold->plus >= k->ops.n) FAIL(f, "fold %u: there is no op %u", i, fold->plus);
        if (result_of(k, fold->plus) != result_of(k, fold->value) || fold->kind != REDUCE_sum)
            FAIL(f, "fold %u: only a sum of the same type can be added", i);
        if (k->ops.at[fold->plus].ready) FAIL(f, "fold %u adds the result of a row fold", i);
        uses |= f->uses[fold->plus];
    }
    if (uses & walked_axes(k)) FAIL(f, "fold %u: its place depends on a walked axis", i);
    if (fold->chunk_stride > INT32_MAX || fold->chunk_stride < INT32_MIN)
        FAIL(f, "fold %u: chunk stride %lld", i, (long long)fold->chunk_stride);
    if (fold->chunk_stride && k->order != KORDER_chunks) FAIL(f, "fold %u has no chunks", i);
    return true;
}

static bool fold_allows(uint32_t kind, Elem e) {
    bool logic = kind == REDUCE_any || kind == REDUCE_all;
    if (elem_is_narrow(e)) return false;
    return kind < REDUCE_COUNT && (logic ? e != ELEM_f32 : e != ELEM_bool);
}

static bool check_folds(Finish *f) {
    const Kernel *k = f->k;
    for (uint32_t i = 0; i < k->folds.n; i++) {
        const KFold *fold = &k->folds.at[i];
        if (fold->value == NONE) FAIL(f, "fold %u has no value", i);
        if (fold->phase >= MAX_PHASES) FAIL(f, "fold %u is in phase %u", i, fold->phase);
        if (!check_use(f, "fold", i, fold->phase, fold->value)) return false;
        if (!fold_allows(fold->kind, result_of(k, fold->value)))
            FAIL(f, "fold %u cannot fold %s", i, elem_info[result_of(k, fold->value)].name);
        if (fold->column && !check_column(f, i)) return false;
        bool whole =
            k->order == KORDER_rows || k->order == KORDER_chunks || k->order == KORDER_strip;
        if (!fold->column && !whole) FAIL(f, "fold %u: only whole rows can be folded", i);
    }
    return true;
}

// ---- derived figures

static void count_phases(Kernel *k) {
    k->phases = 1;
    k->columns = 0;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (k->stores.at[i].phase >= k->phases) k->phases = k->stores.at[i].phase + 1;
    for (uint32_t i = 0; i < k->folds.n; i++)
        if (k->folds.at[i].phase >= k->phases) k->phases = k->folds.at[i].phase + 1;
    for (uint32_t i = 0; i < k->folds.n; i++) k->columns += k->folds.at[i].column;
}

// there: by op, whether its value is; all 0.
static void find_phase(Arena *a, Kernel *k, uint32_t phase, uint8_t *there) {
    bool end = phase == k->phases;
    const KSweep one = {phase, phase + 1, .row_folds = true, .columns = true, .stores = true};
    const KSweep s = end ? (KSweep){.ends = true} : one;
    KPhase *p = &k->phase[phase];
    p->need = NEW_ARRAY(a, uint8_t, k->ops.n + 1);
    p->lanes = ksweep_lanes(k, &s);
    for (uint32_t i = 0; i < k->folds.n; i++)
        p->row_folds |= !k->folds.at[i].column && ksweep_folds(&s, &k->folds.at[i]);
    ksweep_want(k, &s, p->need);
    kernel_close(k, p->need, there);
    for (KId id = 0; id < k->ops.n && !end; id++) {
        KOp *o = &k->ops.at[id];
        if (!p->need[id]) continue;
        if (o->first == KOP_NEVER) o->first = (uint8_t)phase;
        there[id] = o->hold || !o->lane;
    }
}

static void find_phases(Arena *a, Kernel *k, uint8_t *there) {
    k->phase = NEW_ARRAY(a, KPhase, k->phases + 1);
    for (KId id = 0; id < k->ops.n; id++) k->ops.at[id].first = KOP_NEVER;
    for (uint32_t i = 0; i <= k->phases; i++) {
        if (i == k->phases) memset(there, 0, k->ops.n);
        find_phase(a, k, i, there);
    }
}

static void count_tiles(Kernel *k) {
    k->tiles = 0;
    for (KId id = 0; id < k->ops.n; id++)
        if (k->ops.at[id].kind == KOP_tile && k->ops.at[id].arg >= k->tiles)
            k->tiles = k->ops.at[id].arg + 1;
    for (uint32_t i = 0; i < k->stores.n; i++)
        if (k->stores.at[i].tile && k->stores.at[i].arg >= k->tiles)
            k->tiles = k->stores.at[i].arg + 1;
}

static int64_t count_tasks(const Kernel *k) {
    int64_t rows = kernel_points(k, 0, k->outers), lanes = k->extent[k->outers];
    switch ((KOrder)k->order) {
    case KORDER_rows: return lanes ? sn_ceil_div(rows, k->grain) : 0;
    case KORDER_chunks:
        if (!lanes) return 0;
        return kernel_points(k, 0, k->walk) *
               sn_ceil_div(kernel_points(k, k->walk, k->outers), k->grain);
    case KORDER_lanes: return sn_ceil_div(lanes, k->grain);
    case KORDER_tile:
    case KORDER_strip: return 1;
    case KORDER_COUNT: break;
    }
    unreachable(k->order);
}

static int64_t count_scratch(const Kernel *k) {
    int64_t lanes = k->order == KORDER_lanes ? k->grain : k->extent[k->outers], rows = 0;
    for (KId id = 0; id < k->ops.n; id++) rows += k->ops.at[id].hold && k->ops.at[id].lane;
    rows += k->columns;
    return rows * sn_ceil_div(lanes, LANE_STEP) * LANE_STEP * SCRATCH_BYTES;
}

static int64_t count_flops(const Kernel *k) {
    int64_t rows = kernel_points(k, 0, k->outers), lanes = k->extent[k->outers], sum = 0;
    int64_t elements = k->flat ? k->flat * (rows / k->extent[k->outers - 1]) : rows * lanes;
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (o->kind == KOP_scalar) sum += op_info[o->op].cost * (o->lane ? elements : rows);
    }
    return sum + k->folds.n * elements;
}

// Elements that an index reaches, at most those of the tensor.
static int64_t reach(const Kernel *k, uint32_t arg, const KIndex *x, const uint32_t *uses) {
    uint32_t set = x->op == NONE ? 0 : uses[x->op];
    int64_t n = 1, count = k->args.at[arg].count;
    for (uint32_t i = 0; i <= k->outers; i++)
        if (x->stride[i] || (set & axis_bit(i))) n *= k->extent[i];
    return n < count ? n : count;
}

static void widen(int64_t *at, int64_t n) {
    if (n > *at) *at = n;
}

// Memory traffic, every argument once in each direction.
static int64_t count_bytes(const Kernel *k, const uint32_t *uses) {
    int64_t in[K_MAX_ARGS] = {0}, out[K_MAX_ARGS] = {0}, sum = 0;
    for (KId id = 0; id < k->ops.n; id++) {
        const KOp *o = &k->ops.at[id];
        if (o->kind == KOP_load) widen(&in[o->arg], reach(k, o->arg, &o->index, uses));
    }
    for (uint32_t i = 0; i < k->stores.n; i++) {
        const KStore *s = &k->stores.at[i];
        if (!s->tile) widen(&out[s->arg], reach(k, s->arg, &s->index, uses));
    }
    for (uint32_t i = 0; i < k->folds.n; i++) {
        const KFold *f = &k->folds.at[i];
        if (f->column) widen(&out[f->arg], reach(k, f->arg, &f->index, uses));
    }
    for (uint32_t i = 0; i < k->args.n; i++)
        sum += (in[i] + out[i]) * elem_info[k->args.at[i].elem].bytes;
    return sum;
}

// The text without the name says all that makes the code.
static uint64_t hash_of(Arena *scratch, const Kernel *k) {
    Kernel nameless = *k;
    nameless.name = "";
    Text t = {.arena = scratch};
    kernel_print(&t, &nameless);
    return hash_bytes(HASH_SEED, t.at, t.n);
}

bool kernel_finish(Arena *a, Kernel *k, Text *why) {
    Arena *scratch = arena_new();
    Finish f = {k, why, NEW_ARRAY(scratch, uint32_t, k->ops.n + 1)};
    bool ok =
        check_axes(&f) && check_args(&f) && check_ops(&f) && check_folds(&f) && check_stores(&f);
    if (ok) {
        count_phases(k);
        count_tiles(k);
        find_phases(a, k, NEW_ARRAY(scratch, uint8_t, k->ops.n + 1));
        k->tasks = count_tasks(k);
        k->scratch = count_scratch(k);
        k->flops = count_flops(k);
        k->bytes = count_bytes(k, f.uses);
        k->hash = hash_of(scratch, k);
    }
    arena_free(scratch);
    return ok;
}

bool kernel_equal(const Kernel *a, const Kernel *b) {
    Arena *scratch = arena_new();
    Kernel x = *a, y = *b;
    x.name = y.name = "";
    Text s = {.arena = scratch}, t = {.arena = scratch};
    kernel_print(&s, &x);
    kernel_print(&t, &y);
    bool same = s.n == t.n && memcmp(s.at, t.at, s.n) == 0;
    arena_free(scratch);
    return same;
}

Kernel kernel_without_keys(Arena *a, const Kernel *k, uint64_t *keys, uint32_t most, uint32_t *n) {
    Kernel copy = *k;
    copy.name = "";
    copy.ops.at = arena_copy(a, k->ops.at, k->ops.n * sizeof *k->ops.at);
    *n = 0;
    for (KId id = 0; id < k->ops.n; id++) {
        KOp *o = &copy.ops.at[id];
        if (o->kind != KOP_random) continue;
        uint32_t i = 0;
        while (i < *n && keys[i] != o->key) i++;
        if (i == most) {
            memcpy(copy.ops.at, k->ops.at, k->ops.n * sizeof *k->ops.at);
            *n = 0;
            return copy;
        }
        if (i == *n) keys[(*n)++] = o->key;
        o->key = i;
    }
    return copy;
}

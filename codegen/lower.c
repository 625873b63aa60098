// Group to kernel: see lower.h. The kernel's axes are the tensor axes of the group's iteration space,
// outer ones first, the lane's last; then neighbours that every access walks as one are merged. Where
// several lane axes do not merge, the group is lowered again with one lane axis and indices computed
// by division: slow and right.
#include "codegen/lower_value.h"
#include "codegen/sweep.h"
#include <string.h>

enum {
    TASK_ELEMENTS = 16384, // elements per task: long enough to hide claiming a task
    FLAT_LANES = 4096,     // a long row without structure is cut into rows of this length
    SCATTER_LANES = 128,   // columns that one scatter task owns
    HOLD_COST = 8,         // a value that costs more adds than this is kept for the next phase
};

typedef struct {
    AxisId axis[MAX_AXES];
    int64_t size[MAX_AXES];
    uint32_t n;
} Axes;

typedef struct {
    Axes outer, lane;
    uint32_t walk; // first walked outer axis; outer.n when none is
    int64_t chunk; // rows per task of walked axes
    bool segments; // the last outer axis counts segments of the lane axes
    bool one_lane; // lane axes are one kernel axis, read by division
} IterationSpace;

static void add_axis(Axes *a, const Type *t, AxisId axis) {
    a->axis[a->n] = axis;
    a->size[a->n++] = t->axes[type_find(t, axis)].size;
}

static int64_t product(const Axes *a, uint32_t from) {
    int64_t p = 1;
    for (uint32_t i = from; i < a->n; i++) p *= a->size[i];
    return p;
}

// ---- the iteration space ------------------------------------------------------------------------

static IterationSpace space_rows(const Type *t, const Attr *at) {
    IterationSpace s = {0};
    for (uint32_t i = 0; i < t->n; i++)
        if (!list_has(&at->reduce.axes, t->axes[i].axis)) add_axis(&s.outer, t, t->axes[i].axis);
    for (uint32_t i = 0; i < at->reduce.axes.n; i++) add_axis(&s.lane, t, at->reduce.axes.at[i]);
    s.walk = s.outer.n;
    s.segments = at->reduce.part != 0;
    return s;
}

static void walk_axes(IterationSpace *s, const Type *t, const Attr *at) {
    Axes kept = {0};
    for (uint32_t i = 0; i < s->outer.n; i++)
        if (!list_has(&at->reduce.axes, s->outer.axis[i])) add_axis(&kept, t, s->outer.axis[i]);
    s->outer = kept;
    s->walk = kept.n;
    for (uint32_t i = 0; i < at->reduce.axes.n; i++) add_axis(&s->outer, t, at->reduce.axes.at[i]);
    int64_t rows = product(&s->outer, s->walk);
    s->chunk = at->reduce.by == FOLD_col ? fold_chunk(rows) : rows;
    if (s->chunk < 1) s->chunk = 1;
}

static IterationSpace space_columns(const Type *t, const Attr *at) {
    IterationSpace s = {0};
    uint32_t suffix = t->n; // the kept axes after the last folded one are the lanes
    while (suffix > 0 && !list_has(&at->reduce.axes, t->axes[suffix - 1].axis)) suffix--;
    for (uint32_t i = 0; i < suffix; i++) add_axis(&s.outer, t, t->axes[i].axis);
    for (uint32_t i = suffix; i < t->n; i++) add_axis(&s.lane, t, t->axes[i].axis);
    walk_axes(&s, t, at);
    return s;
}

static IterationSpace space_map(const Type *t) {
    IterationSpace s = {0};
    for (uint32_t i = 0; i + 1 < t->n; i++) add_axis(&s.outer, t, t->axes[i].axis);
    if (t->n) add_axis(&s.lane, t, t->axes[t->n - 1].axis);
    s.walk = s.outer.n;
    return s;
}

static const Type *operand_type(const Lowering *l, NodeId n) {
    return type_of(l->m, l->f, operand(l->f, n, 0));
}

static bool is_column(const Lowering *l, NodeId n) {
    return node_at(l->f, n)->op == OP_reduce && attr_of(l->m, l->f, n)->reduce.by != FOLD_row;
}

static IterationSpace space_of(const Lowering *l) {
    NodeId row = NONE, column = NONE;
    for (NodeId n = 0; n < l->f->nodes.n; n++) {
        if (node_at(l->f, n)->op != OP_reduce) continue;
        if (is_column(l, n))
            column = column == NONE ? n : column;
        else
            row = row == NONE ? n : row;
    }
    if (row != NONE) {
        IterationSpace s = space_rows(operand_type(l, row), attr_of(l->m, l->f, row));
        if (column != NONE) walk_axes(&s, operand_type(l, column), attr_of(l->m, l->f, column));
        return s;
    }
    if (column != NONE) return space_columns(operand_type(l, column), attr_of(l->m, l->f, column));
    return space_map(type_of(l->m, l->f, l->f->results.at[0].node));
}

// ---- kernel axes --------------------------------------------------------------------------------

static void kernel_axis(Lowering *l, uint32_t k, AxisId axis, int64_t extent) {
    KIndex e;
    memset(&e, 0, sizeof e);
    e.op = NONE;
    e.stride[k] = 1;
    l->k->extent[k] = extent;
    l->axes[k] = axis;
    l->axis_expr[k] = lower_expr(l, &e);
}

static KId index_of(Lowering *l, uint32_t axis) {
    KOp o;
    memset(&o, 0, sizeof o);
    o.kind = KOP_index;
    o.to = o.elem = ELEM_i32;
    o.axis = axis;
    o.a = o.b = o.c = o.mask = o.index.op = NONE;
    return lower_op(l, &o);
}

// One lane axis for several tensor axes: each index is a remainder of a quotient of the lane's.
static void divided_lane(Lowering *l, const IterationSpace *s, uint32_t lane) {
    KId v = index_of(l, lane);
    if (s->segments) {
        KId cut = lower_scalar(l, OP_mul, ELEM_i32, ELEM_i32, index_of(l, lane - 1),
                               lower_int(l, FOLD_SEGMENT), NONE);
        v = lower_scalar(l, OP_add, ELEM_i32, ELEM_i32, v, cut, NONE);
    }
    for (uint32_t i = s->lane.n; i-- > 0;) {
        KIndex e;
        memset(&e, 0, sizeof e);
        KId size = lower_int(l, s->lane.size[i]);
        e.op = i ? lower_scalar(l, OP_rem, ELEM_i32, ELEM_i32, v, size, NONE) : v;
        e.op_stride = 1;
        v = i ? lower_scalar(l, OP_div, ELEM_i32, ELEM_i32, v, size, NONE) : v;
        // slots beyond the kernel's own axes only name the tensor axis
        l->axes[lane + i] = s->lane.axis[i];
        l->axis_expr[lane + i] = lower_expr(l, &e);
    }
}

// Returns the number of kernel axes.
static uint32_t set_axes(Lowering *l, const IterationSpace *s) {
    uint32_t n = 0;
    if (s->outer.n + s->lane.n + 1 > K_MAX_AXES) { // one more for segments, or for no lane
        l->failed = "more axes than a kernel has";
        return 1;
    }
    for (; n < s->outer.n; n++) kernel_axis(l, n, s->outer.axis[n], s->outer.size[n]);
    if (s->one_lane) {
        int64_t lanes = product(&s->lane, 0);
        if (lanes > INT32_MAX) {
            l->failed = "lanes that do not merge, 2^31 of them or more";
            return 1;
        }
        if (s->segments) {
            kernel_axis(l, n++, 0, sn_ceil_div(lanes, FOLD_SEGMENT));
            l->k->flat = lanes;
            lanes = FOLD_SEGMENT;
        }
        kernel_axis(l, n, 0, lanes);
        divided_lane(l, s, n);
        return n + 1;
    }
    for (uint32_t i = 0; i < s->lane.n; i++)
        kernel_axis(l, n + i, s->lane.axis[i], s->lane.size[i]);
    if (s->lane.n == 0) kernel_axis(l, n, 0, 1);
    return n + (s->lane.n ? s->lane.n : 1);
}

// ---- folds and stores ---------------------------------------------------------------------------

static void add_row_fold(Lowering *l, NodeId n) {
    NodeId x = operand(l->f, n, 0);
    const Attr *at = attr_of(l->m, l->f, n);
    KFold fold;
    memset(&fold, 0, sizeof fold);
    fold.kind = at->reduce.kind;
    fold.value = lower_value(l, x, lower_identity(l, type_of(l->m, l->f, x)), NONE);
    fold.phase = l->k->ops.at[fold.value].ready;
    fold.plus = fold.index.op = NONE;
    vec_push(l->a, &l->k->folds, fold);
    KOp o;
    memset(&o, 0, sizeof o);
    o.kind = KOP_fold;
    o.to = o.elem = (uint8_t)type_of(l->m, l->f, n)->elem;
    o.fold = l->k->folds.n - 1;
    o.a = o.b = o.c = o.mask = o.index.op = NONE;
    l->fold_value[n] = lower_op(l, &o);
}

// The index of a column fold's result: kept axes and lanes as they are, the part axis by chunk.
static KIndex column_index(Lowering *l, const Type *t, AxisId part, int64_t *chunk_stride) {
    int64_t strides[MAX_AXES];
    type_strides(t, strides);
    KIndex zero;
    memset(&zero, 0, sizeof zero);
    zero.op = NONE;
    Type kept = *t;
    kept.n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->axes[i].axis == part)
            *chunk_stride = strides[i];
        else
            kept.axes[kept.n++] = t->axes[i];
    }
    PosId at = lower_identity(l, &kept);
    if (kept.n < t->n) at = lower_pos_add(l, at, part, lower_expr(l, &zero));
    return lower_index(l, t, at);
}

static bool is_result(const Func *f, NodeId n, uint32_t *index) {
    for (*index = 0; *index < f->results.n; (*index)++)
        if (f->results.at[*index].node == n) return true;
    return false;
}

// `state + fold` where the fold's result is stored (passes/fuse.c, accumulates_fold).
static NodeId accumulating_add(const Lowering *l, NodeId fold) {
    for (NodeId n = fold + 1; n < l->f->nodes.n; n++) {
        const Node *node = node_at(l->f, n);
        if (node->op == OP_add && (operand(l->f, n, 0) == fold || operand(l->f, n, 1) == fold))
            return n;
    }
    return NONE;
}

static void add_column_fold(Lowering *l, NodeId n) {
    NodeId x = operand(l->f, n, 0), out = n;
    const Attr *at = attr_of(l->m, l->f, n);
    KFold fold;
    memset(&fold, 0, sizeof fold);
    fold.kind = at->reduce.kind;
    fold.column = true;
    fold.value = lower_value(l, x, lower_identity(l, type_of(l->m, l->f, x)), NONE);
    fold.phase = l->k->ops.at[fold.value].ready;
    fold.plus = NONE;
    int64_t rows = 1;
    for (uint32_t i = 0; i < at->reduce.axes.n; i++)
        rows *= operand_type(l, n)->axes[type_find(operand_type(l, n), at->reduce.axes.at[i])].size;
    if (at->reduce.by == FOLD_col && !at->reduce.part && rows > fold_chunk(rows)) {
        l->failed = "a column fold over several chunks (the chunk pass cuts it)";
        return;
    }
    uint32_t result;
    if (!is_result(l->f, n, &result)) {
        out = accumulating_add(l, n);
        if (out == NONE || !is_result(l->f, out, &result)) {
            l->failed = "a column fold that is not stored";
            return;
        }
        NodeId other = operand(l->f, out, operand(l->f, out, 0) == n ? 1 : 0);
        fold.plus = lower_value(l, other, lower_identity(l, type_of(l->m, l->f, other)), NONE);
    }
    const Type *t = type_of(l->m, l->f, out);
    fold.arg = lower_arg(l, true, result, t, KARG_out);
    fold.index = column_index(l, t, at->reduce.part, &fold.chunk_stride);
    vec_push(l->a, &l->k->folds, fold);
}

static bool stored_by_fold(const Lowering *l, NodeId n) {
    if (is_column(l, n)) return true;
    const Node *node = node_at(l->f, n);
    for (uint32_t i = 0; i < node->n; i++)
        if (node->op == OP_add && is_column(l, operand(l->f, n, i))) return true;
    return false;
}

static void add_stores(Lowering *l, const IterationSpace *s) {
    for (uint32_t i = 0; i < l->f->results.n; i++) {
        NodeId n = l->f->results.at[i].node;
        if (stored_by_fold(l, n)) continue;
        const Type *t = type_of(l->m, l->f, n);
        KStore st;
        memset(&st, 0, sizeof st);
        st.mask = NONE;
        if (s->segments) { // the segment axis is the result's last: finish_axes adds its stride
            Type rows = *t;
            rows.n--;
            PosId at = lower_identity(l, &rows);
            st.value = l->fold_value[n];
            st.index = lower_index(l, &rows, at);
            for (uint32_t k = 0; k < K_MAX_AXES; k++) st.index.stride[k] *= t->axes[t->n - 1].size;
        } else {
            PosId at = lower_identity(l, t);
            st.value = lower_value(l, n, at, NONE);
            st.index = lower_index(l, t, at);
        }
        st.phase = l->k->ops.at[st.value].ready;
        st.arg = lower_arg(l, true, i, t, KARG_out);
        vec_push(l->a, &l->k->stores, st);
    }
}

// ---- finishing ----------------------------------------------------------------------------------

static bool is_dear(const KOp *o) {
    if (o->kind == KOP_random) return true;
    return o->kind == KOP_scalar && op_info[o->op].cost >= HOLD_COST;
}

// The first and the last phase that use an op; none: the last is before the first.
typedef struct {
    uint32_t first, last;
} Used;

static void use(Used *u, uint32_t first, uint32_t last) {
    if (first < u->first) u->first = first;
    if (last > u->last) u->last = last;
}

// A value of the lanes that two phases need and that is not cheap is kept from the first for the others.
static void mark_held(Lowering *l) {
    Kernel *k = l->k;
    Used *used = NEW_ARRAY(l->a, Used, k->ops.n + 1);
    for (KId i = 0; i < k->ops.n; i++) {
        k->ops.at[i].lane = kop_lane(k, &k->ops.at[i]);
        used[i] = (Used){.first = UINT32_MAX};
    }
    for (uint32_t i = 0; i < k->stores.n; i++)
        use(&used[k->stores.at[i].value], k->stores.at[i].phase, k->stores.at[i].phase);
    for (uint32_t i = 0; i < k->folds.n; i++)
        use(&used[k->folds.at[i].value], k->folds.at[i].phase, k->folds.at[i].phase);
    for (KId i = k->ops.n; i-- > 0;) {
        KOp *o = &k->ops.at[i];
        KId from[KOP_OPERANDS];
        if (!o->lane) continue;
        o->hold = used[i].first < used[i].last && is_dear(o) && elem_info[o->to].bytes == 4;
        if (o->hold) used[i].last = used[i].first;
        for (uint32_t j = kop_operands(o, from); j-- > 0;)
            use(&used[from[j]], used[i].first, used[i].last);
    }
}

static bool add_cut_axis(KIndex *e, void *user) {
    const Kernel *k = user; // outers still counts the axes before the cut
    int64_t lane = e->stride[k->outers];
    e->stride[k->outers + 1] = lane;
    e->stride[k->outers] = lane * FLAT_LANES;
    return true;
}

// A row of `lanes` elements becomes rows of FLAT_LANES: the cuts are a new last outer axis.
static void cut_lane(Kernel *k) {
    for (KId i = 0; i < k->ops.n; i++)
        if (k->ops.at[i].kind == KOP_load || k->ops.at[i].kind == KOP_random)
            add_cut_axis(&k->ops.at[i].index, k);
    for (uint32_t i = 0; i < k->stores.n; i++) add_cut_axis(&k->stores.at[i].index, k);
    int64_t lanes = k->extent[k->outers];
    k->flat = lanes;
    k->extent[k->outers + 1] = FLAT_LANES;
    k->extent[k->outers] = sn_ceil_div(lanes, FLAT_LANES);
    k->outers++;
}

static bool lane_index_used(const Kernel *k) {
    for (KId i = 0; i < k->ops.n; i++)
        if (k->ops.at[i].kind == KOP_index && k->ops.at[i].axis == k->outers) return true;
    return false;
}

// Merges axes and sets the order in which tasks walk. False when the lane axes do not merge to one.
static bool finish_axes(Lowering *l, const IterationSpace *s, uint32_t naxes) {
    Kernel *k = l->k;
    uint32_t outer = s->outer.n + (s->one_lane && s->segments);
    uint32_t walked = s->walk;
    if (l->f->results.n && s->chunk == 0 && k->folds.n == 0 &&
        !s->one_lane) { // a map: any split will do
        uint32_t left = lower_collapse(k, naxes, 0, naxes);
        outer = left - 1;
        walked = outer;
    } else {
        uint32_t lanes = lower_collapse(k, naxes, outer, naxes);
        if (lanes != 1) return false;
        naxes = outer + 1;
        uint32_t fixed = s->one_lane && s->segments; // the cut axis stays by itself
        uint32_t tail = lower_collapse(k, naxes, walked, outer - fixed);
        uint32_t gone = outer - fixed - walked - tail;
        outer -= gone, naxes -= gone;
        uint32_t head = lower_collapse(k, naxes, 0, walked);
        outer -= walked - head;
        walked = head;
    }
    k->outers = outer;
    bool long_row = k->extent[outer] > 2 * FLAT_LANES;
    if (s->segments && !s->one_lane) {
        if (lane_index_used(k)) return false;
        cut_lane(k);
    } else if (k->folds.n == 0 && s->chunk == 0 && outer == 0 && long_row && !lane_index_used(k)) {
        cut_lane(k);
    }
    for (uint32_t i = 0; s->segments && i < k->stores.n; i++)
        k->stores.at[i].index.stride[k->outers - 1] = 1;
    k->walk = s->chunk ? walked : k->outers;
    k->order = s->chunk ? KORDER_chunks : KORDER_rows;
    int64_t lanes = k->extent[k->outers] > 0 ? k->extent[k->outers] : 1;
    k->grain = s->chunk ? s->chunk : TASK_ELEMENTS / lanes;
    if (k->grain < 1) k->grain = 1;
    return true;
}

// ---- windows ------------------------------------------------------------------------------------

// Elements of argument `arg` that the kernel reads: [*first, *end). False where that is not plain: a masked
// or computed index, strides that go down.
static bool reads_of(const Kernel *k, uint32_t arg, int64_t *first, int64_t *end) {
    *first = INT64_MAX, *end = 0;
    for (KId i = 0; i < k->ops.n; i++) {
        const KOp *o = &k->ops.at[i];
        int64_t last = o->index.base;
        if (o->kind != KOP_load || o->arg != arg) continue;
        if (o->mask != NONE || o->index.op != NONE || o->index.base < 0) return false;
        for (uint32_t x = 0; x <= k->outers; x++) {
            if (o->index.stride[x] < 0) return false;
            last += o->index.stride[x] * (k->extent[x] - 1);
        }
        if (o->index.base < *first) *first = o->index.base;
        if (last >= *end) *end = last + 1;
    }
    return *first < *end;
}

// Of an operand that is read from some element on, the kernel is given that part: kernels that do the same to
// different parts, such as the rounds of a classifier, are then one.
static void give_windows(Lowering *l) {
    enum { ALIGNED = 64 }; // bytes, what every argument is
    Kernel *k = l->k;
    for (uint32_t i = 0; i < k->args.n; i++) {
        KArg *arg = &k->args.at[i];
        int64_t first, end, unit = ALIGNED / elem_info[arg->elem].bytes;
        if (arg->mode != KARG_in || !reads_of(k, i, &first, &end) || end > arg->count) continue;
        first -= first % unit;
        if (!first && end == arg->count) continue;
        for (KId o = 0; o < k->ops.n; o++)
            if (k->ops.at[o].kind == KOP_load && k->ops.at[o].arg == i)
                k->ops.at[o].index.base -= first;
        arg->count = end - first;
        l->refs.at[i].first = first;
        l->refs.at[i].count = arg->count;
    }
}

static Lowering lower_new(Arena *a, const Module *m, const Func *body, const uint8_t *acc,
                          Loc loc) {
    Lowering l = {.a = a, .m = m, .f = body, .acc = acc};
    memset(l.tile, 0xff, sizeof l.tile);
    l.k = NEW(a, Kernel);
    l.k->loc = loc;
    l.memo.arena = a;
    l.arg_of = NEW_ARRAY(a, uint32_t, MAX_OPERANDS);
    l.fold_value = NEW_ARRAY(a, KId, body->nodes.n + 1);
    memset(l.fold_value, 0xff, sizeof(KId) * (body->nodes.n + 1));
    return l;
}

static bool build_kernel(Lowering *l, bool one_lane) {
    IterationSpace s = space_of(l);
    s.one_lane = one_lane;
    uint32_t naxes = set_axes(l, &s);
    if (l->failed) return false;
    for (NodeId n = 0; n < l->f->nodes.n; n++) {
        if (node_at(l->f, n)->op != OP_reduce) continue;
        if (is_column(l, n))
            add_column_fold(l, n);
        else
            add_row_fold(l, n);
    }
    if (l->failed) return false;
    add_stores(l, &s);
    if (!finish_axes(l, &s, naxes)) return false;
    mark_held(l);
    return true;
}

// ---- scatter ------------------------------------------------------------------------------------

// Rows are the index's axes, in order; lanes are what a row of x holds. Each task owns lanes and walks
// all rows, so that sums into one place happen in row order without atomics.
static bool build_scatter(Lowering *l, bool one_lane) {
    NodeId n = l->f->results.at[0].node;
    NodeId index = operand(l->f, n, 1), x = operand(l->f, n, 2);
    const Type *it = type_of(l->m, l->f, index), *xt = type_of(l->m, l->f, x);
    const Type *t = type_of(l->m, l->f, n);
    AxisId axis = attr_of(l->m, l->f, n)->scatter_add.axis;
    IterationSpace s = {.one_lane = one_lane};
    for (uint32_t i = 0; i < it->n; i++) add_axis(&s.outer, it, it->axes[i].axis);
    for (uint32_t i = 0; i < xt->n; i++)
        if (type_find(it, xt->axes[i].axis) < 0) add_axis(&s.lane, xt, xt->axes[i].axis);
    s.walk = s.outer.n;
    uint32_t naxes = set_axes(l, &s);
    if (l->failed) return false;

    KId at = lower_value(l, index, lower_identity(l, it), NONE);
    KId low = lower_scalar(l, OP_le, ELEM_i32, ELEM_bool, lower_int(l, 0), at, NONE);
    int64_t size = t->axes[type_find(t, axis)].size;
    KId high = lower_scalar(l, OP_lt, ELEM_i32, ELEM_bool, at, lower_int(l, size), NONE);
    KId inside = lower_scalar(l, OP_and, ELEM_bool, ELEM_bool, low, high, NONE);
    // the target: the indexed place, and for the other axes the row's own
    Type rest = *t;
    rest.n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis != axis) rest.axes[rest.n++] = t->axes[i];
    KIndex place;
    memset(&place, 0, sizeof place);
    place.op = at;
    place.op_stride = 1;
    PosId where = lower_pos_add(l, lower_identity(l, &rest), axis, lower_expr(l, &place));
    KIndex target = lower_index(l, t, where);
    KOp load;
    memset(&load, 0, sizeof load);
    load.kind = KOP_load;
    load.to = load.elem = (uint8_t)t->elem;
    load.a = load.b = load.c = NONE;
    load.mask = inside;
    load.index = target;
    load.arg = lower_arg(l, true, 0, t, KARG_inout);
    KId value = lower_value(l, x, lower_identity(l, xt), NONE);
    KId sum =
        lower_scalar(l, OP_add, (Elem)t->elem, (Elem)t->elem, lower_op(l, &load), value, NONE);
    KStore st = {.arg = load.arg, .index = target, .value = sum, .mask = inside};
    vec_push(l->a, &l->k->stores, st);

    Kernel *k = l->k;
    uint32_t outer = s.outer.n;
    if (lower_collapse(k, naxes, outer, naxes) != 1) return false;
    outer = lower_collapse(k, outer + 1, 0, outer);
    k->outers = k->walk = outer;
    k->order = KORDER_lanes;
    k->grain = SCATTER_LANES;
    return true;
}

// ---- strips -------------------------------------------------------------------------------------

static bool only_axes(const Type *t, const AxisList *rows, const AxisList *lanes) {
    for (uint32_t i = 0; i < t->n; i++)
        if (!list_has(rows, t->axes[i].axis) && !(lanes && list_has(lanes, t->axes[i].axis)))
            return false;
    return true;
}

static bool same_list(const AxisList *a, const AxisList *b) {
    return a->n == b->n && memcmp(a->at, b->at, a->n * sizeof *a->at) == 0;
}

static bool is_tile(const StripShape *x, NodeId n) {
    for (uint32_t i = 0; i < x->tiles; i++)
        if (x->tile[i] == n) return true;
    return false;
}

static const char *unfit_node(const Lowering *l, const StripShape *x, NodeId n) {
    const Type *t = type_of(l->m, l->f, n);
    const Attr *at = attr_of(l->m, l->f, n);
    for (uint32_t i = 0; i < x->tiles; i++) {
        if (n != x->tile[i]) continue;
        if (t->elem != ELEM_f32) return "a tile of another type than f32";
        if (!only_axes(t, &x->rows, &x->lanes))
            return "a tile with an axis that is no row's or lane's";
    }
    if (node_at(l->f, n)->op != OP_reduce || is_tile(x, n)) return NULL;
    if (at->reduce.by != FOLD_row || at->reduce.part || !same_list(&at->reduce.axes, &x->lanes))
        return "a fold that is not over whole rows";
    if (!only_axes(t, &x->rows, NULL)) return "a fold with an axis that is no row's";
    return NULL;
}

static const char *unfit_result(const Type *t, const StripShape *x, uint32_t tile) {
    if (tile != NONE) { // a narrow one is the f32 that it is in registers
        if (elem_info[t->elem].computes != ELEM_f32) return "a tile of another type than f32";
        return only_axes(t, &x->rows, &x->lanes) ? NULL
                                                 : "a tile with an axis that is no row's or lane's";
    }
    bool rows = only_axes(t, &x->rows, NULL) && t->n == x->rows.n;
    return rows ? NULL : "a result that is neither a tile nor one value for each row";
}

// What the stored values are computed from, down to the tiles.
static uint8_t *needed_by_stores(const Lowering *l, const StripShape *x) {
    uint8_t *needed = NEW_ARRAY(l->a, uint8_t, l->f->nodes.n + 1);
    for (uint32_t i = 0; i < x->stores; i++) needed[x->store[i].node] = 1;
    for (uint32_t i = 0; i < x->tiles; i++)
        if (x->tile[i] != NONE) needed[x->tile[i]] = 1;
    for (NodeId n = l->f->nodes.n; n-- > 0;) {
        for (uint32_t i = 0; needed[n] && !is_tile(x, n) && i < node_at(l->f, n)->n; i++)
            needed[operand(l->f, n, i)] = 1;
    }
    return needed;
}

static const char *unfit(const Lowering *l, const StripShape *x, const uint8_t *needed) {
    const char *why = NULL;
    for (NodeId n = 0; n < l->f->nodes.n && !why; n++)
        if (needed[n]) why = unfit_node(l, x, n);
    for (uint32_t i = 0; i < x->stores && !why; i++)
        why = unfit_result(type_of(l->m, l->f, x->store[i].node), x, x->store[i].tile);
    return why;
}

// The axes of a list, with the sizes that they have in the body. A row axis that no value has leaves
// nothing to know of it.
static bool add_axes(Lowering *l, Axes *to, const AxisList *list) {
    for (uint32_t i = 0; i < list->n; i++) {
        NodeId n = 0;
        while (n < l->f->nodes.n && type_find(type_of(l->m, l->f, n), list->at[i]) < 0) n++;
        if (n == l->f->nodes.n) {
            l->failed = "an axis that no value of the body has";
            return false;
        }
        add_axis(to, type_of(l->m, l->f, n), list->at[i]);
    }
    return true;
}

// Tiles are stored by the last sweep: until then they hold what is read.
static void add_strip_stores(Lowering *l, const StripShape *x) {
    uint32_t last = 0, first = l->k->stores.n;
    for (uint32_t i = 0; i < l->k->folds.n; i++)
        if (l->k->folds.at[i].phase > last) last = l->k->folds.at[i].phase;
    for (uint32_t i = 0; i < x->stores; i++) {
        const StripStore *to = &x->store[i];
        const Type *t = type_of(l->m, l->f, to->node);
        PosId at = lower_identity(l, t);
        KStore st;
        memset(&st, 0, sizeof st);
        st.mask = st.index.op = NONE;
        st.value = lower_value(l, to->node, at, NONE);
        st.phase = l->k->ops.at[st.value].ready;
        st.tile = to->tile != NONE;
        if (st.tile && st.phase > last) last = st.phase;
        if (!st.tile) st.index = lower_index(l, t, at);
        st.arg = st.tile ? to->tile : lower_arg(l, true, to->result, t, KARG_out);
        vec_push(l->a, &l->k->stores, st);
    }
    for (uint32_t i = first; i < l->k->stores.n; i++)
        if (l->k->stores.at[i].tile) l->k->stores.at[i].phase = last;
    for (uint32_t i = 0; i < x->marks; i++)
        x->marked[i] =
            lower_value(l, x->mark[i], lower_identity(l, type_of(l->m, l->f, x->mark[i])), NONE);
}

bool build_strip(Lowering *l, const StripShape *x, bool one_lane) {
    Kernel *k = l->k;
    IterationSpace s = {.one_lane = one_lane};
    if (!add_axes(l, &s.outer, &x->rows) || !add_axes(l, &s.lane, &x->lanes)) return false;
    s.walk = s.outer.n;
    k->order = KORDER_strip;
    k->grain = 1;
    for (uint32_t i = 0; i < x->tiles; i++) l->tile[i] = x->tile[i];
    const uint8_t *needed = needed_by_stores(l, x);
    l->failed = unfit(l, x, needed);
    if (l->failed) return false;
    uint32_t naxes = set_axes(l, &s);
    if (l->failed) return false;
    for (NodeId n = 0; n < l->f->nodes.n; n++)
        if (needed[n] && node_at(l->f, n)->op == OP_reduce && !is_tile(x, n)) add_row_fold(l, n);
    add_strip_stores(l, x);
    if (lower_collapse(k, naxes, s.outer.n, naxes) != 1) return false;
    k->outers = k->walk = lower_collapse(k, s.outer.n + 1, 0, s.outer.n);
    mark_held(l);
    return true;
}

bool lower_strip(Arena *a, const Module *m, const Func *body, const StripShape *shape, Lowered *out,
                 Text *why) {
    const uint8_t *acc = NEW_ARRAY(a, uint8_t, MAX_OPERANDS); // none
    for (int one_lane = 0; one_lane < 2; one_lane++) {
        memset(out, 0, sizeof *out);
        Lowering l = lower_new(a, m, body, acc, body->nodes.n ? node_at(body, 0)->loc : (Loc){0});
        l.k->name = shape->name;
        if (build_strip(&l, shape, one_lane) && !l.failed) {
            out->kernel = l.k;
            out->refs = l.refs;
            return kernel_finish(a, l.k, why);
        }
        if (!l.failed && !one_lane) continue;
        text_printf(why, "%s", l.failed ? l.failed : "the lane axes cannot be walked as one");
        return false;
    }
    return false;
}

// ---- groups -------------------------------------------------------------------------------------

bool lower_gemm(Lowering *l, bool one_lane, Lowered *out); // lower_gemm.c

static const char *kernel_name(Arena *a, const Module *m, const Func *f, NodeId group,
                               uint32_t kind) {
    const char *name = sym_str(m->syms, node_at(f, group)->name);
    return arena_printf(a, "%s.%s", group_names[kind], *name ? name : "value");
}

bool lower_group(Arena *a, const Module *m, const Func *f, NodeId group, const uint8_t *acc_operand,
                 Lowered *out, Text *why) {
    const Attr *attr = attr_of(m, f, group);
    const Func *body = m->funcs.at[attr->group.body];
    uint32_t kind = attr->group.kind;
    for (int one_lane = 0; one_lane < 2; one_lane++) {
        memset(out, 0, sizeof *out);
        Lowering l = lower_new(a, m, body, acc_operand, node_at(f, group)->loc);
        l.k->name = kernel_name(a, m, f, group, kind);
        if (kind == GROUP_flash) {
            bool fits = lower_flash(&l, attr->group.row, attr->group.key, out);
            if (!fits) text_printf(why, "%s", l.failed);
            return fits;
        }
        bool ok = kind == GROUP_gemm ? lower_gemm(&l, one_lane, out)
                  : kind == GROUP_attend
                      ? lower_attend(&l, attr->group.row, attr->group.key, one_lane, out)
                  : kind == GROUP_scatter ? build_scatter(&l, one_lane)
                                          : build_kernel(&l, one_lane);
        ok = ok && !l.failed;
        if (ok && out->kind == LOWER_gemm && !out->kernel) return true;
        if (ok) {
            if (kind != GROUP_attend) give_windows(&l);
            out->kernel = l.k;
            out->refs = l.refs;
            if (kind == GROUP_scatter) {
                NodeId acc = operand(body, body->results.at[0].node, 0);
                out->kind = LOWER_scatter;
                out->from = (LowerRef){.result = false,
                                       .index = (uint32_t)attr_of(m, body, acc)->arg.index};
            }
            return kernel_finish(a, l.k, why);
        }
        if (l.failed || one_lane) {
            text_printf(why, "%s", l.failed ? l.failed : "the lane axes cannot be walked as one");
            return false;
        }
    }
    return false;
}

// The type rule of every op: which operands it takes and what type it gives.
//
// Builder, parser and verifier all ask here, so a rule exists once. A rule builds the result's axis
// list in the order that ir/build.h promises; afterwards a 'given' type may permute it. Reasons
// name axes, since the frontend shows them to the user. Cost: O(axes^2) per node, axes at most 8.
#include "ir/infer.h"
#include "ir/attr.h"
#include "ir/build.h"
#include "ir/place.h"
#include "ir/scalar.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

typedef struct {
    const Module *m;
    Op op;
    const Attr *attr;
    const Type *const *in;
    uint32_t n;
    const Type *given; // NULL: none
    Type *out;
    Text *why;
} Rule;

static bool explain(Text *why, const char *fmt, va_list ap) {
    if (!why) return false;
    char buf[512];
    vsnprintf(buf, sizeof buf, fmt, ap);
    text_put(why, buf, strlen(buf));
    return false;
}

__attribute__((format(printf, 2, 3))) static bool refuse(Text *why, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    explain(why, fmt, ap);
    va_end(ap);
    return false;
}
#define FAIL(r, ...) refuse((r)->why, __VA_ARGS__)

static const char *axis_name(const Module *m, AxisId a) {
    return a < m->axes.n ? sym_str(m->syms, m->axes.at[a].name) : "?";
}
static const char *op_name(const Rule *r) { return op_info[r->op].name; }
static const char *elem_name(uint32_t e) { return elem_info[e].name; }
static ElemKind kind_of(const Type *t) { return (ElemKind)elem_info[t->elem].kind; }

// The product of sizes, or -1 beyond the limit. Zero-sized axes do not hide an overflow elsewhere.
static int64_t bounded_count(const TypeAxis *axes, uint32_t n) {
    const int64_t limit = (int64_t)1 << MAX_ELEMENTS_LOG2;
    int64_t count = 1;
    bool empty = false;
    for (uint32_t i = 0; i < n; i++) {
        int64_t size = axes[i].size;
        if (size < 0 || size > limit) return -1;
        if (size == 0) {
            empty = true;
        } else {
            if (count > limit / size) return -1;
            count *= size;
        }
    }
    return empty ? 0 : count;
}

bool type_check(const Module *m, const Type *t, Text *why) {
    if (t->elem >= ELEM_COUNT) return refuse(why, "unknown element type %u", t->elem);
    if (t->n > MAX_AXES) return refuse(why, "%u axes, at most %d are possible", t->n, MAX_AXES);
    for (uint32_t i = 0; i < t->n; i++) {
        AxisId a = t->axes[i].axis;
        if (a == 0 || a >= m->axes.n) return refuse(why, "unknown axis %u", a);
        if (type_find(t, a) != (int)i)
            return refuse(why, "axis '%s' occurs twice in one type", axis_name(m, a));
        if (t->axes[i].size < 0)
            return refuse(why, "axis '%s' has a negative size", axis_name(m, a));
    }
    if (bounded_count(t->axes, t->n) < 0)
        return refuse(why, "more than 2^%d elements", MAX_ELEMENTS_LOG2);
    return place_check(m, t, why);
}

// ---- building the result's list

static bool push(const Rule *r, TypeAxis axis) {
    if (r->out->n == MAX_AXES)
        return FAIL(r, "the result of '%s' would have more than %d axes", op_name(r), MAX_AXES);
    r->out->axes[r->out->n++] = axis;
    return true;
}

static bool same_split(const TypeAxis *a, const TypeAxis *b) {
    return !memcmp(a->split, b->split, sizeof a->split);
}
static bool is_split(const TypeAxis *a) { return a->split[0]; }

// Two uses of one axis have equal sizes and are split alike.
static bool agree(const Rule *r, const TypeAxis *have, const TypeAxis *axis) {
    if (!same_split(have, axis))
        return FAIL(r, "axis '%s' is split in one operand of '%s' and not so in another",
                    axis_name(r->m, axis->axis), op_name(r));
    if (have->size == axis->size) return true;
    return FAIL(r, "axis '%s' has size %lld in one operand of '%s' and %lld in another",
                axis_name(r->m, axis->axis), (long long)have->size, op_name(r),
                (long long)axis->size);
}

// Adds the axes of t that the result lacks; those it has must agree.
static bool align(const Rule *r, const Type *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        int at = type_find(r->out, t->axes[i].axis);
        if (at >= 0 && !agree(r, &r->out->axes[at], &t->axes[i])) return false;
        if (at < 0 && !push(r, t->axes[i])) return false;
    }
    return true;
}

static bool need_axis(const Rule *r, const Type *t, AxisId a, int *at) {
    if (a == 0 || a >= r->m->axes.n) return FAIL(r, "'%s' names no known axis", op_name(r));
    *at = type_find(t, a);
    if (*at < 0)
        return FAIL(r, "the operand of '%s' has no axis '%s'", op_name(r), axis_name(r->m, a));
    return true;
}

static bool need_distinct(const Rule *r, const AxisList *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->at[i] == 0 || l->at[i] >= r->m->axes.n)
            return FAIL(r, "'%s' lists an unknown axis", op_name(r));
        for (uint32_t j = 0; j < i; j++)
            if (l->at[i] == l->at[j])
                return FAIL(r, "'%s' lists axis '%s' twice", op_name(r), axis_name(r->m, l->at[i]));
    }
    return true;
}

static bool need_given(const Rule *r) {
    if (!r->given) return FAIL(r, "the type of '%s' must be given", op_name(r));
    *r->out = *r->given;
    return true;
}

// A fresh axis: as given, or as declared.
static TypeAxis wanted_axis(const Rule *r, AxisId a) {
    int at = r->given ? type_find(r->given, a) : -1;
    return at >= 0 ? r->given->axes[at] : (TypeAxis){a, r->m->axes.at[a].size, {0}};
}
static int64_t wanted_size(const Rule *r, AxisId a) { return wanted_axis(r, a).size; }

// A part of an axis that is split itself has no one place.
static bool need_unsplit(const Rule *r, const TypeAxis *a) {
    if (!is_split(a)) return true;
    return FAIL(r, "axis '%s' is split, '%s' takes it apart", axis_name(r->m, a->axis), op_name(r));
}

// The axis of a view that is as long as the one that it is made from, and split like it.
static TypeAxis follows(const TypeAxis *from, AxisId to, int64_t size) {
    TypeAxis a = *from;
    a.axis = to;
    a.size = size;
    return a;
}

static bool narrow_holds(uint32_t elem, double x) {
    Elem wide = (Elem)elem_info[elem].computes;
    uint32_t bits = scalar_to_bits(wide, x);
    bits = scalar_eval(OP_cast, wide, (Elem)elem, bits, 0, 0);
    double y = scalar_from_bits(wide, bits);
    return x == y || (x != x && y != y);
}

// Can a constant of this element type hold x? One of f32 is what x rounds to.
static bool need_value(const Rule *r, uint32_t elem, double x) {
    double low = elem_info[elem].low, high = elem_info[elem].high;
    if (elem_info[elem].kind == ELEM_FLOAT && (!elem_is_narrow(elem) || narrow_holds(elem, x)))
        return true;
    if (elem_info[elem].kind != ELEM_FLOAT && x >= low && x <= high && floor(x) == x &&
        !(x == 0 && signbit(x)))
        return true;
    return FAIL(r, "%s cannot hold the constant %g", elem_name(elem), x);
}

// Replaces the axis at position 'at' of t by 'n' others.
static bool replace(const Rule *r, const Type *t, int at, const TypeAxis *by, uint32_t n) {
    r->out->elem = t->elem;
    for (uint32_t i = 0; i < t->n; i++) {
        if ((int)i != at) {
            if (!push(r, t->axes[i])) return false;
            continue;
        }
        for (uint32_t j = 0; j < n; j++)
            if (!push(r, by[j])) return false;
    }
    return true;
}

// Nothing computes in a type that is for storage.
static bool need_wide(const Rule *r, const Type *t) {
    if (!elem_is_narrow(t->elem)) return true;
    return FAIL(r, "'%s' of %s, which is for storage: cast it to %s", op_name(r),
                elem_name(t->elem), elem_name(elem_info[t->elem].computes));
}

// ---- scalars

static bool scalar_elems(const Rule *r) {
    const Type *a = r->in[r->op == OP_select ? 1 : 0];
    const char *name = op_name(r);
    ElemKind kind = kind_of(a);
    r->out->elem = a->elem;
    for (uint32_t i = r->op == OP_select ? 1 : 0; i < r->n; i++)
        if (r->in[i]->elem != a->elem)
            return FAIL(r, "operands of '%s' are %s and %s, they must agree", name,
                        elem_name(a->elem), elem_name(r->in[i]->elem));
    if (r->op != OP_cast && r->op != OP_select && !need_wide(r, a)) return false;
    switch ((ScalarRule)op_info[r->op].rule) {
    case RULE_FLOAT:
        if (kind != ELEM_FLOAT)
            return FAIL(r, "'%s' of %s, expected a real", name, elem_name(a->elem));
        return true;
    case RULE_ARITH:
        if (kind == ELEM_BOOL) return FAIL(r, "'%s' of bool, expected numbers", name);
        return true;
    case RULE_LOGIC:
        if (kind == ELEM_FLOAT)
            return FAIL(r, "'%s' of %s, expected bool or integers", name, elem_name(a->elem));
        return true;
    case RULE_SHIFT:
        if (kind != ELEM_INT && kind != ELEM_UINT)
            return FAIL(r, "'%s' of %s, expected integers", name, elem_name(a->elem));
        return true;
    case RULE_COMPARE: r->out->elem = ELEM_bool; return true;
    case RULE_PREDICATE:
        if (kind != ELEM_FLOAT)
            return FAIL(r, "'%s' of %s, expected a real", name, elem_name(a->elem));
        r->out->elem = ELEM_bool;
        return true;
    case RULE_SELECT:
        if (r->in[0]->elem != ELEM_bool)
            return FAIL(r, "the condition of '%s' is %s, expected bool", name,
                        elem_name(r->in[0]->elem));
        return true;
    case RULE_CAST:
        r->out->elem = r->attr->cast.to;
        if (r->attr->cast.to >= ELEM_COUNT) return FAIL(r, "'%s' to an unknown element type", name);
        if (r->op == OP_bitcast && (elem_info[a->elem].bytes != elem_info[r->out->elem].bytes ||
                                    kind == ELEM_BOOL || r->out->elem == ELEM_bool))
            return FAIL(r, "'bitcast' from %s to %s, the widths differ", elem_name(a->elem),
                        elem_name(r->out->elem));
        return true;
    case RULE_NONE: break;
    }
    unreachable(r->op);
}

static bool rule_scalar(Rule *r) {
    if (!scalar_elems(r)) return false;
    uint32_t most = 0;
    for (uint32_t i = 1; i < r->n; i++)
        if (r->in[i]->n > r->in[most]->n) most = i;
    if (!align(r, r->in[most])) return false;
    for (uint32_t i = 0; i < r->n; i++)
        if (i != most && !align(r, r->in[i])) return false;
    return true;
}

// ---- leaves

static bool type_input(Rule *r) {
    if (!need_given(r)) return false;
    if (r->attr->input.name == 0) return FAIL(r, "'input' without a name");
    AxisId range = r->attr->input.range;
    if (range >= r->m->axes.n) return FAIL(r, "'input' ranges over an unknown axis");
    if (range && r->out->elem != ELEM_i32)
        return FAIL(r, "an index of axis '%s' is i32, not %s", axis_name(r->m, range),
                    elem_name(r->out->elem));
    return true;
}

static const Type *state_type(const Rule *r, StateId s) {
    if (s < r->m->states.n) return type_at(r->m, state_local(r->m, s));
    FAIL(r, "'%s' of an unknown state", op_name(r));
    return NULL;
}

static bool type_state(Rule *r) {
    const Type *t = state_type(r, r->attr->state.state);
    if (!t) return false;
    *r->out = *t;
    return true;
}

static bool type_const(Rule *r) {
    return need_given(r) && need_value(r, r->out->elem, r->attr->constant.value);
}

static bool type_iota(Rule *r) {
    AxisId a = r->attr->iota.axis;
    if (a == 0 || a >= r->m->axes.n) return FAIL(r, "'iota' names no known axis");
    r->out->elem = ELEM_i32;
    return push(r, wanted_axis(r, a));
}

static bool type_extent(Rule *r) {
    AxisId a = r->attr->extent.axis;
    if (a == 0 || a >= r->m->axes.n) return FAIL(r, "'extent' names no known axis");
    r->out->elem = ELEM_f32;
    return true;
}

static bool type_random(Rule *r) {
    if (!need_given(r)) return false;
    if (r->out->elem != ELEM_u32)
        return FAIL(r, "'random' gives u32, not %s", elem_name(r->out->elem));
    if (r->attr->random.word < 0 || r->attr->random.word > 3)
        return FAIL(r, "'random' has words 0 to 3");
    if (r->attr->random.fixed < 0 || r->attr->random.fixed > 1)
        return FAIL(r, "'fixed' of 'random' is 0 or 1");
    return true;
}

static bool type_arg(Rule *r) {
    if (r->attr->arg.index < 0 || r->attr->arg.index >= MAX_OPERANDS)
        return FAIL(r, "parameter index %lld", (long long)r->attr->arg.index);
    return need_given(r);
}

static bool type_grad(Rule *r) {
    const Type *t = state_type(r, r->attr->grad.state);
    if (!t) return false;
    if (r->in[0]->n || r->in[0]->elem != ELEM_f32)
        return FAIL(r, "'grad' of a value with axes, expected a scalar f32");
    *r->out = *t;
    r->out->elem = elem_info[t->elem].computes;
    return true;
}

// ---- views

static bool type_rename(Rule *r) {
    const Type *x = r->in[0];
    int at;
    if (!need_axis(r, x, r->attr->rename.from, &at)) return false;
    TypeAxis by = x->axes[at];
    by.axis = r->attr->rename.to;
    return replace(r, x, at, &by, 1);
}

// Sizes come from the given type, or from the axes' declarations; what they leave over goes to the
// outermost (a micro-batch is a part of its axis).
static bool split_sizes(Rule *r, const TypeAxis *from, TypeAxis *by) {
    const AxisList *to = &r->attr->split.to;
    if (to->n == 0 && from->size == 1) return need_unsplit(r, from);
    if (to->n == 0)
        return FAIL(r, "axis '%s' of size %lld cannot be split into no axes",
                    axis_name(r->m, from->axis), (long long)from->size);
    int64_t inner = 1, size0 = wanted_size(r, to->at[0]);
    if (to->n) by[0] = follows(from, to->at[0], size0);
    for (uint32_t i = 1; i < to->n; i++)
        by[i] = (TypeAxis){to->at[i], wanted_size(r, to->at[i]), {0}};
    inner = bounded_count(by + 1, to->n - 1);
    if (!r->given && inner > 0 && size0 != from->size / inner && from->size % inner == 0)
        by[0].size = from->size / inner;
    if (bounded_count(by, to->n) != from->size)
        return FAIL(r, "axis '%s' of size %lld cannot be split into sizes whose product is %lld",
                    axis_name(r->m, from->axis), (long long)from->size,
                    (long long)bounded_count(by, to->n));
    return true;
}

static bool type_split(Rule *r) {
    const Type *x = r->in[0];
    TypeAxis by[MAX_AXES];
    int at;
    if (!need_distinct(r, &r->attr->split.to)) return false;
    if (!need_axis(r, x, r->attr->split.from, &at)) return false;
    return split_sizes(r, &x->axes[at], by) && replace(r, x, at, by, r->attr->split.to.n);
}

static bool type_merge(Rule *r) {
    const Type *x = r->in[0];
    const AxisList *from = &r->attr->merge.from;
    if (from->n == 0) return FAIL(r, "'merge' of no axes");
    int first = 0, at;
    for (uint32_t i = 0; i < from->n; i++) {
        if (!need_axis(r, x, from->at[i], &at)) return false;
        if (i == 0) first = at;
        if (at != first + (int)i)
            return FAIL(r, "'merge' needs axis '%s' just before axis '%s' in the operand",
                        axis_name(r->m, from->at[i - 1]), axis_name(r->m, from->at[i]));
        if (i && !need_unsplit(r, &x->axes[at])) return false;
    }
    int64_t size = bounded_count(&x->axes[first], from->n);
    r->out->elem = x->elem;
    for (int i = 0; i < (int)x->n; i++) {
        if (i == first && !push(r, follows(&x->axes[i], r->attr->merge.to, size))) return false;
        if ((i < first || i >= first + (int)from->n) && !push(r, x->axes[i])) return false;
    }
    return true;
}

static bool type_slice(Rule *r) {
    const Type *x = r->in[0];
    AxisId from = r->attr->slice.from, to = r->attr->slice.to;
    int64_t start = r->attr->slice.start;
    int at;
    if (!need_axis(r, x, from, &at)) return false;
    if (to == 0 || to >= r->m->axes.n) return FAIL(r, "'slice' to no known axis");
    int64_t have = x->axes[at].size, size = wanted_size(r, to);
    if (start < 0 || start > have)
        return FAIL(r, "slice of axis '%s' starts at %lld, its size is %lld", axis_name(r->m, from),
                    (long long)start, (long long)have);
    if (!r->given && to == from) size = have - start;
    if (size < 0 || size > have - start)
        return FAIL(r, "slice of %lld elements from %lld on, axis '%s' has size %lld",
                    (long long)size, (long long)start, axis_name(r->m, from), (long long)have);
    if (size != have && !need_unsplit(r, &x->axes[at])) return false;
    TypeAxis by = follows(&x->axes[at], to, size);
    return replace(r, x, at, &by, 1);
}

static bool type_pad(Rule *r) {
    const Type *x = r->in[0];
    AxisId from = r->attr->pad.from, to = r->attr->pad.to;
    int64_t start = r->attr->pad.start;
    int at;
    if (!need_axis(r, x, from, &at)) return false;
    if (to == 0 || to >= r->m->axes.n) return FAIL(r, "'pad' to no known axis");
    int64_t have = x->axes[at].size, size = wanted_size(r, to);
    if (start < 0 || size < have || start > size - have)
        return FAIL(r, "%lld elements of axis '%s' at %lld do not fit into size %lld",
                    (long long)have, axis_name(r->m, from), (long long)start, (long long)size);
    if (size != have && !need_unsplit(r, &x->axes[at])) return false;
    TypeAxis by = follows(&x->axes[at], to, size);
    return need_value(r, x->elem, r->attr->pad.value) && replace(r, x, at, &by, 1);
}

static bool type_concat(Rule *r) {
    const AxisList *from = &r->attr->concat.from;
    AxisId to = r->attr->concat.to;
    if (from->n != r->n) return FAIL(r, "'concat' of %u operands names %u parts", r->n, from->n);
    TypeAxis whole = {to, 0, {0}};
    int first = 0, at;
    for (uint32_t i = 0; i < r->n; i++) {
        const Type *x = r->in[i];
        if (!need_axis(r, x, from->at[i], &at)) return false;
        if (i == 0) first = at;
        if (!need_unsplit(r, &x->axes[at])) return false;
        whole.size += x->axes[at].size;
        if (x->elem != r->in[0]->elem || x->n != r->in[0]->n)
            return FAIL(r, "operands of 'concat' differ in more than the joined axis");
    }
    if (!replace(r, r->in[0], first, &whole, 1)) return false;
    for (uint32_t i = 1; i < r->n; i++) {
        const Type *x = r->in[i];
        for (uint32_t j = 0; j < x->n; j++) {
            if (x->axes[j].axis == from->at[i]) continue;
            at = type_find(r->out, x->axes[j].axis);
            if (at < 0 || at == first)
                return FAIL(r, "only one operand of 'concat' has axis '%s'",
                            axis_name(r->m, x->axes[j].axis));
            if (!agree(r, &r->out->axes[at], &x->axes[j])) return false;
        }
    }
    return true;
}

static bool type_expand(Rule *r) {
    const Type *x = r->in[0];
    if (!need_given(r)) return false;
    if (x->elem != r->out->elem) return FAIL(r, "'expand' keeps the element type");
    for (uint32_t i = 0; i < x->n; i++) {
        int at = type_find(r->out, x->axes[i].axis);
        if (at < 0) return FAIL(r, "'expand' drops axis '%s'", axis_name(r->m, x->axes[i].axis));
        if (!agree(r, &r->out->axes[at], &x->axes[i])) return false;
    }
    return true;
}

// ---- folds and contractions

static bool reduce_elems(const Rule *r, const Type *x) {
    ReduceKind kind = (ReduceKind)r->attr->reduce.kind;
    if (kind >= REDUCE_COUNT || r->attr->reduce.by >= FOLD_COUNT)
        return FAIL(r, "unknown kind of 'reduce'");
    bool logical = kind == REDUCE_any || kind == REDUCE_all;
    if (logical != (x->elem == ELEM_bool))
        return FAIL(r, "'%s' of %s, expected %s", reduce_names[kind], elem_name(x->elem),
                    logical ? "bool" : "numbers");
    return true;
}

// row: the folded axes are the operand's last ones in order; col: the last one stays.
static bool reduce_order(const Rule *r, const Type *x) {
    const AxisList *axes = &r->attr->reduce.axes;
    FoldBy by = (FoldBy)r->attr->reduce.by;
    if (by == FOLD_row)
        for (uint32_t i = 0; i < axes->n; i++)
            if (x->axes[x->n - axes->n + i].axis != axes->at[i])
                return FAIL(r, "a row fold takes the last axes in order, '%s' is not in place",
                            axis_name(r->m, axes->at[i]));
    if (by == FOLD_col && list_has(axes, x->axes[x->n - 1].axis))
        return FAIL(r, "a column fold keeps the last axis, '%s'",
                    axis_name(r->m, x->axes[x->n - 1].axis));
    return true;
}

static bool type_reduce(Rule *r) {
    const Type *x = r->in[0];
    const AxisList *axes = &r->attr->reduce.axes;
    FoldBy by = (FoldBy)r->attr->reduce.by;
    AxisId part = r->attr->reduce.part;
    if (!need_wide(r, x) || !reduce_elems(r, x) || !need_distinct(r, axes)) return false;
    if (axes->n == 0) return FAIL(r, "'reduce' over no axes");
    int64_t rows = 1;
    for (uint32_t i = 0; i < axes->n; i++) {
        int at;
        if (!need_axis(r, x, axes->at[i], &at)) return false;
        if ((part || r->attr->reduce.kind == REDUCE_prod) && !need_unsplit(r, &x->axes[at]))
            return false;
        rows *= x->axes[at].size;
    }
    if (!reduce_order(r, x)) return false;
    if (part >= r->m->axes.n) return FAIL(r, "'reduce' with an unknown part axis");
    if (part && by == FOLD_seq) return FAIL(r, "a sequential fold has no parts");
    TypeAxis parts = {part, part ? fold_parts(by, rows) : 0, {0}};
    r->out->elem = x->elem;
    if (part && by == FOLD_col && !push(r, parts)) return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (!list_has(axes, x->axes[i].axis) && !push(r, x->axes[i])) return false;
    return !(part && by == FOLD_row) || push(r, parts);
}

// Adds x's axes that are not summed and that other has (shared) or lacks.
static bool contract_part(const Rule *r, const Type *x, const Type *other, bool shared) {
    for (uint32_t i = 0; i < x->n; i++) {
        int at = type_find(other, x->axes[i].axis);
        if (list_has(&r->attr->contract.axes, x->axes[i].axis) || (at >= 0) != shared) continue;
        TypeAxis axis = x->axes[i];
        if (at >= 0 && !agree(r, &axis, &other->axes[at])) return false;
        if (!push(r, axis)) return false;
    }
    return true;
}

static bool type_contract(Rule *r) {
    const Type *x = r->in[0], *y = r->in[1];
    const AxisList *axes = &r->attr->contract.axes;
    if (!need_distinct(r, axes)) return false;
    if (kind_of(x) != ELEM_FLOAT || kind_of(y) != ELEM_FLOAT)
        return FAIL(r, "'contract' of %s and %s, expected reals", elem_name(x->elem),
                    elem_name(y->elem));
    if (r->n > 2 && r->in[2]->elem != ELEM_f32)
        return FAIL(r, "the accumulator of 'contract' is %s, expected f32",
                    elem_name(r->in[2]->elem));
    for (uint32_t i = 0; i < axes->n; i++) {
        int ax, ay;
        if (!need_axis(r, x, axes->at[i], &ax) || !need_axis(r, y, axes->at[i], &ay)) return false;
        TypeAxis axis = x->axes[ax];
        if (!agree(r, &axis, &y->axes[ay])) return false;
    }
    int64_t tf32 = r->attr->contract.tf32;
    if (tf32 < TF32_NEVER || tf32 >= TF32_COUNT)
        return FAIL(r, "'tf32' of 'contract' is %lld, expected 0 to 2", (long long)tf32);
    if (tf32 && (x->elem != ELEM_f32 || y->elem != ELEM_f32))
        return FAIL(r, "'contract' in tf32 of %s and %s, expected f32", elem_name(x->elem),
                    elem_name(y->elem));
    r->out->elem = ELEM_f32;
    if (!contract_part(r, x, y, true) || !contract_part(r, x, y, false) ||
        !contract_part(r, y, x, false))
        return false;
    if (r->n < 3) return true;
    // The accumulator is updated where it lies: the result takes its order.
    if (!type_same_axes(r->out, r->in[2]))
        return FAIL(r, "the accumulator of 'contract' has other axes than the result");
    memcpy(r->out->axes, r->in[2]->axes, sizeof r->out->axes);
    return true;
}

// ---- index

static bool need_index(const Rule *r, const Type *idx, AxisId axis) {
    if (kind_of(idx) != ELEM_INT && kind_of(idx) != ELEM_UINT)
        return FAIL(r, "the index of '%s' is %s, expected integers", op_name(r),
                    elem_name(idx->elem));
    if (!need_wide(r, idx)) return false;
    if (type_find(idx, axis) >= 0)
        return FAIL(r, "the index of '%s' has the indexed axis '%s' itself", op_name(r),
                    axis_name(r->m, axis));
    return true;
}

static bool type_gather(Rule *r) {
    const Type *x = r->in[0], *idx = r->in[1];
    AxisId axis = r->attr->gather.axis;
    int at;
    if (!need_axis(r, x, axis, &at) || !need_index(r, idx, axis)) return false;
    TypeAxis by[MAX_AXES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < idx->n; i++) {
        int in_x = type_find(x, idx->axes[i].axis);
        if (in_x < 0)
            by[n++] = idx->axes[i];
        else if (!agree(r, &x->axes[in_x], &idx->axes[i]))
            return false;
    }
    return replace(r, x, at, by, n);
}

// Exactly the transpose of gather(acc, idx): x has the type that the gather would have.
static bool type_scatter_add(Rule *r) {
    const Type *acc = r->in[0], *idx = r->in[1], *x = r->in[2], *pair[2] = {acc, idx};
    Attr attr = {.kind = ATTR_gather};
    attr.gather.axis = r->attr->scatter_add.axis;
    Type want = {0};
    Rule gather = {r->m, OP_scatter_add, &attr, pair, 2, NULL, &want, r->why};
    if (!type_gather(&gather)) return false;
    if (kind_of(acc) == ELEM_BOOL) return FAIL(r, "'scatter_add' of bool, expected numbers");
    if (!need_wide(r, acc)) return false;
    if (x->elem != acc->elem || !type_same_axes(&want, x))
        return FAIL(r, "the values of 'scatter_add' do not have the axes that a gather would give");
    *r->out = *acc;
    return true;
}

// ---- order and regions

static bool type_stop_gradient(Rule *r) { return *r->out = *r->in[0], true; }

static bool type_copy(Rule *r) { return *r->out = *r->in[0], true; }

static bool type_assign(Rule *r) {
    const Type *t = state_type(r, r->attr->assign.state);
    if (!t) return false;
    const char *path = sym_str(r->m->syms, r->m->states.at[r->attr->assign.state].path);
    if (t->elem != r->in[0]->elem || !type_same_axes(t, r->in[0]))
        return FAIL(r, "'assign' of a value whose type is not that of state '%s'", path);
    if (!type_same(t, r->in[0]))
        return FAIL(r, "'assign' needs the axes in the order of state '%s'", path);
    *r->out = *r->in[0];
    return true;
}

// What a copy between device and host reads and what it writes are the same value.
static bool type_offload(Rule *r) { return *r->out = *r->in[0], true; }
static bool type_fetch(Rule *r) { return type_offload(r); }
static bool type_landed(Rule *r) {
    if (!type_same(r->in[0], r->in[1]))
        return FAIL(r, "'%s' of a copy and of another value than it copies", op_name(r));
    return type_offload(r);
}
static bool type_ready(Rule *r) { return type_landed(r); }

static bool type_group(Rule *r) {
    if (r->attr->group.kind >= GROUP_COUNT) return FAIL(r, "unknown kind of 'group'");
    if (r->attr->group.body >= r->m->funcs.n) return FAIL(r, "'group' of an unknown region");
    return need_given(r);
}

// ---- between ranks

static const Attr *mesh_of(const Rule *r) { return r->attr; }

static bool need_mesh(const Rule *r, uint32_t mesh) {
    if (mesh && !(mesh >> r->m->meshes)) return true;
    return FAIL(r, "'%s' over %s", op_name(r), mesh ? "an unknown mesh axis" : "no mesh axis");
}

// The result keeps all of x but its place on these mesh axes.
static bool need_sum(Rule *r, uint32_t mesh, Partial *kind) {
    const Type *x = r->in[0];
    *r->out = *x;
    for (uint32_t k = 0; k < PARTIALS; k++)
        if ((x->partial[k] & mesh) == mesh) {
            r->out->partial[k] &= (uint8_t)~mesh;
            *kind = (Partial)k;
            return true;
        }
    return FAIL(r, "the operand of '%s' holds no summands over its mesh axes", op_name(r));
}

// Divides an axis of the result, innermost, by mesh axes in the order of the mesh.
static bool divide(Rule *r, uint32_t mesh, AxisId axis) {
    int at;
    if (!need_axis(r, r->out, axis, &at)) return false;
    TypeAxis *a = &r->out->axes[at];
    uint32_t nest = 0;
    while (nest < MAX_NEST && a->split[nest]) nest++;
    for (uint32_t k = 0; k < r->m->meshes; k++) {
        if (!(mesh >> k & 1)) continue;
        if (nest == MAX_NEST)
            return FAIL(r, "axis '%s' is split by more than %d mesh axes", axis_name(r->m, axis),
                        MAX_NEST);
        a->split[nest++] = (uint8_t)(k + 1);
        if (a->size % r->m->mesh[k].ranks)
            return FAIL(r, "axis '%s' of size %lld does not divide over %u ranks of '%s'",
                        axis_name(r->m, axis), (long long)a->size, r->m->mesh[k].ranks,
                        sym_str(r->m->syms, r->m->mesh[k].name));
        a->size /= r->m->mesh[k].ranks;
    }
    return true;
}

// The contrary.
static bool undivide(Rule *r, uint32_t mesh, AxisId axis) {
    int at;
    if (!need_axis(r, r->out, axis, &at)) return false;
    TypeAxis *a = &r->out->axes[at];
    uint32_t nest = 0;
    while (nest < MAX_NEST && a->split[nest]) nest++;
    for (uint32_t k = r->m->meshes; k-- > 0;) {
        if (!(mesh >> k & 1)) continue;
        if (nest == 0 || a->split[nest - 1] != k + 1)
            return FAIL(r, "axis '%s' of the operand of '%s' is not split innermost by '%s'",
                        axis_name(r->m, axis), op_name(r), sym_str(r->m->syms, r->m->mesh[k].name));
        a->split[--nest] = 0;
        if (a->size > ((int64_t)1 << MAX_ELEMENTS_LOG2) / r->m->mesh[k].ranks)
            return FAIL(r, "more than 2^%d elements", MAX_ELEMENTS_LOG2);
        a->size *= r->m->mesh[k].ranks;
    }
    return true;
}

static bool type_all_reduce(Rule *r) {
    Partial kind;
    uint32_t mesh = mesh_of(r)->all_reduce.mesh;
    return need_mesh(r, mesh) && need_sum(r, mesh, &kind);
}

static bool type_reduce_scatter(Rule *r) {
    Partial kind;
    uint32_t mesh = mesh_of(r)->reduce_scatter.mesh;
    if (!need_mesh(r, mesh) || !need_sum(r, mesh, &kind)) return false;
    return divide(r, mesh, mesh_of(r)->reduce_scatter.axis);
}

static bool type_all_gather(Rule *r) {
    uint32_t mesh = mesh_of(r)->all_gather.mesh;
    *r->out = *r->in[0];
    return need_mesh(r, mesh) && undivide(r, mesh, mesh_of(r)->all_gather.axis);
}

static bool type_all_to_all(Rule *r) {
    uint32_t mesh = mesh_of(r)->all_to_all.mesh;
    AxisId from = mesh_of(r)->all_to_all.axis, to = mesh_of(r)->all_to_all.to;
    *r->out = *r->in[0];
    if (from == to) return FAIL(r, "'all_to_all' from an axis to itself");
    return need_mesh(r, mesh) && undivide(r, mesh, from) && divide(r, mesh, to);
}

static bool type_cut(Rule *r) {
    uint32_t mesh = mesh_of(r)->cut.mesh;
    *r->out = *r->in[0];
    return need_mesh(r, mesh) && divide(r, mesh, mesh_of(r)->cut.axis);
}

static bool type_first(Rule *r) {
    uint32_t mesh = mesh_of(r)->first.mesh;
    *r->out = *r->in[0];
    if (r->in[0]->elem == ELEM_bool) return FAIL(r, "'first' of bool, expected numbers");
    if (!need_mesh(r, mesh)) return false;
    for (uint32_t k = 0; k < PARTIALS; k++)
        if (r->out->partial[k] & mesh)
            return FAIL(r, "the operand of 'first' is not the same on all ranks");
    r->out->partial[PARTIAL_sum] |= (uint8_t)mesh;
    return true;
}

static bool type_part(Rule *r) {
    if (r->attr->part.index < 0) return FAIL(r, "part %lld", (long long)r->attr->part.index);
    return need_given(r);
}

// ---- dispatch

static bool (*const rules[OP_COUNT])(Rule *) = {
#define SCALAR(name, ...) rule_scalar,
#include "ir/scalar.def"
#undef SCALAR
#define OPCODE(name, ...) type_##name,
#include "ir/ops.def"
#undef OPCODE
};

static bool check_form(const Rule *r) {
    const OpInfo *o = &op_info[r->op];
    if (r->n < o->min || r->n > o->max)
        return o->min == o->max
                   ? FAIL(r, "'%s' takes %u operands, not %u", o->name, o->min, r->n)
                   : FAIL(r, "'%s' takes %u to %u operands, not %u", o->name, o->min, o->max, r->n);
    if (r->attr->kind != o->attr) return FAIL(r, "'%s' with the attributes of another op", o->name);
    return true;
}

// The order that the caller wants, where the rule leaves a choice: a permutation of what it gave.
static bool apply_given(Rule *r) {
    if (!r->given) return true;
    const Type *g = r->given;
    if (g->elem != r->out->elem)
        return FAIL(r, "'%s' gives %s, not %s", op_name(r), elem_name(r->out->elem),
                    elem_name(g->elem));
    for (uint32_t i = 0; i < r->out->n && i < MAX_AXES; i++) {
        const TypeAxis *want = &r->out->axes[i];
        int at = type_find(g, want->axis);
        if (at < 0)
            return FAIL(r, "the result of '%s' has axis '%s'", op_name(r),
                        axis_name(r->m, want->axis));
        if (g->axes[at].size != want->size)
            return FAIL(r, "axis '%s' of the result of '%s' has size %lld, not %lld",
                        axis_name(r->m, want->axis), op_name(r), (long long)want->size,
                        (long long)g->axes[at].size);
        if (!same_split(&g->axes[at], want))
            return FAIL(r, "axis '%s' of the result of '%s' is not split so",
                        axis_name(r->m, want->axis), op_name(r));
    }
    if (memcmp(g->partial, r->out->partial, sizeof g->partial))
        return FAIL(r, "the result of '%s' is %s, not %s", op_name(r),
                    place_partial(r->m, r->m->arena, r->out), place_partial(r->m, r->m->arena, g));
    if (g->n != r->out->n)
        return FAIL(r, "the result of '%s' has %u axes, not %u", op_name(r), r->out->n, g->n);
    // What is updated or kept in place has one order.
    bool fixed = op_info[r->op].type == TYPE_FIXED ||
                 (op_info[r->op].acc >= 0 && (uint32_t)op_info[r->op].acc < r->n);
    if (fixed && !type_same(g, r->out))
        return FAIL(r, "the axes of the result of '%s' cannot be reordered", op_name(r));
    *r->out = *g;
    return true;
}

bool infer_type(const Module *m, Op op, const Attr *attr, const Type *const *types, uint32_t n,
                const Type *given, Type *out, Text *why) {
    static const Attr no_attr;
    memset(out, 0, sizeof *out);
    if ((uint32_t)op >= OP_COUNT) return refuse(why, "unknown op %u", (unsigned)op);
    Rule r = {m, op, attr ? attr : &no_attr, types, n, given, out, why};
    if (!check_form(&r)) return false;
    if (given && !type_check(m, given, why)) return false;
    if (!rules[op](&r)) return false;
    if (m->meshes && !place_rule(m, op, r.attr, types, n, out, why)) return false;
    return type_check(m, out, why) && apply_given(&r);
}

TypeId ir_infer(Module *m, Op op, const Attr *attr, const TypeId *types, uint32_t n, TypeId given,
                Text *why) {
    const Type *in[MAX_OPERANDS];
    if (n > MAX_OPERANDS) {
        refuse(why, "%u operands, at most %d are possible", n, MAX_OPERANDS);
        return NONE;
    }
    for (uint32_t i = 0; i < n; i++) in[i] = type_at(m, types[i]);
    Type out;
    if (!infer_type(m, op, attr, in, n, given == NONE ? NULL : type_at(m, given), &out, why))
        return NONE;
    return type_intern(m, &out);
}

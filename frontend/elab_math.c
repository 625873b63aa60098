// Operators and elementwise functions: on numbers they are computed in double, on tensors they
// become scalar ops with aligned axes.
//
// Powers by small whole numbers are products, by one half a square root: pow costs twenty times as
// much and its gradient needs a logarithm. Below -1 they are pow: a reciprocal of products would
// overflow or vanish where the power does not, and its gradient more so. An integer division never
// truncates ('//' floors).
#include "frontend/elab.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- numbers ------------------------------------------------------------------------------------

// Exact, unlike a - floor(a / b) * b.
static double floor_mod(double a, double b) {
    if (b == 0) return 0;
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static double floor_div(double a, double b) {
    return b == 0 || isinf(a / b) ? floor(a / b) : rint((a - floor_mod(a, b)) / b);
}

static Value number_binary(BinaryOp op, const Value *a, const Value *b) {
    bool whole = a->is_int && b->is_int;
    double x = a->num, y = b->num;
    switch (op) {
    case BIN_add: return value_num(x + y, whole);
    case BIN_sub: return value_num(x - y, whole);
    case BIN_mul: return value_num(x * y, whole);
    case BIN_div: return value_num(x / y, false);
    case BIN_idiv: return value_num(y == 0 && whole ? 0 : floor_div(x, y), whole);
    case BIN_mod: return value_num(floor_mod(x, y), whole);
    case BIN_pow: return value_num(pow(x, y), whole && y >= 0);
    case BIN_lt: return value_bool(x < y);
    case BIN_le: return value_bool(x <= y);
    case BIN_gt: return value_bool(x > y);
    case BIN_ge: return value_bool(x >= y);
    case BIN_eq: return value_bool(x == y);
    case BIN_ne: return value_bool(x != y);
    case BIN_or:
    case BIN_and: break;
    }
    unreachable(op);
}

// The number or bool v of this build with what the run computes in its place.
static Value live_result(Value v, Value run) {
    if (run.kind == V_ERROR) return run;
    v.live = true;
    v.home = run.home;
    v.node = run.node;
    return v;
}

// A number or bool as what tensors compute with: the run's value where it is live.
static Value run_value(Elab *cx, const Value *x, Loc at) {
    if (!x->live) return x->kind == V_NUM ? value_num(x->num, false) : *x;
    NodeId n = node_of(cx, x, x->kind == V_BOOL ? ELEM_bool : ELEM_f32, at);
    return n == NONE ? value_error() : value_node(cx, n);
}

static Value unary_number(Elab *cx, Value v, Op op, const Value *x, Loc at) {
    if (!x->live) return v;
    NodeId n = node_of(cx, x, ELEM_f32, at);
    return n == NONE ? value_error() : live_result(v, value_node(cx, ir_unary(cx->b, op, n)));
}

// ---- ranges and affine forms of int tensors -----------------------------------------------------

static Value ranged_binary(BinaryOp op, Value r, const Value *a, const Value *b) {
    double al = 0, ah = 0, bl = 0, bh = 0;
    bool ka = value_range(a, &al, &ah), kb = value_range(b, &bl, &bh);
    if (op == BIN_mod && kb && bl > 0) return value_ranged(r, 0, bh - 1);
    if (!ka || !kb) return r;
    double corner[4] = {al * bl, al * bh, ah * bl, ah * bh};
    if (op == BIN_add) return value_ranged(r, al + bl, ah + bh);
    if (op == BIN_sub) return value_ranged(r, al - bh, ah - bl);
    if (op == BIN_mul)
        return value_ranged(r, fmin(fmin(corner[0], corner[1]), fmin(corner[2], corner[3])),
                            fmax(fmax(corner[0], corner[1]), fmax(corner[2], corner[3])));
    if (op == BIN_idiv && bl > 0)
        return value_ranged(r, fmin(floor(al / bl), floor(al / bh)),
                            fmax(floor(ah / bl), floor(ah / bh)));
    return r;
}

static bool affine_add(Affine *to, const Affine *from, int64_t sign) {
    to->c += sign * from->c;
    for (uint32_t i = 0; i < from->n; i++) {
        uint32_t k = 0;
        while (k < to->n && to->axis[k] != from->axis[i]) k++;
        if (k == MAX_TERMS) return false;
        if (k == to->n) to->axis[k] = from->axis[i], to->coef[k] = 0, to->n++;
        to->coef[k] += sign * from->coef[i];
    }
    return true;
}

static bool affine_of(const Value *v, Affine *out) {
    memset(out, 0, sizeof *out);
    if (value_is_whole(v) && fabs(v->num) <= MAX_EXTENT) return out->c = (int64_t)v->num, true;
    if (v->kind != V_TENSOR || !v->affine) return false;
    *out = *v->affine;
    return true;
}

static Value affine_binary(Elab *cx, BinaryOp op, Value r, const Value *a, const Value *b) {
    Affine x, y;
    if (!affine_of(a, &x) || !affine_of(b, &y)) return r;
    if (op == BIN_add || op == BIN_sub) {
        if (!affine_add(&x, &y, op == BIN_add ? 1 : -1)) return r;
    } else if (op == BIN_mul && (!x.n || !y.n)) {
        if (x.n == 0) {
            Affine swap = x;
            x = y, y = swap;
        }
        x.c *= y.c;
        for (uint32_t i = 0; i < x.n; i++) x.coef[i] *= y.c;
    } else {
        return r;
    }
    if (llabs(x.c) > (1ll << 31)) return r; // products of two such fit 64 bits
    for (uint32_t i = 0; i < x.n; i++)
        if (llabs(x.coef[i]) > (1ll << 31)) return r;
    r.affine = arena_copy(cx->arena, &x, sizeof x);
    return r;
}

// ---- tensors ------------------------------------------------------------------------------------

static Op tensor_op(BinaryOp op, bool *swap) {
    *swap = op == BIN_gt || op == BIN_ge;
    switch (op) {
    case BIN_or: return OP_or;
    case BIN_and: return OP_and;
    case BIN_lt:
    case BIN_gt: return OP_lt;
    case BIN_le:
    case BIN_ge: return OP_le;
    case BIN_eq: return OP_eq;
    case BIN_ne: return OP_ne;
    case BIN_add: return OP_add;
    case BIN_sub: return OP_sub;
    case BIN_mul: return OP_mul;
    case BIN_div: return OP_div;
    case BIN_idiv: return OP_div;
    case BIN_mod: return OP_rem;
    case BIN_pow: return OP_pow;
    }
    unreachable(op);
}

// The element type in which op is computed; ELEM_COUNT after an error.
static Elem common_elem(Elab *cx, const Expr *e, BinaryOp op, const char *name, const Value *a,
                        const Value *b) {
    bool bools = is_bool(cx, a) && is_bool(cx, b);
    if (op == BIN_and || op == BIN_or) {
        if (bools) return ELEM_bool;
        elab_error(cx, e->loc, "'%s' joins bools, found %s and %s", ast_binary_name(op),
                   type_text(cx, a), type_text(cx, b));
        return ELEM_COUNT;
    }
    if (bools && (op == BIN_eq || op == BIN_ne)) return ELEM_bool;
    if (is_bool(cx, a) || is_bool(cx, b)) {
        elab_error(
            cx, e->loc,
            "'%s' takes numbers, found %s and %s; a bool is no number: use real(…) or where(…)",
            name, type_text(cx, a), type_text(cx, b));
        return ELEM_COUNT;
    }
    if (op == BIN_div) return ELEM_f32;
    return is_int(cx, a) && is_int(cx, b) ? ELEM_i32 : ELEM_f32;
}

static bool is_plain(const Value *v) {
    return v->kind == V_NUM || v->kind == V_BOOL || v->kind == V_TENSOR;
}

// False after an error or when either is one.
static bool operands_plain(Elab *cx, const Expr *e, const char *what, const Value *vs, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (vs[i].kind == V_ERROR) return false;
        if (is_plain(&vs[i])) continue;
        elab_error(cx, e->loc, "'%s' takes tensors and numbers, found %s", what,
                   type_text(cx, &vs[i]));
        return false;
    }
    return true;
}

// x to a whole power by squaring: at most 2 log2(n) products, the same for each element.
static NodeId power(Elab *cx, NodeId x, unsigned n) {
    NodeId result = NONE;
    for (NodeId square = x; n; n >>= 1) {
        if (n & 1) result = result == NONE ? square : ir_binary(cx->b, OP_mul, result, square);
        if (n > 1) square = ir_binary(cx->b, OP_mul, square, square);
    }
    return result;
}

// x ^ number without 'pow'; V_TUPLE (absent) when the number is not such a one.
static Value power_simple(Elab *cx, const Expr *e, const Value *x, double n) {
    Elem elem = elem_of(cx, x);
    if (n == 0.5) {
        NodeId r = node_of(cx, x, ELEM_f32, e->loc);
        return r == NONE ? value_error() : value_node(cx, ir_unary(cx->b, OP_sqrt, r));
    }
    if (n != floor(n) || n < -1 || n > 16 || n == 0 || (elem == ELEM_i32 && n < 0))
        return value_absent();
    NodeId r = node_of(cx, x, elem, e->loc);
    if (r == NONE) return value_error();
    r = power(cx, r, (unsigned)fabs(n));
    if (n < 0) r = ir_binary(cx->b, OP_div, ir_const(cx->b, ELEM_f32, 1), r);
    return value_node(cx, r);
}

// What e is called in messages.
static const char *binary_name(const Expr *e, BinaryOp op) {
    return e->kind == E_contract ? "@[]" : ast_binary_name(op);
}

// Whether the axes of the operands of e fit together; reports.
static bool align(Elab *cx, const Expr *e, const Value *vs, uint32_t n) {
    const char *outer = NULL;
    if (e->kind == E_binary && !e->binary.outer)
        outer = arena_printf(cx->arena, "'%s[]'", ast_binary_name(e->binary.op));
    if (e->kind == E_call && !e->call.has_axes)
        outer = arena_printf(cx->arena, "%s[](…)", str(cx, e->call.name));
    return axes_align(cx, e->loc, vs, n, outer);
}

static Value tensor_binary(Elab *cx, const Expr *e, BinaryOp op, const Value *a, const Value *b) {
    Value both[2] = {*a, *b};
    Elem elem = common_elem(cx, e, op, binary_name(e, op), a, b);
    if (elem == ELEM_COUNT || !align(cx, e, both, 2)) return value_error();
    if (op == BIN_pow && b->kind == V_NUM && !b->live) {
        Value simple = power_simple(cx, e, a, b->num);
        if (!value_is_absent(&simple)) return simple;
    }
    if (op == BIN_pow) elem = ELEM_f32;
    NodeId x = node_of(cx, a, elem, e->loc), y = node_of(cx, b, elem, e->loc);
    if (x == NONE || y == NONE) return value_error();
    bool swap;
    Op ir = tensor_op(op, &swap);
    NodeId r = swap ? ir_binary(cx->b, ir, y, x) : ir_binary(cx->b, ir, x, y);
    if (op == BIN_idiv && elem == ELEM_f32) r = ir_unary(cx->b, OP_floor, r);
    Value v = value_node(cx, r);
    Elem found = (Elem)type_of(cx->m, cx->b->f, r)->elem;
    if (found == ELEM_f32 && op != BIN_idiv && op != BIN_mod)
        return value_real_range(ranged_binary(op, v, a, b));
    if (found != ELEM_i32) return v;
    return affine_binary(cx, op, ranged_binary(op, v, a, b), a, b);
}

static Value bool_binary(BinaryOp op, bool a, bool b) {
    if (op == BIN_and) return value_bool(a && b);
    if (op == BIN_or) return value_bool(a || b);
    return value_bool((a == b) == (op == BIN_eq));
}

Value math_binary(Elab *cx, const Expr *e, BinaryOp op, Value a, Value b) {
    Value both[2] = {a, b};
    bool logic = op == BIN_and || op == BIN_or, test = op == BIN_eq || op == BIN_ne;
    if (test && a.kind == V_STRING && b.kind == V_STRING)
        return value_bool((strcmp(a.text, b.text) == 0) == (op == BIN_eq));
    if (!operands_plain(cx, e, binary_name(e, op), both, 2)) return value_error();
    Value v;
    if (a.kind == V_NUM && b.kind == V_NUM && !logic)
        v = number_binary(op, &a, &b);
    else if (a.kind == V_BOOL && b.kind == V_BOOL && (logic || test))
        v = bool_binary(op, a.truth, b.truth);
    else
        return tensor_binary(cx, e, op, &a, &b);
    if (!a.live && !b.live) return v;
    Value x = run_value(cx, &a, e->loc), y = run_value(cx, &b, e->loc);
    if (x.kind == V_ERROR || y.kind == V_ERROR) return value_error();
    return live_result(v, tensor_binary(cx, e, op, &x, &y));
}

Value math_extent(Elab *cx, const AxisList *axes, Loc at) {
    Value v = value_num(1, true);
    for (uint32_t i = 0; i < axes->n; i++) v.num *= (double)extent_of(cx, axes->at[i]);
    if (cx->mode == MODE_generate || !list_has(axes, cx->sample)) return v;
    Value samples = value_samples(cx), others = value_num(v.num / samples.num, true);
    if (samples.num == 0) return v;
    NodeId n = node_of(cx, &samples, ELEM_f32, at), k = node_of(cx, &others, ELEM_f32, at);
    if (n == NONE || k == NONE) return value_error();
    return live_result(v, value_node(cx, ir_binary(cx->b, OP_mul, n, k)));
}

Value math_unary(Elab *cx, const Expr *e, UnaryOp op, Value x) {
    if (!operands_plain(cx, e, op == UN_not ? "not" : "-", &x, 1)) return value_error();
    if (op == UN_not) {
        if (x.kind == V_BOOL && !x.live) return value_bool(!x.truth);
        if (!is_bool(cx, &x))
            return elab_error(cx, e->loc, "'not' takes a bool, found %s", type_text(cx, &x));
        NodeId n = node_of(cx, &x, ELEM_bool, e->loc);
        if (n == NONE) return value_error();
        Value no = value_node(cx, ir_unary(cx->b, OP_not, n));
        return x.live ? live_result(value_bool(!x.truth), no) : no;
    }
    if (x.kind == V_NUM) return unary_number(cx, value_num(-x.num, x.is_int), OP_neg, &x, e->loc);
    if (is_bool(cx, &x))
        return elab_error(cx, e->loc, "'-' takes a number, found %s", type_text(cx, &x));
    Elem elem = elem_of(cx, &x);
    NodeId n = node_of(cx, &x, elem, e->loc);
    if (n == NONE) return value_error();
    Value zero = value_num(0, true), v = value_node(cx, ir_unary(cx->b, OP_neg, n));
    if (elem != ELEM_i32) return v;
    return affine_binary(cx, BIN_sub, ranged_binary(BIN_sub, v, &zero, &x), &zero, &x);
}

static Value hull(Value r, const Value *x, const Value *y) {
    double xl = 0, xh = 0, yl = 0, yh = 0;
    if (!value_range(x, &xl, &xh) || !value_range(y, &yl, &yh)) return r;
    return value_ranged(r, fmin(xl, yl), fmax(xh, yh));
}

Value math_where(Elab *cx, const Expr *e, Value c, Value x, Value y) {
    Value all[3] = {c, x, y};
    if (!operands_plain(cx, e, "where", all, 3)) return value_error();
    if (!is_bool(cx, &c))
        return elab_error(cx, e->loc, "'where' chooses by a bool, found %s", type_text(cx, &c));
    if (is_bool(cx, &x) != is_bool(cx, &y))
        return elab_error(cx, e->loc, "'where' chooses between equal kinds, found %s and %s",
                          type_text(cx, &x), type_text(cx, &y));
    bool known = c.kind == V_BOOL && !c.live && x.kind != V_TENSOR && y.kind != V_TENSOR;
    if (known) return c.truth ? x : y;
    Elem elem = is_bool(cx, &x)                    ? ELEM_bool
                : is_int(cx, &x) && is_int(cx, &y) ? ELEM_i32
                                                   : ELEM_f32;
    if (!align(cx, e, all, 3)) return value_error();
    NodeId cn = node_of(cx, &c, ELEM_bool, e->loc);
    NodeId xn = node_of(cx, &x, elem, e->loc), yn = node_of(cx, &y, elem, e->loc);
    if (cn == NONE || xn == NONE || yn == NONE) return value_error();
    Value v = value_node(cx, ir_select(cx->b, cn, xn, yn));
    if (elem == ELEM_bool) return v;
    return elem == ELEM_i32 ? hull(v, &x, &y) : value_real_range(hull(v, &x, &y));
}

// ---- functions ----------------------------------------------------------------------------------

static double rsqrt_d(double x) { return 1 / sqrt(x); }
typedef struct {
    const char *name;
    Op op;
    double (*number)(double);
    bool keeps_int; // an int stays one
} MathFunction;
static const MathFunction unary_functions[] = {
#define FUNCTION(name, op, number, keeps_int) {#name, OP_##op, number, keeps_int},
#include "frontend/math.def"
#undef FUNCTION
};
enum { UNARY_FUNCTIONS = sizeof unary_functions / sizeof *unary_functions };

const char *const math_names[] = {
#define FUNCTION(name, ...) #name,
#include "frontend/math.def"
#undef FUNCTION
    "min", "max", "real", "int", "stop", "isfinite", "where"};
const uint32_t math_name_count = sizeof math_names / sizeof *math_names;

static Value unary_call(Elab *cx, const Expr *e, const MathFunction *f, const Value *x) {
    if (!operands_plain(cx, e, f->name, x, 1)) return value_error();
    if (x->kind == V_NUM) {
        Value v = value_num(f->number(x->num), f->keeps_int && x->is_int);
        return unary_number(cx, v, f->op, x, e->loc);
    }
    Elem elem = f->keeps_int && is_int(cx, x) ? ELEM_i32 : ELEM_f32;
    NodeId n = node_of(cx, x, elem, e->loc);
    if (n == NONE) return value_error();
    Value v = value_node(cx, ir_unary(cx->b, f->op, n));
    double lo = 0, hi = 0;
    if (elem != ELEM_i32 || !value_range(x, &lo, &hi)) return v;
    return value_ranged(v, lo > 0 ? lo : hi < 0 ? -hi : 0, fmax(fabs(lo), fabs(hi)));
}

static Value extreme_tensors(Elab *cx, const Expr *e, bool max, const Value *a, const Value *b) {
    Value both[2] = {*a, *b};
    Elem elem = common_elem(cx, e, BIN_add, max ? "max" : "min", a, b);
    if (elem == ELEM_COUNT || !align(cx, e, both, 2)) return value_error();
    NodeId x = node_of(cx, a, elem, e->loc), y = node_of(cx, b, elem, e->loc);
    if (x == NONE || y == NONE) return value_error();
    Value v = value_node(cx, ir_binary(cx->b, max ? OP_max : OP_min, x, y));
    double al = -INFINITY, ah = INFINITY, bl = -INFINITY, bh = INFINITY;
    bool known = value_range(a, &al, &ah);
    known |= value_range(b, &bl, &bh);
    if (!known) return v;
    double lo = max ? fmax(al, bl) : fmin(al, bl), hi = max ? fmax(ah, bh) : fmin(ah, bh);
    // A side without a known range still lies within 32 bits.
    v = value_ranged(v, fmax(lo, -MAX_EXTENT - 1), fmin(hi, MAX_EXTENT));
    return elem == ELEM_f32 ? value_real_range(v) : v;
}

static Value extreme_two(Elab *cx, const Expr *e, bool max, const Value *a, const Value *b) {
    Value both[2] = {*a, *b};
    if (!operands_plain(cx, e, max ? "max" : "min", both, 2)) return value_error();
    if (a->kind == V_NUM && b->kind == V_NUM) {
        bool first = isnan(a->num) || (max ? a->num >= b->num : a->num <= b->num);
        Value v = first ? *a : *b;
        if (!a->live && !b->live) return v;
        v.is_int = a->is_int && b->is_int;
        Value x = run_value(cx, a, e->loc), y = run_value(cx, b, e->loc);
        if (x.kind == V_ERROR || y.kind == V_ERROR) return value_error();
        return live_result(v, extreme_tensors(cx, e, max, &x, &y));
    }
    return extreme_tensors(cx, e, max, a, b);
}

static Value extreme(Elab *cx, const Expr *e, bool max, const Value *args, uint32_t n) {
    if (n < 2)
        return elab_error(cx, e->loc,
                          "'%s' takes two values or more, or axes to remove as in %s[axis](x)",
                          max ? "max" : "min", max ? "max" : "min");
    Value v = args[0];
    for (uint32_t i = 1; i < n; i++) v = extreme_two(cx, e, max, &v, &args[i]);
    return v;
}

static Value to_kind(Elab *cx, const Expr *e, Elem to, const Value *x) {
    if (!operands_plain(cx, e, to == ELEM_f32 ? "real" : "int", x, 1)) return value_error();
    if (x->kind == V_BOOL || x->kind == V_NUM) {
        bool whole = to == ELEM_i32;
        Value v = value_num(x->kind == V_BOOL ? x->truth : whole ? trunc(x->num) : x->num, whole);
        v.cast_int = whole;
        if (!x->live) return v;
        Value run = run_value(cx, x, e->loc);
        if (run.kind == V_ERROR) return run;
        NodeId n = whole ? ir_cast(cx->b, run.node, ELEM_i32) : run.node;
        return live_result(v, value_node(cx, ir_cast(cx->b, n, ELEM_f32)));
    }
    NodeId n = node_of(cx, x, elem_of(cx, x), e->loc);
    if (n == NONE) return value_error();
    Value v = value_node(cx, ir_cast(cx->b, n, to));
    if (to != ELEM_i32) return v;
    if (is_bool(cx, x)) return value_ranged(v, 0, 1);
    v.has_range = x->has_range, v.lo = x->lo, v.hi = x->hi; // truncation stays inside whole bounds
    if (is_int(cx, x)) v.affine = x->affine;
    return v;
}

static Value stop_call(Elab *cx, const Expr *e, const Value *x) {
    if (!operands_plain(cx, e, "stop", x, 1)) return value_error();
    if (x->kind != V_TENSOR || !is_real(cx, x)) return *x;
    NodeId n = node_of(cx, x, ELEM_f32, e->loc);
    return n == NONE ? value_error() : value_node(cx, ir_stop(cx->b, n));
}

static Value finite_call(Elab *cx, const Expr *e, const Value *x) {
    if (!operands_plain(cx, e, "isfinite", x, 1)) return value_error();
    if (x->kind == V_NUM)
        return unary_number(cx, value_bool(isfinite(x->num)), OP_isfinite, x, e->loc);
    NodeId n = node_of(cx, x, ELEM_f32, e->loc);
    return n == NONE ? value_error() : value_node(cx, ir_unary(cx->b, OP_isfinite, n));
}

bool math_takes_several(const char *name) {
    return strcmp(name, "min") == 0 || strcmp(name, "max") == 0 || strcmp(name, "where") == 0;
}

static bool arity(Elab *cx, const Expr *e, const char *name, uint32_t n, uint32_t want,
                  Value *out) {
    if (n == want) return true;
    *out = elab_error(cx, e->loc, "'%s' takes %u value%s, found %u", name, want,
                      want == 1 ? "" : "s", n);
    return false;
}

bool math_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                   Value *out) {
    for (uint32_t i = 0; i < UNARY_FUNCTIONS; i++)
        if (strcmp(name, unary_functions[i].name) == 0) {
            if (arity(cx, e, name, n, 1, out)) *out = unary_call(cx, e, &unary_functions[i], args);
            return true;
        }
    if (strcmp(name, "max") == 0 || strcmp(name, "min") == 0) {
        *out = extreme(cx, e, name[1] == 'a', args, n);
    } else if (strcmp(name, "where") == 0) {
        if (arity(cx, e, name, n, 3, out)) *out = math_where(cx, e, args[0], args[1], args[2]);
    } else if (strcmp(name, "real") == 0 || strcmp(name, "int") == 0) {
        if (arity(cx, e, name, n, 1, out))
            *out = to_kind(cx, e, *name == 'r' ? ELEM_f32 : ELEM_i32, args);
    } else if (strcmp(name, "stop") == 0) {
        if (arity(cx, e, name, n, 1, out)) *out = stop_call(cx, e, args);
    } else if (strcmp(name, "isfinite") == 0) {
        if (arity(cx, e, name, n, 1, out)) *out = finite_call(cx, e, args);
    } else {
        return false;
    }
    return true;
}

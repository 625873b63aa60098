// See epilogue.h. Only analytic ops are let in, no comparisons: two such functions of a few nodes that agree
// at 65 points to 2e-7 are the same function, up to the rounding of its constants to f32 (6e-8 each). The
// one choice that passes is the one that autodiff writes, 'where dy is 0, 0': a derivative is 0 there anyway.
#include "ir/epilogue.h"
#include "ir/scalar.h"
#include <math.h>
#include <stdlib.h>

static bool is_analytic(Op op) {
    return op == OP_neg || op == OP_add || op == OP_sub || op == OP_mul || op == OP_div ||
           op == OP_fma || op == OP_exp || op == OP_tanh || op == OP_pow;
}

static bool is_smooth(const Module *m, const Func *f, NodeId n) {
    Op op = (Op)node_at(f, n)->op;
    if (op == OP_eq) return node_is_zero(m, f, operand(f, n, 1)); // read by a choice only
    if (op == OP_select)
        return node_at(f, operand(f, n, 0))->op == OP_eq &&
               node_is_zero(m, f, operand(f, operand(f, n, 0), 1)) &&
               node_is_zero(m, f, operand(f, n, 1));
    return is_analytic(op) && type_of(m, f, n)->elem == ELEM_f32;
}

static bool holds(const NodeId *list, uint32_t n, NodeId x) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == x) return true;
    return false;
}

bool smooth_has(const Smooth *s, NodeId n) { return holds(s->node, s->n, n); }

static int ascending(const void *a, const void *b) {
    NodeId x = *(const NodeId *)a, y = *(const NodeId *)b;
    return x < y ? -1 : x > y;
}

// Adds what node n reads; false when there is no room.
static bool add_operands(const Module *m, const Func *f, NodeId n, const uint8_t *stop, Smooth *s) {
    for (uint32_t i = 0; i < node_at(f, n)->n; i++) {
        NodeId o = operand(f, n, i);
        if (node_at(f, o)->op == OP_const || smooth_has(s, o) || holds(s->leaf, s->leaves, o))
            continue;
        if ((stop && stop[o]) || !is_smooth(m, f, o)) {
            if (s->leaves == MAX_LEAVES) return false;
            s->leaf[s->leaves++] = o;
        } else {
            if (s->n == MAX_SMOOTH) return false;
            s->node[s->n++] = o;
        }
    }
    return true;
}

bool smooth_of(const Module *m, const Func *f, NodeId y, const uint8_t *stop, Smooth *out) {
    *out = (Smooth){.n = 1, .node = {y}};
    if ((stop && stop[y]) || !is_smooth(m, f, y)) return false;
    for (uint32_t i = 0; i < out->n; i++)
        if (!add_operands(m, f, out->node[i], stop, out)) return false;
    qsort(out->node, out->n, sizeof *out->node, ascending);
    return true;
}

// ---- values -------------------------------------------------------------------------------------

// Of the expression when leaf i is at[i].
static double value_of(const Module *m, const Func *f, const Smooth *s, const double *at) {
    double value[MAX_SMOOTH];
    for (uint32_t k = 0; k < s->n; k++) {
        NodeId n = s->node[k];
        double in[3] = {0};
        for (uint32_t i = 0; i < node_at(f, n)->n; i++) {
            NodeId o = operand(f, n, i);
            if (node_at(f, o)->op == OP_const) in[i] = attr_of(m, f, o)->constant.value;
            for (uint32_t j = 0; j < s->leaves; j++)
                if (s->leaf[j] == o) in[i] = at[j];
            for (uint32_t j = 0; j < k; j++)
                if (s->node[j] == o) in[i] = value[j];
        }
        value[k] = scalar_eval_f64((Op)node_at(f, n)->op, ELEM_f32, ELEM_f32, in[0], in[1], in[2]);
    }
    return value[s->n - 1];
}

static bool close_to(double x, double wanted) {
    return fabs(x - wanted) <= 2e-7 * (1 + fabs(wanted));
}

enum { POINTS = 65 };
static double point(int i) { return 0.25 * (i - POINTS / 2); } // -8 ... 8

// The one leaf is x, and the value is of(x).
static bool is_function(const Module *m, const Func *f, const Smooth *s, NodeId x,
                        double (*of)(double)) {
    if (s->leaves != 1 || s->leaf[0] != x) return false;
    for (int i = 0; i < POINTS; i++) {
        double at = point(i);
        if (!close_to(value_of(m, f, s, &at), of(at))) return false;
    }
    return true;
}

// The two leaves are dy and x, and the value is dy * slope(x).
static bool is_multiple(const Module *m, const Func *f, const Smooth *s, NodeId dy, NodeId x,
                        double (*slope)(double)) {
    static const double factors[] = {1, -0.75, 3};
    if (s->leaves != 2 || dy == x || !holds(s->leaf, 2, dy) || !holds(s->leaf, 2, x)) return false;
    int of_x = s->leaf[0] == x ? 0 : 1;
    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < 3; k++) {
            double at[2];
            at[of_x] = point(i);
            at[1 - of_x] = factors[k];
            if (!close_to(value_of(m, f, s, at), factors[k] * slope(point(i)))) return false;
        }
    return true;
}

// ---- matchers -----------------------------------------------------------------------------------

// product: of a derivative.
typedef bool FunctionMatcher(const Module *m, const Func *f, const Smooth *s, NodeId product,
                             NodeId v);

// In its tanh form: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
static const double ROOT = 0.79788456080286535588, CUBE = 0.044715; // sqrt(2 / pi)

static double gelu(double x) { return 0.5 * x * (1 + tanh(ROOT * (x + CUBE * x * x * x))); }

static double gelu_slope(double x) {
    double t = tanh(ROOT * (x + CUBE * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * CUBE * x * x);
}

static bool is_gelu(const Module *m, const Func *f, const Smooth *s, NodeId product, NodeId v) {
    (void)product;
    return is_function(m, f, s, v, gelu);
}

static bool is_gelu_gradient(const Module *m, const Func *f, const Smooth *s, NodeId product,
                             NodeId v) {
    return is_multiple(m, f, s, product, v, gelu_slope);
}

// ---- the table ----------------------------------------------------------------------------------

const FunctionInfo function_info[PRODUCT_FUNCTIONS] = {
#define FUNCTION(name, of, matcher, says) [FUNCTION_##name] = {FUNCTION_##of, says},
#include "ir/epilogue.def"
#undef FUNCTION
};

static FunctionMatcher *const matchers[PRODUCT_FUNCTIONS] = {
#define FUNCTION(name, of, matcher, says) [FUNCTION_##name] = matcher,
#include "ir/epilogue.def"
#undef FUNCTION
};

static ProductFunction first_match(const Module *m, const Func *f, const Smooth *s, NodeId product,
                                   NodeId v, bool gradient) {
    for (uint32_t i = FUNCTION_NONE + 1; i < PRODUCT_FUNCTIONS; i++)
        if ((function_info[i].of != FUNCTION_NONE) == gradient && matchers[i](m, f, s, product, v))
            return (ProductFunction)i;
    return FUNCTION_NONE;
}

ProductFunction function_of_value(const Module *m, const Func *f, const Smooth *s, NodeId v) {
    return first_match(m, f, s, NONE, v, false);
}

ProductFunction function_of_gradient(const Module *m, const Func *f, const Smooth *s,
                                     NodeId product, NodeId v) {
    return first_match(m, f, s, product, v, true);
}

// What a gemm group computes besides its product, if that is what cuBLASLt's calls can do along: a bias, a
// function of ir/epilogue.def, sums of rows, and last the rounding to a type for storage. The group's meaning is its body; this only reads it.
// passes/fuse_library.c makes such groups. O(nodes of the body).
#include "codegen/lower_value.h"
#include "ir/epilogue.h"

static bool is_arg(const Lowering *l, NodeId n) { return node_at(l->f, n)->op == OP_arg; }

static LowerRef arg_ref(const Lowering *l, NodeId n) {
    return (LowerRef){.result = false, .index = (uint32_t)attr_of(l->m, l->f, n)->arg.index};
}

// What n is made of by a cast between floats; else n.
static NodeId uncast(const Lowering *l, NodeId n) {
    if (node_at(l->f, n)->op != OP_cast) return n;
    NodeId o = operand(l->f, n, 0);
    return elem_info[type_of(l->m, l->f, o)->elem].kind == ELEM_FLOAT ? o : n;
}

// n = product + bias: the operand that is the bias, as it lies in memory, or NONE.
static NodeId bias_of(const Lowering *l, NodeId n, NodeId product, const AxisList *columns) {
    if (node_at(l->f, n)->op != OP_add) return NONE;
    NodeId a = operand(l->f, n, 0), b = operand(l->f, n, 1);
    NodeId bias = uncast(l, a == product ? b : a);
    if ((a != product && b != product) || !is_arg(l, bias)) return NONE;
    const Type *t = type_of(l->m, l->f, bias);
    if (t->n != columns->n || t->n == 0) return NONE;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->axes[i].axis != columns->at[i]) return NONE;
    return bias;
}

// What the fold sums, through the partial sums that chunk.c made of it.
static NodeId summed_by(const Lowering *l, NodeId n) {
    NodeId x = operand(l->f, n, 0);
    bool parts = node_at(l->f, x)->op == OP_reduce && attr_of(l->m, l->f, x)->reduce.part;
    return parts ? operand(l->f, x, 0) : x;
}

static bool add_sum(const Lowering *l, NodeId n, LowerRef ref, NodeId contract, bool swapped,
                    NodeId gradient, LowerCall *out) {
    NodeId x = summed_by(l, n), a = operand(l->f, contract, 0), b = operand(l->f, contract, 1);
    if (out->sums || (x != a && x != b && x != gradient)) return false;
    lower_part(&out->parts, SN_GEMM_SUM, ref);
    out->sums = x == gradient ? SN_SUMS_C : (x == a) != swapped ? SN_SUMS_A : SN_SUMS_B;
    return true;
}

static const SnFunction functions[PRODUCT_FUNCTIONS] = {
#define FUNCTION(name, of, matcher, says) [FUNCTION_##name] = SN_FUNCTION_##name,
#include "ir/epilogue.def"
#undef FUNCTION
};

const FunctionInfo *lower_function_info(uint32_t function) {
    for (uint32_t i = FUNCTION_NONE + 1; i < PRODUCT_FUNCTIONS; i++)
        if (functions[i] == (SnFunction)function) return &function_info[i];
    return NULL;
}

// The result is a function of the product, by way of v.
static bool add_function(const Lowering *l, NodeId n, LowerRef ref, NodeId contract, NodeId v,
                         LowerCall *out) {
    uint8_t *stop = NEW_ARRAY(l->a, uint8_t, l->f->nodes.n + 1);
    Smooth s;
    stop[v] = 1;
    if (out->function || !smooth_of(l->m, l->f, n, stop, &s)) return false;
    lower_part(&out->parts, SN_GEMM_C, ref);
    ProductFunction function = function_of_value(l->m, l->f, &s, v);
    out->function = functions[function];
    if (function) return true;
    NodeId aux = s.leaf[0] == contract ? s.leaf[1] : s.leaf[0];
    if (s.leaves != 2 || v != contract || !is_arg(l, aux) ||
        node_at(l->f, aux)->type != node_at(l->f, contract)->type)
        return false;
    function = function_of_gradient(l->m, l->f, &s, contract, aux);
    out->function = functions[function];
    if (!function) return false;
    lower_part(&out->parts, SN_GEMM_AUX, arg_ref(l, aux));
    return true;
}

LowerCall lower_call(const Lowering *l, NodeId contract, const AxisList *columns, bool swapped) {
    LowerCall c = {.known = true, .elem = ELEM_f32};
    NodeId v = contract, gradient = NONE, bias = NONE;
    for (NodeId n = contract + 1; n < l->f->nodes.n && v == contract; n++) {
        bias = bias_of(l, n, contract, columns);
        if (bias == NONE) continue;
        lower_part(&c.parts, SN_GEMM_BIAS, arg_ref(l, bias));
        v = n;
    }
    // Rounded, it is all that is stored.
    if (l->f->results.n == 1 && uncast(l, l->f->results.at[0].node) == v)
        v = l->f->results.at[0].node;
    c.elem = (Elem)type_of(l->m, l->f, v)->elem;
    c.known = bias == NONE || type_of(l->m, l->f, bias)->elem == c.elem;
    if (node_at(l->f, contract)->n == 3) c.known &= c.elem == ELEM_f32;
    bool stores_v = false;
    LowerRef of_v = {0};
    for (uint32_t i = 0; i < l->f->results.n; i++) {
        NodeId n = l->f->results.at[i].node;
        LowerRef ref = {.result = true, .index = i};
        if (n == v)
            stores_v = true, of_v = ref;
        else if (node_at(l->f, n)->op != OP_reduce)
            c.known &= add_function(l, n, ref, contract, v, &c), gradient = n;
    }
    for (uint32_t i = 0; i < l->f->results.n; i++) {
        NodeId n = l->f->results.at[i].node;
        if (node_at(l->f, n)->op == OP_reduce)
            c.known &= add_sum(l, n, (LowerRef){.result = true, .index = i}, contract, swapped,
                               gradient, &c);
    }
    const FunctionInfo *function = lower_function_info(c.function);
    bool derivative = function && function->of;
    if (function && !derivative && stores_v) {
        lower_part(&c.parts, SN_GEMM_AUX, of_v);
    } else if (!c.function) {
        c.known &= stores_v;
        lower_part(&c.parts, SN_GEMM_C, of_v);
    } else {
        c.known &= !stores_v;
    }
    c.known &= !c.sums ||
               (derivative == (c.sums == SN_SUMS_C) && v == contract && (derivative || !function));
    return c;
}

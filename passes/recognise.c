// Names the regions that could be kept whole: attention (contraction, softmax, contraction) and
// classifier losses (contraction, softmax, logarithm). This version forms no regions: it writes
// what it found to the ledger as kept decomposed and changes nothing, so that `explain` says where
// memory traffic of that kind is spent.
//
// A softmax is seen by its exponential: exp(s - m) where m lacks an axis of s, and s comes from a
// contraction by elementwise ops and views. What happens to it next tells the two apart: a
// contraction that sums that axis is attention, a logarithm of its sum a classifier. One sweep,
// O(n).
#include "passes/rewrite.h"

typedef struct {
    NodeId exp, score; // the exponential; the contraction that made the scores
    AxisId axis;       // what it is normalised over
    bool attention, classifier;
} Softmax;

typedef struct {
    PassCx *cx;
    Func *f;
    NodeId *score;   // by node: the contraction it follows from elementwise, or NONE
    uint32_t *soft;  // by node: 1 + number of the softmax it is a part of
    uint32_t *total; // by node: likewise, the sum of the exponentials
    VEC(Softmax) found;
} Search;

// An axis that x has and y lacks, or 0.
static AxisId lacking(const Type *x, const Type *y) {
    for (uint32_t i = x->n; i-- > 0;)
        if (type_find(y, x->axes[i].axis) < 0) return x->axes[i].axis;
    return 0;
}

static void see_exp(Search *s, NodeId n) {
    NodeId x = operand(s->f, n, 0);
    if (node_at(s->f, x)->op != OP_sub || s->score[x] == NONE) return;
    AxisId axis = lacking(type_of(s->cx->m, s->f, operand(s->f, x, 0)),
                          type_of(s->cx->m, s->f, operand(s->f, x, 1)));
    if (!axis) return;
    vec_push(s->cx->scratch, &s->found, ((Softmax){n, s->score[x], axis, false, false}));
    s->soft[n] = s->found.n;
}

static void see_contract(Search *s, NodeId n) {
    const AxisList *axes = &attr_of(s->cx->m, s->f, n)->contract.axes;
    for (uint32_t j = 0; j < 2; j++) {
        uint32_t soft = s->soft[operand(s->f, n, j)];
        if (soft && list_has(axes, s->found.at[soft - 1].axis))
            s->found.at[soft - 1].attention = true;
    }
    s->score[n] = n;
}

static void see_node(Search *s, NodeId n) {
    const Node *x = node_at(s->f, n);
    s->score[n] = NONE;
    if (x->op == OP_contract) {
        see_contract(s, n);
        return;
    }
    if (x->op == OP_reduce && s->soft[operand(s->f, n, 0)])
        s->total[n] = s->soft[operand(s->f, n, 0)];
    if (x->op == OP_max) s->total[n] = s->total[operand(s->f, n, 0)]; // a bound for masked rows
    if (x->op == OP_log && s->total[operand(s->f, n, 0)])
        s->found.at[s->total[operand(s->f, n, 0)] - 1].classifier = true;
    if (!op_is_scalar((Op)x->op) && x->op != OP_rename && x->op != OP_copy) return;
    for (uint32_t j = 0; j < x->n; j++) {
        NodeId o = operand(s->f, n, j);
        if (s->score[n] == NONE) s->score[n] = s->score[o];
        if (!s->soft[n]) s->soft[n] = s->soft[o];
    }
    if (x->op == OP_exp) see_exp(s, n);
}

static void report(const Search *s, const Softmax *x) {
    if (!x->attention && !x->classifier) return;
    const Module *m = s->cx->m;
    Sym name = node_at(s->f, x->exp)->name;
    if (!name) name = node_at(s->f, x->score)->name;
    ledger_add(s->cx->ledger,
               (Decision){.func = sym_str(m->syms, s->f->name),
                          .pass = "recognise",
                          .rule = x->attention ? "attention" : "classifier",
                          .subject = sym_str(m->syms, name),
                          .bytes = type_bytes(type_of(m, s->f, x->exp)),
                          .loc = node_at(s->f, x->exp)->loc},
               "kept decomposed: no region of this kind is formed yet");
}

static void search_func(PassCx *cx, Func *f) {
    uint32_t count = f->nodes.n + 1;
    Search s = {.cx = cx, .f = f};
    s.score = NEW_ARRAY(cx->scratch, NodeId, count);
    s.soft = NEW_ARRAY(cx->scratch, uint32_t, count);
    s.total = NEW_ARRAY(cx->scratch, uint32_t, count);
    for (NodeId n = 0; n < f->nodes.n; n++) see_node(&s, n);
    for (uint32_t i = 0; i < s.found.n; i++) report(&s, &s.found.at[i]);
}

bool pass_recognise(PassCx *cx) {
    for (uint32_t i = 0; i < cx->m->funcs.n; i++)
        if (!cx->m->funcs.at[i]->region) search_func(cx, cx->m->funcs.at[i]);
    return false;
}

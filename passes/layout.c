// Layout: the order in which contractions store their results.
//
// Meaning never depends on the order of axes, memory does: two neighbouring axes that a GEMM walks as
// one dimension need no inner loop in its packer. A contraction's result that only contractions read
// (through renames) may be stored in any order, so each such result gets the order that leaves fewest
// breaks, counted over the contraction itself and its readers. Attention's output becomes
// [batch, seq, head, hdim], ready to be read as a matrix. The innermost axis stays, so that tiles are
// still written along memory. Nothing is ever copied: on this target packers read any strides, so an
// order costs at most an inner loop.
//
// One candidate per result (the order its first reader wants), one sweep: O(nodes + edges).
#include "ir/view.h"
#include "passes/rewrite.h"
#include <string.h>

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Users users;
} Layout;

// Renames between the result and a reader: name in the reader of axis `a` of the result.
typedef struct {
    NodeId reader;
    uint32_t operand;
    AxisId from[MAX_AXES], to[MAX_AXES];
    uint32_t n;
} ReaderView;

static AxisId seen_as(const ReaderView *r, AxisId a) {
    for (uint32_t i = 0; i < r->n; i++)
        if (r->from[i] == a) return r->to[i];
    return a;
}

// Follows renames from n to its only reader, a contraction. False when something else reads it.
static bool follow(const Layout *l, NodeId n, NodeId user, ReaderView *r) {
    for (;;) {
        const Node *u = node_at(l->f, user);
        if (u->op == OP_contract) {
            r->reader = user;
            r->operand = operand(l->f, user, 0) == n ? 0 : 1;
            return operand(l->f, user, r->operand) == n &&
                   (u->n < 3 || operand(l->f, user, 2) != n) && r->n < MAX_AXES;
        }
        if (u->op != OP_rename || r->n == MAX_AXES) return false;
        const Attr *at = attr_of(l->m, l->f, user);
        uint32_t i = 0;
        while (i < r->n && r->to[i] != at->rename.from) i++;
        if (i == r->n) r->from[r->n++] = at->rename.from;
        r->to[i] = at->rename.to;
        if (l->users.first[user + 1] - l->users.first[user] != 1) return false;
        n = user;
        user = l->users.list[l->users.first[user]];
    }
}

enum { ROLE_BATCH, ROLE_KEPT, ROLE_SUMMED };

static int role_in(const Layout *l, const ReaderView *r, AxisId a) {
    AxisId x = seen_as(r, a);
    if (list_has(&attr_of(l->m, l->f, r->reader)->contract.axes, x)) return ROLE_SUMMED;
    const Type *other = type_of(l->m, l->f, operand(l->f, r->reader, 1 - r->operand));
    return type_find(other, x) >= 0 ? ROLE_BATCH : ROLE_KEPT;
}

// Where axis a stands among the axes of its role, as the reader walks them.
static int rank_in(const Layout *l, const ReaderView *r, AxisId a) {
    AxisId x = seen_as(r, a);
    const AxisList *summed = &attr_of(l->m, l->f, r->reader)->contract.axes;
    for (uint32_t i = 0; i < summed->n; i++)
        if (summed->at[i] == x) return (int)i;
    return type_find(type_of(l->m, l->f, r->reader), x);
}

// Neighbours in walking order that do not lie side by side in `t`.
static int breaks_for(const Layout *l, const ReaderView *r, const Type *t) {
    int breaks = 0;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t j = 0; j < t->n; j++) {
            int role = role_in(l, r, t->axes[i].axis);
            if (i == j || role != role_in(l, r, t->axes[j].axis)) continue;
            int ri = rank_in(l, r, t->axes[i].axis), rj = rank_in(l, r, t->axes[j].axis);
            bool neighbours = ri < rj; // and nothing of this role between them
            for (uint32_t k = 0; k < t->n && neighbours; k++) {
                int rk = rank_in(l, r, t->axes[k].axis);
                if (role_in(l, r, t->axes[k].axis) == role && rk > ri && rk < rj)
                    neighbours = false;
            }
            if (neighbours && j != i + 1) breaks++;
        }
    return breaks;
}

// The contraction's own dimensions: batch, left and right axes as its operands hold them.
static int own_class(const Layout *l, NodeId n, AxisId a) {
    bool x = type_find(type_of(l->m, l->f, operand(l->f, n, 0)), a) >= 0;
    bool y = type_find(type_of(l->m, l->f, operand(l->f, n, 1)), a) >= 0;
    return x && y ? 0 : x ? 1 : 2;
}

static int own_breaks(const Layout *l, NodeId n, const Type *t) {
    int breaks = 0, last[3] = {-1, -1, -1};
    for (uint32_t i = 0; i < t->n; i++) {
        int c = own_class(l, n, t->axes[i].axis);
        if (last[c] >= 0 && last[c] != (int)i - 1) breaks++;
        last[c] = (int)i;
    }
    return breaks;
}

static Type order_for(const Layout *l, const ReaderView *r, const Type *t) {
    Type out = *t;
    out.n = 0;
    for (int role = ROLE_BATCH; role <= ROLE_SUMMED; role++)
        for (int rank = 0; rank < MAX_AXES; rank++)
            for (uint32_t i = 0; i < t->n; i++)
                if (role_in(l, r, t->axes[i].axis) == role &&
                    rank_in(l, r, t->axes[i].axis) == rank)
                    out.axes[out.n++] = t->axes[i];
    return out;
}

enum { MAX_READERS = 8 };

// The better order of contraction n, if there is one.
static bool better(const Layout *l, NodeId n, Type *order) {
    const Type *t = type_of(l->m, l->f, n);
    uint32_t count = l->users.first[n + 1] - l->users.first[n];
    ReaderView readers[MAX_READERS];
    if (node_at(l->f, n)->n == 3 || t->n < 3 || count == 0 || count > MAX_READERS) return false;
    for (uint32_t i = 0; i < count; i++) {
        readers[i] = (ReaderView){.n = 0};
        if (!follow(l, n, l->users.list[l->users.first[n] + i], &readers[i])) return false;
    }
    for (uint32_t i = 0; i < l->f->results.n; i++)
        if (l->f->results.at[i].node == n) return false;
    *order = order_for(l, &readers[0], t);
    if (order->n != t->n || order->axes[t->n - 1].axis != t->axes[t->n - 1].axis) return false;
    int before = own_breaks(l, n, t), after = own_breaks(l, n, order);
    for (uint32_t i = 0; i < count; i++) {
        before += breaks_for(l, &readers[i], t);
        after += breaks_for(l, &readers[i], order);
    }
    const char *name = sym_str(l->m->syms, node_at(l->f, n)->name);
    if (before > 0)
        ledger_add(l->cx->ledger,
                   (Decision){.done = after < before,
                              .func = sym_str(l->m->syms, l->f->name),
                              .pass = "layout",
                              .rule = "order",
                              .subject = *name ? name : "contraction",
                              .loc = node_at(l->f, n)->loc},
                   "%d breaks between axes instead of %d; packers read any strides, no copy",
                   after < before ? after : before, before);
    return after < before;
}

static bool layout_func(PassCx *cx, FuncId id) {
    Func *f = cx->m->funcs.at[id];
    Arena *a = cx->scratch;
    Layout l = {cx, cx->m, f, func_users(a, f)};
    TypeId *order = NEW_ARRAY(a, TypeId, f->nodes.n + 1);
    bool changed = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        Type t;
        order[n] = NONE;
        if (node_at(f, n)->op == OP_group) return false; // kernels are formed
        if (node_at(f, n)->op != OP_contract || !better(&l, n, &t)) continue;
        order[n] = type_intern(cx->m, &t);
        changed = true;
    }
    if (!changed) return false;
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (order[n] == NONE) {
            rewrite_copy(&r, n);
            continue;
        }
        NodeId in[2] = {r.map[operand(f, n, 0)], r.map[operand(f, n, 1)]};
        rewrite_like(&r, n);
        r.map[n] = ir_node(&r.b, OP_contract, attr_of(cx->m, f, n), in, 2, order[n]);
    }
    rewrite_end(&r);
    return true;
}

bool pass_layout(PassCx *cx) {
    bool changed = false;
    for (FuncId id = 0; id < cx->m->funcs.n; id++)
        if (!cx->m->funcs.at[id]->region) changed |= layout_func(cx, id);
    return changed;
}

// Cuts long folds into partial folds and their sum, so that one fold is many independent tasks. It
// exists here, before fusion, because the cut decides what a task of a fused kernel walks.
//
// Bit-neutral by definition: docs/numerics.md defines a fold as the sum, in order, of its chunks
// (columns) or segments (rows), and the cut is along just those. Column folds are always cut: their
// chunks never depend on anything but the number of rows. Row folds are cut only when there are too
// few rows to keep the machine busy and each is long. O(nodes).
#include "passes/rewrite.h"

enum { FEW_ROWS = 64, LONG_ROW = 4 * FOLD_SEGMENT };

static int64_t folded_count(const Type *x, const AxisList *axes) {
    int64_t n = 1;
    for (uint32_t i = 0; i < axes->n; i++) n *= x->axes[type_find(x, axes->at[i])].size;
    return n;
}

// Number of parts to cut fold n into; 1: leave it.
static int64_t parts_of(const Module *m, const Func *f, NodeId n) {
    const Node *x = node_at(f, n);
    if (x->op != OP_reduce) return 1;
    const Attr *a = attr_of(m, f, n);
    const Type *from = type_of(m, f, operand(f, n, 0)), *to = type_at(m, x->type);
    if (a->reduce.part || a->reduce.by == FOLD_seq || to->n == MAX_AXES) return 1;
    int64_t count = folded_count(from, &a->reduce.axes);
    if (a->reduce.by == FOLD_row && (type_count(to) >= FEW_ROWS || count <= LONG_ROW)) return 1;
    return fold_parts((FoldBy)a->reduce.by, count);
}

// Folds into the same number of parts share an axis.
static AxisId part_axis(Module *m, Map *known, int64_t parts) {
    uint32_t *axis = map_slot(known, (uint64_t)parts, NULL);
    if (!*axis) *axis = axis_new(m, "part", parts);
    return *axis;
}

static void cut_fold(PassCx *cx, Rewrite *r, Map *known, NodeId n, int64_t parts) {
    Module *m = cx->m;
    const Attr a = *attr_of(m, r->from, n);
    AxisId part = part_axis(m, known, parts);
    rewrite_like(r, n);
    Sym name = r->b.name;
    r->b.name = 0;
    NodeId x = r->map[operand(r->from, n, 0)];
    NodeId each = ir_reduce_by(&r->b, (ReduceKind)a.reduce.kind, x, &a.reduce.axes,
                               (FoldBy)a.reduce.by, part);
    r->b.name = name;
    Attr seq = {.kind = ATTR_reduce};
    seq.reduce.kind = a.reduce.kind;
    seq.reduce.axes = (AxisList){1, {part}};
    seq.reduce.by = FOLD_seq;
    r->map[n] = ir_node(&r->b, OP_reduce, &seq, &each, 1, node_at(r->from, n)->type);
    ledger_add(cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(m->syms, r->from->name),
                          .pass = "chunk",
                          .rule = fold_names[a.reduce.by],
                          .subject = sym_str(m->syms, name),
                          .bytes = type_bytes(type_of(m, &r->to, each)),
                          .loc = r->b.loc},
               "%lld partial folds, then their sum", (long long)parts);
}

static bool chunk_func(PassCx *cx, Func *f, Map *known) {
    Rewrite r;
    rewrite_begin(&r, cx, f);
    bool changed = false;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        int64_t parts = parts_of(cx->m, f, n);
        if (parts <= 1) {
            rewrite_copy(&r, n);
            continue;
        }
        cut_fold(cx, &r, known, n, parts);
        changed = true;
    }
    if (changed) rewrite_end(&r);
    return changed;
}

bool pass_chunk(PassCx *cx) {
    bool changed = false;
    Map known = {.arena = cx->scratch};
    for (uint32_t i = 0; i < cx->m->funcs.n; i++)
        if (!cx->m->funcs.at[i]->region) changed |= chunk_func(cx, cx->m->funcs.at[i], &known);
    return changed;
}

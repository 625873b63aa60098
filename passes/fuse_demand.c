// Fusion, before the groups are written: what the plan demands of named values.
//
// 'nofuse' has been kept by then: its values were placed by themselves. 'fuse' changes nothing that the pass
// does, which joins whatever can be joined; where one of its values is all that a kernel computes, it is an
// error that says why, in the words of fuse.def. A pattern that selects attention, which recognise formed or
// refused, asks for nothing else: what attention reads is stored. Linear in the nodes for each demand.
#include "ir/view.h"
#include "passes/fuse.h"

// Whether a region of attention has one of the values: products, sums and what has rows and keys.
static bool is_of_attention(const Module *m, const Demand *d, const Func *f, const Attr *at) {
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Type *t = type_of(m, f, n);
        bool tile = type_find(t, at->group.row) >= 0 && type_find(t, at->group.key) >= 0;
        if ((tile || node_at(f, n)->op == OP_contract) && demand_selects(m, d, f, n)) return true;
    }
    return false;
}

static bool asks_for_attention(const Module *m, const Demand *d) {
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n; n++) {
            const Func *f = m->funcs.at[i];
            if (node_at(f, n)->op != OP_group) continue;
            const Attr *at = attr_of(m, f, n);
            if (group_is_attention(at->group.kind) &&
                is_of_attention(m, d, m->funcs.at[at->group.body], at))
                return true;
        }
    return false;
}

static bool is_meant(const Fuse *x, const Demand *d, NodeId n) {
    const Node *node = node_at(x->f, n);
    return x->group[n] != GROUP_NONE && node->op != OP_group && node->op != OP_part &&
           demand_selects(x->m, d, x->f, n);
}

// What says why group g has nothing else. A product is a kernel whatever it reads, so for it those that read
// it come first.
static const FusePair *pair_of(const Fuse *x, uint32_t g) {
    const FusePair *read = NULL, *reader = NULL;
    for (uint32_t i = x->pairs.n; i-- > 0;) {
        const FusePair *p = &x->pairs.at[i];
        if (p->to == g) read = p;
        if (p->from == g) reader = p;
    }
    bool begins = read && (read->why == REFUSAL_product || read->why == REFUSAL_scatter);
    return read && !(begins && reader) ? read : reader;
}

static void report(const Fuse *x, const Demand *d, NodeId n) {
    Diag *diag = x->m->diag;
    const FusePair *p = pair_of(x, x->group[n]);
    const char *path = sym_str(x->m->syms, d->path), *name = fuse_name(x, n);
    if (diag_has_error(diag, d->loc)) return;
    if (!p) {
        diag_error(diag, d->loc, "'%s' is not fused: '%s' has a kernel of its own%s", path, name,
                   ", and none makes what it reads or reads it");
    } else if (p->to == x->group[n]) {
        diag_error(
            diag, d->loc,
            "'%s' is not fused: '%s' has a kernel of its own, without '%s' that it reads: %s", path,
            name, p->source.name, refusal_info[p->why].reason);
    } else {
        diag_error(
            diag, d->loc,
            "'%s' is not fused: '%s' has a kernel of its own, without '%s' that reads it: %s", path,
            name, p->reader.name, refusal_info[p->why].reason);
    }
    diag_note(diag, node_at(x->f, n)->loc, "'%s' is computed here", name);
}

static void record(const Fuse *x, const Demand *d, uint32_t values) {
    ledger_add(x->cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(x->m->syms, x->f->name),
                          .pass = "fuse",
                          .rule = d->kind == DEMAND_nofuse ? "nofuse" : "demand",
                          .subject = sym_str(x->m->syms, d->path),
                          .loc = d->loc},
               d->kind == DEMAND_nofuse ? "the plan: %u values stored, each by a kernel of its own"
                                        : "the plan: %u values, none with a kernel of its own",
               values);
}

void fuse_check_demands(Fuse *x) {
    for (uint32_t i = 0; i < x->m->demands.n; i++) {
        const Demand *d = &x->m->demands.at[i];
        uint32_t values = 0;
        bool good = true, apart = d->kind == DEMAND_nofuse;
        if (!apart && (d->kind != DEMAND_fuse || asks_for_attention(x->m, d))) continue;
        for (NodeId n = 0; n < x->f->nodes.n && good; n++) {
            if (!is_meant(x, d, n)) continue;
            uint32_t members = x->groups.at[x->group[n]].members.n;
            CHECK(!apart || members == 1, "fuse: '%s' is not kept apart", fuse_name(x, n));
            good = apart || members > 1;
            values++;
            if (!good) report(x, d, n);
        }
        if (good && values) record(x, d, values);
    }
}

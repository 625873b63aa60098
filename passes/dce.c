// Dead code elimination: keeps what a result or an assignment needs. It exists so that later passes
// never look at what nothing reads. Needs and leaves a verified function. One sweep up the list to
// mark and one down to copy: O(nodes + operands).
#include "passes/rewrite.h"

// Bodies of regions keep all their nodes: fuse made them minimal and their results are positional.
static bool dce_func(PassCx *cx, Func *f) {
    uint8_t *live = NEW_ARRAY(cx->scratch, uint8_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->results.n; i++) live[f->results.at[i].node] = 1;
    uint32_t kept = 0;
    for (NodeId n = f->nodes.n; n-- > 0;) {
        if (f->nodes.at[n].op == OP_assign) live[n] = 1;
        if (!live[n]) continue;
        kept++;
        for (uint32_t j = 0; j < f->nodes.at[n].n; j++) live[operand(f, n, j)] = 1;
    }
    if (kept == f->nodes.n) return false;
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (live[n]) rewrite_copy(&r, n);
    rewrite_end(&r);
    return true;
}

bool pass_dce(PassCx *cx) {
    bool changed = false;
    for (uint32_t i = 0; i < cx->m->funcs.n; i++)
        if (!cx->m->funcs.at[i]->region) changed |= dce_func(cx, cx->m->funcs.at[i]);
    return changed;
}

// Lowers all groups of a module, and prints what came out. Linear in nodes.
#include "codegen/plan.h"

static void mark_accumulators(const Module *m, const Func *f, NodeId group, const uint8_t *assigned,
                              uint8_t *acc) {
    for (uint32_t i = 0; i < node_at(f, group)->n; i++) {
        NodeId o = operand(f, group, i);
        acc[i] = 0;
        if (node_at(f, o)->op != OP_state) continue;
        StateId s = attr_of(m, f, o)->state.state;
        acc[i] = m->states.at[s].kind == STATE_accum && assigned[s];
    }
}

// No result has an element: there is nothing to run.
static bool stores_nothing(const Module *m, const Func *f, NodeId group) {
    const Func *body = m->funcs.at[attr_of(m, f, group)->group.body];
    for (uint32_t i = 0; i < body->results.n; i++)
        if (type_count(type_of(m, body, body->results.at[i].node)) > 0) return false;
    return true;
}

// Kernels store a fold's result after its elements: a fold needs some. simplify sees to it.
static bool folds_nothing(const Module *m, const Func *f, NodeId group) {
    const Func *body = m->funcs.at[attr_of(m, f, group)->group.body];
    for (NodeId n = 0; n < body->nodes.n; n++) {
        Op op = (Op)node_at(body, n)->op;
        if ((op == OP_reduce || op == OP_contract) && type_count(type_of(m, body, n)) > 0 &&
            (type_count(type_of(m, body, operand(body, n, 0))) == 0 ||
             (op == OP_contract && type_count(type_of(m, body, operand(body, n, 1))) == 0)))
            return true;
    }
    return false;
}

static bool same_mem(const Mem *a, const Mem *b) {
    return a->region == b->region && a->offset == b->offset;
}

// A function that fuse and memplan have not seen is the user's doing: --passes without them.
static bool is_planned(const Func *f) {
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (!op_is_executable(node_at(f, n)->op)) return false;
    return f->mem.n == f->nodes.n;
}

static bool lower_func(Arena *a, const Module *m, FuncId id, Diag *d, KernelProgram *out) {
    const Func *f = m->funcs.at[id];
    ProgramSection sec = {.func = id};
    uint8_t *assigned = NEW_ARRAY(a, uint8_t, m->states.n + 1);
    uint8_t acc[MAX_OPERANDS];
    bool ok = true;
    if (!is_planned(f)) {
        diag_error(d, (Loc){0}, "'%s' is not ready for code: the passes fuse and memplan come last",
                   sym_str(m->syms, f->name));
        return false;
    }
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_assign) assigned[attr_of(m, f, n)->assign.state] = 1;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        Op op = (Op)node_at(f, n)->op;
        SectionCommand s = {.node = n};
        if ((op_starts_copy(op) || op_ends_copy(op)) && type_bytes(type_of(m, f, n)) > 0) {
            s.low.kind = LOWER_transfer;
            vec_push(a, &sec.steps, s);
        } else if (op == OP_group) {
            if (stores_nothing(m, f, n)) continue;
            if (folds_nothing(m, f, n)) {
                diag_error(
                    d, node_at(f, n)->loc,
                    "this cannot be compiled yet: a fold over no elements (the pass simplify "
                    "removes it)");
                ok = false;
                continue;
            }
            Text why = {.arena = a};
            mark_accumulators(m, f, n, assigned, acc);
            if (!lower_group(a, m, f, n, acc, &s.low, &why)) {
                if (!diag_has_error(d, node_at(f, n)->loc))
                    diag_error(d, node_at(f, n)->loc, "this cannot be compiled yet: %s",
                               why.at ? why.at : "?");
                ok = false;
                continue;
            }
            vec_push(a, &sec.steps, s);
        } else if (op == OP_assign && !same_mem(&f->mem.at[n], &f->mem.at[operand(f, n, 0)])) {
            s.low.kind = LOWER_copy;
            vec_push(a, &sec.steps, s);
        }
    }
    vec_push(a, &out->sections, sec);
    return ok;
}

bool program_lower(Arena *a, const Module *m, Diag *d, KernelProgram *out) {
    *out = (KernelProgram){.m = m};
    bool ok = true;
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) ok &= lower_func(a, m, i, d, out);
    return ok;
}

static void print_once(Text *to, const Kernel *k, Map *seen) {
    bool fresh = false;
    if (k) map_slot(seen, k->hash, &fresh);
    if (fresh) kernel_print(to, k);
}

void program_print_kernels(Text *to, const KernelProgram *p) {
    Map seen = {.arena = to->arena};
    for (uint32_t i = 0; i < p->sections.n; i++)
        for (uint32_t j = 0; j < p->sections.at[i].steps.n; j++) {
            const Lowered *l = &p->sections.at[i].steps.at[j].low;
            print_once(to, l->kernel, &seen);
            for (uint32_t n = 0; l->kind == LOWER_flash && n < FLASH_PARTS; n++)
                print_once(to, l->flash.part[n].kernel, &seen);
        }
}

static void print_mem(Text *to, Mem mem) {
    text_printf(to, " %s+%lld", region_names[mem.region], (long long)mem.offset);
}

NodeId lowered_node(const Module *m, const Func *f, NodeId group, LowerRef r) {
    if (!r.result) return operand(f, group, r.index);
    for (NodeId n = group + 1; r.index && n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_part && operand(f, n, 0) == group &&
            (uint32_t)attr_of(m, f, n)->part.index == r.index)
            return n;
    return group;
}

Mem lowered_place(const Module *m, const Func *f, NodeId group, LowerRef r) {
    NodeId n = lowered_node(m, f, group, r);
    Mem mem = f->mem.at[n];
    mem.offset += r.first * elem_info[type_of(m, f, n)->elem].bytes;
    return mem;
}

static void print_gemm(Text *to, NodeId n, const Lowered *l) {
    const SnGemm *g = &l->gemm.gemm;
    text_printf(to, "  gemm   %%%u %lld x %lld x %lld x %lld%s", n,
                (long long)sn_extent(g->batch, g->nbatch), (long long)sn_extent(g->m, g->nm),
                (long long)sn_extent(g->n, g->nn), (long long)sn_extent(g->k, g->nk),
                l->kernel ? " + epilogue" : "");
}

static void print_attend(Text *to, NodeId n, const Lowered *l) {
    const SnAttend *a = &l->attend.attend;
    long long outer = 1, seen = 0;
    for (uint32_t i = 0; i < a->nouter; i++) outer *= a->outer[i];
    for (uint32_t i = 0; i < l->attend.hulls.n; i++)
        seen += l->attend.hulls.at[i].end - l->attend.hulls.at[i].first;
    text_printf(to, "  attend %%%u %lld x %lld x %lld, strips of %u, %u parts, %.0f %% of the keys",
                n, outer, (long long)a->rows, (long long)a->keys, a->strip, a->nparts,
                100.0 * (double)seen / ((double)l->attend.hulls.n * (double)a->keys));
}

static void print_flash(Text *to, NodeId n, const Lowered *l) {
    const Flash *x = &l->flash.shape;
    long long outer = 1;
    for (uint32_t i = 0; i < x->outer.n; i++) outer *= x->size[i];
    text_printf(to, "  flash  %%%u %lld x %lld x %lld x %lld, %u kernels, %.0f %% of the scores", n,
                outer, (long long)x->rows, (long long)x->keys, (long long)x->d, l->flash.n,
                100 * l->flash.seen);
}

void program_print_plan(Text *to, const KernelProgram *p) {
    for (uint32_t i = 0; i < p->sections.n; i++) {
        const ProgramSection *sec = &p->sections.at[i];
        const Func *f = p->m->funcs.at[sec->func];
        text_printf(to, "section %s\n", sym_str(p->m->syms, f->name));
        for (uint32_t j = 0; j < sec->steps.n; j++) {
            const SectionCommand *s = &sec->steps.at[j];
            const Lowered *l = &s->low;
            const char *name = sym_str(p->m->syms, node_at(f, s->node)->name);
            switch (l->kind) {
            case LOWER_copy:
                text_printf(to, "  copy   %%%u", s->node);
                print_mem(to, f->mem.at[operand(f, s->node, 0)]);
                break;
            case LOWER_transfer:
                text_printf(to, "  %-6s %%%u", op_info[node_at(f, s->node)->op].name, s->node);
                print_mem(to, f->mem.at[operand(f, s->node, 0)]);
                print_mem(to, f->mem.at[s->node]);
                break;
            case LOWER_gemm: print_gemm(to, s->node, l); break;
            case LOWER_attend: print_attend(to, s->node, l); break;
            case LOWER_flash: print_flash(to, s->node, l); break;
            case LOWER_kernel:
            case LOWER_scatter:
                text_printf(to, "  kernel %%%u %s %016llx tasks=%lld", s->node, l->kernel->name,
                            (unsigned long long)l->kernel->hash, (long long)l->kernel->tasks);
                break;
            }
            for (uint32_t r = 0; r < l->refs.n; r++)
                print_mem(to, lowered_place(p->m, f, s->node, l->refs.at[r]));
            text_printf(to, "  \"%s\"\n", name);
        }
    }
}

// Writes the plan blob: tables one behind the other at multiples of 8 bytes, strings last. Strings are
// shared. The format is runtime/plan.h; the runtime checks every number of it again.
#include "codegen/plan.h"
#include <string.h>

typedef struct {
    Arena *a;
    const KernelProgram *p;
    const PlanInfo *info;
    const Module *m;
    Text strings;
    Map string_at; // hash -> offset + 1
    VEC(SnKernel) kernels;
    Map kernel_at; // kernel hash -> index + 1
    VEC(SnGemm) gemms;
    VEC(SnCmd) cmds;
    VEC(SnArg) args;
    VEC(SnSection) sections;
    VEC(SnState) states;
    VEC(SnPort) inputs, outputs;
    VEC(SnScalar) scalars;
    VEC(SnOption) options;
    VEC(SnStr) nodes;
    int64_t region_bytes[SN_REGIONS];
} Writer;

static SnStr put(Writer *w, const char *s) {
    if (!s || !*s) return 0;
    size_t n = strlen(s) + 1;
    uint32_t *slot = map_slot(&w->string_at, hash_bytes(HASH_SEED, s, n), NULL);
    if (*slot && strcmp(w->strings.at + *slot, s) == 0) return *slot;
    uint32_t at = (uint32_t)w->strings.n;
    text_put(&w->strings, s, n);
    *slot = at;
    return at;
}

static const char *name_of(const Writer *w, Sym s) { return sym_str(w->m->syms, s); }

static SnArg arg_of(Writer *w, const Mem *mem, TypeId type) {
    SnArg a = {
        .region = mem->region, .offset = mem->offset, .bytes = type_bytes(type_at(w->m, type))};
    int64_t end = (a.offset + a.bytes + 63) / 64 * 64;
    if (end > w->region_bytes[a.region]) w->region_bytes[a.region] = end;
    return a;
}

static SnArg node_arg(Writer *w, const Func *f, NodeId n) {
    return arg_of(w, &f->mem.at[n], node_at(f, n)->type);
}

// The node of result number `index` of a group: its parts follow it directly.
static NodeId result_node(const Writer *w, const Func *f, NodeId group, uint32_t index) {
    for (NodeId n = group + 1; index && n < f->nodes.n; n++)
        if (node_at(f, n)->op == OP_part && operand(f, n, 0) == group &&
            (uint32_t)attr_of(w->m, f, n)->part.index == index)
            return n;
    return group;
}

static SnArg ref_arg(Writer *w, const Func *f, NodeId group, LowerRef r) {
    return node_arg(w, f,
                    r.result ? result_node(w, f, group, r.index) : operand(f, group, r.index));
}

static uint32_t add_kernel(Writer *w, const Kernel *k) {
    uint32_t *slot = map_slot(&w->kernel_at, k->hash, NULL);
    if (*slot) return *slot - 1;
    SnKernel s = {.name = put(w, k->name),
                  .fn = w->info->function(w->info->user, k),
                  .tile = k->order == KORDER_tile,
                  .hash = k->hash,
                  .tasks = k->tasks,
                  .scratch = k->scratch,
                  .flops = k->flops,
                  .bytes = k->bytes};
    vec_push(w->a, &w->kernels, s);
    *slot = w->kernels.n;
    return w->kernels.n - 1;
}

static void add_cmd(Writer *w, SnCmdOp op, SnWhen when, uint32_t fn, uint32_t args,
                    const char *what) {
    vec_push(w->a, &w->nodes, put(w, what));
    SnCmd c = {.op = (uint8_t)op,
               .when = (uint8_t)when,
               .fn = fn,
               .args = args,
               .nargs = w->args.n - args,
               .node = w->nodes.n - 1};
    vec_push(w->a, &w->cmds, c);
}

static void add_copy(Writer *w, SnArg to, SnArg from, const char *what) {
    uint32_t at = w->args.n;
    vec_push(w->a, &w->args, to);
    vec_push(w->a, &w->args, from);
    add_cmd(w, SN_CMD_COPY, SN_WHEN_ALWAYS, 0, at, what);
}

static void add_gemm(Writer *w, const Func *f, const Step *s, const char *what) {
    const Lowered *l = &s->low;
    SnGemm g = l->gemm;
    uint32_t at = w->args.n;
    vec_push(w->a, &w->args, ref_arg(w, f, s->node, l->a));
    vec_push(w->a, &w->args, ref_arg(w, f, s->node, l->b));
    if (g.c_arg != UINT32_MAX) {
        g.c_arg = w->args.n - at;
        vec_push(w->a, &w->args, ref_arg(w, f, s->node, l->c));
    }
    if (g.acc_arg != UINT32_MAX) {
        g.acc_arg = w->args.n - at;
        vec_push(w->a, &w->args, ref_arg(w, f, s->node, l->acc));
    }
    g.epilogue_args = w->args.n - at;
    if (l->kernel) {
        g.epilogue = add_kernel(w, l->kernel);
        for (uint32_t i = 0; i < l->refs.n; i++)
            vec_push(w->a, &w->args, ref_arg(w, f, s->node, l->refs.at[i]));
    }
    vec_push(w->a, &w->gemms, g);
    add_cmd(w, SN_CMD_GEMM, SN_WHEN_ALWAYS, w->gemms.n - 1, at, what);
}

// A scatter adds into its result in place: what it starts from is put there first.
static void prepare_in_place(Writer *w, const Func *f, const Step *s, const char *what) {
    SnArg from = ref_arg(w, f, s->node, s->low.acc),
          to = ref_arg(w, f, s->node, (LowerRef){true, 0});
    NodeId acc = operand(f, s->node, s->low.acc.index);
    bool accumulator = node_at(f, acc)->op == OP_state &&
                       w->m->states.at[attr_of(w->m, f, acc)->state.state].kind == STATE_accum;
    if (accumulator) {
        uint32_t at = w->args.n;
        vec_push(w->a, &w->args, from);
        add_cmd(w, SN_CMD_FILL, SN_WHEN_FIRST, 0, at, what);
    }
    if (from.region != to.region || from.offset != to.offset) add_copy(w, to, from, what);
}

static void add_step(Writer *w, const Func *f, const Step *s) {
    const Node *n = node_at(f, s->node);
    const char *name = name_of(w, n->name);
    const char *what =
        arena_printf(w->a, "%s/%s", name_of(w, f->name), *name ? name : op_info[n->op].name);
    if (s->is_copy) {
        SnArg from = node_arg(w, f, operand(f, s->node, 0)), to = from;
        const Mem *home = &f->mem.at[s->node];
        to.region = home->region;
        to.offset = home->offset;
        add_copy(w, to, from, what);
        return;
    }
    if (s->low.is_gemm) {
        add_gemm(w, f, s, what);
        return;
    }
    if (s->low.in_place) prepare_in_place(w, f, s, what);
    uint32_t at = w->args.n;
    for (uint32_t i = 0; i < s->low.refs.n; i++)
        vec_push(w->a, &w->args, ref_arg(w, f, s->node, s->low.refs.at[i]));
    add_cmd(w, SN_CMD_KERNEL, SN_WHEN_ALWAYS, add_kernel(w, s->low.kernel), at, what);
}

static SnPort port_of(Writer *w, const Func *f, NodeId n, Sym name) {
    const Type *t = type_of(w->m, f, n);
    SnArg a = node_arg(w, f, n);
    SnPort p = {.name = put(w, name_of(w, name)),
                .section = put(w, name_of(w, f->name)),
                .elem = (uint8_t)t->elem,
                .naxes = (uint8_t)t->n,
                .region = a.region,
                .offset = a.offset,
                .bytes = a.bytes};
    for (uint32_t i = 0; i < t->n; i++) {
        const Axis *x = &w->m->axes.at[t->axes[i].axis];
        p.axis[i] = put(w, name_of(w, x->name));
        p.size[i] = t->axes[i].size;
        if (x->sample) p.sample = (uint8_t)(i + 1);
    }
    return p;
}

static void add_scalar(Writer *w, const Func *f, NodeId n, Sym name) {
    SnStr s = put(w, name_of(w, name));
    for (uint32_t i = 0; i < w->scalars.n; i++)
        if (w->scalars.at[i].name == s) return;
    SnArg a = node_arg(w, f, n);
    SnScalar x = {.name = s, .elem = type_of(w->m, f, n)->elem, .offset = a.offset};
    for (uint32_t i = 0; i < w->info->scalar_count; i++)
        if (strcmp(w->info->scalars[i].name, name_of(w, name)) == 0)
            x.value = w->info->scalars[i].value;
    vec_push(w->a, &w->scalars, x);
}

static void add_ports(Writer *w, const Func *f) {
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_input) continue;
        const Attr *at = attr_of(w->m, f, n);
        if (type_of(w->m, f, n)->n == 0) {
            add_scalar(w, f, n, at->input.name);
            continue;
        }
        SnPort p = port_of(w, f, n, at->input.name);
        if (at->input.range) p.range = w->m->axes.at[at->input.range].size;
        vec_push(w->a, &w->inputs, p);
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        const Result *r = &f->results.at[i];
        SnPort p = port_of(w, f, r->node, r->name);
        p.kind = (uint8_t)r->kind;
        vec_push(w->a, &w->outputs, p);
    }
}

static void add_section(Writer *w, const ProgramSection *sec) {
    const Func *f = w->m->funcs.at[sec->func];
    SnSection s = {.name = put(w, name_of(w, f->name)), .cmd = w->cmds.n};
    for (uint32_t i = 0; i < sec->steps.n; i++) add_step(w, f, &sec->steps.at[i]);
    s.count = w->cmds.n - s.cmd;
    for (uint32_t i = s.cmd; i < w->cmds.n; i++) // temporaries this section needs
        for (uint32_t k = 0; k < w->cmds.at[i].nargs; k++) {
            const SnArg *a = &w->args.at[w->cmds.at[i].args + k];
            if (a->region == SN_REGION_TEMP && a->offset + a->bytes > s.temp)
                s.temp = a->offset + a->bytes;
        }
    vec_push(w->a, &w->sections, s);
    add_ports(w, f);
}

static void add_states(Writer *w) {
    for (StateId i = 0; i < w->m->states.n; i++) {
        const State *st = &w->m->states.at[i];
        const Type *t = type_at(w->m, st->type);
        SnArg a = arg_of(w, &st->mem, st->type);
        SnState s = {.path = put(w, name_of(w, st->path)),
                     .elem = (uint8_t)t->elem,
                     .kind = st->kind,
                     .frozen = st->frozen,
                     .naxes = (uint8_t)t->n,
                     .region = a.region,
                     .n_batch = st->n_batch,
                     .n_in = st->n_in,
                     .offset = a.offset,
                     .bytes = a.bytes};
        for (uint32_t k = 0; k < t->n; k++) {
            s.axis[k] = put(w, name_of(w, w->m->axes.at[t->axes[k].axis].name));
            s.size[k] = t->axes[k].size;
        }
        vec_push(w->a, &w->states, s);
    }
}

static SnTable put_table(Text *blob, const void *items, uint32_t count, size_t item) {
    static const char zeros[8];
    text_put(blob, zeros, (8 - blob->n % 8) % 8);
    SnTable t = {(uint32_t)blob->n, count};
    text_put(blob, items, count * item);
    return t;
}

void *plan_write(Arena *a, const KernelProgram *p, const PlanInfo *info, size_t *size) {
    Writer w = {.a = a, .p = p, .info = info, .m = p->m};
    w.strings.arena = w.string_at.arena = w.kernel_at.arena = a;
    text_put(&w.strings, "", 1);
    add_states(&w);
    for (uint32_t i = 0; i < p->sections.n; i++) add_section(&w, &p->sections.at[i]);
    for (uint32_t i = 0; i < info->option_count; i++)
        vec_push(a, &w.options,
                 ((SnOption){put(&w, info->option_text[i][0]), put(&w, info->option_text[i][1])}));

    SnPlan head = {.magic = SN_PLAN_MAGIC,
                   .version = SN_PLAN_VERSION,
                   .sinter = put(&w, info->sinter),
                   .target = put(&w, info->target),
                   .cpu = put(&w, info->cpu),
                   .model_name = put(&w, info->model_name),
                   .model_text = put(&w, info->model_text),
                   .ledger = put(&w, info->ledger),
                   .features = info->features,
                   .mr = info->mr,
                   .nr = info->nr,
                   .ukr = info->ukr,
                   .functions = info->functions(info->user)};
    memcpy(head.region_bytes, w.region_bytes, sizeof head.region_bytes);
    Text blob = {.arena = a};
    text_put(&blob, (const char *)&head, sizeof head);
#define TABLE(name) head.name = put_table(&blob, w.name.at, w.name.n, sizeof *w.name.at)
    TABLE(kernels);
    TABLE(gemms);
    TABLE(cmds);
    TABLE(args);
    TABLE(sections);
    TABLE(states);
    TABLE(inputs);
    TABLE(outputs);
    TABLE(scalars);
    TABLE(options);
    TABLE(nodes);
#undef TABLE
    head.strings = put_table(&blob, w.strings.at, (uint32_t)w.strings.n, 1);
    head.size = (uint32_t)blob.n;
    memcpy(blob.at, &head, sizeof head);
    *size = blob.n;
    return blob.at;
}

// Writes the plan blob: tables one behind the other at multiples of 8 bytes, strings last. Strings are
// shared. The format is runtime/plan.h; the runtime checks every number of it again.
#include "codegen/plan.h"
#include <string.h>

// The runtime's element types are ir's, and so are its kinds of states and its regions.
enum {
#define INTEGER(dtype, type, sign) BYTES_##dtype = sizeof(type),
#define FLOAT(dtype, type, value)  BYTES_##dtype = sizeof(type),
#define OPAQUE(dtype, bytes)
#include "runtime/dtypes.def"
#undef INTEGER
#undef FLOAT
#undef OPAQUE
#define SN_ELEMENT(name, dtype, kind) name##_is_##kind##_as_##dtype = BYTES_##dtype,
#include "runtime/elem.def"
#undef SN_ELEMENT
};
#define DTYPE(name, bytes, kind, st, computes)                                                     \
    _Static_assert((int)SN_ELEM_##name == (int)ELEM_##name &&                                      \
                       name##_is_##kind##_as_##st == (bytes),                                      \
                   "runtime/elem.def: " #name);
#include "ir/dtypes.def"
#undef DTYPE
#define SAME(ours, irs) _Static_assert((int)(ours) == (int)(irs), #ours)
SAME(SN_ELEMS, ELEM_COUNT);
SAME(SN_STATE_PARAM, STATE_param);
SAME(SN_STATE_MOMENT, STATE_moment);
SAME(SN_STATE_STAT, STATE_stat);
SAME(SN_STATE_COUNTER, STATE_counter);
SAME(SN_STATE_ACCUM, STATE_accum);
SAME(SN_STATE_SHADOW, STATE_shadow);
SAME(SN_STATE_KINDS, STATE_KINDS);
SAME(SN_REGION_NONE, REGION_none);
SAME(SN_REGION_PARAM, REGION_param);
SAME(SN_REGION_MOMENT, REGION_moment);
SAME(SN_REGION_SHADOW, REGION_shadow);
SAME(SN_REGION_ACCUM, REGION_accum);
SAME(SN_REGION_TEMP, REGION_temp);
SAME(SN_REGION_INPUT, REGION_input);
SAME(SN_REGION_SCALAR, REGION_scalar);
SAME(SN_REGION_HOST, REGION_host);
SAME(SN_REGIONS, REGION_COUNT);

// What a command of the section being written starts: a kernel that is not yet added, or one that is.
typedef struct {
    const Kernel *kernel;
    uint32_t added;
} Pending;

struct PlanTables {
    Arena *a;
    const KernelProgram *p;
    const PlanInfo *info;
    const Module *m;
    Text strings;
    Map string_at; // hash -> offset + 1
    VEC(SnKernel) kernels;
    Map kernel_at[2];     // kernel hash -> index + 1; those that take a table apart
    VEC(Pending) pending; // by command of the section being written
    VEC(SnGemm) gemms;
    VEC(SnAttend) attends;
    VEC(SnHull) hulls;
    VEC(SnCmd) cmds;
    VEC(SnArg) args;
    VEC(SnSection) sections;
    VEC(SnState) states;
    VEC(SnPort) inputs, outputs;
    VEC(SnScalar) scalars;
    VEC(SnOption) options;
    VEC(SnNode) nodes;
    int64_t region_bytes[SN_REGIONS];
    Map state_at;         // hash of a place -> 1 + the state that lies there
    uint32_t first_value; // number of the value of node 0 of the function being written
    Map event_of;         // by first_value + node: 1 + the event of a copy that is under way
    VEC(uint32_t) free_events;
    uint32_t events;
    Diag *diag;
    uint32_t line; // of the model file, of the command being written
    bool failed;
};
typedef PlanTables Writer;

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

static uint64_t hash_place(const Mem *mem) {
    return hash_u64(hash_u64(HASH_SEED, mem->region), (uint64_t)mem->offset);
}

// Values are numbered through: 0 is none, then the states, then every node of every function. What is
// written in a state's place is the state. Inputs and scalars are the runtime's, with number 0.
static uint32_t value_at(Writer *w, const Mem *mem, NodeId n) {
    if (mem->region == REGION_input || mem->region == REGION_scalar) return 0;
    if (mem->region == REGION_temp || mem->region == REGION_host) return w->first_value + n;
    return *map_slot(&w->state_at, hash_place(mem), NULL);
}

static SnArg arg_of(Writer *w, const Mem *mem, TypeId type, NodeId n) {
    const Type *t = type_at(w->m, type);
    SnArg a = {.region = (uint16_t)mem->region,
               .elem = (uint16_t)t->elem,
               .value = value_at(w, mem, n),
               .offset = mem->offset,
               .bytes = type_bytes(t)};
    int64_t end = (a.offset + a.bytes + 63) / 64 * 64;
    if (end > w->region_bytes[a.region]) w->region_bytes[a.region] = end;
    return a;
}

// What a copy between device and host writes is the value that it read.
static NodeId value_of(const Func *f, NodeId n) {
    while (op_starts_copy(node_at(f, n)->op) || op_ends_copy(node_at(f, n)->op))
        n = operand(f, n, 0);
    return n;
}

static SnArg node_arg(Writer *w, const Func *f, NodeId n) {
    NodeId of = value_of(f, n);
    bool state = node_at(f, of)->op == OP_state;
    SnArg a = arg_of(w, &f->mem.at[n], node_at(f, n)->type, of);
    if (state) a.value = value_at(w, &f->mem.at[of], of);
    return a;
}

static SnArg ref_arg(Writer *w, const Func *f, NodeId group, LowerRef r) {
    NodeId n = lowered_node(w->m, f, group, r);
    int64_t unit = elem_info[type_of(w->m, f, n)->elem].bytes;
    SnArg a = node_arg(w, f, n);
    a.offset += r.first * unit;
    if (r.count) a.bytes = r.count * unit;
    return a;
}

static void refuse(Writer *w, Loc loc, const Text *why) {
    diag_error(w->diag, loc, "this cannot be compiled for '%s' yet: %s", w->info->target,
               why->at ? why->at : "?");
    w->failed = true;
}

static SnCall call_of(const Kernel *k) {
    if (k->order == KORDER_tile) return SN_CALL_EPILOGUE;
    return k->order == KORDER_strip ? SN_CALL_STRIP : SN_CALL_TASKS;
}

static uint32_t add_kernel(Writer *w, const Kernel *k, bool table) {
    uint32_t *slot = map_slot(&w->kernel_at[table], k->hash, NULL);
    if (*slot) return *slot - 1;
    SnKernel s = {.name = put(w, k->name),
                  .table = table,
                  .call = call_of(k),
                  .nargs = k->args.n,
                  .hash = k->hash,
                  .tasks = k->tasks,
                  .scratch = k->scratch,
                  .flops = k->flops,
                  .bytes = k->bytes};
    for (uint32_t i = 0; i < k->args.n; i++) {
        uint32_t mode = k->args.at[i].mode;
        if (mode != KARG_out) s.reads |= UINT64_C(1) << i;
        if (mode != KARG_in) s.writes |= UINT64_C(1) << i;
        if (elem_info[k->args.at[i].elem].kind == ELEM_FLOAT) s.floats |= UINT64_C(1) << i;
    }
    Text why = {.arena = w->a};
    if (!w->info->kernel(w->info->user, k, &s, &why)) refuse(w, k->loc, &why);
    vec_push(w->a, &w->kernels, s);
    *slot = w->kernels.n;
    return w->kernels.n - 1;
}

static void add_cmd(Writer *w, SnCmdOp op, SnWhen when, uint32_t fn, uint32_t args,
                    const char *what) {
    SnNode node = {put(w, what), w->line};
    vec_push(w->a, &w->nodes, node);
    SnCmd c = {.op = (uint8_t)op,
               .when = (uint8_t)when,
               .fn = fn,
               .args = args,
               .nargs = w->args.n - args,
               .node = w->nodes.n - 1,
               .count = 1};
    vec_push(w->a, &w->cmds, c);
}

static void add_copy(Writer *w, SnArg to, SnArg from, const char *what) {
    uint32_t at = w->args.n;
    vec_push(w->a, &w->args, to);
    vec_push(w->a, &w->args, from);
    add_cmd(w, SN_CMD_COPY, SN_WHEN_ALWAYS, 0, at, what);
}

// Products share a function, and one kernel of the plan where its grid is the same too.
static bool same_launch(const SnKernel *a, const SnKernel *b) {
    return a->fn == b->fn && memcmp(a->grid, b->grid, sizeof a->grid) == 0;
}

// What the target does with a product: a call of a library, or a kernel of its own.
static void give_gemm(Writer *w, SnGemm *g, Loc loc, const char *what) {
    SnKernel kernel = {.name = 0};
    Text why = {.arena = w->a};
    if (!w->info->gemm(w->info->user, g, what, loc, &kernel, &why)) refuse(w, loc, &why);
    if (!kernel.block) return; // the library
    g->has |= sn_gemm_bit(SN_GEMM_KERNEL);
    for (g->kernel = 0; g->kernel < w->kernels.n; g->kernel++)
        if (same_launch(&w->kernels.at[g->kernel], &kernel)) return;
    kernel.name = put(w, "gemm");
    kernel.nargs = sn_gemm_arg(g, SN_GEMM_EPILOGUE);
    kernel.writes = sn_gemm_writes(g);
    kernel.reads = sn_gemm_reads(g);
    vec_push(w->a, &w->kernels, kernel);
}

static void push_ref(Writer *w, const Func *f, const SectionCommand *s, LowerRef r) {
    vec_push(w->a, &w->args, ref_arg(w, f, s->node, r));
}

static void add_gemm(Writer *w, const Func *f, const SectionCommand *s, const char *what) {
    const Lowered *low = &s->low;
    const LowerGemm *l = &low->gemm;
    SnGemm g = l->gemm;
    uint32_t at = w->args.n;
    bool call = w->info->gemm && l->call.known;
    LowerParts parts = l->parts;
    for (SnGemmPart i = SN_GEMM_C; call && i <= SN_GEMM_SUM; i++)
        if (l->call.parts.has & sn_gemm_bit(i)) lower_part(&parts, i, l->call.parts.part[i]);
    push_ref(w, f, s, l->a);
    push_ref(w, f, s, l->b);
    for (SnGemmPart i = SN_GEMM_C; i <= SN_GEMM_SUM; i++)
        if (parts.has & sn_gemm_bit(i)) push_ref(w, f, s, parts.part[i]);
    g.has = parts.has;
    if (call) g.function = l->call.function, g.sums = l->call.sums, g.elem_c = l->call.elem;
    if (low->kernel && !call) {
        g.has |= sn_gemm_bit(SN_GEMM_EPILOGUE);
        g.epilogue = add_kernel(w, low->kernel, false);
        for (uint32_t i = 0; i < low->refs.n; i++) push_ref(w, f, s, low->refs.at[i]);
    }
    Text why = {.arena = w->a};
    if (!call && !low->kernel && l->call.sums) {
        text_printf(&why, "sums beside a product, which only a library's call computes");
        refuse(w, node_at(f, s->node)->loc, &why);
    }
    if (w->info->gemm) give_gemm(w, &g, node_at(f, s->node)->loc, what);
    if (g.tf32 && !w->info->gemm) {
        text_printf(&why, "a product in tf32, which is CUDA's");
        refuse(w, node_at(f, s->node)->loc, &why);
    }
    vec_push(w->a, &w->gemms, g);
    add_cmd(w, SN_CMD_GEMM, SN_WHEN_ALWAYS, w->gemms.n - 1, at, what);
}

static void add_attend(Writer *w, const Func *f, const SectionCommand *s, const char *what) {
    const LowerAttend *l = &s->low.attend;
    SnAttend a = l->attend;
    uint32_t at = w->args.n;
    for (uint32_t i = 0; i < a.nparts; i++) {
        a.part[i].x = 2 * i, a.part[i].y = 2 * i + 1;
        push_ref(w, f, s, l->x[i]);
        push_ref(w, f, s, l->y[i]);
    }
    a.args = 2 * a.nparts;
    a.kernel = add_kernel(w, s->low.kernel, false);
    for (uint32_t i = 0; i < s->low.refs.n; i++) push_ref(w, f, s, s->low.refs.at[i]);
    a.hull = w->hulls.n;
    for (uint32_t i = 0; i < l->hulls.n; i++) vec_push(w->a, &w->hulls, l->hulls.at[i]);
    vec_push(w->a, &w->attends, a);
    add_cmd(w, SN_CMD_ATTEND, SN_WHEN_ALWAYS, w->attends.n - 1, at, what);
}

static uint64_t first_bits(uint32_t n) { return n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX; }

// Attention on tensor cores is up to three kernels, one behind the other.
static void add_flash(Writer *w, const Func *f, const SectionCommand *s, const char *what) {
    const LowerFlash *l = &s->low.flash;
    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t at = w->args.n, n;
        FlashArgs args = flash_args(l, l->kind[i]);
        SnKernel k = {.name = put(w, "flash"),
                      .call = SN_CALL_TASKS,
                      .nargs = args.n,
                      .reads = first_bits(args.n) & ~args.written,
                      .writes = args.written,
                      .tasks = 1,
                      .flops = flash_flops(l, l->kind[i])};
        Text why = {.arena = w->a};
        for (uint32_t j = 0; j < args.n; j++) {
            bool again = false; // q, k and v may be parts of one tensor, which is read once
            for (uint32_t before = 0; before < j; before++)
                again |= args.ref[before].result == args.ref[j].result &&
                         args.ref[before].index == args.ref[j].index;
            push_ref(w, f, s, args.ref[j]);
            if (!again) k.bytes += w->args.at[at + j].bytes;
        }
        if (!w->info->flash(w->info->user, l, l->kind[i], what, &k, &why))
            refuse(w, node_at(f, s->node)->loc, &why);
        for (n = 0; n < w->kernels.n; n++)
            if (same_launch(&w->kernels.at[n], &k) && w->kernels.at[n].nkeys == k.nkeys &&
                !memcmp(w->kernels.at[n].key, k.key, sizeof k.key))
                break;
        if (n == w->kernels.n) vec_push(w->a, &w->kernels, k);
        vec_push(w->a, &w->pending, ((Pending){NULL, n}));
        add_cmd(w, SN_CMD_KERNEL, SN_WHEN_ALWAYS, w->pending.n - 1, at, what);
    }
}

// A scatter adds into its result in place: what it starts from is put there first.
static void prepare_in_place(Writer *w, const Func *f, const SectionCommand *s, const char *what) {
    SnArg from = ref_arg(w, f, s->node, s->low.from),
          to = ref_arg(w, f, s->node, (LowerRef){.result = true, .index = 0});
    NodeId acc = operand(f, s->node, s->low.from.index);
    bool accumulator = node_at(f, acc)->op == OP_state &&
                       w->m->states.at[attr_of(w->m, f, acc)->state.state].kind == STATE_accum;
    if (accumulator) {
        uint32_t at = w->args.n;
        vec_push(w->a, &w->args, from);
        add_cmd(w, SN_CMD_FILL, SN_WHEN_FIRST, 0, at, what);
    }
    if (from.region != to.region || from.offset != to.offset) add_copy(w, to, from, what);
}

static void add_event(Writer *w, SnCmdOp op, SnStream stream, uint32_t event, const char *what) {
    add_cmd(w, op, SN_WHEN_ALWAYS, event, w->args.n, what);
    w->cmds.at[w->cmds.n - 1].stream = (uint8_t)stream;
}

static uint32_t take_event(Writer *w) {
    if (w->free_events.n) return w->free_events.at[--w->free_events.n];
    return w->events++;
}

// A stream has what it waited for when it waited: an event is free again then.
static void wait_event(Writer *w, SnStream stream, uint32_t event, const char *what) {
    add_event(w, SN_CMD_WAIT, stream, event, what);
    vec_push(w->a, &w->free_events, event);
}

static void add_transfer(Writer *w, const Func *f, NodeId n, const char *what, Loc loc) {
    uint32_t op = node_at(f, n)->op;
    SnStream lane = op_is_on_host(op) ? SN_STREAM_OUT : SN_STREAM_IN;
    NodeId of = operand(f, n, 0);
    if (op_ends_copy(op)) {
        uint32_t event = *map_find(&w->event_of, w->first_value + of) - 1;
        wait_event(w, SN_STREAM_COMPUTE, event, what);
        return;
    }
    uint32_t before = take_event(w);
    add_event(w, SN_CMD_RECORD, SN_STREAM_COMPUTE, before, what);
    wait_event(w, lane, before, what);
    add_copy(w, node_arg(w, f, n), node_arg(w, f, of), what);
    w->cmds.at[w->cmds.n - 1].stream = (uint8_t)lane;
    uint32_t after = take_event(w);
    add_event(w, SN_CMD_RECORD, lane, after, what);
    *map_slot(&w->event_of, w->first_value + n, NULL) = after + 1;
    if (w->events > SN_MAX_EVENTS) {
        Text why = {.arena = w->a};
        text_printf(&why, "more than %d copies to and from the host at once", SN_MAX_EVENTS);
        refuse(w, loc, &why);
    }
}

static void add_assign(Writer *w, const Func *f, NodeId n, const char *what) {
    NodeId value = operand(f, n, 0);
    SnArg from = node_arg(w, f, value);
    add_copy(w, arg_of(w, &f->mem.at[n], node_at(f, value)->type, n), from, what);
}

static void start_kernel(Writer *w, const Func *f, const SectionCommand *s, const char *what) {
    uint32_t at = w->args.n;
    for (uint32_t i = 0; i < s->low.refs.n; i++) push_ref(w, f, s, s->low.refs.at[i]);
    vec_push(w->a, &w->pending, ((Pending){s->low.kernel, 0}));
    add_cmd(w, SN_CMD_KERNEL, SN_WHEN_ALWAYS, w->pending.n - 1, at, what);
}

static void add_step(Writer *w, const Func *f, const SectionCommand *s) {
    const Node *n = node_at(f, s->node);
    const char *name = name_of(w, n->name);
    const char *what =
        arena_printf(w->a, "%s/%s", name_of(w, f->name), *name ? name : op_info[n->op].name);
    uint32_t column;
    w->line = 0;
    if (n->loc.file && n->loc.file < w->diag->files.n)
        diag_position(w->diag, n->loc, &w->line, &column);
    switch (s->low.kind) {
    case LOWER_copy: add_assign(w, f, s->node, what); return;
    case LOWER_transfer: add_transfer(w, f, s->node, what, n->loc); return;
    case LOWER_gemm: add_gemm(w, f, s, what); return;
    case LOWER_attend: add_attend(w, f, s, what); return;
    case LOWER_flash: add_flash(w, f, s, what); return;
    case LOWER_scatter:
        prepare_in_place(w, f, s, what);
        start_kernel(w, f, s, what);
        return;
    case LOWER_kernel: start_kernel(w, f, s, what); return;
    }
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

static bool overlap(const SnArg *a, const SnArg *b) {
    return a->region == b->region && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

// Commands a and b run the same kernel: whether one writes what the other touches.
static bool conflict(const Writer *w, const Kernel *k, const SnCmd *a, const SnCmd *b) {
    for (uint32_t i = 0; i < a->nargs; i++)
        for (uint32_t j = 0; j < b->nargs; j++) {
            bool reads = k->args.at[i % k->args.n].mode == KARG_in &&
                         k->args.at[j % k->args.n].mode == KARG_in;
            if (!reads && overlap(&w->args.at[a->args + i], &w->args.at[b->args + j])) return true;
        }
    return false;
}

// Gives the section's kernels their code. Where the target starts equal ones together, neighbours that
// run the same kernel on independent tensors become one command.
static void add_kernels(Writer *w, uint32_t from) {
    enum { MOST = 4096 };
    uint32_t to = from;
    for (uint32_t i = from; i < w->cmds.n; i++) {
        SnCmd c = w->cmds.at[i];
        if (c.op != SN_CMD_KERNEL) {
            w->cmds.at[to++] = c;
            continue;
        }
        const Kernel *k = w->pending.at[c.fn].kernel;
        if (!k) {
            c.fn = w->pending.at[c.fn].added;
            w->cmds.at[to++] = c;
            continue;
        }
        for (; w->info->bundles && c.count < MOST && i + 1 < w->cmds.n; i++) {
            const SnCmd *next = &w->cmds.at[i + 1];
            const Kernel *other = next->op == SN_CMD_KERNEL ? w->pending.at[next->fn].kernel : NULL;
            if (!other || other->hash != k->hash || next->args != c.args + c.nargs ||
                conflict(w, k, &c, next))
                break;
            c.nargs += next->nargs;
            c.count++;
        }
        c.fn = add_kernel(w, k, c.count > 1);
        w->cmds.at[to++] = c;
    }
    w->cmds.n = to;
    w->pending.n = 0;
}

static void add_section(Writer *w, const ProgramSection *sec) {
    const Func *f = w->m->funcs.at[sec->func];
    SnSection s = {
        .name = put(w, name_of(w, f->name)), .cmd = w->cmds.n, .beside = func_is_beside(w->m, f)};
    for (uint32_t i = 0; i < sec->steps.n; i++) add_step(w, f, &sec->steps.at[i]);
    add_kernels(w, s.cmd);
    s.count = w->cmds.n - s.cmd;
    for (uint32_t i = s.cmd; i < w->cmds.n; i++) // temporaries this section needs
        for (uint32_t k = 0; k < w->cmds.at[i].nargs; k++) {
            const SnArg *a = &w->args.at[w->cmds.at[i].args + k];
            if (a->region == SN_REGION_TEMP && a->offset + a->bytes > s.temp)
                s.temp = a->offset + a->bytes;
        }
    vec_push(w->a, &w->sections, s);
    add_ports(w, f);
    w->first_value += f->nodes.n;
}

static void add_states(Writer *w) {
    for (StateId i = 0; i < w->m->states.n; i++) {
        const State *st = &w->m->states.at[i];
        const Type *t = type_at(w->m, st->type);
        *map_slot(&w->state_at, hash_place(&st->mem), NULL) = i + 1;
        SnArg a = arg_of(w, &st->mem, st->type, 0);
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

PlanTables *plan_collect(Arena *a, const KernelProgram *p, const PlanInfo *info, Diag *d) {
    Writer *w = NEW(a, Writer);
    *w = (Writer){.a = a, .p = p, .info = info, .m = p->m, .diag = d};
    w->strings.arena = w->string_at.arena = w->state_at.arena = w->event_of.arena = a;
    w->kernel_at[0].arena = w->kernel_at[1].arena = a;
    w->first_value = p->m->states.n + 1;
    text_put(&w->strings, "", 1);
    add_states(w);
    for (uint32_t i = 0; i < p->sections.n; i++) add_section(w, &p->sections.at[i]);
    for (uint32_t i = 0; i < info->option_count; i++)
        vec_push(a, &w->options,
                 ((SnOption){put(w, info->option_text[i][0]), put(w, info->option_text[i][1])}));
    return w->failed ? NULL : w;
}

void *plan_write(PlanTables *w, const char *ledger, size_t *size) {
    const PlanInfo *info = w->info;
    SnPlan head = {.magic = SN_PLAN_MAGIC,
                   .version = SN_PLAN_VERSION,
                   .sinter = put(w, info->sinter),
                   .target = put(w, info->target),
                   .cpu = put(w, info->cpu),
                   .model_name = put(w, info->model_name),
                   .model_text = put(w, info->model_text),
                   .ledger = put(w, ledger),
                   .device = info->device,
                   .events = w->events};
    info->finish(info->user, &head);
    memcpy(head.region_bytes, w->region_bytes, sizeof head.region_bytes);
    Text blob = {.arena = w->a};
    text_put(&blob, (const char *)&head, sizeof head);
#define TABLE(name) head.name = put_table(&blob, w->name.at, w->name.n, sizeof *w->name.at)
    TABLE(kernels);
    TABLE(gemms);
    TABLE(attends);
    TABLE(hulls);
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
    head.strings = put_table(&blob, w->strings.at, (uint32_t)w->strings.n, 1);
    head.size = (uint32_t)blob.n;
    memcpy(blob.at, &head, sizeof head);
    *size = blob.n;
    return blob.at;
}

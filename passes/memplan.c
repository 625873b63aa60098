// Memory planning: a region and an offset for every value, before the run starts.
//
// States and inputs get fixed places. A group's result is written straight into the state it is
// assigned to, or over an operand that dies there, where the group reads that operand only at the
// element it writes, or in rows before it writes the row. What is left is temporary: lifetimes are intervals of node ids, offsets come from
// best fit in time order and from largest-first; the smaller plan wins. The ledger states the result
// beside the liveness bound (the largest sum of sizes alive at once), which no plan can beat.
//
// Copies between device and host (passes/offload.c): what lies on the host has a region of its own, planned in the
// same way; a copy has its place from its start on, and what it reads lives until it is waited for.
//
// Time order is O(n log n) apart from the scan of the free list; largest-first compares each buffer with
// those that lie below it and is skipped for very long functions.
// Leaves valid: func->mem has one entry per node, states have theirs.
#include "ir/view.h"
#include "passes/peak.h"
#include <stdlib.h>
#include <string.h>

enum {
    MAX_SORTED = 6000,
    SMALL = 4 << 20, // bytes
};

typedef struct {
    int64_t bytes, offset;
    uint32_t from, to; // alive in [from, to], node ids
} Buffer;

typedef VEC(Buffer) BufferList;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    uint32_t *buffer;   // node -> buffer + 1, of its region
    uint32_t *last;     // last use of the node's value
    NodeId *state_head; // state -> first node that reads it, then chained
    NodeId *state_next;
    BufferList buffers, host; // of regions temp and host
} MemoryPlan;

static int64_t aligned(const PassCx *cx, const Type *t) {
    int64_t align = cx->target->align;
    return (type_bytes(t) + align - 1) / align * align;
}

// ---- may the group write over this operand? -----------------------------------------------------

// By node of a body of rows: the sweep over a row in which it is known, which is behind those of all folds that it
// needs.
static uint32_t *sweeps_of(const MemoryPlan *p, const Func *body) {
    uint32_t *sweep = NEW_ARRAY(p->a, uint32_t, body->nodes.n + 1);
    for (NodeId n = 0; n < body->nodes.n; n++) {
        for (uint32_t i = 0; i < node_at(body, n)->n; i++)
            if (sweep[operand(body, n, i)] > sweep[n]) sweep[n] = sweep[operand(body, n, i)];
        sweep[n] += node_at(body, n)->op == OP_reduce;
    }
    return sweep;
}

// A fold over the row, which is over before anything that needs it is written.
static bool folds_row(const MemoryPlan *p, const Func *body, NodeId n) {
    const Attr *at = attr_of(p->m, body, n);
    return node_at(body, n)->op == OP_reduce && at->reduce.by == FOLD_row && !at->reduce.part;
}

// True when result r of the group reads operand number `index` only where it writes: then both may be
// the same memory. Needs equal types and no path from the operand through anything that moves. A kernel of rows
// sweeps over a row several times: what is made of the operand must be needed in no sweep behind the result's.
static bool reads_in_place(const MemoryPlan *p, const Node *group, uint32_t index, uint32_t r) {
    const Attr *at = attr_at(p->m, group->attr);
    bool rows = at->group.kind == GROUP_rows;
    if (group_is_attention(at->group.kind) || (rows && !p->cx->target->rows_over))
        return false; // strips read all keys
    bool call = at->group.kind == GROUP_gemm && p->cx->target->epilogue == EPILOGUE_bias;
    const Func *body = p->m->funcs.at[at->group.body];
    NodeId arg = NONE;
    for (NodeId n = 0; n < body->nodes.n; n++)
        if (node_at(body, n)->op == OP_arg && attr_of(p->m, body, n)->arg.index == index) arg = n;
    NodeId result = body->results.at[r].node;
    if (arg == NONE || node_at(body, arg)->type != node_at(body, result)->type) return false;
    uint8_t *tainted = NEW_ARRAY(p->a, uint8_t, body->nodes.n + 1);
    const uint32_t *sweep = rows ? sweeps_of(p, body) : NULL;
    tainted[arg] = 1;
    for (NodeId n = arg + 1; n < body->nodes.n; n++)
        for (uint32_t i = 0; i < node_at(body, n)->n; i++) {
            if (!tainted[operand(body, n, i)]) continue;
            if (rows && folds_row(p, body, n)) continue;
            if (!node_reads_in_place(node_at(body, n), i)) return false;
            if (rows && sweep[n] > sweep[result]) return false;
            // a library's product may be written over its accumulator and nothing else
            if (call && node_at(body, n)->op != OP_contract && operand(body, n, i) == arg)
                return false;
            tainted[n] = 1;
        }
    // a column group stores whole columns at the end of a walk: only `operand + fold` reads there
    if (at->group.kind == GROUP_columns) {
        if (node_at(body, result)->op != OP_add) return false;
        NodeId a = operand(body, result, 0), b = operand(body, result, 1), fold = a == arg ? b : a;
        return (a == arg || b == arg) && node_at(body, fold)->op == OP_reduce;
    }
    return true;
}

static NodeId group_of(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_part ? operand(f, n, 0) : n;
}

static uint32_t result_of(const MemoryPlan *p, NodeId n) {
    return node_at(p->f, n)->op == OP_part ? (uint32_t)attr_of(p->m, p->f, n)->part.index : 0;
}

static BufferList *buffers_for(MemoryPlan *p, NodeId n) {
    return op_is_on_host(node_at(p->f, n)->op) ? &p->host : &p->buffers;
}

static bool is_result(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_group || node_at(f, n)->op == OP_part;
}

static void visit_operands_of(const MemoryPlan *p, NodeId group, NodeId value, bool *only_in_place,
                              uint32_t r) {
    const Node *g = node_at(p->f, group);
    for (uint32_t i = 0; i < g->n; i++)
        if (operand(p->f, group, i) == value && !reads_in_place(p, g, i, r)) *only_in_place = false;
}

// ---- states -------------------------------------------------------------------------------------

static void place_states(PassCx *cx) {
    Module *m = cx->m;
    int64_t next[REGION_COUNT] = {0};
    for (StateId s = 0; s < m->states.n; s++) {
        State *st = &m->states.at[s];
        Region r = state_region((StateKind)st->kind);
        st->mem = (Mem){.region = r, .offset = next[r]};
        next[r] += aligned(cx, type_at(m, st->type));
    }
}

// The value assigned to a state may be written in its place when every read of the old value is over:
// in earlier groups, or in the same group at the same element.
static bool may_write_state(const MemoryPlan *p, NodeId value, StateId s) {
    NodeId def = group_of(p->f, value);
    const State *st = &p->m->states.at[s];
    if (!is_result(p->f, value) || node_at(p->f, value)->type != st->type) return false;
    bool fine = true;
    for (NodeId n = p->state_head[s]; n != NONE && fine; n = p->state_next[n]) {
        for (uint32_t i = p->users.first[n]; i < p->users.first[n + 1]; i++) {
            NodeId user = p->users.list[i];
            if (user > def) fine = false;
            if (user == def) visit_operands_of(p, def, n, &fine, result_of(p, value));
        }
    }
    return fine;
}

// The operand that a value in a state's place overwrites in its group is written there too, and so on
// up the chain: a gradient summed by a contraction and then a scatter is one buffer, the state.
static void place_chain(MemoryPlan *p, NodeId value, StateId s) {
    for (;;) {
        NodeId def = group_of(p->f, value), next = NONE;
        for (uint32_t i = 0; i < node_at(p->f, def)->n && next == NONE; i++) {
            NodeId o = operand(p->f, def, i);
            bool fine = is_result(p->f, o) && p->f->mem.at[o].region == REGION_none &&
                        p->last[o] == def && may_write_state(p, o, s);
            if (fine) visit_operands_of(p, def, o, &fine, result_of(p, value));
            if (fine) next = o;
        }
        if (next == NONE) return;
        p->f->mem.at[next] = p->m->states.at[s].mem;
        value = next;
    }
}

static void place_assigned(MemoryPlan *p) {
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        if (node_at(p->f, n)->op != OP_assign) continue;
        NodeId value = operand(p->f, n, 0);
        StateId s = attr_of(p->m, p->f, n)->assign.state;
        p->f->mem.at[n] = p->m->states.at[s].mem;
        if (p->f->mem.at[value].region == REGION_none && may_write_state(p, value, s)) {
            p->f->mem.at[value] = p->m->states.at[s].mem;
            place_chain(p, value, s);
        }
    }
}

// ---- inputs -------------------------------------------------------------------------------------

typedef struct {
    Map seen;
    int64_t input, scalar;
} PlacedInputs;

static void place_inputs(PassCx *cx, Func *f, PlacedInputs *in) {
    Module *m = cx->m;
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *node = node_at(f, n);
        if (node->op == OP_state) f->mem.at[n] = m->states.at[attr_of(m, f, n)->state.state].mem;
        if (node->op != OP_input) continue;
        const Type *t = type_at(m, node->type);
        bool fresh;
        uint64_t key = hash_u64(hash_u64(HASH_SEED, attr_of(m, f, n)->input.name), node->type);
        uint32_t *unit = map_slot(&in->seen, key, &fresh); // offset in units of 4 bytes
        int64_t *next = t->n ? &in->input : &in->scalar;
        if (fresh) {
            *unit = (uint32_t)(*next / 4);
            *next += aligned(cx, t);
        }
        f->mem.at[n] =
            (Mem){.region = t->n ? REGION_input : REGION_scalar, .offset = (int64_t)*unit * 4};
    }
}

// ---- temporaries --------------------------------------------------------------------------------

static void find_last_uses(MemoryPlan *p) {
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        p->last[n] = n;
        for (uint32_t i = p->users.first[n]; i < p->users.first[n + 1]; i++)
            if (p->users.list[i] > p->last[n] && node_at(p->f, p->users.list[i])->op != OP_part)
                p->last[n] = p->users.list[i];
    }
    for (uint32_t i = 0; i < p->f->results.n; i++)
        p->last[p->f->results.at[i].node] = p->f->nodes.n;
    for (NodeId n = 0; n < p->f->nodes.n; n++) { // a copy lives as long as what waited for it
        NodeId copy = op_ends_copy(node_at(p->f, n)->op) ? operand(p->f, n, 0) : NONE;
        if (copy != NONE && p->last[copy] < p->last[n]) p->last[copy] = p->last[n];
    }
}

// Where starting a kernel costs, equal groups are started together, unless one writes where another reads. So an update,
// which has many, uses no memory twice where its temporaries are small altogether.
static void keep_apart(MemoryPlan *p) {
    int64_t sum = 0;
    if (!p->cx->target->bundles || strcmp(sym_str(p->m->syms, p->f->name), "update") != 0) return;
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        if (is_result(p->f, n) && p->f->mem.at[n].region == REGION_none)
            sum += aligned(p->cx, type_of(p->m, p->f, n));
    }
    for (NodeId n = 0; n < p->f->nodes.n && sum <= SMALL; n++)
        if (is_result(p->f, n)) p->last[n] = p->f->nodes.n;
}

// An operand of the group that dies there, is temporary, and may be written over by result `value`.
static uint32_t buffer_to_reuse(const MemoryPlan *p, NodeId value, const uint8_t *taken) {
    NodeId group = group_of(p->f, value);
    const Node *g = node_at(p->f, group);
    for (uint32_t i = 0; i < g->n; i++) {
        NodeId o = operand(p->f, group, i);
        uint32_t b = p->buffer[o];
        if (!b || taken[b - 1] || p->buffers.at[b - 1].to != group) continue;
        bool fine = node_at(p->f, o)->type == node_at(p->f, value)->type;
        if (fine) visit_operands_of(p, group, o, &fine, result_of(p, value));
        if (fine) return b;
    }
    return 0;
}

static void make_buffers(MemoryPlan *p) {
    uint8_t *taken = NEW_ARRAY(p->a, uint8_t, p->f->nodes.n + 1);
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        bool starts = op_starts_copy(node_at(p->f, n)->op);
        if (op_ends_copy(node_at(p->f, n)->op)) p->buffer[n] = p->buffer[operand(p->f, n, 0)];
        if ((!starts && !is_result(p->f, n)) || p->f->mem.at[n].region != REGION_none) continue;
        NodeId def = group_of(p->f, n);
        uint32_t b = starts ? 0 : buffer_to_reuse(p, n, taken);
        if (b) {
            p->buffers.at[b - 1].to = p->last[n];
            if (p->last[n] <= def) taken[b - 1] = 1;
        } else {
            Buffer made = {
                .bytes = aligned(p->cx, type_of(p->m, p->f, n)), .from = def, .to = p->last[n]};
            vec_push(p->a, buffers_for(p, n), made);
            b = buffers_for(p, n)->n;
        }
        p->buffer[n] = b;
    }
}

// Free ranges in order of offset; neighbours merge. `top` is the first offset never used.
typedef struct {
    int64_t offset, bytes;
} FreeRange;
typedef struct {
    Arena *a;
    VEC(FreeRange) ranges;
    int64_t top;
} FreeList;

static int64_t take(FreeList *f, int64_t bytes) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < f->ranges.n; i++)
        if (f->ranges.at[i].bytes >= bytes &&
            (best == UINT32_MAX || f->ranges.at[i].bytes < f->ranges.at[best].bytes))
            best = i;
    if (best == UINT32_MAX) {
        // the last free range may be grown at the top
        FreeRange *last = f->ranges.n ? &f->ranges.at[f->ranges.n - 1] : NULL;
        int64_t at = last && last->offset + last->bytes == f->top ? last->offset : f->top;
        if (at != f->top) f->ranges.n--;
        f->top = at + bytes;
        return at;
    }
    FreeRange *r = &f->ranges.at[best];
    int64_t at = r->offset;
    r->offset += bytes;
    r->bytes -= bytes;
    if (r->bytes == 0) {
        memmove(r, r + 1, (f->ranges.n - best - 1) * sizeof *r);
        f->ranges.n--;
    }
    return at;
}

static void give(FreeList *f, int64_t offset, int64_t bytes) {
    uint32_t i = 0;
    while (i < f->ranges.n && f->ranges.at[i].offset < offset) i++;
    vec_push(f->a, &f->ranges, ((FreeRange){0, 0}));
    memmove(&f->ranges.at[i + 1], &f->ranges.at[i], (f->ranges.n - 1 - i) * sizeof(FreeRange));
    f->ranges.at[i] = (FreeRange){offset, bytes};
    FreeRange *r = f->ranges.at;
    if (i + 1 < f->ranges.n && r[i].offset + r[i].bytes == r[i + 1].offset) {
        r[i].bytes += r[i + 1].bytes;
        memmove(&r[i + 1], &r[i + 2], (f->ranges.n - i - 2) * sizeof *r);
        f->ranges.n--;
    }
    if (i > 0 && r[i - 1].offset + r[i - 1].bytes == r[i].offset) {
        r[i - 1].bytes += r[i].bytes;
        memmove(&r[i], &r[i + 1], (f->ranges.n - i - 1) * sizeof *r);
        f->ranges.n--;
    }
}

// Buffers by birth (they are made in that order) and by death, as two sorted lists walked together.
static int64_t plan_in_time_order(MemoryPlan *p, const BufferList *all, int64_t *offset,
                                  int64_t *bound) {
    uint32_t count = all->n;
    FreeList free_list = {.a = p->a};
    uint32_t *at_end = NEW_ARRAY(p->a, uint32_t, p->f->nodes.n + 2); // head of the chain of deaths
    uint32_t *chain = NEW_ARRAY(p->a, uint32_t, count + 1);
    int64_t alive = 0;
    *bound = 0;
    uint32_t next = 0;
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        for (; next < count && all->at[next].from == n; next++) {
            const Buffer *b = &all->at[next];
            offset[next] = take(&free_list, b->bytes);
            chain[next] = at_end[b->to];
            at_end[b->to] = next + 1;
            alive += b->bytes;
        }
        if (alive > *bound) *bound = alive;
        for (uint32_t b = at_end[n]; b; b = chain[b - 1]) {
            give(&free_list, offset[b - 1], all->at[b - 1].bytes);
            alive -= all->at[b - 1].bytes;
        }
    }
    return free_list.top;
}

typedef struct {
    int64_t bytes;
    uint32_t id;
} Sized;
static int larger_first(const void *x, const void *y) {
    const Sized *a = x, *b = y;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}
typedef struct {
    int64_t offset, end;
    uint32_t from, to;
} Placed;

// Each buffer, largest first, at the lowest offset that is free during its whole life. What is placed is kept in
// the order of offsets, so that a walk ends where the buffer fits.
static int64_t plan_largest_first(MemoryPlan *p, const BufferList *all, int64_t *offset) {
    uint32_t count = all->n;
    Sized *order = NEW_ARRAY(p->a, Sized, count + 1);
    Placed *placed = NEW_ARRAY(p->a, Placed, count + 1);
    for (uint32_t i = 0; i < count; i++) order[i] = (Sized){all->at[i].bytes, i};
    qsort(order, count, sizeof *order, larger_first);
    int64_t top = 0;
    for (uint32_t n = 0; n < count; n++) {
        const Buffer *b = &all->at[order[n].id];
        int64_t at = 0;
        for (uint32_t i = 0; i < n && placed[i].offset < at + b->bytes; i++)
            if (placed[i].from <= b->to && b->from <= placed[i].to && placed[i].end > at)
                at = placed[i].end;
        uint32_t low = 0, high = n;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            *(placed[middle].offset < at ? &low : &high) =
                placed[middle].offset < at ? middle + 1 : middle;
        }
        memmove(placed + low + 1, placed + low, (n - low) * sizeof *placed);
        placed[low] = (Placed){at, at + b->bytes, b->from, b->to};
        offset[order[n].id] = at;
        if (at + b->bytes > top) top = at + b->bytes;
    }
    return top;
}

static void place_buffers(MemoryPlan *p, const BufferList *all, Region region) {
    uint32_t count = all->n;
    int64_t *offset = NEW_ARRAY(p->a, int64_t, count + 1);
    int64_t *other = NEW_ARRAY(p->a, int64_t, count + 1);
    int64_t bound, top = plan_in_time_order(p, all, offset, &bound);
    const char *how = "best fit in time order";
    if (top > bound && count <= MAX_SORTED) {
        int64_t sorted = plan_largest_first(p, all, other);
        if (sorted < top) top = sorted, offset = other, how = "largest first";
    }
    for (NodeId n = 0; n < p->f->nodes.n; n++)
        if (p->buffer[n] && buffers_for(p, n) == all)
            p->f->mem.at[n] = (Mem){.region = region, .offset = offset[p->buffer[n] - 1]};
    if (count)
        ledger_add(p->cx->ledger,
                   (Decision){.done = true,
                              .func = sym_str(p->m->syms, p->f->name),
                              .pass = "memplan",
                              .rule = region == REGION_temp ? "temporaries" : "host",
                              .subject = sym_str(p->m->syms, p->f->name)},
                   "%u buffers in %lld bytes by %s, liveness bound %lld (%.2f %% above)", count,
                   (long long)top, how, (long long)bound,
                   bound ? 100.0 * (double)(top - bound) / (double)bound : 0.0);
}

// What must become smaller for the function to need less.
static void record_peak(PassCx *cx, const Func *f) {
    Peak p = func_peak(cx->scratch, cx->m, f, cx->target->align);
    if (p.at == NONE) return;
    ledger_add(cx->ledger,
               (Decision){.done = true,
                          .func = sym_str(cx->m->syms, f->name),
                          .pass = "memplan",
                          .rule = "peak",
                          .subject = peak_name(cx->scratch, cx->m, f, p.at),
                          .bytes = p.bytes,
                          .loc = node_at(f, p.at)->loc},
               "alive there: %s", peak_text(cx->scratch, &p, 8));
}

static void plan_func(PassCx *cx, Func *f, PlacedInputs *inputs) {
    Arena *a = cx->scratch;
    MemoryPlan p = {.cx = cx, .m = cx->m, .f = f, .a = a, .users = func_users(a, f)};
    p.buffer = NEW_ARRAY(a, uint32_t, f->nodes.n + 1);
    p.last = NEW_ARRAY(a, uint32_t, f->nodes.n + 1);
    f->mem.n = 0;
    for (NodeId n = 0; n < f->nodes.n; n++) vec_push(cx->m->arena, &f->mem, (Mem){0});
    p.state_head = NEW_ARRAY(a, NodeId, cx->m->states.n + 1);
    p.state_next = NEW_ARRAY(a, NodeId, f->nodes.n + 1);
    memset(p.state_head, 0xff, sizeof(NodeId) * (cx->m->states.n + 1));
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (node_at(f, n)->op != OP_state) continue;
        NodeId *head = &p.state_head[attr_of(cx->m, f, n)->state.state];
        p.state_next[n] = *head;
        *head = n;
    }
    place_inputs(cx, f, inputs);
    find_last_uses(&p);
    place_assigned(&p);
    keep_apart(&p);
    make_buffers(&p);
    place_buffers(&p, &p.buffers, REGION_temp);
    place_buffers(&p, &p.host, REGION_host);
    if (cx->ledger) record_peak(cx, f);
}

// What recompute chose for a budget was priced by these very passes; others may give another plan.
static void check_promise(const Module *m) {
    int64_t bytes = module_training_bytes(m), promised = m->recompute.promised;
    if (promised && bytes != promised)
        diag_error(m->diag, m->recompute.loc,
                   "the budget was met with %lld bytes, and with this list of passes it is %lld",
                   (long long)promised, (long long)bytes);
}

bool pass_memplan(PassCx *cx) {
    for (FuncId i = 0; i < cx->m->funcs.n; i++)
        if (cx->m->funcs.at[i]->mem.n) return false; // placed already
    place_states(cx);
    PlacedInputs inputs = {.seen = {.arena = cx->scratch}};
    bool changed = false;
    for (FuncId i = 0; i < cx->m->funcs.n; i++) {
        Func *f = cx->m->funcs.at[i];
        if (f->region) continue;
        plan_func(cx, f, &inputs);
        changed = true;
    }
    check_promise(cx->m);
    return changed;
}

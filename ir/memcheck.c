// The memory plan of a function, checked without asking the pass that made it (passes/memplan.c): the
// function is walked in its order beside a picture of the memory that says which value lies where.
//
//   M1  every operand of a group, and every value that is assigned, lies whole in its place when it is read
//   M2  the results of a group do not overlap; states and inputs do not; each has a place, and one of its
//       own kind
//   M3  a result overlaps an operand of its group only where it is the same place and type, and the group
//       reads that operand nowhere but at the element that it writes
//   M6  what a copy between device and host reads and what it writes stays untouched until it is waited for (landed,
//       ready); these lie where their copy does
//   M4  when the function ends, its results are whole, what is assigned lies in its state's place, and a
//       state that is not assigned holds what it held
//
// The picture is a segment tree over the distinct ends of all ranges, so that a group costs its operands
// times the logarithm of the nodes. Needs V1 to V16. A function with values outside of groups (before
// fuse) is in no order of execution yet and is not looked at.
#include "ir/ir.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHOWN = 20 };
#define MIXED UINT32_MAX // in the picture: several values

// What lies in a place: 0 nothing, 1 + node, or 1 + nodes + state for what a state held before.
typedef uint32_t ContentId;

typedef struct {
    uint64_t from, to; // regions one behind the other: see address()
} AddressRange;

typedef struct {
    const Module *m;
    const Func *f;
    Text *why;
    Arena *a; // of this check
    int faults;
    ContentId *content; // by node
    NodeId *next_part;  // by node: of a group the first of its parts, of a part the next; NONE
    uint64_t *ends;     // in order, distinct
    uint32_t nends, leaves;
    ContentId *tree; // of 2 * leaves: of all its leaves, or MIXED
} MemoryCheck;

__attribute__((format(printf, 3, 4))) static void fault(MemoryCheck *c, int rule, const char *fmt,
                                                        ...) {
    if (c->faults++ >= MAX_SHOWN || !c->why) return;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_printf(c->why, "M%d: function %s: %s\n", rule, sym_str(c->m->syms, c->f->name), text);
}

// ---- places -------------------------------------------------------------------------------------

static uint64_t address(const Mem *mem) {
    return ((uint64_t)mem->region << 56) + (uint64_t)mem->offset;
}

static AddressRange span_of(const Mem *mem, int64_t bytes) {
    return (AddressRange){address(mem), address(mem) + (uint64_t)bytes};
}

static int64_t bytes_of(const MemoryCheck *c, NodeId n) {
    return type_bytes(type_of(c->m, c->f, n));
}
static const Mem *place(const MemoryCheck *c, NodeId n) { return &c->f->mem.at[n]; }
static AddressRange node_span(const MemoryCheck *c, NodeId n) {
    return span_of(place(c, n), bytes_of(c, n));
}
static bool meet(AddressRange a, AddressRange b) { return a.from < b.to && b.from < a.to; }

static AddressRange state_span(const MemoryCheck *c, StateId s) {
    const State *st = &c->m->states.at[s];
    return span_of(&st->mem, type_bytes(type_at(c->m, st->type)));
}

static ContentId before(const MemoryCheck *c, StateId s) { return 1 + c->f->nodes.n + s; }

// For messages: %12 "h.0.attn.q".
static const char *called(const MemoryCheck *c, ContentId x) {
    if (!x) return "nothing";
    if (x > c->f->nodes.n) {
        Sym path = c->m->states.at[x - 1 - c->f->nodes.n].path;
        return arena_printf(c->a, "the old state '%s'", sym_str(c->m->syms, path));
    }
    Sym name = node_at(c->f, x - 1)->name;
    return arena_printf(c->a, "%%%u '%s'", x - 1, sym_str(c->m->syms, name));
}

static const char *where(const MemoryCheck *c, const Mem *mem) {
    return arena_printf(c->a, "%s+%lld", region_names[mem->region], (long long)mem->offset);
}

// ---- the picture --------------------------------------------------------------------------------

static uint32_t leaf_at(const MemoryCheck *c, uint64_t end) {
    uint32_t low = 0, high = c->nends;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (c->ends[mid] < end)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void paint(MemoryCheck *c, uint32_t node, uint32_t first, uint32_t count,
                  AddressRange leaves, ContentId x) {
    if (leaves.to <= first || first + count <= leaves.from) return;
    if (leaves.from <= first && first + count <= leaves.to) {
        c->tree[node] = x;
        return;
    }
    ContentId *two = &c->tree[2 * node];
    if (c->tree[node] != MIXED) two[0] = two[1] = c->tree[node];
    paint(c, 2 * node, first, count / 2, leaves, x);
    paint(c, 2 * node + 1, first + count / 2, count / 2, leaves, x);
    c->tree[node] = two[0] == two[1] ? two[0] : MIXED;
}

// What else lies in the leaves, x if nothing does.
static ContentId other(const MemoryCheck *c, uint32_t node, uint32_t first, uint32_t count,
                       AddressRange leaves, ContentId x) {
    if (leaves.to <= first || first + count <= leaves.from || c->tree[node] == x) return x;
    if (c->tree[node] != MIXED) return c->tree[node];
    ContentId left = other(c, 2 * node, first, count / 2, leaves, x);
    return left != x ? left : other(c, 2 * node + 1, first + count / 2, count / 2, leaves, x);
}

static AddressRange leaves_of(const MemoryCheck *c, AddressRange s) {
    return (AddressRange){leaf_at(c, s.from), leaf_at(c, s.to)};
}

static void put(MemoryCheck *c, AddressRange s, ContentId x) {
    if (s.from < s.to) paint(c, 1, 0, c->leaves, leaves_of(c, s), x);
}

static ContentId lies(const MemoryCheck *c, AddressRange s, ContentId x) {
    return s.from < s.to ? other(c, 1, 0, c->leaves, leaves_of(c, s), x) : x;
}

static int in_order(const void *x, const void *y) {
    const uint64_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static void note_ends(MemoryCheck *c, AddressRange s) {
    c->ends[c->nends++] = s.from;
    c->ends[c->nends++] = s.to;
}

static void make_picture(MemoryCheck *c) {
    c->ends = NEW_ARRAY(c->a, uint64_t, 2 * (c->f->nodes.n + c->m->states.n) + 2);
    for (NodeId n = 0; n < c->f->nodes.n; n++) note_ends(c, node_span(c, n));
    for (StateId s = 0; s < c->m->states.n; s++) note_ends(c, state_span(c, s));
    qsort(c->ends, c->nends, sizeof *c->ends, in_order);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->nends; i++)
        if (!kept || c->ends[kept - 1] != c->ends[i]) c->ends[kept++] = c->ends[i];
    c->nends = kept;
    c->leaves = 1;
    while (c->leaves < kept) c->leaves *= 2;
    c->tree = NEW_ARRAY(c->a, ContentId, 2 * (size_t)c->leaves);
}

// ---- what is there when the function starts -----------------------------------------------------

// Addresses are regions and offsets in one number: an offset that does not fit is no place of anything.
static bool fits(MemoryCheck *c, const Mem *mem, int64_t bytes) {
    int64_t most = (INT64_C(1) << 56) - 1;
    if (bytes <= most && mem->offset <= most - bytes) return true;
    fault(c, 2, "%s is no place for %lld bytes", where(c, mem), (long long)bytes);
    return false;
}

static bool all_fit(MemoryCheck *c) {
    bool good = true;
    for (NodeId n = 0; n < c->f->nodes.n; n++) good &= fits(c, place(c, n), bytes_of(c, n));
    for (StateId s = 0; s < c->m->states.n; s++) {
        const State *st = &c->m->states.at[s];
        good &= fits(c, &st->mem, type_bytes(type_at(c->m, st->type)));
    }
    return good;
}

static void start_states(MemoryCheck *c) {
    for (StateId s = 0; s < c->m->states.n; s++) {
        const State *st = &c->m->states.at[s];
        Region own = state_region((StateKind)st->kind);
        if (st->mem.region != own)
            fault(c, 2, "state '%s' has no place in '%s'", sym_str(c->m->syms, st->path),
                  region_names[own]);
        ContentId there = lies(c, state_span(c, s), 0);
        if (there) fault(c, 2, "%s overlaps %s", called(c, before(c, s)), called(c, there));
        put(c, state_span(c, s), before(c, s));
    }
}

// Inputs of one name and type are one.
static bool same_input(const MemoryCheck *c, NodeId a, ContentId b) {
    if (b == 0 || b > c->f->nodes.n) return false;
    const Node *x = node_at(c->f, a), *y = node_at(c->f, b - 1);
    return attr_of(c->m, c->f, a)->input.name == attr_of(c->m, c->f, b - 1)->input.name &&
           x->type == y->type && address(place(c, a)) == address(place(c, b - 1));
}

static void start_input(MemoryCheck *c, NodeId n) {
    Region own = type_of(c->m, c->f, n)->n ? REGION_input : REGION_scalar;
    ContentId there = lies(c, node_span(c, n), 0);
    if (place(c, n)->region != own)
        fault(c, 2, "input %s has no place in '%s'", called(c, n + 1), region_names[own]);
    if (!there) put(c, node_span(c, n), n + 1);
    if (there && !same_input(c, n, there))
        fault(c, 2, "%s overlaps %s", called(c, n + 1), called(c, there));
    else if (there)
        c->content[n] = there;
}

// ---- groups -------------------------------------------------------------------------------------

static void check_read(MemoryCheck *c, NodeId reader, NodeId value) {
    if (bytes_of(c, value) == 0) return;
    ContentId want = c->content[value];
    ContentId there =
        place(c, value)->region == REGION_none ? 0 : lies(c, node_span(c, value), want);
    if (there != want)
        fault(c, 1, "%s reads %s at %s, where %s lies", called(c, reader + 1), called(c, want),
              where(c, place(c, value)), called(c, there));
}

static bool is_fold(const Func *body, NodeId n) { return node_at(body, n)->op == OP_reduce; }

// How many folds over the row are behind each other up to node n, of which `before` has those of its operands: a
// kernel of rows sweeps over a row once for each, and once more.
static uint32_t folds_up_to(const Func *body, NodeId n, const uint32_t *before) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < node_at(body, n)->n; i++)
        if (before[operand(body, n, i)] > most) most = before[operand(body, n, i)];
    return most + is_fold(body, n);
}

// Whether the body reads operand `index` at no other element than that which result r is written at, or in rows
// before that row is written. In columns, whose results are written when all rows are done, only the addend of the
// fold is read then.
static bool reads_where_written(const MemoryCheck *c, const Node *group, uint32_t index,
                                uint32_t r) {
    const Attr *at = attr_at(c->m, group->attr);
    const Func *body = c->m->funcs.at[at->group.body];
    NodeId result = body->results.at[r].node;
    if (group_is_attention(at->group.kind)) return false; // strips read all keys
    bool columns = at->group.kind == GROUP_columns, rows = at->group.kind == GROUP_rows;
    uint8_t *from = NEW_ARRAY(c->a, uint8_t, body->nodes.n + 1); // 1: the operand, 2: made of it
    uint32_t *folds = NEW_ARRAY(c->a, uint32_t, body->nodes.n + 1), latest = 0;
    for (NodeId n = 0; n < body->nodes.n; n++) {
        const Node *node = node_at(body, n);
        folds[n] = folds_up_to(body, n, folds);
        if (node->op == OP_arg) {
            from[n] = attr_of(c->m, body, n)->arg.index == index;
            if (from[n] && node->type != node_at(body, result)->type) return false;
        }
        for (uint32_t i = 0; i < node->n; i++) {
            if (!from[operand(body, n, i)]) continue;
            const Attr *own = attr_of(c->m, body, n);
            if (rows && is_fold(body, n) && own->reduce.by == FOLD_row && !own->reduce.part)
                continue;
            bool kept = node_reads_in_place(node, i);
            if (columns) // in a pair: the other of the two is the fold
                kept = n == result && node->op == OP_add && from[operand(body, n, i)] == 1 &&
                       is_fold(body, operand(body, n, 1 - i));
            if (!kept) return false;
            from[n] = 2;
            latest = folds[n] > latest ? folds[n] : latest;
        }
    }
    return !rows || latest <= folds[result];
}

static void check_overlap(MemoryCheck *c, NodeId group, NodeId result, uint32_t r) {
    const Node *g = node_at(c->f, group);
    for (uint32_t i = 0; i < g->n; i++) {
        NodeId x = operand(c->f, group, i);
        if (!meet(node_span(c, x), node_span(c, result))) continue;
        if (address(place(c, x)) != address(place(c, result)) ||
            node_at(c->f, x)->type != node_at(c->f, result)->type)
            fault(c, 3, "%s at %s overlaps its operand %s", called(c, result + 1),
                  where(c, place(c, result)), called(c, c->content[x]));
        else if (!reads_where_written(c, g, i, r))
            fault(c, 3, "%s is written over its operand %s, which is read elsewhere too",
                  called(c, result + 1), called(c, c->content[x]));
    }
}

// The node of result r, NONE if there is none: nothing is to read it, but it is written.
static NodeId result_node(const MemoryCheck *c, NodeId group, uint32_t r) {
    NodeId n = c->next_part[group];
    if (r == 0) return group;
    while (n != NONE && attr_of(c->m, c->f, n)->part.index != r) n = c->next_part[n];
    return n;
}

static void check_group(MemoryCheck *c, NodeId group) {
    const Func *body = c->m->funcs.at[attr_of(c->m, c->f, group)->group.body];
    NodeId results[MAX_OPERANDS];
    uint32_t count = body->results.n;
    if (count > MAX_OPERANDS) {
        fault(c, 2, "%s has %u results", called(c, group + 1), count);
        return;
    }
    for (uint32_t i = 0; i < node_at(c->f, group)->n; i++)
        check_read(c, group, operand(c->f, group, i));
    for (uint32_t r = 0; r < count; r++) {
        NodeId n = results[r] = result_node(c, group, r);
        bool stored = type_bytes(type_of(c->m, body, body->results.at[r].node)) > 0;
        if (!stored || n == NONE) {
            if (stored) fault(c, 2, "result %u of %s has no place", r, called(c, group + 1));
            results[r] = NONE;
            continue;
        }
        uint32_t region = place(c, n)->region;
        if (region == REGION_none || region == REGION_input || region == REGION_scalar)
            fault(c, 2, "%s has no place of its own", called(c, n + 1));
        check_overlap(c, group, n, r);
        for (uint32_t k = 0; k < r; k++)
            if (results[k] != NONE && meet(node_span(c, n), node_span(c, results[k])))
                fault(c, 2, "%s overlaps %s, another result of its group", called(c, n + 1),
                      called(c, results[k] + 1));
    }
    for (uint32_t r = 0; r < count; r++)
        if (results[r] != NONE) put(c, node_span(c, results[r]), results[r] + 1);
}

// ---- copies between device and host -------------------------------------------------------------

// A copy may write at any time until it is waited for: from here on its place is nobody else's.
static void start_copy(MemoryCheck *c, NodeId n) {
    NodeId from = operand(c->f, n, 0);
    bool host = place(c, n)->region == REGION_host;
    c->content[n] = c->content[from];
    check_read(c, n, from);
    if (bytes_of(c, n) && host != (node_at(c->f, n)->op == OP_offload))
        fault(c, 6, "%%%u is a copy to '%s'", n, region_names[place(c, n)->region]);
    if (meet(node_span(c, n), node_span(c, from)))
        fault(c, 6, "%s is copied over itself at %s", called(c, c->content[n]),
              where(c, place(c, n)));
    put(c, node_span(c, n), c->content[n]);
}

static void end_copy(MemoryCheck *c, NodeId n) {
    NodeId copy = operand(c->f, n, 0);
    c->content[n] = c->content[copy];
    if (address(place(c, n)) != address(place(c, copy)))
        fault(c, 6, "%%%u does not lie where its copy %%%u does", n, copy);
    for (uint32_t i = 0; i < 2; i++) {
        NodeId x = operand(c->f, n, i);
        ContentId want = c->content[x];
        ContentId there = bytes_of(c, x) ? lies(c, node_span(c, x), want) : want;
        if (there != want)
            fault(c, 6, "%s lies at %s before the copy of %s there is waited for (%%%u)",
                  called(c, there), where(c, place(c, x)), called(c, want), n);
    }
}

// ---- assignments, and the end -------------------------------------------------------------------

// Where the value is not written into the state's place, it is copied there here.
static void check_assign(MemoryCheck *c, NodeId n) {
    NodeId value = operand(c->f, n, 0);
    StateId s = attr_of(c->m, c->f, n)->assign.state;
    AddressRange to = state_span(c, s), from = node_span(c, value);
    c->content[n] = c->content[value];
    check_read(c, n, value);
    if (address(place(c, n)) != to.from)
        fault(c, 4, "%s is not in the place of its state", called(c, n + 1));
    if (from.from == to.from) return;
    if (meet(from, to)) fault(c, 3, "%s is copied over a part of itself", called(c, value + 1));
    put(c, to, c->content[value]);
}

static void check_end(MemoryCheck *c) {
    ContentId *held = NEW_ARRAY(c->a, ContentId, c->m->states.n + 1);
    for (StateId s = 0; s < c->m->states.n; s++) held[s] = before(c, s);
    for (NodeId n = 0; n < c->f->nodes.n; n++)
        if (node_at(c->f, n)->op == OP_assign)
            held[attr_of(c->m, c->f, n)->assign.state] = c->content[n];
    for (StateId s = 0; s < c->m->states.n; s++) {
        ContentId there = lies(c, state_span(c, s), held[s]);
        if (there != held[s])
            fault(c, 4, "at the end the place of state '%s' holds %s, not %s",
                  sym_str(c->m->syms, c->m->states.at[s].path), called(c, there),
                  called(c, held[s]));
    }
    for (uint32_t i = 0; i < c->f->results.n; i++) {
        NodeId n = c->f->results.at[i].node;
        ContentId there = bytes_of(c, n) ? lies(c, node_span(c, n), c->content[n]) : c->content[n];
        if (there != c->content[n])
            fault(c, 4, "at the end the result '%s' is not whole: %s lies at %s",
                  sym_str(c->m->syms, c->f->results.at[i].name), called(c, there),
                  where(c, place(c, n)));
    }
}

// ---- the walk -----------------------------------------------------------------------------------

static bool is_executable(const Func *f) {
    for (NodeId n = 0; n < f->nodes.n; n++)
        if (!op_is_executable(node_at(f, n)->op)) return false;
    return true;
}

static void note_values(MemoryCheck *c) {
    for (NodeId n = c->f->nodes.n; n-- > 0;) {
        c->content[n] = n + 1;
        c->next_part[n] = NONE;
    }
    for (NodeId n = c->f->nodes.n; n-- > 0;) { // so that a chain has them in order
        const Node *node = node_at(c->f, n);
        if (node->op == OP_state) c->content[n] = before(c, attr_of(c->m, c->f, n)->state.state);
        if (node->op != OP_part) continue;
        NodeId group = operand(c->f, n, 0);
        c->next_part[n] = c->next_part[group];
        c->next_part[group] = n;
    }
}

static void check_state_node(MemoryCheck *c, NodeId n) {
    const State *st = &c->m->states.at[attr_of(c->m, c->f, n)->state.state];
    if (address(place(c, n)) != address(&st->mem))
        fault(c, 2, "%s is not in the place of its state", called(c, n + 1));
}

static void walk(MemoryCheck *c) {
    c->content = NEW_ARRAY(c->a, ContentId, c->f->nodes.n);
    c->next_part = NEW_ARRAY(c->a, NodeId, c->f->nodes.n);
    note_values(c);
    make_picture(c);
    start_states(c);
    for (NodeId n = 0; n < c->f->nodes.n; n++)
        if (node_at(c->f, n)->op == OP_input) start_input(c, n);
    for (NodeId n = 0; n < c->f->nodes.n; n++) {
        uint32_t op = node_at(c->f, n)->op;
        if (op == OP_state) check_state_node(c, n);
        if (op == OP_group) check_group(c, n);
        if (op == OP_assign) check_assign(c, n);
        if (op_starts_copy(op)) start_copy(c, n);
        if (op_ends_copy(op)) end_copy(c, n);
    }
    check_end(c);
}

int ir_check_memory(const Module *m, const Func *f, Text *why) {
    if (f->mem.n != f->nodes.n || !f->nodes.n || !is_executable(f)) return 0;
    MemoryCheck c = {.m = m, .f = f, .why = why, .a = arena_new()};
    if (all_fit(&c)) walk(&c);
    arena_free(c.a);
    return c.faults;
}

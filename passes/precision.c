// Precision: which numbers are narrow. The plan's lines say it by name, this pass writes it down: from here on
// every rounding is a cast, and what is computed is f32.
//
//   products   operands are cast to the plan's type, sums stay f32. A value that is read through views is
//              cast where its memory is, once for each type. TF32 is no type of memory: such products are
//              marked, where the target has them
//   stored     what fuse will keep of the forward pass and of the derivatives by values (fuse_inline.c) is
//              rounded once, and everything reads the rounded value: forward and backward see the same bits.
//              What is computed again in every reader stays f32. A wrong guess costs memory, nothing else
//   shadows    a parameter that products or gathers read has a state of the narrow type beside it, its
//              shadow: 'init' and 'update' assign both, 'refresh' makes the shadow from the parameter
//   states     where the plan asks for it sums of gradients, moments, or the parameters themselves are narrow
//              states. Updates of those round stochastically: x + u, cut, where u is uniform over what is
//              cut off, so that small updates count on average; the draw is that of 'random', keyed by the
//              state's path, so every run has the same bits. Moments may be blocks of 8 bits (blocks.h)
//
// Statistics stay f32: folds, what is made of folds alone, and what has one value for each row of a fold; so
// do sums that products or scatters add to, states, and the tiles of an attention, which are not stored.
// A result is what was computed, before it was rounded.
//
// But for TF32 the choice depends on names and shapes, never on target, options or demands, so that a model has
// the same bits fused or not. What cannot be is the next wider type (precision.def), or an error where the line
// demands it: 'lacks' is the one place. Needs functions cut into micro-batches; behind layout, which looks for products
// side by side; before recognise, which keeps the casts inside. O(nodes).
#include "ir/view.h"
#include "passes/blocks.h"
#include "passes/fuse.h"
#include "passes/recognise.h"
#include "passes/rewrite.h"
#include <string.h>

enum {
    LEAST_ROW = 16
}; // a fold of fewer elements is no row: what pools neighbours has values, not statistics

typedef struct {
    PassCx *cx;
    Module *m;
    Arena *a;
    StateId *shadow[ELEM_COUNT]; // by state: its shadow of that type, or NONE
    Blocks *blocks;              // by state
    uint32_t states;             // how many there were before
    bool narrows;                // the plan asks for a narrow type, not for TF32 alone
    // of one function
    Func *f;
    Rewrite r;
    Users users;
    const uint8_t *inlined, *tiles;
    uint8_t *data;  // by node: depends on samples
    uint8_t *whole; // has an element for each of some input or product: no statistics
    uint8_t *exact; // Elem: the type that holds the value without loss; as[] of it is there
    NodeId *as
        [ELEM_COUNT]; // the value, rounded to that type, in the new function; NONE: not needed so far
    NodeId *kept;     // as it was computed, before it was rounded for its readers
    VEC(TypeId) rows; // types of folds over rows
} Precise;

static const Node *node(const Precise *p, NodeId n) { return node_at(p->f, n); }
static const Type *type(const Precise *p, NodeId n) { return type_of(p->m, p->f, n); }

static const char *name_of(const Precise *p, NodeId n) {
    const char *name = sym_str(p->m->syms, node(p, n)->name);
    return *name ? name : op_info[node(p, n)->op].name;
}

static Elem elem_of(Format f) {
    switch (f) {
    case FORMAT_bf16: return ELEM_bf16;
    case FORMAT_f16: return ELEM_f16;
    case FORMAT_unset:
    case FORMAT_f32:
    case FORMAT_none:
    case FORMAT_tf32: // a kind of product, not of memory
    case FORMAT_f8e4m3:
    case FORMAT_f8e5m2:
    case FORMAT_i8: return ELEM_f32;
    case FORMATS: break;
    }
    unreachable(f);
}

static Elem wanted(const Precise *p, PrecisionAttr attr, Sym name) {
    return elem_of(precision_of(p->m, attr, name));
}

static TypeId typed(Precise *p, TypeId t, Elem e) {
    Type narrow = *type_at(p->m, t);
    narrow.elem = e;
    return type_intern(p->m, &narrow);
}

// ---- the ledger ---------------------------------------------------------------------------------

static const char *line_text(const Precise *p, const Precision *l) {
    return ledger_said(p->a, p->m->diag, "the plan", l ? l->loc : (Loc){0});
}

static const char *line_of(const Precise *p, PrecisionAttr attr, Sym name) {
    return line_text(p, precision_from(p->m, attr, name));
}

static Decision decision(const Precise *p, NodeId n, bool done, const char *rule) {
    return (Decision){.done = done,
                      .func = sym_str(p->m->syms, p->f->name),
                      .pass = "precision",
                      .rule = rule,
                      .subject = name_of(p, n),
                      .loc = node(p, n)->loc};
}

// What the plan asks for and cannot be had.
static void lacks(Precise *p, Decision d, const Precision *line, Format f, const char *why) {
    const char *asked = format_names[f], *instead = format_names[format_info[f].wider];
    ledger_add(p->cx->ledger, d, "%s instead of %s, which %s asks for: %s", instead, asked,
               line_text(p, line), why);
    if (line && line->demand && !diag_has_error(p->m->diag, line->loc))
        diag_error(p->m->diag, line->loc, "%s is demanded, and '%s' can only be %s: %s", asked,
                   d.subject, instead, why);
}

static bool on_target(const Precise *p, Format f) {
    const char *on = format_info[f].on;
    return on && (!*on || strcmp(on, p->cx->target->name) == 0);
}

// ---- what is what -------------------------------------------------------------------------------

// The value whose memory operand o is read from: as fuse sees it.
static NodeId base_of(const Precise *p, NodeId o) {
    View v;
    return ir_view(p->m, p->f, o, &v) ? v.base : o;
}

static StateId parameter_at(const Precise *p, NodeId o) {
    NodeId base = base_of(p, o);
    if (node(p, base)->op != OP_state) return NONE;
    StateId s = attr_of(p->m, p->f, base)->state.state;
    return p->m->states.at[s].kind == STATE_param ? s : NONE;
}

static void classify(Precise *p, NodeId n) {
    const Node *x = node(p, n);
    bool input = x->op == OP_input && type(p, n)->n, some = false;
    for (uint32_t i = 0; i < x->n; i++) some |= p->whole[operand(p->f, n, i)];
    bool made = x->op == OP_contract || x->op == OP_gather || x->op == OP_scatter_add;
    p->whole[n] = input || (made ? p->data[n] : op_reads_one(x->op) && some);
    if (x->op != OP_reduce || attr_of(p->m, p->f, n)->reduce.by != FOLD_row) return;
    if (type_count(type(p, operand(p->f, n, 0))) < LEAST_ROW * type_count(type(p, n))) return;
    for (uint32_t i = 0; i < p->rows.n; i++)
        if (p->rows.at[i] == x->type) return;
    vec_push(p->a, &p->rows, x->type);
}

static bool is_row(const Precise *p, NodeId n) {
    for (uint32_t i = 0; i < p->rows.n; i++)
        if (type_same_axes(type_at(p->m, p->rows.at[i]), type(p, n))) return true;
    return false;
}

// Whether nothing but sums, states and results takes n over: it is not rounded for them.
static bool is_only_kept(const Precise *p, NodeId n) {
    for (uint32_t i = p->users.first[n]; i < p->users.first[n + 1]; i++) {
        const Node *u = node(p, p->users.list[i]);
        int acc = node_acc(u);
        bool adds = acc >= 0 && operand(p->f, p->users.list[i], (uint32_t)acc) == n;
        if (!adds && u->op != OP_assign) return false;
    }
    return true;
}

// The type in which value n is stored; f32: as it is computed.
static Elem stored_as(Precise *p, NodeId n) {
    const Node *x = node(p, n);
    bool own = op_info[x->op].reads != READS_STORED && op_info[x->op].reads != READS_OWN;
    if (type(p, n)->elem != ELEM_f32 || !type(p, n)->n || x->phase > PHASE_B || p->inlined[n] ||
        !own || !p->data[n] || p->tiles[n] || p->exact[n] != ELEM_f32)
        return ELEM_f32;
    Format f = precision_of(p->m, PRECISION_stored, x->name);
    if (!f || !p->narrows) return ELEM_f32;
    const char *why = elem_of(f) == ELEM_f32    ? line_of(p, PRECISION_stored, x->name)
                      : !p->whole[n]            ? "a fold, or made of folds"
                      : is_row(p, n)            ? "one value for each row of a fold"
                      : x->op == OP_scatter_add ? "a sum that is added to in place"
                      : is_only_kept(p, n)      ? "a sum that is added to, or a result"
                                                : NULL;
    Decision d = decision(p, n, !why, "stored");
    int64_t bytes = type_bytes(type(p, n));
    if (why) {
        ledger_add(p->cx->ledger, d, "f32: %s", why);
        return ELEM_f32;
    }
    Elem e = elem_of(f);
    d.bytes = bytes - bytes / 4 * elem_info[e].bytes;
    ledger_add(p->cx->ledger, d, "%s instead of f32, rounded where it is stored: %s",
               elem_info[e].name, line_of(p, PRECISION_stored, x->name));
    return e;
}

// ---- values in a type ---------------------------------------------------------------------------

static StateId shadow_of(Precise *p, StateId s, Elem e) {
    if (!p->shadow[e]) {
        p->shadow[e] = NEW_ARRAY(p->a, StateId, p->states);
        memset(p->shadow[e], 0xff, sizeof(StateId) * p->states);
    }
    StateId *shadow = &p->shadow[e][s];
    if (*shadow != NONE) return *shadow;
    const State of = p->m->states.at[s];
    const char *name = sym_str(p->m->syms, of.path), *path;
    path = arena_printf(p->a, "%s.%s", name, elem_info[e].name);
    for (uint32_t i = 2; state_find(p->m, sym(p->m->syms, path)) != NONE; i++)
        path = arena_printf(p->a, "%s.%s.%u", name, elem_info[e].name, i);
    TypeId t = typed(p, of.type, e);
    *shadow = state_new(p->m, path, t, STATE_shadow, of.loc);
    p->m->states.at[*shadow].of = s;
    ledger_add(p->cx->ledger,
               (Decision){.done = true,
                          .pass = "precision",
                          .rule = "shadow",
                          .subject = name,
                          .bytes = type_bytes(type_at(p->m, t)),
                          .loc = of.loc},
               "%s beside it, rounded once a step where the optimizer stores it",
               elem_info[e].name);
    return *shadow;
}

// A copy of node n on these operands, in another element type.
static NodeId retyped(Precise *p, NodeId n, const NodeId *in, Elem e) {
    const Node *x = node(p, n);
    const Attr *attr = x->attr ? attr_of(p->m, p->f, n) : NULL;
    rewrite_like(&p->r, n);
    return ir_node(&p->r.b, (Op)x->op, attr, in, x->n, typed(p, x->type, e));
}

static NodeId copied(Precise *p, NodeId n, const NodeId *in, uint32_t count) {
    return copy_resized(&p->r.b, p->f, n, in, count, &(Resize){0});
}

static NodeId *values_in(Precise *p, Elem e) {
    if (!p->as[e]) {
        p->as[e] = NEW_ARRAY(p->a, NodeId, p->f->nodes.n + 1);
        memset(p->as[e], 0xff, sizeof(NodeId) * p->f->nodes.n);
    }
    return p->as[e];
}

// The value of n in type e. What was narrow before this pass is read as it lies.
static NodeId as(Precise *p, NodeId n, Elem e) {
    if (type(p, n)->elem != ELEM_f32) return p->r.map[n];
    NodeId *found = &values_in(p, e)[n];
    if (*found != NONE) return *found;
    bool widens = e == ELEM_f32;
    if (!widens && p->exact[n] == ELEM_f32 && node(p, n)->op == OP_state &&
        parameter_at(p, n) != NONE) {
        StateId s = shadow_of(p, parameter_at(p, n), e);
        rewrite_like(&p->r, n);
        return *found = ir_state(&p->r.b, s);
    }
    if (!widens && base_of(p, n) != n)
        return *found = retyped(p, n, (NodeId[]){as(p, operand(p->f, n, 0), e)}, e);
    NodeId from = as(p, n, widens ? (Elem)p->exact[n] : ELEM_f32);
    rewrite_like(&p->r, n);
    return *found = ir_cast(&p->r.b, from, e);
}

// Node n of the new function is the value of old node n, in its type.
static void give(Precise *p, NodeId n, NodeId value) {
    Elem e = (Elem)type_of(p->m, &p->r.to, value)->elem;
    bool narrow = type(p, n)->elem == ELEM_f32 && e != ELEM_f32;
    p->exact[n] = (uint8_t)(narrow ? e : ELEM_f32);
    values_in(p, narrow ? e : ELEM_f32)[n] = value; // what is no float has one type
    if (!narrow) p->kept[n] = value;
}

static NodeId own(Precise *p, NodeId n) {
    return type(p, n)->elem == ELEM_f32 ? as(p, n, ELEM_f32) : p->r.map[n];
}

// As it was computed: for what adds to it, for states and results.
static NodeId unrounded(Precise *p, NodeId n) {
    return p->kept[n] != NONE ? p->kept[n] : own(p, n);
}

// A state whose type this pass changed.
static bool is_narrow_state(const Precise *p, NodeId n) {
    return node(p, n)->op == OP_state && p->exact[n] != ELEM_f32;
}

// ---- products -----------------------------------------------------------------------------------

// By whose name the plan speaks of product n: a parameter's, or its own.
static Sym called(const Precise *p, NodeId n) {
    for (uint32_t i = 0; i < 2 && node(p, n)->phase != PHASE_W; i++) {
        StateId s = parameter_at(p, operand(p->f, n, i));
        if (s != NONE) return p->m->states.at[s].path;
    }
    return node(p, n)->name;
}

static const PrecisionAttr class_of[PHASE_COUNT] = {
    [PHASE_F] = PRECISION_forward, [PHASE_B] = PRECISION_dgrad, [PHASE_W] = PRECISION_wgrad};

// The format of operand i of product n by the plan.
static Format factor_format(const Precise *p, NodeId n, uint32_t i) {
    const Node *x = node(p, n);
    if (x->phase == PHASE_U) return FORMAT_unset;
    StateId s = x->phase == PHASE_B ? parameter_at(p, operand(p->f, n, i)) : NONE;
    return s == NONE ? precision_of(p->m, class_of[x->phase], called(p, n))
                     : precision_of(p->m, PRECISION_forward, p->m->states.at[s].path);
}

static bool asks_for_tf32(const Precise *p, NodeId n) {
    return node(p, n)->phase != PHASE_U &&
           precision_of(p->m, class_of[node(p, n)->phase], called(p, n)) == FORMAT_tf32;
}

// Whether product n, which is to be one of TF32, can be one with operands of these types.
static Tf32 factor_tf32(Precise *p, NodeId n, Elem a, Elem b) {
    const Precision *line = precision_from(p->m, class_of[node(p, n)->phase], called(p, n));
    const char *why = !on_target(p, FORMAT_tf32)       ? "the target has no such products"
                      : a != ELEM_f32 || b != ELEM_f32 ? "an operand is stored in another type"
                      : factor_format(p, n, 0) != factor_format(p, n, 1)
                          ? "the plan wants its other operand in another type"
                          : NULL;
    if (why) lacks(p, decision(p, n, false, "product"), line, FORMAT_tf32, why);
    return why ? TF32_NEVER : line->demand ? TF32_MUST : TF32_MAY;
}

static void record_product(Precise *p, NodeId n, Elem a, Elem b, Tf32 tf32) {
    PrecisionAttr attr = class_of[node(p, n)->phase];
    Sym name = called(p, n);
    if (node(p, n)->phase == PHASE_U || !precision_of(p->m, attr, name)) return;
    ledger_add(p->cx->ledger, decision(p, n, tf32 || (a != ELEM_f32 && b != ELEM_f32), "product"),
               "%s x %s, summed up in f32: %s in %s", tf32 ? "tf32" : elem_info[a].name,
               tf32 ? "tf32" : elem_info[b].name, precision_names[attr], line_of(p, attr, name));
}

// The product on these operands of the new function, which have their types by now.
static NodeId contracted(Precise *p, NodeId n, const NodeId *in, uint32_t count) {
    Elem a = (Elem)type_of(p->m, &p->r.to, in[0])->elem,
         b = (Elem)type_of(p->m, &p->r.to, in[1])->elem;
    Attr attr = *attr_of(p->m, p->f, n);
    bool asked = asks_for_tf32(p, n);
    if (asked) attr.contract.tf32 = factor_tf32(p, n, a, b);
    if (!asked || attr.contract.tf32) record_product(p, n, a, b, (Tf32)attr.contract.tf32);
    rewrite_like(&p->r, n);
    return ir_node(&p->r.b, OP_contract, &attr, in, count, node(p, n)->type);
}

// A stored value that is narrow is read as it lies, also where the plan wants f32: it is the same number. Two
// of them would be a product of another kind, with sums in another order.
static void write_product(Precise *p, NodeId n) {
    const Node *x = node(p, n);
    Elem want[2] = {elem_of(factor_format(p, n, 0)), elem_of(factor_format(p, n, 1))};
    NodeId in[3] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        NodeId o = operand(p->f, n, i);
        Elem lies = (Elem)p->exact[o];
        bool as_it_lies = want[i] == ELEM_f32 && (i == 0 || want[0] != ELEM_f32 ||
                                                  p->exact[operand(p->f, n, 0)] == ELEM_f32);
        in[i] = as(p, o, as_it_lies ? lies : want[i]);
    }
    NodeId sum = x->n == 3 ? operand(p->f, n, 2) : NONE;
    if (sum == NONE || !is_narrow_state(p, sum)) {
        if (sum != NONE) in[2] = unrounded(p, sum);
        give(p, n, contracted(p, n, in, x->n));
        return;
    }
    // A sum that is kept narrow is added where the product is stored: nothing stores it in f32.
    NodeId product = contracted(p, n, in, 2);
    rewrite_like(&p->r, n);
    in[1] = as(p, sum, ELEM_f32);
    rewrite_like(&p->r, n);
    give(p, n, ir_node(&p->r.b, OP_add, NULL, (NodeId[]){in[1], product}, 2, x->type));
}

// ---- writing a function -------------------------------------------------------------------------

// A table is read as products read it, so that tied ones have one shadow.
static bool write_gather(Precise *p, NodeId n) {
    NodeId table = operand(p->f, n, 0);
    StateId s = parameter_at(p, table);
    Elem e = (Elem)p->exact[table];
    if (s != NONE) e = wanted(p, PRECISION_forward, p->m->states.at[s].path);
    if (e == ELEM_f32 || node(p, n)->phase == PHASE_U || type(p, n)->elem != ELEM_f32) return false;
    give(p, n, retyped(p, n, (NodeId[]){as(p, table, e), own(p, operand(p->f, n, 1))}, e));
    return true;
}

// A bias is rounded as the operands are: a library's product takes it in the type of its result.
static bool write_bias(Precise *p, NodeId n) {
    for (uint32_t i = 0; i < 2; i++) {
        NodeId product = operand(p->f, n, i), bias = operand(p->f, n, 1 - i);
        StateId s = parameter_at(p, bias);
        if (node(p, product)->op != OP_contract || s == NONE) continue;
        Elem e = wanted(p, PRECISION_forward, p->m->states.at[s].path);
        if (e == ELEM_f32) continue;
        NodeId in[2];
        in[i] = own(p, product);
        rewrite_like(&p->r, bias);
        in[1 - i] = ir_cast(&p->r.b, as(p, bias, e), ELEM_f32);
        give(p, n, copied(p, n, in, node(p, n)->n));
        return true;
    }
    return false;
}

// A view of a narrow value is narrow.
static bool write_view(Precise *p, NodeId n) {
    NodeId o = operand(p->f, n, 0);
    Elem e = (Elem)p->exact[o];
    if (e == ELEM_f32) return false;
    give(p, n, retyped(p, n, (NodeId[]){as(p, o, e)}, e));
    return true;
}

// ---- narrow states ------------------------------------------------------------------------------

static uint64_t key_of(const Precise *p, StateId s) {
    const char *path = sym_str(p->m->syms, p->m->states.at[s].path);
    return hash_u64(hash_bytes(HASH_SEED, path, strlen(path)), ELEM_bf16);
}

// x rounded up or down, with the odds that make it right on average; below the normal numbers of f16 the cast
// that follows rounds to nearest.
static NodeId round_by_chance(Precise *p, NodeId x, StateId s, Elem to) {
    Builder *b = &p->r.b;
    uint64_t key = key_of(p, s);
    TypeId bits = typed(p, node_at(b->f, x)->type, ELEM_u32);
    uint32_t cut_off = to == ELEM_f16 ? 0x1fff : 0xffff; // what its significand lacks of f32's
    NodeId low = ir_const(b, ELEM_u32, cut_off), high = ir_const(b, ELEM_u32, ~cut_off);
    NodeId drawn = ir_binary(b, OP_and, ir_random(b, bits, key, 0, false), low);
    NodeId sum = ir_binary(b, OP_add, ir_bitcast(b, x, ELEM_u32), drawn);
    NodeId cut = ir_bitcast(b, ir_binary(b, OP_and, sum, high), ELEM_f32);
    return ir_select(b, ir_unary(b, OP_isfinite, x), cut, x);
}

// A step that is skipped chooses the old value: then blocks stay, and are not rounded again.
static NodeId assign_blocks(Precise *p, NodeId n, StateId s) {
    NodeId x = operand(p->f, n, 0), ok = NONE;
    const Node *y = node(p, x), *old = y->op == OP_select ? node(p, operand(p->f, x, 2)) : y;
    if (y->op == OP_select && old->op == OP_state && attr_at(p->m, old->attr)->state.state == s) {
        ok = own(p, operand(p->f, x, 0));
        x = operand(p->f, x, 1);
    }
    rewrite_like(&p->r, n);
    return blocks_assign(&p->r.b, &p->blocks[s], s, unrounded(p, x), ok, key_of(p, s),
                         node(p, n)->phase == PHASE_U &&
                             strcmp(sym_str(p->m->syms, p->f->name), "init") != 0);
}

static void write_assign(Precise *p, NodeId n) {
    StateId s = attr_of(p->m, p->f, n)->assign.state;
    if (p->blocks[s].scale != NONE) {
        p->r.map[n] = assign_blocks(p, n, s);
        return;
    }
    const State *state = &p->m->states.at[s];
    NodeId x = unrounded(p, operand(p->f, n, 0));
    Elem e = (Elem)type_at(p->m, state->type)->elem;
    bool narrow = type(p, operand(p->f, n, 0))->elem == ELEM_f32 && e != ELEM_f32;
    rewrite_like(&p->r, n);
    if (narrow && state->kind != STATE_accum && node(p, n)->phase == PHASE_U)
        x = round_by_chance(p, x, s, e);
    if (narrow) x = ir_cast(&p->r.b, x, e);
    p->r.map[n] = ir_assign(&p->r.b, s, x);
}

// The type of a state by the plan: sums of gradients and moments by their parameter's name.
static Elem state_type(const Precise *p, const State *s) {
    if (s->of == NONE && s->kind != STATE_param) return ELEM_f32;
    Sym name = s->of == NONE ? s->path : p->m->states.at[s->of].path;
    bool none = precision_of(p->m, PRECISION_master, name) == FORMAT_none;
    switch ((StateKind)s->kind) {
    case STATE_param: return none ? wanted(p, PRECISION_forward, name) : ELEM_f32;
    case STATE_moment: return wanted(p, PRECISION_moments, name);
    case STATE_accum: return wanted(p, PRECISION_grads, name);
    case STATE_stat:
    case STATE_counter:
    case STATE_shadow:
    case STATE_KINDS: break;
    }
    return ELEM_f32;
}

// Moments of 8 bits, where the plan asks for them.
static void block_states(Precise *p) {
    uint8_t *positive = NULL;
    p->blocks = NEW_ARRAY(p->a, Blocks, p->states + 1);
    for (StateId s = 0; s < p->states; s++) {
        const State state = p->m->states.at[s];
        const Type t = *type_at(p->m, state.type);
        p->blocks[s].scale = NONE;
        if (state.kind != STATE_moment || state.of == NONE || t.elem != ELEM_f32) continue;
        Sym name = p->m->states.at[state.of].path;
        if (precision_of(p->m, PRECISION_moments, name) != FORMAT_i8) continue;
        Decision d = {.pass = "precision",
                      .rule = "moment",
                      .subject = sym_str(p->m->syms, state.path),
                      .loc = state.loc};
        int64_t n = type_count(&t);
        if (n % BLOCK) {
            lacks(p, d, precision_from(p->m, PRECISION_moments, name), FORMAT_i8,
                  arena_printf(p->a, "%lld numbers, no multiple of %d", (long long)n, BLOCK));
            continue;
        }
        if (!positive) positive = blocks_positive(p->a, p->m);
        p->blocks[s] = blocks_new(p->a, p->m, s, positive[s]);
        d.done = true;
        d.bytes = 4 * n - n - 4 * (n / BLOCK);
        ledger_add(p->cx->ledger, d, "i8%s and a scale for each %d, updates rounded stochastically",
                   positive[s] ? " of the root" : "", BLOCK);
    }
}

static void retype_states(Precise *p) {
    for (StateId s = 0; s < p->states; s++) {
        State *state = &p->m->states.at[s];
        const Type *t = type_at(p->m, state->type);
        Elem e = state_type(p, state);
        if (e == ELEM_f32 || t->elem != ELEM_f32 || t->n == 0) continue;
        int64_t bytes = type_bytes(t);
        state->type = typed(p, state->type, e);
        ledger_add(p->cx->ledger,
                   (Decision){.done = true,
                              .pass = "precision",
                              .rule = state->kind == STATE_param    ? "master"
                                      : state->kind == STATE_moment ? "moment"
                                                                    : "grads",
                              .subject = sym_str(p->m->syms, state->path),
                              .bytes = bytes - type_bytes(type_at(p->m, state->type)),
                              .loc = state->loc},
                   state->kind == STATE_accum ? "%s, rounded once a micro-batch"
                                              : "%s, updates rounded stochastically",
                   elem_info[e].name);
    }
}

// ---- writing a function, continued ---------------------------------------------------------------

static bool write_special(Precise *p, NodeId n) {
    const Node *x = node(p, n);
    if (x->op == OP_assign) return write_assign(p, n), true;
    if (x->op == OP_state && p->m->states.at[attr_of(p->m, p->f, n)->state.state].type != x->type) {
        StateId s = attr_of(p->m, p->f, n)->state.state;
        rewrite_like(&p->r, n);
        give(p, n,
             p->blocks[s].scale == NONE ? ir_state(&p->r.b, s)
                                        : blocks_read(&p->r.b, &p->blocks[s], s));
        return true;
    }
    if (x->op == OP_contract) return write_product(p, n), true;
    if (x->op == OP_gather) return write_gather(p, n);
    if (x->op == OP_add && x->phase == PHASE_F) return write_bias(p, n);
    return !op_is_scalar((Op)x->op) && op_info[x->op].reads >= READS_SAME &&
           op_info[x->op].reads <= READS_VIEW && write_view(p, n);
}

static void write_node(Precise *p, NodeId n) {
    const Node *x = node(p, n);
    if (!write_special(p, n)) {
        NodeId in[MAX_OPERANDS];
        for (uint32_t i = 0; i < x->n; i++) {
            NodeId o = operand(p->f, n, i);
            in[i] = node_acc(x) == (int)i ? unrounded(p, o) : own(p, o);
        }
        give(p, n, copied(p, n, in, node(p, n)->n));
    }
    Elem e = stored_as(p, n);
    if (e == ELEM_f32) return;
    as(p, n, e);
    p->exact[n] = (uint8_t)e;
    p->as[ELEM_f32][n] = NONE; // readers widen it
}

static void write_func(Precise *p, Func *f) {
    uint32_t count = f->nodes.n + 1;
    p->f = f;
    p->users = func_users(p->a, f);
    p->inlined = fuse_predict_inline(p->cx, f);
    p->tiles = attention_tiles(p->cx, f);
    p->data = func_samples(p->a, p->m, f);
    p->whole = NEW_ARRAY(p->a, uint8_t, count);
    p->exact = NEW_ARRAY(p->a, uint8_t, count);
    p->kept = NEW_ARRAY(p->a, NodeId, count);
    p->rows.n = 0;
    memset(p->kept, 0xff, sizeof *p->kept * count);
    memset(p->exact, ELEM_f32, count);
    memset(p->as, 0, sizeof p->as);
    for (NodeId n = 0; n < f->nodes.n; n++) classify(p, n);
    rewrite_begin(&p->r, p->cx, f);
    p->as[ELEM_f32] = p->r.map;
    for (NodeId n = 0; n < f->nodes.n; n++) write_node(p, n);
    for (uint32_t i = 0; i < f->results.n; i++) {
        NodeId n = f->results.at[i].node;
        p->r.map[n] = unrounded(p, n);
    }
    rewrite_end(&p->r);
}

// ---- shadows ------------------------------------------------------------------------------------

static void assign_shadow(Precise *p, Builder *b, StateId of, NodeId value) {
    for (Elem e = 0; e < ELEM_COUNT; e++)
        if (p->shadow[e] && p->shadow[e][of] != NONE)
            ir_assign(b, p->shadow[e][of], ir_cast(b, value, e));
}

// Who assigns a parameter assigns its shadows.
static void keep_shadows(Precise *p, Func *f) {
    for (NodeId n = 0, count = f->nodes.n; n < count; n++) {
        if (node_at(f, n)->op != OP_assign) continue;
        StateId s = attr_of(p->m, f, n)->assign.state;
        Builder b = {.m = p->m, .f = f};
        builder_like(&b, node_at(f, n));
        if (s < p->states) assign_shadow(p, &b, s, operand(f, n, 0));
    }
}

static bool has_shadows(const Precise *p) {
    bool some = false;
    for (Elem e = 0; e < ELEM_COUNT; e++) some |= p->shadow[e] != NULL;
    return some;
}

static void make_refresh(Precise *p) {
    Builder b = {.m = p->m, .f = func_new(p->m, "refresh", NULL), .phase = PHASE_U};
    for (StateId s = 0; s < p->states; s++) {
        b.name = p->m->states.at[s].path;
        b.loc = p->m->states.at[s].loc;
        if (p->m->states.at[s].kind == STATE_param) assign_shadow(p, &b, s, ir_state(&b, s));
    }
}

// ---- the pass -----------------------------------------------------------------------------------

static bool asks_for(const Module *m, bool narrow) {
    for (uint32_t i = 0; i < m->precisions.n; i++)
        for (PrecisionAttr k = 0; k < PRECISIONS; k++) {
            Format f = (Format)m->precisions.at[i].format[k];
            if (elem_of(f) != ELEM_f32 || (!narrow && (f == FORMAT_tf32 || f == FORMAT_i8)))
                return true;
        }
    return false;
}

bool pass_precision(PassCx *cx) {
    Precise p = {.cx = cx, .m = cx->m, .a = cx->scratch, .states = cx->m->states.n};
    if (cx->m->rounded || !asks_for(cx->m, false)) return false;
    p.narrows = asks_for(cx->m, true);
    cx->m->rounded = true;
    uint32_t count = cx->m->funcs.n;
    block_states(&p);
    retype_states(&p);
    for (FuncId i = 0; i < count; i++)
        if (!cx->m->funcs.at[i]->region) write_func(&p, cx->m->funcs.at[i]);
    for (FuncId i = 0; i < count; i++)
        if (!cx->m->funcs.at[i]->region) keep_shadows(&p, cx->m->funcs.at[i]);
    if (has_shadows(&p)) make_refresh(&p);
    pass_dce(cx);
    return true;
}

// What people are told of a model that is no error: warnings, and what was written about each state.
//
// A warning is about a text that means something else than it looks like. Each says how the text is written
// when it is meant, so that no flag is needed to silence one: an input that is not used is given to '_', a
// block that a pattern takes along is named beside it, a plan that learns nothing has no steps. That the
// loss does not depend on a parameter is found where derivatives are known: tools/params.c.
#include "frontend/elab.h"
#include "ir/base/path.h"
#include <string.h>

static const char *path_of(const Elab *cx, StateId s) { return str(cx, cx->m->states.at[s].path); }

static bool is_param(const Elab *cx, StateId s) { return cx->m->states.at[s].kind == STATE_param; }

// ---- patterns -----------------------------------------------------------------------------------

// Whether the last component of a pattern stands for several names, but not for all: 'b*', 'h.*_norm'.
static bool is_open(const char *pattern) {
    const char *last = strrchr(pattern, '.');
    last = last ? last + 1 : pattern;
    return strchr(last, '*') && strcmp(last, "*") != 0;
}

// Whether a line decides about a parameter: of several lines of an optimizer or a rate that name it the last
// one, if it learns.
static bool is_decided_by(const Elab *cx, const PlanLine *l, StateId s) {
    const StateInfo *i = &cx->states.at[s];
    if (!is_param(cx, s)) return false;
    if (i->rule) return i->rule->line == l || i->rate == l;
    return strcmp(str(cx, l->what), "freeze") == 0;
}

// Whether another pattern of the line names the block that ends there, with its whole name.
static bool block_named(Elab *cx, const PlanLine *l, const char *path, const char *end) {
    for (uint32_t i = 0; i < l->paths.n; i++) {
        Sym p = l->paths.at[i].text;
        const char *last = strrchr(str(cx, p), '.');
        if (!strchr(last ? last : str(cx, p), '*') && path_ends_at(str(cx, p), path, end))
            return true;
    }
    return false;
}

// One pattern that names parameters and takes blocks along whose names are alike. Blocks of one name once:
// most often they are rounds of a repeat. O(states) and, for each name of a block, the line's patterns.
static void warn_of_pattern(Elab *cx, const PlanLine *l, const Path *p) {
    const char *text = str(cx, p->text), *leaf = NULL;
    Map told = {.arena = cx->arena};
    if (!is_open(text)) return;
    for (StateId s = 0; s < cx->m->states.n && !leaf; s++) {
        const char *end = is_decided_by(cx, l, s) ? path_end(text, path_of(cx, s)) : NULL;
        if (end && !*end) leaf = path_of(cx, s);
    }
    for (StateId s = 0; leaf && s < cx->m->states.n; s++) {
        const char *path = path_of(cx, s);
        const char *end = is_decided_by(cx, l, s) ? path_end(text, path) : NULL;
        bool fresh = false;
        if (!end || !*end) continue;
        const char *block = arena_str(cx->arena, path, (size_t)(end - path));
        const char *name = strrchr(block, '.') ? strrchr(block, '.') + 1 : block;
        map_slot(&told, hash_bytes(HASH_SEED, name, strlen(name)), &fresh);
        if (!fresh || block_named(cx, l, path, end)) continue;
        diag_warning(
            cx->diag, p->loc,
            "'%s' names parameters such as '%s', and takes all of the block '%s' along, as "
            "'%s': write '%s, %s' if that is meant, else the parameters' whole names",
            text, leaf, block, path, text, name);
    }
}

static void warn_of_line(Elab *cx, const PlanLine *l) {
    for (uint32_t i = 0; i < l->paths.n; i++) warn_of_pattern(cx, l, &l->paths.at[i]);
}

// ---- the plan -----------------------------------------------------------------------------------

static void warn_of_frozen(Elab *cx) {
    uint32_t params = 0, frozen = 0;
    for (StateId s = 0; s < cx->m->states.n; s++) {
        params += is_param(cx, s);
        frozen += is_param(cx, s) && cx->m->states.at[s].frozen;
    }
    if (!params || frozen < params || plan_number(cx, SN_SET_steps, 1) <= 0) return;
    diag_warning(cx->diag, cx->plan.freezes.at[cx->plan.freezes.n - 1]->loc,
                 "all parameters are frozen, so no step learns anything: 'steps 0' says that the "
                 "model is only to be evaluated");
}

void warn_of_plan(Elab *cx) {
    for (uint32_t i = 0; i < cx->plan.freezes.n; i++) warn_of_line(cx, cx->plan.freezes.at[i]);
    for (uint32_t i = 0; i < cx->plan.optimizers.n; i++)
        warn_of_line(cx, cx->plan.optimizers.at[i].line);
    for (uint32_t i = 0; i < cx->plan.rates.n; i++) warn_of_line(cx, cx->plan.rates.at[i]);
    warn_of_frozen(cx);
}

// ---- inputs -------------------------------------------------------------------------------------

// What results, assignments and '_' need, in one function.
static uint8_t *live_nodes(Elab *cx, const Func *f) {
    uint8_t *live = NEW_ARRAY(cx->arena, uint8_t, f->nodes.n + 1);
    for (uint32_t i = 0; i < f->results.n; i++) live[f->results.at[i].node] = 1;
    for (uint32_t i = 0; i < cx->dropped.n; i++)
        if (cx->dropped.at[i].f == f) live[cx->dropped.at[i].node] = 1;
    for (NodeId n = f->nodes.n; n-- > 0;) {
        const Node *x = node_at(f, n);
        live[n] |= x->op == OP_assign;
        for (uint32_t j = 0; live[n] && j < x->n; j++) live[operand(f, n, j)] = 1;
    }
    return live;
}

void warn_of_inputs(Elab *cx) {
    const ArgList *args = &cx->model->args;
    bool *read = NEW_ARRAY(cx->arena, bool, args->n + 1);
    for (uint32_t k = 0; k < cx->m->funcs.n; k++) {
        const Func *f = cx->m->funcs.at[k];
        const uint8_t *live = live_nodes(cx, f);
        for (NodeId n = 0; n < f->nodes.n; n++)
            for (uint32_t i = 0; live[n] && node_at(f, n)->op == OP_input && i < args->n; i++)
                read[i] |= attr_of(cx->m, f, n)->input.name == args->at[i].name;
    }
    for (uint32_t i = 0; i < args->n; i++)
        if (!read[i])
            diag_warning(cx->diag, args->at[i].name_loc,
                         "nothing that is kept reads the input '%s': remove it, or write '_ = %s' "
                         "in the model if that is meant",
                         str(cx, args->at[i].name), str(cx, args->at[i].name));
}

// ---- states -------------------------------------------------------------------------------------

// What was written, and behind it what -D says otherwise: "adamw(decay = 0.1) with decay = 0.2". f: whose
// arguments they are.
static const char *written(Elab *cx, Loc at, const char *line, const AstFunc *f) {
    Text t = {.arena = cx->arena};
    const char *text = diag_text(cx->diag, cx->arena, at), *sep = " with ";
    size_t n = strlen(line);
    text_put(&t, text, strlen(text));
    for (uint32_t i = 0; i < cx->plan.defines.n; i++) {
        const Option *o = &cx->plan.defines.at[i];
        bool takes = !f && !strchr(o->name + n + 1, '.'); // of this group
        if (strncmp(o->name, line, n) != 0 || o->name[n] != '.') continue;
        for (uint32_t k = 0; f && k < f->args.n; k++)
            takes |= strcmp(str(cx, f->args.at[k].name), o->name + n + 1) == 0;
        if (takes) text_printf(&t, "%s%s = %s", sep, o->name + n + 1, o->text), sep = ", ";
    }
    return t.at;
}

static const char *written_rate(Elab *cx, const StateInfo *i) {
    const char *text = written(cx, i->rate->items.at[0].value->loc, rate_name(cx, i->rate), NULL);
    if (i->rule->rate == 1) return text;
    return arena_printf(cx->arena, "%s * %s", number_text(cx, i->rule->rate), text);
}

void state_notes(Elab *cx) {
    for (StateId s = 0; s < cx->m->states.n; s++) {
        const StateInfo *i = &cx->states.at[s];
        StateNote n = {0};
        if (i->initial) n.initial = diag_text(cx->diag, cx->arena, i->initial->loc);
        if (i->rule) n.optimizer = written(cx, i->rule->at, "optimizer", i->rule->func);
        if (i->rule) n.rate = written_rate(cx, i);
        vec_push(cx->arena, &cx->program->notes, n);
    }
}

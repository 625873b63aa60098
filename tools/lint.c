// sinter check --lint: what a plan says and hardly means. One function for each row of lint.def; each looks at the
// module as the front end made it, but for what a budget found, which the passes have told the ledger. A message
// names the rule, what was found, why it matters, and the line to write.
#include "tools/lint.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Driver *d;
    const Module *m;
    const Ledger *told; // of the passes that the check ran
    const struct LintRule *rule;
} Lint;

typedef enum { LINT_WARNING, LINT_NOTE } LintKind;
typedef struct LintRule {
    const char *id, *reason;
    LintKind kind;
    void (*look)(const Lint *l);
} LintRule;

__attribute__((format(printf, 4, 5))) static void found(const Lint *l, Loc at, const char *write,
                                                        const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const char *line = *write ? arena_printf(l->d->arena, "; write '%s'", write) : "";
    if (l->rule->kind == LINT_WARNING)
        diag_warning(l->d->diag, at, "%s: %s; %s%s", l->rule->id, what, l->rule->reason, line);
    else
        diag_note(l->d->diag, at, "%s: %s; %s%s", l->rule->id, what, l->rule->reason, line);
}

static const char *option(const Lint *l, const char *key) {
    for (uint32_t i = 0; i < l->d->program->options.n; i++)
        if (strcmp(l->d->program->options.at[i].key, key) == 0)
            return l->d->program->options.at[i].value;
    return NULL;
}

// ---- precision ----------------------------------------------------------------------------------

// The first line that gives an attribute this format.
static const Precision *line_with(const Lint *l, Format format) {
    for (uint32_t i = 0; i < l->m->precisions.n; i++)
        for (uint32_t k = 0; k < PRECISIONS; k++)
            if (l->m->precisions.at[i].format[k] == (uint8_t)format) return &l->m->precisions.at[i];
    return NULL;
}

static void lint_formats(const Lint *l) {
    const Precision *half = line_with(l, FORMAT_f16), *brain = line_with(l, FORMAT_bf16);
    if (!half || !brain) return;
    const Precision *last = half > brain ? half : brain;
    found(l, last->loc, "precision bf16", "f16 and bf16 in one plan");
}

// Digits: a loss scale that is fixed, and not 0.
static bool is_fixed(const char *scale) { return scale && strtod(scale, NULL) > 0; }

static void lint_scale(const Lint *l) {
    const char *scale = l->d->program->loss_scale;
    if (!is_fixed(scale) || line_with(l, FORMAT_f16)) return;
    const Precision *p = l->m->precisions.n ? &l->m->precisions.at[0] : NULL;
    found(l, p ? p->loc : l->d->program->model_at, "precision loss_scale = 0",
          "a loss scale of %s without f16", scale);
}

static void lint_fixed_scale(const Lint *l) {
    const char *scale = l->d->program->loss_scale;
    const Precision *half = line_with(l, FORMAT_f16);
    if (is_fixed(scale) && half)
        found(l, half->loc, "precision f16", "f16 with a loss scale of %s", scale);
}

// ---- memory -------------------------------------------------------------------------------------

static void lint_slack(const Lint *l) {
    const Ledger *g = l->told;
    if (!g->tradeoffs.n || !g->tradeoffs.at[0].taken) return;
    found(l, l->m->recompute.loc, "", "all of it fits, in %s",
          bytes_text(l->d->arena, g->tradeoffs.at[0].bytes));
}

static bool is_counted(const Lint *l, const Demand *a, const Func *f, NodeId n) {
    return demand_selects(l->m, a, f, n) && node_at(f, n)->phase == PHASE_F;
}

static void lint_twice(const Lint *l) {
    const Func *f = module_find(l->m, "step");
    for (uint32_t i = 0; f && i < l->m->demands.n; i++)
        for (uint32_t k = i + 1; k < l->m->demands.n; k++) {
            const Demand *a = &l->m->demands.at[i], *b = &l->m->demands.at[k];
            if (a->kind < DEMAND_recompute || b->kind < DEMAND_recompute || a->kind == b->kind)
                continue;
            for (NodeId n = 0; n < f->nodes.n; n++) {
                if (!is_counted(l, a, f, n) || !is_counted(l, b, f, n)) continue;
                found(l, b->loc, "", "'%s' is kept by one line and computed again by another",
                      driver_round_name(l->d->arena, sym_str(l->m->syms, node_at(f, n)->name)));
                break;
            }
        }
}

// ---- parameters and shapes ----------------------------------------------------------------------

static void lint_frozen(const Lint *l) {
    double all = 0, frozen = 0;
    for (StateId s = 0; s < l->m->states.n; s++) {
        const State *x = &l->m->states.at[s];
        if (x->kind != STATE_param) continue;
        double count = (double)type_count(type_at(l->m, x->type));
        all += count;
        if (x->frozen) frozen += count;
    }
    if (frozen > 0)
        found(l, l->d->program->model_at, "", "%.0f of %.0f parameters learn, %.4g %%",
              all - frozen, all, 100 * (all - frozen) / all);
}

// Axes of matrices, each once.
static void lint_ragged(const Lint *l) {
    enum { ROW = 64 };
    uint8_t *told = NEW_ARRAY(l->d->arena, uint8_t, l->m->axes.n + 1);
    for (StateId s = 0; s < l->m->states.n; s++) {
        const State *x = &l->m->states.at[s];
        const Type *t = type_at(l->m, x->type);
        for (uint32_t i = 0; i < t->n && t->n > 1 && x->kind == STATE_param; i++) {
            AxisId a = t->axes[i].axis;
            int64_t size = t->axes[i].size, up = (size + ROW - 1) / ROW * ROW;
            if (size <= ROW || size == up || told[a]) continue;
            told[a] = 1;
            const char *name = sym_str(l->m->syms, l->m->axes.at[a].name);
            found(l, x->loc, arena_printf(l->d->arena, "%s = %lld", name, (long long)up),
                  "'%s' has %lld, no multiple of 64", name, (long long)size);
        }
    }
}

static void lint_lengths(const Lint *l) {
    const char *run = option(l, "steps");
    for (uint32_t i = 0; run && i < l->d->program->scalars.n; i++) {
        const RunScalar *x = &l->d->program->scalars.at[i];
        size_t n = strlen(x->name);
        bool length = !strncmp(x->name, "lr.", 3) && n > 6 && !strcmp(x->name + n - 6, ".steps");
        if (!length && strcmp(x->name, "lr.steps")) continue;
        if (x->value != strtod(run, NULL))
            found(l, l->d->program->model_at, arena_printf(l->d->arena, "steps %.0f", x->value),
                  "'%s' is %.0f, and the run has %s steps", x->name, x->value, run);
    }
}

static const LintRule rules[] = {
#define LINT(id, name, kind, reason) {#id, reason, LINT_##kind, lint_##name},
#include "tools/lint.def"
#undef LINT
};

void lint(Driver *d) {
    Lint l = {.d = d, .told = d->ledger};
    if (d->program->no_plan || !driver_reload(d, d->family))
        return; // the passes have changed the module
    l.m = d->program->m;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        l.rule = &rules[i];
        l.rule->look(&l);
    }
}

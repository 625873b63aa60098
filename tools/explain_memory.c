// sinter explain --pareto and --kept: what recomputing trades, as tables. The rows are what the pass recompute found
// (passes/recompute_budget.c) and decided; it looks for them although the plan may not ask for a budget.
#include "tools/explain.h"
#include <string.h>

void explain_ask(Driver *d) {
    Recompute *r = &d->program->m->recompute;
    d->ledger->keep_fates = d->o.kept;
    if (d->o.pareto && r->mode != RECOMPUTE_budget)
        *r = (Recompute){.mode = RECOMPUTE_budget, .number = INT64_MAX, .loc = r->loc};
}

void explain_pareto(const Driver *d, Text *to) {
    const Ledger *l = d->ledger;
    if (!d->o.json)
        text_printf(to,
                    "%s: what a training run takes, and what it costs to take less\n%12s %8s %8s\n",
                    d->family, "memory", "of all", "time");
    for (uint32_t i = 0; i < l->tradeoffs.n; i++) {
        const Tradeoff *t = &l->tradeoffs.at[i];
        double share = 100 * (double)t->bytes / (double)l->tradeoffs.at[0].bytes;
        if (d->o.json) {
            text_printf(to,
                        "{\"kind\":\"tradeoff\",\"target\":\"%s\",\"bytes\":%lld,\"slower\":%.4f,"
                        "\"taken\":%s,\"again\":",
                        d->family, (long long)t->bytes, t->slower, t->taken ? "true" : "false");
            text_put_json(to, t->again);
            text_put(to, "}\n", 2);
            continue;
        }
        text_printf(to, "%12s %6.1f %% %+6.1f %%  %s%s%s\n", bytes_text(d->arena, t->bytes), share,
                    t->slower, *t->again ? "+ " : "all kept", t->again,
                    t->taken ? "  <- the plan's budget" : "");
    }
    if (!l->tradeoffs.n && !d->o.json)
        text_printf(to, "nothing is kept for a backward pass\n");
    else if (!d->o.json)
        text_printf(to, "+ names: computed again besides what the rows above name. A budget "
                        "between two rows takes\n"
                        "the lower one in as few rounds as it needs.\n");
}

void explain_kept(const Driver *d, Text *to) {
    const Ledger *l = d->ledger;
    text_printf(to, "%s: what the backward pass reads of the forward pass\n", d->family);
    for (uint32_t i = 0; i < l->lines.n; i++) {
        const Decision *x = &l->lines.at[i];
        bool kept = strcmp(x->rule, "kept") == 0;
        if (strcmp(x->pass, "recompute") || (!kept && strcmp(x->rule, "again"))) continue;
        text_printf(to, "%12s  %-5s  %s", bytes_text(d->arena, x->bytes), kept ? "kept" : "again",
                    x->subject);
        if (x->count > 1) text_printf(to, " x %u", x->count);
        text_printf(to, ": %s\n", x->reason);
    }
}

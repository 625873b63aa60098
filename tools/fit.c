// sinter plan: whether a model's training step fits on devices that need not be there, what it takes there, and
// what would change that. Every figure of memory is of a build by the compiler itself; a remedy is one more build
// with its line in the plan. Only what ranks divide between them is counted: see fit_memory.c.
#include "tools/fit.h"
#include "runtime/setting.h"
#include "tools/fit_search.h"
#include <string.h>

typedef struct {
    Fit x;
    Terms terms;
    Peak peak;
    StepTime time;
    int64_t need, free; // bytes of the device; free may be negative
    FitFound micro, length;
    Remedies remedies;
    double price, tokens; // 0: not asked
    Text *to;
} Report;

// ---- what is asked ------------------------------------------------------------------------------

static bool read_number(const char *option, const char *text, double *to) {
    if (!text) return true;
    if (sn_number(text, to) && *to > 0 && *to < 1e18) return true;
    usage_error("option '%s' takes a number above 0, not '%.60s'", option, text);
    return false;
}

// Multiplications and additions forward in products whose two operands depend on data: attention's.
static double attention_of(const Driver *d) {
    const Module *m = d->program->m;
    const Func *f = module_find(m, "step");
    double flops = 0;
    if (!f || d->program->batch <= 0) return 0;
    uint8_t *data = NEW_ARRAY(d->arena, uint8_t, f->nodes.n + 1);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Node *v = node_at(f, n);
        data[n] = v->op == OP_input && type_of(m, f, n)->n;
        for (uint32_t k = 0; k < v->n; k++) data[n] |= data[operand(f, n, k)];
        if (v->op != OP_contract || !data[operand(f, n, 0)] || !data[operand(f, n, 1)]) continue;
        double work = 2 * (double)type_count(type_of(m, f, n));
        const Attr *at = attr_of(m, f, n);
        const Type *t = type_of(m, f, operand(f, n, 0));
        for (uint32_t k = 0; k < at->contract.axes.n; k++) {
            int i = type_find(t, at->contract.axes.at[k]);
            if (i >= 0) work *= (double)t->axes[i].size;
        }
        flops += work;
    }
    return flops / (double)d->program->batch;
}

// ---- text ---------------------------------------------------------------------------------------

static const char *size_text(Arena *a, int64_t bytes) {
    return bytes < 0 ? arena_printf(a, "-%s", bytes_text(a, -bytes)) : bytes_text(a, bytes);
}

static void put_head(Report *r) {
    const Fit *x = &r->x;
    Arena *a = x->d->arena;
    const FitBuilt *b = &x->base;
    text_printf(r->to, "%s on %s: micro-batch %lld", x->d->program->model_name,
                fleet_text(a, &x->fleet), (long long)b->micro);
    if (b->length) text_printf(r->to, " x %lld", (long long)b->length);
    if (x->fleet.count > 1)
        text_printf(r->to, ", data in %u parts, ZeRO stage %u", x->fleet.count, x->zero);
    if (b->batch < b->micro * x->fleet.count)
        text_printf(r->to,
                    "; a batch of %lld is less than one micro-batch for each, it becomes %lld",
                    (long long)b->batch, (long long)(b->micro * x->fleet.count));
    text_put(r->to, "\n\n", 2);
}

static void put_terms(Report *r) {
    Arena *a = r->x.d->arena;
    text_printf(r->to, "%-34s %14s %12s\n", "memory of a device", "bytes", "");
    for (uint32_t i = 0; i < r->terms.n; i++) {
        const Term *t = &r->terms.at[i];
        text_printf(r->to, "  %-32s %14lld %12s  %s", t->name, (long long)t->bytes,
                    size_text(a, t->bytes), t->formula);
        if (t->unsure) text_printf(r->to, "; \xc2\xb1 %s", size_text(a, t->unsure));
        text_put(r->to, "\n", 1);
    }
    text_printf(r->to, "  %-32s %14lld %12s\n", "all", (long long)r->need, size_text(a, r->need));
}

static const char *place_of(Report *r, const Func *f, NodeId n) {
    const Module *m = r->x.d->program->m;
    Loc at = node_at(f, n)->loc;
    uint32_t line, column;
    if (!at.file) return "";
    diag_position(m->diag, at, &line, &column);
    return arena_printf(r->x.d->arena, " (%s:%u)", m->diag->files.at[at.file].path, line);
}

static void put_peak(Report *r) {
    enum { SHOWN = 8 };
    Arena *a = r->x.d->arena;
    const Module *m = r->x.d->program->m;
    const Func *f = module_find(m, "micro");
    const Peak *p = &r->peak;
    int64_t rest = 0;
    if (!f || p->at == NONE) return;
    text_printf(r->to, "\npeak at '%s'%s, where temporaries of %s are alive:\n",
                peak_name(a, m, f, p->at), place_of(r, f, p->at), size_text(a, p->bytes));
    for (uint32_t i = 0; i < p->alive.n && i < SHOWN; i++)
        text_printf(r->to, "  %-32s %14lld %12s  %u%s\n", p->alive.at[i].name,
                    (long long)p->alive.at[i].bytes, size_text(a, p->alive.at[i].bytes),
                    p->alive.at[i].count, place_of(r, f, p->alive.at[i].first));
    for (uint32_t i = SHOWN; i < p->alive.n; i++) rest += p->alive.at[i].bytes;
    if (rest)
        text_printf(r->to, "  %-32s %14lld %12s\n", "others", (long long)rest, size_text(a, rest));
}

static const char *verdict(Report *r) {
    Arena *a = r->x.d->arena;
    const Fleet *f = &r->x.fleet;
    int64_t weights = fit_weights(&r->x.base, r->x.zero, f->count),
            states = fit_states(&r->x, &r->x.base, r->x.zero, f->count);
    const char *has = size_text(a, f->memory);
    if (weights > f->memory)
        return arena_printf(
            a,
            "does not fit: the weights alone, %s, are more than the %s of a device; "
            "nothing that is kept or computed counts before that",
            size_text(a, weights), has);
    if (states > f->memory)
        return arena_printf(a,
                            "does not fit: parameters, gradients and moments alone, %s, are more "
                            "than the %s of a device",
                            size_text(a, states), has);
    if (r->free < 0)
        return arena_printf(a, "does not fit: %s more than the %s of a device",
                            size_text(a, -r->free), has);
    if (r->free < f->uncertain)
        return arena_printf(a, "may fit: %s of %s are free, less than the context is unsure of",
                            size_text(a, r->free), has);
    return arena_printf(a, "fits: %s of %s are free", size_text(a, r->free), has);
}

static void put_found(Report *r, const char *what, const FitFound *f) {
    if (!f->asked) return;
    text_printf(r->to, "  largest %-24s ", what);
    if (f->fits)
        text_printf(r->to, "%lld", (long long)f->fits);
    else
        text_printf(r->to, "none");
    if (f->fails && *f->why)
        text_printf(r->to, "; %lld is refused: %s", (long long)f->fails, f->why);
    else if (f->fails)
        text_printf(r->to, "; %lld needs %s", (long long)f->fails,
                    size_text(r->x.d->arena, f->needs));
    text_put(r->to, "\n", 1);
}

static void put_remedies(Report *r) {
    Arena *a = r->x.d->arena;
    if (!r->remedies.n) return;
    text_printf(r->to, "\n%-42s %12s %12s %8s\n", "what would change it", "memory", "saves",
                "time");
    for (uint32_t i = 0; i < r->remedies.n; i++) {
        const Remedy *k = &r->remedies.at[i];
        text_printf(r->to, "  %-40s ", k->line);
        if (*k->why) {
            text_printf(r->to, "%s\n", k->why);
            continue;
        }
        text_printf(r->to, "%12s %12s %+7.1f %%  %s\n", size_text(a, k->bytes),
                    size_text(a, r->need - k->bytes), 100 * (k->time - 1) + 0.0,
                    k->bytes <= r->x.fleet.memory ? "fits" : "");
    }
}

static const char *time_text(Arena *a, double seconds) {
    if (seconds < 1e-3) return arena_printf(a, "%.1f us", seconds * 1e6);
    if (seconds < 1) return arena_printf(a, "%.1f ms", seconds * 1e3);
    return arena_printf(a, "%.2f s", seconds);
}

static void put_time(Report *r) {
    const StepTime *t = &r->time;
    const FitBuilt *b = &r->x.base;
    Arena *a = r->x.d->arena;
    const char *unit = b->length ? "tokens" : "samples";
    text_printf(r->to, "\nstep %s, predicted (%s): %u micro-batch%s of %u commands\n",
                time_text(a, t->seconds),
                r->x.rates.source ? arena_printf(a, "calibrated by %s", r->x.rates.source)
                                  : "uncalibrated, \xc2\xb1 30 %",
                t->accum, t->accum == 1 ? "" : "es", b->commands);
    for (int k = 0; k < TIME_KINDS; k++)
        if (t->micro[k] > 0)
            text_printf(r->to, "  %-32s %14s\n", time_names[k], time_text(a, t->micro[k]));
    text_printf(r->to, "  %-32s %14s\n", "update", time_text(a, t->update));
    if (r->x.fleet.count > 1 && t->link > 0)
        text_printf(r->to, "  %-32s %14s  of %s at %.0f GB/s\n", "collectives, not hidden",
                    time_text(a, t->exposed), time_text(a, t->wire), t->link * 1e-9);
    else if (r->x.fleet.count > 1)
        text_printf(r->to, "  %-32s %14s  no network of %s is known\n", "collectives", "\xc2\xb1",
                    r->x.fleet.gpu->name);
    double speed = t->tokens / t->seconds;
    text_printf(r->to, "%.4g %s/s, %.4g a device; ", speed, unit, speed / r->x.fleet.count);
    if (b->length) // of a sample without positions N does not say how often a parameter is used
        text_printf(r->to, "MFU %.1f %% (6 N + 12 L d s of %.4g), ", 100 * t->mfu,
                    fit_flops_per_token(&r->x));
    text_printf(r->to, "HFU %.1f %%\n", 100 * t->hfu);
    if (r->tokens > 0) {
        double hours = r->tokens / speed / 3600;
        text_printf(r->to, "%.4g %s take %.4g hours", r->tokens, unit, hours);
        if (r->price > 0)
            text_printf(r->to, " and cost %.4g at %.4g for a device and hour",
                        hours * r->x.fleet.count * r->price, r->price);
        text_put(r->to, "\n", 1);
    }
}

static void put_text(Report *r) {
    put_head(r);
    put_terms(r);
    text_printf(r->to, "\n%s\n", verdict(r));
    put_found(r, "micro-batch", &r->micro);
    put_found(r, r->x.axis ? r->x.axis : "", &r->length);
    put_peak(r);
    put_remedies(r);
    put_time(r);
}

// ---- JSON ---------------------------------------------------------------------------------------

static void put_key(Text *to, const char *key, const char *value) {
    text_printf(to, ",\"%s\":", key);
    text_put_json(to, value);
}

static void json_found(Report *r, const char *what, const FitFound *f) {
    if (!f->asked) return;
    text_printf(r->to, "{\"kind\":\"largest\"");
    put_key(r->to, "what", what);
    text_printf(r->to, ",\"fits\":%lld,\"fails\":%lld,\"needs\":%lld}\n", (long long)f->fits,
                (long long)f->fails, (long long)f->needs);
}

static void json_alive(Report *r) {
    const Module *m = r->x.d->program->m;
    const Func *f = module_find(m, "micro");
    const Peak *p = &r->peak;
    if (!f || p->at == NONE) return;
    text_printf(r->to, "{\"kind\":\"peak\"");
    put_key(r->to, "value", peak_name(r->x.d->arena, m, f, p->at));
    text_printf(r->to, ",\"bytes\":%lld,\"kept\":%lld}\n", (long long)p->bytes, (long long)p->kept);
    for (uint32_t i = 0; i < p->alive.n; i++) {
        text_printf(r->to, "{\"kind\":\"alive\"");
        put_key(r->to, "value", p->alive.at[i].name);
        text_printf(r->to, ",\"count\":%u,\"bytes\":%lld}\n", p->alive.at[i].count,
                    (long long)p->alive.at[i].bytes);
    }
}

static void put_json(Report *r) {
    const FitBuilt *b = &r->x.base;
    const StepTime *t = &r->time;
    text_printf(r->to, "{\"kind\":\"plan\"");
    put_key(r->to, "model", r->x.d->program->model_name);
    put_key(r->to, "device", r->x.fleet.gpu ? r->x.fleet.gpu->name : "cpu");
    text_printf(r->to,
                ",\"devices\":%u,\"zero\":%u,\"micro\":%lld,\"length\":%lld,\"parameters\":%lld,"
                "\"arena\":%lld,\"states\":%lld,\"weights\":%lld,\"bytes\":%lld,\"memory\":%lld,"
                "\"free\":%lld,"
                "\"unsure\":%lld,\"fits\":%s",
                r->x.fleet.count, r->x.zero, (long long)b->micro, (long long)b->length,
                (long long)(b->held[HELD_direct].count + b->held[HELD_master].count),
                (long long)b->layout.all,
                (long long)fit_states(&r->x, b, r->x.zero, r->x.fleet.count),
                (long long)fit_weights(&r->x.base, r->x.zero, r->x.fleet.count), (long long)r->need,
                (long long)r->x.fleet.memory, (long long)r->free, (long long)r->x.fleet.uncertain,
                r->free >= 0 ? "true" : "false");
    put_key(r->to, "verdict", verdict(r));
    text_put(r->to, "}\n", 2);
    for (uint32_t i = 0; i < r->terms.n; i++) {
        text_printf(r->to, "{\"kind\":\"term\"");
        put_key(r->to, "name", r->terms.at[i].name);
        text_printf(r->to, ",\"bytes\":%lld,\"unsure\":%lld", (long long)r->terms.at[i].bytes,
                    (long long)r->terms.at[i].unsure);
        put_key(r->to, "formula", r->terms.at[i].formula);
        text_put(r->to, "}\n", 2);
    }
    json_alive(r);
    json_found(r, "micro", &r->micro);
    json_found(r, r->x.axis ? r->x.axis : "", &r->length);
    for (uint32_t i = 0; i < r->remedies.n; i++) {
        const Remedy *k = &r->remedies.at[i];
        text_printf(r->to, "{\"kind\":\"remedy\"");
        put_key(r->to, "line", k->line);
        if (*k->why)
            put_key(r->to, "why", k->why);
        else
            text_printf(r->to, ",\"bytes\":%lld,\"time\":%.4f,\"fits\":%s", (long long)k->bytes,
                        k->time, k->bytes <= r->x.fleet.memory ? "true" : "false");
        text_put(r->to, "}\n", 2);
    }
    text_printf(r->to, "{\"kind\":\"time\",\"step\":%.6g,\"micro_batches\":%u", t->seconds,
                t->accum);
    for (int k = 0; k < TIME_KINDS; k++)
        text_printf(r->to, ",\"%s\":%.6g", time_names[k], t->micro[k]);
    text_printf(r->to,
                ",\"update\":%.6g,\"collectives\":%.6g,\"exposed\":%.6g,\"tokens_per_second\":%.6g,"
                "\"flops_per_token\":%.6g,\"mfu\":%.4f,\"hfu\":%.4f,\"calibrated\":%s",
                t->update, t->wire, t->exposed, t->tokens / t->seconds, fit_flops_per_token(&r->x),
                t->mfu, t->hfu, r->x.rates.source ? "true" : "false");
    if (r->tokens > 0) {
        double hours = r->tokens * t->seconds / t->tokens / 3600;
        text_printf(r->to, ",\"hours\":%.6g,\"cost\":%.6g", hours,
                    hours * r->x.fleet.count * r->price);
    }
    text_put(r->to, "}\n", 2);
}

// ---- the command --------------------------------------------------------------------------------

static int prepare(Report *r, Driver *d) {
    Text why = {.arena = d->arena};
    Fit *x = &r->x;
    x->d = d;
    x->zero = (uint32_t)d->o.zero;
    if (!read_number("--price", d->o.price, &r->price) ||
        !read_number("--tokens", d->o.tokens, &r->tokens))
        return EXIT_USAGE;
    if (!fleet_parse(d->arena, d->o.on, &x->fleet, &why)) return usage_error("--on: %s", why.at);
    if (d->o.threads) x->fleet.threads = d->o.threads;
    d->family = x->fleet.gpu ? "cuda" : "cpu";
    fit_rates(&x->fleet, &x->rates);
    if (d->o.calibration && !fit_calibrate(d->arena, &x->fleet, d->o.calibration, &x->rates, &why))
        return driver_error(EXIT_USER, "%s", why.at);
    return 0;
}

int command_plan(Driver *d) {
    Report r = {.to = &(Text){.arena = d->arena}};
    text_put(r.to, "", 0);
    int rc = prepare(&r, d);
    if (rc) return rc;
    Fit *x = &r.x;
    bool ok = driver_load(d) && driver_needs_plan(d);
    if (ok && d->is_ir)
        return driver_error(EXIT_USER, "'%s' is IR, whose sizes are fixed: plan the model",
                            d->o.input);
    if (ok) {
        x->axis = fit_axis(d);
        x->attention = attention_of(d);
        ok = fit_build(x, d, BUILD_all, &x->base);
    }
    rc = driver_report(d);
    if (!ok || rc) return rc ? rc : EXIT_USER;
    x->others = x->base.temp_other > x->base.temp_micro / 2;
    const Func *micro = module_find(d->program->m, "micro");
    r.peak.at = NONE;
    if (micro) r.peak = func_peak(d->arena, d->program->m, micro, target_find(d->family)->align);
    fit_terms(x, &x->base, x->zero, x->fleet.count, &r.terms);
    r.need = fit_bytes(x, &x->base, x->zero, x->fleet.count);
    r.free = x->fleet.memory - r.need;
    fit_time(x, &x->base, x->zero, x->fleet.count, &r.time);
    find_largest(x, &r.micro, &r.length);
    if (r.free < x->fleet.uncertain) find_remedies(x, &r.remedies);
    if (d->o.json)
        put_json(&r);
    else
        put_text(&r);
    return driver_put(d, r.to);
}

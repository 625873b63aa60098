// The plan's lines 'precision': of which numbers, by which names, and how the loss is scaled.
//
//   precision bf16                                    every attribute that a type alone sets
//   precision f32: logits                             the same for what the names select
//   precision forward = bf16, wgrad = f32: attn.w*    attributes apart
//   precision tf32, demand                            an error where that cannot be, not the next wider type
//   precision loss_scale = dynamic(init = 65536)      or a number
//
// The lines go into the module as they stand (Module.precisions): what they select is found where it is
// asked for, after passes have made values that the plan's text knows nothing of. Here each name must select
// something of the model, and each value be one that is compiled. -D stands in the place of the lines without
// names. ir/precision.def has the attributes and formats, runtime/plan.def their ranges.
#include "frontend/elab.h"
#include <string.h>

// ---- tables -------------------------------------------------------------------------------------

enum { OF_VALUES, OF_PARAMS };

static const uint8_t attr_of_params[] = {
#define PRECISION(name, line, of) OF_##of,
#define FORMAT(...)
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
};

enum { LINE_NAME, LINE_TYPE };

static const uint8_t attr_of_type[] = {
#define PRECISION(name, line, of) LINE_##line,
#define FORMAT(...)
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
};

static Format format_named(const char *text) {
    uint32_t i = FORMATS;
    while (--i > FORMAT_unset)
        if (strcmp(format_names[i], text) == 0) break;
    return (Format)i;
}

// The setting of an attribute; the row of precision.def promises that there is one.
static const SnSetting *setting_of(Elab *cx, uint32_t attr) {
    const char *key = arena_printf(cx->arena, "precision.%s", precision_names[attr]);
    const SnSetting *s = sn_setting_find(key);
    CHECK(s, "plan.def has no '%s'", key);
    return s;
}

// ---- lines --------------------------------------------------------------------------------------

static bool compiled(Elab *cx, Loc at, const char *what, Format f) {
    if (format_info[f].on) return true;
    elab_error(cx, at, "'%s %s' is not compiled yet", what, format_names[f]);
    return false;
}

// The word that an expression begins with, "bf16" or "dynamic(…)".
static const char *word_of(const Elab *cx, const Expr *e) {
    if (e->kind == E_call && !e->call.qualifier) return str(cx, e->call.name);
    return e->kind == E_name && !e->name.qualifier ? str(cx, e->name.name) : "";
}

static Format read_format(Elab *cx, const SnSetting *s, const Expr *e) {
    const char *word = word_of(cx, e);
    bool of_another = !sn_setting_text(s, word, NULL) &&
                      sn_setting_text(&sn_settings[SN_SET_precision], word, NULL);
    Format f = format_named(word);
    if (f == FORMAT_i8 && e->kind == E_call && sn_setting_text(s, word, NULL)) {
        const CallArg *size = e->call.args.n == 1 ? &e->call.args.at[0] : NULL;
        Value v = size && !size->name ? eval(cx, size->value) : value_error();
        if (v.kind == V_NUM && v.num == 256) return f;
        elab_error(cx, e->loc, "'i8' is of blocks of 256 numbers: 'i8' or 'i8(256)'");
        return FORMAT_unset;
    }
    if (!of_another && !compiled(cx, e->loc, s->key, f)) return FORMAT_unset;
    word = plan_word(cx, s, e);
    f = word ? format_named(word) : FORMAT_unset; // a text or a constant may say it, too
    return of_another || compiled(cx, e->loc, s->key, f) ? f : FORMAT_unset;
}

static void read_scale(Elab *cx, const PlanLine *l, const CallArg *a) {
    const Expr *e = a->value;
    if (l->has_paths) {
        elab_error(cx, a->loc, "'loss_scale' takes no ': names': there is one loss");
        return;
    }
    for (uint32_t i = SN_SET_loss_scale; i <= SN_SET_loss_scale_least; i++)
        cx->plan.set[i].text = NULL; // of an earlier line
    cx->plan.scale_at = a->loc;
    cx->plan.scale_moves = strcmp(word_of(cx, e), "dynamic") == 0;
    if (!cx->plan.scale_moves) {
        plan_give(cx, SN_SET_loss_scale, e);
        return;
    }
    for (uint32_t i = 0; e->kind == E_call && i < e->call.args.n; i++)
        if (e->call.args.at[i].name)
            plan_option(cx, &e->call.args.at[i], sn_settings[SN_SET_loss_scale].key);
        else
            elab_error(cx, e->call.args.at[i].loc,
                       "'dynamic' takes options by name, as in 'dynamic(init = 65536)'");
}

static void read_attribute(Elab *cx, const PlanLine *l, const CallArg *a, Precision *p) {
    const char *name = str(cx, a->name), *near = NULL;
    if (strcmp(name, "loss_scale") == 0) {
        read_scale(cx, l, a);
        return;
    }
    if (strcmp(name, "scale") == 0) { // of 8-bit operands
        elab_error(cx, a->loc, "'precision.scale' is not compiled yet");
        return;
    }
    for (uint32_t i = 0; i < PRECISIONS; i++) {
        near = sn_nearer(name, near, precision_names[i]);
        if (strcmp(name, precision_names[i]) != 0) continue;
        p->format[i] = (uint8_t)read_format(cx, setting_of(cx, i), a->value);
        return;
    }
    near = sn_nearer(name, near, "loss_scale");
    if (near)
        elab_error(cx, a->loc, "'precision' has no option '%s'; did you mean '%s'?", name, near);
    else
        elab_error(cx, a->loc, "'precision' has no option '%s'", name);
}

// A kind of product is none of memory: there the next wider type.
static void set_type(Elab *cx, Precision *p, Format f) {
    for (uint32_t i = 0; f && i < PRECISIONS; i++)
        if (attr_of_type[i]) {
            bool takes = sn_setting_text(setting_of(cx, i), format_names[f], NULL);
            p->format[i] = (uint8_t)(takes ? f : format_info[f].wider);
        }
}

// f16 has a range of 2^-24 to 65504: without a word about it, the loss is scaled.
static bool scales_dynamically(const Elab *cx) {
    if (cx->plan.set[SN_SET_loss_scale].text) return false;
    for (uint32_t i = 0; i < cx->plan.precisions.n; i++)
        for (uint32_t k = 0; k < PRECISIONS; k++)
            if (cx->plan.precisions.at[i].format[k] == FORMAT_f16) return true;
    return cx->plan.scale_moves;
}

static bool is_set(const Precision *p, bool of_params) {
    for (uint32_t i = 0; i < PRECISIONS; i++)
        if (p->format[i] && (of_params || !attr_of_params[i])) return true;
    return false;
}

void plan_precision(Elab *cx, const PlanLine *l) {
    Precision p = {.path = sym(cx->syms, "*"), .loc = l->loc};
    for (uint32_t i = 0; i < l->items.n; i++) {
        const CallArg *a = &l->items.at[i];
        if (a->name)
            read_attribute(cx, l, a, &p);
        else if (i > 0)
            p.demand = true; // the one other word that the line takes
        else
            set_type(cx, &p, read_format(cx, &sn_settings[SN_SET_precision], a->value));
    }
    if (!is_set(&p, true)) return;
    if (!l->has_paths) vec_push(cx->arena, &cx->plan.precisions, p);
    for (uint32_t i = 0; l->has_paths && i < l->paths.n; i++) {
        p.path = l->paths.at[i].text, p.loc = l->paths.at[i].loc;
        vec_push(cx->arena, &cx->plan.precisions, p);
        cx->plan.named = true;
    }
}

// ---- the command line ---------------------------------------------------------------------------

static Format defined_format(Elab *cx, SnSettingId id) {
    const char *text = cx->plan.set[id].text;
    Format f = text ? format_named(text) : FORMAT_unset;
    if (format_info[f].on) return f;
    diag_error(cx->diag, (Loc){0}, "-D %s=%s is not compiled yet", sn_settings[id].key, text);
    return FORMAT_unset;
}

void plan_precision_defines(Elab *cx) {
    Precision first = {.path = sym(cx->syms, "*")};
    set_type(cx, &first, defined_format(cx, SN_SET_precision));
    for (uint32_t k = 0; k < PRECISIONS; k++) {
        Format f = defined_format(cx, (SnSettingId)(setting_of(cx, k) - sn_settings));
        if (f) first.format[k] = (uint8_t)f;
    }
    for (uint32_t i = 0; i < cx->plan.precisions.n; i++) {
        Precision *p = &cx->plan.precisions.at[i];
        for (uint32_t k = 0; k < PRECISIONS && p->path == first.path; k++)
            if (first.format[k] && p->format[k]) p->format[k] = first.format[k];
    }
    if (is_set(&first, true)) { // what no line says
        vec_push(cx->arena, &cx->plan.precisions, first);
        for (uint32_t i = cx->plan.precisions.n - 1; i > 0; i--)
            cx->plan.precisions.at[i] = cx->plan.precisions.at[i - 1];
        cx->plan.precisions.at[0] = first;
    }
    const SnSettingId fixed = SN_SET_loss_scale, dynamic = SN_SET_loss_scale_init;
    if (cx->plan.set[fixed].text && !cx->plan.set[fixed].loc.file) cx->plan.scale_moves = false;
    for (uint32_t i = dynamic; i <= SN_SET_loss_scale_least; i++)
        if (cx->plan.set[i].text && !cx->plan.set[i].loc.file && !scales_dynamically(cx))
            diag_error(cx->diag, (Loc){0}, "-D %s: the plan has no dynamic loss scale",
                       sn_settings[i].key);
}

// ---- names --------------------------------------------------------------------------------------

static bool selects_param(Elab *cx, const Precision *p) {
    for (StateId s = 0; s < cx->m->states.n; s++)
        if (cx->m->states.at[s].kind == STATE_param &&
            precision_selects(cx->m, p, cx->m->states.at[s].path))
            return true;
    return false;
}

static bool selects_value(Elab *cx, const Precision *p) {
    for (FuncId i = 0; i < cx->m->funcs.n; i++) {
        const Func *f = cx->m->funcs.at[i];
        for (NodeId n = 0; n < f->nodes.n; n++)
            if (op_info[node_at(f, n)->op].kind != OPK_LEAF && node_at(f, n)->phase == PHASE_F &&
                precision_selects(cx->m, p, node_at(f, n)->name))
                return true;
    }
    return false;
}

// A line for the values that the model's text names otherwise than the calls that compute them do.
static bool add_given_names(Elab *cx, const Precision *p) {
    bool found = false;
    Map seen = {.arena = cx->arena};
    for (uint32_t i = 0; i < cx->plan.names.n; i++) {
        const ValueName *x = &cx->plan.names.at[i];
        Precision named = *p;
        bool fresh;
        named.path = x->node, named.exact = true;
        if (!precision_selects(cx->m, p, x->given) || precision_selects(cx->m, p, x->node))
            continue;
        map_slot(&seen, x->node, &fresh);
        if (!fresh || !selects_value(cx, &named)) continue;
        vec_push(cx->arena, &cx->m->precisions, named);
        found = true;
    }
    return found;
}

void plan_precision_names(Elab *cx) {
    for (uint32_t i = 0; i < cx->plan.precisions.n; i++) {
        const Precision *p = &cx->plan.precisions.at[i];
        bool of_values = is_set(p, false), all = strcmp(str(cx, p->path), "*") == 0;
        vec_push(cx->arena, &cx->m->precisions, *p);
        bool found = all || selects_param(cx, p);
        if (of_values && !all) {
            bool value = selects_value(cx, p), named = add_given_names(cx, p);
            found |= value || named;
        }
        if (!found)
            elab_error(cx, p->loc, "'%s' matches no parameter%s", str(cx, p->path),
                       of_values ? " or value" : "");
    }
}

// ---- the loss scale -----------------------------------------------------------------------------

bool plan_loss_scale(Elab *cx, LossScale *s) {
    bool fixed = cx->plan.set[SN_SET_loss_scale].text != NULL;
    *s = (LossScale){.loc = cx->plan.scale_at, .moves = scales_dynamically(cx)};
    s->init = plan_number(cx, s->moves ? SN_SET_loss_scale_init : SN_SET_loss_scale, 0);
    s->growth = plan_number(cx, SN_SET_loss_scale_growth, 0);
    s->backoff = plan_number(cx, SN_SET_loss_scale_backoff, 0);
    s->every = plan_number(cx, SN_SET_loss_scale_every, 0);
    s->hysteresis = plan_number(cx, SN_SET_loss_scale_hysteresis, 0);
    s->least = plan_number(cx, SN_SET_loss_scale_least, 0);
    if (s->moves && s->least > s->init)
        elab_error(cx, s->loc, "the least loss scale is %s, above the first, %s",
                   number_text(cx, s->least), number_text(cx, s->init));
    return s->moves || (fixed && s->init > 0);
}

// Prints types, functions and modules as text. ir/parse.c is the inverse; docs/ir.md has the
// grammar.
//
// The text is canonical: it depends on the module's meaning only, not on how its tables grew.
// Source files are numbered by first use, regions stand inside the first group that uses them.
// Linear in the size of the text.
#include "ir/attr.h"
#include <ctype.h>
#include <string.h>

typedef struct {
    Text *to;
    const Module *m;
    Map file_numbers;   // Sym of a path -> number in the header
    VEC(Sym) files;     // in order of number, from 1
    uint8_t *printed;   // by FuncId
    uint32_t next_func; // the id that a function without '#' would get in the parser
} IrPrinter;

static void put(IrPrinter *p, const char *s) { text_put(p->to, s, strlen(s)); }

static bool is_bare(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '.') return false;
    return true;
}

static void put_quoted(IrPrinter *p, const char *s) {
    put(p, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 32 || c == 127 || c == '"' || c == '\\')
            text_printf(p->to, "\\x%02x", c);
        else
            text_put(p->to, s, 1);
    }
    put(p, "\"");
}

static void put_name(IrPrinter *p, Sym name) {
    const char *s = sym_str(p->m->syms, name);
    if (is_bare(s))
        put(p, s);
    else
        put_quoted(p, s);
}

static void put_axis(IrPrinter *p, AxisId a) { put_name(p, p->m->axes.at[a].name); }

static void put_mesh_axis(IrPrinter *p, uint32_t mesh) { put_name(p, p->m->mesh[mesh].name); }

// f32[batch/data=4, dim=8] +tensor: of 'batch' the part of a rank of 'data', summands over 'tensor'.
static void put_type(IrPrinter *p, const Type *t) {
    put(p, elem_info[t->elem].name);
    for (uint32_t i = 0; i < t->n; i++) {
        put(p, i ? ", " : "[");
        put_axis(p, t->axes[i].axis);
        for (uint32_t k = 0; k < MAX_NEST && t->axes[i].split[k]; k++)
            put(p, "/"), put_mesh_axis(p, t->axes[i].split[k] - 1u);
        text_printf(p->to, "=%lld", (long long)t->axes[i].size);
    }
    if (t->n) put(p, "]");
    for (uint32_t k = 0; k < PARTIALS; k++)
        for (uint32_t i = 0; i < p->m->meshes; i++)
            if (t->partial[k] >> i & 1)
                text_printf(p->to, " %c", partial_marks[k]), put_mesh_axis(p, i);
}

void ir_print_type(Text *to, const Module *m, TypeId t) {
    IrPrinter p = {.to = to, .m = m};
    put_type(&p, type_at(m, t));
}

// ---- attributes

static bool is_zero(const void *at, size_t n) {
    const char *s = at;
    for (size_t i = 0; i < n; i++)
        if (s[i]) return false;
    return true;
}

// What reads as nothing when it is zero.
static bool is_omitted(const AttrField *f, const void *at) {
    bool may = f->kind == FIELD_AXIS || f->kind == FIELD_AXES || f->kind == FIELD_I64 ||
               f->kind == FIELD_SYM;
    return may && is_zero(at, f->size);
}

static void put_axes(IrPrinter *p, const AxisList *l) {
    put(p, "(");
    for (uint32_t i = 0; i < l->n; i++) {
        if (i) put(p, ", ");
        put_axis(p, l->at[i]);
    }
    put(p, ")");
}

static void put_func_id(IrPrinter *p, FuncId id) {
    text_printf(p->to, "#%u", id);
    if (id >= p->next_func) p->next_func = id + 1;
}

static void put_mesh(IrPrinter *p, uint32_t set) {
    const char *sep = "(";
    for (uint32_t i = 0; i < p->m->meshes; i++) {
        if (!(set >> i & 1)) continue;
        put(p, sep), put_mesh_axis(p, i);
        sep = ", ";
    }
    put(p, sep[0] == ',' ? ")" : "()");
}

static void put_value(IrPrinter *p, const AttrField *f, const void *at) {
    char buf[32];
    uint32_t n;
    switch ((FieldKind)f->kind) {
    case FIELD_AXIS: put_axis(p, *(const AxisId *)at); return;
    case FIELD_AXES: put_axes(p, at); return;
    case FIELD_I64: text_printf(p->to, "%lld", (long long)*(const int64_t *)at); return;
    case FIELD_F64: put(p, format_double(buf, *(const double *)at)); return;
    case FIELD_SYM: put_name(p, *(const Sym *)at); return;
    case FIELD_DTYPE: put(p, elem_info[*(const uint32_t *)at].name); return;
    case FIELD_STATE: put_name(p, p->m->states.at[*(const StateId *)at].path); return;
    case FIELD_FUNC: put_func_id(p, *(const FuncId *)at); return;
    case FIELD_MESH: put_mesh(p, *(const uint32_t *)at); return;
    case FIELD_REDUCE:
    case FIELD_FOLD:
    case FIELD_GROUP: put(p, field_names((FieldKind)f->kind, &n)[*(const uint32_t *)at]); return;
    }
    unreachable(f->kind);
}

static void put_attr(IrPrinter *p, const Attr *a) {
    uint32_t first, n = attr_record((AttrKind)a->kind, &first);
    const char *sep = " {";
    for (uint32_t i = first; i < first + n; i++) {
        const AttrField *f = &attr_fields[i];
        const void *at = attr_field_const(a, f);
        if (is_omitted(f, at)) continue;
        text_printf(p->to, "%s%s=", sep, f->name);
        put_value(p, f, at);
        sep = ", ";
    }
    if (sep[0] == ',') put(p, "}");
}

// ---- functions

// The header's number of a source file; 0: nowhere, or the file is unknown.
static uint32_t file_number(IrPrinter *p, Loc loc) {
    const Diag *d = p->m->diag;
    if (!loc.file || !d || loc.file >= d->files.n || !p->file_numbers.arena) return 0;
    Sym path = sym(p->m->syms, d->files.at[loc.file].path);
    bool fresh;
    uint32_t *number = map_slot(&p->file_numbers, path, &fresh);
    if (fresh) {
        vec_push(p->to->arena, &p->files, path);
        *number = p->files.n;
    }
    return *number;
}

static void put_mem(IrPrinter *p, Mem mem) {
    if (mem.region != REGION_none)
        text_printf(p->to, " @%s+%lld", region_names[mem.region], (long long)mem.offset);
}

static void put_loc(IrPrinter *p, Loc loc) {
    uint32_t file = file_number(p, loc);
    if (file) text_printf(p->to, " @%u:%u-%u", file, loc.start, loc.end);
}

static void put_node(IrPrinter *p, const Func *f, NodeId id) {
    const Node *n = node_at(f, id);
    text_printf(p->to, "%%%u = %s", id, op_info[n->op].name);
    for (uint32_t i = 0; i < n->n; i++)
        text_printf(p->to, "%s%%%u", i ? ", " : " ", operand(f, id, i));
    put(p, " : ");
    put_type(p, type_at(p->m, n->type));
    put_attr(p, attr_at(p->m, n->attr));
    if (n->phase != PHASE_F) text_printf(p->to, " !%c", phase_letters[n->phase]);
    if (n->inst.repeat) text_printf(p->to, " inst=%u.%u", n->inst.repeat, n->inst.round);
    if (n->tmpl) text_printf(p->to, " tmpl=%u", n->tmpl - 1);
    if (n->ordinal) text_printf(p->to, ".%u", n->ordinal - 1);
    if (n->clone) text_printf(p->to, " clone=%u", n->clone);
    if (n->name) {
        put(p, " ");
        put_quoted(p, sym_str(p->m->syms, n->name));
    }
    if (f->mem.n) put_mem(p, f->mem.at[id]);
    put_loc(p, n->loc);
}

static void put_indent(IrPrinter *p, int depth) {
    for (int i = 0; i < depth; i++) put(p, "  ");
}

static void put_body(IrPrinter *p, const Func *f, int depth);

// The regions of a node, each inside the first node that has it.
static void put_regions(IrPrinter *p, const Node *n, int depth) {
    Attr a = *attr_at(p->m, n->attr);
    for (uint32_t i = 0; attr_body(&a, i); i++) {
        FuncId id = *attr_body(&a, i);
        if (id >= p->m->funcs.n || p->printed[id] || !p->m->funcs.at[id]->region) continue;
        p->printed[id] = 1;
        const Func *body = p->m->funcs.at[id];
        put(p, " region ");
        put_name(p, body->name);
        put_body(p, body, depth);
    }
}

static void put_body(IrPrinter *p, const Func *f, int depth) {
    put(p, f->mem.n ? " planned {\n" : " {\n");
    for (NodeId i = 0; i < f->nodes.n; i++) {
        put_indent(p, depth + 1);
        put_node(p, f, i);
        put_regions(p, node_at(f, i), depth + 1);
        put(p, "\n");
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        const Result *r = &f->results.at[i];
        put_indent(p, depth + 1);
        text_printf(p->to, "%s ", result_names[r->kind]);
        put_name(p, r->name);
        text_printf(p->to, " = %%%u\n", r->node);
    }
    put_indent(p, depth);
    put(p, "}");
}

static void put_func(IrPrinter *p, FuncId id) {
    const Func *f = p->m->funcs.at[id];
    p->printed[id] = 1;
    put(p, f->region ? "region " : "func ");
    put_name(p, f->name);
    if (id != p->next_func)
        put(p, " "), put_func_id(p, id);
    else
        p->next_func++;
    put_body(p, f, 0);
    put(p, "\n");
}

static IrPrinter printer_new(Text *to, const Module *m) {
    IrPrinter p = {.to = to, .m = m};
    p.printed = NEW_ARRAY(to->arena, uint8_t, m->funcs.n + 1);
    return p;
}

void ir_print_func(Text *to, const Module *m, const Func *f) {
    IrPrinter p = printer_new(to, m);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (m->funcs.at[i] == f) {
            p.next_func = i;
            put_func(&p, i);
        }
}

static void put_files(IrPrinter *p) {
    const Module *m = p->m;
    for (uint32_t i = 1; i < m->repeats.n; i++) file_number(p, m->repeats.at[i].loc);
    for (StateId i = 0; i < m->states.n; i++) file_number(p, m->states.at[i].loc);
    file_number(p, m->recompute.loc);
    for (uint32_t i = 0; i < m->demands.n; i++) file_number(p, m->demands.at[i].loc);
    for (uint32_t i = 0; i < m->precisions.n; i++) file_number(p, m->precisions.at[i].loc);
    for (FuncId i = 0; i < m->funcs.n; i++)
        for (NodeId n = 0; n < m->funcs.at[i]->nodes.n; n++)
            file_number(p, m->funcs.at[i]->nodes.at[n].loc);
    for (uint32_t i = 0; i < p->files.n; i++) {
        text_printf(p->to, "file %u ", i + 1);
        put_quoted(p, sym_str(m->syms, p->files.at[i]));
        put(p, "\n");
    }
}

static void put_repeat(IrPrinter *p, const Repeat *r) {
    put(p, "repeat ");
    put_name(p, r->axis);
    text_printf(p->to, " = %lld", (long long)r->rounds);
    if (r->parent) text_printf(p->to, " in %u", r->parent);
    put_loc(p, r->loc);
    put(p, "\n");
}

static void put_state(IrPrinter *p, const State *s) {
    put(p, "state ");
    put_name(p, s->path);
    put(p, " : ");
    put_type(p, type_at(p->m, s->type));
    text_printf(p->to, " %s", state_kind_names[s->kind]);
    if (s->frozen) put(p, " frozen");
    if (s->n_batch) text_printf(p->to, " n_batch=%u", s->n_batch);
    if (s->n_in) text_printf(p->to, " n_in=%u", s->n_in);
    if (s->of != NONE) put(p, " of="), put_name(p, p->m->states.at[s->of].path);
    if (s->local != NONE) put(p, " local="), put_type(p, type_at(p->m, s->local));
    put_mem(p, s->mem);
    put_loc(p, s->loc);
    put(p, "\n");
}

static void put_demand(IrPrinter *p, const Demand *d) {
    text_printf(p->to, "%s ", demand_names[d->kind]);
    put_name(p, d->path);
    if (d->exact) put(p, " exact");
    put_loc(p, d->loc);
    put(p, "\n");
}

static void put_precision(IrPrinter *p, const Precision *l) {
    const char *sep = " {";
    put(p, "precision ");
    put_name(p, l->path);
    if (l->exact) put(p, " exact");
    if (l->demand) put(p, " demand");
    for (uint32_t i = 0; i < PRECISIONS; i++) {
        if (!l->format[i]) continue;
        text_printf(p->to, "%s%s=%s", sep, precision_names[i], format_names[l->format[i]]);
        sep = ", ";
    }
    put(p, sep[0] == ',' ? "}" : " {}");
    put_loc(p, l->loc);
    put(p, "\n");
}

static void put_recompute(IrPrinter *p, const Recompute *r) {
    text_printf(p->to, "recomputes %s", recompute_names[r->mode]);
    if (r->mode) text_printf(p->to, " %lld", (long long)r->number);
    if (r->axis) put(p, " in "), put_name(p, r->axis);
    put_loc(p, r->loc);
    put(p, "\n");
}

void ir_print_module(Text *to, const Module *m) {
    IrPrinter p = printer_new(to, m);
    p.file_numbers.arena = to->arena;
    put_files(&p);
    if (m->meshes) put(&p, "mesh");
    for (uint32_t i = 0; i < m->meshes; i++) {
        put(&p, " "), put_mesh_axis(&p, i);
        text_printf(to, "=%u", m->mesh[i].ranks);
    }
    if (m->meshes) put(&p, "\n");
    for (AxisId i = 1; i < m->axes.n; i++) {
        put(&p, "axis ");
        put_axis(&p, i);
        text_printf(to, " = %lld%s\n", (long long)m->axes.at[i].size,
                    m->axes.at[i].sample ? " sample" : "");
    }
    for (uint32_t i = 0; i < m->shards.n; i++) {
        put(&p, "shard "), put_mesh_axis(&p, m->shards.at[i].mesh);
        put(&p, " "), put_axes(&p, &m->shards.at[i].axes);
        put(&p, "\n");
    }
    if (m->whole_step) put(&p, "whole step\n");
    if (m->whole_eval) put(&p, "whole eval\n");
    if (m->whole_predict) put(&p, "whole predict\n");
    if (m->sweep_rows)
        text_printf(to, "sweep above=%lld rows=%lld\n", (long long)m->sweep_above,
                    (long long)m->sweep_rows);
    if (m->merge) text_printf(to, "merges %s\n", merge_names[m->merge]);
    for (uint32_t i = 1; i < m->repeats.n; i++) put_repeat(&p, &m->repeats.at[i]);
    for (StateId i = 0; i < m->states.n; i++) put_state(&p, &m->states.at[i]);
    if (m->recompute.mode) put_recompute(&p, &m->recompute);
    for (uint32_t i = 0; i < m->demands.n; i++) put_demand(&p, &m->demands.at[i]);
    for (uint32_t i = 0; i < m->precisions.n; i++) put_precision(&p, &m->precisions.at[i]);
    if (m->rounded) put(&p, "rounded\n");
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region) put_func(&p, i);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!p.printed[i]) put_func(&p, i);
}

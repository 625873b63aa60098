// sinter params: what a model's parameters are, and what becomes of each. Equal ones of the rounds of a repeat
// are one row unless --all is given; --json writes an object for each, for programs.
#include "tools/driver.h"
#include <inttypes.h>
#include <string.h>

static const char *path_of(const Driver *d, StateId s) {
    return sym_str(d->syms, d->program->m->states.at[s].path);
}

// ---- rows ---------------------------------------------------------------------------------------

// The optimizer with its options and the rate, as written; parameters that share them are a group.
typedef struct {
    const char *optimizer, *rate;
    int64_t tensors, count, moments;
} Group;

typedef struct {
    const char *name, *shape, *initial, *group;
    StateKind kind;
    int64_t rounds, count; // tensors, numbers in each
} ParamRow;

typedef struct {
    Driver *d;
    VEC(Group) groups;
    VEC(ParamRow) rows;
} Table;

static StateNote note_of(const Driver *d, StateId s) {
    return s < d->program->notes.n ? d->program->notes.at[s] : (StateNote){0};
}

static int64_t count_of(const Driver *d, StateId s) {
    const Module *m = d->program->m;
    return type_count(type_at(m, m->states.at[s].type));
}

// "expert=8: dim=64 -> ff=256": the declared axes with their extents, each, in and out.
static const char *shape_of(const Driver *d, StateId s) {
    const Module *m = d->program->m;
    const State *x = &m->states.at[s];
    const Type *t = type_at(m, x->type);
    Text to = {.arena = d->arena};
    text_put(&to, "", 0);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t in = x->n_batch + x->n_in;
        const char *before = i == 0               ? ""
                             : i == x->n_batch    ? ": "
                             : i == in && x->n_in ? " -> "
                                                  : ", ";
        text_printf(&to, "%s%s=%lld", before, sym_str(m->syms, m->axes.at[t->axes[i].axis].name),
                    (long long)t->axes[i].size);
    }
    return to.n ? to.at : "-";
}

static bool same_text(const char *a, const char *b) { return strcmp(a ? a : "", b ? b : "") == 0; }

// The number of the group, from 1; 0: it does not learn.
static uint32_t group_of(Table *t, StateId s) {
    StateNote n = note_of(t->d, s);
    if (!n.optimizer) return 0;
    for (uint32_t i = 0; i < t->groups.n; i++)
        if (same_text(t->groups.at[i].optimizer, n.optimizer) &&
            same_text(t->groups.at[i].rate, n.rate))
            return i + 1;
    vec_push(t->d->arena, &t->groups, ((Group){.optimizer = n.optimizer, .rate = n.rate}));
    return t->groups.n;
}

static ParamRow row_of(Table *t, StateId s) {
    const State *x = &t->d->program->m->states.at[s];
    uint32_t group = x->kind == STATE_param ? group_of(t, s) : 0;
    StateNote n = note_of(t->d, s);
    ParamRow r = {.name = path_of(t->d, s),
                  .shape = shape_of(t->d, s),
                  .initial = n.initial ? n.initial : "-",
                  .group = x->frozen ? "frozen"
                           : group   ? arena_printf(t->d->arena, "%u", group)
                                     : "-",
                  .kind = (StateKind)x->kind,
                  .rounds = 1,
                  .count = count_of(t->d, s)};
    if (group) t->groups.at[group - 1].tensors++;
    if (group) t->groups.at[group - 1].count += r.count;
    return r;
}

// Adds a row, or a round to the row before that is equal but for the number of its round.
static void add_row(Table *t, ParamRow r, bool all, Map *at) {
    const char *name = driver_round_name(t->d->arena, r.name);
    bool fresh;
    uint64_t key = hash_bytes(HASH_SEED, name, strlen(name) + 1);
    key = hash_bytes(key, r.shape, strlen(r.shape) + 1);
    key = hash_bytes(key, r.initial, strlen(r.initial) + 1);
    key = hash_bytes(key, r.group, strlen(r.group) + 1);
    uint32_t *slot = all ? NULL : map_slot(at, key, &fresh);
    if (slot && !fresh) {
        t->rows.at[*slot].rounds++;
        t->rows.at[*slot].name = name;
        return;
    }
    if (slot) *slot = t->rows.n;
    vec_push(t->d->arena, &t->rows, r);
}

// ---- tables of text -----------------------------------------------------------------------------

enum { COLUMNS = 5 };

// Rows of cells as wide as the widest of their column; the columns in `right` are aligned there.
static void print_cells(Text *to, const char *const (*cells)[COLUMNS], uint32_t n, uint32_t right) {
    size_t width[COLUMNS] = {0};
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < COLUMNS; c++)
            if (cells[i][c] && strlen(cells[i][c]) > width[c]) width[c] = strlen(cells[i][c]);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t c = 0; c < COLUMNS && cells[i][c]; c++) {
            bool last = c + 1 == COLUMNS || !cells[i][c + 1];
            int w = last && !(right >> c & 1) ? 0 : (int)width[c];
            text_printf(to, "%s%*s", c ? "  " : "", right >> c & 1 ? w : -w, cells[i][c]);
        }
        text_put(to, "\n", 1);
    }
}

static const char *number(Table *t, int64_t n) { return arena_printf(t->d->arena, "%" PRId64, n); }

static const char *times(Table *t, int64_t rounds, int64_t n) {
    return rounds == 1 ? number(t, n)
                       : arena_printf(t->d->arena, "%" PRId64 " x %" PRId64, rounds, n);
}

static void print_rows(Table *t, Text *to, bool params) {
    const char *(*cells)[COLUMNS] = arena_alloc(t->d->arena, (t->rows.n + 1) * sizeof *cells);
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->rows.n; i++) {
        const ParamRow *r = &t->rows.at[i];
        if (r->kind == STATE_moment || (r->kind == STATE_param) != params) continue;
        if (!n) {
            const char *head[] = {params ? "parameter" : "state", "shape", "initial", "count",
                                  "group"};
            memcpy(cells[n++], head, sizeof head);
        }
        const char *cell[] = {r->name, r->shape, r->initial, times(t, r->rounds, r->count),
                              r->group};
        memcpy(cells[n], cell, sizeof cell);
        if (!params) cells[n][4] = NULL;
        n++;
    }
    if (n && !params) cells[0][4] = NULL;
    if (n && to->n) text_put(to, "\n", 1);
    print_cells(to, (const char *const(*)[COLUMNS])cells, n, 1u << 3);
}

static void print_groups(Table *t, Text *to) {
    const char *(*cells)[COLUMNS] = arena_alloc(t->d->arena, (t->groups.n + 1) * sizeof *cells);
    const char *head[] = {"group", "optimizer", "rate", "parameters", "count"};
    if (!t->groups.n) return;
    memcpy(cells[0], head, sizeof head);
    for (uint32_t i = 0; i < t->groups.n; i++) {
        const Group *g = &t->groups.at[i];
        const char *cell[] = {number(t, i + 1), g->optimizer, g->rate ? g->rate : "-",
                              number(t, g->tensors), number(t, g->count)};
        memcpy(cells[i + 1], cell, sizeof cell);
    }
    text_put(to, "\n", 1);
    print_cells(to, (const char *const(*)[COLUMNS])cells, t->groups.n + 1, 1u << 3 | 1u << 4);
}

static void put_total(Text *to, const char *what, int64_t tensors, int64_t count) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)count * 4;
    int unit = 0;
    for (; size >= 1024 && unit < 4; unit++) size /= 1024;
    text_printf(to, "%-11s %12" PRId64 " in %" PRId64 " tensor%s, %.*f %s\n", what, count, tensors,
                tensors == 1 ? "" : "s", unit > 0, size, units[unit]);
}

static void print_totals(Table *t, Text *to) {
    int64_t count[4] = {0}, tensors[4] = {0}; // learning, frozen, moments, other states
    const Module *m = t->d->program->m;
    for (StateId s = 0; s < m->states.n; s++) {
        const State *x = &m->states.at[s];
        if (x->kind == STATE_accum) continue;
        int of = x->kind == STATE_param ? x->frozen != 0 : x->kind == STATE_moment ? 2 : 3;
        count[of] += count_of(t->d, s);
        tensors[of]++;
    }
    text_put(to, "\n", 1);
    put_total(to, "parameters", tensors[0] + tensors[1], count[0] + count[1]);
    put_total(to, "  learning", tensors[0], count[0]);
    put_total(to, "  frozen", tensors[1], count[1]);
    put_total(to, "moments", tensors[2], count[2]);
    if (tensors[3]) put_total(to, "states", tensors[3], count[3]);
}

// ---- objects of JSON ----------------------------------------------------------------------------

static void put_axes(Text *to, const Module *m, const Type *t, uint32_t first, uint32_t end) {
    text_put(to, "[", 1);
    for (uint32_t i = first; i < end; i++) {
        if (i > first) text_put(to, ",", 1);
        text_put_json(to, sym_str(m->syms, m->axes.at[t->axes[i].axis].name));
    }
    text_put(to, "]", 1);
}

static void put_key(Text *to, const char *key, const char *value) {
    text_printf(to, ",\"%s\":", key);
    if (value)
        text_put_json(to, value);
    else
        text_put(to, "null", 4);
}

static void print_json(Table *t, Text *to, StateId s) {
    const Module *m = t->d->program->m;
    const State *x = &m->states.at[s];
    const Type *type = type_at(m, x->type);
    StateNote n = note_of(t->d, s);
    uint32_t group = x->kind == STATE_param ? group_of(t, s) : 0;
    text_printf(to, "{\"kind\":\"%s\"",
                x->kind == STATE_param    ? "parameter"
                : x->kind == STATE_moment ? "moment"
                                          : "state");
    put_key(to, "name", path_of(t->d, s));
    text_put(to, ",\"each\":", 8);
    put_axes(to, m, type, 0, x->n_batch);
    text_put(to, ",\"in\":", 6);
    put_axes(to, m, type, x->n_batch, x->n_batch + (uint32_t)x->n_in);
    text_put(to, ",\"out\":", 7);
    put_axes(to, m, type, x->n_batch + (uint32_t)x->n_in, type->n);
    text_put(to, ",\"shape\":[", 10);
    for (uint32_t i = 0; i < type->n; i++)
        text_printf(to, "%s%" PRId64, i ? "," : "", type->axes[i].size);
    text_printf(to, "],\"count\":%" PRId64 ",\"frozen\":%s", count_of(t->d, s),
                x->frozen ? "true" : "false");
    put_key(to, "optimizer", n.optimizer);
    put_key(to, "rate", n.rate);
    text_printf(to, group ? ",\"group\":%u" : ",\"group\":null", group);
    put_key(to, "initial", n.initial);
    if (x->kind == STATE_moment) put_key(to, "of", path_of(t->d, x->of));
    text_put(to, "}\n", 2);
}

// ---- the command --------------------------------------------------------------------------------

int command_params(Driver *d) {
    Table t = {.d = d};
    Map at = {.arena = d->arena};
    Text to = {.arena = d->arena};
    text_put(&to, "", 0);
    bool ok = driver_load(d);
    int rc = driver_report(d);
    if (!ok || rc) return rc ? rc : EXIT_USER;
    for (StateId s = 0; s < d->program->m->states.n; s++)
        if (d->program->m->states.at[s].kind ==
            STATE_accum) // of a dump: no step leaves anything in it
            continue;
        else if (d->o.json)
            print_json(&t, &to, s);
        else
            add_row(&t, row_of(&t, s), d->o.all, &at);
    if (!d->o.json) {
        print_rows(&t, &to, true);
        print_rows(&t, &to, false);
        print_groups(&t, &to);
        print_totals(&t, &to);
    }
    return driver_put(d, &to);
}

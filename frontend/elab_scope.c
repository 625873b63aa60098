// Scopes and the errors that arise in them.
//
// A scope is a list searched from its end; one that has grown long has an index. A
// name is looked up through the parents: rounds of a repeat, the body, the file, std.sn. A callee's
// parent is the file that holds it, so it sees nothing of its caller.
//
// Errors inside std.sn are shown where the user's text called it: that is the line that can be
// changed. Since a body is walked once per use, the same fault is met many times; 'reported' keeps
// one of each. Cost: O(1) per look-up and scope; a suggestion looks at many names, so only the first
// errors get one.
#include "frontend/elab.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum {
    SHORT = 16,         // names that a scope has without an index
    MAX_SUGGESTED = 100 // errors that get a suggestion
};

const char *str(const Elab *cx, Sym s) { return sym_str(cx->syms, s); }

const char *number_text(Elab *cx, double x) {
    char buf[32];
    if (x == floor(x) && fabs(x) < 1e15) return arena_printf(cx->arena, "%.0f", x);
    return arena_printf(cx->arena, "%s", format_double(buf, x));
}

Scope *scope_new(Elab *cx, Scope *parent, bool is_file) {
    Scope *s = NEW(cx->arena, Scope);
    s->parent = parent;
    s->is_file = is_file;
    s->index.arena = cx->arena;
    return s;
}

static uint64_t name_key(Sym name, NameSpace space) { return ((uint64_t)name << 2) | space; }

Binding *scope_local(Scope *s, Sym name, NameSpace space) {
    if (s->items.n > SHORT) {
        const uint32_t *at = map_find(&s->index, name_key(name, space));
        return at && *at ? &s->items.at[*at - 1] : NULL;
    }
    for (uint32_t i = s->items.n; i-- > 0;)
        if (s->items.at[i].name == name && s->items.at[i].space == space) return &s->items.at[i];
    return NULL;
}

Binding *scope_find(Scope *s, Sym name, NameSpace space) {
    for (; s; s = s->parent) {
        Binding *b = scope_local(s, name, space);
        if (b) return b;
    }
    return NULL;
}

Binding *scope_add(Elab *cx, Scope *s, Sym name, NameSpace space, Loc loc) {
    Binding b = {.name = name, .space = (uint8_t)space, .loc = loc};
    vec_push(cx->arena, &s->items, b);
    uint32_t from = s->index.n ? s->items.n - 1 : 0;
    for (uint32_t i = from; s->items.n > SHORT && i < s->items.n; i++) {
        const Binding *x = &s->items.at[i];
        *map_slot(&s->index, name_key(x->name, (NameSpace)x->space), NULL) = i + 1;
    }
    return &s->items.at[s->items.n - 1];
}

// Damerau's distance without changes between two exchanged letters, cut off at 8: names are short.
uint32_t edit_distance(const char *a, const char *b) {
    enum { LONGEST = 40, FAR = 8 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return FAR;
    uint32_t row[LONGEST + 1], above[LONGEST + 1] = {0}, before[LONGEST + 1];
    for (size_t j = 0; j <= m; j++) row[j] = (uint32_t)j;
    for (size_t i = 1; i <= n; i++) {
        memcpy(before, above, sizeof before);
        memcpy(above, row, sizeof row);
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= m; j++) {
            uint32_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            bool exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (exchanged && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return row[m] < FAR ? row[m] : FAR;
}

static void nearer(const char *name, const char *candidate, const char **best, uint32_t *at) {
    size_t n = strlen(name), m = strlen(candidate);
    if ((n > m ? n - m : m - n) >= *at) return;
    uint32_t d = edit_distance(name, candidate);
    if (d < *at) *at = d, *best = candidate;
}

// A suggestion may differ in a third of the name's letters, at least one.
static uint32_t tolerance(const char *name) {
    size_t n = strlen(name);
    return n < 3 ? 1 : (uint32_t)(n / 3) + 1;
}

const char *suggest_of(const char *name, const char *const *from, uint32_t n) {
    const char *best = NULL;
    uint32_t at = tolerance(name);
    for (uint32_t i = 0; i < n; i++) nearer(name, from[i], &best, &at);
    return best;
}

const char *scope_suggest(Elab *cx, Scope *s, Sym name, NameSpace space) {
    const char *best = NULL;
    uint32_t at = tolerance(str(cx, name)), looked = 0;
    if (cx->diag->errors >= MAX_SUGGESTED) return NULL;
    for (; s; s = s->parent)
        for (uint32_t i = 0; i < s->items.n && looked < 2000; i++, looked++)
            if (s->items.at[i].space == space && s->items.at[i].name != name)
                nearer(str(cx, name), str(cx, s->items.at[i].name), &best, &at);
    return best;
}

static bool in_std(const Elab *cx, Loc at) { return at.file && cx->diag->files.at[at.file].is_std; }

// The frame whose call stands in the user's text, seen from inside std.sn.
static const Frame *user_frame(const Elab *cx) {
    const Frame *f = cx->at.frame;
    while (f && in_std(cx, f->call)) f = f->up;
    return f;
}

Loc user_loc(const Elab *cx, Loc at) {
    if (!in_std(cx, at)) return at;
    const Frame *f = user_frame(cx);
    return f ? f->call : at;
}

// True when this error is new.
static bool first_time(Elab *cx, Loc at, const char *text) {
    uint64_t h = hash_u64(hash_u64(HASH_SEED, at.file), ((uint64_t)at.start << 32) | at.end);
    bool fresh;
    map_slot(&cx->reported, hash_bytes(h, text, strlen(text)), &fresh);
    return fresh;
}

Value elab_error(Elab *cx, Loc at, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    diag_format(text, sizeof text, fmt, ap);
    va_end(ap);
    const Frame *f = in_std(cx, at) ? user_frame(cx) : NULL;
    cx->note_silent = !first_time(cx, f ? f->call : at, text);
    if (cx->note_silent) return value_error();
    if (!f) {
        diag_error(cx->diag, at, "%s", text);
        return value_error();
    }
    diag_error(cx->diag, f->call, "in '%s': %s", str(cx, f->func->name), text);
    diag_note(cx->diag, at, "it arises here");
    return value_error();
}

void elab_note(Elab *cx, Loc at, const char *fmt, ...) {
    if (cx->note_silent) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    diag_format(text, sizeof text, fmt, ap);
    va_end(ap);
    diag_note(cx->diag, at, "%s", text);
}

void enter(Elab *cx, const Expr *e) {
    uint64_t h = hash_u64(cx->at.context, ((uint64_t)e->loc.file << 8) | e->kind);
    h = hash_u64(h, ((uint64_t)e->loc.start << 32) | e->loc.end);
    bool fresh;
    uint32_t *at = map_slot(&cx->templates, h, &fresh);
    if (fresh) *at = cx->templates.n;
    cx->b->tmpl = *at;
    cx->b->loc = user_loc(cx, e->loc);
    cx->b->name = cx->at.name;
}

bool spend(Elab *cx, Loc at) {
    if (cx->aborted) return false;
    if (++cx->work < MAX_WORK) return true;
    elab_error(cx, at, "the model expands to more than %d operations", MAX_WORK);
    cx->aborted = true;
    return false;
}

bool nest(Elab *cx, Loc at) {
    if (cx->nesting < MAX_NESTING) return cx->nesting++, true;
    elab_error(cx, at, "more than %d expressions, calls and constants inside each other",
               MAX_NESTING);
    return false;
}

Sym path_join(Elab *cx, Sym path, const char *last) {
    if (!path) return sym(cx->syms, last);
    const char *head = str(cx, path);
    size_t n = strlen(head), m = strlen(last);
    char *text = arena_alloc(cx->arena, n + m + 2);
    memcpy(text, head, n);
    text[n] = '.';
    memcpy(text + n + 1, last, m);
    return sym_intern(cx->syms, text, n + 1 + m);
}

// One name for an axis and a value would be the axis in [ ] and the value elsewhere.
bool value_name_free(Elab *cx, Sym name, Loc loc) {
    const Binding *axis = scope_find(cx->at.scope, name, NAME_axis);
    if (!axis) return true;
    elab_error(cx, loc, "'%s' is an axis: a value needs a name of its own", str(cx, name));
    elab_note(cx, axis->loc, "axis '%s' is declared here", str(cx, name));
    return false;
}

void axis_name_taken(Elab *cx, const Binding *value, Loc loc) {
    elab_error(cx, loc, "'%s' is a value: an axis needs a name of its own", str(cx, value->name));
    elab_note(cx, value->loc, "'%s' is defined here", str(cx, value->name));
}

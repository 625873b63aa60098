// Scopes of names; see ptx_scope.h.
#include "runtime/emulator/engine/ptx_scope.h"
#include <string.h>

enum { MAX_DEPTH = 64 };

static uint32_t hash_name(const char *text, uint32_t n) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h ^ h >> 15;
}

static void grow_table(Load *l, PtxScopes *s) {
    uint32_t cap = s->table.cap ? s->table.cap * 2 : 256;
    PtxName **at = LOAD_ARRAY(l, PtxName *, cap);
    for (uint32_t i = 0; i < s->table.cap; i++) {
        PtxName *name = s->table.at[i];
        if (!name) continue;
        uint32_t k = hash_name(name->text, name->n) & (cap - 1);
        while (at[k]) k = (k + 1) & (cap - 1);
        at[k] = name;
    }
    s->table.at = at;
    s->table.cap = cap;
}

PtxName *scope_name(Load *l, PtxScopes *s, const char *text, uint32_t n) {
    if (s->table.n * 2 >= s->table.cap) grow_table(l, s);
    uint32_t k = hash_name(text, n) & (s->table.cap - 1);
    for (; s->table.at[k]; k = (k + 1) & (s->table.cap - 1)) {
        PtxName *name = s->table.at[k];
        if (name->n == n && !memcmp(name->text, text, n)) return name;
    }
    PtxName *name = LOAD_NEW(l, PtxName);
    char *copy = load_alloc(l, n + 1, 1);
    memcpy(copy, text, n);
    name->text = copy;
    name->n = n;
    s->table.at[k] = name;
    s->table.n++;
    return name;
}

PtxDecl *scope_declare(Load *l, PtxScopes *s, PtxName *name, DeclKind kind, uint32_t line) {
    if (name->decl && name->decl->depth == s->depth)
        load_error(l, line, "'%s' is declared twice", name->text);
    PtxDecl *d = LOAD_NEW(l, PtxDecl);
    d->kind = (uint8_t)kind;
    d->depth = s->depth;
    d->name = name;
    d->hidden = name->decl;
    d->before = s->last;
    name->decl = d;
    s->last = d;
    return d;
}

PtxDecl *scope_declare_module(Load *l, PtxName *name, DeclKind kind) {
    PtxDecl *d = LOAD_NEW(l, PtxDecl);
    d->kind = (uint8_t)kind;
    d->name = name;
    name->decl = d;
    return d;
}

void scope_open(Load *l, PtxScopes *s, uint32_t line) {
    if (s->depth == MAX_DEPTH) load_error(l, line, "more than %d scopes in each other", MAX_DEPTH);
    s->depth++;
}

void scope_close(PtxScopes *s) {
    while (s->last && s->last->depth == s->depth) {
        s->last->name->decl = s->last->hidden;
        s->last = s->last->before;
    }
    s->depth--;
}

bool scope_register(Load *l, PtxScopes *s, const PtxName *name, uint32_t *reg) {
    if (name->decl) {
        *reg = name->decl->number;
        return name->decl->kind == DECL_reg;
    }
    uint32_t digits = 0, index = 0;
    while (digits < name->n && digits < 9 && name->text[name->n - 1 - digits] >= '0' &&
           name->text[name->n - 1 - digits] <= '9')
        digits++;
    if (!digits || digits == name->n) return false;
    const char *first = name->text + name->n - digits;
    if (*first == '0' && digits > 1) return false;
    for (uint32_t i = 0; i < digits; i++) index = index * 10 + (uint32_t)(first[i] - '0');
    const PtxDecl *d = scope_name(l, s, name->text, name->n - digits)->decl;
    if (!d || d->kind != DECL_range || index >= d->count) return false;
    *reg = d->number + index;
    return true;
}

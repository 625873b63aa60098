// The warning that the loss does not depend on a parameter. It is here and not in the frontend, whose warnings
// are in frontend/elab_notes.c, because the rules of derivatives decide it.
#include "passes/autodiff.h"
#include "tools/driver.h"
#include <string.h>

const char *driver_round_name(Arena *a, const char *path) {
    char *to = arena_str(a, path, strlen(path)), *at = to;
    for (const char *s = path; *s;) {
        size_t n = strcspn(s, ".");
        if (n == strspn(s, "0123456789"))
            *at++ = '*';
        else
            memmove(at, s, n), at += n;
        s += n;
        if (*s) *at++ = *s++;
    }
    *at = 0;
    return to;
}

static const Func *step_of(const Module *m) {
    for (uint32_t i = 0; i < m->funcs.n; i++)
        if (strcmp(sym_str(m->syms, m->funcs.at[i]->name), "step") == 0) return m->funcs.at[i];
    return NULL;
}

void driver_warn(Driver *d) {
    const Module *m = d->program->m;
    const Func *f = step_of(m);
    uint8_t *reached = NEW_ARRAY(d->arena, uint8_t, m->states.n + 1);
    Map told = {.arena = d->arena};
    if (!f || !f->results.n) return;
    autodiff_reached(m, f, f->results.at[0].node, reached);
    for (StateId s = 0; s < m->states.n; s++) {
        const State *x = &m->states.at[s];
        const char *name = driver_round_name(d->arena, sym_str(d->syms, m->states.at[s].path));
        bool fresh;
        if (x->kind != STATE_param || x->frozen || reached[s]) continue;
        map_slot(&told, hash_bytes(HASH_SEED, name, strlen(name)), &fresh);
        if (fresh)
            diag_warning(d->diag, x->loc,
                         "the loss does not depend on '%s', so it learns nothing: remove it, or "
                         "write 'freeze : %s' in the plan if that is meant",
                         name, name);
    }
}

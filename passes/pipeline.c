// The pass pipeline: the table made from passes.def and the loops that run it. Everything that is
// wanted between passes (verifier, timing, dumps, reproducers) happens here once, so that a pass is
// one function and knows nothing of it.
#include "passes/pipeline.h"
#include "ir/place.h"
#include <string.h>
#include <time.h>

const PassInfo pass_table[] = {
#define PASS(name, neutral, requires, reason)                                                      \
    {#name, reason, neutral, PASS_##requires, pass_##name},
#include "passes/passes.def"
#undef PASS
};
#define PASS(name, neutral, requires, reason)                                                      \
    _Static_assert(PASS_##requires < PASS_##name, #name " comes before " #requires);
#include "passes/passes.def"
#undef PASS
const uint32_t pass_count = (uint32_t)(sizeof pass_table / sizeof pass_table[0]);

const PassInfo *pass_find(const char *name, size_t n) {
    for (uint32_t i = 0; i < pass_count; i++)
        if (strlen(pass_table[i].name) == n && memcmp(pass_table[i].name, name, n) == 0)
            return &pass_table[i];
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_module(PassCx *cx, const PassInfo *pass) {
    Text why = {.arena = cx->scratch};
    if (ir_verify(cx->m, &why))
        internal_error(__FILE__, __LINE__, "after pass '%s': %s", pass->name, why.at ? why.at : "");
}

// Regions, memory and code for ranks are still to come: what goes on from here is a program of one device.
static bool knows_ranks(PassCx *cx, const PassInfo *pass) {
    if (!cx->m->meshes || pass <= &pass_table[PASS_shard - 1]) return true;
    diag_error(cx->m->diag, (Loc){0},
               "a mesh of %lld ranks is not compiled yet: pass '%s' knows one device",
               (long long)mesh_ranks(cx->m), pass->name);
    return false;
}

static bool run_one(PassCx *cx, const PassInfo *pass, const PassHooks *hooks) {
    uint32_t errors = cx->m->diag->errors;
    if (!knows_ranks(cx, pass)) return false;
    if (hooks && hooks->before) hooks->before(hooks->user, pass, cx->m);
    double start = now();
    bool changed = pass->run(cx);
    module_number(cx->m);
    double seconds = now() - start;
    arena_reset(cx->scratch);
    if (cx->m->diag->errors != errors) return false;
    if (hooks && hooks->verify) {
        check_module(cx, pass);
        arena_reset(cx->scratch);
    }
    if (hooks && hooks->after) hooks->after(hooks->user, pass, cx->m, seconds, changed);
    return true;
}

static const PassInfo *need_pass(PassCx *cx, const char *name, size_t n) {
    const PassInfo *p = pass_find(name, n);
    if (!p) diag_error(cx->m->diag, (Loc){0}, "no pass is called '%.*s'", (int)n, name);
    return p;
}

bool pipeline_run(PassCx *cx, const char *first, const char *last, const PassHooks *hooks) {
    const PassInfo *from = first ? need_pass(cx, first, strlen(first)) : pass_table;
    const PassInfo *to = last ? need_pass(cx, last, strlen(last)) : pass_table + pass_count - 1;
    if (!from || !to) return false;
    for (const PassInfo *p = from; p <= to; p++)
        if (!run_one(cx, p, hooks)) return false;
    return true;
}

static bool holds(const PassInfo *const *list, uint32_t n, const PassInfo *p) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == p) return true;
    return false;
}

// Whatever pass i requires and what that requires. One that is to come as well as gone by is no fault: a
// pass does nothing to its own output, so a list may always begin with what it needs.
static bool check_order(PassCx *cx, const PassInfo *const *list, uint32_t n, uint32_t i) {
    for (PassId r = list[i]->requires; r != PASS_none; r = pass_table[r - 1].requires) {
        const PassInfo *needed = &pass_table[r - 1];
        if (holds(list, i, needed) || !holds(&list[i], n - i, needed)) continue;
        diag_error(cx->m->diag, (Loc){0}, "pass '%s' comes before '%s', which it requires",
                   list[i]->name, needed->name);
        return false;
    }
    return true;
}

bool pipeline_run_list(PassCx *cx, const char *names, const PassHooks *hooks) {
    VEC(const PassInfo *) list = {0};
    for (const char *s = names; *s;) {
        size_t n = strcspn(s, ",");
        const PassInfo *p = need_pass(cx, s, n);
        if (!p) return false;
        vec_push(cx->m->arena, &list, p);
        s += n + (s[n] == ',');
    }
    for (uint32_t i = 0; i < list.n; i++)
        if (!check_order(cx, list.at, list.n, i)) return false;
    for (uint32_t i = 0; i < list.n; i++)
        if (!run_one(cx, list.at[i], hooks)) return false;
    return true;
}

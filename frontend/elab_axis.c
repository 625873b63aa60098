// Axes: from a declaration and an extent to an AxisId, lists of axes with packs spread out, and
// types as text for messages.
//
// An AxisId is keyed by (place of declaration, extent): the axis 'half' that rope declares is one
// axis in all its uses with the same extent, so tables over it are computed once. Its depth is that
// of the body that declared it last; a value that outlives the body while it still has the axis is
// a fault (value_escapes). The extents of a file's axes are evaluated on demand, in any order, once
// per function, because 'generate' has another batch. The sample axis keeps one id whatever its
// extent.
#include "frontend/elab.h"
#include <math.h>
#include <string.h>

AxisId axis_of_site(Elab *cx, Sym name, Loc loc, int64_t extent, uint32_t depth) {
    uint64_t h = hash_u64(hash_u64(HASH_SEED, loc.file), ((uint64_t)loc.start << 32) | loc.end);
    bool fresh;
    uint32_t *at = map_slot(&cx->axis_ids, hash_u64(h, (uint64_t)extent), &fresh);
    if (fresh) *at = axis_new(cx->m, str(cx, name), extent);
    AxisId id = *at;
    while (cx->axis_info.n <= id) vec_push(cx->arena, &cx->axis_info, ((AxisInfo){.depth = 0}));
    cx->axis_info.at[id] = (AxisInfo){loc, name, depth};
    return id;
}

AxisId axis_part(Elab *cx, Loc loc, int64_t extent) {
    return axis_of_site(cx, sym(cx->syms, "part"), (Loc){loc.file, loc.start, loc.start}, extent,
                        0);
}

int64_t extent_of(const Elab *cx, AxisId a) {
    return a == cx->sample && a ? cx->sample_size : cx->m->axes.at[a].size;
}

const char *axis_name(const Elab *cx, AxisId a) {
    if (a < cx->axis_info.n && cx->axis_info.at[a].name) return str(cx, cx->axis_info.at[a].name);
    return str(cx, cx->m->axes.at[a].name);
}

// What -D or the plan says of a file's axis, -D first.
static bool size_of(Elab *cx, Sym name, SizeLine *out) {
    const Option *d = plan_define(cx, str(cx, name));
    if (!d) d = plan_define(cx, arena_printf(cx->arena, "size.%s", str(cx, name)));
    if (d) return *out = (SizeLine){name, d->value, {0}}, true;
    const SizeLine *line = plan_size(cx, name);
    return line ? *out = *line, true : false;
}

static bool extent_good(Elab *cx, Loc at, Sym name, double x) {
    if (x >= 0 && x <= MAX_EXTENT && x == floor(x)) return true;
    elab_error(cx, at, "the extent of axis '%s' must be a whole number from 0 to %.0f, found %s",
               str(cx, name), MAX_EXTENT, number_text(cx, x));
    return false;
}

bool axis_force(Elab *cx, Binding *b) {
    if (b->lazy == LAZY_done) return b->axis != 0;
    if (b->lazy == LAZY_running) {
        elab_error(cx, b->loc, "the extent of axis '%s' depends on itself", str(cx, b->name));
        return false;
    }
    b->lazy = LAZY_running;
    SizeLine line;
    bool sized = b->file_scope != cx->std && size_of(cx, b->name, &line);
    Value v = value_num(0, true);
    Loc at = b->loc;
    bool good = true;
    if (sized) {
        v.num = line.extent;
        if (line.loc.file) at = line.loc;
    } else if (b->decl->extent) {
        v = eval_in_file(cx, b, b->decl->extent);
        good = value_number(cx, b->decl->extent, "an extent", &v);
        at = b->decl->extent->loc;
    } else {
        elab_error(
            cx, b->loc,
            "axis '%s' has no extent: give one here, in the plan as 'size %s = …', or with -D %s=…",
            str(cx, b->name), str(cx, b->name), str(cx, b->name));
        good = false;
    }
    b->lazy = LAZY_done;
    double x = v.num;
    if (!good || !extent_good(cx, at, b->name, x)) return false;
    if (v.live) b->value = v;
    bool sample = b->name == cx->plan.sample && b->file_scope != cx->std;
    if (sample && cx->mode == MODE_generate) x = 1;
    if (sample && cx->sample)
        b->axis = cx->sample;
    else
        b->axis = axis_of_site(cx, b->name, b->loc, (int64_t)x, 0);
    if (sample) {
        cx->sample = b->axis;
        cx->sample_size = (int64_t)x;
        cx->m->axes.at[b->axis].sample = 1;
    }
    return true;
}

// As a number the extent of such an axis follows the run, the axis itself has that of this build.
static void settle_axis(Elab *cx, const Binding *b) {
    for (uint32_t i = 0; i < cx->settled.n; i++)
        if (cx->settled.at[i].axis == b->axis) return;
    settled_add(cx, b->loc, "the extent of an axis", b->axis);
}

bool axis_resolve(Elab *cx, const Ax *ax, AxisId *out) {
    if (ax->pack) {
        elab_error(cx, ax->loc, "expected one axis, found the pack '..%s'", str(cx, ax->name));
        return false;
    }
    Binding *b = scope_find(cx->at.scope, ax->name, NAME_axis);
    if (b) {
        if (!axis_force(cx, b)) return false;
        if (b->value.live) settle_axis(cx, b);
        *out = b->axis;
        return true;
    }
    const char *near = scope_suggest(cx, cx->at.scope, ax->name, NAME_axis);
    Binding *v = scope_find(cx->at.scope, ax->name, NAME_value);
    if (v) {
        elab_error(cx, ax->loc, "'%s' is a value, not an axis", str(cx, ax->name));
        elab_note(cx, v->loc, "'%s' is defined here", str(cx, ax->name));
    } else if (near) {
        elab_error(cx, ax->loc, "unknown axis '%s'; did you mean '%s'?", str(cx, ax->name), near);
    } else {
        elab_error(cx, ax->loc, "unknown axis '%s'", str(cx, ax->name));
    }
    return false;
}

bool kind_resolve(Elab *cx, Loc at, Sym kind, AxisId *out) {
    static const char *const kinds[] = {"real", "int", "bool"};
    const Ax ax = {at, kind, false};
    if (scope_find(cx->at.scope, kind, NAME_axis)) return axis_resolve(cx, &ax, out);
    const char *near = suggest_of(str(cx, kind), kinds, sizeof kinds / sizeof *kinds);
    if (!near) near = scope_suggest(cx, cx->at.scope, kind, NAME_axis);
    if (near)
        elab_error(cx, at, "unknown kind '%s'; did you mean '%s'?", str(cx, kind), near);
    else
        elab_error(cx, at, "unknown kind '%s': expected real, int, bool or an axis", str(cx, kind));
    return false;
}

static void alike(Elab *cx, AxisId a, AxisId b) {
    if (a == b || strcmp(axis_name(cx, a), axis_name(cx, b)) != 0) return;
    const AxisInfo *x = &cx->axis_info.at[a], *y = &cx->axis_info.at[b];
    elab_note(cx, x->loc, "two axes are called '%s': one is declared here", str(cx, x->name));
    elab_note(cx, y->loc, "and another here");
}

void axes_alike(Elab *cx, const AxisList *a, const AxisList *b) {
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < b->n; k++)
            if (a->at[i] < cx->axis_info.n && b->at[k] < cx->axis_info.n)
                alike(cx, a->at[i], b->at[k]);
}

bool list_add(AxisList *l, AxisId a) {
    if (l->n == MAX_AXES) return false;
    l->at[l->n++] = a;
    return true;
}

static bool add_checked(Elab *cx, Loc at, AxisList *l, AxisId a) {
    if (list_has(l, a)) {
        elab_error(
            cx, at,
            "axis '%s' stands here twice; a second walk takes a second axis, as in 'axis %s2 = %s'",
            axis_name(cx, a), axis_name(cx, a), axis_name(cx, a));
        return false;
    }
    if (list_add(l, a)) return true;
    elab_error(cx, at, "more than %d axes", MAX_AXES);
    return false;
}

bool axes_resolve(Elab *cx, const AxList *from, AxisList *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < from->n; i++) {
        const Ax *ax = &from->at[i];
        if (!ax->pack) {
            AxisId a;
            if (!axis_resolve(cx, ax, &a) || !add_checked(cx, ax->loc, out, a)) return false;
            continue;
        }
        Binding *b = ax->name ? scope_find(cx->at.scope, ax->name, NAME_pack) : NULL;
        if (!b) {
            const char *near = scope_suggest(cx, cx->at.scope, ax->name, NAME_pack);
            if (near)
                elab_error(cx, ax->loc, "unknown pack '..%s'; did you mean '..%s'?",
                           str(cx, ax->name), near);
            else
                elab_error(cx, ax->loc,
                           ax->name ? "unknown pack '..%s'" : "'..%s' alone means no axes here",
                           str(cx, ax->name));
            return false;
        }
        for (uint32_t k = 0; k < b->pack.n; k++)
            if (!add_checked(cx, ax->loc, out, b->pack.at[k])) return false;
    }
    return true;
}

bool axis_declare(Elab *cx, const AxisDecl *d) {
    Binding *old = scope_local(cx->at.scope, d->name, NAME_axis);
    if (old) {
        elab_error(cx, d->name_loc, "axis '%s' is declared twice", str(cx, d->name));
        elab_note(cx, old->loc, "'%s' is declared here", str(cx, d->name));
        return false;
    }
    old = scope_find(cx->at.scope, d->name, NAME_value);
    if (old && old->file_scope != cx->std) {
        axis_name_taken(cx, old, d->name_loc);
        return false;
    }
    Value v = value_num(1, true);
    bool good = true;
    if (d->pack.pack) {
        AxList one = {.at = (Ax *)&d->pack, .n = 1, .cap = 1};
        AxisList list;
        good = axes_resolve(cx, &one, &list);
        if (good) v = math_extent(cx, &list, d->name_loc);
    } else if (d->extent) {
        v = eval(cx, d->extent);
        good = value_number(cx, d->extent, "an extent", &v);
    } else {
        elab_error(cx, d->name_loc,
                   "axis '%s' needs an extent: only a file's axes may be sized by the plan",
                   str(cx, d->name));
        good = false;
    }
    good = good && extent_good(cx, d->extent ? d->extent->loc : d->name_loc, d->name, v.num);
    Binding *b = scope_add(cx, cx->at.scope, d->name, NAME_axis, d->name_loc);
    // After an error the name still exists, so that its uses are silent: axis 0 is no axis.
    b->axis = good ? axis_of_site(cx, d->name, d->name_loc, (int64_t)v.num, cx->at.depth) : 0;
    if (good && v.live) b->value = v;
    return good;
}

TypeId type_make(Elab *cx, Elem elem, const AxisList *axes) {
    Type t = {.elem = elem, .n = axes->n};
    for (uint32_t i = 0; i < axes->n; i++)
        t.axes[i] = (TypeAxis){axes->at[i], extent_of(cx, axes->at[i]), {0}};
    return type_intern(cx->m, &t);
}

AxisList axes_of(const Elab *cx, const Value *v) {
    AxisList l = {0};
    if (v->kind != V_TENSOR) return l;
    const Type *t = type_of(cx->m, v->home, v->node);
    for (uint32_t i = 0; i < t->n; i++) l.at[l.n++] = t->axes[i].axis;
    return l;
}

const char *axes_text(Elab *cx, const AxisList *l) {
    Text t = {.arena = cx->arena};
    text_printf(&t, "[");
    for (uint32_t i = 0; i < l->n; i++)
        text_printf(&t, "%s%s", i ? ", " : "", axis_name(cx, l->at[i]));
    text_printf(&t, "]");
    return t.at;
}

const char *type_text(Elab *cx, const Value *v) {
    switch ((ValueKind)v->kind) {
    case V_ERROR: return "an error";
    case V_NUM: {
        return arena_printf(cx->arena, "the number %s", number_text(cx, v->num));
    }
    case V_BOOL: return v->truth ? "true" : "false";
    case V_TUPLE: return v->n ? arena_printf(cx->arena, "a tuple of %u", v->n) : "nothing";
    case V_STRING: return "a string";
    case V_FUNC: return arena_printf(cx->arena, "the function '%s'", v->text);
    case V_TENSOR: {
        static const char *const kinds[] = {"real", "int", "int", "bool"};
        AxisList l = axes_of(cx, v);
        return arena_printf(cx->arena, "%s%s", kinds[elem_info[elem_of(cx, v)].kind],
                            axes_text(cx, &l));
    }
    }
    unreachable(v->kind);
}

bool value_escapes(Elab *cx, const Value *v, uint32_t depth, AxisId *which) {
    if (v->kind == V_TUPLE) {
        for (uint32_t i = 0; i < v->n; i++)
            if (value_escapes(cx, &v->items[i], depth, which)) return true;
        return false;
    }
    AxisList l = axes_of(cx, v);
    for (uint32_t i = 0; i < l.n; i++)
        if (cx->axis_info.at[l.at[i]].depth >= depth) {
            *which = l.at[i];
            return true;
        }
    return false;
}

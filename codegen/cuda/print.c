// Prints a kernel as CUDA C: the function around the body. The text depends on the kernel and its
// geometry alone. What is promised is the meaning of codegen/kinterp.c, bit for bit (NaN payloads
// aside); how threads share the work is in geometry.c.
//
// Linear in ops times the phases that need them.
#include "codegen/cuda/print.h"
#include <stdarg.h>
#include <string.h>

// ---- lines

void cu_line(Cu *p, const char *fmt, ...) {
    char stack[512];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(stack, sizeof stack, fmt, ap);
    CHECK(n >= 0, "cannot format a line of %s", p->k->name);
    char *s = (size_t)n < sizeof stack ? stack : arena_alloc(p->a, (size_t)n + 1);
    if (s != stack) vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    for (uint32_t i = 0; i < p->indent; i++) text_put(p->to, "    ", 4);
    text_put(p->to, s, (size_t)n);
    text_put(p->to, "\n", 1);
}

void cu_open(Cu *p) { p->indent++; }

void cu_close(Cu *p) {
    p->indent--;
    cu_line(p, "}");
}

const char *cu_int(const Cu *p) { return p->g->wide ? "i64" : "int"; }

const char *cu_num(const Cu *p, int64_t n) {
    return arena_printf(p->a, n < 0 ? "(%lld%s)" : "%lld%s", (long long)n, p->g->wide ? "ll" : "");
}

// Unsigned: division by a constant is then a multiplication and a shift.
void cu_decode(Cu *p, const char *n, uint32_t from, uint32_t to) {
    const char *word = p->g->wide ? "u64" : "u32";
    if (to == from) return;
    if (to == from + 1) {
        cu_line(p, "const %s i%u = %s;", cu_int(p), from, n);
        return;
    }
    uint32_t d = p->temps++;
    cu_line(p, "const %s d%u = (%s)%s;", word, d, word, n);
    for (uint32_t i = to; i-- > from;) {
        const char *extent = arena_printf(p->a, "%lldu", (long long)p->k->extent[i]);
        if (p->g->wide) extent = arena_printf(p->a, "%lldull", (long long)p->k->extent[i]);
        if (i == from) {
            cu_line(p, "const %s i%u = (%s)d%u;", cu_int(p), i, cu_int(p), d);
            return;
        }
        uint32_t next = p->temps++;
        cu_line(p, "const %s i%u = (%s)(d%u %% %s);", cu_int(p), i, cu_int(p), d, extent);
        cu_line(p, "const %s d%u = d%u / %s;", word, next, d, extent);
        d = next;
    }
}

// ---- the function

static bool reads_acc(const Kernel *k) {
    for (KId id = 0; id < k->ops.n; id++)
        if (k->ops.at[id].kind == KOP_load && k->args.at[k->ops.at[id].arg].mode == KARG_acc)
            return true;
    return false;
}

static void environment(Cu *p) {
    bool random = false, sample = false, step = false;
    for (KId id = 0; id < p->k->ops.n; id++) {
        const KOp *o = &p->k->ops.at[id];
        if (o->kind != KOP_random) continue;
        random = true;
        sample |= o->sample_stride != 0;
        step |= !o->fixed;
    }
    if (reads_acc(p->k)) cu_line(p, "const bool first = e->first != 0;");
    if (step) cu_line(p, "const u32 step = e->step;");
    if (random) cu_line(p, "const u64 seed = e->seed;");
    if (sample) cu_line(p, "const i64 sample = e->sample;");
}

// The memory planner lets an output take the place of an input of the same type only, and for this target
// never in a group of rows (ir/target.def, rows_over): other inputs are read-only for the whole run, which lets
// the compiler read ahead of stores.
static bool never_written(const Kernel *k, uint32_t arg) {
    const KArg *a = &k->args.at[arg];
    bool rows = k->order == KORDER_rows && kernel_folds_rows(k);
    if (a->mode != KARG_in) return false;
    for (uint32_t i = 0; i < k->args.n && !rows; i++) {
        const KArg *b = &k->args.at[i];
        if (b->mode != KARG_in && b->elem == a->elem && b->count == a->count) return false;
    }
    return true;
}

// "const float *__restrict__ ", and as a cast without the last word.
static const char *pointer_type(const Cu *p, uint32_t arg, bool cast) {
    const KArg *a = &p->k->args.at[arg];
    return arena_printf(p->a, "%s%s *%s", a->mode == KARG_in ? "const " : "",
                        cu_memory_type((Elem)a->elem),
                        !cast && never_written(p->k, arg) ? "__restrict__ " : "");
}

// One of many instances: its arguments are in a table, as addresses of global memory: the compiler would
// have to guess that of a number.
static void table_signature(Cu *p, uint32_t function, uint32_t nkeys) {
    uint32_t n = p->k->args.n;
    text_printf(
        p->to,
        "extern \"C\" __global__ void __launch_bounds__(%u, 1)\nk%u(const Env *e, const u32 "
        "base, const u64 *table) {\n",
        p->g->threads, function);
    cu_line(p, "const u32 place = base + blockIdx.z * %uu;", n);
    cu_line(p, "const u64 *mine = table + blockIdx.z * %uu;", n + nkeys);
    for (uint32_t i = 0; i < n; i++)
        cu_line(p, "%sa%u = (%s)__cvta_global_to_generic(mine[%u]);", pointer_type(p, i, false), i,
                pointer_type(p, i, true), i);
    for (uint32_t i = 0; i < nkeys; i++) cu_line(p, "const u64 q%u = mine[%u];", i, n + i);
}

static void signature(Cu *p, uint32_t function, uint32_t nkeys) {
    Text *t = p->to;
    text_printf(
        t,
        "extern \"C\" __global__ void __launch_bounds__(%u, 1)\nk%u(const Env *e, const u32 place",
        p->g->threads, function);
    for (uint32_t i = 0; i < p->k->args.n; i++)
        text_printf(t, ", %sa%u", pointer_type(p, i, false), i);
    for (uint32_t i = 0; i < nkeys; i++) text_printf(t, ", u64 q%u", i);
    text_printf(t, ") {\n");
}

static void body(Cu *p) {
    switch (p->g->shape) {
    case CU_MAP: cu_map(p); return;
    case CU_TURN: cu_turn(p); return;
    case CU_WARPS:
    case CU_BLOCK: cu_rows(p); return;
    case CU_WALK: cu_walk(p); return;
    case CU_CHUNK: cu_chunk_rows(p); return;
    case CU_STAGE: cu_stage(p); return;
    case CU_SCATTER: cu_scatter(p); return;
    }
    unreachable(p->g->shape);
}

Cu *cu_new(Arena *a, Text *to, const Kernel *k, const CuGeometry *g) {
    Cu *p = NEW(a, Cu);
    p->k = k;
    p->a = a;
    p->to = to;
    p->g = g;
    p->ops = cu_scalar_ops(p);
    p->guard_free = "";
    p->row = NEW_ARRAY(a, CuVal, k->ops.n + 1);
    p->lane = NEW_ARRAY(a, CuVal, k->ops.n + 1);
    p->need = NEW_ARRAY(a, uint8_t, k->ops.n + 1);
    p->holds = NEW_ARRAY(a, uint8_t, k->ops.n + 1);
    p->there = NEW_ARRAY(a, uint8_t, k->ops.n + 1);
    p->waits = NEW_ARRAY(a, const char *, k->ops.n + 1);
    p->always = NEW_ARRAY(a, const char *, k->ops.n + 1);
    return p;
}

// ---- the first NaN

// Which argument a store, or behind the stores a fold, stores floats to.
static bool stores_floats(const Kernel *k, uint32_t number, uint32_t *arg) {
    bool fold = number >= k->stores.n;
    const KFold *f = fold ? &k->folds.at[number - k->stores.n] : NULL;
    if (fold && !f->column) return false;
    *arg = fold ? f->arg : k->stores.at[number].arg;
    return elem_info[k->args.at[*arg].elem].kind == ELEM_FLOAT;
}

static void watch_begins(Cu *p) {
    uint32_t arg;
    for (uint32_t i = 0; i < p->k->stores.n + p->k->folds.n; i++)
        if (stores_floats(p->k, i, &arg))
            cu_line(p, p->g->wide ? "u64 bad%u = ~0ull;" : "u32 bad%u = ~0u;", i);
}

static void watch_ends(Cu *p) {
    uint32_t arg;
    for (uint32_t i = 0; i < p->k->stores.n + p->k->folds.n; i++)
        if (stores_floats(p->k, i, &arg)) cu_line(p, "report(e, place + %u, bad%u);", arg, i);
}

void cu_print_function(Arena *a, Text *to, const Kernel *k, const CuGeometry *g, uint32_t function,
                       uint32_t nkeys, bool table) {
    Cu *p = cu_new(a, to, k, g);
    p->keyed = nkeys > 0;
    p->indent = 1;
    (table ? table_signature : signature)(p, function, nkeys);
    environment(p);
    watch_begins(p);
    body(p);
    watch_ends(p);
    cu_close(p);
}

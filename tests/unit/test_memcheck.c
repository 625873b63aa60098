// The verifier of memory plans (ir/memcheck.c).
//
// Plans of models are changed in one place: a temporary value moves over another value, over a state or
// behind everything. Whether that is a fault follows from lives alone, intervals of node numbers that this
// test computes for itself: two values whose bytes meet must not live at one time. Where one is made by
// the group that reads the other last, intervals do not say; what a group may write over is tried on the
// groups below, each with the answer that its meaning gives. The commands of an executable are walked
// likewise: codegen/plan.c adds copies to what the plan says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/oracle/model.h"

// ---- moved values -------------------------------------------------------------------------------

typedef struct {
    Mem mem;
    int64_t bytes;
    int64_t from, to; // made by, last read by; a state is there from -1 on
    NodeId value;     // NONE: a state
} Life;

typedef struct {
    Arena *a;
    Module *m;
    Func *f;
    VEC(Life) lives;
    uint64_t random;
} RandomPlan;

static uint32_t draw(RandomPlan *p, uint32_t below) {
    p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((p->random >> 33) % below);
}

static bool is_value(const Func *f, NodeId n) {
    return node_at(f, n)->op == OP_group || node_at(f, n)->op == OP_part;
}

static int64_t last_read(const RandomPlan *p, NodeId value, int64_t otherwise) {
    int64_t last = otherwise;
    for (NodeId n = 0; n < p->f->nodes.n; n++)
        for (uint32_t i = 0; i < node_at(p->f, n)->n; i++)
            if (operand(p->f, n, i) == value && node_at(p->f, n)->op != OP_part) last = n;
    for (uint32_t i = 0; i < p->f->results.n; i++)
        if (p->f->results.at[i].node == value) last = p->f->nodes.n;
    return last;
}

// The old value of a state, and where it is assigned by a copy, the new one.
static void add_state(RandomPlan *p, StateId s) {
    const State *st = &p->m->states.at[s];
    Life old = {st->mem, type_bytes(type_at(p->m, st->type)), -1, p->f->nodes.n, NONE};
    Life copied = old;
    bool copy = false;
    for (NodeId n = 0; n < p->f->nodes.n; n++)
        if (node_at(p->f, n)->op == OP_assign && attr_of(p->m, p->f, n)->assign.state == s) {
            const Mem *from = &p->f->mem.at[operand(p->f, n, 0)];
            old.to = -1;
            copied.from = n;
            copy = from->region != st->mem.region || from->offset != st->mem.offset;
        }
    for (NodeId n = 0; n < p->f->nodes.n && old.to < p->f->nodes.n; n++)
        if (node_at(p->f, n)->op == OP_state && attr_of(p->m, p->f, n)->state.state == s) {
            int64_t to = last_read(p, n, -1);
            if (to > old.to) old.to = to;
        }
    if (old.to >= 0) vec_push(p->a, &p->lives, old);
    if (copy) vec_push(p->a, &p->lives, copied);
}

static void find_lives(RandomPlan *p) {
    for (StateId s = 0; s < p->m->states.n; s++) add_state(p, s);
    for (NodeId n = 0; n < p->f->nodes.n; n++) {
        NodeId def = node_at(p->f, n)->op == OP_part ? operand(p->f, n, 0) : n;
        Life l = {p->f->mem.at[n], type_bytes(type_of(p->m, p->f, n)), def, 0, n};
        if (!is_value(p->f, n) || l.bytes == 0) continue;
        l.to = last_read(p, n, def);
        for (NodeId k = 0; k < p->f->nodes.n; k++) // written in a state's place: there to the end
            if (node_at(p->f, k)->op == OP_assign && operand(p->f, k, 0) == n &&
                l.mem.region != REGION_temp)
                l.to = p->f->nodes.n;
        vec_push(p->a, &p->lives, l);
    }
}

static bool bytes_meet(const Life *a, const Life *b) {
    return a->mem.region == b->mem.region && a->mem.offset < b->mem.offset + b->bytes &&
           b->mem.offset < a->mem.offset + a->bytes;
}

typedef enum { FREE, TAKEN, UNKNOWN } Verdict;

static Verdict truth(const RandomPlan *p, const Life *moved) {
    Verdict answer = FREE;
    for (uint32_t i = 0; i < p->lives.n; i++) {
        const Life *l = &p->lives.at[i];
        if (l->value == moved->value || !bytes_meet(l, moved)) continue;
        if (l->from == moved->from || (l->from < moved->to && moved->from < l->to)) return TAKEN;
        if (l->from == moved->to || moved->from == l->to) answer = UNKNOWN;
    }
    return answer;
}

typedef struct {
    int taken, free;
} Count;

static void try_place(RandomPlan *p, const Life *l, Mem to, Count *count) {
    Life moved = *l;
    moved.mem = to;
    Verdict want = truth(p, &moved);
    if (want == UNKNOWN) return;
    Text why = {.arena = p->a};
    text_put(&why, "", 0);
    p->f->mem.at[l->value] = to;
    int faults = ir_check_memory(p->m, p->f, &why);
    p->f->mem.at[l->value] = l->mem;
    if ((faults > 0) != (want == TAKEN))
        fail_msg("%s: %%%u moved from temp+%lld to %s+%lld: %s\n%s",
                 sym_str(p->m->syms, p->f->name), l->value, (long long)l->mem.offset,
                 region_names[to.region], (long long)to.offset,
                 faults ? "refused although nothing lives there" : "not noticed", why.at);
    count->taken += want == TAKEN;
    count->free += want == FREE;
}

static void move_values(RandomPlan *p, Count *count) {
    int64_t top = 0;
    for (uint32_t i = 0; i < p->lives.n; i++) {
        const Life *l = &p->lives.at[i];
        if (l->mem.region == REGION_temp && l->mem.offset + l->bytes > top)
            top = (l->mem.offset + l->bytes + 63) / 64 * 64;
    }
    for (uint32_t i = 0; i < p->lives.n; i++) {
        const Life *l = &p->lives.at[i];
        if (l->value == NONE || l->mem.region != REGION_temp) continue;
        try_place(p, l, (Mem){.region = REGION_temp, .offset = top}, count);
        for (int k = 0; k < 4; k++) {
            Mem to = p->lives.at[draw(p, p->lives.n)].mem;
            if (to.region == REGION_none || to.region >= REGION_input) continue;
            if (k % 2) to.offset += 64 * (int64_t)draw(p, 3);
            try_place(p, l, to, count);
        }
    }
}

static const struct {
    const char *path, *defines;
} models[] = {{"models/mlp.sn", ""},
              {"models/vit.sn", "layer=2 dim=16"},
              {"models/gpt2.sn", "layer=2 dim=32 head=2 vocab=64 ctx=16 size.seq=16 "
                                 "size.batch=4 micro=2"},
              {"tests/models/layers.sn", ""}};

static TestModel *planned(size_t i) {
    TestModel *t = model_compile(models[i].path, models[i].defines);
    assert_non_null(t);
    assert_true(model_passes(t, NULL)); // verified after each
    return t;
}

static void test_moved_values(void **state) {
    (void)state;
    Count count = {0, 0};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        TestModel *t = planned(i);
        for (FuncId f = 0; f < t->program->m->funcs.n; f++) {
            RandomPlan p = {
                .a = t->a, .m = t->program->m, .f = t->program->m->funcs.at[f], .random = i};
            if (p.f->region || !p.f->mem.n) continue;
            find_lives(&p);
            move_values(&p, &count);
        }
        model_free(t);
    }
    print_message("%d values moved over living ones, %d to free places\n", count.taken, count.free);
    assert_true(count.taken >= 100 && count.free >= 100);
}

// ---- one group ----------------------------------------------------------------------------------

#define V               "f32[x=16, y=16]"
#define ARG(n, type, i) "    %" #n " = arg : " type " {index=" #i "}\n"

static const struct {
    const char *what, *kind,
        *operands;           // of the group; %0 and %1 are values, %2 an index, %3 a state
    const char *body, *type; // of the result, which is written where %0 lies
    const char *fault;       // NULL: none
} groups[] = {
    {"elementwise", "map", "%0, %1",
     ARG(0, V, 0) ARG(1, V, 1) "    %2 = add %0, %1 : " V "\n    value \"\" = %2\n", V, NULL},
    {"an operand that is asked for twice", "map", "%0, %0",
     ARG(0, V, 0) ARG(1, V, 1) "    %2 = add %0, %1 : " V "\n    value \"\" = %2\n", V, NULL},
    {"an operand that is asked for twice, once moved", "map", "%0, %0",
     ARG(0, V, 0) ARG(1, V, 1) "    %2 = rename %1 : f32[z=16, y=16] {from=x, to=z}\n"
                               "    %3 = rename %2 : f32[z=16, x=16] {from=y, to=x}\n"
                               "    %4 = rename %3 : f32[y=16, x=16] {from=z, to=y}\n"
                               "    %5 = add %0, %4 : " V "\n    value \"\" = %5\n",
     V, "M3"},
    {"the rest of an operand", "map", "%0",
     ARG(0, V, 0) "    %1 = slice %0 : f32[h=8, y=16] {from=x, to=h, start=8}\n"
                  "    value \"\" = %1\n",
     "f32[h=8, y=16]", "M3"},
    {"another element type", "map", "%0",
     ARG(0, V, 0) "    %1 = cast %0 : i32[x=16, y=16] {to=i32}\n    value \"\" = %1\n",
     "i32[x=16, y=16]", "M3"},
    {"another order", "copy", "%0",
     ARG(0, V, 0) "    %1 = copy %0 : f32[y=16, x=16]\n    value \"\" = %1\n", "f32[y=16, x=16]",
     "M3"},
    {"rows, written in the last sweep", "rows", "%0",
     ARG(0, V, 0) "    %1 = reduce %0 : f32[x=16] {kind=sum, axes=(y), by=row}\n"
                  "    %2 = expand %1 : " V "\n    %3 = sub %0, %2 : " V "\n"
                  "    value \"\" = %3\n",
     V, NULL},
    {"rows, which later sweeps read again", "rows", "%0",
     ARG(0, V, 0) "    %1 = reduce %0 : f32[x=16] {kind=sum, axes=(y), by=row}\n"
                  "    %2 = expand %1 : " V "\n    %3 = sub %0, %2 : " V "\n"
                  "    %4 = reduce %3 : f32[x=16] {kind=sum, axes=(y), by=row}\n"
                  "    %5 = neg %0 : " V "\n    value \"\" = %5\n",
     V, "M3"},
    {"rows, folded in parts", "rows", "%0",
     ARG(0, V, 0) "    %1 = reduce %0 : f32[x=16, k=1] {kind=sum, axes=(y), by=row, part=k}\n"
                  "    %2 = neg %0 : " V "\n    value \"\" = %2\n",
     V, "M3"},
    {"a gather of itself", "gather", "%0, %2",
     ARG(0, V, 0) ARG(1, "i32[x=16]", 1) "    %2 = rename %0 : f32[z=16, y=16] {from=x, to=z}\n"
                                         "    %3 = gather %2, %1 : " V " {axis=z}\n"
                                         "    value \"\" = %3\n",
     V, "M3"},
    {"the accumulator of a product", "gemm", "%1, %1, %0",
     ARG(0, V, 0) ARG(1, V, 1) ARG(2, V, 2) "    %3 = rename %0 : f32[x=16, z=16] {from=y, to=z}\n"
                                            "    %4 = rename %1 : f32[z=16, y=16] {from=x, to=z}\n"
                                            "    %5 = contract %3, %4, %2 : " V " {axes=(z)}\n"
                                            "    value \"\" = %5\n",
     V, NULL},
    {"a side of a product", "gemm", "%0, %1",
     ARG(0, V, 0) ARG(1, V, 1) "    %2 = rename %0 : f32[x=16, z=16] {from=y, to=z}\n"
                               "    %3 = rename %1 : f32[z=16, y=16] {from=x, to=z}\n"
                               "    %4 = contract %2, %3 : " V " {axes=(z)}\n"
                               "    value \"\" = %4\n",
     V, "M3"},
    {"an addend behind a product", "gemm", "%1, %1, %0",
     ARG(0, V, 0) ARG(1, V, 1) ARG(2, V, 2) "    %3 = rename %0 : f32[x=16, z=16] {from=y, to=z}\n"
                                            "    %4 = rename %1 : f32[z=16, y=16] {from=x, to=z}\n"
                                            "    %5 = contract %3, %4 : " V " {axes=(z)}\n"
                                            "    %6 = add %5, %2 : " V "\n"
                                            "    value \"\" = %6\n",
     V, NULL},
    {"what a scatter adds to", "scatter", "%0, %2, %1",
     ARG(0, V, 0) ARG(1, "i32[x=16]", 1)
         ARG(2, V, 2) "    %3 = rename %1 : i32[k=16] {from=x, to=k}\n"
                      "    %4 = rename %2 : f32[k=16, y=16] {from=x, to=k}\n"
                      "    %5 = scatter_add %0, %3, %4 : " V " {axis=x}\n"
                      "    value \"\" = %5\n",
     V, NULL},
    {"what a scatter adds", "scatter", "%1, %2, %0",
     ARG(0, V, 0) ARG(1, "i32[x=16]", 1)
         ARG(2, V, 2) "    %3 = rename %1 : i32[k=16] {from=x, to=k}\n"
                      "    %4 = rename %2 : f32[k=16, y=16] {from=x, to=k}\n"
                      "    %5 = scatter_add %0, %3, %4 : " V " {axis=x}\n"
                      "    value \"\" = %5\n",
     V, "M3"},
    {"the addend of a column fold", "columns", "%1, %0",
     ARG(0, "f32[k=4, x=16, y=16]", 0)
         ARG(1, V, 1) "    %2 = reduce %0 : " V " {kind=sum, axes=(k), by=col}\n"
                      "    %3 = add %1, %2 : " V "\n    value \"\" = %3\n",
     V, NULL},
    {"a factor of a column fold", "columns", "%1, %0",
     ARG(0, "f32[k=4, x=16, y=16]", 0) ARG(1, V, 1) "    %2 = expand %1 : f32[k=4, x=16, y=16]\n"
                                                    "    %3 = mul %0, %2 : f32[k=4, x=16, y=16]\n"
                                                    "    %4 = reduce %3 : " V
                                                    " {kind=sum, axes=(k), by=col}\n"
                                                    "    value \"\" = %4\n",
     V, "M3"},
};

static int check_text(Arena *a, const char *text, Text *why) {
    Diag *d = diag_new(a);
    uint16_t file = diag_add_file(d, "in.ir", text, (uint32_t)strlen(text), false);
    Module *m = ir_parse(a, symtab_new(a), d, file);
    if (!m) {
        diag_print(d, stderr, false);
        fail_msg("this does not parse:\n%s", text);
    }
    return ir_verify(m, why);
}

static const char head[] = "axis x = 16\naxis y = 16\naxis z = 16\naxis h = 8\naxis k = 16\n"
                           "state s : " V " param @param+0\n";

static const char *made(Arena *a, int n, const char *type, const char *place) {
    return arena_printf(a,
                        "  %%%d = group : %s {kind=map, body=#%d} @%s region r%d {\n"
                        "    %%0 = const : %.3s {value=%d}\n    %%1 = expand %%0 : %s\n"
                        "    value \"\" = %%1\n  }\n",
                        n, type, n + 1, place, n, type, n, type);
}

static void test_groups(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        Arena *a = arena_new();
        const char *second = strcmp(groups[i].kind, "columns") == 0 ? "f32[k=4, x=16, y=16]" : V;
        const char *text =
            arena_printf(a,
                         "%sfunc f planned {\n%s%s%s  %%3 = group %s : %s {kind=%s, body=#4} "
                         "@temp+0 region r {\n%s  }\n"
                         "  value out = %%3\n}\n",
                         head, made(a, 0, V, "temp+0"), made(a, 1, second, "temp+1024"),
                         made(a, 2, "i32[x=16]", "temp+8192"), groups[i].operands, groups[i].type,
                         groups[i].kind, groups[i].body);
        Text why = {.arena = a};
        text_put(&why, "", 0);
        int faults = check_text(a, text, &why);
        bool good =
            groups[i].fault ? faults > 0 && strncmp(why.at, groups[i].fault, 2) == 0 : faults == 0;
        if (!good) fail_msg("%s: %s\n%s", groups[i].what, faults ? why.at : "not noticed", text);
        arena_free(a);
    }
}

// ---- whole functions ----------------------------------------------------------------------------

#define KEEP(n, from, place) "  %" #n " = group %" #from " : " V " {kind=map, body=#1} @" place
#define BODY                                                                                       \
    " region r {\n    %0 = arg : " V "\n    %1 = neg %0 : " V "\n    value \"\" = %1\n  }\n"

static const struct {
    const char *what, *body, *fault;
} functions[] = {
    {"a state that is read, and assigned in its place",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "param+0") BODY "  %2 = assign %1 : " V
                                                                            " {state=s} @param+0\n",
     NULL},
    {"the old value of a state, read after it was written",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "param+0") BODY KEEP(
         2, 0, "temp+0") "\n  %3 = assign %1 : " V " {state=s} @param+0\n  value v = %2\n",
     "M1"},
    {"a state that is overwritten, and not assigned",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "param+0") BODY "  value v = %1\n",
     "M4"},
    {"an assigned value that is copied",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+0") BODY "  %2 = assign %1 : " V
                                                                           " {state=s} @param+0\n",
     NULL},
    {"an assigned value that is gone when it is copied",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+0") BODY KEEP(
         2, 0, "temp+0") "\n  %3 = assign %1 : " V " {state=s} @param+0\n  value v = %2\n",
     "M1"},
    {"a result that is gone at the end",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+0")
         BODY KEEP(2, 0, "temp+64") "\n  value v = %1\n  value w = %2\n",
     "M4"},
    {"an input that is overwritten",
     "  %0 = input : " V " {name=i} @input+0\n" KEEP(1, 0, "input+0") BODY "  value v = %1\n",
     "M2"},
    {"two inputs in one place",
     "  %0 = input : " V " {name=i} @input+0\n  %1 = input : " V " {name=j} @input+64\n", "M2"},
    {"one input twice",
     "  %0 = input : " V " {name=i} @input+0\n  %1 = input : " V " {name=i} @input+0\n", NULL},
    {"a state in another place than its own", "  %0 = state : " V " {state=s} @param+64\n", "M2"},
    {"a value without a place",
     "  %0 = state : " V " {state=s} @param+0\n"
     "  %1 = group %0 : " V " {kind=map, body=#1}" BODY "  value v = %1\n",
     "M2"},
    {"places beyond all memory",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+9223372036854775744") BODY
     "  value v = %1\n",
     "M2"},
    {"a result without a part",
     "  %0 = state : " V " {state=s} @param+0\n"
     "  %1 = group %0 : " V " {kind=map, body=#1} @temp+0 region r {\n    %0 = arg : " V "\n"
     "    %1 = neg %0 : " V "\n    %2 = exp %0 : " V "\n    value \"\" = %1\n"
     "    value \"\" = %2\n  }\n  value v = %1\n",
     "M2"},
    {"two results in one place",
     "  %0 = state : " V " {state=s} @param+0\n"
     "  %1 = group %0 : " V " {kind=map, body=#1} @temp+0 region r {\n    %0 = arg : " V "\n"
     "    %1 = neg %0 : " V "\n    %2 = exp %0 : " V "\n    value \"\" = %1\n"
     "    value \"\" = %2\n  }\n  %2 = part %1 : " V " {index=1} @temp+512\n"
     "  value v = %1\n  value w = %2\n",
     "M2"},
};

// A state's negative goes to the host and comes back; meanwhile others use its memory.
#define COPY(n, op, of, place) "  %" #n " = " op " " of " : " V " @" place "\n"
#define START                                                                                      \
    "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+0")                               \
        BODY COPY(2, "offload", "%1", "host+0")
static const struct {
    const char *what, *body, *fault;
} copies[] = {
    {"a copy there and back",
     START COPY(3, "landed", "%2, %1", "host+0") KEEP(4, 0, "temp+0") "\n" COPY(
         5, "fetch", "%3", "temp+1024") COPY(6, "ready", "%5, %3", "temp+1024")
         KEEP(7, 6, "temp+2048") "\n  value v = %4\n  value w = %7\n",
     NULL},
    {"memory that is used before the copy of it has landed",
     START KEEP(3, 0, "temp+0") "\n" COPY(4, "landed", "%2, %1", "host+0")
         COPY(5, "fetch", "%4", "temp+1024") COPY(6, "ready", "%5, %4", "temp+1024")
             KEEP(7, 6, "temp+2048") "\n  value v = %3\n  value w = %7\n",
     "M6"},
    {"a fetch into what is read after it",
     START COPY(3, "landed", "%2, %1", "host+0")
         KEEP(4, 0, "temp+0") "\n" COPY(5, "fetch", "%3", "temp+0")
             KEEP(6, 4, "temp+1024") "\n" COPY(7, "ready", "%5, %3", "temp+0")
                 KEEP(8, 7, "temp+2048") "\n  value v = %6\n  value w = %8\n",
     "M1"},
    {"memory that is used before the copy into it is ready",
     START COPY(3, "landed", "%2, %1", "host+0") COPY(4, "fetch", "%3", "temp+1024")
         KEEP(5, 0, "temp+1024") "\n" COPY(6, "ready", "%4, %3", "temp+1024")
             KEEP(7, 6, "temp+2048") "\n  value w = %7\n",
     "M6"},
    {"two values in one place of the host",
     START COPY(3, "landed", "%2, %1", "host+0") KEEP(4, 0, "temp+1024") "\n" COPY(5, "offload",
                                                                                   "%4", "host+0")
         COPY(6, "landed", "%5, %4", "host+0") COPY(7, "fetch", "%3", "temp+2048")
             COPY(8, "ready", "%7, %3", "temp+2048") KEEP(9, 8, "temp+3072") "\n  value w = %9\n",
     "M1"},
    {"a place of the host that is used again before it was read",
     START COPY(3, "landed", "%2, %1", "host+0")
         KEEP(4, 0, "temp+1024") "\n" COPY(5, "fetch", "%3", "temp+2048")
             COPY(6, "offload", "%4", "host+0") COPY(7, "ready", "%5, %3", "temp+2048")
                 COPY(8, "landed", "%6, %4", "host+0") KEEP(9, 7, "temp+3072") "\n  value w = %9\n",
     "M6"},
    {"a copy that comes out elsewhere",
     START COPY(3, "landed", "%2, %1", "host+0") COPY(4, "fetch", "%3", "temp+1024")
         COPY(5, "ready", "%4, %3", "temp+2048") KEEP(6, 5, "temp+3072") "\n  value w = %6\n",
     "M6"},
    {"an offload to the device",
     "  %0 = state : " V " {state=s} @param+0\n" KEEP(1, 0, "temp+0")
         BODY COPY(2, "offload", "%1", "temp+1024") COPY(3, "landed", "%2, %1", "temp+1024")
             COPY(4, "fetch", "%3", "temp+2048") COPY(5, "ready", "%4, %3", "temp+2048")
                 KEEP(6, 5, "temp+3072") "\n  value w = %6\n",
     "M6"},
    {"a copy that nothing waits for", START "  value v = %1\n", "V22"},
    {"a copy that is waited for twice",
     START COPY(3, "landed", "%2, %1", "host+0")
         COPY(4, "landed", "%2, %1", "host+0") "  value v = %1\n",
     "V22"},
    {"a copy of something else",
     START KEEP(3, 0, "temp+1024") "\n" COPY(4, "landed", "%2, %3", "host+0") "  value v = %3\n",
     "V22"},
    {"an offload that is fetched while it is under way",
     START COPY(3, "fetch", "%2", "temp+1024") COPY(4, "ready", "%3, %2", "temp+1024")
         KEEP(5, 4, "temp+2048") "\n  value v = %5\n",
     "V22"},
    {"a kernel that reads what lies on the host",
     START COPY(3, "landed", "%2, %1", "host+0") KEEP(4, 3, "temp+1024") "\n  value v = %4\n",
     "V22"},
    {"a result on the host", START COPY(3, "landed", "%2, %1", "host+0") "  value v = %3\n", "V22"},
};

static void test_copies(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        Arena *a = arena_new();
        const char *text = arena_printf(a, "%sfunc f planned {\n%s}\n", head, copies[i].body);
        Text why = {.arena = a};
        text_put(&why, "", 0);
        int faults = check_text(a, text, &why);
        const char *fault = copies[i].fault;
        bool good = fault ? faults > 0 && !strncmp(why.at, fault, strlen(fault)) : faults == 0;
        if (!good) fail_msg("%s: %s\n%s", copies[i].what, faults ? why.at : "not noticed", text);
        arena_free(a);
    }
}

static void test_functions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        Arena *a = arena_new();
        const char *text = arena_printf(a, "%sfunc f planned {\n%s}\n", head, functions[i].body);
        Text why = {.arena = a};
        text_put(&why, "", 0);
        int faults = check_text(a, text, &why);
        bool good = functions[i].fault ? faults > 0 && strncmp(why.at, functions[i].fault, 2) == 0
                                       : faults == 0;
        if (!good) fail_msg("%s: %s\n%s", functions[i].what, faults ? why.at : "not noticed", text);
        arena_free(a);
    }
}

// ---- the commands of an executable --------------------------------------------------------------

// Values by unit of 64 bytes: what a command reads must lie there. Codegen numbers the values.
typedef struct {
    const SnPlan *plan;
    uint32_t *units[SN_REGIONS];
    const char *section;
    int reads;
} PlanWalk;

static void read_arg(PlanWalk *w, const SnCmd *c, uint32_t i) {
    const SnArg *a = &SN_AT(w->plan, SnArg, args)[c->args + i];
    if (!a->value) return;
    w->reads++;
    for (int64_t u = a->offset / 64; u * 64 < a->offset + a->bytes; u++)
        if (w->units[a->region][u] != a->value)
            fail_msg("%s: %s reads value %u at %u+%lld, where %u lies", w->section,
                     sn_cmd_name(w->plan, c), a->value, a->region, (long long)u * 64,
                     w->units[a->region][u]);
}

static void write_arg(PlanWalk *w, const SnCmd *c, uint32_t i) {
    const SnArg *a = &SN_AT(w->plan, SnArg, args)[c->args + i];
    for (int64_t u = a->offset / 64; u * 64 < a->offset + a->bytes; u++)
        w->units[a->region][u] = a->value;
}

// All that a command reads, then all that it writes.
static void walk_command(PlanWalk *w, const SnCmd *c, bool write) {
    void (*visit)(PlanWalk *, const SnCmd *, uint32_t) = write ? write_arg : read_arg;
    const SnKernel *kernels = SN_AT(w->plan, SnKernel, kernels);
    if (c->op == SN_CMD_FILL && write) visit(w, c, 0);
    if (c->op == SN_CMD_COPY) visit(w, c, !write);
    if (c->op == SN_CMD_KERNEL)
        for (uint32_t i = 0; i < c->nargs; i++) {
            const SnKernel *k = &kernels[c->fn];
            // one that is read and written has the number of what is written
            if ((write ? k->writes : k->reads & ~k->writes) >> i % k->nargs & 1) visit(w, c, i);
        }
    if (c->op == SN_CMD_ATTEND) {
        const SnAttend *t = &SN_AT(w->plan, SnAttend, attends)[c->fn];
        const SnKernel *k = &kernels[t->kernel];
        uint64_t set = write ? sn_attend_writes(t) | k->writes << t->args
                             : sn_attend_reads(t) | k->reads << t->args;
        for (; set; set &= set - 1) visit(w, c, (uint32_t)__builtin_ctzll(set));
    }
    if (c->op != SN_CMD_GEMM) return;
    const SnGemm *g = &SN_AT(w->plan, SnGemm, gemms)[c->fn];
    uint64_t own = write ? sn_gemm_writes(g) : sn_gemm_reads(g);
    for (; own; own &= own - 1) visit(w, c, (uint32_t)__builtin_ctzll(own));
    if (!sn_gemm_has(g, SN_GEMM_EPILOGUE)) return;
    const SnKernel *k = &kernels[g->epilogue];
    for (uint32_t i = 0; i < k->nargs; i++)
        if ((write ? k->writes : k->reads) >> i & 1)
            visit(w, c, sn_gemm_arg(g, SN_GEMM_EPILOGUE) + i);
}

static void walk_section(PlanWalk *w, Arena *a, const SnSection *s) {
    w->section = SN_STRING(w->plan, s->name);
    for (int r = 0; r < SN_REGIONS; r++)
        w->units[r] = NEW_ARRAY(a, uint32_t, w->plan->region_bytes[r] / 64 + 1);
    for (uint32_t i = 0; i < w->plan->states.count; i++) {
        const SnState *st = &SN_AT(w->plan, SnState, states)[i];
        for (int64_t u = st->offset / 64; u * 64 < st->offset + st->bytes; u++)
            w->units[st->region][u] = i + 1;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        const SnCmd *c = &SN_AT(w->plan, SnCmd, cmds)[s->cmd + i];
        walk_command(w, c, false);
        walk_command(w, c, true);
    }
}

static void test_commands(void **state) {
    (void)state;
    int reads = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        TestModel *t = planned(i);
        assert_true(model_load(t, NULL, 1));
        PlanWalk w = {.plan = t->native.plan};
        for (uint32_t k = 0; k < w.plan->sections.count; k++)
            walk_section(&w, t->a, &SN_AT(w.plan, SnSection, sections)[k]);
        reads += w.reads;
        model_free(t);
    }
    print_message("%d reads of values\n", reads);
    assert_true(reads > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moved_values), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_functions),    cmocka_unit_test(test_copies),
        cmocka_unit_test(test_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Strip kernels from IR bodies. A body is lowered twice: as the group that the fuse pass makes of it, with the
// scores in memory, and as a strip over the same scores as tiles. Bits must be equal: over whole rows, and
// over the lanes that a mask leaves where what it leaves out is exactly 0 in the whole form.
#include "codegen/lower.h"
#include "passes/pipeline.h"
#include "tests/unit/cpu_suite.h"

enum { MAX_VALUES = 16 };

// What a body is like; sizes in the text are $b, $m and $k; $d is k - m, the first query's place among the keys.
typedef struct {
    const char *text, *rows, *lanes; // axes by name
    uint32_t tiles;                  // of its inputs
    uint32_t to[8];                  // of its group's results
    int64_t window;                  // keys that a query sees, itself the last; 0: all
} StripBody;

typedef struct {
    Arena *a;
    Module *m;
    const Func *func, *body;
    NodeId group;
    const StripBody *of;
    int64_t b, rows, k; // rows in all, keys
    Kernel *whole, *strip;
    LowerRefs whole_refs, strip_refs;
    uint32_t whole_fn, strip_fn;
} StripFixture;

static const char *sized(Arena *a, const char *text, int64_t b, int64_t m, int64_t k) {
    Text t = {.arena = a};
    for (; *text; text++) {
        if (*text == '$') {
            text++;
            text_printf(&t, "%lld",
                        (long long)(*text == 'b'   ? b
                                    : *text == 'm' ? m
                                    : *text == 'k' ? k
                                                   : k - m));
        } else {
            text_put(&t, text, 1);
        }
    }
    return t.at;
}

static AxisList axes_of(const Module *m, const char *names) {
    AxisList l = {0};
    for (const char *at = names; *at; at += *at == ' ') {
        size_t n = strcspn(at, " ");
        l.at[l.n++] = axis_find(m, sym_intern(m->syms, at, n));
        assert_int_not_equal(l.at[l.n - 1], 0);
        at += n;
    }
    return l;
}

static void fuse(StripFixture *x) {
    PassCx cx = {.m = x->m,
                 .scratch = arena_new(),
                 .ledger = ledger_new(x->a),
                 .target = target_find("cpu")};
    PassHooks hooks = {.verify = true};
    assert_true(pipeline_run_list(&cx, "fuse", &hooks));
    arena_free(cx.scratch);
    x->func = module_find(x->m, "step");
    x->group = NONE;
    for (NodeId n = 0; n < x->func->nodes.n; n++)
        if (node_at(x->func, n)->op == OP_group) {
            assert_int_equal(x->group, NONE); // one group
            x->group = n;
        }
    assert_int_not_equal(x->group, NONE);
    x->body = x->m->funcs.at[attr_of(x->m, x->func, x->group)->group.body];
}

static bool lower(StripFixture *x, Text *why) {
    NodeId tile[K_MAX_TILES];
    StripStore store[MAX_VALUES];
    StripShape shape = {.name = "strip",
                        .tiles = x->of->tiles,
                        .tile = tile,
                        .store = store,
                        .rows = axes_of(x->m, x->of->rows),
                        .lanes = axes_of(x->m, x->of->lanes)};
    for (uint32_t i = 0; i < x->of->tiles; i++) tile[i] = NONE;
    for (NodeId n = 0; n < x->body->nodes.n; n++)
        if (node_at(x->body, n)->op == OP_arg &&
            attr_of(x->m, x->body, n)->arg.index < x->of->tiles)
            tile[attr_of(x->m, x->body, n)->arg.index] = n;
    for (uint32_t i = 0; i < x->body->results.n; i++)
        store[shape.stores++] = (StripStore){x->body->results.at[i].node, x->of->to[i], i};
    Lowered low;
    if (!lower_strip(x->a, x->m, x->body, &shape, &low, why)) return false;
    assert_int_equal(low.kind, LOWER_kernel);
    x->strip = low.kernel;
    x->strip_refs = low.refs;
    return true;
}

static StripFixture *strip_new(Arena *a, const StripBody *body, int64_t b, int64_t m, int64_t k) {
    StripFixture *x = NEW(a, StripFixture);
    *x = (StripFixture){.a = a, .of = body, .b = b};
    Diag *d = diag_new(a);
    const char *text = sized(a, body->text, b, m, k);
    x->m = ir_parse(a, symtab_new(a), d, diag_add_file(d, "test.ir", text, strlen(text), false));
    if (!x->m) diag_print(d, stderr, false);
    assert_non_null(x->m);
    fuse(x);
    return x;
}

// ---- running

typedef struct {
    void *in[MAX_VALUES], *out[MAX_VALUES];
} StripValues;

static const Type *result_type(const StripFixture *x, uint32_t i) {
    return type_of(x->m, x->body, x->body->results.at[i].node);
}
static const Type *in_type(const StripFixture *x, uint32_t i) {
    return type_of(x->m, x->func, operand(x->func, x->group, i));
}

static void *values(Arena *a, const Type *t, uint64_t *seed) {
    int64_t n = type_count(t);
    void *p = arena_alloc(a, (size_t)(n + 1) * 4);
    fill(p, (Elem)t->elem, n, 3, true, seed);
    return p;
}

static StripValues values_new(const StripFixture *x) {
    StripValues v = {{NULL}, {NULL}};
    uint64_t seed = 4711;
    for (uint32_t i = 0; i < node_at(x->func, x->group)->n; i++)
        v.in[i] = values(x->a, in_type(x, i), &seed);
    for (uint32_t i = 0; i < x->body->results.n; i++)
        v.out[i] = values(x->a, result_type(x, i), &seed);
    return v;
}

static void bind(const LowerRefs *refs, const StripValues *v, void **bufs) {
    for (uint32_t i = 0; i < refs->n; i++)
        bufs[i] = refs->at[i].result ? v->out[refs->at[i].index] : v->in[refs->at[i].index];
}

static const SnEnv env = {.step = 3, .seed = 0x123456789abcdefull, .sample = 7};

// Copies rows and lanes of a [rows, k] matrix to or from a tile of leading dimension ld.
static void move(const StripFixture *x, float *whole, float *tile, const KRect *at, bool in) {
    size_t bytes = (size_t)(at->lane1 - at->lane0) * sizeof *tile;
    for (int64_t r = at->row0; r < at->row1; r++) {
        float *w = whole + r * x->k + at->lane0, *t = tile + (r - at->row0) * at->ld;
        memcpy(in ? t : w, in ? w : t, bytes);
    }
}

// Runs a rectangle; fn NULL: slowly. Results that are tiles are put into v->out.
static void run_strip(const StripFixture *x, CpuFunction fn, const StripValues *v, int64_t row0,
                      int64_t row1, int64_t lane0, int64_t lane1) {
    float *tile[K_MAX_TILES];
    KRect at = {tile, lane1 - lane0 + 3, row0, row1, lane0, lane1};
    for (uint32_t i = 0; i < x->strip->tiles; i++) {
        tile[i] = calloc((size_t)((row1 - row0) * at.ld + 1), sizeof *tile[i]);
        if (i < x->of->tiles) move(x, v->in[i], tile[i], &at, true);
    }
    void *bufs[K_MAX_ARGS];
    bind(&x->strip_refs, v, bufs);
    Text why = {.arena = x->a};
    if (!fn) {
        if (!kernel_interp(x->strip, bufs, &env, &at, &why)) fail_msg("%s", why.at);
    } else {
        void *scratch = aligned_alloc(64, (size_t)(x->strip->scratch + 63) / 64 * 64 + 64);
        SnStripFn *f = (SnStripFn *)(void *)&fn;
        (*f)(bufs, &env, tile, at.ld, row0, row1, lane0, lane1, scratch);
        free(scratch);
    }
    for (uint32_t i = 0; i < x->body->results.n; i++)
        if (x->of->to[i] != NONE) move(x, v->out[i], tile[x->of->to[i]], &at, false);
    for (uint32_t i = 0; i < x->strip->tiles; i++) free(tile[i]);
}

static void expect_same(const StripFixture *x, const StripValues *want, const StripValues *got,
                        uint32_t i, int64_t from, int64_t to, const char *how) {
    for (int64_t j = from; j < to; j++) {
        float w = ((float *)want->out[i])[j], g = ((float *)got->out[i])[j];
        if (memcmp(&w, &g, 4) == 0 || (isnan(w) && isnan(g))) continue;
        Text t = {.arena = x->a};
        kernel_print(&t, x->strip);
        fail_msg("%s\n%s: result %u [%lld]: %a, over whole rows %a", t.at, how, i, (long long)j,
                 (double)g, (double)w);
    }
}

// Strips of 3 rows over all lanes.
static void check_whole(const StripFixture *x, CpuFunction fn, const StripValues *want,
                        const char *how) {
    StripValues got = values_new(x);
    for (int64_t r = 0; r < x->rows; r += 3)
        run_strip(x, fn, &got, r, r + 3 < x->rows ? r + 3 : x->rows, 0, x->k);
    for (uint32_t i = 0; i < x->body->results.n; i++)
        expect_same(x, want, &got, i, 0, type_count(result_type(x, i)), how);
}

// Strips of 2 rows of one batch element over the lanes that their window can reach.
static void check_hulls(const StripFixture *x, CpuFunction fn, const StripValues *want,
                        const char *how) {
    StripValues got = values_new(x);
    int64_t m = x->rows / x->b, skipped = 0;
    for (int64_t r = 0; r < x->rows; r += 2 - (r % m + 1 == m)) {
        int64_t q = r % m, rows = q + 1 == m ? 1 : 2;
        int64_t first = x->k - m + q, low = first - x->of->window + 1, high = first + rows;
        int64_t lane0 = low > 0 ? low / FOLD_LANES * FOLD_LANES : 0;
        int64_t lane1 = high < x->k ? high : x->k;
        skipped += lane0 + x->k - lane1;
        run_strip(x, fn, &got, r, r + rows, lane0, lane1);
        for (uint32_t i = 0; i < x->body->results.n; i++)
            for (int64_t p = r; p < r + rows; p++) {
                if (x->of->to[i] == NONE) {
                    expect_same(x, want, &got, i, p, p + 1, how);
                    continue;
                }
                expect_same(x, want, &got, i, p * x->k + lane0, p * x->k + lane1, how);
                for (int64_t l = 0; l < x->k; l++)
                    if (l < lane0 || l >= lane1)
                        assert_true(((float *)want->out[i])[p * x->k + l] == 0);
            }
    }
    assert_true(skipped > 0);
}

static void run_whole(const StripFixture *x, CpuFunction fn, const StripValues *v) {
    void *bufs[K_MAX_ARGS];
    bind(&x->whole_refs, v, bufs);
    run_tasks(x->whole, &env, fn, bufs, false);
}

static void check_native(StripFixture *x, const char *name, bool slow) {
    Text why = {.arena = x->a};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(x->a, name, &isa, &why));
    if (!isa.here) return;
    CpuModule *module = cpu_module_new(x->a, &isa);
    x->whole_fn = cpu_add_kernel(module, x->whole);
    x->strip_fn = cpu_add_kernel(module, x->strip);
    CpuJit *j = cpu_jit(module, &why);
    if (!j) fail_msg("%s", why.at);
    cpu_module_free(module);
    StripValues want = values_new(x);
    run_whole(x, cpu_jit_function(j, x->whole_fn), &want);
    CpuFunction fn = cpu_jit_function(j, x->strip_fn);
    check_whole(x, fn, &want, name);
    if (slow) check_whole(x, NULL, &want, "slow");
    if (x->of->window) check_hulls(x, fn, &want, name);
    if (x->of->window && slow) check_hulls(x, NULL, &want, "slow");
    cpu_jit_free(j);
}

static void check(const StripBody *body, int64_t b, int64_t m, int64_t k) {
    Arena *a = arena_new();
    StripFixture *x = strip_new(a, body, b, m, k);
    Text why = {.arena = a};
    Lowered low;
    const uint8_t acc[MAX_OPERANDS] = {0};
    if (!lower_group(a, x->m, x->func, x->group, acc, &low, &why)) fail_msg("%s", why.at);
    x->whole = low.kernel;
    x->whole_refs = low.refs;
    if (!lower(x, &why)) fail_msg("%s", why.at);
    x->k = x->strip->extent[x->strip->outers];
    x->rows = 1;
    for (uint32_t i = 0; i < x->strip->outers; i++) x->rows *= x->strip->extent[i];
    check_native(x, "x86-64-v3", k < 1000);
    check_native(x, "x86-64-v4", false);
    arena_free(a);
}

// ---- bodies

#define AXES "axis b = $b\naxis m = $m\naxis k = $k\nfunc step {\n"
#define T    " : f32[b=$b, m=$m, k=$k]"
#define R    " : f32[b=$b, m=$m]"

// Keys of the query's own segment; a row without any has weights that are NaN, in both forms.
static const StripBody segments = {AXES "%0 = input" T " {name=c}\n"
                                        "%1 = input : i32[b=$b, k=$k] {name=key}\n"
                                        "%2 = input : i32[b=$b, m=$m] {name=query}\n"
                                        "%3 = eq %1, %2 : bool[b=$b, m=$m, k=$k]\n"
                                        "%4 = const : f32[] {value=-inf}\n"
                                        "%5 = select %3, %0, %4" T "\n"
                                        "%6 = reduce %5" R " {kind=max, axes=(k), by=row}\n"
                                        "%7 = sub %5, %6" T "\n"
                                        "%8 = exp %7" T "\n"
                                        "%9 = reduce %8" R " {kind=sum, axes=(k), by=row}\n"
                                        "%10 = div %8, %9" T "\n"
                                        "output top = %6\n"
                                        "output w = %10\n}\n",
                                   "b m",
                                   "k",
                                   1,
                                   {NONE, 0},
                                   0};

// A window of 100 keys, a soft cap, a slope for each head, a sink in the sum, dropout.
static const StripBody window = {AXES "%0 = input" T " {name=c}\n"
                                      "%1 = input : f32[b=$b] {name=slope}\n"
                                      "%2 = iota : i32[m=$m] {axis=m}\n"
                                      "%3 = iota : i32[k=$k] {axis=k}\n"
                                      "%4 = const : i32[] {value=$d}\n"
                                      "%5 = add %2, %4 : i32[m=$m]\n"
                                      "%6 = sub %5, %3 : i32[m=$m, k=$k]\n"
                                      "%7 = const : i32[] {value=0}\n"
                                      "%8 = const : i32[] {value=100}\n"
                                      "%9 = le %7, %6 : bool[m=$m, k=$k]\n"
                                      "%10 = lt %6, %8 : bool[m=$m, k=$k]\n"
                                      "%11 = and %9, %10 : bool[m=$m, k=$k]\n"
                                      "%12 = tanh %0" T "\n"
                                      "%13 = cast %6 : f32[m=$m, k=$k] {to=f32}\n"
                                      "%14 = mul %1, %13" T "\n"
                                      "%15 = sub %12, %14" T "\n"
                                      "%16 = const : f32[] {value=-inf}\n"
                                      "%17 = select %11, %15, %16" T "\n"
                                      "%18 = reduce %17" R " {kind=max, axes=(k), by=row}\n"
                                      "%19 = sub %17, %18" T "\n"
                                      "%20 = exp %19" T "\n"
                                      "%21 = reduce %20" R " {kind=sum, axes=(k), by=row}\n"
                                      "%22 = const : f32[] {value=0.5}\n"
                                      "%23 = add %21, %22" R "\n"
                                      "%24 = div %20, %23" T "\n"
                                      "%25 = random : u32[b=$b, m=$m, k=$k] {key=99}\n"
                                      "%26 = const : u32[] {value=1000000000}\n"
                                      "%27 = lt %25, %26 : bool[b=$b, m=$m, k=$k]\n"
                                      "%28 = const : f32[] {value=0}\n"
                                      "%29 = select %27, %28, %24" T "\n"
                                      "output top = %18\n"
                                      "output sum = %23\n"
                                      "output w = %29\n}\n",
                                 "b m",
                                 "k",
                                 1,
                                 {NONE, NONE, 1},
                                 100};

// The gradient of a causal softmax, w and dc in the places of c and dw.
static const StripBody gradient = {AXES "%0 = input" T " {name=c}\n"
                                        "%1 = input" T " {name=dw}\n"
                                        "%2 = input" R " {name=top}\n"
                                        "%3 = input" R " {name=inv}\n"
                                        "%4 = iota : i32[m=$m] {axis=m}\n"
                                        "%5 = iota : i32[k=$k] {axis=k}\n"
                                        "%6 = const : i32[] {value=$d}\n"
                                        "%7 = add %4, %6 : i32[m=$m]\n"
                                        "%8 = le %5, %7 : bool[m=$m, k=$k]\n"
                                        "%9 = const : f32[] {value=-inf}\n"
                                        "%10 = select %8, %0, %9" T "\n"
                                        "%11 = sub %10, %2" T "\n"
                                        "%12 = exp %11" T "\n"
                                        "%13 = mul %12, %3" T "\n"
                                        "%14 = mul %13, %1" T "\n"
                                        "%15 = reduce %14" R " {kind=sum, axes=(k), by=row}\n"
                                        "%16 = sub %1, %15" T "\n"
                                        "%17 = mul %13, %16" T "\n"
                                        "output delta = %15\n"
                                        "output w = %13\n"
                                        "output dc = %17\n}\n",
                                   "b m",
                                   "k",
                                   2,
                                   {0, NONE, 1},
                                   1 << 20};

// The gradient of a softmax with dropout: both sweeps need the draw.
static const StripBody dropped = {AXES "%0 = input" T " {name=c}\n"
                                       "%1 = input" T " {name=dw}\n"
                                       "%2 = input" R " {name=top}\n"
                                       "%3 = sub %0, %2" T "\n"
                                       "%4 = exp %3" T "\n"
                                       "%5 = random : u32[b=$b, m=$m, k=$k] {key=99}\n"
                                       "%6 = const : u32[] {value=1000000000}\n"
                                       "%7 = lt %5, %6 : bool[b=$b, m=$m, k=$k]\n"
                                       "%8 = const : f32[] {value=0}\n"
                                       "%9 = select %7, %8, %1" T "\n"
                                       "%10 = mul %4, %9" T "\n"
                                       "%11 = reduce %10" R " {kind=sum, axes=(k), by=row}\n"
                                       "%12 = sub %9, %11" T "\n"
                                       "%13 = mul %4, %12" T "\n"
                                       "%14 = select %7, %8, %4" T "\n"
                                       "output dc = %13\n"
                                       "output w = %14\n}\n",
                                  "b m",
                                  "k",
                                  2,
                                  {1, 0},
                                  0};

// Two products, a bias of every pair, weights that no row normalises and that one fold reads before
// they are stored where a score was.
static const StripBody products = {AXES "%0 = input" T " {name=c1}\n"
                                        "%1 = input" T " {name=c2}\n"
                                        "%2 = input : f32[k=$k, b=$b, m=$m] {name=bias}\n"
                                        "%3 = add %0, %1" T "\n"
                                        "%4 = add %3, %2" T "\n"
                                        "%5 = reduce %4" R " {kind=sum, axes=(k), by=row}\n"
                                        "%6 = add %4, %5" T "\n"
                                        "%7 = reduce %6" R " {kind=sum, axes=(k), by=row}\n"
                                        "output w = %4\n"
                                        "output u = %6\n"
                                        "output sum = %7\n}\n",
                                   "b m",
                                   "k",
                                   2,
                                   {0, 1, NONE},
                                   0};

// Grouped heads: rows are (b, g, m), what is captured is of head b * 3 + g. Keys are two axes that the
// bias has in another order, so their indices are computed.
static const StripBody grouped = {
    "axis b = $b\naxis g = 3\naxis m = $m\naxis i = 5\naxis j = $k\n"
    "func step {\n"
    "%0 = input : f32[b=$b, g=3, m=$m, i=5, j=$k] {name=c}\n"
    "%1 = input : f32[j=$k, i=5] {name=bias}\n"
    "%2 = input : f32[b=$b, g=3] {name=slope}\n"
    "%3 = mul %0, %2 : f32[b=$b, g=3, m=$m, i=5, j=$k]\n"
    "%4 = add %3, %1 : f32[b=$b, g=3, m=$m, i=5, j=$k]\n"
    "%5 = reduce %4 : f32[b=$b, g=3, m=$m] {kind=max, axes=(i, j), by=row}\n"
    "%6 = sub %4, %5 : f32[b=$b, g=3, m=$m, i=5, j=$k]\n"
    "%7 = exp %6 : f32[b=$b, g=3, m=$m, i=5, j=$k]\n"
    "%8 = reduce %7 : f32[b=$b, g=3, m=$m] {kind=sum, axes=(i, j), by=row}\n"
    "%9 = div %7, %8 : f32[b=$b, g=3, m=$m, i=5, j=$k]\n"
    "output top = %5\n"
    "output w = %9\n}\n",
    "b g m",
    "i j",
    1,
    {NONE, 0},
    0};

static void test_segments(void **state) {
    (void)state;
    check(&segments, 2, 5, 1);
    check(&segments, 2, 5, 77);
    check(&segments, 3, 4, 300);
    check(&segments, 1, 3, 8300);
}

static void test_window(void **state) {
    (void)state;
    check(&window, 2, 7, 7);
    check(&window, 2, 450, 450);
    check(&window, 1, 33, 450);
    check(&window, 1, 150, 4250);
    check(&window, 1, 5, 9000);
}

static void test_gradient(void **state) {
    (void)state;
    check(&gradient, 3, 45, 45);
    check(&gradient, 2, 300, 300);
    check(&gradient, 1, 9, 4200);
}

static void test_dropped(void **state) {
    (void)state;
    check(&dropped, 2, 5, 300);
    check(&dropped, 1, 4, 4200);
    Arena *a = arena_new();
    StripFixture *x = strip_new(a, &dropped, 2, 5, 40);
    Text why = {.arena = a};
    assert_true(lower(x, &why));
    uint32_t draws = 0;
    for (KId i = 0; i < x->strip->ops.n; i++) {
        const KOp *o = &x->strip->ops.at[i];
        draws += o->kind == KOP_random;
        if (o->kind == KOP_random) assert_true(o->hold); // drawn once
    }
    assert_int_equal(draws, 1);
    arena_free(a);
}

static void test_products(void **state) {
    (void)state;
    check(&products, 2, 5, 133);
    check(&products, 1, 4, 4097);
}

static void test_grouped(void **state) {
    (void)state;
    check(&grouped, 2, 3, 1);
    check(&grouped, 2, 3, 29);
    check(&grouped, 1, 2, 821);
}

// What cannot be a strip is refused with the reason.
static void refuses(StripBody body, const char *reason) {
    Arena *a = arena_new();
    StripFixture *x = strip_new(a, &body, 2, 5, 40);
    Text why = {.arena = a};
    assert_false(lower(x, &why));
    if (strcmp(why.at, reason) != 0) fail_msg("'%s', expected '%s'", why.at, reason);
    arena_free(a);
}

static void test_refusals(void **state) {
    (void)state;
    refuses((StripBody){AXES "%0 = input : i32[b=$b, m=$m, k=$k] {name=c}\n%1 = add %0, %0 : "
                             "i32[b=$b, m=$m, k=$k]\noutput w = %1\n}\n",
                        "b m",
                        "k",
                        1,
                        {0},
                        0},
            "a tile of another type than f32");
    refuses((StripBody){AXES "%0 = input" T " {name=c}\n%1 = isfinite %0 : bool[b=$b, m=$m, k=$k]\n"
                             "output w = %1\n}\n",
                        "b m",
                        "k",
                        1,
                        {0},
                        0},
            "a tile of another type than f32");
    StripBody x = segments;
    x.rows = "b";
    refuses(x, "a tile with an axis that is no row's or lane's");
    x = segments, x.to[1] = NONE;
    refuses(x, "a result that is neither a tile nor one value for each row");
    x = segments, x.lanes = "m k", x.rows = "b";
    refuses(x, "a fold that is not over whole rows");
    refuses((StripBody){"axis x = 3\n" AXES "%0 = input" T " {name=c}\n%1 = add %0, %0" T
                        "\noutput w = %1\n}\n",
                        "b m x",
                        "k",
                        1,
                        {0},
                        0},
            "an axis that no value of the body has");
    refuses((StripBody){AXES "%0 = input" T " {name=c}\n"
                             "%1 = reduce %0 : f32[b=$b, k=$k] {kind=sum, axes=(m), by=col}\n"
                             "output s = %1\n}\n",
                        "b m",
                        "k",
                        1,
                        {0},
                        0},
            "a fold that is not over whole rows");
    refuses((StripBody){"axis cut = 4\n" AXES "%0 = input" T " {name=c}\n"
                        "%1 = slice %0 : f32[b=$b, cut=4, k=$k] {from=m, to=cut, start=1}\n"
                        "%2 = pad %1" T " {from=cut, to=m}\n"
                        "%3 = add %0, %2" T "\noutput w = %3\n}\n",
                        "b m",
                        "k",
                        1,
                        {0},
                        0},
            "a tile is read at another row or lane");
    refuses((StripBody){"axis cut = 4\n" AXES "%0 = input" T " {name=c}\n"
                        "%1 = group %0" T " {kind=rows, body=#1} region rows {\n"
                        "%0 = arg" T "\n"
                        "%1 = reduce %0" R " {kind=sum, axes=(k), by=row}\n"
                        "%2 = slice %1 : f32[b=$b, cut=4] {from=m, to=cut, start=1}\n"
                        "%3 = pad %2" R " {from=cut, to=m}\n"
                        "%4 = add %0, %3" T "\nvalue \"\" = %4\n}\noutput w = %1\n}\n",
                        "b m",
                        "k",
                        1,
                        {0},
                        0},
            "a fold's value is read at another row");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments), cmocka_unit_test(test_window),
        cmocka_unit_test(test_gradient), cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_products), cmocka_unit_test(test_grouped),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

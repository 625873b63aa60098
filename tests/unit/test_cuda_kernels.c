// The printed CUDA kernels against the slow evaluator, bit for bit (docs/numerics.md: exact interp =
// kinterp = emulated GPU), on the emulated device with its checker on. cuda_families.h and
// random_kernels.h write them.
//
// Each kernel runs in three environments: in the first micro-batch with accumulators that were never
// written, in a later one with values in them, and with inputs that are infinite, NaN, -0 or
// subnormal. Some share the memory of an input and an output, as passes/memplan.c does, and some are
// started three times at once through a table. Where results are NaN, the fault word names the first.
//
// A sample on sm_90a; SINTER_SEED chooses another. SINTER_LONG=1: everything, on every target.
#include "tests/unit/cuda_families.h"
#include "tests/unit/random_kernels.h"

#include "codegen/cuda/geometry.h"
#include "codegen/cuda/nvrtc.h"
#include "runtime/elem.h"
#include "runtime/emulator/engine/emu.h"

enum {
    BATCH = 24, // kernels of a program
    MAX_TARGETS = 8,
    INSTANCES = 3, // of a launch with a table
    ENVIRONMENTS = 3,
    PLACE = 77, // number of the first argument
    MAX_WORDS = 3 + INSTANCES * (K_MAX_ARGS + CUDA_MAX_KEYS)
};

// ---- the device ---------------------------------------------------------------------------------

typedef struct {
    const CudaTarget *target;
    EmuDevice *device;
    EmuModule *module[BATCH]; // of the programs at hand
} EmulatedGpu;

typedef struct {
    SnPool *pool;
    EmulatedGpu gpu[MAX_TARGETS];
    uint32_t gpus, kernels, runs;
    uint32_t shapes[CU_SCATTER + 1], wide, vector, shared, tables; // kernels of each
    uint32_t turned[2]; // CU_TURN: threads along the lanes, along the rows
    uint32_t faults;    // runs that stored a NaN
} KernelWorld;

static void add_gpu(KernelWorld *w, const CudaTarget *t) {
    EmuConfig c = {.sm = t->sm, .arch = t->arch, .check = true, .seed = 3, .memory = 256 << 20};
    EmulatedGpu *g = &w->gpu[w->gpus++];
    *g = (EmulatedGpu){.target = t, .device = emu_device_new(&c, w->pool)};
    assert_non_null(g->device);
}

static bool long_tier(void) {
    const char *tier = getenv("SINTER_LONG");
    return tier && *tier == '1';
}

static KernelWorld world_open(void) {
    KernelWorld w = {.pool = sn_pool_new(2)};
    if (!long_tier()) add_gpu(&w, cuda_target_find("sm_90a", 6));
    for (uint32_t i = 0; long_tier() && cuda_target_at(i); i++) add_gpu(&w, cuda_target_at(i));
    return w;
}

static void world_close(KernelWorld *w) {
    for (uint32_t i = 0; i < w->gpus; i++) emu_device_free(w->gpu[i].device);
    sn_pool_free(w->pool);
}

// ---- a kernel and its buffers -------------------------------------------------------------------

typedef struct {
    KernelCase c;
    CudaLaunch launch;
    bool table;
    uint32_t in, out; // arguments in the same memory; equal: none
} KernelJob;

static Buffers shared_view(const KernelJob *j, const Buffers *b) {
    Buffers view = *b;
    view.buf[j->out] = view.buf[j->in];
    return view;
}

// Kernels whose accumulator was never written read zeros in the first micro-batch.
static bool has_value(const KernelJob *j, uint32_t arg) {
    uint32_t mode = j->c.k->args.at[arg].mode;
    if (arg == j->out && j->in != j->out) return true;
    return mode == KARG_in || mode == KARG_inout || (mode == KARG_acc && !j->c.env.first);
}

typedef struct {
    EmuRange range[MAX_WORDS];
    uint64_t words[MAX_WORDS]; // what the kernel gets, or the table
    uint32_t ranges, n;
    uint64_t fresh[MAX_WORDS]; // allocations to free
    uint32_t nfresh;
} Params;

static uint64_t put(const EmulatedGpu *g, Params *p, const void *from, uint64_t bytes,
                    bool has_value) {
    uint64_t at = emu_alloc(g->device, bytes + !bytes);
    assert_true(at != 0);
    memcpy(emu_host(g->device, at, bytes), from, bytes);
    emu_mark(g->device, at, bytes, has_value);
    p->fresh[p->nfresh++] = at;
    return at;
}

static void give_range(Params *p, uint64_t at, int64_t bytes, uint32_t mode) {
    p->range[p->ranges++] = (EmuRange){.base = at,
                                       .bytes = (uint64_t)bytes,
                                       .reads = mode != KARG_out,
                                       .writes = mode != KARG_in,
                                       .name = "argument"};
}

// Arguments and keys of an instance; its keys differ from those of the others.
static void give_instance(const EmulatedGpu *g, const KernelJob *j, const Buffers *b, uint32_t z,
                          Params *p) {
    const Kernel *k = j->c.k;
    uint32_t first = p->n;
    for (uint32_t i = 0; i < k->args.n; i++) {
        uint64_t bytes = (uint64_t)arg_bytes(k, i);
        bool shares = i == j->out && j->in != j->out;
        p->words[p->n++] =
            shares ? p->words[first + j->in] : put(g, p, b->buf[i], bytes, has_value(j, i));
        give_range(p, p->words[p->n - 1], (int64_t)bytes, k->args.at[i].mode);
    }
    for (uint32_t i = 0; i < j->launch.nkeys; i++) p->words[p->n++] = j->launch.key[i] + z;
}

static void launch_with(const EmulatedGpu *g, const KernelJob *j, const Params *p,
                        uint32_t instances) {
    char name[16], why[64];
    snprintf(name, sizeof name, "k%u", j->launch.function);
    const EmuFunction *f = emu_module_function(g->module[j->launch.batch], name);
    assert_non_null(f);
    assert_int_equal(emu_function_info(f).param_bytes, p->n * 8);
    EmuLaunch l = {.function = f,
                   .grid = {j->launch.grid[0], j->launch.grid[1], instances},
                   .block = {j->launch.block, 1, 1},
                   .dynamic_shared = j->launch.shared,
                   .params = p->words,
                   .ranges = p->range,
                   .range_count = p->ranges,
                   .kernel = j->c.k->name};
    EmuFault fault;
    if (emu_launch(g->device, &l, NULL, &fault)) return;
    snprintf(why, sizeof why, "%s", g->target->name);
    Arena *a = arena_new();
    show(&j->c, a);
    fail_msg("%s: %s", why, fault.text);
}

// ---- the fault word

// Of the NaNs in the outputs of instance z the least key. Those that were there before count only when
// `before` is NULL: whether the kernel stored them is not known.
static bool is_nan_at(const KArg *a, const void *buf, int64_t n) {
    return elem_info[a->elem].kind == ELEM_FLOAT &&
           isnan(sn_elem_get(a->elem, (const char *)buf + n * elem_info[a->elem].bytes));
}

static uint64_t least_key(const KernelJob *j, uint32_t z, const Buffers *before,
                          const Buffers *after) {
    const Kernel *k = j->c.k;
    for (uint32_t i = 0; i < k->args.n; i++) {
        const KArg *a = &k->args.at[i];
        if (a->mode == KARG_in) continue;
        for (int64_t n = 0; n < a->count; n++)
            if (is_nan_at(a, after->buf[i], n) && !(before && is_nan_at(a, before->buf[i], n)))
                return (uint64_t)(PLACE + z * k->args.n + i) << SN_FAULT_ELEMENT | (uint64_t)n;
    }
    return UINT64_MAX;
}

static void check_fault(KernelWorld *w, const EmulatedGpu *g, const KernelJob *j, uint64_t env,
                        const Buffers *start, const Buffers *want) {
    const SnCudaEnv *e = (const void *)emu_host(g->device, env, sizeof *e);
    uint64_t sure = UINT64_MAX, maybe = UINT64_MAX;
    for (uint32_t z = j->table ? INSTANCES : 1; z-- > 0;) {
        const Buffers before = shared_view(j, &start[z]);
        uint64_t key = least_key(j, z, &before, &want[z]);
        if (key != UINT64_MAX) sure = key;
        key = least_key(j, z, NULL, &want[z]);
        if (key != UINT64_MAX) maybe = key;
    }
    w->faults += sure != UINT64_MAX;
    if (e->fault >= maybe && e->fault <= sure) return;
    Arena *a = arena_new();
    show(&j->c, a);
    fail_msg("%s: the fault word is %llx, not %llx", j->c.k->name, (unsigned long long)e->fault,
             (unsigned long long)sure);
}

// ---- one run

// Runs all instances on one device and compares what each left behind.
static void check_on_gpu(KernelWorld *w, Suite *s, const EmulatedGpu *g, const KernelJob *j,
                         const Buffers *start, const Buffers *want, const char *how) {
    Params p = {.n = 2};
    uint32_t instances = j->table ? INSTANCES : 1, first[INSTANCES];
    const SnCudaEnv env = {j->c.env, UINT64_MAX};
    p.words[0] = put(g, &p, &env, sizeof env, true);
    p.words[1] = PLACE;
    give_range(&p, p.words[0], sizeof env.env, KARG_in);
    give_range(&p, p.words[0] + offsetof(SnCudaEnv, fault), sizeof env.fault, KARG_inout);
    p.range[p.ranges - 1].continues = true;
    for (uint32_t z = 0; z < instances; z++) {
        first[z] = p.n;
        give_instance(g, j, &start[z], z, &p);
    }
    Params call = p;
    if (j->table) {
        uint32_t bytes = (p.n - 2) * 8;
        call.words[2] = put(g, &call, p.words + 2, bytes, true);
        give_range(&call, call.words[2], bytes, KARG_in);
        call.n = 3;
    }
    if (j->launch.grid[0]) launch_with(g, j, &call, instances);
    for (uint32_t z = 0; z < instances; z++) {
        Buffers got;
        for (uint32_t i = 0; i < j->c.k->args.n; i++)
            got.buf[i] = emu_host(g->device, p.words[first[z] + i], (uint64_t)arg_bytes(j->c.k, i));
        compare(s, &j->c, &want[z], &got, how);
    }
    check_fault(w, g, j, p.words[0], start, want);
    for (uint32_t i = 0; i < call.nfresh; i++) assert_true(emu_free(g->device, call.fresh[i]));
}

static void add_to_keys(const Kernel *k, uint64_t z) {
    for (KId i = 0; i < k->ops.n; i++)
        if (k->ops.at[i].kind == KOP_random) k->ops.at[i].key += z;
}

static void expect(Suite *s, const KernelJob *j, uint32_t z, const Buffers *b) {
    Text why = {.arena = s->arena};
    Buffers view = shared_view(j, b);
    add_to_keys(j->c.k, z);
    bool ok = kernel_interp(j->c.k, view.buf, &j->c.env, NULL, &why);
    add_to_keys(j->c.k, 0 - (uint64_t)z);
    if (ok) return;
    show(&j->c, s->arena);
    fail_msg("%s: kernel_interp: %s", j->c.k->name, why.at);
}

static void run_job(KernelWorld *w, Suite *s, KernelJob *j, uint32_t environment) {
    static const char *const names[] = {"first", "later", "edges"};
    uint32_t instances = j->table ? INSTANCES : 1;
    Buffers start[INSTANCES], own[INSTANCES], want[INSTANCES];
    j->c.env.first = environment == 0;
    j->c.tame = environment != 2;
    for (uint32_t z = 0; z < instances; z++) {
        uint64_t seed = hash_u64(j->c.k->hash, environment * INSTANCES + z) | 1;
        start[z] = buffers_new(&j->c, seed);
        own[z] = buffers_new(&j->c, seed);
        want[z] = shared_view(j, &own[z]);
        expect(s, j, z, &own[z]);
    }
    for (uint32_t i = 0; i < w->gpus; i++)
        check_on_gpu(w, s, &w->gpu[i], j, start, want,
                     arena_printf(s->arena, "%s, %s", w->gpu[i].target->name, names[environment]));
    for (uint32_t z = 0; z < instances; z++) {
        buffers_free(&j->c, &start[z]);
        buffers_free(&j->c, &own[z]);
    }
    w->runs += w->gpus * instances;
}

// ---- a program of kernels -----------------------------------------------------------------------

static void load_images(EmulatedGpu *g, const CudaImages *images) {
    for (uint32_t i = 0; i < images->images.n; i++) {
        const CudaImage *x = &images->images.at[i];
        char why[512];
        if (x->target == g->target &&
            emu_module_load(g->device, x->data, x->size, &g->module[x->batch], why, sizeof why))
            fail_msg("%s: %s", g->target->name, why);
    }
}

static void compile(KernelWorld *w, Suite *s, CudaModule *m) {
    const CudaTarget *targets[MAX_TARGETS];
    for (uint32_t i = 0; i < w->gpus; i++) targets[i] = w->gpu[i].target;
    CudaCompile how = {.targets = targets, .ntargets = w->gpus, .ptx_only = true, .threads = 2};
    CudaImages images = {0};
    Text why = {.arena = s->arena};
    if (!cuda_compile(s->arena, m, &how, &images, &why)) fail_msg("%s", why.at);
    if (images.warnings.n) fail_msg("%s", images.warnings.at);
    for (uint32_t i = 0; i < w->gpus; i++) load_images(&w->gpu[i], &images);
}

static void add(KernelWorld *w, Suite *s, CudaModule *m, KernelJob *j) {
    CuGeometry g;
    Text why = {.arena = s->arena};
    if (!cu_geometry(j->c.k, &g, &why) || !cuda_add_kernel(m, j->c.k, j->table, &j->launch, &why)) {
        show(&j->c, s->arena);
        fail_msg("%s", why.at);
    }
    w->kernels++;
    w->shapes[g.shape]++;
    w->turned[g.along != j->c.k->outers] += g.shape == CU_TURN;
    w->wide += g.wide;
    w->vector += g.vector;
    w->shared += j->in != j->out;
    w->tables += j->table;
}

static void run_program(KernelWorld *w, Suite *s, KernelJob *jobs, uint32_t n) {
    CudaModule *m = cuda_module_new(s->arena);
    for (uint32_t i = 0; i < n; i++) add(w, s, m, &jobs[i]);
    compile(w, s, m);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t e = 0; e < ENVIRONMENTS; e++) run_job(w, s, &jobs[i], e);
    for (uint32_t i = 0; i < w->gpus; i++)
        for (uint32_t b = 0; b < BATCH && w->gpu[i].module[b]; b++) {
            emu_module_free(w->gpu[i].module[b]);
            w->gpu[i].module[b] = NULL;
        }
}

// ---- what runs ----------------------------------------------------------------------------------

static const int64_t row_counts[] = {1, 2, 3, 7, 31, 257};
static const int64_t lane_counts[] = {1,   2,   3,    4,    5,    31,   32,   33,   100,  127,  128,
                                      129, 255, 1000, 1024, 1025, 4095, 4096, 4097, 8193, 50257};
// For the limits of geometry.c on rows and on threads.
static const int64_t others[][2] = {{300, 64},    {300, 1000}, {1030, 5},  {1030, 1025},
                                    {1030, 1028}, {11000, 12}, {3, 70000}, {100, 8200}};
enum {
    OTHERS = sizeof others / sizeof *others,
    ROW_COUNTS = sizeof row_counts / sizeof *row_counts,
    LANE_COUNTS = sizeof lane_counts / sizeof *lane_counts,
    SHAPES = ROW_COUNTS * LANE_COUNTS + OTHERS,
    FAMILIES = sizeof families / sizeof *families
};

// Rows of a multiple of 4 elements at a multiple of 4 in a third of the draws.
static FamilyShape shape_at(uint32_t i, uint64_t draw) {
    FamilyShape s = {0};
    if (i < OTHERS)
        s.rows = others[i][0], s.lanes = others[i][1];
    else
        s.rows = row_counts[i % ROW_COUNTS], s.lanes = lane_counts[(i - OTHERS) / ROW_COUNTS];
    if (draw % 3 == 0) return s;
    s.base = (int64_t)(draw / 3 % 4);
    s.pad = (int64_t)(draw / 12 % 6);
    return s;
}

// An index beyond 32 bits, which nothing uses: all of the kernel's are printed with 64.
static void make_wide(Suite *s, KernelCase *c) {
    Text why = {.arena = s->arena};
    KIndex far = {.base = (int64_t)1 << 33, .op = NONE};
    load(s, c, arg(s, c, ELEM_f32, KARG_in, 1), far, NONE);
    assert_true(kernel_finish(s->arena, c->k, &why));
}

static void draft(Suite *s, uint32_t family, uint32_t variant, FamilyShape shape, uint64_t draw,
                  KernelJob *to) {
    Draft *d = NEW(s->arena, Draft);
    *d = (Draft){.a = s->arena, .text = {.arena = s->arena}, .s = shape, .variant = variant};
    families[family].write(d);
    Diag *diag = diag_new(s->arena);
    Kernel *k =
        kernel_parse(s->arena, diag, diag_add_file(diag, "case.k", d->text.at, d->text.n, false));
    if (!k) {
        diag_print(diag, stderr, false);
        fail_msg("a kernel does not parse:\n%s", d->text.at);
    }
    *to = (KernelJob){.c = {.k = k, .env = {.step = 3, .seed = 0x123456789abcdef, .sample = 7}},
                      .table = draw % 5 == 0,
                      .in = draw % 2 ? d->in : 0,
                      .out = draw % 2 ? d->out : 0};
    memcpy(to->c.limit, d->limit, sizeof d->limit);
    if (draw % 11 == 0) make_wide(s, &to->c);
}

typedef struct {
    KernelWorld *w;
    Suite *s;
    KernelJob jobs[BATCH];
    uint32_t n;
} JobQueue;

static void flush(JobQueue *q) {
    if (q->n) run_program(q->w, q->s, q->jobs, q->n);
    if (q->s) arena_free(q->s->arena);
    q->s = NULL;
    q->n = 0;
}

static void enqueue(JobQueue *q, uint32_t family, uint32_t variant, FamilyShape shape,
                    uint64_t draw) {
    if (!q->s) q->s = suite_new();
    draft(q->s, family, variant, shape, draw, &q->jobs[q->n++]);
    if (q->n == BATCH) flush(q);
}

static uint64_t seed_of_run(void) {
    const char *given = getenv("SINTER_SEED");
    return given ? strtoull(given, NULL, 10) : 1;
}

// In the sample, each family in one shape, one of twelve of the small, one of a hundred of the large. In
// full, all but three of four of the large, which take most of the time.
static bool is_chosen(uint32_t i, const FamilyShape *s, uint64_t draw) {
    enum { MOST = 40000, MOST_LONG = 160000, LARGE = 200000 };
    int64_t n = s->rows * s->lanes;
    if (i >= OTHERS && n > (s->lanes > MOST ? MOST_LONG : MOST)) return false;
    if (long_tier()) return n <= LARGE || draw % 4 == 0;
    return i == 0 || draw % (n > LARGE ? 100 : n > MOST / 4 ? 24 : 12) == 0;
}

// A test that misses a part of geometry.c would say nothing of it.
static void must_cover(const KernelWorld *w) {
    print_message("%u kernels in %u runs: ", w->kernels, w->runs);
    for (uint32_t i = 0; i <= CU_SCATTER; i++) print_message("%u, ", w->shapes[i]);
    print_message("wide %u, vector %u, in place %u, tables %u, faults %u\n", w->wide, w->vector,
                  w->shared, w->tables, w->faults);
    for (uint32_t i = 0; i <= CU_SCATTER; i++) assert_true(w->shapes[i] > 0);
    assert_true(w->wide && w->vector && w->shared && w->tables && w->faults > w->kernels / 4);
    assert_true(w->turned[0] && w->turned[1]);
}

static void test_families(void **state) {
    KernelWorld *w = *state;
    uint64_t seed = seed_of_run();
    JobQueue q = {.w = w};
    print_message("%s, seed %llu\n", long_tier() ? "every kernel" : "a sample",
                  (unsigned long long)seed);
    for (uint32_t f = 0; f < FAMILIES; f++)
        for (uint32_t v = 0; v < families[f].variants; v++)
            for (uint32_t i = 0; i < SHAPES; i++) {
                uint64_t draw = hash_u64(hash_u64(hash_u64(HASH_SEED, seed), f * 100 + v), i) >> 8;
                FamilyShape shape = shape_at(i, draw / 7);
                // chunks so long that their rows are folded in batches
                bool batches = families[f].write == write_norm_backward && shape.rows > 2000;
                if (batches || is_chosen(i, &shape, draw / 97)) enqueue(&q, f, v, shape, draw);
            }
    flush(&q);
    must_cover(w);
}

// All families that make tiles. Returns how many.
static uint32_t add_tiles(Suite *s, CudaModule *m) {
    Text why = {.arena = s->arena};
    CudaLaunch launch = {0};
    for (uint32_t f = 0; f < FAMILIES; f++)
        for (uint32_t v = 0; v < families[f].variants; v++) {
            KernelJob j;
            CuGeometry g;
            draft(s, f, v, (FamilyShape){.rows = 300, .lanes = 1000}, 1, &j);
            assert_true(cu_geometry(j.c.k, &g, &why));
            if (g.shape == CU_TURN) assert_true(cuda_add_kernel(m, j.c.k, false, &launch, &why));
        }
    return launch.function + 1;
}

// A thread of a tile has values of four elements: they fit its registers, on every target.
static void test_registers_of_tiles(void **state) {
    (void)state;
    Suite *s = suite_new();
    CudaModule *m = cuda_module_new(s->arena);
    const CudaTarget *targets[MAX_TARGETS];
    CudaCompile how = {.targets = targets, .threads = 2};
    CudaImages images = {0};
    Text why = {.arena = s->arena};
    while ((targets[how.ntargets] = cuda_target_at(how.ntargets))) how.ntargets++;
    uint32_t kernels = add_tiles(s, m);
    if (!cuda_compile(s->arena, m, &how, &images, &why)) fail_msg("%s", why.at);
    if (images.warnings.n) fail_msg("%s", images.warnings.at);
    for (uint32_t t = 0; t < how.ntargets; t++) {
        assert_int_equal(images.reports[t].n, kernels);
        for (uint32_t i = 0; i < kernels; i++) {
            const CudaReport *r = &images.reports[t].at[i];
            print_message("%s: %s: %u registers, %u bytes shared\n", targets[t]->name,
                          cuda_function_comment(m, r->function), r->registers, r->shared);
            assert_true(r->spill_stores == 0 && r->spill_loads == 0 && r->stack == 0);
        }
    }
    arena_free(s->arena);
}

// Random kernels; epilogues are no kernels of their own, strips are the CPU's.
static void test_random_kernels(void **state) {
    KernelWorld *w = *state;
    uint64_t from = seed_of_run() * 100000;
    uint32_t count = long_tier() ? 2000 : 3 * BATCH;
    print_message("random kernels from seed %llu\n", (unsigned long long)from);
    for (uint32_t i = 0; i < count;) {
        JobQueue q = {.w = w, .s = suite_new()};
        for (; q.n < BATCH; i++) {
            random_kernel(q.s, from + i);
            q.jobs[q.n] = (KernelJob){.c = q.s->cases[q.s->n - 1], .table = i % 5 == 0};
            uint32_t order = q.jobs[q.n].c.k->order;
            q.n += order != KORDER_tile && order != KORDER_strip;
        }
        finish(q.s);
        flush(&q);
    }
}

int main(void) {
    Arena *a = arena_new();
    Nvrtc rt;
    Text why = {.arena = a};
    if (!nvrtc_open(&rt, &why)) {
        printf("skipped: %s\n", why.at);
        return 77;
    }
    arena_free(a);
    KernelWorld w = world_open();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_registers_of_tiles),
                                       cmocka_unit_test_prestate(test_families, &w),
                                       cmocka_unit_test_prestate(test_random_kernels, &w)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    world_close(&w);
    return failed;
}

// Products as CUDA kernels of ours, in f32 (test_cuda_gemm_mma.c: by tensor cores). Their texts, compiled for every target: no spills, no stack, no
// warnings; equal products share a function. Their bits, on the emulated device: those of runtime/core/gemm.c,
// which tests/unit/test_gemm.c holds to the definition. And what they say of a NaN.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/cpu/cpu.h"
#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include "runtime/core/gemm.h"
#include "runtime/elem.h"
#include "runtime/emulator/engine/emu.h"
#include "tests/unit/product_shapes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static Product typed(Product p, uint32_t a, uint32_t b, uint32_t c) {
    p.g.elem_a = a, p.g.elem_b = b, p.g.elem_c = c;
    return p;
}

// Small enough to run, and one of each kind.
static uint32_t small_products(Product *to) {
    uint32_t n = 0;
    to[n++] = plain(1, 1, 1);
    to[n++] = plain(31, 33, 7);
    to[n++] = plain(127, 129, 65);
    to[n++] = plain(8, 768, 4097);
    to[n++] = plain(64, 64, 16384);
    to[n++] = transposed(31, 33, 7);
    to[n++] = transposed(64, 96, 40);
    to[n++] = scores(2, 37, 3, 16);
    to[n++] = with_acc(plain(40, 48, 12), false);
    to[n++] = with_acc(plain(40, 48, 12), true);
    to[n++] = with_acc(transposed(33, 17, 5000), true);
    to[n++] = moved(plain(40, 48, 12), 1, 2, 3);
    to[n++] = with_acc(moved(plain(40, 48, 12), 4, 8, 16), true);
    to[n++] = nested(1);
    to[n++] = batched(plain(1, 4, 8), 6); // one text, two grids
    to[n++] = batched(plain(1, 4, 8), 24);
    to[n++] = typed(plain(40, 48, 12), SN_ELEM_bf16, SN_ELEM_f32, SN_ELEM_f32);
    to[n++] = typed(transposed(33, 17, 30), SN_ELEM_f32, SN_ELEM_f16, SN_ELEM_f32);
    to[n++] = typed(by_columns(plain(33, 16, 31)), SN_ELEM_f16, SN_ELEM_bf16, SN_ELEM_f32);
    to[n++] = typed(with_acc(plain(40, 48, 12), true), SN_ELEM_f32, SN_ELEM_bf16, SN_ELEM_f32);
    to[n++] = typed(plain(40, 48, 12), SN_ELEM_f16, SN_ELEM_f32, SN_ELEM_bf16);
    to[n++] = typed(transposed(33, 17, 30), SN_ELEM_bf16, SN_ELEM_f32, SN_ELEM_f16);
    return n;
}
enum { SMALL = 22, RANDOM = 40 };

static uint32_t large_products(Product *to) {
    uint32_t n = 0;
    to[n++] = plain(4096, 4096, 1024);
    to[n++] = transposed(4095, 4097, 1023);
    to[n++] = with_acc(transposed(4096, 4096, 8192), true);
    to[n++] = with_acc(plain(1024, 768, 50257), true);
    to[n++] = plain(50257, 768, 1024);
    to[n++] = scores(8, 1024, 12, 64);
    to[n++] = with_acc(nested(8), true);
    to[n++] = nested(16);
    to[n++] = far_apart(plain(2048, 2048, 512));
    to[n++] = far_apart(with_acc(transposed(512, 64, 8192), true));
    return n;
}
enum { LARGE = 12 };

// Small, or a batch that fills a device with small tiles.
static Product any(uint64_t seed) {
    static const int64_t size[] = {1, 2, 3, 4, 7, 8, 12, 16, 31, 32, 33, 48, 64, 65, 96, 128};
    product_state = seed;
    bool many = product_next() % 2;
    int64_t batch = many ? product_pick(100, 132) : product_pick(1, 4), sizes = many ? 11 : 16;
    int64_t m = size[product_pick(0, sizes - 1)], n = size[product_pick(0, sizes - 1)];
    int64_t k = size[product_pick(0, sizes - 1)];
    if (!many && product_next() % 8 == 0) k = product_pick(4090, 4200);
    Product p = product_random(batch, m, n, k, 4, product_next() % 2);
    return product_next() % 2 ? with_acc(p, product_next() % 2) : p;
}

static int set_up(void **state) {
    *state = arena_new();
    return 0;
}
static int tear_down(void **state) {
    arena_free(*state);
    return 0;
}

static CudaLaunch add(Arena *a, CudaModule *m, const Product *p, const char *name) {
    CudaLaunch launch;
    Text why = {.arena = a};
    if (!cuda_add_gemm(m, &p->g, name, &launch, &why)) fail_msg("%s: %s", name, why.at);
    return launch;
}

static void equal_products_share(void **state) {
    CudaModule *m = cuda_module_new(*state);
    Product p = plain(40, 48, 12), q = plain(40, 48, 13);
    Product acc = with_acc(p, false), first = with_acc(p, true);
    CudaLaunch a = add(*state, m, &p, "one"), b = add(*state, m, &p, "another\n} \\");
    assert_memory_equal(&a, &b, sizeof a);
    p.g.nm = 2, p.g.m[1] = (SnDim){1, 7, 0, 9}; // an extent of 1 means nothing
    assert_int_equal(add(*state, m, &p, "folded").function, a.function);
    assert_int_equal(add(*state, m, &q, "k").function, 1);
    assert_int_equal(add(*state, m, &acc, "acc").function, 2);
    assert_int_equal(add(*state, m, &first, "first").function, 3);
    assert_int_equal(m->functions, 4);
    const Product few = batched(plain(1, 4, 8), 6), many = batched(plain(1, 4, 8), 24);
    a = add(*state, m, &few, "few");
    b = add(*state, m, &many, "many");
    assert_int_equal(a.function, b.function);
    assert_int_equal(b.grid[0], 4 * a.grid[0]); // a block computes elements of one batch index only
}

static void empty_products(void **state) {
    CudaModule *m = cuda_module_new(*state);
    CudaLaunch launch;
    Text why = {.arena = *state};
    Product p = plain(4, 0, 4);
    assert_false(cuda_add_gemm(m, &p.g, "empty", &launch, &why));
    assert_string_equal(why.at, "a product with 0 elements along n");
}

// A batch that fills a device with one tile each, for tiles of all sizes.
static uint32_t tiled_products(Product *to, int64_t batch, int64_t k) {
    static const int64_t size[] = {8, 16, 32, 64, 128};
    uint32_t n = 0;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            if (size[i] * size[j] < 256) continue;
            Product p = (i + j) % 2 ? plain(size[i], size[j], k) : transposed(size[i], size[j], k);
            p = batched(p, batch);
            to[n++] = i % 2 ? with_acc(p, true) : p;
        }
    return n;
}
enum { TILED = 25 };

// In the sampled tier a few tiles and what is large.
static void add_products(Arena *a, CudaModule *m) {
    bool all = getenv("SINTER_LONG") != NULL;
    Product p[SMALL + LARGE + 2 * TILED];
    uint32_t n = large_products(p);
    for (uint32_t i = 0; i < n; i++) add(a, m, &p[i], "large");
    n = tiled_products(p, 1056, 64);
    n += tiled_products(p + n, 1056, 8192);
    for (uint32_t i = 0; i < n; i += all ? 1 : 7) add(a, m, &p[i], "tiled");
    n = all ? small_products(p) : 0;
    for (uint32_t i = 0; i < n; i++) add(a, m, &p[i], "small");
    for (uint32_t i = 0; i < (all ? RANDOM : 0); i++) {
        Product r = any(i + 1);
        add(a, m, &r, "random");
    }
}

static void check_reports(const CudaModule *m, const CudaImages *out, uint32_t t,
                          const CudaTarget *target) {
    uint32_t most = 0;
    assert_int_equal(out->reports[t].n, m->functions);
    for (uint32_t i = 0; i < m->functions; i++) {
        const CudaReport *r = &out->reports[t].at[i];
        if (r->spill_stores || r->spill_loads || r->stack)
            fail_msg("k%u on %s: %u bytes of stack, %u + %u of spills", i, target->name, r->stack,
                     r->spill_stores, r->spill_loads);
        if (r->registers > most) most = r->registers;
    }
    printf("%s: %u functions, at most %u registers, no spills\n", target->name, m->functions, most);
}

static void no_spills(void **state) {
    Arena *a = *state;
    Nvrtc rt;
    Text why = {.arena = a};
    if (!nvrtc_open(&rt, &why)) {
        printf("skipped registers and spills of products: %s\n", why.at);
        return;
    }
    CudaModule *m = cuda_module_new(a);
    add_products(a, m);
    const CudaTarget *targets[8];
    uint32_t count = 0;
    for (const CudaTarget *t; (t = cuda_target_at(count)); count++) targets[count] = t;
    CudaCompile how = {targets, count, false, NULL, 2};
    CudaImages out;
    if (!cuda_compile(a, m, &how, &out, &why)) fail_msg("%s", why.at);
    if (out.warnings.n) fail_msg("%s", out.warnings.at);
    for (uint32_t t = 0; t < count; t++) check_reports(m, &out, t, targets[t]);
}

// ---- on the emulated device ---------------------------------------------------------------------

typedef struct {
    Arena *arena;
    SnGemmKit kit;
    CpuJit *jit;
    SnPool *pool;
    EmuDevice *device;
    uint32_t faults; // products that a NaN was put into, and found
} CpuMachine;
enum { PLACE = 77 }; // number of the first argument

static void machine_open(Arena *a, CpuMachine *w, const CudaTarget *target) {
    Text why = {.arena = a};
    CpuIsa isa;
    assert_true(cpu_isa_resolve(a, "native", &isa, &why));
    CpuModule *m = cpu_module_new(a, &isa);
    CpuGemm g = cpu_add_gemm(m);
    w->arena = a;
    w->jit = cpu_jit(m, &why);
    assert_non_null(w->jit);
    uint32_t n = sn_ukr_sizes(g.mr) * g.nr / 16;
    SnFn *ukr = NEW_ARRAY(a, SnFn, n);
    for (uint32_t f = 0; f < n; f++) ukr[f] = cpu_jit_function(w->jit, g.ukr + f);
    w->kit = (SnGemmKit){.mr = g.mr, .nr = g.nr, .ukr = ukr};
    cpu_module_free(m);
    EmuConfig config = {.sm = target->sm,
                        .arch = target->arch,
                        .check = true,
                        .seed = 1,
                        .memory = (uint64_t)1 << 28};
    w->pool = sn_pool_new(2);
    assert_non_null(w->pool);
    w->device = emu_device_new(&config, w->pool);
    assert_non_null(w->device);
}

static void machine_close(CpuMachine *w) {
    emu_device_free(w->device);
    sn_pool_free(w->pool);
    cpu_jit_free(w->jit);
}

// The same product by the CPU's driver (runtime/core/gemm.c), with the same arguments.
static void on_cpu(CpuMachine *w, const SnGemm *g, void *const *bufs, const SnEnv *env) {
    SnGemmJob job;
    sn_gemm_prepare(&job, g, &w->kit, 1, NULL);
    void *shared = aligned_alloc(64, ((size_t)job.shared + 127) / 64 * 64);
    void *scratch = aligned_alloc(64, ((size_t)job.scratch + 127) / 64 * 64);
    assert_non_null(shared);
    assert_non_null(scratch);
    for (uint32_t phase = 0; phase < SN_GEMM_PHASES; phase++)
        sn_gemm_run(&job, phase, bufs, env, 0, job.tasks[phase], shared, scratch);
    free(shared);
    free(scratch);
}

static float value(uint32_t elem) {
    switch (product_next() % 16) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return 1e-40f;  // subnormal
    case 3: return -3e-23f; // products underflow
    case 4: return elem == SN_ELEM_f16 ? 6e4f : 1e15f;
    }
    return (float)(int32_t)product_next() * 0x1p-31f - 0.5f;
}

static uint64_t size_of(uint32_t elem) { return sn_elem_info[elem].bytes; }

// A buffer of n elements on the device, written or not; *host: a copy in this process.
static uint64_t upload(CpuMachine *w, uint32_t elem, int64_t n, bool written, void **host) {
    uint64_t bytes = (uint64_t)n * size_of(elem), at = emu_alloc(w->device, bytes);
    assert_true(at != 0);
    char *to = emu_host(w->device, at, bytes);
    assert_non_null(to);
    if (written) {
        for (uint64_t i = 0; i < bytes; i += size_of(elem))
            sn_elem_set(elem, to + i, (double)value(elem));
        emu_mark(w->device, at, bytes, true);
    }
    *host = aligned_alloc(64, (size_t)(bytes + 127) / 64 * 64);
    assert_non_null(*host);
    memcpy(*host, to, bytes);
    return at;
}

static bool nan_at(uint32_t elem, const void *x, int64_t i) {
    return isnan(sn_elem_get(elem, (const char *)x + (uint64_t)i * size_of(elem))) != 0;
}

static void put_nan(uint32_t elem, void *x, int64_t i) {
    const float nan = NAN;
    const uint16_t narrow = 0x7fff;
    memcpy((char *)x + (uint64_t)i * size_of(elem),
           elem == SN_ELEM_f32 ? (const void *)&nan : &narrow, size_of(elem));
}

// Once more with a NaN in the middle of A: the fault word names the first element of C that became one.
// before: C without it.
static void check_fault(CpuMachine *w, EmuLaunch *l, const Product *p, const void *before) {
    const uint64_t *param = l->params;
    uint32_t elem_a = p->g.elem_a, elem_c = p->g.elem_c;
    SnCudaEnv *env = (void *)emu_host(w->device, param[0], sizeof *env);
    void *a = emu_host(w->device, param[2], (uint64_t)p->count[0] * size_of(elem_a));
    const void *c = emu_host(w->device, param[4], (uint64_t)p->count[2] * size_of(elem_c));
    EmuFault fault;
    if (env->fault != UINT64_MAX) fail_msg("%s: there is no NaN", l->kernel);
    put_nan(elem_a, a, p->count[0] / 2);
    if (!emu_launch(w->device, l, NULL, &fault)) fail_msg("%s: %s", l->kernel, fault.text);
    uint64_t want = UINT64_MAX;
    for (int64_t i = p->count[2]; i-- > 0;)
        if (nan_at(elem_c, c, i) && !nan_at(elem_c, before, i))
            want = (uint64_t)(PLACE + 2) << SN_FAULT_ELEMENT | (uint64_t)i;
    if (env->fault != want)
        fail_msg("%s: the fault word is %llx, not %llx", l->kernel, (unsigned long long)env->fault,
                 (unsigned long long)want);
    w->faults += want != UINT64_MAX;
}

// What the CPU computes to host[2]; it stores f32, which is rounded here.
static void expected(CpuMachine *w, const Product *p, void *const *host, const void *acc,
                     const SnEnv *env) {
    SnGemm g = p->g;
    uint32_t elem = g.elem_c;
    float *c = elem == SN_ELEM_f32 ? host[2] : calloc((size_t)p->count[2], sizeof *c);
    assert_non_null(c);
    g.elem_c = SN_ELEM_f32;
    for (int64_t i = 0; elem != SN_ELEM_f32 && i < p->count[2]; i++)
        c[i] = (float)sn_elem_get(elem, (char *)host[2] + (uint64_t)i * size_of(elem));
    on_cpu(w, &g, (void *const[]){host[0], host[1], c, (void *)(uintptr_t)acc}, env);
    if (elem == SN_ELEM_f32) return;
    for (int64_t i = 0; i < p->count[2]; i++)
        sn_elem_set(elem, (char *)host[2] + (uint64_t)i * size_of(elem), (double)c[i]);
    free(c);
}

static void run_product(CpuMachine *w, const EmuModule *module, const CudaLaunch *launch,
                        const Product *p, const char *what, bool in_place) {
    char symbol[16];
    void *host[4];
    uint64_t param[6], bytes[4];
    const uint32_t elem[4] = {p->g.elem_a, p->g.elem_b, p->g.elem_c, p->g.elem_c};
    bool add = sn_gemm_has(&p->g, SN_GEMM_ACC);
    SnCudaEnv env = {{.first = (int32_t)(product_next() % 2), .step = 1}, UINT64_MAX};
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint64_t)p->count[i < 3 ? i : 2] * size_of(elem[i]);
        bool written = i != 2 || in_place || elem[i] != SN_ELEM_f32;
        param[2 + i] = upload(w, elem[i], p->count[i < 3 ? i : 2], written, &host[i]);
    }
    param[0] = emu_alloc(w->device, sizeof env);
    memcpy(emu_host(w->device, param[0], sizeof env), &env, sizeof env);
    emu_mark(w->device, param[0], sizeof env, true);
    param[1] = PLACE;
    if (in_place) param[5] = param[4];
    EmuRange range[] = {{param[0], sizeof env.env, true, false, "env", false},
                        {param[0] + offsetof(SnCudaEnv, fault), 8, true, true, "fault", true},
                        {param[2], bytes[0], true, false, "A", false},
                        {param[3], bytes[1], true, false, "B", false},
                        {param[4], bytes[2], in_place, true, "C", false},
                        {param[5], bytes[3], true, false, "acc", false}};
    snprintf(symbol, sizeof symbol, "k%u", launch->function);
    EmuLaunch l = {.function = emu_module_function(module, symbol),
                   .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                   .block = {launch->block, 1, 1},
                   .dynamic_shared = launch->shared,
                   .params = param,
                   .ranges = range,
                   .range_count = add && !in_place ? 6 : 5,
                   .kernel = what};
    assert_non_null(l.function);
    assert_int_equal(emu_function_info(l.function).param_bytes, add ? 48 : 40);
    EmuFault fault;
    if (!emu_launch(w->device, &l, NULL, &fault)) fail_msg("%s: %s", what, fault.text);
    expected(w, p, host, host[in_place ? 2 : 3], &env.env);
    if (memcmp(host[2], emu_host(w->device, param[4], bytes[2]), bytes[2]) != 0)
        fail_msg("%s: other bits than the CPU's", what);
    check_fault(w, &l, p, host[2]);
    for (int i = 0; i < 4; i++) free(host[i]);
    emu_free(w->device, param[0]);
    for (int i = 0; i < 3 + !in_place; i++) emu_free(w->device, param[2 + i]);
}

enum { RUNS = SMALL + TILED + RANDOM };

static void load_modules(CpuMachine *w, const CudaImages *images, EmuModule **module) {
    for (uint32_t i = 0; i < images->images.n; i++) {
        const CudaImage *x = &images->images.at[i];
        char text[512];
        if (emu_module_load(w->device, x->data, x->size, &module[i], text, sizeof text) != EMU_OK)
            fail_msg("batch %u for %s: %s", i, x->target->name, text);
    }
}

// What product i is, for messages.
static const char *words(Arena *a, const CudaTarget *t, uint32_t i, const Product *p) {
    return arena_printf(a, "%s, product %u: %lld of %lld x %lld x %lld", t->name, i,
                        (long long)p->batch, (long long)p->m, (long long)p->n, (long long)p->k);
}

static void run_all(Arena *a, const CudaTarget *target, const Product *p, uint32_t n) {
    CpuMachine w;
    CudaImages images;
    Text why = {.arena = a};
    CudaModule *m = cuda_module_new(a);
    CudaLaunch *launch = NEW_ARRAY(a, CudaLaunch, n);
    for (uint32_t i = 0; i < n; i++) launch[i] = add(a, m, &p[i], "product");
    CudaCompile how = {&target, 1, true, NULL, 2};
    machine_open(a, &w, target);
    if (!cuda_compile(a, m, &how, &images, &why)) fail_msg("%s", why.at);
    EmuModule **module = NEW_ARRAY(a, EmuModule *, images.images.n);
    load_modules(&w, &images, module);
    for (uint32_t i = 0; i < n; i++) {
        const EmuModule *of = module[launch[i].batch];
        const char *what = words(a, target, i, &p[i]);
        run_product(&w, of, &launch[i], &p[i], what, false);
        if (sn_gemm_has(&p[i].g, SN_GEMM_ACC)) run_product(&w, of, &launch[i], &p[i], what, true);
    }
    for (uint32_t i = 0; i < images.images.n; i++) emu_module_free(module[i]);
    assert_true(w.faults > n / 2);
    machine_close(&w);
}

// sm_80 and sm_120 are two generations of NVRTC's code generator. The long tier runs all products on
// all targets.
static void same_bits(void **state) {
    Arena *a = *state;
    Nvrtc rt;
    Text why = {.arena = a};
    if (!nvrtc_open(&rt, &why)) {
        printf("skipped products on the emulated device: %s\n", why.at);
        return;
    }
    bool all = getenv("SINTER_LONG") != NULL;
    Product p[RUNS];
    uint32_t few = small_products(p);
    for (uint32_t i = 0; i < (all ? RANDOM : RANDOM / 4); i++) p[few++] = any(i + 1);
    uint32_t n = few + tiled_products(p + few, 132, 20);
    for (uint32_t i = 0; cuda_target_at(i); i++) {
        bool last = !cuda_target_at(i + 1);
        if (all || i == 0 || last) run_all(a, cuda_target_at(i), p, last && !all ? few : n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equal_products_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_products, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_spills, set_up, tear_down),
        cmocka_unit_test_setup_teardown(same_bits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

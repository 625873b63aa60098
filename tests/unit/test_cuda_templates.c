// The CUDA templates (codegen/cuda/template/): each is in the table, and compiles with what it needs and a small
// use of it for every target, without warnings, stack or spills. Without NVRTC that part is skipped, saying so.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/cuda/module.h"
#include "codegen/cuda/nvrtc.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name;
    CudaTemplate template;
    const char
        *use; // behind `extern "C" __global__ void k0(const Env *env, float *x, float *y, int *n)`
    const char *before;
} TemplateUse;

static const char product[] =
    "struct P {\n"
    "    using InA = float;\n"
    "    using InB = float;\n"
    "    using Out = float;\n"
    "    using Off = int;\n"
    "    using Place = u32;\n"
    "    static constexpr u32 M = 100, N = 60, K = 5000;\n"
    "    static constexpr u32 BM = 32, BN = 32, BK = 16, TM = 2, TN = 4;\n"
    "    static constexpr bool ACC = true, ACC_FIRST = true, BIAS = true, BIAS_ROWS = false;\n"
    "    struct A {\n"
    "        static constexpr u32 WIDTH = 4;\n"
    "        static constexpr bool ALONG_K = true;\n"
    "        static __device__ Off batch(u32 i) { return Off(i) * 500000; }\n"
    "        static __device__ Off row(u32 i) { return Off(i) * 5000; }\n"
    "        static __device__ Off k(u32 i) { return Off(i); }\n"
    "    };\n"
    "    struct B {\n"
    "        static constexpr u32 WIDTH = 1;\n"
    "        static constexpr bool ALONG_K = false;\n"
    "        static __device__ Off batch(u32 i) { return 0; }\n"
    "        static __device__ Off row(u32 i) { return Off(i); }\n"
    "        static __device__ Off k(u32 i) { return Off(i) * 61; }\n"
    "    };\n"
    "    struct C {\n"
    "        static constexpr u32 WIDTH = 4;\n"
    "        static __device__ Off batch(u32 i) { return Off(i) * 6000; }\n"
    "        static __device__ Off row(u32 i) { return Off(i) * 60; }\n"
    "        static __device__ Off column(u32 i) { return Off(i); }\n"
    "    };\n"
    "};\n";

static const char mma_product[] =
    "struct P {\n"
    "    using In = bf16;\n"
    "    using Out = bf16;\n"
    "    using Off = int;\n"
    "    using Place = u32;\n"
    "    static constexpr u32 M = 100, N = 60, K = 5000;\n"
    "    static constexpr u32 BM = 64, BN = 64, WM = 2, WN = 2;\n"
    "    static constexpr bool ACC = true, ACC_FIRST = true, BIAS = true, BIAS_ROWS = false;\n"
    "    struct A {\n"
    "        static constexpr u32 WIDTH = 8;\n"
    "        static constexpr bool ALONG_K = true;\n"
    "        static __device__ Off batch(u32 i) { return Off(i) * 500000; }\n"
    "        static __device__ Off row(u32 i) { return Off(i) * 5000; }\n"
    "        static __device__ Off k(u32 i) { return Off(i); }\n"
    "    };\n"
    "    struct B {\n"
    "        static constexpr u32 WIDTH = 1;\n"
    "        static constexpr bool ALONG_K = false;\n"
    "        static __device__ Off batch(u32 i) { return 0; }\n"
    "        static __device__ Off row(u32 i) { return Off(i); }\n"
    "        static __device__ Off k(u32 i) { return Off(i) * 61; }\n"
    "    };\n"
    "    struct C {\n"
    "        static constexpr u32 WIDTH = 2;\n"
    "        static __device__ Off batch(u32 i) { return Off(i) * 6000; }\n"
    "        static __device__ Off row(u32 i) { return Off(i) * 60; }\n"
    "        static __device__ Off column(u32 i) { return Off(i); }\n"
    "    };\n"
    "};\n";

static const TemplateUse uses[] = {
    {"kernel", CUDA_kernel,
     "float a[4]; load4(x, a); store4(y, a); u32 bad = ~0u; watch4(bad, 0, a);"
     " watch(bad, 4, min_nan(a[0], max_nan(a[1], a[2]))); report(env, 1, bad);",
     ""},
    {"fold", CUDA_fold,
     "__shared__ float z[128]; float a[4]; load4(x + threadIdx.x * 4, a);"
     " const auto sum = [](float p, float q) { return p + q; };"
     " const auto any = [](bool p, bool q) { return p || q; };"
     " fold_team<32>(~0u, a, sum); z[threadIdx.x] = fold_team<16>(~0u, a[0] + a[3], sum);"
     " __syncthreads(); y[threadIdx.x] = fold_128(~0u, z, threadIdx.x % 32, sum);"
     " n[threadIdx.x] = fold_team<32>(~0u, a[1] > a[2], any);",
     ""},
    {"scatter", CUDA_scatter,
     "__shared__ int counts[4], list[512]; const int warp = threadIdx.x / 32, t = threadIdx.x % 32;"
     " u32 votes[4]; int mine = 0;"
     " for (int b = 0; b < 4; b++) {"
     "   votes[b] = __ballot_sync(~0u, x[warp * 128 + b * 32 + t] > 0); mine += __popc(votes[b]);"
     " }"
     " const int total = list_owned<4>(votes, mine, warp, t, counts, list);"
     " if (threadIdx.x < total) n[threadIdx.x] = list[threadIdx.x];",
     ""},
    {"gemm", CUDA_gemm, "gemm<P>(env, 0, x, x + 500000, y, y, x);", product},
    {"mma", CUDA_mma,
     "__shared__ __align__(128) char z[64 * 128 * 2]; const u32 a = "
     "(u32)__cvta_generic_to_shared(z);"
     " float c[4][4] = {}, d[16][4] = {}; u32 w[4][2];"
     " Rows16<120>::fetch<64, 128>(a, (const bf16 *)x, 120, 0, 60); end_group(); wait_groups<0>();"
     " __syncthreads(); multiply_rows<bf16, 120>(c, a, 0, a);"
     " for (int j = 0; j < 4; j++)"
     "   w[j][0] = Mma<bf16>::pack(c[j][0], c[j][1]), w[j][1] = Mma<bf16>::pack(c[j][2], "
     "exp_fast(c[j][3]));"
     " multiply_packed<bf16, 120>(d, w, a);"
     " for (int j = 0; j < 15; j++) store2(y + 4 * j, d[j][0], d[j][1]), store2((f16 *)n + 2 * j, "
     "d[j][2], d[j][3]);",
     ""},
    {"gemm_mma", CUDA_gemm_mma,
     "const bf16 *a = (const bf16 *)x; gemm_mma<P>(env, 0, a, a + 500000, (bf16 *)y, (bf16 *)y, "
     "a);",
     mma_product},
    // test_cuda_attend.c compiles kernels of these
    {"attend", CUDA_attend, "n[threadIdx.x] = x[threadIdx.x] == LOWEST ? TILE_none : TILE_all;",
     ""},
    {"attend_grad", CUDA_attend_grad, "y[threadIdx.x] = exp_fast(x[threadIdx.x]);", ""},
};
enum { USES = sizeof uses / sizeof *uses };

static void files_are_the_table(void **state) {
    (void)state;
    static const char *const names[] = {
#define TEMPLATE(name, needs) #name ".cuh",
#include "codegen/cuda/template/template.def"
#undef TEMPLATE
    };
    DIR *d = opendir(SOURCE_DIR "/codegen/cuda/template");
    assert_non_null(d);
    uint32_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".cuh")) continue;
        bool found = false;
        for (uint32_t i = 0; i < CUDA_TEMPLATES; i++) found |= strcmp(e->d_name, names[i]) == 0;
        if (!found) fail_msg("%s is not in template.def", e->d_name);
        n++;
    }
    closedir(d);
    assert_int_equal(n, CUDA_TEMPLATES);
    assert_int_equal(USES, CUDA_TEMPLATES);
    for (uint32_t i = 0; i < USES; i++) assert_int_equal(uses[i].template, i);
}

static void compile(Arena *a, const TemplateUse *u, const CudaTarget *const *targets, uint32_t n) {
    CudaModule *m = cuda_module_new(a);
    uint32_t function, batch;
    Text *to = cuda_module_open_function(m, u->name, u->template, &function, &batch),
         why = {.arena = a};
    text_printf(to, "%s", u->before);
    text_printf(to,
                "extern \"C\" __global__ void __launch_bounds__(128) k%u(const Env *env, float *x, "
                "float *y, int *n) {\n    %s\n}\n",
                function, u->use);
    const CudaCompile how = {targets, n, false, NULL, 2};
    CudaImages out;
    if (!cuda_compile(a, m, &how, &out, &why)) fail_msg("%s.cuh: %s", u->name, why.at);
    if (out.warnings.n) fail_msg("%s.cuh: %s", u->name, out.warnings.at);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(out.reports[i].n, 1);
        const CudaReport *r = &out.reports[i].at[0];
        if (r->stack || r->spill_stores || r->spill_loads)
            fail_msg("%s.cuh on %s: %u bytes of stack", u->name, targets[i]->name, r->stack);
        printf("%s.cuh %s: %u registers\n", u->name, targets[i]->name, r->registers);
    }
}

static void each_compiles(void **state) {
    (void)state;
    Arena *a = arena_new();
    Text why = {.arena = a};
    if (!cuda_available(&why)) {
        printf("skipped compiling the templates: %s\n", why.at);
        arena_free(a);
        return;
    }
    const CudaTarget *targets[8];
    uint32_t n = 0;
    for (const CudaTarget *t; (t = cuda_target_at(n)); n++) targets[n] = t;
    assert_int_equal(n, 5);
    for (uint32_t i = 0; i < USES; i++) compile(a, &uses[i], targets, n);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_the_table),
        cmocka_unit_test(each_compiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// tools/roofline.c: occupancy against cases worked out by hand from the rules in its head, roofline
// times, and that the table of GPUs agrees with the targets that the compiler knows.
#include "codegen/cuda/cuda.h"
#include "tools/roofline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

typedef struct {
    const char *gpu;
    uint32_t registers, shared, block; // of the kernel
    uint32_t blocks;                   // expected
    OccupancyLimit limit;
    double share;
} RooflineCase;

// Each line: what the four limits are. Warps of a block w; registers of a warp r = 32 x registers up to
// 256; a part holds 16384 / r warps, four parts four times that.
static const RooflineCase cases[] = {
    // w 8: 64 / 8 = 8 by threads; r 1024: 4 x 16 / 8 = 8; the first of the two is named
    {"A100 SXM 40GB", 32, 0, 256, 8, LIMIT_threads, 1},
    // r 33 x 32 = 1056 -> 1280: 16384 / 1280 = 12, 4 x 12 / 8 = 6; 48 of 64 warps
    {"A100 SXM 40GB", 33, 0, 256, 6, LIMIT_registers, 0.75},
    // r 2048: a block of 32 warps takes all 65536
    {"A100 SXM 40GB", 64, 0, 1024, 1, LIMIT_registers, 0.5},
    // r 65 x 32 = 2080 -> 2304: 32 x 2304 is more than there is
    {"A100 SXM 40GB", 65, 0, 1024, 0, LIMIT_registers, 0},
    // 255 registers are allowed, r 8160 -> 8192: 2 warps in a part, 8 / 4 = 2 blocks of 4 warps
    {"A100 SXM 40GB", 255, 0, 128, 2, LIMIT_registers, 0.125},
    // w 3, r 168 x 32 = 5376: 3 warps in a part, 12 / 3 = 4 blocks
    {"A100 SXM 40GB", 168, 0, 96, 4, LIMIT_registers, 0.1875},
    // w 5, r 8192: 5 warps count as 8 when the launch is checked: 8 x 8192 = 65536 still fits; 8 / 5 = 1
    {"A100 SXM 40GB", 250, 0, 160, 1, LIMIT_registers, 5.0 / 64},
    // w 9, likewise: they count as 12, 12 x 8192 is more than 65536
    {"A100 SXM 40GB", 250, 0, 288, 0, LIMIT_registers, 0},
    // 48 KiB + 1 KiB = 50176: 164 KiB hold 3 of them; 12 of 64 warps
    {"A100 SXM 40GB", 32, 49152, 128, 3, LIMIT_shared, 0.1875},
    // 1 byte takes 1 KiB + 128: 167936 / 1152 = 145, so that blocks decide
    {"A100 SXM 40GB", 16, 1, 32, 32, LIMIT_blocks, 0.5},
    // 227 KiB is the most that a block may have on Hopper: with the system's 1 KiB all of 228
    {"H100 SXM", 32, 227 * 1024, 256, 1, LIMIT_shared, 0.125},
    {"H100 SXM", 32, 228 * 1024, 256, 0, LIMIT_shared, 0},
    // 1536 threads: one block of 1024
    {"RTX 4090", 32, 0, 1024, 1, LIMIT_threads, 2.0 / 3},
    // w 1: 48 by threads, 24 blocks
    {"RTX 4090", 32, 0, 32, 24, LIMIT_blocks, 0.5},
    // w 16, r 1280: 4 x 12 / 16 = 3 and 48 / 16 = 3
    {"RTX 5090", 40, 0, 512, 3, LIMIT_threads, 1},
    // 99 KiB is the most on these
    {"RTX 5090", 40, 99 * 1024, 512, 1, LIMIT_shared, 1.0 / 3},
};

static void occupancy_follows_the_rules(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const RooflineCase *c = &cases[i];
        const Gpu *g = gpu_find(c->gpu);
        assert_non_null(g);
        Occupancy o = gpu_occupancy(g, c->registers, c->shared, c->block);
        if (o.blocks != c->blocks || o.limit != c->limit || fabs(o.share - c->share) > 1e-12)
            fail_msg("case %zu: %u blocks, limit %d, share %g", i, o.blocks, (int)o.limit, o.share);
    }
}

static void impossible_blocks_do_not_start(void **state) {
    (void)state;
    const Gpu *g = gpu_at(0);
    assert_int_equal(gpu_occupancy(g, 32, 0, 0).blocks, 0);
    assert_int_equal(gpu_occupancy(g, 32, 0, 1025).blocks, 0);
    assert_int_equal(gpu_occupancy(g, 256, 0, 32).blocks, 0);
    assert_int_equal(gpu_occupancy(g, 32, UINT32_MAX, 32).blocks, 0);
}

static void check_time(const Gpu *g, GpuRate rate, double flops, double bytes, double us,
                       RooflineBound bound) {
    Roofline r = roofline(g, rate, flops, bytes);
    assert_true(fabs(r.seconds * 1e6 - us) < 1e-9 * us);
    assert_int_equal(r.bound, bound);
}

static void time_is_the_start_and_the_larger_one(void **state) {
    (void)state;
    const Gpu *g = gpu_find("H100 SXM"); // 66.9e6 flops and 3.352e6 bytes in a microsecond
    check_time(g, RATE_f32, 0, 0, 2, BOUND_start);
    check_time(g, RATE_f32, 66.9e6, 3.352e6 / 2, 3, BOUND_start);
    check_time(g, RATE_f32, 66.9e6, 3.352e6 * 10, 12, BOUND_memory);
    check_time(g, RATE_f32, 66.9e6 * 20, 3.352e6 * 10, 22, BOUND_flops);
    check_time(g, RATE_tf32, 494.7e6 * 20, 3.352e6 * 10, 22, BOUND_flops);
    check_time(g, RATE_tf32, 66.9e6 * 20, 3.352e6 * 10, 12, BOUND_memory);
    check_time(g, RATE_bf16, 989.4e6 * 20, 3.352e6 * 10, 22, BOUND_flops);
}

static bool target_has(uint32_t sm) {
    for (uint32_t i = 0; cuda_target_at(i); i++)
        if (cuda_target_at(i)->sm == sm) return true;
    return false;
}

// Every row can be a target and has what estimates divide by; limits follow from the architecture.
static void rows_are_sane(void **state) {
    (void)state;
    for (uint32_t i = 0; gpu_at(i); i++) {
        const Gpu *g = gpu_at(i), *first = gpu_of_sm(g->sm);
        assert_true(target_has(g->sm));
        assert_ptr_equal(gpu_find(g->name), g);
        assert_ptr_equal(gpu_of_device(g->device), g);
        assert_true(g->f32 > 10 && g->f32 < 200);
        assert_true(g->bandwidth > 500 && g->bandwidth < 10000);
        assert_true(g->memory > 20 && g->memory < 200);
        assert_true(g->tf32 >= g->f32 && g->bf16 >= 1.9 * g->tf32 && g->bf16 < 2.1 * g->tf32);
        assert_true(g->fp8 == 0 || (g->fp8 > 1.9 * g->bf16 && g->fp8 < 2.1 * g->bf16));
        assert_int_equal(g->registers, 65536);
        assert_int_equal(g->shared, first->shared);
        assert_int_equal(g->threads, first->threads);
        assert_int_equal(g->blocks, first->blocks);
    }
}

static void every_target_has_a_row(void **state) {
    (void)state;
    for (uint32_t i = 0; cuda_target_at(i); i++) assert_non_null(gpu_of_sm(cuda_target_at(i)->sm));
}

static void devices_are_found_by_name(void **state) {
    (void)state;
    const Gpu *g = gpu_of_device("NVIDIA H100 80GB HBM3, sm_90, machine code");
    assert_non_null(g);
    assert_string_equal(g->name, "H100 SXM");
    assert_null(gpu_of_device("NVIDIA H100 80GB HBM3e"));
    assert_null(gpu_of_device(""));
    assert_null(gpu_find("H100"));
    assert_null(gpu_of_sm(91));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(occupancy_follows_the_rules),
        cmocka_unit_test(impossible_blocks_do_not_start),
        cmocka_unit_test(time_is_the_start_and_the_larger_one),
        cmocka_unit_test(rows_are_sane),
        cmocka_unit_test(every_target_has_a_row),
        cmocka_unit_test(devices_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

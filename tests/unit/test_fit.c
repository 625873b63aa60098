// Devices as people write them, and the states of a training step divided between ranks, against published tables.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/fit.h"
#include <math.h>
#include <string.h>

static void test_devices(void **state) {
    static const struct {
        const char *text, *name; // NULL: refused
        uint32_t count;
    } rows[] = {
        {"8xH100", "H100 SXM", 8},
        {"8 x h100", "H100 SXM", 8},
        {"8 H100", "H100 SXM", 8},
        {"H100x8", "H100 SXM", 8},
        {"H100 * 8", "H100 SXM", 8},
        {"h100:8", "H100 SXM", 8},
        {" h100", "H100 SXM", 1},
        {"H100-PCIe", "H100 PCIe", 1},
        {"NVIDIA H100 80GB HBM3", "H100 SXM", 1},
        {"64xA100-80G", "A100 SXM 80GB", 64},
        {"64xA100-80GB", "A100 SXM 80GB", 64},
        {"A100-SXM4-40GB", "A100 SXM 40GB", 1},
        {"4090", "RTX 4090", 1},
        {"4090x2", "RTX 4090", 2},
        {"2x4090", "RTX 4090", 2},
        {"rtx-4090", "RTX 4090", 1},
        {"GeForce RTX 5090", "RTX 5090", 1},
        {"65536xb200", "B200", 65536},
        {"65537xb200", NULL, 0},
        {"0xA100-80G", NULL, 0},
        {"1e9xH100", NULL, 0},
        {"99999999999999999999xH100", NULL, 0},
        {"2.5xH100", NULL, 0},
        {"-1xH100", NULL, 0},
        {"A100", NULL, 0}, // which?
        {"A100x4", NULL, 0},
        {"x8", NULL, 0},
        {"8x", NULL, 0},
        {"", NULL, 0},
        {"nonsense", NULL, 0},
    };
    Arena *a = arena_new();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Fleet f;
        Text why = {.arena = a};
        bool good = fleet_parse(a, rows[i].text, &f, &why);
        if (good != (rows[i].name != NULL)) fail_msg("'%s': %s", rows[i].text, why.at);
        if (!good) assert_true(why.n > 0);
        if (!good) continue;
        if (strcmp(f.gpu->name, rows[i].name) != 0 || f.count != rows[i].count)
            fail_msg("'%s' is %u x %s", rows[i].text, f.count, f.gpu->name);
        assert_true(f.memory > 0 && f.context > 0);
    }
    arena_free(a);
}

static void test_rows(void **state) {
    Arena *a = arena_new();
    (void)state;
    for (uint32_t i = 0; gpu_at(i); i++) { // each is found by each of its names, as itself
        const char *const names[] = {gpu_at(i)->short_name, gpu_at(i)->name, gpu_at(i)->device};
        for (int k = 0; k < 3; k++) {
            Fleet f;
            Text why = {.arena = a};
            assert_true(fleet_parse(a, names[k], &f, &why));
            assert_ptr_equal(f.gpu, gpu_at(i));
        }
        // the driver never gives all that the sheet's decimal figure would be in binary
        if (gpu_at(i)->driver > 0)
            assert_true(gpu_at(i)->driver * 1048576 < gpu_at(i)->memory * 1073741824.0);
    }
    arena_free(a);
}

static void test_cpu(void **state) {
    static const struct {
        const char *text;
        double bytes; // 0: refused
    } rows[] = {{"cpu:24G", 24 * 1073741824.0},
                {"cpu:24GiB", 24 * 1073741824.0},
                {"cpu:24GB", 24e9},
                {"CPU:512m", 512 * 1048576.0},
                {"cpu:1.5G", 1.5 * 1073741824.0},
                {"cpu:0", 0},
                {"cpu:-1G", 0},
                {"cpu:24Q", 0},
                {"cpu:", 0},
                {"cpu:24Gx", 0},
                {"cpu:1e30G", 0},
                {"cpu:nan", 0},
                {"cpux", 0}};
    Arena *a = arena_new();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Fleet f;
        Text why = {.arena = a};
        bool good = fleet_parse(a, rows[i].text, &f, &why);
        if (good != (rows[i].bytes > 0)) fail_msg("'%s': %s", rows[i].text, why.at);
        if (good) assert_true((double)f.memory == rows[i].bytes && !f.gpu && f.count == 1);
    }
    arena_free(a);
}

// Mixed precision with Adam: 2 + 2 bytes, and 12 that stage 1 divides.
static FitBuilt mixed(double parameters) {
    FitBuilt b = {.good = true};
    int64_t n = (int64_t)parameters;
    b.held[HELD_shadow].bytes = 2 * n;
    b.held[HELD_sum].bytes = 2 * n;
    b.held[HELD_master].bytes = 4 * n;
    b.held[HELD_moment].bytes = 8 * n;
    return b;
}

// Rajbhandari et al., arXiv 1910.02054, table 1: GB of a rank for 7.5e9 parameters.
static void test_zero(void **state) {
    static const struct {
        uint32_t ranks;
        double gb[3];
    } rows[] = {{1, {120, 120, 120}},     {4, {52.5, 41.3, 30}},     {16, {35.6, 21.6, 7.5}},
                {64, {31.4, 16.6, 1.88}}, {256, {30.4, 15.4, 0.47}}, {1024, {30.1, 15.1, 0.12}}};
    const Fit x = {.d = NULL};
    const FitBuilt b = mixed(7.5e9);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint32_t z = 1; z <= 3; z++) {
            double gb = (double)fit_states(&x, &b, z, rows[i].ranks) * 1e-9,
                   want = rows[i].gb[z - 1];
            // printed with three figures, or two below 1
            if (fabs(gb - want) > (want < 1 ? 0.005 : 0.005 * want))
                fail_msg("stage %u on %u: %.3f GB, not %.2f", z, rows[i].ranks, gb, want);
        }
    assert_true(fabs((double)fit_states(&x, &b, 0, 64) * 1e-9 - 120) < 1e-6);
}

// Llama-2-70B on 64 devices of 80 GB: "fits with ZeRO stage 2" is not so.
static void test_seventy(void **state) {
    const Fit x = {.d = NULL};
    const FitBuilt b = mixed(68976648192.0);
    (void)state;
    assert_true(fabs((double)fit_weights(&b, 2, 64) * 1e-9 - 137.95) < 0.01);
    assert_true(fabs((double)fit_states(&x, &b, 2, 64) * 1e-9 - 153.04) < 0.01);
    assert_true(fabs((double)fit_states(&x, &b, 3, 64) * 1e-9 - 17.24) < 0.01);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_devices), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_cpu), cmocka_unit_test(test_zero),
                                       cmocka_unit_test(test_seventy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

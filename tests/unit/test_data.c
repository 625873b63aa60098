// Data: the order of samples, splits, files in a row, ids out of range, tensors by name.
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WINDOW = 5, STEP = WINDOW + 1 };

typedef struct {
    char dir[64];
    char files[8][128];
    int n;
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/sinter-data-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int clean_up(void **state) {
    Fixture *f = *state;
    for (int i = 0; i < f->n; i++) unlink(f->files[i]);
    rmdir(f->dir);
    free(f);
    return 0;
}

static const char *put_file(Fixture *f, const char *name, const void *bytes, size_t n) {
    char *path = f->files[f->n++];
    strcat(strcat(strcpy(path, f->dir), "/"), name);
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

// Ids 0, 1, 2, …: a window's first id is its position.
static const char *put_counting(Fixture *f, const char *name, int from, int n) {
    uint16_t ids[4096];
    for (int i = 0; i < n; i++) ids[i] = (uint16_t)(from + i);
    return put_file(f, name, ids, (size_t)n * 2);
}

static SnDataSpec spec_of(const char *path) {
    return (SnDataSpec){.kind = SN_DATA_TOKENS,
                        .path = path,
                        .split = 1,
                        .window = WINDOW,
                        .range = 65536,
                        .input = "tokens",
                        .shuffle = true,
                        .seed = 7};
}

static SnData *open_data(const SnDataSpec *spec) {
    SnData *d;
    SnError e = {0};
    if (sn_data_new(spec, &d, &e)) fail_msg("%s", e.text);
    return d;
}

static void get(SnData *d, SnSplit split, uint64_t first, int64_t n, int32_t *ids) {
    SnError e = {0};
    if (sn_data_windows(d, split, first, n, ids, &e)) fail_msg("%s", e.text);
}

// A pass visits windows that follow each other without gaps, each once; passes differ.
static void test_pass_visits_each_once(void **state) {
    SnDataSpec spec = spec_of(put_counting(*state, "a.bin", 0, 1003));
    SnData *d = open_data(&spec);
    int64_t n = sn_data_samples(d, SN_TRAIN);
    assert_int_equal(n, (1003 - 1) / WINDOW);
    n--; // one is given to the shift
    int32_t *ids = malloc((size_t)(n * STEP) * sizeof *ids), order[2] = {0};
    int shifts = 0;
    for (int pass = 0; pass < 8; pass++) {
        char seen[1003] = {0};
        get(d, SN_TRAIN, (uint64_t)(pass * n), n, ids);
        int least = 1003, moved = 0;
        for (int64_t i = 0; i < n; i++) {
            for (int k = 1; k < STEP; k++) assert_int_equal(ids[i * STEP + k], ids[i * STEP] + k);
            assert_false(seen[ids[i * STEP]]);
            seen[ids[i * STEP]] = 1;
            if (ids[i * STEP] < least) least = ids[i * STEP];
            moved += i > 0 && ids[i * STEP] != ids[(i - 1) * STEP] + WINDOW;
        }
        assert_true(least < WINDOW && moved > n / 2);
        shifts |= 1 << least;
        for (int64_t i = 0; i < n; i++) assert_true(seen[least + i * WINDOW]);
        if (pass < 2) order[pass] = ids[0];
    }
    assert_true(shifts & (shifts - 1)); // more than one shift occurred
    assert_int_not_equal(order[0], order[1]);
    free(ids);
    sn_data_free(d);
}

// Samples depend on their number alone, and on the seed.
static void test_position_is_enough(void **state) {
    SnDataSpec spec = spec_of(put_counting(*state, "a.bin", 0, 900));
    SnData *d = open_data(&spec), *again = open_data(&spec);
    spec.seed = 8;
    SnData *other = open_data(&spec);
    int32_t all[500 * STEP], part[STEP];
    int differ = 0;
    get(d, SN_TRAIN, 0, 500, all);
    for (int64_t i = 499; i >= 0; i--) {
        get(again, SN_TRAIN, (uint64_t)i, 1, part);
        assert_memory_equal(part, all + i * STEP, sizeof part);
        get(other, SN_TRAIN, (uint64_t)i, 1, part);
        differ += part[0] != all[i * STEP];
    }
    assert_true(differ > 400);
    sn_data_prefetch(d, SN_TRAIN, 100, 50);
    sn_data_free(d), sn_data_free(again), sn_data_free(other);
}

static void test_splits_are_apart(void **state) {
    SnDataSpec spec = spec_of(put_counting(*state, "a.bin", 0, 1000));
    spec.split = 0.9;
    SnData *d = open_data(&spec);
    int32_t ids[400 * STEP];
    get(d, SN_TRAIN, 0, 400, ids);
    for (int i = 0; i < 400 * STEP; i++) assert_true(ids[i] < 900);
    int64_t n = sn_data_samples(d, SN_VALID);
    assert_int_equal(n, 99 / WINDOW);
    get(d, SN_VALID, 0, n, ids);
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_true(ids[i * STEP] >= 900);
        sum += (ids[i * STEP] - 900) / WINDOW;
    }
    assert_int_equal(sum, n * (n - 1) / 2); // each once
    sn_data_free(d);
}

static void test_unshuffled_is_in_order(void **state) {
    SnDataSpec spec = spec_of(put_counting(*state, "a.bin", 0, 100));
    spec.shuffle = false;
    spec.stride = 3;
    SnData *d = open_data(&spec);
    int32_t ids[40 * STEP];
    int64_t n = sn_data_samples(d, SN_TRAIN);
    assert_int_equal(n, (100 - STEP) / 3 + 1);
    get(d, SN_TRAIN, 0, 40, ids);
    for (int i = 0; i < 40; i++) assert_int_equal(ids[i * STEP], i % n * 3);
    sn_data_free(d);
}

// Files that match a pattern follow each other in order of their names; windows cross their
// borders.
static void test_files_in_a_row(void **state) {
    Fixture *f = *state;
    put_counting(f, "part2.bin", 53, 47), put_counting(f, "part1.bin", 1, 52),
        put_counting(f, "part0.bin", 0, 1);
    char pattern[128];
    snprintf(pattern, sizeof pattern, "%s/part*.bin", f->dir);
    SnDataSpec spec = spec_of(pattern);
    spec.shuffle = false;
    SnData *d = open_data(&spec);
    int32_t ids[19 * STEP];
    assert_int_equal(sn_data_ids(d), 100);
    get(d, SN_TRAIN, 0, 19, ids);
    for (int i = 0; i < 19 * STEP; i++) assert_int_equal(ids[i], i / STEP * WINDOW + i % STEP);
    sn_data_free(d);
}

static void test_text_is_bytes(void **state) {
    SnDataSpec spec = spec_of(put_file(*state, "text", "h\xc3\xa9llo, world", 13));
    spec.kind = SN_DATA_TEXT;
    spec.range = 256;
    spec.shuffle = false;
    SnData *d = open_data(&spec);
    int32_t ids[STEP];
    get(d, SN_TRAIN, 0, 1, ids);
    const int32_t expected[STEP] = {'h', 0xc3, 0xa9, 'l', 'l', 'o'};
    assert_memory_equal(ids, expected, sizeof ids);
    sn_data_free(d);
}

static void test_shard_header(void **state) {
    int32_t head[256] = {20240520, 1, 30};
    unsigned char bytes[1024 + 60];
    memcpy(bytes, head, 1024);
    for (int i = 0; i < 30; i++) memcpy(bytes + 1024 + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    SnDataSpec spec = spec_of(put_file(*state, "shard", bytes, sizeof bytes));
    spec.shuffle = false;
    SnData *d = open_data(&spec);
    int32_t ids[STEP];
    assert_int_equal(sn_data_ids(d), 30);
    get(d, SN_TRAIN, 2, 1, ids);
    assert_int_equal(ids[0], 10);
    sn_data_free(d);
    SnError e = {0};
    spec.path = put_file(*state, "short", bytes, sizeof bytes - 2);
    assert_int_equal(sn_data_new(&spec, &d, &e), SN_USER);
    assert_non_null(strstr(e.text, "says 30 tokens, the file holds 29"));
}

static void refused(const SnDataSpec *spec, const char *words) {
    SnData *d;
    SnError e = {0};
    assert_int_equal(sn_data_new(spec, &d, &e), SN_USER);
    if (!strstr(e.text, words)) print_error("%s\n", e.text);
    assert_non_null(strstr(e.text, words));
    assert_null(d);
}

static void test_bad_data_is_refused(void **state) {
    Fixture *f = *state;
    SnDataSpec spec = spec_of("/nonexistent/file");
    refused(&spec, "/nonexistent/file: No such file");
    spec.path = "/nonexistent/*.bin";
    refused(&spec, "no file matches");
    spec.path = f->dir;
    refused(&spec, "is not a file but a folder");
    spec.path = put_counting(f, "small", 0, WINDOW);
    refused(&spec, "too few");
    spec.path = put_file(f, "odd", "12345678901", 11);
    refused(&spec, "no whole number of 2-byte tokens");
    spec.width = 3;
    refused(&spec, "1, 2 or 4 bytes");
    spec.width = 0;
    spec.split = 1.5;
    refused(&spec, "split");
}

static void test_range_is_checked(void **state) {
    SnDataSpec spec = spec_of(put_counting(*state, "a.bin", 0, 120));
    spec.range = 100;
    spec.shuffle = false;
    SnData *d = open_data(&spec);
    SnError e = {0};
    int32_t ids[STEP];
    get(d, SN_TRAIN, 18, 1, ids); // ends at 95
    assert_int_equal(sn_data_windows(d, SN_TRAIN, 19, 1, ids, &e), SN_USER);
    assert_non_null(strstr(e.text,
                           "a.bin: token 100 at position 100 is outside of the range of 'tokens', "
                           "which ends at 99"));
    assert_int_equal(truncate(spec.path, 60), 0);
    assert_int_equal(sn_data_windows(d, SN_TRAIN, 10, 1, ids, &e), SN_USER);
    assert_non_null(strstr(e.text, "shorter"));
    sn_data_free(d);
}

static const char *put_tensors(Fixture *f, const char *name, int64_t labels) {
    static const unsigned char pixels[30] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255};
    static const int64_t classes[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    SnTensor t[] = {
        {.name = "image", .dtype = "U8", .ndim = 2, .shape = {10, 3}, .data = pixels},
        {.name = "label", .dtype = "I64", .ndim = 1, .shape = {labels}, .data = classes}};
    const char *path = put_file(f, name, "", 0);
    SnError e = {0};
    int fd = open(path, O_RDWR);
    if (sn_st_write(fd, t, 2, NULL, 0, &e)) fail_msg("%s", e.text);
    close(fd);
    return path;
}

static void test_tensors_by_name(void **state) {
    SnDataSpec spec = spec_of(put_tensors(*state, "t.safetensors", 10));
    spec.kind = SN_DATA_TENSORS;
    spec.split = 0.8;
    spec.shuffle = false;
    SnData *d = open_data(&spec);
    SnError e = {0};
    assert_int_equal(sn_data_samples(d, SN_TRAIN), 8);
    assert_int_equal(sn_data_samples(d, SN_VALID), 2);
    float image[6];
    int32_t label[2];
    assert_int_equal(sn_data_tensor(d, SN_TRAIN, 2, 2, "image", 0, 12, 0, image, &e), SN_OK);
    const float expected[6] = {6, 7, 8, 9, 10, 255};
    assert_memory_equal(image, expected, sizeof image);
    assert_int_equal(sn_data_tensor(d, SN_VALID, 0, 2, "label", 1, 4, 10, label, &e), SN_OK);
    assert_true(label[0] == 8 && label[1] == 9);
    assert_int_equal(sn_data_tensor(d, SN_VALID, 0, 2, "label", 1, 4, 9, label, &e), SN_USER);
    assert_non_null(strstr(e.text, "value 9 in sample 9"));
    assert_int_equal(sn_data_tensor(d, SN_TRAIN, 0, 1, "nothing", 1, 4, 9, label, &e), SN_USER);
    assert_non_null(strstr(e.text, "no tensor 'nothing'"));
    assert_int_equal(sn_data_tensor(d, SN_TRAIN, 0, 1, "image", 0, 16, 0, image, &e), SN_USER);
    assert_non_null(strstr(e.text, "has 3 elements in a sample, the input 4"));
    sn_data_free(d);
    spec.path = put_tensors(*state, "uneven.safetensors", 9);
    refused(&spec, "differ in their first size");
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, clean_up)
    const struct CMUnitTest tests[] = {
        WITH(test_pass_visits_each_once), WITH(test_position_is_enough),
        WITH(test_splits_are_apart),      WITH(test_unshuffled_is_in_order),
        WITH(test_files_in_a_row),        WITH(test_text_is_bytes),
        WITH(test_shard_header),          WITH(test_bad_data_is_refused),
        WITH(test_range_is_checked),      WITH(test_tensors_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

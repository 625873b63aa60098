// The safetensors reader accepts what the format allows and refuses everything else with a reason;
// what the writer writes reads back.
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define T(name, type, shape, from, to)                                                             \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to  \
    "]}"

static void test_good_headers(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint64_t data;
        uint32_t count;
    } good[] = {
        {"{}", 0, 0},
        {"{}      ", 0, 0},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, 0},
        {"{" T("a", "F32", "2,3", 0, 24) "}", 24, 1},
        {"{" T("b", "F32", "", 0, 4) "," T("a", "U8", "3", 4, 7) "}", 7, 2},
        {"{" T("b", "U8", "3", 4, 7) "," T("a", "F32", "1", 0, 4) "}", 7,
         2}, // not in order of offsets
        {"{" T("e", "F32", "0,5", 0, 0) "," T("a", "U8", "2", 0, 2) "}", 2, 2}, // an empty tensor
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        SnSafetensors *st;
        SnError e = {0};
        SnStatus s = sn_st_parse(good[i].text, strlen(good[i].text), good[i].data, &st, &e);
        if (s) print_error("%s: %s\n", good[i].text, e.text);
        assert_int_equal(s, SN_OK);
        assert_int_equal(sn_st_count(st), good[i].count);
        sn_st_close(st);
    }
}

static void test_bad_headers(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint64_t data;
        const char *words;
    } bad[] = {
        {"", 0, "'{'"},
        {" {}", 0, "'{'"},
        {"[]", 0, "'{'"},
        {"{", 0, "JSON"},
        {"{} x", 0, "JSON"},
        {"{\"a\":1}", 0, "not described"},
        {"{" T("a", "F32", "1", 0, 4) "," T("a", "F32", "1", 4, 8) "}", 8,
         "JSON"}, // same name twice
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "not described"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
         "not described"},
        {"{" T("a", "F33", "1", 0, 4) "}", 4, "dtype"},
        {"{" T("a", "F32", "1.5", 0, 4) "}", 4, "size 0"},
        {"{" T("a", "F32", "-1", 0, 4) "}", 4, "size 0"},
        {"{" T("a", "F32", "1", 0, 8) "}", 8, "its shape asks for 4"},
        {"{" T("a", "F32", "1", 4, 0) "}", 4, "[begin, end]"},
        {"{" T("a", "F32", "1", 0, 4) "}", 8, "the file at 8"},
        {"{" T("a", "F32", "1", 0, 4) "}", 0, "the file at 0"},
        {"{" T("a", "F32", "1", 4, 8) "}", 8, "begins at byte 4"}, // a hole
        {"{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 2, 6) "}", 6, "begins at byte 2"},
        {"{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 0, 4) "}", 4, "begins at byte 0"},
        {"{" T("a", "F32", "4294967296,4294967296", 0, 0) "}", 0, "too large"},
        {"{" T("a", "F32", "9223372036854775807,2", 0, 0) "}", 0, "too large"},
        {"{" T("a", "U8", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, "list of up to"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "not text"},
        {"{\"__metadata__\":[]}", 0, "not a table"},
        {"{\"\xff\":1}", 0, "JSON"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        SnSafetensors *st;
        SnError e = {0};
        assert_int_equal(sn_st_parse(bad[i].text, strlen(bad[i].text), bad[i].data, &st, &e),
                         SN_USER);
        if (!strstr(e.text, bad[i].words)) print_error("%s: %s\n", bad[i].text, e.text);
        assert_non_null(strstr(e.text, bad[i].words));
        assert_null(st);
    }
}

// A file without a name on disk; returns its path under /proc.
static int memory_file(const void *bytes, size_t n, char path[64]) {
    int fd = memfd_create("safetensors", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static void test_bad_files(void **state) {
    (void)state;
    const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"", 0},
               {"\2\0\0\0\0\0\0", 7},
               {"\3\0\0\0\0\0\0\0{}", 10}, // the header ends after the file
               {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10},
               {"\2\0\0\0\0\0\0\0{}x", 11}}; // a byte that belongs to nothing
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[64];
        SnSafetensors *st;
        SnError e = {0};
        int fd = memory_file(bad[i].bytes, bad[i].n, path);
        assert_int_equal(sn_st_open(path, &st, &e), SN_USER);
        assert_non_null(strstr(e.text, path));
        close(fd);
    }
    SnSafetensors *st;
    SnError e = {0};
    assert_int_equal(sn_st_open("/tmp", &st, &e), SN_USER); // a directory
}

static SnStatus read_floats(const void *what, void *user, int64_t from, int64_t n, void *to,
                            SnError *e) {
    (void)user;
    (void)e;
    memcpy(to, (const char *)what + from, (size_t)n);
    return SN_OK;
}

static void test_written_reads_back(void **state) {
    (void)state;
    const float w[6] = {1, 2, 3, 4, 5, 6}, b[1] = {7};
    const unsigned char flags[3] = {1, 0, 1};
    SnTensor tensors[] = {
        {.name = "flags", .dtype = "BOOL", .ndim = 1, .shape = {3}, .data = flags},
        {.name = "z.w", .dtype = "F32", .ndim = 2, .shape = {2, 3}, .read = read_floats, .what = w},
        {.name = "a \"quoted\" \xc3\xa9", .dtype = "F32", .data = b},
        {.name = "empty", .dtype = "F32", .ndim = 2, .shape = {0, 4}, .data = w}};
    const SnMeta meta[] = {{"step", "12"}, {"text", "line\n\"x\""}};
    SnError e = {0};
    char path[64];
    int fd = memory_file("", 0, path);
    assert_int_equal(sn_st_write(fd, tensors, 4, meta, 2, &e), SN_OK);
    uint64_t header;
    assert_int_equal(pread(fd, &header, 8, 0), 8);
    assert_int_equal(header % 8, 0);
    SnSafetensors *st;
    if (sn_st_open(path, &st, &e)) fail_msg("%s", e.text);
    assert_int_equal(sn_st_count(st), 4);
    assert_string_equal(sn_st_metadata(st, "step"), "12");
    assert_string_equal(sn_st_metadata(st, "text"), meta[1].value);
    assert_null(sn_st_metadata(st, "none"));
    assert_null(sn_st_find(st, "w"));
    // Widest elements first, then by name.
    assert_int_equal(sn_st_find(st, "a \"quoted\" \xc3\xa9")->begin, 0);
    assert_int_equal(sn_st_find(st, "z.w")->begin, 4);
    assert_int_equal(sn_st_find(st, "flags")->begin, 28);
    float back[2];
    assert_int_equal(sn_st_read(st, sn_st_find(st, "z.w"), 8, 8, back, &e), SN_OK);
    assert_true(back[0] == 3 && back[1] == 4);
    // A file that shrinks under the reader is an error.
    assert_int_equal(ftruncate(fd, 40), 0);
    assert_int_equal(sn_st_read(st, sn_st_find(st, "z.w"), 0, 24, (float[6]){0}, &e), SN_USER);
    assert_non_null(strstr(e.text, "shorter"));
    sn_st_close(st);
    close(fd);
}

// Header and data cut at every length: refused, never read beyond.
static void test_every_prefix_is_refused(void **state) {
    (void)state;
    const float w[6] = {1, 2, 3, 4, 5, 6};
    SnTensor t = {.name = "w", .dtype = "F32", .ndim = 2, .shape = {2, 3}, .data = w};
    SnError e = {0};
    char path[64], bytes[512];
    int fd = memory_file("", 0, path);
    assert_int_equal(sn_st_write(fd, &t, 1, NULL, 0, &e), SN_OK);
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    close(fd);
    for (ssize_t i = 0; i < n; i++) {
        SnSafetensors *st;
        fd = memory_file(bytes, (size_t)i, path);
        assert_int_equal(sn_st_open(path, &st, &e), SN_USER);
        close(fd);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_headers),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_every_prefix_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

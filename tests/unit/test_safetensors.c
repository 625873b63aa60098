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
#include <sys/stat.h>
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
        {"{" T("a", "F32", "1", 0, 4) "," T("a", "F32", "1", 4, 8) "}", 8, "two tensors 'a'"},
        {"{" T("a", "F32", "1", 0, 4) "," T("\\u0061", "F32", "1", 4, 8) "}", 8, "two tensors 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "not described"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "two __metadata__"},
        {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "'a' twice"},
        {"{" T("a", "F32", "01", 0, 4) "}", 4, "size 0"},
        {"{" T("a", "F32", "1e0", 0, 4) "}", 4, "size 0"},
        {"{" T("a", "F32", "1,", 0, 4) "}", 4, "size 1"},
        {"{" T("a", "F32", "1 1", 0, 4) "}", 4, "JSON"},
        {"{" T("a", "F32", "9223372036854775808", 0, 4) "}", 4, "size 0"},
        {"{" T("a", "F32", "1", 0, 4) ",}", 4, "JSON"},
        {"{" T("a", "F32", "1", 0, 4) "}}", 4, "JSON"},
        {"{,}", 0, "JSON"},
        {"{\"a", 0, "JSON"},
        {"{\"a\"", 0, "JSON"},
        {"{\"a\":", 0, "not described"},
        {"{\"a\\", 0, "JSON"},
        {"{\"a\\u00", 0, "JSON"},
        {"{\"a\nb\":1}", 0, "control character"},
        {"{\"a\\u0000b\":1}", 0, "NUL"},
        {"{\"\\ud800\":1}", 0, "surrogate"},
        {"{\"\\ud800\\u0041\":1}", 0, "surrogate"},
        {"{\"\\udc00\":1}", 0, "surrogate"},
        {"{\"\\x\":1}", 0, "escape"},
        {"{\"\xc0\xaf\":1}", 0, "UTF-8"},
        {"{\"\xe0\x80\xaf\":1}", 0, "UTF-8"},
        {"{\"\xed\xa0\x80\":1}", 0, "UTF-8"},
        {"{\"\xf4\x90\x80\x80\":1}", 0, "UTF-8"},
        {"{\"\xc3", 0, "UTF-8"},
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
        {"{" T("a", "F32", "0,4294967296,4294967296", 0, 0) "}", 0, "too large"},
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

// Strings are decoded as the standard says, and numbers up to the largest.
static void test_text_is_decoded(void **state) {
    (void)state;
    const char *text = "{\"__metadata__\" : {\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\" : "
                       "\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\","
                       "\"\" : \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\u001f\"},\t" T(
                           "a\\nb", "F32", "0 , 9223372036854775807", 0, 0) "}\r\n ";
    SnSafetensors *st;
    SnError e = {0};
    if (sn_st_parse(text, strlen(text), 0, &st, &e)) fail_msg("%s", e.text);
    assert_string_equal(sn_st_metadata(st, "a\"\\/\b\f\n\r\t"),
                        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_string_equal(sn_st_metadata(st, ""), "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x1f");
    assert_true(sn_st_find(st, "a\nb")->shape[1] == INT64_MAX);
    sn_st_close(st);
}

// Answers of the authors' implementation, and of this one in pieces.
static void test_xxh64_known_answers(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint64_t sum;
    } known[] = {{"", 0xef46db3751d8e999},
                 {"a", 0xd24ec4f1a98c6e5b},
                 {"abc", 0x44bc2cf5ad770999},
                 {"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1},
                 {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefxyz",
                  0x98ad8ff4ba176c8f}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t piece = 1; piece < 70; piece++) {
            SnXxh64 x;
            size_t n = strlen(known[i].text);
            sn_xxh64_begin(&x);
            for (size_t at = 0; at < n; at += piece)
                sn_xxh64_add(&x, known[i].text + at, n - at < piece ? n - at : piece);
            assert_true(sn_xxh64_end(&x) == known[i].sum);
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
    assert_int_equal(sn_st_open("/tmp", &st, &e), SN_USER);
    assert_non_null(strstr(e.text, "not a file but a folder"));
    assert_int_equal(sn_st_open("/dev/zero", &st, &e), SN_USER);
    assert_non_null(strstr(e.text, "not a file but a "));
    char pipe[] = "/tmp/sinter-pipe-XXXXXX"; // nobody writes to it: nobody may wait for it
    int fd = mkstemp(pipe);
    close(fd);
    unlink(pipe);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    alarm(20);
    assert_int_equal(sn_st_open(pipe, &st, &e), SN_USER);
    alarm(0);
    unlink(pipe);
    assert_non_null(strstr(e.text, "not a file but a "));
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
    assert_true(sn_st_has_sums(st));
    assert_int_equal(sn_st_check_metadata(st, &e), SN_OK);
    assert_string_equal(sn_st_metadata_of(st, "xxh64", "flags"), "5bc79bbda1853c97");
    assert_null(sn_st_metadata_of(st, "xxh6", "flags"));
    assert_null(sn_st_metadata_of(st, "xxh64", "flag"));
    assert_string_equal(sn_st_metadata_of(st, "xxh64", "a \"quoted\" \xc3\xa9"),
                        "fd1d0c9c507b879a");
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

static SnStatus sum_all(SnSafetensors *st, SnError *e) {
    SnStatus s = sn_st_check_metadata(st, e);
    for (uint32_t i = 0; i < sn_st_count(st) && !s; i++) {
        const SnTensorInfo *t = sn_st_at(st, i);
        unsigned char bytes[64];
        SnXxh64 x;
        sn_xxh64_begin(&x);
        s = sn_st_read(st, t, 0, t->bytes, bytes, e);
        sn_xxh64_add(&x, bytes, t->bytes);
        if (!s) s = sn_st_check_sum(st, t, &x, e);
    }
    return s;
}

// One bit of the file turned over, anywhere, for each of its bits: the reader or the checksums say so,
// or what is read is what was written (a blank of the header, the name of a tensor, which its user
// knows, or its shape).
static void test_every_bit_counts(void **state) {
    (void)state;
    const float w[6] = {1, 2, 3, 4, 5, 6};
    SnTensor t = {.name = "w", .dtype = "F32", .ndim = 2, .shape = {2, 3}, .data = w};
    const SnMeta meta[] = {{"step", "12"}};
    SnError e = {0};
    char path[64], bytes[512];
    int fd = memory_file("", 0, path);
    assert_int_equal(sn_st_write(fd, &t, 1, meta, 1, &e), SN_OK);
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    assert_true(n > 24 && n < (ssize_t)sizeof bytes);
    close(fd);
    int unseen = 0;
    for (ssize_t bit = 0; bit < 8 * n; bit++) {
        SnSafetensors *st;
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        fd = memory_file(bytes, (size_t)n, path);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        if (!sn_st_open(path, &st, &e)) {
            const SnTensorInfo *found = sn_st_find(st, "w");
            bool same = found && !strcmp(found->dtype, "F32") && found->ndim == 2 &&
                        found->shape[0] == 2 && found->shape[1] == 3;
            if (same && !sum_all(st, &e)) {
                assert_string_equal(sn_st_metadata(st, "step"), "12");
                unseen++;
            }
            sn_st_close(st);
        }
        close(fd);
    }
    assert_true(unseen < 8); // blanks: ' ' is one bit from no other blank
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_headers),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_text_is_decoded),
        cmocka_unit_test(test_xxh64_known_answers),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_every_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Arrays in files of their own (runtime/files/arrays.c): every element type in both orders of bytes, plain and
// compressed, and what is no such file, or lies about itself, down to every single changed byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/files/arrays.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <zlib.h>

static char folder[] = "/tmp/sinter-arrays-XXXXXX";

static const char *path_of(const char *name) {
    static char paths[8][200];
    static int next;
    char *to = paths[next++ % 8];
    snprintf(to, sizeof paths[0], "%s/%s", folder, name);
    return to;
}

static const char *put(const char *name, const void *bytes, size_t n) {
    const char *path = path_of(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *put_gz(const char *name, const void *bytes, size_t n) {
    const char *path = path_of(name);
    gzFile f = gzopen(path, "wb6");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)n), n);
    assert_int_equal(gzclose(f), Z_OK);
    return path;
}

static SnStatus open_list(const char *list, const char *format, SnArrays **a, SnError *e) {
    static const char *const names[] = {"image", "label"};
    return sn_arrays_open(list, format, names, 2, a, e);
}

static SnArrays *must_open(const char *list, const char *format) {
    SnArrays *a;
    SnError e;
    if (open_list(list, format, &a, &e)) fail_msg("%s: %s", list, e.text);
    return a;
}

static void refused(const char *list, const char *format, const char *want) {
    SnArrays *a;
    SnError e;
    SnStatus s = open_list(list, format, &a, &e);
    if (!s) fail_msg("'%s' is taken, which is wrong: %s", list, want);
    assert_null(a);
    assert_int_equal(s, SN_USER);
    if (!strstr(e.text, want)) fail_msg("'%s' is not in '%s'", want, e.text);
    for (const char *p = e.text; *p; p++) assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
}

// All bytes of the first array, as elements of this machine.
static void read_first(const SnArrays *a, void *to) {
    const SnTensorInfo *info = sn_arrays_at(a, 0);
    SnError e;
    if (sn_arrays_read(a, info, 0, info->bytes, to, &e)) fail_msg("%s", e.text);
    sn_arrays_order(a, info, info->bytes, to);
}

// ---- files --------------------------------------------------------------------------------------

// n elements of `item` bytes, byte k of element i being 16 i + k, in an order of the bytes.
static void fill(unsigned char *to, int n, int item, bool swapped) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < item; k++)
            to[i * item + (swapped ? item - 1 - k : k)] = (unsigned char)(16 * i + k);
}

static size_t make_npy(unsigned char *to, int version, const char *dictionary, const void *data,
                       size_t n) {
    size_t length = strlen(dictionary), from = version == 1 ? 10 : 12;
    memcpy(to, "\x93NUMPY", 6);
    to[6] = (unsigned char)version, to[7] = 0;
    for (size_t i = 8; i < from; i++) to[i] = (unsigned char)(length >> 8 * (i - 8));
    memcpy(to + from, dictionary, length);
    memcpy(to + from + length, data, n);
    return from + length + n;
}

static void test_npy(void **state) {
    (void)state;
    static const char *const types[][3] = {
        {"f2", "F16", "2"}, {"f4", "F32", "4"}, {"f8", "F64", "8"}, {"i1", "I8", "1"},
        {"i2", "I16", "2"}, {"i4", "I32", "4"}, {"i8", "I64", "8"}, {"u1", "U8", "1"},
        {"u2", "U16", "2"}, {"u4", "U32", "4"}, {"u8", "U64", "8"}, {"b1", "BOOL", "1"}};
    unsigned char data[64], want[64], got[64], file[400];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int version = 1; version <= 3; version++)
            for (int how = 0; how < 4; how++) { // order of bytes, compression
                int item = atoi(types[i][2]);
                char dictionary[200];
                snprintf(dictionary, sizeof dictionary,
                         "{'descr': '%c%s', 'fortran_order': False, 'shape': (3, 2), }   \n",
                         item == 1 ? '|' : "<>"[how % 2], types[i][0]);
                fill(data, 6, item, item > 1 && how % 2);
                fill(want, 6, item, false);
                size_t n = make_npy(file, version, dictionary, data, (size_t)(6 * item));
                SnArrays *a =
                    must_open(how < 2 ? put("x.npy", file, n) : put_gz("x.npy.gz", file, n), "npy");
                const SnTensorInfo *info = sn_arrays_find(a, "image");
                assert_non_null(info);
                assert_string_equal(info->dtype, types[i][1]);
                assert_true(info->ndim == 2 && info->shape[0] == 3 && info->shape[1] == 2);
                assert_int_equal(info->bytes, 6 * item);
                read_first(a, got);
                assert_memory_equal(got, want, (size_t)(6 * item));
                sn_arrays_close(a);
            }
    // other spellings of the same dictionary
    const char *spellings[] = {
        "{\"shape\":(12,),\"fortran_order\":True,\"descr\":\"|u1\"}",
        "{ 'fortran_order' : False , 'shape' : ( 12 , ) , 'descr' : '=u1' }\n"};
    for (int i = 0; i < 2; i++) {
        SnArrays *a = must_open(put("x", file, make_npy(file, 1, spellings[i], want, 12)), "npy");
        assert_true(sn_arrays_at(a, 0)->ndim == 1 && sn_arrays_at(a, 0)->shape[0] == 12);
        sn_arrays_close(a);
    }
}

static void test_idx(void **state) {
    (void)state;
    static const struct {
        unsigned char code, item;
        const char *dtype;
    } types[] = {{8, 1, "U8"},   {9, 1, "I8"},   {11, 2, "I16"},
                 {12, 4, "I32"}, {13, 4, "F32"}, {14, 8, "F64"}};
    unsigned char file[100] = {0}, want[64], got[64];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int packed = 0; packed < 2; packed++) {
            unsigned char head[] = {0, 0, types[i].code, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2};
            size_t n = sizeof head + 6u * types[i].item;
            memcpy(file, head, sizeof head);
            fill(file + sizeof head, 6, types[i].item, true);
            fill(want, 6, types[i].item, false);
            SnArrays *a = must_open(packed ? put_gz("x.gz", file, n) : put("x", file, n), "idx");
            const SnTensorInfo *info = sn_arrays_at(a, 0);
            assert_string_equal(info->dtype, types[i].dtype);
            assert_true(info->ndim == 3 && info->shape[0] == 3 && info->shape[1] == 1 &&
                        info->shape[2] == 2);
            read_first(a, got);
            assert_memory_equal(got, want, info->bytes);
            sn_arrays_close(a);
        }
}

// ---- what is refused ----------------------------------------------------------------------------

static void test_npy_is_refused(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", "Fortran order"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "'<c8'"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "'|O'"},
        {"{'descr': '<U4', 'fortran_order': False, 'shape': (3,), }", "'<U4'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "records"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "single number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", "says"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }", "says"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }", "damaged"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, "
         "9223372036854775807), }",
         "more elements"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, "
         "4611686018427387904), }",
         "more elements"},
        {"{'descr': '\033[31m\x9b\x7f\n\xc2\x9b', 'fortran_order': False, 'shape': (6,), }",
         "elements are '?[31m?\?\?\?'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "damaged"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6), }",
         "damaged"},
        {"{'descr': '<f4', 'fortran_order': False, }", "damaged"},
        {"{'descr': '<f4', 'shape': (6,), }", "damaged"},
        {"{'shape': (6,), 'fortran_order': False, }", "''"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'more': 1}", "another entry"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,)", "damaged"},
        {"{'descr", "damaged"},
        {"", "no dictionary"},
    };
    unsigned char file[400], data[64] = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(put("x", file, make_npy(file, 1, wrong[i][0], data, 24)), "npy", wrong[i][1]);
    size_t n =
        make_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", data, 24);
    for (size_t k = 0; k < n; k++) refused(put("x", file, k), "npy", "x");
    refused(put("x", file, n), "idx", "data npy(");
    file[6] = 9;
    refused(put("x", file, n), "npy", "version 9");
    file[6] = 2, file[10] = 0xff, file[11] = 0xff;
    refused(put("x", file, n), "npy", "oversized header");
}

static void test_idx_is_refused(void **state) {
    (void)state;
    unsigned char file[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5};
    for (size_t k = 0; k < 16; k++) refused(put("x", file, k), "idx", "x");
    refused(put("x", file, 17), "idx", "more");
    refused(put("x", file, 16), "npy", "data idx(");
    file[2] = 10;
    refused(put("x", file, 16), "idx", "no element type is 10");
    file[2] = 14, file[4] = file[8] = 0xff; // 2^64 elements or so
    refused(put("x", file, 16), "idx", "says");
    file[3] = 0;
    refused(put("x", file, 16), "idx", "0 extents");
    file[3] = 200;
    refused(put("x", file, 16), "idx", "200 extents");
}

static void test_compressed_is_refused(void **state) {
    (void)state;
    static unsigned char big[1 << 20], packed[1 << 16];
    unsigned char head[] = {0, 0, 8, 1, 0, 8, 0, 0}; // half a MiB
    memcpy(big, head, sizeof head);
    for (size_t i = 8; i < sizeof big; i++) big[i] = (unsigned char)(i * i >> 7);
    const char *path = put_gz("x.gz", big, (1 << 19) + 8);
    sn_arrays_close(must_open(path, "idx"));
    FILE *f = fopen(path, "rb");
    size_t n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    assert_true(n > 100 && n < sizeof packed);
    for (size_t k = 2; k < n; k += 1 + n / 40) refused(put("x.gz", packed, k), "idx", "x.gz");
    refused(put("x.gz", packed, n - 1), "idx", "ends too early");
    packed[n - 7] ^= 1; // of the sum
    refused(put("x.gz", packed, n), "idx", "damaged");
    packed[n - 7] ^= 1;
    memcpy(packed + n, "rubbish", 7);
    refused(put("x.gz", packed, n + 7), "idx", "damaged");
    // more than its header says is not unpacked to its end
    big[4] = 0, big[5] = 0, big[6] = 1;
    refused(put_gz("x.gz", big, sizeof big), "idx", "more, at least");
    // two members are one file
    big[5] = 8, big[6] = 0;
    put_gz("x.gz", big, 1000);
    gzFile g = gzopen(path_of("x.gz"), "ab");
    gzwrite(g, big + 1000, (1 << 19) + 8 - 1000);
    gzclose(g);
    sn_arrays_close(must_open(path_of("x.gz"), "idx"));
}

// Zeros behind a member fill a block, as for gzip; anything else does not.
static void test_zeros_behind(void **state) {
    (void)state;
    unsigned char file[300], packed[2000];
    for (size_t i = 0; i < sizeof file; i++) file[i] = (unsigned char)i;
    memcpy(file, "\0\0\10\1\0\0\1", 7), file[7] = 36; // 292 elements
    put_gz("x.gz", file, 100);
    FILE *f = fopen(path_of("x.gz"), "rb");
    size_t n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    memset(packed + n, 0, 40);
    put_gz("x.gz", file + 100, 200);
    f = fopen(path_of("x.gz"), "rb");
    size_t m = fread(packed + n + 7, 1, 1000, f);
    fclose(f);
    assert_true(n > 20 && m > 20 && n + m < 900);
    sn_arrays_close(must_open(put("x.gz", packed, n + 7 + m), "idx"));
    memset(packed + n + 7 + m, 0, 600);
    SnArrays *a = must_open(put("x.gz", packed, n + 7 + m + 600), "idx");
    unsigned char got[300];
    read_first(a, got);
    assert_memory_equal(got, file + 8, 292);
    sn_arrays_close(a);
    packed[n + 7 + m + 598] = 1;
    refused(put("x.gz", packed, n + 7 + m + 600), "idx", "damaged");
    memset(packed + n, 0, 600); // the second member is missing
    refused(put("x.gz", packed, n + 600), "idx", "says");
}

// A header is compared with the compressed file, and with what memory there is, before all is unpacked.
static void test_claims(void **state) {
    (void)state;
    static unsigned char big[1 << 19];
    const unsigned char head[] = {0, 0, 8, 2, 0, 0, 0xff, 0xff, 0, 1, 0, 0}; // 4 GiB
    memcpy(big, head, sizeof head);
    const char *path = put_gz("x.gz", big, sizeof big);
    refused(path, "idx", "compressed ones hold at most 1032 times as many");
    const unsigned char pebi[] = {0, 0, 8, 2, 0x40, 0, 0, 0, 0, 16, 0, 0};
    memcpy(big, pebi, sizeof pebi);
    path = put_gz("x.gz", big, sizeof big);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0); // a hole
    SnArrays *a;
    SnError e;
    assert_int_equal(open_list(path, "idx", &a, &e), SN_MACHINE);
    assert_non_null(
        strstr(e.text, "takes 1048576.00 GiB of memory when it is unpacked, this machine"));
    assert_int_equal(truncate(path, 0), 0);
}

// No changed byte does worse than be told.
static void test_changed_bytes(void **state) {
    (void)state;
    unsigned char file[400], data[64] = {0};
    size_t n =
        make_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", data, 24);
    const char *path = put("x", file, n);
    int fd =
        open(path, O_WRONLY); // a file system may wait for the disk where a file is written anew
    for (size_t at = 0; at < n - 24; at++) {
        for (int x = 0; x < 256; x += 1 + (at > 12 ? 6 : 0)) {
            const unsigned char byte = (unsigned char)x;
            SnArrays *a = NULL;
            SnError e;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
            SnStatus s = open_list(path, "npy", &a, &e);
            assert_true(s == SN_OK || s == SN_USER);
            sn_arrays_close(a);
        }
        assert_int_equal(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    close(fd);
}

static void test_lists(void **state) {
    (void)state;
    const unsigned char file[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 2};
    char list[900];
    put("a,b=c\\d", file, sizeof file);
    const char *x = put("x", file, sizeof file), *y = put("y", file, sizeof file);
    snprintf(list, sizeof list, "%s,%s", x, y);
    SnArrays *a = must_open(list, "idx");
    assert_int_equal(sn_arrays_count(a), 2);
    assert_string_equal(sn_arrays_path(a, sn_arrays_find(a, "label")), y);
    sn_arrays_close(a);
    snprintf(list, sizeof list, "label=%s,other=%s", x, y);
    a = must_open(list, "idx");
    assert_string_equal(sn_arrays_path(a, sn_arrays_find(a, "label")), x);
    assert_non_null(sn_arrays_find(a, "other"));
    assert_null(sn_arrays_find(a, "image"));
    sn_arrays_close(a);
    snprintf(list, sizeof list, "label=%s/a\\,b=c\\\\d", folder);
    sn_arrays_close(must_open(list, "idx"));
    snprintf(list, sizeof list, "%s/a\\,b\\=c\\\\d", folder);
    sn_arrays_close(must_open(list, "idx"));
    snprintf(list, sizeof list, "%s,%s,%s", x, y, x);
    refused(list, "idx", "the model has 2 inputs");
    snprintf(list, sizeof list, "image=%s,image=%s", x, y);
    refused(list, "idx", "two files for 'image'");
    snprintf(list, sizeof list, "image=%s,label=%s/none", x, folder);
    refused(list, "idx", "none");
    snprintf(list, sizeof list, "image=%s,", x);
    refused(list, "idx", "without a name");
    snprintf(list, sizeof list, "image=%s,label=", x);
    refused(list, "idx", "no file behind 'label='");
    refused("", "idx", "without a name");
    refused("image=", "idx", "no file behind 'image='");
    refused("=", "idx", "without a name");
    snprintf(list, sizeof list, "=%s", x);
    refused(list, "idx", "no name before '=/tmp");
    refused(folder, "idx", folder);
}

static int begin(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_idx),
        cmocka_unit_test(test_npy_is_refused),
        cmocka_unit_test(test_idx_is_refused),
        cmocka_unit_test(test_compressed_is_refused),
        cmocka_unit_test(test_zeros_behind),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

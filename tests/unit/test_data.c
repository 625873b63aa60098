// Data: the order of samples, splits, files in a row, ids out of range, tensors by name.
#define _GNU_SOURCE
#include "runtime/safetensors.h"
#include <fcntl.h>
#include <math.h>
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
} DataFixture;

static int set_up(void **state) {
    DataFixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/sinter-data-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int clean_up(void **state) {
    DataFixture *f = *state;
    for (int i = 0; i < f->n; i++) unlink(f->files[i]);
    rmdir(f->dir);
    free(f);
    return 0;
}

static const char *put_file(DataFixture *f, const char *name, const void *bytes, size_t n) {
    assert_true(f->n < 8);
    char *path = f->files[f->n++];
    strcat(strcat(strcpy(path, f->dir), "/"), name);
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

// Ids 0, 1, 2, …: a window's first id is its position.
static const char *put_counting(DataFixture *f, const char *name, int from, int n) {
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
    DataFixture *f = *state;
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
    DataFixture *f = *state;
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

// ---- files of other formats ------------------------------------------------------------------------

// What a row of magic.def asks for besides its bytes.
static const struct {
    const char *also;
    size_t at, n;
    const char *bytes;
} besides[] = {{"is_npz", 26, 11, "\x07\0\0\0x.npy..."},
               {"is_torch", 26, 14, "\x0a\0\0\0a/data.pkl"},
               {"is_framed_pickle", 1, 10, "\4\x95\x10\0\0\0\0\0\0\0"},
               {"is_pickle", 1, 2, "\3]"},
               {"is_pickle", 599, 1, "."},
               {"is_safetensors", 0, 8, "\x20\0\0\0\0\0\0\0"},
               {"is_gzip", 9, 1, "\3"},
               {"is_bzip", 3, 7,
                "9"
                "1AY&SY"},
               {"both_ends", 596, 4, NULL},
               {"has_version", 4, 1, "\3"},
               {"is_riff", 0, 4, "RIFF"}};

static void test_other_formats_are_refused(void **state) {
    static const struct {
        size_t at, n;
        const char *bytes, *also, *what, *as_ids, *as_data;
    } rows[] = {
#define MAGIC(at, bytes, also, what, ...) {at, sizeof bytes - 1, bytes, #also, what, __VA_ARGS__},
#include "runtime/files/magic.def"
#undef MAGIC
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char bytes[600] = {0};
        DataFixture *f = *state;
        f->n = 0;
        memcpy(bytes + rows[i].at, rows[i].bytes, rows[i].n);
        for (size_t k = 0; k < sizeof besides / sizeof *besides; k++)
            if (!strcmp(besides[k].also, rows[i].also))
                memcpy(bytes + besides[k].at, besides[k].bytes ? besides[k].bytes : rows[i].bytes,
                       besides[k].n);
        SnDataSpec spec = spec_of(put_file(f, "other", bytes, sizeof bytes));
        char words[256];
        snprintf(words, sizeof words, "other is %s, not raw ids: %s", rows[i].what, rows[i].as_ids);
        refused(&spec, words);
        spec.kind = SN_DATA_TEXT;
        snprintf(words, sizeof words, "other is %s, not text: ", rows[i].what);
        refused(&spec, words);
        spec.kind = SN_DATA_TENSORS;
        snprintf(words, sizeof words, "other is %s, not a safetensors file: %s", rows[i].what,
                 rows[i].as_data);
        refused(&spec, *rows[i].as_data ? words : "JSON");
    }
    // Text about a format, and ids that begin like one, are neither.
    static const char *const texts[] = {"PAR1 is how Parquet begins", "GGUF is a format", "BZh91 ",
                                        "the big WAVE comes", "\x80\3 and so on and on"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        DataFixture *f = *state;
        f->n = 0;
        SnDataSpec spec = spec_of(put_file(f, "text", texts[i], strlen(texts[i])));
        spec.kind = SN_DATA_TEXT;
        sn_data_free(open_data(&spec));
    }
}

// ---- tensors ------------------------------------------------------------------------------------

static const char *put_tensors(DataFixture *f, const char *name, SnTensor *t, uint32_t n) {
    const char *path = put_file(f, name, "", 0);
    SnError e = {0};
    int fd = open(path, O_RDWR);
    if (sn_st_write(fd, t, n, NULL, 0, &e)) fail_msg("%s", e.text);
    close(fd);
    return path;
}

static SnDataSpec tensors_of(const char *path) {
    return (SnDataSpec){.kind = SN_DATA_TENSORS, .path = path, .split = 1};
}

static int take(SnData *d, const SnField *field) {
    int id;
    SnError e = {0};
    if (sn_data_field(d, field, &id, &e)) fail_msg("%s", e.text);
    return id;
}

// The words of the message with which a field is refused.
static void not_taken(SnData *d, const SnField *field, const char *words) {
    int id;
    SnError e = {0};
    assert_int_equal(sn_data_field(d, field, &id, &e), SN_USER);
    if (!strstr(e.text, words)) print_error("%s\n", e.text);
    assert_non_null(strstr(e.text, words));
}

// 10 images of 2 x 3 x 4, their labels, and tensors of other lengths that nobody takes.
static const char *put_images(DataFixture *f) {
    static unsigned char pixels[240];
    static const int64_t classes[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (int i = 0; i < 240; i++) pixels[i] = (unsigned char)i;
    SnTensor t[] = {
        {.name = "image", .dtype = "U8", .ndim = 4, .shape = {10, 2, 3, 4}, .data = pixels},
        {.name = "label", .dtype = "I64", .ndim = 1, .shape = {10}, .data = classes},
        {.name = "short", .dtype = "U8", .ndim = 1, .shape = {9}, .data = pixels},
        {.name = "number", .dtype = "F32", .ndim = 0, .data = pixels},
        {.name = "complex", .dtype = "C64", .ndim = 1, .shape = {10}, .data = pixels},
        {.name = "scale", .dtype = "F8_E8M0", .ndim = 1, .shape = {7}, .data = pixels}};
    return put_tensors(f, "images.safetensors", t, 6);
}

static const SnField image = {.input = "picture",
                              .tensor = "image",
                              .naxes = 3,
                              .axis = {"row", "col", "channel"},
                              .size = {2, 3, 4}};
static const SnField label = {.input = "label", .tensor = "label", .elem = 1, .range = 10};

static void test_tensors_by_name(void **state) {
    SnDataSpec spec = tensors_of(put_images(*state));
    spec.split = 0.8;
    SnData *d = open_data(&spec);
    SnError e = {0};
    int picture = take(d, &image), class = take(d, &label);
    assert_int_equal(sn_data_samples(d, SN_TRAIN), 8);
    assert_int_equal(sn_data_samples(d, SN_VALID), 2);
    float pixels[2 * 24];
    int32_t classes[2];
    assert_int_equal(sn_data_tensor(d, picture, SN_TRAIN, 2, 2, pixels, &e), SN_OK);
    for (int i = 0; i < 48; i++) assert_true(pixels[i] == (float)(48 + i));
    assert_int_equal(sn_data_tensor(d, class, SN_VALID, 0, 2, classes, &e), SN_OK);
    assert_true(classes[0] == 8 && classes[1] == 9);
    sn_data_free(d);
}

// Each extent counts, in the declared order: as many elements are not enough.
static void test_extents_are_compared(void **state) {
    SnDataSpec spec = tensors_of(put_images(*state));
    SnData *d = open_data(&spec);
    SnField f = image;
    f.size[0] = 4, f.size[2] = 2;
    not_taken(
        d, &f,
        "images.safetensors: tensor 'image' is U8[10, 2, 3, 4], but input 'picture' takes "
        "[samples, row = 4, col = 3, channel = 2]; these are the same extents in another order");
    f = image, f.size[1] = 4, f.size[2] = 3, f.size[0] = 2;
    not_taken(d, &f, "in another order");
    f = image, f.naxes = 2, f.size[0] = 6;
    not_taken(d, &f, "takes [samples, row = 6, col = 3]");
    f = image, f.size[2] = 5;
    not_taken(d, &f, "channel = 5]");
    f = label, f.tensor = "image";
    not_taken(d, &f, "takes [samples]");
    f = label, f.tensor = "number";
    not_taken(d, &f, "is F32[], but");
    f = label, f.tensor = "nothing";
    not_taken(d, &f, "no tensor 'nothing', which input 'label' takes; it has 'complex', 'image', ");
    f = label, f.tensor = "complex", f.elem = 0;
    not_taken(d, &f, "is C64, which does not fit input 'label'; what fits is F64 F32 F16 BF16");
    take(d, &image);
    f = label, f.tensor = "short";
    not_taken(d, &f, "'image' and 'short' differ in their first extent");
    assert_int_equal(sn_data_samples(d, SN_TRAIN), 10);
    sn_data_free(d);
}

// What was asked for ahead is what is read without asking, in any order and after other questions.
static void test_ahead_is_the_same(void **state) {
    SnDataSpec spec = tensors_of(put_images(*state));
    spec.shuffle = true;
    SnData *d = open_data(&spec), *plain = open_data(&spec);
    SnError e = {0};
    int ids[2] = {take(d, &image), take(d, &label)};
    take(plain, &image), take(plain, &label);
    for (uint64_t i = 0; i < 40; i++) {
        for (int k = 0; k < 2; k++) {
            uint64_t first = i * 3;
            unsigned char one[3 * 96] = {0}, two[3 * 96] = {0};
            assert_int_equal(sn_data_tensor(d, ids[k], SN_TRAIN, first, 3, one, &e), SN_OK);
            assert_int_equal(sn_data_tensor(plain, k, SN_TRAIN, first, 3, two, &e), SN_OK);
            assert_memory_equal(one, two, sizeof one);
            sn_data_ahead(d, ids[k], SN_TRAIN, i % 7 == 6 ? first : first + 3, 3);
            if (i % 5 == 4) sn_data_ahead(d, ids[k], SN_TRAIN, first + 3, 3);
        }
    }
    sn_data_free(d); // while something may still be read
    sn_data_free(plain);
}

// Every type into every input that takes it; what does not fit is named with its place.
static void test_types_are_converted(void **state) {
    static const struct {
        const char *dtype;
        unsigned char bytes[16]; // two elements: 1, then one that only some inputs take
        double second;
        const char *text;
    } rows[] = {
        {"F64", {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, -1.5, "-1.5"},
        {"F32", {0, 0, 0x80, 0x3f, 0, 0, 0xc0, 0xbf}, -1.5, "-1.5"},
        {"F16", {0, 0x3c, 1, 0x80}, -0x1p-24, "-5.96046448e-08"},
        {"BF16", {0x80, 0x3f, 0xc0, 0xbf}, -1.5, "-1.5"},
        {"F8_E4M3", {0x38, 0x81}, -0x1p-9, "-0.001953125"},
        {"F8_E5M2", {0x3c, 0x7b}, 57344, "57344"},
        {"I64", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 4294967296, "4294967296"},
        {"I32", {1, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff}, -3, "-3"},
        {"I16", {1, 0, 0xfd, 0xff}, -3, "-3"},
        {"I8", {1, 0x80}, -128, "-128"},
        {"U64",
         {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80},
         9223372036854775808.0,
         "9223372036854775808"},
        {"U32", {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 4294967296.0, "4294967295"},
        {"U16", {1, 0, 0xff, 0xff}, 65535, "65535"},
        {"U8", {1, 0xff}, 255, "255"},
        {"BOOL", {1, 0}, 0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SnTensor t = {
            .name = "x", .dtype = rows[i].dtype, .ndim = 2, .shape = {2, 1}, .data = rows[i].bytes};
        DataFixture *f = *state;
        f->n = 0;
        SnDataSpec spec = tensors_of(put_tensors(f, "x.safetensors", &t, 1));
        SnData *d = open_data(&spec);
        SnError e = {0};
        SnField field = {.input = "in", .tensor = "x", .naxes = 1, .axis = {"a"}, .size = {1}};
        float real[2];
        assert_int_equal(sn_data_tensor(d, take(d, &field), SN_TRAIN, 0, 2, real, &e), SN_OK);
        if (real[0] != 1 || (double)real[1] != rows[i].second)
            fail_msg("%s: %g %g", rows[i].dtype, (double)real[0], (double)real[1]);
        bool fits = !strcmp(rows[i].dtype, "BOOL");
        bool whole = fits || *rows[i].dtype == 'I' || *rows[i].dtype == 'U';
        char words[128];
        field.elem = 1, field.range = 2;
        snprintf(words, sizeof words,
                 "tensor 'x' at [1, 0], for input 'in': %s is outside of the range of the input, 0 "
                 "to 1",
                 rows[i].text);
        if (whole) {
            int32_t index[2] = {0};
            SnStatus s = sn_data_tensor(d, take(d, &field), SN_TRAIN, 0, 2, index, &e);
            assert_int_equal(s, fits ? SN_OK : SN_USER);
            assert_int_equal(index[0], 1);
            if (!fits) assert_non_null(strstr(e.text, words));
            int32_t minus[2] = {0};
            field.range = 0;
            s = sn_data_tensor(d, take(d, &field), SN_TRAIN, 0, 2, minus, &e);
            bool in_i32 = rows[i].second >= INT32_MIN && rows[i].second <= INT32_MAX;
            assert_int_equal(s, in_i32 ? SN_OK : SN_USER);
            if (in_i32) assert_true(minus[1] == rows[i].second);
            if (!in_i32) assert_non_null(strstr(e.text, "-2147483648 to 2147483647"));
        } else {
            not_taken(d, &field, "what fits is I64 I32 I16 I8 U64 U32 U16 U8 BOOL");
        }
        bool flags[2] = {false, true};
        field.elem = 3, field.range = 0;
        SnStatus s = sn_data_tensor(d, take(d, &field), SN_TRAIN, 0, 2, flags, &e);
        assert_int_equal(s, fits ? SN_OK : SN_USER);
        assert_true(flags[0]);
        if (!fits) assert_non_null(strstr(e.text, "is neither 0 nor 1"));
        sn_data_free(d);
    }
}

// A finite number that f32 cannot hold is refused; infinities and NaN are what they are. Long samples are
// read in pieces: places count on.
static void test_values_at_the_edge(void **state) {
    static double x[3 * 20000];
    x[0] = INFINITY, x[1] = -INFINITY, x[2] = NAN, x[3] = 3.4028234e38;
    x[2 * 20000 + 12345] = -1e39;
    SnTensor t = {.name = "x", .dtype = "F64", .ndim = 3, .shape = {3, 200, 100}, .data = x};
    SnDataSpec spec = tensors_of(put_tensors(*state, "x.safetensors", &t, 1));
    SnData *d = open_data(&spec);
    SnError e = {0};
    SnField field = {
        .input = "in", .tensor = "x", .naxes = 2, .axis = {"a", "b"}, .size = {200, 100}};
    static float to[20000];
    int id = take(d, &field);
    assert_int_equal(sn_data_tensor(d, id, SN_TRAIN, 0, 1, to, &e), SN_OK);
    assert_true(isinf(to[0]) && to[1] < 0 && isinf(to[1]) && isnan(to[2]) && to[3] > 3e38f);
    sn_data_ahead(d, id, SN_TRAIN, 2, 1);
    for (int i = 0; i < 2; i++) { // from the thread, then without it
        assert_int_equal(sn_data_tensor(d, id, SN_TRAIN, 2, 1, to, &e), SN_USER);
        assert_non_null(strstr(e.text, "at [2, 123, 45], for input 'in': -1e+39 is beyond the"));
    }
    assert_int_equal(truncate(spec.path, 1000), 0);
    assert_int_equal(sn_data_tensor(d, id, SN_TRAIN, 1, 1, to, &e), SN_USER);
    assert_non_null(strstr(e.text, "shorter"));
    sn_data_free(d);
}

// Samples without elements, more than any memory holds.
static void test_empty_samples(void **state) {
    SnTensor t = {
        .name = "x", .dtype = "U8", .ndim = 2, .shape = {INT64_C(1) << 62, 0}, .data = ""};
    SnDataSpec spec = tensors_of(put_tensors(*state, "x.safetensors", &t, 1));
    SnData *d = open_data(&spec);
    SnError e = {0};
    SnField field = {.input = "in", .tensor = "x", .naxes = 1, .axis = {"a"}, .size = {3}};
    not_taken(d, &field, "is U8[4611686018427387904, 0], but input 'in' takes [samples, a = 3]");
    field.size[0] = 0;
    int id = take(d, &field);
    assert_int_equal(sn_data_samples(d, SN_TRAIN), INT64_C(1) << 62);
    assert_int_equal(sn_data_tensor(d, id, SN_TRAIN, 5, 100, &field, &e), SN_OK);
    sn_data_free(d);
}

// ---- facts of the data --------------------------------------------------------------------------

static char *facts_of(SnData *d) {
    char *facts;
    SnError e = {0};
    if (sn_data_facts(d, &facts, &e)) fail_msg("%s", e.text);
    return facts;
}

// What is said of the data of a spec after a run on data with these facts.
static void differs(const SnDataSpec *spec, const char *facts, const char *words) {
    SnData *d = open_data(spec);
    SnError e = {0};
    char text[400];
    if (sn_data_compare(d, facts, text, sizeof text, &e)) fail_msg("%s", e.text);
    assert_string_equal(text, words);
    sn_data_free(d);
}

static void test_data_is_recognised(void **state) {
    DataFixture *f = *state;
    SnDataSpec spec = spec_of(put_counting(f, "a.bin", 0, 1000));
    SnData *d = open_data(&spec);
    char *facts = facts_of(d), pattern[128];
    differs(&spec, facts, "");
    put_counting(f, "part1", 300, 700), put_counting(f, "part0", 0, 300);
    snprintf(pattern, sizeof pattern, "%s/part*", f->dir);
    SnDataSpec other = spec;
    other.path = pattern; // the same ids in other files
    differs(&other, facts, "");
    other.seed++; // the seed is not of the data
    differs(&other, facts, "");
    other.path = put_counting(f, "more", 0, 1100);
    differs(&other, facts, "it has grown: 1000 ids then, 1100 now; what was there is the same");
    other.path = put_counting(f, "more", 1, 1100);
    differs(&other, facts, "the content differs; it has grown: 1000 ids then, 1100 now");
    other.path = put_counting(f, "less", 0, 900);
    differs(&other, facts, "ids: 1000 then, 900 now; the content differs");
    other = spec;
    other.split = 0.5, other.stride = 2, other.shuffle = false, other.window = 4;
    differs(&other, facts,
            "split: 1 then, 0.5 now; shuffle: true then, false now; window: 5 then, 4 now; "
            "stride: 5 then, 2 now");
    free(facts);
    sn_data_free(d);
}

// Beyond 16 MiB blocks speak for the whole, at places that data which was appended does not move.
static void test_long_data_is_recognised(void **state) {
    enum { N = 5000000 };
    DataFixture *f = *state;
    unsigned char *bytes = malloc(N + 1000);
    for (uint32_t i = 0; i < N + 1000; i++) bytes[i] = (unsigned char)(i * 2654435761u >> 24);
    SnDataSpec spec = spec_of(put_file(f, "a", bytes, N));
    spec.kind = SN_DATA_TEXT;
    SnData *d = open_data(&spec);
    char *facts = facts_of(d);
    SnDataSpec other = spec;
    other.path = put_file(f, "b", bytes, N + 1000);
    differs(&other, facts,
            "it has grown: 5000000 ids then, 5001000 now; what was there is the same");
    for (int i = 0; i < 2; i++) {
        int at = i ? N - 1 : 0;
        bytes[at] ^= 1;
        other.path = put_file(f, "b", bytes, N);
        differs(&other, facts, "the content differs");
        bytes[at] ^= 1;
    }
    free(bytes);
    free(facts);
    sn_data_free(d);
}

static void test_tensors_are_recognised(void **state) {
    SnDataSpec spec = tensors_of(put_images(*state));
    SnData *d = open_data(&spec), *again = open_data(&spec), *fewer = open_data(&spec);
    take(d, &image), take(d, &label), take(d, &label);
    char *facts = facts_of(d), text[400];
    assert_null(strstr(strstr(facts, "tensor 'label'") + 1, "tensor 'label'"));
    SnError e = {0};
    take(again, &image), take(again, &label);
    assert_int_equal(sn_data_compare(again, facts, text, sizeof text, &e), SN_OK);
    assert_string_equal(text, "");
    take(fewer, &image);
    assert_int_equal(sn_data_compare(fewer, facts, text, sizeof text, &e), SN_OK);
    assert_string_equal(text, "tensor 'label': not there now");
    float pixels[11 * 24] = {0};
    SnTensor t[] = {
        {.name = "image", .dtype = "F32", .ndim = 4, .shape = {11, 2, 3, 4}, .data = pixels},
        {.name = "class", .dtype = "U8", .ndim = 1, .shape = {11}, .data = pixels}};
    spec.path = put_tensors(*state, "other.safetensors", t, 2);
    SnData *other = open_data(&spec);
    SnField f = label;
    f.tensor = "class";
    take(other, &image), take(other, &f);
    assert_int_equal(sn_data_compare(other, facts, text, sizeof text, &e), SN_OK);
    assert_string_equal(text, "tensor 'image': U8[2, 3, 4] then, F32[2, 3, 4] now; the content of "
                              "'image' differs; tensor 'label': not there now; tensor 'class': not "
                              "there then; it has grown: 10 samples then, 11 now");
    // a text that is no list, and room for little
    assert_int_equal(sn_data_compare(other, "no facts", text, sizeof text, &e), SN_OK);
    char little[12];
    assert_int_equal(sn_data_compare(other, facts, little, sizeof little, &e), SN_OK);
    assert_string_equal(little, "tensor 'ima");
    free(facts);
    sn_data_free(d), sn_data_free(again), sn_data_free(fewer), sn_data_free(other);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, clean_up)
    const struct CMUnitTest tests[] = {
        WITH(test_pass_visits_each_once),  WITH(test_position_is_enough),
        WITH(test_splits_are_apart),       WITH(test_unshuffled_is_in_order),
        WITH(test_files_in_a_row),         WITH(test_text_is_bytes),
        WITH(test_shard_header),           WITH(test_bad_data_is_refused),
        WITH(test_range_is_checked),       WITH(test_other_formats_are_refused),
        WITH(test_tensors_by_name),        WITH(test_extents_are_compared),
        WITH(test_ahead_is_the_same),      WITH(test_types_are_converted),
        WITH(test_values_at_the_edge),     WITH(test_empty_samples),
        WITH(test_data_is_recognised),     WITH(test_long_data_is_recognised),
        WITH(test_tensors_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

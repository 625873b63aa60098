// The file of measured algorithms: what is written is read, by one process or several at once; and a file
// that is damaged, cut, foreign, random or no file at all gives nothing that was not written.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/cuda/choices.h"
#include "tests/unit/files.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const SnLtOwner owner = {.device = "Some GPU 80GB (x/y)", .sm = 90, .library = 130100};

typedef struct {
    Arena *a;
    char folder[64], path[PATH_MAX];
} ChoicesFixture;

static int set_up(void **state) {
    ChoicesFixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->a = arena_new();
    strcpy(f->folder, "/tmp/sinter-choices-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    setenv("XDG_CACHE_HOME", f->folder, 1);
    assert_true(sn_choices_path(&owner, f->path, sizeof f->path));
    *state = f;
    return 0;
}

static char *cache(const ChoicesFixture *f) { return arena_printf(f->a, "%s/sinter", f->folder); }

// Files of the folder; removes them.
static int empty(const char *folder) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[PATH_MAX];
        if (*x->d_name == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        remove(path);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static int tear_down(void **state) {
    ChoicesFixture *f = *state;
    empty(cache(f));
    rmdir(cache(f));
    rmdir(f->folder);
    arena_free(f->a);
    free(f);
    return 0;
}

// ---- what is written ----------------------------------------------------------------------------

static SnLtKnown sample(uint64_t seed) {
    SnLtKnown k = {.ns = seed + 1, .first_ns = 2 * seed, .tried = (uint32_t)seed % 9};
    for (uint64_t i = 0; i < 8; i++)
        k.algo.data[i] = (seed + 1) * (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return k;
}

static char *key_of(Arena *a, uint64_t i) {
    return arena_printf(a, "product %d, align 16", (int)i);
}

static SnLtChoices *open_as(const SnLtOwner *who) {
    SnLtChoices *c = NULL;
    SnError e = {0};
    assert_int_equal(sn_choices_open(who, &c, &e), SN_OK);
    return c;
}

static void put(SnLtChoices *c, const char *key, uint64_t seed) {
    SnLtKnown k = sample(seed);
    SnError e = {0};
    assert_int_equal(sn_choices_put(c, key, &k, &e), SN_OK);
}

static void save(const SnLtChoices *c) {
    SnError e = {0};
    if (sn_choices_save(c, &e)) fail_msg("%s", e.text);
}

// Whether the key is there; with any other value the test fails.
static bool holds(const SnLtChoices *c, const char *key, uint64_t seed) {
    const SnLtKnown *k = sn_choices_find(c, key);
    SnLtKnown want = sample(seed);
    if (!k) return false;
    assert_memory_equal(&k->algo, &want.algo, sizeof want.algo);
    assert_true(k->ns == want.ns && k->first_ns == want.first_ns && k->tried == want.tried);
    assert_false(k->fresh);
    return true;
}

enum { SOME = 5 };

// A file of SOME products.
static void write_some(const ChoicesFixture *f) {
    SnLtChoices *c = open_as(&owner);
    for (uint64_t i = 0; i < SOME; i++) put(c, key_of(f->a, i), i);
    save(c);
    sn_choices_free(c);
}

// How many of them are found.
static int count_some(const ChoicesFixture *f, const SnLtChoices *c) {
    int n = 0;
    for (uint64_t i = 0; i < SOME; i++) n += holds(c, key_of(f->a, i), i);
    return n;
}

static void round_trip(void **state) {
    const ChoicesFixture *f = *state;
    SnLtChoices *c = open_as(&owner);
    assert_string_equal(sn_choices_note(c), "");
    assert_string_equal(sn_choices_file(c), f->path);
    assert_null(sn_choices_find(c, key_of(f->a, 0)));
    save(c); // nothing fresh: no file
    assert_int_equal(access(f->path, F_OK), -1);
    sn_choices_free(c);
    write_some(f);
    c = open_as(&owner);
    assert_int_equal(count_some(f, c), SOME);
    assert_string_equal(sn_choices_note(c), "");
    sn_choices_free(c);
    assert_non_null(strstr(f->path, "/sinter/cublaslt-Some-GPU-80GB--x-y--sm_90-130100.txt"));
    assert_int_equal(empty(cache(f)), 1); // no temporary is left
}

static void extremes(void **state) {
    const ChoicesFixture *f = *state;
    char longest[SN_LT_KEY];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    SnLtKnown most = {.ns = INT64_MAX, .first_ns = INT64_MAX, .tried = UINT32_MAX};
    memset(&most.algo, 0xff, sizeof most.algo);
    SnLtChoices *c = open_as(&owner);
    SnError e = {0};
    assert_int_equal(sn_choices_put(c, longest, &most, &e), SN_OK);
    save(c);
    sn_choices_free(c);
    c = open_as(&owner);
    const SnLtKnown *k = sn_choices_find(c, longest);
    assert_non_null(k);
    assert_memory_equal(&k->algo, &most.algo, sizeof most.algo);
    assert_true(k->ns == most.ns && k->first_ns == most.first_ns && k->tried == most.tried);
    sn_choices_free(c);
    assert_int_equal(empty(cache(f)), 1);
}

static void other_owners(void **state) {
    const ChoicesFixture *f = *state;
    write_some(f);
    SnLtOwner others[] = {owner, owner, owner};
    others[0].library++;
    others[1].sm = 100;
    others[2].device[0] = 's';
    for (int i = 0; i < 3; i++) {
        SnLtChoices *c = open_as(&others[i]);
        assert_int_equal(count_some(f, c), 0);
        assert_string_equal(sn_choices_note(c), "");
        put(c, key_of(f->a, 0), 70);
        save(c);
        sn_choices_free(c);
    }
    SnLtChoices *c = open_as(&owner);
    assert_int_equal(count_some(f, c), SOME); // untouched
    sn_choices_free(c);
    // two devices whose names make one file name: the first line tells them apart
    SnLtOwner twin = owner;
    twin.device[4] = '-';
    c = open_as(&twin);
    assert_string_equal(sn_choices_file(c), f->path);
    assert_int_equal(count_some(f, c), 0);
    assert_non_null(
        strstr(sn_choices_note(c), "not of this device and library, or of another version"));
    sn_choices_free(c);
    assert_int_equal(empty(cache(f)), 4);
}

static void merged(void **state) {
    const ChoicesFixture *f = *state;
    write_some(f);
    SnLtChoices *a = open_as(&owner), *b = open_as(&owner); // neither sees what the other writes
    put(a, "of a", 10);
    put(a, key_of(f->a, 1), 11);
    put(b, "of b", 12);
    put(b, key_of(f->a, 2), 13);
    save(a);
    save(b);
    sn_choices_free(a);
    sn_choices_free(b);
    a = open_as(&owner);
    assert_true(holds(a, "of a", 10) && holds(a, "of b", 12));
    assert_true(holds(a, key_of(f->a, 1), 11) && holds(a, key_of(f->a, 2), 13));
    assert_true(holds(a, key_of(f->a, 0), 0) && holds(a, key_of(f->a, 3), 3));
    sn_choices_free(a);
    int lines = 0;
    for (const char *p = read_file(f->a, f->path, NULL); *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 1 + SOME + 2); // no product twice
    empty(cache(f));
}

// Names nobody may write to: the reason is said, and what was measured still serves.
static void nowhere_to_write(void **state) {
    const ChoicesFixture *f = *state;
    const char *reasons[] = {"Not a directory", "neither XDG_CACHE_HOME nor HOME names a folder"};
    for (int i = 0; i < 2; i++) {
        char *home = getenv("HOME") ? arena_printf(f->a, "%s", getenv("HOME")) : NULL;
        setenv("XDG_CACHE_HOME", i ? "relative" : "/dev/null", 1);
        if (i) unsetenv("HOME");
        SnLtChoices *c = open_as(&owner);
        put(c, "a product", 1);
        SnError e = {0};
        assert_int_equal(sn_choices_save(c, &e), SN_MACHINE);
        assert_non_null(strstr(e.text, reasons[i]));
        assert_non_null(sn_choices_find(c, "a product"));
        sn_choices_free(c);
        if (home) setenv("HOME", home, 1);
    }
    setenv("XDG_CACHE_HOME", f->folder, 1);
    const char *open_to_all = arena_printf(f->a, "%s/sinter", f->folder);
    SnError e = {0};
    SnLtChoices *c = open_as(&owner);
    put(c, "a product", 1);
    assert_int_equal(sn_choices_save(c, &e), SN_OK);
    sn_choices_free(c);
    assert_int_equal(chmod(open_to_all, 0777), 0); // then it is neither read nor written
    c = open_as(&owner);
    assert_null(sn_choices_find(c, "a product"));
    assert_non_null(strstr(sn_choices_note(c), "can be written by other users"));
    put(c, "another", 1);
    assert_int_equal(sn_choices_save(c, &e), SN_MACHINE);
    assert_non_null(strstr(e.text, "can be written by other users"));
    sn_choices_free(c);
    assert_int_equal(chmod(open_to_all, 0700), 0);
}

// ---- several processes --------------------------------------------------------------------------

enum { WRITERS = 4, EACH = 8 };

static void write_many(const ChoicesFixture *f, uint64_t who) {
    for (uint64_t i = 0; i < EACH; i++) {
        SnLtChoices *c = NULL;
        SnError e = {0};
        SnLtKnown k = sample(who * EACH + i);
        if (sn_choices_open(&owner, &c, &e)) _exit(2);
        if (*sn_choices_note(c)) _exit(3); // a file that is not whole
        if (sn_choices_put(c, key_of(f->a, who * EACH + i), &k, &e)) _exit(4);
        if (sn_choices_save(c, &e)) _exit(5);
        sn_choices_free(c);
    }
    _exit(0);
}

static void writers_at_once(void **state) {
    const ChoicesFixture *f = *state;
    pid_t child[WRITERS];
    for (uint64_t i = 0; i < WRITERS; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (!child[i]) write_many(f, i);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    SnLtChoices *c = open_as(&owner);
    for (uint64_t i = 0; i < WRITERS * EACH; i++)
        if (!holds(c, key_of(f->a, i), i)) fail_msg("product %d is lost", (int)i);
    sn_choices_free(c);
    assert_int_equal(empty(cache(f)), 1);
}

// ---- what is damaged ----------------------------------------------------------------------------

static void overwrite(const ChoicesFixture *f, const char *text, size_t n) {
    FILE *to = fopen(f->path, "wb");
    assert_non_null(to);
    assert_int_equal(fwrite(text, 1, n, to), n);
    assert_int_equal(fclose(to), 0);
}

static uint64_t random_state;
static uint32_t next(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

// Every byte changed once: at most its own line is lost, all of them with the first line; and that is said.
static void changed_bytes(void **state) {
    const ChoicesFixture *f = *state;
    size_t n;
    random_state = 1;
    write_some(f);
    char *text = read_file(f->a, f->path, &n);
    size_t first = (size_t)(strchr(text, '\n') - text);
    for (size_t i = 0; i < n; i++) {
        char good = text[i];
        text[i] = (char)(good ^ (int)(1 + next() % 255));
        overwrite(f, text, n);
        SnLtChoices *c = open_as(&owner);
        int found = count_some(f, c);
        bool end = text[i] == '\n' || good == '\n'; // a line more or less
        if (i <= first ? found != 0 : found < SOME - (end ? 2 : 1))
            fail_msg("byte %zu: %d found", i, found);
        if (found < SOME) assert_true(*sn_choices_note(c));
        sn_choices_free(c);
        text[i] = good;
    }
    empty(cache(f));
}

// Cut at every place: the lines that are whole are found.
static void cut_files(void **state) {
    const ChoicesFixture *f = *state;
    size_t n;
    write_some(f);
    char *text = read_file(f->a, f->path, &n);
    for (size_t i = 0; i <= n; i++) {
        int ends = 0;
        for (size_t k = 0; k < i; k++) ends += text[k] == '\n';
        bool whole = i < n && text[i] == '\n'; // but for its end
        overwrite(f, text, i);
        SnLtChoices *c = open_as(&owner);
        assert_int_equal(count_some(f, c), ends + whole > 0 ? ends + whole - 1 : 0);
        sn_choices_free(c);
    }
    empty(cache(f));
}

// A damaged file is whole again after the next measurement.
static void repaired(void **state) {
    const ChoicesFixture *f = *state;
    size_t n;
    write_some(f);
    char *text = read_file(f->a, f->path, &n);
    text[n - 3] ^= 1; // in the last line
    overwrite(f, text, n);
    SnLtChoices *c = open_as(&owner);
    assert_int_equal(count_some(f, c), SOME - 1);
    assert_non_null(strstr(sn_choices_note(c), "1 of its lines are damaged and ignored"));
    put(c, "another", 9);
    save(c);
    sn_choices_free(c);
    c = open_as(&owner);
    assert_string_equal(sn_choices_note(c), "");
    assert_int_equal(count_some(f, c), SOME - 1);
    assert_true(holds(c, "another", 9));
    sn_choices_free(c);
    empty(cache(f));
}

static void no_files(void **state) {
    const ChoicesFixture *f = *state;
    write_some(f);
    empty(cache(f));
    for (int i = 0; i < 3; i++) {
        if (i == 0) assert_int_equal(mkdir(f->path, 0777), 0);
        if (i == 1) assert_int_equal(mkfifo(f->path, 0666), 0); // nobody writes: no wait
        if (i == 2) {
            overwrite(f, "", 0);
            assert_int_equal(truncate(f->path, INT32_MAX), 0);
        }
        SnLtChoices *c = open_as(&owner);
        assert_non_null(strstr(sn_choices_note(c), "cannot be read"));
        if (i == 0) { // and cannot be replaced
            SnError e = {0};
            put(c, "a product", 1);
            assert_int_equal(sn_choices_save(c, &e), SN_MACHINE);
            assert_non_null(strstr(e.text, "Is a directory"));
        }
        sn_choices_free(c);
        assert_int_equal(empty(cache(f)), 1); // no temporary is left
    }
}

// ---- random files -------------------------------------------------------------------------------

static uint64_t fnv(uint64_t h, const char *text) {
    for (; *text; text++) h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

// A line whose sum is right and whose fields are anything, often what they should be.
static void put_line(Text *to, const char *head) {
    static const char *const fields[] = {"0", "7",  "12",  "9223372036854775808",     "4294967296",
                                         "",  "-1", "1e3", "99999999999999999999999", "5 ",
                                         "x"};
    enum { FIELDS = sizeof fields / sizeof *fields };
    Text rest = {.arena = to->arena};
    uint32_t digits = next() % 4 ? 128 : next() % 140, good = next() % 3 ? 3 : FIELDS;
    bool printable = next() % 3;
    for (uint32_t i = 0; i < digits; i++) text_printf(&rest, "%x", next() % 16);
    for (uint32_t i = next() % 4 ? 3 : next() % 5; i > 0; i--)
        text_printf(&rest, " %s", fields[next() % good]);
    text_printf(&rest, " ");
    for (uint32_t i = next() % (next() % 4 ? 40 : 900); i > 0; i--)
        text_printf(&rest, "%c", (int)(printable ? ' ' + next() % 95 : 1 + next() % 255));
    uint64_t sum = fnv(fnv(UINT64_C(0xcbf29ce484222325), head), rest.at);
    text_printf(to, "%016llx %s\n", (unsigned long long)sum, rest.at);
}

// What was taken is written again: no key and no time came in that a line may not have.
static void check_keys(const ChoicesFixture *f, SnLtChoices *c) {
    put(c, "fresh", 3);
    save(c);
    size_t n;
    char *text = read_file(f->a, f->path, &n);
    for (size_t i = 0; i < n; i++)
        if ((text[i] < ' ' || text[i] > '~') && text[i] != '\n') fail_msg("byte %d", text[i]);
    strtok(text, "\n");
    for (char *line; (line = strtok(NULL, "\n"));) {
        for (int i = 0; i < 5; i++) {
            line = strchr(line, ' ') + 1;
            if (i >= 1 && i <= 2) assert_true(strtoull(line, NULL, 10) <= INT64_MAX); // times
        }
        if (strlen(line) >= SN_LT_KEY) fail_msg("a key of %zu bytes", strlen(line));
    }
    SnLtChoices *again = open_as(&owner);
    assert_true(holds(again, "fresh", 3));
    assert_string_equal(sn_choices_note(again), ""); // it was written whole
    sn_choices_free(again);
}

static void random_files(void **state) {
    ChoicesFixture *f = *state;
    enum { FILES = 1500 };
    write_some(f);
    size_t n;
    const char *good = read_file(f->a, f->path, &n);
    for (uint64_t seed = 1; seed <= FILES; seed++) {
        Arena *a = arena_new();
        Text text = {.arena = a};
        char *head = arena_str(a, good, (size_t)(strchr(good, '\n') - good));
        random_state = seed;
        text_put(&text, "", 0);
        if (next() % 8) text_printf(&text, "%s\n", head);
        for (uint32_t i = next() % 6; i > 0; i--) put_line(&text, head);
        if (next() % 2) text_put(&text, good + strlen(head) + 1, next() % (n - strlen(head)));
        for (uint32_t i = next() % 200; i > 0; i--)
            text_printf(&text, "%c", 1 + (int)(next() % 255));
        for (uint32_t i = next() % 4; i > 0 && text.n; i--) text.at[next() % text.n] = (char)next();
        overwrite(f, text.at, text.n);
        SnLtChoices *c = open_as(&owner);
        count_some(f, c);
        if (seed % 50 == 0) check_keys(f, c);
        sn_choices_free(c);
        arena_free(a);
    }
    empty(cache(f));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(round_trip),    TEST(extremes),        TEST(other_owners),     TEST(merged),
        TEST(changed_bytes), TEST(writers_at_once), TEST(nowhere_to_write), TEST(cut_files),
        TEST(repaired),      TEST(no_files),        TEST(random_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

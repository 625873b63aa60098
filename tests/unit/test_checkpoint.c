// Checkpoints and the log, on a plan built by hand (tiny_plan.h): what a folder of checkpoints goes
// through (another run, a damaged file, a full disk, links, a reader meanwhile) and what a file says of
// the model that it is of.
#define _GNU_SOURCE
#include "tests/unit/tiny_plan.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// A directory of its own, and the model's memory after "init".
typedef struct {
    char dir[64], path[512]; // path: of the last checkpoint
    SnPlan *plan;
    SnExec *exec;
    SnError e;
} CheckpointFixture;

static int set_up(void **state) {
    CheckpointFixture *f = calloc(1, sizeof *f);
    SnEnv env = {.seed = 1};
    strcpy(f->dir, "/tmp/sinter-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->plan = tiny_plan();
    assert_int_equal(sn_exec_new(f->plan, tiny_functions, 1, &f->exec, &f->e), SN_OK);
    assert_int_equal(sn_exec_run(f->exec, "init", &env, &f->e), SN_OK);
    *state = f;
    return 0;
}

static int clean_up(void **state) {
    CheckpointFixture *f = *state;
    DIR *d = opendir(f->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) assert_int_equal(remove(path), 0);
    }
    if (d) closedir(d);
    assert_int_equal(rmdir(f->dir), 0);
    sn_exec_free(f->exec);
    free(f->plan);
    free(f);
    return 0;
}

static SnStatus save(CheckpointFixture *f, uint64_t step, int keep) {
    SnProgress at = {.accum = 1, .total = 9, .seed = 1, .step = step};
    return sn_checkpoint_save(f->exec, &at, f->dir, keep, f->path, sizeof f->path, &f->e);
}

static void must_save(CheckpointFixture *f, uint64_t step, int keep) {
    if (save(f, step, keep)) fail_msg("%s", f->e.text);
}

static char *in_dir(const CheckpointFixture *f, const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", f->dir, name);
    return path;
}

static int count_files(const CheckpointFixture *f, const char *part) {
    int n = 0;
    DIR *d = opendir(f->dir);
    for (struct dirent *e; d && (e = readdir(d));) n += strstr(e->d_name, part) != NULL;
    if (d) closedir(d);
    return n;
}

// The step of what is loaded.
static uint64_t load(CheckpointFixture *f, const char *path, SnFound *found) {
    SnProgress back = {0};
    if (sn_checkpoint_load(f->exec, path, &back, found, &f->e)) fail_msg("%s", f->e.text);
    return back.step;
}

static void must_fail(CheckpointFixture *f, const char *path, const char *words) {
    SnProgress back = {.step = 77};
    SnFound found;
    assert_int_equal(sn_checkpoint_load(f->exec, path, &back, &found, &f->e), SN_USER);
    if (!strstr(f->e.text, words)) fail_msg("no '%s' in '%s'", words, f->e.text);
    assert_int_equal(back.step, 77);
}

static size_t read_file(const char *path, char *to, size_t limit) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(to, 1, limit, file);
    fclose(file);
    return n;
}

static void write_file(const char *path, const char *from, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(from, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

// Replaces all occurrences in a file by a text of the same length; there must be one.
static void edit(const char *path, const char *from, const char *to) {
    char bytes[8192];
    size_t n = read_file(path, bytes, sizeof bytes), length = strlen(from);
    int found = 0;
    assert_int_equal(strlen(to), length);
    for (size_t i = 0; i + length <= n; i++)
        if (!memcmp(bytes + i, from, length)) {
            memcpy(bytes + i, to, length);
            found++;
        }
    if (!found) fail_msg("no '%s' in %s", from, path);
    write_file(path, bytes, n);
}

static void flip_last_bit(const char *path) {
    char bytes[8192];
    size_t n = read_file(path, bytes, sizeof bytes);
    bytes[n - 1] ^= 1;
    write_file(path, bytes, n);
}

// What the data was is kept as it was given; a checkpoint that says nothing of it is one too.
static void test_keeps_the_facts_of_the_data(void **state) {
    CheckpointFixture *f = *state;
    char facts[] = "kind\ttext\nids\t12\n", path[512];
    for (uint64_t step = 1; step <= 2; step++) {
        SnProgress at = {.accum = 1, .step = step, .data = step == 1 ? facts : NULL}, back = {0};
        SnFound found;
        if (sn_checkpoint_save(f->exec, &at, f->dir, 0, path, sizeof path, &f->e) ||
            sn_checkpoint_load(f->exec, path, &back, &found, &f->e))
            fail_msg("%s", f->e.text);
        if (step == 1)
            assert_string_equal(back.data, facts);
        else
            assert_null(back.data);
        free(back.data);
    }
}

// ---- the folder ---------------------------------------------------------------------------------

static void test_old_checkpoints_go(void **state) {
    CheckpointFixture *f = *state;
    char path[512];
    SnFound found;
    must_fail(f, f->dir, "there is no checkpoint in");
    write_file(in_dir(f, ".step-00000001.safetensors.tmp", path), "", 0); // of a killed run
    write_file(in_dir(f, ".step-00000001.safetensors.00ff.tmp", path), "", 0);
    for (uint64_t step = 1; step <= 5; step++) must_save(f, step, 2);
    assert_int_equal(count_files(f, ".safetensors"), 2);
    assert_int_equal(count_files(f, ".tmp"), 0);
    assert_int_equal(access(f->path, F_OK), 0);
    assert_int_equal(load(f, f->dir, &found), 5);
    assert_string_equal(found.note, "");
    assert_string_equal(found.path, f->path);
}

// What merely looks like a checkpoint is neither loaded nor removed.
static void test_only_its_own_names_count(void **state) {
    CheckpointFixture *f = *state;
    const char *others[] = {"step-9.safetensors",          "step-+0000009.safetensors",
                            "step- 0000009.safetensors",   "step-000000009.safetensors",
                            "step-00000009.safetensors~",  "step-00000009.safetensors.bak",
                            "step-0000000009.safetensors", "step-99999999999999999999.safetensors",
                            "xstep-00000009.safetensors",  "step-0000009a.safetensors",
                            "step-00000009.safetensor",    "step--0000009.safetensors"};
    enum { OTHERS = sizeof others / sizeof *others };
    char path[512], note[1024];
    SnFound found;
    for (int i = 0; i < OTHERS; i++) write_file(in_dir(f, others[i], path), "", 0);
    must_fail(f, f->dir, "there is no checkpoint in");
    assert_int_equal(sn_checkpoint_clear(f->dir, 0, note, sizeof note, &f->e), SN_OK);
    assert_string_equal(note, "");
    for (uint64_t step = 1; step <= 4; step++) must_save(f, step, 2);
    assert_int_equal(load(f, f->dir, &found), 4);
    must_save(f, 123456789, 1); // nine digits of its own
    assert_int_equal(load(f, f->dir, &found), 123456789);
    for (int i = 0; i < OTHERS; i++) assert_int_equal(access(in_dir(f, others[i], path), F_OK), 0);
    assert_int_equal(count_files(f, "step-"), OTHERS + 1);
}

// A file size limit stands for a full disk, at any byte: the old checkpoint stays whole, and nothing is
// left of the new one.
static void test_full_disk_keeps_the_old(void **state) {
    CheckpointFixture *f = *state;
    SnFound found;
    struct stat info;
    must_save(f, 1, 1);
    assert_int_equal(stat(f->path, &info), 0);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    signal(SIGXFSZ, SIG_IGN);
    for (small.rlim_cur = 0; (off_t)small.rlim_cur < info.st_size; small.rlim_cur += 7) {
        setrlimit(RLIMIT_FSIZE, &small);
        SnStatus again = save(f, 1, 1), next = save(f, 2, 1);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(again, SN_MACHINE);
        assert_int_equal(next, SN_MACHINE);
        assert_int_equal(count_files(f, "step-"), 1);
    }
    assert_int_equal(load(f, f->dir, &found), 1);
    must_save(f, 2, 1);
    assert_int_equal(count_files(f, "step-"), 1);
}

static void test_one_run_has_the_folder(void **state) {
    CheckpointFixture *f = *state;
    int first, second;
    char deep[512];
    in_dir(f, "a/b", deep);
    assert_int_equal(sn_checkpoint_claim(f->dir, &first, &f->e), SN_OK);
    assert_true(first >= 0);
    assert_int_equal(sn_checkpoint_claim(f->dir, &second, &f->e), SN_USER);
    assert_int_equal(second, -1);
    char who[64];
    snprintf(who, sizeof who, "process %ld on", (long)getpid());
    assert_non_null(strstr(f->e.text, "another run saves in"));
    assert_non_null(strstr(f->e.text, who));
    pid_t child = fork(); // another process; it ends without giving anything back
    if (!child) {
        int lock;
        close(first);
        _exit(sn_checkpoint_claim(f->dir, &lock, NULL) == SN_USER ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(first);
    child = fork();
    if (!child) {
        int lock;
        _exit(sn_checkpoint_claim(f->dir, &lock, NULL) == SN_OK && lock >= 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    write_file(in_dir(f, ".step-00000007.safetensors.0123456789abcdef.tmp", deep), "half", 4);
    assert_int_equal(sn_checkpoint_claim(f->dir, &second, &f->e), SN_OK); // it died
    close(second);
    assert_int_equal(count_files(f, ".tmp"), 0); // and what it left takes no room
    in_dir(f, "a/b", deep);
    assert_int_equal(sn_checkpoint_claim(deep, &second, &f->e),
                     SN_OK); // all folders above are made
    close(second);
    char lock[600];
    snprintf(lock, sizeof lock, "%s/.lock", deep);
    assert_int_equal(remove(lock), 0);
    assert_int_equal(remove(deep), 0);
}

// What cannot be written to is said before the first step; whose fault that is too.
static void test_claim_notices_what_cannot_be_written(void **state) {
    CheckpointFixture *f = *state;
    SnProgress at;
    SnFound found;
    SnLog *log;
    int lock;
    char path[512], under[520];
    write_file(in_dir(f, "file", path), "", 0);
    snprintf(under, sizeof under, "%s/out", path);
    assert_int_equal(sn_checkpoint_claim(path, &lock, &f->e), SN_USER);
    assert_int_equal(sn_checkpoint_claim(under, &lock, &f->e), SN_USER);
    assert_non_null(strstr(f->e.text, "Not a directory"));
    assert_int_equal(sn_checkpoint_claim("/proc/self", &lock, &f->e) == SN_OK, 0);
    assert_int_equal(sn_log_new(path, &log, &f->e), SN_USER);
    assert_int_equal(sn_log_new(under, &log, &f->e), SN_USER);
    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    SnStatus loaded = sn_checkpoint_load(f->exec, f->dir, &at, &found, &f->e);
    SnStatus logged = sn_log_new(f->dir, &log, &f->e);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(loaded, SN_MACHINE);
    assert_int_equal(logged, SN_MACHINE);
    if (!geteuid()) {
        print_message("skipped a folder without the right to write: root has it anyway\n");
        return;
    }
    assert_int_equal(chmod(f->dir, 0500), 0);
    SnStatus s = sn_checkpoint_claim(f->dir, &lock, &f->e);
    assert_int_equal(chmod(f->dir, 0700), 0);
    assert_int_equal(s, SN_USER);
    assert_non_null(strstr(f->e.text, "Permission denied"));
}

// Links with the names of what is written lead nowhere.
static void test_links_are_not_written_through(void **state) {
    CheckpointFixture *f = *state;
    char victim[512], path[512], bytes[16];
    int lock;
    struct stat info;
    SnFound found;
    write_file(in_dir(f, "victim", victim), "mine", 4);
    assert_int_equal(symlink(victim, in_dir(f, ".lock", path)), 0);
    assert_int_equal(sn_checkpoint_claim(f->dir, &lock, &f->e), SN_USER);
    assert_int_equal(symlink(victim, in_dir(f, ".step-00000001.safetensors.tmp", path)), 0);
    assert_int_equal(symlink(victim, in_dir(f, "step-00000001.safetensors", path)), 0);
    must_save(f, 1, 0);
    assert_int_equal(lstat(f->path, &info), 0);
    assert_true(S_ISREG(info.st_mode));
    assert_int_equal(load(f, f->dir, &found), 1);
    assert_int_equal(read_file(victim, bytes, sizeof bytes), 4);
    assert_memory_equal(bytes, "mine", 4);
}

// Another run that writes into the folder all the same, as where there are no locks, and is in the middle
// of its file: what it goes on to write is not in ours, even if its names are those that ours would have
// without chance, or an older Sinter's.
static void test_nobody_writes_into_a_published_file(void **state) {
    CheckpointFixture *f = *state;
    const char *names[] = {".step-00000001.safetensors.tmp",
                           ".step-00000001.safetensors.0000000000000000.tmp"};
    int other[2];
    char path[512];
    SnFound found;
    for (int i = 0; i < 2; i++) {
        other[i] = open(in_dir(f, names[i], path), O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_true(other[i] >= 0);
        assert_int_equal(write(other[i], "half", 4), 4);
    }
    must_save(f, 1, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(other[i], "the rest", 8), 8);
        close(other[i]);
    }
    assert_int_equal(load(f, f->dir, &found), 1);
    // Each save has a file of its own: the one before, still open here, keeps its bytes.
    char before[8192], after[8192];
    size_t n = read_file(f->path, before, sizeof before);
    int held = open(f->path, O_RDONLY);
    must_save(f, 1, 0);
    assert_int_equal(read(held, after, sizeof after), (ssize_t)n);
    assert_memory_equal(before, after, n);
    close(held);
}

// A reader beside a writer that keeps one checkpoint always finds one.
static void test_reader_beside_a_writer(void **state) {
    CheckpointFixture *f = *state;
    must_save(f, 1, 1);
    pid_t child = fork();
    if (!child) {
        for (uint64_t step = 2; step < 120; step++)
            if (save(f, step, 1)) _exit(1);
        _exit(0);
    }
    int status;
    uint64_t last = 0;
    while (!waitpid(child, &status, WNOHANG)) {
        SnFound found;
        uint64_t step = load(f, f->dir, &found);
        assert_string_equal(found.note, "");
        assert_true(step >= last);
        last = step;
    }
    assert_int_equal(status, 0);
    // A name that leads nowhere is not waited for.
    char path[512];
    assert_int_equal(symlink("/nonexistent", in_dir(f, "step-00000999.safetensors", path)), 0);
    must_fail(f, f->dir, "No such file");
}

// ---- damage -------------------------------------------------------------------------------------

// The newest one is damaged: the one before is taken, with a word, and the run that goes on from there
// can save.
static void test_the_one_before_a_damaged_one(void **state) {
    CheckpointFixture *f = *state;
    char note[1024], path[512];
    SnFound found;
    for (uint64_t step = 1; step <= 4; step++) must_save(f, step, 0);
    flip_last_bit(f->path);
    must_fail(f, f->path, "tensor 'w' is damaged");
    must_fail(f, f->path, "; --resume with its folder takes the newest whole one");
    assert_int_equal(truncate(in_dir(f, "step-00000003.safetensors", path), 0),
                     0); // as after a power cut
    assert_int_equal(load(f, f->dir, &found), 2);
    assert_non_null(strstr(found.note, "tensor 'w' is damaged"));
    assert_non_null(strstr(found.note, "the one before it is taken"));
    assert_non_null(strstr(found.path, "step-00000002"));
    assert_int_equal(sn_checkpoint_clear(f->dir, 2, note, sizeof note, &f->e), SN_OK);
    assert_non_null(strstr(note, "damaged"));
    assert_int_equal(count_files(f, ".damaged"), 2);
    assert_int_equal(load(f, f->dir, &found), 2);
    assert_string_equal(found.note, "");
    must_save(f, 3, 1);
    assert_int_equal(count_files(f, ".damaged"), 2); // nobody's to remove
    assert_int_equal(load(f, f->dir, &found), 3);
    // Whole ones of later steps are another run's, or this one's: they stay.
    assert_int_equal(sn_checkpoint_clear(f->dir, 2, note, sizeof note, &f->e), SN_USER);
    assert_non_null(strstr(f->e.text, "holds a checkpoint of step 3"));
    assert_int_equal(sn_checkpoint_clear(f->dir, 3, note, sizeof note, &f->e), SN_OK);
    flip_last_bit(f->path);
    must_fail(f, f->dir, "there is none before it");
}

// A damaged name is damage, and no state of another model.
static void test_a_damaged_name(void **state) {
    CheckpointFixture *f = *state;
    SnFound found;
    must_save(f, 1, 0);
    must_save(f, 2, 0);
    edit(f->path, "\"w\":{", "\"u\":{");
    must_fail(f, f->path, "the header is damaged: tensor 'u' has no checksum");
    assert_int_equal(load(f, f->dir, &found), 1);
}

// Every byte of the file counts: with one bit of it turned over, the file is refused, or (a blank of the
// header) holds what it held. Refused, it is known as damaged: the one before is found.
static void test_every_byte_is_guarded(void **state) {
    CheckpointFixture *f = *state;
    char bytes[8192];
    must_save(f, 4, 0);
    must_save(f, 5, 0);
    size_t n = read_file(f->path, bytes, sizeof bytes);
    const float *w = sn_exec_at(f->exec, SN_REGION_PARAM, AT_W);
    float before[WEIGHTS];
    memcpy(before, w, sizeof before);
    int accepted = 0;
    for (size_t i = 0; i < n; i++) {
        SnProgress back;
        SnFound found;
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
        write_file(f->path, bytes, n);
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
        SnStatus s = sn_checkpoint_load(f->exec, f->path, &back, &found, &f->e);
        assert_true(s == SN_OK || s == SN_USER);
        if (s) {
            assert_int_equal(load(f, f->dir, &found), 4);
            continue;
        }
        accepted++;
        assert_memory_equal(w, before, sizeof before);
        assert_int_equal(back.step, 5);
        assert_int_equal(back.seed, 1);
        assert_true(sn_exec_get(f->exec, "lr.peak", 0) == 0.5);
    }
    assert_true(accepted < 4);
}

// Files of an older Sinter have neither checksums nor axes: they load, with a word. Their numbers are
// looked at.
static void test_old_files_load(void **state) {
    CheckpointFixture *f = *state;
    char bytes[8192];
    SnFound found;
    must_save(f, 5, 0);
    edit(f->path, "\"xxh64", "\"older");
    edit(f->path, "\"axes.", "\"exas.");
    assert_int_equal(load(f, f->path, &found), 5);
    assert_non_null(strstr(found.note, "of an older Sinter"));
    size_t n = read_file(f->path, bytes, sizeof bytes);
    const struct {
        const char *from, *to, *words;
    } damaged[] = {
        {"\"sinter.step\":\"5\"", "\"sinter.step\":\"x\"", "'sinter.step' is no number: 'x'"},
        {"\"sinter.step\":\"5\"", "\"sinter.step\":\"-\"", "'sinter.step' is no number"},
        {"\"sinter.step\":\"5\"", "\"sinter.stop\":\"5\"", "lacks 'sinter.step'"},
        {"\"sinter.accum\":\"1\"", "\"sinter.accum\":\"0\"",
         "'sinter.accum' is a whole number from 1 to 2147483647, not 0"},
        {"\"scalar.lr.peak\":\"0.5\"", "\"scalar.lr.peak\":\"-.5\"",
         "'scalar.lr.peak' is a finite number of at least 0, not '-.5'"},
        {"\"scalar.lr.peak\":\"0.5\"", "\"scalar.lr.peak\":\"0,5\"",
         "'scalar.lr.peak' is no number: '0,5'"},
        {"\"scalar.lr.peak\":\"0.5\"", "\"scalar.lr.peak\":\"nan\"",
         "'scalar.lr.peak' is no number"},
        {"\"scalar.lr.peak\":\"0.5\"", "\"scalar.lr.peak\":\"   \"",
         "'scalar.lr.peak' is no number"}};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        write_file(f->path, bytes, n);
        edit(f->path, damaged[i].from, damaged[i].to);
        must_fail(f, f->path, damaged[i].words);
    }
}

// ---- another model ------------------------------------------------------------------------------

static SnState *states_of(CheckpointFixture *f) {
    return (SnState *)(void *)((unsigned char *)f->plan + f->plan->states.offset);
}

// A state that the file has in another order of axes has the same size.
static void test_axes_are_compared(void **state) {
    CheckpointFixture *f = *state;
    SnState *w = &states_of(f)[0], old = *w;
    SnFound found;
    w->naxes = 2, w->size[0] = 3, w->size[1] = 1, w->axis[1] = old.path;
    must_save(f, 1, 0);
    assert_int_equal(load(f, f->path, &found), 1);
    w->axis[0] = old.path, w->axis[1] = old.axis[0];
    must_fail(f, f->path,
              "of another type, shape or order of axes 1 state: 'w' is F32[3, 1] (x, w) there, "
              "F32[3, 1] (w, x) in the model");
    edit(f->path, "\"xxh64", "\"older");
    edit(f->path, "\"axes.", "\"exas.");
    assert_int_equal(load(f, f->path, &found), 1); // nothing is known of an old file's axes
}

// Everything that differs is said at once, and nothing was touched.
static void test_all_differences_are_told(void **state) {
    CheckpointFixture *f = *state;
    SnState *s = states_of(f), old[2] = {s[0], s[1]};
    float before[WEIGHTS];
    const float *w = sn_exec_at(f->exec, SN_REGION_PARAM, AT_W);
    s[1].kind = 1; // 'g' is saved too
    must_save(f, 1, 0);
    memcpy(before, w, sizeof before);
    s[1].kind = old[1].kind;
    must_fail(f, f->path, "the model lacks 1 state: 'g'; is the optimizer");
    s[1] = old[1];
    s[1].kind = 1;
    s[1].path = old[0].axis[0];
    s[0].size[0] = 2, s[0].bytes = 8;
    must_fail(
        f, f->path,
        "it is of another model: it lacks 1 state: 'x'; the model lacks 1 state: 'g'; of "
        "another type, shape or order of axes 1 state: 'w' is F32[3] (x) there, F32[2] (x) in "
        "the model; is the optimizer, 'freeze' or the number of layers another?");
    assert_memory_equal(w, before, sizeof before);
    s[0] = old[0], s[1] = old[1];
    must_fail(f, "/nonexistent", "No such file");
}

// ---- the log ------------------------------------------------------------------------------------

static SnStatus log_line(SnLog *log, uint64_t step, SnError *e) {
    sn_log_begin(log, "train", step);
    sn_log_number(log, "loss", 0.5);
    return sn_log_end(log, e);
}

#define LINE(step) "{\"kind\":\"train\",\"step\":" #step ",\"loss\":0.5}\n"

static void log_must_be(const CheckpointFixture *f, const char *text) {
    char path[512], bytes[1024];
    size_t n = read_file(in_dir(f, "metrics.jsonl", path), bytes, sizeof bytes - 1);
    bytes[n] = 0;
    assert_string_equal(bytes, text);
}

// A disk that is full for a while, at any byte of a line, costs the lines of that while.
static void test_log_has_whole_lines(void **state) {
    CheckpointFixture *f = *state;
    SnLog *log;
    char path[512];
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t line = strlen(LINE(1));
    for (rlim_t room = 0; room < line; room++) {
        assert_int_equal(sn_log_new(f->dir, &log, &f->e), SN_OK);
        assert_int_equal(log_line(log, 1, &f->e), SN_OK);
        small = old;
        small.rlim_cur = line + room;
        setrlimit(RLIMIT_FSIZE, &small);
        SnStatus s = log_line(log, 2, &f->e), t = log_line(log, 3, &f->e);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(s, SN_MACHINE);
        assert_int_equal(t, SN_MACHINE);
        assert_non_null(strstr(f->e.text, "metrics.jsonl"));
        assert_int_equal(sn_log_lost(log), 2);
        assert_int_equal(log_line(log, 4, &f->e), SN_OK);
        assert_int_equal(sn_log_free(log, &f->e), SN_OK);
        log_must_be(f, LINE(1) LINE(4));
        assert_int_equal(unlink(in_dir(f, "metrics.jsonl", path)), 0);
    }
}

// What stands at the end of the file when a run comes: half a line of a killed run goes, anything else
// stays and is ended.
static void test_log_starts_on_a_line(void **state) {
    CheckpointFixture *f = *state;
    const struct {
        const char *before, *after;
    } ends[] = {{"", LINE(7)},
                {LINE(1), LINE(1) LINE(7)},
                {"{\"kind\":\"tr", LINE(7)},
                {LINE(1) "{\"kind\":\"train\",\"step\":2,\"lo", LINE(1) LINE(7)},
                {LINE(1) "{\"by\":\"hand\"}", LINE(1) "{\"by\":\"hand\"}\n" LINE(7)},
                {LINE(1) "a note", LINE(1) "a note\n" LINE(7)}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        SnLog *log;
        char path[512];
        write_file(in_dir(f, "metrics.jsonl", path), ends[i].before, strlen(ends[i].before));
        assert_int_equal(sn_log_new(f->dir, &log, &f->e), SN_OK);
        assert_int_equal(log_line(log, 7, &f->e), SN_OK);
        assert_int_equal(sn_log_free(log, &f->e), SN_OK);
        log_must_be(f, ends[i].after);
    }
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, clean_up)
    const struct CMUnitTest tests[] = {
        WITH(test_keeps_the_facts_of_the_data),
        WITH(test_old_checkpoints_go),
        WITH(test_only_its_own_names_count),
        WITH(test_full_disk_keeps_the_old),
        WITH(test_one_run_has_the_folder),
        WITH(test_claim_notices_what_cannot_be_written),
        WITH(test_links_are_not_written_through),
        WITH(test_nobody_writes_into_a_published_file),
        WITH(test_reader_beside_a_writer),
        WITH(test_the_one_before_a_damaged_one),
        WITH(test_a_damaged_name),
        WITH(test_every_byte_is_guarded),
        WITH(test_old_files_load),
        WITH(test_axes_are_compared),
        WITH(test_all_differences_are_told),
        WITH(test_log_has_whole_lines),
        WITH(test_log_starts_on_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

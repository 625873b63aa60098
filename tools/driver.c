// Reading inputs and running passes for every subcommand; see driver.h.
//
// A dump starts with lines "//! key value": the pass it was taken after and the plan half of the
// model, so that a .ir file builds as the .sn file would have.
#define _GNU_SOURCE // mkostemp
#include "tools/driver.h"
#include "ir/base/file.h"
#include "runtime/core/pool.h"
#include "runtime/files/file.h"
#include "runtime/setting.h"
#include "tools/page.h"
#include "tools/roofline.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool read_file(Arena *a, const char *path, const char **text, size_t *size) {
    int fd = strcmp(path, "-") == 0 ? dup(0) : file_descriptor(path);
    if (fd < 0) return false;
    Text t = {.arena = a};
    char buf[1 << 16];
    ssize_t n = 0;
    size_t most = (size_t)256 << 20; // no source is longer
    text_put(&t, "", 0);
    while (t.n <= most && (n = read(fd, buf, sizeof buf)) != 0) {
        if (n > 0) text_put(&t, buf, (size_t)n);
        if (n < 0 && errno != EINTR) break;
    }
    int failed = n < 0 ? errno : t.n > most ? EFBIG : 0;
    close(fd);
    errno = failed;
    *text = t.at;
    *size = t.n;
    return !failed;
}

void report_unread(Driver *d) {
    const char *hint = errno == ESPIPE ? "; '-' reads standard input" : "";
    diag_error(d->diag, (Loc){0}, "cannot read '%s': %s%s", d->o.input, file_fault(), hint);
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n, size -= (size_t)n;
    }
    return true;
}

// A device, a pipe or a link to nothing is written to, never replaced: /dev/null must stay what it is.
static bool write_through(const char *path, const void *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) return false;
    bool ok = write_all(fd, data, size);
    int saved = errno;
    ok = close(fd) == 0 && ok;
    if (!ok) errno = saved;
    return ok;
}

// Who may read the file: as before, or for a new one as the process says.
static mode_t mode_of(const struct stat *old) {
    if (old) return old->st_mode & 07777;
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

static bool finish_file(int fd, const struct stat *old, const void *data, size_t size) {
    if (!write_all(fd, data, size)) return false;
    // the owner stays where that is allowed; without it the mode may not give others more
    bool owned = !old || (old->st_uid == geteuid() && old->st_gid == getegid()) ||
                 fchown(fd, old->st_uid, old->st_gid) == 0;
    return fchmod(fd, mode_of(old) & (owned ? 07777 : 0777)) == 0 && fsync(fd) == 0;
}

static bool replace_file(Arena *a, const char *path, const struct stat *old, const void *data,
                         size_t size) {
    char *temp = arena_printf(a, "%s.XXXXXX", path);
    if (old && access(path, W_OK) != 0) return false;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = finish_file(fd, old, data, size);
    int saved = errno;
    if (close(fd) != 0 && ok) ok = false, saved = errno;
    if (ok && rename(temp, path) == 0) return true;
    if (ok) saved = errno;
    unlink(temp);
    errno = saved;
    return false;
}

bool write_file(Arena *a, const char *path, const void *data, size_t size) {
    struct stat st;
    char real[PATH_MAX]; // a link stays one: the file that it names is replaced
    bool there = realpath(path, real) && stat(real, &st) == 0;
    if (there ? !S_ISREG(st.st_mode) : lstat(path, &st) == 0)
        return write_through(path, data, size);
    return replace_file(a, there ? real : path, there ? &st : NULL, data, size);
}

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

// A value of the header that the row of its key does not take is an error.
static const char *header_value(Driver *d, const SnSetting *s, const char *key, const char *value) {
    char allowed[128];
    if (!s || sn_setting_text(s, value, NULL)) return value;
    sn_setting_allowed(s, allowed, sizeof allowed);
    diag_error(d->diag, (Loc){0}, "'%s': '%s' takes %s, found '%s'", d->o.input, key, allowed,
               value);
    return s->without ? s->without : "1";
}

static void header_scalar(Driver *d, const char *name, const char *value) {
    const SnSetting *s = sn_setting_find(name);
    bool whole = value[0] == 'i';
    double x = 0;
    if (!*value || !sn_number(header_value(d, s, name, value + 1), &x))
        diag_error(d->diag, (Loc){0}, "'%s': the scalar '%s' is no number: '%s'", d->o.input, name,
                   value);
    vec_push(d->arena, &d->program->scalars, ((RunScalar){name, whole ? ELEM_i32 : ELEM_f32, x}));
}

// "//! option key value" and friends of a dump. False after a message.
static bool read_header(Driver *d) {
    Program *p = d->program;
    const SnSetting *count = &sn_settings[SN_SET_micro];
    const char *family = d->family;
    const char *s = d->source, *end = s + d->source_size;
    while (s < end && s[0] == '/') {
        const char *eol = memchr(s, '\n', (size_t)(end - s));
        size_t n = eol ? (size_t)(eol - s) : (size_t)(end - s);
        char *line = arena_str(d->arena, s, n);
        char *word = strchr(line, ' '), *key = word ? strchr(word + 1, ' ') : NULL;
        if (strncmp(line, "//! ", 4) == 0 && key) {
            *key++ = 0;
            char *value = strchr(key, ' ');
            bool option = strcmp(++word, "option") == 0 || strcmp(word, "scalar") == 0;
            if (value && option) *value++ = 0;
            if (strcmp(word, "after") == 0) d->resume = key;
            if (strcmp(word, "family") == 0) family = key;
            if (strcmp(word, "model") == 0) p->model_name = key;
            if (strcmp(word, "plan") == 0) p->no_plan = strcmp(key, "none") == 0;
            if (strcmp(word, "micro") == 0) p->micro = atoll(header_value(d, count, word, key));
            if (strcmp(word, "batch") == 0) p->batch = atoll(header_value(d, count, word, key));
            if (strcmp(word, "option") == 0)
                vec_push(d->arena, &p->options,
                         ((PlanOption){
                             key, header_value(d, sn_setting_find(key), key, value ? value : "")}));
            if (strcmp(word, "scalar") == 0) header_scalar(d, key, value ? value : "");
        }
        s += n + 1;
    }
    if (strcmp(family, d->family) != 0)
        diag_error(d->diag, (Loc){0}, "'%s' was dumped for '%s', this is for '%s' (--target)",
                   d->o.input, family, d->family);
    return d->diag->errors == 0;
}

void driver_print_module(Driver *d, const char *after, Text *to) {
    const Program *p = d->program;
    char num[32];
    if (after) text_printf(to, "//! after %s\n//! family %s\n", after, d->family);
    if (p->model_name) text_printf(to, "//! model %s\n", p->model_name);
    if (p->no_plan) text_printf(to, "//! plan none\n");
    if (p->batch)
        text_printf(to, "//! batch %lld\n//! micro %lld\n", (long long)p->batch,
                    (long long)p->micro);
    for (uint32_t i = 0; i < p->options.n; i++)
        text_printf(to, "//! option %s %s\n", p->options.at[i].key, p->options.at[i].value);
    for (uint32_t i = 0; i < p->scalars.n; i++)
        text_printf(to, "//! scalar %s %c%s\n", p->scalars.at[i].name,
                    p->scalars.at[i].elem == ELEM_i32 ? 'i' : 'f',
                    format_double(num, p->scalars.at[i].value));
    ir_print_module(to, p->m);
}

static bool add_target(Driver *d, const char *name, size_t n) {
    if (n == 3 && strncmp(name, "cpu", n) == 0) {
        d->cpu = true;
        return true;
    }
    const CudaTarget *t = cuda_target_find(name, n);
    if (!t || d->ncuda == DRIVER_MAX_TARGETS) {
        usage_error("unknown target '%.*s' (see 'sinter targets')", n < 100 ? (int)n : 100, name);
        return false;
    }
    for (uint32_t i = 0; i < d->ncuda; i++)
        if (d->cuda[i] == t) return true;
    d->cuda[d->ncuda++] = t;
    return true;
}

bool driver_targets(Driver *d) {
    const char *s = d->o.compare ? d->o.compare : d->o.target ? d->o.target : "cpu";
    d->family = NULL;
    for (;; s++) {
        size_t n = strcspn(s, ",");
        if (!add_target(d, s, n)) return false;
        if (!d->family) d->family = d->cpu ? "cpu" : "cuda";
        s += n;
        if (!*s) return true;
    }
}

static bool compile(Driver *d) {
    Arena *a = d->arena;
    d->file = diag_add_file(d->diag, d->o.input, d->source, d->source_size, false);
    d->is_ir = ends_with(d->o.input, ".ir");
    if (!d->is_ir) {
        d->program = frontend_compile(a, d->syms, d->diag, d->file, d->o.defs.at, d->o.defs.n);
        if (d->program && !d->diag->errors) driver_warn(d);
        return d->program != NULL && d->diag->errors == 0;
    }
    d->program = NEW(a, Program);
    d->program->m = ir_parse(a, d->syms, d->diag, d->file);
    if (!d->program->m || d->diag->errors) return false;
    Text why = {.arena = a};
    if (ir_verify(d->program->m, &why)) {
        diag_error(d->diag, (Loc){0}, "'%s' is not valid IR: %s", d->o.input, why.at);
        return false;
    }
    if (!read_header(d)) return false;
    for (AxisId i = 1; i < d->program->m->axes.n; i++)
        if (d->program->m->axes.at[i].sample) d->program->sample = i;
    return true;
}

bool driver_reload(Driver *d, const char *family) {
    driver_report(d);
    d->family = family;
    uint32_t limit = d->diag->limit;
    d->diag = diag_new(d->arena);
    d->diag->limit = limit;
    d->ledger = ledger_new(d->arena);
    d->syms = symtab_new(d->arena);
    bool ok = compile(d);
    if (ok) d->diag->items.n = 0; // warnings: the first load said them
    return ok;
}

bool driver_load(Driver *d) {
    Arena *a = d->arena;
    if (!read_file(a, d->o.input, &d->source, &d->source_size)) {
        report_unread(d);
        return false;
    }
    if (d->source_size > UINT32_MAX / 2) {
        diag_error(d->diag, (Loc){0}, "'%s' is too large", d->o.input);
        return false;
    }
    return compile(d);
}

// ---- passes -------------------------------------------------------------------------------------

// For the signal handler: the module as it was before the running pass, where to write it, and the
// command line, to run it again with the modules kept.
static char *volatile reproducer_text;
static const char *volatile reproducer_path;
static char **volatile rerun_argv;

static void say(const char *text) {
    if (write(2, text, strlen(text)) < 0) _exit(70);
}

// A pass broke an invariant. Modules are printed before each pass only when asked, because that costs
// more than most passes: so the first failure runs the same command again with --verify-each, and the
// second one, at the same place since compiling is deterministic, writes the module.
static void on_crash(int sig) {
    (void)sig;
    if (!reproducer_text && rerun_argv) {
        say("sinter: running again to keep the module before the failing pass\n");
        execv("/proc/self/exe", rerun_argv);
    }
    if (!reproducer_text) say("sinter: internal error\n");
    if (reproducer_text) {
        int fd = open(reproducer_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        size_t n = strlen(reproducer_text);
        bool ok = fd >= 0 && write(fd, reproducer_text, n) == (ssize_t)n;
        say(ok ? "sinter: the module before the failing pass is in " : "sinter: cannot write ");
        say(reproducer_path);
        say("\n");
    }
    _exit(70);
}

void driver_keep_arguments(int argc, char **argv) {
    char **again = calloc((size_t)argc + 2, sizeof *again);
    if (!again) return;
    for (int i = 0; i < argc; i++) again[i] = argv[i];
    // after the command: arguments behind "--" belong to the executable
    for (int i = argc; i > 2; i--) again[i] = again[i - 1];
    again[2] = "--verify-each";
    rerun_argv = again;
}

static void before_pass(void *user, const PassInfo *pass, const Module *m) {
    Driver *d = user;
    (void)m;
    // for the test of reproducers: an invariant that breaks in the pass of this name
    const char *broken = getenv("SINTER_BREAK_PASS");
    if (d->o.verify_each) {
        arena_reset(d->scratch);
        Text t = {.arena = d->scratch};
        driver_print_module(d, pass == pass_table ? NULL : pass[-1].name, &t);
        reproducer_path = arena_printf(d->arena, "sinter-repro-%s.ir", pass->name);
        reproducer_text = t.at;
        rerun_argv = NULL;
    }
    CHECK(!broken || strcmp(broken, pass->name) != 0, "pass '%s' breaks as the environment asks",
          pass->name);
}

static void after_pass(void *user, const PassInfo *pass, const Module *m, double seconds,
                       bool changed) {
    Driver *d = user;
    (void)m;
    if (d->o.time_passes)
        fprintf(stderr, "%-12s %8.2f ms%s\n", pass->name, seconds * 1e3,
                changed ? "" : "  (no change)");
    if (d->o.html) page_add(d, pass->name, pass->reason, changed);
    if (d->o.dump_dir) {
        Text t = {.arena = d->arena};
        driver_print_module(d, pass->name, &t);
        const char *path = arena_printf(d->arena, "%s/%02u-%s.ir", d->o.dump_dir,
                                        (unsigned)(pass - pass_table), pass->name);
        if (!write_file(d->arena, path, t.at, t.n))
            diag_error(d->diag, (Loc){0}, "cannot write '%s': %s", path, strerror(errno));
    }
}

bool driver_define(Driver *d, const char *text) {
    const char *eq = text ? strchr(text, '=') : NULL;
    if (!eq || eq == text) return false;
    Define def = {arena_str(d->arena, text, (size_t)(eq - text)), eq + 1};
    for (uint32_t i = 0; i < d->o.defs.n; i++)
        if (strcmp(d->o.defs.at[i].name, def.name) == 0) {
            d->o.defs.at[i] = def;
            return true;
        }
    vec_push(d->arena, &d->o.defs, def);
    return true;
}

// The family, with the links of the first GPU of the architecture that comes first, where they are known.
static Target target_of(const Driver *d) {
    Target t = *target_find(d->family);
    const Gpu *g = t.out > 0 && d->ncuda ? gpu_of_sm(d->cuda[0]->sm) : NULL;
    double out, in;
    if (g && gpu_links(g, &out, &in)) t.out = 1e9 * out, t.in = 1e9 * in;
    return t;
}

bool driver_passes(Driver *d, const char *last) {
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    const Target target = target_of(d);
    PassCx cx = {.m = d->program->m,
                 .scratch = arena_new(),
                 .ledger = d->ledger,
                 .target = &target,
                 .micro = d->program->micro,
                 .micro_at = d->program->micro_at,
                 .unfused = d->o.no_fuse,
                 .library = d->o.lt_epilogues};
    d->ledger->keep_pairs = d->o.why_not[0] != NULL;
    PassHooks hooks = {
        .user = d, .before = before_pass, .after = after_pass, .verify = d->o.verify_each};
    if (d->o.dump_dir && mkdir(d->o.dump_dir, 0777) != 0 && errno != EEXIST) {
        diag_error(d->diag, (Loc){0}, "cannot make '%s': %s", d->o.dump_dir, strerror(errno));
        return false;
    }
    const char *broken = getenv("SINTER_BREAK_PASS");
    if (broken && !pass_find(broken, strlen(broken))) {
        diag_error(d->diag, (Loc){0}, "SINTER_BREAK_PASS: no pass is called '%s'", broken);
        return false;
    }
    bool ok;
    if (d->o.html) page_add(d, "front end", "", true);
    if (d->o.passes) {
        ok = pipeline_run_list(&cx, d->o.passes, &hooks);
    } else {
        const char *first = NULL;
        if (d->resume) { // the pass after the one that the dump names
            const PassInfo *p = pass_find(d->resume, strlen(d->resume));
            if (!p) {
                diag_error(d->diag, (Loc){0}, "'%s' was dumped after an unknown pass '%s'",
                           d->o.input, d->resume);
                return false;
            }
            if (p + 1 == pass_table + pass_count) return true;
            first = p[1].name;
        }
        ok = pipeline_run(&cx, first, last, &hooks);
    }
    arena_free(cx.scratch);
    reproducer_text = NULL;
    return ok && d->diag->errors == 0;
}

bool driver_needs_plan(Driver *d) {
    if (!d->program->no_plan) return true;
    diag_error(d->diag, d->program->model_at,
               "there is no plan to train '%s' by: 'train { … }' says data, optimizer and rate",
               d->program->model_name);
    return false;
}

// Where an index may not fit 32 bits, what becomes of a value is known after lowering only.
static bool has_huge_value(const Module *m) {
    for (uint32_t k = 0; k < m->funcs.n; k++)
        for (NodeId n = 0; n < m->funcs.at[k]->nodes.n; n++)
            if (type_count(type_of(m, m->funcs.at[k], n)) > INT32_MAX) return true;
    return false;
}

// Whether what cuts the batch finds nothing to refuse, without the canonical form that the build makes
// first. Since that only takes away, nothing is found there either; what is found here may be gone there.
static bool cuts_plainly(Driver *d) {
    const char *asked = d->o.passes;
    uint32_t items = d->diag->items.n;
    if (d->program->micro == d->program->batch) return true;
    d->o.passes = "dce,autodiff,microbatch";
    bool ok = driver_passes(d, NULL);
    d->o.passes = asked;
    d->diag->items.n = items;
    d->diag->errors = 0;
    return ok;
}

bool driver_check(Driver *d) {
    KernelProgram kernels;
    const Module *m =
        d->program->m; // of demands and a budget the passes say whether they can be kept
    bool demands = m->demands.n > 0 || m->recompute.mode == RECOMPUTE_budget;
    for (uint32_t i = 0; i < m->precisions.n; i++) demands |= m->precisions.at[i].demand;
    const char *last = demands ? NULL : "microbatch";
    if (d->resume) return driver_passes(d, last);
    bool plain = cuts_plainly(d), huge = plain && has_huge_value(m);
    if (plain && !huge && !demands) return true;
    if (!driver_reload(d, d->family) || !driver_passes(d, huge ? NULL : last)) return false;
    return !huge || program_lower(d->arena, d->program->m, d->diag, &kernels);
}

int driver_report(Driver *d) {
    diag_print(d->diag, stderr, d->colour);
    return d->diag->errors ? EXIT_USER : 0;
}

int driver_put(Driver *d, const Text *t) {
    if (d->o.output) {
        if (write_file(d->arena, d->o.output, t->at, t->n)) return 0;
        int status = sn_file_status(errno) == SN_USER ? EXIT_USER : EXIT_MACHINE;
        return driver_error(status, "cannot write '%s': %s", d->o.output, strerror(errno));
    }
    fwrite(t->at, 1, t->n, stdout);
    return driver_close_output(0); // errno is still that of the write
}

int driver_close_output(int rc) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || rc) return rc;
    return driver_error(EXIT_MACHINE, "cannot write the output: %s", strerror(errno));
}

uint32_t driver_threads(void) { return (uint32_t)sn_pool_default_threads(); }

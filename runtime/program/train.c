// The program that every training executable is: reads the command line, runs the steps, saves,
// evaluates, prints. Exit statuses live here only, printing here, in info.c and in report.c.
//
//   exit 0  done, or stopped by a signal (signals.h) after saving the last complete step
//        1  data, checkpoint or model values are at fault
//        2  the command line is
//        3  the machine is: CPU, memory, disk
//
// This file is compiled for the baseline instruction set and asks for the CPU's features before it
// enters anything that is not.
#define _GNU_SOURCE
#include "runtime/core/pool.h"
#include "runtime/files/file.h"
#include "runtime/program/help.h"
#include "runtime/program/info.h"
#include "runtime/program/options.h"
#include "runtime/program/report.h"
#include "runtime/program/signals.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USER = 1, EXIT_USAGE = 2, EXIT_MACHINE = 3 };
enum { MOST_SKIPPED = 100 }; // steps in a row that the loss scale may answer for

typedef struct {
    const char *program, *typed; // for messages; how it is called
    SnOptions options;
    const SnPlan *plan;
    SnExec *exec;
    SnData *data;
    SnTrainer *trainer;
    SnReport report;
    SnProgress at; // where the run starts
    char *facts;   // of the data
    SnSignals *signals;
    double started;
    bool save_failed;  // the last one
    bool sick;         // after a step that is no number: there is nothing more to save
    bool claimed;      // the folder that is saved in,
    int lock;          // with this; -1: it has no locks
    uint64_t saved;    // step of the last checkpoint, UINT64_MAX: none
    int skipped;       // steps in a row that changed nothing but the loss scale
    bool open;         // a step was started and is not yet reported,
    SnProgress opened; // this one
    double mark;       // when the last step was reported, or the open one started
    char path[PATH_MAX];
    SnError e;
} Run;

static int report(const Run *r) {
    fprintf(stderr, "%s: error: %s\n", r->program, r->e.text);
    return r->e.status == SN_USER ? EXIT_USER : EXIT_MACHINE;
}

static void warn(const Run *r, const char *text) {
    fprintf(stderr, "%s: warning: %s\n", r->program, text);
}

static int usage_error(Run *r) {
    fprintf(stderr, "%s: error: %s\n", r->program, r->e.text);
    return EXIT_USAGE;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// ---- options ------------------------------------------------------------------------------------

static const char *given(const Run *r, SnSettingId id) { return r->options.given[id]; }
static bool trains(const Run *r) {
    return !given(r, SN_SET_generate) && !given(r, SN_SET_predict) && !given(r, SN_SET_eval);
}

// The text of a setting: the command line's, the plan's, or what holds without; NULL: none of them.
static const char *setting(const Run *r, SnSettingId id) {
    const char *text = given(r, id);
    if (!text && *sn_settings[id].key) text = sn_plan_option(r->plan, sn_settings[id].key, NULL);
    return text ? text : sn_settings[id].without;
}

static double number_or(const Run *r, SnSettingId id, double otherwise) {
    const char *text = setting(r, id);
    double x = otherwise;
    bool good = !text || sn_setting_text(&sn_settings[id], text, &x); // checked in early()
    assert(good);
    (void)good;
    return x;
}

static int64_t count_or(const Run *r, SnSettingId id, int64_t otherwise) {
    return (int64_t)number_or(r, id, (double)otherwise);
}

// Of a setting that always has a value.
static double number(const Run *r, SnSettingId id) {
    assert(sn_settings[id].without);
    return number_or(r, id, 0);
}

static int64_t count(const Run *r, SnSettingId id) { return (int64_t)number(r, id); }

// What the executable's plan says was checked when it was built; a plan made otherwise was not.
static SnStatus check_plan_options(Run *r) {
    for (uint32_t i = 0; i < r->plan->options.count; i++) {
        const SnOption *o = &SN_AT(r->plan, SnOption, options)[i];
        const char *key = SN_STRING(r->plan, o->key), *text = SN_STRING(r->plan, o->value);
        const SnSetting *s = sn_setting_find(key);
        char allowed[96];
        if (!s || sn_setting_text(s, text, NULL)) continue;
        sn_setting_allowed(s, allowed, sizeof allowed);
        return sn_fail(&r->e, SN_USER, "the plan's option '%s' takes %s, not '%s'", key, allowed,
                       text);
    }
    return SN_OK;
}

static const char *device_name(const Run *r) {
    const char *name = given(r, SN_SET_device);
    return name ? name : sn_setting_environ(SN_SET_env_device);
}

static const char *scalar_name(const SnPlan *p, uint32_t i) {
    return SN_STRING(p, SN_AT(p, SnScalar, scalars)[i].name);
}

// The scalar that --lr means, of the schedule that is no group's: lr.peak, lr.value, or else its first one.
static const char *rate_scalar(const SnPlan *p) {
    const char *names[] = {"lr.peak", "lr.value"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sn_plan_scalar(p, names[i])) return names[i];
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const char *name = scalar_name(p, i);
        bool base = !strncmp(name, "lr.", 3) && !strchr(name + 3, '.');
        if (base && strcmp(name, "lr.steps") && strcmp(name, "lr.warmup")) return name;
    }
    return NULL;
}

// Of what a run does besides training it does one thing. Weights that nobody trained predict nothing.
static SnStatus check_use(Run *r) {
    const SnSettingId uses[] = {SN_SET_generate, SN_SET_predict, SN_SET_eval};
    const char *first = NULL;
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        const char *flag = sn_settings[uses[i]].flag;
        if (!given(r, uses[i])) continue;
        if (first) return sn_fail(&r->e, SN_USER, "--%s and --%s do different things", first, flag);
        first = flag;
        if (uses[i] != SN_SET_generate && !given(r, SN_SET_resume))
            return sn_fail(&r->e, SN_USER, "--%s needs weights: name them with --resume", flag);
    }
    return SN_OK;
}

// What is asked for and this program does not have.
static SnStatus check_asked(Run *r) {
    SnStatus s = sn_options_check(&r->options, r->plan, &r->e);
    if (!s) s = check_use(r);
    if (s || !given(r, SN_SET_lr) || rate_scalar(r->plan)) return s;
    return sn_fail(&r->e, SN_USER,
                   "--lr: this program has no learning rate of all parameters to set; --info lists "
                   "its scalars");
}

// What the model cannot do, as far as the command line asks for it.
static SnStatus check_limits(Run *r) {
    int64_t batches = given(r, SN_SET_eval_batches) ? count(r, SN_SET_eval_batches) : 1;
    SnStatus s = sn_plan_allows(r->plan, count_or(r, SN_SET_accum, 1), &r->e);
    if (s || (double)batches <= sn_plan_number(r->plan, "eval.max", INT32_MAX)) return s;
    return sn_fail(&r->e, SN_USER,
                   "an evaluation of this model is one micro-batch: its samples depend on each "
                   "other");
}

// Gives the run's length to the schedules that are as long as it was before the command line, or as the one
// of all parameters, which follows a new run in any case.
static void set_lengths(Run *r, uint64_t before) {
    const char *base = sn_settings[SN_SET_lr_steps].key;
    float run = (float)before, first = (float)sn_exec_get(r->exec, base, (double)run);
    bool tied = !given(r, SN_SET_resume) || first == run;
    for (uint32_t i = 0; i < r->plan->scalars.count; i++) {
        const char *name = scalar_name(r->plan, i);
        if (sn_setting_find(name) != &sn_settings[SN_SET_lr_steps]) continue;
        float length = (float)sn_exec_get(r->exec, name, 0);
        if (length == run || (tied && length == first))
            sn_exec_set(r->exec, name, (double)r->at.total);
    }
}

// After a checkpoint was read: what the command line gives wins. before: the length of the run without it.
static void apply_scalars(Run *r, uint64_t before) {
    if (given(r, SN_SET_steps)) set_lengths(r, before);
    if (given(r, SN_SET_lr)) sn_exec_set(r->exec, rate_scalar(r->plan), number_or(r, SN_SET_lr, 0));
    for (uint32_t i = 0; i < r->options.nscalars; i++) { // what is set by its own name wins
        char key[128];
        const char *value = sn_options_scalar(&r->options, i, key, sizeof key);
        sn_exec_set(r->exec, key, strtod(value, NULL));
    }
}

// ---- being asked to stop -------------------------------------------------------------------------

// Whether nobody can read the output any more: it failed, and the pipe's reader or the terminal has gone.
static bool output_gone(void) {
    struct pollfd out = {.fd = STDOUT_FILENO};
    return ferror(stdout) && poll(&out, 1, 0) > 0 && out.revents & (POLLERR | POLLHUP);
}

static bool was_asked_to_stop(void *user) {
    const Run *r = user;
    return sn_signals_asked(r->signals) || (output_gone() && sn_signals_heeded(SIGPIPE));
}

// ---- setting up ---------------------------------------------------------------------------------

static SnDataKind data_kind(const Run *r) {
    static const SnDataKind kinds[] = {SN_DATA_TEXT, SN_DATA_TOKENS, SN_DATA_TENSORS,
                                       SN_DATA_TENSORS, SN_DATA_TENSORS};
    return kinds[count(r, SN_SET_data_kind)]; // in the order of its words
}

static const char *data_arrays(const Run *r) {
    static const char *const formats[] = {NULL, NULL, NULL, "idx", "npy"};
    return formats[count(r, SN_SET_data_kind)];
}

// What the model's inputs take from the data, in the order in which they are declared.
static uint32_t data_names(const Run *r, const char **names, uint32_t most) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->plan->options.count && n < most; i++) {
        const SnOption *o = &SN_AT(r->plan, SnOption, options)[i];
        if (!strncmp(SN_STRING(r->plan, o->key), "input.", 6))
            names[n++] = SN_STRING(r->plan, o->value);
    }
    return n;
}

static SnStatus open_data(Run *r) {
    const char *names[64];
    SnDataSpec spec = {.kind = data_kind(r),
                       .path = setting(r, SN_SET_data_path),
                       .arrays = data_arrays(r),
                       .names = names};
    spec.nnames = data_names(r, names, sizeof names / sizeof *names);
    SnStatus s = sn_data_spec(r->plan, &spec, &r->e);
    if (s) return s;
    if (!spec.path)
        return sn_fail(&r->e, SN_USER, "there is nothing to %s: name it with --data",
                       trains(r)                  ? "train on"
                       : given(r, SN_SET_predict) ? "predict from"
                                                  : "evaluate");
    if (sn_plan_option(r->plan, "data.tokenizer", NULL) && spec.kind == SN_DATA_TEXT)
        return sn_fail(&r->e, SN_USER,
                       "data: text is read as bytes; for a tokenizer's ids, use data tokens(...)");
    if (spec.kind != SN_DATA_TENSORS && spec.window < 1)
        return sn_fail(&r->e, SN_USER, "data: no input of the model takes tokens");
    const char *width = setting(r, SN_SET_data_width);
    spec.split = number(r, SN_SET_data_split);
    spec.stride = count_or(r, SN_SET_data_stride, 0);
    spec.width = width ? atoi(width) : 0;
    spec.shuffle = number(r, SN_SET_data_shuffle) != 0;
    spec.seed = r->at.seed;
    if (!trains(r)) spec.split = 1, spec.shuffle = false; // all of it, in its order
    if (given(r, SN_SET_predict)) s = sn_predict_spec(r->plan, &spec, &r->e);
    return s ? s : sn_data_new(&spec, &r->data, &r->e);
}

// The progress to start from: the checkpoint's or a new run's, then the command line.
static SnStatus set_progress(Run *r) {
    int64_t micro = (int64_t)sn_plan_number(r->plan, "micro", 1);
    int64_t batch = (int64_t)sn_plan_number(r->plan, "batch", (double)micro);
    r->at = (SnProgress){
        .accum = count_or(r, SN_SET_accum, micro > 0 && batch >= micro ? batch / micro : 1),
        .total = (uint64_t)count(r, SN_SET_steps),
        .seed = (uint64_t)count(r, SN_SET_seed)};
    const SnProgress asked = r->at;
    const char *resume = given(r, SN_SET_resume);
    const char *length = sn_plan_option(r->plan, sn_settings[SN_SET_steps].key, NULL);
    uint64_t before = length ? strtoull(length, NULL, 10) : asked.total;
    if (resume) {
        SnFound found;
        SnStatus s = sn_checkpoint_load(r->exec, resume, &r->at, &found, &r->e);
        if (s) return s;
        before = r->at.total;
        if (*found.note) warn(r, found.note);
        if (!given(r, SN_SET_generate))
            printf("resumed from %s at step %" PRIu64 "\n", found.path, r->at.step);
        r->saved = r->at.step;
        snprintf(r->path, sizeof r->path, "%s", found.path);
    }
    if (given(r, SN_SET_steps)) r->at.total = asked.total;
    if (given(r, SN_SET_accum)) r->at.accum = asked.accum;
    if (given(r, SN_SET_seed) && !given(r, SN_SET_generate)) r->at.seed = asked.seed;
    apply_scalars(r, before);
    return SN_OK;
}

static const char *out_directory(const Run *r) {
    if (given(r, SN_SET_out)) return given(r, SN_SET_out);
    const char *resume = given(r, SN_SET_resume), *end = ".safetensors";
    if (!resume) return NULL;
    size_t n = strlen(resume), m = strlen(end);
    return n > m && !strcmp(resume + n - m, end) ? NULL : resume;
}

// Before anything that takes long: a folder that cannot be written to, or that another run saves in, is
// an error now. One that is to be resumed from is not made, nor touched by a run without steps.
static SnStatus claim_directory(Run *r) {
    const char *dir = out_directory(r);
    struct stat info;
    bool no_steps = given(r, SN_SET_resume) && count_or(r, SN_SET_steps, 1) == 0;
    if (!dir || !trains(r) || no_steps) return SN_OK;
    if (!given(r, SN_SET_out) && (stat(dir, &info) || !S_ISDIR(info.st_mode))) return SN_OK;
    SnStatus s = sn_checkpoint_claim(dir, &r->lock, &r->e);
    r->claimed = !s;
    if (!s && r->lock < 0)
        warn(r, "the file system of --out has no locks: give it to one run at a time");
    return s;
}

// A run that goes on does so on the data that it had: that is what its bits depend on.
static SnStatus compare_data(Run *r) {
    char differs[800] = "";
    if (!r->at.data)
        fprintf(stderr, "%s: note: the checkpoint does not say which data it was trained on\n",
                r->program);
    SnStatus s =
        r->at.data ? sn_data_compare(r->data, r->at.data, differs, sizeof differs, &r->e) : SN_OK;
    if (s || !*differs) return s;
    if (!given(r, SN_SET_new_data))
        return sn_fail(
            &r->e, SN_USER,
            "the data is not what the checkpoint was trained on (%s); --new-data goes on "
            "with it",
            differs);
    fprintf(stderr, "%s: note: other data than before (%s)\n", r->program, differs);
    return SN_OK;
}

static SnStatus check_data(Run *r) {
    SnStatus s = sn_data_facts(r->data, &r->facts, &r->e);
    return s || !given(r, SN_SET_resume) ? s : compare_data(r);
}

// What was measured; beside a prompt that is continued it is no output.
static void print_tuned(const Run *r) {
    FILE *to = given(r, SN_SET_generate) ? stderr : stdout;
    if (!sn_print_decided(r->exec, to)) fprintf(to, "--tune: this device has nothing to choose\n");
}

static SnStatus set_up(Run *r) {
    int threads = (int)count_or(r, SN_SET_threads, sn_pool_default_threads());
    const SnDeviceWish wish = {.name = device_name(r),
                               .threads = threads,
                               .tune = given(r, SN_SET_tune) != NULL,
                               .training = !given(r, SN_SET_generate) && !given(r, SN_SET_predict),
                               .moments = setting(r, SN_SET_offload_moments)};
    SnStatus s = claim_directory(r);
    if (!s) s = sn_exec_open_as(sn_programs, &wish, &r->exec, &r->e);
    if (!s) r->plan = sn_exec_plan(r->exec);
    if (!s && *sn_exec_note(r->exec))
        fprintf(stderr, "%s: note: %s\n", r->program, sn_exec_note(r->exec));
    if (!s && given(r, SN_SET_tune)) print_tuned(r);
    if (!s) s = set_progress(r);
    if (s) return s;
    sn_exec_profile(r->exec, given(r, SN_SET_profile) != NULL);
    if (!given(r, SN_SET_generate)) s = open_data(r);
    if (!s && given(r, SN_SET_predict))
        s = sn_trainer_new_predicting(r->exec, r->data, &r->at, &r->trainer, &r->e);
    else if (!s && given(r, SN_SET_eval))
        s = sn_trainer_new_evaluating(r->exec, r->data, &r->at, &r->trainer, &r->e);
    else if (!s)
        s = sn_trainer_new(r->exec, r->data, &r->at, &r->trainer, &r->e);
    if (!s && r->data && trains(r)) s = check_data(r);
    if (!s) sn_trainer_ask(r->trainer, was_asked_to_stop, r);
    if (!s && !given(r, SN_SET_resume)) s = sn_trainer_init(r->trainer, &r->e);
    return s;
}

static void tear_down(Run *r) {
    (void)sn_report_close(&r->report, NULL);
    sn_trainer_free(r->trainer);
    sn_data_free(r->data);
    free(r->facts);
    free(r->at.data);
    sn_exec_free(r->exec);
    sn_signals_close(r->signals);
    if (r->lock >= 0) close(r->lock);
}

// ---- training -----------------------------------------------------------------------------------

static int keep_count(const Run *r) { return (int)count(r, SN_SET_save_keep); }

// A failure to save does not end a run in the middle: it goes on, says so, and fails at the end.
// keep: so many checkpoints stay, 0: all.
static void save(Run *r, int keep) {
    const char *dir = out_directory(r);
    SnProgress at = sn_trainer_progress(r->trainer);
    at.data = r->facts;
    if (!dir || at.step == r->saved) return;
    double start = seconds();
    r->save_failed =
        sn_checkpoint_save(r->exec, &at, dir, keep, r->path, sizeof r->path, &r->e) != SN_OK;
    r->report.pace.save = seconds() - start;
    sn_report_clear(&r->report);
    if (r->save_failed) {
        warn(r, r->e.text);
        return;
    }
    r->saved = at.step;
    printf("step %" PRIu64 "  saved %s\n", at.step, r->path);
}

// --eval alone is of all samples.
static int64_t eval_batches(const Run *r) {
    bool all = given(r, SN_SET_eval) && !given(r, SN_SET_eval_batches);
    return all ? INT64_MAX : count(r, SN_SET_eval_batches);
}

static SnStatus evaluate(Run *r) {
    if (!sn_trainer_can_eval(r->trainer)) return SN_OK;
    double start = seconds();
    SnProgress at = sn_trainer_progress(r->trainer);
    SnStatus s = sn_trainer_eval(r->trainer, eval_batches(r), &r->e);
    if (!s) s = sn_exec_wait(r->exec, &r->e);
    if (s) sn_report_clear(&r->report);
    if (s == SN_STOPPED) printf("step %" PRIu64 "  validation stopped before its end\n", at.step);
    if (s) return s;
    sn_report_eval(&r->report, &at, seconds() - start);
    return SN_OK;
}

// What a step must give as finite numbers to change anything (frontend/elab_train.c). Of what the loss scale
// may be too large for, a step is skipped and the scale falls (frontend/elab_scale.c).
typedef struct {
    const char *result, *what;
    bool scaled;
} Finite;
static const Finite must_be_finite[] = {{"loss", "loss", true},
                                        {"grad_norm", "norm of the gradient", true},
                                        {"lr", "learning rate", false}};

static double step_result(const Run *r, const char *name, int back) {
    double x = sn_trainer_result(r->trainer, name, false, back);
    return isnan(x) ? fabs(x) : x; // no "-nan"
}

// The step changed nothing, so the state is that of the step before: it is saved beside what is
// there already. A device that runs ahead may have changed it since; then nothing is saved.
static SnStatus diverged(Run *r, uint64_t step, const Finite *f, double value, bool ahead) {
    static const char *const sections[] = {"init", "prologue", "micro", "update"};
    char nan[600] = "SINTER_FIND_NAN=on names the first NaN", kept[PATH_MAX + 64], row[64] = "";
    SnStatus s = sn_exec_wait(r->exec, &r->e); // a fault says more than the number it left
    if (s) return s;
    (void)sn_exec_first_nan(r->exec, sections, 4, nan, sizeof nan);
    r->sick = true;
    if (r->skipped) // they count as steps of the scale, and one ahead may have changed more
        save(r, 0), snprintf(row, sizeof row, ", number %d in a row that was skipped", r->skipped);
    else if (!ahead)
        sn_trainer_take_back(r->trainer), save(r, 0);
    if (r->saved == UINT64_MAX)
        snprintf(kept, sizeof kept, "nothing has been saved");
    else
        snprintf(kept, sizeof kept, "the last checkpoint is of step %" PRIu64, r->saved);
    return sn_fail(&r->e, SN_USER,
                   "the %s is %g in step %" PRIu64
                   "%s: training has diverged; the step changed nothing, %s; %s",
                   f->what, value, step, row, kept, nan);
}

// The step changed nothing but the scale, which says what became of it.
static SnStatus skip(Run *r, uint64_t step, const Finite *f, double value, int back) {
    sn_report_clear(&r->report);
    printf("step %" PRIu64 "  skipped, scale %g\n", step, step_result(r, "loss_scale", back));
    return ++r->skipped < MOST_SKIPPED ? SN_OK : diverged(r, step, f, value, back > 0);
}

static SnStatus check_result(Run *r, uint64_t step, const Finite *f, int back, bool *skipped) {
    bool scaled = f->scaled && sn_plan_output(r->plan, "update", "loss_scale");
    if (!sn_plan_output(r->plan, "update", f->result)) return SN_OK;
    double value = step_result(r, f->result, back);
    if (isfinite(value) || (scaled && *skipped)) return SN_OK;
    if (!scaled) return r->skipped = 0, diverged(r, step, f, value, back > 0);
    *skipped = true;
    return skip(r, step, f, value, back);
}

static SnStatus check_finite(Run *r, uint64_t step, int back) {
    SnStatus s = SN_OK;
    bool skipped = false;
    for (size_t i = 0; i < sizeof must_be_finite / sizeof *must_be_finite && !s; i++)
        s = check_result(r, step, &must_be_finite[i], back, &skipped);
    for (uint32_t i = 0; i < r->plan->outputs.count && !s; i++) { // the rates of groups
        Finite f = {.result = SN_STRING(r->plan, SN_AT(r->plan, SnPort, outputs)[i].name)};
        char what[160];
        if (strncmp(f.result, "lr.", 3)) continue;
        snprintf(what, sizeof what, "learning rate '%.128s'", f.result);
        f.what = what;
        s = check_result(r, step, &f, back, &skipped);
    }
    if (!skipped) r->skipped = 0;
    return s;
}

// Reports the open step. back 1: another one has been started since, and is not waited for.
static SnStatus report_step(Run *r, int back) {
    SnProgress at = r->opened;
    (void)step_result(r, "loss", back); // waits for the step
    double now = seconds(), took = now - r->mark;
    r->open = false;
    r->mark = now;
    SnStatus s = back ? SN_OK : sn_exec_wait(r->exec, &r->e);
    if (s) return s;
    sn_report_step(&r->report, &at, back, now, took);
    return check_finite(r, at.step, back);
}

// One step more. A device that runs ahead is given it before the last one's results are asked for.
static SnStatus one_step(Run *r) {
    if (!r->open) r->mark = seconds();
    SnStatus s = sn_trainer_step(r->trainer, &r->e);
    if (s == SN_STOPPED) return s;
    if (s && r->open) { // what was done before the failure is still told
        SnError first = r->e;
        (void)report_step(r, 0);
        r->e = first;
    }
    if (!s && r->open) s = report_step(r, 1);
    if (s) return s;
    r->open = true;
    r->opened = sn_trainer_progress(r->trainer);
    return sn_exec_ahead(r->exec) ? SN_OK : report_step(r, 0);
}

static SnStatus settle(Run *r) { return r->open ? report_step(r, 0) : SN_OK; }

static void print_start(const Run *r) {
    SnProgress at = sn_trainer_progress(r->trainer);
    int64_t micro = sn_trainer_micro(r->trainer);
    printf("%s: %" PRId64 " parameters, %.1f MiB, %s, batch %" PRId64 " = %" PRId64 " x %" PRId64
           ", %" PRId64 " training and %" PRId64 " validation samples, seed %" PRIu64 "\n",
           SN_STRING(r->plan, r->plan->model_name), sn_count_parameters(r->plan),
           (double)sn_exec_bytes(r->exec) / 1048576.0, sn_exec_device(r->exec), at.accum * micro,
           at.accum, micro, sn_data_samples(r->data, SN_TRAIN), sn_data_samples(r->data, SN_VALID),
           at.seed);
    fflush(stdout); // the first step may take long
}

static bool due(uint64_t step, int64_t every) { return every > 0 && step % (uint64_t)every == 0; }

// SN_STOPPED: asked to end before all steps were done.
static SnStatus steps(Run *r) {
    int64_t save_every = count(r, SN_SET_save_every);
    int64_t eval_every = count(r, SN_SET_eval_every);
    for (SnProgress at = r->at; at.step < at.total;) {
        SnStatus s = was_asked_to_stop(r) ? SN_STOPPED : one_step(r);
        if (s) return s;
        at = sn_trainer_progress(r->trainer);
        if (due(at.step, eval_every) || due(at.step, save_every)) s = settle(r);
        if (!s && due(at.step, eval_every) && at.step != at.total) s = evaluate(r);
        if (s) return s;
        if (due(at.step, save_every)) save(r, keep_count(r));
    }
    return settle(r);
}

// Checkpoints of another run, or of this run's future, would be taken for the newest.
static SnStatus check_directory(Run *r) {
    char note[1024];
    if (!r->claimed) return SN_OK;
    SnStatus s = sn_checkpoint_clear(out_directory(r), r->at.step, note, sizeof note, &r->e);
    if (*note) warn(r, note);
    return s;
}

// After a failure between two steps (of the data, mostly) the states are still those of the last one.
static void rescue(Run *r) {
    SnError first = r->e;
    bool whole = !r->sick && !sn_trainer_is_torn(r->trainer);
    if (whole && !sn_exec_wait(r->exec, &r->e)) save(r, keep_count(r));
    r->e = first;
}

static void print_end(Run *r, bool stopped) {
    uint64_t step = sn_trainer_progress(r->trainer).step;
    sn_report_clear(&r->report);
    if (stopped) printf("stopped after step %" PRIu64 "\n", step);
    if (!out_directory(r) && step != r->at.step)
        fprintf(stderr, "%s: note: nothing was kept of the %" PRIu64 " steps: there was no --out\n",
                r->program, step - r->at.step);
}

// Where things lie, and what can be done with them.
static void print_kept(Run *r, bool stopped) {
    SnProgress at = sn_trainer_progress(r->trainer);
    const char *log = given(r, SN_SET_log);
    SnText took = {0};
    SnError none;
    if (at.step == r->at.step || r->saved != at.step || r->save_failed) return;
    sn_line_time(&took, seconds() - r->started);
    printf("%" PRIu64 " steps in %s: newest checkpoint %s", at.step - r->at.step,
           took.text ? took.text : "?", r->path);
    printf(log ? ", losses %s/metrics.jsonl\n" : "\n", log);
    free(took.text);
    SnNext next = {.program = r->typed,
                   .options = &r->options,
                   .dir = out_directory(r),
                   .steps = stopped ? 0 : 2 * at.total,
                   .generates = !sn_can_generate(r->exec, &none),
                   .text = data_kind(r) == SN_DATA_TEXT,
                   .evaluates = sn_trainer_can_eval(r->trainer)};
    sn_print_next(&next);
}

static SnStatus open_report(Run *r) {
    r->report = (SnReport){.program = r->program,
                           .plan = r->plan,
                           .trainer = r->trainer,
                           .print_every = (uint64_t)count(r, SN_SET_print_every),
                           .eval_every = (uint64_t)count(r, SN_SET_eval_every),
                           .save_every = (uint64_t)count(r, SN_SET_save_every),
                           .eval_batches = eval_batches(r),
                           .saves = out_directory(r) != NULL};
    return sn_report_open(&r->report, given(r, SN_SET_log), &r->e);
}

static SnStatus print_memory(Run *r) {
    if (!given(r, SN_SET_print_memory)) return SN_OK;
    const SnProgress at = r->trainer ? sn_trainer_progress(r->trainer) : r->at;
    return sn_report_memory(&r->report, r->exec, &at, &r->e);
}

static SnStatus train(Run *r) {
    SnStatus s = check_directory(r);
    if (!s) s = open_report(r);
    if (s) return s;
    print_start(r);
    sn_report_begin(&r->report, &r->at);
    r->started = seconds();
    s = steps(r);
    bool stopped = s == SN_STOPPED;
    if (stopped) s = settle(r);
    if (s)
        rescue(r);
    else
        save(r, keep_count(r));
    if (!s && !stopped) s = evaluate(r);
    if (s == SN_STOPPED) stopped = true, s = SN_OK;
    print_end(r, stopped);
    if (!s) print_kept(r, stopped);
    if (!s) s = print_memory(r);
    SnError log_error = {0};
    SnStatus closed = sn_report_close(&r->report, &log_error);
    if (s) return s;
    if (r->save_failed) return r->e.status = SN_MACHINE; // it could be written to at the start
    if (closed) r->e = log_error;
    return closed;
}

// ---- generating ---------------------------------------------------------------------------------

typedef struct {
    bool text;
    bool first;
} TokenPrinter;

static bool print_id(void *user, int32_t id) {
    TokenPrinter *p = user;
    if (p->text)
        putchar(id < 256 ? id : '?');
    else
        printf("%s%d", p->first ? "" : " ", id);
    p->first = false;
    return !fflush(stdout);
}

static SnStatus generate(Run *r) {
    const char *seed = given(r, SN_SET_seed); // the plan's is that of training
    SnGenerate how = {.temperature = number(r, SN_SET_temperature),
                      .top_k = count(r, SN_SET_top_k),
                      .tokens = count(r, SN_SET_tokens),
                      .seed = seed ? (uint64_t)count(r, SN_SET_seed) : 1};
    SnDataKind kind = data_kind(r);
    int64_t n;
    int32_t *ids;
    SnStatus s = sn_prompt(given(r, SN_SET_generate), kind == SN_DATA_TEXT, &ids, &n, &r->e);
    if (s) return s;
    if (!given(r, SN_SET_resume))
        fprintf(stderr, "%s: note: without --resume the weights are untrained\n", r->program);
    TokenPrinter p = {kind == SN_DATA_TEXT, true};
    for (int64_t i = 0; i < n; i++) print_id(&p, ids[i]);
    s = sn_generate(r->exec, ids, n, &how, print_id, &p, &r->e);
    putchar('\n');
    free(ids);
    return s;
}

// ---- evaluating ---------------------------------------------------------------------------------

static SnStatus evaluate_alone(Run *r) {
    SnError log_error = {0};
    SnStatus s = open_report(r);
    if (s) return s;
    printf("%" PRId64 " of %" PRId64 " samples\n",
           sn_trainer_eval_samples(r->trainer, eval_batches(r)),
           sn_data_samples(r->data, SN_TRAIN));
    s = evaluate(r);
    if (s == SN_STOPPED) r->e.status = SN_USER;
    if (!s) s = print_memory(r);
    SnStatus closed = sn_report_close(&r->report, &log_error);
    if (!s && closed) r->e = log_error;
    return s ? s : closed;
}

// ---- predicting ---------------------------------------------------------------------------------

static SnStatus predict(Run *r) {
    int64_t samples = sn_data_samples(r->data, SN_TRAIN);
    SnPredict p = {.path = given(r, SN_SET_predict),
                   .checkpoint = r->path,
                   .data = r->data,
                   .tell = sn_report_rewrites() ? sn_report_samples : NULL,
                   .user = &r->mark};
    SnStatus s = sn_predict(r->exec, r->trainer, samples, &p, &r->e);
    if (p.tell) fputs("\r\033[K", stdout);
    if (s == SN_STOPPED) r->e.status = SN_USER;
    if (!s) printf("%" PRId64 " samples: %s in %s\n", samples, p.written, p.path);
    return s;
}

// ---- main ---------------------------------------------------------------------------------------

// Everything that needs nothing but the command line and the plan. Returns -1 to go on.
static int early(Run *r) {
    char missing[128];
    // The header is read before the plan is checked; it is plain data of known size.
    const char *device = device_name(r);
    bool other = device && strcmp(device, "cpu"); // the CPU runs the runtime alone
    sn_cpu_missing((other ? 0 : r->plan->features) | SN_CPU_AVX2 | SN_CPU_FMA, missing,
                   sizeof missing);
    if (*missing) {
        sn_fail(&r->e, SN_MACHINE, "this program needs %s, which this CPU or system lacks",
                missing);
        return report(r);
    }
    if (given(r, SN_SET_check_cpu)) {
        puts("this CPU can run the program");
        return EXIT_SUCCESS;
    }
    if (sn_plan_check(r->plan, &r->e) || check_plan_options(r)) return report(r);
    if (given(r, SN_SET_version)) {
        printf("%s, built by sinter %s\n", SN_STRING(r->plan, r->plan->model_name),
               SN_STRING(r->plan, r->plan->sinter));
        return EXIT_SUCCESS;
    }
    if (given(r, SN_SET_help)) sn_print_help(r->typed, r->plan);
    if (given(r, SN_SET_info)) sn_print_info(r->plan, device);
    if (given(r, SN_SET_help) || given(r, SN_SET_info)) return EXIT_SUCCESS;
    return check_asked(r) || check_limits(r) || sn_environ_check(&r->e) ||
                   sn_device_check(device, &r->e)
               ? usage_error(r)
               : -1;
}

// What was printed must have arrived: a full disk under it is the machine's fault. A reader that has gone
// has seen what it wanted.
static int close_output(const Run *r, int status) {
    if ((!fflush(stdout) && !ferror(stdout)) || errno == EPIPE || output_gone() || status)
        return status;
    fprintf(stderr, "%s: error: cannot write the output: %s\n", r->program, strerror(errno));
    return EXIT_MACHINE;
}

// What messages begin with: the file's name; of a program that lies in sinter's cache, the model's.
static const char *program_name(const Run *r) {
    const char *slash = strrchr(r->typed, '/'), *model = SN_STRING(r->plan, r->plan->model_name);
    if (sn_help_is_command(r->typed)) return *model ? model : "train";
    return slash ? slash + 1 : r->typed;
}

static SnStatus use(Run *r) {
    if (given(r, SN_SET_generate)) return generate(r);
    if (given(r, SN_SET_predict)) return predict(r);
    return given(r, SN_SET_eval) ? evaluate_alone(r) : train(r);
}

int main(int argc, char **argv) {
    Run r = {
        .plan = (const SnPlan *)(const void *)sn_programs[0].plan, .lock = -1, .saved = UINT64_MAX};
    r.typed = argc > 0 ? argv[0] : "train";
    r.program = program_name(&r);
    sn_file_prepare();
    if (sn_options_parse(argc, argv, &r.options, &r.e)) return usage_error(&r);
    int status = early(&r);
    if (status >= 0) return close_output(&r, status);
    SnStatus s = given(&r, SN_SET_generate) ? SN_OK : sn_signals_open(&r.signals, &r.e);
    if (!s) s = set_up(&r);
    if (!s) s = use(&r);
    if (!s && !r.report.plan) s = print_memory(&r); // else it was told before the log was closed
    if (!s && given(&r, SN_SET_profile)) s = sn_print_profile(r.exec, &r.e);
    status = s ? report(&r) : EXIT_SUCCESS;
    tear_down(&r);
    return close_output(&r, status);
}

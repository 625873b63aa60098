// See report.h. This prints, as train.c does.
//
// The width of the terminal is asked for each time that a row is drawn, so a window may change its size
// without a signal. A row that fills the last column leaves the cursor there, where clearing to the end of
// the line would take the last character: it is cleared before it is written anew and not after.
#include "runtime/program/report.h"
#include "runtime/program/help.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// ---- the screen ---------------------------------------------------------------------------------

void sn_report_clear(SnReport *r) {
    if (!r->open) return;
    fputs("\r\033[K", stdout);
    fflush(stdout);
    r->open = false;
}

// Puts the row in the place of the one that is open. stays: it is a line.
static void draw(SnReport *r, bool stays) {
    if (r->open) fputs("\r\033[K", stdout);
    if (!r->row.failed) fputs(r->row.text, stdout);
    if (stays) putchar('\n');
    fflush(stdout);
    r->open = !stays;
}

// ---- results ------------------------------------------------------------------------------------

// All results of a step or an evaluation that are numbers.
static void read_numbers(SnReport *r, bool eval, int back) {
    const char *wanted[2][2] = {{"update", "micro"}, {"eval_finish", "eval_micro"}};
    r->n = 0;
    for (uint32_t i = 0; i < r->plan->outputs.count; i++) {
        const SnPort *port = &SN_AT(r->plan, SnPort, outputs)[i];
        const char *section = SN_STRING(r->plan, port->section);
        const char *name = SN_STRING(r->plan, port->name);
        bool mine = !strcmp(section, wanted[eval][0]) || !strcmp(section, wanted[eval][1]);
        if (mine && !port->naxes)
            r->numbers[r->n++] = (SnNumber){name, sn_trainer_result(r->trainer, name, eval, back)};
    }
}

// Writes them to the log. What cannot be written is said once, not at every step.
static void log_numbers(SnReport *r, const char *kind, const SnProgress *at, double took) {
    sn_log_begin(r->log, kind, at->step);
    for (uint32_t i = 0; i < r->n; i++)
        sn_log_number(r->log, r->numbers[i].name, r->numbers[i].value);
    sn_log_number(r->log, "samples", (double)at->samples);
    sn_log_number(r->log, "seconds", took);
    SnError e = {0};
    bool failed = sn_log_end(r->log, &e) != SN_OK;
    if (failed && !r->log_failed) {
        sn_report_clear(r);
        fprintf(stderr, "%s: warning: %s\n", r->program, e.text);
    }
    r->log_failed = failed;
}

static SnStepLine line_of(const SnReport *r, const SnProgress *at, int64_t samples, double took) {
    int64_t window = sn_trainer_window(r->trainer);
    return (SnStepLine){.step = at->step,
                        .total = at->total,
                        .numbers = r->numbers,
                        .n = r->n,
                        .took = took,
                        .speed = (double)(samples * (window ? window : 1)) / took,
                        .tokens = window > 0,
                        .left = (double)NAN};
}

// What is still to be done, at the pace so far. The last evaluation and the last save come in any case.
static double time_left(const SnReport *r, const SnProgress *at) {
    if (at->step >= at->total) return (double)NAN;
    uint64_t evals = sn_pace_count(at->step, at->total - 1, r->eval_every) + 1;
    uint64_t saves = sn_pace_count(at->step, at->total - 1, r->save_every) + 1;
    return sn_pace_left(&r->pace, at->total - at->step, sn_trainer_can_eval(r->trainer) ? evals : 0,
                        r->saves ? saves : 0);
}

// ---- steps and evaluations ----------------------------------------------------------------------

void sn_report_begin(SnReport *r, const SnProgress *at) {
    SnStepLine l = line_of(r, at, 0, (double)NAN);
    if (!r->rewrites || at->step >= at->total) return;
    sn_line_bar(&r->row, &l, sn_help_terminal(), r->colour);
    draw(r, false);
}

void sn_report_step(SnReport *r, const SnProgress *at, int back, double now, double took) {
    bool last = at->step == at->total, due = !(at->step % r->print_every) || at->step == 1;
    read_numbers(r, false, back);
    sn_pace_step(&r->pace, took);
    if (r->rewrites ? last || now - r->drawn >= 0.1 : last || due) {
        SnStepLine l = line_of(r, at, at->accum * sn_trainer_micro(r->trainer), took);
        l.left = time_left(r, at);
        if (r->rewrites)
            sn_line_bar(&r->row, &l, sn_help_terminal(), r->colour);
        else
            sn_line_step(&r->row, &l);
        draw(r, !r->rewrites || last);
        r->drawn = now;
    }
    log_numbers(r, "train", at, took);
}

SnStatus sn_report_memory(SnReport *r, SnExec *x, const SnProgress *at, SnError *e) {
    SnMemory m;
    SnStatus s = sn_exec_memory(x, &m, e);
    const double mib = 1024.0 * 1024.0;
    const struct {
        const char *name, *said;
        int64_t bytes;
    } all[] = {{"planned", "planned", m.planned},
               {"arena", "allocated", m.arena},
               {"device", "in use on the device, by all", m.in_use},
               {"process", "most of the process", m.process}};
    if (s) return s;
    sn_report_clear(r);
    printf("memory:");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].bytes)
            printf("%s %s %.1f MiB", i ? "," : "", all[i].said, (double)all[i].bytes / mib);
    putchar('\n');
    if (!r->log) return SN_OK; // a run without steps
    sn_log_begin(r->log, "memory", at->step);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].bytes) sn_log_number(r->log, all[i].name, (double)all[i].bytes);
    return sn_log_end(r->log, e);
}

void sn_report_eval(SnReport *r, const SnProgress *at, double took) {
    SnStepLine l;
    r->pace.eval = took;
    read_numbers(r, true, 0);
    l = line_of(r, at, sn_trainer_eval_samples(r->trainer, r->eval_batches), took);
    sn_line_eval(&r->row, &l);
    draw(r, true);
    log_numbers(r, "eval", at, took);
}

// ---- begin and end ------------------------------------------------------------------------------

// An evaluation computes about a third of what steps do for as many samples.
static double forward_share(const SnReport *r) {
    if (!sn_trainer_can_eval(r->trainer)) return 0;
    int64_t batch = sn_trainer_progress(r->trainer).accum * sn_trainer_micro(r->trainer);
    return (double)sn_trainer_eval_samples(r->trainer, r->eval_batches) / (double)batch / 3;
}

bool sn_report_rewrites(void) {
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void sn_report_samples(void *user, int64_t done, int64_t samples) {
    double *drawn = user;
    char text[64];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    if (done < samples && now - *drawn < 0.1) return;
    snprintf(text, sizeof text, "%" PRId64 " of %" PRId64 " samples", done, samples);
    printf("\r\033[K%.*s", sn_help_terminal(), text);
    fflush(stdout);
    *drawn = now;
}

SnStatus sn_report_open(SnReport *r, const char *log, SnError *e) {
    const char *no_color = getenv("NO_COLOR");
    r->rewrites = sn_report_rewrites();
    r->colour = r->rewrites && !(no_color && *no_color);
    r->pace.forward = forward_share(r);
    r->numbers = calloc((size_t)r->plan->outputs.count + 1, sizeof *r->numbers);
    return r->numbers ? sn_log_new(log, &r->log, e) : sn_fail(e, SN_MACHINE, "out of memory");
}

SnStatus sn_report_close(SnReport *r, SnError *e) {
    uint64_t lost = r->log ? sn_log_lost(r->log) : 0;
    SnStatus s = sn_log_free(r->log, e);
    free(r->numbers);
    free(r->row.text);
    r->log = NULL;
    r->numbers = NULL;
    r->row = (SnText){0};
    if (!lost) return s;
    if (s || r->log_failed)
        return sn_fail(e, SN_MACHINE, "%" PRIu64 " lines of the log were not written", lost);
    fprintf(stderr, "%s: warning: %" PRIu64 " lines of the log were not written\n", r->program,
            lost);
    return SN_OK;
}

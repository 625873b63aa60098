// What a run tells of its steps and evaluations while it goes on: on standard output and in the log.
//
// On a terminal one row is rewritten in place, ten times a second at most; elsewhere, and on a terminal
// that is called "dumb", every row is a line.
#pragma once
#include "runtime/program/progress.h"
#include "runtime/sinter.h"

typedef struct {
    // given by the caller
    const char *program; // for messages
    const SnPlan *plan;
    SnTrainer *trainer;
    uint64_t print_every, eval_every, save_every; // steps; 0: only at the end
    int64_t eval_batches;
    bool saves;
    // its own
    bool rewrites, colour;
    bool open;    // the cursor is behind a row that is to be rewritten
    double drawn; // when, in seconds of the run
    SnText row;
    SnPace pace;
    SnNumber *numbers; // results of the last step or evaluation
    uint32_t n;
    SnLog *log;
    bool log_failed; // the last line
} SnReport;

// Whether standard output is a terminal whose rows can be rewritten.
bool sn_report_rewrites(void);
// How far a prediction is: one row, rewritten ten times a second. user: when it was drawn, a double.
void sn_report_samples(void *user, int64_t done, int64_t samples);
// log: the folder, or NULL.
SnStatus sn_report_open(SnReport *r, const char *log, SnError *e);
// Lines that are missing in the log are told; a failure only if they still cannot be written. r may be all 0.
SnStatus sn_report_close(SnReport *r, SnError *e);
// Before anything else is printed, there or on standard error.
void sn_report_clear(SnReport *r);
// On a terminal, what the first step will be the first of.
void sn_report_begin(SnReport *r, const SnProgress *at);
// now, took: in seconds. back: as in sn_exec_result.
void sn_report_step(SnReport *r, const SnProgress *at, int back, double now, double took);
// Memory as it is now, on the screen and in the log.
SnStatus sn_report_memory(SnReport *r, SnExec *x, const SnProgress *at, SnError *e);
void sn_report_eval(SnReport *r, const SnProgress *at, double took);

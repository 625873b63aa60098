// The line of a step or an evaluation, laid out for a terminal of some width or plain, and how much time a
// run still takes. Nothing here prints: report.h does.
#pragma once
#include "runtime/files/json.h"

// A result of a step or an evaluation, under the name that the log has for it: "loss", "grad_norm", "lr", and
// the model's metrics and named losses.
typedef struct {
    const char *name;
    double value;
} SnNumber;

// A step that is done. NaN in a field of time or speed: it is not known, and not shown.
typedef struct {
    uint64_t step, total;
    const SnNumber *numbers;
    uint32_t n;
    double took;  // seconds
    double speed; // tokens a second, or samples where no input takes windows
    bool tokens;
    double left; // seconds to the end of the run
} SnStepLine;

// Each of these writes one line or row without its end in the place of what `to` held.
//
// "step 3/9  loss 1.2345  norm …", all of it.
void sn_line_step(SnText *to, const SnStepLine *l);
// One row that fills `columns` and is never wider: what does not fit is left out, the least important first;
// a bar takes the room that is left.
void sn_line_bar(SnText *to, const SnStepLine *l, int columns, bool colour);
// "step 3  validation loss 1.2345  …", of an evaluation; step and total are the same.
void sn_line_eval(SnText *to, const SnStepLine *l);
// "0:07", "1:02:03", "3 d 4 h", added to what `to` holds.
void sn_line_time(SnText *to, double seconds);

// How long steps, evaluations and saves take: the mean of about the last hundred steps, without the first
// of the process, which also touches its memory for the first time; the last evaluation; the last save.
typedef struct {
    uint64_t steps; // that were measured, and the first
    double step, eval, save;
    double forward; // an evaluation in steps, until one was measured
} SnPace;
void sn_pace_step(SnPace *p, double seconds);
// What so many of each will take; NaN before the second step.
double sn_pace_left(const SnPace *p, uint64_t steps, uint64_t evals, uint64_t saves);
// How many multiples of `every` (0: none) are above `from` and up to `to`.
uint64_t sn_pace_count(uint64_t from, uint64_t to, uint64_t every);

// What a training executable tells of itself and of a run, on stdout: --help, --info, --profile.
#pragma once
#include "runtime/program/options.h"
#include <stdio.h>

// program: see sn_help_program.
void sn_print_help(const char *program, const SnPlan *plan);
// device: the name that was asked for, or NULL.
void sn_print_info(const SnPlan *plan, const char *device);
int64_t sn_count_parameters(const SnPlan *plan); // numbers in all parameters
// What the device decided when it was opened. False: nothing.
bool sn_print_decided(const SnExec *x, FILE *to);
// The commands that go on from a run's checkpoints, as they are to be typed.
typedef struct {
    const char *program; // see sn_help_program
    const SnOptions *options;
    const char *dir; // of the checkpoints
    uint64_t steps;  // to go on to; 0: to what the run was told
    bool generates, text, evaluates;
} SnNext;
void sn_print_next(const SnNext *n);
// Where the time of a profiled run went, the longest commands first.
SnStatus sn_print_profile(SnExec *x, SnError *e);

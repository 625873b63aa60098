// What a training executable tells of itself and of a run, on stdout: --help, --info, --profile.
#pragma once
#include "runtime/options.h"
#include <stdio.h>

void sn_print_help(const char *program, const SnPlan *plan);
// device: the name that was asked for, or NULL.
void sn_print_info(const SnPlan *plan, const char *device);
int64_t sn_count_parameters(const SnPlan *plan); // numbers in all parameters
// What the device decided when it was opened. False: nothing.
bool sn_print_decided(const SnExec *x, FILE *to);
// Where the time of a profiled run went, the longest commands first.
SnStatus sn_print_profile(SnExec *x, SnError *e);

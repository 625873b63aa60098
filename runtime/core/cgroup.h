// What control groups allow this process.
#pragma once
#include <stdint.h>

typedef struct {
    double memory; // bytes; INFINITY: no limit
    double cpus;   // CPUs' worth of time; INFINITY: no limit
} SnLimits;

// The tightest limits of the groups that `list` names ("/proc/self/cgroup") and of all above them; groups
// are folders below root ("/sys/fs/cgroup"). What cannot be read sets no limit.
SnLimits sn_cgroup_limits(const char *list, const char *root);

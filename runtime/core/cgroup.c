// See cgroup.h. A line of the list is "NUMBER:CONTROLLERS:PATH". In version 2 there is one hierarchy, without
// names of controllers, at the root or, beside version 1, in "unified":
//
//   ROOT/PATH/memory.max  cpu.max
//
// In version 1 each set of controllers has its own, under their names or a name for one of them:
//
//   ROOT/memory/PATH/memory.limit_in_bytes  ROOT/cpu,cpuacct/PATH/cpu.cfs_quota_us  cpu.cfs_period_us
//
// A limit holds for all groups below, so each path is walked up to its root. A container may see its own group
// as the root while the list still names it by the host's path: then the folders on the way are missing and
// the root holds the limits. Linear in folders; each is asked for every file.
#define _GNU_SOURCE
#include "runtime/core/cgroup.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The whole numbers at the start of a small file; how many there are, at most `most`.
static int read_numbers(const char *dir, const char *name, double *to, int most) {
    char *path = NULL;
    int n = 0;
    if (asprintf(&path, "%s/%s", dir, name) < 0) return 0;
    FILE *f = fopen(path, "re");
    free(path);
    if (!f) return 0;
    while (n < most && fscanf(f, "%lf", &to[n]) == 1) n++;
    fclose(f);
    return n;
}

static void tighten(double *limit, double to) {
    if (to > 0 && to < *limit) *limit = to;
}

// The limits of one group. A limit that is absent is "max" or -1.
static void ask(const char *dir, SnLimits *to) {
    double x[2];
    if (read_numbers(dir, "memory.max", x, 1)) tighten(&to->memory, x[0]);
    if (read_numbers(dir, "memory.limit_in_bytes", x, 1)) tighten(&to->memory, x[0]);
    if (read_numbers(dir, "cpu.max", x, 2) == 2 && x[1] > 0) tighten(&to->cpus, x[0] / x[1]);
    if (read_numbers(dir, "cpu.cfs_quota_us", x, 1) &&
        read_numbers(dir, "cpu.cfs_period_us", x + 1, 1) && x[1] > 0)
        tighten(&to->cpus, x[0] / x[1]);
}

// The group `path` of a hierarchy and all above it.
static void walk(const char *root, const char *hierarchy, const char *path, SnLimits *to) {
    char *dir = NULL;
    int n = asprintf(&dir, "%s%s%s%s", root, *hierarchy ? "/" : "", hierarchy,
                     strcmp(path, "/") ? path : "");
    if (n < 0) return;
    size_t top = strlen(root) + (*hierarchy ? 1 + strlen(hierarchy) : 0);
    for (;;) {
        ask(dir, to);
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= top || !slash || slash < dir + top) break;
        *slash = 0;
    }
    free(dir);
}

static void read_line(char *line, const char *root, SnLimits *to) {
    char *controllers = strchr(line, ':'),
         *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) return;
    *path++ = 0;
    controllers++;
    path[strcspn(path, "\n")] = 0;
    if (*path != '/' || strstr(path, "/..")) return; // a group outside of what this process sees
    walk(root, *controllers ? controllers : "unified", path, to);
    if (!*controllers) walk(root, "", path, to);
    char *rest = NULL;
    for (char *c = strtok_r(controllers, ",", &rest); c; c = strtok_r(NULL, ",", &rest))
        walk(root, c, path, to);
}

SnLimits sn_cgroup_limits(const char *list, const char *root) {
    SnLimits limits = {INFINITY, INFINITY};
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(list, "re");
    if (!f) return limits;
    while (getline(&line, &room, f) > 0) read_line(line, root, &limits);
    free(line);
    fclose(f);
    return limits;
}

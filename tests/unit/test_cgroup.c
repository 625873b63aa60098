// Limits of control groups (runtime/core/cgroup.h) in trees made by hand: version 1 and 2, both, a container's view.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
//
#include "runtime/core/cgroup.h"
#include "runtime/files/folder.h"
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char root[64], list[80];
} Tree;

static int set_up(void **state) {
    Tree *t = calloc(1, sizeof *t);
    strcpy(t->root, "/tmp/sinter-cgroup-XXXXXX");
    assert_non_null(mkdtemp(t->root));
    snprintf(t->list, sizeof t->list, "%s/list", t->root);
    *state = t;
    return 0;
}

static int clean_up(void **state) {
    Tree *t = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", t->root);
    int rc = system(command);
    free(t);
    return rc;
}

// A file of the group `dir`, or of the list's folder.
static void put(const Tree *t, const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", t->root, dir);
    assert_true(sn_folder_make(path));
    snprintf(path, sizeof path, "%s/%s/%s", t->root, dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && !fclose(f));
}

static void check(const Tree *t, double memory, double cpus) {
    SnLimits x = sn_cgroup_limits(t->list, t->root);
    if (x.memory != memory || x.cpus != cpus)
        fail_msg("%g bytes, %g CPUs instead of %g, %g", x.memory, x.cpus, memory, cpus);
}

static void ancestors_count(void **state) {
    Tree *t = *state;
    check(t, INFINITY, INFINITY); // there is no list
    put(t, ".", "list", "0::/slice/job/step\n");
    check(t, INFINITY, INFINITY);
    put(t, "slice/job/step", "memory.max", "max\n");
    put(t, "slice/job/step", "cpu.max", "max 100000\n");
    check(t, INFINITY, INFINITY);
    put(t, "slice/job", "memory.max", "3000000\n");
    put(t, "slice", "memory.max", "5000000\n");
    put(t, "slice", "cpu.max", "250000 100000\n");
    check(t, 3000000, 2.5);
    put(t, "slice/job/step", "memory.max", "1000000\n");
    put(t, "slice/job/step", "cpu.max", "400000 100000\n");
    check(t, 1000000, 2.5);
    put(t, ".", "cpu.max", "100000 100000\n"); // a container's root
    check(t, 1000000, 1);
    put(t, ".", "list", "0::/../elsewhere\n");
    check(t, INFINITY, INFINITY);
}

static void version_1(void **state) {
    Tree *t = *state;
    put(t, ".", "list", "11:cpu,cpuacct:/a/b\n7:memory:/c/d\n3:name=systemd:/e\n");
    put(t, "memory", "memory.limit_in_bytes", "9223372036854771712\n");
    put(t, "memory/c/d", "memory.limit_in_bytes", "9223372036854771712\n");
    put(t, "memory/c", "memory.limit_in_bytes", "7000000\n");
    put(t, "memory/a", "memory.limit_in_bytes", "1\n"); // of somebody else
    put(t, "cpu,cpuacct/a/b", "cpu.cfs_quota_us", "-1\n");
    put(t, "cpu,cpuacct/a/b", "cpu.cfs_period_us", "100000\n");
    check(t, 7000000, INFINITY);
    put(t, "cpu,cpuacct/a", "cpu.cfs_quota_us", "300000\n");
    put(t, "cpu,cpuacct/a", "cpu.cfs_period_us", "100000\n");
    check(t, 7000000, 3);
    put(t, "cpu", "cpu.cfs_quota_us",
        "50000\n"); // the name of one controller, and a container's root
    put(t, "cpu", "cpu.cfs_period_us", "100000\n");
    check(t, 7000000, 0.5);
    put(t, ".", "list", "11:cpu,cpuacct:/a/b\n7:memory:/c/d\n0::/f/g\n"); // beside version 2
    put(t, "unified/f", "memory.max", "6000000\n");
    check(t, 6000000, 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ancestors_count, set_up, clean_up),
        cmocka_unit_test_setup_teardown(version_1, set_up, clean_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

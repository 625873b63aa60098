// See bench_cpu.h. Each length is compiled and run by a process of its own, whose peak is what it held behind
// compiling, taken off what it held at most in a step.
#define _GNU_SOURCE
#include "tools/account.h"
#include "tools/bench_cpu.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_LENGTHS = 16 };

typedef struct {
    int64_t length, planned, measured; // bytes
    enum { MEASURED, NO_ROOM, NO_PEAK } how;
} MemoryRow;

// A field of a file of /proc, in kB; 0: it is not there.
static int64_t kilobytes(const char *file, const char *field) {
    char line[256];
    long long value = 0;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0) value = atoll(line + strlen(field));
    if (f) fclose(f);
    return value;
}

// Linux then counts VmHWM from here on; false: it lacks the file, or lets nobody write it.
static bool clear_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return false;
    bool written = fputs("5", f) >= 0;
    return fclose(f) == 0 && written;
}

static bool row_of(Driver *d, MemoryRow *row) {
    BenchStep s;
    const char *size = arena_printf(d->arena, "size.seq=%lld", (long long)row->length);
    if (!driver_define(d, size) || !driver_define(d, "size.batch=1") ||
        !driver_define(d, "micro=1") || !bench_step_load(&s, d))
        return false;
    row->planned = account_peak(s.plan);
    malloc_trim(0);
    int64_t before = kilobytes("/proc/self/status", "VmRSS:");
    int64_t room = kilobytes("/proc/meminfo", "MemAvailable:");
    row->how = row->planned / 1024 > room - room / 10 ? NO_ROOM : clear_peak() ? MEASURED : NO_PEAK;
    if (row->how != MEASURED) return true;
    SnExec *x = bench_step_open(&s, d->o.threads ? d->o.threads : sn_pool_default_threads());
    bench_step_run(&s, x, 1);
    row->measured = (kilobytes("/proc/self/status", "VmHWM:") - before) * 1024;
    return true;
}

// In a child, so that nothing of one length is there in the next.
static bool in_child(Driver *d, MemoryRow *row) {
    int fd[2];
    fflush(NULL);
    if (pipe(fd) != 0) return false;
    pid_t pid = fork();
    if (pid < 0) return false;
    if (pid == 0) {
        bool good = row_of(d, row);
        if (!good) driver_report(d);
        good = good && write(fd[1], row, sizeof *row) == (ssize_t)sizeof *row;
        fflush(NULL);
        _exit(good ? 0 : 1);
    }
    close(fd[1]);
    bool good = read(fd[0], row, sizeof *row) == (ssize_t)sizeof *row;
    close(fd[0]);
    waitpid(pid, NULL, 0);
    return good;
}

static double mib(int64_t bytes) { return (double)bytes / 1048576; }

// Each doubling of the length adds at most 2.05 times what the one before added: nothing grows with the square.
static void print_growth(const MemoryRow *r, int n) {
    for (int i = 2; i < n; i++) {
        if (r[i].length != 2 * r[i - 1].length || r[i - 1].length != 2 * r[i - 2].length) continue;
        double last = mib(r[i].planned - r[i - 1].planned),
               before = mib(r[i - 1].planned - r[i - 2].planned);
        printf("M(%lld) - M(%lld) = %.2f x (M(%lld) - M(%lld)), planned: %s 2.05\n",
               (long long)r[i].length, (long long)r[i - 1].length, last / before,
               (long long)r[i - 1].length, (long long)r[i - 2].length,
               last <= 2.05 * before ? "at most" : "MORE than");
    }
}

int bench_memory(Driver *d, const char *lengths) {
    MemoryRow rows[MAX_LENGTHS] = {{0}};
    int n = 0;
    for (const char *at = lengths; *at; n++) {
        char *end;
        if (n == MAX_LENGTHS) return usage_error("--lengths takes %d at most", MAX_LENGTHS);
        rows[n].length = strtoll(at, &end, 10);
        if (end == at || rows[n].length < 1 || (*end && *end != ',') || (*end && !end[1]))
            return usage_error("--lengths takes whole numbers, '1024,2048', not '%s'", lengths);
        at = *end ? end + 1 : end;
    }
    printf("peak memory of a step of one sample, MiB\n%10s %10s %10s\n", "length", "planned",
           "measured");
    for (int i = 0; i < n; i++) {
        if (!in_child(d, &rows[i])) return EXIT_USER;
        printf("%10lld %10.0f ", (long long)rows[i].length, mib(rows[i].planned));
        switch (rows[i].how) {
        case MEASURED: printf("%10.0f\n", mib(rows[i].measured)); break;
        case NO_ROOM: printf("%10s\n", "no room"); break;
        case NO_PEAK: printf("%10s  /proc/self/clear_refs is not writable\n", "-"); break;
        }
    }
    print_growth(rows, n);
    return 0;
}

// Signals end a run when it can, and twice at once (runtime/program/signals.h). Each case is a process of its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
//
#include "runtime/program/signals.h"
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEARD = 7, LATE = 9 };

static void pause_for(double s) {
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

// A process that waits to be asked, or for a device that never answers; says on `ready` that it listens.
static void wait_to_be_asked(int ready, bool hangs) {
    SnSignals *s;
    SnError e;
    if (sn_signals_open(&s, &e) || write(ready, "x", 1) != 1) _exit(1);
    for (int i = 0; i < 10000; i++) {
        if (sn_signals_asked(s) && !hangs) {
            sn_signals_close(s);
            _exit(HEARD);
        }
        pause_for(0.002);
    }
    _exit(LATE);
}

static pid_t start(int ignored, bool hangs) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (ignored) signal(ignored, SIG_IGN);
        wait_to_be_asked(ready[1], hangs);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static int end_of(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

// How it ends when it gets the signal until it does: on a busy machine it may not have heard the first one yet.
static int ended_by(pid_t child, int signal) {
    int status;
    do {
        pause_for(0.15);
        kill(child, signal);
    } while (!waitpid(child, &status, WNOHANG));
    return status;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void each_is_heard(void **state) {
    (void)state;
    const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        pid_t child = start(0, false);
        kill(child, all[i]);
        int status = end_of(child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != HEARD)
            fail_msg("signal %d: status %x", all[i], (unsigned)status);
    }
}

static void the_second_ends_at_once(void **state) {
    (void)state;
    const int pairs[3][2] = {{SIGTERM, SIGTERM}, {SIGINT, SIGTERM}, {SIGTERM, SIGINT}};
    for (size_t i = 0; i < 3; i++) {
        pid_t child = start(0, true);
        kill(child, pairs[i][0]);
        int status = ended_by(child, pairs[i][1]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != pairs[i][1])
            fail_msg("signals %d, %d: status %x", pairs[i][0], pairs[i][1], (unsigned)status);
    }
}

// A program that ends others sends the same signal to a process and to its group; a warning is no first request.
static void one_request_is_one(void **state) {
    (void)state;
    for (;;) {
        pid_t child = start(0, false);
        double from = seconds();
        kill(child, SIGTERM);
        kill(child, SIGTERM);
        int status = end_of(child);
        if (status == HEARD << 8) break;
        assert_true(seconds() - from > 0.1); // too slow a machine for what is tried: once more
    }
    pid_t child = start(0, true);
    kill(child, SIGUSR1);
    pause_for(0.1);
    kill(child, SIGTERM);
    pause_for(0.5);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0); // it still runs
    assert_int_equal(WTERMSIG(ended_by(child, SIGINT)), SIGINT);
}

static void what_is_ignored_stays_ignored(void **state) {
    (void)state;
    const int all[] = {SIGINT, SIGHUP, SIGTERM};
    for (size_t i = 0; i < 3; i++) {
        pid_t child = start(all[i], false);
        kill(child, all[i]);
        kill(child, all[i]);
        pause_for(0.1);
        assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
        kill(child, SIGUSR1);
        assert_true(end_of(child) == HEARD << 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_heard),
        cmocka_unit_test(the_second_ends_at_once),
        cmocka_unit_test(one_request_is_one),
        cmocka_unit_test(what_is_ignored_stays_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// See signals.h. The signals are blocked and a thread waits for them, so there is no handler and no global
// state, and a second SIGINT or SIGTERM ends the process at once whatever the other threads are at: they may
// wait for a device that will never answer.
//
// The kernel gives SIGPIPE to the thread that wrote, not to this one: who prints looks whether writing failed.
#define _GNU_SOURCE
#include "runtime/program/signals.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

// Programs that end others send one signal to a process and to its group: what comes within this time is the
// same request.
#define SAME_REQUEST 0.1

struct SnSignals {
    pthread_t thread;
    sigset_t set;
    atomic_bool asked, closing;
    bool started;
};

bool sn_signals_heeded(int signal) {
    struct sigaction now;
    return !sigaction(signal, NULL, &now) && now.sa_handler != SIG_IGN;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// As if the signal had never been taken over. The first process of a container has no such end.
static void end_process(int signal) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    kill(getpid(), signal);
    _exit(128 + signal);
}

static void *listen(void *arg) {
    SnSignals *s = arg;
    double first = 0;
    for (;;) {
        int signal = sigwaitinfo(&s->set, NULL);
        if (atomic_load(&s->closing)) return NULL;
        if (signal < 0) continue;
        atomic_store(&s->asked, true);
        if (signal != SIGINT && signal != SIGTERM) continue;
        if (first > 0 && seconds() - first > SAME_REQUEST) end_process(signal);
        if (first <= 0) first = seconds();
    }
}

SnStatus sn_signals_open(SnSignals **out, SnError *e) {
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE};
    SnSignals *s = calloc(1, sizeof *s);
    *out = s;
    if (!s) return sn_fail(e, SN_MACHINE, "out of memory");
    sigemptyset(&s->set);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (sn_signals_heeded(all[i])) sigaddset(&s->set, all[i]);
    if (sigisemptyset(&s->set)) return SN_OK;
    pthread_sigmask(SIG_BLOCK, &s->set, NULL);
    s->started = !pthread_create(&s->thread, NULL, listen, s);
    return s->started ? SN_OK : sn_fail(e, SN_MACHINE, "cannot start a thread");
}

void sn_signals_close(SnSignals *s) {
    if (!s) return;
    if (s->started) {
        int any = 1;
        while (!sigismember(&s->set, any)) any++;
        atomic_store(&s->closing, true);
        pthread_kill(s->thread, any);
        pthread_join(s->thread, NULL);
    }
    free(s);
}

bool sn_signals_asked(SnSignals *s) { return s && atomic_load(&s->asked); }

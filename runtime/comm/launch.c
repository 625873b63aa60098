// See launch.h. The parent is one loop over a descriptor of signals (so there are no handlers) and the pipes of what
// the ranks print.
#define _GNU_SOURCE
#include "runtime/comm/launch.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    pid_t pid;     // 0: has ended
    int socket[2]; // of rank 0 and of this rank; unused for rank 0
    int print[2];  // what it prints: read, written; -1 for rank 0
    char line[4096];
    size_t n;
} Child;

typedef struct {
    uint32_t n, left;
    Child *child;
    struct pollfd *polled; // the signals, then the pipes
    int signals;
    sigset_t set, before;
    int status;
    double grace, failed; // when the first rank failed; 0: none has
    int asked;            // 1: by SIGTERM, 2: by SIGKILL
    char node[64];
} Family;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void close_one(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

// ---- what ranks print ---------------------------------------------------------------------------

static void say(const char *prefix, const char *text, size_t n) {
    char line[4096 + 128];
    int k = snprintf(line, sizeof line, "%s%.*s\n", prefix, (int)n, text);
    for (int at = 0; at < k;) { // one write, so that lines of several ranks do not mix
        ssize_t w = write(2, line + at, (size_t)(k - at));
        if (w < 0 && errno != EINTR) return;
        if (w > 0) at += (int)w;
    }
}

static void pass_on(const Family *f, uint32_t rank) {
    Child *c = &f->child[rank];
    char prefix[96];
    snprintf(prefix, sizeof prefix, "[rank %u %s] ", rank, f->node);
    for (;;) {
        char *end = memchr(c->line, '\n', c->n);
        bool full = c->n == sizeof c->line;
        if (!end && !full) return;
        size_t n = end ? (size_t)(end - c->line) : c->n, used = end ? n + 1 : n;
        say(prefix, c->line, n);
        c->n -= used;
        memmove(c->line, c->line + used, c->n);
    }
}

static void listen_to(const Family *f, uint32_t rank) {
    Child *c = &f->child[rank];
    while (c->print[0] >= 0) {
        ssize_t n = read(c->print[0], c->line + c->n, sizeof c->line - c->n);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            close_one(&c->print[0]);
            if (c->n) c->line[c->n++] = '\n';
        } else
            c->n += (size_t)n;
        pass_on(f, rank);
    }
}

// ---- how ranks end ------------------------------------------------------------------------------

static void end_all(const Family *f, int signal) {
    for (uint32_t r = 0; r < f->n; r++)
        if (f->child[r].pid > 0) kill(f->child[r].pid, signal);
}

static void judge(Family *f, uint32_t rank, int how) {
    int status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    char text[128];
    if (!status || f->asked) return; // well, or as it was told to
    int n = snprintf(text, sizeof text, "rank %u was ended by signal %d (%s)", rank, status - 128,
                     WIFSIGNALED(how) ? strsignal(WTERMSIG(how)) : "");
    if (WIFSIGNALED(how)) say("", text, (size_t)n);
    if (!f->status || f->status == SN_EXIT_PEER) f->status = status;
    if (f->failed <= 0) f->failed = seconds();
}

static void reap(Family *f) {
    int how;
    for (uint32_t r = 0; r < f->n; r++) {
        if (f->child[r].pid <= 0 || waitpid(f->child[r].pid, &how, WNOHANG) <= 0) continue;
        f->child[r].pid = 0;
        f->left--;
        listen_to(f, r); // its last words before ours
        judge(f, r, how);
    }
}

// Those that remain after another failed.
static void press(Family *f) {
    double since = f->failed > 0 ? seconds() - f->failed : 0;
    if (f->asked == 0 && since > f->grace) f->asked = 1, end_all(f, SIGTERM);
    if (f->asked == 1 && since > 1.5 * f->grace) f->asked = 2, end_all(f, SIGKILL);
}

// A terminal sends its signals to the ranks itself.
static void pass_signal(Family *f) {
    struct signalfd_siginfo info;
    while (read(f->signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD && info.ssi_code != SI_KERNEL)
            end_all(f, (int)info.ssi_signo);
}

static int watch_over(Family *f) {
    while (f->left) {
        f->polled[0] = (struct pollfd){f->signals, POLLIN, 0};
        for (uint32_t r = 0; r < f->n; r++)
            f->polled[r + 1] = (struct pollfd){f->child[r].print[0], POLLIN, 0};
        poll(f->polled, f->n + 1, f->failed > 0 ? 50 : -1);
        pass_signal(f);
        for (uint32_t r = 0; r < f->n; r++)
            if (f->polled[r + 1].revents) listen_to(f, r);
        reap(f);
        press(f);
    }
    return f->status;
}

// ---- starting -----------------------------------------------------------------------------------

static SnStatus make_channels(Family *f, SnError *e) {
    for (uint32_t r = 1; r < f->n; r++) {
        Child *c = &f->child[r];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->socket)) c->socket[0] = -1;
        if (c->socket[0] < 0 || pipe2(c->print, O_CLOEXEC))
            return sn_fail(e, SN_MACHINE, "no descriptors for %u ranks: %s", f->n, strerror(errno));
        fcntl(c->print[0], F_SETFL, O_NONBLOCK);
    }
    return SN_OK;
}

static void set_number(const char *name, uint32_t value) {
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    setenv(name, text, 1);
}

// Which sockets are whose: of rank 0 all first ends, of others the second of their own. The rest is closed: a
// socket that anybody holds open does not tell of a death.
static bool be_rank(Family *f, uint32_t rank, pid_t parent) {
    size_t room = 12 * (size_t)f->n + 1, n = 0;
    char *list = calloc(1, room);
    if (!list) return false;
    for (uint32_t r = 1; r < f->n; r++) {
        Child *c = &f->child[r];
        int own = rank == 0 ? c->socket[0] : rank == r ? c->socket[1] : -1;
        if (own >= 0) n += (size_t)snprintf(list + n, room - n, n ? ",%d" : "%d", own);
        if (rank == r && (dup2(c->print[1], 1) < 0 || dup2(c->print[1], 2) < 0)) return false;
        for (int i = 0; i < 2; i++) {
            if (c->socket[i] != own) close_one(&c->socket[i]);
            close_one(&c->print[i]);
        }
    }
    int nothing = rank ? open("/dev/null", O_RDONLY) : -1;
    if (nothing > 0) dup2(nothing, 0), close(nothing);
    close_one(&f->signals);
    set_number("SINTER_RANK", rank);
    set_number("SINTER_WORLD", f->n);
    set_number("SINTER_LOCAL", rank);
    set_number("SINTER_LOCALS", f->n);
    if (f->n > 1) setenv("SINTER_SOCKETS", list, 1);
    free(list);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return false; // it has died meanwhile
    sigprocmask(SIG_SETMASK, &f->before, NULL);
    return true;
}

// *rank: of this process, f->n in the parent.
static SnStatus start(Family *f, uint32_t *rank, SnError *e) {
    pid_t parent = getpid();
    for (*rank = 0; *rank < f->n; ++*rank) {
        pid_t pid = fork();
        if (pid < 0)
            return sn_fail(e, SN_MACHINE, "cannot start rank %u: %s", *rank, strerror(errno));
        if (!pid) {
            if (!be_rank(f, *rank, parent)) _exit(3);
            return SN_OK;
        }
        f->child[*rank].pid = pid;
        f->left++;
    }
    for (uint32_t r = 0; r < f->n; r++) {
        Child *c = &f->child[r];
        close_one(&c->socket[0]), close_one(&c->socket[1]), close_one(&c->print[1]);
    }
    return SN_OK;
}

static void hear_signals(Family *f) {
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    sigemptyset(&f->set);
    sigaddset(&f->set, SIGCHLD);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct sigaction now; // what our parent ignores stays ignored
        if (!sigaction(all[i], NULL, &now) && now.sa_handler != SIG_IGN) sigaddset(&f->set, all[i]);
    }
    sigprocmask(SIG_BLOCK, &f->set, &f->before);
    f->signals = signalfd(-1, &f->set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void free_family(Family *f) {
    for (uint32_t r = 0; f->child && r < f->n; r++) {
        Child *c = &f->child[r];
        for (int i = 0; i < 2; i++) close_one(&c->socket[i]), close_one(&c->print[i]);
    }
    close_one(&f->signals);
    sigprocmask(SIG_SETMASK, &f->before, NULL);
    free(f->child);
    free(f->polled);
}

static SnStatus raise_family(Family *f, int *status, SnError *e) {
    uint32_t rank;
    SnStatus s = make_channels(f, e);
    if (s) return s;
    fflush(NULL); // what is buffered would be printed by each
    s = start(f, &rank, e);
    if (!s && rank < f->n) { // the child; its ends of the sockets stay open
        free(f->child);
        free(f->polled);
        *f = (Family){.n = 0, .signals = -1, .before = f->before};
        *status = -1;
        return SN_OK;
    }
    if (s) f->asked = 2, end_all(f, SIGKILL);
    *status = watch_over(f);
    return s;
}

SnStatus sn_launch(uint32_t ranks, double grace, int *status, SnError *e) {
    SnWorld w;
    SnError own;
    if (!e) e = &own;
    if (sn_world_read(environ, &w, e)) return e->status;
    if (w.size > 1)
        return sn_fail(e, SN_USER, "rank %u of %u was started by %s: without --ranks", w.rank,
                       w.size, sn_launcher_name(w.by));
    if (ranks < 1 || ranks > SN_MAX_RANKS)
        return sn_fail(e, SN_USER, "%u ranks: 1 to %d are possible", ranks, SN_MAX_RANKS);
    Family f = {.n = ranks, .grace = grace};
    memcpy(f.node, w.node, sizeof f.node);
    hear_signals(&f);
    f.child = calloc(ranks, sizeof *f.child);
    f.polled = calloc(ranks + 1, sizeof *f.polled);
    for (uint32_t r = 0; f.child && r < ranks; r++)
        for (int i = 0; i < 2; i++) f.child[r].socket[i] = f.child[r].print[i] = -1;
    SnStatus s = !f.child || !f.polled || f.signals < 0 ? sn_fail(e, SN_MACHINE, "out of memory")
                                                        : raise_family(&f, status, e);
    free_family(&f);
    return s;
}

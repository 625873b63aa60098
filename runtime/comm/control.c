// See control.h. One loop (`pump`) serves the handshake, on the caller's thread, and everything after it, on the
// control's own. All state is under one lock, which is not held while the loop waits.
//
// A socket that is closed with bytes unread may take the other side's unread bytes with it (TCP's reset), among
// them the last words. So who ends shuts its writing side down and reads until the other side has closed.
#define _GNU_SOURCE
#include "runtime/comm/control.h"
#include "runtime/comm/comm.h"
#include "runtime/comm/link.h"
#include "runtime/core/cgroup.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOBODY UINT32_MAX
enum { STRANGERS = 64 }; // connections at once that have not said which rank they are

// A connection of rank 0 to another rank, or of that to rank 0.
typedef struct {
    SnLink link;
    uint32_t rank; // NOBODY: has not said hello yet
    bool greeted;  // it has said hello
    bool bye;      // it is done
    double heard;  // when it last said anything
    SnMail *hello; // kept until all have come
    uint32_t pid;
    SnMail *first, **last; // bytes to share or gathered that nobody has asked for yet
    size_t mail;           // of all of them
} Peer;

struct SnControl {
    const SnWorld *world;
    double patience;
    _Atomic double hang;
    SnPulse *pulse;
    SnWelcome place;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started, closing;
    int wake;                            // eventfd: there is something to write, or to end
    int listener;                        // rank 0 during the handshake, else -1
    uint32_t npeers, present, strangers; // strangers: in all
    Peer *peers;                         // [size - 1 + STRANGERS] of rank 0, in any order; else one
    Peer **of;                           // [size] rank 0: by rank
    struct pollfd *polled;
    SnStanding *standing; // [size], rank 0
    uint32_t ngroups;
    double beaten; // when the last beat was sent
    double trust;  // before then silence says nothing: all of the run was stopped for a while
    bool welcome;
    // Why the run fails.
    SnStatus ended;
    bool told; // by rank 0
    char why[1024];
    void (*on_end)(void *user);
    void *user;
};

static bool is_root(const SnControl *c) { return c->world->rank == 0; }

// ---- the run fails ------------------------------------------------------------------------------

static void send_to(SnControl *c, Peer *p, SnMessage *m);

static void give_up(SnControl *c, SnStatus status, bool told, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void give_up(SnControl *c, SnStatus status, bool told, const char *format, ...) {
    if (c->ended) return; // the first reason is the reason
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    c->told = told;
    c->ended = status;
    for (uint32_t i = 0; is_root(c) && i < c->npeers; i++) {
        Peer *p = &c->peers[i];
        SnMessage m;
        if (p->rank == NOBODY && !p->greeted) continue;
        sn_message_end(&m, &(SnEnd){(uint32_t)status, c->why});
        send_to(c, p, &m);
        sn_link_write(&p->link); // at once, as far as it goes
    }
    if (c->on_end) c->on_end(c->user);
    pthread_cond_broadcast(&c->changed);
}

static const char *node_of(const SnControl *c, uint32_t rank) {
    if (is_root(c)) return c->standing[rank].node;
    return c->world->host[0] ? c->world->host : c->world->node;
}

static void drop(SnControl *c, Peer *p) {
    if (p->rank == NOBODY && c->present) c->present--;
    sn_link_close(&p->link);
    p->rank = NOBODY;
    p->greeted = false;
}

// A peer's connection is of no use any more.
static void lose(SnControl *c, Peer *p, const char *how) {
    uint32_t rank = p->rank;
    if (rank == NOBODY) {
        drop(c, p);
        return;
    }
    sn_link_close(&p->link);
    if (p->bye || c->ended) {
        pthread_cond_broadcast(&c->changed);
        return;
    }
    char at[512] = "";
    const SnBeat *b = is_root(c) ? &c->standing[rank].beat : NULL;
    if (b && b->waits)
        snprintf(at, sizeof at, "; it was in %s '%s'", sn_collective_name(b->op), b->name);
    else if (b && b->at && b->at[0])
        snprintf(at, sizeof at, "; it was at '%s', step %llu", b->at, (unsigned long long)b->step);
    give_up(c, SN_PEER, false, "rank %u (%s) %s%s", rank, node_of(c, rank), how, at);
}

static void send_to(SnControl *c, Peer *p, SnMessage *m) {
    if (!sn_link_send(&p->link, m) && p->link.fd >= 0 && p->greeted && !p->bye)
        lose(c, p, "reads no messages");
}

// ---- messages -----------------------------------------------------------------------------------

static bool keep(Peer *p, const unsigned char *bytes, size_t n) {
    SnMail *m = malloc(sizeof *m + n);
    if (!m || p->mail + n > (8 << 20)) {
        free(m);
        return false;
    }
    m->next = NULL;
    m->n = n;
    if (n) memcpy(m->bytes, bytes, n);
    *p->last = m;
    p->last = &m->next;
    p->mail += n;
    return true;
}

static SnMail *take(Peer *p) {
    SnMail *m = p->first;
    p->first = m->next;
    if (!p->first) p->last = &p->first;
    p->mail -= m->n;
    return m;
}

// Somebody says who it is. What is no hello of this run is a stranger's and no fault of ours.
static void greet(SnControl *c, Peer *p, const unsigned char *bytes, size_t n) {
    SnHello h;
    SnMessage m;
    if (!sn_hello_decode(bytes, n, &h)) {
        lose(c, p, "says no hello");
        return;
    }
    if (h.version != SN_CONTROL_VERSION) {
        give_up(c, SN_USER, false,
                "rank %u is another version of Sinter: its messages are version %u, rank 0's %u",
                h.rank, h.version, SN_CONTROL_VERSION);
        return;
    }
    if (strcmp(h.run, c->world->run)) {
        sn_message_end(&m, &(SnEnd){SN_USER, "this is the port of another run"});
        sn_link_send(&p->link, &m);
        sn_link_write(&p->link);
        lose(c, p, "is of another run");
        return;
    }
    p->greeted = true;
    if (c->ended) { // too late, but it shall know why
        sn_message_end(&m, &(SnEnd){(uint32_t)c->ended, c->why});
        send_to(c, p, &m);
        return;
    }
    if (h.size != c->world->size || h.rank == 0 || h.rank >= h.size) {
        give_up(c, SN_USER, false, "rank %u (%.63s) was started as one of %u, rank 0 as one of %u",
                h.rank, h.node, h.size, c->world->size);
        return;
    }
    const Peer *other = c->of[h.rank];
    if (other) {
        give_up(c, SN_USER, false, "two processes say that they are rank %u: %u on %s, %u on %.63s",
                h.rank, other->pid, c->standing[h.rank].node, h.pid, h.node);
        return;
    }
    if (p->rank != NOBODY && p->rank != h.rank) {
        give_up(c, SN_USER, false, "rank %u says that it is rank %u", p->rank, h.rank);
        return;
    }
    if (p->rank == NOBODY) c->present--;
    p->rank = h.rank;
    p->pid = h.pid;
    c->of[h.rank] = p;
    snprintf(c->standing[h.rank].node, sizeof c->standing[h.rank].node, "%s", h.node);
    if (!keep(p, bytes, n)) {
        lose(c, p, "says too much");
        return;
    }
    p->hello = take(p);
}

static void learn_group(SnControl *c, uint32_t rank, const SnGroupMessage *g) {
    SnStanding *s = &c->standing[rank];
    uint32_t *ranks = malloc(g->n * sizeof *ranks + 1), n = 0;
    for (uint32_t i = 0; ranks && i < g->n; i++)
        if (sn_group_rank(g, i) < c->world->size) ranks[n++] = sn_group_rank(g, i);
    free(s->group[g->index].ranks);
    s->group[g->index].ranks = ranks;
    s->group[g->index].n = n;
    snprintf(s->group[g->index].label, sizeof s->group[g->index].label, "%s", g->label);
}

static void say_bye(SnControl *c, Peer *p) {
    SnMessage m;
    sn_message_bytes(&m, SN_MESSAGE_BYE, NULL, 0);
    send_to(c, p, &m);
}

// False: nonsense, or not from this one.
static bool receive(SnControl *c, Peer *p, SnMessageKind kind, const unsigned char *bytes,
                    size_t n) {
    SnBeat beat;
    SnGroupMessage group;
    SnEnd end;
    bool root = is_root(c);
    switch (kind) {
    case SN_MESSAGE_HELLO:
        if (!root || p->greeted) return false;
        greet(c, p, bytes, n);
        return true;
    case SN_MESSAGE_WELCOME:
        if (root || c->welcome || !sn_welcome_decode(bytes, n, &c->place)) return false;
        return c->welcome = true;
    case SN_MESSAGE_GROUP:
        if (!root || !p->greeted || !sn_group_decode(bytes, n, &group)) return false;
        learn_group(c, p->rank, &group);
        return true;
    case SN_MESSAGE_BEAT:
        if (!p->greeted || !sn_beat_decode(bytes, n, &beat)) return false;
        if (root) sn_standing_beat(&c->standing[p->rank], &beat);
        return true;
    case SN_MESSAGE_SHARE:
    case SN_MESSAGE_GATHER:
        if (!p->greeted || root != (kind == SN_MESSAGE_GATHER)) return false;
        return keep(p, bytes, n);
    case SN_MESSAGE_END:
        if (!p->greeted || !sn_end_decode(bytes, n, &end)) return false;
        if (root)
            give_up(c, SN_PEER, false, "rank %u (%s): %s", p->rank, node_of(c, p->rank), end.text);
        else
            give_up(c, SN_PEER, true, "%s", end.text);
        return true;
    case SN_MESSAGE_BYE:
        if (!p->greeted) return false;
        if (root) {
            c->standing[p->rank].left = true;
            say_bye(c, p);
        }
        return p->bye = true;
    case SN_MESSAGES: break;
    }
    return false;
}

static void read_from(SnControl *c, Peer *p) {
    for (;;) {
        SnMessageKind kind;
        size_t n;
        switch (p->link.fd < 0 ? SN_LINK_NONE : sn_link_read(&p->link, &kind, &n)) {
        case SN_LINK_NONE: return;
        case SN_LINK_END:
            lose(c, p,
                 !p->greeted ? "has ended before it said which run it is of"
                 : p->link.have && p->link.have != p->link.want
                     ? "has ended in the middle of a message"
                     : "has ended without a word");
            return;
        case SN_LINK_NONSENSE: lose(c, p, "sends what is no message"); return;
        case SN_LINK_MESSAGE:
            p->heard = sn_link_now();
            if (!receive(c, p, kind, p->link.in, n)) {
                lose(c, p, "sends a message that has no meaning now");
                return;
            }
        }
    }
}

// ---- the loop -----------------------------------------------------------------------------------

static Peer *room_for_stranger(SnControl *c) {
    for (uint32_t i = 0; i < c->npeers; i++)
        if (c->peers[i].link.fd < 0 && c->peers[i].rank == NOBODY) return &c->peers[i];
    return NULL;
}

static void accept_all(SnControl *c) {
    for (;;) {
        int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno != EAGAIN) // no descriptors: the next one may find some
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        if (fd < 0) return;
        Peer *p = room_for_stranger(c);
        if (!p) {
            close(fd);
            return;
        }
        sn_link_open(&p->link, fd);
        p->heard = sn_link_now();
        c->present++;
        c->strangers++;
    }
}

// Who connects and does not say who it is makes room for others.
static void drop_silent(SnControl *c) {
    for (uint32_t i = 0; i < c->npeers; i++) {
        Peer *p = &c->peers[i];
        if (p->link.fd >= 0 && p->rank == NOBODY && sn_link_now() - p->heard > 10) drop(c, p);
    }
}

static void flush(SnControl *c, Peer *p) {
    if (!sn_link_write(&p->link)) {
        // What the other side said before it broke off comes first.
        read_from(c, p);
        if (p->link.fd >= 0) lose(c, p, "has ended without a word");
        return;
    }
    bool done = is_root(c) ? p->bye || c->closing : c->closing;
    if ((done || c->ended) && p->link.fd >= 0 && !sn_link_has_output(&p->link) && !p->link.shut &&
        (p->greeted || c->ended)) {
        shutdown(p->link.fd, SHUT_WR);
        p->link.shut = true;
    }
}

// Waits for at most `ms` and serves whatever is there. The lock is held but while it waits.
static void pump(SnControl *c, int ms) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->npeers; i++) {
        Peer *p = &c->peers[i];
        if (p->link.fd >= 0) flush(c, p);
        short want = sn_link_has_output(&p->link) ? POLLIN | POLLOUT : POLLIN;
        c->polled[n++] = (struct pollfd){p->link.fd, want, 0}; // -1 is passed over
    }
    c->polled[n++] = (struct pollfd){c->wake, POLLIN, 0};
    c->polled[n++] = (struct pollfd){c->listener, POLLIN, 0};
    pthread_mutex_unlock(&c->lock);
    poll(c->polled, n, ms);
    pthread_mutex_lock(&c->lock);
    uint64_t count;
    if (c->polled[n - 2].revents && read(c->wake, &count, sizeof count) < 0) count = 0;
    for (uint32_t i = 0; i < c->npeers; i++)
        if (c->polled[i].revents && c->peers[i].link.fd == c->polled[i].fd)
            read_from(c, &c->peers[i]);
    if (c->polled[n - 1].revents) accept_all(c);
    drop_silent(c);
    pthread_cond_broadcast(&c->changed);
}

static void poke(SnControl *c) {
    if (write(c->wake, &(uint64_t){1}, 8) < 0) return; // full: it is awake
}

static double beat_interval(const SnControl *c) {
    double hang = atomic_load(&c->hang);
    return hang / 8 < 1 ? hang / 8 : 1;
}

static void check_silence(SnControl *c) {
    double now = sn_link_now(), hang = atomic_load(&c->hang);
    for (uint32_t i = 0; i < c->npeers && !c->ended; i++) {
        Peer *p = &c->peers[i];
        if (p->link.fd < 0 || !p->greeted || p->bye) continue;
        if (is_root(c)) c->standing[p->rank].age = now - p->heard;
        if (now - p->heard <= hang || now < c->trust) continue;
        char how[64];
        snprintf(how, sizeof how, "has said nothing for %.0f s", now - p->heard);
        lose(c, p, how);
    }
}

static void check_hang(SnControl *c) {
    char text[1024];
    if (c->ended || sn_link_now() < c->trust ||
        !sn_hang_find(c->standing, c->world->size, atomic_load(&c->hang), text, sizeof text))
        return;
    give_up(c, SN_PEER, false, "%s", text);
}

static void beat(SnControl *c) {
    SnMessage m;
    SnBeat own;
    double now = sn_link_now();
    if (now - c->beaten < beat_interval(c)) return;
    // Who has not run himself, since somebody stopped the job or the machine was very busy, cannot tell who else
    // has not.
    if (c->beaten > 0 && now - c->beaten > atomic_load(&c->hang) / 2)
        c->trust = now + atomic_load(&c->hang);
    c->beaten = now;
    for (uint32_t i = 0; i < c->npeers; i++) {
        Peer *p = &c->peers[i];
        if (p->link.fd < 0 || !p->greeted || p->bye || p->link.shut) continue;
        sn_pulse_message(c->pulse, &m);
        send_to(c, p, &m);
    }
    check_silence(c);
    if (!is_root(c)) return;
    sn_pulse_message(c->pulse, &m);
    if (!m.failed && sn_beat_decode(m.bytes + SN_MESSAGE_HEAD, m.n - SN_MESSAGE_HEAD, &own))
        sn_standing_beat(&c->standing[0], &own);
    free(m.bytes);
    check_hang(c);
}

static void *run(void *arg) {
    SnControl *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->closing) {
        pump(c, (int)(beat_interval(c) * 1e3) + 1);
        if (!c->ended) beat(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

// ---- the handshake ------------------------------------------------------------------------------

// Ranks can share memory when they run under one kernel.
static void machine_name(char *to, size_t size) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, to, size - 1);
    if (fd >= 0) close(fd);
    to[n > 0 ? n : 0] = 0;
    to[strcspn(to, "\n")] = 0;
}

static void say_hello(SnControl *c, const SnControlSpec *spec, SnMessage *m) {
    char machine[64];
    cpu_set_t set;
    unsigned char cpus[SN_CPU_BYTES] = {0};
    double quota = sn_cgroup_limits("/proc/self/cgroup", "/sys/fs/cgroup").cpus;
    machine_name(machine, sizeof machine);
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set)) CPU_SET(0, &set);
    for (size_t i = 0; i < 8 * SN_CPU_BYTES; i++)
        if (CPU_ISSET(i, &set)) cpus[i / 8] |= (unsigned char)(1u << i % 8);
    sn_message_hello(m,
                     &(SnHello){.version = SN_CONTROL_VERSION,
                                .rank = c->world->rank,
                                .size = c->world->size,
                                .pid = (uint32_t)getpid(),
                                .run = c->world->run,
                                .node = c->world->node,
                                .machine = machine,
                                .cpus = cpus,
                                .quota = quota < 1e6 ? (uint32_t)(quota * 100) : 0,
                                .nfacts = spec->nfacts},
                     spec->facts);
}

static const char *fact_of(const SnHello *h, const char *name) {
    const unsigned char *at = h->facts;
    for (uint32_t i = 0; i < h->nfacts; i++) {
        SnFact f = sn_fact_next(&at);
        if (!strcmp(f.name, name)) return f.value;
    }
    return NULL;
}

static void list(char *text, size_t size, const char *name, const char *has, const char *root) {
    size_t n = strlen(text);
    snprintf(text + n, size - n, "%s%s: %.60s instead of %.60s", n ? ", " : "", name,
             has ? has : "none", root ? root : "none");
}

// What differs between a rank's facts and rank 0's: all of it, as far as a message holds it.
static void differences(const SnHello *root, const SnHello *h, char *text, size_t size) {
    const unsigned char *at = root->facts;
    text[0] = 0;
    for (uint32_t i = 0; i < root->nfacts; i++) {
        SnFact f = sn_fact_next(&at);
        const char *has = fact_of(h, f.name);
        if (!has || strcmp(has, f.value)) list(text, size, f.name, has, f.value);
    }
    at = h->facts;
    for (uint32_t i = 0; i < h->nfacts; i++) {
        SnFact f = sn_fact_next(&at);
        if (!fact_of(root, f.name)) list(text, size, f.name, f.value, NULL);
    }
}

static void compare_all(SnControl *c, const SnHello *hello) {
    char text[800];
    for (uint32_t r = 1; r < c->world->size && !c->ended; r++) {
        differences(&hello[0], &hello[r], text, sizeof text);
        if (text[0])
            give_up(c, SN_USER, false, "rank %u (%s) was not started as rank 0 was: %s", r,
                    node_of(c, r), text);
    }
}

static bool same_machine(const SnHello *a, const SnHello *b) {
    return !strcmp(a->machine, b->machine) && (a->machine[0] || !strcmp(a->node, b->node));
}

// Where a rank stands among those of its machine, and how many CPUs are its own: each CPU is divided among the
// ranks that may use it. So it is right where the launcher bound ranks to CPUs, and where it did not.
static SnWelcome place_of(const SnHello *hello, uint32_t n, uint32_t rank) {
    SnWelcome w = {0};
    double threads = 0;
    for (uint32_t r = 0; r < n; r++) {
        uint32_t first = 0;
        while (!same_machine(&hello[first], &hello[r])) first++;
        if (first == r) w.machines++;
        if (!same_machine(&hello[r], &hello[rank])) continue;
        if (r < rank) w.local++;
        w.locals++;
    }
    for (uint32_t cpu = 0; cpu < 8 * SN_CPU_BYTES; cpu++) {
        uint32_t users = 0;
        if (!(hello[rank].cpus[cpu / 8] >> cpu % 8 & 1)) continue;
        for (uint32_t r = 0; r < n; r++)
            users +=
                (hello[r].cpus[cpu / 8] >> cpu % 8 & 1) && same_machine(&hello[r], &hello[rank]);
        threads += 1.0 / users;
    }
    double quota = hello[rank].quota * 0.01 / w.locals;
    if (hello[rank].quota && quota < threads) threads = quota;
    w.threads = threads < 1 ? 1 : (uint32_t)(threads + 1e-9);
    return w;
}

static void welcome_all(SnControl *c, const SnHello *hello) {
    for (uint32_t r = 1; r < c->world->size && !c->ended; r++) {
        SnMessage m;
        SnWelcome w = place_of(hello, c->world->size, r);
        sn_message_welcome(&m, &w);
        c->of[r]->heard = sn_link_now(); // it may have waited long for the others
        send_to(c, c->of[r], &m);
    }
    c->place = place_of(hello, c->world->size, 0);
    c->welcome = true;
}

static uint32_t missing(const SnControl *c, uint32_t *some) {
    uint32_t n = 0;
    for (uint32_t r = 1; r < c->world->size; r++)
        if (!c->of[r] || !c->of[r]->hello) some[n++] = r;
    return n;
}

static void judge(SnControl *c, const SnMessage *own) {
    uint32_t size = c->world->size;
    SnHello *hello = calloc(size, sizeof *hello);
    if (!hello) {
        give_up(c, SN_MACHINE, false, "out of memory");
        return;
    }
    sn_hello_decode(own->bytes + SN_MESSAGE_HEAD, own->n - SN_MESSAGE_HEAD, &hello[0]);
    for (uint32_t r = 1; r < size; r++)
        sn_hello_decode(c->of[r]->hello->bytes, c->of[r]->hello->n, &hello[r]);
    compare_all(c, hello);
    if (!c->ended) welcome_all(c, hello);
    for (uint32_t r = 1; r < size; r++) {
        free(c->of[r]->hello);
        c->of[r]->hello = NULL;
    }
    free(hello);
}

static void await_all(SnControl *c, double deadline, const SnMessage *own) {
    char text[256], strangers[64] = "";
    uint32_t *some = calloc(c->world->size, sizeof *some), n = 0;
    while (some && !c->ended && (n = missing(c, some)) && sn_link_now() < deadline) pump(c, 100);
    if (!some)
        give_up(c, SN_MACHINE, false, "out of memory");
    else if (n && !c->ended) {
        sn_ranks_text(some, n, text, sizeof text);
        if (c->present)
            snprintf(strangers, sizeof strangers, "; %u connected and did not say who they are",
                     c->present);
        give_up(c, SN_PEER, false, "%s did not come within %.0f s%s", text, c->patience, strangers);
    }
    free(some);
    if (!c->ended) judge(c, own);
}

static void meet_root(SnControl *c, double deadline, SnMessage *own) {
    Peer *p = &c->peers[0];
    send_to(c, p, own);
    while (!c->ended && !c->welcome && sn_link_now() < deadline) pump(c, 100);
    if (!c->ended && !c->welcome)
        give_up(c, SN_PEER, false, "rank 0 (%s) did not answer within %.0f s", node_of(c, 0),
                c->patience);
}

// ---- sockets ------------------------------------------------------------------------------------

static void connected(SnControl *c, Peer *p, int fd, uint32_t rank) {
    sn_link_open(&p->link, fd);
    p->rank = rank;
    p->heard = sn_link_now();
    p->greeted = !is_root(c); // rank 0 need not say who it is
    if (is_root(c))
        snprintf(c->standing[rank].node, sizeof c->standing[rank].node, "%s", c->world->node);
}

static SnStatus inherit(SnControl *c, SnError *e) {
    const char *at = c->world->sockets;
    uint32_t n = is_root(c) ? c->world->size - 1 : 1;
    for (uint32_t i = 0; i < n; i++) {
        char *end;
        int type;
        socklen_t size = sizeof type;
        long fd = strtol(at, &end, 10);
        if (end == at || *end != (i + 1 < n ? ',' : 0) || fd < 0 || fd > 1 << 24 ||
            getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &size))
            return sn_fail(e, SN_USER,
                           "SINTER_SOCKETS is '%.40s', no list of %u open sockets: it is for "
                           "processes that --ranks starts",
                           c->world->sockets, n);
        connected(c, &c->peers[i], (int)fd, is_root(c) ? i + 1 : 0);
        at = end + 1;
    }
    return SN_OK;
}

// Without an address rank 0 takes any port and says so over what is there.
typedef struct {
    char host[256];
    uint16_t port;
} Address;

static SnStatus meet(SnControl *c, const SnControlSpec *spec, double deadline, SnError *e) {
    const SnWorld *w = c->world;
    Address a = {.port = w->port};
    int fd;
    if (w->sockets) return inherit(c, e);
    snprintf(a.host, sizeof a.host, "%s", w->host);
    bool spread = !a.host[0] || !a.port;
    if (spread && !spec->spread)
        return sn_fail(e, SN_USER,
                       "where rank 0 listens is not known: MASTER_ADDR and MASTER_PORT "
                       "say so");
    if (spread && w->rank == 0) gethostname(a.host, sizeof a.host - 1);
    if (spread && w->locals == w->size) strcpy(a.host, "127.0.0.1");
    SnStatus s = SN_OK;
    if (w->rank == 0) s = sn_link_listen(a.host, &a.port, &c->listener, e);
    if (s) a.port = 0; // the others wait for the address all the same
    if (spread && spec->spread(spec->user, &a, sizeof a, s ? NULL : e)) return e->status;
    if (s || w->rank == 0) {
        if (!s) fcntl(c->listener, F_SETFL, O_NONBLOCK);
        return s;
    }
    if (!a.port) return sn_fail(e, SN_PEER, "rank 0 cannot listen for the others");
    s = sn_link_connect(a.host, a.port, deadline, &fd, e);
    if (!s) connected(c, &c->peers[0], fd, 0);
    return s;
}

static SnStatus prepare(SnControl *c, SnError *e) {
    uint32_t size = c->world->size, root = c->world->rank == 0;
    c->npeers = size == 1 ? 0 : root ? size - 1 + STRANGERS : 1;
    c->peers = calloc(c->npeers + 1, sizeof *c->peers);
    c->of = calloc(size, sizeof *c->of);
    c->polled = calloc(c->npeers + 2, sizeof *c->polled);
    c->standing = calloc(root ? size : 1, sizeof *c->standing);
    c->pulse = sn_pulse_new();
    if (!c->peers || !c->of || !c->polled || !c->standing || !c->pulse)
        return sn_fail(e, SN_MACHINE, "out of memory for %u ranks", size);
    for (uint32_t i = 0; i < c->npeers; i++) {
        c->peers[i].link.fd = -1;
        c->peers[i].rank = NOBODY;
        c->peers[i].last = &c->peers[i].first;
    }
    snprintf(c->standing[0].node, sizeof c->standing[0].node, "%s", c->world->node);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return c->wake < 0 ? sn_fail(e, SN_MACHINE, "out of descriptors") : SN_OK;
}

// The program's own threads get the signals.
static SnStatus start_thread(SnControl *c, SnError *e) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    c->started = !pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return c->started ? SN_OK : sn_fail(e, SN_MACHINE, "cannot start a thread");
}

SnStatus sn_control_open(const SnControlSpec *spec, SnControl **out, SnError *e) {
    SnError own;
    SnMessage hello;
    if (!e) e = &own;
    SnControl *c = *out = calloc(1, sizeof *c);
    if (!c) return sn_fail(e, SN_MACHINE, "out of memory");
    c->world = spec->world;
    c->patience = spec->patience;
    atomic_store(&c->hang, spec->hang);
    c->listener = c->wake = -1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    double deadline = sn_link_now() + spec->patience;
    SnStatus s = prepare(c, e);
    if (!s && c->world->size > 1) s = meet(c, spec, deadline, e);
    if (s) {
        c->ended = s; // before anybody could be told
        snprintf(c->why, sizeof c->why, "%s", e->text);
        return s;
    }
    say_hello(c, spec, &hello);
    pthread_mutex_lock(&c->lock);
    if (hello.failed)
        give_up(c, SN_MACHINE, false, "what must be equal on all ranks is longer than %d bytes",
                SN_MESSAGE_MOST);
    else if (is_root(c))
        await_all(c, deadline, &hello);
    else
        meet_root(c, deadline, &hello);
    free(hello.bytes);
    if (c->listener >= 0) close(c->listener);
    c->listener = -1;
    for (uint32_t i = 0; is_root(c) && i < c->npeers; i++)
        if (c->peers[i].rank == NOBODY) drop(c, &c->peers[i]);
    pthread_mutex_unlock(&c->lock);
    if (!c->ended && c->world->size > 1) s = start_thread(c, e);
    return s ? s : sn_control_state(c, e);
}

// ---- afterwards ---------------------------------------------------------------------------------

bool sn_control_tells(SnControl *c) {
    pthread_mutex_lock(&c->lock);
    bool tells = !c->told;
    pthread_mutex_unlock(&c->lock);
    return tells;
}

const SnWorld *sn_control_world(const SnControl *c) { return c->world; }
const SnWelcome *sn_control_place(const SnControl *c) { return &c->place; }
SnPulse *sn_control_pulse(SnControl *c) { return c->pulse; }
void sn_control_set_hang(SnControl *c, double seconds) { atomic_store(&c->hang, seconds); }

static SnStatus state(SnControl *c, SnError *e) {
    return c->ended ? sn_fail(e, c->ended, "%s", c->why) : SN_OK;
}

SnStatus sn_control_state(SnControl *c, SnError *e) {
    pthread_mutex_lock(&c->lock);
    SnStatus s = state(c, e);
    pthread_mutex_unlock(&c->lock);
    return s;
}

// Waits for something of that rank. The control's thread wakes who waits several times within a deadline.
static void wait_on(SnControl *c, uint32_t rank, double from) {
    double waited = sn_link_now() - from;
    if (waited > atomic_load(&c->hang))
        give_up(c, SN_PEER, false, "rank %u (%s) did not come for %.0f s to where rank %u waits",
                rank, node_of(c, rank), waited, c->world->rank);
    else
        pthread_cond_wait(&c->changed, &c->lock);
}

// A message of that peer, which is waited for; NULL: the run fails.
static SnMail *wait_for(SnControl *c, Peer *p) {
    double from = sn_link_now();
    while (!p->first && !c->ended) wait_on(c, p->rank, from);
    return p->first && !c->ended ? take(p) : NULL;
}

static bool take_into(SnControl *c, Peer *p, void *to, size_t n) {
    SnMail *m = wait_for(c, p);
    bool good = m && m->n == n;
    if (good && n) memcpy(to, m->bytes, n);
    if (m && !good)
        give_up(c, SN_PLAN, false, "rank %u sends %zu bytes where %zu belong", p->rank, m->n, n);
    free(m);
    return good;
}

SnStatus sn_control_share(SnControl *c, void *bytes, size_t n, SnError *e) {
    pthread_mutex_lock(&c->lock);
    if (is_root(c)) {
        for (uint32_t r = 1; r < c->world->size && !c->ended; r++) {
            SnMessage m;
            sn_message_bytes(&m, SN_MESSAGE_SHARE, bytes, n);
            send_to(c, c->of[r], &m);
        }
        poke(c);
    } else if (!c->ended)
        take_into(c, &c->peers[0], bytes, n);
    SnStatus s = state(c, e);
    pthread_mutex_unlock(&c->lock);
    return s;
}

SnStatus sn_control_gather(SnControl *c, const void *bytes, size_t n, void *all, SnError *e) {
    pthread_mutex_lock(&c->lock);
    if (is_root(c)) {
        if (n) memcpy(all, bytes, n);
        for (uint32_t r = 1; r < c->world->size && !c->ended; r++)
            take_into(c, c->of[r], (char *)all + r * n, n);
    } else if (!c->ended) {
        SnMessage m;
        sn_message_bytes(&m, SN_MESSAGE_GATHER, bytes, n);
        send_to(c, &c->peers[0], &m);
        poke(c);
    }
    SnStatus s = state(c, e);
    pthread_mutex_unlock(&c->lock);
    return s;
}

SnStatus sn_control_group(SnControl *c, const char *label, const uint32_t *ranks, uint32_t n,
                          uint32_t *index, SnError *e) {
    SnMessage m;
    if (c->ngroups == SN_MAX_GROUPS)
        return sn_fail(e, SN_PLAN, "more than %d groups of ranks", SN_MAX_GROUPS);
    pthread_mutex_lock(&c->lock);
    *index = c->ngroups++;
    sn_message_group(&m, *index, label, ranks, n);
    SnGroupMessage g;
    if (is_root(c)) {
        if (!m.failed && sn_group_decode(m.bytes + SN_MESSAGE_HEAD, m.n - SN_MESSAGE_HEAD, &g))
            learn_group(c, 0, &g);
        free(m.bytes);
    } else
        send_to(c, &c->peers[0], &m), poke(c);
    sn_pulse_group(c->pulse);
    SnStatus s = state(c, e);
    pthread_mutex_unlock(&c->lock);
    return s;
}

void sn_control_on_end(SnControl *c, void (*fn)(void *user), void *user) {
    pthread_mutex_lock(&c->lock);
    c->on_end = fn;
    c->user = user;
    if (fn && c->ended) fn(user);
    pthread_mutex_unlock(&c->lock);
}

void sn_control_fail(SnControl *c, SnStatus status, const char *text) {
    pthread_mutex_lock(&c->lock);
    if (!c->ended && !is_root(c) && c->world->size > 1) {
        SnMessage m;
        sn_message_end(&m, &(SnEnd){(uint32_t)status, text});
        send_to(c, &c->peers[0], &m);
    }
    give_up(c, status, false, is_root(c) ? "rank 0 (%s): %s" : "%.0s%s", c->world->node, text);
    poke(c);
    pthread_mutex_unlock(&c->lock);
}

// ---- the end ------------------------------------------------------------------------------------

static bool all_gone(const SnControl *c) {
    for (uint32_t i = 0; i < c->npeers; i++)
        if (c->peers[i].link.fd >= 0) return false;
    return true;
}

static void wait_for_byes(SnControl *c) {
    double from = sn_link_now();
    for (uint32_t r = 1; is_root(c) && r < c->world->size; r++)
        while (!c->ended && !c->of[r]->bye) wait_on(c, r, from);
}

// Everything that is said is heard before the sockets close, but nobody waits long for it.
static void linger(SnControl *c) {
    double until = sn_link_now() + 2;
    c->closing = true;
    while (!all_gone(c) && sn_link_now() < until) pump(c, 100);
}

static void free_peer(Peer *p) {
    sn_link_close(&p->link);
    free(p->hello);
    while (p->first) free(take(p));
}

static void free_control(SnControl *c) {
    for (uint32_t i = 0; c->peers && i < c->npeers; i++) free_peer(&c->peers[i]);
    for (uint32_t r = 0; c->standing && r < (is_root(c) ? c->world->size : 1); r++)
        for (uint32_t g = 0; g < SN_MAX_GROUPS; g++) free(c->standing[r].group[g].ranks);
    if (c->wake >= 0) close(c->wake);
    if (c->listener >= 0) close(c->listener);
    sn_pulse_free(c->pulse);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c->standing);
    free(c->peers);
    free(c->of);
    free(c->polled);
    free(c);
}

SnStatus sn_control_close(SnControl *c, SnError *e) {
    if (!c) return SN_OK;
    pthread_mutex_lock(&c->lock);
    if (!c->ended && c->started && !is_root(c)) say_bye(c, &c->peers[0]);
    if (c->started) wait_for_byes(c);
    c->closing = true;
    poke(c);
    pthread_mutex_unlock(&c->lock);
    if (c->started) pthread_join(c->thread, NULL);
    pthread_mutex_lock(&c->lock);
    SnStatus s = state(c, e);
    if (c->peers && c->polled) linger(c);
    pthread_mutex_unlock(&c->lock);
    free_control(c);
    return s;
}

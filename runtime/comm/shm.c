// Ranks on one machine. Each has a memory file of its own, which all others map: lines for its groups, and three
// slots of a piece. A collective goes in rounds with one meeting at the end of each:
//
//   round k    bring piece k into slot k % 3 | reduce one's share of piece k-1, in place | take piece k-2 out
//
// What a round reads was written in an earlier one, and a slot is written again three rounds later, when
// all have taken from it; the meeting of the last round holds for the next collective too, whatever its group. So
// bytes move as on a ring: each is copied in, summed once by the rank whose share it is, and copied out.
//
// A member meets by raising its number and waiting for the others': it spins for a moment, since pieces take
// microseconds, then sleeps on the other's number (futex). It wakes now and then to see whether the run fails.
//
// Others find the file through /proc/PID/fd: no names that could be left behind or taken, and no rights but those
// that a user has over his own processes.
#define _GNU_SOURCE
#include "runtime/comm/engine.h"
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 3, PIECE = 1 << 20, SPINS = 2000 };

typedef struct {
    alignas(64) _Atomic uint32_t round; // meetings that this rank has come to
    _Atomic uint32_t sleepers;          // who waits for it to change
    SnHeader header;                    // of the collective under way
} Line;

typedef struct {
    uint64_t secret; // that it is this run's file
    Line line[SN_MAX_GROUPS];
    alignas(4096) unsigned char slot[SLOTS][PIECE];
} Shared;

typedef struct {
    SnComm comm;
    Shared **of; // [size]: of each rank
} Shm;

static Line *line_of(const SnChannel *ch, uint32_t member) {
    return &((Shm *)ch->comm)->of[ch->ranks[member]]->line[ch->index];
}
static unsigned char *slot_of(const SnChannel *ch, uint32_t member, int64_t k) {
    return ((Shm *)ch->comm)->of[ch->ranks[member]]->slot[k % SLOTS];
}

// ---- meeting ------------------------------------------------------------------------------------

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *t) {
    return syscall(SYS_futex, (uint32_t *)(void *)word, op, value, t, NULL, 0);
}

static bool has_come(Line *l, uint32_t round) {
    return (int32_t)(atomic_load_explicit(&l->round, memory_order_acquire) - round) >= 0;
}

static bool await(SnComm *comm, Line *l, uint32_t round) {
    for (int i = 0; i < SPINS; i++) {
        if (has_come(l, round)) return true;
        _mm_pause();
    }
    const struct timespec moment = {.tv_nsec = 50000000};
    while (!has_come(l, round)) {
        if (atomic_load(&comm->aborted)) return false;
        atomic_fetch_add(&l->sleepers, 1);
        uint32_t seen = atomic_load(&l->round);
        if ((int32_t)(seen - round) < 0) futex(&l->round, FUTEX_WAIT, seen, &moment);
        atomic_fetch_sub(&l->sleepers, 1);
    }
    return true;
}

static SnStatus meet(SnChannel *ch, SnError *e) {
    Line *own = line_of(ch, ch->me);
    uint32_t round = atomic_load_explicit(&own->round, memory_order_relaxed) + 1;
    atomic_store(&own->round, round);
    if (atomic_load(&own->sleepers)) futex(&own->round, FUTEX_WAKE, INT_MAX, NULL);
    for (uint32_t i = 0; i < ch->n; i++)
        if (i != ch->me && !await(ch->comm, line_of(ch, i), round))
            return sn_fail(e, SN_PEER, "aborted");
    return SN_OK;
}

// ---- a collective -------------------------------------------------------------------------------

static void reduce_own(SnChannel *ch, const SnCut *cut, const void **from, int64_t k) {
    int64_t at, n = sn_cut_range(cut, k, ch->me, &at), place = sn_cut_place(cut, ch->me);
    for (uint32_t i = 0; i < ch->n; i++) from[i] = slot_of(ch, i, k) + place;
    unsigned char *to = slot_of(ch, ch->me, k) + place;
    sn_reduce(cut->c->elem, cut->c->kind, from, ch->n, to, n);
    if (cut->c->op == SN_reduce_scatter) sn_cut_give(cut, k, ch->me, to);
}

static void take_out(SnChannel *ch, const SnCut *cut, int64_t k) {
    for (uint32_t j = 0; j < ch->n; j++) {
        uint32_t i = (ch->me + j) % ch->n; // not all from the same one at once
        uint32_t q = cut->c->op == SN_all_to_all ? ch->me : i;
        sn_cut_give(cut, k, i, slot_of(ch, i, k) + sn_cut_place(cut, q));
    }
}

static SnStatus compare(SnChannel *ch, const void **some, SnError *e) {
    const SnHeader **headers = (const SnHeader **)some;
    for (uint32_t i = 0; i < ch->n; i++) headers[i] = &line_of(ch, i)->header;
    return sn_header_compare(ch, headers, e);
}

static SnStatus rounds(SnChannel *ch, const SnCut *cut, const void **some, SnError *e) {
    bool sums = sn_is_reduction(cut->c->op), scatter = cut->c->op == SN_reduce_scatter;
    int64_t wait = sums ? 1 : 0; // rounds between bringing and taking
    // Two meetings at least, so that nobody changes his header while another compares it.
    int64_t last = scatter ? cut->pieces : cut->pieces + wait;
    if (last < 1) last = 1;
    SnStatus s = SN_OK;
    for (int64_t k = 0; k <= last && !s; k++) {
        if (k < cut->pieces) sn_cut_take(cut, k, slot_of(ch, ch->me, k));
        if (sums && k >= 1 && k - 1 < cut->pieces) reduce_own(ch, cut, some, k - 1);
        if (!scatter && k > wait) take_out(ch, cut, k - 1 - wait);
        s = meet(ch, e);
        if (!s && k == 0) s = compare(ch, some, e);
    }
    return s;
}

static SnStatus shm_start(SnChannel *ch, const SnCollective *c, const SnPart *parts, uint32_t n,
                          void *stream, SnError *e) {
    (void)stream;
    SnCut cut;
    SnStatus s = sn_cut(c, parts, n, ch->n, ch->me, PIECE, &cut, e);
    const void **some = malloc(ch->n * sizeof *some);
    if (!some) s = sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) {
        sn_header_of(ch, &cut, &line_of(ch, ch->me)->header);
        s = rounds(ch, &cut, some, e);
    }
    free(some);
    if (!s) ch->comm->completed++;
    return s;
}

// ---- the files ----------------------------------------------------------------------------------

typedef struct {
    int32_t pid, fd;
    uint64_t secret;
} Where;

static Shared *map(int fd) {
    void *at = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

// Sealed, so that nobody can make it shorter under those who read it.
static SnStatus make_own(Shared **out, Where *place, SnError *e) {
    int fd = memfd_create("sinter", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    place->pid = getpid();
    place->fd = fd;
    if (fd < 0 || ftruncate(fd, sizeof(Shared)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) || !(*out = map(fd)) ||
        getrandom(&place->secret, sizeof place->secret, 0) != sizeof place->secret)
        return sn_fail(e, SN_MACHINE, "no memory to share with other ranks: %s", strerror(errno));
    (*out)->secret = place->secret;
    return SN_OK;
}

static SnStatus map_other(const Where *p, uint32_t rank, Shared **out, SnError *e) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", p->pid, p->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    *out = fd < 0 ? NULL : map(fd);
    int error = errno;
    if (fd >= 0) close(fd);
    if (*out && (*out)->secret == p->secret) return SN_OK;
    return sn_fail(e, SN_MACHINE,
                   "the memory of rank %u is not to be had (%s): do the ranks run in different "
                   "containers?",
                   rank, *out ? "it is another process's" : strerror(error));
}

static SnStatus map_all(Shm *x, const Where *places, SnError *e) {
    for (uint32_t r = 0; r < x->comm.size; r++)
        if (r != x->comm.rank && map_other(&places[r], r, &x->of[r], e)) return e->status;
    return SN_OK;
}

// All ranks tell where their file is, then whether they found all others', and only then close it.
static SnStatus exchange(Shm *x, Where *own, Where *places, SnError *e) {
    SnControl *c = x->comm.control;
    uint8_t *found = malloc(x->comm.size), mine;
    SnStatus s = sn_control_gather(c, own, sizeof *own, places, e);
    uint32_t most = SN_MESSAGE_MOST / sizeof *places;
    for (uint32_t at = 0; !s && at < x->comm.size; at += most) {
        uint32_t n = x->comm.size - at < most ? x->comm.size - at : most;
        s = sn_control_share(c, places + at, n * sizeof *places, e);
    }
    if (!s) s = map_all(x, places, e);
    if (s && s != SN_PEER) sn_control_fail(c, s, e->text);
    mine = !s;
    if (!s)
        s = found ? sn_control_gather(c, &mine, 1, found, e)
                  : sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) s = sn_control_share(c, &mine, 1, e);
    free(found);
    return s;
}

static SnStatus shm_group(SnComm *comm, SnChannel *channel, SnError *e) {
    (void)comm, (void)channel, (void)e; // the lines are there
    return SN_OK;
}

static SnStatus shm_poll(SnComm *comm, uint64_t *completed, SnError *e) {
    *completed = comm->completed;
    return atomic_load(&comm->aborted) ? sn_fail(e, SN_PEER, "aborted") : SN_OK;
}

static void shm_abort(SnComm *comm) { (void)comm; } // who sleeps looks

static void shm_free(SnComm *comm) {
    Shm *x = (Shm *)comm;
    for (uint32_t r = 0; x->of && r < comm->size; r++)
        if (x->of[r]) munmap(x->of[r], sizeof(Shared));
    free(x->of);
    free(x);
}

static const SnCommOps shm = {"shm", shm_group, shm_start, shm_poll, shm_abort, shm_free};

SnStatus sn_shm_open(SnControl *control, SnComm **out, SnError *e) {
    const SnWorld *w = sn_control_world(control);
    SnError own_error;
    if (!e) e = &own_error;
    Shm *x = calloc(1, sizeof *x);
    Where own = {.fd = -1}, *places = calloc(w->size, sizeof *places);
    if (x) {
        x->comm = (SnComm){.ops = &shm, .control = control, .rank = w->rank, .size = w->size};
        x->of = calloc(w->size, sizeof *x->of);
    }
    SnStatus s = SN_OK;
    if (!x || !places || !x->of) s = sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) s = make_own(&x->of[w->rank], &own, e);
    if (s) sn_control_fail(control, s, e->text);
    if (!s) s = exchange(x, &own, places, e);
    if (own.fd >= 0) close(own.fd);
    free(places);
    if (!s)
        *out = &x->comm;
    else if (x)
        shm_free(&x->comm);
    return s;
}

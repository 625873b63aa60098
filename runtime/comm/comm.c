// See comm.h: what holds of collectives on every engine. They are counted, named for the watch, checked, and a
// group of one is copies.
#include "runtime/comm/comm.h"
#include "runtime/comm/engine.h"
#include "runtime/comm/mpi.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sn_collective_name(uint32_t op) {
    static const char *const names[] = {
#define COLLECTIVE(name, in, out, meaning) #name,
#include "runtime/comm/comm.def"
#undef COLLECTIVE
    };
    return op < SN_COLLECTIVES ? names[op] : "?";
}

// ---- one rank -----------------------------------------------------------------------------------

static SnStatus alone_group(SnComm *comm, SnChannel *channel, SnError *e) {
    (void)comm, (void)channel, (void)e;
    return SN_OK;
}
// sn_comm_start does it.
static SnStatus alone_start(SnChannel *channel, const SnCollective *c, const SnPart *parts,
                            uint32_t n, void *stream, SnError *e) {
    (void)channel, (void)c, (void)parts, (void)n, (void)stream;
    return sn_fail(e, SN_PLAN, "a group of several in a world of one");
}
static SnStatus alone_poll(SnComm *comm, uint64_t *completed, SnError *e) {
    (void)e;
    *completed = comm->completed;
    return SN_OK;
}
static void alone_abort(SnComm *comm) { (void)comm; }
static void alone_free(SnComm *comm) { free(comm); }

static const SnCommOps alone = {"alone",    alone_group, alone_start,
                                alone_poll, alone_abort, alone_free};

static SnStatus alone_open(SnComm **out, SnError *e) {
    *out = calloc(1, sizeof **out);
    if (!*out) return sn_fail(e, SN_MACHINE, "out of memory");
    (*out)->ops = &alone;
    return SN_OK;
}

// ---- opening ------------------------------------------------------------------------------------

static void abort_it(void *user) { sn_comm_abort(user); }

static SnStatus open_engine(SnControl *control, SnMpi *mpi, const char *engine, SnComm **out,
                            SnError *e) {
    const SnWorld *w = sn_control_world(control);
    bool together = sn_control_place(control)->machines == 1;
    bool shm = engine ? !strcmp(engine, "shm") : together;
    if (engine && !shm && strcmp(engine, "mpi"))
        return sn_fail(e, SN_USER, "no engine '%s' between ranks: there are shm and mpi", engine);
    if (w->size == 1) return alone_open(out, e);
    if (shm && !together)
        return sn_fail(e, SN_USER, "shared memory is of one machine, and the ranks run on %u",
                       sn_control_place(control)->machines);
    if (!shm && !mpi)
        return sn_fail(
            e, SN_USER,
            "ranks on several machines exchange over Open MPI: start them with its mpirun");
    return shm ? sn_shm_open(control, out, e) : sn_mpi_comm(control, mpi, out, e);
}

SnStatus sn_comm_open(SnControl *control, SnMpi *mpi, const char *engine, SnComm **out,
                      SnError *e) {
    const SnWorld *w = sn_control_world(control);
    *out = NULL;
    SnStatus s = open_engine(control, mpi, engine, out, e);
    if (s) return s;
    (*out)->control = control;
    (*out)->rank = w->rank;
    (*out)->size = w->size;
    sn_control_on_end(control, abort_it, *out);
    return SN_OK;
}

void sn_comm_free(SnComm *comm) {
    if (!comm) return;
    SnChannel *list = comm->channels;
    sn_control_on_end(comm->control, NULL, NULL);
    comm->ops->free(comm);
    for (SnChannel *next; list; list = next) {
        next = list->next;
        free(list->ranks);
        free(list);
    }
}

const char *sn_comm_engine(const SnComm *comm) { return comm->ops->name; }

void sn_comm_abort(SnComm *comm) {
    atomic_store(&comm->aborted, true);
    comm->ops->abort(comm);
}

// ---- groups -------------------------------------------------------------------------------------

static SnStatus check_group(const SnComm *comm, const uint32_t *ranks, uint32_t n, uint32_t *me,
                            SnError *e) {
    bool among = false;
    for (uint32_t i = 0; i < n; i++) {
        if (ranks[i] >= comm->size || (i && ranks[i] <= ranks[i - 1]))
            return sn_fail(e, SN_PLAN, "a group's ranks do not rise below %u", comm->size);
        if (ranks[i] == comm->rank) among = true, *me = i;
    }
    return among ? SN_OK : sn_fail(e, SN_PLAN, "rank %u is not in its own group", comm->rank);
}

SnStatus sn_comm_group(SnComm *comm, const char *label, const uint32_t *ranks, uint32_t n,
                       SnChannel **out, SnError *e) {
    uint32_t me = 0;
    *out = NULL;
    if (check_group(comm, ranks, n, &me, e)) return SN_PLAN;
    SnChannel *ch = calloc(1, sizeof *ch);
    if (ch) ch->ranks = malloc(n * sizeof *ranks);
    if (!ch || !ch->ranks) {
        free(ch);
        return sn_fail(e, SN_MACHINE, "out of memory");
    }
    memcpy(ch->ranks, ranks, n * sizeof *ranks);
    ch->comm = comm;
    ch->n = n;
    ch->me = me;
    ch->next = comm->channels;
    comm->channels = ch; // freed with the comm, also after a failure
    SnStatus s = sn_control_group(comm->control, label, ranks, n, &ch->index, e);
    if (!s) s = comm->ops->group(comm, ch, e);
    if (!s) *out = ch;
    return s;
}

uint32_t sn_channel_size(const SnChannel *channel) { return channel->n; }
uint32_t sn_channel_place(const SnChannel *channel) { return channel->me; }

// ---- collectives --------------------------------------------------------------------------------

void sn_header_of(const SnChannel *channel, const SnCut *cut, SnHeader *to) {
    memset(to, 0, sizeof *to); // it is compared and sent as bytes
    to->begun = channel->begun;
    to->length = cut->length;
    to->parts = cut->nparts;
    to->op = cut->c->op;
    to->kind = cut->c->kind;
    to->elem = cut->c->elem;
    snprintf(to->name, sizeof to->name, "%s", cut->c->name ? cut->c->name : "");
    snprintf(to->line, sizeof to->line, "%s", cut->c->line ? cut->c->line : "");
}

static void say(const SnHeader *h, char *text, size_t size) {
    SnHeader x = *h; // others may write it; then it is none of ours any more
    x.name[sizeof x.name - 1] = x.line[sizeof x.line - 1] = 0;
    snprintf(text, size, "%s '%s'%s%s%s of %lld bytes", sn_collective_name(x.op), x.name,
             x.line[0] ? " (" : "", x.line, x.line[0] ? ")" : "", (long long)x.length);
}

SnStatus sn_header_compare(const SnChannel *channel, const SnHeader *const *headers, SnError *e) {
    char first[256], other[256];
    for (uint32_t i = 1; i < channel->n; i++) {
        if (!memcmp(headers[0], headers[i], sizeof(SnHeader))) continue;
        say(headers[0], first, sizeof first);
        say(headers[i], other, sizeof other);
        return sn_fail(e, SN_PLAN, "collective %llu differs: rank %u does %s, rank %u %s",
                       (unsigned long long)channel->begun, channel->ranks[0], first,
                       channel->ranks[i], other);
    }
    return SN_OK;
}

static void copy_parts(const SnPart *parts, uint32_t n, int64_t width) {
    for (uint32_t i = 0; i < n; i++)
        if (parts[i].in != parts[i].out && parts[i].count)
            memcpy(parts[i].out, parts[i].in, (size_t)(parts[i].count * width));
}

// Why the run fails, when that is why it did.
static SnStatus reason(const SnComm *comm, SnStatus s, SnError *e) {
    SnError why;
    if (s != SN_PEER || !sn_control_state(comm->control, &why)) return s;
    return sn_fail(e, why.status, "%s", why.text);
}

SnStatus sn_comm_start(SnChannel *channel, const SnCollective *c, const SnPart *parts, uint32_t n,
                       void *stream, SnError *e) {
    SnComm *comm = channel->comm;
    SnCut cut;
    SnStatus s = sn_cut(c, parts, n, channel->n, channel->me, 1 << 20, &cut, e);
    if (s) return s;
    if (atomic_load(&comm->aborted)) return reason(comm, sn_fail(e, SN_PEER, "aborted"), e);
    comm->started++;
    channel->begun++;
    if (channel->n == 1) {
        copy_parts(parts, n, cut.width);
        comm->completed++;
        return SN_OK;
    }
    SnPulse *w = sn_control_pulse(comm->control);
    sn_pulse_begin(w, channel->index, c->op, c->name, c->line);
    s = comm->ops->start(channel, c, parts, n, stream, e);
    sn_pulse_end(w);
    return reason(comm, s, e);
}

SnStatus sn_comm_poll(SnComm *comm, uint64_t *completed, SnError *e) {
    SnStatus s = comm->ops->poll(comm, completed, e);
    return s ? reason(comm, s, e) : sn_control_state(comm->control, e);
}

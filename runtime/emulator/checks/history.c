// Who touched which bytes: finds accesses that nothing orders, and tensors that were overwritten.
//
// Memory of the device, and of the host where it is pinned, that was touched is a sorted array of disjoint spans, each with its last write, the
// reads since then that are not ordered among themselves, and the tensor (value) that was written
// there last. Operations are looked at when they are queued, in the order of the host's calls, so
// that what is found depends on no seed; it is raised when the operation runs.
//
// Race: an earlier access in another queue that the operation's clock does not contain, one of the
// two a write (FastTrack: Flanagan and Freund, PLDI 2009; spans in the place of variables).
// Overwritten: the reader of value v finds bytes that value w was written to, so the memory plan
// gave two living tensors the same bytes, or the order of work is not the one it was made for.
// What the host does itself comes before all that it queues later; what is queued before, it must have waited
// for. Whether bytes of the device were written at all the engine knows; of pinned ones that hold a value this does.
// Time per access O(log spans + spans moved).
#include "runtime/emulator/driver/state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- spans --------------------------------------------------------------------------------------

// The first span that ends behind the address.
static size_t find(const History *h, uint64_t address) {
    size_t lo = 0, hi = h->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (h->at[mid].end > address)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static bool insert(EmuDriver *d, size_t i, const ShadowSpan *span) {
    History *h = &d->history;
    if (h->n == h->room) {
        size_t room = h->room ? 2 * h->room : 64;
        if (!driver_grow(d, (void **)&h->at, room, sizeof *h->at)) return false;
        h->room = room;
    }
    memmove(h->at + i + 1, h->at + i, (h->n - i) * sizeof *h->at);
    h->at[i] = *span;
    h->n++;
    return true;
}

static void erase(History *h, size_t i, size_t n) {
    if (!n) return;
    memmove(h->at + i, h->at + i + n, (h->n - i - n) * sizeof *h->at);
    h->n -= n;
}

// Afterwards no span lies on both sides of the address.
static bool split(EmuDriver *d, uint64_t address) {
    History *h = &d->history;
    size_t i = find(h, address);
    if (i == h->n || h->at[i].begin >= address) return true;
    ShadowSpan left = h->at[i];
    left.end = address;
    h->at[i].begin = address;
    return insert(d, i, &left);
}

// Afterwards [begin, end) is the spans [*i, *j).
static bool cover(EmuDriver *d, uint64_t begin, uint64_t end, size_t *i, size_t *j) {
    History *h = &d->history;
    if (!split(d, begin) || !split(d, end)) return false;
    *i = *j = find(h, begin);
    for (uint64_t at = begin; at < end; at = h->at[(*j)++].end) {
        uint64_t next = *j < h->n && h->at[*j].begin < end ? h->at[*j].begin : end;
        if (next > at && !insert(d, *j, &(ShadowSpan){.begin = at, .end = next})) return false;
    }
    return true;
}

void history_forget(EmuDriver *d, uint64_t base, uint64_t bytes) {
    if (!split(d, base) || !split(d, base + bytes)) return;
    size_t i = find(&d->history, base), j = i;
    while (j < d->history.n && d->history.at[j].end <= base + bytes) j++;
    erase(&d->history, i, j - i);
}

// ---- faults -------------------------------------------------------------------------------------

static const char *queue_text(const EmuDriver *d, uint32_t queue, char *to, size_t size) {
    const Queue *q = &d->queues[queue];
    if (q->number)
        snprintf(to, size, "stream %" PRIu32 "%s", q->number, q->graph ? " of a graph" : "");
    else
        snprintf(to, size, "the legacy stream");
    return to;
}

static void set_fault(EmuDriver *d, QueuedOp *op, const char *text) {
    if (op->fault) return;
    op->fault = strdup(text);
    if (!op->fault) driver_fail(d, SN_CU_OUT_OF_MEMORY, "host memory is short");
}

static const char *name_of(const char *name) { return name ? name : "memory"; }

static void race(EmuDriver *d, QueuedOp *op, const SnCudaRange *r, const ShadowSpan *s,
                 const Epoch *before, bool writes, bool wrote) {
    char text[2048], now[512], then[512], here[64], there[64];
    queue_text(d, op->queue, here, sizeof here);
    queue_text(d, before->queue, there, sizeof there);
    snprintf(text, sizeof text,
             "stream race: %s on %s %s '%s' at 0x%" PRIx64 " (%" PRIu64
             " bytes), which %s on %s %s, and neither is ordered before the other: %s does not "
             "wait for %s in between",
             who_text(&op->work->who, now, sizeof now), here, writes ? "writes" : "reads",
             name_of(r->name), s->begin, s->end - s->begin,
             who_text(&before->who, then, sizeof then), there, wrote ? "writes" : "reads", here,
             there);
    set_fault(d, op, text);
}

static void overwritten(EmuDriver *d, QueuedOp *op, const SnCudaRange *r, const ShadowSpan *s) {
    char text[2048], now[512], then[512];
    snprintf(text, sizeof text,
             "overwritten: %s reads tensor '%s' (value %" PRIu32 ") at 0x%" PRIx64 " (%" PRIu64
             " bytes), which was overwritten by '%s' (value %" PRIu32 ") of %s",
             who_text(&op->work->who, now, sizeof now), name_of(r->name), r->value, s->begin,
             s->end - s->begin, name_of(s->owner_name), s->owner,
             who_text(&s->owner_who, then, sizeof then));
    set_fault(d, op, text);
}

// ---- accesses -----------------------------------------------------------------------------------

static bool before(const Epoch *a, const QueuedOp *op) {
    return a->tick <= clock_at(&op->clock, a->queue);
}

static Epoch access_of(const QueuedOp *op) {
    return (Epoch){.queue = op->queue, .tick = op->tick, .who = op->work->who};
}

// Reads that the operation comes after need no memory: whoever comes after it comes after them.
static void add_read(ShadowSpan *s, const QueuedOp *op) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->reads; i++)
        if (!before(&s->read[i], op)) s->read[n++] = s->read[i];
    if (n == SPAN_READS) memmove(s->read, s->read + 1, --n * sizeof *s->read);
    s->read[n++] = access_of(op);
    s->reads = n;
}

static void unwritten(EmuDriver *d, QueuedOp *op, const SnCudaRange *r, const ShadowSpan *s) {
    char text[2048], now[512];
    snprintf(text, sizeof text,
             "uninitialised: %s reads value %" PRIu32 " from pinned memory at 0x%" PRIx64
             " (%" PRIu64 " bytes), which was never written",
             who_text(&op->work->who, now, sizeof now), r->value, s->begin, s->end - s->begin);
    set_fault(d, op, text);
}

static void read_range(EmuDriver *d, QueuedOp *op, const SnCudaRange *r) {
    size_t i = 0, j = 0;
    if (!cover(d, r->base, r->base + r->bytes, &i, &j)) return;
    for (; i < j; i++) {
        ShadowSpan *s = &d->history.at[i];
        if (!before(&s->write, op)) race(d, op, r, s, &s->write, false, true);
        if (r->value && s->owner && s->owner != r->value && !r->writes) overwritten(d, op, r, s);
        if (r == &op->work->host && r->value && !s->written) unwritten(d, op, r, s);
        add_read(s, op);
    }
}

static void check_write(EmuDriver *d, QueuedOp *op, const SnCudaRange *r, const ShadowSpan *s) {
    if (!before(&s->write, op)) race(d, op, r, s, &s->write, true, true);
    for (uint32_t q = 0; q < s->reads; q++)
        if (!before(&s->read[q], op)) race(d, op, r, s, &s->read[q], true, false);
}

static void write_range(EmuDriver *d, QueuedOp *op, const SnCudaRange *r) {
    size_t i = 0, j = 0;
    if (!cover(d, r->base, r->base + r->bytes, &i, &j)) return;
    for (size_t q = i; q < j; q++) check_write(d, op, r, &d->history.at[q]);
    ShadowSpan s = {.begin = r->base, .end = r->base + r->bytes, .write = access_of(op)};
    s.written = true;
    s.owner = r->value;
    s.owner_name = r->name;
    s.owner_who = op->work->who;
    d->history.at[i] = s;
    erase(&d->history, i + 1, j - i - 1);
}

// All reads before all writes: an operation in place, by one range or by two that overlap, reads
// what was there.
void history_access(EmuDriver *d, QueuedOp *op) {
    const Work *w = op->work;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ranges[i].reads && w->ranges[i].bytes) read_range(d, op, &w->ranges[i]);
    if (w->host.reads && w->host.bytes) read_range(d, op, &w->host);
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ranges[i].writes && w->ranges[i].bytes) write_range(d, op, &w->ranges[i]);
    if (w->host.writes && w->host.bytes) write_range(d, op, &w->host);
}

static void not_awaited(EmuDriver *d, const Epoch *e, const ShadowSpan *s, bool wrote,
                        bool writes) {
    char then[512], there[64];
    if (e->tick <= clock_at(&d->host, e->queue)) return;
    driver_fail(d, SN_CU_LAUNCH_FAILED,
                "stream race: the host %s pinned memory at 0x%" PRIx64 " (%" PRIu64
                " bytes), which %s on %s %s, and it does not wait for that",
                writes ? "writes" : "reads", s->begin, s->end - s->begin,
                who_text(&e->who, then, sizeof then), queue_text(d, e->queue, there, sizeof there),
                wrote ? "writes" : "reads");
}

void history_touch(EmuDriver *d, uint64_t base, uint64_t bytes, bool writes) {
    size_t i = 0, j = 0;
    if (!bytes || !cover(d, base, base + bytes, &i, &j)) return;
    for (; i < j; i++) {
        ShadowSpan *s = &d->history.at[i];
        not_awaited(d, &s->write, s, true, writes);
        for (uint32_t q = 0; writes && q < s->reads; q++)
            not_awaited(d, &s->read[q], s, false, writes);
        if (writes) *s = (ShadowSpan){.begin = s->begin, .end = s->end, .written = true};
    }
}

// What was queued behind the operation says nothing of what it finds.
const char *history_writer(const EmuDriver *d, const QueuedOp *op, uint64_t address, char *to,
                           size_t size) {
    const History *h = &d->history;
    size_t i = find(h, address);
    char who[512];
    *to = 0;
    if (!op || i == h->n || h->at[i].begin > address) return to;
    const Epoch *w = &h->at[i].write;
    bool self = w->queue == op->queue && w->tick == op->tick;
    if (w->tick && !self && before(w, op))
        snprintf(to, size, "; %s was to write it", who_text(&w->who, who, sizeof who));
    return to;
}

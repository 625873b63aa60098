// Vector clocks and the queues of the emulated device: what may run, and in which order it does.
//
// One operation runs at a time. Among the queues whose first operation may run, the one of the
// highest rank goes first; after each operation one rank in four is drawn anew. So one seed lets a
// stream run far ahead and another holds it back to the last, and every order is one that the
// streams and events allow. Nothing runs before the host needs it: copies from pinned memory read
// as late as they may.
//
// A clock is an array with one number per queue, so queues are used again: a closed and empty one
// becomes another's once the host knows all of it to be done, when no clock can mistake the two.
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>
#include <string.h>

enum { PENDING_MAX = 8192 }; // then queueing runs something first, as a full device queue blocks

uint64_t clock_at(const Clock *c, uint32_t queue) { return queue < c->n ? c->at[queue] : 0; }

static bool make_room(EmuDriver *d, Clock *c, uint32_t n) {
    if (n <= c->n) return true;
    void *at = realloc(c->at, n * sizeof *c->at);
    if (!at) {
        driver_fail(d, SN_CU_OUT_OF_MEMORY, "host memory is short");
        return false;
    }
    c->at = at;
    memset(c->at + c->n, 0, (n - c->n) * sizeof *c->at);
    c->n = n;
    return true;
}

void clock_raise(EmuDriver *d, Clock *c, uint32_t queue, uint64_t tick) {
    if (make_room(d, c, queue + 1) && c->at[queue] < tick) c->at[queue] = tick;
}

void clock_join(EmuDriver *d, Clock *c, const Clock *with) {
    if (!make_room(d, c, with->n)) return;
    for (uint32_t i = 0; i < with->n; i++)
        if (c->at[i] < with->at[i]) c->at[i] = with->at[i];
}

void clock_free(Clock *c) {
    free(c->at);
    *c = (Clock){0};
}

// ---- queues -------------------------------------------------------------------------------------

// splitmix64
static uint64_t draw(EmuDriver *d) {
    uint64_t x = d->random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static bool forgotten(const EmuDriver *d, uint32_t i) {
    const Queue *q = &d->queues[i];
    return !q->used && !q->first && clock_at(&d->host, i) >= q->pushed;
}

uint32_t queue_new(EmuDriver *d, uint32_t number, bool graph) {
    uint32_t i = 0;
    while (i < d->queue_n && !forgotten(d, i)) i++;
    if (i == d->queue_n) {
        if (!driver_grow(d, (void **)&d->queues, d->queue_n + 1, sizeof *d->queues))
            return UINT32_MAX;
        d->queues[d->queue_n++] = (Queue){0};
    }
    Queue *q = &d->queues[i];
    clock_free(&q->clock);
    q->used = true;
    q->number = number, q->graph = graph;
    q->rank = draw(d);
    return i;
}

void queue_close(EmuDriver *d, uint32_t queue) { d->queues[queue].used = false; }

static void op_free(QueuedOp *op) {
    work_release(op->work);
    clock_free(&op->clock);
    free(op->fault);
    free(op);
}

void queue_push(EmuDriver *d, uint32_t queue, Work *work, const Clock *after) {
    while (d->pending >= PENDING_MAX && queue_step(d)) {
    }
    QueuedOp *op = driver_alloc(d, sizeof *op);
    if (!op) {
        work_release(work);
        return;
    }
    Queue *q = &d->queues[queue];
    op->work = work;
    op->queue = queue;
    op->tick = ++q->pushed;
    clock_join(d, &q->clock, &d->host);
    if (after) clock_join(d, &q->clock, after);
    clock_raise(d, &q->clock, queue, op->tick);
    clock_join(d, &op->clock, &q->clock);
    if (q->last)
        q->last->next = op;
    else
        q->first = op;
    q->last = op;
    d->pending++;
    if (d->config.check) history_access(d, op);
    if (d->error) queue_drop_all(d);
}

static bool ready(const EmuDriver *d, const QueuedOp *op) {
    for (uint32_t i = 0; i < op->clock.n; i++)
        if (i != op->queue && d->queues[i].done < op->clock.at[i]) return false;
    return true;
}

static Queue *choose(EmuDriver *d) {
    Queue *best = NULL;
    for (uint32_t i = 0; i < d->queue_n; i++) {
        Queue *q = &d->queues[i];
        if (q->first && (!best || q->rank > best->rank) && ready(d, q->first)) best = q;
    }
    return best;
}

static QueuedOp *take(EmuDriver *d, Queue *q) {
    QueuedOp *op = q->first;
    q->first = op->next;
    if (!q->first) q->last = NULL;
    d->pending--;
    return op;
}

bool queue_step(EmuDriver *d) {
    Queue *q = choose(d);
    if (!q) return false;
    QueuedOp *op = take(d, q);
    work_run(d, op);
    q->done = op->tick;
    op_free(op);
    uint64_t r = draw(d);
    if (r % 4 == 0) d->queues[(r >> 8) % d->queue_n].rank = draw(d);
    if (d->error) queue_drop_all(d);
    return true;
}

bool queue_reached(const EmuDriver *d, const Clock *goal) {
    for (uint32_t i = 0; i < goal->n; i++)
        if (d->queues[i].done < goal->at[i]) return false;
    return true;
}

void queue_run_until(EmuDriver *d, const Clock *goal) {
    while (!d->error && !queue_reached(d, goal) && queue_step(d)) {
    }
}

void queue_run_all(EmuDriver *d) {
    while (!d->error && queue_step(d)) {
    }
}

void queue_drop_all(EmuDriver *d) {
    for (uint32_t i = 0; i < d->queue_n; i++) {
        Queue *q = &d->queues[i];
        while (q->first) op_free(take(d, q));
        q->done = q->pushed;
    }
}

// Streams and events of the emulated driver.
//
// A stream is a queue and the order that its next operation has to keep; waiting for an event only
// adds to that order, so a wait is no operation. The legacy stream (handle NULL) waits for all
// streams that were not made non-blocking, and they for it. Recording an event is an operation: it
// takes the time when it runs.
#include "runtime/emulator/driver/state.h"
#include <stdlib.h>

// ---- streams ------------------------------------------------------------------------------------

Stream *stream_get(EmuDriver *d, SnCudaStream handle) {
    if (!handle || (uintptr_t)handle == 1) return &d->legacy; // 1: CU_STREAM_LEGACY
    return handle_get(d, HANDLE_STREAM, handle);
}

// The legacy stream and a captured blocking stream would depend on each other.
static bool implicit_order(EmuDriver *d, const Stream *s) {
    bool found = false;
    if (s != &d->legacy) return false;
    for (Stream *t = d->streams; t; t = t->next)
        if (t->capture && t->blocking) t->capture->invalid = found = true;
    return found;
}

int stream_check(EmuDriver *d, const Stream *s) {
    if (!s) return SN_CU_INVALID_HANDLE;
    if (implicit_order(d, s)) return CU_CAPTURE_IMPLICIT;
    return s->capture && s->capture->invalid ? SN_CU_CAPTURE_INVALIDATED : SN_CU_OK;
}

// What the next operation of the stream comes after.
const Clock *stream_order(EmuDriver *d, const Stream *s) {
    Clock *c = &d->queues[s->queue].clock;
    if (s == &d->legacy) {
        for (Stream *t = d->streams; t; t = t->next)
            if (t->blocking) clock_join(d, c, &d->queues[t->queue].clock);
    } else if (s->blocking) {
        clock_join(d, c, &d->queues[d->legacy.queue].clock);
    }
    return c;
}

int stream_submit(EmuDriver *d, Stream *s, Work *work) {
    if (!work) return SN_CU_OUT_OF_MEMORY;
    if (s->capture) return capture_add(d, s, work);
    stream_order(d, s);
    queue_push(d, s->queue, work, NULL);
    return d->error;
}

static int new_stream(EmuDriver *d, SnCudaStream *stream, unsigned flags) {
    Stream *s = driver_alloc(d, sizeof *s);
    if (!s) return SN_CU_OUT_OF_MEMORY;
    s->number = ++d->stream_number;
    s->blocking = !(flags & SN_CU_STREAM_NON_BLOCKING);
    s->queue = queue_new(d, s->number, false);
    *stream = s->queue == UINT32_MAX ? NULL : handle_new(d, HANDLE_STREAM, s);
    if (!*stream) {
        free(s);
        return SN_CU_OUT_OF_MEMORY;
    }
    s->next = d->streams;
    d->streams = s;
    return SN_CU_OK;
}

int drv_stream_create(SnCudaStream *stream, unsigned flags) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    if (!r && (!stream || flags & ~(unsigned)SN_CU_STREAM_NON_BLOCKING)) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : new_stream(d, stream, flags));
}

static void stream_free(EmuDriver *d, Stream *s) {
    queue_close(d, s->queue);
    set_free(&s->tail);
    free(s);
}

static void unlink_stream(EmuDriver *d, Stream *s) {
    Stream **at = &d->streams;
    while (*at != s) at = &(*at)->next;
    *at = s->next;
}

// What is queued still runs.
int drv_stream_destroy(SnCudaStream stream) {
    EmuDriver *d = driver_lock();
    Stream *s = d->retained ? handle_get(d, HANDLE_STREAM, stream) : NULL;
    if (!s) return driver_leave(d, SN_CU_INVALID_HANDLE);
    if (s->capture) {
        s->capture->invalid = true;
        return driver_leave(d, SN_CU_CAPTURE_UNSUPPORTED);
    }
    unlink_stream(d, s);
    stream_free(d, s);
    handle_free(d, stream);
    return driver_leave(d, d->error);
}

void stream_free_all(EmuDriver *d) {
    while (d->streams) {
        Stream *s = d->streams;
        d->streams = s->next;
        stream_free(d, s);
    }
}

static int synchronize(EmuDriver *d, const Clock *goal) {
    queue_run_until(d, goal);
    if (!d->error) clock_join(d, &d->host, goal);
    return d->error;
}

int drv_stream_synchronize(SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter_unsafe(&r);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r) r = stream_check(d, s);
    if (!r && s->capture) {
        s->capture->invalid = true;
        r = SN_CU_CAPTURE_UNSUPPORTED;
    }
    return driver_leave(d, r ? r : synchronize(d, stream_order(d, s)));
}

// ---- events -------------------------------------------------------------------------------------

void event_release(Event *e) {
    if (!e || --e->refs) return;
    clock_free(&e->clock);
    set_free(&e->nodes);
    free(e);
}

int drv_event_create(SnCudaEvent *event, unsigned flags) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    if (!r && (!event || flags > 3)) r = SN_CU_INVALID_VALUE; // 1: blocking wait, no matter here
    if (r) return driver_leave(d, r);
    Event *e = driver_alloc(d, sizeof *e);
    *event = e ? handle_new(d, HANDLE_EVENT, e) : NULL;
    if (!*event) {
        free(e);
        return driver_leave(d, SN_CU_OUT_OF_MEMORY);
    }
    e->refs = 1;
    e->timed = !(flags & SN_CU_EVENT_NO_TIMING);
    return driver_leave(d, SN_CU_OK);
}

int drv_event_destroy(SnCudaEvent event) {
    EmuDriver *d = driver_lock();
    Event *e = d->retained ? handle_get(d, HANDLE_EVENT, event) : NULL;
    if (!e) return driver_leave(d, SN_CU_INVALID_HANDLE);
    handle_free(d, event);
    event_release(e);
    return driver_leave(d, d->error);
}

static int record(EmuDriver *d, Event *e, Stream *s) {
    if (s->capture) return capture_record(d, s, e);
    Work *w = driver_alloc(d, sizeof *w);
    if (!w) return SN_CU_OUT_OF_MEMORY;
    w->refs = 1;
    w->kind = WORK_RECORD;
    w->event = e;
    e->refs++;
    e->recorded = true, e->capture = 0;
    e->queue = s->queue;
    e->tick = d->queues[s->queue].pushed + 1;
    int r = stream_submit(d, s, w);
    clock_free(&e->clock);
    clock_join(d, &e->clock, &d->queues[s->queue].clock);
    return r;
}

int drv_event_record(SnCudaEvent event, SnCudaStream stream) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Event *e = r ? NULL : handle_get(d, HANDLE_EVENT, event);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r && !e) r = SN_CU_INVALID_HANDLE;
    if (!r) r = stream_check(d, s);
    return driver_leave(d, r ? r : record(d, e, s));
}

int drv_stream_wait(SnCudaStream stream, SnCudaEvent event, unsigned flags) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    Event *e = r ? NULL : handle_get(d, HANDLE_EVENT, event);
    Stream *s = r ? NULL : stream_get(d, stream);
    if (!r && !e) r = SN_CU_INVALID_HANDLE;
    if (!r) r = stream_check(d, s);
    if (!r && flags) r = SN_CU_INVALID_VALUE;
    if (!r && (s->capture || e->capture))
        r = capture_wait(d, s, e);
    else if (!r)
        clock_join(d, &d->queues[s->queue].clock, &e->clock);
    return driver_leave(d, r);
}

static bool done(const EmuDriver *d, const Event *e) {
    return !e->recorded || d->queues[e->queue].done >= e->tick;
}

// Whether the host may look at the event. On a captured one the capture ends in an error.
static int check_event(EmuDriver *d, SnCudaEvent event, Event **e) {
    *e = handle_get(d, HANDLE_EVENT, event);
    if (!*e) return SN_CU_INVALID_HANDLE;
    if (!(*e)->capture) return SN_CU_OK;
    Capture *c = capture_find(d, (*e)->capture);
    if (c) c->invalid = true;
    return CU_CAPTURED_EVENT;
}

// Asking lets the device do a little, so that a host that asks often enough sees the end.
int drv_event_query(SnCudaEvent event) {
    int r = 0;
    Event *e = NULL;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (!r) r = check_event(d, event, &e);
    if (r || done(d, e)) {
        if (!r) clock_join(d, &d->host, &e->clock);
        return driver_leave(d, r ? r : d->error);
    }
    queue_step(d);
    return driver_leave(d, d->error ? d->error : SN_CU_NOT_READY);
}

int drv_event_synchronize(SnCudaEvent event) {
    int r = 0;
    Event *e = NULL;
    EmuDriver *d = driver_enter_unsafe(&r);
    if (!r) r = check_event(d, event, &e);
    return driver_leave(d, r ? r : synchronize(d, &e->clock));
}

static int elapsed(EmuDriver *d, float *milliseconds, SnCudaEvent start, SnCudaEvent end) {
    Event *a = NULL, *b = NULL;
    int r = check_event(d, start, &a);
    if (!r) r = check_event(d, end, &b);
    if (r) return r;
    if (!a->timed || !b->timed || !a->recorded || !b->recorded) return SN_CU_INVALID_HANDLE;
    if (!done(d, a) || !done(d, b)) return SN_CU_NOT_READY;
    *milliseconds = (float)(b->time - a->time);
    return SN_CU_OK;
}

int drv_event_elapsed(float *milliseconds, SnCudaEvent start, SnCudaEvent end) {
    int r = 0;
    EmuDriver *d = driver_enter(&r);
    if (!r && !milliseconds) r = SN_CU_INVALID_VALUE;
    return driver_leave(d, r ? r : elapsed(d, milliseconds, start, end));
}

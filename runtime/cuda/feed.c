// See feed.h. Three orders make it right, each an event:
//
//   copied   the host writes a slot again when the bus has read it
//   copied   the computing stream moves what has arrived
//   taken    the bus writes a staging place again when the computing stream has moved it away
#include "runtime/cuda/feed.h"
#include "runtime/cuda/cuda.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned char *at; // pinned
    uint64_t staging;
    SnCudaEvent copied, taken;
    bool busy, sent; // the host has not waited for `copied`; `taken` was recorded
} FeedSlot;

struct SnFeed {
    const SnCudaApi *api;
    SnCudaStream computing, copying;
    FeedSlot slot[SN_FEED_SLOTS];
    size_t bytes; // of one
    uint32_t current;
};

static SnStatus cu(const SnFeed *f, int code, const char *what, SnError *e) {
    return sn_cuda_check(f->api, code, what, e);
}

static SnStatus open_slot(SnFeed *f, FeedSlot *s, size_t bytes, SnError *e) {
    void *at = NULL;
    SnStatus status = cu(f, f->api->host_alloc(&at, bytes + !bytes, 0), "pinned memory", e);
    if (status) return status;
    s->at = at;
    memset(at, 0, bytes);
    status = cu(f, f->api->event_create(&s->copied, SN_CU_EVENT_NO_TIMING), "an event", e);
    return status ? status
                  : cu(f, f->api->event_create(&s->taken, SN_CU_EVENT_NO_TIMING), "an event", e);
}

SnStatus sn_feed_open(const SnCudaApi *api, SnCudaStream computing, uint64_t staging, size_t bytes,
                      SnFeed **out, SnError *e) {
    SnFeed *f = calloc(1, sizeof *f);
    if (!f) return sn_fail(e, SN_MACHINE, "out of memory");
    *f = (SnFeed){.api = api, .computing = computing, .bytes = bytes};
    SnStatus s = cu(f, api->stream_create(&f->copying, SN_CU_STREAM_NON_BLOCKING), "a stream", e);
    for (uint32_t i = 0; i < SN_FEED_SLOTS && !s; i++) {
        f->slot[i].staging = staging + i * bytes;
        s = open_slot(f, &f->slot[i], bytes, e);
    }
    if (s)
        sn_feed_close(f);
    else
        *out = f;
    return s;
}

void sn_feed_close(SnFeed *f) {
    if (!f) return;
    if (f->copying) f->api->stream_synchronize(f->copying);
    for (uint32_t i = 0; i < SN_FEED_SLOTS; i++) {
        FeedSlot *s = &f->slot[i];
        if (s->copied) f->api->event_destroy(s->copied);
        if (s->taken) f->api->event_destroy(s->taken);
        if (s->at) f->api->host_free(s->at);
    }
    if (f->copying) f->api->stream_destroy(f->copying);
    free(f);
}

SnStatus sn_feed_slot(SnFeed *f, unsigned char **at, SnError *e) {
    FeedSlot *s = &f->slot[f->current];
    *at = s->at;
    SnStatus status = SN_OK;
    if (s->busy) status = cu(f, f->api->event_synchronize(s->copied), "waiting for a copy", e);
    s->busy = false;
    if (!status && f->api->touch) f->api->touch(s->at, f->bytes, true);
    return status;
}

static SnStatus carry(SnFeed *f, const FeedSlot *s, const SnFeedPiece *p, uint32_t n, SnError *e) {
    const SnCudaApi *api = f->api;
    SnStatus status =
        s->sent ? cu(f, api->stream_wait(f->copying, s->taken, 0), "an event", e) : SN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = cu(f,
                    api->copy_to_device(s->staging + p[i].offset, s->at + p[i].offset, p[i].bytes,
                                        f->copying),
                    "copying to the device", e);
    return status ? status : cu(f, api->event_record(s->copied, f->copying), "an event", e);
}

static SnStatus take(SnFeed *f, const FeedSlot *s, const SnFeedPiece *p, uint32_t n, SnError *e) {
    const SnCudaApi *api = f->api;
    SnStatus status = cu(f, api->stream_wait(f->computing, s->copied, 0), "an event", e);
    for (uint32_t i = 0; i < n && !status; i++)
        status =
            cu(f, api->copy_on_device(p[i].to, s->staging + p[i].offset, p[i].bytes, f->computing),
               "taking what was copied", e);
    return status ? status : cu(f, api->event_record(s->taken, f->computing), "an event", e);
}

SnStatus sn_feed_send(SnFeed *f, const SnFeedPiece *pieces, uint32_t n, SnError *e) {
    FeedSlot *s = &f->slot[f->current];
    SnStatus status = carry(f, s, pieces, n, e);
    if (!status) status = take(f, s, pieces, n, e);
    s->busy = s->sent = true;
    f->current = (f->current + 1) % SN_FEED_SLOTS;
    return status;
}

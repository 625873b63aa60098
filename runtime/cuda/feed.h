// What the host hands to the device for each run of a section: inputs, scalars, the environment.
//
// It lies in pinned memory that exists twice, and is copied by a stream of its own into device memory that
// exists twice too; the computing stream waits for an event and moves it to where kernels read it. So the
// host fills the next run's data, and the bus carries it, while the device works on this one.
#pragma once
#include "runtime/cuda/api.h"
#include "runtime/sinter.h"
#include <stddef.h>

enum { SN_FEED_SLOTS = 2 };
typedef struct SnFeed SnFeed;
typedef struct { // `bytes` from `offset` in the slot to device address `to`
    uint64_t to;
    size_t offset, bytes;
} SnFeedPiece;

// staging: device memory of SN_FEED_SLOTS times `bytes`, which stays the caller's. Slots begin as zeros.
SnStatus sn_feed_open(const SnCudaApi *api, SnCudaStream computing, uint64_t staging, size_t bytes,
                      SnFeed **out, SnError *e);
// The computing stream must be idle.
void sn_feed_close(SnFeed *f);
// The slot that is sent next, `bytes` long; waits until the copy that read it last is done.
SnStatus sn_feed_slot(SnFeed *f, unsigned char **at, SnError *e);
// Sends pieces of that slot. What is put into the computing stream from now on sees them.
SnStatus sn_feed_send(SnFeed *f, const SnFeedPiece *pieces, uint32_t n, SnError *e);

// Reads ahead: one thread fills buffers while the run computes. What was not asked for, or could not be
// (no thread, no memory), the caller reads itself; so asking is a hint and cannot fail.
#pragma once
#include "runtime/sinter.h"

typedef struct SnLoader SnLoader;
// Samples [first, first + count) of a split for one field of the data.
typedef struct {
    int field;
    SnSplit split;
    uint64_t first;
    int64_t count;
} SnRequest;
// Does a request. Runs in the loader's thread beside the caller's others, so it changes nothing shared.
typedef SnStatus SnFill(const void *data, const SnRequest *r, void *to, SnError *e);

// For fields 0 ... fields - 1. NULL when there is no memory or no thread.
SnLoader *sn_loader_new(SnFill *fill, const void *data, int fields);
void sn_loader_free(SnLoader *l); // finishes what it is at
// Asks for `bytes` bytes; takes the place of what was asked for the same field before, unless that is
// being read.
void sn_loader_ask(SnLoader *l, const SnRequest *r, size_t bytes);
// If that was asked for: waits for it, copies it to `to`, gives its status, and forgets it. Else false,
// and what was asked for the field instead is forgotten.
bool sn_loader_take(SnLoader *l, const SnRequest *r, void *to, SnStatus *s, SnError *e);

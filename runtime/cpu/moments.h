// Moments of optimizers in a file instead of memory: the region is the file, mapped. The kernel writes pages out and
// reads them in; what is said here is which will be wanted soon, and which are done with.
#pragma once
#include "runtime/sinter.h"

// Maps a file of so many bytes in the folder over [at, at + bytes), both multiples of a page. All of it has room on
// the disk. It has no name: when the process ends, however it ends, the room is free. An error: no such folder, no
// room.
SnStatus sn_moments_map(void *at, int64_t bytes, const char *folder, SnError *e);
// Advice for pages that lie in [at, at + bytes), whole or in part.
void sn_moments_soon(void *at, int64_t bytes);
void sn_moments_done(void *at, int64_t bytes);

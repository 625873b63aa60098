// The moment at which temporary memory is fullest, in a function that memplan placed: what runs then, and what
// lies there.
#pragma once
#include "passes/pass.h"

// Values of one name, numbers of instances as '*', in the order of their bytes.
typedef struct {
    const char *name;
    NodeId first; // of them
    uint32_t count;
    int64_t bytes;
} PeakLine;
typedef struct {
    NodeId at;     // the group that runs then; NONE: nothing is temporary
    int64_t bytes; // of all that is alive
    int64_t kept;  // alive when the backward pass starts; 0: there is none
    VEC(PeakLine) alive;
} Peak;

// align: of the target. O(nodes + edges), in a.
Peak func_peak(Arena *a, const Module *m, const Func *f, int64_t align);
// "h.*.attn x 12 72.0 MiB, logits 24.5 MiB and 3 others 1.0 KiB", with `most` names.
const char *peak_text(Arena *a, const Peak *p, uint32_t most);
// What a value is called in such lines: its name, or its op's.
const char *peak_name(Arena *a, const Module *m, const Func *f, NodeId n);

// What the engines are made of. comm.c checks, counts and names every collective before an engine sees it.
#pragma once
#include "runtime/comm/reduce.h"
#include <stdatomic.h>

struct SnComm {
    const SnCommOps *ops;
    SnControl *control;
    uint32_t rank, size;
    atomic_bool aborted;
    uint64_t started, completed; // collectives, on all channels
    SnChannel *channels;         // a list
};

struct SnChannel {
    SnComm *comm;
    SnChannel *next;
    uint32_t index; // of the group, the same on all ranks
    uint32_t n, me; // members, and this rank's place among them
    uint32_t *ranks;
    uint64_t begun;
    void *own; // the engine's
};

// What members compare before they exchange anything.
typedef struct {
    uint64_t begun;
    int64_t length;
    uint32_t parts;
    uint8_t op, kind, elem, zero;
    char name[64], line[64];
} SnHeader;

void sn_header_of(const SnChannel *channel, const SnCut *cut, SnHeader *to);
// headers: [n] of the members. SN_PLAN: they differ.
SnStatus sn_header_compare(const SnChannel *channel, const SnHeader *const *headers, SnError *e);

// Each makes the engine's part. Collective.
SnStatus sn_shm_open(SnControl *control, SnComm **out, SnError *e);
SnStatus sn_mpi_comm(SnControl *control, SnMpi *mpi, SnComm **out, SnError *e);

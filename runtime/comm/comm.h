// Collectives: a table of functions that a device and the program call, and the engines behind it.
//
//   alone   one rank: copies
//   shm     ranks on one machine: they read each other's pieces in shared memory (shm.c)
//   mpi     ranks anywhere, over Open MPI, found when the run starts (mpi.c)
//
// Meaning, the same on every engine and to the bit: element i of a sum is ((x0 + x1) + x2) + ... over the members
// in the order of the group, in f32; bf16 and f16 are widened, summed in f32 and rounded once; integers wrap.
// Largest and least are IEEE 754-2019's maximum and minimum: NaN if any is, -0 below +0.
//
// All members of a group start the same collectives in the same order; a difference is found and named, as is
// one that never starts (pulse.h). One thread at a time uses a comm, but for `abort`.
//
// The table's shape is that of libraries that work in streams of a device: `start` may return before it is done,
// `poll` tells how far they are and of faults, `abort` ends what waits. On CPUs `start` returns when it is done.
#pragma once
#include "runtime/comm/control.h"
#include "runtime/plan.h"

typedef enum {
#define COLLECTIVE(name, in, out, meaning) SN_##name,
#include "runtime/comm/comm.def"
#undef COLLECTIVE
    SN_COLLECTIVES
} SnCollectiveOp;

typedef enum { SN_SUM, SN_LARGEST, SN_LEAST } SnCollectiveKind;

typedef struct {
    uint8_t op, kind, elem; // SnCollectiveOp; SnCollectiveKind, of reductions; SnElem
    const char *name;       // what it computes, "h.7.attn.wq", and
    const char *line;       // where that stands, "llama.sn:31"; both live as long as it runs
} SnCollective;

// One of several tensors that are exchanged together. in == out is allowed, so is one's own block of the larger
// of them: in == out + place * count for all_gather, out == in + place * count for reduce_scatter. They
// must not overlap otherwise.
typedef struct {
    const void *in;
    void *out;
    int64_t count; // elements of a block (comm.def); 0 is allowed
} SnPart;

typedef struct SnComm SnComm;
typedef struct SnChannel SnChannel;

typedef struct {
    const char *name;
    // Collective over all ranks of the world: each names the group that it is in, so that the groups are a
    // partition. The channel is freed with the comm.
    SnStatus (*group)(SnComm *comm, SnChannel *channel, SnError *e);
    SnStatus (*start)(SnChannel *channel, const SnCollective *c, const SnPart *parts, uint32_t n,
                      void *stream, SnError *e);
    SnStatus (*poll)(SnComm *comm, uint64_t *completed, SnError *e);
    void (*abort)(SnComm *comm); // from any thread
    void (*free)(SnComm *comm);
} SnCommOps;

// engine: "shm", "mpi", or NULL: what fits: shared memory where all ranks are on this machine, else MPI where
// Open MPI started them. mpi: opened before (mpi.h), or NULL. Collective.
typedef struct SnMpi SnMpi;
SnStatus sn_comm_open(SnControl *control, SnMpi *mpi, const char *engine, SnComm **out, SnError *e);
void sn_comm_free(SnComm *comm); // of all channels too; NULL is allowed
const char *sn_comm_engine(const SnComm *comm);

// ranks: rising, with this rank among them; label: what the group is called in messages: "data".
SnStatus sn_comm_group(SnComm *comm, const char *label, const uint32_t *ranks, uint32_t n,
                       SnChannel **out, SnError *e);
uint32_t sn_channel_size(const SnChannel *channel);
uint32_t sn_channel_place(const SnChannel *channel); // of this rank in the group
// stream: of the device, where it has any; CPUs: NULL. SN_PEER: another rank has ended or never came; *e says
// which, and all later calls say the same. SN_PLAN: the members do not start the same.
SnStatus sn_comm_start(SnChannel *channel, const SnCollective *c, const SnPart *parts, uint32_t n,
                       void *stream, SnError *e);
// *completed: of all that were started, on all channels together, the first so many are done.
SnStatus sn_comm_poll(SnComm *comm, uint64_t *completed, SnError *e);
// What waits returns with SN_PEER, as do all later calls. From any thread; the control plane does so when
// the run fails.
void sn_comm_abort(SnComm *comm);

const char *sn_collective_name(uint32_t op); // "all_gather"; "?" of no such op

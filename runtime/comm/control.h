// What ranks tell each other beside tensors: who they are, whether they were started alike, that they live, what
// they are at, and why one of them ends. A star of sockets to rank 0: inherited under the own launcher, else TCP.
// It carries no tensors.
//
// After the handshake a thread of its own reads and writes, so that a rank that computes for a minute is
// still known to live. When one rank fails, rank 0 says so to all: what waits is aborted (sn_control_on_end),
// and every later call fails with SN_PEER and the same words. Nobody waits for ever: each wait has a deadline.
#pragma once
#include "runtime/comm/pulse.h"

typedef struct SnControl SnControl;

typedef struct {
    const SnWorld *world; // the texts that it points to live as long as the control
    // What must be equal on all ranks, by name: the hash of the plan, the mesh, the seed, ... At most 64 KiB.
    const SnFact *facts;
    uint32_t nfacts;
    double patience; // seconds until all ranks must have come
    double hang;     // seconds without a word of a rank, or in one collective, until the run fails
    // Gives rank 0's bytes to all over what connects them already (MPI), so that its address need not be known;
    // NULL: there is nothing. Collective.
    SnStatus (*spread)(void *user, void *bytes, size_t n, SnError *e);
    void *user;
} SnControlSpec;

// Collective; returns when all ranks have come and were started alike. SN_USER: they were not, the port is taken
// or the address is none; SN_PEER: another rank has ended, or rank 0 says what is wrong. *out is set in any
// case but without memory, for sn_control_tells; end it by sn_control_close.
SnStatus sn_control_open(const SnControlSpec *spec, SnControl **out, SnError *e);
// Whether this rank should print why the run failed: rank 0, who knows it first, and who has lost rank 0.
bool sn_control_tells(SnControl *c);
const SnWorld *sn_control_world(const SnControl *c);
const SnWelcome *sn_control_place(const SnControl *c); // on which machine, how many CPUs
SnPulse *sn_control_pulse(SnControl *c);
void sn_control_set_hang(SnControl *c, double seconds); // on all ranks alike

// Bytes of rank 0 for all. Collective; at most SN_MESSAGE_MOST.
SnStatus sn_control_share(SnControl *c, void *bytes, size_t n, SnError *e);
// n bytes of each rank for rank 0, in order of ranks: all [size][n], NULL elsewhere. Collective.
SnStatus sn_control_gather(SnControl *c, const void *bytes, size_t n, void *all, SnError *e);
// A group that this rank is a member of; all ranks make their groups in one order. *index: its number.
SnStatus sn_control_group(SnControl *c, const char *label, const uint32_t *ranks, uint32_t n,
                          uint32_t *index, SnError *e);

// SN_OK while the run goes on, else why it fails.
SnStatus sn_control_state(SnControl *c, SnError *e);
// Called once, when it fails, by the control's thread, or at once when it has failed: sets a flag, no more.
// NULL takes it back; afterwards it is not running.
void sn_control_on_end(SnControl *c, void (*fn)(void *user), void *user);
// This rank fails: its last words. All others fail with them.
void sn_control_fail(SnControl *c, SnStatus status, const char *text);
// Says goodbye and frees it; NULL is allowed. Rank 0 waits until all others have done so; a rank that ends
// instead is the failure returned.
SnStatus sn_control_close(SnControl *c, SnError *e);

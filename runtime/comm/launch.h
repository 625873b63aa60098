// Starts the ranks of one machine: `--ranks N`. The process becomes their parent and the ranks are forks of it, so
// nothing is loaded twice, and sockets and the command line are simply there.
//
// The parent passes on signals, writes what ranks but 0 print behind "[rank 3 node] ", and decides the exit
// status. Nothing is left behind: when one rank fails the others have `grace` seconds to end by themselves, then
// are asked to (SIGTERM), then ended (SIGKILL), each by its own pid; when the parent dies the kernel ends them.
#pragma once
#include "runtime/comm/world.h"

// What a rank exits with when another one failed (SN_PEER). It decides only where no rank has another status.
enum { SN_EXIT_PEER = 4 };

// Returns in every rank, *status < 0, with the environment that sn_world_read expects; and in the parent when all
// have ended, *status what to exit with: of the first rank that failed, 128 + signal if it was killed. Call it
// before there are other threads. SN_USER: the environment says that somebody else has started ranks (exit
// status 2); SN_MACHINE: no processes or descriptors; nothing runs then.
SnStatus sn_launch(uint32_t ranks, double grace, int *status, SnError *e);

// Open MPI, found when the run starts: an executable needs it only where it is used. Everything is called by
// the symbols of libmpi.so.40, with no header of it; MPICH's library has another interface and is refused.
//
// Sums are made here, in the order of the members, of bytes that MPI moves: its own reductions may order them as
// they like.
#pragma once
#include "runtime/comm/comm.h"

// Begins MPI for the process; call it before anything of CUDA, from the thread that uses it later. SN_USER: not
// installed, not Open MPI's, or not what started the ranks.
SnStatus sn_mpi_open(const SnWorld *world, SnMpi **out, SnError *e);
// For SnControlSpec.spread; user: the SnMpi.
SnStatus sn_mpi_spread(void *user, void *bytes, size_t n, SnError *e);
// good: the run did not fail, all ranks are here. Else MPI is left as it is: ending it would wait for who has
// gone. After the comm; NULL is allowed.
void sn_mpi_close(SnMpi *mpi, bool good);

// Which rank this process is, of how many, and where rank 0 listens: what the program that started it put
// into the environment. Asked in this order, so that the innermost launcher wins:
//
//   launcher      rank                    ranks                   here                            here in all
//   own           SINTER_RANK             SINTER_WORLD            SINTER_LOCAL                    SINTER_LOCALS
//   torchrun      RANK                    WORLD_SIZE              LOCAL_RANK                      LOCAL_WORLD_SIZE
//   Open MPI      OMPI_COMM_WORLD_RANK    OMPI_COMM_WORLD_SIZE    OMPI_COMM_WORLD_LOCAL_RANK      OMPI_COMM_WORLD_LOCAL_SIZE
//   PMI           PMI_RANK                PMI_SIZE                MPI_LOCALRANKID                 MPI_LOCALNRANKS
//   Slurm         SLURM_PROCID            SLURM_NTASKS            SLURM_LOCALID                   -
//
// Slurm counts only inside of a step (SLURM_STEP_ID): a batch script has SLURM_PROCID=0 too, and would wait
// for ranks that never come.
//
// Rank 0 listens at MASTER_ADDR, or at the first host of the Slurm step. The port is SINTER_PORT, else
// MASTER_PORT + 1, since torchrun holds MASTER_PORT for its own store, else one made of the Slurm job's
// number, the same on all ranks. Under the own launcher there are no addresses: sockets are inherited.
#pragma once
#include "runtime/sinter.h"

enum { SN_MAX_RANKS = 16384 };

typedef enum {
    SN_BY_NOBODY, // one rank
    SN_BY_SINTER,
    SN_BY_TORCHRUN,
    SN_BY_OPEN_MPI,
    SN_BY_PMI,
    SN_BY_SLURM
} SnLauncher;

typedef struct {
    SnLauncher by;
    uint32_t rank, size;    // of all ranks
    uint32_t local, locals; // of those on this machine; locals 0: not known before the handshake
    char node[64];          // the name of this machine, without its domain
    char host[256];         // where rank 0 listens; "" not known, or not needed
    uint16_t port;          // 0: not known, or not needed
    char run[80];           // what this run is called where it was started; "" nothing
    const char *sockets;    // own launcher: descriptors, "5" or, of rank 0, "5,6,7"; else NULL
} SnWorld;

// environment: as environ, "NAME=value", NULL at its end; must live as long as *out. SN_USER: a number is
// none, one of a pair is missing, or two launchers contradict each other: a mistake in how the program was
// started (exit status 2).
SnStatus sn_world_read(char *const *environment, SnWorld *out, SnError *e);
// Whether these are the ranks that a program was built for; axes: "data=4 x tensor=2", ranks their product.
SnStatus sn_world_fits(const SnWorld *w, const char *axes, uint64_t ranks, SnError *e);
// The launcher's name, for messages: "torchrun".
const char *sn_launcher_name(SnLauncher by);
// What a rank's lines of errors begin with: "[rank 3 node12] "; "" of rank 0, and under the own launcher, which
// writes it itself.
void sn_world_prefix(const SnWorld *w, char *to, size_t size);

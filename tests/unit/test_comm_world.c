// Who started a rank, and which one it is (runtime/comm/world.h): every launcher's variables, what is left over of
// others, and what is wrong with them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
//
#include "runtime/comm/world.h"
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *environment[12]; // NULL at its end
    const char *expected;        // "launcher rank/size local/locals host:port run", or a message
} Case;

static const Case cases[] = {
    {{"HOME=/x"}, "nobody 0/1 0/1 :0 "},
    {{"SINTER_RANK=1", "SINTER_WORLD=2", "SINTER_LOCAL=1", "SINTER_LOCALS=2", "SINTER_SOCKETS=5"},
     "--ranks 1/2 1/2 :0 "},
    // By hand, on one machine and on two.
    {{"SINTER_RANK=0", "SINTER_WORLD=2", "SINTER_LOCAL=0", "SINTER_LOCALS=2", "SINTER_PORT=99"},
     "--ranks 0/2 0/2 127.0.0.1:99 "},
    {{"SINTER_RANK=0", "SINTER_WORLD=2", "SINTER_PORT=99"},
     "started as rank 0 of 2 by --ranks, and MASTER_ADDR is not set: where rank 0 listens is not "
     "known"},
    {{"RANK=5", "WORLD_SIZE=8", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=4", "MASTER_ADDR=a.b",
      "MASTER_PORT=29500", "TORCHELASTIC_RUN_ID=job7"},
     "torchrun 5/8 1/4 a.b:29501 job7"},
    {{"RANK=5", "WORLD_SIZE=8", "MASTER_ADDR=a.b", "MASTER_PORT=29500", "SINTER_PORT=4"},
     "torchrun 5/8 0/0 a.b:4 "},
    {{"RANK=0", "WORLD_SIZE=1"}, "torchrun 0/1 0/1 :0 "},
    {{"RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=a.b"},
     "started as rank 1 of 2 by torchrun, and neither MASTER_PORT nor SINTER_PORT is set: where "
     "rank 0 "
     "listens is not known"},
    // torchrun within Slurm, one agent for each of two nodes.
    {{"RANK=5", "WORLD_SIZE=8", "MASTER_ADDR=a", "MASTER_PORT=1", "SLURM_STEP_ID=0",
      "SLURM_PROCID=1", "SLURM_NTASKS=2"},
     "torchrun 5/8 0/0 a:2 "},
    {{"OMPI_COMM_WORLD_RANK=3", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_RANK=1",
      "OMPI_COMM_WORLD_LOCAL_SIZE=2", "PMIX_NAMESPACE=77"},
     "Open MPI 3/4 1/2 :0 77"},
    {{"OMPI_COMM_WORLD_RANK=3", "OMPI_COMM_WORLD_SIZE=4", "MASTER_ADDR=h", "MASTER_PORT=10"},
     "Open MPI 3/4 0/0 h:11 "},
    {{"PMI_RANK=1", "PMI_SIZE=2", "MPI_LOCALRANKID=1", "MPI_LOCALNRANKS=2", "SINTER_PORT=7"},
     "PMI 1/2 1/2 127.0.0.1:7 "},
    {{"SLURM_STEP_ID=0", "SLURM_PROCID=3", "SLURM_NTASKS=4", "SLURM_LOCALID=1",
      "SLURM_JOB_ID=1234567", "SLURM_STEP_NODELIST=node[003-010,12],other"},
     "Slurm 3/4 1/0 node003:24567 1234567"},
    {{"SLURM_STEP_ID=0", "SLURM_PROCID=3", "SLURM_NTASKS=4", "SLURM_JOB_ID=9",
      "SLURM_STEP_NODELIST=alpha,beta"},
     "Slurm 3/4 0/0 alpha:20009 9"},
    {{"SLURM_STEP_ID=0", "SLURM_PROCID=3", "SLURM_NTASKS=4", "SLURM_STEP_NODELIST=[x"},
     "the list of Slurm's hosts, '[x', is none"},
    // A batch script is no rank.
    {{"SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_JOB_ID=9"}, "nobody 0/1 0/1 :0 "},
    // Bad numbers, halves, contradictions.
    {{"RANK=4", "WORLD_SIZE=4"}, "RANK is '4', no whole number from 0 to 3"},
    {{"RANK=-1", "WORLD_SIZE=4"}, "RANK is '-1', no whole number from 0 to 3"},
    {{"RANK=1x", "WORLD_SIZE=4"}, "RANK is '1x', no whole number from 0 to 3"},
    {{"RANK= 1", "WORLD_SIZE=4"}, "RANK is ' 1', no whole number from 0 to 3"},
    {{"RANK=0", "WORLD_SIZE=0"}, "WORLD_SIZE is '0', no whole number from 1 to 16384"},
    {{"RANK=0", "WORLD_SIZE=99999999999999999999"},
     "WORLD_SIZE is '99999999999999999999', no whole number from 1 to 16384"},
    {{"RANK=0"}, "RANK is set and WORLD_SIZE is not: set both, or neither"},
    {{"WORLD_SIZE=2", "RANK="}, "WORLD_SIZE is set and RANK is not: set both, or neither"},
    {{"RANK=1", "WORLD_SIZE=4", "LOCAL_RANK=2", "LOCAL_WORLD_SIZE=2"},
     "LOCAL_RANK is '2', no whole number from 0 to 1"},
    {{"RANK=1", "WORLD_SIZE=4", "LOCAL_RANK=2", "LOCAL_WORLD_SIZE=5"},
     "LOCAL_WORLD_SIZE is '5', no whole number from 1 to 4"},
    {{"RANK=1", "WORLD_SIZE=4", "MASTER_ADDR=a", "MASTER_PORT=65535"},
     "MASTER_PORT is '65535', no whole number from 1 to 65534"},
    {{"RANK=0", "WORLD_SIZE=1", "OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4"},
     "WORLD_SIZE is 1, but Open MPI started 4 processes (OMPI_COMM_WORLD_SIZE): unset what is left "
     "over of "
     "another run"},
    {{"RANK=0", "WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4"},
     "RANK is 0 and OMPI_COMM_WORLD_RANK is 2: unset what is left over of another run"},
    {{"RANK=0", "WORLD_SIZE=2", "SLURM_STEP_ID=1", "SLURM_PROCID=1", "SLURM_NTASKS=2",
      "MASTER_ADDR=a", "MASTER_PORT=8", "TORCHELASTIC_RUN_ID=x"},
     "torchrun 0/2 0/0 a:9 x"},
};

static void each_launcher(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *environment[12], got[1200];
        SnWorld w;
        SnError e = {SN_OK, ""};
        memcpy(environment, cases[i].environment, sizeof environment);
        SnStatus s = sn_world_read(environment, &w, &e);
        if (s)
            snprintf(got, sizeof got, "%s", e.text);
        else
            snprintf(got, sizeof got, "%s %u/%u %u/%u %s:%u %s", sn_launcher_name(w.by), w.rank,
                     w.size, w.local, w.locals, w.host, w.port, w.run);
        assert_true(s == SN_OK || s == SN_USER);
        if (strcmp(got, cases[i].expected)) fail_msg("case %zu\n%s\n%s", i, got, cases[i].expected);
        assert_int_equal(sn_world_read(environment, &w, NULL), s);
    }
}

static void what_a_program_was_built_for(void **state) {
    (void)state;
    SnWorld w = {.rank = 3, .size = 6, .by = SN_BY_TORCHRUN, .node = "node12"};
    SnError e;
    char prefix[64];
    assert_int_equal(sn_world_fits(&w, "data=3 x tensor=2", 6, &e), SN_OK);
    assert_int_equal(sn_world_fits(&w, "data=4 x tensor=2", 8, &e), SN_USER);
    assert_string_equal(e.text, "built for data=4 x tensor=2 = 8 ranks, started as 6");
    sn_world_prefix(&w, prefix, sizeof prefix);
    assert_string_equal(prefix, "[rank 3 node12] ");
    w.by = SN_BY_SINTER;
    sn_world_prefix(&w, prefix, sizeof prefix);
    assert_string_equal(prefix, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_launcher),
        cmocka_unit_test(what_a_program_was_built_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// What this rank is at, written by the thread that runs the step and read by the one that tells rank 0 once
// a second; and what rank 0 makes of all ranks' words when somebody waits too long:
//
//   rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data 4-7: it is at
//   'update/grad_norm'; ranks 4 6 7 wait since 61 s
//
// A rank has begun collective number s of a group when it has begun s of that group in all: groups have the same
// number on all ranks, since all make them in one order.
#pragma once
#include "runtime/comm/message.h"

typedef struct SnPulse SnPulse;

SnPulse *sn_pulse_new(void); // NULL: out of memory
void sn_pulse_free(SnPulse *w);
// at: the command that begins, lives as long as the watch.
void sn_pulse_at(SnPulse *w, uint64_t step, uint32_t pass, const char *at);
// Around a collective. The texts live until `end`.
void sn_pulse_begin(SnPulse *w, uint32_t group, uint32_t op, const char *name, const char *line);
void sn_pulse_end(SnPulse *w);
void sn_pulse_group(SnPulse *w); // one more
// Writes the beat of now; texts longer than 200 bytes are cut.
void sn_pulse_message(SnPulse *w, SnMessage *m);

// One rank, as rank 0 knows it.
typedef struct {
    char node[64];
    SnBeat beat;
    double age;         // seconds since that beat
    bool left;          // it has said that it is done
    char texts[3][208]; // of the beat: at, name, line
    struct {
        char label[64];
        uint32_t n, *ranks;
    } group[SN_MAX_GROUPS];
} SnStanding;

void sn_standing_beat(SnStanding *s, const SnBeat *beat); // takes over a copy
// Looks for a collective that somebody waits in for longer than `seconds`, and for the rank that it waits for;
// true: text says both. O(ranks * members).
bool sn_hang_find(const SnStanding *ranks, uint32_t n, double seconds, char *text, size_t size);
// "rank 3", "ranks 0-3 7", at most a dozen of them.
void sn_ranks_text(const uint32_t *ranks, uint32_t n, char *text, size_t size);

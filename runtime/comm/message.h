// What ranks say to each other beside the tensors, as bytes. A message is a head of 8 bytes and at most
// SN_MESSAGE_MOST more, so that whoever sends nonsense, by fault or by mistake of port, costs a bounded
// amount of memory and is found out at once:
//
//   u32 bytes behind the head | u16 kind | u16 SN_MESSAGE_MARK
//
// Numbers are little-endian, in the order of the structures below; a text is u16 length, its bytes, a zero.
// Decoding checks everything: lengths, zeros, that nothing is left over. Decoded texts point into the bytes.
// Nothing here depends on sockets: tests/fuzz/fuzz_message.c feeds it anything.
#pragma once
#include "runtime/comm/world.h"

enum { SN_MESSAGE_MOST = 64 << 10, SN_MESSAGE_HEAD = 8, SN_MESSAGE_MARK = 0x5ca1 };
enum { SN_CONTROL_VERSION = 1 }; // raised when a message changes
enum { SN_MAX_GROUPS = 32, SN_CPU_BYTES = 128 };
#define SN_HELLO_MAGIC                                                                             \
    UINT64_C(0x0a736b6e61724e53) // "SNranks\n": never changes, nor does what follows it

typedef enum {
#define MESSAGE(name, from, meaning) SN_MESSAGE_##name,
#include "runtime/comm/message.def"
#undef MESSAGE
    SN_MESSAGES
} SnMessageKind;

// A message that is being written; `failed`: it would be longer than allowed, or memory is short.
typedef struct {
    unsigned char *bytes; // malloc: the head and what is behind it
    size_t n, room;
    bool failed;
} SnMessage;

// One entry of what must be equal on all ranks.
typedef struct {
    const char *name, *value;
} SnFact;

typedef struct {
    uint32_t version, rank, size, pid;
    const char *run, *node;
    const char *machine;       // equal on ranks that can share memory
    const unsigned char *cpus; // SN_CPU_BYTES: a bit for each CPU that the rank may use
    uint32_t quota;            // of the control group, in hundredths of a CPU; 0: none
    uint32_t nfacts;
    const unsigned char *facts; // for sn_fact_next
} SnHello;

typedef struct {
    uint32_t local, locals; // of the ranks on this machine
    uint32_t machines;
    uint32_t threads; // CPUs for this rank
} SnWelcome;

// What a rank is at. In a collective (waits): which, since when; else the last command that it began.
typedef struct {
    uint64_t step;
    uint32_t pass;
    const char *at; // "update/grad_norm"
    bool waits;
    uint32_t group, op;            // op: SnCollectiveOp
    uint32_t since;                // milliseconds
    const char *name, *line;       // "h.7.attn.wq", "llama.sn:31"
    uint32_t groups;               // that it is in
    uint64_t begun[SN_MAX_GROUPS]; // collectives begun in each
} SnBeat;

typedef struct {
    uint32_t index; // groups are made in the same order on all ranks
    uint32_t n;
    const char *label;          // "data"
    const unsigned char *ranks; // n u32, for sn_group_rank
} SnGroupMessage;

typedef struct {
    uint32_t status; // SnStatus
    const char *text;
} SnEnd;

// Each begins a message and ends it; free bytes afterwards.
void sn_message_hello(SnMessage *m, const SnHello *x, const SnFact *facts);
void sn_message_welcome(SnMessage *m, const SnWelcome *x);
void sn_message_beat(SnMessage *m, const SnBeat *x);
void sn_message_group(SnMessage *m, uint32_t index, const char *label, const uint32_t *ranks,
                      uint32_t n);
void sn_message_end(SnMessage *m, const SnEnd *x);
void sn_message_bytes(SnMessage *m, SnMessageKind kind, const void *bytes, size_t n);

// Of a head: whether it is one. *bytes are to follow.
bool sn_message_head(const unsigned char head[SN_MESSAGE_HEAD], SnMessageKind *kind, size_t *bytes);
// Of what follows the head: whether it is such a message. Of a hello of another version only what is before
// `run` is known.
bool sn_hello_decode(const unsigned char *bytes, size_t n, SnHello *to);
bool sn_welcome_decode(const unsigned char *bytes, size_t n, SnWelcome *to);
bool sn_beat_decode(const unsigned char *bytes, size_t n, SnBeat *to);
bool sn_group_decode(const unsigned char *bytes, size_t n, SnGroupMessage *to);
bool sn_end_decode(const unsigned char *bytes, size_t n, SnEnd *to);
// The fact at *at, which moves to the next one; nfacts times, of a decoded hello.
SnFact sn_fact_next(const unsigned char **at);
uint32_t sn_group_rank(const SnGroupMessage *g, uint32_t i);

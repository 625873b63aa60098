// One connection of the control plane: whole messages in and out of a socket that never blocks.
#pragma once
#include "runtime/comm/message.h"

typedef struct SnMail SnMail; // a message that was read and waits for who wants it
struct SnMail {
    SnMail *next;
    size_t n;
    unsigned char bytes[];
};

typedef struct {
    int fd; // -1: closed
    unsigned char head[SN_MESSAGE_HEAD];
    unsigned char *in; // of the message under way
    size_t have, want; // of head and bytes together; want 0: not known yet
    unsigned char *out;
    size_t out_n, out_at, out_room;
    bool shut; // nothing more is written
} SnLink;

void sn_link_open(SnLink *l, int fd); // takes the descriptor over
void sn_link_close(SnLink *l);
// Adds the message to what is to be written and frees it. False: it failed, or the other side has not read
// for very long.
bool sn_link_send(SnLink *l, SnMessage *m);
bool sn_link_has_output(const SnLink *l);
// Writes what the socket takes. False: it is broken.
bool sn_link_write(SnLink *l);

typedef enum { SN_LINK_NONE, SN_LINK_MESSAGE, SN_LINK_END, SN_LINK_NONSENSE } SnLinkEvent;
// Reads until a message is whole: its kind and l->in, (*n) bytes, are valid until the next call. NONE: no more
// for now. END: the other side has closed.
SnLinkEvent sn_link_read(SnLink *l, SnMessageKind *kind, size_t *n);

// ---- making them: the errors say what the user can do ---------------------------------------------

// Listens at the port, 0 for any; *port is which. Only the loopback when host is it.
SnStatus sn_link_listen(const char *host, uint16_t *port, int *fd, SnError *e);
// Connects before the deadline (seconds of CLOCK_MONOTONIC), again and again while nobody listens yet.
SnStatus sn_link_connect(const char *host, uint16_t port, double deadline, int *fd, SnError *e);
double sn_link_now(void);

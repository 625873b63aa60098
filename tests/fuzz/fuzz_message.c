// libFuzzer on the messages between ranks: any bytes are a message or refused, never a fault, and what is accepted
// is written back as the same bytes. The first byte chooses how it is read: as a body, or from a socket.
#include "runtime/comm/link.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void same(SnMessage *m, const uint8_t *bytes, size_t n) {
    if (m->failed || m->n != n + SN_MESSAGE_HEAD ||
        (n && memcmp(m->bytes + SN_MESSAGE_HEAD, bytes, n)))
        abort();
    free(m->bytes);
}

static void hello(const uint8_t *bytes, size_t n) {
    SnHello h;
    SnMessage m;
    if (!sn_hello_decode(bytes, n, &h) || h.version != SN_CONTROL_VERSION) return;
    SnFact *facts = calloc((size_t)h.nfacts + 1, sizeof *facts);
    const unsigned char *at = h.facts;
    for (uint32_t i = 0; facts && i < h.nfacts; i++) facts[i] = sn_fact_next(&at);
    sn_message_hello(&m, &h, facts);
    same(&m, bytes, n);
    free(facts);
}

static void body(SnMessageKind kind, const uint8_t *bytes, size_t n) {
    SnMessage m;
    SnWelcome welcome;
    SnBeat beat;
    SnGroupMessage group;
    SnEnd end;
    switch (kind) {
    case SN_MESSAGE_HELLO: hello(bytes, n); break;
    case SN_MESSAGE_WELCOME:
        if (!sn_welcome_decode(bytes, n, &welcome)) break;
        sn_message_welcome(&m, &welcome);
        same(&m, bytes, n);
        break;
    case SN_MESSAGE_BEAT:
        if (!sn_beat_decode(bytes, n, &beat)) break;
        sn_message_beat(&m, &beat);
        same(&m, bytes, n);
        break;
    case SN_MESSAGE_GROUP:
        if (!sn_group_decode(bytes, n, &group)) break;
        for (uint32_t i = 0; i < group.n; i++) sn_group_rank(&group, i);
        break;
    case SN_MESSAGE_END:
        if (!sn_end_decode(bytes, n, &end)) break;
        sn_message_end(&m, &end);
        same(&m, bytes, n);
        break;
    case SN_MESSAGE_SHARE:
    case SN_MESSAGE_GATHER:
    case SN_MESSAGE_BYE:
    case SN_MESSAGES: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 1 || n > SN_MESSAGE_MOST) return 0;
    if (bytes[0] < SN_MESSAGES) {
        body((SnMessageKind)bytes[0], bytes + 1, n - 1);
        return 0;
    }
    int fd[2];
    SnLink link;
    SnMessageKind kind;
    size_t length;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) abort();
    if (send(fd[1], bytes + 1, n - 1, MSG_DONTWAIT) < 0 && n > 1) abort();
    close(fd[1]);
    sn_link_open(&link, fd[0]);
    while (sn_link_read(&link, &kind, &length) == SN_LINK_MESSAGE) body(kind, link.in, length);
    sn_link_close(&link);
    return 0;
}

// See link.h.
#define _GNU_SOURCE
#include "runtime/comm/link.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OUT_MOST = 8 << 20 }; // bytes that wait to be written

double sn_link_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void sn_link_open(SnLink *l, int fd) {
    *l = (SnLink){.fd = fd};
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); // fails on others, and may
}

void sn_link_close(SnLink *l) {
    if (l->fd >= 0) close(l->fd);
    free(l->in);
    free(l->out);
    *l = (SnLink){.fd = -1};
}

bool sn_link_send(SnLink *l, SnMessage *m) {
    size_t rest = l->out_n - l->out_at;
    bool good = !m->failed && l->fd >= 0 && !l->shut && rest + m->n <= OUT_MOST;
    if (good && l->out_n + m->n > l->out_room) {
        if (rest) memmove(l->out, l->out + l->out_at, rest);
        l->out_n = rest;
        l->out_at = 0;
        size_t room = 2 * (rest + m->n);
        unsigned char *grown = room > l->out_room ? realloc(l->out, room) : l->out;
        if (!grown) good = false;
        if (grown && room > l->out_room) l->out = grown, l->out_room = room;
    }
    if (good) memcpy(l->out + l->out_n, m->bytes, m->n), l->out_n += m->n;
    free(m->bytes);
    *m = (SnMessage){0};
    return good;
}

bool sn_link_has_output(const SnLink *l) { return l->fd >= 0 && l->out_at < l->out_n; }

bool sn_link_write(SnLink *l) {
    while (sn_link_has_output(l)) {
        ssize_t n = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        l->out_at += (size_t)n;
    }
    return true;
}

SnLinkEvent sn_link_read(SnLink *l, SnMessageKind *kind, size_t *n) {
    if (l->want && l->have == l->want) l->have = l->want = 0; // that one was seen
    for (;;) {
        bool in_head = l->have < SN_MESSAGE_HEAD;
        if (!in_head && !l->want) {
            if (!sn_message_head(l->head, kind, n)) return SN_LINK_NONSENSE;
            unsigned char *grown = realloc(l->in, *n + 1);
            if (!grown) return SN_LINK_NONSENSE;
            l->in = grown;
            l->want = SN_MESSAGE_HEAD + *n;
        }
        if (l->want && l->have == l->want) {
            sn_message_head(l->head, kind, n);
            return SN_LINK_MESSAGE;
        }
        unsigned char *to = in_head ? l->head + l->have : l->in + (l->have - SN_MESSAGE_HEAD);
        size_t room = in_head ? SN_MESSAGE_HEAD - l->have : l->want - l->have;
        ssize_t got = recv(l->fd, to, room, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN ? SN_LINK_NONE : SN_LINK_END;
        if (got == 0) return SN_LINK_END;
        l->have += (size_t)got;
    }
}

// ---- making them --------------------------------------------------------------------------------

static bool is_loopback(const char *host) {
    return !strcmp(host, "localhost") || !strcmp(host, "::1") || !strncmp(host, "127.", 4);
}

// One socket for both families, so that it does not matter which one a host's name stands for.
static int any_socket(bool loopback, uint16_t port, int *error) {
    int fd = loopback ? -1 : socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (!bind(fd, (struct sockaddr *)&six, sizeof six) && !listen(fd, 4096)) return fd;
        *error = errno;
        close(fd);
        if (*error == EADDRINUSE) return -1;
    }
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    four.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (!bind(fd, (struct sockaddr *)&four, sizeof four) && !listen(fd, 4096)) return fd;
    }
    *error = errno;
    if (fd >= 0) close(fd);
    return -1;
}

SnStatus sn_link_listen(const char *host, uint16_t *port, int *fd, SnError *e) {
    int error = 0;
    *fd = any_socket(is_loopback(host), *port, &error);
    if (*fd < 0 && error == EADDRINUSE)
        return sn_fail(
            e, SN_USER,
            "port %u of this machine is taken: another run or program has it; SINTER_PORT "
            "gives another one, the same on all ranks",
            *port);
    if (*fd < 0) return sn_fail(e, SN_USER, "cannot listen at port %u: %s", *port, strerror(error));
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    if (getsockname(*fd, (struct sockaddr *)&at, &n))
        return sn_fail(e, SN_MACHINE, "cannot listen: %s", strerror(errno));
    *port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                           : ((struct sockaddr_in *)&at)->sin_port);
    return SN_OK;
}

// One address, for at most 3 seconds: the host may be there and swallow all. 0, or an errno.
static int try_one(const struct addrinfo *a, double deadline, int *fd) {
    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0) return errno;
    double left = deadline - sn_link_now();
    int error = connect(*fd, a->ai_addr, a->ai_addrlen) ? errno : 0;
    if (error == EINPROGRESS) {
        struct pollfd p = {*fd, POLLOUT, 0};
        int ms = left < 0 ? 0 : left < 3 ? (int)(left * 1e3) + 1 : 3000;
        socklen_t n = sizeof error;
        if (poll(&p, 1, ms) != 1)
            error = ETIMEDOUT;
        else if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &n))
            error = errno;
    }
    if (error) close(*fd);
    return error;
}

static bool try_all(const char *host, const char *port, double deadline, int *fd, char *why,
                    size_t size) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    int error = getaddrinfo(host, port, &want, &list);
    if (error) {
        snprintf(why, size, "%s", gai_strerror(error));
        return false;
    }
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        error = try_one(a, deadline, fd);
        if (!error) break;
        snprintf(why, size, "%s", strerror(error));
    }
    freeaddrinfo(list);
    return !error;
}

SnStatus sn_link_connect(const char *host, uint16_t port, double deadline, int *fd, SnError *e) {
    char service[8], why[128] = "no address";
    double from = sn_link_now();
    snprintf(service, sizeof service, "%u", port);
    while (!try_all(host, service, deadline, fd, why, sizeof why)) {
        if (sn_link_now() >= deadline)
            return sn_fail(e, SN_USER, "no rank 0 at %s, port %u, for %.0f s: %s", host, port,
                           sn_link_now() - from, why);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return SN_OK;
}

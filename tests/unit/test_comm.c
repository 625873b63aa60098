// What ranks do without a second process: the cut of collectives into pieces and its sums, the messages, what is
// said of who hangs, and a handshake with peers that say anything. Processes: e2e/comm.sh.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
//
#include "runtime/comm/control.h"
#include "runtime/comm/engine.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- the cut ------------------------------------------------------------------------------------

enum { MEMBERS = 5, PARTS = 3, ROOM = 3000 };

// All members of a group in one process, each piece exchanged by copies.
typedef struct {
    uint32_t n;
    SnCut cut[MEMBERS];
    SnPart parts[MEMBERS][PARTS];
    int32_t in[MEMBERS][PARTS][ROOM], out[MEMBERS][PARTS][ROOM];
    unsigned char slot[MEMBERS][4096];
} Club;

static void one_piece(Club *x, int64_t k) {
    const SnCollective *c = x->cut[0].c;
    for (uint32_t r = 0; r < x->n; r++) sn_cut_take(&x->cut[r], k, x->slot[r]);
    for (uint32_t r = 0; r < x->n && sn_is_reduction(c->op); r++) {
        const void *from[MEMBERS];
        int64_t at, bytes = sn_cut_range(&x->cut[r], k, r, &at),
                    place = sn_cut_place(&x->cut[r], r);
        for (uint32_t m = 0; m < x->n; m++) from[m] = x->slot[m] + place;
        sn_reduce(c->elem, c->kind, from, x->n, x->slot[r] + place, bytes);
        if (c->op == SN_reduce_scatter) sn_cut_give(&x->cut[r], k, r, x->slot[r] + place);
    }
    for (uint32_t r = 0; r < x->n && c->op != SN_reduce_scatter; r++)
        for (uint32_t m = 0; m < x->n; m++)
            sn_cut_give(&x->cut[r], k, m,
                        x->slot[m] + sn_cut_place(&x->cut[r], c->op == SN_all_to_all ? r : m));
}

static int32_t brought(uint32_t rank, uint32_t part, uint32_t block, int64_t i) {
    return (int32_t)(rank * 1000000 + part * 100000 + block * 10000 + (uint32_t)i);
}

static int32_t wanted(const Club *x, uint8_t op, uint32_t rank, uint32_t part, uint32_t block,
                      int64_t i) {
    int32_t sum = 0;
    if (op == SN_all_gather) return brought(block, part, 0, i);
    if (op == SN_all_to_all) return brought(block, part, rank, i);
    for (uint32_t m = 0; m < x->n; m++)
        sum += brought(m, part, op == SN_reduce_scatter ? rank : 0, i);
    return sum;
}

static void exchange(Club *x, uint8_t op, const int64_t *count, int64_t piece, bool in_place) {
    SnCollective c = {.op = op, .elem = SN_ELEM_i32, .name = "x"};
    uint32_t ins = op == SN_reduce_scatter || op == SN_all_to_all ? x->n : 1;
    uint32_t outs = op == SN_all_gather || op == SN_all_to_all ? x->n : 1;
    for (uint32_t r = 0; r < x->n; r++) {
        for (uint32_t p = 0; p < PARTS; p++) {
            // In place: of the larger of both, one's own block.
            int32_t *in = x->in[r][p], *out = in_place ? in : x->out[r][p];
            if (in_place && ins > outs) out += r * count[p];
            if (in_place && ins < outs) in += r * count[p];
            x->parts[r][p] = (SnPart){in, out, count[p]};
            for (uint32_t q = 0; q < ins; q++)
                for (int64_t i = 0; i < count[p]; i++) in[q * count[p] + i] = brought(r, p, q, i);
        }
        assert_int_equal(sn_cut(&c, x->parts[r], PARTS, x->n, r, piece, &x->cut[r], NULL), SN_OK);
        assert_true(x->cut[r].piece <= 4096);
    }
    for (int64_t k = 0; k < x->cut[0].pieces; k++) one_piece(x, k);
    for (uint32_t r = 0; r < x->n; r++)
        for (uint32_t p = 0; p < PARTS; p++)
            for (uint32_t q = 0; q < outs; q++)
                for (int64_t i = 0; i < count[p]; i++) {
                    int32_t got = ((const int32_t *)x->parts[r][p].out)[q * count[p] + i];
                    int32_t want = wanted(x, op, r, p, q, i);
                    if (got != want)
                        fail_msg("%s of %u, piece %lld: rank %u part %u block %u element %lld: %d, "
                                 "not %d",
                                 sn_collective_name(op), x->n, (long long)piece, r, p, q,
                                 (long long)i, got, want);
                }
}

static void pieces(void **state) {
    (void)state;
    Club *x = calloc(1, sizeof *x);
    static const int64_t counts[][PARTS] = {
        {0, 0, 0}, {1, 0, 0}, {0, 7, 1}, {500, 1, 33}, {16, 48, 64}};
    static const int64_t sizes[] = {1, 4, 60, 64, 320, 1000, 4096};
    for (x->n = 1; x->n <= MEMBERS; x->n++)
        for (uint8_t op = 0; op < SN_COLLECTIVES; op++)
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                    for (int in_place = 0; in_place < 2; in_place++)
                        exchange(x, op, counts[c], sizes[s], in_place);
    free(x);
}

static void what_is_no_collective(void **state) {
    (void)state;
    SnCut cut;
    SnError e;
    SnPart part = {NULL, NULL, -1}, large = {NULL, NULL, INT64_MAX / 8};
    SnCollective bad[] = {{.op = SN_COLLECTIVES, .elem = 0, .name = "x"},
                          {.op = SN_all_reduce, .elem = SN_ELEMS, .name = "x"},
                          {.op = SN_all_reduce, .kind = 3, .name = "x"},
                          {.op = SN_all_reduce, .elem = SN_ELEM_f8e4m3, .name = "x"},
                          {.op = SN_reduce_scatter, .elem = SN_ELEM_bool, .name = "x"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sn_cut(&bad[i], NULL, 0, 2, 0, 64, &cut, &e), SN_PLAN);
    SnCollective good = {.op = SN_all_to_all, .elem = SN_ELEM_f8e4m3, .name = "x"};
    assert_int_equal(sn_cut(&good, NULL, 0, 2, 0, 64, &cut, &e), SN_OK);
    assert_int_equal(sn_cut(&good, &part, 1, 2, 0, 64, &cut, &e), SN_PLAN);
    assert_int_equal(sn_cut(&good, &large, 1, 2, 0, 64, &cut, &e), SN_PLAN);
}

// The words of comm.h on what is special: order, one rounding, NaN, zeros.
static void sums(void **state) {
    (void)state;
    float a[] = {1e8f, 1, -0.0f, NAN, 0.0f, -0.0f}, b[] = {1, 2, 0.0f, 1, -0.0f, -0.0f};
    float c[] = {-1e8f, NAN, -0.0f, INFINITY, 0.0f, -0.0f}, y[6];
    const void *from[] = {a, b, c};
    sn_reduce(SN_ELEM_f32, SN_SUM, from, 3, y, sizeof y);
    assert_true(y[0] == 0 && isnan(y[1]) && isnan(y[3])); // (1e8 + 1) - 1e8 in f32
    assert_true(!signbit(y[2]) && !signbit(y[4]) && signbit(y[5]));
    sn_reduce(SN_ELEM_f32, SN_LARGEST, from, 3, y, sizeof y);
    assert_true(y[0] == 1e8f && isnan(y[1]) && !signbit(y[2]) && isnan(y[3]) && !signbit(y[4]) &&
                signbit(y[5]));
    sn_reduce(SN_ELEM_f32, SN_LEAST, from, 3, y, sizeof y);
    assert_true(y[0] == -1e8f && isnan(y[1]) && signbit(y[2]) && isnan(y[3]) && signbit(y[4]) &&
                signbit(y[5]));
    // 256 + 1 + 1: a bf16 has 8 bits, so that rounding after each sum would lose both ones.
    uint16_t h[3] = {bfloat_of_float(256), bfloat_of_float(1), bfloat_of_float(1)}, sum;
    const void *halves[] = {&h[0], &h[1], &h[2]};
    sn_reduce(SN_ELEM_bf16, SN_SUM, halves, 3, &sum, 2);
    assert_true(float_of_bfloat(sum) == 258);
    int32_t most[2] = {INT32_MAX, 1}, wrapped;
    const void *whole[] = {&most[0], &most[1]};
    sn_reduce(SN_ELEM_i32, SN_SUM, whole, 2, &wrapped, 4);
    assert_int_equal(wrapped, INT32_MIN);
}

// ---- messages -----------------------------------------------------------------------------------

static unsigned char all_cpus[SN_CPU_BYTES];

static SnHello hello_of(uint32_t rank, uint32_t size) {
    return (SnHello){.version = SN_CONTROL_VERSION,
                     .rank = rank,
                     .size = size,
                     .pid = 4711,
                     .run = "",
                     .node = "far",
                     .machine = "m",
                     .cpus = all_cpus};
}

static void messages(void **state) {
    (void)state;
    SnMessage m;
    SnMessageKind kind = SN_MESSAGES;
    size_t n = 0;
    SnHello h = hello_of(3, 8), back;
    SnFact facts[] = {{"seed", "7"}, {"mesh", "data=4 tensor=2"}};
    h.nfacts = 2;
    sn_message_hello(&m, &h, facts);
    assert_true(!m.failed && sn_message_head(m.bytes, &kind, &n));
    assert_true(kind == SN_MESSAGE_HELLO && n == m.n - SN_MESSAGE_HEAD);
    assert_true(sn_hello_decode(m.bytes + SN_MESSAGE_HEAD, n, &back));
    assert_true(back.rank == 3 && back.size == 8 && back.pid == 4711 && back.nfacts == 2);
    SnFact f = sn_fact_next(&back.facts);
    assert_string_equal(f.name, "seed");
    f = sn_fact_next(&back.facts);
    assert_string_equal(f.value, "data=4 tensor=2");
    // Every shorter message is none.
    for (size_t k = 0; k < n; k++) {
        unsigned char *part = malloc(k + 1); // exact, for the sanitizer
        memcpy(part, m.bytes + SN_MESSAGE_HEAD, k);
        assert_false(sn_hello_decode(part, k, &back));
        free(part);
    }
    free(m.bytes);
    char *text = malloc(70000);
    memset(text, 'x', 70000);
    text[69999] = 0;
    sn_message_end(&m, &(SnEnd){1, text});
    assert_true(m.failed);
    free(m.bytes);
    free(text);
    SnEnd end; // a text holds no zero and ends with one
    assert_true(sn_end_decode((const unsigned char *)"\1\0\0\0\2\0ab", 9, &end));
    assert_string_equal(end.text, "ab");
    assert_false(sn_end_decode((const unsigned char *)"\1\0\0\0\2\0a\0", 9, &end));
    assert_false(sn_end_decode((const unsigned char *)"\1\0\0\0\2\0abc", 9, &end));
    unsigned char head[SN_MESSAGE_HEAD] = {1, 0, 1, 0, 0, 0, 0xa1, 0x5c};
    assert_false(sn_message_head(head, &kind, &n)); // 65537 bytes
    head[0] = 0;
    assert_true(sn_message_head(head, &kind, &n) && n == 65536);
    head[4] = SN_MESSAGES;
    assert_false(sn_message_head(head, &kind, &n));
}

// ---- who hangs ----------------------------------------------------------------------------------

static uint32_t four[] = {4, 5, 6, 7}, first_four[] = {0, 1, 2, 3};

static void stand(SnStanding *s, uint64_t begun, double waits, const char *at) {
    SnBeat b = {.step = 812,
                .pass = 2,
                .at = at,
                .waits = waits > 0,
                .op = SN_all_gather,
                .since = (uint32_t)(waits * 1e3),
                .name = waits > 0 ? "h.7.attn.wq" : "",
                .line = waits > 0 ? "llama.sn:31" : "",
                .groups = 1,
                .begun = {begun}};
    sn_standing_beat(s, &b);
}

static void says(const SnStanding *s, double limit, const char *expected) {
    char text[1024] = "";
    bool found = sn_hang_find(s, 8, limit, text, sizeof text);
    if (found != (expected[0] != 0) || strcmp(text, expected)) fail_msg("\n%s\n%s", text, expected);
}

static void who_hangs(void **state) {
    (void)state;
    SnStanding *s = calloc(8, sizeof *s);
    for (uint32_t r = 0; r < 8; r++) {
        snprintf(s[r].node, sizeof s[r].node, "node%u", r < 4 ? 11 : 12);
        strcpy(s[r].group[0].label, "data");
        s[r].group[0].ranks = r < 4 ? first_four : four;
        s[r].group[0].n = 4;
        stand(&s[r], 10, 0, "update");
    }
    says(s, 60, "");
    stand(&s[4], 11, 60.9, "x"), stand(&s[6], 11, 59, "x"), stand(&s[7], 11, 12, "x");
    stand(&s[5], 10, 0, "update/grad_norm");
    says(s, 61, "");
    says(s, 60,
         "rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7: "
         "it is at 'update/grad_norm'; ranks 4 6 7 wait since 61 s");
    s[5].left = true;
    says(s, 60,
         "rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7: "
         "it is done; ranks 4 6 7 wait since 61 s");
    s[5].left = false;
    // A beat is no clock: time goes on since it came.
    s[4].age = 5;
    says(s, 65,
         "rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7: "
         "it is at 'update/grad_norm'; ranks 4 6 7 wait since 66 s");
    // Rank 5 is in an earlier one, with all others behind it.
    stand(&s[5], 10, 70, "x");
    says(s, 60,
         "rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7: "
         "it waits in all_gather 'h.7.attn.wq'; ranks 4 6 7 wait since 66 s");
    // All have come and nothing moves.
    stand(&s[5], 11, 70, "x");
    says(s, 60,
         "no rank gets on in all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7; "
         "ranks 4-7 wait since 70 s");
    // A rank that waits for one that computes is the better story than one that waits for one that waits.
    stand(&s[5], 10, 0, "h.0.mlp");
    stand(&s[0], 11, 5, "x"), stand(&s[3], 11, 5, "x");
    stand(&s[1], 11, 65, "x"), stand(&s[2], 10, 70, "x");
    says(s, 60,
         "rank 5 (node12): no all_gather 'h.7.attn.wq' (llama.sn:31), step 812 pass 2, group data "
         "4-7: "
         "it is at 'h.0.mlp'; ranks 4 6 7 wait since 66 s");
    free(s);
}

static void lists_of_ranks(void **state) {
    (void)state;
    uint32_t some[40];
    char text[256];
    sn_ranks_text((uint32_t[]){3}, 1, text, sizeof text);
    assert_string_equal(text, "rank 3");
    sn_ranks_text((uint32_t[]){0, 1, 3, 4, 5, 9}, 6, text, sizeof text);
    assert_string_equal(text, "ranks 0 1 3-5 9");
    for (uint32_t i = 0; i < 40; i++) some[i] = 2 * i;
    sn_ranks_text(some, 40, text, sizeof text);
    assert_string_equal(text, "ranks 0 2 4 6 8 10 12 14 16 18 20 22 and 28 more");
}

// ---- handshakes ---------------------------------------------------------------------------------

typedef struct {
    int fd[2];
    SnWorld world;
    char sockets[16];
} Ends;

static void open_pair(Ends *p) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd), 0);
    snprintf(p->sockets, sizeof p->sockets, "%d", p->fd[0]);
    p->world = (SnWorld){.size = 2, .by = SN_BY_SINTER, .node = "near", .sockets = p->sockets};
}

// Rank 0's view of a peer that has said this; and what the peer is told in the end.
static void hears(const SnMessage *said, const char *expected, const char *told) {
    Ends p;
    SnControl *c;
    SnError e = {SN_OK, ""};
    SnFact facts[] = {{"seed", "1"}, {"plan", "ab"}};
    open_pair(&p);
    assert_int_equal(write(p.fd[1], said->bytes, said->n), (ssize_t)said->n);
    if (!told[0]) shutdown(p.fd[1], SHUT_WR);
    SnControlSpec spec = {.world = &p.world, .facts = facts, .nfacts = 2, .patience = 5, .hang = 5};
    SnStatus s = sn_control_open(&spec, &c, &e);
    assert_true(s == SN_USER || s == SN_PEER);
    if (strcmp(e.text, expected)) fail_msg("\n%s\n%s", e.text, expected);
    unsigned char got[2048];
    ssize_t n = recv(p.fd[1], got, sizeof got, MSG_DONTWAIT);
    SnEnd end = {0, ""};
    if (n > SN_MESSAGE_HEAD)
        sn_end_decode(got + SN_MESSAGE_HEAD, (size_t)n - SN_MESSAGE_HEAD, &end);
    assert_string_equal(end.text, told);
    close(p.fd[1]);
    sn_control_close(c, NULL);
}

static void hears_hello(const SnHello *h, const SnFact *facts, const char *expected) {
    SnMessage m;
    sn_message_hello(&m, h, facts);
    hears(&m, expected, expected);
    free(m.bytes);
}

static void wrong_hellos(void **state) {
    (void)state;
    SnFact facts[] = {{"seed", "2"}, {"plan", "ab"}, {"more", "x"}};
    SnHello h = hello_of(1, 2);
    h.nfacts = 3;
    hears_hello(&h, facts,
                "rank 1 (far) was not started as rank 0 was: seed: 2 instead of 1, more: x instead "
                "of none");
    h.nfacts = 0;
    hears_hello(&h, NULL,
                "rank 1 (far) was not started as rank 0 was: seed: none instead of 1, plan: none "
                "instead of ab");
    h = hello_of(1, 3);
    hears_hello(&h, NULL, "rank 1 (far) was started as one of 3, rank 0 as one of 2");
    h = hello_of(0, 2);
    hears_hello(&h, NULL, "rank 0 (far) was started as one of 2, rank 0 as one of 2");
    h = hello_of(1, 2);
    h.version = 9;
    hears_hello(&h, NULL,
                "rank 1 is another version of Sinter: its messages are version 9, rank 0's 1");
    SnMessage m;
    h = hello_of(1, 2);
    h.run = "other";
    sn_message_hello(&m, &h, NULL);
    hears(&m, "rank 1 (near) is of another run", "this is the port of another run");
    m.n -= 3;
    hears(&m, "rank 1 (near) has ended before it said which run it is of", "");
    m.bytes[6] = 0;
    hears(&m, "rank 1 (near) sends what is no message", "");
    free(m.bytes);
    sn_message_bytes(&m, SN_MESSAGE_GATHER, "x", 1);
    hears(&m, "rank 1 (near) sends a message that has no meaning now", "");
    free(m.bytes);
}

// What rank 1 makes of what it takes for rank 0.
static void wrong_roots(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *expected;
    } roots[] = {
        {"", 0, "rank 0 (near) has ended without a word"},
        {"\x04\0\0", 3, "rank 0 (near) has ended in the middle of a message"},
        {"HTTP/1.1 400 Bad Request", 24, "rank 0 (near) sends what is no message"},
        {"\0\0\0\0\0\0\xa1\x5c", 8, "rank 0 (near) sends a message that has no meaning now"}};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        Ends p;
        SnControl *c;
        SnError e;
        open_pair(&p);
        p.world.rank = 1;
        assert_int_equal(write(p.fd[1], roots[i].bytes, roots[i].n), (ssize_t)roots[i].n);
        shutdown(p.fd[1], SHUT_WR);
        SnControlSpec spec = {.world = &p.world, .patience = 5, .hang = 5};
        assert_int_equal(sn_control_open(&spec, &c, &e), SN_PEER);
        assert_string_equal(e.text, roots[i].expected);
        assert_true(sn_control_tells(c)); // rank 0 cannot
        close(p.fd[1]);
        sn_control_close(c, NULL);
    }
}

// CPUs are divided among the ranks that may use them.
static void threads_of_ranks(void **state) {
    (void)state;
    static const struct {
        const char *machine[2];
        unsigned char cpus[2]; // 8..15
        uint32_t quota, threads[2], machines;
    } cases[] = {{{"a", "a"}, {0xff, 0xff}, 0, {4, 4}, 2},
                 {{"a", "a"}, {0x0f, 0xf0}, 0, {4, 4}, 2},
                 {{"a", "a"}, {0xff, 0x01}, 0, {7, 1}, 2},
                 {{"a", "b"}, {0xff, 0x07}, 0, {8, 3}, 3},
                 {{"a", "a"}, {0xff, 0xff}, 500, {2, 2}, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd[2][2];
        char sockets[32];
        for (uint32_t r = 0; r < 2; r++) {
            SnMessage m;
            SnHello h = hello_of(r + 1, 3);
            unsigned char cpus[SN_CPU_BYTES] = {0, cases[i].cpus[r]};
            h.machine = cases[i].machine[r];
            h.cpus = cpus;
            h.quota = cases[i].quota;
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd[r]), 0);
            sn_message_hello(&m, &h, NULL);
            assert_int_equal(write(fd[r][1], m.bytes, m.n), (ssize_t)m.n);
            free(m.bytes);
        }
        snprintf(sockets, sizeof sockets, "%d,%d", fd[0][0], fd[1][0]);
        SnWorld w = {.size = 3, .node = "near", .sockets = sockets};
        SnControl *c;
        SnError e;
        SnControlSpec spec = {.world = &w, .patience = 5, .hang = 5};
        assert_int_equal(sn_control_open(&spec, &c, &e), SN_OK);
        for (uint32_t r = 0; r < 2; r++) {
            unsigned char got[SN_MESSAGE_HEAD + 16];
            SnWelcome welcome;
            assert_int_equal(recv(fd[r][1], got, sizeof got, MSG_WAITALL), (ssize_t)sizeof got);
            assert_true(sn_welcome_decode(got + SN_MESSAGE_HEAD, 16, &welcome));
            assert_int_equal(welcome.threads, cases[i].threads[r]);
            assert_int_equal(welcome.machines, cases[i].machines);
            close(fd[r][1]);
        }
        assert_int_equal(sn_control_close(c, &e), SN_PEER); // they have ended without a word
    }
}

// One rank needs nobody.
static void alone(void **state) {
    (void)state;
    SnWorld w = {.size = 1, .node = "near"};
    SnControl *c;
    SnComm *comm;
    SnChannel *ch;
    SnError e;
    uint32_t zero = 0;
    float x[3] = {1, 2, 3}, y[3] = {0};
    uint64_t done;
    SnControlSpec spec = {.world = &w, .patience = 1, .hang = 1};
    assert_int_equal(sn_control_open(&spec, &c, &e), SN_OK);
    assert_int_equal(sn_control_share(c, x, sizeof x, &e), SN_OK);
    assert_int_equal(sn_control_gather(c, x, sizeof x, y, &e), SN_OK);
    assert_true(y[2] == 3);
    assert_int_equal(sn_comm_open(c, NULL, "nccl", &comm, &e), SN_USER);
    assert_string_equal(e.text, "no engine 'nccl' between ranks: there are shm and mpi");
    assert_int_equal(sn_comm_open(c, NULL, NULL, &comm, &e), SN_OK);
    assert_int_equal(sn_comm_group(comm, "data", (uint32_t[]){1}, 1, &ch, &e), SN_PLAN);
    assert_int_equal(sn_comm_group(comm, "data", &zero, 1, &ch, &e), SN_OK);
    SnPart part = {x, y, 3};
    y[0] = y[1] = y[2] = 0;
    for (uint8_t op = 0; op < SN_COLLECTIVES; op++) {
        SnCollective k = {.op = op, .elem = SN_ELEM_f32, .name = "x"};
        assert_int_equal(sn_comm_start(ch, &k, &part, 1, NULL, &e), SN_OK);
        assert_memory_equal(x, y, sizeof x);
    }
    assert_int_equal(sn_comm_poll(comm, &done, &e), SN_OK);
    assert_int_equal(done, SN_COLLECTIVES);
    sn_comm_free(comm);
    assert_int_equal(sn_control_close(c, &e), SN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(what_is_no_collective),
        cmocka_unit_test(sums),
        cmocka_unit_test(messages),
        cmocka_unit_test(who_hangs),
        cmocka_unit_test(lists_of_ranks),
        cmocka_unit_test(wrong_hellos),
        cmocka_unit_test(wrong_roots),
        cmocka_unit_test(threads_of_ranks),
        cmocka_unit_test(alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

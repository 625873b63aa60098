// Ranks as a program has them, for e2e/comm.sh: handshake, groups, collectives against sums made one by one, and
// whatever can go wrong, on demand. Exit status as of a training program: 1 the user's fault, 2 how it was
// started, 3 the machine's, 4 another rank failed.
//
//   ranks [--ranks N] [--engine shm|mpi] [--seconds S] [--fact NAME=VALUE[@RANK]] [--do WHAT:WHEN@RANK]
//         [--bench COUNT] [--stranger WHAT]
//
// --seconds: patience, hang and grace. WHAT: kill, stop, leave (exit without a word), fail (with words), half (of a
// message), nonsense, sleep (longer than --seconds), nap (shorter), other (another collective); WHEN: first (before the
// handshake), between, in (a collective). --stranger: connects to SINTER_PORT and says WHAT.
#define _GNU_SOURCE
#include "runtime/comm/launch.h"
#include "runtime/comm/link.h"
#include "runtime/comm/mpi.h"
#include "runtime/comm/reduce.h"
#include "runtime/elem.h"
#include "runtime/narrow.h"
#include "runtime/xxh64.h"
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    uint32_t ranks; // 0: others start them
    const char *engine, *stranger;
    double seconds;
    SnFact facts[8];
    uint32_t nfacts;
    const char *what, *when; // of this rank's; NULL: nothing
    char *todo[4];           // --do
    uint32_t ntodo;
    int64_t bench;
    SnWorld world;
    SnControl *control;
    SnMpi *mpi;
    SnComm *comm;
    SnXxh64 bits;
    SnError e;
} Rank;

static int usage(const char *text) {
    fprintf(stderr, "ranks: %s\n", text);
    return 2;
}

static int exit_status(SnStatus s) {
    return s == SN_OK ? 0 : s == SN_USER ? 1 : s == SN_PEER ? SN_EXIT_PEER : 3;
}

// ---- what goes wrong ----------------------------------------------------------------------------

static void nap(double s) {
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

static int own_socket(const Rank *r) { return r->world.sockets ? atoi(r->world.sockets) : -1; }

static void misbehave(Rank *r) {
    if (!strcmp(r->what, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(r->what, "stop")) kill(getpid(), SIGSTOP);
    if (!strcmp(r->what, "leave")) _exit(0);
    if (!strcmp(r->what, "sleep")) nap(3 * r->seconds);
    if (!strcmp(r->what, "nap")) nap(0.7 * r->seconds);
    // the head of a long one: what the pulse may send before the end belongs to it
    if (!strcmp(r->what, "half"))
        send(own_socket(r), "\0\4\0\0\0\0\xa1\x5c", 8, 0), shutdown(own_socket(r), SHUT_WR),
            _exit(0);
    if (!strcmp(r->what, "nonsense")) send(own_socket(r), "GET / HTTP/1.0\r\n\r\n", 18, 0), nap(9);
    if (!strcmp(r->what, "fail")) {
        sn_control_fail(r->control, SN_USER,
                        "data.bin: a token is 70000 and the vocabulary has 50257");
        snprintf(r->e.text, sizeof r->e.text,
                 "data.bin: a token is 70000 and the vocabulary has 50257");
        r->e.status = SN_USER;
    }
}

static void moment(Rank *r, const char *when) {
    if (r->when && !strcmp(r->when, when)) misbehave(r);
}

static void *a_little_later(void *arg) {
    nap(0.2);
    misbehave(arg);
    return NULL;
}

// ---- collectives --------------------------------------------------------------------------------

typedef struct {
    SnChannel *channel;
    uint32_t ranks[64], n;
} Team;

// Element i of block q that a rank brings: numbers whose sums depend on their order, and some NaNs, infinities
// and zeros of both signs.
static uint32_t value(uint32_t elem, uint32_t rank, uint32_t q, int64_t i) {
    uint32_t x = (uint32_t)i * 2654435761u ^ rank * 40503u ^ q * 9176u;
    x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
    if (elem == SN_ELEM_bool) return x & 1;
    if (elem == SN_ELEM_i32 || elem == SN_ELEM_u32) return x;
    float f = (float)(int32_t)x * 0x1p-20f * (x % 7 ? 1 : 0x1p-18f);
    if (i % 97 == 5) f = x & 1 ? 0.0f : -0.0f;
    if (i % 1009 == 8 && rank % 3 == 1) f = NAN;
    if (elem == SN_ELEM_f32) return bits_of_float(f);
    return elem == SN_ELEM_bf16 ? bfloat_of_float(f) : half_of_float(f);
}

static float widen(uint32_t elem, uint32_t bits) {
    return elem == SN_ELEM_f32    ? float_of_bits(bits)
           : elem == SN_ELEM_bf16 ? float_of_bfloat((uint16_t)bits)
                                  : float_of_half((uint16_t)bits);
}

static uint32_t narrow(uint32_t elem, float f) {
    return elem == SN_ELEM_f32    ? bits_of_float(f)
           : elem == SN_ELEM_bf16 ? bfloat_of_float(f)
                                  : half_of_float(f);
}

// By the words of comm.h, with nothing of the engines.
static float fold_floats(uint32_t kind, float a, float b) {
    if (kind == SN_SUM || a != a || b != b) return a + b;
    bool first = kind == SN_LARGEST ? a > b : a < b;
    if (a == b) first = (kind == SN_LARGEST) != (signbit(a) != 0);
    return first ? a : b;
}

static uint32_t fold_whole(uint32_t elem, uint32_t kind, uint32_t a, uint32_t b) {
    if (kind == SN_SUM) return a + b;
    bool more = elem == SN_ELEM_i32 ? (int32_t)a > (int32_t)b : a > b;
    return more == (kind == SN_LARGEST) ? a : b;
}

static uint32_t folded(const SnCollective *c, const Team *g, uint32_t q, int64_t i) {
    uint32_t sum = value(c->elem, g->ranks[0], q, i);
    if (c->elem == SN_ELEM_i32 || c->elem == SN_ELEM_u32 || c->elem == SN_ELEM_bool) {
        for (uint32_t m = 1; m < g->n; m++)
            sum = fold_whole(c->elem, c->kind, sum, value(c->elem, g->ranks[m], q, i));
        return sum;
    }
    float f = widen(c->elem, sum);
    for (uint32_t m = 1; m < g->n; m++)
        f = fold_floats(c->kind, f, widen(c->elem, value(c->elem, g->ranks[m], q, i)));
    return narrow(c->elem, f);
}

static uint32_t expected(const SnCollective *c, const Team *g, uint32_t q, int64_t i) {
    uint32_t me = sn_channel_place(g->channel);
    switch ((SnCollectiveOp)c->op) {
    case SN_all_reduce: return folded(c, g, 0, i);
    case SN_reduce_scatter: return folded(c, g, me, i);
    case SN_all_gather: return value(c->elem, g->ranks[q], 0, i);
    case SN_all_to_all: return value(c->elem, g->ranks[q], me, i);
    case SN_COLLECTIVES: break;
    }
    return 0;
}

static uint32_t element(const unsigned char *at, uint32_t bytes) {
    uint32_t x = 0;
    memcpy(&x, at, bytes);
    return x;
}

typedef struct {
    unsigned char *in, *out;
    int64_t count;
    uint32_t ins, outs; // blocks
} Bricks;

static bool is_nan(uint32_t elem, uint32_t bits) {
    return (elem == SN_ELEM_f32 || elem == SN_ELEM_bf16 || elem == SN_ELEM_f16) &&
           widen(elem, bits) != widen(elem, bits);
}

static void make(Bricks *t, const SnCollective *c, uint32_t rank, uint32_t n, int64_t count,
                 bool in_place) {
    uint32_t bytes = sn_elem_info[c->elem].bytes;
    t->count = count;
    t->ins = c->op == SN_reduce_scatter || c->op == SN_all_to_all ? n : 1;
    t->outs = c->op == SN_all_gather || c->op == SN_all_to_all ? n : 1;
    t->in = malloc((size_t)t->ins * (size_t)count * bytes + 1);
    t->out = in_place ? t->in : malloc((size_t)t->outs * (size_t)count * bytes + 1);
    for (uint32_t q = 0; q < t->ins; q++)
        for (int64_t i = 0; i < count; i++) {
            uint32_t x = value(c->elem, rank, q, i);
            memcpy(t->in + (q * count + i) * bytes, &x, bytes);
        }
}

static int64_t check(const Bricks *t, const SnCollective *c, const Team *g) {
    uint32_t bytes = sn_elem_info[c->elem].bytes;
    for (uint32_t q = 0; q < t->outs; q++)
        for (int64_t i = 0; i < t->count; i++) {
            uint32_t got = element(t->out + (q * t->count + i) * bytes, bytes);
            uint32_t want = expected(c, g, q, i);
            if (got != want && !(is_nan(c->elem, got) && is_nan(c->elem, want))) return i;
        }
    return -1;
}

// One collective over parts of the given lengths, in place where the op can.
static SnStatus exchange(Rank *r, const Team *g, SnCollective c, const int64_t *count, uint32_t n,
                         bool in_place) {
    Bricks t[4];
    SnPart parts[4];
    char name[96];
    bool same = in_place && (c.op == SN_all_reduce || c.op == SN_all_to_all);
    snprintf(name, sizeof name, "%s %u %u", sn_elem_info[c.elem].name, c.kind, n);
    c.name = name;
    c.line = "ranks.c";
    for (uint32_t i = 0; i < n; i++) {
        make(&t[i], &c, r->world.rank, g->n, count[i], same);
        parts[i] = (SnPart){t[i].in, t[i].out, count[i]};
    }
    SnStatus s = sn_comm_start(g->channel, &c, parts, n, NULL, &r->e);
    for (uint32_t i = 0; i < n; i++) {
        int64_t wrong = s ? -1 : check(&t[i], &c, g);
        uint32_t bytes = sn_elem_info[c.elem].bytes;
        if (wrong >= 0)
            s = sn_fail(&r->e, SN_PLAN,
                        "%s %s, part %u of %" PRId64 ": element %" PRId64 " is wrong",
                        sn_collective_name(c.op), name, i, count[i], wrong);
        if (!s) sn_xxh64_add(&r->bits, t[i].out, (size_t)t[i].outs * (size_t)count[i] * bytes);
        if (t[i].out != t[i].in) free(t[i].out);
        free(t[i].in);
    }
    return s;
}

static SnStatus all_kinds(Rank *r, const Team *g, const int64_t *count, uint32_t n) {
    static const uint8_t reduced[] = {SN_ELEM_f32, SN_ELEM_bf16, SN_ELEM_f16,
                                      SN_ELEM_i32, SN_ELEM_u32,  SN_ELEM_bool};
    SnStatus s = SN_OK;
    for (uint8_t op = 0; op < SN_COLLECTIVES; op++)
        for (uint32_t t = 0; t < sizeof reduced; t++)
            for (uint8_t kind = SN_SUM; kind <= SN_LEAST; kind++) {
                if (!sn_is_reduction(op) && kind != SN_SUM) continue;
                if (sn_is_reduction(op) && kind == SN_SUM && reduced[t] == SN_ELEM_bool) continue;
                // Large ones are for the cut into pieces, which no kind or type sees.
                bool large = count[0] > 100000, each = op != SN_all_reduce;
                if (large && (kind != SN_SUM || t || g->n < r->world.size)) continue;
                int64_t less = large ? count[0] / g->n : 0;
                SnCollective c = {.op = op, .kind = kind, .elem = reduced[t]};
                if (!s) s = exchange(r, g, c, large && each ? &less : count, n, t & 1);
            }
    return s;
}

static SnStatus collectives(Rank *r, const Team *g) {
    static const int64_t sizes[] = {0, 1, 7, 4099, (1 << 20) + 3};
    static const int64_t bucket[4] = {3, 0, 70001, 1};
    SnStatus s = SN_OK;
    for (size_t i = 0; !s && i < sizeof sizes / sizeof *sizes; i++)
        s = all_kinds(r, g, &sizes[i], 1);
    if (!s) s = all_kinds(r, g, bucket, 4);
    return s;
}

// ---- the run ------------------------------------------------------------------------------------

// Ranks whose number leaves the same rest, or the same quotient.
static SnStatus make_group(Rank *r, const char *label, uint32_t ways, bool rest, Team *g) {
    g->n = 0;
    for (uint32_t i = 0; i < r->world.size; i++)
        if (rest ? i % ways == r->world.rank % ways : i / ways == r->world.rank / ways)
            g->ranks[g->n++] = i;
    return sn_comm_group(r->comm, label, g->ranks, g->n, &g->channel, &r->e);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static SnStatus bench(Rank *r, const Team *g) {
    size_t n = (size_t)r->bench;
    float *x = malloc(n * 4), *y = malloc(n * 4);
    SnCollective c = {.op = SN_all_reduce, .elem = SN_ELEM_f32, .name = "bench"};
    SnPart part = {x, x, r->bench};
    double best[4] = {1e9, 1e9, 1e9, 1e9}; // seconds of both, CPU seconds of this thread
    if (!x || !y) return sn_fail(&r->e, SN_MACHINE, "out of memory");
    for (size_t i = 0; i < n; i++) x[i] = 1, y[i] = 2;
    SnStatus s = SN_OK;
    for (int k = 0; k < 7 && !s; k++) {
        double t[3] = {sn_link_now()}, cpu[3] = {cpu_seconds()};
        s = sn_comm_start(g->channel, &c, &part, 1, NULL, &r->e);
        t[1] = sn_link_now(), cpu[1] = cpu_seconds();
        memcpy(y, x, n * 4); // on all ranks at once, as above
        t[2] = sn_link_now(), cpu[2] = cpu_seconds();
        for (int i = 0; i < 2; i++) {
            if (t[i + 1] - t[i] < best[i]) best[i] = t[i + 1] - t[i];
            if (cpu[i + 1] - cpu[i] < best[2 + i]) best[2 + i] = cpu[i + 1] - cpu[i];
        }
    }
    if (!s && r->world.rank == 0)
        printf("%" PRId64 " floats: all_reduce %.3f s, copy %.3f s, ratio %.2f; of CPU %.3f s, "
               "%.3f s, ratio %.2f\n",
               r->bench, best[0], best[1], best[0] / best[1], best[2], best[3], best[2] / best[3]);
    free(x);
    free(y);
    return s;
}

static SnStatus work(Rank *r) {
    Team all, odd, half;
    SnPulse *w = sn_control_pulse(r->control);
    SnStatus s = sn_comm_open(r->control, r->mpi, r->engine, &r->comm, &r->e);
    if (!s) s = make_group(r, "data", 1, true, &all);
    if (!s) s = make_group(r, "tensor", 2, true, &odd);
    if (!s) s = make_group(r, "context", 2, false, &half);
    if (s) return s;
    if (r->bench) return bench(r, &all);
    sn_pulse_at(w, 812, 2, "update/grad_norm");
    moment(r, "between");
    if (r->e.status) return r->e.status; // it failed by itself
    int64_t one = 1;
    SnCollective c = {.op = r->what && !strcmp(r->what, "other") ? SN_all_gather : SN_all_reduce};
    s = exchange(r, &all, c, &one, 1, false);
    pthread_t thread;
    if (!s && r->when && !strcmp(r->when, "in")) pthread_create(&thread, NULL, a_little_later, r);
    // Until it happens.
    bool harmless = !r->ntodo || !strncmp(r->todo[0], "nap", 3);
    double until = harmless ? 0 : sn_link_now() + 30;
    do {
        if (!s) s = collectives(r, &all);
        if (!s) s = collectives(r, &odd);
        if (!s) s = collectives(r, &half);
    } while (!s && sn_link_now() < until);
    return s;
}

// Rank 0 prints what all others have, too, when it is theirs: sums over all ranks.
static SnStatus compare_bits(Rank *r) {
    uint64_t bits = sn_xxh64_end(&r->bits), *all = calloc(r->world.size, sizeof *all), sum = 0;
    SnStatus s = sn_control_gather(r->control, &bits, sizeof bits, all, &r->e);
    for (uint32_t i = 0; i < r->world.size; i++) sum = sum * 31 + all[i];
    if (!s) s = sn_control_share(r->control, &sum, sizeof sum, &r->e);
    if (!s && r->world.rank == 0)
        printf("%u ranks, %s: all sums are right, bits %016" PRIx64 ", %u machine, %u threads\n",
               r->world.size, sn_comm_engine(r->comm), sum, sn_control_place(r->control)->machines,
               sn_control_place(r->control)->threads);
    free(all);
    return s;
}

static void choose(Rank *r) {
    for (uint32_t i = 0; i < r->ntodo; i++) {
        char *at = strchr(r->todo[i], '@'), *when = strchr(r->todo[i], ':');
        if (!at || !when || (uint32_t)atoi(at + 1) != r->world.rank) continue;
        *when = *at = 0;
        r->what = r->todo[i];
        r->when = when + 1;
    }
    for (uint32_t i = 0; i < r->nfacts; i++) { // "seed=7@2": of rank 2 alone; of others 1
        char *at = (char *)(uintptr_t)strchr(r->facts[i].value, 64);
        if (!at) continue;
        *at = 0;
        if ((uint32_t)atoi(at + 1) != r->world.rank) r->facts[i].value = "1";
    }
}

static SnStatus one_rank(Rank *r) {
    choose(r);
    moment(r, "first");
    SnStatus s = SN_OK;
    if (r->world.by == SN_BY_OPEN_MPI || (r->engine && !strcmp(r->engine, "mpi")))
        s = sn_mpi_open(&r->world, &r->mpi, &r->e);
    if (s) return s;
    SnControlSpec spec = {.world = &r->world,
                          .facts = r->facts,
                          .nfacts = r->nfacts,
                          .patience = r->seconds,
                          .hang = r->seconds,
                          .spread = r->mpi ? sn_mpi_spread : NULL,
                          .user = r->mpi};
    s = sn_control_open(&spec, &r->control, &r->e);
    sn_xxh64_begin(&r->bits);
    if (!s) s = work(r);
    if (!s && !r->bench) s = compare_bits(r);
    return s;
}

static int run_rank(Rank *r) {
    char prefix[96];
    SnStatus s = one_rank(r), closed;
    if (s && s != SN_PEER && r->control) sn_control_fail(r->control, s, r->e.text);
    bool tells = !r->control || sn_control_tells(r->control);
    sn_comm_free(r->comm);
    closed = sn_control_close(r->control, s ? NULL : &r->e);
    if (!s) s = closed;
    sn_mpi_close(r->mpi, !s);
    sn_world_prefix(&r->world, prefix, sizeof prefix);
    if (s && (tells || s != SN_PEER)) fprintf(stderr, "%s%s\n", prefix, r->e.text);
    return exit_status(s);
}

static int be_stranger(const Rank *r) {
    SnError e;
    int fd;
    const char *port = getenv("SINTER_PORT");
    if (sn_link_connect("127.0.0.1", (uint16_t)atoi(port ? port : "0"), sn_link_now() + 5, &fd, &e))
        return usage(e.text);
    if (!strcmp(r->stranger, "half")) send(fd, "\x40\0\0\0\0\0\xa1\x5cxxx", 11, MSG_NOSIGNAL);
    if (!strcmp(r->stranger, "http")) send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL);
    nap(r->seconds);
    return 0;
}

// So that a test can see whether all have ended.
static void write_pid(void) {
    const char *path = getenv("COMM_PIDS");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    fprintf(f, "%d\n", getpid());
    fclose(f);
}

int main(int argc, char **argv) {
    Rank r = {.seconds = 20};
    for (int i = 1; i < argc; i += 2) {
        char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!value) return usage("an option without a value");
        if (!strcmp(argv[i], "--ranks"))
            r.ranks = (uint32_t)atoi(value);
        else if (!strcmp(argv[i], "--engine"))
            r.engine = value;
        else if (!strcmp(argv[i], "--seconds"))
            r.seconds = atof(value);
        else if (!strcmp(argv[i], "--bench"))
            r.bench = atoll(value);
        else if (!strcmp(argv[i], "--stranger"))
            r.stranger = value;
        else if (!strcmp(argv[i], "--do") && r.ntodo < 4)
            r.todo[r.ntodo++] = value;
        else if (!strcmp(argv[i], "--fact") && r.nfacts < 8) {
            char *is = strchr(value, '=');
            if (!is) return usage("a fact without a value");
            *is = 0;
            r.facts[r.nfacts++] = (SnFact){value, is + 1};
        } else
            return usage("no such option");
    }
    if (r.stranger) return be_stranger(&r);
    int status = -1;
    write_pid();
    if (r.ranks && sn_launch(r.ranks, r.seconds, &status, &r.e))
        return r.e.status == SN_USER ? usage(r.e.text) : (fprintf(stderr, "%s\n", r.e.text), 3);
    if (status >= 0) return status;
    if (r.ranks) write_pid();
    if (sn_world_read(environ, &r.world, &r.e)) return usage(r.e.text);
    return run_rank(&r);
}

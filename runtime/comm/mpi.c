// See mpi.h. A collective is pieces: an exchange of shares, a sum, a gathering. Calls that return at once and a
// test of whether they are done, so that a run that fails is noticed while it waits.
#define _GNU_SOURCE
#include "runtime/comm/mpi.h"
#include "runtime/comm/engine.h"
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PIECE = 4 << 20, THREAD_FUNNELED = 1, SUCCESS = 0 };

struct SnMpi {
#define CALL(name, symbol, params) int(*name) params;
#define OBJECT(name, symbol)       void *name;
#include "runtime/comm/mpi.def"
#undef CALL
#undef OBJECT
    bool ours; // we began it
};

static const struct {
    const char *symbol;
    size_t at;
} symbols[] = {
#define CALL(name, symbol, params) {#symbol, offsetof(SnMpi, name)},
#define OBJECT(name, symbol)       {#symbol, offsetof(SnMpi, name)},
#include "runtime/comm/mpi.def"
#undef CALL
#undef OBJECT
};

typedef struct {
    SnComm comm;
    const SnMpi *mpi;
    unsigned char *out, *in; // pieces
} Mpi;

// ---- calls --------------------------------------------------------------------------------------

static SnStatus failed(const SnMpi *m, int code, const char *what, SnError *e) {
    char text[256] = ""; // MPI_MAX_ERROR_STRING
    int n = 0;
    m->error_string(code, text, &n);
    return sn_fail(e, SN_MACHINE, "Open MPI's %s failed: %.200s", what, text);
}

// comm NULL: nobody can end the wait.
static SnStatus wait(const SnMpi *m, SnComm *comm, void *request, int code, const char *what,
                     SnError *e) {
    int done = 0;
    for (long i = 0; code == SUCCESS; i++) {
        code = m->test(&request, &done, NULL); // NULL: MPI_STATUS_IGNORE
        if (done || code != SUCCESS) break;
        if (comm && atomic_load(&comm->aborted)) return sn_fail(e, SN_PEER, "aborted");
        if (i > 2000) nanosleep(&(struct timespec){.tv_nsec = i < 20000 ? 20000 : 200000}, NULL);
    }
    return code == SUCCESS ? SN_OK : failed(m, code, what, e);
}

static SnStatus all_gather(SnChannel *ch, const void *in, void *out, int64_t bytes, SnError *e) {
    const SnMpi *m = ((Mpi *)ch->comm)->mpi;
    void *request;
    int code = m->iallgather(in, (int)bytes, m->byte, out, (int)bytes, m->byte, ch->own, &request);
    return wait(m, ch->comm, request, code, "all_gather", e);
}

static SnStatus all_to_all(SnChannel *ch, const void *in, void *out, int64_t bytes, SnError *e) {
    const SnMpi *m = ((Mpi *)ch->comm)->mpi;
    void *request;
    int code = m->ialltoall(in, (int)bytes, m->byte, out, (int)bytes, m->byte, ch->own, &request);
    return wait(m, ch->comm, request, code, "all_to_all", e);
}

// ---- a collective -------------------------------------------------------------------------------

static SnStatus compare(SnChannel *ch, const SnCut *cut, SnError *e) {
    SnHeader *all = calloc(ch->n + 1, sizeof *all), *own = all ? all + ch->n : NULL;
    const SnHeader **headers = calloc(ch->n, sizeof *headers);
    SnStatus s = all && headers ? SN_OK : sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) sn_header_of(ch, cut, own);
    if (!s) s = all_gather(ch, own, all, sizeof *own, e);
    for (uint32_t i = 0; !s && i < ch->n; i++) headers[i] = &all[i];
    if (!s) s = sn_header_compare(ch, headers, e);
    if (s != SN_PEER) free(all); // what MPI still writes to after a failure must stay
    free(headers);
    return s;
}

// Sub-blocks keep their full distance also where the last piece has less in them: all members send the same.
static SnStatus one_piece(SnChannel *ch, const SnCut *cut, const void **from, int64_t k,
                          SnError *e) {
    Mpi *x = (Mpi *)ch->comm;
    int64_t share = cut->piece / cut->n, at;
    bool gathers = cut->c->op == SN_all_gather;
    sn_cut_take(cut, k, x->out);
    if (gathers) share = cut->piece;
    SnStatus s =
        gathers ? all_gather(ch, x->out, x->in, share, e) : all_to_all(ch, x->out, x->in, share, e);
    if (!s && sn_is_reduction(cut->c->op)) {
        for (uint32_t i = 0; i < ch->n; i++) from[i] = x->in + i * share;
        sn_reduce(cut->c->elem, cut->c->kind, from, ch->n, x->out,
                  sn_cut_range(cut, k, ch->me, &at));
        if (cut->c->op == SN_reduce_scatter) {
            sn_cut_give(cut, k, ch->me, x->out);
            return SN_OK;
        }
        s = all_gather(ch, x->out, x->in, share, e);
    }
    for (uint32_t q = 0; !s && q < ch->n; q++) sn_cut_give(cut, k, q, x->in + q * share);
    return s;
}

static SnStatus mpi_start(SnChannel *ch, const SnCollective *c, const SnPart *parts, uint32_t n,
                          void *stream, SnError *e) {
    (void)stream;
    Mpi *x = (Mpi *)ch->comm;
    SnCut cut;
    int64_t most = c->op == SN_all_gather ? PIECE / ch->n : PIECE; // what comes in is n times that
    SnStatus s = sn_cut(c, parts, n, ch->n, ch->me, most, &cut, e);
    size_t room = (size_t)cut.piece * (c->op == SN_all_gather ? ch->n : 1);
    const void **from = malloc(ch->n * sizeof *from);
    x->out = calloc(1, (size_t)cut.piece); // what no sub-block fills is sent, too
    x->in = malloc(room);
    if (!from || !x->out || !x->in) s = sn_fail(e, SN_MACHINE, "out of memory");
    if (!s) s = compare(ch, &cut, e);
    for (int64_t k = 0; !s && k < cut.pieces; k++) s = one_piece(ch, &cut, from, k, e);
    free(from);
    // What MPI still writes to after a failure must stay.
    if (s != SN_PEER) free(x->out), free(x->in);
    x->out = x->in = NULL;
    if (!s) ch->comm->completed++;
    return s;
}

static SnStatus mpi_group(SnComm *comm, SnChannel *ch, SnError *e) {
    const SnMpi *m = ((Mpi *)comm)->mpi;
    int code = m->split(m->world, (int)ch->ranks[0], (int)ch->me, &ch->own);
    if (code == SUCCESS) code = m->set_errhandler(ch->own, m->errors_return);
    return code == SUCCESS ? SN_OK : failed(m, code, "splitting of ranks", e);
}

static SnStatus mpi_poll(SnComm *comm, uint64_t *completed, SnError *e) {
    *completed = comm->completed;
    return atomic_load(&comm->aborted) ? sn_fail(e, SN_PEER, "aborted") : SN_OK;
}

static void mpi_abort(SnComm *comm) { (void)comm; } // who waits looks

// Freeing a group is collective: only where all ranks do so.
static void mpi_free(SnComm *comm) {
    const SnMpi *m = ((Mpi *)comm)->mpi;
    for (SnChannel *ch = comm->channels; ch; ch = ch->next)
        if (ch->own && !atomic_load(&comm->aborted)) m->comm_free(&ch->own);
    free(comm);
}

static const SnCommOps mpi = {"mpi", mpi_group, mpi_start, mpi_poll, mpi_abort, mpi_free};

SnStatus sn_mpi_comm(SnControl *control, SnMpi *m, SnComm **out, SnError *e) {
    const SnWorld *w = sn_control_world(control);
    Mpi *x = calloc(1, sizeof *x);
    if (!x) return sn_fail(e, SN_MACHINE, "out of memory");
    x->comm = (SnComm){.ops = &mpi, .control = control, .rank = w->rank, .size = w->size};
    x->mpi = m;
    *out = &x->comm;
    return SN_OK;
}

// ---- the library --------------------------------------------------------------------------------

static SnStatus load(SnMpi *m, SnError *e) {
    // Global: Open MPI's own plugins look for its symbols.
    void *library = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        void *mpich = dlopen("libmpi.so.12", RTLD_LAZY | RTLD_LOCAL);
        if (!mpich) mpich = dlopen("libmpich.so.12", RTLD_LAZY | RTLD_LOCAL);
        return sn_fail(
            e, SN_USER,
            mpich ? "MPICH is installed (libmpi.so.12) and Open MPI is not: its interface is "
                    "needed (libmpi.so.40)"
                  : "Open MPI is not installed (libmpi.so.40 is not found)");
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *at = dlsym(library, symbols[i].symbol);
        if (!at)
            return sn_fail(e, SN_USER, "libmpi.so.40 is no Open MPI: it has no '%s'",
                           symbols[i].symbol);
        memcpy((char *)m + symbols[i].at, &at, sizeof at);
    }
    return SN_OK;
}

static SnStatus begin(SnMpi *m, const SnWorld *w, SnError *e) {
    int began = 0, provided = 0, size = 0, rank = 0;
    m->initialized(&began);
    m->ours = !began;
    if (!began && m->init(NULL, NULL, THREAD_FUNNELED, &provided) != SUCCESS)
        return sn_fail(e, SN_MACHINE, "Open MPI does not start");
    m->set_errhandler(m->world, m->errors_return);
    m->size(m->world, &size);
    m->rank(m->world, &rank);
    if ((uint32_t)size != w->size || (uint32_t)rank != w->rank)
        return sn_fail(
            e, SN_USER,
            "rank %u of %u by %s, rank %d of %d by Open MPI: it must be Open MPI's mpirun "
            "that starts the ranks",
            w->rank, w->size, sn_launcher_name(w->by), rank, size);
    return SN_OK;
}

SnStatus sn_mpi_open(const SnWorld *world, SnMpi **out, SnError *e) {
    *out = NULL;
    if (world->by == SN_BY_PMI)
        return sn_fail(e, SN_USER,
                       "these ranks were started by MPICH's launcher or one like it (PMI_RANK is "
                       "set): Open MPI's mpirun is needed");
    SnMpi *m = calloc(1, sizeof *m);
    if (!m) return sn_fail(e, SN_MACHINE, "out of memory");
    SnStatus s = load(m, e);
    if (!s) s = begin(m, world, e);
    if (!s)
        *out = m;
    else
        free(m);
    return s;
}

SnStatus sn_mpi_spread(void *user, void *bytes, size_t n, SnError *e) {
    const SnMpi *m = user;
    void *request;
    int code = m->ibcast(bytes, (int)n, m->byte, 0, m->world, &request);
    return wait(m, NULL, request, code, "broadcast", e);
}

void sn_mpi_close(SnMpi *m, bool good) {
    if (!m) return;
    if (good && m->ours) m->finalize();
    free(m);
}

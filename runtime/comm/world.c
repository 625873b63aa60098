// See world.h.
#define _GNU_SOURCE
#include "runtime/comm/world.h"
#include "runtime/plain.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    SnLauncher by;
    const char *name, *rank, *size, *local, *locals;
} Launcher;

static const Launcher launchers[] = {
    {SN_BY_SINTER, "--ranks", "SINTER_RANK", "SINTER_WORLD", "SINTER_LOCAL", "SINTER_LOCALS"},
    {SN_BY_TORCHRUN, "torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {SN_BY_OPEN_MPI, "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {SN_BY_PMI, "PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {SN_BY_SLURM, "Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", NULL},
};
enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

// An empty value is none: that is how shells take a variable back for one command.
static const char *find(char *const *environment, const char *name) {
    size_t n = strlen(name);
    for (; name[0] && *environment; environment++)
        if (!strncmp(*environment, name, n) && (*environment)[n] == '=' && (*environment)[n + 1])
            return *environment + n + 1;
    return NULL;
}

static SnStatus number(const char *name, const char *text, uint32_t least, uint32_t most,
                       uint32_t *to, SnError *e) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < least || value > most)
        return sn_fail(e, SN_USER, "%s is '%.40s', no whole number from %u to %u", name, text,
                       least, most);
    *to = (uint32_t)value;
    return SN_OK;
}

static const Launcher *launcher_of(char *const *environment, const Launcher *from) {
    for (; from < launchers + LAUNCHERS; from++) {
        if (from->by == SN_BY_SLURM && !find(environment, "SLURM_STEP_ID")) continue;
        if (find(environment, from->rank) || find(environment, from->size)) return from;
    }
    return NULL;
}

static SnStatus counts(char *const *environment, const Launcher *l, uint32_t *rank, uint32_t *size,
                       SnError *e) {
    const char *r = find(environment, l->rank), *n = find(environment, l->size);
    if (!r || !n)
        return sn_fail(e, SN_USER, "%s is set and %s is not: set both, or neither",
                       r ? l->rank : l->size, r ? l->size : l->rank);
    if (number(l->size, n, 1, SN_MAX_RANKS, size, e)) return e ? e->status : SN_USER;
    return number(l->rank, r, 0, *size - 1, rank, e);
}

// An outer launcher (mpirun that starts torchrun) may have started fewer processes than there are ranks, never
// more; and as many only with the same numbers, but for torchrun's own, which meet in any order.
static SnStatus agrees_with_outer(char *const *environment, const Launcher *l, const SnWorld *w,
                                  SnError *e) {
    const Launcher *outer = launcher_of(environment, l + 1);
    uint32_t rank, size;
    if (!outer || l->by == SN_BY_SINTER) return SN_OK;
    if (counts(environment, outer, &rank, &size, e)) return SN_USER;
    if (size > w->size)
        return sn_fail(e, SN_USER,
                       "%s is %u, but %s started %u processes (%s): unset what is left over of "
                       "another run",
                       l->size, w->size, outer->name, size, outer->size);
    if (size == w->size && rank != w->rank && !find(environment, "TORCHELASTIC_RUN_ID"))
        return sn_fail(e, SN_USER, "%s is %u and %s is %u: unset what is left over of another run",
                       l->rank, w->rank, outer->rank, rank);
    return SN_OK;
}

static SnStatus place_here(char *const *environment, const Launcher *l, SnWorld *w, SnError *e) {
    const char *local = find(environment, l->local);
    const char *locals = l->locals ? find(environment, l->locals) : NULL;
    if (locals && number(l->locals, locals, 1, w->size, &w->locals, e)) return SN_USER;
    uint32_t most = w->locals ? w->locals - 1 : w->size - 1;
    return local ? number(l->local, local, 0, most, &w->local, e) : SN_OK;
}

// "node[003-010,12],other" -> "node003".
static SnStatus first_host(const char *list, char *to, size_t size, SnError *e) {
    size_t base = strcspn(list, "[,");
    const char *in = list[base] == '[' ? list + base + 1 : "";
    size_t digits = strspn(in, "0123456789");
    if (!base || base + digits >= size || (list[base] == '[' && !digits))
        return sn_fail(e, SN_USER, "the list of Slurm's hosts, '%.80s', is none", list);
    snprintf(to, size, "%.*s%.*s", (int)base, list, (int)digits, in);
    return SN_OK;
}

static SnStatus slurm_host(char *const *environment, SnWorld *w, SnError *e) {
    const char *hosts = find(environment, "SLURM_STEP_NODELIST");
    const char *job = find(environment, "SLURM_JOB_ID");
    uint32_t id = 0;
    if (!w->host[0] && hosts && first_host(hosts, w->host, sizeof w->host, e)) return SN_USER;
    if (job && number("SLURM_JOB_ID", job, 0, UINT32_MAX, &id, e)) return SN_USER;
    if (!w->port && job) w->port = (uint16_t)(20000 + id % 10000);
    return SN_OK;
}

static SnStatus address(char *const *environment, SnWorld *w, SnError *e) {
    const char *host = find(environment, "MASTER_ADDR");
    const char *master = find(environment, "MASTER_PORT"), *port = find(environment, "SINTER_PORT");
    uint32_t n = 0;
    if (host && strlen(host) >= sizeof w->host)
        return sn_fail(e, SN_USER, "MASTER_ADDR is longer than any name of a host");
    if (host) snprintf(w->host, sizeof w->host, "%s", host);
    if (master && number("MASTER_PORT", master, 1, 65534, &n, e)) return SN_USER;
    if (n) n++;
    if (port && number("SINTER_PORT", port, 1, 65535, &n, e)) return SN_USER;
    w->port = (uint16_t)n;
    if (w->by == SN_BY_SLURM && slurm_host(environment, w, e)) return SN_USER;
    // Open MPI's ranks learn from each other where rank 0 is.
    if (w->by == SN_BY_OPEN_MPI && !(w->host[0] && w->port)) w->host[0] = 0, w->port = 0;
    if (w->by == SN_BY_OPEN_MPI) return SN_OK;
    if (!w->host[0] && w->locals == w->size) strcpy(w->host, "127.0.0.1");
    if (!w->host[0] || !w->port)
        return sn_fail(e, SN_USER,
                       "started as rank %u of %u by %s, and %s set: where rank 0 listens is "
                       "not known",
                       w->rank, w->size, sn_launcher_name(w->by),
                       w->host[0] ? "neither MASTER_PORT nor SINTER_PORT is"
                                  : "MASTER_ADDR is not");
    return SN_OK;
}

static void name_run(char *const *environment, SnWorld *w) {
    const char *run = find(environment, "TORCHELASTIC_RUN_ID");
    if (w->by == SN_BY_OPEN_MPI) run = find(environment, "PMIX_NAMESPACE");
    if (w->by == SN_BY_SLURM) run = find(environment, "SLURM_JOB_ID");
    if (run && w->by != SN_BY_PMI) snprintf(w->run, sizeof w->run, "%s", run);
}

SnStatus sn_world_read(char *const *environment, SnWorld *out, SnError *e) {
    *out = (SnWorld){.size = 1, .locals = 1};
    SnError own;
    if (!e) e = &own;
    if (gethostname(out->node, sizeof out->node - 1)) strcpy(out->node, "localhost");
    out->node[strcspn(out->node, ".")] = 0;
    sn_plain(out->node);
    const Launcher *l = launcher_of(environment, launchers);
    if (!l) return SN_OK;
    out->by = l->by;
    out->locals = 0;
    if (counts(environment, l, &out->rank, &out->size, e)) return SN_USER;
    if (agrees_with_outer(environment, l, out, e)) return SN_USER;
    if (place_here(environment, l, out, e)) return SN_USER;
    if (out->size == 1) out->locals = 1;
    name_run(environment, out);
    if (l->by == SN_BY_SINTER && (out->sockets = find(environment, "SINTER_SOCKETS"))) return SN_OK;
    return out->size == 1 ? SN_OK : address(environment, out, e);
}

SnStatus sn_world_fits(const SnWorld *w, const char *axes, uint64_t ranks, SnError *e) {
    if (ranks == w->size) return SN_OK;
    return sn_fail(e, SN_USER, "built for %s = %llu ranks, started as %u", axes,
                   (unsigned long long)ranks, w->size);
}

const char *sn_launcher_name(SnLauncher by) {
    for (size_t i = 0; i < LAUNCHERS; i++)
        if (launchers[i].by == by) return launchers[i].name;
    return "nobody";
}

void sn_world_prefix(const SnWorld *w, char *to, size_t size) {
    to[0] = 0;
    if (w->rank && w->by != SN_BY_SINTER) snprintf(to, size, "[rank %u %s] ", w->rank, w->node);
}

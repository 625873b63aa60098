// Finding the command that stored the first NaN: a diagnosis, not a mode to train in. Every command is
// waited for and what it wrote is read.
#include "runtime/device.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sn_nan_wanted(void) {
    const char *set = getenv("SINTER_FIND_NAN");
    return set && *set && strcmp(set, "off");
}

static uint64_t written_floats(const SnPlan *p, const SnCmd *c) {
    switch ((SnCmdOp)c->op) {
    case SN_CMD_KERNEL: {
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[c->fn];
        return k->writes & k->floats;
    }
    case SN_CMD_GEMM: {
        const SnGemm *g = &SN_AT(p, SnGemm, gemms)[c->fn];
        uint64_t own = g->c_arg == UINT32_MAX ? 0 : UINT64_C(1) << g->c_arg;
        if (g->sum_arg) own |= UINT64_C(1) << g->sum_arg;
        if (g->aux_arg) own |= UINT64_C(1) << g->aux_arg;
        if (g->epilogue == UINT32_MAX) return own;
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[g->epilogue];
        return own | (k->writes & k->floats) << g->epilogue_args;
    }
    case SN_CMD_FILL:
    case SN_CMD_COPY: break;
    }
    return 0;
}

static int64_t first_nan(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != x[i]) return i;
    return -1;
}

static SnStatus look(SnDevice *d, const SnCmd *c, const SnArg *a, float *to, SnError *e) {
    SnStatus s = d->ops->read(d, a->region, a->offset, to, a->bytes, e);
    int64_t at = s ? -1 : first_nan(to, a->bytes / 4);
    if (at < 0) return s;
    const SnNode *node = sn_cmd_node(d->plan, c);
    char line[32] = "";
    if (node->line) snprintf(line, sizeof line, " (line %u)", node->line);
    return sn_fail(e, SN_USER, "'%s'%s stored the first NaN, at element %" PRId64 " of %" PRId64,
                   SN_STRING(d->plan, node->name), line, at, a->bytes / 4);
}

SnStatus sn_nan_check(SnDevice *d, const SnCmd *c, SnError *e) {
    uint64_t floats = written_floats(d->plan, c);
    const SnArg *args = SN_AT(d->plan, SnArg, args) + c->args;
    SnStatus s = SN_OK;
    for (uint32_t i = 0; i < c->nargs && !s; i++) {
        if (!(floats >> i % (c->nargs / c->count) & 1) || !args[i].bytes) continue;
        float *values = malloc((size_t)args[i].bytes);
        if (!values) return sn_fail(e, SN_MACHINE, "out of memory");
        s = look(d, c, &args[i], values, e);
        free(values);
    }
    return s;
}

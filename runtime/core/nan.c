// Which command stored the first NaN, in words; and finding it where nobody watches: a diagnosis, not a
// mode to train in. Every command is waited for and what it wrote is read.
#include "runtime/core/device.h"
#include "runtime/elem.h"
#include "runtime/setting.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sn_nan_wanted(void) { return sn_environ_number(SN_SET_env_find_nan) != 0; }

static uint64_t written_floats(const SnPlan *p, const SnCmd *c) {
    switch ((SnCmdOp)c->op) {
    case SN_CMD_KERNEL: {
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[c->fn];
        return k->writes & k->floats;
    }
    case SN_CMD_GEMM: {
        const SnGemm *g = &SN_AT(p, SnGemm, gemms)[c->fn];
        if (!sn_gemm_has(g, SN_GEMM_EPILOGUE)) return sn_gemm_writes(g);
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[g->epilogue];
        return sn_gemm_writes(g) | (k->writes & k->floats) << sn_gemm_arg(g, SN_GEMM_EPILOGUE);
    }
    case SN_CMD_ATTEND: {
        const SnAttend *a = &SN_AT(p, SnAttend, attends)[c->fn];
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[a->kernel];
        return sn_attend_writes(a) | (k->writes & k->floats) << a->args;
    }
    case SN_CMD_FILL:
    case SN_CMD_COPY:
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: break;
    }
    return 0;
}

static int64_t elements(const SnArg *a) { return a->bytes / sn_elem_info[a->elem].bytes; }

static int64_t first_nan(const SnArg *a, const char *x) {
    for (int64_t i = 0, n = elements(a); i < n; i++)
        if (isnan(sn_elem_get(a->elem, x + i * sn_elem_info[a->elem].bytes))) return i;
    return -1;
}

// ---- words --------------------------------------------------------------------------------------

// What an argument of the plan is: whose, and which of a command's instances.
typedef struct {
    const SnCmd *cmd;        // NULL: no such argument
    uint32_t instance, each; // each: arguments of one
} Owner;

static Owner owner_of(const SnPlan *p, uint32_t arg) {
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
        uint32_t each = c->nargs / c->count;
        if (arg - c->args < c->nargs) return (Owner){c, (arg - c->args) / each, each};
    }
    return (Owner){0};
}

// "'micro/h.3.attn.softmax' (line 41)"
static void put_name(const SnPlan *p, const SnCmd *c, uint32_t instance, char *text, size_t size) {
    const SnNode *n = sn_cmd_node(p, c) + instance;
    char line[32] = "";
    if (n->line) snprintf(line, sizeof line, " (line %u)", n->line);
    snprintf(text, size, "'%.200s'%s", SN_STRING(p, n->name), line);
}

static void put_first(const SnPlan *p, uint32_t arg, int64_t element, char *text, size_t size) {
    const Owner o = owner_of(p, arg);
    char name[256];
    put_name(p, o.cmd, o.instance, name, sizeof name);
    snprintf(text, size, "%s stored the first NaN, at element %" PRId64 " of %" PRId64, name,
             element, elements(&SN_AT(p, SnArg, args)[arg]));
}

// The call stored it: what it multiplied, GELU's argument, or sums.
static bool call_stores(const SnGemm *g, const SnArg *args, uint32_t value) {
    for (uint64_t left = sn_gemm_writes(g); left; left &= left - 1)
        if (args[__builtin_ctzll(left)].value == value) return true;
    return false;
}

// The product of cuBLASLt that left this value; NULL: none did.
static const SnCmd *product_of(const SnPlan *p, const SnCmd *reader, uint32_t value) {
    for (const SnCmd *c = reader; value && c-- > SN_AT(p, SnCmd, cmds);) {
        if (c->op != SN_CMD_GEMM) continue;
        const SnGemm *g = &SN_AT(p, SnGemm, gemms)[c->fn];
        if (!sn_gemm_has(g, SN_GEMM_KERNEL) &&
            call_stores(g, SN_AT(p, SnArg, args) + c->args, value))
            return c;
    }
    return NULL;
}

bool sn_nan_watched(const SnPlan *p, uint32_t arg, int64_t element, char *text, size_t size) {
    const Owner o = owner_of(p, arg);
    char name[256];
    if (!o.cmd) return false;
    put_first(p, arg, element, text, size);
    const SnArg *mine = SN_AT(p, SnArg, args) + o.cmd->args + o.instance * o.each;
    for (uint32_t i = 0; i < o.each; i++) {
        const SnCmd *product = product_of(p, o.cmd, mine[i].value);
        if (!product) continue;
        size_t n = strlen(text);
        put_name(p, product, 0, name, sizeof name);
        snprintf(text + n, size - n, " (or %s, a product that it reads, which is not watched)",
                 name);
        break;
    }
    return true;
}

// ---- one command --------------------------------------------------------------------------------

static SnStatus look(SnDevice *d, uint32_t arg, char *to, SnError *e) {
    const SnArg *a = &SN_AT(d->plan, SnArg, args)[arg];
    char text[512];
    SnStatus s = d->ops->read(d, a->region, a->offset, to, a->bytes, e);
    int64_t at = s ? -1 : first_nan(a, to);
    if (at < 0) return s;
    put_first(d->plan, arg, at, text, sizeof text);
    return sn_fail(e, SN_USER, "%s", text);
}

SnStatus sn_nan_check(SnDevice *d, const SnCmd *c, SnError *e) {
    uint64_t floats = written_floats(d->plan, c);
    const SnArg *args = SN_AT(d->plan, SnArg, args) + c->args;
    SnStatus s = SN_OK;
    for (uint32_t i = 0; i < c->nargs && !s; i++) {
        if (!(floats >> i % (c->nargs / c->count) & 1) || !args[i].bytes) continue;
        char *values = malloc((size_t)args[i].bytes);
        if (!values) return sn_fail(e, SN_MACHINE, "out of memory");
        s = look(d, c->args + i, values, e);
        free(values);
    }
    return s;
}

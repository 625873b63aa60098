// emu.h: devices, modules and launches.
#define _GNU_SOURCE
#include "runtime/emulator/engine/decode.h"
#include "runtime/emulator/engine/exec.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// About two minutes of one thread.
#define DEFAULT_BUDGET (UINT64_C(1) << 37)

// ---- devices ------------------------------------------------------------------------------------

EmuDevice *emu_device_new(const EmuConfig *config, SnPool *pool) {
    EmuDevice *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->config = *config;
    d->pool = pool;
    d->threads = sn_pool_threads(pool);
    d->cx = calloc((size_t)d->threads, sizeof *d->cx);
    if (d->cx && memory_init(&d->memory, config->memory, config->check)) return d;
    free(d->cx);
    free(d);
    return NULL;
}

void emu_device_free(EmuDevice *d) {
    if (!d) return;
    for (int k = 0; k < d->threads; k++) exec_free(&d->cx[k]);
    free(d->cx);
    memory_free(&d->memory);
    free(d);
}

uint64_t emu_alloc(EmuDevice *d, uint64_t bytes) { return memory_alloc(&d->memory, bytes); }
bool emu_free(EmuDevice *d, uint64_t address) { return memory_release(&d->memory, address); }
uint64_t emu_free_bytes(const EmuDevice *d) { return d->memory.bytes - d->memory.used; }

static bool in_allocation(const EmuDevice *d, uint64_t address, uint64_t bytes) {
    const Allocation *a = memory_find(&d->memory, address);
    return a && a->bytes - (address - a->address) >= bytes;
}
void *emu_host(EmuDevice *d, uint64_t address, uint64_t bytes) {
    if (!in_allocation(d, address, bytes)) return NULL;
    return d->memory.host + (address - d->memory.base);
}
void emu_mark(EmuDevice *d, uint64_t address, uint64_t bytes, bool written) {
    if (in_allocation(d, address, bytes)) memory_mark(&d->memory, address, bytes, written);
}
int64_t emu_first_unwritten(const EmuDevice *d, uint64_t address, uint64_t bytes) {
    return in_allocation(d, address, bytes) ? memory_first_unwritten(&d->memory, address, bytes)
                                            : 0;
}

// ---- modules ------------------------------------------------------------------------------------

static void place_constant(Load *l, EmuModule *m, PtxVar *v) {
    enum { MAX_CONSTANT = 1 << 16 };
    v->address = (m->constant_bytes + v->align - 1) & ~(uint64_t)(v->align - 1);
    if (v->bytes > MAX_CONSTANT || v->address > MAX_CONSTANT - v->bytes)
        load_error(l, v->line, "more than %d bytes of constants", MAX_CONSTANT);
    m->constant_bytes = v->address + v->bytes;
}

static void place_global(Load *l, EmuModule *m, PtxVar *v, EmuGlobal *g) {
    v->address = emu_alloc(m->device, v->bytes);
    if (!v->address) load_fail(l, EMU_NO_MEMORY, v->line, "no device memory for '%s'", v->name);
    *g = (EmuGlobal){v->name, v->address, v->bytes};
    m->global_count++;
    uint8_t *to = emu_host(m->device, v->address, v->bytes);
    if (v->init)
        memcpy(to, v->init, v->bytes);
    else
        memset(to, 0, v->bytes);
    emu_mark(m->device, v->address, v->bytes, true);
}

static void place_variables(Load *l, EmuModule *m, const PtxModule *p) {
    EmuGlobal *globals = LOAD_ARRAY(l, EmuGlobal, p->vars.n);
    m->globals = globals;
    for (uint32_t k = 0; k < p->vars.n; k++) {
        PtxVar *v = p->vars.at[k];
        if (v->space == SPACE_const) place_constant(l, m, v);
        if (v->space == SPACE_global) place_global(l, m, v, &globals[m->global_count]);
    }
    uint8_t *constants = load_alloc(l, m->constant_bytes, 1);
    m->constants = constants;
    for (uint32_t k = 0; k < p->vars.n; k++) {
        const PtxVar *v = p->vars.at[k];
        if (v->space == SPACE_const && v->init) memcpy(constants + v->address, v->init, v->bytes);
    }
}

static void build_module(Load *l, EmuModule *m, const char *ptx, size_t n) {
    PtxModule *p = ptx_parse(l, ptx, n);
    place_variables(l, m, p);
    for (PtxFunc *f = p->funcs; f; f = f->next) {
        if (!f->entry) continue;
        EmuFunction *e = decode_entry(l, p, f);
        e->module = m;
        e->next = m->functions;
        m->functions = e;
    }
}

static void release_module(EmuModule *m) {
    for (uint32_t k = 0; k < m->global_count; k++) emu_free(m->device, m->globals[k].address);
    m->global_count = 0;
}

// False when something below gave up; l->status says how. Holds no variables across the jump.
static bool try_build(Load *l, EmuModule *m, const char *ptx, size_t n) {
    if (setjmp(l->out)) return false;
    build_module(l, m, ptx, n);
    return true;
}

EmuStatus emu_module_load(EmuDevice *d, const char *ptx, size_t n, EmuModule **out, char *why,
                          size_t why_size) {
    EmuModule *m = calloc(1, sizeof *m);
    Load *l = calloc(1, sizeof *l);
    EmuStatus status = EMU_NO_MEMORY;
    *out = NULL;
    if (why_size) *why = 0;
    if (m && l) {
        *l = (Load){.why = why, .why_size = why_size, .sm = d->config.sm, .arch = d->config.arch};
        m->device = d;
        status = try_build(l, m, ptx, n) ? EMU_OK : l->status;
        m->arena = l->arena;
    }
    if (status == EMU_OK)
        *out = m;
    else
        emu_module_free(m);
    free(l);
    return status;
}

void emu_module_free(EmuModule *m) {
    if (!m) return;
    release_module(m);
    arena_release(&m->arena);
    free(m);
}

const EmuFunction *emu_module_function(const EmuModule *m, const char *name) {
    for (const EmuFunction *f = m->functions; f; f = f->next)
        if (!name || !strcmp(f->name, name)) return f;
    return NULL;
}

static uint32_t product(const uint32_t x[3]) { return x[0] * x[1] * x[2]; }

static uint32_t most_threads(const EmuFunction *f) {
    enum { MOST = 1024 };
    uint64_t n = MOST;
    const uint32_t *given = f->reqntid[0] ? f->reqntid : f->maxntid;
    if (given[0]) n = (uint64_t)given[0] * given[1] * given[2];
    return n > MOST ? MOST : (uint32_t)n;
}

EmuFunctionInfo emu_function_info(const EmuFunction *f) {
    return (EmuFunctionInfo){.name = f->name,
                             .params = f->params,
                             .param_bytes = f->param_bytes,
                             .offset = f->offset,
                             .size = f->size,
                             .shared_bytes = f->shared_bytes,
                             .max_threads = most_threads(f),
                             .registers = f->registers,
                             .local_bytes = f->local_bytes};
}

// ---- limits of a launch -------------------------------------------------------------------------

__attribute__((format(printf, 4, 5))) static bool refuse(const EmuLaunch *l, EmuFaultKind kind,
                                                         EmuFault *fault, const char *fmt, ...) {
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    *fault = (EmuFault){.kind = kind};
    snprintf(fault->text, sizeof fault->text, "kernel '%s'%s%s%s%s: %s: %s",
             l->kernel ? l->kernel : l->function->name, l->node ? ", op " : "",
             l->node ? l->node : "", l->where ? ", " : "", l->where ? l->where : "",
             emu_fault_name(kind), what);
    return false;
}

// With the opt-in, which the driver's calls check.
static uint32_t most_shared(uint32_t sm) {
    switch (sm) {
    case 80: return 163 << 10;
    case 90:
    case 100: return 227 << 10;
    default: return 99 << 10;
    }
}

static bool check_dimensions(const EmuLaunch *l, EmuFault *fault) {
    static const uint32_t grid_most[3] = {INT32_MAX, 65535, 65535},
                          block_most[3] = {1024, 1024, 64};
    const EmuFunction *f = l->function;
    for (int k = 0; k < 3; k++) {
        if (!l->grid[k] || l->grid[k] > grid_most[k] || !l->block[k] || l->block[k] > block_most[k])
            return refuse(l, EMU_FAULT_resources, fault,
                          "a grid of %u,%u,%u blocks of %u,%u,%u threads", l->grid[0], l->grid[1],
                          l->grid[2], l->block[0], l->block[1], l->block[2]);
        if (f->reqntid[0] && l->block[k] != f->reqntid[k])
            return refuse(l, EMU_FAULT_resources, fault,
                          "blocks of %u,%u,%u threads, .reqntid is %u,%u,%u", l->block[0],
                          l->block[1], l->block[2], f->reqntid[0], f->reqntid[1], f->reqntid[2]);
    }
    uint32_t threads = product(l->block), most = most_threads(f);
    if (threads > most)
        return refuse(l, EMU_FAULT_resources, fault, "blocks of %u threads, the kernel allows %u",
                      threads, most);
    // Registers are given to warps in units of 256.
    uint32_t warps = (threads + LANES - 1) / LANES, each = (f->registers * LANES + 255) / 256 * 256;
    if (each * warps > 65536)
        return refuse(l, EMU_FAULT_resources, fault,
                      "%u registers for each of %u threads, there are 65536", f->registers,
                      threads);
    return true;
}

static bool check_limits(const EmuDevice *d, const EmuLaunch *l, uint32_t *shared,
                         EmuFault *fault) {
    const EmuFunction *f = l->function;
    if (!check_dimensions(l, fault)) return false;
    uint64_t bytes =
        l->dynamic_shared ? (uint64_t)f->dynamic_start + l->dynamic_shared : f->shared_bytes;
    if (bytes > most_shared(d->config.sm))
        return refuse(l, EMU_FAULT_resources, fault,
                      "%" PRIu64 " bytes of shared memory, there are %u", bytes,
                      most_shared(d->config.sm));
    if ((uint64_t)f->local_bytes * product(l->block) > 1 << 28)
        return refuse(l, EMU_FAULT_resources, fault, "%u bytes of local memory a thread",
                      f->local_bytes);
    *shared = (uint32_t)bytes;
    return true;
}

// ---- ranges -------------------------------------------------------------------------------------

static int by_base(const void *a, const void *b) {
    const EmuRange *x = a, *y = b;
    return x->base < y->base ? -1 : x->base > y->base;
}

static bool is_empty(const EmuRange *r) { return !r->bytes; }

static void find_overlaps(Launch *l) {
    l->disjoint = true;
    for (uint32_t k = 0; k < l->range_count; k++) {
        const EmuRange *r = &l->ranges[k];
        l->racy[k] |= r->writes;
        for (uint32_t j = k + 1; j < l->range_count && l->ranges[j].base < r->base + r->bytes;
             j++) {
            l->disjoint = false;
            if (l->ranges[j].writes) l->racy[k] = true;
            if (r->writes) l->racy[j] = true;
        }
    }
}

// The launch's ranges and the module's variables, or all allocations; before them an empty one, which
// allows nothing: what an access site has that has found none yet.
static bool gather_ranges(Launch *l, const EmuLaunch *from, EmuFault *fault) {
    const Memory *m = &l->d->memory;
    const EmuModule *module = l->f->module;
    uint32_t most = from->range_count ? from->range_count + module->global_count : m->count, n = 1;
    l->ranges = calloc(most + 1, sizeof *l->ranges);
    l->racy = calloc(most + 1, sizeof *l->racy);
    if (!l->ranges || !l->racy) return refuse(from, EMU_FAULT_resources, fault, "no host memory");
    for (uint32_t k = 0; k < from->range_count; k++) {
        const EmuRange *r = &from->ranges[k];
        if (is_empty(r)) continue;
        if (r->base < m->base || r->base - m->base > m->bytes ||
            m->bytes - (r->base - m->base) < r->bytes)
            return refuse(from, EMU_FAULT_bounds, fault, "'%s' is not in device memory",
                          r->name ? r->name : "unnamed");
        l->ranges[n++] = *r;
    }
    for (uint32_t k = 0; from->range_count && k < module->global_count; k++) {
        const EmuGlobal *g = &module->globals[k];
        if (g->bytes) l->ranges[n++] = (EmuRange){g->address, g->bytes, true, true, g->name, false};
    }
    for (uint32_t k = 0; !from->range_count && k < m->count; k++)
        l->ranges[n++] =
            (EmuRange){m->list[k].address, m->list[k].bytes, true, true, "allocation", false};
    l->range_count = n;
    qsort(l->ranges, n, sizeof *l->ranges, by_base);
    find_overlaps(l);
    return true;
}

// ---- launches -----------------------------------------------------------------------------------

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

// Blocks in another order for every seed: a walk with a step that has no divisor in common with their
// number.
static void order_blocks(Launch *l) {
    uint64_t seed = l->d->config.seed;
    l->step = 1;
    if (!seed || l->blocks == 1) return;
    uint64_t h = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    l->start = (h >> 33) % l->blocks;
    l->step = (h >> 11) % UINT32_MAX % l->blocks;
    while (common_divisor(l->step, l->blocks) != 1) l->step = (l->step + 1) % l->blocks;
}

static void run_tasks(void *user, int64_t task0, int64_t task1, int thread) {
    const Launch *l = user;
    for (int64_t t = task0; t < task1; t++) {
        uint64_t block = ((uint64_t)t % l->blocks * l->step + l->start) % l->blocks;
        if (atomic_load(&l->d->lowest) > block) exec_block(&l->d->cx[thread], l, block);
    }
}

static void add_counts(EmuCounts *to, uint64_t *nan_block, const Cx *c) {
    to->instructions += c->counts.instructions;
    to->warp_instructions += c->counts.warp_instructions;
    to->loads += c->counts.loads;
    to->stores += c->counts.stores;
    if (c->nan_block < *nan_block) {
        *nan_block = c->nan_block;
        to->nan_line = c->counts.nan_line;
    }
}

static bool collect(const Launch *l, EmuCounts *counts, EmuFault *fault) {
    uint64_t nan_block = UINT64_MAX, lowest = UINT64_MAX;
    EmuCounts sum = {.instructions = 0};
    for (int k = 0; k < l->d->threads; k++) {
        const Cx *c = &l->d->cx[k];
        add_counts(&sum, &nan_block, c);
        if (c->fault_block < lowest) {
            lowest = c->fault_block;
            *fault = c->fault;
        }
    }
    if (counts) *counts = sum;
    return lowest == UINT64_MAX;
}

static bool run_launch(Launch *l, const EmuLaunch *from, EmuCounts *counts, EmuFault *fault) {
    EmuDevice *d = l->d;
    if (!check_limits(d, from, &l->shared_bytes, fault) || !gather_ranges(l, from, fault))
        return false;
    order_blocks(l);
    l->epoch = memory_next_epoch(&d->memory);
    atomic_store(&d->used, 0);
    atomic_store(&d->lowest, UINT64_MAX);
    for (int k = 0; k < d->threads; k++)
        if (!exec_prepare(&d->cx[k], l))
            return refuse(from, EMU_FAULT_resources, fault, "no host memory");
    int64_t grain = (int64_t)(l->blocks / ((uint64_t)d->threads * 64)) + 1;
    sn_pool_run(d->pool, (int64_t)l->blocks, grain, run_tasks, l);
    return collect(l, counts, fault);
}

bool emu_launch(EmuDevice *d, const EmuLaunch *from, EmuCounts *counts, EmuFault *fault) {
    const uint32_t *g = from->grid;
    Launch l = {.d = d, .l = from, .f = from->function, .check = d->config.check};
    l.blocks = (uint64_t)g[0] * g[1] * g[2];
    l.threads = product(from->block);
    l.warps = (l.threads + LANES - 1) / LANES;
    l.budget = d->config.budget ? d->config.budget : DEFAULT_BUDGET;
    *fault = (EmuFault){.kind = EMU_FAULT_none};
    if (counts) *counts = (EmuCounts){.instructions = 0};
    bool ok = run_launch(&l, from, counts, fault);
    free(l.ranges);
    free(l.racy);
    return ok;
}

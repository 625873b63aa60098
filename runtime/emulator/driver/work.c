// Work of the emulated device: one launch, copy, fill or matrix product, made when it is called and
// run when its turn comes.
//
// What it touches is what the caller's note says, or, without one, what the call's own arguments
// say; a copy, fill or product has to stay within its note. Before it runs, what it only writes
// becomes unwritten in the engine's shadow, so that bytes it leaves out count as never written.
#include "runtime/elem.h"
#include "runtime/emulator/driver/state.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- strings, notes -----------------------------------------------------------------------------

static size_t hash(const char *text) {
    uint64_t h = UINT64_C(0xcbf29ce484222325); // FNV-1a
    for (; *text; text++) h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (size_t)h;
}

static char **find_string(EmuDriver *d, const char *text) {
    size_t i = hash(text) & (d->string_room - 1);
    while (d->strings[i] && strcmp(d->strings[i], text) != 0) i = (i + 1) & (d->string_room - 1);
    return &d->strings[i];
}

static bool grow_strings(EmuDriver *d) {
    size_t old_room = d->string_room, room = old_room ? 2 * old_room : 256;
    char **old = d->strings, **at = driver_alloc(d, room * sizeof *at);
    if (!at) return false;
    d->strings = at;
    d->string_room = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i]) *find_string(d, old[i]) = old[i];
    free(old);
    return true;
}

const char *intern(EmuDriver *d, const char *text) {
    if (!text) return NULL;
    if (2 * d->string_n >= d->string_room && !grow_strings(d)) return NULL;
    char **at = find_string(d, text);
    if (*at) return *at;
    *at = driver_alloc(d, strlen(text) + 1);
    if (!*at) return NULL;
    d->string_n++;
    return memcpy(*at, text, strlen(text) + 1);
}

void note_clear(EmuDriver *d) {
    free((void *)d->note.ranges);
    d->note = (SnCudaNote){0};
    d->note_set = false;
}

const char *who_text(const Who *who, char *to, size_t size) {
    char line[32] = "", node[256] = "";
    if (who->line) snprintf(line, sizeof line, "line %" PRIu32, who->line);
    if (who->node && *who->node) snprintf(node, sizeof node, "node %s", who->node);
    const char *kernel = who->kernel ? who->kernel : "?";
    if (*node || *line)
        snprintf(to, size, "'%s' (%s%s%s)", kernel, node, *node && *line ? ", " : "", line);
    else
        snprintf(to, size, "'%s'", kernel);
    return to;
}

// ---- making -------------------------------------------------------------------------------------

static bool has_note(const EmuDriver *d) {
    return d->note_set && pthread_equal(d->note_thread, pthread_self());
}

void note_end(EmuDriver *d) {
    if (has_note(d)) note_clear(d);
}

Work *work_new(EmuDriver *d, WorkKind kind, const char *name) {
    Work *w = driver_alloc(d, sizeof *w);
    if (!w) return NULL;
    w->refs = 1;
    w->kind = kind;
    if (has_note(d)) {
        w->noted = d->note.n > 0; // one without ranges only gives names
        w->who = (Who){d->note.kernel, d->note.node, d->note.line};
        w->ranges = (SnCudaRange *)(uintptr_t)d->note.ranges;
        w->n = d->note.n;
        d->note.ranges = NULL;
        note_clear(d);
    }
    if (!w->who.kernel) w->who.kernel = intern(d, name);
    return w;
}

void work_own(Work *w, uint64_t base, uint64_t bytes, bool reads, bool writes) {
    if (!bytes) return;
    SnCudaRange r = {.base = base, .bytes = bytes, .reads = reads, .writes = writes};
    w->mine[w->own++] = r;
}

void work_pinned(Work *w, const void *at, uint64_t bytes, bool writes) {
    w->host = (SnCudaRange){.base = (uintptr_t)at, .bytes = bytes, .reads = !writes};
    w->host.writes = writes;
}

static bool overlap(const SnCudaRange *a, const SnCudaRange *b) {
    return a->base < b->base + b->bytes && b->base < a->base + a->bytes;
}

static bool within(const SnCudaRange *r, const Work *w) {
    for (uint32_t i = 0; i < w->n; i++) {
        const SnCudaRange *q = &w->ranges[i];
        bool mode = (!r->reads || q->reads) && (!r->writes || q->writes);
        if (mode && q->base <= r->base && r->base + r->bytes <= q->base + q->bytes) return true;
    }
    return false;
}

// The workspace of a product is in no note; its content is nobody's tensor.
static bool add_workspace(EmuDriver *d, Work *w) {
    SnCudaRange r = {.base = w->product.workspace, .bytes = w->product.workspace_bytes};
    if (!r.bytes || !d->config.check) return true;
    r.writes = 1, r.value = UINT32_MAX, r.name = intern(d, "workspace");
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ranges[i].writes && overlap(&w->ranges[i], &r)) return true;
    if (!driver_grow(d, (void **)&w->ranges, w->n + 1, sizeof *w->ranges)) return false;
    w->ranges[w->n++] = r;
    return true;
}

// What the note says of pinned memory is not of the device's: it stays in `host` alone.
static void take_pinned(Work *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        const SnCudaRange *r = &w->ranges[i];
        if (overlap(r, &w->host))
            w->host.value = r->value, w->host.name = r->name;
        else
            w->ranges[n++] = *r;
    }
    w->n = n;
}

int work_ready(EmuDriver *d, Work *w) {
    if (w->noted && w->host.bytes) take_pinned(w);
    if (!w->noted && w->own) {
        w->ranges = driver_alloc(d, w->own * sizeof *w->ranges);
        if (!w->ranges) return SN_CU_OUT_OF_MEMORY;
        memcpy(w->ranges, w->mine, w->own * sizeof *w->ranges);
        w->n = w->own;
    }
    if (w->kind == WORK_MATMUL && !add_workspace(d, w)) return SN_CU_OUT_OF_MEMORY;
    return d->error;
}

void module_release(LoadedModule *m) {
    if (!m || --m->refs) return;
    while (m->functions) {
        LoadedFunction *f = m->functions;
        m->functions = f->next;
        free(f);
    }
    emu_module_free(m->emu);
    free(m);
}

void work_release(Work *w) {
    if (!w || --w->refs) return;
    if (w->function) module_release(w->function->module);
    event_release(w->event);
    free(w->ranges);
    free(w->staged);
    free(w->params);
    free(w);
}

// ---- checks before it runs ----------------------------------------------------------------------

// The host's view of device memory. It existed when the call was checked, and may be freed since.
static void *view(EmuDriver *d, const Work *w, uint64_t base, uint64_t bytes) {
    char who[512];
    void *p = emu_host(d->device, base, bytes);
    if (!p)
        driver_fail(d, SN_CU_ILLEGAL_ADDRESS,
                    "out of bounds: %s touches [0x%" PRIx64 ", +%" PRIu64
                    "), which is not allocated",
                    who_text(&w->who, who, sizeof who), base, bytes);
    return p;
}

// An operation in place reads what it writes, through this range or another one.
static bool only_written(const Work *w, const SnCudaRange *r) {
    if (!r->writes || r->reads || !r->bytes) return false;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ranges[i].reads && overlap(&w->ranges[i], r)) return false;
    return true;
}

// False: a range is not allocated memory, or no longer.
static bool forget_outputs(EmuDriver *d, const Work *w) {
    for (uint32_t i = 0; i < w->n; i++) {
        const SnCudaRange *r = &w->ranges[i];
        if (r->bytes && !view(d, w, r->base, r->bytes)) return false;
        if (only_written(w, r)) emu_mark(d->device, r->base, r->bytes, false);
    }
    return true;
}

static bool check_note(EmuDriver *d, const Work *w) {
    char who[512];
    for (uint32_t i = 0; w->noted && i < w->own; i++) {
        const SnCudaRange *r = &w->mine[i];
        if (within(r, w)) continue;
        driver_fail(d, SN_CU_ILLEGAL_ADDRESS,
                    "out of bounds: %s %s [0x%" PRIx64 ", +%" PRIu64
                    "), which is in no tensor that it may %s",
                    who_text(&w->who, who, sizeof who), r->writes ? "writes" : "reads", r->base,
                    r->bytes, r->writes ? "write" : "read");
        return false;
    }
    return true;
}

static bool check_written(EmuDriver *d, const Work *w, uint64_t base, uint64_t bytes) {
    int64_t at = d->config.check && bytes ? emu_first_unwritten(d->device, base, bytes) : -1;
    if (at < 0) return true;
    char who[512], writer[600];
    driver_fail(d, SN_CU_LAUNCH_FAILED,
                "uninitialised: %s reads 0x%" PRIx64 ", byte %" PRId64 " of [0x%" PRIx64
                ", +%" PRIu64 "), which was never written%s",
                who_text(&w->who, who, sizeof who), base + (uint64_t)at, at, base, bytes,
                history_writer(d, d->running, base + (uint64_t)at, writer, sizeof writer));
    return false;
}

// ---- kernels ------------------------------------------------------------------------------------

static SnEmulatorKernel *kernel_row(EmuDriver *d, const char *name) {
    for (size_t i = 0; i < d->kernel_n; i++)
        if (d->kernels[i].name == name) return &d->kernels[i];
    if (!driver_grow(d, (void **)&d->kernels, d->kernel_n + 1, sizeof *d->kernels)) return NULL;
    d->kernels[d->kernel_n] = (SnEmulatorKernel){.name = name};
    return &d->kernels[d->kernel_n++];
}

static void count_kernel(EmuDriver *d, const Work *w, const EmuCounts *c) {
    d->counts.launches++;
    d->counts.instructions += c->instructions;
    d->counts.kernel_bytes += c->loads + c->stores;
    SnEmulatorKernel *row = kernel_row(d, intern(d, w->function->info.name));
    if (!row) return;
    row->launches++;
    row->instructions += c->instructions;
    row->loads += c->loads, row->stores += c->stores;
}

static void first_nan(EmuDriver *d, const Work *w, const char *where) {
    if (!d->config.nan || d->nan[0]) return;
    char who[512];
    snprintf(d->nan, sizeof d->nan, "nan: first stored by %s%s", who_text(&w->who, who, sizeof who),
             where);
}

static int code_of(EmuFaultKind kind) {
    switch (kind) {
    case EMU_FAULT_bounds: return SN_CU_ILLEGAL_ADDRESS;
    case EMU_FAULT_misaligned: return SN_CU_MISALIGNED_ADDRESS;
    case EMU_FAULT_resources: return SN_CU_LAUNCH_OUT_OF_RESOURCES;
    case EMU_FAULT_none:
    case EMU_FAULT_uninitialised:
    case EMU_FAULT_shared_race:
    case EMU_FAULT_global_race:
    case EMU_FAULT_divergence:
    case EMU_FAULT_deadlock:
    case EMU_FAULT_budget:
    case EMU_FAULT_trap:
    case EMU_FAULT_COUNT: break;
    }
    return SN_CU_LAUNCH_FAILED;
}

// The engine's line, which begins with the kind here whatever it begins with there, and the names.
static void kernel_fault(EmuDriver *d, const Work *w, const EmuFault *f) {
    char who[512], writer[600] = "";
    const char *kind = emu_fault_name(f->kind);
    size_t n = strlen(kind);
    bool named = strncmp(f->text, kind, n) == 0;
    if (f->kind == EMU_FAULT_uninitialised)
        history_writer(d, d->running, f->address, writer, sizeof writer);
    driver_fail(d, code_of(f->kind),
                "%s%s%s [%s, block %u,%u,%u, thread %u,%u,%u, at 0x%" PRIx64 "]%s",
                named ? "" : kind, named ? "" : ": ", f->text, who_text(&w->who, who, sizeof who),
                f->block[0], f->block[1], f->block[2], f->thread[0], f->thread[1], f->thread[2],
                f->address, writer);
}

static EmuRange *emu_ranges(EmuDriver *d, const Work *w, uint32_t *n) {
    EmuRange *r = driver_alloc(d, (w->n + 1) * sizeof *r);
    for (uint32_t i = 0; r && i < w->n; i++) {
        const SnCudaRange *q = &w->ranges[i];
        if (q->bytes)
            r[(*n)++] = (EmuRange){q->base, q->bytes, q->reads, q->writes, q->name, q->continues};
    }
    if (w->noted && !*n) *n = 1; // one of no bytes: nothing may be touched, which 0 would not say
    return r;
}

static void run_kernel(EmuDriver *d, const Work *w) {
    EmuCounts counts = {0};
    EmuFault fault = {0};
    char where[32] = "";
    if (w->who.line) snprintf(where, sizeof where, "line %" PRIu32, w->who.line);
    EmuLaunch l = {.function = w->function->emu, .dynamic_shared = w->shared, .params = w->params};
    memcpy(l.grid, w->grid, sizeof l.grid);
    memcpy(l.block, w->block, sizeof l.block);
    l.kernel = w->who.kernel, l.node = w->who.node, l.where = *where ? where : NULL;
    EmuRange *ranges = emu_ranges(d, w, &l.range_count);
    l.ranges = ranges;
    if (!ranges) return;
    bool known = !d->config.check || forget_outputs(d, w);
    bool ok = known && emu_launch(d->device, &l, &counts, &fault);
    free(ranges);
    if (!known) return;
    count_kernel(d, w, &counts);
    if (!ok) {
        kernel_fault(d, w, &fault);
        return;
    }
    if (!counts.nan_line) return;
    snprintf(where, sizeof where, ", PTX line %" PRIu32, counts.nan_line);
    first_nan(d, w, where);
}

// ---- copies, fills ------------------------------------------------------------------------------

static void run_to_device(EmuDriver *d, const Work *w) {
    void *to = view(d, w, w->to, w->bytes);
    if (!to) return;
    memcpy(to, w->staged ? w->staged : w->host_from, w->bytes);
    emu_mark(d->device, w->to, w->bytes, true);
    d->counts.copies_to_device++;
    d->counts.bytes_to_device += w->bytes;
}

// A note with ranges narrows what has to be written: padding between tensors may not be.
static bool check_source(EmuDriver *d, const Work *w) {
    if (!w->noted) return check_written(d, w, w->from, w->bytes);
    for (uint32_t i = 0; i < w->n; i++) {
        const SnCudaRange *r = &w->ranges[i];
        uint64_t begin = r->base > w->from ? r->base : w->from, end = r->base + r->bytes;
        if (end > w->from + w->bytes) end = w->from + w->bytes;
        if (r->reads && begin < end && !check_written(d, w, begin, end - begin)) return false;
    }
    return true;
}

static void run_to_host(EmuDriver *d, const Work *w) {
    const void *from = view(d, w, w->from, w->bytes);
    if (!from || !check_source(d, w)) return;
    memcpy(w->host_to, from, w->bytes);
    d->counts.copies_to_host++;
    d->counts.bytes_to_host += w->bytes;
}

static void run_on_device(EmuDriver *d, const Work *w) {
    const void *from = view(d, w, w->from, w->bytes);
    void *to = view(d, w, w->to, w->bytes);
    if (!from || !to || !check_source(d, w)) return;
    memmove(to, from, w->bytes);
    emu_mark(d->device, w->to, w->bytes, true);
    d->counts.copies_on_device++;
    d->counts.bytes_on_device += w->bytes;
}

static void run_fill(EmuDriver *d, const Work *w) {
    void *to = view(d, w, w->to, w->bytes);
    if (!to) return;
    memset(to, w->value, w->bytes);
    emu_mark(d->device, w->to, w->bytes, true);
    d->counts.fills++;
    d->counts.bytes_filled += w->bytes;
}

// ---- matrix products ----------------------------------------------------------------------------

// Calls fn for each stretch of adjacent elements of a matrix; false as soon as fn says so.
typedef bool (*StretchFn)(EmuDriver *d, const Work *w, uint64_t base, uint64_t bytes);
static bool each_stretch(EmuDriver *d, const Work *w, const DeviceMatrix *x, StretchFn fn) {
    bool by_row = x->col == 1; // elements of a row are adjacent
    int64_t n = by_row ? x->cols : x->rows, outer = by_row ? x->rows : x->cols;
    int64_t step = by_row ? x->row : x->col;
    uint64_t size = sn_elem_info[x->elem].bytes;
    if (step == n) n *= outer, outer = 1;
    for (int64_t b = 0; b < w->product.batch; b++)
        for (int64_t i = 0; i < outer; i++) {
            uint64_t at = x->address + (uint64_t)(b * x->batch + i * step) * size;
            if (!fn(d, w, at, (uint64_t)n * size)) return false;
        }
    return true;
}

static bool mark_written(EmuDriver *d, const Work *w, uint64_t base, uint64_t bytes) {
    (void)w;
    emu_mark(d->device, base, bytes, true);
    return true;
}

static bool no_nan(EmuDriver *d, const Work *w, uint64_t base, uint64_t bytes) {
    uint32_t elem = w->product.d.elem;
    const char *x = emu_host(d->device, base, bytes);
    bool nan = false;
    for (uint64_t i = 0; x && i < bytes; i += sn_elem_info[elem].bytes)
        nan |= isnan(sn_elem_get(elem, x + i)) != 0;
    return !nan;
}

static bool check_operands(EmuDriver *d, const Work *w) {
    const LtProduct *p = &w->product;
    uint64_t bias = product_bias_bytes(p);
    if (!each_stretch(d, w, &p->a, check_written) || !each_stretch(d, w, &p->b, check_written))
        return false;
    if (p->beta != 0 && !each_stretch(d, w, &p->c, check_written)) return false;
    if (product_adds_bias(p->epilogue) && !check_written(d, w, p->bias, bias)) return false;
    return !product_reads_aux(p->epilogue) || each_stretch(d, w, &p->aux, check_written);
}

static void *matrix_view(EmuDriver *d, const Work *w, const DeviceMatrix *x) {
    return view(d, w, x->address, matrix_bytes(x, w->product.batch));
}

static bool find_views(EmuDriver *d, const Work *w, ProductView *v) {
    const LtProduct *p = &w->product;
    v->a = matrix_view(d, w, &p->a);
    v->b = matrix_view(d, w, &p->b);
    v->d = matrix_view(d, w, &p->d);
    if (p->beta != 0) v->c = matrix_view(d, w, &p->c);
    if (p->bias) v->bias = view(d, w, p->bias, product_bias_bytes(p));
    if (p->aux.address) v->aux = matrix_view(d, w, &p->aux);
    if (p->workspace_bytes) view(d, w, p->workspace, p->workspace_bytes);
    return !d->error;
}

static void mark_results(EmuDriver *d, const Work *w) {
    const LtProduct *p = &w->product;
    each_stretch(d, w, &p->d, mark_written);
    if (product_writes_aux(p->epilogue)) each_stretch(d, w, &p->aux, mark_written);
    if (product_sums_bias(p->epilogue)) emu_mark(d->device, p->bias, product_bias_bytes(p), true);
    if (p->workspace_bytes) {
        memset(emu_host(d->device, p->workspace, p->workspace_bytes), 0xff, p->workspace_bytes);
        emu_mark(d->device, p->workspace, p->workspace_bytes, false);
    }
}

static void count_product(EmuDriver *d, const LtProduct *p) {
    uint64_t batch = (uint64_t)p->batch, m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k;
    d->counts.matmuls++;
    d->counts.matmul_flops += 2 * batch * m * n * k;
    uint64_t a = sn_elem_info[p->a.elem].bytes, b = sn_elem_info[p->b.elem].bytes;
    uint64_t c = sn_elem_info[p->d.elem].bytes * (p->beta != 0 ? 2 : 1);
    d->counts.matmul_bytes += batch * (m * k * a + k * n * b + m * n * c);
}

static void run_matmul(EmuDriver *d, const Work *w) {
    ProductView v = {0};
    if (!find_views(d, w, &v) || !check_operands(d, w)) return;
    if (d->config.check && !forget_outputs(d, w)) return;
    if (!product_run(&w->product, &v, d->pool, &d->space)) {
        driver_fail(d, SN_CU_OUT_OF_MEMORY, "host memory is short");
        return;
    }
    mark_results(d, w);
    count_product(d, &w->product);
    if (d->config.nan && !d->nan[0] && !each_stretch(d, w, &w->product.d, no_nan))
        first_nan(d, w, "");
}

// ---- running ------------------------------------------------------------------------------------

static void run_record(const QueuedOp *op) {
    Event *e = op->work->event;
    struct timespec t;
    if (e->queue != op->queue || e->tick != op->tick) return; // recorded again since
    clock_gettime(CLOCK_MONOTONIC, &t);
    e->time = (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void run_kind(EmuDriver *d, const QueuedOp *op) {
    const Work *w = op->work;
    if (op->fault) {
        driver_fail(d, SN_CU_LAUNCH_FAILED, "%s", op->fault);
        return;
    }
    if (d->config.check && !check_note(d, w)) return;
    switch (w->kind) {
    case WORK_KERNEL: run_kernel(d, w); break;
    case WORK_TO_DEVICE: run_to_device(d, w); break;
    case WORK_TO_HOST: run_to_host(d, w); break;
    case WORK_ON_DEVICE: run_on_device(d, w); break;
    case WORK_FILL: run_fill(d, w); break;
    case WORK_MATMUL: run_matmul(d, w); break;
    case WORK_RECORD: run_record(op); break;
    }
}

void work_run(EmuDriver *d, const QueuedOp *op) {
    d->running = op;
    run_kind(d, op);
    d->running = NULL;
}

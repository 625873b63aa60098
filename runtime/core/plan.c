// Checks a plan once, and looks things up in it.
//
// Why: the plan is trusted by everything that walks it, at full speed and without checks of its
// own. So every offset, count and index is checked here against the blob and the regions; a matrix
// product's strides are checked against its buffers. What kernels do inside their buffers is the
// compiler's promise (kernel_finish). Linear in the size of the blob.
//
// Tables lie at multiples of 8 bytes from the blob's start; the string table ends with a NUL.
#include "runtime/core/gemm.h"
#include "runtime/elem.h"
#include "runtime/sinter.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const SnPlan *plan;
    SnError *e;
} PlanCheck;

#define FAIL(...) sn_fail(c->e, SN_PLAN, "damaged plan: " __VA_ARGS__)

static SnStatus check_table(const PlanCheck *c, SnTable t, size_t item, const char *what) {
    uint64_t end = (uint64_t)t.offset + (uint64_t)t.count * item;
    if (t.offset % 8 || t.offset < sizeof(SnPlan) || end > c->plan->size)
        return FAIL("table '%s' lies outside of the plan", what);
    return SN_OK;
}

static SnStatus check_tables(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    const struct {
        SnTable table;
        size_t item;
        const char *what;
    } all[] = {
        {p->kernels, sizeof(SnKernel), "kernels"},    {p->gemms, sizeof(SnGemm), "gemms"},
        {p->attends, sizeof(SnAttend), "attends"},    {p->hulls, sizeof(SnHull), "hulls"},
        {p->cmds, sizeof(SnCmd), "commands"},         {p->args, sizeof(SnArg), "arguments"},
        {p->sections, sizeof(SnSection), "sections"}, {p->states, sizeof(SnState), "states"},
        {p->inputs, sizeof(SnPort), "inputs"},        {p->outputs, sizeof(SnPort), "outputs"},
        {p->scalars, sizeof(SnScalar), "scalars"},    {p->options, sizeof(SnOption), "options"},
        {p->nodes, sizeof(SnNode), "nodes"},          {p->strings, 1, "strings"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        SnStatus s = check_table(c, all[i].table, all[i].item, all[i].what);
        if (s) return s;
    }
    if (!p->strings.count || SN_STRING(p, p->strings.count - 1)[0])
        return FAIL("the strings do not end");
    return SN_OK;
}

static bool good_string(const PlanCheck *c, SnStr s) { return s < c->plan->strings.count; }

static bool good_function(const PlanCheck *c, uint32_t f) { return f < c->plan->functions; }

static bool good_place(const PlanCheck *c, uint32_t region, int64_t offset, int64_t bytes) {
    if (region >= SN_REGIONS || offset < 0 || bytes < 0) return false;
    if (region == SN_REGION_NONE) return offset == 0 && bytes == 0;
    return offset <= c->plan->region_bytes[region] &&
           bytes <= c->plan->region_bytes[region] - offset;
}

// Bytes of a tensor, or -1 when its element type or sizes are out of range.
static int64_t tensor_bytes(uint32_t elem, uint32_t naxes, const int64_t *size) {
    if (elem >= SN_ELEMS || naxes > SN_MAX_AXES) return -1;
    int64_t n = sn_elem_info[elem].bytes;
    for (uint32_t i = 0; i < naxes; i++)
        if (size[i] < 0 || __builtin_mul_overflow(n, size[i], &n)) return -1;
    return n;
}

static SnStatus check_header(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    if (p->magic != SN_PLAN_MAGIC) return FAIL("it does not start with the magic number");
    if (p->version != SN_PLAN_VERSION)
        return sn_fail(c->e, SN_PLAN, "the plan has version %u, this runtime reads version %u",
                       p->version, SN_PLAN_VERSION);
    if (p->device >= SN_DEVICES || p->workspace < 0 || p->workspace > INT64_C(1) << 40)
        return FAIL("its device");
    if (p->size < sizeof *p) return FAIL("it is %u bytes long", p->size);
    if (p->events > SN_MAX_EVENTS) return FAIL("%u events", p->events);
    int64_t total = 0;
    for (int r = 0; r < SN_REGIONS; r++)
        if (p->region_bytes[r] < 0 || __builtin_add_overflow(total, p->region_bytes[r], &total) ||
            total > INT64_C(1) << 56)
            return FAIL("region %d has an impossible size", r);
    return SN_OK;
}

static SnStatus check_names(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    const SnStr names[] = {p->sinter, p->target, p->cpu, p->model_name, p->model_text, p->ledger};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!good_string(c, names[i])) return FAIL("string %zu of the header", i);
    for (uint32_t i = 0; i < p->nodes.count; i++)
        if (!good_string(c, SN_AT(p, SnNode, nodes)[i].name)) return FAIL("name of node %u", i);
    for (uint32_t i = 0; i < p->options.count; i++) {
        const SnOption *o = &SN_AT(p, SnOption, options)[i];
        if (!good_string(c, o->key) || !good_string(c, o->value)) return FAIL("option %u", i);
    }
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const SnScalar *s = &SN_AT(p, SnScalar, scalars)[i];
        int64_t bytes = s->elem < SN_ELEMS ? sn_elem_info[s->elem].bytes : 0;
        if (!good_string(c, s->name) || !bytes || s->offset % bytes ||
            !good_place(c, SN_REGION_SCALAR, s->offset, bytes))
            return FAIL("scalar %u", i);
    }
    return SN_OK;
}

// Limits of the CUDA programming guide; what a device lacks is its driver's to say.
static bool good_launch(const SnPlan *p, const SnKernel *k) {
    return k->batch < p->batches && k->grid[0] && k->grid[0] <= INT32_MAX && k->grid[1] &&
           k->grid[1] <= 65535 && k->grid[2] && k->grid[2] <= 65535 && k->block &&
           k->block <= 1024 && k->shared <= 1u << 20 && k->nkeys <= SN_MAX_KEYS &&
           k->call == SN_CALL_TASKS;
}

static SnStatus check_kernels(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    for (uint32_t i = 0; i < p->kernels.count; i++) {
        const SnKernel *k = &SN_AT(p, SnKernel, kernels)[i];
        if (!good_string(c, k->name) || k->tasks < 0 || k->scratch < 0 ||
            k->scratch > INT64_C(1) << 40 || k->nargs > SN_MAX_ARGS)
            return FAIL("kernel %u", i);
        if (p->device == SN_DEVICE_CUDA ? !good_launch(p, k) : !good_function(c, k->fn))
            return FAIL("kernel %u", i);
    }
    return SN_OK;
}

// Lowest and highest element offset that the dimensions reach in one matrix. Returns false on
// overflow. Extents are positive.
static bool reach(const SnDim *d, uint32_t n, size_t stride_at, int64_t *low, int64_t *high) {
    for (uint32_t i = 0; i < n; i++) {
        int64_t stride, span;
        memcpy(&stride, (const char *)&d[i] + stride_at, sizeof stride);
        if (__builtin_mul_overflow(d[i].extent - 1, stride, &span) ||
            __builtin_add_overflow(span < 0 ? *low : *high, span, span < 0 ? low : high))
            return false;
    }
    return true;
}

// Whether all elements that the product touches of one matrix lie inside of `bytes`.
static bool inside(const SnGemm *g, size_t stride_at, uint32_t elem, int64_t base, int64_t bytes) {
    int64_t low = base, high = base;
    return reach(g->batch, g->nbatch, stride_at, &low, &high) &&
           reach(g->m, g->nm, stride_at, &low, &high) &&
           reach(g->n, g->nn, stride_at, &low, &high) &&
           reach(g->k, g->nk, stride_at, &low, &high) && low >= 0 &&
           high < bytes / sn_elem_info[elem].bytes;
}

static bool good_dims(const SnDim *d, uint32_t n, int64_t *total) {
    if (n > SN_GEMM_DIMS) return false;
    for (uint32_t i = 0; i < n; i++)
        if (d[i].extent < 1 || __builtin_mul_overflow(*total, d[i].extent, total)) return false;
    return true;
}

// The call does the same work: as many products, and every matrix with room for its columns.
static bool good_lt(const SnGemm *g, int64_t total) {
    const SnLt *l = &g->lt;
    int64_t n = 1;
    const int64_t sizes[] = {l->rows, l->cols, l->k, l->batch};
    for (int i = 0; i < 4; i++)
        if (sizes[i] < 1 || sizes[i] > INT32_MAX) return false;
    if (l->trans_a > 1 || l->trans_b > 1 || l->swap > 1) return false;
    return !__builtin_mul_overflow(n, l->rows, &n) && !__builtin_mul_overflow(n, l->cols, &n) &&
           !__builtin_mul_overflow(n, l->k, &n) && !__builtin_mul_overflow(n, l->batch, &n) &&
           n == total && l->lda >= (l->trans_a ? l->k : l->rows) &&
           l->ldb >= (l->trans_b ? l->cols : l->k) && l->ldc >= l->rows;
}

// A kernel of ours takes A, B, C, acc and bias as they exist, and nothing else.
static bool good_gemm_kernel(const SnPlan *p, const SnGemm *g) {
    if (g->kernel >= p->kernels.count) return false;
    const SnKernel *k = &SN_AT(p, SnKernel, kernels)[g->kernel];
    const uint32_t knows = sn_gemm_bit(SN_GEMM_C) | sn_gemm_bit(SN_GEMM_ACC) |
                           sn_gemm_bit(SN_GEMM_BIAS) | sn_gemm_bit(SN_GEMM_KERNEL);
    return !(g->has & ~knows) && k->nargs == sn_gemm_arg(g, SN_GEMM_EPILOGUE) && !k->table &&
           !k->nkeys;
}

static bool runs_on_cpu(const SnGemm *g) {
    const uint32_t knows =
        sn_gemm_bit(SN_GEMM_C) | sn_gemm_bit(SN_GEMM_ACC) | sn_gemm_bit(SN_GEMM_EPILOGUE);
    return !(g->has & ~knows) && !g->function && !g->sums && !g->tf32 && g->elem_c == SN_ELEM_f32;
}

static bool runs_on_cuda(const SnPlan *p, const SnGemm *g, int64_t total) {
    if (g->has >= sn_gemm_bit(SN_GEMM_PARTS) || !sn_gemm_has(g, SN_GEMM_C) ||
        sn_gemm_has(g, SN_GEMM_EPILOGUE))
        return false;
    return sn_gemm_has(g, SN_GEMM_KERNEL) ? good_gemm_kernel(p, g)
                                          : p->workspace > 0 && good_lt(g, total);
}

static SnStatus check_gemms(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    if ((p->gemms.count || p->attends.count) && p->device == SN_DEVICE_CPU) {
        if (!p->mr || p->mr > 16 || !p->nr || p->nr > 256 || p->nr % 16 || p->ukr > p->functions)
            return FAIL("the micro-kernel's tile");
        uint64_t edges =
            (uint64_t)sn_ukr_sizes(p->mr) * (p->nr / 16); // one for each edge of a tile
        if (edges > p->functions - p->ukr) return FAIL("the micro-kernels");
        if ((p->features & SN_CPU_BF16) &&
            (p->ukr_pairs > p->functions || edges > p->functions - p->ukr_pairs))
            return FAIL("the micro-kernels of pairs");
    }
    for (uint32_t i = 0; i < p->gemms.count; i++) {
        const SnGemm *g = &SN_AT(p, SnGemm, gemms)[i];
        int64_t total = 1;
        if (!sn_multiplies(g->elem_a) || !sn_multiplies(g->elem_b) || !sn_multiplies(g->elem_c))
            return FAIL("types of matrix product %u", i);
        bool plain = g->elem_a == SN_ELEM_f32 && g->elem_b == SN_ELEM_f32;
        if (g->tf32 > plain || (g->tf32 && sn_gemm_has(g, SN_GEMM_KERNEL)))
            return FAIL("tf32 of matrix product %u", i);
        if (!good_dims(g->batch, g->nbatch, &total) || !good_dims(g->m, g->nm, &total) ||
            !good_dims(g->n, g->nn, &total) || !good_dims(g->k, g->nk, &total))
            return FAIL("extents of matrix product %u", i);
        bool epilogue = sn_gemm_has(g, SN_GEMM_EPILOGUE);
        if (epilogue && (g->epilogue >= p->kernels.count ||
                         SN_AT(p, SnKernel, kernels)[g->epilogue].call != SN_CALL_EPILOGUE))
            return FAIL("epilogue of matrix product %u", i);
        if (!epilogue && !sn_gemm_has(g, SN_GEMM_C))
            return FAIL("matrix product %u stores nothing", i);
        if (!(p->device == SN_DEVICE_CPU ? runs_on_cpu(g) : runs_on_cuda(p, g, total)))
            return FAIL("matrix product %u cannot run on this device", i);
    }
    return SN_OK;
}

// The bytes of a part's argument; -1: it has no such part.
static int64_t part_bytes(const SnGemm *g, const SnArg *args, SnGemmPart part) {
    return sn_gemm_has(g, part) ? args[sn_gemm_arg(g, part)].bytes : -1;
}

static bool good_vector(const SnGemm *g, int64_t bytes, int64_t n) {
    int64_t size = sn_elem_info[g->elem_c].bytes;
    return bytes < 0 || (bytes % size == 0 && bytes / size == n);
}

// What a call computes besides its product: each with the argument that it needs, and no other.
static bool good_extras(const SnGemm *g, const SnArg *args) {
    int64_t m = sn_extent(g->m, g->nm), n = sn_extent(g->n, g->nn);
    bool bias = sn_gemm_has(g, SN_GEMM_BIAS), aux = sn_gemm_has(g, SN_GEMM_AUX);
    bool acc = sn_gemm_has(g, SN_GEMM_ACC);
    if (g->function >= SN_FUNCTIONS || g->sums >= SN_SUMS) return false;
    if (!good_vector(g, part_bytes(g, args, SN_GEMM_BIAS), n)) return false;
    if (aux && part_bytes(g, args, SN_GEMM_AUX) != part_bytes(g, args, SN_GEMM_C)) return false;
    if (sn_gemm_has(g, SN_GEMM_SUM) != (g->sums != SN_SUMS_NONE)) return false;
    if (!good_vector(g, part_bytes(g, args, SN_GEMM_SUM), g->sums == SN_SUMS_A ? m : n))
        return false;
    if ((g->function || g->sums) && sn_gemm_has(g, SN_GEMM_KERNEL)) return false;
    switch ((SnFunction)g->function) {
    case SN_FUNCTION_NONE: return !aux && (!g->sums || (g->sums != SN_SUMS_C && !bias));
    case SN_FUNCTION_GELU: return !g->sums && !acc;
    case SN_FUNCTION_GELU_GRADIENT:
        return aux && !bias && !acc && (!g->sums || g->sums == SN_SUMS_C);
    case SN_FUNCTIONS: break;
    }
    return false;
}

// A matrix of `rows` neighbours, `cols` of them ld apart, in each element of the batch: all of it lies
// inside of `bytes`.
static bool holds(uint32_t elem, int64_t base, int64_t rows, int64_t cols, int64_t ld,
                  int64_t batch, int64_t stride, int64_t bytes) {
    int64_t last = base, far;
    return base >= 0 && stride >= 0 && !__builtin_mul_overflow(cols - 1, ld, &far) &&
           !__builtin_add_overflow(last, far, &last) &&
           !__builtin_mul_overflow(batch - 1, stride, &far) &&
           !__builtin_add_overflow(last, far, &last) &&
           !__builtin_add_overflow(last, rows, &last) && last <= bytes / sn_elem_info[elem].bytes;
}

static bool good_lt_args(const SnGemm *g, const SnArg *args) {
    const SnLt *l = &g->lt;
    const SnArg *a = &args[l->swap ? 1 : 0], *b = &args[l->swap ? 0 : 1];
    int64_t base_a = l->swap ? g->base_b : g->base_a, base_b = l->swap ? g->base_a : g->base_b;
    uint32_t elem_a = l->swap ? g->elem_b : g->elem_a, elem_b = l->swap ? g->elem_a : g->elem_b;
    bool good = holds(elem_a, base_a, l->trans_a ? l->k : l->rows, l->trans_a ? l->rows : l->k,
                      l->lda, l->batch, l->stride_a, a->bytes) &&
                holds(elem_b, base_b, l->trans_b ? l->cols : l->k, l->trans_b ? l->k : l->cols,
                      l->ldb, l->batch, l->stride_b, b->bytes) &&
                holds(g->elem_c, g->base_c, l->rows, l->cols, l->ldc, l->batch, l->stride_c,
                      part_bytes(g, args, SN_GEMM_C));
    if (sn_gemm_has(g, SN_GEMM_ACC))
        good = good && holds(g->elem_c, g->base_c, l->rows, l->cols, l->ldc, l->batch, l->stride_c,
                             part_bytes(g, args, SN_GEMM_ACC));
    bool aux = sn_gemm_has(g, SN_GEMM_AUX);
    bool extras = sn_gemm_has(g, SN_GEMM_BIAS) || g->function || g->sums;
    if (extras) good = good && l->swap && l->rows == sn_extent(g->n, g->nn);
    if (g->sums) good = good && l->batch == 1 && l->cols == sn_extent(g->m, g->nm);
    if (aux) good = good && l->ldc % 8 == 0 && l->stride_c % 8 == 0 && g->base_c % 8 == 0;
    return good;
}

static SnStatus check_gemm_args(const PlanCheck *c, uint32_t at, const SnCmd *cmd) {
    const SnGemm *g = &SN_AT(c->plan, SnGemm, gemms)[cmd->fn];
    const SnArg *args = SN_AT(c->plan, SnArg, args) + cmd->args;
    uint32_t nargs = sn_gemm_arg(g, SN_GEMM_EPILOGUE);
    if (sn_gemm_has(g, SN_GEMM_EPILOGUE))
        nargs += SN_AT(c->plan, SnKernel, kernels)[g->epilogue].nargs;
    bool cuda = c->plan->device == SN_DEVICE_CUDA;
    bool types = cmd->nargs == nargs && nargs <= SN_MAX_ARGS && args[0].elem == g->elem_a &&
                 args[1].elem == g->elem_b;
    for (uint32_t i = 2; types && i < sn_gemm_arg(g, SN_GEMM_EPILOGUE); i++)
        types = args[i].elem == g->elem_c;
    if (!types || (cuda && !good_extras(g, args))) return FAIL("arguments of command %u", at);
    if (cuda && !sn_gemm_has(g, SN_GEMM_KERNEL) && !good_lt_args(g, args))
        return FAIL("command %u reaches outside of its buffers", at);
    bool good = inside(g, offsetof(SnDim, a), g->elem_a, g->base_a, args[0].bytes) &&
                inside(g, offsetof(SnDim, b), g->elem_b, g->base_b, args[1].bytes);
    for (SnGemmPart i = SN_GEMM_C; i <= SN_GEMM_ACC; i++)
        if (sn_gemm_has(g, i))
            good =
                good && inside(g, offsetof(SnDim, c), g->elem_c, g->base_c, part_bytes(g, args, i));
    return good ? SN_OK : FAIL("command %u reaches outside of its buffers", at);
}

// Whether all elements of a part's x or y lie inside of `bytes`: outer indices, steps, features.
static bool part_inside(const SnAttend *a, const SnAttendPart *p, bool y, int64_t bytes) {
    int64_t steps = (p->kind == SN_ATTEND_KEYS) == y ? a->rows : a->keys;
    if (p->kind == SN_ATTEND_PRODUCT) steps = y ? a->keys : a->rows;
    if (p->kind == SN_ATTEND_DENSE) steps = a->rows;
    SnDim d[SN_ATTEND_OUTER + 1];
    for (uint32_t i = 0; i < a->nouter; i++)
        d[i] = (SnDim){a->outer[i], y ? p->outer_y[i] : p->outer_x[i], 0, 0};
    d[a->nouter] = (SnDim){steps, y ? p->step_y : p->step_x, 0, 0};
    int64_t low = y ? p->base_y : p->base_x, high = low;
    return reach(d, a->nouter + 1, offsetof(SnDim, a), &low, &high) &&
           reach(p->f, p->nf, y ? offsetof(SnDim, b) : offsetof(SnDim, a), &low, &high) &&
           low >= 0 && high < bytes / sn_elem_info[y ? p->elem_y : p->elem_x].bytes;
}

// What is summed is multiplied as it lies, results are f32. Pairs of rows lie in one strip each.
static bool good_elements(const SnAttend *a, const SnAttendPart *p) {
    bool product = p->kind == SN_ATTEND_PRODUCT;
    if (!sn_multiplies(p->elem_x) || !sn_multiplies(p->elem_tile) ||
        !(product ? sn_multiplies(p->elem_y) : p->elem_y == SN_ELEM_f32))
        return false;
    bool several = false; // outer indices whose rows follow each other
    for (uint32_t i = 0; i < a->nouter; i++) several |= !p->outer_y[i] && a->outer[i] > 1;
    return p->kind != SN_ATTEND_ROWS || !sn_attend_pairs(p) ||
           (a->strip % 2 == 0 && (!several || a->rows % 2 == 0));
}

static bool good_hulls(const SnPlan *p, const SnAttend *a) {
    int64_t strips = (a->rows + a->strip - 1) / a->strip;
    if (a->hull > p->hulls.count || strips > p->hulls.count - a->hull) return false;
    for (int64_t i = 0; i < strips; i++) {
        const SnHull *h = &SN_AT(p, SnHull, hulls)[a->hull + i];
        if (h->first < 0 || h->first % SN_ATTEND_HULL || h->end < h->first || h->end > a->keys)
            return false;
    }
    return true;
}

static SnStatus check_attends(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    if (p->attends.count && p->device != SN_DEVICE_CPU) return FAIL("attention on this device");
    for (uint32_t i = 0; i < p->attends.count; i++) {
        const SnAttend *a = &SN_AT(p, SnAttend, attends)[i];
        int64_t total = 1;
        if (a->nouter > SN_ATTEND_OUTER || a->nparts > SN_ATTEND_PARTS ||
            a->tiles > SN_ATTEND_TILES || !a->strip || a->strip > 1024 || a->rows < 1 ||
            a->keys < 1 || a->keys > INT32_MAX || __builtin_mul_overflow(total, a->rows, &total) ||
            __builtin_mul_overflow(total, a->keys, &total) || a->kernel >= p->kernels.count ||
            SN_AT(p, SnKernel, kernels)[a->kernel].call != SN_CALL_STRIP || !good_hulls(p, a))
            return FAIL("attention %u", i);
        for (uint32_t k = 0; k < a->nouter; k++)
            if (a->outer[k] < 1 || __builtin_mul_overflow(total, a->outer[k], &total))
                return FAIL("extents of attention %u", i);
        if (total >> 41)
            return FAIL("extents of attention %u", i); // times features, as bytes, it fits
        for (uint32_t k = 0; k < a->nparts; k++) {
            int64_t work = total;
            const SnAttendPart *part = &a->part[k];
            if (part->kind >= SN_ATTEND_KINDS || part->tile >= a->tiles ||
                !good_elements(a, part) || !good_dims(part->f, part->nf, &work) ||
                (part->kind == SN_ATTEND_DENSE ? work / total != a->keys || part->chunk < 1
                                               : work / total > SN_GEMM_SEGMENT))
                return FAIL("part %u of attention %u", k, i);
        }
    }
    return SN_OK;
}

static SnStatus check_attend_args(const PlanCheck *c, uint32_t at, const SnCmd *cmd) {
    const SnAttend *a = &SN_AT(c->plan, SnAttend, attends)[cmd->fn];
    const SnArg *args = SN_AT(c->plan, SnArg, args) + cmd->args;
    if (cmd->nargs > SN_MAX_ARGS || a->args > cmd->nargs ||
        cmd->nargs - a->args != SN_AT(c->plan, SnKernel, kernels)[a->kernel].nargs)
        return FAIL("arguments of command %u", at);
    for (uint32_t i = 0; i < a->nparts; i++) {
        const SnAttendPart *p = &a->part[i];
        if (p->x >= cmd->nargs || p->y >= cmd->nargs || args[p->x].elem != p->elem_x ||
            args[p->y].elem != p->elem_y)
            return FAIL("arguments of command %u", at);
        if (!part_inside(a, p, false, args[p->x].bytes) ||
            !part_inside(a, p, true, args[p->y].bytes))
            return FAIL("command %u reaches outside of its buffers", at);
    }
    return SN_OK;
}

static bool good_count(const SnCmd *cmd, const SnKernel *k) {
    return cmd->count >= 1 && (cmd->count == 1 || k->table) && k->grid[2] == 1 &&
           (uint64_t)cmd->count * k->nargs == cmd->nargs && cmd->count <= 65535;
}

// Copies to and from the host have a stream for each direction; nothing else touches its memory.
static bool good_stream(const SnPlan *p, const SnCmd *cmd) {
    const SnArg *args = SN_AT(p, SnArg, args) + cmd->args;
    if (cmd->op == SN_CMD_RECORD || cmd->op == SN_CMD_WAIT) return cmd->stream < SN_STREAMS;
    if (cmd->op == SN_CMD_COPY && cmd->nargs == 2) {
        bool out = args[0].region == SN_REGION_HOST, in = args[1].region == SN_REGION_HOST;
        return !(out && in) && cmd->stream == (out  ? SN_STREAM_OUT
                                               : in ? SN_STREAM_IN
                                                    : SN_STREAM_COMPUTE);
    }
    for (uint32_t i = 0; i < cmd->nargs; i++)
        if (args[i].region == SN_REGION_HOST) return false;
    return cmd->stream == SN_STREAM_COMPUTE;
}

static SnStatus check_cmd(const PlanCheck *c, uint32_t at, const SnCmd *cmd) {
    const SnPlan *p = c->plan;
    if (cmd->op > SN_CMD_WAIT || cmd->when > SN_WHEN_FIRST) return FAIL("kind of command %u", at);
    if (cmd->args > p->args.count || cmd->nargs > p->args.count - cmd->args)
        return FAIL("arguments of command %u", at);
    if (cmd->node >= p->nodes.count || cmd->count > p->nodes.count - cmd->node)
        return FAIL("node of command %u", at);
    if (!cmd->count || (cmd->count > 1 && (cmd->op != SN_CMD_KERNEL || p->device == SN_DEVICE_CPU)))
        return FAIL("count of command %u", at);
    if (!good_stream(p, cmd)) return FAIL("stream of command %u", at);
    const SnArg *args = SN_AT(p, SnArg, args) + cmd->args;
    switch ((SnCmdOp)cmd->op) {
    case SN_CMD_KERNEL:
        if (cmd->fn >= p->kernels.count ||
            SN_AT(p, SnKernel, kernels)[cmd->fn].call != SN_CALL_TASKS)
            return FAIL("kernel of command %u", at);
        if (p->device == SN_DEVICE_CUDA && !good_count(cmd, &SN_AT(p, SnKernel, kernels)[cmd->fn]))
            return FAIL("arguments of command %u", at);
        return SN_OK;
    case SN_CMD_GEMM:
        if (cmd->fn >= p->gemms.count) return FAIL("matrix product of command %u", at);
        return check_gemm_args(c, at, cmd);
    case SN_CMD_ATTEND:
        if (cmd->fn >= p->attends.count) return FAIL("attention of command %u", at);
        return check_attend_args(c, at, cmd);
    case SN_CMD_FILL: return cmd->nargs == 1 ? SN_OK : FAIL("arguments of command %u", at);
    case SN_CMD_COPY:
        if (cmd->nargs != 2 || args[0].bytes != args[1].bytes)
            return FAIL("arguments of command %u", at);
        return SN_OK;
    case SN_CMD_RECORD:
    case SN_CMD_WAIT:
        if (cmd->nargs || cmd->when || cmd->fn >= p->events) return FAIL("event of command %u", at);
        return SN_OK;
    }
    return FAIL("kind of command %u", at);
}

// How far each stream is along in a section, and what an event stands for.
typedef struct {
    uint32_t copies[SN_STREAMS], joined[SN_STREAMS]; // given; of them the first stream waited for
    bool begun[SN_STREAMS];
    uint16_t stream[SN_MAX_EVENTS]; // 1 + that which it was recorded in; 0: not yet
    uint32_t until[SN_MAX_EVENTS];  // its copies then
} Streams;

static SnStatus check_streams(const PlanCheck *c, const SnSection *s) {
    Streams x = {.begun = {true}};
    for (uint32_t i = s->cmd; i < s->cmd + s->count; i++) {
        const SnCmd *cmd = &SN_AT(c->plan, SnCmd, cmds)[i];
        uint16_t from = 0;
        if (cmd->op == SN_CMD_WAIT) {
            from = x.stream[cmd->fn];
            if (!from || from == cmd->stream + 1)
                return FAIL("command %u waits for an event that nothing else recorded", i);
            x.begun[cmd->stream] = true;
            bool joins = cmd->stream == SN_STREAM_COMPUTE && x.until[cmd->fn] > x.joined[from - 1];
            if (joins) x.joined[from - 1] = x.until[cmd->fn];
        }
        if (!x.begun[cmd->stream]) return FAIL("command %u has a stream that did not begin", i);
        if (cmd->op == SN_CMD_COPY) x.copies[cmd->stream]++;
        if (cmd->op == SN_CMD_RECORD) {
            x.stream[cmd->fn] = cmd->stream + 1;
            x.until[cmd->fn] = x.copies[cmd->stream];
        }
    }
    for (int k = SN_STREAM_COMPUTE + 1; k < SN_STREAMS; k++)
        if (x.joined[k] != x.copies[k])
            return FAIL("section '%s' ends without its copies", SN_STRING(c->plan, s->name));
    return SN_OK;
}

// What all its commands use of region temp lies in what it says that it does.
static SnStatus check_section(const PlanCheck *c, uint32_t at, const SnSection *s) {
    const SnPlan *p = c->plan;
    if (!good_string(c, s->name) || s->cmd > p->cmds.count || s->count > p->cmds.count - s->cmd ||
        s->beside > 1 || !good_place(c, SN_REGION_TEMP, 0, s->temp))
        return FAIL("section %u", at);
    for (uint32_t i = s->cmd; i < s->cmd + s->count; i++) {
        const SnCmd *cmd = &SN_AT(p, SnCmd, cmds)[i];
        for (uint32_t k = 0; k < cmd->nargs; k++) {
            const SnArg *a = &SN_AT(p, SnArg, args)[cmd->args + k];
            if (a->region == SN_REGION_TEMP && a->offset + a->bytes > s->temp)
                return FAIL("temporaries of section %u", at);
        }
    }
    return check_streams(c, s);
}

static SnStatus check_commands(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    for (uint32_t i = 0; i < p->args.count; i++) {
        const SnArg *a = &SN_AT(p, SnArg, args)[i];
        if (!good_place(c, a->region, a->offset, a->bytes)) return FAIL("argument %u", i);
        if (a->elem >= SN_ELEMS) return FAIL("element type of argument %u", i);
        bool numbered = !(a->bytes / sn_elem_info[a->elem].bytes >> SN_FAULT_ELEMENT) &&
                        !(i >> (64 - SN_FAULT_ELEMENT));
        if (p->device == SN_DEVICE_CUDA && !numbered)
            return FAIL("argument %u is beyond what a fault word says", i);
    }
    for (uint32_t i = 0; i < p->cmds.count; i++) {
        SnStatus s = check_cmd(c, i, &SN_AT(p, SnCmd, cmds)[i]);
        if (s) return s;
    }
    for (uint32_t i = 0; i < p->sections.count; i++) {
        SnStatus s = check_section(c, i, &SN_AT(p, SnSection, sections)[i]);
        if (s) return s;
    }
    return SN_OK;
}

static SnStatus check_states(const PlanCheck *c) {
    const SnPlan *p = c->plan;
    for (uint32_t i = 0; i < p->states.count; i++) {
        const SnState *s = &SN_AT(p, SnState, states)[i];
        if (!good_string(c, s->path) || s->bytes != tensor_bytes(s->elem, s->naxes, s->size) ||
            s->region == SN_REGION_NONE || s->offset % 4 ||
            !good_place(c, s->region, s->offset, s->bytes))
            return FAIL("state %u", i);
        for (uint32_t a = 0; a < s->naxes; a++)
            if (!good_string(c, s->axis[a])) return FAIL("axis of state %u", i);
    }
    return SN_OK;
}

static SnStatus check_ports(const PlanCheck *c, const SnPort *ports, uint32_t n, const char *what,
                            bool input) {
    for (uint32_t i = 0; i < n; i++) {
        const SnPort *t = &ports[i];
        if (!good_string(c, t->name) || !good_string(c, t->section) ||
            t->bytes != tensor_bytes(t->elem, t->naxes, t->size) || t->sample > t->naxes ||
            t->region == SN_REGION_NONE || t->offset % 4 ||
            !good_place(c, t->region, t->offset, t->bytes) ||
            (input && t->region != SN_REGION_INPUT) ||
            !sn_plan_section(c->plan, SN_STRING(c->plan, t->section)))
            return FAIL("%s %u", what, i);
        for (uint32_t a = 0; a < t->naxes; a++)
            if (!good_string(c, t->axis[a])) return FAIL("axis of %s %u", what, i);
    }
    return SN_OK;
}

SnStatus sn_plan_check(const void *blob, SnError *e) {
    const PlanCheck check = {blob, e}, *c = &check;
    const SnPlan *p = blob;
    if ((uintptr_t)blob % 8) return FAIL("it is not aligned");
    SnStatus s = check_header(c);
    if (!s) s = check_tables(c);
    if (!s) s = check_names(c);
    if (!s) s = check_kernels(c);
    if (!s) s = check_gemms(c);
    if (!s) s = check_attends(c);
    if (!s) s = check_commands(c);
    if (!s) s = check_states(c);
    if (!s) s = check_ports(c, SN_AT(p, SnPort, inputs), p->inputs.count, "input", true);
    if (!s) s = check_ports(c, SN_AT(p, SnPort, outputs), p->outputs.count, "output", false);
    return s;
}

int64_t sn_plan_temporary(const SnPlan *p, bool training) {
    int64_t most = 0;
    for (uint32_t i = 0; i < p->sections.count; i++) {
        const SnSection *s = &SN_AT(p, SnSection, sections)[i];
        if (s->temp > most && !(training && s->beside)) most = s->temp;
    }
    return most;
}

const SnSection *sn_plan_section(const SnPlan *p, const char *name) {
    for (uint32_t i = 0; i < p->sections.count; i++) {
        const SnSection *s = &SN_AT(p, SnSection, sections)[i];
        if (!strcmp(SN_STRING(p, s->name), name)) return s;
    }
    return NULL;
}

static const SnPort *find_port(const SnPlan *p, const SnPort *ports, uint32_t n,
                               const char *section, const char *name) {
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(SN_STRING(p, ports[i].section), section) &&
            !strcmp(SN_STRING(p, ports[i].name), name))
            return &ports[i];
    return NULL;
}

const SnPort *sn_plan_input(const SnPlan *p, const char *section, const char *name) {
    return find_port(p, SN_AT(p, SnPort, inputs), p->inputs.count, section, name);
}

const SnPort *sn_plan_output(const SnPlan *p, const char *section, const char *name) {
    return find_port(p, SN_AT(p, SnPort, outputs), p->outputs.count, section, name);
}

const SnScalar *sn_plan_scalar(const SnPlan *p, const char *name) {
    for (uint32_t i = 0; i < p->scalars.count; i++) {
        const SnScalar *s = &SN_AT(p, SnScalar, scalars)[i];
        if (!strcmp(SN_STRING(p, s->name), name)) return s;
    }
    return NULL;
}

const char *sn_plan_option(const SnPlan *p, const char *key, const char *otherwise) {
    for (uint32_t i = 0; i < p->options.count; i++) {
        const SnOption *o = &SN_AT(p, SnOption, options)[i];
        if (!strcmp(SN_STRING(p, o->key), key)) return SN_STRING(p, o->value);
    }
    return otherwise;
}

double sn_plan_number(const SnPlan *p, const char *key, double otherwise) {
    const char *text = sn_plan_option(p, key, NULL);
    if (!text) return otherwise;
    char *end;
    double value = strtod(text, &end);
    return end != text && !*end && isfinite(value) ? value : otherwise;
}

SnStatus sn_plan_allows(const SnPlan *p, int64_t accum, SnError *e) {
    if ((double)accum <= sn_plan_number(p, "accum.max", INT32_MAX)) return SN_OK;
    return sn_fail(e, SN_USER,
                   "a step of this model is one micro-batch: its samples depend on each other, as "
                   "in batch norm, or it was built for a batch of this size; so it cannot "
                   "accumulate %lld; build it with a larger batch",
                   (long long)accum);
}

int sn_port_axis(const SnPlan *p, const SnPort *port, const char *axis) {
    for (int i = 0; i < port->naxes; i++)
        if (!strcmp(SN_STRING(p, port->axis[i]), axis)) return i;
    return -1;
}

// See account.h. Quadratic in the different commands of a section, of which there are tens.
#include "tools/account.h"
#include "ir/base/str.h"
#include "runtime/elem.h"
#include "runtime/sinter.h"
#include <stdio.h>
#include <string.h>

// ---- names --------------------------------------------------------------------------------------

static const char *name_of(const SnPlan *p, const SnCmd *c) {
    const char *name = sn_cmd_name(p, c);
    const char *slash = strchr(name, '/');
    return slash ? slash + 1 : name;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The length of the segment that starts here, if it is a number between dots; else 0.
static size_t number_at(const char *name, const char *s) {
    size_t n = 0;
    if (s != name && s[-1] != '.') return 0;
    while (is_digit(s[n])) n++;
    return s[n] == '.' ? n : 0;
}

// "d.h.3.attn.q" as "d.h.*.attn.q".
static const char *starred(Arena *a, const char *name) {
    Text t = {.arena = a};
    text_put(&t, "", 0);
    for (const char *s = name; *s;) {
        size_t n = number_at(name, s);
        text_put(&t, n ? "*" : s, 1);
        s += n ? n : 1;
    }
    return t.at;
}

// The first number in a name; -1: none.
static int64_t round_of(const char *name) {
    for (const char *s = name; *s; s++) {
        int64_t value = 0;
        size_t n = number_at(name, s);
        if (n == 0 || n > 9) continue;
        for (size_t i = 0; i < n; i++) value = value * 10 + (s[i] - '0');
        return value;
    }
    return -1;
}

// ---- one command --------------------------------------------------------------------------------

typedef enum { OF_a, OF_b, OF_c } GemmTerm;

static int64_t stride_of(const SnDim *d, GemmTerm which) {
    switch (which) {
    case OF_a: return d->a;
    case OF_b: return d->b;
    case OF_c: return d->c;
    }
    return 0;
}

// Elements of one matrix: those of the dimensions that it has.
static double elements(const SnGemm *g, GemmTerm which) {
    const SnDim *const dims[] = {g->batch, g->m, g->n, g->k};
    const uint32_t counts[] = {g->nbatch, g->nm, g->nn, g->nk};
    double all = 1;
    for (int i = 0; i < 4; i++)
        for (uint32_t k = 0; k < counts[i]; k++)
            if (stride_of(&dims[i][k], which)) all *= (double)dims[i][k].extent;
    return all;
}

static void product_cost(const SnGemm *g, AccountLine *l) {
    double c = elements(g, OF_c), read = 0;
    double operands = elements(g, OF_a) * sn_elem_info[g->elem_a].bytes +
                      elements(g, OF_b) * sn_elem_info[g->elem_b].bytes;
    if (sn_gemm_has(g, SN_GEMM_ACC)) read += c;
    if (sn_gemm_has(g, SN_GEMM_AUX)) read += c; // or written
    if (sn_gemm_has(g, SN_GEMM_BIAS)) read += (double)sn_extent(g->n, g->nn);
    if (g->sums)
        read +=
            g->sums == SN_SUMS_A ? (double)sn_extent(g->m, g->nm) : (double)sn_extent(g->n, g->nn);
    l->bytes = operands + sn_elem_info[g->elem_c].bytes * (read + c);
    l->flops = 2 * (double)sn_extent(g->batch, g->nbatch) * (double)sn_extent(g->m, g->nm) *
               (double)sn_extent(g->n, g->nn) * (double)sn_extent(g->k, g->nk);
}

// An attention that is kept whole: codegen/plan.c calls its kernels so.
static bool is_attention(const SnPlan *p, const SnKernel *k) {
    return k && strcmp(SN_STRING(p, k->name), "flash") == 0;
}

// The same for a mixture of f32 and 16 bits as for f32: neither tensor cores nor the library multiply that.
static GpuRate rate_of(const SnGemm *g) {
    bool narrow = g->elem_a != SN_ELEM_f32 && g->elem_b != SN_ELEM_f32;
    return narrow ? RATE_bf16 : g->tf32 ? RATE_tf32 : RATE_f32;
}

static AccountLine line_of(const SnPlan *p, const SnCmd *c) {
    AccountLine l = {.op = (SnCmdOp)c->op};
    const SnKernel *kernels = SN_AT(p, SnKernel, kernels);
    switch (l.op) {
    case SN_CMD_KERNEL:
        l.kernel = &kernels[c->fn];
        l.attention = is_attention(p, l.kernel);
        l.rate = l.attention ? RATE_bf16 : RATE_f32;
        l.flops = (double)l.kernel->flops * c->count;
        l.bytes = (double)l.kernel->bytes * c->count;
        break;
    case SN_CMD_GEMM:
        l.gemm = &SN_AT(p, SnGemm, gemms)[c->fn];
        if (sn_gemm_has(l.gemm, SN_GEMM_KERNEL)) l.kernel = &kernels[l.gemm->kernel];
        l.rate = rate_of(l.gemm);
        product_cost(l.gemm, &l);
        break;
    case SN_CMD_ATTEND: {
        const SnAttend *a = &SN_AT(p, SnAttend, attends)[c->fn];
        l.flops = sn_attend_flops(p, a);
        for (uint32_t i = 0; i < c->nargs;
             i++) // each once; a tensor that two parts read is read twice
            l.bytes += (double)SN_AT(p, SnArg, args)[c->args + i].bytes;
        break;
    }
    case SN_CMD_FILL: l.bytes = (double)SN_AT(p, SnArg, args)[c->args].bytes; break;
    case SN_CMD_COPY: // to or from the host: once
        l.bytes = (c->stream ? 1 : 2) * (double)SN_AT(p, SnArg, args)[c->args].bytes;
        break;
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: break;
    }
    return l;
}

// ---- the step -----------------------------------------------------------------------------------

// Everything but where the matrices begin.
static bool same_product(const SnGemm *x, const SnGemm *y) {
    SnGemm a = *x, b = *y;
    a.base_a = b.base_a, a.base_b = b.base_b, a.base_c = b.base_c;
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool same_line(const AccountLine *x, const AccountLine *y) {
    if (x->op != y->op || x->kernel != y->kernel || x->bytes != y->bytes) return false;
    return x->gemm && y->gemm ? same_product(x->gemm, y->gemm) : x->gemm == y->gemm;
}

static void add_total(AccountTotal *t, const AccountLine *l, uint32_t times) {
    switch (l->op) {
    case SN_CMD_KERNEL:
        t->kernels += times;
        t->kernel_flops += times * l->flops;
        t->kernel_bytes += times * l->bytes;
        return;
    case SN_CMD_GEMM:
    case SN_CMD_ATTEND:
        t->products += times;
        t->product_flops += times * l->flops;
        t->product_bytes += times * l->bytes;
        return;
    case SN_CMD_FILL:
    case SN_CMD_COPY:
        t->others += times;
        t->other_bytes += times * l->bytes;
        return;
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: return;
    }
}

// What a command is, for people. Kernels of several results have no name of their own: they are known by
// the command before them.
static const char *label_of(Arena *a, const SnPlan *p, uint32_t at) {
    const SnCmd *c = &SN_AT(p, SnCmd, cmds)[at];
    const char *name = name_of(p, c);
    if (strcmp(name, "group") != 0 || at == 0) return starred(a, name);
    return arena_printf(a, "group behind %s", starred(a, name_of(p, c - 1)));
}

static void add_command(Arena *a, const SnPlan *p, uint32_t at, AccountLine l, Account *out) {
    const char *name = label_of(a, p, at);
    uint32_t i = 0;
    add_total(&out->total, &l, l.count);
    while (i < out->lines.n &&
           (out->lines.at[i].section != l.section || !same_line(&out->lines.at[i], &l)))
        i++;
    if (i == out->lines.n) {
        l.name = name;
        vec_push(a, &l.commands, at);
        vec_push(a, &out->lines, l);
        return;
    }
    AccountLine *to = &out->lines.at[i];
    size_t n = strlen(to->name);
    to->count += l.count;
    vec_push(a, &to->commands, at);
    if (strcmp(to->name, name) != 0 && (n < 3 || strcmp(to->name + n - 3, "…") != 0))
        to->name = arena_printf(a, "%s…", to->name);
}

void account_step(Arena *a, const SnPlan *p, uint32_t accum, Account *out) {
    static const char *const sections[] = {"prologue", "micro", "update"};
    *out = (Account){0};
    for (size_t s = 0; s < sizeof sections / sizeof *sections; s++)
        for (uint32_t k = 0; k < p->sections.count; k++) {
            const SnSection *sec = &SN_AT(p, SnSection, sections)[k];
            if (strcmp(SN_STRING(p, sec->name), sections[s]) != 0) continue;
            for (uint32_t i = sec->cmd; i < sec->cmd + sec->count; i++) {
                const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
                bool once = s == 2 || c->when == SN_WHEN_FIRST;
                AccountLine l = line_of(p, c);
                l.section = sections[s];
                l.count = once ? 1 : accum;
                add_command(a, p, i, l, out);
            }
        }
}

// ---- one round of the repeated block ------------------------------------------------------------

static uint32_t rounds(const SnPlan *p, const SnSection *s) {
    int64_t most = -1;
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t r = round_of(name_of(p, &SN_AT(p, SnCmd, cmds)[s->cmd + i]));
        if (r > most) most = r;
    }
    return (uint32_t)(most + 1);
}

// Bytes that the forward pass of round `round` keeps for the derivatives.
static double saved_bytes(const Module *m, uint32_t round) {
    const Func *f = module_find(m, "micro");
    double sum = 0;
    for (NodeId n = 0; f && n < f->mem.n; n++) {
        const Node *x = node_at(f, n);
        if (f->mem.at[n].region != REGION_temp || x->phase != PHASE_F ||
            (x->op != OP_group && x->op != OP_part) ||
            round_of(sym_str(m->syms, x->name)) != (int64_t)round)
            continue;
        bool kept = false;
        for (NodeId u = n + 1; u < f->nodes.n && !kept; u++) {
            const Node *by = node_at(f, u);
            for (uint32_t i = 0; i < by->n && by->op != OP_part; i++)
                kept |= operand(f, u, i) == n && by->phase != PHASE_F;
        }
        if (kept) sum += (double)type_bytes(type_of(m, f, n));
    }
    return sum;
}

AccountLayer account_layer(Arena *a, const SnPlan *p, const Module *m) {
    for (uint32_t k = 0; k < p->sections.count; k++) {
        const SnSection *s = &SN_AT(p, SnSection, sections)[k];
        if (strcmp(SN_STRING(p, s->name), "micro") != 0) continue;
        uint32_t n = rounds(p, s);
        AccountTotal *of = NEW_ARRAY(a, AccountTotal, n + 1);
        double *attention = NEW_ARRAY(a, double, n + 1);
        int64_t at = -1;
        for (uint32_t i = s->cmd; i < s->cmd + s->count; i++) {
            const SnCmd *c = &SN_AT(p, SnCmd, cmds)[i];
            const char *name = name_of(p, c);
            if (round_of(name) >= 0 || strchr(name, '.')) at = round_of(name);
            AccountLine l = line_of(p, c);
            if (at >= 0) add_total(&of[at], &l, 1);
            if (at >= 0 && l.attention) attention[at] += l.bytes;
        }
        const AccountTotal *middle = &of[n / 2];
        return (AccountLayer){n,
                              middle->kernels,
                              middle->products,
                              middle->others,
                              middle->kernel_bytes - attention[n / 2],
                              attention[n / 2],
                              m ? saved_bytes(m, n / 2) : 0};
    }
    return (AccountLayer){0};
}

// ---- attention ----------------------------------------------------------------------------------

// Keys that a row of strip i needs, on average.
static double needed_keys(const SnHull *h, int64_t i, int64_t strips) {
    double end = h[i].end, first = h[i].first;
    if (strips == 1) return end - first;
    double before = i > 0 ? h[i - 1].end : 2.0 * h[0].end - h[1].end;
    double next = i + 1 < strips ? h[i + 1].first : 2.0 * h[i].first - h[i - 1].first;
    if (before < first) before = first;
    if (before < end) end = (before + end) / 2;
    if (next > first && next < end) first = (first + next) / 2;
    return end - first;
}

void account_attend_needed(const SnPlan *p, const SnAttend *a, double flops[2]) {
    const SnHull *h = &SN_AT(p, SnHull, hulls)[a->hull];
    int64_t strips = (a->rows + a->strip - 1) / a->strip;
    double seen = 0, needed = 0;
    for (int64_t i = 0; i < strips; i++) {
        int64_t left = a->rows - i * a->strip, rows = left < a->strip ? left : a->strip;
        seen += (double)rows * (double)(h[i].end - h[i].first);
        needed += (double)rows * needed_keys(h, i, strips);
    }
    double all = seen > 0 ? sn_attend_flops(p, a) * (needed / seen) : 0, features[2] = {0, 0};
    for (uint32_t i = 0; i < a->nparts; i++)
        if (a->part[i].kind != SN_ATTEND_DENSE)
            features[sn_attend_pairs(&a->part[i])] +=
                (double)sn_extent(a->part[i].f, a->part[i].nf);
    for (int i = 0; i < 2; i++) flops[i] = all * (features[i] / (features[0] + features[1]));
}

// ---- the rest -----------------------------------------------------------------------------------

void account_shape(const SnGemm *g, char *to, size_t size) {
    double batch = (double)sn_extent(g->batch, g->nbatch);
    int n = batch == 1 ? 0 : snprintf(to, size, "%.0f x ", batch);
    if (n < 0 || (size_t)n >= size) return;
    snprintf(to + n, size - (size_t)n, "%.0f x %.0f x %.0f", (double)sn_extent(g->m, g->nm),
             (double)sn_extent(g->n, g->nn), (double)sn_extent(g->k, g->nk));
}

int64_t account_peak(const SnPlan *p) {
    int64_t all = p->workspace + sn_plan_temporary(p, true);
    for (int r = 1; r < SN_REGIONS; r++)
        if (r != SN_REGION_TEMP) all += p->region_bytes[r];
    return all;
}

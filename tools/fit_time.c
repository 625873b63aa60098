// See fit.h. A command takes its start and the larger of its work and its traffic at the device's rates
// (roofline.h), divided by what the calibration found of commands of its kind. Collectives are counted by the
// bytes that a ring sends (Patarasuk, Yuan, 2009) at the slowest link of the way, and hidden behind the backward
// pass as far as that lasts.
#include "ir/base/file.h"
#include "tools/account.h"
#include "tools/fit.h"
#include <stdlib.h>
#include <string.h>

enum { OF_HOST = 8, CPU_START_NS = 3000 }; // GPUs of a host; what starting threads costs
// Of a nominal bus: 25 of 32 GB/s on an A100. Of a GPU's nominal rates, what published runs reach: tests/fit/cases.
static const double REACHED = 0.8, PRODUCTS_REACH = 0.6, MEMORY_REACHES = 0.85;
// Of a CPU's rate in products, what other kernels reach: half without multiply-adds, less where they divide.
// Of the rate of copies, what kernels reach that write over what they read, or read more than they write.
static const double VECTOR_REACHES = 0.25, STREAMS_REACH = 1.6;
// What attention in strips takes longer than a product of as many operations.
static const double STRIPS_TAKE = 1.4;

const char *const time_names[TIME_KINDS] = {"products", "attention", "kernels", "copies"};

// ---- rates --------------------------------------------------------------------------------------

void fit_rates(const Fleet *f, Rates *to) {
    const Gpu *g = f->gpu;
    *to = (Rates){.ratio = {1, 1, 1, 1}};
    if (g) {
        to->vector = g->f32 * 1e12;
        for (int w = 0; w < RATES; w++) to->products[w] = gpu_rate(g, (GpuRate)w) * 1e12;
        to->bytes = to->streams = g->bandwidth * 1e9;
        to->start = ROOFLINE_START;
        for (int k = 0; k < TIME_KINDS; k++)
            to->ratio[k] = 1 / (k <= TIME_attention ? PRODUCTS_REACH : MEMORY_REACHES);
        return;
    }
    const Target *t = target_find("cpu");
    to->ratio[TIME_attention] = STRIPS_TAKE;
    to->vector = t->flops_per_second * f->threads;
    for (int w = 0; w < RATES; w++) to->products[w] = to->vector;
    to->bytes = to->streams = t->bytes_per_second * f->threads;
    to->start = (double)CPU_START_NS * 1e-9;
}

void fit_take_rates(Rates *to, double products, double copies) {
    for (int w = 0; w < RATES; w++) to->products[w] = products;
    to->vector = VECTOR_REACHES * products;
    to->bytes = copies;
    to->streams = STREAMS_REACH * copies;
}

// ---- calibration --------------------------------------------------------------------------------

static bool has_word(const char *line, const char *key, const char *value) {
    char want[96];
    snprintf(want, sizeof want, "\"%s\":\"%s\"", key, value);
    return strstr(line, want) != NULL;
}

static double number_of(const char *line, const char *key) {
    char want[64];
    snprintf(want, sizeof want, "\"%s\":", key);
    const char *at = strstr(line, want);
    return at ? strtod(at + strlen(want), NULL) : 0;
}

// Lines of the bench: rates of a CPU, or of a GPU each command with its estimate and what it took.
bool fit_calibrate(Arena *a, const Fleet *f, const char *path, Rates *to, Text *why) {
    static const char *const kinds[TIME_KINDS] = {"product", "attend", "kernel", "copy"};
    double estimated[TIME_KINDS] = {0}, measured[TIME_KINDS] = {0};
    const char *text;
    size_t size;
    bool any = false;
    if (!read_file(a, path, &text, &size)) {
        text_printf(why, "cannot read '%s': %s", path, file_fault());
        return false;
    }
    for (const char *s = text; *s;) {
        size_t n = strcspn(s, "\n");
        const char *line = arena_str(a, s, n);
        s += n + (s[n] == '\n');
        double products = number_of(line, "products"), copies = number_of(line, "copies");
        bool rates = !f->gpu && has_word(line, "kind", "rates") && products > 0 && copies > 0;
        if (rates && number_of(line, "threads") <= f->threads)
            any = true, fit_take_rates(to, products * 1e9, copies * 1e9);
        for (int k = 0; k < TIME_KINDS && f->gpu; k++) {
            double us = number_of(line, "measured_us"), count = number_of(line, "count");
            if (!has_word(line, "kind", kinds[k]) || us <= 0) continue;
            estimated[k] += count * number_of(line, "estimated_us");
            measured[k] += count * us;
            any = true;
        }
    }
    for (int k = 0; k < TIME_KINDS; k++)
        if (estimated[k] > 0) to->ratio[k] = measured[k] / estimated[k];
    to->source = path;
    if (!any)
        text_printf(why,
                    "'%s' has nothing that was measured on %s: it is to be what "
                    "'sinter bench --json' printed there",
                    path, f->gpu ? "a GPU" : "a CPU");
    return any;
}

// ---- one micro-batch ----------------------------------------------------------------------------

static TimeKind kind_of(const AccountLine *l) {
    switch (l->op) {
    case SN_CMD_KERNEL: return l->attention ? TIME_attention : TIME_kernels;
    case SN_CMD_GEMM: return TIME_products;
    case SN_CMD_ATTEND: return TIME_attention;
    case SN_CMD_FILL:
    case SN_CMD_COPY:
    case SN_CMD_RECORD:
    case SN_CMD_WAIT: return TIME_copies;
    }
    unreachable(l->op);
}

void fit_cost(const Rates *r, Arena *a, const SnPlan *p, FitBuilt *to) {
    Account account;
    account_step(a, p, 1, &account);
    for (uint32_t i = 0; i < account.lines.n; i++) {
        const AccountLine *l = &account.lines.at[i];
        TimeKind kind = kind_of(l);
        bool product = kind == TIME_products || kind == TIME_attention;
        double bandwidth = kind == TIME_kernels ? r->streams : r->bytes;
        double rate = product ? r->products[l->rate] : r->vector;
        double seconds = l->count * r->ratio[kind] *
                         roofline_seconds(r->start, l->flops, rate, l->bytes, bandwidth);
        if (strcmp(l->section, "update") == 0) {
            to->update += seconds;
            continue;
        }
        to->seconds[kind] += seconds;
        to->commands += l->count;
        if (product) to->flops[l->rate] += l->count * l->flops;
    }
}

// ---- a step -------------------------------------------------------------------------------------

static double parameters(const FitBuilt *b) {
    return (double)(b->held[HELD_direct].count + b->held[HELD_master].count);
}

// Bytes that a rank sends in a step.
static double wire_bytes(const FitBuilt *b, uint32_t zero, uint32_t ranks, uint32_t accum) {
    double share = (double)(ranks - 1) / ranks, sums = (double)b->held[HELD_sum].bytes;
    double weights = (double)(b->held[HELD_shadow].bytes + b->held[HELD_direct].bytes);
    if (zero == 0) return 2 * share * sums;
    if (zero == 1) return share * (sums + weights);
    if (zero == 2) return share * (accum * sums + weights);
    return share * accum * (sums + 2 * weights); // gathered forward and backward
}

static double link_of(const Fleet *f, uint32_t ranks) {
    const Gpu *g = f->gpu;
    if (!g) return 0;
    if (ranks > OF_HOST) return g->nic * 1e9;
    return (g->link > 0 ? g->link : REACHED * g->pcie) * 1e9;
}

double fit_flops_per_token(const Fit *x) {
    double positions = x->base.length ? (double)x->base.length : 1;
    return 6 * parameters(&x->base) + 3 * x->attention / positions;
}

void fit_time(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks, StepTime *to) {
    int64_t samples = b->micro * ranks;
    double micro = 0, flops = 0, peak;
    *to = (StepTime){.accum = (uint32_t)(b->batch > samples ? b->batch / samples : 1)};
    for (int k = 0; k < TIME_KINDS; k++) {
        to->micro[k] = to->accum * b->seconds[k];
        micro += to->micro[k];
    }
    // where moments are divided the update is
    to->update = b->update / (zero ? ranks : 1);
    to->link = ranks > 1 ? link_of(&x->fleet, ranks) : 0;
    if (to->link > 0) to->wire = wire_bytes(b, zero, ranks, to->accum) / to->link;
    double cover = zero >= 2 ? micro : micro / to->accum * 2 / 3; // the last backward pass
    to->exposed = to->wire > cover ? to->wire - cover : 0;
    to->seconds = micro + to->update + to->exposed;
    to->tokens = (double)samples * to->accum * (b->length ? (double)b->length : 1);
    GpuRate most = RATE_f32;
    for (int w = 0; w < RATES; w++) {
        flops += to->accum * b->flops[w];
        if (b->flops[w] > b->flops[most]) most = (GpuRate)w;
    }
    peak = x->rates.products[most];
    to->hfu = flops / (to->seconds * peak);
    to->mfu = fit_flops_per_token(x) * to->tokens / ranks / (to->seconds * peak);
}

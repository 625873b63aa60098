// A training step and an evaluation: what runs when, on which samples.
//
//   step:  prologue for all micro-batches, micro for all micro-batches, update
//   eval:  eval_prologue for all, eval_micro for all, eval_finish
//   predict: likewise
//
// The windows of a step are read once and kept; those of an evaluation or prediction, which may go over all
// of the data, a micro-batch at a time.
//
// An evaluation counts the samples that there are: behind the last one its last micro-batch is
// filled with samples that were read already, and the kernels leave those out (the scalar 'valid').
//
// The prologue computes what needs data only (token counts, so that a mean is over the whole batch,
// exactly) and must have seen the whole batch before the first gradient; so all windows of a step
// are kept, they are small, and tensors are read twice. Accumulators are not cleared: env.first
// makes kernels read them as zero. Nothing is allocated in a step unless the batch grows.
#include "runtime/core/bind.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct SnTrainer {
    SnExec *x;
    const SnPlan *plan;
    SnData *data;
    SnProgress at, before;       // before: the last step
    bool torn;                   // an update broke off
    const char *const *sections; // whose inputs are filled
    SnSplit held_out;            // what is evaluated
    int64_t micro, window;
    SnBind *binds; // one per input of the plan; port NULL: of another section
    int32_t *ids;  // [held, window + 1]
    int64_t held;
    bool (*stop)(void *user); // sn_trainer_ask
    void *user;
};

// Sections that run for each micro-batch: their inputs are filled. Those that run once have none.
static const char *const training[] = {"prologue", "micro", "eval_prologue", "eval_micro", NULL};
static const char *const evaluating[] = {"eval_prologue", "eval_micro", NULL};
static const char *const predicting[] = {"predict_prologue", "predict_micro", NULL};
static const char *const once[] = {"init", "update", "eval_finish", "predict_finish", NULL};

static bool is_one_of(const char *section, const char *const *all) {
    while (*all && strcmp(section, *all)) all++;
    return *all != NULL;
}

// All inputs must agree on the samples in a micro-batch, and on the window.
static SnStatus agree(SnTrainer *t, const SnBind *b, SnError *e) {
    const char *name = SN_STRING(t->plan, b->port->name);
    if (!t->micro) t->micro = b->samples;
    if (t->micro != b->samples)
        return sn_fail(e, SN_PLAN, "input '%s' takes %lld samples, others take %lld", name,
                       (long long)b->samples, (long long)t->micro);
    if (b->kind != SN_BIND_WINDOW && b->kind != SN_BIND_NEXT) return SN_OK;
    if (!t->window) t->window = b->window;
    if (t->window != b->window)
        return sn_fail(e, SN_USER, "input '%s' takes %lld tokens of a sample, others take %lld",
                       name, (long long)b->window, (long long)t->window);
    return SN_OK;
}

static SnStatus bind_all(SnTrainer *t, SnError *e) {
    SnDataKind kind = t->data ? sn_data_kind(t->data) : SN_DATA_TEXT;
    t->binds = calloc((size_t)t->plan->inputs.count + 1, sizeof *t->binds);
    if (!t->binds) return sn_fail(e, SN_MACHINE, "out of memory");
    for (uint32_t i = 0; i < t->plan->inputs.count; i++) {
        const SnPort *p = &SN_AT(t->plan, SnPort, inputs)[i];
        const char *section = SN_STRING(t->plan, p->section);
        if (is_one_of(section, once))
            return sn_fail(e, SN_PLAN, "section '%s' reads input '%s', and has no samples", section,
                           SN_STRING(t->plan, p->name));
        if (!is_one_of(section, t->sections)) continue;
        SnStatus s = sn_bind(t->plan, p, kind, &t->binds[i], e);
        if (!s) s = agree(t, &t->binds[i], e);
        if (!s && t->data && t->binds[i].kind == SN_BIND_TENSOR)
            s = sn_bind_tensor(t->plan, &t->binds[i], t->data, e);
        if (s) return s;
    }
    if (!t->micro) t->micro = (int64_t)sn_plan_number(t->plan, "micro", 1);
    return SN_OK;
}

static bool one_pass_eval(const SnTrainer *t) {
    return sn_plan_number(t->plan, "eval.max", INT32_MAX) == 1;
}

// Samples that depend on each other cannot be left out one by one.
static SnStatus eval_fits(const SnTrainer *t, SnError *e) {
    int64_t samples = sn_data_samples(t->data, SN_VALID);
    if (!one_pass_eval(t) || !sn_trainer_can_eval(t) || samples >= t->micro) return SN_OK;
    return sn_fail(e, SN_USER,
                   "an evaluation of this model takes %lld samples at once, since they depend on "
                   "each other, and the data has %lld for validation; take more, or none with "
                   "--set data.split=1",
                   (long long)t->micro, (long long)samples);
}

static SnStatus open_trainer(SnExec *x, SnData *data, const SnProgress *at,
                             const char *const *sections, SnTrainer **out, SnError *e) {
    SnTrainer *t = *out = calloc(1, sizeof *t);
    if (!t) return sn_fail(e, SN_MACHINE, "out of memory");
    t->x = x;
    t->plan = sn_exec_plan(x);
    t->data = data;
    t->sections = sections;
    t->held_out = sections == training ? SN_VALID : SN_TRAIN;
    t->at = t->before = *at;
    return bind_all(t, e);
}

static SnStatus give(SnTrainer **out, SnStatus s) {
    if (!s) return s;
    sn_trainer_free(*out);
    *out = NULL;
    return s;
}

SnStatus sn_trainer_new(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out,
                        SnError *e) {
    assert(at->accum >= 1);
    SnStatus s = open_trainer(x, data, at, training, out, e);
    if (!s && data) s = sn_plan_allows((*out)->plan, at->accum, e);
    if (!s && data) s = eval_fits(*out, e);
    return give(out, s);
}

// What is computed of samples that depend on each other is computed of one micro-batch.
static SnStatus all_fit(const SnTrainer *t, const char *key, const char *what, SnError *e) {
    int64_t samples = sn_data_samples(t->data, t->held_out);
    if (sn_plan_number(t->plan, key, INT32_MAX) > 1 || samples == t->micro) return SN_OK;
    return sn_fail(e, SN_USER,
                   "%s of this model are those of %lld samples at once, since they depend on each "
                   "other, and the data has %lld",
                   what, (long long)t->micro, (long long)samples);
}

SnStatus sn_trainer_new_predicting(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out,
                                   SnError *e) {
    SnStatus s = open_trainer(x, data, at, predicting, out, e);
    if (!s) s = all_fit(*out, "predict.max", "the outputs", e);
    return give(out, s);
}

SnStatus sn_trainer_new_evaluating(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out,
                                   SnError *e) {
    SnStatus s = open_trainer(x, data, at, evaluating, out, e);
    if (!s) s = all_fit(*out, "eval.max", "loss and metrics", e);
    return give(out, s);
}

void sn_trainer_free(SnTrainer *t) {
    if (!t) return;
    free(t->binds);
    free(t->ids);
    free(t);
}

void sn_trainer_ask(SnTrainer *t, bool (*stop)(void *user), void *user) {
    t->stop = stop;
    t->user = user;
}

SnProgress sn_trainer_progress(const SnTrainer *t) { return t->at; }
bool sn_trainer_is_torn(const SnTrainer *t) { return t->torn; }
void sn_trainer_take_back(SnTrainer *t) { t->at = t->before; }
int64_t sn_trainer_micro(const SnTrainer *t) { return t->micro; }
int64_t sn_trainer_window(const SnTrainer *t) { return t->window; }

// Reads the windows of a whole batch.
static SnStatus load_windows(SnTrainer *t, SnSplit split, uint64_t first, int64_t count,
                             SnError *e) {
    if (!t->window || sn_data_kind(t->data) == SN_DATA_TENSORS) return SN_OK;
    if (count > t->held) {
        int32_t *grown = realloc(t->ids, (size_t)(count * (t->window + 1)) * sizeof *grown);
        if (!grown) return sn_fail(e, SN_MACHINE, "out of memory");
        t->ids = grown;
        t->held = count;
    }
    return sn_data_windows(t->data, split, first, count, t->ids, e);
}

static int64_t micros_of(const SnTrainer *t, int64_t samples) {
    return sn_ceil_div(samples, t->micro);
}

// So many samples from `first` on, in micro-batches.
typedef struct {
    const char *section;
    SnSplit split;
    uint64_t first, step;
    int64_t samples;
} Batch;

static uint64_t first_of(const SnTrainer *t, const Batch *b, int64_t j) {
    return b->first + (uint64_t)(j * t->micro);
}

// Fills the inputs of a section with micro-batch j, whose windows are `ids`.
static SnStatus fill_inputs(SnTrainer *t, const Batch *batch, int64_t j, const int32_t *ids,
                            SnError *e) {
    for (uint32_t i = 0; i < t->plan->inputs.count; i++) {
        const SnBind *b = &t->binds[i];
        if (!b->port || strcmp(SN_STRING(t->plan, b->port->section), batch->section)) continue;
        if (b->kind == SN_BIND_TENSOR) {
            SnStatus s = sn_data_tensor(t->data, b->id, batch->split, first_of(t, batch, j),
                                        t->micro, sn_exec_input(t->x, b->port), e);
            if (s) return s;
        } else {
            sn_bind_fill(b, t->x, ids);
        }
    }
    return SN_OK;
}

// While a micro-batch is computed, the samples from `first` on are read for the section's next run.
static void read_ahead(SnTrainer *t, const char *section, SnSplit split, uint64_t first) {
    for (uint32_t i = 0; i < t->plan->inputs.count; i++) {
        const SnBind *b = &t->binds[i];
        if (b->port && b->kind == SN_BIND_TENSOR &&
            !strcmp(SN_STRING(t->plan, b->port->section), section))
            sn_data_ahead(t->data, b->id, split, first, t->micro);
    }
}

// Micro-batch j of a batch of so many samples.
static void set_scalars(SnTrainer *t, uint64_t step, int64_t samples, int64_t j) {
    int64_t left = samples - j * t->micro;
    sn_exec_set(t->x, "step", (double)step);
    sn_exec_set(t->x, "accum", (double)micros_of(t, samples));
    sn_exec_set(t->x, "batch", (double)samples);
    sn_exec_set(t->x, "valid", (double)(left < t->micro ? left : t->micro));
    sn_exec_set(t->x, "first", j == 0);
}

static SnStatus run_micro(SnTrainer *t, const Batch *b, int64_t j, const int32_t *ids, SnError *e) {
    SnEnv env = {
        .first = j == 0, .step = (uint32_t)b->step, .seed = t->at.seed, .sample = j * t->micro};
    set_scalars(t, b->step, b->samples, j);
    SnStatus s = fill_inputs(t, b, j, ids, e);
    // Steps follow each other; an evaluation reads what the one before it read.
    bool again = b->split == SN_VALID && j + 1 == micros_of(t, b->samples);
    if (!s) read_ahead(t, b->section, b->split, again ? b->first : first_of(t, b, j + 1));
    return s ? s : sn_exec_run(t->x, b->section, &env, e);
}

static bool asked_to_stop(const SnTrainer *t) { return t->stop && t->stop(t->user); }

// Runs a section once per micro-batch of the batch that starts at sample `first`.
static SnStatus run_micros(SnTrainer *t, const char *section, SnSplit split, uint64_t first,
                           uint64_t step, int64_t samples, SnError *e) {
    const Batch b = {section, split, first, step, samples};
    if (!sn_plan_section(t->plan, section)) return SN_OK;
    for (int64_t j = 0; j < micros_of(t, samples); j++) {
        if (asked_to_stop(t)) return sn_fail(e, SN_STOPPED, "stopped");
        SnStatus s =
            run_micro(t, &b, j, t->ids ? t->ids + j * t->micro * (t->window + 1) : NULL, e);
        if (s) return s;
    }
    return SN_OK;
}

static SnStatus run_once(SnTrainer *t, const char *section, uint64_t step, int64_t samples,
                         SnError *e) {
    SnEnv env = {.first = 0, .step = (uint32_t)step, .seed = t->at.seed, .sample = 0};
    set_scalars(t, step, samples, 1);
    return sn_exec_run(t->x, section, &env, e);
}

SnStatus sn_trainer_init(SnTrainer *t, SnError *e) {
    return run_once(t, "init", 0, t->at.accum * t->micro, e);
}

SnStatus sn_trainer_step(SnTrainer *t, SnError *e) {
    uint64_t step = t->at.step + 1;
    int64_t batch = t->at.accum * t->micro;
    SnStatus s = load_windows(t, SN_TRAIN, t->at.samples, batch, e);
    if (!s) s = run_micros(t, "prologue", SN_TRAIN, t->at.samples, step, batch, e);
    if (!s) s = run_micros(t, "micro", SN_TRAIN, t->at.samples, step, batch, e);
    if (!s) {
        s = run_once(t, "update", step, batch, e);
        t->torn = s != SN_OK;
    }
    if (s) return s;
    t->before = t->at;
    t->at.step = step;
    t->at.samples += (uint64_t)batch;
    if (t->window) sn_data_prefetch(t->data, SN_TRAIN, t->at.samples, batch);
    return SN_OK;
}

// As run_micros, but reads windows as they are needed; after each micro-batch `each`, which may be NULL.
static SnStatus stream_micros(SnTrainer *t, const char *section, int64_t samples, SnPredicted *each,
                              void *user, SnError *e) {
    const Batch b = {section, t->held_out, 0, t->at.step, samples};
    const SnSection *commands = sn_plan_section(t->plan, section);
    if (!commands || (!commands->count && !each)) return SN_OK;
    for (int64_t j = 0; j < micros_of(t, samples); j++) {
        int64_t at = j * t->micro, left = samples - at;
        if (asked_to_stop(t)) return sn_fail(e, SN_STOPPED, "stopped");
        SnStatus s = load_windows(t, b.split, (uint64_t)at, t->micro, e);
        if (!s) s = run_micro(t, &b, j, t->ids, e);
        if (!s && each) s = each(user, at, left < t->micro ? left : t->micro, e);
        if (s) return s;
    }
    return SN_OK;
}

bool sn_trainer_can_eval(const SnTrainer *t) {
    return t->data && sn_plan_section(t->plan, "eval_micro") &&
           sn_data_samples(t->data, t->held_out) > 0;
}

int64_t sn_trainer_eval_samples(const SnTrainer *t, int64_t batches) {
    int64_t samples = sn_data_samples(t->data, t->held_out);
    if (one_pass_eval(t)) batches = 1;
    return batches < micros_of(t, samples) ? batches * t->micro : samples;
}

SnStatus sn_trainer_eval(SnTrainer *t, int64_t batches, SnError *e) {
    assert(sn_trainer_can_eval(t));
    int64_t samples = sn_trainer_eval_samples(t, batches);
    SnStatus s = stream_micros(t, "eval_prologue", samples, NULL, NULL, e);
    if (!s) s = stream_micros(t, "eval_micro", samples, NULL, NULL, e);
    if (!s) s = run_once(t, "eval_finish", t->at.step, samples, e);
    return s;
}

SnStatus sn_trainer_predict(SnTrainer *t, SnPredicted *each, void *user, SnError *e) {
    int64_t samples = sn_data_samples(t->data, t->held_out);
    SnStatus s = stream_micros(t, "predict_prologue", samples, NULL, NULL, e);
    if (!s) s = stream_micros(t, "predict_micro", samples, each, user, e);
    if (!s) s = run_once(t, "predict_finish", t->at.step, samples, e);
    return s;
}

double sn_trainer_result(SnTrainer *t, const char *name, bool eval, int back) {
    const char *sections[2][2] = {{"update", "micro"}, {"eval_finish", "eval_micro"}};
    for (int i = 0; i < 2; i++)
        if (sn_plan_output(t->plan, sections[eval][i], name))
            return sn_exec_result(t->x, sections[eval][i], name, back);
    return (double)NAN;
}

// Continues a prompt: section "generate" computes the outputs for one window, ids are drawn from
// the logits at the last position: the scalar 'position', where the plan computes them (passes/position.c).
//
// The whole window is computed for every id (there is no cache of keys and values): O(window) work
// of the model per id. A prompt that outgrows the window slides through it. Drawing is by Philox
// with the number of the drawn id as counter, so a seed gives the same text on the same executable.
#include "runtime/core/bind.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    SnBind window; // the input that takes the ids
    const SnPort *out;
    float *
        logits; // of the last position in host memory, or all of them where choices are not adjacent
    int64_t vocab, vocab_stride, position_stride; // position_stride 0: there is one
} LanguageModel;

typedef struct {
    float logit;
    int32_t id;
} TokenLogit;

static SnStatus find_window(SnExec *x, LanguageModel *m, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    bool found = false;
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *port = &SN_AT(p, SnPort, inputs)[i];
        if (strcmp(SN_STRING(p, port->section), "generate")) continue;
        SnBind b;
        SnStatus s = sn_bind(p, port, SN_DATA_TEXT, &b, e);
        if (s) return s;
        if (b.kind != SN_BIND_WINDOW) continue;
        if (b.samples != 1)
            return sn_fail(e, SN_PLAN, "generation takes %lld samples", (long long)b.samples);
        m->window = b;
        found = true;
    }
    return found ? SN_OK : sn_fail(e, SN_USER, "this model cannot generate: no input takes tokens");
}

// Logits: the output of that name, or the only output.
static const SnPort *find_output(const SnPlan *p) {
    const SnPort *only = NULL, *named = sn_plan_output(p, "generate", "logits");
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->outputs.count; i++) {
        const SnPort *port = &SN_AT(p, SnPort, outputs)[i];
        if (strcmp(SN_STRING(p, port->section), "generate") || !port->naxes) continue;
        only = port;
        n++;
    }
    return named ? named : n == 1 ? only : NULL;
}

static SnStatus find_logits(SnExec *x, LanguageModel *m, SnError *e) {
    const SnPlan *p = sn_exec_plan(x);
    const SnPort *out = find_output(p), *in = m->window.port;
    if (!out) return sn_fail(e, SN_USER, "this model cannot generate: it has no output 'logits'");
    const char *positions = SN_STRING(p, in->axis[in->sample == 1 ? 1 : 0]);
    int at = sn_port_axis(p, out, positions);
    bool one = sn_plan_scalar(p, "position") != NULL;
    if ((at < 0 && !one) || out->elem != SN_ELEM_f32)
        return sn_fail(e, SN_USER, "this model cannot generate: its output is not over '%s'",
                       positions);
    int64_t stride = 1;
    for (int i = out->naxes - 1; i >= 0; stride *= out->size[i--]) {
        if (i == at) {
            m->position_stride = stride;
        } else if (i != out->sample - 1 && out->size[i] > 1) {
            if (m->vocab)
                return sn_fail(e, SN_USER,
                               "this model cannot generate: its output has too many axes");
            m->vocab = out->size[i];
            m->vocab_stride = stride;
        }
    }
    if (!m->vocab)
        return sn_fail(e, SN_USER, "this model cannot generate: its output has no axis of choices");
    m->out = out;
    return SN_OK;
}

// Largest first; equal logits in order of ids. NaN counts as the smallest.
static int by_logit(const void *a, const void *b) {
    const TokenLogit *x = a, *y = b;
    float fx = isnan(x->logit) ? -INFINITY : x->logit, fy = isnan(y->logit) ? -INFINITY : y->logit;
    if (fx != fy) return fx > fy ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static double uniform(uint64_t seed, uint64_t n) {
    const uint32_t counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), 0, 0x47454e45u};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint64_t bits = (uint64_t)sn_philox(counter, key, 0) << 32 | sn_philox(counter, key, 1);
    return (double)(bits >> 11) * 0x1p-53;
}

// Where the logits of a position start in m->logits, once they have been read from the device.
static SnStatus read_logits(const LanguageModel *m, SnExec *x, int64_t position, const float **row,
                            SnError *e) {
    const SnPort *out = m->out;
    int64_t at = position * m->position_stride, bytes = m->vocab * (int64_t)sizeof(float);
    *row = m->logits;
    if (m->vocab_stride == 1)
        return sn_exec_read(x, out->region, out->offset + at * (int64_t)sizeof(float), m->logits,
                            bytes, e);
    *row += at;
    return sn_exec_read(x, out->region, out->offset, m->logits, out->bytes, e);
}

// Draws from softmax(logits / temperature) over the top_k largest.
static int32_t draw(const LanguageModel *m, const float *row, TokenLogit *c, const SnGenerate *how,
                    uint64_t n) {
    for (int64_t i = 0; i < m->vocab; i++)
        c[i] = (TokenLogit){row[i * m->vocab_stride], (int32_t)i};
    qsort(c, (size_t)m->vocab, sizeof *c, by_logit);
    if (how->temperature <= 0) return c[0].id;
    int64_t k = how->top_k > 0 && how->top_k < m->vocab ? how->top_k : m->vocab;
    double total = 0, best = (double)c[0].logit;
    for (int64_t i = 0; i < k; i++) total += exp(((double)c[i].logit - best) / how->temperature);
    double left = uniform(how->seed, n) * total;
    for (int64_t i = 0; i < k; i++) {
        left -= exp(((double)c[i].logit - best) / how->temperature);
        if (left < 0) return c[i].id;
    }
    return c[0].id; // the sum was not a number, or rounding left a rest
}

// What else the model takes does not exist while it generates.
static void clear_others(const LanguageModel *m, SnExec *x) {
    const SnPlan *p = sn_exec_plan(x);
    for (uint32_t i = 0; i < p->inputs.count; i++) {
        const SnPort *port = &SN_AT(p, SnPort, inputs)[i];
        if (port != m->window.port && !strcmp(SN_STRING(p, port->section), "generate"))
            memset(sn_exec_input(x, port), 0, (size_t)port->bytes);
    }
}

// Places the last ids of the text at the start of the window; returns the last one's position.
static int64_t fill_window(const LanguageModel *m, SnExec *x, const int32_t *text, int64_t n) {
    int32_t *to = sn_exec_input(x, m->window.port);
    int64_t shown = n < m->window.window ? n : m->window.window;
    for (int64_t i = 0; i < m->window.window; i++)
        to[i * m->window.window_stride] = i < shown ? text[n - shown + i] : 0;
    return shown - 1;
}

static SnStatus generate(const LanguageModel *m, SnExec *x, int32_t *text, int64_t n,
                         TokenLogit *choices, const SnGenerate *how, bool (*emit)(void *, int32_t),
                         void *user, SnError *e) {
    for (int64_t i = 0; i < how->tokens; i++) {
        clear_others(m, x);
        int64_t position = fill_window(m, x, text, n + i);
        SnEnv env = {.first = 1, .step = 0, .seed = how->seed, .sample = 0};
        sn_exec_set(x, "accum", 1);
        sn_exec_set(x, "first", 1);
        sn_exec_set(x, "position", (double)position);
        SnStatus s = sn_exec_run(x, "generate", &env, e);
        const float *row = NULL;
        if (!s) s = read_logits(m, x, position, &row, e);
        if (s) return s;
        text[n + i] = draw(m, row, choices, how, (uint64_t)i);
        if (!emit(user, text[n + i])) break;
    }
    return SN_OK;
}

static SnStatus find(SnExec *x, LanguageModel *m, SnError *e) {
    if (!sn_plan_section(sn_exec_plan(x), "generate"))
        return sn_fail(e, SN_USER, "this model cannot generate: it has no output");
    SnStatus s = find_window(x, m, e);
    return s ? s : find_logits(x, m, e);
}

SnStatus sn_prompt(const char *text, bool bytes, int32_t **ids, int64_t *n, SnError *e) {
    *ids = malloc((strlen(text) + 1) * sizeof **ids);
    *n = 0;
    if (!*ids) return sn_fail(e, SN_MACHINE, "out of memory");
    if (bytes)
        while (text[*n]) (*ids)[*n] = (unsigned char)text[*n], ++*n;
    for (char *end; !bytes && text[strspn(text, " ,")]; text = end) {
        text += strspn(text, " ,");
        long id = strtol(text, &end, 10);
        if (end == text || id < 0 || id > INT32_MAX) {
            free(*ids);
            *ids = NULL;
            return sn_fail(e, SN_USER,
                           "--generate: the prompt is a list of token numbers, not '%s'", text);
        }
        (*ids)[(*n)++] = (int32_t)id;
    }
    return SN_OK;
}

SnStatus sn_can_generate(SnExec *x, SnError *e) {
    LanguageModel m = {0};
    return find(x, &m, e);
}

SnStatus sn_generate(SnExec *x, const int32_t *prompt, int64_t n, const SnGenerate *how,
                     bool (*emit)(void *user, int32_t id), void *user, SnError *e) {
    LanguageModel m = {0};
    SnStatus s = find(x, &m, e);
    if (s) return s;
    if (n < 1) return sn_fail(e, SN_USER, "the prompt is empty");
    for (int64_t i = 0; i < n; i++)
        if (prompt[i] < 0 || (m.window.port->range && prompt[i] >= m.window.port->range))
            return sn_fail(e, SN_USER, "the prompt holds %d, ids end at %lld", prompt[i],
                           (long long)m.window.port->range - 1);
    int32_t *text = malloc((size_t)(n + how->tokens) * sizeof *text);
    TokenLogit *choices = malloc((size_t)m.vocab * sizeof *choices);
    m.logits = malloc(m.vocab_stride == 1 ? (size_t)m.vocab * sizeof(float) : (size_t)m.out->bytes);
    if (text && choices && m.logits) {
        memcpy(text, prompt, (size_t)n * sizeof *text);
        s = generate(&m, x, text, n, choices, how, emit, user, e);
    } else {
        s = sn_fail(e, SN_MACHINE, "out of memory");
    }
    free(text);
    free(choices);
    free(m.logits);
    return s;
}

// A small plan built by hand, with kernels written in C, so that the runtime is tested without the
// compiler. Its "model" has weights w[3], counts of ids h[8] and a matrix product; every value is a
// small integer, so that sums are exact and can be compared with ==.
//
//   prologue  count += ids in the micro-batch
//   micro     g[i] += (i + 1) * sum of (id + target);  h[id] += 1;  p = a b
//             o = 2 (a b) b^T, r = (2 a b)^T a: an attention of two rows and three keys
//   update    w[i] += g[i] / count * lr.peak * step;  loss = g[0]
//   eval      the sum of ids over the micro-batches, then divided by their number
//   generate  logits: 10 at (id + 1) mod 8
#pragma once
#include "runtime/sinter.h"
#include <stdlib.h>
#include <string.h>

enum { MICRO = 2, SEQ = 4, VOCAB = 8, WEIGHTS = 3, BLOB = 16384 };
// Offsets in the regions.
enum { AT_W = 0, AT_A = 64, AT_B = 128, AT_P = 192, AT_O = 256, AT_R = 320, PARAM_BYTES = 384 };
enum { AT_G = 0, AT_H = 64, AT_COUNT = 128, AT_EVAL = 192, ACCUM_BYTES = 256 };
enum { AT_LOSS = 0, AT_MEAN = 64, AT_LOGITS = 128, TEMP_BYTES = 128 + SEQ * VOCAB * 4 };
enum { AT_TOKENS = 0, AT_TARGETS = 64, AT_PROMPT = 128, INPUT_BYTES = 192 };

static void k_init(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)scratch;
    for (int64_t t = t0; t < t1; t++) ((float *)b[0])[t] = (float)(t + 1) + (float)env->seed;
    const float a[4] = {1, 2, 3, 4}, m[6] = {1, 0, 2, 0, 1, 3};
    memcpy(b[1], a, sizeof a);
    memcpy(b[2], m, sizeof m);
}

static void k_count(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)scratch, (void)t0, (void)t1;
    float *count = b[0];
    *count = (env->first ? 0 : *count) + MICRO * SEQ;
}

// Sums in the scratch, slowly: a scratch that another thread writes too gives another sum.
static void k_grad(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    const int32_t *ids = b[1], *next = b[2];
    volatile float *sum = scratch;
    for (int64_t t = t0; t < t1; t++) {
        float *g = (float *)b[0] + t;
        *sum = 0;
        for (int i = 0; i < MICRO * SEQ; i++)
            for (int repeat = 0; repeat < 4096; repeat++) *sum += (float)(ids[i] + next[i]);
        *g = (env->first ? 0 : *g) + (float)(t + 1) * (*sum / 4096);
    }
}

static void k_scatter(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)env, (void)scratch, (void)t0, (void)t1;
    for (int i = 0; i < MICRO * SEQ; i++) ((float *)b[0])[((const int32_t *)b[1])[i]] += 1;
}

// bufs: w, g, count, lr, step, loss
static void k_update(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)scratch;
    const float *g = b[1], *count = b[2], *lr = b[3];
    if (env->first) abort(); // accumulators would read as zero
    if (*(const int32_t *)b[4] != (int32_t)env->step) abort();
    for (int64_t t = t0; t < t1; t++) ((float *)b[0])[t] += g[t] / *count * *lr * (float)env->step;
    if (t0 == 0) *(float *)b[5] = g[0];
}

static void k_eval(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)scratch, (void)t0, (void)t1;
    float sum = 0;
    for (int i = 0; i < MICRO * SEQ; i++) sum += (float)((const int32_t *)b[1])[i];
    *(float *)b[0] = (env->first ? 0 : *(float *)b[0]) + sum;
}

static void k_mean(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)env, (void)scratch, (void)t0, (void)t1;
    *(float *)b[0] = *(const float *)b[1] / (float)(*(const int32_t *)b[2] * MICRO * SEQ);
}

static void k_logits(void *const *b, const SnEnv *env, int64_t t0, int64_t t1, void *scratch) {
    (void)env, (void)scratch, (void)t0, (void)t1;
    for (int s = 0; s < SEQ; s++)
        for (int v = 0; v < VOCAB; v++)
            ((float *)b[0])[s * VOCAB + v] = v == (((const int32_t *)b[1])[s] + 1) % VOCAB ? 10 : 0;
}

// A strip kernel: twice what is there.
static void k_strip(void *const *b, const SnEnv *env, float *const *tiles, int64_t ld, int64_t row0,
                    int64_t row1, int64_t lane0, int64_t lane1, void *scratch) {
    (void)b, (void)env, (void)scratch;
    for (int64_t r = 0; r < row1 - row0; r++)
        for (int64_t lane = 0; lane < lane1 - lane0; lane++) tiles[0][r * ld + lane] *= 2;
}

// A micro-kernel of one row and 16 lanes, in C.
static void k_ukr(int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb,
                  const float *from, int64_t ldfrom, const float *acc, int64_t ldacc, float *to,
                  int64_t ldto) {
    (void)ldfrom, (void)ldacc, (void)ldto;
    for (int lane = 0; lane < 16; lane++) {
        float x = from ? from[lane] : 0;
        for (int64_t k = 0; k < kc; k++) x = __builtin_fmaf(a[k * lda], b[k * ldb + lane], x);
        to[lane] = acc ? acc[lane] + x : x;
    }
}

typedef void (*TinyFn)(void);
static const TinyFn tiny_functions[] = {
    (TinyFn)k_init, (TinyFn)k_count, (TinyFn)k_grad,   (TinyFn)k_scatter, (TinyFn)k_update,
    (TinyFn)k_eval, (TinyFn)k_mean,  (TinyFn)k_logits, (TinyFn)k_strip,   (TinyFn)k_ukr};
enum { TINY_KERNELS = 9, TINY_STRIP = 8, TINY_UKR = 9, TINY_FUNCTIONS = 10 };

typedef struct {
    SnPlan head;
    unsigned char *blob;
    uint32_t used;
    char strings[1024];
    uint32_t nstrings;
    SnKernel kernels[TINY_KERNELS];
    SnGemm gemm;
    SnAttend attend;
    SnCmd cmds[32];
    SnArg args[48];
    SnSection sections[8];
    SnState states[4];
    SnPort inputs[8], outputs[4];
    SnScalar scalars[4];
    SnOption options[4];
    uint32_t ncmds, nargs, nsections, nstates, ninputs, noutputs, nscalars, noptions;
} Tiny;

static SnStr tiny_string(Tiny *t, const char *s) {
    uint32_t at = t->nstrings;
    strcpy(t->strings + at, s);
    t->nstrings += (uint32_t)strlen(s) + 1;
    return at;
}

static void tiny_arg(Tiny *t, uint32_t region, int64_t offset, int64_t bytes) {
    t->args[t->nargs++] = (SnArg){(uint16_t)region, SN_ELEM_f32, 0, offset, bytes};
    int64_t *temp = &t->sections[t->nsections - 1].temp;
    if (region == SN_REGION_TEMP && offset + bytes > *temp) *temp = offset + bytes;
}

static void tiny_section(Tiny *t, const char *name) {
    t->sections[t->nsections++] = (SnSection){tiny_string(t, name), t->ncmds, 0, 0, 0};
}

// The command takes the arguments that follow.
static void tiny_cmd(Tiny *t, SnCmdOp op, SnWhen when, uint32_t fn, uint32_t nargs) {
    t->cmds[t->ncmds++] = (SnCmd){.op = (uint8_t)op,
                                  .when = (uint8_t)when,
                                  .fn = fn,
                                  .args = t->nargs,
                                  .nargs = nargs,
                                  .count = 1};
    t->sections[t->nsections - 1].count++;
}

static void tiny_port(Tiny *t, bool input, const char *section, const char *name, uint32_t region,
                      int64_t offset, int64_t samples, int64_t vocab) {
    SnPort p = {.name = tiny_string(t, name),
                .section = tiny_string(t, section),
                .region = region,
                .offset = offset,
                .bytes = 4};
    p.elem = input;
    p.range = input ? VOCAB : 0;
    if (samples) {
        p.sample = 1;
        p.axis[p.naxes] = tiny_string(t, "batch");
        p.size[p.naxes++] = samples;
        p.axis[p.naxes] = tiny_string(t, "seq");
        p.size[p.naxes++] = SEQ;
        p.bytes *= samples * SEQ;
    }
    if (vocab) {
        p.axis[p.naxes] = tiny_string(t, "vocab");
        p.size[p.naxes++] = vocab;
        p.bytes *= vocab;
    }
    if (input)
        t->inputs[t->ninputs++] = p;
    else
        t->outputs[t->noutputs++] = p;
}

static void tiny_state(Tiny *t, const char *path, SnRegion region, int64_t offset, int64_t size) {
    t->states[t->nstates++] =
        (SnState){.path = tiny_string(t, path),
                  .naxes = 1,
                  .size = {size},
                  .axis = {tiny_string(t, "x")},
                  .region = region,
                  .kind = region == SN_REGION_ACCUM ? SN_STATE_ACCUM : SN_STATE_PARAM,
                  .offset = offset,
                  .bytes = size * 4};
}

static void tiny_event(Tiny *t, SnCmdOp op, SnStream stream, uint32_t event) {
    tiny_cmd(t, op, SN_WHEN_ALWAYS, event, 0);
    t->cmds[t->ncmds - 1].stream = (uint8_t)stream;
}

// The product goes to the host and comes back, by two events.
static void tiny_trip(Tiny *t) {
    for (int back = 0; back < 2; back++) {
        SnStream lane = back ? SN_STREAM_IN : SN_STREAM_OUT;
        tiny_event(t, SN_CMD_RECORD, SN_STREAM_COMPUTE, 0);
        tiny_event(t, SN_CMD_WAIT, lane, 0);
        tiny_cmd(t, SN_CMD_COPY, SN_WHEN_ALWAYS, 0, 2);
        t->cmds[t->ncmds - 1].stream = (uint8_t)lane;
        tiny_arg(t, back ? SN_REGION_PARAM : SN_REGION_HOST, back ? AT_P : 0, 24);
        tiny_arg(t, back ? SN_REGION_HOST : SN_REGION_PARAM, back ? 0 : AT_P, 24);
        tiny_event(t, SN_CMD_RECORD, lane, 1);
        tiny_event(t, SN_CMD_WAIT, SN_STREAM_COMPUTE, 1);
    }
}

static void tiny_commands(Tiny *t) {
    tiny_section(t, "init");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 0, 3);
    tiny_arg(t, SN_REGION_PARAM, AT_W, 12), tiny_arg(t, SN_REGION_PARAM, AT_A, 16);
    tiny_arg(t, SN_REGION_PARAM, AT_B, 24);
    tiny_section(t, "prologue");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 1, 1);
    tiny_arg(t, SN_REGION_ACCUM, AT_COUNT, 4);
    tiny_section(t, "micro");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 2, 3);
    tiny_arg(t, SN_REGION_ACCUM, AT_G, 12), tiny_arg(t, SN_REGION_INPUT, AT_TOKENS, 32);
    tiny_arg(t, SN_REGION_INPUT, AT_TARGETS, 32);
    tiny_cmd(t, SN_CMD_FILL, SN_WHEN_FIRST, 0, 1);
    tiny_arg(t, SN_REGION_ACCUM, AT_H, 32);
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 3, 2);
    tiny_arg(t, SN_REGION_ACCUM, AT_H, 32), tiny_arg(t, SN_REGION_INPUT, AT_TOKENS, 32);
    tiny_cmd(t, SN_CMD_GEMM, SN_WHEN_ALWAYS, 0, 3);
    tiny_arg(t, SN_REGION_PARAM, AT_A, 16), tiny_arg(t, SN_REGION_PARAM, AT_B, 24);
    tiny_arg(t, SN_REGION_PARAM, AT_P, 24);
    tiny_cmd(t, SN_CMD_ATTEND, SN_WHEN_ALWAYS, 0, 6);
    tiny_arg(t, SN_REGION_PARAM, AT_A, 16), tiny_arg(t, SN_REGION_PARAM, AT_B, 24);
    tiny_arg(t, SN_REGION_PARAM, AT_B, 24), tiny_arg(t, SN_REGION_PARAM, AT_O, 16);
    tiny_arg(t, SN_REGION_PARAM, AT_A, 16), tiny_arg(t, SN_REGION_PARAM, AT_R, 24);
    tiny_trip(t);
    tiny_section(t, "update");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 4, 6);
    tiny_arg(t, SN_REGION_PARAM, AT_W, 12), tiny_arg(t, SN_REGION_ACCUM, AT_G, 12);
    tiny_arg(t, SN_REGION_ACCUM, AT_COUNT, 4), tiny_arg(t, SN_REGION_SCALAR, 0, 4);
    tiny_arg(t, SN_REGION_SCALAR, 4, 4), tiny_arg(t, SN_REGION_TEMP, AT_LOSS, 4);
    tiny_section(t, "eval_micro");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 5, 2);
    tiny_arg(t, SN_REGION_ACCUM, AT_EVAL, 4), tiny_arg(t, SN_REGION_INPUT, AT_TOKENS, 32);
    tiny_section(t, "eval_finish");
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 6, 3);
    tiny_arg(t, SN_REGION_TEMP, AT_MEAN, 4), tiny_arg(t, SN_REGION_ACCUM, AT_EVAL, 4);
    tiny_arg(t, SN_REGION_SCALAR, 8, 4);
    tiny_section(t, "generate");
    t->sections[t->nsections - 1].beside = 1;
    tiny_cmd(t, SN_CMD_KERNEL, SN_WHEN_ALWAYS, 7, 2);
    tiny_arg(t, SN_REGION_TEMP, AT_LOGITS, SEQ * VOCAB * 4),
        tiny_arg(t, SN_REGION_INPUT, AT_PROMPT, 16);
}

static SnTable tiny_table(Tiny *t, const void *items, uint32_t n, size_t size) {
    t->used = (t->used + 7) / 8 * 8;
    SnTable table = {t->used, n};
    if (n) memcpy(t->blob + t->used, items, n * size);
    t->used += (uint32_t)(n * size);
    return table;
}

// Rows and features of a are 2, keys of b are 3.
static SnAttend tiny_attend(void) {
    const SnAttendPart product = {.kind = SN_ATTEND_PRODUCT,
                                  .x = 0,
                                  .y = 1,
                                  .step_x = 2,
                                  .step_y = 1,
                                  .nf = 1,
                                  .f = {{2, 1, 3, 0}}};
    const SnAttendPart keys = {.kind = SN_ATTEND_KEYS,
                               .x = 2,
                               .y = 3,
                               .step_x = 1,
                               .step_y = 2,
                               .nf = 1,
                               .f = {{2, 3, 1, 0}}};
    const SnAttendPart rows = {.kind = SN_ATTEND_ROWS,
                               .x = 4,
                               .y = 5,
                               .step_x = 2,
                               .step_y = 2,
                               .nf = 1,
                               .f = {{2, 1, 1, 0}}};
    return (SnAttend){.nouter = 1,
                      .outer = {1},
                      .nparts = 3,
                      .tiles = 1,
                      .strip = 48,
                      .kernel = TINY_STRIP,
                      .args = 6,
                      .rows = 2,
                      .keys = 3,
                      .part = {product, keys, rows}};
}

// The blob; free it.
static SnPlan *tiny_plan(void) {
    Tiny *t = calloc(1, sizeof *t);
    unsigned char *blob = aligned_alloc(64, BLOB);
    memset(blob, 0, BLOB);
    t->blob = blob;
    t->used = sizeof(SnPlan);
    tiny_string(t, "");
    const int64_t tasks[TINY_KERNELS] = {WEIGHTS, 1, WEIGHTS, 1, WEIGHTS, 1, 1, 1, 1};
    for (uint32_t i = 0; i < TINY_KERNELS; i++) // large enough to be shared out
        t->kernels[i] = (SnKernel){.fn = i, .tasks = tasks[i], .scratch = 256, .bytes = 1 << 20};
    t->gemm = (SnGemm){.nm = 1,
                       .nn = 1,
                       .nk = 1,
                       .m = {{2, 2, 0, 3}},
                       .n = {{3, 0, 1, 1}},
                       .k = {{2, 1, 3, 0}},
                       .has = sn_gemm_bit(SN_GEMM_C)};
    t->kernels[TINY_STRIP].call = SN_CALL_STRIP;
    t->attend = tiny_attend();
    const SnHull hull = {0, 3};
    tiny_commands(t);
    tiny_state(t, "w", SN_REGION_PARAM, AT_W, WEIGHTS);
    tiny_state(t, "g", SN_REGION_ACCUM, AT_G, WEIGHTS);
    tiny_port(t, true, "micro", "tokens", SN_REGION_INPUT, AT_TOKENS, MICRO, 0);
    tiny_port(t, true, "micro", "targets", SN_REGION_INPUT, AT_TARGETS, MICRO, 0);
    tiny_port(t, true, "eval_micro", "tokens", SN_REGION_INPUT, AT_TOKENS, MICRO, 0);
    tiny_port(t, true, "generate", "tokens", SN_REGION_INPUT, AT_PROMPT, 1, 0);
    tiny_port(t, false, "update", "loss", SN_REGION_TEMP, AT_LOSS, 0, 0);
    tiny_port(t, false, "eval_finish", "loss", SN_REGION_TEMP, AT_MEAN, 0, 0);
    tiny_port(t, false, "generate", "logits", SN_REGION_TEMP, AT_LOGITS, 1, VOCAB);
    t->scalars[t->nscalars++] = (SnScalar){tiny_string(t, "lr.peak"), 0, 0.5, 0};
    t->scalars[t->nscalars++] = (SnScalar){tiny_string(t, "step"), 1, 0, 4};
    t->scalars[t->nscalars++] = (SnScalar){tiny_string(t, "accum"), 1, 0, 8};
    t->options[t->noptions++] = (SnOption){tiny_string(t, "micro"), tiny_string(t, "2")};
    SnPlan h = {.magic = SN_PLAN_MAGIC,
                .version = SN_PLAN_VERSION,
                .mr = 1,
                .nr = 16,
                .ukr = TINY_UKR,
                .functions = TINY_FUNCTIONS,
                .events = 2,
                .model_name = tiny_string(t, "tiny"),
                .region_bytes = {[SN_REGION_PARAM] = PARAM_BYTES,
                                 [SN_REGION_ACCUM] = ACCUM_BYTES,
                                 [SN_REGION_TEMP] = TEMP_BYTES,
                                 [SN_REGION_INPUT] = INPUT_BYTES,
                                 [SN_REGION_SCALAR] = 64,
                                 [SN_REGION_HOST] = 64}};
    h.kernels = tiny_table(t, t->kernels, TINY_KERNELS, sizeof *t->kernels);
    h.gemms = tiny_table(t, &t->gemm, 1, sizeof t->gemm);
    h.attends = tiny_table(t, &t->attend, 1, sizeof t->attend);
    h.hulls = tiny_table(t, &hull, 1, sizeof hull);
    h.cmds = tiny_table(t, t->cmds, t->ncmds, sizeof *t->cmds);
    h.args = tiny_table(t, t->args, t->nargs, sizeof *t->args);
    h.sections = tiny_table(t, t->sections, t->nsections, sizeof *t->sections);
    h.states = tiny_table(t, t->states, t->nstates, sizeof *t->states);
    h.inputs = tiny_table(t, t->inputs, t->ninputs, sizeof *t->inputs);
    h.outputs = tiny_table(t, t->outputs, t->noutputs, sizeof *t->outputs);
    h.scalars = tiny_table(t, t->scalars, t->nscalars, sizeof *t->scalars);
    h.options = tiny_table(t, t->options, t->noptions, sizeof *t->options);
    const SnNode unnamed = {0};
    h.nodes = tiny_table(t, &unnamed, 1, sizeof unnamed);
    h.strings = tiny_table(t, t->strings, t->nstrings, 1);
    h.size = t->used;
    memcpy(blob, &h, sizeof h);
    free(t);
    return (SnPlan *)(void *)blob;
}

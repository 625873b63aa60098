// An attention for the tests of codegen/cuda/template/attend.cuh and attend_grad.cuh: a shape, its P in CUDA C, and what it
// means: in double, and as the decomposed form in 16 bits rounds it.
//
// softmax over the keys of where(seen, scale q k^T, -inf), times v. q, its derivative and the result are
// [batch, row, head, feature], k and v [batch, key, head / members, feature].
#pragma once
#include "ir/ir.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *name;
    uint32_t batch, heads, members, rows, keys, d, e;
    bool causal, f16, narrow; // narrow: results have 16 bits too
    uint32_t window;          // keys that a row sees at most, 0: all
    int32_t ahead;            // row m sees keys up to m - ahead; 0: no such mask
    bool far;                 // all scores are far below 0
} FlashCase;

enum { CASE_FORWARD, CASE_DQ, CASE_DKV, CASE_DK, CASE_DV, CASE_KERNELS };

// ---- 16 bits

__extension__ typedef _Float16 Half;

static float case_bf16(double x) {
    float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, 4);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
    memcpy(&f, &u, 4);
    return f;
}
// The value rounded to the element of the operands.
static double case_round(const FlashCase *c, double x) {
    return c->f16 ? (double)(float)(Half)(float)x : (double)case_bf16(x);
}
static uint16_t case_bits(const FlashCase *c, double x) {
    Half h = (Half)(float)x;
    float f = case_bf16(x);
    uint32_t u;
    uint16_t r;
    memcpy(&u, &f, 4);
    memcpy(&r, &h, 2);
    return c->f16 ? r : (uint16_t)(u >> 16);
}
static double case_value(const FlashCase *c, uint16_t bits) {
    Half h;
    float f;
    uint32_t u = (uint32_t)bits << 16;
    memcpy(&h, &bits, 2);
    memcpy(&f, &u, 4);
    return c->f16 ? (double)h : (double)f;
}

// ---- shapes

static uint32_t case_pad(uint32_t n) { return (n + 15) / 16 * 16; }
static uint32_t case_pitch(uint32_t n) {
    uint32_t chunks = case_pad(n) / 8;
    return 16 * (chunks % 8 == 0 ? chunks : chunks + 1);
}
static uint32_t case_shared_heads(const FlashCase *c) { return c->heads / c->members; }
static uint32_t case_outer(const FlashCase *c) { return c->batch * c->heads; }

typedef struct {
    uint32_t bm, bn, stages, resident, blocks, shared;
} CaseTile;

// The tiles of each kernel: what 99 KiB of shared memory and 255 registers allow. resident: blocks on a processor at
// least, so that small heads do not take more registers than they need.
static CaseTile case_tile(const FlashCase *c, int kernel) {
    uint32_t most = c->d > c->e ? c->d : c->e, own = case_pitch(c->d), two = own + case_pitch(c->e);
    CaseTile t = {64, most <= 64 ? 64 : 32, most <= 128 ? 2 : 1, most <= 64 ? 2 : 1, 0, 0};
    if (kernel == CASE_DQ && most <= 64) t.resident = 3;
    if (kernel == CASE_FORWARD)
        t = (CaseTile){most <= 128 ? 128 : 64, most <= 128 ? 64 : 32, 2, most <= 64 ? 2 : 1, 0, 0};
    uint32_t blocks = kernel <= CASE_DQ ? c->rows : c->keys;
    t.blocks = (blocks + t.bm - 1) / t.bm *
               (kernel <= CASE_DQ ? case_outer(c) : c->batch * case_shared_heads(c));
    t.shared = t.bm * (kernel == CASE_FORWARD ? own : two) + t.stages * t.bn * two;
    if (kernel >= CASE_DKV) t.shared += t.stages * t.bn * 12;
    return t;
}

// ---- the text

static void case_constants(Text *to, const FlashCase *c, int kernel) {
    CaseTile t = case_tile(c, kernel);
    const char *in = c->f16 ? "f16" : "bf16", *out = c->narrow ? in : "float";
    text_printf(to, "    using T = %s;\n    using Out = %s;\n    using DQ = %s;\n", in, out, out);
    text_printf(to, "    using DK = %s;\n    using DV = %s;\n", out, out);
    text_printf(to, "    static constexpr u32 ROWS = %u, KEYS = %u, OUTER = %u, D = %u, E = %u;\n",
                c->rows, c->keys, case_outer(c), c->d, c->e);
    text_printf(to, "    static constexpr u32 BM = %u, BN = %u, STAGES = %u;\n", t.bm, t.bn,
                t.stages);
    text_printf(to, "    static constexpr u32 SHARED = %u, MEMBERS = %u;\n",
                c->batch * case_shared_heads(c), c->members);
    text_printf(to, "    static constexpr bool HAS_DK = %d, HAS_DV = %d;\n", kernel != CASE_DV,
                kernel != CASE_DK);
}

static void case_place(Text *to, const char *names, const char *row, uint32_t rows, uint32_t heads,
                       uint32_t members, uint32_t width, bool shared) {
    text_printf(to, "    static constexpr i64 %s = %u;\n", row, heads * width);
    for (; *names; names += 3)
        text_printf(
            to,
            "    static __device__ i64 %.2s(u32 z) { return i64(z / %u) * %u + z %% %u / %u "
            "* %u; }\n",
            names, shared ? heads : heads * members, rows * heads * width,
            shared ? heads : heads * members, shared ? 1 : members, width);
}

static void case_mask(Text *to, const FlashCase *c) {
    text_printf(to, "    static __device__ bool seen(u32 m, u32 k) {\n        return true");
    if (c->causal) text_printf(to, " && k <= m");
    if (c->window) text_printf(to, " && m < k + %u", c->window);
    if (c->ahead) text_printf(to, " && (int)k <= (int)m - %d", c->ahead);
    text_printf(to, ";\n    }\n    static __device__ int tile(u32 m0, u32 m1, u32 k0, u32 k1) {\n");
    if (c->causal) text_printf(to, "        if (k0 > m1) return TILE_none;\n");
    if (c->window) text_printf(to, "        if (m0 >= k1 + %u) return TILE_none;\n", c->window);
    if (c->ahead)
        text_printf(to, "        if ((int)k0 > (int)m1 - %d) return TILE_none;\n", c->ahead);
    text_printf(to, "        bool all = true;\n");
    if (c->causal) text_printf(to, "        all &= k1 <= m0;\n");
    if (c->window) text_printf(to, "        all &= m1 < k0 + %u;\n", c->window);
    if (c->ahead) text_printf(to, "        all &= (int)k1 <= (int)m0 - %d;\n", c->ahead);
    text_printf(to, "        return all ? TILE_all : TILE_some;\n    }\n");
}

static float case_scale(const FlashCase *c) { return 1 / sqrtf((float)c->d); }

// k<function>: the kernel of this case; its arguments are described by case_launch in test_cuda_attend.c.
static void case_print(Text *to, const FlashCase *c, int kernel, uint32_t function) {
    const char *in = c->f16 ? "f16" : "bf16", *out = c->narrow ? in : "float";
    uint32_t shared = case_shared_heads(c);
    text_printf(to, "struct P%u {\n    float *top, *sum;\n    const float *delta;\n", function);
    case_constants(to, c, kernel);
    case_place(to, "q  dq ", "Q_ROW", c->rows, c->heads, 1, c->d, false);
    text_printf(to, "    static constexpr i64 DQ_ROW = Q_ROW;\n");
    case_place(to, "o  g  ", "O_ROW", c->rows, c->heads, 1, c->e, false);
    text_printf(to, "    static constexpr i64 G_ROW = O_ROW;\n");
    case_place(to, "k  ", "K_ROW", c->keys, shared, c->members, c->d, false);
    case_place(to, "v  ", "V_ROW", c->keys, shared, c->members, c->e, false);
    case_place(to, "dk ", "DK_ROW", c->keys, shared, 1, c->d, true);
    case_place(to, "dv ", "DV_ROW", c->keys, shared, 1, c->e, true);
    case_mask(to, c);
    text_printf(to,
                "    static __device__ u32 member(u32 y, u32 i) { return y * %u + i; }\n"
                "    struct Row { float top, inv, delta; };\n",
                c->members);
    if (kernel == CASE_FORWARD)
        text_printf(to, "    __device__ Row row(u32 z, u32 m) const { return Row(); }\n"
                        "    __device__ void keep(u32 z, u32 m, float t, float s) {\n"
                        "        top[z * ROWS + m] = t, sum[z * ROWS + m] = s;\n    }\n");
    else
        text_printf(to, "    __device__ Row row(u32 z, u32 m) const {\n"
                        "        const float t = top[z * ROWS + m];\n"
                        "        return {t == LOWEST ? 0 : t, 1 / max(sum[z * ROWS + m], 1e-30f),"
                        " delta[z * ROWS + m]};\n    }\n");
    text_printf(to,
                "    template <bool ALL> __device__ float score(const Row &, u32 z, u32 m, u32 k, "
                "float c) const {\n        return ALL || seen(m, k) ? c * %.9gf : LOWEST;\n    }\n",
                (double)case_scale(c));
    text_printf(to,
                "    template <bool ALL> __device__ float weight(const Row &, u32 z, u32 m, u32 k,"
                " float e) const { return e; }\n"
                "    __device__ float shift(const Row &, u32 z, u32 m, float t) const {\n"
                "        return t == LOWEST ? 0 : t;\n    }\n"
                "    __device__ float finish(const Row &, u32 z, u32 m, u32 e, float x, float t, "
                "float s) const {\n        return x * (1 / max(s, 1e-30f));\n    }\n");
    text_printf(to,
                "    template <bool ALL> __device__ void cell(const Row &r, u32 z, u32 m, u32 k, "
                "float c, float dw, float &w, float &dc) const {\n"
                "        w = exp_fast(score<ALL>(r, z, m, k, c) - r.top) * r.inv;\n"
                "        dc = ALL || seen(m, k) ? w * (dw - r.delta) * %.9gf : 0;\n    }\n};\n",
                (double)case_scale(c));
    text_printf(
        to,
        "extern \"C\" __global__ void __launch_bounds__(%u, %u) k%u(const Env *env, const u32 "
        "place, const %s *q, const %s *k, const %s *v, ",
        2 * case_tile(c, kernel).bm, case_tile(c, kernel).resident, function, in, in, in);
    if (kernel == CASE_FORWARD)
        text_printf(to,
                    "%s *o, float *top, float *sum) {\n    P%u p = {top, sum};\n"
                    "    attend(env, place + 3, p, q, k, v, o);\n}\n",
                    out, function);
    else
        text_printf(to,
                    "const %s *g, float *top, float *sum, const float *delta, %s *x, %s *y) {\n"
                    "    P%u p = {top, sum, delta};\n"
                    "    attend_%s(env, place + 7, p, q, k, v, g, x%s);\n}\n",
                    in, out, out, function, kernel == CASE_DQ ? "dq" : "dkv",
                    kernel == CASE_DQ ? "" : ", y");
}

// ---- what it means

typedef struct {
    double *o, *dq, *dk, *dv; // as the operands lie
} CaseResults;

static bool case_seen(const FlashCase *c, int64_t m, int64_t k) {
    return (!c->causal || k <= m) && (!c->window || m < k + c->window) &&
           (!c->ahead || k <= m - c->ahead);
}

typedef struct {
    const double *q, *k, *v, *g;
} CaseOperands;

static double case_dot(const double *a, const double *b, uint32_t n) {
    double s = 0;
    for (uint32_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

// One row of one head. round: weights and their derivatives, and what is stored, are rounded.
static void case_row(const FlashCase *c, const CaseOperands *x, CaseResults *to, uint32_t b,
                     uint32_t h, uint32_t m, bool round, double *p, double *dp) {
    uint32_t shared = case_shared_heads(c), hk = h / c->members;
    size_t row = ((size_t)b * c->rows + m) * c->heads + h;
    const double *q = x->q + row * c->d, *g = x->g + row * c->e;
    double top = -INFINITY, sum = 0, fold = 0;
    for (uint32_t k = 0; k < c->keys; k++) {
        size_t key = ((size_t)b * c->keys + k) * shared + hk;
        p[k] = case_seen(c, m, k) ? case_dot(q, x->k + key * c->d, c->d) * (double)case_scale(c)
                                  : -INFINITY;
        dp[k] = case_dot(g, x->v + key * c->e, c->e);
        top = fmax(top, p[k]);
    }
    for (uint32_t k = 0; k < c->keys; k++) sum += p[k] = top == -INFINITY ? 0 : exp(p[k] - top);
    for (uint32_t k = 0; k < c->keys; k++) {
        p[k] = sum > 0 ? p[k] / sum : 0;
        fold += (round ? case_round(c, p[k]) : p[k]) * dp[k];
    }
    for (uint32_t k = 0; k < c->keys; k++) {
        size_t key = ((size_t)b * c->keys + k) * shared + hk;
        double w = p[k], ds = p[k] * (dp[k] - fold) * (double)case_scale(c);
        if (round) w = case_round(c, w), ds = case_round(c, ds);
        if (w == 0 && ds == 0) continue;
        for (uint32_t i = 0; i < c->e; i++) {
            to->o[row * c->e + i] += w * x->v[key * c->e + i];
            to->dv[key * c->e + i] += w * g[i];
        }
        for (uint32_t i = 0; i < c->d; i++) {
            to->dq[row * c->d + i] += ds * x->k[key * c->d + i];
            to->dk[key * c->d + i] += ds * q[i];
        }
    }
}

static CaseResults case_evaluate(Arena *a, const FlashCase *c, const CaseOperands *x, bool round) {
    size_t rows = (size_t)c->batch * c->rows * c->heads;
    size_t keys = (size_t)c->batch * c->keys * case_shared_heads(c);
    CaseResults r = {NEW_ARRAY(a, double, rows * c->e), NEW_ARRAY(a, double, rows * c->d),
                     NEW_ARRAY(a, double, keys * c->d), NEW_ARRAY(a, double, keys * c->e)};
    double *p = NEW_ARRAY(a, double, c->keys), *dp = NEW_ARRAY(a, double, c->keys);
    for (uint32_t b = 0; b < c->batch; b++)
        for (uint32_t h = 0; h < c->heads; h++)
            for (uint32_t m = 0; m < c->rows; m++) case_row(c, x, &r, b, h, m, round, p, dp);
    size_t n[4] = {rows * c->e, rows * c->d, keys * c->d, keys * c->e};
    double *all[4] = {r.o, r.dq, r.dk, r.dv};
    for (int i = 0; i < 4 && round && c->narrow; i++)
        for (size_t j = 0; j < n[i]; j++) all[i][j] = case_round(c, all[i][j]);
    return r;
}

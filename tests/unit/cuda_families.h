// Kernels for the tests of the CUDA printer, as text. A family writes one for a shape: every order, every
// kind of fold over every element type, for lengths around each limit of codegen/cuda/geometry.c, at
// aligned and unaligned places.
#pragma once
#include "tests/unit/cpu_suite.h"

typedef struct {
    int64_t rows, lanes;
    int64_t base, pad; // a row-major operand starts at `base`; its rows are lanes + pad apart
} FamilyShape;

typedef struct {
    Arena *a;
    Text text;
    FamilyShape s;
    uint32_t variant;
    int32_t limit[K_MAX_ARGS]; // as in Case
    uint32_t in, out;          // arguments that may share memory; equal: none
} Draft;

static int64_t stride(const Draft *d) { return d->s.lanes + d->s.pad; }
static int64_t count(const Draft *d) { return d->s.base + d->s.rows * stride(d); }

// An index of all elements; of the row; of the lane.
static const char *full(const Draft *d) {
    return arena_printf(d->a, "[%lld + i0*%lld + i1*1]", (long long)d->s.base,
                        (long long)stride(d));
}

static void head(Draft *d, const char *name, const char *order) {
    text_printf(&d->text, "kernel \"%s\" %s axes %lld, %lld {\n", name, order, (long long)d->s.rows,
                (long long)d->s.lanes);
}

static void arg_line(Draft *d, uint32_t i, const char *mode, const char *elem, int64_t n) {
    text_printf(&d->text, "  a%u = %s %s %lld\n", i, mode, elem, (long long)n);
}

static void put_lines(Draft *d, const char *lines) { text_printf(&d->text, "%s}\n", lines); }

// Maps: masks from a load and from a comparison, loads against the grain, values of the row.
static void write_map(Draft *d) {
    const char *at = full(d);
    int64_t n = d->s.rows * d->s.lanes;
    head(d, "map", "rows grain 1");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "in", "bool", count(d));
    arg_line(d, 2, "in", "f32", n);
    arg_line(d, 3, "in", "f32", d->s.lanes);
    arg_line(d, 4, "out", "f32", count(d));
    arg_line(d, 5, "out", "bool", count(d));
    arg_line(d, 6, "out", "i32", n);
    d->in = 0, d->out = 4;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = bool load a1%s\n"
                              "  %%2 = f32 load a2[0 + i0*1 + i1*%lld]\n"
                              "  %%3 = f32 load a3[0 + i1*1] if %%1\n  %%4 = f32 fma %%0 %%3 %%2\n"
                              "  %%5 = f32 exp %%4\n  %%6 = bool lt f32 %%2 %%0\n"
                              "  %%7 = i32 cast f32 %%0\n  store a4%s = %%5 phase 0 if %%6\n"
                              "  store a5%s = %%6 phase 0\n"
                              "  store a6[0 + i0*%lld + i1*1] = %%7 phase 0\n",
                              at, at, (long long)d->s.rows, at, at, (long long)d->s.lanes));
}

// An accumulator, in place of nothing or of an input.
static void write_accumulate(Draft *d) {
    const char *at = full(d);
    head(d, "map.accumulate", "rows grain 3");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "acc", "f32", count(d));
    arg_line(d, 2, "in", "f32", count(d));
    arg_line(d, 3, "out", "f32", count(d));
    d->in = 2, d->out = 3;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 load a1%s\n"
                              "  %%2 = f32 load a2%s\n  %%3 = f32 add %%1 %%0\n"
                              "  %%4 = f32 sub %%2 %%3\n  store a1%s = %%3 phase 0\n"
                              "  store a3%s = %%4 phase 0\n",
                              at, at, at, at, at));
}

// Gathers: by an index of the row, of the lane, and computed; outside of the table it reads 0.
static void write_gather(Draft *d) {
    const char *index =
        (const char *[]){"[0 + i0*1]", "[0 + i1*1]", "[0 + i0*1 + i1*1]"}[d->variant];
    long long L = d->s.lanes;
    head(d, "gather", "rows grain 1");
    arg_line(d, 0, "in", "i32", d->s.rows + d->s.lanes);
    arg_line(d, 1, "in", "f32", 5 * L);
    arg_line(d, 2, "out", "f32", count(d));
    d->limit[0] = 8;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = i32 load a0%s\n  %%1 = i32 const 1\n"
                              "  %%2 = i32 sub %%0 %%1\n  %%3 = i32 const 0\n"
                              "  %%4 = bool le i32 %%3 %%2\n  %%5 = i32 const 5\n"
                              "  %%6 = bool lt i32 %%2 %%5\n  %%7 = bool and %%4 %%6\n"
                              "  %%8 = f32 load a1[0 + i1*1 + %%2*%lld] if %%7\n"
                              "  store a2%s = %%8 phase 0\n",
                              index, L, full(d)));
}

// A cut of elements in rows that do not fit: maps, and sums of each row.
static void write_flat(Draft *d) {
    int64_t lanes = d->s.lanes, drop = d->variant == 0   ? lanes / 2
                                       : d->variant == 1 ? lanes - 1
                                                         : 0;
    int64_t flat = d->s.rows * lanes - drop;
    long long base = d->s.base, L = lanes;
    bool fold = d->s.pad % 2 != 0;
    head(d, "flat", arena_printf(d->a, "rows grain 1 flat %lld", (long long)flat));
    arg_line(d, 0, "in", "f32", base + flat);
    arg_line(d, 1, "out", "f32", base + flat);
    arg_line(d, 2, "out", "f32", d->s.rows);
    d->in = 0, d->out = fold ? 0 : 1;
    const char *at = arena_printf(d->a, "[%lld + i0*%lld + i1*1]", base, L);
    put_lines(d, fold ? arena_printf(d->a,
                                     "  %%0 = f32 load a0%s\n  %%1 = f32 mul %%0 %%0\n"
                                     "  %%2 = f32 fold f0\n  %%3 = f32 div %%0 %%2\n"
                                     "  f0 = row sum %%1 phase 0\n"
                                     "  store a2[0 + i0*1] = %%2 phase 1\n"
                                     "  store a1%s = %%3 phase 1\n",
                                     at, at)
                      : arena_printf(d->a,
                                     "  %%0 = f32 load a0%s\n  %%1 = f32 tanh %%0\n"
                                     "  store a1%s = %%1 phase 0\n",
                                     at, at));
}

// Every kind of fold over every element type that has it, three phases, a held value.
static const struct {
    const char *elem, *kind, *minus;
} folds[] = {{"f32", "sum", "sub"},  {"f32", "prod", "sub"}, {"f32", "min", "sub"},
             {"f32", "max", "sub"},  {"i32", "sum", "sub"},  {"i32", "prod", "sub"},
             {"i32", "min", "sub"},  {"i32", "max", "sub"},  {"u32", "sum", "sub"},
             {"u32", "prod", "sub"}, {"u32", "min", "sub"},  {"u32", "max", "sub"},
             {"i32", "any", "xor"},  {"i32", "all", "xor"},  {"u32", "any", "xor"},
             {"u32", "all", "xor"},  {"bool", "any", "xor"}, {"bool", "all", "xor"}};
enum { FOLDS = sizeof folds / sizeof *folds };

static void write_row_fold(Draft *d) {
    const char *e = folds[d->variant].elem, *k = folds[d->variant].kind;
    const char *minus = folds[d->variant].minus, *at = full(d);
    head(d, arena_printf(d->a, "rows.%s.%s", k, e), "rows grain 2");
    arg_line(d, 0, "in", e, count(d));
    arg_line(d, 1, "out", e, count(d));
    arg_line(d, 2, "out", e, 2 * d->s.rows);
    put_lines(d,
              arena_printf(d->a,
                           "  %%0 = %s load a0%s\n  %%1 = %s fold f0\n"
                           "  %%2 = %s%s %s %%0 %%1\n  %%3 = %s fold f1\n"
                           "  %%4 = %s %s %%2 %%3\n  f0 = row %s %%0 phase 0\n"
                           "  f1 = row %s %%2 phase 1\n  store a1%s = %%4 phase 2\n"
                           "  store a2[0 + i0*2] = %%1 phase 1\n"
                           "  store a2[1 + i0*2] = %%3 phase 2\n",
                           e, at, e, d->s.pad % 2 ? "hold " : "", e, minus, e, e, minus, k, k, at));
}

// Several folds in a phase, of several types, one of a lane's number.
static void write_mixed_folds(Draft *d) {
    const char *at = full(d);
    int64_t R = d->s.rows;
    head(d, "rows.mixed", "rows grain 1");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "in", "bool", count(d));
    arg_line(d, 2, "out", "f32", 2 * R);
    arg_line(d, 3, "out", "i32", R);
    arg_line(d, 4, "out", "bool", R);
    arg_line(d, 5, "out", "bool", count(d));
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = bool load a1%s\n"
                              "  %%2 = i32 index i1\n  %%3 = i32 const -1\n"
                              "  %%4 = i32 select %%1 %%2 %%3\n  %%5 = f32 fold f0\n"
                              "  %%6 = f32 fold f1\n  %%7 = i32 fold f2\n  %%8 = bool fold f3\n"
                              "  %%9 = bool lt f32 %%0 %%6\n  f0 = row sum %%0 phase 0\n"
                              "  f1 = row max %%0 phase 0\n  f2 = row max %%4 phase 0\n"
                              "  f3 = row any %%1 phase 0\n  store a2[0 + i0*2] = %%5 phase 1\n"
                              "  store a2[1 + i0*2] = %%6 phase 1\n"
                              "  store a3[0 + i0*1] = %%7 phase 1\n"
                              "  store a4[0 + i0*1] = %%8 phase 1\n"
                              "  store a5%s = %%9 phase 1\n",
                              at, at, at));
}

// Lanes are read once: rows of up to a segment need no block.
static void write_row_sum(Draft *d) {
    const char *at = full(d);
    head(d, "rows.sum", "rows grain 8");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "out", "f32", 2 * d->s.rows);
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 mul %%0 %%0\n"
                              "  %%2 = f32 fold f0\n  %%3 = f32 fold f1\n"
                              "  f0 = row sum %%1 phase 0\n  f1 = row max %%0 phase 0\n"
                              "  store a1[0 + i0*2] = %%2 phase 1\n"
                              "  store a1[1 + i0*2] = %%3 phase 1\n",
                              at));
}

// Softmax, or a layer norm with a row of a table added and an accumulator of the row's results.
static void write_norm(Draft *d) {
    const char *at = full(d);
    long long L = d->s.lanes;
    head(d, d->variant ? "rows.layernorm" : "rows.softmax", "rows grain 4");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "out", "f32", count(d));
    arg_line(d, 2, "acc", "f32", d->s.rows);
    arg_line(d, 3, "in", "f32", L);
    arg_line(d, 4, "in", "i32", d->s.rows);
    arg_line(d, 5, "in", "f32", 5 * L);
    d->limit[4] = 5;
    if (d->variant == 0) {
        put_lines(d, arena_printf(d->a,
                                  "  %%0 = f32 load a0%s\n  %%1 = f32 fold f0\n"
                                  "  %%2 = f32 sub %%0 %%1\n  %%3 = hold f32 exp %%2\n"
                                  "  %%4 = f32 fold f1\n  %%5 = f32 div %%3 %%4\n"
                                  "  %%6 = f32 load a2[0 + i0*1]\n  %%7 = f32 add %%6 %%4\n"
                                  "  f0 = row max %%0 phase 0\n  f1 = row sum %%3 phase 1\n"
                                  "  store a1%s = %%5 phase 2\n"
                                  "  store a2[0 + i0*1] = %%7 phase 2\n",
                                  at, at));
        return;
    }
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 const 0.0123\n"
                              "  %%2 = f32 fold f0\n  %%3 = f32 mul %%2 %%1\n"
                              "  %%4 = hold f32 sub %%0 %%3\n  %%5 = f32 mul %%4 %%4\n"
                              "  %%6 = f32 fold f1\n  %%7 = f32 fma %%6 %%1 %%1\n"
                              "  %%8 = f32 rsqrt %%7\n  %%9 = f32 mul %%4 %%8\n"
                              "  %%10 = f32 load a3[0 + i1*1]\n  %%11 = f32 mul %%9 %%10\n"
                              "  %%12 = i32 load a4[0 + i0*1]\n"
                              "  %%13 = f32 load a5[0 + i1*1 + %%12*%lld]\n"
                              "  %%14 = f32 add %%11 %%13\n  %%15 = f32 load a2[0 + i0*1]\n"
                              "  %%16 = f32 add %%15 %%6\n  f0 = row sum %%0 phase 0\n"
                              "  f1 = row sum %%5 phase 1\n  store a1%s = %%14 phase 2\n"
                              "  store a2[0 + i0*1] = %%16 phase 2\n",
                              at, L, at));
}

// ---- columns, scatters, random numbers

static int64_t chunk_rows(const Draft *d) {
    return d->s.pad > 3 || d->s.rows > 2000 ? d->s.rows : 32;
}
static int64_t chunks(const Draft *d) { return (d->s.rows + chunk_rows(d) - 1) / chunk_rows(d); }
static const char *walk(const Draft *d) {
    return arena_printf(d->a, "chunks walk 0 grain %lld", (long long)chunk_rows(d));
}

// One chunk stores `plus + fold`, in an accumulator or in place of an input; more store partial folds.
static void write_columns(Draft *d) {
    const char *at = full(d);
    long long L = d->s.lanes, C = chunks(d);
    const char *to = arena_printf(d->a, C == 1 ? "[0 + i1*1]" : "[0 + i1*1] chunk*%lld", L);
    head(d, "columns", walk(d));
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "in", "bool", count(d));
    arg_line(d, 2, d->variant ? "in" : "acc", "f32", L * C);
    arg_line(d, 3, "out", "f32", L * C);
    arg_line(d, 4, "out", "bool", L * C);
    arg_line(d, 5, "out", "i32", L * C);
    arg_line(d, 6, "out", "f32", count(d));
    if (d->variant && C == 1) d->in = 2, d->out = 3;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = bool load a1%s\n"
                              "  %%2 = f32 sin %%0\n  %%3 = f32 load a2[0 + i1*1]\n"
                              "  %%4 = i32 index i1\n  %%5 = i32 index i0\n"
                              "  %%6 = i32 mul %%4 %%5\n"
                              "  f0 = column %s %%0 phase 0 -> a%u%s%s\n"
                              "  f1 = column %s %%1 phase 0 -> a4%s\n"
                              "  f2 = column %s %%6 phase 0 -> a5%s\n"
                              "  store a6%s = %%2 phase 0\n",
                              at, at, C > 1 && d->variant ? "max" : "sum", d->variant ? 3u : 2u, to,
                              C == 1 ? " plus %3" : "", d->variant ? "any" : "all", to,
                              d->variant ? "min" : "sum", to, at));
}

// The backward pass of a layer norm: folds of rows, and of columns over what they give; the result may be
// added to what an accumulator holds.
static void write_norm_backward(Draft *d) {
    const char *at = full(d),
               *to = arena_printf(d->a, "[0 + i1*1] chunk*%lld", (long long)d->s.lanes);
    int64_t L = d->s.lanes;
    const char *added =
        d->variant ? arena_printf(d->a, "  %%9 = f32 load a5%s\n  %%10 = f32 add %%9 %%8\n", at)
                   : "";
    head(d, "columns.norm", walk(d));
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "in", "f32", count(d));
    arg_line(d, 2, "in", "f32", L);
    arg_line(d, 3, "out", "f32", L * chunks(d));
    arg_line(d, 4, "out", "f32", L * chunks(d));
    arg_line(d, 5, d->variant ? "acc" : "out", "f32", count(d));
    arg_line(d, 6, "out", "f32", d->s.rows);
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 load a1%s\n"
                              "  %%2 = f32 load a2[0 + i1*1]\n  %%3 = f32 mul %%0 %%1\n"
                              "  %%4 = f32 fold f0\n  %%5 = %sf32 mul %%3 %%4\n"
                              "  %%6 = f32 fma %%5 %%2 %%0\n  %%7 = f32 fold f1\n"
                              "  %%8 = f32 sub %%6 %%7\n%s  f0 = row sum %%3 phase 0\n"
                              "  f1 = row max %%6 phase 1\n"
                              "  f2 = column sum %%5 phase 1 -> a3%s\n"
                              "  f3 = column sum %%8 phase 2 -> a4%s\n"
                              "  store a5%s = %%%d phase 2\n  store a6[0 + i0*1] = %%7 phase 2\n",
                              at, at, d->s.pad % 2 ? "hold " : "", added, to, to, at,
                              d->variant ? 10 : 8));
}

// scatter_add: rows in order; an index outside adds nothing.
static void write_scatter(Draft *d) {
    long long L = d->s.lanes;
    head(d, "scatter", d->variant ? "lanes grain 16" : "lanes grain 128");
    arg_line(d, 0, "in", "i32", d->s.rows);
    arg_line(d, 1, "in", "f32", count(d));
    arg_line(d, 2, "inout", "f32", 5 * L);
    d->limit[0] = 7;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = i32 load a0[0 + i0*1]\n  %%1 = i32 const 5\n"
                              "  %%2 = bool lt i32 %%0 %%1\n"
                              "  %%3 = f32 load a2[0 + i1*1 + %%0*%lld] if %%2\n"
                              "  %%4 = f32 load a1%s\n  %%5 = f32 add %%3 %%4\n"
                              "  store a2[0 + i1*1 + %%0*%lld] = %%5 phase 0 if %%2\n",
                              L, full(d), L));
}

// The place depends on row and lane.
static void write_lanes(Draft *d) {
    head(d, "lanes", "lanes grain 16");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "inout", "f32", 4 * d->s.lanes);
    arg_line(d, 2, "out", "f32", d->s.lanes);
    put_lines(d, arena_printf(d->a,
                              "  %%0 = i32 index i1\n  %%1 = i32 const 4\n  %%2 = i32 mul %%0 %%1\n"
                              "  %%3 = i32 index i0\n  %%4 = i32 rem %%3 %%1\n"
                              "  %%5 = i32 add %%2 %%4\n  %%6 = i32 const 3\n"
                              "  %%7 = bool lt i32 %%4 %%6\n"
                              "  %%8 = f32 load a1[0 + %%5*1] if %%7\n  %%9 = f32 load a0%s\n"
                              "  %%10 = f32 add %%8 %%9\n"
                              "  f0 = column sum %%9 phase 0 -> a2[0 + i1*1]\n"
                              "  store a1[0 + %%5*1] = %%10 phase 0 if %%7\n",
                              full(d)));
}

// Three draws of two keys; the keys are parameters.
static void write_random(Draft *d) {
    static const char *const words[] = {"0", "3"};
    long long L = d->s.lanes, base = d->s.base;
    const char *at = arena_printf(d->a, "[%lld + i0*%lld + i1*1]", base, L);
    head(d, "random", "rows grain 1");
    arg_line(d, 0, "in", "f32", count(d));
    arg_line(d, 1, "out", "f32", count(d));
    arg_line(d, 2, "out", "u32", count(d));
    d->in = 0, d->out = 1;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = u32 random key=0x1234567890abcdef word=%s %s sample*%lld\n"
                              "  %%1 = u32 random key=0x7 word=2 fixed %s\n"
                              "  %%2 = u32 random key=0x1234567890abcdef word=1 %s\n"
                              "  %%3 = u32 xor %%0 %%1\n  %%4 = u32 xor %%3 %%2\n"
                              "  %%5 = f32 load a0%s\n  %%6 = f32 cast u32 %%3\n"
                              "  %%7 = f32 mul %%5 %%6\n  store a1%s = %%7 phase 0\n"
                              "  store a2%s = %%4 phase 0\n",
                              words[d->variant], at, d->variant ? L : 0, at, at, full(d), full(d),
                              full(d)));
}

// ---- transposing maps

static int64_t turned_count(const Draft *d) {
    return d->s.base + d->s.lanes * (d->s.rows + d->s.pad);
}

// An index of all elements where neighbours are along the rows.
static const char *turned(const Draft *d) {
    return arena_printf(d->a, "[%lld + i0*1 + i1*%lld]", (long long)d->s.base,
                        (long long)(d->s.rows + d->s.pad));
}

// A turned load or store, the output in place of an input that is straight.
static void write_turn(Draft *d) {
    const char *at = full(d), *turn = turned(d);
    head(d, "map.turn", "rows grain 1");
    arg_line(d, 0, "in", "f32", d->variant ? count(d) : turned_count(d));
    arg_line(d, 1, "in", "f32", count(d));
    arg_line(d, 2, "out", "f32", d->variant ? turned_count(d) : count(d));
    d->in = d->variant ? 0 : 1, d->out = d->variant ? 0 : 2;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 load a1%s\n"
                              "  %%2 = f32 sub %%0 %%1\n  store a2%s = %%2 phase 0\n",
                              d->variant ? at : turn, at, d->variant ? turn : at));
}

// Turned loads and stores of every size of element, one in place of another.
static void write_turn_both(Draft *d) {
    const char *at = full(d), *turn = turned(d);
    head(d, "map.turn.both", "rows grain 1");
    arg_line(d, 0, "in", "f32", turned_count(d));
    arg_line(d, 1, "in", "bool", turned_count(d));
    arg_line(d, 2, "in", "u32", count(d));
    arg_line(d, 3, "out", "f32", turned_count(d));
    arg_line(d, 4, "out", "bool", turned_count(d));
    arg_line(d, 5, "out", "u32", count(d));
    d->in = 0, d->out = 3;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = bool load a1%s\n"
                              "  %%2 = u32 load a2%s\n  %%3 = f32 cast u32 %%2\n"
                              "  %%4 = f32 select %%1 %%0 %%3\n  %%5 = bool lt f32 %%0 %%4\n"
                              "  %%6 = u32 cast bool %%1\n  %%7 = u32 add %%6 %%2\n"
                              "  store a3%s = %%4 phase 0\n  store a4%s = %%5 phase 0\n"
                              "  store a5%s = %%7 phase 0\n",
                              turn, turn, at, turn, turn, at));
}

// So many turned accesses that the straight ones are turned instead: a gather of rows and a store, both
// under a mask of the row.
static void write_turn_most(Draft *d) {
    const char *at = full(d), *turn = turned(d);
    head(d, "map.turn.most", "rows grain 1");
    for (uint32_t i = 0; i < 3; i++) arg_line(d, i, "in", i ? "f32" : "bool", turned_count(d));
    arg_line(d, 3, "in", "i32", d->s.rows);
    arg_line(d, 4, "in", "f32", 5 * d->s.lanes);
    arg_line(d, 5, "in", "bool", count(d));
    arg_line(d, 6, "out", "f32", count(d));
    arg_line(d, 7, "out", "f32", turned_count(d));
    d->limit[3] = 7, d->in = 1, d->out = 7;
    put_lines(d, arena_printf(d->a,
                              "  %%0 = bool load a0%s\n  %%1 = f32 load a1%s\n"
                              "  %%2 = i32 load a3[0 + i0*1]\n  %%3 = i32 const 5\n"
                              "  %%4 = bool lt i32 %%2 %%3\n"
                              "  %%5 = f32 load a4[0 + i1*1 + %%2*%lld] if %%4\n"
                              "  %%6 = f32 load a2%s if %%4\n  %%7 = bool load a5%s\n"
                              "  %%8 = f32 fma %%1 %%5 %%6\n  %%9 = bool xor %%0 %%7\n"
                              "  %%10 = f32 select %%9 %%8 %%1\n"
                              "  store a6%s = %%10 phase 0 if %%4\n  store a7%s = %%8 phase 0\n",
                              turn, turn, (long long)d->s.lanes, turn, at, at, turn));
}

// Axes beside those of the tile, before and behind; an accumulator that is read and written turned;
// random numbers, and the axes as values.
static void write_turn_grid(Draft *d) {
    long long R = d->s.rows, L = d->s.lanes, base = d->s.base;
    const char *at = arena_printf(d->a, "[%lld + i0*%lld + i1*%lld + i2*%lld + i3*1]", base,
                                  3 * R * L, 3 * L, L);
    const char *turn = arena_printf(d->a, "[%lld + i0*%lld + i1*1 + i2*%lld + i3*%lld]", base,
                                    3 * R * L, R * L, R);
    text_printf(&d->text, "kernel \"map.turn.grid\" rows grain 5 axes 2, %lld, 3, %lld {\n", R, L);
    arg_line(d, 0, "acc", "f32", base + 6 * R * L);
    arg_line(d, 1, "in", "f32", base + 6 * R * L);
    arg_line(d, 2, "out", "u32", base + 6 * R * L);
    put_lines(d, arena_printf(d->a,
                              "  %%0 = f32 load a0%s\n  %%1 = f32 load a1%s\n"
                              "  %%2 = f32 add %%0 %%1\n  %%3 = u32 random key=0x7 word=1 %s\n"
                              "  %%4 = i32 index i1\n  %%5 = i32 index i3\n"
                              "  %%6 = i32 mul %%4 %%5\n  %%7 = u32 cast i32 %%6\n"
                              "  %%8 = u32 xor %%3 %%7\n  store a0%s = %%2 phase 0\n"
                              "  store a2%s = %%8 phase 0\n",
                              turn, at, at, turn, at));
}

// What a mask of the lane decides is not turned: it stays as it is beside what is.
static void write_turn_masked(Draft *d) {
    const char *at = full(d), *turn = turned(d);
    head(d, "map.turn.masked", "rows grain 1");
    for (uint32_t i = 0; i < 5; i++) arg_line(d, i, "in", "f32", turned_count(d));
    for (uint32_t i = 5; i < 9; i++) arg_line(d, i, "in", "f32", count(d));
    arg_line(d, 9, "out", "f32", count(d));
    d->in = 5, d->out = 9;
    Text t = {.arena = d->a};
    for (uint32_t i = 0; i < 4; i++) text_printf(&t, "  %%%u = f32 load a%u%s\n", i, i, turn);
    for (uint32_t i = 4; i < 8; i++) text_printf(&t, "  %%%u = f32 load a%u%s\n", i, i + 1, at);
    text_printf(&t, "  %%8 = bool lt f32 %%0 %%4\n  %%9 = f32 load a4%s if %%8\n", turn);
    for (uint32_t i = 1; i < 8; i++)
        text_printf(&t, "  %%%u = f32 fma %%%u %%%u %%%u\n", 9 + i, i, i == 1 ? 0 : i - 1, 8 + i);
    text_printf(&t, "  %%17 = bool lt f32 %%16 %%5\n  store a9%s = %%16 phase 0 if %%17\n", at);
    put_lines(d, t.at);
}

static const struct {
    void (*write)(Draft *);
    uint32_t variants;
} families[] = {{write_map, 1},           {write_accumulate, 1},   {write_gather, 3},
                {write_flat, 3},          {write_row_fold, FOLDS}, {write_row_sum, 1},
                {write_mixed_folds, 1},   {write_norm, 2},         {write_columns, 2},
                {write_norm_backward, 2}, {write_scatter, 2},      {write_lanes, 1},
                {write_random, 2},        {write_turn, 2},         {write_turn_both, 1},
                {write_turn_most, 1},     {write_turn_grid, 1},    {write_turn_masked, 1}};

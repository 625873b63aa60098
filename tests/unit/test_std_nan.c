// A NaN that goes into a function of frontend/std.sn comes out of it: else the check for steps that are no
// number would not see it, and training would go on with a wrong value.
//
// A row is a call whose arguments '{name}' or '{name: axes}' are parameters of a model; the loss is the sum of
// the result. Each element of each of them, and of what the block owns, is made NaN in turn, and the loss must
// be NaN. A definition without a row fails, and so does an argument that its rows neither give so nor name in
// 'apart', with the reason why a NaN in it has no meaning or does not reach the result.
#include "frontend/reference.h"
#include "tests/unit/text_model.h"
#include <ctype.h>

#define BUILD   "settled at build"
#define INDEX   "an index, which is an int"
#define EXTENT  "whole numbers that extents follow from"
#define OPTIONS "a finite number, which the plan's lines check"
#define INITIAL "a number of the build, and what it gives is no loss"

typedef struct {
    const char *call, *axes; // of the result
    const char *apart;       // "argument argument: reason; …"
} Row;

#define CONVOLUTION "size stride pad dilation groups bias: " EXTENT
#define COLUMNS     "; size_col stride_col pad_col dilation_col: " EXTENT
#define ADAM        "betas decay eps: " OPTIONS

static const Row rows[] = {
    {"sign({x})", "n", ""},
    {"ceil({x})", "n", ""},
    {"square({x})", "n", ""},
    {"relu({x})", "n", ""},
    {"relu(-{x})", "n", ""},
    {"leaky_relu(-{x}, {slope})", "n", ""},
    {"leaky_relu({x})", "n", "slope: where x > 0 there is no slope"},
    {"sigmoid({x})", "n", ""},
    {"silu({x})", "n", ""},
    {"gelu({x})", "n", ""},
    {"gelu_erf({x})", "n", ""},
    {"softplus({x})", "n", ""},
    {"logsigmoid({x})", "n", ""},
    {"clamp({x}, {lo}, 1 + {hi})", "n", ""},
    {"relu6({x})", "n", ""},
    {"elu(-{x}, {alpha})", "n", ""},
    {"elu({x})", "n", "alpha: where x > 0 it has no part"},
    {"celu(-{x}, {alpha})", "n", ""},
    {"celu({x})", "n", "alpha: where x > 0 it has no part"},
    {"selu({x})", "n", ""},
    {"mish({x})", "n", ""},
    {"hardsigmoid({x})", "n", ""},
    {"hardsigmoid(9 * {x})", "n", ""},
    {"hardswish({x})", "n", ""},
    {"hardswish(-9 * {x})", "n", ""},
    {"softsign({x})", "n", ""},
    {"tanhshrink({x})", "n", ""},
    {"hardshrink({x})", "n", "width: x is compared with it, and no more"},
    {"hardshrink(9 * {x})", "n", ""},
    {"softshrink({x}, {width})", "n", ""},
    {"softcap({x}, {cap})", "n", ""},
    {"erfinv({x})", "n", ""},

    {"peak[v]({x: r, v})", "r", ""},
    {"softmax[v]({x: r, v})", "r, v", ""},
    {"logsumexp[v]({x: r, v})", "r", ""},
    {"log_softmax[v]({x: r, v})", "r, v", ""},
    {"real(argmax[v](0 * real(iota[r]) +[] real(iota[v])))", "r",
     "x: the result is an index: of the first NaN"},
    {"real(argmin[v](0 * real(iota[r]) +[] real(iota[v])))", "r",
     "x: the result is an index: of the first NaN"},
    {"variance[v]({x: r, v})", "r", ""},
    {"normalize[v]({x: r, v}, {eps: r})", "r, v", ""},
    {"cosine_similarity[v]({x: r, v}, {y: r, v}, {eps: r})", "r", ""},
    {"distance[v]({x: r, v}, {y: r, v}, {eps: r})", "r", ""},
    {"weighted_mean[v]({x: r, v}, {weight: r, v})", "r", ""},
    {"one_hot[v](iota[r] % 4)", "r, v", "i: " INDEX},
    {"glu[v -> h]({x: r, v})", "r, h", ""},
    {"swiglu[v -> h]({x: r, v})", "r, h", ""},
    {"geglu[v -> h]({x: r, v})", "r, h", ""},

    {"layernorm[v]({x: r, v}, {eps: r})", "r, v", ""},
    {"rmsnorm[v]({x: r, v}, {eps: r})", "r, v", ""},
    {"batchnorm[v, r]({x: r, v}, eps = {eps: v})", "r, v",
     "rate: it is of the states alone, and a step with a NaN in them is not taken; "
     "unbiased: " BUILD},
    {"groupnorm[v, r]({x: r, v}, groups = 2)", "r, v", "groups: " EXTENT "; eps: as in layernorm"},
    {"instancenorm[v, r]({x: r, v}, affine = true, eps = {eps: v})", "r, v", "affine: " BUILD},

    {"dropout({x} +[] real(iota[k16]), 0.5)", "n, k16", "rate: " BUILD},
    {"prelu[v](-{x: r, v})", "r, v", ""},
    {"linear[v -> h]({x: r, v})", "r, h", "bias: " BUILD},
    {"embedding[v -> h](iota[r] + iota[h2])", "r, h2, h", "ids: " INDEX},
    {"embedding_bag[v, h2 -> h](iota[r] + iota[h2], {weight: r, h2})", "r, h", "mode: " BUILD},
    {"embedding_bag[v, h2 -> h](iota[r] + iota[h2], {weight: r, h2}, mode = \"mean\")", "r, h",
     "ids: " INDEX},
    {"embedding_bag[v, h2 -> h](iota[r] + iota[h2], {weight: r, h2}, mode = \"max\")", "r, h",
     "ids: " INDEX},
    {"check_window(1, 1, 0, 1)", NULL, "size stride pad dilation: " EXTENT},
    {"check_groups(1, 1, 1)", NULL, "groups cin cout: " EXTENT},
    {"conv1d[v, h -> h2, o]({x: v, h})", "h2, o", CONVOLUTION},
    {"conv2d[v, r, h -> h2, s1, o]({x: v, r, h}, size_col = 2)", "h2, s1, o", CONVOLUTION COLUMNS},
    {"real(transposed[v, h](4, 1, 0, 1))", "v, h", "n stride pad dilation: " EXTENT},
    {"conv_transpose1d[h, v -> v, o]({x: h, v})", "v, o", CONVOLUTION},
    {"conv_transpose2d[h, r, v -> v, v5, o]({x: h, r, v})", "v, v5, o", CONVOLUTION COLUMNS},
    {"windows[v, k3 -> h]({x: v, r}, 1, 0, 1, 0)", "h, k3, r",
     "fill: a number of the build; stride pad dilation: " EXTENT},
    {"max_pool1d[v -> h]({x: v, r})", "h, r", "size stride pad dilation: " EXTENT},
    {"max_pool2d[v, v2 -> h, h2]({x: v, v2})", "h, h2",
     "size stride pad dilation: " EXTENT COLUMNS},
    {"avg_pool1d[v -> h]({x: v, r})", "h, r", "size stride pad: " EXTENT "; count_pad: " BUILD},
    {"avg_pool2d[v, v2 -> h, h2]({x: v, v2})", "h, h2",
     "size stride pad size_col stride_col pad_col: " EXTENT "; count_pad: " BUILD},
    {"rope[r, v]({x: r, v}, {place: r}, {base: })", "r, v", ""},
    {"rope_interleaved[r, v]({x: r, v}, {place: r}, {base: })", "r, v", ""},

    {"cross_entropy[v]({logits: r, v}, iota[r] % 4)", "r", "target: " INDEX},
    {"cross_entropy[v]({logits: r, v}, iota[r] % 4, 0.1)", "r", "smooth: " BUILD},
    {"kl[v](log({p: r, v}), log({q: r, v}))", "r", ""},
    {"nll[one]({logp: r, one}, 0 * iota[r])", "r", "target: " INDEX},
    {"binary_cross_entropy_with_logits({logit}, {y}, {pos_weight})", "n", ""},
    {"binary_cross_entropy_with_logits({logit}, floor({y}))", "n", ""},
    {"binary_cross_entropy_with_logits({logit}, ceil({y}))", "n", ""},
    {"binary_cross_entropy({p}, {y})", "n", ""},
    {"binary_cross_entropy({p}, floor({y}))", "n", ""},
    {"binary_cross_entropy({p}, ceil({y}))", "n", ""},
    {"focal({logit}, {y}, gamma = {gamma})", "n", "alpha: " BUILD},
    {"focal({logit}, floor({y}), gamma = 0)", "n", ""},
    {"focal({logit}, ceil({y}), alpha = -1, gamma = 0.5)", "n", ""},
    {"absolute_error({x}, {y})", "n", ""},
    {"huber({x}, {y}, {delta})", "n", ""},
    {"smooth_l1({x}, {y}, 0.1)", "n", "beta: " BUILD},
    {"smooth_l1({x}, {y}, 0)", "n", ""},
    {"hinge({x}, {y})", "n", ""},
    {"hinge(9 * {x}, 9 * {y})", "n", ""},
    {"soft_margin({x}, {y})", "n", ""},
    {"hinge_embedding({x}, {y} - 1, {margin})", "n", ""},
    {"hinge_embedding({x}, {y})", "n", "margin: for y of 1 it has no part"},
    {"multi_margin[v]({x: r, v}, iota[r] % 4, {margin: r})", "r",
     "target: " INDEX "; power: " BUILD},
    {"multi_margin[v]({x: r, v}, iota[r] % 4, power = 2)", "r", ""},
    {"margin_ranking({x1}, {x2}, {y}, {margin})", "n", ""},
    {"triplet[v]({anchor: r, v}, {positive: r, v}, {negative: r, v}, {margin: r})", "r", ""},
    {"cosine_embedding[v]({x1: r, v}, {x2: r, v}, {y: r} - 1, {margin: r})", "r", ""},
    {"cosine_embedding[v]({x1: r, v}, {x2: r, v}, {y: r})", "r",
     "margin: for y of 1 it has no part"},
    {"poisson_nll({x}, {y})", "n", "log_input full: " BUILD},
    {"poisson_nll({x}, 9 * {y}, log_input = false, full = true, eps = {eps})", "n", ""},
    {"poisson_nll({x}, {y}, full = true)", "n", "eps: of a rate alone"},
    {"gaussian_nll({x}, {y}, {var}, full = true, eps = {eps})", "n", "full: " BUILD},
    {"squared_error({x}, {y})", "n", ""},

    {"polar[r, v]({u: r, v})", "r, v", ""},
    {"orthogonal[r, v]({u: r, v})", "r, v", "rounds: " EXTENT},

    {"sgd({w}, {g}, {lr: })", "n", "momentum decay dampening: " OPTIONS "; nesterov: " BUILD},
    {"sgd({w}, {g}, {lr: }, momentum = 0.9, dampening = 0.5, decay = 0.1)", "n", ""},
    {"sgd({w}, {g}, {lr: }, momentum = 0.9, nesterov = true)", "n", ""},
    {"unbias({b})", "n", ""},
    {"adamw({w}, {g}, {lr: }, decay = 0.1)", "n", ADAM},
    {"adam({w}, {g}, {lr: }, decay = 0.1)", "n", ADAM},
    {"nadam({w}, {g}, {lr: }, decay = 0.1)", "n", ADAM "; momentum_decay: " OPTIONS},
    {"radam({w}, {g}, {lr: }, decay = 0.1)", "n", ADAM},
    {"adamax({w}, {g}, {lr: }, decay = 0.1)", "n", ADAM},
    {"rmsprop({w}, {g}, {lr: }, decay = 0.1, momentum = 0.9, centered = true)", "n",
     "alpha momentum decay eps: " OPTIONS "; centered: " BUILD},
    {"adagrad({w}, {g}, {lr: }, decay = 0.1, rate_decay = 0.1)", "n",
     "decay eps rate_decay start: " OPTIONS},
    {"adadelta({w}, {g}, {lr: }, decay = 0.1)", "n", "rho decay eps: " OPTIONS},
    {"lamb({w: r -> v}, {g: r, v}, {lr: }, decay = 0.1)", "r, v", ADAM},
    {"lion({w}, {g}, {lr: }, decay = 0.1)", "n", "betas decay: " OPTIONS},
    {"muon({w: r -> v}, {g: r, v}, {lr: })", "r, v", "momentum decay: " OPTIONS},
    {"adafactor({w: r -> v}, {g: r, v}, {lr: })", "r, v", "eps clip: " OPTIONS},

    {"constant_lr({peak: })", "", ""},
    {"warm(9 * {warmup: })", "", ""},
    {"decayed(-{from: }, 9 * {to: })", "", ""},
    {"linear_lr({peak: }, {warmup: }, 9 * {steps: }, {floor: })", "", ""},
    {"linear_lr({peak: }, 9 * {warmup: }, 100)", "", ""},
    {"cosine_lr({peak: }, {warmup: }, 9 * {steps: }, {floor: })", "", ""},
    {"cosine_lr({peak: }, 9 * {warmup: }, 100)", "", ""},
    {"warmup_stable_decay_lr({peak: }, 9 * {warmup: }, 9 * {steps: }, {decay: }, {floor: })", "",
     ""},

    {"kaiming_normal()", NULL, "w gain out: " INITIAL},
    {"kaiming_uniform()", NULL, "w gain out: " INITIAL},
    {"xavier_normal()", NULL, "w gain: " INITIAL},
    {"xavier_uniform()", NULL, "w gain: " INITIAL},
    {"symmetric(1)", NULL, "bound: " INITIAL},
    {"truncated_normal()", NULL, "sd cut: " INITIAL},
    {"orthonormal()", NULL, "w gain: " INITIAL},
};

// ---- the model of a row ---------------------------------------------------------------------------

// The name and the axes of the '{…}' at s.
static const char *read_place(Arena *a, const char *s, const char **axes) {
    size_t n = strcspn(s + 1, ":}"), all = strcspn(s, "}");
    *axes = s[n + 1] == ':' ? arena_str(a, s + n + 2, all - n - 2) : "n";
    return arena_str(a, s + 1, n);
}

// The params that the places stand for, or the call with them in their places.
static const char *without_places(Arena *a, const char *call, bool declare) {
    Text t = {.arena = a}, seen = {.arena = a};
    text_printf(&t, "%s", "");
    text_printf(&seen, "%s", "|");
    for (const char *s = call; *s; s++) {
        const char *axes;
        if (*s != '{') {
            if (!declare) text_put(&t, s, 1);
            continue;
        }
        const char *name = read_place(a, s, &axes);
        s += strcspn(s, "}");
        if (!declare)
            text_printf(&t, "in_%s", name);
        else if (!strstr(seen.at, arena_printf(a, "|%s|", name)))
            text_printf(&t,
                        strspn(axes, " ") == strlen(axes) ? "param in_%s ~ 0\n"
                                                          : "param in_%s[%s] ~ 0\n",
                        name, axes);
        text_printf(&seen, "%s|", name);
    }
    return t.at;
}

static TestModel *model_of(Arena *a, const Row *row) {
    const char *sum =
        *row->axes ? arena_printf(a, "sum[%s](%s)", row->axes, without_places(a, row->call, false))
                   : without_places(a, row->call, false);
    return compile(arena_printf(a,
                                "axis n = 7, r = 3, v = 4, v2 = v, h = 2, h2 = 2, o = 2, s1 = 2, "
                                "k3 = 3, v5 = 5, k16 = 16, one = 1, batch\n"
                                "model m(z: real[batch]) {\n%sparam free ~ 0\n"
                                "loss = %s + free * sum[batch](z)\n}\n" PLAN
                                " optimizer sgd\n lr constant(1)\n}\n",
                                without_places(a, row->call, true), sum));
}

// ---- a NaN in each element --------------------------------------------------------------------------

// Different numbers between 0.1 and 0.9 in all parameters; of 'only', if any, element 'at' is NaN.
static void fill(TextRun *r, StateId only, int64_t at) {
    const Module *m = r->t->program->m;
    double x = 0.3;
    for (StateId s = 0; s < m->states.n; s++) {
        if (m->states.at[s].kind != STATE_param || m->states.at[s].of != NONE) continue;
        int64_t n = type_count(type_at(m, m->states.at[s].type));
        for (int64_t i = 0; i < n; i++) {
            x = fmod(x + 0.618, 0.8);
            r->in.states[s].at[i] = s == only && i == at ? (double)NAN : (double)(float)(0.1 + x);
        }
    }
}

static double loss_with(TextRun *r, StateId only, int64_t at) {
    fill(r, only, at);
    run_step(r, 1);
    return *result_of(r, "loss");
}

static uint32_t check_row(const Row *row) {
    Arena *a = arena_new();
    TestModel *t = model_of(a, row);
    const Module *m = t->program->m;
    uint32_t faults = 0;
    TextRun r;
    start(&r, t, INTERP_EXACT);
    if (!isfinite(loss_with(&r, NONE, 0))) {
        print_error("%s is not finite\n", row->call);
        faults++;
    }
    for (StateId s = 0; s < m->states.n; s++) {
        const char *path = sym_str(m->syms, m->states.at[s].path);
        if (m->states.at[s].kind != STATE_param || strcmp(path, "free") == 0) continue;
        int64_t n = type_count(type_at(m, m->states.at[s].type)), lost = 0;
        for (int64_t i = 0; i < n; i++) lost += !isnan(loss_with(&r, s, i));
        if (lost)
            print_error("%s: NaN in %d of %d elements of %s is lost\n", row->call, (int)lost,
                        (int)n, path);
        faults += lost > 0;
    }
    model_free(t);
    arena_free(a);
    return faults;
}

static void test_nan_comes_out(void **state) {
    (void)state;
    uint32_t faults = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].axes) faults += check_row(&rows[i]);
    assert_int_equal(faults, 0);
}

// A p that is no probability gives no number; PyTorch refuses it.
static void test_no_probability(void **state) {
    (void)state;
    static const Row outside[] = {{"binary_cross_entropy({p} + 1, {y})", "n", ""},
                                  {"binary_cross_entropy(-{p}, {y})", "n", ""},
                                  {"binary_cross_entropy({p} + 1, floor({y}))", "n", ""},
                                  {"binary_cross_entropy(-{p}, ceil({y}))", "n", ""},
                                  {"binary_cross_entropy(1.5, {y})", "n", ""}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        Arena *a = arena_new();
        TestModel *t = model_of(a, &outside[i]);
        TextRun r;
        start(&r, t, INTERP_EXACT);
        double loss = loss_with(&r, NONE, 0);
        if (!isnan(loss)) fail_msg("%s is %g", outside[i].call, loss);
        model_free(t);
        arena_free(a);
    }
}

// ---- every definition and argument -------------------------------------------------------------------

static bool is_row_of(const Row *row, const char *name) {
    const char *s = strstr(row->call, name);
    size_t n = strlen(name);
    return s && (s == row->call || s[-1] == '(') && (s[n] == '(' || s[n] == '[');
}

// Whether a list "a b: reason; c: reason" names the argument.
static bool is_apart(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *s = list; *s; s += strcspn(s, ";"), s += strspn(s, "; ")) {
        size_t all = strcspn(s, ":");
        for (size_t i = 0; i + n <= all; i++)
            if (strncmp(s + i, name, n) == 0 && (i == 0 || s[i - 1] == ' ') &&
                (s[i + n] == ' ' || s[i + n] == ':'))
                return true;
    }
    return false;
}

static bool is_covered(const char *function, const char *argument) {
    char place[2][64];
    snprintf(place[0], sizeof place[0], "{%s}", argument);
    snprintf(place[1], sizeof place[1], "{%s:", argument);
    bool found = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is_row_of(&rows[i], function))
            found |= strstr(rows[i].call, place[0]) || strstr(rows[i].call, place[1]) ||
                     is_apart(rows[i].apart, argument);
    return found;
}

// The next argument's name in "x[v, ..], target: v[..], smooth = f(0))"; NULL at the end.
static const char *next_argument(Arena *a, const char **at) {
    const char *s = *at + strspn(*at, " ,\n"), *name = s;
    while (isalnum((unsigned char)*s) || *s == '_') s++;
    if (s == name) return NULL;
    name = arena_str(a, name, (size_t)(s - name));
    for (int depth = 0; *s && (depth || (*s != ',' && *s != ')')); s++)
        depth += (*s == '(' || *s == '[') - (*s == ')' || *s == ']');
    *at = s;
    return name;
}

static void test_every_argument_has_a_row(void **state) {
    (void)state;
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    const Reference *r = reference_std(a, d);
    uint32_t arguments = 0, faults = 0;
    for (uint32_t i = 0; i < r->entries.n; i++) {
        const RefEntry *e = &r->entries.at[i];
        const char *at = strchr(e->signature, '('), *name;
        if (!at) continue; // a constant
        for (at++; (name = next_argument(a, &at)); arguments++)
            if (!is_covered(e->name, name)) {
                print_error("no row for '%s' of '%s'\n", name, e->name);
                faults++;
            }
    }
    assert_int_equal(faults, 0);
    assert_true(arguments > 250);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_argument_has_a_row),
                                       cmocka_unit_test(test_nan_comes_out),
                                       cmocka_unit_test(test_no_probability)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

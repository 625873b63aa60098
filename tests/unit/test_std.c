// Every function of frontend/std.sn far from 0 and at its edges: in exact f32, as all targets compute
// it, the value and the gradient, against double.
//
// Elementwise functions and functions along axes are compared with formulas of their own, written for
// this test, at the points and rows below; the bound is a part of the value plus an absolute one.
// Norms, positions, layers, optimizers and schedules are compared with the same text in double, within
// a part of the tensor's largest element. Each model's loss is sum(one * f(p)): the derivative by 'one'
// is the value of f, the derivative by 'p' its gradient. A function of std without a row fails.
#include "frontend/reference.h"
#include "tests/unit/text_model.h"

// ---- elementwise --------------------------------------------------------------------------------

// Signs of zero and both ends are points of their own.
static const float points[] = {0.0f,    -0.0f,  0x1p-149f, -0x1p-149f, 1e-40f,  -1e-40f, 1e-30f,
                               -1e-30f, 0.5f,   -0.5f,     1.0f,       -1.0f,   3.0f,    -3.0f,
                               17.0f,   -17.0f, 20.0f,     -20.0f,     52.0f,   -52.0f,  88.0f,
                               -88.0f,  90.0f,  -90.0f,    103.0f,     -103.0f, 110.0f,  -110.0f,
                               1e4f,    -1e4f,  INFINITY,  -INFINITY};
enum { POINTS = sizeof points / sizeof *points };

typedef double RealFunction(double x);
typedef struct {
    const char *name, *call;
    RealFunction *value, *slope;
    double part, absolute; // of the value; the gradient has the same
} Elementwise;

static double zero(double x) { return isnan(x) ? x : 0; }
static double sign_of(double x) { return (x > 0) - (x < 0); }
static double square_of(double x) { return x * x; }
static double square_slope(double x) { return 2 * x; }
static double relu_of(double x) { return x > 0 ? x : 0; }
static double relu_slope(double x) { return x > 0; }
static double relu6_of(double x) { return fmin(fmax(x, 0), 6); }
static double relu6_slope(double x) { return x > 0 && x < 6; }
static double leaky_of(double x) { return x > 0 ? x : 0.01 * x; }
static double leaky_slope(double x) { return x > 0 ? 1 : 0.01; }
static double sigmoid_of(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double sigmoid_slope(double x) { return sigmoid_of(x) * sigmoid_of(-x); }
static double silu_of(double x) { return x == -INFINITY ? 0 : x * sigmoid_of(x); }
static double silu_slope(double x) {
    return isinf(x) ? x > 0 : sigmoid_of(x) * (1 + x * sigmoid_of(-x));
}
static double softplus_of(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
// GELU of an infinity is that times 1 + tanh of it, 0 at the lower end; its slope holds 0 * x at both.
static double inner(double x) { return 0.79788456080286535588 * (x + 0.044715 * x * x * x); }
static double gelu_of(double x) { return 0.5 * x * (1 + tanh(inner(x))); }
static double gelu_slope(double x) {
    double t = tanh(inner(x)), rate = 0.79788456080286535588 * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * rate;
}
static double erf_gelu_of(double x) { return 0.5 * x * (1 + erf(x * M_SQRT1_2)); }
static double erf_gelu_slope(double x) {
    return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}
static double softcap_of(double x) { return 30 * tanh(x / 30); }
static double softcap_slope(double x) { return 1 - tanh(x / 30) * tanh(x / 30); }

static double logsigmoid_of(double x) { return -softplus_of(-x); }
static double logsigmoid_slope(double x) { return sigmoid_of(-x); }
static double elu_of(double x) { return x > 0 ? x : 1.5 * expm1(x); }
static double elu_slope(double x) { return x > 0 ? 1 : 1.5 * exp(x); }
static double celu_of(double x) { return x > 0 ? x : 1.5 * expm1(x / 1.5); }
static double celu_slope(double x) { return x > 0 ? 1 : exp(x / 1.5); }
static double selu_of(double x) {
    return 1.0507009873554804934 * (x > 0 ? x : 1.6732632423543772848 * expm1(x));
}
static double selu_slope(double x) {
    return 1.0507009873554804934 * (x > 0 ? 1 : 1.6732632423543772848 * exp(x));
}
static double mish_of(double x) { return x == -INFINITY ? 0 : x * tanh(softplus_of(x)); }
static double mish_slope(double x) {
    double t = tanh(softplus_of(x));
    return isinf(x) ? x > 0 : t + x * (1 - t * t) * sigmoid_of(x);
}
static double hardsigmoid_of(double x) { return fmax(0, fmin(x / 6 + 0.5, 1)); }
static double hardswish_of(double x) { return x <= -3 ? 0 : x * hardsigmoid_of(x); }
static double hardswish_slope(double x) { return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5; }
static double tanhshrink_of(double x) { return x - tanh(x); }
static double tanhshrink_slope(double x) { return tanh(x) * tanh(x); }

// Of 0.99 tanh x, by Newton's method.
static double erfinv_of(double x) {
    double want = 0.99 * tanh(x), y = 0;
    for (int i = 0; i < 60; i++) y -= (erf(y) - want) / (1.1283791670955125739 * exp(-y * y));
    return isnan(x) ? x : y;
}
static double erfinv_slope(double x) {
    double t = tanh(x), y = erfinv_of(x);
    return 0.99 * (1 - t * t) * 0.88622692545275801365 * exp(y * y);
}

// Of a yes, without weights: s^gamma * softplus(-x), s the share of no.
static double focal_of(double x, double gamma) {
    return x == -INFINITY ? INFINITY : pow(sigmoid_of(-x), gamma) * softplus_of(-x);
}
static double focal_slope(double x, double gamma) {
    double s = sigmoid_of(-x), far = gamma == 0 ? 0 : gamma * pow(s, gamma) * (1 - s);
    if (x == -INFINITY) return gamma == 0 ? -1 : (double)NAN; // the loss is infinite
    return -far * softplus_of(-x) - pow(s, gamma + 1);
}
static double focal_half(double x) { return focal_of(x, 0.5); }
static double focal_half_slope(double x) { return focal_slope(x, 0.5); }
static double focal_0(double x) { return focal_of(x, 0); }
static double focal_0_slope(double x) { return focal_slope(x, 0); }

static const Elementwise elementwise[] = {
    {"focal", "focal(p, 1, alpha = -1, gamma = 0.5)", focal_half, focal_half_slope, 4e-6, 1e-42},
    {"focal", "focal(p, 1, alpha = -1, gamma = 0)", focal_0, focal_0_slope, 1e-6, 1e-42},
    {"focal", "focal(-p, 0, alpha = -1, gamma = 0.5)", focal_half, focal_half_slope, 4e-6, 1e-42},
    {"erfinv", "erfinv(0.99 * tanh(p))", erfinv_of, erfinv_slope, 2e-5, 1e-6},
    {"sign", "sign(p)", sign_of, zero, 0, 0},
    {"ceil", "ceil(p)", ceil, zero, 0, 0},
    {"square", "square(p)", square_of, square_slope, 1e-7, 0},
    {"relu", "relu(p)", relu_of, relu_slope, 0, 0},
    {"leaky_relu", "leaky_relu(p)", leaky_of, leaky_slope, 1e-7, 1e-44},
    {"sigmoid", "sigmoid(p)", sigmoid_of, sigmoid_slope, 4e-7, 1e-44},
    {"silu", "silu(p)", silu_of, silu_slope, 5e-7, 1e-42},
    {"gelu", "gelu(p)", gelu_of, gelu_slope, 1e-6, 2e-6},
    {"gelu_erf", "gelu_erf(p)", erf_gelu_of, erf_gelu_slope, 1e-6, 1e-6},
    {"softplus", "softplus(p)", softplus_of, sigmoid_of, 3e-7, 1e-44},
    {"logsigmoid", "logsigmoid(p)", logsigmoid_of, logsigmoid_slope, 4e-7, 1e-44},
    {"elu", "elu(p, 1.5)", elu_of, elu_slope, 4e-7, 1e-44},
    {"celu", "celu(p, 1.5)", celu_of, celu_slope, 4e-6, 1e-44},
    {"selu", "selu(p)", selu_of, selu_slope, 4e-7, 1e-44},
    {"mish", "mish(p)", mish_of, mish_slope, 2e-6, 1e-42},
    {"hardswish", "hardswish(p)", hardswish_of, hardswish_slope, 4e-7, 1e-44},
    {"tanhshrink", "tanhshrink(p)", tanhshrink_of, tanhshrink_slope, 4e-7, 2e-7},
    {"softcap", "softcap(p, 30)", softcap_of, softcap_slope, 3e-7, 1.2e-7},
    {NULL, "min(max(p, 0), 6)", relu6_of, relu6_slope, 0, 0}, // relu6, as models write it
};

static void check_elementwise(const Elementwise *e) {
    Arena *a = arena_new();
    TestModel *t = compile(
        arena_printf(a,
                     "axis n = %d, batch\nmodel m(x: real[batch]) {\n param p[n] ~ 0, one[n] ~ 1\n"
                     " loss = sum[n](one * %s) + 0 * sum[batch](x)\n}\n" PLAN
                     " optimizer sgd\n lr constant(1)\n}\n",
                     POINTS, e->call));
    TextRun r;
    start(&r, t, INTERP_EXACT);
    for (int i = 0; i < POINTS; i++) state_of(&r, "p")->at[i] = (double)points[i];
    run_step(&r, 1);
    const double *value = result_of(&r, "grad.one"), *slope = result_of(&r, "grad.p");
    for (int i = 0; i < POINTS; i++) {
        double x = (double)points[i], v = e->value(x), s = e->slope(x);
        if (!within(value[i], v, e->part, e->absolute))
            fail_msg("%s at %g: %.9g, expected %.9g", e->call, x, value[i], v);
        if (!within(slope[i], s, e->part, e->absolute))
            fail_msg("gradient of %s at %g: %.9g, expected %.9g", e->call, x, slope[i], s);
    }
    model_free(t);
    arena_free(a);
}

static void test_elementwise(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        check_elementwise(&elementwise[i]);
}

// ---- along an axis ------------------------------------------------------------------------------

enum { WIDE = 4 };
#define OFF (-INFINITY)
static const double wide_rows[][WIDE] = {{0.5, -1, 2, 0.25},       {0, -0.0, 0, 0},
                                         {1e4, 1e4, 9999, 1e4},    {1e8, 1e8, 1e8, 1e8},
                                         {-1e8, -1e8, -1e8, -1e8}, {-90, -88, 88, 90},
                                         {20, -20, 20, -20},       {1e-30, -1e-30, 1e-40, 0x1p-149},
                                         {-1e4, 1e4, 1, -1},       {OFF, 1, 2, OFF},
                                         {3, OFF, OFF, OFF},       {OFF, OFF, OFF, OFF},
                                         {OFF, -1e4, 1e4, 1e4},    {1e30, -1e30, 0, 1},
                                         {OFF, -1e-30, -0.0, OFF}, {1, 2, INFINITY, 0}};
// Logarithms of probabilities, and what is compared with them.
static const double log_rows[][2][WIDE] = {
    {{-1, -2, -0.7, -3}, {-2, -1, -3, -0.5}},         {{OFF, -0.1, -2.4, OFF}, {OFF, -0.2, -3, -4}},
    {{OFF, 0, OFF, OFF}, {-1, -2, OFF, -4}},          {{OFF, OFF, OFF, OFF}, {OFF, OFF, OFF, OFF}},
    {{-90, -88, -20, -1e-30}, {-1, -1e4, -90, -20}},  {{-1e4, -1e4, 0, -110}, {-1, -1, -1, -1}},
    {{-0.0, -1e4, -1e4, OFF}, {-0.0, -1e-30, OFF, 0}}};
static const double weights[WIDE] = {1, -0.5, 0.25, 2};

// One row's result y (WIDE values, or one) and the derivative by x and z of sum(w * y).
typedef struct {
    int n, hit; // elements; the class of cross_entropy
    const double *x, *z;
    double y[WIDE], dx[WIDE], dz[WIDE];
} RowOf;
typedef void RowFunction(RowOf *r);
typedef struct {
    const char *name, *call;
    RowFunction *want;
    bool vector; // the result has the axis
    bool finite; // rows with -inf, or whose squares overflow, have no meaning
    double part, absolute;
} Fold;

typedef struct {
    double top, sum, p[WIDE]; // exponentials are exp(x - top); p: shares of the sum
} Soft;

static Soft soft_of(const RowOf *r) {
    Soft s = {.top = OFF};
    for (int i = 0; i < r->n; i++) s.top = fmax(s.top, r->x[i]);
    if (s.top == OFF) return s.top = 0, s;
    if (isinf(s.top)) s.top = 0; // nothing can be taken out
    for (int i = 0; i < r->n; i++) s.sum += s.p[i] = exp(r->x[i] - s.top);
    for (int i = 0; i < r->n; i++) s.p[i] /= s.sum;
    return s;
}

static void want_peak(RowOf *r) { r->y[0] = soft_of(r).top; }
static void want_softmax(RowOf *r) {
    Soft s = soft_of(r);
    double dot = 0;
    for (int i = 0; i < r->n; i++) dot += weights[i] * s.p[i];
    for (int i = 0; i < r->n; i++) r->y[i] = s.p[i], r->dx[i] = s.p[i] * (weights[i] - dot);
}
static void want_logsumexp(RowOf *r) {
    Soft s = soft_of(r);
    r->y[0] = s.top + log(s.sum);
    for (int i = 0; i < r->n; i++) r->dx[i] = s.p[i];
}
static void want_log_softmax(RowOf *r) {
    Soft s = soft_of(r);
    double all = 0;
    for (int i = 0; i < r->n; i++) all += weights[i];
    for (int i = 0; i < r->n; i++) {
        r->y[i] = r->x[i] == OFF ? OFF : r->x[i] - s.top - log(s.sum);
        r->dx[i] = weights[i] - s.p[i] * all;
    }
}
static void want_smoothed(RowOf *r, double smooth) {
    Soft s = soft_of(r);
    double spread = 0, there = 0;
    for (int i = 0; i < r->n; i++)
        if (r->x[i] > OFF) spread += r->x[i] - s.top, there++;
    r->y[0] = INFINITY;
    if (r->x[r->hit] > OFF)
        r->y[0] = log(s.sum) - (1 - smooth) * (r->x[r->hit] - s.top) -
                  (smooth > 0 ? smooth * spread / there : 0);
    for (int i = 0; i < r->n; i++)
        r->dx[i] = s.p[i] - (r->x[i] > OFF ? smooth / there : 0) - (i == r->hit ? 1 - smooth : 0);
}
static void want_cross_entropy(RowOf *r) { want_smoothed(r, 0); }
static void want_smooth(RowOf *r) { want_smoothed(r, 0.1); }
static void want_extreme(RowOf *r, double sign) {
    int best = 0;
    for (int i = 1; i < r->n; i++)
        if (sign * r->x[i] > sign * r->x[best]) best = i;
    r->y[0] = best;
}
static void want_argmax(RowOf *r) { want_extreme(r, 1); }
static void want_argmin(RowOf *r) { want_extreme(r, -1); }
static void want_variance(RowOf *r) {
    double mean = 0;
    for (int i = 0; i < r->n; i++) mean += r->x[i] / r->n;
    for (int i = 0; i < r->n; i++) {
        r->y[0] += (r->x[i] - mean) * (r->x[i] - mean) / r->n;
        r->dx[i] = 2 * (r->x[i] - mean) / r->n;
    }
}
static void want_kl(RowOf *r) {
    for (int i = 0; i < r->n; i++) {
        if (r->x[i] == OFF) continue;
        double e = exp(r->x[i]), d = r->x[i] - r->z[i];
        r->y[0] += e * d;
        r->dx[i] = e * d + e;
        r->dz[i] = -e;
    }
}
static void want_squared_error(RowOf *r) {
    for (int i = 0; i < r->n; i++) {
        double d = r->x[i] - r->z[i];
        r->y[i] = d * d;
        r->dx[i] = 2 * weights[i] * d;
        r->dz[i] = -r->dx[i];
    }
}

static const Fold folds[] = {
    {"peak", "peak[v](p)", want_peak, false, false, 0, 0},
    {"softmax", "softmax[v](p)", want_softmax, true, false, 1e-6, 3e-7},
    {"logsumexp", "logsumexp[v](p)", want_logsumexp, false, false, 3e-7, 1e-7},
    {"log_softmax", "log_softmax[v](p)", want_log_softmax, true, false, 3e-7, 3e-7},
    {"cross_entropy", "cross_entropy[v](p, %s)", want_cross_entropy, false, false, 3e-7, 3e-7},
    {"cross_entropy", "cross_entropy[v](p, %s, smooth = 0.1)", want_smooth, false, false, 3e-7,
     3e-7},
    {"argmax", "argmax[v](p)", want_argmax, false, false, 0, 0},
    {"argmin", "argmin[v](p)", want_argmin, false, false, 0, 0},
    {"variance", "variance[v](p)", want_variance, false, true, 4e-7, 1e-37},
    {"kl", "kl[v](p, q)", want_kl, false, false, 1e-6, 1e-43},
    {"squared_error", "squared_error(p, q)", want_squared_error, true, true, 3e-7, 1e-37},
};

typedef struct {
    int rows, n;
    const double *x, *z; // [rows, WIDE]
} Rows;

// A row with inf has values; a gradient it has none.
static void check_row_of(const Fold *f, const TextRun *r, const Rows *rows, int row) {
    bool open = false;
    for (int i = 0; i < rows->n; i++) open |= rows->x[row * WIDE + i] == INFINITY;
    RowOf want = {
        .n = rows->n, .hit = row % rows->n, .x = rows->x + row * WIDE, .z = rows->z + row * WIDE};
    f->want(&want);
    for (int i = 0; i < rows->n; i++) {
        int at = row * rows->n + i;
        double y = result_of(r, "grad.one")[f->vector ? at : row], v = want.y[f->vector ? i : 0];
        double dx = result_of(r, "grad.p")[at], dz = result_of(r, "grad.q")[at];
        if (!within(y, v, f->part, f->absolute))
            fail_msg("%s, row %d, %d: %.9g, expected %.9g", f->call, row, i, y, v);
        if (open) continue;
        if (!within(dx, want.dx[i], f->part, f->absolute))
            fail_msg("gradient of %s, row %d, %d: %.9g, expected %.9g", f->call, row, i, dx,
                     want.dx[i]);
        if (!within(dz, want.dz[i], f->part, f->absolute))
            fail_msg("gradient of %s by q, row %d, %d: %.9g, expected %.9g", f->call, row, i, dz,
                     want.dz[i]);
    }
}

static void check_fold(const Fold *f, const Rows *rows) {
    Arena *a = arena_new();
    char call[128];
    snprintf(call, sizeof call, f->call, rows->n == 1 ? "0 * iota[row]" : "iota[row] % 4");
    const char *axes = f->vector ? "row, v" : "row";
    TestModel *t = compile(
        arena_printf(a,
                     "axis row = %d, v = %d, batch\nmodel m(x: real[batch]) {\n"
                     " param p[row, v] ~ 0, q[row, v] ~ 0, one[%s] ~ 1\n"
                     " loss = sum[%s](one * %s) + 0 * sum[row, v](q) + 0 * sum[batch](x)\n}\n" PLAN
                     " optimizer sgd\n lr constant(1)\n}\n",
                     rows->rows, rows->n, axes, axes, call));
    TextRun r;
    start(&r, t, INTERP_EXACT);
    for (int row = 0; row < rows->rows; row++)
        for (int i = 0; i < rows->n; i++) {
            state_of(&r, "p")->at[row * rows->n + i] = (double)(float)rows->x[row * WIDE + i];
            state_of(&r, "q")->at[row * rows->n + i] = (double)(float)rows->z[row * WIDE + i];
            if (f->vector) state_of(&r, "one")->at[row * rows->n + i] = weights[i];
        }
    run_step(&r, 1);
    for (int row = 0; row < rows->rows; row++) {
        bool finite = true;
        for (int i = 0; i < rows->n; i++) finite &= fabs(rows->x[row * WIDE + i]) < 1e18;
        if (finite || !f->finite) check_row_of(f, &r, rows, row);
    }
    model_free(t);
    arena_free(a);
}

// Masked, tied and far rows; rows of one element; for kl rows of logarithms.
static void test_folds(void **state) {
    (void)state;
    enum { ROWS = sizeof wide_rows / sizeof *wide_rows, LOGS = sizeof log_rows / sizeof *log_rows };
    static const double single[][WIDE] = {{0}, {-0.0}, {1e-30}, {1}, {-90}, {1e4}, {-1e8}, {OFF}};
    double turned[ROWS][WIDE], logs[2][LOGS][WIDE];
    for (int i = 0; i < ROWS; i++) memcpy(turned[i], wide_rows[(i + 5) % ROWS], sizeof *turned);
    for (int i = 0; i < LOGS; i++)
        for (int k = 0; k < 2; k++) memcpy(logs[k][i], log_rows[i][k], sizeof *turned);
    const Rows wide = {ROWS, WIDE, wide_rows[0], turned[0]},
               probabilities = {LOGS, WIDE, logs[0][0], logs[1][0]};
    const Rows one = {sizeof single / sizeof *single, 1, single[0], single[0]};
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
        bool pair = strcmp(folds[i].name, "kl") == 0;
        check_fold(&folds[i], pair ? &probabilities : &wide);
        if (!pair) check_fold(&folds[i], &one);
    }
}

// ---- running statistics --------------------------------------------------------------------------

// Of 0, 1, 8, 27: mean 9, biased variance 117.5, unbiased (PyTorch's running_var) 470 / 3.
static void check_running(const char *options, double want) {
    Arena *a = arena_new();
    TestModel *t = compile(arena_printf(
        a,
        "axis n = 4, c = 1, batch\nmodel m(x: real[batch]) {\n param p[n, c] ~ 0\n"
        " loss = sum[n, c](batchnorm[c, n](p, rate = 0.25%s)) + 0 * sum[batch](x)\n}\n" PLAN
        " optimizer sgd\n lr constant(1)\n}\n",
        options));
    TextRun r;
    start(&r, t, INTERP_EXACT);
    for (int i = 0; i < 4; i++) state_of(&r, "p")->at[i] = i * i * i;
    run_step(&r, 1);
    assert_true(within(state_of(&r, "batchnorm.mu")->at[0], 0.25 * 9, 1e-6, 0));
    assert_true(within(state_of(&r, "batchnorm.var")->at[0], 0.75 + 0.25 * want, 1e-6, 0));
    model_free(t);
    arena_free(a);
}

static void test_running_variance(void **state) {
    (void)state;
    check_running("", 117.5);
    check_running(", unbiased = true", 470.0 / 3);
}

// ---- against the same text in double -------------------------------------------------------------

typedef struct {
    const char *names; // functions of std that it holds
    const char *body;  // of a model with params p and one
    const char *plan;  // optimizer and schedule
    double part;       // of the largest element of each gradient and new state
} SameText;

#define SGD    "optimizer sgd\n lr constant(1)"
#define SAME   "param p[r, c] ~ 0, one[r, c] ~ 1\n"
#define UPDATE SAME "loss = sum[r, c](p * one)"
static const SameText texts[] = {
    {"layernorm", SAME "loss = sum[r, c](one * layernorm[c](p))", SGD, 2e-6},
    {"rmsnorm", SAME "loss = sum[r, c](one * rmsnorm[c](p))", SGD, 2e-6},
    {"batchnorm", SAME "loss = sum[r, c](one * batchnorm[c, r](p))", SGD, 2e-6},
    {"dropout", SAME "loss = sum[r, c](one * dropout(p, 0.5))", SGD, 1e-7},
    {"dropout", SAME "loss = sum[r, c](one * dropout(p, 1))", SGD, 0},
    {"rope", SAME "loss = sum[r, c](one * rope[r, c](p))", SGD, 1e-6},
    {"rope_interleaved", SAME "loss = sum[r, c](one * rope_interleaved[r, c](p))", SGD, 1e-6},
    {"linear",
     "param p[r, c] ~ 0, one[r, out] ~ 1\nloss = sum[r, out](one * linear[c, out](p) as l)", SGD,
     1e-6},
    {"conv2d check_window check_groups",
     "param p[r, c, cin] ~ 0, one[r, c, out] ~ 1\n"
     "loss = sum[r, c, out](one * conv2d[r, c, cin -> r, c, out](p, pad = 1))",
     SGD, 1e-6},
    {"orthogonal", SAME "loss = sum[r, c](one * orthogonal[r, c](p))", SGD, 1e-3},
    {"sgd", UPDATE, "optimizer sgd(momentum = 0.9, decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"sgd", UPDATE,
     "optimizer sgd(momentum = 0.9, decay = 0.1, dampening = 0.5, nesterov = true)\n lr "
     "constant(0.1)",
     1e-6},
    {"unbias adam", UPDATE, "optimizer adam(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"nadam", UPDATE, "optimizer nadam(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"radam", UPDATE, "optimizer radam(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"adamax", UPDATE, "optimizer adamax(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"rmsprop", UPDATE,
     "optimizer rmsprop(centered = true, momentum = 0.9, decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"adagrad", UPDATE, "optimizer adagrad(decay = 0.1, rate_decay = 0.1)\n lr constant(0.1)",
     1e-6},
    {"adadelta", UPDATE, "optimizer adadelta(decay = 0.1)\n lr constant(1)", 1e-6},
    {"lamb", UPDATE, "optimizer lamb(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"adamw", UPDATE, "optimizer adamw(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"lion", UPDATE, "optimizer lion(decay = 0.1)\n lr constant(0.1)", 1e-6},
    {"muon", "param p[r -> c] ~ 0, one[r -> c] ~ 1\nloss = sum[r, c](p * one)",
     "optimizer muon\n lr constant(0.1)", 1e-3},
    {"adafactor", "param p[r -> c] ~ 0, one[r -> c] ~ 1\nloss = sum[r, c](p * one)",
     "optimizer adafactor\n lr constant(0.1)", 1e-6},
    {"constant_lr", UPDATE, SGD, 1e-6},
    {"warm decayed linear_lr", UPDATE,
     "optimizer sgd\n lr linear(1, warmup = 5, steps = 50, floor = 0.1)", 1e-6},
    {"warm decayed cosine_lr", UPDATE,
     "optimizer sgd\n lr cosine(1, warmup = 5, steps = 50, floor = 0.1)", 1e-6},
    {"warm decayed warmup_stable_decay_lr", UPDATE,
     "optimizer sgd\n lr warmup_stable_decay(1, warmup = 5, steps = 50, floor = 0.1)", 1e-6},
};

// The points in turn, as far as they are not too large nor the least, from another one for each state.
static void set_points(TextRun *r, const char *path, double most, int from) {
    Tensor *x = state_of(r, path);
    int64_t n = type_count(type_at(r->t->program->m, x->type));
    for (int64_t i = 0; i < n; i++) {
        double v = (double)points[(i * 3 + from) % POINTS];
        x->at[i] = fabs(v) <= most && fabs(v) != 0x1p-149 ? v : 1; // a tenth of that is 0 in f32
    }
}

static void check_near(const char *what, const char *name, const Tensor *got, const Tensor *want,
                       int64_t n, double part) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(want->at[i]));
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(want->at[i]) || !within(got->at[i], want->at[i], 0, part * most))
            fail_msg("%s, %s, element %d: %.9g, in double %.9g", what, name, (int)i, got->at[i],
                     want->at[i]);
}

static void compare_runs(const char *what, const TextRun *exact, const TextRun *wide, double part) {
    const Module *m = exact->t->program->m;
    const Func *f = func_of(exact->t, "step");
    for (uint32_t i = 0; i < f->results.n; i++)
        check_near(what, sym_str(m->syms, f->results.at[i].name), &exact->results[i],
                   &wide->results[i], type_count(type_at(m, exact->results[i].type)), part);
    for (StateId s = 0; s < m->states.n; s++)
        check_near(what, sym_str(m->syms, m->states.at[s].path), &exact->in.states[s],
                   &wide->in.states[s], type_count(type_at(m, m->states.at[s].type)), part);
}

static void check_text(const SameText *x) {
    Arena *a = arena_new();
    TestModel *t = compile(
        arena_printf(a,
                     "axis r = 6, c = 8, out = 3, cin = 2, batch\nmodel m(x: real[batch]) {\n%s"
                     " + 0 * sum[batch](x)\n}\n" PLAN " %s\n}\n",
                     x->body, x->plan));
    static const double steps[] = {1, 2, 5, 30, 50, 51, 1e6};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        TextRun exact, wide;
        TextRun *both[] = {&exact, &wide};
        for (int k = 0; k < 2; k++) {
            start(both[k], t, k ? INTERP_F64 : INTERP_EXACT);
            set_points(both[k], "p", 1e4, 0);
            set_points(both[k], "one", 1, 5);
            run_step(both[k], steps[i]);
        }
        compare_runs(x->names, &exact, &wide, x->part);
    }
    model_free(t);
    arena_free(a);
}

static void test_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) check_text(&texts[i]);
}

// The first step of adamw is as long as the rate, and the hundredth where the gradient was the same
// all along: its corrections for the start are not lost to rounding, however close to 1 betas are.
static void test_first_steps(void **state) {
    (void)state;
    TestModel *t =
        compile("axis n = 3, batch\nmodel m(x: real[batch]) {\n param p[n] ~ 0\n"
                " loss = sum[n](p) + 0 * sum[batch](x)\n}\n" PLAN
                " optimizer adamw(betas = (0.9, 0.9999), eps = 0)\n lr constant(1)\n}\n");
    TextRun r;
    start(&r, t, INTERP_EXACT);
    double *p = state_of(&r, "p")->at;
    for (int step = 1; step <= 100; step++) {
        p[0] = 0;
        run_step(&r, step);
        if (!(fabs(p[0] + 1) <= 2e-6)) fail_msg("step %d: %.9g", step, p[0]);
    }
    model_free(t);
}

// ---- every function has a row, here or with values from torch -------------------------------------------------------------------

static bool is_listed(const char *names, const char *name, size_t n) {
    for (const char *s = names; s && *s; s += strcspn(s, " "), s += *s == ' ')
        if (strcspn(s, " ") == n && memcmp(s, name, n) == 0) return true;
    return false;
}

// ---- initial values -----------------------------------------------------------------------------

static const char initial_names[] = "kaiming_normal kaiming_uniform xavier_normal xavier_uniform "
                                    "symmetric truncated_normal orthonormal polar";

static const struct {
    const char *decl, *initial; // of a parameter with axes of 48, 64, 4 and 5
    double deviation, bound;    // 0: none
} initials[] = {
    {"w[i -> o]", "kaiming_normal()", 0.20412414523193151, 0},             // sqrt(2 / 48)
    {"w[i -> o]", "kaiming_normal(1)", 0.14433756729740643, 0},            // sqrt(1 / 48)
    {"w[i -> o]", "kaiming_normal(gain = 1, out = true)", 0.125, 0},       // sqrt(1 / 64)
    {"w[b: i -> o]", "kaiming_normal(1)", 0.14433756729740643, 0},         // b is no input
    {"w[b, i -> o]", "kaiming_normal(1)", 0.072168783648703216, 0},        // sqrt(1 / 192)
    {"w[i -> o, b]", "3 * kaiming_uniform(1)", 0.43301270189221930, 0.75}, // 3 sqrt(3 / 48)
    {"w[o]", "kaiming_uniform(1)", 1, 1.7320508075688772},                 // nothing goes in
    {"w[i -> o]", "xavier_normal()", 0.13363062095621219, 0},              // sqrt(2 / 112)
    {"w[i -> o]", "xavier_uniform(2)", 0.26726124191242440, 0.46291004988627577},
    {"w[i -> o]", "symmetric(0.5)", 0.28867513459481287, 0.5},
    {"w[i -> o]", "truncated_normal(0.1)", 0.087962566103423978, 0.2},
    {"w[i -> o]", "truncated_normal(2, cut = 1)", 1.0791207542594426, 2},
    {"w[i -> o]", "truncated_normal(1, cut = 8)", 1, 8},
    {"w[i -> o]", "own()", 0.25, 0}, // a function of the model's
};

static TestModel *with_initial(Arena *a, const char *decl, const char *initial) {
    return compile(arena_printf(
        a,
        "axis i = 48, o = 64, b = 4, n = 5, one = 1, batch\n"
        "fn own(w[..i -> ..o]) {\n axis r = ..i, c = ..o\n return normal((c - r) / 64)\n}\n"
        "fn ill(w[..i -> ..o]) {\n axis r = ..i, c = ..o\n"
        " return polar[r, c](normal(1)[..i -> r, ..o -> c] * 10^(-iota[r] / 7))[r -> ..i, c -> "
        "..o]\n}\n"
        "model m(x: real[batch]) {\n param %s ~ %s\n param u ~ 0\n"
        " loss = mean[batch](x) * u + reach(w)\n}\n"
        "fn reach(w[..a]) = sum[..a](w)\n" PLAN " optimizer sgd\n lr constant(1)\n}\n",
        decl, initial));
}

static void test_initial_values(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof initials / sizeof *initials; k++) {
        Arena *a = arena_new();
        TestModel *t = with_initial(a, initials[k].decl, initials[k].initial);
        TextRun r;
        start(&r, t, INTERP_EXACT);
        const Tensor *w = state_of(&r, "w");
        double sum = 0, squares = 0, most = 0, want = initials[k].deviation;
        int64_t n = type_count(type_at(t->program->m, w->type));
        for (int64_t i = 0; i < n; i++) {
            sum += w->at[i];
            squares += w->at[i] * w->at[i];
            most = fmax(most, fabs(w->at[i]));
        }
        // five deviations of a mean, and of a root of a mean of squares
        double mean = sum / (double)n, sd = sqrt(squares / (double)n), slack = 5 / sqrt((double)n);
        if (fabs(mean) > slack * want || fabs(sd - want) > slack * want)
            fail_msg("%s ~ %s: mean %g, deviation %g instead of %g", initials[k].decl,
                     initials[k].initial, mean, sd, want);
        double bound = initials[k].bound;
        if (bound > 0 && (most > bound * (1 + 1e-6) || most < 0.35 * bound))
            fail_msg("%s ~ %s: up to %g, the bound is %g", initials[k].decl, initials[k].initial,
                     most, bound);
        model_free(t);
        arena_free(a);
    }
}

// The b matrices of r x c that lie one behind the other.
static void check_orthonormal(const double *w, int b, int r, int c, double gain, const char *what) {
    int few = r < c ? r : c, many = r < c ? c : r;
    for (int k = 0; k < b; k++, w += r * c)
        for (int i = 0; i < few; i++)
            for (int j = 0; j < few; j++) {
                double dot = 0;
                for (int x = 0; x < many; x++)
                    dot += r < c ? w[i * c + x] * w[j * c + x] : w[x * c + i] * w[x * c + j];
                if (fabs(dot / (gain * gain) - (i == j)) > 1e-5)
                    fail_msg("%s: rows %d and %d of matrix %d: %.9g", what, i, j, k, dot);
            }
}

static void test_orthonormal(void **state) {
    (void)state;
    static const struct {
        const char *decl, *initial;
        int b, r, c;
        double gain;
    } cases[] = {{"w[i -> o]", "orthonormal()", 1, 48, 64, 1},
                 {"w[o -> i]", "orthonormal(gain = 3)", 1, 64, 48, 3},
                 {"w[b: i -> o]", "orthonormal()", 4, 48, 64, 1},
                 {"w[b, i -> n]", "orthonormal(0.5)", 1, 192, 5, 0.5},
                 {"w[one -> o]", "orthonormal()", 1, 1, 64, 1},
                 {"w[o -> one]", "orthonormal()", 1, 64, 1, 1},
                 {"w[o]", "orthonormal()", 1, 1, 64, 1},
                 {"w[i -> o]", "ill()", 1, 48, 64, 1}}; // singular values fall by 5e6
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Arena *a = arena_new();
        TestModel *t = with_initial(a, cases[k].decl, cases[k].initial);
        TextRun r;
        start(&r, t, INTERP_EXACT);
        check_orthonormal(state_of(&r, "w")->at, cases[k].b, cases[k].r, cases[k].c, cases[k].gain,
                          cases[k].decl);
        model_free(t);
        arena_free(a);
    }
}

static bool has_row(const SnSafetensors *torch, const char *name, size_t n) {
    bool found = false;
    for (uint32_t i = 0; i < sn_st_metas(torch); i++) {
        const char *text = sn_st_meta(torch, i)->value;
        char names[128];
        snprintf(names, sizeof names, "%.*s", (int)strcspn(text, "\n"), text);
        found |= is_listed(names, name, n);
    }
    found |= is_listed(initial_names, name, n);
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        found |= is_listed(elementwise[i].name, name, n);
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        found |= is_listed(folds[i].name, name, n);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        found |= is_listed(texts[i].names, name, n);
    return found;
}

// And a comment, in a section: what 'sinter std' and docs/std.md are made from.
static void test_every_function_has_a_row(void **state) {
    (void)state;
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    const Reference *r = reference_std(a, d);
    SnSafetensors *torch;
    SnError err;
    if (sn_st_open(SOURCE_DIR "/tests/parity/std.safetensors", &torch, &err))
        fail_msg("%s", err.text);
    diag_print(d, stderr, false);
    assert_int_equal(d->errors, 0);
    for (uint32_t i = 0; i < r->entries.n; i++) {
        const RefEntry *e = &r->entries.at[i];
        if (strchr(e->signature, '(') && !has_row(torch, e->name, strlen(e->name)))
            fail_msg("no row for '%s' of std.sn", e->name);
        if (strlen(e->brief) > 80)
            fail_msg("the first line of '%s' is too long for a list", e->name);
    }
    assert_true(r->entries.n >= 36);
    sn_st_close(torch);
    arena_free(a);
}

// What a reader of comments must not take: none, one without a section, a field that is none; and what it takes.
static void test_comments(void **state) {
    (void)state;
    static const char text[] = "# above\n"
                               "fn none(x) = x\n"
                               "\n"
                               "# --- First\n"
                               "# about it\n"
                               "# all\n"
                               "\n"
                               "# apart\n"
                               "\n"
                               "fn bare(x) = x  # at its end\n"
                               "# brief\n"
                               "# more\n"
                               "# words: of none\n"
                               "# formula: x\n"
                               "#   + y\n"
                               "fn full[a](x[a, ..], y = (1, 2)) = x\n"
                               "# --- Second\n"
                               "\n"
                               "# a number\n"
                               "two = 2\n";
    Arena *a = arena_new();
    Diag *d = diag_new(a);
    const Reference *r = reference_read(a, d, diag_add_file(d, "t", text, sizeof text - 1, false));
    assert_int_equal(d->errors, 3);
    assert_string_equal(d->items.at[0].text, "'none' is in no section");
    assert_string_equal(d->items.at[1].text, "'bare' has no comment");
    assert_string_equal(d->items.at[2].text, "'words' is no field of an entry");
    assert_int_equal(r->sections.n, 2);
    assert_string_equal(r->sections.at[0].title, "First");
    assert_string_equal(r->sections.at[0].text, "about it\nall");
    const RefEntry *e = reference_find(r, "full");
    assert_string_equal(e->signature, "full[a](x[a, ..], y = (1, 2))");
    assert_string_equal(e->brief, "brief");
    assert_string_equal(e->field[REF_formula], "x + y");
    assert_string_equal(e->text, "fn full[a](x[a, ..], y = (1, 2)) = x");
    assert_int_equal(e->section, 0);
    assert_int_equal(reference_find(r, "two")->section, 1);
    assert_null(reference_find(r, "three"));
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_function_has_a_row),
        cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_orthonormal),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_running_variance),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_first_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Functions and layers of std.sn against PyTorch: values and gradients stored by tests/parity/std.py.
//
// A case is a model's text and its states, in tests/parity/std.safetensors. Its loss is sum(one * f), so that the
// derivative by 'one' is the value of f. The interpreter computes it in exact f32, as all targets do.
#include "tests/unit/text_model.h"

typedef struct {
    SnSafetensors *file;
    const char *name;
    const char *axes, *value_axes, *value, *before;
    double part, whole; // the bound: of the element, of its tensor's largest
    double off;         // how much of it was used
    uint32_t faults;    // elements beyond it; the first is told
} TorchCase;

// The next line of a text, without its end.
static const char *take_line(Arena *a, const char **text) {
    size_t n = strcspn(*text, "\n");
    const char *line = arena_str(a, *text, n);
    *text += n + ((*text)[n] == '\n');
    return line;
}

static TorchCase case_read(Arena *a, SnSafetensors *file, const SnMeta *meta) {
    const char *text = meta->value;
    TorchCase c = {.file = file, .name = meta->key};
    (void)take_line(a, &text); // the functions that it covers
    c.axes = take_line(a, &text);
    if (sscanf(take_line(a, &text), "%lf %lf", &c.part, &c.whole) != 2)
        fail_msg("%s: no bounds", c.name);
    c.value_axes = take_line(a, &text);
    c.value = take_line(a, &text);
    c.before = text;
    return c;
}

// "NAME/KIND/…"
static bool is_of(const TorchCase *c, const SnTensorInfo *t, const char *kind, const char **path) {
    size_t n = strlen(c->name), m = strlen(kind);
    bool fits = strncmp(t->name, c->name, n) == 0 && t->name[n] == '/' &&
                strncmp(t->name + n + 1, kind, m) == 0 && t->name[n + 1 + m] == '/';
    *path = t->name + n + m + 2;
    return fits;
}

static void *read_values(const TorchCase *c, const SnTensorInfo *t) {
    void *to = malloc((size_t)t->bytes + 1);
    SnError err;
    assert_non_null(to);
    if (sn_st_read(c->file, t, 0, t->bytes, to, &err)) fail_msg("%s", err.text);
    return to;
}

// Every state of the model is stored, in its order of axes.
static void set_states(const TorchCase *c, TextRun *r) {
    const Module *m = r->t->program->m;
    StateId set = 0;
    for (uint32_t i = 0; i < sn_st_count(c->file); i++) {
        const SnTensorInfo *t = sn_st_at(c->file, i);
        const char *path;
        if (!is_of(c, t, "state", &path)) continue;
        Tensor *to = state_of(r, path);
        int64_t n = type_count(type_at(m, to->type));
        if ((int64_t)t->bytes != n * 4)
            fail_msg("%s: '%s' has %d elements, stored are %d", c->name, path, (int)n,
                     (int)t->bytes / 4);
        float *x = read_values(c, t);
        for (int64_t k = 0; k < n; k++) to->at[k] = (double)x[k];
        free(x);
        set++;
    }
    uint32_t params = 0;
    for (StateId s = 0; s < m->states.n; s++) params += m->states.at[s].kind == STATE_param;
    if (set != params) fail_msg("%s: %u parameters, stored are %u", c->name, params, set);
}

static void check_gradient(TorchCase *c, const TextRun *r, const SnTensorInfo *t,
                           const char *path) {
    double *want = read_values(c, t), most = 0;
    const double *got = result_of(r, arena_printf(r->t->a, "grad.%s", path));
    int64_t n = (int64_t)t->bytes / 8;
    for (int64_t i = 0; i < n; i++)
        if (isfinite((float)want[i])) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        if (isnan(want[i])) continue; // of an infinity; test_std and test_std_nan say what std has
        bool good = within(got[i], want[i], c->part, c->whole * most);
        if (!good && !c->faults++)
            print_error("%s, '%s', element %d: %.9g, torch has %.9g (bound %.2g of it, and %.2g)\n",
                        c->name, path, (int)i, got[i], want[i], c->part, c->whole * most);
        double bound = c->part * fabs(want[i]) + c->whole * most;
        if (isfinite((float)want[i]) && bound > 0)
            c->off = fmax(c->off, fabs(got[i] - want[i]) / bound);
    }
    free(want);
}

static void check_case(TorchCase *c) {
    Arena *a = arena_new();
    TestModel *t =
        compile(arena_printf(a,
                             "axis %s, batch\nmodel m(z: real[batch]) {\n%sparam one[%s] ~ 1\n"
                             "loss = sum[%s](one * %s) + 0 * sum[batch](z)\n}\n" PLAN
                             " optimizer sgd\n lr constant(1)\n}\n",
                             c->axes, c->before, c->value_axes, c->value_axes, c->value));
    TextRun r;
    start(&r, t, INTERP_EXACT);
    set_states(c, &r);
    run_step(&r, 1);
    uint32_t checked = 0;
    for (uint32_t i = 0; i < sn_st_count(c->file); i++) {
        const SnTensorInfo *info = sn_st_at(c->file, i);
        const char *path;
        if (!is_of(c, info, "grad", &path)) continue;
        check_gradient(c, &r, info, path);
        checked++;
    }
    assert_true(checked >= 2); // the value and a gradient
    model_free(t);
    arena_free(a);
}

static void test_values_of_torch(void **state) {
    (void)state;
    Arena *a = arena_new();
    SnSafetensors *file;
    SnError err;
    uint32_t cases = 0, faults = 0;
    if (sn_st_open(SOURCE_DIR "/tests/parity/std.safetensors", &file, &err))
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < sn_st_metas(file); i++) {
        const SnMeta *meta = sn_st_meta(file, i);
        if (strcmp(meta->key, "torch") == 0) continue;
        TorchCase c = case_read(a, file, meta);
        check_case(&c);
        if (c.off > 0.5) print_message("  %s: %.2f of its bound\n", c.name, c.off);
        cases++;
        faults += c.faults;
    }
    assert_int_equal(faults, 0);
    assert_true(cases >= 100);
    sn_st_close(file);
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values_of_torch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The gradients of whole models against finite differences, in double.
//
// Each model is compiled at a tiny size, taken through the passes up to tidy, and run by the
// interpreter in double: the derivative of every parameter must agree with differences of the loss
// within 1e-6 of its norm. The loss that is differenced is a copy of the step's, made before
// autodiff. The sampled tier takes every fifth element of large parameters, SINTER_LONG=1 all.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/oracle/differences.h"
#include "tests/oracle/model.h"
#include <math.h>

static double uniform(const char *name, int64_t i) { // in [0, 1)
    uint64_t h = hash_u64(hash_bytes(HASH_SEED, name, strlen(name)), (uint64_t)i);
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
    return (double)((h ^ (h >> 31)) >> 11) / 9007199254740992.0;
}

static int64_t range_of(const Module *m, const char *input) {
    const Func *f = module_find(m, "loss");
    for (NodeId n = 0; n < f->nodes.n; n++) {
        const Attr *a = attr_of(m, f, n);
        if (node_at(f, n)->op == OP_input && strcmp(sym_str(m->syms, a->input.name), input) == 0)
            return m->axes.at[a->input.range].size;
    }
    return 1;
}

// Indices anywhere in their axis; weights as uneven as they come, the first sample's all zero.
static bool give_input(void *user, const char *name, TypeId type, double *out) {
    const TestModel *t = user;
    const Type *ty = type_at(t->program->m, type);
    int64_t n = type_count(ty), range = range_of(t->program->m, name);
    bool weight = strcmp(name, "weight") == 0;
    for (int64_t i = 0; i < n; i++) {
        double u = uniform(name, i);
        out[i] = ty->elem == ELEM_i32 ? floor(u * (double)range) : 2 * u - 1;
        if (weight) out[i] = i < n / ty->axes[0].size ? 0 : fmax(0, u - 0.3);
        if (ty->n == 0) out[i] = 1; // step, accum
    }
    return true;
}

// Weights large enough for every part to matter; scales around 1.
static void set_states(const Module *m, Interp *in) {
    for (StateId s = 0; s < m->states.n; s++) {
        const State *st = &m->states.at[s];
        const char *path = sym_str(m->syms, st->path);
        size_t len = strlen(path);
        bool scale = len >= 5 && strcmp(path + len - 5, "scale") == 0;
        int64_t n = type_count(type_at(m, st->type));
        for (int64_t i = 0; i < n && st->kind == STATE_param; i++)
            in->states[s].at[i] = (scale ? 1 : 0) + 0.8 * (2 * uniform(path, i) - 1) * 0.6;
    }
}

typedef struct {
    const char *path, *defines;
    double h; // step of the differences, small where the model has kinks
    // Ends of paths whose derivative is exactly zero, so that rounding is all there is to compare:
    // softmax does not see a bias of the keys, nor batch norm one of what it normalises.
    const char *zero;
} Model;

// relu and pooling of convnet and fashion have kinks, which a small step rarely meets.
static const Model models[] = {
    {"models/mlp.sn", "vocab=11 dim=3 n=3 hidden=7 size.batch=4 size.seq=5 micro.batch=2", 1e-3,
     NULL},
    {"models/gpt2.sn", "layer=2 dim=8 head=2 vocab=11 ctx=6 size.batch=2 size.seq=5 micro.batch=1",
     1e-3, ".attn.bk"},
    {"models/llama.sn",
     "layer=2 dim=8 kv=2 group=2 ff=10 vocab=11 size.batch=2 size.seq=5 micro.batch=1", 1e-3, NULL},
    {"models/bytes.sn", "layer=2 dim=8 head=2 vocab=11 size.batch=2 size.seq=5 micro.batch=1", 1e-3,
     NULL},
    {"models/vit.sn",
     "row=4 col=6 py=2 px=2 class=3 dim=6 head=2 layer=2 size.batch=2 micro.batch=1", 1e-3, NULL},
    {"models/convnet.sn", "r0=4 c0=4 f1=2 f2=3 class=3 hidden=5 size.batch=3", 1e-5, ".b"},
    {"models/fashion.sn", "row=4 col=4 f1=2 f2=3 class=3 hidden=5 white=1 size.batch=3", 1e-5,
     ".b"},
    {"tests/models/weighted.sn", "vocab=7 dim=6 hidden=9 size.batch=3 size.seq=4 micro.batch=1",
     1e-3, NULL},
    {"tests/models/layers.sn", "", 1e-3, NULL},
    {"tests/models/forms.sn", "", 1e-3, NULL},
};
enum { MODELS = sizeof models / sizeof *models };

static bool is_zero(const Model *model, const char *path) {
    size_t n = strlen(path), z = model->zero ? strlen(model->zero) : 0;
    bool dense = strncmp(path, "fc_", 3) == 0; // of convnet: biases that count
    return z && n > z && strcmp(path + n - z, model->zero) == 0 && !dense;
}

static void check_param(TestModel *t, const Model *model, Interp *in, StateId s, const double *got,
                        double whole, double *worst) {
    const Module *m = t->program->m;
    const char *name = model->path;
    const char *path = sym_str(m->syms, m->states.at[s].path);
    int64_t n = type_count(type_at(m, m->states.at[s].type));
    int64_t every = getenv("SINTER_LONG") || n < 50 ? 1 : 5;
    double *want = NEW_ARRAY(t->a, double, n);
    Text why = {.arena = t->a};
    if (!differences(in, module_find(m, "loss"), s, model->h, 0, every, want, &why))
        fail_msg("%s: %s", name, why.at);
    double off = distance_of(got, want, n, 0, every), norm = norm_of(want, n, 0, every);
    if (is_zero(model, path)) {
        if (!(off <= 1e-9 * whole)) fail_msg("%s: '%s' has a derivative, %.3g", name, path, off);
        return;
    }
    if (!(norm > 1e-4 * whole)) fail_msg("%s: '%s' is not moved by anything", name, path);
    *worst = fmax(*worst, off / norm);
    if (!(off <= 1e-6 * norm))
        fail_msg("%s: derivative by '%s' is off by %.3g of %.3g; element 0 is %.12g, differences "
                 "say %.12g",
                 name, path, off, norm, got[0], want[0]);
}

static const Tensor *gradient_of(const TestModel *t, const Tensor *results, const char *path) {
    const Module *m = t->program->m;
    const Func *f = module_find(m, "step");
    for (uint32_t i = 0; i < f->results.n; i++) {
        const char *name = sym_str(m->syms, f->results.at[i].name);
        if (strncmp(name, "grad.", 5) == 0 && strcmp(name + 5, path) == 0) return &results[i];
    }
    return NULL;
}

static void check_model(void **state) {
    const Model *model = *state;
    const char *path = model->path;
    TestModel *t = model_compile(path, model->defines);
    assert_non_null(t);
    Module *m = t->program->m;
    model_keep_gradients(t);
    loss_function(m, module_find(m, "step"), "loss");
    assert_true(model_passes(t, "tidy"));
    Interp in;
    Text why = {.arena = t->a};
    interp_init(&in, m, INTERP_F64, t->a);
    in.input = give_input;
    in.user = t;
    set_states(m, &in);
    const Func *step = module_find(m, "step");
    Tensor *results = NEW_ARRAY(t->a, Tensor, step->results.n + 1);
    if (!interp_run(&in, step, results, NULL, &why)) fail_msg("%s: %s", path, why.at);
    for (StateId s = 0; s < m->states.n; s++) // the step has moved them
        memset(in.states[s].at, 0,
               sizeof(double) * (size_t)type_count(type_at(m, m->states.at[s].type)));
    set_states(m, &in);
    double whole = 0, worst = 0;
    uint32_t params = 0;
    for (uint32_t i = 0; i < step->results.n; i++)
        if (strncmp(sym_str(m->syms, step->results.at[i].name), "grad.", 5) == 0)
            whole =
                hypot(whole, norm_of(results[i].at, type_count(type_at(m, results[i].type)), 0, 1));
    for (StateId s = 0; s < m->states.n; s++) {
        if (m->states.at[s].kind != STATE_param) continue;
        const char *name = sym_str(m->syms, m->states.at[s].path);
        const Tensor *g = gradient_of(t, results, name);
        if (!g) fail_msg("%s: '%s' has no derivative", path, name);
        assert_int_equal(g->type, m->states.at[s].type);
        check_param(t, model, &in, s, g->at, whole, &worst);
        params++;
    }
    print_message("  %s: %u parameters, off by %.1e of their norm at most\n", path, params, worst);
    assert_true(params > 4);
    model_free(t);
}

static void test_every_model_is_here(void **state) {
    (void)state;
    DIR *d = opendir(SOURCE_DIR "/models");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 3, ".sn") != 0) continue;
        bool found = false;
        for (int i = 0; i < MODELS; i++)
            found |= strcmp(models[i].path + strlen("models/"), e->d_name) == 0;
        if (!found) fail_msg("models/%s has no row", e->d_name);
    }
    closedir(d);
}

int main(void) {
    struct CMUnitTest tests[MODELS + 1] = {cmocka_unit_test(test_every_model_is_here)};
    for (int i = 0; i < MODELS; i++)
        tests[i + 1] = (struct CMUnitTest){models[i].path, check_model, NULL, NULL,
                                           (void *)(uintptr_t)&models[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

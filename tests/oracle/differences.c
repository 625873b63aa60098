// See differences.h.
//
//   f'(x) = (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h + O(h^4)
//
// With h near 1e-3 and losses near 1, truncation and rounding both stay near 1e-12.
#include "tests/oracle/differences.h"
#include "ir/build.h"
#include <math.h>

Func *loss_function(Module *m, const Func *f, const char *name) {
    Func *to = func_new(m, name, NULL);
    Builder b = {.m = m, .f = to};
    uint8_t *need = NEW_ARRAY(m->arena, uint8_t, f->nodes.n + 1);
    NodeId *map = NEW_ARRAY(m->arena, NodeId, f->nodes.n + 1);
    Result loss = f->results.at[0];
    need[loss.node] = 1;
    for (NodeId n = loss.node + 1; n-- > 0;)
        for (uint32_t i = 0; need[n] && i < node_at(f, n)->n; i++) need[operand(f, n, i)] = 1;
    for (NodeId n = 0; n <= loss.node; n++) map[n] = need[n] ? copy_node(&b, f, n, map) : NONE;
    loss.node = map[loss.node];
    vec_push(m->arena, &to->results, loss);
    return to;
}

bool differences(Interp *in, const Func *f, StateId s, double h, int64_t from, int64_t every,
                 double *out, Text *why) {
    static const double steps[4] = {1, -1, 2, -2}, weights[4] = {8, -8, -1, 1};
    Tensor result = {0};
    int64_t n = type_count(type_at(in->m, in->m->states.at[s].type));
    for (int64_t i = from; i < n; i += every) {
        double *x = &in->states[s].at[i], x0 = *x, sum = 0;
        for (int k = 0; k < 4; k++) {
            *x = x0 + steps[k] * h;
            if (!interp_run(in, f, &result, NULL, why)) return false;
            sum += weights[k] * result.at[0];
        }
        *x = x0;
        out[i] = sum / (12 * h);
    }
    return true;
}

double distance_of(const double *x, const double *y, int64_t n, int64_t from, int64_t every) {
    double sum = 0;
    for (int64_t i = from; i < n; i += every) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum); // NaN where either has one
}

double norm_of(const double *x, int64_t n, int64_t from, int64_t every) {
    double sum = 0;
    for (int64_t i = from; i < n; i += every) sum += x[i] * x[i];
    return sqrt(sum);
}

// Derivatives by finite differences, in double: what gradients are compared with.
#pragma once
#include "ir/interp.h"

// A new function `name` that computes result 0 of f and nothing else: no gradients, no assigns.
// Before autodiff, so that it shares nothing with what is tested.
Func *loss_function(Module *m, const Func *f, const char *name);

// d(result 0 of f) / d(elements from, from + every, … of state s), by four points: error O(h^4).
// Other elements of out are left alone. False with the reason in *why.
bool differences(Interp *in, const Func *f, StateId s, double h, int64_t from, int64_t every,
                 double *out, Text *why);

// || x - y || and || x || over elements from, from + every, …
double distance_of(const double *x, const double *y, int64_t n, int64_t from, int64_t every);
double norm_of(const double *x, int64_t n, int64_t from, int64_t every);

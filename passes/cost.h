// How long a kernel takes at least, for what passes decide by time. The ledger says what follows from it.
#pragma once
#include "passes/pass.h"

double cost_flops(const Module *m, const Func *f, NodeId n); // of products, in a group's body too
// Seconds of a group on one unit of the target at its nominal rates: it moves its operands and results, and computes
// meanwhile. 0 of what is no group.
double cost_seconds(const Module *m, const Func *f, NodeId n, const Target *t);

// Simplify, cse and dce once more, over what autodiff wrote: the chain rule is applied without
// looking left or right, so products with one, repeated factors and unread derivatives are normal
// there.
#include "passes/pass.h"

enum { MAX_ROUNDS = 8 }; // each round shortens the function; two are usual

bool pass_tidy(PassCx *cx) {
    bool changed = false;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        bool now = pass_simplify(cx);
        now |= pass_cse(cx);
        now |= pass_dce(cx);
        changed |= now;
        if (!now) break;
    }
    return changed;
}

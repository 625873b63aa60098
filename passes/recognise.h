// Attention, found and not yet formed, for a pass that comes before.
#pragma once
#include "passes/pass.h"

// By node of a function that has no groups: 1 is a value for each row and key of an attention, which nothing
// but the attention reads, so that it need not be stored. It depends on neither target nor options.
const uint8_t *attention_tiles(PassCx *cx, Func *f);

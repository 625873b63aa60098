// The table of instruction forms (ops.def) and how the text of an opcode meets it.
#pragma once
#include "runtime/emulator/engine/ops.h"

typedef struct {
    OpFn *fn;
    const char *signature; // see ops.def
    uint32_t sm;           // first target that has it
    uint32_t aux;          // comparison, combination and rounding, as ops.h places them
    bool ftz, sat, combines;
} Form;

// The form of an opcode with so many operands (a pair d|p is one); false: there is none.
bool form_find(const char *opcode, uint32_t operands, Form *to);
// Whether the text begins with this word, which ends there or before a '.'; moves on behind it.
bool form_word(const char **text, const char *word);
// A comparison such as ".ltu"; kinds: of i, e, c as in ops.def.
bool form_compare(const char **text, char kind, uint32_t *compare);
// One of .rn .rz .rm .rp.
bool form_rounding(const char **text, uint32_t *rounding);

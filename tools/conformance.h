// What the conformance program runs: small PTX programs, one for each form of an instruction, each a
// function of a few operands that 1024 threads apply to 1024 elements.
#pragma once
#include "ir/base/str.h"
#include <stdint.h>

enum { ELEMENTS = 1024, BLOCK = 64, MAX_OPERANDS = 4, MAX_RESULTS = 3, SLOT = 8 };

// How two results are compared. NaNs equal each other: what bits they have is not promised.
typedef struct {
    double relative, absolute; // both 0: the same bits
} Bound;

typedef struct {
    const char *name; // "fma.rn.ftz.f32"
    // Types: h w l bits of 16, 32, 64; f d floats; p a predicate, 0 or 1 in memory.
    char results[MAX_RESULTS + 1], operands[MAX_OPERANDS + 1];
    Bound bound;
    uint32_t entry; // its symbol is "p<entry>"
} UnitCase;

// Cases that stand in one module: the alternatives of one form.
typedef struct {
    const char *name;
    uint32_t sm; // the first architecture that has it
    Text ptx;
    VEC(UnitCase) cases;
} Unit;
typedef struct {
    VEC(Unit) units;
    uint32_t cases;
} ConformanceSuite;

// All units: from the emulator's table of forms (runtime/emulator/engine/ops.def) and from conformance.def.
void suite_make(Arena *a, ConformanceSuite *out);

// The operand's value for element i, in SLOT bytes: edge values against each other, then random ones.
uint64_t suite_input(const UnitCase *c, uint32_t operand, uint32_t i);

// States in 8 bits: an i8 for each number and an f32, the scale, for each block of 256 in row-major order (Dettmers
// et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022, with even steps). The number is i8 * scale, the
// scale 1/127 of the block's largest magnitude. Where the plan's text shows that a state is never negative, i8 is of
// its root, from 0 to 127. Rounded by chance, so that small updates count on average; what is above 0 does not become
// 0, for a second moment is divided by.
#pragma once
#include "passes/pass.h"

enum { BLOCK = 256 };

typedef struct {
    StateId scale; // NONE: the state is as it was
    TypeId type;   // that the state had
    AxisId flat, block, lane;
    bool root;
} Blocks;

// By state: whether no function assigns it a number below 0, as far as that shows. Linear, a few times over.
uint8_t *blocks_positive(Arena *a, const Module *m);
// Makes state s, of a multiple of BLOCK f32 numbers, one of blocks, and its scale.
Blocks blocks_new(Arena *a, Module *m, StateId s, bool positive);
// What the state holds, in its old type.
NodeId blocks_read(Builder *b, const Blocks *k, StateId s);
// Assigns x. ok: NONE, or where it is false all stays. key: of the draw; chance false: to the nearest.
NodeId blocks_assign(Builder *b, const Blocks *k, StateId s, NodeId x, NodeId ok, uint64_t key,
                     bool chance);

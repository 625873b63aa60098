// Where values are on a mesh of ranks: what the places in types mean, and the rule by which a node's place
// follows from those of its operands. Private to nobody: ir/infer.c asks the rule, the interpreter of many
// ranks the coordinates, the pass shard both.
#pragma once
#include "ir/ir.h"

enum { MAX_RANKS = 1 << 20 };

// The place of a value on one mesh axis.
typedef enum { PLACE_same, PLACE_split, PLACE_sum, PLACE_max, PLACE_min } PlaceKind;
typedef struct {
    uint8_t kind; // PlaceKind
    AxisId axis;  // that is split; else 0
} MeshPlace;
MeshPlace place_on(const Type *t, uint32_t mesh);
static inline bool place_same(MeshPlace a, MeshPlace b) {
    return a.kind == b.kind && a.axis == b.axis;
}

uint32_t mesh_find(const Module *m, Sym name); // number of a mesh axis, or NONE
int64_t mesh_ranks(const Module *m);           // of all axes together; 1 without a mesh
// The coordinates of a rank: mixed radix, the first axis outermost.
void mesh_coordinates(const Module *m, uint32_t rank, uint32_t at[MAX_MESH]);
int64_t axis_ways(const Module *m, const TypeAxis *a); // into how many parts it is split
// Where the part of the rank at these coordinates begins in the whole axis.
int64_t axis_offset(const Module *m, const TypeAxis *a, const uint32_t at[MAX_MESH]);
TypeId type_whole(Module *m, TypeId t); // the value that all ranks hold together

// No mesh axis places a value twice. False with the reason in *why, which may be NULL.
bool place_check(const Module *m, const Type *t, Text *why);
// "whole", or "partial over 'data', 'tensor'".
const char *place_partial(const Module *m, Arena *a, const Type *t);
// The rule of values held in summands: *out has axes, sizes and splits as the type rule gives them, and gets
// its set of partial mesh axes. False with the reason where the ranks' results would be no summands of one.
bool place_rule(const Module *m, Op op, const Attr *attr, const Type *const *in, uint32_t n,
                Type *out, Text *why);

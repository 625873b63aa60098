// Bodies of regions: the functions that the records of nodes name, and copies of them in other sizes.
#pragma once
#include "ir/ir.h"

// Axes that have another size in a copy, and the bodies that were copied with it so far. To be used for one
// module, as long as nobody changes the bodies.
enum { MAX_RESIZED = 4 };
typedef struct {
    uint32_t n;
    AxisId axis[MAX_RESIZED];
    int64_t size[MAX_RESIZED];
    Map bodies; // body -> its copy, plus one
} Resize;

TypeId type_resized(Module *m, TypeId t, const Resize *r);
// The record with the bodies that it names resized.
AttrId attr_resized(Module *m, AttrId a, Resize *r);
// The body with other sizes: its parameters and what else has a type of its own (ops.def: FREE) get the sizes,
// all else follows by the rules. No op of it may cut a resized axis into parts of given sizes. The same id
// for the same body, and the body itself when none of its types changes.
FuncId region_instantiate(Module *m, FuncId body, Resize *r);

// Removes a function that no record names. Those behind it are one less from now on, in records too.
void module_remove(Module *m, const Func *f);

// All ranks of a mesh here, against one device; see verify.c.
#pragma once
#include "tools/driver.h"

// Reads the model, divides it as --mesh and --shard say, runs --steps of it both ways and compares every value. The exit
// code; the report goes to stdout.
int verify(Driver *d);

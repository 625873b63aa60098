// How a kernel's rows and lanes are given to threads. A function of the kernel alone: the same kernel
// has the same shape on every device.
#pragma once
#include "codegen/cuda/cuda.h"
#include "codegen/sweep.h"

typedef enum {
    CU_MAP,    // a thread takes one unit of lanes of one row
    CU_TURN,   // a block takes a tile of the lanes and one outer axis: turn.c
    CU_WARPS,  // a team of up to 32 threads folds a row
    CU_BLOCK,  // a block folds a row
    CU_WALK,   // a thread owns a unit of lanes and walks the rows of a task
    CU_STAGE,  // a block computes a tile of lanes of many rows of a task, then folds them in order
    CU_CHUNK,  // a block takes a task: warps fold its rows, then threads walk lanes
    CU_SCATTER // a block takes the rows whose index has its residue
} CuShape;

// A unit is what a thread works on at a time: `items` lanes, `step` apart. Unit u of thread t of a team
// begins at lane lo + u * width + t * (step == 1 ? items : 1).
typedef struct {
    CuShape shape;
    bool wide;            // indices need 64 bits
    uint32_t items, step; // lanes of a unit
    bool vector;          // items == 4, step == 1: 16-byte accesses where an index allows them
    uint32_t team;        // threads of a row; warps of a CU_BLOCK times 32
    uint32_t width;       // lanes of a team's units: team * items, or 128 in a CU_BLOCK
    uint32_t units;       // per thread and row (segment)
    uint32_t threads;     // per block
    int64_t blocks[2];    // grid
    int64_t rows, lanes;
    int64_t segments;       // of 4096 lanes
    uint32_t parts;         // CU_BLOCK: warps that share a segment (4, 2, 1)
    int64_t chunks, walked; // of a grid point; rows of the walk
    int64_t row_units;      // units in a row (CU_MAP, CU_WALK)
    int64_t tiles;          // CU_STAGE: of `width` lanes, in a row
    uint32_t batch;         // CU_STAGE: rows side by side
    uint32_t along, other;  // CU_TURN: axes of the tile, see turn.c
    uint32_t held;          // values a thread may keep in registers
    int64_t shared;         // bytes of shared memory (static)
    bool exact;             // every team has a row
} CuGeometry;

// False with the reason: a kernel that no shape fits.
bool cu_geometry(const Kernel *k, CuGeometry *g, Text *why);
// The load or store can be one 16-byte access (4 bytes for bools) of 4 lanes.
bool cu_vectorises(const Kernel *k, const KIndex *x, KId mask);
// Which row-level values the lanes of a CU_CHUNK kernel use directly: set[op]. Returns how many.
uint32_t cu_row_results(const Kernel *k, uint8_t *set);

// turn.c
enum { CU_TILE = 32, CU_TILE_ROWS = 8 }; // a tile's side; rows of it that a block takes at a time
// Sets g to CU_TURN where a map is better done so; it has rows and lanes. False: it is left as it is.
bool cu_turn_shape(const Kernel *k, CuGeometry *g);
int64_t cu_tiles(const Kernel *k, uint32_t axis); // in the extent
// CU_TURN: a load or store whose neighbours are along `other`.
bool cu_turns(const Kernel *k, const CuGeometry *g, uint32_t arg, const KIndex *x, KId mask);

// The engine of the emulated CUDA device: loads PTX, runs a grid of its threads on the CPU, and checks
// every access. It knows nothing of streams, graphs or cuBLASLt (driver/ and libraries/ do).
//
// A warp is 32 lanes of vectors; a block's warps take turns, each until a barrier; blocks are shared out
// over a thread pool. A device belongs to one thread at a time: nothing else may use it during a launch.
// Results depend neither on the number of threads nor on the seed unless the kernel has a race, which
// the checker reports. No global state: one EmuDevice is one device.
#pragma once
#include "runtime/core/pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- a device: its limits and its memory --------------------------------------------------------

typedef struct EmuDevice EmuDevice;
typedef struct {
    uint32_t sm;     // 80, 89, 90, 100, 120
    bool arch;       // "a" features: sm_90a, sm_100a
    bool check;      // the checker is on
    uint64_t seed;   // order of warps and blocks; any order is legal
    uint64_t memory; // bytes of device memory
    uint64_t budget; // thread instructions per launch before it is called a hang; 0: a default
} EmuConfig;

// pool: borrowed, outlives the device. NULL when memory is short.
EmuDevice *emu_device_new(const EmuConfig *config, SnPool *pool);
void emu_device_free(EmuDevice *d);

// Device memory. An address is a number that faults when the host dereferences it; emu_host gives the
// host's view of [address, address + bytes), or NULL unless all of it is in one allocation. Fresh
// memory is poisoned and, for the checker, uninitialised.
uint64_t emu_alloc(EmuDevice *d, uint64_t bytes); // 256-byte aligned; 0: out of memory
bool emu_free(EmuDevice *d, uint64_t address);    // false: no allocation starts there
uint64_t emu_free_bytes(const EmuDevice *d);
void *emu_host(EmuDevice *d, uint64_t address, uint64_t bytes);
// For what the host writes itself (copies, fills, matrix products): marks bytes as written, or as
// uninitialised again. emu_first_unwritten: offset of the first byte that was never written, or -1.
void emu_mark(EmuDevice *d, uint64_t address, uint64_t bytes, bool written);
int64_t emu_first_unwritten(const EmuDevice *d, uint64_t address, uint64_t bytes);

// ---- modules ------------------------------------------------------------------------------------

typedef struct EmuModule EmuModule;
typedef struct EmuFunction EmuFunction;
typedef enum { EMU_OK, EMU_BAD_PTX, EMU_WRONG_TARGET, EMU_NO_MEMORY } EmuStatus;
// The module's .global variables take device memory until it is freed.
// Strict: an opcode, modifier or directive that the engine does not execute exactly is an error with
// its line, never skipped. PTX of a newer target or ISA version than the device's is EMU_WRONG_TARGET.
EmuStatus emu_module_load(EmuDevice *d, const char *ptx, size_t n, EmuModule **out, char *why,
                          size_t why_size);
void emu_module_free(EmuModule *m);
// The kernel of this name, or NULL; without a name: the last one of the text.
const EmuFunction *emu_module_function(const EmuModule *m, const char *name);

typedef struct {
    const char *name;
    uint32_t params, param_bytes;    // number of parameters; size of the packed block
    const uint32_t *offset, *size;   // of each parameter in the block
    uint32_t shared_bytes;           // static
    uint32_t max_threads;            // from .maxntid / .reqntid, else 1024
    uint32_t registers, local_bytes; // 32-bit registers live at once (an upper estimate)
} EmuFunctionInfo;
EmuFunctionInfo emu_function_info(const EmuFunction *f);

// ---- launches -----------------------------------------------------------------------------------

typedef struct { // device memory that a launch may touch
    uint64_t base, bytes;
    bool reads, writes;
    const char *name; // for reports; may be NULL
    bool continues;   // one object with the range that ends here: a pointer to that one reaches it
} EmuRange;
typedef struct {
    const EmuFunction *function;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared;
    const void *params; // packed: param_bytes
    const EmuRange *ranges;
    // 0: whole allocations, for reading and writing. Else an access must lie in one range that allows
    // it. Ranges may overlap; the module's variables are added. An access by a pointer that is a
    // parameter, or was loaded from global memory, must lie in a range that begins where it points, or,
    // if none does, that it points into.
    uint32_t range_count;
    const char *kernel, *node,
        *where; // for reports: kernel name, IR op, "model.sn:12"; may be NULL
} EmuLaunch;

typedef enum {
    EMU_FAULT_none,
    EMU_FAULT_bounds,        // outside of every range (or read/write against its mode)
    EMU_FAULT_uninitialised, // global, shared or local memory read before it is written
    EMU_FAULT_misaligned,
    EMU_FAULT_shared_race, // two threads, one at least writing, no barrier between
    EMU_FAULT_global_race, // two blocks touch the same word, one at least writing, not atomically
    EMU_FAULT_divergence,  // barrier or collective that not all of the threads it names reach
    EMU_FAULT_deadlock,
    EMU_FAULT_budget,    // too many instructions
    EMU_FAULT_resources, // launch dimensions, shared memory, registers
    EMU_FAULT_trap,
    EMU_FAULT_COUNT
} EmuFaultKind;
const char *emu_fault_name(EmuFaultKind kind);

typedef struct {
    EmuFaultKind kind;
    uint32_t line; // of the PTX
    uint32_t block[3], thread[3];
    uint64_t address;
    char text[1024]; // whole message, one line: what, where, who
} EmuFault;
typedef struct {
    uint64_t instructions; // of threads: active lanes
    uint64_t warp_instructions;
    uint64_t loads, stores; // bytes of global memory asked for by active lanes
    uint32_t nan_line;      // PTX line of the first global store of a NaN as f32; 0: none
} EmuCounts;

// Two blocks may only meet in a word when both access it atomically (.volatile, .relaxed, .acquire and
// .release count): a launch has no order between blocks, so a last block that reads what others left
// is a race, too.
//
// Runs the grid to its end or to the first fault (the one with the lowest block number among those
// found). counts may be NULL. False: *fault says why; memory may be half written.
bool emu_launch(EmuDevice *d, const EmuLaunch *launch, EmuCounts *counts, EmuFault *fault);

// Who executes: a thread of the pool runs a block of threads at a time, warp by warp. A warp stops
// only between basic blocks, so its whole state is its own registers and a mask of waiting lanes for
// each basic block.
#pragma once
#include "runtime/emulator/engine/memory.h"
#include "runtime/emulator/engine/program.h"
#include "runtime/emulator/engine/ptx.h"
#include <stdatomic.h>

// Generic addresses of what is not global memory carry the space above bit 56.
#define GENERIC_TAG(space) ((uint64_t)(space) << 56)

// A copy to shared memory that was asked for and not yet waited for.
typedef struct {
    uint64_t from; // device address
    uint32_t to;   // shared
    uint32_t group;
    uint8_t lane, bytes, filled; // filled: bytes that are read, the others become zero
    uint32_t line;
} AsyncCopy;

typedef struct {
    char *own;
    uint32_t *pending; // [block_count] lanes that will run the basic block
    uint32_t number;
    uint32_t exists, live; // lanes
    uint32_t waiting;      // lanes that arrived at a barrier
    uint32_t barrier;      // its number
    uint32_t barrier_line, barrier_block;
    bool arrived;   // all its lanes wait and are counted at the barrier
    uint32_t cc;    // carry flags
    uint32_t since; // time of the last meeting of its lanes
    struct {
        AsyncCopy *at;
        uint32_t n, cap;
    } copies;
    uint32_t groups[LANES]; // committed so far
} Warp;

enum { BARRIERS = 16 };
typedef struct {
    uint32_t arrived, expected; // threads; expected 0: all that live
    uint32_t line;
    uint32_t reduce_count, reduce_true; // threads that came, and with the predicate true
} Barrier;

// What is known of a word of shared memory. Times count meetings of threads; see check.c.
typedef struct {
    uint32_t wrote, read; // when last
    uint16_t writer, reader;
    uint8_t wrote_bytes, read_bytes; // masks of the word's bytes
    uint8_t flags;                   // ShadowFlags
    uint8_t written;                 // bytes that have a value
} SharedShadow;

typedef struct { // some of the launch's ranges
    uint32_t first, count;
} RangeSpan;
// What is known of an origin (program.h) while a block runs.
typedef struct {
    uint64_t pointer; // 0: none yet
    RangeSpan span;   // where it points; empty: it is no pointer, but a number
    bool any;         // may point anywhere
} Origin;

typedef struct Launch {
    EmuDevice *d;
    const EmuLaunch *l;
    const EmuFunction *f;
    EmuRange *ranges; // sorted by base; the first one is empty, and begins at 0
    bool *racy;       // by range: some range that covers a part of it may be written
    uint32_t range_count;
    bool disjoint;
    bool check;
    uint64_t blocks;
    uint32_t threads, warps;
    uint64_t step, start; // order of blocks: (task * step + start) mod blocks
    uint32_t shared_bytes;
    uint64_t budget;
    uint64_t epoch; // of the device's race shadow
} Launch;

struct Cx {
    char *base[2]; // common, own: of the warp that runs
    uint32_t mask; // active lanes
    bool stop;     // a fault was found
    bool check;
    Warp *warp;
    const Launch *launch;
    const EmuFunction *f;
    uint64_t block;   // number
    uint64_t race_id; // of the block, in Memory.races
    uint32_t ctaid[3];
    // Memory of the block.
    uint8_t *shared;
    uint32_t shared_bytes, shared_cap;
    SharedShadow *shadow;
    uint8_t *local;   // [thread][local_bytes], then one byte per byte: written
    uint32_t time;    // counts meetings of threads: of warps, of the block
    uint32_t begin;   // when the block started
    uint32_t all_met; // when all its threads last met
    Barrier barriers[BARRIERS];
    Warp *warps;
    char *own_memory, *pending_memory; // of all warps
    uint32_t pending_cap, own_cap, common_cap, site_cap, shadow_cap, local_cap;
    uint32_t *hint; // by access site: range found last
    uint64_t limit; // thread instructions before the launch's count is brought up to date
    EmuCounts counts;
    uint64_t clock_start;
    uint64_t flushed; // part of counts.instructions that is in launch->used
    uint64_t nan_block;
    EmuFault fault;
    uint64_t fault_block;
    Origin origin[MAX_ORIGINS];
};

// The device.
struct EmuDevice {
    EmuConfig config;
    SnPool *pool;
    Memory memory;
    Cx *cx; // one for each thread of the pool
    int threads;
    _Atomic uint64_t used;   // thread instructions of the launch that runs
    _Atomic uint64_t lowest; // its lowest block with a fault; UINT64_MAX: none
};

static inline void *place(const Cx *c, uint32_t r) { return c->base[r & 1] + (r & ~UINT32_C(1)); }

// exec.c
void exec_block(Cx *c, const Launch *launch, uint64_t block);
bool exec_prepare(Cx *c, const Launch *launch); // memory for its blocks; false: none left
void exec_free(Cx *c);

// ---- check.c ------------------------------------------------------------------------------------

// A fault of this lane of the warp that runs. The first fault of a block stays.
void fault_at(Cx *c, EmuFaultKind kind, uint32_t line, uint32_t lane, uint64_t address,
              const char *fmt, ...) __attribute__((format(printf, 6, 7)));

// A launch begins; a block begins.
void start_origins(Cx *c);
void start_checks(Cx *c);
// This value was loaded, and becomes an address.
void note_pointer(Cx *c, uint32_t origin, uint64_t value);

typedef enum { ACCESS_read, ACCESS_write, ACCESS_atomic } AccessKind;

// One lane's access to `bytes` bytes: where they are, or NULL after a fault. value: what is going to
// be written, or NULL.
uint8_t *access_global(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                       AccessKind how);
uint8_t *access_shared(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                       AccessKind how, const void *value);
uint8_t *access_local(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                      AccessKind how);
uint8_t *access_constant(Cx *c, const Insn *i, uint32_t lane, uint64_t address, uint32_t bytes,
                         StateSpace space);
// All of a warp's consecutive bytes at once; NULL: something is wrong, so look lane by lane.
uint8_t *span_global(Cx *c, const Insn *i, uint64_t address, uint32_t bytes, AccessKind how);
// Whether the bytes of a shared access are all there and nobody else's; reports. For addresses that
// are known to be aligned and in range.
bool touch_shared(Cx *c, const Insn *i, uint32_t lane, uint32_t address, uint32_t bytes,
                  AccessKind how, const void *value);
// The same for reads of all lanes.
bool touch_shared_reads(Cx *c, const Insn *i, const uint64_t address[LANES], uint32_t bytes);

// A decoded kernel: basic blocks of instructions whose operands are places in a warp's registers.
//
// A register is 32 lanes side by side: 128 bytes for up to 32 bits, 256 bytes for 64 bits; a predicate
// is one word with a bit per lane. There are no types: instructions give bits their meaning. Registers
// of 8 and 16 bits hold their value zero-extended in 32.
//
// A place is a byte offset, a multiple of 4, with bit 0 set when it is the warp's own. The others are
// shared by all warps that one thread runs: constants, and registers that live within a basic block
// (a warp only ever stops between blocks).
//
//   common:  constants | what a block of threads has in common (%ctaid, ...) | short-lived registers
//   own:     %tid, ... | registers that live across blocks
#pragma once
#include "runtime/emulator/engine/load.h"

enum { LANES = 32, MAX_PLACES = 20 };
#define ALL_LANES UINT32_MAX

typedef struct Cx Cx; // exec.h: who executes
typedef struct Insn Insn;
typedef void OpFn(Cx *c, const Insn *i);

struct Insn {
    OpFn *fn;
    OpFn *inner; // of a wrapper
    uint32_t line;
    uint32_t guard; // place of the predicate; valid when guarded
    bool guarded, guard_not;
    bool blend;          // writes all lanes: inactive lanes of its results are to be put back
    uint8_t dsts, srcs;  // places r[0 .. dsts) are results, then the sources
    uint8_t preds, wide; // bits by result: is a predicate, is 64 bits
    uint8_t space, bytes, lanes, flags; // memory: Space, of an element, elements, MemFlags
    uint8_t pointer; // load: 1 + the first origin of its results (origin_param); 0: none
    uint32_t aux;    // meaning depends on fn
    uint32_t site;   // memory: number among the kernel's accesses
    int64_t offset;  // memory: added to the address
    uint32_t r[MAX_PLACES];
};

typedef enum {
    MEM_strong = 1,    // .relaxed, .acquire, .release, .volatile: may meet others of other blocks
    MEM_float = 2,     // stores what is known to be f32
    MEM_signed = 4,    // a load that extends the sign
    MEM_narrow = 8,    // 32-bit address
    MEM_address64 = 16 // destination registers have 64 bits
} MemFlags;

typedef enum {
    END_fall,    // goes on with the next block
    END_branch,  // to target where the guard holds
    END_index,   // brx.idx: to targets[r]
    END_exit,    // the guarded lanes are done
    END_barrier, // waits, then goes on with the next block
    END_trap
} EndKind;

typedef enum { BARRIER_sync, BARRIER_arrive, BARRIER_popc, BARRIER_and, BARRIER_or } BarrierOp;

typedef struct {
    uint32_t first, count; // instructions
    uint32_t ptx;          // instructions of the text, for counting
    uint32_t line;         // of the end
    uint8_t end;           // EndKind
    bool guarded, guard_not;
    uint32_t guard;
    uint32_t target;            // branch
    uint32_t index;             // brx: place
    uint32_t target_count;      // brx
    const uint32_t *targets;    // brx
    uint8_t barrier;            // BarrierOp
    bool aligned;               // barrier: all lanes of the warp come together
    bool counted;               // barrier: has a thread count
    uint32_t barrier_id;        // place
    uint32_t barrier_threads;   // place
    uint32_t result, predicate; // barrier with a reduction
    bool meets;                 // its lanes begin by meeting those of the mask `members`
    uint32_t members;
} BasicBlock;

// Where a pointer comes from. The last number stands for all that is not known.
enum { MAX_ORIGINS = 64, ORIGIN_ANY = MAX_ORIGINS - 1, ORIGIN_LOADED = -1 };

// Special registers with a place; the others are instructions.
typedef enum {
#define SPECIAL(id, name, own) SPECIAL_##id,
#include "runtime/emulator/engine/special.def"
#undef SPECIAL
    SPECIAL_COUNT
} Special;

typedef struct EmuGlobal { // a .global variable
    const char *name;
    uint64_t address, bytes;
} EmuGlobal;

struct EmuFunction {
    const char *name;
    const EmuModule *module;
    const struct EmuFunction *next;
    Insn *insns;
    BasicBlock *blocks;
    uint32_t block_count, insn_count, sites;
    const char *common; // [common_init]: constants, to be copied to the front of `common`
    uint32_t common_init, common_bytes, own_bytes;
    uint32_t own_special; // the part of own that holds special registers: not to be poisoned
    uint32_t special[SPECIAL_COUNT]; // places; UINT32_MAX: not used
    uint32_t params, param_bytes;
    const uint32_t *offset, *size;
    uint32_t origin_count;
    int64_t *origin_param; // [origin_count] offset of a parameter; ORIGIN_LOADED: from memory
    uint64_t *origins;     // [sites] of the address: a set, one bit each
    bool loads_pointers;
    uint32_t shared_bytes, dynamic_start, local_bytes, registers;
    uint32_t maxntid[3], reqntid[3]; // 0: not given
};

struct EmuModule {
    EmuDevice *device;
    EmuArena arena;
    const EmuFunction *functions;
    const EmuGlobal *globals;
    uint32_t global_count;
    const uint8_t *constants; // .const variables
    uint64_t constant_bytes;
};

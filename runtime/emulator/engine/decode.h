// Turning a kernel's text into a program: what decode.c (control flow, operands) and decode_mem.c
// (loads, stores, conversions: opcodes with many modifiers) share.
#pragma once
#include "runtime/emulator/engine/forms.h"
#include "runtime/emulator/engine/ptx.h"

typedef uint32_t VReg; // number of a register of the expanded kernel
#define NO_VREG UINT32_MAX

typedef struct {
    uint8_t class; // RegClass
    bool constant; // value
    bool special;  // number in value
    bool lasting;  // lives across basic blocks
    bool seen, is_f32;
    bool temp;      // made by the decoder, for one statement
    bool dynamic;   // constant: behind the static shared memory
    bool symbol;    // constant: the address of a .global variable
    uint32_t block; // that it was seen in
    uint32_t last;  // position of its last use
    uint32_t place;
    uint64_t value;
} Register;

// A function being expanded: the kernel, or a device function at one of its calls.
typedef struct Instance {
    const PtxFunc *func;
    VReg first_reg;
    const uint64_t *formals; // addresses of results and parameters in local memory
    uint64_t *vars;          // addresses of its variables
    bool *has_address;
    bool *is_target;    // by statement: a label is there
    uint32_t *block_of; // by statement that is a target
    struct Instance *caller;
    uint32_t depth;
} Instance;

typedef struct {
    uint32_t block, statement;
    uint32_t index; // of brx: which target; UINT32_MAX: the branch
} Fixup;

typedef struct {
    Load *l;
    const PtxModule *m;
    EmuFunction *f;
    struct {
        Insn *at;
        uint32_t n, cap;
    } insns;
    struct {
        BasicBlock *at;
        uint32_t n, cap;
    } blocks;
    struct {
        Register *at;
        uint32_t n, cap;
    } regs;
    struct {
        Fixup *at;
        uint32_t n, cap;
    } fixups;
    VReg *constants; // hash table of registers, cap a power of two
    uint32_t constant_count, constant_cap;
    VReg specials[SPECIAL_COUNT];
    uint64_t *shared_address; // by number of a module variable
    bool *shared_placed;
    uint64_t shared_bytes, local_bytes;
    uint32_t dynamic_align;
    struct {
        const char *opcode; // interned: equal spelling is an equal pointer
        uint32_t operands;
        Form form;
    } recent[64];  // forms found, by a hash of the pointer
    uint32_t line; // of the statement
    const char *opcode;
    uint32_t ptx; // instructions of the text in the block so far
} Decoder;

_Noreturn void lower_error(const Decoder *lo, const char *what);
Insn *lower_emit(Decoder *lo, OpFn *fn); // results and sources follow by:
void lower_result(Decoder *lo, VReg v);
void lower_source(Decoder *lo, VReg v);
VReg lower_temp(Decoder *lo, RegClass class);
VReg lower_constant(Decoder *lo, RegClass class, uint64_t value);
RegClass lower_class(const Decoder *lo, VReg v);
// Operands. kind as in signatures (ops.def): checked against the register's class.
VReg lower_read(Decoder *lo, const Instance *in, const PtxOperand *o, char kind);
VReg lower_write(Decoder *lo, const Instance *in, const PtxOperand *o, char kind);
// A register of any class from `least` on.
VReg lower_read_any(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass least, bool f32);
VReg lower_write_any(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass least);
// The address of a variable in its space.
uint64_t lower_address(Decoder *lo, const Instance *in, const PtxVar *v, StateSpace *space);
// The same, as a register: dynamic shared memory has its address only at the end.
VReg lower_symbol(Decoder *lo, const Instance *in, const PtxOperand *o, RegClass class,
                  StateSpace *space);
void lower_need_sm(const Decoder *lo, uint32_t sm);

// decode_mem.c. False: it is none of these opcodes.
bool lower_memory(Decoder *lo, const Instance *in, const PtxStmt *s);
bool lower_convert(Decoder *lo, const Instance *in, const PtxStmt *s);

// decode_matrix.c, likewise.
bool lower_matrix(Decoder *lo, const Instance *in, const PtxStmt *s);

// pressure.c: 32-bit registers of a thread that live across blocks and at once in each block.
void find_pressure(Decoder *lo, uint32_t *by_block);

// provenance.c: numbers the accesses and finds the origins of their addresses.
void find_provenance(Decoder *lo);

// places.c: gives registers their places and fills the sizes of the function.
void place_registers(Decoder *lo);

// decode.c
EmuFunction *decode_entry(Load *l, const PtxModule *m, PtxFunc *entry);

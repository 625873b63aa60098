// The text of a module as data: what ptx_parse.c reads and decode.c turns into a program.
//
// Names are resolved while parsing: registers to numbers, variables to PtxVar, labels to statement
// numbers. Opcodes stay text; decode.c looks them up in the table of instruction forms.
#pragma once
#include "runtime/emulator/engine/load.h"

typedef enum { CLASS_pred, CLASS_8, CLASS_16, CLASS_32, CLASS_64, CLASS_128 } RegClass;

typedef enum {
    SPACE_generic,
    SPACE_param,
    SPACE_global,
    SPACE_shared,
    SPACE_local,
    SPACE_const,
    SPACE_COUNT
} StateSpace;

typedef struct PtxVar {
    const char *name;
    uint8_t space;   // Space
    bool dynamic;    // extern shared: starts after the static shared memory
    bool formal;     // parameter or result of a .func
    bool entry;      // parameter of an .entry
    bool module;     // declared outside of functions
    uint32_t number; // formal: its place in the list; else among the function's variables
    uint32_t align, line;
    uint64_t bytes;
    uint8_t *init;    // [bytes], or NULL
    uint64_t address; // module and entry variables: in their space
} PtxVar;

typedef struct PtxFunc PtxFunc;
typedef enum {
    OPERAND_reg,
    OPERAND_int,     // value
    OPERAND_float,   // value holds the bits of a double
    OPERAND_f32,     // value holds the bits of a float
    OPERAND_symbol,  // var + value
    OPERAND_special, // a name with %, perhaps with .x
    OPERAND_sink,    // _
    OPERAND_vector,  // list[count]
    OPERAND_address, // [reg or var or nothing, + value]
    OPERAND_label,   // label: a statement number
    OPERAND_targets, // list[count] of labels
    OPERAND_func,    // func
    OPERAND_list     // ( list[count] ): arguments of a call
} OperandKind;

typedef struct PtxOperand {
    uint8_t kind; // OperandKind
    bool negated; // !p
    bool has_reg; // address: base is reg
    uint32_t reg, label, count;
    int64_t value;
    const PtxVar *var;
    PtxFunc *func;
    const char *name;
    struct PtxOperand *list; // count items
    struct PtxOperand *pair; // d|p: the p
} PtxOperand;

typedef struct {
    const char *opcode; // with all modifiers; NULL: the end of the function
    uint32_t line;
    uint32_t guard; // register + 1; 0: none
    bool guard_not;
    uint32_t count;
    PtxOperand *operands;
} PtxStmt;

struct PtxFunc {
    const char *name;
    bool entry, defined, busy; // busy: being expanded (a second time means recursion)
    uint32_t line;
    struct {
        PtxVar **at;
        uint32_t n, cap;
    } params, results, vars;
    struct {
        PtxStmt *at;
        uint32_t n, cap;
    } stmts;
    struct {
        uint8_t *at; // RegClass by register
        uint32_t n, cap;
    } regs;
    uint32_t maxntid[3], reqntid[3]; // 0: not given
    PtxFunc *next;
};

typedef struct {
    uint32_t version; // 90: 9.0
    uint32_t sm;
    PtxFunc *funcs; // in order of the text
    struct {
        PtxVar **at;
        uint32_t n, cap;
    } vars; // of the module
} PtxModule;

// ---- ptx_lex.c ----------------------------------------------------------------------------------

typedef enum {
    TOK_end,
    TOK_name,   // also %r1 and $L
    TOK_dot,    // .word, with ::
    TOK_int,    // value
    TOK_float,  // bits of a double in value
    TOK_f32,    // bits of a float in value
    TOK_string, // "..."
    TOK_punct   // one character, in punct
} TokKind;
typedef struct {
    TokKind kind;
    char punct;
    const char *at; // in the text
    uint32_t n;
    uint32_t line;
    uint64_t value;
} Tok;
typedef struct {
    const char *at, *end;
    uint32_t line;
} Lexer;
// The next token. A byte that starts none is an error.
Tok ptx_next(Load *l, Lexer *x);

// ---- ptx_parse.c --------------------------------------------------------------------------------

PtxModule *ptx_parse(Load *l, const char *text, size_t n);

// Names while parsing: a hash table of spellings, each with the stack of what it means now. A scope
// remembers what it declared and takes it back when it ends.
#pragma once
#include "runtime/emulator/engine/ptx.h"

typedef enum {
    DECL_reg,    // number
    DECL_range,  // %r<23>: number is the first, count how many
    DECL_var,    // var
    DECL_func,   // func
    DECL_label,  // number: a statement
    DECL_targets // targets
} DeclKind;

typedef struct PtxName PtxName;
typedef struct PtxDecl {
    uint8_t kind; // DeclKind
    uint32_t depth, number, count;
    PtxVar *var;
    PtxFunc *func;
    PtxOperand *targets;
    PtxName *name;
    struct PtxDecl *hidden; // the same spelling in an outer scope
    struct PtxDecl *before; // declared before it in any open scope
} PtxDecl;
struct PtxName {
    const char *text;
    uint32_t n;
    PtxDecl *decl;
};

typedef struct {
    struct {
        PtxName **at; // open addressing, cap a power of two
        uint32_t n, cap;
    } table;
    PtxDecl *last;
    uint32_t depth; // 0: the module
} PtxScopes;

PtxName *scope_name(Load *l, PtxScopes *s, const char *text, uint32_t n);
// Declares it in the innermost scope; twice in one scope is an error.
PtxDecl *scope_declare(Load *l, PtxScopes *s, PtxName *name, DeclKind kind, uint32_t line);
// Declares a name that nothing has, for the module, whatever scopes are open.
PtxDecl *scope_declare_module(Load *l, PtxName *name, DeclKind kind);
void scope_open(Load *l, PtxScopes *s, uint32_t line);
void scope_close(PtxScopes *s);
// The register that a name means, also as a member of a range; false: none.
bool scope_register(Load *l, PtxScopes *s, const PtxName *name, uint32_t *reg);

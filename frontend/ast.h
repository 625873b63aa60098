// The syntax tree of a model file, exactly as written: no name is resolved, no type is known.
//
// Every node carries its byte range. Nodes live in the arena given to parse_file and never change
// afterwards, so the checker may walk the same function body once per use. Lists are arrays
// (VEC), in source order. Names are interned; Sym 0 means "not written". The depth of an expression
// is at most AST_MAX_DEPTH and that of nested bodies AST_MAX_BODIES, so recursion over one tree is
// safe; the depth of calls is for the checker to bound.
#pragma once
#include "ir/base/diag.h"
#include "ir/base/str.h"

enum {
    AST_MAX_DEPTH = 256,   // levels of one expression
    AST_MAX_BODIES = 64,   // bodies in each other, a chain of 'else if' counting one each
    AST_MAX_BRACKETS = 200 // ( [ { open at once
};

// ---- axes ---------------------------------------------------------------------------------------

// An axis in brackets: 'dim', a pack '..r', or '..' alone ("and whatever else": pack, name 0).
typedef struct {
    Loc loc;
    Sym name;
    bool pack;
} Ax;
typedef VEC(Ax) AxList;

// A product of axes 'head * hdim', or the part '1' of a sum (one: no factors).
typedef struct {
    Loc loc;
    bool one, odd; // odd: another number, which is reported
    AxList factors;
} Prod;
// A sum of products; most often one product, and that of one axis.
typedef struct {
    Loc loc;
    VEC(Prod) parts;
} Sum;
typedef VEC(Sum) SumList;

// What stands in the brackets of a declared tensor: [each: in -> out], [in -> out] or [out].
typedef struct {
    Loc loc;    // with the brackets; of the name when none are written
    bool given; // brackets are written: '[]' is a scalar, nothing says nothing
    bool arrow; // '->' is written
    AxList each, in, out;
} Dims;

// ---- expressions --------------------------------------------------------------------------------

typedef enum {
    E_number,
    E_string,
    E_name,  // a or file.a
    E_call,  // f[axes](args) as name
    E_tuple, // (a, b): two or more
    E_view,  // x[…]
    E_unary,
    E_binary,
    E_contract, // a @[axes] b
    E_if        // if c then a else b
} ExprKind;

typedef enum { UN_neg, UN_not } UnaryOp;

typedef enum {
    BIN_or,
    BIN_and,
    BIN_lt,
    BIN_le,
    BIN_eq,
    BIN_ne,
    BIN_ge,
    BIN_gt,
    BIN_add,
    BIN_sub,
    BIN_mul,
    BIN_div,  // never truncates
    BIN_idiv, // '//'
    BIN_mod,
    BIN_pow
} BinaryOp;

typedef struct Expr Expr;
typedef VEC(Expr *) ExprList;

typedef struct {
    Loc loc;
    Sym name; // 0: by position
    Loc name_loc;
    Expr *value;
} CallArg;
typedef VEC(CallArg) CallArgList;

typedef enum {
    VIEW_rename,  // a -> b            from and to: one product of one axis each
    VIEW_reshape, // a -> b * c, b * c -> a, a * b -> c * d: one product each
    VIEW_cut,     // a -> b + c        'to' has two parts or more; alone in its brackets
    VIEW_join,    // b + c -> a        'from' has two parts or more; alone in its brackets
    VIEW_index    // a: i [else v]
} ViewKind;

typedef struct {
    Loc loc;
    ViewKind kind;
    Sum from, to;          // all kinds but VIEW_index
    Ax axis;               // VIEW_index
    Expr *index, *outside; // VIEW_index; outside NULL without 'else'
} AstView;
typedef VEC(AstView) ViewList;

struct Expr {
    ExprKind kind;
    Loc loc;
    uint16_t depth; // 1 for a leaf
    bool parens;    // written in ( )
    union {
        struct {
            double value;    // of the number with its unit: 70GiB is 75161927680
            int64_t integer; // when is_int
            bool is_int;     // no point and no exponent, and it fits 63 bits
            Sym text;        // as written
        } number;
        struct {
            const char *text; // without quotes, escapes resolved; holds no NUL
            uint32_t size;
        } string;
        struct {
            Sym qualifier; // 'file' of file.a, or 0
            Sym name;
        } name;
        struct {
            Sym qualifier, name;
            Loc name_loc;
            bool has_axes; // brackets are written
            bool arrow;    // [a, b -> c]: 'left' of the axes stand before '->'
            AxList axes;
            uint32_t left;
            Loc axes_loc;
            bool has_args; // ( ) is written; f[axes] alone is f[axes]()
            CallArgList args;
            Sym label; // 'as NAME'
            Loc label_loc;
            bool shared; // 'as shared NAME'
        } call;
        ExprList tuple;
        struct {
            Expr *base;
            ViewList items;
        } view;
        struct {
            UnaryOp op;
            Expr *x;
        } unary;
        struct {
            BinaryOp op;
            Expr *a, *b;
            bool outer; // 'a +[] b': over the axes of both
            Loc op_loc;
        } binary;
        struct {
            Expr *a, *b;
            AxList axes; // empty: outer product
            Loc op_loc;  // '@[axes]'
        } contract;
        struct {
            Expr *cond, *yes, *no;
        } cond;
    };
};

// ---- statements ---------------------------------------------------------------------------------

// axis NAME | axis NAME = extent | axis NAME = ..pack
typedef struct {
    Loc loc;
    Sym name;
    Loc name_loc;
    Expr *extent; // NULL: open, or a pack
    Ax pack;      // pack.pack is true for '= ..r'
} AxisDecl;
typedef VEC(AxisDecl) AxisDeclList;

// One name of a 'param' or 'state' line. In 'a[x], b[y] ~ e' both have the same 'init' node, which
// is evaluated once for the group.
typedef struct {
    Loc loc;
    Sym name;
    Loc name_loc;
    Dims dims;
    Expr *init;
} Decl;
typedef VEC(Decl) DeclList;

typedef enum {
    TARGET_name, // x
    TARGET_axes, // s[a, b]: checks the axes
    TARGET_index // y[n: t]: collects along n
} TargetKind;
typedef struct {
    Loc loc;
    TargetKind kind;
    Sym name; // "_" discards
    Loc name_loc;
    AxList axes;
    Ax axis;
    Expr *index;
} AstTarget;
typedef VEC(AstTarget) TargetList;

typedef struct Stmt Stmt;
typedef VEC(Stmt *) StmtList;

typedef enum {
    S_axis,
    S_param,
    S_state,
    S_assign, // also 'loss', 'metric', 'output' below
    S_loss,
    S_metric,
    S_output,
    S_return,
    S_repeat,
    S_if
} StmtKind;

struct Stmt {
    StmtKind kind;
    Loc loc;
    uint16_t depth; // 1 without bodies inside
    union {
        AxisDeclList axes;      // S_axis
        DeclList decls;         // S_param, S_state
        struct {                // S_assign, S_loss, S_metric, S_output
            TargetList targets; // S_loss: none or one; S_metric, S_output: one; S_assign: some
            Expr *value;
        } assign;
        Expr *result; // S_return; 'return a, b' gives a tuple
        struct {
            Sym count_name; // repeat layer
            Expr *count;    // the same as an expression: E_name or E_number
            Sym label;      // as h
            Loc label_loc;
            bool shared;
            Sym at; // at t
            Loc at_loc;
            StmtList body;
        } repeat;
        struct {
            Expr *test;
            StmtList yes, no; // 'else if' is a single S_if in 'no'
            bool has_else;
        } branch;
    };
};

// ---- the file -----------------------------------------------------------------------------------

typedef enum { FUNC_fn, FUNC_block, FUNC_model } FuncKind;

// NAME [: kind] [[dims]] [= default]
typedef struct {
    Loc loc;
    Sym name;
    Loc name_loc;
    Sym kind; // real, int, bool or an axis; 0: not written
    Loc kind_loc;
    Dims dims;
    Expr *init;
} Arg;
typedef VEC(Arg) ArgList;

typedef struct {
    FuncKind kind;
    Loc loc;
    Sym name;
    Loc name_loc;
    bool has_axes, arrow; // [a, b -> c]: 'left' of the axes stand before '->'
    AxList axes;
    uint32_t left;
    ArgList args;
    StmtList body;   // of 'fn f(x) = e': one S_return
    bool short_form; // '= e'
} AstFunc;

typedef struct {
    Loc loc;
    Sym name;
    Loc name_loc;
    Expr *value;
} Bind;
typedef VEC(Bind) BindList;

typedef struct {
    Loc loc;
    const char *path;
    Loc path_loc;
    Sym alias; // 'as NAME'
    BindList with;
} Use;

// A path pattern, components separated by points; '*' within a component stands for any text:
// h.*.attn.w*
typedef struct {
    Loc loc;
    Sym text;
} Path;
typedef VEC(Path) PathList;

// what how: which        what items: paths;    or    stage NAME { lines }
typedef struct PlanLine PlanLine;
typedef VEC(PlanLine *) PlanLineList;
struct PlanLine {
    Loc loc;
    Sym what; // "data", "size", "optimizer", …; "stage" for a stage
    Loc what_loc;
    CallArgList items; // name = value, or value with name 0
    bool has_paths;    // ':' is written
    PathList paths;
    bool is_stage;
    Sym stage;
    PlanLineList lines;
};

typedef struct {
    Loc loc;
    PathList paths;
    const char *pattern; // name in the other file
    Loc pattern_loc;
    bool has_layout;
    SumList layout;
} WeightLine;

typedef struct {
    Loc loc;
    Sym name;
    Loc name_loc;
    VEC(WeightLine) lines;
} Weights;

typedef enum { ITEM_use, ITEM_axis, ITEM_bind, ITEM_func, ITEM_train, ITEM_weights } ItemKind;

typedef struct {
    ItemKind kind;
    Loc loc;
    union {
        Use use;
        AxisDeclList axes;
        Bind bind;
        AstFunc *func;
        PlanLineList train;
        Weights weights;
    };
} Item;

typedef struct {
    uint16_t file;
    VEC(Item) items; // in source order; broken items are left out
} AstFile;

// The word for a message: "+", "fn", …
const char *ast_binary_name(BinaryOp op);
const char *ast_func_name(FuncKind kind);
const char *ast_stmt_name(StmtKind kind);
// What is written here for a word of other languages (foreign.def), or NULL.
const char *foreign_advice(const char *word);
const char *foreign_opening(const char *text, size_t n); // of words that open a statement
// Whether the two differ in capitals, '_' and an ending 'Loss' only: LayerNorm and layernorm.
bool foreign_spelling(const char *word, const char *name);
// Same tree, locations aside (and parentheses that change nothing).
bool ast_equal(const AstFile *a, const AstFile *b);

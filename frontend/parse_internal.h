// What the scanner (lexer.l), the layout of tokens (parse.c) and the grammar (parser.y) share.
//
//   bytes --lexer.l--> raw tokens --parse.c--> tokens with statement ends --parser.y--> tree
//
// Only these and format.c include this file; everyone else wants frontend/parse.h.
#pragma once
#include "frontend/parse.h"
#include "parser.tab.h"

// What the braces around a token hold; it decides how words are read.
typedef enum {
    MODE_code,
    MODE_plan,   // after ':' outside brackets words are paths
    MODE_weights // outside brackets words are paths
} LexMode;

// Kinds of raw token beyond the grammar's.
enum { RAW_NEWLINE = 1000, RAW_COMMENT };

typedef struct {
    int kind; // RAW_… or one of the grammar's
    Loc loc;
} Token;
typedef VEC(Token) TokenList;

typedef struct {
    char open;    // ( [ {
    LexMode mode; // of '{'
    bool joins;   // '[' that belongs to an operator
    Loc loc;
} Bracket;

struct Parse {
    Arena *arena;
    SymTab *syms;
    Diag *diag;
    uint16_t file;
    const char *text;
    AstFile *ast;
    void *scanner;
    TokenList *record; // every raw token goes here when not NULL

    // scanner
    uint32_t offset; // of the next byte
    bool paths;      // the next word is a path
    bool fresh;      // the next word starts a statement

    // layout of tokens
    Bracket stack[AST_MAX_BRACKETS];
    uint32_t depth;
    Bracket dropped;    // ( or [ that was open at the last '{', '}' or error
    LexMode next_brace; // mode of the next '{'
    int prev;           // kind of the token handed out last
    bool peeked;        // 'next' was read ahead
    int next;
    SN_STYPE next_value;
    Loc next_loc;
    uint32_t closes; // '}' still to be put in for braces that were never closed
    bool recovering; // a syntax error happened in this statement
    bool skip_block; // the token at fault opened a block: skip it
    bool stray;      // the last '}' closes nothing
    bool too_deep;   // reported in this statement
    bool too_many;   // brackets; reported in this statement
};

// parse.c
bool parse_text(Parse *p, Diag *d, uint16_t file);
int parse_token(SN_STYPE *value, Loc *loc, Parse *p);
bool parse_continues(int kind); // a line may not end after this token
bool parse_operator(int kind);  // an operator that may have brackets: '@[a]', '+[]'
void parse_reset_brackets(Parse *p);
Expr *parse_expr(Parse *p, Loc loc, Expr e);
Stmt *parse_stmt(Parse *p, Loc loc, Stmt s);
Expr *parse_bracket(Parse *p, Loc loc, Expr *base, ViewList items, Loc items_loc);
Expr *parse_call(Parse *p, Loc loc, Expr *name, const ViewList *items, Loc items_loc,
                 const CallArgList *args);
AstView parse_arrow(Parse *p, Loc loc, Sum from, Sum to);
DeclList parse_decl_end(Parse *p, DeclList decls);
Prod parse_one(Parse *p, Loc loc, const Expr *number);

// lexer.l
void scan_open(Parse *p, const char *text, size_t size);
int scan_raw(SN_STYPE *value, Loc *loc, Parse *p);
void scan_close(Parse *p);

/* The grammar of model files (docs/language.md), without conflicts.
 *
 * It only builds the tree of frontend/ast.h; what the tree means is for the checker. Statement ends
 * arrive as the token SEP (parse.c turns line ends into it). After an error, reading goes on at the
 * next SEP, so one run reports several errors. Terms such as 'bracket' cover both the axes of a call
 * 'sum[a](x)' and views 'x[a -> b]', which one token of look-ahead cannot tell apart; the helpers in
 * parse.c sort them out.
 */
%require "3.8"
%define api.pure full
%define api.prefix {sn_}
%define api.token.prefix {T_}
%define api.location.type {Loc}
%define parse.error custom
%define parse.lac full
%locations
%param {Parse *p}

%code requires {
#include "frontend/ast.h"
typedef struct Parse Parse;
}

%union {
    Sym sym;
    bool flag;
    Expr *expr;
    Stmt *stmt;
    Ax ax;
    AxList axes;
    Prod prod;
    Sum sum;
    SumList sums;
    AstView view;
    ViewList views;
    Dims dims;
    CallArg carg;
    CallArgList cargs;
    ExprList exprs;
    AxisDecl axis;
    AxisDeclList axis_list;
    Decl decl;
    DeclList decls;
    AstTarget target;
    TargetList targets;
    StmtList stmts;
    Arg arg;
    ArgList args;
    Bind bind;
    BindList binds;
    PathList paths;
    PlanLine *line;
    PlanLineList lines;
    FuncKind func_kind;
    BinaryOp op;
    struct {
        Sym sym;
        Loc loc;
        bool shared;
    } label;
    struct {
        bool given, arrow;
        AxList axes;
        uint32_t left;
    } fn_axes;
}

%code {
#include "frontend/parse_internal.h"
#include <stdlib.h>
#include <string.h>
// bison calls this 'yylex'; statement ends are added on the way.
static int sn_lex(SN_STYPE *value, Loc *loc, Parse *p) {
    return parse_token(value, loc, p);
}
static void sn_error(const Loc *loc, Parse *p, const char *message);

#define YYMAXDEPTH 20000
#define YYMALLOC   need_memory
#define YYFREE     free
#define YYLLOC_DEFAULT(cur, rhs, n)                                                                \
    ((cur) = (n) ? (Loc){YYRHSLOC(rhs, 1).file, YYRHSLOC(rhs, 1).start, YYRHSLOC(rhs, n).end}      \
                 : (Loc){p->file, YYRHSLOC(rhs, 0).end, YYRHSLOC(rhs, 0).end})
#define PUSH(list, x) vec_push(p->arena, &(list), x)
#define EXPR(where, ...) parse_expr(p, where, (Expr){__VA_ARGS__})
#define STMT(where, ...) parse_stmt(p, where, (Stmt){__VA_ARGS__})
#define BINARY(where, o, all, x, y, at)                                                            \
    EXPR(where, .kind = E_binary,                                                                  \
         .binary = {.op = (o), .a = (x), .b = (y), .outer = (all), .op_loc = (at)})
#define ITEM(where, k, field, value)                                                               \
    PUSH(p->ast->items, ((Item){.kind = (k), .loc = (where), .field = value}))
}

%token END 0 "end of file"
%token SEP "end of line"
%token <sym> NAME "a name" PATH "a path"
%token <expr> NUMBER "a number" STRING "a string"
%token USE "'use'" AS "'as'" WITH "'with'" AXIS "'axis'" FN "'fn'" BLOCK "'block'" MODEL "'model'"
%token TRAIN "'train'" STAGE "'stage'" WEIGHTS "'weights'" PARAM "'param'" STATE "'state'"
%token LOSS "'loss'" METRIC "'metric'" OUTPUT "'output'" RETURN "'return'" REPEAT "'repeat'"
%token SHARED "'shared'" AT "'at'" IF "'if'" THEN "'then'" ELSE "'else'"
%token AND "'and'" OR "'or'" NOT "'not'"
%token ARROW "'->'" DOTS "'..'" IDIV "'//'" LE "'<='" GE "'>='" EQ "'=='" NE "'!='"

%type <ax> ax
%type <axes> axes ax_list
%type <prod> prod
%type <sum> sum
%type <sums> layout
%type <view> item
%type <views> bracket
%type <dims> dims dims_opt dims_in
%type <expr> expr or and not cmp add mul unary pow post primary name call results extent
%type <op> cmp_op add_op mul_op
%type <flag> outer
%type <label> as label_opt at_opt
%type <carg> carg
%type <cargs> cargs carg_list items
%type <exprs> tuple
%type <axis> axis
%type <axis_list> axis_list
%type <decl> decl
%type <decls> decls
%type <target> target
%type <targets> targets
%type <stmt> stmt if
%type <stmts> body stmts func_body
%type <func_kind> func_kind
%type <fn_axes> func_axes
%type <arg> arg
%type <args> args arg_list
%type <bind> bind
%type <binds> with binds
%type <paths> paths
%type <line> line
%type <lines> lines

%%

/* --- the file --- */

file: file_item | file sep file_item ;

sep: SEP { yyerrok; } ; // an error ends with its statement

file_item
    : %empty
    | USE STRING label_opt with
        { ITEM(@$, ITEM_use, use, ((Use){.loc = @$, .path = $2->string.text, .path_loc = @2,
                                         .alias = $3.sym, .with = $4})); }
    | AXIS axis_list { ITEM(@$, ITEM_axis, axes, $2); }
    | bind { ITEM(@$, ITEM_bind, bind, $1); }
    | func
    | TRAIN '{' lines '}' { ITEM(@$, ITEM_train, train, $3); }
    | WEIGHTS NAME '{'
        { ITEM(@$, ITEM_weights, weights, ((Weights){.loc = @$, .name = $2, .name_loc = @2})); }
      weight_lines '}' { p->ast->items.at[p->ast->items.n - 1].loc = @$; }
    | error
    ;

label_opt: %empty { $$.sym = 0; } | AS NAME { $$.sym = $2, $$.loc = @2, $$.shared = false; } ;
with: %empty { $$ = (BindList){0}; } | WITH binds { $$ = $2; } ;
binds
    : bind { $$ = (BindList){0}; PUSH($$, $1); }
    | binds ',' bind { $$ = $1; PUSH($$, $3); }
    ;
bind: NAME '=' expr { $$ = (Bind){.loc = @$, .name = $1, .name_loc = @1, .value = $3}; } ;

axis_list
    : axis { $$ = (AxisDeclList){0}; PUSH($$, $1); }
    | axis_list ',' axis { $$ = $1; PUSH($$, $3); }
    ;
axis
    : NAME { $$ = (AxisDecl){.loc = @$, .name = $1, .name_loc = @1}; }
    | NAME '=' extent { $$ = (AxisDecl){.loc = @$, .name = $1, .name_loc = @1, .extent = $3}; }
    | NAME '=' DOTS NAME
        { $$ = (AxisDecl){.loc = @$, .name = $1, .name_loc = @1,
                          .pack = {.loc = (Loc){@3.file, @3.start, @4.end}, .name = $4, .pack = true}}; }
    ;
extent: expr ;

/* --- functions --- */

func
    : func_kind NAME func_axes '(' args ')' func_body
        {
            AstFunc *f = NEW(p->arena, AstFunc);
            *f = (AstFunc){.kind = $1, .loc = @$, .name = $2, .name_loc = @2, .has_axes = $3.given,
                           .arrow = $3.arrow, .axes = $3.axes, .left = $3.left, .args = $5, .body = $7};
            f->short_form = f->body.n == 1 && p->text[@7.start] == '=';
            ITEM(@$, ITEM_func, func, f);
        }
    ;
func_kind: FN { $$ = FUNC_fn; } | BLOCK { $$ = FUNC_block; } | MODEL { $$ = FUNC_model; } ;
func_axes
    : %empty { $$.given = $$.arrow = false, $$.left = 0, $$.axes = (AxList){0}; }
    | '[' axes ']' { $$.given = true, $$.arrow = false, $$.left = 0, $$.axes = $2; }
    | '[' axes ARROW axes ']'
        {
            $$.given = $$.arrow = true, $$.left = $2.n, $$.axes = $2;
            for (uint32_t i = 0; i < $4.n; i++) PUSH($$.axes, $4.at[i]);
        }
    ;
func_body
    : body
    | '=' expr
        { $$ = (StmtList){0}; PUSH($$, STMT(@2, .kind = S_return, .result = $2)); }
    ;

args: %empty { $$ = (ArgList){0}; } | arg_list ;
arg_list
    : arg { $$ = (ArgList){0}; PUSH($$, $1); }
    | arg_list ',' arg { $$ = $1; PUSH($$, $3); }
    ;
arg
    : NAME dims_opt
        { $$ = (Arg){.loc = @$, .name = $1, .name_loc = @1, .dims = $2}; }
    | NAME dims_opt '=' expr
        { $$ = (Arg){.loc = @$, .name = $1, .name_loc = @1, .dims = $2, .init = $4}; }
    | NAME ':' NAME dims_opt
        { $$ = (Arg){.loc = @$, .name = $1, .name_loc = @1, .kind = $3, .kind_loc = @3, .dims = $4}; }
    | NAME ':' NAME dims_opt '=' expr
        { $$ = (Arg){.loc = @$, .name = $1, .name_loc = @1, .kind = $3, .kind_loc = @3, .dims = $4,
                     .init = $6}; }
    ;

/* --- axes --- */

dims_opt
    : %empty { $$ = (Dims){.loc = @$}; }
    | dims
    ;
dims: '[' dims_in ']' { $$ = $2; $$.loc = @$, $$.given = true; } ;
dims_in
    : axes { $$ = (Dims){.out = $1}; }
    | axes ARROW axes { $$ = (Dims){.arrow = true, .in = $1, .out = $3}; }
    | axes ':' axes ARROW axes { $$ = (Dims){.arrow = true, .each = $1, .in = $3, .out = $5}; }
    ;
axes: %empty { $$ = (AxList){0}; } | ax_list ;
ax_list
    : ax { $$ = (AxList){0}; PUSH($$, $1); }
    | ax_list ',' ax { $$ = $1; PUSH($$, $3); }
    ;
ax  : NAME { $$ = (Ax){.loc = @$, .name = $1}; }
    | DOTS { $$ = (Ax){.loc = @$, .pack = true}; }
    | DOTS NAME { $$ = (Ax){.loc = @$, .name = $2, .pack = true}; }
    ;
prod
    : ax { $$ = (Prod){.loc = @$}; PUSH($$.factors, $1); }
    | prod '*' ax { $$ = $1; $$.loc = @$; PUSH($$.factors, $3); }
    ;
sum : prod { $$ = (Sum){.loc = @$}; PUSH($$.parts, $1); }
    | NUMBER { $$ = (Sum){.loc = @$}; PUSH($$.parts, parse_one(p, @1, $1)); }
    | sum '+' prod { $$ = $1; $$.loc = @$; PUSH($$.parts, $3); }
    | sum '+' NUMBER { $$ = $1; $$.loc = @$; PUSH($$.parts, parse_one(p, @3, $3)); }
    ;

/* --- statements --- */

body: '{' stmts '}' { $$ = $2; } ;
stmts
    : stmt { $$ = (StmtList){0}; if ($1) PUSH($$, $1); }
    | stmts sep stmt { $$ = $1; if ($3) PUSH($$, $3); }
    ;
stmt
    : %empty { $$ = NULL; }
    | AXIS axis_list { $$ = STMT(@$, .kind = S_axis, .axes = $2); }
    | PARAM decls { $$ = STMT(@$, .kind = S_param, .decls = parse_decl_end(p, $2)); }
    | STATE decls { $$ = STMT(@$, .kind = S_state, .decls = parse_decl_end(p, $2)); }
    | targets '=' expr
        { $$ = STMT(@$, .kind = S_assign, .assign = {.targets = $1, .value = $3}); }
    | LOSS '=' expr { $$ = STMT(@$, .kind = S_loss, .assign = {.value = $3}); }
    | LOSS target '=' expr
        { $$ = STMT(@$, .kind = S_loss, .assign = {.value = $4}); PUSH($$->assign.targets, $2); }
    | METRIC target '=' expr
        { $$ = STMT(@$, .kind = S_metric, .assign = {.value = $4}); PUSH($$->assign.targets, $2); }
    | OUTPUT target '=' expr
        { $$ = STMT(@$, .kind = S_output, .assign = {.value = $4}); PUSH($$->assign.targets, $2); }
    | RETURN results { $$ = STMT(@$, .kind = S_return, .result = $2); }
    | REPEAT count label_repeat at_opt body
        {
            $$ = STMT(@$, .kind = S_repeat,
                      .repeat = {.count = $<expr>2, .label = $<label>3.sym, .label_loc = $<label>3.loc,
                                 .shared = $<label>3.shared, .at = $4.sym, .at_loc = $4.loc,
                                 .body = $5});
            if ($<expr>2->kind == E_name) $$->repeat.count_name = $<expr>2->name.name;
        }
    | if
    | error { $$ = NULL; }
    ;
count
    : NAME { $<expr>$ = EXPR(@$, .kind = E_name, .name = {.name = $1}); }
    | NUMBER { $<expr>$ = $1; }
    ;
label_repeat
    : %empty { $<label>$.sym = 0, $<label>$.shared = false, $<label>$.loc = @$; }
    | AS NAME { $<label>$.sym = $2, $<label>$.shared = false, $<label>$.loc = @2; }
    | SHARED { $<label>$.sym = 0, $<label>$.shared = true, $<label>$.loc = @1; }
    ;
at_opt: %empty { $$.sym = 0, $$.loc = @$; } | AT NAME { $$.sym = $2, $$.loc = @2; } ;
if  : IF expr body { $$ = STMT(@$, .kind = S_if, .branch = {.test = $2, .yes = $3}); }
    | IF expr body ELSE body
        { $$ = STMT(@$, .kind = S_if, .branch = {.test = $2, .yes = $3, .no = $5, .has_else = true}); }
    | IF expr body ELSE if
        {
            StmtList no = {0};
            if ($5) PUSH(no, $5);
            $$ = STMT(@$, .kind = S_if, .branch = {.test = $2, .yes = $3, .no = no, .has_else = true});
        }
    ;
results
    : tuple { $$ = $1.n == 1 ? $1.at[0] : EXPR(@$, .kind = E_tuple, .tuple = $1); }
    ;
decls
    : decl { $$ = (DeclList){0}; PUSH($$, $1); }
    | decls ',' decl { $$ = $1; PUSH($$, $3); }
    ;
decl
    : NAME dims_opt { $$ = (Decl){.loc = @$, .name = $1, .name_loc = @1, .dims = $2}; }
    | NAME dims_opt '~' expr
        { $$ = (Decl){.loc = @$, .name = $1, .name_loc = @1, .dims = $2, .init = $4}; }
    ;
targets
    : target { $$ = (TargetList){0}; PUSH($$, $1); }
    | targets ',' target { $$ = $1; PUSH($$, $3); }
    ;
target
    : NAME { $$ = (AstTarget){.loc = @$, .kind = TARGET_name, .name = $1, .name_loc = @1}; }
    | NAME '[' axes ']'
        { $$ = (AstTarget){.loc = @$, .kind = TARGET_axes, .name = $1, .name_loc = @1, .axes = $3}; }
    | NAME '[' NAME ':' expr ']'
        { $$ = (AstTarget){.loc = @$, .kind = TARGET_index, .name = $1, .name_loc = @1,
                        .axis = {.loc = @3, .name = $3}, .index = $5}; }
    ;

/* --- expressions, loosest first --- */

expr: IF expr THEN expr ELSE expr
        { $$ = EXPR(@$, .kind = E_if, .cond = {.cond = $2, .yes = $4, .no = $6}); }
    | or
    ;
or  : or OR and { $$ = BINARY(@$, BIN_or, false, $1, $3, @2); } | and ;
and : and AND not { $$ = BINARY(@$, BIN_and, false, $1, $3, @2); } | not ;
not : NOT not { $$ = EXPR(@$, .kind = E_unary, .unary = {.op = UN_not, .x = $2}); } | cmp ;
cmp : add cmp_op outer add { $$ = BINARY(@$, $2, $3, $1, $4, @2); } | add ;
add : add add_op outer mul { $$ = BINARY(@$, $2, $3, $1, $4, @2); } | mul ;
mul : mul mul_op outer unary { $$ = BINARY(@$, $2, $3, $1, $4, @2); }
    | mul '@' '[' axes ']' unary
        {
            Loc at = {@2.file, @2.start, @5.end};
            $$ = EXPR(@$, .kind = E_contract, .contract = {.a = $1, .b = $6, .axes = $4, .op_loc = at});
        }
    | unary
    ;
unary: '-' unary { $$ = EXPR(@$, .kind = E_unary, .unary = {.op = UN_neg, .x = $2}); } | pow ;
pow : post '^' outer unary { $$ = BINARY(@$, BIN_pow, $3, $1, $4, @2); } | post ;

/* '[' never begins an expression, so after an operator it can only be this. */
outer
    : %empty { $$ = false; }
    | '[' axes ']'
        {
            $$ = true;
            if ($2.n)
                diag_error(p->diag, @$, "the brackets of an elementwise operator are empty: '[]' takes the "
                                        "axes of both sides; '@[…]' sums over axes");
        }
    ;
cmp_op: '<' { $$ = BIN_lt; } | LE { $$ = BIN_le; } | EQ { $$ = BIN_eq; } | NE { $$ = BIN_ne; }
    | GE { $$ = BIN_ge; } | '>' { $$ = BIN_gt; } ;
add_op: '+' { $$ = BIN_add; } | '-' { $$ = BIN_sub; } ;
mul_op: '*' { $$ = BIN_mul; } | '/' { $$ = BIN_div; } | IDIV { $$ = BIN_idiv; } | '%' { $$ = BIN_mod; } ;

post: name | primary ;
primary
    : NUMBER
    | STRING
    | '(' tuple ')'
        {
            if ($2.n == 1) {
                $$ = $2.at[0];
                $$->parens = true;
                $$->loc = @$;
            } else {
                $$ = EXPR(@$, .kind = E_tuple, .tuple = $2, .parens = true);
            }
        }
    | call
    | call as
        { $$ = $1; $$->loc = @$; $$->call.label = $2.sym, $$->call.label_loc = $2.loc,
          $$->call.shared = $2.shared; }
    | name '[' bracket ']'
        { $$ = parse_bracket(p, @$, $1, $3, (Loc){@2.file, @2.start, @4.end}); }
    | primary '[' bracket ']'
        { $$ = parse_bracket(p, @$, $1, $3, (Loc){@2.file, @2.start, @4.end}); }
    ;
name
    : NAME { $$ = EXPR(@$, .kind = E_name, .name = {.name = $1}); }
    | NAME '.' NAME { $$ = EXPR(@$, .kind = E_name, .name = {.qualifier = $1, .name = $3}); }
    ;
call
    : name '(' cargs ')' { $$ = parse_call(p, @$, $1, NULL, @2, &$3); }
    | name '[' bracket ']' '(' cargs ')'
        { $$ = parse_call(p, @$, $1, &$3, (Loc){@2.file, @2.start, @4.end}, &$6); }
    ;
as  : AS NAME { $$.sym = $2, $$.loc = @2, $$.shared = false; }
    | AS SHARED NAME { $$.sym = $3, $$.loc = @3, $$.shared = true; }
    ;
tuple
    : expr { $$ = (ExprList){0}; PUSH($$, $1); }
    | tuple ',' expr { $$ = $1; PUSH($$, $3); }
    ;
cargs: %empty { $$ = (CallArgList){0}; } | carg_list ;
carg_list
    : carg { $$ = (CallArgList){0}; PUSH($$, $1); }
    | carg_list ',' carg { $$ = $1; PUSH($$, $3); }
    ;
carg
    : expr { $$ = (CallArg){.loc = @$, .value = $1}; }
    | NAME '=' expr { $$ = (CallArg){.loc = @$, .name = $1, .name_loc = @1, .value = $3}; }
    ;
bracket
    : %empty { $$ = (ViewList){0}; }
    | item { $$ = (ViewList){0}; PUSH($$, $1); }
    | bracket ',' item { $$ = $1; PUSH($$, $3); }
    ;
item
    : sum { $$ = (AstView){.loc = @$, .kind = VIEW_rename, .from = $1}; }
    | sum ARROW sum { $$ = parse_arrow(p, @$, $1, $3); }
    | NAME ':' expr
        { $$ = (AstView){.loc = @$, .kind = VIEW_index, .axis = {.loc = @1, .name = $1}, .index = $3}; }
    | NAME ':' expr ELSE expr
        { $$ = (AstView){.loc = @$, .kind = VIEW_index, .axis = {.loc = @1, .name = $1}, .index = $3,
                      .outside = $5}; }
    ;

/* --- the plan and the names of other files' weights --- */

lines
    : line { $$ = (PlanLineList){0}; if ($1) PUSH($$, $1); }
    | lines sep line { $$ = $1; if ($3) PUSH($$, $3); }
    ;
line
    : %empty { $$ = NULL; }
    | NAME items
        { $$ = NEW(p->arena, PlanLine);
          *$$ = (PlanLine){.loc = @$, .what = $1, .what_loc = @1, .items = $2}; }
    | NAME items ':' paths
        { $$ = NEW(p->arena, PlanLine);
          *$$ = (PlanLine){.loc = @$, .what = $1, .what_loc = @1, .items = $2, .has_paths = true,
                           .paths = $4}; }
    | STAGE NAME '{' lines '}'
        { $$ = NEW(p->arena, PlanLine);
          *$$ = (PlanLine){.loc = @$, .what = sym(p->syms, "stage"), .what_loc = @1, .is_stage = true,
                           .stage = $2, .lines = $4}; }
    | error { $$ = NULL; }
    ;
items: cargs ;
paths
    : PATH { $$ = (PathList){0}; PUSH($$, ((Path){.loc = @1, .text = $1})); }
    | paths ',' PATH { $$ = $1; PUSH($$, ((Path){.loc = @3, .text = $3})); }
    ;

weight_lines: weight_line | weight_lines sep weight_line ;
weight_line
    : %empty
    | paths '=' STRING
        { PUSH(p->ast->items.at[p->ast->items.n - 1].weights.lines,
               ((WeightLine){.loc = @$, .paths = $1, .pattern = $3->string.text, .pattern_loc = @3})); }
    | paths '=' STRING '[' layout ']'
        { PUSH(p->ast->items.at[p->ast->items.n - 1].weights.lines,
               ((WeightLine){.loc = @$, .paths = $1, .pattern = $3->string.text, .pattern_loc = @3,
                             .has_layout = true, .layout = $5})); }
    | error
    ;
layout
    : sum { $$ = (SumList){0}; PUSH($$, $1); }
    | layout ',' sum { $$ = $1; PUSH($$, $3); }
    ;

%%

enum { MAX_NAMED = 4 }; // expected things that a message lists

typedef const char *Word; // a token as messages spell it

static bool among(Word w, const Word *list) {
    for (; *list; list++)
        if (!strcmp(w, *list)) return true;
    return false;
}

static const Word OPERATORS[] = {"'or'", "'and'", "'<'", "'<='", "'=='", "'!='", "'>='", "'>'", "'+'",
                                 "'-'",  "'*'",   "'/'", "'//'", "'%'",  "'@'",  "'^'",  NULL};
static const Word EXPRESSION[] = {"a number", "a string", "a name", "'('", "'-'", "'not'", "'if'", NULL};
static const Word STATEMENT[] = {"'use'",   "'axis'",    "'fn'",    "'block'", "'model'",  "'train'",
                                 "'stage'", "'weights'", "'param'", "'state'", "'loss'",   "'metric'",
                                 "'output'", "'return'", "'repeat'", "'if'",   "a name",   NULL};
static const Word POSTFIX[] = {"'['", "'('", "'.'", "'as'", NULL};
static const Word ENDS[] = {"'}'", "end of file", NULL};

typedef struct {
    Word at[YYNTOKENS];
    uint32_t n;
} Words;

static bool has(const Words *w, Word what) {
    for (uint32_t i = 0; i < w->n; i++)
        if (!strcmp(w->at[i], what)) return true;
    return false;
}

static void drop(Words *w, const Word *list) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (!among(w->at[i], list)) w->at[kept++] = w->at[i];
    w->n = kept;
}

// Replaces the words of a group by one that covers them all, put first.
static void group(Words *w, const Word *list, Word name) {
    drop(w, list);
    memmove(w->at + 1, w->at, sizeof *w->at * w->n++);
    w->at[0] = name;
}

// Drops what does not help the reader: operators and post-fixes when anything else may follow, the
// members of "an expression" and "a statement", ends of blocks and files beside the end of a line.
static Words sort_expected(Words w, bool at_end) {
    static const Word line_end[] = {"end of line", NULL};
    if (has(&w, "'return'") || has(&w, "'axis'") || has(&w, "'stage'")) {
        group(&w, STATEMENT, "a statement");
        drop(&w, line_end);
        drop(&w, at_end ? (const Word[]){"a statement", NULL} : ENDS);
    } else if (has(&w, "a string") && has(&w, "'('")) {
        group(&w, EXPRESSION, "an expression");
        drop(&w, (const Word[]){"'['", NULL}); // of an operator
        if (has(&w, "end of line")) drop(&w, ENDS);
        return w;
    }
    if (has(&w, "'^'") || has(&w, "'*'")) {
        Words operators = w;
        drop(&w, OPERATORS);
        drop(&w, POSTFIX);
        if (!w.n) return operators;
    } else if (has(&w, "'or'") || has(&w, "'and'")) {
        drop(&w, OPERATORS);
        drop(&w, POSTFIX);
    }
    if (has(&w, "end of line")) drop(&w, ENDS);
    return w;
}

static void put_expected(Text *t, const Words *w) {
    uint32_t n = w->n < MAX_NAMED ? w->n : MAX_NAMED;
    for (uint32_t i = 0; i < n; i++)
        text_printf(t, "%s%s", i == 0 ? "expected " : i + 1 == n ? " or " : ", ", w->at[i]);
}

static void put_found(Text *t, const Parse *p, Word found, Loc at) {
    static const Word plain[] = {"end of file", "a string", NULL};
    int size = at.end - at.start > 60 ? 60 : (int)(at.end - at.start);
    const char *s = p->text + at.start;
    bool keyword = found[0] == '\'' && s[0] >= 'a' && s[0] <= 'z';
    if (among(found, plain)) text_printf(t, "%s", found);
    else if (!strcmp(found, "end of line") && *s != ';') text_printf(t, "%s", found);
    else text_printf(t, "%s'%.*s'", keyword ? "the reserved word " : "", size, s);
}

// The word just before 'at' if it begins a statement, else an empty place.
static Loc word_before(const Parse *p, Loc at) {
    const char *letters = "abcdefghijklmnopqrstuvwxyz";
    uint32_t end = at.start;
    while (end && p->text[end - 1] == ' ') end--;
    Loc word = {at.file, end, end};
    while (word.start && strchr(letters, p->text[word.start - 1])) word.start--;
    uint32_t from = word.start;
    while (from && p->text[from - 1] == ' ') from--;
    if (from && !strchr("\n;{}", p->text[from - 1])) word.start = end;
    return word;
}

// What habits of other languages are written as here.
static void put_habits(Parse *p, Word found, Loc at, const Words *w) {
    static const Word compares[] = {"'<'", "'<='", "'=='", "'!='", "'>='", "'>'", NULL};
    static const Word adds[] = {"'+'", "'-'", "'*'", "'/'", NULL};
    Loc word = word_before(p, at);
    if (word.start == word.end && !strcmp(found, "a name")) word = at;
    const char *advice = foreign_opening(p->text + word.start, word.end - word.start);
    bool after_value = has(w, "'or'") || has(w, "'and'");
    char before = at.start ? p->text[at.start - 1] : ' ';
    if (advice)
        diag_note(p->diag, word, "%s", advice);
    else if (after_value && among(found, compares) && !has(w, found))
        diag_note(p->diag, at, "comparisons do not chain: join them by 'and'");
    else if (after_value && !strcmp(found, "'if'"))
        diag_note(p->diag, at, "write 'if c then a else b', or where(c, a, b) for data");
    else if (after_value && !strcmp(found, "'('"))
        diag_note(p->diag, at, "what a call gives is not called: axes and values stand in one call, f[axes](values)");
    else if (!strcmp(found, "'.'") && strchr("0123456789", before))
        diag_note(p->diag, at, "a number ends in a digit, as in '5.0'");
    else if (after_value && !strcmp(found, "'.'"))
        diag_note(p->diag, at, "names have no prefix: write the last part alone");
    else if (has(w, "a string") && !strcmp(found, "'['") && strchr(" (,", before))
        diag_note(p->diag, at, "several values are a tuple, (a, b); axes stand behind a name, x[a -> b]");
    else if (has(w, "'return'") && !strcmp(found, "'//'"))
        diag_note(p->diag, at, "a comment starts with '#'");
    else if (among(found, adds) && p->text[at.end] == '=')
        diag_note(p->diag, at, "write 'x = x %c …'", p->text[at.start]);
    else if (w->n == 1 && has(w, "'['"))
        diag_note(p->diag, at, "'x @[axes] w' sums products over the axes in its brackets");
    else if (!strcmp(found, "a number") && has(w, "'..'"))
        diag_note(p->diag, at, "axes have names: 'axis n = %.*s' declares one", (int)(at.end - at.start),
                  p->text + at.start);
    else if (!strcmp(found, "':'") && p->depth && p->stack[p->depth - 1].open == '[')
        diag_note(p->diag, at, "an axis is indexed by its name: x[axis: i]; a part of it by an index that walks, "
                               "x[axis: iota[part] + first]");
}

// Notes say what the plain message cannot: which bracket is open, which operator was meant.
static void put_notes(Parse *p, Word found, Loc at, const Words *w) {
    if (!strcmp(found, "'='") && has(w, "'=='"))
        diag_note(p->diag, at, "values are compared with '=='");
    if (!strcmp(found, "'as'")) diag_note(p->diag, at, "'as' names what the call just before it owns");
    put_habits(p, found, at, w);
    bool brace_found = !strcmp(found, "'{'") || !strcmp(found, "'}'");
    const Bracket *b = brace_found ? &p->dropped : p->depth ? &p->stack[p->depth - 1] : NULL;
    if (!b || !b->loc.file) return;
    bool round = b->open == '(' && has(w, "')'");
    bool square = b->open == '[' && has(w, "']'");
    bool brace = b->open == '{' && !strcmp(found, "end of file");
    uint32_t here, there, col;
    diag_position(p->diag, at, &here, &col);
    diag_position(p->diag, b->loc, &there, &col);
    if ((round || square || brace) && here != there)
        diag_note(p->diag, b->loc, "'%c' opened here is not closed", b->open);
}

static int yyreport_syntax_error(const yypcontext_t *cx, Parse *p) {
    yysymbol_kind_t kinds[YYNTOKENS];
    int n = yypcontext_expected_tokens(cx, kinds, YYNTOKENS);
    if (n < 0) return n;
    Word found = yysymbol_name(yypcontext_token(cx));
    Words all = {.n = 0};
    for (int i = 0; i < n; i++) all.at[all.n++] = yysymbol_name(kinds[i]);
    Words helpful = sort_expected(all, !strcmp(found, "end of file"));
    Loc at = *yypcontext_location(cx);
    Text t = {.arena = p->arena};
    if (!p->stray) put_expected(&t, &helpful);
    text_printf(&t, "%s", t.n ? " but found " : "unexpected ");
    put_found(&t, p, found, at);
    diag_error(p->diag, at, "%s", t.at);
    put_notes(p, found, at, &all);
    p->recovering = true;
    p->skip_block = !strcmp(found, "'{'");
    parse_reset_brackets(p);
    return 0;
}

// Only for "memory exhausted": everything else comes through yyreport_syntax_error.
static void sn_error(const Loc *loc, Parse *p, const char *message) {
    (void)message;
    diag_error(p->diag, *loc, "the file is nested too deeply here");
}

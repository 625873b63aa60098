// Elaboration: from the syntax tree to the IR in one walk. A call expands the body of what it calls
// with its axes and packs bound, so types are checked once per use, every extent is a number, and
// 'repeat' and 'if' are gone afterwards. This header is what the elab_*.c files share.
//
//   elab_scope.c   scopes, names, errors at the user's line, suggestions
//   elab_axis.c    axes, extents, packs, types as text
//   elab_value.c   numbers and tensors meeting: casts, ranges, alignment
//   elab_math.c    operators and elementwise functions
//   elab_fold.c    sum, mean, max …, contractions
//   elab_view.c    rename, split, merge, cut, join;  elab_gather.c: indexing
//   elab_random.c  draws, initial values
//   elab_expr.c    dispatch over expressions;  elab_call.c: calls;  elab_stmt.c: statements
//   elab_plan.c    the plan half and -D;  elab_precision.c: its lines about precision
//   elab_train.c   gradients, clipping, optimizers;  elab_scale.c: the loss scale
//   elab_notes.c   warnings, and what is told of each parameter
//
// An axis of the language is an AxisId of the IR: one per place of declaration and extent. An axis
// that a body declares is therefore the same in each use of equal extent (equal tables merge over
// layers), and the rule that it is new in each use is kept by forbidding it to leave:
// AxisInfo.depth.
#pragma once
#include "frontend/ast.h"
#include "frontend/frontend.h"
#include "ir/build.h"
#include "runtime/setting.h"

enum {
    MAX_LINES = 64,      // kinds of plan lines
    MAX_CALL_DEPTH = 64, // calls in each other
    MAX_ROUNDS = 20000,  // of one repeat
    MAX_WORK = 1000000,  // expressions evaluated in one function: hostile files stop here
    MAX_TUPLE = 64,      // items, and tuples in each other
    MAX_NESTING = 1000,  // expressions and bodies in each other, through calls and constants
    MAX_TERMS = 4        // of an affine index
};
#define MAX_EXTENT   2147483647.0    // indices are i32
#define MAX_ELEMENTS 1099511627776.0 // 2^40 in one value

typedef struct Elab Elab;
typedef struct Scope Scope;
typedef struct Frame Frame;

typedef enum {
    V_ERROR, // already reported: silences what follows
    V_NUM,   // exact number
    V_BOOL,  // known at build
    V_TENSOR,
    V_TUPLE, // no item: nothing
    V_STRING,
    V_FUNC // a function, as an argument: a name to call and to pass on, nothing else
} ValueKind;

// coef[i] * iota[axis[i]] + … + c
typedef struct {
    uint32_t n;
    AxisId axis[MAX_TERMS];
    int64_t coef[MAX_TERMS];
    int64_t c;
} Affine;

typedef struct Value {
    uint8_t kind;   // ValueKind
    bool is_int;    // NUM: written or computed as a whole number
    bool truth;     // BOOL
    bool has_range; // an int TENSOR whose values lie in lo..hi
    bool cast_int;  // NUM: made by int(…), so that it fills an int tensor
    bool live;      // NUM, BOOL: follows the number of samples in a step, see elab_value.c
    uint8_t tuples; // TUPLE: how deep they stand in each other
    double num;
    int64_t lo, hi;
    const Affine *affine; // an int TENSOR that is affine in iotas, or NULL
    Func *home; // TENSOR, live: the function that holds node; live NUM: NULL for the extent
    NodeId node;
    uint32_t n; // TUPLE
    const struct Value *items;
    const char *text;    // STRING; FUNC: its name
    const AstFunc *func; // FUNC; NULL: one of the language
    Loc from;            // FUNC: where it was written as an argument
} Value;

// What a name means. Values, axes, packs and functions are four name spaces.
typedef enum { NAME_value, NAME_axis, NAME_pack, NAME_func } NameSpace;
typedef enum { LAZY_done, LAZY_waiting, LAZY_running } LazyState;
typedef struct {
    Sym name;
    uint8_t space, lazy; // NameSpace; LazyState of a constant or axis of a file
    bool is_state;       // declared by 'state': a new value is kept to the next step
    Loc loc;
    Loc given; // of an argument: where its value is written, or the call
    StateId state;
    Value value; // of an axis: a live extent
    AxisId axis;
    AxisList pack;
    const AstFunc *func;
    const AxisDecl *decl; // of a lazy axis
    const Expr *expr;     // of a lazy constant
    Scope *file_scope;    // of a lazy constant or axis: where it is evaluated
} Binding;

struct Scope {
    Scope *parent;
    VEC(Binding) items;
    Map index; // of a long one: (name, space) -> item + 1
    bool is_file;
};

// A body under expansion.
struct Frame {
    Frame *up;
    const AstFunc *func;
    Loc call;       // where it was called
    Scope *scope;   // of the body
    uint32_t depth; // nesting of bodies, for axes that may not leave
    bool returned;
    Value result;
};

// What the elaborator knows of an axis beyond the module.
typedef struct {
    Loc loc; // its declaration
    Sym name;
    uint32_t depth; // of the body that declared it; 0: a file
} AxisInfo;

// The calls that lead to a place, outermost first.
typedef struct {
    uint32_t n;
    const Loc *at;
} CallPath;

typedef struct {
    StateId id;
    Loc decl;       // its declaration
    CallPath calls; // that made it in this function
    Loc use;        // of them the one in the user's text, or the declaration
    uint32_t seen;  // serial of the function that has it
    Value current;  // last value given in this function (kind V_ERROR: none)
    bool changed;
    NodeId init;      // in the function init
    uint64_t context; // of the declaration, rounds aside: parameters of one class agree in it
    Inst inst;
    const Expr *initial;
    const struct OptimizerRule *rule; // of a parameter that learns,
    const PlanLine *rate;             // and its rate
} StateInfo;

// A value gathered over the rounds of a repeat: y[n: t] = e.
typedef struct {
    Sym name;
    Loc loc;
    AxisId axis;
    Value *rounds;
    int64_t have;
} Collected;

// A round of a repeat that runs, through calls.
typedef struct Round {
    struct Round *up;
    Loc loc;      // of the number of rounds
    bool repeats; // what an earlier round declared has the same names
} Round;

// The repeat whose body runs.
typedef struct Loop {
    struct Loop *up;
    VEC(Collected) collected;
} Loop;

typedef struct {
    Sym name;
    Value value;
    Loc loc;
    uint8_t kind; // ResultKind
} Yield;

// The plan half, resolved.
typedef struct OptimizerRule {
    const PlanLine *line;
    const AstFunc *func;
    const CallArgList *options;
    Loc at;
    double rate; // times the rate of its parameters
} OptimizerRule;
typedef struct {
    Sym axis;
    double extent;
    Loc loc;
} SizeLine;
typedef struct {
    const char *name;
    const char *text;
    double value;
    bool is_number, used;
} Option;
// A setting of plan.def that the plan's text or -D gives.
typedef struct {
    const char *text; // NULL: not given
    double num;       // of a COUNT or REAL
    Loc loc;          // of the value; of -D none
} GivenSetting;
// A name that the model's text gives to what a call computes, "h.0.attn.p", and that of the call: nodes have
// the latter, "h.0.attn.softmax".
typedef struct {
    Sym given, node;
} ValueName;
typedef struct {
    VEC(SizeLine) sizes;
    Map size_at; // axis -> size + 1, the last
    VEC(OptimizerRule) optimizers;
    VEC(const PlanLine *) freezes, rates, demands;
    bool named;           // there are demands, or lines about the precision of names
    VEC(ValueName) names; // where that is so
    VEC(Precision) precisions;
    bool scale_moves; // 'loss_scale = dynamic'
    Loc scale_at;     // where that is said
    double length;    // of the first schedule that has one, as written; 0: none has
    VEC(Option) defines;
    Sym sample;
    GivenSetting set[SN_SETTINGS];
    const PlanLine *lines[MAX_LINES]; // the first of each kind, in the order of plan.def
} TrainPlan;

// How the loss is scaled before the derivatives are taken (elab_train.c).
typedef struct {
    bool moves; // else it stays at init
    double init, growth, backoff, every, hysteresis, least;
    Loc loc;
} LossScale;

// The loss scale in the step that is built.
typedef struct {
    bool on;
    LossScale plan;
    StateId steps, state, run, held; // but for the first only where the scale moves
    NodeId now;                      // the scale
} LossScaling;

// A place where the number of samples in a step had to be known at build.
typedef struct {
    Loc at, inner; // in the user's text; in that of std.sn, or the same
    const char *what;
    AxisId
        axis; // whose extent it is: it counts if a value that is needed has the axis. 0: it counts
} Settled;

// A value that the model's text gives to '_': it counts as read.
typedef struct {
    const Func *f;
    NodeId node;
} Dropped;

typedef enum { MODE_step, MODE_eval, MODE_predict, MODE_generate } RunMode;

// The initial value that is being evaluated: its draws take `type` and are fixed.
typedef struct {
    StateId state; // whose it is
    TypeId type;
    uint64_t key;
    uint32_t draws;
    const Frame *frame; // of the declaration: calls written there may be given its map
    NodeId map;         // the parameter, for its arrow alone; NONE: not asked for
} Initial;

// Where elaboration stands. Calls, rounds and initial values keep a copy, move on, and put it back.
typedef struct {
    Scope *scope; // where names are looked up
    Frame *frame;
    Loop *loop;
    Round *round;
    Initial *initial; // NULL outside of initial values
    Sym path;         // of the block being expanded: "h.3.attn"
    Sym base;         // of node names: the path and the functions expanded since
    Sym name;         // for nodes: base and the name being defined
    uint64_t context; // hash of the calls that led here, rounds aside
    uint32_t depth;   // nesting of bodies
    uint32_t share;   // > 0: states that exist already may be used again
} ElabContext;

struct Elab {
    Arena *arena;
    SymTab *syms;
    Diag *diag;
    Module *m;
    Builder *b; // of the function being built now
    Builder step_b, init_b;
    RunMode mode;
    bool training;
    Loc path_error;   // where a path was last found to exist already
    bool note_silent; // the last error was left out, so its notes are too
    bool aborted;     // the budget is spent: everything evaluates to an error
    bool optimizing;  // inside an optimizer: states are moments
    NodeId ok;        // scalar: this step may change states
    LossScaling scale;
    uint32_t work, serial, nesting;
    AxisId sample;
    int64_t sample_size; // in this function
    Value step;          // the step counter, once used in this function
    Scope *std, *file;
    ElabContext at;
    Map templates;           // (context, expression) -> serial
    Map repeats;             // (context, 'repeat', rounds, the one around it) -> repeat
    Map axis_ids;            // (declaration, extent) -> AxisId
    Map draws;               // path -> draws so far in this function
    Map reported;            // hash of errors given, so that rounds do not repeat them
    Map state_ids;           // path -> StateId + 1
    VEC(AxisInfo) axis_info; // by AxisId
    VEC(StateInfo) states;   // by StateId
    VEC(StateId) changed;    // states with a new value in this function
    VEC(Settled) settled;    // in this function
    VEC(Dropped) dropped;    // in all
    VEC(Value) losses;
    VEC(Yield) yields;
    Map yield_at; // name -> yield + 1
    AstFile *ast, *std_ast;
    const AstFunc *model;
    TrainPlan plan;
    Program *program;
};

// Moves there, and with it to the function that is built there.
static inline void stand_at(Elab *cx, ElabContext at) {
    cx->at = at;
    cx->b = at.initial ? &cx->init_b : &cx->step_b;
}

// ---- elab_scope.c -------------------------------------------------------------------------------
Scope *scope_new(Elab *cx, Scope *parent, bool is_file);
Binding *scope_find(Scope *s, Sym name, NameSpace space);  // through the parents
Binding *scope_local(Scope *s, Sym name, NameSpace space); // this one only
Binding *scope_add(Elab *cx, Scope *s, Sym name, NameSpace space, Loc loc);
// The nearest name of that space by spelling, or NULL; also NULL after very many errors.
const char *scope_suggest(Elab *cx, Scope *s, Sym name, NameSpace space);
// Whether no axis in sight has the name that a value is to get; reports.
bool value_name_free(Elab *cx, Sym name, Loc loc);
void axis_name_taken(Elab *cx, const Binding *value, Loc loc); // reports the opposite
const char *suggest_of(const char *name, const char *const *from, uint32_t n);
uint32_t edit_distance(const char *a, const char *b); // at most 8
// An error at 'at'; inside std.sn it is reported at the user's call, with a note. Gives V_ERROR.
Value elab_error(Elab *cx, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// A note after the last error; not when that was left out because it had been given before.
void elab_note(Elab *cx, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
Loc user_loc(const Elab *cx, Loc at); // at, or the user's call that led there
const char *str(const Elab *cx, Sym s);
const char *number_text(Elab *cx, double x); // "1000", "0.02": whole numbers without exponent
void enter(Elab *cx, const Expr *e);         // the nodes that follow belong to e
bool spend(Elab *cx, Loc at);                // one unit of work; false when the budget is gone
bool nest(Elab *cx, Loc at);                 // one level deeper; reports when that is too deep
Sym path_join(Elab *cx, Sym path, const char *last);

// ---- elab_axis.c --------------------------------------------------------------------------------
AxisId axis_of_site(Elab *cx, Sym name, Loc loc, int64_t extent, uint32_t depth);
int64_t extent_of(const Elab *cx, AxisId a);
const char *axis_name(const Elab *cx, AxisId a);
bool axis_resolve(Elab *cx, const Ax *ax, AxisId *out);         // reports
bool axes_resolve(Elab *cx, const AxList *from, AxisList *out); // packs spread out; reports
bool axis_declare(Elab *cx, const AxisDecl *d);
bool axis_force(Elab *cx, Binding *b);               // of a file: evaluates its extent
AxisId axis_part(Elab *cx, Loc loc, int64_t extent); // without a name: of a '1', of chunks
bool list_add(AxisList *l, AxisId a);                // false when full
TypeId type_make(Elab *cx, Elem elem, const AxisList *axes);
AxisList axes_of(const Elab *cx, const Value *v);
const char *axes_text(Elab *cx, const AxisList *l); // "[batch, seq]"
const char *type_text(Elab *cx, const Value *v);    // "real[batch, seq]"
// After an error about axes: where two of these lists have different axes of one name, notes name both
// places, since the message prints them alike.
void axes_alike(Elab *cx, const AxisList *a, const AxisList *b);
// The axis that a kind names, when it is none of real, int and bool; reports.
bool kind_resolve(Elab *cx, Loc at, Sym kind, AxisId *out);
bool value_escapes(Elab *cx, const Value *v, uint32_t depth, AxisId *which);

// ---- elab_value.c -------------------------------------------------------------------------------
Value value_error(void);
Value value_num(double x, bool is_int);
Value value_bool(bool x);
Value value_tuple(Elab *cx, const Value *items, uint32_t n);
Value value_node(Elab *cx, NodeId n); // of the function being built
Value value_ranged(Value v, double lo, double hi);
bool value_range(const Value *v, double *lo, double *hi); // false: nothing is known
Value value_real_range(Value v);                          // of a real: what f32 holds exactly
Elem fill_elem(const Elab *cx, const Value *v); // of a tensor that a number, or v itself, fills
bool value_is_whole(const Value *v);            // a number known to be whole
Value value_samples(const Elab *cx);            // the extent of the sample axis as a number
// v as the number or bool of this build; that 'what' needs it is noted for settled_check.
Value value_settle(Elab *cx, Value v, Loc at, const char *what);
void settled_add(Elab *cx, Loc at, const char *what, AxisId axis);
void settled_check(Elab *cx); // one pass must hold the batch where it was settled; reports
bool is_real(const Elab *cx, const Value *v); // of tensors and numbers
bool is_bool(const Elab *cx, const Value *v);
bool is_int(const Elab *cx, const Value *v);
Elem elem_of(const Elab *cx, const Value *v);
// A node for v in the function being built; NUM and BOOL become constants. Reports and gives NONE
// for what is no tensor, or belongs to another function and is no state.
NodeId node_of(Elab *cx, const Value *v, Elem elem, Loc at);
Value value_real(Elab *cx, Value v, Loc at); // int and number as real; bool is an error
// Rule 3. False, reported, when no operand has all axes. outer: how the form is written that takes the
// axes of all operands, for the message; "": there is none; NULL: this is it.
bool axes_align(Elab *cx, Loc at, const Value *vs, uint32_t n, const char *outer);
Value value_expand(Elab *cx, Value v, const AxisList *axes, Elem elem, Loc at);
bool axes_fit(Elab *cx, Loc at, const AxisList *l); // not too many elements; reports

// ---- elab_math.c --------------------------------------------------------------------------------
Value math_binary(Elab *cx, const Expr *e, BinaryOp op, Value a, Value b);
Value math_extent(Elab *cx, const AxisList *axes, Loc at); // the product of their extents
Value math_unary(Elab *cx, const Expr *e, UnaryOp op, Value x);
Value math_where(Elab *cx, const Expr *e, Value c, Value x, Value y);
// Elementwise functions by name: exp, sqrt, max … ; false when the name is none.
bool math_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                   Value *out);
bool math_takes_several(const char *name); // min, max, where: with [] as an outer operator has
extern const char *const math_names[];
extern const uint32_t math_name_count;

// ---- elab_fold.c --------------------------------------------------------------------------------
bool fold_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                   Value *out);
Value fold_axes(Elab *cx, Loc at, ReduceKind kind, Value x, const AxisList *axes);
bool fold_known(const char *name); // sum, mean …
Value fold_contract(Elab *cx, const Expr *e, Value a, Value b);

// ---- elab_view.c, elab_gather.c -----------------------------------------------------------------
Value view_apply(Elab *cx, const Expr *e);
Value view_slice(Elab *cx, Value x, AxisId from, AxisId to, int64_t start);
Value view_drop(Elab *cx, Value x, AxisId one); // removes an axis of extent 1: a view
Value view_stack(Elab *cx, Loc at, Value *parts, uint32_t n, AxisId to); // one along a new axis
Value gather_apply(Elab *cx, Value x, const AstView *v, AxisId axis, Value index,
                   const Value *outside);

// ---- elab_random.c ------------------------------------------------------------------------------
bool random_function(Elab *cx, const Expr *e, const char *name, const Value *args, uint32_t n,
                     Value *out);
NodeId random_uniform(Elab *cx, TypeId u32_type, uint64_t key);
NodeId random_normal(Elab *cx, TypeId u32_type, uint64_t key);
void init_state(Elab *cx, StateId s, const Expr *init, Scope *scope);
Value initial_map(Elab *cx); // in an initial value: its parameter, for the arrow alone

// ---- elab_expr.c, elab_call.c, elab_stmt.c ------------------------------------------------------
Value eval(Elab *cx, const Expr *e);
Value eval_argument(Elab *cx, const Expr *e);       // a value, or a function by its name
void if_mismatch(Elab *cx, Loc at, const Value *c); // c, which is no bool of the build; reports
bool function_named(Elab *cx, const Expr *e, Value *out); // whether e is the name of a function
Value eval_name(Elab *cx, const Expr *e, Sym qualifier, Sym name);
Value eval_member(Elab *cx, const Expr *e, Sym owner, Sym name); // owner.name: reports
Value eval_in_file(Elab *cx, const Binding *b, const Expr *e);   // of a constant or axis of a file
bool value_number(Elab *cx, const Expr *e, const char *what, const Value *v); // it is one; reports
bool eval_number(Elab *cx, const Expr *e, const char *what, double *out);     // reports
bool eval_count(Elab *cx, const Expr *e, const char *what, int64_t *out);     // whole, >= 0
Value eval_call(Elab *cx, const Expr *e);
bool builtin_known(const char *name);             // a function of the language
const char *function_suggest(Elab *cx, Sym name); // the nearest function by spelling, or NULL
// values[i] belongs to argument i, locs[i] to its place; absent ones have kind V_TUPLE and n = 0.
Value call_expand(Elab *cx, const AstFunc *f, Loc at, const AxisList *axes, bool has_axes,
                  Value *values, const Loc *locs, Sym label, bool shared);
// Written values in the order of f's arguments; reports.
bool call_place(Elab *cx, const AstFunc *f, const CallArgList *args, uint32_t first, Value *values,
                Loc *locs);
Value value_absent(void);
bool value_is_absent(const Value *v);
void exec_body(Elab *cx, const StmtList *body);
bool binding_force(Elab *cx, Binding *b); // a constant of a file
Value state_value(Elab *cx, StateId s);

// ---- elab_plan.c, elab_precision.c, elab_train.c ------------------------------------------------------------------
bool plan_read(Elab *cx, const Define *defs, uint32_t ndefs);
void plan_check_defines(Elab *cx); // those that nothing used are faults
bool plan_bind_inputs(Elab *cx);
// After all functions: the module's demands and what it recomputes. A name that selects no value of theirs is a fault.
void plan_demands(Elab *cx);
void plan_name(Elab *cx, Sym name, const Value *v); // the model's text gives v this name
void plan_options(Elab *cx);
// The value of a setting as one of its words; an own value of that name goes before. NULL: it is none; reports.
const char *plan_word(Elab *cx, const SnSetting *s, const Expr *e);
void plan_give(Elab *cx, SnSettingId id, const Expr *e); // reports
void plan_option(Elab *cx, const CallArg *a,
                 const char *line);                    // 'name = value': the setting LINE.name
void plan_precision(Elab *cx, const PlanLine *l);      // reads the line
void plan_precision_defines(Elab *cx);                 // after all lines and -D
void plan_precision_names(Elab *cx);                   // after all functions: the module's lines
bool plan_loss_scale(Elab *cx, LossScale *s);          // false: none
const Option *plan_define(Elab *cx, const char *name); // marks it used
const PlanLine *plan_line(const Elab *cx, const char *name); // the first of that name, or NULL
double plan_written(Elab *cx,
                    const char *name); // the number of its line, whatever -D says; 0: none
const char *plan_text(const Elab *cx, SnSettingId id); // given, or what holds without, or NULL
double plan_number(const Elab *cx, SnSettingId id, double otherwise);
// Whether v is a value of the row; reports at 'at'. key: what it is the value of. Numbers go to *x.
bool plan_takes(Elab *cx, const SnSetting *s, const char *key, Loc at, const Value *v, double *x);
// What -D says of a number that no line names, checked by the row; NULL: nothing.
const Option *plan_define_number(Elab *cx, const SnSetting *s, const char *key);
Value plan_constant(Elab *cx, const char *name);     // what -D says of a constant, or absent
const SizeLine *plan_size(const Elab *cx, Sym axis); // or NULL
bool path_matches(Elab *cx, Sym pattern, const char *path);
const char *rate_name(Elab *cx, const PlanLine *l); // "lr", or "lr.GROUP"
void train_finish(Elab *cx);                        // after the model's body, in MODE_step
void train_results(Elab *cx); // losses, metrics or outputs as results of the function

// ---- elab_scale.c -------------------------------------------------------------------------------
bool scale_begin(Elab *cx);               // reads the plan; false, reported: a name is taken
NodeId scale_loss(Elab *cx, NodeId loss); // what derivatives are taken of: loss itself when off
NodeId scale_inverse(Elab *cx);           // what scaled gradients are multiplied by
Value scale_step(Elab *cx);               // 'step' of an optimizer
// When all states are assigned. good: loss and norm are finite; rates: they are.
void scale_end(Elab *cx, NodeId good, NodeId rates);

// ---- elab_notes.c -------------------------------------------------------------------------------
void warn_of_plan(Elab *cx);   // after train_finish
void warn_of_inputs(Elab *cx); // after all functions
void state_notes(Elab *cx);    // for Program.notes

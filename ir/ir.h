// The intermediate representation: a module of functions over tensors with named axes.
//
// Nodes are SSA values in a dense array per function; ids index side tables and are topologically
// ordered (an operand's id is smaller than its user's). There are no pointers between nodes. Types,
// attributes and names are interned in the module, so equal means equal id.
//
//   Module ─ axes[]  states[]  types[]  attrs[]  funcs[]
//   Func   ─ nodes[] (op, type, attr, operands…)  results[] (name → node)
//
// Text form: docs/ir.md. Build nodes only through ir/build.h.
#pragma once
#include "ir/base/arena.h"
#include "ir/base/diag.h"
#include "ir/base/str.h"

typedef uint32_t NodeId, TypeId, AxisId, AttrId, StateId, FuncId, ArgId;
#define NONE UINT32_MAX // no node, type, attr, state, func; the absent axis is 0

enum { MAX_AXES = 8, MAX_OPERANDS = 64, MAX_MESH = 8, MAX_NEST = 4 };

typedef enum {
#define DTYPE(name, ...) ELEM_##name,
#include "ir/dtypes.def"
#undef DTYPE
    ELEM_COUNT
} Elem;
typedef enum { ELEM_FLOAT, ELEM_INT, ELEM_UINT, ELEM_BOOL } ElemKind;
typedef struct {
    const char *name, *safetensors;
    uint8_t bytes, kind;
    uint8_t computes; // Elem of a value in registers
    double low, high; // least and largest value: of floats the infinities
} ElemInfo;
extern const ElemInfo elem_info[ELEM_COUNT];
// For storage only: in registers its values are those of a wider type.
static inline bool elem_is_narrow(uint32_t e) { return elem_info[e].computes != e; }

typedef enum {
#define SCALAR(name, ...) OP_##name,
#include "ir/scalar.def"
#undef SCALAR
    OP_SCALARS, // number of scalar ops; the scalar ops come first
    OP_before_first = OP_SCALARS - 1,
#define OPCODE(name, ...) OP_##name,
#include "ir/ops.def"
#undef OPCODE
    OP_COUNT
} Op;

// clang-format off
typedef enum {
    OPK_SCALAR, OPK_LEAF, OPK_VIEW, OPK_FOLD, OPK_CONTRACT, OPK_INDEX, OPK_ORDER, OPK_REGION, OPK_MESH
} OpKind;
// Columns of ops.def, explained there. Of ops that have operands, from READS_SAME to READS_PICK are those
// that compute an element from at most one element of each.
typedef enum { TYPE_RULE, TYPE_FIXED, TYPE_FREE } OpType;
typedef enum {
    READS_NOTHING, READS_STORED, READS_OWN, READS_SAME, READS_ORDER, READS_VIEW, READS_PICK, READS_MANY
} OpReads;
typedef enum { IN_ANY, IN_TOP, IN_BODY } OpPlace;
typedef enum {
    RULE_NONE, RULE_FLOAT, RULE_ARITH, RULE_LOGIC, RULE_SHIFT, RULE_COMPARE, RULE_PREDICATE,
    RULE_SELECT, RULE_CAST
} ScalarRule;

// Attribute record kinds: one per op that has one. ATTR_none = 0.
typedef enum {
    ATTR_none, ATTR_input, ATTR_state, ATTR_const, ATTR_iota, ATTR_extent, ATTR_random, ATTR_cast,
    ATTR_rename, ATTR_split, ATTR_merge, ATTR_slice, ATTR_pad, ATTR_concat, ATTR_reduce,
    ATTR_contract, ATTR_gather, ATTR_scatter_add, ATTR_grad, ATTR_assign, ATTR_all_reduce,
    ATTR_reduce_scatter, ATTR_all_gather, ATTR_all_to_all, ATTR_cut, ATTR_first, ATTR_group, ATTR_part,
    ATTR_arg, ATTR_COUNT
} AttrKind;
// clang-format on

typedef struct {
    const char *name, *meaning;
    const char *linear; // patterns of operands held in summands
    uint8_t min, max;   // operands
    uint8_t attr;       // AttrKind (cast and bitcast: ATTR_cast)
    uint8_t kind;       // OpKind
    uint8_t rule;       // ScalarRule, scalars only
    uint8_t cost;       // scalars: adds per element
    uint8_t swap;       // scalars: the first two operands may change places
    int8_t acc;         // the operand that the op adds to, or -1
    uint8_t type;       // OpType
    uint8_t reads;      // OpReads
    uint8_t in;         // OpPlace
} OpInfo;
extern const OpInfo op_info[OP_COUNT];

static inline bool op_is_scalar(Op op) { return op < OP_SCALARS; }
static inline bool op_reads_one(uint32_t op) {
    return op_info[op].reads >= READS_SAME && op_info[op].reads <= READS_PICK;
}
// A copy between device and host: it starts, or is waited for.
static inline bool op_starts_copy(uint32_t op) { return op == OP_offload || op == OP_fetch; }
static inline bool op_ends_copy(uint32_t op) { return op == OP_landed || op == OP_ready; }
static inline bool op_is_on_host(uint32_t op) { return op == OP_offload || op == OP_landed; }
// What a function consists of when it can be run: values that lie in memory, groups, assignments.
static inline bool op_is_executable(uint32_t op) {
    return (op_info[op].reads == READS_STORED || op_info[op].reads == READS_OWN) && op != OP_grad;
}

typedef enum {
    REDUCE_sum,
    REDUCE_prod,
    REDUCE_min,
    REDUCE_max,
    REDUCE_any,
    REDUCE_all,
    REDUCE_COUNT
} ReduceKind;
// How a fold walks (docs/numerics.md):
//   row  element i goes to accumulator i mod 128 within segments of 4096, halving tree, segments in
//        order. The folded axes are the last axes of the operand, in order.
//   col  elements in order within chunks of fold_chunk(n), each chunk from the identity, chunks in
//        order. The operand's last axis is not folded.
//   seq  elements in order, from the identity.
// With a part axis the result keeps the partial folds (row: segments, col: chunks) along it instead
// of adding them up; the sum of those `by=seq` is then the same fold, bit for bit.
typedef enum { FOLD_row, FOLD_col, FOLD_seq, FOLD_COUNT } FoldBy;
enum { FOLD_LANES = 128, FOLD_SEGMENT = 4096 };
int64_t fold_chunk(int64_t n);            // rows per chunk for n rows: max(32, ceil(n / 256))
int64_t fold_parts(FoldBy by, int64_t n); // number of partial folds

typedef enum {
    GROUP_map,
    GROUP_rows,
    GROUP_columns,
    GROUP_gemm,
    GROUP_gather,
    GROUP_scatter,
    GROUP_copy,
    GROUP_attend, // products, what is made of their rows, and the sums of that (made by recognise)
    GROUP_flash,  // the same on tensor cores: ir/flash.h
    GROUP_COUNT
} GroupKind;
static inline bool group_is_attention(uint32_t kind) {
    return kind == GROUP_attend || kind == GROUP_flash;
}
extern const char *const reduce_names[REDUCE_COUNT];
extern const char *const fold_names[FOLD_COUNT];
extern const char *const group_names[GROUP_COUNT];

// Whether tensor cores may multiply what is left of f32 operands when they are rounded to 11 bits. A product that
// no library's call computes stays in f32, or is an error where it must not.
typedef enum { TF32_NEVER, TF32_MAY, TF32_MUST, TF32_COUNT } Tf32;

// An ordered list of axes, at most MAX_AXES; unused entries are 0.
typedef struct {
    uint32_t n;
    AxisId at[MAX_AXES];
} AxisList;

// All records share one struct: every op uses the fields that attrs.def lists for it and leaves the
// others zero, so that comparing and hashing is comparing and hashing bytes.
// clang-format off
typedef struct {
    uint8_t kind; // AttrKind
    union {
        struct { Sym name; AxisId range; } input;
        struct { StateId state; } state, grad, assign;
        struct { double value; } constant;
        struct { AxisId axis; } iota, extent, gather, scatter_add;
        struct { int64_t key, word, fixed; } random;
        struct { uint32_t to; } cast;
        struct { AxisId from, to; } rename;
        struct { AxisId from; AxisList to; } split;
        struct { AxisList from; AxisId to; } merge;
        struct { AxisId from, to; int64_t start; } slice;
        struct { AxisId from, to; int64_t start; double value; } pad;
        struct { AxisList from; AxisId to; } concat;
        struct { uint32_t kind; AxisList axes; uint32_t by; AxisId part; } reduce;
        struct { AxisList axes; int64_t tf32; } contract;
        struct { uint32_t mesh; AxisId axis, to; } all_reduce, reduce_scatter, all_gather, all_to_all, cut, first;
        struct { uint32_t kind; FuncId body; AxisId row, key; } group;
        struct { int64_t index; } part, arg;
    };
} Attr;
// clang-format on

typedef struct {
    AxisId axis;
    int64_t size;            // of the part that one rank holds; at most the axis' own
    uint8_t split[MAX_NEST]; // mesh axes, plus one, that divide it, outer first; then zeros
} TypeAxis;

// Ranks along a mesh axis that hold summands of a value, or values whose largest or least counts.
typedef enum { PARTIAL_sum, PARTIAL_max, PARTIAL_min, PARTIALS } Partial;

// The list order is the physical row-major order; meaning goes by name only. With a mesh the type also says
// where a value is (ir/place.h): each mesh axis divides one axis, or is one of those in 'partial', or its
// ranks all hold the same.
typedef struct {
    uint32_t elem; // Elem
    uint32_t n;    // number of axes
    TypeAxis axes[MAX_AXES];
    uint8_t partial[PARTIALS]; // sets of mesh axes
} Type;

typedef enum { PHASE_F, PHASE_B, PHASE_W, PHASE_U, PHASE_COUNT } Phase;

// A part of the model that was written once and unrolled: 'repeat layer as h'.
typedef struct {
    Sym axis;        // what counts the rounds, "" if that is a number
    uint32_t parent; // the repeat that it stands in, 0: none
    int64_t rounds;
    Loc loc;
} Repeat;
// Where in it: round i of a repeat inside of round k of its parent is round k * rounds + i.
typedef struct {
    uint32_t repeat, round; // repeat 0: outside of all, round 0
} Inst;

// The template says which text a node was made from and the ordinal which node of it: in a function
// (template, ordinal, phase, clone) names one node of each instance, and the same one in all as long as
// the passes treat them alike.
typedef struct {
    uint16_t op;
    uint8_t phase; // Phase
    uint8_t clone; // 0, or which recomputed copy
    uint16_t n;    // number of operands
    TypeId type;
    AttrId attr;      // 0: none
    uint32_t first;   // operands are func->pool[first .. first + n)
    uint32_t tmpl;    // template plus one; 0: none
    uint32_t ordinal; // plus one; 0: module_number has not seen the node, or it has no template
    Inst inst;
    Sym name; // the user's name for the value, "" if none: "h.3.attn.q"
    Loc loc;
} Node;

typedef enum { RESULT_loss, RESULT_metric, RESULT_output, RESULT_value } ResultKind;
typedef struct {
    Sym name;
    NodeId node;
    uint32_t kind; // ResultKind
} Result;

// Where memplan put a value: a region and a byte offset in it. Printed "@temp+4096".
typedef enum {
    REGION_none,
    REGION_param,
    REGION_moment,
    REGION_shadow,
    REGION_accum,
    REGION_temp,
    REGION_input,
    REGION_scalar,
    REGION_host, // memory of the host, where it is not the device's own
    REGION_COUNT
} Region;
extern const char *const region_names[REGION_COUNT];
enum { MEM_ALIGN = 64 };
static inline int64_t mem_aligned(int64_t bytes) {
    return (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
}
typedef struct {
    uint32_t region; // Region
    uint32_t pad;
    int64_t offset; // bytes, multiple of MEM_ALIGN
} Mem;

typedef struct {
    Sym name;
    VEC(Node) nodes;
    VEC(NodeId) pool;
    VEC(Result) results;
    VEC(Mem) mem; // empty before memplan, then one per node
    bool region;  // body of a group: has arg nodes, no states
} Func;

typedef enum {
    STATE_param,
    STATE_moment,
    STATE_stat,
    STATE_counter,
    STATE_accum,
    STATE_shadow,
    STATE_KINDS
} StateKind;
extern const char *const state_kind_names[STATE_KINDS];
Region state_region(StateKind kind); // where memplan puts states of this kind
// A value carried over steps. Its type's list order is the declared one: canonical in checkpoints.
typedef struct {
    Sym path;     // "h.3.attn.wq"; moments "h.3.attn.wq.adamw.m"
    TypeId type;  // whole
    TypeId local; // what one rank holds; NONE: the whole
    // StateKind. An accum is zeroed at the start of a step; a shadow is its parameter rounded to another type,
    // kept in step by 'init', 'update' and 'refresh', which runs when parameters were read from a file. Neither
    // is saved.
    uint8_t kind;
    uint8_t frozen;
    uint16_t n_batch; // param w[b: i -> o]: the type lists b, then i, then o;
    uint16_t n_in;    // these say how many axes b and i are
    StateId of;       // moment, accum, shadow: the parameter that it belongs to, or NONE
    Mem mem;          // region none before memplan
    Loc loc;
} State;

typedef struct {
    Sym name;       // unique in the module: a second axis of that name prints as "half.2"
    int64_t size;   // the whole extent (a type may hold less: a micro-batch)
    uint8_t sample; // 1: the plan's sample axis
} Axis;

// One dimension of the mesh of ranks. The first is outermost: of ranks that are neighbours the coordinate on
// the last one differs.
typedef struct {
    Sym name;
    uint32_t ranks;
} MeshAxis;

// What the plan demands of named values: that each shares a kernel with a neighbour, or that none does; that
// the backward pass computes them again, or finds them as the forward pass stored them; that they wait for it in
// memory of the host.
typedef enum {
    DEMAND_fuse,
    DEMAND_nofuse,
    DEMAND_offload,
    DEMAND_recompute,
    DEMAND_keep,
    DEMAND_KINDS
} DemandKind;
extern const char *const demand_names[DEMAND_KINDS];
typedef struct {
    Sym path;     // a pattern of ir/base/path.h
    uint8_t kind; // DemandKind
    bool exact;   // the path is the whole name of the values: nothing below it
    Loc loc;      // of the pattern in the plan
} Demand;

// What the plan wishes of numbers. precision.def explains the attributes and their values.
typedef enum {
#define PRECISION(name, ...) PRECISION_##name,
#define FORMAT(...)
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
    PRECISIONS
} PrecisionAttr;
typedef enum {
    FORMAT_unset, // the line does not say
#define PRECISION(...)
#define FORMAT(name, ...) FORMAT_##name,
#include "ir/precision.def"
#undef PRECISION
#undef FORMAT
    FORMATS
} Format;
extern const char *const precision_names[PRECISIONS], *const format_names[FORMATS];
typedef struct {
    const char *on; // the one target that has it; "" all, NULL none
    Format wider;   // what is taken instead
} FormatInfo;
extern const FormatInfo format_info[FORMATS];
// A line 'precision' of the plan, in their order: of several that select a value the last that sets an
// attribute counts for it.
typedef struct {
    Sym path;                   // a pattern of ir/base/path.h; "*": everything
    bool exact;                 // the path is the whole name of the values: nothing below it
    bool demand;                // what cannot be is an error; else the next wider type is taken
    uint8_t format[PRECISIONS]; // Format
    Loc loc;                    // of the pattern, or of the line
} Precision;
// Which values that the backward pass reads it computes again, beside what demands say of single ones.
typedef enum {
    RECOMPUTE_none,
    RECOMPUTE_every, // those inside of each `number` rounds of the outermost repeat, or of that over `axis`
    RECOMPUTE_budget, // as many as leaves a step in `number` bytes
    RECOMPUTE_MODES
} RecomputeMode;
extern const char *const recompute_names[RECOMPUTE_MODES];
typedef struct {
    uint32_t mode; // RecomputeMode
    Sym axis;      // or 0
    int64_t number;
    int64_t promised; // bytes that a step takes with what was chosen for a budget; 0: none was
    Loc loc;          // of the line in the plan
} Recompute;

// Whether products of one value by several parameters become one.
typedef enum { MERGE_auto, MERGE_none, MERGE_all, MERGE_MODES } MergeMode;
extern const char *const merge_names[MERGE_MODES];

// A line 'shard' of the plan: values are divided over a mesh axis along the first of these axes that they have.
typedef struct {
    uint32_t mesh;
    AxisList axes;
} ShardLine;

typedef struct {
    Arena *arena;
    SymTab *syms;
    Diag *diag;
    VEC(Axis) axes; // axes.at[0] is "no axis"
    MeshAxis mesh[MAX_MESH];
    uint32_t meshes;       // 0: one device
    VEC(ShardLine) shards; // empty when the pass shard has done it
    VEC(Repeat) repeats;   // repeats.at[0] is "no repeat"
    VEC(State) states;
    VEC(Type) types;
    VEC(Attr) attrs; // attrs.at[0] is ATTR_none
    VEC(Func *) funcs;
    // Cut where one micro-batch must be the batch (batch norm): a step, or an evaluation, may not
    // have more of them. Set by microbatch.
    bool whole_step, whole_eval, whole_predict;
    VEC(Demand) demands;
    VEC(Precision) precisions;
    bool rounded; // the pass precision has done what they say
    Recompute recompute;
    // Products of data and weights with at least so many bytes are to be computed in rounds of at least so many
    // rows. 0: none are, or the pass sweep has done it.
    int64_t sweep_above, sweep_rows;
    uint32_t merge;         // MergeMode; auto: as the target wants
    Map type_map, attr_map; // hash -> first id; chains through the vectors below
    VEC(uint32_t) type_next, attr_next;
    Map axis_map;  // name -> axis
    Map axis_last; // wanted name -> the last suffix that axis_new gave
    Map state_map; // path -> first state of that path
} Module;

Module *module_new(Arena *a, SymTab *syms, Diag *diag);
// A copy to try passes on, in another arena: what they do to it the original does not see. It lives no longer
// than the original and shares its names. Its messages go nowhere.
Module *module_fork(const Module *m, Arena *a);
Func *module_find(const Module *m, const char *name); // NULL when absent
Func *func_new(Module *m, const char *name, FuncId *id);
AxisId axis_new(Module *m, const char *name, int64_t size); // makes the name unique
AxisId axis_find(const Module *m, Sym name);                // 0 when absent
TypeId type_intern(Module *m, const Type *t);
TypeId type_scalar(Module *m, Elem e);      // no axes
TypeId type_computing(Module *m, TypeId t); // the same axes, of what its elements compute in
AttrId attr_intern(Module *m, const Attr *a);
uint32_t repeat_new(Module *m, const char *axis, int64_t rounds, uint32_t parent, Loc loc);
// Rounds of a repeat counted over those of its parents; -1 beyond 2^32.
int64_t repeat_total(const Module *m, uint32_t repeat);
StateId state_new(Module *m, const char *path, TypeId type, StateKind kind, Loc loc);
StateId state_find(const Module *m, Sym path); // NONE when absent
// Without the states that `dead` marks, which nothing names: the others move up, keeping their order.
void module_drop_states(Module *m, const uint8_t *dead);
// Whether it is about this node: a value of the model that is computed; of 'nofuse' also of its derivatives,
// which have its name. Constants and the like keep the name of the place where they stood first; what
// initialises and updates parameters has theirs. 'generate' computes what one position needs and takes values
// apart for that: 'fuse' lets it be.
bool demand_selects(const Module *m, const Demand *d, const Func *f, NodeId n);
// Whether it is about the parameter or value of that name, or a block above it; that of a derivative,
// "d.h.0.x", counts as the value's.
bool precision_selects(const Module *m, const Precision *p, Sym name);
// What the plan says of an attribute of the value of that name; FORMAT_unset: nothing.
Format precision_of(const Module *m, PrecisionAttr attr, Sym name);
// The line that says it, or NULL.
const Precision *precision_from(const Module *m, PrecisionAttr attr, Sym name);

// The bytes of each region that a planned function, or the module, needs: raises end where it is less.
void func_regions(const Module *m, const Func *f, int64_t end[REGION_COUNT]);
void module_regions(const Module *m, int64_t end[REGION_COUNT]);
// Runs for --generate or --predict and never while training: its temporaries are no part of a training run's.
bool func_is_beside(const Module *m, const Func *f);
// Bytes that a training run takes: states, inputs and scalars, and the temporaries of what it runs.
int64_t module_training_bytes(const Module *m);

static inline const Type *type_at(const Module *m, TypeId t) { return &m->types.at[t]; }
static inline TypeId state_local(const Module *m, StateId s) {
    const State *x = &m->states.at[s];
    return x->local == NONE ? x->type : x->local;
}
static inline const Attr *attr_at(const Module *m, AttrId a) { return &m->attrs.at[a]; }
static inline Node *node_at(const Func *f, NodeId n) { return &f->nodes.at[n]; }
// The accumulator's operand number, -1 where the node has none.
static inline int node_acc(const Node *n) {
    return op_info[n->op].acc < n->n ? op_info[n->op].acc : -1;
}
// Whether operand i is read only at the element that is computed from it: one may be written over the other.
static inline bool node_reads_in_place(const Node *n, uint32_t i) {
    return op_info[n->op].reads == READS_SAME || (int)i == node_acc(n);
}
static inline const Type *type_of(const Module *m, const Func *f, NodeId n) {
    return &m->types.at[f->nodes.at[n].type];
}
static inline const Attr *attr_of(const Module *m, const Func *f, NodeId n) {
    return &m->attrs.at[f->nodes.at[n].attr];
}
static inline NodeId operand(const Func *f, NodeId n, uint32_t i) {
    return f->pool.at[f->nodes.at[n].first + i];
}

// A constant 0, of whatever type and axes.
bool node_is_zero(const Module *m, const Func *f, NodeId n);

bool type_same(const Type *a, const Type *b); // the order of axes included
// With the same sizes and splits, in any order.
bool type_same_axes(const Type *a, const Type *b);
int type_find(const Type *t, AxisId a); // position, or -1
int64_t type_count(const Type *t);      // number of elements
int64_t type_bytes(const Type *t);
void type_strides(const Type *t, int64_t strides[MAX_AXES]); // in elements, row-major
bool list_has(const AxisList *l, AxisId a);
bool list_same(const AxisList *a, const AxisList *b); // in any order

// Gives an ordinal to every node of a template that has none (ir/number.c). The frontend, the parser and
// the pipeline call it, passes need not: a copy keeps its ordinal, what is made anew has none.
void module_number(Module *m);

// Printing and parsing are inverses at every stage.
void ir_print_module(Text *to, const Module *m);
void ir_print_func(Text *to, const Module *m, const Func *f);
void ir_print_type(Text *to, const Module *m, TypeId t); // f32[batch=8, dim=768]
// Reports errors to d at the text's positions and returns NULL.
Module *ir_parse(Arena *a, SymTab *syms, Diag *d, uint16_t file);

// Checks invariants V1.. (verify.c); returns the number of violations, described in *why.
int ir_verify(const Module *m, Text *why);
// Part of it, for a function with places in memory (ir/memcheck.c): whether every value lies where it is
// read when it is read. Needs a module whose ids are valid; returns the number of faults.
int ir_check_memory(const Module *m, const Func *f, Text *why);

// What becomes of an axis in a node, seen from one operand (ir/flow.c):
//   EACH  result and operand keep the axis, element by element      SUM  added up (linear)
//   MOVED equal parts of it are such parts of axis `to`             MAX MIN  folded away, not linear
//   NEW   the operand lacks it, the result has it (broadcast)       WHOLE needed whole, kept or not
//   ABSENT neither has it
typedef enum {
    ROLE_ABSENT,
    ROLE_EACH,
    ROLE_MOVED,
    ROLE_SUM,
    ROLE_MAX,
    ROLE_MIN,
    ROLE_WHOLE,
    ROLE_NEW
} Role;
typedef struct {
    Role role;
    AxisId to; // of the result: EACH, NEW and MOVED; else 0
} AxisFlow;
AxisFlow ir_axis_flow(const Module *m, const Func *f, NodeId n, uint32_t operand_index, AxisId a);

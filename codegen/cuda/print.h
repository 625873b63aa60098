// What the files of the CUDA printer share:
//
//   share.c        cuda_add_kernel: equal kernels are one function
//   geometry.c     how threads are given to rows and lanes; how the kernel is started
//   turn.c         which maps go through shared memory
//   print.c        the function: signature, environment, axes, and which shape of body it has
//   print_body.c   one sweep of a thread over its unit of lanes: loads, scalars, folds, stores
//   print_rows.c   rows: maps, and teams of threads that fold a row
//   print_turn.c   maps that go through shared memory
//   print_fold.c   halving trees between the threads of a team
//   print_walk.c   column folds and scatters: a thread owns lanes and walks rows
//   attend.c       attention on tensor cores: what is made of its scores
//   print_mem.c     indices, loads, stores, random numbers
//   print_prim.c    scalar operations
//
// Names in the text: a argument, i axis, v value of a row, t temporary, x loaded, h held over phases,
// s accumulator of a row fold, f its result, c accumulator of a column fold, y to be stored, bad the first
// of it that is a NaN, zx and zy what is loaded and to be stored in a tile, o origin of a tile; each with
// a number. Nothing of the user's model is a name.
#pragma once
#include "codegen/cuda/geometry.h"
#include "codegen/cuda/module.h"
#include "ir/scalar.h"

// The text of a value and what it is in a register: f32, u32 (both integers) or bool.
typedef struct {
    const char *text;
    Elem elem;
} CuVal;

// A place that the lanes of a unit store to.
typedef struct {
    uint32_t arg;
    const KIndex *index;
    KId mask;
    const char *plus; // NULL, or an element offset that is added: a multiple of plus_stride
    int64_t plus_stride;
} CuTarget;

// Which lanes of a unit exist: all; all or none (tested before the body); each by itself.
typedef enum { GUARD_NONE, GUARD_UNIT, GUARD_LANE } CuGuard;

typedef struct {
    const Kernel *k;
    Arena *a;
    Text *to;
    const CuGeometry *g;
    bool keyed; // the key of a random op is the number of a parameter
    ScalarOps ops;
    uint32_t temps, indent;

    const char *lane_begin; // first lane of a team's sweep; NULL: 0
    const char *lane_end;   // lanes below this one exist
    const char *guard_free; // "u < 6 || ": units that need no test; or ""
    const char *row_lead; // condition under which this thread makes the row-level stores; NULL: all
    bool staged;          // column folds: the value goes to shared memory
    CuVal *row;           // by op: value in this row; text NULL when not yet there
    CuVal *lane;          // by op: value in the lane being printed
    uint8_t *need;        // by op: wanted by the sweep
    uint8_t *holds;       // by op: kept in registers for later phases
    uint8_t *there;       // by op: the row's value is printed, or held in registers
    const char **waits;   // by op: where its value is already (CU_TURN); NULL: nowhere
    const char **always;  // by op: a condition under which it is true (attend.c); NULL: none
    bool fast;            // exp is the processor's
} Cu;

// print.c
Cu *cu_new(Arena *a, Text *to, const Kernel *k, const CuGeometry *g);
void cu_line(Cu *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cu_open(Cu *p);                        // one step further in
void cu_close(Cu *p);                       // and out, with a brace
const char *cu_num(const Cu *p, int64_t n); // a constant of the index type
const char *cu_int(const Cu *p);            // the index type
// Declares i<from> ... i<to - 1> out of the row-major number `n`, an expression.
void cu_decode(Cu *p, const char *n, uint32_t from, uint32_t to);
// nkeys: parameters that are keys, 0: keys are in the kernel. table: see CudaLaunch.
void cu_print_function(Arena *a, Text *to, const Kernel *k, const CuGeometry *g, uint32_t function,
                       uint32_t nkeys, bool table);

// print_prim.c
ScalarOps cu_scalar_ops(Cu *p);
CuVal cu_const(Cu *p, Elem e, double value);
CuVal cu_temp(Cu *p, Elem e, const char *text); // declares a temporary
const char *cu_register_type(Elem e);           // float, u32, bool
const char *cu_memory_type(Elem e);             // float, u32, u8; a class of template/kernel.cuh
SV cu_sv(Cu *p, CuVal v);
CuVal cu_val(SV v);
CuVal cu_fold_step(Cu *p, uint32_t fold, CuVal acc, CuVal x);
CuVal cu_identity(Cu *p, uint32_t fold);

// print_mem.c
bool cu_is_staged(const Cu *p, const KOp *o); // a load whose place no lane-level op decides
// Element offset. lane: the text of the lane, NULL for row-level; op: the text of the index op.
const char *cu_offset(Cu *p, const KIndex *x, const char *lane, const char *op);
void cu_stage_load(Cu *p, KId id, CuGuard guard); // declares x<id>[items] and fills it
CuVal cu_load(Cu *p, const KOp *o, const char *lane);
CuVal cu_random(Cu *p, const KOp *o, const char *lane);
// lane: as above.
void cu_store_value(Cu *p, const KStore *s, const char *lane, const char *value);
void cu_store_row(Cu *p, const KStore *s);
// From y<number>[items]; ym<number> and yi<number> hold a lane-level mask and index op.
void cu_store_unit(Cu *p, uint32_t number, const CuTarget *t, CuGuard guard);

// print_body.c
CuVal cu_at(const Cu *p, KId id);
void cu_want(Cu *p, const KSweep *s);   // sets p->need
void cu_want_op(Cu *p, KId id);         // to one value; NONE: to nothing
void cu_row_ops(Cu *p);                 // prints the row-level ops of p->need that are new
void cu_row_is(Cu *p, KId id, CuVal v); // what a row-level op is
// The body for the unit whose first lane is `l`, indented; `u`: number of the unit, for held values.
void cu_unit(Cu *p, const KSweep *s, CuGuard guard);
void cu_point(Cu *p); // p->need at one lane, `l`: each is cu_at then
void cu_row_stores(Cu *p, const KSweep *s);
void cu_open_items(Cu *p); // the loop over the lanes of a unit; cu_close ends it
void cu_forget_row(Cu *p);
const char *cu_lane_text(const Cu *p); // lane j of the unit

// print_fold.c
void cu_declare_folds(Cu *p);                  // fold<fold>(a, b), for the whole function
void cu_folds_begin(Cu *p, const KSweep *s);   // declares the sweep's accumulators s<fold>
void cu_folds_total(Cu *p, const KSweep *s);   // what segments are folded into
void cu_folds_segment(Cu *p, const KSweep *s); // a warp's segment into it
void cu_folds_end(Cu *p, const KSweep *s);     // declares f<fold>, the same in every thread

// print_hold.c
// Which lane-level values stay in registers between the phases of a row: p->holds. stores: stores are
// made in these phases, not row folds alone.
void cu_choose_holds(Cu *p, bool stores);

// print_rows.c
void cu_map(Cu *p);
void cu_rows(Cu *p);
void cu_team_threads(Cu *p);             // declares t and mates
void cu_team_phases(Cu *p, bool stores); // all phases of a row
void cu_declare_end(Cu *p);              // sets lane_end
void cu_segment_range(Cu *p);            // lanes of segment `seg`

// print_turn.c
void cu_turn(Cu *p);

// print_walk.c
void cu_walk(Cu *p);       // chunks without row folds, lanes
void cu_chunk_rows(Cu *p); // chunks with row folds
// Row r for the unit at lane l: folds columns and stores.
void cu_walk_row(Cu *p, bool row_stores);

// Declares `chunk`, the axes of the grid point and the task's first row `from`; returns the text of its
// number of rows.
const char *cu_task_rows(Cu *p);
void cu_end_columns(Cu *p); // stores the accumulators c of the unit at lane l

// print_stage.c
void cu_stage(Cu *p);

// print_scatter.c
void cu_scatter(Cu *p);

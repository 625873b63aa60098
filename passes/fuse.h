// The working state of fusion, shared by its steps: what a library's product takes along (fuse_library.c),
// what is stored (fuse_inline.c), put stored values into groups (fuse.c), write the groups (fuse_emit.c).
#pragma once
#include "ir/view.h"
#include "passes/pass.h"

// A kernel has at most 64 arguments and fewer phases than a word has bits, so a group reads and holds
// at most this much; every member may be stored, and every fold may open a phase.
enum { MAX_SOURCES = 4, MAX_READS = 40, MAX_MEMBERS = 24 };
#define GROUP_NONE UINT32_MAX

// What a node needs when it is computed inside its user's kernel: the stored values it reads, as far
// as they are large (a quarter of the node's elements or more), and the work per element.
typedef struct {
    uint32_t n; // number of large sources; MAX_SOURCES + 1 is "too many"
    NodeId at[MAX_SOURCES];
    uint32_t cost;  // adds per element, all inlined operands included
    uint32_t reads; // stored values read, large or not
} Closure;

// The iteration space that a group's members share, as an ordered list of axes. Folds split it:
// a row fold says that `lane` axes are the last ones, a column fold that `walk` axes are walked.
typedef struct {
    uint32_t kind;          // GroupKind
    AxisList axes;          // order of the domain
    int64_t size[MAX_AXES]; // of those axes
    AxisList lane;          // row folds: the folded axes
    AxisList walk;          // column folds: the folded axes
    AxisId part;            // and the axis of their partial folds; 0: they are whole
    bool closed;            // takes no further members
    bool updates;           // a member updates a state in place: phases may not read rows again
    uint32_t reads;         // values read from outside, at most MAX_READS
    NodeList members;       // stored values and folds, in order
} FuseGroup;

typedef struct {
    PassCx *cx;
    Module *m;
    Func *f;
    Arena *a;
    Users users;
    const uint8_t *live; // a result or an assignment needs it
    uint8_t *is_inline;  // computed in every kernel that needs it
    uint8_t *is_source;  // lives outside groups: input, state
    uint8_t *need;       // some user reads it from memory
    NodeId *product;     // the product whose call computes the node along with itself, or NONE
    uint8_t *forced;     // inline, because such a call computes what lies between
    uint8_t *offered;    // a fold that the ledger says such a call takes or could take
    uint8_t *is_result;  // of the function
    uint8_t *apart;      // the plan's 'nofuse' selects it
    uint8_t *beside;     // what it is computed from would be a part of such a value's kernel
    uint8_t *picks;      // a gather that takes a few elements out of what may then be written over
    Closure *closure;
    uint32_t *group;     // group of a node that is neither inline nor a source
    uint32_t *reader;    // last group that reads a stored value, or GROUP_NONE
    uint32_t *passed[2]; // last fuse_sources that came by here; [1]: over a path that moves
    uint32_t walks;      // calls of fuse_sources so far
    VEC(FuseGroup) groups;
    bool keep_pairs; // somebody asks: the ledger, or a demand of the plan
    VEC(FusePair) pairs;
} Fuse;

const char *fuse_name(const Fuse *x, NodeId n); // for the ledger
void fuse_find_library(Fuse *x);                // fills product and forced, adds to need
void fuse_mark_inline(Fuse *x);
// The same where the plan demands nothing and no library takes anything along.
void fuse_choose_inline(Fuse *x);
// What that says of a function before it is fused, by node: 1 is computed in every kernel that reads it. It
// depends on neither target nor options.
const uint8_t *fuse_predict_inline(PassCx *cx, Func *f);
void fuse_check_demands(Fuse *x); // reports those of the plan that are not met
Func *fuse_emit(Fuse *x, FuncId slot);
// Calls visit for every stored value or source that node n reads, through inlined operands. moved: the
// path holds a view or gather, so the source is not read at n's own place. Linear in the nodes between,
// however many paths there are.
typedef void FuseVisit(Fuse *x, NodeId source, bool moved, void *user);
void fuse_sources(Fuse *x, NodeId n, FuseVisit *visit, void *user);

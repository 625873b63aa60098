// Inside the interpreter: a run of one function, and walks over index spaces. Private to interp*.c.
#pragma once
#include "ir/interp.h"
#include "ir/scalar.h"

// A buffer that is free again: tensors of a step repeat in size, so equal size is the only fit
// tried.
typedef struct {
    int64_t count;
    double *at;
} FreeBuffer;
typedef VEC(FreeBuffer) Pool;

typedef struct {
    Interp *in;
    const Func *f;
    Tensor *value;      // by node
    const Tensor *args; // of a region
    uint32_t nargs;
    uint32_t at[MAX_MESH]; // coordinates of the rank
    Text *why;
    Arena *arena; // of this run; the results of the outermost go to in->arena
    Pool *pool;   // shared by nested runs
} Evaluation;

// Says why node n cannot be evaluated; false.
bool run_fail(Evaluation *r, NodeId n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static inline const Node *run_node(const Evaluation *r, NodeId n) { return node_at(r->f, n); }
static inline const Tensor *run_operand(const Evaluation *r, NodeId n, uint32_t i) {
    return &r->value[operand(r->f, n, i)];
}
static inline const Type *run_type(const Evaluation *r, const Tensor *t) {
    return type_at(r->in->m, t->type);
}
static inline const Attr *run_attr(const Evaluation *r, NodeId n) {
    return attr_of(r->in->m, r->f, n);
}
static inline bool run_exact(const Evaluation *r) { return r->in->mode == INTERP_EXACT; }
// A double as the run holds it: rounded to f32 when exact, and to the narrow type.
static inline double run_round(const Evaluation *r, Elem e, double x) {
    if (!run_exact(r) || elem_info[e].kind != ELEM_FLOAT) return x;
    uint32_t bits = scalar_eval(OP_cast, ELEM_f32, e, scalar_to_bits(ELEM_f32, x), 0, 0);
    return scalar_from_bits(e, bits);
}

// All indices of a type in row-major order, with the offsets that up to four other tensors have at
// each. Axes match by name; an axis that a tensor lacks does not move it.
enum { WALK_TENSORS = 4 };
typedef struct {
    uint32_t n, tensors;
    int64_t left; // indices not yet visited, this one included
    int64_t size[MAX_AXES], at[MAX_AXES];
    int64_t step[WALK_TENSORS][MAX_AXES]; // per axis of the walked type
    int64_t offset[WALK_TENSORS];
} Walk;
Walk walk_new(const Type *t);
uint32_t walk_add(Walk *w, const Type *walked, const Type *t); // returns the tensor's number
static inline bool walk_more(const Walk *w) { return w->left > 0; }
static inline void walk_next(Walk *w) {
    w->left--;
    for (uint32_t i = w->n; i-- > 0;) {
        if (++w->at[i] < w->size[i]) {
            for (uint32_t k = 0; k < w->tensors; k++) w->offset[k] += w->step[k][i];
            return;
        }
        for (uint32_t k = 0; k < w->tensors; k++) w->offset[k] -= w->step[k][i] * (w->size[i] - 1);
        w->at[i] = 0;
    }
}
int64_t type_stride(const Type *t, AxisId a); // 0 when t lacks a

// One per op; out is allocated, of the node's type.
bool interp_rename(Evaluation *r, NodeId n, Tensor *out);
bool interp_split(Evaluation *r, NodeId n, Tensor *out);
bool interp_merge(Evaluation *r, NodeId n, Tensor *out);
bool interp_slice(Evaluation *r, NodeId n, Tensor *out);
bool interp_pad(Evaluation *r, NodeId n, Tensor *out);
bool interp_concat(Evaluation *r, NodeId n, Tensor *out);
bool interp_expand(Evaluation *r, NodeId n, Tensor *out);
bool interp_gather(Evaluation *r, NodeId n, Tensor *out);
bool interp_scatter_add(Evaluation *r, NodeId n, Tensor *out);
bool interp_reduce(Evaluation *r, NodeId n, Tensor *out);
bool interp_contract(Evaluation *r, NodeId n, Tensor *out);
// One step of a fold of such elements.
double interp_fold_step(const Evaluation *r, ReduceKind kind, Elem e, double acc, double x);
// Node n of all ranks, of kind MESH; r[k].value[n] is allocated.
void interp_mesh(Evaluation *r, uint32_t ranks, NodeId n);
// out = x, axes by name.
void interp_move(Evaluation *r, const Tensor *x, Tensor *out);

// Whether a product is one call of cuBLASLt, and which: each matrix needs one extent for rows and one
// for columns, of which one is adjacent. lt.h states the convention. Constant time.
//
// An m or n of two extents that do not fold can still be one call when there is no batch: the outer
// extent becomes the batch, and the matrix without it is repeated with stride 0.
//
// Which types it multiplies is a table. Tensor cores want what lies one behind the other to start at multiples
// of 16 bytes; what is less aligned the library may refuse, or do by other means: it gets a kernel of ours.
#include "codegen/cuda/lt.h"
#include "codegen/cuda/extents.h"
#include "ir/ir.h"

enum { ALIGNED = 64, TENSOR = 16 };

// "cublasLtMatmul()" in NVIDIA's manual of cuBLAS 13, regular matrices, sums in f32. C and D have one type, and
// so has the bias. Eight-bit operands will want columns here: from which architecture on, which transposes.
typedef struct {
    SnElem a, b, c;
    uint32_t align; // bytes: addresses, leading dimensions, strides of the batch
} LtTypes;
static const LtTypes types[] = {
    {SN_ELEM_f32, SN_ELEM_f32, SN_ELEM_f32, 4},
    {SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_bf16, TENSOR},
    {SN_ELEM_bf16, SN_ELEM_bf16, SN_ELEM_f32, TENSOR},
    {SN_ELEM_f16, SN_ELEM_f16, SN_ELEM_f16, TENSOR},
    {SN_ELEM_f16, SN_ELEM_f16, SN_ELEM_f32, TENSOR},
};

typedef struct {
    SnExtents batch, m, n, k;
} Roles;

// A matrix as rows x columns with a stride each.
typedef struct {
    int64_t rows, columns, row, column;
} MatrixStrides;

static int64_t stride_of(const SnExtents *x, int which) {
    return x->count ? extent_stride(&x->dim[0], which) : 0;
}

static MatrixStrides matrix_of(const SnExtents *rows, const SnExtents *columns, int which) {
    return (MatrixStrides){rows->size, columns->size, stride_of(rows, which),
                           stride_of(columns, which)};
}

// The leading dimension of x read column-major, or 0: it is not. A stride along one element means
// nothing.
static int64_t leading(MatrixStrides x) {
    if (x.rows > 1 && x.row != 1) return 0;
    if (x.columns == 1) return x.rows;
    return x.column >= x.rows ? x.column : 0;
}

static MatrixStrides turned(MatrixStrides x) {
    return (MatrixStrides){x.columns, x.rows, x.column, x.row};
}

static bool lay_out(MatrixStrides x, bool *trans, int64_t *ld) {
    *trans = false;
    *ld = leading(x);
    if (*ld) return true;
    *trans = true;
    *ld = leading(turned(x));
    return *ld != 0;
}

// x: rows are `rows` and columns `columns` of the product, for the reason's words.
static void refuse(MatrixStrides x, char name, char rows, char columns, Text *why) {
    bool by_row = x.row == 1 || x.rows == 1, by_column = x.column == 1 || x.columns == 1;
    if (!by_row && !by_column) {
        text_printf(why, "%c is adjacent along neither %c nor %c: its strides are %lld and %lld",
                    name, rows, columns, (long long)x.row, (long long)x.column);
        return;
    }
    int64_t apart = by_row ? x.column : x.row, length = by_row ? x.rows : x.columns;
    text_printf(why, "%c is walked along %c in steps of %lld, less than the %lld along %c", name,
                by_row ? columns : rows, (long long)apart, (long long)length,
                by_row ? rows : columns);
}

// ---- roles --------------------------------------------------------------------------------------

static void outer_to_batch(SnExtents *from, SnExtents *batch) {
    SnDim outer = from->dim[0];
    batch->dim[batch->count++] = outer;
    batch->size *= outer.extent;
    from->size /= outer.extent;
    from->count--;
    from->dim[0] = from->dim[1];
}

static bool one_extent_each(Roles *r, Text *why) {
    static const char *const name[] = {"the batch", "m", "n", "k"};
    if (r->batch.count == 0 && r->m.count == 2 && r->n.count <= 1)
        outer_to_batch(&r->m, &r->batch);
    else if (r->batch.count == 0 && r->n.count == 2 && r->m.count <= 1)
        outer_to_batch(&r->n, &r->batch);
    const SnExtents *all[] = {&r->batch, &r->m, &r->n, &r->k};
    for (int i = 0; i < 4; i++)
        if (all[i]->count > 1) {
            text_printf(why, "%s is %u nested extents that do not fold into one", name[i],
                        all[i]->count);
            return false;
        }
    return true;
}

static bool within_limits(const Roles *r, Text *why) {
    const SnExtents *all[] = {&r->batch, &r->m, &r->n, &r->k};
    for (int i = 0; i < 4; i++)
        if (all[i]->size < 1 || all[i]->size > INT32_MAX) {
            text_printf(why, "an extent of %lld", (long long)all[i]->size);
            return false;
        }
    if (r->batch.count && stride_of(&r->batch, IN_C) == 0) {
        text_printf(why, "the elements of the batch share one C");
        return false;
    }
    return true;
}

static uint32_t alignment(int64_t base, uint32_t elem) {
    uint64_t bytes = (uint64_t)base * elem_info[elem].bytes, low = bytes & (~bytes + 1);
    return low == 0 || low > ALIGNED ? ALIGNED : (uint32_t)low;
}

// The call when rows are `m` and columns `n`, after any exchange; false: C is not column-major so.
static bool plan_as(const Roles *r, bool swap, CudaLt *out) {
    const SnExtents *m = swap ? &r->n : &r->m, *n = swap ? &r->m : &r->n;
    int a = swap ? IN_B : IN_A, b = swap ? IN_A : IN_B;
    out->swap = swap;
    out->m = m->size, out->n = n->size, out->k = r->k.size, out->batch = r->batch.size;
    out->ldc = leading(matrix_of(m, n, IN_C));
    out->stride_a = stride_of(&r->batch, a);
    out->stride_b = stride_of(&r->batch, b);
    out->stride_c = stride_of(&r->batch, IN_C);
    return out->ldc && lay_out(matrix_of(m, &r->k, a), &out->trans_a, &out->lda) &&
           lay_out(matrix_of(&r->k, n, b), &out->trans_b, &out->ldb);
}

static void say_why(const Roles *r, Text *why) {
    bool trans;
    int64_t ld;
    MatrixStrides a = matrix_of(&r->m, &r->k, IN_A), b = matrix_of(&r->k, &r->n, IN_B);
    if (!lay_out(a, &trans, &ld))
        refuse(a, 'A', 'm', 'k', why);
    else if (!lay_out(b, &trans, &ld))
        refuse(b, 'B', 'k', 'n', why);
    else
        refuse(matrix_of(&r->m, &r->n, IN_C), 'C', 'm', 'n', why);
}

// ---- types and alignment ------------------------------------------------------------------------

static const LtTypes *types_of(const SnGemm *g, Text *why) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].a == g->elem_a && types[i].b == g->elem_b && types[i].c == g->elem_c)
            return &types[i];
    text_printf(why, "cuBLASLt does not multiply %s by %s to %s", elem_info[g->elem_a].name,
                elem_info[g->elem_b].name, elem_info[g->elem_c].name);
    return NULL;
}

// What is a multiple of the alignment: addresses, and what they move by. A single column has no next one: its
// leading dimension is what pleases.
static bool aligned(char name, uint32_t elem, uint32_t align, int64_t base, int64_t columns,
                    int64_t *ld, int64_t stride, Text *why) {
    int64_t each = align / elem_info[elem].bytes;
    if (columns == 1 && each > 1) *ld = sn_round_up(*ld, each);
    const char *what = base % each ? "starts" : *ld % each ? "has columns" : "has a batch";
    int64_t at = base % each ? base : *ld % each ? *ld : stride;
    if (each <= 1 || (base % each == 0 && *ld % each == 0 && stride % each == 0)) return true;
    text_printf(why, "%c %s at multiples of %lld bytes, not of %u as products of %s need", name,
                what, (long long)(at * elem_info[elem].bytes), align, elem_info[elem].name);
    return false;
}

static bool all_aligned(const SnGemm *g, const LtTypes *t, CudaLt *x, Text *why) {
    uint32_t a = x->swap ? g->elem_b : g->elem_a, b = x->swap ? g->elem_a : g->elem_b;
    return aligned(x->swap ? 'B' : 'A', a, t->align, x->base_a, x->trans_a ? x->m : x->k, &x->lda,
                   x->stride_a, why) &&
           aligned(x->swap ? 'A' : 'B', b, t->align, x->base_b, x->trans_b ? x->k : x->n, &x->ldb,
                   x->stride_b, why) &&
           aligned('C', g->elem_c, t->align, x->base_c, x->n, &x->ldc, x->stride_c, why);
}

bool cuda_lt_plan(const SnGemm *g, CudaLt *out, Text *why) {
    const LtTypes *t = types_of(g, why);
    if (!t) return false;
    *out = (CudaLt){0};
    Roles r = {sn_extents(g->batch, g->nbatch, false), sn_extents(g->m, g->nm, false),
               sn_extents(g->n, g->nn, false), sn_extents(g->k, g->nk, false)};
    if (!one_extent_each(&r, why) || !within_limits(&r, why)) return false;
    // A row-major C first: that is what lowering makes.
    if (!plan_as(&r, true, out) && !plan_as(&r, false, out)) {
        say_why(&r, why);
        return false;
    }
    out->base_a = out->swap ? g->base_b : g->base_a;
    out->base_b = out->swap ? g->base_a : g->base_b;
    out->base_c = g->base_c;
    out->align_a = alignment(out->base_a, out->swap ? g->elem_b : g->elem_a);
    out->align_b = alignment(out->base_b, out->swap ? g->elem_a : g->elem_b);
    out->align_c = alignment(out->base_c, g->elem_c);
    return all_aligned(g, t, out, why);
}

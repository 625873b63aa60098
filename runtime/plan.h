// The plan: the contract between the compiler and the executable, and the only header of the
// runtime that the compiler includes. A plan is one blob of bytes without pointers (offsets from its
// start), so that it is constant data, can be dumped, and is the same in every build. Native code is
// reached through a table of function pointers beside it, by index.
//
//   step    = accum x micro-batch: prologue…, micro…, then update
//   section = a range of commands; a command runs one kernel or GEMM on resolved buffers
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SN_PLAN_MAGIC   0x4e414c504e495321ull // "!SINPLAN" read as a number
#define SN_PLAN_VERSION 13u

// What kernels see of the run. One per step and micro-batch.
typedef struct SnEnv {
    int32_t first; // 1 in the first micro-batch of a step: accumulators read as zero
    uint32_t step; // counts from 1
    uint64_t seed;
    int64_t sample; // global index of the first sample of this micro-batch
} SnEnv;

// What a CUDA device's kernels are given the address of. fault: the first NaN that the section stored, in
// order of the plan, as (index in args) << SN_FAULT_ELEMENT | element of that argument's tensor; all ones:
// none. The same whatever ran first.
enum { SN_FAULT_ELEMENT = 38 };
typedef struct {
    SnEnv env;
    uint64_t fault;
} SnCudaEnv;

// Native entries. bufs: one pointer per argument. scratch: at least the kernel's scratch bytes, 64-byte
// aligned, private to the calling thread.
typedef void (*SnKernelFn)(void *const *bufs, const SnEnv *env, int64_t task0, int64_t task1,
                           void *scratch);
// An epilogue runs on rows [row0, row1) x lanes [lane0, lane1); tile[(r - row0) * ld + (l - lane0)].
typedef void (*SnEpilogueFn)(void *const *bufs, const SnEnv *env, const float *tile, int64_t ld,
                             int64_t row0, int64_t row1, int64_t lane0, int64_t lane1);
// A strip runs on such a rectangle of several tiles, which it reads and writes, with row folds over the
// lanes [lane0, lane1), those of the row that can count; lane0 is a multiple of 128.
typedef void (*SnStripFn)(void *const *bufs, const SnEnv *env, float *const *tiles, int64_t ld,
                          int64_t row0, int64_t row1, int64_t lane0, int64_t lane1, void *scratch);
// The GEMM micro-kernel of r rows x w lanes: to[r x w] = from + a (r adjacent floats for each k, lda
// apart: r in a packed panel) times b (w lanes for each k, ldb apart), one FMA chain per element over
// increasing k. from NULL: the chain starts at 0. acc not NULL: the chain's end is added to it (acc +
// chain). lds count floats.
// Of pairs: for each two of k, a and b hold words of two bf16, the even one low; the odd one is taken
// first (sn_pairs). kc and lds count words.
typedef void (*SnUkrFn)(int64_t kc, const float *a, int64_t lda, const float *b, int64_t ldb,
                        const float *from, int64_t ldfrom, const float *acc, int64_t ldacc,
                        float *to, int64_t ldto);

// Micro-kernels exist for every number of vectors up to the tile's and for these numbers of rows: the
// tile's mr (e = 0), then the powers of two below it, falling; so edges cost few calls and little code.
static inline uint32_t sn_ukr_sizes(uint32_t mr) {
    uint32_t n = 1;
    for (uint32_t r = 1; r < mr; r *= 2) n++;
    return n;
}
static inline uint32_t sn_ukr_rows(uint32_t mr, uint32_t e) {
    return e ? 1u << (sn_ukr_sizes(mr) - 1 - e) : mr;
}

typedef enum { // in the order of ir's Elem
#define SN_ELEMENT(name, dtype, kind) SN_ELEM_##name,
#include "runtime/elem.def"
#undef SN_ELEMENT
    SN_ELEMS
} SnElem;

typedef enum { // in the order of ir's StateKind
    SN_STATE_PARAM,
    SN_STATE_MOMENT,
    SN_STATE_STAT,
    SN_STATE_COUNTER,
    SN_STATE_ACCUM,  // sums of one step, never saved
    SN_STATE_SHADOW, // a parameter in another type, never saved: section "refresh"
    SN_STATE_KINDS
} SnStateKind;

typedef enum {
    SN_REGION_NONE,
    SN_REGION_PARAM,
    SN_REGION_MOMENT,
    SN_REGION_SHADOW,
    SN_REGION_ACCUM,
    SN_REGION_TEMP,
    SN_REGION_INPUT,
    SN_REGION_SCALAR,
    SN_REGION_HOST, // CUDA: pinned memory of the host, which nothing but copies touches
    SN_REGIONS
} SnRegion; // same order as ir's Region
typedef enum { SN_DEVICE_CPU, SN_DEVICE_CUDA, SN_DEVICES } SnDeviceKind;
typedef enum {
    SN_CMD_KERNEL,
    SN_CMD_GEMM,
    SN_CMD_ATTEND,
    SN_CMD_FILL,
    SN_CMD_COPY,
    SN_CMD_RECORD, // the event stands for all that its stream was given so far
    SN_CMD_WAIT    // what its stream is given from here on comes after the event
} SnCmdOp;
// Commands of a stream run in their order, those of different streams in any that RECORD and WAIT allow. A
// section begins and ends in the first: the others start with a WAIT, and it waits for all that they copied.
typedef enum {
    SN_STREAM_COMPUTE,
    SN_STREAM_OUT, // copies to the host
    SN_STREAM_IN,  // copies from it
    SN_STREAMS
} SnStream;
enum { SN_MAX_EVENTS = 1024 };                         // of a plan
typedef enum { SN_WHEN_ALWAYS, SN_WHEN_FIRST } SnWhen; // first: only in the first micro-batch

// Of items, at byte offset from the blob's start.
typedef struct {
    uint32_t offset, count;
} SnTable;
typedef uint32_t SnStr; // byte offset of a NUL-terminated string; 0 is ""

typedef struct {
    uint16_t region, elem; // SnRegion, SnElem
    uint32_t value; // which lies there at that time; equal numbers are equal values. 0: not said
    int64_t offset, bytes;
} SnArg;

typedef struct {
    uint8_t op, when, stream, pad; // SnCmdOp, SnWhen, SnStream
    uint32_t fn; // KERNEL, GEMM, ATTEND: index in kernels, gemms, attends; RECORD, WAIT: the event
    uint32_t args, nargs; // those: range of args. FILL: one arg, zeroed. COPY: to, from
    uint32_t node;        // index in nodes: what it is; of instance i: node + i
    uint32_t count; // KERNEL: how many times, each with arguments of its own (CUDA: one launch)
} SnCmd;

// What a command is, for profiles and faults. line: of the model file; 0: not said.
typedef struct {
    SnStr name;
    uint32_t line;
} SnNode;

enum { SN_MAX_ARGS = 64, SN_MAX_KEYS = 8 };
typedef enum { SN_CALL_TASKS, SN_CALL_EPILOGUE, SN_CALL_STRIP } SnCall;
typedef struct {
    SnStr name;
    uint32_t fn;   // CPU: index in the function table. CUDA: its symbol is "k<fn>"
    uint32_t call; // SnCall: an SnKernelFn, SnEpilogueFn or SnStripFn
    uint32_t nargs;
    uint64_t hash;
    int64_t tasks, scratch, flops, bytes;
    uint64_t reads, writes,
        floats; // by argument, one bit each: how it is used, whether it holds reals
    // CUDA: the images that hold it, and how it is started. Parameters: the address of an
    // SnCudaEnv, the first argument's index in `args` (u32), one pointer for each argument, then the
    // random keys, 64 bits each. With `table`, it is started for `count` commands at once, instance i in
    // the blocks with z = i, and takes the address of a table of all their arguments (and keys) in the
    // place of its own.
    uint32_t batch, grid[3], block, shared;
    uint32_t nkeys, table;
    uint64_t key[SN_MAX_KEYS];
} SnKernel;

// C[m, n] = sum over k of A[m, k] * B[k, n] (+ acc), per batch element. m, n, k and batch are each up to
// four nested extents (last fastest) with their own strides in elements: nothing needs to fold.
enum { SN_GEMM_DIMS = 4 };
// An extent and its stride in each matrix; 0 where it does not occur.
typedef struct {
    int64_t extent, a, b, c;
} SnDim;
// Nested extents of one role, folded; the last is the fastest. count may be 0: one element.
typedef struct {
    uint32_t count;
    int64_t size; // product of the extents
    SnDim dim[SN_GEMM_DIMS];
} SnExtents;

// How many pieces of a size, or how much with what fills up the last; of n >= 0.
static inline int64_t sn_ceil_div(int64_t n, int64_t size) { return n / size + (n % size != 0); }
static inline int64_t sn_round_up(int64_t n, int64_t to) { return sn_ceil_div(n, to) * to; }

static inline int64_t sn_extent(const SnDim *d, uint32_t n) { // their product
    int64_t all = 1;
    for (uint32_t i = 0; i < n; i++) all *= d[i].extent;
    return all;
}
// Drops extents of 1, whose strides mean nothing, and folds neighbours that walk as one in all matrices.
// Returns how many stay; to may be d.
static inline uint32_t sn_fold(const SnDim *d, uint32_t n, SnDim *to) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        SnDim x = d[i], *last = count ? &to[count - 1] : NULL;
        if (x.extent == 1) continue;
        if (last && last->a == x.a * x.extent && last->b == x.b * x.extent &&
            last->c == x.c * x.extent) {
            x.extent *= last->extent;
            *last = x;
        } else {
            to[count++] = x;
        }
    }
    return count;
}
// swap: A and B change places.
static inline SnExtents sn_extents(const SnDim *d, uint32_t n, bool swap) {
    SnExtents x = {.size = sn_extent(d, n)};
    x.count = sn_fold(d, n, x.dim);
    for (uint32_t i = 0; swap && i < x.count; i++) {
        int64_t a = x.dim[i].a;
        x.dim[i].a = x.dim[i].b, x.dim[i].b = a;
    }
    return x;
}
// The same product as one call of cuBLASLt, which is column-major: D[rows x cols] = op(A) op(B) + beta C,
// where A is the command's second matrix when `swap`, else its first, and so on. Strides of the batch
// and leading dimensions in elements.
typedef struct {
    int64_t rows, cols, k, batch, lda, ldb, ldc, stride_a, stride_b, stride_c;
    uint32_t trans_a, trans_b, swap, pad;
} SnLt;
typedef enum {
    SN_FUNCTION_NONE,
    SN_FUNCTION_GELU,          // C = gelu(v), v = A B + bias
    SN_FUNCTION_GELU_GRADIENT, // C = (A B) * gelu'(aux)
    SN_FUNCTIONS
} SnFunction;
// Sums: over m of C; over k of A (one for each m) or of B (one for each n).
typedef enum { SN_SUMS_NONE, SN_SUMS_C, SN_SUMS_A, SN_SUMS_B, SN_SUMS } SnSums;
// What a product may have beside A and B, one bit of `has` each. The command's arguments are A, B, then
// one for each of the first five that it has, in this order, then the bufs of the epilogue.
typedef enum {
    SN_GEMM_C,        // it is stored; else the epilogue alone stores
    SN_GEMM_ACC,      // added last, laid out as C
    SN_GEMM_BIAS,     // CUDA: one value for each n, added after acc
    SN_GEMM_AUX,      // CUDA: laid out as C: what GELU is applied to, written or (gradient) read
    SN_GEMM_SUM,      // CUDA: one value for each of what is left when the rows of `sums` are added
    SN_GEMM_EPILOGUE, // CPU: kernel number `epilogue` runs on its tiles
    SN_GEMM_KERNEL, // CUDA: kernel number `kernel` does it all, with the arguments A, B, C, acc, bias
                    // that there are; else cuBLASLt does, as `lt` says
    SN_GEMM_PARTS
} SnGemmPart;
typedef struct {
    uint32_t nbatch, nm, nn, nk;
    SnDim batch[SN_GEMM_DIMS], m[SN_GEMM_DIMS], n[SN_GEMM_DIMS], k[SN_GEMM_DIMS];
    int64_t base_a, base_b, base_c; // element offsets
    uint32_t has;
    uint32_t acc_first; // acc is an accumulator: zeros when env->first
    uint32_t epilogue, kernel;
    uint32_t function;       // SnFunction of what is stored in C
    uint32_t sums;           // SnSums
    uint32_t elem_a, elem_b; // SnElem: f32, bf16 or f16
    uint32_t elem_c;         // likewise of C, acc, bias, aux and sums; CPU: f32
    uint32_t tf32;           // CUDA, of f32 alone: cuBLASLt may round what it multiplies to 11 bits
    SnLt lt;
} SnGemm;
static inline bool sn_multiplies(uint32_t elem) { // products take it as it lies
    return elem == SN_ELEM_f32 || elem == SN_ELEM_bf16 || elem == SN_ELEM_f16;
}
// How a product sums over k (docs/numerics.md, Contractions): both operands bf16, in pairs, the odd
// element first; else one after the other.
static inline bool sn_pairs(uint32_t elem_a, uint32_t elem_b) {
    return elem_a == SN_ELEM_bf16 && elem_b == SN_ELEM_bf16;
}
static inline uint32_t sn_gemm_bit(SnGemmPart part) { return 1u << part; }
static inline int sn_gemm_has(const SnGemm *g, SnGemmPart part) { return g->has >> part & 1; }
// The argument of a part that it has: of the epilogue the first one.
static inline uint32_t sn_gemm_arg(const SnGemm *g, SnGemmPart part) {
    return 2 + (uint32_t)__builtin_popcount(g->has & (sn_gemm_bit(part) - 1));
}
// Which arguments the product itself reads and writes, one bit each; the epilogue's are its kernel's.
static inline uint64_t sn_gemm_writes(const SnGemm *g) {
    uint64_t set = 0;
    for (uint32_t i = SN_GEMM_C; i <= SN_GEMM_SUM; i++) {
        SnGemmPart part = (SnGemmPart)i;
        int writes = part == SN_GEMM_C || part == SN_GEMM_SUM ||
                     (part == SN_GEMM_AUX && g->function == SN_FUNCTION_GELU);
        if (writes && sn_gemm_has(g, part)) set |= UINT64_C(1) << sn_gemm_arg(g, part);
    }
    return set;
}
static inline uint64_t sn_gemm_reads(const SnGemm *g) {
    return ((UINT64_C(1) << sn_gemm_arg(g, SN_GEMM_EPILOGUE)) - 1) & ~sn_gemm_writes(g);
}

// Attention: products make tiles of rows x keys, a strip of rows at a time; a kernel works on them row by
// row; sums over keys or rows are stored. All other axes are outer ones; rows of the kernel count
// outer x rows, its lanes are the keys.
enum { SN_ATTEND_OUTER = 6, SN_ATTEND_PARTS = 12, SN_ATTEND_TILES = 8, SN_ATTEND_HULL = 128 };
typedef enum {
    SN_ATTEND_PRODUCT, // tile[row, key] = sum over f of x[row, f] * y[key, f]
    SN_ATTEND_KEYS,    // y[row, f] = sum over keys of tile[row, key] * x[key, f]
    SN_ATTEND_ROWS,  // y[key, f] = sum over the outer axes that y lacks and rows, the last fastest,
                     // of tile[row, key] * x[row, f]
    SN_ATTEND_DENSE, // y[row, f] = sum over the outer axes that y lacks, in chunks, of tile[row, f];
                     // f: the keys
    SN_ATTEND_KINDS
} SnAttendKind;
// Strides in elements. step: from row to row, or key to key. outer: 0 where it lacks the axis.
// Element types: of x and y, each where it is multiplied; of the tile, whose numbers that type holds.
typedef struct {
    uint32_t kind, tile;
    uint32_t x, y; // arguments of the command
    uint32_t elem_x, elem_y, elem_tile;
    int64_t base_x, base_y, step_x, step_y;
    int64_t outer_x[SN_ATTEND_OUTER], outer_y[SN_ATTEND_OUTER];
    uint32_t nf;
    SnDim f[SN_GEMM_DIMS]; // a: stride in x, b: in y
    int64_t chunk;         // DENSE: tiles that are added up from 0 before their sum is added
} SnAttendPart;
static inline bool sn_attend_pairs(const SnAttendPart *p) {
    return sn_pairs(p->elem_x, p->kind == SN_ATTEND_PRODUCT ? p->elem_y : p->elem_tile);
}
typedef struct {
    uint32_t nouter, nparts, tiles;
    uint32_t strip; // rows in one
    uint32_t kernel,
        args;           // number of the strip kernel, and where in the command its arguments start
    uint32_t hull, pad; // of the first strip of rows
    int64_t outer[SN_ATTEND_OUTER], rows, keys;
    SnAttendPart part[SN_ATTEND_PARTS]; // the products first
} SnAttend;
// Which arguments the parts read and write, one bit each; from `args` on they are the kernel's.
static inline uint64_t sn_attend_reads(const SnAttend *a) {
    uint64_t set = 0;
    for (uint32_t i = 0; i < a->nparts; i++) {
        if (a->part[i].kind != SN_ATTEND_DENSE) set |= UINT64_C(1) << a->part[i].x;
        if (a->part[i].kind == SN_ATTEND_PRODUCT) set |= UINT64_C(1) << a->part[i].y;
    }
    return set;
}
static inline uint64_t sn_attend_writes(const SnAttend *a) {
    uint64_t set = 0;
    for (uint32_t i = 0; i < a->nparts; i++)
        if (a->part[i].kind != SN_ATTEND_PRODUCT) set |= UINT64_C(1) << a->part[i].y;
    return set;
}
// What a strip of rows may see, at any outer index: keys [first, end); first is a multiple of
// SN_ATTEND_HULL. Tiles that sums read are 0 elsewhere.
typedef struct {
    int32_t first, end;
} SnHull;

typedef struct {
    SnStr name;
    uint32_t cmd, count;
    uint32_t beside; // 1: for generating and predicting alone, never run while training
    int64_t temp;    // bytes of region temp that it uses
} SnSection;

typedef struct {
    SnStr name;
    uint32_t pad;
    int64_t size;
} SnAxis;
enum { SN_MAX_AXES = 8 };
typedef struct {
    SnStr path;
    uint8_t elem, kind, frozen, naxes; // SnElem, SnStateKind
    SnStr axis[SN_MAX_AXES];
    int64_t size[SN_MAX_AXES];
    uint32_t region, n_batch, n_in, pad;
    int64_t offset, bytes;
} SnState;

typedef struct { // a tensor that the runtime fills (input) or reads (output)
    SnStr name, section;
    uint8_t elem, kind, naxes; // SnElem; kind: ir's ResultKind (outputs)
    uint8_t sample;            // 1 + position of the sample axis
    SnStr axis[SN_MAX_AXES];
    int64_t size[SN_MAX_AXES];
    int64_t range; // inputs that are indices: values are in [0, range); else 0
    uint32_t region, pad;
    int64_t offset, bytes;
} SnPort;

// A scalar of the run, in region scalar; value: its default.
typedef struct {
    SnStr name;
    uint32_t elem; // SnElem
    double value;
    int64_t offset;
} SnScalar;

// The plan half of the model file, resolved: see docs/plan.md.
typedef struct {
    SnStr key, value;
} SnOption;

typedef struct {
    uint64_t magic;
    uint32_t version, size; // size of the blob in bytes
    SnStr sinter, target, cpu, model_name, model_text, ledger;
    uint32_t device;    // SnDeviceKind
    uint32_t features;  // bits of SN_CPU_* that the code needs
    uint32_t mr, nr;    // micro-kernel tile: rows, lanes (a multiple of 16)
    uint32_t ukr;       // first micro-kernel in the function table: v vectors of 16 lanes and
                        // sn_ukr_rows(mr, e) rows is ukr + (v - 1) * sn_ukr_sizes(mr) + e
    uint32_t ukr_pairs; // likewise of pairs, where features has SN_CPU_BF16
    uint32_t functions; // entries in the function table
    uint32_t batches;   // CUDA: of kernels; each has an image for every architecture
    uint32_t events;    // of RECORD and WAIT
    uint32_t pad;
    int64_t workspace; // CUDA: bytes that a call of cuBLASLt may use
    int64_t region_bytes[SN_REGIONS];
    SnTable kernels, gemms, attends, hulls, cmds, args, sections, states, inputs, outputs, scalars,
        options, nodes, strings;
} SnPlan;
enum { // AVX512: F BW DQ VL CD. BF16: AVX512-BF16
    SN_CPU_AVX2 = 1,
    SN_CPU_FMA = 2,
    SN_CPU_AVX512 = 4,
    SN_CPU_BF16 = 8
};

// What an executable holds: one program for each kind of device that it was built for.
typedef struct {         // the kernels of one batch for one architecture
    uint32_t sm, exact;  // 90, 1: "sm_90a", this architecture only
    uint32_t batch, ptx; // ptx: text that ends with NUL, for newer devices; else a cubin
    const unsigned char *data;
    uint64_t size;
} SnImage;
typedef struct {
    const unsigned char *plan; // NULL: behind the last program
    void (*const *functions)(void);
    const SnImage *images;
    uint64_t image_count;
    const struct SnEmulator *emulator; // CUDA: the emulated device (emulator/emulator.h)
} SnProgram;
extern const SnProgram sn_programs[];

#define SN_AT(plan, T, table)                                                                      \
    ((const T *)(const void *)((const unsigned char *)(plan) + (plan)->table.offset))
#define SN_STRING(plan, s) ((const char *)(plan) + (plan)->strings.offset + (s))

static inline const SnNode *sn_cmd_node(const SnPlan *p, const SnCmd *c) {
    return &SN_AT(p, SnNode, nodes)[c->node];
}
static inline const char *sn_cmd_name(const SnPlan *p, const SnCmd *c) {
    return SN_STRING(p, sn_cmd_node(p, c)->name);
}

// Of the products over the keys that strips see.
static inline double sn_attend_flops(const SnPlan *p, const SnAttend *a) {
    const SnHull *h = &SN_AT(p, SnHull, hulls)[a->hull];
    double seen = 0, features = 0, outer = 1;
    for (int64_t row = 0; row < a->rows; row += a->strip, h++) {
        int64_t rows = a->rows - row < a->strip ? a->rows - row : a->strip;
        seen += (double)rows * (double)(h->end - h->first);
    }
    for (uint32_t i = 0; i < a->nouter; i++) outer *= (double)a->outer[i];
    for (uint32_t i = 0; i < a->nparts; i++) {
        double f = 1;
        for (uint32_t k = 0; k < a->part[i].nf; k++) f *= (double)a->part[i].f[k].extent;
        if (a->part[i].kind != SN_ATTEND_DENSE) features += f;
    }
    return 2 * outer * seen * features;
}

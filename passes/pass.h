// What every pass gets, and the ledger in which it records its decisions.
#pragma once
#include "ir/build.h"
#include "ir/ir.h"

typedef VEC(NodeId) NodeList;

// One line of `sinter explain`. Decisions that agree in function, pass, rule, subject and reason are one
// line with a count: that is how twelve layers read as "x 12".
typedef struct {
    const char *func; // name of the function that it is about, "" or NULL: of the whole module
    const char *pass, *rule; // "fuse", "epilogue"
    const char *subject;     // class of the thing: value name with instance numbers as '*'
    const char *reason;
    int64_t bytes; // predicted memory traffic or storage saved by all of them
    uint32_t count;
    bool done; // false: considered and refused
    Loc loc;
} Decision;
// Why two values are not computed by one kernel: passes/fuse.def.
typedef enum {
    REFUSAL_none,
#define REFUSAL(name, reason, change) REFUSAL_##name,
#include "passes/fuse.def"
#undef REFUSAL
    REFUSAL_COUNT
} Refusal;
typedef struct {
    const char *name, *reason, *change;
} RefusalInfo;
extern const RefusalInfo refusal_info[REFUSAL_COUNT];

// A group that reads a value of another: what fuse decided about it. The body of group n of function f
// is named "f.gn".
typedef struct {
    struct {
        const char *name;
        Loc loc;
    } source, reader;
    Sym func;
    uint32_t from, to; // numbers of the groups
    Refusal why;
    Refusal besides;  // why == later: the reader could not join the source's group anyway
    const char *late; // and what it reads of the later group
    int64_t bytes;    // of the source
    uint32_t reads;   // values that a kernel of both would read
} FusePair;

// What a training run takes when all rounds compute again what this and the rows before name.
typedef struct {
    const char *again; // "h.*.ln_1, h.*.ln_2"; of the first row ""
    int64_t bytes;
    double slower; // percent of the function's predicted time
    bool taken;    // for the plan's budget
} Tradeoff;

typedef struct Ledger {
    Arena *arena;
    VEC(Decision) lines;
    Map index;
    bool keep_pairs; // set before the passes: every pair of neighbours is kept
    VEC(FusePair) pairs;
    bool
        keep_fates; // set before the passes: what is kept for the backward pass is said in any case
    VEC(Tradeoff) tradeoffs;
} Ledger;
Ledger *ledger_new(Arena *a);
// d: all but reason and count. Its subject may hold instance numbers ("h.3.attn.q"): they are replaced
// by '*'. l may be NULL.
void ledger_add(Ledger *l, Decision d, const char *reason_fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Function by function, the training step's first; lines in the order in which they were added.
void ledger_print(const Ledger *l, Text *to);
// The same as JSON, an object a line: kind "decision", target, function, pass, rule, done, subject, count,
// bytes, reason, and where it is known file, line and column.
void ledger_print_json(const Ledger *l, const Diag *d, const char *target, Text *to);
// What the plan says, and in which line if it has one: "the plan says nofuse, line 5".
const char *ledger_said(Arena *a, const Diag *d, const char *what, Loc at);
// A name with '*' for instance numbers: "h.3.attn.q" -> "h.*.attn.q".
const char *ledger_class(Arena *a, const char *name);

typedef enum { EPILOGUE_bias, EPILOGUE_any } Epilogue;
typedef enum { ATTENDS_not, ATTENDS_strips, ATTENDS_tensor } Attends;
// A row of ir/target.def: all that a pass may know of a target.
typedef struct {
    const char *name;
    uint32_t lanes;
    int64_t fast_memory; // bytes close to one core or block: what a held row may take
    double bytes_per_second, flops_per_second; // nominal, for predictions in the ledger
    bool bundles;      // starting a kernel costs: equal ones are started together
    uint32_t epilogue; // Epilogue: what may be computed on the tiles of a matrix product
    uint32_t attends;  // Attends: which of its kernels keep attention whole
    bool merges;       // products of one value by several parameters are one by default
    bool rows_over;    // a kernel of rows may write a row over one that it has read
    int64_t align;     // bytes that the place of every buffer is a multiple of
    double units;      // of which the rates above are one's
    double out, in;    // bytes/s to memory of the host and from it; 0: it is the device's own
} Target;

typedef struct {
    Module *m;
    Arena *scratch; // reset by the pipeline between passes
    Ledger *ledger;
    const Target *target;
    int64_t micro; // samples per micro-batch; 0: the whole batch
    Loc micro_at;  // where that is asked for, or nowhere
    bool unfused;  // fuse puts every value into a group of its own: for comparing
    bool library;  // where products are a library's, all that it can compute along (other bits)
} PassCx;

// Every pass: true when it changed something; a no-op on its own output; the verifier holds after it.
#define PASS(name, ...) bool pass_##name(PassCx *cx);
#include "passes/passes.def"
#undef PASS

typedef enum {
    PASS_none,
#define PASS(name, ...) PASS_##name,
#include "passes/passes.def"
#undef PASS
} PassId; // of pass_table[id - 1]

typedef struct {
    const char *name, *reason;
    bool neutral;    // may not change one bit of any result
    PassId requires; // or PASS_none
    bool (*run)(PassCx *cx);
} PassInfo;
extern const PassInfo pass_table[];
extern const uint32_t pass_count;

// What every pass gets, and the ledger in which it records its decisions.
#pragma once
#include "ir/build.h"
#include "ir/ir.h"

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
typedef struct Ledger {
    Arena *arena;
    VEC(Decision) lines;
    Map index;
} Ledger;
Ledger *ledger_new(Arena *a);
// d: all but reason and count. Its subject may hold instance numbers ("h.3.attn.q"): they are replaced
// by '*'. l may be NULL.
void ledger_add(Ledger *l, Decision d, const char *reason_fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Function by function, the training step's first; lines in the order in which they were added.
void ledger_print(const Ledger *l, Text *to);
// The same as JSON, an object a line: function, pass, rule, done, subject, count, bytes, reason, and where
// it is known file, line and column.
void ledger_print_json(const Ledger *l, const Diag *d, Text *to);

typedef enum { EPILOGUE_bias, EPILOGUE_any } Epilogue;
// A row of ir/target.def: all that a pass may know of a target.
typedef struct {
    const char *name;
    uint32_t lanes;
    int64_t fast_memory; // bytes close to one core or block: what a held row may take
    double bytes_per_second, flops_per_second; // nominal, for predictions in the ledger
    bool bundles;      // starting a kernel costs: equal ones are started together
    uint32_t epilogue; // Epilogue: what may be computed on the tiles of a matrix product
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
#define PASS(name, neutral, after, reason) bool pass_##name(PassCx *cx);
#include "passes/passes.def"
#undef PASS

typedef struct {
    const char *name, *reason;
    bool neutral; // may not change one bit of any result
    bool (*run)(PassCx *cx);
} PassInfo;
extern const PassInfo pass_table[];
extern const uint32_t pass_count;

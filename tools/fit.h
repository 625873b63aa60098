// What a training step takes on devices that need not be there: memory, from the compiler's own plan for them,
// and time, from their rates. The command is sinter plan (fit.c); fit_build.c compiles, fit_memory.c counts
// bytes for each rank, fit_time.c seconds.
#pragma once
#include "passes/peak.h"
#include "runtime/core/device.h"
#include "tools/driver.h"
#include "tools/fleet.h"

// Where time goes. attention: products kept whole with what is between them.
typedef enum { TIME_products, TIME_attention, TIME_kernels, TIME_copies, TIME_KINDS } TimeKind;
extern const char *const time_names[TIME_KINDS];

// What a device does in a second, and where that is from.
typedef struct {
    double products[RATES], vector; // flop/s of products by their operands; of all else
    double bytes, streams;          // bytes/s of products and copies; of other kernels
    double start;                   // seconds that a command takes at least
    double ratio[TIME_KINDS];       // measured over estimated
    const char *source;             // the file of the calibration; NULL: there is none
} Rates;

// What the ranks may divide between them, and from which stage of ZeRO they do.
//           name     stage  text
#define HELD(HOLD)                                                                                 \
    HOLD(direct, 3, "parameters")                                                                  \
    HOLD(shadow, 3, "parameters, as products read them")                                           \
    HOLD(master, 1, "parameters, masters")                                                         \
    HOLD(moment, 1, "moments")                                                                     \
    HOLD(sum, 2, "gradients")
typedef enum {
#define HOLD(name, ...) HELD_##name,
    HELD(HOLD)
#undef HOLD
        HELD_COUNT
} Held;
typedef struct {
    int64_t count, bytes; // numbers; with the ends of places
    int64_t round;        // bytes of the largest round of a repeat, or of one tensor outside of all
    uint32_t elem;
    bool mixed; // of several types
} Holding;

// A step of one rank, as it was compiled. Without pointers: it goes through a pipe.
typedef struct {
    bool good;
    char error[384]; // the first one; good is false
    Holding held[HELD_COUNT];
    int64_t region[REGION_COUNT]; // bytes
    SnLayout layout;              // not of a small build: .all is then the regions' sum
    int64_t temp_micro,
        temp_other;       // of region temp: of the step's micro-batch; the most of the others
    int64_t kept;         // of temp_micro, alive when the backward pass starts
    int64_t micro, batch; // samples
    int64_t length;       // positions of a sample; 0: there is no such axis
    double seconds[TIME_KINDS], update; // of a micro-batch; once a step
    uint32_t commands;                  // of a micro-batch
    double flops[RATES];                // of a micro-batch: products, attention with them
} FitBuilt;

// How much is compiled: all; the functions of a step, for sizes and times; that of a micro-batch, for sizes.
typedef enum { BUILD_all, BUILD_step, BUILD_sizes } BuildDepth;
// What is compiled: lines of the plan beside the model's and the command's.
enum { SETTINGS = 4 };
typedef struct {
    struct {
        const char *name, *value;
    } set[SETTINGS];
    uint32_t n;
    BuildDepth depth;
    FitBuilt built;
} Variant;

typedef struct {
    Driver *d;
    Fleet fleet;
    Rates rates;
    uint32_t zero;    // 0 to 3
    const char *axis; // of positions, or NULL
    double attention; // flops forward of one sample's products whose two operands are data
    bool others;      // another function needs nearly as much as micro: no function is left out
    FitBuilt base;
} Fit;

// fit_build.c
// In this process; d->program stays, but for functions that are left out. False after reporting.
bool fit_build(Fit *x, Driver *d, BuildDepth depth, FitBuilt *to);
// In processes of their own, as many at a time as there are CPUs.
void fit_variants(Fit *x, Variant *v, uint32_t n);
// The name of the axis of positions: the one of the plan's sizes that is no sample axis. NULL: none, or several.
const char *fit_axis(const Driver *d);

// fit_memory.c
void fit_hold(const Module *m, int64_t align, FitBuilt *to); // what states there are
typedef struct {
    const char *name, *formula;
    int64_t bytes;
    int64_t unsure; // more or less
} Term;
typedef VEC(Term) Terms;
// The terms of one rank; text may be NULL where they need not be explained.
void fit_terms(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks, Terms *to);
// Their sum, and that of states alone.
int64_t fit_states(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks);
// What products read, which must lie there whatever else does.
int64_t fit_weights(const FitBuilt *b, uint32_t zero, uint32_t ranks);
int64_t fit_bytes(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks);

// fit_time.c
void fit_rates(const Fleet *f, Rates *to);
// What products and copies were measured to do on a CPU: flop/s, bytes/s read and written.
void fit_take_rates(Rates *to, double products, double copies);
bool fit_calibrate(Arena *a, const Fleet *f, const char *path, Rates *to, Text *why);
void fit_cost(const Rates *r, Arena *a, const SnPlan *p, FitBuilt *to);
typedef struct {
    uint32_t accum;               // micro-batches of a rank in a step
    double seconds;               // of a step
    double micro[TIME_KINDS];     // all micro-batches of a step
    double update, wire, exposed; // wire: of all collectives, of which so much is not hidden
    double tokens;                // of a step, all ranks; samples where there are no positions
    double mfu, hfu;              // shares
    double link;                  // bytes/s that the collectives were taken at; 0: not known
} StepTime;
void fit_time(const Fit *x, const FitBuilt *b, uint32_t zero, uint32_t ranks, StepTime *to);
// PaLM's: 6 N and the attention's 12 L d s; of one token, forward and backward.
double fit_flops_per_token(const Fit *x);

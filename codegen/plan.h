// From a planned module to the plan: every group lowered, every command listed, one blob written.
#pragma once
#include "codegen/lower.h"

// One command of a section, before indices are known.
typedef struct {
    NodeId node; // of the function
    Lowered low;
} SectionCommand;
typedef struct {
    FuncId func;
    VEC(SectionCommand) steps;
} ProgramSection;
typedef struct {
    const Module *m;
    VEC(ProgramSection) sections;
} KernelProgram;

// Lowers every group of every function. Errors (a shape that kernels cannot hold) are reported at the
// node's place; then false.
bool program_lower(Arena *a, const Module *m, Diag *d, KernelProgram *out);
// Every kernel once, as text that kernel_parse reads.
void program_print_kernels(Text *to, const KernelProgram *p);
// Commands by section, with their arguments' places.
void program_print_plan(Text *to, const KernelProgram *p);

typedef struct {
    const char *name;
    Elem elem;
    double value;
} PlanScalar;
typedef struct {
    const char *sinter, *target, *cpu, *model_name, *model_text;
    const char *const (*option_text)[2];
    uint32_t option_count;
    const PlanScalar *scalars;
    uint32_t scalar_count;
    SnDeviceKind device;
    // Code for a kernel, and for a product: fills in what the target says of it (SnKernel.fn, or how
    // it is started; SnGemm.kernel and lt, NULL where the target has nothing to say). False with the
    // reason in *why.
    bool (*kernel)(void *user, const Kernel *k, SnKernel *to, Text *why);
    bool bundles; // equal neighbours are started as one command: `to->table` is set then
    bool (*gemm)(void *user, SnGemm *g, const char *what, Loc loc, SnKernel *kernel, Text *why);
    // Of a flash group: one of its kernels. NULL: the target has none.
    bool (*flash)(void *user, const LowerFlash *f, FlashKernelKind kind, const char *what,
                  SnKernel *to, Text *why);
    void (*finish)(void *user, SnPlan *head); // when all are known: the rest of the header
    void *user;
} PlanInfo;

// Two steps, because the ledger in the plan also holds what compiling the kernels showed. First all
// tables: the target is asked for every kernel and product. NULL after an error, which is reported at
// its place. info must stay until the second step: the blob, *size in bytes.
typedef struct PlanTables PlanTables;
PlanTables *plan_collect(Arena *a, const KernelProgram *p, const PlanInfo *info, Diag *d);
void *plan_write(PlanTables *t, const char *ledger, size_t *size);

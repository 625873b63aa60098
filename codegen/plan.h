// From a planned module to the plan: every group lowered, every command listed, one blob written.
#pragma once
#include "codegen/lower.h"

// One command of a section, before indices are known.
typedef struct {
    NodeId node;  // of the function
    Lowered low;  // groups
    bool is_copy; // an assign whose value is not in the state's place
} Step;
typedef struct {
    FuncId func;
    VEC(Step) steps;
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
    const char *sinter, *target, *cpu, *model_name, *model_text, *ledger;
    uint32_t features;
    uint32_t ukr, mr, nr; // the micro-kernels in the function table
    const char *const (*option_text)[2];
    uint32_t option_count;
    const PlanScalar *scalars;
    uint32_t scalar_count;
    // Index of a kernel's code in the function table.
    uint32_t (*function)(void *user, const Kernel *k);
    uint32_t (*functions)(void *user); // entries in the table, asked for last
    void *user;
} PlanInfo;

// The blob; *size in bytes.
void *plan_write(Arena *a, const KernelProgram *p, const PlanInfo *info, size_t *size);

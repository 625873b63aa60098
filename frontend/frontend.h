// From source text to a module: the functions step, eval, predict, generate and init, before any pass.
//
//   step      the whole training step on the whole batch, training = true: results 'loss' (and named
//             losses, metrics), then gradients (op grad), clipping, the optimizers and the schedule,
//             and an assign per state
//   eval      the losses and metrics on the whole batch, training = false
//   predict   the outputs for the whole batch, training = false (absent when the model has no output)
//   generate  the outputs for a batch of 1, training = false (absent when the model has no output)
//   init      an assign per state with its first value
#pragma once
#include "ir/ir.h"

typedef struct {
    const char *name, *value; // -D name=value
} Define;

// The plan half, resolved to text for the executable and the tools: "data.kind" = "text", "data.path" =
// "shakespeare.txt", "data.split" = "0.9", "micro" = "8", "batch" = "512", "steps" = "19000" …
typedef struct {
    const char *key, *value;
} PlanOption;

// A scalar of the run that the executable may set: its input name in the module and default value.
typedef struct {
    const char *name; // "lr.peak", "lr.steps"
    Elem elem;
    double value;
} RunScalar;

// What was written about a state. NULL: nothing, or the state does not learn.
typedef struct {
    const char *initial;          // "normal(0.02)"
    const char *optimizer, *rate; // of a parameter that learns
} StateNote;

typedef struct {
    Module *m;
    const char *model_name; // "gpt2"
    AxisId sample;          // the plan's sample axis
    int64_t batch, micro;   // whole batch; samples per micro-batch
    Loc micro_at;           // the plan's line that says so, or nowhere
    bool no_plan;           // the file has no 'train': it can be checked and shown, not built
    Loc model_at;           // the model's name
    const char *loss_scale; // as the plan has it, or NULL
    VEC(PlanOption) options;
    VEC(RunScalar) scalars;
    VEC(StateNote) notes; // by StateId
} Program;

// Compiles the file (already added to d). Errors go to d; NULL when there were any.
Program *frontend_compile(Arena *a, SymTab *syms, Diag *d, uint16_t file, const Define *defs,
                          uint32_t ndefs);
// Whether the language itself has a function of that name, so that std.sn need not.
bool frontend_builtin(const char *name);
// The canonical layout of a source file, comments kept. NULL after errors.
char *frontend_format(Arena *a, Diag *d, uint16_t file);

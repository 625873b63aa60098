// A model file compiled as far as a test wants it: to the module, through some passes, or to native
// code that runs in this process.
#pragma once
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "tests/oracle/native.h"

typedef struct {
    Arena *a;
    Diag *diag;
    Program *program;
    Ledger *ledger;
    Native native;
} TestModel;

// Compiles path (from the root of the sources) with -D options written "layer=2 dim=32". Any fault
// is printed and ends in NULL.
TestModel *model_compile(const char *path, const char *defines);
void model_free(TestModel *t);
// Every derivative that the step computes becomes a result "grad.PATH" of it. Before any pass.
void model_keep_gradients(TestModel *t);
// Runs the passes up to `last` (NULL: all), verifying after each.
bool model_passes(TestModel *t, const char *last);
// Lowers the planned module and loads its code.
bool model_load(TestModel *t, const char *cpu, int threads);

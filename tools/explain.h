// What was decided about a module; see explain.c.
#pragma once
#include "tools/driver.h"

// As text or JSON, after all passes for d->family; with --why-not the ledger has kept its pairs. False after
// reporting: nothing is called so.
bool explain(Driver *d, Text *to);
// explain_memory.c. Before the passes: they shall find what --pareto and --kept show.
void explain_ask(Driver *d);
void explain_pareto(const Driver *d, Text *to); // budgets, and what each costs
void explain_kept(const Driver *d, Text *to);   // values, and why each is kept or not

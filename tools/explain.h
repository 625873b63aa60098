// What was decided about a module; see explain.c.
#pragma once
#include "tools/driver.h"

// As text or JSON, after all passes for d->family; with --why-not the ledger has kept its pairs. False after
// reporting: nothing is called so.
bool explain(Driver *d, Text *to);

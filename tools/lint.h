// What a plan says and is hardly meant; see lint.c. Rules: lint.def.
#pragma once
#include "tools/driver.h"

// Reports warnings and notes. d: a model that was loaded, and whose demands and budget the passes found no fault in.
void lint(Driver *d);

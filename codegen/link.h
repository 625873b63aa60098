// The last step of a build: objects and archives into one executable.
#pragma once
#include "ir/base/str.h"

// Links inputs (NULL-terminated: first what cpu_write_object wrote, all of which is linked, then
// archives, of which what is needed: each may need those behind it) into the position-independent executable `out` with
// the system's cc. The same inputs give the same bytes: no build id, no paths, no debugging
// information. Written beside `out` under a temporary name and then renamed, so `out` is never half
// a file. False with the reason in *why: no linker, no space, the linker's own words.
bool link_executable(const char *const *inputs, const char *out, Text *why);

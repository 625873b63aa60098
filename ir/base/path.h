// Paths of parameters and values: components with points between them, "h.3.attn.wq".
#pragma once
#include <stdbool.h>

// Whether the components of the pattern match a run of the path's: "attn.w*" selects h.3.attn.wq and all
// below it. '*' stands for any text within one component.
bool path_selects(const char *pattern, const char *path);
// The end of what it selects in the path: that of a component, the last one where it matches several runs.
// NULL: it selects nothing.
const char *path_end(const char *pattern, const char *path);
// Whether it selects what ends there.
bool path_ends_at(const char *pattern, const char *path, const char *end);
// Whether they match the whole path, component by component.
bool path_is(const char *pattern, const char *path);

// Paths of parameters and values: components with points between them, "h.3.attn.wq".
#pragma once
#include <stdbool.h>

// Whether the components of the pattern match a run of the path's: "attn.w*" selects h.3.attn.wq and all
// below it. '*' stands for any text within one component.
bool path_selects(const char *pattern, const char *path);
// Whether they match the whole path, component by component.
bool path_is(const char *pattern, const char *path);

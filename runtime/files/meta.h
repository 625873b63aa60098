// Metadata of a safetensors file under construction, and what files of a run call types and axes.
#pragma once
#include "runtime/safetensors.h"

typedef struct {
    SnMeta *at; // owned, as the texts are
    uint32_t n;
    bool failed; // memory is short; what follows is left out
} SnMetaList;

void sn_meta_add(SnMetaList *m, const char *prefix, const char *key, const char *value);
void sn_meta_number(SnMetaList *m, const char *prefix, const char *key, uint64_t value);
// "dim, head": axis `first`, when it is one of the n, then the others in order. To be freed; NULL: memory is
// short.
char *sn_axes_text(const SnPlan *p, const SnStr *axis, uint32_t n, uint32_t first);
// The same as the entry "axes.NAME".
void sn_meta_axes(SnMetaList *m, const SnPlan *p, const char *name, const SnStr *axis, uint32_t n,
                  uint32_t first);
void sn_meta_free(SnMetaList *m);

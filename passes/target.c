// The table of targets: what a pass may know of the machine it compiles for, and nothing else.
// It exists so that passes never call into codegen. Rows: ir/target.def.
#include "passes/pipeline.h"
#include <string.h>

static const Target targets[] = {
#define TARGET(name, lanes, fast, bytes, flops, bundles, epilogue, attends, merges, rows_over,     \
               align, units, out, in)                                                              \
    {#name,  lanes,     fast,  bytes, flops, bundles, EPILOGUE_##epilogue, ATTENDS_##attends,      \
     merges, rows_over, align, units, out,   in},
#include "ir/target.def"
#undef TARGET
};

const Target *target_find(const char *name) {
    for (uint32_t i = 0; i < target_count(); i++)
        if (strcmp(targets[i].name, name) == 0) return &targets[i];
    return NULL;
}

const Target *target_at(uint32_t i) { return &targets[i]; }
uint32_t target_count(void) { return (uint32_t)(sizeof targets / sizeof targets[0]); }

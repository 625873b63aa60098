// See bench_inputs.h. Linear in the inputs.
#include "tools/bench_inputs.h"
#include "runtime/elem.h"
#include <string.h>

// Marsaglia, "Xorshift RNGs", J. Stat. Softw. 8(14), 2003.
static uint64_t next(uint64_t *r) {
    *r ^= *r << 13, *r ^= *r >> 7, *r ^= *r << 17;
    return *r >> 11;
}

void bench_fill(SnExec *x, const SnPlan *plan, const char *section, uint64_t *state) {
    for (uint32_t i = 0; i < plan->inputs.count; i++) {
        const SnPort *p = &SN_AT(plan, SnPort, inputs)[i];
        if (section && strcmp(SN_STRING(plan, p->section), section) != 0) continue;
        char *at = sn_exec_input(x, p);
        int64_t size = sn_elem_info[p->elem].bytes, n = p->bytes / size;
        bool fraction = sn_elem_info[p->elem].kind == SN_KIND_FLOAT;
        uint64_t range = fraction ? 1000 : p->range > 0 ? (uint64_t)p->range : 2;
        for (int64_t k = 0; k < n; k++)
            sn_elem_set(p->elem, at + k * size,
                        (double)(next(state) % range) * (fraction ? 1e-3 : 1));
    }
}

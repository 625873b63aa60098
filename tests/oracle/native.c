// See native.h. The same calls in the same order as tools/build.c, so that what tests run is what
// users get.
#include "tests/oracle/native.h"
#include <string.h>

bool native_open(Arena *a, const KernelProgram *program, const NativeOptions *o, Native *out,
                 Text *why) {
    memset(out, 0, sizeof *out);
    CpuIsa isa;
    if (!cpu_isa_resolve(a, o->cpu ? o->cpu : "native", &isa, why)) return false;
    CpuModule *cpu = out->module = cpu_module_new(a, &isa);
    PlanInfo info = {.sinter = "test",
                     .model_name = "test",
                     .model_text = "",
                     .scalars = o->scalars,
                     .scalar_count = o->scalar_count};
    CpuPlan target;
    size_t size;
    cpu_plan(cpu, &target, &info);
    PlanTables *tables = plan_collect(a, program, &info, program->m->diag);
    if (!tables) {
        text_printf(why, "native: %s", program->m->diag->items.at[0].text);
        return false;
    }
    out->plan = plan_write(tables, "", &size);
    uint32_t functions = cpu_functions(cpu);
    out->jit = cpu_jit(cpu, why);
    if (!out->jit) return false;
    void (**table)(void) = (void (**)(void))arena_alloc(a, sizeof *table * (functions + 1));
    for (uint32_t i = 0; i < functions; i++) table[i] = cpu_jit_function(out->jit, i);
    SnError err = {0};
    bool ok = sn_plan_check(out->plan, &err) == SN_OK &&
              sn_exec_new(out->plan, (void (*const *)(void))table, o->threads ? o->threads : 2,
                          &out->exec, &err) == SN_OK;
    if (!ok) text_printf(why, "native: %s", err.text);
    return ok;
}

void native_close(Native *n) {
    sn_exec_free(n->exec);
    if (n->jit) cpu_jit_free(n->jit);
    if (n->module) cpu_module_free(n->module);
    memset(n, 0, sizeof *n);
}

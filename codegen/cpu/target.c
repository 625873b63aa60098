// The CPU's part of a plan: every kernel is an entry of the function table, every matrix product runs on
// the micro-kernels.
#include "codegen/cpu/cpu.h"

static bool kernel(void *user, const Kernel *k, SnKernel *to, Text *why) {
    (void)why;
    to->fn = cpu_add_kernel(((CpuPlan *)user)->module, k);
    return true;
}

static void finish(void *user, SnPlan *head) {
    const CpuPlan *p = user;
    head->features = cpu_module_isa(p->module)->features;
    head->ukr = p->gemm.ukr;
    head->ukr_pairs = p->gemm.pairs;
    head->mr = p->gemm.mr;
    head->nr = p->gemm.nr;
    head->functions = cpu_functions(p->module);
}

void cpu_plan(CpuModule *m, CpuPlan *state, PlanInfo *info) {
    *state = (CpuPlan){m, cpu_add_gemm(m)};
    info->target = "cpu";
    info->cpu = cpu_module_isa(m)->name;
    info->device = SN_DEVICE_CPU;
    info->kernel = kernel;
    info->gemm = NULL;
    info->finish = finish;
    info->user = state;
}

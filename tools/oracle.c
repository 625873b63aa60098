// oracle FILE.ir...: the op matrix from the command line. Each file's functions run through the exact
// interpreter, the kernel evaluator and native code for v3 and, where this machine has it, v4; all
// bits must agree.
#include "tests/oracle/oracle.h"
#include "codegen/cpu/cpu.h"
#include <stdlib.h>
#include <string.h>

static bool check(const char *path, Arena *a) {
    static const char *const isas[] = {"x86-64-v3", "x86-64-v4"};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        CpuIsa isa;
        Text why = {.arena = a};
        if (!cpu_isa_resolve(a, isas[i], &isa, &why)) return false;
        OracleOptions o = {
            .cpu = isas[i], .seed = 1 + i, .threads = 1 + (int)i, .skip_native = !isa.here};
        if (!isa.here) printf("skipped %s for %s: this machine cannot run it\n", path, isas[i]);
        if (oracle_check_file(path, &o, &why)) continue;
        printf("FAIL %s (%s): %s\n", path, isas[i], why.at ? why.at : "?");
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        Arena *a = arena_new();
        failed += !check(argv[i], a);
        arena_free(a);
    }
    printf("%d passed, %d failed\n", argc - 1 - failed, failed);
    return failed != 0;
}

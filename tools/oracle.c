// oracle [--passes=LIST] [--emulated=sm_90a [--device=cuda:0] [--loose] [--library]] FILE.ir...: the op matrix from the command line.
// Each file's functions run through the exact interpreter, the kernel evaluator and native code for v3
// and, where this machine has them, v4 and its bf16; or, as the last link, the emulated CUDA device or a GPU. All bits
// must agree; --loose: 1e-4 relative, for what a GPU's library computes in another order.
#include "tests/oracle/oracle.h"
#include "codegen/cpu/cpu.h"
#include "tests/oracle/emulated.h"
#include <stdlib.h>
#include <string.h>

static bool check_one(const char *path, const OracleOptions *o, const char *link, Arena *a) {
    Text why = {.arena = a};
    if (oracle_check_file(path, o, &why)) return true;
    printf("FAIL %s (%s): %s\n", path, link, why.at ? why.at : "?");
    return false;
}

static bool check_native(const char *path, const char *passes, Arena *a) {
    static const char *const isas[] = {"x86-64-v3", "x86-64-v4", "x86-64-v4+bf16"};
    static bool said[sizeof isas / sizeof *isas]; // once for all files
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        CpuIsa isa;
        Text why = {.arena = a};
        if (!cpu_isa_resolve(a, isas[i], &isa, &why)) return false;
        OracleOptions o = {.passes = passes,
                           .cpu = isas[i],
                           .seed = 1 + i,
                           .threads = 1 + (int)i,
                           .skip_native = !isa.here};
        if (!isa.here && !said[i])
            printf("skipped native code for %s: this machine cannot run it\n", isas[i]);
        said[i] |= !isa.here;
        if (!check_one(path, &o, isas[i], a)) return false;
    }
    return true;
}

static bool check_emulated(const char *path, const OracleOptions *o, Arena *a) {
    return check_one(path, o, o->device ? o->device : o->emulated, a);
}

static bool take_option(const char *arg, OracleOptions *o) {
    if (strcmp(arg, "--loose") == 0) return o->loose = true;
    if (strcmp(arg, "--library") == 0) return o->library = o->loose = true;
    if (strncmp(arg, "--passes=", 9) == 0) return (o->passes = arg + 9) != NULL;
    if (strncmp(arg, "--device=", 9) == 0) return (o->device = arg + 9) != NULL;
    if (strncmp(arg, "--emulated=", 11) != 0) return false;
    o->emulated = arg + 11;
    return cuda_target_find(o->emulated, strlen(o->emulated)) != NULL;
}

static int usage(const char *what) {
    fprintf(stderr,
            "oracle: %s; usage: oracle [--passes=LIST] [--emulated=sm_90a [--device=cuda:0] "
            "[--loose] [--library]] "
            "FILE.ir...\n",
            what);
    return 2;
}

int main(int argc, char **argv) {
    enum { SKIPPED = 77 };
    int failed = 0, first = 1;
    OracleOptions o = {.seed = 3, .skip_native = true};
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++)
        if (!take_option(argv[first], &o)) return usage(argv[first]);
    if (first == argc || (o.device && !o.emulated)) return usage("too few arguments");
    Arena *all = arena_new();
    Text why = {.arena = all};
    if (o.emulated && !cuda_available(&why)) {
        printf("skipped the op matrix on the emulated device: %s\n", why.at);
        return SKIPPED;
    }
    for (int i = first; i < argc; i++) {
        Arena *a = arena_new();
        failed +=
            !(o.emulated ? check_emulated(argv[i], &o, a) : check_native(argv[i], o.passes, a));
        arena_free(a);
    }
    arena_free(all);
    printf("%d passed, %d failed\n", argc - first - failed, failed);
    return failed != 0;
}

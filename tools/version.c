// See version.h. The only file that depends on the commit, and it is not linked into executables: two
// commits that compile alike build the same bits.
#include "tools/version.h"
#include "codegen/cpu/cpu.h"
#include "codegen/cuda/cuda.h"
#include "commit.h"

void version_print(FILE *to) {
    Arena *a = arena_new();
    Text llvm = {.arena = a}, nvrtc = {.arena = a};
    cpu_print_version(&llvm);
    if (!cuda_print_version(&nvrtc)) nvrtc = (Text){.at = "not found"};
    fprintf(to, "sinter " SINTER_VERSION "\n%-8s%s\n%-8s%s\n%-8s%s\n", "commit", SINTER_COMMIT,
            "LLVM", llvm.at, "NVRTC", nvrtc.at);
    arena_free(a);
}

// Runs passes over an .ir file and then the exact interpreter: evaluate FILE.ir PASSES. It exists so that an
// addition to ir/ or passes/ can be tried without building what stands above them. Inputs are 0, 1, 2, …, states 0.
// Prints each value and output of each function by name, then the ops that were run.
#include "ir/interp.h"
#include "passes/pipeline.h"
#include <stdlib.h>
#include <string.h>

static bool count_up(void *user, const char *name, TypeId type, double *out) {
    const Module *m = user;
    (void)name;
    for (int64_t i = 0; i < type_count(type_at(m, type)); i++) out[i] = (double)i;
    return true;
}

static bool evaluate(Interp *in, const Func *f, Arena *a) {
    Tensor *results = NEW_ARRAY(a, Tensor, f->results.n + 1);
    Text why = {.arena = a};
    if (!interp_run(in, f, results, NULL, &why)) {
        fprintf(stderr, "evaluate: %s\n", why.at ? why.at : "?");
        return false;
    }
    for (uint32_t i = 0; i < f->results.n; i++) {
        printf("%s", sym_str(in->m->syms, f->results.at[i].name));
        for (int64_t k = 0; k < type_count(type_at(in->m, results[i].type)); k++)
            printf(" %.6g", results[i].at[k]);
        puts("");
    }
    printf("ops");
    for (NodeId n = 0; n < f->nodes.n; n++) printf(" %s", op_info[node_at(f, n)->op].name);
    puts("");
    return true;
}

static char *read_file(Arena *a, const char *path, size_t *n) {
    enum { MOST = 1 << 20 };
    char *text = NEW_ARRAY(a, char, MOST + 1);
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    *n = fread(text, 1, MOST, f);
    fclose(f);
    return text;
}

int main(int argc, char **argv) {
    Arena *a = arena_new();
    size_t n = 0;
    if (argc != 3) {
        fputs("usage: evaluate FILE.ir PASSES\n", stderr);
        return 2;
    }
    char *text = read_file(a, argv[1], &n);
    if (!text) {
        fprintf(stderr, "evaluate: cannot read '%s'\n", argv[1]);
        return 1;
    }
    Diag *d = diag_new(a);
    Module *m = ir_parse(a, symtab_new(a), d, diag_add_file(d, argv[1], text, n, false));
    PassCx cx = {
        .m = m, .scratch = arena_new(), .ledger = ledger_new(a), .target = target_find("cpu")};
    const PassHooks hooks = {.verify = true};
    if (!m || !pipeline_run_list(&cx, argv[2], &hooks)) {
        diag_print(d, stderr, false);
        return 1;
    }
    Interp in;
    interp_init(&in, m, INTERP_EXACT, a);
    in.input = count_up;
    in.user = m;
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (!m->funcs.at[i]->region && !evaluate(&in, m->funcs.at[i], a)) return 1;
    arena_free(cx.scratch);
    arena_free(a);
    return 0;
}

// Shrinks a .ir file that makes a command fail: reduce FILE COMMAND...
//
// The command gets the name of a candidate as its last argument. A candidate is kept when it is smaller
// and the command ends with the exit code that it has for the whole file (a signal counts as 128 + its
// number), so a crash is not traded for an error message. The result is FILE.small.ir. Candidates,
// from the largest bite to the smallest: without a function; with one node as the only result;
// without a result or an assignment; with a node replaced by an operand of its type, or by a
// constant; without a line that declares a state or an axis. What nothing reads is removed each
// time. Rounds repeat until none of them helps: O(nodes) runs of the command per round.
#include "passes/pipeline.h"
#include "passes/rewrite.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char **command; // NULL at the end; the last place before it is the candidate's
    const char *path;
    int code;   // that counts as the failure
    char *text; // smallest so far
} Reduce;

static bool write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    if (!f) return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

static char *read_file(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    size_t n = 0, cap = 1 << 16, got;
    char *text = malloc(cap);
    while (text && (got = fread(text + n, 1, cap - n - 1, f)) > 0) {
        n += got;
        if (cap - n < 2) text = realloc(text, cap *= 2);
    }
    fclose(f);
    if (text) text[n] = 0;
    return text;
}

// Exit code of the command on this text.
static int run(const Reduce *r, const char *text) {
    if (!write_file(r->path, text)) {
        fprintf(stderr, "reduce: cannot write '%s'\n", r->path);
        exit(1);
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(126);
        execvp(r->command[0], r->command);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) exit(1);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Bytes of the comments that a file begins with: they say which micro-batch and options a dump had.
static size_t header_of(const char *text) {
    size_t n = 0;
    while (strncmp(text + n, "//", 2) == 0) {
        n += strcspn(text + n, "\n");
        n += text[n] != 0;
    }
    return n;
}

static size_t lines_of(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

// Fewer lines, or as many and fewer bytes: so every step is progress and the rounds end.
static bool smaller(const char *x, const char *y) {
    size_t a = lines_of(x), b = lines_of(y);
    return a != b ? a < b : strlen(x) < strlen(y);
}

// Keeps a smaller text when the command fails on it in the same way.
static bool keep(Reduce *r, const char *text) {
    if (!smaller(text, r->text) || run(r, text) != r->code) return false;
    free(r->text);
    r->text = strdup(text);
    return true;
}

// ---- candidates

typedef enum { DROP_FUNC, KEEP_NODE, DROP_RESULT, DROP_ASSIGN, USE_OPERAND, USE_CONST, BITES } Bite;

static Module *parse(Arena *a, const char *text) {
    Diag *d = diag_new(a);
    Module *m = ir_parse(a, symtab_new(a), d, diag_add_file(d, "x.ir", text, strlen(text), false));
    Text why = {.arena = a};
    return m && ir_verify(m, &why) == 0 ? m : NULL;
}

// What stands for node n instead, or NONE.
static NodeId instead_of(Rewrite *r, NodeId n, Bite bite) {
    const Node *x = node_at(r->from, n);
    if (bite == USE_OPERAND)
        for (uint32_t j = 0; j < x->n; j++) {
            NodeId o = r->map[operand(r->from, n, j)];
            if (node_at(&r->to, o)->type == x->type) return o;
        }
    return bite == USE_CONST && x->op != OP_const ? ir_const_of(&r->b, x->type, 0) : NONE;
}

// Function f with node `at` replaced or (an assignment) left out. False when nothing changes.
static bool bite_node(PassCx *cx, Func *f, NodeId at, Bite bite) {
    if ((bite == DROP_ASSIGN) != (node_at(f, at)->op == OP_assign)) return false;
    if (op_info[node_at(f, at)->op].kind == OPK_REGION) return false;
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId n = 0; n < f->nodes.n; n++) {
        if (n != at) {
            rewrite_copy(&r, n);
            continue;
        }
        rewrite_like(&r, n);
        if (bite == DROP_ASSIGN) continue;
        r.map[n] = instead_of(&r, n, bite);
        if (r.map[n] == NONE) return false;
    }
    rewrite_end(&r);
    return true;
}

// Node n as the only result, without assignments.
static bool only_result(PassCx *cx, Func *f, NodeId n) {
    if (f->results.n == 0 || node_at(f, n)->op == OP_assign) return false;
    f->results.n = 1;
    f->results.at[0].node = n;
    f->results.at[0].kind = RESULT_value;
    Rewrite r;
    rewrite_begin(&r, cx, f);
    for (NodeId i = 0; i < f->nodes.n; i++)
        if (node_at(f, i)->op != OP_assign) rewrite_copy(&r, i);
    rewrite_end(&r);
    return true;
}

static bool bite_func(PassCx *cx, FuncId id, uint32_t at, Bite bite) {
    Module *m = cx->m;
    Func *f = m->funcs.at[id];
    if (bite == DROP_RESULT) {
        if (at >= f->results.n || f->results.n == 1) return false;
        memmove(&f->results.at[at], &f->results.at[at + 1],
                (f->results.n - at - 1) * sizeof f->results.at[0]);
        f->results.n--;
        return true;
    }
    if (bite == KEEP_NODE) return at < f->nodes.n && only_result(cx, f, at);
    if (bite != DROP_FUNC) return at < f->nodes.n && bite_node(cx, f, at, bite);
    for (FuncId i = 0; i < m->funcs.n; i++)
        if (m->funcs.at[i]->region) return false; // groups name functions by number
    memmove(&m->funcs.at[id], &m->funcs.at[id + 1], (m->funcs.n - id - 1) * sizeof m->funcs.at[0]);
    m->funcs.n--;
    return true;
}

// Tries one bite; true when the text got smaller for good.
static bool try_bite(Reduce *r, FuncId id, uint32_t at, Bite bite) {
    Arena *a = arena_new(), *scratch = arena_new();
    Module *m = parse(a, r->text);
    bool kept = false;
    if (m && id < m->funcs.n && !m->funcs.at[id]->region) {
        PassCx cx = {.m = m, .scratch = scratch};
        Text t = {.arena = a};
        if (bite_func(&cx, id, at, bite)) {
            pass_dce(&cx);
            text_put(&t, r->text, header_of(r->text));
            ir_print_module(&t, m);
            kept = keep(r, t.at);
        }
    }
    arena_free(scratch);
    arena_free(a);
    return kept;
}

static void size_of(const Reduce *r, FuncId id, uint32_t *funcs, uint32_t *nodes) {
    Arena *a = arena_new();
    Module *m = parse(a, r->text);
    *funcs = m ? m->funcs.n : 0;
    *nodes = m && id < m->funcs.n ? m->funcs.at[id]->nodes.n : 0;
    arena_free(a);
}

// The first node that is enough by itself.
static bool keep_node(Reduce *r) {
    uint32_t funcs, nodes;
    size_of(r, 0, &funcs, &nodes);
    for (FuncId id = 0; id < funcs; id++) {
        size_of(r, id, &funcs, &nodes);
        for (uint32_t at = 0; at < nodes; at++)
            if (try_bite(r, id, at, KEEP_NODE)) return true;
    }
    return false;
}

// Late nodes first: what they alone read goes with them.
static bool round_of(Reduce *r, Bite bite) {
    bool any = false;
    uint32_t funcs, nodes;
    size_of(r, 0, &funcs, &nodes);
    for (FuncId id = funcs; id-- > 0;) {
        size_of(r, id, &funcs, &nodes);
        for (uint32_t at = bite == DROP_FUNC ? 1 : nodes; at-- > 0;)
            any |= try_bite(r, id, at, bite);
    }
    return any;
}

// Declarations that nothing names any more.
static bool drop_lines(Reduce *r) {
    bool any = false;
    for (size_t at = 0; r->text[at];) {
        size_t n = strcspn(r->text + at, "\n") + 1;
        bool declares =
            strncmp(r->text + at, "state ", 6) == 0 || strncmp(r->text + at, "axis ", 5) == 0;
        char *text = strdup(r->text);
        memmove(text + at, r->text + at + n, strlen(r->text + at + n) + 1);
        Arena *a = arena_new();
        bool kept = declares && parse(a, text) && keep(r, text);
        arena_free(a);
        free(text);
        any |= kept;
        if (!kept) at += n;
    }
    return any;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fputs("usage: reduce FILE COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s.small.ir", argv[1]);
    Reduce r = {.path = path, .text = read_file(argv[1])};
    if (!r.text) {
        fprintf(stderr, "reduce: cannot read '%s'\n", argv[1]);
        return 1;
    }
    r.command = calloc((size_t)argc, sizeof *r.command);
    if (!r.command) return 3;
    for (int i = 2; i < argc; i++) r.command[i - 2] = argv[i];
    r.command[argc - 2] = path;
    r.code = run(&r, r.text);
    if (r.code == 0) {
        fputs("reduce: the command does not fail\n", stderr);
        return 1;
    }
    for (bool more = true; more;) {
        more = false;
        for (int bite = 0; bite < BITES; bite++)
            more |= bite == KEEP_NODE ? keep_node(&r) : round_of(&r, (Bite)bite);
        more |= drop_lines(&r);
    }
    bool ok = write_file(path, r.text);
    printf("%s: %zu bytes, exit code %d\n", path, strlen(r.text), r.code);
    return ok ? 0 : 1;
}

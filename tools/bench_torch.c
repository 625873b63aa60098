// See bench_cpu.h. The program is bench_torch.py, which the bench holds as text and gives to Python; it takes a step
// for each line, so that both are measured in turn and the one waits while the other works.
#define _GNU_SOURCE
#include "tools/bench_torch.h"
#include "tools/account.h"
#include "tools/bench_cpu.h"
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct BenchTorch {
    pid_t pid;
    FILE *to, *from;
    char version[64];
};

static int64_t axis_size(const Module *m, const char *name) {
    for (AxisId a = 0; a < m->axes.n; a++)
        if (strcmp(sym_str(m->syms, m->axes.at[a].name), name) == 0) return m->axes.at[a].size;
    return 0;
}

static char *word(Arena *a, int64_t n) { return arena_printf(a, "%lld", (long long)n); }

// Axes of models/gpt2.sn as arguments; false: the model is another one.
static bool sizes_of(const BenchStep *s, char **argv) {
    static const char *const axes[] = {"dim", "head", "ff", "vocab"};
    const Module *m = s->d->program->m;
    Arena *a = s->d->arena;
    if (strcmp(s->d->program->model_name, "gpt2") != 0) return false;
    *argv++ = word(a, account_layer(a, s->plan, NULL).layers);
    for (int i = 0; i < 4; i++) {
        if (!axis_size(m, axes[i])) return false;
        *argv++ = word(a, axis_size(m, axes[i]));
    }
    *argv++ = word(a, s->d->program->micro);
    *argv++ = word(a, axis_size(m, "seq"));
    return true;
}

static bool spawn(BenchTorch *t, char **argv) {
    int in[2], out[2];
    posix_spawn_file_actions_t files;
    if (pipe2(in, O_CLOEXEC) != 0) return false;
    if (pipe2(out, O_CLOEXEC) != 0) return false;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    int error = posix_spawnp(&t->pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    close(in[0]), close(out[1]);
    t->to = fdopen(in[1], "w"), t->from = fdopen(out[0], "r");
    return error == 0 && t->to && t->from;
}

BenchTorch *bench_torch_start(const BenchStep *s, const char *python, int threads, bool bf16) {
    Arena *a = s->d->arena;
    char *argv[16] = {0}, line[128];
    if (!sizes_of(s, argv + 3)) {
        puts("PyTorch: only the model gpt2 has a counterpart");
        return NULL;
    }
    BenchTorch *t = NEW(a, BenchTorch);
    signal(SIGPIPE, SIG_IGN);                // it may end
    setenv("OMP_WAIT_POLICY", "passive", 0); // its threads sleep while ours work
    argv[0] = arena_str(a, python, strlen(python));
    argv[1] = arena_str(a, "-c", 2);
    argv[2] = arena_str(a, bench_torch_py, bench_torch_py_size);
    argv[10] = arena_str(a, bf16 ? "bf16" : "f32", bf16 ? 4 : 3);
    argv[11] = word(a, threads);
    argv[12] = arena_str(a, "compile", 7);
    if (spawn(t, argv))
        while (fgets(line, sizeof line, t->from)) // libraries may print, too
            if (sscanf(line, "ready %63s", t->version) == 1) return t;
    printf("PyTorch: '%s' has none that runs, or cannot be started\n", python);
    bench_torch_end(t);
    return NULL;
}

double bench_torch_step(BenchTorch *t) {
    char line[128];
    double seconds, loss;
    if (fputs("\n", t->to) < 0 || fflush(t->to) != 0) return -1;
    while (fgets(line, sizeof line, t->from))
        if (sscanf(line, "%lf %lf", &seconds, &loss) == 2) return seconds;
    return -1;
}

const char *bench_torch_version(const BenchTorch *t) { return t->version; }

void bench_torch_end(BenchTorch *t) {
    if (t->to) fclose(t->to);
    if (t->from) fclose(t->from);
    if (t->pid) waitpid(t->pid, NULL, 0);
}

// Runs the system's linker through cc, which knows where libc and the start files are. Everything
// that would differ between two builds is turned off: the build id, debugging information (it holds
// paths) and the name of the temporary file, which ELF does not record. Needs cc in PATH at build
// time of a model only; executables need libc and libm.
#define _GNU_SOURCE // pipe2
#include "codegen/link.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *const before[] = {"cc", "-pie", "-o"};
static const char *const after[] = {
    "-Wl,--build-id=none", "-Wl,--gc-sections",  "-Wl,-z,relro,-z,now",
    "-Wl,--strip-debug",   "-Wl,-z,noexecstack", "-lm",
    "-lpthread",
};
static const char all_of[] = "-Wl,--whole-archive", some_of[] = "-Wl,--no-whole-archive";
enum { BEFORE = sizeof before / sizeof *before, AFTER = sizeof after / sizeof *after };

// argv of the linker; spawn wants it writable.
static char **command(Arena *a, const char *const *inputs, const char *to) {
    size_t n = 0, at = 0;
    while (inputs[n]) n++;
    char **argv = NEW_ARRAY(a, char *, BEFORE + 1 + n + 2 + AFTER + 1);
    for (size_t i = 0; i < BEFORE; i++) argv[at++] = arena_str(a, before[i], strlen(before[i]));
    argv[at++] = arena_str(a, to, strlen(to));
    for (size_t i = 0; i < n; i++) {
        if (i == 0) argv[at++] = arena_str(a, all_of, strlen(all_of));
        argv[at++] = arena_str(a, inputs[i], strlen(inputs[i]));
        if (i == 0) argv[at++] = arena_str(a, some_of, strlen(some_of));
    }
    for (size_t i = 0; i < AFTER; i++) argv[at++] = arena_str(a, after[i], strlen(after[i]));
    return argv;
}

// Everything that can be read from fd, at most a screenful: linkers repeat themselves.
static void read_all(int fd, Text *to) {
    char buffer[512];
    size_t room = 4096;
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        size_t keep = (size_t)n < room ? (size_t)n : room;
        text_put(to, buffer, keep);
        room -= keep;
    }
}

// Runs argv with its messages in *said; the exit status, or -1 with errno when it cannot be
// started.
static int run(char **argv, Text *said) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    pid_t child = 0;
    int failed = posix_spawnp(&child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (!failed) read_all(ends[0], said);
    close(ends[0]);
    if (failed) {
        errno = failed;
        return -1;
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool link_executable(const char *const *inputs, const char *out, Text *why) {
    struct stat st;
    if (stat(out, &st) == 0 && !S_ISREG(st.st_mode)) { // renaming would replace a device
        text_printf(why, "cannot write '%s': not a regular file", out);
        return false;
    }
    Arena *a = arena_new();
    Text said = {.arena = a};
    const char *temporary = arena_printf(a, "%s.tmp%ld", out, (long)getpid());
    int status = run(command(a, inputs, temporary), &said);
    while (said.n && said.at[said.n - 1] == '\n') said.at[--said.n] = 0;
    bool good = status == 0;
    if (status < 0)
        text_printf(why, "cannot run the linker 'cc': %s", strerror(errno));
    else if (status > 0)
        text_printf(why, "cannot link '%s': cc failed: %s", out, said.n ? said.at : "no message");
    if (good && rename(temporary, out) != 0) {
        text_printf(why, "cannot write '%s': %s", out, strerror(errno));
        good = false;
    }
    if (!good) remove(temporary);
    arena_free(a);
    return good;
}

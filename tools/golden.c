// golden SINTER DIR: messages, byte for byte. For every DIR/NAME.sn, what `sinter check DIR/NAME.sn`
// writes to stderr must equal DIR/NAME.txt, nothing may come on stdout, and the exit code is 1 where
// an error is reported and 0 where none is. A file of a pair without the other fails. Runs from the
// root of the sources, because messages name the path as it was given.
//
// golden SINTER DIR COMMAND compares what another command writes to stdout; nothing may come on stderr. 'check' with
// options is no other.
// A last argument -w writes the .txt files instead: read the difference before committing it.
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MAX_TEXT = 1 << 20, MAX_FILES = 4096, MAX_PATH = 1024 };

// NULL when the file cannot be read.
static char *read_stream(FILE *f) {
    if (!f) return NULL;
    char *text = malloc(MAX_TEXT + 1);
    if (!text) exit(3);
    text[fread(text, 1, MAX_TEXT, f)] = 0;
    return text;
}

static char *read_path(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = read_stream(f);
    if (f) fclose(f);
    return text;
}

typedef struct {
    const char *sinter, *command;
    bool prints; // the text is on stdout, else on stderr
} Tool;

// What the command writes to one stream (the other is dropped), and its exit code.
static char *run(const Tool *t, const char *source, bool out, int *code) {
    char command[2 * MAX_PATH];
    snprintf(command, sizeof command, "NO_COLOR=1 '%s' %s '%s' %s", t->sinter, t->command, source,
             out ? "2>/dev/null" : "2>&1 >/dev/null");
    FILE *p = popen(command, "r");
    char *text = read_stream(p);
    if (!text) exit(3);
    int status = pclose(p);
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return text;
}

static bool fail(const char *source, const char *what) {
    printf("FAIL %s: %s\n", source, what);
    return false;
}

// Prints the first line that differs.
static void show(const char *want, const char *got) {
    int line = 1;
    const char *w = want, *g = got;
    for (; *want && *want == *got; want++, got++)
        if (*want == '\n') {
            line++;
            w = want + 1;
            g = got + 1;
        }
    printf("  line %d, expected: %.*s\n  line %d, found:    %.*s\n", line, (int)strcspn(w, "\n"), w,
           line, (int)strcspn(g, "\n"), g);
}

static bool compare(const char *source, const char *text, const Tool *t) {
    int code, again;
    char *got = run(t, source, t->prints, &code);
    char *other = run(t, source, !t->prints, &again), *want = read_path(text);
    bool ok = true;
    if (!want) {
        ok = fail(source, "no .txt beside it");
    } else if (strcmp(want, got) != 0) {
        ok = fail(source, "another text");
        show(want, got);
    } else if (*other) {
        ok = fail(source, t->prints ? "it prints to stderr" : "it prints to stdout");
    } else if (code != again || code != (strstr(got, "error:") != NULL)) {
        printf("  exit code %d\n", code);
        ok = fail(source, "another exit code");
    }
    free(got);
    free(other);
    free(want);
    return ok;
}

static bool write_text(const char *source, const char *text, const Tool *t) {
    int code;
    char *got = run(t, source, t->prints, &code);
    FILE *f = fopen(text, "wb");
    bool ok = f && fputs(got, f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    free(got);
    return ok || fail(source, "cannot write its .txt");
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// The names without ".sn" and ".txt", each once, in order.
static int list(const char *dir, char **names) {
    int n = 0, kept = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *dot = strrchr(e->d_name, '.');
        if (!dot || (strcmp(dot, ".sn") != 0 && strcmp(dot, ".txt") != 0) || n == MAX_FILES)
            continue;
        names[n++] = strndup(e->d_name, (size_t)(dot - e->d_name));
    }
    if (d) closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        if (kept && strcmp(names[kept - 1], names[i]) == 0)
            free(names[i]);
        else
            names[kept++] = names[i];
    }
    return kept;
}

int main(int argc, char **argv) {
    bool writing = argc > 3 && strcmp(argv[argc - 1], "-w") == 0;
    argc -= writing;
    if (argc != 3 && argc != 4) {
        fputs("usage: golden SINTER DIR [COMMAND] [-w]\n", stderr);
        return 2;
    }
    Tool t = {argv[1], argc == 4 ? argv[3] : "check", false};
    t.prints = strncmp(t.command, "check", 5) != 0; // its messages are the text
    char **names = calloc(MAX_FILES, sizeof *names);
    if (!names) return 3;
    int n = list(argv[2], names), failed = n == 0;
    for (int i = 0; i < n; i++) {
        char source[MAX_PATH], text[MAX_PATH];
        snprintf(source, sizeof source, "%s/%s.sn", argv[2], names[i]);
        snprintf(text, sizeof text, "%s/%s.txt", argv[2], names[i]);
        failed += !(writing ? write_text(source, text, &t) : compare(source, text, &t));
        free(names[i]);
    }
    free(names);
    printf("%d texts, %d failed\n", n, failed);
    return failed != 0;
}

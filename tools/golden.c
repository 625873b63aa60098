// golden SINTER DIR: messages, byte for byte. For every DIR/NAME.sn, what `sinter check DIR/NAME.sn`
// writes to stderr must equal DIR/NAME.txt, nothing may come on stdout, and the exit code is 1 where
// an error is reported and 0 where none is. A file of a pair without the other fails. Runs from the
// root of the sources, because messages name the path as it was given.
//
// golden SINTER DIR -w writes the .txt files instead: read the difference before committing it.
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

// What the command writes to one stream (the other is dropped), and its exit code.
static char *run(const char *sinter, const char *source, const char *streams, int *code) {
    char command[2 * MAX_PATH];
    snprintf(command, sizeof command, "NO_COLOR=1 '%s' check '%s' %s", sinter, source, streams);
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

static bool compare(const char *source, const char *text, const char *sinter) {
    int code, again;
    char *out = run(sinter, source, "2>/dev/null", &code);
    char *err = run(sinter, source, "2>&1 >/dev/null", &again), *want = read_path(text);
    bool ok = true;
    if (!want) {
        ok = fail(source, "no .txt beside it");
    } else if (strcmp(want, err) != 0) {
        ok = fail(source, "another message");
        show(want, err);
    } else if (*out) {
        ok = fail(source, "it prints to stdout");
    } else if (code != again || code != (strstr(err, "error:") != NULL)) {
        printf("  exit code %d\n", code);
        ok = fail(source, "another exit code");
    }
    free(out);
    free(err);
    free(want);
    return ok;
}

static bool write_text(const char *source, const char *text, const char *sinter) {
    int code;
    char *err = run(sinter, source, "2>&1 >/dev/null", &code);
    FILE *f = fopen(text, "wb");
    bool ok = f && fputs(err, f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    free(err);
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
    bool writing = argc == 4 && strcmp(argv[3], "-w") == 0;
    if (argc != 3 && !writing) {
        fputs("usage: golden SINTER DIR [-w]\n", stderr);
        return 2;
    }
    char **names = calloc(MAX_FILES, sizeof *names);
    if (!names) return 3;
    int n = list(argv[2], names), failed = n == 0;
    for (int i = 0; i < n; i++) {
        char source[MAX_PATH], text[MAX_PATH];
        snprintf(source, sizeof source, "%s/%s.sn", argv[2], names[i]);
        snprintf(text, sizeof text, "%s/%s.txt", argv[2], names[i]);
        failed += !(writing ? write_text(source, text, argv[1]) : compare(source, text, argv[1]));
        free(names[i]);
    }
    free(names);
    printf("%d messages, %d failed\n", n, failed);
    return failed != 0;
}

// Runs the tests written inside files: check SINTER FILE...
//
//   # RUN: sinter opt %s --passes=cse       a shell command; %s is the file, %t a temporary name,
//                                            'sinter' the compiler under test. Several run in order.
//   # EXIT: 1                                exit code of the last command (default 0)
//   # CHECK: text                            occurs in the output, after the previous match
//   # CHECK-NEXT: text                       on the line after the previous match
//   # CHECK-NOT: text                        does not occur between the neighbouring matches
//   # CHECK-COUNT-3: text                    occurs exactly three times in the whole output
//
// Runs of blanks match any run of blanks; {{*}} matches any characters of one line. A file without RUN,
// or whose RUN checks nothing, fails: a test that cannot fail is a defect. stdout and stderr are
// one stream.
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_LINE = 4096, MAX_OUTPUT = 1 << 24 };

static char *read_all(FILE *f, size_t *n) {
    char *text = malloc(MAX_OUTPUT + 1);
    if (!text) exit(3);
    *n = fread(text, 1, MAX_OUTPUT, f);
    text[*n] = 0;
    return text;
}

// Does pattern match at s? Returns the end of the match, or NULL.
static const char *match_here(const char *s, const char *pattern) {
    for (; *pattern; pattern++) {
        if (strncmp(pattern, "{{*}}", 5) == 0) {
            pattern += 5;
            for (;; s++) {
                const char *end = match_here(s, pattern);
                if (end) return end;
                if (!*s || *s == '\n') return NULL;
            }
        }
        if (isblank((unsigned char)*pattern)) {
            if (!isblank((unsigned char)*s)) return NULL;
            while (isblank((unsigned char)pattern[1])) pattern++;
            while (isblank((unsigned char)*s)) s++;
        } else if (*s++ != *pattern) {
            return NULL;
        }
    }
    return s;
}

static const char *find(const char *from, const char *to, const char *pattern, const char **end) {
    for (const char *s = from; s < to; s++)
        if ((*end = match_here(s, pattern))) return s;
    return NULL;
}

static void substitute(char *out, size_t size, const char *cmd, const char *file,
                       const char *sinter, const char *temp) {
    size_t n = 0;
    for (const char *s = cmd; *s && n + 1 < size; s++) {
        const char *with = NULL;
        size_t skip = 1;
        bool word = s == cmd || strchr(" |;&(", s[-1]);
        if (s[0] == '%' && s[1] == 's') with = file, skip = 2;
        if (s[0] == '%' && s[1] == 't') with = temp, skip = 2;
        if (word && strncmp(s, "sinter ", 7) == 0) with = sinter, skip = 6;
        if (!with) {
            out[n++] = *s;
            continue;
        }
        n += (size_t)snprintf(out + n, size - n, "%s", with);
        s += skip - 1;
    }
    out[n < size ? n : size - 1] = 0;
}

typedef struct {
    const char *file;
    const char *out, *at;  // output, end of the last match
    const char * not [64]; // CHECK-NOT lines waiting for the next match
    int nots, checks;
} CheckRun;

static bool fail(const CheckRun *r, const char *kind, const char *pattern) {
    printf("FAIL %s: %s: %s\n--- output after the last match ---\n%.1500s\n---\n", r->file, kind,
           pattern, r->at);
    return false;
}

static bool check_nots(CheckRun *r, const char *to) {
    const char *end;
    for (int i = 0; i < r->nots; i++)
        if (find(r->at, to, r->not [i], &end)) return fail(r, "CHECK-NOT", r->not [i]);
    r->nots = 0;
    return true;
}

static bool check_line(CheckRun *r, const char *line) {
    const char *all_end = r->out + strlen(r->out), *end;
    char *text = strchr(line, ':');
    text = text ? text + 1 : NULL;
    while (text && isblank((unsigned char)*text)) text++;
    if (!text || !*text) return fail(r, "empty directive", line);
    r->checks++;
    if (strncmp(line, "CHECK:", 6) == 0) {
        const char *at = find(r->at, all_end, text, &end);
        if (!at) return fail(r, "CHECK", text);
        if (!check_nots(r, at)) return false;
        r->at = end;
    } else if (strncmp(line, "CHECK-NEXT:", 11) == 0) {
        const char *nl = strchr(r->at, '\n'), *to = nl ? strchr(nl + 1, '\n') : NULL;
        const char *at = nl ? find(nl + 1, to ? to : all_end, text, &end) : NULL;
        if (!at) return fail(r, "CHECK-NEXT", text);
        r->at = end;
    } else if (strncmp(line, "CHECK-NOT:", 10) == 0) {
        if (r->nots == 64) return fail(r, "too many CHECK-NOT", text);
        r->not [r->nots++] = text;
    } else if (strncmp(line, "CHECK-COUNT-", 12) == 0) {
        int want = atoi(line + 12), got = 0;
        for (const char *s = r->out; (s = find(s, all_end, text, &end)); s = end) got++;
        if (got != want) return fail(r, "CHECK-COUNT", line);
    } else {
        return fail(r, "unknown directive", line);
    }
    return true;
}

static bool run_file(const char *sinter, const char *file) {
    FILE *f = fopen(file, "r");
    if (!f) {
        printf("FAIL %s: cannot read\n", file);
        return false;
    }
    size_t n;
    char *text = read_all(f, &n), temp[64];
    fclose(f);
    snprintf(temp, sizeof temp, "/tmp/sinter-check-%ld", (long)getpid());
    char *out = calloc(1, 1);
    int want_exit = 0, rc = 0, runs = 0;
    char *lines[1024];
    int nlines = 0;
    for (char *s = strtok(text, "\n"); s; s = strtok(NULL, "\n")) {
        // a directive follows the comment mark of its language: "# " in .sn, "// " in .ir
        s += strncmp(s, "# ", 2) == 0 ? 2 : strncmp(s, "// ", 3) == 0 ? 3 : strlen(s);
        if (strncmp(s, "RUN: ", 5) == 0) {
            char cmd[MAX_LINE];
            substitute(cmd, sizeof cmd - 6, s + 5, file, sinter, temp);
            strcat(cmd, " 2>&1");
            FILE *p = popen(cmd, "r");
            if (!p) exit(3);
            free(out);
            out = read_all(p, &n);
            int status = pclose(p);
            rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            runs++;
        } else if (strncmp(s, "EXIT: ", 6) == 0) {
            want_exit = atoi(s + 6);
        } else if (strncmp(s, "CHECK", 5) == 0 && nlines < 1024) {
            lines[nlines++] = s;
        }
    }
    CheckRun r = {.file = file, .out = out, .at = out};
    bool ok = true;
    if (!runs) ok = fail(&r, "no RUN line", file);
    if (ok && rc != want_exit) {
        char got[64];
        snprintf(got, sizeof got, "%d instead of %d", rc, want_exit);
        ok = fail(&r, "exit code", got);
    }
    for (int i = 0; i < nlines && ok; i++) ok = check_line(&r, lines[i]);
    if (ok) ok = check_nots(&r, out + strlen(out));
    if (ok && r.checks == 0 && want_exit == 0) ok = fail(&r, "nothing is checked", file);
    unlink(temp);
    free(out);
    free(text);
    return ok;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fputs("usage: check SINTER FILE...\n", stderr);
        return 2;
    }
    int failed = 0;
    for (int i = 2; i < argc; i++) failed += !run_file(argv[1], argv[i]);
    printf("%d passed, %d failed\n", argc - 2 - failed, failed);
    return failed != 0;
}

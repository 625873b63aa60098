// See path.h.
#include "ir/base/path.h"
#include <stddef.h>

// [p, pe) against [s, se); greedy with one fall-back.
static bool component_matches(const char *p, const char *pe, const char *s, const char *se) {
    const char *star = NULL, *from = NULL;
    while (s < se) {
        if (p < pe && *p == '*') {
            star = p++, from = s;
        } else if (p < pe && *p == *s) {
            p++, s++;
        } else if (star) {
            p = star + 1, s = ++from;
        } else {
            return false;
        }
    }
    while (p < pe && *p == '*') p++;
    return p == pe;
}

static const char *component_end(const char *s) {
    while (*s && *s != '.') s++;
    return s;
}

// The end of the run of components, from s on, that those of the pattern match; NULL: they match none.
static const char *run_end(const char *p, const char *s) {
    for (;;) {
        const char *pe = component_end(p), *se = component_end(s);
        if (!component_matches(p, pe, s, se)) return NULL;
        if (!*pe) return se;
        if (!*se) return NULL;
        p = pe + 1, s = se + 1;
    }
}

bool path_is(const char *pattern, const char *path) {
    const char *end = run_end(pattern, path);
    return end && !*end;
}

// The last end of a run, or of those that end at `at`.
static const char *find_end(const char *pattern, const char *path, const char *at) {
    const char *last = NULL;
    for (const char *s = path;; s++) {
        const char *end = run_end(pattern, s);
        if (end && (!at || end == at)) last = end;
        s = component_end(s);
        if (!*s) return last;
    }
}

const char *path_end(const char *pattern, const char *path) {
    return find_end(pattern, path, NULL);
}

bool path_ends_at(const char *pattern, const char *path, const char *end) {
    return find_end(pattern, path, end) != NULL;
}

bool path_selects(const char *pattern, const char *path) { return path_end(pattern, path) != NULL; }

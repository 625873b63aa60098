// Files of the source tree, read whole by unit tests. Include after cmocka.h.
#pragma once
#include "ir/base/str.h"
#include <stdio.h>
#include <string.h>

// The bytes of a file and a NUL; the test fails when there is no such file. size may be NULL.
static inline char *read_file(Arena *a, const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    Text t = {.arena = a};
    char buf[4096];
    text_put(&t, "", 0);
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) text_put(&t, buf, n);
    fclose(f);
    if (size) *size = t.n;
    return t.at;
}

// Habits of other languages and libraries: what a word that is unknown here is written as.
#include "frontend/ast.h"
#include <string.h>

static const struct {
    const char *word, *advice;
    bool opens;
} foreign[] = {
#define FOREIGN(word, advice) {#word, advice, false},
#define OPENS(word, advice)   {#word, advice, true},
#include "frontend/foreign.def"
#undef FOREIGN
#undef OPENS
};
enum { WORDS = sizeof foreign / sizeof *foreign };

const char *foreign_advice(const char *word) {
    for (size_t i = 0; i < WORDS; i++)
        if (!strcmp(foreign[i].word, word)) return foreign[i].advice;
    return NULL;
}

const char *foreign_opening(const char *text, size_t n) {
    for (size_t i = 0; i < WORDS; i++)
        if (foreign[i].opens && strlen(foreign[i].word) == n && !memcmp(foreign[i].word, text, n))
            return foreign[i].advice;
    return NULL;
}

// The letters and digits of a name in lower case, without the ending "loss".
static void plain_spelling(const char *name, char *out, size_t size) {
    size_t n = 0;
    for (; *name && n + 1 < size; name++)
        if (*name != '_') out[n++] = (char)(*name >= 'A' && *name <= 'Z' ? *name + 32 : *name);
    if (n > 4 && !memcmp(out + n - 4, "loss", 4)) n -= 4;
    out[n] = 0;
}

bool foreign_spelling(const char *word, const char *name) {
    char a[64], b[64];
    plain_spelling(word, a, sizeof a);
    plain_spelling(name, b, sizeof b);
    return !strcmp(a, b);
}

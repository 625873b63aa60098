// See setting.h. Compiled for the baseline: it runs before the CPU is checked. A check is linear in the text.
#include "runtime/setting.h"
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE(...)
#define LATER(...)
#define GROUP(...)
#define IS(text) text, NULL
#define AS(text) NULL, text
#define SETTING(id, key, flag, shown, when, type, values, without, meaning)                        \
    {key, flag, shown, SN_##when, SN_##type, values, without, meaning},
const SnSetting sn_settings[SN_SETTINGS] = {
#include "runtime/plan.def"
};
#undef SETTING
#undef GROUP

#define SETTING(...)
#define GROUP(id) {#id, SN_FIRST_##id},
const SnGroup sn_groups[] = {
#include "runtime/plan.def"
    {"", SN_SETTINGS}};
#undef GROUP
#undef LINE
#undef LATER

#define GROUP(...)
#define ONCE  true
#define OFTEN false
#define LINE(name, shape, paths, times, form, meaning)                                             \
    {#name, false, SN_LINE_##shape, SN_PATHS_##paths, times, form, meaning},
#define LATER(name) {#name, true, SN_LINE_NOTHING, SN_PATHS_NO, false, "", ""},
const SnLine sn_lines[] = {
#include "runtime/plan.def"
};
const uint32_t sn_line_count = sizeof sn_lines / sizeof *sn_lines;

const SnLine *sn_line_find(const char *name) {
    for (uint32_t i = 0; i < sn_line_count; i++)
        if (!strcmp(sn_lines[i].name, name)) return &sn_lines[i];
    return NULL;
}

// Whether a scalar of a group, "lr.GROUP.peak", is what the row "lr.peak" is without one.
static bool of_group(const SnSetting *s, const char *key) {
    const char *dot = strchr(s->key, '.'), *last = strrchr(key, '.');
    return s->when == SN_SCALAR && last && !strncmp(key, s->key, (size_t)(dot - s->key) + 1) &&
           !strcmp(last, dot);
}

const SnSetting *sn_setting_find(const char *key) {
    const SnSetting *any = NULL;
    for (uint32_t i = 0; i < SN_SETTINGS && *key; i++) {
        const char *have = sn_settings[i].key;
        size_t n = strlen(have);
        if (!strcmp(have, key) || of_group(&sn_settings[i], key)) return &sn_settings[i];
        if (n && have[n - 1] == '*' && !strncmp(have, key, n - 1) && key[n - 1])
            any = &sn_settings[i];
    }
    return any;
}

const SnSetting *sn_setting_flag(const char *name, size_t n) {
    for (uint32_t i = 0; i < SN_SETTINGS && n; i++)
        if (strlen(sn_settings[i].flag) == n && !strncmp(sn_settings[i].flag, name, n))
            return &sn_settings[i];
    return NULL;
}

// ---- values -------------------------------------------------------------------------------------

typedef struct {
    double low, high;
    bool low_in, high_in;
} Interval;

static Interval range_of(const SnSetting *s) {
    char *comma, *end;
    Interval r = {.low_in = *s->values == '['};
    r.low = strtod(s->values + 1, &comma);
    r.high = strtod(comma + 1, &end);
    assert(*comma == ',' && (*end == ']' || *end == ')') && !end[1]);
    r.high_in = *end == ']';
    if (isinf(r.low)) r.low = -(double)FLT_MAX, r.low_in = true;
    if (isinf(r.high)) r.high = s->type == SN_COUNT ? INT32_MAX : (double)FLT_MAX, r.high_in = true;
    return r;
}

static bool in_range(const SnSetting *s, double x) {
    Interval r = range_of(s);
    return (r.low_in ? x >= r.low : x > r.low) && (r.high_in ? x <= r.high : x < r.high);
}

bool sn_number(const char *text, double *x) {
    char *end;
    if (!*text || text[strspn(text, "0123456789.+-eE")]) return false;
    *x = strtod(text, &end);
    return end != text && !*end;
}

// Word i of "a b c", n letters; false behind the last.
static bool word_at(const char *words, int i, const char **at, size_t *n) {
    for (;; words += *n + 1) {
        *at = words;
        *n = strcspn(words, " ");
        if (!i--) return *n > 0;
        if (!words[*n]) return false;
    }
}

static int word_index(const char *words, const char *text) {
    const char *at;
    size_t n;
    for (int i = 0; word_at(words, i, &at, &n); i++)
        if (strlen(text) == n && !strncmp(at, text, n)) return i;
    return -1;
}

bool sn_setting_number(const SnSetting *s, double x) {
    char text[32];
    switch (s->type) {
    case SN_COUNT: return x == floor(x) && in_range(s, x);
    case SN_REAL: return in_range(s, x);
    case SN_CHOICE: snprintf(text, sizeof text, "%g", x); return word_index(s->values, text) >= 0;
    case SN_BOOL:
    case SN_PATH:
    case SN_TEXT:
    case SN_FLAG:
    case SN_SET: return false;
    }
    return false;
}

bool sn_setting_text(const SnSetting *s, const char *text, double *x) {
    double value = 0;
    bool good = true;
    int word = -1;
    switch (s->type) {
    case SN_COUNT:
    case SN_REAL: good = sn_number(text, &value) && sn_setting_number(s, value); break;
    case SN_BOOL:
        word = word_index(s->values, text);
        if (word < 0) word = word_index("1 0", text);
        good = word >= 0;
        value = word == 0;
        break;
    case SN_CHOICE:
        word = word_index(s->values, text);
        good = word >= 0;
        value = word;
        break;
    case SN_PATH: good = *text; break;
    case SN_TEXT:
    case SN_FLAG:
    case SN_SET: break;
    }
    if (good && x) *x = value;
    return good;
}

// ---- words --------------------------------------------------------------------------------------

static void put_words(const char *words, char *to, size_t size) {
    const char *at, *next;
    size_t n, m, used = 0;
    *to = 0;
    for (int i = 0; word_at(words, i, &at, &n); i++) {
        const char *before = i ? word_at(words, i + 1, &next, &m) ? ", " : " or " : "";
        int put = snprintf(to + used, size - used, "%s%.*s", before, (int)n, at);
        if (put < 0 || (size_t)put >= size - used) return;
        used += (size_t)put;
    }
}

static void put_range(const SnSetting *s, char *to, size_t size) {
    Interval r = range_of(s);
    if (s->type == SN_COUNT)
        snprintf(to, size, "a whole number from %.0f to %.0f", r.low, r.high);
    else if (r.low < -1e38)
        snprintf(to, size, "a finite number");
    else if (r.high > 1e38)
        snprintf(to, size, "a finite number %s %g", r.low_in ? "of at least" : "above", r.low);
    else
        snprintf(to, size, "a number %s %g and %s %g", r.low_in ? "of at least" : "above", r.low,
                 r.high_in ? "at most" : "below", r.high);
}

void sn_setting_allowed(const SnSetting *s, char *text, size_t size) {
    switch (s->type) {
    case SN_COUNT:
    case SN_REAL: put_range(s, text, size); return;
    case SN_BOOL:
    case SN_CHOICE: put_words(s->values, text, size); return;
    case SN_PATH: snprintf(text, size, "a name that is not empty"); return;
    case SN_TEXT: snprintf(text, size, "a text"); return;
    case SN_FLAG: snprintf(text, size, "no value"); return;
    case SN_SET: snprintf(text, size, "KEY=VALUE"); return;
    }
}

// Letters to change, add, drop or swap with their neighbour; names longer than 40 letters are far from all.
static uint32_t distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return LONGEST;
    uint32_t rows[3][LONGEST + 1];
    for (size_t i = 0; i <= n; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= m; j++) {
            uint32_t best = row[j - 1] + 1;
            if (i && above[j] + 1 < best) best = above[j] + 1;
            if (i && above[j - 1] + (a[i - 1] != b[j - 1]) < best)
                best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *sn_nearer(const char *name, const char *a, const char *b) {
    uint32_t limit = (uint32_t)strlen(name) / 3 + 1; // letters that may differ
    uint32_t da = a ? distance(name, a) : limit, db = b ? distance(name, b) : limit;
    if (da >= limit && db >= limit) return NULL;
    return da <= db ? a : b;
}

// ---- the environment ----------------------------------------------------------------------------

// An empty variable is none.
const char *sn_setting_environ(SnSettingId id) {
    assert(sn_settings[id].when == SN_ENVIRON);
    const char *text = getenv(sn_settings[id].key);
    return text && *text ? text : NULL;
}

double sn_environ_number(SnSettingId id) {
    double x = 0;
    const char *text = sn_setting_environ(id);
    if (text && sn_setting_text(&sn_settings[id], text, &x)) return x;
    bool good = sn_setting_text(&sn_settings[id], sn_settings[id].without, &x);
    assert(good);
    (void)good;
    return x;
}

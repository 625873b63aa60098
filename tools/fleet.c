// See fleet.h. Names are compared without case, spaces and signs, in any of the forms that a row of gpus.def has,
// or a part of one that only one kind of device has.
#include "tools/fleet.h"
#include "runtime/core/cgroup.h"
#include "runtime/core/pool.h"
#include "runtime/setting.h"
#include "runtime/sinter.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// What a context and cuBLASLt's code take where a row does not say: 300 MB bare (pytorch#107667), 855 MiB with
// cuBLASLt and cuDNN (llm.c on an A800).
enum { CONTEXT = 576 << 20, CONTEXT_MORE_OR_LESS = 288 << 20 };

// ---- names --------------------------------------------------------------------------------------

static void put_word(char *to, size_t *n, size_t size, const char *word) {
    for (; *word && *n + 1 < size; word++) to[(*n)++] = *word;
    to[*n] = 0;
}

// "NVIDIA A100-SXM4-80GB" as "a100sxm480g".
static void plain(const char *text, char *to, size_t size) {
    static const char *const left_out[] = {"nvidia", "geforce", "tesla"};
    size_t n = 0;
    *to = 0;
    for (const char *s = text; *s; s++) {
        char one[2] = {(char)tolower((unsigned char)*s), 0};
        if (isalnum((unsigned char)*s)) put_word(to, &n, size, one);
    }
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        size_t k = strlen(left_out[i]);
        if (strncmp(to, left_out[i], k) == 0) memmove(to, to + k, strlen(to + k) + 1);
    }
    n = strlen(to);
    if (n > 2 && strcmp(to + n - 2, "gb") == 0) to[n - 1] = 0;
}

enum { FORMS = 3, NAME = 64 };
static void forms_of(const Gpu *g, char form[FORMS][NAME]) {
    plain(g->short_name, form[0], NAME);
    plain(g->name, form[1], NAME);
    plain(g->device, form[2], NAME);
}

static bool is_part(const char *name, const char *form) {
    size_t n = strlen(name), k = strlen(form);
    return n >= 3 && k >= n && (strncmp(form, name, n) == 0 || strcmp(form + k - n, name) == 0);
}

// One kind of device: its name is what a part may mean when all that have it are as good.
static const Gpu *find(const char *text, Text *several) {
    char name[NAME], form[FORMS][NAME];
    const Gpu *found = NULL;
    uint32_t many = 0;
    plain(text, name, sizeof name);
    for (uint32_t i = 0; gpu_at(i); i++) {
        forms_of(gpu_at(i), form);
        for (int k = 0; k < FORMS; k++)
            if (strcmp(name, form[k]) == 0) return gpu_at(i);
    }
    for (uint32_t i = 0; gpu_at(i); i++) {
        bool has = false;
        forms_of(gpu_at(i), form);
        for (int k = 0; k < FORMS; k++) has |= is_part(name, form[k]);
        if (!has) continue;
        text_printf(several, "%s'%s'", many++ ? ", " : "", gpu_at(i)->short_name);
        found = gpu_at(i);
    }
    return many == 1 ? found : NULL;
}

static bool unknown(const char *text, const Text *several, Text *why) {
    const char *near = NULL;
    char name[NAME];
    if (several->n) {
        text_printf(why, "'%.60s' may be %s", text, several->at);
        return false;
    }
    plain(text, name, sizeof name);
    for (uint32_t i = 0; gpu_at(i); i++) near = sn_nearer(name, near, gpu_at(i)->short_name);
    text_printf(why, "unknown device '%.60s'", text);
    if (near) text_printf(why, "; did you mean '%s'?", near);
    text_printf(why, "%s known are", near ? "" : ";");
    for (uint32_t i = 0; gpu_at(i); i++) text_printf(why, " '%s',", gpu_at(i)->short_name);
    text_printf(why, " 'cpu' and 'cpu:24G'");
    return false;
}

// ---- the CPU ------------------------------------------------------------------------------------

// "24G", "24GiB", "24GB": without a B and with an i powers of 1024, as control groups count.
static double size_of(const char *text) {
    static const char letters[] = "KMGT";
    char *end;
    double x = strtod(text, &end);
    const char *at = *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (end == text || !(x >= 0)) return -1;
    if (!at || !*at) return *end ? -1 : x;
    bool decimal = toupper((unsigned char)end[1]) == 'B' && !end[2];
    bool binary = !end[1] || (end[1] == 'i' && (!end[2] || (end[2] == 'B' && !end[3])));
    if (!decimal && !binary) return -1;
    for (const char *k = letters; k <= at; k++) x *= decimal ? 1000 : 1024;
    return x;
}

static bool parse_cpu(const char *text, Fleet *to, Text *why) {
    double bytes = *text ? size_of(text + 1) : sn_usable_memory();
    *to = (Fleet){.count = 1, .threads = sn_pool_default_threads(), .memory = (int64_t)bytes};
    if (bytes >= 1 << 20 && bytes <= 1e15) return true;
    text_printf(why, "'cpu%.60s': the memory is from 1MiB to 1000TB, written as in 'cpu:24G'",
                text);
    return false;
}

// ---- the text -----------------------------------------------------------------------------------

static const char *spaces(const char *s) { return s + strspn(s, " \t"); }

// "64x", "8 x", "8*", "8 ": what follows, else NULL.
static const char *leading(const char *text, double *count) {
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '-') return NULL;
    bool none = text[0] == '0' && (text[1] == 'x' || text[1] == 'X'); // no hexadecimal number
    *count = none ? 0 : strtod(text, &end);
    if (none) end = (char *)(uintptr_t)(text + 1);
    const char *s = spaces(end);
    bool times = *s == 'x' || *s == 'X' || *s == '*';
    if (strncmp(s, "\xc3\x97", 2) == 0) return spaces(s + 2); // the sign for 'times'
    if (times) return spaces(s + 1);
    return s != end && *s ? s : NULL;
}

// "A100x8", "A100:8", "A100 * 8": how long the name is, else 0.
static size_t trailing(const char *text, double *count) {
    size_t n = strlen(text), digits = n;
    while (digits && isdigit((unsigned char)text[digits - 1])) digits--;
    size_t name = digits;
    while (name && text[name - 1] == ' ') name--;
    if (digits == n || !name || !strchr("xX*:", text[name - 1])) return 0;
    *count = strtod(text + digits, NULL);
    for (name--; name && text[name - 1] == ' ';) name--;
    return name;
}

bool fleet_parse(Arena *a, const char *text, Fleet *to, Text *why) {
    double count = 1;
    Text several = {.arena = a};
    text = spaces(text);
    if (strncasecmp(text, "cpu", 3) == 0 && (!text[3] || text[3] == ':'))
        return parse_cpu(text + 3, to, why);
    const Gpu *g = NULL;
    const char *name = text;
    size_t n = trailing(text, &count);
    if (n) g = find(arena_str(a, text, n), &several);
    if (!g && several.n) return unknown(text, &several, why);
    if (!g) {
        name = leading(text, &count);
        if (!name) name = text, count = 1;
        several.n = 0;
        g = find(name, &several);
    }
    if (!g) return unknown(name, &several, why);
    if (!(count >= 1 && count <= (double)FLEET_MOST && count == (double)(uint32_t)count)) {
        text_printf(why, "'%.60s': the number of devices is a whole number from 1 to %d", text,
                    FLEET_MOST);
        return false;
    }
    *to = (Fleet){.gpu = g,
                  .count = (uint32_t)count,
                  .memory = (int64_t)(g->driver > 0 ? g->driver * 1048576 : g->memory * 1e9),
                  .context = g->context > 0 ? (int64_t)(g->context * 1048576) : CONTEXT,
                  .uncertain = g->context > 0 ? 0 : CONTEXT_MORE_OR_LESS};
    return true;
}

const char *fleet_text(Arena *a, const Fleet *f) {
    if (!f->gpu)
        return arena_printf(a, "the CPU, %d thread%s", f->threads, f->threads == 1 ? "" : "s");
    return f->count == 1 ? f->gpu->name : arena_printf(a, "%u x %s", f->count, f->gpu->name);
}

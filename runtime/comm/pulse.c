// See pulse.h.
#include "runtime/comm/pulse.h"
#include "runtime/comm/comm.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct SnPulse {
    pthread_mutex_t lock;
    SnBeat now;
    double since; // of the collective that the rank waits in
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

SnPulse *sn_pulse_new(void) {
    SnPulse *w = calloc(1, sizeof *w);
    if (w) pthread_mutex_init(&w->lock, NULL);
    return w;
}

void sn_pulse_free(SnPulse *w) {
    if (!w) return;
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void sn_pulse_at(SnPulse *w, uint64_t step, uint32_t pass, const char *at) {
    pthread_mutex_lock(&w->lock);
    w->now.step = step;
    w->now.pass = pass;
    w->now.at = at;
    pthread_mutex_unlock(&w->lock);
}

void sn_pulse_begin(SnPulse *w, uint32_t group, uint32_t op, const char *name, const char *line) {
    pthread_mutex_lock(&w->lock);
    w->now.waits = true;
    w->now.group = group;
    w->now.op = op;
    w->now.name = name;
    w->now.line = line;
    w->now.begun[group]++;
    w->since = seconds();
    pthread_mutex_unlock(&w->lock);
}

void sn_pulse_end(SnPulse *w) {
    pthread_mutex_lock(&w->lock);
    w->now.waits = false;
    w->now.name = w->now.line = NULL;
    pthread_mutex_unlock(&w->lock);
}

void sn_pulse_group(SnPulse *w) {
    pthread_mutex_lock(&w->lock);
    w->now.groups++;
    pthread_mutex_unlock(&w->lock);
}

static const char *cut(const char *text, char to[static 208]) {
    snprintf(to, 201, "%s", text ? text : "");
    return to;
}

static void copy_texts(SnBeat *b, char texts[3][208]) {
    b->at = cut(b->at, texts[0]);
    b->name = cut(b->name, texts[1]);
    b->line = cut(b->line, texts[2]);
}

void sn_pulse_message(SnPulse *w, SnMessage *m) {
    char texts[3][208];
    pthread_mutex_lock(&w->lock);
    SnBeat b = w->now;
    double waited = (seconds() - w->since) * 1e3;
    copy_texts(&b, texts);
    pthread_mutex_unlock(&w->lock);
    if (b.waits) b.since = waited < 4e9 ? (uint32_t)waited : 4000000000;
    sn_message_beat(m, &b);
}

void sn_standing_beat(SnStanding *s, const SnBeat *beat) {
    s->beat = *beat;
    s->age = 0;
    copy_texts(&s->beat, s->texts);
}

// ---- who waits for whom -------------------------------------------------------------------------

static void add(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...) {
    size_t n = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + n, size - n, format, args);
    va_end(args);
}

// "0-3 7": runs of three and more with a dash.
static void add_numbers(const uint32_t *ranks, uint32_t n, char *text, size_t size) {
    uint32_t shown = 0;
    for (uint32_t i = 0, run; i < n; i += run) {
        for (run = 1; i + run < n && ranks[i + run] == ranks[i] + run; run++) {
        }
        if (shown++ == 12) {
            add(text, size, " and %u more", n - i);
            return;
        }
        if (run < 3) run = 1;
        add(text, size, i ? " %u" : "%u", ranks[i]);
        if (run > 1) add(text, size, "-%u", ranks[i + run - 1]);
    }
}

void sn_ranks_text(const uint32_t *ranks, uint32_t n, char *text, size_t size) {
    snprintf(text, size, n == 1 ? "rank " : "ranks ");
    add_numbers(ranks, n, text, size);
}

static double waited(const SnStanding *s) { return s->beat.since * 1e-3 + s->age; }

// Whether rank r has not begun the collective that w waits in.
static bool is_missing(const SnStanding *w, const SnStanding *r) {
    uint32_t g = w->beat.group;
    return g >= r->beat.groups || r->beat.begun[g] < w->beat.begun[g];
}

// The first rank that s waits for; one that waits itself only when no other is there.
static uint32_t awaited(const SnStanding *ranks, const SnStanding *s, uint32_t otherwise) {
    uint32_t found = otherwise, g = s->beat.group;
    for (uint32_t i = 0; i < s->group[g].n; i++) {
        uint32_t r = s->group[g].ranks[i];
        if (!is_missing(s, &ranks[r])) continue;
        if (!ranks[r].beat.waits) return r;
        if (found == otherwise) found = r;
    }
    return found;
}

static void describe_waiters(const SnStanding *ranks, const SnStanding *w, uint32_t *some,
                             char *text, size_t size) {
    uint32_t n = 0, g = w->beat.group;
    double longest = 0;
    for (uint32_t i = 0; i < w->group[g].n; i++) {
        const SnStanding *s = &ranks[w->group[g].ranks[i]];
        if (!s->beat.waits || s->beat.group != g || s->beat.begun[g] != w->beat.begun[g]) continue;
        some[n++] = w->group[g].ranks[i];
        if (waited(s) > longest) longest = waited(s);
    }
    add(text, size, n == 1 ? "rank " : "ranks ");
    add_numbers(some, n, text, size);
    add(text, size, n == 1 ? " waits since %.0f s" : " wait since %.0f s", longest);
}

static void describe(const SnStanding *ranks, const SnStanding *w, const SnStanding *late,
                     uint32_t *some, char *text, size_t size) {
    const SnBeat *b = &w->beat;
    const char *op = sn_collective_name(b->op);
    if (late)
        snprintf(text, size, "rank %u (%s): no %s '%s'", (uint32_t)(late - ranks), late->node, op,
                 b->name);
    else
        snprintf(text, size, "no rank gets on in %s '%s'", op, b->name);
    if (b->line[0]) add(text, size, " (%s)", b->line);
    if (b->step || b->pass)
        add(text, size, ", step %llu pass %u", (unsigned long long)b->step, b->pass);
    add(text, size, ", group %s ", w->group[b->group].label);
    add_numbers(w->group[b->group].ranks, w->group[b->group].n, text, size);
    if (late && late->left)
        add(text, size, ": it is done");
    else if (late && late->beat.waits)
        add(text, size, ": it waits in %s '%s'", sn_collective_name(late->beat.op),
            late->beat.name);
    else if (late && late->beat.at[0])
        add(text, size, ": it is at '%s'", late->beat.at);
    else if (late)
        add(text, size, ": it is elsewhere");
    add(text, size, "; ");
    describe_waiters(ranks, w, some, text, size);
}

bool sn_hang_find(const SnStanding *ranks, uint32_t n, double limit, char *text, size_t size) {
    const SnStanding *found = NULL;
    uint32_t late = n;
    // A rank that waits for one that waits is not the story's end, unless all do.
    for (uint32_t i = 0; i < n; i++) {
        const SnStanding *s = &ranks[i];
        if (!s->beat.waits || waited(s) <= limit || s->beat.group >= SN_MAX_GROUPS) continue;
        uint32_t r = awaited(ranks, s, n);
        if (found && (r == n || ranks[r].beat.waits)) continue;
        found = s;
        late = r;
        if (r < n && !ranks[r].beat.waits) break;
    }
    if (!found) return false;
    uint32_t *some = malloc(n * sizeof *some);
    text[0] = 0;
    if (some) describe(ranks, found, late < n ? &ranks[late] : NULL, some, text, size);
    free(some);
    return true;
}

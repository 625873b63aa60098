// The ledger: what the passes decided and why, one line per kind of decision. Twelve layers that
// are treated alike are one line with a count, because instance numbers in names are replaced by
// '*' before lines are compared. Adding is O(1), printing O(lines).
#include "passes/pass.h"
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

Ledger *ledger_new(Arena *a) {
    Ledger *l = NEW(a, Ledger);
    l->arena = a;
    l->index.arena = a;
    return l;
}

// "h.3.attn.q" -> "h.*.attn.q": every component that is a number becomes a star.
const char *ledger_class(Arena *a, const char *name) {
    Text t = {.arena = a};
    text_put(&t, "", 0);
    for (const char *s = name; *s;) {
        size_t n = strcspn(s, "."), digits = strspn(s, "0123456789");
        if (n && digits == n)
            text_put(&t, "*", 1);
        else
            text_put(&t, s, n);
        if (s[n]) text_put(&t, ".", 1);
        s += n + (s[n] != 0);
    }
    return t.at;
}

static uint64_t line_hash(const Decision *d) {
    uint64_t h = hash_u64(HASH_SEED, d->done);
    const char *parts[] = {d->func, d->pass, d->rule, d->subject, d->reason};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        h = hash_bytes(h, parts[i], strlen(parts[i]) + 1);
    return h;
}

static bool same_line(const Decision *a, const Decision *b) {
    return a->done == b->done && !strcmp(a->func, b->func) && !strcmp(a->pass, b->pass) &&
           !strcmp(a->rule, b->rule) && !strcmp(a->subject, b->subject) &&
           !strcmp(a->reason, b->reason);
}

const char *ledger_said(Arena *a, const Diag *d, const char *what, Loc at) {
    uint32_t line, column;
    if (!at.file) return what;
    diag_position(d, at, &line, &column);
    return arena_printf(a, "%s, line %u", what, line);
}

void ledger_add(Ledger *l, Decision d, const char *reason_fmt, ...) {
    if (!l) return;
    Text reason = {.arena = l->arena};
    char buffer[512];
    va_list ap;
    va_start(ap, reason_fmt);
    vsnprintf(buffer, sizeof buffer, reason_fmt, ap);
    va_end(ap);
    text_put(&reason, buffer, strlen(buffer));
    d.func = d.func ? arena_str(l->arena, d.func, strlen(d.func)) : "";
    d.subject = ledger_class(l->arena, d.subject);
    d.reason = reason.at;
    d.count = 1;
    // A slot holds a line number plus one; a line that only collides moves on to the next key.
    for (uint64_t key = line_hash(&d);; key++) {
        uint32_t *slot = map_slot(&l->index, key, NULL);
        if (*slot == 0) {
            vec_push(l->arena, &l->lines, d);
            *slot = l->lines.n;
            return;
        }
        Decision *old = &l->lines.at[*slot - 1];
        if (same_line(old, &d)) {
            old->count++;
            old->bytes += d.bytes;
            return;
        }
    }
}

// ---- printing -----------------------------------------------------------------------------------

// What a user asks for first comes first; functions that are not here follow as they come.
static const char *const first[] = {"step",    "prologue",      "micro",      "update",
                                    "eval",    "eval_prologue", "eval_micro", "eval_finish",
                                    "predict", "generate",      "init"};
enum { FIRST = sizeof first / sizeof *first };

typedef void PutLine(const Decision *d, const void *user, Text *to);

static bool comes_first(const char *func) {
    for (size_t i = 0; i < FIRST; i++)
        if (strcmp(first[i], func) == 0) return true;
    return false;
}

// The lines of one function from line `at` on. head: before the first of them.
static void put_function(const Ledger *l, const char *func, uint32_t at, const char *head,
                         PutLine *put, const void *user, Text *to) {
    for (uint32_t i = at; i < l->lines.n; i++) {
        if (strcmp(l->lines.at[i].func, func) != 0) continue;
        text_put(to, head, strlen(head));
        head = "";
        put(&l->lines.at[i], user, to);
    }
}

static const char *heading(Arena *a, const char *func, bool heads) {
    return heads ? arena_printf(a, "%s\n", *func ? func : "module") : "";
}

static void put_all(const Ledger *l, bool heads, PutLine *put, const void *user, Text *to) {
    Map seen = {.arena = l->arena};
    text_put(to, "", 0);
    for (size_t i = 0; i < FIRST; i++)
        put_function(l, first[i], 0, heading(l->arena, first[i], heads), put, user, to);
    for (uint32_t i = 0; i < l->lines.n; i++) {
        const char *func = l->lines.at[i].func;
        bool fresh;
        if (comes_first(func)) continue;
        map_slot(&seen, hash_bytes(HASH_SEED, func, strlen(func)), &fresh);
        if (fresh) put_function(l, func, i, heading(l->arena, func, heads), put, user, to);
    }
}

static void put_line(const Decision *d, const void *user, Text *to) {
    (void)user;
    text_printf(to, "  %-10s %-4s %-14s %s", d->pass, d->done ? "yes" : "no", d->rule,
                *d->subject ? d->subject : "(unnamed)");
    if (d->count > 1) text_printf(to, " x %u", d->count);
    if (d->bytes) text_printf(to, ", %s", bytes_text(to->arena, d->bytes));
    text_printf(to, ": %s\n", d->reason);
}

void ledger_print(const Ledger *l, Text *to) { put_all(l, true, put_line, NULL, to); }

static void put_field(Text *to, const char *name, const char *value) {
    text_printf(to, "\"%s\":", name);
    text_put_json(to, value);
    text_put(to, ",", 1);
}

typedef struct {
    const Diag *diag;
    const char *target;
} Json;

static void put_object(const Decision *d, const void *user, Text *to) {
    const Json *j = user;
    const Diag *diag = j->diag;
    text_printf(to, "{\"kind\":\"decision\",");
    put_field(to, "target", j->target);
    put_field(to, "function", d->func);
    put_field(to, "pass", d->pass);
    put_field(to, "rule", d->rule);
    text_printf(to, "\"done\":%s,", d->done ? "true" : "false");
    put_field(to, "subject", d->subject);
    text_printf(to, "\"count\":%u,\"bytes\":%lld,", d->count, (long long)d->bytes);
    if (d->loc.file && d->loc.file < diag->files.n) {
        uint32_t line, column;
        diag_position(diag, d->loc, &line, &column);
        put_field(to, "file", diag->files.at[d->loc.file].path);
        text_printf(to, "\"line\":%u,\"column\":%u,", line, column);
    }
    text_put(to, "\"reason\":", 9);
    text_put_json(to, d->reason);
    text_put(to, "}\n", 2);
}

void ledger_print_json(const Ledger *l, const Diag *d, const char *target, Text *to) {
    const Json j = {d, target};
    put_all(l, false, put_object, &j, to);
}

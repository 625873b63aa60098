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
static const char *class_of(Arena *a, const char *name) {
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
    const char *parts[4] = {d->pass, d->rule, d->subject, d->reason};
    for (int i = 0; i < 4; i++) h = hash_bytes(h, parts[i], strlen(parts[i]) + 1);
    return h;
}

static bool same_line(const Decision *a, const Decision *b) {
    return a->done == b->done && !strcmp(a->pass, b->pass) && !strcmp(a->rule, b->rule) &&
           !strcmp(a->subject, b->subject) && !strcmp(a->reason, b->reason);
}

void ledger_add(Ledger *l, bool done, const char *pass, const char *rule, const char *subject,
                int64_t bytes, Loc loc, const char *reason_fmt, ...) {
    if (!l) return;
    Text reason = {.arena = l->arena};
    char buffer[512];
    va_list ap;
    va_start(ap, reason_fmt);
    vsnprintf(buffer, sizeof buffer, reason_fmt, ap);
    va_end(ap);
    text_put(&reason, buffer, strlen(buffer));
    Decision d = {pass, rule, class_of(l->arena, subject), reason.at, bytes, 1, done, loc};
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
            old->bytes += bytes;
            return;
        }
    }
}

static void print_bytes(Text *to, int64_t bytes) {
    const char *unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    for (; x >= 1024 && u < 4; u++) x /= 1024;
    text_printf(to, u ? ", %.1f %s" : ", %.0f %s", x, unit[u]);
}

void ledger_print(const Ledger *l, Text *to) {
    text_put(to, "", 0);
    for (uint32_t i = 0; i < l->lines.n; i++) {
        const Decision *d = &l->lines.at[i];
        text_printf(to, "%-10s %-4s %-14s %s", d->pass, d->done ? "yes" : "no", d->rule,
                    *d->subject ? d->subject : "(unnamed)");
        if (d->count > 1) text_printf(to, " x %u", d->count);
        if (d->bytes) print_bytes(to, d->bytes);
        text_printf(to, ": %s\n", d->reason);
    }
}

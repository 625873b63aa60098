// See progress.h. All of it is a function of its arguments alone.
#include "runtime/program/progress.h"
#include "runtime/plain.h"
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_COLUMNS = 24,            // of a metric in a row
    BAR_COLUMNS = 10,             // fewer show nothing
    TEXT = 4 * NAME_COLUMNS + 40, // bytes of one item: a name, a number
};

// ---- numbers and times --------------------------------------------------------------------------

// So many digits behind the point; from `least` to `most`. Others have one digit before the point and an
// exponent, so that no number is zeros only or takes more than 17 columns. -1: as few digits as are needed, six at
// most.
typedef struct {
    int digits;
    double least, most;
} NumberFormat;
static const NumberFormat in_loss = {4, 1e-3, 1e6}, in_norm = {3, 1e-2, 1e6}, in_rate = {3, 1, 0},
                          in_scale = {-1, 0, 0}, in_ms = {1, 1, 1e9}, in_part_of_ms = {3, 1e-3, 1},
                          in_samples = {1, 0.1, 1e12}, in_tokens = {0, 1, 1e12};

static void number(char to[32], double x, NumberFormat f) {
    double size = fabs(x);
    bool plain = isinf(x) || (size < f.most && (size >= f.least || x == 0));
    if (isnan(x))
        snprintf(to, 32, "nan"); // has no sign
    else if (f.digits < 0)
        snprintf(to, 32, "%g", x);
    else
        snprintf(to, 32, plain ? "%.*f" : "%.*e", plain || f.digits < 3 ? f.digits : f.digits - 1,
                 x);
}

static void time_text(char to[32], double seconds) {
    double s = ceil(seconds), most = 9999.0 * 86400;
    if (!(s > 0)) s = 0;
    if (s < 3600) {
        snprintf(to, 32, "%d:%02d", (int)s / 60, (int)s % 60);
    } else if (s < 2 * 86400) {
        snprintf(to, 32, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
    } else {
        double hours = floor((s < most ? s : most) / 3600);
        snprintf(to, 32, "%s%.0f d %.0f h", s < most ? "" : "over ", floor(hours / 24),
                 fmod(hours, 24));
    }
}

void sn_line_time(SnText *to, double seconds) {
    char text[32];
    time_text(text, seconds);
    sn_text_add(to, "%s", text);
}

// ---- columns ------------------------------------------------------------------------------------

// Columns of a character: some beyond ASCII take two, so all are counted as two.
static int columns_of(const char *s) { return sn_character(s) > 1 ? 2 : 1; }

static int width(const char *s) {
    int n = 0;
    for (; *s; s += sn_character(s)) n += columns_of(s);
    return n;
}

// A name of at most NAME_COLUMNS, cut between two characters; what would move the cursor is '?'.
static void short_name(char *to, const char *name) {
    bool whole = width(name) <= NAME_COLUMNS;
    for (int left = whole ? NAME_COLUMNS : NAME_COLUMNS - 1; *name && left >= columns_of(name);) {
        size_t n = sn_character(name);
        left -= columns_of(name);
        if (sn_is_control(name))
            *to++ = '?';
        else
            memcpy(to, name, n), to += n;
        name += n;
    }
    if (!whole) *to++ = '~';
    *to = 0;
}

// ---- the items of a row -------------------------------------------------------------------------

// In the order in which they stand; the model's own numbers are before the times.
typedef enum {
    ITEM_step,
    ITEM_loss,
    ITEM_norm,
    ITEM_rate,
    ITEM_scale,
    ITEM_took,
    ITEM_speed,
    ITEM_left
} RowItem;
#define ITEMS (ITEM_left + 1)
#define OWN   ITEM_took

// What stands at a place of its own.
static const struct {
    const char *name, *shown;
    RowItem item;
    const NumberFormat *form;
} known[] = {{"loss", "loss", ITEM_loss, &in_loss},
             {"grad_norm", "norm", ITEM_norm, &in_norm},
             {"lr", "lr", ITEM_rate, &in_rate},
             {"loss_scale", "scale", ITEM_scale, &in_scale}};
enum { KNOWN = sizeof known / sizeof *known };

static bool is_own(const SnNumber *x) {
    for (size_t k = 0; k < KNOWN; k++)
        if (!strcmp(x->name, known[k].name)) return false;
    return true;
}

// A rate of a group of parameters is one of the model's own numbers, but for its form.
static NumberFormat form_of(const SnNumber *x) {
    return strncmp(x->name, "lr.", 3) ? in_loss : in_rate;
}

// One of the known numbers; "" when the step has none of that name.
static void known_number(const SnStepLine *l, RowItem i, char *to) {
    char x[32];
    for (size_t k = 0; k < KNOWN; k++)
        for (uint32_t j = 0; j < l->n && known[k].item == i; j++) {
            if (strcmp(l->numbers[j].name, known[k].name)) continue;
            number(x, l->numbers[j].value, *known[k].form);
            snprintf(to, TEXT, "%s %s", known[k].shown, x);
        }
}

// The text of an item; "" when there is nothing to say.
static void item(const SnStepLine *l, RowItem i, char to[TEXT]) {
    char x[32];
    *to = 0;
    switch (i) {
    case ITEM_step: snprintf(to, TEXT, "step %" PRIu64 "/%" PRIu64, l->step, l->total); return;
    case ITEM_loss:
    case ITEM_norm:
    case ITEM_rate:
    case ITEM_scale: known_number(l, i, to); return;
    case ITEM_took:
        number(x, l->took * 1e3, l->took < 1e-3 ? in_part_of_ms : in_ms);
        if (!isnan(l->took)) snprintf(to, TEXT, "%s ms", x);
        return;
    case ITEM_speed:
        number(x, l->speed, l->tokens ? in_tokens : in_samples);
        if (!isnan(l->speed)) snprintf(to, TEXT, "%s %s/s", x, l->tokens ? "tokens" : "samples");
        return;
    case ITEM_left:
        time_text(x, l->left);
        if (!isnan(l->left)) snprintf(to, TEXT, "%s left", x);
    }
}

static void put(SnText *to, const char *text) {
    if (*text) sn_text_add(to, "%s%s", to->n ? "  " : "", text);
}

static void put_item(SnText *to, const SnStepLine *l, RowItem i) {
    char text[TEXT];
    item(l, i, text);
    put(to, text);
}

// The model's own numbers, with their whole names.
static void put_own(SnText *to, const SnStepLine *l) {
    char x[32];
    for (uint32_t j = 0; j < l->n; j++) {
        number(x, l->numbers[j].value, form_of(&l->numbers[j]));
        if (is_own(&l->numbers[j])) sn_text_add(to, "  %s %s", l->numbers[j].name, x);
    }
}

static void start(SnText *to) {
    to->n = 0;
    to->failed = false;
    sn_text_add(to, "%s", ""); // so that there is a text
}

void sn_line_step(SnText *to, const SnStepLine *l) {
    start(to);
    for (RowItem i = ITEM_step; i < ITEMS; i++) {
        if (i == OWN) put_own(to, l);
        put_item(to, l, i);
    }
}

void sn_line_eval(SnText *to, const SnStepLine *l) {
    char text[TEXT];
    start(to);
    item(l, ITEM_loss, text);
    sn_text_add(to, "step %" PRIu64 "  validation %s", l->step, text);
    put_own(to, l);
    put_item(to, l, ITEM_took);
    put_item(to, l, ITEM_speed);
}

// ---- the row of a terminal ----------------------------------------------------------------------

// One of the model's own numbers, with a name that may be cut.
static void short_own(const SnNumber *m, char to[TEXT]) {
    char x[32];
    short_name(to, m->name);
    number(x, m->value, form_of(m));
    strcat(strcat(to, " "), x);
}

// The longest form of "step 12/400" that leaves room for `other`, else the longest that fits at all.
static void short_step(const SnStepLine *l, double share, int columns, const char *other,
                       char to[TEXT]) {
    char count[TEXT], percent[TEXT];
    int room = columns - width(other) - 2;
    item(l, ITEM_step, to);
    snprintf(count, sizeof count, "%s", to + strlen("step "));
    snprintf(percent, sizeof percent, "%.0f%%", floor(share * 100));
    const char *forms[] = {to, count, percent, ""};
    int i = 0;
    while (i < 3 && width(forms[i]) > room) i++;
    for (i = i == 3 ? 0 : i; width(forms[i]) > columns && i < 3;) i++;
    if (i) strcpy(to, forms[i]);
}

// Columns of a row that nothing has taken yet. full: something did not fit, so what is less important is
// left out too.
typedef struct {
    int left;
    bool full;
} Room;

// Takes what a text needs, with the two columns before it.
static bool take(const char *text, Room *room) {
    int need = *text ? width(text) + 2 : 0;
    room->full |= need > room->left;
    if (room->full || !need) return false;
    room->left -= need;
    return true;
}

static void put_bar(SnText *to, double share, int columns, bool colour) {
    int inside = columns - 2, full = (int)(share * inside);
    sn_text_add(to, "  [%s", colour ? "\033[32m" : "");
    for (int i = 0; i < inside; i++) {
        if (i == full && colour) sn_text_add(to, "\033[0m");
        sn_text_add(to, "%c", i < full ? '=' : i == full ? '>' : ' ');
    }
    sn_text_add(to, "%s]", full >= inside && colour ? "\033[0m" : "");
}

void sn_line_bar(SnText *to, const SnStepLine *l, int columns, bool colour) {
    // In order of importance; behind the second of them come the bar, then the model's own numbers.
    static const RowItem order[] = {ITEM_loss, ITEM_left,  ITEM_norm, ITEM_speed,
                                    ITEM_rate, ITEM_scale, ITEM_took};
    double share = l->total && l->step < l->total ? (double)l->step / (double)l->total : 1;
    char text[TEXT], loss[TEXT];
    bool fits[ITEMS] = {false};
    uint32_t own = 0; // the numbers before this one fit
    start(to);
    item(l, ITEM_loss, loss);
    short_step(l, share, columns, loss, text);
    put(to, text);
    Room room = {.left = columns - width(text), .full = !*text};
    int bar = 0;
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        if (k == 2) {
            bar = !room.full && room.left >= BAR_COLUMNS + 2 ? BAR_COLUMNS : 0;
            room.left -= bar ? bar + 2 : 0;
            for (; own < l->n; own++) {
                short_own(&l->numbers[own], text);
                if (is_own(&l->numbers[own]) && !take(text, &room)) break;
            }
        }
        item(l, order[k], text);
        fits[order[k]] = take(text, &room);
    }
    if (bar) put_bar(to, share, bar + room.left, colour);
    for (RowItem i = ITEM_loss; i < ITEMS; i++) {
        for (uint32_t j = 0; i == OWN && j < own; j++) {
            short_own(&l->numbers[j], text);
            if (is_own(&l->numbers[j])) put(to, text);
        }
        if (fits[i]) put_item(to, l, i);
    }
}

// ---- the time that is left ----------------------------------------------------------------------

void sn_pace_step(SnPace *p, double seconds) {
    uint64_t n = p->steps++; // measured with this one
    if (n) p->step += (seconds - p->step) / (double)(n < 100 ? n : 100);
}

double sn_pace_left(const SnPace *p, uint64_t steps, uint64_t evals, uint64_t saves) {
    if (p->steps < 2) return (double)NAN;
    double eval = p->eval > 0 ? p->eval : p->forward * p->step;
    return (double)steps * p->step + (double)evals * eval + (double)saves * p->save;
}

uint64_t sn_pace_count(uint64_t from, uint64_t to, uint64_t every) {
    return every && to > from ? to / every - from / every : 0;
}

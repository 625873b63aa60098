// Finds the form of an opcode: a walk over the table, once for each spelling in a module.
#include "runtime/emulator/engine/forms.h"
#include <string.h>

typedef struct {
    const char *pattern, *signature;
    uint32_t sm;
    OpFn *fn;
} FormRow;

static const FormRow rows[] = {
#define FORM(pattern, signature, sm, fn) {pattern, signature, sm, fn},
#include "runtime/emulator/engine/ops.def"
#undef FORM
};

static bool word_n(const char **text, const char *word, size_t n) {
    if (strncmp(*text, word, n) || ((*text)[n] && (*text)[n] != '.')) return false;
    *text += n;
    return true;
}
bool form_word(const char **text, const char *word) { return word_n(text, word, strlen(word)); }

bool form_compare(const char **text, char kind, uint32_t *compare) {
    static const struct {
        const char *word, *kinds;
        uint8_t compare;
    } all[] = {{".eq", "iuec", CMP_eq}, {".ne", "iuec", CMP_ne}, {".lt", "iuc", CMP_lt},
               {".le", "iuc", CMP_le},  {".gt", "iuc", CMP_gt},  {".ge", "iuc", CMP_ge},
               {".lo", "u", CMP_lt},    {".ls", "u", CMP_le},    {".hi", "u", CMP_gt},
               {".hs", "u", CMP_ge},    {".equ", "c", CMP_equ},  {".neu", "c", CMP_neu},
               {".ltu", "c", CMP_ltu},  {".leu", "c", CMP_leu},  {".gtu", "c", CMP_gtu},
               {".geu", "c", CMP_geu},  {".num", "c", CMP_num},  {".nan", "c", CMP_nan}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (strchr(all[k].kinds, kind) && form_word(text, all[k].word)) {
            *compare = all[k].compare;
            return true;
        }
    return false;
}

bool form_rounding(const char **text, uint32_t *rounding) {
    static const char *const words[] = {
        [ROUND_rn] = ".rn", [ROUND_rz] = ".rz", [ROUND_rm] = ".rm", [ROUND_rp] = ".rp"};
    for (uint32_t k = ROUND_rn; k <= ROUND_rp; k++)
        if (form_word(text, words[k])) {
            *rounding = k;
            return true;
        }
    return false;
}

static void combine(const char **text, Form *to) {
    static const char *const words[] = {
        [BOOL_and] = ".and", [BOOL_or] = ".or", [BOOL_xor] = ".xor"};
    for (uint32_t k = BOOL_and; k <= BOOL_xor; k++)
        if (form_word(text, words[k])) {
            to->aux |= k << AUX_BOOL;
            to->combines = true;
            return;
        }
}

// { a | b | } : the first alternative that is there; *pattern moves behind the brace.
static bool alternative(const char **pattern, const char **text) {
    const char *p = *pattern + 1;
    bool found = false;
    while (*p != '}') {
        size_t n = strcspn(p, "|}");
        if (!found) found = !n || word_n(text, p, n);
        p += n + (p[n] == '|');
        if (!found && *p == '}' && p[-1] == '|') found = true; // the empty one at the end
    }
    *pattern = p + 1;
    return found;
}

static bool capture(char kind, const char **text, Form *to) {
    uint32_t value = 0;
    switch (kind) {
    case 'r':
    case 'R':
        if (!form_rounding(text, &value)) return kind == 'R';
        to->aux |= value << AUX_ROUND;
        return true;
    case 'f': to->ftz = form_word(text, ".ftz"); return true;
    case 's': to->sat = form_word(text, ".sat"); return true;
    case 'b': combine(text, to); return true;
    default:
        if (!form_compare(text, kind, &value)) return false;
        to->aux |= value;
        return true;
    }
}

static bool matches(const char *pattern, const char *text, Form *to) {
    *to = (Form){.aux = 0};
    while (*pattern) {
        if (*pattern == '{') {
            if (!alternative(&pattern, &text)) return false;
        } else if (*pattern == '%') {
            if (!capture(pattern[1], &text, to)) return false;
            pattern += 2;
        } else {
            size_t n = 1 + strcspn(pattern + 1, "{%.");
            if (!word_n(&text, pattern, n)) return false;
            pattern += n;
        }
    }
    return !*text;
}

static uint32_t operands_of(const Form *f) {
    uint32_t n = 0;
    for (const char *s = f->signature; *s; s++)
        n += *s != ':' && *s != 'q' && (*s != '?' || f->combines);
    return n;
}

bool form_find(const char *opcode, uint32_t operands, Form *to) {
    size_t base = strcspn(opcode, ".");
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const FormRow *r = &rows[k];
        if (strncmp(r->pattern, opcode, base) || !matches(r->pattern, opcode, to)) continue;
        to->fn = r->fn;
        to->signature = r->signature;
        to->sm = r->sm;
        if (operands_of(to) == operands) return true;
    }
    return false;
}

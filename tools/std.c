// sinter std [NAME]: the library's reference, from the comments of std.sn.
#include "frontend/ast.h"
#include "frontend/reference.h"
#include "runtime/setting.h"
#include "tools/driver.h"
#include <ctype.h>
#include <string.h>

// By section, a line each.
static void list_entries(const Reference *r) {
    for (uint32_t s = 0; s < r->sections.n; s++) {
        const RefSection *section = &r->sections.at[s];
        printf("%s%s\n", s ? "\n" : "", section->title);
        if (*section->text) printf("%s\n", section->text);
        for (uint32_t i = 0; i < r->entries.n; i++)
            if (r->entries.at[i].section == s)
                printf("  %-22s %s\n", r->entries.at[i].name, r->entries.at[i].brief);
    }
}

static void print_entry(const Reference *r, const RefEntry *e) {
    printf("%s\n%s\n", e->signature, e->brief);
    if (*e->more) puts(e->more);
    putchar('\n');
    printf("  %-8s %s\n", "section", r->sections.at[e->section].title);
    for (int i = 0; i < REF_FIELDS; i++)
        if (*e->field[i]) printf("  %-8s %s\n", ref_field_names[i], e->field[i]);
    printf("\n%s\n", e->text);
}

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

// Whether a text names it as a whole word: "mse_loss" in "F.mse_loss(reduction=…)".
static bool has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; n && (at = strstr(at, word)); at++)
        if ((at == text || !is_letter(at[-1])) && !is_letter(at[n]) && at[n] != '.') return true;
    return false;
}

// What a name that is none may stand for: PyTorch's name of an entry, or one misspelt.
static const char *meant(const Reference *r, const char *name) {
    const char *near = NULL, *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (uint32_t i = 0; i < r->entries.n; i++) {
        const RefEntry *e = &r->entries.at[i];
        if (has_word(e->field[REF_torch], last) || foreign_spelling(last, e->name)) return e->name;
        near = sn_nearer(last, near, e->name);
    }
    return near;
}

static int unknown_entry(const Reference *r, const char *name) {
    if (frontend_builtin(name))
        return usage_error("'%s' is built in: docs/language.md has it", name);
    const char *near = meant(r, name);
    return near ? usage_error("nothing in std is named '%.100s'; did you mean '%s'?", name, near)
                : usage_error("nothing in std is named '%.100s' (see 'sinter std')", name);
}

int command_std(Driver *d) {
    const Reference *r = reference_std(d->arena, d->diag);
    const char *name = d->o.input;
    if (!name) return list_entries(r), 0;
    const RefEntry *e = reference_find(r, name);
    if (!e) return unknown_entry(r, name);
    print_entry(r, e);
    return 0;
}

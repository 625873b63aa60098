// sinter std [NAME]: the library's reference, from the comments of std.sn.
#include "frontend/reference.h"
#include "runtime/setting.h"
#include "tools/driver.h"
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

int command_std(Driver *d) {
    const Reference *r = reference_std(d->arena, d->diag);
    const char *name = d->o.input, *near = NULL;
    const RefEntry *e = name ? reference_find(r, name) : NULL;
    if (!name) {
        list_entries(r);
    } else if (e) {
        print_entry(r, e);
    } else {
        for (uint32_t i = 0; i < r->entries.n; i++)
            near = sn_nearer(name, near, r->entries.at[i].name);
        fprintf(stderr, "sinter: error: nothing in std is named '%.100s'", name);
        near ? fprintf(stderr, "; did you mean '%s'?\n", near)
             : fputs(" (see 'sinter std')\n", stderr);
    }
    return name && !e ? EXIT_USAGE : 0;
}

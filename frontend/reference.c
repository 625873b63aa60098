// From a file's comments to its reference: what stands above which definition.
//
// The scanner's tokens are walked once beside the items of the tree: comments that fill lines gather in a block,
// a blank line ends it, a definition takes it. Linear in the file.
#include "frontend/reference.h"
#include "frontend/parse_internal.h"
#include <string.h>

const char *const ref_field_names[REF_FIELDS] = {
#define FIELD(name, meaning) #name,
#include "frontend/reference.def"
#undef FIELD
};

static const char section_mark[] = "# --- ";
enum { MARK = sizeof section_mark - 1 };

typedef struct {
    Arena *arena;
    Diag *diag;
    const char *source;
    Reference *to;
    VEC(Loc) lines; // comments one below the other
} ReferenceReader;

static const char *slice(const ReferenceReader *r, uint32_t from, uint32_t to) {
    return arena_str(r->arena, r->source + from, to - from);
}

// A comment line without '#' and the space after it.
static const char *words_of(const ReferenceReader *r, Loc at) {
    const char *s = slice(r, at.start + 1, at.end);
    return *s == ' ' ? s + 1 : s;
}

static const char *join(const ReferenceReader *r, const char *a, char between, const char *b) {
    return *a ? arena_printf(r->arena, "%s%c%s", a, between, b) : b;
}

static bool is_section(const ReferenceReader *r) {
    return r->lines.n && strncmp(r->source + r->lines.at[0].start, section_mark, MARK) == 0;
}

static void end_block(ReferenceReader *r) {
    if (is_section(r)) {
        RefSection s = {.title = slice(r, r->lines.at[0].start + MARK, r->lines.at[0].end),
                        .text = ""};
        for (uint32_t i = 1; i < r->lines.n; i++)
            s.text = join(r, s.text, '\n', words_of(r, r->lines.at[i]));
        vec_push(r->arena, &r->to->sections, s);
    }
    r->lines.n = 0;
}

// The field that a line opens: its number, REF_FIELDS for none. A lower-case word and ':' must be one.
static RefField field_of(const ReferenceReader *r, Loc at, const char **words) {
    size_t n = strspn(*words, "abcdefghijklmnopqrstuvwxyz");
    if (!n || (*words)[n] != ':' || (*words)[n + 1] != ' ') return REF_FIELDS;
    for (int i = 0; i < REF_FIELDS; i++)
        if (strlen(ref_field_names[i]) == n && memcmp(ref_field_names[i], *words, n) == 0) {
            *words += n + 2;
            return (RefField)i;
        }
    diag_error(r->diag, at, "'%.*s' is no field of an entry", (int)n, *words);
    return REF_FIELDS;
}

static void read_entry(const ReferenceReader *r, RefEntry *e) {
    const char **at = &e->brief;
    e->brief = e->more = "";
    for (int i = 0; i < REF_FIELDS; i++) e->field[i] = "";
    for (uint32_t i = 0; i < r->lines.n; i++) {
        const char *words = words_of(r, r->lines.at[i]);
        RefField field = field_of(r, r->lines.at[i], &words);
        if (field != REF_FIELDS) at = &e->field[field];
        *at = join(r, *at, at == &e->more ? '\n' : ' ', words + strspn(words, " "));
        if (at == &e->brief) at = &e->more;
    }
}

// Up to the ')' after the last argument: no ')' stands between.
static const char *signature_of(const ReferenceReader *r, const AstFunc *f) {
    uint32_t at = f->args.n ? f->args.at[f->args.n - 1].loc.end : f->name_loc.end;
    while (r->source[at] != ')') at++;
    return slice(r, f->name_loc.start, at + 1);
}

static void add_entry(ReferenceReader *r, const Item *item) {
    const AstFunc *f = item->kind == ITEM_func ? item->func : NULL;
    Loc name = f ? f->name_loc : item->bind.name_loc;
    RefEntry e = {.name = slice(r, name.start, name.end),
                  .text = slice(r, item->loc.start, item->loc.end)};
    if (is_section(r)) end_block(r);
    if (!r->lines.n) diag_error(r->diag, name, "'%s' has no comment", e.name);
    if (!r->to->sections.n) diag_error(r->diag, name, "'%s' is in no section", e.name);
    e.signature = f ? signature_of(r, f) : e.text;
    e.section = r->to->sections.n ? r->to->sections.n - 1 : 0;
    read_entry(r, &e);
    vec_push(r->arena, &r->to->entries, e);
}

Reference *reference_read(Arena *a, Diag *d, uint16_t file) {
    TokenList tokens = {0};
    Parse p = {.arena = a, .syms = symtab_new(a), .record = &tokens};
    ReferenceReader r = {
        .arena = a, .diag = d, .source = d->files.at[file].text, .to = NEW(a, Reference)};
    if (!parse_text(&p, d, file)) return r.to;
    uint32_t item = 0;
    int before = RAW_NEWLINE; // kind of the last token
    for (uint32_t i = 0; i < tokens.n; i++) {
        const Token *t = &tokens.at[i];
        if (t->kind == RAW_NEWLINE) {
            if (before == RAW_NEWLINE) end_block(&r);
        } else if (t->kind == RAW_COMMENT) {
            if (before == RAW_NEWLINE) vec_push(a, &r.lines, t->loc);
        } else {
            const Item *next = item < p.ast->items.n ? &p.ast->items.at[item] : NULL;
            if (next && t->loc.start >= next->loc.start) {
                if (next->kind == ITEM_func || next->kind == ITEM_bind) add_entry(&r, next);
                item++;
            }
            r.lines.n = 0;
        }
        before = t->kind;
    }
    return r.to;
}

Reference *reference_std(Arena *a, Diag *d) {
    return reference_read(a, d, diag_add_file(d, "std.sn", std_source, std_source_size, true));
}

const RefEntry *reference_find(const Reference *r, const char *name) {
    for (uint32_t i = 0; i < r->entries.n; i++)
        if (strcmp(r->entries.at[i].name, name) == 0) return &r->entries.at[i];
    return NULL;
}

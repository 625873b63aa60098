// Writes what is made from tables: docs --ops is docs/ops.md, --passes docs/passes.md, --commands docs/commands.md,
// --std, from the comments of std.sn, docs/std.md; --lines is the table of plan lines in docs/language.md,
// --settings those of options in docs/running.md. A test compares the committed pages with fresh output, so that
// the tables of ops, attributes, element types, passes, commands and options stay the one place where these
// facts are written. --manual is the manual page that is installed.
#include "frontend/reference.h"
#include "ir/attr.h"
#include "passes/pass.h"
#include "runtime/setting.h"
#include "tools/command.h"
#include <stdio.h>
#include <string.h>

static const char ops_head[] =
    "# Ops\n"
    "\n"
    "Made by `build/docs --ops` from `ir/ops.def`, `ir/scalar.def`, `ir/attrs.def` and "
    "`ir/dtypes.def`; do not edit.\n"
    "[ir.md](ir.md) explains types, the text form and axis roles, [numerics.md](numerics.md) what "
    "each "
    "op rounds.\n"
    "\n"
    "## Element types\n"
    "\n"
    "| type | bytes | in checkpoints |\n"
    "|---|---|---|\n";

static const char scalars_head[] = "\n## Scalar ops\n"
                                   "\n"
                                   "Elementwise on tensors, and the operations of kernels. "
                                   "Operands align by axis name and broadcast.\n"
                                   "Cost is in additions per element, for decisions only. *swap*: "
                                   "the first two operands may change places.\n"
                                   "\n"
                                   "| op | operands | types | cost | | result |\n"
                                   "|---|---|---|---|---|---|\n";

static const char tensors_head[] =
    "\n## Tensor ops\n"
    "\n"
    "The columns are those of `ir/ops.def`, which says what the passes conclude from them.\n"
    "\n"
    "- *type*: `rule`, it follows from the operands and may be wanted in another order of axes; "
    "`given`, by who makes the node.\n"
    "- *reads*, to compute one element: `nothing` but the index; `memory`, it lies there; of each "
    "operand the `same` element; that, but in another `order` in memory; one at a `view`'s index; "
    "one that it has to `pick`; `many`. "
    "*adds to*: the operand that is an accumulator, read at the same element.\n"
    "- *in*: where alone it may stand.\n";

// In the order of ScalarRule.
static const char *const rule_texts[] = {
    [RULE_NONE] = "",
    [RULE_FLOAT] = "float -> same",
    [RULE_ARITH] = "number -> same",
    [RULE_LOGIC] = "bool or integer -> same",
    [RULE_SHIFT] = "integer -> same",
    [RULE_COMPARE] = "two equal types -> bool",
    [RULE_PREDICATE] = "float -> bool",
    [RULE_SELECT] = "bool, T, T -> T",
    [RULE_CAST] = "any -> attribute `to`",
};

// In the order of OpKind.
static const char *const kind_titles[] = {
    [OPK_SCALAR] = "Scalars",
    [OPK_LEAF] = "Leaves",
    [OPK_VIEW] = "Views",
    [OPK_FOLD] = "Folds",
    [OPK_CONTRACT] = "Contraction",
    [OPK_INDEX] = "Indexing",
    [OPK_ORDER] = "Order and moves",
    [OPK_REGION] = "Regions",
    [OPK_MESH] = "Between ranks",
};
static const char *const kind_texts[] = {
    [OPK_SCALAR] = "",
    [OPK_LEAF] = "Values without tensor operands (`grad` stands for one until autodiff has run).",
    [OPK_VIEW] =
        "The same elements seen otherwise: no arithmetic. A view is an index change inside a "
        "kernel, or a move where memory must have its order.",
    [OPK_FOLD] =
        "Kinds: `sum prod min max any all`. `by` is the order that is promised: `row`, `col` or "
        "`seq`.",
    [OPK_CONTRACT] = "Becomes a GEMM, whatever the order of axes.",
    [OPK_INDEX] = "An axis indexed by a tensor of integers.",
    [OPK_ORDER] = "What fixes a place in memory or in time.",
    [OPK_REGION] = "Made by `fuse`; the body is a function of its own.",
    [OPK_MESH] =
        "Collectives of the ranks of a mesh: each changes where a value is, not what it is.",
};

static void print_elems(void) {
    for (int e = 0; e < ELEM_COUNT; e++)
        printf("| `%s` | %u | `%s` |\n", elem_info[e].name, elem_info[e].bytes,
               elem_info[e].safetensors);
}

static void print_scalars(void) {
    for (uint32_t i = 0; i < OP_SCALARS; i++) {
        const OpInfo *o = &op_info[i];
        printf("| `%s` | %u | %s | %u | %s | %s |\n", o->name, o->min, rule_texts[o->rule], o->cost,
               o->swap ? "swap" : "", o->meaning);
    }
}

static const char *field_text(FieldKind kind) {
    switch (kind) {
    case FIELD_AXIS: return "axis";
    case FIELD_AXES: return "axes";
    case FIELD_I64: return "integer";
    case FIELD_F64: return "number";
    case FIELD_SYM: return "name";
    case FIELD_DTYPE: return "type";
    case FIELD_STATE: return "state";
    case FIELD_FUNC: return "region";
    case FIELD_MESH: return "mesh axes";
    case FIELD_REDUCE: return "kind of fold";
    case FIELD_FOLD: return "order of fold";
    case FIELD_GROUP: return "kind of group";
    }
    unreachable(kind);
}

static void print_attributes(const OpInfo *o) {
    if (o->attr == ATTR_none) {
        fputs("–", stdout);
        return;
    }
    uint32_t first, n = attr_record((AttrKind)o->attr, &first);
    for (uint32_t i = 0; i < n; i++) {
        const AttrField *f = &attr_fields[first + i];
        printf("%s`%s` %s", i ? ", " : "", f->name, field_text((FieldKind)f->kind));
    }
}

static void print_kind(OpKind kind) {
    static const char *const type[] = {
        [TYPE_RULE] = "rule", [TYPE_FIXED] = "rule, one order", [TYPE_FREE] = "given"};
    static const char *const reads[] = {
        [READS_NOTHING] = "nothing", [READS_STORED] = "memory", [READS_OWN] = "–",
        [READS_SAME] = "same",       [READS_ORDER] = "order",   [READS_VIEW] = "view",
        [READS_PICK] = "pick",       [READS_MANY] = "many"};
    static const char *const in[] = {[IN_ANY] = "", [IN_TOP] = "no region", [IN_BODY] = "region"};
    printf("\n### %s\n\n%s\n\n| op | operands | attributes | type | reads | in | meaning |\n"
           "|---|---|---|---|---|---|---|\n",
           kind_titles[kind], kind_texts[kind]);
    for (uint32_t i = OP_SCALARS; i < OP_COUNT; i++) {
        const OpInfo *o = &op_info[i];
        if (o->kind != kind) continue;
        printf("| `%s` | %u", o->name, o->min);
        if (o->max != o->min) printf(" to %u", o->max);
        if (o->acc >= 0) printf(", adds to %d", o->acc);
        fputs(" | ", stdout);
        print_attributes(o);
        printf(" | %s | %s | %s | %s |\n", type[o->type], reads[o->reads], in[o->in], o->meaning);
    }
}

static void print_ops(void) {
    fputs(ops_head, stdout);
    print_elems();
    fputs(scalars_head, stdout);
    print_scalars();
    fputs(tensors_head, stdout);
    for (OpKind k = OPK_LEAF; k <= OPK_MESH; k++) print_kind(k);
}

static void print_passes(void) {
    puts("# Passes\n"
         "\n"
         "Made by `build/docs --passes` from `passes/passes.def`; do not edit.\n"
         "\n"
         "In this order. A pass marked *same bits* may not change one bit of any result; tests "
         "compare "
         "with and\nwithout it by equality. `sinter dump FILE --after PASS` shows what a pass "
         "leaves, "
         "`sinter explain FILE` what it decided.\n"
         "\n"
         "A list of passes (`--passes`) with one before another that it *requires* is refused.\n"
         "\n"
         "| | pass | | requires | why here |\n"
         "|---|---|---|---|---|");
    for (uint32_t i = 0; i < pass_count; i++) {
        const PassInfo *p = &pass_table[i];
        printf("| %u | `%s` | %s | ", i + 1, p->name, p->neutral ? "same bits" : "");
        if (p->requires != PASS_none) printf("`%s`", pass_table[p->requires - 1].name);
        printf(" | %s |\n", p->reason);
    }
}

static void print_lines(void) {
    puts("| line | |\n|---|---|");
    for (uint32_t i = 0; i < sn_line_count; i++)
        if (!sn_lines[i].later) printf("| `%s` | %s |\n", sn_lines[i].form, sn_lines[i].meaning);
    fputs("\nNot compiled yet:", stdout);
    for (uint32_t i = 0, n = 0; i < sn_line_count; i++)
        if (sn_lines[i].later) printf("%s `%s`", n++ ? "," : "", sn_lines[i].name);
    puts(".");
}

static void print_values(const SnSetting *s) {
    char text[128];
    switch (s->type) {
    case SN_COUNT: printf("whole number, %s", s->values); return;
    case SN_REAL: printf("number, %s", s->values); return;
    case SN_BOOL:
    case SN_CHOICE:
        sn_setting_allowed(s, text, sizeof text);
        fputs(text, stdout);
        return;
    case SN_PATH:
    case SN_TEXT: fputs("text", stdout); return;
    case SN_FLAG: fputs("–", stdout); return;
    case SN_SET: fputs("KEY=VALUE", stdout); return;
    }
    unreachable(s->type);
}

// '|' ends a cell, and so does the line.
static void print_escaped(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        printf(text[i] == '|' ? "\\%c" : "%c", text[i] == '\n' ? ' ' : text[i]);
}

// What comes before the first ';' is code, what follows is prose.
static void print_code(const char *text) {
    size_t n = strcspn(text, ";");
    if (!n) return;
    putchar('`');
    print_escaped(text, n);
    putchar('`');
    print_escaped(text + n, strlen(text + n));
}

static void print_section(const Reference *r, uint32_t section) {
    printf("\n## %s\n\n", r->sections.at[section].title);
    if (*r->sections.at[section].text) printf("%s\n\n", r->sections.at[section].text);
    puts("| | | gives | PyTorch |\n|---|---|---|---|");
    for (uint32_t i = 0; i < r->entries.n; i++) {
        const RefEntry *e = &r->entries.at[i];
        if (e->section != section) continue;
        fputs("| ", stdout);
        print_code(e->signature);
        printf(" | %s%s", e->brief, *e->more ? " " : "");
        print_escaped(e->more, strlen(e->more));
        putchar(' ');
        for (int k = 0; k < REF_FIELDS; k++) {
            if (k != REF_formula) fputs(" | ", stdout);
            print_code(e->field[k]);
        }
        puts(" |");
    }
}

static void print_std(void) {
    Arena *a = arena_new();
    const Reference *r = reference_std(a, diag_new(a));
    puts("# The library\n"
         "\n"
         "Made by `build/docs --std` from the comments of `frontend/std.sn`; do not edit. `sinter "
         "std NAME` "
         "prints an entry with its text.\n"
         "[language.md](language.md) has what is built in.");
    for (uint32_t s = 0; s < r->sections.n; s++) print_section(r, s);
    arena_free(a);
}

static void print_setting(const SnSetting *s) {
    const char *without = s->without ? s->without : s->words;
    if (s->when == SN_COMMAND) {
        printf("| `--%s", s->flag);
        if (*s->shown) putchar(' ');
        print_escaped(s->shown, strlen(s->shown));
        fputs("` | ", stdout);
    } else {
        printf("| `%s` | ", s->key);
    }
    print_values(s);
    printf(" | %s | ", *without ? without : "–");
    if (s->when == SN_RUN || s->when == SN_SCALAR) printf("`--%s` | ", *s->flag ? s->flag : "set");
    if (s->when == SN_BUILD || s->when == SN_ARGUMENT) fputs("fixed | ", stdout);
    printf("%s |\n", s->meaning);
}

// What only the command line has.
static void print_group(const SnGroup *g) {
    bool any = false;
    for (SnSettingId i = g->first; i < g[1].first; i++) {
        if (sn_settings[i].when != SN_COMMAND) continue;
        if (!any) printf("| *%s* | | | |\n", g->title);
        any = true;
        print_setting(&sn_settings[i]);
    }
}

static void print_settings(void) {
    puts("| option of the plan | values | without | in the executable | |\n|---|---|---|---|---|");
    for (int i = 0; i < SN_SETTINGS; i++)
        if (sn_settings[i].when <= SN_SCALAR) print_setting(&sn_settings[i]);
    puts("\n| option of the executable | values | without | |\n|---|---|---|---|");
    for (const SnGroup *g = sn_groups; g->first < SN_SETTINGS; g++) print_group(g);
    puts("\n| environment | values | without | |\n|---|---|---|---|");
    for (int i = 0; i < SN_SETTINGS; i++)
        if (sn_settings[i].when == SN_ENVIRON) print_setting(&sn_settings[i]);
}

static void print_takers(uint32_t takers) {
    if (takers == (1u << COMMANDS) - 1) {
        fputs("all", stdout);
        return;
    }
    for (CommandId c = 0, n = 0; c < COMMANDS; c++)
        if (takers >> c & 1) printf("%s%s", n++ ? ", " : "", command_info[c].name);
}

static void print_commands(void) {
    puts("# Commands\n"
         "\n"
         "Made by `build/docs --commands` from `tools/command.def`; do not edit. `sinter COMMAND "
         "--help` says the same on\na terminal.\n"
         "\n"
         "A value is written `--option VALUE` or `--option=VALUE`; of an option that is given "
         "twice the last one counts.\nA file called `-` is standard input. Exit status: 0 done; 1 "
         "the input is at fault; 2 the command line is; 3 the\nmachine is (memory, disk, no "
         "linker). Messages go to stderr as `file:line:column: error: …`.");
    for (CommandId c = 0; c < COMMANDS; c++) {
        const CommandInfo *p = &command_info[c];
        if (!c || strcmp(p->group, p[-1].group) != 0)
            printf("\n## %c%s\n\n| | | |\n|---|---|---|\n", p->group[0] - 'a' + 'A', p->group + 1);
        printf("| `sinter %s%s%s` | %s.%s%s | `%s` |\n", p->name, *p->shown ? " " : "", p->shown,
               p->meaning, *p->more ? " " : "", p->more, p->example);
    }
    puts("\n## Completion\n"
         "\n"
         "For bash, `cmake --install` puts `sinter` into share/bash-completion/completions, where "
         "the package bash-completion\nlooks for it; without that package, source the file. It "
         "offers commands, the options of each and their values, and\nfor executables called "
         "`train` the options of [running.md](running.md); for one of another name: "
         "`complete -F\n_sinter_train NAME`. No executable is started for it: sinter in PATH is "
         "asked.");
    puts("\n## Options\n\n| option | of | | without |\n|---|---|---|---|");
    for (OptionId o = 0; o < OPTIONS; o++) {
        const OptionInfo *p = &option_info[o];
        char head[128];
        option_head(o, head, sizeof head);
        printf("| `%s` | ", head);
        print_takers(p->takers);
        printf(" | %s | %s |\n", p->meaning, *p->without ? p->without : "–");
    }
}

// A text of a manual page: roff reads '-' as a hyphen, and '.' and "'" at the start of a line as its own.
static void print_roff(const char *text) {
    if (*text == '.' || *text == '\'') fputs("\\&", stdout);
    for (; *text; text++)
        if (*text == '-' || *text == '\\')
            printf(*text == '-' ? "\\-" : "\\e");
        else
            putchar(*text);
    putchar('\n');
}

static void print_manual(void) {
    puts(".\\\" Made by docs --manual from tools/command.def.\n"
         ".TH SINTER 1\n.SH NAME\nsinter \\- compiles a model description into a training "
         "executable\n.SH SYNOPSIS\n.B sinter\n.I COMMAND\n[OPTION]... [FILE]\n.SH COMMANDS");
    for (CommandId c = 0; c < COMMANDS; c++) {
        const CommandInfo *p = &command_info[c];
        char text[512];
        fputs(".TP\n.B ", stdout);
        snprintf(text, sizeof text, "%s %s", p->name, p->shown);
        print_roff(text);
        snprintf(text, sizeof text, "%s. %s", p->meaning, p->more);
        print_roff(text);
        fputs(".br\nExample: ", stdout);
        print_roff(p->example);
    }
    puts(".SH OPTIONS");
    for (OptionId o = 0; o < OPTIONS; o++) {
        char text[256];
        fputs(".TP\n.B ", stdout);
        option_head(o, text, sizeof text);
        print_roff(text);
        option_meaning(o, text, sizeof text);
        print_roff(text);
        fputs("(of ", stdout);
        print_takers(option_info[o].takers);
        puts(")");
    }
    puts(".SH EXIT STATUS\n0 done, 1 the input is at fault, 2 the command line, 3 the machine "
         "(memory, disk, no linker).");
}

int main(int argc, char **argv) {
    const char *page = argc == 2 ? argv[1] : "";
    if (strcmp(page, "--ops") == 0) {
        print_ops();
    } else if (strcmp(page, "--passes") == 0) {
        print_passes();
    } else if (strcmp(page, "--std") == 0) {
        print_std();
    } else if (strcmp(page, "--lines") == 0) {
        print_lines();
    } else if (strcmp(page, "--settings") == 0) {
        print_settings();
    } else if (strcmp(page, "--commands") == 0) {
        print_commands();
    } else if (strcmp(page, "--manual") == 0) {
        print_manual();
    } else {
        fputs(
            "usage: docs --ops | --passes | --std | --lines | --settings | --commands | --manual\n",
            stderr);
        return 2;
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 3;
}

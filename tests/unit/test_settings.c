// Every row of runtime/plan.def, tried at, below and above the ends of its range and with what is none of its
// values: in the plan's text, by -D, by --set, by the option's own name and in the environment. All take and
// refuse the same values, and say what is taken. A new row is covered without a line here; which
// values a row takes is worked out from its text here once more, so that the check itself is checked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "runtime/program/options.h"
#include <float.h>
#include <math.h>

// ---- what is tried ------------------------------------------------------------------------------

typedef struct {
    char text[64];
    bool taken;
} Try;
typedef struct {
    Try at[40];
    int n;
} Tries;

static void add(Tries *t, bool taken, const char *format, ...) {
    va_list args;
    va_start(args, format);
    assert_true(t->n < 40);
    vsnprintf(t->at[t->n].text, sizeof t->at->text, format, args);
    t->at[t->n++].taken = taken;
    va_end(args);
}

static void add_words(Tries *t, const char *words) {
    for (size_t n; *words; words += n + (words[n] == ' ')) {
        n = strcspn(words, " ");
        add(t, true, "%.*s", (int)n, words);
        add(t, false, "%.*sx", (int)n, words);
        if (n > 1) add(t, false, "%.*s", (int)n - 1, words);
    }
}

static void add_count(Tries *t, double low, double high) {
    if (isinf(high)) high = 2147483647;
    add(t, false, "%.0f", low - 1);
    add(t, true, "%.0f", low);
    add(t, true, "%.0f", low + 1);
    add(t, true, "%.0f", high);
    if (high < 9e15) add(t, false, "%.0f", high + 1);
    add(t, false, "9007199254740993");
    add(t, false, "1.5");
}

static void add_real(Tries *t, double low, bool low_in, double high, bool high_in) {
    if (isinf(low)) low = -(double)FLT_MAX, low_in = true;
    if (isinf(high)) high = (double)FLT_MAX, high_in = true;
    add(t, false, "%.17g", low - fmax(1e-9, fabs(low) * 1e-9));
    add(t, low_in, "%.17g", low);
    add(t, true, "%.17g", low < 0.5 ? 0.5 : low + 0.5);
    add(t, high_in, "%.17g", high);
    add(t, false, "%.17g", high * (1 + 1e-9));
}

static Tries tries_of(const SnSetting *s) {
    static const char *const no_number[] = {"nan", "-nan", "inf",   "-inf",  "1e999", "x",
                                            "1x",  "0x10", " 1",    "1 ",    "--1",   "true",
                                            "",    "1e",   "1,000", "1e300", "-1e300"};
    Tries t = {0};
    char open, close;
    double low, high;
    if (s->type == SN_COUNT || s->type == SN_REAL) {
        assert_int_equal(sscanf(s->values, "%c%lf, %lf%c", &open, &low, &high, &close), 4);
        if (s->type == SN_COUNT)
            add_count(&t, low, high);
        else
            add_real(&t, low, open == '[', high, close == ']');
        for (size_t i = 0; i < sizeof no_number / sizeof *no_number; i++)
            add(&t, false, "%s", no_number[i]);
    } else if (s->type == SN_PATH) {
        add(&t, true, "x");
        add(&t, false, "");
    } else if (s->type == SN_BOOL || s->type == SN_CHOICE) {
        add_words(&t, s->values);
        add(&t, false, "");
        add(&t, false, "3");
        add(&t, false, "nan");
        if (s->type == SN_BOOL) add(&t, true, "1"), add(&t, true, "0");
    }
    return t;
}

// ---- the ways to give a value -------------------------------------------------------------------

typedef struct {
    Arena *a;
    Diag *d;
} ToldMessages;

static ToldMessages compile(const char *plan, const char *name, const char *value) {
    ToldMessages t = {.a = arena_new()};
    const char *text =
        arena_printf(t.a,
                     "axis vocab = 16, dim = 4, batch, seq\n"
                     "model m(tokens: vocab[batch, seq], targets: vocab[batch, seq]) {\n"
                     "  param w[vocab -> dim] ~ 1\n  x = w[vocab: tokens]\n"
                     "  loss = mean[batch, seq](cross_entropy[vocab](x @[dim] w, targets))\n}\n%s",
                     plan);
    Define d = {name, value};
    t.d = diag_new(t.a);
    (void)frontend_compile(t.a, symtab_new(t.a), t.d,
                           diag_add_file(t.d, "test.sn", text, strlen(text), false), &d,
                           name != NULL);
    return t;
}

static bool told(const ToldMessages *t, const char *what, bool located) {
    for (uint32_t i = 0; i < t->d->items.n; i++)
        if (strstr(t->d->items.at[i].text, what) && (t->d->items.at[i].loc.file != 0) == located)
            return true;
    return false;
}

// A name for a row of many names.
static const char *key_of(const SnSetting *s) {
    if (!strcmp(s->key, "size.*")) return "size.seq";
    if (!strcmp(s->key, "optimizer.*")) return "optimizer.clip";
    if (!strcmp(s->key, "lr.*")) return "lr.floor";
    return s->key;
}

// A block that has the option, and how the option is written; the others have none.
static const char *optimizer_of(Arena *a, const char *name, const char *value) {
    if (!strcmp(name, "betas")) return arena_printf(a, "adamw(betas = (0.5, %s))", value);
    if (!strcmp(name, "eps")) return arena_printf(a, "adamw(eps = %s)", value);
    if (!strcmp(name, "alpha")) return arena_printf(a, "rmsprop(alpha = %s)", value);
    if (!strcmp(name, "rho")) return arena_printf(a, "adadelta(rho = %s)", value);
    if (!strcmp(name, "momentum_decay"))
        return arena_printf(a, "nadam(momentum_decay = %s)", value);
    if (!strcmp(name, "rate_decay") || !strcmp(name, "start"))
        return arena_printf(a, "adagrad(%s = %s)", name, value);
    if (!strcmp(name, "clip")) return arena_printf(a, "adafactor(clip = %s)", value);
    return arena_printf(a, "sgd(%s = %s)", name, value);
}

static const char *schedule_of(Arena *a, const char *name, const char *value) {
    static const char *const arguments[] = {"peak", "warmup", "steps", "floor"};
    Text t = {.arena = a};
    for (int i = 0; i < 4; i++)
        text_printf(&t, "%s%s = %s", i ? ", " : "cosine(", arguments[i],
                    strcmp(name, arguments[i]) ? "1" : value);
    text_printf(&t, ")");
    return t.at;
}

// A plan in which the setting has this value; NULL: it is none of a plan.
static const char *plan_with(Arena *a, const char *key, const char *value) {
    const char *dot = strchr(key, '.'), *name = dot ? dot + 1 : "";
    const char *line = arena_str(a, key, dot ? (size_t)(dot - key) : strlen(key));
    const SnLine *l = sn_line_find(line);
    const char *data = "text(\"x\")", *size = "seq = 4", *optimizer = "sgd", *lr = "1", *more = "";
    if (!l) return NULL;
    if (!strcmp(key, "data.kind"))
        data = arena_printf(a, "%s(\"x\")", value);
    else if (!strcmp(key, "data.path"))
        data = arena_printf(a, "text(%s)", value);
    else if (!strcmp(line, "data"))
        data = arena_printf(a, "text(\"x\", %s = %s)", name, value);
    else if (!strcmp(line, "size"))
        size = arena_printf(a, "%s = %s", name, value);
    else if (!strcmp(line, "optimizer"))
        optimizer = optimizer_of(a, name, value);
    else if (!strcmp(line, "lr"))
        lr = schedule_of(a, name, value);
    else if (l->shape == SN_LINE_VALUE)
        more = arena_printf(a, "%s %s", line, value);
    else if (!strncmp(name, "loss_scale.", 11))
        more = arena_printf(a, "precision loss_scale = dynamic(%s = %s)", name + 11, value);
    else if (l->shape == SN_LINE_TYPED)
        more = arena_printf(a, "%s %s%s%s", line, name, *name ? " = " : "", value);
    else if (l->shape == SN_LINE_WORD)
        more = arena_printf(a, "%s %s(%s)", line, name, value);
    else if (l->shape == SN_LINE_OPTIONS)
        more = arena_printf(a, "%s %s = %s", line, name, value);
    else
        more = arena_printf(a, "%s batch = %s", line, value);
    return arena_printf(a, "train { data %s\n size batch = 4, %s\n optimizer %s\n lr %s\n %s }\n",
                        data, size, optimizer, lr, more);
}

static void expect_plan(const SnSetting *s, const char *value, bool taken) {
    Arena *a = arena_new();
    const char *key = key_of(s), *plan = plan_with(a, key, value);
    if (plan) {
        ToldMessages t = compile(plan, NULL, NULL);
        bool refused = told(&t, arena_printf(a, "'%s' takes ", key), true) ||
                       (!strcmp(key, "data.kind") && told(&t, "expected text(", true));
        if (refused == taken || (!taken && !t.d->errors)) {
            diag_print(t.d, stderr, false);
            fail_msg("the plan's '%s' = %s is %s", key, value, refused ? "refused" : "taken");
        }
        arena_free(t.a);
    }
    arena_free(a);
}

static void expect_define(const SnSetting *s, const Try *try) {
    Arena *a = arena_new();
    const char *key = key_of(s), *plan = plan_with(a, key, s->type == SN_PATH ? "\"x\"" : "1");
    bool axis = !strncmp(key, "size.", 5); // its declaration is blamed
    if (!strcmp(key, "data.kind")) plan = plan_with(a, key, "text");
    if (plan && s->when != SN_ENVIRON && s->when != SN_COMMAND) {
        if (s->type == SN_BOOL) plan = plan_with(a, key, "true");
        ToldMessages t = compile(plan, key, try->text);
        bool refused =
            axis ? told(&t, "must be a whole number", true) || told(&t, "expected a number", false)
                 : told(&t, arena_printf(a, "-D %s=%s: expected ", key, try->text), false);
        if (refused == try->taken || (!try->taken && !t.d->errors)) {
            diag_print(t.d, stderr, false);
            fail_msg("-D %s=%s is %s", key, try->text, refused ? "refused" : "taken");
        }
        arena_free(t.a);
    }
    arena_free(a);
}

// A plan that has one scalar.
typedef struct {
    SnPlan head;
    SnScalar scalar;
    char strings[64];
} OneScalar;

static void expect_argument(const SnSetting *s, const Try *try, const char *argument,
                            const char *value) {
    char *argv[] = {(char *)(uintptr_t) "train", (char *)(uintptr_t)argument,
                    (char *)(uintptr_t)value};
    OneScalar p = {.scalar = {.name = 1}};
    SnOptions o;
    SnError e = {0};
    p.head.scalars = (SnTable){offsetof(OneScalar, scalar), 1};
    p.head.strings.offset = offsetof(OneScalar, strings);
    snprintf(p.strings + 1, sizeof p.strings - 1, "%s", key_of(s));
    SnStatus status = sn_options_parse(value ? 3 : 2, argv, &o, &e);
    if (!status) status = sn_options_check(&o, &p.head, &e);
    if ((status == SN_OK) != try->taken || (status && !strstr(e.text, " takes ")))
        fail_msg("%s %s is %s: %s", argument, value ? value : "", status ? "refused" : "taken",
                 e.text);
}

static void expect_command(const SnSetting *s, const Try *try) {
    char argument[160];
    if (s->when == SN_RUN || s->when == SN_SCALAR) {
        snprintf(argument, sizeof argument, "%s=%s", key_of(s), try->text);
        expect_argument(s, try, "--set", argument);
        snprintf(argument, sizeof argument, "--set=%s=%s", key_of(s), try->text);
        expect_argument(s, try, argument, NULL);
    }
    if (!*s->flag) return;
    snprintf(argument, sizeof argument, "--%s", s->flag);
    expect_argument(s, try, argument, try->text);
    snprintf(argument, sizeof argument, "--%s=%s", s->flag, try->text);
    expect_argument(s, try, argument, NULL);
}

static void expect_environ(const SnSetting *s, const Try *try) {
    SnError e = {0};
    if (s->when != SN_ENVIRON) return;
    setenv(s->key, try->text, 1);
    bool good = sn_environ_check(&e) == SN_OK;
    unsetenv(s->key);
    // an empty variable is none
    if (good != (try->taken || !*try->text)) fail_msg("%s='%s': %s", s->key, try->text, e.text);
}

// ---- tests --------------------------------------------------------------------------------------

static void test_the_table_agrees_with_itself(void **state) {
    (void)state;
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
        if (s->without) assert_true(sn_setting_text(s, s->without, NULL));
        assert_true(s->without || s->words);
        assert_true(*s->key || *s->flag);
        assert_true(*s->meaning);
        if (*s->key) assert_ptr_equal(sn_setting_find(s->key), s);
        if (*s->flag) assert_ptr_equal(sn_setting_flag(s->flag, strlen(s->flag)), s);
        // an option of the plan has a line that takes it
        char line[32];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(s->key, "."), s->key);
        if (s->when <= SN_SCALAR && s != &sn_settings[SN_SET_accum])
            assert_non_null(sn_line_find(line));
    }
    for (uint32_t i = 0; i < sn_line_count; i++) {
        assert_ptr_equal(sn_line_find(sn_lines[i].name), &sn_lines[i]);
        if (sn_lines[i].shape == SN_LINE_VALUE || sn_lines[i].shape == SN_LINE_TYPED)
            assert_non_null(sn_setting_find(sn_lines[i].name));
    }
}

static void test_each_row_on_the_command_line(void **state) {
    (void)state;
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
        Tries t = tries_of(s);
        if (s->when <= SN_SCALAR) assert_true(t.n > 1);
        for (int i = 0; i < t.n; i++) {
            assert_int_equal(sn_setting_text(s, t.at[i].text, NULL), t.at[i].taken);
            expect_command(s, &t.at[i]);
            expect_environ(s, &t.at[i]);
        }
    }
}

static void test_each_row_by_define(void **state) {
    (void)state;
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
        Tries t = tries_of(s);
        for (int i = 0; i < t.n; i++) expect_define(s, &t.at[i]);
    }
}

static void test_each_row_in_the_plan(void **state) {
    static const char *const wrong[] = {"0 / 0", "1 / 0", "-1 / 0", "step", "(1, 2)", "1e300"};
    (void)state;
    for (const SnSetting *s = sn_settings; s < sn_settings + SN_SETTINGS; s++) {
        if (s->when > SN_SCALAR) continue;
        Tries t = tries_of(s);
        bool number = s->type == SN_COUNT || s->type == SN_REAL;
        for (int i = 0; number && i < t.n; i++) {
            char *end;
            double x = strtod(t.at[i].text, &end);
            if (end != t.at[i].text && !*end && isfinite(x) && *t.at[i].text != ' ' &&
                t.at[i].text[1] != 'x')
                expect_plan(s, t.at[i].text, t.at[i].taken);
        }
        for (int i = 0; (s->type == SN_CHOICE || s->type == SN_BOOL) && i < t.n; i++)
            // of a BOOL 1 and 0 are for the command line
            if (t.at[i].taken && (s->type == SN_CHOICE || strlen(t.at[i].text) > 1))
                expect_plan(s, t.at[i].text, true);
        if (s->type == SN_PATH) {
            expect_plan(s, "\"x\"", true);
            expect_plan(s, "\"\"", false);
        }
        bool tensor_or_tuple = !number || s->when == SN_SCALAR || !strncmp(s->key, "optimizer", 9);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
            if (strcmp(s->key, "data.kind") && (i < 3 || i > 4 || !tensor_or_tuple))
                expect_plan(s, wrong[i], false);
    }
}

// What is wrong with a line itself, whatever its values.
static void test_forms_of_lines(void **state) {
    static const struct {
        const char *plan, *says;
    } cases[] = {
        {"steps", "'steps' takes one value"},
        {"steps 1, 2", "'steps' takes one value"},
        {"steps n = 1", "'steps' takes one value"},
        {"steps 1 : w", "'steps' takes no ': names'"},
        {"steps 1; steps 2", "a second 'steps' line"},
        {"seed 1; seed 1", "a second 'seed' line"},
        {"clip 1; clip 1", "a second 'clip' line"},
        {"lr 1", "a second 'lr' line"},
        {"data text(\"y\")", "a second 'data' line"},
        {"micro batch = 2; micro batch = 2", "a second 'micro' line"},
        {"micro batch", "'micro' takes axes with extents"},
        {"eval", "'eval' takes options by name"},
        {"eval 5", "'eval' takes options by name"},
        {"eval every", "'eval' takes options by name"},
        {"eval every = 1 : w", "'eval' takes no ': names'"},
        {"eval every = 1, every = 2", "'eval.every' is given twice"},
        {"eval every = 1; eval every = 2", "'eval.every' is given twice"},
        {"eval evry = 1", "'eval' has no option 'evry'; did you mean 'every'?"},
        {"save path = 1", "'save' has no option 'path'"},
        {"size batch = 4", "'batch' is sized twice"},
        {"size batch", "'size' takes axes with extents"},
        {"freeze 1 : w", "'freeze' takes names after ':'"},
        {"freeze", "'freeze' takes names after ':'"},
        {"fuse w", "'fuse' takes names after ':'"},
        {"nofuse", "'nofuse' takes names after ':'"},
        {"stepz 1", "unknown plan line 'stepz'; did you mean 'steps'?"},
        {"mesh 1", "'mesh' is not compiled yet"},
        {"eval every = 1; eval batches = 2; save every = 2, keep = 1", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena *a = arena_new();
        ToldMessages t = compile(
            arena_printf(a,
                         "train { data text(\"x\"); size batch = 4, seq = 4; optimizer sgd; "
                         "lr 1; %s }",
                         cases[i].plan),
            NULL, NULL);
        bool good = cases[i].says ? told(&t, cases[i].says, true) : !t.d->errors;
        if (!good) {
            diag_print(t.d, stderr, false);
            fail_msg("'%s' is not refused by '%s'", cases[i].plan, cases[i].says);
        }
        arena_free(t.a);
        arena_free(a);
    }
}

static void test_names_of_micro_batches(void **state) {
    const char *plan = "train { data text(\"x\"); size batch = 4, seq = 4; micro batch = 2; "
                       "optimizer sgd; lr 1 }";
    (void)state;
    ToldMessages t = compile(plan, "micro.batch", "4");
    assert_int_equal(t.d->errors, 0);
    arena_free(t.a);
    t = compile(plan, "micro.seq", "4");
    assert_true(told(&t, "sized by -D micro.batch", false));
    arena_free(t.a);
    t = compile(plan, "accum", "4");
    assert_true(told(&t, "it follows from the batch and the micro-batch", false));
    arena_free(t.a);
}

// The ranges of options with a known name are those of std.sn's blocks: another block's are finite.
static void test_options_of_other_optimizers(void **state) {
    const char *plan =
        "block mine(w[..r], g[..r], lr, decay = 0) { return w - lr * (g + decay * w) }\n"
        "train { data text(\"x\"); size batch = 4, seq = 4; lr 1\n"
        "optimizer mine(decay = %s) }";
    (void)state;
    Arena *a = arena_new();
    ToldMessages t = compile(arena_printf(a, plan, "-0.5"), NULL, NULL);
    assert_int_equal(t.d->errors, 0);
    arena_free(t.a);
    t = compile(arena_printf(a, plan, "0"), "optimizer.decay", "-0.5");
    assert_int_equal(t.d->errors, 0);
    arena_free(t.a);
    t = compile(arena_printf(a, plan, "0 / 0"), NULL, NULL);
    assert_true(told(&t, "'optimizer.decay' takes a finite number, found nan", true));
    arena_free(t.a);
    t = compile(arena_printf(a, plan, "0"), "optimizer.eps", "0.5"); // the block has none
    assert_true(told(&t, "-D optimizer.eps: nothing has this name", false));
    arena_free(t.a);
    arena_free(a);
}

static void test_names_of_options(void **state) {
    static const struct {
        const char *argument, *value, *says;
    } cases[] = {
        {"--set", "micro=2", "'micro' is fixed when the program is built"},
        {"--set", "clip=1", "'clip' is fixed when the program is built"},
        {"--set", "optimizer.eps=1", "'optimizer.eps' is fixed when the program is built"},
        {"--set", "size.batch=1", "'size.batch' is fixed when the program is built"},
        {"--set", "eval.evry=1", "did you mean 'eval.every'?"},
        {"--set", "lr.paek=1", "did you mean 'lr.peak'?"},
        {"--set", "step=3", "this program has no 'step'"},
        {"--set", "nothing=3", "--info lists what it has"},
        {"--set", "seed", "--set takes KEY=VALUE"},
        {"--set", "=1", "--set takes KEY=VALUE"},
        {"--set", NULL, "--set needs a value"},
        {"--stepz", "1", "did you mean '--steps'?"},
        {"--nothing", "1", "--help lists the options"},
        {"--profile=1", NULL, "--profile takes no value"},
        {"--out", "", "not an empty text"},
        {"steps", "1", "unexpected argument"},
    };
    OneScalar p = {.scalar = {.name = 1}, .strings = "\0lr.peak"};
    (void)state;
    p.head.scalars = (SnTable){offsetof(OneScalar, scalar), 1};
    p.head.strings.offset = offsetof(OneScalar, strings);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[] = {(char *)(uintptr_t) "train", (char *)(uintptr_t)cases[i].argument,
                        (char *)(uintptr_t)cases[i].value};
        SnOptions o;
        SnError e = {0};
        SnStatus s = sn_options_parse(cases[i].value ? 3 : 2, argv, &o, &e);
        if (!s) s = sn_options_check(&o, &p.head, &e);
        assert_int_equal(s, SN_USER);
        if (!strstr(e.text, cases[i].says))
            fail_msg("%s %s says '%s'", cases[i].argument, cases[i].value, e.text);
    }
}

// Of one setting the last value counts, whatever name gave it.
static void test_the_last_one_counts(void **state) {
    const char *const words[] = {"train", "--steps=3", "--set",       "steps=4", "--keep",
                                 "1",     "--set",     "save.keep=7", "--keep=2"};
    char *argv[9];
    SnOptions o;
    (void)state;
    for (int i = 0; i < 9; i++) argv[i] = (char *)(uintptr_t)words[i];
    assert_int_equal(sn_options_parse(9, argv, &o, NULL), SN_OK);
    assert_string_equal(o.given[SN_SET_steps], "4");
    assert_string_equal(o.given[SN_SET_save_keep], "2");
    assert_null(o.given[SN_SET_seed]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_agrees_with_itself),
        cmocka_unit_test(test_each_row_on_the_command_line),
        cmocka_unit_test(test_each_row_by_define),
        cmocka_unit_test(test_each_row_in_the_plan),
        cmocka_unit_test(test_forms_of_lines),
        cmocka_unit_test(test_names_of_micro_batches),
        cmocka_unit_test(test_options_of_other_optimizers),
        cmocka_unit_test(test_names_of_options),
        cmocka_unit_test(test_the_last_one_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

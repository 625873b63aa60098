// The line of a step (runtime/program/progress.h): at every width, with numbers, times and names that a run should
// never have. How long a run still takes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/program/progress.h"
#include "runtime/sinter.h"
#include <float.h>
#include <math.h>
#include <stdio.h>

enum { NUMBERS = 103 };
static const double extremes[] = {
    (double)NAN, -(double)NAN, (double)INFINITY, -(double)INFINITY, 0,      -0.0, 1e-300,
    -1e-300,     1e30,         -1e300,           DBL_MAX,           5e-324, 0.5,  999999.99999,
    1e6,         0.00099999,   -123456.789};
#define EXTREMES (sizeof extremes / sizeof *extremes)

// Names that are ordinary, long, of two to four bytes a character, broken, or would move the cursor.
static const char *const names[] = {
    "accuracy",
    "a",
    "h.0.attn.balance_of_the_experts_over_all_tokens",
    "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3"
    "\xbc\xc3\xa4",
    "x\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad"
    "\x97\xe6"
    "\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97",
    "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98"
    "\x80\xf0"
    "\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80!",
    "\xff\xfe\x80",
    "cut\xe6\xbc",
    "a\tb\nc\033[2J\x7f",
    "\xc2\x9b"
    "31m",
    ""};
#define NAMES (sizeof names / sizeof *names)

// Names in a message, too: each of those characters is one '?', all others stay.
static void messages_move_nothing(void **state) {
    (void)state;
    static const char *const want[NAMES] = {
        [6] = "?\?\?", [7] = "cut?\?", [8] = "a?b?c?[2J?", [9] = "?31m"};
    for (uint32_t i = 0; i < NAMES; i++) {
        SnError e;
        assert_int_equal(sn_fail(&e, SN_USER, "no '%s'", names[i]), SN_USER);
        char text[200];
        snprintf(text, sizeof text, "no '%s'", want[i] ? want[i] : names[i]);
        assert_string_equal(e.text, text);
    }
}

// ---- what a terminal shows ----------------------------------------------------------------------

// Columns of a row, at most: escapes of colour take none, a character beyond ASCII two. Nothing else may
// stand in a row.
static int shown(const char *row) {
    int n = 0;
    while (*row) {
        unsigned char c = (unsigned char)*row;
        if (c == 0x1b) {
            size_t m = strspn(row + 2, "0123456789;");
            assert_int_equal(row[1], '[');
            assert_int_equal(row[2 + m], 'm');
            row += m + 3;
            continue;
        }
        int bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        assert_true(c >= 0x20 && c != 0x7f);
        assert_false(c >= 0x80 && c < 0xc2);
        for (int i = 1; i < bytes; i++) assert_int_equal((unsigned char)row[i] & 0xc0, 0x80);
        if (c == 0xc2) assert_true((unsigned char)row[1] >= 0xa0);
        n += bytes > 1 ? 2 : 1;
        row += bytes;
    }
    return n;
}

static SnStepLine usual(const SnNumber *numbers, uint32_t n) {
    return (SnStepLine){.step = 120,
                        .total = 400,
                        .numbers = numbers,
                        .n = n,
                        .took = 1.2345,
                        .speed = 1658.9,
                        .tokens = true,
                        .left = 345.6};
}

static const SnNumber few[] = {
    {"loss", 1.92264}, {"accuracy", 0.25}, {"grad_norm", 1.3779}, {"lr", 3e-4}};

static void row_is(int columns, const char *want) {
    SnText t = {0};
    SnStepLine l = usual(few, 4);
    sn_line_bar(&t, &l, columns, false);
    if (strcmp(t.text, want)) fail_msg("%d columns:\n'%s', not\n'%s'", columns, t.text, want);
    free(t.text);
}

// What is left out first is what matters least.
static void a_row_drops_the_least_important(void **state) {
    (void)state;
    row_is(0, "");
    row_is(1, "");
    row_is(2, "");
    row_is(3, "30%");
    row_is(7, "120/400");
    row_is(11, "120/400");
    row_is(12, "step 120/400");
    row_is(16, "30%  loss 1.9226");
    row_is(20, "120/400  loss 1.9226");
    row_is(25, "step 120/400  loss 1.9226");
    row_is(35, "step 120/400  loss 1.9226");
    row_is(36, "step 120/400  loss 1.9226  5:46 left");
    row_is(48, "step 120/400  [==>     ]  loss 1.9226  5:46 left");
    row_is(65, "step 120/400  [==>     ]  loss 1.9226  accuracy 0.2500  5:46 left");
    row_is(76, "step 120/400  [=====>             ]  loss 1.9226  accuracy 0.2500  5:46 left");
    row_is(77, "step 120/400  [==>     ]  loss 1.9226  norm 1.378  accuracy 0.2500  5:46 left");
    row_is(92, "step 120/400  [==>     ]  loss 1.9226  norm 1.378  accuracy 0.2500  1659 tokens/s  "
               "5:46 left");
    row_is(120, "step 120/400  [===>        ]  loss 1.9226  norm 1.378  lr 3.00e-04  accuracy "
                "0.2500  1234.5 ms  "
                "1659 tokens/s  5:46 left");
}

// A row with a bar is as wide as the terminal; no row is wider, whatever stands in it.
static void a_row_fits(void **state) {
    (void)state;
    const int widths[] = {-1, 0, 1, 2, 3, 10, 20, 40, 79, 80, 200, 1000, 70000};
    SnText t = {0};
    for (size_t e = 0; e < EXTREMES; e++) {
        SnNumber numbers[NUMBERS] = {{"loss", 0}, {"grad_norm", 0}, {"lr", 0}};
        for (uint32_t i = 0; i < NUMBERS; i++) {
            numbers[i].value = extremes[(e + i * 5) % EXTREMES];
            if (i >= 3) numbers[i].name = names[(e + i) % NAMES];
        }
        for (int k = 0; k < 40; k++) {
            SnStepLine l = {.step = k % 5 == 1 ? UINT64_MAX : (uint64_t)k,
                            .total = k % 5 == 2   ? 0
                                     : k % 5 == 3 ? UINT64_MAX
                                                  : 39,
                            .numbers = numbers,
                            .n = k % 4 ? NUMBERS : 3,
                            .took = extremes[(e + 1) % EXTREMES],
                            .speed = extremes[(e + (size_t)k) % EXTREMES],
                            .tokens = k & 1,
                            .left = extremes[(e + 3 * (size_t)k) % EXTREMES]};
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                sn_line_bar(&t, &l, widths[w], k & 1);
                int n = shown(t.text);
                assert_true(n <= (widths[w] < 0 ? 0 : widths[w]));
                if (strchr(t.text, ']')) assert_int_equal(n, widths[w]);
                if (widths[w] == 70000) assert_non_null(strchr(t.text, ']'));
            }
        }
    }
    free(t.text);
}

// A long name is cut between two characters, and says so.
static void names_are_cut(void **state) {
    (void)state;
    const char *const want[] = {"accuracy 0.5",
                                "a 0.5",
                                "h.0.attn.balance_of_the~ 0.5",
                                "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6"
                                "\xc3\xbc\xc3\xa4\xc3\xb6~ 0.5",
                                "x\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5"
                                "\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc"
                                "\xa2~ 0.5",
                                "\xf0\x9f\x98\x80~ 0.5",
                                "  ??? 0.5",
                                "  cut?? 0.5",
                                "  a?b?c?[2J? 0.5",
                                "  ?31m 0.5",
                                "   0.5"};
    SnText t = {0};
    for (size_t i = 0; i < NAMES; i++) {
        SnNumber one = {names[i], 0.5};
        SnStepLine l = usual(&one, 1);
        sn_line_bar(&t, &l, 200, false);
        if (!strstr(t.text, want[i])) fail_msg("'%s' is not in '%s'", want[i], t.text);
    }
    free(t.text);
}

static void colours_are_asked_for(void **state) {
    (void)state;
    SnText plain = {0}, coloured = {0};
    SnStepLine l = usual(few, 4);
    for (l.step = 0; l.step <= l.total; l.step += 50) {
        sn_line_bar(&plain, &l, 100, false);
        sn_line_bar(&coloured, &l, 100, true);
        assert_null(strchr(plain.text, 033));
        assert_int_equal(shown(plain.text), shown(coloured.text));
        const char *on = strstr(coloured.text, "\033[32m"), *off = strstr(coloured.text, "\033[0m");
        assert_true(on && off && on < off);
        assert_null(strchr(off + 1, 033));
    }
    free(plain.text);
    free(coloured.text);
}

// ---- plain lines --------------------------------------------------------------------------------

static void line_is(const SnStepLine *l, const char *want) {
    SnText t = {0};
    sn_line_step(&t, l);
    assert_string_equal(t.text, want);
    free(t.text);
}

static void a_plain_line_holds_all(void **state) {
    (void)state;
    SnStepLine l = usual(few, 4);
    line_is(&l, "step 120/400  loss 1.9226  norm 1.378  lr 3.00e-04  accuracy 0.2500  1234.5 ms  "
                "1659 tokens/s  "
                "5:46 left");
    l.tokens = false;
    l.left = l.took = (double)NAN;
    line_is(
        &l,
        "step 120/400  loss 1.9226  norm 1.378  lr 3.00e-04  accuracy 0.2500  1658.9 samples/s");
    SnNumber all[NUMBERS];
    SnText t = {0};
    for (uint32_t i = 0; i < NUMBERS; i++) all[i] = (SnNumber){names[2], 0.1};
    l = usual(all, NUMBERS);
    sn_line_step(&t, &l);
    assert_true(strlen(t.text) > NUMBERS * strlen(names[2]));
    l = usual(few, 4);
    l.speed = (double)NAN;
    sn_line_eval(&t, &l); // takes the place of what stood there
    assert_string_equal(t.text, "step 120  validation loss 1.9226  accuracy 0.2500  1234.5 ms");
    free(t.text);
}

// Never zeros only, never long, no sign of what is no number.
static void numbers_are_short(void **state) {
    (void)state;
    const struct {
        double x;
        const char *loss, *norm;
    } all[] = {{(double)NAN, "nan", "nan"},
               {-(double)NAN, "nan", "nan"},
               {-(double)INFINITY, "-inf", "-inf"},
               {0, "0.0000", "0.000"},
               {1e-300, "1.000e-300", "1.00e-300"},
               {1e30, "1.000e+30", "1.00e+30"},
               {0.00012345, "1.234e-04", "1.23e-04"},
               {0.0049, "0.0049", "4.90e-03"},
               {-12345.678, "-12345.6780", "-12345.678"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        SnNumber two[] = {{"loss", all[i].x}, {"grad_norm", all[i].x}};
        SnStepLine l = {.step = 1, .total = 2, .numbers = two, .n = 2};
        char want[100];
        l.took = l.speed = l.left = (double)NAN;
        snprintf(want, sizeof want, "step 1/2  loss %s  norm %s", all[i].loss, all[i].norm);
        line_is(&l, want);
    }
}

static void rates_of_groups_are_rates(void **state) {
    (void)state;
    const SnNumber two[] = {{"loss", 1}, {"lr", 0.25}, {"lr.embed", 0.0005}, {"lrx", 0.5}};
    SnStepLine l = {.step = 1, .total = 2, .numbers = two, .n = 4};
    l.took = l.speed = l.left = (double)NAN;
    line_is(&l, "step 1/2  loss 1.0000  lr 2.50e-01  lr.embed 5.00e-04  lrx 0.5000");
}

static void times_are_read_easily(void **state) {
    (void)state;
    const struct {
        double seconds;
        const char *want;
    } all[] = {{0, "0:00"},
               {-5, "0:00"},
               {0.2, "0:01"},
               {59.5, "1:00"},
               {3599, "59:59"},
               {3600, "1:00:00"},
               {172799, "47:59:59"},
               {172800, "2 d 0 h"},
               {1e6, "11 d 13 h"},
               {1e30, "over 9999 d 0 h"},
               {(double)INFINITY, "over 9999 d 0 h"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        SnText t = {0};
        sn_line_time(&t, all[i].seconds);
        assert_string_equal(t.text, all[i].want);
        free(t.text);
    }
}

// ---- the time that is left ----------------------------------------------------------------------

static void the_first_step_does_not_count(void **state) {
    (void)state;
    SnPace p = {.forward = 3};
    assert_true(isnan(sn_pace_left(&p, 10, 0, 0)));
    sn_pace_step(&p, 100);
    assert_true(isnan(sn_pace_left(&p, 10, 0, 0)));
    sn_pace_step(&p, 2);
    sn_pace_step(&p, 4);
    assert_true(fabs(sn_pace_left(&p, 10, 0, 0) - (30)) < 1e-9);
    assert_true(fabs(sn_pace_left(&p, 10, 2, 5) - (30 + 2 * 3 * 3)) < 1e-9); // not measured yet
    p.eval = 7;
    p.save = 0.5;
    assert_true(fabs(sn_pace_left(&p, 10, 2, 5) - (30 + 14 + 2.5)) < 1e-9);
    for (int i = 0; i < 1000; i++) sn_pace_step(&p, 9); // a machine that got slower
    assert_true(fabs(sn_pace_left(&p, 1, 0, 0) - (9)) < 1e-3);
}

static void evaluations_ahead_are_counted(void **state) {
    (void)state;
    for (uint64_t every = 0; every < 9; every++)
        for (uint64_t from = 0; from < 30; from++)
            for (uint64_t to = 0; to < 30; to++) {
                uint64_t n = 0;
                for (uint64_t i = from + 1; i <= to; i++) n += every && i % every == 0;
                assert_int_equal(sn_pace_count(from, to, every), n);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_move_nothing),
        cmocka_unit_test(a_row_drops_the_least_important),
        cmocka_unit_test(a_row_fits),
        cmocka_unit_test(names_are_cut),
        cmocka_unit_test(colours_are_asked_for),
        cmocka_unit_test(a_plain_line_holds_all),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(rates_of_groups_are_rates),
        cmocka_unit_test(times_are_read_easily),
        cmocka_unit_test(the_first_step_does_not_count),
        cmocka_unit_test(evaluations_ahead_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

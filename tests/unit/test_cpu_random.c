// Random kernels (random_kernels.h): native code against the slow evaluator, bit for bit.
// SINTER_FUZZ=seed,count runs others.
#include "tests/unit/random_kernels.h"

enum { COUNT = 60 };

static void test_random_kernels(void **state) {
    (void)state;
    unsigned long long from = 1, count = COUNT;
    const char *other = getenv("SINTER_FUZZ");
    if (other && sscanf(other, "%llu,%llu", &from, &count) != 2) fail_msg("SINTER_FUZZ=seed,count");
    for (unsigned long long at = from; at < from + count; at += COUNT) { // one module for many
        Suite *s = suite_new();
        for (unsigned long long i = at; i < from + count && i < at + COUNT; i++)
            random_kernel(s, i);
        check_all(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

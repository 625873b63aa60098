// Every case of emulator_ops.def: one instruction in a kernel of one warp, run for all lanes and, under
// a guard, for every other lane; the lanes without must keep what the register held.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/emulator/engine/emu.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *op, *signature;
    uint64_t expected, operand[4];
} OpCase;

static const OpCase cases[] = {
#define CASE(op, signature, expected, a, b, c, d) {op, signature, expected, {a, b, c, d}},
#include "tests/unit/emulator_ops.def"
#undef CASE
};

enum { LANES = 32, TEXT = 4096 };
#define OLD UINT64_C(0x5a5a5a5a5a5a5a5a)

// Register class of a signature's letter: its prefix in the kernel, its width.
static char class_of(char kind) {
    return kind == 'f' || kind == 'i' ? 'w' : kind == 'd' ? 'l' : kind;
}
static int width_of(char class) { return class == 'h' ? 16 : class == 'w' ? 32 : 64; }
static uint64_t masked(uint64_t v, char class) {
    if (class == 'p') return v & 1;
    return class == 'l' ? v : v & ((UINT64_C(1) << width_of(class)) - 1);
}

__attribute__((format(printf, 2, 3))) static void put(char *text, const char *fmt, ...) {
    size_t n = strlen(text);
    va_list args;
    va_start(args, fmt);
    int more = vsnprintf(text + n, TEXT - n, fmt, args);
    va_end(args);
    assert_true(more >= 0 && n + (size_t)more < TEXT);
}

// Operand k, from in[k], into register %Xk of its class.
static void put_operand(char *t, char class, int k) {
    put(t, "ld.global.u64 %%q, [%%in+%d];\n", 8 * k);
    if (class == 'p')
        put(t, "setp.ne.u64 %%p%d, %%q, 0;\n", k);
    else if (class == 'l')
        put(t, "mov.u64 %%l%d, %%q;\n", k);
    else
        put(t, "cvt.u%d.u64 %%%c%d, %%q;\n", width_of(class), class, k);
}

static void put_instruction(char *t, const OpCase *c, const char *guard, char class) {
    put(t, "%s%s %%%c9", guard, c->op, class);
    const char *s = strchr(c->signature, ':') + 1;
    for (int k = 0; s[k]; k++) put(t, ", %%%c%d", class_of(s[k]), k);
    put(t, ";\n");
}

static void put_result(char *t, char class, int offset) {
    if (class == 'p')
        put(t, "selp.u64 %%q, 1, 0, %%p9;\n");
    else if (class == 'l')
        put(t, "mov.u64 %%q, %%l9;\n");
    else
        put(t, "cvt.u64.u%d %%q, %%%c9;\n", width_of(class), class);
    put(t, "st.global.u64 [%%out+%d], %%q;\n", offset);
}

static void write_kernel(char *t, const OpCase *c) {
    char class = class_of(c->signature[0]);
    const char *s = strchr(c->signature, ':') + 1;
    *t = 0;
    put(t, ".version 9.0\n.target sm_120\n.address_size 64\n"
           ".visible .entry k(.param .u64 pin, .param .u64 pout) {\n"
           ".reg .pred %%p<10>, %%g; .reg .b16 %%h<10>; .reg .b32 %%w<10>, %%lane;\n"
           ".reg .b64 %%l<10>, %%q, %%in, %%out;\n"
           "ld.param.u64 %%in, [pin];\nld.param.u64 %%out, [pout];\n"
           "mov.u32 %%lane, %%laneid;\nmad.wide.u32 %%out, %%lane, 8, %%out;\n"
           "and.b32 %%lane, %%lane, 1;\nsetp.ne.u32 %%g, %%lane, 0;\n");
    for (int k = 0; s[k]; k++) put_operand(t, class_of(s[k]), k);
    if (class == 'p')
        put(t, "mov.pred %%p9, 0;\n");
    else
        put(t, "mov.b%d %%%c9, %llu;\n", width_of(class), class,
            (unsigned long long)masked(OLD, class));
    put_instruction(t, c, "@%g ", class);
    put_result(t, class, 0);
    put_instruction(t, c, "", class);
    put_result(t, class, 8 * LANES);
    put(t, "ret;\n}\n");
}

static void fail_case(const OpCase *c, const char *what, uint64_t got) {
    print_error("%s (0x%llx, 0x%llx, 0x%llx): %s 0x%llx, expected 0x%llx\n", c->op,
                (unsigned long long)c->operand[0], (unsigned long long)c->operand[1],
                (unsigned long long)c->operand[2], what, (unsigned long long)got,
                (unsigned long long)c->expected);
}

static bool check_results(const OpCase *c, const uint64_t *out) {
    char class = class_of(c->signature[0]);
    uint64_t want = masked(c->expected, class);
    uint64_t old = class == 'p' ? 0 : masked(OLD, class);
    for (int k = 0; k < LANES; k++) {
        if (out[LANES + k] != want) return fail_case(c, "all lanes:", out[LANES + k]), false;
        if (out[k] != (k & 1 ? want : old)) return fail_case(c, "under a guard:", out[k]), false;
    }
    return true;
}

static bool run_case(EmuDevice *d, const OpCase *c, uint64_t in, uint64_t out) {
    char text[TEXT], why[256];
    EmuModule *m;
    write_kernel(text, c);
    if (emu_module_load(d, text, strlen(text), &m, why, sizeof why) != EMU_OK) {
        print_error("%s: %s\n", c->op, why);
        return false;
    }
    memcpy(emu_host(d, in, sizeof c->operand), c->operand, sizeof c->operand);
    emu_mark(d, in, sizeof c->operand, true);
    uint64_t params[2] = {in, out};
    EmuLaunch l = {.function = emu_module_function(m, "k"),
                   .grid = {1, 1, 1},
                   .block = {LANES, 1, 1},
                   .params = params};
    EmuFault fault;
    bool ok = emu_launch(d, &l, NULL, &fault);
    if (!ok) print_error("%s: %s\n", c->op, fault.text);
    ok = ok && check_results(c, emu_host(d, out, 16 * LANES));
    emu_module_free(m);
    return ok;
}

static void test_cases(void **state) {
    (void)state;
    SnPool *pool = sn_pool_new(1);
    EmuConfig config = {.sm = 120, .check = true, .memory = 1 << 20};
    EmuDevice *d = emu_device_new(&config, pool);
    uint64_t in = emu_alloc(d, 64), out = emu_alloc(d, 16 * LANES);
    size_t failed = 0, n = sizeof cases / sizeof *cases;
    for (size_t k = 0; k < n; k++) failed += !run_case(d, &cases[k], in, out);
    if (failed) print_error("%zu of %zu cases failed\n", failed, n);
    assert_int_equal(failed, 0);
    emu_device_free(d);
    sn_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

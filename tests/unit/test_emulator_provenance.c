// Tensors that lie side by side: an access is checked against the tensor of the pointer that it is made
// by, however the address is computed; where that is not known, a right program is not accused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/emulator/engine/program.h"
#include "runtime/emulator/engine/ptx.h"
#include <stdio.h>
#include <string.h>

enum { WORDS = 64, BYTES = 4 * WORDS, TEXT = 1 << 14 };

// Three tensors of 64 words, one behind the other: a and b are read, c is written. t is a table of
// pointers: a, b, a, b. n is the number 64. %t the thread, %at four times that.
static const char head[] =
    ".version 9.0\n.target sm_80\n.address_size 64\n.global .align 4 .b8 var[256];\n"
    ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pt, "
    ".param .u64 pn)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<16>, %t; .reg .b64 %d<96>, %a, %b, %c, %tab, %n, %at;\n"
    ".shared .align 16 .b8 s[1024]; .local .align 8 .b8 loc[64];\n"
    "ld.param.u64 %a, [pa]; ld.param.u64 %b, [pb]; ld.param.u64 %c, [pc]; ld.param.u64 %tab, "
    "[pt];\n"
    "ld.param.u64 %n, [pn]; mov.u32 %t, %tid.x; mul.wide.u32 %at, %t, 4;\n";

typedef struct {
    SnPool *pool;
    EmuDevice *d;
    uint64_t at, table; // of a; of t
    EmuFault fault;
} ProvenanceWorld;

static ProvenanceWorld open_world(void) {
    ProvenanceWorld w = {.pool = sn_pool_new(1)}; // blocks one after the other
    const EmuConfig config = {.sm = 80, .check = true, .memory = 1 << 20};
    w.d = emu_device_new(&config, w.pool);
    assert_non_null(w.d);
    w.at = emu_alloc(w.d, 3 * BYTES);
    w.table = emu_alloc(w.d, 4 * sizeof(uint64_t));
    memset(emu_host(w.d, w.at, 3 * BYTES), 0, 3 * BYTES);
    uint64_t *table = emu_host(w.d, w.table, 4 * sizeof(uint64_t));
    for (uint32_t k = 0; k < 4; k++) table[k] = w.at + k % 2 * BYTES;
    emu_mark(w.d, w.at, 3 * BYTES, true);
    emu_mark(w.d, w.table, 4 * sizeof(uint64_t), true);
    return w;
}

static void close_world(ProvenanceWorld *w) {
    emu_device_free(w->d);
    sn_pool_free(w->pool);
}

static bool launch(ProvenanceWorld *w, const char *body, uint32_t blocks, const EmuRange *ranges,
                   uint32_t count) {
    char text[TEXT], why[256];
    EmuModule *m = NULL;
    uint64_t params[5] = {w->at, w->at + BYTES, w->at + 2 * BYTES, w->table, WORDS};
    int n = snprintf(text, sizeof text, "%s%s\nret; }\n", head, body);
    assert_true(n > 0 && n < TEXT);
    if (emu_module_load(w->d, text, (size_t)n, &m, why, sizeof why) != EMU_OK)
        fail_msg("%s\n%s", why, body);
    const EmuLaunch l = {.function = emu_module_function(m, "k"),
                         .grid = {1, 1, blocks},
                         .block = {WORDS, 1, 1},
                         .params = params,
                         .ranges = ranges,
                         .range_count = count};
    bool ok = emu_launch(w->d, &l, NULL, &w->fault);
    emu_module_free(m);
    return ok;
}

static bool run(ProvenanceWorld *w, const char *body, uint32_t blocks) {
    const EmuRange ranges[] = {{w->at, BYTES, true, false, "a", false},
                               {w->at + BYTES, BYTES, true, false, "b", false},
                               {w->at + 2 * BYTES, BYTES, false, true, "c", false},
                               {w->table, 4 * sizeof(uint64_t), true, false, "t", false}};
    return launch(w, body, blocks, ranges, 4);
}

static void runs(const char *body, uint32_t blocks) {
    ProvenanceWorld w = open_world();
    if (!run(&w, body, blocks)) fail_msg("%s\n%s", w.fault.text, body);
    close_world(&w);
}

// Expects a report about this thread that says so.
static void is_found(const char *body, uint32_t blocks, uint32_t thread, const char *says) {
    ProvenanceWorld w = open_world();
    if (run(&w, body, blocks)) fail_msg("nothing is found (%s)\n%s", says, body);
    if (w.fault.kind != EMU_FAULT_bounds || w.fault.thread[0] != thread ||
        !strstr(w.fault.text, says))
        fail_msg("%s\nexpected thread %u, %s\n%s", w.fault.text, thread, says, body);
    close_world(&w);
}

#define BEHIND_A " bytes behind the end of 'a' of 256 bytes, in 'b'"

// ---- how an address is computed -----------------------------------------------------------------

static void by_sums(void **state) {
    (void)state;
    runs("add.u64 %d1, %a, %at; ld.global.u32 %r1, [%d1]; add.u64 %d2, %c, %at; st.global.u32 "
         "[%d2], %r1;",
         1);
    is_found("add.u64 %d1, %a, %at; ld.global.u32 %r1, [%d1+32];", 1, 56, ", 0" BEHIND_A);
    // A whole warp at once, all of it in the other tensor.
    is_found("add.u64 %d1, %a, %at; ld.global.u32 %r1, [%d1+256];", 1, 0, ", 0" BEHIND_A);
    is_found("mad.wide.u32 %d1, %t, 8, %a; ld.global.u32 %r1, [%d1];", 1, 32, ", 0" BEHIND_A);
    is_found("cvta.global.u64 %d1, %a; shl.b64 %d2, %at, 1; add.u64 %d1, %d2, %d1; "
             "ld.u32 %r1, [%d1];",
             1, 32, ", 0" BEHIND_A);
    is_found("mad.lo.u64 %d1, %at, 2, %a; ld.global.v2.u32 {%r1, %r2}, [%d1];", 1, 32,
             "read of 8 bytes");
    // By halves, with a carry.
    is_found("mov.b64 {%r1, %r2}, %a; mad.lo.cc.u32 %r1, %t, 8, %r1; addc.u32 %r2, %r2, 0;\n"
             "mov.b64 %d1, {%r1, %r2}; ld.global.u32 %r3, [%d1];",
             1, 32, ", 0" BEHIND_A);
    // Between lanes.
    is_found("mov.b64 {%r1, %r2}, %a; shfl.sync.idx.b32 %r1, %r1, 0, 31, -1;\n"
             "mov.b64 %d1, {%r1, %r2}; add.u64 %d1, %d1, %at; ld.global.u32 %r3, [%d1+128];",
             1, 32, ", 0" BEHIND_A);
}

static void by_differences(void **state) {
    (void)state;
    is_found("sub.u64 %d1, %b, %at; ld.global.u32 %r1, [%d1];", 1, 1,
             ", 4 bytes before 'b' of 256 bytes, in 'a'");
    is_found("add.u64 %d1, %c, %at; st.global.u32 [%d1+-8], 7;", 1, 0, "write of 4 bytes at 0x");
    is_found("add.u64 %d1, %c, %at; st.global.u32 [%d1+-8], 7;", 1, 0,
             ", 8 bytes before 'c' of 256 bytes, in 'b'");
    // From one pointer to the other: it is either's.
    runs("sub.u64 %d1, %b, %a; add.u64 %d2, %a, %at; add.u64 %d3, %d2, %d1; ld.global.u32 %r1, "
         "[%d3];",
         1);
}

// The other number is a parameter of 64 bits, as a pointer is.
static void by_numbers(void **state) {
    (void)state;
    is_found("shl.b64 %d1, %n, 2; add.u64 %d2, %a, %d1; ld.global.u32 %r1, [%d2];", 1, 0,
             ", 0" BEHIND_A);
    runs("shl.b64 %d1, %n, 1; add.u64 %d2, %a, %d1; ld.global.u32 %r1, [%d2];", 1);
}

static void in_every_way(void **state) {
    (void)state;
    is_found("add.u64 %d1, %a, %at; mov.u32 %r1, s; mad.lo.u32 %r1, %t, 4, %r1;\n"
             "cp.async.ca.shared.global [%r1], [%d1+4], 4; cp.async.wait_all;",
             1, 63, ", 0" BEHIND_A);
    is_found("add.u64 %d1, %b, %at; atom.global.add.u32 %r1, [%d1+4], 1;", 1, 0,
             "atomic update of 4 bytes at 0x");
    is_found("setp.eq.u32 %p1, %t, 63; add.u64 %d1, %a, %at; @%p1 ld.global.u32 %r1, [%d1+4];", 1,
             63, ", 0" BEHIND_A);
    is_found("add.u64 %d1, %b, 1024; ld.global.u32 %r1, [%d1];", 1, 0,
             ", 768 bytes behind the end of 'b' of 256 bytes; block");
    is_found("add.u64 %d1, %a, 252; ld.global.u64 %d2, [%d1+-4]; st.global.u32 [%d1], 1;", 1, 0,
             "in 'a', which this launch may only read");
}

// ---- several pointers ---------------------------------------------------------------------------

static void by_choice(void **state) {
    (void)state;
    static const char choose[] = "setp.lt.u32 %%p1, %%t, 32; selp.b64 %%d1, %%a, %%b, %%p1;\n"
                                 "add.u64 %%d1, %%d1, %%at; ld.global.u32 %%r1, [%%d1+%d];";
    char body[256];
    snprintf(body, sizeof body, choose, 0);
    runs(body, 1);
    // From a into b is not seen, out of both is.
    snprintf(body, sizeof body, choose, 132);
    is_found(body, 1, 32, ", 4 bytes behind the end of 'b' of 256 bytes, in 'c'");
    // One register, two pointers, one after the other.
    runs("mov.u64 %d1, %a; ld.global.u32 %r1, [%d1+252]; mov.u64 %d1, %b; ld.global.u32 %r1, "
         "[%d1+252];",
         1);
}

static void by_loops(void **state) {
    (void)state;
    static const char loop[] = "mov.u64 %%d1, %%a; mov.u32 %%r1, 0;\n"
                               "L: ld.global.u32 %%r2, [%%d1]; add.u64 %%d1, %%d1, 4;\n"
                               "add.u32 %%r1, %%r1, 1; setp.lt.u32 %%p1, %%r1, %d; @%%p1 bra L;";
    char body[512];
    snprintf(body, sizeof body, loop, 64);
    runs(body, 1);
    snprintf(body, sizeof body, loop, 65);
    is_found(body, 1, 0, ", 0" BEHIND_A);
    // The pointers take turns; what the first round reads by is known in the second one only.
    runs("mov.u64 %d1, %a; mov.u64 %d2, %b; mov.u32 %r1, 0;\n"
         "L: add.u64 %d4, %d1, %at; ld.global.u32 %r2, [%d4];\n"
         "mov.u64 %d3, %d1; mov.u64 %d1, %d2; mov.u64 %d2, %d3;\n"
         "add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 4; @%p1 bra L;",
         1);
}

// A tensor that is changed in place is two ranges, and so may be one that is seen in parts.
static void in_place(void **state) {
    (void)state;
    ProvenanceWorld w = open_world();
    static const char update[] = "add.u64 %d1, %a, %at; atom.global.add.u32 %r1, [%d1], 1;\n"
                                 "ld.global.u32 %r2, [%d1]; st.global.u32 [%d1], %r2;",
                      beyond[] = "add.u64 %d1, %a, %at; atom.global.add.u32 %r1, [%d1+4], 1;",
                      within[] = "add.u64 %d1, %b, %at; ld.global.u32 %r1, [%d1+-64];";
    const EmuRange twice[] = {{w.at, BYTES, true, false, "a", false},
                              {w.at + BYTES, BYTES, true, true, "b", false},
                              {w.at, BYTES, false, true, "a", false}},
                   part[] = {{w.at, 2 * BYTES, true, true, "ab", false}};
    if (!launch(&w, update, 1, twice, 3)) fail_msg("%s", w.fault.text);
    assert_false(launch(&w, beyond, 1, twice, 3));
    assert_non_null(strstr(w.fault.text, ", 0" BEHIND_A));
    // No range begins where b does: the pointer belongs to the one that it is in.
    if (!launch(&w, within, 1, part, 1)) fail_msg("%s", w.fault.text);
    close_world(&w);
}

// One object of two ranges, each with rights of its own: a pointer to the first reaches both.
static void in_parts(void **state) {
    (void)state;
    ProvenanceWorld w = open_world();
    static const char reaches[] = "add.u64 %d1, %a, %at; ld.global.u32 %r1, [%d1];\n"
                                  "atom.global.add.u32 %r1, [%d1+256], 1;",
                      writes[] = "add.u64 %d1, %a, %at; st.global.u32 [%d1], 1;",
                      beyond[] = "add.u64 %d1, %a, %at; ld.global.u32 %r1, [%d1+512];";
    const EmuRange parts[] = {{w.at, BYTES, true, false, "a", false},
                              {w.at + BYTES, BYTES, true, true, "b", true},
                              {w.at + 2 * BYTES, BYTES, true, true, "c", false}};
    if (!launch(&w, reaches, 1, parts, 3)) fail_msg("%s", w.fault.text);
    assert_false(launch(&w, writes, 1, parts, 3));
    assert_non_null(strstr(w.fault.text, "in 'a', which this launch may only read"));
    assert_false(launch(&w, beyond, 1, parts, 3));
    assert_non_null(strstr(w.fault.text, ", 0 bytes behind the end of 'b' of 256 bytes, in 'c'"));
    close_world(&w);
}

// ---- pointers in memory -------------------------------------------------------------------------

// In block `which`, and there alone, the address is `off` bytes further.
static const char *from_table(int which, int off, char body[512]) {
    snprintf(
        body, 512,
        "mov.u32 %%r1, %%ctaid.z; mad.wide.u32 %%d1, %%r1, 8, %%tab; ld.global.u64 %%d2, [%%d1];\n"
        "setp.eq.u32 %%p1, %%r1, %d; selp.b64 %%d3, %d, 0, %%p1; add.u64 %%d2, %%d2, %%d3;\n"
        "add.u64 %%d2, %%d2, %%at; ld.global.u32 %%r2, [%%d2];",
        which, off);
    return body;
}

// Blocks find a, b, a, b in the table; the instructions are the same.
static void by_tables(void **state) {
    (void)state;
    char body[512];
    runs(from_table(9, 0, body), 4);
    is_found(from_table(2, 4, body), 4, 63, ", 0" BEHIND_A);
    is_found(from_table(3, 4, body), 4, 63, ", 0 bytes behind the end of 'b' of 256 bytes, in 'c'");
    is_found(from_table(3, -4, body), 4, 0, ", 4 bytes before 'b' of 256 bytes, in 'a'");
    is_found("ld.global.v2.u64 {%d1, %d2}, [%tab]; ld.global.u32 %r1, [%d1+260];", 1, 0,
             ", 4" BEHIND_A);
}

// Each thread has a pointer of its own: none is the block's.
static void by_rows_of_pointers(void **state) {
    (void)state;
    runs("and.b32 %r1, %t, 1; mad.wide.u32 %d1, %r1, 8, %tab; ld.global.u64 %d2, [%d1];\n"
         "ld.global.u32 %r2, [%d2+252];",
         1);
    runs("mov.u32 %r1, 0; L: mad.wide.u32 %d1, %r1, 8, %tab; ld.global.u64 %d2, [%d1];\n"
         "ld.global.u32 %r2, [%d2+252]; add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 4; @%p1 bra L;",
         1);
}

// ---- what is not followed -----------------------------------------------------------------------

static void unknown_pointers(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "st.local.u64 [loc], %b; ld.local.u64 %d1, [loc]; add.u64 %d1, %d1, %at; ld.global.u32 "
        "%r1, [%d1+-4];",
        "mov.u64 %d1, pb; cvta.param.u64 %d1, %d1; ld.u64 %d2, [%d1]; ld.global.u32 %r1, "
        "[%d2+-4];",
        "mov.u64 %d1, var; setp.eq.u32 %p1, %t, 0; selp.b64 %d1, %a, %d1, %p1; ld.global.u32 "
        "%r1, [%d1];"};
    for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) runs(bodies[k], 1);
    // Out of all tensors is out of bounds as ever.
    is_found("st.local.u64 [loc], %a; ld.local.u64 %d1, [loc]; ld.global.u32 %r1, [%d1+-4];", 1, 0,
             ", 4 bytes before 'a' of 256 bytes; block");
}

// More origins than a set has bits.
static void many_pointers(void **state) {
    (void)state;
    char body[TEXT / 2];
    int n = 0;
    for (int k = 1; k < 80; k++)
        n += snprintf(body + n, sizeof body - (size_t)n,
                      "ld.global.u64 %%d%d, [%%tab+%d]; ld.global.u32 %%r1, [%%d%d+252];\n", k,
                      k % 4 * 8, k);
    runs(body, 1);
}

// A pointer that goes from register to register against the order of the text: more rounds than are made.
static void late_pointers(void **state) {
    (void)state;
    char body[TEXT / 2];
    enum { STEPS = 80 };
    int n = snprintf(body, sizeof body, "mov.u32 %%r1, 0; mov.u64 %%d%d, %%b;\n", STEPS);
    for (int k = 0; k < STEPS; k++)
        n += snprintf(body + n, sizeof body - (size_t)n, "mov.u64 %%d%d, %%a;\n", k);
    n += snprintf(body + n, sizeof body - (size_t)n, "L:\n");
    for (int k = 0; k < STEPS; k++)
        n += snprintf(body + n, sizeof body - (size_t)n, "mov.u64 %%d%d, %%d%d;\n", k, k + 1);
    snprintf(body + n, sizeof body - (size_t)n,
             "add.u32 %%r1, %%r1, 1; setp.lt.u32 %%p1, %%r1, %d; @%%p1 bra L;\n"
             "ld.global.u32 %%r2, [%%d0+252];",
             STEPS);
    runs(body, 1);
}

// ---- what a compiler makes ----------------------------------------------------------------------

static bool one_pointer(uint64_t origins) {
    return origins && !(origins & (origins - 1)) && !(origins >> ORIGIN_ANY);
}

// Every global access of these kernels has one pointer: it would be no error if not, but a loss. All but
// one, which gives its pointers to a function that is not expanded: through the thread's memory.
static void kernels_of_nvrtc(void **state) {
    (void)state;
    static char text[1 << 17];
    char why[256];
    EmuModule *m = NULL;
    ProvenanceWorld w = open_world();
    uint32_t accesses = 0;
    FILE *f = fopen(SOURCE_DIR "/tests/emulator/kernels_80.ptx", "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    if (emu_module_load(w.d, text, n, &m, why, sizeof why) != EMU_OK) fail_msg("%s", why);
    for (const EmuFunction *k = m->functions; k; k = k->next)
        for (uint32_t i = 0; i < k->insn_count; i++) {
            const Insn *x = &k->insns[i];
            if (!x->bytes || x->space != SPACE_global || !strcmp(k->name, "functions")) continue;
            accesses++;
            if (!one_pointer(k->origins[x->site]))
                fail_msg("%s, line %u: origins 0x%llx", k->name, x->line,
                         (unsigned long long)k->origins[x->site]);
        }
    assert_true(accesses > 100);
    emu_module_free(m);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_sums),          cmocka_unit_test(by_differences),
        cmocka_unit_test(by_numbers),       cmocka_unit_test(in_every_way),
        cmocka_unit_test(by_choice),        cmocka_unit_test(by_loops),
        cmocka_unit_test(in_place),         cmocka_unit_test(in_parts),
        cmocka_unit_test(by_tables),        cmocka_unit_test(by_rows_of_pointers),
        cmocka_unit_test(unknown_pointers), cmocka_unit_test(many_pointers),
        cmocka_unit_test(late_pointers),    cmocka_unit_test(kernels_of_nvrtc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

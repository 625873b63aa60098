// The engine of the emulated device: control flow, lanes that meet, memory, every kind of fault found
// at the right line and thread, the same results for any number of threads and any seed, and text that
// is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/emulator/engine/emu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 4096, TEXT = 8192 };

// Line 1 is .version. The body starts in line 12: %t the thread, %g its number in the grid, %in and
// %out the arrays, %o the place of out[%g].
static const char head[] =
    ".version 9.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n"
    ".func (.param .b32 r) twice(.param .b32 x) { .reg .b32 %a; ld.param.b32 %a, [x]; "
    "add.u32 %a, %a, %a; st.param.b32 [r], %a; ret; }\n"
    ".visible .entry k(.param .u64 pin, .param .u64 pout, .param .u32 pn)\n"
    "{ .reg .pred %p<8>; .reg .b32 %r<32>, %t, %g, %n; .reg .b64 %d<16>, %in, %out, %o; "
    ".reg .b16 %h<4>; .reg .f32 %f<8>;\n"
    ".shared .align 16 .b8 s[1024]; .local .align 8 .b8 loc[64];\n"
    "ld.param.u64 %in, [pin]; ld.param.u64 %out, [pout]; ld.param.u32 %n, [pn];\n"
    "mov.u32 %t, %tid.x; mov.u32 %g, %ctaid.x; mov.u32 %r31, %ntid.x; mad.lo.u32 %g, %g, %r31, "
    "%t;\n"
    "mul.wide.u32 %o, %g, 4; add.u64 %o, %out, %o;\n";
enum { FIRST_LINE = 12 };

typedef struct {
    SnPool *pool;
    EmuDevice *d;
    uint64_t in, out;
    uint32_t *host; // out
    EmuFault fault;
    EmuCounts counts;
} EmulatorWorld;

static EmulatorWorld open_world(int threads, EmuConfig config) {
    EmulatorWorld w = {.pool = sn_pool_new(threads)};
    config.memory = 1 << 22;
    w.d = emu_device_new(&config, w.pool);
    assert_non_null(w.d);
    w.in = emu_alloc(w.d, 4 * WORDS);
    w.out = emu_alloc(w.d, 4 * WORDS);
    uint32_t *in = emu_host(w.d, w.in, 4 * WORDS);
    for (uint32_t k = 0; k < WORDS; k++) in[k] = k * 3;
    emu_mark(w.d, w.in, 4 * WORDS, true);
    w.host = emu_host(w.d, w.out, 4 * WORDS);
    return w;
}
static void close_world(EmulatorWorld *w) {
    emu_device_free(w->d);
    sn_pool_free(w->pool);
}
static const EmuConfig plain = {.sm = 80, .check = true};

static EmuModule *load(EmulatorWorld *w, const char *body) {
    char text[TEXT], why[256];
    EmuModule *m;
    int n = snprintf(text, sizeof text, "%s%s\nret; }\n", head, body);
    assert_true(n > 0 && n < TEXT);
    if (emu_module_load(w->d, text, (size_t)n, &m, why, sizeof why) != EMU_OK)
        fail_msg("%s\n%s", why, body);
    return m;
}

// ranges: of a launch that may read `in` and read and write the first out_words of `out`.
static bool launch(EmulatorWorld *w, const char *body, uint32_t blocks, uint32_t threads,
                   uint32_t out_words) {
    EmuModule *m = load(w, body);
    struct {
        uint64_t in, out;
        uint32_t n;
    } params = {w->in, w->out, 100};
    EmuRange ranges[] = {{w->in, 4 * WORDS, true, false, "in", false},
                         {w->out, 4 * (uint64_t)out_words, true, true, "out", false}};
    EmuLaunch l = {.function = emu_module_function(m, "k"),
                   .grid = {blocks, 1, 1},
                   .block = {threads, 1, 1},
                   .dynamic_shared = 256,
                   .params = &params,
                   .ranges = ranges,
                   .range_count = 2,
                   .kernel = "test",
                   .node = "mul",
                   .where = "model.sn:7"};
    bool ok = emu_launch(w->d, &l, &w->counts, &w->fault);
    emu_module_free(m);
    return ok;
}

// Runs and compares out[i] with expected(i).
static void gives(const char *body, uint32_t blocks, uint32_t threads,
                  uint32_t (*expected)(uint32_t i)) {
    EmulatorWorld w = open_world(1, plain);
    if (!launch(&w, body, blocks, threads, WORDS)) fail_msg("%s\n%s", w.fault.text, body);
    for (uint32_t i = 0; i < blocks * threads; i++)
        if (w.host[i] != expected(i))
            fail_msg("out[%u] is %u, expected %u\n%s", i, w.host[i], expected(i), body);
    close_world(&w);
}

// Expects a fault of this kind in a line of the body (from 0), by this thread.
static void faults(EmuFaultKind kind, uint32_t line, uint32_t thread, const char *body,
                   uint32_t blocks, uint32_t threads) {
    EmulatorWorld w = open_world(1, plain);
    bool ok = launch(&w, body, blocks, threads, 64);
    if (ok) fail_msg("no fault (%s expected)\n%s", emu_fault_name(kind), body);
    if (w.fault.kind != kind || w.fault.line != FIRST_LINE + line || w.fault.thread[0] != thread)
        fail_msg("%s; expected %s in line %u, thread %u\n%s", w.fault.text, emu_fault_name(kind),
                 FIRST_LINE + line, thread, body);
    assert_non_null(strstr(w.fault.text, "kernel 'test', op mul, model.sn:7: "));
    assert_null(strchr(w.fault.text, '\n'));
    close_world(&w);
}

// ---- control flow -------------------------------------------------------------------------------

static uint32_t odd_even(uint32_t i) { return i & 1 ? i * 10 : i + 1000; }
static uint32_t collatz(uint32_t i) {
    uint32_t n = i + 1, steps = 0;
    for (; n != 1; steps++) n = n & 1 ? 3 * n + 1 : n / 2;
    return steps;
}
static uint32_t early(uint32_t i) { return i < 20 ? 1 : 2; }
static uint32_t jump(uint32_t i) { return (uint32_t[]){10, 20, 30}[i % 3]; }
static uint32_t doubled(uint32_t i) { return i % 3 ? 2 * i : 7; }
static uint32_t nested(uint32_t i) {
    uint32_t sum = 0;
    for (uint32_t a = 0; a < i % 5; a++)
        for (uint32_t b = 0; b < (a + i) % 3; b++) sum += b == 1 && a == 2 ? 100 : 1;
    return sum;
}

static void test_branches(void **state) {
    (void)state;
    gives("and.b32 %r1, %t, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN;\n"
          "mul.lo.u32 %r2, %g, 10; bra.uni DONE;\n"
          "EVEN: add.u32 %r2, %g, 1000;\n"
          "DONE: st.global.u32 [%o], %r2;",
          3, 64, odd_even);
    gives("mov.u32 %r1, 1; @!%p0 bra A; A: setp.lt.u32 %p1, %g, 20; @!%p1 mov.u32 %r1, 2;\n"
          "st.global.u32 [%o], %r1; @%p1 ret; exit;",
          1, 48, early);
}

static void test_loops(void **state) {
    (void)state;
    gives("add.u32 %r1, %g, 1; mov.u32 %r2, 0;\n"
          "LOOP: setp.eq.u32 %p1, %r1, 1; @%p1 bra DONE;\n"
          "and.b32 %r3, %r1, 1; setp.ne.u32 %p2, %r3, 0; shr.u32 %r4, %r1, 1;\n"
          "mad.lo.u32 %r5, %r1, 3, 1; selp.u32 %r1, %r5, %r4, %p2; add.u32 %r2, %r2, 1; bra LOOP;\n"
          "DONE: st.global.u32 [%o], %r2;",
          2, 96, collatz);
    gives("rem.u32 %r1, %g, 5; mov.u32 %r2, 0; mov.u32 %r3, 0;\n"
          "OUTER: setp.ge.u32 %p1, %r3, %r1; @%p1 bra DONE;\n"
          "add.u32 %r4, %r3, %g; rem.u32 %r4, %r4, 3; mov.u32 %r5, 0;\n"
          "INNER: setp.ge.u32 %p2, %r5, %r4; @%p2 bra NEXT;\n"
          "setp.eq.u32 %p3, %r5, 1; setp.eq.and.u32 %p3, %r3, 2, %p3; @%p3 bra RARE;\n"
          "add.u32 %r2, %r2, 1; bra ON; RARE: add.u32 %r2, %r2, 100;\n"
          "ON: add.u32 %r5, %r5, 1; bra INNER;\n"
          "NEXT: add.u32 %r3, %r3, 1; bra OUTER;\n"
          "DONE: st.global.u32 [%o], %r2;",
          2, 96, nested);
}

static void test_indexed_branch(void **state) {
    (void)state;
    gives("rem.u32 %r1, %t, 3; list: .branchtargets A, B, C; brx.idx %r1, list;\n"
          "A: mov.u32 %r2, 10; bra E; B: mov.u32 %r2, 20; bra E; C: mov.u32 %r2, 30;\n"
          "E: st.global.u32 [%o], %r2;",
          1, 48, jump);
}

static void test_calls(void **state) {
    (void)state;
    // Inline assembly opens a scope with its own registers and labels.
    gives(
        "mov.u32 %r2, 7; rem.u32 %r1, %t, 3; setp.eq.u32 %p1, %r1, 0; @%p1 bra OVER;\n"
        "{ .param .b32 x; st.param.b32 [x+0], %g; .param .b32 y;\n"
        "call.uni (y), twice, (x); ld.param.b32 %r2, [y+0]; }\n"
        "OVER: { .reg .b32 %r2; .reg .pred q; setp.eq.u32 q, %t, 99; @q bra OVER; mov.u32 %r2, 1;\n"
        "OVER: add.u32 %r2, %r2, 1; }\n"
        "st.global.u32 [%o], %r2;",
        1, 64, doubled);
}

static uint32_t guarded_call(uint32_t i) { return i < 40 ? 2 * i : 5; }

// A guard on what ends a basic block becomes a branch around it.
static void test_guarded_ends(void **state) {
    (void)state;
    gives("setp.lt.u32 %p1, %t, 40; mov.u32 %r2, 5; .param .b32 x; .param .b32 y; st.param.b32 "
          "[x], %g;\n"
          "@%p1 call.uni (y), twice, (x); @%p1 ld.param.b32 %r2, [y]; st.global.u32 [%o], %r2;",
          1, 64, guarded_call);
    gives("setp.ge.u32 %p1, %t, 32; mov.u32 %r2, %g; add.u32 %r3, %g, 0;\n"
          "@!%p1 shfl.sync.bfly.b32 %r2, %r3, 0, 31, -1; @!%p1 add.u32 %r2, %r2, %g;\n"
          "setp.ge.u32 %p2, %t, 40; @%p1 mov.u32 %r2, 5; @%p1 bar.sync 1, 32;\n"
          "setp.lt.and.u32 %p2, %t, 40, %p1; @%p2 add.u32 %r2, %g, %g; st.global.u32 [%o], %r2;",
          1, 64, guarded_call);
}

// ---- lanes that meet ----------------------------------------------------------------------------

static uint32_t warp_sum(uint32_t i) { return 32 * (i / 32 * 32) + 496; }
static uint32_t from_left(uint32_t i) { return i % 8 < 3 ? i : i - 3; }
static uint32_t broadcast(uint32_t i) { return i / 16 * 16 + 5; }
static uint32_t ballot(uint32_t i) { return i % 32 < 16 ? 0x5555 : 0xaaaa0000u; }

static void test_shuffles(void **state) {
    (void)state;
    gives(
        "mov.b32 %r1, %g; mov.u32 %r3, 16;\n"
        "L: shfl.sync.bfly.b32 %r2, %r1, %r3, 31, -1; add.u32 %r1, %r1, %r2; shr.u32 %r3, %r3, 1;\n"
        "setp.ne.u32 %p1, %r3, 0; @%p1 bra L; st.global.u32 [%o], %r1;",
        2, 64, warp_sum);
    // Segments of 8 lanes: c is the mask 0b11000 in bits 8 to 12.
    gives("shfl.sync.up.b32 %r1|%p1, %g, 3, 0x1800, 0xffffffff; st.global.u32 [%o], %r1;", 1, 64,
          from_left);
    gives("shfl.sync.idx.b32 %r1, %g, 5, 0x101f, 0xffffffff; st.global.u32 [%o], %r1;", 1, 64,
          broadcast);
}

static void test_votes(void **state) {
    (void)state;
    // Both halves of the warp vote apart from each other.
    gives("and.b32 %r1, %t, 1; and.b32 %r2, %t, 16; setp.ne.u32 %p1, %r2, 0;\n"
          "selp.u32 %r3, 0xffff0000, 0x0000ffff, %p1; setp.ne.u32 %p2, %r1, 0; xor.pred %p2, %p2, "
          "%p1;\n"
          "not.pred %p2, %p2; vote.sync.ballot.b32 %r4, %p2, %r3; st.global.u32 [%o], %r4;",
          1, 64, ballot);
}

static uint32_t rotated(uint32_t i) { return i % 32 < 16 ? 500 + (i + 16) % 32 : i - 16; }

// The shuffle stands in a block before the one in which half of the lanes come from.
static void test_late_meeting(void **state) {
    (void)state;
    gives("mov.u32 %r1, %t; and.b32 %r3, %t, 16; setp.ne.u32 %p1, %r3, 0; @%p1 bra FAR;\n"
          "MEET: shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1; st.global.u32 [%o], %r2; ret;\n"
          "FAR: add.u32 %r1, %r1, 500; bra MEET;",
          1, 32, rotated);
}

static uint32_t matched(uint32_t i) { return 0x11111111u << i % 4; }
static uint32_t reduced(uint32_t i) { return i / 32 * 32 + 31 + 496 + 32 * (i / 32 * 32); }
static void test_matches(void **state) {
    (void)state;
    gives("and.b32 %r1, %t, 3; match.any.sync.b32 %r2, %r1, -1; st.global.u32 [%o], %r2;", 1, 64,
          matched);
    gives("redux.sync.max.u32 %r1, %g, -1; redux.sync.add.u32 %r2, %g, -1; add.u32 %r1, %r1, %r2;\n"
          "st.global.u32 [%o], %r1;",
          1, 64, reduced);
}

// A 16-bit matrix written by rows goes through ldmatrix.trans and stmatrix: it comes out transposed.
static void test_matrix_moves(void **state) {
    (void)state;
    static const char text[] =
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p) {\n"
        ".reg .b32 %r<8>; .reg .b64 %d<3>; .shared .align 16 .b8 s[256]; ld.param.u64 %d1, [p];\n"
        "mov.u32 %r1, %tid.x; mov.u32 %r2, s; mul.lo.u32 %r3, %r1, 4; add.u32 %r3, %r3, %r2;\n"
        // Lane k writes elements 2k and 2k + 1: their numbers.
        "mul.lo.u32 %r4, %r1, 0x20002; add.u32 %r4, %r4, 0x10000; st.shared.u32 [%r3], %r4;\n"
        "bar.sync 0; and.b32 %r5, %r1, 7; mad.lo.u32 %r5, %r5, 16, %r2;\n"
        "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r6}, [%r5];\n"
        "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5+128], {%r6}; bar.sync 0;\n"
        "ld.shared.u32 %r7, [%r3+128]; mad.wide.u32 %d2, %r1, 4, %d1; st.global.u32 [%d2], %r7;\n"
        "ret; }\n";
    EmulatorWorld w = open_world(1, (EmuConfig){.sm = 90, .check = true});
    EmuModule *m;
    char why[256];
    if (emu_module_load(w.d, text, strlen(text), &m, why, sizeof why) != EMU_OK)
        fail_msg("%s", why);
    EmuLaunch l = {.function = emu_module_function(m, "k"),
                   .grid = {1, 1, 1},
                   .block = {32, 1, 1},
                   .params = &w.out};
    if (!emu_launch(w.d, &l, NULL, &w.fault)) fail_msg("%s", w.fault.text);
    for (uint32_t k = 0; k < 64; k++)
        assert_int_equal(w.host[k / 2] >> 16 * (k & 1) & 0xffff, k % 8 * 8 + k / 8);
    // A warp that is not whole.
    l.block[0] = 16;
    assert_false(emu_launch(w.d, &l, NULL, &w.fault));
    assert_int_equal(w.fault.kind, EMU_FAULT_divergence);
    emu_module_free(m);
    close_world(&w);
}

// ---- memory -------------------------------------------------------------------------------------

static uint32_t reversed(uint32_t i) { return i / 64 * 64 + 63 - i % 64; }
static uint32_t counted(uint32_t i) { return i == 0 ? 128 : i == 1 ? 127 : i == 2 ? 43 : 0; }
static uint32_t packed(uint32_t i) { return (i & 0xffff) << 16 | (i * 3 & 0xffff); }
static uint32_t votes(uint32_t i) {
    (void)i;
    return 21;
}
static uint32_t copied(uint32_t i) { return (63 - i % 64) * 3; }
static uint32_t local_sum(uint32_t i) { return 2 * i + 5; }
static uint32_t wide_carry(uint32_t i) { return i + 1; }

static void test_shared(void **state) {
    (void)state;
    gives(
        "shl.b32 %r1, %t, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %g;\n"
        "bar.sync 0; sub.u32 %r3, 63, %t; shl.b32 %r3, %r3, 2; mov.u64 %d1, s; cvta.shared.u64 "
        "%d1, %d1;\n"
        "cvt.u64.u32 %d2, %r3; add.u64 %d1, %d1, %d2; ld.u32 %r4, [%d1]; st.global.u32 [%o], %r4;",
        3, 64, reversed);
    // Dynamic shared memory lies behind the static one.
    gives("mov.u32 %r1, dyn; shl.b32 %r2, %t, 2; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %g;\n"
          "mov.u32 %r5, s; add.u32 %r5, %r5, %r2; st.shared.u32 [%r5], 1;\n"
          "barrier.sync 1; xor.b32 %r3, %r2, 252; mov.u32 %r4, dyn; add.u32 %r3, %r3, %r4;\n"
          "ld.shared.u32 %r6, [%r3]; st.global.u32 [%o], %r6;",
          2, 64, reversed);
    gives("rem.u32 %r1, %t, 3; setp.eq.u32 %p1, %r1, 1; bar.red.popc.u32 %r2, 0, %p1;\n"
          "st.global.u32 [%o], %r2;",
          2, 64, votes);
}

static void test_atomics(void **state) {
    (void)state;
    gives(
        "mov.u32 %r9, 0; setp.lt.u32 %p1, %g, 3; @%p1 st.global.u32 [%o], %r9; bar.sync 0;\n"
        "atom.global.add.u32 %r1, [%out], 1; red.global.max.u32 [%out+4], %t; rem.u32 %r2, %t, 3;\n"
        "setp.eq.u32 %p2, %r2, 0; @%p2 atom.global.inc.u32 %r1, [%out+8], 1000; setp.ge.u32 %p1, "
        "%g, 3;\n"
        "@%p1 st.global.u32 [%o], 0;",
        1, 128, counted);
    gives("mov.u32 %r1, s; setp.eq.u32 %p1, %t, 0; @%p1 st.shared.u32 [%r1], 0; bar.sync 0;\n"
          "rem.u32 %r2, %t, 3; setp.eq.u32 %p2, %r2, 1; @%p2 red.shared.add.u32 [%r1], 1; bar.sync "
          "0;\n"
          "ld.shared.u32 %r3, [%r1]; st.global.u32 [%o], %r3;",
          1, 64, votes);
}

static void test_local_and_packs(void **state) {
    (void)state;
    gives("mov.u64 %d1, loc; st.local.v2.u32 [%d1], {%g, 5}; cvta.local.u64 %d2, %d1;\n"
          "ld.u32 %r1, [%d2]; ld.local.u32 %r2, [%d1+4]; add.u32 %r1, %r1, %r1; add.u32 %r1, %r1, "
          "%r2;\n"
          "st.global.u32 [%o], %r1;",
          2, 64, local_sum);
    gives("mul.lo.u32 %r1, %g, 3; cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %g; mov.b32 %r2, {%h1, "
          "%h2};\n"
          "mov.b32 {%h3, _}, %r2; mov.b32 {_, %h0}, %r2; mov.b32 %r3, {%h3, %h0}; mov.b64 %d1, "
          "{%r3, %r2};\n"
          "mov.b64 {_, %r4}, %d1; st.global.u32 [%o], %r4;",
          2, 64, packed);
    // A byte with its sign in a register of 16 bits.
    gives(
        "mov.u32 %r1, 0x80; mov.u32 %r2, s; mad.lo.u32 %r2, %t, 4, %r2; st.shared.u32 [%r2], %r1;\n"
        "ld.shared.s8 %h1, [%r2]; setp.eq.u16 %p1, %h1, 0xff80; @!%p1 trap; cvt.s32.s16 %r3, %h1;\n"
        "setp.eq.s32 %p1, %r3, -128; @!%p1 trap; add.u32 %r3, %g, 1; st.global.u32 [%o], %r3;",
        1, 64, wide_carry);
    // 64 bits by carry: low words overflow in every lane.
    gives("mov.u32 %r1, 0xffffffff; add.cc.u32 %r2, %r1, 1; addc.u32 %r3, %g, 0;\n"
          "sub.cc.u32 %r4, %r2, 1; subc.u32 %r5, %r3, 0; setp.ne.u32 %p1, %r5, %g; @%p1 trap;\n"
          "mad.lo.cc.u32 %r6, %r1, %r1, %r1; madc.hi.u32 %r7, %r1, %r1, 0; setp.ne.u32 %p1, %r7, "
          "0xffffffff;\n"
          "@%p1 trap; st.global.u32 [%o], %r3;",
          1, 64, wide_carry);
}

static void test_async_copies(void **state) {
    (void)state;
    gives(
        "mul.wide.u32 %d1, %t, 4; add.u64 %d1, %in, %d1; shl.b32 %r1, %t, 2; mov.u32 %r2, s;\n"
        "add.u32 %r1, %r1, %r2; cp.async.ca.shared.global [%r1], [%d1], 4; cp.async.commit_group;\n"
        "cp.async.wait_group 0; bar.sync 0; xor.b32 %r3, %r1, 252; ld.shared.u32 %r4, [%r3];\n"
        "st.global.u32 [%o], %r4;",
        2, 64, copied);
    faults(
        EMU_FAULT_uninitialised, 2, 0,
        "mul.wide.u32 %d1, %t, 4; add.u64 %d1, %in, %d1; shl.b32 %r1, %t, 2; mov.u32 %r2, s;\n"
        "add.u32 %r1, %r1, %r2; cp.async.ca.shared.global [%r1], [%d1], 4; cp.async.commit_group;\n"
        "cp.async.wait_group 1; ld.shared.u32 %r4, [%r1];",
        1, 64);
}

// ---- faults -------------------------------------------------------------------------------------

static void test_bounds(void **state) {
    (void)state;
    faults(EMU_FAULT_bounds, 0, 64, "st.global.u32 [%o], %g;", 1, 65);
    faults(EMU_FAULT_bounds, 0, 0, "st.global.u32 [%in], %g;", 1, 32);
    faults(EMU_FAULT_bounds, 0, 31,
           "mul.wide.u32 %d1, %t, 8; add.u64 %d1, %out, %d1; "
           "st.global.v2.u32 [%d1+8], {%g, %g};",
           1, 32);
    faults(EMU_FAULT_bounds, 0, 3, "setp.eq.u32 %p1, %t, 3; @%p1 ld.global.u32 %r1, [0];", 1, 32);
    faults(EMU_FAULT_bounds, 1, 40,
           "mov.u64 %d1, s; mul.wide.u32 %d2, %t, 32; add.u64 %d1, %d1, %d2;\n"
           "st.shared.u32 [%d1], 1;",
           1, 64);
    faults(EMU_FAULT_bounds, 0, 0, "mov.u64 %d1, loc; ld.local.u32 %r1, [%d1+64];", 1, 32);
}

// Ranges that overlap: what one of them allows is allowed. An atomic update needs both.
static void test_ranges(void **state) {
    (void)state;
    EmulatorWorld w = open_world(1, plain);
    EmuModule *m = load(&w, "ld.global.u32 %r1, [%o+128]; st.global.u32 [%o+256], %r1;\n"
                            "st.global.u32 [%o+128], 9; atom.global.add.u32 %r2, [%o+128], 1;");
    uint64_t params[3] = {w.in, w.out, 0};
    EmuRange ranges[] = {{w.out + 128, 128, true, false, "read", false},
                         {w.out + 100, 400, false, true, "written", false},
                         {w.in, 0, true, true, "empty", false}};
    EmuLaunch l = {.function = emu_module_function(m, "k"),
                   .grid = {1, 1, 1},
                   .block = {32, 1, 1},
                   .params = params,
                   .ranges = ranges,
                   .range_count = 3};
    emu_mark(w.d, w.out, 512, true);
    if (!emu_launch(w.d, &l, NULL, &w.fault)) fail_msg("%s", w.fault.text);
    assert_int_equal(w.host[32], 10);
    ranges[1].bytes = 100; // ends before what is read and written
    assert_false(emu_launch(w.d, &l, NULL, &w.fault));
    assert_int_equal(w.fault.kind, EMU_FAULT_bounds);
    // No ranges: whole allocations; one of them is not.
    l.range_count = 0;
    assert_true(emu_launch(w.d, &l, NULL, &w.fault));
    params[1] = w.out + 4 * WORDS - 256;
    assert_false(emu_launch(w.d, &l, NULL, &w.fault));
    assert_int_equal(w.fault.kind, EMU_FAULT_uninitialised);
    ranges[0].base = 1 << 20;
    l.range_count = 1;
    assert_false(emu_launch(w.d, &l, NULL, &w.fault));
    assert_int_equal(w.fault.kind, EMU_FAULT_bounds);
    emu_module_free(m);
    close_world(&w);
}

// Without the checker what is outside of device memory is still refused.
static void test_unchecked(void **state) {
    (void)state;
    EmulatorWorld w = open_world(1, (EmuConfig){.sm = 80});
    assert_true(launch(&w, "ld.global.u32 %r1, [%o]; st.global.u32 [%o], %g;", 1, 64, 64));
    assert_int_equal(w.host[63], 63);
    assert_false(launch(&w, "ld.global.u32 %r1, [16];", 1, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_bounds);
    assert_false(launch(&w, "mov.u64 %d1, s; ld.shared.u32 %r1, [%d1+4096];", 1, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_bounds);
    close_world(&w);
}

static void test_uninitialised(void **state) {
    (void)state;
    faults(EMU_FAULT_uninitialised, 0, 5, "setp.eq.u32 %p1, %t, 5; @%p1 ld.global.u32 %r1, [%o];",
           1, 32);
    faults(
        EMU_FAULT_uninitialised, 1, 2,
        "mov.u64 %d1, s; setp.lt.u32 %p1, %t, 2; mul.wide.u32 %d2, %t, 4; add.u64 %d1, %d1, %d2;\n"
        "@%p1 st.shared.u32 [%d1], 1; ld.shared.u32 %r1, [%d1];",
        1, 32);
    // Bytes: two of four are written.
    faults(EMU_FAULT_uninitialised, 0, 0,
           "cvt.u16.u32 %h1, %t; st.global.u16 [%o], %h1; ld.global.u32 %r1, [%o];", 1, 32);
    faults(EMU_FAULT_uninitialised, 0, 0, "mov.u64 %d1, loc; ld.local.u32 %r1, [%d1+4];", 1, 32);
}

static void test_misaligned(void **state) {
    (void)state;
    faults(EMU_FAULT_misaligned, 0, 0, "st.global.u32 [%o+2], %g;", 1, 32);
    faults(EMU_FAULT_misaligned, 0, 1,
           "ld.global.v2.u32 {%r1, %r2}, [%in]; mul.wide.u32 %d1, %t, 4; "
           "add.u64 %d1, %in, %d1; ld.global.v2.u32 {%r1, %r2}, [%d1];",
           1, 32);
    faults(EMU_FAULT_misaligned, 0, 7,
           "mov.u64 %d1, s; setp.eq.u32 %p1, %t, 7; @%p1 st.shared.u32 [%d1+1], 1;", 1, 32);
}

// %r1: the place of s[%t].
#define OWN_WORD "shl.b32 %r1, %t, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; "

static uint32_t warp_tree(uint32_t i) { return 32 * (i / 32 * 32) + 496; }

static void test_shared_races(void **state) {
    (void)state;
    // Reads what another warp writes in the same phase; then the other way round.
    faults(EMU_FAULT_shared_race, 1, 32,
           OWN_WORD "st.shared.u32 [%r1], %g; bar.sync 0; xor.b32 %r3, %r1, 252;\n"
                    "st.shared.u32 [%r1], 1; bar.warp.sync -1; ld.shared.u32 %r4, [%r3];",
           1, 64);
    faults(EMU_FAULT_shared_race, 2, 32,
           OWN_WORD
           "st.shared.u32 [%r1], %g; bar.sync 0; xor.b32 %r3, %r1, 252;\n"
           "setp.lt.u32 %p1, %t, 32; @%p1 ld.shared.u32 %r4, [%r3];\n@!%p1 st.shared.u32 [%r1], 1;",
           1, 64);
    // Both write: a barrier for one of two kinds of words is missing.
    faults(EMU_FAULT_shared_race, 0, 32, "shr.u32 %r1, %t, 5; st.shared.u32 [s], %r1;", 1, 64);
    // Lanes of one warp without bar.warp.sync between.
    faults(EMU_FAULT_shared_race, 1, 0,
           OWN_WORD "st.shared.u32 [%r1], %g; xor.b32 %r3, %r1, 4;\nld.shared.u32 %r4, [%r3];", 1,
           32);
    // A thread of each warp reads a word, the last of them writes it.
    faults(EMU_FAULT_shared_race, 2, 32,
           "setp.eq.u32 %p1, %t, 0; @%p1 st.shared.u32 [s], 1; bar.sync 0; and.b32 %r2, %t, 31;\n"
           "setp.eq.u32 %p1, %r2, 0; setp.eq.u32 %p2, %t, 32; @%p1 ld.shared.u32 %r1, [s];\n"
           "@%p2 st.shared.u32 [s], 2;",
           1, 64);
    // Lanes that write different values to one word; the same value is no race.
    faults(EMU_FAULT_shared_race, 0, 1, "st.shared.u32 [s], %t;", 1, 32);
}

static uint32_t constant_seven(uint32_t i) {
    (void)i;
    return 7;
}
static uint32_t bytes_of_two(uint32_t i) { return i & 1 ? 0 : (i & 255) | (i + 1) << 8; }

static void test_no_false_races(void **state) {
    (void)state;
    // A tree within a warp, ordered by bar.warp.sync alone.
    gives(OWN_WORD
          "st.shared.u32 [%r1], %g; mov.u32 %r3, 16; and.b32 %r6, %t, 31;\n"
          "L: bar.warp.sync -1; setp.lt.u32 %p1, %r6, %r3; shl.b32 %r4, %r3, 2;\n"
          "add.u32 %r4, %r4, %r1; @%p1 ld.shared.u32 %r5, [%r4]; @%p1 ld.shared.u32 %r7, [%r1];\n"
          "@%p1 add.u32 %r7, %r7, %r5; bar.warp.sync -1; @%p1 st.shared.u32 [%r1], %r7;\n"
          "shr.u32 %r3, %r3, 1; setp.ne.u32 %p2, %r3, 0; @%p2 bra L; bar.warp.sync -1;\n"
          "sub.u32 %r8, %t, %r6; shl.b32 %r8, %r8, 2; add.u32 %r8, %r8, %r2;\n"
          "ld.shared.u32 %r9, [%r8]; st.global.u32 [%o], %r9;",
          1, 64, warp_tree);
    gives(
        "st.shared.u32 [s], 7; bar.warp.sync -1; ld.shared.u32 %r1, [s]; st.global.u32 [%o], %r1;",
        1, 32, constant_seven);
    // Two threads, and two blocks, write different bytes of a word.
    gives("mov.u32 %r1, s; add.u32 %r1, %r1, %t; st.shared.u8 [%r1], %t; bar.sync 0; and.b32 %r2, "
          "%t, 1;\n"
          "setp.eq.u32 %p1, %r2, 0; mov.u32 %r3, 0; @%p1 ld.shared.u16 %r3, [%r1]; st.global.u32 "
          "[%o], %r3;",
          1, 64, bytes_of_two);
    // A thread of each warp reads and then writes its half of a word.
    gives("and.b32 %r2, %t, 31; setp.eq.u32 %p1, %r2, 0; setp.eq.u32 %p2, %t, 0;\n"
          "@%p2 st.shared.u32 [s], 0x70007; bar.sync 0; shr.u32 %r1, %t, 4; mov.u32 %r3, s;\n"
          "add.u32 %r1, %r1, %r3; @%p1 ld.shared.u16 %r4, [%r1]; @%p1 st.shared.u16 [%r1], %r4;\n"
          "bar.sync 0; ld.shared.u16 %r4, [s+2]; st.global.u32 [%o], %r4;",
          1, 64, constant_seven);
    // Every lane reads and then writes its half of a word.
    gives(
        "mov.u32 %r3, s; mad.lo.u32 %r1, %t, 2, %r3; mov.u32 %r5, 7; st.shared.u16 [%r1], %r5;\n"
        "bar.sync 0; ld.shared.u16 %r4, [%r1]; st.shared.u16 [%r1], %r4; st.global.u32 [%o], %r4;",
        1, 64, constant_seven);
    EmulatorWorld w = open_world(2, plain);
    assert_true(launch(&w,
                       "cvt.u64.u32 %d1, %g; add.u64 %d1, %out, %d1; st.global.u8 [%d1], %g; "
                       "ld.global.u8 %r1, [%d1];",
                       64, 1 + 1, 64));
    close_world(&w);
}

static void test_global_races(void **state) {
    (void)state;
    EmulatorWorld w = open_world(2, plain);
    emu_mark(w.d, w.out, 256, true);
    // Two blocks write the same word; one writes what the other reads; an atomic update and a read.
    assert_false(
        launch(&w, "mul.wide.u32 %d1, %t, 4; add.u64 %d1, %out, %d1;\nst.global.u32 [%d1], %g;", 2,
               32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_global_race);
    assert_int_equal(w.fault.line, FIRST_LINE + 1);
    assert_false(launch(&w,
                        "st.global.u32 [%o], 1; xor.b32 %r1, %g, 32; mul.wide.u32 %d1, %r1, 4; "
                        "add.u64 %d1, %out, %d1; ld.global.u32 %r1, [%d1];",
                        2, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_global_race);
    assert_false(launch(&w, "red.global.add.u32 [%out], 1; ld.global.u32 %r1, [%out];", 2, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_global_race);
    // Atomic updates alone are no race, nor is what an earlier launch did.
    assert_true(launch(&w, "red.global.add.u32 [%out], 1;", 2, 32, 64));
    assert_true(launch(&w, "ld.global.u32 %r1, [%out]; ld.global.u32 %r2, [%out+4];", 2, 32, 64));
    close_world(&w);
}

static void test_divergence(void **state) {
    (void)state;
    faults(EMU_FAULT_divergence, 2, 16,
           "setp.lt.u32 %p1, %t, 16; @!%p1 bra B;\nbar.sync 0; bra E;\nB: bar.sync 0;\nE:", 1, 32);
    faults(EMU_FAULT_divergence, 2, 32,
           "setp.lt.u32 %p1, %t, 32; @!%p1 bra B;\nbar.sync 0; bra E;\nB: bar.sync 0;\nE:", 1, 64);
    faults(EMU_FAULT_divergence, 1, 0,
           "setp.lt.u32 %p1, %t, 16; @%p1 exit;\n"
           "shfl.sync.bfly.b32 %r1, %t, 1, 31, -1;",
           1, 32);
    faults(EMU_FAULT_divergence, 0, 16, "shfl.sync.bfly.b32 %r1, %t, 1, 31, 0x0000ffff;", 1, 32);
    faults(EMU_FAULT_divergence, 0, 32, "vote.sync.any.pred %p1, %p2, -1;", 1, 48);
    // A shuffle from a lane outside of the mask.
    faults(EMU_FAULT_divergence, 1, 0,
           "setp.lt.u32 %p1, %t, 16; @!%p1 bra E;\n"
           "shfl.sync.bfly.b32 %r1, %t, 16, 31, 0xffff;\nE:",
           1, 32);
}

static void test_deadlock(void **state) {
    (void)state;
    faults(EMU_FAULT_deadlock, 1, 0,
           "setp.lt.u32 %p1, %t, 32; @!%p1 bra E;\nbar.sync 0, 64;\nE:", 1, 64);
    faults(EMU_FAULT_deadlock, 1, 0,
           "setp.lt.u32 %p1, %t, 32; @!%p1 bra B;\nbar.sync 1; bra E;\n"
           "B: bar.sync 2;\nE:",
           1, 64);
}

static void test_budget(void **state) {
    (void)state;
    EmulatorWorld w = open_world(1, (EmuConfig){.sm = 80, .check = true, .budget = 100000});
    // Lanes that wait for a lane that is further down never let it get there.
    assert_false(launch(&w,
                        "setp.eq.u32 %p1, %t, 0; mov.u32 %r1, 0;\n"
                        "L: @!%p1 bra W; bra D; W: ld.volatile.global.u32 %r1, [%in]; bra L; D:",
                        1, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_budget);
    assert_false(launch(&w, "L: bra L;", 1, 32, 64));
    assert_int_equal(w.fault.kind, EMU_FAULT_budget);
    assert_int_equal(w.fault.line, FIRST_LINE);
    close_world(&w);
}

static uint32_t flagged(uint32_t i) {
    (void)i;
    return 5;
}
// A warp that waits in a loop for another one gives it a turn.
static void test_turns(void **state) {
    (void)state;
    gives(
        "setp.ge.u32 %p1, %t, 32; setp.eq.u32 %p2, %t, 0; @%p2 st.shared.u32 [s], 0; bar.sync 0;\n"
        "@%p1 bra SET; L: atom.shared.or.b32 %r1, [s], 0; setp.eq.u32 %p3, %r1, 0; @%p3 bra L; bra "
        "E;\n"
        "SET: setp.eq.u32 %p4, %t, 40; @%p4 atom.shared.exch.b32 %r2, [s], 5; mov.u32 %r1, 5;\n"
        "E: st.global.u32 [%o], %r1;",
        1, 64, flagged);
}

static void test_trap(void **state) {
    (void)state;
    faults(EMU_FAULT_trap, 1, 9, "setp.eq.u32 %p1, %t, 9;\n@%p1 trap;", 1, 32);
    faults(EMU_FAULT_bounds, 0, 2, "l: .branchtargets A, B; brx.idx %t, l; A: B:", 1, 32);
}

// The first bad block counts, whichever thread of the pool finds one first.
static void test_lowest_block(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        EmulatorWorld w = open_world(2, (EmuConfig){.sm = 80, .check = true, .seed = seed});
        assert_false(
            launch(&w, "mov.u32 %r1, %ctaid.x; setp.gt.u32 %p1, %r1, 10; @%p1 trap;", 64, 32, 64));
        assert_int_equal(w.fault.block[0], 11);
        assert_int_equal(w.fault.thread[0], 0);
        close_world(&w);
    }
}

static void launch_limits(uint32_t sm, const char *directives, const char *body, uint32_t threads,
                          uint32_t dynamic, EmuFaultKind want) {
    EmulatorWorld w = open_world(1, (EmuConfig){.sm = sm, .check = true});
    char text[TEXT], why[256];
    EmuModule *m;
    snprintf(text, sizeof text,
             ".version 9.0\n.target sm_80\n.address_size 64\n.extern .shared .b8 x[];\n"
             ".visible .entry k() %s { .reg .b32 %%r<300>; .shared .b8 s[1024]; %s ret; }",
             directives, body);
    if (emu_module_load(w.d, text, strlen(text), &m, why, sizeof why) != EMU_OK)
        fail_msg("%s", why);
    EmuLaunch l = {.function = emu_module_function(m, "k"),
                   .grid = {1, 1, 1},
                   .block = {threads, 1, 1},
                   .dynamic_shared = dynamic};
    emu_launch(w.d, &l, NULL, &w.fault);
    if (w.fault.kind != want)
        fail_msg("sm_%u %s %u threads %u bytes: '%s'", sm, directives, threads, dynamic,
                 w.fault.text);
    emu_module_free(m);
    close_world(&w);
}

static void test_limits(void **state) {
    (void)state;
    const char *use = "mov.u32 %r1, s;";
    launch_limits(80, "", "", 32, 0, EMU_FAULT_none);
    launch_limits(80, "", use, 1024, 162 << 10, EMU_FAULT_none);
    launch_limits(80, "", use, 32, (162 << 10) + 1, EMU_FAULT_resources);
    launch_limits(89, "", use, 32, 98 << 10, EMU_FAULT_none);
    launch_limits(89, "", use, 32, (98 << 10) + 1, EMU_FAULT_resources);
    launch_limits(120, "", use, 32, (98 << 10) + 1, EMU_FAULT_resources);
    launch_limits(90, "", use, 32, 226 << 10, EMU_FAULT_none);
    launch_limits(100, "", use, 32, (226 << 10) + 1, EMU_FAULT_resources);
    launch_limits(80, "", use, 0, 0, EMU_FAULT_resources);
    launch_limits(80, "", use, 1025, 0, EMU_FAULT_resources);
    launch_limits(80, ".maxntid 128, 1, 1", use, 128, 0, EMU_FAULT_none);
    launch_limits(80, ".maxntid 128", use, 160, 0, EMU_FAULT_resources);
    launch_limits(80, ".reqntid 64", use, 32, 0, EMU_FAULT_resources);
}

// 90 values that live at once: too many for 1024 threads, unless the kernel promises fewer.
static void test_registers(void **state) {
    (void)state;
    char body[TEXT] = "";
    size_t n = 0;
    for (int k = 0; k < 90; k++)
        n += (size_t)snprintf(body + n, TEXT - n, "mov.u32 %%r%d, %d; ", k, k);
    for (int k = 1; k < 90; k++)
        n += (size_t)snprintf(body + n, TEXT - n, "add.u32 %%r0, %%r0, %%r%d; ", k);
    launch_limits(80, "", body, 512, 0, EMU_FAULT_none);
    launch_limits(80, "", body, 1024, 0, EMU_FAULT_resources);
    launch_limits(80, ".maxntid 1024", body, 1024, 0, EMU_FAULT_none);
}

// ---- results do not depend on threads or seeds --------------------------------------------------

static void test_deterministic(void **state) {
    (void)state;
    const char *body = OWN_WORD
        "mul.wide.u32 %d1, %g, 4; add.u64 %d1, %in, %d1; ld.global.u32 %r3, [%d1];\n"
        "cvt.rn.f32.u32 %f1, %r3; sqrt.rn.f32 %f1, %f1; st.shared.f32 [%r1], %f1; bar.sync 0;\n"
        "xor.b32 %r4, %r1, 252; ld.shared.f32 %f2, [%r4]; fma.rn.f32 %f3, %f1, %f2, %f1;\n"
        "bar.sync 0; st.shared.f32 [%r1], %f3; bar.sync 0; ld.shared.f32 %f4, [%r4];\n"
        "ex2.approx.f32 %f4, %f4; add.f32 %f4, %f4, %f3; st.global.f32 [%o], %f4;\n"
        "red.global.add.u32 [%out+16000], %g;";
    uint32_t first[WORDS];
    for (int threads = 1; threads <= 2; threads++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            EmulatorWorld w =
                open_world(threads, (EmuConfig){.sm = 80, .check = true, .seed = seed * 77});
            w.host[4000] = 0;
            emu_mark(w.d, w.out + 16000, 4, true);
            if (!launch(&w, body, 48, 64, WORDS)) fail_msg("%s", w.fault.text);
            assert_int_equal(w.counts.instructions, 48 * 64 * 31);
            assert_int_equal(w.counts.loads, 48 * 64 * 4);
            assert_int_equal(w.counts.stores, 48 * 64 * 4);
            if (threads == 1 && !seed) memcpy(first, w.host, sizeof first);
            assert_memory_equal(first, w.host, sizeof first);
            close_world(&w);
        }
}

static void test_nan_line(void **state) {
    (void)state;
    EmulatorWorld w = open_world(1, plain);
    assert_true(launch(
        &w,
        "mov.f32 %f1, 0f7FC00000; setp.eq.u32 %p1, %t, 3; selp.f32 %f2, %f1, 0f00000000, %p1;\n"
        "st.global.u32 [%o], %t;\nst.global.f32 [%o], %f2;",
        1, 32, 64));
    assert_int_equal(w.counts.nan_line, FIRST_LINE + 2);
    close_world(&w);
}

// ---- memory of the device -----------------------------------------------------------------------

static void test_memory(void **state) {
    (void)state;
    EmulatorWorld w = open_world(1, plain);
    uint64_t before = emu_free_bytes(w.d), a = emu_alloc(w.d, 1000), b = emu_alloc(w.d, 1);
    assert_int_equal(a % 256, 0);
    assert_int_equal(b % 256, 0);
    assert_null(emu_host(w.d, a, 1001));
    assert_null(emu_host(w.d, a + 999, 2));
    assert_non_null(emu_host(w.d, a + 999, 1));
    assert_int_equal(emu_first_unwritten(w.d, a, 1000), 0);
    emu_mark(w.d, a, 777, true);
    assert_int_equal(emu_first_unwritten(w.d, a, 1000), 777);
    emu_mark(w.d, a + 64, 3, false);
    assert_int_equal(emu_first_unwritten(w.d, a, 1000), 64);
    assert_int_equal(emu_first_unwritten(w.d, a + 67, 100), -1);
    assert_false(emu_free(w.d, a + 256));
    assert_true(emu_free(w.d, a));
    assert_false(emu_free(w.d, a));
    assert_int_equal(emu_alloc(w.d, UINT64_C(1) << 40), 0);
    a = emu_alloc(w.d, 1000);
    assert_int_equal(emu_first_unwritten(w.d, a, 1000), 0);
    assert_true(emu_free(w.d, a) && emu_free(w.d, b));
    assert_int_equal(emu_free_bytes(w.d), before);
    close_world(&w);
}

// ---- text that is refused -----------------------------------------------------------------------

static EmuStatus try_load(const EmuConfig *config, const char *text, size_t n, char *why,
                          size_t size) {
    SnPool *pool = sn_pool_new(1);
    EmuConfig c = *config;
    c.memory = 1 << 20;
    EmuDevice *d = emu_device_new(&c, pool);
    EmuModule *m;
    EmuStatus status = emu_module_load(d, text, n, &m, why, size);
    assert_true((status == EMU_OK) == (m != NULL));
    emu_module_free(m);
    emu_device_free(d);
    sn_pool_free(pool);
    return status;
}

static void target(uint32_t sm, bool arch, const char *version, const char *name, EmuStatus want) {
    char text[256], why[256];
    int n = snprintf(text, sizeof text,
                     ".version %s\n.target %s\n.address_size 64\n.visible .entry k() { ret; }\n",
                     version, name);
    EmuStatus got =
        try_load(&(EmuConfig){.sm = sm, .arch = arch}, text, (size_t)n, why, sizeof why);
    if (got != want) fail_msg("sm_%u, %s %s: %d (%s)", sm, version, name, (int)got, why);
}

static void test_targets(void **state) {
    (void)state;
    target(80, false, "9.0", "sm_80", EMU_OK);
    target(89, false, "9.0", "sm_80", EMU_OK);
    target(80, false, "9.0", "sm_90a", EMU_WRONG_TARGET);
    target(80, false, "9.0", "sm_89", EMU_WRONG_TARGET);
    target(90, true, "9.0", "sm_90a", EMU_OK);
    target(90, false, "9.0", "sm_90a", EMU_WRONG_TARGET);
    target(100, true, "9.0", "sm_90a", EMU_WRONG_TARGET);
    target(100, false, "9.0", "sm_100f", EMU_OK);
    target(120, true, "9.0", "sm_100f", EMU_WRONG_TARGET);
    target(120, true, "9.9", "sm_80", EMU_WRONG_TARGET);
    target(120, true, "9.0", "gfx90a", EMU_BAD_PTX);
}

static void refused(const char *body, uint32_t line, const char *message) {
    char text[TEXT], why[256], where[32];
    int n = snprintf(text, sizeof text, "%s%s\nret; }\n", head, body);
    if (try_load(&plain, text, (size_t)n, why, sizeof why) != EMU_BAD_PTX)
        fail_msg("accepted: %s", body);
    snprintf(where, sizeof where, "line %u: ", FIRST_LINE + line);
    if (strncmp(why, where, strlen(where)) || !strstr(why, message))
        fail_msg("'%s' for %s", why, body);
}

static void test_refused(void **state) {
    (void)state;
    refused("\nfrobnicate.u32 %r1, %r2;", 1, "unknown instruction");
    refused("add.rn.u32 %r1, %r2, %r3;", 0, "unknown instruction");
    refused("add.u32 %r1, %r2;", 0, "unknown instruction or operands");
    refused("add.u32 %r1, %d2, %r3;", 0, "another width");
    refused("add.u32 %r1, %r2, 0f3F800000f;", 0, "runs into a name");
    refused("add.u32 %r1, %zz, 1;", 0, "unknown register");
    refused("bra NOWHERE;", 0, "not declared");
    refused("\n\natom.global.add.f32 %f1, [%out], %f2;", 2, "order of threads");
    refused("red.global.add.f32 [%out], %f2;", 0, "order of threads");
    refused("setp.lo.s32 %p1, %r1, %r2;", 0, "unknown instruction");
    refused("cvt.s32.f32 %r1, %f2;", 0, "unknown instruction");
    refused("cvt.rn.s32.f32 %r1, %f2;", 0, "unknown instruction");
    refused("ld.global.v3.u32 {%r1, %r2, %r3}, [%in];", 0, "unknown instruction");
    refused("ld.global.v2.u32 %r1, [%in];", 0, "vector");
    refused("st.const.u32 [%in], %r1;", 0, "constants");
    refused("ld.shared.u32 %r1, [loc];", 0, "another space");
    refused("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%in, {%f1,%f2}];", 0,
            "tensors are not supported");
    refused("elect.sync %r1|%p1, -1;", 0, "needs sm_90");
    refused(".reg .b32 %t;", 0, "declared twice");
    refused("{ .reg .b32 x;", 1 + 1, "the text ends");
    refused("call.uni nothing, ();", 0, "not declared");
    refused(".param .b64 x; .param .b32 y; call (y), twice, (x);", 0, "another size");
}

// No beginning of a kernel and no kernel with a byte changed may do worse than be refused.
static void test_garbage(void **state) {
    (void)state;
    char text[TEXT], why[256];
    int n = snprintf(
        text, sizeof text, "%s%s\nret; }\n", head,
        "setp.lt.u32 %p1, %t, 16; @%p1 bra L; shfl.sync.bfly.b32 %r1|%p2, %t, 1, 31, -1; L:\n"
        "ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%in+16]; bar.sync 0;");
    for (int k = (int)(strstr(text, ".visible") - text) + 1; k < n - 2; k++)
        assert_int_not_equal(try_load(&plain, text, (size_t)k, why, sizeof why), EMU_OK);
    srand(1);
    for (int k = 0; k < 2000; k++) {
        char copy[TEXT];
        memcpy(copy, text, (size_t)n);
        copy[rand() % n] = (char)(rand() % 255 + 1);
        copy[rand() % n] = text[rand() % n];
        try_load(&plain, copy, (size_t)n, why, sizeof why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_branches),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_indexed_branch),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_guarded_ends),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_late_meeting),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_matrix_moves),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_local_and_packs),
        cmocka_unit_test(test_async_copies),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_uninitialised),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_unchecked),
        cmocka_unit_test(test_misaligned),
        cmocka_unit_test(test_shared_races),
        cmocka_unit_test(test_no_false_races),
        cmocka_unit_test(test_global_races),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_trap),
        cmocka_unit_test(test_lowest_block),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_nan_line),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

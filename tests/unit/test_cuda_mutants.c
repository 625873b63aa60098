// Mutants of programs for the CUDA target: every defect that code generation, the plan or the driver's
// calls could have is made once, on purpose, and must be found in the way that the table states: by the
// emulated device's checker, with a report that names the kernel, the op and the line of the model, by a
// refusal that says why, or, where memory is touched rightly and the value is wrong, by other bits than
// those of the program that is not broken, which are the kernel evaluator's. What changes nothing is
// listed too, with the reason, and must run clean with equal bits. A checker that grows blind, or that
// reports where nothing is wrong, fails here.
//
// Needs NVRTC: 30 ms for a mutant of text, 5 ms for another one. In the long tier also with other orders
// of warps and blocks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/oracle/emulated.h"
#include "tests/oracle/oracle.h"
#include "tests/unit/mutants.h"
#include <stdio.h>

static const char *const file = SOURCE_DIR "/tests/unit/mutants.ir";

// ---- how a mutant is found -----------------------------------------------------------------------

typedef enum {
    BOUNDS,
    UNWRITTEN,
    NOBODY, // unwritten, and no command of the plan was to write it: the reader is named
    MISALIGNED,
    SHARED_RACE,
    BLOCK_RACE,
    DIVERGENCE,
    STREAM_RACE,
    COPY_RACE, // a stream race of two copies: no command has part in it
    HOST_RACE, // the host itself touches what a copy has not been waited for
    UNCOPIED,  // unwritten, and a copy is the first that reads it
    OVERWRITTEN,
    REFUSED, // by NVRTC, sn_plan_check, the driver or cuBLASLt: the row says with which words
    BITS,    // runs, and the results differ
    NOTHING  // runs, and they do not
} Found;

// Reports begin with what; those of the checker name the culprit.
static const struct {
    const char *name, *text;
} founds[] = {[BOUNDS] = {"out of bounds", "out of bounds: "},
              [UNWRITTEN] = {"unwritten", "uninitialised"},
              [NOBODY] = {"written by nobody", "uninitialised: 'copy to the host' reads"},
              [MISALIGNED] = {"misaligned", "misaligned access: "},
              [SHARED_RACE] = {"shared race", "shared race: "},
              [BLOCK_RACE] = {"global race", "global race: "},
              [DIVERGENCE] = {"divergence", "divergence: "},
              [STREAM_RACE] = {"stream race", "stream race: "},
              [COPY_RACE] = {"race of copies", "stream race: 'copy"},
              [HOST_RACE] = {"race of the host", "stream race: the host writes"},
              [UNCOPIED] = {"not copied", "uninitialised: 'copy on the device' reads"},
              [OVERWRITTEN] = {"overwritten", "overwritten: "},
              [REFUSED] = {"refused", ""},
              [BITS] = {"other bits", NULL},
              [NOTHING] = {"harmless", NULL}};

// A number of the plan: which record, where in it, its size.
typedef enum { NOWHERE, PLAN, SECTION, CMD, KERNEL, ARG, GEMM } Record;
typedef struct {
    Record record;
    size_t at, bytes;
} RecordField;
#define FIELD(record, T, member)                                                                   \
    { record, offsetof(T, member), sizeof(((T *)0)->member) }

typedef struct {
    const char *name, *subject;
    uint32_t at; // the command that is changed, and the culprit of the report
    Found found;
    const char *says; // more of the report; NOTHING: why it is harmless
    const char *from, *to;
    RecordField field;
    int32_t arg; // ARG: which; before 0: of the command before
    int64_t by;  // added to the field
    void (*edit)(Spot *);
    void (*wire)(SnCudaApi *);
    bool ahead;
} Mutant;

// ---- changes of the plan -------------------------------------------------------------------------

static void *record_of(Spot *p, const Mutant *m) {
    switch (m->field.record) {
    case PLAN: return p->plan;
    case SECTION: return p->section;
    case CMD: return p->cmd;
    case KERNEL: return p->kernel;
    case ARG: return &p->args[m->arg];
    case GEMM: return p->gemm;
    case NOWHERE: break;
    }
    return NULL;
}

static void add_to_field(Spot *p, const Mutant *m) {
    unsigned char *at = record_of(p, m);
    assert_non_null(at);
    uint64_t value = 0;
    memcpy(&value, at + m->field.at, m->field.bytes);
    value += (uint64_t)m->by;
    memcpy(at + m->field.at, &value, m->field.bytes);
}

static void exchange_args(Spot *p, uint32_t a, uint32_t b) {
    SnArg x = p->args[a];
    p->args[a] = p->args[b];
    p->args[b] = x;
}
static void exchange_0_1(Spot *p) { exchange_args(p, 0, 1); }
static void exchange_0_2(Spot *p) { exchange_args(p, 0, 2); }
static void exchange_3_4(Spot *p) { exchange_args(p, 3, 4); }
static void exchange_1_3(Spot *p) { exchange_args(p, 1, 3); }

// The command and a later one change places.
static void exchange_cmds(Spot *p, uint32_t distance) {
    SnCmd x = p->cmd[0];
    p->cmd[0] = p->cmd[distance];
    p->cmd[distance] = x;
}
static void after_next(Spot *p) { exchange_cmds(p, 1); }
static void after_second(Spot *p) { exchange_cmds(p, 2); }

// Every argument on the host that lies at `from` lies at `to`.
static void move_host(Spot *p, int64_t from, int64_t to) {
    SnArg *all = ITEMS(p->plan, SnArg, args);
    for (uint32_t i = 0; i < p->plan->args.count; i++)
        if (all[i].region == SN_REGION_HOST && all[i].offset == from) all[i].offset = to;
}
static void one_host_place(Spot *p) { move_host(p, 4096, 0); }
static void other_host_place(Spot *p) { p->args[1].offset = 0; }

static void one_instance_less(Spot *p) {
    p->cmd->count--;
    p->cmd->nargs -= p->kernel->nargs;
}

// Of the product before.
static SnGemm *previous_gemm(Spot *p) { return ITEMS(p->plan, SnGemm, gemms) + p->cmd[-1].fn; }
static void not_kept(Spot *p) {
    const SnGemm *g = previous_gemm(p);
    assert_int_equal(sn_gemm_arg(g, SN_GEMM_AUX) + 1, p->cmd[-1].nargs); // the last one
    previous_gemm(p)->has &= ~sn_gemm_bit(SN_GEMM_AUX);
    p->cmd[-1].nargs--;
}
static void kept_on_result(Spot *p) {
    const SnGemm *g = previous_gemm(p);
    SnArg *args = ITEMS(p->plan, SnArg, args) + p->cmd[-1].args;
    args[sn_gemm_arg(g, SN_GEMM_AUX)] = args[sn_gemm_arg(g, SN_GEMM_C)];
}

static void no_fill(Spot *p) { // the command before
    ITEMS(p->plan, SnArg, args)[p->cmd[-1].args].bytes = 0;
}
static void fill_always(Spot *p) { p->cmd->when = SN_WHEN_ALWAYS; }

// Every argument that holds the value of this one's result lies elsewhere.
static void move_result(Spot *p, int64_t offset) {
    SnArg *all = ITEMS(p->plan, SnArg, args);
    uint32_t value = p->args[p->cmd->nargs - 1].value;
    for (uint32_t i = 0; i < p->plan->args.count; i++)
        if (all[i].value == value) all[i].offset = offset;
}
// The command behind it reads there.
static void result_on_next(Spot *p) { move_result(p, p->args[p->cmd->nargs].offset); }
static void result_on_previous(Spot *p) { move_result(p, p->args[-1].offset); }

static void exchange_sizes(Spot *p) {
    int64_t rows = p->gemm->lt.rows;
    p->gemm->lt.rows = p->gemm->lt.cols;
    p->gemm->lt.cols = rows;
}
static void flip_a(Spot *p) { p->gemm->lt.trans_a ^= 1; }
static void flip_b(Spot *p) { p->gemm->lt.trans_b ^= 1; }
static void flip_operands(Spot *p) { p->gemm->lt.swap ^= 1; }
static void same_batch_a(Spot *p) { p->gemm->lt.stride_a = 0; }

// ---- changes of the driver's calls ---------------------------------------------------------------

// The emulated device's table, some calls of which go through here. Static, because the driver's calls
// carry no pointer of ours.
typedef struct {
    const SnCudaApi *real;
    SnCudaApi table;
    SnCudaStream other;
    uint32_t calls, lose;
} Wire;
static Wire wire;

static const SnCudaApi *wired_api(void) { return &wire.table; }

static void start_wire(void (*change)(SnCudaApi *)) {
    wire = (Wire){.real = sn_emulator_api()};
    wire.table = *wire.real;
    if (change) change(&wire.table);
}

static SnCudaStream other_stream(void) {
    if (!wire.other) wire.real->stream_create(&wire.other, SN_CU_STREAM_NON_BLOCKING);
    return wire.other;
}

// What is put into the stream from now on comes after what is in the other one.
static void follow(SnCudaStream stream, SnCudaStream before) {
    SnCudaEvent event = NULL;
    wire.real->event_create(&event, SN_CU_EVENT_NO_TIMING);
    wire.real->event_record(event, before);
    wire.real->stream_wait(stream, event, 0);
    wire.real->event_destroy(event);
}

// The second launch goes to another stream, which waits for nothing and is not waited for.
static int launch_loose(SnCudaFunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, SnCudaStream stream,
                        void **params, void **extra) {
    SnCudaStream to = wire.calls++ == 1 ? other_stream() : stream;
    return wire.real->launch(f, gx, gy, gz, bx, by, bz, shared, to, params, extra);
}
static int launch_joined(SnCudaFunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                         unsigned by, unsigned bz, unsigned shared, SnCudaStream stream,
                         void **params, void **extra) {
    SnCudaStream to = wire.calls++ == 1 ? other_stream() : stream;
    if (to != stream) follow(to, stream);
    int r = wire.real->launch(f, gx, gy, gz, bx, by, bz, shared, to, params, extra);
    if (to != stream) follow(stream, to);
    return r;
}
static void two_streams(SnCudaApi *api) { api->launch = launch_loose; }
static void two_ordered_streams(SnCudaApi *api) { api->launch = launch_joined; }

static int copy_aside(uint64_t to, const void *from, size_t bytes, SnCudaStream stream) {
    (void)stream;
    return wire.real->copy_to_device(to, from, bytes, other_stream());
}
static void copies_aside(SnCudaApi *api) { api->copy_to_device = copy_aside; }

static int no_wait(SnCudaEvent event) {
    (void)event;
    return SN_CU_OK;
}
static void wait_for_no_copy(SnCudaApi *api) { api->event_synchronize = no_wait; }

// Parameters come first, of which mutants.ir has two.
static int no_copy(uint64_t to, const void *from, size_t bytes, SnCudaStream stream) {
    return wire.calls++ == 2 ? SN_CU_OK : wire.real->copy_to_device(to, from, bytes, stream);
}
static void third_copy_lost(SnCudaApi *api) { api->copy_to_device = no_copy; }

// The first stream that waits is the computing one.
static int wait_of_computing_lost(SnCudaStream stream, SnCudaEvent event, unsigned flags) {
    if (!wire.other) wire.other = stream;
    return stream == wire.other ? SN_CU_OK : wire.real->stream_wait(stream, event, flags);
}
static int wait_of_copying_lost(SnCudaStream stream, SnCudaEvent event, unsigned flags) {
    if (!wire.other) wire.other = stream;
    return stream != wire.other ? SN_CU_OK : wire.real->stream_wait(stream, event, flags);
}
static void computes_at_once(SnCudaApi *api) { api->stream_wait = wait_of_computing_lost; }
static void copies_at_once(SnCudaApi *api) { api->stream_wait = wait_of_copying_lost; }

static int layout_narrow(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return wire.real->lt_layout_create(layout, type, rows, cols, wire.calls++ == 0 ? ld - 1 : ld);
}
static void narrow_layout(SnCudaApi *api) { api->lt_layout_create = layout_narrow; }

static int layout_tall(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return wire.real->lt_layout_create(layout, type, rows, cols + (wire.calls++ == 0), ld);
}
static void wide_layout(SnCudaApi *api) { api->lt_layout_create = layout_tall; }

// A and B, then C: types of layouts in the order in which a call makes them.
static int layout_wide(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    bool result = rows == 24 && cols == 33;
    return wire.real->lt_layout_create(layout, result ? SN_LT_R_32F : type, rows, cols, ld);
}
static void wide_results(SnCudaApi *api) { api->lt_layout_create = layout_wide; }

static int layout_half(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return wire.real->lt_layout_create(layout, type == SN_LT_R_16BF ? SN_LT_R_16F : type, rows,
                                       cols, ld);
}
static void other_half(SnCudaApi *api) { api->lt_layout_create = layout_half; }

static int layout_mixed(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    bool a = rows == 24 && cols == 72;
    return wire.real->lt_layout_create(layout, a ? SN_LT_R_16F : type, rows, cols, ld);
}
static void mixed_types(SnCudaApi *api) { api->lt_layout_create = layout_mixed; }

static int layout_loose(SnLtLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return wire.real->lt_layout_create(layout, type, rows, cols, ld + 4);
}
static void loose_layout(SnCudaApi *api) { api->lt_layout_create = layout_loose; }

static int bias_next(SnLtDesc desc, int attribute, const void *value, size_t bytes) {
    uint64_t at = 0;
    if (attribute != SN_LT_DESC_BIAS_POINTER)
        return wire.real->lt_desc_set(desc, attribute, value, bytes);
    memcpy(&at, value, sizeof at);
    at += sizeof(float);
    return wire.real->lt_desc_set(desc, attribute, &at, bytes);
}
static void bias_from_next(SnCudaApi *api) { api->lt_desc_set = bias_next; }

static int matmul_adds(SnLtHandle handle, SnLtDesc desc, const void *alpha, const void *a,
                       SnLtLayout a_layout, const void *b, SnLtLayout b_layout, const void *beta,
                       const void *c, SnLtLayout c_layout, void *d, SnLtLayout d_layout,
                       const SnLtAlgo *algo, void *workspace, size_t bytes, SnCudaStream stream) {
    const float one = 1;
    (void)beta;
    return wire.real->lt_matmul(handle, desc, alpha, a, a_layout, b, b_layout, &one, c, c_layout, d,
                                d_layout, algo, workspace, bytes, stream);
}
static void beta_one(SnCudaApi *api) { api->lt_matmul = matmul_adds; }

// ---- the mutants ---------------------------------------------------------------------------------

// clang-format off
static const Mutant mutants[] = {
#define TEXT(subject, at, name, found, says, from, to) {name, subject, at, found, says, from, to, {0}, 0, 0, NULL, NULL, false},
#define NUMBER(subject, at, name, found, says, field, by) {name, subject, at, found, says, NULL, NULL, field, 0, by, NULL, NULL, false},
#define ARGUMENT(subject, at, arg, name, found, says, field, by) {name, subject, at, found, says, NULL, NULL, field, arg, by, NULL, NULL, false},
#define EDIT(subject, at, name, found, says, edit) {name, subject, at, found, says, NULL, NULL, {0}, 0, 0, edit, NULL, false},
#define CALL(subject, at, name, found, says, wire) {name, subject, at, found, says, NULL, NULL, {0}, 0, 0, NULL, wire, false},
#define AHEAD(subject, at, name, found, says, wire) {name, subject, at, found, says, NULL, NULL, {0}, 0, 0, NULL, wire, true},
#include "tests/unit/mutants.def"
#undef TEXT
#undef NUMBER
#undef ARGUMENT
#undef EDIT
#undef CALL
#undef AHEAD
};
// clang-format on
enum { MUTANTS = sizeof mutants / sizeof *mutants, MOST_SUBJECTS = 32 };

// ---- one mutant ----------------------------------------------------------------------------------

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

// The report names the command: its kernel, its op, its line.
static bool names(Arena *a, const char *text, const Spot *p) {
    const char *kernel = p->kernel ? SN_STRING(p->plan, p->kernel->name) : "";
    const char *node = sn_cmd_name(p->plan, p->cmd);
    if (p->cmd->op == SN_CMD_GEMM && !p->kernel) kernel = "cuBLASLt";
    if (p->cmd->op == SN_CMD_COPY)
        kernel = p->cmd->stream == SN_STREAM_OUT ? "copy to the host" : "copy from the host";
    return has(text, arena_printf(a, "'%s'", kernel)) && has(text, node) &&
           has(text, arena_printf(a, "line %u", sn_cmd_node(p->plan, p->cmd)->line));
}

static bool same_bits(const Subject *s, const Outcome *o) {
    return o->bits.n == s->clean.bits.n && memcmp(o->bits.at, s->clean.bits.at, o->bits.n) == 0;
}

// NULL: found as the table says; else what is wrong.
static const char *judge(const Subject *s, const Mutant *m, const Spot *p, const Outcome *o) {
    bool same = same_bits(s, o);
    if (m->found == BITS || m->found == NOTHING) {
        if (o->failed) return o->text;
        if (same != (m->found == NOTHING)) return same ? "it survives" : "other bits";
        return NULL;
    }
    if (!o->failed) return same ? "it survives" : "only other bits";
    if (!has(o->text, founds[m->found].text)) return "found in another way";
    if (m->says && !has(o->text, m->says)) return "the report does not say what it should";
    bool command = m->found != REFUSED && m->found != NOBODY && m->found != COPY_RACE &&
                   m->found != HOST_RACE && m->found != UNCOPIED;
    if (command && !names(s->a, o->text, p)) return "the report names another culprit";
    return NULL;
}

// The edited text is compiled anew; the module gets its own text back.
static bool compile_edited(Subject *s, const Mutant *m, const SnKernel *k, SnImage **images,
                           uint64_t *n, Text *why) {
    assert_non_null(k);
    CudaBatch *b = &s->module->batches.at[k->batch];
    const Text before = b->text;
    edit_text(s, k, m->from, m->to);
    bool ok = make_images(s, images, n, why);
    b->text = before;
    return ok;
}

static Outcome run_mutant(Subject *s, const Mutant *m, Spot *p) {
    SnEmulator device = sn_emulator;
    SnImage *images = s->images;
    uint64_t n = s->image_count;
    Text why = {.arena = s->a};
    if (m->from && !compile_edited(s, m, p->kernel, &images, &n, &why))
        return (Outcome){.failed = true, .text = why.at};
    if (m->field.record != NOWHERE) add_to_field(p, m);
    if (m->edit) m->edit(p);
    *p = spot_of(p->plan, m->at); // the command that is there now
    start_wire(m->wire);
    device.api = wired_api;
    return run_program(s, p->plan, images, n, &device, m->ahead);
}

// In a plan of its own; *p is where the change was made.
static Outcome try_mutant(Subject *s, const Mutant *m, Spot *p) {
    void *plan = arena_alloc(s->a, s->bytes);
    memcpy(plan, s->plan, s->bytes);
    *p = spot_of(plan, m->at);
    return run_mutant(s, m, p);
}

// True when it is found as stated.
static bool check_mutant(Subject *s, const Mutant *m) {
    Spot p;
    Outcome o = try_mutant(s, m, &p);
    const char *wrong = judge(s, m, &p, &o);
    printf("%-12s %-42s %s%s%s\n", m->subject, m->name, founds[m->found].name,
           m->found == NOTHING ? ": " : "", m->found == NOTHING ? m->says : "");
    if (wrong) printf("    WRONG: %s\n", wrong);
    if (wrong && o.failed) printf("    %s\n", o.text);
    return !wrong;
}

typedef struct {
    Subject at[MOST_SUBJECTS];
    uint32_t n;
} Subjects;

// Each is made once, and run before anything of it is broken.
static Subject *subject_of(Arena *a, Subjects *all, const KernelProgram *program,
                           const char *name) {
    for (uint32_t k = 0; k < all->n; k++)
        if (strcmp(all->at[k].name, name) == 0) return &all->at[k];
    assert_true(all->n < MOST_SUBJECTS);
    Subject *s = &all->at[all->n++];
    *s = subject_new(a, program, name);
    s->clean = run_program(s, s->plan, s->images, s->image_count, &sn_emulator, false);
    if (s->clean.failed) fail_msg("%s: %s", s->name, s->clean.text);
    return s;
}

static void every_mutant_is_found(void **state) {
    Arena *a = *state;
    const KernelProgram all = lower_module(a, parse_file(a, file));
    Subjects subjects = {.n = 0};
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < MUTANTS; i++)
        wrong += !check_mutant(subject_of(a, &subjects, &all, mutants[i].subject), &mutants[i]);
    printf("%d mutants of %u programs\n", MUTANTS, subjects.n);
    assert_int_equal(wrong, 0);
    assert_int_equal(subjects.n, all.sections.n); // none without a mutant
}

// Which fault of a block comes first depends on the order of its warps, that there is one does not.
static void every_order_finds_them(void **state) {
    static const char *const seeds[] = {"0", "2", "3", "12345"};
    uint32_t wrong = 0;
    if (!getenv("SINTER_LONG")) return;
    for (size_t k = 0; k < sizeof seeds / sizeof *seeds; k++) {
        setenv("SINTER_EMU_SEED", seeds[k], 1);
        const KernelProgram all = lower_module(*state, parse_file(*state, file));
        Subjects subjects = {.n = 0};
        for (uint32_t i = 0; i < MUTANTS; i++) {
            const Mutant *m = &mutants[i];
            Subject *s = subject_of(*state, &subjects, &all, m->subject);
            Outcome o = try_mutant(s, m, &(Spot){0});
            bool found = o.failed || !same_bits(s, &o);
            if (found != (m->found != NOTHING))
                printf("seed %s: %s: %s\n", seeds[k], m->subject, m->name), wrong++;
        }
    }
    setenv("SINTER_EMU_SEED", "1", 1);
    assert_int_equal(wrong, 0);
}

// ---- one call of many ---------------------------------------------------------------------------

// Of the calls that order streams, the wire loses number `wire.lose`.
static int lose_wait(SnCudaStream stream, SnCudaEvent event, unsigned flags) {
    return wire.calls++ == wire.lose ? SN_CU_OK : wire.real->stream_wait(stream, event, flags);
}
static int lose_record(SnCudaEvent event, SnCudaStream stream) {
    return wire.calls++ == wire.lose ? SN_CU_OK : wire.real->event_record(event, stream);
}
static void losing_waits(SnCudaApi *api) { api->stream_wait = lose_wait; }
static void losing_records(SnCudaApi *api) { api->event_record = lose_record; }

// Every wait and every record of the plan is needed, in a section that runs command by command (the first run)
// and in one that is captured (the third): count calls from those numbers on. The others are the feed's and the
// section's own. Returns how many were lost.
static uint32_t lose_each(Subject *s, void (*change)(SnCudaApi *), uint32_t first, uint32_t third,
                          uint32_t count, uint32_t *wrong) {
    SnEmulator device = sn_emulator;
    device.api = wired_api;
    for (uint32_t i = 0; i < 2 * count; i++) {
        start_wire(change);
        wire.lose = i < count ? first + i : third + i - count;
        Outcome o = run_program(s, s->plan, s->images, s->image_count, &device, false);
        if (o.failed) continue;
        printf("call %u is lost, and nobody says so\n", wire.lose);
        ++*wrong;
    }
    return 2 * count;
}

static void every_wait_is_needed(void **state) {
    static const char *const seeds[] = {"1", "2", "3"};
    uint32_t wrong = 0, lost = 0;
    for (size_t k = 0; k < sizeof seeds / sizeof *seeds; k++) {
        setenv("SINTER_EMU_SEED", seeds[k], 1);
        const KernelProgram all = lower_module(*state, parse_file(*state, file));
        Subject s = subject_new(*state, &all, "trip");
        lost += lose_each(&s, losing_waits, 1, 20, 8, &wrong);
        lost += lose_each(&s, losing_records, 2, 24, 8, &wrong);
    }
    setenv("SINTER_EMU_SEED", "1", 1);
    printf("%u calls lost\n", lost);
    assert_int_equal(wrong, 0);
}

// Line 0 is no line: a report says none where the model's text is not known.
static void no_place_is_no_line(void **state) {
    Module *m = parse_file(*state, file);
    for (FuncId f = 0; f < m->funcs.n; f++)
        for (NodeId n = 0; n < m->funcs.at[f]->nodes.n; n++)
            node_at(m->funcs.at[f], n)->loc = (Loc){0};
    const KernelProgram all = lower_module(*state, m);
    Subject s = subject_new(*state, &all, "map");
    const SnPlan *p = (const SnPlan *)(const void *)s.plan;
    assert_int_equal(SN_AT(p, SnNode, nodes)[0].line, 0);
}

// Before anything is broken: exact interpreter, kernel evaluator and emulated device agree.
static void programs_are_right(void **state) {
    const OracleOptions how = {.emulated = "sm_90a", .seed = 1};
    Text why = {.arena = *state};
    if (!oracle_check_file(file, &how, &why)) fail_msg("%s", why.at);
}

static int set_up(void **state) {
    *state = arena_new();
    return 0;
}
static int tear_down(void **state) {
    arena_free(*state);
    return 0;
}

int main(void) {
    Arena *a = arena_new();
    Text why = {.arena = a};
    bool available = cuda_available(&why);
    if (!available) printf("skipped the mutants of CUDA programs: %s\n", why.at);
    arena_free(a);
    if (!available) return 77;
    setenv("SINTER_EMU_SEED", "1", 1); // which of two faults comes first
    setenv("SINTER_CUDA_GRAPHS", "on", 1);
    setenv("SINTER_SANITIZE", "on", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(programs_are_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_mutant_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_order_finds_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_wait_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_place_is_no_line, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

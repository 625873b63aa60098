// The runtime on a plan built by hand (tiny_plan.h): checks of the blob, the walk over commands,
// steps with accumulation, evaluation, generation, checkpoints and resuming, the thread pool.
#define _GNU_SOURCE
#include "runtime/core/pool.h"
#include "runtime/elem.h"
#include "tests/unit/tiny_plan.h"
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { IDS = 400 };

// A directory of its own, removed with what the tests put there.
typedef struct {
    char dir[64], data[96];
    SnPlan *plan;
    unsigned char ids[IDS];
} RuntimeFixture;

static int set_up(void **state) {
    RuntimeFixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/sinter-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->data, sizeof f->data, "%s/data.bin", f->dir);
    for (int i = 0; i < IDS; i++) f->ids[i] = (unsigned char)((i * 7 + i / 11) % VOCAB);
    FILE *file = fopen(f->data, "wb");
    assert_int_equal(fwrite(f->ids, 1, IDS, file), IDS);
    fclose(file);
    f->plan = tiny_plan();
    *state = f;
    return 0;
}

static void remove_directory(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] == '.' && strspn(e->d_name, ".") == strlen(e->d_name)) continue;
        if (unlink(path)) remove_directory(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static int clean_up(void **state) {
    RuntimeFixture *f = *state;
    remove_directory(f->dir);
    free(f->plan);
    free(f);
    return 0;
}

// One run: executor, data and trainer.
typedef struct {
    SnExec *exec;
    SnData *data;
    SnTrainer *trainer;
    SnError e;
} TrainedRun;

static void run_new(TrainedRun *r, RuntimeFixture *f, int threads, const SnProgress *at) {
    memset(r, 0, sizeof *r);
    assert_int_equal(sn_exec_new(f->plan, tiny_functions, threads, &r->exec, &r->e), SN_OK);
    SnDataSpec spec = {
        .kind = SN_DATA_TEXT, .path = f->data, .split = 0.75, .shuffle = true, .seed = at->seed};
    assert_int_equal(sn_data_spec(f->plan, &spec, &r->e), SN_OK);
    assert_int_equal(spec.window, SEQ);
    assert_int_equal(spec.range, VOCAB);
    assert_int_equal(sn_data_new(&spec, &r->data, &r->e), SN_OK);
    assert_int_equal(sn_trainer_new(r->exec, r->data, at, &r->trainer, &r->e), SN_OK);
    assert_int_equal(sn_trainer_micro(r->trainer), MICRO);
}

static void run_free(TrainedRun *r) {
    sn_trainer_free(r->trainer);
    sn_data_free(r->data);
    sn_exec_free(r->exec);
}

static const float *weights(TrainedRun *r) { return sn_exec_at(r->exec, SN_REGION_PARAM, AT_W); }

static void test_plan_is_accepted(void **state) {
    RuntimeFixture *f = *state;
    SnError e = {0};
    assert_int_equal(sn_plan_check(f->plan, &e), SN_OK);
    assert_non_null(sn_plan_section(f->plan, "micro"));
    assert_null(sn_plan_section(f->plan, "nothing"));
    assert_string_equal(sn_plan_option(f->plan, "micro", ""), "2");
    assert_true(sn_plan_number(f->plan, "micro", 0) == 2);
    assert_true(sn_plan_number(f->plan, "nothing", 5) == 5);
}

// One field after the other out of range: each is refused.
static void test_plan_damage_is_found(void **state) {
    RuntimeFixture *f = *state;
    unsigned char *copy = aligned_alloc(64, BLOB);
    SnPlan *p = (SnPlan *)(void *)copy;
    uint32_t gemm_arg = 0;
    for (uint32_t i = 0; i < f->plan->cmds.count; i++)
        if (SN_AT(f->plan, SnCmd, cmds)[i].op == SN_CMD_GEMM)
            gemm_arg = SN_AT(f->plan, SnCmd, cmds)[i].args;
    assert_true(gemm_arg > 0);
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        SnError e = {0};                                                                           \
        memcpy(copy, f->plan, BLOB);                                                               \
        __VA_ARGS__;                                                                               \
        assert_int_equal(sn_plan_check(p, &e), SN_PLAN);                                           \
        assert_true(e.text[0]);                                                                    \
    } while (0)
#define ACCEPTED(...)                                                                              \
    do {                                                                                           \
        SnError e = {0};                                                                           \
        memcpy(copy, f->plan, BLOB);                                                               \
        __VA_ARGS__;                                                                               \
        assert_int_equal(sn_plan_check(p, &e), SN_OK);                                             \
    } while (0)
#define ITEM(T, table) ((T *)(void *)(copy + p->table.offset))
// A of the product in half of its bytes.
#define NARROW                                                                                     \
    ITEM(SnGemm, gemms)->elem_a = SN_ELEM_bf16, ITEM(SnArg, args)[gemm_arg].elem = SN_ELEM_bf16,   \
                 ITEM(SnArg, args)[gemm_arg].bytes /= 2
    REFUSED(p->magic++);
    REFUSED(p->version++);
    REFUSED(p->size = 10);
    REFUSED(p->cmds.count = 100000);
    REFUSED(p->args.offset += 4);
    REFUSED(copy[p->strings.offset + p->strings.count - 1] = 'x');
    REFUSED(p->region_bytes[SN_REGION_PARAM] = 8);
    REFUSED(p->region_bytes[SN_REGION_TEMP] = -1);
    REFUSED(ITEM(SnSection, sections)[6].temp = INT64_MAX);
    REFUSED(ITEM(SnSection, sections)[6].temp -= 4); // an argument reaches beyond it
    REFUSED(ITEM(SnSection, sections)[6].beside = 2);
    REFUSED(p->model_name = 1 << 20);
    REFUSED(ITEM(SnKernel, kernels)->fn = TINY_FUNCTIONS);
    REFUSED(ITEM(SnKernel, kernels)->scratch = -1);
    REFUSED(ITEM(SnCmd, cmds)->fn = 9);
    REFUSED(ITEM(SnCmd, cmds)->op = 9);
    REFUSED(ITEM(SnCmd, cmds)->nargs = 1000);
    REFUSED(ITEM(SnCmd, cmds)->node = 3);
    REFUSED(ITEM(SnArg, args)->region = 77);
    REFUSED(ITEM(SnArg, args)->offset = -64);
    REFUSED(ITEM(SnArg, args)->bytes = INT64_MAX);
    REFUSED(ITEM(SnGemm, gemms)->k[0].b = 300);
    REFUSED(ITEM(SnGemm, gemms)->m[0].extent = 0);
    REFUSED(ITEM(SnGemm, gemms)->m[0].c = -3);
    REFUSED(ITEM(SnGemm, gemms)->nk = 5);
    uint32_t product = 0;
    while (SN_AT(f->plan, SnCmd, cmds)[product].op != SN_CMD_GEMM) product++;
    REFUSED(ITEM(SnCmd, cmds)[product].nargs++); // one that the product does not know
    REFUSED(ITEM(SnGemm, gemms)->has = 0);
    REFUSED(ITEM(SnGemm, gemms)->has |= sn_gemm_bit(SN_GEMM_ACC)); // no such argument
    REFUSED(ITEM(SnGemm, gemms)->has = sn_gemm_bit(SN_GEMM_ACC));
    REFUSED(ITEM(SnGemm, gemms)->has |= sn_gemm_bit(SN_GEMM_EPILOGUE)); // kernel 0 is none
    REFUSED(ITEM(SnGemm, gemms)->has |= sn_gemm_bit(SN_GEMM_KERNEL));   // not on a CPU
    REFUSED(ITEM(SnGemm, gemms)->has |= sn_gemm_bit(SN_GEMM_PARTS));
    REFUSED(ITEM(SnGemm, gemms)->function = SN_FUNCTION_GELU);
    REFUSED(ITEM(SnGemm, gemms)->sums = SN_SUMS_C);
    REFUSED(ITEM(SnGemm, gemms)->tf32 = 1); // not on a CPU
    REFUSED(ITEM(SnGemm, gemms)->tf32 = 2);
    REFUSED(ITEM(SnGemm, gemms)->base_a = INT64_MAX);
    REFUSED(ITEM(SnArg, args)[gemm_arg].bytes -= 4); // one element too short
    REFUSED(ITEM(SnGemm, gemms)->elem_a = SN_ELEMS);
    REFUSED(ITEM(SnGemm, gemms)->elem_b = SN_ELEM_i32, ITEM(SnArg, args)[gemm_arg + 1].elem = 1);
    REFUSED(ITEM(SnGemm, gemms)->elem_a = SN_ELEM_bf16);          // its argument is f32
    REFUSED(ITEM(SnArg, args)[gemm_arg + 1].elem = SN_ELEM_bf16); // the product says f32
    REFUSED(NARROW, ITEM(SnArg, args)[gemm_arg].bytes -= 2);
    ACCEPTED(NARROW);
    REFUSED(ITEM(SnArg, args)[gemm_arg + 2].bytes -= 4);
    REFUSED(ITEM(SnSection, sections)->count = 1000);
    REFUSED(ITEM(SnState, states)->bytes = 16);
    REFUSED(ITEM(SnState, states)->size[0] = -3);
    REFUSED(ITEM(SnState, states)->elem = 4);
    REFUSED(ITEM(SnPort, inputs)->sample = 3);
    REFUSED(ITEM(SnPort, inputs)->naxes = 9);
    REFUSED(ITEM(SnScalar, scalars)->offset = 62);
    REFUSED(p->nr = 17);
    REFUSED(p->ukr = TINY_FUNCTIONS);
    REFUSED(p->features = SN_CPU_BF16, p->ukr_pairs = TINY_FUNCTIONS);
    ACCEPTED(p->features = SN_CPU_BF16, p->ukr_pairs = p->ukr);
    free(copy);
}
#undef NARROW

// Likewise of streams and events: the trip of tiny_plan.h.
static void test_stream_damage_is_found(void **state) {
    RuntimeFixture *f = *state;
    unsigned char *copy = aligned_alloc(64, BLOB);
    SnPlan *p = (SnPlan *)(void *)copy;
    uint32_t at = 0; // record, wait, copy, record, wait; the same back
    while (SN_AT(f->plan, SnCmd, cmds)[at].op != SN_CMD_RECORD) at++;
#define CMD ITEM(SnCmd, cmds)
#define ARG ITEM(SnArg, args)
    REFUSED(p->events = 1);
    REFUSED(p->events = SN_MAX_EVENTS + 1);
    REFUSED(CMD[at].op = SN_CMD_WAIT + 1);
    REFUSED(CMD[at].fn = 2);
    REFUSED(CMD[at].stream = SN_STREAMS);
    REFUSED(CMD[at].when = SN_WHEN_FIRST);
    REFUSED(CMD[at + 3].nargs = 1);
    REFUSED(CMD[at].fn = 1);                         // waited for before it is recorded
    REFUSED(CMD[at + 1].stream = SN_STREAM_COMPUTE); // waits for itself
    REFUSED(CMD[at + 1].op = SN_CMD_RECORD);         // a stream that did not begin
    REFUSED(CMD[at].op = SN_CMD_WAIT);               // likewise
    REFUSED(CMD[at + 2].stream = SN_STREAM_COMPUTE); // a copy in another direction's stream
    REFUSED(CMD[at + 2].stream = SN_STREAM_IN);
    REFUSED(CMD[at + 4].stream = SN_STREAM_IN);      // the section ends without the copy
    REFUSED(CMD[at + 9].fn = 0);                     // waits for what stood before the copy
    REFUSED(CMD[at + 8].stream = SN_STREAM_COMPUTE); // recorded where there is no copy
    REFUSED(ARG[CMD[at + 2].args].bytes = 20);       // of two sizes
    REFUSED(ARG[CMD[at + 2].args].region = SN_REGION_PARAM);
    REFUSED(ARG[CMD[at + 7].args].region = SN_REGION_HOST); // from the host to the host
    REFUSED(ARG[CMD[0].args].region = SN_REGION_HOST, ARG[CMD[0].args].offset = 0); // a kernel
    REFUSED(p->region_bytes[SN_REGION_HOST] = 0);
    ACCEPTED(CMD[at + 5].fn = 1, CMD[at + 6].fn = 1); // an event may be used again
#undef CMD
#undef ARG
    free(copy);
}

#define ATTEND ITEM(SnAttend, attends)
#define PART   ITEM(SnAttend, attends)->part[i]
#define HULL   ITEM(SnHull, hulls)
// Likewise of the attention.
static void test_attend_damage_is_found(void **state) {
    RuntimeFixture *f = *state;
    unsigned char *copy = aligned_alloc(64, BLOB);
    SnPlan *p = (SnPlan *)(void *)copy;
    uint32_t at = 0;
    while (SN_AT(f->plan, SnCmd, cmds)[at].op != SN_CMD_ATTEND) at++;
    uint32_t arg = SN_AT(f->plan, SnCmd, cmds)[at].args;
    REFUSED(ITEM(SnCmd, cmds)[at].fn = 1);
    REFUSED(ITEM(SnCmd, cmds)[at].nargs++); // one that its kernel does not know
    REFUSED(ITEM(SnCmd, cmds)[at].nargs--);
    REFUSED(ITEM(SnCmd, cmds)[at].op = SN_CMD_KERNEL, ITEM(SnCmd, cmds)[at].fn = TINY_STRIP);
    REFUSED(p->attends.count = 100000);
    REFUSED(p->hulls.count = 0);
    REFUSED(p->gemms.count = 0, p->nr = 17);
    REFUSED(ATTEND->nouter = SN_ATTEND_OUTER + 1);
    REFUSED(ATTEND->nparts = SN_ATTEND_PARTS + 1);
    REFUSED(ATTEND->tiles = SN_ATTEND_TILES + 1);
    REFUSED(ATTEND->tiles = 0);
    REFUSED(ATTEND->strip = 0);
    REFUSED(ATTEND->strip = 1025);
    REFUSED(ATTEND->strip = 1); // two strips, one hull
    REFUSED(ATTEND->kernel = TINY_KERNELS);
    REFUSED(ATTEND->kernel = 0); // no strip kernel
    REFUSED(ATTEND->args = 7);
    REFUSED(ATTEND->args = 5);
    REFUSED(ATTEND->hull = 1);
    REFUSED(ATTEND->hull = UINT32_MAX);
    REFUSED(ATTEND->outer[0] = 0);
    REFUSED(ATTEND->outer[0] = INT64_MAX);
    REFUSED(ATTEND->outer[0] = INT64_C(1) << 43); // its workspace
    REFUSED(ATTEND->rows = 0);
    REFUSED(ATTEND->rows = 3); // of two
    REFUSED(ATTEND->rows = INT64_MAX);
    REFUSED(ATTEND->keys = 0);
    REFUSED(ATTEND->keys = 2); // its hull ends at 3
    REFUSED(ATTEND->keys = 4);
    REFUSED(ATTEND->keys = INT64_C(1) << 32);
    for (int i = 0; i < 3; i++) {
        REFUSED(PART.kind = SN_ATTEND_KINDS);
        REFUSED(PART.tile = 1);
        REFUSED(PART.x = 6);
        REFUSED(PART.y = 6);
        REFUSED(PART.base_x++);
        REFUSED(PART.base_x = INT64_MAX);
        REFUSED(PART.base_y = -1);
        REFUSED(PART.step_x++);
        REFUSED(PART.step_x = INT64_MAX);
        REFUSED(PART.step_y = -5);
        REFUSED(ATTEND->outer[0] = 2, PART.outer_x[0] = 1);
        REFUSED(ATTEND->outer[0] = 2, PART.outer_y[0] = -1);
        REFUSED(PART.nf = SN_GEMM_DIMS + 1);
        REFUSED(PART.f[0].extent = 0);
        REFUSED(PART.f[0] = (SnDim){4097, 0, 0, 0});
        REFUSED(PART.f[0].a += 2);
        REFUSED(PART.f[0].b += 2);
        SnArg *x = &ITEM(SnArg, args)[arg + 2 * (uint32_t)i], *y = x + 1;
        REFUSED(x->bytes -= 4);
        REFUSED(y->bytes -= 4);
        REFUSED(PART.elem_x = SN_ELEMS);
        REFUSED(PART.elem_x = SN_ELEM_bf16); // its argument is f32
        REFUSED(y->elem = SN_ELEM_bf16);
        REFUSED(PART.elem_tile = SN_ELEM_i32);
        ACCEPTED(x->elem = SN_ELEM_bf16, PART.elem_x = SN_ELEM_bf16, x->bytes /= 2);
        REFUSED(x->elem = SN_ELEM_bf16, PART.elem_x = SN_ELEM_bf16, x->bytes = x->bytes / 2 - 2);
        if (i) REFUSED(y->elem = SN_ELEM_bf16, PART.elem_y = SN_ELEM_bf16); // a result
    }
    // Pairs of rows are of one strip, and of one outer index.
    SnAttendPart *rows = &ATTEND->part[2];
    SnArg *of_rows = &ITEM(SnArg, args)[arg + 4];
#define PAIRS of_rows->elem = SN_ELEM_bf16, rows->elem_x = rows->elem_tile = SN_ELEM_bf16
    ACCEPTED(PAIRS);
    ACCEPTED(PAIRS, ATTEND->rows = 1);
    ACCEPTED(PAIRS, ATTEND->outer[0] = 2);
    REFUSED(PAIRS, ATTEND->outer[0] = 2, ATTEND->rows = 1);
    REFUSED(PAIRS, ATTEND->strip = 47);
#undef PAIRS
    REFUSED(HULL->first = 1);
    REFUSED(HULL->first = -SN_ATTEND_HULL);
    REFUSED(HULL->first = SN_ATTEND_HULL);
    REFUSED(HULL->end = 4);
    REFUSED(HULL->end = -1);
    free(copy);
}

// Random damage of any kind must be refused or harmless, never a fault.
static void test_plan_survives_any_bytes(void **state) {
    RuntimeFixture *f = *state;
    unsigned char *copy = aligned_alloc(64, BLOB);
    const uint32_t key[2] = {17, 0};
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        memcpy(copy, f->plan, BLOB);
        const uint32_t counter[4] = {i, 0, 0, 0};
        uint32_t at = sn_philox(counter, key, 0) % f->plan->size;
        copy[at] = (unsigned char)sn_philox(counter, key, 1);
        if (sn_philox(counter, key, 2) % 2) copy[(at + 7) % f->plan->size] ^= 0x80;
        SnPlan *p = (SnPlan *)(void *)copy;
        if (p->size > BLOB) continue; // the size is the linker's word
        refused += sn_plan_check(copy, NULL) != SN_OK;
    }
    assert_true(refused > 1000);
    free(copy);
}

static void test_step_computes(void **state) {
    RuntimeFixture *f = *state;
    SnProgress at = {.accum = 3, .total = 10, .seed = 5};
    TrainedRun r;
    run_new(&r, f, 3, &at);
    assert_int_equal(sn_trainer_init(r.trainer, &r.e), SN_OK);
    assert_true(weights(&r)[0] == 6 && weights(&r)[2] == 8);
    int32_t ids[3 * MICRO * (SEQ + 1)];
    float w = weights(&r)[1];
    for (int step = 1; step <= 4; step++) {
        float sum = 0, h[VOCAB] = {0};
        assert_int_equal(
            sn_data_windows(r.data, SN_TRAIN, (uint64_t)(step - 1) * 6, 3 * MICRO, ids, &r.e),
            SN_OK);
        for (int i = 0; i < 3 * MICRO * (SEQ + 1); i++) {
            bool first = i % (SEQ + 1) == 0, last = i % (SEQ + 1) == SEQ;
            sum += (float)(ids[i] * (!first + !last)); // as id and as target
            if (!last) h[ids[i]] += 1;
        }
        assert_int_equal(sn_trainer_step(r.trainer, &r.e), SN_OK);
        assert_true(sn_trainer_result(r.trainer, "loss", false, 0) == (double)sum);
        w += 2 * sum / (3 * MICRO * SEQ) * 0.5f * (float)step;
        assert_true(weights(&r)[1] == w);
        assert_memory_equal(sn_exec_at(r.exec, SN_REGION_ACCUM, AT_H), h, sizeof h);
    }
    const float product[6] = {1, 2, 8, 3, 4, 18};
    assert_memory_equal(sn_exec_at(r.exec, SN_REGION_PARAM, AT_P), product, sizeof product);
    const float o[4] = {34, 52, 78, 116}, rows[6] = {20, 28, 28, 40, 124, 176};
    assert_memory_equal(sn_exec_at(r.exec, SN_REGION_PARAM, AT_O), o, sizeof o);
    assert_memory_equal(sn_exec_at(r.exec, SN_REGION_PARAM, AT_R), rows, sizeof rows);
    assert_int_equal(sn_trainer_progress(r.trainer).samples, 24);
    assert_true(isnan(sn_trainer_result(r.trainer, "nothing", false, 0)));
    run_free(&r);
}

// An input of a section that runs once would hold whatever was there: the plan is refused.
static void test_inputs_are_all_filled(void **state) {
    const char *once[] = {"init", "update", "eval_finish"};
    RuntimeFixture *f = *state;
    SnPort *port = (SnPort *)(void *)((unsigned char *)f->plan + f->plan->inputs.offset) + 1;
    for (int i = 0; i < 3; i++) {
        SnExec *x;
        SnTrainer *t;
        SnError e = {0};
        const SnProgress at = {.accum = 1};
        port->section = sn_plan_section(f->plan, once[i])->name;
        assert_int_equal(sn_exec_new(f->plan, tiny_functions, 1, &x, &e), SN_OK);
        assert_int_equal(sn_trainer_new(x, NULL, &at, &t, &e), SN_PLAN);
        assert_non_null(strstr(e.text, "reads input 'targets', and has no samples"));
        sn_exec_free(x);
    }
}

static void test_eval_is_one_batch(void **state) {
    RuntimeFixture *f = *state;
    SnProgress at = {.accum = 1, .total = 1, .seed = 1};
    TrainedRun r;
    run_new(&r, f, 2, &at);
    assert_int_equal(sn_trainer_init(r.trainer, &r.e), SN_OK);
    assert_true(sn_trainer_can_eval(r.trainer));
    assert_int_equal(sn_trainer_eval(r.trainer, 1000, &r.e), SN_OK); // cut to what there is
    int64_t n = sn_data_samples(r.data, SN_VALID) / MICRO * MICRO;
    int32_t *ids = malloc((size_t)(n * (SEQ + 1)) * sizeof *ids);
    assert_int_equal(sn_data_windows(r.data, SN_VALID, 0, n, ids, &r.e), SN_OK);
    double sum = 0;
    for (int64_t i = 0; i < n * (SEQ + 1); i++) sum += i % (SEQ + 1) == SEQ ? 0 : ids[i];
    assert_true(sn_trainer_result(r.trainer, "loss", true, 0) ==
                (double)((float)sum / (float)(n * SEQ)));
    free(ids);
    run_free(&r);
}

static void test_threads_change_nothing(void **state) {
    RuntimeFixture *f = *state;
    SnProgress at = {.accum = 2, .total = 9, .seed = 3};
    float one[WEIGHTS];
    for (int threads = 1; threads <= 5; threads++) {
        TrainedRun r;
        run_new(&r, f, threads, &at);
        assert_int_equal(sn_trainer_init(r.trainer, &r.e), SN_OK);
        for (int i = 0; i < 9; i++) assert_int_equal(sn_trainer_step(r.trainer, &r.e), SN_OK);
        if (threads == 1) memcpy(one, weights(&r), sizeof one);
        assert_memory_equal(weights(&r), one, sizeof one);
        run_free(&r);
    }
}

static SnStatus load_newest(TrainedRun *r, const char *dir, SnProgress *back) {
    SnFound found;
    return sn_checkpoint_load(r->exec, dir, back, &found, &r->e);
}

// Stopping after any step and resuming gives the bits of a run that was not stopped.
static void test_resume_is_exact(void **state) {
    RuntimeFixture *f = *state;
    SnProgress at = {.accum = 2, .total = 8, .seed = 9}, back;
    char path[512];
    TrainedRun r, s;
    run_new(&r, f, 2, &at);
    assert_int_equal(sn_trainer_init(r.trainer, &r.e), SN_OK);
    assert_true(sn_exec_set(r.exec, "lr.peak", 0.3));
    assert_false(sn_exec_set(r.exec, "lr.nothing", 1));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(sn_trainer_step(r.trainer, &r.e), SN_OK);
        at = sn_trainer_progress(r.trainer);
        assert_int_equal(sn_checkpoint_save(r.exec, &at, f->dir, 0, path, sizeof path, &r.e),
                         SN_OK);
    }
    for (int stop = 1; stop < 8; stop++) {
        snprintf(path, sizeof path, "%s/step-%08d.safetensors", f->dir, stop);
        assert_int_equal(sn_exec_new(f->plan, tiny_functions, 1, &s.exec, &s.e), SN_OK);
        SnFound found;
        assert_int_equal(sn_checkpoint_load(s.exec, path, &back, &found, &s.e), SN_OK);
        assert_string_equal(found.note, "");
        sn_exec_free(s.exec);
        assert_int_equal(back.step, stop);
        assert_int_equal(back.total, 8);
        run_new(&s, f, 3, &back);
        assert_int_equal(sn_checkpoint_load(s.exec, path, &back, &found, &s.e), SN_OK);
        while (sn_trainer_progress(s.trainer).step < 8)
            assert_int_equal(sn_trainer_step(s.trainer, &s.e), SN_OK);
        assert_memory_equal(weights(&s), weights(&r), WEIGHTS * sizeof(float));
        run_free(&s);
    }
    // A directory stands for its newest checkpoint.
    assert_int_equal(load_newest(&r, f->dir, &back), SN_OK);
    assert_int_equal(back.step, 8);
    run_free(&r);
}

typedef struct {
    int32_t ids[64];
    int n;
} Said;

static bool listen(void *user, int32_t id) {
    Said *s = user;
    s->ids[s->n++] = id;
    return s->n < 64;
}

static void test_generation_follows_the_model(void **state) {
    RuntimeFixture *f = *state;
    SnError e = {0};
    SnExec *x;
    assert_int_equal(sn_exec_new(f->plan, tiny_functions, 2, &x, &e), SN_OK);
    const int32_t prompt[6] = {1, 1, 1, 1, 1, 6}; // longer than the window
    SnGenerate how = {.temperature = 0, .tokens = 5};
    Said s = {.n = 0};
    assert_int_equal(sn_generate(x, prompt, 6, &how, listen, &s, &e), SN_OK);
    const int32_t expected[5] = {7, 0, 1, 2, 3};
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.ids, expected, sizeof expected);
    // Hot drawing visits other ids, the same ones for the same seed; top_k = 1 is greedy again.
    Said a = {.n = 0}, b = {.n = 0}, c = {.n = 0};
    how = (SnGenerate){.temperature = 50, .tokens = 40, .seed = 4};
    sn_generate(x, prompt, 1, &how, listen, &a, &e);
    sn_generate(x, prompt, 1, &how, listen, &b, &e);
    assert_memory_equal(a.ids, b.ids, sizeof a.ids);
    how.top_k = 1;
    sn_generate(x, prompt, 1, &how, listen, &c, &e);
    assert_memory_not_equal(a.ids, c.ids, sizeof a.ids);
    assert_int_equal(c.ids[0], 2);
    assert_int_equal(c.ids[7], 1);
    const int32_t outside[1] = {VOCAB};
    assert_int_equal(sn_generate(x, outside, 1, &how, listen, &c, &e), SN_USER);
    assert_int_equal(sn_generate(x, prompt, 0, &how, listen, &c, &e), SN_USER);
    sn_exec_free(x);
}

// What generating needs beside is not taken for training, and then generating is a fault.
static void test_training_takes_its_own_memory(void **state) {
    RuntimeFixture *f = *state;
    const SnProgram programs[2] = {
        {.plan = (const unsigned char *)f->plan, .functions = tiny_functions}};
    assert_int_equal(sn_plan_temporary(f->plan, false), TEMP_BYTES);
    assert_int_equal(sn_plan_temporary(f->plan, true), AT_MEAN + 4);
    for (int training = 0; training < 2; training++) {
        const SnDeviceWish wish = {.name = "cpu", .threads = 1, .training = training};
        SnError e = {0};
        SnExec *x;
        float logit;
        SnEnv env = {.first = 1, .step = 1};
        assert_int_equal(sn_exec_open_as(programs, &wish, &x, &e), SN_OK);
        assert_int_equal(sn_exec_run(x, "init", &env, &e), SN_OK);
        assert_int_equal(sn_exec_run(x, "generate", &env, &e), training ? SN_PLAN : SN_OK);
        assert_int_equal(sn_exec_read(x, SN_REGION_TEMP, AT_LOGITS, &logit, 4, &e),
                         training ? SN_PLAN : SN_OK);
        sn_exec_free(x);
    }
}

typedef struct {
    _Atomic int64_t sum, calls;
    _Atomic int busy[8];
} Tally;

static void tally(void *user, int64_t t0, int64_t t1, int thread) {
    Tally *t = user;
    assert_int_equal(atomic_fetch_add(&t->busy[thread], 1), 0); // one call per thread at a time
    for (int64_t i = t0; i < t1; i++) atomic_fetch_add(&t->sum, i);
    atomic_fetch_add(&t->calls, 1);
    atomic_fetch_sub(&t->busy[thread], 1);
}

// Every task runs exactly once, whatever the number of threads, with pauses that let workers park.
static void test_pool_runs_every_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        SnPool *p = sn_pool_new(threads);
        assert_non_null(p);
        assert_int_equal(sn_pool_threads(p), threads);
        for (int64_t job = 0; job < 3000; job++) {
            int64_t tasks = job % 101, grain = 1 + job % 7;
            Tally t = {0};
            sn_pool_run(p, tasks, grain, tally, &t);
            assert_int_equal(t.sum, tasks * (tasks - 1) / 2);
            if (job % 500 == 0) usleep(2000);
        }
        Tally t = {0};
        sn_pool_run(p, 3000000, 1, tally, &t); // more ranges than a ticket counts
        assert_int_equal(t.sum, INT64_C(3000000) * 2999999 / 2);
        sn_pool_free(p);
    }
    assert_true(sn_pool_default_threads() >= 1);
}

// Tasks of this job end only when `threads` of them run at once, or after a long while.
typedef struct {
    _Atomic int here, alone;
    int threads;
} Meeting;

static void meet(void *user, int64_t t0, int64_t t1, int thread) {
    Meeting *m = user;
    (void)t0, (void)t1, (void)thread;
    atomic_fetch_add(&m->here, 1);
    for (int i = 0; i < 20000 && atomic_load(&m->here) < m->threads; i++) usleep(1000);
    if (atomic_load(&m->here) < m->threads) atomic_store(&m->alone, 1);
}

static void test_pool_wakes_the_parked(void **state) {
    (void)state;
    SnPool *p = sn_pool_new(3);
    assert_non_null(p);
    for (int round = 0; round < 5; round++) {
        Meeting m = {.here = 0, .threads = 3};
        usleep(50000); // all workers park
        sn_pool_run(p, 3, 1, meet, &m);
        assert_int_equal(m.alone, 0); // nobody slept through and left a task to the others
    }
    sn_pool_free(p);
}

static void test_philox_known_answers(void **state) {
    (void)state; // from the authors' Random123 known-answer file
    const uint32_t zeros[4] = {0}, key0[2] = {0};
    const uint32_t ones[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    const uint32_t key1[2] = {UINT32_MAX, UINT32_MAX};
    const uint32_t a[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const uint32_t b[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sn_philox(zeros, key0, i), a[i]);
        assert_int_equal(sn_philox(ones, key1, i), b[i]);
    }
}

static void test_permutation_is_one(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 300; n += 1 + n / 9) {
        unsigned char seen[512] = {0};
        uint64_t fixed = 0;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t to = sn_permute(n, n * 31, i);
            assert_true(to < n && !seen[to]);
            seen[to] = 1;
            fixed += to == i;
        }
        assert_true(n < 100 || fixed < 10);
    }
}

static void test_elements_hold_numbers(void **state) {
    (void)state;
    static const struct {
        SnElem elem;
        double value, held;
    } all[] = {{SN_ELEM_f32, 1e300, HUGE_VAL},  {SN_ELEM_f32, 0.1, 0x1.99999ap-4},
               {SN_ELEM_i32, 1e10, INT32_MAX},  {SN_ELEM_i32, -1e10, INT32_MIN},
               {SN_ELEM_i32, -2.75, -2},        {SN_ELEM_u32, 4e9, 4e9},
               {SN_ELEM_u32, 1e10, UINT32_MAX}, {SN_ELEM_u32, -1, 0},
               {SN_ELEM_bool, -0.5, 1},         {SN_ELEM_bool, 0, 0},
               {SN_ELEM_i32, (double)NAN, 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unsigned char at[9];
        memset(at, 0x5a, sizeof at);
        sn_elem_set(all[i].elem, at, all[i].value);
        assert_true(sn_elem_get(all[i].elem, at) == all[i].held);
        assert_int_equal(at[sn_elem_info[all[i].elem].bytes], 0x5a);
    }
    for (SnElem e = 0; e < SN_ELEMS; e++)
        for (int64_t n = 0; n < 20; n++) {
            unsigned char at[81];
            int64_t bytes = sn_elem_info[e].bytes;
            memset(at, 0x5a, sizeof at);
            sn_elem_fill(e, at, n, 1);
            for (int64_t i = 0; i < n; i++) assert_true(sn_elem_get(e, at + i * bytes) == 1);
            assert_int_equal(at[n * bytes], 0x5a);
        }
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, clean_up)
    const struct CMUnitTest tests[] = {
        WITH(test_plan_is_accepted),
        WITH(test_plan_damage_is_found),
        WITH(test_stream_damage_is_found),
        WITH(test_attend_damage_is_found),
        WITH(test_plan_survives_any_bytes),
        WITH(test_step_computes),
        WITH(test_inputs_are_all_filled),
        WITH(test_eval_is_one_batch),
        WITH(test_threads_change_nothing),
        WITH(test_resume_is_exact),
        WITH(test_generation_follows_the_model),
        WITH(test_training_takes_its_own_memory),
        cmocka_unit_test(test_pool_runs_every_task_once),
        cmocka_unit_test(test_pool_wakes_the_parked),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_permutation_is_one),
        cmocka_unit_test(test_elements_hold_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The public C API of the runtime: everything that a training executable does, as a library.
//
// Handles are opaque and owned by the caller (NAME_new … NAME_free; free takes NULL). Functions
// that can fail return a status and describe the failure in *e, in one line of plain text. Nothing
// here prints, exits, installs handlers or keeps global state; one handle belongs to one thread at
// a time.
//
// Usual order: sn_plan_check, sn_exec_new, then either sn_exec_run of "init" or sn_checkpoint_load,
// then steps through sn_trainer_step, evaluation through sn_trainer_eval.
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    SN_OK,
    SN_USER,    // data, a checkpoint or an option is at fault
    SN_MACHINE, // memory, disk, threads
    SN_PLAN,    // the plan is damaged or not of this runtime: never the user's fault
    SN_STOPPED, // no failure: asked to stop, and nothing has changed
    SN_PEER     // another rank has ended, or does not answer
} SnStatus;

typedef struct {
    SnStatus status;
    char text[1024];
} SnError;

// Fills *e (which may be NULL) and returns status.
SnStatus sn_fail(SnError *e, SnStatus status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Bytes of memory that this process may use, of the machine's and its cgroup's.
double sn_usable_memory(void);

// ---- plan.c: the plan, checked once, so that nothing later can read or write outside of it
// ----------

// Every offset, count and index of the blob is checked. blob must be 8-byte aligned.
SnStatus sn_plan_check(const void *blob, SnError *e);
const SnSection *sn_plan_section(const SnPlan *plan, const char *name); // NULL when absent
// Bytes of region temp that its sections need, or those of them that training runs.
int64_t sn_plan_temporary(const SnPlan *plan, bool training);
const SnPort *sn_plan_input(const SnPlan *plan, const char *section, const char *name);
const SnPort *sn_plan_output(const SnPlan *plan, const char *section, const char *name);
const SnScalar *sn_plan_scalar(const SnPlan *plan, const char *name);
const char *sn_plan_option(const SnPlan *plan, const char *key, const char *otherwise);
// A number or, when the option is absent or is none, `otherwise`.
double sn_plan_number(const SnPlan *plan, const char *key, double otherwise);
// Whether a step may have that many micro-batches: one when its samples depend on each other.
SnStatus sn_plan_allows(const SnPlan *plan, int64_t accum, SnError *e);
// Position of the axis of that name in the port, or -1.
int sn_port_axis(const SnPlan *plan, const SnPort *port, const char *axis);

// ---- exec.c: memory, and the walk over the commands ---------------------------------------------

typedef struct SnExec SnExec;
typedef struct { // of one command
    uint64_t runs, nanoseconds;
} SnCounter;

// Opens the device that `device` names: "cpu", "cuda", "cuda:1", "emu:sm_90a" (the emulated one). NULL:
// the first GPU that the executable has code for, else the CPU, else an error that says what there is.
// programs: as in every executable, the last one without a plan; checked here.
SnStatus sn_exec_open(const SnProgram *programs, const char *device, int threads, SnExec **out,
                      SnError *e);
// The same, and first measures which algorithm of cuBLASLt is the fastest for each shape of product on a
// GPU. The run uses them; later runs find them in the file that sn_device_choices names.
SnStatus sn_exec_tune(const SnProgram *programs, const char *device, int threads, SnExec **out,
                      SnError *e);
// That file, there or not. An error: there is no such GPU, or no folder.
SnStatus sn_device_choices(const SnProgram *programs, const char *device, char *path, size_t size,
                           SnError *e);
// How a device is opened.
typedef struct {
    const char *name; // as for sn_exec_open
    int threads;
    bool tune; // as sn_exec_tune
    bool
        training; // steps and evaluations alone: generating and predicting are faults, and what they would
                  // need beside is not taken
    const char *moments; // folder for a file that holds the moments, on a CPU; NULL: memory does
} SnDeviceWish;
SnStatus sn_exec_open_as(const SnProgram *programs, const SnDeviceWish *wish, SnExec **out,
                         SnError *e);
// Whether it is a name of a device at all; NULL is.
SnStatus sn_device_check(const char *device, SnError *e);
// The CPU alone, from a plan that sn_plan_check accepted.
SnStatus sn_exec_new(const SnPlan *plan, void (*const *functions)(void), int threads, SnExec **out,
                     SnError *e);
void sn_exec_free(SnExec *x);
const SnPlan *sn_exec_plan(const SnExec *x);
int sn_exec_threads(const SnExec *x);
int64_t sn_exec_bytes(const SnExec *x);      // of the arena
const char *sn_exec_device(const SnExec *x); // for people: "2 threads", "NVIDIA H100 ..."
// The program of that kind, or NULL; its plan has been checked if the status is well.
const SnProgram *sn_program_find(const SnProgram *programs, SnDeviceKind kind);
// What is worth saying of how the device was opened (machine code refused, PTX taken; measured algorithms
// not kept, or not to be used); "" when nothing.
const char *sn_exec_note(const SnExec *x);
// Line i of what was decided when the device was opened: the algorithm of each shape of product, and where
// it is from. False behind the last.
bool sn_exec_decided(const SnExec *x, uint32_t i, char *text, size_t size);
// What stored the first NaN of all runs of these sections, where the device looks for it while it runs (a
// GPU does); false: nothing is known. Waits for all that was started.
bool sn_exec_first_nan(SnExec *x, const char *const *sections, int n, char *text, size_t size);
// Host address of a place in the arena; NULL when the device's memory is not the host's.
void *sn_exec_at(SnExec *x, uint32_t region, int64_t offset);
// Host memory to be filled before the next run of the port's section, as a whole and anew each time.
void *sn_exec_input(SnExec *x, const SnPort *port);
// Copies out of and into the arena, after all that was started before.
SnStatus sn_exec_read(SnExec *x, uint32_t region, int64_t offset, void *to, int64_t bytes,
                      SnError *e);
SnStatus sn_exec_write(SnExec *x, uint32_t region, int64_t offset, const void *from, int64_t bytes,
                       SnError *e);
// Writes a scalar, converted to its element type. False when the plan has none of that name.
bool sn_exec_set(SnExec *x, const char *scalar, double value);
double sn_exec_get(SnExec *x, const char *scalar, double otherwise);
void sn_exec_profile(SnExec *x, bool on);
const SnCounter *sn_exec_counters(const SnExec *x); // one per command of the plan
// Starts a section; a section that the plan lacks is no work. A device may still be at it when the
// call returns; a fault is then reported by a later call.
SnStatus sn_exec_run(SnExec *x, const char *section, const SnEnv *env, SnError *e);
SnStatus sn_exec_wait(SnExec *x, SnError *e); // for all that was started
// Whether a run may still be under way when the next one is started.
bool sn_exec_ahead(const SnExec *x);
// Bytes, as they are now.
typedef struct {
    int64_t
        planned; // the plan's regions for what the device was opened for, and the library's workspace
    int64_t arena; // with what devices add: staging, scratch of threads, ends of pages
    int64_t in_use,
        total;       // of a GPU, by all processes, as its driver says; 0 where memory is the host's
    int64_t process; // most of the host's memory that this process had at once; 0: not known
} SnMemory;
SnStatus sn_exec_memory(SnExec *x, SnMemory *to, SnError *e);
// Value of an output without axes, after its section; NaN when there is none of that name, or after a
// fault, which sn_exec_wait reports. back 1, where sn_exec_ahead: of the run before the last, without
// waiting for the last.
double sn_exec_result(SnExec *x, const char *section, const char *name, int back);

// ---- data.c: tokens from files ------------------------------------------------------------------

typedef struct SnData SnData;
typedef enum { SN_TRAIN, SN_VALID } SnSplit;
typedef enum { SN_DATA_TEXT, SN_DATA_TOKENS, SN_DATA_TENSORS } SnDataKind;
typedef struct {
    SnDataKind kind;
    const char *path;  // a file or a pattern ("corpus/*.bin"), files in order of their names
    double split;      // share of the samples for training; 1: no validation
    int64_t window;    // ids in a sample
    int64_t stride;    // from one window to the next; 0: window
    int64_t range;     // ids are in [0, range)
    const char *input; // name of the input with that range, for messages
    int width;         // tokens: bytes of an id, 1, 2 or 4; 0: 2, or what the file's header says
    bool shuffle;      // of the training windows
    const char
        *arrays; // tensors: "idx" or "npy", the path is a list of such files (arrays.h); or NULL
    const char *const *names; // then: of the inputs that files without a name are for
    uint32_t nnames;
    bool closed; // no input takes the ids that follow: a sample ends with its window
    uint64_t seed;
} SnDataSpec;

SnStatus sn_data_new(const SnDataSpec *spec, SnData **out, SnError *e);
void sn_data_free(SnData *d);
SnDataKind sn_data_kind(const SnData *d);
bool sn_data_reads(const SnData *d, const char *path);   // whether it is one of the files
int64_t sn_data_ids(const SnData *d);                    // in all files together
int64_t sn_data_samples(const SnData *d, SnSplit split); // in one pass over the data
// Reads samples [first, first + count) of the endless sequence of samples: pass after pass, each
// shuffled anew. ids: [count, window + 1]; the last id of a window is the first of what follows.
// Depends on nothing but the spec, the files and `first`.
SnStatus sn_data_windows(SnData *d, SnSplit split, uint64_t first, int64_t count, int32_t *ids,
                         SnError *e);
// kind tensors: what an input takes of the file, and has an id from then on. Its axes without that of
// the samples, in their declared order, must be the tensor's extents but the first, its type must take
// the tensor's (convert.h). The first field makes sn_data_ids and sn_data_samples known.
typedef struct {
    const char *input, *tensor;
    uint32_t elem, naxes;
    const char *axis[SN_MAX_AXES];
    int64_t size[SN_MAX_AXES];
    int64_t range; // as in SnPort
} SnField;
SnStatus sn_data_field(SnData *d, const SnField *field, int *id, SnError *e);
// Reads the same samples of a field's tensor into `to`, sample by sample.
SnStatus sn_data_tensor(SnData *d, int field, SnSplit split, uint64_t first, int64_t count,
                        void *to, SnError *e);
// Starts reading and converting, in a thread of the data's own; sn_data_tensor for the same samples
// then finds them done. After all fields are there.
void sn_data_ahead(SnData *d, int field, SnSplit split, uint64_t first, int64_t count);
// Fills window, range and input of the spec from the inputs that take ids; leaves them 0 without
// any.
SnStatus sn_data_spec(const SnPlan *plan, SnDataSpec *spec, SnError *e);
// Tells the system which windows are read next.
void sn_data_prefetch(SnData *d, SnSplit split, uint64_t first, int64_t count);

// ---- facts.c: what the samples depend on -------------------------------------------------------

// Lines of a name, a tab and a value: the lengths, the split, how samples are cut, which tensors are taken,
// sums of the content. To be freed. Tensors: after all fields are there.
SnStatus sn_data_facts(SnData *d, char **facts, SnError *e);
// Compares the data with the facts of another run's: `differs` lists all that differs, "" when nothing.
SnStatus sn_data_compare(SnData *d, const char *facts, char *differs, size_t size, SnError *e);

// ---- random.c -----------------------------------------------------------------------------------

// Word 0..3 of Philox4x32-10; the same function as in kernels.
uint32_t sn_philox(const uint32_t counter[4], const uint32_t key[2], int word);
// Element i of a permutation of [0, n), chosen by key: a Feistel network with cycle walking, O(1)
// memory and expected O(1) time.
uint64_t sn_permute(uint64_t n, uint64_t key, uint64_t i);

// ---- step.c: a training run's steps -------------------------------------------------------------

typedef struct SnTrainer SnTrainer;
typedef struct {
    int64_t accum;  // micro-batches per step
    uint64_t total; // steps that the run is to do in all
    uint64_t seed;
    uint64_t step;    // steps done
    uint64_t samples; // samples read: the position in the data
    char *data;       // facts of the data (sn_data_facts), the caller's; NULL: not known
} SnProgress;

// data may be NULL when only generation is wanted. Binds the inputs of the sections to the data.
SnStatus sn_trainer_new(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out, SnError *e);
// Ones that only evaluate, or only compute outputs: what these do not need is not read. Of data without
// shuffle, whose split is all training: all of it is what they are of.
SnStatus sn_trainer_new_evaluating(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out,
                                   SnError *e);
SnStatus sn_trainer_new_predicting(SnExec *x, SnData *data, const SnProgress *at, SnTrainer **out,
                                   SnError *e);
void sn_trainer_free(SnTrainer *t);
SnProgress sn_trainer_progress(const SnTrainer *t);
int64_t sn_trainer_micro(const SnTrainer *t);  // samples in a micro-batch
int64_t sn_trainer_window(const SnTrainer *t); // ids in a sample, 0 when no input takes windows
SnStatus sn_trainer_init(SnTrainer *t, SnError *e); // first values of all states
// Asked before every micro-batch: when it says so, a step or an evaluation ends with SN_STOPPED. NULL: never.
void sn_trainer_ask(SnTrainer *t, bool (*stop)(void *user), void *user);
SnStatus sn_trainer_step(SnTrainer *t, SnError *e);
// The last step changed nothing: the progress is again that before it.
void sn_trainer_take_back(SnTrainer *t);
// An update broke off: some states are new and some old, and none of it may be saved.
bool sn_trainer_is_torn(const SnTrainer *t);
bool sn_trainer_can_eval(const SnTrainer *t);
// How many samples that is, below.
int64_t sn_trainer_eval_samples(const SnTrainer *t, int64_t batches);
// The mean over `batches` micro-batches of the validation samples, as one batch, or over all samples
// when there are fewer; over one micro-batch when its samples depend on each other.
SnStatus sn_trainer_eval(SnTrainer *t, int64_t batches, SnError *e);
// Computes the outputs of all samples in order. After each micro-batch, of samples [first, first + count),
// `each` may read the outputs of section predict_micro; those of predict_finish are there at the end.
typedef SnStatus SnPredicted(void *user, int64_t first, int64_t count, SnError *e);
SnStatus sn_trainer_predict(SnTrainer *t, SnPredicted *each, void *user, SnError *e);
// Value of a result ("loss") of the last step or evaluation; NaN when there is none. back: as in
// sn_exec_result.
double sn_trainer_result(SnTrainer *t, const char *name, bool eval, int back);

// ---- generate.c ---------------------------------------------------------------------------------

typedef struct {
    double temperature; // 0: always the likeliest
    int64_t top_k;      // 0: all
    int64_t tokens;
    uint64_t seed;
} SnGenerate;

// Whether the model takes ids and gives the numbers from which the next one is drawn; the reason if not.
SnStatus sn_can_generate(SnExec *x, SnError *e);
// The text of a prompt as ids, to be freed: its bytes, or the numbers that it lists.
SnStatus sn_prompt(const char *text, bool bytes, int32_t **ids, int64_t *n, SnError *e);
// Continues `prompt` (ids, at least one); each new id goes to `emit`, which returns false to stop.
SnStatus sn_generate(SnExec *x, const int32_t *prompt, int64_t n, const SnGenerate *how,
                     bool (*emit)(void *user, int32_t id), void *user, SnError *e);

// ---- predict.c ----------------------------------------------------------------------------------

// Sets whether samples end with their windows. SN_USER: there is no output.
SnStatus sn_predict_spec(const SnPlan *plan, SnDataSpec *spec, SnError *e);
typedef struct {
    const char *path;       // of the safetensors file, which appears whole or not at all
    const char *checkpoint; // where weights
    const SnData *data;     // and samples are from; neither is overwritten
    void (*tell)(void *user, int64_t done, int64_t samples); // after each micro-batch; NULL: nobody
    void *user;
    // what is in the file, in words: "logits F32[10000, 10]"
    char written[512];
} SnPredict;
// Writes the outputs of all samples.
SnStatus sn_predict(SnExec *x, SnTrainer *t, int64_t samples, SnPredict *p, SnError *e);

// ---- checkpoint_dir.c -------------------------------------------------------------------------------

// Makes the folder, sees that a file can be made in it, and locks it, so that it belongs to one run at a
// time: SN_USER when another one has it. *lock: closing it, or the end of the process, gives it back; -1:
// the file system has no locks.
SnStatus sn_checkpoint_claim(const char *dir, int *lock, SnError *e);
// Of a claimed folder: checkpoints of steps after `step` would be taken for the newest. Damaged ones are
// renamed, to step-NNNNNNNN.safetensors.damaged, and `note` says so, else it is ""; a whole one is an
// error.
SnStatus sn_checkpoint_clear(const char *dir, uint64_t step, char *note, size_t size, SnError *e);
// Writes DIR/step-NNNNNNNN.safetensors: all states that are kept over steps, the progress and the
// scalars of the run. The file appears whole or not at all. Then removes all but the `keep` newest
// (0: keeps all). `path` receives the name.
SnStatus sn_checkpoint_save(SnExec *x, const SnProgress *at, const char *dir, int keep, char *path,
                            size_t path_size, SnError *e);
typedef struct {
    char path[4096];
    char note
        [1024]; // "", or what is worth saying: of a damaged file that was passed over, an old one
} SnFound;
// Restores states and scalars from a file, or from the newest checkpoint of a directory that is not
// damaged. After a failure the states hold anything. at->data is to be freed.
SnStatus sn_checkpoint_load(SnExec *x, const char *file_or_dir, SnProgress *at, SnFound *found,
                            SnError *e);

// ---- metrics.c ----------------------------------------------------------------------------------

typedef struct SnLog SnLog;
// DIR/metrics.jsonl, appended. dir NULL: a log that goes nowhere.
SnStatus sn_log_new(const char *dir, SnLog **out, SnError *e);
SnStatus sn_log_free(SnLog *log, SnError *e);
uint64_t sn_log_lost(const SnLog *log); // lines that could not be written
// One object per line: begin, then fields, then end, which writes the line, whole or not at all. Values
// that JSON cannot hold are null.
void sn_log_begin(SnLog *log, const char *kind, uint64_t step);
void sn_log_number(SnLog *log, const char *name, double value);
SnStatus sn_log_end(SnLog *log, SnError *e);

// ---- cpu.c: compiled for the baseline, so that it runs everywhere -------------------------------

uint32_t sn_cpu_features(void); // bits of SN_CPU_*
// The names of the features in `need` that this CPU lacks, separated by spaces; "" when none.
void sn_cpu_missing(uint32_t need, char *text, size_t size);

// What the subcommands of sinter share: reading a file into a module, running passes.
#pragma once
#include "codegen/cuda/cuda.h"
#include "passes/pipeline.h"
#include "tools/command.h"

enum { EXIT_USER = 1, EXIT_USAGE = 2, EXIT_MACHINE = 3, DRIVER_MAX_TARGETS = 8 };

typedef struct {
    Arena *arena, *scratch;
    SymTab *syms;
    Diag *diag;
    Options o;
    char **argv;
    Program *program; // of a .sn file, or read back from the header of a .ir file
    Ledger *ledger;
    Text page;          // --html: what page_add has written
    const char *source; // text of the input
    size_t source_size;
    uint16_t file;
    bool is_ir;         // the input is IR
    const char *resume; // .ir: name of the pass after which it was dumped, or NULL
    bool colour;
    // What --target asks for. Passes decide for one family of devices at a time: a row of ir/target.def.
    bool cpu;
    const CudaTarget *cuda[DRIVER_MAX_TARGETS];
    uint32_t ncuda;
    const char *family; // "cpu" or "cuda"
} Driver;

// Reads what follows the name of a command into d->o, and resolves --target. ARGUMENTS_READ: the command can
// run; else the exit code, after a message or the help that was asked for.
enum { ARGUMENTS_READ = -1 };
int driver_arguments(Driver *d, CommandId c, int argc, char **argv);
// Prints the message; the status, or EXIT_USAGE.
int driver_error(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Resolves --target, a list; the family is the first one named. False after a message.
bool driver_targets(Driver *d);

// Takes "name=value" of a -D; of one name the last counts. False: it is written otherwise; text may be NULL.
bool driver_define(Driver *d, const char *text);

// Keeps the command line, so that an internal error can run it again and write a reproducer.
void driver_keep_arguments(int argc, char **argv);
// Reads o.input and compiles or parses it. False after reporting.
bool driver_load(Driver *d);
// The same text again, for the passes of another family. What was said of it is not said twice.
bool driver_reload(Driver *d, const char *family);
// Passes as the options say (all of them, up to --after, or --passes).
bool driver_passes(Driver *d, const char *last);
// What a build would refuse of a loaded file, without what a build costs. False after reporting.
bool driver_check(Driver *d);
// Whether the file has a plan to build from. False after reporting.
bool driver_needs_plan(Driver *d);
// Warns of parameters that the loss does not depend on.
void driver_warn(Driver *d);
// "h.*.attn.wq" of "h.3.attn.wq": what the rounds of a repeat have in common.
const char *driver_round_name(Arena *a, const char *path);
// The module with the header that a later run resumes from.
void driver_print_module(Driver *d, const char *after, Text *to);
// Prints diagnostics; the exit code they mean (0 or 1).
int driver_report(Driver *d);
// Reads a whole file into the arena, '-' is standard input; false with errno set. A pipe or a device is not
// opened, since that may wait for ever: ESPIPE.
bool read_file(Arena *a, const char *path, const char **text, size_t *size);
// Says so of the input, after errno.
void report_unread(Driver *d);
// Writes beside the file that is meant, with its mode, syncs, renames: on failure it is what it was. A link
// stays a link. False with errno set.
bool write_file(Arena *a, const char *path, const void *data, size_t size);

uint32_t driver_threads(void); // CPUs that this process may use
// For CudaPlan.decide: user is a Ledger.
void driver_decide(void *user, const char *what, Loc loc, bool library, const char *reason);

// At the end of a program: rc, or the machine's fault after a message when what was printed did not arrive.
int driver_close_output(int rc);

// Prints a text, or writes it to -o; the exit code.
int driver_put(Driver *d, const Text *t);

int command_build(Driver *d);
int command_params(Driver *d);
int command_plan(Driver *d);
int command_run(Driver *d);
int command_std(Driver *d); // o.input: the name of an entry, or NULL for all

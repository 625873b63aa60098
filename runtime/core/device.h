// A device: memory for the regions of a plan, and the walk over its commands. exec.c talks to devices
// through this table alone; each implementation is one folder (cpu/, cuda/).
//
// Work is started in order and may finish later: `wait` and whatever reads memory wait for what they
// need. A fault is reported by every later call.
#pragma once
#include "runtime/sinter.h"

typedef struct SnDevice SnDevice;
typedef struct {
    void (*free)(SnDevice *d);
    // Host address of a place in the arena; NULL when the memory is not the host's.
    void *(*at)(SnDevice *d, uint32_t region, int64_t offset);
    // Host memory for the next run of the port's section, to be filled as a whole: it may be another
    // place after each run.
    void *(*input)(SnDevice *d, const SnPort *port);
    SnStatus (*read)(SnDevice *d, uint32_t region, int64_t offset, void *to, int64_t bytes,
                     SnError *e);
    SnStatus (*write)(SnDevice *d, uint32_t region, int64_t offset, const void *from, int64_t bytes,
                      SnError *e);
    // Value of an output without axes, as the last run of its section left it; back 1, where the device
    // runs ahead: the run before that. Waits for that run only.
    SnStatus (*result)(SnDevice *d, const SnPort *port, int back, void *to, int64_t bytes,
                       SnError *e);
    SnStatus (*run)(SnDevice *d, const SnSection *section, const SnEnv *env, SnError *e);
    SnStatus (*wait)(SnDevice *d, SnError *e);
    // What stored the first NaN in the section, and in which of all runs that was; false: nothing known.
    // Waits for what was started. NULL: the device does not watch.
    bool (*first_nan)(SnDevice *d, const SnSection *section, uint64_t *run, char *text,
                      size_t size);
    // Bytes in use of the device's memory, and how many it has. NULL: its memory is the host's.
    SnStatus (*memory)(SnDevice *d, int64_t *in_use, int64_t *total, SnError *e);
    // Line i of what was decided when the device was opened; false behind the last. NULL: nothing was.
    bool (*decided)(SnDevice *d, uint32_t i, char *text, size_t size);
} SnDeviceOps;

// What every implementation starts with. scalars: the region of that name, in host memory; run takes
// it over to where kernels read it.
struct SnDevice {
    const SnDeviceOps *ops;
    const SnPlan *plan;
    unsigned char *scalars;
    int64_t bytes;       // of the arena
    int64_t temporary;   // of it, for region temp
    SnCounter *counters; // one per command; counted when profile is set
    bool profile;
    bool ahead;                     // a run may still be under way when the next one is started
    const char *(*first_nan)(void); // the emulated device's word on a NaN; NULL: none
    char note[1024];                // what the user should know of how it was opened; ""
    char name[128];                 // for people: "2 threads", "NVIDIA H100 80GB HBM3, sm_90"
};

// open.c: see sn_exec_open_as.
SnStatus sn_device_open(const SnProgram *programs, const SnDeviceWish *wish, SnDevice **out,
                        SnError *e);

// nan.c: whether SINTER_FIND_NAN asks for it; then after each command: an error that names the command,
// its line and the element when what it stored has a NaN.
bool sn_nan_wanted(void);
SnStatus sn_nan_check(SnDevice *d, const SnCmd *c, SnError *e);
// The same of what a kernel found: an element of an argument of the plan. A product of cuBLASLt that the
// command reads is named too: nobody watches those. False: the plan has no such argument.
bool sn_nan_watched(const SnPlan *plan, uint32_t arg, int64_t element, char *text, size_t size);

// The memory that a device takes for a plan in training, in bytes: `all` is what it asks for at once; the parts are those
// besides the plan's regions. A device lays out its own memory by the function that says this.
typedef struct {
    int64_t shared, scratch;            // CPU: panels that threads share; scratch of all threads
    int64_t tables, staging, workspace; // GPU: of arguments; of what goes there; cuBLASLt's
    int64_t all;
} SnLayout;
// False: no memory to find it out. threads: at least 1.
bool sn_cpu_layout(const SnPlan *plan, int threads, SnLayout *to);
void sn_cuda_layout(const SnPlan *plan, SnLayout *to);

// cpu/device.c. functions: the executable's native code.
SnStatus sn_cpu_device(const SnPlan *plan, void (*const *functions)(void), const SnDeviceWish *wish,
                       SnDevice **out, SnError *e);

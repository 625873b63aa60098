// What the files of the emulated driver share: its one state, queues and clocks, work and events.
//
// Order is kept in vector clocks. A queue is a sequence of work: a stream, or a lane of a graph. A
// clock says how much of each queue must be done, or is known to be done. An operation may run when
// its clock is reached; it races with an earlier access that its clock does not contain.
//
//   host      joins a queue's clock when it synchronizes
//   queue     joins the host's clock with each new operation, an event's clock when it waits
//   event     takes a copy of its queue's clock when it is recorded
//
// All functions expect the state's lock to be held; driver_enter takes it. When host memory is
// short they set the sticky error to SN_CU_OUT_OF_MEMORY, after which nothing runs any more, and
// leave everything valid.
#pragma once
#include "runtime/emulator/emulator.h"
#include "runtime/emulator/engine/emu.h"
#include "runtime/emulator/libraries/product.h"
#include <pthread.h>

enum { // CUresult that only the emulated driver returns
    CU_CAPTURE_MERGE = 902,
    CU_CAPTURE_UNMATCHED = 903,
    CU_CAPTURE_UNJOINED = 904,
    CU_CAPTURE_ISOLATION = 905,
    CU_CAPTURE_IMPLICIT = 906,
    CU_CAPTURED_EVENT = 907,
    CU_CAPTURE_WRONG_THREAD = 908
};

// ---- clocks and queues --------------------------------------------------------------------------

typedef struct {
    uint64_t *at; // [n] operations of each queue
    uint32_t n;
} Clock;

typedef struct Work Work;
typedef struct QueuedOp { // work in a queue
    struct QueuedOp *next;
    Work *work;
    Clock clock; // what must be done before, and itself
    uint32_t queue;
    uint64_t tick;
    char *fault; // found when it was queued, raised when it runs; owned
} QueuedOp;
typedef struct {
    QueuedOp *first, *last;
    uint64_t pushed, done, rank;
    Clock clock;     // what the next operation comes after
    bool used;       // somebody may push
    uint32_t number; // of the stream, for reports
    bool graph;      // a lane of a graph
} Queue;

// ---- work ---------------------------------------------------------------------------------------

typedef enum {
    WORK_KERNEL,
    WORK_TO_DEVICE,
    WORK_TO_HOST,
    WORK_ON_DEVICE,
    WORK_FILL,
    WORK_MATMUL,
    WORK_RECORD
} WorkKind;

typedef struct { // who an access or a fault belongs to; interned strings
    const char *kernel, *node;
    uint32_t line;
} Who;
typedef struct Event Event;
typedef struct LoadedModule {
    uint32_t refs;
    EmuModule *emu;
    struct LoadedFunction *functions;
} LoadedModule;
typedef struct LoadedFunction {
    struct LoadedFunction *next;
    LoadedModule *module;
    const EmuFunction *emu;
    EmuFunctionInfo info;
    uint32_t max_dynamic; // bytes of dynamic shared memory that a launch may ask for
    void *handle;
} LoadedFunction;

enum { OWN_RANGES = 8 };
struct Work { // shared between a graph and the queues it was launched into; never changes
    uint32_t refs;
    WorkKind kind;
    Who who;
    bool noted;                   // ranges are the caller's, else own
    SnCudaRange *ranges;          // [n] what it touches
    uint32_t n, own;              // own: how many of `mine` are used
    SnCudaRange mine[OWN_RANGES]; // what a copy, fill or product touches, as its arguments say
    SnCudaRange host;             // pinned memory that a copy reads or writes; no bytes: none
    uint64_t to, from, bytes;
    void *host_to;
    const void *host_from; // NULL: staged
    void *staged;          // a copy of pageable memory; owned
    unsigned char value;   // of a fill
    LoadedFunction *function;
    uint32_t grid[3], block[3], shared;
    void *params;      // packed; owned
    LtProduct product; // of a matmul
    Event *event;      // of a record; counted
};

// ---- accesses -----------------------------------------------------------------------------------

enum { SPAN_READS = 6 }; // unordered readers that are remembered; the oldest is forgotten
typedef struct {
    uint32_t queue;
    uint64_t tick; // 0: none
    Who who;
} Epoch;
typedef struct { // bytes with one history
    uint64_t begin, end;
    Epoch write, read[SPAN_READS];
    uint32_t reads;
    bool written;   // at all
    uint32_t owner; // value that was written last; 0: unknown
    const char *owner_name;
    Who owner_who;
} ShadowSpan;
typedef struct {
    ShadowSpan *at; // [n] disjoint, by address
    size_t n, room;
} History;

// ---- streams, events, captures ------------------------------------------------------------------

typedef struct {
    uint32_t *at, n, room; // numbers of nodes
} Set;
typedef struct {
    Work *work;
    uint32_t lane;
    Set after; // nodes that come before it
} GraphNode;
typedef struct {
    uint32_t refs;
    GraphNode *nodes;
    uint32_t n, room;
    uint32_t *lanes; // [lane_count] number of the stream that was captured
    uint32_t lane_count;
} Graph;
typedef struct Stream Stream;
typedef struct Capture {
    struct Capture *next;
    uint64_t id;
    int mode;
    pthread_t thread;
    Stream *origin;
    bool invalid;
    Graph *graph;
} Capture;
struct Stream {
    Stream *next;
    uint32_t queue, number;
    bool blocking; // ordered with the legacy stream
    Capture *capture;
    uint32_t lane; // in the captured graph
    Set tail;      // nodes that the next captured one comes after
};
struct Event {
    uint32_t refs;
    bool timed, recorded;
    uint32_t queue;
    uint64_t tick; // of the record
    Clock clock;
    double time;      // milliseconds, when the record ran
    uint64_t capture; // id of the capture that recorded it last; 0: none
    Set nodes;        // in that capture
};
typedef struct {
    Graph *graph;
    uint32_t *queues; // [lane_count]
    Clock last;       // of the last launch: launches of one graph do not overlap
} Exec;

// ---- the state ----------------------------------------------------------------------------------

typedef enum {
    HANDLE_FREE,
    HANDLE_CONTEXT,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_GRAPH,
    HANDLE_EXEC,
    HANDLE_LT,
    HANDLE_DESC,
    HANDLE_LAYOUT,
    HANDLE_PREFERENCE
} HandleKind;
typedef struct {
    void *object;
    HandleKind kind;
    uint16_t generation;
} HandleSlot;
typedef struct {
    uint64_t base, bytes;
    void *host; // of pinned memory
} MemoryBlock;
typedef struct {
    MemoryBlock *at;
    size_t n, room;
} MemoryBlocks;
typedef struct { // limits of an architecture, as attributes and occupancy need them
    uint32_t sm;
    int count, shared_sm, shared_optin, threads_sm, blocks_sm;
    int clock_khz, memory_khz, bus_bits;
} Arch;

typedef struct EmuDriver {
    pthread_mutex_t lock;
    SnEmulatorConfig config; // threads 0: not configured yet
    const Arch *arch;
    bool initialised;
    char report[2048], nan[1024]; // cleared by the next retain
    uint32_t retained;            // of the primary context; below is its content, zero without one
    void *context;
    pthread_t *bound; // [bound_n] threads whose current context it is
    size_t bound_n;
    int error; // sticky
    SnPool *pool;
    EmuDevice *device;
    MemoryBlocks allocations, pinned;
    HandleSlot *slots;
    uint32_t slot_n;
    char **strings; // interned: open addressing, string_room a power of two
    size_t string_n, string_room;
    Queue *queues;
    uint32_t queue_n;
    uint64_t pending; // operations in all queues
    uint64_t random;
    Clock host; // what the host knows to be done
    Stream legacy, *streams;
    uint32_t stream_number;
    Capture *captures;
    uint64_t capture_id;
    History history;
    const QueuedOp *running; // NULL: nothing is
    bool note_set;
    pthread_t note_thread;
    SnCudaNote note; // ranges owned, strings interned
    ProductSpace space;
    SnEmulatorCounts counts;
    SnEmulatorKernel *kernels;
    size_t kernel_n;
} EmuDriver;

// driver.c. enter: locks; *refusal is not SN_CU_OK when the call must not go on. leave: unlocks and
// returns the result. unsafe: for calls that a capture forbids.
EmuDriver *driver_enter(int *refusal);
EmuDriver *driver_enter_unsafe(int *refusal);
int driver_leave(EmuDriver *d, int result);
EmuDriver *driver_lock(void); // without any condition
// Enters the error state unless it is in one already; what is queued never runs.
void driver_fail(EmuDriver *d, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *driver_alloc(EmuDriver *d, size_t bytes); // zeroed; NULL sets the sticky error
bool driver_grow(EmuDriver *d, void **at, size_t count, size_t size); // to `count` items

// handle.c: handles are numbers that fault when they are dereferenced; a stale one is not found.
void *handle_new(EmuDriver *d, HandleKind kind, void *object); // NULL: memory is short
void *handle_get(const EmuDriver *d, HandleKind kind, const void *handle);
void handle_free(EmuDriver *d, const void *handle);

// clock.c
uint64_t clock_at(const Clock *c, uint32_t queue);
void clock_raise(EmuDriver *d, Clock *c, uint32_t queue, uint64_t tick);
void clock_join(EmuDriver *d, Clock *c, const Clock *with);
void clock_free(Clock *c);
uint32_t queue_new(EmuDriver *d, uint32_t number, bool graph); // UINT32_MAX: memory is short
void queue_close(EmuDriver *d, uint32_t queue);                // what is queued still runs
// Takes a count of work. after: besides what the queue's clock and the host's contain.
void queue_push(EmuDriver *d, uint32_t queue, Work *work, const Clock *after);
bool queue_reached(const EmuDriver *d, const Clock *goal);
bool queue_step(EmuDriver *d);                         // runs one operation; false: none is left
void queue_run_until(EmuDriver *d, const Clock *goal); // or until a fault
void queue_run_all(EmuDriver *d);
void queue_drop_all(EmuDriver *d); // nothing of it runs

// stream.c. submit: takes a count of work, NULL work is SN_CU_OUT_OF_MEMORY.
const Clock *stream_order(EmuDriver *d, const Stream *s); // of the next operation
Stream *stream_get(EmuDriver *d, SnCudaStream handle);    // NULL: no such stream
int stream_check(EmuDriver *d, const Stream *s);          // before work is made for it
int stream_submit(EmuDriver *d, Stream *s, Work *work);
void stream_free_all(EmuDriver *d);
void event_release(Event *e);

// graph.c
int capture_add(EmuDriver *d, Stream *s, Work *work);
int capture_record(EmuDriver *d, Stream *s, Event *e);
int capture_wait(EmuDriver *d, Stream *s, const Event *e);
Capture *capture_find(const EmuDriver *d, uint64_t id); // NULL: it has ended
bool capture_forbids(EmuDriver *d); // an unsafe call by this thread; the captures are invalid then
void capture_free_all(EmuDriver *d);
bool set_join(EmuDriver *d, Set *s, const Set *with);
void set_free(Set *s);
void graph_free_object(EmuDriver *d, HandleKind kind, void *object);

// work.c
// Takes the note. name: of what runs, where no note says it.
Work *work_new(EmuDriver *d, WorkKind kind, const char *name);
void work_own(Work *w, uint64_t base, uint64_t bytes, bool reads, bool writes);
void work_pinned(Work *w, const void *at, uint64_t bytes, bool writes); // reads or writes it
int work_ready(EmuDriver *d, Work *w); // after the last work_own: settles ranges and names
void work_release(Work *w);
void work_run(EmuDriver *d, const QueuedOp *op);
void module_release(LoadedModule *m);
const char *intern(EmuDriver *d, const char *text); // NULL stays NULL
void note_clear(EmuDriver *d);
void note_end(EmuDriver *d); // the call that this thread's note was for is over
// "kernel 'k' (node n, line 3)"
const char *who_text(const Who *who, char *to, size_t size);

// history.c: what an operation touches, against what was touched before.
void history_access(EmuDriver *d, QueuedOp *op);
// The host reads or writes pinned memory now: what it has not waited for is a fault.
void history_touch(EmuDriver *d, uint64_t base, uint64_t bytes, bool writes);
// "; 'k' (node n, line 3) was to write it": who comes before the operation and was the last that could
// have written the address; "" when nobody is known.
const char *history_writer(const EmuDriver *d, const QueuedOp *op, uint64_t address, char *to,
                           size_t size);
void history_forget(EmuDriver *d, uint64_t base, uint64_t bytes);

// lt.c
void lt_free_object(void *object);

// The functions of the table, drv_NAME.
#define DRIVER(name, symbol, params) int drv_##name params;
#define BLAS(name, symbol, params)   int drv_##name params;
#include "runtime/cuda/api.def"
#undef DRIVER
#undef BLAS
size_t drv_lt_version(void);
void drv_touch(const void *at, size_t bytes, int writes);
